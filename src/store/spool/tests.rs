//! The spool against everything a disk and a crash can do to it: torn ends, flipped bits, full disks, other stores.
//! R12, R59, R62.

use std::path::Path;
use std::time::Instant;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::store::contract_tests::Database;
use crate::store::contract_tests::samples::{key, transition};
use crate::store::{Store, TransitionQuery};

const ID: &str = "0123456789abcdef0123456789abcdef";
const LIMITS: Limits = Limits { bytes_max: 1 << 30, sync: SpoolSync::Never };

fn open(folder: &TempDir) -> Spool {
    Spool::open(folder.path(), ID, LIMITS).unwrap()
}

fn rows(from: u64, count: u64) -> Vec<Arc<Transition>> {
    let key = key("acme", "Bus \"7\" \u{e9}\u{1f68c}");
    (from..from + count).map(|seq| Arc::new(transition(&key, seq, 1_000 * seq as Millis))).collect()
}

fn gap(from: Millis) -> ObservationGap {
    ObservationGap { scope: "link".into(), from, to: None, cause: "broker \\ away".into() }
}

/// Everything that waits, in order, taken out; at most so many rows at a time.
fn empty_out(spool: &mut Spool, rows_max: usize) -> Entry {
    let mut all = Entry::default();
    while let Some(batch) = spool.head(rows_max) {
        spool.forget(&batch);
        all.transitions.extend(batch.entry.transitions);
        all.gaps.extend(batch.entry.gaps);
    }
    all
}

fn seqs(entry: &Entry) -> Vec<u64> {
    entry.transitions.iter().map(|transition| transition.change.seq).collect()
}

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let all = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let mut found: Vec<PathBuf> = all.filter(|path| path.extension().is_some_and(|own| own == ending)).collect();
    found.sort();
    found
}

#[test]
fn what_went_in_comes_out_whole_and_in_order() {
    let folder = TempDir::new().unwrap();
    let mut spool = open(&folder);
    assert!(spool.is_empty() && spool.head(10).is_none());
    spool.append(&rows(1, 3), &[]).unwrap();
    spool.append(&[], &[gap(4_000)]).unwrap();
    spool.append(&rows(4, 2), &[gap(9_000)]).unwrap();
    let stats = spool.stats();
    assert_eq!((stats.rows, stats.oldest), (5, Some(1_003)));
    assert_eq!(files(folder.path(), "spool").len(), 1);
    let out = empty_out(&mut spool, 1);
    let expected: Vec<Transition> = rows(1, 5).iter().map(|row| (**row).clone()).collect();
    assert_eq!(out, Entry { transitions: expected, gaps: vec![gap(4_000), gap(9_000)] });
    assert_eq!(spool.stats(), Stats::default());
    assert_eq!(files(folder.path(), "spool").len(), 0, "what is stored needs no file");
    spool.append(&rows(6, 1), &[]).unwrap();
    assert_eq!(seqs(&empty_out(&mut spool, 9)), [6], "it goes on after it was empty");
}

/// A crash in the middle of an append: whatever is left of the last record, those before it are there, and it is cut.
#[test]
fn a_record_torn_at_any_byte_is_cut_off_and_nothing_else() {
    let folder = TempDir::new().unwrap();
    let mut spool = open(&folder);
    spool.append(&rows(1, 2), &[]).unwrap();
    let path = files(folder.path(), "spool").remove(0);
    let whole = std::fs::read(&path).unwrap().len();
    spool.append(&rows(3, 2), &[]).unwrap();
    drop(spool);
    let bytes = std::fs::read(&path).unwrap();
    for length in whole..bytes.len() {
        std::fs::write(&path, &bytes[..length]).unwrap();
        let mut spool = open(&folder);
        assert_eq!((spool.stats().torn, spool.stats().damaged), (u64::from(length > whole), 0), "{length}");
        assert_eq!(std::fs::metadata(&path).unwrap().len(), whole as u64);
        spool.append(&rows(5, 1), &[]).unwrap();
        assert_eq!(seqs(&empty_out(&mut spool, 1)), [1, 2, 5]);
        assert_eq!(files(folder.path(), "damaged").len(), 0);
    }
    // The file may also have grown before its bytes came: zeros behind the last record.
    let zeros = [&bytes[..whole], &[0; 4_096]].concat();
    std::fs::write(&path, zeros).unwrap();
    let mut spool = open(&folder);
    assert_eq!((spool.stats().torn, seqs(&empty_out(&mut spool, 9))), (1, vec![1, 2]));
}

#[test]
fn a_segment_torn_while_it_was_made_is_removed() {
    let folder = TempDir::new().unwrap();
    let head = record::segment_head(ID);
    for length in 0..head.len() {
        std::fs::write(folder.path().join("000000000001.spool"), &head[..length]).unwrap();
        let spool = open(&folder);
        assert!(spool.is_empty() && spool.stats().torn == 1, "{length}");
        assert_eq!(files(folder.path(), "spool").len(), 0);
    }
}

/// Three records; the one in the middle is damaged at every bit. The others are replayed, the file is kept and counted.
#[test]
fn a_flipped_bit_costs_one_record_and_is_told() {
    let place = TempDir::new().unwrap();
    let mut spool = open(&place);
    let mut ends = Vec::new();
    for record in 0..3 {
        spool.append(&rows(2 * record + 1, 2), &[]).unwrap();
        ends.push(std::fs::metadata(&files(place.path(), "spool")[0]).unwrap().len() as usize);
    }
    drop(spool);
    let sound = std::fs::read(&files(place.path(), "spool")[0]).unwrap();
    for bit in (ends[0] * 8..ends[1] * 8).step_by(5) {
        let folder = TempDir::new().unwrap();
        let mut bytes = sound.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(folder.path().join("000000000007.spool"), &bytes).unwrap();
        let mut spool = open(&folder);
        assert_eq!((spool.stats().damaged, spool.stats().rows), (1, 4), "bit {bit}");
        assert_eq!(seqs(&empty_out(&mut spool, 1)), [1, 2, 5, 6], "bit {bit}");
        assert_eq!((spool.stats().rows, spool.stats().bytes), (0, 0));
        let kept = files(folder.path(), "damaged");
        assert_eq!(std::fs::read(&kept[0]).unwrap(), bytes, "kept as it was");
        spool.append(&rows(1, 1), &[]).unwrap();
        assert_eq!(files(folder.path(), "spool")[0].file_stem().unwrap(), "000000000008", "no name is used twice");
    }
}

#[test]
fn damage_that_comes_while_it_waits_is_told_too() {
    let folder = TempDir::new().unwrap();
    let mut spool = open(&folder);
    for seq in 1..=3 {
        spool.append(&rows(seq, 1), &[]).unwrap();
    }
    let path = files(folder.path(), "spool").remove(0);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(seqs(&empty_out(&mut spool, 9)), [1, 3]);
    assert_eq!((spool.stats().damaged, spool.stats().rows), (1, 0));
    assert_eq!(files(folder.path(), "damaged").len(), 1);
}

#[test]
fn another_stores_spool_is_set_aside_and_a_newer_ones_stops_the_start() {
    let folder = TempDir::new().unwrap();
    open(&folder).append(&rows(1, 1), &[]).unwrap();
    let other = Spool::open(folder.path(), "another", LIMITS).unwrap();
    assert!(other.is_empty() && other.stats().damaged == 1);
    assert_eq!((files(folder.path(), "foreign").len(), files(folder.path(), "spool").len()), (1, 0));

    let mut head = record::segment_head(ID);
    head[8] = 2;
    let checksum = crc32fast::hash(&head[..head.len() - 4]).to_le_bytes();
    let end = head.len() - 4;
    head[end..].copy_from_slice(&checksum);
    std::fs::write(folder.path().join("000000000009.spool"), &head).unwrap();
    let error = Spool::open(folder.path(), ID, LIMITS).unwrap_err().to_string();
    assert!(error.contains("newer Rollcall") && error.contains("000000000009"), "{error}");
}

#[test]
fn segments_are_rotated_and_room_comes_back_bit_by_bit() {
    let folder = TempDir::new().unwrap();
    let bytes_max = 256 * 1024;
    let mut spool = Spool::open(folder.path(), ID, Limits { bytes_max, sync: SpoolSync::Interval }).unwrap();
    let mut seq = 1;
    let full = loop {
        match spool.append(&rows(seq, 10), &[]) {
            Ok(()) => seq += 10,
            Err(error) => break error.to_string(),
        }
    };
    assert!(full.contains("store.spool_bytes_max"), "{full}");
    let on_disk = |folder: &TempDir| -> u64 {
        files(folder.path(), "spool").iter().map(|path| std::fs::metadata(path).unwrap().len()).sum()
    };
    assert!(files(folder.path(), "spool").len() > 4);
    assert_eq!(spool.stats().bytes, on_disk(&folder));
    assert!(spool.stats().bytes <= bytes_max);
    let first = files(folder.path(), "spool").len();
    let mut out = Vec::new();
    while files(folder.path(), "spool").len() == first {
        let batch = spool.head(50).unwrap();
        out.extend(seqs(&batch.entry));
        spool.forget(&batch);
    }
    spool.append(&rows(seq, 10), &[]).unwrap();
    spool.sync().unwrap();
    assert_eq!(spool.stats().bytes, on_disk(&folder));
    out.extend(seqs(&empty_out(&mut spool, 50)));
    assert_eq!(out, (1..seq + 10).collect::<Vec<_>>());
}

/// A disk that is full in the middle of a record, on a real small file system where one can be mounted.
#[test]
fn a_failed_append_leaves_no_trace() {
    let place = TempDir::new().unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"])
        .arg(place.path())
        .output()
        .is_ok_and(|output| output.status.success());
    if !mounted {
        let must = std::env::var("CI").as_deref() == Ok("true")
            && std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap()) == 0;
        assert!(!must, "root must be able to mount a tmpfs in CI");
        eprintln!("skipped: a small file system cannot be mounted here");
        return;
    }
    let mut spool = Spool::open(place.path(), ID, Limits { bytes_max: 1 << 30, sync: SpoolSync::Always }).unwrap();
    let mut seq = 1;
    let full = loop {
        match spool.append(&rows(seq, 40), &[]) {
            Ok(()) => seq += 40,
            Err(error) => break format!("{error:#}"),
        }
    };
    let stats = spool.stats();
    let again = spool.append(&rows(seq, 40), &[]).is_err();
    let reopened = open(&place).stats();
    let out = seqs(&empty_out(&mut spool, 50));
    let later = spool.append(&rows(1, 1), &[]);
    drop(spool);
    let unmounted = std::process::Command::new("umount").arg(place.path()).status().unwrap();
    assert!(full.contains("No space left") && again, "{full}");
    assert!(seq > 100 && stats.rows == seq - 1);
    assert_eq!((reopened.rows, reopened.torn, reopened.damaged), (seq - 1, 0, 0), "no half record is left");
    assert_eq!(out, (1..seq).collect::<Vec<_>>());
    assert!(later.is_ok(), "it goes on when there is room: {later:?}");
    assert!(unmounted.success());
}

/// Fills a spool and empties it into a store, twice: the second time, from a copy, changes nothing. Prints how fast.
/// `cargo test --release --lib -- store::spool::tests::rates --nocapture`
async fn emptied_into(store: Arc<dyn Store>, sync: SpoolSync) {
    let (vehicles, each): (u64, u64) = if cfg!(debug_assertions) { (500, 4) } else { (50_000, 4) };
    let (folder, copy) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let identity = store.identity().await.unwrap();
    let keys: Vec<_> = (0..vehicles).map(|n| key("acme", &format!("TRK-{n}"))).collect();
    let all: Vec<Arc<Transition>> = (1..=each)
        .flat_map(|seq| keys.iter().map(move |key| Arc::new(transition(key, seq, 1_000 * seq as Millis))))
        .collect();
    let limits = Limits { sync, ..LIMITS };
    let mut spool = Spool::open(folder.path(), &identity, limits).unwrap();
    let begun = Instant::now();
    for rows in all.chunks(RECORD_ROWS_MAX) {
        spool.append(rows, &[]).unwrap();
    }
    let rate = |begun: Instant| (all.len() as f64 / begun.elapsed().as_secs_f64()).round();
    println!(
        "{sync:?}: {} bytes a transition, {}/s into the spool",
        spool.stats().bytes / all.len() as u64,
        rate(begun)
    );
    for file in files(folder.path(), "spool") {
        std::fs::copy(&file, copy.path().join(file.file_name().unwrap())).unwrap();
    }
    let begun = Instant::now();
    assert_eq!(replay(&mut spool, &*store).await.unwrap(), all.len() as u64);
    println!("{}/s from the spool into {}", rate(begun), store.kind());
    let before = whole_history(&*store).await;
    let mut spool = Spool::open(copy.path(), &identity, limits).unwrap();
    replay(&mut spool, &*store).await.unwrap();
    assert_eq!(whole_history(&*store).await, before);
    assert_eq!(before.len() as u64, vehicles.min(400) * each, "each once");
}

/// What the first vehicles went through; all of it would take long to read in a release run.
async fn whole_history(store: &dyn Store) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    let mut vehicles = Vec::new();
    store.load_vehicles(&mut |vehicle| vehicles.push(vehicle)).await.unwrap();
    for vehicle in vehicles.iter().take(400) {
        assert_eq!(vehicle.seq, 4);
        let name = vehicle.key.vehicle.to_string();
        let query = TransitionQuery {
            customer: Some("acme".into()),
            vehicle: Some(name.clone()),
            limit: 1_000,
            ..TransitionQuery::default()
        };
        found.extend(store.transitions(&query).await.unwrap().iter().map(|row| (name.clone(), row.change.seq)));
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rates_of_filling_and_replaying_into_sqlite() {
    let database = Database::file();
    emptied_into(database.open().await, SpoolSync::Always).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rates_of_filling_and_replaying_into_postgres() {
    let Some(database) = Database::postgres().await else { return };
    emptied_into(database.open().await, SpoolSync::Never).await;
    Arc::new(database).drop().await;
}

#[derive(Debug, Clone)]
enum Step {
    Append(u64, bool),
    Take(usize),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0u64..40, any::<bool>()).prop_map(|(count, gap)| Step::Append(count, gap)),
        2 => (1usize..60).prop_map(Step::Take),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Against a plain list. A reopened spool may hand out again what was taken of its first segment (the store counts
    /// it once), but never skips, and never changes the order.
    #[test]
    fn any_history_replays_in_order(steps in steps()) {
        let folder = TempDir::new().unwrap();
        let limits = Limits { bytes_max: 200 * 1024, sync: SpoolSync::Interval };
        let mut spool = Spool::open(folder.path(), ID, limits).unwrap();
        let (mut last, mut stored) = (0u64, 0u64);
        let mut take = |spool: &mut Spool, rows_max| {
            let Some(batch) = spool.head(rows_max) else { return Ok(false) };
            spool.forget(&batch);
            for seq in seqs(&batch.entry) {
                prop_assert!(seq <= stored + 1, "{seq} comes before {}", stored + 1);
                stored = stored.max(seq);
            }
            Ok(true)
        };
        for step in steps {
            match step {
                Step::Append(count, with_gap) => {
                    let gaps = if with_gap { vec![gap(7)] } else { vec![] };
                    if spool.append(&rows(last + 1, count), &gaps).is_ok() {
                        last += count;
                    }
                }
                Step::Take(rows_max) => drop(take(&mut spool, rows_max)?),
                Step::Reopen => {
                    drop(spool);
                    spool = Spool::open(folder.path(), ID, limits).unwrap();
                    prop_assert_eq!((spool.stats().torn, spool.stats().damaged), (0, 0));
                }
            }
        }
        while take(&mut spool, 25)? {}
        prop_assert_eq!(stored, last);
        prop_assert_eq!((spool.stats().rows, spool.stats().bytes), (0, 0));
    }

    #[test]
    fn any_bytes_never_stop_the_start(bytes in prop::collection::vec(any::<u8>(), 0..400), ours in any::<bool>()) {
        let folder = TempDir::new().unwrap();
        let head = if ours { record::segment_head(ID) } else { Vec::new() };
        std::fs::write(folder.path().join("000000000001.spool"), [head, bytes].concat()).unwrap();
        let mut spool = open(&folder);
        prop_assert_eq!(empty_out(&mut spool, 9), Entry::default());
    }
}
