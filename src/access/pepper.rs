//! The pepper: what keys the hashes of keys. It lies outside the database, so that whoever can only write there cannot
//! make a key that we would believe. From `auth.pepper`, or made on first use and kept in the local folder.
//! Used by the access station to make and to check hashes.

use std::fmt;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use anyhow::Context;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

use crate::domain::access::FullKey;

/// Its file in the local folder; readable by its owner only.
const FILE: &str = "pepper";

/// The secret half of every hash.
pub struct Pepper {
    key: hmac::Key,
    id: String,
}

impl Pepper {
    fn new(secret: &[u8]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let id = hex(&hmac::sign(&key, b"which pepper").as_ref()[..8]);
        Self { key, id }
    }

    /// The one that is set, or the one in the folder; none when there is none yet.
    pub fn find(set: &str, folder: Option<&Path>) -> anyhow::Result<Option<Self>> {
        if !set.is_empty() {
            return Ok(Some(Self::new(set.as_bytes())));
        }
        let Some(path) = folder.map(|folder| folder.join(FILE)) else { return Ok(None) };
        match std::fs::read(&path) {
            Ok(secret) => Ok(Some(Self::new(secret.trim_ascii()))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read the pepper in {}", path.display())),
        }
    }

    /// The one there is; else a new one, which is kept in the folder, or for this process only where there is none.
    pub fn find_or_make(set: &str, folder: Option<&Path>, random: &SystemRandom) -> anyhow::Result<Self> {
        if let Some(found) = Self::find(set, folder)? {
            return Ok(found);
        }
        let mut secret = [0; 32];
        random.fill(&mut secret).map_err(|_| anyhow::anyhow!("the system has no random bytes"))?;
        let secret = hex(&secret);
        let Some(folder) = folder else { return Ok(Self::new(secret.as_bytes())) };
        keep(folder, &secret)
            .with_context(|| format!("cannot keep the pepper in {}; or set auth.pepper", folder.display()))?;
        // Two processes that make one at once both use the one that came first.
        Self::find(set, Some(folder))?.context("the pepper that was just kept is gone")
    }

    /// Which one it is; says nothing of the secret.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The hash of a key's secret. Its identifier is in it, so a hash moved to another key's row fits nothing there.
    pub fn hash(&self, key: &FullKey) -> [u8; 32] {
        bytes(hmac::sign(&self.key, &text_of(key)))
    }

    /// The hash of something else; `what` keeps one kind from ever fitting another, or a key.
    pub fn seal(&self, what: &str, text: &[u8]) -> [u8; 32] {
        bytes(hmac::sign(&self.key, &[what.as_bytes(), b":", text].concat()))
    }

    /// Whether [`Pepper::seal`] made this of it; takes as long either way.
    pub fn is_seal(&self, what: &str, text: &[u8], seal: &[u8; 32]) -> bool {
        hmac::verify(&self.key, &[what.as_bytes(), b":", text].concat(), seal).is_ok()
    }

    /// Whether this hash is of this key; takes as long either way.
    pub fn matches(&self, key: &FullKey, hash: &[u8; 32]) -> bool {
        hmac::verify(&self.key, &text_of(key), hash).is_ok()
    }
}

impl fmt::Debug for Pepper {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Pepper({})", self.id)
    }
}

fn bytes(tag: hmac::Tag) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(tag.as_ref());
    hash
}

fn text_of(key: &FullKey) -> Vec<u8> {
    [key.id.to_string().as_bytes(), b":", &key.secret].concat()
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Written aside and linked into place, so that the file is never there half; one that is there already stays.
fn keep(folder: &Path, secret: &str) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)?;
    let aside = folder.join(format!("{FILE}.{}", std::process::id()));
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&aside)?;
    writeln!(file, "{secret}")?;
    file.sync_all()?;
    let linked = std::fs::hard_link(&aside, folder.join(FILE));
    std::fs::remove_file(&aside)?;
    match linked {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::access::KeyId;

    #[test]
    fn a_pepper_is_made_once_kept_for_its_owner_alone_and_found_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let (inner, random) = (folder.path().join("data"), SystemRandom::new());
        assert!(Pepper::find("", Some(&inner)).expect("reads").is_none());
        let made = Pepper::find_or_make("", Some(&inner), &random).expect("made");
        let again = Pepper::find_or_make("", Some(&inner), &random).expect("found");
        assert_eq!(made.id(), again.id());
        let files: Vec<_> = std::fs::read_dir(&inner).expect("listed").collect();
        assert_eq!(files.len(), 1, "{files:?}");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = inner.join(FILE).metadata().expect("is there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        let set = Pepper::find("from the settings", Some(&inner)).expect("reads").expect("is set");
        assert_ne!(set.id(), made.id());
        assert!(!format!("{set:?}").contains("settings"));
    }

    #[test]
    fn a_hash_fits_its_own_key_and_pepper_only() {
        let (pepper, other) = (Pepper::new(b"one"), Pepper::new(b"two"));
        let key = FullKey { id: KeyId::new(7), secret: [9; 32] };
        let hash = pepper.hash(&key);
        assert!(pepper.matches(&key, &hash) && !other.matches(&key, &hash));
        assert!(!pepper.matches(&FullKey { id: KeyId::new(8), ..key.clone() }, &hash));
        assert!(!pepper.matches(&FullKey { secret: [8; 32], ..key }, &hash));
    }
}
