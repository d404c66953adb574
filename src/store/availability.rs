//! A vehicle's time in a period, from what is stored: its transitions and the intervals in which we were blind.
//! Fed by the store; the sums themselves are in domain/availability.rs. Read by REST and by exports.

use super::{After, GAPS_MAX, Store, TransitionQuery};
use crate::domain::availability::{Availability, Blind, Outage, Tally};
use crate::domain::time::Millis;

/// Transitions read at once.
const READ_ROWS: u32 = 1_000;

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

/// Reads the vehicle's transitions from the period's end back to the one that was in force at its beginning.
///
/// # Errors
/// The store does not answer.
pub async fn sum(
    store: &dyn Store,
    (from, to): (Millis, Millis),
    blind: &Blind,
    (customer, vehicle): (&str, &str),
) -> anyhow::Result<(Availability, Vec<Outage>)> {
    let mut tally = Tally::over(from, to, blind);
    let mut query = TransitionQuery {
        customer: Some(customer.to_owned()),
        vehicle: Some(vehicle.to_owned()),
        to: Some(to),
        limit: READ_ROWS,
        ..TransitionQuery::default()
    };
    loop {
        let rows = store.transitions(&query).await?;
        let older = rows.iter().all(|row| tally.since(row.change.at, row.change.to, row.change.cause));
        let Some(last) = rows.last().filter(|_| older && rows.len() == READ_ROWS as usize) else {
            return Ok(tally.end());
        };
        let (customer, vehicle) = (customer.to_owned(), vehicle.to_owned());
        query.after = Some(After { at: last.change.at, customer, vehicle, seq: last.change.seq });
    }
}
