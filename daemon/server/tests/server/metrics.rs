//! `/metrics` as a scraper meets it: who may read it, that it is well formed, and that its numbers are those of the daemon.

use std::collections::{BTreeMap, BTreeSet};

use easel_proto::v1;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::support::{Daemon, TOKEN, create, ended, quick};

async fn get(mut stream: impl AsyncRead + AsyncWrite + Unpin, headers: &str) -> String {
    let request = format!("GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Every sample by its name with labels. Fails on a line that is not of the format, on a sample without its family, and on one
/// that comes twice.
fn samples(answer: &str) -> BTreeMap<String, f64> {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/plain; version=0.0.4"), "{head}");
    let (mut families, mut samples) = (BTreeSet::new(), BTreeMap::new());
    for line in body.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.split(' ');
            if words.next() == Some("TYPE") {
                assert!(families.insert(words.next().unwrap()), "twice: {line}");
            }
            continue;
        }
        let (name, value) = line.rsplit_once(' ').unwrap();
        let bare = name.split('{').next().unwrap();
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| bare.strip_suffix(end)).unwrap_or(bare);
        assert!(families.contains(family) || families.contains(bare), "no TYPE for {line}");
        assert!(samples.insert(name.to_owned(), value.parse().unwrap()).is_none(), "twice: {line}");
    }
    samples
}

#[tokio::test]
async fn metrics_are_for_those_who_may_read() {
    let daemon = Daemon::start(quick()).await;
    for headers in ["", "authorization: Bearer wrong\r\n"] {
        let answer = get(daemon.tcp().await, headers).await;
        assert!(answer.starts_with("HTTP/1.1 401") && !answer.contains("easel_generations"), "{answer}");
    }
    let own = format!("authorization: Bearer {TOKEN}\r\n");
    let strange = get(daemon.tcp().await, &format!("{own}origin: https://stranger.example\r\n")).await;
    assert!(strange.starts_with("HTTP/1.1 403") && !strange.contains("easel_generations"), "{strange}");
    samples(&get(daemon.tcp().await, &own).await);
    samples(&get(UnixStream::connect(&daemon.socket).await.unwrap(), "").await);
}

#[tokio::test]
async fn the_numbers_are_those_of_the_daemon() {
    let daemon = Daemon::start(quick()).await;
    let mut generations = daemon.generations();
    for _ in 0..3 {
        let id = create(&mut generations, "a secret prompt").await;
        ended(&mut generations, &id).await;
    }
    let wrong = generations.get_generation(v1::GetGenerationRequest { id: "nonesuch".into() });
    wrong.await.unwrap_err();
    let answer = get(daemon.tcp().await, &format!("authorization: Bearer {TOKEN}\r\n")).await;
    assert!(!answer.contains("secret"), "{answer}");
    let samples = samples(&answer);
    assert_eq!(samples["easel_generations_ended_total{how=\"succeeded\"}"], 3.0);
    assert_eq!(samples["easel_generations_queued"], 0.0);
    assert!(samples["easel_memory_bytes{kind=\"resident\"}"] > 0.0);
    assert!(samples["easel_stage_occupancy_ratio{stage=\"denoiser\"}"] <= 1.0);
    assert_eq!(samples["easel_stage_ready{stage=\"encoder\"}"], 1.0);
    let errors = samples.iter().filter(|(name, _)| name.starts_with("easel_call_errors_total"));
    assert_eq!(errors.map(|(_, count)| count).sum::<f64>(), 1.0, "{samples:?}");
    let buckets: Vec<_> =
        samples.iter().filter(|(name, _)| name.contains("_bucket")).map(|(_, count)| *count).collect();
    let calls = samples["easel_call_first_answer_seconds_count"];
    assert!(calls >= 7.0 && buckets.iter().all(|count| *count <= calls) && buckets.contains(&calls), "{samples:?}");
}
