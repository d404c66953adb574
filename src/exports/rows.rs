//! The rows of a Parquet file that sink/parquet.rs wrote, read back one by one; and the checksum that says whether they
//! are the same as before. Used by archive.rs. Held is a page of each column.

use std::fs::File;

use parquet::basic::Type as Physical;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use ring::digest::{Context, SHA256};

use crate::domain::export::{Cell, Column, Type};

/// A file to read.
pub struct Rows(SerializedFileReader<File>);

impl Rows {
    /// Reads its directory.
    ///
    /// # Errors
    /// It is no such file, or damaged.
    pub fn open(file: File) -> anyhow::Result<Self> {
        Ok(Self(SerializedFileReader::new(file)?))
    }

    /// Its columns.
    pub fn columns(&self) -> Vec<Column> {
        let columns = self.0.metadata().file_metadata().schema_descr().columns();
        let of = |physical| match physical {
            Physical::INT64 => Type::Whole,
            Physical::DOUBLE => Type::Number,
            Physical::BOOLEAN => Type::Truth,
            _ => Type::Text,
        };
        columns.iter().map(|column| Column { name: column.name().into(), of: of(column.physical_type()) }).collect()
    }

    /// Gives each row to `each`, in the order of the file.
    ///
    /// # Errors
    /// It is damaged, or what `each` says.
    pub fn each(&self, mut each: impl FnMut(&[Cell<'static>]) -> anyhow::Result<()>) -> anyhow::Result<()> {
        for row in self.0.get_row_iter(None)? {
            let cells = row?.into_columns().into_iter().map(|(name, field)| cell(&name, field));
            each(&cells.collect::<anyhow::Result<Vec<_>>>()?)?;
        }
        Ok(())
    }
}

fn cell(name: &str, field: Field) -> anyhow::Result<Cell<'static>> {
    Ok(match field {
        Field::Null => Cell::Absent,
        Field::Str(text) => Cell::text(text),
        Field::Long(number) => Cell::Whole(number),
        Field::TimestampMillis(at) => Cell::Time(at),
        Field::Double(number) => Cell::Number(number),
        Field::Bool(truth) => Cell::Truth(truth),
        other => anyhow::bail!("column {name} holds {other:?}, which is never written"),
    })
}

/// The checksum of rows in their order: SHA-256 over every cell, each with its type and, where that varies, its length.
pub struct Sum {
    context: Context,
    rows: u64,
}

impl Default for Sum {
    fn default() -> Self {
        Self { context: Context::new(&SHA256), rows: 0 }
    }
}

impl Sum {
    /// One more row.
    pub fn add(&mut self, row: &[Cell<'_>]) {
        self.rows += 1;
        for cell in row {
            let (mark, bytes) = match cell {
                Cell::Absent => (0, [0; 8]),
                Cell::Text(text) => (1, (text.len() as u64).to_le_bytes()),
                Cell::Whole(number) | Cell::Time(number) => (2, number.to_le_bytes()),
                Cell::Number(number) => (3, number.to_bits().to_le_bytes()),
                Cell::Truth(truth) => (4, u64::from(*truth).to_le_bytes()),
            };
            self.context.update(&[mark]);
            self.context.update(&bytes);
            if let Cell::Text(text) = cell {
                self.context.update(text.as_bytes());
            }
        }
    }

    /// How many rows, and their checksum in hexadecimal digits.
    pub fn end(self) -> (u64, String) {
        let digest = self.context.finish();
        (self.rows, digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(rows: &[&[Cell<'_>]]) -> (u64, String) {
        let mut sum = Sum::default();
        rows.iter().for_each(|row| sum.add(row));
        sum.end()
    }

    #[test]
    fn rows_that_differ_in_anything_have_another_checksum() {
        let cell = |text: &'static str| Cell::text(text);
        let rows: [&[&[Cell<'_>]]; 11] = [
            &[],
            &[&[Cell::Absent]],
            &[&[Cell::Whole(0)]],
            &[&[Cell::Number(0.0)]],
            &[&[Cell::Number(-0.0)]],
            &[&[Cell::Truth(false)]],
            &[&[cell("")]],
            &[&[cell("ab"), cell("c")]],
            &[&[cell("a"), cell("bc")]],
            &[&[cell("a")], &[cell("bc")]],
            &[&[cell("bc")], &[cell("a")]],
        ];
        let sums: Vec<_> = rows.iter().map(|rows| sum(rows)).collect();
        for (n, one) in sums.iter().enumerate() {
            assert_eq!(one.1.len(), 64);
            assert!(sums[..n].iter().all(|other| other != one), "{n}");
        }
        assert_eq!(sum(rows[7]), sum(rows[7]));
    }
}
