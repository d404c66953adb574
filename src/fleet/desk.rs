//! The desk: every change that operators make to who is known, one at a time.
//!
//! Owns: the order of those changes. Receives: `Register`, `Import`, `Remove`, `Give` and changes of customers from
//! REST. Sends: rows to the store; `Restore`, `AmendSome`, `RetimeSome`, `RetireSome` and `RemoveSome` to shards. The
//! store comes first: what it did not take does not happen live either. Bound: one change under way, the mailbox holds
//! 16 more and then REST waits. On death: the process ends.

mod change;
mod live;
mod staged;

use std::sync::Arc;

use actix::prelude::*;

use super::shard::{Parts, Shard};
use crate::domain::heartbeat::Refusal;
use crate::domain::ids::VehicleKey;
use crate::domain::registration::CustomerEdits;
use crate::domain::time::Millis;
use crate::store::registry::{Amended, Amendment, Condition, Outcome};
use crate::store::{Store, StoredCustomer};
use live::Live;
pub use staged::{PART_ROWS, Staged};

/// Rows of vehicles are made and changed. Answers what became of each; they live, but the board may show it a little
/// later.
///
/// Errors: the store did not take them, and nothing has changed; or a cap was reached, and they live from the next
/// start on.
#[derive(Message)]
#[rtype(result = "anyhow::Result<Vec<Amended>>")]
pub struct Register(pub Vec<Amendment>);

/// As many as a file holds, all of them or none. Answers what was done, and what the board shows last of it.
#[derive(Message)]
#[rtype(result = "anyhow::Result<(Imported, Vec<Written>)>")]
pub struct Import {
    /// What is to be done.
    pub rows: Staged<Amendment>,
    /// Only say what would be.
    pub dry: bool,
}

/// A vehicle, and the revision that the board will show at least.
pub type Written = (Arc<VehicleKey>, u64);

/// What an import did, or would do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Imported {
    /// Vehicles that are new.
    pub created: u64,
    /// Vehicles that are registered otherwise than before.
    pub updated: u64,
    /// Vehicles that were like this already.
    pub unchanged: u64,
}

impl Imported {
    fn count(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Created => self.created += 1,
            Outcome::Updated => self.updated += 1,
            Outcome::Unchanged | Outcome::Refused => self.unchanged += 1,
        }
    }
}

/// A vehicle leaves for good. Answers whether it was there.
///
/// Errors: the store did not let it go, and it lives on.
#[derive(Message)]
#[rtype(result = "Result<(), NotRemoved>")]
pub struct Remove {
    /// Which one.
    pub key: Arc<VehicleKey>,
    /// Its revision must be this one.
    pub revision: Option<u64>,
    /// Its history goes too; also that of one that left before.
    pub purge: bool,
}

/// Why a vehicle was not removed.
#[derive(Debug)]
pub enum NotRemoved {
    /// Nobody knows it.
    Unknown,
    /// Its revision is another one.
    Changed,
    /// The store did not take it.
    Store(anyhow::Error),
}

/// A vehicle goes to another customer, under the same name.
#[derive(Message)]
#[rtype(result = "Result<(), NotGiven>")]
pub struct Give {
    /// Which one.
    pub from: Arc<VehicleKey>,
    /// Its new names.
    pub to: Arc<VehicleKey>,
    /// Since when; now, when nobody says.
    pub at: Option<Millis>,
}

/// Why a vehicle was not given away.
#[derive(Debug)]
pub enum NotGiven {
    /// Nobody knows it.
    Unknown,
    /// The other customer has one of this name.
    Taken,
    /// There is no room.
    Full(Refusal),
    /// It changed its status after that, and its history stays with the customer of its time.
    TooEarly(Millis),
    /// The store did not take it.
    Store(anyhow::Error),
}

/// A customer is made or changed; a new timeout holds at once for its vehicles.
#[derive(Message)]
#[rtype(result = "anyhow::Result<(Outcome, StoredCustomer)>")]
pub struct AmendCustomer {
    /// Which one.
    pub customer: String,
    /// What becomes of its fields.
    pub edits: CustomerEdits,
    /// What must be so.
    pub condition: Condition,
}

/// A customer leaves. Answers `false` when it still has vehicles.
#[derive(Message)]
#[rtype(result = "anyhow::Result<bool>")]
pub struct RemoveCustomer {
    /// Which one.
    pub customer: String,
    /// Its vehicles leave before.
    pub vehicles: bool,
    /// And their history.
    pub purge: bool,
}

/// The desk.
pub struct Desk {
    store: Arc<dyn Store>,
    live: Live,
}

impl Desk {
    /// A desk over these shards.
    pub fn new(store: Arc<dyn Store>, parts: Parts, shards: Vec<Addr<Shard>>) -> Self {
        Self { store, live: Live { parts, shards } }
    }

    /// Runs a change to its end before the next one begins.
    fn one_at_a_time<T: 'static>(&self, change: impl Future<Output = T> + 'static) -> AtomicResponse<Self, T> {
        AtomicResponse::new(Box::pin(change.into_actor(self)))
    }
}

impl Actor for Desk {
    type Context = Context<Self>;
}

impl Handler<Register> for Desk {
    type Result = AtomicResponse<Self, anyhow::Result<Vec<Amended>>>;

    fn handle(&mut self, Register(rows): Register, _: &mut Self::Context) -> Self::Result {
        self.one_at_a_time(change::register(Arc::clone(&self.store), self.live.clone(), rows))
    }
}

impl Handler<Import> for Desk {
    type Result = AtomicResponse<Self, anyhow::Result<(Imported, Vec<Written>)>>;

    fn handle(&mut self, Import { rows, dry }: Import, _: &mut Self::Context) -> Self::Result {
        self.one_at_a_time(change::import(Arc::clone(&self.store), self.live.clone(), rows, dry))
    }
}

impl Handler<Remove> for Desk {
    type Result = AtomicResponse<Self, Result<(), NotRemoved>>;

    fn handle(&mut self, remove: Remove, _: &mut Self::Context) -> Self::Result {
        self.one_at_a_time(change::remove(Arc::clone(&self.store), self.live.clone(), remove))
    }
}

impl Handler<Give> for Desk {
    type Result = AtomicResponse<Self, Result<(), NotGiven>>;

    fn handle(&mut self, give: Give, _: &mut Self::Context) -> Self::Result {
        self.one_at_a_time(change::give(Arc::clone(&self.store), self.live.clone(), give))
    }
}

impl Handler<AmendCustomer> for Desk {
    type Result = AtomicResponse<Self, anyhow::Result<(Outcome, StoredCustomer)>>;

    fn handle(&mut self, amend: AmendCustomer, _: &mut Self::Context) -> Self::Result {
        self.one_at_a_time(change::amend_customer(Arc::clone(&self.store), self.live.clone(), amend))
    }
}

impl Handler<RemoveCustomer> for Desk {
    type Result = AtomicResponse<Self, anyhow::Result<bool>>;

    fn handle(&mut self, remove: RemoveCustomer, _: &mut Self::Context) -> Self::Result {
        self.one_at_a_time(change::remove_customer(Arc::clone(&self.store), self.live.clone(), remove))
    }
}
