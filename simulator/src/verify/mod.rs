//! Verification: does the service say what is true? Fed by the ledger (truth) and the service's REST (report), feeds
//! the run's verdict. During the run the live list is compared every few seconds; at the end every transition is.

pub mod client;
pub mod compare;
pub mod verdict;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::time;

use self::{
    client::{Reader, TransitionRow, VehicleRow},
    compare::{Case, Lags, Seen, Shown, compare},
    verdict::{Percentiles, Verdict},
};
use crate::{control::Name, ledger::Ledger, options::Options, truth::Status};

/// History is written a moment after it is decided: the final reading is repeated this often while something is
/// missing.
const READINGS_MAX: u32 = 5;
const READING_PAUSE: Duration = Duration::from_secs(1);
/// The live list is compared at most this often.
const BOARD_PAUSE_MIN: Duration = Duration::from_secs(2);

/// Compares a running fleet with a service; without `--verify` it does nothing.
pub struct Verifier(Option<Running>);

struct Running {
    reader: Reader,
    ledger: Arc<Ledger>,
    names: Vec<Name>,
    index: HashMap<Name, u32>,
    /// Vehicles the service knew as online before the run.
    online_before: HashSet<u32>,
    begun_ms: u64,
    tolerance_ms: u64,
    board_pause: Duration,
    verdict: Verdict,
}

impl Verifier {
    /// Reads what the service knows before the run; fails when it cannot be read at all.
    pub async fn begin(options: &Options, ledger: Arc<Ledger>, names: Vec<Name>) -> anyhow::Result<Self> {
        let Some(verify) = &options.verify else { return Ok(Self(None)) };
        let index = names.iter().cloned().zip(0..).collect();
        let mut running = Running {
            reader: Reader::new(&verify.url, verify.key.clone())?,
            begun_ms: ledger.clock.epoch_ms(),
            ledger,
            names,
            index,
            online_before: HashSet::new(),
            tolerance_ms: verify.tolerance.as_millis() as u64,
            board_pause: (options.offline_after / 2).max(BOARD_PAUSE_MIN),
            verdict: Verdict::default(),
        };
        running.read_before().await?;
        Ok(Self(Some(running)))
    }

    /// Compares the live list again and again; never returns.
    pub async fn watch(&mut self) {
        match &mut self.0 {
            Some(running) => running.watch().await,
            None => std::future::pending().await,
        }
    }

    /// Compares all transitions up to `cut_ms`, the instant at which the fleet was stopped.
    pub async fn conclude(self, cut_ms: u64) -> Option<Verdict> {
        match self.0 {
            Some(running) => Some(running.conclude(cut_ms).await),
            None => None,
        }
    }
}

impl Running {
    async fn read_before(&mut self) -> anyhow::Result<()> {
        let (index, online) = (&self.index, &mut self.online_before);
        self.reader
            .vehicles(|rows| {
                let ours = rows.into_iter().filter(|row| row.status == "online");
                online.extend(ours.filter_map(|row| index.get(&(row.customer, row.vehicle)).copied()));
            })
            .await
    }

    async fn watch(&mut self) {
        loop {
            time::sleep(self.board_pause).await;
            self.compare_board().await;
        }
    }

    /// Compares every vehicle whose true status did not change while the list was read.
    async fn compare_board(&mut self) {
        let Self { reader, ledger, index, tolerance_ms, verdict, .. } = self;
        let mut page_from_ms = ledger.clock.epoch_ms();
        let read = reader.vehicles(|rows| {
            let page_to_ms = ledger.clock.epoch_ms();
            for row in rows {
                let Some(&vehicle) = index.get(&(row.customer.clone(), row.vehicle.clone())) else { continue };
                let from_ms = page_from_ms.saturating_sub(*tolerance_ms);
                // The service may be late, never early, so the end needs no tolerance.
                if let Some(status) = ledger.truth(vehicle).steady_status(from_ms, page_to_ms) {
                    judge_row(verdict, &row, status, page_to_ms);
                }
            }
            page_from_ms = page_to_ms;
        });
        if let Err(error) = read.await {
            verdict.failed_reads += 1;
            verdict.finding(|| format!("{error:#}"));
        }
    }

    async fn conclude(mut self, cut_ms: u64) -> Verdict {
        let mut verdict = self.verdict.clone();
        for reading in 1..=READINGS_MAX {
            time::sleep(READING_PAUSE.max(Duration::from_millis(self.tolerance_ms))).await;
            verdict = self.verdict.clone();
            match self.read_history(cut_ms).await {
                Ok(history) => self.compare_history(history, cut_ms, &mut verdict),
                Err(error) => {
                    verdict.failed_reads += 1;
                    verdict.finding(|| format!("{error:#}"));
                }
            }
            let incomplete = verdict.lost_transitions + verdict.missed_offlines + verdict.failed_reads > 0;
            if !incomplete || reading == READINGS_MAX {
                break;
            }
        }
        verdict
    }

    async fn read_history(&self, cut_ms: u64) -> anyhow::Result<HashMap<u32, Vec<Seen>>> {
        let mut history: HashMap<u32, Vec<Seen>> = HashMap::new();
        let from_ms = self.begun_ms.saturating_sub(self.tolerance_ms);
        let each = |rows: Vec<TransitionRow>| {
            for row in rows {
                let Some(seen) = row.seen() else { continue };
                let Some(&vehicle) = self.index.get(&(row.customer, row.vehicle)) else { continue };
                history.entry(vehicle).or_default().push(seen);
            }
        };
        self.reader.transitions(from_ms, cut_ms + self.tolerance_ms, each).await?;
        Ok(history)
    }

    fn compare_history(&mut self, mut history: HashMap<u32, Vec<Seen>>, cut_ms: u64, verdict: &mut Verdict) {
        let mut lags = Lags::default();
        for (vehicle, (customer, name)) in (0..).zip(&self.names) {
            let mut truth = self.ledger.truth(vehicle);
            truth.settle(cut_ms);
            let case = Case {
                name: &format!("{customer}/{name}"),
                expected: truth.expected(),
                seen: history.remove(&vehicle).unwrap_or_default(),
                online_before: self.online_before.contains(&vehicle),
                cut_ms,
                tolerance_ms: self.tolerance_ms,
            };
            compare(case, verdict, &mut lags);
        }
        verdict.detection_lag_ms = Percentiles::of(lags.offline);
        verdict.return_lag_ms = Percentiles::of(lags.online);
    }
}

fn judge_row(verdict: &mut Verdict, row: &VehicleRow, truth: Status, at_ms: u64) {
    verdict.board_checks += 1;
    let wrong = match truth {
        Status::Online => row.status == "offline" || row.status == "never_seen",
        Status::Offline => row.status == "online",
        Status::NeverSeen => false,
    };
    if wrong {
        verdict.board_mismatches += 1;
        verdict.finding(|| {
            format!(
                "{}/{}: the live list says {} at {at_ms}, but it is {truth:?}",
                row.customer, row.vehicle, row.status
            )
        });
    }
}

/// The status of a transition, by its word.
pub fn shown(status: &str) -> Option<Shown> {
    match status {
        "online" => Some(Shown::Online),
        "offline" => Some(Shown::Offline),
        "unobserved" => Some(Shown::Unobserved),
        _ => None,
    }
}
