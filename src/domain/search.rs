//! Finds vehicles by a part of their names: one long lower-case text, searched from end to end. Fed by the board when
//! a vehicle joins, changes or leaves; asked by it for `q=`. A scan of plain bytes beats any index here: a million
//! vehicles are about 30 MB, and memchr walks several GB a second.

use memchr::memmem;

/// Number of a vehicle on the board; dense, never used twice in one run.
pub type Slot = u32;

/// Between the names of one vehicle. Control characters are refused in names and questions, so no match spans two.
const BETWEEN: u8 = 0x1f;
/// Before each vehicle's names.
const START: u8 = 0x1e;
const NONE: u32 = u32::MAX;

/// The searchable text of all vehicles.
#[derive(Debug, Default)]
pub struct SearchText {
    text: Vec<u8>,
    /// Where each entry starts and whose it is, in order of the text; stale ones stay until the next rebuild.
    entries: Vec<(u32, Slot)>,
    /// Where the valid entry of each slot starts.
    valid: Vec<u32>,
    stale: usize,
}

impl SearchText {
    /// Sets the names of a vehicle, replacing older ones.
    pub fn set<'a>(&mut self, slot: Slot, names: impl IntoIterator<Item = &'a str>) {
        self.clear(slot);
        let start = self.text.len() as u32;
        self.text.push(START);
        for name in names {
            if name.is_ascii() {
                self.text.extend(name.bytes().map(|byte| byte.to_ascii_lowercase()));
            } else {
                self.text.extend(name.chars().flat_map(char::to_lowercase).collect::<String>().bytes());
            }
            self.text.push(BETWEEN);
        }
        self.entries.push((start, slot));
        if self.valid.len() <= slot as usize {
            self.valid.resize(slot as usize + 1, NONE);
        }
        self.valid[slot as usize] = start;
        if self.stale > 1024 && self.stale > self.entries.len() / 2 {
            self.rebuild();
        }
    }

    /// Forgets a vehicle.
    pub fn clear(&mut self, slot: Slot) {
        if let Some(start) = self.valid.get_mut(slot as usize).filter(|start| **start != NONE) {
            *start = NONE;
            self.stale += 1;
        }
    }

    /// Every vehicle one of whose names holds `needle` (lower case), in no particular order.
    pub fn find(&self, needle: &str) -> Vec<Slot> {
        let finder = memmem::Finder::new(needle);
        let (mut found, mut from) = (Vec::new(), 0);
        while let Some(at) = finder.find(&self.text[from..]).map(|at| from + at) {
            let entry = self.entries.partition_point(|&(start, _)| start as usize <= at) - 1;
            let (start, slot) = self.entries[entry];
            if self.valid[slot as usize] == start {
                found.push(slot);
            }
            match self.entries.get(entry + 1) {
                Some(&(next, _)) => from = next as usize,
                None => break,
            }
        }
        found
    }

    fn rebuild(&mut self) {
        let old = std::mem::take(self);
        self.valid = vec![NONE; old.valid.len()];
        for (i, &(start, slot)) in old.entries.iter().enumerate() {
            if old.valid[slot as usize] != start {
                continue;
            }
            let end = old.entries.get(i + 1).map_or(old.text.len(), |&(next, _)| next as usize);
            self.valid[slot as usize] = self.text.len() as u32;
            self.entries.push((self.text.len() as u32, slot));
            self.text.extend_from_slice(&old.text[start as usize..end]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn any_part_of_any_name_is_found_in_any_case() {
        let mut search = SearchText::default();
        search.set(0, ["TRK-1", "Zoë's Truck"]);
        search.set(1, ["trk-11"]);
        let find = |needle: &str| search.find(needle);
        assert_eq!(
            (find("trk-1"), find("zoë's"), find("k-11"), find("trk-1zo")),
            (vec![0, 1], vec![0], vec![1], vec![])
        );
    }

    proptest! {
        /// Many changes and removals, against a plain list.
        #[test]
        fn it_finds_what_a_plain_list_finds(
            steps in proptest::collection::vec((0..40u32, proptest::option::of("[ab]{0,4}")), 1..4000),
            needle in "[ab]{1,3}",
        ) {
            let (mut search, mut plain) = (SearchText::default(), std::collections::BTreeMap::new());
            for (slot, name) in steps {
                match name {
                    Some(name) => { search.set(slot, [name.as_str()]); plain.insert(slot, name); }
                    None => { search.clear(slot); plain.remove(&slot); }
                }
            }
            let mut found = search.find(&needle);
            found.sort_unstable();
            let holding = plain.iter().filter(|(_, name)| name.contains(&needle));
            let want: Vec<u32> = holding.map(|(slot, _)| *slot).collect();
            prop_assert_eq!(found, want);
        }
    }
}
