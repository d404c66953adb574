//! What really happened: counters, and the truth of every vehicle. Fed by the sessions at the instant bytes left for
//! the broker, feeds progress, report and verification. It also holds the run's clock, the one place that asks the OS
//! for the time.

use std::{
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use serde::Serialize;
use tokio::time::Instant;

use crate::{
    record::{Act, Place, Records},
    truth::{Rules, Truth, TruthCounts},
};

/// Monotonic time since the start of the run, and the wall clock read once at its start.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
    started_epoch_ms: u64,
}

impl Clock {
    pub fn start() -> Self {
        let epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { started: Instant::now(), started_epoch_ms: epoch.as_millis() as u64 }
    }

    /// Milliseconds since the start.
    pub fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    pub fn instant(&self, at_ms: u64) -> Instant {
        self.started + Duration::from_millis(at_ms)
    }

    pub fn started_epoch_ms(&self) -> u64 {
        self.started_epoch_ms
    }

    /// Now, in epoch milliseconds; immune to steps of the wall clock during the run.
    pub fn epoch_ms(&self) -> u64 {
        self.started_epoch_ms + self.now_ms()
    }
}

/// Something handed to a session; told to the ledger once it has left.
#[derive(Debug, Clone, Copy)]
pub struct Note {
    pub vehicle: u32,
    pub kind: NoteKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoteKind {
    Beat,
    /// A beat that announces a sleep.
    Nap {
        next_in_ms: u64,
    },
    Backlog,
    Goodbye,
}

impl NoteKind {
    fn act(self) -> Act {
        match self {
            NoteKind::Beat => Act::Beat,
            NoteKind::Nap { next_in_ms } => Act::Nap(u16::try_from(next_in_ms / 100).unwrap_or(u16::MAX)),
            NoteKind::Backlog => Act::Backlog,
            NoteKind::Goodbye => Act::Goodbye,
        }
    }
}

/// What was sent, to be named again when the broker acknowledges it.
#[derive(Debug, Clone, Copy)]
pub struct Receipt {
    vehicle: u32,
    place: Place,
}

/// Counters of a run, each only ever rising.
#[derive(Debug, Default)]
pub struct Counters {
    pub beats: AtomicU64,
    pub backlog: AtomicU64,
    pub goodbyes: AtomicU64,
    pub wills: AtomicU64,
    pub acked: AtomicU64,
    pub unsent: AtomicU64,
    pub connects: AtomicU64,
    pub connect_errors: AtomicU64,
    pub connections_lost: AtomicU64,
}

/// The counters at one instant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Live heartbeats sent.
    pub beats: u64,
    /// Buffered heartbeats sent late.
    pub backlog: u64,
    pub goodbyes: u64,
    /// Connections broken on purpose.
    pub wills: u64,
    /// Messages the broker acknowledged (QoS 1).
    pub acked: u64,
    /// Messages that could not be sent, because there was no connection or it broke.
    pub unsent: u64,
    pub connects: u64,
    pub connect_errors: u64,
    /// Connections lost that were not broken on purpose.
    pub connections_lost: u64,
}

/// The book of a run.
#[derive(Debug)]
pub struct Ledger {
    pub clock: Clock,
    pub counters: Counters,
    first_connect_error: OnceLock<String>,
    truths: Vec<Mutex<Truth>>,
    /// What each vehicle did, for the oracle; otherwise empty.
    pub records: Records,
}

impl Ledger {
    pub fn new(clock: Clock, vehicles: u32, rules: Rules) -> Self {
        let truths = (0..vehicles).map(|_| Mutex::new(Truth::new(rules))).collect();
        let (counters, first_connect_error, records) = Default::default();
        Self { clock, counters, first_connect_error, truths, records }
    }

    /// Keeps everything that each vehicle does.
    pub fn recording(self) -> Self {
        let records = Records::of(self.truths.len() as u32);
        Self { records, ..self }
    }

    /// A message left for the broker just now. The receipt is for its acknowledgement, where anybody wants to know.
    pub fn sent(&self, note: Note) -> Option<Receipt> {
        let now_ms = self.clock.epoch_ms();
        let mut truth = self.truth(note.vehicle);
        match note.kind {
            NoteKind::Beat => truth.beat(now_ms),
            NoteKind::Nap { next_in_ms } => truth.nap(now_ms, next_in_ms),
            NoteKind::Backlog => truth.backlog(now_ms),
            NoteKind::Goodbye => truth.goodbye(now_ms),
        }
        drop(truth);
        bump(match note.kind {
            NoteKind::Beat | NoteKind::Nap { .. } => &self.counters.beats,
            NoteKind::Backlog => &self.counters.backlog,
            NoteKind::Goodbye => &self.counters.goodbyes,
        });
        self.record(note.vehicle, note.kind.act())
    }

    /// The broker has it.
    pub fn acknowledged(&self, receipt: Receipt) {
        self.records.acknowledge(receipt.vehicle, receipt.place);
    }

    /// The own connection of `vehicle` broke just now without a DISCONNECT: the broker publishes its last will.
    pub fn connection_broke(&self, vehicle: u32) {
        self.truth(vehicle).will(self.clock.epoch_ms());
        self.record(vehicle, Act::Broke);
    }

    /// A connection ended by no wish of its own. `own` is the vehicle whose last will follows; about the others the
    /// broker may give a hint or not.
    pub fn connection_lost(&self, own: Option<u32>, crew: &[u32]) {
        if let Some(vehicle) = own {
            self.connection_broke(vehicle);
        }
        for &vehicle in crew.iter().filter(|&&vehicle| Some(vehicle) != own) {
            self.record(vehicle, Act::MayHint);
        }
    }

    fn record(&self, vehicle: u32, act: Act) -> Option<Receipt> {
        let place = self.records.note(vehicle, self.clock.now_ms(), act)?;
        Some(Receipt { vehicle, place })
    }

    /// An attempt to connect failed. The first reason is kept: it usually explains all the others.
    pub fn connect_failed(&self, error: &anyhow::Error) {
        bump(&self.counters.connect_errors);
        self.first_connect_error.get_or_init(|| format!("{error:#}"));
    }

    pub fn first_connect_error(&self) -> Option<&str> {
        self.first_connect_error.get().map(String::as_str)
    }

    /// The truth about one vehicle. A poisoned lock is taken all the same: the truth has no half-done state worth
    /// losing.
    pub fn truth(&self, vehicle: u32) -> MutexGuard<'_, Truth> {
        self.truths[vehicle as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The transitions of the whole fleet up to now.
    pub fn truth_counts(&self) -> TruthCounts {
        let mut total = TruthCounts::default();
        let now_ms = self.clock.epoch_ms();
        for vehicle in 0..self.truths.len() as u32 {
            let mut truth = self.truth(vehicle);
            truth.settle(now_ms);
            total.add(truth.counts());
        }
        total
    }

    pub fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let c = &self.counters;
        Counts {
            beats: read(&c.beats),
            backlog: read(&c.backlog),
            goodbyes: read(&c.goodbyes),
            wills: read(&c.wills),
            acked: read(&c.acked),
            unsent: read(&c.unsent),
            connects: read(&c.connects),
            connect_errors: read(&c.connect_errors),
            connections_lost: read(&c.connections_lost),
        }
    }
}

/// Adds one. Relaxed: counters order nothing.
pub fn bump(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
