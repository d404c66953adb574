//! What goes: files whose time is over, files that hold what was deleted, files that no row names, and rows of long
//! ago. Called by worker.rs, and by REST with what was deleted; changes the store and the place of the files.

use std::collections::HashSet;

use super::Exports;
use crate::domain::export::{ExportId, State};
use crate::store::exports::{ExportQuery, StoredExport};

/// Files taken away at once when their time is over.
const EXPIRE_ROWS: u32 = 100;
/// Exports looked at in one statement.
const PAGE_ROWS: u32 = 1_000;

impl Exports {
    /// The history of a customer, or of one of its vehicles, was deleted: files that may hold it go within a second,
    /// and what is being written is cancelled. What waits for its turn finds nothing of it any more.
    ///
    /// # Errors
    /// The store does not take it; then it may be said again.
    pub async fn history_deleted(&self, customer: &str, vehicle: Option<&str>) -> anyhow::Result<()> {
        let now = self.clock.today();
        let mut query = ExportQuery { limit: PAGE_ROWS, ..ExportQuery::default() };
        loop {
            let page = self.store.exports(&query).await?;
            query.before = page.last().map(|last| (last.made_at, last.id));
            let is_last = page.len() < PAGE_ROWS as usize;
            let concerned = page.into_iter().filter(|export| export.order.may_hold(customer, vehicle));
            let concerned: Vec<StoredExport> = concerned.collect();
            for begun in concerned.iter().filter(|export| export.state == State::Started) {
                self.cancel(begun.id).await?;
            }
            // Also those that were begun, and came to their end before they were cancelled.
            self.store.end_exports_at(&concerned.iter().map(|export| export.id).collect::<Vec<_>>(), now).await?;
            if is_last {
                self.wake.notify_one();
                return Ok(());
            }
        }
    }

    /// Takes away the files whose time is over. The file goes first: a row without a file says so, a file without a row
    /// would stay for ever.
    pub(super) async fn expire(&self) -> anyhow::Result<()> {
        for export in self.store.due_to_expire(self.clock.today(), EXPIRE_ROWS).await? {
            if let Some(file) = &export.file {
                self.storage.remove(file).await?;
            }
            self.store.expire_export(export.id).await?;
        }
        Ok(())
    }

    /// Forgets rows of long ago, and takes away files that are neither finished nor being written: what was left by a
    /// process that died, or by a store of files that did not answer.
    pub(super) async fn sweep(&self) -> anyhow::Result<()> {
        self.store.prune_exports(self.clock.today() - self.settings.list_keep.0).await?;
        let there = self.storage.names().await?;
        let mut wanted: HashSet<String> = self.running.lock().values().map(|ticket| ticket.file.clone()).collect();
        wanted.extend(self.store.export_files().await?.0);
        for name in there.into_iter().filter(|name| is_ours(name) && !wanted.contains(name)) {
            tracing::info!("the file {name} belongs to no export, and goes");
            self.storage.remove(&name).await?;
        }
        Ok(())
    }
}

/// Whether a file has a name that we give, so that nothing else is taken away from a folder of the operator's.
fn is_ours(name: &str) -> bool {
    name.split_once('-').is_some_and(|(id, _)| ExportId::parse(id).is_some())
}
