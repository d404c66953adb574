//! Cases about keys, and what administrators did.
//! Fed by the suite; each runs on every store.

use std::sync::Arc;

use super::Database;
use super::logins::{session, user};
use crate::domain::access::{Grant, KeyId, Scope, Scopes};
use crate::domain::time::Millis;
use crate::store::access::StoredKey;
use crate::store::audit::AuditEntry;
use crate::store::logins::Holder;

fn key(id: u64) -> StoredKey {
    let grant = Grant {
        name: "Depot's gate, 7 \u{1f6aa}".into(),
        customer: Some("acme".into()),
        vehicle: Some("TRK 1".into()),
        scopes: Scopes::of(&[Scope::Ingest]),
        expires_at: Some(9_000),
    };
    let hash = std::array::from_fn(|index| 255 - index as u8);
    let (pepper, made_by) = ("f00d".into(), "test".into());
    let (id, made_at) = (KeyId::new(id), 1_000);
    StoredKey { id, grant, hash, pepper, made_at, made_by, revoked_at: None, last_used_at: None }
}

pub async fn a_key_is_kept_whole_and_its_identifier_once(database: Arc<Database>) {
    let store = database.open().await;
    let bare =
        Grant { customer: None, vehicle: None, scopes: Scopes::of(&Scope::ALL), expires_at: None, ..key(0).grant };
    let keys = [key(7), StoredKey { grant: bare, ..key(u64::MAX) }];
    for key in &keys {
        assert!(store.add_key(key).await.unwrap());
    }
    assert!(!store.add_key(&StoredKey { hash: [0; 32], ..key(7) }).await.unwrap());
    assert_eq!(store.load_keys().await.unwrap(), keys);
}

pub async fn a_key_is_revoked_once_and_every_change_is_seen(database: Arc<Database>) {
    let store = database.open().await;
    let fresh = store.access_revision().await.unwrap();
    store.add_key(&key(1)).await.unwrap();
    let added = store.access_revision().await.unwrap();
    store.add_key(&key(1)).await.unwrap();
    assert!(added > fresh && store.access_revision().await.unwrap() == added, "the second time changes nothing");
    assert!(store.revoke_key(KeyId::new(1), 5_000).await.unwrap());
    assert!(!store.revoke_key(KeyId::new(1), 6_000).await.unwrap());
    assert!(!store.revoke_key(KeyId::new(2), 6_000).await.unwrap());
    assert!(store.access_revision().await.unwrap() > added);
    assert_eq!(store.load_keys().await.unwrap(), [StoredKey { revoked_at: Some(5_000), ..key(1) }]);
}

pub async fn uses_of_keys_only_move_forward(database: Arc<Database>) {
    let store = database.open().await;
    store.add_key(&key(1)).await.unwrap();
    let revision = store.access_revision().await.unwrap();
    for at in [5_000, 4_000] {
        store.note_key_uses(&[(KeyId::new(1), at), (KeyId::new(2), at)]).await.unwrap();
        assert_eq!(store.load_keys().await.unwrap()[0].last_used_at, Some(5_000));
    }
    assert_eq!(store.access_revision().await.unwrap(), revision, "a use is no change");
}

pub async fn all_keys_and_users_of_a_customer_end_and_no_other(database: Arc<Database>) {
    let store = database.open().await;
    let of = |id, customer: Option<&str>| {
        let mut key = key(id);
        key.grant.customer = customer.map(Arc::from);
        key
    };
    for key in [of(1, Some("a_c")), of(2, Some("abc")), of(3, None), of(4, Some("a_c"))] {
        store.add_key(&key).await.unwrap();
    }
    store.revoke_key(KeyId::new(4), 1).await.unwrap();
    let users = [user(1, "a_c/jo"), user(2, "abc/jo"), user(3, "a_c"), user(4, "a_cd/jo")];
    for (number, user) in users.iter().enumerate() {
        store.add_user(user).await.unwrap();
        store.add_session(&session(number as u64, Holder::User(user.id)), &[]).await.unwrap();
    }
    store.end_access_of("a_c", 5_000).await.unwrap();
    let revoked: Vec<_> = store.load_keys().await.unwrap().into_iter().map(|key| key.revoked_at).collect();
    assert_eq!(revoked, [Some(5_000), None, None, Some(1)]);
    let disabled: Vec<_> = store.load_users().await.unwrap().into_iter().map(|user| user.disabled_at).collect();
    assert_eq!(disabled, [Some(5_000), None, None, None]);
    let left: Vec<_> = store.load_sessions().await.unwrap().into_iter().map(|session| session.holder).collect();
    assert_eq!(left, [1, 2, 3].map(|number: usize| Holder::User(users[number].id)));
    let before = (store.access_revision().await.unwrap(), store.login_revision().await.unwrap());
    store.end_access_of("a_c", 6_000).await.unwrap();
    assert_eq!((store.access_revision().await.unwrap(), store.login_revision().await.unwrap()), before, "once");
}

fn entry(at: Millis, customer: Option<&str>) -> AuditEntry {
    let text = |text: &str| text.to_owned();
    AuditEntry {
        at,
        who: text("key 7 (gate)"),
        customer: customer.map(Arc::from),
        what: text("key.created"),
        subject: text("key 8"),
        address: text("192.0.2.7"),
        result: text("ok"),
    }
}

pub async fn the_audit_is_read_newest_first_and_by_customer(database: Arc<Database>) {
    let store = database.open().await;
    let entries = [entry(1, None), entry(2, Some("acme")), entry(3, Some("birch")), entry(4, Some("acme"))];
    for entry in &entries {
        store.record(entry).await.unwrap();
    }
    let read = async |customer, before, limit| -> (Vec<Millis>, Option<i64>) {
        let page = store.audit(customer, before, limit).await.unwrap();
        (page.iter().map(|(_, entry)| entry.at).collect(), page.last().map(|(number, _)| *number))
    };
    let (first, last) = read(None, None, 3).await;
    assert_eq!(first, [4, 3, 2]);
    assert_eq!(read(None, last, 3).await.0, [1]);
    let (first, last) = read(Some("acme"), None, 1).await;
    assert_eq!(first, [4]);
    assert_eq!(read(Some("acme"), last, 9).await.0, [2]);
    assert_eq!(store.audit(Some("birch"), None, 9).await.unwrap()[0].1, entries[2]);
}

pub async fn the_audit_is_bounded(database: Arc<Database>) {
    let store = database.open().await;
    for at in 1..=9 {
        store.record(&entry(at, None)).await.unwrap();
    }
    let left = async || -> Vec<Millis> {
        store.audit(None, None, 99).await.unwrap().iter().map(|(_, entry)| entry.at).collect()
    };
    store.prune_audit(4, 100).await.unwrap();
    assert_eq!(left().await, [9, 8, 7, 6, 5, 4]);
    store.prune_audit(0, 2).await.unwrap();
    assert_eq!(left().await, [9, 8]);
    store.prune_audit(100, 2).await.unwrap();
    store.record(&entry(10, None)).await.unwrap();
    assert_eq!(left().await, [10], "numbers go on");
}
