//! The canary: a vehicle that does not exist, whose heartbeats go the whole way, from a client of its own through the
//! real broker to the door, the board and the dashboards, so that we know that we hear instead of hoping it (R31).
//! Fed by its line (line.rs), by the door and the intakes; judged by judge.rs, which tells when the intake is blind.
//! With an external broker each one that is back raises the proof (fleet/proof.rs) that verdicts wait for.
//!
//! Rules. Late is the oldest beat that has not come back; one that is overtaken is settled, since the broker keeps the
//! order. A beat that is due counts from then on, also when it cannot be sent: where our own client cannot come in,
//! vehicles cannot come back either, at the embedded broker as at an external one, so silence proves nothing. But a
//! broker that does not let this client in, or does not let it publish, says nothing about vehicles: then the canary is
//! off, which is said. While the subscriber has no link, that is known without a canary, and none is sent.

mod beats;
mod judge;
mod line;
mod topic;

use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use self::beats::{Beats, Late};
pub use self::beats::{Reached, Stage};
pub use self::judge::{Blind, Judge};
pub use self::line::{Line, Own};
pub use self::topic::is_canary;
use crate::clock::Clock;
use crate::domain::time::Millis;
use crate::fleet::proof::Proof;
use crate::settings::Mqtt;

/// The text between a beat's publication and its return.
#[derive(Serialize, Deserialize)]
struct Payload {
    /// This run: a beat of another process, or of an earlier one, is not ours.
    boot: String,
    seq: u64,
}

/// How the canary is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The settings do not want one.
    Off,
    /// The broker does not let it in, or does not let it publish.
    Refused,
    /// The intake has no link to the broker, so none is sent.
    Resting,
    /// Its beats do not come through in time.
    Late,
    /// They do.
    Well,
}

impl State {
    /// All of them.
    pub const ALL: [State; 5] = [State::Off, State::Refused, State::Resting, State::Late, State::Well];

    /// The word used in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Refused => "refused",
            Self::Resting => "resting",
            Self::Late => "late",
            Self::Well => "well",
        }
    }
}

#[derive(Default)]
struct Inside {
    beats: Beats,
    /// When the next beat is due.
    due: Millis,
    /// Why its line cannot publish, until it can.
    trouble: Option<String>,
    /// Why the broker does not want it.
    refused: Option<String>,
    /// As judged.
    blind: Option<String>,
    /// Age of the oldest decision that is not durable.
    undurable: Millis,
}

/// The canary of this run.
pub struct Canary {
    topic: Option<String>,
    boot: String,
    interval: Millis,
    clock: Clock,
    /// What its beats prove; none where nothing has to be proved.
    proof: Option<Arc<Proof>>,
    inside: Mutex<Inside>,
    /// Number of the newest beat that is due.
    newest: watch::Sender<u64>,
    /// Whether the intake has a link: every subscription is granted, or the broker is our own.
    granted: watch::Sender<bool>,
    /// Whether there is one, and the broker wants it.
    active: watch::Sender<bool>,
}

impl Canary {
    /// The canary of these settings, which may be none at all. Where a network lies between the broker and us, verdicts
    /// wait for its proof.
    pub fn new(settings: &Mqtt, clock: Clock, proof: Option<Arc<Proof>>) -> Arc<Self> {
        let (interval, topic) = (settings.canary_interval.0, Self::topic_of(settings));
        let proof = proof.filter(|_| topic.is_some());
        proof.iter().for_each(|proof| proof.require());
        Arc::new(Self {
            proof,
            active: watch::Sender::new(topic.is_some()),
            topic,
            boot: format!("{:016x}", rand::random::<u64>()),
            interval,
            clock,
            inside: Mutex::default(),
            newest: watch::Sender::new(0),
            granted: watch::Sender::new(false),
        })
    }

    /// Where it speaks, when there is one.
    pub fn topic(&self) -> Option<&str> {
        self.topic.as_deref()
    }

    /// Where the canary of these settings speaks, when they want one.
    pub fn topic_of(settings: &Mqtt) -> Option<String> {
        topic::topic(&settings.topics, &settings.client_id).filter(|_| settings.canary_interval.0 > 0)
    }

    /// Its client id. The embedded broker does not count this connection.
    pub fn client_id(settings: &Mqtt) -> String {
        format!("{}-canary", settings.client_id)
    }

    /// Whether its beats can prove anything.
    pub fn is_active(&self) -> bool {
        *self.active.borrow()
    }

    /// Follows [`Canary::is_active`].
    pub fn active(&self) -> watch::Receiver<bool> {
        self.active.subscribe()
    }

    /// Follows whether the intake has a link.
    pub fn granted(&self) -> watch::Receiver<bool> {
        self.granted.subscribe()
    }

    /// The intake has a link from now on, or has lost it. The first beat goes out at once.
    pub fn grant(&self, granted: bool) {
        if !granted {
            self.inside.lock().beats.give_up();
        }
        self.granted.send_replace(granted);
        if granted {
            self.beat();
        }
    }

    /// A beat is due now.
    fn beat(&self) {
        if self.is_active() {
            let mut inside = self.inside.lock();
            let now = self.clock.now();
            inside.due = now + self.interval;
            let seq = inside.beats.publish(now);
            self.newest.send_replace(seq);
        }
    }

    /// What the door found on a canary's topic.
    pub fn heard(&self, topic: &str, payload: &[u8]) {
        if self.topic.as_deref() != Some(topic) {
            return;
        }
        if let Ok(beat) = serde_json::from_slice::<Payload>(payload)
            && beat.boot == self.boot
        {
            let mut inside = self.inside.lock();
            inside.beats.heard(beat.seq, self.clock.now());
            let back = inside.beats.at(Stage::Heard);
            drop(inside);
            if let (Some(proof), Some(back)) = (&self.proof, back) {
                proof.reach(back.published);
            }
            self.prove();
        }
    }

    /// Sends a beat at once when a verdict waits for one and none is under way.
    fn prove(&self) {
        let wanted = self.proof.as_ref().is_some_and(|proof| proof.is_wanted());
        if wanted && *self.granted.borrow() && !self.inside.lock().beats.is_one_out() {
            self.beat();
        }
    }

    /// When the newest beat that came back was published, where verdicts wait for it; none before the first one.
    fn proved_until(&self) -> Option<Millis> {
        self.proof.as_ref().map(|proof| proof.until()).filter(|proved| *proved > Millis::MIN)
    }

    /// Returns when a verdict begins to wait for its proof.
    async fn asked(&self) {
        match &self.proof {
            Some(proof) => proof.asked().await,
            None => std::future::pending().await,
        }
    }

    /// Whether a beat has come to the door that was published since `instant`, when the intake got its link: those from
    /// before are given up by then.
    pub fn is_back_since(&self, instant: Millis) -> bool {
        self.inside.lock().beats.at(Stage::Heard).is_some_and(|reached| reached.published >= instant)
    }

    /// The newest beat that reached a stage.
    pub fn at(&self, stage: Stage) -> Option<Reached> {
        self.inside.lock().beats.at(stage)
    }

    /// Beats that were due, and how many of them did not come back before a later one did.
    pub fn counts(&self) -> (u64, u64) {
        self.inside.lock().beats.counts()
    }

    /// Age of the oldest decision that is not durable; 0 when all are.
    pub fn undurable(&self) -> Millis {
        self.inside.lock().undurable
    }

    /// How it is doing, and why not better.
    pub fn state(&self) -> (State, Option<String>) {
        let inside = self.inside.lock();
        match (&inside.refused, &inside.blind) {
            _ if self.topic.is_none() => (State::Off, None),
            (Some(cause), _) => (State::Refused, Some(cause.clone())),
            (None, Some(cause)) => (State::Late, Some(cause.clone())),
            (None, None) if !*self.granted.borrow() => (State::Resting, None),
            (None, None) => (State::Well, None),
        }
    }

    /// The payload of a beat.
    fn payload(&self, seq: u64) -> Vec<u8> {
        // A text and a number cannot fail to be written; an empty payload would never come back as ours.
        serde_json::to_vec(&Payload { boot: self.boot.clone(), seq }).unwrap_or_default()
    }

    fn acked(&self, seq: u64) {
        self.inside.lock().beats.acked(seq, self.clock.now());
    }

    /// The line is open; it sends the newest beat that is due.
    fn welcomed(&self) {
        self.inside.lock().trouble = None;
    }

    /// The line is not open.
    fn unable(&self, cause: &str) {
        self.inside.lock().trouble = Some(cause.to_owned());
    }

    /// The broker does not want a canary: nothing is proved by it until the next start, and nobody is blinded by it.
    fn refuse(&self, cause: String) {
        let mut inside = self.inside.lock();
        if inside.refused.is_none() && self.topic.is_some() {
            tracing::warn!(cause, "the canary is off: whether heartbeats come through is not proved any more");
        }
        inside.refused = Some(cause);
        inside.beats.give_up();
        drop(inside);
        self.proof.iter().for_each(|proof| proof.release());
        self.active.send_replace(false);
    }
}
