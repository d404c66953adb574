//! The two stacks that the scenarios of restart, crash, outage and traces run on, behind one type: (a) embedded broker
//! and SQLite file, (b) Mosquitto and Postgres. Each has its own database, topics and client id, so that tests share
//! the two servers and nothing else.

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use parking_lot::Mutex;
use rand::Rng;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection, raw_sql};
use tempfile::TempDir;

use crate::support::{Live, Service, from_environment, rollcall, until};

/// The customer of every vehicle of these tests.
pub const CUSTOMER: &str = "acme";

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Embedded broker and SQLite file.
    Embedded,
    /// Mosquitto and Postgres.
    External,
}

/// A place to run the service in, again and again: what it stores and where it listens outlives the process.
pub struct Stack {
    /// Unique in this run.
    pub name: String,
    /// Where vehicles send to.
    pub broker: (String, u16),
    /// The URL of the store, as the test reads it.
    pub store: String,
    /// Where the service keeps its own files beside the store.
    pub local: PathBuf,
    flags: Vec<String>,
    folder: TempDir,
}

static NUMBER: AtomicU32 = AtomicU32::new(0);

impl Stack {
    /// One of the two; none when this machine lacks its servers.
    pub async fn of(kind: Kind) -> Option<Self> {
        match kind {
            Kind::Embedded => Some(Self::embedded()),
            Kind::External => {
                let broker = from_environment("ROLLCALL_TEST_MOSQUITTO")?;
                let store = database(&from_environment("ROLLCALL_TEST_POSTGRES")?).await;
                Some(Self::new(Some(&broker), store.clone(), &store))
            }
        }
    }

    /// Embedded broker and SQLite file.
    pub fn embedded() -> Self {
        Self::with_file(None)
    }

    /// A SQLite file, and this broker or the embedded one.
    pub fn with_file(broker: Option<&str>) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let store = format!("sqlite:{}/rollcall.db", folder.path().display());
        Self::within(folder, broker, store.clone(), &store)
    }

    /// Any combination; the service may reach the store by another way than the test.
    pub fn new(broker: Option<&str>, store: String, store_of_service: &str) -> Self {
        Self::within(tempfile::tempdir().expect("folder"), broker, store, store_of_service)
    }

    fn within(folder: TempDir, broker: Option<&str>, store: String, store_of_service: &str) -> Self {
        let name = unique();
        let topics = folder.path().join("topics.toml");
        let pattern = format!("{name}/{{customer}}/{{vehicle}}/heartbeat");
        std::fs::write(&topics, format!("[[mqtt.topics]]\npattern = '{pattern}'\nkind = 'heartbeat'\n")).expect("file");
        let mut flags = vec!["--config".to_owned(), topics.display().to_string()];
        flags.extend(["--store".to_owned(), store_of_service.to_owned()]);
        let local = folder.path().join("local");
        let broker = match broker {
            Some(url) => {
                flags.extend(["--broker".to_owned(), url.to_owned()]);
                let (host, port) = url.strip_prefix("mqtt://").and_then(|place| place.split_once(':')).expect("a port");
                (host.to_owned(), port.parse().expect("a port"))
            }
            // The same port after each restart, so that vehicles find it again.
            None => {
                let port = free_port();
                flags.extend(["--mqtt-listen".to_owned(), format!("127.0.0.1:{port}")]);
                ("127.0.0.1".to_owned(), port)
            }
        };
        Self { name, broker, store, local, flags, folder }
    }

    /// Starts the service here, with these settings (`FLEET__OFFLINE_AFTER` and so on) beside; waits until it listens.
    pub async fn start(&self, settings: &[(&str, &str)]) -> Service {
        let mut command = rollcall(&["serve", "--http", "127.0.0.1:0"]);
        command.args(&self.flags).env("ROLLCALL__MQTT__CLIENT_ID", &self.name);
        command.env("ROLLCALL__STORE__LOCAL_DIR", &self.local);
        command.envs(settings.iter().map(|(name, value)| (format!("ROLLCALL__{name}"), value)));
        let service = Service::spawn(&mut command);
        until("the service listens", || async { service.get("/api/v1/status").await["listening"] == true }).await;
        service
    }

    /// Replaces the topics that are read; `NAME` in them stands for this stack's own.
    pub fn read_topics(&self, topics: &str) {
        std::fs::write(self.folder.path().join("topics.toml"), topics.replace("NAME", &self.name)).expect("file");
    }

    /// The topic of a vehicle's heartbeats.
    pub fn topic(&self, vehicle: &str) -> String {
        format!("{}/{CUSTOMER}/{vehicle}/heartbeat", self.name)
    }
}

/// A new database on a server, as a URL.
pub async fn database(server: &str) -> String {
    let name = unique().replace('-', "_");
    let mut connection = PgConnection::connect(server).await.expect("Postgres answers");
    raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut connection).await.expect("may create");
    connection.close().await.expect("closes");
    let (place, _) = server.rsplit_once('/').expect("a URL with a database");
    format!("{place}/{name}")
}

/// A free port below those the kernel hands out by itself: a client that tries to reach a dead service would sometimes
/// be given the very port it calls, and then speak to itself.
pub fn free_port() -> u16 {
    loop {
        let port = rand::rng().random_range(20_000..32_000);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

fn unique() -> String {
    format!("stack-{}-{}-{:x}", std::process::id(), NUMBER.fetch_add(1, Relaxed), rand::rng().random::<u32>())
}

/// The present instant by the wall clock, milliseconds since 1970.
pub fn wall_ms() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

/// Milliseconds since 1970 of a time in JSON, as REST writes it or as the store does.
pub fn ms(value: &Value) -> i64 {
    if let Some(number) = value.as_i64() {
        return number;
    }
    let text = value.as_str().unwrap_or_else(|| panic!("a time, not {value}"));
    chrono::DateTime::parse_from_rfc3339(text).expect("RFC 3339").timestamp_millis()
}

/// Since when the service listens.
pub async fn listening_since(service: &Service) -> i64 {
    ms(&service.get("/api/v1/status").await["listening_since"])
}

/// A dashboard that keeps every frame.
#[derive(Clone, Default)]
pub struct Dashboard {
    frames: Arc<Mutex<Vec<Value>>>,
}

impl Dashboard {
    /// Follows until the service closes.
    pub async fn open(service: &Service) -> Self {
        let dashboard = Self::default();
        let mut live: Live = service.live("").await;
        let frames = Arc::clone(&dashboard.frames);
        tokio::spawn(async move {
            while let Some(frame) = live.next().await {
                frames.lock().push(frame);
            }
        });
        until("the dashboard has its first picture", || async { dashboard.has(|frame| frame["type"] == "counts") })
            .await;
        dashboard
    }

    /// Whether such a frame came.
    pub fn has(&self, wanted: impl Fn(&Value) -> bool) -> bool {
        self.frames.lock().iter().any(wanted)
    }

    /// Every frame of a type.
    pub fn all(&self, kind: &str) -> Vec<Value> {
        self.frames.lock().iter().filter(|frame| frame["type"] == kind).cloned().collect()
    }

    /// The status of a vehicle as the dashboard draws it: the snapshot with all deltas.
    pub fn status_of(&self, vehicle: &str) -> Option<String> {
        let frames = self.frames.lock();
        let lists = frames.iter().flat_map(|frame| [&frame["vehicles"], &frame["changed"]]);
        let rows = lists.filter_map(Value::as_array).flatten().filter(|row| row["vehicle"] == vehicle);
        rows.filter_map(|row| row["status"].as_str()).next_back().map(str::to_owned)
    }
}
