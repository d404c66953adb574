//! What the stores do for the archive: rows that are dropped by age are written to files first, and a table says which
//! file holds which time. Fed by the exports station, which writes the files, and by the fleet's keeper, which says
//! when; read by REST, to name the file of what is gone.
//!
//! How no row is lost and none is in two files: before a file is begun a fence is moved to its end, and whatever is
//! written from before the fence is noted as late (triggers of migration 0015). A file of a time holds what is not
//! noted; what is noted is not dropped, and gets a file of its own in the next round. That a file is whole, and how far
//! the archive reaches, is written in one transaction; until then nothing of that time is dropped.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use anyhow::Context;
use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use sqlx::{ColumnIndex, Decode, FromRow, Row};

use super::retention::{Kind, Mark};
use crate::domain::calendar::DAY;
use crate::domain::export::{Cell, Type};
use crate::domain::time::Millis;

/// What one file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Rows of this kind.
    pub kind: Kind,
    /// From this instant on.
    pub from: Millis,
    /// Until before this one.
    pub to: Millis,
    /// Those that came after the file of this time was begun; otherwise all others.
    pub late: bool,
}

/// A file of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archived {
    /// Its name in the place of the files.
    pub file: String,
    /// What it holds.
    pub part: Part,
    /// How many rows.
    pub rows: u64,
    /// How long it is.
    pub bytes: u64,
    /// That of its rows.
    pub checksum: String,
    /// When it was made.
    pub made_at: Millis,
}

/// A row as it lies in its table, column by column.
pub type Raw = Vec<Cell<'static>>;

/// The archive of a store. Every write may be repeated; [`Store`](super::Store) says what holds for these futures.
#[async_trait]
pub trait ArchiveStore: Send + Sync {
    /// Begins to note what comes late again, or ends it and forgets what was noted.
    async fn set_archiving(&self, on: bool) -> anyhow::Result<()>;

    /// Every row of a kind from before this instant is in a file, or noted; none: nothing is.
    async fn archived_until(&self, kind: Kind) -> anyhow::Result<Option<Millis>>;

    /// The oldest part that is in no file and ends by `before`; what is late first.
    async fn next_part(&self, kind: Kind, before: Millis) -> anyhow::Result<Option<Part>>;

    /// Begins a file of this name: what is written into its time from now on is late. What was begun for the same and
    /// never ended is given up: nobody can end it any more. Answers all files that were given up and are not forgotten.
    /// None: it cannot be begun yet, for something in its time is not counted (stats.rs); minutes stand still from here
    /// on.
    async fn begin_file(&self, part: &Part, file: &str, now: Millis) -> anyhow::Result<Option<Vec<String>>>;

    /// The next rows of a part, in the order of [`place`]; fewer than `limit` only at the end. Never read at a replica.
    async fn part_rows(&self, part: &Part, file: &str, after: Option<&Mark>, limit: u32) -> anyhow::Result<Vec<Raw>>;

    /// The file is whole: its part is archived. Without rows there is no file. `false` when somebody else has begun the
    /// same meanwhile: then nothing is written.
    async fn end_file(&self, archived: &Archived) -> anyhow::Result<bool>;

    /// Notes a file that is to take the place of another: it counts as given up until it does.
    async fn note_stand_in(&self, stand_in: &Archived) -> anyhow::Result<()>;

    /// It takes the place of the old one, which is given up; without rows nothing does. `false` when the new one
    /// was taken away meanwhile: then nothing is written.
    async fn replace_file(&self, old: &Archived, stand_in: &Archived) -> anyhow::Result<bool>;

    /// A file that was given up is there no more.
    async fn forget_file(&self, file: &str) -> anyhow::Result<()>;

    /// Every file that is whole, newest time first.
    async fn archived_files(&self) -> anyhow::Result<Vec<Archived>>;
}

impl Part {
    /// The one that an instant lies in: a month of transitions, a day of the others (UTC).
    pub fn around(kind: Kind, instant: Millis, late: bool) -> Self {
        let from = match kind {
            Kind::Transitions => kind.floor(instant),
            Kind::Heartbeats | Kind::Minutes => instant - instant.rem_euclid(DAY),
        };
        // A month has at most 31 days.
        let to = if kind == Kind::Transitions { kind.floor(from + 31 * DAY) } else { from + DAY };
        Self { kind, from, to, late }
    }
}

const TRANSITIONS: &[(&str, Type)] = &[
    ("customer", Type::Text),
    ("vehicle", Type::Text),
    ("at_ms", Type::Whole),
    ("seq", Type::Whole),
    ("from_status", Type::Text),
    ("to_status", Type::Text),
    ("decided_at_ms", Type::Whole),
    ("cause", Type::Text),
    ("evidence", Type::Text),
];

const HEARTBEATS: &[(&str, Type)] = &[
    ("customer", Type::Text),
    ("vehicle", Type::Text),
    ("at_ms", Type::Whole),
    ("id", Type::Whole),
    ("arrived_ms", Type::Whole),
    ("backlog", Type::Truth),
    ("seq", Type::Whole),
    ("boot", Type::Whole),
    ("lat", Type::Number),
    ("lon", Type::Number),
    ("speed_kmh", Type::Number),
    ("heading_deg", Type::Number),
    ("battery_pct", Type::Number),
    ("odometer_km", Type::Number),
    ("ignition", Type::Truth),
    ("metrics", Type::Text),
];

const MINUTES: &[(&str, Type)] = &[
    ("customer", Type::Text),
    ("at_ms", Type::Whole),
    ("heartbeats", Type::Whole),
    ("went_online", Type::Whole),
    ("went_offline", Type::Whole),
    ("went_unobserved", Type::Whole),
    ("online_net", Type::Whole),
    ("offline_net", Type::Whole),
    ("unobserved_net", Type::Whole),
    ("online_within", Type::Whole),
    ("offline_within", Type::Whole),
    ("unobserved_within", Type::Whole),
    ("online_dip", Type::Whole),
    ("online_peak", Type::Whole),
];

/// The columns of a kind, named as in its table. Instants are numbers here too: they are what a restore puts back.
pub fn columns(kind: Kind) -> &'static [(&'static str, Type)] {
    match kind {
        Kind::Transitions => TRANSITIONS,
        Kind::Heartbeats => HEARTBEATS,
        Kind::Minutes => MINUTES,
    }
}

/// The place of a row among the others of its kind; its number is the seq or id, and minutes have none.
pub fn place(kind: Kind, row: &[Cell<'_>]) -> Mark {
    let text = |index: usize| match row.get(index) {
        Some(Cell::Text(text)) => text.clone().into_owned(),
        _ => String::new(),
    };
    let whole = |index: usize| match row.get(index) {
        Some(Cell::Whole(number)) => *number,
        _ => 0,
    };
    match kind {
        Kind::Minutes => Mark { at: whole(1), customer: text(0), ..Mark::default() },
        _ => Mark { at: whole(2), customer: text(0), vehicle: text(1), seq: whole(3) },
    }
}

/// Rows as they were read, in the columns of their kind.
pub fn raw<R>(kind: Kind, rows: &[R]) -> anyhow::Result<Vec<Raw>>
where
    R: Row,
    usize: ColumnIndex<R>,
    String: for<'r> Decode<'r, R::Database> + sqlx::Type<R::Database>,
    i64: for<'r> Decode<'r, R::Database> + sqlx::Type<R::Database>,
    f64: for<'r> Decode<'r, R::Database> + sqlx::Type<R::Database>,
    bool: for<'r> Decode<'r, R::Database> + sqlx::Type<R::Database>,
{
    let cell = |row: &R, index: usize, of: Type| -> sqlx::Result<Cell<'static>> {
        Ok(match of {
            Type::Text => row.try_get::<Option<String>, _>(index)?.map_or(Cell::Absent, Cell::text),
            Type::Time | Type::Whole => Cell::maybe_whole(row.try_get(index)?),
            Type::Number => Cell::maybe_number(row.try_get(index)?),
            Type::Truth => row.try_get::<Option<bool>, _>(index)?.map_or(Cell::Absent, Cell::Truth),
        })
    };
    let whole = |row: &R| -> sqlx::Result<Raw> {
        columns(kind).iter().enumerate().map(|(index, (_, of))| cell(row, index, *of)).collect()
    };
    rows.iter().map(|row| whole(row).context("a row of old history cannot be read")).collect()
}

/// A row of the table as both stores read it.
#[derive(Debug, FromRow)]
pub struct ArchivedRow {
    file: String,
    kind: String,
    from_ms: Millis,
    to_ms: Millis,
    late: bool,
    made_at_ms: Millis,
    row_count: i64,
    bytes: i64,
    checksum: String,
}

/// The files of these rows.
pub fn archived(rows: Vec<ArchivedRow>) -> anyhow::Result<Vec<Archived>> {
    let one = |row: ArchivedRow| {
        let kind = Kind::from_word(&row.kind).with_context(|| format!("'{}' is no kind of history", row.kind))?;
        Ok(Archived {
            file: row.file,
            part: Part { kind, from: row.from_ms, to: row.to_ms, late: row.late },
            rows: row.row_count.unsigned_abs(),
            bytes: row.bytes.unsigned_abs(),
            checksum: row.checksum,
            made_at: row.made_at_ms,
        })
    };
    rows.into_iter().map(one).collect()
}

/// What is archived and how that goes, for many readers. Bound: a file a day and kind, some 200 bytes each.
#[derive(Debug, Default)]
pub struct Archives {
    /// Newest time first.
    files: RwLock<Vec<Archived>>,
    /// Files that could not be made.
    pub failed: AtomicU64,
    fault: Mutex<Option<String>>,
}

impl Archives {
    /// All that there are.
    pub fn set(&self, files: Vec<Archived>) {
        *self.files.write() = files;
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.files.read().len()
    }

    /// Those of a kind that hold something of `[from, to)`, newest time first, `most` of them; and how many there are.
    pub fn within(&self, kind: Kind, from: Millis, to: Millis, most: usize) -> (Vec<Archived>, usize) {
        let files = self.files.read();
        let found = || files.iter().filter(|file| file.part.kind == kind && file.part.from < to && from < file.part.to);
        (found().take(most).cloned().collect(), found().count())
    }

    /// A file could not be made; told until one can.
    pub fn note_fault(&self, fault: String) {
        self.failed.fetch_add(1, Relaxed);
        *self.fault.lock() = Some(fault);
    }

    /// They can be made.
    pub fn note_well(&self) {
        *self.fault.lock() = None;
    }

    /// Why nothing is archived, and so nothing dropped.
    pub fn fault(&self) -> Option<String> {
        self.fault.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_follow_each_other_without_a_gap() {
        for kind in Kind::ALL {
            let mut part = Part::around(kind, 1_769_847_300_123, false); // 2026-01-31T08:15:00.123Z
            assert!(part.from <= 1_769_847_300_123 && 1_769_847_300_123 < part.to);
            for _ in 0..30 {
                let next = Part::around(kind, part.to, false);
                assert_eq!((next.from, Part::around(kind, next.to - 1, false)), (part.to, next));
                part = next;
            }
        }
    }

    #[test]
    fn files_are_found_by_overlap() {
        let archives = Archives::default();
        let file = |day: Millis| Archived {
            file: day.to_string(),
            part: Part::around(Kind::Heartbeats, day * DAY, false),
            rows: 1,
            bytes: 1,
            checksum: String::new(),
            made_at: 0,
        };
        archives.set(vec![file(3), file(2), file(1)]);
        let names = |from, to, most| {
            let (files, count) = archives.within(Kind::Heartbeats, from, to, most);
            (files.into_iter().map(|file| file.file).collect::<Vec<_>>().join(","), count)
        };
        assert_eq!(names(DAY, 3 * DAY, 9), ("2,1".into(), 2));
        assert_eq!(names(0, 9 * DAY, 2), ("3,2".into(), 3));
        assert_eq!(names(4 * DAY, 9 * DAY, 2), (String::new(), 0));
        assert_eq!(archives.within(Kind::Minutes, 0, 9 * DAY, 9).1, 0);
    }
}
