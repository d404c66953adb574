//! The one door: every message, from whichever intake, is checked here and handed to its vehicle or refused by name.
//! Fed by broker.rs, subscriber.rs and the HTTP handler; feeds the registry's lanes. It never waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::canary::{Canary, is_canary};
use super::quarantine::Quarantine;
use super::refused::RefusedLog;
use super::retained_wills::RetainedWills;
use super::topics::{Address, Subscription, Topics};
use crate::clock::Clock;
use crate::domain::heartbeat::{self, Format, Heartbeat, Refusal, Refused, Said};
use crate::domain::ids::{self, VehicleKey};
use crate::fleet::registry::{Delivered, Input, NotTaken, Registry};
use crate::fleet::token::Token;
use crate::settings::{Topic, TopicKind};
use crate::telemetry::warnings::{Kind, Warnings};

/// What the operator is told of a will that stays at the broker.
const RETAINED_WILL: &str = "has a misconfigured will: it is retained, so everybody who subscribes later is told that \
                             the vehicle is gone; heartbeats win here, but take the retain flag off the will";
/// What the operator is told of two devices with one client id.
const TAKEOVERS: &str = "loses its connection to another with the same client id again and again: two devices seem to \
                         have one identity";

/// One MQTT message as it came.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Its payload.
    pub payload: &'a [u8],
    /// The retain flag: such a message says nothing about now (R37).
    pub retain: bool,
    /// We are the broker and see it as it is published: there the flag only asks to keep a copy.
    pub published_here: bool,
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
    ignored: AtomicU64,
    refused: RefusedLog,
    retained_wills: RetainedWills,
    quarantine: Quarantine,
    warnings: Arc<Warnings>,
}

impl Door {
    /// A door to this fleet for these topics.
    ///
    /// # Errors
    /// A sentence naming the topic pattern that cannot be used.
    pub fn new(
        registry: Arc<Registry>,
        topics: &[Topic],
        clock: Clock,
        warnings: Arc<Warnings>,
    ) -> Result<Self, String> {
        Ok(Self {
            registry,
            topics: Topics::compile(topics)?,
            clock,
            canary: None,
            taken: AtomicU64::new(0),
            ignored: AtomicU64::new(0),
            refused: RefusedLog::default(),
            retained_wills: RetainedWills::default(),
            quarantine: Quarantine::default(),
            warnings,
        })
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
        // The OwnTracks app asks to keep each location, and they are live all the same. Other senders do so by mistake.
        if message.retain && !(message.published_here && address.format == Format::Owntracks) {
            if is_will(&address, message.payload) {
                self.note_retained_will(&address);
            }
            return Err(Refused::new(Refusal::Retained, "a retained message says nothing about now"));
        }
        let input = match address.kind {
            TopicKind::Heartbeat => match heartbeat::read(address.format, message.payload)? {
                Said::Heartbeat(beat) if message.waited => Input::Waited(beat),
                Said::Heartbeat(beat) => Input::Heartbeat(beat, message.session),
                Said::Will => Input::Hint(message.session),
                Said::Nothing => {
                    self.ignored.fetch_add(1, Relaxed);
                    return Ok(Taken::Done);
                }
            },
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
    pub fn subscriptions(&self) -> Vec<Subscription> {
        self.topics.subscriptions()
    }

    /// Inputs taken since start.
    pub fn taken(&self) -> u64 {
        self.taken.load(Relaxed)
    }

    /// Messages that are in order and say nothing of a status.
    pub fn ignored(&self) -> u64 {
        self.ignored.load(Relaxed)
    }

    /// Vehicles that nobody registered.
    pub fn quarantine(&self) -> &Quarantine {
        &self.quarantine
    }

    /// A connection brought a last will that is to be retained.
    pub fn hear_of_retained_will(&self, topic: &str) {
        if let Some(address) = self.topics.resolve(topic)
            && (address.kind == TopicKind::Will || address.format == Format::Owntracks)
        {
            self.note_retained_will(&address);
        }
    }

    /// Two devices throw each other out under the client id that speaks for this vehicle (R35).
    pub fn note_takeover(&self, customer: &str, vehicle: &str) {
        if let Ok(key) = VehicleKey::parse(customer, vehicle) {
            self.warnings.note(self.clock.now(), &key, Kind::DuplicateId, 1, TAKEOVERS);
        }
    }

    fn note_retained_will(&self, address: &Address<'_>) {
        if self.registry.knows(address.customer, address.vehicle) {
            self.warn_of_retained_will(address.customer, address.vehicle);
        } else if let Ok(key) = VehicleKey::parse(address.customer, address.vehicle) {
            self.retained_wills.remember(key);
        }
    }

    /// The heartbeat wins (R36): the vehicle is named once it is one that heartbeats.
    fn warn_of_retained_will(&self, customer: &str, vehicle: &str) {
        if let Ok(key) = VehicleKey::parse(customer, vehicle) {
            self.warnings.note(self.clock.now(), &key, Kind::RetainedWill, 1, RETAINED_WILL);
        }
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
        let beat = matches!(input, Input::Heartbeat(..));
        match self.registry.deliver(customer, vehicle, input, token) {
            Ok(delivered) => {
                self.taken.fetch_add(1, Relaxed);
                // Only a vehicle's first heartbeats are not steady, so this costs the others nothing.
                if beat && delivered == Delivered::Pending && self.retained_wills.forget(customer, vehicle) {
                    self.warn_of_retained_will(customer, vehicle);
                }
                Ok(Some(delivered))
            }
            Err(NotTaken::Full) => Ok(None),
            Err(NotTaken::BadIdentifier(bad)) => Err(Refused::new(Refusal::BadIdentifier, bad.to_string())),
            Err(NotTaken::Refused(reason)) => {
                if beat && reason == Refusal::UnknownVehicle {
                    self.quarantine.hear(customer, vehicle, self.clock.now());
                }
                Err(Refused::new(reason, format!("{customer}/{vehicle} is not taken: {}", reason.word())))
            }
        }
    }
}

fn is_will(address: &Address<'_>, payload: &[u8]) -> bool {
    match address.kind {
        TopicKind::Will => true,
        TopicKind::Heartbeat => {
            address.format == Format::Owntracks && heartbeat::read(address.format, payload) == Ok(Said::Will)
        }
        TopicKind::Goodbye => false,
    }
}
