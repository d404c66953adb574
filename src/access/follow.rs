//! Keeps the keys in memory true to the store: a number there tells that some process changed them, and once a minute
//! the last uses are written down. Fed by the store; wakes whoever waits for the end of a principal.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::pepper::Pepper;
use super::{Access, Known};

/// How often the store is asked for its number: a key revoked on the command line ends within a second.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(400);
/// Last uses are written at most this often: a key in use must not be a write a heartbeat.
pub(super) const NOTE_EVERY: Duration = Duration::from_secs(60);

impl Access {
    /// Follows the store until the task that runs it is aborted. While the store is away, the keys stay as they were.
    pub async fn follow(self: Arc<Self>) {
        let (mut look, mut note) = (tokio::time::interval(LOOK_EVERY), tokio::time::interval(NOTE_EVERY));
        // After a store that was slow to answer, it is asked at its pace again, not once for each look that was missed.
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut away = false;
        loop {
            let outcome = tokio::select! {
                _ = look.tick() => self.look().await,
                _ = note.tick() => self.note_uses().await,
            };
            match outcome {
                Err(error) if !away => {
                    tracing::warn!("the keys stay as they were while the store does not answer: {error:#}");
                    away = true;
                }
                Err(_) => {}
                Ok(()) => away = false,
            }
        }
    }

    async fn look(&self) -> anyhow::Result<()> {
        if self.store.access_revision().await? != self.revision.load(Relaxed) { self.reload().await } else { Ok(()) }
    }

    /// Reads every key anew.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn reload(&self) -> anyhow::Result<()> {
        let _one = self.reading.lock().await;
        // The number first: a change that comes between the two is then seen by the next look.
        let revision = self.store.access_revision().await?;
        let stored = self.store.load_keys().await?;
        if self.pepper.get().is_none()
            && !stored.is_empty()
            && let Some(found) = Pepper::find(self.set_pepper.expose(), self.folder.as_deref())?
        {
            let _ = self.pepper.set(found);
        }
        let pepper = self.pepper.get().map(Pepper::id);
        let lost = stored.iter().filter(|key| key.revoked_at.is_none() && Some(&*key.pepper) != pepper).count();
        if lost > 0 && self.asks {
            tracing::warn!(
                keys = lost,
                "keys were made with another pepper and fit nothing: bring back auth.pepper or the file pepper in the \
                 local folder, or make them anew"
            );
        }
        let keys: BTreeMap<_, _> = stored.into_iter().map(|key| (key.id, Arc::new(Known::new(key)))).collect();
        let mut inside = self.keys.write();
        for (id, before) in inside.iter() {
            if let Some(now) = keys.get(id) {
                now.used.fetch_max(before.used.load(Relaxed), Relaxed);
            }
        }
        *inside = keys;
        drop(inside);
        self.revision.store(revision, Relaxed);
        self.changes.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Writes down when keys were last used, where that is news.
    pub async fn note_uses(&self) -> anyhow::Result<()> {
        let known: Vec<Arc<Known>> = self.keys.read().values().map(Arc::clone).collect();
        let news = known.iter().filter_map(|key| {
            let used = key.used.load(Relaxed);
            (used > key.noted.load(Relaxed)).then_some((key.stored.id, used))
        });
        let news: Vec<_> = news.collect();
        if news.is_empty() {
            return Ok(());
        }
        self.store.note_key_uses(&news).await?;
        let keys = self.keys.read();
        for (id, used) in news {
            if let Some(key) = keys.get(&id) {
                key.noted.fetch_max(used, Relaxed);
            }
        }
        Ok(())
    }
}
