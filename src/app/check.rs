//! `rollcall check`: the effective settings, and whether store, broker and identity provider can be reached; and what
//! every command that uses them refuses beforehand. Called by main.rs; changes nothing.

use std::time::Duration;

use crate::access::oidc::Oidc;
use crate::gate::certificate::Certificate;
use crate::ingest::subscriber::Address;
use crate::ingest::topics::Topics;
use crate::settings::Settings;
use crate::store::{self, local};

/// How long a probe may take.
const PROBE_MAX: Duration = Duration::from_secs(5);

/// Prints the settings with secrets masked.
///
/// # Errors
/// Every fault found, a line each.
pub async fn check(settings: &Settings) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(settings).unwrap_or_default());
    let mut faults = Vec::new();
    faults.extend(Topics::compile(&settings.mqtt.topics).err());
    match tokio::time::timeout(PROBE_MAX, store::probe(settings.store.url.expose())).await {
        Ok(Ok(kind)) => println!("store: {kind} answers"),
        Ok(Err(error)) => faults.push(format!("{error:#}")),
        Err(_) => faults.push("the store did not answer within 5 s".into()),
    }
    let folder = local::folder(settings.store.url.expose(), settings.store.local_dir.as_deref());
    // Beside a SQLite file the probe of the store has said it already.
    if let Some(folder) = folder.filter(|_| settings.store.local_dir.is_some() || !is_sqlite(settings)) {
        faults.extend(local::probe(&folder).err().map(|error| format!("{error:#}")));
    }
    let exports = settings.exports.folder.as_deref().map(local::probe);
    faults.extend(exports.and_then(Result::err).map(|error| format!("exports.folder: {error:#}")));
    if let Some((cert, key)) = settings.tls.files() {
        match Certificate::probe(cert, key) {
            Ok(()) => println!("certificate: {} and its key fit", cert.display()),
            Err(error) => faults.push(format!("{error:#}")),
        }
    }
    if let Some(issuer) = &settings.auth.oidc.issuer {
        match Oidc::probe(&settings.auth.oidc).await {
            Ok(()) => println!("identity provider: {issuer} answers"),
            Err(error) => faults.push(format!("nobody could sign in with the identity provider: {error:#}")),
        }
    }
    if let Some(url) = &settings.mqtt.broker {
        match probe_broker(url.expose()).await {
            Ok(()) => println!("broker: {} answers", url.shown()),
            Err(error) => faults.push(format!("the broker at {} cannot be reached: {error:#}", url.shown())),
        }
    }
    anyhow::ensure!(faults.is_empty(), faults.join("\nrollcall: "));
    Ok(())
}

fn is_sqlite(settings: &Settings) -> bool {
    settings.store.url.expose().starts_with("sqlite:")
}

/// Settings that are of the right form but can never be used, whatever the environment: a sentence for each.
pub fn unusable(settings: &Settings) -> Vec<String> {
    let store = store::check_url(settings.store.url.expose()).err();
    let broker = settings.mqtt.broker.as_ref().and_then(|url| Address::parse(url.expose()).err());
    let topics = Topics::compile(&settings.mqtt.topics);
    let presence = settings.mqtt.presence_topic.replace("{client_id}", &settings.mqtt.client_id);
    let read = topics.as_ref().is_ok_and(|topics| topics.resolve(&presence).is_some());
    let read = read.then(|| format!("mqtt.topics would read mqtt.presence_topic '{presence}'; change one of them"));
    let topics = topics.err().into_iter().chain(read);
    store.into_iter().chain(broker).map(|error| format!("{error:#}")).chain(topics).collect()
}

async fn probe_broker(url: &str) -> anyhow::Result<()> {
    let address = Address::parse(url)?;
    tokio::time::timeout(PROBE_MAX, tokio::net::TcpStream::connect(address.endpoint())).await??;
    Ok(())
}
