//! History read from its beginning, vehicle by vehicle, a short page at a time: what a file is written from.
//! Fed by transitions and the registry; read by the exports station. A page is one statement, so that no reader keeps
//! the store from anything else for longer than that.

use async_trait::async_trait;

use super::history::Name;
use crate::domain::time::Millis;
use crate::domain::transition::Transition;

/// What is gone through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Log {
    /// Vehicles that are there.
    Registry,
    /// Changes of status, also those of vehicles that have left.
    Transitions,
    /// The heartbeat log, likewise.
    Heartbeats,
}

/// Which rows of a vehicle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// From this instant on.
    pub from: Millis,
    /// Until before this one.
    pub to: Millis,
    /// At most so many.
    pub limit: u32,
}

/// The history of a store, from its beginning.
#[async_trait]
pub trait ScanStore: Send + Sync {
    /// At most so many customers with something in a log, in order, after this name.
    async fn customers_in(&self, log: Log, after: &str, limit: u32) -> anyhow::Result<Vec<String>>;

    /// At most so many vehicles of the named customer with something in a log, in order, after the named vehicle.
    async fn vehicles_in(&self, log: Log, after: &Name, limit: u32) -> anyhow::Result<Vec<String>>;

    /// A vehicle's transitions in a span, oldest first, after this instant and number.
    async fn transitions_forward(
        &self,
        vehicle: &Name,
        span: Span,
        after: Option<(Millis, u64)>,
    ) -> anyhow::Result<Vec<Transition>>;
}
