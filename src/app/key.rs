//! `rollcall key`: make, list and revoke API keys in the store itself; this is where the first key comes from.
//! A running service sees it within a second. Called by main.rs.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Subcommand;

use crate::access::Access;
use crate::clock::Clock;
use crate::domain::access::{Grant, KeyId, Scopes};
use crate::domain::time::rfc3339;
use crate::settings::{Settings, Span};
use crate::store::access::StoredKey;
use crate::store::audit::AuditEntry;
use crate::store::{self, Store, local};

/// Keys of a list that are read at once.
const PAGE: usize = 1_000;

/// What is to be done with keys.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key, and print it: it is shown this once.
    Create {
        /// What it is for, for people.
        #[arg(long)]
        name: String,
        /// Comma list of read, ingest, manage, admin.
        #[arg(long, value_parser = Scopes::parse)]
        scopes: Scopes,
        /// Whose vehicles; without it those of all customers.
        #[arg(long)]
        customer: Option<String>,
        /// The one vehicle that sends with it (scope ingest alone).
        #[arg(long, requires = "customer")]
        vehicle: Option<String>,
        /// For how long it is good, such as 90d; without it for ever.
        #[arg(long, value_name = "DURATION")]
        expires_in: Option<Span>,
    },
    /// List the keys, without their secrets.
    List {
        /// Only those of this customer.
        #[arg(long)]
        customer: Option<String>,
    },
    /// Revoke a key; a running service throws out who came in with it, within a second.
    Revoke {
        /// Its identifier: 16 digits, the first part of the key after rk_.
        id: String,
    },
}

/// Does it.
///
/// # Errors
/// One sentence: a grant that makes no sense, no such key, or a store that does not answer.
pub async fn run(settings: &Settings, command: KeyCommand) -> anyhow::Result<()> {
    let (store, access, clock) = open_access(settings).await?;
    let outcome = obey(&access, &*store, clock, command).await;
    store.close().await;
    outcome
}

/// The store that a service with these settings would use, and who may come in there.
///
/// # Errors
/// One sentence: a store in memory, or one that does not answer.
pub async fn open_access(settings: &Settings) -> anyhow::Result<(Arc<dyn Store>, Arc<Access>, Clock)> {
    let (store, clock, folder) = open_store(settings).await?;
    let access = Access::open(&settings.auth, folder, Arc::clone(&store) as _, clock).await?;
    Ok((store, access, clock))
}

/// That store, and the folder beside it.
///
/// # Errors
/// As [`open_access`].
pub async fn open_store(settings: &Settings) -> anyhow::Result<(Arc<dyn Store>, Clock, Option<PathBuf>)> {
    let url = settings.store.url.expose();
    if url.starts_with("sqlite:") && url.ends_with(":memory:") {
        bail!("a store in memory is gone with this command; name the service's own with --store");
    }
    let folder = local::folder(url, settings.store.local_dir.as_deref());
    Ok((store::open(url).await?, Clock::start(), folder))
}

async fn obey(access: &Access, store: &dyn Store, clock: Clock, command: KeyCommand) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match command {
        KeyCommand::Create { name, scopes, customer, vehicle, expires_in } => {
            let expires_at = expires_in.map(|span| clock.today() + span.0);
            let (customer, vehicle) = (customer.map(Arc::from), vehicle.map(Arc::from));
            let grant = Grant { name, customer, vehicle, scopes, expires_at };
            grant.check(clock.today()).map_err(|(field, problem)| anyhow::anyhow!("{field}: {problem}"))?;
            let (key, full) = access.create(grant, &operator()).await?;
            note(store, clock, "key.created", &key).await?;
            eprintln!("this is key {}; it is shown only now:", key.id);
            writeln!(out, "{}", full.expose())?;
        }
        KeyCommand::List { customer } => {
            let fits = |grant: &Grant| customer.is_none() || grant.customer.as_deref() == customer.as_deref();
            let mut after = None;
            loop {
                let page = access.page(after, PAGE, fits);
                let Some(last) = page.last() else { break };
                after = Some(last.id);
                for key in &page {
                    writeln!(out, "{}", line(key))?;
                }
            }
        }
        KeyCommand::Revoke { id } => {
            let key = KeyId::parse(&id).and_then(|id| access.find(id));
            let key = key.with_context(|| format!("there is no key '{id}'; `rollcall key list` shows them"))?;
            if access.revoke(key.id).await? {
                note(store, clock, "key.revoked", &key).await?;
            }
            eprintln!("key {} ({}) is revoked", key.id, key.grant.name);
        }
    }
    Ok(())
}

/// One key in a line, its parts apart by tabs.
fn line(key: &StoredKey) -> String {
    let grant = &key.grant;
    let whose = match (&grant.customer, &grant.vehicle) {
        (Some(customer), Some(vehicle)) => format!("{customer}/{vehicle}"),
        (Some(customer), None) => customer.to_string(),
        (None, _) => "all customers".into(),
    };
    let state = match (key.revoked_at, grant.expires_at) {
        (Some(at), _) => format!("revoked {}", rfc3339(at)),
        (None, Some(at)) => format!("until {}", rfc3339(at)),
        (None, None) => "no end".into(),
    };
    let used = key.last_used_at.map_or_else(|| "never used".into(), |at| format!("used {}", rfc3339(at)));
    [key.id.to_string(), grant.name.clone(), whose, grant.scopes.words(), state, used].join("\t")
}

/// Who sits at the command line, as far as the system says.
pub fn operator() -> String {
    format!("command line ({})", std::env::var("USER").unwrap_or_else(|_| "unknown user".into()))
}

async fn note(store: &dyn Store, clock: Clock, what: &str, key: &StoredKey) -> anyhow::Result<()> {
    let entry = AuditEntry {
        at: clock.today(),
        who: operator(),
        customer: key.grant.customer.clone(),
        what: what.to_owned(),
        subject: format!("key {} ({})", key.id, key.grant.name),
        address: String::new(),
        result: "ok".to_owned(),
    };
    store.record(&entry).await.context("it is done, but the audit could not be written")
}
