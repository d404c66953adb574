//! Hands the hub's tick on to the sessions of one worker thread.
//!
//! Owns: the list of those sessions. Receives: `Tick` from the hub, `Pass` from a session that begins. Sends: `Tick` to
//! its sessions. Bound: its mailbox holds one tick, as a session's does; the list has an entry a session that lives. It
//! dies with its worker thread only, and so do its sessions.
//!
//! Why: to wake a task of another thread takes a lock, and often a system call. With thousands of dashboards the hub
//! did that for each of them, every tick; now once a thread.

use actix::prelude::*;

use super::hub::{Engage, Hub, Tick};

/// A session wants to be passed every tick from now on, until it ends.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Pass(pub Recipient<Tick>);

/// The relay of one worker thread.
pub struct Relay {
    hub: Addr<Hub>,
    sessions: Vec<Recipient<Tick>>,
}

impl Relay {
    /// Starts one on the present thread.
    pub fn start_here(hub: Addr<Hub>) -> Addr<Self> {
        Self { hub, sessions: Vec::new() }.start()
    }
}

impl Actor for Relay {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(1);
        self.hub.do_send(Engage(context.address().recipient()));
    }
}

impl Handler<Pass> for Relay {
    type Result = ();

    fn handle(&mut self, Pass(session): Pass, _: &mut Self::Context) {
        self.sessions.push(session);
    }
}

impl Handler<Tick> for Relay {
    type Result = ();

    fn handle(&mut self, tick: Tick, _: &mut Self::Context) {
        self.sessions.retain(|session| is_there(session, tick));
    }
}

/// Passes a tick; whether whoever it is for still lives. One that is busy needs no second tick: the next frame says it
/// all.
pub fn is_there(follower: &Recipient<Tick>, tick: Tick) -> bool {
    !matches!(follower.try_send(tick), Err(SendError::Closed(_)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::time::Duration;

    use super::*;
    use crate::clock::Clock;
    use crate::live::feed::Feed;

    struct Session(Arc<AtomicUsize>);

    impl Actor for Session {
        type Context = Context<Self>;

        fn started(&mut self, context: &mut Self::Context) {
            context.set_mailbox_capacity(1);
        }
    }

    impl Handler<Tick> for Session {
        type Result = ();

        fn handle(&mut self, _: Tick, context: &mut Self::Context) {
            if self.0.fetch_add(1, Relaxed) == 2 {
                context.stop();
            }
        }
    }

    /// A session with a count of the ticks it got; it ends itself with the third.
    fn session(got: usize) -> (Arc<AtomicUsize>, Recipient<Tick>) {
        let count = Arc::new(AtomicUsize::new(got));
        (Arc::clone(&count), Session(count).start().recipient())
    }

    #[actix::test]
    async fn who_is_busy_is_kept_and_who_ended_is_not() {
        let (count, session) = session(0);
        for tick in 0..10 {
            assert!(is_there(&session, Tick), "{tick}: it is busy");
        }
        while count.load(Relaxed) < 3 {
            is_there(&session, Tick);
            tokio::task::yield_now().await;
        }
        while session.connected() {
            tokio::task::yield_now().await;
        }
        assert!(!is_there(&session, Tick));
    }

    #[actix::test]
    async fn every_session_of_a_thread_gets_the_ticks_of_the_hub_and_one_that_ends_stops_no_other() {
        let feed = Arc::new(Feed::new(Clock::start(), 5));
        let relay = Relay::start_here(Hub::new(feed, Duration::from_millis(5), 10).start());
        let ((short, first), (long, second)) = (session(0), session(1_000));
        for session in [first, second] {
            relay.send(Pass(session)).await.expect("the relay lives");
        }
        while long.load(Relaxed) < 1_010 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(short.load(Relaxed), 3);
    }
}
