//! What a run did, for machines (JSON) and people (one line). Fed by the ledger and the verification.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use crate::{
    ledger::{Counts, Ledger},
    options::{Options, Qos},
    plan::Behaviour,
    truth::TruthCounts,
    verify::verdict::Verdict,
};

/// The result of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub seed: u64,
    pub vehicles: u32,
    pub customers: u32,
    pub connections: u32,
    pub interval_ms: u64,
    pub offline_after_ms: u64,
    pub qos: u8,
    pub ran_ms: u64,
    pub counts: Counts,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_connect_error: Option<String>,
    /// Live heartbeats a second, over the whole run.
    pub achieved_per_s: f64,
    pub behaviours: BTreeMap<Behaviour, u32>,
    /// Transitions that truly happened until the fleet was stopped.
    pub truth: TruthCounts,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verdict>,
}

impl Report {
    pub fn new(options: &Options, connections: u32, behaviours: &[Behaviour], ledger: &Ledger, ran: Duration) -> Self {
        let mut counted: BTreeMap<Behaviour, u32> = BTreeMap::new();
        for behaviour in behaviours {
            *counted.entry(*behaviour).or_default() += 1;
        }
        let counts = ledger.counts();
        Self {
            seed: options.seed,
            vehicles: options.vehicles,
            customers: options.customers,
            connections,
            interval_ms: options.interval.as_millis() as u64,
            offline_after_ms: options.offline_after.as_millis() as u64,
            qos: if options.qos == Qos::AtMostOnce { 0 } else { 1 },
            ran_ms: ran.as_millis() as u64,
            counts,
            first_connect_error: ledger.first_connect_error().map(str::to_owned),
            achieved_per_s: counts.beats as f64 / ran.as_secs_f64().max(0.001),
            behaviours: counted,
            truth: ledger.truth_counts(),
            verify: None,
        }
    }

    /// Whether the run proves something wrong: the verification found errors, or not one heartbeat could be sent.
    pub fn failed(&self) -> bool {
        self.counts.beats == 0 || self.verify.as_ref().is_some_and(|verdict| verdict.errors() > 0)
    }

    /// One line for people.
    pub fn summary(&self) -> String {
        let Counts { beats, backlog, acked, unsent, connections_lost, .. } = self.counts;
        let mut line = format!(
            "sent {beats} heartbeats ({:.0}/s) and {backlog} buffered, {acked} acknowledged, \
             {unsent} unsent, {connections_lost} connections lost",
            self.achieved_per_s
        );
        if let Some(error) = &self.first_connect_error {
            line.push_str(&format!(
                "; {} attempts to connect failed, at first because: {error}",
                self.counts.connect_errors
            ));
        }
        if let Some(verdict) = &self.verify {
            line.push_str("; ");
            line.push_str(&verdict.summary());
        }
        line
    }
}
