//! The fleet at a past instant, from outside: what its transitions said then, page by page, on both stacks.

use crate::radio::Radio;
use crate::stacks::{CUSTOMER, Kind, Stack, ms};
use crate::support::{Service, until};
use serde_json::Value;

/// The page of everybody at an instant.
async fn at(service: &Service, instant: i64) -> Value {
    service.get(&format!("/api/v1/vehicles?customer={CUSTOMER}&as_of={instant}")).await
}

async fn scenario(kind: Kind) {
    let Some(stack) = Stack::of(kind).await else { return };
    let service = stack.start(&[("FLEET__OFFLINE_AFTER", "1s"), ("HISTORY__ROLLUP_INTERVAL", "100ms")]).await;
    let radio = Radio::connect(&stack, "fleet").await;
    for vehicle in ["a", "b", "c"] {
        radio.beat_acked(vehicle).await;
    }
    let dark = || async { service.get("/api/v1/status").await["vehicles"]["offline"] == 3 };
    until("all are dark", dark).await;
    radio.beat_acked("b").await;
    let transitions = || async { service.all("/api/v1/transitions?").await };
    until("all is stored", || async { transitions().await.len() == 7 }).await;
    let transitions = transitions().await;
    let last = transitions.iter().map(|row| ms(&row["at"])).max().expect("rows");
    let counted = || async {
        let page = at(&service, last).await;
        page["counts"]["online"] == 1 && page["counts"]["offline"] == 2
    };
    until("all is counted", counted).await;
    for instant in transitions.iter().flat_map(|row| [ms(&row["at"]) - 1, ms(&row["at"])]) {
        let page = at(&service, instant).await;
        let items = page["items"].as_array().expect("a list");
        assert_eq!((items.len(), &page["total"]), (3, &3.into()));
        for item in items {
            let theirs = transitions.iter().filter(|row| row["vehicle"] == item["vehicle"]);
            let then = theirs.filter(|row| ms(&row["at"]) <= instant).max_by_key(|row| row["seq"].as_u64());
            let status = then.map_or("never_seen", |row| row["to"].as_str().expect("a word"));
            assert_eq!(item["status"], status, "{instant} {item}");
            assert_eq!(item["seq"], then.map_or(0.into(), |row| row["seq"].clone()), "{instant} {item}");
            assert_eq!(item["status_since"], then.map_or(Value::Null, |row| row["at"].clone()), "{instant} {item}");
            assert_eq!((&item["last_seen"], &item["position"]), (&Value::Null, &Value::Null));
        }
        for word in ["online", "offline", "unobserved", "never_seen"] {
            let there = items.iter().filter(|item| item["status"] == word).count();
            assert_eq!(page["counts"][word], there, "{instant} {page}");
        }
    }
    let paged = service.all(&format!("/api/v1/vehicles?as_of={last}&status=offline")).await;
    assert_eq!(paged.iter().map(|item| item["vehicle"].as_str().expect("a name")).collect::<Vec<_>>(), ["a", "c"]);
    let one = service.get(&format!("/api/v1/vehicles?as_of={last}&limit=1")).await;
    let cursor = one["next_cursor"].as_str().expect("a cursor");
    let next = service.get(&format!("/api/v1/vehicles?as_of={last}&limit=2&cursor={cursor}")).await;
    assert_eq!((&next["items"][0]["vehicle"], &next["items"][1]["vehicle"]), (&"b".into(), &"c".into()));
    assert_eq!(next["next_cursor"], Value::Null);
    for query in [
        format!("as_of={}", last + 3_600_000),
        format!("as_of={last}&q=a"),
        format!("as_of={last}&sort=last_seen"),
        format!("as_of={}&cursor={cursor}", last - 1),
        "as_of=yesterday".to_owned(),
    ] {
        assert_eq!(service.answer(&format!("/api/v1/vehicles?{query}")).await.0, 422, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fleet_at_a_past_instant_is_what_its_transitions_say_embedded() {
    scenario(Kind::Embedded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fleet_at_a_past_instant_is_what_its_transitions_say_external() {
    scenario(Kind::External).await;
}
