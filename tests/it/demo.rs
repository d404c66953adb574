//! The demo and the simulator where everybody is asked for a key: the fleet has one of its own, and whoever watches is
//! given one.

use std::time::Duration;

use serde_json::{Value, json};
use simulator::{Broker, Key, Options, Verify};

use crate::access::Keyed;
use crate::support::{Service, rollcall, until};

#[tokio::test]
async fn the_demo_with_keys_moves_and_says_with_which_key_to_look() {
    let arguments = ["demo", "--http", "127.0.0.1:0", "--mqtt-listen", "127.0.0.1:0", "--vehicles", "8"];
    let service = Service::spawn(rollcall(&arguments).env("ROLLCALL__AUTH__MODE", "keys"));
    until("the key is told", || async { service.said().contains("rk_") }).await;
    let said = service.said();
    let key = said.split_whitespace().find(|word| word.starts_with("rk_")).expect("a key").to_owned();
    assert_eq!(service.send("GET", "/api/v1/vehicles", "", "").await.status, 401);
    until("vehicles are on the road", || async {
        let fleet = service.send_as(&key, "GET", "/api/v1/vehicles", "", "").await.json();
        fleet["counts"]["online"].as_u64().is_some_and(|online| online >= 5)
    })
    .await;
    let signed_in = json!({"key": key}).to_string();
    assert_eq!(service.send("POST", "/api/v1/sessions", "application/json", signed_in).await.status, 201);
    assert!(!service.log().contains(&key));
}

#[tokio::test]
async fn the_simulator_comes_in_and_verifies_with_a_key() {
    let keyed = Keyed::start(&[("ROLLCALL__FLEET__OFFLINE_AFTER", "2s")]);
    let key = keyed.key(json!({"name": "simulator", "scopes": ["ingest", "read"]})).await;
    let options = |key: &str| {
        let key = Key::parse(key).expect("a key");
        let url = keyed.service.url("");
        Options {
            broker: Broker::parse(&format!("mqtt://{}", keyed.service.mqtt)).expect("a broker").with_key(Some(&key)),
            vehicles: 10,
            customers: 2,
            interval: Duration::from_millis(300),
            duration: Some(Duration::from_secs(2)),
            offline_after: Duration::from_secs(2),
            verify: Some(Verify { url, tolerance: Duration::from_millis(900), key: Some(key) }),
            ..Options::default()
        }
    };
    let report = simulator::run(options(&key), std::future::pending()).await.expect("runs");
    assert!(!report.failed(), "{:?}", report.verify);
    let id = key.split('_').nth(1).expect("a key");
    let revoked = keyed.ask(&keyed.admin, "DELETE", &format!("/api/v1/keys/{id}"), &Value::Null).await;
    assert_eq!(revoked.status, 204);
    let outside = simulator::run(options(&key), std::future::pending()).await;
    assert!(outside.is_err(), "with an ended key it stays outside");
}
