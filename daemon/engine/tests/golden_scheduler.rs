//! The noise levels against every `scheduler.json` of the reference.
#![allow(clippy::print_stdout)]

mod support;

use easel_domain::Size;
use easel_engine::Checkpoint;
use easel_engine::EngineError;
use easel_engine::scheduler::FlowMatchEuler;
use serde_json::Value;
use support::Reference;

/// The reference computes in f32 with numpy's `exp` and ours with Rust's: two roundings at most.
const TOLERANCE: f64 = 2.0 * f32::EPSILON as f64;

#[test]
fn golden_scheduler() {
    let reference = Reference::open();
    let files = reference.json_files(|name| name.ends_with("/scheduler.json"));
    if files.is_empty() {
        println!("golden kind scheduler is absent from {}", reference.root.display());
    }
    for (name, file) in files {
        let checkpoint = name.trim_end_matches("/scheduler.json");
        let scheduler = FlowMatchEuler::load(&Checkpoint::folder(reference.checkpoint(checkpoint))).expect(checkpoint);
        let rows = file["rows"].as_array().expect("rows");
        assert!(!rows.is_empty(), "{name} has no rows");
        let worst = rows.iter().map(|row| compare(&scheduler, row)).fold(0.0, f64::max);
        println!("{name}: {} rows, largest relative error {worst:.1e}", rows.len());
    }
}

fn compare(scheduler: &FlowMatchEuler, row: &Value) -> f64 {
    let number = |key: &str| row[key].as_u64().unwrap_or_else(|| panic!("{key} in {row}")) as u32;
    let latent = Size { width: number("width") / 8, height: number("height") / 8 };
    let mu = row["mu"].as_f64().expect("mu");
    assert!((scheduler.mu(latent) - mu).abs() < 1e-12, "mu {} for {row}", scheduler.mu(latent));
    let schedule = scheduler.schedule_unchecked(latent, number("steps"), &[]);
    let checked = scheduler.schedule(latent, number("steps"), &[]);
    let mut worst = 0f64;
    for (key, got) in [("sigmas", &schedule.sigmas), ("timesteps", &schedule.timesteps)] {
        let want = row[key].as_array().expect(key);
        assert_eq!(want.len(), got.len(), "{key} of {row}");
        for (want, got) in want.iter().zip(got) {
            match want.as_f64() {
                None => assert!(got.is_nan(), "{key}: {got} where the reference has NaN in {row}"),
                Some(want) => worst = worst.max((want - f64::from(*got)).abs() / want.abs().max(1e-3)),
            }
        }
    }
    assert!(worst <= TOLERANCE, "relative error {worst:e} in {row}");
    let nan = schedule.sigmas.iter().any(|sigma| sigma.is_nan());
    match checked {
        Ok(checked) => assert!(!nan && checked == schedule),
        Err(EngineError::Request(error)) => assert!(nan, "{error}"),
        Err(other) => panic!("{other}"),
    }
    worst
}
