//! Cases about the hashes by which a Mosquitto knows a key. Fed by the suite; each runs on every store.

use std::sync::Arc;

use super::Database;
use crate::domain::access::KeyId;

pub async fn a_hash_is_kept_for_each_key_and_the_last_one_counts(database: Arc<Database>) {
    let store = database.open().await;
    assert!(store.mosquitto_hashes().await.unwrap().is_empty());
    for (id, hash) in [(1, "$7$one"), (u64::MAX, "$7$two"), (1, "$7$again")] {
        store.keep_mosquitto_hash(KeyId::new(id), hash).await.unwrap();
    }
    let all = store.mosquitto_hashes().await.unwrap();
    let all: Vec<(KeyId, &str)> = all.iter().map(|(id, hash)| (*id, hash.as_str())).collect();
    assert_eq!(all, [(KeyId::new(1), "$7$again"), (KeyId::new(u64::MAX), "$7$two")]);
}
