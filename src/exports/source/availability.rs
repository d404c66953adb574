//! How long each vehicle was there, dark, or unknown to us, a row a vehicle. Fed by the store, as `GET /availability`.

use std::sync::Arc;

use async_trait::async_trait;

use super::names::{Names, Progress};
use super::{Record, Source};
use crate::domain::availability::{Availability, Blind};
use crate::domain::export::{Cell, Order};
use crate::domain::time::Millis;
use crate::store::history::Name;
use crate::store::scan::Log;
use crate::store::{Store, availability};

/// Vehicles of a page.
const NAMES_AT_ONCE: usize = 50;

/// One vehicle's time.
#[derive(Debug)]
pub struct Spent {
    pub customer: String,
    pub vehicle: String,
    period: (Millis, Millis),
    sum: Availability,
}

/// The period of an order, vehicle by vehicle.
pub struct Periods {
    store: Arc<dyn Store>,
    names: Names,
    period: (Millis, Millis),
    blind: Blind,
}

impl Periods {
    pub async fn of(order: &Order, store: &Arc<dyn Store>, progress: Progress) -> anyhow::Result<Self> {
        let (from, to) = order.period();
        let blind = Blind::union(availability::blind_intervals(&**store, from, to).await?);
        let names = Names::of(order, Log::Registry, store, progress);
        Ok(Self { store: Arc::clone(store), names, period: (from, to), blind })
    }
}

#[async_trait]
impl Source for Periods {
    async fn next(&mut self) -> anyhow::Result<Option<Vec<Record>>> {
        let mut names: Vec<Name> = Vec::with_capacity(NAMES_AT_ONCE);
        while names.len() < NAMES_AT_ONCE
            && let Some(name) = self.names.next().await?
        {
            names.push(name);
        }
        if names.is_empty() {
            return Ok(None);
        }
        let sums = availability::sums(&*self.store, self.period, &self.blind, &names).await?;
        let row = |((customer, vehicle), (sum, _))| Spent { customer, vehicle, period: self.period, sum };
        Ok(Some(names.into_iter().zip(sums).map(row).map(Box::new).map(Record::Spent).collect()))
    }

    fn progress(&self) -> f64 {
        self.names.progress(1.0)
    }
}

impl Spent {
    /// One cell, but for customer and vehicle.
    pub fn cell(&self, column: &str) -> Cell<'_> {
        let sum = &self.sum;
        match column {
            "from" => Cell::Time(self.period.0),
            "to" => Cell::Time(self.period.1),
            "online_ms" => Cell::Whole(sum.online),
            "offline_ms" => Cell::Whole(sum.offline),
            "unobserved_ms" => Cell::Whole(sum.unobserved),
            "never_seen_ms" => Cell::Whole(sum.never_seen),
            "availability" => Cell::maybe_number(sum.share()),
            "outages" => Cell::Whole(sum.outages as i64),
            "longest_outage_ms" => Cell::Whole(sum.longest_outage),
            _ => Cell::Absent,
        }
    }
}
