//! What the checkpoints cost at the size of a large fleet: the file of last beats, the sweep into the store, what a
//! transition waits meanwhile, and the comparison of rows with their transitions.
//!
//!     cargo run --release --example checkpoint_cost -- sqlite:/tmp/cost/rollcall.db 1000000
//!     cargo run --release --example checkpoint_cost -- postgres://user@host/empty_database 1000000

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::Actor;
use rollcall::clock::Clock;
use rollcall::domain::board::Update;
use rollcall::domain::heartbeat::Heartbeat;
use rollcall::domain::ids::VehicleKey;
use rollcall::domain::latest::Latest;
use rollcall::domain::limit::Limit;
use rollcall::domain::policy::{Policy, Rules};
use rollcall::domain::sleep::Announced;
use rollcall::domain::time::Millis;
use rollcall::domain::transition::{Cause, Change, Evidence, Status, Transition};
use rollcall::fleet::checkpoint::{Checkpoints, repair_all};
use rollcall::fleet::last_seen::Source;
use rollcall::fleet::persister::StoreHealth;
use rollcall::fleet::registry::{Admission, Registry};
use rollcall::live::feed::Feed;
use rollcall::live::hub::{Hub, Joined, Updates};
use rollcall::store::last_seen::SeenFile;
use rollcall::store::{self, Store};

/// Transitions in one commit while the store is filled, as the persister cuts them.
const GROUP: u32 = 10_000;
/// The sweep is spread over this, as `store.checkpoint_interval` does.
const SWEEP: Duration = Duration::from_secs(60);

struct Fleet {
    feed: Arc<Feed>,
    registry: Arc<Registry>,
    store: Arc<dyn Store>,
    now: Millis,
}

fn key(n: u32) -> Arc<VehicleKey> {
    Arc::new(VehicleKey { customer: format!("customer-{}", n % 100).into(), vehicle: format!("vehicle-{n}").into() })
}

fn transition(n: u32, seq: u64, at: Millis) -> Transition {
    let (from, to) = if seq == 1 { (Status::NeverSeen, Status::Online) } else { (Status::Online, Status::Offline) };
    let change = Change { seq, from, to, at, cause: Cause::Heartbeat, last_seen: Some(at), deadline: None };
    let evidence = Evidence { last_seen_ms: Some(at), ..Evidence::default() };
    Transition { key: key(n), change, decided_at: at, evidence }
}

/// A vehicle that says what a telematics unit says.
fn latest(now: Millis) -> Latest {
    let mut beat = Heartbeat {
        ts: Some(now),
        seq: Some(7),
        position: Some((53.4, -2.9)),
        speed_kmh: Some(48.0),
        battery_pct: Some(80.0),
        odometer_km: Some(120_345.7),
        ignition: Some(true),
        ..Heartbeat::default()
    };
    let mut latest = Latest::default();
    latest.apply(&mut beat, now, &Rules::default());
    latest
}

/// CPU seconds of this process; the server's own are not in it.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

fn report(what: &str, began: Instant, cpu_before: f64) {
    println!("{what}: {:.2} s, {:.2} s of CPU here", began.elapsed().as_secs_f64(), cpu() - cpu_before);
}

async fn fill(fleet: &Fleet, vehicles: u32) -> anyhow::Result<()> {
    let hub = Hub::new(Arc::clone(&fleet.feed), Duration::from_millis(250), 1).start();
    for from in (0..vehicles).step_by(GROUP as usize) {
        let slots = from..vehicles.min(from + GROUP);
        let batch: Vec<Transition> = slots.clone().map(|n| transition(n, 1, fleet.now - 60_000)).collect();
        fleet.store.commit(&batch).await?;
        let joined = slots.map(|slot| Joined { key: key(slot), registered: None, state: state(slot, fleet.now) });
        hub.send(Updates { joined: joined.collect(), ..Updates::default() }).await?;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok(())
}

fn state(slot: u32, now: Millis) -> Update {
    let (since, last_seen, policy) = (Some(now - 60_000), Some(now), Policy::default());
    let announced = Announced::NONE;
    Update { slot, status: Status::Online, since, seq: 1, last_seen, announced, latest: latest(now), policy }
}

/// The file of last beats, made three times.
fn fast(fleet: &Fleet, file: &SeenFile) -> anyhow::Result<()> {
    let source = Source::new(file.clone(), Arc::clone(&fleet.feed), Arc::clone(&fleet.registry));
    for _ in 0..3 {
        let (began, before) = (Instant::now(), cpu());
        source.write()?;
        report(&format!("file last_seen, {} bytes", std::fs::metadata(file.path())?.len()), began, before);
    }
    let (began, before) = (Instant::now(), cpu());
    let seen = file.read()?;
    report(&format!("read back, {} vehicles", seen.map_or(0, |seen| seen.vehicles())), began, before);
    Ok(())
}

/// One whole sweep, step by step, with a transition committed between steps, as the persister does it.
async fn slow(fleet: &Fleet, every: Duration) -> anyhow::Result<()> {
    let (feed, registry) = (Arc::clone(&fleet.feed), Arc::clone(&fleet.registry));
    let health = Arc::<StoreHealth>::default();
    let mut sweeps = Checkpoints::new(Arc::clone(&fleet.store), feed, registry, health, every);
    sweeps.due().await;
    let (began, before) = (Instant::now(), cpu());
    let (mut steps, mut commits, mut busy) = (Vec::new(), Vec::new(), Duration::ZERO);
    for n in 0_u32.. {
        let step = Instant::now();
        sweeps.step().await;
        steps.push(step.elapsed());
        busy += step.elapsed();
        if !sweeps.is_under_way() {
            break;
        }
        let commit = Instant::now();
        fleet.store.commit(&[transition(n, 2, fleet.now)]).await?;
        commits.push(commit.elapsed());
        sweeps.due().await;
    }
    report(&format!("sweep in {} steps, store busy {:.1} s", steps.len(), busy.as_secs_f64()), began, before);
    for (what, mut times) in [("a step", steps), ("a transition beside it", commits)] {
        times.sort_unstable();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        println!("  {what}: median {:.1?}, p99 {:.1?}, longest {:.1?}", at(0.5), at(0.99), at(1.0));
    }
    Ok(())
}

async fn run(url: String, vehicles: u32) -> anyhow::Result<()> {
    let clock = Clock::start();
    let admission = Admission { vehicles_max: 1, customer_vehicles_max: 1, auto_register: true, limit: Limit::NONE };
    let registry = Arc::new(Registry::new(1, admission, clock));
    let fleet =
        Fleet { feed: Arc::new(Feed::new(clock, 250)), registry, store: store::open(&url).await?, now: clock.now() };
    fleet.registry.report_on_board(0, fleet.now);
    let (began, before) = (Instant::now(), cpu());
    fill(&fleet, vehicles).await?;
    report(&format!("{vehicles} vehicles stored and on the board"), began, before);
    let folder = std::env::temp_dir().join(format!("checkpoint_cost-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    fast(&fleet, &SeenFile::new(folder.join("last_seen"), fleet.store.identity().await?))?;
    std::fs::remove_dir_all(&folder)?;
    slow(&fleet, SWEEP).await?;
    let (began, before) = (Instant::now(), cpu());
    repair_all(&fleet.store, &StoreHealth::default(), |_| ()).await?;
    report("every row compared with its last transition", began, before);
    let (began, before) = (Instant::now(), cpu());
    fleet.store.repair(None, 10_000).await?;
    report("10,000 of them, as one sweep does", began, before);
    let (began, before) = (Instant::now(), cpu());
    fleet.store.load_vehicles(&mut |_| {}).await?;
    report("every row loaded", began, before);
    fleet.store.close().await;
    Ok(())
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap_or_else(|| "sqlite::memory:".into());
    let vehicles = arguments.next().map_or(Ok(1_000_000), |text| text.parse())?;
    let runtime = || tokio::runtime::Builder::new_multi_thread().enable_all().build();
    // invariant: a process that may start no thread cannot run at all
    let system = actix::System::with_tokio_rt(|| runtime().expect("invariant: threads can be started"));
    system.block_on(run(url, vehicles))
}
