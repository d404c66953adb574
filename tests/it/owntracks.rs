//! The OwnTracks app through both intakes: real payloads, retained as the app sends them; wills; what is not for us.

use serde_json::{Value, json};

use crate::mqtt::{Client, MARK, Reader, Version, refused};
use crate::stacks::{CUSTOMER, Kind, Stack};
use crate::support::{Service, until};

const TOPICS: &str =
    "[[mqtt.topics]]\npattern = 'NAME/{customer}/{vehicle}'\nkind = 'heartbeat'\nformat = 'owntracks'\n";
const LWT: &str = r#"{"_type":"lwt","tst":"1646254987"}"#;

/// A location as the app sends it, with these seconds.
fn fix(tst: i64, lat: f64) -> String {
    json!({
        "_type": "location", "BSSID": "aa:bb:cc:dd:ee:ff", "SSID": "depot", "acc": 13, "alt": 117, "batt": 81, "bs": 1,
        "cog": 271, "conn": "w", "created_at": tst + 2, "lat": lat, "lon": -2.9916, "m": 1, "t": "p", "tid": "07",
        "topic": "owntracks/acme/van7", "tst": tst, "vac": 3, "vel": 48
    })
    .to_string()
}

async fn counter(service: &Service, name: &str) -> u64 {
    let text = service.send("GET", "/metrics", "", "").await.text;
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("rollcall_{name}_total "))?.parse().ok());
    line.unwrap_or_else(|| panic!("no {name} in {text}"))
}

async fn vehicle(service: &Service) -> Value {
    service.get(&format!("/api/v1/customers/{CUSTOMER}/vehicles/van7")).await
}

async fn the_app(kind: Kind) {
    let Some(stack) = Stack::of(kind).await else { return };
    stack.read_topics(TOPICS);
    let settings = [("FLEET__OFFLINE_AFTER", "1h"), ("FLEET__WILL_GRACE", "500ms")];
    let service = stack.start(&settings).await;
    let topic = format!("{}/{CUSTOMER}/van7", stack.name);
    let id = format!("{}-app", stack.name);
    let app = Client::connect_with(&service, Version::V3, &id, Some((&topic, LWT, false)));
    let now = chrono::Utc::now().timestamp();
    app.publish(&topic, 1, true, &fix(now, 53.4)).await;
    until("online", || async { vehicle(&service).await["status"] == "online" }).await;
    let shown = vehicle(&service).await;
    let position = &shown["position"];
    assert_eq!(
        (&position["lat"], &position["lon"], &shown["battery_pct"]),
        (&json!(53.4), &json!(-2.9916), &json!(81.0))
    );
    assert_eq!((&position["speed_kmh"], &position["heading_deg"]), (&json!(48.0), &json!(271.0)), "{shown}");

    // Several fixes within one second are all taken; the last one is where it is.
    let taken = counter(&service, "heartbeats").await;
    for step in 1..=5 {
        app.publish(&topic, 1, true, &fix(now, 53.4 + f64::from(step) / 10.0)).await;
    }
    until("all of them", || async { counter(&service, "heartbeats").await == taken + 5 }).await;
    until("the last one", || async { vehicle(&service).await["position"]["lat"] == 53.9 }).await;
    assert_eq!(counter(&service, "duplicates").await, 0);

    // What is not for us is ignored, what is no OwnTracks is refused.
    for kind in ["transition", "waypoints", "card", "status", "encrypted"] {
        app.publish(&topic, 1, false, &json!({"_type": kind, "event": "enter", "tst": now}).to_string()).await;
    }
    app.publish(&topic, 1, false, r#"{"lat":1,"lon":1}"#).await;
    app.publish(&topic, 1, false, r#"{"_type":"location","lat":95,"lon":1}"#).await;
    until("counted", || async { refused(&service, "out_of_range").await == 1 }).await;
    assert_eq!((counter(&service, "ignored").await, refused(&service, "bad_payload").await), (5, 1));
    assert_eq!(refused(&service, "retained").await, 0);

    // The will shortens the deadline.
    app.cut().await;
    until("offline", || async { vehicle(&service).await["status"] == "offline" }).await;
    let history = service.get(&format!("/api/v1/customers/{CUSTOMER}/vehicles/van7/transitions")).await;
    assert_eq!(
        (&history["items"][0]["cause"], history["items"].as_array().map(Vec::len)),
        (&json!("last_will"), Some(2))
    );
}

#[tokio::test]
async fn the_owntracks_app_is_understood_by_the_embedded_broker() {
    the_app(Kind::Embedded).await;
}

#[tokio::test]
async fn the_owntracks_app_is_understood_through_mosquitto() {
    the_app(Kind::External).await;
}

/// R37: the copies that an external broker keeps of the app's locations bring nobody back.
#[tokio::test]
async fn retained_locations_of_mosquitto_make_nobody_online() {
    let Some(stack) = Stack::of(Kind::External).await else { return };
    stack.read_topics(TOPICS);
    let service = stack.start(&[("FLEET__OFFLINE_AFTER", "700ms")]).await;
    let topic = format!("{}/{CUSTOMER}/van7", stack.name);
    let app = Client::connect(&service, Version::V3, &format!("{}-app", stack.name), None);
    app.publish(&topic, 1, true, &fix(chrono::Utc::now().timestamp(), 53.4)).await;
    until("offline", || async { vehicle(&service).await["status"] == "offline" }).await;
    // The copy is really there.
    let mut late = Reader::start(&service.mqtt, Version::V5, &topic).await;
    app.publish(MARK, 1, false, "").await;
    let (place, retained, _) = late.next().await;
    assert_eq!((place, retained), (topic.clone(), true));
    drop(service);
    let service = stack.start(&[("FLEET__OFFLINE_AFTER", "700ms")]).await;
    let other = format!("{}/{CUSTOMER}/other", stack.name);
    app.publish(&other, 1, true, &fix(chrono::Utc::now().timestamp(), 53.4)).await;
    until("the live one counts", || async { service.status_of(CUSTOMER, "other").await.is_some() }).await;
    assert_eq!(vehicle(&service).await["status"], "offline");
    app.publish(&topic, 1, true, "").await;
    app.publish(&other, 1, true, "").await;
}
