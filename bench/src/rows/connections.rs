//! 15,000 vehicles with a connection each that speak once a second with QoS 1: what that takes of a core, and of
//! memory, beside the bare publish hook.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::floors::{Floor, Kind};
use crate::now_ms;
use crate::packets::Packets;
use crate::pipe::connect;
use crate::stage::Stage;
use crate::table::Line;
use crate::usage::Usage;

const ROW: &str = "connections";
const CONNECTIONS: usize = 15_000;
const INTERVAL: Duration = Duration::from_secs(1);
/// Vehicles are told apart by client id; each sends its own packet.
const WARM_UP: Duration = Duration::from_secs(3);

/// Many vehicles, each on its own connection.
struct Crowd {
    streams: Vec<TcpStream>,
    packets: Packets,
    acked_bytes: u64,
    sent: u64,
}

impl Crowd {
    fn open(addr: SocketAddr) -> anyhow::Result<Self> {
        let mut streams = Vec::with_capacity(CONNECTIONS);
        for n in 0..CONNECTIONS {
            let mut stream = TcpStream::connect(addr).with_context(|| format!("connection {n}"))?;
            stream.set_nodelay(true)?;
            stream.write_all(&connect(&format!("bench-{n:05}")))?;
            let mut answer = [0; 4];
            stream.read_exact(&mut answer).with_context(|| format!("connection {n} is refused"))?;
            stream.set_nonblocking(true)?;
            streams.push(stream);
        }
        Ok(Self { streams, packets: Packets::new(0..CONNECTIONS, true), acked_bytes: 0, sent: 0 })
    }

    /// Each speaks once an interval, evenly spread; acknowledgements are taken when it speaks again.
    fn speak(&mut self, how_long: Duration) -> anyhow::Result<()> {
        let began = Instant::now();
        let already = self.sent;
        while began.elapsed() < how_long {
            let due = (began.elapsed().as_secs_f64() / INTERVAL.as_secs_f64() * CONNECTIONS as f64) as u64;
            while self.sent - already < due {
                let number = self.packets.next() % CONNECTIONS;
                let (packet, _) = self.packets.chunk(1, CONNECTIONS, now_ms());
                self.acked_bytes += acks(&mut self.streams[number])?;
                self.streams[number].write_all(packet)?;
                self.sent += 1;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Takes what is still to come.
    fn settle(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + Duration::from_secs(10);
        while self.acked_bytes / 4 < self.sent && Instant::now() < until {
            for stream in &mut self.streams {
                self.acked_bytes += acks(stream)?;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let (acked, sent) = (self.acked_bytes / 4, self.sent);
        ensure!(acked == sent, "{acked} of {sent} heartbeats were acknowledged");
        Ok(())
    }
}

fn acks(stream: &mut TcpStream) -> anyhow::Result<u64> {
    let mut scratch = [0; 64];
    match stream.read(&mut scratch) {
        Ok(0) => anyhow::bail!("a connection was closed by the server"),
        Ok(read) => Ok(read as u64),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// Bytes a connection, CPU share and memory in all.
fn run(stage: &Stage, addr: SocketAddr, usage: impl Fn() -> Usage) -> anyhow::Result<(f64, f64, u64)> {
    let before = usage();
    let mut crowd = Crowd::open(addr)?;
    crowd.speak(WARM_UP)?;
    let from = usage();
    crowd.speak(Duration::from_secs(stage.size(30, 6)))?;
    let to = usage();
    crowd.settle()?;
    let each = to.rss_bytes.saturating_sub(before.rss_bytes) as f64 / CONNECTIONS as f64;
    Ok((each, to.share_since(&from) * 100.0, to.rss_bytes))
}

/// The floor first, then the service.
pub fn measure(stage: &Stage, tell: &mut dyn FnMut(Line)) -> anyhow::Result<()> {
    let bare = Floor::start(stage, &Kind::Hook)?;
    let (bare_each, bare_share, _) = run(stage, bare.addr, || bare.usage())?;
    bare.end(stage)?;
    let product = stage.product(ROW, &["--store", "sqlite:rollcall.db"], &[])?;
    let (each, share, rss) = run(stage, product.mqtt, || product.usage())?;
    let line = Line::new(ROW, "15,000 connections, one heartbeat a second each, QoS 1", share, "% of a core");
    tell(line.beside(bare_share).measured("< 50", share < 50.0).using(rss, share / 100.0));
    let line = Line::new(ROW, "memory of a connection, its vehicle included", each / 1024.0, "KiB");
    tell(line.beside(bare_each / 1024.0));
    stage.end(product)
}
