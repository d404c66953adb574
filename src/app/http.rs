//! The HTTP listener and the web server behind it, plain or TLS. Started by app.rs with the service that answers; tells
//! the visitors (api) of each connection.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::{App, HttpServer, middleware, web};
use anyhow::Context;
use socket2::SockRef;

use crate::api::visitors::{KEEP_ALIVE, socket_of};
use crate::api::{self, Service, porter};
use crate::gate::certificate::Certificate;
use crate::settings::Http;

/// Send buffer of a connection: above what a session sends without an answer, so that it is never frozen.
const SEND_BUFFER_BYTES: usize = 512 * 1024;
/// A peer that acknowledges nothing for so long is gone, whatever its actor believes.
const PEER_SILENCE: Duration = Duration::from_secs(60);

/// Takes the address, before anything slow is begun.
///
/// # Errors
/// One sentence when it is taken.
pub fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .with_context(|| format!("cannot listen for HTTP on {address}; free it or choose another with --http"))
}

/// The server, ready to be run; with a certificate it speaks HTTPS only.
///
/// # Errors
/// What the system says when the listener cannot be used.
pub fn serve(
    listener: TcpListener,
    certificate: Option<Arc<Certificate>>,
    settings: &Http,
    service: web::Data<Service>,
) -> anyhow::Result<Server> {
    let (secure, origins) = (certificate.is_some(), settings.allowed_origins.clone());
    let visitors = Arc::clone(&service.visitors);
    let server = HttpServer::new(move || {
        let service = service.clone();
        let headers = api::headers(&service.map, secure);
        App::new()
            .wrap(middleware::from_fn(porter::watch))
            .wrap(api::cross_origin(&origins))
            .wrap(api::compression())
            .wrap(headers)
            .configure(move |config| api::routes(config, service))
    });
    let server = server
        .workers(std::thread::available_parallelism().map_or(2, std::num::NonZero::get))
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(settings.header_timeout.std())
        .tls_handshake_timeout(settings.header_timeout.std())
        .on_connect(move |connection, kept| {
            let Some(stream) = socket_of(connection) else { return };
            harden(stream);
            if let Ok(peer) = stream.peer_addr() {
                visitors.come(stream, peer.ip(), kept);
            }
        })
        .disable_signals()
        .shutdown_timeout(1);
    let server = match certificate {
        Some(certificate) => server.listen_rustls_0_23(listener, certificate.server(b"http/1.1"))?,
        None => server.listen(listener)?,
    };
    Ok(server.run())
}

/// Dead peers are found by the kernel, and a dashboard that does not read cannot freeze its session.
fn harden(stream: &impl AsFd) {
    let socket = SockRef::from(stream);
    let set = [
        socket.set_keepalive(true),
        socket.set_tcp_nodelay(true),
        socket.set_send_buffer_size(SEND_BUFFER_BYTES),
        socket.set_tcp_user_timeout(Some(PEER_SILENCE)),
    ];
    for outcome in set.into_iter().filter(Result::is_err) {
        tracing::debug!(?outcome, "a socket option could not be set");
    }
}
