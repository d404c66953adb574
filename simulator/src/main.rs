//! The `simulator` binary: flags in, exit code out. 0: all well; 1: the environment failed or the verification found
//! errors; 2: the flags make no sense.

use std::{
    io::{IsTerminal, Write},
    path::Path,
    process::ExitCode,
};

use anyhow::Context;
use clap::Parser;
use simulator::{Options, Report, flags::Flags, run};
use tracing_subscriber::EnvFilter;

const WRONG_USAGE: u8 = 2;

fn main() -> ExitCode {
    let options = Options::from(Flags::parse());
    if let Err(fault) = options.check() {
        eprintln!("simulator: {fault}");
        return ExitCode::from(WRONG_USAGE);
    }
    tracing_subscriber::fmt().with_env_filter(EnvFilter::from_default_env()).with_writer(std::io::stderr).init();
    match drive(options) {
        Ok(report) if report.failed() => ExitCode::FAILURE,
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("simulator: {error:#}");
            ExitCode::FAILURE
        }
    }
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

fn write(report: &Report, file: &Path) -> anyhow::Result<()> {
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
