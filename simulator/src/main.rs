//! The `simulator` binary: flags in, exit code out. 0: all well; 1: the environment failed or the verification found
//! errors; 2: the flags make no sense.

use std::{
    ffi::OsString,
    io::{IsTerminal, Write},
    path::Path,
    process::ExitCode,
};

use anyhow::{Context, bail};
use clap::Parser;
use serde::Serialize;
use simulator::{
    Options, Report,
    flags::Flags,
    oracle::{self, Outcome, Scenario, StageFlags},
    run,
};
use tracing_subscriber::EnvFilter;

const WRONG_USAGE: u8 = 2;

fn main() -> ExitCode {
    let mut flags = Flags::parse();
    let mut scenario = match flags.scenario.as_deref().map(Scenario::read).transpose() {
        Ok(scenario) => scenario,
        Err(error) => {
            eprintln!("simulator: {error:#}");
            return ExitCode::from(WRONG_USAGE);
        }
    };
    if let Some(scenario) = &mut scenario {
        flags = Flags::parse_from(behind(scenario));
        scenario.hurry(if flags.hurry >= 1.0 { flags.hurry } else { 1.0 });
    }
    let stage = flags.stage();
    let options = Options::from(flags);
    if let Err(fault) = options.check() {
        eprintln!("simulator: {fault}");
        return ExitCode::from(WRONG_USAGE);
    }
    tracing_subscriber::fmt().with_env_filter(EnvFilter::from_default_env()).with_writer(std::io::stderr).init();
    let failed = match scenario {
        Some(scenario) => prove(&scenario, options, &stage).map(|outcome| outcome.failed()),
        None => drive(options).map(|report| report.failed()),
    };
    match failed {
        Ok(true) => ExitCode::FAILURE,
        Ok(false) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("simulator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The scenario's flags, and behind them the user's, which win.
fn behind(scenario: &Scenario) -> Vec<OsString> {
    let mut own = std::env::args_os();
    let program = own.next().into_iter();
    program.chain(scenario.fleet_flags().into_iter().map(OsString::from)).chain(own).collect()
}

/// Runs a scenario. Ctrl-C ends it without a verdict; what it started ends with it.
fn prove(scenario: &Scenario, options: Options, stage: &StageFlags) -> anyhow::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start")?;
    let file = options.report.clone();
    let outcome = runtime.block_on(async {
        tokio::select! {
            outcome = oracle::run(scenario, options, stage, |_, _| {}) => outcome,
            () = interrupted() => bail!("interrupted before the end of the scenario"),
        }
    })?;
    eprintln!("{}\nsimulator: {}\nsimulator: {}", outcome.table(), outcome.fleet.summary(), outcome.summary());
    for finding in &outcome.findings {
        eprintln!("  {finding}");
    }
    if let Some(file) = file {
        write(&outcome, &file)?;
    }
    Ok(outcome)
}

fn drive(options: Options) -> anyhow::Result<Report> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start")?;
    let file = options.report.clone();
    let report = runtime.block_on(run(options, interrupted()))?;
    if std::io::stderr().is_terminal() {
        // The progress line has done its work.
        eprint!("\r\x1b[K");
    }
    eprintln!("simulator: {}", report.summary());
    for finding in report.verify.iter().flat_map(|verdict| &verdict.findings) {
        eprintln!("  {finding}");
    }
    if let Some(file) = file {
        write(&report, &file)?;
    }
    Ok(report)
}

fn write(report: &impl Serialize, file: &Path) -> anyhow::Result<()> {
    let mut json = serde_json::to_vec_pretty(report).context("cannot write the report as JSON")?;
    json.push(b'\n');
    if file == Path::new("-") {
        return std::io::stdout().write_all(&json).context("cannot write the report to stdout");
    }
    std::fs::write(file, json).with_context(|| format!("cannot write the report to {}", file.display()))
}

/// Ctrl-C or SIGTERM.
async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        }
        // Without a handler the signal ends the process anyway.
        Err(_) => std::future::pending().await,
    }
}
