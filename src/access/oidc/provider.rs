//! What is known of the provider, kept for a while: where its doors are and which keys it signs with; and the one
//! question it is asked for each sign-in. Fed by the provider; asked by the flow beside it. Bounds: one document and
//! one set of keys, read by one request at a time; how often a set is read again for a key it has not is limited,
//! and a provider that failed is left alone for `FAILED_AGAIN`, so that no flood of ours or of others' tokens
//! reaches it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::StatusCode;
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::Trouble;
use super::keys::{Keys, Signature};
use super::link::Link;
use crate::domain::limit::Limit;
use crate::domain::oidc::Token;
use crate::domain::time::Millis;
use crate::gate::buckets::Buckets;
use crate::settings::{Oidc as Settings, Secret, is_private};

/// A key that the provider takes back is believed no longer than this.
const KEPT: Duration = Duration::from_secs(3_600);
/// A token names its key itself, so whoever signs in could make us ask: so often at once, then once in so long.
const KEYS_AGAIN_BURST: u32 = 3;
const KEYS_AGAIN_EVERY: Millis = 10_000;
/// While it is away, people are told at once, not after the wait of each one before them.
const FAILED_AGAIN: Duration = Duration::from_secs(2);
/// A description of a fault is written down no longer than this.
const TOLD_CHARS_MAX: usize = 200;

/// The provider's description of itself (OpenID Connect Discovery 1.0).
#[derive(Debug, Deserialize)]
pub struct Metadata {
    issuer: String,
    /// Where browsers are sent.
    pub authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Vec<String>,
    /// Whether every answer says whose it is (RFC 9207).
    #[serde(default)]
    pub authorization_response_iss_parameter_supported: bool,
}

#[derive(Default)]
struct Known {
    metadata: Option<(Arc<Metadata>, Instant)>,
    keys: Option<(Keys, Instant)>,
    failed: Option<(String, Instant)>,
}

/// What is known of a provider.
pub struct Provider {
    issuer: String,
    client_id: String,
    client_secret: Secret,
    link: Link,
    known: Mutex<Known>,
    again: Buckets<()>,
}

impl Provider {
    /// # Errors
    /// A sentence when nobody is left whom we could believe.
    pub fn new(settings: &Settings, issuer: &str) -> anyhow::Result<Self> {
        Ok(Self {
            issuer: issuer.to_owned(),
            client_id: settings.client_id.clone(),
            client_secret: settings.client_secret.clone(),
            link: Link::new(settings.ca_file.as_deref())?,
            known: Mutex::default(),
            again: Buckets::new(Limit::every(KEYS_AGAIN_EVERY, KEYS_AGAIN_BURST)),
        })
    }

    /// Its description of itself.
    ///
    /// # Errors
    /// It does not answer, or what it says cannot be used.
    pub async fn metadata(&self) -> anyhow::Result<Arc<Metadata>> {
        let mut known = self.known.lock().await;
        if let Some((metadata, read)) = &known.metadata
            && read.elapsed() < KEPT
        {
            return Ok(Arc::clone(metadata));
        }
        if let Some((why, at)) = &known.failed
            && at.elapsed() < FAILED_AGAIN
        {
            return Err(anyhow!("{why}"));
        }
        match self.describe().await {
            Ok(metadata) => {
                let metadata = Arc::new(metadata);
                known.metadata = Some((Arc::clone(&metadata), Instant::now()));
                Ok(metadata)
            }
            Err(error) => {
                known.failed = Some((format!("{error:#}"), Instant::now()));
                Err(error)
            }
        }
    }

    async fn describe(&self) -> anyhow::Result<Metadata> {
        let url = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let document = self.link.get(&url).await?;
        let metadata: Metadata =
            serde_json::from_value(document).with_context(|| format!("{url} is no description of a provider"))?;
        ensure!(metadata.issuer == self.issuer, "{url} describes {}, not auth.oidc.issuer", metadata.issuer);
        for address in [&metadata.authorization_endpoint, &metadata.token_endpoint, &metadata.jwks_uri] {
            ensure!(is_private(address), "{url} names {address}, where secrets could be read on the way");
        }
        Ok(metadata)
    }

    /// What a code is worth: an ID token. What proves us goes into the header, or into the form where the provider
    /// takes it nowhere else.
    pub async fn redeem(&self, code: &str, verifier: &str, redirect: &str) -> Result<String, Trouble> {
        let metadata = self.metadata().await.map_err(Trouble::Away)?;
        let secret = self.client_secret.expose();
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", redirect),
            ("code_verifier", verifier),
            ("client_id", &self.client_id),
        ];
        let ways = &metadata.token_endpoint_auth_methods_supported;
        let takes = |way: &str| ways.iter().any(|known| known == way);
        let mut login = None;
        if !secret.is_empty() {
            if takes("client_secret_post") && !takes("client_secret_basic") {
                form.push(("client_secret", secret));
            } else {
                login = Some(basic(&self.client_id, secret));
            }
        }
        let form = serde_urlencoded::to_string(form).map_err(|error| Trouble::Away(error.into()))?;
        let url = &metadata.token_endpoint;
        let (status, answer) = self.link.post(url, login.as_deref(), form).await.map_err(Trouble::Away)?;
        if status == StatusCode::OK {
            let token = answer["id_token"].as_str().map(str::to_owned);
            return token.ok_or_else(|| Trouble::Away(anyhow!("{url} answers without an ID token")));
        }
        match answer["error"].as_str() {
            // The code is too old, or was used before.
            Some("invalid_grant") => Err(Trouble::Lost),
            other => {
                let error: String = other.unwrap_or("no reason").chars().take(TOLD_CHARS_MAX).collect();
                Err(Trouble::Away(anyhow!("{url} answers {status}: {error}")))
            }
        }
    }

    /// Whether the provider signed this.
    pub async fn check_signature(&self, token: &Token<'_>, now: Millis) -> Result<(), Trouble> {
        let untrue = |why: &str| Err(Trouble::Untrue(why.to_owned()));
        let metadata = self.metadata().await.map_err(Trouble::Away)?;
        let mut known = self.known.lock().await;
        let recent = known.keys.as_ref().filter(|(_, read)| read.elapsed() < KEPT);
        let mut found = recent.map_or(Signature::NoKey, |(keys, _)| keys.check(token));
        // Perhaps the provider has changed to a new key meanwhile.
        if found == Signature::NoKey && (recent.is_none() || self.again.take((), now).is_ok()) {
            let keys = Keys::read(&self.link.get(&metadata.jwks_uri).await.map_err(Trouble::Away)?);
            found = keys.check(token);
            known.keys = Some((keys, Instant::now()));
        }
        match found {
            Signature::Good => Ok(()),
            Signature::Wrong => untrue("its signature is wrong"),
            Signature::NoKey => untrue("it is signed with a key that the provider does not have"),
        }
    }
}

/// Name and secret for the header, each encoded as in a form before (RFC 6749, 2.3.1).
fn basic(client_id: &str, secret: &str) -> String {
    let encoded = |text: &str| serde_urlencoded::to_string([("", text)]).unwrap_or_default().split_off(1);
    STANDARD.encode(format!("{}:{}", encoded(client_id), encoded(secret)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_and_secret_are_encoded_before_they_are_joined() {
        assert_eq!(basic("roll:call", "a b%"), STANDARD.encode("roll%3Acall:a+b%25"));
    }
}
