//! What a process has used, from /proc: asked by the rows before and after a measurement.

use std::time::Instant;

/// Clock ticks a second, which Linux has fixed for programs.
const TICKS_PER_S: f64 = 100.0;

/// A moment in the life of a process.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    at: Instant,
    cpu_s: f64,
    pub rss_bytes: u64,
}

impl Usage {
    /// As it is now; zeros when there is no such process.
    pub fn of(pid: i32) -> Self {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
        let cpu_s = (ticks(11) + ticks(12)) / TICKS_PER_S;
        Self { at: Instant::now(), cpu_s, rss_bytes: resident(pid) }
    }

    /// CPU seconds since an earlier moment.
    pub fn cpu_since(&self, earlier: &Self) -> f64 {
        self.cpu_s - earlier.cpu_s
    }

    /// Share of one core since an earlier moment.
    pub fn share_since(&self, earlier: &Self) -> f64 {
        self.cpu_since(earlier) / (self.at - earlier.at).as_secs_f64()
    }
}

/// Resident memory in bytes.
pub fn resident(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    line.and_then(|text| text.trim().parse::<u64>().ok()).unwrap_or(0) * 1024
}
