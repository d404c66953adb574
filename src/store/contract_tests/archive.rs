//! What is dropped was in a file before, once, whenever it came.
//! Fed by the suite; each runs on every store.

use std::sync::Arc;

use super::Database;
use super::heartbeats::{beat, whole};
use super::retention::{MONTHS, count_all, drop_all};
use super::samples::{everything, key, transition};
use crate::domain::calendar::{DAY, HOUR, MINUTE};
use crate::domain::export::Cell;
use crate::domain::time::Millis;
use crate::domain::transition::Transition;
use crate::store::Store;
use crate::store::archive::{Archived, Part, Raw, columns, place};
use crate::store::heartbeats::HeartbeatSweep;
use crate::store::retention::Kind;

async fn begin(store: &dyn Store, part: &Part, file: &str) -> Vec<String> {
    store.begin_file(part, file, 5).await.unwrap().expect("all is counted")
}

/// Every row of a part, by pages of three.
async fn rows_of(store: &dyn Store, part: &Part, file: &str) -> Vec<Raw> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = store.part_rows(part, file, after.as_ref(), 3).await.unwrap();
        let short = page.len() < 3;
        after = page.last().map(|last| place(part.kind, last));
        all.extend(page);
        if short {
            return all;
        }
    }
}

fn whole_file(part: &Part, file: &str, rows: usize) -> Archived {
    let (rows, checksum) = (rows as u64, format!("sum of {file}"));
    Archived { file: file.to_owned(), part: *part, rows, bytes: 99, checksum, made_at: 5 }
}

/// The next part in a file, whatever is in it; answers it with its rows.
async fn archive_next(store: &dyn Store, kind: Kind, before: Millis) -> Option<(Part, Vec<Raw>)> {
    let part = store.next_part(kind, before).await.unwrap()?;
    let file = format!("{}-{}-{}", kind.word(), part.from, part.late);
    begin(store, &part, &file).await;
    let rows = rows_of(store, &part, &file).await;
    assert!(store.end_file(&whole_file(&part, &file, rows.len())).await.unwrap());
    assert!(!store.end_file(&whole_file(&part, &file, 1)).await.unwrap(), "it is whole already");
    Some((part, rows))
}

fn numbers(rows: &[Raw]) -> Vec<i64> {
    rows.iter().map(|row| place(Kind::Transitions, row).seq).collect()
}

pub async fn a_month_of_transitions_is_in_one_file_and_what_is_late_in_another(database: Arc<Database>) {
    let store = database.open().await;
    let (bus, odd) = (key("acme", "bus"), key("birch", "\"=ü 'x' %"));
    let mut all: Vec<Transition> = (1..=9).map(|seq| transition(&bus, seq, seq as Millis * 10 * DAY)).collect();
    all.push(transition(&odd, 1, 5 * DAY));
    let (early, late) = (all.remove(1), all.remove(0));
    store.commit(&all).await.unwrap();
    count_all(&*store).await;
    // Not before the month is over.
    assert_eq!(store.next_part(Kind::Transitions, MONTHS[1] - 1).await.unwrap(), None);
    assert_eq!(store.archived_until(Kind::Transitions).await.unwrap(), None);
    let january = store.next_part(Kind::Transitions, MONTHS[2]).await.unwrap().unwrap();
    assert_eq!(january, Part { kind: Kind::Transitions, from: 0, to: MONTHS[1], late: false });
    begin(&*store, &january, "one").await;
    let first = rows_of(&*store, &january, "one").await;
    let table = columns(Kind::Transitions);
    let text = |row: &Raw, name: &str| match &row[table.iter().position(|(known, _)| *known == name).unwrap()] {
        Cell::Text(text) => text.clone().into_owned(),
        other => panic!("{name} is {other:?}"),
    };
    assert_eq!((text(&first[0], "vehicle"), text(&first[0], "cause")), ("\"=ü 'x' %".into(), "heartbeat".into()));
    let evidence = serde_json::from_str(&text(&first[0], "evidence")).unwrap();
    assert_eq!(all.last().unwrap().evidence, evidence);
    assert_eq!(first[0][2..4], [Cell::Whole(5 * DAY), Cell::Whole(1)]);
    assert_eq!(numbers(&first), [1, 3]);
    // These come while it is written, and one twice; what was there comes again too.
    for _ in 0..2 {
        store.commit(&[early.clone(), all[0].clone()]).await.unwrap();
    }
    assert_eq!(rows_of(&*store, &january, "one").await, first);
    assert!(store.end_file(&whole_file(&january, "one", 2)).await.unwrap());
    store.commit(&[late.clone(), all[0].clone()]).await.unwrap();
    assert_eq!(store.archived_until(Kind::Transitions).await.unwrap(), Some(MONTHS[1]));
    count_all(&*store).await;
    // What is in no file is not dropped.
    assert_eq!(drop_all(&*store, Kind::Transitions, MONTHS[1]).await, Some(MONTHS[1]));
    let left = store.transitions(&everything()).await.unwrap();
    assert!([1, 2].iter().all(|seq| left.iter().any(|row| row.key == bus && row.change.seq == *seq)), "{left:?}");
    let (part, rows) = archive_next(&*store, Kind::Transitions, MONTHS[1]).await.unwrap();
    assert_eq!((part, numbers(&rows)), (Part { late: true, ..january }, vec![1, 2]));
    assert_eq!(archive_next(&*store, Kind::Transitions, MONTHS[1]).await, None);
    drop_all(&*store, Kind::Transitions, MONTHS[1]).await;
    let left = store.transitions(&everything()).await.unwrap();
    let old = left.iter().filter(|row| row.change.at < MONTHS[1]);
    let old: Vec<_> = old.map(|row| (&*row.key.vehicle, row.change.seq)).collect();
    assert_eq!(old, [("bus", 3), (&*odd.vehicle, 1)]);
    // Then the next month; the last of January is in a file, and goes without being in another.
    let (part, rows) = archive_next(&*store, Kind::Transitions, MONTHS[2]).await.unwrap();
    assert_eq!((part.from, part.late, numbers(&rows)), (MONTHS[1], false, vec![4, 5]));
    drop_all(&*store, Kind::Transitions, MONTHS[2]).await;
    let files = store.archived_files().await.unwrap();
    let names: Vec<_> = files.iter().map(|file| (file.part.from, file.part.late, file.rows)).collect();
    assert_eq!(names.len(), 3, "{names:?}");
    assert_eq!(files[0], Archived { made_at: 5, ..whole_file(&part, &files[0].file, 2) });
}

pub async fn a_file_that_never_ended_is_given_up_and_begun_again(database: Arc<Database>) {
    let store = database.open().await;
    let bus = key("acme", "bus");
    store.commit(&[transition(&bus, 1, DAY), transition(&bus, 2, 40 * DAY)]).await.unwrap();
    let part = store.next_part(Kind::Transitions, MONTHS[1]).await.unwrap().unwrap();
    assert_eq!(begin(&*store, &part, "one").await, [String::new(); 0]);
    store.commit(&[transition(&key("acme", "late"), 1, DAY)]).await.unwrap();
    assert_eq!(begin(&*store, &part, "two").await, ["one"]);
    assert!(!store.end_file(&whole_file(&part, "one", 1)).await.unwrap(), "it was given up");
    // Until it is told that the file is gone.
    assert_eq!(begin(&*store, &part, "three").await, ["one", "two"]);
    for file in ["one", "two", "three"] {
        store.forget_file(file).await.unwrap();
    }
    assert_eq!(numbers(&rows_of(&*store, &part, "three").await), [1]);
    assert!(store.end_file(&whole_file(&part, "three", 1)).await.unwrap());
    store.forget_file("three").await.unwrap();
    assert_eq!(store.archived_files().await.unwrap(), [whole_file(&part, "three", 1)]);
    // Another file may take its place.
    let stand_in = Archived { made_at: 7, ..whole_file(&part, "other", 1) };
    store.note_stand_in(&stand_in).await.unwrap();
    assert_eq!(store.archived_files().await.unwrap().len(), 1, "not yet");
    assert!(store.replace_file(&whole_file(&part, "never", 1), &stand_in).await.is_err());
    assert!(store.replace_file(&whole_file(&part, "three", 1), &stand_in).await.unwrap());
    assert_eq!(store.archived_files().await.unwrap(), [stand_in.clone()]);
    assert!(!store.replace_file(&stand_in, &whole_file(&part, "lost", 1)).await.unwrap(), "it was not noted");
    store.forget_file("three").await.unwrap();
    // Whoever began the same month beside it cannot end it.
    let beside = Part { late: false, ..part };
    begin(&*store, &beside, "four").await;
    assert!(store.end_file(&whole_file(&beside, "four", 1)).await.is_err());
    assert_eq!(store.archived_files().await.unwrap().len(), 1);
    // Those that were noted are forgotten with the archive, and nothing is noted without it.
    store.set_archiving(false).await.unwrap();
    store.commit(&[transition(&key("acme", "later"), 1, DAY)]).await.unwrap();
    assert_eq!(store.next_part(Kind::Transitions, MONTHS[1]).await.unwrap(), None);
    store.set_archiving(true).await.unwrap();
    store.commit(&[transition(&key("acme", "latest"), 1, DAY)]).await.unwrap();
    assert_eq!(archive_next(&*store, Kind::Transitions, MONTHS[1]).await.map(|(_, rows)| rows.len()), Some(1));
}

pub async fn a_day_of_heartbeats_is_in_one_file_and_what_is_late_in_another(database: Arc<Database>) {
    let store = database.open().await;
    let of = |day: Millis, n: Millis| beat(["acme", "birch"][(n % 2) as usize], &format!("v{}", n % 5), day * DAY + n);
    let mut all: Vec<_> = (0..20).map(|n| of(3, n)).collect();
    all.extend((0..4).map(|n| of(6, n)));
    all.push(whole(3 * DAY + 7 * HOUR));
    store.log_heartbeats(1, &all).await.unwrap();
    let (part, rows) = archive_next(&*store, Kind::Heartbeats, 9 * DAY).await.unwrap();
    assert_eq!((part.from, part.to, rows.len()), (3 * DAY, 4 * DAY, 21));
    assert!(rows.is_sorted_by_key(|row| {
        let place = place(Kind::Heartbeats, row);
        (place.customer, place.vehicle, place.at, place.seq)
    }));
    let bus = rows.iter().find(|row| row[1] == Cell::text("bus")).unwrap();
    let metrics = Cell::text("[[\"oil \\\"hot\\\"\",91.5],[\"axle_1_t\",-0.25]]");
    assert_eq!(
        bus[4..10],
        [
            Cell::Whole(3 * DAY + 7 * HOUR + 40),
            Cell::Truth(true),
            Cell::Whole(7),
            Cell::Whole(-2),
            Cell::Number(53.25),
            Cell::Number(-2.965_432_1),
        ]
    );
    assert_eq!(bus[13..], [Cell::Number(120_345.7), Cell::Truth(false), metrics]);
    let Cell::Number(speed) = bus[10] else { panic!("{bus:?}") };
    assert_eq!(speed as f32, 48.3);
    assert!(rows.iter().any(|row| row[6..].iter().all(|cell| *cell == Cell::Absent)));
    // One that comes late stays until it is in a file too.
    store.log_heartbeats(100, &[of(3, 50), of(7, 1)]).await.unwrap();
    store.log_heartbeats(1, &all).await.unwrap();
    let sweep = async || {
        let (customer, vehicles) = ("acme".to_owned(), None);
        let sweep = HeartbeatSweep { customer, vehicles, from: 0, to: 4 * DAY, after: None, limit: 1_000 };
        store.heartbeats_in_order(&sweep).await.unwrap()
    };
    drop_all(&*store, Kind::Heartbeats, 4 * DAY).await;
    assert!(sweep().await.iter().any(|row| row.beat == of(3, 50)));
    let (part, rows) = archive_next(&*store, Kind::Heartbeats, 4 * DAY).await.unwrap();
    assert_eq!((part.from, part.late, rows.len()), (3 * DAY, true, 1));
    drop_all(&*store, Kind::Heartbeats, 4 * DAY).await;
    assert_eq!(sweep().await, []);
    let (mut parts, mut count) = (Vec::new(), 0);
    while let Some((part, rows)) = archive_next(&*store, Kind::Heartbeats, 9 * DAY).await {
        parts.extend((!rows.is_empty()).then_some(part.from / DAY));
        count += rows.len();
    }
    assert_eq!((parts, count), (vec![6, 7], 5));
}

pub async fn a_day_of_minutes_stands_still_in_its_file(database: Arc<Database>) {
    let store = database.open().await;
    let (a, b) = (key("acme", "a"), key("birch", "b"));
    let rows = (1..=8).flat_map(|seq| [&a, &b].map(|key| transition(key, seq, DAY + seq as Millis * HOUR + 7)));
    store.commit(&rows.collect::<Vec<_>>()).await.unwrap();
    let part = store.next_part(Kind::Minutes, 9 * DAY).await.unwrap();
    assert_eq!(part, None, "nothing is counted yet");
    while store.roll_up(3).await.unwrap() {
        let part = Part::around(Kind::Minutes, DAY, false);
        assert_eq!(store.begin_file(&part, "early", 5).await.unwrap(), None, "not all is counted yet");
    }
    let (part, rows) = archive_next(&*store, Kind::Minutes, 9 * DAY).await.unwrap();
    // Eight minutes of the fleet and of each customer.
    assert_eq!((part.from, rows.len(), rows[0].len()), (DAY, 24, columns(Kind::Minutes).len()));
    let at = DAY + HOUR;
    assert_eq!(rows[0][..4], [Cell::text(""), Cell::Whole(at), Cell::Whole(0), Cell::Whole(2)]);
    // One that is decided back into it changes the quarter, and no minute.
    store.commit(&[transition(&key("acme", "c"), 1, at + 3 * MINUTE)]).await.unwrap();
    count_all(&*store).await;
    begin(&*store, &part, "again").await;
    assert_eq!(rows_of(&*store, &part, "again").await, rows);
    assert_eq!(drop_all(&*store, Kind::Minutes, part.to).await, Some(part.to));
    assert_eq!(rows_of(&*store, &part, "again").await, [Raw::new(); 0]);
}
