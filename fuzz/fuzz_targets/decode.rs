//! Fuzz target: no payload makes the heartbeat decoder panic, and what it lets through is within its limits.
//! Fed by libFuzzer from fuzz/corpus/decode; feeds nobody. The same files run in `cargo test` (tests/it/corpus.rs).

#![no_main]

#[allow(dead_code)]
#[path = "../../src/domain/mod.rs"]
mod domain;

use domain::heartbeat::{Format, METRICS_MAX, PAYLOAD_BYTES_MAX, Said, decode, read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|payload: &[u8]| {
    let any = decode(Format::Any, payload);
    assert_eq!(any.is_ok(), payload.len() <= PAYLOAD_BYTES_MAX);
    if let Ok(Said::Heartbeat(fix)) = read(Format::Owntracks, payload) {
        assert!(fix.position.is_some_and(|(lat, lon)| lat.abs() <= 90.0 && lon.abs() <= 180.0));
    }
    let Ok(beat) = decode(Format::Json, payload) else { return };
    assert!(beat.position.is_none_or(|(lat, lon)| lat.abs() <= 90.0 && lon.abs() <= 180.0));
    assert!(beat.next_in.is_none_or(|next_in| next_in >= 0));
    let metrics = beat.metrics.unwrap_or_default();
    assert!(metrics.len() <= METRICS_MAX && metrics.iter().all(|(_, value)| value.is_finite()));
});
