//! What earlier runs left beside the store: transitions in the spool, and when vehicles were last heard.
//! Used by app.rs; part of the start, before the fleet is read from the store.

use anyhow::Context;

use crate::settings::Settings;
use crate::store::Store;
use crate::store::last_seen::{Seen, SeenFile};
use crate::store::local::Local;
use crate::store::spool::{self, Limits, Spool};

/// What an earlier run left in the spool is brought to the store, before the fleet is read from there.
pub async fn open_spool(
    local: &Local,
    store: &dyn Store,
    identity: String,
    settings: &Settings,
) -> anyhow::Result<Spool> {
    let limits = Limits { bytes_max: settings.store.spool_bytes_max, sync: settings.store.spool_sync };
    let mut spool = Spool::open(&local.path("spool"), &identity, limits)?;
    let rows = spool::replay(&mut spool, store).await.context("cannot bring the spool to the store")?;
    if rows > 0 {
        tracing::info!(rows, "what waited in the spool is in the store");
    }
    Ok(spool)
}

/// What the last run left in the local file. One that cannot be used is as good as none: the store has its own.
pub fn read_seen(file: &SeenFile) -> Option<Seen> {
    match file.read() {
        Ok(Some(seen)) => return Some(seen),
        Ok(None) => {
            tracing::info!("there is no file {} yet; the store says when vehicles were heard", file.path().display())
        }
        Err(error) => tracing::warn!(
            "the file {} is ignored: {error:#}; the store says when vehicles were last heard, a minute or two old",
            file.path().display()
        ),
    }
    None
}
