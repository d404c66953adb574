//! What the desk changes of a shard's vehicles: what is registered of them, their timeouts, and their end.
//! Fed by the desk, one change at a time; feeds vehicles, the outbox and so the board.

use std::sync::Arc;

use actix::prelude::*;
use futures_util::future::join_all;

use super::{Shard, from_board, newcomer};
use crate::domain::policy::Policy;
use crate::fleet::entry::Entry;
use crate::fleet::vehicle::{Amend, Origin, Retime, Retire, Vehicle};

/// Vehicles that the desk changes; answered when each has been told.
#[derive(Message)]
#[rtype(result = "()")]
pub struct AmendSome(pub Vec<(Arc<Entry>, Amend)>);

/// The timeout of vehicles that have none of their own.
#[derive(Message)]
#[rtype(result = "()")]
pub struct RetimeSome(pub Vec<Arc<Entry>>, pub Policy);

/// The days of these vehicles are over; answers what each would start from again, in this order.
#[derive(Message)]
#[rtype(result = "Vec<Origin>")]
pub struct RetireSome(pub Vec<Arc<Entry>>);

/// These vehicles are gone from the store too: the board forgets them.
#[derive(Message)]
#[rtype(result = "()")]
pub struct RemoveSome(pub Vec<Arc<Entry>>);

impl Shard {
    /// The address of a vehicle; one whose first input is still on its way gets its actor now.
    fn address_of(&mut self, entry: &Arc<Entry>) -> Option<Addr<Vehicle>> {
        let known = self.vehicles.get(entry.local as usize).is_some_and(Option::is_some);
        if !known && !self.is_fallen(entry) && !entry.is_leaving() {
            self.welcome(newcomer(Arc::clone(entry), &self.parts));
        }
        self.vehicles.get(entry.local as usize)?.clone()
    }
}

impl Handler<AmendSome> for Shard {
    type Result = ();

    fn handle(&mut self, AmendSome(list): AmendSome, _: &mut Self::Context) {
        for (entry, amend) in list {
            // Not bounded by the mailbox: the desk sends one part of a change at a time.
            if let Some(vehicle) = self.address_of(&entry) {
                vehicle.do_send(amend);
            }
        }
    }
}

impl Handler<RetimeSome> for Shard {
    type Result = ();

    fn handle(&mut self, RetimeSome(list, policy): RetimeSome, _: &mut Self::Context) {
        for entry in list {
            if let Some(vehicle) = self.address_of(&entry) {
                vehicle.do_send(Retime { policy, unless_own: true });
            }
        }
    }
}

impl Handler<RetireSome> for Shard {
    type Result = ResponseActFuture<Self, Vec<Origin>>;

    /// Their decisions are handed over before this answers. One that fell is as the board shows it.
    fn handle(&mut self, RetireSome(list): RetireSome, _: &mut Self::Context) -> Self::Result {
        let asked = list.into_iter().map(|entry| {
            let vehicle = self.vehicles.get_mut(entry.local as usize).and_then(Option::take);
            async move {
                let origin = match vehicle {
                    Some(vehicle) => vehicle.send(Retire).await.ok(),
                    None => None,
                };
                (entry, origin)
            }
        });
        let asked = join_all(asked.collect::<Vec<_>>()).into_actor(self);
        Box::pin(asked.map(|answers, shard, context| {
            shard.flush(context);
            let origin = |(entry, origin): (Arc<Entry>, Option<Origin>)| {
                origin.or_else(|| from_board(&shard.parts, &entry)).unwrap_or_else(|| newcomer(entry, &shard.parts))
            };
            answers.into_iter().map(origin).collect()
        }))
    }
}

impl Handler<RemoveSome> for Shard {
    type Result = ();

    fn handle(&mut self, RemoveSome(list): RemoveSome, context: &mut Self::Context) {
        let mut outbox = self.outbox.borrow_mut();
        for entry in &list {
            outbox.remove(entry.slot);
            if let Some(log) = &mut outbox.log {
                log.forget(entry.local);
            }
        }
        drop(outbox);
        self.tell(context);
    }
}
