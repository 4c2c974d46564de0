//! Tests of watches against a hub, without actors.

use std::time::SystemTime;

use easel_domain::event::{EncodedImage, EventKind, State};
use easel_domain::{ImageFormat, Mode, Plan, PreviewKind, Size};

use super::*;
use crate::hub::WatchCounts;

fn snapshot(sequence: u64, state: State) -> Snapshot {
    let size = Size { width: 64, height: 64 };
    let plan = Plan {
        mode: Mode::Generate,
        model: "m".to_owned(),
        prompt: "a boat".to_owned(),
        negative_prompt: String::new(),
        seed: 1,
        selection: None,
        crop: None,
        tiles: None,
        working: size,
        output: size,
        steps: 1,
        sigmas: Vec::new(),
        guidance: None,
        loras: Vec::new(),
        seeds: Vec::new(),
        num_images: 1,
        output_format: ImageFormat::Png,
        provenance: false,
        source: None,
        model_sha256: None,
        notes: Vec::new(),
    };
    Snapshot {
        id: GenerationId::new("gen_1"),
        state,
        plan: Arc::new(plan),
        sequence,
        queue_position: 0,
        progress: None,
        images: Vec::new(),
        error: None,
        timings: Vec::new(),
        create_time: SystemTime::now(),
        end_time: None,
        request_id: None,
    }
}

fn hub() -> Arc<Hub> {
    Arc::new(Hub::new(snapshot(0, State::Queued), None, Arc::new(WatchCounts::default())))
}

fn publish(hub: &Hub, sequence: u64) {
    let event = Event { sequence, time: SystemTime::now(), kind: EventKind::Queued { position: 1 } };
    hub.publish(Arc::new(event), snapshot(sequence, State::Queued));
}

fn preview() -> Preview {
    let image = EncodedImage::new(ImageFormat::Png, (1, 1), None, vec![0].into());
    Preview { number: 0, image_index: 0, step: 1, epoch: 1, kind: PreviewKind::Projection, image }
}

#[tokio::test]
async fn a_snapshot_takes_the_place_of_events_that_are_not_kept() {
    let hub = hub();
    let newest = limits::MAX_KEPT_EVENTS as u64 + 2;
    (1..=newest).for_each(|sequence| publish(&hub, sequence));
    let mut watch = Watch::new(Arc::clone(&hub), 1).expect("the number is known");
    assert!(matches!(watch.next().await, Some(Ok(Watched::Snapshot(s))) if s.sequence == newest));
    publish(&hub, newest + 1);
    assert!(matches!(watch.next().await, Some(Ok(Watched::Event(e))) if e.sequence == newest + 1));
    let polled = poll(&hub, 1, 0, Duration::ZERO).await.expect("the number is known");
    assert!(polled.events.is_empty() && polled.snapshot.is_some_and(|snapshot| snapshot.sequence == newest + 1));
    // The oldest event that is kept is number 4; who has seen number 3 misses nothing.
    let mut whole = Watch::new(Arc::clone(&hub), 3).expect("the number is known");
    assert!(matches!(whole.next().await, Some(Ok(Watched::Event(e))) if e.sequence == 4));
}

#[tokio::test]
async fn the_newest_preview_wins_and_the_others_are_counted() {
    let counts = Arc::new(WatchCounts::default());
    let hub = Arc::new(Hub::new(snapshot(0, State::Queued), None, Arc::clone(&counts)));
    publish(&hub, 1);
    let mut watch = Watch::new(Arc::clone(&hub), 1).expect("the number is known");
    (0..3).for_each(|_| hub.show(preview()));
    assert!(matches!(watch.next().await, Some(Ok(Watched::Preview(p))) if p.number == 3));
    assert_eq!(counts.previews_dropped.load(std::sync::atomic::Ordering::Relaxed), 2);
    hub.show(preview());
    assert!(matches!(watch.next().await, Some(Ok(Watched::Preview(p))) if p.number == 4));
    assert_eq!(counts.previews_dropped.load(std::sync::atomic::Ordering::Relaxed), 2, "the third was read");
}
