//! The command line of the `simulator` binary. Fed by the user, feeds `Options`.

use std::{path::PathBuf, time::Duration};

use clap::Parser;

use crate::{
    burst::Burst,
    duration,
    options::{Broker, Key, Options, Qos, Verify, Wills},
    oracle::{Stack, StageFlags},
    plan::Shares,
};

/// A seeded vehicle fleet that publishes real MQTT heartbeats, falls silent on purpose, and knows the truth.
#[derive(Debug, Parser)]
#[command(name = "simulator", version, args_override_self = true)]
pub struct Flags {
    /// Where to publish: mqtt://[user:password@]host[:port]
    #[arg(long, value_name = "URL", default_value = "mqtt://127.0.0.1:1883", value_parser = broker)]
    broker: Broker,
    /// Key of the service, with the scope ingest of all customers, and read for --verify; rather by ROLLCALL_KEY or
    /// --key-file, for other programs see the command line
    #[arg(long, value_name = "KEY", env = "ROLLCALL_KEY", hide_env_values = true, value_parser = key)]
    key: Option<Key>,
    /// File with that key
    #[arg(long, value_name = "FILE", conflicts_with = "key", value_parser = key_in)]
    key_file: Option<Key>,
    /// How many vehicles
    #[arg(long, value_name = "N", default_value_t = 100)]
    vehicles: u32,
    /// How many customers the vehicles belong to
    #[arg(long, value_name = "N", default_value_t = 4)]
    customers: u32,
    /// Time between two heartbeats of a vehicle
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration::parse)]
    interval: Duration,
    /// 0: at most once, 1: at least once
    #[arg(long, value_name = "0|1", default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=1))]
    qos: u8,
    /// MQTT connections the fleet shares; 0: one a vehicle up to 2,000 vehicles, else 8. As many as vehicles: one each
    #[arg(long, value_name = "N", default_value_t = 0)]
    connections: u32,
    /// How long to run; without it until Ctrl-C
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    duration: Option<Duration>,
    /// The same seed gives the same fleet, routes and absences
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Share of vehicles (0 to 1) that fall silent and return
    #[arg(long, visible_alias = "silence-share", value_name = "X", default_value_t = 0.0)]
    silent_share: f64,
    /// Share that falls silent and sends its recorded heartbeats on return
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    tunnel_share: f64,
    /// Share with short absences around the timeout
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    flap_share: f64,
    /// Share whose device clock is minutes to years off
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    skew_share: f64,
    /// Share whose identity is used by two devices
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    clone_share: f64,
    /// Share that says goodbye, and returns
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    goodbye_share: f64,
    /// Share that announces a planned sleep, and sometimes oversleeps
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    nap_share: f64,
    /// Share that loses its connection, so that the broker publishes its last will; needs one connection a vehicle
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    will_share: f64,
    /// Of those, the share whose last will is never published
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    wills_suppressed: f64,
    /// Of those, the share whose last will comes late
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    wills_late: f64,
    /// How late
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration::parse)]
    wills_late_by: Duration,
    /// The longest pause of a vehicle between two attempts to connect
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration::parse)]
    reconnect_max: Duration,
    /// Load bursts: FACTOR times the heartbeats for DURATION, once every minute or every EVERY
    #[arg(long, value_name = "FACTOR:DURATION[:EVERY]", value_parser = burst)]
    burst: Option<Burst>,
    /// The timeout of the service; the truth follows from it
    #[arg(long, value_name = "DURATION", default_value = "90s", value_parser = duration::parse)]
    offline_after: Duration,
    /// How long the service waits after a last will
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration::parse)]
    will_grace: Duration,
    /// How much later than announced the service lets a sleeping vehicle return
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration::parse)]
    sleep_grace: Duration,
    /// Compare with the service at this address, such as http://127.0.0.1:8080; exit 1 on any error
    #[arg(long, value_name = "URL", value_parser = http)]
    verify: Option<String>,
    /// How far off a transition may be dated and still be right
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration::parse)]
    tolerance: Duration,
    /// Write the JSON report here; `-`: to stdout
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Start the product, hurt it as this file says, and compare all it said with the truth; other flags override
    #[arg(long, value_name = "FILE", conflicts_with_all = ["broker", "verify"])]
    pub scenario: Option<PathBuf>,
    /// With --scenario: embedded (SQLite file and embedded broker) or external (Mosquitto and Postgres)
    #[arg(long, value_name = "STACK", value_enum)]
    stack: Option<Stack>,
    /// With --scenario: the program to start; without it `rollcall` beside this program
    #[arg(long, value_name = "PATH")]
    rollcall: Option<PathBuf>,
    /// With --scenario on the external stack: a Postgres database to use instead of an own cluster
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// With --scenario: every fault so many times sooner and shorter; give --duration and --offline-after to match
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    pub hurry: f64,
    /// With --scenario: follow the live feed here, and not at the product itself, as through a proxy
    #[arg(long, value_name = "HOST:PORT")]
    live: Option<String>,
}

impl Flags {
    /// What a scenario leaves to the command line.
    pub fn stage(&self) -> StageFlags {
        let Self { stack, rollcall, store, live, .. } = self;
        StageFlags { stack: *stack, rollcall: rollcall.clone(), store: store.clone(), live: live.clone() }
    }
}

impl From<Flags> for Options {
    fn from(flags: Flags) -> Self {
        let key = flags.key_file.clone().or_else(|| flags.key.clone());
        Self {
            shares: flags.shares(),
            broker: flags.broker.with_key(key.as_ref()),
            vehicles: flags.vehicles,
            customers: flags.customers,
            interval: flags.interval,
            qos: if flags.qos == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce },
            connections: flags.connections,
            duration: flags.duration,
            seed: flags.seed,
            burst: flags.burst,
            offline_after: flags.offline_after,
            will_grace: flags.will_grace,
            sleep_grace: flags.sleep_grace,
            verify: flags.verify.map(|url| Verify { url, tolerance: flags.tolerance, key }),
            wills: Wills { suppressed: flags.wills_suppressed, late: flags.wills_late, late_by: flags.wills_late_by },
            reconnect_max: flags.reconnect_max,
            record: flags.scenario.is_some(),
            tolerance: flags.tolerance,
            report: flags.report,
            progress: true,
        }
    }
}

impl Flags {
    fn shares(&self) -> Shares {
        Shares {
            silence: self.silent_share,
            tunnel: self.tunnel_share,
            flap: self.flap_share,
            skew: self.skew_share,
            clone: self.clone_share,
            goodbye: self.goodbye_share,
            nap: self.nap_share,
            will: self.will_share,
        }
    }
}

fn broker(text: &str) -> Result<Broker, String> {
    Broker::parse(text).map_err(|error| format!("{error:#}"))
}

fn key(text: &str) -> Result<Key, String> {
    Key::parse(text).map_err(|error| error.to_string())
}

fn key_in(file: &str) -> Result<Key, String> {
    key(&std::fs::read_to_string(file).map_err(|error| format!("{file} cannot be read: {error}"))?)
}

fn http(text: &str) -> Result<String, String> {
    match text.strip_prefix("http://") {
        Some(rest) if !rest.is_empty() => Ok(text.to_owned()),
        _ => Err("the service's address is written like http://127.0.0.1:8080".to_owned()),
    }
}

fn burst(text: &str) -> Result<Burst, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let (factor, length, every) = match parts[..] {
        [factor, length] => (factor, length, "1m"),
        [factor, length, every] => (factor, length, every),
        _ => return Err("a burst is written like 5:10s or 5:10s:2m".to_owned()),
    };
    let factor = factor.parse().map_err(|_| format!("`{factor}` is not a factor, as in 5:10s"))?;
    Burst::new(factor, duration::parse(length)?, duration::parse(every)?)
        .ok_or_else(|| "a burst needs a factor of at least 1 and to be shorter than its period".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(line: &str) -> Result<Options, String> {
        let flags = Flags::try_parse_from(line.split_whitespace()).map_err(|error| error.to_string())?;
        Ok(flags.into())
    }

    #[test]
    fn flags_without_values_are_the_default_options() {
        assert_eq!(options("simulator").unwrap(), Options { progress: true, ..Options::default() });
    }

    #[test]
    fn every_flag_of_the_contract_is_taken() {
        let options = options(
            "simulator --broker mqtt://h:1 --vehicles 10 --customers 2 --interval 250ms --qos 0 --connections 3 \
             --duration 5m --seed 9 --silent-share 0.1 --tunnel-share 0.2 --flap-share 0.1 --skew-share 0.1 \
             --clone-share 0.1 --burst 5:10s --verify http://h:2 --report r.json",
        )
        .unwrap();
        assert_eq!((options.shares.silence, options.shares.tunnel), (0.1, 0.2));
        assert_eq!(options.burst, Burst::new(5.0, Duration::from_secs(10), Duration::from_secs(60)));
        assert_eq!((options.vehicles, options.qos, options.seed), (10, Qos::AtMostOnce, 9));
        assert_eq!(options.verify.unwrap().url, "http://h:2");
    }

    #[test]
    fn wrong_values_are_refused_with_a_reason() {
        let refused = [
            ("--interval 5", "is not a duration"),
            ("--qos 2", "0..=1"),
            ("--broker localhost", "mqtt://"),
            ("--burst 5", "5:10s"),
            ("--burst 5:2m", "shorter than its period"),
            ("--verify localhost:8080", "http://"),
        ];
        for (line, reason) in refused {
            let error = options(&format!("simulator {line}")).unwrap_err();
            assert!(error.contains(reason), "{line}: {error}");
        }
    }
}
