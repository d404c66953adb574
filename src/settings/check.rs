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

/// Sessions and pauses below it would end before anybody saw them.
const SECOND: Millis = 1_000;
/// A pepper that could be guessed protects nothing.
const PEPPER_BYTES_LEAST: usize = 32;

/// Rules that span settings, checked before anything is bound.
pub fn check(settings: &Settings) -> Vec<String> {
    let parts = [settings.history.check(), settings.exports.check(), settings.auth.oidc.check()];
    let mut faults = [settings.map.check(), parts.concat()].concat();
    let embedded = settings.mqtt.broker.is_none();
    let listeners = [
        ("http.listen", Some(settings.http.listen)),
        ("mqtt.listen", Some(settings.mqtt.listen).filter(|_| embedded)),
        ("mqtt.tls_listen", settings.mqtt.tls_listen.filter(|_| embedded)),
    ];
    for (name, address) in listeners.into_iter().filter_map(|(name, address)| Some((name, address?))) {
        if !address.ip().is_loopback() && settings.auth.mode.is_none() {
            faults.push(format!(
                "{name} = {address} is not loopback and nobody would be asked for a key; \
                 bind it to 127.0.0.1, or write auth.mode = \"keys\", \
                 or auth.mode = \"open\" if your network is the wall"
            ));
        }
    }
    faults.extend(tls(settings));
    if let Some(replica) = &settings.store.replica_url {
        let is_postgres = |url: &str| url.starts_with("postgres://") || url.starts_with("postgresql://");
        if !is_postgres(replica.expose()) {
            faults.push("store.replica_url must start with postgres://, as only such a store has a replica".into());
        }
    }
    let pepper = settings.auth.pepper.expose();
    if !pepper.is_empty() && pepper.len() < PEPPER_BYTES_LEAST {
        faults.push(format!("auth.pepper is too short, at least {PEPPER_BYTES_LEAST} random characters"));
    }
    let auth = &settings.auth;
    for (name, span) in [
        ("auth.session_idle", auth.session_idle),
        ("auth.session_max", auth.session_max),
        ("auth.login_pause", auth.login_pause),
        ("auth.oidc.session_max", auth.oidc.session_max),
    ] {
        if span.0 < SECOND {
            faults.push(format!("{name} = {span} is too short, at least 1s"));
        }
    }
    if auth.oidc.issuer.is_some() && auth.mode != Some(AuthMode::Keys) {
        faults.push("auth.oidc.issuer is set, and nobody signs in unless auth.mode = \"keys\"".into());
    }
    if auth.login_tries == 0 {
        faults.push("auth.login_tries = 0 would let nobody sign in; at least 1".into());
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
        ("http.header_timeout", settings.http.header_timeout, 100),
        ("http.body_timeout", settings.http.body_timeout, 100),
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
        ("auth.session_idle", settings.auth.session_idle),
        ("auth.session_max", settings.auth.session_max),
        ("auth.login_pause", settings.auth.login_pause),
        ("auth.oidc.session_max", settings.auth.oidc.session_max),
        ("http.header_timeout", settings.http.header_timeout),
        ("http.body_timeout", settings.http.body_timeout),
        ("auth.audit_keep", settings.auth.audit_keep),
    ] {
        if span.0 > TIMEOUT_MAX {
            faults.push(format!("{name} = {span} is too long, at most {}", Span(TIMEOUT_MAX)));
        }
    }
    faults
}

/// A certificate is two files, and a listener that speaks TLS needs one.
fn tls(settings: &Settings) -> Vec<String> {
    let mut faults = Vec::new();
    let tls = &settings.tls;
    if tls.cert_file.is_some() != tls.key_file.is_some() {
        let (given, missing) = match tls.cert_file {
            Some(_) => ("tls.cert_file", "tls.key_file"),
            None => ("tls.key_file", "tls.cert_file"),
        };
        faults.push(format!("{given} is set and {missing} is not; a certificate and its private key go together"));
    } else if settings.mqtt.tls_listen.is_some() && tls.cert_file.is_none() {
        faults.push("mqtt.tls_listen is set without a certificate; set tls.cert_file and tls.key_file too".into());
    }
    faults
}
