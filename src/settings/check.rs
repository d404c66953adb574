//! What settings have to fulfil beyond their types: bounds of single ones, and what holds between several.
//! Asked by `load` when all layers are read; answers a sentence a fault, so that all are told at once.

use super::{AuthMode, Settings, Span, Topic, TopicKind};
use crate::domain::heartbeat::Format;
use crate::domain::policy::{TIMEOUT_LEAST, TIMEOUT_MAX};
use crate::domain::time::Millis;

/// The embedded broker waits no longer than this for a CONNECT, whatever it is told.
const CONNECT_TIMEOUT_MAX: Millis = 10_000;
/// Below this a spool holds too little to be worth its name: about 2,500 transitions.
const SPOOL_BYTES_LEAST: u64 = 1 << 20;

/// Rules that span settings, checked before anything is bound.
pub fn check(settings: &Settings) -> Vec<String> {
    let mut faults = [settings.map.check(), settings.history.check()].concat();
    let listeners = [
        ("http.listen", settings.http.listen, true),
        ("mqtt.listen", settings.mqtt.listen, settings.mqtt.broker.is_none()),
    ];
    for (name, address, used) in listeners {
        if used && !address.ip().is_loopback() && settings.auth.mode != Some(AuthMode::Open) {
            faults.push(format!(
                "{name} = {address} is not loopback and nobody would be asked for a key; \
                 bind it to 127.0.0.1, or write auth.mode = \"open\" if your network is the wall"
            ));
        }
    }
    let would_read_status = |topic: &&Topic| {
        let levels: Vec<&str> = topic.pattern.split('/').collect();
        let may_be = |level: &str, word: &str| level == word || level == "+" || level.starts_with('{');
        levels.len() == 4 && may_be(levels[0], "fleet") && may_be(levels[3], "status")
    };
    for topic in settings.mqtt.topics.iter().filter(would_read_status).filter(|_| settings.mqtt.publish_status) {
        faults.push(format!(
            "mqtt.topics pattern '{}' would read the statuses that mqtt.publish_status publishes; change one of them",
            topic.pattern
        ));
    }
    let tells_itself = |topic: &&Topic| topic.format == Format::Owntracks && topic.kind != TopicKind::Heartbeat;
    for topic in settings.mqtt.topics.iter().filter(tells_itself) {
        faults.push(format!(
            "mqtt.topics pattern '{}' has format owntracks and kind {}; the app says itself what is a will, so write \
             kind = \"heartbeat\"",
            topic.pattern,
            topic.kind.word()
        ));
    }
    for (name, span, least) in [
        ("fleet.offline_after", settings.fleet.offline_after, TIMEOUT_LEAST),
        ("live.tick", settings.live.tick, 20),
        ("store.last_seen_interval", settings.store.last_seen_interval, 100),
        ("store.checkpoint_interval", settings.store.checkpoint_interval, 100),
        ("mqtt.connect_timeout", settings.mqtt.connect_timeout, 100),
    ] {
        if span.0 < least {
            faults.push(format!("{name} = {span} is too short, at least {least}ms"));
        }
    }
    if settings.store.spool_bytes_max < SPOOL_BYTES_LEAST {
        faults.push(format!(
            "store.spool_bytes_max = {} is too small, at least {SPOOL_BYTES_LEAST}",
            settings.store.spool_bytes_max
        ));
    }
    let canary = settings.mqtt.canary_interval;
    if (1..100).contains(&canary.0) {
        faults.push(format!("mqtt.canary_interval = {canary} is too short, at least 100ms, or 0s for no canary"));
    }
    let presence = settings.mqtt.presence_topic.replace("{client_id}", &settings.mqtt.client_id);
    if presence.contains(['+', '#']) || presence.starts_with('$') {
        faults.push(format!("mqtt.presence_topic '{presence}' is no topic that can be published on"));
    }
    let fleet = &settings.fleet;
    let connect_timeout = settings.mqtt.connect_timeout;
    if connect_timeout.0 > CONNECT_TIMEOUT_MAX {
        faults.push(format!(
            "mqtt.connect_timeout = {connect_timeout} is too long, at most {}",
            Span(CONNECT_TIMEOUT_MAX)
        ));
    }
    for (name, span) in [
        ("fleet.offline_after", fleet.offline_after),
        ("fleet.will_grace", fleet.will_grace),
        ("fleet.sleep_max", fleet.sleep_max),
        ("fleet.sleep_grace", fleet.sleep_grace),
        ("fleet.backlog_after", fleet.backlog_after),
        ("fleet.future_max", fleet.future_max),
        ("fleet.past_max", fleet.past_max),
        ("mqtt.session_expiry", settings.mqtt.session_expiry),
        ("store.last_seen_interval", settings.store.last_seen_interval),
        ("mqtt.canary_interval", settings.mqtt.canary_interval),
        ("mqtt.connect_timeout", settings.mqtt.connect_timeout),
        ("store.checkpoint_interval", settings.store.checkpoint_interval),
        ("live.tick", settings.live.tick),
    ] {
        if span.0 > TIMEOUT_MAX {
            faults.push(format!("{name} = {span} is too long, at most {}", Span(TIMEOUT_MAX)));
        }
    }
    faults
}
