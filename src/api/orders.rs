//! Orders of lists that move while they are read (`sort=last_seen`): the order of the first page is kept for the next
//! ones of the same question, so that every vehicle comes exactly once. Used by the vehicle list. Bound: `ORDERS_MAX`
//! lists of four bytes a vehicle; the oldest goes first, and its reader is told to start again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use crate::domain::board::Slot;
use crate::domain::query::{Query, Sort};

/// Orders kept: at a million vehicles 128 MB if every one is of the whole fleet.
const ORDERS_MAX: usize = 32;

/// The question an order answers, and whose reader asked it: no other may go on with it.
type Question = (Query, Sort);

/// An order with its number and its question.
#[derive(Debug)]
struct Kept {
    number: u64,
    question: Question,
    order: Arc<[Slot]>,
}

/// The orders kept.
#[derive(Debug, Default)]
pub struct Orders {
    last: AtomicU64,
    kept: Mutex<VecDeque<Kept>>,
}

impl Orders {
    /// Keeps an order and gives its number.
    pub fn keep(&self, question: Question, order: Arc<[Slot]>) -> u64 {
        let number = self.last.fetch_add(1, Relaxed) + 1;
        let mut kept = self.kept.lock();
        kept.push_back(Kept { number, question, order });
        if kept.len() > ORDERS_MAX {
            kept.pop_front();
        }
        number
    }

    /// The order of this question that is still kept.
    pub fn get(&self, number: u64, question: &Question) -> Option<Arc<[Slot]>> {
        let kept = self.kept.lock();
        let found = kept.iter().find(|kept| kept.number == number && kept.question == *question);
        found.map(|kept| Arc::clone(&kept.order))
    }
}
