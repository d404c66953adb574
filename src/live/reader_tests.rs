//! Tests of a dashboard's view: however it reads, drops out and comes back, it ends with the board's view (invariant
//! 6). Reads reader.rs and feed.rs; R47, R48, R51.

use super::*;
use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::Value;

use crate::clock::Clock;
use crate::domain::board::Update;
use crate::domain::ids::VehicleKey;
use crate::domain::latest::Latest;
use crate::domain::policy::Policy;
use crate::domain::transition::{Cause, Change, Evidence, Status, Transition};

fn update(slot: u32, status: Status, last_seen: Millis) -> Update {
    let (latest, policy) = (Latest::default(), Policy::default());
    Update { slot, status, since: Some(last_seen), seq: 1, last_seen: Some(last_seen), latest, policy }
}

fn key(slot: u32) -> Arc<VehicleKey> {
    Arc::new(VehicleKey::parse(["a", "b"][slot as usize % 2], &slot.to_string()).expect("key"))
}

fn feed(vehicles: u32) -> Feed {
    let feed = Feed::new(Clock::start(), 250);
    for slot in 0..vehicles {
        feed.board_mut().join(key(slot), None, update(slot, Status::Online, 0));
    }
    feed.publish();
    feed
}

/// A client that keeps the contract: a snapshot replaces, a delta must start at the version it has.
#[derive(Default)]
struct Client {
    epoch: String,
    view_epoch: String,
    version: u64,
    parts: u64,
    fresh: BTreeMap<String, Value>,
    view: BTreeMap<String, Value>,
    transitions: Vec<u64>,
    gaps: u64,
}

impl Client {
    fn take(&mut self, frame: &ByteString) {
        let frame: Value = serde_json::from_str(frame).expect("JSON");
        match frame["type"].as_str().expect("type") {
            "hello" => self.epoch = frame["epoch"].as_str().expect("epoch").to_owned(),
            "snapshot" => self.snapshot(&frame),
            "delta" => self.delta(&frame),
            "transition" => self.transitions.push(frame["seq"].as_u64().expect("seq")),
            "gap" => self.gaps += frame["dropped"].as_u64().expect("dropped"),
            _ => {}
        }
    }

    fn snapshot(&mut self, frame: &Value) {
        if frame["part"] == 1 {
            self.fresh.clear();
            self.parts = 0;
        }
        self.parts += 1;
        assert_eq!(frame["part"], self.parts);
        for vehicle in frame["vehicles"].as_array().expect("list") {
            self.fresh.insert(name(vehicle), vehicle.clone());
        }
        if frame["parts"] == self.parts {
            self.view = std::mem::take(&mut self.fresh);
            self.version = frame["version"].as_u64().expect("version");
            self.view_epoch = self.epoch.clone();
        }
    }

    fn delta(&mut self, frame: &Value) {
        assert_eq!(frame["from"], self.version, "a delta starts where the client is");
        for vehicle in frame["removed"].as_array().expect("list") {
            self.view.remove(&name(vehicle));
        }
        for vehicle in frame["changed"].as_array().expect("list") {
            let row = self.view.entry(name(vehicle)).or_insert_with(|| serde_json::json!({}));
            for (field, value) in vehicle.as_object().expect("object") {
                row[field] = value.clone();
            }
        }
        self.version = frame["version"].as_u64().expect("version");
    }
}

fn name(vehicle: &Value) -> String {
    format!("{}/{}", vehicle["customer"], vehicle["vehicle"])
}

fn drain(reader: &mut Reader, feed: &Feed, client: &mut Client, frames: usize) {
    for _ in 0..frames {
        match reader.next(feed) {
            Some(frame) => client.take(&frame),
            None => return,
        }
    }
}

/// What a snapshot for this filter would show now.
fn truth(feed: &Feed, filter: &Filter) -> BTreeMap<String, Value> {
    let (mut reader, mut client) = (Reader::new(filter.clone(), feed), Client::default());
    drain(&mut reader, feed, &mut client, usize::MAX);
    client.view
}

fn transition(seq: u64) -> Arc<Transition> {
    let (from, to, cause) = (Status::Online, Status::Offline, Cause::Silence);
    let change = Change { seq, from, to, at: 0, cause, last_seen: None, deadline: None };
    Arc::new(Transition { key: key(0), change, decided_at: 0, evidence: Evidence::default() })
}

#[test]
fn a_new_reader_gets_the_observation_the_snapshot_and_the_counts() {
    let feed = feed(3);
    let mut reader = Reader::new(Filter::default(), &feed);
    let kinds: Vec<String> = std::iter::from_fn(|| reader.next(&feed))
        .map(|frame| serde_json::from_str::<Value>(&frame).expect("JSON")["type"].to_string())
        .collect();
    assert_eq!(kinds, ["\"observation\"", "\"snapshot\"", "\"counts\""]);
}

/// R51: transitions come while the client keeps up; else it is told how many it missed.
#[test]
fn a_reader_too_slow_for_the_transitions_is_told_the_gap() {
    let feed = feed(1);
    let (mut reader, mut client) = (Reader::new(Filter::default(), &feed), Client::default());
    drain(&mut reader, &feed, &mut client, usize::MAX);
    feed.push_transitions([transition(1), transition(2)]);
    drain(&mut reader, &feed, &mut client, usize::MAX);
    assert_eq!((client.transitions.clone(), client.gaps), (vec![1, 2], 0));
    let many = super::super::feed::TRANSITIONS_MAX as u64 + 10;
    feed.push_transitions((1..=many).map(transition));
    drain(&mut reader, &feed, &mut client, usize::MAX);
    assert_eq!((client.gaps, client.transitions.len() as u64), (10, 2 + many - 10));
}

#[test]
fn who_follows_the_transitions_gets_each_once_in_order_and_is_told_what_is_gone() {
    let feed = feed(0);
    let seqs = |(missed, list): (u64, Vec<(u64, Arc<Transition>)>)| {
        assert!(list.iter().all(|(number, transition)| *number == transition.change.seq), "numbered from 1");
        (missed, list.into_iter().map(|(number, _)| number).collect::<Vec<_>>())
    };
    assert_eq!(seqs(feed.durable_after(0, 10)), (0, vec![]));
    let newest = feed.newest_transitions();
    feed.push_transitions((1..=5).map(transition));
    assert_eq!((newest.has_changed().expect("open"), *newest.borrow()), (true, 5));
    assert_eq!(seqs(feed.durable_after(0, 2)), (0, vec![1, 2]));
    assert_eq!(seqs(feed.durable_after(2, 10)), (0, vec![3, 4, 5]));
    assert_eq!(seqs(feed.durable_after(5, 10)), (0, vec![]));
    let many = super::super::feed::TRANSITIONS_MAX as u64 + 10;
    feed.push_transitions((6..=many).map(transition));
    assert_eq!(seqs(feed.durable_after(5, 2)), (5, vec![11, 12]));
    assert_eq!(seqs(feed.durable_after(10, 1)), (0, vec![11]));
    assert_eq!(seqs(feed.durable_after(many, 1)), (0, vec![]));
}

#[test]
fn a_client_that_acknowledges_is_not_run_over() {
    let feed = feed(1);
    let (mut reader, mut client) = (Reader::new(Filter::default(), &feed), Client::default());
    drain(&mut reader, &feed, &mut client, usize::MAX);
    reader.ack(1);
    for tick in 1..20 {
        feed.board_mut().apply(update(0, Status::Online, tick));
        feed.publish();
        drain(&mut reader, &feed, &mut client, usize::MAX);
    }
    assert_eq!(client.version, 1 + u64::from(UNACKED_DELTAS_MAX));
    reader.ack(client.version as Version);
    drain(&mut reader, &feed, &mut client, usize::MAX);
    assert_eq!((client.version, client.view == truth(&feed, &Filter::default())), (20, true));
}

#[test]
fn a_reader_far_behind_catches_up_in_parts() {
    let feed = feed(5_000);
    let (mut reader, mut client) = (Reader::new(Filter::default(), &feed), Client::default());
    drain(&mut reader, &feed, &mut client, usize::MAX);
    (0..5_000).for_each(|slot| feed.board_mut().apply(update(slot, Status::Offline, 7)));
    feed.publish();
    drain(&mut reader, &feed, &mut client, 20);
    assert_eq!(client.version, 1, "not there before the last part");
    drain(&mut reader, &feed, &mut client, usize::MAX);
    assert_eq!((client.version, client.view == truth(&feed, &Filter::default())), (2, true));
}

proptest! {
    /// R47, R48: random changes, removals, slow reading, broken connections with resume, and changes of the filter.
    #[test]
    fn every_client_ends_with_the_boards_view(
        steps in proptest::collection::vec((0..10u8, 0..40u32, 0..4usize), 1..150),
        statuses in prop_oneof![Just(""), Just("offline"), Just("online,unobserved")],
    ) {
        let feed = feed(20);
        let mut filter = Filter::parse("", statuses).expect("filter");
        let (mut reader, mut client) = (Reader::new(filter.clone(), &feed), Client::default());
        client.take(&reader.hello(&feed));
        for (i, (kind, slot, number)) in steps.into_iter().enumerate() {
            match kind {
                0..4 => feed.board_mut().apply(update(slot, Status::ALL[number], i as Millis)),
                4 => feed.board_mut().remove(slot),
                5 => {
                    let joins = feed.board().row(slot).is_none() && slot >= 20;
                    if joins { feed.board_mut().join(key(slot), None, update(slot, Status::Online, 0)); }
                }
                6 => drain(&mut reader, &feed, &mut client, number),
                7 => {
                    reader = Reader::new(filter.clone(), &feed);
                    reader.resume(&feed, &client.view_epoch, client.version as Version);
                    client.take(&reader.hello(&feed));
                }
                8 => {
                    filter = Filter::parse(["", "a", "b", "a,b"][number], statuses).expect("filter");
                    reader.set_filter(&feed, filter.clone());
                }
                _ => drop(feed.publish()),
            }
        }
        feed.publish();
        drain(&mut reader, &feed, &mut client, usize::MAX);
        prop_assert_eq!(client.view, truth(&feed, &filter));
    }
}
