//! Cases about users and their sessions.
//! Fed by the suite; each runs on every store.

use std::sync::Arc;

use super::Database;
use crate::domain::access::{KeyId, Role, SessionId, UserId};
use crate::store::logins::{Holder, Identity, StoredSession, StoredUser};

pub fn user(id: u64, login: &str) -> StoredUser {
    StoredUser {
        id: UserId::new(id),
        login: login.parse().unwrap(),
        role: Role::Operator,
        hash: "$argon2id$v=19$...".into(),
        pepper: "f00d".into(),
        made_at: 1_000,
        made_by: "test".into(),
        disabled_at: None,
        identity: None,
    }
}

pub fn session(id: u64, holder: Holder) -> StoredSession {
    let (id, hash) = (SessionId::new(id), std::array::from_fn(|index| 255 - index as u8));
    StoredSession { id, hash, holder, address: "::1".into(), made_at: 1_000, seen_at: 1_000, expires_at: 9_000 }
}

pub async fn a_user_is_kept_whole_and_a_login_once(database: Arc<Database>) {
    let store = database.open().await;
    let fresh = store.login_revision().await.unwrap();
    let users = [user(1, "acme/jo"), user(2, "birch/jo"), user(u64::MAX, "jo")];
    for user in &users {
        assert!(store.add_user(user).await.unwrap());
    }
    let added = store.login_revision().await.unwrap();
    assert!(!store.add_user(&user(9, "acme/jo")).await.unwrap() && !store.add_user(&user(1, "new")).await.unwrap());
    assert_eq!(store.load_users().await.unwrap(), users);
    assert!(added > fresh && store.login_revision().await.unwrap() == added, "the second time changes nothing");
}

pub async fn a_change_of_a_user_ends_its_sessions_and_no_other(database: Arc<Database>) {
    let store = database.open().await;
    let (jo, sam) = (user(1, "acme/jo"), user(2, "acme/sam"));
    store.add_user(&jo).await.unwrap();
    store.add_user(&sam).await.unwrap();
    let kept = [session(3, Holder::User(sam.id)), session(4, Holder::Key(KeyId::new(1)))];
    for session in [&session(1, Holder::User(jo.id)), &session(2, Holder::User(jo.id)), &kept[0], &kept[1]] {
        store.add_session(session, &[]).await.unwrap();
    }
    let changed = StoredUser { role: Role::Viewer, hash: "other".into(), disabled_at: Some(5_000), ..jo };
    let before = store.login_revision().await.unwrap();
    assert!(store.change_user(&changed, None).await.unwrap());
    assert!(store.login_revision().await.unwrap() > before);
    assert_eq!(store.load_users().await.unwrap(), [changed, sam]);
    assert_eq!(store.load_sessions().await.unwrap(), kept);
    assert!(!store.change_user(&user(7, "nobody"), None).await.unwrap());
}

pub async fn a_session_begins_once_makes_room_and_ends(database: Arc<Database>) {
    let store = database.open().await;
    let holder = Holder::Key(KeyId::new(7));
    let (first, second) = (session(1, holder), session(2, holder));
    store.add_session(&first, &[]).await.unwrap();
    store.add_session(&StoredSession { address: "else".into(), ..first.clone() }, &[]).await.unwrap();
    assert_eq!(store.load_sessions().await.unwrap(), std::slice::from_ref(&first));
    store.add_session(&second, &[first.id]).await.unwrap();
    assert_eq!(store.load_sessions().await.unwrap(), std::slice::from_ref(&second));
    let revision = store.login_revision().await.unwrap();
    for at in [5_000, 4_000] {
        store.note_session_uses(&[(first.id, at), (second.id, at)]).await.unwrap();
        assert_eq!(store.load_sessions().await.unwrap()[0].seen_at, 5_000);
    }
    store.end_sessions(&[first.id]).await.unwrap();
    assert_eq!(store.login_revision().await.unwrap(), revision, "neither a use nor a second end is a change");
    store.end_sessions(&[first.id, second.id]).await.unwrap();
    assert!(store.load_sessions().await.unwrap().is_empty() && store.login_revision().await.unwrap() > revision);
}

pub async fn a_user_of_a_provider_is_one_whatever_its_name_and_keeps_the_session_it_has(database: Arc<Database>) {
    let store = database.open().await;
    let of = |subject: &str| Identity { issuer: "https://id.example.org".into(), subject: subject.into() };
    let jo = StoredUser { hash: String::new(), identity: Some(of("f7")), ..user(1, "acme/jo") };
    let other = StoredUser { identity: Some(of("f8")), ..user(2, "acme/sam") };
    assert!(store.add_user(&jo).await.unwrap() && store.add_user(&other).await.unwrap());
    assert!(store.add_user(&user(3, "acme/kim")).await.unwrap() && store.add_user(&user(4, "acme/lu")).await.unwrap());
    let again = StoredUser { identity: Some(of("f7")), ..user(9, "acme/new") };
    assert!(!store.add_user(&again).await.unwrap(), "the same person");
    let (kept, ended) = (session(1, Holder::User(jo.id)), session(2, Holder::User(jo.id)));
    store.add_session(&kept, &[]).await.unwrap();
    store.add_session(&ended, &[]).await.unwrap();
    let renamed = StoredUser { login: "birch/jo".parse().unwrap(), ..jo };
    assert!(store.change_user(&renamed, Some(kept.id)).await.unwrap());
    assert_eq!(store.load_users().await.unwrap()[..2], [renamed.clone(), other]);
    assert_eq!(store.load_sessions().await.unwrap(), [kept]);
    let taken = StoredUser { login: "acme/sam".parse().unwrap(), ..renamed };
    assert!(store.change_user(&taken, None).await.is_err(), "the name is another's");
}
