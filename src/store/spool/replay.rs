//! What waits in the spool is brought to the store, at start: before the fleet is read from there, so that the status
//! of each vehicle is the fold of all its transitions. Called by app.rs.

use super::Spool;
use crate::store::Store;

/// Transitions in one transaction, as in the persister.
const GROUP_ROWS: usize = 10_000;

/// Empties the spool into the store; answers how many transitions it brought.
///
/// # Errors
/// The store does not take them; they stay in the spool.
pub async fn replay(spool: &mut Spool, store: &dyn Store) -> anyhow::Result<u64> {
    let mut rows = 0;
    while let Some(batch) = spool.head(GROUP_ROWS) {
        for group in batch.entry.transitions.chunks(GROUP_ROWS) {
            store.commit(group).await?;
        }
        for gap in &batch.entry.gaps {
            store.record_gap(gap).await?;
        }
        rows += batch.entry.transitions.len() as u64;
        spool.forget(&batch);
    }
    Ok(rows)
}
