//! The embedded broker with `auth.mode = "keys"`, by raw packets and by Mosquitto's own client: who comes in, what each
//! may say and hear, and how fast an ended key is out.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::access::Keyed;
use crate::mosquitto;
use crate::support::{PATIENCE, until};
use crate::tls::Pair;

/// CONNACK codes: MQTT 3.1.1, and what 5 says for the same.
const WELCOME: u8 = 0;
const BAD_LOGIN: [u8; 2] = [4, 0x86];
const NOT_ALLOWED: [u8; 2] = [5, 0x87];
const BAD_CLIENT_ID: [u8; 2] = [2, 0x85];
/// Client ids, as many as a test needs.
const IDS: [&str; 16] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p"];

/// A connection with its packets written by hand, in version 3.1.1 (4) or 5.
struct Wire {
    stream: TcpStream,
    version: u8,
    /// It found a session of before.
    found: bool,
}

/// What a CONNECT says.
#[derive(Clone, Copy, Default)]
struct Login<'a> {
    id: &'a str,
    user: &'a str,
    password: &'a str,
    will: &'a str,
    /// The session outlives the connection.
    stays: bool,
}

fn text(text: &str, out: &mut Vec<u8>) {
    out.extend((text.len() as u16).to_be_bytes());
    out.extend(text.as_bytes());
}

fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut all = vec![kind];
    let mut rest = body.len();
    loop {
        let more = rest >= 128;
        all.push((rest % 128) as u8 | if more { 128 } else { 0 });
        rest /= 128;
        if !more {
            break;
        }
    }
    all.extend(body);
    all
}

impl Wire {
    /// Connects, and the code of the answer; a refused one is closed by the broker.
    async fn connect(place: &str, version: u8, login: Login<'_>) -> (Self, u8) {
        let five = version == 5;
        let flags = u8::from(!login.stays) << 1
            | u8::from(!login.will.is_empty()) << 2
            | if login.user.is_empty() { 0 } else { 0xc0 };
        let mut body = b"\x00\x04MQTT".to_vec();
        body.extend([version, flags, 0, 60]);
        body.extend(five.then_some(0));
        text(login.id, &mut body);
        if !login.will.is_empty() {
            body.extend(five.then_some(0));
            text(login.will, &mut body);
            text("", &mut body);
        }
        if !login.user.is_empty() {
            text(login.user, &mut body);
            text(login.password, &mut body);
        }
        let mut wire = Self { stream: TcpStream::connect(place).await.expect("connects"), version, found: false };
        wire.stream.write_all(&packet(0x10, &body)).await.expect("writes");
        let (kind, answer) = wire.read().await.expect("CONNACK");
        assert_eq!(kind, 0x20, "CONNACK");
        wire.found = answer[0] == 1;
        (wire, answer[1])
    }

    /// The next packet: its first byte and its body; none when the broker has closed.
    async fn read(&mut self) -> Option<(u8, Vec<u8>)> {
        let read = async {
            let kind = self.stream.read_u8().await.ok()?;
            let (mut length, mut shift) = (0_usize, 0);
            loop {
                let byte = self.stream.read_u8().await.ok()?;
                length |= usize::from(byte & 127) << shift;
                shift += 7;
                if byte & 128 == 0 {
                    break;
                }
            }
            let mut body = vec![0; length];
            self.stream.read_exact(&mut body).await.ok()?;
            Some((kind, body))
        };
        tokio::time::timeout(PATIENCE, read).await.expect("an answer or a close")
    }

    /// Publishes with QoS 1: the reason in the answer, 0 where the version knows none.
    async fn publish(&mut self, topic: &str) -> u8 {
        let mut body = Vec::new();
        text(topic, &mut body);
        body.extend([0, 1]);
        body.extend((self.version == 5).then_some(0));
        body.extend(b"{}");
        self.stream.write_all(&packet(0x32, &body)).await.expect("writes");
        let (kind, answer) = self.read().await.expect("PUBACK");
        assert_eq!(kind, 0x40, "PUBACK");
        answer.get(2).copied().unwrap_or(0)
    }

    /// Subscribes with QoS 1: the code in the answer.
    async fn subscribe(&mut self, filter: &str) -> u8 {
        let mut body = vec![0, 1];
        body.extend((self.version == 5).then_some(0));
        text(filter, &mut body);
        body.push(1);
        self.stream.write_all(&packet(0x82, &body)).await.expect("writes");
        loop {
            let (kind, answer) = self.read().await.expect("SUBACK");
            if kind == 0x90 {
                return *answer.last().expect("a code");
            }
        }
    }
}

async fn code(place: &str, version: u8, login: Login<'_>) -> u8 {
    Wire::connect(place, version, login).await.1
}

async fn status_of(keyed: &Keyed, customer: &str, vehicle: &str) -> Option<String> {
    let path = format!("/api/v1/customers/{customer}/vehicles/{vehicle}");
    let reply = keyed.get(&keyed.admin, &path).await;
    (reply.status == 200).then(|| reply.json()["status"].as_str().expect("text").to_owned())
}

#[tokio::test]
async fn only_the_right_key_comes_in_and_each_version_is_told_why_not() {
    let keyed = Keyed::start(&[]);
    let place = &keyed.service.mqtt;
    let own = keyed.key(json!({"name": "acme", "customer": "acme", "scopes": ["ingest"]})).await;
    let truck = keyed.key(json!({"name": "t", "customer": "acme", "vehicle": "t 1", "scopes": ["ingest"]})).await;
    let gone = keyed.key(json!({"name": "gone", "customer": "acme", "scopes": ["ingest"]})).await;
    let id = |key: &str| key[3..19].to_owned();
    assert_eq!(
        keyed.ask(&keyed.admin, "DELETE", &format!("/api/v1/keys/{}", id(&gone)), &Value::Null).await.status,
        204
    );
    let by_id = format!("rk_{}", id(&own));
    for (at, version) in [4, 5].into_iter().enumerate() {
        // Each with a client id of its own: the one before may still be on its way out.
        let mut number = 0;
        let mut login = |user, password| {
            number += 1;
            Login { id: IDS[number], user, password, ..Login::default() }
        };
        for (user, key) in [("acme", &own), (by_id.as_str(), &own), ("acme/t 1", &truck), ("any", &keyed.admin)] {
            assert_eq!(code(place, version, login(user, key)).await, WELCOME, "{user}");
        }
        for (user, key) in [
            ("", ""),
            ("acme", "wrong"),
            ("globex", own.as_str()),
            ("acme", &truck),
            ("acme/t 2", &truck),
            ("rk_0000000000000000", &own),
            ("$rollcall", &own),
            ("acme", &own[..own.len() - 1]),
        ] {
            assert_eq!(code(place, version, login(user, key)).await, BAD_LOGIN[at], "{user}");
        }
        assert_eq!(code(place, version, login("acme", &gone)).await, NOT_ALLOWED[at]);
    }
    // Our own canary comes in as ever, and everything is heard.
    until("the canary is well", || async {
        keyed.get(&keyed.admin, "/api/v1/status").await.json()["canary"]["state"] == "well"
    })
    .await;
}

#[tokio::test]
async fn each_key_speaks_and_hears_of_its_own_vehicles_only() {
    let keyed = Keyed::start(&[("ROLLCALL__MQTT__PUBLISH_STATUS", "true")]);
    let place = &keyed.service.mqtt;
    let fleet = keyed.key(json!({"name": "acme", "customer": "acme", "scopes": ["ingest"]})).await;
    let truck = keyed.key(json!({"name": "t", "customer": "acme", "vehicle": "own", "scopes": ["ingest"]})).await;
    let reader = keyed.key(json!({"name": "r", "customer": "acme", "scopes": ["read"]})).await;
    for version in [4, 5] {
        let refused = if version == 5 { 0x87 } else { 0 };
        let connect =
            |id, user, password| Wire::connect(place, version, Login { id, user, password, ..Login::default() });
        let (mut wire, _) = connect("fleet", "acme", &fleet).await;
        assert_eq!(wire.publish(&format!("fleet/acme/any{version}/heartbeat")).await, 0);
        for topic in ["fleet/globex/x/heartbeat", "fleet/acme/x/status", "other/topic", "rollcall/rollcall/presence"] {
            assert_eq!(wire.publish(topic).await, refused, "{topic}");
        }
        assert_eq!(wire.subscribe("fleet/acme/+/status").await, 1);
        for filter in ["#", "fleet/#", "fleet/+/+/status", "fleet/globex/+/status", "fleet/acme/+/heartbeat"] {
            assert_eq!(wire.subscribe(filter).await, if version == 5 { 0x87 } else { 0x80 }, "{filter}");
        }
        let (mut wire, _) = connect("truck", "acme/own", &truck).await;
        assert_eq!(wire.publish("fleet/acme/own/heartbeat").await, 0);
        assert_eq!(wire.publish("fleet/acme/other/heartbeat").await, refused);
        assert_eq!(wire.subscribe("fleet/acme/own/status").await, 1);
        assert!(wire.subscribe("fleet/acme/+/status").await >= 0x80);
        let (mut wire, _) = connect("reader", "acme", &reader).await;
        assert_eq!(wire.publish("fleet/acme/read/heartbeat").await, refused);
        assert_eq!(wire.subscribe("fleet/acme/+/status").await, 1);
    }
    for vehicle in ["any4", "any5", "own"] {
        until(vehicle, || async { status_of(&keyed, "acme", vehicle).await.as_deref() == Some("online") }).await;
    }
    for (customer, vehicle) in [("globex", "x"), ("acme", "other"), ("acme", "read"), ("acme", "x")] {
        assert_eq!(status_of(&keyed, customer, vehicle).await, None, "{customer}/{vehicle}");
    }
}

#[tokio::test]
async fn a_will_is_a_publish_and_a_client_id_is_nobody_elses() {
    let keyed = Keyed::start(&[]);
    let place = &keyed.service.mqtt;
    let acme = keyed.key(json!({"name": "acme", "customer": "acme", "scopes": ["ingest"]})).await;
    let globex = keyed.key(json!({"name": "globex", "customer": "globex", "scopes": ["ingest"]})).await;
    for (at, version) in [4, 5].into_iter().enumerate() {
        let will = |will| Login { id: "unit", user: "acme", password: &acme, will, ..Login::default() };
        assert_eq!(code(place, version, will("fleet/acme/v/will")).await, WELCOME);
        for foreign in ["fleet/globex/v/will", "fleet/acme/v/status", "some/topic"] {
            assert_eq!(code(place, version, will(foreign)).await, NOT_ALLOWED[at], "{foreign}");
        }
        let (mut held, _) = Wire::connect(place, version, will("")).await;
        let thief = Login { id: "unit", user: "globex", password: &globex, ..Login::default() };
        assert_eq!(code(place, version, thief).await, BAD_CLIENT_ID[at]);
        assert_eq!(code(place, version, Login { id: "rollcall-canary", ..thief }).await, BAD_CLIENT_ID[at]);
        assert_eq!(held.publish("fleet/acme/v/heartbeat").await, 0, "it was not thrown out");
    }
}

#[tokio::test]
async fn a_session_that_waits_for_its_client_is_ended_by_nobody_else() {
    let keyed = Keyed::start(&[]);
    let place = &keyed.service.mqtt;
    let acme = keyed.key(json!({"name": "acme", "customer": "acme", "scopes": ["read"]})).await;
    let globex = keyed.key(json!({"name": "globex", "customer": "globex", "scopes": ["read"]})).await;
    let reader = Login { id: "reader", user: "acme", password: &acme, stays: true, ..Login::default() };
    let (mut wire, _) = Wire::connect(place, 4, reader).await;
    wire.subscribe("fleet/acme/+/status").await;
    wire.stream.write_all(&packet(0xe0, b"")).await.expect("writes");
    while wire.read().await.is_some() {}
    for (at, version) in [4, 5].into_iter().enumerate() {
        let thief = Login { user: "globex", password: &globex, stays: false, ..reader };
        assert_eq!(code(place, version, thief).await, BAD_CLIENT_ID[at], "version {version}");
    }
    let (wire, welcome) = Wire::connect(place, 4, reader).await;
    assert_eq!((welcome, wire.found), (WELCOME, true), "its own client finds it");
}

#[tokio::test]
async fn a_revoked_key_is_out_within_a_second() {
    let keyed = Keyed::start(&[]);
    let place = &keyed.service.mqtt;
    let acme = keyed.key(json!({"name": "acme", "customer": "acme", "scopes": ["ingest"]})).await;
    let other = keyed.key(json!({"name": "other", "customer": "acme", "scopes": ["ingest"]})).await;
    let login = |id, password| Login { id, user: "acme", password, ..Login::default() };
    let (mut ended, _) = Wire::connect(place, 5, login("ended", &acme)).await;
    let (mut stays, _) = Wire::connect(place, 5, login("stays", &other)).await;
    assert_eq!((ended.publish("fleet/acme/e/heartbeat").await, stays.publish("fleet/acme/s/heartbeat").await), (0, 0));
    let revoke = format!("/api/v1/keys/{}", &acme[3..19]);
    let begun = Instant::now();
    assert_eq!(keyed.ask(&keyed.admin, "DELETE", &revoke, &Value::Null).await.status, 204);
    while ended.read().await.is_some() {}
    // A second is meant; the rest is for a busy machine.
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert_eq!(stays.publish("fleet/acme/s/heartbeat").await, 0);
    // That we threw it out is no hint that the vehicle is gone.
    until("the board shows it", || async { status_of(&keyed, "acme", "e").await.is_some() }).await;
    assert_eq!(status_of(&keyed, "acme", "e").await.as_deref(), Some("online"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_wrong_logins_are_limited_and_hold_up_nobody() {
    let keyed = Keyed::start(&[]);
    let place = keyed.service.mqtt.clone();
    let acme = keyed.key(json!({"name": "acme", "customer": "acme", "scopes": ["ingest"]})).await;
    let login = Login { id: "calm", user: "acme", password: &acme, ..Login::default() };
    let (mut unit, _) = Wire::connect(&place, 5, login).await;
    let before = keyed.service.rss_kib();
    let mut calm = Vec::new();
    for _ in 0..50 {
        let begun = Instant::now();
        unit.publish("fleet/acme/v/heartbeat").await;
        calm.push(begun.elapsed());
    }
    let attack = async {
        let (mut told, mut limited) = (0, 0);
        for number in 0..10_000 {
            let password = format!("rk_{number:016x}_{}", "0".repeat(64));
            match code(&place, 5, Login { id: "w", user: "acme", password: &password, ..Login::default() }).await {
                0x86 => told += 1,
                0x9f => limited += 1,
                other => panic!("code {other:#x}"),
            }
        }
        (told, limited)
    };
    let traffic = async {
        let mut busy = Vec::new();
        for _ in 0..200 {
            let begun = Instant::now();
            assert_eq!(unit.publish("fleet/acme/v/heartbeat").await, 0);
            busy.push(begun.elapsed());
        }
        busy
    };
    let ((told, limited), mut busy) = tokio::join!(attack, traffic);
    calm.sort();
    busy.sort();
    let (calm, busy, grown) = (calm[25], busy[100], keyed.service.rss_kib().saturating_sub(before));
    eprintln!("{told} told, {limited} limited; PUBACK {calm:?} calm, {busy:?} under attack; {grown} KiB more");
    assert!(told >= 100 && limited > told, "{told} told, {limited} limited");
    assert!(busy < calm * 30 + Duration::from_millis(50) && grown < 64 * 1024, "{calm:?} {busy:?} {grown}");
    // Behind the same address the right key gets in meanwhile.
    assert_eq!(code(&place, 5, Login { id: "again", ..login }).await, WELCOME);
}

#[tokio::test]
async fn mosquitto_pub_comes_in_with_the_right_key_over_tls_and_not() {
    if !mosquitto::has_client() {
        return;
    }
    let pair = Pair::new();
    let settings = pair.settings();
    let mut settings: Vec<(&str, &str)> =
        settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    settings.push(("ROLLCALL__TLS__HTTPS", "false"));
    let keyed = Keyed::start(&settings);
    let acme = keyed.key(json!({"name": "acme", "customer": "acme", "scopes": ["ingest"]})).await;
    let cert = pair.cert();
    for (name, place, ca) in [("plain", &keyed.service.mqtt, None), ("tls", &keyed.service.mqtts, Some(cert.as_path()))]
    {
        for version in ["mqttv311", "mqttv5"] {
            let topic = format!("fleet/acme/{name}-{version}/heartbeat");
            let right = ["-u", "acme", "-P", &acme, "-V", version];
            let (taken, said) = mosquitto::publish(place, &topic, ca, &right).await;
            assert!(taken, "{said}");
            let vehicle = format!("{name}-{version}");
            until("it is online", || async { status_of(&keyed, "acme", &vehicle).await.as_deref() == Some("online") })
                .await;
            let wrong = ["-u", "acme", "-P", "wrong", "-V", version];
            assert!(!mosquitto::publish(place, &topic, ca, &wrong).await.0);
            assert!(!mosquitto::publish(place, &topic, ca, &["-V", version]).await.0);
        }
    }
}

/// The files of `rollcall mosquitto-auth` in a real Mosquitto: the same keys come in, for the same topics.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mosquitto_with_our_files_lets_in_whom_we_would() {
    if !mosquitto::has_client() {
        return;
    }
    let keyed = Keyed::start(&[]);
    let acme = keyed.key(json!({"name": "acme", "customer": "acme", "scopes": ["ingest"]})).await;
    let truck = keyed.key(json!({"name": "t", "customer": "acme", "vehicle": "t 1", "scopes": ["ingest"]})).await;
    let gone = keyed.key(json!({"name": "gone", "customer": "acme", "scopes": ["ingest"]})).await;
    let revoke = format!("/api/v1/keys/{}", &gone[3..19]);
    assert_eq!(keyed.ask(&keyed.admin, "DELETE", &revoke, &Value::Null).await.status, 204);
    let folder = tempfile::tempdir().expect("folder");
    let (passwords, acl) = (folder.path().join("passwords"), folder.path().join("acl"));
    let mut command = keyed.rollcall(&["mosquitto-auth"]);
    command.arg("--passwords").arg(&passwords).arg("--acl").arg(&acl);
    command.env("ROLLCALL__MQTT__USERNAME", "rollcall").env("ROLLCALL__MQTT__PASSWORD", "of rollcall itself");
    let output = command.output().expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let written = std::fs::read_to_string(&passwords).expect("written");
    for secret in [&acme, &truck, &gone, &"of rollcall itself".to_owned()] {
        assert!(!written.contains(&secret[secret.len() - 12..]), "no secret is in the file");
    }
    let pair = Pair::new();
    let settings = format!(
        "allow_anonymous false\npassword_file {}\nacl_file {}\ncertfile {}\nkeyfile {}",
        passwords.display(),
        acl.display(),
        pair.cert().display(),
        pair.key().display()
    );
    let Some(broker) = mosquitto::Mosquitto::start(&settings).await else { return };
    // Rollcall itself listens there, proves it by its canary, and hears who may speak.
    let url = format!("mqtts://localhost:{}", broker.port);
    let mut listener = crate::support::rollcall(&["serve", "--http", "127.0.0.1:0", "--store", "sqlite::memory:"]);
    listener.args(["--broker", &url]).env("ROLLCALL__MQTT__CA_FILE", pair.cert());
    listener.env("ROLLCALL__MQTT__USERNAME", "rollcall").env("ROLLCALL__MQTT__PASSWORD", "of rollcall itself");
    let listener = crate::support::Service::spawn(&mut listener);
    until("it hears", || async {
        let status = listener.get("/api/v1/status").await;
        status["listening"] == true && status["canary"]["state"] == "well"
    })
    .await;
    let place = format!("localhost:{}", broker.port);
    let cert = pair.cert();
    let publish = |topic: &'static str, key: String| {
        let (place, cert) = (&place, &cert);
        async move {
            let user = format!("rk_{}", &key[3..19]);
            // Version 5, where a refusal is told.
            mosquitto::publish(place, topic, Some(cert), &["-u", &user, "-P", &key, "-V", "mqttv5"]).await
        }
    };
    assert!(publish("fleet/acme/one/heartbeat", acme.clone()).await.0);
    assert!(publish("fleet/acme/t 1/heartbeat", truck.clone()).await.0);
    let wrong = format!("{}{}", &acme[..acme.len() - 4], "0000");
    assert!(!publish("fleet/acme/wrong/heartbeat", wrong).await.0);
    assert!(!publish("fleet/acme/gone/heartbeat", gone).await.0);
    let _ = publish("fleet/globex/foreign/heartbeat", acme).await;
    let _ = publish("fleet/acme/other/heartbeat", truck).await;
    until("both are heard", || async {
        listener.status_of("acme", "one").await.as_deref() == Some("online")
            && listener.status_of("acme", "t 1").await.as_deref() == Some("online")
    })
    .await;
    let all = listener.all("/api/v1/vehicles?sort=vehicle").await;
    assert_eq!(all.len(), 2, "nobody else is heard: {all:?}");
}
