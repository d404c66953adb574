//! Settings of signing in with an identity provider, by OpenID Connect.
//! Read by settings.rs; used by access::oidc.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Origin, Secret, Span};
use crate::domain::access::Role;
use crate::domain::oidc::{Rule, Whose};

/// A provider, and whom it may let in.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Oidc {
    /// The provider, as it calls itself; its `/.well-known/openid-configuration` says the rest. None: there is none.
    pub issuer: Option<String>,
    /// What people call it, on the button.
    pub name: String,
    /// What it calls us.
    pub client_id: String,
    /// What we prove that with; empty: nothing, PKCE alone.
    pub client_secret: Secret,
    /// Where browsers find this service, `https://host[:port]`.
    pub public_origin: Option<Origin>,
    /// What the provider is asked to tell, with spaces between.
    pub scopes: String,
    /// `login` or `select_account`, to be asked there each time; empty: as the provider likes.
    pub prompt: String,
    /// The claim that is the name here.
    pub name_claim: String,
    /// Who is let in, and as what; whom no rule fits is not.
    #[serde(deserialize_with = "rules", serialize_with = "written")]
    pub rules: Vec<Rule>,
    /// A session is over after so long, and the provider asked again.
    pub session_max: Span,
    /// Whom we believe that the provider is who it says, PEM; None: whom this system believes.
    pub ca_file: Option<PathBuf>,
}

impl Default for Oidc {
    fn default() -> Self {
        Self {
            issuer: None,
            name: "single sign-on".into(),
            client_id: String::new(),
            client_secret: Secret::default(),
            public_origin: None,
            scopes: "openid profile email".into(),
            prompt: String::new(),
            name_claim: "preferred_username".into(),
            rules: Vec::new(),
            session_max: Span(12 * 3_600_000),
            ca_file: None,
        }
    }
}

impl Oidc {
    /// What is wrong with it, a sentence a fault; nothing while there is no issuer.
    pub fn check(&self) -> Vec<String> {
        let Some(issuer) = &self.issuer else { return Vec::new() };
        let mut faults = Vec::new();
        if !cfg!(feature = "oidc") {
            faults.push("auth.oidc.issuer is set, and this program was built without OpenID Connect".into());
        }
        if !is_private(issuer) || issuer.contains(['?', '#']) || issuer.chars().any(|c| c.is_whitespace()) {
            faults.push(format!(
                "auth.oidc.issuer = '{issuer}' has to be https://... without a query (http://127.0.0.1 for trying it)"
            ));
        }
        for (name, text) in [("client_id", &self.client_id), ("name", &self.name), ("name_claim", &self.name_claim)] {
            if text.is_empty() || text.len() > 255 || text.chars().any(char::is_control) {
                faults.push(format!("auth.oidc.{name} has to be 1 to 255 characters"));
            }
        }
        match &self.public_origin {
            None => faults.push(
                "auth.oidc.public_origin is not set; it is where browsers find this service, such as \
                 https://fleet.example.org"
                    .into(),
            ),
            Some(origin) if !is_private(origin.as_str()) => {
                faults.push(format!("auth.oidc.public_origin = '{}' has to be https://...", origin.as_str()));
            }
            Some(_) => {}
        }
        if !self.scopes.split(' ').any(|scope| scope == "openid") {
            faults.push("auth.oidc.scopes has to hold openid".into());
        }
        if !["", "login", "select_account"].contains(&&*self.prompt) {
            faults.push(format!("auth.oidc.prompt = '{}' is none of login, select_account", self.prompt));
        }
        if self.rules.is_empty() {
            faults.push("auth.oidc.rules is empty, so nobody could sign in".into());
        }
        faults
    }
}

/// Codes and tokens travel there: over TLS, or within this machine.
pub fn is_private(url: &str) -> bool {
    let host = |rest: &str| {
        let authority = rest.split('/').next().unwrap_or_default();
        let name = authority.rsplit_once(':').filter(|(_, port)| port.bytes().all(|c| c.is_ascii_digit()));
        name.map_or(authority, |(name, _)| name).to_owned()
    };
    match url.split_once("://") {
        Some(("https", rest)) => !host(rest).is_empty() && !rest.contains('@'),
        Some(("http", rest)) => ["127.0.0.1", "[::1]", "localhost"].contains(&&*host(rest)),
        _ => false,
    }
}

/// A rule as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    claim: String,
    value: String,
    role: String,
    customer: String,
}

fn rules<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<Rule>, D::Error> {
    let wrong = |why: String| serde::de::Error::custom(format!("auth.oidc.rules: {why}"));
    let given = serde_json::Value::deserialize(input)?;
    // The environment has no lists: there they are JSON.
    let given = match given {
        serde_json::Value::String(text) => serde_json::from_str(&text),
        list => serde_json::from_value::<Vec<Written>>(list),
    };
    let read = |Written { claim, value, role, customer }: Written| {
        let known = Role::from_word(&role);
        let role = known.ok_or_else(|| wrong(format!("'{role}' is no role; use viewer, operator or admin")))?;
        if claim.is_empty() {
            return Err(wrong("claim is empty".into()));
        }
        Ok(Rule { claim, value, role, whose: Whose::parse(&customer).map_err(wrong)? })
    };
    given.map_err(|error| wrong(error.to_string()))?.into_iter().map(read).collect()
}

fn written<S: Serializer>(rules: &[Rule], out: S) -> Result<S::Ok, S::Error> {
    if rules.is_empty() {
        return out.serialize_none();
    }
    out.collect_seq(rules.iter().map(|rule| Written {
        claim: rule.claim.clone(),
        value: rule.value.clone(),
        role: rule.role.word().to_owned(),
        customer: rule.whose.text(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_on_the_way_can_read_is_a_provider() {
        for good in ["https://id.example.org/realms/x", "http://127.0.0.1:8081/a", "http://localhost", "http://[::1]:1"]
        {
            assert!(is_private(good), "{good}");
        }
        for bad in
            ["", "id.example.org", "http://id.example.org", "http://127.0.0.1.evil.example", "https://", "ftp://x"]
        {
            assert!(!is_private(bad), "{bad}");
        }
        assert!(!is_private("http://127.0.0.1@evil.example") && !is_private("https://a@b"));
    }

    #[test]
    fn every_fault_of_a_provider_is_told_and_none_where_there_is_none() {
        assert!(Oidc::default().check().is_empty());
        let strange = Oidc { issuer: Some("http://id.example.org".into()), prompt: "none".into(), ..Oidc::default() };
        let told = strange.check().join("\n");
        for what in ["issuer", "client_id", "public_origin", "prompt", "rules"] {
            assert!(told.contains(&format!("auth.oidc.{what}")), "{what}: {told}");
        }
    }
}
