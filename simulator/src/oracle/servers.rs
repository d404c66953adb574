//! A Mosquitto and a Postgres of our own, to be killed, stopped and started again on the same port with the same data.
//! Fed by the stage, and by the benchmark's; all their files lie in its folder.

use std::{
    collections::hash_map::RandomState,
    ffi::OsString,
    hash::BuildHasher,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use nix::sys::signal::Signal;
use tempfile::TempDir;
use tokio::time;

use super::process::{Plan, Process, as_user, is_root, on_path};

/// A server may take this long to answer; Postgres has to recover first.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
const ANSWER_PAUSE: Duration = Duration::from_millis(50);

/// A server, and how to start it.
pub struct Server {
    plan: Plan,
    pub addr: SocketAddr,
    process: Option<Process>,
    ready: fn(&Server) -> bool,
}

/// A free port below those the kernel hands out by itself, so that no client is given it while the server is down.
/// By chance, so that two programs do not ask for the same ones: a server of one of them may just be down.
pub fn free_port() -> anyhow::Result<SocketAddr> {
    let first = 20_000 + (RandomState::new().hash_one(()) % 12_000) as u16;
    (first..32_000)
        .chain(20_000..first)
        .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        .filter(|addr| reserve(*addr))
        .find(|addr| TcpListener::bind(addr).is_ok())
        .context("no free port between 20000 and 32000")
}

/// A folder that servers which run as other users can reach.
pub fn open_to_all(folder: &TempDir) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let rights = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path(), rights).context("cannot open the temporary folder")
}

/// Two parts of one run must not be given the same port before either has bound it.
fn reserve(addr: SocketAddr) -> bool {
    static GIVEN: std::sync::Mutex<Vec<u16>> = std::sync::Mutex::new(Vec::new());
    let mut given = GIVEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let new = !given.contains(&addr.port());
    if new {
        given.push(addr.port());
    }
    new
}

/// No bound on the messages that a client has not acknowledged yet.
pub const UNLIMITED: u32 = 0;

/// Whether Postgres waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// As in production.
    Full,
    /// For speed: it is stopped in order, never killed.
    Off,
}

/// Writes the settings of a Mosquitto that loses nothing by limits of its own; `inflight_max` is how many messages of a
/// client may be unacknowledged.
pub fn mosquitto(folder: &Path, inflight_max: u32) -> anyhow::Result<Server> {
    let program = std::env::var_os("MOSQUITTO_BIN").map(PathBuf::from).or_else(|| on_path("mosquitto"));
    let program = program.context("Mosquitto is not installed (MOSQUITTO_BIN, or `mosquitto` on PATH)")?;
    let addr = free_port()?;
    let settings = folder.join("mosquitto.conf");
    let text = format!(
        "listener {} 127.0.0.1\nallow_anonymous true\nmax_inflight_messages {inflight_max}\nmax_queued_messages 0\n\
         set_tcp_nodelay true\nlog_dest stderr\nlog_type error\nlog_type warning\n",
        addr.port()
    );
    std::fs::write(&settings, text).context("cannot write Mosquitto's settings")?;
    let plan = Plan {
        name: "Mosquitto",
        program,
        arguments: vec!["-c".into(), settings.into()],
        environment: Vec::new(),
        folder: folder.to_owned(),
        log: folder.join("mosquitto.log"),
        unprivileged: true,
    };
    Ok(Server { plan, addr, process: None, ready: |server| TcpStream::connect(server.addr).is_ok() })
}

/// Makes a new Postgres cluster.
pub fn postgres(folder: &Path, durability: Durability) -> anyhow::Result<Server> {
    let programs = postgres_programs().context("Postgres is not installed under /usr/lib/postgresql")?;
    let home = folder.join("postgres");
    std::fs::create_dir(&home).context("cannot make Postgres's folder")?;
    let data = home.join("data");
    let mut words: Vec<OsString> = Vec::new();
    if is_root() {
        let own = Command::new("chown").args(["postgres:postgres"]).arg(&home).status();
        ensure!(own.is_ok_and(|status| status.success()), "cannot give Postgres its folder");
        words.push("setpriv".into());
        words.extend(as_user());
        words.push("--".into());
    }
    words.push(programs.join("initdb").into());
    let made = Command::new(&words[0])
        .args(&words[1..])
        .args(["--username=rollcall", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync", "--pgdata"])
        .arg(&data)
        .current_dir(&home)
        .output()
        .context("cannot run initdb")?;
    ensure!(made.status.success(), "initdb failed: {}", String::from_utf8_lossy(&made.stderr).trim());
    let addr = free_port()?;
    let mut arguments: Vec<OsString> = vec!["-D".into(), data.into(), "-p".into(), addr.port().to_string().into()];
    let mut settings = vec!["listen_addresses=127.0.0.1", "unix_socket_directories="];
    if durability == Durability::Off {
        settings.extend(["fsync=off", "synchronous_commit=off"]);
    }
    arguments.extend(settings.into_iter().flat_map(|setting| ["-c".into(), setting.into()]));
    let plan = Plan {
        name: "Postgres",
        program: programs.join("postgres"),
        arguments,
        environment: Vec::new(),
        folder: home,
        log: folder.join("postgres.log"),
        unprivileged: true,
    };
    Ok(Server { plan, addr, process: None, ready: postgres_ready })
}

/// Postgres writes its own readiness into line 8 of its pid file.
fn postgres_ready(server: &Server) -> bool {
    let file = std::fs::read_to_string(server.plan.folder.join("data/postmaster.pid")).unwrap_or_default();
    file.lines().nth(7).is_some_and(|line| line.starts_with("ready"))
}

fn postgres_programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut found: Vec<PathBuf> = versions.flatten().map(|version| version.path().join("bin")).collect();
    found.retain(|programs| programs.join("postgres").is_file());
    found.sort();
    found.pop()
}

impl Server {
    pub async fn start(&mut self) -> anyhow::Result<()> {
        let mut process = self.plan.start()?;
        let begun = Instant::now();
        while !(self.ready)(self) {
            process.check()?;
            if begun.elapsed() > ANSWER_LIMIT {
                bail!("{} does not answer at {}", self.plan.name, self.addr);
            }
            time::sleep(ANSWER_PAUSE).await;
        }
        process.check()?;
        self.process = Some(process);
        Ok(())
    }

    /// kill -9.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        match self.process.take() {
            Some(mut process) => process.kill().await,
            None => Ok(()),
        }
    }

    /// In order; for Postgres this is the fast shutdown: sessions are cut, data is written.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        match self.process.take() {
            Some(mut process) => process.end(Signal::SIGINT).await,
            None => Ok(()),
        }
    }
}
