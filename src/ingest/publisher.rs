//! Publishes each durable transition, retained, on the vehicle's status topic (`mqtt.publish_status`). Fed by the
//! feed's ring of durable transitions; feeds the embedded broker in process, or an external one by client.rs.
//! It keeps no queue, only its place in the ring: the number of the last transition that the broker has. When the ring
//! has moved past that place while the broker was away, it goes on from the oldest one kept and counts what it skipped.

mod client;
mod window;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::client::Client;
use super::broker::Voice;
use super::subscriber::told;
use super::topics::status_topic;
use crate::domain::transition::Transition;
use crate::live::feed::Feed;
use crate::settings::Mqtt;

/// Transitions taken from the ring at once for the embedded broker.
const BATCH: usize = 256;
/// How long `stop` waits for the last transitions to go out.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// What became of the transitions since start.
#[derive(Debug, Default)]
pub struct Counts {
    /// The broker took them.
    pub published: AtomicU64,
    /// The ring had moved past them.
    pub skipped: AtomicU64,
    /// The broker said no.
    pub refused: AtomicU64,
}

/// The publisher, where there is one.
pub struct Publisher {
    counts: Arc<Counts>,
    running: Option<Running>,
}

struct Running {
    stopping: watch::Sender<bool>,
    course: Arc<Course>,
    task: JoinHandle<()>,
}

impl Publisher {
    /// Publishes every transition of this run, by `voice` at the embedded broker or, without one, as a client of
    /// `mqtt.broker`. Does nothing when the settings do not ask for it.
    ///
    /// # Errors
    /// One sentence when the settings cannot be; a broker that is not there is no error.
    pub fn start(settings: &Mqtt, voice: Option<Voice>, feed: &Arc<Feed>) -> anyhow::Result<Self> {
        let counts = Arc::<Counts>::default();
        if !settings.publish_status {
            return Ok(Self { counts, running: None });
        }
        let (stopping, stop) = watch::channel(false);
        let course = Arc::new(Course { feed: Arc::clone(feed), counts: Arc::clone(&counts), place: AtomicU64::new(0) });
        let task = match voice {
            Some(voice) => tokio::spawn(in_process(Arc::clone(&course), voice, stop)),
            None => tokio::spawn(Client::new(settings, Arc::clone(&course), stop)?.run()),
        };
        Ok(Self { counts, running: Some(Running { stopping, course, task }) })
    }

    /// What became of the transitions.
    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    /// Publishes what is durable by now, for a bounded time, and says what it could not. Once.
    pub async fn stop(&mut self) {
        let Some(mut running) = self.running.take() else { return };
        running.stopping.send_replace(true);
        if tokio::time::timeout(STOP_LIMIT, &mut running.task).await.is_err() {
            running.task.abort();
        }
        let left = running.course.feed.newest_transition().saturating_sub(running.course.place());
        if left > 0 {
            tracing::warn!(left, "statuses were not published any more");
        }
    }
}

/// Where the publisher is.
struct Course {
    feed: Arc<Feed>,
    counts: Arc<Counts>,
    place: AtomicU64,
}

impl Course {
    /// Number of the last transition that the broker has, or that is out of reach.
    fn place(&self) -> u64 {
        self.place.load(Relaxed)
    }

    fn reach(&self, number: u64) {
        self.place.fetch_max(number, Relaxed);
    }

    /// The transitions after `number`, at most `limit`.
    fn after(&self, number: u64, limit: usize) -> Vec<(u64, Arc<Transition>)> {
        let (missed, next) = self.feed.durable_after(number, limit);
        if let (1.., Some((first, _))) = (missed, next.first()) {
            self.reach(first - 1);
            self.counts.skipped.fetch_add(missed, Relaxed);
            tracing::warn!(skipped = missed, "statuses were overtaken; a vehicle's next transition mends its status");
        }
        next
    }
}

/// The topic and the JSON of a transition.
fn message(transition: &Transition) -> (String, Vec<u8>) {
    // Serializing a plain struct of text and numbers cannot fail; an empty object would show if it did.
    let payload = serde_json::to_vec(&transition.view()).unwrap_or_else(|_| b"{}".to_vec());
    (status_topic(&transition.key), payload)
}

async fn in_process(course: Arc<Course>, voice: Voice, mut stop: watch::Receiver<bool>) {
    let mut newest = course.feed.newest_transitions();
    loop {
        newest.borrow_and_update();
        let next = course.after(course.place(), BATCH);
        for (number, transition) in &next {
            let (topic, payload) = message(transition);
            voice.say(&topic, payload).await;
            course.reach(*number);
            course.counts.published.fetch_add(1, Relaxed);
        }
        if !next.is_empty() {
            continue;
        }
        if *stop.borrow() {
            return;
        }
        tokio::select! {
            _ = newest.changed() => {}
            () = told(&mut stop) => {}
        }
    }
}
