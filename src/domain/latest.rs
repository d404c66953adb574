//! The newest facts of a vehicle besides its status: where it is and what its gauges say. Fed by each heartbeat; read
//! by the board and the store. Each fact is ordered by itself, by the device's own time where that can be believed, so
//! that the same beats end in the same facts, in whatever order they come (R17).
//!
//! The order of two values of one fact is total: the later believed time; at the same instant the higher `seq` (a beat
//! that carries one is above a beat that carries none); and where that is the same too, the greater value, which says
//! nothing about the vehicle but says the same in every order.

use std::cmp::Ordering;
use std::num::NonZeroU64;
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

/// A fact, and which beat it is from as far as the order needs to know.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fact<T> {
    /// What the device said.
    pub value: T,
    /// When it was so, by the device's clock where it can be believed, else the arrival.
    pub at: Millis,
    /// The beat's place among those of the same instant.
    pub rank: Rank,
}

/// The place of a beat among those of the same instant: its `seq`, none being the lowest. One word with a hole for
/// "no fact at all", because there are five of them in each of the two copies of each vehicle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank(NonZeroU64);

impl Rank {
    /// Of a beat that carries no `seq`.
    pub const NONE: Self = Self(NonZeroU64::MIN);

    /// Of a beat with this `seq`. Those above 2^63 are one rank: the stores keep signed numbers.
    pub fn of(seq: Option<u64>) -> Self {
        let above_none = |seq: u64| NonZeroU64::MIN.saturating_add(seq.min(i64::MAX as u64) + 1);
        Self(seq.map_or(NonZeroU64::MIN, above_none))
    }

    /// The beat's `seq`.
    pub fn seq(self) -> Option<u64> {
        self.0.get().checked_sub(2)
    }
}

/// The newest facts, each by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Latest {
    /// Newest position.
    pub position: Option<Position>,
    /// The rank of the beat it is from; its time is the position's own.
    pub position_rank: Rank,
    /// Newest charge, percent.
    pub battery_pct: Option<Fact<f32>>,
    /// Newest odometer, km.
    pub odometer_km: Option<Fact<f64>>,
    /// Newest state of the ignition.
    pub ignition: Option<Fact<bool>>,
    /// Newest further readings.
    pub metrics: Option<Arc<Fact<Metrics>>>,
    /// Device clock minus ours when the newest beat that carried a time arrived; the way here is in it.
    pub clock_skew: Option<Fact<Millis>>,
}

impl Default for Latest {
    fn default() -> Self {
        Self {
            position: None,
            position_rank: Rank::NONE,
            battery_pct: None,
            odometer_km: None,
            ignition: None,
            metrics: None,
            clock_skew: None,
        }
    }
}

impl Latest {
    /// Takes the facts of one beat that arrived at `arrival`; a fact that is older than the known one changes nothing.
    pub fn apply(&mut self, beat: &mut Heartbeat, arrival: Millis, rules: &Rules) {
        let (at, rank) = (believed_time(beat, arrival, rules), Rank::of(beat.seq));
        self.doubt_the_future(arrival, rules);
        if let Some((lat, lon)) = beat.position {
            let (speed_kmh, heading_deg) = (beat.speed_kmh, beat.heading_deg);
            self.place(Position { lat, lon, at_ms: at, speed_kmh, heading_deg }, rank);
        }
        take(&mut self.battery_pct, beat.battery_pct.map(|value| Fact { value, at, rank }));
        take(&mut self.odometer_km, beat.odometer_km.map(|value| Fact { value, at, rank }));
        take(&mut self.ignition, beat.ignition.map(|value| Fact { value, at, rank }));
        take(&mut self.clock_skew, beat.ts.map(|ts| Fact { value: ts - arrival, at, rank }));
        if let Some(metrics) = beat.metrics.take() {
            let new = Fact { value: *metrics, at, rank };
            if self.metrics.as_deref().is_none_or(|old| order(&new, old).is_gt()) {
                self.metrics = Some(Arc::new(new));
            }
        }
    }

    /// Whether the device's clock is further off than we believe a clock, ahead or behind (R19).
    pub fn clock_is_off(&self, rules: &Rules) -> bool {
        self.clock_skew.is_some_and(|skew| skew.value.abs() > rules.future_max)
    }

    /// The clock's error as it is shown, milliseconds in whole seconds: less than that is the way here, and a number
    /// that trembles with every beat would be pushed to every dashboard with every beat.
    pub fn clock_skew_shown(&self) -> Option<Millis> {
        self.clock_skew.map(|skew| skew.value / 1_000 * 1_000)
    }

    /// A fact from a time that is still to come was dated by our own clock before somebody put it right (R14). It would
    /// stand until that time comes; so anything that can be believed is newer than it.
    fn doubt_the_future(&mut self, arrival: Millis, rules: &Rules) {
        let (latest, oldest) = (arrival + rules.future_max, arrival - rules.past_max);
        let doubt = |at: &mut Millis| *at = if *at > latest { oldest } else { *at };
        self.position.iter_mut().for_each(|position| doubt(&mut position.at_ms));
        self.battery_pct.iter_mut().for_each(|fact| doubt(&mut fact.at));
        self.odometer_km.iter_mut().for_each(|fact| doubt(&mut fact.at));
        self.ignition.iter_mut().for_each(|fact| doubt(&mut fact.at));
        self.clock_skew.iter_mut().for_each(|fact| doubt(&mut fact.at));
        if let Some(metrics) = self.metrics.as_mut().filter(|metrics| metrics.at > latest) {
            Arc::make_mut(metrics).at = oldest;
        }
    }

    fn place(&mut self, new: Position, rank: Rank) {
        let order = |old: Position| (new.at_ms, rank).cmp(&(old.at_ms, self.position_rank)).then(new.tie(&old));
        if self.position.is_none_or(|old| order(old).is_gt()) {
            (self.position, self.position_rank) = (Some(new), rank);
        }
    }
}

fn take<T: Tie + Copy>(known: &mut Option<Fact<T>>, new: Option<Fact<T>>) {
    if let Some(new) = new
        && known.is_none_or(|old| order(&new, &old).is_gt())
    {
        *known = Some(new);
    }
}

fn order<T: Tie>(one: &Fact<T>, other: &Fact<T>) -> Ordering {
    (one.at, one.rank).cmp(&(other.at, other.rank)).then_with(|| one.value.tie(&other.value))
}

impl<T: Copy> Fact<T> {
    /// What the device said.
    pub fn value(self) -> T {
        self.value
    }
}

/// A total order of values, for beats that nothing else tells apart.
trait Tie {
    fn tie(&self, other: &Self) -> Ordering;
}

impl Tie for f32 {
    fn tie(&self, other: &Self) -> Ordering {
        self.total_cmp(other)
    }
}

impl Tie for f64 {
    fn tie(&self, other: &Self) -> Ordering {
        self.total_cmp(other)
    }
}

impl Tie for bool {
    fn tie(&self, other: &Self) -> Ordering {
        self.cmp(other)
    }
}

impl Tie for Millis {
    fn tie(&self, other: &Self) -> Ordering {
        self.cmp(other)
    }
}

impl Tie for Metrics {
    fn tie(&self, other: &Self) -> Ordering {
        let pairs = self.iter().zip(other);
        let mut orders = pairs.map(|(a, b)| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let first = orders.find(|order| order.is_ne());
        first.unwrap_or_else(|| self.len().cmp(&other.len()))
    }
}

impl Tie for Position {
    fn tie(&self, other: &Self) -> Ordering {
        // No speed is below standing still: -1 is no speed.
        let key = |p: &Self| [p.lat, p.lon, p.speed_kmh.unwrap_or(-1.0).into(), p.heading_deg.unwrap_or(-1.0).into()];
        let (own, others) = (key(self), key(other));
        let pairs = own.iter().zip(&others);
        let mut orders = pairs.map(|(a, b)| a.total_cmp(b));
        orders.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }
}

/// Whether a beat waited somewhere before it reached us: its device time is older than the policy's `backlog_after`. A
/// clock that is years behind says nothing about waiting.
pub fn is_backlog(beat: &Heartbeat, arrival: Millis, rules: &Rules) -> bool {
    beat.ts.is_some_and(|ts| (arrival - rules.past_max..arrival - rules.backlog_after).contains(&ts))
}

/// The device's time where it can be believed, else the arrival: a clock in the future is clamped (R19), and a clock
/// that stands at 1970 or fell back by twenty years must not hide what its vehicle says now.
pub fn believed_time(beat: &Heartbeat, arrival: Millis, rules: &Rules) -> Millis {
    let believed = arrival - rules.past_max..=arrival + rules.future_max;
    beat.ts.filter(|ts| believed.contains(ts)).unwrap_or(arrival)
}

#[cfg(test)]
#[path = "latest_tests.rs"]
pub(crate) mod tests;
