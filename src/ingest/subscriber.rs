//! The client of an external MQTT broker: one persistent session that brings every heartbeat and keeps it until it is
//! safe. Fed by the broker; feeds the door, and tells the rest by [`Link`] whether we listen at all. Only this file,
//! its folder and the publisher's name the client crate. Each fault ends the connection; a new one is made after a
//! pause, with nothing carried over: what was not acknowledged the broker sends again.

mod address;
mod connection;
#[cfg(test)]
mod tests;
mod window;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rand::Rng;
use rumqttc::v5::MqttOptions;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::LastWill;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub use self::address::Address;
pub(super) use self::connection::cause_of;
use self::connection::{Connection, Pulse};
use super::canary::Canary;
use super::door::Door;
use super::presence::Presence;
use crate::domain::time::Millis;
use crate::settings::Mqtt;

/// Messages we allow the broker to have under way to us. More than the shards need to be busy for the some ten
/// milliseconds a commit takes at 50,000 a second.
const RECEIVE_MAXIMUM: u16 = 1_000;
/// Messages we can have unacknowledged. Mosquitto 2.0 sends more than the receive maximum under load, and the whole
/// queue at once after a reconnect when its `max_inflight_messages` is 0, with packet ids that it uses again before
/// they are acknowledged. Acknowledgements leave in the order of arrival, which is the order it takes them in, so even
/// then each finds its message. About 150 MB at the bound.
const UNACKNOWLEDGED_MAX: usize = 4 * u16::MAX as usize;
/// Bytes of payload we can have unacknowledged: all packet ids with 4 KiB each.
const UNACKNOWLEDGED_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Pings keep the way open; a broker that does not answer one before the next is due is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long `stop` waits for the goodbye to be sent.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// Whether heartbeats can reach us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// They cannot, and why.
    Down {
        /// One sentence for people.
        cause: String,
        /// When the last packet surely came, if a connection was lost: that it is gone is often found late.
        since: Option<Millis>,
    },
    /// The broker granted every subscription, and the canary, where there is one, came back since: what was queued
    /// while we were away has been heard.
    Up,
}

impl Link {
    /// The beginning of the present blindness, while it lasts: it stays when its cause changes.
    fn since(&self) -> Option<Millis> {
        match self {
            Self::Down { since, .. } => *since,
            Self::Up => None,
        }
    }
}

/// The subscriber's times.
#[derive(Debug, Clone, Copy)]
struct Tuning {
    keep_alive: Duration,
    /// No packet for that long, not even the answer to a ping: the connection is dead (R40).
    silence_max: Duration,
    /// Longest way from opening a connection to a granted subscription.
    subscribe_max: Duration,
    /// Back-off: the first and the longest pause between attempts.
    backoff: (Duration, Duration),
    /// A connection that was up for that long clears the back-off.
    healthy_after: Duration,
    /// Pause before a message whose token was dropped is offered again.
    pause: Duration,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            keep_alive: KEEP_ALIVE,
            silence_max: Duration::from_secs(30),
            subscribe_max: Duration::from_secs(15),
            // One connection every few seconds costs a broker nothing, and each second deaf costs the control room one.
            backoff: (Duration::from_millis(100), Duration::from_secs(5)),
            healthy_after: Duration::from_secs(60),
            pause: Duration::from_millis(100),
        }
    }
}

/// A running subscriber.
pub struct Subscriber {
    stopping: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Subscriber {
    /// Connects to `mqtt.broker` on the present runtime and stays connected until [`Subscriber::stop`]. Returns at
    /// once; `link` tells when it is up.
    ///
    /// # Errors
    /// One sentence when the settings cannot be; a broker that is not there is no error but a link that is down.
    pub fn start(settings: &Mqtt, door: Arc<Door>, link: watch::Sender<Link>) -> anyhow::Result<Self> {
        Self::start_with(settings, door, link, Tuning::default())
    }

    fn start_with(settings: &Mqtt, door: Arc<Door>, link: watch::Sender<Link>, tuning: Tuning) -> anyhow::Result<Self> {
        let address = Address::parse(settings.broker.as_ref().context("mqtt.broker is not set")?.expose())?;
        let options = address.options(settings, &tuning)?;
        let (stopping, stop) = watch::channel(false);
        let presence = Presence::new(settings, door.clock());
        let keeper = Keeper { options, place: address.place(), presence, door, link, tuning, stop };
        Ok(Self { stopping, task: tokio::spawn(keeper.run()) })
    }

    /// Disconnects and keeps the session: the broker queues what comes until we are back.
    pub async fn stop(mut self) {
        self.stopping.send_replace(true);
        if tokio::time::timeout(STOP_LIMIT * 2, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

/// Returns when the word to stop has been given.
pub(super) async fn told(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Returns when what comes has not waited: the canary is back, or there is none. There is no limit to that: until then
/// we are blind, and say so.
async fn until_proved(pulse: &mut watch::Receiver<Pulse>, canary: Option<&Canary>, link: &watch::Sender<Link>) {
    let Some(canary) = canary.filter(|_| !pulse.borrow().proved) else { return };
    let topic = canary.topic().unwrap_or_default();
    let cause = format!("subscribed; what was queued meanwhile is heard until our canary is back (topic {topic})");
    link.send_modify(|link| *link = Link::Down { cause, since: link.since() });
    let mut active = canary.active();
    tokio::select! {
        _ = pulse.wait_for(|pulse| pulse.proved) => {}
        _ = active.wait_for(|active| !active) => {}
    }
}

/// Keeps one connection open.
struct Keeper {
    options: MqttOptions,
    place: String,
    presence: Option<Presence>,
    door: Arc<Door>,
    link: watch::Sender<Link>,
    tuning: Tuning,
    stop: watch::Receiver<bool>,
}

impl Keeper {
    async fn run(mut self) {
        let mut failures = 0;
        let mut stop = self.stop.clone();
        loop {
            let mut connection = Connection::open(self.options(), &self.door, &self.place);
            let mut pulse = connection.pulse.clone();
            let link = self.link.clone();
            let (canary, place) = (self.door.canary().cloned(), self.place.clone());
            let up = async {
                if pulse.wait_for(|pulse| pulse.up_since.is_some()).await.is_ok() {
                    tracing::info!(broker = %place, "subscribed");
                    until_proved(&mut pulse, canary.as_deref(), &link).await;
                    link.send_replace(Link::Up);
                }
                std::future::pending::<()>().await
            };
            let cause = tokio::select! {
                cause = connection.lost(&self.tuning) => cause,
                () = up => continue,
                () = told(&mut stop) => {
                    connection.leave(STOP_LIMIT).await;
                    self.down("we are stopping".into(), None);
                    return;
                }
            };
            let Pulse { up_since, heard, .. } = *connection.pulse.borrow();
            let overfull = connection.is_overfull();
            drop(connection);
            self.down(cause, up_since.map(|_| heard));
            // A broker that sends more than we keep is there, and what is acknowledged by now it does not send again.
            if overfull || up_since.is_some_and(|since| since.elapsed() >= self.tuning.healthy_after) {
                failures = 0;
            }
            tokio::select! {
                () = tokio::time::sleep(self.backoff(failures)) => {}
                () = told(&mut stop) => return,
            }
            failures += 1;
        }
    }

    /// Of the next connection: its will says that we were gone since it was made (R43).
    fn options(&self) -> MqttOptions {
        let mut options = self.options.clone();
        if let Some(presence) = &self.presence {
            let (topic, qos) = (presence.topic.clone(), QoS::AtLeastOnce);
            options.set_last_will(LastWill::new(topic, presence.offline(), qos, true, None));
        }
        options
    }

    /// Doubles with each failure, and any part of it is taken by chance, so that many clients of a broker that comes
    /// back do not all come at once.
    fn backoff(&self, failures: u32) -> Duration {
        let (first, longest) = self.tuning.backoff;
        first.saturating_mul(1 << failures.min(20)).min(longest).mul_f64(rand::rng().random())
    }

    /// Says it once, not at every attempt that fails alike.
    fn down(&mut self, cause: String, heard: Option<Instant>) {
        if let Some(canary) = self.door.canary() {
            canary.grant(false);
        }
        let since = heard.map(|heard| self.door.clock().now() - heard.elapsed().as_millis() as Millis);
        self.link.send_if_modified(|link| {
            let changed = !matches!(link, Link::Down { cause: before, .. } if *before == cause);
            if changed {
                tracing::warn!(broker = %self.place, cause, "no heartbeats can be heard");
                *link = Link::Down { cause, since: link.since().or(since) };
            }
            changed
        });
    }
}
