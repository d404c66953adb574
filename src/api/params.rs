//! Reads query strings: every parameter is checked by name, and an unknown one is refused by name.
//! Used by all handlers.

use std::collections::BTreeMap;

use actix_web::HttpRequest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::auth::Caller;
use super::error::Problem;
use crate::domain::time::{self, Millis};

/// Rows of a page when nobody says.
const LIMIT_DEFAULT: usize = 50;
/// Most rows of a page.
const LIMIT_MAX: usize = 1_000;

/// The parameters of one request, and who asks.
#[derive(Debug)]
pub struct Params {
    given: BTreeMap<String, String>,
    caller: Caller,
}

impl Params {
    /// Reads the query string; `known` are the names this path understands.
    ///
    /// # Errors
    /// The parameter that is unknown or given twice. 401 for everybody on a route that has no gate.
    pub fn read(request: &HttpRequest, known: &[&str]) -> Result<Self, Problem> {
        let caller = Caller::of(request)?;
        let pairs: Vec<(String, String)> = serde_urlencoded::from_str(request.query_string())
            .map_err(|error| Problem::unreadable(format!("the query string cannot be read: {error}")))?;
        let mut given = BTreeMap::new();
        for (name, value) in pairs {
            if !known.contains(&name.as_str()) {
                return Err(Problem::field(&name, format!("is unknown here; known are {}", known.join(", "))));
            }
            if given.insert(name.clone(), value).is_some() {
                return Err(Problem::field(&name, "is given twice"));
            }
        }
        Ok(Self { given, caller })
    }

    /// Who asks.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// A parameter's text; absent and empty are the same.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.given.get(name).map(String::as_str).filter(|text| !text.is_empty())
    }

    /// Parses a parameter with a function that explains what is wrong.
    ///
    /// # Errors
    /// 422 naming it.
    pub fn parsed<T>(&self, name: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Result<Option<T>, Problem> {
        self.text(name).map(parse).transpose().map_err(|problem| Problem::field(name, problem))
    }

    /// `limit`: 1 to 1000, 50 when absent.
    ///
    /// # Errors
    /// 422 naming it.
    pub fn limit(&self) -> Result<usize, Problem> {
        let limit = self.parsed("limit", |text| {
            let limit = text.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
            limit.ok_or_else(|| format!("is '{text}', must be 1 to {LIMIT_MAX}"))
        })?;
        Ok(limit.unwrap_or(LIMIT_DEFAULT))
    }

    /// A time: RFC 3339 or epoch milliseconds.
    ///
    /// # Errors
    /// 422 naming it.
    pub fn time(&self, name: &str) -> Result<Option<Millis>, Problem> {
        self.parsed(name, |text| {
            time::parse(text).ok_or_else(|| format!("'{text}' is neither RFC 3339 nor epoch milliseconds"))
        })
    }

    /// `from` and `to`, half-open.
    ///
    /// # Errors
    /// 422 naming the one that is wrong; `from` when it is after `to`.
    pub fn range(&self) -> Result<(Option<Millis>, Option<Millis>), Problem> {
        let (from, to) = (self.time("from")?, self.time("to")?);
        match (from, to) {
            (Some(from), Some(to)) if from > to => Err(Problem::field("from", "is after to")),
            range => Ok(range),
        }
    }

    /// `cursor`, as [`cursor`] made it.
    ///
    /// # Errors
    /// 422 naming it.
    pub fn cursor<T: DeserializeOwned>(&self) -> Result<Option<T>, Problem> {
        self.parsed("cursor", |text| {
            let bytes = URL_SAFE_NO_PAD.decode(text).ok();
            let cursor = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
            cursor.ok_or_else(|| "is not one that this path gave out".to_owned())
        })
    }
}

/// The opaque text of a place in a list.
pub fn cursor(place: &impl Serialize) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(place).unwrap_or_default())
}
