//! The vehicles as they are now, a row each. Fed by the board, a part at a time, so that it is held for well under a
//! millisecond.

use std::sync::Arc;

use async_trait::async_trait;

use super::names::{Progress, filter};
use super::transitions::cell_of_position;
use super::{Record, Source};
use crate::domain::board::{Registered, Row};
use crate::domain::export::{Cell, Column, Order};
use crate::domain::ids::VehicleKey;
use crate::domain::latest::Fact;
use crate::domain::query::Query;
use crate::domain::row::Update;
use crate::domain::sheet;
use crate::live::feed::Feed;

/// Vehicles of one part.
const PART_ROWS: usize = 1_000;

/// One vehicle.
#[derive(Debug)]
pub struct Vehicle {
    pub key: Arc<VehicleKey>,
    registered: Option<Box<Registered>>,
    state: Update,
}

impl From<&Row> for Vehicle {
    fn from(row: &Row) -> Self {
        Self { key: Arc::clone(&row.key), registered: row.registered.clone(), state: row.state.clone() }
    }
}

/// The vehicles of an order.
pub struct Vehicles {
    feed: Arc<Feed>,
    query: Query,
    /// Sorted; empty: all.
    named: Vec<String>,
    after: Option<(String, String)>,
    progress: Progress,
    ended: bool,
}

impl Vehicles {
    pub fn of(order: &Order, feed: &Arc<Feed>, progress: Progress) -> Self {
        let query = Query { filter: filter(order), ..Query::default() };
        Self { feed: Arc::clone(feed), query, named: order.vehicles.clone(), after: None, progress, ended: false }
    }
}

/// The vehicles after this one, or those that are named.
fn part(feed: &Feed, query: &Query, named: &[String], after: Option<(String, String)>) -> Vec<Vehicle> {
    let board = feed.board();
    if !named.is_empty() {
        let customer = query.filter.customers.first().map_or("", String::as_str);
        return named.iter().filter_map(|vehicle| board.find(customer, vehicle)).map(Vehicle::from).collect();
    }
    let after = after.as_ref().map(|(customer, vehicle)| (customer.as_str(), vehicle.as_str()));
    let (slots, _) = board.page(query, after, PART_ROWS);
    slots.iter().filter_map(|slot| board.row(*slot)).map(Vehicle::from).collect()
}

#[async_trait]
impl Source for Vehicles {
    async fn next(&mut self) -> anyhow::Result<Option<Vec<Record>>> {
        if self.ended {
            return Ok(None);
        }
        let (feed, query, named) = (Arc::clone(&self.feed), self.query.clone(), self.named.clone());
        let after = self.after.take();
        // Elsewhere, on a thread of usual priority: this one might be kept waiting while it holds the board.
        let rows = tokio::spawn(async move { part(&feed, &query, &named, after) }).await?;
        self.ended = rows.len() < PART_ROWS || !self.named.is_empty();
        self.after = rows.last().map(|row| (row.key.customer.to_string(), row.key.vehicle.to_string()));
        rows.iter().for_each(|_| self.progress.begin());
        Ok(Some(rows.into_iter().map(Box::new).map(Record::Vehicle).collect()))
    }

    fn progress(&self) -> f64 {
        self.progress.share(1.0)
    }
}

impl Vehicle {
    /// One cell, but for customer and vehicle.
    pub fn cell(&self, column: &Column) -> Cell<'_> {
        let (state, names) = (&self.state, self.registered.as_deref());
        let latest = &state.latest;
        if let Some(name) = column.metric() {
            let readings = latest.metrics.as_deref().map(|fact| &fact.value);
            let reading = readings.and_then(|list| list.iter().find(|(known, _)| **known == *name));
            return Cell::maybe_number(reading.map(|(_, value)| *value));
        }
        match column.name.as_str() {
            "name" => Cell::maybe_text(names.and_then(|names| names.name.as_deref())),
            "registration" => Cell::maybe_text(names.and_then(|names| names.registration.as_deref())),
            "vin" => Cell::maybe_text(names.and_then(|names| names.vin.as_deref())),
            "tags" => match names.filter(|names| !names.tags.is_empty()) {
                Some(names) => Cell::text(sheet::tags_text(&names.tags)),
                None => Cell::Absent,
            },
            "status" => Cell::text(state.status.word()),
            "status_since" => Cell::maybe_time(state.since),
            "seq" => Cell::Whole(state.seq as i64),
            "last_seen" => Cell::maybe_time(state.last_seen),
            "battery_pct" => Cell::maybe_short(latest.battery_pct.map(Fact::value)),
            "odometer_km" => Cell::maybe_number(latest.odometer_km.map(Fact::value)),
            "ignition" => latest.ignition.map(Fact::value).map_or(Cell::Absent, Cell::Truth),
            "clock_skew_ms" => Cell::maybe_whole(latest.clock_skew_shown()),
            "offline_after_ms" => Cell::Whole(state.policy.offline_after),
            "policy_source" => Cell::text(state.policy.source.word()),
            place => latest.position.as_ref().map_or(Cell::Absent, |position| cell_of_position(position, place)),
        }
    }
}
