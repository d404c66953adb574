//! Vehicles as they really come: MQTT 3.1.1 and 5, every quality of service, wills, goodbyes, cut connections.

use std::process::Command;

use serde_json::Value;

use crate::mqtt::{Client, Version, refused};
use crate::support::{Live, Service, rollcall, until};

const IN_MEMORY: [&str; 2] = ["--store", "sqlite::memory:"];

/// A service in which a hint leaves this long to speak again, and silence alone takes an hour.
fn with_grace(grace: &str) -> Service {
    let listen = ["serve", "--http", "127.0.0.1:0", "--mqtt-listen", "127.0.0.1:0", "--offline-after", "1h"];
    let mut command = rollcall(&[&listen[..], &IN_MEMORY].concat());
    Service::spawn(command.env("ROLLCALL__FLEET__WILL_GRACE", grace))
}

/// The next transition of a vehicle: where to, and why.
async fn transition(live: &mut Live, vehicle: &str) -> (String, String, Value) {
    loop {
        let frame = live.next_of("transition").await;
        if frame["vehicle"] == vehicle {
            let word = |name: &str| frame[name].as_str().expect("text").to_owned();
            return (word("to"), word("cause"), frame);
        }
    }
}

async fn becomes(live: &mut Live, vehicle: &str, status: &str, cause: &str) -> Value {
    let (to, why, frame) = transition(live, vehicle).await;
    assert_eq!((to.as_str(), why.as_str()), (status, cause), "{frame}");
    frame
}

async fn is_heard_at_every_quality(version: Version) {
    let service = Service::start(&IN_MEMORY);
    let mut live = service.live("").await;
    let client = Client::connect(&service, version, "unit-1", None);
    for qos in 0..=2 {
        let vehicle = format!("TRK-{qos}");
        client.beat(&vehicle, qos).await;
        becomes(&mut live, &vehicle, "online", "heartbeat").await;
        until("online in REST", || async { service.status_of("acme", &vehicle).await.as_deref() == Some("online") })
            .await;
    }
    assert_eq!(service.get("/api/v1/status").await["intake"]["refused"], 0);
    assert_eq!(service.get("/api/v1/status").await["intake"]["connections"], 1);
}

#[tokio::test]
async fn an_mqtt_3_client_makes_its_vehicles_online_at_every_quality_of_service() {
    is_heard_at_every_quality(Version::V3).await;
}

#[tokio::test]
async fn an_mqtt_5_client_makes_its_vehicles_online_at_every_quality_of_service() {
    is_heard_at_every_quality(Version::V5).await;
}

#[tokio::test]
async fn mosquitto_pub_makes_a_vehicle_online_in_both_versions_at_every_quality_of_service() {
    const PROGRAM: &str = "mosquitto_pub";
    if Command::new(PROGRAM).arg("--help").output().is_err() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{PROGRAM} must be installed in CI");
        eprintln!("skipped: there is no {PROGRAM} on this machine");
        return;
    }
    let service = Service::start(&IN_MEMORY);
    let (host, port) = service.mqtt.rsplit_once(':').expect("address and port");
    for version in ["311", "mqttv5"] {
        for qos in ["0", "1", "2"] {
            let vehicle = format!("MOS-{version}-{qos}");
            let topic = format!("fleet/acme/{vehicle}/heartbeat");
            let mut command = Command::new(PROGRAM);
            command.args([
                "-h",
                host,
                "-p",
                port,
                "-V",
                version,
                "-q",
                qos,
                "-t",
                &topic,
                "-m",
                r#"{"battery_pct":7}"#,
            ]);
            let output = command.output().expect("runs");
            assert!(output.status.success(), "{output:?}");
            let path = format!("/api/v1/customers/acme/vehicles/{vehicle}");
            until(&vehicle, || async {
                let seen = service.get(&path).await;
                seen["status"] == "online" && seen["battery_pct"] == 7.0
            })
            .await;
        }
    }
}

/// R37, R38: the broker's memory proves nothing about now.
#[tokio::test]
async fn a_retained_heartbeat_makes_nobody_online_and_is_refused() {
    let service = Service::start(&IN_MEMORY);
    for (version, newcomer) in [(Version::V3, "NEW-3"), (Version::V5, "NEW-5")] {
        let before = refused(&service, "retained").await;
        let client = Client::connect(&service, version, "unit-1", None);
        client.publish("fleet/acme/OLD/heartbeat", 1, true, "{}").await;
        client.beat(newcomer, 1).await;
        until("the next one is online", || async { service.status_of("acme", newcomer).await.is_some() }).await;
        assert_eq!(refused(&service, "retained").await, before + 1);
        assert_eq!(service.answer("/api/v1/customers/acme/vehicles/OLD").await.0, 404);
        client.disconnect().await;
    }
    let newest = &service.get("/api/v1/refused").await["items"][0];
    assert_eq!((&newest["reason"], &newest["topic"]), (&"retained".into(), &"fleet/acme/OLD/heartbeat".into()));
}

async fn cut_off_is_offline_within_the_grace(version: Version, will: Option<&str>) {
    let service = with_grace("600ms");
    let mut live = service.live("").await;
    let client = Client::connect(&service, version, "unit-1", will);
    client.beat("CUT", 1).await;
    let online = becomes(&mut live, "CUT", "online", "heartbeat").await;
    client.cut().await;
    let offline = becomes(&mut live, "CUT", "offline", "last_will").await;
    let at = |frame: &Value| {
        let text = frame["at"].as_str().expect("time");
        chrono::DateTime::parse_from_rfc3339(text).expect("RFC 3339").timestamp_millis()
    };
    let after = at(&offline) - at(&online);
    assert!((600..20_000).contains(&after), "offline {after} ms after the heartbeat");
    until("offline in REST", || async { service.status_of("acme", "CUT").await.as_deref() == Some("offline") }).await;
}

#[tokio::test]
async fn a_last_will_over_mqtt_3_shortens_the_deadline_to_the_grace() {
    cut_off_is_offline_within_the_grace(Version::V3, Some("fleet/acme/CUT/will")).await;
}

#[tokio::test]
async fn a_last_will_over_mqtt_5_shortens_the_deadline_to_the_grace() {
    cut_off_is_offline_within_the_grace(Version::V5, Some("fleet/acme/CUT/will")).await;
}

#[tokio::test]
async fn a_cut_connection_without_a_will_is_a_hint_too() {
    cut_off_is_offline_within_the_grace(Version::V3, None).await;
}

#[tokio::test]
async fn a_vehicle_that_speaks_again_within_the_grace_never_was_offline() {
    let service = with_grace("2s");
    let mut live = service.live("").await;
    let will = Some("fleet/acme/BACK/will");
    let first = Client::connect(&service, Version::V5, "unit-1", will);
    first.beat("BACK", 1).await;
    becomes(&mut live, "BACK", "online", "heartbeat").await;
    let left = Client::connect(&service, Version::V3, "unit-2", Some("fleet/acme/LEFT/will"));
    left.beat("LEFT", 1).await;
    becomes(&mut live, "LEFT", "online", "heartbeat").await;
    // A polite end is no hint; its connection is over before the other two break.
    left.disconnect().await;
    first.cut().await;
    let second = Client::connect(&service, Version::V5, "unit-1", will);
    second.publish("fleet/acme/BACK/heartbeat", 1, false, r#"{"battery_pct":50}"#).await;
    until("it speaks again", || async {
        service.get("/api/v1/customers/acme/vehicles/BACK").await["battery_pct"] == 50.0
    })
    .await;
    let marker = Client::connect(&service, Version::V3, "unit-3", None);
    marker.beat("MARK", 1).await;
    becomes(&mut live, "MARK", "online", "heartbeat").await;
    marker.cut().await;
    // By the time the one cut last is offline, the graces of the others are over.
    becomes(&mut live, "MARK", "offline", "last_will").await;
    for vehicle in ["BACK", "LEFT"] {
        let seen = service.get(&format!("/api/v1/customers/acme/vehicles/{vehicle}")).await;
        assert_eq!((&seen["status"], &seen["seq"]), (&"online".into(), &1.into()), "{seen}");
    }
    second.disconnect().await;
}

#[tokio::test]
async fn a_goodbye_is_offline_at_once() {
    let service = with_grace("1h");
    let mut live = service.live("").await;
    for version in [Version::V3, Version::V5] {
        let vehicle = format!("BYE-{version:?}");
        let client = Client::connect(&service, version, "unit-1", None);
        client.beat(&vehicle, 1).await;
        becomes(&mut live, &vehicle, "online", "heartbeat").await;
        client.publish(&format!("fleet/acme/{vehicle}/goodbye"), 1, false, "").await;
        becomes(&mut live, &vehicle, "offline", "goodbye").await;
        client.beat(&vehicle, 1).await;
        becomes(&mut live, &vehicle, "online", "heartbeat").await;
        client.disconnect().await;
    }
}

#[tokio::test]
async fn names_with_spaces_and_umlauts_are_heard_as_they_are() {
    let service = Service::start(&IN_MEMORY);
    let client = Client::connect(&service, Version::V3, "unit-1", None);
    for (vehicle, in_path) in [("MTA NYCT_7326", "MTA%20NYCT_7326"), ("Über-Bus 4", "%C3%9Cber-Bus%204")] {
        client.beat(vehicle, 1).await;
        until(vehicle, || async { service.status_of("acme", in_path).await.as_deref() == Some("online") }).await;
        let seen = service.get(&format!("/api/v1/customers/acme/vehicles/{in_path}")).await;
        assert_eq!(seen["vehicle"], vehicle);
    }
}

/// A depot's gateway speaks for many; when it is cut off, all of them fall silent.
#[tokio::test]
async fn many_vehicles_over_one_connection_are_each_their_own() {
    let service = with_grace("1s");
    let gateway = Client::connect(&service, Version::V5, "gateway", None);
    for number in 0..40 {
        gateway.publish(&format!("fleet/c{}/BUS-{number}/heartbeat", number % 3), number % 3, false, "").await;
    }
    let counts = |status: &'static str| {
        let service = &service;
        move || async move { service.get("/api/v1/vehicles").await["counts"][status] == 40 }
    };
    until("all are online", counts("online")).await;
    assert_eq!(service.get("/api/v1/customers").await["items"].as_array().map(Vec::len), Some(3));
    assert_eq!(service.get("/api/v1/status").await["intake"]["connections"], 1);
    gateway.cut().await;
    until("all are offline", counts("offline")).await;
}
