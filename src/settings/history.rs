//! Settings of the past: what is kept, how long, and how often it is counted.
//! Part of settings.rs; read by app.rs.

use serde::{Deserialize, Deserializer, Serialize};

use super::{Span, one_of};
use crate::domain::time::Millis;

/// A month is dropped as a whole, when its last day is old enough.
const MONTH: Millis = 31 * 86_400_000;
/// Longer than any archive: a hundred years.
const AGE_MAX: Millis = 36_500 * 86_400_000;
/// Longest pause between two counts: buckets of a minute are told within one.
const ROLLUP_INTERVAL_MAX: Millis = 60_000;
/// Partitions are made a week ahead, so it is looked in time.
const KEEPER_INTERVAL_MAX: Millis = 86_400_000;

/// What is kept beside transitions.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// How often the statistics are brought up to date.
    pub rollup_interval: Span,
    /// Most streams of statistics at once.
    pub streams_max: usize,
    /// Which heartbeats are kept.
    pub heartbeats: HeartbeatsKept,
    /// What is dropped by age is written to files first, at the place of the exports.
    pub archive: bool,
    /// How often it is looked whether something is old enough.
    pub keeper_interval: Span,
    /// How long each kind is kept.
    pub retention: Retention,
}

/// How long each kind of history is kept; 0 is for ever.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Retention {
    /// Transitions.
    pub transitions: Span,
    /// Heartbeats.
    pub heartbeats: Span,
    /// Statistics by the minute; those of quarters and hours stay.
    pub statistics_minutes: Span,
}

impl Default for Retention {
    fn default() -> Self {
        const DAY: Millis = 86_400_000;
        Self { transitions: Span(0), heartbeats: Span(30 * DAY), statistics_minutes: Span(90 * DAY) }
    }
}

impl Retention {
    fn check(&self) -> impl Iterator<Item = String> {
        let spans = [
            ("transitions", self.transitions, MONTH),
            ("heartbeats", self.heartbeats, 86_400_000),
            ("statistics_minutes", self.statistics_minutes, 2 * 86_400_000),
        ];
        let wrong = spans.into_iter().filter(|(_, age, least)| age.0 != 0 && !(*least..=AGE_MAX).contains(&age.0));
        wrong.map(|(name, age, least)| {
            let (least, most) = (Span(least), Span(AGE_MAX));
            format!("history.retention.{name} = {age} must be {least} to {most}, or 0s for ever")
        })
    }
}

impl HeartbeatsKept {
    /// The word of the setting.
    pub fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Sampled => "sampled",
            Self::All => "all",
        }
    }
}

/// Which heartbeats are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HeartbeatsKept {
    /// None.
    Off,
    /// At most one a minute a vehicle, and only on movement or change.
    Sampled,
    /// Every one.
    All,
}

impl<'de> Deserialize<'de> for HeartbeatsKept {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        one_of(input, &[("off", Self::Off), ("sampled", Self::Sampled), ("all", Self::All)])
    }
}

impl Default for History {
    fn default() -> Self {
        Self {
            rollup_interval: Span(5_000),
            streams_max: 2_000,
            heartbeats: HeartbeatsKept::Off,
            archive: false,
            keeper_interval: Span(3_600_000),
            retention: Retention::default(),
        }
    }
}

impl History {
    /// One sentence a fault.
    pub fn check(&self) -> Vec<String> {
        let spans = [
            ("rollup_interval", self.rollup_interval, 100, ROLLUP_INTERVAL_MAX),
            ("keeper_interval", self.keeper_interval, 1_000, KEEPER_INTERVAL_MAX),
        ];
        let wrong = spans.into_iter().filter(|(_, span, least, most)| !(*least..=*most).contains(&span.0));
        let faults = wrong.map(|(name, span, least, most)| {
            format!("history.{name} = {span} must be {} to {}", Span(least), Span(most))
        });
        faults.chain(self.retention.check()).collect()
    }
}
