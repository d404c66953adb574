//! What every request passes before its handler: who is calling, how often, from which page, and how long its body may
//! take. Fed by the web server; what it refuses is a problem like any other. Feeds the handlers with [`Address`].

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, BoxBody, EitherBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::error::PayloadError;
use actix_web::http::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, ORIGIN, UPGRADE};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{HttpMessage, ResponseError, web};
use bytes::Bytes;
use futures_util::Stream;
use tokio::time::{Instant, Sleep};

use super::Service;
use super::error::Problem;
use super::visitors::{Request, seat_of};
use crate::clock::Clock;
use crate::domain::access::{KeyId, Principal, Who};
use crate::domain::limit::Limit;
use crate::domain::time::Millis;
use crate::gate::buckets::{Buckets, network_of};
use crate::settings::{Http, Network, Origin};

/// Bytes of a body that earn a second more: slower than any mobile network, and a trickle does not live of it.
const BODY_BYTES_PER_S_LEAST: u64 = 4 * 1024;
/// Wrong credentials of one address that are each answered with what was wrong; then one in so many milliseconds.
const WRONG_BURST: u32 = 300;
const WRONG_EVERY: Millis = 1_000;
/// Where a proxy says who is calling, and under which name.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Who is calling: the peer, or whom a trusted proxy names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address(pub IpAddr);

/// The rules of the HTTP door.
#[derive(Debug)]
pub struct Porter {
    requests: Buckets<IpAddr>,
    keys: Buckets<KeyId>,
    wrong: Buckets<IpAddr>,
    origins: Vec<Origin>,
    proxies: Vec<Network>,
    body_timeout: Duration,
    clock: Clock,
    limited: AtomicU64,
}

impl Porter {
    /// As the settings want it.
    pub fn new(http: &Http, clock: Clock) -> Self {
        Self {
            requests: Buckets::new(Limit::new(http.requests_per_s_max, http.requests_burst)),
            keys: Buckets::new(Limit::new(http.key_requests_per_s_max, http.key_requests_burst)),
            wrong: Buckets::new(Limit::every(WRONG_EVERY, WRONG_BURST)),
            origins: http.allowed_origins.clone(),
            proxies: http.trusted_proxies.clone(),
            body_timeout: http.body_timeout.std(),
            clock,
            limited: AtomicU64::new(0),
        }
    }

    /// Requests that were answered 429 by a limit of their address or key.
    pub fn limited(&self) -> u64 {
        self.limited.load(Relaxed)
    }

    fn limit(&self, detail: &str, wait: Millis) -> Problem {
        self.limited.fetch_add(1, Relaxed);
        Problem::limited(detail, wait)
    }

    /// A credential of this address was wrong.
    ///
    /// # Errors
    /// When it was wrong too often: the time until another try is answered.
    pub fn was_wrong(&self, caller: Address) -> Result<(), Millis> {
        self.wrong.take(network_of(caller.0), self.clock.now())
    }

    /// Goes from the nearest to the farthest: each proxy that is trusted is believed about the one before it.
    fn caller(&self, peer: IpAddr, headers: &HeaderMap) -> Address {
        let trusted = |address: IpAddr| self.proxies.iter().any(|proxy| proxy.contains(address));
        let mut nearest = peer;
        if !trusted(peer) {
            return Address(peer);
        }
        let lines: Vec<&str> = headers.get_all(FORWARDED_FOR).filter_map(|line| line.to_str().ok()).collect();
        for word in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
            let Some(address) = address_in(word.trim()) else { break };
            nearest = address;
            if !trusted(address) {
                break;
            }
        }
        Address(nearest.to_canonical())
    }

    /// This machine is not limited, unless a proxy on it says for whom it asks.
    fn admit(&self, caller: Address) -> Result<(), Problem> {
        if caller.0.is_loopback() {
            return Ok(());
        }
        let taken = self.requests.take(network_of(caller.0), self.clock.now());
        taken.map_err(|wait| self.limit("too many requests from this address; wait a little", wait))
    }

    /// Whether one more request with this key fits; asked once it is known whose it is.
    ///
    /// # Errors
    /// 429 when it does not.
    pub fn admit_key(&self, principal: &Principal) -> Result<(), Problem> {
        let Who::Key { id, .. } = &principal.who else { return Ok(()) };
        let taken = self.keys.take(*id, self.clock.now());
        taken.map_err(|wait| self.limit("too many requests with this key; wait a little", wait))
    }

    /// A page of another host may not change anything here, nor open a WebSocket, which browsers let it try. The
    /// dashboard's own pages come from the host that was asked; programs send no `Origin`.
    fn check_origin(&self, method: &Method, headers: &HeaderMap, by_proxy: bool) -> Result<(), Problem> {
        let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
        let only_reads = [Method::GET, Method::HEAD, Method::OPTIONS].contains(method);
        if only_reads && !headers.contains_key(UPGRADE) {
            return Ok(());
        }
        let origin = origin.to_str().ok().and_then(|origin| origin.parse::<Origin>().ok());
        let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let host = text(FORWARDED_HOST).filter(|_| by_proxy).or_else(|| text(HOST)).unwrap_or_default();
        let is_ours = |origin: &Origin| {
            let scheme = origin.as_str().split("://").next().unwrap_or_default();
            self.origins.contains(origin) || format!("{scheme}://{host}").parse().as_ref() == Ok(origin)
        };
        match origin.as_ref().is_some_and(is_ours) {
            true => Ok(()),
            false => Err(Problem::foreign_page(
                "a page of another origin may not do this; http.allowed_origins lists those that may",
            )),
        }
    }
}

/// An address as proxies write it: alone, in brackets, with a port.
fn address_in(word: &str) -> Option<IpAddr> {
    let bare = word.strip_prefix('[').and_then(|rest| rest.split(']').next());
    let without_port = || word.rsplit_once(':').map(|(address, _)| address);
    bare.unwrap_or(word).parse().ok().or_else(|| without_port()?.parse().ok())
}

/// The porter as a layer around all routes.
///
/// # Errors
/// Those of the handlers; its own refusals are answers.
pub async fn watch<B: MessageBody + 'static>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<Watched<B>, BoxBody>>, actix_web::Error> {
    let Some(service) = request.app_data::<web::Data<Service>>().map(|service| Arc::clone(service)) else {
        return Err(Problem::unreadable("the service is not ready").into());
    };
    let porter = &service.porter;
    let under_way = seat_of(request.request()).map(|seat| seat.begin());
    let peer = request.peer_addr().map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.ip());
    let caller = porter.caller(peer, request.headers());
    let by_proxy = porter.proxies.iter().any(|proxy| proxy.contains(peer));
    let checked =
        porter.admit(caller).and_then(|()| porter.check_origin(request.method(), request.headers(), by_proxy));
    if let Err(problem) = checked {
        return Ok(request.into_response(problem.error_response()).map_into_right_body());
    }
    request.extensions_mut().insert(caller);
    let presents = request.headers().contains_key(AUTHORIZATION);
    let late = Arc::<AtomicBool>::default();
    // A WebSocket's frames are the body of a GET, and no handler reads another one.
    if request.method() != Method::GET {
        let body = Patient::new(request.take_payload(), porter.body_timeout, Arc::clone(&late));
        request.set_payload(Payload::Stream { payload: Box::pin(body) });
    }
    let response = next.call(request).await?;
    let problem = if late.load(Relaxed) {
        Some(Problem::timeout("the body did not come in time"))
    } else if presents && response.status() == StatusCode::UNAUTHORIZED {
        let refused = porter.was_wrong(caller).err();
        refused.map(|wait| porter.limit("too many wrong credentials from this address", wait))
    } else {
        None
    };
    if let Some(problem) = problem {
        let answer = problem.error_response();
        return Ok(ServiceResponse::new(response.into_parts().0, answer).map_into_right_body());
    }
    if response.status() == StatusCode::SWITCHING_PROTOCOLS
        && let Some(seat) = seat_of(response.request())
    {
        seat.upgraded();
    }
    Ok(response.map_body(|_, body| EitherBody::left(Watched { body, _under_way: under_way })))
}

pin_project_lite::pin_project! {
    /// An answer's body; the request is under way until it is sent or given up.
    pub struct Watched<B> {
        #[pin]
        body: B,
        _under_way: Option<Request>,
    }
}

impl<B: MessageBody> MessageBody for Watched<B> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        self.project().body.poll_next(context)
    }

    fn try_into_bytes(self) -> Result<Bytes, Self> {
        let Self { body, _under_way } = self;
        body.try_into_bytes().map_err(|body| Self { body, _under_way })
    }
}

/// A request's body that must not keep us waiting too long in all. Only the time in which nothing was there to read
/// counts: a handler that takes its time is not the sender's fault.
struct Patient {
    inner: Payload,
    /// What is left of it.
    patience: Duration,
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
    late: Arc<AtomicBool>,
}

impl Patient {
    fn new(inner: Payload, patience: Duration, late: Arc<AtomicBool>) -> Self {
        Self { inner, patience, waiting: None, late }
    }
}

impl Stream for Patient {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Poll::Ready(item) = Pin::new(&mut self.inner).poll_next(context) {
            if let Some((since, _)) = self.waiting.take() {
                self.patience = self.patience.saturating_sub(since.elapsed());
            }
            if let Some(Ok(bytes)) = &item {
                let earned_ms = bytes.len() as u64 * 1_000 / BODY_BYTES_PER_S_LEAST;
                self.patience += Duration::from_millis(earned_ms);
            }
            return Poll::Ready(item);
        }
        let patience = self.patience;
        let (_, sleep) = self.waiting.get_or_insert_with(|| (Instant::now(), Box::pin(tokio::time::sleep(patience))));
        if sleep.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        self.late.store(true, Relaxed);
        let cause = std::io::Error::new(std::io::ErrorKind::TimedOut, "the body did not come in time");
        Poll::Ready(Some(Err(PayloadError::Io(cause))))
    }
}
