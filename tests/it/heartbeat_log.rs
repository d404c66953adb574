//! The heartbeat log from outside: what vehicles said, by their own time and by its arrival, through a restart; which
//! heartbeats a sample holds; and that nothing is kept unless it is asked for.

use serde_json::{Value, json};

use crate::radio::Radio;
use crate::stacks::{CUSTOMER, Kind, Stack, ms, wall_ms};
use crate::support::{PATIENCE, Service, until};

fn path(vehicle: &str) -> String {
    format!("/api/v1/customers/{CUSTOMER}/vehicles/{vehicle}/heartbeats")
}

async fn scenario(kind: Kind) {
    let Some(stack) = Stack::of(kind).await else { return };
    let settings = [("HISTORY__HEARTBEATS", "all")];
    let mut service = stack.start(&settings).await;
    let radio = Radio::connect(&stack, "fleet").await;
    let now = wall_ms() - 1_000;
    let full = json!({
        "ts": now, "seq": 7, "boot": "b1", "lat": 53.4, "lon": -2.9, "speed_kmh": 48.5, "heading_deg": 90.0,
        "battery_pct": 81.0, "odometer_km": 12.5, "ignition": true, "metrics": {"rpm": 1500.0}
    });
    radio.beat_acked("bus").await;
    until("it is known", || async { service.answer(&path("bus")).await.0 == 200 }).await;
    // Said an hour ago, and it comes after what was said now.
    for said in [full, json!({"ts": now - 3_600_000, "seq": 3, "boot": "b1", "lat": 53.5, "lon": -2.8})] {
        assert!(radio.beat("bus", &said.to_string()).is_some());
    }
    let all = || async { service.all(&format!("{}?", path("bus"))).await };
    until("all are kept", || async { all().await.len() == 3 }).await;
    let rows = all().await;
    let at: Vec<i64> = rows.iter().map(|row| ms(&row["at"])).collect();
    assert!(at.is_sorted_by(|one, next| one >= next), "{at:?}");
    let of = |seq: i64| rows.iter().find(|row| row["seq"] == seq).unwrap_or_else(|| panic!("{seq} in {rows:?}"));
    let (new, old) = (of(7), of(3));
    assert_eq!((ms(&new["at"]), &new["backlog"], &new["lat"]), (now, &json!(false), &json!(53.4)));
    assert_eq!(
        (&new["speed_kmh"], &new["metrics"], &new["ignition"]),
        (&48.5.into(), &json!({"rpm": 1500.0}), &true.into())
    );
    assert_eq!((ms(&old["at"]), &old["backlog"]), (now - 3_600_000, &json!(true)));
    assert!(ms(&old["arrived_at"]) >= now && new["boot"] == old["boot"] && new["boot"].is_string());
    assert_eq!(rows.last(), Some(old), "by the vehicle's own time");

    let page = service.get(&format!("{}?limit=2", path("bus"))).await;
    let cursor = page["next_cursor"].as_str().expect("a cursor");
    let next = service.get(&format!("{}?limit=2&cursor={cursor}", path("bus"))).await;
    assert_eq!((&next["items"], &next["next_cursor"]), (&json!([old]), &Value::Null));
    let within = service.get(&format!("{}?from={}&to={now}", path("bus"), now - 3_600_000)).await;
    assert_eq!(within["items"], json!([old]));
    assert_eq!((&within["kept"], &within["kept_from"]), (&json!("all"), &Value::Null));
    let counted = json!({"kept": "all", "logged": 3, "dropped": 0, "expired": 0, "waiting": 0});
    until("they are counted", || async { service.get("/api/v1/status").await["heartbeat_log"] == counted }).await;
    for (status, query) in [(422, "?from=2&to=1"), (422, "?cursor=x"), (422, "?colour=red")] {
        assert_eq!(service.answer(&format!("{}{query}", path("bus"))).await.0, status, "{query}");
    }
    assert_eq!(service.answer(&path("nobody")).await.0, 404);

    // What came last is written before the end.
    radio.beat_acked("bus").await;
    service.signal("TERM");
    assert!(tokio::task::block_in_place(|| service.wait(PATIENCE)).success());
    let service = stack.start(&[]).await;
    let page = service.get(&path("bus")).await;
    assert_eq!(page["items"].as_array().map(Vec::len), Some(4), "{page}");
    assert_eq!((&page["kept"], &service.get("/api/v1/status").await["heartbeat_log"]), (&json!("off"), &Value::Null));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_are_kept_with_both_times_embedded() {
    scenario(Kind::Embedded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_are_kept_with_both_times_external() {
    scenario(Kind::External).await;
}

async fn post(service: &Service, beats: &[Value]) {
    let (status, answer) = service.post_heartbeats(&json!(beats)).await;
    assert_eq!((status, &answer["accepted"]), (202, &json!(beats.len())), "{answer}");
}

#[tokio::test]
async fn a_sample_holds_one_a_minute_and_only_what_is_new() {
    let service = Service::with_settings(&[("ROLLCALL__HISTORY__HEARTBEATS", "sampled")]);
    let begin = wall_ms() - 20_000_000;
    let said = |vehicle: &str, s: i64, lat: f64| {
        let ts = begin + s * 1_000;
        json!({"customer": CUSTOMER, "vehicle": vehicle, "ts": ts, "lat": lat, "lon": 1.0})
    };
    // An hour each, every ten seconds: one drives, one stands.
    let beats: Vec<Value> = (0..360)
        .flat_map(|n| [said("driver", n * 10, 50.0 + n as f64 / 1_000.0), said("parked", n * 10, 50.0)])
        .collect();
    post(&service, &beats).await;
    post(&service, &[said("last", 0, 1.0)]).await;
    until("the last one is kept", || async { service.get(&path("last")).await["items"][0].is_object() }).await;
    let kept = async |vehicle: &str| service.all(&format!("{}?", path(vehicle))).await;
    let (driver, parked) = (kept("driver").await, kept("parked").await);
    assert_eq!((driver.len(), parked.len()), (60, 1));
    let at: Vec<i64> = driver.iter().map(|row| ms(&row["at"])).collect();
    assert!(at.windows(2).all(|pair| pair[0] - pair[1] >= 60_000), "{at:?}");
}

#[tokio::test]
async fn nothing_is_kept_unless_it_is_asked_for_and_what_is_too_old_is_not() {
    let off = Service::start(&["--store", "sqlite::memory:"]);
    let beat = |ts: i64| json!({"customer": CUSTOMER, "vehicle": "bus", "ts": ts, "lat": 1.0, "lon": 1.0});
    post(&off, &[beat(wall_ms())]).await;
    until("it is known", || async { off.answer(&path("bus")).await.0 == 200 }).await;
    assert_eq!(
        off.get(&path("bus")).await,
        json!({"items": [], "next_cursor": null, "kept": "off", "kept_from": null, "archived": []})
    );

    let settings = [("ROLLCALL__HISTORY__HEARTBEATS", "all"), ("ROLLCALL__HISTORY__RETENTION__HEARTBEATS", "1d")];
    let day = Service::with_settings(&settings);
    post(&day, &[beat(wall_ms() - 3 * 86_400_000), beat(wall_ms())]).await;
    let log = || async { day.get("/api/v1/status").await["heartbeat_log"].clone() };
    until("both are dealt with", || async { log().await["logged"] == 1 }).await;
    assert_eq!(log().await["expired"], 1);
    assert_eq!(day.get(&path("bus")).await["items"].as_array().map(Vec::len), Some(1));
}
