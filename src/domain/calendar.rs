//! Where the buckets of a statistic begin and end: minutes and hours of UTC, days and months of a time zone.
//! Made by REST from parameters; read by statistics.rs. A day that a change of clocks makes shorter or longer is one
//! bucket of 23 or 25 hours: borders are local midnights, or the first instant after one that does not exist.

use chrono::{DateTime, Datelike, Days, LocalResult, Months, NaiveDate, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;

use super::time::Millis;

/// Milliseconds of the spans that statistics are kept in, each a multiple of the one before it.
pub const MINUTE: Millis = 60_000;
/// Days of every time zone begin on one: offsets from UTC are whole quarters of an hour.
pub const QUARTER: Millis = 15 * MINUTE;
/// The longest kept.
pub const HOUR: Millis = 60 * MINUTE;
pub const DAY: Millis = 24 * HOUR;

/// How long a bucket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resolution {
    /// A minute.
    Minute,
    /// An hour of UTC.
    Hour,
    /// A day of the time zone.
    Day,
    /// A month of the time zone.
    Month,
}

impl Resolution {
    /// All, shortest first.
    pub const ALL: [Self; 4] = [Self::Minute, Self::Hour, Self::Day, Self::Month];

    /// The word used in parameters and JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
        }
    }

    /// The resolution of that word.
    ///
    /// # Errors
    /// A sentence saying what is allowed.
    pub fn parse(word: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|resolution| resolution.word() == word);
        found.ok_or_else(|| format!("'{word}' is no resolution; use minute, hour, day or month"))
    }

    /// The period when nobody says: a day of minutes, a week of hours, 30 days, 365 days of months.
    pub fn window(self) -> Millis {
        match self {
            Self::Minute => DAY,
            Self::Hour => 7 * DAY,
            Self::Day => 30 * DAY,
            Self::Month => 365 * DAY,
        }
    }
}

/// Buckets of one length in one time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Calendar {
    /// How long each is.
    pub resolution: Resolution,
    /// Whose days and months.
    pub zone: Tz,
}

impl Calendar {
    /// The span that every border is a multiple of, and that buckets are added up from.
    pub fn span(&self) -> Millis {
        match self.resolution {
            Resolution::Minute => MINUTE,
            Resolution::Hour => HOUR,
            Resolution::Day | Resolution::Month if self.zone == Tz::UTC => HOUR,
            Resolution::Day | Resolution::Month => QUARTER,
        }
    }

    /// The borders of the buckets that `[from, to)` lies in, in order; the last one is the end of the last bucket. At
    /// least one bucket, and nothing when there would be more than `buckets_max`.
    pub fn borders(&self, from: Millis, to: Millis, buckets_max: usize) -> Option<Vec<Millis>> {
        let mut borders = vec![self.floor(from)];
        loop {
            let last = borders[borders.len() - 1];
            if last >= to && borders.len() > 1 {
                return Some(borders);
            }
            if borders.len() > buckets_max {
                return None;
            }
            borders.push(self.next(last));
        }
    }

    /// The beginning of the bucket that an instant lies in.
    pub fn floor(&self, at: Millis) -> Millis {
        match self.resolution {
            Resolution::Minute => at - at.rem_euclid(MINUTE),
            Resolution::Hour => at - at.rem_euclid(HOUR),
            Resolution::Day => self.midnight(self.date(at)),
            Resolution::Month => self.midnight(first_of_month(self.date(at))),
        }
    }

    fn next(&self, border: Millis) -> Millis {
        match self.resolution {
            Resolution::Minute => border + MINUTE,
            Resolution::Hour => border + HOUR,
            Resolution::Day => self.midnight(self.date(border) + Days::new(1)),
            Resolution::Month => self.midnight(first_of_month(self.date(border)) + Months::new(1)),
        }
    }

    fn date(&self, at: Millis) -> NaiveDate {
        let utc = DateTime::<Utc>::from_timestamp_millis(at).unwrap_or_default();
        utc.with_timezone(&self.zone).date_naive()
    }

    /// The first instant of a day.
    fn midnight(&self, date: NaiveDate) -> Millis {
        let mut local = date.and_time(chrono::NaiveTime::MIN);
        loop {
            match self.zone.from_local_datetime(&local) {
                LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => return at.timestamp_millis(),
                // The clocks skip it. The longest skip known is a day (Samoa, 2011), so this ends.
                LocalResult::None => local += TimeDelta::minutes(15),
            }
        }
    }
}

fn first_of_month(date: NaiveDate) -> NaiveDate {
    date.with_day(1).unwrap_or(date)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::time::{parse, rfc3339};

    fn at(text: &str) -> Millis {
        parse(text).unwrap()
    }

    fn calendar(resolution: Resolution, zone: &str) -> Calendar {
        Calendar { resolution, zone: zone.parse().unwrap() }
    }

    fn borders(calendar: Calendar, from: &str, to: &str) -> Vec<String> {
        let borders = calendar.borders(at(from), at(to), 100).unwrap();
        borders.into_iter().map(rfc3339).map(|text| text.replace(":00.000Z", "Z")).collect()
    }

    #[test]
    fn days_are_23_and_25_hours_long_when_the_clocks_change() {
        let days = calendar(Resolution::Day, "Europe/Berlin");
        let spring = borders(days, "2026-03-28T12:00:00Z", "2026-03-30T12:00:00Z");
        assert_eq!(spring, ["2026-03-27T23:00Z", "2026-03-28T23:00Z", "2026-03-29T22:00Z", "2026-03-30T22:00Z"]);
        let autumn = borders(days, "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z");
        assert_eq!(autumn, ["2026-10-24T22:00Z", "2026-10-25T23:00Z"]);
    }

    #[test]
    fn a_midnight_that_does_not_exist_is_the_next_instant_that_does() {
        let beirut = calendar(Resolution::Day, "Asia/Beirut");
        let skipped = borders(beirut, "2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z");
        assert_eq!(skipped, ["2026-03-27T22:00Z", "2026-03-28T22:00Z", "2026-03-29T21:00Z"]);
        let samoa = calendar(Resolution::Day, "Pacific/Apia");
        let no_30th = borders(samoa, "2011-12-30T09:00:00Z", "2011-12-30T11:00:00Z");
        assert_eq!(no_30th, ["2011-12-29T10:00Z", "2011-12-30T10:00Z", "2011-12-31T10:00Z"]);
    }

    #[test]
    fn months_are_those_of_the_zone() {
        let months = calendar(Resolution::Month, "Asia/Kolkata");
        let winter = borders(months, "2026-01-15T00:00:00Z", "2026-02-28T19:00:00Z");
        assert_eq!(winter, ["2025-12-31T18:30Z", "2026-01-31T18:30Z", "2026-02-28T18:30Z", "2026-03-31T18:30Z"]);
    }

    #[test]
    fn too_many_buckets_are_none() {
        let minutes = calendar(Resolution::Minute, "UTC");
        assert_eq!(minutes.borders(0, 10 * MINUTE, 10).unwrap().len(), 11);
        assert_eq!(minutes.borders(0, 10 * MINUTE + 1, 10), None);
        assert_eq!(minutes.borders(5, 5, 10), Some(vec![0, MINUTE]), "an empty period lies in one");
    }

    proptest! {
        /// In every zone: borders ascend, lie on the span, and each instant lies in the bucket it is floored to.
        #[test]
        fn borders_ascend_on_their_span(
            zone in 0..chrono_tz::TZ_VARIANTS.len(), resolution in 0..4_usize,
            from in 946_684_800_000_i64..4_102_444_800_000,
        ) {
            let calendar = Calendar { resolution: Resolution::ALL[resolution], zone: chrono_tz::TZ_VARIANTS[zone] };
            let borders = calendar.borders(from, from + 40 * DAY, 100_000).unwrap();
            prop_assert!(borders[0] <= from && from < borders[1]);
            for pair in borders.windows(2) {
                prop_assert!(pair[0] < pair[1] && pair[0] % calendar.span() == 0, "{:?} {:?}", calendar, pair);
                prop_assert_eq!(calendar.floor(pair[0]), pair[0]);
                prop_assert_eq!(calendar.floor(pair[1] - 1), pair[0]);
            }
        }
    }
}
