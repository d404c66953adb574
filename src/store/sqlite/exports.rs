//! The queue of exports in Sqlite, each statement beside the function that binds it.
//! Fed by the exports station and by REST through the trait; one transaction a write.

use std::sync::atomic::Ordering::Relaxed;

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;

use super::Sqlite;
use crate::domain::export::{ExportId, State};
use crate::domain::time::Millis;
use crate::store::exports::{
    Claim, Done, Ending, EndingRow, ExportQuery, ExportRow, ExportStore, StoredExport, Try, export_columns, kept,
};

const ADD: &str = "
    INSERT INTO export (id, tenant, made_by, made_at_ms, what, due_ms)
    SELECT ?1, ?2, ?3, ?4, ?5, ?4
    WHERE (SELECT count(*) FROM export
           WHERE tenant IS ?2 AND state IN ('NOT_STARTED', 'STARTED', 'FINISHED')) < ?6
    ON CONFLICT DO NOTHING";

const IS_THERE: &str = "SELECT EXISTS (SELECT 1 FROM export WHERE id = ?1)";

async fn add(connection: &mut SqliteConnection, export: StoredExport, kept_max: u32) -> anyhow::Result<bool> {
    let id = export.id.to_string();
    let add = sqlx::query(ADD).bind(id.clone()).bind(export.tenant).bind(export.made_by).bind(export.made_at);
    let add = add.bind(serde_json::to_string(&export.order)?).bind(i64::from(kept_max));
    if add.execute(&mut *connection).await?.rows_affected() > 0 {
        return Ok(true);
    }
    Ok(sqlx::query_scalar(IS_THERE).bind(id).fetch_one(connection).await?)
}

const ONE: &str = concat!("SELECT ", export_columns!(), " FROM export WHERE id = ?1");

async fn one(connection: &mut SqliteConnection, id: ExportId) -> anyhow::Result<Option<StoredExport>> {
    let row: Option<ExportRow> = sqlx::query_as(ONE).bind(id.to_string()).fetch_optional(connection).await?;
    row.map(StoredExport::try_from).transpose()
}

const OF_ALL: &str = concat!(
    "SELECT ",
    export_columns!(),
    " FROM export WHERE (made_at_ms, id) < (?1, ?2) AND state = coalesce(?3, state)
     ORDER BY made_at_ms DESC, id DESC LIMIT ?4"
);

const OF_TENANT: &str = concat!(
    "SELECT ",
    export_columns!(),
    " FROM export WHERE tenant = ?5 AND (made_at_ms, id) < (?1, ?2) AND state = coalesce(?3, state)
     ORDER BY made_at_ms DESC, id DESC LIMIT ?4"
);

async fn page(connection: &mut SqliteConnection, query: ExportQuery) -> anyhow::Result<Vec<StoredExport>> {
    let (at, id) = query.before.map_or((Millis::MAX, String::new()), |(at, id)| (at, id.to_string()));
    let rows = sqlx::query_as(if query.tenant.is_some() { OF_TENANT } else { OF_ALL }).bind(at).bind(id);
    let rows = rows.bind(query.state.map(State::word)).bind(i64::from(query.limit));
    let rows = if let Some(tenant) = query.tenant { rows.bind(tenant) } else { rows };
    let rows: Vec<ExportRow> = rows.fetch_all(connection).await?;
    rows.into_iter().map(StoredExport::try_from).collect()
}

const WAITS: &str = "
    SELECT EXISTS (SELECT 1 FROM export WHERE state = 'NOT_STARTED' AND due_ms <= ?1)
        OR EXISTS (SELECT 1 FROM export WHERE state = 'STARTED' AND (lease_ms <= ?1 OR holder <> ?2))";

async fn waits(connection: &mut SqliteConnection, now: Millis, holder: i64) -> anyhow::Result<bool> {
    Ok(sqlx::query_scalar(WAITS).bind(now).bind(holder).fetch_one(connection).await?)
}

const GIVE_UP: &str = "
    UPDATE export SET state = 'FAILED', ended_ms = ?1, holder = NULL, lease_ms = NULL,
        error = 'the process ended while it worked on this, as often as it may be tried'
    WHERE state = 'STARTED' AND (lease_ms <= ?1 OR holder <> ?2) AND id NOT IN (SELECT value FROM json_each(?3))
      AND attempts >= ?4";

const CLAIM: &str = concat!(
    "
    UPDATE export SET state = 'STARTED', attempts = attempts + 1, holder = ?2, lease_ms = ?4,
        progress = 0, row_count = 0, bytes = 0
    WHERE id = (
        SELECT id FROM export AS next
        WHERE ((state = 'NOT_STARTED' AND due_ms <= ?1) OR (state = 'STARTED' AND (lease_ms <= ?1 OR holder <> ?2)))
          AND id NOT IN (SELECT value FROM json_each(?3))
          AND (SELECT count(*) FROM export AS other
               WHERE other.state = 'STARTED' AND other.holder = ?2 AND other.lease_ms > ?1
                 AND other.tenant IS next.tenant) < ?5
        ORDER BY due_ms, id LIMIT 1)
    RETURNING ",
    export_columns!()
);

async fn claim(connection: &mut SqliteConnection, holder: i64, claim: Claim) -> anyhow::Result<Option<StoredExport>> {
    let mine: Vec<String> = claim.mine.iter().map(ExportId::to_string).collect();
    let mine = serde_json::to_string(&mine)?;
    let give_up = sqlx::query(GIVE_UP).bind(claim.now).bind(holder).bind(mine.clone());
    give_up.bind(i64::from(claim.attempts_max)).execute(&mut *connection).await?;
    let next = sqlx::query_as(CLAIM).bind(claim.now).bind(holder).bind(mine).bind(claim.lease);
    let row: Option<ExportRow> = next.bind(i64::from(claim.per_tenant)).fetch_optional(connection).await?;
    row.map(StoredExport::try_from).transpose()
}

const HOLD: &str = "
    UPDATE export SET lease_ms = ?4, progress = ?5, row_count = ?6, bytes = ?7
    WHERE id = ?1 AND attempts = ?2 AND holder = ?3 AND state = 'STARTED'";

async fn hold(
    connection: &mut SqliteConnection,
    holder: i64,
    which: Try,
    lease: Millis,
    done: Done,
) -> anyhow::Result<bool> {
    let hold = sqlx::query(HOLD).bind(which.id.to_string()).bind(i64::from(which.attempt)).bind(holder).bind(lease);
    let hold = hold.bind(done.progress).bind(kept(done.rows)).bind(kept(done.bytes));
    Ok(hold.execute(connection).await?.rows_affected() > 0)
}

const FINISH: &str = "
    UPDATE export SET state = 'FINISHED', file = ?4, progress = 1, row_count = ?5, bytes = ?6, error = NULL,
        ended_ms = ?7, expires_ms = ?8, holder = NULL, lease_ms = NULL
    WHERE id = ?1 AND attempts = ?2 AND holder = ?3 AND state = 'STARTED'";

const IS_FINISHED: &str = "
    SELECT EXISTS (SELECT 1 FROM export WHERE id = ?1 AND attempts = ?2 AND file = ?3 AND state = 'FINISHED')";

async fn finish(
    connection: &mut SqliteConnection,
    holder: i64,
    which: Try,
    (file, done): (String, Done),
    (now, expires): (Millis, Millis),
) -> anyhow::Result<bool> {
    let (id, attempt) = (which.id.to_string(), i64::from(which.attempt));
    let finish = sqlx::query(FINISH).bind(id.clone()).bind(attempt).bind(holder).bind(file.clone());
    let finish = finish.bind(kept(done.rows)).bind(kept(done.bytes)).bind(now).bind(expires);
    if finish.execute(&mut *connection).await?.rows_affected() > 0 {
        return Ok(true);
    }
    Ok(sqlx::query_scalar(IS_FINISHED).bind(id).bind(attempt).bind(file).fetch_one(connection).await?)
}

const END: &str = "
    UPDATE export SET state = ?4, due_ms = coalesce(?5, due_ms), ended_ms = ?6, error = coalesce(?7, error),
        attempts = attempts - ?8, holder = NULL, lease_ms = NULL
    WHERE id = ?1 AND attempts = ?2 AND holder = ?3 AND state = 'STARTED'";

async fn end(
    connection: &mut SqliteConnection,
    holder: i64,
    which: Try,
    ending: EndingRow,
    error: Option<String>,
) -> anyhow::Result<bool> {
    let end = sqlx::query(END).bind(which.id.to_string()).bind(i64::from(which.attempt)).bind(holder);
    let end = end.bind(ending.state).bind(ending.due).bind(ending.ended).bind(error).bind(ending.uncounted);
    Ok(end.execute(connection).await?.rows_affected() > 0)
}

const CANCEL: &str = "
    UPDATE export SET state = 'CANCELLED', ended_ms = ?2, holder = NULL, lease_ms = NULL
    WHERE id = ?1 AND state IN ('NOT_STARTED', 'STARTED')";

async fn cancel(connection: &mut SqliteConnection, id: ExportId, now: Millis) -> anyhow::Result<bool> {
    Ok(sqlx::query(CANCEL).bind(id.to_string()).bind(now).execute(connection).await?.rows_affected() > 0)
}

const FORGET: &str = "DELETE FROM export WHERE id = ?1 AND state NOT IN ('NOT_STARTED', 'STARTED')";

async fn forget(connection: &mut SqliteConnection, id: ExportId) -> anyhow::Result<()> {
    sqlx::query(FORGET).bind(id.to_string()).execute(connection).await?;
    Ok(())
}

const TO_EXPIRE: &str = concat!(
    "SELECT ",
    export_columns!(),
    " FROM export WHERE state = 'FINISHED' AND expires_ms <= ?1 ORDER BY expires_ms, id LIMIT ?2"
);

async fn to_expire(connection: &mut SqliteConnection, now: Millis, limit: u32) -> anyhow::Result<Vec<StoredExport>> {
    let rows = sqlx::query_as(TO_EXPIRE).bind(now).bind(i64::from(limit));
    let rows: Vec<ExportRow> = rows.fetch_all(connection).await?;
    rows.into_iter().map(StoredExport::try_from).collect()
}

const END_AT: &str = "
    UPDATE export SET expires_ms = min(expires_ms, ?2)
    WHERE state = 'FINISHED' AND id IN (SELECT value FROM json_each(?1))";

async fn end_at(connection: &mut SqliteConnection, ids: String, at: Millis) -> anyhow::Result<()> {
    sqlx::query(END_AT).bind(ids).bind(at).execute(connection).await?;
    Ok(())
}

const EXPIRE: &str = "UPDATE export SET state = 'EXPIRED', file = NULL WHERE id = ?1 AND state = 'FINISHED'";

async fn expire(connection: &mut SqliteConnection, id: ExportId) -> anyhow::Result<()> {
    sqlx::query(EXPIRE).bind(id.to_string()).execute(connection).await?;
    Ok(())
}

const PRUNE: &str = "DELETE FROM export WHERE state IN ('FAILED', 'CANCELLED', 'EXPIRED') AND ended_ms < ?1";

async fn prune(connection: &mut SqliteConnection, before: Millis) -> anyhow::Result<()> {
    sqlx::query(PRUNE).bind(before).execute(connection).await?;
    Ok(())
}

const FILES: &str = "SELECT file, bytes FROM export WHERE state = 'FINISHED' AND file IS NOT NULL";

async fn files(connection: &mut SqliteConnection) -> anyhow::Result<(Vec<String>, u64)> {
    let rows: Vec<(String, i64)> = sqlx::query_as(FILES).fetch_all(connection).await?;
    let bytes = rows.iter().map(|(_, bytes)| bytes.unsigned_abs()).sum();
    Ok((rows.into_iter().map(|(file, _)| file).collect(), bytes))
}

/// Every statement of this file.
#[cfg(test)]
pub const STATEMENTS: &[&str] = &[
    ADD,
    IS_THERE,
    ONE,
    OF_ALL,
    OF_TENANT,
    WAITS,
    GIVE_UP,
    CLAIM,
    HOLD,
    FINISH,
    IS_FINISHED,
    END,
    CANCEL,
    FORGET,
    TO_EXPIRE,
    END_AT,
    EXPIRE,
    PRUNE,
    FILES,
];

#[async_trait]
impl ExportStore for Sqlite {
    async fn add_export(&self, export: &StoredExport, kept_max: u32) -> anyhow::Result<bool> {
        let export = export.clone();
        self.write(move |connection| Box::pin(add(connection, export, kept_max))).await
    }

    async fn export(&self, id: ExportId) -> anyhow::Result<Option<StoredExport>> {
        self.read(move |connection| Box::pin(one(connection, id))).await
    }

    async fn exports(&self, query: &ExportQuery) -> anyhow::Result<Vec<StoredExport>> {
        let query = query.clone();
        self.read(|connection| Box::pin(page(connection, query))).await
    }

    async fn claim_export(&self, wanted: &Claim) -> anyhow::Result<Option<StoredExport>> {
        let (holder, wanted) = (self.owner.load(Relaxed), wanted.clone());
        let now = wanted.now;
        // Asked every second: most of the time nothing waits, and the writer is not disturbed.
        if !self.read(move |connection| Box::pin(waits(connection, now, holder))).await? {
            return Ok(None);
        }
        self.write(move |connection| Box::pin(claim(connection, holder, wanted))).await
    }

    async fn hold_export(&self, which: Try, lease: Millis, done: Done) -> anyhow::Result<bool> {
        let holder = self.owner.load(Relaxed);
        self.write(move |connection| Box::pin(hold(connection, holder, which, lease, done))).await
    }

    async fn finish_export(
        &self,
        which: Try,
        file: &str,
        done: Done,
        now: Millis,
        expires: Millis,
    ) -> anyhow::Result<bool> {
        let (holder, file) = (self.owner.load(Relaxed), (file.to_owned(), done));
        self.write(move |connection| Box::pin(finish(connection, holder, which, file, (now, expires)))).await
    }

    async fn end_export(&self, which: Try, ending: &Ending, error: Option<&str>) -> anyhow::Result<bool> {
        let (holder, ending, error) = (self.owner.load(Relaxed), ending.into(), error.map(str::to_owned));
        self.write(move |connection| Box::pin(end(connection, holder, which, ending, error))).await
    }

    async fn cancel_export(&self, id: ExportId, now: Millis) -> anyhow::Result<bool> {
        self.write(move |connection| Box::pin(cancel(connection, id, now))).await
    }

    async fn forget_export(&self, id: ExportId) -> anyhow::Result<()> {
        self.write(move |connection| Box::pin(forget(connection, id))).await
    }

    async fn due_to_expire(&self, now: Millis, limit: u32) -> anyhow::Result<Vec<StoredExport>> {
        self.read(move |connection| Box::pin(to_expire(connection, now, limit))).await
    }

    async fn end_exports_at(&self, ids: &[ExportId], at: Millis) -> anyhow::Result<()> {
        let ids = serde_json::to_string(&ids.iter().map(ExportId::to_string).collect::<Vec<_>>())?;
        self.write(move |connection| Box::pin(end_at(connection, ids, at))).await
    }

    async fn expire_export(&self, id: ExportId) -> anyhow::Result<()> {
        self.write(move |connection| Box::pin(expire(connection, id))).await
    }

    async fn prune_exports(&self, before: Millis) -> anyhow::Result<()> {
        self.write(move |connection| Box::pin(prune(connection, before))).await
    }

    async fn export_files(&self) -> anyhow::Result<(Vec<String>, u64)> {
        self.read(|connection| Box::pin(files(connection))).await
    }
}
