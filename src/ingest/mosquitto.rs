//! The password and access files with which a Mosquitto lets in whom the embedded broker would: each key under its own
//! identifier, for that customer's topics only. Made of the keys in the store and of the settings; written by
//! `rollcall mosquitto-auth` (app).

use std::fmt::Write;

use super::canary::Canary;
use super::topics::Topics;
use crate::domain::access::{Grant, KeyId, Scope};
use crate::settings::{Mqtt, Topic};

/// A key that may be used.
pub struct Login {
    /// Its identifier; `rk_` and this is the user name.
    pub id: KeyId,
    /// What it is for.
    pub grant: Grant,
    /// Its hash as Mosquitto makes them.
    pub hash: String,
}

/// The content of both files.
#[derive(Debug, PartialEq, Eq)]
pub struct Files {
    /// `password_file`.
    pub passwords: String,
    /// `acl_file`.
    pub rights: String,
}

/// Both files for these keys, and for Rollcall itself as `mqtt.username`, with the hash of its password.
///
/// # Errors
/// A sentence when the topic patterns cannot be used.
pub fn files(logins: &[Login], settings: &Mqtt, own_hash: Option<String>) -> Result<Files, String> {
    let topics = Topics::compile(&settings.topics)?;
    let mut files = Files {
        passwords: String::new(),
        rights:
            "# Made by `rollcall mosquitto-auth`: changes are lost when it runs again. What is not named is refused.\n"
                .to_owned(),
    };
    if let (Some(user), Some(hash)) = (&settings.username, own_hash) {
        put(&mut files.passwords, &format!("{user}:{hash}"));
        put(&mut files.rights, &format!("\n# Rollcall itself\nuser {user}"));
        for subscription in topics.subscriptions() {
            put(&mut files.rights, &format!("topic read {}", subscription.filter));
        }
        for (right, topic) in own_topics(settings) {
            put(&mut files.rights, &format!("topic {right} {topic}"));
        }
    }
    for login in logins {
        let (user, grant) = (format!("rk_{}", login.id), &login.grant);
        put(&mut files.passwords, &format!("{user}:{}", login.hash));
        put(&mut files.rights, &format!("\n# {}\nuser {user}", grant.name));
        if grant.scopes.has(Scope::Ingest) {
            for pattern in settings.topics.iter().filter_map(|topic| filled(topic, grant)) {
                put(&mut files.rights, &format!("topic write {pattern}"));
            }
        }
        let (customer, vehicle) = (grant.customer.as_deref().unwrap_or("+"), grant.vehicle.as_deref().unwrap_or("+"));
        put(&mut files.rights, &format!("topic read fleet/{customer}/{vehicle}/status"));
    }
    Ok(files)
}

fn put(text: &mut String, line: &str) {
    // Writing into a text cannot fail.
    let _ = writeln!(text, "{line}");
}

/// A pattern as the topics that a key may publish on; none of it where the customer is another's.
fn filled(topic: &Topic, grant: &Grant) -> Option<String> {
    let (own, fixed) = (grant.customer.as_deref(), topic.customer.as_deref());
    if fixed.is_some() && own.is_some() && own != fixed {
        return None;
    }
    let vehicle = grant.vehicle.as_deref().unwrap_or("+");
    Some(topic.pattern.replace("{customer}", own.unwrap_or("+")).replace("{vehicle}", vehicle))
}

/// Where Rollcall itself publishes.
fn own_topics(settings: &Mqtt) -> Vec<(&'static str, String)> {
    let canary = Canary::topic_of(settings).map(|topic| ("readwrite", topic));
    let presence = settings.presence_topic.replace("{client_id}", &settings.client_id);
    let presence = (!presence.is_empty()).then_some(("readwrite", presence));
    let status = settings.publish_status.then(|| ("write", "fleet/+/+/status".to_owned()));
    [canary, presence, status].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::access::Scopes;
    use crate::domain::heartbeat::Format;
    use crate::settings::TopicKind;

    fn login(id: u64, customer: Option<&str>, vehicle: Option<&str>, scope: Scope) -> Login {
        let grant = Grant {
            name: format!("key {id}"),
            customer: customer.map(Into::into),
            vehicle: vehicle.map(Into::into),
            scopes: Scopes::of(&[scope]),
            expires_at: None,
        };
        Login { id: KeyId::new(id), grant, hash: format!("$7${id}") }
    }

    #[test]
    fn each_key_gets_its_own_customers_topics_and_nothing_else() {
        let pattern = "units/{vehicle}/beat".to_owned();
        let (kind, customer) = (TopicKind::Heartbeat, Some("globex".to_owned()));
        let fixed = Topic { pattern, kind, format: Format::Any, customer };
        let settings = Mqtt { topics: [Mqtt::default().topics, vec![fixed]].concat(), ..Mqtt::default() };
        let logins = [
            login(1, Some("acme"), None, Scope::Ingest),
            login(2, Some("globex"), Some("MTA NYCT_7"), Scope::Ingest),
            login(3, Some("acme"), None, Scope::Read),
        ];
        let files = files(&logins, &settings, None).expect("patterns");
        assert_eq!(files.passwords, "rk_0000000000000001:$7$1\nrk_0000000000000002:$7$2\nrk_0000000000000003:$7$3\n");
        let blocks: Vec<&str> = files.rights.split("\n\n").collect();
        assert_eq!(
            blocks[1],
            "# key 1\nuser rk_0000000000000001\ntopic write fleet/acme/+/heartbeat\ntopic write fleet/acme/+/will\n\
             topic write fleet/acme/+/goodbye\ntopic read fleet/acme/+/status"
        );
        assert!(blocks[2].contains("topic write units/MTA NYCT_7/beat\n") && !blocks[2].contains('+'), "{}", blocks[2]);
        assert_eq!(blocks[3], "# key 3\nuser rk_0000000000000003\ntopic read fleet/acme/+/status\n");
    }

    #[test]
    fn rollcall_itself_may_read_every_heartbeat_and_prove_that_it_hears() {
        let settings = Mqtt { username: Some("rollcall".into()), publish_status: true, ..Mqtt::default() };
        let files = files(&[], &settings, Some("$7$own".into())).expect("patterns");
        assert_eq!(files.passwords, "rollcall:$7$own\n");
        for right in [
            "read fleet/+/+/heartbeat",
            "readwrite fleet/$rollcall/canary-rollcall/heartbeat",
            "readwrite rollcall/rollcall/presence",
            "write fleet/+/+/status",
        ] {
            assert!(files.rights.contains(&format!("topic {right}\n")), "{right} in {}", files.rights);
        }
    }
}
