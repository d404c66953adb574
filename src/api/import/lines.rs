//! Reads a file of vehicles row by row, each with the number of its line. Used by check.rs; holds one row at a time,
//! and no row is longer than `ROW_BYTES_MAX`, not even one whose quote is never closed.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;

use serde_json::{Map, Value};

use crate::domain::registration::Edits;
use crate::domain::sheet::{self, COLUMNS};

/// Longest row: the longest names and tags there may be take a tenth of it.
const ROW_BYTES_MAX: usize = 64 * 1024;
/// What a reader reads ahead.
const AHEAD_BYTES: usize = 64 * 1024;

/// One row: its names, and what becomes of its fields; or what is wrong with it.
pub type Row = Result<(String, String, Edits), String>;

/// Goes through NDJSON; empty lines are nothing.
pub fn ndjson(file: impl Read, mut each: impl FnMut(u64, Row) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let mut reader = BufReader::with_capacity(AHEAD_BYTES, file);
    let (mut line, mut number) = (Vec::new(), 0);
    loop {
        line.clear();
        number += 1;
        let limit = ROW_BYTES_MAX as u64 + 1;
        if (&mut reader).take(limit).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if line.len() > ROW_BYTES_MAX {
            skip_line(&mut reader, line.last() == Some(&b'\n'))?;
            each(number, Err(format!("is longer than {ROW_BYTES_MAX} bytes")))?;
        } else if !line.trim_ascii().is_empty() {
            each(number, object(&line))?;
        }
    }
}

fn skip_line(reader: &mut impl BufRead, at_end: bool) -> io::Result<()> {
    let mut at_end = at_end;
    while !at_end {
        let ahead = reader.fill_buf()?;
        let end = memchr::memchr(b'\n', ahead);
        let used = end.map_or(ahead.len(), |end| end + 1);
        at_end = end.is_some() || used == 0;
        reader.consume(used);
    }
    Ok(())
}

fn object(line: &[u8]) -> Row {
    let mut fields: Map<String, Value> =
        serde_json::from_slice(line).map_err(|error| format!("is no JSON object: {error}"))?;
    let mut name = |field: &str| match fields.remove(field) {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(format!("{field}: must be text")),
        None => Err(format!("{field}: is missing")),
    };
    let (customer, vehicle) = (name("customer")?, name("vehicle")?);
    let faults = |faults: Vec<(String, String)>| {
        let all: Vec<String> = faults.into_iter().map(|(field, problem)| format!("{field}: {problem}")).collect();
        all.join("; ")
    };
    Ok((customer, vehicle, Edits::read(&fields).map_err(faults)?))
}

/// Lets a reader take so many bytes only until it is told that a row is complete.
struct Rationed<R> {
    inner: R,
    taken: Rc<Cell<usize>>,
}

impl<R: Read> Read for Rationed<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.taken.get() > ROW_BYTES_MAX + AHEAD_BYTES {
            return Err(io::Error::other(format!(
                "a row is longer than {ROW_BYTES_MAX} bytes: is a quote not closed?"
            )));
        }
        let read = self.inner.read(into)?;
        self.taken.set(self.taken.get() + read);
        Ok(read)
    }
}

/// Goes through CSV; the first row names the columns, in any order. A file whose rows cannot be told apart any more
/// ends with that fault.
pub fn csv(file: impl Read, mut each: impl FnMut(u64, Row) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let taken = Rc::<Cell<usize>>::default();
    let rationed = Rationed { inner: file, taken: Rc::clone(&taken) };
    let reader = csv::ReaderBuilder::new().flexible(true).buffer_capacity(AHEAD_BYTES).from_reader(rationed);
    let (mut reader, mut record) = (reader, csv::ByteRecord::new());
    let columns = match reader.byte_headers().map(columns) {
        Ok(Ok(columns)) => columns,
        Ok(Err(problem)) => return each(1, Err(problem)),
        Err(error) => return each(1, Err(error.to_string())),
    };
    loop {
        taken.set(0);
        let line = reader.position().line();
        match reader.read_byte_record(&mut record) {
            Ok(true) => {
                let line = record.position().map_or(line, csv::Position::line);
                each(line, cells(&columns, &record))?;
            }
            Ok(false) => return Ok(()),
            Err(error) => return each(line, Err(error.to_string())),
        }
    }
}

fn columns(head: &csv::ByteRecord) -> Result<Vec<&'static str>, String> {
    let mut columns: Vec<&'static str> = Vec::new();
    for cell in head {
        let name = String::from_utf8_lossy(cell);
        let name = name.trim_start_matches('\u{feff}').trim();
        let known = COLUMNS.into_iter().find(|column| *column == name);
        let known = known.ok_or_else(|| format!("'{name}' is no column; known are {}", COLUMNS.join(", ")))?;
        if columns.contains(&known) {
            return Err(format!("the column {known} is there twice"));
        }
        columns.push(known);
    }
    match ["customer", "vehicle"].into_iter().find(|needed| !columns.contains(needed)) {
        Some(missing) => Err(format!("the first line must name the columns, and names no {missing}")),
        None => Ok(columns),
    }
}

fn cells(columns: &[&'static str], record: &csv::ByteRecord) -> Row {
    if record.len() != columns.len() {
        return Err(format!("has {} cells, but there are {} columns", record.len(), columns.len()));
    }
    let (mut customer, mut vehicle, mut edits, mut faults) =
        (String::new(), String::new(), Edits::default(), Vec::new());
    for (column, cell) in columns.iter().zip(record) {
        let Ok(cell) = std::str::from_utf8(cell) else {
            faults.push(format!("{column}: is no UTF-8"));
            continue;
        };
        match *column {
            "customer" => customer = sheet::unguarded(cell).to_owned(),
            "vehicle" => vehicle = sheet::unguarded(cell).to_owned(),
            column => {
                let outcome = sheet::value(column, cell).and_then(|value| edits.set(column, &value));
                faults.extend(outcome.err().map(|problem| format!("{column}: {problem}")));
            }
        }
    }
    if faults.is_empty() { Ok((customer, vehicle, edits)) } else { Err(faults.join("; ")) }
}
