//! The archive: rows that are about to be dropped by age, as Parquet files beside the exports, with every column that a
//! restore needs; and these files read back.
//! Fed by the fleet's keeper, and by `rollcall archive`; store/archive.rs says why no row is lost and none is in two.
//!
//! A file is written on a thread of its own that comes last, kept, read back, and called whole only when the rows that
//! come out have the checksum of the rows that went in. Whatever breaks before that leaves a row in the index that says
//! so; the next file that is begun takes it away. Held is a page of rows and a group of Parquet, however long the file.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use anyhow::Context;
use async_trait::async_trait;
use chrono::DateTime;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::pace::Pace;
use super::rows::{Rows, Sum};
use super::sink::{self, Output, Sink};
use super::storage::Storage;
use crate::clock::Clock;
use crate::domain::export::{Cell, Column, Format, Type};
use crate::domain::time::Millis;
use crate::fleet::keeper::Archivist;
use crate::settings::Exports as Settings;
use crate::store::Store;
use crate::store::archive::{Archived, Part, columns, place};
use crate::store::priority::lower_priority;
use crate::store::retention::Kind;

/// Rows of a page: a statement of some milliseconds, and about a megabyte.
const PAGE_ROWS: u32 = 2_000;

/// The archive of a store.
#[derive(Clone)]
pub struct Archive {
    storage: Arc<Storage>,
    store: Arc<dyn Store>,
    clock: Clock,
}

impl Archive {
    /// At the place that the settings name; `folder` is the local one.
    ///
    /// # Errors
    /// A sentence saying which place cannot be used.
    pub async fn open(
        settings: &Settings,
        folder: Option<PathBuf>,
        store: Arc<dyn Store>,
        clock: Clock,
    ) -> anyhow::Result<Self> {
        let storage = Storage::open(settings, folder, &store.identity().await?)?;
        Ok(Self::at(Arc::new(storage), store, clock))
    }

    /// At a place that is open.
    pub(super) fn at(storage: Arc<Storage>, store: Arc<dyn Store>, clock: Clock) -> Self {
        Self { storage, store, clock }
    }

    /// One file to read.
    ///
    /// # Errors
    /// It is not there, or cannot be read.
    pub async fn rows(&self, archived: &Archived) -> anyhow::Result<Rows> {
        let file = self.storage.fetch(&archived.file, archived.bytes).await?;
        Rows::open(file.with_context(|| format!("the file {} is not there", archived.file))?)
    }

    /// Takes rows out of a file: a new one without them takes its place in the index, and the old one is taken away.
    /// Answers how many rows those were; none, and nothing is changed.
    ///
    /// # Errors
    /// A file cannot be read, written or taken away; the old one is whole still, or its going is noted.
    pub async fn take_out(&self, old: &Archived, is_gone: impl Fn(&[Cell<'_>]) -> bool) -> anyhow::Result<u64> {
        let rows = self.rows(old).await?;
        let mut gone = 0;
        rows.each(|row| {
            gone += u64::from(is_gone(row));
            Ok(())
        })?;
        if gone == 0 {
            return Ok(0);
        }
        let (file, made_at) = (name(&old.part)?, self.clock.today());
        let fresh = Archived { file, rows: old.rows - gone, bytes: 0, checksum: String::new(), made_at, ..old.clone() };
        self.store.note_stand_in(&fresh).await?;
        let mut draft = self.draft(&fresh.part, &fresh.file)?;
        rows.each(|row| if is_gone(row) { Ok(()) } else { draft.add(row) })?;
        let fresh = self.keep(draft.end(fresh.part, &fresh.file, made_at)?, || true).await?;
        let is_done = self.store.replace_file(old, &fresh).await?;
        anyhow::ensure!(is_done, "the new file was taken away meanwhile; try again");
        if fresh.rows == 0 {
            self.store.forget_file(&fresh.file).await?;
        }
        self.storage.remove(&old.file).await?;
        self.store.forget_file(&old.file).await?;
        Ok(gone)
    }

    /// A file that is begun.
    fn draft(&self, part: &Part, file: &str) -> anyhow::Result<Draft> {
        let written = Arc::<AtomicU64>::default();
        let output = Output::create(&self.storage.part(file), Arc::clone(&written))?;
        let column = |(name, of): &(&str, Type)| Column { name: (*name).to_owned(), of: *of };
        let own: Vec<Column> = columns(part.kind).iter().map(column).collect();
        Ok(Draft { sink: sink::open(Format::Parquet, &own, output)?, sum: Sum::default(), written })
    }

    /// Keeps a file that was written, and reads it back; one without rows is taken away.
    async fn keep(&self, archived: Archived, goes_on: impl Fn() -> bool) -> anyhow::Result<Archived> {
        if archived.rows > 0 {
            self.storage.keep(&archived.file, goes_on).await?;
            check(&archived, &self.rows(&archived).await?)?;
        } else {
            self.storage.remove(&archived.file).await?;
        }
        Ok(archived)
    }

    async fn write(&self, part: Part, file: &str, goes_on: impl Fn() -> bool) -> anyhow::Result<Archived> {
        let (mut draft, mut pace, mut after) = (self.draft(&part, file)?, Pace::default(), None);
        loop {
            anyhow::ensure!(goes_on(), "was told to stop");
            let began = Instant::now();
            let page = self.store.part_rows(&part, file, after.as_ref(), PAGE_ROWS).await?;
            pace.read_since(began);
            page.iter().try_for_each(|row| draft.add(row))?;
            after = page.last().map(|last| place(part.kind, last));
            if page.len() < PAGE_ROWS as usize {
                break;
            }
            pace.rest().await;
        }
        let archived = self.keep(draft.end(part, file, self.clock.today())?, goes_on).await?;
        let is_ours = self.store.end_file(&archived).await?;
        anyhow::ensure!(is_ours, "somebody else has begun the same file meanwhile");
        Ok(archived)
    }
}

/// A file that is being written.
struct Draft {
    sink: Box<dyn Sink>,
    sum: Sum,
    written: Arc<AtomicU64>,
}

impl Draft {
    fn add(&mut self, row: &[Cell<'_>]) -> anyhow::Result<()> {
        self.sum.add(row);
        self.sink.row(("", ""), row)
    }

    fn end(self, part: Part, file: &str, made_at: Millis) -> anyhow::Result<Archived> {
        self.sink.finish()?.close()?;
        let ((rows, checksum), bytes) = (self.sum.end(), self.written.load(Relaxed));
        Ok(Archived { file: file.to_owned(), part, rows, bytes, checksum, made_at })
    }
}

/// Whether the rows that come out of a file are those that went in.
///
/// # Errors
/// They are not, or the file is damaged.
pub fn check(archived: &Archived, rows: &Rows) -> anyhow::Result<()> {
    let mut sum = Sum::default();
    rows.each(|row| {
        sum.add(row);
        Ok(())
    })?;
    let (count, checksum) = sum.end();
    let (file, wanted) = (&archived.file, archived.rows);
    anyhow::ensure!(count == wanted, "{file} holds {count} rows, and {wanted} were written");
    anyhow::ensure!(checksum == archived.checksum, "the rows of {file} are not those that were written: {checksum}");
    Ok(())
}

/// A name that is given once: what it holds, and 64 random bits.
fn name(part: &Part) -> anyhow::Result<String> {
    let mut bits = [0; 8];
    SystemRandom::new().fill(&mut bits).map_err(|_| anyhow::anyhow!("the system has no random bytes"))?;
    let form = if part.kind == Kind::Transitions { "%Y-%m" } else { "%Y-%m-%d" };
    let date = DateTime::from_timestamp_millis(part.from).context("a time that has no date")?.format(form);
    let (kind, late, bits) = (part.kind.word(), if part.late { "-late" } else { "" }, u64::from_be_bytes(bits));
    Ok(format!("archive-{kind}-{date}{late}-{bits:016x}.parquet"))
}

#[async_trait]
impl Archivist for Archive {
    async fn archive(&self, part: &Part) -> anyhow::Result<Option<Archived>> {
        let (part, file) = (*part, name(part)?);
        let Some(left) = self.store.begin_file(&part, &file, self.clock.today()).await? else { return Ok(None) };
        for old in left {
            self.storage.remove(&old).await?;
            self.store.forget_file(&old).await?;
        }
        let (tell, told) = oneshot::channel();
        let (archive, runtime) = (self.clone(), Handle::current());
        let body = move || {
            lower_priority();
            // Nobody listens any more when the service has stopped: the next start begins the file again.
            let outcome = runtime.block_on(archive.write(part, &file, || !tell.is_closed()));
            let _ = tell.send(outcome);
        };
        std::thread::Builder::new().name("archive".into()).spawn(body)?;
        told.await.context("the thread that writes the archive panicked; the log has it")?.map(Some)
    }
}
