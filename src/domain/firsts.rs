//! The first rows of a list in the order of the dashboard, chosen without sorting the whole fleet. Asked by the page,
//! which shows them before the fleet itself has come; reads the board.

use std::cmp::Ordering;

use super::board::{Board, Counts, Row};
use super::query::{Query, Statuses};
use super::time::Millis;

/// What the dashboard sorts by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Column {
    /// The identifier; then the customer.
    #[default]
    Vehicle,
    /// Last heartbeat; vehicles without one come last either way.
    LastSeen,
    /// Begin of the status; vehicles without one come last either way.
    StatusSince,
}

/// The order of the dashboard's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Order {
    /// By what.
    pub column: Column,
    /// The other way round.
    pub descending: bool,
}

impl Order {
    /// Reads `vehicle`, `last_seen` or `status_since`, with `-` before for descending.
    pub fn parse(text: &str) -> Option<Self> {
        let (descending, name) = text.strip_prefix('-').map_or((false, text), |name| (true, name));
        let column = match name {
            "vehicle" => Column::Vehicle,
            "last_seen" => Column::LastSeen,
            "status_since" => Column::StatusSince,
            _ => return None,
        };
        Some(Self { column, descending })
    }

    fn compare(self, a: &Row, b: &Row) -> Ordering {
        let by_name = || (&a.key.vehicle, &a.key.customer).cmp(&(&b.key.vehicle, &b.key.customer));
        match self.column {
            Column::Vehicle if self.descending => by_name().reverse(),
            Column::Vehicle => by_name(),
            Column::LastSeen => self.compare_times(a.state.last_seen, b.state.last_seen).then_with(by_name),
            Column::StatusSince => self.compare_times(a.state.since, b.state.since).then_with(by_name),
        }
    }

    fn compare_times(self, a: Option<Millis>, b: Option<Millis>) -> Ordering {
        match (a, b) {
            (Some(a), Some(b)) if self.descending => b.cmp(&a),
            (Some(a), Some(b)) => a.cmp(&b),
            (a, b) => b.is_some().cmp(&a.is_some()),
        }
    }
}

/// The first rows of a query, at most `limit`, and how many of its vehicles there are in each status whichever statuses
/// it asks for.
pub fn first_rows<'a>(board: &'a Board, query: &Query, order: Order, limit: usize) -> (Vec<&'a Row>, Counts) {
    let mut any_status = query.clone();
    any_status.filter.statuses = Statuses::default();
    let matches = board.matches(&any_status);
    let counts = matches.as_ref().map_or_else(|| board.counts(&any_status.filter), |slots| board.count(slots));
    let mut rows: Vec<&Row> = match matches {
        Some(slots) => slots.iter().filter_map(|slot| board.row(*slot)).collect(),
        None => board.rows(&query.filter).collect(),
    };
    rows.retain(|row| query.filter.statuses.allows(row.state.status));
    let compare = |a: &&Row, b: &&Row| order.compare(a, b);
    if rows.len() > limit {
        rows.select_nth_unstable_by(limit, compare);
        rows.truncate(limit);
    }
    rows.sort_unstable_by(compare);
    (rows, counts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::board::Update;
    use crate::domain::ids::VehicleKey;
    use crate::domain::latest::Latest;
    use crate::domain::policy::Policy;
    use crate::domain::query::Filter;
    use crate::domain::sleep::Announced;
    use crate::domain::transition::Status;

    fn board() -> Board {
        let mut board = Board::default();
        let rows = [("b", "2", 20), ("a", "1", 30), ("a", "3", 0), ("a", "2", 10)];
        for (slot, (customer, vehicle, seen)) in (0..).zip(rows) {
            let status = Status::ALL[slot as usize % 4];
            let last_seen = (seen > 0).then_some(seen);
            let (latest, policy) = (Latest::default(), Policy::default());
            let state =
                Update { slot, status, since: Some(5), seq: 1, last_seen, announced: Announced::NONE, latest, policy };
            board.join(VehicleKey::parse(customer, vehicle).expect("key").into(), None, state);
        }
        board
    }

    fn shown(query: &Query, order: &str, limit: usize) -> (String, u32) {
        let board = board();
        let (rows, counts) = first_rows(&board, query, Order::parse(order).expect("an order"), limit);
        let names: Vec<String> = rows.iter().map(|row| row.key.to_string()).collect();
        (names.join(" "), counts.total())
    }

    #[test]
    fn rows_come_in_the_order_of_the_dashboard_and_vehicles_without_a_time_last() {
        let all = Query::default();
        for (order, wanted) in [
            ("vehicle", "a/1 a/2 b/2 a/3"),
            ("-vehicle", "a/3 b/2 a/2 a/1"),
            ("last_seen", "a/2 b/2 a/1 a/3"),
            ("-last_seen", "a/1 b/2 a/2 a/3"),
            ("status_since", "a/1 a/2 b/2 a/3"),
        ] {
            assert_eq!(shown(&all, order, 9), (wanted.to_owned(), 4), "{order}");
            assert_eq!(shown(&all, order, 2), (wanted[..7].to_owned(), 4), "{order}");
        }
        assert_eq!(Order::parse("colour"), None);
    }

    #[test]
    fn filters_choose_and_the_counts_leave_the_status_out() {
        let query = |customer: &str, status: &str, text: Option<&str>| Query {
            filter: Filter::parse(customer, status).expect("filter"),
            text: text.map(str::to_owned),
            tag: None,
        };
        assert_eq!(shown(&query("a", "online,unobserved", None), "vehicle", 9), ("a/1 a/2".into(), 3));
        assert_eq!(shown(&query("", "never_seen", Some("2")), "vehicle", 9), ("b/2".into(), 2));
        assert_eq!(shown(&query("c", "", None), "vehicle", 9), (String::new(), 0));
    }
}
