//! What the embedded broker tells us, and our answers: a message is acknowledged only when it is safe, and a connection
//! that breaks is a hint about the vehicles heard on it.
//! Fed by the broker's connection tasks; feeds the door. A message of QoS 1 that is not safe yet waits among those of
//! its connection (acks.rs), which goes on meanwhile; any other that has to wait holds up its own connection. After
//! [`Patience::limit`] the connection is closed without an acknowledgement.

use std::future::{Future, poll_fn, ready};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, Weak};
use std::task::Poll;
use std::time::{Duration, Instant};

use mqtt5::QoS;
use mqtt5::broker::router::MessageRouter;
use mqtt5::broker::{
    BrokerEventHandler, ClientConnectEvent, ClientDisconnectEvent, ClientPublishEvent, DynamicStorage, PublishAction,
    StorageBackend,
};
use mqtt5::packet::publish::PublishPacket;
use tokio::sync::{oneshot, watch};

use super::acks::{Progress, Waiting};
use super::connection;
use super::entrance::Lobby;
use super::logins::may_publish;
use super::sessions::{Session, Sessions};
use crate::domain::heartbeat::{Refusal, Refused};
use crate::fleet::token::Token;
use crate::ingest::door::{Door, Message, Taken};
use crate::ingest::topics::is_status;

/// How long senders are made to wait.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Longest wait for a message to become safe. A connection that is held up gets no PINGRESP either, so this stays
    /// well below the shortest usual keep-alive (15 s).
    pub limit: Duration,
    /// Pause before a message whose token was dropped is offered again.
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { limit: Duration::from_secs(5), pause: Duration::from_millis(100) }
    }
}

type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The broker's event handler.
pub struct Hook {
    /// For the tasks that outlive a call.
    this: Weak<Self>,
    door: Arc<Door>,
    pub(super) sessions: Sessions,
    /// Who is connected, and who of them has not said who it is.
    pub(super) lobby: Arc<Lobby>,
    /// Set once the broker exists, which needs the hook first.
    pub(super) router: OnceLock<Arc<MessageRouter>>,
    /// Sessions that wait for clients which are away; set together with the router.
    pub(super) storage: OnceLock<Arc<DynamicStorage>>,
    pub(super) stopping: watch::Sender<bool>,
    /// Statuses are Rollcall's alone (`mqtt.publish_status`).
    owns_status: bool,
    patience: Patience,
    pub(super) given_up: AtomicU64,
}

/// What the door said to a message.
enum Offer {
    Settled(PublishAction),
    Pending(oneshot::Receiver<()>),
    Full,
}

impl Hook {
    pub fn new(door: Arc<Door>, owns_status: bool, patience: Patience, lobby: Arc<Lobby>) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            door,
            sessions: Sessions::default(),
            lobby,
            router: OnceLock::new(),
            storage: OnceLock::new(),
            stopping: watch::Sender::new(false),
            owns_status,
            patience,
            given_up: AtomicU64::new(0),
        })
    }

    /// The way in.
    pub(super) fn door(&self) -> &Door {
        &self.door
    }

    /// The user whose session waits under this client id: a clean start of another would end it.
    pub(super) async fn left_by(&self, client: &str) -> Option<Arc<str>> {
        let waiting = self.storage.get()?.get_session(client).await.ok()??;
        waiting.user_id.filter(|_| waiting.expiry_interval != Some(0)).map(Arc::from)
    }

    /// Whether statuses are Rollcall's alone.
    pub(super) fn owns_status(&self) -> bool {
        self.owns_status
    }

    /// Whether a client speaks where only Rollcall may; counts it. Our own statuses do not come this way.
    pub(super) fn is_forged(&self, topic: &str, payload: &[u8]) -> bool {
        let forged = self.owns_status && is_status(topic);
        if forged {
            let refused = Refused::new(Refusal::UnknownTopic, "only Rollcall itself publishes a vehicle's status");
            self.door.note_refused(&refused, topic, payload);
        }
        forged
    }

    fn offer(&self, event: &ClientPublishEvent, session: Option<u64>) -> Offer {
        let mut answer = None;
        let message = Message {
            topic: &event.topic,
            payload: &event.payload,
            retain: event.retain,
            published_here: true,
            wants_ack: event.qos != QoS::AtMostOnce,
            session,
            waited: false,
        };
        let taken = self.door.take(message, || {
            let (safe, wait) = oneshot::channel();
            answer = Some(wait);
            Token::new(move || {
                let _ = safe.send(());
            })
        });
        match (taken, answer) {
            (Taken::Waiting, Some(wait)) => Offer::Pending(wait),
            (Taken::Full, _) => Offer::Full,
            // Other topics work here as at any broker.
            (Taken::Unknown, _) => Offer::Settled(PublishAction::Continue),
            (Taken::Done | Taken::Waiting, _) => Offer::Settled(PublishAction::Handled),
        }
    }

    /// A message of QoS 1: where it is not safe yet, or one before it is not, it waits among those of its connection.
    fn take_in_turn(&self, event: ClientPublishEvent, session: Arc<Session>) -> Answer<'_, PublishAction> {
        let acks = session.acks();
        if acks.in_turn() {
            return Box::pin(self.queue(event, session, Progress::NotOffered));
        }
        match self.offer(&event, Some(session.number())) {
            Offer::Settled(action) if acks.is_idle() => at_once(action),
            Offer::Settled(PublishAction::Handled) => Box::pin(self.queue(event, session, Progress::Safe)),
            // The broker itself acknowledges it.
            Offer::Settled(action) => Box::pin(async move {
                session.acks().idle().await;
                action
            }),
            Offer::Pending(safe) => Box::pin(self.queue(event, session, Progress::Waits(safe))),
            // Nothing more is read from a connection that brings more than we can take.
            Offer::Full => Box::pin(async move {
                let action = self.wait(&event, Some(&*session), Progress::NotOffered).await;
                let behind_others = matches!(action, PublishAction::Handled) && !session.acks().is_idle();
                if behind_others { self.queue(event, session, Progress::Safe).await } else { action }
            }),
        }
    }

    async fn queue(&self, event: ClientPublishEvent, session: Arc<Session>, progress: Progress) -> PublishAction {
        session.acks().room().await;
        let waiting = Waiting { event, since: Instant::now(), progress };
        if session.acks().push(waiting)
            && let Some(this) = self.this.upgrade()
        {
            let settler = tokio::spawn(this.settle(Arc::clone(&session)));
            session.acks().begun(settler.abort_handle());
        }
        unacknowledged()
    }

    /// Acknowledges what waits on a connection, until nothing does or the connection has to end.
    async fn settle(self: Arc<Self>, session: Arc<Session>) {
        while let Some(Waiting { event, since, progress }) = session.acks().next() {
            let safe = self.make_safe(&event, Some(&session), progress);
            if !self.in_time(safe, since, &event).await {
                self.show_out(&session).await;
                session.acks().close();
                return;
            }
            if let Some(packet) = event.packet_id {
                session.line().acknowledge(packet);
            }
        }
    }

    /// Returns once the message is safe; offers it again when its token was dropped or there was no room.
    async fn make_safe(&self, event: &ClientPublishEvent, session: Option<&Session>, mut progress: Progress) {
        loop {
            match progress {
                Progress::Safe => return,
                Progress::NotOffered => {}
                Progress::Waits(safe) => {
                    if safe.await.is_ok() {
                        return;
                    }
                    session.inspect(|session| session.acks().again());
                    tokio::time::sleep(self.patience.pause).await;
                }
            }
            progress = match self.offer(event, session.map(Session::number)) {
                Offer::Settled(_) => Progress::Safe,
                Offer::Pending(safe) => Progress::Waits(safe),
                Offer::Full => {
                    self.door.room(&event.topic).await;
                    Progress::NotOffered
                }
            };
        }
    }

    /// Whether a message is safe before its time is over and before we stop.
    async fn in_time(&self, safe: impl Future<Output = ()>, since: Instant, event: &ClientPublishEvent) -> bool {
        let mut stopping = self.stopping.subscribe();
        tokio::select! {
            biased;
            () = safe => return true,
            _ = stopping.wait_for(|stopping| *stopping) => {}
            () = tokio::time::sleep_until((since + self.patience.limit).into()) => {
                self.given_up.fetch_add(1, Relaxed);
                let limit_ms = self.patience.limit.as_millis();
                tracing::warn!(client = %event.client_id, topic = %event.topic, limit_ms,
                    "a message could not be made safe in time; its connection is closed unacknowledged");
            }
        }
        false
    }

    /// Holds up the connection until the message is safe.
    async fn wait(&self, event: &ClientPublishEvent, session: Option<&Session>, first: Progress) -> PublishAction {
        if self.in_time(self.make_safe(event, session, first), Instant::now(), event).await {
            return PublishAction::Handled;
        }
        // The broker offers no call that ends a connection from within its own task, but it closes one whose entry in
        // the router is gone, and it acknowledges no message that we turn into one of QoS 0.
        if let Some(session) = session {
            self.show_out(session).await;
        }
        unacknowledged()
    }

    /// Ends a connection: nothing more is taken from it, and its end is no hint about its vehicles.
    pub(super) async fn show_out(&self, session: &Session) {
        session.mute();
        // The entry is by client id: that of a later connection is not ours to take, and has ended this one already.
        if self.sessions.is_newest(session)
            && let Some(router) = self.router.get()
        {
            router.disconnect_client(session.client()).await;
        }
    }

    /// Whether an unexpected end says something about the vehicles: neither our own doing nor a takeover does. The
    /// broker reports a takeover as an unexpected end, but by then the client id is connected again (R35).
    async fn is_broken(&self, session: &Session, client_id: &str) -> bool {
        if session.is_muted() || *self.stopping.borrow() {
            return false;
        }
        match self.router.get() {
            Some(router) => !router.is_connected(client_id).await,
            None => true,
        }
    }
}

/// An answer that is there already. The usual one needs no memory: a box of nothing is none.
fn at_once<'a>(action: PublishAction) -> Answer<'a, PublishAction> {
    match action {
        PublishAction::Handled => Box::pin(poll_fn(|_| Poll::Ready(PublishAction::Handled))),
        other => Box::pin(ready(other)),
    }
}

/// Makes the broker forget the message: no acknowledgement, and no subscriber, not even of `#`, sees this topic.
fn unacknowledged() -> PublishAction {
    PublishAction::Transform(PublishPacket::new("$rollcall/unacknowledged", Vec::new(), QoS::AtMostOnce))
}

impl BrokerEventHandler for Hook {
    fn on_client_connect<'a>(&'a self, event: ClientConnectEvent) -> Answer<'a, ()> {
        let forges = self.owns_status && event.will_topic.as_deref().is_some_and(is_status);
        let (session, contested) = self.sessions.open(event.client_id, forges);
        if let Some(topic) = &event.will_topic {
            session.hear(topic, &self.door);
            if event.will_retain == Some(true) {
                self.door.hear_of_retained_will(topic);
            }
        }
        for (customer, vehicle) in &contested {
            self.door.note_takeover(customer, vehicle);
        }
        Box::pin(ready(()))
    }

    fn on_client_publish<'a>(&'a self, event: ClientPublishEvent) -> Answer<'a, PublishAction> {
        if connection::is_quiet()
            && !event.user_id.as_ref().is_some_and(|user| may_publish(user, &event.topic, &self.door))
        {
            return at_once(PublishAction::Handled);
        }
        let session = connection::session();
        if let Some(session) = &session {
            if session.is_muted() {
                return at_once(unacknowledged());
            }
            session.hear(&event.topic, &self.door);
        }
        if self.is_forged(&event.topic, &event.payload) {
            return at_once(PublishAction::Handled);
        }
        let number = session.as_ref().map(|session| session.number());
        if let Some(session) = session.as_ref().filter(|_| event.qos == QoS::AtLeastOnce) {
            return self.take_in_turn(event, Arc::clone(session));
        }
        let first = match self.offer(&event, number) {
            Offer::Settled(action) => return at_once(action),
            Offer::Pending(safe) => Progress::Waits(safe),
            Offer::Full => Progress::NotOffered,
        };
        Box::pin(async move { self.wait(&event, session.as_deref(), first).await })
    }

    fn on_client_disconnect<'a>(&'a self, event: ClientDisconnectEvent) -> Answer<'a, ()> {
        Box::pin(async move {
            if let Some(session) = connection::session()
                && event.unexpected
                && self.is_broken(&session, &event.client_id).await
            {
                for (customer, vehicle) in session.take_vehicles() {
                    self.door.hint(&customer, &vehicle, Some(session.number()));
                }
            }
            self.sessions.close();
        })
    }
}
