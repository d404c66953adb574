//! The HTTP door: the table of all routes, and what their handlers share.
//! Reads the board (live) and the store (history); feeds the door with heartbeats; hands WebSockets to live sessions.

mod assets;
pub mod auth;
mod availability;
mod body;
mod canary;
mod customers;
pub mod demo;
mod error;
mod export;
mod heartbeats;
mod import;
mod live;
mod map;
mod metrics;
mod openapi;
mod orders;
mod page;
mod params;
mod quarantine;
pub mod rate;
mod refused;
mod registry;
mod stats;
mod status;
mod transitions;
mod vehicles;
mod warnings;

use std::path::PathBuf;
use std::sync::Arc;

use actix::Addr;
use actix_web::middleware::{Compress, DefaultHeaders};
use actix_web::{Resource, Route, guard, web};

use crate::clock::Clock;
use crate::domain::policy::Rules;
use crate::fleet::customers::Customers;
use crate::fleet::desk::Desk;
use crate::fleet::outbox::FleetCounters;
use crate::fleet::persister::StoreHealth;
use crate::fleet::registry::Registry;
use crate::fleet::rollups::Counted;
use crate::ingest::canary::Canary;
use crate::ingest::door::Door;
use crate::ingest::publisher;
use crate::live::feed::Feed;
use crate::live::hub::Hub;
use crate::settings::Map as MapSettings;
use crate::store::Store;
use crate::telemetry::warnings::Warnings;
use error::Problem;

/// What the handlers share.
pub struct Service {
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

/// Puts every route into the application.
pub fn routes(config: &mut web::ServiceConfig, service: web::Data<Service>) {
    let api = web::scope("/api/v1")
        .wrap(DefaultHeaders::new().add(("Cache-Control", "no-store")))
        .service(get("/vehicles", read().to(vehicles::list)))
        .service(get("/vehicles/export", read().to(export::export)))
        .service(only("/vehicles/import", "POST", web::post().to(import::import)))
        .service(several(
            "/customers/{customer}/vehicles/{vehicle}",
            "GET, HEAD, PUT, PATCH, DELETE",
            [
                read().to(vehicles::one),
                web::put().to(registry::put),
                web::patch().to(registry::patch),
                web::delete().to(registry::delete),
            ],
        ))
        .service(only("/customers/{customer}/vehicles/{vehicle}/transfer", "POST", web::post().to(registry::transfer)))
        .service(get("/customers/{customer}/vehicles/{vehicle}/transfers", read().to(registry::transfers)))
        .service(get("/customers/{customer}/vehicles/{vehicle}/transitions", read().to(transitions::of_vehicle)))
        .service(get("/customers/{customer}/vehicles/{vehicle}/availability", read().to(availability::of_vehicle)))
        .service(get("/availability", read().to(availability::of_fleet)))
        .service(get("/stats", read().to(stats::list)))
        .service(get("/transitions", read().to(transitions::of_fleet)))
        .service(several(
            "/customers",
            "GET, HEAD, POST",
            [read().to(customers::list), web::post().to(customers::create)],
        ))
        .service(several(
            "/customers/{customer}",
            "GET, HEAD, PATCH, DELETE",
            [read().to(customers::one), web::patch().to(customers::patch), web::delete().to(customers::delete)],
        ))
        .service(get("/status", read().to(status::status)))
        .service(get("/refused", read().to(refused::list)))
        .service(get("/quarantine", read().to(quarantine::list)))
        .service(only("/quarantine/{customer}/{vehicle}/accept", "POST", web::post().to(quarantine::accept)))
        .service(only("/quarantine/{customer}/{vehicle}", "DELETE", web::delete().to(quarantine::dismiss)))
        .service(get("/warnings", read().to(warnings::list)))
        .service(get("/observation-gaps", read().to(status::observation_gaps)))
        .service(only("/heartbeats", "POST", web::post().to(heartbeats::take)))
        .service(get("/live", read().to(live::upgrade)))
        .service(get("/live/snapshot", read().to(live::snapshot)))
        .service(get("/map", read().to(map::settings)))
        .service(only("/demo/{customer}/{vehicle}/silence", "POST", web::post().to(demo::silence)))
        .service(only("/demo/{customer}/{vehicle}/wake", "POST", web::post().to(demo::wake)))
        .service(get("/openapi.json", read().to(openapi::document)))
        .configure(openapi::page)
        .default_service(web::to(error::unknown_path));
    config
        .app_data(service)
        .app_data(web::PayloadConfig::new(body::BODY_BYTES_MAX))
        .service(get("/healthz", read().to(status::healthz)))
        .service(get("/readyz", read().to(status::readyz)))
        .service(get("/metrics", read().to(metrics::text)))
        .service(get("/openapi.json", read().to(openapi::document)))
        .service(web::redirect("/docs", "/api/v1/docs/"))
        .service(get("/", read().to(page::page)))
        .service(api)
        .default_service(web::to(assets::serve));
}

/// Only our own scripts, styles and sockets: a vehicle's name can never become code. Pictures and data also from the
/// hosts that the operator chose for the map; never scripts.
fn content_security_policy(map: &MapSettings) -> String {
    let hosts: String = map.origins().iter().map(|origin| format!(" {origin}")).collect();
    format!(
        "default-src 'self'; connect-src 'self' ws: wss:{hosts}; img-src 'self' data: blob:{hosts}; \
         worker-src 'self'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'"
    )
}

/// Headers of every answer. Compression leaves WebSockets alone.
pub fn headers(map: &MapSettings) -> DefaultHeaders {
    DefaultHeaders::new()
        .add(("Content-Security-Policy", content_security_policy(map)))
        .add(("X-Content-Type-Options", "nosniff"))
        .add(("Referrer-Policy", "no-referrer"))
}

/// Compression of answers, for clients that ask for it.
pub fn compression() -> Compress {
    Compress::default()
}

fn read() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

/// GET, and HEAD, which is answered alike but without the body.
fn get(path: &str, handler: Route) -> Resource {
    only(path, "GET, HEAD", handler)
}

fn only(path: &str, method: &'static str, route: Route) -> Resource {
    several(path, method, [route])
}

fn several<const N: usize>(path: &str, methods: &'static str, routes: [Route; N]) -> Resource {
    let refuse = move || async move { Err::<actix_web::HttpResponse, Problem>(Problem::method(methods)) };
    let resource = routes.into_iter().fold(web::resource(path), Resource::route);
    resource.default_service(web::to(refuse))
}
