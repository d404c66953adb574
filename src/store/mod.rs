//! Where transitions are kept: one trait, two stores, each in its own SQL.
//! Fed by the persister, the only writer; read at start, and by REST for what happened in the past.

pub mod access;
pub mod archive;
pub mod audit;
pub mod availability;
pub mod exports;
pub mod heartbeats;
pub mod history;
pub mod last_seen;
pub mod local;
pub mod logins;
pub mod mosquitto;
mod owned;
mod postgres;
pub mod priority;
pub mod registry;
pub mod retention;
mod rows;
pub mod scan;
pub mod spool;
mod sqlite;
pub mod stats;

use std::sync::Arc;

use async_trait::async_trait;

use crate::domain::board::Registered;
use crate::domain::ids::VehicleKey;
use crate::domain::latest::Latest;
use crate::domain::sleep::Announced;
use crate::domain::time::Millis;
use crate::domain::transition::{Status, Transition};

use access::AccessStore;
pub use archive::ArchiveStore;
use audit::AuditStore;
use exports::ExportStore;
pub use heartbeats::HeartbeatStore;
pub use history::HistoryStore;
use logins::LoginStore;
pub use registry::RegistryStore;
pub use retention::RetentionStore;
pub use rows::{GAPS_MAX, VEHICLES_A_READ};
use scan::ScanStore;
pub use stats::StatsStore;

const UNKNOWN_KIND: &str = "store.url must start with sqlite: or postgres://";

/// A vehicle as it is stored: what is needed to go on with it after a restart.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredVehicle {
    /// Whose row it is.
    pub key: Arc<VehicleKey>,
    /// Names and tags, where there are any.
    pub registered: Option<Box<Registered>>,
    /// The vehicle's own timeout, milliseconds.
    pub offline_after: Option<Millis>,
    /// Status after its last transition.
    pub status: Status,
    /// Since when.
    pub since: Option<Millis>,
    /// Number of its last transition; 0 when there was none.
    pub seq: u64,
    /// Last heartbeat written down.
    pub last_seen: Option<Millis>,
    /// The silence that it announced.
    pub announced: Announced,
    /// Position and gauges written down.
    pub latest: Latest,
}

/// A customer as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoredCustomer {
    /// The customer's identifier.
    pub customer: String,
    /// Name for people.
    pub name: Option<Box<str>>,
    /// The customer's own timeout, milliseconds.
    pub offline_after: Option<Millis>,
    /// How often an operator wrote here.
    pub revision: u64,
}

/// What was last heard of a vehicle, for the periodic checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// Whose.
    pub key: Arc<VehicleKey>,
    /// Arrival of its last heartbeat.
    pub last_seen: Millis,
    /// The silence that it announced.
    pub announced: Announced,
    /// Position and gauges.
    pub latest: Latest,
}

/// One interval in which Rollcall could not hear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservationGap {
    /// What was blind: `process` or `link`.
    pub scope: String,
    /// First blind instant.
    pub from: Millis,
    /// First instant of hearing again; none while it lasts.
    pub to: Option<Millis>,
    /// Why, in a word or two.
    pub cause: String,
}

/// What a vehicle's row claims about its status, as it is written there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// A word that may be no status.
    pub status: String,
    /// Since when.
    pub since: Option<Millis>,
    /// Number of the last transition.
    pub seq: i64,
}

/// A row that was wrong, and was mended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mended {
    /// Whose.
    pub key: VehicleKey,
    /// What it said.
    pub was: Claim,
    /// What the vehicle's last transition says, and the row since.
    pub is: Claim,
}

/// What was found in one slice of the vehicles.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Repair {
    /// Rows that were wrong.
    pub mended: Vec<Mended>,
    /// Where the next slice begins after; none when this was the last.
    pub end: Option<VehicleKey>,
}

/// Where a list of transitions goes on: strictly older than this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct After {
    /// `at` of the last one seen.
    pub at: Millis,
    /// Its customer.
    pub customer: String,
    /// Its vehicle.
    pub vehicle: String,
    /// Its number.
    pub seq: u64,
}

/// Which transitions are asked for; newest first, by (at, customer, vehicle, seq) descending.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TransitionQuery {
    /// Only this customer's.
    pub customer: Option<String>,
    /// Only this vehicle's (with its customer).
    pub vehicle: Option<String>,
    /// Only those into one of these statuses; empty means all.
    pub to_status: Vec<Status>,
    /// `at` not before.
    pub from: Option<Millis>,
    /// `at` before.
    pub to: Option<Millis>,
    /// Go on after this one.
    pub after: Option<After>,
    /// At most so many.
    pub limit: u32,
}

/// Another process took the store over: two that wrote would give the same numbers to different transitions (R26).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("another Rollcall has taken this store over")]
pub struct TakenOver;

/// What the stores of Rollcall can do. Every write may be repeated without a second effect (invariant 5).
///
/// Any of these futures may be dropped: the work is a task on the runtime that opened the store and runs to its end (an
/// sqlx future dropped midway would give its connection back inside an open transaction). Open the store on a runtime
/// that lives as long as it and is never blocked. Errors say what failed; a write that failed may simply be repeated.
#[async_trait]
pub trait Store:
    AccessStore
    + AuditStore
    + LoginStore
    + RegistryStore
    + StatsStore
    + HistoryStore
    + ScanStore
    + ExportStore
    + HeartbeatStore
    + RetentionStore
    + ArchiveStore
    + Send
    + Sync
{
    /// `sqlite` or `postgres`.
    fn kind(&self) -> &'static str;

    /// Which database this is: a random word, made with it and never changed. Files beside the store carry it.
    async fn identity(&self) -> anyhow::Result<String>;

    /// From now on this process writes here; the writes of the one before it fail with [`TakenOver`].
    async fn take_over(&self) -> anyhow::Result<()>;

    /// Every customer.
    async fn load_customers(&self) -> anyhow::Result<Vec<StoredCustomer>>;

    /// The next vehicles after `last`, ordered by customer and vehicle, [`VEHICLES_A_READ`] at most; none at the end.
    /// One that is added meanwhile may be missed.
    async fn vehicles_after(&self, last: Option<Arc<VehicleKey>>) -> anyhow::Result<Vec<StoredVehicle>>;

    /// Every vehicle, handed over one by one in that order: a million of them need no second copy.
    async fn load_vehicles(&self, each: &mut (dyn FnMut(StoredVehicle) + Send)) -> anyhow::Result<()> {
        let mut last = None;
        loop {
            let page = self.vehicles_after(last).await?;
            let Some(newest) = page.last() else { return Ok(()) };
            last = Some(Arc::clone(&newest.key));
            page.into_iter().for_each(&mut *each);
        }
    }

    /// Until when the last run is known to have listened; none on a fresh store.
    async fn alive_until(&self) -> anyhow::Result<Option<Millis>>;

    /// Writes transitions, and the vehicles and customers they belong to, in one transaction. A transition that is
    /// there already, by (customer, vehicle, seq), stays as it is; a vehicle's row only moves forward in seq, and never
    /// back in last heartbeat and position. One of a vehicle that has left is history, and makes no row. Their minutes
    /// are marked for the statistics (stats.rs).
    async fn commit(&self, transitions: &[Transition]) -> anyhow::Result<()>;

    /// Whether two commits, each of its own vehicles, are done sooner at once than one after the other.
    fn commits_in_pairs(&self) -> bool {
        false
    }

    /// Writes what was last heard, and until when we listened; one transaction. Both move forward in time only;
    /// vehicles that are not stored are left out, and a fact that a row does not bring, or only an older one of, stays
    /// as it was.
    async fn checkpoint(&self, rows: &[Checkpoint], alive_until: Millis) -> anyhow::Result<()>;

    /// Part of a checkpoint that is written in steps: what was last heard of some vehicles, and not yet until when we
    /// listened, which would be a promise about all of them.
    async fn heard(&self, rows: &[Checkpoint]) -> anyhow::Result<()>;

    /// Compares the status, since and seq of at most `rows` vehicles after this one with the vehicle's last transition
    /// of this life (without any: never seen, and the number it goes on from), and mends rows that say otherwise:
    /// status is derived, whoever wrote there (R1). Whoever deletes transitions must keep the last one of each vehicle
    /// that is there.
    async fn repair(&self, after: Option<&VehicleKey>, rows: u32) -> anyhow::Result<Repair>;

    /// Writes a blind interval; the same (scope, from) again updates its end.
    async fn record_gap(&self, gap: &ObservationGap) -> anyhow::Result<()>;

    /// Ends every blind interval that a crash left open.
    async fn close_open_gaps(&self, to: Millis) -> anyhow::Result<()>;

    /// Blind intervals that overlap `[from, to)`, oldest first, at most 10,000.
    async fn gaps(&self, from: Millis, to: Millis) -> anyhow::Result<Vec<ObservationGap>>;

    /// One page of transitions, newest first.
    async fn transitions(&self, query: &TransitionQuery) -> anyhow::Result<Vec<Transition>>;

    /// Whether the store answers.
    async fn ping(&self) -> anyhow::Result<()>;

    /// Closes every connection.
    async fn close(&self);
}

/// Opens the store a URL names and brings its schema up to date.
///
/// # Errors
/// One sentence saying what failed and what to do; it never holds the URL's password.
pub async fn open(url: &str) -> anyhow::Result<Arc<dyn Store>> {
    open_with_replica(url, None).await
}

/// Likewise, with a replica that history is read at.
///
/// # Errors
/// As [`open`].
pub async fn open_with_replica(url: &str, replica: Option<&str>) -> anyhow::Result<Arc<dyn Store>> {
    match url.split_once(':') {
        Some(("sqlite", _)) if replica.is_some() => {
            anyhow::bail!("a SQLite store has no replica: leave store.replica_url out")
        }
        Some(("sqlite", path)) => Ok(Arc::new(sqlite::Sqlite::open(path).await?)),
        Some(("postgres" | "postgresql", _)) => Ok(Arc::new(postgres::Postgres::open(url, replica).await?)),
        _ => anyhow::bail!(UNKNOWN_KIND),
    }
}

/// Whether there is a kind of store for this URL; asks nobody.
///
/// # Errors
/// A sentence saying which kinds there are.
pub fn check_url(url: &str) -> anyhow::Result<()> {
    let kind = url.split_once(':').map(|(kind, _)| kind);
    anyhow::ensure!(matches!(kind, Some("sqlite" | "postgres" | "postgresql")), "{UNKNOWN_KIND}");
    Ok(())
}

/// Asks whether the store a URL names can be used, and changes nothing there; answers its kind.
///
/// # Errors
/// One sentence saying what failed.
pub async fn probe(url: &str) -> anyhow::Result<&'static str> {
    match url.split_once(':') {
        Some(("sqlite", path)) => sqlite::probe(path).map(|()| "sqlite"),
        Some(("postgres" | "postgresql", _)) => postgres::probe(url).await.map(|()| "postgres"),
        _ => anyhow::bail!(UNKNOWN_KIND),
    }
}

#[cfg(test)]
pub(crate) mod contract_tests;
