//! Instants as milliseconds, and their one text form (RFC 3339, UTC, milliseconds).
//! Fed by clock.rs and by payloads; read by everything that writes a time down.

use chrono::{DateTime, SecondsFormat, Utc};

/// Milliseconds since the Unix epoch, on the service's steady timeline (see clock.rs), or a device's own clock where
/// said.
pub type Millis = i64;

/// The years a time may lie in: 1970 to 9999, the range RFC 3339 can write with four digits.
pub const LATEST: Millis = 253_402_300_799_999;

/// `2026-01-31T08:15:00.123Z`; a time outside RFC 3339's range is written as its nearest end.
pub fn rfc3339(at: Millis) -> String {
    let at = at.clamp(0, LATEST);
    DateTime::<Utc>::from_timestamp_millis(at).unwrap_or_default().to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Reads RFC 3339 text or epoch milliseconds; `None` when it is neither or outside 1970..=9999.
pub fn parse(text: &str) -> Option<Millis> {
    let millis = match text.parse::<i64>() {
        Ok(millis) => millis,
        Err(_) => DateTime::parse_from_rfc3339(text).ok()?.timestamp_millis(),
    };
    (0..=LATEST).contains(&millis).then_some(millis)
}

/// Serde adapter: a [`Millis`] as RFC 3339 text.
pub mod as_text {
    use serde::Serializer;

    /// Writes the time as text.
    pub fn serialize<S: Serializer>(at: &super::Millis, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&super::rfc3339(*at))
    }
}

/// Serde adapter: an optional [`Millis`] as RFC 3339 text or null.
pub mod as_optional_text {
    use serde::Serializer;

    /// Writes the time as text, absent as null.
    pub fn serialize<S: Serializer>(at: &Option<super::Millis>, out: S) -> Result<S::Ok, S::Error> {
        match at {
            Some(at) => out.serialize_str(&super::rfc3339(*at)),
            None => out.serialize_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_survives_its_text() {
        for at in [0, 1, 1_769_847_300_123, LATEST] {
            assert_eq!(parse(&rfc3339(at)), Some(at));
        }
        assert_eq!(rfc3339(1_769_847_300_123), "2026-01-31T08:15:00.123Z");
    }

    #[test]
    fn epoch_milliseconds_and_offsets_are_read() {
        assert_eq!(parse("1769847300123"), Some(1_769_847_300_123));
        assert_eq!(parse("2026-01-31T09:15:00.123+01:00"), Some(1_769_847_300_123));
        assert_eq!(parse("yesterday"), None);
        assert_eq!(parse("-5"), None);
    }
}
