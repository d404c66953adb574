//! The one place that asks the operating system for the time.
//! Liveness runs on a steady timeline: the wall clock is read once at start, and from then on only CLOCK_BOOTTIME moves
//! it, which no one can set and which goes on while the machine sleeps. An *instant* is a point of that timeline; a
//! *date* is what the wall clock calls it. Both are the same number until somebody steps the wall clock; then instants
//! stay, so no deadline moves (R14), and from that moment on what is written down gets the corrected dates.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::domain::time::Millis;

/// A wall clock that is off by no more than this was slewed or read late; more is a step (R14).
pub const STEP_MIN: Millis = 2_000;
/// Two readings of one moment lie no further apart than this, else we were suspended between them.
const READING_MAX: Millis = 50;

/// A steady clock that reads as milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started_wall: Millis,
    started: Duration,
    awake: Instant,
    /// One timeline a process, so what it shares may live as long as the process.
    shared: &'static Shared,
}

#[derive(Debug, Default)]
struct Shared {
    /// Dates minus instants: the sum of all steps of the wall clock.
    stepped: AtomicI64,
    #[cfg(test)]
    slept: AtomicI64,
}

impl Clock {
    /// Starts the timeline at the wall clock's present time.
    pub fn start() -> Self {
        let shared = Box::leak(Box::default());
        Self { started_wall: wall(), started: since_boot(), awake: Instant::now(), shared }
    }

    /// The present instant on the steady timeline; never goes back.
    pub fn now(&self) -> Millis {
        self.started_wall + self.elapsed().as_millis() as Millis
    }

    /// The instant at which this timeline began.
    pub fn started_at(&self) -> Millis {
        self.started_wall
    }

    /// How the wall clock dates an instant.
    pub fn date(&self, instant: Millis) -> Millis {
        instant.saturating_add(self.stepped())
    }

    /// The instant that is dated so.
    pub fn instant(&self, date: Millis) -> Millis {
        date.saturating_sub(self.stepped())
    }

    /// The present date.
    pub fn today(&self) -> Millis {
        self.date(self.now())
    }

    /// By how much the wall clock was stepped since the start, in all.
    pub fn stepped(&self) -> Millis {
        self.shared.stepped.load(Relaxed)
    }

    /// How long the machine has slept since the start: CLOCK_BOOTTIME against CLOCK_MONOTONIC, by which timers run.
    pub fn slept(&self) -> Millis {
        self.elapsed().saturating_sub(self.awake.elapsed()).as_millis() as Millis
    }

    /// Looks at the wall clock; when it was stepped since the last look, dates follow it, and the step is told.
    pub fn follow_wall(&self) -> Option<Millis> {
        let (before, wall, after) = (self.now(), wall(), self.now());
        if after - before > READING_MAX {
            return None;
        }
        self.follow(wall - self.date(before))
    }

    fn follow(&self, off: Millis) -> Option<Millis> {
        (off.abs() > STEP_MIN).then(|| {
            self.shared.stepped.fetch_add(off, Relaxed);
            off
        })
    }

    fn elapsed(&self) -> Duration {
        let elapsed = since_boot().saturating_sub(self.started);
        #[cfg(test)]
        let elapsed = elapsed + Duration::from_millis(self.shared.slept.load(Relaxed).unsigned_abs());
        elapsed
    }

    /// The machine sleeps: time passes, and timers do not.
    #[cfg(test)]
    pub fn pretend_to_sleep(&self, time: Millis) {
        self.shared.slept.fetch_add(time, Relaxed);
    }
}

fn wall() -> Millis {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as Millis)
}

#[cfg(target_os = "linux")]
fn since_boot() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

/// Elsewhere what `Instant` counts: on macOS it stands still during sleep, and nothing is late after it.
#[cfg(not(target_os = "linux"))]
fn since_boot() -> Duration {
    static FIRST: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    FIRST.get_or_init(Instant::now).elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_of_the_wall_clock_moves_dates_and_no_instant() {
        let clock = Clock::start();
        let (instant, two_years) = (clock.now(), 2 * 365 * 86_400_000);
        for step in [two_years, -2 * two_years] {
            assert_eq!(clock.follow(step), Some(step));
            assert!((clock.now() - instant) < 60_000, "the timeline goes on");
        }
        assert_eq!(clock.date(instant), instant - two_years);
        assert_eq!(clock.instant(clock.date(instant)), instant);
        assert_eq!(clock.follow(STEP_MIN), None, "slewed, not stepped");
    }

    #[test]
    fn sleep_is_told_from_being_awake() {
        let clock = Clock::start();
        assert!(clock.slept() < 1_000);
        let before = clock.now();
        clock.pretend_to_sleep(3_600_000);
        assert!(clock.now() - before >= 3_600_000);
        assert!((3_599_000..3_601_000).contains(&clock.slept()));
    }
}
