//! One file of the spool: made, appended to, read back, and set aside when it is damaged. A failed append leaves no
//! trace. Used by the spool, which knows the order of its segments.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::record::{self, Place};

/// The ending of a segment's name.
pub const ENDING: &str = "spool";
/// The ending of one that holds damage, after its readable part was replayed.
pub const DAMAGED: &str = "damaged";
/// The ending of one that belongs to another store.
pub const FOREIGN: &str = "foreign";

/// A segment that holds something to replay, or is being written.
#[derive(Debug)]
pub struct Segment {
    /// Its place in the order; never used twice.
    pub number: u64,
    /// The file.
    pub path: PathBuf,
    /// Bytes that are good; anything behind them is the rest of an append that failed.
    pub bytes: u64,
    /// Transitions not yet replayed.
    pub rows: u64,
    /// Something in it could not be read.
    pub damaged: bool,
    /// Open while it is written.
    file: Option<File>,
    /// There may be bytes behind the good ones.
    unclean: bool,
}

impl Segment {
    /// One that was found in the folder.
    pub fn found(number: u64, path: PathBuf, bytes: u64, rows: u64, damaged: bool) -> Self {
        Self { number, path, bytes, rows, damaged, file: None, unclean: false }
    }

    /// Makes a new one with this head. With `sync`, it and its name outlive a power cut.
    pub fn create(folder: &Path, number: u64, head: &[u8], sync: bool) -> std::io::Result<Self> {
        let path = folder.join(format!("{number:012}.{ENDING}"));
        let mut file = OpenOptions::new().append(true).create_new(true).open(&path)?;
        let written = file.write_all(head).and_then(|()| if sync { file.sync_all() } else { Ok(()) });
        let named = written.and_then(|()| if sync { File::open(folder)?.sync_all() } else { Ok(()) });
        if let Err(error) = named {
            let _ = std::fs::remove_file(&path);
            return Err(error);
        }
        let bytes = head.len() as u64;
        Ok(Self { number, path, bytes, rows: 0, damaged: false, file: Some(file), unclean: false })
    }

    /// Whether it can be appended to.
    pub fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Appends a record, all of it or nothing. With `sync`, it outlives a power cut.
    pub fn append(&mut self, record: &[u8], rows: u64, sync: bool) -> std::io::Result<()> {
        let Some(file) = &mut self.file else { return Err(std::io::Error::other("the segment is closed")) };
        if self.unclean {
            file.set_len(self.bytes)?;
            self.unclean = false;
        }
        let written = file.write_all(record).and_then(|()| if sync { file.sync_data() } else { Ok(()) });
        if let Err(error) = written {
            self.unclean = file.set_len(self.bytes).is_err();
            return Err(error);
        }
        self.bytes += record.len() as u64;
        self.rows += rows;
        Ok(())
    }

    /// What was appended outlives a power cut from now on.
    pub fn sync(&self) -> std::io::Result<()> {
        self.file.as_ref().map_or(Ok(()), File::sync_data)
    }

    /// No more is appended.
    pub fn close(&mut self) {
        self.file = None;
    }

    /// Its good bytes.
    pub fn read(&self) -> std::io::Result<Vec<u8>> {
        let mut bytes = std::fs::read(&self.path)?;
        bytes.truncate(usize::try_from(self.bytes).unwrap_or(usize::MAX));
        Ok(bytes)
    }

    /// Nothing of it is needed any more: it goes, or is kept beside for a person to look at.
    pub fn retire(self) -> std::io::Result<()> {
        match self.damaged {
            true => std::fs::rename(&self.path, self.path.with_extension(DAMAGED)),
            false => std::fs::remove_file(&self.path),
        }
    }
}

/// The records of a segment, and what is wrong with it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Transitions in sound records.
    pub rows: u64,
    /// When the first of them happened.
    pub oldest: Option<crate::domain::time::Millis>,
    /// There is damage before a sound record.
    pub damaged: bool,
    /// The end of the last sound record, or of the head.
    pub sound_until: usize,
}

/// Looks through the records behind a head.
pub fn survey(bytes: &[u8], head_end: usize) -> Survey {
    let mut survey = Survey { sound_until: head_end, ..Survey::default() };
    while let Some(Place { bytes: place, rows, oldest }) = record::next(bytes, survey.sound_until) {
        survey.damaged |= place.start != survey.sound_until;
        survey.rows += rows;
        survey.oldest = survey.oldest.or(Some(oldest));
        survey.sound_until = place.end;
    }
    survey
}
