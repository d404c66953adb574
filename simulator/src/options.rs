//! What a run is to be: every flag as a typed field, checked as a whole. Fed by the flags or by the service's demo,
//! feeds the fleet.

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context, bail, ensure};

use crate::{
    backoff,
    burst::Burst,
    plan::{Rhythm, Shares},
    truth::Rules,
};

/// With `connections = 0` a fleet up to this size gets one connection a vehicle.
const FEW_VEHICLES: u32 = 2_000;
/// With `connections = 0` a larger fleet shares this many.
const SHARED_CONNECTIONS: u32 = 8;

/// Delivery promise of heartbeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qos {
    AtMostOnce,
    AtLeastOnce,
}

/// Where the broker is and who we are there.
#[derive(Clone, PartialEq, Eq)]
pub struct Broker {
    pub host: String,
    pub port: u16,
    pub login: Option<(String, String)>,
}

/// Where and how strictly to compare with the service.
#[derive(Debug, Clone, PartialEq)]
pub struct Verify {
    /// Base address, such as `http://127.0.0.1:8080`.
    pub url: String,
    /// A transition may be off by this much and still be right.
    pub tolerance: Duration,
    /// What lets us read there, if anybody is asked.
    pub key: Option<Key>,
}

/// A key of the service. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// Reads a key; white space around it, as a file has it, is none of it.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let key = text.trim();
        ensure!(
            key.starts_with("rk_") && !key.contains(char::is_whitespace),
            "that is no key; it is written rk_..._..."
        );
        Ok(Self(key.to_owned()))
    }

    /// The key itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(***)")
    }
}

/// What becomes of the last wills of vehicles whose connection breaks, as shares of these vehicles; the rest is
/// published at once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wills {
    /// Never published: none is announced, and the socket stays open.
    pub suppressed: f64,
    /// Published late: the socket stays open for `late_by`.
    pub late: f64,
    pub late_by: Duration,
}

/// See `Wills`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WillFate {
    Prompt,
    Late,
    Never,
}

impl Wills {
    /// The fate of one, by a throw of [0, 1).
    pub fn roll(&self, throw: f64) -> WillFate {
        match throw {
            throw if throw < self.suppressed => WillFate::Never,
            throw if throw < self.suppressed + self.late => WillFate::Late,
            _ => WillFate::Prompt,
        }
    }
}

/// Everything a run needs to know.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    pub broker: Broker,
    pub vehicles: u32,
    pub customers: u32,
    /// Time between two heartbeats of a vehicle.
    pub interval: Duration,
    pub qos: Qos,
    /// MQTT connections; 0 chooses: one a vehicle in a small fleet, otherwise a few for all.
    pub connections: u32,
    /// How long to run; without it until stopped.
    pub duration: Option<Duration>,
    pub seed: u64,
    pub shares: Shares,
    pub burst: Option<Burst>,
    /// The timeout of the service under test, from which the truth follows.
    pub offline_after: Duration,
    /// How long the service waits after a last will.
    pub will_grace: Duration,
    /// How much later than announced the service lets a sleeping vehicle return.
    pub sleep_grace: Duration,
    pub wills: Wills,
    /// The longest pause of a vehicle between two attempts to connect.
    pub reconnect_max: Duration,
    pub verify: Option<Verify>,
    /// Keep everything that each vehicle does, for the oracle.
    pub record: bool,
    /// A transition may be dated off by this much and still be right, when there is no `verify` to say so.
    pub tolerance: Duration,
    pub report: Option<PathBuf>,
    /// Draw a progress line on stderr (only ever done on a terminal).
    pub progress: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            broker: Broker { host: "127.0.0.1".to_owned(), port: 1883, login: None },
            vehicles: 100,
            customers: 4,
            interval: Duration::from_secs(5),
            qos: Qos::AtLeastOnce,
            connections: 0,
            duration: None,
            seed: 1,
            shares: Shares::default(),
            burst: None,
            offline_after: Duration::from_secs(90),
            will_grace: Duration::from_secs(10),
            sleep_grace: Duration::from_secs(10),
            wills: Wills { suppressed: 0.0, late: 0.0, late_by: Duration::from_secs(10) },
            reconnect_max: Duration::from_millis(backoff::LONGEST_MS),
            verify: None,
            record: false,
            tolerance: Duration::from_secs(1),
            report: None,
            progress: false,
        }
    }
}

impl Options {
    /// The fleet of `rollcall demo`, for a service with `offline_after` of 10 s: lively enough that within the first
    /// minute vehicles of every kind go offline and return.
    pub fn demo(broker: SocketAddr, vehicles: u32, customers: u32) -> Self {
        let host = if broker.is_ipv6() { format!("[{}]", broker.ip()) } else { broker.ip().to_string() };
        // A large demo shares connections, where a last will is nobody's.
        let will = if vehicles <= FEW_VEHICLES { 0.05 } else { 0.0 };
        Self {
            broker: Broker { host, port: broker.port(), login: None },
            vehicles,
            customers,
            interval: Duration::from_secs(2),
            shares: Shares {
                silence: 0.12,
                tunnel: 0.05,
                flap: 0.04,
                skew: 0.03,
                clone: 0.02,
                goodbye: 0.05,
                nap: 0.03,
                will,
            },
            offline_after: Duration::from_secs(10),
            ..Self::default()
        }
    }

    /// Refuses what would make the oracle blind.
    pub fn check_record(&self) -> anyhow::Result<()> {
        ensure!(
            self.tolerance * 2 < self.offline_after,
            "--tolerance must be less than half of --offline-after, or hardly any verdict could be wrong"
        );
        Ok(())
    }

    /// Refuses what cannot work, one sentence a fault.
    pub fn check(&self) -> anyhow::Result<()> {
        ensure!(self.vehicles > 0, "--vehicles must be at least 1");
        ensure!(self.customers > 0, "--customers must be at least 1");
        ensure!(self.interval >= Duration::from_millis(10), "--interval must be at least 10ms");
        ensure!(
            self.interval.mul_f64(1.5) <= self.offline_after,
            "--interval must be well below --offline-after (at most two thirds), or every vehicle seems \
             silent between two beats"
        );
        for (behaviour, share) in self.shares.each() {
            ensure!((0.0..=1.0).contains(&share), "the share of {behaviour:?} must be between 0 and 1, not {share}");
        }
        let wills = [self.wills.suppressed, self.wills.late, self.wills.suppressed + self.wills.late];
        ensure!(wills.iter().all(|share| (0.0..=1.0).contains(share)), "the shares of wills must be between 0 and 1");
        let sum: f64 = self.shares.each().iter().map(|(_, share)| share).sum();
        ensure!(sum <= 1.0 + 1e-9, "the shares add up to {sum:.2}, which is more than the whole fleet");
        if self.shares.will > 0.0 && !self.one_connection_a_vehicle() {
            bail!(
                "--will-share needs one connection a vehicle, because a connection has one last will: use \
                 --connections {}",
                self.vehicles
            );
        }
        Ok(())
    }

    /// Whether each vehicle has its own connection (and so its own last will).
    pub fn one_connection_a_vehicle(&self) -> bool {
        match self.connections {
            0 => self.vehicles <= FEW_VEHICLES,
            connections => connections >= self.vehicles,
        }
    }

    /// How many connections the vehicles share.
    pub fn shared_connections(&self) -> u32 {
        if self.connections == 0 { SHARED_CONNECTIONS } else { self.connections }.min(self.vehicles)
    }

    pub fn rhythm(&self) -> Rhythm {
        Rhythm {
            interval_ms: self.interval.as_millis() as u64,
            offline_after_ms: self.offline_after.as_millis() as u64,
            will_grace_ms: self.will_grace.as_millis() as u64,
        }
    }

    pub fn rules(&self) -> Rules {
        // Without a verification nobody asks for the past; a demo may run for weeks.
        let remember = self.verify.is_some();
        let tolerance = self.verify.as_ref().map_or(self.tolerance, |verify| verify.tolerance);
        Rules {
            offline_after_ms: self.offline_after.as_millis() as u64,
            will_grace_ms: self.will_grace.as_millis() as u64,
            sleep_grace_ms: self.sleep_grace.as_millis() as u64,
            tolerance_ms: tolerance.as_millis() as u64,
            remember,
        }
    }
}

impl Broker {
    /// Comes in with a key of the service, as the password, where the address names no user. For the key of all
    /// customers any user does.
    pub fn with_key(mut self, key: Option<&Key>) -> Self {
        if let Some(key) = key {
            self.login.get_or_insert_with(|| ("simulator".to_owned(), key.expose().to_owned()));
        }
        self
    }

    /// Reads `mqtt://[user:password@]host[:port]`.
    pub fn parse(url: &str) -> anyhow::Result<Self> {
        let rest = url
            .strip_prefix("mqtt://")
            .with_context(|| format!("`{url}` is not a broker address; write it like mqtt://127.0.0.1:1883"))?;
        let (login, place) = match rest.trim_end_matches('/').rsplit_once('@') {
            Some((login, place)) => (Some(login), place),
            None => (None, rest.trim_end_matches('/')),
        };
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().with_context(|| format!("`{port}` in the broker address is not a port"))?)
            }
            _ => (place, 1883),
        };
        ensure!(!host.is_empty(), "`{url}` names no host; write it like mqtt://127.0.0.1:1883");
        let login = login.map(|login| login.split_once(':').unwrap_or((login, "")));
        Ok(Self {
            host: host.to_owned(),
            port,
            login: login.map(|(user, password)| (user.to_owned(), password.to_owned())),
        })
    }
}

impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mqtt://{}:{}", self.host, self.port)
    }
}

/// Never shows the password.
impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Broker({self}, login: {})", self.login.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broker_addresses_are_read() {
        let broker = Broker::parse("mqtt://user:p:w@host.example:2883/").unwrap();
        assert_eq!((broker.host.as_str(), broker.port), ("host.example", 2883));
        assert_eq!(broker.login, Some(("user".to_owned(), "p:w".to_owned())));
        assert_eq!(Broker::parse("mqtt://h").unwrap().port, 1883);
        for bad in ["localhost:1883", "mqtt://", "mqtt://h:port", "mqtts://h"] {
            assert!(Broker::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn password_is_never_shown() {
        let broker = Broker::parse("mqtt://user:secret@h").unwrap();
        assert!(!format!("{broker:?} {broker}").contains("secret"));
    }

    #[test]
    fn a_key_is_the_password_unless_the_address_has_one_and_is_never_shown() {
        let key = Key::parse(" rk_1_secret\n").unwrap();
        let login = |url: &str| Broker::parse(url).unwrap().with_key(Some(&key)).login.unwrap();
        assert_eq!(login("mqtt://h"), ("simulator".to_owned(), "rk_1_secret".to_owned()));
        assert_eq!(login("mqtt://acme:own@h"), ("acme".to_owned(), "own".to_owned()));
        assert!(!format!("{key:?}").contains("secret") && Key::parse("hunter2").is_err());
    }

    #[test]
    fn default_and_demo_are_valid() {
        Options::default().check().unwrap();
        Options::demo(([127, 0, 0, 1], 1883).into(), 200, 4).check().unwrap();
        Options::demo(([127, 0, 0, 1], 1883).into(), 20_000, 4).check().unwrap();
    }

    #[test]
    fn impossible_options_are_refused() {
        let refused = |change: fn(&mut Options)| {
            let mut options = Options::default();
            change(&mut options);
            options.check().unwrap_err().to_string()
        };
        assert!(refused(|o| o.interval = Duration::from_secs(90)).contains("--offline-after"));
        assert!(refused(|o| o.shares.silence = 1.5).contains("between 0 and 1"));
        assert!(refused(|o| (o.shares.silence, o.shares.flap) = (0.6, 0.6)).contains("whole fleet"));
        assert!(refused(|o| (o.shares.will, o.connections) = (0.1, 2)).contains("--connections 100"));
    }
}
