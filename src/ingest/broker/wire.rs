//! A connection's bytes as the broker's client handler sees them, with two things added on the way out: what the broker
//! writes is sent together, and acknowledgements come in between from outside its task (acks.rs).
//! Between the socket and the broker's client handler; fed from outside by whoever holds the [`Line`].
//!
//! The broker writes and flushes each packet by itself, which is a system call a PUBACK. Here packets are collected
//! until the handler asks for more to read: then it has answered everything that it has.
//!
//! Bound: [`OUT_MAX`] bytes that the client does not take; then the broker's write waits, and its own time limit ends
//! the connection. Acknowledgements from outside are four bytes each and at most as many as messages may wait.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::AcqRel, Ordering::Acquire, Ordering::Release};
use std::task::{Context, Poll, Waker, ready};

use mqtt5::broker::transport::WebSocketTransport;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// From here on bytes are sent at once, not only when the handler asks for more.
const SEND_FROM: usize = 16 * 1024;
/// Bytes that wait for a client which does not read.
const OUT_MAX: usize = 64 * 1024;
/// An empty buffer larger than this is given back: most connections say nothing most of the time.
const KEPT: usize = 256;

/// The way to a connection's client from outside the task that serves it.
#[derive(Debug, Default)]
pub struct Line {
    waits: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    bytes: Vec<u8>,
    /// The task that serves the connection, while it waits for something to read.
    reader: Option<Waker>,
}

impl Line {
    /// Sends the PUBACK of this packet, in the order of these calls.
    pub fn acknowledge(&self, packet: u16) {
        let [high, low] = packet.to_be_bytes();
        let mut inner = self.inner.lock();
        // MQTT 5 too: without reason code and properties it says success (3.4.2.1).
        inner.bytes.extend_from_slice(&[0x40, 0x02, high, low]);
        self.waits.store(true, Release);
        let reader = inner.reader.take();
        drop(inner);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    fn note_reader(&self, reader: &Waker) {
        let mut inner = self.inner.lock();
        if !inner.reader.as_ref().is_some_and(|known| known.will_wake(reader)) {
            inner.reader = Some(reader.clone());
        }
    }

    fn take(&self, out: &mut Vec<u8>) {
        if self.waits.swap(false, AcqRel) {
            out.append(&mut self.inner.lock().bytes);
        }
    }

    fn waits(&self) -> bool {
        self.waits.load(Acquire)
    }
}

/// A stream that collects what is written to it; see the head of this file.
pub struct Wire<S: AsyncWrite + Unpin> {
    stream: S,
    address: SocketAddr,
    line: Arc<Line>,
    out: Vec<u8>,
    /// Bytes of `out` that are sent.
    sent: usize,
    /// The stream keeps bytes of its own (TLS).
    unflushed: bool,
}

impl<S: AsyncWrite + Unpin> Wire<S> {
    /// Around the stream of the client at `address`; acknowledgements come by `line`.
    pub fn new(stream: S, address: SocketAddr, line: Arc<Line>) -> Self {
        Self { stream, address, line, out: Vec::new(), sent: 0, unflushed: false }
    }

    /// Sends all that is collected; pending when the client takes no more.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.line.take(&mut self.out);
        while self.sent < self.out.len() {
            match ready!(Pin::new(&mut self.stream).poll_write(context, &self.out[self.sent..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.sent += count,
            }
            self.unflushed = true;
        }
        self.sent = 0;
        self.out.clear();
        self.out.shrink_to(KEPT);
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(context))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Wire<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // First, so that an acknowledgement that comes from now on wakes us.
        this.line.note_reader(context.waker());
        // A client that takes nothing may still speak.
        if let Poll::Ready(Err(error)) = this.poll_send(context) {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut this.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    /// Takes a packet whole or not at all, so that nothing from outside comes into the middle of it.
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, packet: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        // What came from outside until now belongs before it.
        this.line.take(&mut this.out);
        if this.out.len() - this.sent >= SEND_FROM {
            let sent = this.poll_send(context)?;
            if sent.is_pending() && this.out.len() - this.sent >= OUT_MAX {
                return Poll::Pending;
            }
        }
        this.out.extend_from_slice(packet);
        Poll::Ready(Ok(packet.len()))
    }

    /// Not yet: the handler flushes after every packet, and asks for more to read after the last.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(context))?;
        Pin::new(&mut this.stream).poll_shutdown(context)
    }
}

impl<S: AsyncWrite + Unpin> Drop for Wire<S> {
    /// The broker's last word, a DISCONNECT, is written just before it drops the connection.
    fn drop(&mut self) {
        if self.line.waits() || !self.out.is_empty() {
            let _ = self.poll_send(&mut Context::from_waker(Waker::noop()));
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> WebSocketTransport for Wire<S> {
    fn peer_addr(&self) -> mqtt5::Result<SocketAddr> {
        Ok(self.address)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const PUBACK_1: [u8; 4] = [0x40, 2, 0, 1];
    const PUBACK_2: [u8; 4] = [0x40, 2, 0, 2];

    fn wire(space: usize) -> (Wire<tokio::io::DuplexStream>, tokio::io::DuplexStream, Arc<Line>) {
        let (ours, theirs) = tokio::io::duplex(space);
        let line = Arc::<Line>::default();
        (Wire::new(ours, SocketAddr::from(([127, 0, 0, 1], 1)), Arc::clone(&line)), theirs, line)
    }

    #[tokio::test]
    async fn packets_leave_together_and_in_order_once_the_handler_reads_on() {
        let (mut wire, mut client, line) = wire(1_024);
        wire.write_all(&PUBACK_1).await.expect("taken");
        wire.flush().await.expect("flushed");
        line.acknowledge(2);
        wire.write_all(&[0xd0, 0]).await.expect("taken");
        let nothing = tokio::time::timeout(std::time::Duration::ZERO, client.read_u8()).await;
        assert!(nothing.is_err(), "nothing leaves before");
        let reading = tokio::spawn(async move { wire.read_u8().await.map(|byte| (byte, wire)) });
        let mut all = [0; 10];
        client.read_exact(&mut all).await.expect("all of it");
        assert_eq!(all, [&PUBACK_1[..], &PUBACK_2, &[0xd0, 0]].concat()[..]);
        // And while it waits for something to read, an acknowledgement wakes it.
        line.acknowledge(1);
        let mut next = [0; 4];
        client.read_exact(&mut next).await.expect("woken");
        assert_eq!(next, PUBACK_1);
        client.write_u8(7).await.expect("written");
        assert_eq!(reading.await.expect("no panic").expect("read").0, 7);
    }

    #[tokio::test]
    async fn what_was_written_last_leaves_before_the_connection_ends() {
        let (mut wire, mut client, line) = wire(1_024);
        wire.write_all(&[0xe0, 0]).await.expect("taken");
        line.acknowledge(1);
        drop(wire);
        let mut all = Vec::new();
        client.read_to_end(&mut all).await.expect("to the end");
        assert_eq!(all, [&[0xe0, 0][..], &PUBACK_1].concat());
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_holds_up_its_own_writes_and_costs_no_more_than_the_bound() {
        let (mut wire, mut client, _line) = wire(64);
        let packet = [0; 1_000];
        let mut taken = 0;
        while tokio::time::timeout(std::time::Duration::ZERO, wire.write_all(&packet)).await.is_ok() {
            taken += packet.len();
            assert!(taken < 2 * OUT_MAX, "{taken}");
        }
        assert!((OUT_MAX..OUT_MAX + 2 * packet.len()).contains(&taken), "{taken}");
        assert!(wire.out.capacity() <= 2 * OUT_MAX, "{}", wire.out.capacity());
        let reading = tokio::spawn(async move {
            let mut all = Vec::new();
            client.read_to_end(&mut all).await
        });
        wire.write_all(&packet).await.expect("goes on once it reads");
        drop(wire);
        assert!(reading.await.expect("no panic").expect("read") > 64, "more than the stream holds");
    }
}
