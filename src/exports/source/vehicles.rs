//! The vehicles as they are now, a row each. Fed by the board, a part at a time, so that it is held for well under a
//! millisecond.

use std::sync::Arc;

use async_trait::async_trait;

use super::names::filter;
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
    given: u32,
    total: u32,
    ended: bool,
}

impl Vehicles {
    pub fn of(order: &Order, feed: &Arc<Feed>) -> Self {
        let query = Query { filter: filter(order), ..Query::default() };
        let total = feed.board().counts(&query.filter).total();
        let named = order.vehicles.clone();
        Self { feed: Arc::clone(feed), query, named, after: None, given: 0, total, ended: false }
    }

    fn all(&mut self) -> Vec<Record> {
        let board = self.feed.board();
        let after = self.after.as_ref().map(|(customer, vehicle)| (customer.as_str(), vehicle.as_str()));
        let (slots, _) = board.page(&self.query, after, PART_ROWS);
        let rows: Vec<&Row> = slots.iter().filter_map(|slot| board.row(*slot)).collect();
        self.ended = slots.len() < PART_ROWS;
        let last = rows.last().map(|row| (row.key.customer.to_string(), row.key.vehicle.to_string()));
        self.after = last.or(self.after.take());
        self.given += rows.len() as u32;
        rows.into_iter().map(record).collect()
    }

    fn those_named(&mut self) -> Vec<Record> {
        self.ended = true;
        let board = self.feed.board();
        let customer = self.query.filter.customers.first().map_or("", String::as_str);
        self.named.iter().filter_map(|vehicle| board.find(customer, vehicle)).map(record).collect()
    }
}

fn record(row: &Row) -> Record {
    Record::Vehicle(Box::new(Vehicle::from(row)))
}

#[async_trait]
impl Source for Vehicles {
    async fn next(&mut self) -> anyhow::Result<Option<Vec<Record>>> {
        if self.ended {
            return Ok(None);
        }
        Ok(Some(if self.named.is_empty() { self.all() } else { self.those_named() }))
    }

    fn progress(&self) -> f64 {
        if self.ended { 1.0 } else { f64::from(self.given) / f64::from(self.total.max(self.given).max(1)) }
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
