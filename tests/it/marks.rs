//! What a killed process still knows (R23, R24, R25, R32): kill -9, and the next run knows of every vehicle when it was
//! last heard, a few hundred milliseconds old at most, though the store's own checkpoint was never due; who fell silent
//! just before is found with the right evidence, and nothing is told twice. On both stacks.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use crate::history::{History, Step};
use crate::radio::Radio;
use crate::stacks::{Dashboard, Kind, Stack, listening_since, ms, wall_ms};
use crate::support::{Service, until};

const OFFLINE_AFTER_MS: i64 = 4_000;
const INTERVAL_MS: i64 = 300;
const SETTINGS: [(&str, &str); 3] = [
    ("FLEET__OFFLINE_AFTER", "4s"),
    ("STORE__LAST_SEEN_INTERVAL", "300ms"),
    // Never due in this test: only the file can know.
    ("STORE__CHECKPOINT_INTERVAL", "1h"),
];
/// Two clocks cut to milliseconds.
const CLOCK_MS: i64 = 10;
/// A busy machine may be so late with a file of 300 ms.
const LATE_MS: i64 = 2_000;
const VEHICLES: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_forgets_no_more_than_the_interval_embedded() {
    scenario(Kind::Embedded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_forgets_no_more_than_the_interval_external() {
    scenario(Kind::External).await;
}

/// Sends for every sender, ten times a second, until it is aborted.
async fn send(radio: Arc<Radio>) {
    loop {
        for index in 0..VEHICLES {
            radio.beat(&format!("sender-{index}"), "{}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await; // poll: the rhythm of the vehicles
    }
}

/// Waits until the file was written anew after this instant, from its first byte on: the second file since then.
async fn until_written(file: &Path) {
    for _ in 0..2 {
        let since = SystemTime::now();
        let newer = || async { file.metadata().and_then(|meta| meta.modified()).is_ok_and(|at| at > since) };
        until("the file is written", newer).await;
    }
}

async fn last_seen(service: &Service, vehicle: &str) -> i64 {
    ms(&service.get(&format!("/api/v1/customers/acme/vehicles/{vehicle}")).await["last_seen"])
}

async fn counted(service: &Service, status: &str, count: usize) -> bool {
    service.get("/api/v1/status").await["vehicles"][status] == count
}

async fn scenario(kind: Kind) {
    let Some(stack) = Stack::of(kind).await else { return };
    let file = stack.local.join("last_seen");
    let mut service = stack.start(&SETTINGS).await;
    let before = Dashboard::open(&service).await;
    let radio = Arc::new(Radio::connect(&stack, "fleet").await);
    let sending = tokio::spawn(send(Arc::clone(&radio)));
    until("the senders are online", || counted(&service, "online", VEHICLES)).await;
    // The first beat makes the transition; the second is known to the board and the file alone.
    let mut silent = Vec::new();
    for index in 0..VEHICLES {
        let name = format!("silent-{index}");
        let first = radio.beat_acked(&name).await;
        until("time has passed", || async { wall_ms() > first.sent + 5 * CLOCK_MS }).await;
        let second = radio.beat_acked(&name).await;
        silent.push((name, second));
    }
    for (name, beat) in &silent {
        until("the second beat is shown", || async { last_seen(&service, name).await >= beat.sent - CLOCK_MS }).await;
    }
    until_written(&file).await;
    let mut known = Vec::new();
    for (name, _) in &silent {
        known.push((name.clone(), last_seen(&service, name).await));
    }
    let killed = wall_ms();
    service.kill();
    tokio::task::block_in_place(|| service.wait(Duration::from_secs(10)));

    let service = stack.start(&SETTINGS).await;
    let listening = listening_since(&service).await;
    let after = Dashboard::open(&service).await;
    for (name, seen) in &known {
        assert_eq!(last_seen(&service, name).await, *seen, "{name} was last heard when it was");
    }
    for index in 0..VEHICLES {
        let seen = last_seen(&service, &format!("sender-{index}")).await;
        assert!(seen >= killed - INTERVAL_MS - LATE_MS, "sender-{index}: {} ms were forgotten", killed - seen);
    }
    until("the silent are found", || counted(&service, "offline", VEHICLES)).await;
    let told = || async { after.all("transition").iter().filter(|frame| frame["to"] == "offline").count() == VEHICLES };
    until("and told", told).await;
    let history = History::read(&stack).await;
    history.check();
    for (name, seen) in &known {
        check_silent(&history, name, *seen, listening);
    }
    let senders = history.steps.iter().filter(|step| step.vehicle.starts_with("sender"));
    let told: Vec<&Step> = senders.filter(|step| step.to == "offline").collect();
    assert!(told.is_empty(), "our death is no news about who sends: {told:#?}");
    nothing_is_told_twice(&[before, after]);
    check_gap(&service, killed, listening).await;
    sending.abort();
}

/// Offline one full timeout after we listen again, and it rests on the last heartbeat before the kill (R23).
fn check_silent(history: &History, vehicle: &str, seen: i64, listening: i64) {
    let steps: Vec<&Step> = history.of(vehicle).collect();
    let offline = steps.last().expect("some");
    let verdict = (offline.to.as_str(), offline.cause.as_str(), offline.at);
    assert_eq!(verdict, ("offline", "silence", listening + OFFLINE_AFTER_MS), "{steps:#?}");
    let evidence = history.steps.iter().zip(&history.last_seen).find(|(step, _)| *step == *offline);
    assert_eq!(evidence.and_then(|(_, seen)| *seen), Some(seen), "the last heartbeat it rests on");
    let words: Vec<&str> = steps.iter().map(|step| step.to.as_str()).collect();
    let unobserved = seen + OFFLINE_AFTER_MS < listening;
    let want: &[&str] = if unobserved { &["online", "unobserved", "offline"] } else { &["online", "offline"] };
    assert_eq!(words, want, "{steps:#?}");
}

/// R24, R25: each transition reaches those who follow once, over both lives of the service.
fn nothing_is_told_twice(lives: &[Dashboard]) {
    let mut told = HashSet::new();
    for frame in lives.iter().flat_map(|dashboard| dashboard.all("transition")) {
        let which = (frame["vehicle"].to_string(), frame["seq"].as_u64());
        assert!(told.insert(which), "told twice: {frame}");
    }
    assert!(told.len() >= 3 * VEHICLES, "they were told at all: {}", told.len());
}

/// The blind time begins where the file ends, not where the store's checkpoint does.
async fn check_gap(service: &Service, killed: i64, listening: i64) {
    let gaps = service.get("/api/v1/observation-gaps").await;
    let gap = gaps["items"].as_array().and_then(|gaps| gaps.last()).unwrap_or_else(|| panic!("a gap in {gaps}"));
    assert_eq!((&gap["scope"], ms(&gap["to"])), (&Value::from("process"), listening), "{gap}");
    assert!(ms(&gap["from"]) >= killed - INTERVAL_MS - LATE_MS && ms(&gap["from"]) <= killed, "killed {killed}: {gap}");
}

/// A file that is damaged, foreign or gone never stops the start; the store's own checkpoint is what there is then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_foreign_or_missing_file_is_as_good_as_none() {
    let stack = Stack::embedded();
    let file = stack.local.join("last_seen");
    let settings = [("STORE__LAST_SEEN_INTERVAL", "100ms"), ("STORE__CHECKPOINT_INTERVAL", "1h")];
    let other = Stack::embedded();
    let foreign = {
        let _service = other.start(&settings).await;
        until_written(&other.local.join("last_seen")).await;
        std::fs::read(other.local.join("last_seen")).expect("a file")
    };
    let radio = Radio::open(&stack, "one");
    for content in [None, Some(&b"rcseen01 and then nothing of the kind"[..]), Some(&foreign), Some(b"")] {
        let mut service = stack.start(&settings).await;
        until("the radio is connected", || async { radio.is_connected() }).await;
        radio.beat_acked("one").await;
        until("it is online", || async { service.status_of("acme", "one").await.as_deref() == Some("online") }).await;
        until_written(&file).await;
        service.kill();
        tokio::task::block_in_place(|| service.wait(Duration::from_secs(10)));
        match content {
            Some(bytes) => std::fs::write(&file, bytes).expect("written"),
            None => std::fs::remove_file(&file).expect("removed"),
        }
        let service = stack.start(&settings).await;
        assert!(last_seen(&service, "one").await > 0, "the store knows of it");
        until_written(&file).await;
        drop(service);
        until("the radio noticed", || async { !radio.is_connected() }).await;
    }
}

/// R32: killed in the middle of ten times what the machine is fed otherwise, it starts by itself, soon, and whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_in_a_flood_needs_no_operator() {
    let stack = Stack::embedded();
    let settings = [("FLEET__OFFLINE_AFTER", "1s"), ("STORE__LAST_SEEN_INTERVAL", "100ms")];
    for round in 0..3 {
        let began = Instant::now();
        let mut service = stack.start(&settings).await;
        assert!(began.elapsed() < Duration::from_secs(10), "start {round} took {:?}", began.elapsed());
        let url = service.url("/api/v1/heartbeats");
        let floods: Vec<_> = (0..4).map(|part| tokio::spawn(flood(url.clone(), part))).collect();
        let known = (round + 1) * 2_000;
        let many = || async { service.get("/api/v1/status").await["intake"]["total"].as_u64() > Some(known) };
        until("the flood is taken", many).await;
        service.kill();
        tokio::task::block_in_place(|| service.wait(Duration::from_secs(10)));
        floods.iter().for_each(|flood| flood.abort());
        History::read(&stack).await.check();
    }
    let service = stack.start(&settings).await;
    crate::history::until_all_offline(&service).await;
    let history = History::read(&stack).await;
    history.check();
    assert_eq!(service.get("/api/v1/status").await["store"]["repaired_rows"], 0, "nothing had to be mended");
}

/// A thousand vehicles of its own, each in every request, as fast as they are taken.
async fn flood(url: String, part: usize) {
    let vehicle = |n: usize| json!({"customer": "acme", "vehicle": format!("v{part}-{n}"), "battery_pct": n % 100});
    let body = Value::from((0..1_000).map(vehicle).collect::<Vec<_>>());
    let client = reqwest::Client::new();
    while client.post(&url).json(&body).send().await.is_ok() {}
}
