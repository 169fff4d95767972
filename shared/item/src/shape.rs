//! Which attributes an item has, and in what order: where one item has an attribute, others of its shape have it too. What
//! an attribute is worth, `value` knows.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ahash::RandomState;

use crate::scan::Beginning;
use crate::value::{Text, Value};

/// So many of the known names are looked at for one: an item may lack some that the one before had.
const FEW: usize = 4;

/// Items of more attributes have no shape: it has a bit for each.
const MOST: usize = 64;

/// So many lists of names get a number, and none that takes more bytes: more than a table has where it makes sense.
const LISTS: usize = 1000;
const LONGEST: usize = 4 << 10;

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
    /// Whether a place is one of its list.
    #[inline]
    pub(crate) fn knows(self, place: u64) -> bool {
        self.list != 0 && place / MOST as u64 == self.list
    }

    /// Where an item of this shape has the attribute of a place that it knows, if it has it.
    #[inline]
    pub(crate) fn position(self, place: u64) -> Option<usize> {
        let bit = 1 << (place % MOST as u64);
        let before = self.has & (bit - 1);
        // Mostly none is missing, and not every processor counts bits.
        let count = if before == bit - 1 { bit.trailing_zeros() } else { before.count_ones() };
        (self.has & bit != 0).then_some(count as usize)
    }

    /// The place of the attribute at a position.
    pub(crate) fn place(self, position: usize) -> Option<u64> {
        let mut numbers = (0..MOST as u64).filter(|number| self.has & (1 << number) != 0);
        let number = numbers.nth(position).filter(|_| self.list != 0)?;
        Some(self.list * MOST as u64 + number)
    }
}

/// The names of an item's attributes in their order, none twice and none with an escape.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    /// Each as `"name":`.
    text: String,
    entries: Vec<Name>,
    /// The number of this list.
    list: u64,
    /// The numbers of all lists. Those who share them give one list one number.
    lists: Arc<Mutex<HashMap<String, u64, RandomState>>>,
}

/// A name of the list.
#[derive(Clone, Copy, Debug)]
struct Name {
    beginning: Beginning,
    /// Where it begins and ends in the text of the list.
    start: usize,
    end: usize,
}

impl Names {
    pub(crate) fn count(&self) -> usize {
        self.entries.len()
    }

    /// Which name, one of the next few, stands at the beginning of a text, and how long it is.
    #[inline]
    pub(crate) fn find(&self, next: usize, text: &[u8]) -> Option<(usize, usize)> {
        let few = self.entries[next..].iter().take(FEW);
        let place = few.enumerate().find(|(_, name)| {
            let wanted = &self.text.as_bytes()[name.start..name.end];
            name.beginning.is_of(wanted, text)
        });
        place.map(|(few, name)| (next + few, name.end - name.start))
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
        self.entries.clear();
        for (name, _) in attributes.iter().filter(|(name, _)| !name.escaped) {
            let start = self.text.len();
            self.text.push_str(name.json);
            self.text.push(':');
            let beginning = Beginning::of(&self.text.as_bytes()[start..]);
            self.entries.push(Name { beginning, start, end: self.text.len() });
        }
        self.list = 0;
        if self.count() == attributes.len() && self.count() <= MOST && self.text.len() <= LONGEST {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn learned(names: &mut Names, spelled: &[String]) -> Shape {
        let text = |json| Text { json, escaped: false, nul: false };
        let attributes: Vec<_> = spelled.iter().map(|name| (text(name.as_str()), Value::Null)).collect();
        names.learn(&attributes)
    }

    #[test]
    fn one_list_has_one_number_for_all_who_share() {
        let mut one = Names::default();
        let (mut clone, mut other) = (one.clone(), Names::default());
        let list = |last: &str| vec!["\"a\"".to_owned(), format!("\"{last}\"")];
        let numbers = [
            learned(&mut one, &list("b")),
            learned(&mut clone, &list("b")),
            learned(&mut clone, &list("c")),
            learned(&mut other, &list("b")),
        ];
        let [same, again, another, elsewhere] = numbers.map(|shape| shape.list);
        assert_eq!(same, again);
        assert!(same != another && same != elsewhere && another != elsewhere);
    }

    #[test]
    fn what_is_kept_of_many_and_of_long_lists_is_bounded() {
        let mut names = Names::default();
        let long = format!("\"{}\"", "x".repeat(LONGEST));
        assert_eq!(learned(&mut names, &[long]).list, 0);
        let too_many: Vec<_> = (0..=MOST).map(|number| format!("\"{number}\"")).collect();
        assert_eq!(learned(&mut names, &too_many).list, 0);
        assert_ne!(learned(&mut names, &too_many[1..]).list, 0);
        for number in 0..2 * LISTS {
            learned(&mut names, &[format!("\"n{number}\"")]);
        }
        assert_eq!(names.lists.lock().unwrap().len(), LISTS);
        assert_eq!(learned(&mut names, &["\"one more\"".to_owned()]).list, 0);
    }
}
