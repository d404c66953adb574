//! No export names another customer's vehicle (invariant 9): random orders of random customers, by a key in hand or by
//! a session; whatever was taken is fetched and read through. A failing seed is printed, see tenancy.rs.

use rand::Rng;
use serde_json::{Value, json};

use crate::sessions;
use crate::support::until;
use crate::tenancy::{CUSTOMERS, Fleet};

const PATH: &str = "/api/v1/exports";
/// Orders of each customer.
const ORDERS: usize = 25;

/// An order of which about half can be taken: a customer or vehicles of somebody else are among the rest.
fn order(fleet: &mut Fleet, own: &str) -> Value {
    let kind = fleet.one_of(&["transitions", "availability", "heartbeats", "vehicles"]);
    let mut order = json!({"kind": kind, "format": fleet.one_of(&["csv", "ndjson"])});
    if kind != "vehicles" {
        order["from"] = json!(crate::stacks::wall_ms() - 60_000);
        order["to"] = json!("2999-01-01T00:00:00Z");
    }
    if fleet.random.random_bool(0.4) {
        order["customer"] = json!(if fleet.random.random_bool(0.5) { own } else { fleet.one_of(&CUSTOMERS) });
    }
    if fleet.random.random_bool(0.3) {
        let named: Vec<String> = (0..fleet.random.random_range(1..3)).map(|_| fleet.vehicle().1).collect();
        order["vehicles"] = json!(named);
    }
    order
}

#[tokio::test]
async fn no_export_names_a_vehicle_of_another_customer() {
    let settings = [("ROLLCALL__HISTORY__HEARTBEATS", "all"), ("ROLLCALL__EXPORTS__KEPT_MAX", "1000")];
    let mut fleet = Fleet::start_with(&settings).await;
    let mut others_places: Vec<String> = Vec::new();
    for own in CUSTOMERS {
        let key = fleet.keyed.key(json!({"name": own, "customer": own, "scopes": ["read"]})).await;
        let cookie = sessions::cookie(&fleet.keyed.service, &json!({"key": key})).await;
        let mut places = Vec::new();
        for _ in 0..ORDERS {
            let body = order(&mut fleet, own);
            let by_session = fleet.random.random_bool(0.5);
            let answer = fleet.ask_by(&key, &cookie, by_session, "POST", PATH, &body).await;
            assert!(matches!(answer.status, 202 | 422), "{body}: {}", answer.text);
            fleet.assert_silent(own, &body.to_string(), &answer.text);
            if answer.status == 202 {
                let foreign = |name: &str| fleet.foreign(own).any(|vehicle| vehicle == name);
                let named = body["vehicles"].as_array().into_iter().flatten();
                assert!(!named.filter_map(Value::as_str).any(foreign), "{own} was given {body}");
                assert!(body["customer"].is_null() || body["customer"] == own, "{own} was given {body}");
                places.push((body, answer.header("location").to_owned()));
            }
        }
        let mut rows = 0;
        for (body, place) in &places {
            let look = async || fleet.ask_by(&key, &cookie, false, "GET", place, &Value::Null).await.json();
            until("it is written", || async { look().await["state"] == "FINISHED" }).await;
            let export = look().await;
            let file = fleet.keyed.service.send("GET", export["exportUri"].as_str().expect("a link"), "", "").await;
            assert_eq!(file.status, 200, "{body}: {}", file.text);
            fleet.assert_silent(own, "", &format!("{export}{}", file.text));
            rows += export["rows"].as_u64().expect("a number");
        }
        assert!(rows > 0, "{own}: files without rows prove nothing: {places:?}");
        let list = fleet.keyed.get(&key, &format!("{PATH}?limit=1000")).await;
        fleet.assert_silent(own, "", &list.text);
        for place in &others_places {
            for method in ["GET", "DELETE"] {
                let answer = fleet.keyed.ask(&key, method, place, &Value::Null).await;
                assert_eq!(answer.status, 404, "{own}: {method} {place}: {}", answer.text);
            }
        }
        others_places.extend(places.into_iter().map(|(_, place)| place));
    }
}
