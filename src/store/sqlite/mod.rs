//! The store that needs nothing installed: one SQLite file, or memory for demonstrations and tests.
//! Fed by the persister through the one writing connection; read at start and by REST through a few reading ones.

mod read;
mod write;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use async_trait::async_trait;
use futures_util::future::BoxFuture;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::sqlite::{SqlitePool, SqlitePoolOptions};
use sqlx::{ConnectOptions, Connection};
use tokio::sync::Mutex;

use super::owned::Owned;
use super::rows::Page;
use super::{Checkpoint, NewVehicle, ObservationGap, Store, StoredCustomer, StoredVehicle, TransitionQuery};
use crate::domain::time::Millis;
use crate::domain::transition::Transition;

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations/sqlite");

/// Readers beside the writer: a page takes milliseconds, and more readers than that only wait for the same disk.
const READERS: u32 = 4;
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
}

/// SQLite has one writer at a time, so there is one writing connection, and whoever writes waits for it here and not
/// inside SQLite. In memory it is the only connection: a second one would see a database of its own, and a shared cache
/// answers "table is locked" at once where a file lets the reader through.
#[derive(Debug)]
struct Connections {
    writer: Mutex<Option<SqliteConnection>>,
    readers: Option<SqlitePool>,
}

/// Whether the file can be written, or made: the nearest folder above it that exists must allow it.
pub fn probe(path: &str) -> anyhow::Result<()> {
    let path = std::path::Path::new(path.strip_prefix("//").unwrap_or(path));
    if path.as_os_str() == ":memory:" {
        return Ok(());
    }
    let sentence = || format!("the store at {} cannot be written", path.display());
    if path.exists() {
        std::fs::OpenOptions::new().append(true).open(path).with_context(sentence)?;
        return Ok(());
    }
    let parents =
        path.ancestors().skip(1).map(|folder| if folder.as_os_str().is_empty() { ".".as_ref() } else { folder });
    let folder = parents.into_iter().find(|folder| folder.exists()).with_context(sentence)?;
    anyhow::ensure!(folder.is_dir() && !folder.metadata()?.permissions().readonly(), sentence());
    Ok(())
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
        Ok(Self { owned: Owned::here(), connections: Arc::new(connections) })
    }

    /// Runs one read; beside the writer when there is a file.
    async fn read<T, F>(&self, read: F) -> anyhow::Result<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, anyhow::Result<T>> + Send + 'static,
    {
        let connections = Arc::clone(&self.connections);
        let work = async move {
            if let Some(readers) = &connections.readers {
                return read(&mut *readers.acquire().await?).await;
            }
            let mut only = connections.writer.lock().await;
            read(only.as_mut().context("the store is closed")?).await
        };
        self.owned.run(work).await
    }

    /// Runs one write, all of it or nothing.
    async fn write<F>(&self, write: F) -> anyhow::Result<()>
    where
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, anyhow::Result<()>> + Send + 'static,
    {
        let connections = Arc::clone(&self.connections);
        let work = async move {
            let mut writer = connections.writer.lock().await;
            let writer = writer.as_mut().context("the store is closed")?;
            // Takes the write lock at once: a lock taken halfway fails instead of waiting if another writer came first.
            let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
            write(&mut transaction).await?;
            Ok(transaction.commit().await?)
        };
        self.owned.run(work).await
    }
}

fn options(path: &str) -> SqliteConnectOptions {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true).foreign_keys(true);
    options.busy_timeout(BUSY).disable_statement_logging()
}

async fn open_memory() -> anyhow::Result<Connections> {
    let mut only = options(":memory:").connect().await?;
    migrate(&mut only).await?;
    Ok(Connections { writer: Mutex::new(Some(only)), readers: None })
}

async fn open_file(path: &str) -> anyhow::Result<Connections> {
    if let Some(folder) = Path::new(path).parent() {
        let made = tokio::fs::create_dir_all(folder).await;
        made.map_err(|error| anyhow!("no folder {}: {error}", folder.display()))?;
    }
    // FULL: a transition is acknowledged once it is stored, so it has to outlive a power cut.
    let options = options(path).synchronous(SqliteSynchronous::Full);
    let mut writer = connect(&options.clone().journal_mode(SqliteJournalMode::Wal)).await?;
    migrate(&mut writer).await?;
    let readers = SqlitePoolOptions::new().max_connections(READERS).acquire_timeout(BUSY);
    let readers = readers.connect_lazy_with(options.pragma("query_only", "on"));
    Ok(Connections { writer: Mutex::new(Some(writer)), readers: Some(readers) })
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

    async fn load_customers(&self) -> anyhow::Result<Vec<StoredCustomer>> {
        self.read(|connection| Box::pin(read::customers(connection))).await
    }

    async fn load_vehicles(&self, each: &mut (dyn FnMut(StoredVehicle) + Send)) -> anyhow::Result<()> {
        let mut last = None;
        loop {
            let page = self.read(|connection| Box::pin(read::vehicles(connection, last))).await?;
            let Some(newest) = page.last() else { return Ok(()) };
            last = Some(Arc::clone(&newest.key));
            page.into_iter().for_each(&mut *each);
        }
    }

    async fn alive_until(&self) -> anyhow::Result<Option<Millis>> {
        self.read(|connection| Box::pin(read::alive_until(connection))).await
    }

    async fn commit(&self, transitions: &[Transition]) -> anyhow::Result<()> {
        let batch = write::Batch::of(transitions)?;
        self.write(|connection| Box::pin(write::commit(connection, batch))).await
    }

    async fn register(&self, vehicles: &[NewVehicle]) -> anyhow::Result<()> {
        let newcomers = write::newcomers(vehicles)?;
        self.write(|connection| Box::pin(write::register(connection, newcomers))).await
    }

    async fn checkpoint(&self, rows: &[Checkpoint], alive_until: Millis) -> anyhow::Result<()> {
        let heard = write::heard(rows)?;
        self.write(move |connection| Box::pin(write::checkpoint(connection, heard, alive_until))).await
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
            match connections.writer.lock().await.take() {
                Some(writer) => Ok(writer.close().await?),
                None => Ok(()),
            }
        };
        if let Err(error) = self.owned.run(work).await {
            tracing::warn!("closing the store failed: {error:#}");
        }
    }
}

#[cfg(test)]
mod tests;
