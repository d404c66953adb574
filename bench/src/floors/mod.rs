//! The bare floor of a figure: the crate below the service with nothing of the service on it, as a process of its own,
//! so that it meets the same generator on the same cores. Started by the rows as `bench floor NAME`.

mod drain;
mod fanout;
mod hook;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use anyhow::Context;
use clap::Subcommand;
use simulator::oracle::process::{Plan, Process};

use crate::stage::Stage;
use crate::usage::Usage;

/// What a floor does.
#[derive(Debug, Clone, Subcommand)]
pub enum Kind {
    /// The embedded broker's publish hook, counting.
    Hook,
    /// A rumqttc client behind a broker, counting.
    Drain {
        /// The broker.
        broker: SocketAddr,
    },
    /// WebSocket sessions that all get one frame every tick.
    Fanout {
        /// Length of a frame.
        bytes: usize,
        /// Milliseconds between frames.
        tick_ms: u64,
        /// It begins when so many are there: what an early one was sent and did not read yet would be counted later.
        dashboards: usize,
    },
}

impl Kind {
    fn words(&self) -> Vec<String> {
        match self {
            Self::Hook => vec!["hook".into()],
            Self::Drain { broker } => vec!["drain".into(), broker.to_string()],
            Self::Fanout { bytes, tick_ms, dashboards } => {
                vec!["fanout".into(), bytes.to_string(), tick_ms.to_string(), dashboards.to_string()]
            }
        }
    }
}

/// Serves one floor until the process is ended.
///
/// # Errors
/// Whatever stands in its way.
pub fn serve(kind: Kind) -> anyhow::Result<()> {
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let count = Arc::new(AtomicU64::new(0));
    let counter = TcpListener::bind("127.0.0.1:0")?;
    let place = counter.local_addr()?;
    let shown = Arc::clone(&count);
    std::thread::spawn(move || counter.incoming().flatten().for_each(|stream| answer(stream, &shown)));
    let ready = move |addr: SocketAddr| println!("ready {addr} counter={place}");
    match kind {
        Kind::Hook => hook::serve(count, ready),
        Kind::Drain { broker } => drain::serve(broker, count, ready),
        Kind::Fanout { bytes, tick_ms, dashboards } => fanout::serve(bytes, tick_ms, dashboards, ready),
    }
}

/// Every byte asks for the count.
fn answer(mut stream: TcpStream, count: &AtomicU64) {
    let mut asked = [0];
    while stream.read_exact(&mut asked).is_ok() && stream.write_all(&count.load(Relaxed).to_le_bytes()).is_ok() {}
}

/// A running floor.
pub struct Floor {
    pub addr: SocketAddr,
    counter: TcpStream,
    pid: i32,
    process: Process,
}

impl Floor {
    /// Starts one.
    pub fn start(stage: &Stage, kind: &Kind) -> anyhow::Result<Self> {
        let mut arguments = vec!["floor".into()];
        arguments.extend(kind.words().into_iter().map(Into::into));
        let plan = Plan {
            name: "a floor",
            program: own_program()?,
            arguments,
            environment: Vec::new(),
            folder: stage.folder().to_owned(),
            log: stage.folder().join("floor.log"),
            unprivileged: false,
        };
        let (process, line) = stage.start(&plan)?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let (addr, counter) = match words[..] {
            ["ready", addr, counter] => (addr.parse()?, counter.trim_start_matches("counter=").to_owned()),
            _ => anyhow::bail!("a floor says {line:?}"),
        };
        Ok(Self { addr, counter: TcpStream::connect(counter)?, pid: process.id(), process })
    }

    /// What it has counted.
    pub fn count(&mut self) -> anyhow::Result<u64> {
        self.counter.write_all(&[0])?;
        let mut count = [0; 8];
        self.counter.read_exact(&mut count)?;
        Ok(u64::from_le_bytes(count))
    }

    /// What it uses.
    pub fn usage(&self) -> Usage {
        Usage::of(self.pid)
    }

    /// Ends it.
    pub fn end(mut self, stage: &Stage) -> anyhow::Result<()> {
        stage.wait(self.process.kill())
    }
}

fn own_program() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("this program does not know where it is")
}
