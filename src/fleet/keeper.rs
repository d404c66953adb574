//! The keeper of old history: makes room for what is to come, and drops what is older than it has to be kept, a step at
//! a time; where there is an archive, only what lies there. Fed by the settings and the clock; tells readers through
//! [`Horizons`] how far back each kind reaches, and through [`Archives`] where the rest lies.
//!
//! Bound: one step is under way at a time, each some milliseconds of the writer (SQLite) or one partition beside it
//! (Postgres), and the store gets nine times as much rest as work. While transitions wait for the store nothing is
//! dropped. A step that fails is made again in the next round, a kind that fails does not keep the others.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::persister::StoreHealth;
use crate::clock::Clock;
use crate::domain::time::{Millis, rfc3339};
use crate::store::Store;
use crate::store::archive::{Archived, Archives, Part};
use crate::store::retention::{Horizons, Kind};

/// What is old is dropped when the start is over.
const FIRST: Duration = Duration::from_secs(60);
/// So much longer than a step is the pause after it.
const REST: u32 = 9;
/// Longest pause between two files, which are rested for while they are written.
const REST_MAX: Duration = Duration::from_secs(1);

/// How long each kind is kept, milliseconds; a kind that is not named is kept for ever.
pub type Ages = HashMap<Kind, Millis>;

/// Makes files of what is to be dropped.
#[async_trait]
pub trait Archivist: Send + Sync {
    /// Makes the file of a part, or finds that there is nothing in it; none: not yet, it is not all counted.
    async fn archive(&self, part: &Part) -> anyhow::Result<Option<Archived>>;
}

/// What is asked of the keeper.
pub struct Rules {
    /// How long each kind is kept.
    pub ages: Ages,
    /// How often it looks.
    pub every: Duration,
    /// Who makes files of what is dropped; none: nobody.
    pub archivist: Option<Arc<dyn Archivist>>,
}

/// The running keeper.
pub struct Keeper {
    horizons: Arc<Horizons>,
    archives: Arc<Archives>,
    task: JoinHandle<()>,
}

struct Task {
    store: Arc<dyn Store>,
    health: Arc<StoreHealth>,
    clock: Clock,
    rules: Rules,
    horizons: Arc<Horizons>,
    archives: Arc<Archives>,
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
        rules: Rules,
    ) -> anyhow::Result<Self> {
        let (horizons, archives) = (Arc::<Horizons>::default(), Arc::<Archives>::default());
        for (kind, before) in store.load_horizons().await? {
            horizons.note(kind, before);
        }
        archives.set(store.archived_files().await?);
        store.set_archiving(rules.archivist.is_some()).await?;
        let (store, done) = (Arc::clone(store), HashMap::new());
        let (of_task, files) = (Arc::clone(&horizons), Arc::clone(&archives));
        let task = Task { store, health, clock, rules, horizons: of_task, archives: files, done };
        Ok(Self { horizons, archives, task: tokio::spawn(task.run()) })
    }

    /// How far back each kind reaches.
    pub fn horizons(&self) -> Arc<Horizons> {
        Arc::clone(&self.horizons)
    }

    /// Where what was dropped lies.
    pub fn archives(&self) -> Arc<Archives> {
        Arc::clone(&self.archives)
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
        sleep(FIRST.min(self.rules.every)).await;
        loop {
            if let Err(error) = self.store.prepare(self.clock.today()).await {
                tracing::warn!("no room was made ahead for history, trying on: {error:#}");
            }
            // Files are also made, and written anew, by hand.
            match self.store.archived_files().await {
                Ok(files) => self.archives.set(files),
                Err(error) => tracing::warn!("the files of the archive cannot be listed, trying on: {error:#}"),
            }
            for kind in Kind::ALL {
                if let Err(error) = self.look_after(kind).await {
                    tracing::warn!(kind = kind.word(), "old history cannot be looked after, trying on: {error:#}");
                }
            }
            sleep(self.rules.every).await;
        }
    }

    async fn look_after(&mut self, kind: Kind) -> anyhow::Result<()> {
        let Some(age) = self.rules.ages.get(&kind) else { return Ok(()) };
        let before = kind.floor(self.clock.today() - age);
        let before = match self.rules.archivist.clone() {
            Some(archivist) => self.archive_all(&*archivist, kind, before).await?,
            None => Some(before),
        };
        match before {
            Some(before) if self.done.get(&kind).is_none_or(|done| *done < before) => self.drop_all(kind, before).await,
            _ => Ok(()),
        }
    }

    /// Makes a file of each part that is old enough, and answers what may be dropped: what lies before the end of the
    /// last one. None: nothing.
    async fn archive_all(
        &self,
        archivist: &dyn Archivist,
        kind: Kind,
        before: Millis,
    ) -> anyhow::Result<Option<Millis>> {
        while let Some(part) = self.store.next_part(kind, before).await? {
            self.until_the_store_has_time().await;
            let (from, began) = (rfc3339(part.from), Instant::now());
            let made = archivist.archive(&part).await;
            let made = made.with_context(|| format!("the archive of {} from {from} cannot be made", kind.word()));
            let Some(made) = made.inspect_err(|error| self.archives.note_fault(format!("{error:#}")))? else { break };
            self.archives.note_well();
            let (rows, bytes, took_ms) = (made.rows, made.bytes, began.elapsed().as_millis() as u64);
            tracing::info!(kind = kind.word(), from, rows, bytes, took_ms, "old history was archived as {}", made.file);
            self.archives.set(self.store.archived_files().await?);
            sleep(began.elapsed().min(REST_MAX)).await;
        }
        Ok(self.store.archived_until(kind).await?.map(|until| until.min(before)))
    }

    async fn until_the_store_has_time(&self) {
        while self.health.draining() {
            sleep(Duration::from_secs(1)).await;
        }
    }

    /// Every step of one kind. What is dropped is not told of from the moment before.
    async fn drop_all(&mut self, kind: Kind, before: Millis) -> anyhow::Result<()> {
        let (mut mark, mut rows, began) = (None, 0, Instant::now());
        loop {
            self.until_the_store_has_time().await;
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
        let (before, took) = (rfc3339(before), began.elapsed().as_millis() as u64);
        tracing::info!(kind = kind.word(), before, rows, took_ms = took, "old history was dropped");
        Ok(())
    }
}
