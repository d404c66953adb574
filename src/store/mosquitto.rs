//! Where the hashes lie by which a Mosquitto knows a key again. Fed by the access station with each key that is made;
//! read by `rollcall mosquitto-auth` alone, so that they take no memory of a running service.

use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::domain::access::KeyId;

/// What the stores can do for an external Mosquitto. Writes may be repeated; see [`Store`](super::Store) for what holds
/// for these futures.
#[async_trait]
pub trait MosquittoStore: Send + Sync {
    /// Keeps the hash of a key.
    async fn keep_mosquitto_hash(&self, id: KeyId, hash: &str) -> anyhow::Result<()>;

    /// The hash of every key that has one.
    async fn mosquitto_hashes(&self) -> anyhow::Result<BTreeMap<KeyId, String>>;
}

/// Hashes as they lie in a table; what is no key's identifier is nobody's.
pub(super) fn by_key(rows: Vec<(String, String)>) -> BTreeMap<KeyId, String> {
    rows.into_iter().filter_map(|(id, hash)| Some((KeyId::parse(&id)?, hash))).collect()
}
