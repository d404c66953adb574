//! A lane: one connection and the devices that speak through it. Fed by the devices' own schedule and by orders from
//! outside, feeds the session. One heap of due times drives all devices of the lane.
//!
//! Owns: its devices, its heap, its connection. Receives: `Order`. Bound: 64 orders, then the sender is refused.
//! On a lost connection: messages are counted as unsent and a new connection is tried after the back-off.

use std::{cmp::Reverse, collections::BinaryHeap, sync::Arc};

use tokio::{
    sync::{mpsc, watch},
    time,
};

use crate::{
    backoff::BackOff,
    device::{Device, Message},
    ledger::{Ledger, Note, NoteKind, bump},
    session::{Link, Session},
};

/// Orders waiting in a lane.
pub const ORDERS_MAX: usize = 64;
/// Devices served before orders and the stop signal are looked at again.
const TURN_MAX: usize = 256;

/// What somebody outside wants of one device.
#[derive(Debug, Clone, Copy)]
pub enum Order {
    Mute(usize),
    Wake(usize),
    /// All devices of the lane.
    MuteAll,
    WakeAll,
}

/// A device, the vehicle it speaks for and the topics it speaks on.
pub struct Seat {
    pub vehicle: u32,
    pub device: Device,
    pub heartbeat_topic: String,
    pub goodbye_topic: String,
}

/// See the head of this file.
pub struct Lane {
    seats: Vec<Seat>,
    due: BinaryHeap<Reverse<(u64, usize)>>,
    link: Link,
    session: Option<Session>,
    /// Whether there should be a connection: from the first message on, until a goodbye or a broken modem.
    wants_connection: bool,
    back_off: BackOff,
    ledger: Arc<Ledger>,
}

impl Lane {
    pub fn new(link: Link, seats: Vec<Seat>, back_off: BackOff, ledger: Arc<Ledger>) -> Self {
        let entry = |(index, seat): (usize, &Seat)| Some(Reverse((seat.device.due_ms()?, index)));
        let due = seats.iter().enumerate().filter_map(entry).collect();
        Self { seats, due, link, session: None, wants_connection: false, back_off, ledger }
    }

    /// Drives the devices until `stop` says true, then takes leave of the broker.
    pub async fn run(mut self, mut orders: mpsc::Receiver<Order>, mut stop: watch::Receiver<bool>) {
        loop {
            let next_ms = self.next_ms();
            tokio::select! {
                biased;
                () = told(&mut stop) => break,
                Some(order) = orders.recv() => self.obey(order).await,
                () = lost(&self.session) => self.drop_session(),
                () = sleep_until(&self.ledger, next_ms) => self.serve_due().await,
            }
        }
        if let Some(session) = self.session {
            session.disconnect().await;
        }
    }

    /// When the next device speaks or the next attempt to connect is due.
    fn next_ms(&self) -> u64 {
        let speaks_ms = self.due.peek().map_or(u64::MAX, |Reverse((due_ms, _))| *due_ms);
        let retries = self.wants_connection && self.session.is_none();
        if retries { speaks_ms.min(self.back_off.retry_at_ms()) } else { speaks_ms }
    }

    async fn serve_due(&mut self) {
        if self.wants_connection {
            self.connect_if_due().await;
        }
        for _ in 0..TURN_MAX {
            let now_ms = self.ledger.clock.now_ms();
            let Some(&Reverse((due_ms, index))) = self.due.peek() else { return };
            if due_ms > now_ms {
                return;
            }
            self.due.pop();
            // An entry outlived by an order is not the device's own any more.
            if self.seats[index].device.due_ms() == Some(due_ms) {
                let mut messages = Vec::new();
                self.seats[index].device.step(now_ms, &mut messages);
                self.deliver(index, messages).await;
            }
        }
    }

    async fn obey(&mut self, order: Order) {
        match order {
            Order::Mute(index) => self.seats[index].device.mute(),
            Order::Wake(index) => self.wake(index).await,
            Order::MuteAll => self.seats.iter_mut().for_each(|seat| seat.device.mute()),
            Order::WakeAll => {
                for index in 0..self.seats.len() {
                    self.wake(index).await;
                }
            }
        }
    }

    async fn wake(&mut self, index: usize) {
        let mut messages = Vec::new();
        self.seats[index].device.wake(self.ledger.clock.now_ms(), &mut messages);
        self.deliver(index, messages).await;
    }

    /// Sends what the device at `index` said and puts it back on the heap.
    async fn deliver(&mut self, index: usize, messages: Vec<Message>) {
        if let Some(due_ms) = self.seats[index].device.due_ms() {
            self.due.push(Reverse((due_ms, index)));
        }
        for message in messages {
            match message {
                Message::Beat(payload) => self.send(index, payload, NoteKind::Beat).await,
                Message::Nap { payload, next_in_ms } => self.send(index, payload, NoteKind::Nap { next_in_ms }).await,
                Message::Backlog(payload) => self.send(index, payload, NoteKind::Backlog).await,
                Message::Goodbye(payload) => self.say_goodbye(index, payload).await,
                Message::Vanish => self.vanish(index).await,
            }
        }
    }

    async fn send(&mut self, index: usize, payload: Vec<u8>, kind: NoteKind) {
        self.wants_connection = true;
        self.connect_if_due().await;
        let Some(session) = &self.session else {
            bump(&self.ledger.counters.unsent);
            return;
        };
        let seat = &self.seats[index];
        let topic = if kind == NoteKind::Goodbye { &seat.goodbye_topic } else { &seat.heartbeat_topic };
        if !session.publish(topic, payload, Note { vehicle: seat.vehicle, kind }).await {
            bump(&self.ledger.counters.unsent);
            self.drop_session();
        }
    }

    /// A vehicle that is switched off also ends its own connection; a shared one stays.
    async fn say_goodbye(&mut self, index: usize, payload: Vec<u8>) {
        self.send(index, payload, NoteKind::Goodbye).await;
        if self.link.own.is_none() {
            return;
        }
        self.wants_connection = false;
        if let Some(session) = self.session.take() {
            session.disconnect().await;
        }
    }

    async fn vanish(&mut self, index: usize) {
        self.wants_connection = false;
        let Some(session) = self.session.take() else { return };
        if let Some(hold) = self.link.hang {
            session.hang(hold);
            return;
        }
        session.vanish().await;
        self.ledger.connection_broke(self.seats[index].vehicle);
        bump(&self.ledger.counters.wills);
    }

    async fn connect_if_due(&mut self) {
        if self.session.as_ref().is_some_and(|session| !session.is_open()) {
            self.drop_session();
        }
        if self.session.is_some() || self.ledger.clock.now_ms() < self.back_off.retry_at_ms() {
            return;
        }
        match Session::open(&self.link, self.ledger.clone()).await {
            Ok(session) => {
                self.back_off.connected(self.ledger.clock.now_ms());
                self.session = Some(session);
            }
            Err(error) => {
                tracing::debug!(client.id = %self.link.client_id, error = format!("{error:#}"), "no connection");
                self.ledger.connect_failed(&error);
                self.drop_session();
            }
        }
    }

    fn drop_session(&mut self) {
        self.session = None;
        self.back_off.failed(self.ledger.clock.now_ms());
    }
}

/// Returns when the fleet is told to stop, or nobody is left to tell it.
pub async fn told(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Returns when the connection is lost; never, when there is none.
async fn lost(session: &Option<Session>) {
    match session {
        Some(session) => session.lost().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(ledger: &Ledger, at_ms: u64) {
    // A far future overflows the timer wheel; a day is as good.
    let at_ms = at_ms.min(ledger.clock.now_ms() + 86_400_000);
    time::sleep_until(ledger.clock.instant(at_ms)).await;
}
