//! Strangers while `fleet.auto_register` is off: listed, taken in, dismissed; and garbage that is none of it (R46).

use serde_json::{Value, json};

use crate::mqtt::{Raw, refused};
use crate::stacks::{CUSTOMER, Kind, Stack};
use crate::support::{Service, until};

const LIST: &str = "/api/v1/quarantine";

async fn offer(service: &Service, vehicle: &str) {
    let (status, answer) = service.post_heartbeats(&json!([{"customer": CUSTOMER, "vehicle": vehicle}])).await;
    assert_eq!(status, 202, "{answer}");
}

async fn send(service: &Service, method: &str, path: &str) -> (u16, Value) {
    let reply = service.send(method, &format!("{LIST}{path}"), "", "").await;
    (reply.status, serde_json::from_str(&reply.text).unwrap_or(Value::Null))
}

async fn accepts_durably(kind: Kind) {
    let Some(stack) = Stack::of(kind).await else { return };
    let settings = [("FLEET__AUTO_REGISTER", "false"), ("FLEET__OFFLINE_AFTER", "60s")];
    let mut service = stack.start(&settings).await;
    offer(&service, "TRK 1").await;
    offer(&service, "TRK 1").await;
    let page = service.get(LIST).await;
    let item = &page["items"][0];
    assert_eq!((&page["total"], &page["dropped"], &item["heartbeats"]), (&json!(1), &json!(0), &json!(2)), "{page}");
    assert_eq!((&item["customer"], &item["vehicle"]), (&json!(CUSTOMER), &json!("TRK 1")), "{page}");
    assert_eq!(refused(&service, "unknown_vehicle").await, 2, "still refused");
    assert_eq!(send(&service, "POST", "/acme/nobody/accept").await.0, 404);
    let (status, vehicle) = send(&service, "POST", "/acme/TRK%201/accept").await;
    assert_eq!((status, &vehicle["status"], &vehicle["vehicle"]), (201, &json!("never_seen"), &json!("TRK 1")));
    assert_eq!(send(&service, "POST", "/acme/TRK%201/accept").await.0, 409);
    assert_eq!(service.get(LIST).await["total"], 0);
    // Durable before it was answered: the next process knows it.
    service.kill();
    let service = stack.start(&settings).await;
    assert_eq!(service.status_of(CUSTOMER, "TRK 1").await.as_deref(), Some("never_seen"));
    offer(&service, "TRK 1").await;
    until("online", || async { service.status_of(CUSTOMER, "TRK 1").await.as_deref() == Some("online") }).await;
    offer(&service, "other").await;
    let (status, vehicle) = send(&service, "POST", "/acme/other/accept").await;
    assert_eq!((status, &vehicle["status"]), (201, &json!("never_seen")));
    offer(&service, "other").await;
    until("online", || async { service.status_of(CUSTOMER, "other").await.as_deref() == Some("online") }).await;
}

#[tokio::test]
async fn an_accepted_stranger_survives_a_crash_and_comes_online_on_sqlite() {
    accepts_durably(Kind::Embedded).await;
}

#[tokio::test]
async fn an_accepted_stranger_survives_a_crash_and_comes_online_on_postgres() {
    accepts_durably(Kind::External).await;
}

/// R46.
#[tokio::test]
async fn strangers_are_listed_in_pages_and_dismissed_and_garbage_is_not_listed() {
    let service = Service::with_settings(&[("ROLLCALL__FLEET__AUTO_REGISTER", "false")]);
    for vehicle in ["c", "a", "b"] {
        offer(&service, vehicle).await;
    }
    let mut unit = Raw::connect(&service, "unit").await;
    unit.publish("fleet/other/x/heartbeat", b"{}").await;
    unit.publish("fleet/other/x/will", b"").await;
    for garbage in ["fleet/-bad/x/heartbeat", "fleet/acme/ x/heartbeat", "fleet/acme/bad payload/heartbeat"] {
        unit.publish(garbage, b"nonsense").await;
    }
    let names: Vec<String> = service
        .all(&format!("{LIST}?"))
        .await
        .iter()
        .map(|item| format!("{}/{}", item["customer"], item["vehicle"]).replace('"', ""))
        .collect();
    assert_eq!(names, ["acme/a", "acme/b", "acme/c", "other/x"]);
    let first = service.get(&format!("{LIST}?customer=acme&limit=2")).await;
    assert_eq!((&first["total"], &first["items"][1]["vehicle"]), (&json!(3), &json!("b")), "{first}");
    let cursor = first["next_cursor"].as_str().expect("a cursor");
    let second = service.get(&format!("{LIST}?customer=acme&limit=2&cursor={cursor}")).await;
    assert_eq!((&second["items"][0]["vehicle"], &second["next_cursor"]), (&json!("c"), &Value::Null), "{second}");
    assert_eq!(send(&service, "DELETE", "/acme/b").await.0, 204);
    assert_eq!(send(&service, "DELETE", "/acme/b").await.0, 404);
    assert_eq!(send(&service, "POST", "/acme/b/accept").await.0, 404);
    assert_eq!(service.get(LIST).await["total"], 3);
    assert_eq!(send(&service, "GET", "?color=red").await.0, 422);
}

/// R46: what a cap refuses is refused by name and not listed, and no room is made for what was accepted.
#[tokio::test]
async fn caps_hold_for_the_accepted_too_and_fill_no_list() {
    let settings = [("ROLLCALL__FLEET__AUTO_REGISTER", "false"), ("ROLLCALL__FLEET__MAX_VEHICLES", "1")];
    let service = Service::with_settings(&settings);
    offer(&service, "a").await;
    offer(&service, "b").await;
    assert_eq!(send(&service, "POST", "/acme/a/accept").await.0, 201);
    let (status, problem) = send(&service, "POST", "/acme/b/accept").await;
    assert!(status == 409 && problem["detail"].as_str().is_some_and(|text| text.contains("fleet_full")), "{problem}");
    let open = Service::with_settings(&[("ROLLCALL__FLEET__MAX_VEHICLES", "1")]);
    offer(&open, "a").await;
    offer(&open, "b").await;
    assert_eq!((refused(&open, "fleet_full").await, &open.get(LIST).await["total"]), (1, &json!(0)));
}

/// R46: 150,000 names that may not come cost no memory that stays.
#[tokio::test]
async fn ever_new_names_do_not_grow_memory() {
    let service = Service::with_settings(&[("ROLLCALL__FLEET__AUTO_REGISTER", "false")]);
    let round = |round: usize| {
        let list: Vec<Value> =
            (0..1_000).map(|i| json!({"customer": "acme", "vehicle": format!("garbage {round} {i}")})).collect();
        json!(list)
    };
    for number in 0..30 {
        service.post_heartbeats(&round(number)).await;
    }
    let before = service.rss_kib();
    for number in 30..150 {
        service.post_heartbeats(&round(number)).await;
    }
    let grown = service.rss_kib().saturating_sub(before);
    let page = service.get(&format!("{LIST}?limit=1")).await;
    assert_eq!((&page["total"], &page["dropped"]), (&json!(10_000), &json!(140_000)), "{page}");
    assert_eq!(service.get("/api/v1/vehicles").await["total"], 0);
    assert!(grown < 20 * 1_024, "grew by {grown} KiB over 120,000 names");
}
