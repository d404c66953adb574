//! Tests of the keys in memory: what is let in, what ends whom, and how little the store is asked. Reads mod.rs.

use async_trait::async_trait;
use parking_lot::Mutex;

use super::*;
use crate::domain::access::{Scope, Scopes};
use crate::store::mosquitto::MosquittoStore;

/// A store in memory that counts what it is asked.
#[derive(Default)]
struct Shelf {
    keys: Mutex<Vec<StoredKey>>,
    revision: AtomicI64,
    loads: AtomicU64,
    noted: Mutex<Vec<(KeyId, Millis)>>,
}

#[async_trait]
impl AccessStore for Shelf {
    async fn access_revision(&self) -> anyhow::Result<i64> {
        Ok(self.revision.load(Relaxed))
    }

    async fn load_keys(&self) -> anyhow::Result<Vec<StoredKey>> {
        self.loads.fetch_add(1, Relaxed);
        Ok(self.keys.lock().clone())
    }

    async fn add_key(&self, key: &StoredKey) -> anyhow::Result<bool> {
        self.keys.lock().push(key.clone());
        self.revision.fetch_add(1, Relaxed);
        Ok(true)
    }

    async fn revoke_key(&self, id: KeyId, at: Millis) -> anyhow::Result<bool> {
        let mut keys = self.keys.lock();
        let Some(key) = keys.iter_mut().find(|key| key.id == id && key.revoked_at.is_none()) else { return Ok(false) };
        key.revoked_at = Some(at);
        self.revision.fetch_add(1, Relaxed);
        Ok(true)
    }

    async fn end_access_of(&self, customer: &str, at: Millis) -> anyhow::Result<()> {
        let mut keys = self.keys.lock();
        let own = keys.iter_mut().filter(|key| key.grant.customer.as_deref() == Some(customer));
        own.for_each(|key| key.revoked_at = key.revoked_at.or(Some(at)));
        self.revision.fetch_add(1, Relaxed);
        Ok(())
    }

    async fn note_key_uses(&self, uses: &[(KeyId, Millis)]) -> anyhow::Result<()> {
        self.noted.lock().extend(uses);
        Ok(())
    }
}

#[async_trait]
impl MosquittoStore for Shelf {
    async fn keep_mosquitto_hash(&self, _: KeyId, _: &str) -> anyhow::Result<()> {
        Ok(())
    }

    async fn mosquitto_hashes(&self) -> anyhow::Result<BTreeMap<KeyId, String>> {
        Ok(BTreeMap::new())
    }
}

async fn open(shelf: &Arc<Shelf>, pepper: &str) -> Arc<Access> {
    let settings = Auth { mode: Some(AuthMode::Keys), pepper: Secret::from(pepper), ..Auth::default() };
    let store: Arc<dyn AccessStore> = Arc::clone(shelf) as _;
    Access::open(&settings, None, store, Clock::start()).await.expect("opens")
}

fn grant(customer: Option<&str>, vehicle: Option<&str>, scopes: &[Scope]) -> Grant {
    let (customer, vehicle) = (customer.map(Arc::from), vehicle.map(Arc::from));
    Grant { name: "gate 7".into(), customer, vehicle, scopes: Scopes::of(scopes), expires_at: None }
}

#[tokio::test]
async fn a_key_is_let_in_and_the_store_is_not_asked_for_it() {
    let shelf = Arc::new(Shelf::default());
    let access = open(&shelf, "pepper").await;
    let (stored, full) = access.create(grant(Some("acme"), None, &[Scope::Ingest]), "test").await.expect("made");
    let loads = shelf.loads.load(Relaxed);
    for _ in 0..100 {
        let principal = access.key(&full.expose()).expect("let in");
        assert!(principal.may_send("acme", "TRK-1") && !principal.may(Scope::Read, "acme"));
    }
    assert_eq!(shelf.loads.load(Relaxed), loads);
    let other = FullKey { secret: [0; 32], ..full.clone() };
    for wrong in ["", "rk_x_y", &other.expose(), &FullKey { id: KeyId::new(1), ..full.clone() }.expose()] {
        assert_eq!(access.key(wrong), Err(Denied::Unknown), "{wrong}");
    }
    assert_eq!(access.denied(), 4);
    access.note_uses().await.expect("noted");
    access.note_uses().await.expect("nothing new");
    let noted = shelf.noted.lock().clone();
    assert_eq!((noted.len(), noted[0].0), (1, stored.id));
    assert_eq!(access.find(stored.id).and_then(|key| key.last_used_at), Some(noted[0].1));
}

#[tokio::test]
async fn another_process_with_the_same_pepper_knows_the_key_and_one_with_another_does_not() {
    let shelf = Arc::new(Shelf::default());
    let (here, there, stranger) = (open(&shelf, "same").await, open(&shelf, "same").await, open(&shelf, "else").await);
    let (_, full) = here.create(grant(None, None, &[Scope::Admin]), "test").await.expect("made");
    for access in [&there, &stranger] {
        access.reload().await.expect("reads");
    }
    assert!(there.key(&full.expose()).is_ok());
    assert_eq!(stranger.key(&full.expose()), Err(Denied::Unknown));
}

#[tokio::test]
async fn who_came_in_with_a_key_that_ends_elsewhere_is_told_at_once() {
    let shelf = Arc::new(Shelf::default());
    let (here, there) = (open(&shelf, "same").await, open(&shelf, "same").await);
    let (stored, full) = here.create(grant(Some("acme"), None, &[Scope::Read]), "test").await.expect("made");
    let following = tokio::spawn(Arc::clone(&here).follow());
    let principal = here.key(&full.expose()).expect("let in");
    let (ticket, _) = here.ticket(Arc::clone(&principal)).expect("a ticket");
    let ended = tokio::spawn(Arc::clone(&here).ended(Arc::clone(&principal)));
    assert!(there.revoke(stored.id).await.expect("revoked") && !there.revoke(stored.id).await.expect("only once"));
    let ended = tokio::time::timeout(Duration::from_secs(20), ended).await.expect("in time").expect("no panic");
    assert_eq!(ended, Denied::Revoked);
    assert_eq!(here.key(&full.expose()), Err(Denied::Revoked));
    assert_eq!(here.redeem(&ticket), Err(Denied::Revoked));
    following.abort();
}

#[tokio::test]
async fn a_key_ends_at_its_expiry() {
    let shelf = Arc::new(Shelf::default());
    let access = open(&shelf, "pepper").await;
    let soon = Grant { expires_at: Some(access.clock.today() + 200), ..grant(None, None, &[Scope::Read]) };
    let (_, full) = access.create(soon, "test").await.expect("made");
    let principal = access.key(&full.expose()).expect("let in");
    let ended = tokio::time::timeout(Duration::from_secs(20), Arc::clone(&access).ended(principal)).await;
    assert_eq!((ended.expect("in time"), access.key(&full.expose())), (Denied::Expired, Err(Denied::Expired)));
}

#[tokio::test]
async fn the_user_of_a_login_is_the_one_the_key_belongs_to() {
    let shelf = Arc::new(Shelf::default());
    let access = open(&shelf, "pepper").await;
    let key = async |customer, vehicle, scopes: &[Scope]| {
        access.create(grant(customer, vehicle, scopes), "test").await.expect("made").1.expose()
    };
    let customer = key(Some("acme"), None, &[Scope::Ingest]).await;
    let vehicle = key(Some("acme"), Some("TRK 1"), &[Scope::Ingest]).await;
    let gateway = key(None, None, &[Scope::Ingest]).await;
    for (user, password, is_let_in) in [
        ("acme", &customer, true),
        ("birch", &customer, false),
        ("acme/TRK 1", &customer, false),
        ("acme/TRK 1", &vehicle, true),
        ("acme/TRK 2", &vehicle, false),
        ("acme", &vehicle, false),
        ("gateway", &gateway, true),
        ("acme", &"hunter2".to_owned(), false),
    ] {
        assert_eq!(access.authenticate(user, password).is_ok(), is_let_in, "{user}");
    }
}
