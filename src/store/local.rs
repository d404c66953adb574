//! The folder on local disk where Rollcall keeps its own small files beside the store, and that it is ours alone.
//! Named by the settings; opened once at start, before the store; read and written by the spool and whoever else keeps
//! a file there. Knows folders and locks, nothing of the fleet.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};

use super::sqlite;

/// Held locked by the process that owns the folder. The kernel lets go of it when that process ends, however it ends.
const LOCK: &str = "rollcall.lock";
/// Where the files lie when the store is on a server and no folder is set.
const BESIDE_A_SERVER: &str = "data";
const CHOOSE: &str = "choose another folder with store.local_dir";

/// A folder that this process alone uses, as long as this lives.
#[derive(Debug)]
pub struct Local {
    folder: PathBuf,
    _lock: File,
}

/// The folder for the files beside a store: the one that is set, else the one of the SQLite file, else `data`. None for
/// a store in memory, which is gone with the process anyway.
pub fn folder(store_url: &str, set: Option<&Path>) -> Option<PathBuf> {
    if let Some(folder) = set {
        return Some(folder.to_owned());
    }
    match store_url.strip_prefix("sqlite:") {
        Some(path) => {
            let beside = sqlite::file(path)?.parent().filter(|folder| !folder.as_os_str().is_empty());
            Some(beside.unwrap_or(".".as_ref()).to_owned())
        }
        None => Some(BESIDE_A_SERVER.into()),
    }
}

impl Local {
    /// Makes the folder where it is absent, and takes it for this process.
    ///
    /// # Errors
    /// One sentence that names the folder: it cannot be written, or another process has it.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        let shown = folder.display();
        let unusable = |error| anyhow!("cannot use the folder {shown} ({error}): make it writable, or {CHOOSE}");
        std::fs::create_dir_all(folder).map_err(unusable)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(folder.join(LOCK));
        let lock = lock.map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { folder: folder.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => {
                bail!("the folder {shown} is in use by another Rollcall: stop that one, or {CHOOSE}")
            }
            Err(TryLockError::Error(error)) => Err(unusable(error)),
        }
    }

    /// Where a file or folder of this name lies.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// Whether the folder can be written, or made: the nearest one above it that exists must allow it. Changes nothing.
///
/// # Errors
/// Which folder does not.
pub fn probe(folder: &Path) -> anyhow::Result<()> {
    let sentence = || format!("the folder {} cannot be written", folder.display());
    let parents = folder.ancestors().map(|folder| if folder.as_os_str().is_empty() { ".".as_ref() } else { folder });
    let existing = parents.into_iter().find(|folder| folder.exists()).with_context(sentence)?;
    anyhow::ensure!(existing.is_dir() && !existing.metadata()?.permissions().readonly(), sentence());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_the_one_that_is_set_or_beside_the_file() {
        let at = |url, set: Option<&str>| folder(url, set.map(Path::new)).map(|folder| folder.display().to_string());
        assert_eq!(at("sqlite:data/rollcall.db", None).as_deref(), Some("data"));
        assert_eq!(at("sqlite:///var/lib/rollcall/r.db", None).as_deref(), Some("/var/lib/rollcall"));
        assert_eq!(at("sqlite:r.db", None).as_deref(), Some("."));
        assert_eq!(at("sqlite::memory:", None), None);
        assert_eq!(at("sqlite::memory:", Some("x")).as_deref(), Some("x"));
        assert_eq!(at("postgres://u@h/d", None).as_deref(), Some("data"));
        assert_eq!(at("postgres://u@h/d", Some("/x/y")).as_deref(), Some("/x/y"));
    }

    #[test]
    fn a_folder_has_one_owner_at_a_time() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("a/b");
        probe(&folder).unwrap();
        let first = Local::open(&folder).unwrap();
        let error = Local::open(&folder).unwrap_err().to_string();
        assert!(error.contains(&folder.display().to_string()) && error.contains("store.local_dir"), "{error}");
        drop(first);
        let again = Local::open(&folder).unwrap();
        assert_eq!(again.path("spool"), folder.join("spool"));
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = Local::open(&file.join("x")).unwrap_err().to_string();
        assert!(error.contains("file/x") && error.contains("store.local_dir"), "{error}");
        assert!(probe(&file.join("x")).unwrap_err().to_string().contains("file/x"));
    }
}
