//! Many vehicles on one connection: their messages wait together, and are acknowledged in the order they came.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::Broker;
use super::acks::WAITING_MAX;
use super::hook::Patience;
use super::tests::{connect_raw, publish_raw, settings};
use crate::fleet::token::Token;
use crate::ingest::testing::{Bench, Mode, until};

async fn start(mode: Mode) -> (Bench, Broker) {
    let bench = Bench::new(mode);
    let patience = Patience { limit: Duration::from_secs(10), pause: Duration::from_millis(20) };
    let broker = Broker::start_with(&settings(), Arc::clone(&bench.door), None, None, patience).await.expect("starts");
    (bench, broker)
}

/// The packet ids of the next PUBACKs.
async fn acknowledged(raw: &mut TcpStream, count: usize) -> Vec<u16> {
    let mut ids = Vec::new();
    for _ in 0..count {
        let mut puback = [0; 4];
        raw.read_exact(&mut puback).await.expect("acknowledged");
        assert_eq!(puback[..2], [0x40, 2]);
        ids.push(u16::from_be_bytes([puback[2], puback[3]]));
    }
    ids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vehicles_of_one_gateway_wait_together_and_are_acknowledged_in_order() {
    let (bench, broker) = start(Mode::Hold).await;
    let mut raw = connect_raw(&broker, "gateway").await;
    for number in 1..=200_u8 {
        publish_raw(&mut raw, &format!("v{number}"), 1, number).await;
    }
    until("all of them are under way", || bench.held() == 200).await;
    let mut tokens = bench.take_held(200);
    tokens.rotate_left(1);
    let first = tokens.pop().expect("invariant: 200");
    tokens.into_iter().rev().for_each(Token::accept);
    // One that is safe at once does not overtake the first, which is not.
    bench.set(Mode::Accept);
    publish_raw(&mut raw, "v201", 1, 201).await;
    until("it is heard", || bench.seen_len() == 201).await;
    let mut early = [0; 1];
    assert!(matches!(raw.try_read(&mut early), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock));
    first.accept();
    assert_eq!(acknowledged(&mut raw, 201).await, (1..=201).collect::<Vec<u16>>());
    assert_eq!(broker.given_up(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_made_safe_comes_again_with_all_that_came_after_it() {
    let (bench, broker) = start(Mode::Hold).await;
    let mut raw = connect_raw(&broker, "gateway").await;
    for number in 1..=3 {
        publish_raw(&mut raw, &format!("v{number}"), 1, number).await;
    }
    until("all of them are under way", || bench.held() == 3).await;
    bench.set(Mode::Accept);
    let mut tokens = bench.take_held(3).into_iter();
    tokens.next().expect("invariant: 3").accept();
    drop(tokens.next());
    assert_eq!(acknowledged(&mut raw, 3).await, [1, 2, 3]);
    let heard: Vec<String> = bench.seen().into_iter().map(|seen| seen.vehicle).collect();
    assert_eq!(heard, ["v1", "v2", "v3", "v2", "v3"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_has_no_more_under_way_than_the_bound() {
    let (bench, broker) = start(Mode::Hold).await;
    let mut raw = connect_raw(&broker, "gateway").await;
    for number in 0..WAITING_MAX + 100 {
        publish_raw(&mut raw, &format!("v{number}"), 1, 1).await;
    }
    until("the bound is reached", || bench.held() >= WAITING_MAX).await;
    bench.settle().await;
    // One is at the settler, one waits for room.
    assert!(bench.held() <= WAITING_MAX + 3, "{}", bench.held());
    bench.set(Mode::Accept);
    bench.take_held(bench.held()).into_iter().for_each(Token::accept);
    assert_eq!(acknowledged(&mut raw, WAITING_MAX + 100).await.len(), WAITING_MAX + 100);
}
