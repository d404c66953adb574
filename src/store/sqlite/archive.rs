//! The archive in SQLite, each statement beside the function that binds it.
//! Fed by the store's trait: writes run on the writing connection, rows are read on a reading one, a page at a time.

use async_trait::async_trait;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::Sqlite;
use super::retention::{NEXT_CUSTOMER, NEXT_VEHICLE, begin};
use crate::domain::time::Millis;
use crate::store::archive::{ArchiveStore, Archived, ArchivedRow, Part, Raw, archived, raw};
use crate::store::retention::{Kind, Mark};

#[async_trait]
impl ArchiveStore for Sqlite {
    async fn set_archiving(&self, on: bool) -> anyhow::Result<()> {
        self.write(move |connection| Box::pin(switch(connection, on))).await
    }

    async fn archived_until(&self, kind: Kind) -> anyhow::Result<Option<Millis>> {
        self.read(move |connection| Box::pin(until(connection, kind))).await
    }

    async fn next_part(&self, kind: Kind, before: Millis) -> anyhow::Result<Option<Part>> {
        self.read(move |connection| Box::pin(next(connection, kind, before))).await
    }

    async fn begin_file(&self, part: &Part, file: &str, now: Millis) -> anyhow::Result<Option<Vec<String>>> {
        let (part, file) = (*part, file.to_owned());
        self.write(move |connection| Box::pin(begin_file(connection, part, file, now))).await
    }

    async fn part_rows(&self, part: &Part, file: &str, after: Option<&Mark>, limit: u32) -> anyhow::Result<Vec<Raw>> {
        let (part, file, after) = (*part, file.to_owned(), after.cloned());
        self.read(move |connection| Box::pin(rows(connection, part, file, after, limit))).await
    }

    async fn end_file(&self, archived: &Archived) -> anyhow::Result<bool> {
        let archived = archived.clone();
        self.write(|connection| Box::pin(end_file(connection, archived))).await
    }

    async fn note_stand_in(&self, stand_in: &Archived) -> anyhow::Result<()> {
        let stand_in = stand_in.clone();
        self.write(|connection| Box::pin(note_stand_in(connection, stand_in))).await
    }

    async fn replace_file(&self, old: &Archived, stand_in: &Archived) -> anyhow::Result<bool> {
        let (old, stand_in) = (old.clone(), stand_in.clone());
        self.write(|connection| Box::pin(replace(connection, old, stand_in))).await
    }

    async fn forget_file(&self, file: &str) -> anyhow::Result<()> {
        let file = file.to_owned();
        self.write(|connection| {
            Box::pin(async { Ok(sqlx::query(FORGET).bind(file).execute(connection).await.map(drop)?) })
        })
        .await
    }

    async fn archived_files(&self) -> anyhow::Result<Vec<Archived>> {
        self.read(|connection| {
            Box::pin(async { archived(sqlx::query_as::<_, ArchivedRow>(FILES).fetch_all(connection).await?) })
        })
        .await
    }
}

const SWITCH_ON: &str = "UPDATE archive_reach SET fence_ms = coalesce(fence_ms, archived_ms)";

const SWITCH_OFF: &str = "UPDATE archive_reach SET fence_ms = NULL";

const FORGET_LATE: &str = "DELETE FROM archive_late";

async fn switch(connection: &mut SqliteConnection, on: bool) -> anyhow::Result<()> {
    let statements: &[&'static str] = if on { &[SWITCH_ON] } else { &[SWITCH_OFF, FORGET_LATE] };
    for statement in statements {
        sqlx::query(*statement).execute(&mut *connection).await?;
    }
    Ok(())
}

const UNTIL: &str = "SELECT archived_ms FROM archive_reach WHERE kind = ?1";

async fn until(connection: &mut SqliteConnection, kind: Kind) -> anyhow::Result<Option<Millis>> {
    let reach: Option<Option<Millis>> = sqlx::query_scalar(UNTIL).bind(kind.word()).fetch_optional(connection).await?;
    Ok(reach.flatten())
}

const FIRST_LATE: &str = "SELECT min(at_ms) FROM archive_late WHERE kind = ?1 AND at_ms < ?2";

const FIRST_TRANSITION: &str = "
    SELECT (SELECT at_ms FROM transition_of_fleet WHERE at_ms >= ?1 ORDER BY at_ms LIMIT 1)";

/// By leaps from vehicle to vehicle: the log has no index by time alone.
const FIRST_HEARTBEAT: &str = "
    WITH RECURSIVE leap (customer) AS (
        SELECT min(customer) FROM heartbeat
        UNION ALL
        SELECT (SELECT min(customer) FROM heartbeat WHERE customer > leap.customer) FROM leap
        WHERE leap.customer IS NOT NULL
    ),
    hop (customer, vehicle) AS (
        SELECT customer, (SELECT min(vehicle) FROM heartbeat WHERE customer = leap.customer) FROM leap
        WHERE customer IS NOT NULL
        UNION ALL
        SELECT customer, (SELECT min(vehicle) FROM heartbeat WHERE customer = hop.customer AND vehicle > hop.vehicle)
        FROM hop WHERE hop.vehicle IS NOT NULL
    )
    SELECT min((
        SELECT min(at_ms) FROM heartbeat WHERE customer = hop.customer AND vehicle = hop.vehicle AND at_ms >= ?1
    )) FROM hop WHERE vehicle IS NOT NULL";

/// The fleet has a row for each minute in which anybody has one.
const FIRST_MINUTE: &str = "
    SELECT min(at_ms) FROM rollup WHERE customer = '' AND span_ms = 60000 AND at_ms >= ?1";

async fn next(connection: &mut SqliteConnection, kind: Kind, before: Millis) -> anyhow::Result<Option<Part>> {
    let reach = until(&mut *connection, kind).await?.unwrap_or(Millis::MIN);
    let late = sqlx::query_scalar(FIRST_LATE).bind(kind.word()).bind(reach.min(before));
    let late: Option<Millis> = late.fetch_one(&mut *connection).await?;
    if let Some(at) = late {
        return Ok(Some(Part::around(kind, at, true)));
    }
    let first = match kind {
        Kind::Transitions => FIRST_TRANSITION,
        Kind::Heartbeats => FIRST_HEARTBEAT,
        Kind::Minutes => FIRST_MINUTE,
    };
    let first: Option<Millis> = sqlx::query_scalar(first).bind(reach).fetch_one(connection).await?;
    Ok(first.map(|at| Part::around(kind, at, false)).filter(|part| part.to <= before))
}

const FENCE: &str = "
    INSERT INTO archive_reach (kind, fence_ms) VALUES (?1, ?2)
    ON CONFLICT (kind) DO UPDATE SET fence_ms = max(coalesce(fence_ms, excluded.fence_ms), excluded.fence_ms)";

const GIVE_UP: &str = "
    UPDATE archive_file SET checksum = '' WHERE kind = ?1 AND from_ms = ?2 AND checksum IS NULL";

const GIVEN_UP: &str = "SELECT file FROM archive_file WHERE checksum = '' ORDER BY file";

const BEGIN: &str = "
    INSERT INTO archive_file (file, kind, from_ms, to_ms, late, made_at_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

const TAKE_LATE: &str = "UPDATE archive_late SET file = ?1 WHERE kind = ?2 AND at_ms >= ?3 AND at_ms < ?4";

async fn begin_file(
    connection: &mut SqliteConnection,
    part: Part,
    file: String,
    now: Millis,
) -> anyhow::Result<Option<Vec<String>>> {
    let Part { kind, from, to, late } = part;
    // What is before its horizon is counted by the quarter: minutes there change no more.
    if kind == Kind::Minutes && !begin(&mut *connection, kind, to).await? {
        return Ok(None);
    }
    if late {
        let take = sqlx::query(TAKE_LATE).bind(file.clone()).bind(kind.word());
        take.bind(from).bind(to).execute(&mut *connection).await?;
    } else {
        sqlx::query(FENCE).bind(kind.word()).bind(to).execute(&mut *connection).await?;
    }
    sqlx::query(GIVE_UP).bind(kind.word()).bind(from).execute(&mut *connection).await?;
    let left = sqlx::query_scalar(GIVEN_UP).fetch_all(&mut *connection).await?;
    let begin = sqlx::query(BEGIN).bind(file).bind(kind.word()).bind(from).bind(to).bind(late).bind(now);
    begin.execute(connection).await?;
    Ok(Some(left))
}

const TRANSITIONS: &str = "
    SELECT customer, vehicle, at_ms, seq, from_status, to_status, decided_at_ms, cause, evidence
    FROM transition_of_fleet AS raw
    WHERE (at_ms, customer, vehicle, seq) > (?1, ?2, ?3, ?4) AND at_ms < ?5 AND NOT EXISTS (
        SELECT 1 FROM archive_late AS late WHERE late.kind = 'transitions' AND late.at_ms = raw.at_ms
          AND late.customer = raw.customer AND late.vehicle = raw.vehicle AND late.number = raw.seq)
    ORDER BY at_ms, customer, vehicle, seq LIMIT ?6";

const LATE_TRANSITIONS: &str = "
    SELECT raw.customer, raw.vehicle, raw.at_ms, seq, from_status, to_status, decided_at_ms, cause, evidence
    FROM archive_late AS late JOIN transition AS raw
      ON raw.customer = late.customer AND raw.vehicle = late.vehicle AND raw.seq = late.number
     AND raw.at_ms = late.at_ms
    WHERE late.kind = 'transitions' AND late.file = ?7 AND late.at_ms < ?5
      AND (late.at_ms, late.customer, late.vehicle, late.number) > (?1, ?2, ?3, ?4)
    ORDER BY late.at_ms, late.customer, late.vehicle, late.number LIMIT ?6";

const LATE_HEARTBEATS: &str = "
    SELECT raw.customer, raw.vehicle, raw.at_ms, id, arrived_ms, backlog, seq, boot, lat, lon, speed_kmh, heading_deg,
           battery_pct, odometer_km, ignition, metrics
    FROM archive_late AS late JOIN heartbeat AS raw
      ON raw.customer = late.customer AND raw.vehicle = late.vehicle AND raw.at_ms = late.at_ms AND raw.id = late.number
    WHERE late.kind = 'heartbeats' AND late.file = ?7 AND late.at_ms < ?5
      AND (late.at_ms, late.customer, late.vehicle, late.number) > (?1, ?2, ?3, ?4)
    ORDER BY late.at_ms, late.customer, late.vehicle, late.number LIMIT ?6";

async fn rows(
    connection: &mut SqliteConnection,
    part: Part,
    file: String,
    after: Option<Mark>,
    limit: u32,
) -> anyhow::Result<Vec<Raw>> {
    let statement = match (part.kind, part.late) {
        (Kind::Transitions, false) => TRANSITIONS,
        (Kind::Transitions, true) => LATE_TRANSITIONS,
        (_, true) => LATE_HEARTBEATS,
        (_, false) => return group_by_group(connection, part, after.unwrap_or_default(), limit).await,
    };
    let after = after.unwrap_or(Mark { at: part.from, ..Mark::default() });
    let page = sqlx::query(statement).bind(after.at).bind(after.customer).bind(after.vehicle).bind(after.seq);
    let page = page.bind(part.to).bind(i64::from(limit));
    let page = if part.late { page.bind(file) } else { page };
    raw(part.kind, &page.fetch_all(connection).await?)
}

const HEARTBEATS: &str = "
    SELECT customer, vehicle, at_ms, id, arrived_ms, backlog, seq, boot, lat, lon, speed_kmh, heading_deg, battery_pct,
           odometer_km, ignition, metrics
    FROM heartbeat AS raw
    WHERE customer = ?1 AND vehicle = ?2 AND (at_ms, id) > (?3, ?4) AND at_ms < ?5 AND NOT EXISTS (
        SELECT 1 FROM archive_late AS late WHERE late.kind = 'heartbeats' AND late.at_ms = raw.at_ms
          AND late.customer = raw.customer AND late.vehicle = raw.vehicle AND late.number = raw.id)
    ORDER BY at_ms, id LIMIT ?6";

const MINUTES: &str = "
    SELECT customer, at_ms, heartbeats, went_online, went_offline, went_unobserved, online_net, offline_net,
           unobserved_net, online_within, offline_within, unobserved_within, online_dip, online_peak
    FROM rollup WHERE customer = ?1 AND span_ms = 60000 AND at_ms > ?2 AND at_ms < ?3 ORDER BY at_ms LIMIT ?4";

/// Rows that lie by vehicle, or by customer (the fleet, '', first): from one to the next, so that a day of a long
/// history costs no more than its rows.
async fn group_by_group(
    connection: &mut SqliteConnection,
    part: Part,
    after: Mark,
    limit: u32,
) -> anyhow::Result<Vec<Raw>> {
    let start = Mark { at: part.from - 1, seq: i64::MAX, ..Mark::default() };
    let mut at = if after == Mark::default() { start.clone() } else { after };
    let mut all = Vec::new();
    loop {
        let room = i64::from(limit) - all.len() as i64;
        let page = match part.kind {
            Kind::Minutes => sqlx::query(MINUTES).bind(at.customer.clone()).bind(at.at).bind(part.to).bind(room),
            _ => {
                let page = sqlx::query(HEARTBEATS).bind(at.customer.clone()).bind(at.vehicle.clone());
                page.bind(at.at).bind(at.seq).bind(part.to).bind(room)
            }
        };
        let found: Vec<SqliteRow> = page.fetch_all(&mut *connection).await?;
        all.extend(raw(part.kind, &found)?);
        if all.len() >= limit as usize {
            return Ok(all);
        }
        let next = match part.kind {
            Kind::Minutes => {
                let next: Option<String> =
                    sqlx::query_scalar(NEXT_CUSTOMER).bind(at.customer).fetch_optional(&mut *connection).await?;
                next.map(|customer| (customer, String::new()))
            }
            _ => {
                let next = sqlx::query_as(NEXT_VEHICLE).bind(at.customer).bind(at.vehicle);
                next.fetch_optional(&mut *connection).await?
            }
        };
        let Some((customer, vehicle)) = next else { return Ok(all) };
        at = Mark { customer, vehicle, ..start.clone() };
    }
}

const END: &str = "
    UPDATE archive_file SET row_count = ?2, bytes = ?3, checksum = ?4 WHERE file = ?1 AND checksum IS NULL";

const END_EMPTY: &str = "DELETE FROM archive_file WHERE file = ?1 AND checksum IS NULL";

const REACH: &str = "
    UPDATE archive_reach SET archived_ms = ?3 WHERE kind = ?1 AND coalesce(archived_ms, ?2) <= ?2";

const ARCHIVED_LATE: &str = "DELETE FROM archive_late WHERE kind = ?1 AND file = ?2 AND at_ms >= ?3 AND at_ms < ?4";

async fn end_file(connection: &mut SqliteConnection, archived: Archived) -> anyhow::Result<bool> {
    let Archived { file, part: Part { kind, from, to, late }, rows, bytes, checksum, .. } = archived;
    let end = match rows {
        0 => sqlx::query(END_EMPTY).bind(file.clone()),
        _ => sqlx::query(END).bind(file.clone()).bind(rows as i64).bind(bytes as i64).bind(checksum),
    };
    if end.execute(&mut *connection).await?.rows_affected() != 1 {
        return Ok(false);
    }
    if late {
        let done = sqlx::query(ARCHIVED_LATE).bind(kind.word()).bind(file).bind(from).bind(to);
        done.execute(connection).await?;
        return Ok(true);
    }
    let moved = sqlx::query(REACH).bind(kind.word()).bind(from).bind(to).execute(connection).await?;
    anyhow::ensure!(moved.rows_affected() == 1, "that time was archived meanwhile");
    Ok(true)
}

const STAND_IN: &str = "
    INSERT INTO archive_file (file, kind, from_ms, to_ms, late, made_at_ms, checksum)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, '')";

async fn note_stand_in(connection: &mut SqliteConnection, stand_in: Archived) -> anyhow::Result<()> {
    let Archived { file, part: Part { kind, from, to, late }, made_at, .. } = stand_in;
    let note = sqlx::query(STAND_IN).bind(file).bind(kind.word()).bind(from).bind(to).bind(late).bind(made_at);
    note.execute(connection).await?;
    Ok(())
}

const STEP_DOWN: &str = "UPDATE archive_file SET checksum = '' WHERE file = ?1 AND checksum = ?2";

const STEP_IN: &str = "
    UPDATE archive_file SET row_count = ?2, bytes = ?3, checksum = ?4 WHERE file = ?1 AND checksum = ''";

async fn replace(connection: &mut SqliteConnection, old: Archived, new: Archived) -> anyhow::Result<bool> {
    if new.rows > 0 {
        let step_in = sqlx::query(STEP_IN).bind(new.file).bind(new.rows as i64).bind(new.bytes as i64);
        if step_in.bind(new.checksum).execute(&mut *connection).await?.rows_affected() != 1 {
            return Ok(false);
        }
    }
    let step_down = sqlx::query(STEP_DOWN).bind(old.file).bind(old.checksum).execute(connection).await?;
    anyhow::ensure!(step_down.rows_affected() == 1, "the file was replaced meanwhile");
    Ok(true)
}

const FORGET: &str = "DELETE FROM archive_file WHERE file = ?1 AND checksum = ''";

const FILES: &str = "
    SELECT file, kind, from_ms, to_ms, late, made_at_ms, row_count, bytes, checksum FROM archive_file
    WHERE checksum <> '' ORDER BY from_ms DESC, file";

/// Every statement of this file.
#[cfg(test)]
pub const STATEMENTS: &[&str] = &[
    SWITCH_ON,
    SWITCH_OFF,
    FORGET_LATE,
    UNTIL,
    FIRST_LATE,
    FIRST_TRANSITION,
    FIRST_HEARTBEAT,
    FIRST_MINUTE,
    FENCE,
    GIVE_UP,
    GIVEN_UP,
    BEGIN,
    TAKE_LATE,
    TRANSITIONS,
    LATE_TRANSITIONS,
    LATE_HEARTBEATS,
    HEARTBEATS,
    MINUTES,
    END,
    END_EMPTY,
    REACH,
    ARCHIVED_LATE,
    STAND_IN,
    STEP_DOWN,
    STEP_IN,
    FORGET,
    FILES,
];

/// The statements that read rows, and what must serve each.
#[cfg(test)]
pub const LISTS: [(&str, &str); 5] = [
    (FIRST_TRANSITION, "transition_to_status (to_status=? AND at_ms>?)"),
    (TRANSITIONS, "transition_to_status (to_status=? AND (at_ms,customer,vehicle,seq)>"),
    (LATE_TRANSITIONS, "PRIMARY KEY (customer=? AND vehicle=? AND seq=?)"),
    (HEARTBEATS, "PRIMARY KEY (customer=? AND vehicle=? AND (at_ms,id)>"),
    (MINUTES, "PRIMARY KEY (customer=? AND span_ms=? AND at_ms>? AND at_ms<?)"),
];
