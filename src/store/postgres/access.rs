//! Keys and audit in Postgres, each statement beside the function that binds it.
//! Fed by the access station, the REST handlers and `rollcall key` through the traits; one transaction a write.

use async_trait::async_trait;
use sqlx::postgres::PgConnection;

use super::Postgres;
use super::logins::end_users_of;
use crate::domain::access::KeyId;
use crate::domain::time::Millis;
use crate::store::access::{AccessStore, KeyRow, StoredKey};
use crate::store::audit::{AuditEntry, AuditRow, AuditStore};

const REVISION: &str = "SELECT revision FROM access_revision";

const CHANGED: &str = "UPDATE access_revision SET revision = revision + 1";

const KEYS: &str = "
    SELECT id, name, customer, vehicle, scopes, hash, pepper, made_at_ms, made_by, expires_at_ms, revoked_at_ms,
           last_used_at_ms
    FROM access_key ORDER BY id";

async fn keys(connection: &mut PgConnection) -> anyhow::Result<Vec<StoredKey>> {
    let rows: Vec<KeyRow> = sqlx::query_as(KEYS).fetch_all(connection).await?;
    rows.into_iter().map(StoredKey::try_from).collect()
}

const ADD_KEY: &str = "
    INSERT INTO access_key (id, name, customer, vehicle, scopes, hash, pepper, made_at_ms, made_by, expires_at_ms)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING";

async fn add_key(connection: &mut PgConnection, key: StoredKey) -> anyhow::Result<bool> {
    let grant = &key.grant;
    let add = sqlx::query(ADD_KEY).bind(key.id.to_string()).bind(grant.name.clone()).bind(grant.customer.as_deref());
    let add = add.bind(grant.vehicle.as_deref()).bind(grant.scopes.words()).bind(key.hash.to_vec()).bind(key.pepper);
    let add = add.bind(key.made_at).bind(key.made_by).bind(grant.expires_at);
    let added = add.execute(&mut *connection).await?;
    changed(connection, added.rows_affected()).await
}

const REVOKE_KEY: &str = "UPDATE access_key SET revoked_at_ms = $2 WHERE id = $1 AND revoked_at_ms IS NULL";

async fn revoke_key(connection: &mut PgConnection, id: KeyId, at: Millis) -> anyhow::Result<bool> {
    let ended = sqlx::query(REVOKE_KEY).bind(id.to_string()).bind(at).execute(&mut *connection).await?;
    changed(connection, ended.rows_affected()).await
}

const REVOKE_KEYS_OF: &str = "
    UPDATE access_key SET revoked_at_ms = $2 WHERE customer = $1 AND revoked_at_ms IS NULL";

/// Ends every key of a customer, and its users with their sessions.
pub async fn end_access_of(connection: &mut PgConnection, customer: &str, at: Millis) -> anyhow::Result<()> {
    let ended = sqlx::query(REVOKE_KEYS_OF).bind(customer).bind(at).execute(&mut *connection).await?;
    changed(connection, ended.rows_affected()).await?;
    end_users_of(connection, customer, at).await
}

async fn changed(connection: &mut PgConnection, rows: u64) -> anyhow::Result<bool> {
    if rows > 0 {
        sqlx::query(CHANGED).execute(connection).await?;
    }
    Ok(rows > 0)
}

const NOTE_USE: &str = "
    UPDATE access_key SET last_used_at_ms = $2 WHERE id = $1 AND coalesce(last_used_at_ms, 0) < $2";

async fn note_uses(connection: &mut PgConnection, uses: Vec<(KeyId, Millis)>) -> anyhow::Result<()> {
    for (id, at) in uses {
        sqlx::query(NOTE_USE).bind(id.to_string()).bind(at).execute(&mut *connection).await?;
    }
    Ok(())
}

const RECORD: &str = "
    INSERT INTO audit (at_ms, who, customer, what, subject, address, result)
    VALUES ($1, $2, $3, $4, $5, $6, $7)";

async fn record(connection: &mut PgConnection, entry: AuditEntry) -> anyhow::Result<()> {
    let record = sqlx::query(RECORD).bind(entry.at).bind(entry.who).bind(entry.customer.as_deref());
    let record = record.bind(entry.what).bind(entry.subject).bind(entry.address).bind(entry.result);
    record.execute(connection).await?;
    Ok(())
}

const AUDIT: &str = "
    SELECT number, at_ms, who, customer, what, subject, address, result FROM audit
    WHERE number < $1 ORDER BY number DESC LIMIT $2";

const AUDIT_OF_CUSTOMER: &str = "
    SELECT number, at_ms, who, customer, what, subject, address, result FROM audit
    WHERE number < $1 AND customer = $3 ORDER BY number DESC LIMIT $2";

async fn audit(
    connection: &mut PgConnection,
    customer: Option<String>,
    before: i64,
    limit: i64,
) -> anyhow::Result<Vec<(i64, AuditEntry)>> {
    let list = match customer {
        None => sqlx::query_as(AUDIT).bind(before).bind(limit),
        Some(customer) => sqlx::query_as(AUDIT_OF_CUSTOMER).bind(before).bind(limit).bind(customer),
    };
    let rows: Vec<AuditRow> = list.fetch_all(connection).await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

const PRUNE_OLD: &str = "DELETE FROM audit WHERE at_ms < $1";

const PRUNE_MANY: &str = "DELETE FROM audit WHERE number <= (SELECT max(number) FROM audit) - $1";

async fn prune(connection: &mut PgConnection, before: Millis, keep: i64) -> anyhow::Result<()> {
    sqlx::query(PRUNE_OLD).bind(before).execute(&mut *connection).await?;
    sqlx::query(PRUNE_MANY).bind(keep).execute(connection).await?;
    Ok(())
}

/// Every statement of this file.
#[cfg(test)]
pub const STATEMENTS: &[&str] = &[
    REVISION,
    CHANGED,
    KEYS,
    ADD_KEY,
    REVOKE_KEY,
    REVOKE_KEYS_OF,
    NOTE_USE,
    RECORD,
    AUDIT,
    AUDIT_OF_CUSTOMER,
    PRUNE_OLD,
    PRUNE_MANY,
];

#[async_trait]
impl AccessStore for Postgres {
    async fn access_revision(&self) -> anyhow::Result<i64> {
        self.read(|connection| Box::pin(async { Ok(sqlx::query_scalar(REVISION).fetch_one(connection).await?) })).await
    }

    async fn load_keys(&self) -> anyhow::Result<Vec<StoredKey>> {
        self.read(|connection| Box::pin(keys(connection))).await
    }

    async fn add_key(&self, key: &StoredKey) -> anyhow::Result<bool> {
        let key = key.clone();
        self.write(|connection| Box::pin(add_key(connection, key))).await
    }

    async fn revoke_key(&self, id: KeyId, at: Millis) -> anyhow::Result<bool> {
        self.write(move |connection| Box::pin(revoke_key(connection, id, at))).await
    }

    async fn end_access_of(&self, customer: &str, at: Millis) -> anyhow::Result<()> {
        let customer = customer.to_owned();
        self.write(move |connection| Box::pin(async move { end_access_of(connection, &customer, at).await })).await
    }

    async fn note_key_uses(&self, uses: &[(KeyId, Millis)]) -> anyhow::Result<()> {
        let uses = uses.to_vec();
        self.write(|connection| Box::pin(note_uses(connection, uses))).await
    }
}

#[async_trait]
impl AuditStore for Postgres {
    async fn record(&self, entry: &AuditEntry) -> anyhow::Result<()> {
        let entry = entry.clone();
        self.write(|connection| Box::pin(record(connection, entry))).await
    }

    async fn audit(
        &self,
        customer: Option<&str>,
        before: Option<i64>,
        limit: u32,
    ) -> anyhow::Result<Vec<(i64, AuditEntry)>> {
        let (customer, before) = (customer.map(str::to_owned), before.unwrap_or(i64::MAX));
        self.read(move |connection| Box::pin(audit(connection, customer, before, limit.into()))).await
    }

    async fn prune_audit(&self, before: Millis, keep: u64) -> anyhow::Result<()> {
        let keep = i64::try_from(keep).unwrap_or(i64::MAX);
        self.write(move |connection| Box::pin(prune(connection, before, keep))).await
    }
}
