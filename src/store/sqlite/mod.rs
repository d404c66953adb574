//! The store that needs nothing installed: one SQLite file, or memory for demonstrations and tests.
//! Fed by the persister through the one writing connection; read at start and by REST through a few reading ones, by
//! exports through one that comes last.

mod access;
mod archive;
mod exports;
mod heartbeats;
mod historian;
mod history;
mod logins;
mod many;
mod mosquitto;
mod read;
mod registry;
mod repair;
mod retention;
mod scan;
mod stats;
mod write;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use async_trait::async_trait;
use futures_util::future::BoxFuture;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::sqlite::{SqlitePool, SqlitePoolOptions};
use sqlx::{ConnectOptions, Connection};
use tokio::sync::Mutex;

use self::historian::Historian;
use super::local;
use super::owned::Owned;
use super::rows::{Page, Slice};
use super::stats::{Beats, RollupQuery, Rollups, StatsStore};
use super::{Checkpoint, ObservationGap, Repair, Store, StoredCustomer, StoredVehicle, TransitionQuery};
use crate::domain::ids::VehicleKey;
use crate::domain::statistics::Levels;
use crate::domain::time::Millis;
use crate::domain::transition::Transition;

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations/sqlite");

/// Readers beside the writer: a page takes milliseconds, and more readers than that only wait for the same disk.
const READERS: u32 = 4;
/// Rows between a reader's thread and whoever asked, some megabytes: each time this runs full or empty, a thread has to
/// be woken, and a page of the start has 10,000 rows.
const ROWS_UNDER_WAY: usize = 1_000;
/// KiB (written as a negative number) of pages that the writer keeps in memory: more than SQLite's own 2 MB, so that
/// fewer pages of one group go to the log twice, and little beside a fleet that needs so much.
const WRITER_CACHE: &str = "-8192";
/// Pages of the log that are brought into the file at once, 16 MB: a page that every group touches goes there once.
const LOG_PAGES: &str = "4000";
/// How long to wait for another process that writes to the same file: a backup, or `rollcall migrate`.
const BUSY: Duration = Duration::from_secs(10);
const BUSY_PAUSE: Duration = Duration::from_millis(20);
/// The low byte of the error codes that mean: another process holds the lock.
const SQLITE_BUSY: i32 = 5;

/// One SQLite database.
#[derive(Debug)]
pub struct Sqlite {
    owned: Owned,
    connections: Arc<Connections>,
    /// Our number as the writer; 0 before we took over.
    owner: Arc<AtomicI64>,
}

/// SQLite has one writer at a time, so there is one writing connection, and whoever writes waits for it here and not
/// inside SQLite. In memory it is the only connection: a second one would see a database of its own, and a shared cache
/// answers "table is locked" at once where a file lets the reader through.
#[derive(Debug)]
struct Connections {
    writer: Mutex<Seat>,
    readers: Option<SqlitePool>,
    /// The reader of whole histories; in memory there is only the writer.
    historian: Option<Historian>,
    /// How the writing connection is opened anew; none in memory, where a new one would find nothing.
    again: Option<SqliteConnectOptions>,
}

/// The place of the writing connection.
#[derive(Debug)]
enum Seat {
    Open(Box<SqliteConnection>),
    /// A write failed on it. SQLite itself ends a transaction on a full disk or a failing one, sqlx then believes that
    /// it is still inside one, and every later write would fail: so the connection goes.
    Lost,
    Closed,
}

impl Seat {
    fn open(writer: SqliteConnection) -> Mutex<Self> {
        Mutex::new(Self::Open(Box::new(writer)))
    }
}

impl Connections {
    /// Runs one read, in memory on the only connection.
    async fn read_alone<T, F>(&self, read: F) -> anyhow::Result<T>
    where
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, anyhow::Result<T>>,
    {
        match &mut *self.writer.lock().await {
            Seat::Open(only) => read(only).await,
            Seat::Lost | Seat::Closed => anyhow::bail!("the store is closed"),
        }
    }

    /// Runs one write, all of it or nothing, on the writing connection.
    async fn write<T, F>(&self, owner: i64, write: F) -> anyhow::Result<T>
    where
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, anyhow::Result<T>> + Send + 'static,
    {
        let mut seat = self.writer.lock().await;
        let mut writer = match (std::mem::replace(&mut *seat, Seat::Lost), &self.again) {
            (Seat::Open(writer), _) => writer,
            (Seat::Lost, Some(again)) => Box::new(again.connect().await?),
            (Seat::Lost | Seat::Closed, _) => {
                *seat = Seat::Closed;
                anyhow::bail!("the store is closed");
            }
        };
        let outcome = whole(&mut writer, owner, write).await;
        if outcome.is_ok() || self.again.is_none() {
            *seat = Seat::Open(writer);
        }
        outcome
    }
}

async fn whole<T, F>(writer: &mut SqliteConnection, owner: i64, write: F) -> anyhow::Result<T>
where
    F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, anyhow::Result<T>> + Send + 'static,
{
    // Takes the write lock at once: a lock taken halfway fails instead of waiting if another writer came first.
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
    write::check_owner(&mut transaction, owner).await?;
    let written = write(&mut transaction).await?;
    transaction.commit().await?;
    Ok(written)
}

/// The file that the rest of a URL names; none for memory.
pub fn file(path: &str) -> Option<&Path> {
    let path = path.strip_prefix("//").unwrap_or(path);
    (path != ":memory:").then(|| Path::new(path))
}

/// Whether the file can be written, or made: the nearest folder above it that exists must allow it.
pub fn probe(path: &str) -> anyhow::Result<()> {
    let Some(path) = file(path) else { return Ok(()) };
    let sentence = || format!("the store at {} cannot be written", path.display());
    if path.exists() {
        std::fs::OpenOptions::new().append(true).open(path).with_context(sentence)?;
        return Ok(());
    }
    local::probe(path.parent().with_context(sentence)?).with_context(sentence)
}

impl Sqlite {
    /// Opens the file, or `:memory:`, and brings its schema up to date.
    pub async fn open(path: &str) -> anyhow::Result<Self> {
        let path = path.strip_prefix("//").unwrap_or(path);
        anyhow::ensure!(!path.is_empty(), "store.url names no file: write sqlite:PATH or sqlite::memory:");
        let opened = if path == ":memory:" { open_memory().await } else { open_file(path).await };
        let connections = opened.map_err(|error| {
            anyhow!(
                "cannot open the store at {path} ({error}): check that it is a file that Rollcall may read and write"
            )
        })?;
        Ok(Self { owned: Owned::here(), connections: Arc::new(connections), owner: Arc::default() })
    }

    /// Runs one read; beside the writer when there is a file.
    async fn read<T, F>(&self, read: F) -> anyhow::Result<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, anyhow::Result<T>> + Send + 'static,
    {
        let connections = Arc::clone(&self.connections);
        let work = async move {
            match &connections.readers {
                Some(readers) => read(&mut *readers.acquire().await?).await,
                None => connections.read_alone(read).await,
            }
        };
        self.owned.run(work).await
    }

    /// Runs one read of a history that can wait, after all others: on the thread of whoever asks, which comes last too.
    /// Woken for each row, a worker of the runtime would come before those that nobody should wait for.
    async fn read_last<T, F>(&self, read: F) -> anyhow::Result<T>
    where
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, anyhow::Result<T>>,
    {
        match &self.connections.historian {
            Some(historian) => historian.read(read).await,
            None => self.connections.read_alone(read).await,
        }
    }

    /// Runs one write, all of it or nothing.
    async fn write<T, F>(&self, write: F) -> anyhow::Result<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, anyhow::Result<T>> + Send + 'static,
    {
        let (connections, owner) = (Arc::clone(&self.connections), self.owner.load(Relaxed));
        self.owned.run(async move { connections.write(owner, write).await }).await
    }
}

fn options(path: &str) -> SqliteConnectOptions {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true).foreign_keys(true);
    options.busy_timeout(BUSY).disable_statement_logging()
}

async fn open_memory() -> anyhow::Result<Connections> {
    let mut only = options(":memory:").connect().await?;
    migrate(&mut only).await?;
    Ok(Connections { writer: Seat::open(only), readers: None, historian: None, again: None })
}

async fn open_file(path: &str) -> anyhow::Result<Connections> {
    if let Some(folder) = Path::new(path).parent() {
        let made = tokio::fs::create_dir_all(folder).await;
        made.map_err(|error| anyhow!("no folder {}: {error}", folder.display()))?;
    }
    // FULL: a transition is acknowledged once it is stored, so it has to outlive a power cut.
    let options = options(path).synchronous(SqliteSynchronous::Full);
    let writing = options.clone().pragma("cache_size", WRITER_CACHE).pragma("wal_autocheckpoint", LOG_PAGES);
    let mut writer = connect(&writing.clone().journal_mode(SqliteJournalMode::Wal)).await?;
    migrate(&mut writer).await?;
    let readers = SqlitePoolOptions::new().max_connections(READERS).acquire_timeout(BUSY);
    let reading = options.pragma("query_only", "on").row_buffer_size(ROWS_UNDER_WAY);
    let readers = Some(readers.connect_lazy_with(reading.clone()));
    let historian = Some(Historian::new(reading));
    Ok(Connections { writer: Seat::open(writer), readers, historian, again: Some(writing) })
}

/// The switch to WAL fails at once while another process makes it, whatever the busy timeout; so the waiting is done
/// here.
async fn connect(options: &SqliteConnectOptions) -> sqlx::Result<SqliteConnection> {
    let busy = |error: &sqlx::Error| {
        let code = error.as_database_error().and_then(|error| error.code()?.parse::<i32>().ok());
        code.is_some_and(|code| code & 0xff == SQLITE_BUSY)
    };
    let began = Instant::now();
    loop {
        match options.connect().await {
            Err(error) if busy(&error) && began.elapsed() < BUSY => tokio::time::sleep(BUSY_PAUSE).await,
            outcome => return outcome,
        }
    }
}

/// In one transaction with the write lock: of two processes that open a fresh file at once, the second finds it done.
async fn migrate(writer: &mut SqliteConnection) -> anyhow::Result<()> {
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
    MIGRATIONS.run(&mut *transaction).await?;
    Ok(transaction.commit().await?)
}

#[async_trait]
impl Store for Sqlite {
    fn kind(&self) -> &'static str {
        "sqlite"
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
        let batch = write::Batch::of(transitions)?;
        self.write(|connection| Box::pin(write::commit(connection, batch))).await
    }

    async fn checkpoint(&self, rows: &[Checkpoint], alive_until: Millis) -> anyhow::Result<()> {
        let heard = write::heard(rows)?;
        self.write(move |connection| Box::pin(write::checkpoint(connection, heard, alive_until))).await
    }

    async fn heard(&self, rows: &[Checkpoint]) -> anyhow::Result<()> {
        let heard = write::heard(rows)?;
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
        self.read(|connection| Box::pin(read::transitions(connection, page))).await
    }

    async fn ping(&self) -> anyhow::Result<()> {
        self.read(|connection| Box::pin(async { Ok(connection.ping().await?) })).await
    }

    async fn close(&self) {
        let connections = Arc::clone(&self.connections);
        let work = async move {
            if let Some(readers) = &connections.readers {
                readers.close().await;
            }
            if let Some(historian) = &connections.historian {
                historian.close().await;
            }
            match std::mem::replace(&mut *connections.writer.lock().await, Seat::Closed) {
                Seat::Open(writer) => Ok(writer.close().await?),
                Seat::Lost | Seat::Closed => Ok(()),
            }
        };
        if let Err(error) = self.owned.run(work).await {
            tracing::warn!("closing the store failed: {error:#}");
        }
    }
}

#[async_trait]
impl StatsStore for Sqlite {
    async fn add_beats(&self, number: i64, beats: &[Beats]) -> anyhow::Result<()> {
        let owner = self.owner.load(Relaxed);
        let beats = stats::beats(beats)?;
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
mod tests;
