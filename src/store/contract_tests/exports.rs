//! Cases about the queue of exports: turns, leases, tries, and what goes.
//! Fed by the suite; each runs on every store.

use std::sync::Arc;

use super::Database;
use crate::domain::export::{ExportId, Format, Kind, Order, State};
use crate::domain::time::Millis;
use crate::store::Store;
use crate::store::exports::{Claim, Done, Ending, ExportQuery, StoredExport, Try};

const LEASE: Millis = 1_000;
const DONE: Done = Done { progress: 0.5, rows: 7, bytes: 900 };

fn export(id: u64, tenant: Option<&str>, made_at: Millis) -> StoredExport {
    let order = Order {
        kind: Kind::Transitions,
        customer: Some("acme".into()),
        vehicles: vec!["bus \"1\"".into()],
        from: Some(1),
        to: Some(2),
        columns: vec!["at".into()],
        format: Format::CsvZip,
    };
    StoredExport {
        id: ExportId::new(id),
        tenant: tenant.map(str::to_owned),
        made_by: "key ops".into(),
        made_at,
        order,
        state: State::NotStarted,
        attempts: 0,
        done: Done::default(),
        error: None,
        file: None,
        expires_at: None,
    }
}

async fn add(store: &dyn Store, export: &StoredExport) {
    assert!(store.add_export(export, 100).await.unwrap());
}

async fn claim(store: &dyn Store, now: Millis, mine: &[u64]) -> Option<StoredExport> {
    let mine = mine.iter().map(|id| ExportId::new(*id)).collect();
    let claim = Claim { now, lease: now + LEASE, mine, per_tenant: 1, attempts_max: 3 };
    store.claim_export(&claim).await.unwrap()
}

/// The identifier of what is claimed.
async fn next(store: &dyn Store, now: Millis) -> Option<ExportId> {
    claim(store, now, &[]).await.map(|export| export.id)
}

async fn one(store: &dyn Store, id: u64) -> StoredExport {
    store.export(ExportId::new(id)).await.unwrap().unwrap()
}

fn attempt(id: u64, attempt: u32) -> Try {
    Try { id: ExportId::new(id), attempt }
}

pub async fn an_order_is_kept_whole_once_and_no_more_than_so_many(database: Arc<Database>) {
    let store = database.open().await;
    let orders = [export(3, Some("acme"), 10), export(1, None, 10), export(2, Some("birch"), 20)];
    for order in &orders {
        add(&*store, order).await;
        add(&*store, &StoredExport { made_by: "else".into(), ..order.clone() }).await;
        assert_eq!(one(&*store, u64::from_str_radix(&order.id.to_string(), 16).unwrap()).await, *order);
    }
    let page = async |query: ExportQuery| -> Vec<StoredExport> { store.exports(&query).await.unwrap() };
    let all = ExportQuery { limit: 10, ..ExportQuery::default() };
    assert_eq!(page(all.clone()).await, [orders[2].clone(), orders[0].clone(), orders[1].clone()]);
    let before = Some((10, orders[0].id));
    assert_eq!(page(ExportQuery { before, ..all.clone() }).await, [orders[1].clone()]);
    assert_eq!(page(ExportQuery { tenant: Some("acme".into()), ..all.clone() }).await, [orders[0].clone()]);
    assert_eq!(page(ExportQuery { state: Some(State::Failed), ..all }).await, []);
    assert!(!store.add_export(&export(4, Some("acme"), 30), 1).await.unwrap(), "one is there already");
    assert!(store.add_export(&export(3, Some("acme"), 30), 1).await.unwrap(), "it is that one");
    assert!(store.cancel_export(orders[0].id, 40).await.unwrap());
    assert!(store.add_export(&export(4, Some("acme"), 30), 1).await.unwrap(), "a cancelled one makes room");
    assert!(!store.add_export(&export(5, None, 30), 1).await.unwrap(), "those for all customers are one tenant");
}

pub async fn the_oldest_has_its_turn_and_each_tenant_its_share(database: Arc<Database>) {
    let store = database.open().await;
    store.take_over().await.unwrap();
    assert_eq!(next(&*store, 5).await, None);
    for order in
        [export(1, Some("acme"), 10), export(2, Some("acme"), 11), export(3, Some("birch"), 12), export(4, None, 13)]
    {
        add(&*store, &order).await;
    }
    assert_eq!(next(&*store, 9).await, None, "not due");
    let first = claim(&*store, 20, &[]).await.unwrap();
    assert_eq!((first.id, first.state, first.attempts), (ExportId::new(1), State::Started, 1));
    assert_eq!(next(&*store, 20).await, Some(ExportId::new(3)), "acme has its share");
    assert_eq!(next(&*store, 20).await, Some(ExportId::new(4)));
    assert_eq!(next(&*store, 20).await, None);
    assert!(store.finish_export(attempt(1, 1), "1-1.zip", DONE, 30, 90).await.unwrap());
    assert_eq!(next(&*store, 31).await, Some(ExportId::new(2)));
}

pub async fn a_try_whose_lease_was_lost_writes_nothing_more(database: Arc<Database>) {
    let store = database.open().await;
    store.take_over().await.unwrap();
    add(&*store, &export(1, None, 10)).await;
    claim(&*store, 10, &[]).await.unwrap();
    assert!(store.hold_export(attempt(1, 1), 10 + 2 * LEASE, DONE).await.unwrap());
    assert_eq!(one(&*store, 1).await.done, DONE);
    assert_eq!(next(&*store, 10 + LEASE).await, None, "it is held for longer");
    assert_eq!(claim(&*store, 10 + 2 * LEASE, &[1]).await, None, "the same process still works on it");
    let again = claim(&*store, 10 + 2 * LEASE, &[]).await.unwrap();
    assert_eq!((again.attempts, again.done), (2, Done::default()));
    assert!(!store.hold_export(attempt(1, 1), 99_999, DONE).await.unwrap());
    assert!(!store.finish_export(attempt(1, 1), "1-1.zip", DONE, 30, 90).await.unwrap());
    assert!(!store.end_export(attempt(1, 1), &Ending::Never(30), Some("x")).await.unwrap());
    for _ in 0..2 {
        assert!(store.finish_export(attempt(1, 2), "1-2.zip", DONE, 30, 90).await.unwrap(), "twice is once");
    }
    let finished = one(&*store, 1).await;
    assert_eq!(
        (finished.state, finished.file.as_deref(), finished.expires_at),
        (State::Finished, Some("1-2.zip"), Some(90))
    );
    assert_eq!(finished.done, Done { progress: 1.0, ..DONE });
    assert_eq!(store.export_files().await.unwrap(), (vec!["1-2.zip".into()], 900));
    // Another process takes the store over: what the one before it worked on is free at once.
    add(&*store, &export(2, None, 10)).await;
    claim(&*store, 40, &[]).await.unwrap();
    store.take_over().await.unwrap();
    assert_eq!(next(&*store, 41).await, Some(ExportId::new(2)));
}

pub async fn a_failed_try_waits_and_the_last_one_is_the_end(database: Arc<Database>) {
    let store = database.open().await;
    store.take_over().await.unwrap();
    add(&*store, &export(1, None, 10)).await;
    claim(&*store, 10, &[]).await.unwrap();
    assert!(store.end_export(attempt(1, 1), &Ending::Again(500), Some("disk full")).await.unwrap());
    let waits = one(&*store, 1).await;
    assert_eq!((waits.state, waits.attempts, waits.error.as_deref()), (State::NotStarted, 1, Some("disk full")));
    assert_eq!(next(&*store, 499).await, None);
    assert_eq!(claim(&*store, 500, &[]).await.unwrap().attempts, 2);
    // A clean stop is not its fault.
    assert!(store.end_export(attempt(1, 2), &Ending::GivenBack, None).await.unwrap());
    assert_eq!(claim(&*store, 500, &[]).await.unwrap().attempts, 2);
    // Its process dies, and that of the next try too, which is the last.
    let dies = |now: Millis| now + LEASE;
    assert_eq!(claim(&*store, dies(500), &[]).await.unwrap().attempts, 3);
    assert_eq!(next(&*store, dies(dies(500))).await, None);
    let lost = one(&*store, 1).await;
    assert_eq!((lost.state, lost.attempts), (State::Failed, 3));
    assert!(lost.error.as_deref().is_some_and(|error| error.contains("process ended")), "{lost:?}");
    let failed = ExportQuery { state: Some(State::Failed), limit: 9, ..ExportQuery::default() };
    assert_eq!(store.exports(&failed).await.unwrap(), [lost]);
}

pub async fn an_export_is_cancelled_expires_and_is_forgotten(database: Arc<Database>) {
    let store = database.open().await;
    store.take_over().await.unwrap();
    for id in 1..=4 {
        add(&*store, &export(id, None, 10)).await;
    }
    claim(&*store, 10, &[]).await.unwrap();
    assert!(store.cancel_export(ExportId::new(1), 20).await.unwrap());
    assert!(!store.cancel_export(ExportId::new(1), 30).await.unwrap());
    assert!(!store.finish_export(attempt(1, 1), "1-1.zip", DONE, 30, 90).await.unwrap(), "it was cancelled");
    assert_eq!(one(&*store, 1).await.state, State::Cancelled);
    claim(&*store, 10, &[]).await.unwrap();
    store.forget_export(ExportId::new(2)).await.unwrap();
    assert_eq!(one(&*store, 2).await.state, State::Started, "what is not over is not forgotten");
    assert!(store.finish_export(attempt(2, 1), "2-1.zip", DONE, 30, 90).await.unwrap());
    assert_eq!(store.due_to_expire(89, 9).await.unwrap(), []);
    assert_eq!(store.due_to_expire(90, 9).await.unwrap(), [one(&*store, 2).await]);
    // Its time can be cut short, and is not made longer; what is not finished has none.
    for (at, ends) in [(200, 90), (80, 80)] {
        store.end_exports_at(&[2, 3, 99].map(ExportId::new), at).await.unwrap();
        assert_eq!((one(&*store, 2).await.expires_at, one(&*store, 3).await.expires_at), (Some(ends), None));
    }
    for _ in 0..2 {
        store.expire_export(ExportId::new(2)).await.unwrap();
    }
    let expired = one(&*store, 2).await;
    assert_eq!((expired.state, &expired.file, expired.expires_at), (State::Expired, &None, Some(80)));
    assert_eq!(store.export_files().await.unwrap(), (Vec::new(), 0));
    store.prune_exports(21).await.unwrap();
    assert_eq!(store.export(ExportId::new(1)).await.unwrap(), None, "it ended at 20");
    assert_eq!(one(&*store, 2).await.state, State::Expired, "it ended at 30");
    store.forget_export(ExportId::new(2)).await.unwrap();
    assert_eq!(store.export(ExportId::new(2)).await.unwrap(), None);
    assert_eq!(one(&*store, 3).await.state, State::NotStarted);
}
