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

/// The vehicles of an order.
pub struct Names {
    store: Arc<dyn Store>,
    log: Log,
    /// Customers to come: the one of the order, or a page of all.
    customers: VecDeque<String>,
    /// Where the next page of customers begins; none when there is no further one.
    customers_after: Option<String>,
    /// Where the next page of vehicles begins.
    after: Option<Name>,
    waiting: VecDeque<Name>,
    given: u64,
    /// How many there will be, as far as the board knows.
    total: u64,
}

impl Names {
    /// Those of an order in a log.
    pub fn of(order: &Order, log: Log, store: &Arc<dyn Store>, feed: &Feed) -> Self {
        let mut names = Self {
            store: Arc::clone(store),
            log,
            customers: VecDeque::new(),
            customers_after: None,
            after: None,
            waiting: VecDeque::new(),
            given: 0,
            total: order.vehicles.len() as u64,
        };
        match &order.customer {
            Some(customer) if !order.vehicles.is_empty() => {
                names.waiting = order.vehicles.iter().map(|vehicle| (customer.clone(), vehicle.clone())).collect();
                return names;
            }
            Some(customer) => names.customers.push_back(customer.clone()),
            None => names.customers_after = Some(String::new()),
        }
        names.total = feed.board().counts(&filter(order)).total().into();
        names
    }

    /// The next one.
    pub async fn next(&mut self) -> anyhow::Result<Option<Name>> {
        loop {
            if let Some(name) = self.waiting.pop_front() {
                self.given += 1;
                return Ok(Some(name));
            }
            if self.after.is_none() {
                let Some(customer) = self.next_customer().await? else { return Ok(None) };
                self.after = Some((customer, String::new()));
            }
            let Some(after) = self.after.take() else { continue };
            let page = self.store.vehicles_in(self.log, &after, PAGE_NAMES).await?;
            self.after = page.last().map(|last| (after.0.clone(), last.clone()));
            self.waiting = page.into_iter().map(|vehicle| (after.0.clone(), vehicle)).collect();
        }
    }

    async fn next_customer(&mut self) -> anyhow::Result<Option<String>> {
        if let (true, Some(after)) = (self.customers.is_empty(), self.customers_after.take()) {
            self.customers = self.store.customers_in(self.log, &after, PAGE_NAMES).await?.into();
            self.customers_after = self.customers.back().cloned();
        }
        Ok(self.customers.pop_front())
    }

    /// How far it is, 0 to 1, when `within` of the last one given is done. Vehicles that have left are not in the total.
    pub fn progress(&self, within: f64) -> f64 {
        let total = self.total.max(self.given).max(1) as f64;
        (self.given.saturating_sub(1) as f64 + within) / total
    }
}

/// The vehicles of an order on the board; those it names are told apart later.
pub fn filter(order: &Order) -> Filter {
    Filter { customers: order.customer.iter().cloned().collect(), ..Filter::default() }
}
