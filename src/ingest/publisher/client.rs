//! The publisher as a client of an external broker: a connection of its own, since one that waits for room to publish
//! would keep the subscriber's acknowledgements waiting too. Fed by the feed's ring; feeds the broker, QoS 1 retained.
//! Bound: [`UNACKED_MAX`] publishes without an answer; then nothing more is taken from the ring. Each fault ends the
//! connection; after a pause a new one goes on behind the last transition that the broker acknowledged.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anyhow::Context;
use backon::{BackoffBuilder, ExponentialBuilder};
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnAck, PubAck, PubAckReason};
use rumqttc::v5::{AsyncClient, Event, Incoming, MqttOptions};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::window::Window;
use super::{Course, message};
use crate::ingest::subscriber::{Address, cause_of, told};
use crate::settings::Mqtt;

/// Publishes without an answer: 100 in a round trip of 10 ms are 10,000 a second, twice a large fleet's transitions.
const UNACKED_MAX: u16 = 100;
/// A broker that answers pings but no publish for so long is given up, as if it were gone.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Pauses between connections: the first and the longest, doubling, with jitter.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));
/// A connection that lived so long starts the pauses anew.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);

/// The client, from connection to connection.
pub struct Client {
    options: MqttOptions,
    broker: String,
    course: Arc<Course>,
    newest: watch::Receiver<u64>,
    stop: watch::Receiver<bool>,
    refusing: bool,
}

impl Client {
    pub fn new(settings: &Mqtt, course: Arc<Course>, stop: watch::Receiver<bool>) -> anyhow::Result<Self> {
        let address = Address::parse(settings.broker.as_ref().context("mqtt.broker is not set")?.expose())?;
        let mut options = address.client(settings, format!("{}-status", settings.client_id))?;
        // No session: what it would keep for us, the place in the ring tells as well.
        options.set_clean_start(true).set_outgoing_inflight_upper_limit(2 * UNACKED_MAX);
        let newest = course.feed.newest_transitions();
        Ok(Self { options, broker: address.place(), course, newest, stop, refusing: false })
    }

    /// Until the word to stop: then only what can go out at once still does.
    pub async fn run(mut self) {
        let pauses = ExponentialBuilder::default().with_min_delay(PAUSES.0).with_max_delay(PAUSES.1);
        let pauses = pauses.without_max_times().with_jitter();
        let (mut pause, mut told_cause) = (pauses.build(), String::new());
        loop {
            let (opened, before) = (Instant::now(), self.course.place());
            let cause = self.connection().await;
            if *self.stop.borrow() {
                return;
            }
            // Said once, not at every attempt that fails alike.
            if cause != told_cause || self.course.place() != before {
                tracing::warn!(broker = %self.broker, cause, "no statuses can be published");
                told_cause = cause;
            }
            if opened.elapsed() >= HEALTHY_AFTER {
                pause = pauses.build();
            }
            tokio::select! {
                () = sleep(pause.next().unwrap_or(PAUSES.1)) => {}
                () = told(&mut self.stop) => return,
            }
        }
    }

    /// One connection, until it is lost or everything is said that was to be said before a stop. `poll` is never
    /// dropped half done, and while it runs nothing here waits for the client.
    async fn connection(&mut self) -> String {
        let (client, mut events) = AsyncClient::new(self.options.clone(), usize::from(UNACKED_MAX) + 1);
        let mut window = Window::after(self.course.place());
        let (mut stopping, mut leaving, mut answered) = (false, false, Instant::now());
        loop {
            let mut polled = pin!(events.poll());
            let event = loop {
                self.newest.borrow_and_update();
                if window.is_empty() {
                    answered = Instant::now();
                }
                if let Err(cause) = self.fill(&mut window, &client) {
                    return cause;
                }
                // Open and empty after it could be filled: all is said.
                if stopping && !leaving && window.is_open() && window.is_empty() {
                    leaving = client.try_disconnect().is_ok();
                }
                tokio::select! {
                    event = &mut polled => break event,
                    _ = self.newest.changed() => {}
                    () = told(&mut self.stop), if !stopping => stopping = true,
                    () = sleep_until(answered + ANSWER_MAX), if !window.is_empty() => {
                        return format!("{} does not answer what we publish", self.broker);
                    }
                }
            };
            match event {
                Ok(Event::Incoming(Incoming::ConnAck(greeting))) => self.greeted(&mut window, &greeting),
                Ok(Event::Incoming(Incoming::PubAck(answer))) => {
                    self.judge(&answer);
                    if window.answered(answer.pkid) {
                        self.course.reach(window.place());
                        answered = Instant::now();
                    }
                }
                Ok(Event::Outgoing(Outgoing::Publish(packet))) => window.written(packet),
                Ok(Event::Outgoing(Outgoing::Disconnect)) => return "we are stopping".into(),
                Ok(_) => {}
                Err(error) => return cause_of(&error, &self.broker),
            }
        }
    }

    /// Hands the client as much as the window has room for.
    fn fill(&self, window: &mut Window, client: &AsyncClient) -> Result<(), String> {
        if window.room() == 0 {
            return Ok(());
        }
        for (number, transition) in self.course.after(window.last(), window.room()) {
            let (topic, payload) = message(&transition);
            let sent = client.try_publish(topic, QoS::AtLeastOnce, true, payload);
            sent.map_err(|error| format!("cannot publish at {}: {error}", self.broker))?;
            window.push(number);
        }
        Ok(())
    }

    /// Stays well below what the broker takes at once: beyond it the client would stop, and its packet numbers collide.
    fn greeted(&self, window: &mut Window, greeting: &ConnAck) {
        let theirs = greeting.properties.as_ref().and_then(|properties| properties.receive_max);
        window.open(theirs.map_or(UNACKED_MAX, |most| (most / 2).clamp(1, UNACKED_MAX)).into());
        tracing::info!(broker = %self.broker, "publishing statuses");
    }

    /// A refused publish is counted and not repeated: it would be refused again, and those behind it would wait.
    fn judge(&mut self, answer: &PubAck) {
        let taken = matches!(answer.reason, PubAckReason::Success | PubAckReason::NoMatchingSubscribers);
        let counts = &self.course.counts;
        let count = if taken { &counts.published } else { &counts.refused };
        count.fetch_add(1, Relaxed);
        if !taken && !self.refusing {
            tracing::warn!(broker = %self.broker, reason = ?answer.reason, "the broker refuses our statuses");
        }
        self.refusing = !taken;
    }
}
