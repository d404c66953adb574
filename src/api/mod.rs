//! The HTTP door: the table of all routes with who may use them, and what their handlers share.
//! Reads the board (live) and the store (history); feeds the door with heartbeats; hands WebSockets to live sessions.

mod archived;
mod assets;
mod audit;
mod auth;
mod availability;
mod body;
mod canary;
mod cookie;
mod customers;
pub mod demo;
mod downloads;
mod error;
mod export;
mod exports;
mod heartbeat_log;
mod heartbeats;
mod import;
mod keys;
mod live;
mod map;
mod metrics;
#[cfg(feature = "oidc")]
mod oidc;
#[cfg(not(feature = "oidc"))]
#[path = "no_oidc.rs"]
mod oidc;
mod openapi;
mod orders;
mod page;
mod params;
mod parts;
pub mod porter;
mod quarantine;
pub mod rate;
mod refused;
mod registry;
mod sessions;
mod stats;
pub mod stats_stream;
mod status;
mod transitions;
mod users;
mod vehicles;
mod vehicles_at;
pub mod visitors;
mod warnings;

use std::path::PathBuf;
use std::sync::Arc;

use actix::Addr;
use actix_cors::Cors;
use actix_web::middleware::{Compress, Condition, DefaultHeaders};
use actix_web::{FromRequest, Handler, Resource, Responder, Route, guard, web};

use crate::access::Access;
use crate::access::logins::Logins;
use crate::access::oidc::Oidc;
use crate::clock::Clock;
use crate::domain::access::Scope::{Admin, Ingest, Manage, Read};
use crate::domain::policy::Rules;
use crate::exports::Exports;
use crate::fleet::customers::Customers;
use crate::fleet::desk::Desk;
use crate::fleet::heartbeat_log::Counts;
use crate::fleet::outbox::FleetCounters;
use crate::fleet::persister::StoreHealth;
use crate::fleet::registry::Registry;
use crate::fleet::rollups::Counted;
use crate::ingest::canary::Canary;
use crate::ingest::door::Door;
use crate::ingest::publisher;
use crate::live::feed::Feed;
use crate::live::hub::Hub;
use crate::live::relay::Relay;
use crate::settings::{HeartbeatsKept, Map as MapSettings, Origin};
use crate::store::Store;
use crate::store::archive::Archives;
use crate::store::retention::Horizons;
use crate::telemetry::warnings::Warnings;
use auth::Gate::{self, Customer, Fleet, Known, Public, Socket};
use auth::gated;
use error::Problem;

/// What the handlers share.
pub struct Service {
    /// Who may come in.
    pub access: Arc<Access>,
    /// Who may sign in.
    pub logins: Arc<Logins>,
    /// Another place to sign in at.
    pub oidc: Option<Arc<Oidc>>,
    /// The board and the live push.
    pub feed: Arc<Feed>,
    /// Its writer.
    pub hub: Addr<Hub>,
    /// The way in.
    pub door: Arc<Door>,
    /// Who is known.
    pub registry: Arc<Registry>,
    /// Who changes who is known.
    pub desk: Addr<Desk>,
    /// The past.
    pub store: Arc<dyn Store>,
    /// How far the statistics are.
    pub counted: Arc<Counted>,
    /// Which heartbeats are kept.
    pub heartbeats_kept: HeartbeatsKept,
    /// How far back history reaches.
    pub horizons: Arc<Horizons>,
    /// Where what is older lies.
    pub archives: Arc<Archives>,
    /// How the heartbeat log is doing, where heartbeats are kept.
    pub heartbeat_log: Option<Arc<Counts>>,
    /// Who listens to them.
    pub streams: stats_stream::Streams,
    /// The past as files.
    pub exports: Arc<Exports>,
    /// How the store is doing.
    pub health: Arc<StoreHealth>,
    /// Counters of the fleet.
    pub counters: Arc<FleetCounters>,
    /// What operators are warned of.
    pub warnings: Arc<Warnings>,
    /// Counters of the statuses published by MQTT.
    pub statuses: Arc<publisher::Counts>,
    /// The proof that we hear.
    pub canary: Arc<Canary>,
    /// What is registered of customers.
    pub customers: Arc<Customers>,
    /// What holds for all vehicles.
    pub rules: Rules,
    /// The clock.
    pub clock: Clock,
    /// Heartbeats a second.
    pub rate: Arc<rate::Rate>,
    /// MQTT connections, when the broker is ours.
    pub connections: Box<dyn Fn() -> usize + Send + Sync>,
    /// MQTT connections turned away, and those that did not say who they are in time.
    pub unwelcome: Box<dyn Fn() -> (u64, u64) + Send + Sync>,
    /// Who is connected by HTTP.
    pub visitors: Arc<visitors::Visitors>,
    /// The rules of the HTTP door.
    pub porter: porter::Porter,
    /// Serve the dashboard from this folder.
    pub web_dir: Option<PathBuf>,
    /// Largest import, in bytes.
    pub import_bytes_max: u64,
    /// What the map is made of.
    pub map: MapSettings,
    /// Orders of lists that are being read.
    pub orders: orders::Orders,
    /// The simulated fleet of the demo.
    pub demo: Arc<demo::Fleet>,
}

/// Puts every route into the application of one worker thread, on that thread.
pub fn routes(config: &mut web::ServiceConfig, service: web::Data<Service>) {
    let api = web::scope("/api/v1")
        .wrap(DefaultHeaders::new().add(("Cache-Control", "no-store")))
        .service(get("/vehicles", read(Customer(Read), vehicles::list)))
        .service(get("/vehicles/export", read(Customer(Read), export::export)))
        .service(only("/vehicles/import", "POST", [gated(web::post(), Customer(Manage), import::import)]))
        .service(only(
            "/customers/{customer}/vehicles/{vehicle}",
            "GET, HEAD, PUT, PATCH, DELETE",
            [
                read(Customer(Read), vehicles::one),
                gated(web::put(), Customer(Manage), registry::put),
                gated(web::patch(), Customer(Manage), registry::patch),
                gated(web::delete(), Customer(Manage), registry::delete),
            ],
        ))
        .service(only(
            "/customers/{customer}/vehicles/{vehicle}/transfer",
            "POST",
            [gated(web::post(), Fleet(Manage), registry::transfer)],
        ))
        .service(get("/customers/{customer}/vehicles/{vehicle}/transfers", read(Customer(Read), registry::transfers)))
        .service(get(
            "/customers/{customer}/vehicles/{vehicle}/transitions",
            read(Customer(Read), transitions::of_vehicle),
        ))
        .service(get(
            "/customers/{customer}/vehicles/{vehicle}/heartbeats",
            read(Customer(Read), heartbeat_log::of_vehicle),
        ))
        .service(get(
            "/customers/{customer}/vehicles/{vehicle}/availability",
            read(Customer(Read), availability::of_vehicle),
        ))
        .service(get("/availability", read(Customer(Read), availability::of_fleet)))
        .service(get("/stats", read(Customer(Read), stats::list)))
        .service(only("/stats/stream", "GET", [gated(web::get(), Customer(Read), stats_stream::open)]))
        .service(get("/transitions", read(Customer(Read), transitions::of_fleet)))
        .service(only(
            "/exports",
            "GET, HEAD, POST",
            [read(Customer(Read), exports::list), gated(web::post(), Customer(Read), exports::create)],
        ))
        .service(only(
            "/exports/{id}",
            "GET, HEAD, DELETE",
            [read(Customer(Read), exports::one), gated(web::delete(), Customer(Read), exports::remove)],
        ))
        .service(get("/exports/{id}/file", read(Public, downloads::file)))
        .service(only(
            "/customers",
            "GET, HEAD, POST",
            [read(Customer(Read), customers::list), gated(web::post(), Fleet(Manage), customers::create)],
        ))
        .service(only(
            "/customers/{customer}",
            "GET, HEAD, PATCH, DELETE",
            [
                read(Customer(Read), customers::one),
                gated(web::patch(), Customer(Manage), customers::patch),
                gated(web::delete(), Fleet(Manage), customers::delete),
            ],
        ))
        .service(get("/status", read(Customer(Read), status::status)))
        .service(get("/refused", read(Fleet(Read), refused::list)))
        .service(get("/quarantine", read(Customer(Read), quarantine::list)))
        .service(only(
            "/quarantine/{customer}/{vehicle}/accept",
            "POST",
            [gated(web::post(), Customer(Manage), quarantine::accept)],
        ))
        .service(only(
            "/quarantine/{customer}/{vehicle}",
            "DELETE",
            [gated(web::delete(), Customer(Manage), quarantine::dismiss)],
        ))
        .service(get("/warnings", read(Customer(Read), warnings::list)))
        .service(get("/observation-gaps", read(Customer(Read), status::observation_gaps)))
        .service(only("/heartbeats", "POST", [gated(web::post(), Customer(Ingest), heartbeats::take)]))
        .service(get("/live", read(Socket(Read), live::upgrade)))
        .service(get("/live/snapshot", read(Customer(Read), live::snapshot)))
        .service(only("/live/ticket", "POST", [gated(web::post(), Customer(Read), live::ticket)]))
        .service(only(
            "/keys",
            "GET, HEAD, POST",
            [read(Customer(Admin), keys::list), gated(web::post(), Customer(Admin), keys::create)],
        ))
        .service(only(
            "/keys/{key}",
            "GET, HEAD, DELETE",
            [read(Customer(Admin), keys::one), gated(web::delete(), Customer(Admin), keys::revoke)],
        ))
        .service(only(
            "/users",
            "GET, HEAD, POST",
            [read(Customer(Manage), users::list), gated(web::post(), Customer(Manage), users::create)],
        ))
        .service(only(
            "/users/{user}",
            "GET, HEAD, PATCH",
            [read(Customer(Manage), users::one), gated(web::patch(), Customer(Manage), users::change)],
        ))
        .service(only(
            "/sessions",
            "GET, HEAD, POST, DELETE",
            [
                read(Known, sessions::list),
                gated(web::post(), Public, sessions::begin),
                gated(web::delete(), Known, sessions::end_all),
            ],
        ))
        .service(only(
            "/sessions/current",
            "GET, HEAD, DELETE",
            [read(Known, sessions::current), gated(web::delete(), Known, sessions::end_current)],
        ))
        .service(only("/sessions/current/password", "POST", [gated(web::post(), Known, sessions::change_password)]))
        .service(get("/audit", read(Customer(Admin), audit::list)))
        .service(get("/map", read(Customer(Read), map::settings)))
        .service(only(
            "/demo/{customer}/{vehicle}/silence",
            "POST",
            [gated(web::post(), Customer(Manage), demo::silence)],
        ))
        .service(only("/demo/{customer}/{vehicle}/wake", "POST", [gated(web::post(), Customer(Manage), demo::wake)]))
        .service(get("/openapi.json", read(Public, openapi::document)))
        .configure(openapi::page)
        .default_service(web::to(error::unknown_path));
    config
        .app_data(web::Data::from(Arc::clone(&service.access)))
        .app_data(web::Data::new(Relay::start_here(service.hub.clone())))
        .app_data(service)
        .app_data(web::PayloadConfig::new(body::BODY_BYTES_MAX))
        .service(get("/healthz", read(Public, status::healthz)))
        .service(get("/readyz", read(Public, status::readyz)))
        .service(get("/metrics", read(Fleet(Read), metrics::text)))
        .service(get("/openapi.json", read(Public, openapi::document)))
        .service(web::redirect("/docs", "/api/v1/docs/"))
        .service(get("/", read(Public, page::page)))
        .service(get("/login", read(Public, page::sign_in)))
        .service(get("/login/password", read(Public, page::change_password)))
        .service(only("/login/oidc", "GET", [gated(web::get(), Public, oidc::depart)]))
        .service(only("/login/oidc/callback", "GET", [gated(web::get(), Public, oidc::arrive)]))
        .service(api)
        .default_service(web::to(assets::serve));
}

/// Only our own scripts, styles and sockets: a vehicle's name can never become code. Pictures and data also from the
/// hosts that the operator chose for the map; never scripts.
fn content_security_policy(map: &MapSettings) -> String {
    let hosts: String = map.origins().iter().map(|origin| format!(" {origin}")).collect();
    format!(
        "default-src 'self'; connect-src 'self' ws: wss:{hosts}; img-src 'self' data: blob:{hosts}; \
         worker-src 'self'; style-src 'self'; object-src 'none'; form-action 'self'; \
         frame-ancestors 'none'; base-uri 'none'"
    )
}

/// Headers of every answer. Compression leaves WebSockets alone.
/// `secure`: over HTTPS, which browsers are to insist on from then on, for half a year.
pub fn headers(map: &MapSettings, secure: bool) -> DefaultHeaders {
    let headers = DefaultHeaders::new()
        .add(("Content-Security-Policy", content_security_policy(map)))
        .add(("X-Content-Type-Options", "nosniff"))
        .add(("X-Frame-Options", "DENY"))
        .add(("Cross-Origin-Opener-Policy", "same-origin"))
        .add(("Permissions-Policy", "camera=(), microphone=(), geolocation=()"))
        .add(("Referrer-Policy", "no-referrer"));
    if secure { headers.add(("Strict-Transport-Security", "max-age=15768000")) } else { headers }
}

/// What pages of the listed origins are told that they may do. None listed: nobody is told anything.
pub fn cross_origin(origins: &[Origin]) -> Condition<Cors> {
    let listed = origins.iter().fold(Cors::default(), |cors, origin| cors.allowed_origin(origin.as_str()));
    let cors = listed
        .allowed_methods(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
        .allowed_headers(["authorization", "content-type", "if-match", "if-none-match"])
        .expose_headers(["etag", "retry-after", "location"])
        .max_age(600);
    Condition::new(!origins.is_empty(), cors)
}

/// Compression of answers, for clients that ask for it.
pub fn compression() -> Compress {
    Compress::default()
}

/// GET, and HEAD, which is answered alike but without the body.
fn read<F, Args>(gate: Gate, handler: F) -> Route
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    gated(web::route().guard(guard::Any(guard::Get()).or(guard::Head())), gate, handler)
}

/// A path with nothing but [`read`].
fn get(path: &str, route: Route) -> Resource {
    only(path, "GET, HEAD", [route])
}

/// A path with these routes; `methods` are all of theirs.
fn only<const N: usize>(path: &str, methods: &'static str, routes: [Route; N]) -> Resource {
    let refuse = move || async move { Err::<actix_web::HttpResponse, Problem>(Problem::method(methods)) };
    routes.into_iter().fold(web::resource(path), Resource::route).default_service(web::to(refuse))
}
