//! What vehicles said, a row a vehicle and instant, a column a field. Fed by the heartbeat log.
//!
//! Heartbeats of one vehicle and the same instant are one row: devices send what belongs together in several messages.
//! Of a field that comes twice the one that arrived later counts.

use std::sync::Arc;

use async_trait::async_trait;

use super::names::{Customers, Progress};
use super::{PAGE_ROWS, Record, Source};
use crate::domain::export::{Cell, Column, Order};
use crate::domain::logged::Logged;
use crate::store::Store;
use crate::store::heartbeats::HeartbeatSweep;
use crate::store::scan::Log;

/// The heartbeats of an order.
pub struct Heartbeats {
    store: Arc<dyn Store>,
    order: Order,
    customers: Customers,
    /// Where the present customer goes on.
    sweep: Option<HeartbeatSweep>,
    /// The last row so far: the next page may add to it.
    open: Option<Logged>,
    progress: Progress,
}

impl Heartbeats {
    pub fn of(order: &Order, store: &Arc<dyn Store>, progress: Progress) -> Self {
        let customers = Customers::of(order, Log::Heartbeats, store);
        Self { store: Arc::clone(store), order: order.clone(), customers, sweep: None, open: None, progress }
    }

    async fn next_sweep(&mut self) -> anyhow::Result<Option<HeartbeatSweep>> {
        let Some(customer) = self.customers.next().await? else { return Ok(None) };
        let (from, to) = self.order.period();
        let vehicles = (!self.order.vehicles.is_empty()).then(|| self.order.vehicles.as_slice().into());
        Ok(Some(HeartbeatSweep { customer, vehicles, from, to, after: None, limit: PAGE_ROWS }))
    }

    /// Puts a heartbeat after the open row, or into it; gives back the row that it closes.
    fn take(&mut self, beat: Logged) -> Option<Record> {
        let Some(open) = &mut self.open else {
            self.progress.begin();
            self.open = Some(beat);
            return None;
        };
        if open.key == beat.key && open.at == beat.at {
            add(open, beat);
            return None;
        }
        if open.key != beat.key {
            self.progress.begin();
        }
        self.open.replace(beat).map(record)
    }
}

/// What one that arrived later says of the same instant.
fn add(open: &mut Logged, later: Logged) {
    let (said, new) = (&mut open.said, later.said);
    open.arrived = later.arrived;
    open.backlog &= later.backlog;
    said.seq = new.seq.or(said.seq);
    said.position = new.position.or(said.position);
    said.speed_kmh = new.speed_kmh.or(said.speed_kmh);
    said.heading_deg = new.heading_deg.or(said.heading_deg);
    said.battery_pct = new.battery_pct.or(said.battery_pct);
    said.odometer_km = new.odometer_km.or(said.odometer_km);
    said.ignition = new.ignition.or(said.ignition);
    if let Some(new) = new.metrics {
        let all = said.metrics.get_or_insert_default();
        all.retain(|(name, _)| new.iter().all(|(other, _)| other != name));
        all.extend(*new);
    }
}

fn record(beat: Logged) -> Record {
    Record::Heartbeat(Box::new(beat))
}

#[async_trait]
impl Source for Heartbeats {
    async fn next(&mut self) -> anyhow::Result<Option<Vec<Record>>> {
        let mut sweep = match self.sweep.take() {
            Some(sweep) => sweep,
            None => match self.next_sweep().await? {
                Some(sweep) => sweep,
                None => return Ok(self.open.take().map(|last| vec![record(last)])),
            },
        };
        let page = self.store.heartbeats_in_order(&sweep).await?;
        if page.len() == PAGE_ROWS as usize {
            sweep.after = page.last().map(|last| (last.beat.key.vehicle.to_string(), last.place()));
            self.sweep = Some(sweep);
        }
        Ok(Some(page.into_iter().filter_map(|kept| self.take(kept.beat)).collect()))
    }

    fn progress(&self) -> f64 {
        let (from, to) = self.order.period();
        let within = self.open.as_ref().map_or(1.0, |open| (open.at - from) as f64 / (to - from).max(1) as f64);
        self.progress.share(within)
    }
}

/// One cell, but for customer and vehicle.
pub fn cell<'a>(beat: &'a Logged, column: &Column) -> Cell<'a> {
    let said = &beat.said;
    if let Some(name) = column.metric() {
        let reading = said.metrics.iter().flat_map(|list| list.iter()).find(|(known, _)| **known == *name);
        return Cell::maybe_number(reading.map(|(_, value)| *value));
    }
    match column.name.as_str() {
        "at" => Cell::Time(beat.at),
        "arrived" => Cell::Time(beat.arrived),
        "backlog" => Cell::Truth(beat.backlog),
        "seq" => Cell::maybe_whole(said.seq.and_then(|seq| seq.try_into().ok())),
        "lat" => Cell::maybe_number(said.position.map(|(lat, _)| lat)),
        "lon" => Cell::maybe_number(said.position.map(|(_, lon)| lon)),
        "speed_kmh" => Cell::maybe_short(said.speed_kmh),
        "heading_deg" => Cell::maybe_short(said.heading_deg),
        "battery_pct" => Cell::maybe_short(said.battery_pct),
        "odometer_km" => Cell::maybe_number(said.odometer_km),
        "ignition" => said.ignition.map_or(Cell::Absent, Cell::Truth),
        _ => Cell::Absent,
    }
}
