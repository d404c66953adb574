//! Everything a scenario needs around it: the product, its broker and its store, and the stretches of network between.
//! Fed by the scenario, ordered about by the director. Each part has a lock of its own, so that faults of different
//! parts may overlap and two faults of one part follow one another.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context, bail, ensure};
use sqlx::{Connection, SqliteConnection};
use tempfile::TempDir;
use tokio::{sync::Mutex, time, time::Instant};

use super::{
    process::{Plan, Process, on_path},
    proxy::Proxy,
    scenario::{Between, Kind, Scenario, Stack},
    servers::{self, Durability, Server, UNLIMITED, free_port},
};
use crate::options::{Broker, Options};

const ASK_PAUSE: Duration = Duration::from_millis(50);
/// libfaketime, where a distribution puts it.
const FAKETIME: [&str; 2] =
    ["/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1", "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1"];

/// What the command line decides over the file.
#[derive(Debug, Clone, Default)]
pub struct StageFlags {
    pub stack: Option<Stack>,
    pub rollcall: Option<PathBuf>,
    pub store: Option<String>,
    /// Follow the live feed here (`host:port`) and not at the product: through a proxy, for one.
    pub live: Option<String>,
}

/// See the head of this file.
pub struct Stage {
    pub stack: Stack,
    pub http: String,
    /// Where the live feed is followed.
    pub live: String,
    /// Where vehicles connect to.
    pub broker: Broker,
    /// The broker itself, past every proxy.
    pub broker_itself: Broker,
    pub store: String,
    pub product: Mutex<Option<Process>>,
    pub mosquitto: Option<Mutex<Server>>,
    pub postgres: Option<Mutex<Server>>,
    pub vehicles_proxy: Option<Proxy>,
    pub product_proxy: Option<Proxy>,
    plan: Plan,
    pub faketime: Option<PathBuf>,
    folder: TempDir,
}

impl Stage {
    /// Starts everything but the product.
    pub async fn build(scenario: &Scenario, options: &Options, flags: &StageFlags) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("rollcall-oracle.").tempdir().context("no temporary folder")?;
        servers::open_to_all(&folder)?;
        let stack = flags.stack.unwrap_or(scenario.stack);
        let (mut mosquitto, mut postgres) = (None, None);
        let http = free_port()?;
        let given = flags.store.clone().or_else(|| scenario.product.store.clone());
        let (broker_itself, store) = match stack {
            Stack::Embedded => (place(free_port()?), format!("sqlite:{}/rollcall.db", folder.path().display())),
            Stack::External => {
                let broker = match &scenario.product.broker {
                    Some(url) => Broker::parse(url)?,
                    None => place(started(&mut mosquitto, servers::mosquitto(folder.path(), UNLIMITED)?).await?),
                };
                let store = match given {
                    Some(url) => url,
                    None => {
                        let addr = started(&mut postgres, servers::postgres(folder.path(), Durability::Off)?).await?;
                        format!("postgres://rollcall@{addr}/postgres")
                    }
                };
                (broker, store)
            }
        };
        let vehicles_proxy = stretch(scenario.cuts(Between::Vehicles), &broker_itself).await?;
        let cut_off = stack == Stack::External && scenario.cuts(Between::Product);
        let product_proxy = stretch(cut_off, &broker_itself).await?;
        let via = |proxy: &Option<Proxy>| proxy.as_ref().map_or(broker_itself.clone(), |proxy| place(proxy.addr));
        let broker = Broker { login: broker_itself.login.clone(), ..via(&vehicles_proxy) };
        let product_broker = Broker { login: None, ..via(&product_proxy) };
        let faketime = FAKETIME.iter().map(PathBuf::from).find(|file| file.exists());
        let faketime = faketime.filter(|_| scenario.has(|fault| fault.kind == Kind::StepClock));
        let mut stage = Self {
            plan: Plan {
                name: "the product",
                program: program(scenario, flags)?,
                arguments: Vec::new(),
                environment: Vec::new(),
                folder: folder.path().to_owned(),
                log: folder.path().join("product.log"),
                unprivileged: false,
            },
            stack,
            http: http.to_string(),
            live: flags.live.clone().unwrap_or_else(|| http.to_string()),
            broker,
            broker_itself,
            store,
            product: Mutex::default(),
            mosquitto,
            postgres,
            vehicles_proxy,
            product_proxy,
            faketime,
            folder,
        };
        if stage.faketime.is_some() {
            std::fs::write(stage.clock_file(), "+0\n").context("cannot write the clock's step")?;
        }
        stage.plan.arguments = stage.product_flags(scenario, &product_broker);
        stage.plan.environment = stage.product_settings(scenario, options);
        Ok(stage)
    }

    fn product_flags(&self, scenario: &Scenario, broker: &Broker) -> Vec<std::ffi::OsString> {
        let mut words = vec!["serve".to_owned(), "--http".to_owned(), self.http.clone()];
        words.extend(["--store".to_owned(), self.store.clone()]);
        match self.stack {
            Stack::Embedded => words.extend(["--mqtt-listen".to_owned(), format!("{}:{}", broker.host, broker.port)]),
            Stack::External => words.extend(["--broker".to_owned(), broker.to_string()]),
        }
        words.extend(scenario.product.flags.iter().cloned());
        words.into_iter().map(Into::into).collect()
    }

    /// The timeouts are the fleet's, unless the scenario's own settings say otherwise (a run that must fail does).
    fn product_settings(&self, scenario: &Scenario, options: &Options) -> Vec<(String, String)> {
        let ms = |duration: Duration| format!("{}ms", duration.as_millis());
        let login = self.broker_itself.login.as_ref().filter(|_| self.stack == Stack::External);
        let mut settings = vec![
            ("fleet.offline_after".to_owned(), ms(options.offline_after)),
            ("fleet.will_grace".to_owned(), ms(options.will_grace)),
            ("fleet.sleep_grace".to_owned(), ms(options.sleep_grace)),
        ];
        if let Some((user, password)) = login {
            settings.push(("mqtt.username".to_owned(), user.clone()));
            settings.push(("mqtt.password".to_owned(), password.clone()));
        }
        settings.extend(scenario.product.settings.clone());
        let variable = |name: &str| format!("ROLLCALL__{}", name.to_uppercase().replace('.', "__"));
        let mut all: Vec<_> = settings.into_iter().map(|(name, value)| (variable(&name), value)).collect();
        if let Some(library) = &self.faketime {
            let clock = self.clock_file().display().to_string();
            all.push(("LD_PRELOAD".to_owned(), library.display().to_string()));
            all.push(("FAKETIME_TIMESTAMP_FILE".to_owned(), clock));
            all.extend(["FAKETIME_DONT_FAKE_MONOTONIC", "FAKETIME_NO_CACHE"].map(|name| (name.into(), "1".into())));
        }
        all
    }

    /// The step of the product's wall clock, as libfaketime reads it.
    pub fn clock_file(&self) -> PathBuf {
        self.folder.path().join("clock")
    }

    /// Starts the product and waits for its ready line. A store that is down makes it end; it is tried again, as a
    /// process supervisor would, until `limit` has passed.
    pub async fn start_product(&self, limit: Duration) -> anyhow::Result<Process> {
        let until = Instant::now() + limit;
        loop {
            let mut process = self.plan.start()?;
            match process.first_line().await {
                Ok(line) => {
                    ensure!(line.starts_with("ready "), "the product said `{line}` in place of its ready line");
                    return Ok(process);
                }
                Err(error) if Instant::now() >= until => return Err(error),
                Err(_) => time::sleep(ASK_PAUSE).await,
            }
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.http)
    }

    /// Makes a SQLite store refuse writes: another connection holds the lock until the answer is dropped.
    pub async fn lock_sqlite(&self) -> anyhow::Result<SqliteConnection> {
        let mut connection = SqliteConnection::connect(&self.store).await.context("cannot open the SQLite file")?;
        sqlx::raw_sql("PRAGMA busy_timeout = 20000; BEGIN IMMEDIATE")
            .execute(&mut connection)
            .await
            .context("cannot lock the SQLite file")?;
        Ok(connection)
    }
}

async fn started(slot: &mut Option<Mutex<Server>>, mut server: Server) -> anyhow::Result<SocketAddr> {
    server.start().await?;
    let addr = server.addr;
    *slot = Some(Mutex::new(server));
    Ok(addr)
}

async fn stretch(wanted: bool, broker: &Broker) -> anyhow::Result<Option<Proxy>> {
    if !wanted {
        return Ok(None);
    }
    let mut found = tokio::net::lookup_host((broker.host.as_str(), broker.port)).await.context("no such broker")?;
    let server = found.next().context("no such broker")?;
    Ok(Some(Proxy::start(free_port()?, server).await?))
}

fn place(addr: SocketAddr) -> Broker {
    Broker { host: addr.ip().to_string(), port: addr.port(), login: None }
}

/// The program to start, with a full path, for it runs in a folder of its own.
fn program(scenario: &Scenario, flags: &StageFlags) -> anyhow::Result<PathBuf> {
    let beside = || Some(std::env::current_exe().ok()?.with_file_name("rollcall")).filter(|file| file.exists());
    let wanted = flags.rollcall.clone().or_else(|| scenario.product.rollcall.clone()).or_else(beside);
    match wanted.or_else(|| on_path("rollcall")) {
        Some(file) => file.canonicalize().with_context(|| format!("there is no program {}", file.display())),
        None => bail!("no program to start: give --rollcall PATH"),
    }
}
