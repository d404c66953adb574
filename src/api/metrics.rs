//! `GET /metrics`: the counters of every part, in the text form Prometheus reads.
//! Fed by each part's own counters at the moment of the scrape; nothing is kept here.

use actix_web::{HttpResponse, web};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet, text};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::sync::atomic::Ordering::Relaxed;

use super::Service;
use crate::domain::transition::Status;
use crate::fleet::heartbeat_log::Counts;
use crate::telemetry::BUCKETS_MS;

#[derive(Debug)]
struct Scrape(web::Data<Service>);

impl std::fmt::Debug for Service {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Service")
    }
}

/// All metrics.
pub async fn text(service: web::Data<Service>) -> HttpResponse {
    let mut registry = Registry::with_prefix("rollcall");
    registry.register_collector(Box::new(Scrape(service)));
    let mut body = String::new();
    match text::encode(&mut body, &registry) {
        Ok(()) => {
            HttpResponse::Ok().content_type("application/openmetrics-text; version=1.0.0; charset=utf-8").body(body)
        }
        Err(error) => HttpResponse::InternalServerError().body(error.to_string()),
    }
}

impl Collector for Scrape {
    fn encode(&self, mut out: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let service = &self.0;
        let fleet = &service.counters;
        gauge(
            &mut out,
            "listening",
            "1 while heartbeats can be heard",
            i64::from(service.feed.observation().1.listening),
        )?;
        counter(&mut out, "heartbeats", "Inputs taken", service.door.taken())?;
        counter(&mut out, "duplicates", "Heartbeats that came twice", fleet.duplicates.load(Relaxed))?;
        counter(&mut out, "ignored", "Messages that say nothing of a status", service.door.ignored())?;
        let over_limit = service.registry.over_limit();
        counter(&mut out, "over_limit", "Heartbeats of which only the arrival was noted", over_limit)?;
        counter(&mut out, "backlog", "Heartbeats that had waited somewhere", fleet.backlog.load(Relaxed))?;
        counter(&mut out, "transitions", "Changes of status decided", fleet.transitions.load(Relaxed))?;
        counter(&mut out, "vehicle_restarts", "Vehicle actors made anew after a panic", fleet.restarts.load(Relaxed))?;
        let help = "Vehicles whose clock is off by more than fleet.future_max, ahead or behind";
        gauge(&mut out, "vehicles_clock_off", help, fleet.clocks_off.load(Relaxed))?;
        gauge(&mut out, "intake_waiting", "Inputs waiting for their shard", service.registry.waiting() as i64)?;
        gauge(&mut out, "mqtt_connections", "Connections to the embedded broker", (service.connections)() as i64)?;
        let (turned_away, timed_out) = (service.unwelcome)();
        counter(&mut out, "mqtt_turned_away", "Connections over a limit of the embedded broker", turned_away)?;
        counter(&mut out, "mqtt_connect_timeouts", "Connections that sent no CONNECT in time", timed_out)?;
        let denied = service.access.denied();
        counter(&mut out, "access_denied", "Keys, passwords, sessions and tickets that were turned away", denied)?;
        let limited = service.logins.limited();
        counter(&mut out, "sign_in_limited", "Attempts to sign in that were not even read", limited)?;
        gauge(&mut out, "dashboards", "WebSocket clients", service.feed.dashboards() as i64)?;
        gauge(&mut out, "store_up", "1 while the store takes writes", i64::from(service.health.fault().is_none()))?;
        gauge(&mut out, "stats_streams", "Streams of statistics", service.streams.open() as i64)?;
        let help = "Windows computed for streams of statistics, each for all who listen to the same";
        counter(&mut out, "stats_computations", help, service.streams.computations())?;
        self.exports(&mut out)?;
        self.heartbeat_log(&mut out)?;
        self.http(&mut out)?;
        self.spool(&mut out)?;
        let help = "Stored statuses that somebody changed and that were mended from their transitions";
        counter(&mut out, "store_repairs", help, service.health.repaired())?;
        super::canary::metrics(service, &mut out)?;
        self.statuses(&mut out)?;
        self.vehicles(&mut out)?;
        self.refused(&mut out)?;
        self.detection_lag(&mut out)
    }
}

impl Scrape {
    fn exports(&self, out: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let exports = &self.0.exports;
        gauge(out, "exports_running", "Exports that are worked on", exports.running() as i64)?;
        counter(out, "exports_finished", "Exports that became a file", exports.counts.finished.load(Relaxed))?;
        let help = "Tries at an export that failed and will be made again";
        counter(out, "exports_retried", help, exports.counts.tried.load(Relaxed))?;
        counter(out, "exports_failed", "Exports given up", exports.counts.failed.load(Relaxed))?;
        let archives = &self.0.archives;
        gauge(out, "archive_files", "Files of the archive", archives.count() as i64)?;
        let help = "Files of the archive that could not be made; nothing of their time is dropped";
        counter(out, "archive_failed", help, archives.failed.load(Relaxed))
    }

    fn heartbeat_log(&self, out: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let none = Counts::default();
        let counts = self.0.heartbeat_log.as_deref().unwrap_or(&none);
        counter(out, "heartbeats_logged", "Heartbeats written to the log", counts.logged.load(Relaxed))?;
        counter(out, "heartbeats_log_dropped", "Heartbeats the log had no room for", counts.dropped.load(Relaxed))?;
        let help = "Heartbeats older than the log reaches back";
        counter(out, "heartbeats_log_expired", help, counts.expired.load(Relaxed))?;
        gauge(out, "heartbeats_log_waiting", "Heartbeats waiting for the log", counts.waiting.load(Relaxed) as i64)
    }

    fn http(&self, out: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let visitors = &self.0.visitors;
        gauge(out, "http_connections", "Connections to the HTTP door", visitors.count() as i64)?;
        counter(out, "http_turned_away", "HTTP connections over a limit", visitors.turned_away())?;
        counter(out, "http_silent", "HTTP connections closed for their silence", visitors.fallen_silent())?;
        counter(
            out,
            "http_limited",
            "Requests answered 429 by a limit of their address or key",
            self.0.porter.limited(),
        )
    }

    fn spool(&self, out: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let health = &self.0.health;
        let spool = health.spool().unwrap_or_default();
        let age_ms = spool.oldest.map_or(0, |oldest| (self.0.clock.today() - oldest).max(0));
        gauge(out, "spool_rows", "Transitions not yet in the store, in memory and spool", health.waiting() as i64)?;
        gauge(out, "memory_rows", "Transitions not yet durable, in memory only", health.pending() as i64)?;
        gauge(out, "spool_bytes", "Bytes of the spool", spool.bytes as i64)?;
        gauge(out, "spool_oldest_seconds", "Age of the first transition in the spool", age_ms / 1_000)?;
        gauge(out, "durable", "0 while what is decided can be kept in memory only", health.stuck().is_none().into())?;
        counter(out, "spool_damaged_segments", "Files of the spool set aside since the start", spool.damaged)?;
        counter(out, "spool_torn_tails", "Unfinished records cut off since the start", spool.torn)
    }

    fn statuses(&self, out: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let statuses = &self.0.statuses;
        counter(out, "statuses_published", "Transitions published by MQTT", statuses.published.load(Relaxed))?;
        counter(out, "statuses_skipped", "Transitions overtaken before they went out", statuses.skipped.load(Relaxed))?;
        counter(out, "statuses_refused", "Transitions the broker refused", statuses.refused.load(Relaxed))
    }

    fn vehicles(&self, out: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let counts = self.0.feed.board().counts(&Default::default());
        let kind = prometheus_client::metrics::MetricType::Gauge;
        let mut family = out.encode_descriptor("vehicles", "Vehicles by status", None, kind)?;
        for status in Status::ALL {
            let labels = [("status", status.word())];
            ConstGauge::new(i64::from(counts.of(status))).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn refused(&self, out: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let kind = prometheus_client::metrics::MetricType::Counter;
        let mut family = out.encode_descriptor("refused", "Messages refused by reason", None, kind)?;
        for (reason, count) in self.0.door.refused().counts() {
            ConstCounter::new(count).encode(family.encode_family(&[("reason", reason.word())])?)?;
        }
        Ok(())
    }

    fn detection_lag(&self, out: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let (buckets, count, sum_ms) = self.0.counters.detection_lag.histogram();
        let kind = prometheus_client::metrics::MetricType::Histogram;
        let unit = prometheus_client::registry::Unit::Seconds;
        let help = "From a deadline to the moment it was seen to have passed";
        let mut histogram = out.encode_descriptor("detection_lag", help, Some(&unit), kind)?;
        let mut bounds: Vec<(f64, u64)> =
            BUCKETS_MS.iter().zip(buckets).map(|(end, count)| (*end as f64 / 1e3, count)).collect();
        bounds.push((f64::INFINITY, count - buckets.iter().sum::<u64>()));
        histogram.encode_histogram::<NoLabelSet>(sum_ms as f64 / 1e3, count, &bounds, None)
    }
}

fn gauge(out: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: i64) -> Result<(), std::fmt::Error> {
    let gauge = ConstGauge::new(value);
    gauge.encode(out.encode_descriptor(name, help, None, gauge.metric_type())?)
}

fn counter(out: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> Result<(), std::fmt::Error> {
    let counter = ConstCounter::new(value);
    counter.encode(out.encode_descriptor(name, help, None, counter.metric_type())?)
}
