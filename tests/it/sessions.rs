//! People sign in with a password or a key, and a cookie stands for them from then on: who gets one, what it opens, how
//! it ends, and that no other page can use it.

use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{self, client::IntoClientRequest};

use crate::access::{Keyed, farewell};
use crate::support::{Live, Reply, Service, until};

pub const PASSWORD: &str = "correct horse battery";

/// A request with a cookie and these headers.
async fn ask(service: &Service, cookie: &str, method: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
    let mut all = vec![("cookie", cookie)];
    all.extend(headers);
    service.send_with(&all, method, path, "").await
}

const OWN_PAGE: &[(&str, &str)] = &[("sec-fetch-site", "same-origin")];

async fn get(service: &Service, cookie: &str, path: &str) -> Reply {
    ask(service, cookie, "GET", path, &[]).await
}

async fn sign_in(service: &Service, body: &Value) -> Reply {
    service.send("POST", "/api/v1/sessions", "application/json", body.to_string()).await
}

/// Signs in and gives back what a browser would send as its cookie.
pub async fn cookie(service: &Service, body: &Value) -> String {
    let answer = sign_in(service, body).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    let set = answer.header("set-cookie").to_owned();
    assert!(set.starts_with("rollcall=") && set.contains("; HttpOnly; SameSite=Strict; Path=/"), "{set}");
    let life = set.split("Max-Age=").nth(1).and_then(|life| life.parse::<u32>().ok());
    assert!(life.is_some_and(|life| (600_000..=604_800).contains(&life)), "seven days: {set}");
    let cookie = set.split(';').next().expect("a cookie").to_owned();
    assert!(!answer.text.contains(&cookie["rollcall=".len()..]), "the token is in the cookie alone");
    cookie
}

pub async fn user(keyed: &Keyed, login: &str, role: &str) -> Value {
    let (customer, name) = login.split_once('/').map_or((None, login), |(customer, name)| (Some(customer), name));
    let new = json!({"customer": customer, "name": name, "role": role, "password": PASSWORD});
    let made = keyed.ask(&keyed.admin, "POST", "/api/v1/users", &new).await;
    assert_eq!(made.status, 201, "{}", made.text);
    assert!(!made.text.contains(PASSWORD) && !made.text.contains("argon2"), "{}", made.text);
    made.json()
}

fn with_password(login: &str) -> Value {
    json!({"user": login, "password": PASSWORD})
}

async fn socket(service: &Service, cookie: &str, origin: &str) -> Result<Live, u16> {
    let mut request = format!("ws://{}/api/v1/live", service.http).into_client_request().expect("a request");
    request.headers_mut().insert("cookie", cookie.parse().expect("a header"));
    if !origin.is_empty() {
        request.headers_mut().insert("origin", origin.parse().expect("a header"));
    }
    match tokio_tungstenite::connect_async(request).await {
        Ok((socket, _)) => Ok(Live { socket }),
        Err(tungstenite::Error::Http(answer)) => Err(answer.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn who_signs_in_sees_the_own_customer_on_page_rest_and_websocket() {
    let keyed = Keyed::start(&[]);
    keyed.beat(&[("acme", "TRK-1"), ("birch", "VAN-1")]).await;
    user(&keyed, "acme/jo", "viewer").await;
    let service = &keyed.service;
    let key = keyed.key(json!({"name": "wall", "customer": "acme", "scopes": ["read"]})).await;
    for (body, kind) in [(with_password("acme/jo"), "user"), (json!({"key": key}), "key")] {
        let cookie = cookie(service, &body).await;
        let me = get(service, &cookie, "/api/v1/sessions/current").await.json();
        assert_eq!((&me["kind"], &me["customer"], &me["scopes"]), (&json!(kind), &json!("acme"), &json!(["read"])));
        for path in ["/", "/api/v1/vehicles", "/api/v1/customers", "/api/v1/live/snapshot"] {
            let answer = get(service, &cookie, path).await;
            assert_eq!(answer.status, 200, "{path}");
            assert!(answer.text.contains("acme") && !answer.text.contains("birch"), "{path}: {}", answer.text);
        }
        let mut live = socket(service, &cookie, &service.url("")).await.unwrap_or_else(|_| panic!("upgrades"));
        let snapshot = live.next_of("snapshot").await.to_string();
        assert!(snapshot.contains("TRK-1") && !snapshot.contains("VAN-1"), "{snapshot}");
        assert_eq!(get(service, &cookie, "/metrics").await.status, 403);
        let heartbeat = json!({"customer": "acme", "vehicle": "TRK-1"}).to_string();
        let headers = [("cookie", &*cookie), OWN_PAGE[0], ("content-type", "application/json")];
        let sent = service.send_with(&headers, "POST", "/api/v1/heartbeats", heartbeat).await;
        assert_eq!(sent.status, 403, "{}", sent.text);
    }
}

#[tokio::test]
async fn a_forged_damaged_or_missing_cookie_is_nobody() {
    let keyed = Keyed::start(&[]);
    user(&keyed, "jo", "admin").await;
    let good = cookie(&keyed.service, &with_password("jo")).await;
    let flipped = format!("{}{}", &good[..good.len() - 1], if good.ends_with('0') { '1' } else { '0' });
    let forged = ["", "rollcall=", "rollcall=x", "rollcall=%00", &flipped, &good.to_uppercase(), "rollcall", ";;=;"];
    for cookie in forged.into_iter().map(str::to_owned).chain([format!("rollcall={}", "0".repeat(64))]) {
        let answer = get(&keyed.service, &cookie, "/api/v1/vehicles").await;
        assert_eq!(answer.status, 401, "{cookie}: {}", answer.text);
        assert_eq!(get(&keyed.service, &cookie, "/").await.status, 200, "{cookie}");
    }
    // What some other program of this host left there is none of our business.
    assert_eq!(get(&keyed.service, &format!("a=%zz; b; {good}"), "/api/v1/vehicles").await.status, 200);
}

#[tokio::test]
async fn no_other_page_can_use_the_cookie() {
    let keyed = Keyed::start(&[]);
    user(&keyed, "jo", "admin").await;
    let service = &keyed.service;
    let cookie = cookie(service, &with_password("jo")).await;
    let (own, path) = (service.url(""), "/api/v1/live/ticket");
    for (headers, status) in [
        (vec![], 403),
        (vec![("origin", "https://evil.example")], 403),
        (vec![("sec-fetch-site", "cross-site")], 403),
        (vec![("sec-fetch-site", "same-site"), ("origin", &*own)], 403),
        (vec![("origin", "null"), ("sec-fetch-site", "same-origin")], 403),
        (vec![("origin", &*own)], 201),
        (vec![("sec-fetch-site", "same-origin")], 201),
    ] {
        let answer = ask(service, &cookie, "POST", path, &headers).await;
        assert_eq!(answer.status, status, "{headers:?}: {}", answer.text);
    }
    for (origin, wanted) in [("", Some(403)), ("https://evil.example", Some(403)), (&*own, None)] {
        assert_eq!(socket(service, &cookie, origin).await.err(), wanted, "{origin}");
    }
    let foreign = [("origin", "https://evil.example"), ("content-type", "application/json")];
    let body = with_password("jo").to_string();
    let signed_in = service.send_with(&foreign, "POST", "/api/v1/sessions", body).await;
    assert_eq!(signed_in.status, 403, "nor sign somebody in: {}", signed_in.text);
}

#[tokio::test]
async fn signing_out_ends_this_session_or_all_of_them_with_their_websockets() {
    let keyed = Keyed::start(&[]);
    user(&keyed, "acme/jo", "viewer").await;
    user(&keyed, "acme/sam", "viewer").await;
    let service = &keyed.service;
    let mut jo = Vec::new();
    for _ in 0..3 {
        jo.push(cookie(service, &with_password("acme/jo")).await);
    }
    let sam = cookie(service, &with_password("acme/sam")).await;
    let own = get(service, &jo[0], "/api/v1/sessions").await.json();
    assert_eq!(own["items"].as_array().map(Vec::len), Some(3), "{own}");
    let all = keyed.get(&keyed.admin, "/api/v1/sessions").await.json();
    assert_eq!(all["items"].as_array().map(Vec::len), Some(4), "{all}");
    let mut live = socket(service, &jo[0], &service.url("")).await.unwrap_or_else(|_| panic!("upgrades"));
    live.next_of("hello").await;
    let out = ask(service, &jo[0], "DELETE", "/api/v1/sessions/current", OWN_PAGE).await;
    assert_eq!(out.status, 204, "{}", out.text);
    assert!(out.header("set-cookie").contains("Max-Age=0"), "{}", out.header("set-cookie"));
    assert_eq!(farewell(&mut live).await, ("the session has ended; sign in again".into(), 4401));
    let good = async |cookie: &str| get(service, cookie, "/api/v1/vehicles").await.status;
    assert_eq!([good(&jo[0]).await, good(&jo[1]).await, good(&jo[2]).await], [401, 200, 200]);
    assert_eq!(ask(service, &jo[1], "DELETE", "/api/v1/sessions", OWN_PAGE).await.status, 204);
    assert_eq!([good(&jo[1]).await, good(&jo[2]).await, good(&sam).await], [401, 401, 200]);
}

#[tokio::test]
async fn a_user_who_is_disabled_or_given_another_password_is_out_everywhere() {
    let keyed = Keyed::start(&[]);
    let id = user(&keyed, "acme/jo", "viewer").await["id"].as_str().expect("text").to_owned();
    let path = format!("/api/v1/users/{id}");
    for change in [json!({"password": "another password"}), json!({"role": "operator"}), json!({"disabled": true})] {
        let back = json!({"password": PASSWORD, "disabled": false});
        assert_eq!(keyed.ask(&keyed.admin, "PATCH", &path, &back).await.status, 200);
        let cookie = cookie(&keyed.service, &with_password("acme/jo")).await;
        let mut live =
            socket(&keyed.service, &cookie, &keyed.service.url("")).await.unwrap_or_else(|_| panic!("upgrades"));
        live.next_of("hello").await;
        let changed = keyed.ask(&keyed.admin, "PATCH", &path, &change).await;
        assert_eq!(changed.status, 200, "{}", changed.text);
        assert_eq!(farewell(&mut live).await.1, 4401, "{change}");
        assert_eq!(get(&keyed.service, &cookie, "/api/v1/vehicles").await.status, 401, "{change}");
    }
    assert_eq!(sign_in(&keyed.service, &with_password("acme/jo")).await.status, 401, "disabled");
    let audit = keyed.get(&keyed.admin, "/api/v1/audit?limit=100").await.text;
    for what in ["user.created", "user.disabled", "user.password_changed", "session.begun", "session.refused"] {
        assert!(audit.contains(what), "{what}: {audit}");
    }
    assert!(!audit.contains(PASSWORD) && !audit.contains("another password"), "{audit}");
}

#[tokio::test]
async fn whoever_changes_the_own_password_stays_and_every_other_session_ends() {
    let keyed = Keyed::start(&[]);
    user(&keyed, "acme/jo", "viewer").await;
    let with = |password: &str| json!({"user": "acme/jo", "password": password});
    let own = cookie(&keyed.service, &with(PASSWORD)).await;
    let other = cookie(&keyed.service, &with(PASSWORD)).await;
    let mut live = socket(&keyed.service, &other, &keyed.service.url("")).await.unwrap_or_else(|_| panic!());
    live.next_of("hello").await;
    let ask = async |cookie: &str, current: &str, new: &str| {
        let headers = [("cookie", cookie), ("sec-fetch-site", "same-origin"), ("content-type", "application/json")];
        let body = json!({"current": current, "new": new}).to_string();
        keyed.service.send_with(&headers, "POST", "/api/v1/sessions/current/password", body).await.status
    };
    let new = "a password of my own";
    assert_eq!(ask(&own, "guess guess", new).await, 422);
    assert_eq!(ask(&own, PASSWORD, "short").await, 422);
    assert_eq!(ask(&own, PASSWORD, new).await, 204);
    assert_eq!(farewell(&mut live).await.1, 4401);
    assert_eq!(
        (
            get(&keyed.service, &own, "/api/v1/vehicles").await.status,
            get(&keyed.service, &other, "/api/v1/vehicles").await.status
        ),
        (200, 401)
    );
    cookie(&keyed.service, &with(new)).await;
    let body = with(PASSWORD).to_string();
    assert_eq!(keyed.service.send("POST", "/api/v1/sessions", "application/json", body).await.status, 401);
    let asked = json!({"current": "x", "new": new});
    let by_key = keyed.ask(&keyed.admin, "POST", "/api/v1/sessions/current/password", &asked).await;
    assert_eq!(by_key.status, 409, "a key has no password");
    for _ in 0..20 {
        if ask(&own, "guess guess", new).await == 429 {
            let audit = keyed.get(&keyed.admin, "/api/v1/audit").await.text;
            assert!(audit.contains("user.password_changed") && audit.contains("user.password_refused"), "{audit}");
            assert!(!audit.contains(new) && !keyed.service.log().contains(new));
            return;
        }
    }
    panic!("guessing is not limited");
}

#[tokio::test]
async fn nobody_makes_a_user_who_may_do_more() {
    let keyed = Keyed::start(&[]);
    user(&keyed, "acme/boss", "operator").await;
    let staff = user(&keyed, "ops", "admin").await;
    let cookie = cookie(&keyed.service, &with_password("acme/boss")).await;
    let headers = [("cookie", &*cookie), OWN_PAGE[0], ("content-type", "application/json")];
    for (new, status) in [
        (json!({"name": "jo", "role": "viewer", "password": PASSWORD}), 201),
        (json!({"name": "jo", "role": "viewer", "password": PASSWORD}), 409),
        (json!({"name": "eve", "role": "admin", "password": PASSWORD}), 403),
        (json!({"name": "eve", "role": "viewer", "customer": "birch", "password": PASSWORD}), 422),
        (json!({"name": "eve", "role": "viewer", "password": "short"}), 422),
        (json!({"name": "e/ve", "role": "viewer", "password": PASSWORD}), 422),
    ] {
        let made = keyed.service.send_with(&headers, "POST", "/api/v1/users", new.to_string()).await;
        assert_eq!(made.status, status, "{new}: {}", made.text);
    }
    let users = get(&keyed.service, &cookie, "/api/v1/users").await.json();
    let names: Vec<_> = users["items"].as_array().expect("items").iter().map(|user| user["user"].clone()).collect();
    assert!(names.len() == 2 && names.contains(&json!("acme/jo")) && names.contains(&json!("acme/boss")), "{users}");
    let path = format!("/api/v1/users/{}", staff["id"].as_str().expect("text"));
    let taken = keyed.service.send_with(&headers, "PATCH", &path, json!({"password": PASSWORD}).to_string()).await;
    assert_eq!(taken.status, 404, "{}", taken.text);
}

#[tokio::test]
async fn ten_thousand_wrong_passwords_are_cheap_and_heartbeats_go_on() {
    let keyed = Keyed::start(&[("ROLLCALL__AUTH__LOGIN_PAUSE", "1h")]);
    user(&keyed, "acme/jo", "viewer").await;
    let before = keyed.service.rss_kib();
    let client = reqwest::Client::new();
    let (begun, url) = (Instant::now(), keyed.service.url("/api/v1/sessions"));
    let wrong = async |number: u32| {
        let user = if number.is_multiple_of(2) { "acme/jo".to_owned() } else { format!("guess-{number}") };
        let body = json!({"user": user, "password": format!("guess {number}")});
        let answer = client.post(&url).json(&body).send().await.expect("answers");
        let (status, wait) = (answer.status().as_u16(), answer.headers().contains_key("retry-after"));
        assert!(status == 401 || status == 429 && wait, "{status} {wait}");
        u32::from(status == 401)
    };
    let mut judged = 0;
    for hundred in 0..100 {
        let hundred = (0..100).map(|number| wrong(hundred * 100 + number));
        judged += futures_util::future::join_all(hundred).await.into_iter().sum::<u32>();
        keyed.beat(&[("acme", "TRK-1")]).await;
    }
    assert!(judged <= 30, "{judged} were judged: ten of a user, thirty of an address");
    assert!(begun.elapsed() < Duration::from_secs(120), "{:?}", begun.elapsed());
    assert!(keyed.service.rss_kib() < before + 128 * 1024, "{before} KiB, then {}", keyed.service.rss_kib());
    let audit = keyed.get(&keyed.admin, "/api/v1/audit?limit=1000").await.json();
    let count = |what: &str| audit["items"].as_array().expect("items").iter().filter(|i| i["what"] == what).count();
    assert_eq!(count("session.refused"), judged as usize);
    assert!((1..=10).contains(&count("session.limited")), "{}", count("session.limited"));
    assert!(!audit.to_string().contains("guess"), "what was typed is written nowhere");
}

#[tokio::test]
async fn a_user_is_made_on_the_command_line_with_a_password_from_standard_input() {
    let keyed = Keyed::start(&[]);
    let command = |arguments: &[&str], input: &str| {
        let mut child = keyed.rollcall(&[&["user"], arguments].concat());
        let mut child = child.stdin(Stdio::piped()).spawn().expect("runs");
        child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("written");
        let output = child.wait_with_output().expect("ends");
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(!said.contains(PASSWORD), "{said}");
        (output.status.success(), said)
    };
    let create = ["create", "acme/jo", "--role", "operator"];
    assert!(!command(&create, "short\n").0);
    assert!(command(&create, &format!("{PASSWORD}\n")).0);
    assert!(!command(&create, &format!("{PASSWORD}\n")).0, "taken");
    until("the service knows the user", || async {
        sign_in(&keyed.service, &with_password("acme/jo")).await.status == 201
    })
    .await;
    let cookie = cookie(&keyed.service, &with_password("acme/jo")).await;
    assert!(command(&["list"], "").1.contains("acme/jo\toperator\tmay sign in"));
    assert!(command(&["password", "acme/jo"], "another password\n").0);
    until("the session has ended", || async { get(&keyed.service, &cookie, "/api/v1/vehicles").await.status == 401 })
        .await;
    assert!(command(&["disable", "acme/jo"], "").0);
    assert!(command(&["list", "--customer", "acme"], "").1.contains("disabled 20"));
}
