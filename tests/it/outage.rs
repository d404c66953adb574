//! The servers we lean on go away and come back: Mosquitto is killed and started again, the way to Postgres is cut and
//! restored. Nobody is called offline for it, the truth stays live, operators are told, and afterwards everything is
//! stored once and in order, without help.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::history::{History, Step, rest, sorted, until_all_offline};
use crate::load::Load;
use crate::radio::Radio;
use crate::stacks::{CUSTOMER, Dashboard, Kind, Stack, database, free_port, listening_since, ms, wall_ms};
use crate::support::{Service, from_environment, until};

const OFFLINE_AFTER_MS: i64 = 1_500;
const SETTINGS: [(&str, &str); 1] = [("FLEET__OFFLINE_AFTER", "1500ms")];
const SENDERS: usize = 20;

/// A Mosquitto of our own, that may be killed.
struct Mosquitto {
    folder: TempDir,
    port: u16,
    process: Child,
}

impl Mosquitto {
    /// Starts one on a free port; none where it is not installed.
    async fn start() -> Option<Self> {
        let folder = tempfile::tempdir().expect("folder");
        let port = free_port();
        // `user` counts only for root, who would become a user without rights to this folder.
        let settings = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nuser root\npersistence true\n\
             persistence_location {}/\nmax_inflight_messages 0\nmax_queued_messages 0\nlog_dest none\n",
            folder.path().display()
        );
        std::fs::write(folder.path().join("mosquitto.conf"), settings).expect("file");
        let process = Self::spawn(&folder)?;
        let broker = Self { folder, port, process };
        broker.until_it_answers().await;
        Some(broker)
    }

    fn spawn(folder: &TempDir) -> Option<Child> {
        let program = std::env::var("MOSQUITTO_BIN").unwrap_or_else(|_| "/usr/sbin/mosquitto".into());
        let mut command = Command::new(&program);
        command.arg("-c").arg(folder.path().join("mosquitto.conf"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        match command.spawn() {
            Ok(process) => Some(process),
            Err(error) => {
                assert!(std::env::var("CI").as_deref() != Ok("true"), "{program} must run in CI: {error}");
                eprintln!("skipped: {program} does not start: {error}");
                None
            }
        }
    }

    fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// kill -9: what it kept in memory is lost, our session with it.
    fn kill(&mut self) {
        self.process.kill().expect("runs");
        self.process.wait().expect("ends");
    }

    async fn start_again(&mut self) {
        self.process = Self::spawn(&self.folder).expect("starts again");
        self.until_it_answers().await;
    }

    async fn until_it_answers(&self) {
        until("Mosquitto answers", || async { TcpStream::connect(("127.0.0.1", self.port)).await.is_ok() }).await;
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Sends for every sender, ten times a second, until it is aborted.
async fn send(radio: Arc<Radio>) {
    loop {
        for index in 0..SENDERS {
            radio.beat(&format!("sender-{index}"), "{}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await; // poll: the rhythm of the vehicles
    }
}

async fn counts(service: &Service, status: &str) -> u64 {
    service.get("/api/v1/status").await["vehicles"][status].as_u64().expect("a number")
}

fn told(dashboard: &Dashboard, listening: bool) -> bool {
    dashboard.all("observation").last().is_some_and(|frame| frame["listening"] == listening)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_called_offline_when_the_broker_dies() {
    let Some(mut mosquitto) = Mosquitto::start().await else { return };
    let stack = Stack::with_file(Some(&mosquitto.url()));
    let service = stack.start(&SETTINGS).await;
    let dashboard = Dashboard::open(&service).await;
    let radio = Arc::new(Radio::connect(&stack, "fleet").await);
    let sending = tokio::spawn(send(Arc::clone(&radio)));
    until("the senders are online", || async { counts(&service, "online").await == SENDERS as u64 }).await;
    // A vehicle whose last heartbeat comes before the outage.
    radio.beat("silent", "{}").expect("connected");
    until("it is online", || async { service.status_of(CUSTOMER, "silent").await.as_deref() == Some("online") }).await;

    let killed = wall_ms();
    mosquitto.kill();
    until("the link is told to be down", || async { service.answer("/readyz").await.0 == 503 }).await;
    let (_, ready) = service.answer("/readyz").await;
    assert!(ready["reasons"][0].as_str().is_some_and(|reason| reason.starts_with("not listening")), "{ready}");
    let status = service.get("/api/v1/status").await;
    assert_eq!(status["listening"], false, "{status}");
    until("the dashboard is told", || async { told(&dashboard, false) }).await;
    let all = SENDERS as u64 + 1;
    until("all are unobserved", || async { counts(&service, "unobserved").await == all }).await;
    assert_eq!(service.answer("/healthz").await.0, 200, "the process is well");

    mosquitto.start_again().await;
    until("the link is up again", || async { service.answer("/readyz").await.0 == 200 }).await;
    let listening = listening_since(&service).await;
    until("the dashboard is told", || async { told(&dashboard, true) }).await;
    until("the senders are back", || async { counts(&service, "online").await == SENDERS as u64 }).await;
    let silent = || async { service.status_of(CUSTOMER, "silent").await.as_deref() == Some("offline") };
    until("who is silent is found", silent).await;

    let gaps = service.get("/api/v1/observation-gaps").await;
    let link: Vec<_> = gaps["items"].as_array().expect("a list").iter().filter(|gap| gap["scope"] == "link").collect();
    assert_eq!(link.len(), 1, "one outage, one gap: {gaps}");
    // Dated from the last packet that surely came, and these senders speak ten times a second.
    let from = ms(&link[0]["from"]);
    assert!((killed - 1_000..killed + 5_000).contains(&from), "killed at {killed}: {gaps}");
    assert_eq!(ms(&link[0]["to"]), listening, "{gaps}");

    let history = History::read(&stack).await;
    history.check();
    for index in 0..SENDERS {
        let name = format!("sender-{index}");
        let words: Vec<&str> = history.of(&name).map(|step| step.to.as_str()).collect();
        assert_eq!(words, ["online", "unobserved", "online"], "no sender is called offline");
        // R60: nor does it count against it.
        let path = format!("/api/v1/customers/{CUSTOMER}/vehicles/{name}/availability?from={from}&to={listening}");
        let sums = service.get(&path).await;
        let gone = sums["unobserved_ms"].as_i64().expect("ms");
        assert!(sums["offline_ms"] == 0 && sums["outages"] == 0 && gone > 0, "{sums}");
        assert_eq!(sums["online_ms"].as_i64().expect("ms") + gone, listening - from, "{sums}");
    }
    let steps: Vec<&Step> = history.of("silent").collect();
    let words: Vec<&str> = steps.iter().map(|step| step.to.as_str()).collect();
    assert_eq!(words, ["online", "unobserved", "offline"]);
    assert_eq!(steps[2].at, listening + OFFLINE_AFTER_MS, "one full timeout from listening again");
    println!("the link was told to be down {} ms after the kill", ms(&link[0]["from"]) - killed);

    sending.abort();
    drop(radio);
    until_all_offline(&service).await;
    let history = History::read(&stack).await;
    history.check();
    history.check_rest(&service).await;
}

/// The way to a server, which can be cut and restored.
pub struct Way {
    /// Where the way begins, on loopback.
    pub port: u16,
    open: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Way {
    /// A way to this server, open.
    pub async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let (open, state) = watch::channel(true);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, server.clone(), state.clone()));
            }
        });
        Self { port, open, task }
    }

    /// Every connection breaks, and new ones are closed at once.
    pub fn cut(&self) {
        self.open.send_replace(false);
    }

    /// New connections go through again.
    pub fn restore(&self) {
        self.open.send_replace(true);
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(mut client: TcpStream, server: String, mut open: watch::Receiver<bool>) {
    if !*open.borrow() {
        return;
    }
    let mut server = TcpStream::connect(server).await.expect("the server answers");
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
        _ = open.wait_for(|open| !open) => {}
    }
}

/// Host and port of a database URL, and the same URL by way of another port of this machine.
pub fn by_way_of(url: &str, port: u16) -> (String, String) {
    let (login, place) = url.rsplit_once('@').expect("a URL with a user");
    let (server, database) = place.split_once('/').expect("a URL with a database");
    (server.to_owned(), format!("{login}@127.0.0.1:{port}/{database}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_live_view_stays_right_when_the_store_is_away() {
    let Some(server) = from_environment("ROLLCALL_TEST_POSTGRES") else { return };
    let store = database(&server).await;
    let way = Way::to(by_way_of(&store, 0).0).await;
    let stack = Stack::new(None, store.clone(), &by_way_of(&store, way.port).1);
    let service = stack.start(&SETTINGS).await;
    let dashboard = Dashboard::open(&service).await;
    let [steady, silent, newcomer] = ["steady", "silent", "newcomer"];
    let radio = Arc::new(Radio::connect(&stack, steady).await);
    let others = Radio::connect(&stack, "others").await;
    radio.beat_acked(steady).await;
    others.beat_acked(silent).await;
    let keeps_on = tokio::spawn(keep_on(Arc::clone(&radio), steady));

    way.cut();
    // One falls silent, one comes: both are seen at once, neither can be stored, both are safe in the spool (R62).
    let waiting = others.beat(newcomer, "{}").expect("connected");
    let shown = |vehicle, status: &'static str| {
        let (service, dashboard) = (&service, &dashboard);
        async move {
            let drawn = dashboard.status_of(vehicle);
            service.status_of(CUSTOMER, vehicle).await.as_deref() == Some(status) && drawn.as_deref() == Some(status)
        }
    };
    until("the newcomer is online", || shown(newcomer, "online")).await;
    until("the silent one is offline", || shown(silent, "offline")).await;
    until("the newcomer falls silent too", || shown(newcomer, "offline")).await;
    assert!(shown(steady, "online").await);
    until("all is in the spool", || async { service.get("/api/v1/status").await["store"]["memory_rows"] == 0 }).await;
    let (ready, told) = service.answer("/readyz").await;
    assert_eq!((ready, told["degraded"][0].as_str()), (200, Some("the postgres store takes no writes")), "{told}");
    let status = service.get("/api/v1/status").await;
    assert_eq!((status["store"]["ok"].as_bool(), status["listening"].as_bool()), (Some(false), Some(true)), "{status}");
    assert_eq!(status["store"]["spool_rows"], 3, "{status}");
    let begun = radio.beats().len();
    let still = || async { radio.beats()[begun..].iter().any(|beat| beat.acked.is_some()) };
    until("beats that change nothing are acknowledged as ever", still).await;
    until("what is in the spool is acknowledged", || async { others.of(waiting).acked.is_some() }).await;
    assert_eq!(service.answer("/api/v1/transitions").await.0, 503, "the past cannot be read");
    until("each is told when it is durable", || async { dashboard.all("transition").len() == 5 }).await;

    way.restore();
    until("operators are told", || async { service.get("/readyz").await["degraded"].is_null() }).await;
    let stored = || async { service.get("/api/v1/status").await["store"]["spool_rows"] == 0 };
    until("all is stored", stored).await;
    keeps_on.abort();
    // The steady one falls silent now.
    until_all_offline(&service).await;
    let history = History::read(&stack).await;
    history.check();
    history.check_rest(&service).await;
    for vehicle in [steady, silent, newcomer] {
        let words: Vec<&str> = history.of(vehicle).map(|step| step.to.as_str()).collect();
        assert_eq!(words, ["online", "offline"], "{vehicle}: once, in order");
    }
    until("the dashboard has it all", || async { dashboard.all("transition").len() == history.steps.len() }).await;
    let told = dashboard.all("transition");
    assert_eq!(sorted(&told), rest(&service).await);
    let late = told.iter().position(|frame| frame["vehicle"] == newcomer && frame["to"] == "online").expect("told");
    let later = told.iter().position(|frame| frame["vehicle"] == newcomer && frame["to"] == "offline").expect("told");
    assert!(late < later, "in order");
}

/// A commit whose answer is lost on the way may or may not have happened; it is tried again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_comes_and_goes_gets_everything_once_and_in_order() {
    let Some(server) = from_environment("ROLLCALL_TEST_POSTGRES") else { return };
    let store = database(&server).await;
    let way = Way::to(by_way_of(&store, 0).0).await;
    let stack = Stack::new(None, store.clone(), &by_way_of(&store, way.port).1);
    let service = stack.start(&[("FLEET__OFFLINE_AFTER", "300ms"), ("STORE__CHECKPOINT_INTERVAL", "200ms")]).await;
    let seed = rand::rng().random();
    println!("seed {seed}");
    let mut chance = SmallRng::seed_from_u64(seed);
    let load = Load::start(&stack, 100, &mut chance).await;
    for _ in 0..8 {
        for cut in [true, false] {
            let at = wall_ms() + chance.random_range(100..600);
            until("the next cut or repair", || async { wall_ms() >= at }).await;
            if cut { way.cut() } else { way.restore() }
        }
    }
    load.end(&service).await;
    until_all_offline(&service).await;
    let history = History::read(&stack).await;
    history.check();
    history.check_rest(&service).await;
    let (acknowledged, sent) = load.check_acknowledged(Kind::Embedded, &history);
    println!("8 cuts, {sent} heartbeats sent, {acknowledged} acknowledged, {} transitions", history.steps.len());
    assert!(history.steps.iter().all(|step| step.to != "unobserved"), "we heard all the time");
}

/// Beats ten times a second until it is aborted.
async fn keep_on(radio: Arc<Radio>, vehicle: &'static str) {
    loop {
        radio.beat(vehicle, "{}");
        tokio::time::sleep(Duration::from_millis(100)).await; // poll: the rhythm of the vehicle
    }
}
