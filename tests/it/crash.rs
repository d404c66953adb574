//! kill -9 in the middle of load, several times, on both stacks. What was acknowledged is never lost, nothing is told
//! twice, and the time in which the process was dead is nobody's silence (R22, R25; invariants 1, 3, 4 and 5).

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::history::{History, until_all_offline};
use crate::load::Load;
use crate::stacks::{Kind, Stack, listening_since, ms, wall_ms};
use crate::support::{Service, until};

const ROUNDS: usize = 5;
const VEHICLES: usize = 300;
const OFFLINE_AFTER_MS: i64 = 300;
const SETTINGS: [(&str, &str); 2] = [("FLEET__OFFLINE_AFTER", "300ms"), ("STORE__CHECKPOINT_INTERVAL", "500ms")];
/// A busy machine may be so late with a checkpoint of half a second.
const CHECKPOINT_LATE_MS: i64 = 5_000;

/// One life of the service ends and the next begins; milliseconds of the wall clock.
#[derive(Debug, Clone, Copy)]
struct Death {
    /// Just before the signal.
    killed: i64,
    /// The process is gone.
    dead: i64,
    /// The next one listens.
    listening: i64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_the_service_is_killed_embedded() {
    scenario(Kind::Embedded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_the_service_is_killed_external() {
    scenario(Kind::External).await;
}

/// Kills the service in the middle of its work, just when it has promised something, and starts it again after a while.
async fn die(stack: &Stack, service: Service, load: &Load, chance: &mut SmallRng) -> (Service, Death) {
    let mut service = service;
    let kill_at = wall_ms() + chance.random_range(1_500..3_000);
    until("the moment of the kill", || async { wall_ms() >= kill_at }).await;
    load.last_word(&format!("last-word-{kill_at}")).await;
    let killed = wall_ms();
    service.kill();
    tokio::task::block_in_place(|| service.wait(Duration::from_secs(10)));
    let dead = wall_ms();
    let start_at = dead + chance.random_range(50..1_000);
    until("the moment of the start", || async { wall_ms() >= start_at }).await;
    let service = stack.start(&SETTINGS).await;
    let listening = listening_since(&service).await;
    (service, Death { killed, dead, listening })
}

async fn scenario(kind: Kind) {
    let Some(stack) = Stack::of(kind).await else { return };
    let seed = rand::rng().random();
    println!("{kind:?}: seed {seed}");
    let mut chance = SmallRng::seed_from_u64(seed);
    let mut service = stack.start(&SETTINGS).await;
    let load = Load::start(&stack, VEHICLES, &mut chance).await;
    let mut deaths = Vec::new();
    for _ in 0..ROUNDS {
        let (next, death) = die(&stack, service, &load, &mut chance).await;
        service = next;
        deaths.push(death);
    }
    load.end(&service).await;
    until_all_offline(&service).await;

    let history = History::read(&stack).await;
    history.check();
    history.check_rest(&service).await;
    check_dead_times(&history, &deaths, &late_canaries(&service).await);
    check_gaps(&service, &deaths).await;
    let (acknowledged, sent) = load.check_acknowledged(kind, &history);
    let unobserved = history.steps.iter().filter(|step| step.to == "unobserved").count();
    println!(
        "{kind:?}: {ROUNDS} kills, {sent} heartbeats sent, {acknowledged} acknowledged, {} transitions stored, \
         {unobserved} of them unobserved; {deaths:?}",
        history.steps.len()
    );
    assert!(unobserved > 0 && acknowledged > 1_000, "the load was there");
}

/// No silence is counted across a time in which we were dead; what ended then is unobserved, by our last checkpoint.
fn check_dead_times(history: &History, deaths: &[Death], late: &[(i64, i64)]) {
    for step in &history.steps {
        match (step.to.as_str(), step.cause.as_str()) {
            ("offline", "silence") => {
                let wrong = deaths.iter().find(|d| step.at > d.dead && step.at < d.listening + OFFLINE_AFTER_MS);
                assert!(wrong.is_none(), "{step:?} counts the time of {wrong:?}");
            }
            ("unobserved", "blind") => {
                let of = |d: &&Death| step.at > d.killed - CHECKPOINT_LATE_MS && step.at < d.listening;
                let in_late = late.iter().any(|(from, to)| (*from..=*to).contains(&step.at));
                assert!(in_late || deaths.iter().find(of).is_some(), "{step:?} is in no time of {deaths:?}");
            }
            ("online", "heartbeat") => {}
            _ => panic!("no other change can be: {step:?}"),
        }
    }
}

/// When the canary was late: a machine that is busy for a second, with a timeout this short.
async fn late_canaries(service: &Service) -> Vec<(i64, i64)> {
    let answer = service.get("/api/v1/observation-gaps").await;
    let gaps = answer["items"].as_array().expect("a list").iter().filter(|gap| gap["scope"] == "intake");
    gaps.map(|gap| (ms(&gap["from"]), if gap["to"].is_null() { i64::MAX } else { ms(&gap["to"]) })).collect()
}

/// Each death is told as a time in which we did not hear.
async fn check_gaps(service: &Service, deaths: &[Death]) {
    let answer = service.get("/api/v1/observation-gaps").await;
    let gaps = answer["items"].as_array().expect("a list");
    // A canary may be late on a busy machine; the link must not be lost.
    assert!(gaps.iter().all(|gap| gap["scope"] != "link"), "the link held through every backlog: {answer}");
    for death in deaths {
        let covers = |gap: &&serde_json::Value| {
            gap["scope"] == "process" && ms(&gap["from"]) <= death.dead && ms(&gap["to"]) == death.listening
        };
        assert!(gaps.iter().any(|gap| covers(&gap)), "{death:?} is not in {answer}");
    }
}
