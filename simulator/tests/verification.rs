//! `--verify` against a naive monitor behind a real broker: right when the monitor is, and wise to each of its faults.

mod support;

use std::time::Duration;

use simulator::{Broker, Options, Report, Shares, Verdict, Verify, run};
use support::{
    Mosquitto,
    monitor::{self, Fault, Timeouts},
};

const TIMEOUTS: Timeouts = Timeouts { offline_after_ms: 2_000, will_grace_ms: 1_000, sleep_grace_ms: 1_000 };

/// Runs a small fleet of every behaviour before a monitor with a fault; nothing where there is no broker.
async fn verify(fault: Fault) -> Option<(Report, Verdict)> {
    let broker = Mosquitto::start()?;
    let monitor = monitor::start(broker.addr, fault, TIMEOUTS).await;
    let options = Options {
        broker: Broker { host: "127.0.0.1".to_owned(), port: broker.addr.port(), login: None },
        vehicles: 40,
        interval: Duration::from_millis(300),
        duration: Some(Duration::from_secs(11)),
        shares: Shares {
            silence: 0.2,
            tunnel: 0.1,
            flap: 0.1,
            skew: 0.1,
            clone: 0.1,
            goodbye: 0.1,
            nap: 0.1,
            will: 0.1,
        },
        offline_after: Duration::from_millis(TIMEOUTS.offline_after_ms),
        will_grace: Duration::from_millis(TIMEOUTS.will_grace_ms),
        sleep_grace: Duration::from_millis(TIMEOUTS.sleep_grace_ms),
        verify: Some(Verify { url: format!("http://{monitor}/"), tolerance: Duration::from_millis(500), key: None }),
        ..Options::default()
    };
    let report = run(options, std::future::pending()).await.unwrap();
    let verdict = report.verify.clone().unwrap();
    Some((report, verdict))
}

#[tokio::test]
async fn right_monitor_is_found_right() {
    let Some((report, verdict)) = verify(Fault::None).await else { return };
    assert!(!report.failed(), "{:#?}", verdict);
    assert!(verdict.expected_transitions > 60 && verdict.board_checks > 50, "{verdict:#?}");
    assert!(verdict.detection_lag_ms.count > 5 && verdict.detection_lag_ms.p50 < 100, "{verdict:#?}");
}

/// One test, so that the four fleets run side by side.
#[tokio::test]
async fn every_fault_of_a_monitor_is_found() {
    let late = verify(Fault::Late(900));
    let loses = verify(Fault::LosesReturns);
    let doubles = verify(Fault::Doubles);
    let stuck = verify(Fault::BoardStuck);
    let (Some(late), Some(loses), Some(doubles), Some(stuck)) = tokio::join!(late, loses, doubles, stuck) else {
        return;
    };
    assert!([&late, &loses, &doubles, &stuck].iter().all(|(report, _)| report.failed()));
    assert!(late.1.mistimed > 3, "{:#?}", late.1);
    assert!(loses.1.lost_transitions > 3, "{:#?}", loses.1);
    assert!(doubles.1.duplicates > 3, "{:#?}", doubles.1);
    assert!(stuck.1.board_mismatches > 3, "{:#?}", stuck.1);
    for (_, verdict) in [doubles, stuck] {
        assert_eq!((verdict.lost_transitions, verdict.missed_offlines, verdict.mistimed), (0, 0, 0), "{verdict:#?}");
    }
}
