//! The board: the live read model that REST and the WebSocket answer from, so they cannot disagree.
//! Fed by the hub with the newest state of vehicles; read by queries and sessions. Every row carries, for each group of
//! its fields, the version at which the group changed last: that is all a delta or a resume needs, and no log is kept.

use std::borrow::Borrow;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::ids::VehicleKey;
use super::query::{Filter, Query, Sort};
use super::search::SearchText;
use super::tags::TagLists;
use super::time::Millis;
use super::transition::Status;

pub use super::row::{Group, Registered, Row, Update};
pub use super::search::Slot;

/// Counts up with every published tick. At four ticks a second 32 bits last for 34 years.
pub type Version = u32;

/// Ticks whose changed rows are remembered: a reader that keeps up looks at these lists only. 16 ticks are 4 s; a
/// reader further behind is served by a scan over all rows.
const RECENT_TICKS: usize = 16;
/// Removals remembered for readers that come back; a reader from before the oldest gets a fresh snapshot.
const REMOVALS_MAX: usize = 100_000;

/// How many vehicles are in each status, by the status's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts(pub [u32; 4]);

impl Counts {
    /// How many in this status.
    pub fn of(&self, status: Status) -> u32 {
        self.0[status as usize]
    }

    /// All together.
    pub fn total(&self) -> u32 {
        self.0.iter().sum()
    }
}

/// Orders a customer's vehicles by their identifier, and is found by it.
#[derive(Debug, Clone)]
struct ByVehicle(Arc<VehicleKey>);

impl Borrow<str> for ByVehicle {
    fn borrow(&self) -> &str {
        &self.0.vehicle
    }
}
impl PartialEq for ByVehicle {
    fn eq(&self, other: &Self) -> bool {
        self.0.vehicle == other.0.vehicle
    }
}
impl Eq for ByVehicle {}
impl PartialOrd for ByVehicle {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for ByVehicle {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.vehicle.cmp(&other.0.vehicle)
    }
}

/// A customer's vehicles, one ordered index a status: a list of the few offline ones does not walk the many online
/// ones.
#[derive(Debug, Default)]
struct Fleet {
    by_status: [BTreeMap<ByVehicle, Slot>; 4],
}

impl Fleet {
    fn counts(&self, filter: &Filter) -> Counts {
        let mut counts = Counts::default();
        for status in Status::ALL.into_iter().filter(|status| filter.statuses.allows(*status)) {
            counts.0[status as usize] = self.by_status[status as usize].len() as u32;
        }
        counts
    }

    /// The vehicles after `after`, in the order of their identifiers, of the allowed statuses.
    fn in_order<'a>(&'a self, filter: &'a Filter, after: Option<&str>) -> impl Iterator<Item = Slot> + use<'a> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        let allowed = Status::ALL.into_iter().filter(|status| filter.statuses.allows(*status));
        let mut heads: Vec<_> = allowed
            .map(|status| self.by_status[status as usize].range::<str, _>((from, Unbounded)).peekable())
            .collect();
        std::iter::from_fn(move || {
            let next = heads.iter_mut().filter_map(|head| head.peek().copied().map(|(name, _)| (name, head)));
            let (_, head) = next.min_by_key(|(name, _)| *name)?;
            head.next().map(|(_, slot)| *slot)
        })
    }
}

/// The live read model of the whole fleet.
#[derive(Debug, Default)]
pub struct Board {
    rows: Vec<Option<Row>>,
    customers: BTreeMap<Arc<str>, Fleet>,
    version: Version,
    dirty: Vec<Slot>,
    recent: VecDeque<Vec<Slot>>,
    removed: VecDeque<(Version, Slot, Arc<VehicleKey>)>,
    /// Removals up to this version may be forgotten.
    removals_known_after: Version,
    search: SearchText,
    tags: TagLists,
}

impl Board {
    /// The newest published version; what was applied since will belong to the next one.
    pub fn version(&self) -> Version {
        self.version
    }

    /// One more than the highest slot ever used.
    pub fn slots(&self) -> Slot {
        self.rows.len() as Slot
    }

    /// The row in a slot, while the vehicle is there.
    pub fn row(&self, slot: Slot) -> Option<&Row> {
        self.rows.get(slot as usize)?.as_ref()
    }

    /// Finds a vehicle by its two names.
    pub fn find(&self, customer: &str, vehicle: &str) -> Option<&Row> {
        let fleet = self.customers.get(customer)?;
        let slot = fleet.by_status.iter().find_map(|index| index.get(vehicle))?;
        self.row(*slot)
    }

    /// Whether any vehicle of this customer is on the board.
    pub fn knows_customer(&self, customer: &str) -> bool {
        self.customers.contains_key(customer)
    }

    /// The customers after `after`, in order, with their counts.
    pub fn customers<'a>(&'a self, after: Option<&str>) -> impl Iterator<Item = (&'a Arc<str>, Counts)> + use<'a> {
        use std::ops::Bound::{Excluded, Unbounded};
        let range = (after.map_or(Unbounded, Excluded), Unbounded);
        self.customers.range::<str, _>(range).map(|(name, fleet)| (name, fleet.counts(&Filter::default())))
    }

    /// A vehicle comes onto the board. Its first update follows.
    pub fn join(&mut self, key: Arc<VehicleKey>, mut registered: Option<Box<Registered>>, state: Update) {
        registered.iter_mut().for_each(|registered| self.tags.share(&mut registered.tags));
        let (slot, version) = (state.slot, self.version + 1);
        if self.rows.len() <= slot as usize {
            self.rows.resize_with(slot as usize + 1, || None);
        }
        let fleet = self.customers.entry(Arc::clone(&key.customer)).or_default();
        fleet.by_status[state.status as usize].insert(ByVehicle(Arc::clone(&key)), slot);
        let row = Row::new(key, registered, state, version);
        self.search.set(slot, row.names());
        self.rows[slot as usize] = Some(row);
        self.dirty.push(slot);
    }

    /// The newest state of a vehicle that joined before; for one that left meanwhile it is dropped.
    pub fn apply(&mut self, new: Update) {
        let version = self.version + 1;
        let Some(row) = self.rows.get_mut(new.slot as usize).and_then(Option::as_mut) else { return };
        let fresh = row.newest() <= self.version;
        let (slot, was, is) = (new.slot, row.state.status, new.status);
        row.take(new, version);
        if fresh && row.newest() == version {
            self.dirty.push(slot);
        }
        if was != is
            && let Some(fleet) = self.customers.get_mut(&row.key.customer)
        {
            let name = ByVehicle(Arc::clone(&row.key));
            fleet.by_status[was as usize].remove(&name);
            fleet.by_status[is as usize].insert(name, slot);
        }
    }

    /// What is registered of a vehicle is this from now on; for one that left meanwhile it is dropped.
    pub fn amend(&mut self, slot: Slot, mut registered: Box<Registered>) {
        self.tags.share(&mut registered.tags);
        let version = self.version + 1;
        let Some(row) = self.rows.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        if row.newest() <= self.version {
            self.dirty.push(slot);
        }
        row.note(Group::Registry, version);
        row.registered = Some(registered);
        self.search.set(slot, row.names());
    }

    /// A vehicle leaves the board for good.
    pub fn remove(&mut self, slot: Slot) {
        let Some(row) = self.rows.get_mut(slot as usize).and_then(Option::take) else { return };
        self.search.clear(slot);
        if let Some(fleet) = self.customers.get_mut(&row.key.customer) {
            let index = &mut fleet.by_status[row.state.status as usize];
            // Another may have come under the same name meanwhile.
            if index.get(&*row.key.vehicle) == Some(&slot) {
                index.remove(&*row.key.vehicle);
            }
            if fleet.by_status.iter().all(BTreeMap::is_empty) {
                self.customers.remove(&row.key.customer);
            }
        }
        self.removed.push_back((self.version + 1, slot, row.key));
        if self.removed.len() > REMOVALS_MAX
            && let Some((version, ..)) = self.removed.pop_front()
        {
            self.removals_known_after = version;
        }
    }

    /// Closes the tick: what was applied since the last one becomes the next version, if anything was.
    pub fn publish(&mut self) -> Version {
        let removed = self.removed.back().is_some_and(|(version, ..)| *version > self.version);
        if self.dirty.is_empty() && !removed {
            return self.version;
        }
        self.version += 1;
        self.recent.push_back(std::mem::take(&mut self.dirty));
        if self.recent.len() > RECENT_TICKS {
            self.recent.pop_front();
        }
        self.version
    }

    /// Whether a reader that has `version` can be brought up to date by a delta.
    pub fn can_resume(&self, version: Version) -> bool {
        version <= self.version && version >= self.removals_known_after
    }

    /// The slots whose rows changed after `version`, each once, in no particular order.
    pub fn changed_after(&self, version: Version) -> Vec<Slot> {
        let behind = self.version.saturating_sub(version) as usize;
        if behind <= self.recent.len() {
            let lists = self.recent.iter().skip(self.recent.len() - behind);
            let mut slots: Vec<Slot> = lists.flatten().copied().collect();
            if behind > 1 {
                slots.sort_unstable();
                slots.dedup();
            }
            return slots;
        }
        let rows = self.rows.iter().flatten();
        rows.filter(|row| row.newest() > version).map(|row| row.state.slot).collect()
    }

    /// The vehicles that left after `version`, and the slots they had.
    pub fn removed_after(&self, version: Version) -> impl Iterator<Item = (Slot, &Arc<VehicleKey>)> {
        let first = self.removed.partition_point(|(at, ..)| *at <= version);
        self.removed.iter().skip(first).map(|(_, slot, key)| (*slot, key))
    }

    /// Every row of a filter, by slot.
    pub fn rows<'a, 'f>(&'a self, filter: &'f Filter) -> impl Iterator<Item = &'a Row> + use<'a, 'f> {
        self.rows.iter().flatten().filter(|row| filter.allows(&row.key.customer, row.state.status))
    }

    /// How many vehicles a filter shows in each status.
    pub fn counts(&self, filter: &Filter) -> Counts {
        let mut sum = Counts::default();
        for (_, fleet) in self.fleets(filter, None) {
            for (all, own) in sum.0.iter_mut().zip(fleet.counts(filter).0) {
                *all += own;
            }
        }
        sum
    }

    /// Every vehicle of a filter, by customer, then vehicle.
    pub fn all_in_order(&self, filter: &Filter) -> Vec<Slot> {
        self.fleets(filter, None).flat_map(|(_, fleet)| fleet.in_order(filter, None)).collect()
    }

    /// One page in the order of the keys, at most `limit` vehicles after the given key, and the counts of the whole
    /// query.
    pub fn page(&self, query: &Query, after: Option<(&str, &str)>, limit: usize) -> (Vec<Slot>, Counts) {
        let Some(mut matches) = self.matches(query) else {
            return (self.page_of_filter(&query.filter, after, limit), self.counts(&query.filter));
        };
        let counts = self.count(&matches);
        matches.retain(|slot| after.is_none_or(|after| self.row(*slot).is_some_and(|row| key_of(row) > after)));
        matches.truncate(limit);
        (matches, counts)
    }

    fn page_of_filter(&self, filter: &Filter, after: Option<(&str, &str)>, limit: usize) -> Vec<Slot> {
        let mut page = Vec::with_capacity(limit);
        for (customer, fleet) in self.fleets(filter, after.map(|(customer, _)| customer)) {
            let after = after.filter(|(first, _)| *first == &**customer).map(|(_, vehicle)| vehicle);
            page.extend(fleet.in_order(filter, after).take(limit - page.len()));
            if page.len() == limit {
                break;
            }
        }
        page
    }

    /// All vehicles of a query in a moving order, as it is at this moment; ties by key.
    pub fn order(&self, query: &Query, sort: Sort) -> Vec<Slot> {
        let slots = self.matches(query).unwrap_or_else(|| self.all_in_order(&query.filter));
        let value = |slot: Slot| {
            let state = self.row(slot).map(|row| &row.state);
            match sort {
                Sort::LastSeen { .. } => state.and_then(|state| state.last_seen),
                _ => state.and_then(|state| state.since),
            }
        };
        let descending = matches!(sort, Sort::LastSeen { descending: true } | Sort::StatusSince { descending: true });
        let mut keyed: Vec<(Millis, Slot)> = slots.into_iter().map(|slot| (value(slot).unwrap_or(0), slot)).collect();
        match (sort, descending) {
            (Sort::Vehicle, _) => {}
            (_, true) => keyed.sort_by_key(|(value, _)| std::cmp::Reverse(*value)),
            (_, false) => keyed.sort_by_key(|(value, _)| *value),
        }
        keyed.into_iter().map(|(_, slot)| slot).collect()
    }

    /// How many of these vehicles are in each status.
    pub fn count(&self, slots: &[Slot]) -> Counts {
        let mut counts = Counts::default();
        for row in slots.iter().filter_map(|slot| self.row(*slot)) {
            counts.0[row.state.status as usize] += 1;
        }
        counts
    }

    /// The vehicles of a query with a text or a tag, in the order of their keys; `None` when the filter says it all.
    pub(super) fn matches(&self, query: &Query) -> Option<Vec<Slot>> {
        let mut slots = match (&query.text, &query.tag) {
            (Some(text), _) => self.search.find(text),
            (None, Some(_)) => self.all_in_order(&query.filter),
            (None, None) => return None,
        };
        let fits = |row: &Row| {
            query.filter.allows(&row.key.customer, row.state.status)
                && query.tag.as_deref().is_none_or(|tag| row.has_tag(tag))
        };
        slots.retain(|slot| self.row(*slot).is_some_and(fits));
        if query.text.is_some() {
            slots.sort_by(|a, b| self.row(*a).map(key_of).cmp(&self.row(*b).map(key_of)));
        }
        Some(slots)
    }

    fn fleets<'a>(
        &'a self,
        filter: &'a Filter,
        from: Option<&str>,
    ) -> Box<dyn Iterator<Item = (&'a Arc<str>, &'a Fleet)> + 'a> {
        use std::ops::Bound::{Included, Unbounded};
        if let Some(own) = &filter.own {
            let found = self.customers.get_key_value(own).filter(|(name, _)| filter.allows_customer(name));
            return Box::new(found.filter(|(name, _)| from.is_none_or(|from| ***name >= *from)).into_iter());
        }
        if filter.customers.is_empty() {
            return Box::new(self.customers.range::<str, _>((from.map_or(Unbounded, Included), Unbounded)));
        }
        let from = from.unwrap_or_default().to_owned();
        let named = filter.customers.iter().filter(move |name| **name >= from);
        Box::new(named.filter_map(|name| self.customers.get_key_value(name.as_str())))
    }
}

fn key_of(row: &Row) -> (&str, &str) {
    (&row.key.customer, &row.key.vehicle)
}

#[cfg(test)]
#[path = "board_tests.rs"]
mod tests;
