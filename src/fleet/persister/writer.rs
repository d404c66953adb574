//! The writer of transitions and blind intervals: into the store while it takes them, else into the spool. Fed by the
//! persister's queue, in order; tells the hub what is durable, and accepts the tokens of senders who waited for it.
//!
//! ```text
//! queue --> group --store answers in time--> durable
//!             |----else----> spool ----> durable
//!                              |--head, with backoff--> store, until the spool is empty; then directly again
//! ```
//! Order is kept because nothing goes to the store directly while something waits before it. What neither takes is
//! held: nothing more is taken from the queue, and both are tried on.

use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};

use super::health::StoreHealth;
use super::{Decided, Job};
use crate::domain::ids::VehicleKey;
use crate::domain::transition::Transition;
use crate::live::hub::{Durable, Hub};
use crate::store::spool::{Batch, Entry, RECORD_ROWS_MAX, Spool};
use crate::store::{ObservationGap, Store};

/// Transitions in one transaction: as many as wait, since those of neighbours are cheaper together, and so few that a
/// change that comes meanwhile waits for a second or two at most.
const GROUP_ROWS_MAX: usize = 50_000;
/// Fewer are not divided: a commit's cost is no longer small then.
const PAIR_ROWS_MIN: usize = 2_000;
/// Transitions the hub is told of at once.
const DURABLE_MAX: usize = 5_000;
/// A store that has not answered by then is slow: senders wait for this, and behind them whoever shares their
/// connection, so what it was asked to keep goes to the spool too. Its answer is not cut off; the store takes each
/// transition once. For each transition 100 us more, five times what either store needs.
const STORE_PATIENCE: Duration = Duration::from_millis(500);
const STORE_PATIENCE_A_ROW: Duration = Duration::from_micros(100);
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How often a full spool is asked again, and how often one with `spool_sync = "interval"` is synced.
const SPOOL_EVERY: Duration = Duration::from_secs(1);
/// At the end, a store that takes writes gets this long to empty the spool; the rest is replayed at the next start.
const LAST_DRAIN: Duration = Duration::from_secs(2);

/// What is written together.
#[derive(Default)]
struct Group {
    decided: Vec<Decided>,
    gaps: Vec<ObservationGap>,
}

/// A write to the store under way, of what waits first.
struct Attempt {
    outcome: BoxFuture<'static, anyhow::Result<()>>,
    brings: Brings,
}

enum Brings {
    /// The head of the spool.
    Spooled(Batch),
    /// What is held, or was when it began, as nothing waits before it.
    Held,
    /// What was held when it began, and went to the spool meanwhile; another group may be held now.
    Nothing,
}

/// The one that writes.
pub struct Writer {
    store: Arc<dyn Store>,
    hub: Addr<Hub>,
    health: Arc<StoreHealth>,
    spool: Option<Arc<Mutex<Spool>>>,
    held: Option<Group>,
    attempt: Option<Attempt>,
    pauses: ExponentialBackoff,
    /// The last attempt failed: pause before the next one.
    failed: bool,
}

/// 50 ms, doubling to 5 s, with jitter.
fn pauses() -> ExponentialBackoff {
    let pauses = ExponentialBuilder::default().with_min_delay(PAUSE_FIRST).with_max_delay(PAUSE_MAX);
    pauses.without_max_times().with_jitter().build()
}

/// Each vehicle's in one of them, and each of neighbours by their keys.
fn halves(rows: &[Transition]) -> (Vec<Transition>, Vec<Transition>) {
    let mut keys: Vec<&VehicleKey> = rows.iter().map(|row| &*row.key).collect();
    let (_, middle, _) = keys.select_nth_unstable(rows.len() / 2);
    let middle = *middle;
    rows.iter().cloned().partition(|row| *row.key < *middle)
}

async fn bring(store: Arc<dyn Store>, rows: Vec<Transition>, gaps: Vec<ObservationGap>) -> anyhow::Result<()> {
    for rows in rows.chunks(GROUP_ROWS_MAX) {
        if rows.len() >= PAIR_ROWS_MIN && store.commits_in_pairs() {
            let (first, second) = halves(rows);
            let (first, second) = tokio::join!(store.commit(&first), store.commit(&second));
            first.and(second)?;
        } else {
            store.commit(rows).await?;
        }
    }
    for gap in &gaps {
        store.record_gap(gap).await?;
    }
    Ok(())
}

impl Group {
    fn copy(&self) -> Entry {
        let transitions = self.decided.iter().map(|decided| (*decided.transition).clone()).collect();
        Entry { transitions, gaps: self.gaps.clone() }
    }
}

impl Writer {
    /// One that has written nothing yet.
    pub fn new(store: Arc<dyn Store>, spool: Option<Spool>, hub: Addr<Hub>, health: Arc<StoreHealth>) -> Self {
        if let Some(spool) = &spool {
            health.note_spool(spool.stats());
        }
        let spool = spool.map(|spool| Arc::new(Mutex::new(spool)));
        Self { store, hub, health, spool, held: None, attempt: None, pauses: pauses(), failed: false }
    }

    /// Writes until it is told to stop and everything before that is durable.
    pub async fn run(mut self, mut queue: mpsc::UnboundedReceiver<Job>) {
        let mut every = interval(SPOOL_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut next = None;
        loop {
            self.aim().await;
            if let Some(Job::Stop(done)) = next.take_if(|_| self.held.is_none()) {
                self.drain_a_little().await;
                let _ = done.send(());
                return;
            }
            let takes = self.held.is_none() && next.is_none();
            // Only receiving and waiting are cancelled here; an attempt stays where it is.
            tokio::select! {
                biased;
                outcome = under_way(&mut self.attempt) => self.attempted(outcome).await,
                _ = every.tick() => self.look_after_spool().await,
                job = queue.recv(), if takes => match job {
                    Some(job) => next = self.take(job, &mut queue).await,
                    None => return,
                },
            }
        }
    }

    /// Writes this job and what is queued behind it, as one group; gives back the order to stop that ended it.
    async fn take(&mut self, job: Job, queue: &mut mpsc::UnboundedReceiver<Job>) -> Option<Job> {
        let mut group = Group::default();
        let mut next = Some(job);
        while let Some(job) = next.take() {
            match job {
                Job::Transitions(decided) => group.decided.extend(decided),
                Job::Gap(gap) => group.gaps.push(gap),
                stop @ Job::Stop(_) => {
                    next = Some(stop);
                    break;
                }
            }
            if group.decided.len() < GROUP_ROWS_MAX {
                next = queue.try_recv().ok();
            }
        }
        self.write(group).await;
        next
    }

    async fn write(&mut self, group: Group) {
        if group.decided.is_empty() && group.gaps.is_empty() {
            return;
        }
        if self.attempt.is_none() {
            let Entry { transitions, gaps } = group.copy();
            let patience = STORE_PATIENCE + STORE_PATIENCE_A_ROW * transitions.len() as u32;
            let late = |_| Err(anyhow::anyhow!("the store did not answer within {patience:?}"));
            let written = timeout(patience, bring(Arc::clone(&self.store), transitions, gaps)).await;
            let outcome = written.unwrap_or_else(late);
            self.health.note(&outcome);
            if outcome.is_ok() {
                self.durable(group.decided).await;
                return;
            }
            self.failed = true;
        }
        if let Some(attempt) = self.attempt.as_mut().filter(|attempt| matches!(attempt.brings, Brings::Held)) {
            attempt.brings = Brings::Nothing;
        }
        self.held = Some(group);
        self.spool_held().await;
    }

    /// Brings what is held to the spool, record by record; what does not fit stays held.
    async fn spool_held(&mut self) {
        let Some(Group { decided, gaps }) = self.held.take() else { return };
        let Some(spool) = self.spool.clone() else {
            self.held = Some(Group { decided, gaps });
            return self.health.note_stuck(self.health.fault());
        };
        let (mut left, mut gaps) = (decided, gaps);
        while !(left.is_empty() && gaps.is_empty()) {
            let rest = left.split_off(left.len().min(RECORD_ROWS_MAX));
            let rows: Vec<_> = left.iter().map(|decided| Arc::clone(&decided.transition)).collect();
            let (spool, intervals) = (Arc::clone(&spool), gaps.clone());
            let appended = on_disk(move || {
                let mut spool = spool.lock();
                let outcome = spool.append(&rows, &intervals);
                (outcome, spool.stats())
            });
            let Some((outcome, stats)) = appended.await else { return };
            self.health.note_spool(stats);
            if let Err(error) = outcome {
                left.extend(rest);
                self.held = Some(Group { decided: left, gaps });
                return self.health.note_stuck(Some(format!("{error:#}")));
            }
            gaps.clear();
            self.durable(std::mem::replace(&mut left, rest)).await;
        }
        self.health.note_stuck(None);
    }

    /// Senders are told, and the hub.
    async fn durable(&mut self, decided: Vec<Decided>) {
        self.health.durable(decided.len());
        let mut durable = Vec::with_capacity(decided.len());
        for Decided { transition, token } in decided {
            if let Some(token) = token {
                token.accept();
            }
            durable.push(transition);
        }
        // In parts, so that the hub does not keep heartbeats waiting.
        while !durable.is_empty() {
            let rest = durable.split_off(durable.len().min(DURABLE_MAX));
            let _ = self.hub.send(Durable(std::mem::replace(&mut durable, rest))).await;
        }
    }

    /// When something waits for the store and nothing is under way, begins to bring what waits first.
    async fn aim(&mut self) {
        self.begin().await;
        self.health.note_draining(self.attempt.is_some());
    }

    async fn begin(&mut self) {
        while self.attempt.is_none() {
            let mut batch = self.head().await;
            let Entry { transitions, gaps } = match (&mut batch, &self.held) {
                (Some(batch), _) => std::mem::take(&mut batch.entry),
                (None, Some(held)) => held.copy(),
                (None, None) => return,
            };
            if let Some(batch) = batch.take_if(|_| transitions.is_empty() && gaps.is_empty()) {
                // Nothing of it could be read, or nothing was ever appended to it: that is no news of the store.
                self.forget(batch).await;
                continue;
            }
            let pause = if self.failed { self.pauses.next().unwrap_or(PAUSE_MAX) } else { Duration::ZERO };
            let store = Arc::clone(&self.store);
            let outcome = Box::pin(async move {
                tokio::time::sleep(pause).await;
                bring(store, transitions, gaps).await
            });
            self.attempt = Some(Attempt { outcome, brings: batch.map_or(Brings::Held, Brings::Spooled) });
        }
    }

    /// An attempt came to its end.
    async fn attempted(&mut self, outcome: anyhow::Result<()>) {
        let brings = self.attempt.take().map_or(Brings::Nothing, |attempt| attempt.brings);
        self.health.note(&outcome);
        self.failed = outcome.is_err();
        if self.failed {
            return;
        }
        self.pauses = pauses();
        match brings {
            Brings::Nothing => {}
            Brings::Spooled(batch) => {
                self.forget(batch).await;
                // There may be room again.
                self.spool_held().await;
            }
            Brings::Held => {
                if let Some(held) = self.held.take() {
                    self.durable(held.decided).await;
                }
                self.health.note_stuck(None);
            }
        }
    }

    async fn look_after_spool(&mut self) {
        self.spool_held().await;
        let Some(spool) = self.spool.clone() else { return };
        if let Some(Err(error)) = on_disk(move || spool.lock().sync()).await {
            tracing::warn!("the spool could not be synced: {error}");
        }
    }

    async fn head(&mut self) -> Option<Batch> {
        let spool = Arc::clone(self.spool.as_ref()?);
        if spool.lock().is_empty() {
            return None;
        }
        let (batch, stats) = on_disk(move || {
            let mut spool = spool.lock();
            (spool.head(GROUP_ROWS_MAX), spool.stats())
        })
        .await?;
        self.health.note_spool(stats);
        batch
    }

    async fn forget(&mut self, batch: Batch) {
        let Some(spool) = self.spool.clone() else { return };
        let stats = on_disk(move || {
            let mut spool = spool.lock();
            spool.forget(&batch);
            spool.stats()
        });
        if let Some(stats) = stats.await {
            self.health.note_spool(stats);
        }
    }

    async fn drain_a_little(&mut self) {
        let until = Instant::now() + LAST_DRAIN;
        while self.health.fault().is_none() && self.attempt.is_some() {
            let Ok(outcome) = timeout_at(until, under_way(&mut self.attempt)).await else { break };
            self.attempted(outcome).await;
            self.aim().await;
        }
        let left = self.health.spool().map_or(0, |spool| spool.rows);
        if left > 0 {
            tracing::warn!(left, "transitions stay in the spool until the next start");
        }
        if let Some(spool) = self.spool.clone() {
            let _ = on_disk(move || spool.lock().sync()).await;
        }
    }
}

/// The outcome of the attempt under way; never, when there is none.
async fn under_way(attempt: &mut Option<Attempt>) -> anyhow::Result<()> {
    match attempt {
        Some(attempt) => (&mut attempt.outcome).await,
        None => std::future::pending().await,
    }
}

/// Work on files, off the runtime's own threads; none when the runtime is ending.
async fn on_disk<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract_tests::samples::{key, transition};

    #[test]
    fn halves_divide_vehicles_and_not_their_transitions() {
        let of = |n: u64| transition(&key("acme", &format!("v{}", n % 7)), n, 50);
        let rows: Vec<_> = (1..=5_000).map(of).collect();
        let (first, second) = halves(&rows);
        assert_eq!(first.len() + second.len(), rows.len());
        assert!(first.len().abs_diff(second.len()) <= 5_000 / 7 + 1);
        let last = first.iter().map(|row| &row.key).max().unwrap();
        assert!(second.iter().all(|row| row.key > *last), "no vehicle is in both");
        for half in [first, second] {
            assert!(half.is_sorted_by_key(|row| row.change.seq), "in the order they came");
        }
    }

    #[test]
    fn one_vehicle_alone_is_in_one_half() {
        let one = key("acme", "1");
        let rows: Vec<_> = (1..=9).map(|seq| transition(&one, seq, 50)).collect();
        let (first, second) = halves(&rows);
        assert_eq!((first.len(), second.len()), (0, 9));
    }
}
