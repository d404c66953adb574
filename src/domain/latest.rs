//! The newest facts of a vehicle besides its status: where it is and what its gauges say.
//! Fed by each heartbeat; read by the board. The device's own time orders them, arrival never does (R17).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::heartbeat::{Heartbeat, Metrics};
use super::policy::Rules;
use super::time::Millis;

/// Where a vehicle was, and when by its own clock.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Latitude, WGS 84 degrees.
    pub lat: f64,
    /// Longitude, WGS 84 degrees.
    pub lon: f64,
    /// When it was there, epoch milliseconds.
    pub at_ms: Millis,
    /// Speed there, km/h.
    pub speed_kmh: Option<f32>,
    /// Heading there, degrees.
    pub heading_deg: Option<f32>,
}

/// The newest facts by device time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Latest {
    /// Newest position.
    pub position: Option<Position>,
    /// Newest charge, percent.
    pub battery_pct: Option<f32>,
    /// Newest odometer, km.
    pub odometer_km: Option<f64>,
    /// Newest state of the ignition.
    pub ignition: Option<bool>,
    /// Newest further readings.
    pub metrics: Option<Arc<Metrics>>,
    /// Device time of the newest facts, within sane limits.
    pub as_of: Millis,
    /// Device clock minus ours at the last beat that carried a time.
    pub clock_skew: Option<Millis>,
}

/// How a beat's facts stood to what was known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Newer than all before: the facts moved on.
    Newer,
    /// Older than what is known: only history wants it.
    Older,
}

impl Latest {
    /// Takes the facts of one beat that arrived at `arrival`; older facts than the known ones change nothing.
    pub fn apply(&mut self, beat: &mut Heartbeat, arrival: Millis, rules: &Rules) -> Freshness {
        let as_of = believed_time(beat, arrival, rules);
        self.clock_skew = beat.ts.map(|ts| ts - arrival).or(self.clock_skew);
        if as_of < self.as_of {
            return Freshness::Older;
        }
        self.as_of = as_of;
        if let Some((lat, lon)) = beat.position {
            let (speed_kmh, heading_deg) = (beat.speed_kmh, beat.heading_deg);
            self.position = Some(Position { lat, lon, at_ms: as_of, speed_kmh, heading_deg });
        }
        self.battery_pct = beat.battery_pct.or(self.battery_pct);
        self.odometer_km = beat.odometer_km.or(self.odometer_km);
        self.ignition = beat.ignition.or(self.ignition);
        if let Some(metrics) = beat.metrics.take() {
            self.metrics = Some(metrics.into());
        }
        Freshness::Newer
    }
}

/// Whether a beat waited somewhere before it reached us: its device time is older than the policy's `backlog_after`.
pub fn is_backlog(beat: &Heartbeat, arrival: Millis, rules: &Rules) -> bool {
    beat.ts.is_some_and(|ts| arrival - ts > rules.backlog_after)
}

/// The device's time where it can be believed, else the arrival (a clock in the future is clamped, R19).
pub fn believed_time(beat: &Heartbeat, arrival: Millis, rules: &Rules) -> Millis {
    match beat.ts {
        Some(ts) if ts > arrival + rules.future_max => arrival,
        Some(ts) => ts,
        None => arrival,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn beat(ts: Millis, lat: f64) -> Heartbeat {
        Heartbeat { ts: Some(ts), position: Some((lat, 0.0)), battery_pct: Some(lat as f32), ..Heartbeat::default() }
    }

    #[test]
    fn a_late_beat_does_not_move_the_vehicle_backwards() {
        let (rules, mut latest) = (Rules::default(), Latest::default());
        assert_eq!(latest.apply(&mut beat(1_000_000, 2.0), 1_000_000, &rules), Freshness::Newer);
        assert_eq!(latest.apply(&mut beat(900_000, 1.0), 1_000_500, &rules), Freshness::Older);
        assert_eq!(latest.position.map(|p| p.lat), Some(2.0));
        assert!(is_backlog(&beat(900_000, 1.0), 1_000_500, &rules));
    }

    #[test]
    fn a_clock_in_the_future_is_clamped_and_its_skew_kept() {
        let (rules, mut latest) = (Rules::default(), Latest::default());
        latest.apply(&mut beat(90_000_000, 1.0), 1_000_000, &rules);
        assert_eq!((latest.as_of, latest.clock_skew), (1_000_000, Some(89_000_000)));
        assert_eq!(latest.apply(&mut beat(90_000_010, 2.0), 1_000_010, &rules), Freshness::Newer);
    }

    proptest! {
        /// R17: any order of the same beats ends at the same place.
        #[test]
        fn every_permutation_ends_in_the_same_place(
            order in Just((0..8i64).collect::<Vec<_>>()).prop_shuffle()
        ) {
            let (rules, mut latest) = (Rules::default(), Latest::default());
            for i in order {
                latest.apply(&mut beat(1_000 + i, i as f64), 10_000, &rules);
            }
            prop_assert_eq!(latest.position.map(|p| p.lat), Some(7.0));
        }
    }
}
