//! The description of the REST interface is true: every route is in it, and every answer has exactly its fields.
//! Drives the real service; schema.rs compares answers with the document.

mod gates;
mod schema;

use reqwest::redirect::Policy;
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};

use crate::support::{Service, until};
use schema::{Document, resolve};

const TABLE_OF_ROUTES: &str = include_str!("../../src/api/mod.rs");
/// The page, which the table serves without `get` or `only`.
const OTHER_ROUTES: [&str; 2] = ["/docs", "/api/v1/docs/"];
const VEHICLE: &str = "/api/v1/customers/acme/vehicles/TRK-1";

/// A service with a vehicle that said everything and is offline, one that said nothing, and a refused heartbeat.
async fn service() -> Service {
    let service = Service::start(&["--store", "sqlite::memory:", "--offline-after", "300ms"]);
    let full = json!({
        "customer": "acme", "vehicle": "TRK-1", "ts": "2026-01-31T08:15:00.123Z", "seq": 7, "boot": "b", "lat": 53.4,
        "lon": -2.9, "speed_kmh": 48.5, "heading_deg": 90, "battery_pct": 81, "odometer_km": 12.5, "ignition": true,
        "metrics": {"rpm": 1500}
    });
    let bare = json!({"customer": "birch", "vehicle": "VAN 2", "next_in_s": 600});
    let refused = json!({"customer": "acme", "vehicle": "TRK-1", "lat": 95});
    let (status, answer) = service.post_heartbeats(&json!([full, bare, refused])).await;
    assert_eq!((status, &answer["accepted"]), (202, &json!(2)), "{answer}");
    until("TRK-1 is offline", || async { service.status_of("acme", "TRK-1").await.as_deref() == Some("offline") })
        .await;
    until("its history is stored", || async {
        let page = service.get(&format!("{VEHICLE}/transitions")).await;
        page["items"].as_array().is_some_and(|items| items.len() == 2)
    })
    .await;
    service
}

async fn document(service: &Service) -> Document {
    Document::new(service.get("/api/v1/openapi.json").await)
}

/// Asks without following redirects.
async fn ask(service: &Service, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
    let client = Client::builder().redirect(Policy::none()).build().expect("a client");
    let mut request = client.request(method, service.url(path)).body(body.to_owned());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.expect("answers")
}

/// Holds an answer against the document: status, media type, headers, and every field. Gives back its faults.
async fn faults_of(document: &Document, path: &str, method: &str, response: Response) -> Vec<String> {
    let status = response.status().as_u16();
    let Some(described) = document.answer(path, method, status) else {
        return vec![format!("{method} {path}: answers {status}, which is not documented")];
    };
    let place = format!("{method} {path} {status}");
    let mut faults = Vec::new();
    for (name, header) in described["headers"].as_object().into_iter().flatten() {
        if header["required"] == json!(true) && !response.headers().contains_key(name.as_str()) {
            faults.push(format!("{place}: has no header {name}"));
        }
    }
    let kind = response.headers().get("content-type").map(|kind| kind.to_str().expect("text").to_owned());
    let kind = kind.as_deref().map(|kind| kind.split(';').next().unwrap_or(kind));
    let text = response.text().await.expect("text");
    let content = described["content"].as_object();
    match (content, kind) {
        (None, _) if text.is_empty() => {}
        (Some(content), Some(kind)) if content.contains_key(kind) => {
            if kind.ends_with("json") {
                let value = serde_json::from_str(&text).expect("JSON");
                faults.extend(document.faults(&content[kind]["schema"], &value, &place));
            }
        }
        _ => faults.push(format!("{place}: {kind:?} with {} bytes is not documented", text.len())),
    }
    faults
}

#[tokio::test]
async fn every_get_answers_with_exactly_what_is_documented() {
    let service = service().await;
    let document = document(&service).await;
    let mut faults = Vec::new();
    let key = json!({"name": "test", "scopes": ["read"]}).to_string();
    let made = ask(&service, Method::POST, "/api/v1/keys", &[("content-type", "application/json")], &key).await;
    let place = made.headers()["location"].to_str().expect("text").to_owned();
    faults.extend(faults_of(&document, "/api/v1/keys", "post", made).await);
    let user = json!({"customer": "acme", "name": "jo", "role": "viewer", "password": "long enough"}).to_string();
    let made = ask(&service, Method::POST, "/api/v1/users", &[("content-type", "application/json")], &user).await;
    let user = made.headers()["location"].to_str().expect("text").to_owned();
    faults.extend(faults_of(&document, "/api/v1/users", "post", made).await);
    // A stream has no end, stats_stream.rs reads its beginning; and there is no identity provider here, but in oidc.rs.
    let elsewhere = ["/api/v1/stats/stream", "/login/oidc", "/login/oidc/callback"];
    for path in document.paths_with("get").into_iter().filter(|path| !elsewhere.contains(&path.as_str())) {
        let real = path.replace("{customer}", "acme").replace("{vehicle}", "TRK-1");
        let real = real.replace("/api/v1/keys/{key}", &place).replace("/api/v1/users/{user}", &user);
        let response = ask(&service, Method::GET, &real, &[], "").await;
        let status = response.status().as_u16();
        assert!(status < 400 || path == "/api/v1/live", "{real} answers {status}");
        faults.extend(faults_of(&document, &path, "get", response).await);
    }
    for query in ["customer=acme,birch&status=offline,online&sort=-last_seen&limit=1", "q=trk", "tag=none"] {
        let response = ask(&service, Method::GET, &format!("/api/v1/vehicles?{query}"), &[], "").await;
        assert_eq!(response.status(), 200, "{query}");
        faults.extend(faults_of(&document, "/api/v1/vehicles", "get", response).await);
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[tokio::test]
async fn every_fault_answers_with_what_is_documented() {
    let service = service().await;
    let document = document(&service).await;
    let mut faults = Vec::new();
    let missing = "/api/v1/customers/{customer}/vehicles/{vehicle}";
    for (status, path, real) in [
        (422, "/api/v1/vehicles", "/api/v1/vehicles?limit=0"),
        (422, "/api/v1/vehicles", "/api/v1/vehicles?customer=nobody"),
        (422, "/api/v1/vehicles", "/api/v1/vehicles?sort=weight"),
        (404, missing, "/api/v1/customers/acme/vehicles/nobody"),
        (404, &format!("{missing}/transitions"), "/api/v1/customers/acme/vehicles/nobody/transitions"),
        (422, "/api/v1/transitions", "/api/v1/transitions?from=2&to=1"),
        (422, "/api/v1/customers", "/api/v1/customers?cursor=made-up"),
        (422, "/api/v1/status", "/api/v1/status?verbose=1"),
        (422, "/api/v1/live", "/api/v1/live?status=gone"),
    ] {
        let response = ask(&service, Method::GET, real, &[], "").await;
        assert_eq!(response.status(), status, "{real}");
        faults.extend(faults_of(&document, path, "get", response).await);
    }
    let path = "/api/v1/heartbeats";
    let many = format!("[{}{{}}]", "{},".repeat(1_000));
    for (status, kind, body) in [
        (202, "application/json", r#"[{"customer":"acme","vehicle":"TRK-1"},{"vehicle":"x"}]"#),
        (400, "application/json", "nonsense"),
        (413, "application/json", many.as_str()),
        (415, "text/plain", "{}"),
        (422, "application/json", r#"{"customer":"acme","vehicle":"TRK-1","lat":95}"#),
    ] {
        let response = ask(&service, Method::POST, path, &[("content-type", kind)], body).await;
        assert_eq!(response.status(), status, "{body}");
        faults.extend(faults_of(&document, path, "post", response).await);
    }
    for path in document.paths() {
        let has = |method: &&str| document.operation(&path, method).is_some();
        let method = ["get", "post", "delete"].into_iter().find(has).expect("a method");
        if document.answer(&path, method, 405).is_some() {
            let real = path.replace("{customer}", "acme").replace("{vehicle}", "TRK-1");
            let response = ask(&service, Method::TRACE, &real, &[], "").await;
            assert_eq!(response.status(), 405, "TRACE {real}");
            faults.extend(faults_of(&document, &path, method, response).await);
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[tokio::test]
async fn every_change_of_the_registry_answers_with_what_is_documented() {
    let service = service().await;
    let document = document(&service).await;
    let mut faults = Vec::new();
    let vehicle = "/api/v1/customers/{customer}/vehicles/{vehicle}";
    let (customer, customers, import) =
        ("/api/v1/customers/{customer}", "/api/v1/customers", "/api/v1/vehicles/import");
    let (json, csv) = ("application/json", "text/csv");
    let twice = "customer,vehicle,vin\nacme,n1,W\nacme,n1,W\n";
    for (method, path, query, kind, body, status) in [
        ("PUT", vehicle, "", json, r#"{"name":"Bus","tags":["a"]}"#, 200),
        ("PUT", vehicle, "-new", json, "{}", 201),
        ("PUT", vehicle, "", json, "nonsense", 400),
        ("PUT", vehicle, "", csv, "{}", 415),
        ("PUT", vehicle, "", json, r#"{"status":"online"}"#, 422),
        ("PATCH", vehicle, "", json, r#"{"vin":"W"}"#, 200),
        ("PATCH", vehicle, "-nobody", json, "{}", 404),
        ("POST", customers, "", json, r#"{"customer":"cedar","name":"Cedar"}"#, 201),
        ("POST", customers, "", json, r#"{"customer":"cedar"}"#, 409),
        ("POST", customers, "", json, "{}", 422),
        ("PATCH", customer, "", json, r#"{"offline_after_ms":5000}"#, 200),
        ("DELETE", customer, "", json, "", 409),
        ("POST", import, "?dry_run=true", csv, twice, 200),
        ("POST", import, "", csv, twice, 422),
        ("POST", import, "?colour=red", csv, twice, 422),
        ("POST", import, "", json, "", 415),
        ("POST", "/api/v1/customers/{customer}/vehicles/{vehicle}/transfer", "", json, r#"{"to":"cedar"}"#, 201),
        ("GET", "/api/v1/customers/{customer}/vehicles/{vehicle}/transfers", "", json, "", 200),
        ("DELETE", vehicle, "-new", json, "", 200),
        ("DELETE", vehicle, "-new", json, "", 404),
        ("DELETE", customer, "?vehicles=delete", json, "", 200),
    ] {
        let real = format!("{}{query}", path.replace("{customer}", "acme").replace("{vehicle}", "TRK-1"));
        let response = ask(&service, method.parse().expect("a method"), &real, &[("content-type", kind)], body).await;
        assert_eq!(response.status(), status, "{method} {real} {body}");
        faults.extend(faults_of(&document, path, &method.to_lowercase(), response).await);
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The paths in the table of routes; those of the scope with its prefix.
fn routes(table: &str) -> Vec<String> {
    let (before, after) = table.split_once(r#"web::scope("/api/v1")"#).expect("the scope");
    let (inside, outside) = after.split_once(';').expect("the end of the scope");
    let paths = |text: &str, prefix: &str| -> Vec<String> {
        let calls = text.split(".service(").skip(1).filter_map(|call| {
            let arguments = call.strip_prefix("get(").or_else(|| call.strip_prefix("only("))?;
            Some(format!("{prefix}{}", arguments.trim_start().strip_prefix('"')?.split('"').next()?))
        });
        calls.collect()
    };
    [paths(before, ""), paths(inside, "/api/v1"), paths(outside, "")].concat()
}

#[tokio::test]
async fn every_route_is_documented_and_nothing_else() {
    let mut table = routes(TABLE_OF_ROUTES);
    assert!(table.iter().any(|path| path == "/api/v1/vehicles") && table.iter().any(|path| path == "/healthz"));
    table.extend(OTHER_ROUTES.map(str::to_owned));
    table.sort();
    let service = Service::start(&["--store", "sqlite::memory:"]);
    let document = document(&service).await;
    assert_eq!(document.paths(), table);
    assert_eq!(service.get("/openapi.json").await, *document.root());
    let version = &document.root()["info"]["version"];
    assert_eq!(service.get("/api/v1/status").await["version"], *version);
}

#[tokio::test]
async fn the_examples_are_what_their_schemas_say() {
    let service = Service::start(&["--store", "sqlite::memory:"]);
    let document = document(&service).await;
    let mut examples = Vec::new();
    collect_examples(document.root(), "", &mut examples);
    assert!(examples.len() > 20, "{} examples", examples.len());
    let faults: Vec<String> =
        examples.iter().flat_map(|(place, schema, value)| document.faults(schema, value, place)).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Everything that has a schema, with each of its examples.
fn collect_examples<'a>(value: &'a Value, place: &str, found: &mut Vec<(String, &'a Value, &'a Value)>) {
    if let Some(schema) = value.get("schema") {
        found.extend(value.get("example").map(|example| (place.to_owned(), schema, example)));
        let several = value.get("examples").and_then(Value::as_object).into_iter().flatten();
        found.extend(several.map(|(name, example)| (format!("{place}/{name}"), schema, &example["value"])));
    }
    let inner: Vec<(String, &Value)> = match value {
        Value::Object(object) => object.iter().map(|(name, inner)| (name.clone(), inner)).collect(),
        Value::Array(list) => list.iter().enumerate().map(|(i, inner)| (i.to_string(), inner)).collect(),
        _ => Vec::new(),
    };
    inner.into_iter().for_each(|(name, inner)| collect_examples(inner, &format!("{place}/{name}"), found));
}

#[tokio::test]
async fn every_reference_of_the_document_leads_somewhere() {
    let service = Service::start(&["--store", "sqlite::memory:"]);
    let document = document(&service).await;
    let (mut open, mut checked) = (vec![document.root()], 0);
    while let Some(value) = open.pop() {
        if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
            assert!(resolve(document.root(), reference).is_some(), "{reference} leads nowhere");
            checked += 1;
        }
        open.extend(value.as_object().into_iter().flat_map(|object| object.values()));
        open.extend(value.as_array().into_iter().flatten());
    }
    assert!(checked > 50, "{checked} references");
}

/// Texts in quotes behind `src=` or `href=`.
fn links(page: &str) -> Vec<&str> {
    let values = ["src=\"", "href=\""].into_iter().flat_map(|attribute| page.split(attribute).skip(1));
    values.filter_map(|value| value.split('"').next()).collect()
}

#[tokio::test]
async fn the_docs_page_names_no_other_host_and_may_reach_none() {
    let service = Service::start(&["--store", "sqlite::memory:"]);
    let page = ask(&service, Method::GET, "/api/v1/docs/", &[], "").await;
    let policy = page.headers()["content-security-policy"].to_str().expect("text").to_owned();
    for rule in ["default-src 'self'", "connect-src 'self' ws: wss:", "img-src 'self' data: blob:"] {
        assert!(policy.contains(rule), "{policy}");
    }
    let page = page.text().await.expect("text");
    let assets = links(&page);
    assert!(assets.iter().any(|asset| asset.ends_with("swagger-initializer.js")), "{page}");
    for asset in assets {
        assert!(!asset.contains("//"), "{asset} is elsewhere");
        let response = ask(&service, Method::GET, &format!("/api/v1/docs/{asset}"), &[], "").await;
        assert_eq!(response.status(), 200, "{asset}");
        // The program itself names hosts in messages and links; that it may ask none of them is the policy above. A
        // namespace in an embedded picture is a name, no address.
        if asset.ends_with(".css") || asset.ends_with("initializer.js") {
            let text = response.text().await.expect("text").replace("http://www.w3.org/", "");
            assert!(!text.contains("http:") && !text.contains("https:"), "{asset} names another host");
        }
    }
}
