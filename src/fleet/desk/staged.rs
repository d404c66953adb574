//! Rows that wait in a file without a name, so that a large import costs no memory; the system removes it with the
//! process, however that ends. Filled by REST while it reads a request, and by the desk with what the store answers.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::marker::PhantomData;

use anyhow::Context;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Rows handed over together: one message a shard, one statement in the store.
pub const PART_ROWS: usize = 1_000;

/// Rows in a file, one line of JSON each.
pub struct Staged<T> {
    file: BufWriter<File>,
    rows: u64,
    of: PhantomData<fn(T)>,
}

impl<T: Serialize + DeserializeOwned + 'static> Staged<T> {
    /// An empty one, in the system's folder for such files (`TMPDIR`).
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn new() -> anyhow::Result<Self> {
        let file = tempfile::tempfile().context("no file can be made in the folder for temporary files (TMPDIR)")?;
        Ok(Self { file: BufWriter::new(file), rows: 0, of: PhantomData })
    }

    /// One more row.
    ///
    /// # Errors
    /// The disk is full.
    pub fn push(&mut self, row: &T) -> anyhow::Result<()> {
        serde_json::to_writer(&mut self.file, row)?;
        self.file.write_all(b"\n")?;
        self.rows += 1;
        Ok(())
    }

    /// How many there are.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// All rows in their order, [`PART_ROWS`] at a time.
    ///
    /// # Errors
    /// The disk is full.
    pub fn parts(self) -> anyhow::Result<impl Iterator<Item = anyhow::Result<Vec<T>>> + Send + use<T>> {
        let mut file = self.file.into_inner().map_err(|error| error.into_error())?;
        file.seek(SeekFrom::Start(0))?;
        let mut lines = BufReader::new(file).lines();
        Ok(std::iter::from_fn(move || {
            let part = lines.by_ref().take(PART_ROWS).map(|line| Ok(serde_json::from_str(&line?)?));
            let part: anyhow::Result<Vec<T>> = part.collect();
            (!part.as_ref().is_ok_and(Vec::is_empty)).then_some(part)
        }))
    }
}
