//! The changes themselves, from their beginning to their end: the store first, then who lives. Run by the desk, one at
//! a time; a vehicle that leaves falls silent before the store is asked, and lives on if that says no.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::live::Live;
use super::staged::{PART_ROWS, Staged};
use super::{AmendCustomer, Give, Imported, NotGiven, NotRemoved, Remove, RemoveCustomer, Written};
use crate::domain::ids::VehicleKey;
use crate::domain::transition::Status;
use crate::fleet::vehicle::Origin;
use crate::store::registry::{Amended, Amendment, Departure, Outcome, amend_all};
use crate::store::{Store, StoredCustomer};

pub async fn register(store: Arc<dyn Store>, live: Live, rows: Vec<Amendment>) -> anyhow::Result<Vec<Amended>> {
    let done = amend_all(&*store, rows).await?;
    live.apply(done.clone()).await?;
    Ok(done)
}

/// What the store answers waits in a second file: it holds only once the whole file is stored.
pub async fn import(
    store: Arc<dyn Store>,
    live: Live,
    rows: Staged<Amendment>,
    dry: bool,
) -> anyhow::Result<(Imported, Vec<Written>)> {
    let done = Arc::new(Mutex::new((Staged::<Amended>::new()?, Imported::default())));
    let (noted, registry) = (Arc::clone(&done), Arc::clone(&live.parts.registry));
    let each = move |row: Amended| {
        let (rows, counts) = &mut *noted.lock();
        counts.count(row.outcome);
        let lives = registry.knows(&row.key.customer, &row.key.vehicle);
        if dry || (row.outcome == Outcome::Unchanged && lives) { Ok(()) } else { rows.push(&row) }
    };
    store.amend(Box::new(rows.parts()?), Box::new(each), dry).await?;
    let (rows, counts) = std::mem::replace(&mut *done.lock(), (Staged::new()?, Imported::default()));
    // A shard works in order: once the board shows the last part of each, it shows all.
    let mut last = BTreeMap::new();
    for part in rows.parts()? {
        let part = part?;
        let mut of_part = BTreeMap::<usize, Vec<Written>>::new();
        for Amended { key, registered, .. } in &part {
            let shard = live.parts.registry.shard_of(&key.customer, &key.vehicle);
            of_part.entry(shard).or_default().push((Arc::clone(key), registered.revision));
        }
        last.append(&mut of_part);
        live.apply(part).await?;
    }
    Ok((counts, last.into_values().flatten().collect()))
}

fn departure(origin: &Origin, at: i64, purge: bool) -> Departure {
    let (seq, status) = (origin.liveness.seq(), origin.liveness.status());
    Departure { key: Arc::clone(&origin.entry.key), seq, at, status, purge }
}

/// Takes these vehicles out of life, then out of the store.
async fn leave(store: &Arc<dyn Store>, live: &Live, keys: &[Arc<VehicleKey>], purge: bool) -> anyhow::Result<()> {
    let registry = &live.parts.registry;
    let entries = keys.iter().filter_map(|key| registry.find(&key.customer, &key.vehicle));
    let origins = live.retire(entries.collect()).await?;
    let today = live.parts.clock.today();
    let departures: Vec<Departure> = origins.iter().map(|origin| departure(origin, today, purge)).collect();
    if let Err(error) = store.remove(&departures).await {
        live.bring_back(origins).await?;
        return Err(error);
    }
    live.forget(origins).await?;
    if purge {
        forget_purged(store, live).await;
    }
    Ok(())
}

/// The names themselves go too, unless a transition of theirs may still be on its way, or the store fails just now;
/// then the next start does it.
async fn forget_purged(store: &Arc<dyn Store>, live: &Live) {
    let health = live.parts.persister.health();
    let late = health.pending() > 0 || health.spool().is_some_and(|spool| spool.rows > 0);
    if !late {
        let _at_next_start = store.forget_purged().await;
    }
}

pub async fn remove(store: Arc<dyn Store>, live: Live, remove: Remove) -> Result<(), NotRemoved> {
    let Remove { key, revision, purge } = remove;
    let registry = &live.parts.registry;
    if let Some(entry) = registry.find(&key.customer, &key.vehicle) {
        let shown = live.parts.feed.board().row(entry.slot).map(|row| row.revision());
        if revision.is_some_and(|wanted| shown != Some(wanted)) {
            return Err(NotRemoved::Changed);
        }
        return leave(&store, &live, &[key], purge).await.map_err(NotRemoved::Store);
    }
    let left = registry.last_seq(&key).filter(|_| purge).ok_or(NotRemoved::Unknown)?;
    purge_departed(&store, &live, vec![(key, left)]).await.map_err(NotRemoved::Store)
}

/// Deletes what is left of vehicles that had left their names before: the history under them.
async fn purge_departed(store: &Arc<dyn Store>, live: &Live, names: Vec<(Arc<VehicleKey>, u64)>) -> anyhow::Result<()> {
    let at = live.parts.clock.today();
    let gone = |(key, seq)| Departure { key, seq, at, status: Status::NeverSeen, purge: true };
    let gone: Vec<Departure> = names.into_iter().map(gone).collect();
    for part in gone.chunks(PART_ROWS) {
        store.remove(part).await?;
    }
    forget_purged(store, live).await;
    Ok(())
}

pub async fn give(store: Arc<dyn Store>, live: Live, Give { from, to, at }: Give) -> Result<(), NotGiven> {
    let registry = &live.parts.registry;
    let entry = registry.find(&from.customer, &from.vehicle).ok_or(NotGiven::Unknown)?;
    if registry.knows(&to.customer, &to.vehicle) {
        return Err(NotGiven::Taken);
    }
    registry.has_room_for(&to.customer, 0, 1).map_err(NotGiven::Full)?;
    let origins = live.retire(vec![entry]).await.map_err(NotGiven::Store)?;
    let Some(origin) = origins.first() else { return Err(NotGiven::Unknown) };
    let since = origin.liveness.since().map(|since| live.parts.clock.date(since));
    let at = at.unwrap_or_else(|| live.parts.clock.today());
    let outcome = match since.filter(|since| at < *since) {
        Some(since) => Err(NotGiven::TooEarly(since)),
        None => match store.transfer(&departure(origin, at, false), &to).await {
            Ok(Some(done)) => Ok(done),
            Ok(None) => Err(NotGiven::Taken),
            Err(error) => Err(NotGiven::Store(error)),
        },
    };
    match outcome {
        Ok(done) => {
            live.forget(origins).await.map_err(NotGiven::Store)?;
            live.apply(vec![done]).await.map_err(NotGiven::Store)
        }
        Err(why) => {
            live.bring_back(origins).await.map_err(NotGiven::Store)?;
            Err(why)
        }
    }
}

pub async fn amend_customer(
    store: Arc<dyn Store>,
    live: Live,
    amend: AmendCustomer,
) -> anyhow::Result<(Outcome, StoredCustomer)> {
    let AmendCustomer { customer, edits, condition } = amend;
    let (outcome, stored) = store.amend_customer(&customer, &edits, condition).await?;
    if matches!(outcome, Outcome::Created | Outcome::Updated) {
        let before = live.parts.customers.timeout(&customer);
        live.parts.customers.set(stored.clone());
        if before != stored.offline_after {
            live.retime(&customer).await?;
        }
    }
    Ok((outcome, stored))
}

pub async fn remove_customer(store: Arc<dyn Store>, live: Live, remove: RemoveCustomer) -> anyhow::Result<bool> {
    let RemoveCustomer { customer, vehicles, purge } = remove;
    let lanes = 0..live.shards.len();
    let entries = lanes.flat_map(|shard| live.parts.registry.of_customer(shard, &customer));
    let keys: Vec<Arc<VehicleKey>> = entries.map(|entry| Arc::clone(&entry.key)).collect();
    if !vehicles && !keys.is_empty() {
        return Ok(false);
    }
    let departed = if purge { live.parts.registry.departed_of(&customer) } else { Vec::new() };
    for keys in keys.chunks(PART_ROWS) {
        leave(&store, &live, keys, purge).await?;
    }
    if !departed.is_empty() {
        purge_departed(&store, &live, departed).await?;
    }
    let removed = store.remove_customer(&customer, live.parts.clock.today()).await?;
    if removed {
        live.parts.customers.remove(&customer);
    }
    Ok(removed)
}
