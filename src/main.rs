//! The `rollcall` binary: reads the command line and the settings, runs one command, and turns faults into exit codes.
//! 2: usage or settings. 1: the environment (a taken port, an unreachable store).

use std::process::ExitCode;

use clap::Parser;
use rollcall::app::cli::{Cli, Command};
use rollcall::app::{self, archive, check, demo, healthcheck, key, mosquitto_auth, replay, user};
use rollcall::{store, telemetry};

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match &cli.command {
        Some(Command::Healthcheck { address }) => return outcome(healthcheck::ask(address)),
        Some(Command::Replay { file, clock, will_grace }) => {
            return match cli.flags.replay(file, *clock, *will_grace) {
                Ok(options) => outcome(replay::run(&options, std::io::stdout().lock())),
                Err(fault) => fail(&[fault], 2),
            };
        }
        _ => {}
    }
    let preset = if matches!(cli.command, Some(Command::Demo { .. })) { &demo::PRESET[..] } else { &[] };
    let settings = match cli.settings(preset) {
        Ok(settings) => settings,
        Err(faults) => return fail(&faults, 2),
    };
    if let Err(fault) = telemetry::start_logging(&settings.log) {
        return fail(&[fault], 2);
    }
    app::run(async move {
        match cli.command {
            None | Some(Command::Serve) => outcome(app::run_until(&settings, app::signal()).await),
            Some(Command::Demo { vehicles, customers }) => {
                outcome(demo::run_until(&settings, vehicles, customers, app::signal()).await)
            }
            Some(Command::Key { command }) => outcome(key::run(&settings, command).await),
            Some(Command::User { command }) => outcome(user::run(&settings, command).await),
            Some(Command::Archive { command }) => outcome(archive::run(&settings, command).await),
            Some(Command::MosquittoAuth { places }) => outcome(mosquitto_auth::run(&settings, &places).await),
            Some(Command::Migrate) => outcome(store::open(settings.store.url.expose()).await.map(drop)),
            Some(Command::Check) => outcome(check::check(&settings).await),
            Some(Command::Replay { .. } | Command::Healthcheck { .. }) => ExitCode::SUCCESS,
        }
    })
}

fn outcome(result: anyhow::Result<()>) -> ExitCode {
    result.map_or_else(|error| fail(&[format!("{error:#}")], 1), |()| ExitCode::SUCCESS)
}

fn fail(faults: &[String], code: u8) -> ExitCode {
    faults.iter().for_each(|fault| eprintln!("rollcall: {fault}"));
    ExitCode::from(code)
}
