//! Tests of the registry: who is taken, who waits, and what a flood costs (R45, R46). Feeds nobody.

use super::*;

fn registry(admission: Admission) -> Registry {
    Registry::new(2, admission, Clock::start())
}

const OPEN: Admission =
    Admission { vehicles_max: 3, customer_vehicles_max: 2, auto_register: true, limit: Limit::NONE };

fn beat(registry: &Registry, customer: &str, vehicle: &str) -> Result<Delivered, NotTaken> {
    registry.deliver(customer, vehicle, Input::Heartbeat(Heartbeat::default(), None), || None)
}

#[test]
fn caps_refuse_new_vehicles_and_leave_known_ones_alone() {
    let full = registry(OPEN);
    for (customer, vehicle) in [("a", "1"), ("a", "2"), ("b", "1"), ("a", "1")] {
        assert_eq!(beat(&full, customer, vehicle), Ok(Delivered::Pending));
    }
    assert_eq!(beat(&full, "b", "2"), Err(NotTaken::Refused(Refusal::FleetFull)));
    let full = registry(Admission { vehicles_max: 9, ..OPEN });
    beat(&full, "a", "1").and(beat(&full, "a", "2")).expect("room");
    assert_eq!(beat(&full, "a", "3"), Err(NotTaken::Refused(Refusal::CustomerFull)));
    let closed = registry(Admission { auto_register: false, ..OPEN });
    assert_eq!(beat(&closed, "a", "1"), Err(NotTaken::Refused(Refusal::UnknownVehicle)));
    closed.restore(Arc::new(VehicleKey::parse("a", "1").expect("key")));
    assert!(beat(&closed, "a", "1").is_ok());
}

#[test]
fn a_steady_vehicle_makes_nobody_wait_unless_something_else_is_queued() {
    let registry = registry(OPEN);
    let entry = registry.restore(Arc::new(VehicleKey::parse("a", "1").expect("key")));
    assert_eq!(beat(&registry, "a", "1"), Ok(Delivered::Pending));
    entry.set_steady_until(Millis::MAX);
    assert_eq!(beat(&registry, "a", "1"), Ok(Delivered::Steady));
    assert_eq!(registry.deliver("a", "1", Input::Goodbye, || None), Ok(Delivered::Pending));
    assert_eq!(beat(&registry, "a", "1"), Ok(Delivered::Pending));
    entry.settled_one();
    assert_eq!(beat(&registry, "a", "1"), Ok(Delivered::Steady));
}

#[test]
fn who_is_forgotten_makes_room_and_its_numbers_go_on() {
    let registry = registry(OPEN);
    beat(&registry, "a", "1").and(beat(&registry, "a", "2")).expect("room");
    let entry = registry.find("a", "1").expect("known");
    let waiting = registry.waiting();
    registry.set_leaving(&entry, true);
    assert_eq!((beat(&registry, "a", "1"), registry.waiting()), (Ok(Delivered::Steady), waiting), "heard, forgotten");
    assert_eq!(registry.has_room_for("a", 1, 1), Err(Refusal::CustomerFull));
    for seq in [7, 9] {
        registry.forget(&entry, seq);
        assert_eq!((registry.total(), registry.knows("a", "1"), registry.last_seq(&entry.key)), (1, false, Some(7)));
    }
    assert_eq!(registry.has_room_for("a", 2, 1), Ok(()));
    assert_eq!(registry.has_room_for("a", 3, 1), Err(Refusal::FleetFull));
    assert_eq!(beat(&registry, "a", "1"), Ok(Delivered::Pending));
    let again = registry.find("a", "1").expect("it speaks");
    assert_eq!((registry.last_seq(&again.key), again.is_leaving()), (Some(7), false));
    assert!(again.slot != entry.slot && again.local != entry.local, "nothing under way to the old one finds it");
}

#[test]
fn a_full_lane_says_so_and_has_room_after_it_was_taken() {
    let registry = Registry::new(1, OPEN, Clock::start());
    for _ in 0..LANE_INPUTS_MAX {
        beat(&registry, "a", "1").expect("room");
    }
    assert_eq!(beat(&registry, "a", "1"), Err(NotTaken::Full));
    assert_eq!(registry.horizon_if_empty(0), None);
    let mut batch = Vec::new();
    let until = registry.take(0, &mut batch);
    assert!(batch.iter().all(|envelope| envelope.arrival <= until) && batch.len() == LANE_INPUTS_MAX);
    assert!(beat(&registry, "a", "1").is_ok());
}

/// A fleet of a million is to fit into 1.6 KB a vehicle; this is the part that ingest keeps of each. With the two
/// counts of its `Arc` it is one cache line.
#[test]
fn what_ingest_keeps_of_a_vehicle_is_48_bytes() {
    assert_eq!(size_of::<Entry>(), 48);
}

/// R45: beyond its limit a steady vehicle takes no place in the lane, but its arrival is known.
#[test]
fn a_steady_vehicle_over_its_limit_is_only_noted() {
    let registry = Registry::new(1, Admission { limit: Limit::new(1, 3), ..OPEN }, Clock::start());
    let entry = registry.restore(Arc::new(VehicleKey::parse("a", "1").expect("key")));
    entry.set_steady_until(Millis::MAX);
    for _ in 0..1_000 {
        assert_eq!(beat(&registry, "a", "1"), Ok(Delivered::Steady));
    }
    assert_eq!((registry.waiting(), registry.over_limit()), (3, 997));
    let flooding = registry.take_flooding(0);
    assert_eq!((flooding.len(), flooding[0].1), (1, 997));
    let horizon = registry.take(0, &mut Vec::new());
    assert!(entry.take_sign_of_life().is_some_and(|sign| sign <= horizon) && entry.take_sign_of_life().is_none());
    // What may change its status goes the whole way, without its facts.
    entry.set_steady_until(Millis::MIN);
    let full = Heartbeat { seq: Some(7), battery_pct: Some(50.0), next_in: Some(9), ..Heartbeat::default() };
    assert_eq!(registry.deliver("a", "1", Input::Heartbeat(full, None), || None), Ok(Delivered::Pending));
    let mut batch = Vec::new();
    registry.take(0, &mut batch);
    let [Envelope { input: Input::Heartbeat(beat, _), .. }] = &batch[..] else { panic!("one beat") };
    assert_eq!(*beat, Heartbeat { seq: Some(7), next_in: Some(9), ..Heartbeat::default() });
}

/// Counts how often its lane wakes it.
struct Sleeper(Arc<AtomicUsize>);

impl actix::Actor for Sleeper {
    type Context = actix::Context<Self>;
}

impl actix::Handler<Wake> for Sleeper {
    type Result = ();

    fn handle(&mut self, _: Wake, _: &mut Self::Context) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[actix::test]
async fn a_shard_is_woken_only_when_it_found_nothing_the_last_time() {
    let (registry, woken) = (Registry::new(1, OPEN, Clock::start()), Arc::<AtomicUsize>::default());
    let sleeper = actix::Actor::start(Sleeper(Arc::clone(&woken)));
    registry.attach(0, sleeper.clone().recipient());
    let mut taken = Vec::new();
    for found in [2, 1, 0, 3] {
        assert!((0..found).all(|_| beat(&registry, "a", "1").is_ok()));
        let mut batch = Vec::new();
        registry.take(0, &mut batch);
        taken.push(batch.len());
    }
    // What waits in the mailbox is handled before this.
    sleeper.send(Wake).await.expect("lives");
    let by_attaching_and_by_the_one_after_nothing = 2;
    assert_eq!((taken, woken.load(Relaxed) - 1), (vec![2, 1, 0, 3], by_attaching_and_by_the_one_after_nothing));
}
