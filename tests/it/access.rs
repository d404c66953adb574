//! Keys as operators and their programs meet them: made, used, refused, revoked; at every door, and never in a log.
//! That no customer sees another's vehicles is in tenancy.rs.

use std::process::Command;

use futures_util::StreamExt;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::sessions;
use crate::support::{Live, Reply, Service, from_environment, rollcall, until};

const JSON: &str = "application/json";
const CLIENT_SECRET: &str = "a client secret that is planted to be found";
const PEPPER: &str = "a pepper that is planted to be found: 0123456789";

/// A service that asks for keys, on a store in a file, and its first key.
pub struct Keyed {
    pub service: Service,
    pub admin: String,
    folder: TempDir,
}

impl Keyed {
    /// Starts it with these further settings of the environment.
    pub fn start(more: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().expect("a folder");
        let store = store_in(&folder);
        let admin = key_command(&store, &["create", "--name", "first", "--scopes", "admin"]).trim().to_owned();
        assert!(admin.starts_with("rk_"), "{admin}");
        let mut serve =
            rollcall(&["serve", "--http", "127.0.0.1:0", "--mqtt-listen", "127.0.0.1:0", "--store", &store]);
        serve.env("ROLLCALL__AUTH__MODE", "keys").envs(more.iter().copied());
        Self { service: Service::spawn(&mut serve), admin, folder }
    }

    /// Makes a key by REST and gives it back whole.
    pub async fn key(&self, grant: Value) -> String {
        let made = self.ask(&self.admin, "POST", "/api/v1/keys", &grant).await;
        assert_eq!(made.status, 201, "{grant}: {}", made.text);
        made.json()["key"].as_str().expect("the key").to_owned()
    }

    /// A request with this key; `Value::Null` is no body.
    pub async fn ask(&self, key: &str, method: &str, path: &str, body: &Value) -> Reply {
        match body {
            Value::Null => self.service.send_as(key, method, path, "", "").await,
            body => self.service.send_as(key, method, path, JSON, body.to_string()).await,
        }
    }

    pub async fn get(&self, key: &str, path: &str) -> Reply {
        self.ask(key, "GET", path, &Value::Null).await
    }

    /// Heartbeats of these vehicles, and waits until they are on the board.
    pub async fn beat(&self, vehicles: &[(&str, &str)]) {
        let beats: Vec<Value> =
            vehicles.iter().map(|(customer, vehicle)| json!({"customer": customer, "vehicle": vehicle})).collect();
        let sent = self.ask(&self.admin, "POST", "/api/v1/heartbeats", &json!(beats)).await;
        assert_eq!((sent.status, &sent.json()["accepted"]), (202, &json!(vehicles.len())), "{}", sent.text);
        for (customer, vehicle) in vehicles {
            let path = format!("/api/v1/customers/{customer}/vehicles/{vehicle}");
            until("it is on the board", || async { self.get(&self.admin, &path).await.status == 200 }).await;
        }
    }

    /// A command of the binary on the same store.
    pub fn rollcall(&self, arguments: &[&str]) -> Command {
        let mut command = rollcall(&["--store", &store_in(&self.folder)]);
        command.args(arguments);
        command
    }

    fn command(&self, arguments: &[&str]) -> String {
        key_command(&store_in(&self.folder), arguments)
    }
}

fn store_in(folder: &TempDir) -> String {
    format!("sqlite:{}", folder.path().join("rollcall.db").display())
}

/// What `rollcall key` prints.
fn key_command(store: &str, arguments: &[&str]) -> String {
    let mut command: Command = rollcall(&["--store", store, "key"]);
    let output = command.args(arguments).output().expect("runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    assert!(!stderr.contains("rk_"), "{stderr}");
    String::from_utf8(output.stdout).expect("text")
}

/// The identifier in a key.
fn id_of(key: &str) -> &str {
    key.split('_').nth(1).expect("a key")
}

/// Reads to the end: the reason of the farewell and the close code.
pub async fn farewell(live: &mut Live) -> (String, u16) {
    let reason = live.next_of("bye").await["reason"].as_str().expect("text").to_owned();
    let closed = tokio::time::timeout(crate::support::PATIENCE, live.socket.next()).await.expect("in time");
    match closed {
        Some(Ok(Message::Close(Some(frame)))) => (reason, u16::from(frame.code)),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_door_refuses_whoever_has_no_good_key() {
    let keyed = Keyed::start(&[]);
    let document = keyed.get("", "/api/v1/openapi.json").await.json();
    let revoked = keyed.key(json!({"name": "revoked", "scopes": ["admin"]})).await;
    let path = format!("/api/v1/keys/{}", id_of(&revoked));
    assert_eq!(keyed.ask(&keyed.admin, "DELETE", &path, &Value::Null).await.status, 204);
    let soon = chrono::Utc::now() + chrono::Duration::milliseconds(400);
    let expired = keyed.key(json!({"name": "old", "scopes": ["admin"], "expires_at": soon.to_rfc3339()})).await;
    until("it has expired", || async { keyed.get(&expired, "/api/v1/status").await.status == 401 }).await;
    let wrong = format!("{}{}", &keyed.admin[..keyed.admin.len() - 1], if keyed.admin.ends_with('0') { 1 } else { 0 });
    let bad =
        [("", "missing"), ("nonsense", "strange"), (&*wrong, "wrong"), (&*revoked, "revoked"), (&*expired, "old")];
    let mut scoped = Vec::new();
    for scope in ["read", "ingest", "manage"] {
        scoped.push((scope, keyed.key(json!({"name": scope, "scopes": [scope]})).await));
    }
    let tenant = keyed.key(json!({"name": "all", "customer": "acme", "scopes": ["read", "ingest", "manage"]})).await;
    let mut doors = 0;
    for (path, operations) in document["paths"].as_object().expect("paths") {
        let real = path.replace("{customer}", "acme").replace("{vehicle}", "TRK-1").replace("{key}", "0000");
        for (method, operation) in operations.as_object().expect("operations") {
            let Some(needed) = operation["security"][0]["key"][0].as_str() else { continue };
            doors += 1;
            let method = method.to_uppercase();
            for (key, what) in bad {
                let answer = keyed.ask(key, &method, &real, &Value::Null).await;
                assert_eq!(answer.status, 401, "{method} {real} with a {what} key: {}", answer.text);
                assert!(answer.header("www-authenticate").starts_with("Bearer"), "{method} {real}");
                assert_eq!(answer.header("content-type"), "application/problem+json", "{method} {real}");
            }
            for (scope, key) in scoped.iter().filter(|(scope, _)| *scope != needed) {
                let answer = keyed.ask(key, &method, &real, &Value::Null).await;
                assert_eq!((answer.status, &answer.json()["scope"]), (403, &json!(needed)), "{method} {real} {scope}");
            }
            if operation["x-all-customers"] == true || needed == "admin" {
                let answer = keyed.ask(&tenant, &method, &real, &Value::Null).await;
                assert_eq!(answer.status, 403, "{method} {real}: {}", answer.text);
            }
        }
    }
    assert!(doors > 20, "{doors} doors");
    for open in ["/healthz", "/readyz", "/api/v1/openapi.json", "/api/v1/docs/", "/", "/app.css"] {
        assert_eq!(keyed.get("", open).await.status, 200, "{open}");
    }
}

#[tokio::test]
async fn a_key_made_and_revoked_on_the_command_line_counts_within_a_second() {
    let keyed = Keyed::start(&[]);
    let made = ["create", "--name", "wall board", "--scopes", "read", "--customer", "acme", "--expires-in", "90d"];
    let key = keyed.command(&made).trim().to_owned();
    until("the service knows it", || async { keyed.get(&key, "/api/v1/vehicles").await.status == 200 }).await;
    let list = keyed.command(&["list", "--customer", "acme"]);
    assert!(list.contains("wall board") && list.contains(id_of(&key)) && !list.contains("first"), "{list}");
    assert!(!list.contains(key.rsplit('_').next().expect("the secret")), "{list}");
    let mut live = keyed.service.live_as(&key, "").await;
    live.next_of("hello").await;
    keyed.command(&["revoke", id_of(&key)]);
    let begun = std::time::Instant::now();
    assert_eq!(farewell(&mut live).await, ("the key was revoked".into(), 4401));
    assert!(begun.elapsed().as_secs() < 10, "a second, on an idle machine: {:?}", begun.elapsed());
    assert_eq!(keyed.get(&key, "/api/v1/vehicles").await.status, 401);
}

#[tokio::test]
async fn a_key_revoked_by_rest_is_out_with_the_answer() {
    let keyed = Keyed::start(&[]);
    let key = keyed.key(json!({"name": "script", "scopes": ["read"]})).await;
    let mut live = keyed.service.live_as(&key, "").await;
    live.next_of("hello").await;
    let path = format!("/api/v1/keys/{}", id_of(&key));
    let before = keyed.get(&keyed.admin, &path).await.json();
    assert_eq!((&before["name"], &before["revoked_at"]), (&json!("script"), &Value::Null));
    assert!(before["last_used_at"].is_string(), "{before}");
    for _ in 0..2 {
        assert_eq!(keyed.ask(&keyed.admin, "DELETE", &path, &Value::Null).await.status, 204);
        assert_eq!(keyed.get(&key, "/api/v1/vehicles").await.status, 401);
    }
    assert_eq!(farewell(&mut live).await.1, 4401);
    assert!(keyed.get(&keyed.admin, &path).await.json()["revoked_at"].is_string());
    let audit = keyed.get(&keyed.admin, "/api/v1/audit?limit=2").await.json();
    let said: Vec<_> = audit["items"].as_array().expect("items").iter().map(|item| item["what"].clone()).collect();
    assert_eq!(said, ["key.revoked", "key.created"], "{audit}");
    assert_eq!(audit["items"][0]["address"], "127.0.0.1");
    let next = format!("/api/v1/audit?cursor={}", audit["next_cursor"].as_str().expect("more"));
    let first = keyed.get(&keyed.admin, &next).await.json();
    assert_eq!((&first["items"][0]["what"], &first["items"][0]["address"]), (&json!("key.created"), &json!("")));
    assert!(first["items"][0]["who"].as_str().is_some_and(|who| who.starts_with("command line")), "{first}");
}

#[tokio::test]
async fn a_ticket_opens_one_websocket_and_no_other_door() {
    let keyed = Keyed::start(&[]);
    let key = keyed.key(json!({"name": "page", "customer": "acme", "scopes": ["read"]})).await;
    let made = keyed.ask(&key, "POST", "/api/v1/live/ticket", &Value::Null).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let query = format!("?ticket={}", made.json()["ticket"].as_str().expect("a ticket"));
    assert_eq!(keyed.get("", &format!("/api/v1/vehicles{query}")).await.status, 401);
    keyed.service.live(&query).await.next_of("hello").await;
    let again = tokio_tungstenite::connect_async(format!("ws://{}/api/v1/live{query}", keyed.service.http)).await;
    match again {
        Err(tungstenite::Error::Http(answer)) => assert_eq!(answer.status().as_u16(), 401),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn heartbeats_are_taken_from_the_key_of_their_vehicle_only() {
    let keyed = Keyed::start(&[]);
    let customer = keyed.key(json!({"name": "depot", "customer": "acme", "scopes": ["ingest"]})).await;
    let own = json!({"name": "TRK-1", "customer": "acme", "vehicle": "TRK-1", "scopes": ["ingest"]});
    let vehicle = keyed.key(own).await;
    let beat = |customer: &str, vehicle: &str| json!({"customer": customer, "vehicle": vehicle});
    let list = json!([beat("acme", "TRK-1"), beat("birch", "VAN-1"), beat("acme", "TRK-2")]);
    for (key, accepted) in [(&customer, 2), (&vehicle, 1), (&keyed.admin, 3)] {
        let answer = keyed.ask(key, "POST", "/api/v1/heartbeats", &list).await;
        assert_eq!((answer.status, &answer.json()["accepted"]), (202, &json!(accepted)), "{}", answer.text);
    }
    let answer = keyed.ask(&vehicle, "POST", "/api/v1/heartbeats", &beat("acme", "TRK-2")).await;
    assert_eq!((answer.status, &answer.json()["scope"]), (403, &json!("ingest")), "{}", answer.text);
}

#[tokio::test]
async fn the_page_shows_nothing_to_whom_it_does_not_know() {
    let keyed = Keyed::start(&[]);
    keyed.beat(&[("acme", "TRK-1"), ("birch", "VAN-1")]).await;
    let acme = keyed.key(json!({"name": "acme", "customer": "acme", "scopes": ["read"]})).await;
    let stranger = keyed.get("", "/").await;
    assert!(stranger.status == 200 && !stranger.text.contains("first-rows"), "{}", stranger.text);
    let own = keyed.get(&acme, "/").await.text;
    assert!(own.contains("TRK-1") && !own.contains("VAN-1") && !own.contains("birch"), "{own}");
    let all = keyed.get(&keyed.admin, "/").await.text;
    assert!(all.contains("TRK-1") && all.contains("VAN-1"), "{all}");
}

/// Secrets are planted wherever one can be, everything is provoked to say what it knows, and none is found.
#[tokio::test]
async fn no_secret_is_in_a_log_an_answer_a_metric_or_a_printed_setting() {
    let folder = TempDir::new().expect("a folder");
    let pepper_file = folder.path().join("pepper.txt");
    std::fs::write(&pepper_file, format!("{PEPPER}\n")).expect("written");
    let secret_file = folder.path().join("client_secret.txt");
    std::fs::write(&secret_file, CLIENT_SECRET).expect("written");
    let rules = json!([{"claim": "groups", "value": "ops", "role": "viewer", "customer": "*"}]);
    let store = from_environment("ROLLCALL_TEST_POSTGRES").unwrap_or_else(|| store_in(&folder));
    let (planted, settings) = (
        "hunter2-planted",
        [
            ("ROLLCALL__AUTH__MODE", "keys".to_owned()),
            ("ROLLCALL__AUTH__PEPPER_FILE", pepper_file.display().to_string()),
            ("ROLLCALL__MQTT__PASSWORD", "hunter2-planted".to_owned()),
            ("ROLLCALL__AUTH__OIDC__ISSUER", "http://127.0.0.1:1/nobody".to_owned()),
            ("ROLLCALL__AUTH__OIDC__CLIENT_ID", "rollcall".to_owned()),
            ("ROLLCALL__AUTH__OIDC__CLIENT_SECRET_FILE", secret_file.display().to_string()),
            ("ROLLCALL__AUTH__OIDC__PUBLIC_ORIGIN", "http://localhost".to_owned()),
            ("ROLLCALL__AUTH__OIDC__RULES", rules.to_string()),
        ],
    );
    let mut check = rollcall(&["check", "--store", &store, "--broker", "mqtt://ops:hunter2-planted@127.0.0.1:1"]);
    let checked = check.envs(settings.clone()).output().expect("runs");
    let mut said = format!("{}{}", String::from_utf8_lossy(&checked.stdout), String::from_utf8_lossy(&checked.stderr));
    assert!(said.contains("\"pepper\""), "{said}");

    let store = store_in(&folder);
    let mut command = rollcall(&["--store", &store, "key", "create", "--name", "first", "--scopes", "admin"]);
    let made = command.envs(settings.clone()).output().expect("runs");
    let admin = String::from_utf8(made.stdout).expect("text").trim().to_owned();
    said.push_str(&String::from_utf8_lossy(&made.stderr));
    let listen = ["serve", "--http", "127.0.0.1:0", "--mqtt-listen", "127.0.0.1:0", "--store", &store];
    let mut serve = rollcall(&listen);
    serve.envs(settings).env("ROLLCALL__LOG__FILTER", "trace");
    let service = Service::spawn(&mut serve);
    let keyed = Keyed { service, admin, folder };
    let tenant = keyed.key(json!({"name": "tenant", "customer": "acme", "scopes": ["read"]})).await;
    let wrong = format!("{}ffff", &keyed.admin[..keyed.admin.len() - 4]);
    let ticket = keyed.ask(&tenant, "POST", "/api/v1/live/ticket", &Value::Null).await.json();
    let ticket = ticket["ticket"].as_str().expect("a ticket").to_owned();
    keyed.service.live(&format!("?ticket={ticket}")).await.next_of("hello").await;
    for key in [&keyed.admin, &tenant, &wrong] {
        for path in ["/metrics", "/api/v1/status", "/api/v1/keys", "/api/v1/audit", "/readyz", "/api/v1/vehicles?no=1"]
        {
            said.push_str(&keyed.get(key, path).await.text);
        }
        said.push_str(&keyed.ask(key, "POST", "/api/v1/keys", &json!({"name": key})).await.text);
    }
    let new_password = "a planted password of jo";
    sessions::user(&keyed, "acme/jo", "viewer").await;
    let with_password = |password: &str| json!({"user": "acme/jo", "password": password}).to_string();
    let cookie = sessions::cookie(&keyed.service, &json!({"user": "acme/jo", "password": sessions::PASSWORD})).await;
    let page = [("cookie", &*cookie), ("sec-fetch-site", "same-origin"), ("content-type", JSON)];
    for (current, new) in [(new_password, new_password), (sessions::PASSWORD, new_password), (new_password, "short")] {
        let body = json!({"current": current, "new": new}).to_string();
        said.push_str(&keyed.service.send_with(&page, "POST", "/api/v1/sessions/current/password", body).await.text);
    }
    said.push_str(&keyed.service.send("POST", "/api/v1/sessions", JSON, with_password(sessions::PASSWORD)).await.text);
    said.push_str(&keyed.service.send("POST", "/api/v1/sessions", JSON, with_password(new_password)).await.text);
    for path in
        ["/api/v1/sessions", "/api/v1/users", "/", "/login", "/login/oidc", "/login/oidc/callback?code=x&state=y"]
    {
        said.push_str(&keyed.service.send_with(&page, "GET", path, "").await.text);
    }
    said.push_str(&keyed.get(&keyed.admin, "/api/v1/audit").await.text);
    said.push_str(&keyed.command(&["list"]));
    assert!(keyed.service.log().len() > 1_000, "a log that says little proves little");
    said.push_str(&keyed.service.log());
    let secret = |key: &str| key.rsplit('_').next().expect("a secret").to_owned();
    let token = cookie["rollcall=".len()..].to_owned();
    let words = [planted, PEPPER, CLIENT_SECRET, sessions::PASSWORD, new_password].map(str::to_owned);
    for secret in words.into_iter().chain([secret(&keyed.admin), secret(&tenant), ticket, token]) {
        let place = said.find(&secret).map(|at| &said[at.saturating_sub(200)..(at + 100).min(said.len())]);
        assert_eq!(place, None);
    }
}

#[tokio::test]
async fn keys_and_users_of_a_deleted_customer_are_out_at_once_and_nothing_comes_back() {
    let keyed = Keyed::start(&[]);
    let ingest = keyed.key(json!({"name": "gate", "customer": "acme", "scopes": ["ingest", "read"]})).await;
    let other = keyed.key(json!({"name": "gate", "customer": "acme2", "scopes": ["ingest", "read"]})).await;
    keyed.beat(&[("acme", "TRK-1"), ("acme2", "VAN-1")]).await;
    sessions::user(&keyed, "acme/jo", "viewer").await;
    let with_password = json!({"user": "acme/jo", "password": sessions::PASSWORD});
    let cookie = sessions::cookie(&keyed.service, &with_password).await;
    let mut live = keyed.service.live_as(&ingest, "").await;
    live.next_of("hello").await;
    // Without a word about its vehicles nothing happens, to its keys neither.
    let customer = "/api/v1/customers/acme";
    assert_eq!(keyed.ask(&keyed.admin, "DELETE", customer, &Value::Null).await.status, 409);
    assert_eq!(keyed.get(&ingest, "/api/v1/vehicles").await.status, 200);
    let deleted = keyed.ask(&keyed.admin, "DELETE", &format!("{customer}?vehicles=delete"), &Value::Null).await;
    assert_eq!(deleted.status, 200, "{}", deleted.text);
    let beat = json!({"customer": "acme", "vehicle": "TRK-1"});
    assert_eq!(keyed.ask(&ingest, "POST", "/api/v1/heartbeats", &beat).await.status, 401);
    assert_eq!(farewell(&mut live).await.1, 4401);
    let with_cookie = keyed.service.send_with(&[("cookie", &cookie)], "GET", "/api/v1/vehicles", "").await;
    assert_eq!(with_cookie.status, 401, "{}", with_cookie.text);
    let body = with_password.to_string();
    assert_eq!(keyed.service.send("POST", "/api/v1/sessions", JSON, body).await.status, 401);
    assert_eq!(keyed.get(&other, "/api/v1/vehicles").await.status, 200, "a name that begins alike is another's");
    assert_eq!(keyed.get(&keyed.admin, customer).await.status, 404);
    let audit = keyed.get(&keyed.admin, "/api/v1/audit").await.text;
    assert!(audit.contains("customer.deleted") && audit.contains("customer.locked_out"), "{audit}");
}
