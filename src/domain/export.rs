//! An export of the past as a file: what may be asked for, what states it goes through, and when it is tried again.
//! Made by REST from an order; kept by the store; worked on by the exports station. Its columns are in columns.rs.

mod columns;

use std::fmt;

use serde::{Deserialize, Serialize};

use super::access::{bytes_of, identifiers};
use super::time::{Millis, rfc3339};

pub use columns::{Cell, Column, Type};

/// Most vehicles that an order names; for more it names none, and means all of the customer.
pub const VEHICLES_MAX: usize = 1_000;
/// Most vehicles of a `csv.zip`: each is an entry of the archive's directory, which is written last and kept until then
/// (some 500 bytes each).
pub const ZIP_VEHICLES_MAX: u64 = 20_000;
/// The pause before the next try grows by this factor each time.
const PAUSE_FACTOR: Millis = 4;
/// It never grows beyond an hour.
const PAUSE_MAX: Millis = 3_600_000;

identifiers! {
    /// One export: 64 random bits, written as 16 hexadecimal digits.
    ExportId
}

/// An enum of words, with the word of each and back.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$each:meta])* $variant:ident = $word:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$each])* #[serde(rename = $word)] $variant),* }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The word used in JSON and SQL.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }

            /// The one of that word.
            ///
            /// # Errors
            /// A sentence saying which words there are.
            pub fn parse(word: &str) -> Result<Self, String> {
                let found = Self::ALL.iter().copied().find(|known| known.word() == word);
                let known: Vec<&str> = Self::ALL.iter().map(|known| known.word()).collect();
                found.ok_or_else(|| format!("'{word}' is none of {}", known.join(", ")))
            }
        }
    };
}

words! {
    /// What the rows are.
    Kind {
        /// Changes of status, a row each.
        Transitions = "transitions",
        /// How long each vehicle was there, a row a vehicle.
        Availability = "availability",
        /// What vehicles said, as far as it was kept.
        Heartbeats = "heartbeats",
        /// The vehicles as they are now, a row each.
        Vehicles = "vehicles",
    }
}

words! {
    /// How the file is written.
    Format {
        /// Comma-separated, with a head line.
        Csv = "csv",
        /// An archive with such a file for each vehicle.
        CsvZip = "csv.zip",
        /// Apache Parquet.
        Parquet = "parquet",
        /// A JSON object a line.
        Ndjson = "ndjson",
    }
}

impl Format {
    /// The media type of the file.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8",
            Self::CsvZip => "application/zip",
            Self::Parquet => "application/vnd.apache.parquet",
            Self::Ndjson => "application/x-ndjson",
        }
    }

    /// How the file's name ends.
    pub fn extension(self) -> &'static str {
        match self {
            Self::CsvZip => "zip",
            other => other.word(),
        }
    }
}

words! {
    /// Where an export is on its way.
    State {
        /// It waits for its turn, the first time or after a try that failed.
        NotStarted = "NOT_STARTED",
        /// Somebody works on it.
        Started = "STARTED",
        /// The file is there.
        Finished = "FINISHED",
        /// It was tried as often as it may be, or can never succeed.
        Failed = "FAILED",
        /// Somebody did not want it any more.
        Cancelled = "CANCELLED",
        /// The file was there, and is gone.
        Expired = "EXPIRED",
    }
}

impl State {
    /// Whether nothing will happen to it any more, but that its file goes.
    pub fn is_over(self) -> bool {
        !matches!(self, Self::NotStarted | Self::Started)
    }
}

/// What is exported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// What the rows are.
    pub kind: Kind,
    /// Whose vehicles; none: those of all customers.
    pub customer: Option<String>,
    /// Only these; empty: all.
    pub vehicles: Vec<String>,
    /// From this instant on. Nothing for vehicles, which are as they are.
    pub from: Option<Millis>,
    /// Until before this one.
    pub to: Option<Millis>,
    /// The columns, in this order.
    pub columns: Vec<String>,
    /// How the file is written.
    pub format: Format,
}

/// What the operator allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest period.
    pub window_max: Millis,
}

/// The field of an order, and a sentence saying what is wrong with it.
pub type Fault = (&'static str, String);

impl Order {
    /// Puts an order in order: the columns of its kind where it names none, nothing of the future, no name twice.
    ///
    /// # Errors
    /// What cannot be, and what is allowed instead.
    pub fn check(mut self, now: Millis, limits: Limits) -> Result<Self, Fault> {
        if self.columns.is_empty() {
            self.columns = Column::usual(self.kind).into_iter().map(|column| column.name).collect();
        }
        Column::choose(self.kind, &self.columns).map_err(|problem| ("columns", problem))?;
        self.vehicles.sort();
        self.vehicles.dedup();
        if !self.vehicles.is_empty() && self.customer.is_none() {
            return Err(("vehicles", "are found by their customer only; name it in customer".into()));
        }
        if self.vehicles.len() > VEHICLES_MAX {
            let problem = format!("are {}, at most {VEHICLES_MAX}; leave them out for all", self.vehicles.len());
            return Err(("vehicles", problem));
        }
        self.check_period(now, limits)?;
        Ok(self)
    }

    fn check_period(&mut self, now: Millis, limits: Limits) -> Result<(), Fault> {
        if self.kind == Kind::Vehicles {
            return Ok(());
        }
        let wanted = |name| (name, format!("is needed for {}: RFC 3339 or epoch milliseconds", self.kind.word()));
        let from = self.from.ok_or_else(|| wanted("from"))?;
        // Nothing is known of the future.
        let to = self.to.ok_or_else(|| wanted("to"))?.min(now);
        if from >= to {
            let problem = format!("must be before to, and in the past; to is {} at most now", rfc3339(to));
            return Err(("from", problem));
        }
        if to - from > limits.window_max {
            let day = 86_400_000.0;
            let (asked, most) = ((to - from) as f64 / day, limits.window_max as f64 / day);
            let earliest = rfc3339(to - limits.window_max);
            let problem = format!("is {asked:.1} days before to, at most {most:.1} (exports.window_max): {earliest}");
            return Err(("from", problem));
        }
        self.to = Some(to);
        Ok(())
    }

    /// Its period, half-open; everything where it has none.
    pub fn period(&self) -> (Millis, Millis) {
        (self.from.unwrap_or(Millis::MIN), self.to.unwrap_or(Millis::MAX))
    }

    /// Whether its file may hold something of this customer, or of this vehicle of that one.
    pub fn may_hold(&self, customer: &str, vehicle: Option<&str>) -> bool {
        let named = |vehicle: &str| self.vehicles.iter().any(|named| named == vehicle);
        self.customer.as_deref().is_none_or(|own| own == customer)
            && (self.vehicles.is_empty() || vehicle.is_none_or(named))
    }

    /// The name under which a browser keeps the file.
    pub fn file_name(&self, id: ExportId) -> String {
        let whose = self.customer.as_deref().unwrap_or("all");
        format!("{}-{whose}-{id}.{}", self.kind.word(), self.format.extension())
    }
}

/// The pause after this try, the first being 1, when the first pause is so long: it grows, up to an hour.
pub fn pause_after(attempt: u32, first: Millis) -> Millis {
    let factor = PAUSE_FACTOR.saturating_pow(attempt.saturating_sub(1));
    first.saturating_mul(factor).min(PAUSE_MAX.max(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Millis = 86_400_000;
    const LIMITS: Limits = Limits { window_max: 31 * DAY };

    fn order(kind: Kind, from: Option<Millis>, to: Option<Millis>) -> Order {
        let (customer, vehicles, columns) = (Some("acme".into()), Vec::new(), Vec::new());
        Order { kind, customer, vehicles, from, to, columns, format: Format::Csv }
    }

    #[test]
    fn an_order_without_columns_means_the_usual_ones() {
        let checked = order(Kind::Transitions, Some(0), Some(DAY)).check(2 * DAY, LIMITS).expect("is right");
        assert_eq!(checked.columns[..4], ["customer", "vehicle", "at", "seq"]);
        assert_eq!(checked.period(), (0, DAY));
        let now = order(Kind::Vehicles, None, None).check(DAY, LIMITS).expect("needs no period");
        assert_eq!(now.period(), (Millis::MIN, Millis::MAX));
    }

    #[test]
    fn what_cannot_be_is_told_with_what_can() {
        let transitions = |from, to| order(Kind::Transitions, from, to);
        for (order, field, says) in [
            (transitions(None, Some(DAY)), "from", "is needed"),
            (transitions(Some(0), None), "to", "is needed"),
            (transitions(Some(DAY), Some(DAY)), "from", "before to"),
            (transitions(Some(101 * DAY), Some(102 * DAY)), "from", "in the past"),
            (transitions(Some(0), Some(32 * DAY)), "from", "at most 31.0 (exports.window_max): 1970-01-02T00:00"),
            (
                Order { columns: vec!["colour".into()], ..transitions(Some(0), Some(1)) },
                "columns",
                "known are customer",
            ),
            (Order { columns: vec!["at".into(); 2], ..transitions(Some(0), Some(1)) }, "columns", "twice"),
            (Order { customer: None, vehicles: vec!["1".into()], ..transitions(Some(0), Some(1)) }, "vehicles", "name"),
            (
                Order { vehicles: (0..1_001).map(|n| n.to_string()).collect(), ..transitions(Some(0), Some(1)) },
                "vehicles",
                "at most 1000",
            ),
        ] {
            let (named, problem) = order.clone().check(100 * DAY, LIMITS).expect_err("is wrong");
            assert_eq!(named, field, "{order:?}");
            assert!(problem.contains(says), "{problem}");
        }
        let clamped = transitions(Some(90 * DAY), Some(999 * DAY)).check(100 * DAY, LIMITS).expect("is right");
        assert_eq!(clamped.to, Some(100 * DAY), "nothing is known of the future");
    }

    #[test]
    fn whom_a_file_may_hold_is_told_from_its_order() {
        let acme = order(Kind::Transitions, None, None);
        let all = Order { customer: None, ..acme.clone() };
        let two = Order { vehicles: vec!["1".into(), "2".into()], ..acme.clone() };
        assert!(acme.may_hold("acme", None) && acme.may_hold("acme", Some("9")) && !acme.may_hold("birch", None));
        assert!(all.may_hold("birch", Some("9")) && all.may_hold("acme", None));
        assert!(two.may_hold("acme", None) && two.may_hold("acme", Some("2")) && !two.may_hold("acme", Some("9")));
    }

    #[test]
    fn words_lead_back_and_an_unknown_one_is_told_which_there_are() {
        for format in Format::ALL {
            assert_eq!(Format::parse(format.word()), Ok(*format));
        }
        assert_eq!(State::parse("STARTED"), Ok(State::Started));
        assert_eq!(Format::parse("xlsx"), Err("'xlsx' is none of csv, csv.zip, parquet, ndjson".into()));
    }

    #[test]
    fn pauses_grow_to_an_hour() {
        let pauses: Vec<Millis> = (1..8).map(|attempt| pause_after(attempt, 10_000)).collect();
        assert_eq!(pauses, [10_000, 40_000, 160_000, 640_000, 2_560_000, 3_600_000, 3_600_000]);
        assert_eq!(pause_after(u32::MAX, 1), 3_600_000);
        assert_eq!(pause_after(3, 7_200_000), 7_200_000);
    }
}
