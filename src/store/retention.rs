//! How far back each kind of history reaches, and how what is older is dropped: a step at a time, so that the writer is
//! never kept for long. Fed by the fleet's keeper; its horizons are read by whoever reads history, to say what is gone.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use async_trait::async_trait;
use chrono::{DateTime, Datelike, NaiveDate};

use super::stats::SPANS;
use crate::domain::calendar::{DAY, HOUR, MINUTE, QUARTER};
use crate::domain::time::Millis;

/// A kind of history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Changes of status. The last one of each vehicle that is there stays.
    Transitions,
    /// The heartbeat log.
    Heartbeats,
    /// Statistics by the minute; those of quarters and hours stay.
    Minutes,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Transitions, Self::Heartbeats, Self::Minutes];

    /// The word in the table, and the last one of its setting.
    pub fn word(self) -> &'static str {
        match self {
            Self::Transitions => "transitions",
            Self::Heartbeats => "heartbeats",
            Self::Minutes => "statistics_minutes",
        }
    }

    /// The kind of that word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }

    /// What is older than this instant's month (transitions), day (heartbeats) or hour (minutes) may go: history is
    /// dropped in whole ones, so it is kept as long as it was promised, and up to one of them longer.
    pub fn floor(self, instant: Millis) -> Millis {
        match self {
            Self::Transitions => month_of(instant),
            Self::Heartbeats => instant - instant.rem_euclid(DAY),
            Self::Minutes => instant - instant.rem_euclid(HOUR),
        }
    }
}

/// Where the UTC month of an instant begins.
fn month_of(instant: Millis) -> Millis {
    let date = DateTime::from_timestamp_millis(instant).map(|instant| instant.date_naive());
    let first = date.and_then(|date| NaiveDate::from_ymd_opt(date.year(), date.month(), 1));
    first.map_or(0, |first| first.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_millis())
}

/// Where a pass over what is to be dropped goes on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mark {
    /// After this instant, as far as the pass goes by time.
    pub at: Millis,
    /// After this customer.
    pub customer: String,
    /// And this vehicle.
    pub vehicle: String,
    /// And this number.
    pub seq: i64,
}

/// What one step did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Step {
    /// Nothing before this instant is told of any more; none: as before.
    pub horizon: Option<Millis>,
    /// Rows dropped, as far as they were counted.
    pub rows: u64,
    /// Where the next step goes on; none: that was the last.
    pub next: Option<Mark>,
}

/// Dropping history.
#[async_trait]
pub trait RetentionStore: Send + Sync {
    /// Makes room for the history of the coming days, so that nobody waits for that later.
    async fn prepare(&self, today: Millis) -> anyhow::Result<()>;

    /// Up to where each kind was dropped, or may be at any moment.
    async fn load_horizons(&self) -> anyhow::Result<Vec<(Kind, Millis)>>;

    /// Drops some of what is older than `before`, a [floor](Kind::floor). The horizon is written first: whoever reads
    /// is told that it is gone before it is. A transition that is not counted yet (stats.rs) is not dropped, nor a row
    /// that is noted as late (archive.rs).
    async fn drop_some(&self, kind: Kind, before: Millis, after: Option<&Mark>) -> anyhow::Result<Step>;
}

/// The rows of the table as both stores read them.
pub fn horizons(rows: Vec<(String, Millis)>) -> Vec<(Kind, Millis)> {
    rows.into_iter().filter_map(|(word, before)| Some((Kind::from_word(&word)?, before))).collect()
}

/// The horizons, for many readers. 0: nothing was ever dropped.
#[derive(Debug, Default)]
pub struct Horizons([AtomicI64; 3]);

impl Horizons {
    /// Nothing of this kind is known from before this instant; none when everything is kept.
    pub fn of(&self, kind: Kind) -> Option<Millis> {
        Some(self.0[kind as usize].load(Relaxed)).filter(|before| *before > 0)
    }

    /// It moves forward only.
    pub fn note(&self, kind: Kind, before: Millis) {
        self.0[kind as usize].fetch_max(before, Relaxed);
    }
}

/// What has to be counted for some marked minutes: (where it begins, one of [`SPANS`]), each once. Where minutes are
/// no longer kept their quarter is counted whole; where transitions are not, what was counted stays.
pub fn countable(marked: &[Millis], transitions: Millis, minutes: Millis) -> BTreeSet<(Millis, Millis)> {
    let known = marked.iter().filter(|minute| **minute >= transitions);
    let span = |minute: Millis| if minute < minutes { QUARTER } else { MINUTE };
    known.map(|minute| (minute - minute.rem_euclid(span(*minute)), span(*minute))).collect()
}

/// What has to be summed up after that, from parts of one span to the next: (where the whole begins, part, whole).
pub fn sums(counted: &BTreeSet<(Millis, Millis)>) -> Vec<(Millis, Millis, Millis)> {
    let mut all = Vec::new();
    for pair in SPANS.windows(2) {
        let (part, whole) = (pair[0], pair[1]);
        let touched = counted.iter().filter(|(_, span)| *span <= part);
        let wholes: BTreeSet<Millis> = touched.map(|(at, _)| at - at.rem_euclid(whole)).collect();
        all.extend(wholes.into_iter().map(|at| (at, part, whole)));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_is_dropped_in_whole_months_days_and_hours() {
        let instant = 1_769_847_300_123; // 2026-01-31T08:15:00.123Z
        assert_eq!(Kind::Transitions.floor(instant), 1_767_225_600_000);
        assert_eq!(Kind::Heartbeats.floor(instant), 1_769_817_600_000);
        assert_eq!(Kind::Minutes.floor(instant), 1_769_846_400_000);
        for kind in Kind::ALL {
            assert_eq!(kind.floor(kind.floor(instant)), kind.floor(instant));
            assert!(kind.floor(-5) <= 0 && kind.floor(i64::MAX) >= 0);
        }
    }

    #[test]
    fn a_late_transition_counts_its_quarter_where_minutes_are_gone_and_nothing_where_it_is_itself() {
        let marked = [HOUR, 3 * HOUR + MINUTE, 3 * HOUR + 2 * MINUTE, 5 * HOUR + MINUTE];
        let counted = countable(&marked, 2 * HOUR, 4 * HOUR);
        assert_eq!(counted.iter().copied().collect::<Vec<_>>(), [(3 * HOUR, QUARTER), (5 * HOUR + MINUTE, MINUTE)]);
        assert_eq!(sums(&counted), [(5 * HOUR, MINUTE, QUARTER), (3 * HOUR, QUARTER, HOUR), (5 * HOUR, QUARTER, HOUR)]);
    }
}
