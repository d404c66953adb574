//! Wrong, hostile and broken input through both doors: counted by reason, never a crash, never a vehicle, never in
//! the way of the next good heartbeat.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::mqtt::{Raw, publish, refused};
use crate::support::{Service, until};

const GOOD: &str = "fleet/acme/GOOD/heartbeat";
const BAD: &str = "fleet/acme/BAD/heartbeat";

/// Payloads that are no heartbeat, and the reason each is refused for.
const PAYLOADS: [(&str, &str); 17] = [
    ("hello", "bad_payload"),
    ("[1,2]", "bad_payload"),
    (r#"{"lat":"53"}"#, "bad_payload"),
    (r#"{"lat":[53]}"#, "bad_payload"),
    (r#"{"ignition":"yes"}"#, "bad_payload"),
    (r#"{"seq":-1}"#, "bad_payload"),
    (r#"{"ts":"yesterday"}"#, "bad_payload"),
    (r#"{"lat":NaN,"lon":0}"#, "bad_payload"),
    (r#"{"speed_kmh":Infinity}"#, "bad_payload"),
    (r#"{"metrics":{"rpm":"fast"}}"#, "bad_payload"),
    (r#"{"lat":1e999,"lon":0}"#, "out_of_range"),
    (r#"{"metrics":{"rpm":-1e999}}"#, "out_of_range"),
    (r#"{"lat":91,"lon":0}"#, "out_of_range"),
    (r#"{"lat":0,"lon":-180.01}"#, "out_of_range"),
    (r#"{"battery_pct":100.5}"#, "out_of_range"),
    (r#"{"odometer_km":1e18}"#, "out_of_range"),
    (r#"{"next_in_s":1e10}"#, "out_of_range"),
];

fn service() -> Service {
    Service::start(&["--store", "sqlite::memory:"])
}

/// The next good heartbeat on this connection counts, and the fleet is that one vehicle.
async fn only_the_good_one_is_there(service: &Service, connection: &mut Raw, battery_pct: u8) {
    let payload = json!({ "battery_pct": battery_pct }).to_string();
    connection.publish(GOOD, payload.as_bytes()).await;
    until("the good heartbeat is on the board", || async {
        service.get("/api/v1/customers/acme/vehicles/GOOD").await["battery_pct"] == f64::from(battery_pct)
    })
    .await;
    let page = service.get("/api/v1/vehicles").await;
    assert_eq!((&page["total"], &page["counts"]["online"]), (&1.into(), &1.into()), "{page}");
}

/// REST and Prometheus count alike.
async fn assert_refused(service: &Service, reason: &str, count: u64) {
    assert_eq!(refused(service, reason).await, count, "{reason}");
    let metrics = service.send("GET", "/metrics", "", "").await.text;
    let line = format!("rollcall_refused_total{{reason=\"{reason}\"}} {count}");
    assert!(metrics.lines().any(|found| found == line), "no '{line}' in\n{metrics}");
}

#[tokio::test]
async fn a_payload_that_is_no_heartbeat_is_counted_by_its_reason_and_the_connection_lives() {
    let service = service();
    let mut connection = Raw::connect(&service, "unit").await;
    for (index, (payload, reason)) in PAYLOADS.iter().enumerate() {
        connection.publish(BAD, payload.as_bytes()).await;
        let count = PAYLOADS[..=index].iter().filter(|(_, same)| same == reason).count();
        assert_eq!(refused(&service, reason).await, count as u64, "{payload}");
        let sample = &service.get("/api/v1/refused").await["items"][0];
        assert_eq!((&sample["reason"], &sample["payload"]), (&(*reason).into(), &(*payload).into()));
        assert_eq!(sample["topic"], BAD);
    }
    assert_refused(&service, "bad_payload", 10).await;
    assert_refused(&service, "out_of_range", 7).await;
    assert_eq!(service.get("/api/v1/status").await["intake"]["refused"], 17);
    only_the_good_one_is_there(&service, &mut connection, 50).await;
}

/// A payload of bytes that are no text, and one of 9 KiB.
#[tokio::test]
async fn bytes_that_are_no_text_and_nine_kibibytes_are_refused() {
    let service = service();
    let mut connection = Raw::connect(&service, "unit").await;
    connection.publish(BAD, b"\xff\xfe\x00{}").await;
    assert_refused(&service, "bad_payload", 1).await;
    let long = format!("{{}}{}", " ".repeat(9 * 1024));
    connection.publish(BAD, long.as_bytes()).await;
    connection.publish(BAD, format!(r#"{{"boot":"{}"}}"#, "b".repeat(65)).as_bytes()).await;
    assert_refused(&service, "too_long", 2).await;
    let sample = service.get("/api/v1/refused").await["items"][1].clone();
    assert!(sample["payload"].as_str().is_some_and(|kept| kept.len() <= 200), "only a beginning is kept: {sample}");
    only_the_good_one_is_there(&service, &mut connection, 50).await;
}

#[tokio::test]
async fn names_that_are_no_identifiers_and_topics_nobody_reads_are_refused() {
    let service = service();
    let mut connection = Raw::connect(&service, "unit").await;
    let long = "x".repeat(65);
    let names = [
        ("-acme", "V"),
        ("a b", "V"),
        ("ümlaut", "V"),
        ("", "V"),
        (long.as_str(), "V"),
        ("acme", ""),
        ("acme", " V"),
        ("acme", "V "),
        ("acme", "$V"),
        ("acme", long.as_str()),
    ];
    for (customer, vehicle) in names {
        let single = json!({"customer": customer, "vehicle": vehicle});
        let (status, answer) = service.post_heartbeats(&single).await;
        let field = if vehicle == "V" { "customer" } else { "vehicle" };
        assert_eq!((status, &answer["errors"][0]["field"]), (422, &field.into()), "{answer}");
        connection.publish(&format!("fleet/{customer}/{vehicle}/heartbeat"), b"{}").await;
    }
    assert_refused(&service, "bad_identifier", 2 * names.len() as u64).await;
    let topics = ["fleet/acme/V", "fleet/acme/V/heartbeat/x", "fleet/acme/V/Heartbeat", "elsewhere", "fleet//"];
    for topic in topics {
        connection.publish(topic, b"{}").await;
    }
    assert_refused(&service, "unknown_topic", topics.len() as u64).await;
    only_the_good_one_is_there(&service, &mut connection, 50).await;
}

/// Nor does the end of a connection that named vehicles in bad messages only.
#[tokio::test]
async fn a_will_a_goodbye_and_a_broken_connection_of_a_stranger_make_no_vehicle() {
    let service = service();
    let mut connection = Raw::connect(&service, "unit").await;
    connection.publish("fleet/acme/NEVER/will", b"").await;
    connection.publish("fleet/acme/NEVER/goodbye", b"").await;
    assert_refused(&service, "unknown_vehicle", 2).await;
    let mut broken = Raw::connect(&service, "broken").await;
    broken.publish(BAD, b"no heartbeat").await;
    drop(broken);
    until("it is gone", || async { service.get("/api/v1/status").await["intake"]["connections"] == 1 }).await;
    only_the_good_one_is_there(&service, &mut connection, 50).await;
}

#[tokio::test]
async fn bad_heartbeats_change_nothing_of_a_vehicle_that_is_known() {
    let service = service();
    let mut connection = Raw::connect(&service, "unit").await;
    connection.publish(BAD, br#"{"lat":1,"lon":2,"battery_pct":30}"#).await;
    let path = "/api/v1/customers/acme/vehicles/BAD";
    until("it is known", || async { service.answer(path).await.0 == 200 }).await;
    let before = service.get(path).await;
    for (payload, _) in PAYLOADS {
        connection.publish(BAD, payload.as_bytes()).await;
    }
    connection.publish(GOOD, b"").await;
    until("later ones are heard", || async { service.status_of("acme", "GOOD").await.is_some() }).await;
    assert_eq!(service.get(path).await, before);
}

/// A protocol error ends its own connection and no other.
#[tokio::test]
async fn broken_packets_end_their_own_connection_only() {
    let service = service();
    let mut good = Raw::connect(&service, "good").await;
    let mebibyte = publish(BAD, &vec![b' '; 1024 * 1024], Some(1), false);
    let endless_length = vec![0x30, 0xff, 0xff, 0xff, 0xff, 0xff];
    let no_text_topic = publish(BAD, b"{}", Some(1), false).into_iter().map(|b| if b == b'f' { 0xff } else { b });
    let reserved_kind = vec![0xf0, 0];
    let broken = [mebibyte, endless_length, no_text_topic.collect(), reserved_kind];
    for (number, bytes) in broken.iter().enumerate() {
        let mut connection = Raw::connect(&service, "broken").await;
        connection.write(bytes).await;
        connection.closed().await;
        only_the_good_one_is_there(&service, &mut good, number as u8 + 1).await;
    }
    // Not even a greeting: bytes that are no MQTT at all.
    let mut stranger = Raw::stranger(&service).await;
    stranger.write(b"GET / HTTP/1.1\r\n\r\n").await;
    stranger.closed().await;
    let mut again = Raw::connect(&service, "broken").await;
    only_the_good_one_is_there(&service, &mut again, 77).await;
}

#[tokio::test]
async fn a_wildcard_in_the_topic_of_a_heartbeat_is_no_vehicle() {
    let service = service();
    let mut good = Raw::connect(&service, "good").await;
    for topic in ["fleet/acme/+/heartbeat", "fleet/acme/#", "fleet/+/V/heartbeat", "fleet/acme/a+b/heartbeat"] {
        let mut connection = Raw::connect(&service, "wild").await;
        // MQTT forbids it ([MQTT-3.3.2-2]), so the connection may be ended; a barrier shows that it was dealt with.
        connection.write(&publish(topic, b"{}", Some(1), false)).await;
        connection.closed().await;
    }
    only_the_good_one_is_there(&service, &mut good, 50).await;
}

#[tokio::test]
async fn a_connection_cut_in_the_middle_of_a_packet_is_no_heartbeat() {
    let service = service();
    let mut good = Raw::connect(&service, "good").await;
    let whole = publish("fleet/acme/HALF/heartbeat", br#"{"battery_pct":50}"#, Some(1), false);
    for length in 1..whole.len() {
        let mut connection = Raw::connect(&service, &format!("half-{length}")).await;
        connection.write(&whole[..length]).await;
    }
    until("the broken connections are over", || async {
        service.get("/api/v1/status").await["intake"]["connections"] == 1
    })
    .await;
    only_the_good_one_is_there(&service, &mut good, 50).await;
    assert_eq!(service.get("/api/v1/status").await["intake"]["refused"], 0);
}

/// Seeded: half are bytes of chance, half a good heartbeat that was cut short.
#[tokio::test]
async fn ten_thousand_random_payloads_are_refused_one_by_one() {
    const COUNT: usize = 10_000;
    let service = service();
    let mut chance = StdRng::seed_from_u64(0x5eed);
    let mut connection = Raw::connect(&service, "unit").await;
    let whole = br#"{"ts":1769847300123,"seq":7,"lat":53.4,"lon":-2.9,"metrics":{"rpm":1500}}"#;
    let mut bytes = Vec::new();
    for number in 0..COUNT {
        let payload = if chance.random_bool(0.5) {
            let length = chance.random_range(3..300);
            (0..length).map(|_| chance.random()).collect()
        } else {
            whole[..chance.random_range(1..whole.len())].to_vec()
        };
        bytes.extend(publish(&format!("fleet/acme/RND-{}/heartbeat", number % 100), &payload, None, false));
    }
    connection.write(&bytes).await;
    only_the_good_one_is_there(&service, &mut connection, 50).await;
    let answer = service.get("/api/v1/refused").await;
    assert_eq!(answer["total"], COUNT, "{}", answer["counts"]);
    assert_refused(&service, "bad_payload", COUNT as u64).await;
    assert_eq!(answer["items"].as_array().map(Vec::len), Some(100), "a sample of the last hundred");
}

#[tokio::test]
async fn bad_heartbeats_by_http_are_named_and_counted_too() {
    let service = service();
    let as_item = |payload: &str| format!(r#"{{"customer":"acme","vehicle":"BAD",{}"#, &payload[1..]);
    // What is no JSON at all spoils the whole request instead.
    let spoilt = |payload: &str| !payload.starts_with('{') || payload.contains("NaN") || payload.contains("Infinity");
    let (broken, bad): (Vec<_>, Vec<_>) = PAYLOADS.into_iter().partition(|(payload, _)| spoilt(payload));
    let bad_items: Vec<String> = bad.iter().map(|(payload, _)| as_item(payload)).collect();
    let body = format!(r#"[{},{{"customer":"acme","vehicle":"GOOD"}}]"#, bad_items.join(","));
    let reply = service.send("POST", "/api/v1/heartbeats", "application/json", body).await;
    assert_eq!((reply.status, &reply.json()["accepted"]), (202, &1.into()), "{reply:?}");
    let refused_items = reply.json()["refused"].as_array().expect("a list").clone();
    let indexes: Vec<&Value> = refused_items.iter().map(|item| &item["index"]).collect();
    assert_eq!(json!(indexes), json!((0..bad.len()).collect::<Vec<_>>()));
    for reason in ["bad_payload", "out_of_range"] {
        let count = bad.iter().filter(|(_, same)| *same == reason).count();
        assert_refused(&service, reason, count as u64).await;
    }
    for (payload, _) in broken {
        let body = if payload.starts_with('{') { as_item(payload) } else { payload.to_owned() };
        let reply = service.send("POST", "/api/v1/heartbeats", "application/json", body).await;
        assert!(matches!(reply.status, 400 | 422 | 202), "{payload}: {reply:?}");
        assert!(reply.status != 202 || reply.json()["accepted"] == 0, "{payload}: {reply:?}");
    }
    let mut connection = Raw::connect(&service, "unit").await;
    only_the_good_one_is_there(&service, &mut connection, 50).await;
}

/// Offers `count` vehicles of a customer by HTTP; how many were taken.
async fn offer(service: &Service, customer: &str, count: usize) -> u64 {
    let list: Vec<Value> =
        (0..count).map(|number| json!({"customer": customer, "vehicle": format!("V{number}")})).collect();
    let (status, answer) = service.post_heartbeats(&json!(list)).await;
    assert_eq!(status, 202, "{answer}");
    answer["accepted"].as_u64().expect("a number")
}

async fn has_vehicles(service: &Service, count: u64) {
    until("they are on the board", || async { service.get("/api/v1/vehicles").await["total"] == count }).await;
}

#[tokio::test]
async fn a_full_fleet_takes_nobody_new_and_still_hears_those_it_has() {
    let service = Service::with_settings(&[("ROLLCALL__FLEET__MAX_VEHICLES", "3")]);
    assert_eq!(offer(&service, "acme", 5).await, 3);
    let mut connection = Raw::connect(&service, "unit").await;
    connection.publish("fleet/other/NEW/heartbeat", b"{}").await;
    assert_refused(&service, "fleet_full", 3).await;
    has_vehicles(&service, 3).await;
    connection.publish("fleet/acme/V0/heartbeat", br#"{"battery_pct":50}"#).await;
    until("a known one is heard", || async {
        service.get("/api/v1/customers/acme/vehicles/V0").await["battery_pct"] == 50.0
    })
    .await;
    let single = json!({"customer": "acme", "vehicle": "NEW"});
    let (status, answer) = service.post_heartbeats(&single).await;
    assert_eq!(status, 422, "{answer}");
    assert_refused(&service, "fleet_full", 4).await;
}

#[tokio::test]
async fn one_customer_at_its_cap_does_not_take_the_room_of_another() {
    let service = Service::with_settings(&[("ROLLCALL__FLEET__MAX_VEHICLES_PER_CUSTOMER", "2")]);
    assert_eq!((offer(&service, "acme", 4).await, offer(&service, "other", 2).await), (2, 2));
    assert_refused(&service, "customer_full", 2).await;
    has_vehicles(&service, 4).await;
}

#[tokio::test]
async fn without_auto_register_a_stranger_stays_one() {
    let service = Service::with_settings(&[("ROLLCALL__FLEET__AUTO_REGISTER", "false")]);
    assert_eq!(offer(&service, "acme", 2).await, 0);
    let mut connection = Raw::connect(&service, "unit").await;
    connection.publish(GOOD, b"{}").await;
    assert_refused(&service, "unknown_vehicle", 3).await;
    has_vehicles(&service, 0).await;
}
