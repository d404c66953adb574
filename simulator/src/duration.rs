//! Durations as people write them: `250ms`, `90s`, `5m`, `2h`. Feeds the flags and the scenario files.

use std::time::Duration;

/// Reads a duration; the error is one sentence for the user.
pub fn parse(text: &str) -> Result<Duration, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
    let (number, unit) = text.split_at(digits);
    let seconds_a_unit = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("`{text}` is not a duration; write it like 250ms, 90s, 5m or 2h")),
    };
    let number: f64 = number.parse().map_err(|_| format!("`{text}` does not begin with a number, as in 90s"))?;
    Duration::try_from_secs_f64(number * seconds_a_unit).map_err(|_| format!("`{text}` is too long a duration"))
}

/// Reads a duration of a settings file.
pub fn deserialize<'de, D: serde::Deserializer<'de>>(text: D) -> Result<Duration, D::Error> {
    let text = <String as serde::Deserialize>::deserialize(text)?;
    parse(&text).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_written() {
        assert_eq!(parse("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(parse("2h"), Ok(Duration::from_secs(7200)));
    }

    #[test]
    fn bad_durations_are_refused_with_an_example() {
        for text in ["", "90", "s", "5 m", "1.2.3s", "-5s", "5d"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
