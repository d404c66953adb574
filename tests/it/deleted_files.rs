//! What is written in files when the history it came from is deleted: exports go, and whoever deletes is told which
//! files of the archive may still hold it.

use serde_json::json;

use crate::exports::{PATH, fetch, look, with_a_bus, written};
use crate::stacks::CUSTOMER;
use crate::support::until;

#[tokio::test]
async fn files_that_may_hold_a_deleted_history_go_with_it_and_no_others() {
    let service = with_a_bus(&[]).await;
    let more = json!([{"customer": CUSTOMER, "vehicle": "bus 2"}, {"customer": "birch", "vehicle": "other"}]);
    assert_eq!(service.post_heartbeats(&more).await.0, 202);
    until("they are there", || async { service.status_of("birch", "other").await.is_some() }).await;
    let mut exports = Vec::new();
    for (customer, vehicles) in [
        (json!(null), json!([])),
        (json!(CUSTOMER), json!([])),
        (json!(CUSTOMER), json!(["bus 1"])),
        (json!(CUSTOMER), json!(["bus 2"])),
        (json!("birch"), json!([])),
    ] {
        let body = json!({"kind": "vehicles", "format": "csv", "customer": customer, "vehicles": vehicles});
        exports.push(written(&service, "", &body).await.0);
    }
    let states = || async {
        let mut states = Vec::new();
        for export in &exports {
            let place = format!("{PATH}/{}", export["id"].as_str().expect("text"));
            states.push(look(&service, "", &place).await["state"].as_str().expect("text").to_owned());
        }
        states.join(" ")
    };
    let bus = format!("/api/v1/customers/{CUSTOMER}/vehicles/bus%201");
    assert_eq!(service.send("DELETE", &format!("{bus}?history=delete"), "", "").await.status, 200);
    let left = "EXPIRED EXPIRED EXPIRED FINISHED FINISHED";
    until("they go", || async { states().await == left }).await;
    assert_eq!(service.send("GET", exports[1]["exportUri"].as_str().expect("a link"), "", "").await.status, 410);
    let acme = format!("/api/v1/customers/{CUSTOMER}?vehicles=delete&history=delete");
    assert_eq!(service.send("DELETE", &acme, "", "").await.status, 200);
    until("all of the customer go", || async { states().await == "EXPIRED EXPIRED EXPIRED EXPIRED FINISHED" }).await;
    fetch(&service, &exports[4]).await;
}
