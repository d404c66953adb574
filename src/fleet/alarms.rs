//! When each vehicle of a shard wants to be looked at: one list for all of them and one timer over it, instead of a
//! timer a vehicle, which took some 160 bytes more. Written by vehicles; asked by their shard, which calls those whose
//! time has come. Bound: one entry a vehicle, since setting one takes the older one away.

use std::collections::BTreeSet;

use crate::domain::time::Millis;

/// The alarms of one shard, earliest first.
#[derive(Debug, Default)]
pub struct Alarms {
    entries: BTreeSet<(Millis, u32)>,
    /// When the shard's timer fires.
    timer: Option<Millis>,
    /// The shard is on its way to set it anew.
    told: bool,
}

impl Alarms {
    /// Sets a vehicle's alarm, instead of the one it had. `true` when the shard has to be told, because its timer would
    /// fire too late.
    pub fn set(&mut self, local: u32, before: Option<Millis>, at: Millis) -> bool {
        self.clear(local, before);
        self.entries.insert((at, local));
        let late = self.timer.is_none_or(|timer| timer > at);
        late && !std::mem::replace(&mut self.told, true)
    }

    /// Takes a vehicle's alarm away.
    pub fn clear(&mut self, local: u32, at: Option<Millis>) {
        if let Some(at) = at {
            self.entries.remove(&(at, local));
        }
    }

    /// The next alarm, when the timer has to be set anew for it; it counts as set from now on.
    pub fn arm(&mut self) -> Option<Millis> {
        self.told = false;
        let (next, _) = *self.entries.first()?;
        let due = self.timer.is_none_or(|timer| timer > next);
        due.then(|| {
            self.timer = Some(next);
            next
        })
    }

    /// The timer has fired, or is none any more.
    pub fn disarm(&mut self) {
        self.timer = None;
    }

    /// Takes vehicles whose alarm was for an instant before `now`, at most so many.
    pub fn take_before(&mut self, now: Millis, most: usize) -> Vec<u32> {
        let mut due = Vec::new();
        while due.len() < most
            && let Some(&(at, local)) = self.entries.first()
            && at < now
        {
            self.entries.pop_first();
            due.push(local);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vehicle_has_one_alarm_and_the_earliest_sets_the_timer() {
        let mut alarms = Alarms::default();
        assert!(alarms.set(1, None, 100), "the shard has no timer yet");
        assert!(!alarms.set(2, None, 50), "the shard is told already");
        assert_eq!((alarms.arm(), alarms.arm()), (Some(50), None));
        assert!(!alarms.set(3, None, 60), "the timer fires before that");
        assert!(alarms.set(1, Some(100), 40), "the timer would be late");
        assert_eq!(alarms.arm(), Some(40));
        assert_eq!(alarms.take_before(51, 10), [1, 2]);
        alarms.disarm();
        assert_eq!(alarms.arm(), Some(60));
        assert_eq!((alarms.take_before(60, 10), alarms.take_before(61, 10)), (vec![], vec![3]));
        assert_eq!(alarms.arm(), None);
    }

    #[test]
    fn a_fleet_that_falls_silent_at_once_is_called_in_parts() {
        let mut alarms = Alarms::default();
        for local in 0..10 {
            alarms.set(local, None, 5);
        }
        assert_eq!(alarms.take_before(6, 8).len(), 8);
        alarms.disarm();
        assert_eq!(alarms.arm(), Some(5));
        assert_eq!(alarms.take_before(6, 8), [8, 9]);
    }
}
