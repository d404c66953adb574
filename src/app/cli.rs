//! The command line: which command, which flags; a flag is a setting with the last word.
//! Read by main.rs.

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};

use super::archive::ArchiveCommand;
use super::check;
use super::key::KeyCommand;
use super::mosquitto_auth::Places;
use super::replay::{ReplayClock, ReplayOptions};
use super::user::UserCommand;
use crate::settings::{self, Settings, Span};

/// Real-time vehicle fleet monitor: the truth about silence, at once.
#[derive(Debug, Parser)]
#[command(version, about, propagate_version = true)]
pub struct Cli {
    /// What to do; `serve` when nothing is said.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Settings as flags.
    #[command(flatten)]
    pub flags: Flags,
}

impl Cli {
    /// The settings the command runs with; `check` is given even those that can never work, to report all faults.
    ///
    /// # Errors
    /// One sentence for each fault.
    pub fn settings(&self, preset: &[(&'static str, &str)]) -> Result<Settings, Vec<String>> {
        let settings = self.flags.settings(preset)?;
        let faults = check::unusable(&settings);
        let reports_itself = matches!(self.command, Some(Command::Check));
        if reports_itself || faults.is_empty() { Ok(settings) } else { Err(faults) }
    }
}

/// What the binary can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the service (the default).
    Serve,
    /// Run the service with a simulated fleet whose vehicles really fall silent and return; data in memory.
    Demo {
        /// Simulated vehicles.
        #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        vehicles: u32,
        /// Customers they are shared among.
        #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        customers: u32,
    },
    /// Run recorded heartbeats through the same vehicle logic on their own clock, and print the transitions as CSV.
    Replay {
        /// CSV with at least the columns arrival_ms and vehicle_id.
        file: PathBuf,
        /// By which clock vehicles are judged.
        #[arg(long, value_enum, default_value_t = ReplayClock::Arrival)]
        clock: ReplayClock,
        /// Grace after a will, such as 10s.
        #[arg(long, default_value = "10s")]
        will_grace: Span,
    },
    /// Bring the store's schema up to date and exit.
    Migrate,
    /// Make, list and revoke API keys in the store; the first key comes from here.
    Key {
        /// What to do with them.
        #[command(subcommand)]
        command: KeyCommand,
    },
    /// Make, list and disable users who sign in on the page, and give them passwords.
    User {
        /// What to do with them.
        #[command(subcommand)]
        command: UserCommand,
    },
    /// List, make, check and read the files of old history (setting history.archive), and take rows out of them.
    Archive {
        /// What to do with them.
        #[command(subcommand)]
        command: ArchiveCommand,
    },
    /// Write the password and access files with which an external Mosquitto lets in the same keys.
    MosquittoAuth {
        /// Where to.
        #[command(flatten)]
        places: Places,
    },
    /// Print the effective settings, try store and broker, and exit non-zero with every fault.
    Check,
    /// Exit 0 when the service at this address answers; for container health checks.
    #[command(hide = true)]
    Healthcheck {
        /// Address and port of the service's HTTP door; http:// or https:// before it asks in that way only.
        #[arg(default_value = "127.0.0.1:8080")]
        address: String,
    },
}

/// Flags that are settings too.
#[derive(Debug, Args)]
pub struct Flags {
    /// Settings file (TOML); may be given several times, a later one wins.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Vec<PathBuf>,
    /// Where to answer HTTP [default: 127.0.0.1:8080].
    #[arg(long, global = true, value_name = "ADDR:PORT")]
    pub http: Option<String>,
    /// Where the embedded broker listens [default: 127.0.0.1:1883].
    #[arg(long, global = true, value_name = "ADDR:PORT")]
    pub mqtt_listen: Option<String>,
    /// External broker, mqtt://host:port; then there is no embedded one.
    #[arg(long, global = true, value_name = "URL")]
    pub broker: Option<String>,
    /// sqlite:PATH, sqlite::memory: or postgres://... [default: sqlite:data/rollcall.db].
    #[arg(long, global = true, value_name = "URL")]
    pub store: Option<String>,
    /// Silence longer than this is offline [default: 90s].
    #[arg(long, global = true, value_name = "DURATION")]
    pub offline_after: Option<String>,
    /// Serve the dashboard from this folder while editing it.
    #[arg(long, global = true, value_name = "FOLDER")]
    pub web_dir: Option<PathBuf>,
}

impl Flags {
    /// The effective settings: defaults, `files` and environment, `preset` of the command, then these flags.
    ///
    /// # Errors
    /// One sentence for each fault.
    pub fn settings(&self, preset: &[(&'static str, &str)]) -> Result<Settings, Vec<String>> {
        let web_dir = self.web_dir.as_ref().map(|folder| folder.display().to_string());
        let flags = [
            ("http.listen", &self.http),
            ("mqtt.listen", &self.mqtt_listen),
            ("mqtt.broker", &self.broker),
            ("store.url", &self.store),
            ("fleet.offline_after", &self.offline_after),
            ("http.web_dir", &web_dir),
        ];
        let given = flags.into_iter().filter_map(|(name, value)| Some((name, value.clone()?)));
        let preset = preset.iter().map(|(name, value)| (*name, (*value).to_owned()));
        let layers: Vec<(&str, String)> = preset.chain(given).collect();
        settings::load(&self.config, std::env::vars(), &layers)
    }

    /// What a replay needs: of the settings only `--offline-after` counts there.
    ///
    /// # Errors
    /// A sentence when it is no duration.
    pub fn replay(&self, file: &Path, clock: ReplayClock, will_grace: Span) -> Result<ReplayOptions, String> {
        let offline_after = self.offline_after.as_deref().unwrap_or("90s").parse::<Span>();
        let offline_after = offline_after.map_err(|bad| format!("--offline-after: {bad}"))?.0;
        Ok(ReplayOptions { file: file.to_owned(), offline_after, will_grace: will_grace.0, clock })
    }
}
