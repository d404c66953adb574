//! How long a vehicle was there, dark, or unknown to us: sums over the intervals between its transitions, never over
//! heartbeats (R13). Fed by stored transitions and blind intervals; read by REST.
//!
//! The parts add up to the period to the millisecond (R60). Offline time in which we were deaf counts as unobserved:
//! the vehicle may have spoken. Online time stays online: its deadline had not passed.

use super::statistics::Levels;
use super::time::Millis;
use super::transition::{Cause, Status};

/// Outages of a period that are listed; older ones are only counted.
pub const OUTAGES_MAX: usize = 100;

/// A period, half-open, with its vehicle's time in it. Durations in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Availability {
    /// Heard of within its timeout.
    pub online: Millis,
    /// Silent past its deadline, or switched off, while we could hear.
    pub offline: Millis,
    /// Not known.
    pub unobserved: Millis,
    /// Before its first heartbeat.
    pub never_seen: Millis,
    /// Offline intervals with some time in the period that we observed.
    pub outages: u64,
    /// The longest of them, as far as it lies in the period and we observed it.
    pub longest_outage: Millis,
}

/// One interval in which a vehicle was offline, as far as it lies in the period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// When it began.
    pub from: Millis,
    /// When it ended, or the period.
    pub to: Millis,
    /// How much of it we observed, milliseconds.
    pub dark: Millis,
    /// Why the vehicle was called offline.
    pub cause: Cause,
}

impl Availability {
    /// Online time by online and offline time; none when there was neither.
    pub fn share(&self) -> Option<f64> {
        share(self.online, self.offline)
    }

    fn add(&mut self, status: Status, length: Millis, blind: Millis) {
        match status {
            Status::Online => self.online += length,
            Status::NeverSeen => self.never_seen += length,
            Status::Unobserved => self.unobserved += length,
            Status::Offline => {
                let dark = length - blind;
                (self.offline, self.unobserved) = (self.offline + dark, self.unobserved + blind);
                self.outages += u64::from(dark > 0);
                self.longest_outage = self.longest_outage.max(dark);
            }
        }
    }
}

fn share(online: Millis, offline: Millis) -> Option<f64> {
    (online + offline > 0).then(|| online as f64 / (online + offline) as f64)
}

/// The time of many vehicles together, vehicle-milliseconds; each part is the sum of theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mean {
    /// As in [`Availability`].
    pub online: Millis,
    /// As in [`Availability`].
    pub offline: Millis,
    /// As in [`Availability`].
    pub unobserved: Millis,
}

impl Mean {
    /// The instants at which [`Mean::between`] has to be told what was spent before.
    pub fn instants(from: Millis, to: Millis, blind: &Blind) -> Vec<Millis> {
        let ends = blind.0.iter().flat_map(|(from, to, _)| [*from, *to]).map(|end| end.clamp(from, to));
        [from, to].into_iter().chain(ends).collect()
    }

    /// What was spent in a period, from what was spent before each of its instants in online, offline and unobserved.
    pub fn between(spent: &[Levels]) -> Self {
        let mut pairs = spent.chunks_exact(2).map(|pair| [0, 1, 2].map(|status| pair[1][status] - pair[0][status]));
        let [online, offline, unobserved] = pairs.next().unwrap_or_default();
        let deaf: Millis = pairs.map(|[_, offline, _]| offline).sum();
        Self { online, offline: offline - deaf, unobserved: unobserved + deaf }
    }

    /// Two groups of vehicles together.
    pub fn and(self, other: Self) -> Self {
        Self {
            online: self.online + other.online,
            offline: self.offline + other.offline,
            unobserved: self.unobserved + other.unobserved,
        }
    }

    /// Online time by online and offline time, so each vehicle weighs as much as it was known; none when there was
    /// neither.
    pub fn share(&self) -> Option<f64> {
        share(self.online, self.offline)
    }
}

/// Adds up one vehicle's period, from its end to its beginning, as the stores list transitions.
#[derive(Debug)]
pub struct Tally<'a> {
    from: Millis,
    /// Everything from here on is added up.
    reached: Millis,
    blind: &'a Blind,
    sum: Availability,
    outages: Vec<Outage>,
}

impl<'a> Tally<'a> {
    /// An empty sum over `[from, to)`.
    pub fn over(from: Millis, to: Millis, blind: &'a Blind) -> Self {
        Self { from, reached: to.max(from), blind, sum: Availability::default(), outages: Vec::new() }
    }

    /// The next older transition: from `at` on, until the one before this call, the vehicle was in this status. Answers
    /// whether older ones matter.
    pub fn since(&mut self, at: Millis, status: Status, cause: Cause) -> bool {
        // A clock that was set back dates a later transition earlier; then the earlier one lasted no time.
        let begin = at.clamp(self.from, self.reached);
        if begin < self.reached {
            let blind = self.blind.within(begin, self.reached);
            self.sum.add(status, self.reached - begin, blind);
            let outage = Outage { from: begin, to: self.reached, dark: self.reached - begin - blind, cause };
            if status == Status::Offline && outage.dark > 0 && self.outages.len() < OUTAGES_MAX {
                self.outages.push(outage);
            }
        }
        self.reached = begin;
        at > self.from
    }

    /// There are no older transitions: before the oldest the vehicle had never been seen. The outages are newest first,
    /// at most [`OUTAGES_MAX`].
    pub fn end(mut self) -> (Availability, Vec<Outage>) {
        self.since(self.from, Status::NeverSeen, Cause::Heartbeat);
        (self.sum, self.outages)
    }
}

/// Blind intervals, ordered and disjoint, with the blind time before each.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Blind(Vec<(Millis, Millis, Millis)>);

impl Blind {
    /// The union of these intervals; those of several scopes may overlap.
    pub fn union(mut intervals: Vec<(Millis, Millis)>) -> Self {
        intervals.sort_unstable();
        let mut list: Vec<(Millis, Millis, Millis)> = Vec::new();
        for (from, to) in intervals {
            match list.last_mut().filter(|last| from <= last.1) {
                Some(last) => last.1 = last.1.max(to),
                None => {
                    let before = list.last().map_or(0, |(from, to, before)| before + (to - from));
                    list.push((from, to, before));
                }
            }
        }
        Self(list)
    }

    /// Blind time within `[from, to)`.
    pub fn within(&self, from: Millis, to: Millis) -> Millis {
        self.before(to) - self.before(from)
    }

    /// Blind time before an instant.
    fn before(&self, instant: Millis) -> Millis {
        let begun = self.0.partition_point(|(from, ..)| *from < instant);
        let last = begun.checked_sub(1).and_then(|last| self.0.get(last));
        last.map_or(0, |(from, to, before)| before + instant.min(*to) - from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(period: (Millis, Millis), newest_first: &[(Millis, Status)], blind: &Blind) -> Availability {
        let mut tally = Tally::over(period.0, period.1, blind);
        let _ = newest_first.iter().all(|(at, status)| tally.since(*at, *status, Cause::Silence));
        let (sum, outages) = tally.end();
        assert_eq!(outages.len() as u64, sum.outages);
        assert_eq!(outages.iter().map(|outage| outage.dark).sum::<Millis>(), sum.offline);
        sum
    }

    #[test]
    fn a_day_with_an_outage_across_our_own_gap() {
        let hour = 3_600_000;
        let history = [(10 * hour, Status::Online), (6 * hour, Status::Offline), (2 * hour, Status::Online)];
        let blind = Blind::union(vec![(7 * hour, 8 * hour), (7 * hour + 1, 9 * hour), (20 * hour, 21 * hour)]);
        let day = of((0, 24 * hour), &history, &blind);
        let expected = Availability {
            online: 18 * hour,
            offline: 2 * hour,
            unobserved: 2 * hour,
            never_seen: 2 * hour,
            outages: 1,
            longest_outage: 2 * hour,
        };
        assert_eq!((day, day.share()), (expected, Some(0.9)));
        assert_eq!(of((0, hour), &history, &blind).share(), None, "not known before it was seen");
    }

    #[test]
    fn an_outage_that_began_before_the_period_counts_with_what_lies_in_it() {
        let blind = Blind::default();
        let sum = of((100, 200), &[(150, Status::Online), (20, Status::Offline), (10, Status::Online)], &blind);
        assert_eq!((sum.offline, sum.online, sum.outages, sum.longest_outage), (50, 50, 1, 50));
    }

    fn status(number: u8) -> Status {
        Status::ALL[usize::from(number) % 4]
    }

    proptest! {
        /// R13, R60: millisecond by millisecond it is the same, and the parts add up.
        #[test]
        fn the_sums_equal_a_count_of_milliseconds(
            mut changes in prop::collection::vec((0i64..200, 0u8..4), 0..12),
            gaps in prop::collection::vec((0i64..200, 0i64..40), 0..6),
            (from, length) in (0i64..200, 0i64..150),
        ) {
            changes.sort_by_key(|change| change.0);
            let to = from + length;
            let gaps: Vec<_> = gaps.into_iter().map(|(from, length)| (from, from + length)).collect();
            let newest: Vec<_> = changes.iter().rev().map(|(at, number)| (*at, status(*number))).collect();
            let sum = of((from, to), &newest, &Blind::union(gaps.clone()));
            let mut counted = [0; 4];
            for instant in from..to {
                let last = changes.iter().rev().find(|(at, _)| *at <= instant);
                let status = last.map_or(Status::NeverSeen, |(_, number)| status(*number));
                let deaf = gaps.iter().any(|(from, to)| (*from..*to).contains(&instant));
                let shown = if status == Status::Offline && deaf { Status::Unobserved } else { status };
                counted[shown as usize] += 1;
            }
            let parts = [sum.never_seen, sum.online, sum.offline, sum.unobserved];
            prop_assert_eq!(parts, counted);
            prop_assert_eq!(parts.iter().sum::<i64>(), length);
        }
    }
}
