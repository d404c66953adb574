//! Comma-separated lines (RFC 4180), with a head line. A cell that is absent is empty; a text that a spreadsheet would
//! take for a formula is guarded as in the registry's own files. Used by csv and, for each of its files, by csv.zip.

use std::io::Write;

use super::{Output, Sink};
use crate::domain::export::{Cell, Column};
use crate::domain::sheet;
use crate::domain::time::rfc3339;

/// One file with all rows.
pub struct Csv {
    output: Output,
    line: Vec<u8>,
}

impl Csv {
    pub fn new(columns: &[Column], mut output: Output) -> anyhow::Result<Self> {
        output.write_all(&head(columns))?;
        Ok(Self { output, line: Vec::new() })
    }
}

impl Sink for Csv {
    fn row(&mut self, _: (&str, &str), cells: &[Cell<'_>]) -> anyhow::Result<()> {
        self.line.clear();
        write_line(cells, &mut self.line);
        Ok(self.output.write_all(&self.line)?)
    }

    fn finish(self: Box<Self>) -> anyhow::Result<Output> {
        Ok(self.output)
    }
}

/// The line of the columns' names.
pub fn head(columns: &[Column]) -> Vec<u8> {
    let names: Vec<Cell<'_>> = columns.iter().map(|column| Cell::text(column.name.as_str())).collect();
    let mut line = Vec::new();
    write_line(&names, &mut line);
    line
}

/// Appends one line.
pub fn write_line(cells: &[Cell<'_>], line: &mut Vec<u8>) {
    let begin = line.len();
    for (index, cell) in cells.iter().enumerate() {
        if index > 0 {
            line.push(b',');
        }
        match cell {
            Cell::Absent => {}
            Cell::Text(text) => write_text(&sheet::guarded(text), line),
            Cell::Time(at) => line.extend(rfc3339(*at).as_bytes()),
            Cell::Whole(number) => line.extend(number.to_string().as_bytes()),
            Cell::Number(number) => line.extend(number.to_string().as_bytes()),
            Cell::Truth(truth) => line.extend(truth.to_string().as_bytes()),
        }
    }
    // An empty line would be no row at all.
    if line.len() == begin {
        line.extend(b"\"\"");
    }
    line.push(b'\n');
}

fn write_text(text: &str, line: &mut Vec<u8>) {
    if !text.contains([',', '"', '\r', '\n']) {
        return line.extend(text.as_bytes());
    }
    line.push(b'"');
    line.extend(text.replace('"', "\"\"").as_bytes());
    line.push(b'"');
}
