//! The fast checkpoint: writes the file `last_seen` every few seconds, so that a process that is killed forgets no more
//! than that. Reads the board a slice at a time, on a thread of its own; the persister never waits for it.
//!
//! Bound: one file is in the making at a time; when that takes longer than the interval, the next one begins later.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::checkpoint::alive_until;
use super::registry::Registry;
use crate::live::feed::Feed;
use crate::store::last_seen::SeenFile;

/// Slots read while the board is held: well under a millisecond, for its writer waits meanwhile.
const SLICE_SLOTS: u32 = 4_000;
/// How long the last file may take when the service stops: a million vehicles take a second.
const STOP_MAX: Duration = Duration::from_secs(3);

/// What a file is made from, and where it goes.
pub struct Source {
    file: SeenFile,
    feed: Arc<Feed>,
    registry: Arc<Registry>,
    /// What the names of each slot's vehicle hash to, once they were; no slot is used twice. To look them up every few
    /// seconds cost more than all the rest: they lie all over the memory, and rows lie side by side.
    names: Mutex<Vec<Option<NonZeroU64>>>,
}

/// The task that writes the file.
pub struct LastSeen {
    stop: Arc<Notify>,
    task: JoinHandle<()>,
}

impl LastSeen {
    /// Starts to write; only once the fleet is on the board, for a file says what is there and nothing else.
    pub fn start(file: SeenFile, feed: Arc<Feed>, registry: Arc<Registry>, every: Duration) -> Self {
        let stop = Arc::<Notify>::default();
        let source = Arc::new(Source::new(file, feed, registry));
        let task = tokio::spawn(run(source, every, Arc::clone(&stop)));
        Self { stop, task }
    }

    /// Writes a last one; returns when done.
    pub async fn stop(self) {
        self.stop.notify_one();
        let _late = timeout(STOP_MAX, self.task).await;
    }
}

async fn run(source: Arc<Source>, every: Duration, stop: Arc<Notify>) {
    let mut tick = interval(every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut failing, mut stopping) = (false, false);
    while !stopping {
        stopping = tokio::select! {
            () = stop.notified() => true,
            _ = tick.tick() => false,
        };
        let source = Arc::clone(&source);
        let written = spawn_blocking(move || source.write()).await;
        match written.map_err(anyhow::Error::from).flatten() {
            Ok(()) if std::mem::take(&mut failing) => tracing::info!("the file last_seen is written again"),
            Ok(()) => {}
            Err(error) if !failing => {
                failing = true;
                tracing::error!("the file last_seen cannot be written: {error:#}; a crash now forgets up to a minute");
            }
            Err(_) => {}
        }
    }
}

impl Source {
    /// Files of this board.
    pub fn new(file: SeenFile, feed: Arc<Feed>, registry: Arc<Registry>) -> Self {
        Self { file, feed, registry, names: Mutex::default() }
    }

    /// Collects and writes one file, a slice at a time.
    ///
    /// # Errors
    /// The file cannot be written; the old one is as it was.
    pub fn write(&self) -> anyhow::Result<()> {
        // In this order: everything said until then is on the board that is read from now on.
        let alive_until = alive_until(&self.registry, &self.feed);
        if alive_until == 0 {
            // Not every shard has looked around yet: the file of the last run knows more.
            return Ok(());
        }
        let mut image = self.file.begin(alive_until)?;
        let (mut from, mut names) = (0, self.names.lock());
        loop {
            let board = self.feed.board();
            let slots = from..board.slots().min(from + SLICE_SLOTS);
            if slots.is_empty() {
                break;
            }
            from = slots.end;
            let length = names.len().max(from as usize);
            names.resize(length, None);
            for row in slots.filter_map(|slot| board.row(slot)) {
                if let Some(last_seen) = row.state.last_seen {
                    let known = &mut names[row.state.slot as usize];
                    // The one hash in 2^64 that is none is looked up every time.
                    let name = known.map_or_else(|| self.file.name(&row.key), NonZeroU64::get);
                    *known = NonZeroU64::new(name);
                    image.add(name, last_seen, row.state.announced);
                }
            }
            drop(board);
            image.write_out()?;
        }
        Ok(self.file.finish(image)?)
    }
}
