//! Vehicles' time in a period, from what is stored: their turns and the intervals in which we were blind.
//! Fed by the store; the sums themselves are in domain/availability.rs. Read by REST and by exports.

use super::history::{Name, Turn};
use super::{GAPS_MAX, Store};
use crate::domain::availability::{Availability, Blind, Outage, Tally};
use crate::domain::time::Millis;

/// All blind intervals of a period, as they overlap it; the store gives them a part at a time.
///
/// # Errors
/// The store does not answer.
pub async fn blind_intervals(store: &dyn Store, from: Millis, to: Millis) -> anyhow::Result<Vec<(Millis, Millis)>> {
    let (mut intervals, mut begin) = (Vec::new(), from);
    loop {
        let gaps = store.gaps(begin, to).await?;
        intervals.extend(gaps.iter().map(|gap| (gap.from, gap.to.unwrap_or(to))));
        match gaps.last() {
            Some(last) if gaps.len() as i64 == GAPS_MAX && last.from > begin => begin = last.from,
            _ => return Ok(intervals),
        }
    }
}

/// The sums of these vehicles in `[from, to)`, and their outages, in the order they are named.
///
/// # Errors
/// The store does not answer.
pub async fn sums(
    store: &dyn Store,
    (from, to): (Millis, Millis),
    blind: &Blind,
    names: &[Name],
) -> anyhow::Result<Vec<(Availability, Vec<Outage>)>> {
    let sum = |turns: Vec<Turn>| {
        let mut tally = Tally::over(from, to, blind);
        let _beginning = turns.iter().all(|turn| tally.since(turn.at, turn.status, turn.cause));
        tally.end()
    };
    Ok(store.turns(names, from, to).await?.into_iter().map(sum).collect())
}
