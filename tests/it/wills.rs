//! Last wills and broken connections, on the embedded broker and on Mosquitto (R28, R29, R33 to R36): they only shorten
//! a deadline, a heartbeat always wins, and the deadline is the backstop when no will comes at all.

use std::time::Duration;

use serde_json::{Value, json};

use crate::mqtt::{Client, Version};
use crate::stacks::{CUSTOMER, Kind, Stack, ms};
use crate::support::{Service, until};

const TOPICS: &str = "[[mqtt.topics]]\npattern = 'NAME/{customer}/{vehicle}/heartbeat'\nkind = 'heartbeat'\n\
                      [[mqtt.topics]]\npattern = 'NAME/{customer}/{vehicle}/will'\nkind = 'will'\n";
const GRACE_MS: i64 = 1_500;

/// Silence alone takes an hour, a hint a second and a half.
async fn start(kind: Kind) -> Option<(Stack, Service)> {
    let stack = Stack::of(kind).await?;
    stack.read_topics(TOPICS);
    let service = stack.start(&[("FLEET__OFFLINE_AFTER", "1h"), ("FLEET__WILL_GRACE", "1500ms")]).await;
    Some((stack, service))
}

fn will(stack: &Stack, vehicle: &str) -> String {
    stack.topic(vehicle).replace("/heartbeat", "/will")
}

async fn transitions(service: &Service, vehicle: &str) -> Vec<Value> {
    let page = service.get(&format!("/api/v1/customers/{CUSTOMER}/vehicles/{vehicle}/transitions")).await;
    page["items"].as_array().cloned().unwrap_or_default()
}

async fn has(service: &Service, vehicle: &str, words: &[&str]) {
    until(&format!("{vehicle} has {words:?}"), || async {
        let found = transitions(service, vehicle).await;
        found.iter().rev().map(|each| each["to"].as_str().expect("text")).eq(words.iter().copied())
    })
    .await;
}

/// Returns when so long has passed that a hint given before would have shown.
async fn let_grace_pass() {
    tokio::time::sleep(Duration::from_millis(GRACE_MS as u64 + 700)).await; // poll: nothing is to happen meanwhile
}

async fn beat(client: &Client, stack: &Stack, vehicle: &str) {
    client.publish(&stack.topic(vehicle), 1, false, "{}").await;
}

/// R34: no will comes at all; silence is found at the deadline, to the millisecond.
async fn suppressed_wills(kind: Kind) {
    let Some(stack) = Stack::of(kind).await else { return };
    stack.read_topics(TOPICS);
    let service = stack.start(&[("FLEET__OFFLINE_AFTER", "700ms")]).await;
    let client = Client::connect(&service, Version::V3, &format!("{}-u", stack.name), None);
    beat(&client, &stack, "a").await;
    has(&service, "a", &["online"]).await;
    // Away without a word from a client that has no will.
    client.cut().await;
    has(&service, "a", &["online", "offline"]).await;
    let offline = transitions(&service, "a").await.remove(0);
    let late = ms(&offline["at"]) - ms(&offline["evidence"]["last_seen"]);
    assert_eq!((late, &offline["evidence"]["offline_after_ms"]), (700, &json!(700)), "{offline}");
    let expected = if kind == Kind::Embedded { ["silence", "last_will"] } else { ["silence"; 2] };
    assert!(expected.contains(&offline["cause"].as_str().expect("text")), "{offline}");
}

#[tokio::test]
async fn with_all_wills_suppressed_the_deadline_finds_silence_on_the_embedded_broker() {
    suppressed_wills(Kind::Embedded).await;
}

#[tokio::test]
async fn with_all_wills_suppressed_the_deadline_finds_silence_on_mosquitto() {
    suppressed_wills(Kind::External).await;
}

/// R33: a will shortens the deadline, and a beat of a new session within the grace takes it back.
async fn will_then_beat(kind: Kind) {
    let Some((stack, service)) = start(kind).await else { return };
    let (topic, id) = (will(&stack, "a"), format!("{}-u", stack.name));
    let first = Client::connect(&service, Version::V5, &id, Some(&topic));
    beat(&first, &stack, "a").await;
    has(&service, "a", &["online"]).await;
    first.cut().await;
    let second = Client::connect(&service, Version::V5, &format!("{id}2"), Some(&topic));
    beat(&second, &stack, "a").await;
    let_grace_pass().await;
    has(&service, "a", &["online"]).await;
    // And without that beat it is offline at the end of the grace.
    second.cut().await;
    has(&service, "a", &["online", "offline"]).await;
    let offline = transitions(&service, "a").await.remove(0);
    assert_eq!(offline["cause"], "last_will", "{offline}");
}

#[tokio::test]
async fn a_beat_within_the_grace_takes_a_will_back_on_the_embedded_broker() {
    will_then_beat(Kind::Embedded).await;
}

#[tokio::test]
async fn a_beat_within_the_grace_takes_a_will_back_on_mosquitto() {
    will_then_beat(Kind::External).await;
}

/// R28, R29: the end of an older connection is told after the vehicle came back on another, on the same node.
#[tokio::test]
async fn a_late_end_of_an_older_session_is_ignored_on_the_embedded_broker() {
    let Some((stack, service)) = start(Kind::Embedded).await else { return };
    let topic = will(&stack, "a");
    let old = Client::connect(&service, Version::V3, "old", Some(&topic));
    beat(&old, &stack, "a").await;
    has(&service, "a", &["online"]).await;
    let new = Client::connect(&service, Version::V3, "new", Some(&topic));
    beat(&new, &stack, "a").await;
    beat(&new, &stack, "mark").await;
    has(&service, "mark", &["online"]).await;
    old.cut().await;
    let_grace_pass().await;
    has(&service, "a", &["online"]).await;
    new.cut().await;
    has(&service, "a", &["online", "offline"]).await;
}

/// R28: an external broker tells no session, so the late will of another node shortens; the next beat takes it back.
#[tokio::test]
async fn a_late_will_of_another_node_is_taken_back_by_the_next_beat_on_mosquitto() {
    let Some((stack, service)) = start(Kind::External).await else { return };
    let client = Client::connect(&service, Version::V5, &format!("{}-u", stack.name), None);
    beat(&client, &stack, "a").await;
    has(&service, "a", &["online"]).await;
    client.publish(&will(&stack, "a"), 1, false, "").await;
    beat(&client, &stack, "a").await;
    let_grace_pass().await;
    has(&service, "a", &["online"]).await;
}

/// R35: being thrown out by a newer connection is no hint; again and again it is two devices with one client id.
#[tokio::test]
async fn takeovers_make_nobody_offline_and_two_devices_with_one_client_id_are_named() {
    let Some((stack, service)) = start(Kind::Embedded).await else { return };
    let topic = will(&stack, "a");
    let mut fighters = Vec::new();
    for number in 0..8 {
        let client = Client::connect(&service, Version::V3, "same", Some(&topic));
        beat(&client, &stack, "a").await;
        beat(&client, &stack, &format!("mark{number}")).await;
        has(&service, &format!("mark{number}"), &["online"]).await;
        fighters.push(client);
        if number == 3 {
            assert_eq!(service.get("/api/v1/warnings").await["items"], json!([]), "a device may come back some times");
        }
    }
    let_grace_pass().await;
    has(&service, "a", &["online"]).await;
    let warnings = service.get("/api/v1/warnings").await;
    let items = warnings["items"].as_array().expect("a list");
    let named = |item: &&Value| item["kind"] == "duplicate_id" && item["vehicle"] == "a";
    assert_eq!(items.iter().filter(named).count(), 1, "{warnings}");
}

/// R36: the will is retained though the vehicle heartbeats: the heartbeat wins, and the vehicle is named once.
async fn retained_will(kind: Kind) {
    let Some((stack, service)) = start(kind).await else { return };
    let (topic, id) = (will(&stack, "a"), format!("{}-u", stack.name));
    let client = Client::connect_with(&service, Version::V3, &id, Some((&topic, "", true)));
    beat(&client, &stack, "a").await;
    has(&service, "a", &["online"]).await;
    let other = Client::connect(&service, Version::V3, &format!("{id}2"), Some(&will(&stack, "b")));
    beat(&other, &stack, "b").await;
    client.cut().await;
    let again = Client::connect_with(&service, Version::V3, &id, Some((&topic, "", true)));
    beat(&again, &stack, "a").await;
    let warned = || async {
        let items = service.get("/api/v1/warnings").await["items"].as_array().cloned().unwrap_or_default();
        items.into_iter().filter(|item| item["kind"] == "retained_will").collect::<Vec<_>>()
    };
    until("it is named", || async { !warned().await.is_empty() }).await;
    let_grace_pass().await;
    has(&service, "a", &["online"]).await;
    let items = warned().await;
    assert_eq!((items.len(), &items[0]["vehicle"], &items[0]["customer"]), (1, &json!("a"), &json!(CUSTOMER)));
    assert!(items[0]["detail"].as_str().is_some_and(|text| text.contains("misconfigured will")), "{items:?}");
}

#[tokio::test]
async fn a_retained_will_loses_against_the_heartbeat_on_the_embedded_broker() {
    retained_will(Kind::Embedded).await;
}

#[tokio::test]
async fn a_retained_will_loses_against_the_heartbeat_on_mosquitto() {
    retained_will(Kind::External).await;
}
