//! `GET /stats`: how many vehicles were there, and how many heartbeats came, bucket by bucket.
//! Fed by the store's rollups and blind intervals; the buckets are made in domain/statistics.rs. Answers are as old as
//! the last count, at most the interval of the rollup task, and say of each bucket whether it is complete.

use actix_web::{HttpRequest, HttpResponse, web};
use chrono_tz::Tz;
use serde::Serialize;

use super::Service;
use super::archived::still_kept;
use super::availability::blind_intervals;
use super::error::Problem;
use super::params::Params;
use super::vehicles::read_known_customer;
use crate::domain::availability::Blind;
use crate::domain::calendar::{Calendar, Resolution};
use crate::domain::statistics::{Bucket, Period};
use crate::domain::time::{self, Millis};
use crate::store::retention::Kind;
use crate::store::stats::RollupQuery;

/// Buckets of an answer: a week of minutes, a year of hours; some 3 MB.
const BUCKETS_MAX: usize = 10_000;

/// What is counted: whose, and in which buckets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Subject {
    /// One customer's vehicles; none: the whole fleet.
    pub customer: Option<String>,
    /// The buckets.
    pub calendar: Calendar,
}

/// An answer.
#[derive(Debug, Clone, Serialize)]
pub struct Statistics {
    resolution: &'static str,
    tz: &'static str,
    customer: Option<String>,
    /// Where the first bucket begins.
    #[serde(serialize_with = "time::as_text::serialize")]
    pub from: Millis,
    #[serde(serialize_with = "time::as_text::serialize")]
    to: Millis,
    /// Oldest first, without holes.
    pub items: Vec<Bucket>,
}

/// One period.
pub async fn list(request: HttpRequest, service: web::Data<Service>) -> Result<HttpResponse, Problem> {
    let params = Params::read(&request, &["resolution", "tz", "customer", "from", "to"])?;
    let subject = Subject::read(&service, &params)?;
    let (from, to) = params.range()?;
    let today = service.clock.today();
    // Nothing is known of the future.
    let to = to.unwrap_or(today).min(today);
    let from = from.unwrap_or((to - subject.calendar.resolution.window()).max(0));
    if from > to {
        return Err(Problem::field("from", "is in the future, or after to"));
    }
    Ok(HttpResponse::Ok().json(subject.statistics(&service, from, to).await?))
}

impl Statistics {
    /// The same period with some of its buckets.
    pub fn only(&self, which: impl Fn(&Bucket) -> bool) -> Self {
        let items = self.items.iter().filter(|bucket| which(bucket)).cloned().collect();
        Self { customer: self.customer.clone(), items, ..*self }
    }
}

impl Subject {
    /// Reads the parameters that name it.
    ///
    /// # Errors
    /// 422 naming the parameter.
    pub fn read(service: &Service, params: &Params) -> Result<Self, Problem> {
        let resolution = params.parsed("resolution", Resolution::parse)?.unwrap_or(Resolution::Minute);
        let zone = params.parsed("tz", |name| {
            let unknown =
                |_| format!("'{name}' is no time zone; use a name such as UTC, Europe/Berlin or Asia/Kolkata");
            name.parse::<Tz>().map_err(unknown)
        })?;
        if zone.is_some_and(|zone| zone != Tz::UTC) && matches!(resolution, Resolution::Minute | Resolution::Hour) {
            return Err(Problem::field("tz", "is for resolution day and month; minutes and hours are those of UTC"));
        }
        let customer = read_known_customer(service, params)?;
        Ok(Self { customer, calendar: Calendar { resolution, zone: zone.unwrap_or(Tz::UTC) } })
    }

    /// Makes the buckets that `[from, to)` lies in.
    ///
    /// # Errors
    /// 422 when they are too many; 503 when the store does not answer.
    pub async fn statistics(&self, service: &Service, from: Millis, to: Millis) -> Result<Statistics, Problem> {
        let Self { customer, calendar } = self;
        let Some(borders) = calendar.borders(from, to, BUCKETS_MAX) else { return Err(too_many(calendar, to)) };
        let (from, to) = (borders[0], borders[borders.len() - 1]);
        if calendar.resolution == Resolution::Minute {
            still_kept(service, Kind::Minutes, "from", from)?;
        }
        // Before the store is read: what was counted then is in what it answers.
        let counted_until = service.counted.until();
        let query = RollupQuery { customer: customer.clone(), span: calendar.span(), from, to };
        let found = service.store.rollups(&query).await.map_err(|error| Problem::store(&error))?;
        let today = service.clock.today();
        let mut deaf = blind_intervals(service, from, to).await?;
        deaf.push((0, found.began.unwrap_or(today)));
        let period = Period {
            borders: &borders,
            span: query.span,
            levels: found.levels,
            rollups: &found.rollups,
            blind: &Blind::union(deaf),
            today,
            counted_until,
        };
        let (resolution, tz) = (calendar.resolution.word(), calendar.zone.name());
        Ok(Statistics { resolution, tz, customer: query.customer, from, to, items: period.buckets() })
    }
}

fn too_many(calendar: &Calendar, to: Millis) -> Problem {
    let word = calendar.resolution.word();
    let longest = match calendar.resolution {
        Resolution::Minute => BUCKETS_MAX as Millis * 60_000,
        Resolution::Hour => BUCKETS_MAX as Millis * 3_600_000,
        Resolution::Day | Resolution::Month => BUCKETS_MAX as Millis * 86_400_000,
    };
    let since = time::rfc3339(to - longest);
    Problem::field(
        "from",
        format!("gives more than {BUCKETS_MAX} buckets of a {word}; with this end it must not be before {since}"),
    )
}
