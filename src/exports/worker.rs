//! The one task that works on the queue: claims what waits, says that it is still worked on, writes down how each try
//! ended, and takes away what is too old.
//! Fed by the store and by the threads of run.rs; woken by orders, and once a second. Bound: `exports.parallel` tries,
//! and as many outcomes that the store has not taken yet; while it does not, nothing new begins.
//! On death of the process every lease ends; on a clean stop they are given back.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::run::{self, Ended, Job, Outcome};
use super::source::Progress;
use super::{CANCEL, Exports, STOP, Ticket};
use crate::domain::export::pause_after;
use crate::live::feed::Feed;
use crate::store::exports::{Claim, Ending, StoredExport};

/// How often the queue is looked at when nobody orders anything: a try may be due again.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often files that no row names are looked for, and old rows forgotten.
const SWEEP_EVERY: Duration = Duration::from_secs(3_600);
/// How long the tries under way may take to notice a stop: a page, or a piece of an upload.
const STOP_MAX: Duration = Duration::from_secs(2);
/// How long the store may then take to hear of it.
const GIVE_BACK_MAX: Duration = Duration::from_secs(2);

/// The running task.
pub struct Worker {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Worker {
    /// Begins to work on the queue.
    pub fn start(exports: Arc<Exports>, feed: Arc<Feed>) -> Self {
        let (stop, stopped) = oneshot::channel();
        let (tell, ended) = mpsc::channel(exports.settings.parallel as usize);
        let desk = Desk { exports, feed, tell, ended, unwritten: Vec::new(), renewed: Instant::now(), failing: false };
        Self { stop, task: tokio::spawn(desk.work(stopped)) }
    }

    /// Ends the tries under way and gives their leases back. A place of files that does not answer is not waited for:
    /// then the leases end by themselves.
    pub async fn stop(mut self) {
        let _ = self.stop.send(());
        if tokio::time::timeout(STOP_MAX + GIVE_BACK_MAX, &mut self.task).await.is_err() {
            tracing::warn!("stopped in the middle of an export; the next start begins it again");
            self.task.abort();
        }
    }
}

struct Desk {
    exports: Arc<Exports>,
    feed: Arc<Feed>,
    tell: mpsc::Sender<Ended>,
    ended: mpsc::Receiver<Ended>,
    /// Outcomes that the store has not taken.
    unwritten: Vec<Ended>,
    renewed: Instant,
    /// The store did not answer the last time; said once.
    failing: bool,
}

impl Desk {
    async fn work(mut self, mut stopped: oneshot::Receiver<()>) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut swept: Option<Instant> = None;
        loop {
            tokio::select! {
                _ = &mut stopped => break,
                _ = look.tick() => {}
                () = self.exports.wake.notified() => {}
                Some(ended) = self.ended.recv() => self.unwritten.push(ended),
            }
            let mut outcome = self.turn().await;
            if outcome.is_ok() && swept.is_none_or(|swept| swept.elapsed() >= SWEEP_EVERY) {
                swept = Some(Instant::now());
                outcome = self.exports.sweep().await;
            }
            match outcome {
                Ok(()) => self.failing = false,
                Err(error) if !self.failing => {
                    self.failing = true;
                    tracing::warn!("exports cannot go on, trying on: {error:#}");
                }
                Err(_) => {}
            }
        }
        self.give_back().await;
    }

    async fn turn(&mut self) -> anyhow::Result<()> {
        while let Some(ended) = self.unwritten.last() {
            self.exports.write_end(ended).await?;
            self.unwritten.pop();
        }
        self.renew().await?;
        while self.exports.running() < self.exports.settings.parallel as usize {
            let Some(export) = self.claim().await? else { break };
            self.begin(export).await?;
        }
        self.exports.expire().await
    }

    async fn claim(&self) -> anyhow::Result<Option<StoredExport>> {
        let settings = &self.exports.settings;
        let now = self.exports.clock.today();
        let claim = Claim {
            now,
            lease: now + settings.lease.0,
            mine: self.exports.running.lock().keys().copied().collect(),
            per_tenant: settings.parallel_per_customer,
            attempts_max: settings.attempts_max,
        };
        self.exports.store.claim_export(&claim).await
    }

    async fn begin(&self, export: StoredExport) -> anyhow::Result<()> {
        let settings = &self.exports.settings;
        let (_, there) = self.exports.store.export_files().await?;
        // Those under way share what is left, so that together they do not take more.
        let left = settings.total_bytes_max.saturating_sub(there) / u64::from(settings.parallel);
        let (id, ticket) = (export.id, Arc::new(Ticket::of(&export)));
        self.exports.running.lock().insert(id, Arc::clone(&ticket));
        let progress = Progress::of(&export.order, &self.feed);
        let job = Job { export, ticket, bytes_max: left, progress };
        let begun = run::start(Arc::clone(&self.exports), Arc::clone(&self.feed), job, self.tell.clone());
        if begun.is_err() {
            self.exports.running.lock().remove(&id);
        }
        Ok(begun?)
    }

    /// Says three times a lease that they are still worked on, and how far they are.
    async fn renew(&mut self) -> anyhow::Result<()> {
        let lease = self.exports.settings.lease;
        if self.renewed.elapsed() < lease.std() / 3 {
            return Ok(());
        }
        let running: Vec<_> = self.exports.running.lock().values().map(Arc::clone).collect();
        for ticket in running {
            let until = self.exports.clock.today() + lease.0;
            if !self.exports.store.hold_export(ticket.which, until, ticket.done()).await? {
                ticket.tell(CANCEL);
            }
        }
        self.renewed = Instant::now();
        Ok(())
    }

    async fn give_back(mut self) {
        self.exports.running.lock().values().for_each(|ticket| ticket.tell(STOP));
        let all = async {
            while self.exports.running() > self.unwritten.len() {
                let Some(ended) = self.ended.recv().await else { return };
                self.unwritten.push(ended);
            }
        };
        if tokio::time::timeout(STOP_MAX, all).await.is_err() {
            tracing::info!("an export did not end in time; its lease will");
        }
        for ended in &self.unwritten {
            if let Err(error) = self.exports.write_end(ended).await {
                tracing::warn!("the lease of export {} could not be given back: {error:#}", ended.ticket.which.id);
            }
        }
    }
}

impl Exports {
    /// Writes down how a try ended. It may be said again when the store did not answer.
    async fn write_end(&self, ended: &Ended) -> anyhow::Result<()> {
        let Ended { ticket, outcome } = ended;
        let (which, now) = (ticket.which, self.clock.today());
        let (count, is_kept) = match outcome {
            Outcome::Kept => {
                let expires = now + self.settings.retention.0;
                let is_kept = self.store.finish_export(which, &ticket.file, ticket.done(), now, expires).await?;
                (is_kept.then_some(&self.counts.finished), is_kept)
            }
            // When it was cancelled the store knows, and this changes nothing.
            Outcome::Stopped => {
                self.store.end_export(which, &Ending::GivenBack, None).await?;
                (None, false)
            }
            Outcome::Failed { error, for_good } => {
                let is_last = *for_good || which.attempt >= self.settings.attempts_max;
                let again = now + pause_after(which.attempt, self.settings.retry_delay.0);
                let ending = if is_last { Ending::Never(now) } else { Ending::Again(again) };
                self.store.end_export(which, &ending, Some(error)).await?;
                tracing::warn!(export.id = %which.id, attempt = which.attempt, is_last, "an export failed: {error}");
                (Some(if is_last { &self.counts.failed } else { &self.counts.tried }), false)
            }
        };
        if let Some(count) = count {
            count.fetch_add(1, Relaxed);
        }
        self.running.lock().remove(&which.id);
        if !is_kept && let Err(error) = self.storage.remove(&ticket.file).await {
            tracing::debug!("the file {} stays until it is swept away: {error:#}", ticket.file);
        }
        Ok(())
    }
}
