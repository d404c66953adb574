//! Brings stored vehicles to life, a page at a time on three stations at once: one compares rows with their last
//! transitions, one reads what is compared, and here each becomes a vehicle of its shard, which goes on the board.
//! Called by the supervisor at the start; fed by the store and the local file; feeds the registry and the shards.
//!
//! Bound: [`PAGES_AHEAD`] pages that are read and not alive yet.

use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use tokio::sync::mpsc;

use super::checkpoint::repair_all;
use super::shard::{Parts, Restore, Shard};
use super::vehicle::{Origin, Standing};
use crate::domain::ids::VehicleKey;
use crate::domain::liveness::{Liveness, Stored};
use crate::domain::policy::Policy;
use crate::domain::query::Filter;
use crate::domain::sleep::Announced;
use crate::domain::time::Millis;
use crate::domain::transition::Status;
use crate::store::last_seen::Seen;
use crate::store::{Store, StoredVehicle};

/// Vehicles restored in one message to a shard.
const RESTORE_CHUNK: usize = 5_000;
/// Pages of 10,000 vehicles, 10 MB each: one that is being read, and one in hand.
const PAGES_AHEAD: usize = 1;
/// How soon to ask again whether the board shows everybody.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Brings every stored vehicle to life; returns when all are on the board.
///
/// # Errors
/// The store cannot be read or written, or a shard died over its vehicles.
pub async fn restore(
    store: &Arc<dyn Store>,
    parts: &Parts,
    shards: &[Addr<Shard>],
    seen: Option<Seen>,
) -> anyhow::Result<()> {
    store.load_customers().await?.into_iter().for_each(|customer| parts.customers.set(customer));
    // Nothing of an earlier run can come any more: the spool was brought to the store before.
    store.forget_purged().await?;
    store.load_departed().await?.into_iter().for_each(|(key, seq)| parts.registry.note_departed(key, seq));

    let (tell, compared) = mpsc::unbounded_channel();
    let (read, mut pages) = mpsc::channel(PAGES_AHEAD);
    let (rows, health) = (Arc::clone(store), parts.persister.health());
    let comparing = tokio::spawn(async move {
        let tell = |end: Option<&VehicleKey>| {
            // A reader that failed says so itself.
            let _ = tell.send(end.is_none());
        };
        repair_all(&rows, &health, tell).await
    });
    let reading = tokio::spawn(read_compared(Arc::clone(store), compared, read));
    let mut chunks: Vec<Vec<Origin>> = shards.iter().map(|_| Vec::new()).collect();
    let mut sent = Vec::new();
    while let Some(page) = pages.recv().await {
        for stored in page {
            let shard = parts.registry.shard_of(&stored.key.customer, &stored.key.vehicle);
            chunks[shard].push(origin(heard_since(stored, seen.as_ref()), parts));
            if chunks[shard].len() == RESTORE_CHUNK {
                sent.push(shards[shard].send(Restore(std::mem::take(&mut chunks[shard]))));
            }
        }
    }
    comparing.await??;
    reading.await??;
    for (shard, chunk) in shards.iter().zip(chunks) {
        sent.push(shard.send(Restore(chunk)));
    }
    for restored in sent {
        restored.await?;
    }
    // Who asks right after the start must not be told that the fleet is gone.
    let everybody = Filter::default();
    while (parts.feed.board().counts(&everybody).total() as usize) < parts.registry.total() {
        actix::clock::sleep(LOOK_AGAIN).await;
    }
    Ok(())
}

/// Reads a page for each slice that was compared, and after the last slice to the end. A page is as long as a slice.
async fn read_compared(
    store: Arc<dyn Store>,
    mut compared: mpsc::UnboundedReceiver<bool>,
    pages: mpsc::Sender<Vec<StoredVehicle>>,
) -> anyhow::Result<()> {
    let (mut last, mut all_compared): (Option<Arc<VehicleKey>>, _) = (None, false);
    loop {
        if !all_compared {
            match compared.recv().await {
                Some(is_last) => all_compared = is_last,
                // The comparison failed, and says so itself.
                None => return Ok(()),
            }
        }
        let page = store.vehicles_after(last.clone()).await?;
        match page.last() {
            Some(newest) => last = Some(Arc::clone(&newest.key)),
            None if all_compared => return Ok(()),
            None => continue,
        }
        if pages.send(page).await.is_err() {
            return Ok(());
        }
    }
}

/// What the local file knows is newer than the row.
fn heard_since(mut stored: StoredVehicle, seen: Option<&Seen>) -> StoredVehicle {
    if let Some((heard, announced)) = seen.and_then(|seen| seen.of(&stored.key))
        && stored.last_seen.is_none_or(|last_seen| last_seen <= heard)
    {
        (stored.last_seen, stored.announced) = (Some(heard), announced);
    }
    if stored.status == Status::NeverSeen {
        // Who was never seen in this life was last heard in an earlier one, if at all.
        (stored.last_seen, stored.announced) = (None, Announced::NONE);
    }
    stored
}

fn origin(stored: StoredVehicle, parts: &Parts) -> Origin {
    let customers = parts.customers.timeout(&stored.key.customer);
    let policy = Policy::resolve(&parts.rules, customers, stored.offline_after);
    let StoredVehicle { key, registered, status, since, seq, last_seen, announced, latest, .. } = stored;
    // Nobody was heard in the future, whatever the clock of the last run was.
    let past = |date: Option<Millis>| date.map(|date| date.min(parts.clock.started_at()));
    let (since, last_seen) = (past(since), past(last_seen));
    let known = Stored { status, since, seq, last_seen, announced };
    let liveness = Liveness::restored(known, policy, parts.blind_from);
    Origin { entry: parts.registry.restore(key), registered, liveness, latest, policy, standing: Standing::Stored }
}
