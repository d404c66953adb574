//! No customer ever learns of another's vehicles (invariant 9): random customers, keys, vehicles and requests against
//! every door of REST and WebSocket. Vehicles carry names that nobody can guess, so wherever one shows up that was not
//! asked for by name, it leaked; and a request that does name a stranger's vehicle is answered exactly as one that
//! names a vehicle that never was. A failing seed is printed and repeats the requests.

use std::collections::BTreeSet;

use futures_util::StreamExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

use crate::access::Keyed;
use crate::sessions;
use crate::support::{Live, PATIENCE, Reply, until};

/// Customers whose names begin alike, so that a comparison by prefix would show.
pub(crate) const CUSTOMERS: [&str; 4] = ["acme", "acme2", "ac", "birch"];
/// A customer and a vehicle that never were.
const NOBODY: (&str, &str) = ("nobd", "v-000000000000");
/// The variable that repeats a run.
const SEED: &str = "ROLLCALL_TEST_SEED";
/// Requests of each key.
const REQUESTS: usize = 120;
/// Doors that are asked first, without a query, so that they surely answer: chance alone may spare one.
const ANSWERING: [&str; 5] =
    ["/api/v1/vehicles", "/api/v1/transitions", "/api/v1/warnings", "/api/v1/live/snapshot", "/"];

pub(crate) struct Fleet {
    pub(crate) keyed: Keyed,
    /// Customer and vehicle: registered ones, and strangers in quarantine.
    registered: Vec<(&'static str, String)>,
    strangers: Vec<(&'static str, String)>,
    pub(crate) random: StdRng,
}

impl Fleet {
    async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub(crate) async fn start_with(settings: &[(&str, &str)]) -> Self {
        let seed = std::env::var(SEED).ok().map_or_else(moment, |text| text.parse().expect("a seed"));
        eprintln!("{SEED}={seed} repeats this");
        let mut all = vec![("ROLLCALL__FLEET__AUTO_REGISTER", "false"), ("ROLLCALL__LIVE__TICK", "50ms")];
        all.extend(settings);
        let keyed = Keyed::start(&all);
        let mut random = StdRng::seed_from_u64(seed);
        let name = |random: &mut StdRng| format!("v-{:012x}", random.random::<u64>() >> 16);
        let (mut registered, mut strangers) = (Vec::new(), Vec::new());
        for customer in CUSTOMERS {
            for list in [&mut registered, &mut strangers] {
                for _ in 0..random.random_range(2..6) {
                    list.push((customer, name(&mut random)));
                }
            }
        }
        let fleet = Self { keyed, registered, strangers, random };
        let all: Vec<_> = fleet.registered.iter().chain(&fleet.strangers).collect();
        let beats: Vec<Value> = all.iter().map(|(c, v)| json!({"customer": c, "vehicle": v})).collect();
        fleet.admin("POST", "/api/v1/heartbeats", &json!(beats)).await;
        for (customer, vehicle) in &fleet.registered {
            let path = format!("/api/v1/quarantine/{customer}/{vehicle}/accept");
            assert_eq!(fleet.admin("POST", &path, &Value::Null).await.0, 201);
        }
        fleet.admin("POST", "/api/v1/heartbeats", &json!(beats[..fleet.registered.len()])).await;
        until("all histories are stored", || async {
            let list = fleet.admin("GET", "/api/v1/transitions?limit=1000", &Value::Null).await.1;
            list["items"].as_array().is_some_and(|items| items.len() == fleet.registered.len())
        })
        .await;
        until("all are on the board", || async {
            let page = fleet.admin("GET", "/api/v1/vehicles?limit=1", &Value::Null).await.1;
            page["counts"]["online"] == fleet.registered.len()
        })
        .await;
        fleet
    }

    async fn admin(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let reply = self.keyed.ask(&self.keyed.admin, method, path, body).await;
        (reply.status, serde_json::from_str(&reply.text).unwrap_or(Value::Null))
    }

    /// As the holder of a key: with it in hand, or as the page does, by its session.
    pub(crate) async fn ask_by(
        &self,
        key: &str,
        cookie: &str,
        by_session: bool,
        method: &str,
        path: &str,
        body: &Value,
    ) -> Reply {
        if !by_session {
            return self.keyed.ask(key, method, path, body).await;
        }
        let headers = [("cookie", cookie), ("sec-fetch-site", "same-origin"), ("content-type", "application/json")];
        self.keyed.service.send_with(&headers, method, path, body.to_string()).await
    }

    async fn import(&self, key: &str, query: &str, file: &str) -> Reply {
        let path = format!("/api/v1/vehicles/import{query}");
        self.keyed.service.send_as(key, "POST", &path, "application/x-ndjson", file.to_owned()).await
    }

    /// A stranger of another customer than acme is taken in, and all vehicles say something new.
    async fn stir(&mut self) {
        if let Some(next) = self.strangers.iter().position(|(customer, _)| *customer != "acme") {
            let (customer, vehicle) = self.strangers.swap_remove(next);
            let path = format!("/api/v1/quarantine/{customer}/{vehicle}/accept");
            assert_eq!(self.admin("POST", &path, &Value::Null).await.0, 201);
            self.registered.push((customer, vehicle));
        }
        let pct = self.random.random_range(0..100);
        let beat = |(of, name): &(&str, String)| json!({"customer": of, "vehicle": name, "battery_pct": pct});
        let beats: Vec<Value> = self.registered.iter().map(beat).collect();
        self.admin("POST", "/api/v1/heartbeats", &json!(beats)).await;
    }

    /// Names of vehicles that are not this customer's.
    pub(crate) fn foreign<'a>(&'a self, own: &'a str) -> impl Iterator<Item = &'a str> {
        let all = self.registered.iter().chain(&self.strangers);
        all.filter(move |(customer, _)| *customer != own).map(|(_, vehicle)| vehicle.as_str())
    }

    /// Fails when a text names a vehicle of another customer that the question did not.
    pub(crate) fn assert_silent(&self, own: &str, question: &str, answer: &str) {
        for vehicle in self.foreign(own).filter(|vehicle| !question.contains(vehicle)) {
            assert!(!answer.contains(vehicle), "{own} asked {question} and learnt of {vehicle}: {answer}");
        }
    }

    pub(crate) fn vehicle(&mut self) -> (&'static str, String) {
        let from = if self.random.random_bool(0.7) { &self.registered } else { &self.strangers };
        from.choose(&mut self.random).expect("some").clone()
    }

    pub(crate) fn one_of<T: Clone>(&mut self, list: &[T]) -> T {
        list.choose(&mut self.random).expect("some").clone()
    }

    /// A query string of parameters that a path may know, some of them about others.
    fn query(&mut self, own: &str, cursors: &[String]) -> String {
        let mut parts = Vec::new();
        for name in ["customer", "status", "q", "sort", "limit", "cursor", "from", "to_status"] {
            if !self.random.random_bool(0.25) {
                continue;
            }
            let value = match name {
                "customer" => self.one_of(&[own, "acme", "acme2", "ac", "birch", "nobd", "acme,birch,ac,acme2"]).into(),
                "status" | "to_status" => self.one_of(&["online", "never_seen,offline", "online,unobserved"]).into(),
                "q" => match self.random.random_range(0..4) {
                    0 => "v-".to_owned(),
                    1 => "a".to_owned(),
                    2 => self.vehicle().1[..7].to_owned(),
                    _ => self.one_of(&CUSTOMERS).to_owned(),
                },
                "sort" => self.one_of(&["vehicle", "last_seen", "-last_seen", "status_since"]).into(),
                "limit" => self.one_of(&["1", "2", "1000"]).into(),
                "cursor" if cursors.is_empty() => "eyJ9".to_owned(),
                "cursor" => self.one_of(cursors),
                _ => self.one_of(&["0", "2020-01-01T00:00:00Z"]).into(),
            };
            parts.push(format!("{name}={value}"));
        }
        if parts.is_empty() { String::new() } else { format!("?{}", parts.join("&")) }
    }
}

/// Every GET path of the document that ends, and the page. Statistics as a stream name no vehicle; see the last request
/// of each customer.
async fn doors(fleet: &Fleet) -> Vec<String> {
    let document = fleet.admin("GET", "/api/v1/openapi.json", &Value::Null).await.1;
    let paths = document["paths"].as_object().expect("paths").iter();
    let mut doors: Vec<String> =
        paths.filter(|(_, operations)| operations["get"].is_object()).map(|(path, _)| path.clone()).collect();
    // A stream has no end; its beginning is read where streams are tested.
    let left_out = ["/docs", "/api/v1/docs/", "/api/v1/live", "/api/v1/stats/stream"];
    doors.retain(|path| !left_out.contains(&path.as_str()));
    assert!(doors.len() > 15, "{doors:?}");
    doors
}

/// The parts of an answer that must not differ: times of the moment are left out.
fn timeless(text: &str) -> String {
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(mut object)) => {
            object.remove("from");
            object.remove("to");
            Value::Object(object).to_string()
        }
        _ => text.to_owned(),
    }
}

#[tokio::test]
async fn no_answer_names_a_vehicle_of_another_customer() {
    let mut fleet = Fleet::start().await;
    let doors = doors(&fleet).await;
    let (mut asked, mut users) = (BTreeSet::new(), Vec::new());
    for own in CUSTOMERS {
        let grant = json!({"name": own, "customer": own, "scopes": ["read", "ingest", "manage"]});
        let key = fleet.keyed.key(grant).await;
        // The same principal once more, by a session; and a user of the customer, whom the others must not see.
        let cookie = sessions::cookie(&fleet.keyed.service, &json!({"key": key})).await;
        let user = sessions::user(&fleet.keyed, &format!("{own}/v-user-of-{own}."), "operator").await;
        users.push((own, user["id"].as_str().expect("text").to_owned()));
        // Places in lists of somebody who may see everything: handed over, or guessed.
        let mut cursors = Vec::new();
        for path in ["vehicles?limit=1", "vehicles?limit=1&sort=last_seen", "transitions?limit=1", "quarantine?limit=1"]
        {
            let page = fleet.admin("GET", &format!("/api/v1/{path}"), &Value::Null).await.1;
            cursors.push(page["next_cursor"].as_str().unwrap_or_else(|| panic!("{page}")).to_owned());
        }
        for turn in 0..REQUESTS {
            let sure = ANSWERING.get(turn).map(|door| (*door).to_owned());
            let door = sure.clone().unwrap_or_else(|| fleet.one_of(&doors));
            let (customer, vehicle) = fleet.vehicle();
            let customer = if fleet.random.random_bool(0.3) { own } else { customer };
            let key_id = fleet.keyed.admin.split('_').nth(1).expect("a key").to_owned();
            let (whose, user) = fleet.one_of(&users);
            let fill = |customer: &str, vehicle: &str| {
                let door = door.replace("{customer}", customer).replace("{vehicle}", vehicle);
                door.replace("{key}", &key_id).replace("{user}", &user)
            };
            let query = if sure.is_none() && fleet.random.random_bool(0.8) {
                fleet.query(own, &cursors)
            } else {
                String::new()
            };
            let question = format!("{}{query}", fill(customer, &vehicle));
            let by_session = fleet.random.random_bool(0.5);
            let answer = match by_session {
                true => fleet.keyed.service.send_with(&[("cookie", &cookie)], "GET", &question, "").await,
                false => fleet.keyed.get(&key, &question).await,
            };
            assert!(answer.status < 500, "{question}: {}", answer.text);
            for (other, _) in users.iter().filter(|(other, _)| *other != own) {
                assert!(
                    !answer.text.contains(&format!("v-user-of-{other}.")),
                    "{own} asked {question}: {}",
                    answer.text
                );
            }
            assert!(!door.contains("{user}") || own == whose || answer.status >= 400, "{question}: {}", answer.text);
            asked.insert((door.clone(), answer.status < 300));
            fleet.assert_silent(own, &question, &answer.text);
            if let Ok(page) = serde_json::from_str::<Value>(&answer.text)
                && let Some(total) = page["total"].as_u64()
            {
                let of_own = fleet.registered.iter().chain(&fleet.strangers).filter(|(name, _)| *name == own).count();
                assert!(total <= of_own as u64, "{question} counts others: {page}");
            }
            let is_foreign = !fleet.registered.contains(&(own, vehicle.clone()));
            if door.contains("{vehicle}") && customer != own && is_foreign {
                let never = fleet.keyed.get(&key, &format!("{}{query}", fill(NOBODY.0, NOBODY.1))).await;
                let told = timeless(&answer.text.replace(&vehicle, NOBODY.1).replace(customer, NOBODY.0));
                assert_eq!((answer.status, told), (never.status, timeless(&never.text)), "{question}");
            }
            if let Some(cursor) = serde_json::from_str::<Value>(&answer.text)
                .ok()
                .and_then(|page| page["next_cursor"].as_str().map(str::to_owned))
            {
                cursors.push(cursor);
            }
        }
        let other = if own == "acme" { "birch" } else { "acme" };
        let stream = fleet.keyed.get(&key, &format!("/api/v1/stats/stream?resolution=minute&customer={other}")).await;
        assert_eq!(stream.status, 422, "{}", stream.text);
    }
    for door in ANSWERING {
        assert!(asked.contains(&(door.to_owned(), true)), "{door} never answered: {asked:?}");
    }
}

#[tokio::test]
async fn no_request_changes_a_vehicle_of_another_customer() {
    let mut fleet = Fleet::start().await;
    let quarantine = fleet.admin("GET", "/api/v1/quarantine?limit=1000", &Value::Null).await.1;
    let names = |page: &Value| -> BTreeSet<String> {
        let items = page["items"].as_array().expect("items").iter();
        items.map(|item| format!("{}/{}", item["customer"], item["vehicle"])).collect()
    };
    let key =
        fleet.keyed.key(json!({"name": "acme", "customer": "acme", "scopes": ["read", "ingest", "manage"]})).await;
    let before = fleet.admin("GET", "/api/v1/vehicles?limit=1000", &Value::Null).await.1;
    for _ in 0..40 {
        let (customer, vehicle) = fleet.vehicle();
        if customer == "acme" {
            continue;
        }
        let path = format!("/api/v1/quarantine/{customer}/{vehicle}");
        for (method, path) in [("DELETE", path.clone()), ("POST", format!("{path}/accept"))] {
            let answer = fleet.keyed.ask(&key, method, &path, &Value::Null).await;
            assert_eq!(answer.status, 404, "{method} {path}: {}", answer.text);
        }
        let beat = json!({"customer": customer, "vehicle": vehicle, "lat": 1.0, "lon": 1.0});
        assert_eq!(fleet.keyed.ask(&key, "POST", "/api/v1/heartbeats", &beat).await.status, 403);
        let several = fleet.keyed.ask(&key, "POST", "/api/v1/heartbeats", &json!([beat])).await;
        assert_eq!(several.json()["accepted"], 0, "{}", several.text);
    }
    let own = fleet.registered.iter().find(|(customer, _)| *customer == "acme").expect("one").clone();
    let beat = json!({"customer": own.0, "vehicle": own.1, "lat": 2.0, "lon": 2.0});
    assert_eq!(fleet.keyed.ask(&key, "POST", "/api/v1/heartbeats", &beat).await.status, 202);
    let path = format!("/api/v1/customers/{}/vehicles/{}", own.0, own.1);
    until("its own is heard", || async { fleet.admin("GET", &path, &Value::Null).await.1["position"]["lat"] == 2.0 })
        .await;
    let others = |page: &Value| -> Vec<Value> {
        page["items"].as_array().expect("items").iter().filter(|item| item["customer"] != "acme").cloned().collect()
    };
    let after = fleet.admin("GET", "/api/v1/vehicles?limit=1000", &Value::Null).await.1;
    assert_eq!(others(&before), others(&after));
    assert_eq!(names(&quarantine), names(&fleet.admin("GET", "/api/v1/quarantine?limit=1000", &Value::Null).await.1));
}

/// Every way to write the registry, with a key in hand and by a session, tried on vehicles of others and on one that
/// never was: the same answer, no change.
#[tokio::test]
async fn the_registry_of_another_customer_is_neither_changed_nor_told_of() {
    let fleet = Fleet::start().await;
    let key = fleet.keyed.key(json!({"name": "acme", "customer": "acme", "scopes": ["read", "manage"]})).await;
    let cookie = sessions::cookie(&fleet.keyed.service, &json!({"key": key})).await;
    let place = |(customer, vehicle): (&str, &str)| format!("/api/v1/customers/{customer}/vehicles/{vehicle}");
    let foreign: Vec<_> = fleet.registered.iter().filter(|(customer, _)| *customer != "acme").cloned().collect();
    for (customer, vehicle) in &foreign {
        let plate = json!({"vin": "SAME-VIN", "name": format!("of {customer}")});
        assert_eq!(fleet.admin("PUT", &place((customer, vehicle)), &plate).await.0, 200);
    }
    let others = async |fleet: &Fleet| -> Vec<Value> {
        let page = fleet.admin("GET", "/api/v1/vehicles?limit=1000", &Value::Null).await.1;
        page["items"].as_array().expect("items").iter().filter(|item| item["customer"] != "acme").cloned().collect()
    };
    let before = others(&fleet).await;
    for (turn, (customer, vehicle)) in foreign.iter().map(|(c, v)| (*c, v.as_str())).chain([NOBODY]).enumerate() {
        let own = json!({"vin": "SAME-VIN"});
        let by_session = turn % 2 == 1;
        for (method, end) in [("PUT", ""), ("PATCH", ""), ("DELETE", ""), ("DELETE", "?history=delete")] {
            let ask =
                async |at| fleet.ask_by(&key, &cookie, by_session, method, &format!("{}{end}", place(at)), &own).await;
            let (answer, never) = (ask((customer, vehicle)).await, ask(NOBODY).await);
            let told = answer.text.replace(customer, NOBODY.0).replace(vehicle, NOBODY.1);
            assert_eq!((answer.status, told), (404, never.text), "{method} {customer}/{vehicle}{end}");
        }
        let customer_path = format!("/api/v1/customers/{customer}");
        let renamed = fleet.ask_by(&key, &cookie, by_session, "PATCH", &customer_path, &json!({"name": "mine"})).await;
        assert_eq!(renamed.status, 404, "{}", renamed.text);
        let file = format!("{}\n", json!({"customer": customer, "vehicle": vehicle, "name": "mine"}));
        for query in ["", "?dry_run=true", "?partial=true"] {
            let answer = fleet.import(&key, query, &file).await;
            let problem = answer.json()["errors"][0]["problem"].as_str().expect("one").replace(customer, "X");
            assert_eq!(problem, "customer 'X' is not that of your key", "{}", answer.text);
            assert_eq!(answer.json()["created"], 0, "{}", answer.text);
        }
    }
    // What touches two customers, or the figures of all, is for who may do so for all.
    let own = fleet.registered.iter().find(|(customer, _)| *customer == "acme").expect("one").1.clone();
    for (method, path, body) in [
        ("POST", format!("{}/transfer", place(("acme", &own))), json!({"to": "birch"})),
        ("DELETE", format!("{}?history=delete", place(("acme", &own))), Value::Null),
        ("POST", "/api/v1/customers".into(), json!({"customer": "cedar"})),
        ("DELETE", "/api/v1/customers/acme?vehicles=delete".into(), Value::Null),
    ] {
        for by_session in [false, true] {
            let answer = fleet.ask_by(&key, &cookie, by_session, method, &path, &body).await;
            assert_eq!(answer.status, 403, "{method} {path}: {}", answer.text);
        }
    }
    // The same plate under another customer is told only to who sees both.
    let file = format!("{}\n", json!({"customer": "acme", "vehicle": "v-own", "vin": "SAME-VIN"}));
    let noted = fleet.import(&fleet.keyed.admin, "?dry_run=true", &file).await;
    assert_eq!(noted.json()["notes_total"], foreign.len(), "{}", noted.text);
    let taken = fleet.import(&key, "", &file).await;
    assert_eq!((taken.status, &taken.json()["created"]), (200, &json!(1)), "{}", taken.text);
    assert_eq!(taken.json()["notes_total"], 0, "{}", taken.text);
    let export = fleet.keyed.get(&key, "/api/v1/vehicles/export?format=ndjson").await;
    assert!(export.text.contains("v-own"), "{}", export.text);
    fleet.assert_silent("acme", "", &export.text);
    assert_eq!(others(&fleet).await, before);
    // Who gave it to whom: the other one's name is not for this one.
    let given = fleet.admin("POST", &format!("{}/transfer", place(("acme", &own))), &json!({"to": "birch"})).await;
    assert_eq!(given.0, 201, "{}", given.1);
    let list = fleet.keyed.get(&key, &format!("{}/transfers", place(("acme", &own)))).await;
    let item = &list.json()["items"][0];
    assert_eq!((&item["from"], &item["to"]), (&json!("acme"), &Value::Null), "{}", list.text);
    let audit = fleet.admin("GET", "/api/v1/audit?limit=1000", &Value::Null).await.1.to_string();
    for what in ["vehicle.changed", "vehicles.imported", "vehicle.transferred"] {
        assert!(audit.contains(what), "{what} is not in {audit}");
    }
}

#[tokio::test]
async fn no_frame_of_a_websocket_names_a_vehicle_of_another_customer() {
    let mut fleet = Fleet::start().await;
    let key = fleet.keyed.key(json!({"name": "acme", "customer": "acme", "scopes": ["read"]})).await;
    for query in ["", "?customer=birch", "?customer=acme,acme2", "?status=online"] {
        let mut live = fleet.keyed.service.live_as(&key, query).await;
        let hello = live.next_of("hello").await;
        let filters = [
            json!({"type": "resume", "epoch": hello["epoch"], "version": 1}),
            json!({"type": "filter", "customer": ["birch", "ac"]}),
            json!({"type": "filter", "customer": [], "status": ["online"]}),
            json!({"type": "filter"}),
        ];
        for filter in filters {
            live.say(filter).await;
            fleet.stir().await;
            let mut counts = 0;
            while counts < 2 {
                let frame = live.next_text().await.expect("open");
                fleet.assert_silent("acme", "", &frame);
                let frame: Value = serde_json::from_str(&frame).expect("JSON");
                if frame["type"] == "counts" {
                    counts += 1;
                    let total: u64 = ["online", "offline", "unobserved", "never_seen"]
                        .iter()
                        .filter_map(|of| frame[of].as_u64())
                        .sum();
                    let own = fleet.registered.iter().filter(|(customer, _)| *customer == "acme").count() as u64;
                    assert!(total <= own, "{frame}");
                }
            }
        }
    }
}

/// The dashboard's own language: names are plain bytes in its columns.
#[tokio::test]
async fn no_binary_frame_names_a_vehicle_of_another_customer() {
    for sees_all in [false, true] {
        let mut fleet = Fleet::start().await;
        let own = fleet.keyed.key(json!({"name": "acme", "customer": "acme", "scopes": ["read"]})).await;
        let key = if sees_all { &fleet.keyed.admin } else { &own };
        let url = format!("ws://{}/api/v1/live", fleet.keyed.service.http);
        let mut request = url.into_client_request().expect("a request");
        request.headers_mut().insert("authorization", format!("Bearer {key}").parse().expect("a header"));
        request.headers_mut().insert("sec-websocket-protocol", "rollcall.v1.bin".parse().expect("a header"));
        let (socket, _) = tokio_tungstenite::connect_async(request).await.expect("upgrades");
        let mut live = Live { socket };
        let hello = live.next_of("hello").await;
        live.say(json!({"type": "resume", "epoch": hello["epoch"], "version": hello["version"]})).await;
        let (mut binary, mut counts, mut strangers) = (0, 0, false);
        while counts < 3 || binary < 3 {
            fleet.stir().await;
            let frame = tokio::time::timeout(PATIENCE, live.socket.next()).await.expect("in time").expect("open");
            match frame.expect("a frame") {
                Message::Binary(bytes) => {
                    binary += 1;
                    let text = String::from_utf8_lossy(&bytes);
                    strangers |= fleet.foreign("acme").any(|vehicle| text.contains(vehicle));
                }
                Message::Text(text) => counts += usize::from(text.contains("\"counts\"")),
                _ => {}
            }
        }
        assert_eq!(strangers, sees_all, "whoever may see all sees them, and nobody else");
    }
}

fn moment() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(1, |since| since.as_nanos() as u64)
}
