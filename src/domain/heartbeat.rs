//! What a vehicle says: the heartbeat payload, decoded and checked, or the reason why it is refused. Fed with raw
//! bytes by ingest; the decoded beat goes to the vehicle. No input can make it panic (a fuzz target says so).

use std::borrow::Cow;
use std::fmt;
use std::hash::BuildHasher;

use foldhash::quality::FixedState;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use super::owntracks;
use super::plain;
use super::time::{self, Millis};

/// Longest payload that is read, in bytes: a full heartbeat with 32 metrics is about 1.5 KiB.
pub const PAYLOAD_BYTES_MAX: usize = 8 * 1024;
/// Most metrics in one heartbeat.
pub const METRICS_MAX: usize = 32;
/// Longest name of a metric and longest `boot` text, in bytes.
pub const TEXT_BYTES_MAX: usize = 64;
/// Longest announced sleep that is understood: 31 days, in seconds. Policy caps it further.
const NEXT_IN_S_MAX: f64 = 31.0 * 86_400.0;

/// How a payload is to be read; chosen per topic pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Empty, or the JSON object of the contract.
    #[default]
    Json,
    /// The payload is not read: the message itself is the heartbeat.
    Any,
    /// What the OwnTracks app sends; it says itself what is a heartbeat and what a will.
    Owntracks,
}

/// What one message on a heartbeat topic says.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// The vehicle is there.
    Heartbeat(Heartbeat),
    /// Its connection broke.
    Will,
    /// Nothing that concerns its status.
    Nothing,
}

/// One heartbeat, checked. Everything but its arrival is optional.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Heartbeat {
    /// The device's own time of this beat.
    pub ts: Option<Millis>,
    /// Counter of the device since its boot.
    pub seq: Option<u64>,
    /// Fingerprint of the device's boot text: equal texts, equal numbers.
    pub boot: Option<u64>,
    /// Latitude and longitude, WGS 84 degrees.
    pub position: Option<(f64, f64)>,
    /// Speed in km/h.
    pub speed_kmh: Option<f32>,
    /// Heading in degrees from north, clockwise.
    pub heading_deg: Option<f32>,
    /// Charge of the battery in percent.
    pub battery_pct: Option<f32>,
    /// Distance driven in its life, in km.
    pub odometer_km: Option<f64>,
    /// Whether the ignition is on.
    pub ignition: Option<bool>,
    /// The vehicle announces that its next beat comes only after this long, in milliseconds.
    pub next_in: Option<Millis>,
    /// Further readings by name.
    pub metrics: Option<Box<Metrics>>,
}

impl Heartbeat {
    /// Only what liveness rests on: the vehicle spoke too often for the rest of it to be read.
    pub fn without_facts(self) -> Self {
        let Self { ts, seq, boot, next_in, .. } = self;
        Self { ts, seq, boot, next_in, ..Self::default() }
    }
}

/// Further readings by name, in the order they were sent.
pub type Metrics = Vec<(Box<str>, f64)>;

/// Why a message was refused: the label under which it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Refusal {
    /// Not JSON, not an object, or a field of the wrong type.
    BadPayload,
    /// A number out of its range or not finite, or too many metrics.
    OutOfRange,
    /// A customer or vehicle that is no identifier.
    BadIdentifier,
    /// Payload or a text in it over its limit.
    TooLong,
    /// A topic that no pattern matches.
    UnknownTopic,
    /// A retained message: it proves nothing about now (R37).
    Retained,
    /// The fleet is at `fleet.max_vehicles`.
    FleetFull,
    /// The customer is at its cap.
    CustomerFull,
    /// The vehicle is not registered and `fleet.auto_register` is off.
    UnknownVehicle,
    /// Intake was full; only QoS 0 messages are dropped for it.
    Overloaded,
}

impl Refusal {
    /// All reasons, for metrics that start at zero.
    pub const ALL: [Refusal; 10] = [
        Refusal::BadPayload,
        Refusal::OutOfRange,
        Refusal::BadIdentifier,
        Refusal::TooLong,
        Refusal::UnknownTopic,
        Refusal::Retained,
        Refusal::FleetFull,
        Refusal::CustomerFull,
        Refusal::UnknownVehicle,
        Refusal::Overloaded,
    ];

    /// The word used in JSON and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::BadPayload => "bad_payload",
            Self::OutOfRange => "out_of_range",
            Self::BadIdentifier => "bad_identifier",
            Self::TooLong => "too_long",
            Self::UnknownTopic => "unknown_topic",
            Self::Retained => "retained",
            Self::FleetFull => "fleet_full",
            Self::CustomerFull => "customer_full",
            Self::UnknownVehicle => "unknown_vehicle",
            Self::Overloaded => "overloaded",
        }
    }
}

/// A refused message: the label and one sentence for the person who has to mend the sender.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{detail}")]
pub struct Refused {
    /// The label it is counted under.
    pub reason: Refusal,
    /// What is wrong, with the field's name.
    pub detail: String,
}

impl Refused {
    /// A refusal with its sentence.
    pub fn new(reason: Refusal, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

/// Reads one message, in whichever format.
///
/// # Errors
/// [`Refused`] with the reason; the message then counts as nothing at all.
pub fn read(format: Format, payload: &[u8]) -> Result<Said, Refused> {
    match format {
        Format::Owntracks => check_length(payload).and_then(|()| owntracks::read(payload)),
        Format::Json | Format::Any => decode(format, payload).map(Said::Heartbeat),
    }
}

/// Decodes one payload that is to be a heartbeat.
///
/// # Errors
/// [`Refused`] with the reason; the message then counts as nothing at all.
pub fn decode(format: Format, payload: &[u8]) -> Result<Heartbeat, Refused> {
    check_length(payload)?;
    match format {
        Format::Any => Ok(Heartbeat::default()),
        Format::Json if payload.is_empty() => Ok(Heartbeat::default()),
        Format::Json => match plain::read(payload) {
            Some(usual) => usual.check(),
            None => serde_json::from_slice::<Payload<'_>>(payload).map_err(|error| unreadable(&error))?.check(),
        },
        Format::Owntracks => match owntracks::read(payload)? {
            Said::Heartbeat(beat) => Ok(beat),
            Said::Will | Said::Nothing => Err(Refused::new(Refusal::BadPayload, "is no location")),
        },
    }
}

fn check_length(payload: &[u8]) -> Result<(), Refused> {
    if payload.len() <= PAYLOAD_BYTES_MAX {
        return Ok(());
    }
    let detail = format!("payload has {} bytes, at most {PAYLOAD_BYTES_MAX} are read", payload.len());
    Err(Refused::new(Refusal::TooLong, detail))
}

/// serde_json calls 1e999 "number out of range"; the sender is helped more by the right label.
pub(super) fn unreadable(error: &serde_json::Error) -> Refused {
    let text = error.to_string();
    let out_of_range = text.starts_with("number out of range");
    Refused::new(if out_of_range { Refusal::OutOfRange } else { Refusal::BadPayload }, text)
}

/// The fields of a payload, for those who must name an unknown one.
pub const FIELDS: [&str; 12] = [
    "ts",
    "seq",
    "boot",
    "lat",
    "lon",
    "speed_kmh",
    "heading_deg",
    "battery_pct",
    "odometer_km",
    "ignition",
    "next_in_s",
    "metrics",
];

/// The payload as it is written, before its values are checked.
#[derive(Debug, Default, Deserialize)]
#[serde(expecting = "a JSON object")]
pub(super) struct Payload<'a> {
    pub ts: Option<DeviceTime>,
    pub seq: Option<u64>,
    #[serde(borrow)]
    pub boot: Option<Cow<'a, str>>,
    pub lat: Option<f64>,
    pub lon: Option<f64>,
    pub speed_kmh: Option<f64>,
    pub heading_deg: Option<f64>,
    pub battery_pct: Option<f64>,
    pub odometer_km: Option<f64>,
    pub ignition: Option<bool>,
    pub next_in_s: Option<f64>,
    pub metrics: Option<RawMetrics>,
}

impl Payload<'_> {
    /// Checks every value against its range.
    pub(super) fn check(self) -> Result<Heartbeat, Refused> {
        if self.boot.as_ref().is_some_and(|boot| boot.len() > TEXT_BYTES_MAX) {
            return Err(Refused::new(Refusal::TooLong, format!("boot has more than {TEXT_BYTES_MAX} bytes")));
        }
        let lat = within("lat", self.lat, -90.0, 90.0)?;
        let lon = within("lon", self.lon, -180.0, 180.0)?;
        Ok(Heartbeat {
            ts: self.ts.map(DeviceTime::check).transpose()?,
            seq: self.seq,
            boot: self.boot.map(|boot| FixedState::default().hash_one(boot.as_ref())),
            position: lat.zip(lon),
            speed_kmh: within("speed_kmh", self.speed_kmh, 0.0, 2_000.0)?.map(|value| value as f32),
            heading_deg: within("heading_deg", self.heading_deg, 0.0, 360.0)?.map(|value| value as f32),
            battery_pct: within("battery_pct", self.battery_pct, 0.0, 100.0)?.map(|value| value as f32),
            odometer_km: within("odometer_km", self.odometer_km, 0.0, 100_000_000.0)?,
            ignition: self.ignition,
            next_in: within("next_in_s", self.next_in_s, 0.0, NEXT_IN_S_MAX)?.map(|s| (s * 1000.0) as Millis),
            metrics: self.metrics.map(RawMetrics::check).transpose()?,
        })
    }
}

pub(super) fn within(field: &str, value: Option<f64>, low: f64, high: f64) -> Result<Option<f64>, Refused> {
    match value {
        Some(value) if !(low..=high).contains(&value) => {
            Err(Refused::new(Refusal::OutOfRange, format!("{field} is {value}, must be {low} to {high}")))
        }
        fits => Ok(fits),
    }
}

/// `ts` as it is written: a number of milliseconds or text.
#[derive(Debug)]
pub(super) enum DeviceTime {
    Millis(f64),
    Text(Option<Millis>),
}

impl DeviceTime {
    fn check(self) -> Result<Millis, Refused> {
        match self {
            Self::Millis(millis) => Ok(within("ts", Some(millis), 0.0, time::LATEST as f64)?.unwrap_or(0.0) as Millis),
            Self::Text(Some(millis)) => Ok(millis),
            Self::Text(None) => {
                Err(Refused::new(Refusal::BadPayload, "ts must be RFC 3339 or epoch milliseconds, years 1970 to 9999"))
            }
        }
    }
}

impl<'de> Deserialize<'de> for DeviceTime {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct AnyTime;
        impl Visitor<'_> for AnyTime {
            type Value = DeviceTime;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("RFC 3339 text or epoch milliseconds")
            }
            fn visit_u64<E>(self, millis: u64) -> Result<DeviceTime, E> {
                Ok(DeviceTime::Millis(millis as f64))
            }
            fn visit_i64<E>(self, millis: i64) -> Result<DeviceTime, E> {
                Ok(DeviceTime::Millis(millis as f64))
            }
            fn visit_f64<E>(self, millis: f64) -> Result<DeviceTime, E> {
                Ok(DeviceTime::Millis(millis))
            }
            fn visit_str<E>(self, text: &str) -> Result<DeviceTime, E> {
                Ok(DeviceTime::Text(time::parse(text)))
            }
        }
        input.deserialize_any(AnyTime)
    }
}

/// `metrics` as written; reading stops at the bound, so a JSON bomb costs nothing.
#[derive(Debug)]
pub(super) struct RawMetrics {
    list: Metrics,
    too_many: bool,
}

impl RawMetrics {
    fn check(self) -> Result<Box<Metrics>, Refused> {
        if self.too_many {
            return Err(Refused::new(Refusal::OutOfRange, format!("metrics has more than {METRICS_MAX} numbers")));
        }
        match self.list.iter().find(|(name, _)| name.len() > TEXT_BYTES_MAX) {
            Some(_) => Err(Refused::new(Refusal::TooLong, format!("a metric's name is over {TEXT_BYTES_MAX} bytes"))),
            None => Ok(Box::new(self.list)),
        }
    }
}

impl<'de> Deserialize<'de> for RawMetrics {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = RawMetrics;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object of numbers")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawMetrics, A::Error> {
                let mut list: Metrics = Vec::new();
                while let Some(name) = map.next_key::<Cow<'de, str>>()? {
                    if list.len() == METRICS_MAX {
                        map.next_value::<IgnoredAny>()?;
                        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                        return Ok(RawMetrics { list, too_many: true });
                    }
                    let value: f64 = map.next_value()?;
                    if !value.is_finite() {
                        return Err(A::Error::custom("a metric is not finite"));
                    }
                    match list.iter_mut().find(|(known, _)| **known == *name) {
                        Some(entry) => entry.1 = value,
                        None => list.push((name.into(), value)),
                    }
                }
                Ok(RawMetrics { list, too_many: false })
            }
        }
        input.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refusal(payload: &str) -> Refused {
        decode(Format::Json, payload.as_bytes()).expect_err(payload)
    }

    #[test]
    fn a_full_heartbeat_is_read() {
        let payload =
            br#"{"ts":"2026-01-31T08:15:00.123Z","seq":7,"boot":"b\u0031","lat":53.4,"lon":-2.9,"speed_kmh":48.5,
            "heading_deg":360,"battery_pct":81,"odometer_km":120345.6,"ignition":true,"next_in_s":600,
            "metrics":{"rpm":1500,"temp":-3.5},"unknown":{"deep":[1,2,{}]}}"#;
        let beat = decode(Format::Json, payload).expect("decodes");
        assert_eq!((beat.ts, beat.seq, beat.position), (Some(1_769_847_300_123), Some(7), Some((53.4, -2.9))));
        assert_eq!((beat.next_in, beat.ignition, beat.heading_deg), (Some(600_000), Some(true), Some(360.0)));
        assert_eq!(beat.metrics.map(|m| *m), Some(vec![("rpm".into(), 1500.0), ("temp".into(), -3.5)]));
        assert_eq!(beat.boot, decode(Format::Json, br#"{"boot":"b1"}"#).expect("decodes").boot);
    }

    #[test]
    fn the_smallest_heartbeats_are_read() {
        for payload in ["", "{}", " {} ", r#"{"lat":null,"metrics":{}}"#, r#"{"ts":1769847300123}"#, r#"{"lat":1}"#] {
            assert!(decode(Format::Json, payload.as_bytes()).is_ok(), "{payload}");
        }
        assert_eq!(decode(Format::Any, b"\xff\x00 whatever"), Ok(Heartbeat::default()));
    }

    #[test]
    fn what_is_no_heartbeat_is_refused_by_name() {
        for payload in [
            "nonsense",
            "[]",
            "1",
            "\"x\"",
            "{",
            r#"{"lat":"53"}"#,
            r#"{"lat":NaN}"#,
            r#"{"seq":-1}"#,
            r#"{"seq":1.5}"#,
            r#"{"ts":"soon"}"#,
            r#"{"ignition":1}"#,
            r#"{"metrics":[1]}"#,
            r#"{"metrics":{"a":"b"}}"#,
            "{}{}",
            "null",
        ] {
            assert_eq!(refusal(payload).reason, Refusal::BadPayload, "{payload}");
        }
        for (payload, field) in [
            (r#"{"lat":91,"lon":0}"#, "lat"),
            (r#"{"lat":0,"lon":-180.5}"#, "lon"),
            (r#"{"speed_kmh":-1}"#, "speed_kmh"),
            (r#"{"battery_pct":101}"#, "battery_pct"),
            (r#"{"heading_deg":400}"#, "heading_deg"),
            (r#"{"odometer_km":1e300}"#, "odometer_km"),
            (r#"{"next_in_s":1e12}"#, "next_in_s"),
            (r#"{"ts":-1}"#, "ts"),
            (r#"{"ts":1e18}"#, "ts"),
            (r#"{"lat":1e999}"#, "number"),
        ] {
            let refused = refusal(payload);
            assert_eq!(refused.reason, Refusal::OutOfRange, "{payload}");
            assert!(refused.detail.contains(field), "{payload}: {refused}");
        }
    }

    #[test]
    fn limits_hold_exactly() {
        let metrics = |n: usize| {
            let list: Vec<String> = (0..n).map(|i| format!("\"m{i}\":{i}")).collect();
            format!("{{\"metrics\":{{{}}}}}", list.join(","))
        };
        assert!(decode(Format::Json, metrics(METRICS_MAX).as_bytes()).is_ok());
        assert_eq!(refusal(&metrics(METRICS_MAX + 1)).reason, Refusal::OutOfRange);
        let boot = |n: usize| format!("{{\"boot\":\"{}\"}}", "b".repeat(n));
        assert!(decode(Format::Json, boot(TEXT_BYTES_MAX).as_bytes()).is_ok());
        assert_eq!(refusal(&boot(TEXT_BYTES_MAX + 1)).reason, Refusal::TooLong);
        let padded = |n: usize| format!("{{}}{}", " ".repeat(n - 2));
        assert!(decode(Format::Json, padded(PAYLOAD_BYTES_MAX).as_bytes()).is_ok());
        assert_eq!(refusal(&padded(PAYLOAD_BYTES_MAX + 1)).reason, Refusal::TooLong);
        assert_eq!(refusal(&format!("{}1{}", "[".repeat(4000), "]".repeat(4000))).reason, Refusal::BadPayload);
    }

    proptest! {
        #[test]
        fn no_payload_panics(payload in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(Format::Json, &payload);
        }

        #[test]
        fn numbers_in_range_come_out_as_sent(lat in -90.0..=90.0f64, lon in -180.0..=180.0f64, seq in any::<u64>()) {
            let payload = serde_json::json!({"lat": lat, "lon": lon, "seq": seq}).to_string();
            let beat = decode(Format::Json, payload.as_bytes()).expect("in range");
            let (got_lat, got_lon) = beat.position.expect("sent");
            prop_assert!((got_lat - lat).abs() < 1e-9 && (got_lon - lon).abs() < 1e-9 && beat.seq == Some(seq));
        }
    }
}
