//! Who is connected to the embedded broker: one number a connection, and the vehicles heard on it.
//! Fed by the broker's events; tells the hook whom a broken connection concerns. Bounded by the open connections, each
//! with at most [`VEHICLES_MAX`] names; a session is freed when its connection ends.
//!
//! Sessions are found by the task that serves the connection (connection.rs), not by client id: when a client id
//! connects again, the old connection's end may be told after the new one's beginning, and an id would then find the
//! wrong one (R33).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use parking_lot::Mutex;

use super::acks::Acks;
use super::connection;
use super::logins::Guest;
use super::wire::Line;
use crate::domain::access::Principal;
use crate::ingest::door::Door;

/// Vehicles remembered for one connection: a vehicle's own unit needs one, a depot's gateway some dozens. The
/// vehicles of a larger gateway are found by their heartbeat deadline instead.
pub const VEHICLES_MAX: usize = 64;
/// So many takeovers of one client id ...
const TAKEOVERS_MIN: u32 = 5;
/// ... within this time are two devices.
const CONTEST_SPAN: Duration = Duration::from_secs(60);

/// One MQTT connection.
#[derive(Debug)]
pub struct Session {
    number: u64,
    client: Arc<str>,
    /// Who it is, where anybody was asked.
    guest: Option<Guest>,
    /// Nothing more is heard on it, and its end says nothing about its vehicles: we are ending it.
    muted: AtomicBool,
    forges: bool,
    heard: Mutex<Heard>,
    /// Its messages that are not safe yet.
    acks: Acks,
    /// The way to its client from outside its own task.
    line: Arc<Line>,
}

#[derive(Debug, Default)]
struct Heard {
    last_topic: Option<Arc<str>>,
    vehicles: Vehicles,
}

impl Session {
    /// Its number, unique in this run.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Remembers the vehicle that a topic names.
    pub fn hear(&self, topic: &Arc<str>, door: &Door) {
        let mut heard = self.heard.lock();
        if heard.last_topic.as_ref() == Some(topic) || heard.vehicles.len() >= VEHICLES_MAX {
            return;
        }
        heard.last_topic = Some(Arc::clone(topic));
        let Some((customer, vehicle)) = door.vehicle_of(topic) else { return };
        if !heard.vehicles.iter().any(|known| (&*known.0, &*known.1) == (customer, vehicle)) {
            heard.vehicles.push((customer.into(), vehicle.into()));
        }
    }

    /// Every vehicle heard on it, once: the session is over.
    pub fn take_vehicles(&self) -> Vehicles {
        std::mem::take(&mut self.heard.lock().vehicles)
    }

    /// Whether its will claims to be a status, which only Rollcall publishes.
    pub fn forges(&self) -> bool {
        self.forges
    }

    /// Its messages of QoS 1 that are taken and not safe yet.
    pub fn acks(&self) -> &Acks {
        &self.acks
    }

    /// The way to its client from outside the task that serves it.
    pub fn line(&self) -> &Line {
        &self.line
    }

    /// Its client id.
    pub fn client(&self) -> &Arc<str> {
        &self.client
    }

    /// Who stands behind it, where anybody was asked.
    pub fn principal(&self) -> Option<&Principal> {
        self.guest.as_ref()?.principal.as_deref()
    }

    /// We end this connection.
    pub fn mute(&self) {
        self.muted.store(true, Relaxed);
    }

    /// Whether we are ending it.
    pub fn is_muted(&self) -> bool {
        self.muted.load(Relaxed)
    }
}

/// The newest session of a client id, and how it came to be that.
#[derive(Debug)]
struct Newest {
    session: Arc<Session>,
    /// How often it was taken over from an older one that was still open, since `counted_since`.
    takeovers: u32,
    counted_since: Instant,
}

type Vehicles = Vec<(Box<str>, Box<str>)>;

/// All open connections; touched only when they come and go.
#[derive(Debug, Default)]
pub struct Sessions {
    /// By number.
    open: Mutex<HashMap<u64, Arc<Session>, RandomState>>,
    /// Each client id's newest session.
    newest: Mutex<HashMap<Arc<str>, Newest, RandomState>>,
    last_number: AtomicU64,
}

impl Sessions {
    /// A session for the connection that the present task serves; `forges` when its will is a status. And the vehicles
    /// of the connection it threw out, when its client id goes to and fro between two devices (R35).
    pub fn open(&self, client: Arc<str>, forges: bool) -> (Arc<Session>, Vehicles) {
        let number = self.last_number.fetch_add(1, Relaxed) + 1;
        let (muted, heard) = (AtomicBool::new(false), Mutex::default());
        let guest = connection::guest();
        let (acks, line) = (Acks::default(), connection::line());
        let session =
            Arc::new(Session { number, client: Arc::clone(&client), guest, muted, forges, heard, acks, line });
        let contested = self.succeed(&session);
        self.open.lock().insert(number, Arc::clone(&session));
        connection::change_session(Some(Arc::clone(&session)));
        (session, contested)
    }

    /// Makes a session the newest of its client id. A takeover now and then is a device that lost its network and came
    /// back; two devices with one client id throw each other out every few seconds.
    fn succeed(&self, session: &Arc<Session>) -> Vehicles {
        let now = Instant::now();
        let newest = Newest { session: Arc::clone(session), takeovers: 0, counted_since: now };
        let mut all = self.newest.lock();
        let Some(loser) = all.insert(Arc::clone(&session.client), newest) else { return Vec::new() };
        let Some(winner) = all.get_mut(&session.client) else { return Vec::new() };
        if now - loser.counted_since < CONTEST_SPAN {
            (winner.takeovers, winner.counted_since) = (loser.takeovers, loser.counted_since);
        }
        winner.takeovers += 1;
        let contested = winner.takeovers >= TAKEOVERS_MIN;
        drop(all);
        if contested { loser.session.heard.lock().vehicles.clone() } else { Vec::new() }
    }

    /// The connection that the present task serves has ended.
    pub fn close(&self) {
        let Some(session) = connection::change_session(None) else { return };
        self.open.lock().remove(&session.number);
        session.acks.close();
        let mut newest = self.newest.lock();
        if newest.get(&session.client).is_some_and(|newest| newest.session.number == session.number) {
            newest.remove(&session.client);
        }
    }

    /// Whether no later connection has the client id of this session.
    pub fn is_newest(&self, session: &Session) -> bool {
        self.newest.lock().get(&session.client).is_some_and(|newest| newest.session.number == session.number)
    }

    /// Whether a client is connected.
    pub fn has(&self, client: &str) -> bool {
        self.newest.lock().contains_key(client)
    }

    /// The user of the newest open connection of a client id, where anybody was asked.
    pub fn user_of(&self, client: &str) -> Option<Arc<str>> {
        self.newest.lock().get(client)?.session.guest.as_ref().map(|guest| Arc::clone(&guest.user))
    }

    /// All that are open.
    pub fn all(&self) -> Vec<Arc<Session>> {
        self.open.lock().values().map(Arc::clone).collect()
    }

    /// How many are open.
    pub fn count(&self) -> usize {
        self.open.lock().len()
    }
}
