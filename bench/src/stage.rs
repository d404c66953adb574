//! What every row stands on: a folder, the program under test, and the processes that are started for it. Made once by
//! main; handed to the rows.

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::Value;
use simulator::oracle::process::{Plan, Process, Signal};
use simulator::oracle::servers::{self, Server};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::http::Http;
use crate::usage::Usage;

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// The service may take this long to say that it is ready.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// The service, and how much of everything to measure.
pub struct Stage {
    folder: TempDir,
    program: PathBuf,
    runtime: Runtime,
    pub full: bool,
    /// The size that was asked for.
    vehicles: Option<usize>,
}

impl Stage {
    /// With the service beside our own program, unless it is named; large fleets have `vehicles`, where that is given.
    pub fn new(program: Option<PathBuf>, full: bool, vehicles: Option<usize>) -> anyhow::Result<Self> {
        let own = std::env::current_exe().context("this program does not know where it is")?;
        let program = program.unwrap_or_else(|| own.with_file_name("rollcall"));
        let hint = "build it with `cargo build --release`, or name one with --rollcall";
        ensure!(program.is_file(), "there is no {}: {hint}", program.display());
        let program = program.canonicalize()?;
        let folder = tempfile::Builder::new().prefix("rollcall-bench.").tempdir().context("no temporary folder")?;
        servers::open_to_all(&folder)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        Ok(Self { folder, program, runtime, full, vehicles })
    }

    /// Where files go.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// This many in a full run, that many in a quick one.
    pub fn size<T>(&self, full: T, quick: T) -> T {
        if self.full { full } else { quick }
    }

    /// Vehicles of a large fleet.
    pub fn vehicles(&self) -> usize {
        self.vehicles.unwrap_or(self.size(1_000_000, 100_000))
    }

    /// Waits for something asynchronous.
    pub fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Starts a process and waits for its first line.
    pub fn start(&self, plan: &Plan) -> anyhow::Result<(Process, String)> {
        self.wait(async {
            let mut process = plan.start()?;
            let line = process.first_line().await?;
            Ok((process, line))
        })
    }

    /// A Mosquitto of our own in a folder of this name, with the in-flight bound that the service's documentation asks
    /// for.
    pub fn mosquitto(&self, name: &str) -> anyhow::Result<Server> {
        let folder = self.folder().join(name);
        std::fs::create_dir_all(&folder)?;
        let mut server = servers::mosquitto(&folder, 2_000)?;
        self.wait(server.start())?;
        Ok(server)
    }

    /// A Postgres of our own that really writes: it is part of what is measured.
    pub fn postgres(&self) -> anyhow::Result<Server> {
        let mut server = servers::postgres(self.folder(), servers::Durability::Full)?;
        self.wait(server.start())?;
        Ok(server)
    }

    /// Starts the service with these flags and settings (`fleet.offline_after=10s`), in a folder of this name.
    pub fn product(&self, name: &str, flags: &[&str], settings: &[&str]) -> anyhow::Result<Product> {
        let folder = self.folder().join(name);
        std::fs::create_dir_all(&folder)?;
        let mut arguments = vec!["serve", "--http", "127.0.0.1:0"];
        if !flags.contains(&"--broker") {
            arguments.extend(["--mqtt-listen", "127.0.0.1:0"]);
        }
        arguments.extend(flags);
        let variable = |setting: &&str| {
            let (name, value) = setting.split_once('=')?;
            Some((format!("ROLLCALL__{}", name.to_uppercase().replace('.', "__")), value.to_owned()))
        };
        let plan = Plan {
            name: "the service",
            program: self.program.clone(),
            arguments: arguments.into_iter().map(Into::into).collect(),
            environment: settings.iter().filter_map(variable).collect(),
            log: folder.join("product.log"),
            folder,
            unprivileged: false,
        };
        self.launch(plan)
    }

    fn launch(&self, plan: Plan) -> anyhow::Result<Product> {
        let began = Instant::now();
        let (process, line) = self.start(&plan)?;
        let ready_after = began.elapsed();
        ensure!(ready_after < READY_LIMIT, "the service took {ready_after:?} to start");
        let place = |name: &str| line.split_whitespace().find_map(|word| word.strip_prefix(name));
        let http: SocketAddr = place("http=").context("no http= in the ready line")?.parse()?;
        let mqtt = place("mqtt=").and_then(|text| text.trim_start_matches("mqtt://").parse().ok());
        let mqtt = mqtt.with_context(|| format!("no mqtt= in {line:?}"))?;
        Ok(Product { http, mqtt, ready_after, pid: process.id(), ask: Http::open(http)?, process, plan })
    }

    /// Kills the service and starts it again on what it left.
    pub fn restart(&self, mut product: Product) -> anyhow::Result<Product> {
        self.wait(product.process.kill())?;
        self.launch(product.plan)
    }

    /// Ends the service in order.
    pub fn end(&self, mut product: Product) -> anyhow::Result<()> {
        self.wait(product.process.end(Signal::SIGINT))
    }
}

/// A running service.
pub struct Product {
    pub http: SocketAddr,
    pub mqtt: SocketAddr,
    /// From its start to its ready line.
    pub ready_after: Duration,
    pid: i32,
    pub ask: Http,
    process: Process,
    plan: Plan,
}

impl Product {
    /// `GET /status`.
    pub fn status(&mut self) -> anyhow::Result<Value> {
        self.ask.json("/api/v1/status")
    }

    /// A number of `GET /status`.
    pub fn number(&mut self, pointer: &str) -> anyhow::Result<u64> {
        let status = self.status()?;
        status.pointer(pointer).and_then(Value::as_u64).with_context(|| format!("no {pointer} in /status"))
    }

    /// What it uses.
    pub fn usage(&self) -> Usage {
        Usage::of(self.pid)
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.plan.folder
    }

    /// Asks `/status` until it fits.
    pub fn until(&mut self, what: &str, limit: Duration, fits: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
        let began = Instant::now();
        loop {
            let status = self.status()?;
            if fits(&status) {
                return Ok(status);
            }
            ensure!(began.elapsed() < limit, "{what}: not within {limit:?}; {status}");
            std::thread::sleep(LOOK);
        }
    }

    /// Waits until nothing that came is still under way: not in a lane, not on its way to the store.
    pub fn settle(&mut self, limit: Duration) -> anyhow::Result<()> {
        let under_way = ["/intake/waiting", "/store/spool_rows", "/store/memory_rows"];
        let none = |status: &Value| under_way.iter().all(|at| status.pointer(at).and_then(Value::as_u64) == Some(0));
        self.until("everything is stored", limit, none).map(drop)
    }
}
