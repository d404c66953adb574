//! Runs that must fail do fail: the oracle finds a wrong timeout, a lost row and a lost or doubled frame. The sabotage
//! is done from outside; there is none in the service.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use simulator::oracle::{Outcome, Scenario, Stack};
use sqlx::{Connection, SqliteConnection};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_tungstenite::{accept_async, connect_async, tungstenite::Message};

use crate::oracle::run_with;

/// A short scenario without faults.
fn calm(scenario: &mut Scenario) {
    scenario.fault.clear();
    scenario.fleet.insert("duration".to_owned(), "12s".into());
    scenario.fleet.insert("vehicles".to_owned(), 100.into());
}

async fn with_timeout(timeout: &str) -> Outcome {
    let wrong = |scenario: &mut Scenario| {
        calm(scenario);
        scenario.product.settings.insert("fleet.offline_after".to_owned(), timeout.to_owned());
    };
    run_with("outages.toml", Stack::Embedded, wrong, None, |_, _| {}).await.expect("needs no servers")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_with_a_wrong_timeout_is_found_out() {
    let (right, long, short) = tokio::join!(with_timeout("3s"), with_timeout("5s"), with_timeout("1500ms"));
    assert!(!right.failed(), "the test would prove nothing: {:?}", right.findings);
    assert!(long.failed() && long.total.missed_offline > 10, "{:#?}", long.total);
    assert!(short.failed() && short.total.false_offline + short.total.mistimed > 10, "{:#?}", short.total);
}

/// Deletes one transition of the many, as a store would that loses 1 in 10,000; this run has some hundred.
async fn lose_one_row(store: String) {
    let lost = "DELETE FROM transition WHERE (customer, vehicle, seq) IN \
                (SELECT customer, vehicle, seq FROM transition WHERE seq = 2 LIMIT 1)";
    loop {
        if let Ok(mut connection) = SqliteConnection::connect(&store).await
            && sqlx::query(lost).execute(&mut connection).await.is_ok_and(|done| done.rows_affected() == 1)
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await; // poll: somebody was offline
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_lost_transition_among_all_is_found() {
    let sabotage = |_: &str, store: &str| drop(tokio::spawn(lose_one_row(store.to_owned())));
    let outcome = run_with("outages.toml", Stack::Embedded, calm, None, sabotage).await.expect("needs no servers");
    assert!(outcome.failed() && outcome.transitions > 100, "{}", outcome.summary());
    assert!(
        outcome.findings.iter().any(|finding| finding.contains("transition 2 is missing")),
        "{:?}",
        outcome.findings
    );
}

/// Carries the live feed on, but one transition frame comes `copies` times.
async fn carry(listener: TcpListener, upstream: oneshot::Receiver<String>, copies: usize) {
    let upstream = upstream.await.expect("the service started");
    let mut transitions = 0;
    while let Ok((stream, _)) = listener.accept().await {
        let mut client = accept_async(stream).await.expect("a WebSocket");
        let (mut feed, _) = connect_async(format!("ws://{upstream}/api/v1/live")).await.expect("the feed");
        loop {
            tokio::select! {
                Some(Ok(message)) = client.next() => drop(feed.send(message).await),
                Some(Ok(message)) = feed.next() => {
                    let counts = matches!(&message, Message::Text(text) if text.contains("\"type\":\"transition\""));
                    transitions += usize::from(counts);
                    let times = if counts && transitions == 150 { copies } else { 1 };
                    for _ in 0..times {
                        drop(client.send(message.clone()).await);
                    }
                }
                else => break,
            }
        }
    }
}

async fn with_feed(copies: usize) -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let live = listener.local_addr().expect("bound").to_string();
    let (told, upstream) = oneshot::channel();
    tokio::spawn(carry(listener, upstream, copies));
    let hand = |http: &str, _: &str| drop(told.send(http.to_owned()));
    run_with("outages.toml", Stack::Embedded, calm, Some(live), hand).await.expect("needs no servers")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_lost_or_doubled_frame_of_the_live_feed_is_found() {
    let (right, lost, doubled) = tokio::join!(with_feed(1), with_feed(0), with_feed(2));
    assert!(!right.failed(), "the test would prove nothing: {:?}", right.findings);
    assert_eq!((lost.total.errors(), lost.total.lost), (1, 1), "{:?}", lost.findings);
    assert_eq!((doubled.total.errors(), doubled.total.doubled), (1, 1), "{:?}", doubled.findings);
}
