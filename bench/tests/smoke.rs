//! The benchmark runs: a few seconds of it, from outside, on the service that the same `cargo test` has built. What it
//! measures is another matter (docs/benchmarks.md).

use std::path::Path;
use std::process::Command;

fn bench(arguments: &[&str]) -> (bool, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_bench")).args(arguments).output().expect("runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.success(), text(output.stdout), text(output.stderr))
}

#[test]
fn every_part_of_the_benchmark_works_and_nothing_sent_is_lost() {
    let service = Path::new(env!("CARGO_BIN_EXE_bench")).with_file_name("rollcall");
    assert!(service.exists(), "cargo test --workspace, or cargo build before, makes {}", service.display());
    let folder = tempfile::tempdir().expect("a folder");
    let json = folder.path().join("bench.json");
    let (done, out, log) = bench(&["--only", "smoke", "--json", json.to_str().expect("text")]);
    assert!(done, "{out}\n{log}");
    let report: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&json).expect("JSON was written")).expect("is JSON");
    let lines = report["lines"].as_array().expect("lines");
    assert_eq!(lines.len(), 2, "{report:#}");
    let number = |line: usize, field: &str| lines[line][field].as_f64().unwrap_or_default();
    assert!(number(0, "figure") > 0.0 && number(0, "floor") > 0.0 && number(1, "figure") > 0.0, "{report:#}");
    let note = lines[0]["note"].as_str().expect("a note");
    let counts: Vec<f64> = note.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect();
    assert!(counts.len() == 3 && counts.iter().all(|count| *count == counts[0]), "{note}");
    assert!(out.contains("| smoke | QoS 1 |"), "{out}");
}

#[test]
fn an_unknown_row_is_named_with_those_there_are() {
    let (done, _, log) = bench(&["--only", "speed"]);
    assert!(!done && log.contains("there is no row speed") && log.contains("intake"), "{log}");
}
