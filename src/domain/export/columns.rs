//! The columns of each kind of export, and the cells in them. A cell that is not there is empty in every format, and
//! never 0. Used by order (which columns there are) and by the exports station (what is in them).

use std::borrow::Cow;

use super::Kind;
use crate::domain::time::Millis;

/// Columns of readings that vehicles send under names of their own: this, and the name.
const METRIC: &str = "metrics.";
/// Longest name of a reading that may be asked for, bytes.
const METRIC_BYTES_MAX: usize = 64;
/// Most columns of an order.
const COLUMNS_MAX: usize = 64;

/// What the cells of a column are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// Text.
    Text,
    /// An instant.
    Time,
    /// A whole number.
    Whole,
    /// A number.
    Number,
    /// Yes or no.
    Truth,
}

/// One column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name in the order and in the file.
    pub name: String,
    /// What its cells are.
    pub of: Type,
}

/// One cell.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell<'a> {
    /// Nothing was said.
    Absent,
    /// Text.
    Text(Cow<'a, str>),
    /// An instant.
    Time(Millis),
    /// A whole number.
    Whole(i64),
    /// A number; finite.
    Number(f64),
    /// Yes or no.
    Truth(bool),
}

const TRANSITIONS: &[(&str, Type)] = &[
    ("customer", Type::Text),
    ("vehicle", Type::Text),
    ("at", Type::Time),
    ("seq", Type::Whole),
    ("from", Type::Text),
    ("to", Type::Text),
    ("cause", Type::Text),
    ("decided_at", Type::Time),
    ("last_seen", Type::Time),
    ("deadline", Type::Time),
    ("offline_after_ms", Type::Whole),
    ("policy_source", Type::Text),
    ("lat", Type::Number),
    ("lon", Type::Number),
    ("position_at", Type::Time),
    ("speed_kmh", Type::Number),
    ("heading_deg", Type::Number),
    ("usual_gap_ms", Type::Whole),
    ("session", Type::Text),
    ("clock_skew_ms", Type::Whole),
];

const AVAILABILITY: &[(&str, Type)] = &[
    ("customer", Type::Text),
    ("vehicle", Type::Text),
    ("from", Type::Time),
    ("to", Type::Time),
    ("online_ms", Type::Whole),
    ("offline_ms", Type::Whole),
    ("unobserved_ms", Type::Whole),
    ("never_seen_ms", Type::Whole),
    ("availability", Type::Number),
    ("outages", Type::Whole),
    ("longest_outage_ms", Type::Whole),
];

const HEARTBEATS: &[(&str, Type)] = &[
    ("customer", Type::Text),
    ("vehicle", Type::Text),
    ("at", Type::Time),
    ("arrived", Type::Time),
    ("backlog", Type::Truth),
    ("seq", Type::Whole),
    ("lat", Type::Number),
    ("lon", Type::Number),
    ("speed_kmh", Type::Number),
    ("heading_deg", Type::Number),
    ("battery_pct", Type::Number),
    ("odometer_km", Type::Number),
    ("ignition", Type::Truth),
];

const VEHICLES: &[(&str, Type)] = &[
    ("customer", Type::Text),
    ("vehicle", Type::Text),
    ("name", Type::Text),
    ("registration", Type::Text),
    ("vin", Type::Text),
    ("tags", Type::Text),
    ("status", Type::Text),
    ("status_since", Type::Time),
    ("seq", Type::Whole),
    ("last_seen", Type::Time),
    ("lat", Type::Number),
    ("lon", Type::Number),
    ("position_at", Type::Time),
    ("speed_kmh", Type::Number),
    ("heading_deg", Type::Number),
    ("battery_pct", Type::Number),
    ("odometer_km", Type::Number),
    ("ignition", Type::Truth),
    ("clock_skew_ms", Type::Whole),
    ("offline_after_ms", Type::Whole),
    ("policy_source", Type::Text),
];

/// The named columns of a kind, and whether it has readings too.
fn table(kind: Kind) -> (&'static [(&'static str, Type)], bool) {
    match kind {
        Kind::Transitions => (TRANSITIONS, false),
        Kind::Availability => (AVAILABILITY, false),
        Kind::Heartbeats => (HEARTBEATS, true),
        Kind::Vehicles => (VEHICLES, true),
    }
}

impl Column {
    /// The columns of a kind that are written when an order names none.
    pub fn usual(kind: Kind) -> Vec<Self> {
        table(kind).0.iter().map(|(name, of)| Self { name: (*name).to_owned(), of: *of }).collect()
    }

    /// The columns of these names.
    ///
    /// # Errors
    /// A sentence saying which name is none, and which there are.
    pub fn choose(kind: Kind, names: &[String]) -> Result<Vec<Self>, String> {
        if names.len() > COLUMNS_MAX {
            return Err(format!("are {}, at most {COLUMNS_MAX}", names.len()));
        }
        let mut chosen: Vec<Self> = Vec::with_capacity(names.len());
        for name in names {
            let column = Self::of(kind, name)?;
            if chosen.contains(&column) {
                return Err(format!("name '{name}' twice"));
            }
            chosen.push(column);
        }
        Ok(chosen)
    }

    fn of(kind: Kind, name: &str) -> Result<Self, String> {
        let (columns, has_readings) = table(kind);
        let column = |of| Self { name: name.to_owned(), of };
        if let Some((_, of)) = columns.iter().find(|(known, _)| *known == name) {
            return Ok(column(*of));
        }
        let reading = name.strip_prefix(METRIC).filter(|_| has_readings);
        if reading.is_some_and(|name| (1..=METRIC_BYTES_MAX).contains(&name.len())) {
            return Ok(column(Type::Number));
        }
        let known: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
        let readings = if has_readings { ", and metrics.NAME" } else { "" };
        Err(format!("'{name}' is unknown for {}; known are {}{readings}", kind.word(), known.join(", ")))
    }

    /// The name of the reading, when it is a column of one.
    pub fn metric(&self) -> Option<&str> {
        self.name.strip_prefix(METRIC)
    }
}

impl<'a> Cell<'a> {
    /// A text.
    pub fn text(text: impl Into<Cow<'a, str>>) -> Self {
        Self::Text(text.into())
    }

    /// A text that may be missing.
    pub fn maybe_text(text: Option<&'a str>) -> Self {
        text.map_or(Self::Absent, Self::text)
    }

    /// An instant that may be missing.
    pub fn maybe_time(at: Option<Millis>) -> Self {
        at.map_or(Self::Absent, Self::Time)
    }

    /// A whole number that may be missing.
    pub fn maybe_whole(number: Option<i64>) -> Self {
        number.map_or(Self::Absent, Self::Whole)
    }

    /// A number that may be missing.
    pub fn maybe_number(number: Option<f64>) -> Self {
        number.filter(|number| number.is_finite()).map_or(Self::Absent, Self::Number)
    }

    /// A number of seven digits as somebody wrote it: 48.3, and not 48.29999923706055.
    pub fn maybe_short(number: Option<f32>) -> Self {
        Self::maybe_number(number.and_then(|number| number.to_string().parse().ok()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_usual_column_may_be_asked_for_by_name() {
        for kind in Kind::ALL {
            let usual = Column::usual(*kind);
            let names: Vec<String> = usual.iter().map(|column| column.name.clone()).collect();
            assert_eq!(Column::choose(*kind, &names), Ok(usual));
        }
    }

    #[test]
    fn readings_have_columns_where_vehicles_send_them() {
        let chosen = Column::choose(Kind::Vehicles, &["metrics.rpm".into()]).expect("is one");
        assert_eq!((chosen[0].metric(), chosen[0].of), (Some("rpm"), Type::Number));
        for (kind, name) in [(Kind::Transitions, "metrics.rpm"), (Kind::Vehicles, "metrics."), (Kind::Vehicles, "rpm")]
        {
            assert!(Column::choose(kind, &[name.to_owned()]).expect_err(name).contains("known are customer, vehicle"));
        }
    }

    #[test]
    fn a_short_number_is_as_it_was_written_and_zero_is_not_nothing() {
        assert_eq!(Cell::maybe_short(Some(48.3)), Cell::Number(48.3));
        assert_eq!(Cell::maybe_short(Some(0.0)), Cell::Number(0.0));
        assert_eq!((Cell::maybe_short(None), Cell::maybe_number(Some(f64::NAN))), (Cell::Absent, Cell::Absent));
    }
}
