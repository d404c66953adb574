//! What questions about the past cost: 30 days of CUSTOMERS x 1,000 vehicles that are dark twice a day, with every
//! minute of every customer counted and 40 blind intervals, asked by HTTP of the real service.
//!
//!     cargo run --release --example history_cost -- sqlite:/tmp/cost/rollcall.db 10
//!     cargo run --release --example history_cost -- postgres://user@host/empty_database 10
//!
//! A database that is filled already is asked at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rollcall::domain::ids::VehicleKey;
use rollcall::domain::latest::Position;
use rollcall::domain::policy::PolicySource;
use rollcall::domain::time::Millis;
use rollcall::domain::transition::{Cause, Change, Evidence, Status, Transition};
use rollcall::store::stats::Beats;
use rollcall::store::{self, ObservationGap, Store, TransitionQuery};
use rollcall::{app, settings};

const MINUTE: Millis = 60_000;
const DAY: Millis = 1_440 * MINUTE;
const DAYS: Millis = 30;
const VEHICLES: i64 = 1_000;
/// Transitions of a vehicle: two outages a day, each a way down and a way up.
const TURNS: i64 = 4 * DAYS;
/// Transitions in one commit, as the persister cuts them.
const GROUP: usize = 10_000;
/// Times that each question is asked.
const ASKED: usize = 9;

#[actix::main]
async fn main() -> anyhow::Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap_or_else(|| "sqlite::memory:".into());
    let customers: i64 = arguments.next().map_or(Ok(10), |count| count.parse())?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis() as Millis;
    let begin = (now / DAY - DAYS) * DAY;
    let store = store::open(&url).await?;
    if store.transitions(&TransitionQuery { limit: 1, ..TransitionQuery::default() }).await?.is_empty() {
        fill(&*store, customers, begin).await?;
    }
    store.close().await;
    ask(&url, begin).await
}

/// The transition of a vehicle with this number: they lie apart by a quarter of a day, ups on time, downs ten minutes
/// before the up.
fn transition(key: &Arc<VehicleKey>, number: i64, begin: Millis, vehicle: i64) -> Transition {
    let up = number % 2 == 0;
    let (from, to) = match (number, up) {
        (0, _) => (Status::NeverSeen, Status::Online),
        (_, true) => (Status::Offline, Status::Online),
        (_, false) => (Status::Online, Status::Offline),
    };
    let at = begin + (number / 2) * DAY / 2 + vehicle * 41_017 % (DAY / 2) + if up { 0 } else { DAY / 2 - 10 * MINUTE };
    let cause = if up { Cause::Heartbeat } else { Cause::Silence };
    let evidence = Evidence {
        last_seen_ms: Some(at - 90_000),
        deadline_ms: Some(at),
        offline_after_ms: 90_000,
        policy_source: PolicySource::Default,
        position: Some(Position { lat: 53.25, lon: -2.965, at_ms: at, speed_kmh: Some(48.3), heading_deg: Some(90.0) }),
        usual_gap_ms: Some(30_000),
        session: Some(77),
        clock_skew_ms: Some(-250),
    };
    let change =
        Change { seq: number as u64 + 1, from, to, at, cause, last_seen: evidence.last_seen_ms, deadline: Some(at) };
    Transition { key: Arc::clone(key), change, decided_at: at + 5, evidence }
}

async fn fill(store: &dyn Store, customers: i64, begin: Millis) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut all = Vec::new();
    for customer in 0..customers {
        for vehicle in 0..VEHICLES {
            let key = Arc::new(VehicleKey::parse(&format!("customer-{customer}"), &format!("TRK-{vehicle:04}"))?);
            all.extend((0..TURNS).map(|number| transition(&key, number, begin, vehicle + customer * 7)));
        }
    }
    all.sort_by_key(|row| row.change.at);
    for group in all.chunks(GROUP) {
        store.commit(group).await?;
    }
    println!("{} transitions stored in {:.0?}", all.len(), began.elapsed());
    let began = Instant::now();
    while store.roll_up(200).await? {}
    for (number, hour) in (1..).zip(0..24 * DAYS) {
        let beats = (0..60).flat_map(|minute| {
            let minute = begin + (hour * 60 + minute) * MINUTE;
            (0..customers).map(move |customer| Beats { customer: format!("customer-{customer}"), minute, count: 2_000 })
        });
        store.add_beats(number, &beats.collect::<Vec<_>>()).await?;
    }
    println!("all minutes counted in {:.0?}", began.elapsed());
    for n in 0..40 {
        let from = begin + n * DAY * 3 / 4;
        let gap = ObservationGap { scope: "process".into(), from, to: Some(from + 5_000), cause: "start".into() };
        store.record_gap(&gap).await?;
    }
    Ok(())
}

/// Asks the service that runs on the store, and prints the median of each question.
async fn ask(url: &str, begin: Millis) -> anyhow::Result<()> {
    let flags = [
        ("store.url", url.to_owned()),
        ("http.listen", "127.0.0.1:0".into()),
        ("mqtt.listen", "127.0.0.1:0".into()),
        ("http.requests_per_s_max", "0".into()),
    ];
    let settings = settings::load(&[], [], &flags).map_err(|faults| anyhow::anyhow!(faults.join("; ")))?;
    let running = app::start(&settings).await?;
    let (from, to) = (begin, begin + DAYS * DAY);
    let of_one = "customers/customer-0/vehicles/TRK-0500";
    let paths = [
        "stats?resolution=month&customer=customer-0".to_owned(),
        "stats?resolution=day&customer=customer-0".into(),
        "stats?resolution=day".into(),
        "stats?resolution=day&tz=Asia/Kolkata&customer=customer-0".into(),
        format!("stats?resolution=minute&customer=customer-0&from={}&to={to}", to - DAY),
        format!("availability?customer=customer-0&from={from}&to={to}&limit=50"),
        format!("availability?customer=customer-0&from={from}&to={to}&limit=1000"),
        format!("{of_one}/availability?from={from}&to={to}"),
        format!("vehicles?customer=customer-0&as_of={}&limit=1000", to - DAY / 3),
        format!("{of_one}/transitions?limit=50"),
        format!("transitions?customer=customer-0&from={from}&to={to}&limit=50"),
    ];
    let client = reqwest::Client::new();
    for path in paths {
        let mut times = Vec::new();
        for _ in 0..ASKED {
            let began = Instant::now();
            let answer = client.get(format!("{}/api/v1/{path}", running.page())).send().await?;
            let (status, bytes) = (answer.status(), answer.bytes().await?.len());
            times.push((began.elapsed(), status, bytes));
        }
        times.sort_unstable();
        let (median, status, bytes): (Duration, _, _) = times[ASKED / 2];
        println!("{:>8.1} ms  {status}  {bytes:>8} bytes  {path}", median.as_secs_f64() * 1e3);
    }
    running.stop().await;
    Ok(())
}
