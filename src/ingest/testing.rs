//! Test bench of the two MQTT intakes: a door, and a task in the place of a shard that takes the lane and accepts
//! tokens.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::door::Door;
use crate::clock::Clock;
use crate::domain::heartbeat::{Heartbeat, Refusal};
use crate::domain::limit::Limit;
use crate::fleet::registry::{Admission, Input, LANE_INPUTS_MAX, Registry};
use crate::fleet::token::Token;
use crate::settings::Mqtt;

/// What the shard does with tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Accepts them at once.
    Accept,
    /// Keeps them.
    Hold,
    /// Drops this many, then accepts.
    Drop(usize),
    /// Does not take the lane at all.
    Stall,
}

/// One input as the shard saw it.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    pub vehicle: String,
    pub what: &'static str,
    pub seq: Option<u64>,
    pub session: Option<u64>,
}

#[derive(Default)]
struct Inside {
    mode: Option<Mode>,
    seen: Vec<Seen>,
    held: Vec<Token>,
}

/// A door with a shard behind it.
pub struct Bench {
    pub door: Arc<Door>,
    inside: Arc<Mutex<Inside>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Bench {
    pub fn new(mode: Mode) -> Self {
        let clock = Clock::start();
        let admission = Admission {
            vehicles_max: 100_000,
            customer_vehicles_max: 100_000,
            auto_register: true,
            limit: Limit::NONE,
        };
        let registry = Arc::new(Registry::new(1, admission, clock));
        let door = Arc::new(
            Door::new(Arc::clone(&registry), &Mqtt::default().topics, clock, Arc::default())
                .expect("invariant: the standard patterns compile"),
        );
        let inside = Arc::new(Mutex::new(Inside { mode: Some(mode), ..Inside::default() }));
        let task = tokio::spawn(drain(registry, Arc::clone(&inside)));
        Self { door, inside, task }
    }

    pub fn set(&self, mode: Mode) {
        self.inside.lock().mode = Some(mode);
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.inside.lock().seen.clone()
    }

    pub fn seen_len(&self) -> usize {
        self.inside.lock().seen.len()
    }

    pub fn hints(&self) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| seen.what == "hint").collect()
    }

    /// A vehicle that is known before the test begins, heard by no MQTT session.
    pub fn introduce(&self, vehicle: &str) {
        self.door.take_heartbeat("acme", vehicle, Heartbeat::default()).expect("invariant: there is room");
    }

    /// Fills the lane.
    pub fn fill(&self) {
        for _ in 0..LANE_INPUTS_MAX {
            self.introduce("filler");
        }
    }

    /// Returns when everything that was delivered before has been seen.
    pub async fn settle(&self) {
        self.introduce("settled");
        let settled = || self.inside.lock().seen.iter().position(|seen| seen.vehicle == "settled");
        until("the lane is empty", || settled().is_some()).await;
        self.inside.lock().seen.retain(|seen| seen.vehicle != "settled");
    }

    /// The sequence numbers of the heartbeats, in the order they were seen.
    pub fn seqs(&self) -> Vec<u64> {
        self.seen().into_iter().filter_map(|seen| seen.seq).collect()
    }

    pub fn held(&self) -> usize {
        self.inside.lock().held.len()
    }

    /// Takes the oldest `count` held tokens.
    pub fn take_held(&self, count: usize) -> Vec<Token> {
        self.inside.lock().held.drain(..count).collect()
    }

    pub fn refused(&self, reason: Refusal) -> u64 {
        self.door.refused().counts().find(|(known, _)| *known == reason).map_or(0, |(_, count)| count)
    }
}

async fn drain(registry: Arc<Registry>, inside: Arc<Mutex<Inside>>) {
    let mut batch = Vec::new();
    loop {
        if inside.lock().mode != Some(Mode::Stall) {
            registry.take(0, &mut batch);
        }
        if batch.is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        for envelope in batch.drain(..) {
            let mut inside = inside.lock();
            let (what, seq, session) = match envelope.input {
                Input::Heartbeat(beat, session) => ("heartbeat", beat.seq, session),
                Input::Waited(beat) => ("waited", beat.seq, None),
                Input::Hint(session) => ("hint", None, session),
                Input::Goodbye => ("goodbye", None, None),
            };
            inside.seen.push(Seen { vehicle: envelope.entry.key.vehicle.to_string(), what, seq, session });
            let Some(token) = envelope.token else { continue };
            match inside.mode {
                Some(Mode::Hold) => inside.held.push(token),
                Some(Mode::Drop(count)) if count > 0 => inside.mode = Some(Mode::Drop(count - 1)),
                _ => token.accept(),
            }
        }
    }
}

/// Waits until a condition holds, at most ten seconds.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(10), "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
