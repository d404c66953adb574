//! What a scenario proved, for machines (JSON) and people (a table). Fed by the tallies.

use serde::Serialize;

use super::{incident::Incident, scenario::Stack, tally::Counts};
use crate::{report::Report, verify::verdict::Percentiles};

/// The result of a scenario.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    pub scenario: String,
    pub stack: Stack,
    /// What the fleet did.
    pub fleet: Report,
    /// Over the whole run.
    pub total: Counts,
    /// Each fault with what was found during it and one timeout after. Faults that overlap share: an error counts for
    /// the one that began last.
    pub faults: Vec<FaultReport>,
    /// Transitions in the store.
    pub transitions: u64,
    /// Transitions the WebSocket told, the connections that took, and those it announced as left out.
    pub told: u64,
    pub connections: u64,
    pub announced_gaps: u64,
    /// From the instant of a change of status to its arrival at a dashboard, milliseconds.
    pub push_lag_ms: Percentiles,
    /// Highest of the product, over all its lives.
    pub peak_rss_kib: u64,
    pub peak_descriptors: u64,
    /// How long the machine itself stood still.
    pub stalled_ms: u64,
    pub findings: Vec<String>,
}

/// One fault.
#[derive(Debug, Clone, Serialize)]
pub struct FaultReport {
    #[serde(flatten)]
    pub incident: Incident,
    #[serde(flatten)]
    pub counts: Counts,
}

impl Outcome {
    /// Whether the scenario proves something wrong.
    pub fn failed(&self) -> bool {
        self.total.errors() > 0 || self.fleet.counts.beats == 0
    }

    /// A table, a line a fault.
    pub fn table(&self) -> String {
        let begun_ms = self.faults.iter().map(|fault| fault.incident.from_ms).min().unwrap_or(0);
        let mut lines = vec![format!(
            "{:<26}{:>8}{:>8} | {:>7}{:>7}{:>7}{:>6}{:>8}{:>9}{:>6}{:>7} | {:>10}{:>8} | {:>21}",
            "fault",
            "at s",
            "took s",
            "f.offl",
            "missed",
            "f.onl",
            "lost",
            "doubled",
            "mistimed",
            "blind?",
            "differ",
            "unobserved",
            "blind s",
            "lag p50/p99/max ms"
        )];
        for FaultReport { incident, counts } in &self.faults {
            let name = match &incident.skipped {
                Some(_) => format!("{:?} (skipped)", incident.kind),
                None => format!("{:?}", incident.kind),
            };
            let at_s = (incident.from_ms - begun_ms) as f64 / 1e3;
            let took_s = incident.hears_ms.saturating_sub(incident.from_ms) as f64 / 1e3;
            lines.push(line(&name, &format!("{at_s:.1}"), &format!("{took_s:.1}"), counts));
        }
        lines.push(line("in all", "", "", &self.total));
        lines.join("\n")
    }

    /// The rest, for people.
    pub fn summary(&self) -> String {
        let word = if self.failed() { "NOT VERIFIED" } else { "verified" };
        format!(
            "{word}: {} on the {:?} stack: {} transitions stored, {} told by WebSocket over {} connections, push lag \
             p50 {} ms, p99 {} ms; the product's peak: {} MiB, {} descriptors; the machine stood still for {} ms",
            self.scenario,
            self.stack,
            self.transitions,
            self.told,
            self.connections,
            self.push_lag_ms.p50,
            self.push_lag_ms.p99,
            self.peak_rss_kib / 1024,
            self.peak_descriptors,
            self.stalled_ms
        )
    }
}

fn line(name: &str, at: &str, took: &str, counts: &Counts) -> String {
    let Counts { false_offline, missed_offline, false_online, lost, doubled, mistimed, .. } = counts;
    let Counts { unexplained_blind, disagreements, unobserved, blind_ms, detection_lag_ms: lag, .. } = counts;
    format!(
        "{name:<26}{at:>8}{took:>8} | {false_offline:>7}{missed_offline:>7}{false_online:>7}{lost:>6}{doubled:>8}\
         {mistimed:>9}{unexplained_blind:>6}{disagreements:>7} | {unobserved:>10}{:>8.1} | {:>21}",
        *blind_ms as f64 / 1e3,
        format!("{}/{}/{}", lag.p50, lag.p99, lag.max)
    )
}
