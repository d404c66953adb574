//! Where finished files lie: a folder, or a store that speaks S3. Both under the identity of our database, so that two
//! installations may share a place.
//! Fed by run.rs and archive.rs with files that are written; read by downloads; swept by worker.rs.

mod s3;
mod wire;

use std::io::{ErrorKind, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::Context;
use bytes::Bytes;
use futures_util::{TryStreamExt, stream};
use tempfile::TempDir;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::Pieces;
use crate::settings::Exports as Settings;
use s3::S3;

/// Below the local folder.
const FOLDER: &str = "exports";
/// What is still being written.
const PART: &str = "part";
/// Bytes of a piece: one read, and what a slow reader holds.
const PIECE_BYTES: u64 = 256 * 1024;

/// The place of the files.
pub struct Storage {
    folder: PathBuf,
    s3: Option<S3>,
    /// Beside a store in memory: gone with the process.
    _temporary: Option<TempDir>,
}

impl Storage {
    /// The place that the settings name; `local` is the local folder.
    pub fn open(settings: &Settings, local: Option<PathBuf>, identity: &str) -> anyhow::Result<Self> {
        let set = settings.folder.clone().or_else(|| local.map(|local| local.join(FOLDER)));
        let temporary =
            if set.is_none() { Some(TempDir::new().context("no temporary folder for exports")?) } else { None };
        let base = set.or_else(|| temporary.as_ref().map(|folder| folder.path().to_owned())).unwrap_or_default();
        let folder = base.join(identity);
        std::fs::create_dir_all(&folder).with_context(|| {
            format!("cannot use the folder {}: make it writable, or choose another with exports.folder", base.display())
        })?;
        let s3 = settings.s3_url.as_ref().map(|url| S3::open(settings, url, identity)).transpose()?;
        Ok(Self { folder, s3, _temporary: temporary })
    }

    /// Where a file of this name is written before it is kept.
    pub fn part(&self, name: &str) -> PathBuf {
        self.folder.join(name).with_added_extension(PART)
    }

    /// Keeps a file that was written as [`Storage::part`]. `goes_on` is asked between the pieces of a long way.
    pub async fn keep(&self, name: &str, goes_on: impl Fn() -> bool) -> anyhow::Result<()> {
        let part = self.part(name);
        match &self.s3 {
            None => {
                std::fs::rename(&part, self.folder.join(name))?;
                sync_folder(&self.folder)
            }
            Some(s3) => {
                s3.upload(&part, name, goes_on).await?;
                Ok(std::fs::remove_file(&part)?)
            }
        }
    }

    /// Takes a file away, and what was written of it; one that is not there is no fault.
    pub async fn remove(&self, name: &str) -> anyhow::Result<()> {
        remove_file(&self.part(name))?;
        match &self.s3 {
            None => remove_file(&self.folder.join(name)),
            Some(s3) => s3.remove(name).await,
        }
    }

    /// Every file there is, parts under the name that they will have.
    pub async fn names(&self) -> anyhow::Result<Vec<String>> {
        let mut names = match &self.s3 {
            None => Vec::new(),
            Some(s3) => s3.names().await?,
        };
        for entry in std::fs::read_dir(&self.folder)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            names.push(name.strip_suffix(&format!(".{PART}")).map_or(name.clone(), str::to_owned));
        }
        Ok(names)
    }

    /// A file to read at any place of it, of which so many bytes are known: one that lies elsewhere is fetched into a
    /// file without a name first, which is gone when it is closed. None when there is no such file.
    pub async fn fetch(&self, name: &str, bytes: u64) -> anyhow::Result<Option<std::fs::File>> {
        if self.s3.is_none() {
            return match std::fs::File::open(self.folder.join(name)) {
                Ok(file) => Ok(Some(file)),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error.into()),
            };
        }
        let Some(mut pieces) = self.read(name, 0..bytes).await? else { return Ok(None) };
        let mut copy = tempfile::tempfile_in(&self.folder)?;
        while let Some(piece) = pieces.try_next().await? {
            copy.write_all(&piece)?;
        }
        copy.rewind()?;
        Ok(Some(copy))
    }

    /// A part of a file, piece by piece; none when there is no such file.
    pub async fn read(&self, name: &str, range: Range<u64>) -> anyhow::Result<Option<Pieces>> {
        if let Some(s3) = &self.s3 {
            return s3.read(name, range).await;
        }
        let mut file = match File::open(self.folder.join(name)).await {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        file.seek(SeekFrom::Start(range.start)).await?;
        let left = range.end - range.start;
        Ok(Some(Box::pin(stream::try_unfold((file, left), next_piece))))
    }
}

/// The next piece of a file of which so many bytes are left, and what is left then.
async fn next_piece((mut file, left): (File, u64)) -> anyhow::Result<Option<(Bytes, (File, u64))>> {
    if left == 0 {
        return Ok(None);
    }
    let mut piece = vec![0; left.min(PIECE_BYTES) as usize];
    let length = file.read(&mut piece).await?;
    anyhow::ensure!(length > 0, "the file is shorter than it was");
    piece.truncate(length);
    Ok(Some((Bytes::from(piece), (file, left - length as u64))))
}

fn remove_file(path: &Path) -> anyhow::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// The new name outlives a power cut too.
fn sync_folder(folder: &Path) -> anyhow::Result<()> {
    Ok(std::fs::File::open(folder)?.sync_all()?)
}
