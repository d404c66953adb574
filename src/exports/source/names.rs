//! Which vehicles an order is about, one after the other: those it names, or all of a customer, or of the fleet, that
//! have anything in a log. Fed by the store; feeds the sources. Bound: one page of names.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::domain::export::Order;
use crate::domain::query::Filter;
use crate::live::feed::Feed;
use crate::store::Store;
use crate::store::history::Name;
use crate::store::scan::Log;

/// Names of a page: at most 64 KB of them.
const PAGE_NAMES: u32 = 500;

/// The customers of an order, one after the other: the one it names, or all that have anything in a log.
pub struct Customers {
    store: Arc<dyn Store>,
    log: Log,
    waiting: VecDeque<String>,
    /// Where the next page begins; none when there is no further one.
    after: Option<String>,
}

impl Customers {
    /// Those of an order in a log.
    pub fn of(order: &Order, log: Log, store: &Arc<dyn Store>) -> Self {
        let after = order.customer.is_none().then(String::new);
        Self { store: Arc::clone(store), log, waiting: order.customer.iter().cloned().collect(), after }
    }

    /// The next one.
    pub async fn next(&mut self) -> anyhow::Result<Option<String>> {
        if let (true, Some(after)) = (self.waiting.is_empty(), self.after.take()) {
            self.waiting = self.store.customers_in(self.log, &after, PAGE_NAMES).await?.into();
            self.after = self.waiting.back().cloned();
        }
        Ok(self.waiting.pop_front())
    }
}

/// How far an order is, by vehicles.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    given: u64,
    /// How many there will be, as far as the board knows; those that have left are not in it.
    total: u64,
}

impl Progress {
    /// Nothing of an order is done. Asked on a thread of usual priority, for it holds the board a moment.
    pub fn of(order: &Order, feed: &Feed) -> Self {
        let total = match order.vehicles.len() {
            0 => feed.board().counts(&filter(order)).total().into(),
            named => named as u64,
        };
        Self { given: 0, total }
    }

    /// One more is begun.
    pub fn begin(&mut self) {
        self.given += 1;
    }

    /// From 0 to 1, when `within` of the present vehicle is done.
    pub fn share(self, within: f64) -> f64 {
        (self.given.saturating_sub(1) as f64 + within) / self.total.max(self.given).max(1) as f64
    }
}

/// The vehicles of an order.
pub struct Names {
    store: Arc<dyn Store>,
    log: Log,
    customers: Customers,
    /// Where the next page of vehicles begins.
    after: Option<Name>,
    waiting: VecDeque<Name>,
    progress: Progress,
}

impl Names {
    /// Those of an order in a log.
    pub fn of(order: &Order, log: Log, store: &Arc<dyn Store>, progress: Progress) -> Self {
        let mut customers = Customers::of(order, log, store);
        let mut waiting = VecDeque::new();
        if let Some(customer) = order.customer.as_ref().filter(|_| !order.vehicles.is_empty()) {
            waiting.extend(order.vehicles.iter().map(|vehicle| (customer.clone(), vehicle.clone())));
            customers.waiting.clear();
        }
        Self { store: Arc::clone(store), log, customers, after: None, waiting, progress }
    }

    /// The next one.
    pub async fn next(&mut self) -> anyhow::Result<Option<Name>> {
        loop {
            if let Some(name) = self.waiting.pop_front() {
                self.progress.begin();
                return Ok(Some(name));
            }
            let after = match self.after.take() {
                Some(after) => after,
                None => match self.customers.next().await? {
                    Some(customer) => (customer, String::new()),
                    None => return Ok(None),
                },
            };
            let page = self.store.vehicles_in(self.log, &after, PAGE_NAMES).await?;
            self.after = page.last().map(|last| (after.0.clone(), last.clone()));
            self.waiting = page.into_iter().map(|vehicle| (after.0.clone(), vehicle)).collect();
        }
    }

    /// How far it is, 0 to 1, when `within` of the last one given is done.
    pub fn progress(&self, within: f64) -> f64 {
        self.progress.share(within)
    }
}

/// The vehicles of an order on the board; those it names are told apart later.
pub fn filter(order: &Order) -> Filter {
    Filter { customers: order.customer.iter().cloned().collect(), ..Filter::default() }
}
