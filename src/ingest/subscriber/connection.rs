//! One connection to the external broker: connect, subscribe, take messages, acknowledge them; ends at the first fault.
//! Fed by the broker; feeds the door. The task that polls does nothing else: whatever has to wait waits in the
//! window, so pings go on (R41). Only acknowledgements and the subscription go through the client's request channel,
//! and never more than it holds, so nobody waits for it.

use std::sync::Arc;
use std::time::Duration;

use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnectReturnCode, DisconnectReasonCode, Filter, Publish, RetainForwardRule, SubAck, SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, Incoming, MqttOptions, StateError};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::window::Window;
use super::{Tuning, UNACKNOWLEDGED_BYTES_MAX, UNACKNOWLEDGED_MAX};
use crate::domain::time::Millis;
use crate::ingest::canary::{Canary, is_canary};
use crate::ingest::door::{Door, Message, Taken};
use crate::ingest::topics::Subscription;

/// Requests the client's channel holds: every acknowledgement that can be open, the subscription and the goodbye.
const REQUESTS_MAX: usize = UNACKNOWLEDGED_MAX + 2;

/// Packets that come closer together than this are not told one by one: telling costs more than taking one.
const TOLD_EVERY: Duration = Duration::from_millis(10);

/// How far a connection has come.
#[derive(Debug, Clone, Copy)]
pub struct Pulse {
    /// When the last packet came, or up to [`TOLD_EVERY`] before that.
    pub heard: Instant,
    /// Since when every subscription is granted.
    pub up_since: Option<Instant>,
    /// The canary has come back since: nothing that comes from now on has waited.
    pub proved: bool,
}

/// An open connection.
pub struct Connection {
    client: AsyncClient,
    window: Arc<Window>,
    door: Arc<Door>,
    pub pulse: watch::Receiver<Pulse>,
    poll: JoinHandle<String>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.poll.abort();
        self.window.close();
    }
}

impl Connection {
    /// Starts to connect.
    pub fn open(options: MqttOptions, door: &Arc<Door>, place: &str) -> Self {
        let (client, eventloop) = AsyncClient::new(options, REQUESTS_MAX);
        let acknowledger = client.clone();
        let acknowledge = move |publish: &Publish| acknowledger.try_ack(publish).is_ok();
        let window = Window::new(UNACKNOWLEDGED_MAX, UNACKNOWLEDGED_BYTES_MAX, acknowledge);
        let (pulse_in, pulse) = watch::channel(Pulse { heard: Instant::now(), up_since: None, proved: false });
        let door = Arc::clone(door);
        let task = Poll {
            client: client.clone(),
            window: Arc::clone(&window),
            door: Arc::clone(&door),
            pulse: pulse_in,
            subscriptions: door.subscriptions(),
            place: place.to_owned(),
            waited: false,
            granted_at: None,
        };
        Self { client, window, door, pulse, poll: tokio::spawn(task.run(eventloop)) }
    }

    /// Runs until the connection is lost; says why.
    pub async fn lost(&mut self, tuning: &Tuning) -> String {
        let (window, door, pulse) = (&self.window, &self.door, &self.pulse);
        tokio::select! {
            ended = &mut self.poll => ended.unwrap_or_else(|error| format!("the connection's task failed: {error}")),
            cause = watchdog(pulse, tuning) => cause,
            never = refill(window, door, tuning.pause) => never,
        }
    }

    /// Whether it ended because the broker sent more than can be kept.
    pub fn is_overfull(&self) -> bool {
        self.window.is_overfull()
    }

    /// Says goodbye, which keeps the session, and waits for the end for a bounded time.
    pub async fn leave(&mut self, limit: Duration) {
        if self.client.try_disconnect().is_ok() {
            let _ = tokio::time::timeout(limit, &mut self.poll).await;
        }
    }
}

/// Returns when nothing came for too long, or the subscription took too long (R40).
async fn watchdog(pulse: &watch::Receiver<Pulse>, tuning: &Tuning) -> String {
    let opened = Instant::now();
    loop {
        let Pulse { heard, up_since, .. } = *pulse.borrow();
        let silent = heard + tuning.silence_max;
        let deadline = if up_since.is_none() { silent.min(opened + tuning.subscribe_max) } else { silent };
        if Instant::now() >= deadline {
            let late = if deadline == silent { "fell silent" } else { "did not grant our subscriptions in time" };
            return format!("the broker {late}");
        }
        tokio::time::sleep_until(deadline).await;
    }
}

/// Offers again what found no room, in order, and what was dropped unaccepted, after a pause.
async fn refill(window: &Arc<Window>, door: &Door, pause: Duration) -> String {
    loop {
        while let Some((sequence, publish, waited)) = window.first_waiting() {
            door.room(&String::from_utf8_lossy(&publish.topic)).await;
            if offer(window, door, sequence, &publish, waited) != Taken::Full {
                window.waited();
            }
        }
        let dropped = window.take_dropped();
        if dropped.is_empty() {
            window.listed().await;
            continue;
        }
        tokio::time::sleep(pause).await;
        for (sequence, publish, waited) in dropped {
            if offer(window, door, sequence, &publish, waited) == Taken::Full {
                window.wait(sequence);
            }
        }
    }
}

/// Offers a message of the window to the door.
fn offer(window: &Arc<Window>, door: &Door, sequence: u64, publish: &Publish, waited: bool) -> Taken {
    let topic = String::from_utf8_lossy(&publish.topic);
    let message = delivered(&topic, publish, true, waited);
    let taken = door.take(message, || window.token(sequence));
    if matches!(taken, Taken::Done | Taken::Unknown) {
        window.accept(sequence);
    }
    taken
}

/// A message as a broker outside gives it: whoever sent it, in whatever session.
fn delivered<'a>(topic: &'a str, publish: &'a Publish, wants_ack: bool, waited: bool) -> Message<'a> {
    let Publish { payload, retain, .. } = publish;
    Message { topic, payload, retain: *retain, published_here: false, wants_ack, session: None, waited }
}

/// What the poll task needs.
struct Poll {
    client: AsyncClient,
    window: Arc<Window>,
    door: Arc<Door>,
    pulse: watch::Sender<Pulse>,
    subscriptions: Vec<Subscription>,
    place: String,
    /// What comes waited in the broker's queue: the session was there before us, and the canary is not back yet (R42).
    waited: bool,
    /// When every subscription was granted, on the canary's clock, until the canary is back.
    granted_at: Option<Millis>,
}

impl Poll {
    async fn run(mut self, mut eventloop: EventLoop) -> String {
        loop {
            let fault = match eventloop.poll().await {
                Ok(Event::Incoming(packet)) => self.incoming(packet),
                Ok(Event::Outgoing(Outgoing::Disconnect)) => Err("we disconnected".into()),
                // The channel has room again, should it ever have been full.
                Ok(Event::Outgoing(Outgoing::PubAck(_))) => {
                    self.window.flush();
                    Ok(())
                }
                Ok(Event::Outgoing(_)) => Ok(()),
                Err(error) => Err(cause_of(&error, &self.place)),
            };
            if let Err(cause) = fault {
                return cause;
            }
        }
    }

    fn incoming(&mut self, packet: Incoming) -> Result<(), String> {
        let now = Instant::now();
        if now - self.pulse.borrow().heard >= TOLD_EVERY {
            self.pulse.send_modify(|pulse| pulse.heard = now);
        }
        match packet {
            // Also when the session is still there: subscribing again is harmless, and the answer proves it (R39).
            Incoming::ConnAck(greeting) => {
                self.waited = greeting.session_present && self.canary().is_some();
                self.subscribe()
            }
            Incoming::SubAck(suback) => self.subscribed(&suback),
            Incoming::Publish(publish) => self.message(publish),
            _ => Ok(()),
        }
    }

    fn subscribe(&self) -> Result<(), String> {
        let filter = |asked: &Subscription| Filter {
            path: asked.filter.clone(),
            qos: QoS::AtLeastOnce,
            nolocal: false,
            // The retain flag stays, so that the door has one rule for both intakes.
            preserve_retain: asked.live_flag,
            // What is retained says nothing about now: do not even send it (R37).
            retain_forward_rule: RetainForwardRule::Never,
        };
        let sent = self.client.try_subscribe_many(self.subscriptions.iter().map(filter));
        sent.map_err(|error| format!("cannot subscribe at {}: {error}", self.place))
    }

    fn subscribed(&mut self, suback: &SubAck) -> Result<(), String> {
        let codes = &suback.return_codes;
        let enough =
            |code: &SubscribeReasonCode| matches!(code, SubscribeReasonCode::Success(qos) if *qos != QoS::AtMostOnce);
        for (asked, code) in self.subscriptions.iter().zip(codes) {
            if !enough(code) {
                let filter = &asked.filter;
                return Err(format!("{} does not grant the subscription {filter} with QoS 1: {code:?}", self.place));
            }
        }
        if codes.len() != self.subscriptions.len() {
            return Err(format!(
                "{} answered {} of {} subscriptions",
                self.place,
                codes.len(),
                self.subscriptions.len()
            ));
        }
        self.granted_at = self.canary().map(|_| self.door.clock().now());
        let proved = self.granted_at.is_none();
        self.pulse.send_modify(|pulse| (pulse.up_since, pulse.proved) = (Some(Instant::now()), proved));
        if let Some(canary) = self.door.canary() {
            canary.grant(true);
        }
        Ok(())
    }

    /// The canary, as long as it can prove anything.
    fn canary(&self) -> Option<&Arc<Canary>> {
        self.door.canary().filter(|canary| canary.is_active())
    }

    /// The broker keeps the order of QoS 1, so behind the first canary that we published since the subscriptions were
    /// granted, nothing has waited.
    fn canary_came(&mut self) {
        if let (Some(granted_at), Some(canary)) = (self.granted_at, self.door.canary())
            && canary.is_back_since(granted_at)
        {
            (self.waited, self.granted_at) = (false, None);
            self.pulse.send_modify(|pulse| pulse.proved = true);
        }
    }

    fn message(&mut self, publish: Publish) -> Result<(), String> {
        let canary = is_canary(&String::from_utf8_lossy(&publish.topic));
        let waited = self.waited && self.canary().is_some();
        if publish.qos == QoS::AtMostOnce {
            let topic = String::from_utf8_lossy(&publish.topic);
            let message = delivered(&topic, &publish, false, waited);
            // Nobody waits for it, so no token is made and what finds no room is dropped and counted by the door.
            self.door.take(message, || crate::fleet::token::Token::new(|| {}));
            return Ok(());
        }
        let kept = publish.clone(); // shares its bytes
        let Some(sequence) = self.window.push(kept, waited) else {
            return Err(format!(
                "{} sent more than can be kept unacknowledged; a max_inflight_messages of 2000 there ends that",
                self.place
            ));
        };
        // The canary waits for no room: how long what is before it takes to the board is measured by itself.
        let behind = !canary && self.window.has_waiting();
        if behind || offer(&self.window, &self.door, sequence, &publish, waited) == Taken::Full {
            self.window.wait(sequence);
        }
        if canary {
            self.canary_came();
        }
        Ok(())
    }
}

/// Why a connection ended, for people.
pub fn cause_of(error: &ConnectionError, place: &str) -> String {
    match error {
        ConnectionError::ConnectionRefused(
            ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized,
        ) => {
            format!("{place} refused the user name or password")
        }
        ConnectionError::ConnectionRefused(code) => format!("{place} refused the connection: {code:?}"),
        ConnectionError::Io(error) => format!("cannot reach {place}: {error}"),
        ConnectionError::Timeout(_) => format!("{place} did not answer in time"),
        ConnectionError::MqttState(StateError::ConnectionAborted) => {
            // The client drops a DISCONNECT that has no properties, and with it the reason code.
            format!("{place} closed the connection; if that goes on, another client may be using mqtt.client_id")
        }
        ConnectionError::MqttState(StateError::ServerDisconnect {
            reason_code: DisconnectReasonCode::SessionTakenOver,
            ..
        }) => format!("another client took over our session at {place}: mqtt.client_id must be unique"),
        other => format!("the connection to {place} failed: {other}"),
    }
}
