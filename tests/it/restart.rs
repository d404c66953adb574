//! A planned restart (SIGTERM, start) on both stacks, among vehicles that go on sending and vehicles that fell silent:
//! nobody goes offline by our restart (R22, R25), and who is truly silent is found after one full timeout from
//! listening again (R23).

use std::sync::Arc;
use std::time::Duration;

use crate::history::{History, Step, until_all_offline};
use crate::radio::Radio;
use crate::stacks::{Dashboard, Kind, Stack, listening_since, ms, wall_ms};
use crate::support::{Service, until};

const OFFLINE_AFTER_MS: i64 = 3_000;
const SETTINGS: [(&str, &str); 1] = [("FLEET__OFFLINE_AFTER", "3s")];
const SENDERS: usize = 20;
const SILENT: usize = 10;

/// How long the service is away.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Away {
    /// Shorter than the timeout: no deadline passes meanwhile.
    Short,
    /// Past every deadline.
    Long,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_restart_changes_nothing_for_senders_embedded() {
    scenario(Kind::Embedded, Away::Short).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_restart_changes_nothing_for_senders_external() {
    scenario(Kind::External, Away::Short).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_restart_calls_nobody_offline_embedded() {
    scenario(Kind::Embedded, Away::Long).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_restart_calls_nobody_offline_external() {
    scenario(Kind::External, Away::Long).await;
}

fn sender(index: usize) -> String {
    format!("sender-{index}")
}

fn silent(index: usize) -> String {
    format!("silent-{index}")
}

/// Sends for every sender, ten times a second, until it is aborted.
async fn send(radio: Arc<Radio>) {
    loop {
        for index in 0..SENDERS {
            radio.beat(&sender(index), "{}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await; // poll: the rhythm of the vehicles
    }
}

/// Stops the service as an operator does; when it was gone.
async fn stop(mut service: Service) -> i64 {
    service.signal("TERM");
    let status = tokio::task::block_in_place(|| service.wait(Duration::from_secs(10)));
    assert!(status.success(), "ends well: {status}");
    wall_ms()
}

async fn scenario(kind: Kind, away: Away) {
    let Some(stack) = Stack::of(kind).await else { return };
    let service = stack.start(&SETTINGS).await;
    let dashboard = Dashboard::open(&service).await;
    let radio = Arc::new(Radio::connect(&stack, "fleet").await);
    let sending = tokio::spawn(send(Arc::clone(&radio)));
    let counted = |service: Arc<Service>, status: &'static str, count: usize| async move {
        service.get("/api/v1/status").await["vehicles"][status] == count
    };
    let service = Arc::new(service);
    until("the senders are online", || counted(Arc::clone(&service), "online", SENDERS)).await;
    for index in 0..SILENT {
        radio.beat(&silent(index), "{}").expect("connected");
    }
    until("all are online", || counted(Arc::clone(&service), "online", SENDERS + SILENT)).await;
    let last_words = wall_ms();

    let asked = wall_ms();
    let stopped = stop(Arc::into_inner(service).expect("nobody else has it")).await;
    let bye = || async { dashboard.has(|frame| frame["type"] == "bye") };
    until("the dashboard was told", bye).await;
    if away == Away::Long {
        let past_all = || async { wall_ms() > last_words + 2 * OFFLINE_AFTER_MS };
        until("every deadline has passed", past_all).await;
    }

    let service = Arc::new(stack.start(&SETTINGS).await);
    let listening = listening_since(&service).await;
    let dashboard = Dashboard::open(&service).await;
    until("the senders are heard again", || counted(Arc::clone(&service), "online", SENDERS)).await;
    let silent_offline = || counted(Arc::clone(&service), "offline", SILENT);
    until("the silent are found", silent_offline).await;
    // The board does not wait for the store.
    until("all is stored", || async { service.get("/api/v1/status").await["store"]["spool_rows"] == 0 }).await;

    let history = History::read(&stack).await;
    history.check();
    for index in 0..SENDERS {
        let name = sender(index);
        let words: Vec<&str> = history.of(&name).map(|step| step.to.as_str()).collect();
        match away {
            Away::Short => assert!(words == ["online"] || words == ["online", "unobserved", "online"], "{words:?}"),
            Away::Long => assert_eq!(words, ["online", "unobserved", "online"]),
        }
        if listening < stopped + OFFLINE_AFTER_MS / 2 && away == Away::Short {
            assert_eq!(words, ["online"], "our restart is no news about {name}");
        }
    }
    for index in 0..SILENT {
        check_silent(&history, &silent(index), listening, away);
    }
    check_gap(&service, asked, listening).await;
    assert!(!dashboard.has(|frame| frame["type"] == "transition" && from_sender(frame) && frame["to"] == "offline"));

    sending.abort();
    drop(radio);
    until_all_offline(&service).await;
    let history = History::read(&stack).await;
    history.check();
    history.check_rest(&service).await;
    stop(Arc::into_inner(service).expect("nobody else has it")).await;
}

fn from_sender(frame: &serde_json::Value) -> bool {
    frame["vehicle"].as_str().is_some_and(|name| name.starts_with("sender"))
}

/// Who fell silent before is unobserved if the deadline passed while we were deaf, and offline one full timeout after
/// we listen again, to the millisecond.
fn check_silent(history: &History, vehicle: &str, listening: i64, away: Away) {
    let steps: Vec<&Step> = history.of(vehicle).collect();
    let offline = steps.last().expect("some");
    assert_eq!((offline.to.as_str(), offline.cause.as_str()), ("offline", "silence"), "{steps:#?}");
    assert_eq!(offline.at, listening + OFFLINE_AFTER_MS, "one full timeout from listening again: {steps:#?}");
    let deadline = steps[0].at + OFFLINE_AFTER_MS;
    if deadline < listening {
        assert_eq!(steps.len(), 3, "{steps:#?}");
        let blind = (steps[1].to.as_str(), steps[1].cause.as_str(), steps[1].at);
        assert_eq!(blind, ("unobserved", "blind", deadline), "{steps:#?}");
    } else {
        assert!(away == Away::Short && steps.len() == 2, "{steps:#?}");
    }
}

/// The time we were away is told as ours.
async fn check_gap(service: &Service, asked: i64, listening: i64) {
    let gaps = service.get("/api/v1/observation-gaps").await["items"].clone();
    // The link to a broker ends as a part of the stop, a moment after the last checkpoint.
    let process = |gaps: &'_ Vec<serde_json::Value>| gaps.iter().rfind(|gap| gap["scope"] == "process").cloned();
    let gap = gaps.as_array().and_then(process).unwrap_or_else(|| panic!("a gap of the process in {gaps}"));
    assert_eq!(ms(&gap["to"]), listening, "{gap}");
    // It begins where the last run is known to have heard everything: at its last checkpoint, made while it stopped.
    let from = ms(&gap["from"]);
    assert!(from >= asked - 1_000 && from <= listening, "asked to stop at {asked}: {gap}");
}
