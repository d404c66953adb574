//! Heartbeats of a whole fleet, encoded once: every packet has the same length, so the next round of beats is made by
//! writing new digits into the old bytes. Made by the rows; sent by a pipe.

use std::ops::Range;

/// A part of the fleet speaks for these customers.
pub const CUSTOMERS: usize = 100;
/// Packet ids go round well below 65,536 and well above any number of unacknowledged packets.
const IDS: usize = 60_000;
/// The first round; all rounds have this many digits.
const FIRST_ROUND: u64 = 1_000_000;

/// The rest of what a vehicle says.
const MOTION: &str = r#""speed_kmh":48.5,"heading_deg":182"#;

/// The customer of a vehicle.
pub fn customer(vehicle: usize) -> String {
    format!("c{:03}", vehicle % CUSTOMERS)
}

/// The name of a vehicle.
pub fn vehicle(vehicle: usize) -> String {
    format!("v{vehicle:07}")
}

/// The latitude that a vehicle reports in a round: five digits behind 53.
pub fn latitude(round: u64) -> f64 {
    53.0 + (round % 100_000) as f64 / 100_000.0
}

/// One beat each of a range of vehicles, ready to be sent.
pub struct Packets {
    bytes: Vec<u8>,
    stride: usize,
    count: usize,
    ts: usize,
    seq: usize,
    lat: usize,
    round: u64,
    next: usize,
}

impl Packets {
    /// Packets of these vehicles, MQTT 3.1.1, with QoS 1 or 0.
    pub fn new(vehicles: Range<usize>, acknowledged: bool) -> Self {
        let (mut bytes, mut stride, count) = (Vec::new(), 0, vehicles.len());
        for (i, n) in vehicles.enumerate() {
            let topic = format!("fleet/{}/{}/heartbeat", customer(n), vehicle(n));
            let lon = 10_000 + n % 90_000;
            let payload =
                format!(r#"{{"ts":1700000000000,"seq":{FIRST_ROUND},"lat":53.00000,"lon":-2.{lon:05},{MOTION}}}"#);
            let length = 2 + topic.len() + 2 * usize::from(acknowledged) + payload.len();
            bytes.push(0x30 | u8::from(acknowledged) << 1);
            bytes.extend([length as u8 | 0x80, (length >> 7) as u8]);
            bytes.extend((topic.len() as u16).to_be_bytes());
            bytes.extend(topic.as_bytes());
            if acknowledged {
                bytes.extend(((i % IDS) as u16 + 1).to_be_bytes());
            }
            bytes.extend(payload.as_bytes());
            if i == 0 {
                stride = bytes.len();
                bytes.reserve_exact(stride * count);
            }
        }
        let place = |text: &str| {
            let found = bytes[..stride].windows(text.len()).position(|window| window == text.as_bytes());
            found.map_or(0, |at| at + text.len())
        };
        let (ts, seq, lat) = (place("\"ts\":"), place("\"seq\":"), place("\"lat\":53."));
        Self { bytes, stride, count, ts, seq, lat, round: FIRST_ROUND, next: 0 }
    }

    /// How many vehicles there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The round that the next packet belongs to.
    pub fn round(&self) -> u64 {
        self.round
    }

    /// The vehicle (within the range) of the next packet.
    pub fn next(&self) -> usize {
        self.next
    }

    /// The next packet is the first of a new round.
    pub fn rewind(&mut self) {
        self.next = self.count;
    }

    /// The next packets, at most `most` and not past the end of the round, said at `ts`. Only the first `speaking`
    /// vehicles of the range take part.
    pub fn chunk(&mut self, most: usize, speaking: usize, ts: i64) -> (&[u8], usize) {
        let speaking = speaking.min(self.count);
        if self.next >= speaking {
            self.next = 0;
            self.round += 1;
        }
        let end = (self.next + most).min(speaking);
        let (ts, seq, lat) =
            (format!("{ts:013}"), format!("{:07}", self.round), format!("{:05}", self.round % 100_000));
        for packet in self.bytes[self.next * self.stride..end * self.stride].chunks_exact_mut(self.stride) {
            packet[self.ts..self.ts + 13].copy_from_slice(ts.as_bytes());
            packet[self.seq..self.seq + 7].copy_from_slice(seq.as_bytes());
            packet[self.lat..self.lat + 5].copy_from_slice(lat.as_bytes());
        }
        let (from, count) = (self.next, end - self.next);
        self.next = end;
        (&self.bytes[from * self.stride..end * self.stride], count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(packet: &[u8]) -> serde_json::Value {
        let from = packet.iter().position(|byte| *byte == b'{').unwrap();
        serde_json::from_slice(&packet[from..]).unwrap()
    }

    #[test]
    fn every_packet_says_its_own_vehicle_and_every_round_something_new() {
        let mut packets = Packets::new(5..8, true);
        let (bytes, count) = packets.chunk(100, 100, 1_800_000_000_123);
        assert_eq!(count, 3);
        let packet = &bytes[bytes.len() / 3..][..bytes.len() / 3];
        assert_eq!(packet[0], 0x32);
        assert_eq!(usize::from(packet[1] & 0x7f) | usize::from(packet[2]) << 7, packet.len() - 3);
        assert!(packet.windows(18).any(|text| text == b"c006/v0000006/hear"));
        let first = payload(packet);
        assert_eq!((&first["ts"], &first["seq"]), (&1_800_000_000_123_i64.into(), &1_000_000.into()));
        let (bytes, count) = packets.chunk(2, 100, 1_800_000_000_124);
        assert_eq!((count, payload(&bytes[..bytes.len() / 2])["lat"].as_f64()), (2, Some(latitude(1_000_001))));
        assert_eq!((packets.round(), packets.next()), (1_000_001, 2));
    }
}
