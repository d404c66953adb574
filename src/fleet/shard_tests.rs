//! Tests of the actors together: lane, shard, vehicle, persister, hub, over a store in memory that can be made to fail.
//! Reads every file of this folder; R2, R12, R22, R27, R35, R45.

use super::*;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::domain::heartbeat::Heartbeat;
use crate::domain::ids::VehicleKey;
use crate::domain::limit::Limit;
use crate::domain::logged::{Facts, Logged};
use crate::domain::sleep::Announced;
use crate::domain::transition::Status;
use crate::fleet::desk::{Desk, NotRemoved, Remove};
use crate::fleet::heartbeat_log::{HeartbeatLog, ROWS_MAX};
use crate::fleet::registry::{Admission, Delivered, Input, LANE_INPUTS_MAX, NotTaken};
use crate::fleet::supervisor::{Hearing, Plan, Supervisor};
use crate::fleet::token::Token;
use crate::fleet::vehicle::Sabotage;
use crate::store::{ObservationGap, Store, StoredVehicle};
use crate::telemetry::warnings::Kind;
use memory::Memory;

#[path = "shard_tests/memory.rs"]
mod memory;

struct Fleet {
    desk: Addr<Desk>,
    registry: Arc<Registry>,
    feed: Arc<Feed>,
    store: Arc<Memory>,
    counters: Arc<FleetCounters>,
    warnings: Arc<Warnings>,
    supervisor: Addr<Supervisor>,
    persister: Persister,
    clock: Clock,
}

async fn fleet(store: Memory, offline_after: Millis) -> Fleet {
    fleet_with(store, offline_after, Limit::NONE).await
}

async fn fleet_with(store: Memory, offline_after: Millis, limit: Limit) -> Fleet {
    let (clock, store) = (Clock::start(), Arc::new(store));
    let admission = Admission { vehicles_max: 10_000, customer_vehicles_max: 10_000, auto_register: true, limit };
    let registry = Arc::new(Registry::new(2, admission, clock));
    let feed = Arc::new(Feed::new(clock, 20));
    let hub = Hub::new(Arc::clone(&feed), Duration::from_millis(20), 10).start();
    let persister = Persister::start(
        Arc::clone(&store) as Arc<dyn Store>,
        None,
        Arc::clone(&feed),
        hub.clone(),
        Arc::clone(&registry),
        Duration::from_millis(100),
    );
    let (counters, warnings) = (Arc::<FleetCounters>::default(), Arc::<Warnings>::default());
    let plan = Plan {
        store: Arc::clone(&store) as Arc<dyn Store>,
        registry: Arc::clone(&registry),
        rules: Rules { offline_after, ..Rules::default() },
        clock,
        counters: Arc::clone(&counters),
        feed: Arc::clone(&feed),
        hub,
        persister: persister.clone(),
        seen: None,
        warnings: Arc::clone(&warnings),
        customers: Arc::default(),
        log: None,
    };
    let (supervisor, desk) = Supervisor::start_fleet(plan).await.expect("starts");
    Fleet { desk, registry, feed, store, counters, warnings, supervisor, persister, clock }
}

impl Fleet {
    async fn hear(&self) {
        self.supervisor.send(Hearing { scope: "process", blind: None, since: None }).await.expect("alive");
    }

    fn beat(&self, vehicle: &str, token: impl FnOnce() -> Option<Token>) -> Result<Delivered, NotTaken> {
        self.registry.deliver("acme", vehicle, Input::Heartbeat(Heartbeat::default(), None), token)
    }

    fn status(&self, vehicle: &str) -> Option<Status> {
        self.feed.board().find("acme", vehicle).map(|row| row.state.status)
    }

    fn stored(&self) -> Vec<(u64, Status)> {
        self.store.transitions.lock().iter().map(|t| (t.change.seq, t.change.to)).collect()
    }
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..1_000 {
        if condition() {
            return;
        }
        actix::clock::sleep(Duration::from_millis(10)).await; // poll:
    }
    panic!("waited 10 s for: {what}");
}

fn token(told: &Arc<AtomicBool>) -> Option<Token> {
    let told = Arc::clone(told);
    Some(Token::new(move || told.store(true, Ordering::Relaxed)))
}

#[actix::test]
async fn a_vehicle_comes_online_falls_silent_and_is_stored_and_shown() {
    let fleet = fleet(Memory::default(), 300).await;
    fleet.hear().await;
    let before = fleet.clock.now();
    fleet.beat("1", || None).expect("taken");
    until("online", || fleet.status("1") == Some(Status::Online)).await;
    until("offline", || fleet.status("1") == Some(Status::Offline)).await;
    until("stored", || fleet.stored() == [(1, Status::Online), (2, Status::Offline)]).await;
    let at: Vec<Millis> = fleet.store.transitions.lock().iter().map(|t| t.change.at).collect();
    assert_eq!(at[1] - at[0], 300, "offline to the millisecond");
    assert!(at[0] >= before);
}

/// DESIGN 3.2: a beat that changes the status is acknowledged once that is durable, any other at once.
#[actix::test]
async fn a_sender_is_told_only_when_the_transition_is_durable() {
    let fleet = fleet(Memory::default(), 60_000).await;
    fleet.hear().await;
    fleet.store.broken.store(true, Ordering::Relaxed);
    let told = Arc::<AtomicBool>::default();
    assert_eq!(fleet.beat("1", || token(&told)), Ok(Delivered::Pending));
    until("online on the board though the store is broken", || fleet.status("1") == Some(Status::Online)).await;
    until("the fault is known", || fleet.persister.health().fault().is_some()).await;
    assert!(!told.load(Ordering::Relaxed) && fleet.persister.health().pending() == 1);
    until("steady", || fleet.beat("1", || None) == Ok(Delivered::Steady)).await;
    fleet.store.broken.store(false, Ordering::Relaxed);
    until("told", || told.load(Ordering::Relaxed)).await;
    assert_eq!(fleet.stored(), [(1, Status::Online)]);
}

/// A vehicle that was online when it was stored.
fn stored(vehicle: &str, last_seen: Millis) -> StoredVehicle {
    StoredVehicle {
        key: Arc::new(VehicleKey::parse("acme", vehicle).expect("key")),
        registered: None,
        offline_after: None,
        status: Status::Online,
        since: Some(last_seen - 20_000),
        seq: 7,
        last_seen: Some(last_seen),
        announced: Announced::NONE,
        latest: Latest::default(),
    }
}

/// A time in which an earlier process lay dead.
fn dead(from: Millis, to: Millis) -> ObservationGap {
    ObservationGap { scope: "process".into(), from, to: Some(to), cause: "start".into() }
}

/// R22: killed before its first checkpoint. It had written down that it heard again, so its own death begins no sooner.
#[actix::test]
async fn two_deaths_are_two_intervals_though_no_checkpoint_lies_between() {
    let now = Clock::start().now();
    let gaps = vec![dead(now - 60_000, now - 10_000)];
    let fleet = fleet(Memory { gaps, alive_until: Some(now - 60_000), ..Memory::default() }, 1_000).await;
    assert_eq!(fleet.feed.observation().1.since, Some(now - 10_000));
}

/// R22: killed twice within a timeout. What was said while the first process lay dead is known to nobody, and the
/// second one, which knew that, is dead too.
#[actix::test]
async fn a_second_crash_does_not_forget_the_first_one() {
    let now = Clock::start().now();
    let gaps = vec![dead(now - 2_400, now - 600)];
    let vehicles = vec![stored("unheard", now - 2_500), stored("dead before", now - 4_000)];
    let store = Memory { vehicles, gaps, alive_until: Some(now - 200), ..Memory::default() };
    let fleet = fleet(store, 1_000).await;
    until("judged", || fleet.status("dead before") == Some(Status::Offline)).await;
    until("judged", || fleet.status("unheard") == Some(Status::Unobserved)).await;
}

/// R22: what the store says was online before we were deaf is not called offline for it.
#[actix::test]
async fn a_restart_makes_nobody_offline() {
    let now = Clock::start().now();
    let stored = |vehicle: &str, ago: Millis| stored(vehicle, now - ago);
    let vehicles = vec![stored("speaks", 20_000), stored("silent", 20_000), stored("dead before", 40_000)];
    let fleet = fleet(Memory { vehicles, alive_until: Some(now - 20_000), ..Memory::default() }, 1_000).await;
    until("judged", || fleet.status("dead before") == Some(Status::Offline)).await;
    until("judged", || fleet.status("speaks") == Some(Status::Unobserved)).await;
    fleet.hear().await;
    fleet.beat("speaks", || None).expect("taken");
    until("online", || fleet.status("speaks") == Some(Status::Online)).await;
    assert_eq!(fleet.status("silent"), Some(Status::Unobserved), "it still has its full timeout");
    until("offline", || fleet.status("silent") == Some(Status::Offline)).await;
}

#[actix::test]
async fn a_vehicle_that_panics_is_made_anew_and_counted() {
    let fleet = fleet(Memory::default(), 60_000).await;
    fleet.hear().await;
    let outbox_fleet = &fleet;
    fleet.beat("1", || None).expect("taken");
    until("online", || outbox_fleet.status("1") == Some(Status::Online)).await;
    fleet.supervisor.send(Strike("acme", "1")).await.expect("alive");
    until("made anew", || fleet.counters.restarts.load(Ordering::Relaxed) == 1).await;
    // A hint died in its mailbox; the vehicle is not unsteady for ever because of it.
    until("steady again", || fleet.beat("1", || None) == Ok(Delivered::Steady)).await;
    let told = Arc::<AtomicBool>::default();
    fleet.registry.deliver("acme", "1", Input::Goodbye, || token(&told)).expect("taken");
    until("the next input works", || told.load(Ordering::Relaxed)).await;
    assert_eq!(fleet.stored(), [(1, Status::Online), (2, Status::Offline)]);
}

/// R15: timers stand still while the machine sleeps; a deadline an hour ahead is met right afterwards all the same.
#[actix::test]
async fn a_deadline_is_met_after_the_machine_has_slept() {
    let fleet = fleet(Memory::default(), 300).await;
    fleet.hear().await;
    let sleeper = Heartbeat { next_in: Some(3_600_000), ..Heartbeat::default() };
    fleet.registry.deliver("acme", "1", Input::Heartbeat(sleeper, None), || None).expect("taken");
    until("online", || fleet.status("1") == Some(Status::Online)).await;
    fleet.clock.pretend_to_sleep(7_200_000);
    let woke = fleet.clock.now();
    until("offline", || fleet.status("1") == Some(Status::Offline)).await;
    let at = fleet.store.transitions.lock().last().expect("stored").change.at;
    assert!((woke..woke + 60_000).contains(&(at - 300)), "one full timeout after it woke");
}

/// R27: everybody falls silent at once.
#[actix::test]
async fn five_thousand_vehicles_silent_at_once_are_five_thousand_transitions() {
    let fleet = fleet(Memory::default(), 400).await;
    fleet.hear().await;
    for vehicle in 0..5_000 {
        fleet.beat(&vehicle.to_string(), || None).expect("taken");
    }
    until("all stored", || fleet.stored().len() == 10_000).await;
    until("all shown", || fleet.feed.board().counts(&Default::default()).of(Status::Offline) == 5_000).await;
    let mut keys: Vec<_> = fleet.store.transitions.lock().iter().map(|t| (t.key.to_string(), t.change.seq)).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 10_000, "each once");
}

#[actix::test]
async fn a_flood_is_bounded_and_handled() {
    let fleet = fleet(Memory::default(), 60_000).await;
    fleet.hear().await;
    let (mut taken, mut full) = (0, 0);
    for i in 0..4 * LANE_INPUTS_MAX {
        match fleet.beat(&(i % 100).to_string(), || None) {
            Ok(_) => taken += 1,
            Err(NotTaken::Full) => full += 1,
            Err(refused) => panic!("{refused:?}"),
        }
    }
    assert_eq!(taken + full, 4 * LANE_INPUTS_MAX);
    until("the lanes are empty", || fleet.registry.waiting() == 0).await;
    until("all online", || fleet.feed.board().counts(&Default::default()).of(Status::Online) == 100).await;
    assert_eq!(fleet.stored().len(), 100);
}

/// R45: what is over the limit costs no place in the lane, and yet keeps the vehicle online, to the millisecond.
#[actix::test]
async fn beats_over_the_limit_keep_a_vehicle_online_to_the_millisecond() {
    let fleet = fleet_with(Memory::default(), 400, Limit::new(1, 1)).await;
    fleet.hear().await;
    fleet.beat("1", || None).expect("taken");
    until("steady", || fleet.beat("1", || None) == Ok(Delivered::Steady)).await;
    let (begun, mut last) = (fleet.clock.now(), (0, 0));
    while fleet.clock.now() < begun + 1_500 {
        let before = fleet.clock.now();
        for _ in 0..100 {
            fleet.beat("1", || None).expect("taken");
        }
        last = (before, fleet.clock.now());
        actix::clock::sleep(Duration::from_millis(1)).await; // poll:
    }
    let seen = || fleet.feed.board().find("acme", "1").and_then(|row| row.state.last_seen).unwrap_or(0);
    until("the board knows the last one", || seen() >= last.0).await;
    assert_eq!(fleet.status("1"), Some(Status::Online));
    until("offline", || fleet.stored() == [(1, Status::Online), (2, Status::Offline)]).await;
    let change = fleet.store.transitions.lock()[1].change;
    let last_seen = change.last_seen.expect("it spoke");
    assert!((last.0..=last.1).contains(&last_seen), "{last_seen} in {last:?}");
    assert_eq!(change.at, last_seen + 400);
    assert!(fleet.registry.over_limit() > 10_000, "{}", fleet.registry.over_limit());
    let warnings = fleet.warnings.list();
    assert_eq!((warnings.len(), warnings[0].kind), (1, Kind::Flooding), "{warnings:?}");
    assert_eq!(warnings[0].count, fleet.registry.over_limit());
}

/// R35: what is buffered from before a start is in order, two devices in turn are not.
#[actix::test]
async fn two_devices_with_one_name_are_named() {
    let fleet = fleet(Memory::default(), 60_000).await;
    fleet.hear().await;
    let beat = |vehicle: &str, boot: u64, ago: Millis| {
        let ts = Some(fleet.clock.now() - ago);
        let beat = Heartbeat { ts, boot: Some(boot << 16), ..Heartbeat::default() };
        fleet.registry.deliver("acme", vehicle, Input::Heartbeat(beat, None), || None).expect("taken");
    };
    for boot in [1, 2, 1, 2, 1, 2] {
        beat("twice there", boot, 0);
        beat("uploads what it buffered", boot, if boot == 1 { 3_600_000 } else { 0 });
    }
    until("named", || fleet.warnings.list().iter().any(|warning| warning.count == 2)).await;
    until("the lanes are empty", || fleet.registry.waiting() == 0).await;
    let named: Vec<_> = fleet.warnings.list().into_iter().map(|w| (w.vehicle, w.kind)).collect();
    assert_eq!(named, [("twice there".into(), Kind::DuplicateId)]);
}

/// Finds a vehicle's actor and makes it panic.
#[derive(Message)]
#[rtype(result = "()")]
struct Strike(&'static str, &'static str);

impl Handler<Strike> for Supervisor {
    type Result = ();

    fn handle(&mut self, strike: Strike, _: &mut Self::Context) {
        self.shards().iter().for_each(|shard| shard.do_send(Strike(strike.0, strike.1)));
    }
}

impl Handler<Strike> for Shard {
    type Result = ();

    fn handle(&mut self, strike: Strike, context: &mut Self::Context) {
        if self.parts.registry.shard_of(strike.0, strike.1) == self.index {
            self.vehicles.iter().flatten().for_each(|vehicle| vehicle.do_send(Sabotage));
            let hint = self.parts.registry.deliver(strike.0, strike.1, Input::Hint(None), || None);
            assert_eq!(hint, Ok(Delivered::Pending));
            self.work(context);
        }
    }
}

/// A store that says no changes nothing: the vehicle lives on, and its next beat is heard.
#[actix::test]
async fn a_vehicle_that_the_store_does_not_let_go_lives_on() {
    let fleet = fleet(Memory::default(), 60_000).await;
    let beat = || fleet.registry.deliver("acme", "1", Input::Heartbeat(Heartbeat::default(), None), || None);
    beat().expect("room");
    let remove = || Remove { key: Arc::new(VehicleKey::parse("acme", "1").unwrap()), revision: None, purge: false };
    let status = || fleet.feed.board().find("acme", "1").map(|row| (row.state.status, row.state.seq));
    let wait = async |wanted| {
        while status() != wanted {
            actix::clock::sleep(Duration::from_millis(5)).await; // poll:
        }
    };
    fleet.supervisor.send(Hearing { scope: "process", blind: None, since: None }).await.unwrap();
    wait(Some((Status::Online, 1))).await;
    fleet.store.broken.store(true, Ordering::Relaxed);
    assert!(matches!(fleet.desk.send(remove()).await.unwrap(), Err(NotRemoved::Store(_))));
    beat().expect("room");
    wait(Some((Status::Online, 1))).await;
    fleet.store.broken.store(false, Ordering::Relaxed);
    fleet.desk.send(remove()).await.unwrap().expect("it goes");
    wait(None).await;
    assert_eq!((fleet.registry.total(), fleet.registry.knows("acme", "1")), (0, false));
    assert!(matches!(fleet.desk.send(remove()).await.unwrap(), Err(NotRemoved::Unknown)));
    // It speaks again: a new one, whose numbers go on.
    beat().expect("room");
    wait(Some((Status::Online, 2))).await;
}

#[actix_web::test]
async fn a_heartbeat_log_that_is_full_drops_the_newest_and_keeps_the_rest_in_order() {
    let store = Arc::new(Memory::default());
    store.broken.store(true, Relaxed);
    let log = HeartbeatLog::start(Arc::clone(&store) as Arc<dyn Store>, Arc::default(), false, Some(1_000));
    let (mut hand, counts, key) =
        (log.hand(), log.counts(), Arc::new(VehicleKey::parse("acme", "bus").expect("a key")));
    let row = |at| Logged { key: Arc::clone(&key), at, arrived: 1_000, backlog: false, said: Facts::default() };
    hand.put(0, row(-1));
    // The task does not run before this one waits.
    let all = ROWS_MAX as Millis + 500;
    (0..all).for_each(|at| hand.put(0, row(at)));
    assert_eq!((counts.expired.load(Relaxed), counts.dropped.load(Relaxed)), (1, 500));
    until("a write has failed", || store.asked.load(Relaxed) > 0).await;
    store.broken.store(false, Relaxed);
    until("all that waited is kept", || counts.waiting.load(Relaxed) == 0).await;
    let kept: Vec<_> = store.heartbeats.lock().iter().map(|row| (row.id, row.beat.at)).collect();
    assert_eq!(kept, (0..ROWS_MAX as Millis).map(|at| (at + 1, at)).collect::<Vec<_>>());
    hand.put(0, row(7));
    log.stop().await;
    assert_eq!(store.heartbeats.lock().last().map(|row| row.beat.at), Some(7), "what came last is written");
}
