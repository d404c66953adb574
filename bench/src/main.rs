//! Measures the release build of Rollcall over real sockets, each figure beside the bare floor of the same run.
//!
//! ```text
//!  main -> rows/* --start--> stage: the service, Mosquitto, Postgres, floors/* (this program again, as `bench floor`)
//!            |  heartbeats: packets -> pipe --TCP-->  service or floor  --WebSocket--> dashboards
//!            |  questions:  http ------------------>
//!            +--lines--> table (Markdown on stdout, JSON with --json)
//! ```
//!
//!     cargo build --release && cargo run --release -p bench -- --full --json bench.json

mod dashboards;
mod floors;
mod http;
mod packets;
mod pipe;
mod rows;
mod stage;
mod table;
mod usage;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::{Parser, Subcommand};
use serde::Serialize;
use stage::Stage;
use table::{Line, Machine};

/// Measures the release build of Rollcall beside the bare floor of each figure. Build it first: cargo build --release.
#[derive(Parser)]
#[command(name = "bench", version)]
struct Cli {
    /// A million vehicles and long measurements: about half an hour. Without it: about two minutes.
    #[arg(long)]
    full: bool,
    /// The default, said aloud.
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// Only these rows.
    #[arg(long, value_delimiter = ',', value_name = "ROW")]
    only: Vec<String>,
    /// Vehicles of the rows with a large fleet (fleet, silence-*), instead of 1,000,000 or, in a quick run, 100,000.
    #[arg(long, value_name = "N")]
    vehicles: Option<usize>,
    /// Write everything to this file as JSON too, anew after every row.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The service to measure; the one beside this program by default.
    #[arg(long, value_name = "FILE")]
    rollcall: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the bare floor of a figure (started by the benchmark itself).
    #[command(hide = true)]
    Floor {
        #[command(subcommand)]
        kind: floors::Kind,
    },
}

#[derive(Serialize)]
struct Report {
    machine: Machine,
    lines: Vec<Line>,
    failed: Vec<String>,
}

/// Our wall clock, which is the service's too.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Some(Command::Floor { kind }) = cli.command {
        return finish(floors::serve(kind));
    }
    finish(run(&cli))
}

fn finish(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The rows of these names, or all of them.
fn chosen(names: &[String]) -> anyhow::Result<Vec<rows::Row>> {
    if names.is_empty() {
        return Ok(rows::ALL.to_vec());
    }
    let known = || rows::ALL.into_iter().chain([rows::SMOKE]);
    let chosen = names.iter().map(|name| {
        let all = || known().map(|(row, _)| row).collect::<Vec<_>>().join(", ");
        known().find(|(row, _)| row == name).with_context(|| format!("there is no row {name}; there are {}", all()))
    });
    chosen.collect()
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    let rows = chosen(&cli.only)?;
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let stage = Stage::new(cli.rollcall.clone(), cli.full, cli.vehicles)?;
    let mut report = Report { machine: Machine::here(cli.full), lines: Vec::new(), failed: Vec::new() };
    println!("{}", table::about(&report.machine));
    println!("{}", table::heading());
    for (name, measure) in rows {
        let began = Instant::now();
        let outcome = measure(&stage, &mut |line| {
            println!("{}", table::row(&line));
            report.lines.push(line);
        });
        if let Err(error) = outcome {
            report.failed.push(format!("{name}: {error:#}"));
        }
        eprintln!("{name} took {:.0} s", began.elapsed().as_secs_f64());
        if let Some(file) = &cli.json {
            let text = serde_json::to_string_pretty(&report)?;
            std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
        }
    }
    if report.failed.is_empty() { Ok(()) } else { anyhow::bail!("{}", report.failed.join("; ")) }
}
