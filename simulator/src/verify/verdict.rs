//! The verdict of a verification. Fed by the comparisons, feeds the report and the exit code.

use serde::Serialize;

/// Sentences kept for people; the counts are complete.
const FINDINGS_MAX: usize = 50;

/// What was found wrong, and how quick the service was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    pub vehicles: u64,
    /// Transitions that had to be seen.
    pub expected_transitions: u64,
    /// Transitions the service reported about our vehicles.
    pub seen_transitions: u64,
    /// Reported offline while it was online.
    pub false_offlines: u64,
    /// Reported online while it was offline.
    pub false_onlines: u64,
    /// Offline, and never reported so.
    pub missed_offlines: u64,
    /// Reported, but at the wrong instant.
    pub mistimed: u64,
    /// Returned, and never reported so; or a hole in the vehicle's numbering.
    pub lost_transitions: u64,
    /// The same transition twice, or the same status twice running.
    pub duplicates: u64,
    /// Times the service said it could not know. Not an error.
    pub unobserved: u64,
    /// Vehicles looked up in the live list during the run, and how many of them had the wrong status there.
    pub board_checks: u64,
    pub board_mismatches: u64,
    /// Reads of the service that failed.
    pub failed_reads: u64,
    /// From the true deadline to the service's decision.
    pub detection_lag_ms: Percentiles,
    /// From the heartbeat that brought a vehicle back to the service's decision.
    pub return_lag_ms: Percentiles,
    pub findings: Vec<String>,
}

/// Of a set of lags, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Percentiles {
    pub count: u64,
    pub p50: u64,
    pub p99: u64,
    pub max: u64,
}

impl Verdict {
    pub fn errors(&self) -> u64 {
        self.false_offlines
            + self.false_onlines
            + self.missed_offlines
            + self.mistimed
            + self.lost_transitions
            + self.duplicates
            + self.board_mismatches
            + self.failed_reads
    }

    /// Keeps a sentence about an error.
    pub fn finding(&mut self, sentence: impl FnOnce() -> String) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(sentence());
        }
    }

    pub fn summary(&self) -> String {
        if self.errors() == 0 {
            return format!(
                "verified: all {} transitions of {} vehicles right, detection lag p50 {} ms, p99 {} ms, max {} ms",
                self.expected_transitions,
                self.vehicles,
                self.detection_lag_ms.p50,
                self.detection_lag_ms.p99,
                self.detection_lag_ms.max
            );
        }
        format!(
            "NOT VERIFIED: {} false offline, {} false online, {} missed offline, {} mistimed, {} lost, \
             {} double, {} wrong on the board, {} failed reads",
            self.false_offlines,
            self.false_onlines,
            self.missed_offlines,
            self.mistimed,
            self.lost_transitions,
            self.duplicates,
            self.board_mismatches,
            self.failed_reads
        )
    }
}

impl Percentiles {
    pub fn of(mut lags: Vec<u64>) -> Self {
        lags.sort_unstable();
        // The nearest rank: the smallest lag that at least this share of them does not exceed.
        let rank = |share: f64| match lags.len() {
            0 => 0,
            count => lags[((count as f64 * share).ceil() as usize).clamp(1, count) - 1],
        };
        Self { count: lags.len() as u64, p50: rank(0.5), p99: rank(0.99), max: rank(1.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let lags = Percentiles::of((1..=200).rev().collect());
        assert_eq!((lags.count, lags.p50, lags.p99, lags.max), (200, 100, 198, 200));
        assert_eq!(Percentiles::of(vec![]), Percentiles::default());
        assert_eq!(Percentiles::of(vec![7]).p99, 7);
    }
}
