//! Exports: the past as files that are ordered, written while nobody waits, and fetched with a link. This file is what
//! others see of it.
//! Fed by REST with orders; the queue and the list lie in the store, the files in a folder or an S3-compatible store.
//!
//! Way: order -> store (NOT_STARTED) -> worker.rs claims it with a lease -> run.rs, on a thread of its own and of low
//! priority: source.rs reads the store a page at a time, sink.rs writes the file -> storage.rs keeps it -> FINISHED.
//! Whatever dies on the way, the lease ends, and the next try begins from the start under another file name; the store
//! takes the end of a try once, and files that no row names are swept away. So there is one file in the end.
//!
//! Bounds: `exports.kept_max` orders a tenant, `exports.parallel` threads; each holds one page of rows and one buffer
//! of its format, however large the file becomes (sink.rs has the sums).

pub mod archive;
mod pace;
mod retention;
pub mod rows;
mod run;
pub mod sink;
mod source;
mod storage;
mod worker;

use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use futures_util::stream::BoxStream;
use parking_lot::Mutex;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::Notify;

use crate::access::Access;
use crate::clock::Clock;
use crate::domain::export::{ExportId, Limits, Order, State};
use crate::domain::time::Millis;
use crate::settings::Exports as Settings;
use crate::store::Store;
use crate::store::exports::{Done, StoredExport, Try};
use archive::Archive;
use storage::Storage;

pub use worker::Worker;

/// Exports that are ordered, worked on, and there.
pub struct Exports {
    settings: Settings,
    store: Arc<dyn Store>,
    access: Arc<Access>,
    storage: Arc<Storage>,
    clock: Clock,
    random: SystemRandom,
    /// Something was ordered.
    wake: Notify,
    running: Mutex<HashMap<ExportId, Arc<Ticket>>>,
    /// Counters for `/metrics`.
    pub counts: Counts,
}

/// How exports ended since the start.
#[derive(Debug, Default)]
pub struct Counts {
    /// With a file.
    pub finished: AtomicU64,
    /// Tries that failed, and will be made again.
    pub tried: AtomicU64,
    /// For good.
    pub failed: AtomicU64,
}

/// What is asked of a try under way, and how far it is.
#[derive(Debug)]
struct Ticket {
    which: Try,
    /// The name its file will have: each try has its own.
    file: String,
    order: AtomicU8,
    rows: AtomicU64,
    bytes: Arc<AtomicU64>,
    /// The bits of a number from 0 to 1.
    progress: AtomicU64,
}

/// What a try is told, as [`Ticket::order`].
const GO_ON: u8 = 0;
const CANCEL: u8 = 1;
const STOP: u8 = 2;

impl Ticket {
    fn of(export: &StoredExport) -> Self {
        let StoredExport { id, attempts: attempt, order, .. } = export;
        Self {
            which: Try { id: *id, attempt: *attempt },
            file: format!("{id}-{attempt}.{}", order.format.extension()),
            order: AtomicU8::new(GO_ON),
            rows: AtomicU64::new(0),
            bytes: Arc::default(),
            progress: AtomicU64::new(0),
        }
    }

    fn tell(&self, order: u8) {
        self.order.fetch_max(order, Relaxed);
    }

    fn goes_on(&self) -> bool {
        self.order.load(Relaxed) == GO_ON
    }

    fn done(&self) -> Done {
        let (rows, bytes) = (self.rows.load(Relaxed), self.bytes.load(Relaxed));
        Done { progress: f64::from_bits(self.progress.load(Relaxed)), rows, bytes }
    }
}

/// Why a link does not open its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadLink {
    /// It is none of ours.
    #[error("this link was not made here, or was changed")]
    Forged,
    /// Its time is over.
    #[error("this link has expired; look at the export again for a fresh one")]
    Expired,
}

impl Exports {
    /// Opens the place of the files. `folder` is the local one; none beside a store in memory.
    ///
    /// # Errors
    /// A sentence saying which place cannot be used.
    pub async fn open(
        settings: &Settings,
        folder: Option<PathBuf>,
        store: Arc<dyn Store>,
        access: Arc<Access>,
        clock: Clock,
    ) -> anyhow::Result<Arc<Self>> {
        let storage = Arc::new(Storage::open(settings, folder, &store.identity().await?)?);
        Ok(Arc::new(Self {
            settings: settings.clone(),
            store,
            access,
            storage,
            clock,
            random: SystemRandom::new(),
            wake: Notify::new(),
            running: Mutex::default(),
            counts: Counts::default(),
        }))
    }

    /// The archive, which lies at the same place.
    pub fn archive(&self) -> Archive {
        Archive::at(Arc::clone(&self.storage), Arc::clone(&self.store), self.clock)
    }

    /// Puts an order that was checked into the queue; none when its tenant has too many.
    ///
    /// # Errors
    /// The store does not take it.
    pub async fn order(
        &self,
        order: Order,
        tenant: Option<String>,
        made_by: String,
    ) -> anyhow::Result<Option<StoredExport>> {
        let mut bits = [0; 8];
        self.random.fill(&mut bits).map_err(|_| anyhow::anyhow!("the system has no random bytes"))?;
        let export = StoredExport {
            id: ExportId::new(u64::from_be_bytes(bits)),
            tenant,
            made_by,
            made_at: self.clock.today(),
            order,
            state: State::NotStarted,
            attempts: 0,
            done: Done::default(),
            error: None,
            file: None,
            expires_at: None,
        };
        let taken = self.store.add_export(&export, self.settings.kept_max).await?;
        if taken {
            self.wake.notify_one();
        }
        Ok(taken.then_some(export))
    }

    /// Most exports of one tenant.
    pub fn kept_max(&self) -> u32 {
        self.settings.kept_max
    }

    /// What an order may ask for.
    pub fn limits(&self) -> Limits {
        self.settings.limits()
    }

    /// The same with what is known of it at this moment: the store hears of progress less often.
    pub fn live(&self, export: StoredExport) -> StoredExport {
        let ticket = self.running.lock().get(&export.id).map(Arc::clone);
        match ticket.filter(|_| export.state == State::Started) {
            Some(ticket) => StoredExport { done: ticket.done(), ..export },
            None => export,
        }
    }

    /// Exports that are worked on.
    pub fn running(&self) -> usize {
        self.running.lock().len()
    }

    /// Cancels an export that is not over yet; `false` when it is.
    ///
    /// # Errors
    /// The store does not take it.
    pub async fn cancel(&self, id: ExportId) -> anyhow::Result<bool> {
        let cancelled = self.store.cancel_export(id, self.clock.today()).await?;
        if let Some(ticket) = self.running.lock().get(&id) {
            ticket.tell(CANCEL);
        }
        Ok(cancelled)
    }

    /// Removes an export that is over, with its file.
    ///
    /// # Errors
    /// The store, or the place of the files, does not take it; the export is listed still.
    pub async fn remove(&self, export: &StoredExport) -> anyhow::Result<()> {
        if let Some(file) = &export.file {
            self.storage.remove(file).await?;
        }
        self.store.forget_export(export.id).await
    }

    /// A link that opens the file of a finished export for a while, as a path and query of this service.
    ///
    /// # Errors
    /// There is no pepper to seal it with.
    pub fn link(&self, export: &StoredExport) -> anyhow::Result<Option<String>> {
        let (State::Finished, Some(gone)) = (export.state, export.expires_at) else { return Ok(None) };
        let now = self.clock.today();
        if gone <= now {
            return Ok(None);
        }
        let expires = (now + self.settings.link_lifetime.0).min(gone);
        let seal = self.access.seal_link(&link_text(export.id, expires))?;
        Ok(Some(format!("/api/v1/exports/{}/file?expires={expires}&seal={seal}", export.id)))
    }

    /// Whether a link opens this export.
    ///
    /// # Errors
    /// There is no pepper to check it with; inside: why it does not.
    pub fn check_link(&self, id: ExportId, expires: Millis, seal: &str) -> anyhow::Result<Result<(), BadLink>> {
        if !self.access.is_own_link(&link_text(id, expires), seal)? {
            return Ok(Err(BadLink::Forged));
        }
        Ok(if expires <= self.clock.today() { Err(BadLink::Expired) } else { Ok(()) })
    }

    /// Reads a part of a file, a piece at a time; none when it is not there.
    ///
    /// # Errors
    /// The place of the files does not answer.
    pub async fn read(&self, file: &str, range: Range<u64>) -> anyhow::Result<Option<Pieces>> {
        self.storage.read(file, range).await
    }
}

/// A file, piece by piece.
pub type Pieces = BoxStream<'static, anyhow::Result<Bytes>>;

fn link_text(id: ExportId, expires: Millis) -> String {
    format!("export {id} until {expires}")
}
