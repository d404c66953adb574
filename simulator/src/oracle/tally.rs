//! What was found wrong and how quick the product was, for each fault and in all. Fed by the judge and the comparisons,
//! feeds the report. Pure.

use serde::Serialize;

use super::incident::Incident;
use crate::verify::verdict::Percentiles;

/// Sentences kept for people, of each kind of error; the counts are complete.
const FINDINGS_MAX: u64 = 25;

/// What can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    FalseOffline,
    MissedOffline,
    FalseOnline,
    Lost,
    Doubled,
    Mistimed,
    UnexplainedBlind,
    /// Store, REST and WebSocket differ.
    Disagreement,
}

/// Counts of one stretch of the run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Said to be offline while it was heard.
    pub false_offline: u64,
    /// Silent, and not said to be offline in time.
    pub missed_offline: u64,
    /// Said to be online while it was silent.
    pub false_online: u64,
    /// Transitions that are missing, or that were told and are not stored.
    pub lost: u64,
    /// Transitions that came twice.
    pub doubled: u64,
    /// Right, but at a wrong instant or in a wrong order.
    pub mistimed: u64,
    /// Blind, or unobserved, where nothing deafened the product.
    pub unexplained_blind: u64,
    /// Store, REST and WebSocket differ.
    pub disagreements: u64,
    /// Times the product said it could not know. Not an error.
    pub unobserved: u64,
    /// How long the product said it was blind. Not an error.
    pub blind_ms: u64,
    /// From the true deadline to the decision, milliseconds.
    pub detection_lag_ms: Percentiles,
}

impl Counts {
    pub fn errors(&self) -> u64 {
        self.false_offline
            + self.missed_offline
            + self.false_online
            + self.lost
            + self.doubled
            + self.mistimed
            + self.unexplained_blind
            + self.disagreements
    }

    /// How many there are now, with this one.
    fn add(&mut self, wrong: Wrong) -> u64 {
        let count = match wrong {
            Wrong::FalseOffline => &mut self.false_offline,
            Wrong::MissedOffline => &mut self.missed_offline,
            Wrong::FalseOnline => &mut self.false_online,
            Wrong::Lost => &mut self.lost,
            Wrong::Doubled => &mut self.doubled,
            Wrong::Mistimed => &mut self.mistimed,
            Wrong::UnexplainedBlind => &mut self.unexplained_blind,
            Wrong::Disagreement => &mut self.disagreements,
        };
        *count += 1;
        *count
    }
}

#[derive(Debug, Default)]
struct Stretch {
    from_ms: u64,
    to_ms: u64,
    counts: Counts,
    lags: Vec<u64>,
}

/// See the head of this file. The first stretch is the whole run, the others are the faults in order.
#[derive(Debug)]
pub struct Tallies {
    stretches: Vec<Stretch>,
    pub findings: Vec<String>,
}

impl Tallies {
    /// `after_ms`: how long after its end a fault still explains what happens.
    pub fn new(incidents: &[Incident], after_ms: u64) -> Self {
        let of = |incident: &Incident| Stretch {
            from_ms: incident.from_ms,
            to_ms: incident.hears_ms.max(incident.undone_ms) + after_ms,
            ..Stretch::default()
        };
        let all = Stretch { from_ms: 0, to_ms: u64::MAX, ..Stretch::default() };
        let stretches = std::iter::once(all).chain(incidents.iter().map(of)).collect();
        Self { stretches, findings: Vec::new() }
    }

    /// Counts an error that shows at `at_ms`, and keeps a sentence about it.
    pub fn blame(&mut self, wrong: Wrong, at_ms: u64, name: &str, sentence: impl FnOnce() -> String) {
        let mut count = 0;
        // The whole run counts too, and is never behind one of its stretches.
        self.at(at_ms, |stretch| count = count.max(stretch.counts.add(wrong)));
        if count <= FINDINGS_MAX {
            self.findings.push(format!("{wrong:?}: {name}: {}", sentence()));
        }
    }

    pub fn unobserved(&mut self, at_ms: u64) {
        self.at(at_ms, |stretch| stretch.counts.unobserved += 1);
    }

    pub fn lag(&mut self, at_ms: u64, lag_ms: u64) {
        self.at(at_ms, |stretch| stretch.lags.push(lag_ms));
    }

    /// The product said that it was blind in these intervals; where they overlap, it was blind once.
    pub fn blind(&mut self, mut gaps: Vec<(u64, u64)>) {
        gaps.sort_unstable();
        let mut told_ms = 0;
        for (from_ms, to_ms) in gaps {
            let from_ms = from_ms.max(told_ms);
            told_ms = told_ms.max(to_ms);
            for stretch in &mut self.stretches {
                let (from_ms, to_ms) = (from_ms.max(stretch.from_ms), to_ms.min(stretch.to_ms));
                stretch.counts.blind_ms += to_ms.saturating_sub(from_ms);
            }
        }
    }

    /// The whole run's counts, and each fault's.
    pub fn conclude(self) -> (Counts, Vec<Counts>, Vec<String>) {
        let mut all: Vec<Counts> = self
            .stretches
            .into_iter()
            .map(|stretch| Counts { detection_lag_ms: Percentiles::of(stretch.lags), ..stretch.counts })
            .collect();
        let whole = all.remove(0);
        (whole, all, self.findings)
    }

    /// The whole run, and the fault that began last before `at_ms` and still counts.
    fn at(&mut self, at_ms: u64, mut note: impl FnMut(&mut Stretch)) {
        note(&mut self.stretches[0]);
        let mut faults = self.stretches.iter_mut().skip(1);
        if let Some(fault) = faults.rfind(|fault| fault.from_ms <= at_ms && at_ms <= fault.to_ms) {
            note(fault);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blindness_told_twice_counts_once() {
        let mut tallies = Tallies::new(&[], 0);
        tallies.blind(vec![(500, 700), (100, 300), (200, 400), (250, 260)]);
        assert_eq!(tallies.conclude().0.blind_ms, 500);
    }
}
