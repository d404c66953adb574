//! The supervisor: brings the fleet to life from the store, and knows whether Rollcall hears.
//!
//! Owns: the shards and the list of blind intervals. Receives: `Hearing` from the intakes and the canary's judge,
//! `Paused` from shards, `Stepped` when the wall clock was set, `DrainAll` at the end. Sends: `Observe` to shards (and
//! `Restore`, by restore.rs), `Observed` to the hub, gaps to the persister. Bound: intakes speak only when their state
//! changes. On death: the process ends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;

use super::customers::Customers;
use super::desk::Desk;
use super::heartbeat_log::Hand;
use super::outbox::FleetCounters;
use super::persister::Persister;
use super::registry::Registry;
use super::restore::restore;
use super::shard::{Drain, Observe, Oversee, Parts, Paused, Shard};
use crate::clock::Clock;
use crate::domain::observation::{Gap, Gaps};
use crate::domain::policy::Rules;
use crate::domain::time::Millis;
use crate::live::feed::{Feed, Observation};
use crate::live::hub::{Hub, Observed};
use crate::store::last_seen::Seen;
use crate::store::{ObservationGap, Store};
use crate::telemetry::warnings::Warnings;

/// How soon a shard that is not done is asked again at the end.
const DRAIN_AGAIN: Duration = Duration::from_millis(10);

/// An intake hears, or does not.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Hearing {
    /// Which part it is about: `process`, `link` or `intake`.
    pub scope: &'static str,
    /// Why it does not hear; nothing when it does.
    pub blind: Option<String>,
    /// When it last surely heard, if that was before now: blindness is often found late.
    pub since: Option<Millis>,
}

/// A scope that is blind.
struct Blind {
    since: Millis,
    /// As it began: the words of its row.
    cause: String,
    /// As it is now.
    words: String,
}

/// The wall clock was set, by so many milliseconds; dates follow it already.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Stepped {
    /// New time minus old time.
    pub by: Millis,
}

/// The supervisor.
pub struct Supervisor {
    shards: Vec<Addr<Shard>>,
    hub: Addr<Hub>,
    persister: Persister,
    clock: Clock,
    gaps: Gaps,
    /// The scopes that are blind, since when and why.
    blind: BTreeMap<&'static str, Blind>,
}

/// What the supervisor is made of.
pub struct Plan {
    /// Where the fleet is stored.
    pub store: Arc<dyn Store>,
    /// The lanes.
    pub registry: Arc<Registry>,
    /// What holds for all vehicles.
    pub rules: Rules,
    /// The clock.
    pub clock: Clock,
    /// Counters of all shards.
    pub counters: Arc<FleetCounters>,
    /// The board.
    pub feed: Arc<Feed>,
    /// Its writer.
    pub hub: Addr<Hub>,
    /// The writer of the store.
    pub persister: Persister,
    /// What the local file says of the last run, where there is one.
    pub seen: Option<Seen>,
    /// What operators are warned of.
    pub warnings: Arc<Warnings>,
    /// What is registered of customers; filled here.
    pub customers: Arc<Customers>,
    /// Where heartbeats go that are kept; none: they are not.
    pub log: Option<Hand>,
}

impl Supervisor {
    /// Starts the shards, restores every stored vehicle, onto the board too, and starts the supervisor and the desk.
    /// Until an intake hears, all are judged as by the blind: a deadline that passed since the last run was alive makes
    /// a vehicle unobserved, never offline.
    ///
    /// # Errors
    /// The store cannot be read, or a shard died over its vehicles.
    pub async fn start_fleet(plan: Plan) -> anyhow::Result<(Addr<Self>, Addr<Desk>)> {
        let Plan { store, registry, rules, clock, counters, feed, hub, persister, seen, warnings, customers, log } =
            plan;
        let stored = store.alive_until().await?;
        let checkpoint = stored.max(seen.as_ref().map(|seen| seen.alive_until));
        let alive_until = alive_since(&store, checkpoint, clock.now()).await?;
        let blind_from = alive_until.unwrap_or_else(|| clock.now()).min(clock.now());
        let mut gaps = earlier_gaps(&store, &rules, clock.now(), blind_from).await?;
        gaps.open(blind_from);
        // Written before anything goes on: a crash from here on must not make the next start believe that we heard.
        let (scope, cause) = ("process".to_owned(), "start".to_owned());
        store.record_gap(&ObservationGap { scope, from: blind_from, to: None, cause }).await?;
        let (since, scope) = (Some(blind_from), "process".into());
        let deaf = Observation { listening: false, since, scope, cause: "start".into() };
        hub.send(Observed(deaf)).await?;
        let parts = Parts {
            registry,
            rules,
            customers,
            gaps,
            blind_from,
            clock,
            counters,
            feed,
            hub,
            persister,
            warnings,
            log,
        };
        let shards: Vec<Addr<Shard>> = (0..parts.registry.shards())
            .map(|index| Shard::start_on(&Arbiter::new().handle(), index, parts.clone()))
            .collect();
        restore(&store, &parts, &shards, seen).await?;
        if stored.is_none() {
            // A store that is new has no checkpoint yet; a crash before the first one must be dated too.
            store.checkpoint(&[], clock.now()).await?;
        }
        let (gaps, hub, persister) = (parts.gaps.clone(), parts.hub.clone(), parts.persister.clone());
        let blind =
            BTreeMap::from([("process", Blind { since: blind_from, cause: "start".into(), words: "start".into() })]);
        let desk = Desk::new(store, parts, shards.clone()).start();
        Ok((Self { shards, hub, persister, clock, gaps, blind }.start(), desk))
    }

    #[cfg(test)]
    pub(super) fn shards(&self) -> &[Addr<Shard>] {
        &self.shards
    }

    /// A blind interval that is over, and how it is dated.
    fn was_blind(&mut self, gap: Gap, (from, to): (Millis, Millis), cause: &str) {
        let (scope, cause) = ("process".to_owned(), cause.to_owned());
        self.persister.record_gap(ObservationGap { scope, from, to: Some(to), cause });
        self.gaps.open(gap.from);
        self.gaps.close(gap.to);
        self.tell();
    }

    fn tell(&self) {
        self.shards.iter().for_each(|shard| shard.do_send(Observe(self.gaps.clone())));
        let (scope, cause) = match self.blind.iter().min_by_key(|(_, blind)| blind.since) {
            Some((scope, blind)) => ((*scope).to_owned(), blind.words.clone()),
            None => Default::default(),
        };
        let since = self.gaps.since().map(|since| self.clock.date(since));
        let observation = Observation { listening: self.blind.is_empty(), since, scope, cause };
        self.hub.do_send(Observed(observation));
    }
}

/// The last moment of an earlier run that is known: its last checkpoint, or the end of a blind interval that it wrote
/// down since. Without the latter, a run that died before its first checkpoint would hand the interval of its own start
/// on to the next run, and two deaths would be one.
async fn alive_since(
    store: &Arc<dyn Store>,
    checkpoint: Option<Millis>,
    now: Millis,
) -> anyhow::Result<Option<Millis>> {
    let Some(checkpoint) = checkpoint else { return Ok(None) };
    let gaps = store.gaps(checkpoint, now).await?;
    let ends = gaps.iter().filter(|gap| gap.scope == "process").filter_map(|gap| gap.to);
    Ok(Some(ends.fold(checkpoint, Millis::max)))
}

/// The blind intervals of earlier runs: a vehicle's silence may reach back over several, and each gave it a full
/// timeout (R22). From `until` on this run's own takes their place; one that a crash left open ended at the latest now.
async fn earlier_gaps(store: &Arc<dyn Store>, rules: &Rules, now: Millis, until: Millis) -> anyhow::Result<Gaps> {
    store.close_open_gaps(now).await?;
    // An older one put no deadline off that may have passed just before this run.
    let reach = 2 * rules.sleep_max.max(rules.offline_after);
    let mut gaps = Gaps::default();
    for gap in store.gaps(now.saturating_sub(reach), until).await? {
        let to = gap.to.unwrap_or(until).min(until);
        if gaps.since().is_none_or(|since| to > since) {
            gaps.open(gap.from);
            gaps.close(to);
        }
    }
    Ok(gaps)
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        let overseer = context.address().recipient();
        self.shards.iter().for_each(|shard| shard.do_send(Oversee(overseer.clone())));
    }
}

impl Handler<Paused> for Supervisor {
    type Result = ();

    /// The shards find the same pause each for itself; the first one that tells of it stands for all.
    fn handle(&mut self, Paused(gap): Paused, _: &mut Self::Context) {
        if !self.blind.is_empty() || self.gaps.since().is_some_and(|since| since >= gap.from) {
            return;
        }
        tracing::warn!(paused_ms = gap.to - gap.from, "the process did not run; nobody is called offline for it");
        let (from, to) = (self.clock.date(gap.from), self.clock.date(gap.to));
        self.was_blind(gap, (from, to), "suspended");
    }
}

impl Handler<Stepped> for Supervisor {
    type Result = ();

    /// Deadlines stand on instants and stay. But a clock that jumps ahead may have been put right after the machine,
    /// or the virtual machine it is, stood still with all its clocks, so everybody gets one full timeout from here on.
    fn handle(&mut self, Stepped { by }: Stepped, _: &mut Self::Context) {
        let now = self.clock.now();
        tracing::warn!(by_ms = by, "the wall clock was stepped; deadlines stay, dates follow it from now on");
        if by > 0 && self.blind.is_empty() {
            let today = self.clock.date(now);
            self.was_blind(Gap { from: now, to: now }, (today - by, today), "clock stepped");
        }
    }
}

impl Handler<Hearing> for Supervisor {
    type Result = ();

    fn handle(&mut self, Hearing { scope, blind, since }: Hearing, _: &mut Self::Context) {
        let now = self.clock.now();
        let (from, clock) = (since.map_or(now, |since| since.min(now)), self.clock);
        let gap = |from, to: Option<Millis>, cause| {
            let (from, to) = (clock.date(from), to.map(|to| clock.date(to)));
            ObservationGap { scope: scope.to_owned(), from, to, cause }
        };
        match blind {
            Some(cause) if !self.blind.contains_key(scope) => {
                tracing::warn!(scope, cause, "not listening: no vehicle is called offline meanwhile");
                self.persister.record_gap(gap(from, None, cause.clone()));
                self.blind.insert(scope, Blind { since: from, words: cause.clone(), cause });
                self.gaps.open(from);
            }
            None => {
                let Some(Blind { since, cause, .. }) = self.blind.remove(scope) else { return };
                self.persister.record_gap(gap(since, Some(now), cause));
                if self.blind.is_empty() {
                    self.gaps.close(now);
                    tracing::info!(blind_ms = now - since, "listening");
                }
            }
            // The same blindness in other words: how far the way back is.
            Some(words) => match self.blind.get_mut(scope).filter(|blind| blind.words != words) {
                Some(blind) => blind.words = words,
                None => return,
            },
        }
        self.tell();
    }
}

/// Inputs that were taken are dealt with and told to board and persister; answered when done.
#[derive(Message)]
#[rtype(result = "()")]
pub struct DrainAll;

impl Handler<DrainAll> for Supervisor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: DrainAll, _: &mut Self::Context) -> Self::Result {
        let shards = self.shards.clone();
        Box::pin(async move {
            for shard in shards {
                while !shard.send(Drain).await.unwrap_or(true) {
                    actix::clock::sleep(DRAIN_AGAIN).await;
                }
            }
        })
    }
}
