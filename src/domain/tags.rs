//! Lists of tags that many vehicles share: a fleet of a million has a few hundred different ones, and each list of its
//! own is some hundred bytes. Kept by the board for its rows.

use std::collections::BTreeSet;
use std::sync::Arc;

/// The labels of a vehicle, in the order they were given.
pub type Tags = Arc<[Box<str>]>;

/// Lists nobody uses any more are looked for when there are so many more than were in use the last time.
const UNUSED_MAX: usize = 1_024;

/// Every list in use, once.
#[derive(Debug, Default)]
pub struct TagLists {
    lists: BTreeSet<Tags>,
    in_use: usize,
}

impl TagLists {
    /// Makes equal lists one.
    pub fn share(&mut self, tags: &mut Tags) {
        if tags.is_empty() {
            return;
        }
        if let Some(known) = self.lists.get(&**tags) {
            *tags = Arc::clone(known);
            return;
        }
        self.lists.insert(Arc::clone(tags));
        if self.lists.len() > 2 * self.in_use + UNUSED_MAX {
            self.lists.retain(|list| Arc::strong_count(list) > 1);
            self.in_use = self.lists.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(list: &[&str]) -> Tags {
        list.iter().map(|tag| Box::from(*tag)).collect()
    }

    #[test]
    fn equal_lists_become_one() {
        let mut lists = TagLists::default();
        let (mut one, mut same, mut other) = (tags(&["a", "b"]), tags(&["a", "b"]), tags(&["b", "a"]));
        [&mut one, &mut same, &mut other].into_iter().for_each(|tags| lists.share(tags));
        assert!(Arc::ptr_eq(&one, &same));
        assert_eq!((&*one, &*other), (&*tags(&["a", "b"]), &*tags(&["b", "a"])));
    }

    #[test]
    fn lists_that_nobody_uses_are_forgotten() {
        let mut lists = TagLists::default();
        let mut kept = tags(&["kept"]);
        lists.share(&mut kept);
        (0..10 * UNUSED_MAX).for_each(|n| lists.share(&mut tags(&[&n.to_string()])));
        assert!(lists.lists.len() <= 2 * UNUSED_MAX && lists.lists.contains(&*kept), "{}", lists.lists.len());
    }
}
