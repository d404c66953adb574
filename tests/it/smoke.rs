//! The main job in one test: a heartbeat makes a vehicle online, silence makes it offline, everybody is told.

use serde_json::json;

use crate::support::{Service, until};

#[tokio::test]
async fn a_vehicle_is_heard_falls_silent_and_everybody_is_told() {
    let service = Service::start(&["--store", "sqlite::memory:", "--offline-after", "500ms"]);
    let mut live = service.live("").await;
    assert_eq!(live.next().await.expect("hello")["type"], "hello");
    let beat = json!({"customer": "acme", "vehicle": "TRK-1", "lat": 1, "lon": 2});
    let (status, answer) = service.post_heartbeats(&beat).await;
    assert_eq!((status, answer), (202, json!({"accepted": 1, "refused": []})));
    let online = live.next_of("transition").await;
    assert_eq!((online["to"].as_str(), online["cause"].as_str()), (Some("online"), Some("heartbeat")));
    let offline = live.next_of("transition").await;
    assert_eq!((offline["to"].as_str(), offline["cause"].as_str()), (Some("offline"), Some("silence")));
    until("offline in REST", || async { service.status_of("acme", "TRK-1").await.as_deref() == Some("offline") }).await;
    let stored = service.get("/api/v1/customers/acme/vehicles/TRK-1/transitions").await;
    assert_eq!(stored["items"].as_array().map(Vec::len), Some(2));
    assert_eq!(stored["items"][0]["at"], offline["at"]);
}
