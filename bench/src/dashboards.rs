//! Many dashboards read by one thread: WebSocket clients that do as little as a client can, because what they cost is
//! missing on the other side of the same two cores. Used by the rows about the live push.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

/// What one read takes at most.
const READ_BYTES: usize = 256 * 1024;
/// So many are opened before the others are read again.
const OPENED_UNREAD: usize = 100;
const PATIENCE: Duration = Duration::from_secs(30);

/// What kind of frame it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    Binary,
}

struct Connection {
    stream: TcpStream,
    /// The beginning of a frame whose end has not come yet.
    rest: Vec<u8>,
}

/// Some dashboards.
pub struct Dashboards {
    poll: Poll,
    connections: Vec<Connection>,
    scratch: Vec<u8>,
}

impl Dashboards {
    /// None yet.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self { poll: Poll::new()?, connections: Vec::new(), scratch: vec![0; READ_BYTES] })
    }

    /// Opens one more, in a sub-protocol (or none), and says at once that it knows the newest version, as a page does
    /// that has fetched its snapshot.
    pub fn open(&mut self, addr: SocketAddr, protocol: Option<&str>, resume: bool) -> anyhow::Result<usize> {
        let mut stream = std::net::TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let protocol = protocol.map(|name| format!("sec-websocket-protocol: {name}\r\n")).unwrap_or_default();
        let head = format!(
            "GET /api/v1/live HTTP/1.1\r\nhost: {addr}\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{protocol}\r\n"
        );
        stream.write_all(head.as_bytes())?;
        let mut rest = Vec::new();
        let head = loop {
            if let Some(end) = rest.windows(4).position(|window| window == b"\r\n\r\n") {
                break String::from_utf8_lossy(&rest.drain(..end + 4).collect::<Vec<_>>()).into_owned();
            }
            self.more(&mut stream, &mut rest)?;
        };
        ensure!(head.starts_with("HTTP/1.1 101"), "no WebSocket: {head}");
        if resume {
            let hello = loop {
                if let Some((frame, used)) = frame(&rest) {
                    let hello: serde_json::Value = serde_json::from_slice(frame.payload)?;
                    rest.drain(..used);
                    break hello;
                }
                self.more(&mut stream, &mut rest)?;
            };
            let resume = serde_json::json!({"type": "resume", "epoch": hello["epoch"], "version": hello["version"]});
            stream.write_all(&masked(0x81, resume.to_string().as_bytes()))?;
        }
        stream.set_nonblocking(true)?;
        let (mut stream, number) = (TcpStream::from_std(stream), self.connections.len());
        self.poll.registry().register(&mut stream, Token(number), Interest::READABLE)?;
        self.connections.push(Connection { stream, rest });
        if number % OPENED_UNREAD == 0 {
            // The others are to answer their pings meanwhile.
            self.read(Duration::from_millis(1), |_, _, _, _| ())?;
        }
        Ok(number)
    }

    fn more(&mut self, stream: &mut std::net::TcpStream, rest: &mut Vec<u8>) -> anyhow::Result<()> {
        let read = stream.read(&mut self.scratch).context("the server says nothing")?;
        ensure!(read > 0, "the server closed the connection");
        rest.extend_from_slice(&self.scratch[..read]);
        Ok(())
    }

    /// Reads for so long, and hands over every text and binary frame with its dashboard and when it was read.
    ///
    /// # Errors
    /// A dashboard was thrown out.
    pub fn read(
        &mut self,
        how_long: Duration,
        mut each: impl FnMut(usize, Kind, &[u8], Instant),
    ) -> anyhow::Result<()> {
        let until = Instant::now() + how_long;
        let mut events = Events::with_capacity(1_024);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            self.poll.poll(&mut events, Some(left.min(Duration::from_millis(50))))?;
            for event in &events {
                let number = event.token().0;
                take(&mut self.connections[number], &mut self.scratch, |kind, payload| {
                    each(number, kind, payload, Instant::now());
                })?;
            }
        }
    }
}

/// Reads everything that is there. Only the newest ping is answered, which says that the others were read too.
fn take(connection: &mut Connection, scratch: &mut [u8], mut each: impl FnMut(Kind, &[u8])) -> anyhow::Result<()> {
    let mut ping = None;
    loop {
        let read = match connection.stream.read(scratch) {
            Ok(0) => anyhow::bail!("a dashboard was closed by the server"),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error.into()),
        };
        let bytes = if connection.rest.is_empty() {
            &scratch[..read]
        } else {
            connection.rest.extend_from_slice(&scratch[..read]);
            &connection.rest[..]
        };
        let mut from = 0;
        while let Some((frame, used)) = frame(&bytes[from..]) {
            match frame.opcode {
                1 => each(Kind::Text, frame.payload),
                2 => each(Kind::Binary, frame.payload),
                8 => anyhow::bail!("a dashboard was told to go: {}", String::from_utf8_lossy(frame.payload)),
                9 => ping = Some(frame.payload.to_vec()),
                _ => {}
            }
            from += used;
        }
        let rest = bytes[from..].to_vec();
        connection.rest = rest;
    }
    if let Some(ping) = ping {
        connection.stream.write_all(&masked(0x8a, &ping))?;
    }
    Ok(())
}

struct Frame<'a> {
    opcode: u8,
    payload: &'a [u8],
}

/// The first frame of some bytes and its length, if it is whole.
fn frame(bytes: &[u8]) -> Option<(Frame<'_>, usize)> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    let (length, head) = match second & 0x7f {
        126 => (usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)), 4),
        127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize, 10),
        short => (usize::from(short), 2),
    };
    let payload = bytes.get(head..head + length)?;
    Some((Frame { opcode: first & 0x0f, payload }, head + length))
}

/// A client's frame. The mask is zero, which leaves the payload as it is.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        short if short < 126 => frame.push(0x80 | short as u8),
        long => {
            frame.push(0x80 | 126);
            frame.extend((long as u16).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend_from_slice(payload);
    frame
}

/// The version that a binary delta leads to.
pub fn version(payload: &[u8]) -> Option<u32> {
    // Kinds 2 to 5 are parts of a delta; the version follows the kind, the count and the version before.
    if !(2..=5).contains(payload.first()?) {
        return None;
    }
    Some(u32::from_le_bytes(payload.get(12..16)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_whole_or_not_at_all() {
        let bytes = [0x82, 3, 1, 2, 3, 0x89, 1, 7, 0x81, 126, 0, 200];
        let (first, used) = frame(&bytes).unwrap();
        assert_eq!((first.opcode, first.payload, used), (2, &[1, 2, 3][..], 5));
        let (second, used) = frame(&bytes[5..]).unwrap();
        assert_eq!((second.opcode, second.payload, used), (9, &[7][..], 3));
        assert!(frame(&bytes[8..]).is_none() && frame(&bytes[..1]).is_none());
    }
}
