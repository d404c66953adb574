//! What was dropped by age is not told of as if nothing had happened: whoever asks for it is told from when on there is
//! history. That it is dropped, and what is left, is in the store's own tests.

use crate::healing::by_hand;
use crate::radio::Radio;
use crate::stacks::{CUSTOMER, Kind, Stack, ms, wall_ms};
use crate::support::{PATIENCE, until};
use serde_json::Value;

const HOUR: i64 = 3_600_000;

async fn scenario(kind: Kind) {
    let Some(stack) = Stack::of(kind).await else { return };
    let mut service = stack.start(&[]).await;
    let radio = Radio::connect(&stack, "fleet").await;
    radio.beat_acked("bus").await;
    until("it is stored", || async { service.all("/api/v1/transitions?").await.len() == 1 }).await;
    for path in ["transitions", "customers/acme/vehicles/bus/transitions", "customers/acme/vehicles/bus/heartbeats"] {
        assert_eq!(service.get(&format!("/api/v1/{path}")).await["kept_from"], Value::Null, "{path}");
    }
    service.signal("TERM");
    tokio::task::block_in_place(|| service.wait(PATIENCE));
    let horizon = (wall_ms() / HOUR - 24) * HOUR;
    for word in ["transitions", "heartbeats", "statistics_minutes"] {
        by_hand(&stack, &format!("INSERT INTO history_horizon (kind, before_ms) VALUES ('{word}', {horizon})")).await;
    }
    let service = stack.start(&[]).await;
    let bus = format!("customers/{CUSTOMER}/vehicles/bus");
    for (path, parameter, setting) in [
        ("availability?".to_owned(), "from", "transitions"),
        (format!("availability?customer={CUSTOMER}&"), "from", "transitions"),
        (format!("{bus}/availability?"), "from", "transitions"),
        ("vehicles?".to_owned(), "as_of", "transitions"),
        ("stats?resolution=minute&".to_owned(), "from", "statistics_minutes"),
    ] {
        let (status, problem) = service.answer(&format!("/api/v1/{path}{parameter}={}", horizon - 1)).await;
        assert_eq!((status, &problem["errors"][0]["field"]), (422, &parameter.into()), "{path} {problem}");
        let text = problem["errors"][0]["problem"].as_str().expect("text");
        assert!(text.contains(&format!("history.retention.{setting}")), "{text}");
        assert_eq!(service.answer(&format!("/api/v1/{path}{parameter}={horizon}")).await.0, 200, "{path}");
    }
    for path in ["transitions".to_owned(), format!("{bus}/transitions"), format!("{bus}/heartbeats")] {
        assert_eq!(ms(&service.get(&format!("/api/v1/{path}")).await["kept_from"]), horizon, "{path}");
    }
    // Hours and days stay, and so does what nobody names a time for.
    let week = horizon - 144 * HOUR;
    for path in [format!("stats?resolution=hour&from={week}"), "stats?resolution=month".into(), "availability".into()] {
        assert_eq!(service.answer(&format!("/api/v1/{path}")).await.0, 200, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_for_what_was_dropped_is_told_so_embedded() {
    scenario(Kind::Embedded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_for_what_was_dropped_is_told_so_external() {
    scenario(Kind::External).await;
}
