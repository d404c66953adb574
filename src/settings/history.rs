//! Settings of the past: what is kept beside transitions, and how often.
//! Part of settings.rs; read by app.rs.

use serde::{Deserialize, Deserializer, Serialize};

use super::{Span, one_of};
use crate::domain::time::Millis;

/// Longest pause between two counts: buckets of a minute are told within one.
const ROLLUP_INTERVAL_MAX: Millis = 60_000;

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
        Self { rollup_interval: Span(5_000), streams_max: 2_000, heartbeats: HeartbeatsKept::Off }
    }
}

impl History {
    /// One sentence a fault.
    pub fn check(&self) -> Vec<String> {
        let interval = self.rollup_interval;
        let wrong = !(100..=ROLLUP_INTERVAL_MAX).contains(&interval.0);
        let fault = || format!("history.rollup_interval = {interval} must be 100ms to {}", Span(ROLLUP_INTERVAL_MAX));
        wrong.then(fault).into_iter().collect()
    }
}
