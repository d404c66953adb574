//! A whole fleet falls silent at once, on both stacks: exactly one offline each, in the store, at REST and on the
//! WebSocket, and the memory for it is bounded (R27).

use std::collections::HashSet;
use std::time::{Duration, Instant};

use rumqttc::{AsyncClient, Event, MqttOptions, Outgoing, Packet, QoS};

use crate::history::History;
use crate::stacks::{Dashboard, Kind, Stack, ms};
use crate::support::{Service, until};

const VEHICLES: usize = 100_000;
const CONNECTIONS: usize = 4;
/// Longer than the fleet takes to speak once, so that its silence is one silence.
const OFFLINE_AFTER: (&str, &str) = ("FLEET__OFFLINE_AFTER", "40s");
/// From the first heartbeat to the last transition in the store, on a slow machine.
const LIMIT: Duration = Duration::from_secs(240);

/// One heartbeat of each vehicle of this connection; returns when the broker has acknowledged all.
async fn speak_once(stack: &Stack, connection: usize) {
    let name = format!("{}-{connection}", stack.name);
    let mut options = MqttOptions::new(name, &stack.broker.0, stack.broker.1);
    options.set_inflight(u16::MAX).set_keep_alive(Duration::from_secs(120));
    let (client, mut events) = AsyncClient::new(options, 1_000);
    let topics: Vec<String> =
        (connection..VEHICLES).step_by(CONNECTIONS).map(|i| stack.topic(&format!("v-{i}"))).collect();
    let mut open = topics.len();
    let sending = tokio::spawn(async move {
        for topic in topics {
            client.publish(topic, QoS::AtLeastOnce, false, "{}").await.expect("the connection lives");
        }
        client
    });
    while open > 0 {
        let event = events.poll().await.expect("the broker stays");
        open -= usize::from(matches!(event, Event::Incoming(Packet::PubAck(_))));
    }
    // With a goodbye to the broker: a connection that breaks would be a hint about its vehicles.
    sending.await.expect("no panic").disconnect().await.expect("the connection lives");
    while !matches!(events.poll().await, Ok(Event::Outgoing(Outgoing::Disconnect)) | Err(_)) {}
}

async fn count(service: &Service, status: &str) -> u64 {
    service.get("/api/v1/status").await["vehicles"][status].as_u64().expect("a number")
}

/// Waits as `until` does, but as long as a fleet of this size may take.
async fn in_time(begun: Instant, what: &str, condition: impl AsyncFn() -> bool) {
    while !condition().await {
        assert!(begun.elapsed() < LIMIT, "{what}: not within {LIMIT:?}");
        tokio::time::sleep(Duration::from_millis(200)).await; // poll: what a slow machine needs its time for
    }
}

/// Every transition frame once, or announced as left out.
fn check_frames(dashboard: &Dashboard) {
    let frames = dashboard.all("transition");
    let named: HashSet<(String, u64)> =
        frames.iter().map(|frame| (frame["vehicle"].to_string(), frame["seq"].as_u64().expect("a number"))).collect();
    assert_eq!(named.len(), frames.len(), "no frame twice");
    let left_out: u64 = dashboard.all("gap").iter().map(|gap| gap["dropped"].as_u64().expect("a number")).sum();
    assert_eq!(frames.len() as u64 + left_out, 2 * VEHICLES as u64, "{left_out} announced as left out");
}

async fn scenario(kind: Kind) {
    let Some(stack) = Stack::of(kind).await else { return };
    let service = stack.start(&[OFFLINE_AFTER]).await;
    let dashboard = Dashboard::open(&service).await;
    let begun = Instant::now();
    futures_util::future::join_all((0..CONNECTIONS).map(|connection| speak_once(&stack, connection))).await;
    in_time(begun, "all are offline", async || count(&service, "offline").await == VEHICLES as u64).await;
    in_time(begun, "all is stored", async || service.get("/api/v1/status").await["store"]["spool_rows"] == 0).await;

    let history = History::read(&stack).await;
    history.check();
    let offline = history.steps.iter().filter(|step| step.to == "offline").count();
    assert_eq!((history.steps.len(), offline), (2 * VEHICLES, VEHICLES), "one online and one offline each");
    // A machine that stalled for a second was blind, and then everybody gets a full timeout from there.
    let gaps = service.get("/api/v1/observation-gaps").await;
    let ends: HashSet<i64> = gaps["items"].as_array().expect("a list").iter().map(|gap| ms(&gap["to"])).collect();
    for (step, seen) in history.steps.iter().zip(&history.last_seen).filter(|(step, _)| step.to == "offline") {
        let from = step.at - 40_000;
        assert!(Some(from) == *seen || ends.contains(&from), "not at its deadline: {step:?}, {gaps}");
    }
    until("the dashboard has all", || async {
        dashboard.all("counts").last().is_some_and(|counts| counts["offline"] == VEHICLES)
    })
    .await;
    check_frames(&dashboard);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r27_a_fleet_silent_at_once_is_one_transition_each_embedded() {
    scenario(Kind::Embedded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r27_a_fleet_silent_at_once_is_one_transition_each_external() {
    scenario(Kind::External).await;
}
