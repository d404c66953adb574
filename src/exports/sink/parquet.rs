//! Apache Parquet, in groups of rows. Held are the cells of one group: 50,000 rows of 16 columns, 8 to 50 bytes each,
//! are some 15 MB, whatever the file's length; of each group that is written, some kilobytes for the directory at the
//! end. Every column may be absent. Texts are UTF-8, instants are in UTC, milliseconds.

use std::sync::Arc;

use anyhow::Context;
use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::{Type as Schema, TypePtr};

use super::{Output, Sink};
use crate::domain::export::{Cell, Column, Type};

const ROWS_A_GROUP: usize = 50_000;

/// One file with all rows.
pub struct Parquet {
    file: SerializedFileWriter<Output>,
    columns: Vec<Held>,
    rows: usize,
}

/// The cells of one column that wait for their group to be full.
struct Held {
    values: Values,
    /// 1 where there is a value, 0 where it is absent.
    there: Vec<i16>,
}

enum Values {
    Texts(Vec<ByteArray>),
    Wholes(Vec<i64>),
    Numbers(Vec<f64>),
    Truths(Vec<bool>),
}

impl Values {
    fn of(kind: Type) -> Self {
        match kind {
            Type::Text => Self::Texts(Vec::new()),
            Type::Time | Type::Whole => Self::Wholes(Vec::new()),
            Type::Number => Self::Numbers(Vec::new()),
            Type::Truth => Self::Truths(Vec::new()),
        }
    }
}

impl Parquet {
    pub fn new(columns: &[Column], output: Output) -> anyhow::Result<Self> {
        let fields = columns.iter().map(field).collect::<anyhow::Result<_>>()?;
        let schema = Schema::group_type_builder("export").with_fields(fields).build()?;
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let file = SerializedFileWriter::new(output, Arc::new(schema), Arc::new(properties))?;
        let held = |column: &Column| Held { values: Values::of(column.of), there: Vec::new() };
        Ok(Self { file, columns: columns.iter().map(held).collect(), rows: 0 })
    }

    fn write_group(&mut self) -> anyhow::Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        let mut group = self.file.next_row_group()?;
        for held in &mut self.columns {
            let mut writer = group.next_column()?.context("a column more than the file has")?;
            held.write(&mut writer)?;
            writer.close()?;
        }
        group.close()?;
        self.rows = 0;
        Ok(())
    }
}

impl Sink for Parquet {
    fn row(&mut self, _: (&str, &str), cells: &[Cell<'_>]) -> anyhow::Result<()> {
        for (held, cell) in self.columns.iter_mut().zip(cells) {
            held.take(cell);
        }
        self.rows += 1;
        if self.rows == ROWS_A_GROUP { self.write_group() } else { Ok(()) }
    }

    fn finish(mut self: Box<Self>) -> anyhow::Result<Output> {
        self.write_group()?;
        Ok(self.file.into_inner()?)
    }
}

impl Held {
    fn take(&mut self, cell: &Cell<'_>) {
        let there = match (&mut self.values, cell) {
            (Values::Texts(texts), Cell::Text(text)) => {
                // The same text again shares its bytes: names and words repeat.
                let again = texts.last().filter(|last| last.data() == text.as_bytes()).cloned();
                texts.push(again.unwrap_or_else(|| ByteArray::from(text.as_bytes().to_vec())));
                true
            }
            (Values::Wholes(wholes), Cell::Whole(number) | Cell::Time(number)) => {
                wholes.push(*number);
                true
            }
            (Values::Numbers(numbers), Cell::Number(number)) => {
                numbers.push(*number);
                true
            }
            (Values::Truths(truths), Cell::Truth(truth)) => {
                truths.push(*truth);
                true
            }
            (_, cell) => {
                debug_assert_eq!(*cell, Cell::Absent, "a cell of another type than its column");
                false
            }
        };
        self.there.push(i16::from(there));
    }

    fn write(&mut self, writer: &mut SerializedColumnWriter<'_>) -> anyhow::Result<()> {
        let there = Some(self.there.as_slice());
        match &mut self.values {
            Values::Texts(texts) => {
                writer.typed::<ByteArrayType>().write_batch(texts, there, None)?;
                texts.clear();
            }
            Values::Wholes(wholes) => {
                writer.typed::<Int64Type>().write_batch(wholes, there, None)?;
                wholes.clear();
            }
            Values::Numbers(numbers) => {
                writer.typed::<DoubleType>().write_batch(numbers, there, None)?;
                numbers.clear();
            }
            Values::Truths(truths) => {
                writer.typed::<BoolType>().write_batch(truths, there, None)?;
                truths.clear();
            }
        }
        self.there.clear();
        Ok(())
    }
}

fn field(column: &Column) -> anyhow::Result<TypePtr> {
    let (physical, logical) = match column.of {
        Type::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        Type::Time => (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::MILLIS))),
        Type::Whole => (Physical::INT64, None),
        Type::Number => (Physical::DOUBLE, None),
        Type::Truth => (Physical::BOOLEAN, None),
    };
    let field = Schema::primitive_type_builder(&column.name, physical).with_repetition(Repetition::OPTIONAL);
    Ok(Arc::new(field.with_logical_type(logical).build()?))
}
