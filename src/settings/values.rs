//! Values that settings are made of, with their text forms: durations, secrets, words of a short list.
//! Used by settings.rs; durations and secrets by whoever is given them.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::domain::time::Millis;

/// A duration written as `90s`, `5m`, `250ms`, `1h`, `2d`; kept in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Millis);

impl Span {
    /// As the standard library's duration.
    pub fn std(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0.max(0) as u64)
    }
}

impl std::str::FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let unit = match &text[digits..] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(format!("'{text}' is no duration; write it like 90s, 5m or 250ms")),
        };
        let count: Millis = text[..digits].parse().map_err(|_| format!("'{text}' is no duration"))?;
        count.checked_mul(unit).map(Self).ok_or_else(|| format!("'{text}' is too long"))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
        match units.into_iter().find(|(unit, _)| self.0 >= *unit && self.0 % unit == 0) {
            Some((unit, name)) => write!(out, "{}{name}", self.0 / unit),
            None => write!(out, "{}ms", self.0),
        }
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        String::deserialize(input)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A text that must not be shown as it is: logs, `check` and errors see [`Secret::shown`].
#[derive(Debug, Clone, Default)]
pub struct Secret(SecretString);

impl Secret {
    /// The text itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// The text as it may be shown: a URL without its password, anything else masked whole.
    pub fn shown(&self) -> String {
        let text = self.expose();
        if text.is_empty() || text.starts_with("sqlite:") {
            return text.to_owned();
        }
        let Some((scheme, rest)) = text.split_once("://").filter(|_| !text.contains("password=")) else {
            return "***".into();
        };
        match rest.rsplit_once('@') {
            Some((login, place)) => format!("{scheme}://{}:***@{place}", login.split(':').next().unwrap_or_default()),
            None => text.to_owned(),
        }
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(SecretString::from(text))
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&self.shown())
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        Ok(Self(SecretString::from(String::deserialize(input)?)))
    }
}

/// Reads a list, or a text of the same separated by commas, which is what the environment can say.
pub(super) fn list_of<'de, T, D>(input: D) -> Result<Vec<T>, D::Error>
where
    T: std::str::FromStr<Err = String>,
    D: Deserializer<'de>,
{
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        List(Vec<String>),
        Text(String),
    }
    let items = match Written::deserialize(input)? {
        Written::List(items) => items,
        Written::Text(text) => text.split(',').map(|item| item.trim().to_owned()).collect(),
    };
    let given = items.iter().filter(|item| !item.is_empty());
    given.map(|item| item.parse().map_err(serde::de::Error::custom)).collect()
}

/// Reads one of a few words; the error of a derived reader does not say which words there are.
pub(super) fn one_of<'de, T: Copy, D: Deserializer<'de>>(input: D, known: &[(&str, T)]) -> Result<T, D::Error> {
    let word = String::deserialize(input)?;
    let found = known.iter().find(|(name, _)| *name == word);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        serde::de::Error::custom(format!("'{word}' is none of {}", names.join(", ")))
    })
}
