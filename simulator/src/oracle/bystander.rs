//! The bystander: somebody on the same machine who does nothing but wait, on a thread of its own. When it waits too
//! long, the machine stood still, and the product may have stood still too. Feeds the judge.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::ledger::Clock;

const WAIT: Duration = Duration::from_millis(20);
/// The product calls a pause of a second blindness; a quarter of it, seen from here, makes one believable there.
const STALL_MS: u64 = 250;

/// An interval in which the machine stood still, epoch milliseconds.
pub type Stall = (u64, u64);

/// See the head of this file.
pub struct Bystander {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Stall>>,
}

impl Bystander {
    pub fn watch(clock: Clock) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let thread = thread::spawn(move || {
            let mut stalls = Vec::new();
            while !told.load(Ordering::Relaxed) {
                let from_ms = clock.epoch_ms();
                thread::sleep(WAIT);
                let to_ms = clock.epoch_ms();
                if to_ms - from_ms > STALL_MS {
                    stalls.push((from_ms, to_ms));
                }
            }
            stalls
        });
        Self { stop, thread }
    }

    /// Every stall so far.
    pub fn tell(self) -> Vec<Stall> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_default()
    }
}
