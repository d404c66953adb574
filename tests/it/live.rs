//! The live feed as an outside dashboard meets it: frames, filters, resuming, rude clients. Whether its view is the
//! truth after much traffic, and what a client that does not read costs, is in views.rs.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

use crate::mqtt::Raw;
use crate::support::{Live, Service, until};

fn service() -> Service {
    Service::start(&["--store", "sqlite::memory:", "--offline-after", "1h"])
}

async fn beat(service: &Service, customer: &str, vehicle: &str, more: Value) {
    let mut beat = json!({"customer": customer, "vehicle": vehicle});
    beat.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    let (status, answer) = service.post_heartbeats(&json!([beat])).await;
    assert_eq!((status, &answer["accepted"]), (202, &1.into()), "{answer}");
}

/// Vehicles of a customer, on the board.
async fn with_vehicles(service: &Service, customer: &str, vehicles: &[&str]) {
    for vehicle in vehicles {
        beat(service, customer, vehicle, json!({})).await;
    }
    let path = format!("/api/v1/vehicles?customer={customer}");
    until("they are on the board", || async { service.get(&path).await["total"] == vehicles.len() }).await;
}

/// The vehicles of a whole snapshot, and its version.
async fn snapshot(live: &mut Live) -> (Vec<String>, u64) {
    let mut vehicles = Vec::new();
    loop {
        let part = live.next_of("snapshot").await;
        let list = part["vehicles"].as_array().expect("a list");
        let name =
            |v: &Value| format!("{}/{}", v["customer"].as_str().expect("text"), v["vehicle"].as_str().expect("text"));
        vehicles.extend(list.iter().map(name));
        if part["part"] == part["parts"] {
            return (vehicles, part["version"].as_u64().expect("a version"));
        }
    }
}

/// Reads the snapshot and on until the second counts frame, a second later: nothing is under way any more. The version
/// the client has then.
async fn settled(live: &mut Live) -> u64 {
    let (_, mut version) = snapshot(live).await;
    let mut counts = 0;
    while counts < 2 {
        let frame = live.next().await.expect("open");
        if frame["type"] == "delta" {
            version = frame["version"].as_u64().expect("a version");
        }
        counts += usize::from(frame["type"] == "counts");
    }
    version
}

/// The row of a vehicle in the next delta that has it.
async fn changed(live: &mut Live, vehicle: &str) -> Value {
    loop {
        let delta = live.next_of("delta").await;
        let rows = delta["changed"].as_array().expect("a list");
        if let Some(row) = rows.iter().find(|row| row["vehicle"] == vehicle) {
            return row.clone();
        }
    }
}

/// The reason in the bye frame; after it the server closes.
async fn farewell(live: &mut Live) -> String {
    let bye = live.next_of("bye").await;
    while live.next().await.is_some() {}
    bye["reason"].as_str().expect("a reason").to_owned()
}

#[tokio::test]
async fn a_dashboard_gets_hello_observation_snapshot_and_counts() {
    let service = service();
    with_vehicles(&service, "acme", &["A", "B"]).await;
    let mut live = service.live("").await;
    let hello = live.next().await.expect("a frame");
    assert_eq!((&hello["type"], &hello["tick_ms"]), (&"hello".into(), &250.into()));
    assert!(hello["epoch"].is_string() && hello["version"].is_u64() && hello["server_time"].is_string(), "{hello}");
    assert_eq!(hello["service"], service.get("/api/v1/status").await["version"], "a page sees that it is out of date");
    let observation = live.next_of("observation").await;
    assert!(observation["listening"] == true && observation["cause"].is_string(), "{observation}");
    let part = live.next_of("snapshot").await;
    assert_eq!((&part["part"], &part["parts"]), (&1.into(), &1.into()));
    assert_eq!(part["vehicles"], service.get("/api/v1/vehicles").await["items"], "the same vehicles as by REST");
    let counts = live.next_of("counts").await;
    let numbers = ["online", "offline", "unobserved", "never_seen"].map(|status| counts[status].as_u64());
    assert_eq!(numbers, [Some(2), Some(0), Some(0), Some(0)], "{counts}");
}

#[tokio::test]
async fn a_delta_brings_only_what_changed() {
    let service = service();
    with_vehicles(&service, "acme", &["A", "B"]).await;
    let mut live = service.live("").await;
    settled(&mut live).await;
    let names = |row: &Value| row.as_object().expect("an object").keys().cloned().collect::<Vec<_>>().join(" ");
    beat(&service, "acme", "A", json!({})).await;
    assert_eq!(names(&changed(&mut live, "A").await), "customer last_seen vehicle");
    beat(&service, "acme", "A", json!({"lat": 1, "lon": 2})).await;
    let row = changed(&mut live, "A").await;
    assert_eq!((names(&row).as_str(), &row["position"]["lat"]), ("customer last_seen position vehicle", &1.0.into()));
    beat(&service, "acme", "A", json!({"battery_pct": 40})).await;
    let row = changed(&mut live, "A").await;
    assert!(row["battery_pct"] == 40.0 && row["position"].is_null() && row["status"].is_null(), "{row}");
    beat(&service, "acme", "NEW", json!({})).await;
    let row = changed(&mut live, "NEW").await;
    assert_eq!(row.as_object().map(serde_json::Map::len), Some(18), "a newcomer comes whole: {row}");
}

#[tokio::test]
async fn every_transition_in_the_filter_is_told_in_order() {
    let service = service();
    let (mut all, mut beta) = (service.live("").await, service.live("?customer=beta").await);
    let mut connection = Raw::connect(&service, "unit").await;
    for _ in 0..10 {
        for (customer, vehicle) in [("acme", "A"), ("beta", "B")] {
            connection.publish(&format!("fleet/{customer}/{vehicle}/heartbeat"), b"").await;
            connection.publish(&format!("fleet/{customer}/{vehicle}/goodbye"), b"").await;
        }
    }
    let mut seqs = std::collections::BTreeMap::<String, u64>::new();
    for _ in 0..40 {
        let frame = all.next_of("transition").await;
        let last = seqs.entry(frame["vehicle"].as_str().expect("text").to_owned()).or_default();
        *last += 1;
        assert_eq!(frame["seq"], *last, "{frame}");
        for field in ["customer", "from", "to", "at", "decided_at", "cause"] {
            assert!(frame[field].is_string(), "{field} in {frame}");
        }
    }
    for seq in 1..=20 {
        let frame = beta.next_of("transition").await;
        assert_eq!((&frame["vehicle"], &frame["seq"]), (&"B".into(), &seq.into()), "{frame}");
    }
}

#[tokio::test]
async fn a_filter_in_the_query_or_in_a_message_shows_its_vehicles_only() {
    let service = service();
    with_vehicles(&service, "acme", &["A", "B"]).await;
    with_vehicles(&service, "beta", &["C"]).await;
    let mut connection = Raw::connect(&service, "unit").await;
    connection.publish("fleet/acme/B/goodbye", b"").await;
    until("B is offline", || async { service.status_of("acme", "B").await.as_deref() == Some("offline") }).await;
    for (query, expected) in [
        ("", vec!["acme/A", "acme/B", "beta/C"]),
        ("?customer=acme", vec!["acme/A", "acme/B"]),
        ("?customer=acme,beta&status=online", vec!["acme/A", "beta/C"]),
        ("?status=offline", vec!["acme/B"]),
        ("?status=unobserved,never_seen", vec![]),
    ] {
        let mut live = service.live(query).await;
        assert_eq!(snapshot(&mut live).await.0, expected, "{query}");
        let counts = live.next_of("counts").await;
        let sum: u64 =
            ["online", "offline", "unobserved", "never_seen"].iter().filter_map(|s| counts[s].as_u64()).sum();
        assert_eq!(sum, expected.len() as u64, "{query}: {counts}");
    }
    let mut live = service.live("?customer=beta").await;
    let epoch = live.next_of("hello").await["epoch"].clone();
    assert_eq!(snapshot(&mut live).await.0, ["beta/C"]);
    live.say(json!({"type": "filter", "customer": ["acme"], "status": ["online"]})).await;
    assert!(live.next_of("hello").await["epoch"] != epoch, "another filter, another epoch");
    assert_eq!(snapshot(&mut live).await.0, ["acme/A"]);
    // What leaves the filter by its status is removed, what enters comes whole.
    connection.publish("fleet/acme/A/goodbye", b"").await;
    let delta = loop {
        let delta = live.next_of("delta").await;
        if delta["removed"].as_array().is_some_and(|removed| !removed.is_empty()) {
            break delta;
        }
    };
    assert_eq!(delta["removed"], json!([{"customer": "acme", "vehicle": "A"}]));
    connection.publish("fleet/acme/B/heartbeat", b"").await;
    assert_eq!(changed(&mut live, "B").await["status"], "online");
    live.say(json!({"type": "filter", "customer": ["a b"]})).await;
    assert!(live.next_of("error").await["detail"].as_str().is_some_and(|detail| detail.contains("customer")));
    live.say(json!({"type": "filter"})).await;
    assert_eq!(snapshot(&mut live).await.0.len(), 3, "no filter shows all");
}

#[tokio::test]
async fn a_client_that_comes_back_gets_a_delta_and_no_snapshot() {
    let service = service();
    with_vehicles(&service, "acme", &["A", "B"]).await;
    let mut live = service.live("?customer=acme").await;
    let epoch = live.next_of("hello").await["epoch"].clone();
    let version = settled(&mut live).await;
    drop(live);
    beat(&service, "acme", "A", json!({"battery_pct": 40})).await;
    beat(&service, "acme", "C", json!({})).await;
    until("it is on the board", || async { service.status_of("acme", "C").await.is_some() }).await;
    let mut live = service.live("?customer=acme").await;
    live.say(json!({"type": "resume", "epoch": epoch, "version": version})).await;
    let (mut rows, mut told) = (Vec::new(), false);
    while rows.len() < 2 || !told {
        let frame = live.next().await.expect("open");
        assert!(frame["type"] != "snapshot" && frame["type"] != "error", "{frame}");
        if frame["type"] == "delta" {
            assert!(rows.is_empty() || frame["from"] != version, "each change once: {frame}");
            assert!(!rows.is_empty() || frame["from"] == version, "from where it was: {frame}");
            rows.extend(frame["changed"].as_array().expect("a list").iter().map(|row| row["vehicle"].clone()));
        }
        told |= frame["type"] == "transition" && frame["vehicle"] == "C";
    }
    rows.sort_by_key(Value::to_string);
    assert_eq!(rows, ["A", "C"], "B did not change");
    for (epoch, version) in [(json!("other"), version), (epoch, 1 << 30)] {
        let mut live = service.live("?customer=acme").await;
        live.say(json!({"type": "resume", "epoch": epoch, "version": version})).await;
        assert_eq!(snapshot(&mut live).await.0.len(), 3, "a place that is unknown begins anew");
    }
}

#[tokio::test]
async fn what_is_not_understood_is_answered_and_the_connection_lives() {
    let service = service();
    let mut live = service.live("").await;
    snapshot(&mut live).await;
    for text in ["nonsense", "{}", r#"{"type":"dance"}"#, r#"{"type":"ack"}"#, r#"{"type":"ack","version":1,"x":1}"#] {
        live.socket.send(Message::text(text)).await.expect("sent");
        assert!(live.next_of("error").await["detail"].is_string(), "{text}");
    }
    live.socket.send(Message::Ping("there?".into())).await.expect("sent");
    let pong = |message| matches!(message, Some(Ok(Message::Pong(payload))) if payload == "there?");
    while !pong(live.socket.next().await) {}
    with_vehicles(&service, "acme", &["A"]).await;
    assert_eq!(changed(&mut live, "A").await["status"], "online");
}

#[tokio::test]
async fn binary_long_and_countless_messages_are_answered_with_a_farewell() {
    let service = service();
    let mut live = service.live("").await;
    live.socket.send(Message::binary(vec![1, 2, 3])).await.expect("sent");
    assert_eq!(farewell(&mut live).await, "text frames only");
    let mut live = service.live("").await;
    live.socket.send(Message::text("x".repeat(100_000))).await.expect("sent");
    assert!(farewell(&mut live).await.contains("too long"));
    let mut live = service.live("").await;
    for _ in 0..2_000 {
        if live.socket.send(Message::text(r#"{"type":"ack","version":1}"#)).await.is_err() {
            break;
        }
    }
    assert_eq!(farewell(&mut live).await, "too many messages");
    until("all are gone", || async { service.get("/api/v1/status").await["dashboards"] == 0 }).await;
    let mut live = service.live("").await;
    snapshot(&mut live).await;
}

#[tokio::test]
async fn the_sub_protocol_that_was_asked_for_is_named_in_the_answer() {
    let service = service();
    for asked in ["rollcall.v1.json", "something.else, rollcall.v1.json"] {
        let url = format!("ws://{}/api/v1/live", service.http);
        let mut request = url.into_client_request().expect("a request");
        request.headers_mut().insert("Sec-WebSocket-Protocol", asked.parse().expect("a header"));
        let (socket, response) = tokio_tungstenite::connect_async(request).await.expect("upgrades");
        let named = response.headers().get("Sec-WebSocket-Protocol").map(|value| value.as_bytes());
        assert_eq!(named, Some(&b"rollcall.v1.json"[..]), "{asked}");
        assert_eq!(Live { socket }.next().await.expect("a frame")["type"], "hello");
    }
    let reply = service.send("GET", "/api/v1/live", "", "").await;
    assert_eq!(reply.status, 400, "no upgrade was asked for: {reply:?}");
    assert_eq!(reply.header("content-type"), "application/problem+json");
}
