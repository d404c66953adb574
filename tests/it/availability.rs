//! Availability from outside: the sums equal what a person adds up from transitions and blind intervals, to the
//! millisecond, also across our own absence, which counts as unobserved (R13, R20, R60).

use std::sync::Arc;

use serde_json::{Value, json};

use crate::radio::Radio;
use crate::stacks::{CUSTOMER, Kind, Stack, ms, wall_ms};
use crate::support::{PATIENCE, Service, until};

const OFFLINE_AFTER_MS: i64 = 1_000;
const SETTINGS: [(&str, &str); 1] = [("FLEET__OFFLINE_AFTER", "1s")];

/// The parts of one vehicle in `[from, to)`, millisecond by millisecond as the lists say.
async fn by_hand(service: &Service, vehicle: &str, from: i64, to: i64) -> [i64; 4] {
    let transitions = service.all(&format!("/api/v1/customers/{CUSTOMER}/vehicles/{vehicle}/transitions?")).await;
    let gaps = service.get("/api/v1/observation-gaps").await;
    let blind = |instant: i64| {
        let mut gaps = gaps["items"].as_array().expect("a list").iter();
        gaps.any(|gap| ms(&gap["from"]) <= instant && (gap["to"].is_null() || instant < ms(&gap["to"])))
    };
    let mut parts = [0; 4];
    for instant in from..to {
        let last = transitions.iter().find(|transition| ms(&transition["at"]) <= instant);
        let part = match last.map_or("never_seen", |last| last["to"].as_str().expect("a word")) {
            "online" => 0,
            "offline" if !blind(instant) => 1,
            "never_seen" => 3,
            _ => 2,
        };
        parts[part] += 1;
    }
    parts
}

fn parts(answer: &Value) -> [i64; 4] {
    ["online_ms", "offline_ms", "unobserved_ms", "never_seen_ms"].map(|name| answer[name].as_i64().expect("a number"))
}

async fn scenario(kind: Kind) {
    let Some(stack) = Stack::of(kind).await else { return };
    let from = wall_ms() - 500;
    let mut service = stack.start(&SETTINGS).await;
    let radio = Arc::new(Radio::connect(&stack, "fleet").await);
    radio.beat_acked("dark").await;
    let dark = || async { service.status_of(CUSTOMER, "dark").await.as_deref() == Some("offline") };
    until("one is dark", dark).await;
    radio.beat_acked("speaks").await;

    service.signal("TERM");
    tokio::task::block_in_place(|| service.wait(PATIENCE));
    let away = wall_ms();
    until("twice the timeout has passed", || async { wall_ms() - away > 2 * OFFLINE_AFTER_MS }).await;
    let service = stack.start(&SETTINGS).await;
    until("the radio is back", || async { radio.is_connected() }).await;
    radio.beat_acked("speaks").await;
    until("both are dark", || async { service.get("/api/v1/status").await["vehicles"]["offline"] == 2 }).await;
    let stored = || async { service.get("/api/v1/status").await["store"]["spool_rows"] == 0 };
    until("all is stored", stored).await;

    // A little in the past, for the service's clock may be a millisecond behind ours.
    let to = wall_ms() - 50;
    for vehicle in ["dark", "speaks"] {
        let path = format!("/api/v1/customers/{CUSTOMER}/vehicles/{vehicle}/availability?from={from}&to={to}");
        let answer = service.get(&path).await;
        assert_eq!(parts(&answer), by_hand(&service, vehicle, from, to).await, "{answer}");
        assert_eq!(parts(&answer).iter().sum::<i64>(), to - from, "{answer}");
        let known = (answer["online_ms"].as_f64().expect("ms"), answer["offline_ms"].as_f64().expect("ms"));
        let share = answer["availability"].as_f64().expect("a share");
        assert!((share - known.0 / (known.0 + known.1)).abs() < 1e-9, "{answer}");
        let gone = answer["unobserved_ms"].as_i64().expect("ms");
        assert!(gone >= OFFLINE_AFTER_MS, "our absence is not the vehicle's: {answer}");
    }
    check_pages(&service, from, to).await;
}

/// The list has each vehicle once, with the same sums; the end of the first page holds for all.
async fn check_pages(service: &Service, from: i64, to: i64) {
    let (mut items, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = service.get(&format!("/api/v1/availability?from={from}&limit=1{cursor}")).await;
        items.extend(page["items"].as_array().expect("a list").clone());
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    let named: Vec<_> = items.iter().map(|item| item["vehicle"].as_str().expect("a name")).collect();
    assert_eq!(named, ["dark", "speaks"]);
    assert_eq!(items[0]["to"], items[1]["to"]);
    assert!(
        items.iter().all(|item| parts(item).iter().sum::<i64>() == ms(&item["to"]) - from && ms(&item["to"]) >= to)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r60_our_own_absence_is_nobodys_outage_embedded() {
    scenario(Kind::Embedded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r60_our_own_absence_is_nobodys_outage_external() {
    scenario(Kind::External).await;
}

#[tokio::test]
async fn a_period_that_cannot_be_is_named() {
    let service = Service::start(&["--store", "sqlite::memory:"]);
    service.post_heartbeats(&json!({"customer": "acme", "vehicle": "1"})).await;
    let of_vehicle = "/api/v1/customers/acme/vehicles/1/availability";
    until("it is there", || async { service.answer(of_vehicle).await.0 == 200 }).await;
    let day = service.get(of_vehicle).await;
    assert_eq!(ms(&day["to"]) - ms(&day["from"]), 86_400_000, "the last day when nobody says");
    for (path, status) in [
        (format!("{of_vehicle}?from=2999-01-01T00:00:00Z"), 422),
        (format!("{of_vehicle}?from=20&to=10"), 422),
        (format!("{of_vehicle}?limit=3"), 422),
        ("/api/v1/customers/acme/vehicles/2/availability".to_owned(), 404),
        ("/api/v1/availability?customer=nobody".to_owned(), 422),
        ("/api/v1/availability?cursor=abc".to_owned(), 422),
    ] {
        assert_eq!(service.answer(&path).await.0, status, "{path}");
    }
}
