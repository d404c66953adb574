//! The live side of the desk's changes: lanes, shards and their vehicles. Used by change.rs once the store has a
//! change, and before it has one where a vehicle must first fall silent.

use std::sync::Arc;

use actix::Addr;

use crate::domain::ids::VehicleKey;
use crate::domain::latest::Latest;
use crate::domain::liveness::{Liveness, Stored};
use crate::domain::policy::Policy;
use crate::domain::time::Millis;
use crate::fleet::entry::Entry;
use crate::fleet::shard::{AmendSome, Parts, RemoveSome, Restore, RetimeSome, RetireSome, Shard};
use crate::fleet::vehicle::{Amend, Origin, Standing};
use crate::store::registry::{Amended, Outcome};

/// The shards, and what vehicles are made of.
#[derive(Clone)]
pub struct Live {
    pub parts: Parts,
    pub shards: Vec<Addr<Shard>>,
}

impl Live {
    /// What the store has is so from now on: new vehicles are never seen, known ones are told.
    ///
    /// # Errors
    /// A cap that left no room for one that is stored now; or a shard died.
    pub async fn apply(&self, rows: Vec<Amended>) -> anyhow::Result<()> {
        let mut origins: Vec<Vec<Origin>> = self.shards.iter().map(|_| Vec::new()).collect();
        let mut amends: Vec<Vec<(Arc<Entry>, Amend)>> = self.shards.iter().map(|_| Vec::new()).collect();
        let (registry, mut refused) = (&self.parts.registry, None);
        for row in rows.into_iter().filter(|row| row.outcome != Outcome::Refused) {
            let Amended { key, outcome, registered, offline_after, seq } = row;
            self.parts.customers.note(&key.customer);
            let policy = self.policy(&key.customer, offline_after);
            let (shard, registered) = (registry.shard_of(&key.customer, &key.vehicle), Box::new(registered));
            match registry.enroll(Arc::clone(&key)) {
                Ok(Some(entry)) => origins[shard].push(self.unheard(entry, Some(registered), policy, seq)),
                Ok(None) if outcome == Outcome::Unchanged => {}
                Ok(None) => {
                    let known = registry.find(&key.customer, &key.vehicle);
                    amends[shard].extend(known.map(|entry| (entry, Amend { registered, policy })));
                }
                Err(reason) => refused = Some((key, reason)),
            }
        }
        for ((shard, origins), amends) in self.shards.iter().zip(origins).zip(amends) {
            shard.send(Restore(origins)).await?;
            shard.send(AmendSome(amends)).await?;
        }
        match refused {
            None => Ok(()),
            Some((key, why)) => anyhow::bail!("{key} is stored, but cannot live before a restart: {}", why.word()),
        }
    }

    fn policy(&self, customer: &str, own: Option<Millis>) -> Policy {
        Policy::resolve(&self.parts.rules, self.parts.customers.timeout(customer), own)
    }

    fn unheard(
        &self,
        entry: Arc<Entry>,
        registered: Option<Box<crate::domain::board::Registered>>,
        policy: Policy,
        seq: u64,
    ) -> Origin {
        let seq = seq.max(self.parts.registry.last_seq(&entry.key).unwrap_or(0));
        let stored = Stored { seq, ..Stored::default() };
        let (liveness, latest) = (Liveness::restored(stored, policy, self.parts.blind_from), Latest::default());
        Origin { entry, registered, liveness, latest, policy, standing: Standing::Stored }
    }

    /// A customer's timeout holds from now on for those of its vehicles that have none of their own.
    pub async fn retime(&self, customer: &str) -> anyhow::Result<()> {
        let policy = self.policy(customer, None);
        for (index, shard) in self.shards.iter().enumerate() {
            shard.send(RetimeSome(self.parts.registry.of_customer(index, customer), policy)).await?;
        }
        Ok(())
    }

    /// These vehicles hear nothing more; what each would start from again.
    pub async fn retire(&self, entries: Vec<Arc<Entry>>) -> anyhow::Result<Vec<Origin>> {
        let mut all = Vec::with_capacity(entries.len());
        for (shard, entries) in self.by_shard(entries, |entry| &entry.key) {
            entries.iter().for_each(|entry| self.parts.registry.set_leaving(entry, true));
            all.extend(shard.send(RetireSome(entries)).await?);
        }
        Ok(all)
    }

    /// They live on after all.
    pub async fn bring_back(&self, origins: Vec<Origin>) -> anyhow::Result<()> {
        for (shard, origins) in self.by_shard(origins, |origin| &origin.entry.key) {
            let entries: Vec<_> = origins.iter().map(|origin| Arc::clone(&origin.entry)).collect();
            shard.send(Restore(origins)).await?;
            entries.iter().for_each(|entry| self.parts.registry.set_leaving(entry, false));
        }
        Ok(())
    }

    /// They are gone: from the board, and from the lanes, where others may come under their names.
    pub async fn forget(&self, origins: Vec<Origin>) -> anyhow::Result<()> {
        for (shard, origins) in self.by_shard(origins, |origin| &origin.entry.key) {
            // In this order: who comes under the name joins the board after this one has left it.
            shard.send(RemoveSome(origins.iter().map(|origin| Arc::clone(&origin.entry)).collect())).await?;
            origins.iter().for_each(|origin| self.parts.registry.forget(&origin.entry, origin.liveness.seq()));
        }
        Ok(())
    }

    fn by_shard<T>(&self, list: Vec<T>, key: impl Fn(&T) -> &Arc<VehicleKey>) -> Vec<(&Addr<Shard>, Vec<T>)> {
        let mut parts: Vec<_> = self.shards.iter().map(|shard| (shard, Vec::new())).collect();
        for one in list {
            let shard = self.parts.registry.shard_of(&key(&one).customer, &key(&one).vehicle);
            parts[shard].1.push(one);
        }
        parts.retain(|(_, list)| !list.is_empty());
        parts
    }
}
