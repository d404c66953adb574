//! One MQTT connection that sends as fast as it is taken, or at a steady pace. Plain TCP and large writes, because
//! whatever the generator costs is missing on the other side of the same two cores. Used by the rows, in threads.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::now_ms;
use crate::packets::Packets;

/// Packets in one write.
const CHUNK: usize = 256;
/// Unacknowledged packets at most, when sending as fast as possible.
const WINDOW: u64 = 4_096;
/// How often a paced pipe looks at the clock.
const BEAT: Duration = Duration::from_millis(1);
/// A server that says nothing for so long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// An open connection.
pub struct Pipe {
    stream: TcpStream,
    pub sent: u64,
    /// PUBACKs received, as bytes: each has four.
    acked_bytes: u64,
    scratch: Vec<u8>,
}

impl Pipe {
    /// Connects under this client id.
    pub fn open(addr: SocketAddr, client: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(addr).with_context(|| format!("cannot connect to {addr}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut pipe = Self { stream, sent: 0, acked_bytes: 0, scratch: vec![0; 64 * 1024] };
        pipe.stream.write_all(&connect(client))?;
        let mut answer = [0; 4];
        pipe.stream.read_exact(&mut answer).context("no CONNACK")?;
        ensure!(answer[0] == 0x20 && answer[3] == 0, "the connection is refused: {answer:?}");
        Ok(pipe)
    }

    /// Packets that were acknowledged.
    pub fn acked(&self) -> u64 {
        self.acked_bytes / 4
    }

    /// Sends until `done`, never waiting for anything but the socket.
    pub fn flood(&mut self, packets: &mut Packets, mut done: impl FnMut(u64) -> bool) -> anyhow::Result<()> {
        while !done(self.sent) {
            let (bytes, count) = packets.chunk(CHUNK, usize::MAX, now_ms());
            self.stream.write_all(bytes)?;
            self.sent += count as u64;
        }
        Ok(())
    }

    /// Sends QoS 1 packets until `done`, with a bounded number unacknowledged.
    pub fn flood_acknowledged(
        &mut self,
        packets: &mut Packets,
        mut done: impl FnMut(u64) -> bool,
    ) -> anyhow::Result<()> {
        let already = self.sent - self.acked();
        while !done(self.sent) {
            let (bytes, count) = packets.chunk(CHUNK, usize::MAX, now_ms());
            self.stream.write_all(bytes)?;
            self.sent += count as u64;
            while self.sent - self.acked() > already + WINDOW - CHUNK as u64 {
                self.take_acks()?;
            }
        }
        self.settle()
    }

    /// Waits until every QoS 1 packet is acknowledged.
    pub fn settle(&mut self) -> anyhow::Result<()> {
        while self.acked() < self.sent {
            self.take_acks()?;
        }
        Ok(())
    }

    /// Publishes one empty heartbeat with QoS 1 and waits until it is acknowledged: the server takes the packets of one
    /// connection in order, so whatever was sent before has been looked at then.
    pub fn fence(&mut self) -> anyhow::Result<Duration> {
        let topic = b"fleet/bench/fence/heartbeat";
        let mut packet = vec![0x32, (4 + topic.len()) as u8, 0, topic.len() as u8];
        packet.extend(topic);
        packet.extend(u16::MAX.to_be_bytes());
        let began = Instant::now();
        self.stream.write_all(&packet)?;
        let wanted = self.acked_bytes + 4;
        while self.acked_bytes < wanted {
            self.take_acks()?;
        }
        self.acked_bytes -= 4;
        Ok(began.elapsed())
    }

    /// Sends `per_s` packets a second, of the first `speaking` vehicles, until `done`. What the server did not take in
    /// time is sent later, not left out.
    pub fn pace(
        &mut self,
        packets: &mut Packets,
        per_s: f64,
        mut speaking: impl FnMut() -> usize,
        mut done: impl FnMut() -> bool,
        mut each: impl FnMut(u64, std::ops::Range<usize>),
    ) -> anyhow::Result<()> {
        let (began, before) = (Instant::now(), self.sent);
        while !done() {
            let due = before + (began.elapsed().as_secs_f64() * per_s) as u64;
            while self.sent < due && !done() {
                let most = (due - self.sent).min(CHUNK as u64) as usize;
                let (bytes, count) = packets.chunk(most, speaking(), now_ms());
                if count == 0 {
                    break;
                }
                self.stream.write_all(bytes)?;
                self.sent += count as u64;
                each(packets.round(), packets.next() - count..packets.next());
            }
            self.drain()?;
            std::thread::sleep(BEAT);
        }
        Ok(())
    }

    fn take_acks(&mut self) -> anyhow::Result<()> {
        let read = self.stream.read(&mut self.scratch).context("no acknowledgement")?;
        ensure!(read > 0, "the server closed the connection");
        self.acked_bytes += read as u64;
        Ok(())
    }

    /// Takes what has come, without waiting.
    fn drain(&mut self) -> anyhow::Result<()> {
        self.stream.set_nonblocking(true)?;
        let outcome = loop {
            match self.stream.read(&mut self.scratch) {
                Ok(0) => break Err(anyhow::anyhow!("the server closed the connection")),
                Ok(read) => self.acked_bytes += read as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break Ok(()),
                Err(error) => break Err(error.into()),
            }
        };
        self.stream.set_nonblocking(false)?;
        outcome
    }
}

/// A CONNECT of MQTT 3.1.1: clean session, no keep-alive.
pub fn connect(client: &str) -> Vec<u8> {
    let mut packet = vec![0x10, (12 + client.len()) as u8, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0];
    packet.extend((client.len() as u16).to_be_bytes());
    packet.extend(client.as_bytes());
    packet
}
