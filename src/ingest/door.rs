//! The one door: every message, from whichever intake, is checked here and handed to its vehicle or refused by name.
//! Fed by broker.rs, subscriber.rs and the HTTP handler; feeds the registry's lanes. It never waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::canary::{Canary, is_canary};
use super::refused::RefusedLog;
use super::topics::Topics;
use crate::clock::Clock;
use crate::domain::heartbeat::{self, Heartbeat, Refusal, Refused};
use crate::domain::ids;
use crate::fleet::registry::{Delivered, Input, NotTaken, Registry};
use crate::fleet::token::Token;
use crate::settings::{Topic, TopicKind};

/// One MQTT message as it came.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Its payload.
    pub payload: &'a [u8],
    /// The retain flag: such a message says nothing about now (R37).
    pub retain: bool,
    /// Whether the sender waits for an acknowledgement (QoS 1 or 2).
    pub wants_ack: bool,
    /// Number of the MQTT session it came by, where known.
    pub session: Option<u64>,
    /// It waited in the broker's queue while we were away, so it says little about now (R42).
    pub waited: bool,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// Done: acknowledge now. Refused messages too: sending them again would not make them better.
    Done,
    /// The token will tell when to acknowledge.
    Waiting,
    /// Intake is full: wait for [`Door::room`], then offer it again. Only for senders that wait; others are dropped.
    Full,
    /// No pattern matches the topic; counted as refused.
    Unknown,
}

/// The one way in.
pub struct Door {
    registry: Arc<Registry>,
    topics: Topics,
    clock: Clock,
    canary: Option<Arc<Canary>>,
    taken: AtomicU64,
    refused: RefusedLog,
}

impl Door {
    /// A door to this fleet for these topics.
    ///
    /// # Errors
    /// A sentence naming the topic pattern that cannot be used.
    pub fn new(registry: Arc<Registry>, topics: &[Topic], clock: Clock) -> Result<Self, String> {
        let topics = Topics::compile(topics)?;
        Ok(Self { registry, topics, clock, canary: None, taken: AtomicU64::new(0), refused: RefusedLog::default() })
    }

    /// The same door, where this canary comes back.
    pub fn with_canary(self, canary: Arc<Canary>) -> Self {
        Self { canary: Some(canary), ..self }
    }

    /// The canary that comes back here.
    pub fn canary(&self) -> Option<&Arc<Canary>> {
        self.canary.as_ref()
    }

    /// The clock arrivals are dated by.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Takes one MQTT message. `token` is called only when the sender wants an acknowledgement and has to wait for it.
    pub fn take(&self, message: Message<'_>, token: impl FnOnce() -> Token) -> Taken {
        let outcome = self.try_take(message, token);
        match outcome {
            Ok(taken) => taken,
            Err(refused) => {
                self.refused.note(self.clock.today(), &refused, message.topic, message.payload);
                if refused.reason == Refusal::UnknownTopic { Taken::Unknown } else { Taken::Done }
            }
        }
    }

    fn try_take(&self, message: Message<'_>, token: impl FnOnce() -> Token) -> Result<Taken, Refused> {
        if is_canary(message.topic) {
            // No vehicle, so nothing is counted; another Rollcall's is none of our business.
            self.canary.iter().for_each(|canary| canary.heard(message.topic, message.payload));
            return Ok(Taken::Done);
        }
        let address = self.topics.resolve(message.topic);
        let address =
            address.ok_or_else(|| Refused::new(Refusal::UnknownTopic, "no pattern of mqtt.topics matches"))?;
        if message.retain {
            return Err(Refused::new(Refusal::Retained, "a retained message says nothing about now"));
        }
        let input = match address.kind {
            TopicKind::Heartbeat if message.waited => {
                Input::Waited(heartbeat::decode(address.format, message.payload)?)
            }
            TopicKind::Heartbeat => {
                Input::Heartbeat(heartbeat::decode(address.format, message.payload)?, message.session)
            }
            TopicKind::Will => Input::Hint(message.session),
            TopicKind::Goodbye => Input::Goodbye,
        };
        let token = || message.wants_ack.then(token);
        match self.deliver(address.customer, address.vehicle, input, token)? {
            Some(Delivered::Pending) if message.wants_ack => Ok(Taken::Waiting),
            Some(_) => Ok(Taken::Done),
            None if message.wants_ack => Ok(Taken::Full),
            None => Err(Refused::new(Refusal::Overloaded, "intake is full and the message was sent with QoS 0")),
        }
    }

    /// Takes one heartbeat that came by HTTP. `false` when intake is full.
    ///
    /// # Errors
    /// [`Refused`] with the reason; [`Door::note_refused`] counts it.
    pub fn take_heartbeat(&self, customer: &str, vehicle: &str, beat: Heartbeat) -> Result<bool, Refused> {
        let outcome = self.deliver(customer, vehicle, Input::Heartbeat(beat, None), || None);
        outcome.map(|delivered| delivered.is_some())
    }

    /// Notes a refusal of what came by HTTP: here, or before the door, such as a body that is no heartbeat.
    pub fn note_refused(&self, refused: &Refused, topic: &str, payload: &[u8]) {
        self.refused.note(self.clock.today(), refused, topic, payload);
    }

    /// The connection of this vehicle broke without a goodbye.
    pub fn hint(&self, customer: &str, vehicle: &str, session: Option<u64>) {
        // A hint that finds no room is dropped: the heartbeat's deadline is the backstop (R34).
        let _ = self.deliver(customer, vehicle, Input::Hint(session), || None);
    }

    /// The vehicle a topic speaks of, if the topic is one of the patterns and both names are identifiers.
    pub fn vehicle_of<'a>(&'a self, topic: &'a str) -> Option<(&'a str, &'a str)> {
        let address = self.topics.resolve(topic)?;
        ids::check_customer(address.customer).ok()?;
        ids::check_vehicle(address.vehicle).ok()?;
        Some((address.customer, address.vehicle))
    }

    /// Returns when there is room for a message on this topic.
    pub async fn room(&self, topic: &str) {
        if let Some((customer, vehicle)) = self.vehicle_of(topic) {
            self.registry.room(customer, vehicle).await;
        }
    }

    /// The subscriptions that bring every message the door understands.
    pub fn filters(&self) -> Vec<String> {
        self.topics.filters()
    }

    /// Inputs taken since start.
    pub fn taken(&self) -> u64 {
        self.taken.load(Relaxed)
    }

    /// What was refused.
    pub fn refused(&self) -> &RefusedLog {
        &self.refused
    }

    /// `None` when the vehicle's lane is full.
    fn deliver(
        &self,
        customer: &str,
        vehicle: &str,
        input: Input,
        token: impl FnOnce() -> Option<Token>,
    ) -> Result<Option<Delivered>, Refused> {
        let bad = |bad: ids::BadId| Refused::new(Refusal::BadIdentifier, bad.to_string());
        let (customer, vehicle) =
            (ids::check_customer(customer).map_err(bad)?, ids::check_vehicle(vehicle).map_err(bad)?);
        match self.registry.deliver(customer, vehicle, input, token) {
            Ok(delivered) => {
                self.taken.fetch_add(1, Relaxed);
                Ok(Some(delivered))
            }
            Err(NotTaken::Full) => Ok(None),
            Err(NotTaken::Refused(reason)) => {
                Err(Refused::new(reason, format!("{customer}/{vehicle} is not taken: {}", reason.word())))
            }
        }
    }
}
