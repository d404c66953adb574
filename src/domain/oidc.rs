//! What an identity provider says of a person (OpenID Connect Core 1.0), and what that makes of the person here: an ID
//! token taken apart, its claims held against what was asked for, and the rules that turn claims into a customer and a
//! role. Fed by access::oidc, which checks the signature; what no rule allows is refused.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::access::Role;
use super::ids;
use super::login::{Login, NAME_BYTES_MAX};
use super::time::Millis;

/// Two clocks that are kept by NTP differ by less; anything more is a fault that somebody should see.
const SKEW: Millis = 60_000;
/// A token is made for this very sign-in, so it is as young as the sign-in.
const AGE_MAX: Millis = 600_000;
/// Longest identifier of a person, by the standard.
const SUBJECT_BYTES_MAX: usize = 255;

/// The signatures that are believed. `none` and the ones by a shared secret are not among them, so a token can never
/// choose to be checked in a weaker way; ES256 and RS256 are what providers use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// RSA, PKCS #1 v1.5, SHA-256.
    Rs256,
    /// RSA, PSS, SHA-256.
    Ps256,
    /// ECDSA on P-256, SHA-256.
    Es256,
}

impl Algorithm {
    /// The one of this name.
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "RS256" => Some(Self::Rs256),
            "PS256" => Some(Self::Ps256),
            "ES256" => Some(Self::Es256),
            _ => None,
        }
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

/// An ID token taken apart.
#[derive(Debug)]
pub struct Token<'a> {
    /// How it is signed.
    pub algorithm: Algorithm,
    /// Which key signed it, when it says so.
    pub key: Option<String>,
    /// What is signed.
    pub signed: &'a [u8],
    /// The signature.
    pub signature: Vec<u8>,
    claims: Map<String, Value>,
}

impl<'a> Token<'a> {
    /// Takes a token apart; nothing in it is to be believed yet.
    ///
    /// # Errors
    /// What is wrong with its form.
    pub fn parse(text: &'a str) -> Result<Self, String> {
        let (signed, signature) = text.rsplit_once('.').ok_or("it is no signed token")?;
        let (header, claims) = signed.split_once('.').ok_or("it is no signed token")?;
        let bytes = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| "it is not in base64url".to_owned());
        let header: Header =
            serde_json::from_slice(&bytes(header)?).map_err(|_| "its header cannot be read".to_owned())?;
        let algorithm = Algorithm::from_word(&header.alg).ok_or("its algorithm is none of RS256, PS256, ES256")?;
        if header.crit.is_some() {
            return Err("its header has extensions that must be understood, and are not".into());
        }
        let claims = serde_json::from_slice(&bytes(claims)?).map_err(|_| "its claims cannot be read".to_owned())?;
        let signature = bytes(signature)?;
        Ok(Self { algorithm, key: header.kid, signed: signed.as_bytes(), signature, claims })
    }

    /// What it claims, once its signature is checked.
    ///
    /// # Errors
    /// The first claim that is not as it has to be.
    pub fn claims(self, expected: &Expected<'_>) -> Result<Claims, String> {
        let claims = Claims(self.claims);
        claims.check(expected)?;
        Ok(claims)
    }
}

/// What a token has to claim.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// Who made it.
    pub issuer: &'a str,
    /// For whom: us.
    pub client_id: &'a str,
    /// For which sign-in.
    pub nonce: &'a str,
    /// The time of day.
    pub now: Millis,
}

/// Claims that were held against [`Expected`].
#[derive(Debug)]
pub struct Claims(Map<String, Value>);

impl Claims {
    fn check(&self, expected: &Expected<'_>) -> Result<(), String> {
        if self.text("iss") != Some(expected.issuer) {
            return Err("it is of another issuer".into());
        }
        let audience = self.texts("aud");
        if !audience.contains(&expected.client_id) {
            return Err("it is for another client".into());
        }
        match self.0.get("azp") {
            None if audience.len() > 1 => return Err("it is for several clients and does not say for which".into()),
            Some(party) if party.as_str() != Some(expected.client_id) => {
                return Err("it was made for another client".into());
            }
            _ => {}
        }
        let now = expected.now;
        let ends = self.instant("exp").ok_or("it does not say when it expires")?;
        if ends <= now - SKEW {
            return Err("it has expired".into());
        }
        let made = self.instant("iat").ok_or("it does not say when it was made")?;
        if made > now + SKEW || self.instant("nbf").is_some_and(|from| from > now + SKEW) {
            return Err("it is from the future; compare the clocks".into());
        }
        if made < now - AGE_MAX {
            return Err("it was made long ago; compare the clocks".into());
        }
        if self.text("nonce") != Some(expected.nonce) {
            return Err("it was not made for this sign-in".into());
        }
        match self.text("sub") {
            Some(subject) if (1..=SUBJECT_BYTES_MAX).contains(&subject.len()) => Ok(()),
            _ => Err("it does not say of whom it is".into()),
        }
    }

    /// Who the person is to the provider, for ever; the name may change.
    pub fn subject(&self) -> &str {
        self.text("sub").unwrap_or_default()
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.find(name).and_then(Value::as_str)
    }

    /// A claim that is a text, or a list of them.
    fn texts(&self, name: &str) -> Vec<&str> {
        match self.find(name) {
            Some(Value::String(text)) => vec![text],
            Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    }

    /// Seconds since 1970, which may have a fraction.
    fn instant(&self, name: &str) -> Option<Millis> {
        let seconds = self.0.get(name)?.as_f64().filter(|seconds| (0.0..1e11).contains(seconds))?;
        Some((seconds * 1_000.0) as Millis)
    }

    /// A claim by its whole name, which may have dots in it, or else inside of objects.
    fn find(&self, name: &str) -> Option<&Value> {
        if let Some(whole) = self.0.get(name) {
            return Some(whole);
        }
        let (first, rest) = name.split_once('.')?;
        rest.split('.').try_fold(self.0.get(first)?, |inside, name| inside.get(name))
    }

    /// What the person is here: by the first rule that fits; the name is that in the claim `name`.
    ///
    /// # Errors
    /// Why the person is nobody here.
    pub fn person(&self, rules: &[Rule], name: &str) -> Result<Person, String> {
        let fits = rules.iter().find_map(|rule| Some((rule, self.customer_by(rule)?)));
        let (rule, customer) = fits.ok_or("no rule of auth.oidc.rules fits")?;
        let said = self.text(name).ok_or_else(|| format!("the claim {name} (auth.oidc.name_claim) is not there"))?;
        let login = Login::new(customer.as_deref(), &plain_name(said));
        let login = login.map_err(|_| format!("the claim {name} (auth.oidc.name_claim) holds no name"))?;
        Ok(Person { subject: self.subject().to_owned(), login, role: rule.role })
    }

    /// The customer that a rule gives: none is all of them; and `None` when it does not fit.
    fn customer_by(&self, rule: &Rule) -> Option<Option<Arc<str>>> {
        if !self.texts(&rule.claim).contains(&&*rule.value) {
            return None;
        }
        match &rule.whose {
            Whose::All => Some(None),
            Whose::One(customer) => Some(Some(Arc::clone(customer))),
            Whose::Claim(name) => ids::check_customer(self.text(name)?).ok().map(|customer| Some(customer.into())),
        }
    }
}

/// A name as logins have them: what may not be in one becomes a hyphen.
fn plain_name(said: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._@+-".contains(c);
    let plain: String = said.chars().map(|c| if allowed(c) { c } else { '-' }).collect();
    plain.trim_start_matches(|c: char| !c.is_ascii_alphanumeric()).chars().take(NAME_BYTES_MAX).collect()
}

/// Somebody who is to be let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Who that is to the provider.
    pub subject: String,
    /// The name here, and the customer.
    pub login: Login,
    /// What that one may do.
    pub role: Role,
}

/// Who is let in, and as what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// A claim that is a text or a list of texts.
    pub claim: String,
    /// What it has to be, or to hold.
    pub value: String,
    /// What that one may do.
    pub role: Role,
    /// For whom.
    pub whose: Whose,
}

/// Whose vehicles a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// Those of all customers.
    All,
    /// Those of this one.
    One(Arc<str>),
    /// Those of the one that a claim names.
    Claim(String),
}

impl Whose {
    /// Reads `*`, a customer, or `{claim}`.
    ///
    /// # Errors
    /// A sentence saying what is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::All);
        }
        if let Some(claim) = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).filter(|c| !c.is_empty()) {
            return Ok(Self::Claim(claim.to_owned()));
        }
        match ids::check_customer(text) {
            Ok(customer) => Ok(Self::One(customer.into())),
            Err(_) => Err(format!("'{text}' is neither * (all customers) nor a customer nor {{claim}}")),
        }
    }

    /// As it is written in settings.
    pub fn text(&self) -> String {
        match self {
            Self::All => "*".to_owned(),
            Self::One(customer) => customer.to_string(),
            Self::Claim(claim) => format!("{{{claim}}}"),
        }
    }
}

#[cfg(test)]
#[path = "oidc_tests.rs"]
mod tests;
