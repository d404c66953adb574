//! What the OwnTracks app says: locations are heartbeats, its last will is a will, the rest is not for us.
//! Fed with raw bytes by heartbeat.rs for topic patterns with `format = "owntracks"`; feeds the same checks as JSON.
//!
//! The fields are those of the app's own description of its JSON: `tst` in seconds, `vel` in km/h, -1 for what a phone
//! does not know. Fixes carry no counter, so several within one second (the same `tst`) are all taken.

use std::borrow::Cow;

use serde::Deserialize;

use super::heartbeat::{Heartbeat, Refusal, Refused, Said, unreadable, within};
use super::time::{self, Millis};

/// What the app sends besides locations and wills; the list is its own.
const OTHER_TYPES: [&str; 11] = [
    "beacon",
    "card",
    "cmd",
    "configuration",
    "encrypted",
    "request",
    "status",
    "steps",
    "transition",
    "waypoint",
    "waypoints",
];

/// All that is read of a message before its type is known.
#[derive(Debug, Deserialize)]
#[serde(expecting = "a JSON object")]
struct Typed<'a> {
    #[serde(borrow, rename = "_type")]
    kind: Option<Cow<'a, str>>,
}

/// A location as it is written, before its values are checked.
#[derive(Debug, Deserialize)]
struct Location {
    tst: Option<f64>,
    lat: Option<f64>,
    lon: Option<f64>,
    vel: Option<f64>,
    cog: Option<f64>,
    batt: Option<f64>,
}

/// Decodes one payload. An empty one takes a retained message back and says nothing.
///
/// # Errors
/// [`Refused`] with the reason: not JSON, no or an unknown `_type`, a location without a place, a number out of range.
pub fn read(payload: &[u8]) -> Result<Said, Refused> {
    if payload.is_empty() {
        return Ok(Said::Nothing);
    }
    let typed: Typed<'_> = serde_json::from_slice(payload).map_err(|error| unreadable(&error))?;
    match typed.kind.as_deref() {
        Some("location") => {
            let raw: Location = serde_json::from_slice(payload).map_err(|error| unreadable(&error))?;
            raw.check().map(Said::Heartbeat)
        }
        // Its `tst` is not read: it is text or number, and when the app connected, not when the connection broke.
        Some("lwt") => Ok(Said::Will),
        Some(other) if OTHER_TYPES.contains(&other) => Ok(Said::Nothing),
        Some(other) => {
            let shown: String = other.chars().take(64).collect();
            Err(Refused::new(Refusal::BadPayload, format!("_type '{shown}' is unknown")))
        }
        None => Err(Refused::new(Refusal::BadPayload, "_type is missing")),
    }
}

impl Location {
    fn check(self) -> Result<Heartbeat, Refused> {
        let missing = |field: &str| Refused::new(Refusal::BadPayload, format!("{field} is missing"));
        let lat = within("lat", self.lat, -90.0, 90.0)?.ok_or_else(|| missing("lat"))?;
        let lon = within("lon", self.lon, -180.0, 180.0)?.ok_or_else(|| missing("lon"))?;
        let known = |value: Option<f64>| value.filter(|value| *value != -1.0);
        Ok(Heartbeat {
            ts: within("tst", self.tst, 0.0, (time::LATEST / 1_000) as f64)?.map(|tst| (tst * 1_000.0) as Millis),
            position: Some((lat, lon)),
            speed_kmh: within("vel", known(self.vel), 0.0, 2_000.0)?.map(|value| value as f32),
            heading_deg: within("cog", known(self.cog), 0.0, 360.0)?.map(|value| value as f32),
            battery_pct: within("batt", known(self.batt), 0.0, 100.0)?.map(|value| value as f32),
            ..Heartbeat::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the app sends it on Android.
    const FIX: &str = r#"{"_type":"location","BSSID":"aa:bb:cc:dd:ee:ff","SSID":"depot","_id":"1c0ab7f1","acc":13,
        "alt":117,"batt":81,"bs":1,"cog":271,"conn":"w","created_at":1769847302,"inregions":["depot"],"lat":53.4076,
        "lon":-2.9916,"m":1,"t":"p","tid":"07","topic":"owntracks/acme/van7","tst":1769847300,"vac":3,"vel":48}"#;

    fn reason(payload: &str) -> (Refusal, String) {
        let refused = read(payload.as_bytes()).expect_err(payload);
        (refused.reason, refused.detail)
    }

    #[test]
    fn a_location_is_a_heartbeat() {
        let Ok(Said::Heartbeat(beat)) = read(FIX.as_bytes()) else { panic!("a heartbeat") };
        let want = Heartbeat {
            ts: Some(1_769_847_300_000),
            position: Some((53.4076, -2.9916)),
            speed_kmh: Some(48.0),
            heading_deg: Some(271.0),
            battery_pct: Some(81.0),
            ..Heartbeat::default()
        };
        assert_eq!(beat, want);
        let unknown =
            FIX.replace("271", "-1").replace("\"vel\":48", "\"vel\":-1").replace("\"batt\":81", "\"batt\":-1");
        let Ok(Said::Heartbeat(beat)) = read(unknown.as_bytes()) else { panic!("a heartbeat") };
        assert_eq!((beat.speed_kmh, beat.heading_deg, beat.battery_pct), (None, None, None));
    }

    #[test]
    fn a_will_is_a_will_and_the_rest_is_not_for_us() {
        for tst in ["\"1769847300\"", "1769847300"] {
            let lwt = format!(r#"{{"_type":"lwt","tst":{tst}}}"#);
            assert_eq!(read(lwt.as_bytes()), Ok(Said::Will), "{lwt}");
        }
        for other in OTHER_TYPES {
            let payload = format!(r#"{{"_type":"{other}","desc":"depot","event":"enter","tst":1769847300}}"#);
            assert_eq!(read(payload.as_bytes()), Ok(Said::Nothing), "{payload}");
        }
        assert_eq!(read(b""), Ok(Said::Nothing));
    }

    #[test]
    fn what_the_app_does_not_send_is_refused_by_name() {
        for (payload, field) in [
            ("nonsense", "expected"),
            ("[]", "a JSON object"),
            ("{}", "_type is missing"),
            (r#"{"_type":7}"#, "string"),
            (r#"{"_type":"truck"}"#, "'truck' is unknown"),
            (r#"{"_type":"location","lon":1}"#, "lat is missing"),
            (r#"{"_type":"location","lat":1}"#, "lon is missing"),
            (r#"{"_type":"location","lat":"1","lon":1}"#, "f64"),
            (r#"{"_type":"location","lat":1,"lon":1,"tst":"soon"}"#, "f64"),
        ] {
            let (reason, detail) = reason(payload);
            assert!(reason == Refusal::BadPayload && detail.contains(field), "{payload}: {detail}");
        }
        for (field, value) in
            [("lat", "91"), ("lon", "181"), ("vel", "-2"), ("cog", "361"), ("batt", "101"), ("tst", "1e15")]
        {
            let mut fix: serde_json::Value = serde_json::from_str(FIX).expect("JSON");
            fix[field] = serde_json::from_str(value).expect("a number");
            let (reason, detail) = reason(&fix.to_string());
            assert!(reason == Refusal::OutOfRange && detail.contains(field), "{field} {value}: {detail}");
        }
    }
}
