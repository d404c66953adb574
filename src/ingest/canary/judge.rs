//! Looks at the canary's beats ten times a second, sends the next one when it is due, and says when the intake is
//! blind: when the oldest beat that is not back at the door, or not on the board since it came there, is older than
//! half the shortest timeout. At the embedded broker a vehicle that speaks at least twice within its timeout is then
//! never called offline for our deafness: its deadline is still to come when we notice. At an external one verdicts
//! wait for the canary anyway, and the judge sends one when a verdict begins to wait. Fed by the canary, the lanes, the
//! board and the hub; tells the supervisor, by way of the closure it is given.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::{Canary, Late, Stage};
use crate::clock::Clock;
use crate::domain::time::Millis;
use crate::fleet::outbox::FleetCounters;
use crate::fleet::persister::StoreHealth;
use crate::fleet::registry::Registry;
use crate::live::feed::Feed;

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The limit is never shorter: on a busy machine a second may pass between two steps of the way.
const LIMIT_MIN: Millis = 1_000;
/// A look that comes this late means that we did not run, or hardly. The shards know a pause by themselves.
const PAUSE: Millis = 500;
/// Looks kept to date what is not durable: an hour would be too many, and after so many the age only stops growing.
const LOOKS_MAX: usize = 6_000;

/// The intake is blind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blind {
    /// When something last surely came through.
    pub since: Millis,
    /// Why, for people.
    pub cause: String,
}

/// What it looks at.
pub struct Judge {
    /// The canary.
    pub canary: Arc<Canary>,
    /// The lanes.
    pub registry: Arc<Registry>,
    /// The board and its pulse.
    pub feed: Arc<Feed>,
    /// The shortest timeout, and what was decided.
    pub counters: Arc<FleetCounters>,
    /// What of it is durable.
    pub health: Arc<StoreHealth>,
    /// The timeout of a vehicle that has no other.
    pub offline_after: Millis,
    /// The clock.
    pub clock: Clock,
}

impl Judge {
    /// Looks on until the task is aborted; `tell` gets each change of the verdict.
    pub fn start(self, tell: impl Fn(Option<Blind>) + Send + 'static) -> JoinHandle<()> {
        tokio::spawn(async move {
            let mut looks = tokio::time::interval(LOOK_EVERY);
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let (mut verdict, mut looked, mut decided) = (None, self.clock.now(), VecDeque::new());
            loop {
                tokio::select! {
                    () = self.canary.asked() => {
                        self.canary.prove();
                        continue;
                    }
                    _ = looks.tick() => {}
                }
                let now = self.clock.now();
                self.look_at_decisions(&mut decided, now);
                let next = self.look(verdict.clone(), now, now - looked);
                looked = now;
                if next != verdict {
                    verdict = next;
                    tell(verdict.clone());
                }
            }
        })
    }

    /// Older than this is late.
    fn limit(&self) -> Millis {
        (self.counters.shortest_timeout.get().min(self.offline_after) / 2).max(LIMIT_MIN)
    }

    fn look(&self, before: Option<Blind>, now: Millis, elapsed: Millis) -> Option<Blind> {
        let (canary, limit) = (&*self.canary, self.limit());
        if !canary.is_active() {
            canary.inside.lock().blind = None;
            return None;
        }
        if !*canary.granted.borrow() {
            return before;
        }
        let mut inside = canary.inside.lock();
        if elapsed > PAUSE {
            inside.beats.excuse(elapsed);
        }
        inside.beats.passed(self.registry.on_board_until(), self.feed.pushed_until(), now);
        let late = inside.beats.late(now, limit);
        let after = match (late, before) {
            (None, Some(blind)) => {
                let seen = inside.beats.at(Stage::Board).is_some_and(|reached| reached.published > blind.since);
                Some(blind).filter(|_| !seen)
            }
            (None, None) => None,
            (Some(late), before) => {
                let (since, cause) = words(late, inside.trouble.as_deref(), canary.topic().unwrap_or_default());
                // Nobody was judged between what is proved and the first beat that is missing.
                let since = canary.proved_until().map_or(since, |proved| since.min(proved));
                Some(Blind { since: before.map_or(since, |blind| blind.since), cause })
            }
        };
        inside.blind = after.as_ref().map(|blind| blind.cause.clone());
        // A short timeout needs a quick pulse: two beats within the limit.
        let due = now >= inside.due.min(inside.due - canary.interval + limit / 2);
        drop(inside);
        if due {
            canary.beat();
        }
        after
    }

    fn look_at_decisions(&self, looks: &mut VecDeque<(Millis, u64)>, now: Millis) {
        let decided = self.counters.transitions.load(Relaxed);
        let durable = decided.saturating_sub(self.health.pending() as u64);
        self.canary.inside.lock().undurable = undurable(looks, now, decided, durable);
    }
}

/// Age of the oldest decision that is not durable: transitions become durable in order, so the first look at which more
/// was decided than is durable by now dates it.
fn undurable(looks: &mut VecDeque<(Millis, u64)>, now: Millis, decided: u64, durable: u64) -> Millis {
    looks.push_back((now, decided));
    while looks.front().is_some_and(|(_, decided)| *decided <= durable) {
        looks.pop_front();
    }
    if looks.len() > LOOKS_MAX {
        // The newest is not needed: the oldest is what counts.
        looks.pop_back();
    }
    looks.front().map_or(0, |(at, _)| now - at)
}

fn words(late: Late, trouble: Option<&str>, topic: &str) -> (Millis, String) {
    match (late, trouble) {
        (Late::Unacked(since) | Late::Unheard(since), Some(trouble)) => {
            (since, format!("our canary cannot be published: {trouble}"))
        }
        (Late::Unacked(since), None) => (since, "the broker does not acknowledge our canary in time".into()),
        (Late::Unheard(since), None) => {
            (since, format!("our canary does not come back through the broker in time (its topic is {topic})"))
        }
        (Late::Stuck(since), _) => (since, "what comes in does not reach the board in time".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::limit::Limit;
    use crate::fleet::registry::Admission;
    use crate::settings::Mqtt;

    fn bench() -> Judge {
        let clock = Clock::start();
        let limit = Limit::NONE;
        let admission = Admission { vehicles_max: 1, customer_vehicles_max: 1, auto_register: true, limit };
        Judge {
            canary: Canary::new(&Mqtt::default(), clock, None),
            registry: Arc::new(Registry::new(1, admission, clock)),
            feed: Arc::new(Feed::new(clock, 250)),
            counters: Arc::default(),
            health: Arc::default(),
            offline_after: 6_000,
            clock,
        }
    }

    /// Our next beat is back at the door, published after `instant`.
    fn comes_back_after(judge: &Judge, instant: Millis) {
        while judge.clock.now() <= instant {
            std::thread::yield_now();
        }
        judge.canary.beat();
        let newest = *judge.canary.newest.borrow();
        let topic = judge.canary.topic().expect("a topic").to_owned();
        judge.canary.heard(&topic, &judge.canary.payload(newest));
    }

    /// R31: a canary that cannot be sent proves nothing, so we are blind; and what does not get to the board is not
    /// heard either.
    #[test]
    fn blindness_begins_with_the_oldest_beat_and_ends_when_a_later_one_is_on_the_board() {
        let judge = bench();
        assert_eq!((judge.limit(), judge.look(None, judge.clock.now() + 9_999, 0)), (3_000, None), "no link yet");
        judge.canary.grant(true);
        let begun = judge.clock.now();
        judge.canary.unable("connection refused");
        assert_eq!(judge.look(None, begun + 2_900, 0), None);
        assert_eq!(judge.look(None, begun + 3_100, 3_000), None, "we did not run");
        let blind = judge.look(None, begun + 6_100, 0).expect("blind");
        assert!(blind.cause.contains("cannot be published: connection refused"), "{blind:?}");
        judge.canary.welcomed();
        comes_back_after(&judge, blind.since);
        let still = judge.look(Some(blind.clone()), judge.clock.now() + 100, 0).expect("not on the board yet");
        assert_eq!(still.since, blind.since);
        let stuck = judge.look(Some(blind.clone()), judge.clock.now() + 3_100, 0).expect("blind");
        assert_eq!(stuck.cause, "what comes in does not reach the board in time");
        judge.registry.report_on_board(0, judge.clock.now() + 1);
        assert_eq!(judge.look(Some(stuck), judge.clock.now() + 100, 0), None);
        judge.canary.refuse("no".into());
        assert_eq!(judge.look(Some(blind), judge.clock.now(), 0), None, "it proves nothing any more");
    }

    #[test]
    fn what_is_not_durable_is_dated() {
        let mut looks = VecDeque::new();
        for (now, decided, durable, age) in
            [(100, 0, 0, 0), (200, 5, 2, 0), (300, 9, 2, 100), (400, 9, 5, 100), (500, 9, 9, 0)]
        {
            assert_eq!(undurable(&mut looks, now, decided, durable), age, "at {now}");
        }
    }
}
