//! The messages of one connection that are not acknowledged yet, in the order they arrived.
//! Fed by the poll task; drained when tokens are accepted, always from the front, so acknowledgements leave in
//! arrival order. Bound: a count of messages and of their bytes, well above the receive maximum we gave the broker; a
//! broker that passes it is left, and sends all of them again.
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
    count_max: usize,
    bytes_max: usize,
    /// Queues an acknowledgement for sending; `false` when it could not be.
    acknowledge: Box<dyn Fn(&Publish) -> bool + Send + Sync>,
}

#[derive(Default)]
struct Inside {
    slots: VecDeque<Slot>,
    /// Payload bytes in the slots.
    bytes: usize,
    /// Sequence number of the front slot.
    first: u64,
    /// Found no room at the door; offered again in order, before anything that arrives later.
    waiting: VecDeque<u64>,
    /// Their token was dropped.
    dropped: Vec<u64>,
    overfull: bool,
    closed: bool,
}

struct Slot {
    publish: Publish,
    /// It waited in the broker's queue while we were away.
    waited: bool,
    accepted: bool,
}

/// A message that is offered again: its sequence number, and whether it waited in the broker's queue.
pub type Again = (u64, Publish, bool);

impl Window {
    pub fn new(
        count_max: usize,
        bytes_max: usize,
        acknowledge: impl Fn(&Publish) -> bool + Send + Sync + 'static,
    ) -> Arc<Self> {
        let (inside, listed) = (Mutex::default(), Notify::new());
        Arc::new(Self { inside, listed, count_max, bytes_max, acknowledge: Box::new(acknowledge) })
    }

    /// Keeps a message that arrived, and whether it `waited` in the broker's queue; `None` when the broker sent more
    /// than can be kept.
    pub fn push(&self, publish: Publish, waited: bool) -> Option<u64> {
        let mut inside = self.inside.lock();
        let bytes = inside.bytes + publish.payload.len();
        let room = inside.slots.len() < self.count_max && bytes <= self.bytes_max;
        inside.overfull |= !room;
        room.then(|| {
            inside.bytes = bytes;
            inside.slots.push_back(Slot { publish, waited, accepted: false });
            inside.first + inside.slots.len() as u64 - 1
        })
    }

    /// Whether the broker has sent more than can be kept.
    pub fn is_overfull(&self) -> bool {
        self.inside.lock().overfull
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
        while let Some(slot) = inside.slots.front()
            && slot.accepted
            && (self.acknowledge)(&slot.publish)
        {
            inside.bytes -= slot.publish.payload.len();
            inside.slots.pop_front();
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
    pub fn first_waiting(&self) -> Option<Again> {
        let mut inside = self.inside.lock();
        let sequence = *inside.waiting.front()?;
        inside.slot(sequence).map(|slot| (sequence, slot.publish.clone(), slot.waited))
    }

    /// The first message that waited was taken.
    pub fn waited(&self) {
        self.inside.lock().waiting.pop_front();
    }

    /// The messages whose tokens were dropped, in arrival order.
    pub fn take_dropped(&self) -> Vec<Again> {
        let mut inside = self.inside.lock();
        let mut dropped = std::mem::take(&mut inside.dropped);
        dropped.sort_unstable();
        let with_message = |sequence| inside.slot(sequence).map(|slot| (sequence, slot.publish.clone(), slot.waited));
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

    fn window(max: usize) -> (Arc<Window>, Arc<Mutex<Vec<u16>>>) {
        let sent = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&sent);
        (Window::new(max, 10, move |publish| (log.lock().push(publish.pkid), true).1), sent)
    }

    fn publish(pkid: u16) -> Publish {
        let mut publish = Publish::new("t", QoS::AtLeastOnce, "", None);
        publish.pkid = pkid;
        publish
    }

    #[test]
    fn acknowledgements_leave_in_arrival_order() {
        let (window, sent) = window(3);
        let sequences: Vec<_> = [7, 5, 9].map(|pkid| window.push(publish(pkid), false).expect("room")).into();
        assert!(!window.is_overfull());
        assert_eq!(window.push(publish(1), false), None, "the bound");
        assert!(window.is_overfull());
        window.token(sequences[2]).accept();
        window.token(sequences[1]).accept();
        assert!(sent.lock().is_empty());
        window.token(sequences[0]).accept();
        assert_eq!(*sent.lock(), [7, 5, 9]);
        let large = Publish::new("t", QoS::AtLeastOnce, "eleven byte", None);
        assert_eq!(window.push(large, false), None, "the bound in bytes");
        assert_eq!(window.push(publish(1), false), Some(3));
    }

    #[test]
    fn a_dropped_token_lists_its_message_again_and_a_late_one_does_nothing() {
        let (window, sent) = window(9);
        let (first, second) = (window.push(publish(1), true), window.push(publish(2), false));
        let (first, second) = (first.expect("room"), second.expect("room"));
        let late = window.token(second);
        drop(window.token(first));
        let dropped = window.take_dropped();
        let dropped: Vec<_> = dropped.iter().map(|(sequence, _, waited)| (*sequence, *waited)).collect();
        assert_eq!(dropped, [(first, true)], "and it is still one that waited");
        window.close();
        late.accept();
        drop(window.token(first));
        assert!(sent.lock().is_empty() && window.take_dropped().is_empty());
    }
}
