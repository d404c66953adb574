//! The oracle's short scenarios on both stacks: the simulator starts the service, hurts it, and compares everything it
//! said with what each vehicle really did. The files under scenarios/ are the same that users run by hand.
//!
//! Covers R12, R14, R15, R22, R23, R25, R27, R28, R32, R33, R34, R37, R39, R42 and R62; R31 and R40 in the deaf one.

use std::path::{Path, PathBuf};

use simulator::oracle::{self, Counts, Outcome, Scenario, Stack, StageFlags};

/// Runs a scenario of the repository; none when this machine lacks its servers.
pub async fn run(file: &str, stack: Stack) -> Option<Outcome> {
    run_with(file, stack, |_| {}, None, |_, _| {}).await
}

/// The same with a change of the scenario, another way to the live feed, and a look at the running stage.
pub async fn run_with(
    file: &str,
    stack: Stack,
    change: impl FnOnce(&mut Scenario),
    live: Option<String>,
    hand: impl FnOnce(&str, &str),
) -> Option<Outcome> {
    if stack == Stack::External && !servers_are_installed() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "CI needs Mosquitto and Postgres");
        eprintln!("skipped: Mosquitto or Postgres is not installed");
        return None;
    }
    let mut scenario = Scenario::read(&Path::new("scenarios").join(file)).expect("a scenario");
    change(&mut scenario);
    let options = scenario.options().expect("the fleet's flags");
    let flags =
        StageFlags { stack: Some(stack), rollcall: Some(env!("CARGO_BIN_EXE_rollcall").into()), store: None, live };
    let outcome = oracle::run(&scenario, options, &flags, hand).await.expect("the stage holds");
    println!(
        "{}\n{}\n{}\n{}",
        outcome.table(),
        outcome.fleet.summary(),
        outcome.summary(),
        outcome.findings.join("\n")
    );
    Some(outcome)
}

fn servers_are_installed() -> bool {
    let mosquitto = std::env::var_os("MOSQUITTO_BIN").map_or("/usr/sbin/mosquitto".into(), PathBuf::from);
    mosquitto.exists() && Path::new("/usr/lib/postgresql").exists()
}

/// Nothing is wrong, and the scenario was worth its while.
fn assert_verified(outcome: &Outcome, faults: usize, transitions: u64) {
    let done = outcome.faults.iter().filter(|fault| fault.incident.skipped.is_none()).count();
    assert_eq!(done, faults, "the faults were done: {:#?}", outcome.faults);
    assert!(outcome.transitions > transitions && outcome.told > 0, "{}", outcome.summary());
    assert!(!outcome.failed(), "{}\n{}", outcome.table(), outcome.findings.join("\n"));
}

#[test]
fn every_scenario_file_can_be_run() {
    let files = std::fs::read_dir("scenarios").expect("the folder").map(|file| file.expect("readable").path());
    let mut names = Vec::new();
    for file in files {
        let scenario = Scenario::read(&file).expect("a scenario");
        scenario.options().and_then(|options| options.check()).expect("its fleet is possible");
        assert_eq!(file.file_stem().and_then(|stem| stem.to_str()), Some(scenario.name.as_str()));
        names.push(scenario.name);
    }
    assert!(names.contains(&"long".to_owned()) && names.len() >= 6, "{names:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_false_or_lost_through_kills_stops_and_a_suspension_embedded() {
    let Some(outcome) = run("restarts.toml", Stack::Embedded).await else { return };
    assert_verified(&outcome, 6, 1_000);
    assert!(outcome.total.unobserved > 0, "what was not heard is said to be so");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_false_or_lost_through_kills_stops_and_a_suspension_external() {
    let Some(outcome) = run("restarts.toml", Stack::External).await else { return };
    assert_verified(&outcome, 6, 1_000);
    assert!(outcome.total.unobserved > 0, "what was not heard is said to be so");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_false_or_lost_when_store_and_network_fail_embedded() {
    let Some(outcome) = run("outages.toml", Stack::Embedded).await else { return };
    assert_verified(&outcome, 3, 1_000);
    assert_eq!((outcome.total.unobserved, outcome.total.blind_ms), (0, 0), "no reason to be blind");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_false_or_lost_when_broker_store_and_network_fail_external() {
    let Some(outcome) = run("outages.toml", Stack::External).await else { return };
    assert_verified(&outcome, 4, 1_000);
    assert!(outcome.total.blind_ms > 3_000, "the broker's death is written down");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clones_wills_and_retained_heartbeats_deceive_nobody_embedded() {
    let Some(outcome) = run("strange.toml", Stack::Embedded).await else { return };
    assert_verified(&outcome, 3, 800);
    assert_everybody_fell_silent_once(&outcome);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clones_wills_and_retained_heartbeats_deceive_nobody_external() {
    let Some(outcome) = run("strange.toml", Stack::External).await else { return };
    assert_verified(&outcome, 3, 800);
    assert_everybody_fell_silent_once(&outcome);
}

/// R27: the judge has found each of them told exactly once; here only that it was everybody.
fn assert_everybody_fell_silent_once(outcome: &Outcome) {
    let silence = outcome.faults.iter().find(|fault| fault.incident.kind == oracle::Kind::SilenceAll).expect("done");
    let Counts { detection_lag_ms, .. } = silence.counts;
    assert!(detection_lag_ms.count > 120, "{:#?}", silence.counts);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_swallows_what_the_broker_says_makes_nobody_offline() {
    let Some(outcome) = run("deaf.toml", Stack::External).await else { return };
    assert_verified(&outcome, 3, 200);
}

/// R14. Where libfaketime is not installed the clock stands still, which is said.
async fn the_clock_steps(stack: Stack) {
    let Some(outcome) = run("clock.toml", stack).await else { return };
    let done = outcome.faults.iter().filter(|fault| fault.incident.skipped.is_none()).count();
    assert!(done == 0 || done == 3, "{:#?}", outcome.faults);
    assert_verified(&outcome, done, 150);
    assert!(outcome.total.unobserved == 0, "the clock of the wall is nobody's silence: {:#?}", outcome.total);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wall_clock_that_steps_by_years_changes_nothing_embedded() {
    the_clock_steps(Stack::Embedded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wall_clock_that_steps_by_years_changes_nothing_external() {
    the_clock_steps(Stack::External).await;
}
