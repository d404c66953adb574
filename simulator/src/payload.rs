//! The heartbeat as JSON. Fed by the device, feeds the MQTT session. Every field of the contract that a vehicle has
//! something true to say about; rounded as real devices round.

use serde::Serialize;

use crate::journey::Pose;

/// Who speaks: the counter since the device booted, and the device's own clock.
#[derive(Debug, Clone, Copy)]
pub struct Stamp<'a> {
    pub ts_ms: i64,
    pub seq: u64,
    pub boot: &'a str,
}

#[derive(Serialize)]
struct Heartbeat<'a> {
    ts: i64,
    seq: u64,
    boot: &'a str,
    lat: f64,
    lon: f64,
    speed_kmh: f64,
    heading_deg: f64,
    battery_pct: f64,
    odometer_km: f64,
    ignition: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_in_s: Option<f64>,
}

/// The bytes of one heartbeat, about 200. `next_in_ms` announces a planned sleep.
pub fn heartbeat(stamp: Stamp<'_>, pose: &Pose, next_in_ms: Option<u64>) -> Vec<u8> {
    let heartbeat = Heartbeat {
        ts: stamp.ts_ms,
        seq: stamp.seq,
        boot: stamp.boot,
        lat: round(pose.at.lat, 1e6),
        lon: round(pose.at.lon, 1e6),
        speed_kmh: round(pose.speed_kmh, 10.0),
        // Rounding may reach the full circle, which is north again.
        heading_deg: round(pose.heading_deg, 10.0) % 360.0,
        battery_pct: round(pose.battery_pct, 10.0),
        odometer_km: round(pose.odometer_km, 1e3),
        ignition: pose.ignition,
        next_in_s: next_in_ms.map(|ms| ms as f64 / 1e3),
    };
    serde_json::to_vec(&heartbeat).expect("invariant: plain numbers and text always serialise")
}

fn round(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geo::Point;

    #[test]
    fn heartbeat_has_the_fields_of_the_contract() {
        let at = Point { lat: 52.123_456_78, lon: 13.0 };
        let pose =
            Pose { at, speed_kmh: 81.26, heading_deg: 359.99, battery_pct: 77.0, odometer_km: 10.0, ignition: true };
        let bytes = heartbeat(Stamp { ts_ms: 1_700_000_000_000, seq: 5, boot: "b1" }, &pose, None);
        let text = String::from_utf8(bytes).unwrap();
        assert_eq!(
            text,
            concat!(
                r#"{"ts":1700000000000,"seq":5,"boot":"b1","lat":52.123457,"lon":13.0,"speed_kmh":81.3,"#,
                r#""heading_deg":0.0,"battery_pct":77.0,"odometer_km":10.0,"ignition":true}"#
            )
        );
    }
}
