//! Rows that were taken out of a batch to be written or compared, each key once, in one piece of memory; and where their
//! records came from.

use std::ops::Range;

use profile::{RowView, Rows};
use smallvec::SmallVec;

use crate::key::Key;

/// What an entry costs beside its row's text and its records.
const OVERHEAD: u64 = 160;

/// The numbers of records in their file. Most rows come from one or two.
pub type Records = SmallVec<[u64; 2]>;

/// Where records of a row came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The segment of the batch.
    pub segment: usize,
    /// How many records.
    pub weight: u64,
    /// Their numbers in the file, where they are known.
    pub records: Records,
}

/// What is known of one row besides what it says.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What identifies it.
    pub key: Key,
    /// Of the record that began the row.
    pub origin: Origin,
    /// Of those that were merged into it.
    pub merged: Vec<Origin>,
    /// Its place in the memory of rows.
    row: usize,
}

impl Entry {
    /// How many records it was made of.
    pub fn weight(&self) -> u64 {
        self.origin.weight + self.merged.iter().map(|origin| origin.weight).sum::<u64>()
    }

    /// Where all its records came from.
    pub fn origins(&self) -> impl Iterator<Item = &Origin> {
        std::iter::once(&self.origin).chain(&self.merged)
    }

    /// Notes where records came from that were merged into the row.
    pub fn add(&mut self, origin: Origin) {
        let known = self.merged.iter().position(|there| there.segment == origin.segment);
        let there = match known {
            Some(place) => &mut self.merged[place],
            None if self.origin.segment == origin.segment => &mut self.origin,
            None => return self.merged.push(origin),
        };
        there.weight += origin.weight;
        there.records.extend(origin.records);
    }
}

/// Rows, each key once.
#[derive(Debug, Default)]
pub struct Entries {
    rows: Rows,
    known: Vec<Entry>,
    /// Which entry is at which place.
    order: Vec<u32>,
    bytes: u64,
}

impl Entries {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// About how much memory they take.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What is known of the row in a place.
    pub fn entry(&self, place: usize) -> &Entry {
        &self.known[self.order[place] as usize]
    }

    /// The row in a place.
    pub fn row(&self, place: usize) -> RowView<'_> {
        self.rows.get(self.entry(place).row)
    }

    /// How many records the rows in some places were made of.
    pub fn weight(&self, places: Range<usize>) -> u64 {
        places.map(|place| self.entry(place).weight()).sum()
    }

    /// Lends the memory of rows to add one there; [`Entries::push_last`] must follow.
    pub(crate) fn compose(&mut self) -> &mut Rows {
        &mut self.rows
    }

    /// Adds the row that was composed last.
    pub(crate) fn push_last(&mut self, key: Key, origin: Origin) {
        let row = self.rows.count() - 1;
        self.bytes += self.rows.get(row).text_size() as u64 + 8 * origin.records.len() as u64 + OVERHEAD;
        // Rows of a batch are fewer.
        self.order.push(u32::try_from(self.known.len()).unwrap_or(u32::MAX));
        self.known.push(Entry { key, origin, merged: Vec::new(), row });
    }

    /// Adds a row.
    pub fn push(&mut self, row: RowView<'_>, key: Key, origin: Origin) {
        self.rows.push(row);
        self.push_last(key, origin);
    }

    /// The entry that was added so long ago, as long as they are not sorted, with its row.
    pub(crate) fn added(&mut self, number: usize) -> (&mut Entry, RowView<'_>) {
        let entry = &mut self.known[number];
        let row = self.rows.get(entry.row);
        (entry, row)
    }

    /// Puts another row in the place of an entry's.
    pub(crate) fn replace(&mut self, number: usize, row: RowView<'_>) {
        self.bytes += row.text_size() as u64;
        self.rows.push(row);
        self.known[number].row = self.rows.count() - 1;
    }

    /// The keys in the order in which they were added.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.known.iter().map(|entry| &entry.key)
    }

    /// Sorts them by their keys.
    pub fn sort(&mut self) {
        let common = Key::common(self.keys());
        let mut order: Vec<_> =
            self.order.iter().map(|&number| (self.known[number as usize].key.beginning(common), number)).collect();
        // Most keys differ in their beginnings, which lie together.
        order.sort_unstable_by(|(a, one), (b, other)| {
            a.cmp(b).then_with(|| self.known[*one as usize].key.cmp(&self.known[*other as usize].key))
        });
        self.order.clear();
        self.order.extend(order.into_iter().map(|(_, number)| number));
    }

    /// Leaves none, and keeps the memory.
    pub fn clear(&mut self) {
        self.rows.clear();
        self.known.clear();
        self.order.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use profile::Row;
    use proptest::prelude::*;

    fn entries(keys: impl IntoIterator<Item = Key>) -> Entries {
        let mut entries = Entries::default();
        for key in keys {
            let origin = Origin { segment: 0, weight: 1, records: Records::default() };
            entries.push(Row::of([format!("{key:?}").as_str()]).view(), key, origin);
        }
        entries
    }

    proptest! {
        #[test]
        fn sorted_they_are_in_the_order_of_their_keys(texts in proptest::collection::vec("(order-00)?[a-c]{0,12}", 0..40), numbers: Vec<i64>) {
            let bytes = texts.into_iter().map(|text| Key::Bytes(text.into_bytes().into()));
            for keys in [bytes.collect::<Vec<_>>(), numbers.into_iter().map(Key::Int).collect()] {
                let mut entries = entries(keys.clone());
                entries.sort();
                let mut expected = keys;
                expected.sort();
                let found: Vec<_> = (0..entries.len()).map(|place| entries.entry(place).key.clone()).collect();
                prop_assert_eq!(&found, &expected);
                for (place, key) in expected.iter().enumerate() {
                    prop_assert_eq!(entries.row(place).cell(0), format!("{key:?}"));
                }
            }
        }
    }

    #[test]
    fn records_of_one_segment_are_noted_together() {
        let mut entries = entries([Key::Int(1)]);
        let origin = |segment, record| Origin { segment, weight: 1, records: Records::from_slice(&[record]) };
        let (entry, _) = entries.added(0);
        for origin in [origin(1, 5), origin(0, 6), origin(1, 7)] {
            entry.add(origin);
        }
        assert_eq!(entry.weight(), 4);
        let found: Vec<_> = entry.origins().map(|origin| (origin.segment, origin.records.to_vec())).collect();
        assert_eq!(found, [(0, vec![6]), (1, vec![5, 7])]);
    }
}
