//! The messages of one connection that are not acknowledged yet, in the order they arrived.
//! Fed by the poll task; drained when tokens are accepted, always from the front, so acknowledgements leave in
//! arrival order. Bound: the receive maximum we gave the broker, so it sends no more until some are acknowledged; and
//! since Mosquitto 2.0.11 forgets that maximum when a session is resumed under load (it sent 20,000 where 10 were
//! allowed), the bytes of what is kept. A connection ends only over that: ending it over the count would resume the
//! session, and so on, while the backlog grows.
//!
//! A window belongs to one connection and dies with it. Packet ids are used again on the next connection, so a late
//! token must not reach it: it only ever finds the closed window it was made for.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use rumqttc::v5::mqttbytes::v5::Publish;
use tokio::sync::Notify;

use crate::fleet::token::Token;

/// Messages between arrival and acknowledgement.
pub struct Window {
    inside: Mutex<Inside>,
    /// Something was put on one of the two lists.
    listed: Notify,
    /// Bytes of topics and payloads that are kept at most.
    bytes_max: usize,
    /// Queues an acknowledgement for sending; `false` when it could not be.
    acknowledge: Box<dyn Fn(&Publish) -> bool + Send + Sync>,
}

#[derive(Default)]
struct Inside {
    slots: VecDeque<Slot>,
    /// Of all slots.
    bytes: usize,
    /// Sequence number of the front slot.
    first: u64,
    /// Found no room at the door; offered again in order, before anything that arrives later.
    waiting: VecDeque<u64>,
    /// Their token was dropped.
    dropped: Vec<u64>,
    closed: bool,
}

struct Slot {
    publish: Publish,
    accepted: bool,
}

impl Window {
    pub fn new(bytes_max: usize, acknowledge: impl Fn(&Publish) -> bool + Send + Sync + 'static) -> Arc<Self> {
        let (inside, listed) = (Mutex::default(), Notify::new());
        Arc::new(Self { inside, listed, bytes_max, acknowledge: Box::new(acknowledge) })
    }

    /// Keeps a message that arrived; `None` when it has no room.
    pub fn push(&self, publish: Publish) -> Option<u64> {
        let mut inside = self.inside.lock();
        let bytes = inside.bytes + size(&publish);
        (bytes <= self.bytes_max).then(|| {
            inside.bytes = bytes;
            inside.slots.push_back(Slot { publish, accepted: false });
            inside.first + inside.slots.len() as u64 - 1
        })
    }

    /// The message is safe: it and all accepted ones behind it that have nothing open before them are acknowledged.
    pub fn accept(&self, sequence: u64) {
        let mut inside = self.inside.lock();
        if let Some(slot) = inside.slot(sequence) {
            slot.accepted = true;
            self.release(&mut inside);
        }
    }

    /// Sends what could not be sent before.
    pub fn flush(&self) {
        self.release(&mut self.inside.lock());
    }

    fn release(&self, inside: &mut Inside) {
        while inside.slots.front().is_some_and(|slot| slot.accepted && (self.acknowledge)(&slot.publish)) {
            inside.bytes -= inside.slots.pop_front().map_or(0, |slot| size(&slot.publish));
            inside.first += 1;
        }
    }

    /// The token of a message in the window; dropped unaccepted, the message is listed to be offered again.
    pub fn token(self: &Arc<Self>, sequence: u64) -> Token {
        let pending = Pending { window: Arc::clone(self), sequence, accepted: false };
        Token::new(move || pending.accept())
    }

    /// The message has to wait for room.
    pub fn wait(&self, sequence: u64) {
        self.inside.lock().waiting.push_back(sequence);
        self.listed.notify_one();
    }

    /// Whether messages wait for room: a later one must not overtake them.
    pub fn has_waiting(&self) -> bool {
        !self.inside.lock().waiting.is_empty()
    }

    /// The first message that waits for room; it stays listed.
    pub fn first_waiting(&self) -> Option<(u64, Publish)> {
        let mut inside = self.inside.lock();
        let sequence = *inside.waiting.front()?;
        inside.slot(sequence).map(|slot| (sequence, slot.publish.clone()))
    }

    /// The first message that waited was taken.
    pub fn waited(&self) {
        self.inside.lock().waiting.pop_front();
    }

    /// The messages whose tokens were dropped, in arrival order.
    pub fn take_dropped(&self) -> Vec<(u64, Publish)> {
        let mut inside = self.inside.lock();
        let mut dropped = std::mem::take(&mut inside.dropped);
        dropped.sort_unstable();
        let with_message = |sequence| inside.slot(sequence).map(|slot| (sequence, slot.publish.clone()));
        dropped.into_iter().filter_map(with_message).collect()
    }

    /// Returns when something may have been listed.
    pub async fn listed(&self) {
        self.listed.notified().await;
    }

    /// The connection is over: late tokens find nothing here.
    pub fn close(&self) {
        let mut inside = self.inside.lock();
        *inside = Inside { first: u64::MAX, closed: true, ..Inside::default() };
    }

    fn list_dropped(&self, sequence: u64) {
        let mut inside = self.inside.lock();
        if !inside.closed {
            inside.dropped.push(sequence);
            self.listed.notify_one();
        }
    }
}

impl Inside {
    fn slot(&mut self, sequence: u64) -> Option<&mut Slot> {
        self.slots.get_mut(usize::try_from(sequence.checked_sub(self.first)?).ok()?)
    }
}

fn size(publish: &Publish) -> usize {
    publish.topic.len() + publish.payload.len()
}

struct Pending {
    window: Arc<Window>,
    sequence: u64,
    accepted: bool,
}

impl Pending {
    fn accept(mut self) {
        self.accepted = true;
        self.window.accept(self.sequence);
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.accepted {
            self.window.list_dropped(self.sequence);
        }
    }
}

#[cfg(test)]
mod tests {
    use rumqttc::v5::mqttbytes::QoS;

    use super::*;

    fn window(bytes_max: usize) -> (Arc<Window>, Arc<Mutex<Vec<u16>>>) {
        let sent = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&sent);
        (Window::new(bytes_max, move |publish| (log.lock().push(publish.pkid), true).1), sent)
    }

    fn publish(pkid: u16) -> Publish {
        let mut publish = Publish::new("t", QoS::AtLeastOnce, "", None);
        publish.pkid = pkid;
        publish
    }

    #[test]
    fn acknowledgements_leave_in_arrival_order() {
        let (window, sent) = window(3);
        let sequences: Vec<_> = [7, 5, 9].map(|pkid| window.push(publish(pkid)).expect("room")).into();
        assert_eq!(window.push(publish(1)), None, "the bound in bytes; each topic has one");
        window.token(sequences[2]).accept();
        window.token(sequences[1]).accept();
        assert!(sent.lock().is_empty());
        window.token(sequences[0]).accept();
        assert_eq!(*sent.lock(), [7, 5, 9]);
        assert_eq!(window.push(publish(1)), Some(3));
    }

    #[test]
    fn a_dropped_token_lists_its_message_again_and_a_late_one_does_nothing() {
        let (window, sent) = window(9);
        let (first, second) = (window.push(publish(1)).expect("room"), window.push(publish(2)).expect("room"));
        let late = window.token(second);
        drop(window.token(first));
        assert_eq!(window.take_dropped().iter().map(|(sequence, _)| *sequence).collect::<Vec<_>>(), [first]);
        window.close();
        late.accept();
        drop(window.token(first));
        assert!(sent.lock().is_empty() && window.take_dropped().is_empty());
    }
}
