//! What was measured, as a table for people and as JSON for programs. Filled by the rows, printed by main.

use serde::Serialize;

/// One figure beside its floor and its target.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    /// The row it belongs to, as `--only` names it.
    pub row: &'static str,
    /// What was measured.
    pub what: String,
    pub figure: f64,
    pub unit: &'static str,
    /// What the bare crate below does in the same run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floor: Option<f64>,
    /// Figure over floor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    /// What it should be, in words; empty for a figure that is only told.
    pub target: String,
    /// Whether it is so; a quick run says nothing about a target for a larger fleet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub met: Option<bool>,
    /// Resident memory of the service, MB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_mb: Option<f64>,
    /// Its share of one core, percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<f64>,
    /// How it was measured, where that is not plain.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
}

impl Line {
    /// A figure that is only told.
    pub fn new(row: &'static str, what: impl Into<String>, figure: f64, unit: &'static str) -> Self {
        Self {
            row,
            what: what.into(),
            figure,
            unit,
            floor: None,
            ratio: None,
            target: String::new(),
            met: None,
            memory_mb: None,
            cpu_percent: None,
            note: String::new(),
        }
    }

    /// Against the floor: at least this share of it.
    pub fn at_least_of(mut self, floor: f64, share: f64) -> Self {
        let ratio = if floor > 0.0 { self.figure / floor } else { 0.0 };
        (self.floor, self.ratio) = (Some(floor), Some(ratio));
        (self.target, self.met) = (format!("ratio >= {share}"), Some(ratio >= share));
        self
    }

    /// Beside the floor, which is no target.
    pub fn beside(mut self, floor: f64) -> Self {
        (self.floor, self.ratio) = (Some(floor), (floor > 0.0).then_some(self.figure / floor));
        self
    }

    /// At most this, in the figure's own unit.
    pub fn at_most(mut self, most: f64) -> Self {
        (self.target, self.met) = (format!("<= {most}"), Some(self.figure <= most));
        self
    }

    /// Whether something is so that is no number.
    pub fn measured(mut self, target: impl Into<String>, met: bool) -> Self {
        (self.target, self.met) = (target.into(), Some(met));
        self
    }

    /// What the service used meanwhile: bytes, and its share of one core.
    pub fn using(mut self, rss_bytes: u64, share: f64) -> Self {
        (self.memory_mb, self.cpu_percent) = (Some(rss_bytes as f64 / 1e6), Some(share * 100.0));
        self
    }

    /// A remark.
    pub fn noted(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }
}

/// Where and with what it was measured.
#[derive(Debug, Serialize)]
pub struct Machine {
    pub commit: String,
    pub cores: usize,
    pub processor: String,
    pub memory_gb: f64,
    pub kernel: String,
    pub at: String,
    pub full: bool,
    /// Load average before the run: what else kept the machine busy.
    pub load: String,
}

impl Machine {
    /// This one.
    pub fn here(full: bool) -> Self {
        let read = |file| std::fs::read_to_string(file).unwrap_or_default();
        let value = |text: &str, name| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.split(':').nth(1).unwrap_or_default().trim().to_owned()
        };
        let kilobytes = value(&read("/proc/meminfo"), "MemTotal");
        let git = std::process::Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
        Self {
            commit: git.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned()).unwrap_or_default(),
            cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            processor: value(&read("/proc/cpuinfo"), "model name"),
            memory_gb: kilobytes.trim_end_matches(" kB").parse::<f64>().unwrap_or(0.0) / 1e6,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            at: chrono::Utc::now().format("%Y-%m-%d %H:%M UTC").to_string(),
            full,
            load: read("/proc/loadavg").split_whitespace().take(3).collect::<Vec<_>>().join(" "),
        }
    }
}

/// The machine in one sentence.
pub fn about(machine: &Machine) -> String {
    let Machine { commit, cores, processor, memory_gb, kernel, at, full, load } = machine;
    let run = if *full { "full run" } else { "quick run" };
    format!(
        "{run} of commit {commit}, {at}: {cores} cores of {processor}, {memory_gb:.0} GB, Linux {kernel}, \
         load average before {load}\n"
    )
}

/// The heading of the table in Markdown.
pub fn heading() -> String {
    "| row | what | figure | floor | ratio | target | met | memory MB | CPU % | note |\n\
     |---|---|---|---|---|---|---|---|---|---|"
        .into()
}

/// One line of it.
pub fn row(line: &Line) -> String {
    let optional = |value: Option<f64>| value.map(number).unwrap_or_default();
    let met = line.met.map_or("", |met| if met { "yes" } else { "**no**" });
    let (figure, floor, ratio) = (number(line.figure), optional(line.floor), optional(line.ratio));
    let (memory, cpu) = (optional(line.memory_mb), optional(line.cpu_percent));
    let Line { row, what, unit, target, note, .. } = line;
    format!("| {row} | {what} | {figure} {unit} | {floor} | {ratio} | {target} | {met} | {memory} | {cpu} | {note} |")
}

/// Three digits that count.
fn number(value: f64) -> String {
    let decimals = match value.abs() {
        small if small < 10.0 => 2,
        small if small < 100.0 => 1,
        _ => 0,
    };
    let text = format!("{value:.decimals$}");
    let (whole, rest) = text.split_once('.').unwrap_or((&text, ""));
    let mut grouped = String::new();
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i) % 3 == 0 && digit.is_ascii_digit() && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if rest.is_empty() { grouped } else { format!("{grouped}.{rest}") }
}

/// The middle one of some measurements.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// The value that a share of all are not above.
pub fn percentile(sorted: &[f64], share: f64) -> f64 {
    let at = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(at.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_held_against_its_floor_and_its_target() {
        let line = Line::new("intake", "x", 600_000.0, "/s").at_least_of(1_000_000.0, 0.5);
        assert_eq!((line.ratio, line.met), (Some(0.6), Some(true)));
        assert_eq!(Line::new("memory", "x", 1_700.0, "bytes").at_most(1_638.4).met, Some(false));
        assert!(row(&line).contains("| 600,000 /s | 1,000,000 | 0.60 | ratio >= 0.5 | yes |"), "{}", row(&line));
    }

    #[test]
    fn percentiles_and_medians_are_values_that_were_measured() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(
            (percentile(&values, 0.5), percentile(&values, 0.99), percentile(&values, 1.0)),
            (50.0, 99.0, 100.0)
        );
        assert_eq!((median(vec![3.0, 1.0, 2.0]), percentile(&[], 0.5)), (2.0, 0.0));
    }
}
