//! Where keys are kept, and the number by which a running service sees that somebody changed them.
//! Fed by the access station and by `rollcall key`; read at start and after each change.

use std::sync::Arc;

use anyhow::{Context, anyhow};
use async_trait::async_trait;

use super::mosquitto::MosquittoStore;
use crate::domain::access::{Grant, KeyId, Scopes};
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
pub trait AccessStore: MosquittoStore + Send + Sync {
    /// Grows with every key that is made or revoked, whichever process does it.
    async fn access_revision(&self) -> anyhow::Result<i64>;

    /// Every key, revoked and expired ones too, by identifier.
    async fn load_keys(&self) -> anyhow::Result<Vec<StoredKey>>;

    /// Keeps a key; `false` when there is one of this identifier already, which stays as it is.
    async fn add_key(&self, key: &StoredKey) -> anyhow::Result<bool>;

    /// Ends a key; `false` when there is none, or it was ended before.
    async fn revoke_key(&self, id: KeyId, at: Millis) -> anyhow::Result<bool>;

    /// Ends all keys and users of a customer, and who came in by them.
    async fn end_access_of(&self, customer: &str, at: Millis) -> anyhow::Result<()>;

    /// Writes down when keys were last used; only forward in time, and without a new revision.
    async fn note_key_uses(&self, uses: &[(KeyId, Millis)]) -> anyhow::Result<()>;
}

/// A key as it lies in a table.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct KeyRow {
    id: String,
    name: String,
    customer: Option<String>,
    vehicle: Option<String>,
    scopes: String,
    hash: Vec<u8>,
    pepper: String,
    made_at_ms: Millis,
    made_by: String,
    expires_at_ms: Option<Millis>,
    revoked_at_ms: Option<Millis>,
    last_used_at_ms: Option<Millis>,
}

impl TryFrom<KeyRow> for StoredKey {
    type Error = anyhow::Error;

    fn try_from(row: KeyRow) -> anyhow::Result<Self> {
        let bad = |problem: String| anyhow!("the stored key {} cannot be read: {problem}", row.id);
        let grant = Grant {
            name: row.name,
            customer: row.customer.map(Arc::from),
            vehicle: row.vehicle.map(Arc::from),
            scopes: Scopes::parse(&row.scopes).map_err(|problem| bad(format!("scopes {problem}")))?,
            expires_at: row.expires_at_ms,
        };
        Ok(Self {
            id: KeyId::parse(&row.id).with_context(|| bad("its identifier".into()))?,
            grant,
            hash: row.hash.try_into().map_err(|_| bad("its hash".into()))?,
            pepper: row.pepper,
            made_at: row.made_at_ms,
            made_by: row.made_by,
            revoked_at: row.revoked_at_ms,
            last_used_at: row.last_used_at_ms,
        })
    }
}
