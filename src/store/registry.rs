//! What operators write about customers and vehicles: one trait beside the history, and what both stores decide alike.
//! Fed by the fleet's desk, one change at a time; read at start, and by REST for who gave a vehicle to whom.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::StoredCustomer;
use crate::domain::board::Registered;
use crate::domain::ids::VehicleKey;
use crate::domain::registration::{CustomerEdits, Edits};
use crate::domain::time::Millis;
use crate::domain::transition::Status;

/// What must be so for a change to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Condition {
    /// Nothing.
    #[default]
    None,
    /// It is not there yet.
    Absent,
    /// Its revision is this one; what nobody wrote to has 0.
    Revision(u64),
}

impl Condition {
    fn holds(self, stored: Option<u64>) -> bool {
        match self {
            Self::None => true,
            Self::Absent => stored.is_none(),
            Self::Revision(wanted) => stored.unwrap_or(0) == wanted,
        }
    }
}

/// A vehicle's row is to be made where there is none, and changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amendment {
    /// Whose.
    pub key: Arc<VehicleKey>,
    /// What becomes of its fields.
    pub edits: Edits,
    /// What must be so.
    pub condition: Condition,
}

/// What an amendment did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// There was no row.
    Created,
    /// It is another one now.
    Updated,
    /// It said so already.
    Unchanged,
    /// Its condition does not hold; nothing was done.
    Refused,
}

/// A vehicle's row as it is after an amendment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amended {
    /// Whose.
    pub key: Arc<VehicleKey>,
    /// What was done.
    pub outcome: Outcome,
    /// Names, tags and revision.
    pub registered: Registered,
    /// Its own timeout, milliseconds.
    pub offline_after: Option<Millis>,
    /// Number of its last transition, in this life or an earlier one.
    pub seq: u64,
}

/// A vehicle leaves its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departure {
    /// Which name.
    pub key: Arc<VehicleKey>,
    /// Number of its last transition.
    pub seq: u64,
    /// Since when.
    pub at: Millis,
    /// What it was until then: it leaves that level of the statistics.
    pub status: Status,
    /// Its history goes too.
    pub purge: bool,
}

/// A vehicle went from one customer to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// Whose it was.
    pub from: String,
    /// Whose it is since.
    pub to: String,
    /// Since when.
    pub at: Millis,
}

/// Amendments, a part at a time: a large import is never whole in memory.
pub type Parts = Box<dyn Iterator<Item = anyhow::Result<Vec<Amendment>>> + Send>;
/// Takes what became of each amendment, in their order. None of it holds before the whole write is done.
pub type Each = Box<dyn FnMut(Amended) -> anyhow::Result<()> + Send>;

/// The registry's part of a store. Each write is one transaction, and may be repeated without a second effect; the
/// futures may be dropped like those of [`super::Store`].
#[async_trait]
pub trait RegistryStore {
    /// Makes and changes rows of vehicles, and makes their customers. All of them or none; when `dry`, it only tells
    /// what it would do. Of two amendments of one vehicle the second finds what the first left.
    async fn amend(&self, parts: Parts, each: Each, dry: bool) -> anyhow::Result<()>;

    /// Vehicles leave their names: their rows go, and their history where it is to be purged; the minutes that this
    /// changes in the statistics are marked. Answers for each whether there was a row. A transition of before that
    /// comes later brings none back.
    async fn remove(&self, departures: &[Departure]) -> anyhow::Result<Vec<bool>>;

    /// A vehicle goes to another customer, with what is registered of it; its history stays. Nothing is done, and
    /// nothing answered, when the new name is taken in the store.
    async fn transfer(&self, departure: &Departure, to: &Arc<VehicleKey>) -> anyhow::Result<Option<Amended>>;

    /// Who gave this vehicle, under this customer, to whom, and who had given it to this one; newest first.
    async fn transfers(&self, key: &VehicleKey) -> anyhow::Result<Vec<Transfer>>;

    /// The names that vehicles have left, and the number of the last transition of each.
    async fn load_departed(&self) -> anyhow::Result<Vec<(VehicleKey, u64)>>;

    /// Forgets the names whose history was purged. Only when no transition of theirs can come any more.
    async fn forget_purged(&self) -> anyhow::Result<()>;

    /// Makes or changes a customer.
    async fn amend_customer(
        &self,
        customer: &str,
        edits: &CustomerEdits,
        condition: Condition,
    ) -> anyhow::Result<(Outcome, StoredCustomer)>;

    /// Removes a customer, and ends its keys and users. `false` when it still has vehicles in the store.
    async fn remove_customer(&self, customer: &str, at: Millis) -> anyhow::Result<bool>;
}

/// One that amends a few rows, and hands back what became of them.
///
/// # Errors
/// The store's.
pub async fn amend_all(store: &dyn super::Store, rows: Vec<Amendment>) -> anyhow::Result<Vec<Amended>> {
    let (tell, told) = std::sync::mpsc::channel();
    let each = move |row| Ok(tell.send(row)?);
    store.amend(Box::new(std::iter::once(Ok(rows))), Box::new(each), false).await?;
    Ok(told.try_iter().collect())
}

/// What is stored under one name: its row, if there is one, and what an earlier life left.
#[derive(Debug, Default)]
pub struct Current {
    pub row: Option<(Registered, Option<Millis>)>,
    pub seq: u64,
    pub departed_revision: u64,
}

/// Goes through amendments in their order and says what becomes of each; what has to be written is collected in the
/// order of the keys, each once, as it is in the end.
pub fn decide(current: &mut BTreeMap<Arc<VehicleKey>, Current>, rows: Vec<Amendment>) -> (Vec<Amended>, Vec<Amended>) {
    let (mut done, mut touched) = (Vec::with_capacity(rows.len()), BTreeSet::new());
    for Amendment { key, edits, condition } in rows {
        let known = current.entry(Arc::clone(&key)).or_default();
        let created = known.row.is_none();
        let holds = condition.holds(known.row.as_ref().map(|(registered, _)| registered.revision));
        let (mut registered, mut offline_after) = known.row.clone().unwrap_or_default();
        let before = (registered.clone(), offline_after);
        if holds {
            edits.apply(&mut registered, &mut offline_after);
        }
        let outcome = match (holds, created) {
            (false, _) => Outcome::Refused,
            (true, true) => Outcome::Created,
            (true, false) if (&registered, offline_after) == (&before.0, before.1) => Outcome::Unchanged,
            (true, false) => Outcome::Updated,
        };
        if matches!(outcome, Outcome::Created | Outcome::Updated) {
            registered.revision = registered.revision.max(known.departed_revision) + 1;
            known.row = Some((registered.clone(), offline_after));
            touched.insert(Arc::clone(&key));
        }
        done.push(Amended { key, outcome, registered, offline_after, seq: known.seq });
    }
    let write = |key: Arc<VehicleKey>| {
        let known = current.get(&key)?;
        let (registered, offline_after) = known.row.clone()?;
        Some(Amended { key, outcome: Outcome::Updated, registered, offline_after, seq: known.seq })
    };
    let writes = touched.into_iter().filter_map(write).collect();
    (done, writes)
}

/// What becomes of a customer's row.
pub fn decide_customer(
    stored: Option<StoredCustomer>,
    customer: &str,
    edits: &CustomerEdits,
    condition: Condition,
) -> (Outcome, StoredCustomer) {
    let known = stored.is_some();
    let holds = condition.holds(stored.as_ref().map(|stored| stored.revision));
    let mut new = stored.unwrap_or_else(|| StoredCustomer { customer: customer.to_owned(), ..Default::default() });
    if !holds {
        return (Outcome::Refused, new);
    }
    let before = new.clone();
    edits.apply(&mut new.name, &mut new.offline_after);
    if known && new == before {
        return (Outcome::Unchanged, new);
    }
    new.revision += 1;
    (if known { Outcome::Updated } else { Outcome::Created }, new)
}
