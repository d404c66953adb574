//! A JSON object a line; a cell that is absent is null, so that every row has the same fields.

use std::io::Write;

use super::{Output, Sink};
use crate::domain::export::{Cell, Column};
use crate::domain::time::rfc3339;

/// One file with all rows.
pub struct Ndjson {
    /// Each column's name as it is written before its value.
    names: Vec<Vec<u8>>,
    output: Output,
    line: Vec<u8>,
}

impl Ndjson {
    pub fn new(columns: &[Column], output: Output) -> Self {
        let name = |(index, column): (usize, &Column)| {
            let open = if index == 0 { '{' } else { ',' };
            format!("{open}{}:", serde_json::Value::from(column.name.as_str())).into_bytes()
        };
        Self { names: columns.iter().enumerate().map(name).collect(), output, line: Vec::new() }
    }
}

impl Sink for Ndjson {
    fn row(&mut self, _: (&str, &str), cells: &[Cell<'_>]) -> anyhow::Result<()> {
        self.line.clear();
        for (name, cell) in self.names.iter().zip(cells) {
            self.line.extend(name);
            match cell {
                Cell::Absent => self.line.extend(b"null"),
                Cell::Text(text) => serde_json::to_writer(&mut self.line, text)?,
                Cell::Time(at) => serde_json::to_writer(&mut self.line, &rfc3339(*at))?,
                Cell::Whole(number) => serde_json::to_writer(&mut self.line, number)?,
                Cell::Number(number) => serde_json::to_writer(&mut self.line, number)?,
                Cell::Truth(truth) => serde_json::to_writer(&mut self.line, truth)?,
            }
        }
        self.line.extend(b"}\n");
        Ok(self.output.write_all(&self.line)?)
    }

    fn finish(self: Box<Self>) -> anyhow::Result<Output> {
        Ok(self.output)
    }
}
