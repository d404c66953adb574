//! Rows as both stores write and read them: words, JSON, and the fold of transitions into their vehicle's row.
//! Fed by the trait's arguments and by result rows; feeds the statements of either store and what its callers get back.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::Context;
use serde::Deserialize;

use super::registry::{Current, Transfer};
use super::{After, Checkpoint, Claim, Mended, StoredCustomer, StoredVehicle, TransitionQuery};
use crate::domain::board::Registered;
use crate::domain::calendar::MINUTE;
use crate::domain::heartbeat::Metrics;
use crate::domain::ids::VehicleKey;
use crate::domain::latest::{Fact, Latest, Position, Rank};
use crate::domain::sleep::Announced;
use crate::domain::tags::Tags;
use crate::domain::time::Millis;
use crate::domain::transition::{Cause, Change, Evidence, Status, Transition};

/// Vehicles a statement reads at the start: a short statement each, a few megabytes, and none is left half read.
pub const VEHICLES_A_READ: i64 = 10_000;
/// Blind intervals an answer holds at most.
pub const GAPS_MAX: i64 = 10_000;

/// A transition's number as the stores keep it.
pub fn signed(seq: u64) -> anyhow::Result<i64> {
    i64::try_from(seq).with_context(|| format!("transition number {seq} is out of range"))
}

/// What a batch of transitions makes of one vehicle.
#[derive(Debug)]
pub struct Folded<'a> {
    /// Its transition with the highest number: that is its state.
    pub last: &'a Transition,
    /// Last heartbeat known.
    pub last_seen: Option<Millis>,
    /// Newest position by the device's time.
    pub position: Option<Position>,
}

/// One entry a vehicle, in the order of the keys: two writers then lock rows in the same order and cannot deadlock.
pub fn fold(transitions: &[Transition]) -> Vec<Folded<'_>> {
    let mut vehicles: BTreeMap<&VehicleKey, Folded<'_>> = BTreeMap::new();
    for transition in transitions {
        let fresh = || Folded { last: transition, last_seen: None, position: None };
        let known = vehicles.entry(&*transition.key).or_insert_with(fresh);
        let newer = transition.change.seq >= known.last.change.seq;
        if newer {
            known.last = transition;
        }
        known.last_seen = known.last_seen.max(transition.evidence.last_seen_ms);
        if let Some(position) = transition.evidence.position {
            let fits = |old: Position| position.at_ms > old.at_ms || (newer && position.at_ms == old.at_ms);
            known.position = known.position.filter(|old| !fits(*old)).or(Some(position));
        }
    }
    vehicles.into_values().collect()
}

/// The customers of these vehicles, in order.
pub fn customers_of<'a>(vehicles: &[Folded<'a>]) -> BTreeSet<&'a str> {
    vehicles.iter().map(|vehicle| &*vehicle.last.key.customer).collect()
}

/// The minutes that statistics have to count anew, by customer, in order.
pub fn marks_of(transitions: &[Transition]) -> BTreeSet<(&str, Millis)> {
    let minute = |at: Millis| at - at.rem_euclid(MINUTE);
    transitions.iter().map(|row| (&*row.key.customer, minute(row.change.at))).collect()
}

/// In the order of the keys and numbers: neighbours lie on one page of a table and of most indexes, so a batch touches
/// each page once, however its decisions came.
pub fn ordered(transitions: &[Transition]) -> Vec<&Transition> {
    let mut rows: Vec<&Transition> = transitions.iter().collect();
    rows.sort_unstable_by_key(|row| (&*row.key, row.change.seq));
    rows
}

/// One row a vehicle, the last heard, in the order of the keys.
pub fn newest_heard(rows: &[Checkpoint]) -> Vec<&Checkpoint> {
    let mut vehicles: BTreeMap<&VehicleKey, &Checkpoint> = BTreeMap::new();
    for row in rows {
        let known = vehicles.entry(&*row.key).or_insert(row);
        if known.last_seen <= row.last_seen {
            *known = row;
        }
    }
    vehicles.into_values().collect()
}

/// SQL: each of these columns of one fact from `$new` where that is not older than the row's, by the fact's time, then
/// its seq. Ends with a comma. The same words in either store.
macro_rules! newest_of {
    ($new:literal, $at:literal, $seq:literal, [$($column:literal),+]) => {
        concat!($(
            $column, " = CASE WHEN (", $new, ".", $at, ", coalesce(", $new, ".", $seq, ", -1)) >= (coalesce(vehicle.",
            $at, ", ", $new, ".", $at, "), coalesce(vehicle.", $seq, ", -1)) THEN ", $new, ".", $column,
            " ELSE vehicle.", $column, " END, "
        ),+)
    };
}
/// SQL: where a vehicle is, from `$new` where that is not older.
macro_rules! newest_position {
    ($new:literal) => {
        crate::store::rows::newest_of!(
            $new,
            "position_at_ms",
            "position_seq",
            ["lat", "lon", "position_at_ms", "speed_kmh", "heading_deg", "position_seq"]
        )
    };
}
/// SQL: every other fact, from `$new` where that is not older.
macro_rules! newest_gauges {
    ($new:literal) => {
        concat!(
            crate::store::rows::newest_of!(
                $new,
                "battery_at_ms",
                "battery_seq",
                ["battery_pct", "battery_at_ms", "battery_seq"]
            ),
            crate::store::rows::newest_of!(
                $new,
                "odometer_at_ms",
                "odometer_seq",
                ["odometer_km", "odometer_at_ms", "odometer_seq"]
            ),
            crate::store::rows::newest_of!(
                $new,
                "ignition_at_ms",
                "ignition_seq",
                ["ignition", "ignition_at_ms", "ignition_seq"]
            ),
            crate::store::rows::newest_of!(
                $new,
                "metrics_at_ms",
                "metrics_seq",
                ["metrics", "metrics_at_ms", "metrics_seq"]
            ),
            crate::store::rows::newest_of!(
                $new,
                "clock_skew_at_ms",
                "clock_skew_seq",
                ["clock_skew_ms", "clock_skew_at_ms", "clock_skew_seq"]
            )
        )
    };
}
pub(super) use {newest_gauges, newest_of, newest_position};

/// A fact as statements bind it: its value, time, and seq.
pub type FactRow<T> = (Option<T>, Option<Millis>, Option<i64>);

/// The three columns of a fact.
pub fn fact_row<T: Copy>(fact: Option<Fact<T>>) -> FactRow<T> {
    (fact.map(Fact::value), fact.map(|fact| fact.at), fact.and_then(|fact| rank_row(fact.rank)))
}

/// The metrics, as JSON, and the other columns of a fact.
pub fn metrics_row(latest: &Latest) -> anyhow::Result<FactRow<String>> {
    let fact = latest.metrics.as_deref();
    let json = fact.map(|fact| serde_json::to_string(&fact.value)).transpose()?;
    Ok((json, fact.map(|fact| fact.at), fact.and_then(|fact| rank_row(fact.rank))))
}

/// A rank as a column.
pub fn rank_row(rank: Rank) -> Option<i64> {
    rank.seq().and_then(|seq| seq.try_into().ok())
}

fn rank(seq: Option<i64>) -> Rank {
    Rank::of(seq.map(i64::unsigned_abs))
}

/// The fact of its three columns. One whose time was lost is older than any.
fn fact<T>((value, at, seq): FactRow<T>) -> Option<Fact<T>> {
    Some(Fact { value: value?, at: at.unwrap_or(0), rank: rank(seq) })
}

/// A row of `customer`.
#[derive(Debug, sqlx::FromRow)]
pub struct CustomerRow {
    customer: String,
    name: Option<String>,
    offline_after_ms: Option<Millis>,
    revision: i64,
}

impl From<CustomerRow> for StoredCustomer {
    fn from(row: CustomerRow) -> Self {
        let (name, revision) = (row.name.map(Into::into), row.revision.unsigned_abs());
        Self { customer: row.customer, name, offline_after: row.offline_after_ms, revision }
    }
}

/// A row of `vehicle`.
#[derive(Debug, sqlx::FromRow)]
pub struct VehicleRow {
    customer: String,
    vehicle: String,
    name: Option<String>,
    registration: Option<String>,
    vin: Option<String>,
    tags: String,
    offline_after_ms: Option<Millis>,
    status: String,
    status_since_ms: Option<Millis>,
    seq: i64,
    last_seen_ms: Option<Millis>,
    lat: Option<f64>,
    lon: Option<f64>,
    position_at_ms: Option<Millis>,
    speed_kmh: Option<f32>,
    heading_deg: Option<f32>,
    position_seq: Option<i64>,
    /// The other facts as one JSON array, where there are any: a column of its own costs a start more than its value.
    gauges: Option<String>,
    revision: i64,
    announced_ms: Millis,
}

/// Battery, odometer, ignition (0 or 1), metrics and clock skew, each as its value, time and seq.
#[derive(Debug, Default, Deserialize)]
struct GaugesRow(FactRow<f32>, FactRow<f64>, FactRow<u8>, FactRow<Metrics>, FactRow<Millis>);

impl VehicleRow {
    /// The vehicle of this row. Rows come ordered by customer, so the name is shared with the row before.
    pub fn into_stored(self, customer: &mut Arc<str>) -> anyhow::Result<StoredVehicle> {
        let whose = || format!("the stored vehicle {}/{}", self.customer, self.vehicle);
        let gauges = self.gauges.as_deref().map(serde_json::from_str).transpose().with_context(whose)?;
        let GaugesRow(battery, odometer, (ignition, ignition_at, ignition_seq), metrics, clock_skew) =
            gauges.unwrap_or_default();
        let latest = Latest {
            position: self.position(),
            position_rank: rank(self.position_seq),
            battery_pct: fact(battery),
            odometer_km: fact(odometer),
            ignition: fact((ignition.map(|on| on != 0), ignition_at, ignition_seq)),
            metrics: fact(metrics).map(Arc::new),
            clock_skew: fact(clock_skew),
        };
        let status = status(&self.status).with_context(whose)?;
        let tags: Tags = serde_json::from_str(&self.tags).with_context(whose)?;
        if **customer != *self.customer {
            *customer = self.customer.into();
        }
        let registered = Registered {
            name: self.name.map(Into::into),
            registration: self.registration.map(Into::into),
            vin: self.vin.map(Into::into),
            tags,
            revision: self.revision.unsigned_abs(),
        };
        Ok(StoredVehicle {
            key: Arc::new(VehicleKey { customer: Arc::clone(customer), vehicle: self.vehicle.into() }),
            registered: (registered != Registered::default()).then(|| Box::new(registered)),
            offline_after: self.offline_after_ms,
            status,
            since: self.status_since_ms,
            seq: self.seq.unsigned_abs(),
            last_seen: self.last_seen_ms,
            announced: Announced::of(self.announced_ms),
            latest,
        })
    }

    fn position(&self) -> Option<Position> {
        Some(Position {
            lat: self.lat?,
            lon: self.lon?,
            at_ms: self.position_at_ms?,
            speed_kmh: self.speed_kmh,
            heading_deg: self.heading_deg,
        })
    }
}

/// What is stored under a name that an amendment speaks of; every column but the names may be missing.
#[derive(Debug, sqlx::FromRow)]
pub struct CurrentRow {
    customer: String,
    vehicle: String,
    name: Option<String>,
    registration: Option<String>,
    vin: Option<String>,
    tags: Option<String>,
    offline_after_ms: Option<Millis>,
    revision: Option<i64>,
    seq: i64,
    departed_revision: i64,
}

impl CurrentRow {
    /// The name, and what is there. Without a revision there is no row.
    pub fn into_current(self) -> anyhow::Result<(Arc<VehicleKey>, Current)> {
        let tags = self.tags.as_deref().map(serde_json::from_str).transpose()?.unwrap_or_default();
        let registered = self.revision.map(|revision| Registered {
            name: self.name.map(Into::into),
            registration: self.registration.map(Into::into),
            vin: self.vin.map(Into::into),
            tags,
            revision: revision.unsigned_abs(),
        });
        let row = registered.map(|registered| (registered, self.offline_after_ms));
        let (seq, departed_revision) = (self.seq.unsigned_abs(), self.departed_revision.unsigned_abs());
        let key = VehicleKey { customer: self.customer.into(), vehicle: self.vehicle.into() };
        Ok((Arc::new(key), Current { row, seq, departed_revision }))
    }
}

/// A row of `transfer`.
#[derive(Debug, sqlx::FromRow)]
pub struct TransferRow {
    from_customer: String,
    to_customer: String,
    at_ms: Millis,
}

impl From<TransferRow> for Transfer {
    fn from(row: TransferRow) -> Self {
        Self { from: row.from_customer, to: row.to_customer, at: row.at_ms }
    }
}

/// Some vehicles in the order of their keys: so many after this one.
#[derive(Debug, Clone)]
pub struct Slice {
    pub customer: String,
    pub vehicle: String,
    pub rows: i64,
}

impl Slice {
    /// The first `rows` after `after`, or of all.
    pub fn after(after: Option<&VehicleKey>, rows: u32) -> Self {
        let (customer, vehicle) = after.map_or_else(Default::default, |key| (&*key.customer, &*key.vehicle));
        Self { customer: customer.to_owned(), vehicle: vehicle.to_owned(), rows: rows.max(1).into() }
    }
}

/// A row of `vehicle` that is wrong, and what its last transition says.
#[derive(Debug, sqlx::FromRow)]
pub struct FaultyRow {
    pub customer: String,
    pub vehicle: String,
    pub status: String,
    pub status_since_ms: Option<Millis>,
    pub seq: i64,
    pub true_status: String,
    pub true_since_ms: Option<Millis>,
    pub true_seq: i64,
}

impl From<FaultyRow> for Mended {
    fn from(row: FaultyRow) -> Self {
        let claim = |status, since, seq| Claim { status, since, seq };
        Self {
            key: VehicleKey { customer: row.customer.into(), vehicle: row.vehicle.into() },
            was: claim(row.status, row.status_since_ms, row.seq),
            is: claim(row.true_status, row.true_since_ms, row.true_seq),
        }
    }
}

/// A row of `transition`.
#[derive(Debug, sqlx::FromRow)]
pub struct TransitionRow {
    customer: String,
    vehicle: String,
    seq: i64,
    from_status: String,
    to_status: String,
    at_ms: Millis,
    decided_at_ms: Millis,
    cause: String,
    evidence: String,
}

impl TransitionRow {
    fn place(&self) -> (Millis, &str, &str, i64) {
        (self.at_ms, &self.customer, &self.vehicle, self.seq)
    }
}

impl TryFrom<TransitionRow> for Transition {
    type Error = anyhow::Error;

    fn try_from(row: TransitionRow) -> anyhow::Result<Self> {
        let whose = || format!("the stored transition {} of {}/{}", row.seq, row.customer, row.vehicle);
        let evidence: Evidence = serde_json::from_str(&row.evidence).with_context(whose)?;
        let change = Change {
            seq: row.seq.unsigned_abs(),
            from: status(&row.from_status).with_context(whose)?,
            to: status(&row.to_status).with_context(whose)?,
            at: row.at_ms,
            cause: Cause::from_word(&row.cause).with_context(|| format!("{} is no cause", row.cause))?,
            last_seen: evidence.last_seen_ms,
            deadline: evidence.deadline_ms,
        };
        let key = VehicleKey { customer: row.customer.into(), vehicle: row.vehicle.into() };
        Ok(Self { key: Arc::new(key), change, decided_at: row.decided_at_ms, evidence })
    }
}

fn status(word: &str) -> anyhow::Result<Status> {
    Status::from_word(word).with_context(|| format!("{word} is no status"))
}

/// Where a page ends above: every row of it is strictly before this in the order of (at, customer, vehicle, seq).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Before {
    pub at: Millis,
    pub customer: String,
    pub vehicle: String,
    pub seq: i64,
}

impl Before {
    /// One bound for both `to` and `after`: `at < to` is the same as being before (to, '', '', 0), as no name is empty.
    /// Names that the query fixes are taken out of the order, so that an index on the rest of it serves the bound.
    fn of(query: &TransitionQuery) -> anyhow::Result<Self> {
        let start_of = |at| Self { at, customer: String::new(), vehicle: String::new(), seq: 0 };
        let end = query.to.unwrap_or(Millis::MAX);
        let Some(After { at, customer, vehicle, seq }) = query.after.clone().filter(|after| after.at < end) else {
            return Ok(start_of(end));
        };
        let fixed = (query.customer.as_ref().unwrap_or(&customer), query.vehicle.as_ref().unwrap_or(&vehicle));
        match fixed.cmp(&(&customer, &vehicle)) {
            Ordering::Less => Ok(start_of(at.saturating_add(1))),
            Ordering::Greater => Ok(start_of(at)),
            Ordering::Equal => Ok(Self { at, customer, vehicle, seq: signed(seq)? }),
        }
    }
}

/// A question for transitions as the statements bind it.
#[derive(Debug)]
pub struct Page {
    pub customer: Option<String>,
    pub vehicle: Option<String>,
    /// Words of the statuses asked for, each once; all four when none is named.
    pub statuses: Vec<&'static str>,
    pub from: Millis,
    pub before: Before,
    pub limit: i64,
}

impl Page {
    /// The bounds and words of a query.
    pub fn of(query: &TransitionQuery) -> anyhow::Result<Self> {
        anyhow::ensure!(query.vehicle.is_none() || query.customer.is_some(), "a vehicle is found by its customer only");
        let named = |status: &Status| query.to_status.is_empty() || query.to_status.contains(status);
        Ok(Self {
            customer: query.customer.clone(),
            vehicle: query.vehicle.clone(),
            statuses: Status::ALL.into_iter().filter(named).map(Status::word).collect(),
            from: query.from.unwrap_or(Millis::MIN),
            before: Before::of(query)?,
            limit: query.limit.into(),
        })
    }
}

/// The newest of the rows of one list, or of several that are each in order.
pub fn newest(rows: Vec<TransitionRow>, limit: i64) -> anyhow::Result<Vec<Transition>> {
    let mut rows = rows;
    rows.sort_by(|a, b| b.place().cmp(&a.place()));
    rows.into_iter().take(usize::try_from(limit)?).map(Transition::try_from).collect()
}
