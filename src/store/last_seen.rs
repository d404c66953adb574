//! The file `last_seen` beside the store: when each vehicle was last heard, and until when we listened, a few seconds
//! old at most. Written by the fleet every few seconds, as a whole; read once at start, after a crash above all.
//!
//! 16 bytes a vehicle: a hash of its two names, and the time with the silence it announced then. A new file takes the
//! place of the old one in one step, so a process that is killed leaves one or the other, whole. It is not forced onto
//! the disk: a power cut may leave a torn one, which its checksum tells, and then the store's own checkpoint is what
//! there is.
//!
//! ```text
//! magic 8 | crc32 of the rest 4 | length of the identity 4 | identity | alive_until 8 | (hash 8, heard 8) ...
//! heard = last_seen, milliseconds since 1970, << 20 | announced silence, whole seconds (12 days at most; 0 is none)
//! ```

use std::collections::HashMap;
use std::fs::{self, File};
use std::hash::Hasher;
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use foldhash::fast::FixedState;
use siphasher::sip::SipHasher13;

use crate::domain::ids::VehicleKey;
use crate::domain::sleep::Announced;
use crate::domain::time::Millis;

/// The file's name in the local folder.
pub const FILE: &str = "last_seen";
/// Names the form, with its number: a file of another form is not read.
const MAGIC: &[u8; 8] = b"rcseen02";
/// Before what the checksum is over.
const HEAD_BYTES: usize = 12;
const ROW_BYTES: usize = 16;
/// Bits of a row's second word that hold the announced silence.
const ANNOUNCED_BITS: u32 = 20;
const ANNOUNCED_S_MAX: u64 = (1 << ANNOUNCED_BITS) - 1;

/// Where the file lies, and whose it is.
#[derive(Debug, Clone)]
pub struct SeenFile {
    path: PathBuf,
    identity: String,
    names: Names,
}

/// What a file says.
#[derive(Debug, PartialEq, Eq)]
pub struct Seen {
    /// Until when everything that was said is in it.
    pub alive_until: Millis,
    names: Names,
    /// When each was heard, by the hash of its names.
    rows: HashMap<u64, u64, FixedState>,
}

/// A file in the making, beside the one whose place it takes.
#[derive(Debug)]
pub struct Image {
    file: File,
    /// What was added and is not written yet.
    rows: Vec<u8>,
    sum: crc32fast::Hasher,
}

/// Hashes the names of vehicles: the same in every run and release, and by the store's identity, so that nobody can
/// choose names that collide. Of a million vehicles two share a hash once in 37 million fleets; the younger time then
/// counts for both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Names(u64, u64);

impl Names {
    fn of(identity: &str) -> Self {
        let half = |key| {
            let mut hasher = SipHasher13::new_with_keys(key, 0);
            hasher.write(identity.as_bytes());
            hasher.finish()
        };
        Self(half(1), half(2))
    }

    fn hash(self, key: &VehicleKey) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.0, self.1);
        hasher.write(key.customer.as_bytes());
        // No customer's name holds a slash.
        hasher.write(b"/");
        hasher.write(key.vehicle.as_bytes());
        hasher.finish()
    }
}

impl SeenFile {
    /// The file at this place, of the store with this identity.
    pub fn new(path: PathBuf, identity: String) -> Self {
        Self { path, names: Names::of(&identity), identity }
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads it; nothing when there is none.
    ///
    /// # Errors
    /// Why it cannot be used: damaged, of another store, of another form, or unreadable.
    pub fn read(&self) -> anyhow::Result<Option<Seen>> {
        match fs::read(&self.path) {
            Ok(bytes) => self.decode(&bytes).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// What the names of a vehicle hash to in this file.
    pub fn name(&self, key: &VehicleKey) -> u64 {
        self.names.hash(key)
    }

    /// Where a new one is made.
    fn new_path(&self) -> PathBuf {
        self.path.with_extension("new")
    }

    /// Begins a new content.
    ///
    /// # Errors
    /// The folder cannot be written, or the disk is full; the old file is as it was.
    pub fn begin(&self, alive_until: Millis) -> io::Result<Image> {
        let mut file = File::create(self.new_path())?;
        file.write_all(MAGIC)?;
        file.write_all(&[0; HEAD_BYTES - MAGIC.len()])?;
        let mut rows = (self.identity.len() as u32).to_le_bytes().to_vec();
        rows.extend_from_slice(self.identity.as_bytes());
        rows.extend_from_slice(&alive_until.to_le_bytes());
        Ok(Image { file, rows, sum: crc32fast::Hasher::new() })
    }

    /// Puts the new content in the place of the old one, in one step.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub fn finish(&self, image: Image) -> io::Result<()> {
        let mut image = image;
        image.write_out()?;
        image.file.seek(SeekFrom::Start(MAGIC.len() as u64))?;
        image.file.write_all(&image.sum.finalize().to_le_bytes())?;
        fs::rename(self.new_path(), &self.path)
    }

    fn decode(&self, bytes: &[u8]) -> anyhow::Result<Seen> {
        ensure!(bytes.starts_with(MAGIC), "it is of another form");
        let (head, rest) = bytes.split_at_checked(HEAD_BYTES).context("it is cut off")?;
        ensure!(head[MAGIC.len()..] == crc32fast::hash(rest).to_le_bytes(), "its checksum is wrong");
        let (length, rest) = rest.split_first_chunk().context("it is cut off")?;
        let (identity, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize).context("it is cut off")?;
        ensure!(identity == self.identity.as_bytes(), "it belongs to another store");
        let (alive_until, rows) = rest.split_first_chunk().context("it is cut off")?;
        ensure!(rows.len() % ROW_BYTES == 0, "it is cut off");
        let words = rows.chunks_exact(8).map(|word| word.try_into().map(u64::from_le_bytes).unwrap_or_default());
        let words: Vec<u64> = words.collect();
        let mut rows = HashMap::with_capacity_and_hasher(words.len() / 2, FixedState::default());
        for row in words.chunks_exact(2) {
            let heard: &mut u64 = rows.entry(row[0]).or_default();
            *heard = row[1].max(*heard);
        }
        Ok(Seen { alive_until: Millis::from_le_bytes(*alive_until), names: self.names, rows })
    }
}

impl Seen {
    /// When this vehicle was last heard and what silence it announced then, if it is in the file.
    pub fn of(&self, key: &VehicleKey) -> Option<(Millis, Announced)> {
        let heard = *self.rows.get(&self.names.hash(key))?;
        let announced = Announced::of((heard & ANNOUNCED_S_MAX).cast_signed() * 1_000);
        Some(((heard >> ANNOUNCED_BITS).cast_signed(), announced))
    }

    /// How many vehicles it holds.
    pub fn vehicles(&self) -> usize {
        self.rows.len()
    }
}

impl Image {
    /// A vehicle that was heard, by [what its names hash to](SeenFile::name), and the silence it announced, which is
    /// rounded up to seconds.
    pub fn add(&mut self, name: u64, last_seen: Millis, announced: Announced) {
        let announced_s = announced.millis().unsigned_abs().div_ceil(1_000).min(ANNOUNCED_S_MAX);
        let heard = last_seen.max(0).cast_unsigned() << ANNOUNCED_BITS | announced_s;
        self.rows.extend_from_slice(&name.to_le_bytes());
        self.rows.extend_from_slice(&heard.to_le_bytes());
    }

    /// Writes what was added since the last time: a million vehicles would be 16 MB of memory.
    ///
    /// # Errors
    /// As [`begin`](SeenFile::begin).
    pub fn write_out(&mut self) -> io::Result<()> {
        self.sum.update(&self.rows);
        self.file.write_all(&self.rows)?;
        self.rows.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn key(vehicle: &str) -> VehicleKey {
        VehicleKey::parse("acme", vehicle).unwrap()
    }

    fn file(folder: &TempDir) -> SeenFile {
        SeenFile::new(folder.path().join(FILE), "9f8e".repeat(8))
    }

    fn written(file: &SeenFile, vehicles: i64) -> Vec<u8> {
        let mut image = file.begin(7_000).unwrap();
        for n in 0..vehicles {
            image.add(file.name(&key(&format!("v{n}"))), n * 10, Announced::of(n * 1_001));
            if n % 7 == 0 {
                image.write_out().unwrap();
            }
        }
        file.finish(image).unwrap();
        fs::read(file.path()).unwrap()
    }

    /// R23.
    #[test]
    fn what_was_written_is_read_back() {
        let folder = TempDir::new().unwrap();
        let file = file(&folder);
        assert_eq!(file.read().unwrap(), None, "absent is no fault");
        for vehicles in [1_000, 0, 3] {
            let bytes = written(&file, vehicles);
            assert_eq!(bytes.len(), 56 + 16 * vehicles as usize);
            let seen = file.read().unwrap().unwrap();
            assert_eq!((seen.alive_until, seen.vehicles()), (7_000, vehicles as usize));
            let whole_seconds = |n: i64| Announced::of((n * 1_001 + 999) / 1_000 * 1_000);
            assert!((0..vehicles).all(|n| seen.of(&key(&format!("v{n}"))) == Some((n * 10, whole_seconds(n)))));
            assert_eq!(seen.of(&key("stranger")), None);
        }
        let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [FILE], "nothing else is left");
    }

    #[test]
    fn a_torn_damaged_or_foreign_file_is_refused() {
        let folder = TempDir::new().unwrap();
        let file = file(&folder);
        let whole = written(&file, 20);
        for cut in 0..whole.len() {
            fs::write(file.path(), &whole[..cut]).unwrap();
            assert!(file.read().is_err(), "cut at {cut}");
        }
        for place in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[place] ^= 1;
            fs::write(file.path(), damaged).unwrap();
            assert!(file.read().is_err(), "damaged at {place}");
        }
        fs::write(file.path(), &whole).unwrap();
        let other = SeenFile::new(file.path().to_owned(), "another".into());
        assert!(other.read().unwrap_err().to_string().contains("another store"));
        assert!(file.read().unwrap().is_some());
    }

    /// The file outlives the release that wrote it: a change of the hash would lose every row without a word.
    #[test]
    fn the_hash_is_the_same_in_every_release() {
        let names = Names::of("0123456789abcdef0123456789abcdef");
        assert_eq!(names.hash(&key("MTA NYCT_7326")), 1_031_443_543_098_181_676);
        let split = |customer: &str, vehicle: &str| names.hash(&VehicleKey::parse(customer, vehicle).unwrap());
        assert_ne!(split("ab", "c"), split("a", "bc"));
    }
}
