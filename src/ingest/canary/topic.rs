//! The canary's topic: one that every subscription to heartbeats brings, and that no vehicle can have. Fed by the
//! settings; read by the door for every message, so it is one search in a text.

use crate::settings::{Topic, TopicKind};

/// Begins a level of a canary's topic. No customer and no vehicle may begin with `$`.
const MARK: &str = "$rollcall";

/// The canary's topic in the first heartbeat pattern. The mark takes the customer's level, or the vehicle's where the
/// customer is fixed. The first level of a topic must not begin with `$`, for `+` would not match it: if the mark falls
/// there, the vehicle's level takes it, after a space if need be, which no vehicle begins with either.
pub fn topic(patterns: &[Topic], client_id: &str) -> Option<String> {
    let pattern = patterns.iter().find(|topic| topic.kind == TopicKind::Heartbeat)?;
    let name: String = client_id.chars().map(|c| if c.is_control() || "/+#".contains(c) { '-' } else { c }).collect();
    let levels: Vec<&str> = pattern.pattern.split('/').collect();
    let by_customer = levels.iter().position(|level| *level == "{customer}").is_some_and(|place| place > 0);
    let fill = |(place, level): (usize, &&str)| match *level {
        "{customer}" if by_customer => MARK.to_owned(),
        "{vehicle}" if by_customer => format!("canary-{name}"),
        "{vehicle}" => format!("{}{MARK}-canary-{name}", if place == 0 { " " } else { "" }),
        "{customer}" | "+" => "rollcall".to_owned(),
        literal => literal.to_owned(),
    };
    Some(levels.iter().enumerate().map(fill).collect::<Vec<_>>().join("/"))
}

/// Whether a topic is that of a canary, ours or another Rollcall's on the same broker.
pub fn is_canary(topic: &str) -> bool {
    let at_level = |place: usize| topic[..place].ends_with('/') || topic[..place] == *" ";
    // One look for the mark's first byte tells nearly all; a search for the whole mark costs ten times that.
    memchr::memchr(b'$', topic.as_bytes()).is_some() && topic.match_indices(MARK).any(|(place, _)| at_level(place))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::heartbeat::Format;
    use crate::domain::ids;
    use crate::ingest::topics::Topics;
    use crate::settings::Mqtt;

    fn pattern(pattern: &str, customer: Option<&str>) -> Topic {
        let (kind, customer) = (TopicKind::Heartbeat, customer.map(str::to_owned));
        Topic { pattern: pattern.into(), kind, format: Format::Any, customer }
    }

    #[test]
    fn every_pattern_has_a_topic_that_no_vehicle_can_have() {
        assert_eq!(
            topic(&Mqtt::default().topics, "roll/call"),
            Some("fleet/$rollcall/canary-roll-call/heartbeat".into())
        );
        for (text, customer, wanted) in [
            ("{customer}/{vehicle}/hb", None, "rollcall/$rollcall-canary-x/hb"),
            ("{vehicle}/{customer}/hb", None, "canary-x/$rollcall/hb"),
            ("devices/+/{vehicle}", Some("acme"), "devices/rollcall/$rollcall-canary-x"),
            ("{vehicle}", Some("acme"), " $rollcall-canary-x"),
        ] {
            let patterns = [pattern(text, customer)];
            let found = topic(&patterns, "x").expect("a topic");
            assert_eq!(found, wanted);
            assert!(is_canary(&found) && !found.starts_with('$'));
            let topics = Topics::compile(&patterns).expect("compiles");
            let address = topics.resolve(&found).expect("every subscription brings it");
            let bad = ids::check_customer(address.customer).is_err() || ids::check_vehicle(address.vehicle).is_err();
            assert!(bad, "{found} could be a vehicle's");
        }
        assert_eq!(topic(&[Topic { kind: TopicKind::Will, ..pattern("a/{customer}/{vehicle}", None) }], "x"), None);
    }

    #[test]
    fn a_vehicle_is_no_canary() {
        for other in ["fleet/acme/a$rollcall/heartbeat", "fleet/rollcall/canary-x/heartbeat", "", "a /$roll"] {
            assert!(!is_canary(other), "{other}");
        }
    }
}
