//! One try at an export, on a thread of its own and of low priority: what keeps vehicles and dashboards going always
//! comes first. It holds no lock that others wait for: pages are read by tasks of usual priority, which it only waits
//! for. Started by worker.rs with an export it has the lease of; tells it the outcome. Reads the store a page at a
//! time, with the rests of pace.rs.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::pace::Pace;
use super::sink::{self, Output};
use super::source::{self, Progress, Record};
use super::{Exports, Ticket};
use crate::domain::export::{Column, Format, ZIP_VEHICLES_MAX};
use crate::live::feed::Feed;
use crate::store::exports::StoredExport;
use crate::store::priority::lower_priority;

/// What to do.
pub struct Job {
    pub export: StoredExport,
    pub ticket: Arc<Ticket>,
    /// Most bytes of the file.
    pub bytes_max: u64,
    /// How many vehicles there are.
    pub progress: Progress,
}

/// What became of it.
pub struct Ended {
    pub ticket: Arc<Ticket>,
    pub outcome: Outcome,
}

/// How a try ended.
pub enum Outcome {
    /// Its file is kept.
    Kept,
    /// It was told to stop.
    Stopped,
    /// It failed; `for_good` when it would again.
    Failed { error: String, for_good: bool },
}

/// What no further try can mend.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct ForGood(String);

/// Begins; the outcome goes to `tell`, which has room for it.
///
/// # Errors
/// The system has no thread for it.
pub fn start(exports: Arc<Exports>, feed: Arc<Feed>, job: Job, tell: mpsc::Sender<Ended>) -> std::io::Result<()> {
    let runtime = Handle::current();
    let thread = std::thread::Builder::new().name("export".into());
    let body = move || {
        lower_priority();
        let trying = AssertUnwindSafe(work(&exports, &feed, &job)).catch_unwind();
        let outcome = match runtime.block_on(trying) {
            Ok(Ok(true)) => Outcome::Kept,
            Ok(Ok(false)) => Outcome::Stopped,
            Ok(Err(_)) if !job.ticket.goes_on() => Outcome::Stopped,
            Ok(Err(error)) => Outcome::Failed { for_good: error.is::<ForGood>(), error: format!("{error:#}") },
            Err(_) => Outcome::Failed { for_good: false, error: "its thread panicked; the log has it".into() },
        };
        // Nobody listens any more when the service has stopped; the lease ends by itself then.
        let _ = tell.blocking_send(Ended { ticket: job.ticket, outcome });
    };
    thread.spawn(body).map(drop)
}

/// Whether its file is kept; not when it was told to stop.
async fn work(exports: &Exports, feed: &Arc<Feed>, job: &Job) -> anyhow::Result<bool> {
    let (order, ticket) = (&job.export.order, &*job.ticket);
    let columns = Column::choose(order.kind, &order.columns).map_err(ForGood)?;
    let mut source = source::open(order, &exports.store, feed, job.progress).await?;
    let output = Output::create(&exports.storage.part(&ticket.file), Arc::clone(&ticket.bytes))?;
    let mut sink = sink::open(order.format, &columns, output)?;
    let mut vehicles = Vehicles::default();
    let mut pace = Pace::default();
    while ticket.goes_on() {
        let began = Instant::now();
        let Some(page) = source.next().await? else {
            sink.finish()?.close()?;
            check(exports, job)?;
            exports.storage.keep(&ticket.file, || ticket.goes_on()).await?;
            return Ok(true);
        };
        pace.read_since(began);
        for record in &page {
            vehicles.note(record, order.format)?;
            sink.row(record.key(), &record.cells(&columns))?;
        }
        ticket.rows.fetch_add(page.len() as u64, Relaxed);
        ticket.progress.store(source.progress().clamp(0.0, 1.0).to_bits(), Relaxed);
        check(exports, job)?;
        pace.rest().await;
    }
    Ok(false)
}

/// Whether the file may be as long as it is.
fn check(exports: &Exports, job: &Job) -> anyhow::Result<()> {
    let (done, rows_max) = (job.ticket.done(), exports.settings.rows_max);
    if done.rows > rows_max {
        let problem = format!("has more than {rows_max} rows (exports.rows_max); ask for less at once");
        return Err(ForGood(problem).into());
    }
    let own_max = exports.settings.bytes_max;
    if done.bytes > own_max {
        let problem = format!("has more than {own_max} bytes (exports.bytes_max); ask for less at once");
        return Err(ForGood(problem).into());
    }
    anyhow::ensure!(
        done.bytes <= job.bytes_max,
        "there is no room for its file beside those that are there (exports.total_bytes_max); remove some"
    );
    Ok(())
}

/// How many vehicles there were, where that is bounded.
#[derive(Default)]
struct Vehicles {
    last: Option<(String, String)>,
    count: u64,
}

impl Vehicles {
    fn note(&mut self, record: &Record, format: Format) -> Result<(), ForGood> {
        let (customer, vehicle) = record.key();
        let is_same = |(of, name): &(String, String)| of == customer && name == vehicle;
        if format != Format::CsvZip || self.last.as_ref().is_some_and(is_same) {
            return Ok(());
        }
        self.last = Some((customer.to_owned(), vehicle.to_owned()));
        self.count += 1;
        if self.count > ZIP_VEHICLES_MAX {
            let problem = format!("has more than {ZIP_VEHICLES_MAX} vehicles, the most of a csv.zip; order it as csv");
            return Err(ForGood(problem));
        }
        Ok(())
    }
}
