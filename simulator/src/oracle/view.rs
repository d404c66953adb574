//! What a dashboard has in its hands: the folded picture, and the transitions it was told. Fed by the follower frame by
//! frame, read by the comparison at the end. Pure.

use std::collections::{HashMap, HashSet};

use super::follower::Row;
use crate::{
    control::Name,
    verify::{
        client::TransitionRow,
        compare::{Seen, Shown},
        shown,
    },
};

/// The picture of one vehicle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    pub status: Option<Shown>,
    pub since_ms: u64,
    pub seq: u64,
}

/// Which number must come next on this connection.
#[derive(Debug, Clone, Copy)]
enum Next {
    /// No later than this: what was told before the snapshot is not told again.
    AtMost(u64),
    /// Or one before it again: it was told under the version that this connection resumed from.
    OrAgain(u64),
    Exactly(u64),
}

/// See the head of this file.
#[derive(Debug)]
pub struct View {
    index: HashMap<Name, u32>,
    rows: HashMap<u32, Standing>,
    /// Epoch and version of a complete picture.
    at: Option<(String, u64)>,
    epoch: String,
    next: HashMap<u32, Next>,
    /// Whose transitions were told under the present version, and under the one before it: a transition may come before
    /// the delta it belongs to.
    fresh: [HashSet<u32>; 2],
    /// A gap was announced on this connection: numbers may be missing.
    excused: bool,
    pub told: HashMap<u32, Vec<Seen>>,
    /// Vehicles that are not of the fleet.
    pub strangers: HashSet<String>,
    pub doubles: u64,
    pub missing: u64,
    pub dropped: u64,
    pub connections: u64,
    pub findings: Vec<String>,
    /// From the instant of a change to its arrival here, milliseconds.
    pub push_lags: Vec<u64>,
}

/// Sentences kept for people.
const FINDINGS_MAX: usize = 10;

impl View {
    pub fn new(index: HashMap<Name, u32>) -> Self {
        Self {
            index,
            rows: HashMap::new(),
            at: None,
            epoch: String::new(),
            next: HashMap::new(),
            fresh: Default::default(),
            excused: false,
            told: HashMap::new(),
            strangers: HashSet::new(),
            doubles: 0,
            missing: 0,
            dropped: 0,
            connections: 0,
            findings: Vec::new(),
            push_lags: Vec::new(),
        }
    }

    /// A connection begins; what to resume from, if anything.
    pub fn connected(&mut self, epoch: String) -> Option<(String, u64)> {
        self.connections += 1;
        self.epoch = epoch;
        for vehicle in self.fresh.iter_mut().flat_map(HashSet::drain) {
            if let Some(Next::Exactly(next)) = self.next.get(&vehicle).copied() {
                self.next.insert(vehicle, Next::OrAgain(next));
            }
        }
        self.at.clone()
    }

    pub fn disconnected(&mut self) {
        self.excused = false;
    }

    /// A snapshot replaces.
    pub fn snapshot(&mut self, part: u64, vehicles: Vec<Row>) {
        if part == 1 {
            self.rows.clear();
            self.next.clear();
            self.at = None;
            self.excused = false;
        }
        for row in vehicles {
            let Some(vehicle) = self.place(&row.customer, &row.vehicle) else { continue };
            let standing = standing(&row);
            self.next.insert(vehicle, Next::AtMost(standing.seq + 1));
            self.rows.insert(vehicle, standing);
        }
    }

    /// The picture is whole.
    pub fn complete(&mut self, version: u64) {
        self.at = Some((self.epoch.clone(), version));
    }

    pub fn delta(&mut self, version: u64, changed: Vec<Row>, removed: Vec<Row>, now_ms: u64) {
        for row in removed {
            if let Some(vehicle) = self.place(&row.customer, &row.vehicle) {
                self.rows.remove(&vehicle);
            }
        }
        for row in changed {
            let Some(vehicle) = self.place(&row.customer, &row.vehicle) else { continue };
            if row.status.is_some() {
                let standing = standing(&row);
                let known = self.rows.insert(vehicle, standing);
                // After a resume a row comes whole, whatever of it is new.
                if known.is_none_or(|known| known.seq != standing.seq) {
                    self.push_lags.push(now_ms.saturating_sub(standing.since_ms));
                }
            }
        }
        if let Some(at) = &mut self.at {
            if at.1 != version {
                self.fresh.swap(0, 1);
                self.fresh[0].clear();
            }
            *at = (self.epoch.clone(), version);
        }
    }

    pub fn transition(&mut self, row: TransitionRow) {
        let Some(vehicle) = self.place(&row.customer, &row.vehicle) else { return };
        let Some(seen) = row.seen() else { return };
        let (most, least) = match self.next.get(&vehicle) {
            Some(Next::OrAgain(next)) if seen.seq < *next => return,
            Some(Next::Exactly(next) | Next::OrAgain(next)) => (*next, *next),
            Some(Next::AtMost(next)) => (*next, 0),
            None => (1, 0),
        };
        if seen.seq < least {
            self.doubles += 1;
            self.finding(|| format!("{}/{} told {} again", row.customer, row.vehicle, seen.seq));
            return;
        }
        if seen.seq > most && !self.excused {
            self.missing += seen.seq - most;
            let drawn = self.rows.get(&vehicle).map(|row| row.seq);
            let (number, next) = (self.connections, self.next.get(&vehicle).copied());
            self.finding(|| {
                format!(
                    "{}/{} told {} without {most} on connection {number} ({next:?} was due, {drawn:?} is drawn)",
                    row.customer, row.vehicle, seen.seq
                )
            });
        }
        self.next.insert(vehicle, Next::Exactly(seen.seq + 1));
        self.fresh[0].insert(vehicle);
        self.told.entry(vehicle).or_default().push(seen);
    }

    pub fn gap(&mut self, dropped: u64) {
        self.dropped += dropped;
        self.excused = true;
    }

    /// Transitions up to `last` that the present connection should have told and did not.
    pub fn untold(&self, vehicle: u32, last: u64) -> u64 {
        let next = match self.next.get(&vehicle) {
            Some(Next::Exactly(next) | Next::OrAgain(next) | Next::AtMost(next)) => *next,
            None => 1,
        };
        if self.excused { 0 } else { (last + 1).saturating_sub(next) }
    }

    pub fn row(&self, vehicle: u32) -> Option<Standing> {
        self.rows.get(&vehicle).copied()
    }

    pub fn is_whole(&self) -> bool {
        self.at.is_some()
    }

    fn place(&mut self, customer: &str, vehicle: &str) -> Option<u32> {
        let found = self.index.get(&(customer.to_owned(), vehicle.to_owned())).copied();
        if found.is_none() && self.strangers.len() < FINDINGS_MAX {
            self.strangers.insert(format!("{customer}/{vehicle}"));
        }
        found
    }

    fn finding(&mut self, sentence: impl FnOnce() -> String) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(sentence());
        }
    }
}

fn standing(row: &Row) -> Standing {
    Standing {
        status: row.status.as_deref().and_then(shown),
        since_ms: row.status_since.map_or(0, |since| since.timestamp_millis().max(0) as u64),
        seq: row.seq.unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> View {
        let index = HashMap::from([(("c".to_owned(), "v".to_owned()), 0)]);
        let mut view = View::new(index);
        view.connected("e".to_owned());
        view.snapshot(1, vec![row(4)]);
        view.complete(1);
        view
    }

    fn row(seq: u64) -> Row {
        let (customer, vehicle) = ("c".to_owned(), "v".to_owned());
        Row { customer, vehicle, status: Some("online".to_owned()), status_since: None, seq: Some(seq) }
    }

    fn told(view: &mut View, seq: u64) {
        let at = "2026-01-01T00:00:00Z";
        let json = serde_json::json!({
            "customer": "c", "vehicle": "v", "seq": seq, "from": "offline", "to": "online", "at": at, "decided_at": at,
        });
        view.transition(serde_json::from_value(json).unwrap());
    }

    #[test]
    fn transitions_from_before_the_snapshot_may_come_or_not() {
        for first in [3, 4, 5] {
            let mut view = view();
            told(&mut view, first);
            assert_eq!((view.missing, view.doubles), (0, 0), "{first}");
        }
        let mut view = view();
        told(&mut view, 6);
        assert_eq!(view.missing, 1);
    }

    #[test]
    fn double_and_hole_are_found_unless_a_gap_was_announced() {
        let mut view = view();
        for seq in [5, 5, 8] {
            told(&mut view, seq);
        }
        assert_eq!((view.doubles, view.missing, view.untold(0, 8), view.untold(0, 10)), (1, 2, 0, 2));
        view.gap(3);
        told(&mut view, 12);
        assert_eq!((view.missing, view.dropped, view.untold(0, 20)), (2, 3, 0));
    }

    #[test]
    fn resume_names_the_version_of_a_whole_picture_only() {
        let mut view = view();
        view.delta(7, vec![row(5)], Vec::new(), 0);
        assert_eq!(view.connected("e".to_owned()), Some(("e".to_owned(), 7)));
        view.snapshot(1, vec![row(5)]);
        assert_eq!(view.connected("e".to_owned()), None);
    }

    #[test]
    fn what_was_told_under_the_version_of_a_resume_may_come_once_more() {
        let mut view = view();
        view.delta(7, vec![row(4)], Vec::new(), 0);
        told(&mut view, 5);
        view.connected("e".to_owned());
        for seq in [5, 6] {
            told(&mut view, seq);
        }
        assert_eq!((view.doubles, view.missing), (0, 0));
        for version in [8, 9] {
            view.delta(version, vec![row(6)], Vec::new(), 0);
        }
        view.connected("e".to_owned());
        told(&mut view, 6);
        assert_eq!((view.doubles, view.told[&0].len()), (1, 2));
    }
}
