//! What is decided stays decided, whatever happens to the store, the process and the disk: it is in the store or in
//! the spool before anybody is told, and in the store in the end, once and in order (R12, R27, R59, R62; invariants 1,
//! 4, 5). A SQLite store is taken away by holding its write lock (it hangs), Postgres by cutting the way to it (it
//! breaks).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection};
use tempfile::TempDir;

use crate::history::{History, until_all_offline};
use crate::load::Load;
use crate::outage::{Way, by_way_of};
use crate::radio::Radio;
use crate::stacks::{CUSTOMER, Dashboard, Kind, Stack, database, wall_ms};
use crate::support::{Service, from_environment, until};

const SETTINGS: [(&str, &str); 2] = [("FLEET__OFFLINE_AFTER", "300ms"), ("STORE__CHECKPOINT_INTERVAL", "500ms")];
const VEHICLES: usize = 60;
/// Longer than the patience with a store that hangs (2 s) by far.
const OUTAGE: Duration = Duration::from_secs(6);
/// Far above what the transitions of a test take, far below a leak.
const GROWTH_KIB_MAX: u64 = 96 * 1024;

/// One of the two stacks, whose store can be taken away and given back.
struct Scene {
    kind: Kind,
    stack: Stack,
    way: Option<Way>,
    lock: Option<SqliteConnection>,
}

impl Scene {
    async fn of(kind: Kind) -> Option<Self> {
        if kind == Kind::Embedded {
            return Some(Self { kind, stack: Stack::embedded(), way: None, lock: None });
        }
        let broker = from_environment("ROLLCALL_TEST_MOSQUITTO")?;
        let store = database(&from_environment("ROLLCALL_TEST_POSTGRES")?).await;
        let way = Way::to(by_way_of(&store, 0).0).await;
        let stack = Stack::new(Some(&broker), store.clone(), &by_way_of(&store, way.port).1);
        Some(Self { kind, stack, way: Some(way), lock: None })
    }

    async fn take_store_away(&mut self) {
        match &self.way {
            Some(way) => way.cut(),
            None => {
                let mut lock = SqliteConnection::connect(&self.stack.store).await.expect("the file opens");
                sqlx::query("PRAGMA busy_timeout = 10000").execute(&mut lock).await.expect("set");
                sqlx::query("BEGIN IMMEDIATE").execute(&mut lock).await.expect("the lock");
                self.lock = Some(lock);
            }
        }
    }

    async fn give_store_back(&mut self) {
        match (&self.way, self.lock.take()) {
            (Some(way), _) => way.restore(),
            (None, Some(lock)) => lock.close().await.expect("lets go"),
            (None, None) => {}
        }
    }

    /// Everybody silent, everything stored; nothing lost, doubled or out of order, and what was acknowledged is there.
    async fn check(&self, service: &Service, load: &Load) -> History {
        load.end(service).await;
        until_all_offline(service).await;
        let history = History::read(&self.stack).await;
        history.check();
        history.check_rest(service).await;
        let (acknowledged, sent) = load.check_acknowledged(self.kind, &history);
        let steps = history.steps.len();
        println!("{:?}: {sent} heartbeats sent, {acknowledged} acknowledged, {steps} transitions", self.kind);
        assert!(acknowledged > 100 && steps > 100, "the load was there");
        assert_eq!(segments(&self.stack.local).len(), 0, "nothing waits in the spool");
        history
    }
}

fn dice() -> SmallRng {
    let seed = rand::rng().random();
    println!("seed {seed}");
    SmallRng::seed_from_u64(seed)
}

async fn store_of(service: &Service) -> Value {
    service.get("/api/v1/status").await["store"].clone()
}

async fn metric(service: &Service, name: &str) -> u64 {
    let text = service.send("GET", "/metrics", "", "").await.text;
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().expect("a number")
}

async fn until_spooled(service: &Service, rows: u64) {
    until("transitions wait in the spool", || async {
        let store = store_of(service).await;
        store["spool_rows"].as_u64() > store["memory_rows"].as_u64().map(|memory| memory + rows)
    })
    .await;
}

/// The segments in the spool, oldest first.
fn segments(local: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(local.join("spool")).expect("a spool").map(|file| file.expect("readable").path());
    let mut found: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|own| own == "spool")).collect();
    found.sort();
    found
}

async fn until_passed(begun: Instant, span: Duration) {
    until("the time has passed", || async { begun.elapsed() >= span }).await;
}

/// R62: live status and push stay right, senders get their acknowledgements, and memory does not grow.
async fn the_store_is_away_under_load(kind: Kind) {
    let Some(mut scene) = Scene::of(kind).await else { return };
    let mut chance = dice();
    let service = scene.stack.start(&SETTINGS).await;
    let dashboard = Dashboard::open(&service).await;
    let load = Load::start(&scene.stack, VEHICLES, &mut chance).await;
    until("the fleet is on the road", || async { metric(&service, "rollcall_transitions_total").await > 200 }).await;
    let memory = service.rss_kib();

    scene.take_store_away().await;
    let begun = Instant::now();
    until_spooled(&service, 50).await;
    assert_eq!(service.answer("/readyz").await.0, 200, "it can do its job");
    let store = store_of(&service).await;
    assert!(store["ok"] == false && store["stuck"].is_null() && store["spool_bytes"].as_u64() > Some(0), "{store}");
    let told = dashboard.all("transition").len();
    load.last_word("while-the-store-is-away").await;
    let seen = || async { dashboard.status_of("while-the-store-is-away").is_some() };
    until("the newcomer is on every dashboard", seen).await;
    until("transitions are told", || async { dashboard.all("transition").len() > told }).await;
    until_passed(begun, OUTAGE).await;
    assert!(service.rss_kib() < memory + GROWTH_KIB_MAX, "{} KiB, before {memory}", service.rss_kib());
    assert!(metric(&service, "rollcall_spool_oldest_seconds").await >= 2);

    scene.give_store_back().await;
    until("the store takes writes", || async { service.get("/readyz").await == json!({"ready": true}) }).await;
    let history = scene.check(&service, &load).await;
    until("every change was told, once", || async { dashboard.all("transition").len() == history.steps.len() }).await;
    let lag = service.get("/api/v1/status").await["detection_lag_ms"]["p99"].clone();
    assert!(lag.as_i64().is_some_and(|lag| lag < 1_000), "decided in time all along: {lag} ms");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_while_the_store_is_away_embedded() {
    the_store_is_away_under_load(Kind::Embedded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_while_the_store_is_away_external() {
    the_store_is_away_under_load(Kind::External).await;
}

/// kill -9 while the spool holds what was acknowledged; the last append may have been cut off in the middle.
async fn killed_with_a_full_spool(kind: Kind) {
    let Some(mut scene) = Scene::of(kind).await else { return };
    let mut chance = dice();
    let mut service = scene.stack.start(&SETTINGS).await;
    let load = Load::start(&scene.stack, VEHICLES, &mut chance).await;
    until("the fleet is on the road", || async { metric(&service, "rollcall_transitions_total").await > 100 }).await;
    scene.take_store_away().await;
    until_spooled(&service, 50).await;
    load.last_word("the-last-word").await;
    service.kill();
    tokio::task::block_in_place(|| service.wait(Duration::from_secs(10)));
    scene.give_store_back().await;

    let last = segments(&scene.stack.local).pop().expect("a segment is left");
    let mut bytes = std::fs::read(&last).expect("readable");
    let begun_record = bytes[60..200].to_vec();
    bytes.extend(begun_record);
    std::fs::write(&last, &bytes).expect("torn");

    let service = scene.stack.start(&SETTINGS).await;
    assert_eq!(metric(&service, "rollcall_spool_torn_tails_total").await, 1);
    assert_eq!(metric(&service, "rollcall_spool_damaged_segments_total").await, 0);
    let history = scene.check(&service, &load).await;
    assert!(history.of("the-last-word").next().is_some(), "acknowledged from the spool, and stored");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_process_left_in_the_spool_is_stored_at_the_next_start_embedded() {
    killed_with_a_full_spool(Kind::Embedded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_process_left_in_the_spool_is_stored_at_the_next_start_external() {
    killed_with_a_full_spool(Kind::External).await;
}

/// SIGTERM while the store is away: it ends well and in time, and nothing is lost.
async fn stopped_without_a_store(kind: Kind) {
    let Some(mut scene) = Scene::of(kind).await else { return };
    let mut service = scene.stack.start(&SETTINGS).await;
    let load = Load::start(&scene.stack, VEHICLES, &mut dice()).await;
    until("the fleet is on the road", || async { metric(&service, "rollcall_transitions_total").await > 100 }).await;
    scene.take_store_away().await;
    let waits = || async { store_of(&service).await["spool_rows"].as_u64() > Some(20) };
    until("something waits, at first in memory", waits).await;
    service.signal("TERM");
    let status = tokio::task::block_in_place(|| service.wait(Duration::from_secs(10)));
    assert!(status.success(), "ends well: {status}");
    assert!(!segments(&scene.stack.local).is_empty(), "the last transitions are in the spool");
    scene.give_store_back().await;
    let service = scene.stack.start(&SETTINGS).await;
    scene.check(&service, &load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_without_a_store_loses_nothing_embedded() {
    stopped_without_a_store(Kind::Embedded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_without_a_store_loses_nothing_external() {
    stopped_without_a_store(Kind::External).await;
}

/// Vehicles that come for the first time, a thousand at once, by HTTP, which waits for nothing.
async fn newcomers(service: &Service, round: usize) {
    let beats: Vec<Value> =
        (0..1_000).map(|n| json!({"customer": CUSTOMER, "vehicle": format!("new-{round}-{n}")})).collect();
    assert_eq!(service.post_heartbeats(&Value::from(beats)).await.0, 202);
}

/// Nothing can be kept: what needs it is not acknowledged, operators are told why, live status is right all the same.
async fn stuck(stack: &Stack, service: &Service, steady: &Radio, reason: &str) {
    until("operators are told", || async { service.answer("/readyz").await.0 == 503 }).await;
    let ready = service.get("/readyz").await;
    let reasons = ready["reasons"].to_string();
    assert!(ready["ready"] == false && reasons.contains(reason), "no '{reason}' in {ready}");
    let radio = Radio::connect(stack, "newcomer").await;
    let waiting = radio.beat("waits", "{}").expect("connected");
    let live = || async { service.status_of(CUSTOMER, "waits").await.as_deref() == Some("online") };
    until("the live status does not wait", live).await;
    steady.beat_acked("steady").await;
    assert_eq!(radio.of(waiting).acked, None, "what is not durable is not acknowledged");
    let store = store_of(service).await;
    assert!(store["memory_rows"].as_u64() > Some(0) && store["stuck"].is_string(), "{store}");
    assert_eq!(metric(service, "rollcall_durable").await, 0);
}

/// It went on by itself: beats are acknowledged again, and everything is in the store, once.
async fn unstuck(stack: &Stack, service: &Service, steady: &Radio) -> History {
    let well = || async { service.get("/readyz").await == json!({"ready": true}) };
    until("it is ready again by itself", well).await;
    for vehicle in ["waits", "comes-later"] {
        steady.beat_acked(vehicle).await;
    }
    until("all is stored", || async { store_of(service).await["spool_rows"] == 0 }).await;
    let history = History::read(stack).await;
    history.check();
    history.check_rest(service).await;
    assert_eq!(segments(&stack.local).len(), 0);
    history
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_spool_is_told_and_makes_senders_wait() {
    let Some(mut scene) = Scene::of(Kind::External).await else { return };
    scene.stack = {
        // The embedded broker, so that an acknowledgement is ours.
        let way = scene.way.as_ref().expect("a way");
        Stack::new(None, scene.stack.store.clone(), &by_way_of(&scene.stack.store, way.port).1)
    };
    let small = [("FLEET__OFFLINE_AFTER", "1h"), ("STORE__SPOOL_BYTES_MAX", "1048576")];
    let service = scene.stack.start(&small).await;
    let radio = Radio::connect(&scene.stack, "fleet").await;
    radio.beat_acked("steady").await;
    scene.take_store_away().await;
    for round in 0..6 {
        newcomers(&service, round).await;
    }
    stuck(&scene.stack, &service, &radio, "store.spool_bytes_max").await;
    let bytes = store_of(&service).await["spool_bytes"].as_u64();
    assert!(bytes <= Some(1_048_576), "{bytes:?}");
    scene.give_store_back().await;
    let history = unstuck(&scene.stack, &service, &radio).await;
    assert_eq!(history.steps.len(), 6_000 + 3);
}

/// R27: everybody falls silent at once while the store is away: two transitions each, once, on every door.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_that_fall_silent_at_once_are_all_there_in_the_end() {
    const THOUSANDS: usize = 10;
    let Some(mut scene) = Scene::of(Kind::External).await else { return };
    let service = scene.stack.start(&[("FLEET__OFFLINE_AFTER", "3s")]).await;
    scene.take_store_away().await;
    for round in 0..THOUSANDS {
        newcomers(&service, round).await;
    }
    let all = THOUSANDS * 1_000;
    let counted = |status: &'static str| {
        let service = &service;
        async move { service.get("/api/v1/status").await["vehicles"][status] == all }
    };
    until("all are offline on the board", || counted("offline")).await;
    until("all is in the spool", || async { store_of(&service).await["memory_rows"] == 0 }).await;
    assert_eq!(store_of(&service).await["spool_rows"], 2 * all);
    scene.give_store_back().await;
    until("all is stored", || async { store_of(&service).await["spool_rows"] == 0 }).await;
    let history = History::read(&scene.stack).await;
    history.check();
    assert_eq!(history.steps.len(), 2 * all);
    history.check_rest(&service).await;
}

/// A small file system of its own; none where it cannot be mounted.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().expect("folder");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=6m", "tmpfs"]).arg(folder.path());
        if mount.output().is_ok_and(|output| output.status.success()) {
            return Some(Self(folder));
        }
        let root = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").expect("Linux")) == 0;
        assert!(!root || std::env::var("CI").as_deref() != Ok("true"), "root must be able to mount in CI");
        eprintln!("skipped: a small file system cannot be mounted here");
        None
    }

    /// Takes every free byte.
    fn fill(&self) {
        let mut filler = std::fs::File::create(self.0.path().join("filler")).expect("created");
        while std::io::Write::write_all(&mut filler, &[7; 512]).is_ok() {}
    }

    fn free(&self) {
        std::fs::remove_file(self.0.path().join("filler")).expect("removed");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["--lazy"]).arg(self.0.path()).status();
    }
}

/// Store and spool on one disk that is full: nothing is acknowledged that cannot be kept, nothing is corrupt, and it
/// goes on by itself when there is room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_told_and_nothing_is_lost_or_corrupt() {
    let Some(disk) = SmallDisk::mount() else { return };
    let store = format!("sqlite:{}/rollcall.db", disk.0.path().display());
    let mut stack = Stack::new(None, store.clone(), &store);
    stack.local = disk.0.path().to_owned();
    let service = stack.start(&[("FLEET__OFFLINE_AFTER", "1h")]).await;
    let radio = Radio::connect(&stack, "fleet").await;
    radio.beat_acked("steady").await;
    disk.fill();
    // The store's log may have room of its own for a while.
    let mut rounds = 0;
    while service.answer("/readyz").await.0 == 200 {
        assert!(rounds < 40, "the disk is full, and nobody notices");
        newcomers(&service, rounds).await;
        rounds += 1;
    }
    stuck(&stack, &service, &radio, "No space left on device").await;

    disk.free();
    let history = unstuck(&stack, &service, &radio).await;
    assert_eq!(history.steps.len(), 1_000 * rounds + 3);
    drop(service);
    let mut file = SqliteConnection::connect(&store).await.expect("opens");
    let checked: String = sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut file).await.expect("answers");
    assert_eq!(checked, "ok");
    file.close().await.expect("closes");
    let service = stack.start(&[("FLEET__OFFLINE_AFTER", "1h")]).await;
    History::read(&stack).await.check_rest(&service).await;
}

/// A blind interval that ends while the store is away is written down later, and holds up no transition.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blind_interval_is_not_lost_when_the_store_is_away() {
    let Some(mut scene) = Scene::of(Kind::External).await else { return };
    let service = scene.stack.start(&[("FLEET__OFFLINE_AFTER", "10s")]).await;
    let radio = Radio::connect(&scene.stack, "fleet").await;
    radio.beat_acked("steady").await;
    scene.take_store_away().await;
    service.signal("STOP");
    let stopped = (wall_ms(), Instant::now());
    until_passed(stopped.1, Duration::from_millis(2_500)).await;
    service.signal("CONT");
    newcomers(&service, 0).await;
    until("the newcomers are in the spool", || async {
        let store = store_of(&service).await;
        store["spool_rows"].as_u64() >= Some(1_000) && store["memory_rows"] == 0
    })
    .await;
    scene.give_store_back().await;
    until("all is stored", || async { store_of(&service).await["spool_rows"] == 0 }).await;
    let paused = || async {
        let gaps = service.get("/api/v1/observation-gaps").await;
        gaps["items"].as_array().is_some_and(|gaps| gaps.iter().any(|gap| gap["cause"] == "suspended"))
    };
    until("the pause is written down", paused).await;
}
