//! `rollcall mosquitto-auth`: writes the files with which a Mosquitto lets in whom our own broker would. Called by
//! main.rs; reads keys from the store, and takes nothing else from it.

use std::fs::{OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use ring::rand::SystemRandom;

use crate::access::Access;
use crate::access::mosquitto::hash;
use crate::clock::Clock;
use crate::domain::access::Scope;
use crate::ingest::mosquitto::{Login, files};
use crate::settings::Settings;
use crate::store::{self, local};

/// Keys of a list that are read at once.
const PAGE: usize = 1_000;

/// Where the files go.
#[derive(Debug, Args)]
pub struct Places {
    /// Mosquitto's password_file.
    #[arg(long, value_name = "FILE")]
    passwords: PathBuf,
    /// Mosquitto's acl_file.
    #[arg(long, value_name = "FILE")]
    acl: PathBuf,
}

/// Writes both files, each at once and readable by its owner and group, and says how many keys are in them.
///
/// # Errors
/// One sentence: a store that does not answer, or a file that cannot be written.
pub async fn run(settings: &Settings, places: &Places) -> anyhow::Result<()> {
    let url = settings.store.url.expose();
    let (store, clock) = (store::open(url).await?, Clock::start());
    let folder = local::folder(url, settings.store.local_dir.as_deref());
    let access = Access::open(&settings.auth, folder, Arc::clone(&store) as _, clock).await?;
    let hashes = store.mosquitto_hashes().await;
    let now = clock.today();
    store.close().await;
    let hashes = hashes?;
    let (mut logins, mut unknown, mut after) = (Vec::new(), Vec::new(), None);
    loop {
        let page = access.page(after, PAGE, |_| true);
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        for key in page {
            let good = key.revoked_at.is_none() && key.grant.expires_at.is_none_or(|at| at > now);
            if !good || !(key.grant.scopes.has(Scope::Ingest) || key.grant.scopes.has(Scope::Read)) {
                continue;
            }
            match hashes.get(&key.id) {
                Some(hash) => logins.push(Login { id: key.id, grant: key.grant, hash: hash.clone() }),
                None => unknown.push(format!("{} ({})", key.id, key.grant.name)),
            }
        }
    }
    let own = settings.mqtt.username.as_ref().and_then(|_| hash(settings.mqtt.password.expose(), &SystemRandom::new()));
    let has_own = own.is_some();
    let files = files(&logins, &settings.mqtt, own).map_err(anyhow::Error::msg)?;
    replace(&places.passwords, &files.passwords)?;
    replace(&places.acl, &files.rights)?;
    println!("{} keys written; tell Mosquitto to read the files again (kill -HUP, systemctl reload)", logins.len());
    if !has_own {
        println!("mqtt.username is not set, so Rollcall itself is not in them, and would not be let in");
    }
    if !unknown.is_empty() {
        println!("left out, for Mosquitto's hash is made with a key only; make anew: {}", unknown.join(", "));
    }
    Ok(())
}

/// Writes beside it and puts it in place, so that Mosquitto never reads half of it.
fn replace(file: &Path, content: &str) -> anyhow::Result<()> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let write = || -> std::io::Result<()> {
        let mut open = OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(&beside)?;
        open.set_permissions(Permissions::from_mode(0o640))?;
        open.write_all(content.as_bytes())?;
        open.sync_all()?;
        // Whoever owned it, Mosquitto as a rule, goes on owning it, as far as we may say so.
        if let Ok(before) = std::fs::metadata(file) {
            use std::os::unix::fs::MetadataExt;
            let _ = std::os::unix::fs::chown(&beside, Some(before.uid()), Some(before.gid()));
        }
        std::fs::rename(&beside, file)
    };
    write().with_context(|| format!("cannot write {}", file.display()))
}
