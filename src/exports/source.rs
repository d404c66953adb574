//! Where the rows of an export come from, a page at a time. One file a kind; what they have in common is here.
//! Fed by the store and the board; feeds run.rs.

mod availability;
mod heartbeats;
mod names;
mod transitions;
mod vehicles;

use std::sync::Arc;

use async_trait::async_trait;

use crate::domain::export::{Cell, Column, Kind, Order};
use crate::domain::logged::Logged;
use crate::domain::transition::Transition;
use crate::live::feed::Feed;
use crate::store::Store;
use availability::Spent;
use vehicles::Vehicle;

pub use names::Progress;

/// Rows of a page: a statement of some milliseconds, and about a megabyte.
const PAGE_ROWS: u32 = 2_000;

/// Rows of one kind, ordered by customer, vehicle, time.
#[async_trait]
pub trait Source: Send {
    /// The next page, which may be empty; none at the end.
    async fn next(&mut self) -> anyhow::Result<Option<Vec<Record>>>;

    /// How far it is, 0 to 1.
    fn progress(&self) -> f64;
}

/// One row of any kind.
#[derive(Debug)]
pub enum Record {
    Transition(Box<Transition>),
    Spent(Box<Spent>),
    Heartbeat(Box<Logged>),
    Vehicle(Box<Vehicle>),
}

impl Record {
    /// Whose: customer and vehicle.
    pub fn key(&self) -> (&str, &str) {
        match self {
            Self::Transition(transition) => (&transition.key.customer, &transition.key.vehicle),
            Self::Spent(spent) => (&spent.customer, &spent.vehicle),
            Self::Heartbeat(beat) => (&beat.key.customer, &beat.key.vehicle),
            Self::Vehicle(vehicle) => (&vehicle.key.customer, &vehicle.key.vehicle),
        }
    }

    /// What is in the columns.
    pub fn cells(&self, columns: &[Column]) -> Vec<Cell<'_>> {
        let (customer, vehicle) = self.key();
        let cell = |column: &Column| match column.name.as_str() {
            "customer" => Cell::text(customer),
            "vehicle" => Cell::text(vehicle),
            name => match self {
                Self::Transition(transition) => transitions::cell(transition, name),
                Self::Spent(spent) => spent.cell(name),
                Self::Heartbeat(beat) => heartbeats::cell(beat, column),
                Self::Vehicle(vehicle) => vehicle.cell(column),
            },
        };
        columns.iter().map(cell).collect()
    }
}

/// The source of an order, of which nothing is done.
///
/// # Errors
/// The store does not answer.
pub async fn open(
    order: &Order,
    store: &Arc<dyn Store>,
    feed: &Arc<Feed>,
    progress: Progress,
) -> anyhow::Result<Box<dyn Source>> {
    Ok(match order.kind {
        Kind::Transitions => Box::new(transitions::Transitions::of(order, store, progress)),
        Kind::Availability => Box::new(availability::Periods::of(order, store, progress).await?),
        Kind::Heartbeats => Box::new(heartbeats::Heartbeats::of(order, store, progress)),
        Kind::Vehicles => Box::new(vehicles::Vehicles::of(order, feed, progress)),
    })
}
