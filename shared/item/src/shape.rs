//! Which attributes an item has, and in what order: where one item has an attribute, others of its shape have it too. What
//! an attribute is worth, `value` knows.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::value::{Text, Value};

/// So many of the known names are looked at for one: an item may lack some that the one before had.
const FEW: usize = 4;

/// Items of more attributes have no shape: it has a bit for each.
const MOST: usize = 64;

/// So many lists of names get a number: more than a table has where it makes sense.
const LISTS: usize = 1000;

/// What an item has of a list of names.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Shape {
    /// The list's number; 0 if there is none.
    list: u64,
    /// Its first name has the lowest bit.
    has: u64,
}

/// How an item was found makes it no other.
impl PartialEq for Shape {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Shape {}

impl Shape {
    /// Where an item of this shape has the attribute of that place, if it has it; nothing if that cannot be said.
    #[inline]
    pub(crate) fn position(self, place: u64) -> Option<Option<usize>> {
        let bit = 1 << (place % MOST as u64);
        let known = self.list != 0 && place / MOST as u64 == self.list;
        known.then(|| (self.has & bit != 0).then(|| (self.has & (bit - 1)).count_ones() as usize))
    }

    /// The place of the attribute at a position.
    pub(crate) fn place(self, position: usize) -> Option<u64> {
        let mut numbers = (0..MOST as u64).filter(|number| self.has & (1 << number) != 0);
        let number = numbers.nth(position).filter(|_| self.list != 0)?;
        Some(self.list * MOST as u64 + number)
    }
}

/// The names of an item's attributes in their order, none twice and none with an escape, each as `"name":`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    text: String,
    /// Where each of them ends.
    ends: Vec<usize>,
    /// The number of this list.
    list: u64,
    /// The numbers of all lists. Those who share them give one list one number.
    lists: Arc<Mutex<HashMap<String, u64>>>,
}

impl Names {
    pub(crate) fn count(&self) -> usize {
        self.ends.len()
    }

    /// Which name stands at the beginning of a text, and how long it is, if it is one of the next few.
    #[inline]
    pub(crate) fn find(&self, next: usize, text: &[u8]) -> Option<(usize, usize)> {
        let mut start = next.checked_sub(1).map_or(0, |before| self.ends[before]);
        for (few, &end) in self.ends[next..].iter().take(FEW).enumerate() {
            if text.starts_with(&self.text.as_bytes()[start..end]) {
                return Some((next + few, end - start));
            }
            start = end;
        }
        None
    }

    /// The shape of an item that has these of the names and no other.
    pub(crate) fn shape(&self, has: u64) -> Shape {
        Shape { list: self.list, has }
    }

    /// Forgets its names for those of another item, all of them different, and gives its shape.
    pub(crate) fn learn(&mut self, attributes: &[(Text<'_>, Value<'_>)]) -> Shape {
        // None has two numbers.
        static NEXT: AtomicU64 = AtomicU64::new(1);
        self.text.clear();
        self.ends.clear();
        for (name, _) in attributes.iter().filter(|(name, _)| !name.escaped) {
            self.text.push_str(name.json);
            self.text.push(':');
            self.ends.push(self.text.len());
        }
        self.list = 0;
        if self.count() == attributes.len() && self.count() <= MOST {
            let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(list) = lists.get(&self.text) {
                self.list = *list;
            } else if lists.len() < LISTS {
                self.list = NEXT.fetch_add(1, Ordering::Relaxed);
                lists.insert(self.text.clone(), self.list);
            }
        }
        self.shape(u64::MAX >> (MOST - self.count().clamp(1, MOST)))
    }
}
