//! How the rows of an export are written, one file a format; and the file they go to. Fed by run.rs and archive.rs a
//! row at a time. What a sink holds does not grow with the file: csv and ndjson hold a buffer of 64 KiB, parquet the
//! rows of one group (its head comment has the sum), csv.zip its directory of at most `ZIP_VEHICLES_MAX`.

mod csv;
mod ndjson;
mod parquet;
mod zip;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::domain::export::{Cell, Column, Format};

const BUFFER_BYTES: usize = 64 * 1024;

/// Writes one format.
pub trait Sink: Send {
    /// The next row, of this customer and vehicle; those of one vehicle come together.
    fn row(&mut self, key: (&str, &str), cells: &[Cell<'_>]) -> anyhow::Result<()>;

    /// There are no more; what is still held goes out.
    fn finish(self: Box<Self>) -> anyhow::Result<Output>;
}

/// The sink of a format.
///
/// # Errors
/// The file does not take what comes before the first row.
pub fn open(format: Format, columns: &[Column], output: Output) -> anyhow::Result<Box<dyn Sink>> {
    Ok(match format {
        Format::Csv => Box::new(csv::Csv::new(columns, output)?),
        Format::CsvZip => Box::new(zip::Zip::new(columns, output)),
        Format::Ndjson => Box::new(ndjson::Ndjson::new(columns, output)),
        Format::Parquet => Box::new(parquet::Parquet::new(columns, output)?),
    })
}

/// A file that is being written, which tells how long it is.
pub struct Output {
    file: BufWriter<File>,
    written: Arc<AtomicU64>,
}

impl Output {
    /// A new file at this path, or an empty one in the place of what was there.
    pub fn create(path: &Path, written: Arc<AtomicU64>) -> io::Result<Self> {
        written.store(0, Relaxed);
        Ok(Self { file: BufWriter::with_capacity(BUFFER_BYTES, File::create(path)?), written })
    }

    /// What this process says.
    ///
    /// # Errors
    /// There is nowhere to say it.
    pub fn stdout() -> io::Result<Self> {
        let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        Ok(Self { file: BufWriter::with_capacity(BUFFER_BYTES, file), written: Arc::default() })
    }

    /// Forces everything onto the disk: what is called finished outlives a power cut.
    pub fn close(mut self) -> io::Result<()> {
        self.file.flush()?;
        self.file.get_ref().sync_all()
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.file.write(bytes)?;
        self.written.fetch_add(length as u64, Relaxed);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests;
