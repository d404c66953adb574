//! Stopping and starting: every dashboard is told, nothing that was heard is lost, and nobody goes offline because
//! Rollcall itself was away (R22, R25; invariants 3 and 4).

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::mqtt::Raw;
use crate::support::{Service, until};

const VEHICLES: usize = 1_000;
const DASHBOARDS: usize = 10;
/// From the signal to the end.
const STOP_MAX: Duration = Duration::from_secs(10);

fn member(n: usize) -> Value {
    let (customer, vehicle) = (format!("c{}", n % 4), format!("V{n:03}"));
    json!({"customer": customer, "vehicle": vehicle, "lat": 1, "lon": 2, "battery_pct": n % 100})
}

fn names(vehicle: &Value) -> (String, String) {
    let text = |name: &str| vehicle[name].as_str().expect("text").to_owned();
    (text("customer"), text("vehicle"))
}

/// Every hundredth vehicle says goodbye.
async fn with_a_fleet(store: &str) -> Service {
    let service = Service::start(&["--store", store, "--offline-after", "1h"]);
    let (status, answer) = service.post_heartbeats(&json!((0..VEHICLES).map(member).collect::<Vec<_>>())).await;
    assert_eq!((status, &answer["accepted"]), (202, &VEHICLES.into()), "{answer}");
    let mut connection = Raw::connect(&service, "unit").await;
    for n in (0..VEHICLES).step_by(100) {
        connection.publish(&format!("fleet/c{}/V{n:03}/goodbye", n % 4), b"").await;
    }
    until("all are there", || async {
        let counts = &service.get("/api/v1/vehicles").await["counts"];
        counts["online"] == VEHICLES - 10 && counts["offline"] == 10
    })
    .await;
    service
}

/// Status, number of the last transition and last heartbeat of every vehicle.
async fn statuses(service: &Service) -> BTreeMap<(String, String), [Value; 3]> {
    let vehicles = service.all("/api/v1/vehicles?").await;
    vehicles.iter().map(|v| (names(v), [v["status"].clone(), v["seq"].clone(), v["last_seen"].clone()])).collect()
}

/// Invariant 4: what is shown is the fold of what is stored.
async fn assert_fold(service: &Service) {
    let mut fold: BTreeMap<(String, String), [Value; 2]> = BTreeMap::new();
    let mut stored = service.all("/api/v1/transitions?").await;
    stored.sort_by_key(|item| item["seq"].as_u64());
    for item in &stored {
        let known = fold.entry(names(item)).or_insert_with(|| [json!("never_seen"), json!(0)]);
        assert_eq!((&item["from"], item["seq"].as_u64()), (&known[0], known[1].as_u64().map(|n| n + 1)), "{item}");
        *known = [item["to"].clone(), item["seq"].clone()];
    }
    let shown = statuses(service).await;
    let shown: BTreeMap<_, _> = shown.into_iter().map(|(key, [status, seq, _])| (key, [status, seq])).collect();
    assert!(shown == fold, "{} shown, {} folded", shown.len(), fold.len());
}

#[tokio::test]
async fn sigterm_tells_every_dashboard_and_a_restart_goes_on_where_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = format!("sqlite:{}/r.db", folder.path().display());
    let mut service = with_a_fleet(&store).await;
    let mut dashboards = Vec::new();
    for _ in 0..DASHBOARDS {
        let mut live = service.live("").await;
        live.next_of("counts").await;
        dashboards.push(live);
    }
    assert_fold(&service).await;
    let before = statuses(&service).await;
    service.signal("TERM");
    for live in &mut dashboards {
        let bye = live.next_of("bye").await;
        assert!(bye["reason"].as_str().is_some_and(|reason| reason.contains("stopping")), "{bye}");
        assert!(live.next().await.is_none(), "and then it is closed");
    }
    assert_eq!(service.wait(STOP_MAX).code(), Some(0));

    let service = Service::start(&["--store", &store, "--offline-after", "1h"]);
    assert!(statuses(&service).await == before, "every vehicle as it was, its last heartbeat too");
    assert_fold(&service).await;
    let vehicle = service.get("/api/v1/customers/c1/vehicles/V001").await;
    assert_eq!((&vehicle["battery_pct"], &vehicle["position"]["lon"]), (&1.0.into(), &2.0.into()), "{vehicle}");
    let gaps = service.get("/api/v1/observation-gaps").await;
    let away =
        gaps["items"].as_array().expect("a list").iter().any(|gap| gap["scope"] == "process" && !gap["to"].is_null());
    assert!(away, "it says when it was away: {gaps}");
    // They go on: a goodbye is the next number.
    let mut connection = Raw::connect(&service, "unit").await;
    connection.publish("fleet/c1/V001/goodbye", b"").await;
    until("the next transition", || async { service.get("/api/v1/customers/c1/vehicles/V001").await["seq"] == 2 })
        .await;
    assert_fold(&service).await;
}

/// Deadlines that passed while Rollcall was away prove nothing: unobserved, and only silence after it listens again
/// may count. Whoever speaks is online again at once.
#[tokio::test]
async fn nobody_is_offline_because_rollcall_was_away() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = format!("sqlite:{}/r.db", folder.path().display());
    let arguments = ["--store", &store, "--offline-after", "3s"];
    let mut service = Service::start(&arguments);
    let beats: Vec<Value> = (0..50).map(member).collect();
    assert_eq!(service.post_heartbeats(&json!(beats)).await.0, 202);
    until("all are online", || async { service.get("/api/v1/vehicles").await["counts"]["online"] == 50 }).await;
    service.signal("TERM");
    assert_eq!(service.wait(STOP_MAX).code(), Some(0));
    let stopped = std::time::Instant::now();
    while stopped.elapsed() < Duration::from_secs(4) {
        tokio::time::sleep(Duration::from_millis(50)).await; // poll: until every deadline passed unheard
    }
    let service = Service::start(&arguments);
    assert_eq!(service.post_heartbeats(&json!(beats[..10])).await.0, 202);
    until("the speakers are online", || async { service.get("/api/v1/vehicles").await["counts"]["online"] == 10 })
        .await;
    for transition in service.all("/api/v1/transitions?").await {
        assert!(transition["to"] != "offline", "blamed for our own absence: {transition}");
        assert!(transition["to"] != "unobserved" || transition["cause"] == "blind", "{transition}");
    }
    assert_fold(&service).await;
}

/// A crash loses nothing that was acknowledged.
#[tokio::test]
async fn after_a_crash_every_acknowledged_change_is_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = format!("sqlite:{}/r.db", folder.path().display());
    let mut service = Service::start(&["--store", &store, "--offline-after", "1h"]);
    let mut connection = Raw::connect(&service, "unit").await;
    for n in 0..100 {
        connection.publish(&format!("fleet/acme/V{n}/heartbeat"), b"").await;
        if n % 2 == 0 {
            connection.publish(&format!("fleet/acme/V{n}/goodbye"), b"").await;
        }
    }
    service.signal("KILL");
    assert_eq!(service.wait(STOP_MAX).code(), None, "killed");
    let service = Service::start(&["--store", &store, "--offline-after", "1h"]);
    let stored = service.all("/api/v1/transitions?").await;
    let count = |status: &str| stored.iter().filter(|item| item["to"] == status).count();
    assert_eq!((count("online"), count("offline")), (100, 50));
    assert_fold(&service).await;
}

#[tokio::test]
async fn an_interrupt_stops_it_too() {
    let mut service = Service::start(&["--store", "sqlite::memory:"]);
    service.signal("INT");
    assert_eq!(service.wait(STOP_MAX).code(), Some(0));
}
