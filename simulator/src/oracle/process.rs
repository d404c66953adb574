//! One process that the simulator started, and so may hurt: started, signalled and ended by its own id, and gone with
//! the simulator. Fed by the stage, feeds the director with what /proc says about it; the benchmark starts its own too.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, bail};
pub use nix::sys::signal::Signal;
use nix::{sys::signal::kill, unistd::Pid};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time,
};

/// A process that was asked to end and did not is killed after this: the product promises 10 s.
const END_LIMIT: Duration = Duration::from_secs(15);
/// The first line of a process that has one to say.
const LINE_LIMIT: Duration = Duration::from_secs(60);
/// Lines of a log that are worth showing when something failed.
const TAIL_LINES: usize = 8;

/// What to start.
pub struct Plan {
    pub name: &'static str,
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
    pub environment: Vec<(String, String)>,
    pub folder: PathBuf,
    pub log: PathBuf,
    /// Become an unprivileged user first, if we are root.
    pub unprivileged: bool,
}

/// It runs, until it is ended or dropped.
#[derive(Debug)]
pub struct Process {
    name: &'static str,
    child: Child,
    pid: Pid,
    log: PathBuf,
}

/// The words before a command that must not run as root.
pub fn as_user() -> Vec<OsString> {
    let user = if Path::new("/var/lib/postgresql").exists() { "postgres" } else { "nobody" };
    ["--reuid", user, "--regid", user, "--clear-groups"].map(OsString::from).to_vec()
}

impl Plan {
    /// Starts it. `setpriv`, where the machine has it, sees to it that nothing outlives the simulator, not even its
    /// kill -9; it replaces itself by the command, so the process id is the command's.
    pub fn start(&self) -> anyhow::Result<Process> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log);
        let log = log.with_context(|| format!("cannot write {}", self.log.display()))?;
        let mut command = match on_path("setpriv") {
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args(if self.unprivileged && is_root() { as_user() } else { Vec::new() });
                command.args(["--pdeathsig", "KILL", "--"]).arg(&self.program);
                command
            }
            None if self.unprivileged && is_root() => bail!("as root {} needs setpriv (package util-linux)", self.name),
            None => Command::new(&self.program),
        };
        command.args(&self.arguments).envs(self.environment.iter().cloned()).current_dir(&self.folder);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).kill_on_drop(true);
        let child = command.spawn().with_context(|| format!("cannot start {}", self.program.display()))?;
        let pid = child.id().with_context(|| format!("{} ended at once", self.name))?;
        Ok(Process { name: self.name, child, pid: Pid::from_raw(pid.cast_signed()), log: self.log.clone() })
    }
}

impl Process {
    /// Its id, for what /proc says about it.
    pub fn id(&self) -> i32 {
        self.pid.as_raw()
    }

    /// The first line on stdout; an error with the end of its log when it says none.
    pub async fn first_line(&mut self) -> anyhow::Result<String> {
        let stdout = self.child.stdout.take().with_context(|| format!("{} was read before", self.name))?;
        let mut lines = BufReader::new(stdout).lines();
        let line = time::timeout(LINE_LIMIT, lines.next_line()).await;
        let Ok(Ok(Some(line))) = line else { bail!("{} says nothing; the end of its log: {}", self.name, self.tail()) };
        // Its pipe must never fill.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(line)
    }

    /// kill -9, and waits until it is gone.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().await.with_context(|| format!("cannot kill {}", self.name))
    }

    /// Asks it to end; kills it, with an error, when it does not.
    pub async fn end(&mut self, signal: Signal) -> anyhow::Result<()> {
        self.signal(signal)?;
        if time::timeout(END_LIMIT, self.child.wait()).await.is_err() {
            self.kill().await?;
            bail!("{} did not end within {} s after {signal}", self.name, END_LIMIT.as_secs());
        }
        Ok(())
    }

    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        kill(self.pid, signal).with_context(|| format!("cannot send {signal} to {}", self.name))
    }

    /// An error when it has ended by itself.
    pub fn check(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait() {
            Ok(Some(status)) => bail!("{} ended ({status}); the end of its log: {}", self.name, self.tail()),
            _ => Ok(()),
        }
    }

    /// Resident memory in KiB and open file descriptors, as far as /proc says.
    pub fn usage(&self) -> (u64, u64) {
        let folder = PathBuf::from(format!("/proc/{}", self.pid));
        let status = std::fs::read_to_string(folder.join("status")).unwrap_or_default();
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok());
        let descriptors = std::fs::read_dir(folder.join("fd")).map_or(0, |entries| entries.count() as u64);
        (rss.unwrap_or(0), descriptors)
    }

    fn tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join(" | ")
    }
}

pub fn is_root() -> bool {
    nix::unistd::Uid::effective().is_root()
}

/// A program of the search path.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")]);
    places.map(|place| place.join(name)).find(|file| file.is_file())
}
