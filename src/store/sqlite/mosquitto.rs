//! Hashes for an external Mosquitto in Sqlite, each statement beside the function that binds it.
//! Fed by the access station through the trait; one transaction a write.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::Sqlite;
use crate::domain::access::KeyId;
use crate::store::mosquitto::{MosquittoStore, by_key};

const KEEP: &str = "
    INSERT INTO mosquitto_login (key_id, hash) VALUES (?1, ?2)
    ON CONFLICT (key_id) DO UPDATE SET hash = excluded.hash";

const ALL: &str = "SELECT key_id, hash FROM mosquitto_login ORDER BY key_id";

/// Every statement of this file.
#[cfg(test)]
pub const STATEMENTS: &[&str] = &[KEEP, ALL];

#[async_trait]
impl MosquittoStore for Sqlite {
    async fn keep_mosquitto_hash(&self, id: KeyId, hash: &str) -> anyhow::Result<()> {
        let (id, hash) = (id.to_string(), hash.to_owned());
        self.write(|connection| {
            Box::pin(async {
                sqlx::query(KEEP).bind(id).bind(hash).execute(connection).await?;
                Ok(())
            })
        })
        .await
    }

    async fn mosquitto_hashes(&self) -> anyhow::Result<BTreeMap<KeyId, String>> {
        let rows = self.read(|connection| Box::pin(async { Ok(sqlx::query_as(ALL).fetch_all(connection).await?) }));
        Ok(by_key(rows.await?))
    }
}
