//! Changes of status, each a row, with its evidence in columns. Fed by the store; also those of vehicles that have
//! left.

use std::sync::Arc;

use async_trait::async_trait;

use super::names::{Names, Progress};
use super::{PAGE_ROWS, Record, Source};
use crate::domain::export::{Cell, Order};
use crate::domain::latest::Position;
use crate::domain::time::Millis;
use crate::domain::transition::Transition;
use crate::store::Store;
use crate::store::history::Name;
use crate::store::scan::{Log, Span};

/// The transitions of an order.
pub struct Transitions {
    store: Arc<dyn Store>,
    names: Names,
    span: Span,
    /// The vehicle that is read, and after which of its transitions it goes on.
    present: Option<(Name, Option<(Millis, u64)>)>,
}

impl Transitions {
    pub fn of(order: &Order, store: &Arc<dyn Store>, progress: Progress) -> Self {
        let (from, to) = order.period();
        let names = Names::of(order, Log::Transitions, store, progress);
        Self { store: Arc::clone(store), names, span: Span { from, to, limit: PAGE_ROWS }, present: None }
    }
}

#[async_trait]
impl Source for Transitions {
    async fn next(&mut self) -> anyhow::Result<Option<Vec<Record>>> {
        let (name, after) = match self.present.take() {
            Some(present) => present,
            None => match self.names.next().await? {
                Some(name) => (name, None),
                None => return Ok(None),
            },
        };
        let page = self.store.transitions_forward(&name, self.span, after).await?;
        let last = page.last().filter(|_| page.len() == PAGE_ROWS as usize);
        self.present = last.map(|last| (name, Some((last.change.at, last.change.seq))));
        Ok(Some(page.into_iter().map(|transition| Record::Transition(Box::new(transition))).collect()))
    }

    fn progress(&self) -> f64 {
        let at = self.present.as_ref().and_then(|(_, after)| after.map(|(at, _)| at));
        let within = at.map_or(1.0, |at| (at - self.span.from) as f64 / (self.span.to - self.span.from).max(1) as f64);
        self.names.progress(within)
    }
}

/// One cell, but for customer and vehicle.
pub fn cell<'a>(transition: &'a Transition, column: &str) -> Cell<'a> {
    let Transition { change, decided_at, evidence, .. } = transition;
    let position = evidence.position.as_ref();
    match column {
        "at" => Cell::Time(change.at),
        "seq" => Cell::Whole(change.seq as i64),
        "from" => Cell::text(change.from.word()),
        "to" => Cell::text(change.to.word()),
        "cause" => Cell::text(change.cause.word()),
        "decided_at" => Cell::Time(*decided_at),
        "last_seen" => Cell::maybe_time(evidence.last_seen_ms),
        "deadline" => Cell::maybe_time(evidence.deadline_ms),
        "offline_after_ms" => Cell::Whole(evidence.offline_after_ms),
        "policy_source" => Cell::text(evidence.policy_source.word()),
        "usual_gap_ms" => Cell::maybe_whole(evidence.usual_gap_ms),
        "session" => evidence.session.map_or(Cell::Absent, |number| Cell::text(format!("{number:x}"))),
        "clock_skew_ms" => Cell::maybe_whole(evidence.clock_skew_ms),
        place => position.map_or(Cell::Absent, |position| cell_of_position(position, place)),
    }
}

/// One cell of where a vehicle was.
pub fn cell_of_position(position: &Position, column: &str) -> Cell<'static> {
    match column {
        "lat" => Cell::maybe_number(Some(position.lat)),
        "lon" => Cell::maybe_number(Some(position.lon)),
        "position_at" => Cell::Time(position.at_ms),
        "speed_kmh" => Cell::maybe_short(position.speed_kmh),
        "heading_deg" => Cell::maybe_short(position.heading_deg),
        _ => Cell::Absent,
    }
}
