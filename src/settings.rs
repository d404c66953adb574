//! Every setting, typed, with its default: built-in < TOML files < environment `ROLLCALL__SECTION__NAME` < flags. Read
//! by main.rs before anything is bound; a wrong or unknown key is an error that names it and the nearest known one.

mod check;
mod doors;
mod history;
mod map;
mod oidc;
mod values;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize};

use crate::domain::heartbeat::Format;
use crate::domain::policy::Rules;

pub use doors::{Http, Network, Origin, Tls};
pub use history::{HeartbeatsKept, History, Retention};
pub use map::Map;
pub use oidc::{Oidc, is_private};
use values::one_of;
pub use values::{Secret, Span};

/// All settings of the service.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// The HTTP door: REST, WebSocket, dashboard.
    pub http: Http,
    /// The certificate of our own listeners.
    pub tls: Tls,
    /// The MQTT door.
    pub mqtt: Mqtt,
    /// Where transitions are kept.
    pub store: Store,
    /// The vehicles and their timeouts.
    pub fleet: Fleet,
    /// What is kept of the past beside transitions.
    pub history: History,
    /// The live push.
    pub live: Live,
    /// Who may come in.
    pub auth: Auth,
    /// The map of the dashboard.
    pub map: Map,
    /// What is logged, and how.
    pub log: Log,
}

/// The MQTT door: an embedded broker, or a connection to an external one.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Mqtt {
    /// Address and port of the embedded broker; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Address and port of the embedded broker for MQTT over TLS, beside `listen`; port 0 takes a free one.
    pub tls_listen: Option<SocketAddr>,
    /// External broker (`mqtt://host:1883`, `mqtts://host:8883`); then there is no embedded one.
    pub broker: Option<Secret>,
    /// Whom we believe that an external broker is who it says, PEM; None: whom this system believes.
    pub ca_file: Option<PathBuf>,
    /// Client id at the external broker; its persistent session hangs on it, so it must be unique and stable.
    pub client_id: String,
    /// User name at the external broker.
    pub username: Option<String>,
    /// Password at the external broker.
    pub password: Secret,
    /// How long the external broker keeps our session and queues heartbeats while we are away.
    pub session_expiry: Span,
    /// Largest packet taken, in bytes.
    pub packet_bytes_max: u32,
    /// Most connections to the embedded broker.
    pub connections_max: usize,
    /// Most connections to the embedded broker from one address.
    pub connections_per_address_max: usize,
    /// How long a new connection to the embedded broker may take to send its whole CONNECT.
    pub connect_timeout: Span,
    /// Publish each transition, retained, on `fleet/{customer}/{vehicle}/status`.
    pub publish_status: bool,
    /// How often the canary, a vehicle that does not exist, goes the whole way through the broker; 0 for never.
    pub canary_interval: Span,
    /// Where Rollcall says, retained, whether it is there; empty for nowhere.
    pub presence_topic: String,
    /// Which topics are read, and as what.
    pub topics: Vec<Topic>,
}

impl Default for Mqtt {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 1883)),
            tls_listen: None,
            broker: None,
            ca_file: None,
            client_id: "rollcall".into(),
            username: None,
            password: Secret::default(),
            session_expiry: Span(3_600_000),
            packet_bytes_max: 65_536,
            connections_max: 20_000,
            connections_per_address_max: 20_000,
            connect_timeout: Span(10_000),
            publish_status: false,
            canary_interval: Span(2_000),
            presence_topic: "rollcall/{client_id}/presence".into(),
            topics: [TopicKind::Heartbeat, TopicKind::Will, TopicKind::Goodbye].map(Topic::standard).into(),
        }
    }
}

/// One topic pattern.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topic {
    /// Levels with `{customer}` and `{vehicle}` as the named ones; `+` matches any one level.
    pub pattern: String,
    /// What a message there means.
    pub kind: TopicKind,
    /// How its payload is read.
    #[serde(default)]
    pub format: Format,
    /// The customer of a pattern without `{customer}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer: Option<String>,
}

impl Topic {
    fn standard(kind: TopicKind) -> Self {
        let pattern = format!("fleet/{{customer}}/{{vehicle}}/{}", kind.word());
        Self { pattern, kind, format: Format::Json, customer: None }
    }
}

/// What a message on a topic means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TopicKind {
    /// The vehicle is there.
    Heartbeat,
    /// Its connection broke.
    Will,
    /// It switches off as planned.
    Goodbye,
}

impl TopicKind {
    /// The word used in topics and settings.
    pub fn word(self) -> &'static str {
        match self {
            Self::Heartbeat => "heartbeat",
            Self::Will => "will",
            Self::Goodbye => "goodbye",
        }
    }
}

/// Where transitions are kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Store {
    /// `sqlite:PATH`, `sqlite::memory:` or `postgres://...` (may hold a password, so it is masked).
    pub url: Secret,
    /// A replica of a Postgres store, where history is read; None: at the store itself. May hold a password.
    pub replica_url: Option<Secret>,
    /// Folder for Rollcall's own small files beside the store; one process at a time. None: the folder of the SQLite
    /// file, or `data`; a store in memory has none.
    pub local_dir: Option<PathBuf>,
    /// When what waits in the spool is forced onto the disk.
    pub spool_sync: SpoolSync,
    /// Most bytes of the spool.
    pub spool_bytes_max: u64,
    /// How often the times of last heartbeats are written to the local file; after a crash nothing younger is known.
    pub last_seen_interval: Span,
    /// How often what was last heard of each vehicle, its position and gauges too, is written to the store.
    pub checkpoint_interval: Span,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            url: Secret::from("sqlite:data/rollcall.db"),
            replica_url: None,
            local_dir: None,
            spool_sync: SpoolSync::Always,
            spool_bytes_max: 1 << 30,
            last_seen_interval: Span(5_000),
            checkpoint_interval: Span(60_000),
        }
    }
}

/// When what is appended to the spool is forced onto the disk; until then a power cut may take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SpoolSync {
    /// Before anybody is told that it is safe.
    Always,
    /// Once a second.
    Interval,
    /// When the operating system likes.
    Never,
}

/// The vehicles and their timeouts.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Fleet {
    /// Silence longer than this is offline.
    pub offline_after: Span,
    /// After a will or an unclean disconnect a vehicle has this long to speak again.
    pub will_grace: Span,
    /// Longest announced sleep (`next_in_s`) that is believed.
    pub sleep_max: Span,
    /// Tolerance added to an announced sleep.
    pub sleep_grace: Span,
    /// A heartbeat whose device time is older than this is backlog.
    pub backlog_after: Span,
    /// A device clock further ahead than this is not believed.
    pub future_max: Span,
    /// A device clock further behind than this is not believed.
    pub past_max: Span,
    /// Most vehicles in all.
    pub max_vehicles: usize,
    /// Most vehicles of one customer.
    pub max_vehicles_per_customer: usize,
    /// Take vehicles that nobody registered.
    pub auto_register: bool,
    /// Heartbeats a second a vehicle may send in full; 0 is no limit.
    pub beats_per_s_max: u32,
    /// Heartbeats a vehicle may send at once after a pause; 0 is no limit.
    pub beats_burst: u32,
    /// Threads the vehicles are spread over; 0 takes half the cores.
    pub shards: usize,
}

impl Default for Fleet {
    fn default() -> Self {
        let rules = Rules::default();
        Self {
            offline_after: Span(rules.offline_after),
            will_grace: Span(rules.will_grace),
            sleep_max: Span(rules.sleep_max),
            sleep_grace: Span(rules.sleep_grace),
            backlog_after: Span(rules.backlog_after),
            future_max: Span(rules.future_max),
            past_max: Span(rules.past_max),
            max_vehicles: 2_000_000,
            max_vehicles_per_customer: 2_000_000,
            auto_register: true,
            beats_per_s_max: 10,
            beats_burst: 1_000,
            shards: 0,
        }
    }
}

impl Fleet {
    /// The rules every vehicle is judged by.
    pub fn rules(&self) -> Rules {
        Rules {
            offline_after: self.offline_after.0,
            will_grace: self.will_grace.0,
            sleep_max: self.sleep_max.0,
            sleep_grace: self.sleep_grace.0,
            backlog_after: self.backlog_after.0,
            future_max: self.future_max.0,
            past_max: self.past_max.0,
        }
    }
}

/// The live push.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Live {
    /// How often changes are pushed to dashboards.
    pub tick: Span,
    /// Most dashboards at once.
    pub dashboards_max: usize,
}

impl Default for Live {
    fn default() -> Self {
        Self { tick: Span(250), dashboards_max: 10_000 }
    }
}

/// Who may come in.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Auth {
    /// Must be written out before a listener may be bound to anything but loopback, where nobody is asked by default.
    pub mode: Option<AuthMode>,
    /// What keys the hashes of keys; empty: one is made on first use and kept in the local folder.
    pub pepper: Secret,
    /// A session that is not used for so long is over; an open dashboard is use.
    pub session_idle: Span,
    /// A session is over after so long, however much it is used.
    pub session_max: Span,
    /// Wrong passwords of one user at once; from one address three times as many.
    pub login_tries: u32,
    /// After those, one more is judged in each such time; from one address three.
    pub login_pause: Span,
    /// How long it is kept what administrators did.
    pub audit_keep: Span,
    /// Most entries of it; the oldest go first.
    pub audit_rows_max: u64,
    /// Who signs in with an identity provider.
    pub oidc: Oidc,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            mode: None,
            pepper: Secret::default(),
            session_idle: Span(8 * 3_600_000),
            session_max: Span(7 * 86_400_000),
            login_tries: 10,
            login_pause: Span(30_000),
            audit_keep: Span(365 * 86_400_000),
            audit_rows_max: 1_000_000,
            oidc: Oidc::default(),
        }
    }
}

/// How callers are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMode {
    /// Everybody may do everything: the operator says that the network is the wall.
    Open,
    /// Every door asks for a key.
    Keys,
}

/// What is logged, and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Log {
    /// Lines for people or for machines.
    pub format: LogFormat,
    /// Which targets at which level, as `tracing` reads it.
    pub filter: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: "warn,mqtt5=error,rollcall=info".into() }
    }
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

impl<'de> Deserialize<'de> for AuthMode {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        one_of(input, &[("open", Self::Open), ("keys", Self::Keys)])
    }
}

impl<'de> Deserialize<'de> for SpoolSync {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        one_of(input, &[("always", Self::Always), ("interval", Self::Interval), ("never", Self::Never)])
    }
}

impl<'de> Deserialize<'de> for LogFormat {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        one_of(input, &[("text", Self::Text), ("json", Self::Json)])
    }
}

/// Reads all layers and checks them.
///
/// # Errors
/// One sentence for each fault, all of them at once.
pub fn load(
    files: &[PathBuf],
    environment: impl IntoIterator<Item = (String, String)>,
    flags: &[(&str, String)],
) -> Result<Settings, Vec<String>> {
    let mut faults = Vec::new();
    let mut layers = config::Config::builder();
    for file in files {
        layers = layers.add_source(config::File::from(file.as_path()).format(config::FileFormat::Toml));
    }
    let variables = read_secret_files(environment, &mut faults);
    let source = config::Environment::with_prefix("ROLLCALL").prefix_separator("__").separator("__");
    layers = layers.add_source(source.source(Some(variables)));
    for (key, value) in flags {
        layers = layers.set_override(*key, value.as_str()).map_err(|error| vec![error.to_string()])?;
    }
    let merged = match layers.build() {
        Ok(merged) => merged,
        Err(error) => return Err([faults, vec![error.to_string()]].concat()),
    };
    faults.extend(unknown_keys(&merged));
    let settings = merged.try_deserialize::<Settings>().map_err(|error| faults.push(error.to_string()));
    if let Ok(settings) = &settings {
        faults.extend(check::check(settings));
    }
    settings.ok().filter(|_| faults.is_empty()).ok_or(faults)
}

/// `ROLLCALL__STORE__URL_FILE=/run/secrets/url` stands for the content of that file.
fn read_secret_files(
    environment: impl IntoIterator<Item = (String, String)>,
    faults: &mut Vec<String>,
) -> HashMap<String, String> {
    let mut variables = HashMap::new();
    // `tls.cert_file` is a setting of that name, and not a `tls.cert` in a file.
    let known = known_keys();
    let is_setting = |name: &str| known.contains(&name["ROLLCALL__".len()..].replace("__", ".").to_lowercase());
    for (name, value) in environment.into_iter().filter(|(name, _)| name.starts_with("ROLLCALL__")) {
        let Some(stem) = name.strip_suffix("_FILE").filter(|_| !is_setting(&name)) else {
            variables.insert(name, value);
            continue;
        };
        match std::fs::read_to_string(&value) {
            Ok(content) => drop(variables.insert(stem.to_owned(), content.trim_end().to_owned())),
            Err(error) => faults.push(format!("cannot read {value}, named by {name}: {error}")),
        }
    }
    variables
}

fn unknown_keys(merged: &config::Config) -> Vec<String> {
    let given: serde_json::Value = merged.clone().try_deserialize().unwrap_or_default();
    let (known, mut found) = (known_keys(), Vec::new());
    flatten("", &given, &mut found);
    let unknown = found.into_iter().filter(|key| !known.contains(key));
    unknown
        .map(|key| match known.iter().min_by_key(|name| strsim::damerau_levenshtein(name, &key)) {
            Some(nearest) => format!("unknown setting '{key}'; the nearest known one is '{nearest}'"),
            None => format!("unknown setting '{key}'"),
        })
        .collect()
}

/// Every setting there is, as `section.name`.
fn known_keys() -> Vec<String> {
    let mut known = Vec::new();
    flatten("", &serde_json::to_value(Settings::default()).unwrap_or_default(), &mut known);
    known
}

fn flatten(prefix: &str, value: &serde_json::Value, keys: &mut Vec<String>) {
    match value.as_object() {
        Some(object) => {
            for (name, inner) in object {
                let dot = if prefix.is_empty() { "" } else { "." };
                flatten(&format!("{prefix}{dot}{name}"), inner, keys);
            }
        }
        None => keys.push(prefix.to_owned()),
    }
}

#[cfg(test)]
mod tests;
