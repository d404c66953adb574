//! `GET /stats/stream`: statistics as server-sent events: first the window, then the buckets that changed.
//! Fed by the rollup task, which tells when something was counted; a room computes then, once for all who listen to the
//! same subject, and each listener takes from it what changed since its last event.
//!
//! Bounds: so many streams in all, and no more rooms than that; two rooms compute at a time, and each rests twenty
//! times as long as that took. A listener has no queue but a number: one that is slow gets fewer, newer events.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, timeout};

use super::Service;
use super::error::Problem;
use super::params::Params;
use super::stats::{Statistics, Subject};
use crate::domain::statistics::Bucket;
use crate::domain::time::Millis;

/// A comment goes out when nothing else did for so long: proxies cut a silent connection after a minute, often.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// A room without listeners stays for so long, so that one who comes back goes on where it was.
const LINGER: Duration = Duration::from_secs(60);
/// The first computation of a room may take so long, while the store is busy.
const PATIENCE: Duration = Duration::from_secs(10);
const COMPUTE_TOGETHER: usize = 2;
const REST: u32 = 20;

/// Everybody who listens.
pub struct Streams {
    streams_max: usize,
    rooms: Mutex<HashMap<Subject, Arc<Room>>>,
    rooms_made: AtomicU64,
    open: Arc<AtomicUsize>,
    computations: AtomicU64,
    computing: Semaphore,
    /// Rooms outlive the connection that made them.
    runtime: Handle,
}

/// The statistics of one subject as they were computed last.
struct Room {
    /// Names the room within its service: numbers of another one mean nothing here.
    epoch: String,
    state: Mutex<State>,
    version: watch::Sender<u64>,
    listeners: AtomicUsize,
}

#[derive(Default)]
struct State {
    version: u64,
    window: Option<Statistics>,
    /// The version that changed each bucket of the window last.
    changed: BTreeMap<Millis, u64>,
    /// Events of this version, by the version they lead from: written once, however many listen.
    events: HashMap<Option<u64>, Bytes>,
}

impl Streams {
    /// None yet; rooms will run on the present runtime.
    pub fn new(streams_max: usize) -> Self {
        Self {
            streams_max,
            rooms: Mutex::default(),
            rooms_made: AtomicU64::new(0),
            open: Arc::default(),
            computations: AtomicU64::new(0),
            computing: Semaphore::new(COMPUTE_TOGETHER),
            runtime: Handle::current(),
        }
    }

    /// Streams that are open.
    pub fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// How often a window was computed since the start.
    pub fn computations(&self) -> u64 {
        self.computations.load(Relaxed)
    }

    /// The room of a subject, made when there is none; counts one more listener there.
    fn enter(&self, service: &web::Data<Service>, subject: Subject) -> Result<Listener, Problem> {
        let full = || Problem::busy(format!("{} statistics streams are open, which is the limit", self.streams_max));
        let seat = Seat::take(&self.open, self.streams_max).ok_or_else(full)?;
        let mut rooms = self.rooms.lock();
        if let Some(room) = rooms.get(&subject) {
            room.listeners.fetch_add(1, Relaxed);
            return Ok(Listener::new(Arc::clone(room), seat));
        }
        if rooms.len() >= self.streams_max {
            return Err(full());
        }
        let number = self.rooms_made.fetch_add(1, Relaxed);
        let epoch = format!("{:x}-{:x}-{number}", service.clock.started_at(), std::process::id());
        let (state, version) = (Mutex::default(), watch::Sender::new(0));
        let room = Arc::new(Room { epoch, state, version, listeners: AtomicUsize::new(1) });
        rooms.insert(subject.clone(), Arc::clone(&room));
        self.runtime.spawn(run(Arc::clone(&room), subject, service.clone()));
        Ok(Listener::new(room, seat))
    }

    /// Closes a room that nobody listens to; nobody can come in meanwhile.
    fn close_if_empty(&self, subject: &Subject, room: &Room) -> bool {
        let mut rooms = self.rooms.lock();
        let empty = room.listeners.load(Relaxed) == 0;
        if empty {
            rooms.remove(subject);
        }
        empty
    }
}

/// Computes whenever something was counted, until nobody has listened for a while.
async fn run(room: Arc<Room>, subject: Subject, service: web::Data<Service>) {
    let (mut writes, mut heard) = (service.counted.writes(), Instant::now());
    loop {
        if room.listeners.load(Relaxed) > 0 {
            heard = Instant::now();
            let took = compute(&room, &subject, &service).await;
            sleep(took * REST).await;
        } else if heard.elapsed() > LINGER && service.streams.close_if_empty(&subject, &room) {
            return;
        }
        // The rollup task lives as long as the service; without it there is nothing to tell.
        if writes.changed().await.is_err() {
            return;
        }
    }
}

async fn compute(room: &Room, subject: &Subject, service: &Service) -> Duration {
    let streams = &service.streams;
    let Ok(_turn) = streams.computing.acquire().await else { return Duration::ZERO };
    let began = Instant::now();
    let today = service.clock.today();
    let from = (today - subject.calendar.resolution.window()).max(0);
    // What the store cannot tell now is told when it can; the error is logged where it was made.
    if let Ok(window) = subject.statistics(service, from, today).await {
        streams.computations.fetch_add(1, Relaxed);
        room.show(window);
    }
    began.elapsed()
}

impl Room {
    /// A newer window: what differs from the last one has changed with this version.
    fn show(&self, window: Statistics) {
        let mut state = self.state.lock();
        let version = state.version + 1;
        let old: HashMap<Millis, &Bucket> =
            state.window.iter().flat_map(|window| &window.items).map(|bucket| (bucket.at, bucket)).collect();
        let differs = |bucket: &&Bucket| old.get(&bucket.at).is_none_or(|old| old != bucket);
        let changed: Vec<Millis> = window.items.iter().filter(differs).map(|bucket| bucket.at).collect();
        if changed.is_empty() {
            return;
        }
        state.changed.extend(changed.into_iter().map(|at| (at, version)));
        state.changed = state.changed.split_off(&window.from);
        (state.version, state.window) = (version, Some(window));
        state.events.clear();
        drop(state);
        self.version.send_replace(version);
    }

    /// What brings a listener from a version to the newest, and that one; the window when it has none.
    fn event(&self, from: Option<u64>) -> Option<(Bytes, u64)> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let window = state.window.as_ref().filter(|_| from.is_none_or(|from| from < state.version))?;
        let event = state.events.entry(from).or_insert_with(|| {
            let (name, since) = from.map_or(("window", 0), |from| ("buckets", from));
            let is_new = |bucket: &Bucket| state.changed.get(&bucket.at).is_some_and(|version| *version > since);
            let data = serde_json::to_string(&window.only(is_new)).unwrap_or_default();
            format!("id: {}.{}\nevent: {name}\ndata: {data}\n\n", self.epoch, state.version).into()
        });
        Some((event.clone(), state.version))
    }

    /// The version in an event id of this room.
    fn version_of(&self, id: &str) -> Option<u64> {
        let (epoch, version) = id.rsplit_once('.')?;
        let version = version.parse().ok().filter(|_| epoch == self.epoch)?;
        (version <= self.state.lock().version).then_some(version)
    }
}

/// One of the streams that may be open.
struct Seat(Arc<AtomicUsize>);

impl Seat {
    fn take(open: &Arc<AtomicUsize>, most: usize) -> Option<Self> {
        let seat = Self(Arc::clone(open));
        (open.fetch_add(1, Relaxed) < most).then_some(seat)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// One connection.
struct Listener {
    room: Arc<Room>,
    newest: watch::Receiver<u64>,
    /// The version of the last event it got.
    version: Option<u64>,
    _seat: Seat,
}

impl Listener {
    /// Whoever makes one has counted it in the room.
    fn new(room: Arc<Room>, seat: Seat) -> Self {
        let newest = room.version.subscribe();
        Self { room, newest, version: None, _seat: seat }
    }

    /// The next thing to send. Asked only when the connection takes more, so it is the newest by then.
    async fn next(&mut self) -> Bytes {
        loop {
            self.newest.borrow_and_update();
            if let Some((event, version)) = self.room.event(self.version) {
                self.version = Some(version);
                return event;
            }
            // The room is held by this listener, so its sender lives.
            if timeout(KEEP_ALIVE, self.newest.changed()).await.is_err() {
                return Bytes::from_static(b": still here\n\n");
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.room.listeners.fetch_sub(1, Relaxed);
    }
}

/// Opens a stream.
pub async fn open(request: HttpRequest, service: web::Data<Service>) -> Result<HttpResponse, Problem> {
    let params = Params::read(&request, &["resolution", "tz", "customer"])?;
    let subject = Subject::read(&service, &params)?;
    let mut listener = service.streams.enter(&service, subject)?;
    // So that a store that is away is an answer and not a silent stream.
    let shown = listener.newest.wait_for(|version| *version > 0);
    if timeout(PATIENCE, shown).await.is_err() {
        return Err(Problem::store(&anyhow::anyhow!("no statistics within {PATIENCE:?}")));
    }
    let last = request.headers().get("Last-Event-ID").and_then(|id| id.to_str().ok());
    listener.version = last.and_then(|id| listener.room.version_of(id));
    let ended = Box::pin(Arc::clone(&service.access).ended(Arc::clone(&params.caller().0)));
    let events = stream::unfold(listener, |mut listener| async {
        let event = listener.next().await;
        Some((Ok::<_, actix_web::Error>(event), listener))
    });
    // A key that ends, ends what it opened.
    let events = events.take_until(ended);
    Ok(HttpResponse::Ok()
        .content_type("text/event-stream")
        // An event leaves when it is made: neither we nor a proxy may hold it back to fill a block.
        .insert_header(("Content-Encoding", "identity"))
        .insert_header(("X-Accel-Buffering", "no"))
        .streaming(Box::pin(events)))
}
