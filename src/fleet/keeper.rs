//! The keeper of old history: makes room for what is to come, and drops what is older than it has to be kept, a step at
//! a time. Fed by the settings and the clock; tells readers through [`Horizons`] how far back each kind reaches.
//!
//! Bound: one step is under way at a time, each some milliseconds of the writer (SQLite) or one partition beside it
//! (Postgres), and the store gets nine times as much rest as work. While transitions wait for the store nothing is
//! dropped. A step that fails is made again in the next round.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::persister::StoreHealth;
use crate::clock::Clock;
use crate::domain::time::Millis;
use crate::store::Store;
use crate::store::retention::{Horizons, Kind};

/// What is old is dropped when the start is over.
const FIRST: Duration = Duration::from_secs(60);
/// How often it looks: days and months end at an hour, and partitions are made a week ahead.
const EVERY: Duration = Duration::from_secs(3_600);
/// So much longer than a step is the pause after it.
const REST: u32 = 9;

/// How long each kind is kept, milliseconds; a kind that is not named is kept for ever.
pub type Ages = HashMap<Kind, Millis>;

/// The running keeper.
pub struct Keeper {
    horizons: Arc<Horizons>,
    task: JoinHandle<()>,
}

struct Task {
    store: Arc<dyn Store>,
    health: Arc<StoreHealth>,
    clock: Clock,
    ages: Ages,
    horizons: Arc<Horizons>,
    /// Everything before this is dropped, as far as it may be: the next pass comes when there is more.
    done: HashMap<Kind, Millis>,
}

impl Keeper {
    /// Reads how far back history reaches, and begins to look after it.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn start(
        store: &Arc<dyn Store>,
        health: Arc<StoreHealth>,
        clock: Clock,
        ages: Ages,
    ) -> anyhow::Result<Self> {
        let horizons = Arc::<Horizons>::default();
        for (kind, before) in store.load_horizons().await? {
            horizons.note(kind, before);
        }
        let (store, done) = (Arc::clone(store), HashMap::new());
        let task = Task { store, health, clock, ages, horizons: Arc::clone(&horizons), done };
        Ok(Self { horizons, task: tokio::spawn(task.run()) })
    }

    /// How far back each kind reaches.
    pub fn horizons(&self) -> Arc<Horizons> {
        Arc::clone(&self.horizons)
    }

    /// Ends; a step under way is finished by the store.
    pub fn stop(&self) {
        self.task.abort();
    }
}

impl Task {
    async fn run(mut self) {
        if let Err(error) = self.store.prepare(self.clock.today()).await {
            tracing::warn!("no room was made ahead for history: {error:#}; it is made when it is needed");
        }
        sleep(FIRST).await;
        loop {
            if let Err(error) = self.round().await {
                tracing::warn!("old history cannot be looked after, trying on: {error:#}");
            }
            sleep(EVERY).await;
        }
    }

    async fn round(&mut self) -> anyhow::Result<()> {
        let today = self.clock.today();
        self.store.prepare(today).await?;
        for kind in Kind::ALL {
            let Some(age) = self.ages.get(&kind) else { continue };
            let before = kind.floor(today - age);
            if self.done.get(&kind).is_none_or(|done| *done < before) {
                self.drop_all(kind, before).await?;
            }
        }
        Ok(())
    }

    /// Every step of one kind. What is dropped is not told of from the moment before.
    async fn drop_all(&mut self, kind: Kind, before: Millis) -> anyhow::Result<()> {
        let (mut mark, mut rows, began) = (None, 0, Instant::now());
        loop {
            while self.health.draining() {
                sleep(Duration::from_secs(1)).await;
            }
            let step_began = Instant::now();
            let step = self.store.drop_some(kind, before, mark.as_ref()).await?;
            let Some(horizon) = step.horizon else { return Ok(()) };
            self.horizons.note(kind, horizon);
            rows += step.rows;
            mark = step.next;
            if mark.is_none() {
                break;
            }
            sleep(step_began.elapsed() * REST).await;
        }
        self.done.insert(kind, before);
        let (before, took) = (crate::domain::time::rfc3339(before), began.elapsed().as_millis() as u64);
        tracing::info!(kind = kind.word(), before, rows, took_ms = took, "old history was dropped");
        Ok(())
    }
}
