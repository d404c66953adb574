//! A scenario file: the fleet, the product and the faults with their times. Fed by the user, feeds the stage (what to
//! start), the fleet's flags and the director (what to break, when). Pure but for reading the file.

use std::{collections::BTreeMap, path::Path, path::PathBuf, time::Duration};

use anyhow::{Context, bail, ensure};
use clap::Parser;
use serde::Deserialize;

use crate::{duration, flags::Flags, options::Options};

/// Which product is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Stack {
    /// SQLite file and embedded broker.
    Embedded,
    /// Mosquitto and Postgres.
    External,
}

/// A whole file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    pub name: String,
    #[serde(default = "embedded")]
    pub stack: Stack,
    /// The simulator's own flags, without the dashes: `vehicles = 300`, `offline_after = "3s"`.
    #[serde(default)]
    pub fleet: toml::Table,
    #[serde(default)]
    pub product: Product,
    /// After a fault has ended the product may need this long to hear again; after that it has no excuse.
    #[serde(default = "recovery", deserialize_with = "duration::deserialize")]
    pub recovery: Duration,
    /// What is known of each vehicle's last heartbeat after a kill -9 may be so old, but no older.
    #[serde(default = "checkpoint", deserialize_with = "duration::deserialize")]
    pub checkpoint: Duration,
    #[serde(default)]
    pub fault: Vec<Fault>,
}

/// What is under test.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Product {
    /// The program; a relative path counts from where the simulator is started.
    pub rollcall: Option<PathBuf>,
    #[serde(default)]
    pub flags: Vec<String>,
    /// Settings by their dotted name: `"store.checkpoint_interval" = "500ms"`.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    /// A Postgres database for the external stack, instead of an own cluster. It cannot be stopped then.
    pub store: Option<String>,
    /// A broker for the external stack, instead of an own Mosquitto. It cannot be killed then.
    pub broker: Option<String>,
}

/// One fault, perhaps repeated.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    pub kind: Kind,
    #[serde(default, deserialize_with = "duration::deserialize")]
    pub at: Duration,
    #[serde(default, rename = "for", deserialize_with = "duration::deserialize")]
    pub length: Duration,
    /// From the start of one to the start of the next.
    #[serde(default, deserialize_with = "duration::deserialize")]
    pub every: Duration,
    #[serde(default = "once")]
    pub times: u32,
    /// cut_network: how.
    pub cut: Option<Cut>,
    /// cut_network: where.
    #[serde(default)]
    pub between: Between,
    /// cut_network with `cut = "delay"`: how much later bytes arrive.
    #[serde(default, deserialize_with = "duration::deserialize")]
    pub delay: Duration,
    /// step_clock: such as "+2y" or "-2y".
    pub by: Option<String>,
    /// retained_replay: how many.
    #[serde(default)]
    pub vehicles: u32,
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// kill -9 and start again after `for`. Only with an external broker of our own.
    KillBroker,
    /// The store takes no writes for `for`.
    StopStore,
    /// kill -9 and start again after `for`.
    KillProduct,
    /// SIGTERM and start again after `for`.
    StopProduct,
    /// SIGSTOP for `for`, then SIGCONT.
    SuspendProduct,
    CutNetwork,
    /// The product's wall clock steps.
    StepClock,
    /// Heartbeats of vehicles that are off lie retained in the broker.
    RetainedReplay,
    /// Every vehicle is silent for `for`.
    SilenceAll,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cut {
    /// Connections are closed and new ones refused.
    Close,
    /// Connections stay and nothing arrives.
    Swallow,
    /// Everything arrives later.
    Delay,
}

/// Which side of the broker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Between {
    #[default]
    Vehicles,
    Product,
}

fn embedded() -> Stack {
    Stack::Embedded
}

/// The product tries its broker again at least every 5 s, and a connection that was cut without a word is found dead
/// after 30 s.
fn recovery() -> Duration {
    Duration::from_secs(40)
}

/// The product's promise.
fn checkpoint() -> Duration {
    Duration::from_secs(10)
}

fn once() -> u32 {
    1
}

impl Scenario {
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        Self::parse(&text).with_context(|| format!("{} is no scenario", file.display()))
    }

    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let scenario: Self = toml::from_str(text)?;
        scenario.check()?;
        Ok(scenario)
    }

    fn check(&self) -> anyhow::Result<()> {
        for (index, fault) in self.fault.iter().enumerate() {
            fault.check().with_context(|| format!("fault {} ({:?})", index + 1, fault.kind))?;
        }
        for name in ["scenario", "broker", "verify", "stack", "rollcall", "store"] {
            ensure!(!self.fleet.contains_key(name), "[fleet] cannot set `{name}`");
        }
        Ok(())
    }

    /// The fleet's flags as a command line, for the user's own flags to follow and override.
    pub fn fleet_flags(&self) -> Vec<String> {
        let text = |value: &toml::Value| match value {
            toml::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let pair = |(name, value): (&String, _)| [format!("--{}", name.replace('_', "-")), text(value)];
        self.fleet.iter().flat_map(pair).collect()
    }

    /// The fleet's options without any further flags.
    pub fn options(&self) -> anyhow::Result<Options> {
        let words = std::iter::once("simulator".to_owned()).chain(self.fleet_flags());
        let flags = Flags::try_parse_from(words).context("[fleet] has flags that the simulator does not know")?;
        Ok(flags.into())
    }

    /// Every single fault in order of time: its start since the fleet's start, and which entry it is of.
    pub fn timeline(&self) -> Vec<(Duration, usize)> {
        let mut all: Vec<(Duration, usize)> = self
            .fault
            .iter()
            .enumerate()
            .flat_map(|(index, fault)| (0..fault.times).map(move |round| (fault.at + fault.every * round, index)))
            .collect();
        all.sort();
        all
    }

    /// Makes every fault so many times sooner and shorter; the fleet's own rhythm stays.
    pub fn hurry(&mut self, factor: f64) {
        for fault in &mut self.fault {
            for time in [&mut fault.at, &mut fault.length, &mut fault.every] {
                *time = time.div_f64(factor);
            }
        }
    }

    pub fn has(&self, wanted: impl Fn(&Fault) -> bool) -> bool {
        self.fault.iter().any(wanted)
    }

    /// Whether the fleet or the product speaks to the broker through a proxy of ours.
    pub fn cuts(&self, between: Between) -> bool {
        self.has(|fault| fault.kind == Kind::CutNetwork && fault.between == between)
    }
}

impl Fault {
    fn check(&self) -> anyhow::Result<()> {
        ensure!(self.times >= 1, "`times` must be at least 1");
        ensure!(self.times == 1 || self.every > self.length, "`every` must be longer than `for`");
        match self.kind {
            Kind::CutNetwork if self.cut.is_none() => bail!("say how: cut = \"close\", \"swallow\" or \"delay\""),
            Kind::CutNetwork if self.cut == Some(Cut::Delay) && self.delay.is_zero() => bail!("say how much: delay"),
            Kind::StepClock if self.step_s().is_none() => bail!("say by how much: by = \"+2y\""),
            Kind::RetainedReplay if self.vehicles == 0 => bail!("say how many: vehicles = 100"),
            Kind::StopStore | Kind::SuspendProduct | Kind::CutNetwork | Kind::SilenceAll if self.length.is_zero() => {
                bail!("say how long: for = \"5s\"")
            }
            _ => Ok(()),
        }
    }

    /// The step of the clock in seconds, from such as "+2y", "-90s", "+3d".
    pub fn step_s(&self) -> Option<i64> {
        let text = self.by.as_deref()?;
        let (sign, rest) = match text.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, text.strip_prefix('+')?),
        };
        let number: i64 = rest[..rest.len().checked_sub(1)?].parse().ok()?;
        let unit = match rest.chars().last()? {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            'y' => 365 * 86_400,
            _ => return None,
        };
        Some(sign * number * unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenario_is_read_and_its_faults_stand_in_order() {
        let text = "name = 'x'\nstack = 'external'\n[fleet]\nvehicles = 3\nsilent_share = 0.5\ninterval = '1s'\n\
                    [[fault]]\nkind = 'kill_product'\nat = '5s'\nevery = '10s'\ntimes = 2\n\
                    [[fault]]\nkind = 'cut_network'\ncut = 'swallow'\nat = '7s'\nfor = '2s'\n";
        let scenario = Scenario::parse(text).unwrap();
        assert_eq!(scenario.stack, Stack::External);
        let flags = scenario.fleet_flags().join(" ");
        assert!(flags.contains("--silent-share 0.5") && flags.contains("--interval 1s"), "{flags}");
        let at: Vec<(u64, usize)> = scenario.timeline().iter().map(|(at, index)| (at.as_secs(), *index)).collect();
        assert_eq!(at, [(5, 0), (7, 1), (15, 0)]);
    }

    #[test]
    fn fault_that_says_too_little_is_refused() {
        for (fault, reason) in [
            ("kind = 'cut_network'\nfor = '1s'", "say how"),
            ("kind = 'stop_store'", "say how long"),
            ("kind = 'step_clock'\nby = '2y'", "by how much"),
            ("kind = 'retained_replay'", "how many"),
            ("kind = 'kill_product'\ntimes = 2", "longer than"),
            ("kind = 'earthquake'", "unknown variant"),
            ("kind = 'kill_product'\nlength = '1s'", "unknown field"),
        ] {
            let error = format!("{:#}", Scenario::parse(&format!("name = 'x'\n[[fault]]\n{fault}")).unwrap_err());
            assert!(error.contains(reason), "{fault}: {error}");
        }
        assert!(Scenario::parse("name = 'x'\n[fleet]\nbroker = 'mqtt://h'").is_err());
    }

    #[test]
    fn scenario_in_a_hurry_has_all_its_faults_sooner() {
        let mut scenario =
            Scenario::parse("name = 'x'\n[[fault]]\nkind = 'stop_store'\nat = '10m'\nfor = '5m'").unwrap();
        scenario.hurry(10.0);
        let fault = &scenario.fault[0];
        assert_eq!((fault.at, fault.length), (Duration::from_secs(60), Duration::from_secs(30)));
    }

    #[test]
    fn steps_of_the_clock_are_read() {
        let step = |by: &str| {
            let text = format!("name = 'x'\n[[fault]]\nkind = 'step_clock'\nby = '{by}'");
            Scenario::parse(&text).ok().and_then(|scenario| scenario.fault[0].step_s())
        };
        assert_eq!((step("+2y"), step("-90s"), step("5d"), step("+")), (Some(63_072_000), Some(-90), None, None));
    }
}
