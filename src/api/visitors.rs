//! Who is connected to the HTTP door: how many at once, and nobody without saying something.
//! Told by the listeners (app) of each new connection and by the porter of each request; closes what is quiet too long.
//! The web server itself times the first request of a connection only: one that sends half of its second request would
//! stay for ever.
//!
//! Bound: `http.connections_max` in all and `http.connections_per_address_max` from one address; above, a connection
//! is closed at once. This machine itself counts only in all: a proxy here stands for everybody behind it.

use std::any::Any;
use std::collections::HashMap;
use std::net::{IpAddr, Shutdown};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

use actix_web::dev::Extensions;
use parking_lot::Mutex;
use socket2::SockRef;

use crate::clock::Clock;
use crate::domain::time::Millis;
use crate::gate::buckets::network_of;
use crate::settings::{Http, Network};

/// How often quiet connections are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The web server's own time for a connection that was kept open after an answer.
pub const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// Everybody connected.
#[derive(Debug)]
pub struct Visitors {
    connections_max: usize,
    per_address_max: usize,
    /// A connection without a request is closed after so long.
    quiet_max: Millis,
    proxies: Vec<Network>,
    clock: Clock,
    inside: Mutex<Inside>,
    turned_away: AtomicU64,
    fallen_silent: AtomicU64,
}

#[derive(Debug, Default)]
struct Inside {
    seats: HashMap<u64, Arc<Seat>>,
    addresses: HashMap<IpAddr, usize>,
    last_number: u64,
}

/// One connection, as its requests see it.
#[derive(Debug)]
pub struct Seat {
    clock: Clock,
    /// Requests that are not answered to the end.
    open: AtomicU32,
    quiet_since: AtomicI64,
    /// Another handle of its socket, to close it; given up for a WebSocket, which watches itself.
    socket: Mutex<Option<OwnedFd>>,
}

impl Seat {
    /// A request begins; it ends when the answer to this is dropped.
    pub fn begin(self: &Arc<Self>) -> Request {
        self.open.fetch_add(1, Relaxed);
        Request(Arc::clone(self))
    }

    /// It has become a WebSocket, and needs no second socket handle any more.
    pub fn upgraded(&self) {
        *self.socket.lock() = None;
    }
}

/// A request under way.
#[derive(Debug)]
pub struct Request(Arc<Seat>);

impl Drop for Request {
    fn drop(&mut self) {
        self.0.quiet_since.store(self.0.clock.now(), Relaxed);
        self.0.open.fetch_sub(1, Relaxed);
    }
}

/// Kept by the web server for as long as the connection lasts.
struct Visit {
    visitors: Arc<Visitors>,
    number: u64,
    address: IpAddr,
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut inside = self.visitors.inside.lock();
        inside.seats.remove(&self.number);
        if let Some(count) = inside.addresses.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                inside.addresses.remove(&self.address);
            }
        }
    }
}

impl Visitors {
    /// Nobody yet; looks for quiet ones on the present runtime for as long as it is kept.
    pub fn start(http: &Http, clock: Clock) -> Arc<Self> {
        let visitors = Arc::new(Self::new(http, clock));
        tokio::spawn(look(Arc::downgrade(&visitors)));
        visitors
    }

    fn new(http: &Http, clock: Clock) -> Self {
        Self {
            connections_max: http.connections_max.max(1),
            per_address_max: http.connections_per_address_max.max(1),
            quiet_max: http.header_timeout.0 + KEEP_ALIVE.as_millis() as Millis,
            proxies: http.trusted_proxies.clone(),
            clock,
            inside: Mutex::default(),
            turned_away: AtomicU64::new(0),
            fallen_silent: AtomicU64::new(0),
        }
    }

    /// A connection comes; what is to be kept for its life goes into `kept`. One too many is closed.
    pub fn come(self: &Arc<Self>, socket: &impl AsFd, address: IpAddr, kept: &mut Extensions) {
        let Some((visit, seat)) = self.admit(address) else {
            let _ = SockRef::from(socket).shutdown(Shutdown::Both);
            return;
        };
        *seat.socket.lock() = socket.as_fd().try_clone_to_owned().ok();
        kept.insert(visit);
        kept.insert(seat);
    }

    /// Connections at this moment.
    pub fn count(&self) -> usize {
        self.inside.lock().seats.len()
    }

    /// Connections that were not let in.
    pub fn turned_away(&self) -> u64 {
        self.turned_away.load(Relaxed)
    }

    /// Connections closed because they said nothing for too long.
    pub fn fallen_silent(&self) -> u64 {
        self.fallen_silent.load(Relaxed)
    }

    fn admit(self: &Arc<Self>, address: IpAddr) -> Option<(Visit, Arc<Seat>)> {
        let stands_for_many = address.is_loopback() || self.proxies.iter().any(|proxy| proxy.contains(address));
        let address = network_of(address);
        let mut inside = self.inside.lock();
        let of_address = inside.addresses.get(&address).copied().unwrap_or(0);
        let limit = match (inside.seats.len() >= self.connections_max, of_address >= self.per_address_max) {
            (true, _) => Some("http.connections_max"),
            (false, true) if !stands_for_many => Some("http.connections_per_address_max"),
            _ => None,
        };
        if let Some(limit) = limit {
            drop(inside);
            let count = self.turned_away.fetch_add(1, Relaxed) + 1;
            // One line for the first, the second, the fourth and so on: an attack does not fill the log.
            if count.is_power_of_two() {
                tracing::warn!(%address, limit, count, "HTTP connections were turned away");
            }
            return None;
        }
        *inside.addresses.entry(address).or_default() += 1;
        inside.last_number += 1;
        let number = inside.last_number;
        let quiet_since = AtomicI64::new(self.clock.now());
        let seat = Arc::new(Seat { clock: self.clock, open: AtomicU32::new(0), quiet_since, socket: Mutex::default() });
        inside.seats.insert(number, Arc::clone(&seat));
        Some((Visit { visitors: Arc::clone(self), number, address }, seat))
    }

    /// Closes connections that have been without a request for too long. The web server then sees the end of them.
    fn close_quiet(&self) {
        let since = self.clock.now() - self.quiet_max;
        let quiet = |seat: &&Arc<Seat>| seat.open.load(Relaxed) == 0 && seat.quiet_since.load(Relaxed) < since;
        let quiet: Vec<Arc<Seat>> = self.inside.lock().seats.values().filter(quiet).map(Arc::clone).collect();
        for seat in quiet {
            if let Some(socket) = seat.socket.lock().take() {
                let _ = SockRef::from(&socket).shutdown(Shutdown::Both);
                self.fallen_silent.fetch_add(1, Relaxed);
            }
        }
    }
}

async fn look(visitors: Weak<Visitors>) {
    let mut interval = tokio::time::interval(LOOK_EVERY);
    loop {
        interval.tick().await;
        let Some(visitors) = visitors.upgrade() else { return };
        visitors.close_quiet();
    }
}

/// The seat of the connection that a request came on.
pub fn seat_of(request: &actix_web::HttpRequest) -> Option<Arc<Seat>> {
    request.conn_data::<Arc<Seat>>().map(Arc::clone)
}

/// The TCP socket beneath a connection of either listener.
pub fn socket_of(connection: &dyn Any) -> Option<&actix_web::rt::net::TcpStream> {
    type Tls = actix_tls::accept::rustls_0_23::TlsStream<actix_web::rt::net::TcpStream>;
    let plain = connection.downcast_ref::<actix_web::rt::net::TcpStream>();
    plain.or_else(|| connection.downcast_ref::<Tls>().map(|stream| stream.get_ref().0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visitors(http: Http) -> Arc<Visitors> {
        Arc::new(Visitors::new(&http, Clock::start()))
    }

    #[test]
    fn one_address_cannot_take_every_place_but_a_proxy_may() {
        let trusted_proxies = vec!["10.0.0.9".parse().expect("a network")];
        let http = Http { connections_max: 5, connections_per_address_max: 2, trusted_proxies, ..Http::default() };
        let visitors = visitors(http);
        let admit = |address: &str| visitors.admit(address.parse().expect("an address"));
        let one = admit("10.0.0.1").expect("room");
        let _two = admit("10.0.0.1").expect("room");
        assert!(admit("10.0.0.1").is_none());
        let _others: Vec<_> = ["10.0.0.9", "10.0.0.9", "10.0.0.9"].map(|each| admit(each).expect("room")).into();
        assert!(admit("10.0.0.2").is_none() && admit("127.0.0.1").is_none());
        assert_eq!((visitors.count(), visitors.turned_away()), (5, 3));
        drop(one);
        assert!(admit("10.0.0.1").is_some());
        assert_eq!(visitors.inside.lock().addresses.len(), 2);
    }

    #[test]
    fn a_connection_is_quiet_only_while_no_request_is_open() {
        let visitors = visitors(Http::default());
        let (_visit, seat) = visitors.admit(IpAddr::from([10, 0, 0, 1])).expect("room");
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("a pair");
        *seat.socket.lock() = Some(ours.into());
        let request = seat.begin();
        let long_ago = visitors.clock.now() - visitors.quiet_max - 1;
        seat.quiet_since.store(long_ago, Relaxed);
        visitors.close_quiet();
        assert_eq!(visitors.fallen_silent(), 0);
        drop(request);
        visitors.close_quiet();
        assert_eq!(visitors.fallen_silent(), 0);
        seat.quiet_since.store(long_ago, Relaxed);
        visitors.close_quiet();
        assert_eq!((visitors.fallen_silent(), std::io::Read::read(&mut &theirs, &mut [0]).expect("its end")), (1, 0));
    }
}
