//! The rollup task: brings counted heartbeats and stored transitions into the statistics, off the live path.
//! Fed by the registry's counts and by the marks that the store sets with every transition; read by REST and SSE
//! through [`Counted`], which says how far it came.
//!
//! Bound: counts of an hour, for each customer, wait while the store takes nothing; past that they are dated a minute
//! later than they came. One write is under way at a time, and the store gets nine times as much rest as work.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::checkpoint::alive_until;
use super::persister::StoreHealth;
use super::registry::Registry;
use crate::domain::calendar::MINUTE;
use crate::domain::time::Millis;
use crate::live::feed::Feed;
use crate::store::Store;
use crate::store::stats::Beats;

/// Minutes whose counts wait at most.
const MINUTES_MAX: usize = 60;
/// Marked minutes counted in one transaction: some 10 ms, and a transition that comes meanwhile waits for no more.
const MINUTES_A_STEP: u32 = 20;
/// When more minutes are marked, such as at the first start over an old database, they are worked off in pieces.
const WORK_MAX: Duration = Duration::from_secs(1);
/// So much longer than the work before it is each pause at least: a tenth of the writer's time.
const REST: u32 = 9;
/// How long the last write may take when the service stops. Marks that are left are counted at the next start.
const STOP_MAX: Duration = Duration::from_secs(1);

/// How far the statistics are.
#[derive(Debug)]
pub struct Counted {
    until: AtomicI64,
    writes: watch::Sender<u64>,
}

impl Default for Counted {
    fn default() -> Self {
        Self { until: AtomicI64::new(0), writes: watch::Sender::new(0) }
    }
}

impl Counted {
    /// Everything that was decided up to then is counted; no bucket before it changes any more, unless a decision is
    /// dated back.
    pub fn until(&self) -> Millis {
        self.until.load(Relaxed)
    }

    /// Tells when something may have been counted.
    pub fn writes(&self) -> watch::Receiver<u64> {
        self.writes.subscribe()
    }
}

/// The running task.
pub struct Rollups {
    counted: Arc<Counted>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Rollups {
    /// Begins to count, every so often.
    pub fn start(
        store: Arc<dyn Store>,
        registry: Arc<Registry>,
        feed: Arc<Feed>,
        health: Arc<StoreHealth>,
        every: Millis,
    ) -> Self {
        let (stop, stopped) = oneshot::channel();
        let counted = Arc::<Counted>::default();
        let sampled = feed.clock().today();
        let (number, waiting, failing) = (0, Waiting::default(), false);
        let task = Task {
            store,
            registry,
            feed,
            health,
            counted: Arc::clone(&counted),
            every,
            sampled,
            number,
            waiting,
            failing,
        };
        Self { counted, stop, task: tokio::spawn(task.run(stopped)) }
    }

    /// How far it is.
    pub fn counted(&self) -> Arc<Counted> {
        Arc::clone(&self.counted)
    }

    /// Counts a last time; returns when done.
    pub async fn stop(self) {
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

/// Counts on their way to the store, by the minute they came in.
#[derive(Debug, Default)]
struct Waiting(BTreeMap<Millis, HashMap<Arc<str>, u64>>);

impl Waiting {
    fn add(&mut self, minute: Millis, counts: HashMap<Arc<str>, u64>) {
        if counts.is_empty() {
            return;
        }
        let sums = self.0.entry(minute).or_default();
        counts.into_iter().for_each(|(customer, count)| *sums.entry(customer).or_default() += count);
        if self.0.len() > MINUTES_MAX
            && let (Some((_, oldest)), Some(next)) = (self.0.pop_first(), self.0.keys().next().copied())
        {
            self.add(next, oldest);
        }
    }

    fn take(&mut self) -> Arc<Vec<Beats>> {
        let minutes = std::mem::take(&mut self.0).into_iter();
        let beats = minutes.flat_map(|(minute, counts)| {
            counts.into_iter().map(move |(customer, count)| Beats { customer: customer.to_string(), minute, count })
        });
        Arc::new(beats.collect())
    }
}

struct Task {
    store: Arc<dyn Store>,
    registry: Arc<Registry>,
    feed: Arc<Feed>,
    health: Arc<StoreHealth>,
    counted: Arc<Counted>,
    every: Millis,
    /// When the registry's counts were taken last: what is taken next came since.
    sampled: Millis,
    /// Number of the addition under way, or of the last one.
    number: i64,
    waiting: Waiting,
    failing: bool,
}

/// One write, until it succeeds always with the same number and counts.
struct Addition {
    number: i64,
    beats: Arc<Vec<Beats>>,
}

/// How a write ended.
struct Outcome {
    /// The addition, if it has to be made again.
    again: Option<Addition>,
    /// Whether every mark was counted.
    rolled: anyhow::Result<bool>,
    /// Everything decided until then was in the store when it began.
    until: Option<Millis>,
    took: Duration,
}

impl Task {
    async fn run(mut self, mut stop: oneshot::Receiver<()>) {
        let (mut writing, mut again) = (None, None);
        let mut rest_until = Instant::now();
        loop {
            tokio::select! {
                biased;
                _ = &mut stop => break,
                outcome = finished(&mut writing) => {
                    rest_until = Instant::now() + outcome.took * REST;
                    again = self.ended(outcome);
                }
                () = sleep(self.until_next_sample()) => {
                    self.sample();
                    if writing.is_none() && Instant::now() >= rest_until && !self.health.draining() {
                        let addition = again.take().unwrap_or_else(|| self.addition());
                        writing = Some(self.write(addition));
                    }
                }
            }
        }
        let last = async {
            if writing.is_some() {
                again = self.ended(finished(&mut writing).await);
            }
            self.sample();
            for addition in [again.take(), Some(self.addition())].into_iter().flatten() {
                writing = Some(self.write(addition));
                drop(self.ended(finished(&mut writing).await));
            }
        };
        if timeout(STOP_MAX, last).await.is_err() {
            tracing::warn!("stopped before the last heartbeats were counted; statuses are complete");
        }
    }

    /// At every multiple of the interval, and of the minute: what is counted then came in the minute that ends.
    fn until_next_sample(&self) -> Duration {
        let today = self.feed.clock().today();
        let next = |every: Millis| every - today.rem_euclid(every);
        Duration::from_millis(next(self.every).min(next(MINUTE)) as u64)
    }

    fn sample(&mut self) {
        let since = std::mem::replace(&mut self.sampled, self.feed.clock().today());
        self.waiting.add(since - since.rem_euclid(MINUTE), self.registry.take_beats());
    }

    fn addition(&mut self) -> Addition {
        self.number += 1;
        Addition { number: self.number, beats: self.waiting.take() }
    }

    fn write(&self, addition: Addition) -> JoinHandle<Outcome> {
        // In this order: what is on the board by then was handed to the persister before, and nothing waits there.
        let until = alive_until(&self.registry, &self.feed);
        let until = (self.health.waiting() == 0).then_some(until);
        tokio::spawn(write(Arc::clone(&self.store), addition, until))
    }

    /// Notes how a write ended; gives back what has to be written again.
    fn ended(&mut self, outcome: Outcome) -> Option<Addition> {
        match outcome.rolled {
            Ok(all) => {
                self.failing = false;
                if let Some(until) = outcome.until.filter(|_| all) {
                    self.counted.until.store(until, Relaxed);
                }
                self.counted.writes.send_modify(|writes| *writes += 1);
            }
            Err(error) if !self.failing => {
                self.failing = true;
                tracing::warn!("statistics cannot be counted, trying on: {error:#}");
            }
            Err(_) => {}
        }
        outcome.again
    }
}

async fn write(store: Arc<dyn Store>, addition: Addition, until: Option<Millis>) -> Outcome {
    let began = Instant::now();
    let mut again = Some(addition);
    let rolled = async {
        if let Some(Addition { number, beats }) = again.as_ref().filter(|addition| !addition.beats.is_empty()) {
            store.add_beats(*number, beats).await?;
        }
        again = None;
        while store.roll_up(MINUTES_A_STEP).await? {
            if began.elapsed() > WORK_MAX {
                return Ok(false);
            }
        }
        Ok(true)
    };
    let rolled = rolled.await;
    Outcome { again, rolled, until, took: began.elapsed() }
}

/// The end of the write under way; never, when there is none.
async fn finished(writing: &mut Option<JoinHandle<Outcome>>) -> Outcome {
    let Some(task) = writing else { return std::future::pending().await };
    let outcome = task.await;
    *writing = None;
    let broken =
        |error| Outcome { again: None, rolled: Err(anyhow::Error::from(error)), until: None, took: Duration::ZERO };
    outcome.unwrap_or_else(broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_that_wait_are_bounded_by_an_hour_and_none_is_lost() {
        let mut waiting = Waiting::default();
        for minute in 0..200 {
            waiting.add(minute * MINUTE, HashMap::from([("acme".into(), 2), ("birch".into(), 1)]));
        }
        assert_eq!(waiting.0.len(), MINUTES_MAX);
        let beats = waiting.take();
        assert_eq!(beats.len(), 2 * MINUTES_MAX);
        assert_eq!(beats.iter().map(|beats| beats.count).sum::<u64>(), 600);
        assert_eq!(beats.iter().map(|beats| beats.minute).min(), Some(140 * MINUTE));
        assert!(waiting.take().is_empty());
    }
}
