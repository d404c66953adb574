//! `rollcall replay`: recorded heartbeats through the vehicles' own logic, on the recording's clock, without a network.
//!
//! Fed by a CSV file, one heartbeat a row; writes the transitions as CSV. It has no rules of its own: every verdict is
//! [`Liveness`]'s. Vehicles do not touch each other, so each is judged alone from its first row to its last deadline,
//! and only the transitions are put on one timeline. Nothing is written before the whole file was found to be good.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail, ensure};
use csv::{ReaderBuilder, StringRecord, Terminator, Trim};

use crate::domain::heartbeat::Heartbeat;
use crate::domain::ids;
use crate::domain::liveness::{Input, Liveness, Setting};
use crate::domain::observation::Gaps;
use crate::domain::policy::{Policy, Rules};
use crate::domain::time::{self, Millis};
use crate::domain::transition::Change;
use crate::settings::{Span, TopicKind};

/// What to replay, and by which rules.
#[derive(Debug, Clone)]
pub struct ReplayOptions {
    /// The recording.
    pub file: PathBuf,
    /// Silence longer than this is offline, in milliseconds.
    pub offline_after: Millis,
    /// After a will a vehicle has this long to speak again, in milliseconds.
    pub will_grace: Millis,
    /// Whose time counts.
    pub clock: ReplayClock,
}

/// Whose time a row is judged by. Either way a vehicle's rows are first put in the order of that time, and rows of the
/// same time stay in the order of the file: a row that stands late in the file is misplaced, not late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum ReplayClock {
    /// When the message arrived (`arrival_ms`): what the live service would have decided.
    #[default]
    Arrival,
    /// When the vehicle sent it (`device_ms`): what was true, had every message come at once.
    Device,
}

/// The command: replays the file to standard output.
///
/// # Errors
/// As [`run`].
pub fn print(file: &Path, offline_after: Span, will_grace: Span, clock: ReplayClock) -> anyhow::Result<()> {
    let (offline_after, will_grace) = (offline_after.0, will_grace.0);
    run(&ReplayOptions { file: file.to_owned(), offline_after, will_grace, clock }, io::stdout().lock())
}

/// Replays the file and writes its transitions.
///
/// # Errors
/// One sentence: a file that cannot be read, a column that is missing, or the line number of the first bad row.
pub fn run(options: &ReplayOptions, out: impl Write) -> anyhow::Result<()> {
    let file = File::open(&options.file).with_context(|| format!("cannot open {}", options.file.display()))?;
    replay(file, options, out)
}

fn replay(recording: impl Read, options: &ReplayOptions, out: impl Write) -> anyhow::Result<()> {
    let rules = options.rules()?;
    let histories = read(recording, options.clock)?;
    let mut changes = Vec::new();
    for (vehicle, events) in histories.iter() {
        changes.extend(judge(events, &rules).into_iter().map(|change| (vehicle.as_ref(), change)));
    }
    // The vehicles came in order of their names and each one's changes in order of seq: a stable sort keeps both.
    changes.sort_by_key(|(_, change)| change.at);
    match write(&changes, out) {
        Err(error) if reader_left(&error) => Ok(()),
        written => written.context("cannot write the transitions"),
    }
}

/// `rollcall replay ... | head` has what it wanted.
fn reader_left(error: &csv::Error) -> bool {
    matches!(error.kind(), csv::ErrorKind::Io(cause) if cause.kind() == io::ErrorKind::BrokenPipe)
}

impl ReplayOptions {
    fn rules(&self) -> anyhow::Result<Rules> {
        for (name, span, least) in [("--offline-after", self.offline_after, 1), ("--will-grace", self.will_grace, 0)] {
            ensure!((least..=time::LATEST).contains(&span), "{name} is {span} ms, must be {least} to {}", time::LATEST);
        }
        Ok(Rules { offline_after: self.offline_after, will_grace: self.will_grace, ..Rules::default() })
    }
}

/// One row, as far as it matters to the vehicle's status.
#[derive(Debug, Clone, Copy)]
struct Event {
    at: Millis,
    kind: TopicKind,
}

/// The verdicts on one vehicle, whose events are in order of time.
fn judge(events: &[Event], rules: &Rules) -> Vec<Change> {
    let (beat, gaps) = (Heartbeat::default(), Gaps::default());
    let setting = Setting { rules, policy: Policy::resolve(rules, None, None), gaps: &gaps };
    let (mut liveness, mut changes) = (Liveness::default(), Vec::new());
    for event in events {
        fire_timers(&mut liveness, event.at, setting, &mut changes);
        let input = match event.kind {
            TopicKind::Heartbeat => Input::Heartbeat(&beat, None),
            TopicKind::Will => Input::Hint(None),
            TopicKind::Goodbye => Input::Goodbye,
        };
        changes.extend(liveness.step(event.at, input, setting).changes);
    }
    fire_timers(&mut liveness, Millis::MAX, setting, &mut changes);
    changes
}

/// Looks at the vehicle just after each deadline before `until`, as its timer does in the service.
fn fire_timers(liveness: &mut Liveness, until: Millis, setting: Setting<'_>, changes: &mut Vec<Change>) {
    while let Some(deadline) = liveness.deadline().filter(|deadline| *deadline < until) {
        changes.extend(liveness.step(deadline + 1, Input::Deadline, setting).changes);
    }
}

fn write(changes: &[(&str, Change)], out: impl Write) -> csv::Result<()> {
    let mut rows = csv::Writer::from_writer(out);
    rows.write_record(["t_ms", "vehicle_id", "state", "seq", "cause"])?;
    for (vehicle, change) in changes {
        let (at, seq) = (change.at.to_string(), change.seq.to_string());
        rows.write_record([&at, *vehicle, change.to.word(), &seq, change.cause.word()])?;
    }
    Ok(rows.flush()?)
}

/// Every vehicle's events in order of time; the vehicles in order of their names.
type Histories = Vec<(Box<str>, Vec<Event>)>;

fn read(recording: impl Read, clock: ReplayClock) -> anyhow::Result<Histories> {
    // Rows end at the line feed alone, the last one too, so the reader has counted just the lines up to a row's end. By
    // default it is one line behind after CR LF, and too early after blank lines. `text` cuts off the CR.
    let ended = recording.chain(&b"\n"[..]);
    let mut reader =
        ReaderBuilder::new().flexible(true).trim(Trim::Headers).terminator(Terminator::Any(b'\n')).from_reader(ended);
    let columns = Columns::find(reader.headers().context("cannot read the file")?, clock)?;
    let (mut histories, mut row) = (HashMap::<Box<str>, Vec<Event>>::new(), StringRecord::new());
    loop {
        let started = reader.position().line();
        let outcome = reader.read_record(&mut row);
        let in_one_line = !row.as_slice().contains('\n');
        let line = if in_one_line { reader.position().line() - 1 } else { started };
        if !outcome.map_err(|error| unreadable(line, error))? {
            break;
        }
        if row.len() == 1 && row[0].trim().is_empty() {
            continue; // a blank line, CR LF
        }
        ensure!(in_one_line, "line {line}: a quoted text goes on in the next line; is its quote closed?");
        let (vehicle, event) = columns.event(&row).map_err(|error| anyhow!("line {line}: {error}"))?;
        match histories.get_mut(vehicle) {
            Some(events) => events.push(event),
            None => drop(histories.insert(vehicle.into(), vec![event])),
        }
    }
    Ok(in_order(histories))
}

fn unreadable(line: u64, error: csv::Error) -> anyhow::Error {
    match error.kind() {
        csv::ErrorKind::Utf8 { .. } => anyhow!("line {line}: not UTF-8"),
        _ => anyhow!("cannot read the file: {error}"),
    }
}

fn in_order(histories: HashMap<Box<str>, Vec<Event>>) -> Histories {
    let mut histories: Histories = histories.into_iter().collect();
    histories.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    for (_, events) in &mut histories {
        events.sort_by_key(|event| event.at);
    }
    histories
}

/// Columns whose values change no status. They must be numbers all the same: text among them is a row that has slipped.
const READINGS: [&str; 4] = ["lat", "lon", "speed_mps", "bearing"];

/// Where in a row the known columns are, by the names in the header. Others (`group` too) are not looked at.
struct Columns {
    width: usize,
    clock: ReplayClock,
    vehicle_id: usize,
    arrival_ms: usize,
    device_ms: Option<usize>,
    kind: Option<usize>,
    readings: Vec<(&'static str, usize)>,
}

impl Columns {
    fn find(header: &StringRecord, clock: ReplayClock) -> anyhow::Result<Self> {
        let place = |name: &str| header.iter().position(|column| column == name);
        let required = |name: &str| {
            let named = header.iter().collect::<Vec<_>>().join(",");
            place(name).with_context(|| format!("line 1: column '{name}' is missing; the columns are '{named}'"))
        };
        if header.iter().all(str::is_empty) {
            bail!("line 1: the header is missing; it must name the columns arrival_ms and vehicle_id");
        }
        let device_ms = match clock {
            ReplayClock::Arrival => place("device_ms"),
            ReplayClock::Device => Some(required("device_ms")?),
        };
        Ok(Self {
            width: header.len(),
            clock,
            vehicle_id: required("vehicle_id")?,
            arrival_ms: required("arrival_ms")?,
            device_ms,
            kind: place("kind"),
            readings: READINGS.into_iter().filter_map(|name| Some((name, place(name)?))).collect(),
        })
    }

    /// Whose row it is, and what it says.
    fn event<'a>(&self, row: &'a StringRecord) -> anyhow::Result<(&'a str, Event)> {
        ensure!(row.len() == self.width, "{} columns, the header has {}", row.len(), self.width);
        let vehicle = text(row, self.vehicle_id);
        ids::check_vehicle(vehicle).map_err(|error| anyhow!("vehicle_id '{}': {error}", vehicle.escape_debug()))?;
        for (name, place) in &self.readings {
            check_reading(name, text(row, *place))?;
        }
        let arrival = instant("arrival_ms", text(row, self.arrival_ms))?;
        let sent = self.device_ms.map(|place| text(row, place)).filter(|text| !text.is_empty());
        let sent = sent.map(|text| instant("device_ms", text)).transpose()?;
        let at = match self.clock {
            ReplayClock::Arrival => arrival,
            ReplayClock::Device => sent.context("device_ms is empty, and the device's clock counts")?,
        };
        let kind = match self.kind.map_or("", |place| text(row, place)).trim() {
            "will" | "lwt" => TopicKind::Will,
            "goodbye" => TopicKind::Goodbye,
            _ => TopicKind::Heartbeat,
        };
        Ok((vehicle, Event { at, kind }))
    }
}

fn text(row: &StringRecord, place: usize) -> &str {
    row.get(place).unwrap_or_default().trim_end_matches('\r')
}

fn instant(name: &str, text: &str) -> anyhow::Result<Millis> {
    let shown = text.escape_debug();
    let millis: Millis = text.trim().parse().map_err(|_| anyhow!("{name} '{shown}' is no number"))?;
    ensure!((0..=time::LATEST).contains(&millis), "{name} '{shown}' is not in the years 1970 to 9999");
    Ok(millis)
}

fn check_reading(name: &str, text: &str) -> anyhow::Result<()> {
    let number = text.is_empty() || text.trim().parse().is_ok_and(f64::is_finite);
    ensure!(number, "{name} '{}' is no number", text.escape_debug());
    Ok(())
}

#[cfg(test)]
#[path = "replay_tests.rs"]
mod tests;
