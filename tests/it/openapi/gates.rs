//! Every route of the table says who may use it, and the document says the same: nothing is open by mistake.
//! Reads the sources of the table; the doors themselves are tried in access.rs and tenancy.rs.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{OTHER_ROUTES, TABLE_OF_ROUTES};

const DOCUMENT: &str = include_str!("../../../src/api/openapi.json");

/// The gate of each path and method, as it is written in the table.
fn gates() -> BTreeMap<(String, String), String> {
    let (before, rest) = TABLE_OF_ROUTES.split_once(r#"web::scope("/api/v1")"#).expect("the scope");
    let (inside, after) = rest.split_once(';').expect("the end of the scope");
    let mut gates = BTreeMap::new();
    for (part, prefix) in [(before, ""), (inside, "/api/v1"), (after, "")] {
        for call in part.split(".service(").skip(1).filter(|call| call.starts_with("get(") || call.starts_with("only("))
        {
            let path = call.split('"').nth(1).expect("a path");
            for (word, method) in [
                ("read(", "get"),
                ("get()", "get"),
                ("post()", "post"),
                ("put()", "put"),
                ("patch()", "patch"),
                ("delete()", "delete"),
            ] {
                let Some((_, gate)) = call.split_once(word) else { continue };
                let gate = gate.trim_start_matches(", ").split_once(", ").expect("a handler").0;
                gates.insert((format!("{prefix}{path}"), method.to_owned()), gate.to_owned());
            }
        }
    }
    gates
}

/// How the document must say it: the security of the operation, and whether it is for all customers only.
fn said(gate: &str) -> (Value, Value) {
    let (kind, scope) = gate.trim_end_matches(')').split_once('(').unwrap_or((gate, ""));
    let key = json!({"key": [scope.to_lowercase()]});
    match kind {
        "Public" => (json!([]), Value::Null),
        "Customer" => (json!([key]), Value::Null),
        "Socket" => (json!([key, {"ticket": []}]), Value::Null),
        "Fleet" => (json!([key]), json!(true)),
        _ => panic!("{gate} is no gate"),
    }
}

#[test]
fn every_route_says_who_may_use_it_and_so_does_the_document() {
    let document: Value = serde_json::from_str(DOCUMENT).expect("JSON");
    let mut gates = gates();
    assert!(gates.len() > 25, "{} routes", gates.len());
    gates.extend(OTHER_ROUTES.map(|path| ((path.to_owned(), "get".to_owned()), "Public".to_owned())));
    for (path, operations) in document["paths"].as_object().expect("paths") {
        for (method, operation) in operations.as_object().expect("operations") {
            let gate = gates.remove(&(path.clone(), method.clone()));
            let gate = gate.unwrap_or_else(|| panic!("{method} {path} has no gate in the table"));
            assert_eq!((operation["security"].clone(), operation["x-all-customers"].clone()), said(&gate), "{path}");
            let answers = &operation["responses"];
            let asks = answers["401"].is_object() && answers["403"].is_object();
            assert_eq!(asks, gate != "Public", "{method} {path} {gate}");
        }
    }
    assert_eq!(gates, BTreeMap::new(), "routes that the document does not have");
}

#[test]
fn no_route_goes_past_the_gates() {
    let bare = ["web::get()", "web::post()", "web::put()", "web::patch()", "web::delete()", "web::route()"];
    let handlers = TABLE_OF_ROUTES.matches(").to(").count();
    assert_eq!(handlers, 0, "a handler is put behind its gate by `read` or `gated`");
    let made: usize = bare.iter().map(|route| TABLE_OF_ROUTES.matches(route).count()).sum();
    let gated: usize = bare.iter().map(|route| TABLE_OF_ROUTES.matches(&format!("gated({route}")).count()).sum();
    assert_eq!(made, gated, "a route without a gate");
    assert_eq!(TABLE_OF_ROUTES.matches("web::resource(").count(), 1, "resources are made by `only`");
}
