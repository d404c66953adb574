//! Two services on one database: the newer one takes over, the older one is told with its next write and ends, so that
//! one number never stands for two transitions (R26).

use std::time::Duration;

use serde_json::json;

use crate::history::History;
use crate::stacks::{CUSTOMER, Stack, database};
use crate::support::{Service, from_environment, until};

async fn beat(service: &Service, vehicle: &str) {
    let (status, _) = service.post_heartbeats(&json!({"customer": CUSTOMER, "vehicle": vehicle})).await;
    assert_eq!(status, 202);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r26_the_older_of_two_services_on_one_database_ends() {
    let Some(server) = from_environment("ROLLCALL_TEST_POSTGRES") else { return };
    let store = database(&server).await;
    let (first, second) = (Stack::new(None, store.clone(), &store), Stack::new(None, store.clone(), &store));
    let mut older = first.start(&[]).await;
    beat(&older, "before").await;
    until("its transition is stored", || async { older.all("/api/v1/transitions?").await.len() == 1 }).await;

    let newer = second.start(&[]).await;
    assert_eq!(newer.status_of(CUSTOMER, "before").await.as_deref(), Some("online"));
    beat(&older, "after").await;
    let status = tokio::task::block_in_place(|| older.wait(Duration::from_secs(20)));
    assert_eq!(status.code(), Some(1), "it ends, and says why");

    beat(&newer, "after").await;
    until("the newer one writes", || async { newer.all("/api/v1/transitions?").await.len() == 2 }).await;
    History::read(&second).await.check();
}
