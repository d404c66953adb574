//! What the stores tell of vehicles in the past: how they stood at an instant, and what they were through a period.
//! Fed by transitions, and by departures, for a vehicle that had left its name was not there; read by REST.

use anyhow::Context;
use async_trait::async_trait;

use crate::domain::time::Millis;
use crate::domain::transition::{Cause, Status};

/// A vehicle's status at an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Past {
    /// The status; never seen before its first transition, and after it was deleted until it came back.
    pub status: Status,
    /// Since when.
    pub since: Option<Millis>,
    /// Number of the transition to it; 0 when there was none.
    pub seq: u64,
}

/// From an instant on a vehicle was in a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// Since when.
    pub at: Millis,
    /// What it was.
    pub status: Status,
    /// Why; of one that left it says nothing.
    pub cause: Cause,
}

/// A vehicle's two names: customer, vehicle.
pub type Name = (String, String);

/// The past of a store.
#[async_trait]
pub trait HistoryStore: Send + Sync {
    /// How these vehicles stood at an instant, in the order they are named; one index step a vehicle.
    async fn stood(&self, vehicles: &[Name], at: Millis) -> anyhow::Result<Vec<Past>>;

    /// What these vehicles were in `[from, to)`, in the order they are named: the turns of each before `to`, newest
    /// first, back to the one that was in force at `from`. Read from one index, without the rows and their evidence.
    async fn turns(&self, vehicles: &[Name], from: Millis, to: Millis) -> anyhow::Result<Vec<Vec<Turn>>>;
}

/// A row as both stores read it: the last transition's status, instant and number, and the last departure.
pub type PastRow = (Option<String>, Option<Millis>, Option<i64>, Option<Millis>);

/// What such a row says.
pub fn past((status, since, seq, left): PastRow) -> Past {
    if left.is_some() && left >= since {
        return Past::default();
    }
    let status = status.and_then(|word| Status::from_word(&word)).unwrap_or_default();
    Past { status, since, seq: seq.unwrap_or_default().unsigned_abs() }
}

/// A turn as one number, which is how both stores read many of them at once: the instant, then the third letter of the
/// status and the first of the cause, a byte each; those tell all of them apart.
pub type TurnCode = i64;

fn turn(code: TurnCode) -> anyhow::Result<Turn> {
    let status = Status::ALL.into_iter().find(|status| i64::from(status.word().as_bytes()[2]) == (code >> 8) & 0xff);
    let cause = Cause::ALL.into_iter().find(|cause| i64::from(cause.word().as_bytes()[0]) == code & 0xff);
    let (status, cause) = status.zip(cause).with_context(|| format!("{code:x} is no status and cause"))?;
    Ok(Turn { at: code >> 16, status, cause })
}

/// The turns of a vehicle from those within the period and the last one before it, newest first, and its departures.
pub fn turns(codes: impl IntoIterator<Item = TurnCode>, left: Vec<Millis>) -> anyhow::Result<Vec<Turn>> {
    let mut all = codes.into_iter().map(turn).collect::<anyhow::Result<Vec<Turn>>>()?;
    for at in left {
        let place = all.iter().position(|turn| turn.at <= at).unwrap_or(all.len());
        all.insert(place, Turn { at, status: Status::NeverSeen, cause: Cause::Goodbye });
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_and_cause_is_told_apart_by_its_letter() {
        for (status, cause) in Status::ALL.into_iter().flat_map(|s| Cause::ALL.map(|cause| (s, cause))) {
            let letters = (i64::from(status.word().as_bytes()[2]) << 8) | i64::from(cause.word().as_bytes()[0]);
            for at in [0, 1_769_847_300_123, -5] {
                assert_eq!(turn((at << 16) | letters).expect("reads"), Turn { at, status, cause });
            }
        }
        assert!(turn(7 << 16).is_err());
    }

    #[test]
    fn a_vehicle_that_left_was_not_there_until_it_came_back() {
        let online = |at: Millis| (at << 16) | (i64::from(b'l') << 8) | i64::from(b'h');
        let all = turns([online(50), online(10)], vec![30, 60]).expect("reads");
        let told: Vec<_> = all.iter().map(|turn| (turn.at, turn.status)).collect();
        let (online, gone) = (Status::Online, Status::NeverSeen);
        assert_eq!(told, [(60, gone), (50, online), (30, gone), (10, online)]);
    }
}
