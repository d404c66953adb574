//! Signing in with an identity provider: OpenID Connect, code flow with PKCE. The browser is sent there with a question
//! and a sealed cookie (`voyage`), comes back with a code, and the code is worth an ID token (`provider`), which is
//! checked (`keys`, domain::oidc) and becomes a user and a session (logins).
//! Fed by api with what the browser brings; asks the provider, and nobody else. Bounds: see the three.

mod keys;
mod link;
mod provider;
mod voyage;

use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use serde::Deserialize;

use super::logins::{Begun, Logins, Refused};
use super::pepper::hex;
use crate::domain::oidc::{Expected, Token};
use crate::domain::time::Millis;
use crate::settings::Oidc as Settings;
use provider::Provider;
use voyage::{Harbour, Voyage};

/// Where the provider sends browsers back to; registered there.
pub const CALLBACK: &str = "/login/oidc/callback";
/// How long a browser may be away.
pub const AWAY_MAX: Millis = 600_000;

/// A provider that people may sign in with.
pub struct Oidc {
    settings: Settings,
    issuer: String,
    redirect: String,
    provider: Provider,
    harbour: Harbour,
    logins: Arc<Logins>,
}

/// A browser that is to go to the provider.
pub struct Departure {
    /// Where to.
    pub address: String,
    /// What it brings back beside the answer.
    pub cookie: String,
}

/// Somebody who came back and is signed in.
pub struct Arrival {
    /// Who it is.
    pub begun: Begun,
    /// What became of the user, in the word of the audit.
    pub news: Option<&'static str>,
    /// What was to be looked at.
    pub next: String,
}

/// Why somebody is not signed in; each is a sentence of the sign-in page.
#[derive(Debug)]
pub enum Trouble {
    /// The cookie is not there, too old, used, or of another sign-in.
    Lost,
    /// The provider says no; what it said.
    Declined(String),
    /// The provider does not answer, or not in a form that could be understood.
    Away(anyhow::Error),
    /// What it said cannot be believed.
    Untrue(String),
    /// The person is nobody here; why.
    Stranger(String),
    /// As with a password; `Denied` is of a user who is disabled here.
    Refused(Refused),
}

/// What the provider lets the browser bring back. It may send more, which is its own business.
#[derive(Debug, Default, Deserialize)]
pub struct Answer {
    state: Option<String>,
    code: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
    /// Who answers, by RFC 9207.
    iss: Option<String>,
}

impl Oidc {
    /// None where no provider is set. It is not asked yet: the service starts without it.
    ///
    /// # Errors
    /// A sentence when nobody is left whom we could believe, or there is no pepper to seal cookies with.
    pub fn open(settings: &Settings, logins: &Arc<Logins>) -> anyhow::Result<Option<Arc<Self>>> {
        let (Some(issuer), Some(origin)) = (&settings.issuer, &settings.public_origin) else { return Ok(None) };
        Ok(Some(Arc::new(Self {
            issuer: issuer.clone(),
            redirect: format!("{}{CALLBACK}", origin.as_str()),
            provider: Provider::new(settings, issuer)?,
            harbour: Harbour::new(&logins.access)?,
            settings: settings.clone(),
            logins: Arc::clone(logins),
        })))
    }

    /// What people call the provider.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// Whether the provider can be asked: what `check` wants to know.
    ///
    /// # Errors
    /// What it answers instead.
    pub async fn probe(settings: &Settings) -> anyhow::Result<()> {
        let Some(issuer) = &settings.issuer else { return Ok(()) };
        Provider::new(settings, issuer)?.metadata().await.map(drop)
    }

    /// Sends a browser to the provider; `next` is what it wants to look at afterwards.
    ///
    /// # Errors
    /// [`Trouble::Away`], [`Trouble::Refused`].
    pub async fn depart(&self, next: &str) -> Result<Departure, Trouble> {
        let metadata = self.provider.metadata().await.map_err(Trouble::Away)?;
        let access = &self.logins.access;
        let secret = || access.bytes::<32>().map(|bytes| hex(&bytes));
        let secrets = || anyhow::Ok((secret()?, secret()?, secret()?));
        let (state, nonce, verifier) = secrets().map_err(|error| Trouble::Refused(Refused::Store(error)))?;
        let challenge = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, verifier.as_bytes()));
        let mut question = vec![
            ("response_type", "code"),
            ("client_id", &self.settings.client_id),
            ("redirect_uri", &self.redirect),
            ("scope", &self.settings.scopes),
            ("state", &state),
            ("nonce", &nonce),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        if !self.settings.prompt.is_empty() {
            question.push(("prompt", &self.settings.prompt));
        }
        let question = serde_urlencoded::to_string(question).map_err(|error| Trouble::Away(error.into()))?;
        let joint = if metadata.authorization_endpoint.contains('?') { '&' } else { '?' };
        let address = format!("{}{joint}{question}", metadata.authorization_endpoint);
        let voyage = Voyage { state, nonce, verifier, next: next.to_owned(), until: access.clock.today() + AWAY_MAX };
        let cookie = self.harbour.seal(&voyage).map_err(|error| Trouble::Refused(Refused::Store(error)))?;
        Ok(Departure { address, cookie })
    }

    /// Takes a browser that came back with this cookie and this answer.
    ///
    /// # Errors
    /// Why nobody is signed in; and what was to be looked at, when that is known.
    pub async fn arrive(
        &self,
        cookie: Option<&str>,
        answer: Answer,
        from: IpAddr,
    ) -> Result<Arrival, (Trouble, Option<String>)> {
        let voyage = cookie.and_then(|cookie| self.harbour.open(cookie)).ok_or((Trouble::Lost, None))?;
        let now = self.logins.access.clock.today();
        let is_own = answer.state.as_deref().is_some_and(|state| voyage.is(state));
        if !is_own || voyage.until <= now || !self.harbour.ends(&voyage, now) {
            return Err((Trouble::Lost, Some(voyage.next)));
        }
        match self.sign_in(&voyage, answer, from).await {
            Ok((begun, news)) => Ok(Arrival { begun, news, next: voyage.next }),
            Err(trouble) => Err((trouble, Some(voyage.next))),
        }
    }

    async fn sign_in(
        &self,
        voyage: &Voyage,
        answer: Answer,
        from: IpAddr,
    ) -> Result<(Begun, Option<&'static str>), Trouble> {
        // Whoever comes back costs the provider a question or the audit a line, so that is limited as passwords are.
        self.logins.take(None, from).map_err(Trouble::Refused)?;
        let metadata = self.provider.metadata().await.map_err(Trouble::Away)?;
        // An answer that another provider made out to us must not be taken for one of this provider.
        match &answer.iss {
            Some(issuer) if *issuer != self.issuer => return Err(Trouble::Untrue("another issuer answered".into())),
            None if metadata.authorization_response_iss_parameter_supported => {
                return Err(Trouble::Untrue("the answer does not say which issuer it is of".into()));
            }
            _ => {}
        }
        let Some(code) = answer.code.filter(|_| answer.error.is_none()) else {
            let said = [answer.error, answer.error_description].into_iter().flatten().collect::<Vec<_>>();
            return Err(Trouble::Declined(said.join(": ")));
        };
        let token = self.provider.redeem(&code, &voyage.verifier, &self.redirect).await?;
        let token = Token::parse(&token).map_err(Trouble::Untrue)?;
        self.provider.check_signature(&token, self.logins.access.clock.now()).await?;
        let expected = Expected {
            issuer: &self.issuer,
            client_id: &self.settings.client_id,
            nonce: &voyage.nonce,
            now: self.logins.access.clock.today(),
        };
        let claims = token.claims(&expected).map_err(Trouble::Untrue)?;
        let person = claims.person(&self.settings.rules, &self.settings.name_claim).map_err(Trouble::Stranger)?;
        self.logins.attempts.give_back(None, from);
        let begun = self.logins.with_person(&self.issuer, person, self.settings.session_max.0, from).await;
        begun.map_err(Trouble::Refused)
    }
}
