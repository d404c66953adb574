//! When Rollcall itself could not hear: the blind intervals, newest last.
//! Fed by start-up, the intake's link, the canary and shards that were suspended; read by liveness, which blames no
//! vehicle for our deafness.

use std::collections::VecDeque;

use super::time::Millis;

/// Blind intervals kept in memory. Each outlives the longest believed silence only in rare storms of short gaps;
/// past the bound neighbouring old ones are joined, which can only make a verdict milder.
pub const GAPS_MAX: usize = 64;

/// One interval in which nothing could be heard: `[from, to)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// First blind instant.
    pub from: Millis,
    /// First instant at which we listened again; `Millis::MAX` while still blind.
    pub to: Millis,
}

impl Gap {
    /// When a vehicle spoke whose beat arrived at `arrival`, but had waited in a queue since we were deaf: its own
    /// time, as far as it lies within this interval; its beginning when the vehicle has no clock, since nothing later
    /// is certain.
    pub fn spoken_at(&self, device_time: Option<Millis>, arrival: Millis) -> Millis {
        device_time.map_or(self.from, |time| time.min(arrival).min(self.to).max(self.from))
    }
}

/// The blind intervals, ordered and disjoint; the last one may be open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gaps {
    list: VecDeque<Gap>,
}

impl Gaps {
    /// Whether we hear at this moment.
    pub fn listening(&self) -> bool {
        self.list.back().is_none_or(|gap| gap.to != Millis::MAX)
    }

    /// Since when the present state (blind or listening) holds; `None` when it always did.
    pub fn since(&self) -> Option<Millis> {
        self.list.back().map(|gap| if gap.to == Millis::MAX { gap.from } else { gap.to })
    }

    /// We stopped hearing at `from`, which may lie in the past. A gap that is open already only grows into the past.
    pub fn open(&mut self, from: Millis) {
        let open = if self.listening() { None } else { self.list.pop_back() };
        let from = open.map_or(from, |open| open.from.min(from));
        let from = self.list.back().map_or(from, |last| from.max(last.to));
        self.list.push_back(Gap { from, to: Millis::MAX });
        if self.list.len() > GAPS_MAX {
            self.join_the_two_oldest();
        }
    }

    /// We hear again since `to`.
    pub fn close(&mut self, to: Millis) {
        if let Some(last) = self.list.back_mut().filter(|last| last.to == Millis::MAX) {
            last.to = to.max(last.from);
        }
    }

    /// The blind interval in or after which something arrived: what arrived then, but had waited, was said within it.
    /// Empty when none is known.
    pub fn before(&self, arrival: Millis) -> Gap {
        let gap = self.list.iter().rev().find(|gap| gap.from <= arrival);
        gap.map_or(Gap { from: arrival, to: arrival }, |gap| *gap)
    }

    /// The gaps that end after `instant`, in order.
    pub fn after(&self, instant: Millis) -> impl Iterator<Item = Gap> + '_ {
        let first = self.list.partition_point(|gap| gap.to <= instant);
        self.list.iter().skip(first).copied()
    }

    fn join_the_two_oldest(&mut self) {
        if let Some(oldest) = self.list.pop_front()
            && let Some(next) = self.list.front_mut()
        {
            next.from = oldest.from;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blindness_opens_and_closes_once() {
        let mut gaps = Gaps::default();
        assert!(gaps.listening() && gaps.since().is_none());
        gaps.open(10);
        gaps.open(12);
        assert!(!gaps.listening());
        assert_eq!(gaps.since(), Some(10));
        gaps.close(20);
        gaps.close(25);
        assert_eq!(gaps.after(0).collect::<Vec<_>>(), [Gap { from: 10, to: 20 }]);
        assert_eq!(gaps.since(), Some(20));
        assert_eq!(gaps.after(20).count(), 0);
    }

    #[test]
    fn a_blindness_found_late_begins_when_we_last_surely_heard() {
        let mut gaps = Gaps::default();
        gaps.open(10);
        gaps.close(20);
        gaps.open(40);
        gaps.open(30);
        gaps.open(35);
        assert_eq!(gaps.since(), Some(30));
        gaps.open(5);
        assert_eq!(gaps.after(0).collect::<Vec<_>>(), [Gap { from: 10, to: 20 }, Gap { from: 20, to: Millis::MAX }]);
    }

    /// R16, R42: the vehicle's own time counts only within the time we were deaf.
    #[test]
    fn a_beat_that_waited_was_spoken_within_the_blind_interval() {
        let mut gaps = Gaps::default();
        assert_eq!(gaps.before(50).spoken_at(Some(5), 50), 50, "no blindness is known");
        gaps.open(10);
        for (device_time, spoken) in [(None, 10), (Some(3), 10), (Some(30), 30), (Some(90), 50)] {
            assert_eq!(gaps.before(50).spoken_at(device_time, 50), spoken);
        }
        gaps.close(40);
        let gap = gaps.before(50);
        assert_eq!((gap.spoken_at(Some(90), 50), gap.spoken_at(None, 50)), (40, 10), "it is over by now");
    }

    #[test]
    fn the_list_is_bounded_and_stays_ordered() {
        let mut gaps = Gaps::default();
        for start in 0..1000 {
            gaps.open(start * 10);
            gaps.close(start * 10 + 5);
        }
        let list: Vec<Gap> = gaps.after(0).collect();
        assert_eq!(list.len(), GAPS_MAX);
        assert!(list.windows(2).all(|pair| pair[0].to <= pair[1].from));
        assert_eq!(list[0].from, 0);
    }
}
