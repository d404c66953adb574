//! Transitions, checkpoints and queries to test with.
//! Fed by the cases; made of the same parts the fleet makes them of.

use std::sync::Arc;

use crate::domain::ids::VehicleKey;
use crate::domain::latest::{Fact, Latest, Position, Rank};
use crate::domain::policy::PolicySource;
use crate::domain::sleep::Announced;
use crate::domain::time::Millis;
use crate::domain::transition::{Cause, Change, Evidence, Status, Transition};
use crate::store::{After, Checkpoint, Store, TransitionQuery};

pub fn key(customer: &str, vehicle: &str) -> Arc<VehicleKey> {
    Arc::new(VehicleKey::parse(customer, vehicle).unwrap())
}

/// Changes of one vehicle alternate between online and offline.
pub fn transition(key: &Arc<VehicleKey>, seq: u64, at: Millis) -> Transition {
    let (from, to, cause) = match seq {
        1 => (Status::NeverSeen, Status::Online, Cause::Heartbeat),
        seq if seq % 2 == 0 => (Status::Online, Status::Offline, Cause::Silence),
        _ => (Status::Offline, Status::Online, Cause::Heartbeat),
    };
    let (last_seen, deadline) = (Some(at - 5), Some(at));
    Transition {
        key: Arc::clone(key),
        change: Change { seq, from, to, at, cause, last_seen, deadline },
        decided_at: at + 3,
        evidence: Evidence {
            last_seen_ms: last_seen,
            deadline_ms: deadline,
            offline_after_ms: 90_000,
            policy_source: PolicySource::Customer,
            position: Some(position(at, 53.25)),
            usual_gap_ms: Some(30_000),
            session: Some(77),
            clock_skew_ms: Some(-1_250),
        },
    }
}

pub fn position(at_ms: Millis, lat: f64) -> Position {
    Position { lat, lon: -2.965_432_1, at_ms, speed_kmh: Some(48.3), heading_deg: None }
}

pub fn fact<T>(value: T, at: Millis, seq: Option<u64>) -> Fact<T> {
    Fact { value, at, rank: Rank::of(seq) }
}

/// What a vehicle with every gauge says.
pub fn checkpoint(key: &Arc<VehicleKey>, last_seen: Millis) -> Checkpoint {
    let metrics = vec![("oil \"hot\"".into(), 91.5), ("axle_1_t".into(), -0.25)];
    let latest = Latest {
        position: Some(position(last_seen, 54.5)),
        position_rank: Rank::of(Some(7)),
        battery_pct: Some(fact(81.4, last_seen - 1, Some(6))),
        odometer_km: Some(fact(120_345.7, last_seen - 2, None)),
        ignition: Some(fact(true, last_seen - 3, Some(0))),
        metrics: Some(Arc::new(fact(metrics, last_seen - 4, Some(u64::MAX)))),
        clock_skew: Some(fact(40, last_seen, Some(7))),
    };
    Checkpoint { key: Arc::clone(key), last_seen, announced: Announced::of(600_000), latest }
}

/// Everything, in one page.
pub fn everything() -> TransitionQuery {
    TransitionQuery { limit: 100_000, ..TransitionQuery::default() }
}

pub fn place(transition: &Transition) -> (Millis, &str, &str, u64) {
    (transition.change.at, &transition.key.customer, &transition.key.vehicle, transition.change.seq)
}

pub fn after(transition: &Transition) -> After {
    let (at, customer, vehicle, seq) = place(transition);
    After { at, customer: customer.into(), vehicle: vehicle.into(), seq }
}

/// All pages of a query, one after the other.
pub async fn all_pages(store: &dyn Store, query: TransitionQuery) -> Vec<Transition> {
    let (mut query, mut all) = (query, Vec::new());
    loop {
        let page = store.transitions(&query).await.unwrap();
        assert!(page.len() <= query.limit as usize);
        let Some(oldest) = page.last() else { return all };
        query.after = Some(after(oldest));
        all.extend(page);
    }
}
