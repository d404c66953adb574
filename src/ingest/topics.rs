//! Which vehicle a topic speaks of, and what a message there means, by the patterns of the settings; and the topic on
//! which Rollcall itself speaks. Fed by the door with each message's topic.

use crate::domain::heartbeat::Format;
use crate::domain::ids::VehicleKey;
use crate::settings::{Topic, TopicKind};

/// The patterns, compiled.
#[derive(Debug)]
pub struct Topics {
    patterns: Vec<Pattern>,
}

#[derive(Debug)]
struct Pattern {
    levels: Vec<Level>,
    kind: TopicKind,
    format: Format,
    customer: Option<String>,
}

#[derive(Debug, PartialEq)]
enum Level {
    Literal(String),
    Customer,
    Vehicle,
    Any,
}

/// What a topic says.
#[derive(Debug, PartialEq, Eq)]
pub struct Address<'a> {
    /// The customer's name, unchecked.
    pub customer: &'a str,
    /// The vehicle's name, unchecked.
    pub vehicle: &'a str,
    /// What a message there means.
    pub kind: TopicKind,
    /// How its payload is read.
    pub format: Format,
}

/// What is asked for at an external broker.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subscription {
    /// Its topic filter.
    pub filter: String,
    /// Whether live messages keep the retain flag of their sender. The OwnTracks app sets it on all of them; without
    /// it only copies that the broker retained are flagged.
    pub live_flag: bool,
}

/// Where Rollcall tells a vehicle's last transition. An identifier holds no `/`, `+` or `#`, so it is always a topic.
pub fn status_topic(key: &VehicleKey) -> String {
    format!("fleet/{}/{}/status", key.customer, key.vehicle)
}

/// Whether a topic is, or could become, one of [`status_topic`].
pub fn is_status(topic: &str) -> bool {
    let names = topic.strip_prefix("fleet/").and_then(|rest| rest.strip_suffix("/status"));
    names.is_some_and(|names| names.bytes().filter(|byte| *byte == b'/').count() == 1)
}

impl Topics {
    /// Compiles the patterns.
    ///
    /// # Errors
    /// A sentence naming the pattern that cannot be used.
    pub fn compile(topics: &[Topic]) -> Result<Self, String> {
        let patterns = topics.iter().map(Pattern::compile).collect::<Result<Vec<_>, _>>()?;
        if patterns.is_empty() {
            Err("mqtt.topics is empty: nothing would be heard".into())
        } else {
            Ok(Self { patterns })
        }
    }

    /// The address in a topic; `None` when no pattern matches.
    pub fn resolve<'a>(&'a self, topic: &'a str) -> Option<Address<'a>> {
        self.patterns.iter().find_map(|pattern| pattern.resolve(topic))
    }

    /// The subscriptions that bring every message some pattern matches.
    pub fn subscriptions(&self) -> Vec<Subscription> {
        let mut all: Vec<Subscription> = self.patterns.iter().map(Pattern::subscription).collect();
        all.sort();
        all.dedup_by(|later, kept| later.filter == kept.filter);
        all
    }
}

impl Pattern {
    fn compile(topic: &Topic) -> Result<Self, String> {
        let wrong = |problem: &str| format!("mqtt.topics pattern '{}' {problem}", topic.pattern);
        let levels: Vec<Level> = topic.pattern.split('/').map(Level::read).collect();
        let count = |wanted: Level| levels.iter().filter(|level| **level == wanted).count();
        if count(Level::Vehicle) != 1 {
            return Err(wrong("must name {vehicle} once"));
        }
        match (count(Level::Customer), &topic.customer) {
            (1, None) | (0, Some(_)) => {}
            _ => return Err(wrong("must name {customer} once, or have a fixed customer")),
        }
        let literal = |level: &Level| matches!(level, Level::Literal(text) if text.contains(['#', '+', '{', '}']));
        if levels.iter().any(literal) {
            return Err(wrong(
                "holds a '#', '+', '{' or '}' inside a level; only a whole level '+' may stand for anything",
            ));
        }
        Ok(Self { levels, kind: topic.kind, format: topic.format, customer: topic.customer.clone() })
    }

    fn resolve<'a>(&'a self, topic: &'a str) -> Option<Address<'a>> {
        let (mut customer, mut vehicle) = (self.customer.as_deref(), None);
        let mut rest = Some(topic);
        for level in &self.levels {
            let part = next_level(&mut rest)?;
            match level {
                Level::Literal(text) if text != part => return None,
                Level::Literal(_) | Level::Any => {}
                Level::Customer => customer = Some(part),
                Level::Vehicle => vehicle = Some(part),
            }
        }
        let address = Address { customer: customer?, vehicle: vehicle?, kind: self.kind, format: self.format };
        rest.is_none().then_some(address)
    }

    fn subscription(&self) -> Subscription {
        let levels = self.levels.iter().map(|level| match level {
            Level::Literal(text) => text.as_str(),
            _ => "+",
        });
        let filter = levels.collect::<Vec<_>>().join("/");
        Subscription { filter, live_flag: self.format != Format::Owntracks }
    }
}

/// The next level of a topic, byte by byte: levels are short, and a searcher costs more to set up than they take.
fn next_level<'a>(rest: &mut Option<&'a str>) -> Option<&'a str> {
    let text = (*rest)?;
    match text.bytes().position(|byte| byte == b'/') {
        Some(end) => {
            *rest = Some(&text[end + 1..]);
            Some(&text[..end])
        }
        None => rest.take(),
    }
}

impl Level {
    fn read(text: &str) -> Self {
        match text {
            "{customer}" => Self::Customer,
            "{vehicle}" => Self::Vehicle,
            "+" => Self::Any,
            literal => Self::Literal(literal.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Mqtt;

    #[test]
    fn the_standard_topics_are_understood() {
        let topics = Topics::compile(&Mqtt::default().topics).expect("compiles");
        let address = topics.resolve("fleet/acme/MTA NYCT_7326/will").expect("matches");
        assert_eq!((address.customer, address.vehicle, address.kind), ("acme", "MTA NYCT_7326", TopicKind::Will));
        for other in
            ["fleet/acme/heartbeat", "fleet/a/b/c/heartbeat", "Fleet/a/b/heartbeat", "fleet/a/b/heartbeat/", "", "/"]
        {
            assert_eq!(topics.resolve(other), None, "{other}");
        }
        let filters: Vec<String> = topics.subscriptions().into_iter().map(|each| each.filter).collect();
        assert_eq!(filters, ["fleet/+/+/goodbye", "fleet/+/+/heartbeat", "fleet/+/+/will"]);
    }

    #[test]
    fn a_status_topic_is_told_from_all_others() {
        let key = VehicleKey::parse("acme", "MTA NYCT_7326").expect("a key");
        assert_eq!(status_topic(&key), "fleet/acme/MTA NYCT_7326/status");
        assert!(is_status(&status_topic(&key)) && is_status("fleet///status"));
        for other in [
            "fleet/acme/a/heartbeat",
            "fleet/acme/status",
            "fleet/status",
            "fleet/a/b/c/status",
            "Fleet/a/b/status",
            "fleet/a/b/status/",
        ] {
            assert!(!is_status(other), "{other}");
        }
    }

    #[test]
    fn a_pattern_may_fix_the_customer_and_skip_levels() {
        let pattern = |text: &str, customer: Option<&str>| Topic {
            pattern: text.into(),
            kind: TopicKind::Heartbeat,
            format: Format::Any,
            customer: customer.map(str::to_owned),
        };
        let topics = Topics::compile(&[pattern("devices/+/{vehicle}", Some("acme"))]).expect("compiles");
        let address = topics.resolve("devices/x/7").expect("matches");
        assert_eq!((address.customer, address.vehicle, address.format), ("acme", "7", Format::Any));
        for bad in [
            "{vehicle}",
            "a/{customer}",
            "{customer}/{vehicle}/#",
            "{customer}/{vehicle}/a+b",
            "{customer}/{customer}/{vehicle}",
        ] {
            assert!(Topics::compile(&[pattern(bad, None)]).is_err(), "{bad}");
        }
        assert!(Topics::compile(&[]).is_err());
    }
}
