//! Tests of a dashboard's view: however it reads, drops out and comes back, in either language, it ends with the
//! board's view (invariant 6). Reads reader.rs and feed.rs; R47, R48, R51.

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
use crate::domain::sleep::Announced;
use crate::domain::transition::{Cause, Change, Evidence, Status, Transition};
use crate::live::columns::tests::decoder::{View, decode, row_of};

fn update(slot: u32, status: Status, last_seen: Millis) -> Update {
    let (latest, policy) = (Latest::default(), Policy::default());
    let announced = Announced::NONE;
    Update { slot, status, since: Some(last_seen), seq: 1, last_seen: Some(last_seen), announced, latest, policy }
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
    /// In columns: the view, and whether it was told to fetch a snapshot, or has and will resume from it.
    columns: View,
    resync: bool,
    fetched: bool,
}

impl Client {
    fn take(&mut self, frame: &Message) {
        let frame: Value = match frame {
            Message::Text(text) => serde_json::from_str(text).expect("JSON"),
            Message::Binary(bytes) => return self.take_columns(bytes),
        };
        match frame["type"].as_str().expect("type") {
            "hello" => {
                self.epoch = frame["epoch"].as_str().expect("epoch").to_owned();
                self.columns.frames = 0; // what was begun before is void
            }
            "snapshot" => self.snapshot(&frame),
            "delta" => self.delta(&frame),
            "transition" => self.transitions.push(frame["seq"].as_u64().expect("seq")),
            "gap" => self.gaps += frame["dropped"].as_u64().expect("dropped"),
            "resync" => self.resync = true,
            _ => {}
        }
    }

    fn take_columns(&mut self, bytes: &[u8]) {
        let frame = decode(bytes);
        if frame.kind == "transitions" {
            self.transitions.extend(frame.rows.iter().map(|row| row["seq"].as_u64().expect("seq")));
        }
        self.columns.take(frame);
        self.version = self.columns.version;
        self.view_epoch.clone_from(&self.columns.epoch);
    }

    /// Fetches the snapshot it was told to, or resumes from the one it has; some time passes in between.
    fn fetch(&mut self, reader: &mut Reader, feed: &Feed) {
        if std::mem::take(&mut self.resync) {
            self.take_columns(&feed.snapshot(&reader.filter));
            self.fetched = true;
        } else if std::mem::take(&mut self.fetched) {
            reader.resume(feed, &self.view_epoch, self.version as Version);
        }
    }

    /// Its view as columns, whatever it speaks.
    fn rows(&self) -> BTreeMap<String, serde_json::Map<String, Value>> {
        if self.view.is_empty() { self.columns.by_name() } else { self.view.values().map(row_of).collect() }
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
    client.fetch(reader, feed);
    for _ in 0..frames {
        match reader.next(feed) {
            Some(frame) => client.take(&frame),
            None => return,
        }
    }
}

/// Reads on until nothing more is owed.
fn settle(reader: &mut Reader, feed: &Feed, client: &mut Client) {
    (0..3).for_each(|_| drain(reader, feed, client, usize::MAX));
}

/// What a snapshot for this filter would show now.
fn truth(feed: &Feed, filter: &Filter) -> BTreeMap<String, Value> {
    let (mut reader, mut client) = (Reader::new(Wire::Json, filter.clone(), feed), Client::default());
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
    let mut reader = Reader::new(Wire::Json, Filter::default(), &feed);
    let kinds: Vec<String> = std::iter::from_fn(|| reader.next(&feed)).map(|frame| kind(&frame)).collect();
    assert_eq!(kinds, ["observation", "snapshot", "counts"]);
}

fn kind(frame: &Message) -> String {
    match frame {
        Message::Text(text) => {
            serde_json::from_str::<Value>(text).expect("JSON")["type"].as_str().expect("type").into()
        }
        Message::Binary(bytes) => decode(bytes).kind.into(),
    }
}

/// The snapshot comes by HTTP; until the reader is told where to resume, it sends signs of life alone.
#[test]
fn a_new_reader_of_columns_is_told_to_fetch_the_snapshot_and_then_followed_from_it() {
    let feed = feed(3);
    let mut reader = Reader::new(Wire::Columns, Filter::default(), &feed);
    let kinds = |reader: &mut Reader| -> Vec<String> {
        std::iter::from_fn(|| reader.next(&feed)).map(|frame| kind(&frame)).collect()
    };
    assert_eq!(kinds(&mut reader), ["observation", "resync", "counts"]);
    feed.board_mut().apply(update(0, Status::Offline, 5));
    feed.push_transitions([transition(1)]);
    feed.publish();
    assert_eq!(kinds(&mut reader), [""; 0]);
    reader.resume(&feed, &feed.epoch(&Filter::default()), 1);
    assert_eq!(kinds(&mut reader), ["turned", "heard", "transitions"]);
    reader.resume(&feed, "another run", 1);
    assert_eq!(reader.next(&feed), Some(Message::Text(r#"{"type":"resync","refused":true}"#.into())));
}

/// R51: transitions come while the client keeps up; else it is told how many it missed.
#[test]
fn a_reader_too_slow_for_the_transitions_is_told_the_gap() {
    for wire in [Wire::Json, Wire::Columns] {
        too_slow_for_transitions(wire);
    }
}

fn too_slow_for_transitions(wire: Wire) {
    let feed = feed(1);
    let (mut reader, mut client) = (Reader::new(wire, Filter::default(), &feed), Client::default());
    settle(&mut reader, &feed, &mut client);
    feed.push_transitions([transition(1), transition(2)]);
    drain(&mut reader, &feed, &mut client, usize::MAX);
    assert_eq!((client.transitions.clone(), client.gaps), (vec![1, 2], 0));
    let many = super::super::feed::TRANSITIONS_MAX as u64 + 10;
    feed.push_transitions((1..=many).map(transition));
    drain(&mut reader, &feed, &mut client, usize::MAX);
    assert_eq!((client.gaps, client.transitions.len() as u64), (10, 2 + many - 10));
}

#[test]
fn a_snapshot_is_written_once_for_all_who_come_within_a_second() {
    let feed = feed(3);
    let (all, some) = (Filter::default(), Filter::parse("a", "").expect("filter"));
    let first = feed.snapshot(&all);
    feed.board_mut().apply(update(0, Status::Online, 1));
    assert_eq!(feed.snapshot(&all).as_ptr(), first.as_ptr());
    // However still the versions stand: nobody follows, so nothing is published.
    feed.clock().pretend_to_sleep(2_000);
    assert_ne!(feed.snapshot(&all), first);
    assert_eq!(decode(&feed.snapshot(&some)).rows.len(), 2, "another filter, another snapshot");
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
    let (mut reader, mut client) = (Reader::new(Wire::Json, Filter::default(), &feed), Client::default());
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
    far_behind(Wire::Json, 5_000);
    far_behind(Wire::Columns, 50_000);
}

fn far_behind(wire: Wire, vehicles: u32) {
    let feed = feed(vehicles);
    let (mut reader, mut client) = (Reader::new(wire, Filter::default(), &feed), Client::default());
    settle(&mut reader, &feed, &mut client);
    (0..vehicles).for_each(|slot| feed.board_mut().apply(update(slot, Status::Offline, 7)));
    feed.publish();
    drain(&mut reader, &feed, &mut client, 20);
    assert_eq!(client.version, 1, "not there before the last part");
    drain(&mut reader, &feed, &mut client, usize::MAX);
    assert_eq!((client.version, client.rows() == rows(&truth(&feed, &Filter::default()))), (2, true));
}

fn rows(view: &BTreeMap<String, Value>) -> BTreeMap<String, serde_json::Map<String, Value>> {
    view.values().map(row_of).collect()
}

proptest! {
    /// R47, R48: random changes, removals, slow reading, broken connections with resume, and changes of the filter.
    #[test]
    fn every_client_ends_with_the_boards_view(
        steps in proptest::collection::vec((0..10u8, 0..40u32, 0..4usize), 1..150),
        wire in prop_oneof![Just(Wire::Json), Just(Wire::Columns)],
        statuses in prop_oneof![Just(""), Just("offline"), Just("online,unobserved")],
    ) {
        let feed = feed(20);
        let mut filter = Filter::parse("", statuses).expect("filter");
        let (mut reader, mut client) = (Reader::new(wire, filter.clone(), &feed), Client::default());
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
                    reader = Reader::new(wire, filter.clone(), &feed);
                    reader.resume(&feed, &client.view_epoch, client.version as Version);
                    (client.resync, client.fetched) = (false, false); // what the old connection asked for is void
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
        settle(&mut reader, &feed, &mut client);
        match wire {
            Wire::Json => prop_assert_eq!(client.view, truth(&feed, &filter)),
            Wire::Columns => prop_assert_eq!(client.columns.by_name(), rows(&truth(&feed, &filter))),
        }
    }
}
