//! A stretch of network that can be cut: every connection to the proxy is carried on to one server. Fed by vehicles or
//! the product, ordered about by the director. A connection from which bytes were swallowed is closed when the cut is
//! over: no protocol survives a hole.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp},
    sync::{mpsc, watch},
    time::{self, Instant},
};

const CHUNK_BYTES: usize = 16 * 1024;
/// Chunks under way in one direction: 4 MB, then the sender waits as on a real line.
const CHUNKS_MAX: usize = 256;

/// What the stretch does at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Pass,
    Close,
    Swallow,
    Delay(Duration),
}

/// The hand on the stretch.
pub struct Proxy {
    pub addr: SocketAddr,
    mode: watch::Sender<Mode>,
}

impl Proxy {
    /// Listens on `addr` and carries on to `server`.
    pub async fn start(addr: SocketAddr, server: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(addr).await.with_context(|| format!("cannot listen on {addr}"))?;
        let (mode, seen) = watch::channel(Mode::Pass);
        tokio::spawn(async move {
            // When the hand is gone, nobody needs the stretch any more.
            while seen.has_changed().is_ok() {
                if let Ok((client, _)) = listener.accept().await {
                    tokio::spawn(carry(client, server, seen.clone()));
                }
            }
        });
        Ok(Self { addr, mode })
    }

    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

async fn carry(mut client: TcpStream, server: SocketAddr, mut mode: watch::Receiver<Mode>) {
    let now = *mode.borrow();
    match now {
        Mode::Close => return,
        Mode::Swallow => {
            tokio::select! {
                () = discard(&mut client) => {}
                _ = mode.wait_for(|mode| *mode != Mode::Swallow) => {}
            }
            return;
        }
        Mode::Pass | Mode::Delay(_) => {}
    }
    let Ok(upstream) = TcpStream::connect(server).await else { return };
    let (_, _) = (client.set_nodelay(true), upstream.set_nodelay(true));
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), upstream.into_split());
    tokio::select! {
        () = cut_off(mode.clone()) => {}
        () = pipe(from_client, to_server, mode.clone()) => {}
        () = pipe(from_server, to_client, mode) => {}
    }
}

async fn discard(client: &mut TcpStream) {
    let mut chunk = [0; 1024];
    while client.read(&mut chunk).await.is_ok_and(|count| count > 0) {}
}

/// Returns when this connection has to end: the stretch closes, or has swallowed some of its bytes.
async fn cut_off(mut mode: watch::Receiver<Mode>) {
    let cut = mode.wait_for(|mode| matches!(mode, Mode::Close | Mode::Swallow)).await.map(|mode| *mode);
    if cut.is_ok_and(|mode| mode == Mode::Swallow) {
        let _ = mode.wait_for(|mode| *mode != Mode::Swallow).await;
    }
}

/// One direction. Returns when the sender is done and all of it has arrived.
async fn pipe(from: tcp::OwnedReadHalf, to: tcp::OwnedWriteHalf, mode: watch::Receiver<Mode>) {
    let (chunks, received) = mpsc::channel(CHUNKS_MAX);
    tokio::join!(read(from, chunks, mode), write(to, received));
}

async fn read(mut from: tcp::OwnedReadHalf, chunks: mpsc::Sender<(Instant, Vec<u8>)>, mut mode: watch::Receiver<Mode>) {
    loop {
        let mut chunk = vec![0; CHUNK_BYTES];
        let count = from.read(&mut chunk).await.unwrap_or(0);
        let now = *mode.borrow();
        if count == 0 {
            // While bytes are swallowed, so is the end of a connection.
            let _ = mode.wait_for(|mode| *mode != Mode::Swallow).await;
            return;
        }
        chunk.truncate(count);
        let due = match now {
            Mode::Swallow | Mode::Close => continue,
            Mode::Delay(delay) => Instant::now() + delay,
            Mode::Pass => Instant::now(),
        };
        if chunks.send((due, chunk)).await.is_err() {
            return;
        }
    }
}

async fn write(mut to: tcp::OwnedWriteHalf, mut chunks: mpsc::Receiver<(Instant, Vec<u8>)>) {
    while let Some((due, chunk)) = chunks.recv().await {
        time::sleep_until(due).await;
        if to.write_all(&chunk).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        addr
    }

    async fn ask(stream: &mut TcpStream) -> Option<u8> {
        stream.write_all(b"x").await.ok()?;
        let mut answer = [0];
        let read = time::timeout(Duration::from_millis(300), stream.read_exact(&mut answer)).await;
        read.ok()?.ok().map(|_| answer[0])
    }

    #[tokio::test]
    async fn stretch_passes_delays_swallows_and_closes() {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let proxy = Proxy::start(free, echo().await).await.unwrap();
        let mut stream = TcpStream::connect(proxy.addr).await.unwrap();
        assert_eq!(ask(&mut stream).await, Some(b'x'));
        proxy.set(Mode::Delay(Duration::from_millis(50)));
        let asked = Instant::now();
        assert_eq!(ask(&mut stream).await, Some(b'x'));
        assert!(asked.elapsed() >= Duration::from_millis(50));
        proxy.set(Mode::Swallow);
        assert_eq!(ask(&mut stream).await, None);
        let mut second = TcpStream::connect(proxy.addr).await.unwrap();
        assert_eq!(ask(&mut second).await, None);
        proxy.set(Mode::Pass);
        assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0, "what lost bytes is closed");
        let mut third = TcpStream::connect(proxy.addr).await.unwrap();
        assert_eq!(ask(&mut third).await, Some(b'x'));
        proxy.set(Mode::Close);
        assert_eq!(third.read(&mut [0]).await.unwrap_or(0), 0);
    }
}
