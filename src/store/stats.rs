//! What the stores keep for statistics: rollups, by customer and for the whole fleet.
//! Fed by the fleet's rollup task with counted heartbeats and the order to count transitions; read by REST and SSE.
//!
//! Rollups hold changes, not levels, and are a function of the stored transitions (migration 0008 has the rule) and of
//! the departures of vehicles (migration 0005), each a change away from the last status: so they are right however
//! often, however late and in whatever order these are stored. Whoever stores one or deletes it marks its minute in the
//! same transaction.

use std::collections::BTreeMap;

use async_trait::async_trait;
use sqlx::FromRow;

use crate::domain::calendar::{HOUR, MINUTE, QUARTER};
use crate::domain::statistics::{Levels, Rollup};
use crate::domain::time::Millis;

/// The name under which the whole fleet is kept; no customer can have it.
pub const FLEET: &str = "";
/// The spans that are kept, each summed from the one before it.
pub const SPANS: [Millis; 3] = [MINUTE, QUARTER, HOUR];

/// Heartbeats of one customer that arrived in one minute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beats {
    /// Whose.
    pub customer: String,
    /// Where the minute begins.
    pub minute: Millis,
    /// How many.
    pub count: u64,
}

/// Which rollups are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RollupQuery {
    /// Only this customer's; none: the whole fleet's.
    pub customer: Option<String>,
    /// One of [`SPANS`].
    pub span: Millis,
    /// The first span; a multiple of it.
    pub from: Millis,
    /// Spans before this.
    pub to: Millis,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rollups {
    /// Levels at `from`: the sum of all changes before it.
    pub levels: Levels,
    /// What changed from there on, in order; spans in which nothing did are left out.
    pub rollups: Vec<Rollup>,
    /// When Rollcall first listened; nothing is known of the time before.
    pub began: Option<Millis>,
}

/// The statistics of a store. Both writes may be repeated (invariant 5).
#[async_trait]
pub trait StatsStore: Send + Sync {
    /// Adds counted heartbeats; one transaction. `number` ascends from 1 within the process: an addition whose number
    /// was there already, or is older than the last one, adds nothing.
    async fn add_beats(&self, number: i64, beats: &[Beats]) -> anyhow::Result<()>;

    /// Counts the transitions of at most so many marked minutes, the oldest first; one transaction. Answers whether
    /// others are still marked.
    async fn roll_up(&self, minutes: u32) -> anyhow::Result<bool>;

    /// Reads rollups. What it costs grows with the spans of this customer in the period, and with the hours before it
    /// (a few milliseconds a year), not with other customers.
    async fn rollups(&self, query: &RollupQuery) -> anyhow::Result<Rollups>;

    /// What a customer's vehicles, or the fleet's, had spent in each status before each of these instants,
    /// vehicle-milliseconds; to the millisecond, but for transitions that are marked and not counted yet.
    async fn spent(&self, customer: Option<&str>, instants: &[Millis]) -> anyhow::Result<Vec<Levels>>;
}

/// The columns that transitions tell, and what takes their place in a row that is there already; the same in both SQLs.
macro_rules! rollup_of_transitions {
    (columns) => {
        "went_online, went_offline, went_unobserved, online_net, offline_net, unobserved_net,
         online_within, offline_within, unobserved_within, online_dip, online_peak"
    };
    (replaced) => {
        "ON CONFLICT (customer, span_ms, at_ms) DO UPDATE SET
        went_online = excluded.went_online, went_offline = excluded.went_offline,
        went_unobserved = excluded.went_unobserved,
        online_net = excluded.online_net, offline_net = excluded.offline_net, unobserved_net = excluded.unobserved_net,
        online_within = excluded.online_within, offline_within = excluded.offline_within,
        unobserved_within = excluded.unobserved_within,
        online_dip = excluded.online_dip, online_peak = excluded.online_peak"
    };
}
pub(super) use rollup_of_transitions;

/// Rows to add heartbeats to, (customer, span, at, count): three spans for each customer, and for the fleet.
pub fn spread(beats: &[Beats]) -> Vec<(String, Millis, Millis, i64)> {
    let mut rows = BTreeMap::new();
    for Beats { customer, minute, count } in beats {
        for span in SPANS {
            for name in [customer.as_str(), FLEET] {
                *rows.entry((name, span, minute - minute.rem_euclid(span))).or_insert(0) += *count as i64;
            }
        }
    }
    rows.into_iter().map(|((name, span, at), count)| (name.to_owned(), span, at, count)).collect()
}

/// A row of the table as both stores read it.
#[derive(Debug, FromRow)]
pub struct RollupRow {
    at_ms: i64,
    heartbeats: i64,
    went_online: i64,
    went_offline: i64,
    went_unobserved: i64,
    online_net: i64,
    offline_net: i64,
    unobserved_net: i64,
    online_within: i64,
    offline_within: i64,
    unobserved_within: i64,
    online_dip: i64,
    online_peak: i64,
}

impl From<RollupRow> for Rollup {
    fn from(row: RollupRow) -> Self {
        Self {
            at: row.at_ms,
            heartbeats: row.heartbeats,
            went: [row.went_online, row.went_offline, row.went_unobserved],
            net: [row.online_net, row.offline_net, row.unobserved_net],
            within: [row.online_within, row.offline_within, row.unobserved_within],
            dip: row.online_dip,
            peak: row.online_peak,
        }
    }
}

/// Levels, and what was spent before: three sums each.
pub type SixSums = (i64, i64, i64, i64, i64, i64);

/// The whole hours that some instants lie in or after: what was spent is added up over them once for all instants.
#[derive(Debug)]
pub struct Hours {
    /// The beginning of the first instant's hour.
    pub first: Millis,
    /// The beginning of the last instant's hour.
    pub end: Millis,
}

impl Hours {
    /// Those of these instants.
    pub fn around(instants: &[Millis]) -> Self {
        let floor = |instant: Option<&Millis>| instant.map_or(0, |instant| instant - instant.rem_euclid(HOUR));
        Self { first: floor(instants.iter().min()), end: floor(instants.iter().max()) }
    }

    /// An instant, where its hour begins, and the span that the part of the hour before it is read in: minutes, or
    /// quarters where minutes are no longer kept.
    pub fn asked(instant: Millis, minutes_from: Millis) -> (Millis, Millis, Millis) {
        let hour = instant - instant.rem_euclid(HOUR);
        (instant, hour, if hour < minutes_from { QUARTER } else { MINUTE })
    }

    /// What was spent before each instant, from what was spent before the first hour, the changes of the hours, and
    /// what the changes within its own hour make of each.
    pub fn spent(&self, before: SixSums, rows: Vec<RollupRow>, since: &[(Millis, Levels)]) -> Vec<Levels> {
        let mut levels = [before.0, before.1, before.2];
        let mut spent = [before.3, before.4, before.5];
        let mut ends = vec![(self.first, levels, spent)];
        for Rollup { at, net, within, .. } in rows.into_iter().map(Rollup::from) {
            let (begin, ..) = ends[ends.len() - 1];
            for status in 0..levels.len() {
                spent[status] += levels[status] * (at + HOUR - begin) + within[status];
                levels[status] += net[status];
            }
            ends.push((at + HOUR, levels, spent));
        }
        let each = since.iter().map(|(instant, within)| {
            let last = ends.partition_point(|(end, ..)| end <= instant).saturating_sub(1);
            let (end, levels, spent) = ends[last];
            [0, 1, 2].map(|status| spent[status] + levels[status] * (instant - end) + within[status])
        });
        each.collect()
    }
}
