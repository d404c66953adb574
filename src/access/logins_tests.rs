//! Tests of users and sessions: what is let in, what ends whom, and what is bounded. Reads logins.rs.

use super::*;
use crate::clock::Clock;
use crate::domain::access::{Grant, Scope, Scopes};
use crate::settings::{AuthMode, Secret, Span};
use crate::store;

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const PASSWORD: &str = "correct horse battery";

/// Two processes on one store.
async fn two(settings: Auth) -> [Arc<Logins>; 2] {
    let settings = Auth { mode: Some(AuthMode::Keys), pepper: Secret::from("pepper"), ..settings };
    let store = store::open("sqlite::memory:").await.expect("opens");
    let open = async || {
        let access = Access::open(&settings, None, Arc::clone(&store) as _, Clock::start()).await.expect("opens");
        Logins::open(&settings, access, Arc::clone(&store) as _).await.expect("opens")
    };
    [open().await, open().await]
}

async fn user(logins: &Logins, login: &str, role: Role) -> StoredUser {
    let login = login.parse().expect("a login");
    logins.create(login, role, PASSWORD, "test").await.expect("made").expect("not taken")
}

#[tokio::test]
async fn a_user_signs_in_with_the_right_password_only() {
    let [here, _] = two(Auth::default()).await;
    user(&here, "acme/jo", Role::Viewer).await;
    assert!(
        here.create("acme/jo".parse().expect("a login"), Role::Admin, PASSWORD, "test").await.expect("ok").is_none()
    );
    for (login, password) in [("acme/jo", "wrong"), ("jo", PASSWORD), ("birch/jo", PASSWORD), ("//", PASSWORD)] {
        let refused = here.with_password(login, password, HERE).await.err().expect("refused");
        assert!(matches!(refused, Refused::Denied(Denied::Login, _)), "{login}: {refused:?}");
    }
    let begun = here.with_password("acme/jo", PASSWORD, HERE).await.unwrap_or_else(|_| panic!("not signed in"));
    let principal = here.access.session(&begun.token).expect("let in");
    assert!(principal.may(Scope::Read, "acme") && !principal.may(Scope::Manage, "acme") && !principal.sees("birch"));
    for forged in ["", "0", &"0".repeat(64), &begun.token.to_uppercase(), &format!("{}00", begun.token)] {
        assert_eq!(here.access.session(forged), Err(Denied::Ended), "{forged}");
    }
}

#[tokio::test]
async fn whoever_is_changed_elsewhere_is_out_here_within_a_second() {
    let [here, there] = two(Auth::default()).await;
    let following = tokio::spawn(Arc::clone(&here).follow());
    for change in [
        Change { disabled: Some(true), ..Change::default() },
        Change { disabled: Some(false), password: Some("another password".into()), ..Change::default() },
        Change { role: Some(Role::Admin), password: Some(PASSWORD.into()), ..Change::default() },
    ] {
        let login = "jo".parse().expect("a login");
        let jo = match here.find_login(&login) {
            Some(jo) => jo,
            None => user(&here, "jo", Role::Operator).await,
        };
        let again = Change { disabled: Some(false), password: Some(PASSWORD.into()), ..Change::default() };
        let jo = here.change(jo, again, None).await.expect("changed");
        let begun = here.with_password("jo", PASSWORD, HERE).await.unwrap_or_else(|_| panic!("not signed in"));
        let principal = here.access.session(&begun.token).expect("let in");
        let ended = tokio::spawn(Arc::clone(&here.access).ended(principal));
        there.change(jo, change, None).await.expect("changed");
        let ended = tokio::time::timeout(Duration::from_secs(20), ended).await.expect("in time").expect("no panic");
        assert_eq!((ended, here.access.session(&begun.token)), (Denied::Ended, Err(Denied::Ended)));
    }
    following.abort();
}

#[tokio::test]
async fn a_session_ends_with_its_key_when_it_is_idle_and_when_it_is_old() {
    let [here, _] = two(Auth { session_idle: Span(1_000), session_max: Span(2_500), ..Auth::default() }).await;
    let grant = Grant {
        name: "page".into(),
        customer: Some("acme".into()),
        vehicle: None,
        scopes: Scopes::of(&[Scope::Read]),
        expires_at: None,
    };
    let (key, full) = here.access.create(grant, "test").await.expect("made");
    let begun = here.with_key(&full.expose(), HERE).await.unwrap_or_else(|_| panic!("not signed in"));
    let principal = here.access.session(&begun.token).expect("let in");
    assert_eq!((principal.customer.as_deref(), principal.scopes), (Some("acme"), Scopes::of(&[Scope::Read])));
    // Whoever stays is not idle, but gets old.
    let stays =
        tokio::time::timeout(Duration::from_millis(1_700), Arc::clone(&here.access).ended(Arc::clone(&principal)));
    assert!(stays.await.is_err(), "an open dashboard is use");
    let ended = tokio::time::timeout(Duration::from_secs(20), Arc::clone(&here.access).ended(principal)).await;
    assert_eq!(ended.expect("in time"), Denied::Ended);
    here.note_uses().await.expect("forgotten");
    assert!(here.store.load_sessions().await.expect("reads").is_empty());

    let begun = here.with_key(&full.expose(), HERE).await.unwrap_or_else(|_| panic!("not signed in"));
    here.access.revoke(key.id).await.expect("revoked");
    assert_eq!(here.access.session(&begun.token), Err(Denied::Revoked));
}

#[tokio::test]
async fn one_holder_has_so_many_sessions_and_can_end_them_all() {
    let [here, _] = two(Auth::default()).await;
    let jo = user(&here, "jo", Role::Admin).await;
    let mut tokens = Vec::new();
    for _ in 0..=SESSIONS_EACH {
        let begun = here.begin(Holder::User(jo.id), HERE, 60_000).await.unwrap_or_else(|_| panic!("not signed in"));
        tokens.push(begun.token);
    }
    let here_now = here.access.sessions(|_| true);
    assert_eq!(here_now.len(), SESSIONS_EACH);
    assert!(here.access.session(tokens.last().expect("one")).is_ok());
    let all: Vec<SessionId> = here_now.iter().map(|(session, _)| session.id).collect();
    here.end(&all).await.expect("ended");
    assert!(tokens.iter().all(|token| here.access.session(token) == Err(Denied::Ended)));
}

#[tokio::test]
async fn guessing_is_stopped_before_anything_is_hashed() {
    let [here, _] = two(Auth { login_tries: 2, login_pause: Span(3_600_000), ..Auth::default() }).await;
    user(&here, "jo", Role::Viewer).await;
    for _ in 0..2 {
        assert!(matches!(here.with_password("jo", "wrong", HERE).await, Err(Refused::Denied(..))));
    }
    let mut noted = 0;
    for _ in 0..10_000 {
        match here.with_password("jo", PASSWORD, HERE).await {
            Err(Refused::Limited(wait, note)) => {
                assert!(wait > 3_000_000, "{wait}");
                noted += u32::from(note);
            }
            _ => panic!("judged"),
        }
    }
    assert_eq!((here.limited(), noted), (10_000, 1), "the audit hears of it once a minute");
    let there = IpAddr::from([192, 0, 2, 9]);
    assert!(matches!(here.with_password("sam", "wrong", there).await, Err(Refused::Denied(..))), "others are judged");
}
