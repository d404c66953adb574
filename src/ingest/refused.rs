//! What was refused, counted by reason, with the last hundred kept to look at.
//! Fed by the door; read by `GET /api/v1/refused`, /status and /metrics. A flood of refusals costs a counter each.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;
use serde::Serialize;

use crate::domain::heartbeat::{Refusal, Refused};
use crate::domain::time::{self, Millis};

/// Refused messages kept to look at.
pub const SAMPLES_MAX: usize = 100;
/// Bytes of a topic and of a payload kept in a sample.
const SAMPLE_TEXT_MAX: usize = 200;

/// One refused message.
#[derive(Debug, Clone, Serialize)]
pub struct Sample {
    /// When.
    #[serde(serialize_with = "time::as_text::serialize")]
    pub at: Millis,
    /// The label it is counted under.
    pub reason: &'static str,
    /// What is wrong with it.
    pub detail: String,
    /// Its topic, or `http`.
    pub topic: String,
    /// The beginning of its payload.
    pub payload: String,
}

/// Counters and samples.
#[derive(Debug, Default)]
pub struct RefusedLog {
    counts: [AtomicU64; Refusal::ALL.len()],
    samples: Mutex<VecDeque<Sample>>,
}

impl RefusedLog {
    /// Notes one refusal.
    pub fn note(&self, at: Millis, refused: &Refused, topic: &str, payload: &[u8]) {
        self.counts[refused.reason as usize].fetch_add(1, Relaxed);
        // Under a flood the sample is not worth waiting for.
        let Some(mut samples) = self.samples.try_lock() else { return };
        let payload = String::from_utf8_lossy(&payload[..payload.len().min(SAMPLE_TEXT_MAX)]).into_owned();
        let topic = topic.chars().take(SAMPLE_TEXT_MAX).collect();
        samples.push_front(Sample {
            at,
            reason: refused.reason.word(),
            detail: refused.detail.clone(),
            topic,
            payload,
        });
        samples.truncate(SAMPLES_MAX);
    }

    /// How often, by reason.
    pub fn counts(&self) -> impl Iterator<Item = (Refusal, u64)> + '_ {
        Refusal::ALL.into_iter().map(|reason| (reason, self.counts[reason as usize].load(Relaxed)))
    }

    /// How often in all.
    pub fn total(&self) -> u64 {
        self.counts().map(|(_, count)| count).sum()
    }

    /// The last hundred, newest first.
    pub fn samples(&self) -> Vec<Sample> {
        self.samples.lock().iter().cloned().collect()
    }
}
