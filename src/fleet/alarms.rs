//! When each vehicle of a shard wants to be looked at: one list for all of them and one timer over it, instead of a
//! timer a vehicle, which took some 160 bytes more. Told by vehicles; asked by their shard, which calls those whose
//! time has come.
//!
//! Every heartbeat puts its vehicle's deadline off, so hardly an alarm is still wanted when its time comes. Vehicles
//! are listed by the second only, and stay where they are listed while they want to be looked at later. A little before
//! a second begins its list is gone through: who wants a later one by now moves there, without the vehicle being woken;
//! the others are put in exact order.
//!
//! Bound: one entry a vehicle, in one list.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::time::Millis;

/// The length of a "second".
const SECOND: Millis = 1_024;
/// Entries gone through at once: a few milliseconds. The shard comes back for the rest.
const MOVED_MAX: usize = 20_000;
/// No instant.
const NEVER: Millis = Millis::MAX;

/// One vehicle.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// When it wants to be looked at.
    wanted: Millis,
    /// The instant under which it is listed, never later than `wanted`; [`NEVER`]: in no list.
    listed: Millis,
}

/// The alarms of one shard.
#[derive(Debug, Default)]
pub struct Alarms {
    /// By the vehicles' places in their shard.
    places: Vec<Place>,
    /// Who is listed under an instant from [`near_until`](Self::near_until) on, by second.
    seconds: BTreeMap<Millis, Vec<u32>>,
    /// The rest of a second that is being gone through: the one before `near_until`.
    opened: Vec<u32>,
    /// Who is listed under an earlier instant, in exact order.
    near: BTreeSet<(Millis, u32)>,
    near_until: Millis,
    /// When the shard's timer fires.
    timer: Option<Millis>,
    /// The shard is on its way to set it anew.
    told: bool,
}

/// When the list of a second is gone through: one second before it begins, for that may take several turns.
fn opening(second: Millis) -> Millis {
    (second - 1) * SECOND
}

impl Alarms {
    /// A vehicle wants to be looked at once this instant has passed, and not before; or not at all. `true` when the
    /// shard has to be told, because its timer would fire too late.
    pub fn want(&mut self, local: u32, at: Option<Millis>) -> bool {
        let (local, at) = (local as usize, at.unwrap_or(NEVER));
        if self.places.len() <= local {
            self.places.resize(local + 1, Place { wanted: NEVER, listed: NEVER });
        }
        let place = &mut self.places[local];
        place.wanted = at;
        if place.listed <= at {
            return false;
        }
        self.unlist(local);
        let next = self.list(local, at);
        let late = self.timer.is_none_or(|timer| timer > next);
        late && !std::mem::replace(&mut self.told, true)
    }

    /// Whether a vehicle is called by itself once this instant has passed.
    pub fn will_call(&self, local: u32, at: Millis) -> bool {
        self.places.get(local as usize).is_some_and(|place| place.listed <= at)
    }

    /// Lists a vehicle, and says when the shard has to look into that list.
    fn list(&mut self, local: usize, at: Millis) -> Millis {
        self.places[local].listed = at;
        if at < self.near_until {
            self.near.insert((at, local as u32));
            return at;
        }
        let second = at.div_euclid(SECOND);
        self.seconds.entry(second).or_default().push(local as u32);
        opening(second)
    }

    fn unlist(&mut self, local: usize) {
        let listed = std::mem::replace(&mut self.places[local].listed, NEVER);
        if listed == NEVER {
            return;
        }
        let second = listed.div_euclid(SECOND);
        let list = match self.seconds.get_mut(&second) {
            Some(list) => list,
            None if self.near.remove(&(listed, local as u32)) => return,
            None => &mut self.opened,
        };
        if let Some(place) = list.iter().position(|listed| *listed as usize == local) {
            list.swap_remove(place);
        }
        if self.seconds.get(&second).is_some_and(Vec::is_empty) {
            self.seconds.remove(&second);
        }
    }

    /// When the timer has to fire, where it has to be set anew for that; it counts as set from now on.
    pub fn arm(&mut self) -> Option<Millis> {
        self.told = false;
        let rest = (!self.opened.is_empty()).then(|| opening(self.near_until / SECOND - 1));
        let near = self.near.first().map(|(at, _)| *at);
        let second = self.seconds.first_key_value().map(|(second, _)| opening(*second));
        let next = rest.into_iter().chain(near).chain(second).min()?;
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

    /// Takes vehicles that wanted to be looked at after an instant before `now`, at most so many. There may be more:
    /// the timer is to be set anew.
    pub fn take_before(&mut self, now: Millis, most: usize) -> Vec<u32> {
        let mut moved = self.open(now);
        let mut due = Vec::new();
        while due.len() < most
            && moved < MOVED_MAX
            && let Some(&(at, local)) = self.near.first()
            && at < now
        {
            moved += 1;
            self.near.pop_first();
            self.places[local as usize].listed = NEVER;
            match self.places[local as usize].wanted {
                wanted if wanted < now => due.push(local),
                wanted => self.keep(local, wanted),
            }
        }
        due
    }

    /// Goes through the seconds that begin before long; how many entries that were.
    fn open(&mut self, now: Millis) -> usize {
        let mut moved = 0;
        loop {
            while moved < MOVED_MAX
                && let Some(local) = self.opened.pop()
            {
                moved += 1;
                self.keep(local, self.places[local as usize].wanted);
            }
            let Some(first) = self.seconds.first_entry().filter(|first| opening(*first.key()) <= now) else {
                return moved;
            };
            if !self.opened.is_empty() {
                return moved;
            }
            let (second, list) = first.remove_entry();
            (self.opened, self.near_until) = (list, (second + 1) * SECOND);
        }
    }

    /// Lists a vehicle that is in no list any more, if it wants to be.
    fn keep(&mut self, local: u32, wanted: Millis) {
        if wanted == NEVER {
            self.places[local as usize].listed = NEVER;
        } else {
            self.list(local as usize, wanted);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// What the shard does when its timer fires, as often as it is to come back at once.
    fn ring(alarms: &mut Alarms, now: Millis, most: usize) -> Vec<u32> {
        let mut due = Vec::new();
        loop {
            alarms.disarm();
            due.extend(alarms.take_before(now, most));
            if alarms.arm().is_none_or(|next| next >= now) {
                due.sort_unstable();
                return due;
            }
        }
    }

    #[test]
    fn a_vehicle_has_one_alarm_and_the_earliest_sets_the_timer() {
        let mut alarms = Alarms::default();
        assert!(alarms.want(1, Some(100_000)), "the shard has no timer yet");
        assert!(!alarms.want(2, Some(50_000)), "the shard is told already");
        assert_eq!((alarms.arm(), alarms.arm()), (Some(opening(48)), None));
        assert!(!alarms.want(3, Some(60_000)), "the timer fires before that");
        assert!(alarms.want(1, Some(40_000)), "the timer would be late");
        assert_eq!(ring(&mut alarms, 50_001, 10), [1, 2]);
        assert_eq!((ring(&mut alarms, 60_000, 10), ring(&mut alarms, 60_001, 10)), (vec![], vec![3]));
        assert_eq!(alarms.arm(), None);
    }

    #[test]
    fn who_speaks_is_not_called_and_costs_no_timer() {
        let mut alarms = Alarms::default();
        alarms.want(0, Some(30_000));
        alarms.arm();
        for now in (0..100_000).step_by(100) {
            assert!(!alarms.want(0, Some(now + 30_000)), "{now}: it is listed earlier");
            assert!(ring(&mut alarms, now, 10).is_empty(), "{now}");
        }
        assert_eq!((ring(&mut alarms, 129_900, 10), ring(&mut alarms, 129_901, 10)), (vec![], vec![0]));
        alarms.want(0, Some(200_000));
        alarms.want(0, None);
        assert_eq!((ring(&mut alarms, 300_000, 10), alarms.arm()), (vec![], None), "it wants nothing any more");
    }

    #[test]
    fn a_fleet_that_falls_silent_at_once_is_called_in_parts() {
        let mut alarms = Alarms::default();
        let fleet = 3 * MOVED_MAX as u32;
        for local in 0..fleet {
            alarms.want(local, Some(5_000));
        }
        assert_eq!(alarms.take_before(5_001, 8).len(), 0, "there is more to go through than at once");
        alarms.disarm();
        assert!(alarms.arm().is_some_and(|next| next < 5_000), "so the shard comes back");
        let parts: Vec<usize> = std::iter::from_fn(|| Some(alarms.take_before(5_001, 8).len())).take(5).collect();
        assert_eq!(parts, [0, 0, 8, 8, 8]);
        assert_eq!(ring(&mut alarms, 5_001, 1_000).len(), fleet as usize - 24);
        assert_eq!(alarms.arm(), None);
    }

    proptest! {
        /// Beside a list that is always exact: whoever wants it is called at its first look after its instant, once.
        #[test]
        fn everybody_is_called_in_time_and_nobody_else(
            steps in proptest::collection::vec((0_u32..6, proptest::option::of(0..20_000_i64), 0..4_000_i64), 1..200),
        ) {
            let (mut alarms, mut exact, mut now) = (Alarms::default(), BTreeMap::new(), 1_769_847_300_000);
            for (local, wait, pause) in steps {
                let at = wait.map(|wait| now + wait);
                alarms.want(local, at);
                exact.insert(local, at);
                now += pause;
                let passed = exact.iter().filter(|(_, at)| at.is_some_and(|at| at < now));
                let due: Vec<u32> = passed.map(|(local, _)| *local).collect();
                exact.retain(|local, _| !due.contains(local));
                prop_assert_eq!(ring(&mut alarms, now, 3), due);
                let listed = alarms.seconds.values().map(Vec::len).sum::<usize>() + alarms.near.len();
                prop_assert!(listed <= alarms.places.len() && alarms.opened.is_empty());
            }
        }
    }
}
