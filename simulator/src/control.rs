//! The hand on a running fleet: silence a vehicle, wake it, stop all. Fed by the demo's buttons and the signal handler,
//! feeds the lanes. Cheap to clone; valid until the fleet has stopped, and harmless afterwards.

use std::{collections::HashMap, sync::Arc};

use anyhow::Context;
use tokio::sync::{mpsc, watch};

use crate::{
    lane::Order,
    ledger::{Counts, Ledger},
};

/// Customer and vehicle.
pub type Name = (String, String);

/// See the head of this file.
#[derive(Clone)]
pub struct Control {
    inner: Arc<Inner>,
}

struct Inner {
    /// Where the devices of a vehicle sit: lane and seat. Two for a cloned identity.
    places: HashMap<Name, Vec<(usize, usize)>>,
    lanes: Vec<mpsc::Sender<Order>>,
    stop: watch::Sender<bool>,
    ledger: Arc<Ledger>,
}

impl Control {
    pub(crate) fn new(
        places: HashMap<Name, Vec<(usize, usize)>>,
        lanes: Vec<mpsc::Sender<Order>>,
        stop: watch::Sender<bool>,
        ledger: Arc<Ledger>,
    ) -> Self {
        Self { inner: Arc::new(Inner { places, lanes, stop, ledger }) }
    }

    /// Makes a vehicle fall silent until it is woken; its connection stays.
    pub fn silence(&self, customer: &str, vehicle: &str) -> anyhow::Result<()> {
        self.order(customer, vehicle, Order::Mute)
    }

    /// Makes a vehicle speak at once, whether it was silenced or absent by plan.
    pub fn wake(&self, customer: &str, vehicle: &str) -> anyhow::Result<()> {
        self.order(customer, vehicle, Order::Wake)
    }

    /// Makes every vehicle fall silent until it is woken. Waits for lanes that are busy.
    pub async fn silence_all(&self) {
        self.order_all(Order::MuteAll).await;
    }

    /// Makes every vehicle speak at once.
    pub async fn wake_all(&self) {
        self.order_all(Order::WakeAll).await;
    }

    async fn order_all(&self, order: Order) {
        for lane in &self.inner.lanes {
            // A lane that is gone has nobody to order about.
            let _ = lane.send(order).await;
        }
    }

    pub(crate) fn ledger(&self) -> &Arc<Ledger> {
        &self.inner.ledger
    }

    /// Stops the fleet: every connection says DISCONNECT.
    pub fn stop(&self) {
        self.inner.stop.send_replace(true);
    }

    /// What was sent so far.
    pub fn counts(&self) -> Counts {
        self.inner.ledger.counts()
    }

    /// The names of all vehicles, in no order.
    pub fn vehicles(&self) -> impl Iterator<Item = &Name> {
        self.inner.places.keys()
    }

    fn order(&self, customer: &str, vehicle: &str, order: fn(usize) -> Order) -> anyhow::Result<()> {
        let name = (customer.to_owned(), vehicle.to_owned());
        let places = self
            .inner
            .places
            .get(&name)
            .with_context(|| format!("no simulated vehicle {vehicle} of customer {customer}"))?;
        for &(lane, seat) in places {
            self.inner.lanes[lane]
                .try_send(order(seat))
                .with_context(|| format!("vehicle {vehicle} of customer {customer} takes no orders now"))?;
        }
        Ok(())
    }
}
