//! One vehicle gone wild (R45): it stays online, is named, and others do not suffer.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::mqtt::{Raw, publish};
use crate::stacks::ms;
use crate::support::{Service, until};

/// How long PUBACKs of ten other vehicles take, all within their limit: the median and the longest of 200.
async fn acknowledgements(unit: &mut Raw) -> (Duration, Duration) {
    let mut taken = Vec::new();
    for number in 0..200 {
        let sent = Instant::now();
        unit.publish(&format!("fleet/acme/OTHER{}/heartbeat", number % 10), b"{}").await;
        taken.push(sent.elapsed());
    }
    taken.sort();
    (taken[100], taken[199])
}

async fn metric(service: &Service, name: &str) -> u64 {
    let text = service.send("GET", "/metrics", "", "").await.text;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().expect("a number")
}

/// R45: tens of thousands a second from one vehicle; another is acknowledged and found silent as ever.
#[tokio::test]
async fn a_flood_of_one_vehicle_leaves_others_alone() {
    let settings = [("ROLLCALL__FLEET__OFFLINE_AFTER", "1s"), ("ROLLCALL__FLEET__BEATS_BURST", "100")];
    let service = Service::with_settings(&settings);
    let mut other = Raw::connect(&service, "other").await;
    let (calm, _) = acknowledgements(&mut other).await;

    let mut wild = Raw::connect(&service, "wild").await;
    let thousand = publish("fleet/acme/WILD/heartbeat", br#"{"battery_pct":50}"#, None, false).repeat(1_000);
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let begun = Instant::now();
    let flood = tokio::spawn(async move {
        let mut sent = 0_u64;
        while stopped.try_recv().is_err() {
            wild.write(&thousand).await;
            sent += 1_000;
        }
        (sent, wild)
    });
    until("it is over its limit", || async { metric(&service, "rollcall_over_limit_total").await > 20_000 }).await;
    let (busy, longest) = acknowledgements(&mut other).await;
    let silent = service.post_heartbeats(&json!({"customer": "acme", "vehicle": "SILENT"})).await;
    assert_eq!(silent.0, 202);
    let history = "/api/v1/customers/acme/vehicles/SILENT/transitions";
    let transitions = || async { service.get(history).await["items"].as_array().cloned().unwrap_or_default() };
    until("found silent", || async { transitions().await.len() == 2 }).await;
    let offline = transitions().await.remove(0);
    let lag = ms(&offline["decided_at"]) - ms(&offline["at"]);
    let _ = stop.send(());
    let (sent, _wild) = flood.await.expect("ends");
    let per_s = sent as f64 / begun.elapsed().as_secs_f64();
    eprintln!(
        "flood {per_s:.0}/s; PUBACK median {calm:?} calm, {busy:?} in the flood, longest {longest:?}; lag {lag} ms"
    );

    assert!(per_s > 10_000.0, "no flood: {per_s:.0}/s");
    // Wide, for a busy machine: what is meant is milliseconds, where a shared queue would take seconds.
    assert!(busy < calm * 20 + Duration::from_millis(20) && longest < Duration::from_secs(1), "{busy:?}, {longest:?}");
    assert!(lag < 500, "decided {lag} ms late");
    assert_eq!(service.status_of("acme", "WILD").await.as_deref(), Some("online"));
    let wild = service.get("/api/v1/customers/acme/vehicles/WILD/transitions").await;
    assert_eq!(wild["items"].as_array().map(Vec::len), Some(1), "it never fell silent: {wild}");
    let warnings = service.get("/api/v1/warnings").await;
    let named = |warning: &Value| warning["kind"] == "flooding" && warning["vehicle"] == "WILD";
    let items = warnings["items"].as_array().expect("a list");
    assert!(items.len() == 1 && named(&items[0]) && items[0]["count"].as_u64() > Some(10_000), "{warnings}");
}

/// R45: a vehicle that comes out of a tunnel is no flood; nothing of what it buffered is lost.
#[tokio::test]
async fn a_thousand_buffered_beats_at_once_are_all_read() {
    let service = Service::start(&["--store", "sqlite::memory:"]);
    let list: Vec<Value> =
        (1..=1_000).map(|i| json!({"customer": "acme", "vehicle": "T", "seq": i, "odometer_km": i})).collect();
    assert_eq!(service.post_heartbeats(&json!(list)).await.1["accepted"], 1_000);
    until("the last one counts", || async {
        service.get("/api/v1/customers/acme/vehicles/T").await["odometer_km"] == 1_000.0
    })
    .await;
    assert_eq!(metric(&service, "rollcall_over_limit_total").await, 0);
    assert_eq!(service.get("/api/v1/warnings").await["items"], json!([]));
}
