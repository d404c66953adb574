//! The hub: the one writer of the board, and the pulse of the live push.
//!
//! Owns: the right to write the feed. Receives: updates from shards, durable transitions from the persister, whether we
//! hear from the supervisor. Sends: `Tick` to the relays of the worker threads, which hand it on to the sessions
//! (relay.rs). Bound: a shard has one `Updates` under way (it answers when taken), the persister one batch, of which
//! what the board does not show yet waits four ticks at most; the mailbox of a relay or session holds one tick, a
//! second one is dropped, for the next frame says it all. On death: the process ends, as there is no truth to show
//! without it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;

use super::feed::{Feed, Observation};
use super::relay::is_there;
use crate::domain::board::{Registered, Slot, Update};
use crate::domain::ids::VehicleKey;
use crate::domain::transition::Transition;

/// Ticks that a durable transition waits for the board at most: a second by default.
const TICKS_WAITED_MAX: u32 = 4;

/// A vehicle new to the board.
#[derive(Debug)]
pub struct Joined {
    /// Whose row it will be.
    pub key: Arc<VehicleKey>,
    /// Names and tags.
    pub registered: Option<Box<Registered>>,
    /// Its state on arrival.
    pub state: Update,
}

/// What a shard has to tell since last time; answered when it is on the board, with the emptied list of changes: its
/// memory serves again.
#[derive(Debug, Default, Message)]
#[rtype(result = "Vec<Update>")]
pub struct Updates {
    /// New vehicles.
    pub joined: Vec<Joined>,
    /// Newest states, one a vehicle.
    pub changed: Vec<Update>,
    /// What is registered of vehicles, where that is new.
    pub amended: Vec<(Slot, Box<Registered>)>,
    /// Vehicles that left for good.
    pub removed: Vec<Slot>,
}

impl Updates {
    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.joined.is_empty() && self.changed.is_empty() && self.amended.is_empty() && self.removed.is_empty()
    }
}

/// Transitions that are durable now.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Durable(pub Vec<Arc<Transition>>);

/// Whether we hear.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Observed(pub Observation);

/// There may be something new to send.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Tick;

/// Close the connection and say why.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Farewell(pub &'static str);

/// A session follows from now on; answers its number, or nothing when there are too many.
#[derive(Message)]
#[rtype(result = "Option<u64>")]
pub struct Follow(pub Recipient<Farewell>);

/// A relay wants every tick from now on.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Engage(pub Recipient<Tick>);

/// A session is gone.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Unfollow(pub u64);

/// Every session is told to close.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct CloseAll(pub &'static str);

/// The writer of the board.
pub struct Hub {
    feed: Arc<Feed>,
    tick: Duration,
    sessions_max: usize,
    sessions: HashMap<u64, Recipient<Farewell>>,
    relays: Vec<Recipient<Tick>>,
    last_session: u64,
    /// Durable transitions, in order, that wait for the board to show the first of them; and for how many ticks it did
    /// not. A shard tells the board every 50 ms, so they are few.
    waiting: VecDeque<Arc<Transition>>,
    waited: u32,
}

impl Hub {
    /// A hub over this feed.
    pub fn new(feed: Arc<Feed>, tick: Duration, sessions_max: usize) -> Self {
        let (sessions, relays, waiting) = (HashMap::new(), Vec::new(), VecDeque::new());
        Self { feed, tick, sessions_max, sessions, relays, last_session: 0, waiting, waited: 0 }
    }

    /// Tells of the durable transitions that the board shows: who hears of one and asks REST is never answered with the
    /// state before it (R11).
    fn tell(&mut self) {
        let shown = {
            let board = self.feed.board();
            let is_shown = |transition: &Arc<Transition>| {
                let row = board.find(&transition.key.customer, &transition.key.vehicle);
                row.is_some_and(|row| row.state.seq >= transition.change.seq)
            };
            self.waiting.iter().take_while(|transition| is_shown(transition)).count()
        };
        if shown > 0 {
            self.waited = 0;
            self.feed.push_transitions(self.waiting.drain(..shown));
        }
    }

    /// What the board will not show any more, such as a vehicle that left, must not hold back the others.
    fn wait_no_longer(&mut self) {
        self.waited = if self.waiting.is_empty() { 0 } else { self.waited + 1 };
        if self.waited > TICKS_WAITED_MAX {
            self.waited = 0;
            self.feed.push_transitions(self.waiting.drain(..));
        }
    }

    fn pulse(&mut self, _: &mut Context<Self>) {
        self.wait_no_longer();
        self.feed.publish();
        self.relays.retain(|relay| is_there(relay, Tick));
    }
}

impl Actor for Hub {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.run_interval(self.tick, Self::pulse);
    }
}

impl Handler<Updates> for Hub {
    type Result = Vec<Update>;

    fn handle(&mut self, mut updates: Updates, _: &mut Self::Context) -> Vec<Update> {
        let mut board = self.feed.board_mut();
        for joined in updates.joined {
            board.join(joined.key, joined.registered, joined.state);
        }
        for update in updates.changed.drain(..) {
            board.apply(update);
        }
        for (slot, registered) in updates.amended {
            board.amend(slot, registered);
        }
        for slot in updates.removed {
            board.remove(slot);
        }
        drop(board);
        self.tell();
        updates.changed
    }
}

impl Handler<Durable> for Hub {
    type Result = ();

    fn handle(&mut self, Durable(transitions): Durable, _: &mut Self::Context) {
        self.waiting.extend(transitions);
        self.tell();
    }
}

impl Handler<Observed> for Hub {
    type Result = ();

    fn handle(&mut self, Observed(observation): Observed, _: &mut Self::Context) {
        self.feed.set_observation(observation);
    }
}

impl Handler<Follow> for Hub {
    type Result = Option<u64>;

    fn handle(&mut self, Follow(farewell): Follow, _: &mut Self::Context) -> Option<u64> {
        if self.sessions.len() >= self.sessions_max {
            return None;
        }
        self.last_session += 1;
        self.sessions.insert(self.last_session, farewell);
        self.feed.set_dashboards(self.sessions.len());
        Some(self.last_session)
    }
}

impl Handler<Engage> for Hub {
    type Result = ();

    fn handle(&mut self, Engage(relay): Engage, _: &mut Self::Context) {
        self.relays.push(relay);
    }
}

impl Handler<Unfollow> for Hub {
    type Result = ();

    fn handle(&mut self, Unfollow(number): Unfollow, _: &mut Self::Context) {
        self.sessions.remove(&number);
        self.feed.set_dashboards(self.sessions.len());
    }
}

impl Handler<CloseAll> for Hub {
    type Result = ();

    fn handle(&mut self, CloseAll(reason): CloseAll, _: &mut Self::Context) {
        for farewell in self.sessions.values() {
            // Not bounded by the mailbox: it is the last message a session gets, and there is one.
            farewell.do_send(Farewell(reason));
        }
    }
}
