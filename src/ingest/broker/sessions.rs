//! Who is connected to the embedded broker: one number a connection, and the vehicles heard on it.
//! Fed by the broker's events; tells the hook whom a broken connection concerns. Bounded by the open connections, each
//! with at most [`VEHICLES_MAX`] names; a session is freed when its connection ends.
//!
//! Sessions are found by the task that serves the connection, not by client id: when a client id connects again, the
//! old connection's end may be told after the new one's beginning, and an id would then find the wrong one (R33).

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

use foldhash::fast::RandomState;
use parking_lot::Mutex;
use tokio::task::{Id, try_id};

use crate::ingest::door::Door;

/// Vehicles remembered for one connection: a vehicle's own unit needs one, a depot's gateway some dozens. The
/// vehicles of a larger gateway are found by their heartbeat deadline instead.
pub const VEHICLES_MAX: usize = 64;
/// Locks the sessions are spread over, so that connections on different cores seldom meet.
const SHARDS: usize = 16;

/// One MQTT connection.
#[derive(Debug)]
pub struct Session {
    number: u64,
    client: Arc<str>,
    /// Nothing more is heard on it, and its end says nothing about its vehicles: we are ending it.
    muted: AtomicBool,
    forges: bool,
    heard: Mutex<Heard>,
}

#[derive(Debug, Default)]
struct Heard {
    last_topic: Option<Arc<str>>,
    vehicles: Vec<(Box<str>, Box<str>)>,
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
    pub fn take_vehicles(&self) -> Vec<(Box<str>, Box<str>)> {
        std::mem::take(&mut self.heard.lock().vehicles)
    }

    /// Whether its will claims to be a status, which only Rollcall publishes.
    pub fn forges(&self) -> bool {
        self.forges
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

/// All open connections.
#[derive(Debug, Default)]
pub struct Sessions {
    shards: [Mutex<HashMap<Id, Arc<Session>, RandomState>>; SHARDS],
    /// The number of each client id's newest session; touched only when connections come and go.
    newest: Mutex<HashMap<Arc<str>, u64, RandomState>>,
    hasher: RandomState,
    last_number: AtomicU64,
    open: AtomicUsize,
}

impl Sessions {
    /// A session for the connection that the present task serves; `forges` when its will is a status.
    pub fn open(&self, client: Arc<str>, forges: bool) -> Option<Arc<Session>> {
        let id = try_id()?;
        let number = self.last_number.fetch_add(1, Relaxed) + 1;
        self.newest.lock().insert(Arc::clone(&client), number);
        let (muted, heard) = (AtomicBool::new(false), Mutex::default());
        let session = Arc::new(Session { number, client, muted, forges, heard });
        if self.shard(id).lock().insert(id, Arc::clone(&session)).is_none() {
            self.open.fetch_add(1, Relaxed);
        }
        Some(session)
    }

    /// The session of the connection that the present task serves.
    pub fn current(&self) -> Option<Arc<Session>> {
        let id = try_id()?;
        self.shard(id).lock().get(&id).map(Arc::clone)
    }

    /// The connection that the present task serves has ended.
    pub fn close(&self) {
        let Some(id) = try_id() else { return };
        let Some(session) = self.shard(id).lock().remove(&id) else { return };
        self.open.fetch_sub(1, Relaxed);
        let mut newest = self.newest.lock();
        if newest.get(&session.client) == Some(&session.number) {
            newest.remove(&session.client);
        }
    }

    /// Whether no later connection has the client id of this session.
    pub fn is_newest(&self, session: &Session) -> bool {
        self.newest.lock().get(&session.client) == Some(&session.number)
    }

    /// Whether a client is connected.
    pub fn has(&self, client: &str) -> bool {
        self.newest.lock().contains_key(client)
    }

    /// How many are open.
    pub fn count(&self) -> usize {
        self.open.load(Relaxed)
    }

    fn shard(&self, id: Id) -> &Mutex<HashMap<Id, Arc<Session>, RandomState>> {
        &self.shards[self.hasher.hash_one(id) as usize % SHARDS]
    }
}
