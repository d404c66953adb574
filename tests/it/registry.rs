//! What operators write, from outside: vehicles and customers made, changed, deleted and given away, on both stacks.
//! Files of many vehicles are in import.rs.

use serde_json::{Value, json};

use crate::columns::{View, decode};
use crate::stacks::{CUSTOMER, Kind, Stack};
use crate::support::{Live, Reply, Service, until};

fn path(customer: &str, vehicle: &str) -> String {
    format!("/api/v1/customers/{customer}/vehicles/{vehicle}")
}

async fn send(service: &Service, method: &str, path: &str, body: Value) -> Reply {
    service.send(method, path, "application/json", body.to_string()).await
}

async fn put(service: &Service, vehicle: &str, body: Value) -> Reply {
    send(service, "PUT", &path(CUSTOMER, vehicle), body).await
}

/// The same with one more header.
async fn send_if(service: &Service, method: &str, path: &str, header: (&str, &str), body: Value) -> u16 {
    let request = reqwest::Client::new().request(method.parse().expect("a method"), service.url(path));
    request.header(header.0, header.1).json(&body).send().await.expect("answers").status().as_u16()
}

async fn beat(service: &Service, customer: &str, vehicle: &str) {
    let (status, answer) = service.post_heartbeats(&json!({"customer": customer, "vehicle": vehicle})).await;
    assert_eq!(status, 202, "{answer}");
}

async fn is(service: &Service, customer: &str, vehicle: &str, wanted: &str) {
    until(wanted, || async { service.status_of(customer, vehicle).await.as_deref() == Some(wanted) }).await;
}

async fn seqs(service: &Service, customer: &str, vehicle: &str) -> Vec<u64> {
    let items = service.all(&format!("{}/transitions?", path(customer, vehicle))).await;
    items.iter().map(|item| item["seq"].as_u64().expect("a number")).collect()
}

fn service() -> Service {
    Service::start(&["--store", "sqlite::memory:", "--offline-after", "1h"])
}

async fn lives_a_whole_life(kind: Kind) {
    let Some(stack) = Stack::of(kind).await else { return };
    let settings = [("FLEET__OFFLINE_AFTER", "60s")];
    let mut service = stack.start(&settings).await;
    let full = json!({"name": "Bus \"7\"", "vin": "W1", "tags": ["e"], "offline_after_ms": 5_000});
    let made = put(&service, "v1", full.clone()).await;
    assert_eq!((made.status, made.header("etag")), (201, "\"1\""), "{made:?}");
    assert_eq!((&made.json()["status"], &made.json()["policy_source"]), (&json!("never_seen"), &json!("vehicle")));
    assert_eq!(put(&service, "v1", full).await.status, 200);
    assert_eq!(service.get("/api/v1/vehicles?q=bus").await["total"], 1);
    beat(&service, CUSTOMER, "v1").await;
    is(&service, CUSTOMER, "v1", "online").await;
    is(&service, CUSTOMER, "v1", "offline").await;
    // A crash, and all of it is there again.
    service.kill();
    service = stack.start(&settings).await;
    let vehicle = service.get(&path(CUSTOMER, "v1")).await;
    assert_eq!((&vehicle["name"], &vehicle["tags"]), (&json!("Bus \"7\""), &json!(["e"])), "{vehicle}");
    assert_eq!((&vehicle["offline_after_ms"], &vehicle["status"]), (&json!(5_000), &json!("offline")));
    let gone = send(&service, "DELETE", &path(CUSTOMER, "v1"), json!({})).await;
    assert_eq!((gone.status, &gone.json()["history"]), (200, &json!("kept")), "{gone:?}");
    assert_eq!(service.answer(&path(CUSTOMER, "v1")).await.0, 404);
    assert_eq!(seqs(&service, CUSTOMER, "v1").await, [2, 1], "its history stays");
    // Neither a crash nor the file of last heartbeats brings it back.
    service.kill();
    service = stack.start(&settings).await;
    assert_eq!(service.get("/api/v1/vehicles").await["total"], 0);
    assert_eq!(seqs(&service, CUSTOMER, "v1").await, [2, 1]);
    // It speaks: a new one of that name, whose numbers go on.
    beat(&service, CUSTOMER, "v1").await;
    is(&service, CUSTOMER, "v1", "online").await;
    until("its third transition is stored", || async { seqs(&service, CUSTOMER, "v1").await == [3, 2, 1] }).await;
    assert_eq!(service.get(&path(CUSTOMER, "v1")).await["name"], Value::Null);
    let purged = send(&service, "DELETE", &format!("{}?history=delete", path(CUSTOMER, "v1")), json!({})).await;
    assert_eq!((purged.status, &purged.json()["history"]), (200, &json!("deleted")), "{purged:?}");
    service.kill();
    service = stack.start(&settings).await;
    assert_eq!(service.answer(&format!("{}/transitions", path(CUSTOMER, "v1"))).await.0, 404);
}

#[tokio::test]
async fn a_vehicle_is_made_deleted_and_comes_back_on_sqlite() {
    lives_a_whole_life(Kind::Embedded).await;
}

#[tokio::test]
async fn a_vehicle_is_made_deleted_and_comes_back_on_postgres() {
    lives_a_whole_life(Kind::External).await;
}

#[tokio::test]
async fn what_nobody_may_write_is_refused_by_name() {
    let service = service();
    put(&service, "v1", json!({"name": "a"})).await;
    for (body, field) in [
        (json!({"status": "online"}), "status"),
        (json!({"last_seen": null}), "last_seen"),
        (json!({"colour": "red"}), "colour"),
        (json!({"vehicle": "v2"}), "vehicle"),
        (json!({"offline_after_ms": 1}), "offline_after_ms"),
        (json!({"tags": ["a", "a"]}), "tags"),
    ] {
        for method in ["PUT", "PATCH"] {
            let reply = send(&service, method, &path(CUSTOMER, "v1"), body.clone()).await;
            assert_eq!((reply.status, &reply.json()["errors"][0]["field"]), (422, &json!(field)), "{method} {body}");
        }
    }
    assert_eq!(put(&service, "a+b", json!({})).await.status, 422);
    assert_eq!(service.send("PUT", &path(CUSTOMER, "v1"), "text/plain", "{}").await.status, 415);
    assert_eq!(send(&service, "PATCH", &path(CUSTOMER, "v1"), json!([])).await.status, 400);
    assert_eq!(send(&service, "PATCH", &path(CUSTOMER, "nobody"), json!({})).await.status, 404);
    assert_eq!(send(&service, "DELETE", &path(CUSTOMER, "nobody"), json!({})).await.status, 404);
    assert_eq!(service.get(&path(CUSTOMER, "v1")).await["name"], "a");
    let patched = service.send("PATCH", &path(CUSTOMER, "v1"), "application/merge-patch+json", r#"{"vin":"W"}"#).await;
    assert_eq!((&patched.json()["name"], &patched.json()["vin"]), (&json!("a"), &json!("W")), "{patched:?}");
}

#[tokio::test]
async fn two_who_write_at_once_do_not_overwrite_each_other() {
    let service = service();
    let place = path(CUSTOMER, "v1");
    assert_eq!(send_if(&service, "PUT", &place, ("If-Match", "\"1\""), json!({})).await, 412, "it is not there");
    assert_eq!(send_if(&service, "PUT", &place, ("If-None-Match", "*"), json!({"name": "a"})).await, 201);
    assert_eq!(send_if(&service, "PUT", &place, ("If-None-Match", "*"), json!({"name": "b"})).await, 412);
    assert_eq!(send_if(&service, "PATCH", &place, ("If-Match", "\"1\""), json!({"name": "b"})).await, 200);
    assert_eq!(send_if(&service, "PATCH", &place, ("If-Match", "\"1\""), json!({"name": "c"})).await, 412);
    assert_eq!(send_if(&service, "DELETE", &place, ("If-Match", "\"1\""), json!({})).await, 412);
    assert_eq!(service.get(&place).await["name"], "b");
    assert_eq!(send_if(&service, "DELETE", &place, ("If-Match", "\"2\""), json!({})).await, 200);
}

#[tokio::test]
async fn a_new_timeout_holds_at_once_and_says_whose_it_is() {
    let service = service();
    put(&service, "own", json!({"offline_after_ms": 3_600_000})).await;
    for vehicle in ["own", "theirs"] {
        beat(&service, CUSTOMER, vehicle).await;
        is(&service, CUSTOMER, vehicle, "online").await;
    }
    let customer = format!("/api/v1/customers/{CUSTOMER}");
    let changed = send(&service, "PATCH", &customer, json!({"offline_after_ms": 100, "name": "Acme"})).await;
    assert_eq!((changed.status, &changed.json()["name"]), (200, &json!("Acme")), "{changed:?}");
    is(&service, CUSTOMER, "theirs", "offline").await;
    let theirs = service.get(&path(CUSTOMER, "theirs")).await;
    assert_eq!((&theirs["offline_after_ms"], &theirs["policy_source"]), (&json!(100), &json!("customer")), "{theirs}");
    assert_eq!(service.status_of(CUSTOMER, "own").await.as_deref(), Some("online"), "it has its own");
    // A newcomer that nobody registered has its customer's too.
    beat(&service, CUSTOMER, "late").await;
    is(&service, CUSTOMER, "late", "offline").await;
    send(&service, "PATCH", &path(CUSTOMER, "own"), json!({"offline_after_ms": null})).await;
    is(&service, CUSTOMER, "own", "offline").await;
}

#[tokio::test]
async fn caps_hold_for_the_registered_too() {
    let service = Service::with_settings(&[("ROLLCALL__FLEET__MAX_VEHICLES_PER_CUSTOMER", "1")]);
    assert_eq!(put(&service, "v1", json!({})).await.status, 201);
    let refused = put(&service, "v2", json!({})).await;
    assert!(refused.status == 409 && refused.text.contains("customer_full"), "{refused:?}");
    assert_eq!(put(&service, "v1", json!({"name": "a"})).await.status, 200);
    send(&service, "DELETE", &path(CUSTOMER, "v1"), json!({})).await;
    assert_eq!(put(&service, "v2", json!({})).await.status, 201, "there is room again");
}

#[tokio::test]
async fn customers_come_and_go_with_their_vehicles() {
    let service = service();
    let acme = json!({"customer": "acme", "name": "Acme", "offline_after_ms": 700});
    let made = send(&service, "POST", "/api/v1/customers", acme.clone()).await;
    assert_eq!((made.status, &made.json()["counts"]["online"]), (201, &json!(0)), "{made:?}");
    assert_eq!(send(&service, "POST", "/api/v1/customers", acme).await.status, 409);
    assert_eq!(service.get("/api/v1/customers").await["items"][0]["name"], "Acme", "before it has a vehicle");
    put(&service, "v1", json!({})).await;
    assert_eq!(service.get("/api/v1/customers/acme").await["counts"]["never_seen"], 1);
    assert_eq!(send(&service, "DELETE", "/api/v1/customers/acme", json!({})).await.status, 409);
    assert_eq!(send(&service, "DELETE", "/api/v1/customers/acme?vehicles=delete", json!({})).await.status, 200);
    assert_eq!(service.answer("/api/v1/customers/acme").await.0, 404);
    assert_eq!(send(&service, "PATCH", "/api/v1/customers/acme", json!({})).await.status, 404);
}

async fn is_given_away(kind: Kind) {
    let Some(stack) = Stack::of(kind).await else { return };
    let mut service = stack.start(&[("FLEET__OFFLINE_AFTER", "60s")]).await;
    put(&service, "v1", json!({"name": "Bus", "tags": ["e"]})).await;
    beat(&service, CUSTOMER, "v1").await;
    is(&service, CUSTOMER, "v1", "online").await;
    let order = format!("{}/transfer", path(CUSTOMER, "v1"));
    for (body, status) in [
        (json!({}), 422),
        (json!({"to": CUSTOMER}), 422),
        (json!({"to": "birch", "at": "2001-01-01T00:00:00Z"}), 422),
        (json!({"to": "birch", "at": "2999-01-01T00:00:00Z"}), 422),
        (json!({"to": "birch", "why": "sold"}), 422),
    ] {
        assert_eq!(send(&service, "POST", &order, body.clone()).await.status, status, "{body}");
    }
    assert_eq!(service.status_of(CUSTOMER, "v1").await.as_deref(), Some("online"), "refused, it lives on");
    let given = send(&service, "POST", &order, json!({"to": "birch"})).await;
    let vehicle = given.json();
    assert_eq!((given.status, &vehicle["customer"], &vehicle["name"]), (201, &json!("birch"), &json!("Bus")));
    assert_eq!((&vehicle["status"], &vehicle["tags"]), (&json!("never_seen"), &json!(["e"])), "{vehicle}");
    service.kill();
    service = stack.start(&[]).await;
    assert_eq!(service.answer(&path(CUSTOMER, "v1")).await.0, 404);
    assert_eq!(seqs(&service, CUSTOMER, "v1").await, [1], "the past stays with the customer of its time");
    assert_eq!(seqs(&service, "birch", "v1").await, [0; 0]);
    beat(&service, "birch", "v1").await;
    is(&service, "birch", "v1", "online").await;
    for customer in [CUSTOMER, "birch"] {
        let list = service.get(&format!("{}/transfers", path(customer, "v1"))).await;
        assert_eq!((&list["items"][0]["from"], &list["items"][0]["to"]), (&json!(CUSTOMER), &json!("birch")), "{list}");
    }
}

#[tokio::test]
async fn a_vehicle_goes_to_another_customer_on_sqlite() {
    is_given_away(Kind::Embedded).await;
}

#[tokio::test]
async fn a_vehicle_goes_to_another_customer_on_postgres() {
    is_given_away(Kind::External).await;
}

/// R48: a dashboard that was away when a vehicle was deleted does not keep its row.
#[tokio::test]
async fn who_was_deleted_while_a_dashboard_was_away_is_gone_after_it_resumes() {
    let service = service();
    for vehicle in ["stays", "goes", "returns"] {
        beat(&service, CUSTOMER, vehicle).await;
        is(&service, CUSTOMER, vehicle, "online").await;
    }
    let mut live: Live = service.live("").await;
    let hello = live.next_of("hello").await;
    let version = live.next_of("snapshot").await["version"].clone();
    let answer = reqwest::get(service.url("/api/v1/live/snapshot")).await.expect("answers");
    let mut view = View::default();
    view.take(decode(&answer.bytes().await.expect("bytes")));
    assert_eq!(view.by_name().len(), 3);
    drop(live);
    for vehicle in ["goes", "returns"] {
        assert_eq!(send(&service, "DELETE", &path(CUSTOMER, vehicle), json!({})).await.status, 200);
    }
    put(&service, "returns", json!({"name": "again"})).await;

    let mut live = service.live("").await;
    live.say(json!({"type": "resume", "epoch": hello["epoch"], "version": version})).await;
    let (mut removed, mut back) = (Vec::new(), Value::Null);
    while removed.is_empty() || back.is_null() {
        let frame = live.next().await.expect("open");
        removed.extend(frame["removed"].as_array().into_iter().flatten().map(|key| key["vehicle"].clone()));
        let changed = frame["changed"].as_array().into_iter().flatten();
        back = changed.into_iter().find(|row| row["vehicle"] == "returns").cloned().unwrap_or(back);
    }
    assert_eq!(removed, ["goes"], "who is there again is not removed");
    assert_eq!((&back["status"], &back["name"]), (&json!("never_seen"), &json!("again")), "{back}");
    follow_in_columns(&service, view).await;
}

async fn follow_in_columns(service: &Service, mut view: View) {
    use futures_util::StreamExt;
    use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};
    let mut request = format!("ws://{}/api/v1/live", service.http).into_client_request().expect("a request");
    request.headers_mut().insert("Sec-WebSocket-Protocol", "rollcall.v1.bin".parse().expect("a header"));
    let (socket, _) = tokio_tungstenite::connect_async(request).await.expect("upgrades");
    let mut live = Live { socket };
    live.say(json!({"type": "resume", "epoch": view.epoch, "version": view.version})).await;
    while view.by_name().len() != 2 {
        let next = tokio::time::timeout(crate::support::PATIENCE, live.socket.next()).await.expect("in time");
        if let Message::Binary(bytes) = next.expect("open").expect("a frame") {
            view.take(decode(&bytes));
        }
    }
    let names: Vec<String> = view.by_name().into_keys().collect();
    assert!(names.iter().all(|name| !name.contains("goes")), "{names:?}");
}

#[tokio::test]
async fn a_customer_deleted_with_its_history_takes_along_who_had_left_before() {
    let service = Service::with_settings(&[("ROLLCALL__HISTORY__HEARTBEATS", "all")]);
    for vehicle in ["v1", "v2"] {
        beat(&service, CUSTOMER, vehicle).await;
        is(&service, CUSTOMER, vehicle, "online").await;
    }
    until("both are kept", || async { service.get("/api/v1/status").await["heartbeat_log"]["logged"] == 2 }).await;
    until("both are stored", || async { service.all("/api/v1/transitions?").await.len() == 2 }).await;
    assert_eq!(send(&service, "DELETE", &path(CUSTOMER, "v1"), json!({})).await.status, 200);
    let heartbeats = format!("{}/heartbeats", path(CUSTOMER, "v1"));
    assert_eq!(service.get(&heartbeats).await["items"].as_array().map(Vec::len), Some(1), "its history stays");
    let customer = format!("/api/v1/customers/{CUSTOMER}?vehicles=delete&history=delete");
    assert_eq!(send(&service, "DELETE", &customer, json!({})).await.status, 200);
    assert_eq!(service.all("/api/v1/transitions?").await, Vec::<Value>::new());
    // A new one of that name begins with an empty past.
    beat(&service, CUSTOMER, "v1").await;
    is(&service, CUSTOMER, "v1", "online").await;
    until("it is kept", || async { service.get(&heartbeats).await["items"][0].is_object() }).await;
    assert_eq!(service.get(&heartbeats).await["items"].as_array().map(Vec::len), Some(1));
}
