//! Where a vehicle's actor sits: its mailbox, its state, and nothing else. Actix's own context has room for timers,
//! streams and futures to wait for, over 350 bytes of it in each actor; a vehicle has none of them, since its alarm is
//! kept by its shard (alarms.rs). Used by the shard, which seats its vehicles; everything else about the actor, its
//! address, its handlers and what becomes of a panic, is as with the other context.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix::dev::channel::{AddressReceiver, channel};
use actix::dev::{Envelope, EnvelopeProxy, OneshotSender, ToEnvelope};
use actix::{Actor, ActorContext, ActorState, Addr, Handler, Message};
use futures_util::Stream;

use super::vehicle::Vehicle;

/// Room of a mailbox for senders that respect it. The shard's do not: it has one batch under way (shard.rs).
const MAILBOX_ROOM: usize = 16;

/// A vehicle's context.
#[derive(Debug)]
pub struct Seat(ActorState);

impl ActorContext for Seat {
    fn stop(&mut self) {
        self.0 = ActorState::Stopping;
    }

    fn terminate(&mut self) {
        self.0 = ActorState::Stopped;
    }

    fn state(&self) -> ActorState {
        self.0
    }
}

/// Starts a vehicle's actor on the present thread.
pub fn seat(vehicle: Vehicle) -> Addr<Vehicle> {
    let (sender, mailbox) = channel(MAILBOX_ROOM);
    actix::spawn(Life { vehicle, seat: Seat(ActorState::Started), mailbox });
    Addr::new(sender)
}

/// A message, and who waits for the answer.
struct Letter<M: Message> {
    message: Option<M>,
    answer: Option<OneshotSender<M::Result>>,
}

impl<M> EnvelopeProxy<Vehicle> for Letter<M>
where
    M: Message,
    Vehicle: Handler<M, Result = M::Result>,
{
    fn handle(&mut self, vehicle: &mut Vehicle, seat: &mut Seat) {
        let answer = self.answer.take();
        // Who does not wait any more does not want it done either.
        if answer.as_ref().is_some_and(OneshotSender::is_closed) {
            return;
        }
        if let Some(message) = self.message.take() {
            let result = vehicle.handle(message, seat);
            if let Some(answer) = answer {
                let _ = answer.send(result);
            }
        }
    }
}

impl<M> ToEnvelope<Vehicle, M> for Seat
where
    M: Message + Send + 'static,
    M::Result: Send,
    Vehicle: Handler<M, Result = M::Result>,
{
    fn pack(message: M, answer: Option<OneshotSender<M::Result>>) -> Envelope<Vehicle> {
        Envelope::with_proxy(Box::new(Letter { message: Some(message), answer }))
    }
}

/// The actor's task: it ends when the vehicle retires, when nobody has its address any more, or by a panic.
struct Life {
    vehicle: Vehicle,
    seat: Seat,
    mailbox: AddressReceiver<Vehicle>,
}

impl Future for Life {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Self { vehicle, seat, mailbox } = self.get_mut();
        if seat.state() == ActorState::Started {
            seat.0 = ActorState::Running;
            vehicle.started(seat);
        }
        while seat.state() == ActorState::Running {
            match Pin::new(&mut *mailbox).poll_next(context) {
                Poll::Ready(Some(mut letter)) => letter.handle(vehicle, seat),
                Poll::Pending if mailbox.connected() => return Poll::Pending,
                Poll::Ready(None) | Poll::Pending => seat.stop(),
            }
        }
        Poll::Ready(())
    }
}
