//! The canary's line: a client of its own, which also speaks of our presence, since the task that polls the subscriber
//! must not publish (R41). Fed by the canary with beats that are due, and by the presence; feeds the broker, QoS 1.
//! Bound: [`UNACKED_MAX`] publishes without an answer; then no beat is sent, and the canary is late. Each fault ends
//! the connection; a new one is made after a pause, with nothing carried over.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use backon::{BackoffBuilder, ExponentialBuilder};
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, PubAck, PubAckReason, Publish, SubAck, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, Incoming, MqttOptions};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Canary;
use crate::ingest::broker::Voice;
use crate::ingest::presence::Presence;
use crate::ingest::subscriber::{Address, cause_of, told};
use crate::settings::Mqtt;

/// Publishes without an answer: minutes of beats.
const UNACKED_MAX: usize = 64;
/// Pauses between connections: the first and the longest, doubling, with jitter. Short, for each one is blindness.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// How long `stop` waits until it is said that we are gone.
const STOP_LIMIT: Duration = Duration::from_secs(1);

/// The embedded broker, as the line reaches it.
pub struct Own {
    /// Where it listens.
    pub address: SocketAddr,
    /// What the door does not ask.
    pub voice: Voice,
    /// User and password, where anybody is asked.
    pub login: Option<(String, String)>,
}

/// The running line.
pub struct Line {
    stopping: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
}

impl Line {
    /// Connects to our `own` broker, or else to `mqtt.broker`, and stays connected until [`Line::stop`].
    /// Does nothing when there is neither a canary nor a presence to tell.
    ///
    /// # Errors
    /// One sentence when the settings cannot be; a broker that is not there is no error.
    pub fn start(
        settings: &Mqtt,
        own: Option<Own>,
        canary: &Arc<Canary>,
        presence: Option<Presence>,
    ) -> anyhow::Result<Self> {
        let (stopping, stop) = watch::channel(false);
        if canary.topic().is_none() && presence.is_none() {
            return Ok(Self { stopping, task: None });
        }
        let id = Canary::client_id(settings);
        let (mut options, place, voice) = match own {
            Some(Own { address, voice, login }) => {
                let address = reachable(address);
                let mut options = MqttOptions::new(id, address.ip().to_string(), address.port());
                if let Some((user, password)) = login {
                    options.set_credentials(user, password);
                }
                (options, address.to_string(), Some(voice))
            }
            None => {
                let address = Address::parse(settings.broker.as_ref().context("mqtt.broker is not set")?.expose())?;
                (address.client(settings, id)?, address.place(), None)
            }
        };
        options.set_clean_start(true).set_outgoing_inflight_upper_limit(2 * UNACKED_MAX as u16);
        let keeper = Keeper { options, place, canary: Arc::clone(canary), presence, voice, stop };
        Ok(Self { stopping, task: Some(tokio::spawn(keeper.run())) })
    }

    /// Says that we are gone, and disconnects; for a bounded time.
    pub async fn stop(self) {
        self.stopping.send_replace(true);
        if let Some(mut task) = self.task
            && tokio::time::timeout(STOP_LIMIT, &mut task).await.is_err()
        {
            task.abort();
        }
    }
}

/// Where a listener on every address is reached from here.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// What was published and is not answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Said {
    Beat(u64),
    Presence,
}

/// The publishes of one connection.
#[derive(Default)]
struct Unacked {
    /// Handed to the client, without a packet number yet.
    handed: VecDeque<Said>,
    written: HashMap<u16, Said>,
}

impl Unacked {
    fn len(&self) -> usize {
        self.handed.len() + self.written.len()
    }
}

/// Keeps one connection open.
struct Keeper {
    options: MqttOptions,
    place: String,
    canary: Arc<Canary>,
    presence: Option<Presence>,
    /// The embedded broker's own, which the door does not ask.
    voice: Option<Voice>,
    stop: watch::Receiver<bool>,
}

/// One connection, as far as it has come.
struct Course {
    client: AsyncClient,
    unacked: Unacked,
    open: bool,
    newest_sent: u64,
    /// It was told on this connection that we are there.
    announced: bool,
    leaving: bool,
}

impl Keeper {
    async fn run(mut self) {
        let pauses = ExponentialBuilder::default().with_min_delay(PAUSES.0).with_max_delay(PAUSES.1);
        let pauses = pauses.without_max_times().with_jitter();
        let (mut pause, mut told_cause) = (pauses.build(), String::new());
        loop {
            let (opened, cause) = self.connection().await;
            if *self.stop.borrow() {
                return;
            }
            self.canary.unable(&cause);
            if opened {
                pause = pauses.build();
            }
            // Said once, not at every attempt that fails alike.
            if opened || cause != told_cause {
                tracing::warn!(broker = %self.place, cause, "the canary's line is down");
                told_cause = cause;
            }
            tokio::select! {
                () = tokio::time::sleep(pause.next().unwrap_or(PAUSES.1)) => {}
                () = told(&mut self.stop) => return,
            }
        }
    }

    /// One connection until it is lost: whether it was ever open, and why it ended. `poll` is never dropped half done.
    async fn connection(&mut self) -> (bool, String) {
        let (client, mut events) = AsyncClient::new(self.options.clone(), UNACKED_MAX + 8);
        let mut course = Course {
            client,
            unacked: Unacked::default(),
            open: false,
            newest_sent: 0,
            announced: false,
            leaving: false,
        };
        let (mut newest, mut granted) = (self.canary.newest.subscribe(), self.canary.granted());
        let mut stop = self.stop.clone();
        let mut stopping = *stop.borrow();
        loop {
            let mut polled = pin!(events.poll());
            let event = loop {
                let due = (*newest.borrow_and_update(), *granted.borrow_and_update());
                self.publish(&mut course, due.0, due.1, stopping).await;
                tokio::select! {
                    event = &mut polled => break event,
                    _ = newest.changed() => {}
                    _ = granted.changed() => {}
                    () = told(&mut stop), if !stopping => stopping = true,
                }
            };
            match event {
                Ok(Event::Incoming(Incoming::ConnAck(_))) => self.welcomed(&mut course),
                Ok(Event::Incoming(Incoming::SubAck(answer))) => self.subscribed(&answer),
                Ok(Event::Incoming(Incoming::PubAck(answer))) => self.judge(&mut course.unacked, &answer),
                Ok(Event::Incoming(Incoming::Publish(found))) => {
                    let here = *granted.borrow() && !stopping;
                    self.found(&mut course, &found, here).await;
                }
                Ok(Event::Outgoing(Outgoing::Publish(packet))) => {
                    if let Some(said) = course.unacked.handed.pop_front() {
                        course.unacked.written.insert(packet, said);
                    }
                }
                Ok(Event::Outgoing(Outgoing::Disconnect)) => return (course.open, "we are stopping".into()),
                Ok(_) => {}
                Err(error) => {
                    self.refused(&error);
                    return (course.open, cause_of(&error, &self.place));
                }
            }
        }
    }

    fn welcomed(&self, course: &mut Course) {
        course.open = true;
        if let Some(presence) = &self.presence {
            // Bounded by the channel, which is empty now.
            let _ = course.client.try_subscribe(presence.topic.clone(), QoS::AtLeastOnce);
        }
        self.canary.welcomed();
    }

    fn subscribed(&self, answer: &SubAck) {
        let granted = |code: &SubscribeReasonCode| matches!(code, SubscribeReasonCode::Success(_));
        if !answer.return_codes.iter().all(granted) {
            let codes = &answer.return_codes;
            tracing::warn!(broker = %self.place, ?codes, "the broker does not let us read our presence");
        }
    }

    /// Says what there is to say, as far as there is room.
    async fn publish(&self, course: &mut Course, newest: u64, granted: bool, stopping: bool) {
        if !course.open || course.leaving {
            return;
        }
        if stopping {
            if std::mem::take(&mut course.announced)
                && let Some(presence) = &self.presence
            {
                self.say(course, presence, presence.offline()).await;
            }
            course.leaving = course.unacked.len() == 0 && course.client.try_disconnect().is_ok();
            return;
        }
        if let Some(presence) = &self.presence
            && granted != course.announced
        {
            // When the link is lost, the broker publishes the will.
            course.announced = granted;
            if granted {
                self.say(course, presence, presence.online()).await;
            }
        }
        if let Some(topic) = self.canary.topic()
            && newest > course.newest_sent
            && granted
            && course.unacked.len() < UNACKED_MAX
        {
            let sent = course.client.try_publish(topic, QoS::AtLeastOnce, false, self.canary.payload(newest));
            if sent.is_ok() {
                course.newest_sent = newest;
                course.unacked.handed.push_back(Said::Beat(newest));
            }
        }
    }

    async fn say(&self, course: &mut Course, presence: &Presence, payload: Vec<u8>) {
        match &self.voice {
            Some(voice) => voice.say(&presence.topic, payload).await,
            None => {
                if course.client.try_publish(presence.topic.clone(), QoS::AtLeastOnce, true, payload).is_ok() {
                    course.unacked.handed.push_back(Said::Presence);
                }
            }
        }
    }

    /// Somebody spoke on our presence topic: we did, or an old will of ours, or a stranger. What was retained when we
    /// subscribed needs no answer: we say that we are there after that in any case.
    async fn found(&self, course: &mut Course, found: &Publish, here: bool) {
        if let Some(presence) = &self.presence
            && here
            && !found.retain
            && let Some(answer) = presence.answer(&found.payload)
        {
            tracing::info!(topic = presence.topic, "we were called offline, and say that we are online");
            self.say(course, presence, answer).await;
        }
    }

    fn judge(&self, unacked: &mut Unacked, answer: &PubAck) {
        let taken = matches!(answer.reason, PubAckReason::Success | PubAckReason::NoMatchingSubscribers);
        match unacked.written.remove(&answer.pkid) {
            Some(Said::Beat(seq)) if taken => self.canary.acked(seq),
            // It has too much to do: the beat is late then.
            Some(Said::Beat(_)) if answer.reason == PubAckReason::QuotaExceeded => {}
            Some(Said::Beat(_)) => {
                let topic = self.canary.topic().unwrap_or_default();
                self.canary.refuse(format!("{} does not let us publish on {topic}: {:?}", self.place, answer.reason));
            }
            Some(Said::Presence) if !taken => {
                tracing::warn!(broker = %self.place, reason = ?answer.reason, "the broker refuses our presence");
            }
            Some(Said::Presence) | None => {}
        }
    }

    /// A broker that lets the subscriber in, but not this client, wants no canary.
    fn refused(&self, error: &ConnectionError) {
        use ConnectReturnCode::{BadClientId, BadUserNamePassword, Banned, ClientIdentifierNotValid, NotAuthorized};
        let no = matches!(
            error,
            ConnectionError::ConnectionRefused(
                BadClientId | BadUserNamePassword | Banned | ClientIdentifierNotValid | NotAuthorized
            )
        );
        if no && *self.canary.granted.borrow() {
            self.canary.refuse(cause_of(error, &self.place));
        }
    }
}
