//! The messages of one connection that are taken and not yet safe, in the order they came: MQTT wants their PUBACKs in
//! that order (4.6.0-2). So a connection that speaks for a thousand vehicles need not wait for the store a thousand
//! times, one after the other.
//! Filled by the hook, emptied by one task of the hook while there is something in it.
//!
//! Bound: [`WAITING_MAX`] messages; full, the connection is not read on until there is room.

use std::collections::VecDeque;
use std::time::Instant;

use mqtt5::broker::ClientPublishEvent;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;

/// Messages of at most 8 KiB each that one connection may have on the way. With a store that takes 10 ms for a group
/// that is 100,000 of them a second.
pub const WAITING_MAX: usize = 1_024;

/// How far a message is.
#[derive(Debug)]
pub enum Progress {
    /// It is safe, and waits for those before it.
    Safe,
    /// Whoever makes it safe says so here; silence means that it has to be offered again.
    Waits(oneshot::Receiver<()>),
    /// It has to be offered, after those before it.
    NotOffered,
}

/// A message under way.
#[derive(Debug)]
pub struct Waiting {
    pub event: ClientPublishEvent,
    pub since: Instant,
    pub progress: Progress,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub struct Acks {
    state: Mutex<State>,
    moved: Notify,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Waiting>,
    /// Somebody works at it; also while the last message is out of the queue and not acknowledged.
    settler: Settler,
    /// One was not made safe and is offered again: none may overtake it.
    again: bool,
    closed: bool,
}

#[derive(Debug, Default)]
enum Settler {
    #[default]
    Idle,
    Begins,
    Works(AbortHandle),
}

impl Acks {
    /// Whether no message is under way.
    pub fn is_idle(&self) -> bool {
        matches!(self.state.lock().settler, Settler::Idle)
    }

    /// Whether messages have to be offered one after the other.
    pub fn in_turn(&self) -> bool {
        self.state.lock().again
    }

    /// Adds a message behind the others; true when somebody has to begin working at it ([`Acks::begun`]).
    pub fn push(&self, waiting: Waiting) -> bool {
        let mut state = self.state.lock();
        if state.closed {
            return false;
        }
        state.queue.push_back(waiting);
        let idle = matches!(state.settler, Settler::Idle);
        if idle {
            state.settler = Settler::Begins;
        }
        idle
    }

    /// This task works at it now.
    pub fn begun(&self, task: AbortHandle) {
        let mut state = self.state.lock();
        if state.closed {
            task.abort();
        } else if matches!(state.settler, Settler::Begins) {
            // Else it is through already.
            state.settler = Settler::Works(task);
        }
    }

    /// The next message, or none: then nobody works at it any more.
    pub fn next(&self) -> Option<Waiting> {
        let mut state = self.state.lock();
        let next = state.queue.pop_front();
        if next.is_none() {
            (state.settler, state.again) = (Settler::Idle, false);
        }
        drop(state);
        self.moved.notify_waiters();
        next
    }

    /// One was not made safe: those behind it are offered again too, in their order.
    pub fn again(&self) {
        let mut state = self.state.lock();
        state.again = !matches!(state.settler, Settler::Idle);
        for waiting in &mut state.queue {
            waiting.progress = Progress::NotOffered;
        }
    }

    /// Returns when there is room for one more.
    pub async fn room(&self) {
        self.until(|state| state.queue.len() < WAITING_MAX).await;
    }

    /// Returns when no message is under way.
    pub async fn idle(&self) {
        self.until(|state| matches!(state.settler, Settler::Idle)).await;
    }

    /// The connection is over: nothing of it is acknowledged any more.
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.queue.clear();
        if let Settler::Works(task) = &state.settler {
            task.abort();
        }
        state.settler = Settler::Idle;
        drop(state);
        self.moved.notify_waiters();
    }

    async fn until(&self, holds: impl Fn(&State) -> bool) {
        loop {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            if holds(&self.state.lock()) {
                return;
            }
            moved.await;
        }
    }
}
