//! What was done to the product and when, and what it excuses. Fed by the director and the bystander, read by the
//! judge. Pure. Epoch milliseconds of the simulator's own clock.

use serde::Serialize;

use super::scenario::{Between, Cut, Fault, Kind};

/// One fault as it really happened.
#[derive(Debug, Clone, Serialize)]
pub struct Incident {
    pub kind: Kind,
    pub from_ms: u64,
    /// Undone: the process runs again, the network carries.
    pub undone_ms: u64,
    /// The product hears again: by its own word, but never later than the scenario allows for recovery.
    pub hears_ms: u64,
    /// It was not done, because of this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
    #[serde(skip)]
    pub effect: Effect,
}

/// What a fault does to the verdicts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Effect {
    /// The product could not hear.
    pub deafens: bool,
    /// What was sent meanwhile may be heard as live when it is over: nobody can tell it from a late arrival.
    pub revives: bool,
    /// What vehicles sent meanwhile and was not acknowledged never reached the broker.
    pub swallows: bool,
    /// Everything arrived later by up to so much.
    pub delay_ms: u64,
}

impl Effect {
    pub fn of(fault: &Fault) -> Self {
        let at_product = fault.between == Between::Product;
        let cut = fault.cut.filter(|_| fault.kind == Kind::CutNetwork);
        let deafens = match fault.kind {
            Kind::KillBroker | Kind::KillProduct | Kind::StopProduct | Kind::SuspendProduct | Kind::StepClock => true,
            Kind::CutNetwork => at_product && cut != Some(Cut::Delay),
            Kind::StopStore | Kind::RetainedReplay | Kind::SilenceAll => false,
        };
        Self {
            deafens,
            revives: fault.kind == Kind::SuspendProduct || cut == Some(Cut::Delay),
            swallows: cut == Some(Cut::Swallow) && !at_product,
            delay_ms: if cut == Some(Cut::Delay) { fault.delay.as_millis() as u64 } else { 0 },
        }
    }
}

impl Incident {
    /// What this excuses. A killed product has forgotten the heartbeats since its last checkpoint: to it a vehicle may
    /// have met its deadline already before the kill, by so much.
    pub fn window(&self, forgotten_ms: u64) -> Window {
        let before_ms = if self.kind == Kind::KillProduct { forgotten_ms } else { 0 };
        let Self { from_ms, undone_ms, hears_ms, effect, .. } = *self;
        let from_ms = from_ms.saturating_sub(before_ms);
        Window { from_ms, to_ms: hears_ms.max(undone_ms), back_ms: undone_ms, effect }
    }
}

/// An interval that excuses something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub from_ms: u64,
    pub to_ms: u64,
    /// From here on the product was back, if not yet hearing well.
    pub back_ms: u64,
    pub effect: Effect,
}

impl Window {
    /// From when on what was sent may be heard late and yet as live: a suspended product cannot tell how long its
    /// sockets kept something; any other fault's product is back by then, and hears it behind what came before.
    fn live_since(&self) -> u64 {
        if self.effect.revives { self.from_ms } else { self.back_ms }
    }
}

/// The excuses of a run, in order of their start.
#[derive(Debug, Clone, Default)]
pub struct Excuses(Vec<Window>);

impl Excuses {
    pub fn new(mut windows: Vec<Window>) -> Self {
        windows.sort_by_key(|window| window.from_ms);
        Self(windows)
    }

    pub fn deaf(&self) -> impl DoubleEndedIterator<Item = &Window> {
        self.0.iter().filter(|window| window.effect.deafens)
    }

    /// Whether the product may have been deaf at some instant of `[from_ms, to_ms]`.
    pub fn deaf_within(&self, from_ms: u64, to_ms: u64) -> bool {
        self.deaf().any(|window| window.from_ms <= to_ms && window.to_ms >= from_ms)
    }

    /// Whether what a vehicle sent then, unacknowledged, was swallowed on the way.
    pub fn swallowed(&self, at_ms: u64) -> bool {
        self.0.iter().any(|window| window.effect.swallows && window.from_ms <= at_ms && at_ms <= window.to_ms)
    }

    /// How much later than sent things may have arrived by `at_ms`.
    pub fn delay_ms(&self, at_ms: u64) -> u64 {
        let late =
            |w: &&Window| w.effect.delay_ms > 0 && w.from_ms <= at_ms && at_ms <= w.to_ms + 2 * w.effect.delay_ms;
        self.0.iter().filter(late).map(|window| window.effect.delay_ms).max().unwrap_or(0)
    }

    /// From when on a beat explains a vehicle that is said to be back at `at_ms`.
    pub fn revives_since(&self, at_ms: u64, slack_ms: u64) -> Option<u64> {
        let near = |w: &&Window| w.from_ms <= at_ms && at_ms <= w.to_ms + slack_ms;
        self.0.iter().filter(|w| w.effect.deafens || w.effect.revives).filter(near).map(Window::live_since).min()
    }

    /// When at the latest something that was sent at `at_ms` was heard as if it had been sent just then.
    pub fn heard_by(&self, at_ms: u64) -> u64 {
        let held = self.deaf().filter(|w| w.live_since() <= at_ms && at_ms <= w.to_ms);
        held.map(|window| window.to_ms).max().unwrap_or(at_ms)
    }

    /// When a vehicle whose deadline is `deadline_ms` must be offline at the latest: each deafness that its silence
    /// runs into gives it one full timeout from the moment the product hears again.
    pub fn offline_by(&self, heard_ms: u64, deadline_ms: u64, timeout_ms: u64, slack_ms: u64) -> u64 {
        let mut by_ms = deadline_ms;
        for window in self.deaf() {
            if window.to_ms > heard_ms && window.from_ms <= by_ms + slack_ms {
                by_ms = by_ms.max(window.to_ms + timeout_ms);
            }
        }
        by_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deaf(from_ms: u64, to_ms: u64) -> Window {
        let effect = Effect { deafens: true, ..Effect::default() };
        Window { from_ms, to_ms, back_ms: to_ms, effect }
    }

    #[test]
    fn only_a_killed_product_has_forgotten_something() {
        for (kind, from_ms) in [(Kind::KillProduct, 9_000), (Kind::StopProduct, 10_000)] {
            let effect = Effect::default();
            let incident =
                Incident { kind, from_ms: 10_000, undone_ms: 11_000, hears_ms: 12_000, skipped: None, effect };
            assert_eq!((incident.window(1_000).from_ms, incident.window(1_000).to_ms), (from_ms, 12_000));
        }
    }

    #[test]
    fn deafness_gives_one_full_timeout_and_a_second_one_gives_another() {
        let excuses = Excuses::new(vec![deaf(20_000, 30_000), deaf(35_000, 40_000), deaf(90_000, 91_000)]);
        assert_eq!(excuses.offline_by(1_000, 11_000, 10_000, 0), 11_000, "its deadline came first");
        assert_eq!(excuses.offline_by(15_000, 25_000, 10_000, 0), 50_000);
        assert_eq!(excuses.offline_by(70_000, 80_000, 10_000, 0), 80_000);
        assert!(excuses.deaf_within(29_000, 31_000) && !excuses.deaf_within(31_000, 34_000));
    }
}
