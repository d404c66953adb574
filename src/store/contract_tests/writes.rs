//! Cases about what is written: once, whole, forward only, and still there afterwards.
//! Fed by the suite; each runs on every store.

use std::sync::Arc;

use super::samples::{checkpoint, everything, fact, key, position, transition};
use super::{Database, vehicles};
use crate::domain::latest::{Latest, Rank};
use crate::domain::sleep::Announced;
use crate::domain::transition::{Cause, Status, Transition};
use crate::store::{Checkpoint, Store, StoredVehicle};

async fn history(store: &dyn Store) -> Vec<Transition> {
    store.transitions(&everything()).await.unwrap()
}

async fn only_vehicle(store: &dyn Store) -> StoredVehicle {
    let mut all = vehicles(store).await;
    assert_eq!(all.len(), 1);
    all.remove(0)
}

pub async fn a_fresh_store_is_empty(database: Arc<Database>) {
    let store = database.open().await;
    store.ping().await.unwrap();
    assert!(database.url().starts_with(store.kind()));
    assert_eq!(vehicles(&*store).await, []);
    assert_eq!(store.load_customers().await.unwrap(), []);
    assert_eq!(store.alive_until().await.unwrap(), None);
    assert_eq!(store.gaps(0, i64::MAX).await.unwrap(), []);
    assert_eq!(history(&*store).await, []);
    store.commit(&[]).await.unwrap();
    assert_eq!(history(&*store).await, []);
}

pub async fn a_database_has_a_name_of_its_own_that_stays(database: Arc<Database>) {
    let store = database.open().await;
    let name = store.identity().await.unwrap();
    assert!(name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit()), "{name}");
    assert_eq!(store.identity().await.unwrap(), name);
    assert_ne!(crate::store::open("sqlite::memory:").await.unwrap().identity().await.unwrap(), name);
    if !matches!(&*database, Database::Memory) {
        store.close().await;
        assert_eq!(database.open().await.identity().await.unwrap(), name, "it outlives the process");
    }
}

/// R26: of two processes on one store the newer one writes, and the older one is told.
pub async fn who_takes_the_store_over_ends_the_writes_of_the_one_before(database: Arc<Database>) {
    if matches!(&*database, Database::Memory) {
        return;
    }
    let (old, new) = (database.open().await, database.open().await);
    let batch = |seq: u64| [transition(&key("acme", "1"), seq, 1_000)];
    old.take_over().await.unwrap();
    old.commit(&batch(1)).await.unwrap();
    new.take_over().await.unwrap();
    for refused in [old.commit(&batch(2)).await, old.checkpoint(&[], 5).await] {
        assert!(refused.unwrap_err().is::<crate::store::TakenOver>());
    }
    new.commit(&batch(2)).await.unwrap();
    assert_eq!(history(&*new).await.len(), 2);
    assert_eq!(new.alive_until().await.unwrap(), None, "nothing of the old one came in");
}

pub async fn a_batch_is_read_back_whole(database: Arc<Database>) {
    let store = database.open().await;
    let key = key("acme", "MTA NYCT_7326 Ü'\"\\");
    let mut bare = transition(&key, 2, 2_000);
    bare.change.cause = Cause::Blind;
    bare.change.to = Status::Unobserved;
    (bare.change.last_seen, bare.change.deadline) = (None, None);
    bare.evidence = Default::default();
    let full = transition(&key, 1, 1_000);
    store.commit(&[full.clone(), bare.clone()]).await.unwrap();
    assert_eq!(history(&*store).await, [bare, full]);
    let vehicle = only_vehicle(&*store).await;
    assert_eq!((vehicle.status, vehicle.since, vehicle.seq), (Status::Unobserved, Some(2_000), 2));
    assert_eq!((vehicle.last_seen, vehicle.latest.position), (Some(995), Some(position(1_000, 53.25))));
    assert_eq!((vehicle.registered, vehicle.offline_after, vehicle.key), (None, None, key));
    let customers = store.load_customers().await.unwrap();
    assert_eq!(customers.iter().map(|c| c.customer.as_str()).collect::<Vec<_>>(), ["acme"]);
}

pub async fn a_batch_written_twice_counts_once(database: Arc<Database>) {
    let store = database.open().await;
    let keys = [key("acme", "1"), key("acme", "2"), key("zeta", "1")];
    let batch: Vec<_> = keys.iter().flat_map(|key| (1..=5).map(|seq| transition(key, seq, 100 * seq as i64))).collect();
    store.commit(&batch).await.unwrap();
    let once = (history(&*store).await, vehicles(&*store).await);
    store.commit(&batch).await.unwrap();
    assert_eq!((history(&*store).await, vehicles(&*store).await), once);
    assert_eq!(once.0.len(), 15);
    // What is there stays as it is, whatever comes under its number.
    store.commit(&[Transition { decided_at: 9_999, ..batch[0].clone() }]).await.unwrap();
    assert_eq!(history(&*store).await, once.0);
}

pub async fn batches_that_overlap_or_come_in_the_wrong_order_change_nothing(database: Arc<Database>) {
    let store = database.open().await;
    let key = key("acme", "1");
    let all: Vec<_> = (1..=9).map(|seq| transition(&key, seq, 100 * seq as i64)).collect();
    for batch in [&all[6..9], &all[0..4], &all[2..8], &all[0..1]] {
        store.commit(batch).await.unwrap();
        assert_eq!(only_vehicle(&*store).await.seq, 9, "a row never moves back");
    }
    let newest_first: Vec<_> = all.iter().rev().cloned().collect();
    assert_eq!(history(&*store).await, newest_first);
    let vehicle = only_vehicle(&*store).await;
    assert_eq!((vehicle.since, vehicle.status), (Some(900), Status::Online));
}

pub async fn a_large_batch_is_one_transaction(database: Arc<Database>) {
    let store = database.open().await;
    let keys: Vec<_> = (0..3_000).map(|n| key("acme", &format!("v{n}"))).collect();
    let mut batch: Vec<_> = keys.iter().flat_map(|key| (1..=4).map(|seq| transition(key, seq, 50))).collect();
    let last = batch.len() - 1;
    batch[last].change.seq = u64::MAX;
    assert!(store.commit(&batch).await.is_err());
    assert_eq!(vehicles(&*store).await, []);
    // 0 is refused by the table itself, after thousands of rows are in.
    batch[last].change.seq = 0;
    assert!(store.commit(&batch).await.is_err());
    assert_eq!((history(&*store).await, vehicles(&*store).await), (vec![], vec![]));
    batch[last].change.seq = 4;
    store.commit(&batch).await.unwrap();
    assert_eq!((history(&*store).await.len(), vehicles(&*store).await.len()), (12_000, 3_000));
}

/// As the persister writes large groups where that is faster: both of new customers and months, and then of known ones.
pub async fn two_commits_at_once_of_different_vehicles_are_both_whole(database: Arc<Database>) {
    let store = database.open().await;
    let half = |n: usize, seq: u64| {
        let keys = (0..3_000).map(move |i| key(["acme", "birch", "cedar"][i % 3], &format!("v{}", 2 * i + n)));
        keys.map(|key| transition(&key, seq, 50 + seq as i64 * 40 * 86_400_000)).collect::<Vec<_>>()
    };
    for seq in 1..=3 {
        let (even, odd) = (half(0, seq), half(1, seq));
        let (first, second) = tokio::join!(store.commit(&even), store.commit(&odd));
        first.and(second).unwrap();
        store.commit(&even).await.unwrap();
    }
    let stored = vehicles(&*store).await;
    assert_eq!((stored.len(), history(&*store).await.len()), (6_000, 18_000));
    assert!(stored.iter().all(|vehicle| vehicle.seq == 3));
}

pub async fn checkpoints_only_move_forward(database: Arc<Database>) {
    let store = database.open().await;
    let key = key("acme", "1");
    store.commit(&[transition(&key, 1, 1_000)]).await.unwrap();
    store.checkpoint(&[checkpoint(&key, 5_000)], 6_000).await.unwrap();
    let newest = only_vehicle(&*store).await;
    assert_eq!((newest.last_seen, newest.seq), (Some(5_000), 1));
    assert_eq!(newest.latest, checkpoint(&key, 5_000).latest);
    store.checkpoint(&[checkpoint(&key, 4_999)], 5_500).await.unwrap();
    assert_eq!(only_vehicle(&*store).await, newest);
    assert_eq!(store.alive_until().await.unwrap(), Some(6_000));
    // The same vehicle twice in one call: the newest of them.
    let twice = [checkpoint(&key, 8_000), checkpoint(&key, 7_000)];
    store.checkpoint(&twice, 9_000).await.unwrap();
    assert_eq!(only_vehicle(&*store).await.last_seen, Some(8_000));
    store.checkpoint(&[], 9_500).await.unwrap();
    assert_eq!(store.alive_until().await.unwrap(), Some(9_500));
}

pub async fn a_checkpoint_does_not_create_a_vehicle(database: Arc<Database>) {
    let store = database.open().await;
    store.checkpoint(&[checkpoint(&key("acme", "ghost"), 5_000)], 6_000).await.unwrap();
    assert_eq!(vehicles(&*store).await, []);
    assert_eq!(store.alive_until().await.unwrap(), Some(6_000));
}

/// A sleep belongs to the heartbeat it was announced with: a newer one ends it, an older one does not.
pub async fn an_announced_sleep_is_kept_with_its_heartbeat(database: Arc<Database>) {
    let store = database.open().await;
    let key = key("acme", "1");
    store.commit(&[transition(&key, 1, 1_000)]).await.unwrap();
    assert_eq!(only_vehicle(&*store).await.announced, Announced::NONE);
    store.checkpoint(&[checkpoint(&key, 2_000)], 2_000).await.unwrap();
    assert_eq!(only_vehicle(&*store).await.announced, checkpoint(&key, 2_000).announced);
    store.commit(&[transition(&key, 2, 2_000)]).await.unwrap();
    assert_eq!(only_vehicle(&*store).await.announced, checkpoint(&key, 2_000).announced);
    store.commit(&[transition(&key, 3, 3_000)]).await.unwrap();
    assert_eq!(only_vehicle(&*store).await.announced, Announced::NONE);
}

pub async fn a_checkpoint_keeps_what_it_does_not_bring(database: Arc<Database>) {
    let store = database.open().await;
    let key = key("acme", "1");
    store.commit(&[transition(&key, 1, 1_000)]).await.unwrap();
    store.checkpoint(&[checkpoint(&key, 2_000)], 2_000).await.unwrap();
    let bare = |position| Latest { position, ..Latest::default() };
    let gauge = |at, seq| Latest { battery_pct: Some(fact(1.0, at, seq)), ..Latest::default() };
    let old = [bare(None), bare(Some(position(1_999, 1.0))), gauge(1_998, Some(9)), gauge(1_999, Some(5))];
    for latest in old.into_iter().chain([bare(Some(position(2_000, 1.0)))]) {
        store.checkpoint(&[Checkpoint { latest, ..checkpoint(&key, 3_000) }], 3_000).await.unwrap();
        let vehicle = only_vehicle(&*store).await;
        assert_eq!((vehicle.last_seen, vehicle.latest), (Some(3_000), checkpoint(&key, 2_000).latest));
    }
    let moved = Latest { position: Some(position(2_001, 1.0)), ..gauge(1_999, Some(7)) };
    store.checkpoint(&[Checkpoint { latest: moved.clone(), ..checkpoint(&key, 3_000) }], 3_000).await.unwrap();
    let known = checkpoint(&key, 2_000).latest;
    let expected =
        Latest { position_rank: Rank::NONE, battery_pct: moved.battery_pct, position: moved.position, ..known };
    assert_eq!(only_vehicle(&*store).await.latest, expected);
}

pub async fn a_part_of_a_checkpoint_promises_nothing(database: Arc<Database>) {
    let store = database.open().await;
    let key = key("acme", "1");
    store.commit(&[transition(&key, 1, 1_000)]).await.unwrap();
    store.heard(&[checkpoint(&key, 2_000)]).await.unwrap();
    let vehicle = only_vehicle(&*store).await;
    assert_eq!((vehicle.last_seen, vehicle.latest), (Some(2_000), checkpoint(&key, 2_000).latest));
    assert_eq!(store.alive_until().await.unwrap(), None);
    store.heard(&[]).await.unwrap();
}

pub async fn a_transition_keeps_what_a_later_checkpoint_wrote(database: Arc<Database>) {
    let store = database.open().await;
    let key = key("acme", "1");
    store.commit(&[transition(&key, 1, 1_000)]).await.unwrap();
    store.checkpoint(&[checkpoint(&key, 5_000)], 5_000).await.unwrap();
    store.commit(&[transition(&key, 2, 3_000)]).await.unwrap();
    let vehicle = only_vehicle(&*store).await;
    assert_eq!((vehicle.seq, vehicle.status, vehicle.since), (2, Status::Offline, Some(3_000)));
    assert_eq!((vehicle.last_seen, vehicle.latest), (Some(5_000), checkpoint(&key, 5_000).latest));
}

pub async fn more_vehicles_than_one_read_are_loaded_in_order(database: Arc<Database>) {
    let store = database.open().await;
    let name = |n: u32| (format!("c{}", n % 3), format!("v{n}"));
    let batch: Vec<_> = (0..25_000).map(|n| transition(&key(&name(n).0, &name(n).1), 1, 50)).collect();
    store.commit(&batch).await.unwrap();
    let stored = vehicles(&*store).await;
    assert_eq!(stored.len(), 25_000);
    assert!(stored.is_sorted_by(|a, b| a.key < b.key));
    let shared = stored.windows(2).filter(|pair| Arc::ptr_eq(&pair[0].key.customer, &pair[1].key.customer)).count();
    assert_eq!(shared, 25_000 - 3, "one name a customer is kept");
}

pub async fn reopening_keeps_everything(database: Arc<Database>) {
    if matches!(*database, Database::Memory) {
        return;
    }
    let store = database.open().await;
    let key = key("acme", "1");
    store.commit(&[transition(&key, 1, 1_000)]).await.unwrap();
    store.checkpoint(&[checkpoint(&key, 5_000)], 6_000).await.unwrap();
    let before = (history(&*store).await, vehicles(&*store).await, store.alive_until().await.unwrap());
    store.close().await;
    let store = database.open().await;
    assert_eq!((history(&*store).await, vehicles(&*store).await, store.alive_until().await.unwrap()), before);
}

/// Two processes on one database work; what they write is joined. That only one should run is not for the store.
pub async fn two_stores_share_a_database(database: Arc<Database>) {
    if matches!(*database, Database::Memory) {
        return;
    }
    let (one, two) = tokio::join!(database.open(), database.open());
    let shared = key("acme", "both");
    for seq in 1..30 {
        let batch = |own: &str| [transition(&key("acme", own), seq, 10), transition(&shared, seq, 10)];
        let (first, second) = (batch("one"), batch("two"));
        let (first, second) = tokio::join!(one.commit(&first), two.commit(&second));
        first.unwrap();
        second.unwrap();
    }
    assert_eq!(history(&*one).await.len(), 3 * 29);
    assert_eq!(history(&*one).await, history(&*two).await);
}

pub async fn readers_see_whole_batches_while_a_writer_writes(database: Arc<Database>) {
    let store = database.open().await;
    let keys: Vec<_> = (0..50).map(|n| key("acme", &format!("v{n}"))).collect();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let readers: Vec<_> = (0..6)
        .map(|_| {
            let (store, stopped) = (Arc::clone(&store), stopped.clone());
            tokio::spawn(async move {
                let mut reads = 0;
                while reads == 0 || !*stopped.borrow() {
                    assert_eq!(history(&*store).await.len() % 50, 0);
                    assert!([0, 50].contains(&vehicles(&*store).await.len()));
                    reads += 1;
                }
                reads
            })
        })
        .collect();
    for seq in 1..=40 {
        let batch: Vec<_> = keys.iter().map(|key| transition(key, seq, seq as i64)).collect();
        store.commit(&batch).await.unwrap();
        let heard: Vec<_> = keys.iter().map(|key| checkpoint(key, seq as i64)).collect();
        store.checkpoint(&heard, seq as i64).await.unwrap();
    }
    stop.send(true).unwrap();
    for reader in readers {
        assert!(reader.await.unwrap() > 0);
    }
    assert_eq!(history(&*store).await.len(), 2_000);
}

pub async fn a_write_whose_caller_left_is_finished(database: Arc<Database>) {
    let store = database.open().await;
    let keys: Vec<_> = (0..500).map(|n| key("acme", &format!("v{n}"))).collect();
    for seq in 1..=20 {
        let batch: Vec<_> = keys.iter().map(|key| transition(key, seq, 50)).collect();
        let patience = std::time::Duration::from_micros(300 * seq);
        // Dropped at a different moment each time: before it began, in its middle, or not at all.
        let _ = tokio::time::timeout(patience, store.commit(&batch)).await;
        let _ = tokio::time::timeout(patience, store.transitions(&everything())).await;
    }
    // Whoever comes next waits for what is under way, on a connection that is in order.
    store.commit(&[transition(&keys[0], 21, 60)]).await.unwrap();
    let seen = history(&*store).await.len();
    assert_eq!(seen % 500, 1);
    assert_eq!(seen, 20 * 500 + 1);
}

pub async fn a_closed_store_says_so(database: Arc<Database>) {
    let store = database.open().await;
    store.close().await;
    store.close().await;
    assert!(store.ping().await.is_err());
    let error = store.commit(&[transition(&key("acme", "1"), 1, 10)]).await.unwrap_err();
    assert!(format!("{error:#}").contains("closed"), "{error:#}");
}
