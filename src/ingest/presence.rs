//! Whether Rollcall itself is there, as a retained message on a topic of its own (`mqtt.presence_topic`, R43). The rule
//! is that of a Sparkplug 3.0 host and its STATE topic: the will says offline with the time of the connection that left
//! it, online is published when the subscriptions are granted, each message carries its time, and who finds himself
//! called offline while he is there says online again, with a newer time. Readers believe the newest time.
//! Fed by the canary's line, which publishes; the will is on the subscriber's own connection. Pure.

use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::domain::time::Millis;
use crate::settings::Mqtt;

/// A time further ahead than this is no clock: it is not outdone, just answered.
const FUTURE_MAX: Millis = 86_400_000;

#[derive(Serialize, Deserialize)]
struct Message<'a> {
    status: &'a str,
    timestamp: Millis,
}

/// The presence of this process.
#[derive(Debug, Clone)]
pub struct Presence {
    /// Where it is told.
    pub topic: String,
    clock: Clock,
}

impl Presence {
    /// As the settings want it; nothing when they want none.
    pub fn new(settings: &Mqtt, clock: Clock) -> Option<Self> {
        let topic = settings.presence_topic.replace("{client_id}", &settings.client_id);
        (!topic.is_empty()).then_some(Self { topic, clock })
    }

    /// "I am here."
    pub fn online(&self) -> Vec<u8> {
        message("online", self.clock.now())
    }

    /// "I am gone", said now, or left as a will now.
    pub fn offline(&self) -> Vec<u8> {
        message("offline", self.clock.now())
    }

    /// What to say when the topic holds `payload` while we are here: nothing when it says so.
    pub fn answer(&self, payload: &[u8]) -> Option<Vec<u8>> {
        let now = self.clock.now();
        match serde_json::from_slice::<Message<'_>>(payload) {
            Ok(Message { status: "online", .. }) => None,
            Ok(Message { timestamp, .. }) if timestamp < now + FUTURE_MAX => {
                Some(message("online", now.max(timestamp + 1)))
            }
            _ => Some(message("online", now)),
        }
    }
}

fn message(status: &str, timestamp: Millis) -> Vec<u8> {
    // A word and a number cannot fail to be written.
    serde_json::to_vec(&Message { status, timestamp }).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R43: found offline, it says online with a time that wins.
    #[test]
    fn a_stale_offline_is_answered_with_a_newer_online() {
        let settings = Mqtt { client_id: "me".into(), ..Mqtt::default() };
        let presence = Presence::new(&settings, Clock::start()).expect("on by default");
        assert_eq!(presence.topic, "rollcall/me/presence");
        assert_eq!(presence.answer(&presence.online()), None);
        let time = |payload: Vec<u8>| {
            let value: serde_json::Value = serde_json::from_slice(&payload).expect("JSON");
            assert_eq!(value["status"], "online");
            value["timestamp"].as_i64().expect("a number")
        };
        let ahead = presence.clock.now() + 60_000;
        assert_eq!(presence.answer(&message("offline", ahead)).map(time), Some(ahead + 1));
        let now = presence.clock.now();
        for payload in [message("offline", Millis::MAX), b"".to_vec(), b"{".to_vec(), presence.offline()] {
            assert!(presence.answer(&payload).map(time).is_some_and(|time| (now..now + 60_000).contains(&time)));
        }
        assert!(Presence::new(&Mqtt { presence_topic: String::new(), ..settings }, Clock::start()).is_none());
    }
}
