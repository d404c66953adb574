//! The wall clock is stepped by years while the service runs (libfaketime stands between the two): nobody's status
//! changes for it, and what is written down afterwards gets the corrected dates (R14).

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::stacks::{ms, wall_ms};
use crate::support::{Service, rollcall, until};

const TWO_YEARS_MS: i64 = 730 * 86_400_000;
const OFFLINE_AFTER: &str = "2s";

/// The library that answers for the clock; none where it is not installed.
fn libfaketime() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
    let found = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1")).find(|library| library.exists());
    assert!(found.is_some() || std::env::var("CI").as_deref() != Ok("true"), "package libfaketime must be there in CI");
    if found.is_none() {
        eprintln!("skipped: the package libfaketime is not installed");
    }
    found
}

/// Writes how far the service's wall clock is from ours.
fn set_clock(file: &Path, days: i64) {
    std::fs::write(file, format!("{days:+}d\n")).expect("file");
}

async fn beat(service: &Service, vehicle: &str) {
    let (status, answer) = service.post_heartbeats(&json!([{"customer": "acme", "vehicle": vehicle}])).await;
    assert_eq!(status, 202, "{answer}");
}

/// Beats of the sender until the condition holds.
async fn sending_until(service: &Service, what: &str, condition: impl AsyncFn() -> bool) {
    until(what, || async {
        beat(service, "sender").await;
        condition().await
    })
    .await;
}

async fn stepped_ms(service: &Service) -> i64 {
    service.get("/api/v1/status").await["clock"]["stepped_ms"].as_i64().expect("a number")
}

/// `at` of the vehicle's newest transition, once it leads to this status.
async fn at_of(service: &Service, vehicle: &str, status: &str) -> i64 {
    let newest = format!("/api/v1/customers/acme/vehicles/{vehicle}/transitions?limit=1");
    until("it is stored", || async { service.get(&newest).await["items"][0]["to"] == status }).await;
    ms(&service.get(&newest).await["items"][0]["at"])
}

#[tokio::test]
async fn r14_a_wall_clock_off_by_years_changes_no_status_and_dates_follow_it() {
    let Some(library) = libfaketime() else { return };
    let folder = tempfile::tempdir().expect("folder");
    let clock = folder.path().join("clock");
    set_clock(&clock, -730);
    let mut command = rollcall(&["serve", "--http", "127.0.0.1:0", "--mqtt-listen", "127.0.0.1:0"]);
    command.args(["--store", "sqlite::memory:", "--offline-after", OFFLINE_AFTER]).env("LD_PRELOAD", &library);
    command.env("FAKETIME_TIMESTAMP_FILE", &clock).env("FAKETIME_NO_CACHE", "1");
    command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let service = Service::spawn(&mut command);
    beat(&service, "sender").await;
    let began = at_of(&service, "sender", "online").await;
    assert!((began - wall_ms() + TWO_YEARS_MS).abs() < 60_000, "the service believes its clock: {began}");

    for (days, total, vehicle) in [(0, TWO_YEARS_MS, "ahead"), (-730, 0, "back"), (730, 2 * TWO_YEARS_MS, "beyond")] {
        set_clock(&clock, days);
        sending_until(&service, "the step is noticed", async || (stepped_ms(&service).await - total).abs() < 5_000)
            .await;
        // A vehicle of its own goes through a whole silence meanwhile, so more than a timeout passes after the step.
        beat(&service, vehicle).await;
        let silent = async || service.status_of("acme", vehicle).await.as_deref() == Some("offline");
        sending_until(&service, "the silent one is offline", silent).await;
        let expected = wall_ms() + days * 86_400_000;
        let at = at_of(&service, vehicle, "offline").await;
        assert!((at - expected).abs() < 60_000, "dated by the corrected clock: {at}, not {expected}");
        let last_seen = service.get(&format!("/api/v1/customers/acme/vehicles/{vehicle}")).await;
        assert_eq!(at - ms(&last_seen["last_seen"]), 2_000, "offline exactly one timeout after the last heartbeat");
    }
    let of_sender = service.all("/api/v1/customers/acme/vehicles/sender/transitions?").await;
    assert_eq!(of_sender.len(), 1, "online once, and nothing for the clock: {of_sender:?}");
    let gaps = service.get("/api/v1/observation-gaps").await;
    let steps = gaps["items"].as_array().expect("a list").iter().filter(|gap| gap["cause"] == "clock stepped").count();
    assert_eq!(steps, 2, "each jump ahead may have been a pause of the machine: {gaps}");
}
