//! People sign in with an identity provider: who is let in and as what, and that nothing is believed which the provider
//! did not sign for this very sign-in of this very browser.

mod provider;

use std::sync::atomic::Ordering::Relaxed;

use reqwest::Client;
use reqwest::redirect::Policy;
use serde_json::{Value, json};

use crate::access::Keyed;
use crate::sessions;
use crate::support::{Reply, until};
use crate::tls::Pair;
use provider::{CLIENT, Provider, SECRET};

/// Where browsers are told to find the service; a test goes to its real port instead.
const PUBLIC: &str = "http://localhost";

fn rules() -> Value {
    json!([
        {"claim": "groups", "value": "fleet-admins", "role": "admin", "customer": "*"},
        {"claim": "groups", "value": "drivers", "role": "viewer", "customer": "{org}"},
        {"claim": "groups", "value": "bosses", "role": "operator", "customer": "{org}"},
    ])
}

fn jo() -> Value {
    json!({"sub": "f7", "preferred_username": "jo", "groups": ["drivers"], "org": "acme"})
}

/// A service, and the provider it sends people to.
async fn both() -> (Keyed, Provider) {
    let provider = Provider::start();
    provider.person(jo());
    (keyed_by(&provider, &[]), provider)
}

/// A service that sends people to this provider.
fn keyed_by(provider: &Provider, more: &[(&str, &str)]) -> Keyed {
    let rules = rules().to_string();
    let mut settings = vec![
        ("ROLLCALL__AUTH__OIDC__ISSUER", &*provider.issuer),
        ("ROLLCALL__AUTH__OIDC__NAME", "Fleet <ID>"),
        ("ROLLCALL__AUTH__OIDC__CLIENT_ID", CLIENT),
        ("ROLLCALL__AUTH__OIDC__CLIENT_SECRET", SECRET),
        ("ROLLCALL__AUTH__OIDC__PUBLIC_ORIGIN", PUBLIC),
        ("ROLLCALL__AUTH__OIDC__RULES", &rules),
    ];
    settings.extend(more);
    Keyed::start(&settings)
}

/// A GET without following redirects.
async fn get(url: &str, cookie: &str) -> Reply {
    let client = Client::builder().redirect(Policy::none()).build().expect("a client");
    Reply::of(client.get(url).header("cookie", cookie)).await
}

/// The name and value of a cookie that is set.
fn cookie_of(reply: &Reply, name: &str) -> String {
    let set = reply.headers("set-cookie");
    let found = set.iter().find(|cookie| cookie.starts_with(&format!("{name}=")));
    found.map_or_else(String::new, |cookie| cookie.split(';').next().unwrap_or_default().to_owned())
}

/// A browser that is back from the provider: what it brings, and its cookie.
struct Back {
    url: String,
    cookie: String,
}

/// Goes to the provider and comes back, but does not knock yet.
async fn travel(keyed: &Keyed, next: &str) -> Back {
    let begun = get(&keyed.service.url(&format!("/login/oidc?next={next}")), "").await;
    assert_eq!(begun.status, 303, "{}", begun.text);
    let set = begun.headers("set-cookie").join("\n");
    assert!(set.contains("; HttpOnly; SameSite=Lax; Path=/; Max-Age=600"), "{set}");
    let cookie = cookie_of(&begun, "rollcall-oidc");
    come_back(keyed, begun.header("location"), cookie).await
}

/// Goes where the service sent it to, and from there back.
async fn come_back(keyed: &Keyed, place: &str, cookie: String) -> Back {
    let back = get(place, "").await;
    assert_eq!(back.status, 302, "{}", back.text);
    let (place, query) = back.header("location").split_once('?').expect("an answer");
    assert_eq!(place, format!("{PUBLIC}/login/oidc/callback"));
    Back { url: keyed.service.url(&format!("/login/oidc/callback?{query}")), cookie }
}

async fn knock(back: &Back) -> Reply {
    get(&back.url, &back.cookie).await
}

/// Travels and knocks; gives back the session's cookie.
async fn sign_in(keyed: &Keyed) -> String {
    let reply = knock(&travel(keyed, "/").await).await;
    assert_eq!(reply.status, 200, "{} {}", reply.header("location"), reply.text);
    cookie_of(&reply, "rollcall")
}

/// Nobody is signed in, and the page will say why.
fn assert_refused(reply: &Reply, word: &str) {
    assert_eq!((reply.status, cookie_of(reply, "rollcall")), (303, String::new()), "{word}");
    let place = reply.header("location");
    assert!(place.starts_with(&format!("/login?trouble={word}&next=")), "{word}: {place}");
}

#[tokio::test]
async fn whom_the_provider_vouches_for_is_signed_in_and_sees_the_own_customer() {
    let (keyed, provider) = both().await;
    keyed.beat(&[("acme", "TRK-1"), ("birch", "VAN-1")]).await;
    let page = get(&keyed.service.url("/login"), "").await.text;
    assert!(page.contains(r#"href="/login/oidc">Sign in with Fleet &#60;ID&#62;</a>"#), "{page}");
    let reply = knock(&travel(&keyed, "%2F%3Fstatus%3Donline%26q%3D%253Cb%253E").await).await;
    assert_eq!(reply.status, 200, "{} {}", reply.header("location"), reply.text);
    assert!(reply.text.contains("content=\"0;url=/?status=online&#38;q=%3Cb%3E\""), "{}", reply.text);
    let set = reply.headers("set-cookie");
    let session = set.iter().find(|set| set.starts_with("rollcall=")).expect("a session");
    assert!(session.contains("; SameSite=Strict;") && set.iter().any(|set| set.starts_with("rollcall-oidc=; ")));
    let life = session.split("Max-Age=").nth(1).and_then(|life| life.parse::<u32>().ok());
    assert!(life.is_some_and(|life| (43_000..=43_200).contains(&life)), "twelve hours: {session}");
    let cookie = cookie_of(&reply, "rollcall");
    let me = get(&keyed.service.url("/api/v1/sessions/current"), &cookie).await.json();
    assert_eq!((&me["name"], &me["scopes"]), (&json!("acme/jo"), &json!(["read"])));
    let fleet = get(&keyed.service.url("/api/v1/vehicles"), &cookie).await.text;
    assert!(fleet.contains("TRK-1") && !fleet.contains("VAN-1"), "{fleet}");

    sign_in(&keyed).await;
    let users = keyed.get(&keyed.admin, "/api/v1/users").await.json();
    assert_eq!(users["items"].as_array().map(Vec::len), Some(1), "the same user again: {users}");
    assert_eq!(users["items"][0]["signs_in_with"], "provider");
    let path = format!("/api/v1/users/{}", users["items"][0]["id"].as_str().expect("text"));
    for change in [json!({"password": "correct horse battery"}), json!({"role": "admin"})] {
        assert_eq!(keyed.ask(&keyed.admin, "PATCH", &path, &change).await.status, 409, "{change}");
    }
    for password in ["", "correct horse battery"] {
        let body = json!({"user": "acme/jo", "password": password}).to_string();
        let with_password = keyed.service.send("POST", "/api/v1/sessions", "application/json", body).await;
        assert_eq!(with_password.status, 401, "no password opens it: {}", with_password.text);
    }

    // The provider says what somebody is: who became more, or went elsewhere, comes in anew.
    provider.person(json!({"sub": "f7", "preferred_username": "jo", "groups": ["bosses"], "org": "birch"}));
    let promoted = sign_in(&keyed).await;
    assert_eq!(get(&keyed.service.url("/api/v1/vehicles"), &cookie).await.status, 401, "the old session is over");
    let me = get(&keyed.service.url("/api/v1/sessions/current"), &promoted).await.json();
    assert_eq!((&me["name"], &me["scopes"]), (&json!("birch/jo"), &json!(["read", "manage"])));

    assert_eq!(keyed.ask(&keyed.admin, "PATCH", &path, &json!({"disabled": true})).await.status, 200);
    assert_eq!(get(&keyed.service.url("/api/v1/vehicles"), &promoted).await.status, 401);
    assert_refused(&knock(&travel(&keyed, "/").await).await, "disabled");
    let audit = keyed.get(&keyed.admin, "/api/v1/audit?limit=100").await.text;
    for what in ["user.created", "user.changed", "session.begun", "the user birch/jo is disabled here"] {
        assert!(audit.contains(what), "{what}: {audit}");
    }
    assert!(!audit.contains(SECRET) && !keyed.service.log().contains(SECRET));
}

#[tokio::test]
async fn nothing_is_believed_that_the_provider_did_not_sign_for_this_sign_in() {
    let (keyed, provider) = both().await;
    sign_in(&keyed).await;
    let now = chrono::Utc::now().timestamp();
    let cases: [(&str, &str, Value); 9] = [
        ("header", "alg", json!("none")),
        ("header", "alg", json!("HS256")),
        ("header", "kid", json!("unheard-of")),
        ("claims", "nonce", json!("0000")),
        ("claims", "exp", json!(now - 120)),
        ("claims", "iss", json!("https://evil.example")),
        ("claims", "aud", json!("another-client")),
        ("claims", "azp", json!("another-client")),
        ("claims", "aud", json!([CLIENT, "another-client"])),
    ];
    for (part, name, value) in cases {
        let lie = format!("{name} {value}");
        provider.twist(move |header, claims| match part {
            "header" => header[name] = value.clone(),
            _ => claims[name] = value.clone(),
        });
        let reply = knock(&travel(&keyed, "/").await).await;
        assert!(reply.header("location").contains("trouble=untrue"), "{lie}: {}", reply.header("location"));
        assert_refused(&reply, "untrue");
    }
    until("the operator can read why", || async { keyed.service.log().contains("it is for another client") }).await;
    provider.twist(|_, _| {});
    provider.sign_in_secret("first");
    assert_refused(&knock(&travel(&keyed, "/").await).await, "untrue");
}

#[tokio::test]
async fn a_way_back_is_good_once_and_for_the_browser_that_went() {
    let (keyed, provider) = both().await;
    let (one, other) = (travel(&keyed, "/").await, travel(&keyed, "/").await);
    let before = provider.books.codes_redeemed.load(Relaxed);
    let end = one.cookie.len() - 4;
    let bent = format!("{}{}", &one.cookie[..end], if one.cookie.ends_with("AAAA") { "BBBB" } else { "AAAA" });
    for cookie in ["", "rollcall-oidc=", "rollcall-oidc=AAAA", &other.cookie, &bent] {
        assert_refused(&get(&one.url, cookie).await, "lost");
    }
    let (place, _) = one.url.split_once('?').expect("a query");
    for query in ["", "?code=code-0", "?state=", "?state=0&code=code-0", "?%zz"] {
        assert_refused(&get(&format!("{place}{query}"), &other.cookie).await, "lost");
    }
    // Whoever comes with a wrong answer has lost the way; a second window is not in its way.
    assert_eq!(provider.books.codes_redeemed.load(Relaxed), before, "the provider is not asked");
    let third = travel(&keyed, "/").await;
    assert_eq!(knock(&third).await.status, 200);
    assert_refused(&knock(&third).await, "lost");
    assert_eq!(provider.books.codes_redeemed.load(Relaxed), before + 1, "nor for a second time");
}

#[tokio::test]
async fn an_answer_of_another_issuer_is_not_taken_for_the_providers() {
    let (keyed, provider) = both().await;
    let stranger = travel(&keyed, "/").await;
    let mixed = Back { url: format!("{}&iss=https%3A%2F%2Fevil.example", stranger.url), ..stranger };
    assert_refused(&knock(&mixed).await, "untrue");
    assert_eq!(provider.books.codes_redeemed.load(Relaxed), 0, "the code goes to nobody");
    let (keyed, provider) = both().await;
    *provider.books.answers_as.lock().expect("no panic") = Some(provider.issuer.clone());
    sign_in(&keyed).await;
    let silent = travel(&keyed, "/").await;
    let silent = Back { url: silent.url.split("&iss=").next().expect("a text").to_owned(), ..silent };
    assert_refused(&knock(&silent).await, "untrue");
}

#[tokio::test]
async fn a_new_key_is_fetched_and_a_flood_of_unknown_ones_is_not() {
    let (keyed, provider) = both().await;
    sign_in(&keyed).await;
    provider.change_key("second");
    sign_in(&keyed).await;
    assert_eq!(provider.books.keys_read.load(Relaxed), 2);
    provider.twist(|header, _| header["kid"] = json!("unheard-of"));
    for _ in 0..10 {
        assert_refused(&knock(&travel(&keyed, "/").await).await, "untrue");
    }
    assert!(provider.books.keys_read.load(Relaxed) <= 6, "{}", provider.books.keys_read.load(Relaxed));
}

#[tokio::test]
async fn whoever_is_not_let_in_is_told_why_in_one_word() {
    let (keyed, provider) = both().await;
    sessions::user(&keyed, "acme/sam", "viewer").await;
    for (person, word) in [
        (json!({"sub": "f8", "preferred_username": "sam", "groups": ["drivers"], "org": "acme"}), "taken"),
        (json!({"sub": "f9", "preferred_username": "kim", "groups": ["cooks"], "org": "acme"}), "stranger"),
        (json!({"sub": "f9", "preferred_username": "kim", "groups": ["drivers"], "org": "../x"}), "stranger"),
        (json!({"sub": "f9", "preferred_username": "kim"}), "stranger"),
    ] {
        provider.person(person);
        assert_refused(&knock(&travel(&keyed, "/").await).await, word);
    }
    *provider.books.refuses.lock().expect("no panic") = Some("access_denied");
    assert_refused(&knock(&travel(&keyed, "/").await).await, "declined");
    let late = travel(&keyed, "/").await;
    provider.stop().await;
    *provider.books.refuses.lock().expect("no panic") = None;
    assert_refused(&knock(&late).await, "declined");
    // What is known of the provider is kept for a while; a code it must be asked about.
    let away = get(&keyed.service.url("/login/oidc?next=//evil.example"), "").await;
    assert_eq!(away.status, 303);
    let users = keyed.get(&keyed.admin, "/api/v1/users").await.json();
    assert_eq!(users["items"].as_array().map(Vec::len), Some(1), "nobody was made: {users}");
}

#[tokio::test]
async fn a_provider_that_is_away_or_another_is_no_way_in_and_no_hindrance() {
    let provider = Provider::start();
    let issuer = provider.issuer.clone();
    *provider.books.issuer.lock().expect("no panic") = "http://127.0.0.1:1/else".into();
    let rules = rules().to_string();
    let settings = [
        ("ROLLCALL__AUTH__MODE", "keys"),
        ("ROLLCALL__AUTH__OIDC__ISSUER", &*issuer),
        ("ROLLCALL__AUTH__OIDC__CLIENT_ID", CLIENT),
        ("ROLLCALL__AUTH__OIDC__PUBLIC_ORIGIN", PUBLIC),
        ("ROLLCALL__AUTH__OIDC__RULES", &*rules),
    ];
    let keyed = Keyed::start(&settings);
    let sent = get(&keyed.service.url("/login/oidc?next=/?q=1"), "").await;
    assert_refused(&sent, "away");
    assert!(sent.header("location").ends_with("next=%2F%3Fq%3D1"), "{}", sent.header("location"));
    until("the operator can read why", || async { keyed.service.log().contains("not auth.oidc.issuer") }).await;
    let checked = keyed.rollcall(&["check"]).envs(settings).output().expect("runs");
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(!checked.status.success() && said.contains("identity provider"), "{said}");
    sessions::user(&keyed, "acme/jo", "viewer").await;
    let body = json!({"user": "acme/jo", "password": sessions::PASSWORD}).to_string();
    assert_eq!(keyed.service.send("POST", "/api/v1/sessions", "application/json", body).await.status, 201);
}

#[tokio::test]
async fn a_provider_behind_tls_is_believed_under_the_certificate_of_the_setting_only() {
    let pair = Pair::new();
    let provider = Provider::with_tls(pair.server());
    provider.person(jo());
    let unbelieving = keyed_by(&provider, &[]);
    assert_refused(&get(&unbelieving.service.url("/login/oidc"), "").await, "away");
    until("the operator can read why", || async { unbelieving.service.log().contains("certificate") }).await;
    let cert = pair.cert().display().to_string();
    let keyed = keyed_by(&provider, &[("ROLLCALL__AUTH__OIDC__CA_FILE", &cert)]);
    let begun = get(&keyed.service.url("/login/oidc"), "").await;
    let place = begun.header("location");
    assert!(place.starts_with(&format!("{}/authorize", provider.issuer)), "{place}");
    let door = place.replace(&provider.issuer, &provider.door);
    let reply = knock(&come_back(&keyed, &door, cookie_of(&begun, "rollcall-oidc")).await).await;
    assert_eq!(reply.status, 200, "{} {}", reply.header("location"), reply.text);
    let me = get(&keyed.service.url("/api/v1/sessions/current"), &cookie_of(&reply, "rollcall")).await.json();
    assert_eq!(me["name"], "acme/jo");
}
