//! The oracle: runs a scenario against a product that it starts and hurts itself, and compares everything the product
//! said with what the vehicles really did.
//!
//! ```text
//!  scenario -> stage (product, broker, store, proxies) <--hurts-- director --incidents--> excuses
//!     |                     ^                  |                                             |
//!     +-> fleet --beats-----+                  +--WebSocket--> follower -> view              v
//!          +--record of every beat-------------------------------------------------------> judge -> tally -> outcome
//!                                              REST, store -> doors -------------------------^
//! ```

mod bystander;
mod director;
mod doors;
mod follower;
mod incident;
mod judge;
mod outcome;
pub mod process;
mod proxy;
mod scenario;
pub mod servers;
mod stage;
mod tally;
mod view;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, anyhow};
use nix::sys::signal::Signal;
use tokio::{
    sync::{Mutex, watch},
    time::{self, Instant},
};

use self::{
    bystander::{Bystander, Stall},
    director::Director,
    doors::{Doors, History, unstep},
    follower::Follower,
    incident::{Effect, Excuses, Incident, Window},
    judge::{Case, Court, judge},
    stage::Stage,
    tally::{Tallies, Wrong},
    view::View,
};
pub use self::{
    outcome::{FaultReport, Outcome},
    scenario::{Kind, Scenario, Stack},
    stage::StageFlags,
    tally::Counts,
};
use crate::{
    control::{Control, Name},
    fleet,
    options::{Options, Qos},
    report::Report,
    verify::{client::Reader, verdict::Percentiles},
};

/// Shorter gaps need no explanation, a few times a run: a stalled machine is not always seen by a bystander.
const GAP_ALLOWED_MS: u64 = 1_000;
const GAPS_ALLOWED: u32 = 3;
/// A stall of the machine explains a gap that begins or ends this close to it.
const STALL_NEAR_MS: u64 = 1_000;
/// How often the product's memory is looked at.
const USAGE_PAUSE: Duration = Duration::from_millis(500);
/// The product writes down what it owes; after an outage of its store that takes a while.
const QUIET_LIMIT: Duration = Duration::from_secs(180);
const QUIET_PAUSE: Duration = Duration::from_millis(200);
/// The pictures are compared again while they still move.
const PICTURES_MAX: u32 = 10;

/// Highest memory in KiB and open descriptors of the product.
type Peaks = Arc<(AtomicU64, AtomicU64)>;

/// Runs a scenario to its end. `options` are the fleet's, after the command line had its say. `hand` is shown the
/// running stage once: a test that sabotages something takes the addresses from there.
pub async fn run(
    scenario: &Scenario,
    mut options: Options,
    flags: &StageFlags,
    hand: impl FnOnce(&str, &str),
) -> anyhow::Result<Outcome> {
    options.check_record()?;
    let stage = Arc::new(Stage::build(scenario, &options, flags).await?);
    let ghosts = scenario.fault.iter().filter(|fault| fault.kind == Kind::RetainedReplay).map(|fault| fault.vehicles);
    let ghosts = ghosts.max().unwrap_or(0);
    if ghosts > 0 && stage.stack == Stack::External {
        // Retained messages reach a subscriber as such only when it subscribes after them.
        Director::leave_retained(&stage, ghosts).await?;
    }
    *stage.product.lock().await = Some(stage.start_product(Duration::ZERO).await?);
    hand(&stage.http, &stage.store);
    let length = options.duration.take().context("a scenario needs a duration ([fleet] or --duration)")?;
    (options.broker, options.record, options.verify) = (stage.broker.clone(), true, None);
    let run = Run::begin(scenario, options, stage).await?;
    run.finish(scenario, length).await
}

/// A scenario under way.
struct Run {
    options: Options,
    stage: Arc<Stage>,
    reader: Reader,
    names: Vec<Name>,
    index: HashMap<Name, u32>,
    control: Control,
    fleet: tokio::task::JoinHandle<anyhow::Result<Report>>,
    director: Arc<Director>,
    view: Arc<Mutex<View>>,
    stop_following: watch::Sender<bool>,
    bystander: Bystander,
    peaks: Peaks,
    begun_ms: u64,
}

impl Run {
    async fn begin(scenario: &Scenario, options: Options, stage: Arc<Stage>) -> anyhow::Result<Self> {
        let reader = Reader::new(&stage.url(), None)?;
        let asked = Instant::now();
        while !reader.status().await.is_ok_and(|status| status.listening) {
            anyhow::ensure!(asked.elapsed() < scenario.recovery, "the product started and does not listen");
            time::sleep(QUIET_PAUSE).await;
        }
        let names = fleet::names(&options);
        let index: HashMap<Name, u32> = names.iter().cloned().zip(0..).collect();
        let (control, fleet) = fleet::start(options.clone())?;
        let clock = control.ledger().clock;
        let follower = Follower::new(&stage.live, clock, index.clone());
        let (view, (stop_following, told)) = (follower.view(), watch::channel(false));
        tokio::spawn(follower.follow(told));
        let peaks = Peaks::default();
        tokio::spawn(watch_usage(stage.clone(), peaks.clone()));
        let director = Arc::new(Director {
            stage: stage.clone(),
            control: control.clone(),
            clock,
            recovery: scenario.recovery,
            reader: reader.clone(),
        });
        let (bystander, begun_ms) = (Bystander::watch(clock), clock.epoch_ms());
        Ok(Self {
            options,
            stage,
            reader,
            names,
            index,
            control,
            fleet,
            director,
            view,
            stop_following,
            bystander,
            peaks,
            begun_ms,
        })
    }

    /// Lets the scenario happen, waits until nothing moves any more, and compares.
    async fn finish(mut self, scenario: &Scenario, length: Duration) -> anyhow::Result<Outcome> {
        let begun = Instant::now();
        let incidents = self.director.clone().run(scenario, begun).await?;
        time::sleep_until(begun + length).await;
        self.control.stop();
        let fleet = (&mut self.fleet).await.map_err(|error| anyhow!("the fleet broke down: {error}"))??;
        self.until_quiet().await?;
        self.compare(scenario, incidents, fleet).await
    }

    async fn compare(self, scenario: &Scenario, incidents: Vec<Incident>, fleet: Report) -> anyhow::Result<Outcome> {
        let cut_ms = self.control.ledger().clock.epoch_ms();
        let stalls = self.bystander.tell();
        let rules = self.options.rules();
        let after_ms = rules.offline_after_ms + rules.tolerance_ms;
        let mut tallies = Tallies::new(&incidents, after_ms);
        let steps_ms = steps_ms(scenario, &incidents);
        let run_ms = (self.begun_ms.saturating_sub(60_000), cut_ms + 60_000);
        let history = History::read(&self.reader, &self.index, run_ms, &steps_ms).await?;
        let doors = Doors { names: &self.names, index: &self.index, history: &history, now_ms: cut_ms };
        let transitions = doors.check_store(&self.stage.store, &mut tallies).await?;
        let pictures = compare_pictures(&doors, &self.reader, &self.view, &mut tallies).await;
        self.stop_following.send_replace(true);
        pictures?;
        let view = self.view.lock().await;
        doors.check_told(&view, &mut tallies);
        doors.check_strangers(&mut tallies);

        let gaps = self.reader.gaps().await?;
        let at = |time| unstep(epoch_ms(time), run_ms, &steps_ms);
        let gaps = gaps.iter().map(|gap| (at(gap.from), gap.to.map_or(cut_ms, at), gap.scope.as_str()));
        let forgotten_ms = scenario.checkpoint.as_millis() as u64;
        let excuses =
            excuses(&incidents, gaps.collect(), &stalls, (self.begun_ms, cut_ms, after_ms), forgotten_ms, &mut tallies);
        let court = Court {
            rules,
            excuses: &excuses,
            base_ms: self.control.ledger().clock.started_epoch_ms(),
            cut_ms,
            acknowledges: self.options.qos == Qos::AtLeastOnce,
            fresh: true,
        };
        judge_all(&court, &self.names, &self.control, &history, &mut tallies);
        end_product(&self.stage, cut_ms, &mut tallies).await;

        let (total, counts, findings) = tallies.conclude();
        let faults = incidents.into_iter().zip(counts);
        Ok(Outcome {
            scenario: scenario.name.clone(),
            stack: self.stage.stack,
            fleet,
            total,
            faults: faults.map(|(incident, counts)| FaultReport { incident, counts }).collect(),
            transitions,
            told: view.told.values().map(|told| told.len() as u64).sum(),
            connections: view.connections,
            announced_gaps: view.dropped,
            push_lag_ms: Percentiles::of(view.push_lags.clone()),
            peak_rss_kib: self.peaks.0.load(Ordering::Relaxed),
            peak_descriptors: self.peaks.1.load(Ordering::Relaxed),
            stalled_ms: stalls.iter().map(|(from_ms, to_ms)| to_ms - from_ms).sum(),
            findings,
        })
    }

    /// The fleet has stopped: waits until the product has called everybody offline and written it down, but no longer
    /// than it may take. Then nothing moves any more, and all that is left to happen has had its chance to.
    async fn until_quiet(&self) -> anyhow::Result<()> {
        let rules = self.options.rules();
        time::sleep(Duration::from_millis(rules.offline_after_ms + 2 * rules.tolerance_ms)).await;
        let until = Instant::now() + QUIET_LIMIT;
        loop {
            let status = self.reader.status().await;
            match status {
                Ok(status) if status.vehicles.online + status.vehicles.unobserved + status.store.spool_rows == 0 => {
                    // What was stored last is told and drawn a moment later.
                    time::sleep(Duration::from_millis(2 * rules.tolerance_ms)).await;
                    return Ok(());
                }
                Err(error) if Instant::now() > until => return Err(error),
                _ if Instant::now() > until => return Ok(()),
                _ => time::sleep(QUIET_PAUSE).await,
            }
        }
    }
}

/// Compares the pictures until they agree; what still differs then is an error.
async fn compare_pictures(
    doors: &Doors<'_>,
    reader: &Reader,
    view: &Mutex<View>,
    tallies: &mut Tallies,
) -> anyhow::Result<()> {
    for attempt in 1..=PICTURES_MAX {
        let mut trial = Tallies::new(&[], 0);
        let last = attempt == PICTURES_MAX;
        let into = if last { &mut *tallies } else { &mut trial };
        if doors.check_pictures(reader, &*view.lock().await, into).await? || last {
            break;
        }
        time::sleep(QUIET_PAUSE).await;
    }
    Ok(())
}

fn judge_all(court: &Court<'_>, names: &[Name], control: &Control, history: &History, tallies: &mut Tallies) {
    for (vehicle, (customer, name)) in (0..).zip(names) {
        let entries = control.ledger().records.read(vehicle);
        let seen = history.of.get(&vehicle).cloned().unwrap_or_default();
        judge(court, Case { name: &format!("{customer}/{name}"), entries: &entries, seen }, tallies);
    }
}

/// The faults that were done, and the product's own gaps where somebody else can vouch for them. A gap that nobody can
/// explain is one error; what follows from it is not another.
fn excuses(
    incidents: &[Incident],
    gaps: Vec<(u64, u64, &str)>,
    stalls: &[Stall],
    (begun_ms, cut_ms, after_ms): (u64, u64, u64),
    forgotten_ms: u64,
    tallies: &mut Tallies,
) -> Excuses {
    let done = incidents.iter().filter(|one| one.skipped.is_none());
    let mut windows: Vec<Window> = done.map(|one| one.window(forgotten_ms)).collect();
    let faults = Excuses::new(windows.clone());
    let mut allowed = GAPS_ALLOWED;
    let in_run = gaps.into_iter().filter(|(from_ms, to_ms, _)| *to_ms > begun_ms && *from_ms < cut_ms);
    let gaps: Vec<_> = in_run.collect();
    tallies.blind(gaps.iter().map(|(from_ms, to_ms, _)| (*from_ms.max(&begun_ms), *to_ms.min(&cut_ms))).collect());
    for (from_ms, to_ms, scope) in gaps {
        if faults.deaf().any(|w| w.from_ms <= to_ms && from_ms <= w.to_ms + after_ms && to_ms <= w.to_ms + after_ms) {
            continue;
        }
        let stalled = |&(stall_from, stall_to): &Stall| {
            stall_from <= to_ms + STALL_NEAR_MS && from_ms <= stall_to + STALL_NEAR_MS
        };
        let short = to_ms - from_ms <= GAP_ALLOWED_MS && allowed > 0;
        if !stalls.iter().any(stalled) {
            if short {
                allowed -= 1;
            } else {
                let sentence = || format!("it says it was blind for {} ms from {from_ms}", to_ms - from_ms);
                tallies.blame(Wrong::UnexplainedBlind, from_ms, scope, sentence);
            }
        }
        let effect = Effect { deafens: true, revives: true, ..Effect::default() };
        windows.push(Window { from_ms, to_ms, back_ms: to_ms, effect });
    }
    Excuses::new(windows)
}

/// How far the product's wall clock was moved, for each step that was really made.
fn steps_ms(scenario: &Scenario, incidents: &[Incident]) -> Vec<i64> {
    let made = incidents.iter().any(|one| one.kind == Kind::StepClock && one.skipped.is_none());
    let steps = scenario.fault.iter().filter_map(|fault| fault.step_s());
    if made { steps.map(|step| step * 1_000).collect() } else { Vec::new() }
}

/// It must still end in order after all this.
async fn end_product(stage: &Stage, now_ms: u64, tallies: &mut Tallies) {
    let Some(mut product) = stage.product.lock().await.take() else { return };
    if let Err(error) = product.end(Signal::SIGTERM).await {
        tallies.blame(Wrong::Disagreement, now_ms, "the product", || format!("{error:#}"));
    }
}

async fn watch_usage(stage: Arc<Stage>, peaks: Peaks) {
    loop {
        if let Ok(product) = stage.product.try_lock()
            && let Some(process) = product.as_ref()
        {
            let (rss_kib, descriptors) = process.usage();
            peaks.0.fetch_max(rss_kib, Ordering::Relaxed);
            peaks.1.fetch_max(descriptors, Ordering::Relaxed);
        }
        time::sleep(USAGE_PAUSE).await;
    }
}

fn epoch_ms(time: chrono::DateTime<chrono::Utc>) -> u64 {
    time.timestamp_millis().max(0).cast_unsigned()
}
