//! One heartbeat as the heartbeat log keeps it, and which of a vehicle's are kept when only a sample is. Fed by the
//! vehicle with each beat it takes; feeds the log's queue, the store, REST and exports.
//!
//! Sampled: at most one a minute of the vehicle's own time, and only when it moved or said something new. Beats that
//! waited somewhere come as a burst, between those of now, so they are sampled by themselves.

use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;

use foldhash::quality::FixedState;

use super::heartbeat::{Heartbeat, Metrics};
use super::ids::VehicleKey;
use super::latest::{believed_time, is_backlog};
use super::policy::Rules;
use super::time::Millis;

/// Two kept beats of a vehicle lie at least so far apart in its own time.
const APART: Millis = 60_000;
/// Less than this is no movement: what a receiver that stands still calls movement.
const MOVED_M: f64 = 25.0;
/// Metres a degree of latitude.
const DEGREE_M: f64 = 111_195.0;

/// One kept heartbeat.
#[derive(Debug, Clone, PartialEq)]
pub struct Logged {
    /// Whose.
    pub key: Arc<VehicleKey>,
    /// The device's time of it where it can be believed, else the arrival; it orders the history.
    pub at: Millis,
    /// When it reached us.
    pub arrived: Millis,
    /// It had waited somewhere.
    pub backlog: bool,
    /// What it said.
    pub said: Facts,
}

/// What a kept heartbeat said.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Facts {
    /// Counter of the device since its boot.
    pub seq: Option<u64>,
    /// Fingerprint of the device's boot text.
    pub boot: Option<u64>,
    /// Latitude and longitude.
    pub position: Option<(f64, f64)>,
    /// Speed in km/h.
    pub speed_kmh: Option<f32>,
    /// Heading in degrees.
    pub heading_deg: Option<f32>,
    /// Charge in percent.
    pub battery_pct: Option<f32>,
    /// Distance driven in its life, in km.
    pub odometer_km: Option<f64>,
    /// Whether the ignition is on.
    pub ignition: Option<bool>,
    /// Further readings.
    pub metrics: Option<Box<Metrics>>,
}

impl Logged {
    /// The row of a beat that arrived at this date.
    pub fn of(key: &Arc<VehicleKey>, beat: &Heartbeat, arrived: Millis, rules: &Rules) -> Self {
        let said = Facts {
            seq: beat.seq,
            boot: beat.boot,
            position: beat.position,
            speed_kmh: beat.speed_kmh,
            heading_deg: beat.heading_deg,
            battery_pct: beat.battery_pct,
            odometer_km: beat.odometer_km,
            ignition: beat.ignition,
            metrics: beat.metrics.clone(),
        };
        let at = believed_time(beat, arrived, rules);
        let backlog = is_backlog(beat, arrived, rules);
        Self { key: Arc::clone(key), at, arrived, backlog, said }
    }

    /// That of one which waited in a broker's queue while we were deaf, and was spoken at another date.
    pub fn of_waited(key: &Arc<VehicleKey>, beat: &Heartbeat, spoken: Millis, arrived: Millis, rules: &Rules) -> Self {
        Self { arrived, backlog: true, ..Self::of(key, beat, spoken, rules) }
    }
}

/// The last kept beats of one vehicle.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sampler {
    now: Option<Mark>,
    backlog: Option<Mark>,
}

/// As much of a kept beat as the next one is compared with.
#[derive(Debug, Clone, Copy)]
struct Mark {
    at: Millis,
    position: Option<(f64, f64)>,
    /// Fingerprint of all that is no position.
    gauges: u64,
}

impl Sampler {
    /// Whether this beat is kept.
    pub fn takes(&mut self, beat: &Logged) -> bool {
        let last = if beat.backlog { &mut self.backlog } else { &mut self.now };
        let gauges = gauges(&beat.said);
        let takes = last.is_none_or(|last| {
            (beat.at - last.at).abs() >= APART && (last.gauges != gauges || moved(last.position, beat.said.position))
        });
        if takes {
            let position = beat.said.position.or(last.and_then(|last| last.position));
            *last = Some(Mark { at: beat.at, position, gauges });
        }
        takes
    }
}

/// Charge counts in whole percent: the last digit of a voltmeter is no news.
fn gauges(said: &Facts) -> u64 {
    let mut hasher = FixedState::default().build_hasher();
    (said.boot, said.ignition, said.battery_pct.map(|pct| pct as u8)).hash(&mut hasher);
    for (name, value) in said.metrics.iter().flat_map(|metrics| metrics.iter()) {
        (name, value.to_bits()).hash(&mut hasher);
    }
    hasher.finish()
}

/// On the plane that touches the earth there, which is right to a thousandth over a few kilometres.
fn moved(from: Option<(f64, f64)>, to: Option<(f64, f64)>) -> bool {
    let Some((lat, lon)) = to else { return false };
    from.is_none_or(|from| {
        let across = ((lon - from.1 + 540.0).rem_euclid(360.0) - 180.0) * lat.to_radians().cos();
        (lat - from.0).hypot(across) * DEGREE_M >= MOVED_M
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beat(at: Millis, said: Facts) -> Logged {
        let key = Arc::new(VehicleKey::parse("acme", "bus").expect("a key"));
        Logged { key, at, arrived: at, backlog: false, said }
    }

    fn there(at: Millis, lat: f64, lon: f64) -> Logged {
        beat(at, Facts { position: Some((lat, lon)), ..Facts::default() })
    }

    #[test]
    fn at_most_one_a_minute_is_kept_and_only_on_movement() {
        let mut sampler = Sampler::default();
        let mut takes = |at, lat| sampler.takes(&there(at, lat, 10.0));
        assert!(takes(0, 50.0), "the first");
        assert!(!takes(59_999, 51.0), "within the minute");
        assert!(!takes(60_000, 50.000_1), "eleven metres on");
        assert!(takes(61_000, 50.000_3), "thirty metres on");
        assert!(!takes(100_000, 50.1));
        assert!(takes(121_000, 50.1));
    }

    #[test]
    fn what_says_something_new_is_kept_without_movement() {
        let mut sampler = Sampler::default();
        let said =
            |ignition, battery| Facts { ignition: Some(ignition), battery_pct: Some(battery), ..Facts::default() };
        assert!(sampler.takes(&beat(0, said(true, 80.9))));
        assert!(!sampler.takes(&beat(60_000, said(true, 80.1))), "the same percent");
        assert!(sampler.takes(&beat(60_000, said(true, 79.9))));
        assert!(sampler.takes(&beat(120_000, said(false, 79.9))));
        let metrics = |value| Facts { metrics: Some(Box::new(vec![("oil".into(), value)])), ..said(false, 79.9) };
        assert!(sampler.takes(&beat(180_000, metrics(1.0))));
        assert!(!sampler.takes(&beat(240_000, metrics(1.0))));
        assert!(sampler.takes(&beat(240_000, metrics(1.5))));
    }

    #[test]
    fn a_vehicle_that_stands_still_for_a_day_is_kept_once() {
        let mut sampler = Sampler::default();
        let kept = (0..2_880).filter(|n| sampler.takes(&there(n * 30_000, 50.0, 10.0))).count();
        assert_eq!(kept, 1);
    }

    #[test]
    fn backlog_between_live_beats_is_sampled_by_itself() {
        let mut sampler = Sampler::default();
        let mut kept = 0;
        for n in 0..120 {
            let (live, waited) = (there(10_000_000 + n * 1_000, 50.0 + n as f64, 1.0), n * 30_000);
            kept += usize::from(sampler.takes(&live));
            kept += usize::from(sampler.takes(&Logged { backlog: true, ..there(waited, n as f64, 1.0) }));
        }
        assert_eq!(kept, 2 + 60, "two minutes live, an hour waited");
    }

    #[test]
    fn movement_over_the_date_line_and_near_a_pole_is_measured() {
        assert!(!moved(Some((0.0, 179.999_9)), Some((0.0, -179.999_9))), "22 metres");
        assert!(moved(Some((0.0, 179.999)), Some((0.0, -179.999))));
        assert!(!moved(Some((89.999, 0.0)), Some((89.999, 5.0))), "ten metres at the pole");
        assert!(!moved(Some((1.0, 1.0)), None));
        assert!(moved(None, Some((1.0, 1.0))));
    }

    #[test]
    fn both_times_are_kept_and_what_waited_is_marked() {
        let key = Arc::new(VehicleKey::parse("acme", "bus").expect("a key"));
        let rules = Rules::default();
        let now = 2_000_000_000_000;
        let beat = |ts| Heartbeat { ts, ..Heartbeat::default() };
        let times = |row: Logged| (row.at, row.arrived, row.backlog);
        let of = |ts| times(Logged::of(&key, &beat(Some(ts)), now, &rules));
        assert_eq!(of(now - 500), (now - 500, now, false));
        assert_eq!(of(now - rules.backlog_after - 1), (now - rules.backlog_after - 1, now, true));
        assert_eq!(of(7), (now, now, false), "a clock that stands at 1970");
        let waited = Logged::of_waited(&key, &beat(None), now - 9_000, now, &rules);
        assert_eq!(times(waited), (now - 9_000, now, true));
    }
}
