//! The REST interface as an outside program meets it: every fault in one form that names the field, and the exact shape
//! of what is answered. Lists and their pages are in paging.rs.

use serde_json::{Value, json};

use crate::support::{Reply, Service, until};

const JSON: &str = "application/json";

fn service() -> Service {
    Service::start(&["--store", "sqlite::memory:"])
}

/// RFC 9457, with the right status; the field that is named, if one is.
fn problem(reply: &Reply, status: u16) -> String {
    assert_eq!(reply.status, status, "{reply:?}");
    assert_eq!(reply.header("content-type"), "application/problem+json", "{reply:?}");
    let body = reply.json();
    assert_eq!(body["status"], status, "{body}");
    for text in ["type", "title", "detail"] {
        assert!(body[text].as_str().is_some_and(|text| !text.is_empty()), "no {text} in {body}");
    }
    if let Some(errors) = body["errors"].as_array() {
        assert!(errors.iter().all(|error| error["problem"].is_string()), "{body}");
    }
    body["errors"][0]["field"].as_str().unwrap_or_default().to_owned()
}

fn names(object: &Value) -> Vec<&str> {
    let mut names: Vec<&str> = object.as_object().expect("an object").keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

async fn get(service: &Service, path: &str) -> Reply {
    service.send("GET", path, "", "").await
}

async fn post(service: &Service, body: &Value) -> Reply {
    service.send("POST", "/api/v1/heartbeats", JSON, body.to_string()).await
}

/// One vehicle with everything a heartbeat can say.
async fn with_one_vehicle() -> Service {
    let service = service();
    let beat = json!({
        "customer": "acme", "vehicle": "TRK-1", "ts": "2026-01-31T08:15:00.123Z", "seq": 7, "boot": "b1",
        "lat": 53.4, "lon": -2.9, "speed_kmh": 48.5, "heading_deg": 270, "battery_pct": 81, "odometer_km": 120345.5,
        "ignition": true, "next_in_s": 60, "metrics": {"rpm": 1500}
    });
    let reply = post(&service, &beat).await;
    assert_eq!((reply.status, reply.json()), (202, json!({"accepted": 1, "refused": []})));
    until("it is on the board", || async { service.status_of("acme", "TRK-1").await.is_some() }).await;
    service
}

#[tokio::test]
async fn a_wrong_parameter_is_named() {
    let service = with_one_vehicle().await;
    let long = "q".repeat(201);
    let tries = [
        ("/vehicles?cursor=!!!", "cursor"),
        ("/vehicles?cursor=eyJhZnRlciI6ImFjbWUifQ", "cursor"),
        ("/customers?cursor=bm9wZQ", "cursor"),
        ("/transitions?cursor=bm9wZQ", "cursor"),
        ("/vehicles?limit=0", "limit"),
        ("/vehicles?limit=1001", "limit"),
        ("/vehicles?limit=-1", "limit"),
        ("/vehicles?limit=ten", "limit"),
        ("/customers?limit=0", "limit"),
        ("/transitions?limit=1001", "limit"),
        ("/vehicles?limit=1&limit=2", "limit"),
        ("/transitions?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "from"),
        ("/transitions?from=2&to=1", "from"),
        ("/transitions?from=yesterday", "from"),
        ("/transitions?to=2026-13-01T00:00:00Z", "to"),
        ("/observation-gaps?from=2&to=1", "from"),
        ("/customers/acme/vehicles/TRK-1/transitions?from=2&to=1", "from"),
        ("/vehicles?customer=nobody", "customer"),
        ("/vehicles?customer=a%20b", "customer"),
        ("/transitions?customer=nobody", "customer"),
        ("/vehicles?colour=red", "colour"),
        ("/customers?status=online", "status"),
        ("/status?verbose=1", "verbose"),
        ("/refused?limit=1", "limit"),
        ("/customers/acme/vehicles/TRK-1?fields=all", "fields"),
        ("/vehicles?status=late", "status"),
        ("/vehicles?status=online,late", "status"),
        ("/transitions?to_status=late", "to_status"),
        ("/vehicles?sort=speed", "sort"),
        ("/vehicles?sort=--last_seen", "sort"),
        ("/vehicles?q=a%00b", "q"),
        ("/live?status=late", "status"),
        ("/live?customer=a%20b", "customer"),
        ("/live?since=1", "since"),
    ];
    for (path, field) in tries {
        assert_eq!(problem(&get(&service, &format!("/api/v1{path}")).await, 422), field, "{path}");
    }
    assert_eq!(problem(&get(&service, &format!("/api/v1/vehicles?q={long}")).await, 422), "q");
}

#[tokio::test]
async fn a_cursor_of_another_question_is_refused() {
    let service = service();
    let beats: Vec<Value> = (0..4).map(|n| json!({"customer": "acme", "vehicle": format!("V{n}")})).collect();
    assert_eq!(post(&service, &json!(beats)).await.status, 202);
    until("they are there", || async { service.get("/api/v1/vehicles").await["total"] == 4 }).await;
    for (question, others) in [
        ("sort=vehicle", ["sort=last_seen", "status=online", "customer=acme", "q=v"]),
        ("sort=last_seen", ["sort=-last_seen", "sort=vehicle", "sort=last_seen&status=online", "sort=status_since"]),
    ] {
        let page = service.get(&format!("/api/v1/vehicles?limit=2&{question}")).await;
        let cursor = page["next_cursor"].as_str().expect("a second page");
        for other in others {
            let reply = get(&service, &format!("/api/v1/vehicles?limit=2&{other}&cursor={cursor}")).await;
            assert_eq!(problem(&reply, 422), "cursor", "{question} then {other}");
        }
        for path in ["customers", "transitions"] {
            let reply = get(&service, &format!("/api/v1/{path}?cursor={cursor}")).await;
            assert_eq!(problem(&reply, 422), "cursor", "{path}");
        }
        let reply = get(&service, &format!("/api/v1/vehicles?limit=1&{question}&cursor={cursor}")).await;
        assert_eq!(reply.status, 200, "its own question, with another limit: {reply:?}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_404_and_a_wrong_method_405_with_allow() {
    let service = with_one_vehicle().await;
    for path in [
        "/api/v1/customers/acme/vehicles/TRK-2",
        "/api/v1/customers/acme/vehicles/trk-1",
        "/api/v1/customers/other/vehicles/TRK-1",
        "/api/v1/customers/acme/vehicles/TRK-2/transitions",
        "/api/v1/nothing",
        "/api/v1",
        "/api/v2/vehicles",
        "/nothing",
        "/js/nothing.js",
        "/../Cargo.toml",
        "/%2e%2e/Cargo.toml",
    ] {
        problem(&get(&service, path).await, 404);
    }
    problem(&service.send("POST", "/nothing", JSON, "{}").await, 404);
    for (method, path, allow) in [
        ("POST", "/api/v1/vehicles", "GET, HEAD"),
        ("DELETE", "/api/v1/vehicles", "GET, HEAD"),
        ("PUT", "/api/v1/transitions", "GET, HEAD"),
        ("POST", "/api/v1/status", "GET, HEAD"),
        ("GET", "/api/v1/heartbeats", "POST"),
        ("PUT", "/api/v1/heartbeats", "POST"),
        ("DELETE", "/healthz", "GET, HEAD"),
        ("POST", "/metrics", "GET, HEAD"),
    ] {
        let reply = service.send(method, path, JSON, "{}").await;
        problem(&reply, 405);
        assert_eq!(reply.header("allow"), allow, "{method} {path}");
    }
}

#[tokio::test]
async fn a_body_that_is_not_json_or_too_large_is_refused() {
    let service = service();
    let path = "/api/v1/heartbeats";
    let body = r#"{"customer":"acme","vehicle":"TRK-1"}"#;
    for kind in ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonp"] {
        problem(&service.send("POST", path, kind, body).await, 415);
    }
    for broken in ["", "{", "[{]", "nonsense", "7", "\"text\"", "null", "{\"customer\":"] {
        problem(&service.send("POST", path, JSON, broken).await, 400);
    }
    let large = format!("[{}]", " ".repeat(9 * 1024 * 1024));
    problem(&service.send("POST", path, JSON, large).await, 413);
    let many: Vec<Value> = (0..1_001).map(|n| json!({"customer": "acme", "vehicle": format!("V{n}")})).collect();
    problem(&post(&service, &json!(many)).await, 413);
    assert_eq!(post(&service, &json!([])).await.json(), json!({"accepted": 0, "refused": []}));
    assert_eq!(service.get("/api/v1/vehicles").await["total"], 0, "nothing of it was taken");
    let reply = service.send("POST", path, "Application/JSON; charset=utf-8", body).await;
    assert_eq!(reply.status, 202, "{reply:?}");
}

#[tokio::test]
async fn a_bad_heartbeat_is_422_and_names_its_field() {
    let service = service();
    let tries = [
        (json!({"vehicle": "V"}), "customer"),
        (json!({"customer": "acme"}), "vehicle"),
        (json!({"customer": 7, "vehicle": "V"}), "customer"),
        (json!({"customer": "a b", "vehicle": "V"}), "customer"),
        (json!({"customer": "acme", "vehicle": "a/b"}), "vehicle"),
        (json!({"customer": "acme", "vehicle": "V", "colour": "red"}), "colour"),
        (json!({"customer": "acme", "vehicle": "V", "lat": 91, "lon": 0}), "lat"),
        (json!({"customer": "acme", "vehicle": "V", "battery_pct": -1}), "battery_pct"),
        (json!({"customer": "acme", "vehicle": "V", "ts": "soon"}), "ts"),
        (json!({"customer": "acme", "vehicle": "V", "boot": "b".repeat(65)}), "boot"),
    ];
    for (beat, field) in &tries {
        assert_eq!(&problem(&post(&service, beat).await, 422), field, "{beat}");
    }
    let reply = service.send("POST", "/api/v1/heartbeats?dry_run=1", JSON, "{}").await;
    assert_eq!(problem(&reply, 422), "dry_run");
    // In a list the bad ones are named by index and do not hold up the others.
    let good = |n: usize| json!({"customer": "acme", "vehicle": format!("GOOD-{n}")});
    let list: Vec<Value> =
        tries.iter().enumerate().flat_map(|(n, (bad, _))| [bad.clone(), good(n)]).chain([json!(1)]).collect();
    let reply = post(&service, &json!(list)).await;
    let answer = reply.json();
    assert_eq!((reply.status, &answer["accepted"]), (202, &tries.len().into()), "{answer}");
    let refused = answer["refused"].as_array().expect("a list");
    for (index, (item, (_, field))) in refused.iter().zip(&tries).enumerate() {
        assert_eq!(item["index"], index * 2, "{item}");
        assert!(item["problem"].as_str().is_some_and(|text| text.contains(field)), "{field} in {item}");
    }
    assert_eq!((refused.len(), &refused[tries.len()]["index"]), (tries.len() + 1, &(2 * tries.len()).into()));
    let count = || async { service.get("/api/v1/vehicles").await["total"] == tries.len() };
    until("the good ones are there", count).await;
}

#[tokio::test]
async fn a_vehicle_has_exactly_the_fields_of_the_contract() {
    let service = with_one_vehicle().await;
    let vehicle = service.get("/api/v1/customers/acme/vehicles/TRK-1").await;
    let expected = "battery_pct clock_skew_ms customer ignition last_seen metrics name odometer_km offline_after_ms \
                    policy_source position registration seq status status_since tags vehicle vin";
    assert_eq!(names(&vehicle).join(" "), expected);
    assert_eq!(names(&vehicle["position"]), ["at", "heading_deg", "lat", "lon", "speed_kmh"]);
    let said = json!({
        "customer": "acme", "vehicle": "TRK-1", "status": "online", "seq": 1, "battery_pct": 81.0, "ignition": true,
        "odometer_km": 120345.5, "metrics": {"rpm": 1500.0}, "tags": [], "name": null, "offline_after_ms": 90_000,
        "policy_source": "default"
    });
    for (name, value) in said.as_object().expect("an object") {
        assert_eq!(&vehicle[name], value, "{name}");
    }
    let position = &vehicle["position"];
    assert_eq!(
        (&position["lat"], &position["lon"], &position["speed_kmh"]),
        (&53.4.into(), &(-2.9).into(), &48.5.into())
    );
    for time in [&vehicle["last_seen"], &vehicle["status_since"], &position["at"]] {
        let text = time.as_str().expect("text");
        assert!(text.len() == 24 && text.ends_with('Z') && text.as_bytes()[19] == b'.', "{text}");
    }
    let page = service.get("/api/v1/vehicles").await;
    assert_eq!(names(&page), ["counts", "items", "next_cursor", "total"]);
    assert_eq!(page["items"], json!([vehicle]), "the list shows the same");
    assert_eq!(names(&page["counts"]), ["never_seen", "offline", "online", "unobserved"]);
}

#[tokio::test]
async fn status_health_and_gaps_have_their_fields() {
    let service = with_one_vehicle().await;
    let status = service.get("/api/v1/status").await;
    for name in ["version", "started_at", "listening", "intake", "vehicles", "store", "dashboards", "detection_lag_ms"]
    {
        assert!(!status[name].is_null(), "no {name} in {status}");
    }
    assert_eq!((&status["listening"], &status["version"]), (&true.into(), &env!("CARGO_PKG_VERSION").into()));
    assert_eq!((&status["intake"]["total"], &status["intake"]["refused"]), (&1.into(), &0.into()));
    assert!(status["intake"]["per_s"].is_number());
    assert_eq!(names(&status["vehicles"]), ["never_seen", "offline", "online", "unobserved"]);
    assert_eq!((&status["store"]["kind"], &status["store"]["ok"]), (&"sqlite".into(), &true.into()));
    assert!(status["store"]["spool_rows"].is_number() && status["dashboards"] == 0);
    assert_eq!(names(&status["detection_lag_ms"]), ["max", "p50", "p99"]);
    let live = service.live("").await;
    until("the dashboard counts", || async { service.get("/api/v1/status").await["dashboards"] == 1 }).await;
    drop(live);
    until("it is gone", || async { service.get("/api/v1/status").await["dashboards"] == 0 }).await;
    assert_eq!((get(&service, "/healthz").await.status, get(&service, "/readyz").await.status), (200, 200));
    let gaps = service.get("/api/v1/observation-gaps").await;
    assert_eq!(names(&gaps), ["items", "next_cursor"]);
    for gap in gaps["items"].as_array().expect("a list") {
        assert_eq!(names(gap), ["cause", "from", "scope", "to"]);
    }
}

/// Every line of the exposition is a comment of a known kind or a sample of a family that was declared before it.
#[tokio::test]
async fn metrics_are_well_formed() {
    let service = with_one_vehicle().await;
    let reply = get(&service, "/metrics").await;
    assert!(reply.status == 200 && reply.header("content-type").starts_with("application/openmetrics-text"));
    let mut families: Vec<&str> = Vec::new();
    let lines: Vec<&str> = reply.text.lines().collect();
    assert_eq!(lines.last(), Some(&"# EOF"));
    for line in &lines[..lines.len() - 1] {
        if let Some(comment) = line.strip_prefix("# ") {
            let (kind, rest) = comment.split_once(' ').expect("a kind and a name");
            assert!(matches!(kind, "HELP" | "TYPE" | "UNIT"), "{line}");
            families.push(rest.split(' ').next().expect("a name"));
            continue;
        }
        let (series, value) = line.rsplit_once(' ').expect("a name and a value");
        value.parse::<f64>().unwrap_or_else(|_| panic!("a number in '{line}'"));
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        assert!(name.starts_with("rollcall_") && families.iter().any(|family| name.starts_with(family)), "{line}");
        let labels = labels.strip_suffix('}').unwrap_or_else(|| panic!("closed labels in '{line}'"));
        for label in labels.split(',').filter(|label| !label.is_empty()) {
            let (key, text) = label.split_once('=').expect("key and text");
            assert!(!key.is_empty() && text.len() >= 2 && text.starts_with('"') && text.ends_with('"'), "{line}");
        }
    }
    for sample in ["rollcall_listening 1", "rollcall_heartbeats_total 1", "rollcall_vehicles{status=\"online\"} 1"] {
        assert!(lines.contains(&sample), "no '{sample}' in\n{}", reply.text);
    }
}

#[tokio::test]
async fn the_description_and_its_page_come_from_the_binary() {
    let service = service();
    for path in ["/api/v1/openapi.json", "/openapi.json"] {
        let document = get(&service, path).await.json();
        assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.")), "{path}");
    }
    let page = get(&service, "/api/v1/docs/").await;
    assert!(page.status == 200 && page.header("content-type").starts_with("text/html"), "{page:?}");
    assert_eq!(get(&service, "/docs").await.status, 200, "leads there");
}

#[tokio::test]
async fn the_dashboard_is_guarded_and_its_files_are_cached_by_their_tags() {
    let service = service();
    let page = get(&service, "/").await;
    assert!(page.status == 200 && page.header("content-type").starts_with("text/html"), "{page:?}");
    let policy = page.header("content-security-policy");
    assert!(policy.contains("default-src 'self'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(!policy.contains("unsafe-inline") && !policy.contains("unsafe-eval"), "{policy}");
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    assert_eq!(page.header("cache-control"), "no-store", "rows of this moment are in it");
    let script = get(&service, "/js/app.js").await;
    let tag = script.header("etag");
    assert!(tag.starts_with('"') && tag.ends_with('"') && tag.len() > 2, "{tag}");
    let again = |known: &str| {
        let request = reqwest::Client::new().get(service.url("/js/app.js")).header("if-none-match", known);
        async move { request.send().await.expect("answers").status().as_u16() }
    };
    assert_eq!((again(tag).await, again("\"other\"").await), (304, 200));
}

/// The rows that the page brings: the filters of its address, in the dashboard's order, and never as markup.
#[tokio::test]
async fn the_page_brings_counts_and_first_rows_and_a_hostile_name_is_text() {
    let service = service();
    let hostile = "<script>alert(1)<!--&amp;";
    let beats: Vec<Value> = ["V-1", "V-2", hostile].iter().map(|v| json!({"customer": "b", "vehicle": v})).collect();
    post(&service, &json!(beats)).await;
    post(&service, &json!([{"customer": "a", "vehicle": "V-2"}])).await;
    until("all are there", || async { service.get("/api/v1/vehicles").await["total"] == 4 }).await;
    let first = async |query: &str| {
        let page = get(&service, &format!("/{query}")).await.text;
        let (_, rest) = page.split_once(r#"<script type="application/json" id="first-rows">"#).expect("the rows");
        let (text, rest) = rest.split_once("</script>").expect("their end");
        assert!(rest.trim_start().starts_with("</body>") && !text.contains('<'), "{text}");
        serde_json::from_str::<Value>(text).expect("JSON")
    };
    let names = |first: &Value| -> Vec<String> {
        let rows = first["items"].as_array().expect("rows");
        rows.iter().map(|row| format!("{}/{}", row["customer"].as_str().expect("text"), row["vehicle"])).collect()
    };
    let all = first("").await;
    assert_eq!(names(&all)[1..], [r#"b/"V-1""#, r#"a/"V-2""#, r#"b/"V-2""#]);
    assert_eq!(all["items"][0]["vehicle"], hostile);
    assert_eq!((&all["total"], &all["counts"]["online"], &all["tally"]["online"]), (&json!(4), &json!(4), &json!(4)));
    let some = first("?customer=b&q=v-&sort=-vehicle&status=online&v=b/V-1&what=ever").await;
    assert_eq!(names(&some), [r#"b/"V-2""#, r#"b/"V-1""#]);
    assert_eq!(
        (&some["total"], &some["counts"]["online"], &some["tally"]["online"]),
        (&json!(2), &json!(4), &json!(2))
    );
    let none = first("?status=offline&customer=b").await;
    assert_eq!((&none["total"], &none["tally"]["online"]), (&json!(0), &json!(3)), "what a click would show");
}
