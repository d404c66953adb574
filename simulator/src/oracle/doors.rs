//! The product's doors against one another: the store's rows, the REST history, the live list and the dashboard's
//! picture must say the same. Fed by the product after the run, feeds the tally.

use std::collections::HashMap;

use anyhow::Context;
use futures_util::{Stream, TryStreamExt};
use sqlx::{Connection, PgConnection, SqliteConnection};

use super::{
    tally::{Tallies, Wrong},
    view::{Standing, View},
};
use crate::{
    control::Name,
    verify::{
        client::{Reader, TransitionRow},
        compare::Seen,
        shown,
    },
};

/// The history by vehicle, as REST tells it, each in order of number.
pub struct History {
    pub of: HashMap<u32, Vec<Seen>>,
    pub transitions: u64,
    /// Transitions of vehicles that are not of the fleet.
    pub strangers: Vec<TransitionRow>,
}

/// A row as the store has it.
type StoreRow = (String, String, i64, String, i64);

const STORE_ROWS: &str = "SELECT customer, vehicle, seq, to_status, at_ms FROM transition";

impl History {
    /// Reads the whole history, page by page. `steps_ms`: what the product's wall clock was moved by during the run;
    /// dates are moved back into it.
    pub async fn read(
        reader: &Reader,
        index: &HashMap<Name, u32>,
        run_ms: (u64, u64),
        steps_ms: &[i64],
    ) -> anyhow::Result<Self> {
        let mut history = Self { of: HashMap::new(), transitions: 0, strangers: Vec::new() };
        let stepped = |ms: u64| steps_ms.iter().map(move |step_ms| ms.saturating_add_signed(*step_ms));
        let moved = |ms: u64| std::iter::once(ms).chain(stepped(ms));
        let from_ms = moved(run_ms.0).min().unwrap_or(run_ms.0);
        let to_ms = moved(run_ms.1).max().unwrap_or(run_ms.1);
        let each = |rows: Vec<TransitionRow>| {
            for row in rows {
                let Some(mut seen) = row.seen() else { continue };
                seen.at_ms = unstep(seen.at_ms, run_ms, steps_ms);
                seen.decided_at_ms = unstep(seen.decided_at_ms, run_ms, steps_ms);
                history.transitions += 1;
                match index.get(&(row.customer.clone(), row.vehicle.clone())) {
                    Some(&vehicle) => history.of.entry(vehicle).or_default().push(seen),
                    None => history.strangers.push(row),
                }
            }
        };
        reader.transitions(from_ms, to_ms, each).await?;
        history.of.values_mut().for_each(|list| list.sort_by_key(|seen| (seen.seq, seen.at_ms)));
        Ok(history)
    }

    fn find(&self, vehicle: u32, seq: u64) -> Option<&Seen> {
        let list = self.of.get(&vehicle)?;
        list.binary_search_by_key(&seq, |seen| seen.seq).ok().map(|place| &list[place])
    }

    fn last(&self, vehicle: u32) -> Option<&Seen> {
        self.of.get(&vehicle)?.last()
    }
}

/// The true time of an instant that the product dated while its wall clock may have been moved.
pub fn unstep(at_ms: u64, (from_ms, to_ms): (u64, u64), steps_ms: &[i64]) -> u64 {
    let fits = |ms: &u64| (from_ms..=to_ms).contains(ms);
    let moved = steps_ms.iter().map(|step_ms| at_ms.saturating_add_signed(-step_ms));
    std::iter::once(at_ms).chain(moved).find(fits).unwrap_or(at_ms)
}

/// Everything to compare.
pub struct Doors<'a> {
    pub names: &'a [Name],
    pub index: &'a HashMap<Name, u32>,
    pub history: &'a History,
    pub now_ms: u64,
}

impl Doors<'_> {
    /// The store's rows are REST's, no more and no less. Returns how many there are.
    pub async fn check_store(&self, url: &str, tallies: &mut Tallies) -> anyhow::Result<u64> {
        if url.starts_with("sqlite:") {
            let mut connection = SqliteConnection::connect(url).await.context("cannot open the store")?;
            let rows = sqlx::query_as::<_, StoreRow>(STORE_ROWS).fetch(&mut connection);
            self.check_rows(rows, tallies).await
        } else {
            let mut connection = PgConnection::connect(url).await.context("cannot open the store")?;
            let rows = sqlx::query_as::<_, StoreRow>(STORE_ROWS).fetch(&mut connection);
            self.check_rows(rows, tallies).await
        }
    }

    async fn check_rows(
        &self,
        mut rows: impl Stream<Item = Result<StoreRow, sqlx::Error>> + Unpin,
        tallies: &mut Tallies,
    ) -> anyhow::Result<u64> {
        let (mut count, mut ours) = (0, 0);
        while let Some((customer, vehicle, seq, to, at_ms)) = rows.try_next().await.context("cannot read the store")? {
            count += 1;
            let name = (customer, vehicle);
            let Some(&place) = self.index.get(&name) else { continue };
            ours += 1;
            let told = self.history.find(place, seq.cast_unsigned());
            if told.is_none_or(|told| Some(told.to) != shown(&to)) {
                let sentence = || format!("transition {seq} to {to} is in the store and not in REST");
                tallies.blame(Wrong::Disagreement, at_ms.cast_unsigned(), &label(&name), sentence);
            }
        }
        let told: u64 = self.history.of.values().map(|list| list.len() as u64).sum();
        if told != ours {
            let sentence = || format!("{ours} transitions in the store, {told} in REST");
            tallies.blame(Wrong::Disagreement, self.now_ms, "the fleet", sentence);
        }
        Ok(count)
    }

    /// What the WebSocket told is in the history, once, and nothing was left out.
    pub fn check_told(&self, view: &View, tallies: &mut Tallies) {
        for (&vehicle, told) in &view.told {
            for seen in told {
                if self.history.find(vehicle, seen.seq).is_none_or(|stored| stored.to != seen.to) {
                    let sentence = || format!("transition {} was told by WebSocket and is not stored", seen.seq);
                    tallies.blame(Wrong::Lost, seen.at_ms, &self.label(vehicle), sentence);
                }
            }
        }
        for (count, wrong) in [(view.doubles, Wrong::Doubled), (view.missing, Wrong::Lost)] {
            for _ in 0..count {
                tallies.blame(wrong, self.now_ms, "WebSocket", || view.findings.join("; "));
            }
        }
        for vehicle in 0..self.names.len() as u32 {
            let Some(last) = self.history.last(vehicle) else { continue };
            for _ in 0..view.untold(vehicle, last.seq) {
                let sentence = || format!("transition {} or one before was never told by WebSocket", last.seq);
                tallies.blame(Wrong::Lost, last.at_ms, &self.label(vehicle), sentence);
            }
        }
        for stranger in &view.strangers {
            tallies.blame(Wrong::Disagreement, self.now_ms, stranger, || "is shown and not of the fleet".to_owned());
        }
    }

    /// The dashboard's picture is the live list, and both are the fold of the history. True when all agree.
    pub async fn check_pictures(&self, reader: &Reader, view: &View, tallies: &mut Tallies) -> anyhow::Result<bool> {
        let mut live: HashMap<u32, Standing> = HashMap::new();
        let each = |rows: Vec<crate::verify::client::VehicleRow>| {
            for row in rows {
                let since_ms = row.status_since.map_or(0, |since| since.timestamp_millis().max(0).cast_unsigned());
                let standing = Standing { status: shown(&row.status), since_ms, seq: row.seq };
                if let Some(&vehicle) = self.index.get(&(row.customer, row.vehicle)) {
                    live.insert(vehicle, standing);
                }
            }
        };
        reader.vehicles(each).await?;
        let mut agree = view.is_whole();
        if !agree {
            tallies.blame(Wrong::Disagreement, self.now_ms, "WebSocket", || "no whole picture at the end".to_owned());
        }
        for vehicle in 0..self.names.len() as u32 {
            let (listed, drawn) = (live.get(&vehicle).copied(), view.row(vehicle));
            let folded = self.history.last(vehicle).map(|last| (Some(last.to), last.seq));
            let stands = listed.filter(|listed| listed.seq > 0).map(|listed| (listed.status, listed.seq));
            if listed != drawn || stands != folded {
                agree = false;
                tallies.blame(Wrong::Disagreement, self.now_ms, &self.label(vehicle), || {
                    format!("the live list has {listed:?}, the dashboard {drawn:?}, the history ends with {folded:?}")
                });
            }
        }
        Ok(agree)
    }

    /// Nobody but the fleet may have come online.
    pub fn check_strangers(&self, tallies: &mut Tallies) {
        for row in self.history.strangers.iter().filter(|row| row.to == "online") {
            let at_ms = row.at.timestamp_millis().max(0).cast_unsigned();
            let name = format!("{}/{}", row.customer, row.vehicle);
            tallies.blame(Wrong::FalseOnline, at_ms, &name, || "is off, and was said to be online".to_owned());
        }
    }

    fn label(&self, vehicle: u32) -> String {
        label(&self.names[vehicle as usize])
    }
}

fn label((customer, vehicle): &Name) -> String {
    format!("{customer}/{vehicle}")
}
