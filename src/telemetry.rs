//! What the service tells about itself: log lines, and how late its decisions were.
//! Fed by every station after it; read by /status and /metrics. Counters live where they are counted.

pub mod warnings;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;
use tracing_subscriber::EnvFilter;

use crate::domain::time::Millis;
use crate::settings::{Log, LogFormat};

/// Newest decisions the percentiles are taken over.
const WINDOW: usize = 10_000;
/// Upper ends of the histogram's buckets, milliseconds.
pub const BUCKETS_MS: [Millis; 10] = [5, 10, 25, 50, 100, 250, 500, 1_000, 5_000, 30_000];

/// Begins to write log lines to stderr. A second call changes nothing.
///
/// # Errors
/// A sentence naming the filter that cannot be read.
pub fn start_logging(log: &Log) -> Result<(), String> {
    let filter = EnvFilter::try_new(&log.filter).map_err(|error| format!("log.filter '{}': {error}", log.filter))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let _ = match log.format {
        LogFormat::Json => lines.json().try_init(),
        LogFormat::Text => lines.try_init(),
    };
    Ok(())
}

/// How late decisions were: from the deadline to the moment it was seen to have passed.
#[derive(Debug, Default)]
pub struct DetectionLag {
    window: Mutex<VecDeque<Millis>>,
    buckets: [AtomicU64; BUCKETS_MS.len()],
    count: AtomicU64,
    sum_ms: AtomicU64,
}

/// The newest decisions in three numbers, milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LagSummary {
    /// Half were faster.
    pub p50: Millis,
    /// 99 in 100 were faster.
    pub p99: Millis,
    /// The slowest.
    pub max: Millis,
}

impl DetectionLag {
    /// Notes one decision.
    pub fn note(&self, lag: Millis) {
        let lag = lag.max(0);
        if let Some(bucket) = BUCKETS_MS.iter().position(|end| lag <= *end) {
            self.buckets[bucket].fetch_add(1, Relaxed);
        }
        self.count.fetch_add(1, Relaxed);
        self.sum_ms.fetch_add(lag as u64, Relaxed);
        let mut window = self.window.lock();
        window.push_back(lag);
        if window.len() > WINDOW {
            window.pop_front();
        }
    }

    /// Percentiles over the newest decisions; zeros while there was none.
    pub fn summary(&self) -> LagSummary {
        let mut sorted: Vec<Millis> = self.window.lock().iter().copied().collect();
        sorted.sort_unstable();
        let at = |share: usize| sorted.get((sorted.len() * share / 100).min(sorted.len().saturating_sub(1))).copied();
        LagSummary { p50: at(50).unwrap_or(0), p99: at(99).unwrap_or(0), max: sorted.last().copied().unwrap_or(0) }
    }

    /// Decisions per bucket (not cumulated), their number, and the sum of their lags in milliseconds.
    pub fn histogram(&self) -> ([u64; BUCKETS_MS.len()], u64, u64) {
        let buckets = std::array::from_fn(|i| self.buckets[i].load(Relaxed));
        (buckets, self.count.load(Relaxed), self.sum_ms.load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_over_the_newest_decisions() {
        let lag = DetectionLag::default();
        assert_eq!(lag.summary(), LagSummary::default());
        (0..100).for_each(|ms| lag.note(ms));
        assert_eq!(lag.summary(), LagSummary { p50: 50, p99: 99, max: 99 });
        (0..WINDOW).for_each(|_| lag.note(3));
        assert_eq!((lag.summary().max, lag.histogram().1), (3, 100 + WINDOW as u64));
    }
}
