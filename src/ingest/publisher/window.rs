//! The publishes that an external broker has not acknowledged, in the order of the ring. Fed by the client with what it
//! sends and what comes back; tells it where to go on. Bound: [`Window::room`]; when it is full, nothing is taken from
//! the ring until the oldest one is acknowledged.

use std::collections::VecDeque;

/// Unacknowledged publishes of one connection.
#[derive(Debug)]
pub struct Window {
    /// Everything up to here is with the broker.
    place: u64,
    size: usize,
    sent: VecDeque<Sent>,
}

#[derive(Debug)]
struct Sent {
    number: u64,
    /// Its packet's number, once it is on its way.
    packet: Option<u16>,
    acked: bool,
}

impl Window {
    /// Nothing is on its way; there is no room before [`Window::open`].
    pub fn after(place: u64) -> Self {
        Self { place, size: 0, sent: VecDeque::new() }
    }

    /// At most `size` may be on their way. What was acknowledged out of order counts until all before it are: packet
    /// numbers of the client go round, and one that comes again while its first use is open wedges it.
    pub fn open(&mut self, size: usize) {
        self.size = size;
    }

    /// How many more may be sent.
    pub fn room(&self) -> usize {
        self.size.saturating_sub(self.sent.len())
    }

    /// Whether the broker has greeted.
    pub fn is_open(&self) -> bool {
        self.size > 0
    }

    /// Everything up to this number is with the broker.
    pub fn place(&self) -> u64 {
        self.place
    }

    /// The last number that was sent.
    pub fn last(&self) -> u64 {
        self.sent.back().map_or(self.place, |sent| sent.number)
    }

    /// Whether nothing is on its way.
    pub fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    /// A publish was handed to the client.
    pub fn push(&mut self, number: u64) {
        debug_assert!(number > self.last() && self.room() > 0);
        self.sent.push_back(Sent { number, packet: None, acked: false });
    }

    /// The client wrote the next one, under this packet number.
    pub fn written(&mut self, packet: u16) {
        if let Some(sent) = self.sent.iter_mut().find(|sent| sent.packet.is_none()) {
            sent.packet = Some(packet);
        }
    }

    /// The broker answered a packet. `true` when the place moved.
    pub fn answered(&mut self, packet: u16) -> bool {
        let open = self.sent.iter_mut().find(|sent| sent.packet == Some(packet) && !sent.acked);
        if let Some(sent) = open {
            sent.acked = true;
        }
        let before = self.place;
        while let Some(first) = self.sent.pop_front_if(|first| first.acked) {
            self.place = first.number;
        }
        self.place != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_moves_only_when_everything_before_it_is_acknowledged() {
        let mut window = Window::after(10);
        assert_eq!(
            (window.is_open(), window.room(), window.last()),
            (false, 0, 10),
            "closed until the broker has greeted"
        );
        window.open(3);
        for number in [11, 15, 16] {
            window.push(number); // 12 to 14 were skipped
        }
        assert_eq!((window.room(), window.last(), window.place()), (0, 16, 10));
        assert!(!window.answered(1), "nothing was written yet");
        (1..=3).for_each(|packet| window.written(packet));
        assert!(!window.answered(2) && !window.answered(2) && !window.answered(9));
        assert_eq!((window.room(), window.place()), (0, 10), "out of order: its packet number stays taken");
        assert!(window.answered(1));
        assert_eq!((window.room(), window.place(), window.last()), (2, 15, 16));
        assert!(window.answered(3));
        assert_eq!((window.is_empty(), window.place(), window.last()), (true, 16, 16));
    }
}
