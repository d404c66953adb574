//! Where keys are kept, and the number by which a running service sees that somebody changed them.
//! Fed by the access station and by `rollcall key`; read at start and after each change.

use async_trait::async_trait;

use crate::domain::access::{Grant, KeyId};
use crate::domain::time::Millis;

/// A key as it is stored: everything but its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredKey {
    /// Its public half.
    pub id: KeyId,
    /// What it is for.
    pub grant: Grant,
    /// Keyed hash of its secret.
    pub hash: [u8; 32],
    /// Which pepper keyed the hash: with another one the key can never match.
    pub pepper: String,
    /// When it was made.
    pub made_at: Millis,
    /// By whom, for people.
    pub made_by: String,
    /// When it was revoked; it is kept, so that an old audit entry still has a name.
    pub revoked_at: Option<Millis>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Millis>,
}

/// What the stores can do for who may come in. Every write may be repeated without a second effect; see
/// [`Store`](super::Store) for what holds for these futures.
#[async_trait]
pub trait AccessStore: Send + Sync {
    /// Grows with every key that is made or revoked, whichever process does it.
    async fn access_revision(&self) -> anyhow::Result<i64>;

    /// Every key, revoked and expired ones too, by identifier.
    async fn load_keys(&self) -> anyhow::Result<Vec<StoredKey>>;

    /// Keeps a key; `false` when there is one of this identifier already, which stays as it is.
    async fn add_key(&self, key: &StoredKey) -> anyhow::Result<bool>;

    /// Ends a key; `false` when there is none, or it was ended before.
    async fn revoke_key(&self, id: KeyId, at: Millis) -> anyhow::Result<bool>;

    /// Writes down when keys were last used; only forward in time, and without a new revision.
    async fn note_key_uses(&self, uses: &[(KeyId, Millis)]) -> anyhow::Result<()>;
}
