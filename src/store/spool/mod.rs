//! The spool: where decided transitions wait on local disk while the store does not take them. Append-only segments,
//! read back in order, deleted when they are in the store. Fed by the persister and emptied by it; at start, emptied
//! into the store before the fleet is read from there.
//!
//! Bound: `store.spool_bytes_max`; an append beyond it, or on a full disk, fails and leaves no trace. A record is one
//! append, so what a crash can tear is the last one, which nobody was told is safe. Repeating a replay is harmless,
//! since the store takes each transition once; so how far a replay came is not written down.

mod record;
mod replay;
mod segment;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};

pub use self::record::Entry;
use self::record::Head;
pub use self::replay::replay;
use self::segment::Segment;
use super::ObservationGap;
use crate::domain::time::Millis;
use crate::domain::transition::Transition;
use crate::settings::SpoolSync;

/// Transitions in one record at most: it is what damage costs, and what one fsync is shared by.
pub const RECORD_ROWS_MAX: usize = 1_000;
/// A segment is the unit of deletion, and is read whole: small enough for that, large enough that files are few.
const SEGMENT_BYTES: u64 = 8 * 1024 * 1024;
/// With a small bound there are still several segments, so that room comes back bit by bit.
const SEGMENTS_LEAST: u64 = 8;

/// How much the spool may hold, and how safe.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of all segments together.
    pub bytes_max: u64,
    /// When bytes are forced onto the disk.
    pub sync: SpoolSync,
}

/// How the spool is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Transitions that wait in it.
    pub rows: u64,
    /// Bytes of its segments.
    pub bytes: u64,
    /// When the first thing that waits in it happened.
    pub oldest: Option<Millis>,
    /// Segments with damage, or of another store, since the start.
    pub damaged: u64,
    /// Unfinished records cut off at the start.
    pub torn: u64,
}

/// What waits at the head of the spool.
#[derive(Debug)]
pub struct Batch {
    /// What to bring to the store; may be taken out.
    pub entry: Entry,
    rows: u64,
    segment: u64,
    end: u64,
}

/// The segments in one folder, which nobody else writes to.
#[derive(Debug)]
pub struct Spool {
    folder: PathBuf,
    identity: String,
    limits: Limits,
    segments: VecDeque<Segment>,
    /// How far the first segment has been replayed.
    replayed: u64,
    next_number: u64,
    stats: Stats,
    unsynced: bool,
}

impl Spool {
    /// Opens the spool of the store with this identity, and looks through what an earlier run left there. A torn end is
    /// cut off; damage is logged and counted, and does not stop anything.
    ///
    /// # Errors
    /// One sentence: the folder cannot be used, or was written by a newer Rollcall.
    pub fn open(folder: &Path, identity: &str, limits: Limits) -> anyhow::Result<Self> {
        let shown = folder.display();
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make the spool's folder {shown}"))?;
        let mut spool = Self {
            folder: folder.to_owned(),
            identity: identity.to_owned(),
            limits,
            segments: VecDeque::new(),
            replayed: 0,
            next_number: 1,
            stats: Stats::default(),
            unsynced: false,
        };
        let mut found = spool.list().with_context(|| format!("cannot read the spool's folder {shown}"))?;
        found.sort();
        let last = found.len().saturating_sub(1);
        for (index, (number, path)) in found.into_iter().enumerate() {
            spool.take_over(number, path, index == last)?;
        }
        Ok(spool)
    }

    /// The segments in the folder. Files that were set aside keep their numbers, so that no later one takes their name.
    fn list(&mut self) -> std::io::Result<Vec<(u64, PathBuf)>> {
        let mut segments = Vec::new();
        for file in std::fs::read_dir(&self.folder)? {
            let path = file?.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            let Some(number) = stem.and_then(|stem| stem.parse::<u64>().ok()) else { continue };
            self.next_number = self.next_number.max(number + 1);
            if path.extension().is_some_and(|ending| ending == segment::ENDING) {
                segments.push((number, path));
            }
        }
        Ok(segments)
    }

    fn take_over(&mut self, number: u64, path: PathBuf, last: bool) -> anyhow::Result<()> {
        let shown = path.display().to_string();
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) => return self.set_aside(&path, segment::DAMAGED, &format!("cannot be read: {error}")),
        };
        let head_end = match record::read_head(&bytes, &self.identity) {
            Head::Ours(end) => end,
            Head::Foreign => return self.set_aside(&path, segment::FOREIGN, "belongs to another store"),
            Head::Newer(version) => bail!(
                "{shown} was written by a newer Rollcall (form {version}): start that one until the spool is empty"
            ),
            // The crash came while it was made: nothing was in it yet.
            Head::Unreadable if last && record::next(&bytes, 0).is_none() => {
                tracing::warn!(file = shown, "an unfinished segment of the spool is removed");
                self.stats.torn += 1;
                return std::fs::remove_file(&path).with_context(|| format!("cannot remove {shown}"));
            }
            Head::Unreadable => return self.set_aside(&path, segment::DAMAGED, "has no readable head"),
        };
        let mut survey = segment::survey(&bytes, head_end);
        let torn = bytes.len() - survey.sound_until;
        if torn > 0 && last {
            tracing::warn!(file = shown, bytes = torn, "an unfinished record at the end of the spool is cut off");
            self.stats.torn += 1;
            let file = std::fs::OpenOptions::new().write(true).open(&path);
            let cut = file.and_then(|file| file.set_len(survey.sound_until as u64).and_then(|()| file.sync_all()));
            cut.with_context(|| format!("cannot cut off the torn end of {shown}"))?;
        } else if torn > 0 {
            survey.damaged = true;
        }
        if survey.damaged {
            tracing::error!(file = shown, "the spool is damaged: what can be read is replayed, the file is kept");
            self.stats.damaged += 1;
        }
        self.stats.rows += survey.rows;
        self.stats.bytes += survey.sound_until as u64;
        self.stats.oldest = self.stats.oldest.or(survey.oldest);
        let (until, rows, damaged) = (survey.sound_until as u64, survey.rows, survey.damaged);
        self.segments.push_back(Segment::found(number, path, until, rows, damaged));
        self.replayed = if self.segments.len() == 1 { head_end as u64 } else { self.replayed };
        Ok(())
    }

    fn set_aside(&mut self, path: &Path, ending: &str, why: &str) -> anyhow::Result<()> {
        let aside = path.with_extension(ending);
        let (file, kept) = (path.display(), aside.display());
        tracing::error!(%file, %kept, "a segment of the spool {why}; it is set aside");
        self.stats.damaged += 1;
        std::fs::rename(path, &aside).with_context(|| format!("cannot set {} aside", path.display()))
    }

    /// How it is doing.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Whether nothing waits in it.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Appends one record of at most [`RECORD_ROWS_MAX`] transitions; when this succeeds they are as safe as
    /// `store.spool_sync` says.
    ///
    /// # Errors
    /// The bound is reached, or the disk takes no more; nothing was appended then.
    pub fn append(&mut self, transitions: &[Arc<Transition>], gaps: &[ObservationGap]) -> anyhow::Result<()> {
        let record = record::encode(transitions, gaps)?;
        let (length, bytes_max) = (record.len() as u64, self.limits.bytes_max);
        if self.stats.bytes + length > bytes_max {
            bail!("the spool is full: store.spool_bytes_max is {bytes_max} bytes");
        }
        let folder = self.folder.clone();
        let cannot = || format!("cannot write to the spool in {}", folder.display());
        let always = self.limits.sync == SpoolSync::Always;
        let rows = transitions.len() as u64;
        self.make_room_for_one().with_context(cannot)?;
        let Some(tail) = self.segments.back_mut() else { bail!(cannot()) };
        tail.append(&record, rows, always).with_context(cannot)?;
        self.unsynced = self.limits.sync == SpoolSync::Interval;
        if self.stats.rows == 0 {
            let began = transitions.iter().map(|transition| transition.decided_at);
            self.stats.oldest = began.chain(gaps.iter().map(|gap| gap.from)).min();
        }
        self.stats.rows += rows;
        self.stats.bytes += length;
        Ok(())
    }

    /// The last segment can be appended to afterwards.
    fn make_room_for_one(&mut self) -> std::io::Result<()> {
        let segment_bytes = SEGMENT_BYTES.min(self.limits.bytes_max / SEGMENTS_LEAST);
        if self.segments.back().is_some_and(|tail| tail.is_open() && tail.bytes < segment_bytes) {
            return Ok(());
        }
        self.sync()?;
        let head = record::segment_head(&self.identity);
        let synced = self.limits.sync != SpoolSync::Never;
        let segment = Segment::create(&self.folder, self.next_number, &head, synced)?;
        if let Some(full) = self.segments.back_mut() {
            full.close();
        }
        self.next_number += 1;
        self.stats.bytes += segment.bytes;
        if self.segments.is_empty() {
            self.replayed = segment.bytes;
        }
        self.segments.push_back(segment);
        Ok(())
    }

    /// With `store.spool_sync = "interval"`: what was appended until now outlives a power cut.
    ///
    /// # Errors
    /// The disk did not take it.
    pub fn sync(&mut self) -> std::io::Result<()> {
        if self.unsynced {
            self.segments.back().map_or(Ok(()), Segment::sync)?;
            self.unsynced = false;
        }
        Ok(())
    }

    /// Reads what waits at the head, about `rows_max` transitions, all of one segment; none when the spool is empty. It
    /// stays there until [`Self::forget`]. What cannot be read is left out, logged and counted.
    pub fn head(&mut self, rows_max: usize) -> Option<Batch> {
        let first = self.segments.front_mut()?;
        let mut entry = Entry::default();
        let mut at = usize::try_from(self.replayed).unwrap_or(usize::MAX);
        let bytes = first.read().unwrap_or_else(|error| {
            tracing::error!(file = %first.path.display(), "the spool cannot be read: {error}");
            Vec::new()
        });
        let mut sound = true;
        while entry.transitions.len() < rows_max && at < first.bytes as usize {
            let place = record::next(&bytes, at);
            let Some(place) = place else {
                (at, sound) = (first.bytes as usize, false);
                break;
            };
            sound &= place.bytes.start == at;
            at = place.bytes.end;
            match record::decode(&bytes[place.bytes]) {
                Ok(read) => {
                    entry.transitions.extend(read.transitions);
                    entry.gaps.extend(read.gaps);
                }
                Err(_) => sound = false,
            }
        }
        if !sound && !first.damaged {
            tracing::error!(file = %first.path.display(), "the spool is damaged; what can be read is replayed");
            first.damaged = true;
            self.stats.damaged += 1;
        }
        if let Some(oldest) = entry.transitions.first() {
            self.stats.oldest = Some(oldest.decided_at);
        }
        let rows = entry.transitions.len() as u64;
        Some(Batch { entry, rows, segment: first.number, end: at as u64 })
    }

    /// The batch is in the store. A segment that is through is deleted, or kept aside when it was damaged.
    pub fn forget(&mut self, batch: &Batch) {
        let Some(first) = self.segments.front_mut().filter(|first| first.number == batch.segment) else { return };
        let through = batch.end >= first.bytes;
        let rows = if through { first.rows } else { first.rows.min(batch.rows) };
        first.rows -= rows;
        self.stats.rows = self.stats.rows.saturating_sub(rows);
        self.replayed = batch.end;
        if !through {
            return;
        }
        if let Some(first) = self.segments.pop_front() {
            self.stats.bytes = self.stats.bytes.saturating_sub(first.bytes);
            let file = first.path.display().to_string();
            if let Err(error) = first.retire() {
                // Left where it is, it is replayed once more at the next start, which changes nothing.
                tracing::warn!(file, "a segment of the spool that is stored could not be removed: {error}");
            }
        }
        self.replayed = record::segment_head(&self.identity).len() as u64;
        if self.segments.is_empty() {
            (self.stats.oldest, self.unsynced) = (None, false);
        }
    }
}

#[cfg(test)]
mod tests;
