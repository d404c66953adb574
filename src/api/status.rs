//! How the service itself is doing: `GET /status`, `/healthz`, `/readyz`, `/observation-gaps`.
//! Fed by every part's own counters.

use std::sync::atomic::Ordering::Relaxed;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use serde_json::{Value, json};

use super::Service;
use super::assets;
use super::canary;
use super::error::Problem;
use super::params::Params;
use super::vehicles::CountsView;
use crate::domain::query::Filter;
use crate::domain::time::{self, Millis, rfc3339};

/// Everything an operator asks first. Whoever may see one customer only gets what is about itself, and whether we hear:
/// how busy the others are is their affair.
pub async fn status(request: HttpRequest, service: web::Data<Service>) -> Result<HttpResponse, Problem> {
    let params = Params::read(&request, &[])?;
    let own = params.caller().customer.clone();
    let is_of_all = own.is_none();
    let counts: CountsView = service.feed.board().counts(&Filter::default().within(own)).into();
    let observation = service.feed.observation().1;
    let mut answer = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "web_files": assets::mark(&service),
        "started_at": rfc3339(service.clock.date(service.clock.started_at())),
        "listening": observation.listening,
        "listening_since": observation.since.map(rfc3339),
        "blind_scope": if observation.listening { None } else { Some(observation.scope) },
        "blind_cause": if observation.listening { None } else { Some(observation.cause) },
        "vehicles": counts,
        "demo": service.demo.get().is_some(),
    });
    if is_of_all && let (Some(answer), Value::Object(whole)) = (answer.as_object_mut(), of_all(&service)) {
        answer.extend(whole);
    }
    Ok(HttpResponse::Ok().json(answer))
}

/// What is about all customers together.
fn of_all(service: &Service) -> Value {
    let lag = service.counters.detection_lag.summary();
    let spool = service.health.spool();
    let oldest = spool.and_then(|spool| spool.oldest);
    json!({
        "clock": { "stepped_ms": service.clock.stepped(), "slept_ms": service.clock.slept() },
        "intake": {
            "per_s": service.rate.per_s(),
            "total": service.door.taken(),
            "refused": service.door.refused().total(),
            "waiting": service.registry.waiting(),
            "connections": (service.connections)(),
        },
        "store": {
            "kind": service.store.kind(),
            "ok": service.health.fault().is_none(),
            "spool_rows": service.health.waiting(),
            "memory_rows": service.health.pending(),
            "spool_bytes": spool.map(|spool| spool.bytes),
            "oldest_waiting_ms": oldest.map(|oldest| (service.clock.today() - oldest).max(0)),
            "stuck": service.health.stuck(),
            "repaired_rows": service.health.repaired(),
        },
        "heartbeat_log": heartbeat_log(service),
        "archive": {
            "files": service.archives.count(),
            "failed": service.archives.failed.load(Relaxed),
            "fault": service.archives.fault(),
        },
        "canary": canary::view(service),
        "dashboards": service.feed.dashboards(),
        "detection_lag_ms": { "p50": lag.p50, "p99": lag.p99, "max": lag.max },
    })
}

/// Null while no heartbeats are kept.
fn heartbeat_log(service: &Service) -> Value {
    let Some(counts) = &service.heartbeat_log else { return Value::Null };
    json!({
        "kept": service.heartbeats_kept.word(),
        "logged": counts.logged.load(Relaxed),
        "dropped": counts.dropped.load(Relaxed),
        "expired": counts.expired.load(Relaxed),
        "waiting": counts.waiting.load(Relaxed),
    })
}

/// The process runs.
pub async fn healthz() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "ok" }))
}

/// The service can do its job: it hears, and what it decides can be kept, in the store or in the spool. 503 with the
/// reasons when not; 200 and `degraded` while only the store is away.
pub async fn readyz(service: web::Data<Service>) -> HttpResponse {
    let observation = service.feed.observation().1;
    let mut reasons = Vec::new();
    if !observation.listening {
        reasons.push(format!("not listening: {}", observation.cause));
    }
    let mut degraded = Vec::new();
    if service.health.fault().is_some() {
        degraded.push(format!("the {} store takes no writes", service.store.kind()));
    }
    if let Some(why) = service.health.stuck() {
        reasons.append(&mut degraded);
        reasons.push(format!("what is decided cannot be kept on disk: {why}"));
    }
    reasons.extend(canary::push_fault(service.clock.now(), service.feed.pushed_until()));
    match reasons.is_empty() {
        true if degraded.is_empty() => HttpResponse::Ok().json(json!({ "ready": true })),
        true => HttpResponse::Ok().json(json!({ "ready": true, "degraded": degraded })),
        false => HttpResponse::ServiceUnavailable().json(json!({ "ready": false, "reasons": reasons })),
    }
}

#[derive(Serialize)]
struct GapView {
    scope: String,
    #[serde(serialize_with = "time::as_text::serialize")]
    from: Millis,
    #[serde(serialize_with = "time::as_optional_text::serialize")]
    to: Option<Millis>,
    cause: String,
}

/// When Rollcall could not hear, oldest first.
pub async fn observation_gaps(request: HttpRequest, service: web::Data<Service>) -> Result<HttpResponse, Problem> {
    let params = Params::read(&request, &["from", "to"])?;
    let (from, to) = params.range()?;
    let found = service.store.gaps(from.unwrap_or(0), to.unwrap_or(time::LATEST)).await;
    let found = found.map_err(|error| Problem::store(&error))?.into_iter();
    let items: Vec<GapView> =
        found.map(|gap| GapView { scope: gap.scope, from: gap.from, to: gap.to, cause: gap.cause }).collect();
    Ok(HttpResponse::Ok().json(json!({ "items": items, "next_cursor": null })))
}
