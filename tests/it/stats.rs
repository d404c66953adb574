//! Statistics from outside: what is counted is what transitions and heartbeats say, in the bucket they belong to.

use serde_json::{Value, json};

use crate::radio::Radio;
use crate::stacks::{CUSTOMER, Kind, Stack, ms, wall_ms};
use crate::support::{PATIENCE, Service, until};

const OFTEN: (&str, &str) = ("HISTORY__ROLLUP_INTERVAL", "100ms");

fn sum(buckets: &Value, name: &str) -> i64 {
    let items = buckets["items"].as_array().unwrap_or_else(|| panic!("a list, not {buckets}"));
    items.iter().map(|bucket| bucket[name].as_i64().expect("a number")).sum()
}

/// Vehicles that come and go, across a restart, on a stack.
async fn scenario(kind: Kind) {
    let Some(stack) = Stack::of(kind).await else { return };
    let settings = [("FLEET__OFFLINE_AFTER", "1s"), OFTEN];
    let mut service = stack.start(&settings).await;
    let radio = Radio::connect(&stack, "fleet").await;
    for _ in 0..3 {
        radio.beat_acked("one").await;
    }
    radio.beat_acked("other").await;
    let dark = || async { service.get("/api/v1/status").await["vehicles"]["offline"] == 2 };
    until("both are dark", dark).await;
    service.signal("TERM");
    tokio::task::block_in_place(|| service.wait(PATIENCE));
    let service = stack.start(&settings).await;
    until("the radio is back", || async { radio.is_connected() }).await;
    radio.beat_acked("one").await;
    let path = format!("/api/v1/stats?customer={CUSTOMER}&resolution=hour");
    // It goes dark again soon: from then on nothing changes while one reads.
    let counted = || async {
        let answer = service.get(&path).await;
        let went = ["went_online", "went_offline"].map(|word| sum(&answer, word));
        went == [3, 3] && sum(&answer, "heartbeats") >= 5
    };
    until("all is counted", counted).await;
    for path in [&path, "/api/v1/stats?resolution=day", "/api/v1/stats", "/api/v1/stats?resolution=month&tz=Asia/Tokyo"]
    {
        let answer = service.get(path).await;
        // A beat may come twice when its acknowledgement was lost with the connection.
        assert!((5..9).contains(&sum(&answer, "heartbeats")), "{path}");
        assert!(sum(&answer, "went_offline") >= 2, "{path}");
        let last = answer["items"].as_array().expect("a list").last().expect("a bucket").clone();
        assert_eq!(last["complete"], false, "{path} {last}");
        let passed = last["observed_s"].as_f64().expect("s") + last["unobserved_s"].as_f64().expect("s");
        let began = ms(&last["at"]);
        assert!((passed - (wall_ms() - began) as f64 / 1e3).abs() < 60.0, "{path} {last}");
    }
    let transitions = service.all("/api/v1/transitions?").await;
    let answer = service.get("/api/v1/stats?resolution=minute").await;
    let buckets = answer["items"].as_array().expect("a list");
    for word in ["online", "offline", "unobserved"] {
        for bucket in buckets {
            let minute = ms(&bucket["at"])..ms(&bucket["at"]) + 60_000;
            let there = transitions.iter().filter(|row| row["to"] == word && minute.contains(&ms(&row["at"])));
            assert_eq!(bucket[format!("went_{word}")], there.count(), "{bucket}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statistics_count_each_transition_once_across_a_restart_embedded() {
    scenario(Kind::Embedded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statistics_count_each_transition_once_across_a_restart_external() {
    scenario(Kind::External).await;
}

#[tokio::test]
async fn statistics_have_windows_and_limits() {
    let service = Service::with_settings(&[("ROLLCALL__HISTORY__ROLLUP_INTERVAL", "100ms")]);
    service.post_heartbeats(&json!({"customer": "acme", "vehicle": "1"})).await;
    until("it is counted", || async { sum(&service.get("/api/v1/stats").await, "heartbeats") == 1 }).await;
    for (resolution, least, most) in [("minute", 1_440, 1_441), ("hour", 168, 169), ("day", 30, 31), ("month", 12, 13)]
    {
        let answer = service.get(&format!("/api/v1/stats?resolution={resolution}")).await;
        let items = answer["items"].as_array().expect("a list");
        assert!((least..=most).contains(&items.len()), "{resolution} {}", items.len());
        assert!(items.windows(2).all(|pair| ms(&pair[0]["at"]) < ms(&pair[1]["at"])), "sorted");
        let first = &items[0];
        assert_eq!(
            (&first["observed_s"], &first["heartbeats"], &first["online_max"]),
            (&json!(0.0), &json!(0), &json!(0))
        );
    }
    let one = service
        .get("/api/v1/stats?from=2026-10-25T12:00:00Z&to=2026-10-25T13:00:00Z&resolution=day&tz=Europe/Paris")
        .await;
    assert_eq!((ms(&one["to"]) - ms(&one["from"])) / 3_600_000, 25, "{one}");
    for (query, says) in [
        ("from=2020-01-01T00:00:00Z", "must not be before"),
        ("resolution=week", "use minute, hour, day or month"),
        ("resolution=day&tz=Berlin", "Europe/Berlin"),
        ("tz=Europe/Berlin", "day and month"),
        ("customer=nobody", "there is no customer"),
        ("from=2999-01-01T00:00:00Z", "in the future"),
    ] {
        let (status, problem) = service.answer(&format!("/api/v1/stats?{query}")).await;
        assert_eq!(status, 422, "{query}");
        assert!(problem["detail"].as_str().expect("text").contains(says), "{query}: {problem}");
    }
}
