//! What is said of history that was dropped: from when on there is some, and the files in which the rest lies.
//! Fed by the keeper's horizons and index of files; used by every handler that answers from the past.

use serde::Serialize;

use super::Service;
use super::error::Problem;
use crate::domain::time::{self, Millis};
use crate::store::archive::Archived;
use crate::store::retention::Kind;

/// Files named in an answer.
const FILES_MAX: usize = 20;

/// A file of the archive. How many rows it has is not said: they are of all customers.
#[derive(Serialize)]
pub struct ArchivedView {
    #[serde(serialize_with = "time::as_text::serialize")]
    from: Millis,
    #[serde(serialize_with = "time::as_text::serialize")]
    to: Millis,
    file: String,
}

/// The files that hold what was dropped of a period, newest time first, 20 at most.
pub fn archived(service: &Service, kind: Kind, from: Option<Millis>, to: Option<Millis>) -> Vec<ArchivedView> {
    let Some(horizon) = service.horizons.of(kind) else { return Vec::new() };
    let (from, to) = (from.unwrap_or(Millis::MIN), to.unwrap_or(Millis::MAX).min(horizon));
    let (files, _) = service.archives.within(kind, from, to, FILES_MAX);
    files.into_iter().map(Into::into).collect()
}

impl From<Archived> for ArchivedView {
    fn from(Archived { file, part, .. }: Archived) -> Self {
        Self { from: part.from, to: part.to, file }
    }
}

/// The files that may still hold a history that was deleted: nothing is ever taken out of one. 20 at most of each kind.
pub fn still_held(service: &Service) -> Vec<ArchivedView> {
    let of_kind = |kind| service.archives.within(kind, Millis::MIN, Millis::MAX, FILES_MAX).0;
    [Kind::Transitions, Kind::Heartbeats].into_iter().flat_map(of_kind).map(Into::into).collect()
}

/// What was dropped cannot be answered from: it would look as if nothing had happened.
///
/// # Errors
/// 422 naming the parameter, from when on there is history, and the first file with what is asked for.
pub fn still_kept(service: &Service, kind: Kind, parameter: &str, from: Millis) -> Result<(), Problem> {
    let Some(horizon) = service.horizons.of(kind).filter(|horizon| from < *horizon) else { return Ok(()) };
    let (files, count) = service.archives.within(kind, from, horizon, usize::MAX);
    let archived = match files.last() {
        None => String::new(),
        Some(first) if count == 1 => format!(" and lies in the archive as {}", first.file),
        Some(first) => format!(" and lies in the archive, in {count} files from {} on", first.file),
    };
    let (word, horizon) = (kind.word(), time::rfc3339(horizon));
    let sentence = format!("lies before {horizon}; older history was dropped (history.retention.{word}){archived}");
    Err(Problem::field(parameter, sentence))
}
