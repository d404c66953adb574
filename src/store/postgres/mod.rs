//! The store for production: a Postgres server.
//! Fed by the persister through two writing connections; read at start and by REST through a few reading ones.

mod access;
mod archive;
mod exports;
mod heartbeats;
mod history;
mod lane;
mod logins;
mod mosquitto;
mod past;
mod read;
mod registry;
mod repair;
mod retention;
mod scan;
mod stats;
mod write;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, anyhow};
use async_trait::async_trait;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};

use self::lane::Lane;
use self::past::Past;
use super::owned::Owned;
use super::rows::{Page, Slice};
use super::stats::{Beats, RollupQuery, Rollups, StatsStore};
use super::{Checkpoint, ObservationGap, Repair, Store, StoredCustomer, StoredVehicle, TransitionQuery};
use crate::domain::ids::VehicleKey;
use crate::domain::statistics::Levels;
use crate::domain::time::Millis;
use crate::domain::transition::Transition;

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations/postgres");

/// Readers beside the writer: enough for REST, few enough for a server that others share.
const READERS: u32 = 4;
/// Two commits at once, each of its own vehicles: the server uses a process for each. Any other write has all places.
const WRITERS: u32 = 2;
/// The server itself ends a statement that takes longer, and a transaction nobody goes on with. None of our statements
/// is worth compiling: that alone took longer than most of them.
const SERVER_LIMITS: [(&str, &str); 3] =
    [("statement_timeout", "30s"), ("idle_in_transaction_session_timeout", "60s"), ("jit", "off")];
/// Our own limits lie above the server's: they are for a server that is no longer there to keep its own.
const READ_LIMIT: Duration = Duration::from_secs(35);
/// A write is several statements; 50,000 transitions take 2 to 3 s on two busy cores.
const WRITE_LIMIT: Duration = Duration::from_secs(60);

/// Old history is dropped in steps of a partition; the longest copies the last transitions of all vehicles.
const KEEP_LIMIT: Duration = Duration::from_secs(1_800);

/// One Postgres database.
#[derive(Debug)]
pub struct Postgres {
    owned: Owned,
    writer: Arc<Lane>,
    readers: Arc<Lane>,
    /// Reads history: a replica's connections, or those of the readers.
    past: Arc<Past>,
    keeper: Arc<Lane>,
    /// The months whose partitions are known to be there. The oldest ones are dropped with time, and then held by the
    /// first partition; so it never lies.
    months: Mutex<HashSet<Millis>>,
    /// Our number as the writer; 0 before we took over.
    owner: Arc<AtomicI64>,
}

/// Whether the server takes us.
pub async fn probe(url: &str) -> anyhow::Result<()> {
    let options: PgConnectOptions = url.parse().map_err(|error| anyhow!("store.url cannot be read: {error}"))?;
    let mut connection = lane::connect(&options).await?;
    connection.ping().await?;
    Ok(connection.close().await?)
}

impl Postgres {
    /// Connects, and brings the schema up to date. A replica need not be there yet.
    pub async fn open(url: &str, replica: Option<&str>) -> anyhow::Result<Self> {
        let options: PgConnectOptions = url.parse().map_err(|error| anyhow!("store.url cannot be read: {error}"))?;
        let options = options.application_name("rollcall").disable_statement_logging();
        // Without the server's limits: a migration may have to build an index over years of history.
        let mut first = lane::connect(&options).await?;
        MIGRATIONS.run(&mut first).await.context("cannot bring the schema of the store up to date")?;
        first.close().await?;
        let options = options.options(SERVER_LIMITS);
        let replica = replica.map(str::parse::<PgConnectOptions>).transpose();
        let replica = replica.map_err(|error| anyhow!("store.replica_url cannot be read: {error}"))?;
        let replica = replica
            .map(|replica| replica.application_name("rollcall").disable_statement_logging().options(SERVER_LIMITS));
        Ok(Self {
            owned: Owned::here(),
            writer: Arc::new(Lane::new(options.clone(), WRITERS, WRITE_LIMIT)),
            readers: Arc::new(Lane::new(options.clone(), READERS, READ_LIMIT)),
            past: Arc::new(Past::new(replica.map(|replica| Lane::new(replica, READERS, READ_LIMIT)))),
            keeper: Arc::new(Lane::new(options, 1, KEEP_LIMIT)),
            months: Default::default(),
            owner: Arc::default(),
        })
    }

    /// Runs one read beside the writer.
    async fn read<T, F>(&self, read: F) -> anyhow::Result<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, anyhow::Result<T>> + Send + 'static,
    {
        let readers = Arc::clone(&self.readers);
        self.owned.run(async move { readers.work(read).await }).await
    }

    /// Runs one read of history, at the replica where there is one.
    async fn read_past<T, F>(&self, read: F) -> anyhow::Result<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, anyhow::Result<T>> + Send + 'static,
    {
        let (past, readers) = (Arc::clone(&self.past), Arc::clone(&self.readers));
        self.owned.run(async move { past.or(&readers).await.work(read).await }).await
    }

    /// Runs a step of the work on old history, beside the writer.
    async fn keep<T, F>(&self, work: F) -> anyhow::Result<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, anyhow::Result<T>> + Send + 'static,
    {
        let keeper = Arc::clone(&self.keeper);
        self.owned.run(async move { keeper.work(work).await }).await
    }

    /// Runs one write, all of it or nothing, while nothing else is written.
    async fn write<T, F>(&self, write: F) -> anyhow::Result<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, anyhow::Result<T>> + Send + 'static,
    {
        self.write_in(WRITERS, write).await
    }

    /// Runs one write that takes so many of the writer's places.
    async fn write_in<T, F>(&self, places: u32, write: F) -> anyhow::Result<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, anyhow::Result<T>> + Send + 'static,
    {
        let (writer, owner) = (Arc::clone(&self.writer), self.owner.load(Relaxed));
        let work = async move { writer.work_in(places, |connection| Box::pin(whole(connection, owner, write))).await };
        self.owned.run(work).await
    }
}

async fn whole<T, F>(connection: &mut PgConnection, owner: i64, write: F) -> anyhow::Result<T>
where
    F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, anyhow::Result<T>> + Send,
{
    let mut transaction = connection.begin().await?;
    write::check_owner(&mut transaction, owner).await?;
    let written = write(&mut transaction).await?;
    transaction.commit().await?;
    Ok(written)
}

#[async_trait]
impl Store for Postgres {
    fn kind(&self) -> &'static str {
        "postgres"
    }

    async fn identity(&self) -> anyhow::Result<String> {
        self.read(|connection| Box::pin(read::identity(connection))).await
    }

    async fn take_over(&self) -> anyhow::Result<()> {
        let owner = Arc::clone(&self.owner);
        owner.store(0, Relaxed);
        self.write(|connection| Box::pin(write::take_over(connection, owner))).await
    }

    async fn load_customers(&self) -> anyhow::Result<Vec<StoredCustomer>> {
        self.read(|connection| Box::pin(read::customers(connection))).await
    }

    async fn vehicles_after(&self, last: Option<Arc<VehicleKey>>) -> anyhow::Result<Vec<StoredVehicle>> {
        self.read(|connection| Box::pin(read::vehicles(connection, last))).await
    }

    async fn alive_until(&self) -> anyhow::Result<Option<Millis>> {
        self.read(|connection| Box::pin(read::alive_until(connection))).await
    }

    async fn commit(&self, transitions: &[Transition]) -> anyhow::Result<()> {
        let (rows, months) = (transitions.to_vec(), write::months(transitions));
        let new: Vec<Millis> = months.difference(&self.months.lock()).copied().collect();
        if new.is_empty() {
            return self.write_in(1, |connection| Box::pin(write::commit(connection, rows, new))).await;
        }
        // Alone: two that make the same partition would fail.
        self.write(|connection| Box::pin(write::commit(connection, rows, new))).await?;
        // Only now: a partition made in a transaction that failed is not there.
        self.months.lock().extend(months);
        Ok(())
    }

    fn commits_in_pairs(&self) -> bool {
        true
    }

    async fn checkpoint(&self, rows: &[Checkpoint], alive_until: Millis) -> anyhow::Result<()> {
        let rows = rows.to_vec();
        self.write(move |connection| Box::pin(write::checkpoint(connection, rows, alive_until))).await
    }

    async fn heard(&self, rows: &[Checkpoint]) -> anyhow::Result<()> {
        let heard = rows.to_vec();
        self.write(move |connection| Box::pin(write::hear(connection, heard))).await
    }

    async fn repair(&self, after: Option<&VehicleKey>, rows: u32) -> anyhow::Result<Repair> {
        let slice = Slice::after(after, rows);
        let asked = slice.clone();
        let (wrong, end) = self.read(|connection| Box::pin(repair::look(connection, asked))).await?;
        let mended =
            if wrong { self.write(|connection| Box::pin(repair::mend(connection, slice))).await? } else { Vec::new() };
        Ok(Repair { mended, end })
    }

    async fn record_gap(&self, gap: &ObservationGap) -> anyhow::Result<()> {
        let gap = gap.clone();
        self.write(|connection| Box::pin(write::record_gap(connection, gap))).await
    }

    async fn close_open_gaps(&self, to: Millis) -> anyhow::Result<()> {
        self.write(move |connection| Box::pin(write::close_open_gaps(connection, to))).await
    }

    async fn gaps(&self, from: Millis, to: Millis) -> anyhow::Result<Vec<ObservationGap>> {
        self.read(move |connection| Box::pin(read::gaps(connection, from, to))).await
    }

    async fn transitions(&self, query: &TransitionQuery) -> anyhow::Result<Vec<Transition>> {
        let page = Page::of(query)?;
        self.read_past(|connection| Box::pin(read::transitions(connection, page))).await
    }

    async fn ping(&self) -> anyhow::Result<()> {
        self.read(|connection| Box::pin(async { Ok(connection.ping().await?) })).await
    }

    async fn close(&self) {
        let (readers, writer) = (Arc::clone(&self.readers), Arc::clone(&self.writer));
        let (past, keeper) = (Arc::clone(&self.past), Arc::clone(&self.keeper));
        let work = async move {
            past.close().await;
            keeper.close().await;
            readers.close().await;
            writer.close().await;
            Ok(())
        };
        if let Err(error) = self.owned.run(work).await {
            tracing::warn!("closing the store failed: {error:#}");
        }
    }
}

#[async_trait]
impl StatsStore for Postgres {
    async fn add_beats(&self, number: i64, beats: &[Beats]) -> anyhow::Result<()> {
        let owner = self.owner.load(Relaxed);
        let beats = beats.to_vec();
        self.write(move |connection| Box::pin(stats::add_beats(connection, owner, number, beats))).await
    }

    async fn roll_up(&self, minutes: u32) -> anyhow::Result<bool> {
        self.write(move |connection| Box::pin(stats::roll_up(connection, minutes))).await
    }

    async fn rollups(&self, query: &RollupQuery) -> anyhow::Result<Rollups> {
        let query = query.clone();
        self.read(|connection| Box::pin(stats::rollups(connection, query))).await
    }

    async fn spent(&self, customer: Option<&str>, instants: &[Millis]) -> anyhow::Result<Vec<Levels>> {
        let (customer, instants) = (customer.map(str::to_owned), instants.to_vec());
        self.read(|connection| Box::pin(stats::spent(connection, customer, instants))).await
    }
}

#[cfg(test)]
mod partition_tests;

#[cfg(test)]
mod tests;
