//! How many vehicles were there, bucket by bucket: from changes of the levels to the levels themselves.
//! Fed by stored rollups (changes, never levels: store/stats.rs says why) and blind intervals; read by REST and SSE.

use serde::Serialize;

use super::availability::Blind;
use super::time::{self, Millis};

/// How many vehicles are online, offline and unobserved, or how these numbers changed.
pub type Levels = [i64; 3];

const ONLINE: usize = 0;

/// What changed in one span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rollup {
    /// Where the span begins.
    pub at: Millis,
    /// Heartbeats that arrived in it.
    pub heartbeats: i64,
    /// Transitions to each status.
    pub went: Levels,
    /// Vehicles in each status at its end, less those at its beginning.
    pub net: Levels,
    /// The sum over its changes of what was left of the span, vehicle-milliseconds.
    pub within: Levels,
    /// Fewest vehicles online, less those at its beginning.
    pub dip: i64,
    /// Most vehicles online, less those at its beginning.
    pub peak: i64,
}

/// One bucket as it is shown. Averages are over time, of what has passed of the bucket.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bucket {
    /// Where it begins.
    #[serde(serialize_with = "time::as_text::serialize")]
    pub at: Millis,
    /// Heartbeats that arrived in it.
    pub heartbeats: i64,
    /// Transitions to online.
    pub went_online: i64,
    /// Transitions to offline.
    pub went_offline: i64,
    /// Transitions to unobserved.
    pub went_unobserved: i64,
    /// Fewest vehicles online at any instant.
    pub online_min: i64,
    /// Most vehicles online at any instant.
    pub online_max: i64,
    /// Vehicles online.
    pub online_avg: f64,
    /// Vehicles offline.
    pub offline_avg: f64,
    /// Vehicles unobserved.
    pub unobserved_avg: f64,
    /// Seconds of it in which Rollcall could hear.
    pub observed_s: f64,
    /// Seconds of it in which Rollcall could not hear, or was not there.
    pub unobserved_s: f64,
    /// It is over, and nothing that was decided is still to be counted.
    pub complete: bool,
}

/// What buckets are made from.
#[derive(Debug)]
pub struct Period<'a> {
    /// Where buckets begin, and where the last one ends; ascending multiples of `span`.
    pub borders: &'a [Millis],
    /// How long the span of each rollup is.
    pub span: Millis,
    /// The levels at the first border.
    pub levels: Levels,
    /// The changes since, in order; spans in which nothing changed are left out.
    pub rollups: &'a [Rollup],
    /// When we could not hear.
    pub blind: &'a Blind,
    /// The present; what lies after it has not passed.
    pub today: Millis,
    /// Everything that was decided up to here is in the rollups.
    pub counted_until: Millis,
}

impl Period<'_> {
    /// The buckets, oldest first, one for every pair of borders.
    pub fn buckets(&self) -> Vec<Bucket> {
        let (mut levels, mut rest) = (self.levels, self.rollups);
        let pairs = self.borders.windows(2);
        let each = pairs.map(|pair| {
            let (mine, later) = rest.split_at(rest.partition_point(|rollup| rollup.at < pair[1]));
            rest = later;
            self.bucket(pair[0], pair[1], &mut levels, mine)
        });
        each.collect()
    }

    fn bucket(&self, from: Millis, to: Millis, levels: &mut Levels, rollups: &[Rollup]) -> Bucket {
        let passed = to.min(self.today).max(from);
        let length = passed - from;
        let (mut heartbeats, mut went, first) = (0, Levels::default(), *levels);
        let mut sums = first.map(|level| level * length);
        let (mut least, mut most) = (first[ONLINE], first[ONLINE]);
        for rollup in rollups {
            heartbeats += rollup.heartbeats;
            least = least.min(levels[ONLINE] + rollup.dip);
            most = most.max(levels[ONLINE] + rollup.peak);
            for status in 0..levels.len() {
                went[status] += rollup.went[status];
                // Each change lasts from its instant to the end of what has passed.
                sums[status] += rollup.within[status] + rollup.net[status] * (passed - (rollup.at + self.span));
                levels[status] += rollup.net[status];
            }
        }
        let averages = [0, 1, 2].map(|status| match length {
            0 => levels[status] as f64,
            _ => sums[status] as f64 / length as f64,
        });
        let unobserved = self.blind.within(from, passed);
        Bucket {
            at: from,
            heartbeats,
            went_online: went[0],
            went_offline: went[1],
            went_unobserved: went[2],
            online_min: least,
            online_max: most,
            online_avg: averages[0],
            offline_avg: averages[1],
            unobserved_avg: averages[2],
            observed_s: (length - unobserved) as f64 / 1e3,
            unobserved_s: unobserved as f64 / 1e3,
            complete: to <= self.counted_until,
        }
    }
}

#[cfg(test)]
pub mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::calendar::MINUTE;

    /// The changes of one span, as the stores have to write them.
    pub fn rollup(at: Millis, span: Millis, changes: &[(Millis, Levels)]) -> Rollup {
        let mut rollup = Rollup { at, ..Rollup::default() };
        let mut instants: Vec<Millis> = changes.iter().map(|(at, _)| *at).collect();
        instants.dedup();
        for (instant, change) in changes {
            for (status, change) in change.iter().enumerate() {
                rollup.net[status] += change;
                rollup.within[status] += change * (at + span - instant);
            }
        }
        for instant in instants {
            let level: i64 = changes.iter().filter(|(at, _)| *at <= instant).map(|(_, change)| change[0]).sum();
            (rollup.dip, rollup.peak) = (rollup.dip.min(level), rollup.peak.max(level));
        }
        rollup
    }

    #[test]
    fn a_running_bucket_is_averaged_over_what_has_passed() {
        let one = rollup(0, MINUTE, &[(10_000, [1, -1, 0])]);
        let period = Period {
            borders: &[0, MINUTE, 2 * MINUTE],
            span: MINUTE,
            levels: [0, 1, 0],
            rollups: &[one],
            blind: &Blind::union(vec![(-5_000, 5_000), (18_000, 90_000)]),
            today: 20_000,
            counted_until: 19_999,
        };
        let [running, future] = period.buckets().try_into().unwrap();
        assert_eq!((running.online_avg, running.offline_avg), (0.5, 0.5));
        assert_eq!((running.online_min, running.online_max), (0, 1));
        assert_eq!((running.observed_s, running.unobserved_s, running.complete), (13.0, 7.0, false));
        assert_eq!((future.online_avg, future.online_min, future.observed_s, future.unobserved_s), (1.0, 1, 0.0, 0.0));
    }

    proptest! {
        /// Against a naive model that looks at every instant.
        #[test]
        fn buckets_say_what_every_instant_says(
            mut changes in prop::collection::vec((0..240_i64, -1..=1_i64, -1..=1_i64), 0..30),
            span in prop::sample::select(vec![10_i64, 20]), first in 0..5_i64, today in 0..240_i64,
            borders in prop::sample::subsequence((0..=12).collect::<Vec<i64>>(), 2..=13),
        ) {
            changes.sort();
            changes.retain(|(at, ..)| *at <= today);
            let changes: Vec<(Millis, Levels)> = changes.into_iter().map(|(at, on, off)| (at, [on, off, 0])).collect();
            let borders: Vec<Millis> = borders.into_iter().map(|border| border * 20).collect();
            let level = |status: usize, instant: Millis| {
                let changed = changes.iter().filter(|(at, _)| *at <= instant).map(|(_, change)| change[status]);
                [first, 3, 0][status] + changed.sum::<i64>()
            };
            let rollups: Vec<Rollup> = (0..240 / span).map(|n| {
                let of_span = |(at, _): &&(Millis, Levels)| *at / span == n;
                rollup(n * span, span, &changes.iter().filter(of_span).copied().collect::<Vec<_>>())
            }).filter(|rollup| rollup.at >= borders[0]).collect();
            let period = Period {
                borders: &borders, span, levels: [0, 1, 2].map(|status| level(status, borders[0] - 1)),
                rollups: &rollups, blind: &Blind::default(), today, counted_until: 0,
            };
            for (pair, bucket) in borders.windows(2).zip(period.buckets()) {
                let passed = pair[1].min(today).max(pair[0]);
                if passed > pair[0] {
                    let sum = |status| (pair[0]..passed).map(|instant| level(status, instant)).sum::<i64>() as f64;
                    let length = (passed - pair[0]) as f64;
                    prop_assert!((bucket.online_avg - sum(0) / length).abs() < 1e-9);
                    prop_assert!((bucket.offline_avg - sum(1) / length).abs() < 1e-9);
                }
                let instants = (pair[0] - 1..pair[1]).map(|instant| level(0, instant));
                prop_assert_eq!(bucket.online_min, instants.clone().min().unwrap());
                prop_assert_eq!(bucket.online_max, instants.max().unwrap());
            }
        }
    }
}
