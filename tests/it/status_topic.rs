//! Statuses by MQTT (`mqtt.publish_status`): each durable transition, retained, at the embedded broker and at a
//! Mosquitto; and nobody else speaks there.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rumqttc::v5;
use serde_json::{Value, json};

use crate::mqtt::{Client, MARK, Raw, Reader, Version, refused};
use crate::support::{Service, from_environment, rollcall, until};

const ON: (&str, &str) = ("ROLLCALL__MQTT__PUBLISH_STATUS", "true");
/// The next status: its retain flag and its JSON, which must be that of its topic.
async fn status(reader: &mut Reader) -> (bool, Value) {
    let (topic, retain, payload) = reader.next().await;
    let status: Value = serde_json::from_str(&payload).unwrap_or_else(|_| panic!("JSON, not {payload} on {topic}"));
    let name = |field: &str| status[field].as_str().expect("text").to_owned();
    assert_eq!(topic, format!("fleet/{}/{}/status", name("customer"), name("vehicle")));
    (retain, status)
}

/// What a dashboard is told of the same transition, which is what the status must be.
async fn told(live: &mut crate::support::Live) -> Value {
    let mut frame = live.next_of("transition").await;
    frame.as_object_mut().expect("an object").remove("type");
    frame
}

/// A service with settings of its own; its MQTT is free or outside.
fn service(arguments: &[&str], variables: &[(&str, &str)]) -> Service {
    let all = ["serve", "--http", "127.0.0.1:0", "--mqtt-listen", "127.0.0.1:0", "--store", "sqlite::memory:"];
    Service::spawn(rollcall(&[&all, arguments].concat()).envs(variables.iter().copied()))
}

async fn beat(service: &Service, customer: &str, vehicle: &str) {
    let (status, answer) = service.post_heartbeats(&json!({"customer": customer, "vehicle": vehicle})).await;
    assert_eq!((status, &answer["accepted"]), (202, &json!(1)), "{answer}");
}

async fn metric(service: &Service, name: &str) -> u64 {
    let text = service.send("GET", "/metrics", "", "").await.text;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    value.unwrap_or_else(|| panic!("no {name} in\n{text}"))
}

/// Online and offline reach a subscriber as they happen, and a late one gets the last.
async fn statuses_reach_early_and_late_subscribers(service: &Service, customer: &str) {
    let filter = format!("fleet/{customer}/+/status");
    let mut live = service.live(&format!("?customer={customer}")).await;
    let mut early = Reader::start(&service.mqtt, Version::V5, &filter).await;
    beat(service, customer, "MTA NYCT_7326").await;
    for (from, to, cause) in [("never_seen", "online", "heartbeat"), ("online", "offline", "silence")] {
        let (retain, status) = status(&mut early).await;
        assert!(!retain, "it is news: {status}");
        assert_eq!(status, told(&mut live).await);
        assert_eq!((&status["from"], &status["to"], &status["cause"]), (&from.into(), &to.into(), &cause.into()));
        let mut fields: Vec<&str> = status.as_object().expect("an object").keys().map(String::as_str).collect();
        fields.sort_unstable();
        assert_eq!(fields, ["at", "cause", "customer", "decided_at", "from", "seq", "to", "vehicle"]);
    }
    for version in [Version::V3, Version::V5] {
        let (retain, status) = status(&mut Reader::start(&service.mqtt, version, &filter).await).await;
        assert_eq!((retain, &status["seq"], &status["to"]), (true, &json!(2), &json!("offline")), "{version:?}");
    }
    until("both are counted", || async { metric(service, "rollcall_statuses_published_total").await == 2 }).await;
    assert_eq!(metric(service, "rollcall_statuses_skipped_total").await, 0);
    assert_eq!(service.get("/api/v1/status").await["intake"]["refused"], 0, "our own messages are not refused");
}

#[tokio::test]
async fn every_transition_is_published_and_retained_by_the_embedded_broker() {
    let service = service(&["--offline-after", "1500ms"], &[ON]);
    statuses_reach_early_and_late_subscribers(&service, "acme").await;
}

#[tokio::test]
async fn every_transition_is_published_and_retained_by_mosquitto() {
    let Some(broker) = from_environment("ROLLCALL_TEST_MOSQUITTO") else { return };
    let name = format!("status-{}", rand::random::<u32>());
    let id = ("ROLLCALL__MQTT__CLIENT_ID", name.as_str());
    let service = service(&["--offline-after", "1500ms", "--broker", &broker], &[ON, id]);
    until("listening", || async { service.answer("/readyz").await.0 == 200 }).await;
    statuses_reach_early_and_late_subscribers(&service, &name).await;
}

/// Connects with a will that is due a second after the connection, and breaks the connection.
async fn leave_a_delayed_will(service: &Service, topic: &str) {
    let (host, port) = service.mqtt.rsplit_once(':').expect("address and port");
    let mut options = v5::MqttOptions::new("unit-3", host, port.parse().expect("a port"));
    let properties = v5::mqttbytes::v5::LastWillProperties {
        delay_interval: Some(1),
        payload_format_indicator: None,
        message_expiry_interval: None,
        content_type: None,
        response_topic: None,
        correlation_data: None,
        user_properties: Vec::new(),
    };
    let qos = v5::mqttbytes::QoS::AtLeastOnce;
    options.set_last_will(v5::mqttbytes::v5::LastWill::new(topic, "forged", qos, true, Some(properties)));
    options.set_session_expiry_interval(Some(60));
    let (_client, mut events) = v5::AsyncClient::new(options, 10);
    let greeting = events.poll().await.expect("connects");
    assert!(matches!(greeting, v5::Event::Incoming(v5::Incoming::ConnAck(_))), "{greeting:?}");
}

#[tokio::test]
async fn a_vehicle_cannot_forge_its_status() {
    let service = service(&[], &[ON, ("ROLLCALL__FLEET__WILL_GRACE", "300ms")]);
    let mut reader = Reader::start(&service.mqtt, Version::V5, "fleet/+/+/status").await;
    let forged = r#"{"customer":"acme","vehicle":"TRK-1","to":"online"}"#;
    let mut raw = Raw::connect(&service, "unit-1").await;
    let connected = Client::connect(&service, Version::V5, "unit-2", Some("fleet/acme/TRK-2/status"));
    raw.publish("fleet/acme/TRK-1/status", forged.as_bytes()).await;
    for (qos, retain) in [(0, false), (1, true), (2, true)] {
        connected.publish("fleet/acme/TRK-1/status", qos, retain, forged).await;
    }
    connected.beat("TRK-2", 1).await;
    let (_, online) = status(&mut reader).await;
    assert_eq!((&online["vehicle"], &online["to"]), (&json!("TRK-2"), &json!("online")), "and nothing before it");
    // The will it left is no status either; its vehicle is offline by the broken connection, which is told after it.
    connected.cut().await;
    let (_, offline) = status(&mut reader).await;
    assert_eq!((&offline["vehicle"], &offline["to"]), (&json!("TRK-2"), &json!("offline")), "not the forged will");
    assert_eq!(refused(&service, "unknown_topic").await, 5, "four messages and a will");
    let newest = &service.get("/api/v1/refused").await["items"][0];
    assert_eq!(newest["detail"], "only Rollcall itself publishes a vehicle's status", "{newest}");
    leave_a_delayed_will(&service, "fleet/acme/TRK-3/status").await;
    until("the late will is refused too", || async { refused(&service, "unknown_topic").await == 6 }).await;
    raw.publish(MARK, b"").await;
    assert_eq!(reader.next().await.0, MARK);
    let mut late = Reader::start(&service.mqtt, Version::V3, "fleet/+/+/status").await;
    assert_eq!(status(&mut late).await, (true, offline));
    raw.publish(MARK, b"").await;
    assert_eq!(late.next().await.0, MARK, "nothing else was retained");
}

#[tokio::test]
async fn nothing_is_published_unless_it_is_asked_for() {
    let service = service(&["--offline-after", "300ms"], &[]);
    let mut live = service.live("").await;
    let mut reader = Reader::start(&service.mqtt, Version::V5, "fleet/+/+/status").await;
    beat(&service, "acme", "TRK-1").await;
    for to in ["online", "offline"] {
        assert_eq!(told(&mut live).await["to"], to);
    }
    let mut raw = Raw::connect(&service, "unit-1").await;
    raw.publish(MARK, b"").await;
    assert_eq!(reader.next().await.0, MARK, "nothing before it");
    // The topic is then one like any other.
    raw.publish("fleet/acme/TRK-1/status", b"a device's own").await;
    assert_eq!(reader.next().await.2, "a device's own");
}

/// A Mosquitto of this test's own, which keeps nothing when it ends.
struct Mosquitto {
    port: u16,
    child: Option<Child>,
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.end();
    }
}

impl Mosquitto {
    /// Chooses a port, and starts nothing yet. Without the program the test says so and does not run.
    fn absent() -> Option<Self> {
        if !Self::program().exists() {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "Mosquitto must be installed in CI");
            eprintln!("skipped: no Mosquitto at {}", Self::program().display());
            return None;
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("free").port();
        Some(Self { port, child: None })
    }

    fn program() -> PathBuf {
        std::env::var_os("MOSQUITTO_BIN").map_or_else(|| "/usr/sbin/mosquitto".into(), PathBuf::from)
    }

    fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    async fn begin(&mut self) {
        let mut command = Command::new(Self::program());
        command.args(["-p", &self.port.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().expect("Mosquitto starts"));
        let port = self.port;
        until("it listens", || async move { tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() }).await;
    }

    fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[tokio::test]
async fn a_broker_that_was_away_gets_what_it_missed_and_a_stop_brings_the_last() {
    let Some(mut mosquitto) = Mosquitto::absent() else { return };
    let url = mosquitto.url();
    let mut service = service(&["--offline-after", "1h", "--broker", &url], &[ON]);
    // More than may be unacknowledged at once, before the broker is there at all.
    for number in 0..250 {
        beat(&service, "acme", &format!("V{number}")).await;
    }
    assert_eq!(metric(&service, "rollcall_statuses_published_total").await, 0);
    mosquitto.begin().await;
    until("all are told", || async { metric(&service, "rollcall_statuses_published_total").await == 250 }).await;
    let mut reader = Reader::start(&url, Version::V5, "fleet/+/+/status").await;
    let mut kept = Vec::new();
    for _ in 0..250 {
        let (retain, status) = status(&mut reader).await;
        assert!(retain && status["to"] == "online", "{status}");
        kept.push(status["vehicle"].as_str().expect("text").to_owned());
    }
    kept.sort();
    kept.dedup();
    assert_eq!(kept.len(), 250);

    // It forgets all; only what it has not acknowledged comes again.
    mosquitto.end();
    beat(&service, "acme", "NEXT").await;
    mosquitto.begin().await;
    let mut reader = Reader::start(&url, Version::V5, "fleet/+/+/status").await;
    assert_eq!(status(&mut reader).await.1["vehicle"], "NEXT");

    // More than go out before the word to stop.
    let beats: Vec<Value> = (0..1000).map(|n| json!({"customer": "acme", "vehicle": format!("LAST-{n}")})).collect();
    assert_eq!(service.post_heartbeats(&Value::from(beats)).await.1["accepted"], 1000);
    service.signal("TERM");
    assert!(service.wait(Duration::from_secs(12)).success());
    let mut missing: BTreeSet<String> = (0..1000).map(|n| format!("LAST-{n}")).collect();
    while !missing.is_empty() {
        missing.remove(status(&mut reader).await.1["vehicle"].as_str().expect("text"));
    }
}
