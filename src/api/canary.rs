//! What the canary proves, for `/status`, `/metrics` and `/readyz`: how long its heartbeats take to each stage, and how
//! far each stage of the way is behind. Fed by the canary, the lanes and the hub.

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::{MetricType, counter::ConstCounter};
use prometheus_client::registry::Unit;
use serde_json::{Value, json};

use super::Service;
use crate::domain::time::{Millis, rfc3339};
use crate::ingest::canary::{Stage, State};

/// Without a push for so long the hub is dead or stuck: it pushes several times a second, whether or not there is news.
const PUSH_SILENCE_MAX: Millis = 30_000;

/// The canary in `/status`.
pub fn view(service: &Service) -> Value {
    let (state, cause) = service.canary.state();
    let (beats, overtaken) = service.canary.counts();
    let stage = |stage: Stage| {
        let reached = service.canary.at(stage);
        reached.map(|reached| json!({ "lag_ms": reached.at - reached.published, "at": rfc3339(reached.at) }))
    };
    json!({
        "state": state.word(),
        "cause": cause,
        "beats": beats,
        "overtaken": overtaken,
        "acked": stage(Stage::Acked),
        "heard": stage(Stage::Heard),
        "board": stage(Stage::Board),
        "pushed": stage(Stage::Pushed),
        "undurable_ms": service.canary.undurable(),
    })
}

/// Why dashboards show an old picture, when they do.
pub fn push_fault(now: Millis, pushed_until: Millis) -> Option<String> {
    let silent = now - pushed_until;
    (silent > PUSH_SILENCE_MAX).then(|| format!("nothing was pushed to dashboards for {} s", silent / 1_000))
}

/// The canary's and the stages' metrics.
pub fn metrics(service: &Service, out: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
    let (canary, now) = (&service.canary, service.clock.now());
    let seconds = |ms: Millis| ms.max(0) as f64 / 1e3;
    let state = canary.state().0;
    let states = State::ALL.map(|each| (each.word(), Some(f64::from(u8::from(each == state)))));
    family(out, "canary_state", "1 for the state the canary is in", ("state", None), &states)?;
    let lags =
        Stage::ALL.map(|stage| (stage.word(), canary.at(stage).map(|reached| seconds(reached.at - reached.published))));
    let help = "From the publication of the newest canary to the stage";
    family(out, "canary_lag", help, ("stage", Some(Unit::Seconds)), &lags)?;
    let ages = Stage::ALL.map(|stage| (stage.word(), canary.at(stage).map(|reached| seconds(now - reached.at))));
    let help = "Since a canary last reached the stage";
    family(out, "canary_last_success_age", help, ("stage", Some(Unit::Seconds)), &ages)?;
    let behind = [
        ("board", Some(seconds(now - service.registry.on_board_until()))),
        ("pushed", Some(seconds(now - service.feed.pushed_until()))),
        ("durable", Some(seconds(canary.undurable()))),
    ];
    let help = "How far the stage is behind the present";
    family(out, "watermark_age", help, ("stage", Some(Unit::Seconds)), &behind)?;
    let (beats, overtaken) = canary.counts();
    for (name, help, count) in [
        ("canary_beats", "Canaries that were due", beats),
        ("canary_overtaken", "Canaries that did not come back before a later one did", overtaken),
    ] {
        ConstCounter::new(count).encode(out.encode_descriptor(name, help, None, MetricType::Counter)?)?;
    }
    Ok(())
}

/// Gauges that differ in one label; what has no value yet is left out.
fn family(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    (label, unit): (&str, Option<Unit>),
    values: &[(&str, Option<f64>)],
) -> Result<(), std::fmt::Error> {
    let mut family = out.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
    for (word, value) in values.iter().filter_map(|(word, value)| value.map(|value| (*word, value))) {
        ConstGauge::new(value).encode(family.encode_family(&[(label, word)])?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R31: a hub that is dead or stuck makes the service not ready.
    #[test]
    fn no_push_for_half_a_minute_is_a_fault() {
        assert_eq!(push_fault(100_000, 70_000), None);
        assert_eq!(push_fault(100_001, 70_000).as_deref(), Some("nothing was pushed to dashboards for 30 s"));
    }
}
