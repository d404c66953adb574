//! Cases about the times in which Rollcall could not hear.
//! Fed by the suite; each runs on every store.

use std::sync::Arc;

use super::Database;
use crate::domain::time::Millis;
use crate::store::ObservationGap;

fn gap(scope: &str, from: Millis, to: Option<Millis>) -> ObservationGap {
    ObservationGap { scope: scope.into(), from, to, cause: "restart".into() }
}

pub async fn a_gap_is_opened_and_closed(database: Arc<Database>) {
    let store = database.open().await;
    let (open, closed) = (gap("link", 1_000, None), gap("link", 1_000, Some(4_000)));
    store.record_gap(&open).await.unwrap();
    assert_eq!(store.gaps(0, 9_000).await.unwrap(), std::slice::from_ref(&open));
    for again in [&closed, &open, &closed] {
        store.record_gap(again).await.unwrap();
        assert_eq!(store.gaps(0, 9_000).await.unwrap(), std::slice::from_ref(&closed), "an end that is known stays");
    }
    store.record_gap(&gap("process", 5_000, Some(4_000))).await.unwrap();
    let stored = store.gaps(4_500, 9_000).await.unwrap();
    assert_eq!(stored, [gap("process", 5_000, Some(5_000))], "a clock set back makes it empty, not impossible");
}

pub async fn open_gaps_are_ended_after_a_crash(database: Arc<Database>) {
    let store = database.open().await;
    for gap in [gap("link", 1_000, None), gap("process", 2_000, Some(3_000)), gap("link", 9_000, None)] {
        store.record_gap(&gap).await.unwrap();
    }
    store.close_open_gaps(7_000).await.unwrap();
    let ended = [gap("link", 1_000, Some(7_000)), gap("process", 2_000, Some(3_000)), gap("link", 9_000, Some(9_000))];
    assert_eq!(store.gaps(0, 10_000).await.unwrap(), ended);
}

pub async fn gaps_are_found_by_overlap(database: Arc<Database>) {
    let store = database.open().await;
    let (first, second, open) = (gap("link", 100, Some(200)), gap("process", 100, Some(300)), gap("link", 400, None));
    for gap in [&open, &second, &first] {
        store.record_gap(gap).await.unwrap();
    }
    let found = async |from, to| store.gaps(from, to).await.unwrap();
    assert_eq!(found(0, 1_000).await, [first.clone(), second.clone(), open.clone()]);
    assert_eq!(found(0, 100).await, []);
    assert_eq!(found(0, 101).await, [first, second.clone()]);
    assert_eq!(found(200, 400).await, [second]);
    assert_eq!(found(300, 400).await, []);
    assert_eq!(found(5_000, 5_001).await, [open]);
}
