//! One dashboard's WebSocket: the only file that names the WebSocket crate.
//!
//! Owns: a reader and its credit. Receives: ticks from the relay of its thread, farewells from the hub, frames from the
//! client. Sends: frames to the client. Bound: frames go out only while less than `CREDIT_BYTES` are unanswered; a
//! numbered ping follows after so many bytes, and its pong gives the credit back. The actor runs inside the response
//! body, so without that a client that does not read would freeze it, timers and all. On death: the hub is told,
//! nothing else remains.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use actix_web::http::header::SEC_WEBSOCKET_PROTOCOL;
use actix_web::{HttpRequest, HttpResponse, web};
use actix_web_actors::ws;
use futures_util::future::BoxFuture;

use super::feed::Feed;
use super::hub::{Farewell, Follow, Hub, Tick, Unfollow};
use super::protocol::{ClientMessage, Frame};
use super::reader::Reader;
use super::relay::{Pass, Relay};
use super::wire::{Message, Wire};
use crate::domain::query::{Filter, Statuses};

/// Unanswered bytes at most: below the socket's send buffer (app.rs sets 512 KiB), so the actor is never frozen.
const CREDIT_BYTES: usize = 256 * 1024;
/// Bytes after which a ping asks whether what was sent has been read: often enough that a fast client never runs out of
/// credit, and not after every small frame, which would double the frames.
const PING_BYTES: usize = 32 * 1024;
/// A client that answers no ping for so long is gone.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// A connection is pinged this often at least, below the minute after which proxies cut it (R55).
const PING_EVERY: Duration = Duration::from_secs(10);
/// How long a new client may take to say that it resumes before it gets a whole snapshot.
const RESUME_WAIT: Duration = Duration::from_millis(100);
/// The close code of a session whose key or login ended: unlike after any other, coming back alike is no use.
const ENDED_CODE: u16 = 4401;
/// Longest client message, and most of them in one ping interval: a dashboard needs about four a second.
const CLIENT_FRAME_BYTES: usize = 16 * 1024;
const CLIENT_MESSAGES_MAX: u32 = 500;

/// Upgrades a request to a session that follows the feed, until `ended` says why its client may not be here any more.
///
/// # Errors
/// The handshake's fault, as an HTTP error.
pub fn start(
    request: &HttpRequest,
    body: web::Payload,
    feed: Arc<Feed>,
    (hub, relay): (Addr<Hub>, Addr<Relay>),
    filter: Filter,
    ended: BoxFuture<'static, String>,
) -> Result<HttpResponse, actix_web::Error> {
    let asked = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL).filter_map(|list| list.to_str().ok());
    let wire = asked.filter_map(Wire::first_of).next().unwrap_or_default();
    let session = Session::new(feed, (hub, relay), wire, filter, ended);
    let builder = ws::WsResponseBuilder::new(session, request, body);
    builder.protocols(&[wire.subprotocol()]).frame_size(CLIENT_FRAME_BYTES).start()
}

struct Session {
    feed: Arc<Feed>,
    hub: Addr<Hub>,
    relay: Addr<Relay>,
    reader: Reader,
    number: Option<u64>,
    /// Numbered pings under way and the bytes each answers for.
    unanswered: VecDeque<(u64, usize)>,
    /// Bytes sent since the last ping.
    unasked: usize,
    pings: u64,
    heard_at: Instant,
    pinged_at: Instant,
    messages: u32,
    started: bool,
    /// Until it is waited for.
    ended: Option<BoxFuture<'static, String>>,
}

impl Session {
    fn new(
        feed: Arc<Feed>,
        (hub, relay): (Addr<Hub>, Addr<Relay>),
        wire: Wire,
        filter: Filter,
        ended: BoxFuture<'static, String>,
    ) -> Self {
        let reader = Reader::new(wire, filter, &feed);
        let now = Instant::now();
        Self {
            feed,
            hub,
            relay,
            reader,
            number: None,
            unanswered: VecDeque::new(),
            unasked: 0,
            pings: 0,
            heard_at: now,
            pinged_at: now,
            messages: 0,
            started: false,
            ended: Some(ended),
        }
    }

    /// Sends what is owed as far as the credit goes.
    fn turn(&mut self, context: &mut ws::WebsocketContext<Self>) {
        let open = self.unasked + self.unanswered.iter().map(|(_, bytes)| bytes).sum::<usize>();
        let mut credit = CREDIT_BYTES.saturating_sub(open);
        while self.started && credit > 0 {
            let Some(frame) = self.reader.next(&self.feed) else { break };
            self.unasked += frame.bytes();
            credit = credit.saturating_sub(frame.bytes());
            send(context, frame);
        }
        self.ask(context);
    }

    /// Asks whether what was sent has been read, if that is much.
    fn ask(&mut self, context: &mut ws::WebsocketContext<Self>) {
        if self.unasked >= PING_BYTES {
            self.ping(context);
        }
    }

    fn ping(&mut self, context: &mut ws::WebsocketContext<Self>) {
        self.pings += 1;
        self.pinged_at = Instant::now();
        self.unanswered.push_back((self.pings, std::mem::take(&mut self.unasked)));
        context.ping(&self.pings.to_le_bytes());
    }

    fn watch(&mut self, context: &mut ws::WebsocketContext<Self>) {
        self.messages = 0;
        if self.heard_at.elapsed() > SILENCE_MAX {
            context.stop();
        } else if self.pinged_at.elapsed() >= PING_EVERY && self.unanswered.is_empty() {
            self.ping(context);
        }
    }

    fn bye(&mut self, context: &mut ws::WebsocketContext<Self>, reason: &str, code: ws::CloseCode) {
        context.text(Frame::Bye { reason }.encode());
        context.close(Some(ws::CloseReason { code, description: Some(reason.to_owned()) }));
        context.stop();
    }

    fn read(&mut self, text: &str, context: &mut ws::WebsocketContext<Self>) {
        self.messages += 1;
        if self.messages > CLIENT_MESSAGES_MAX {
            return self.bye(context, "too many messages", ws::CloseCode::Policy);
        }
        let outcome = match serde_json::from_str(text) {
            Ok(ClientMessage::Ack { version }) => {
                self.reader.ack(version);
                return;
            }
            Ok(ClientMessage::Resume { epoch, version }) => {
                self.reader.resume(&self.feed, &epoch, version);
                Ok(())
            }
            Ok(ClientMessage::Filter { customer, status }) => self.set_filter(customer, &status),
            Err(error) => Err(error.to_string()),
        };
        if let Err(detail) = outcome {
            context.text(Frame::Error { detail }.encode());
        }
        self.started = true;
        self.turn(context);
    }

    fn set_filter(&mut self, customers: Vec<String>, list: &[crate::domain::transition::Status]) -> Result<(), String> {
        let mut statuses = Statuses::default();
        list.iter().for_each(|status| statuses.insert(*status));
        let filter = Filter::of(customers, statuses).map_err(|(name, problem)| format!("{name}: {problem}"))?;
        self.reader.set_filter(&self.feed, filter);
        Ok(())
    }

    fn answered(&mut self, payload: &[u8]) {
        let Ok(number) = payload.try_into().map(u64::from_le_bytes) else { return };
        while self.unanswered.front().is_some_and(|(ping, _)| *ping <= number) {
            self.unanswered.pop_front();
        }
    }
}

fn send(context: &mut ws::WebsocketContext<Session>, message: Message) {
    match message {
        Message::Text(text) => context.text(text),
        Message::Binary(bytes) => context.binary(bytes),
    }
}

impl Actor for Session {
    type Context = ws::WebsocketContext<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(1);
        send(context, self.reader.hello(&self.feed));
        let hub = self.hub.send(Follow(context.address().recipient())).into_actor(self);
        let followed = hub.map(|number, session, context| match number {
            Ok(Some(number)) => {
                session.number = Some(number);
                session.relay.do_send(Pass(context.address().recipient()));
            }
            _ => session.bye(context, "too many dashboards", ws::CloseCode::Again),
        });
        context.wait(followed);
        context.run_later(RESUME_WAIT, |session, context| {
            session.started = true;
            session.turn(context);
        });
        context.run_interval(Duration::from_secs(1), Self::watch);
        if let Some(ended) = self.ended.take() {
            let leave = |reason: String, session: &mut Self, context: &mut Self::Context| {
                session.bye(context, &reason, ws::CloseCode::Other(ENDED_CODE));
            };
            context.spawn(ended.into_actor(self).map(leave));
        }
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        if let Some(number) = self.number {
            self.hub.do_send(Unfollow(number));
        }
    }
}

impl Handler<Tick> for Session {
    type Result = ();

    fn handle(&mut self, _: Tick, context: &mut Self::Context) {
        self.turn(context);
    }
}

impl Handler<Farewell> for Session {
    type Result = ();

    fn handle(&mut self, Farewell(reason): Farewell, context: &mut Self::Context) {
        self.bye(context, reason, ws::CloseCode::Restart);
    }
}

impl StreamHandler<Result<ws::Message, ws::ProtocolError>> for Session {
    fn handle(&mut self, message: Result<ws::Message, ws::ProtocolError>, context: &mut Self::Context) {
        self.heard_at = Instant::now();
        match message {
            Ok(ws::Message::Text(text)) => self.read(&text, context),
            Ok(ws::Message::Ping(payload)) => context.pong(&payload),
            Ok(ws::Message::Pong(payload)) => {
                self.answered(&payload);
                self.turn(context);
            }
            Ok(ws::Message::Close(reason)) => {
                context.close(reason);
                context.stop();
            }
            Ok(ws::Message::Nop) => {}
            Ok(ws::Message::Binary(_) | ws::Message::Continuation(_)) => {
                self.bye(context, "text frames only", ws::CloseCode::Unsupported);
            }
            Err(_) => self.bye(context, "message too long or malformed", ws::CloseCode::Protocol),
        }
    }
}
