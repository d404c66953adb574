//! Every event carries the record after the change (R11): whoever follows the WebSocket and asks REST meanwhile never
//! sees an old status under a new number, nor a new one under an old.

use std::collections::HashMap;

use serde_json::Value;

use crate::mqtt::{Client, Version};
use crate::support::Service;

const VEHICLE: &str = "/api/v1/customers/acme/vehicles/flapper";
const CHANGES: u64 = 60;

/// What every door said, by number; a second word for one number is a fault.
#[derive(Default)]
struct Told(HashMap<u64, (String, String)>);

impl Told {
    fn note(&mut self, door: &str, seq: u64, status: &Value) {
        let status = status.as_str().unwrap_or_else(|| panic!("no status at {door}")).to_owned();
        let known = self.0.entry(seq).or_insert_with(|| (status.clone(), door.to_owned()));
        assert_eq!(known.0, status, "number {seq} is {} at {}, and {status} at {door}", known.0, known.1);
    }
}

fn seq(value: &Value) -> u64 {
    value["seq"].as_u64().unwrap_or_else(|| panic!("no seq in {value}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_door_shows_an_old_status_under_a_new_number() {
    let service = Service::with_settings(&[("ROLLCALL__LIVE__TICK", "20ms")]);
    let mut live = service.live("").await;
    let vehicle = Client::connect(&service, Version::V5, "flapper", None);
    let flapping = tokio::spawn(async move {
        for _ in 0..CHANGES / 2 {
            vehicle.beat("flapper", 1).await;
            tokio::time::sleep(std::time::Duration::from_millis(7)).await; // poll: it flaps, across the ticks
            vehicle.publish("fleet/acme/flapper/goodbye", 1, false, "").await;
            tokio::time::sleep(std::time::Duration::from_millis(7)).await; // poll: as above
        }
        vehicle
    });
    let (mut told, mut newest, mut deltas) = (Told::default(), 0, 0);
    while newest < CHANGES {
        let frame = live.next().await.expect("it stays open");
        match frame["type"].as_str() {
            Some("transition") => {
                newest = seq(&frame);
                told.note("a transition", newest, &frame["to"]);
                let now = service.get(VEHICLE).await;
                assert!(seq(&now) >= newest, "REST is behind the frame {frame}: {now}");
                told.note("REST", seq(&now), &now["status"]);
                let history = service.get(&format!("{VEHICLE}/transitions?limit=1")).await;
                let stored = &history["items"][0];
                assert!(seq(stored) >= newest, "told before it was stored: {frame}");
                told.note("history", seq(stored), &stored["to"]);
            }
            Some("delta") => {
                let rows = frame["changed"].as_array().into_iter().flatten();
                for row in rows.filter(|row| row["vehicle"] == "flapper" && row.get("status").is_some()) {
                    assert!(seq(row) >= newest, "a delta is behind transition {newest}: {row}");
                    told.note("a delta", seq(row), &row["status"]);
                    deltas += 1;
                }
            }
            _ => {}
        }
    }
    assert!(deltas > 5, "deltas were looked at: {deltas}");
    drop(flapping.await);
}
