//! Rows that were taken out of a batch to be written or compared, each key once, in one piece of memory; where their
//! records came from; and, for when a row is refused, the rows that it was made of.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use item::scan::common_length;
use profile::row::Place;
use profile::{Cells, Merger, RowView, Rows};
use smallvec::SmallVec;

use crate::key::Keys;

/// What an entry costs beside its row's text and its records.
const OVERHEAD: u64 = 160;

/// The memory of more is not kept.
const MOST_SPARE: u64 = 32 << 20;

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
    /// Of the record that began the row.
    pub origin: Origin,
    /// Of those that were merged into it.
    pub merged: Vec<Origin>,
    /// Its place in the memory of rows.
    row: Place,
    /// Its place in the memory of keys.
    key: Range<usize>,
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

/// Rows, each key once as soon as they are merged.
#[derive(Debug, Default)]
pub struct Entries {
    rows: Rows,
    /// The keys' bytes, one after the other.
    keys: Vec<u8>,
    known: Vec<Entry>,
    /// Those that were made one by [`Entries::merge`], with the place of what they became, in the order of these.
    before: Vec<(usize, Entry)>,
    /// Not every key is certain, see [`Keys::write`].
    uncertain: bool,
    bytes: u64,
}

/// Memory of rows that were written, for those that come next: two thirds of the page faults were to have it from the
/// system anew.
#[derive(Clone, Debug, Default)]
pub struct Spare(Arc<Mutex<Option<Entries>>>);

impl Spare {
    /// Rows that nobody needs any longer. The memory of very many, or of very long ones, is given back to the system.
    pub fn give(&self, mut rows: Entries) {
        if rows.bytes <= MOST_SPARE {
            rows.clear();
            *self.lock() = Some(rows);
        }
    }

    /// None, in memory that was given if there is some.
    pub(crate) fn take(&self) -> Entries {
        self.lock().take().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Entries>> {
        // Nobody panics who holds it, and whatever is in it is without rows.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
        &self.known[place]
    }

    /// The row in a place.
    pub fn row(&self, place: usize) -> RowView<'_> {
        self.rows.at(self.entry(place).row)
    }

    /// What identifies the row in a place, as [`Keys::write`] wrote it.
    pub fn key(&self, place: usize) -> &[u8] {
        &self.keys[self.entry(place).key.clone()]
    }

    /// How many records the rows in some places were made of.
    pub fn weight(&self, places: Range<usize>) -> u64 {
        places.map(|place| self.entry(place).weight()).sum()
    }

    /// Adds a row. A column of its key that is null is the error; then it is not added.
    pub fn push(&mut self, row: impl Cells, keys: &Keys, origin: Origin) -> Result<(), String> {
        let start = self.keys.len();
        match keys.write(row, &mut self.keys) {
            Ok(certain) => self.uncertain |= !certain,
            Err(reason) => {
                self.keys.truncate(start);
                return Err(reason);
            }
        }
        row.add_to(&mut self.rows);
        let (row, key) = (self.rows.place(self.rows.count() - 1), start..self.keys.len());
        self.bytes += (self.rows.at(row).text_size() + key.len() + 8 * origin.records.len()) as u64 + OVERHEAD;
        self.known.push(Entry { origin, merged: Vec::new(), row, key });
        Ok(())
    }

    /// Adds a row whose records came from several places, see [`Self::push`].
    ///
    /// # Errors
    /// A column of its key that is null; then it is not added.
    pub fn push_from(
        &mut self,
        row: impl Cells,
        keys: &Keys,
        origins: impl IntoIterator<Item = Origin>,
    ) -> Result<(), String> {
        let mut origins = origins.into_iter();
        let Some(first) = origins.next() else { return Ok(()) };
        self.push(row, keys, first)?;
        let last = self.len() - 1;
        origins.for_each(|origin| self.known[last].add(origin));
        Ok(())
    }

    /// Takes out the rows of whose keys this holds, in their order. None were merged yet.
    pub fn take_where(&mut self, mut holds: impl FnMut(&[u8]) -> bool) -> Self {
        let mut taken = Self { uncertain: self.uncertain, ..Self::default() };
        let all = std::mem::take(&mut self.known);
        for entry in all {
            if holds(&self.keys[entry.key.clone()]) { taken.take(self, &entry) } else { self.known.push(entry) }
        }
        taken
    }

    /// Takes out the first row of each key, in their order. None were merged yet.
    pub fn take_first_of_each_key(&mut self) -> Self {
        let mut seen = HashSet::new();
        self.take_where(|key| seen.insert(key.to_vec()))
    }

    /// Whether every key is certain, see [`Keys::write`].
    pub(crate) fn are_certain(&self) -> bool {
        !self.uncertain
    }

    /// Says anew which rows have one key: each all by itself, but those that have the key of an earlier one, which come
    /// with the place of the first that has it. None were sorted or merged yet.
    pub(crate) fn set_same_keys(&mut self, same: &[(usize, usize)]) {
        let mut first: Vec<_> = (0..self.len()).collect();
        for &(place, earlier) in same {
            first[place] = earlier;
        }
        let mut keys = Vec::with_capacity(self.keys.len() + 8 * self.len());
        let renamed = first.into_iter().map(|first| {
            let start = keys.len();
            keys.extend_from_slice(self.key(first));
            keys.extend_from_slice(&(first as u64).to_be_bytes());
            start..keys.len()
        });
        let renamed: Vec<_> = renamed.collect();
        self.keys = keys;
        self.known.iter_mut().zip(renamed).for_each(|(entry, key)| entry.key = key);
    }

    /// The entry in a place, to note what is merged into it.
    pub(crate) fn entry_mut(&mut self, place: usize) -> &mut Entry {
        &mut self.known[place]
    }

    /// Puts another row of the same key in the place of an entry's.
    pub(crate) fn replace(&mut self, place: usize, row: RowView<'_>) {
        self.bytes += row.text_size() as u64;
        self.rows.push(row);
        self.known[place].row = self.rows.place(self.rows.count() - 1);
    }

    /// Sorts them by their keys, those of one key as they came.
    pub fn sort(&mut self) {
        let Self { keys, known, .. } = self;
        let common = common(known.iter().map(|entry| &keys[entry.key.clone()]));
        // Most keys differ in their beginnings, which lie together.
        known.sort_by_cached_key(|entry| {
            let rest = &keys[entry.key.clone()][common..];
            (beginning(rest), rest)
        });
    }

    /// Makes one row of those with one key, once they are sorted; but not of those whose segments are `apart`, by a number
    /// for each segment, or none.
    pub fn merge(&mut self, merger: &Merger, apart: &[usize]) {
        self.before.clear();
        // Most often each came once.
        let one = |pair: &[Entry]| self.keys[pair[0].key.clone()] == self.keys[pair[1].key.clone()];
        if !self.known.windows(2).any(one) {
            return;
        }
        let known = Vec::with_capacity(self.known.len());
        let mut sorted = std::mem::replace(&mut self.known, known).into_iter().peekable();
        while let Some(first) = sorted.next() {
            let key = first.key.clone();
            let others = std::iter::from_fn(|| {
                sorted.next_if(|other: &Entry| self.keys[other.key.clone()] == self.keys[key.clone()])
            });
            let others: Vec<_> = others.collect();
            if others.is_empty() {
                self.known.push(first);
                continue;
            }
            let set = |entry: &Entry| number_of(apart, &entry.origin);
            let mut left: Vec<_> = std::iter::once(first).chain(others).collect();
            while let Some(first) = left.first() {
                let number = set(first);
                let (same, rest): (Vec<_>, Vec<_>) = left.into_iter().partition(|entry| set(entry) == number);
                left = rest;
                let rows: Vec<_> = same.iter().map(|entry| self.rows.at(entry.row)).collect();
                let folded = merger.fold(&rows);
                let place = self.known.len();
                if same.len() > 1 {
                    self.before.extend(same.iter().map(|entry| (place, entry.clone())));
                }
                let mut same = same.into_iter();
                self.known.extend(same.next());
                self.replace(place, folded.view());
                for other in same {
                    self.known[place].add(other.origin);
                }
            }
        }
    }

    /// The rows that were made one by [`Entries::merge`], as they came; none if the row in that place came alone.
    pub(crate) fn made_of(&self, place: usize) -> Self {
        let first = self.before.partition_point(|(became, _)| *became < place);
        let mut rows = Self::default();
        for (_, entry) in self.before[first..].iter().take_while(|(became, _)| *became == place) {
            rows.take(self, entry);
        }
        rows
    }

    /// One row of those in these places, which have one key.
    pub(crate) fn folded(&self, places: Range<usize>, merger: &Merger) -> Self {
        let mut one = Self::default();
        for place in places {
            one.take(self, self.entry(place));
        }
        one.merge(merger, &[]);
        one
    }

    /// Adds a row of others.
    fn take(&mut self, others: &Self, entry: &Entry) {
        let start = self.keys.len();
        self.keys.extend_from_slice(&others.keys[entry.key.clone()]);
        self.rows.push(others.rows.at(entry.row));
        let row = self.rows.place(self.rows.count() - 1);
        self.known.push(Entry { row, key: start..self.keys.len(), ..entry.clone() });
    }

    /// The first place from this one on at which another key begins, or the end.
    pub(crate) fn next_key(&self, place: usize) -> usize {
        let begins = |place: &usize| *place == 0 || self.key(*place) != self.key(*place - 1);
        (place..self.len()).find(begins).unwrap_or(self.len())
    }

    /// Has the rows in these places come into the processor's caches. Their addresses are as good as random, and waiting
    /// for one after the other took a third of the time.
    pub(crate) fn fetch(&self, places: Range<usize>) {
        let line = |bytes: &[u8]| bytes.iter().step_by(64).fold(0, |sum: u8, byte| sum.wrapping_add(*byte));
        std::hint::black_box(self.known[places].iter().fold(0, |sum: u8, entry| {
            let row = self.rows.at(entry.row);
            sum.wrapping_add(line(row.text().as_bytes())).wrapping_add(row.cell(0).len().to_le_bytes()[0])
        }));
    }

    /// Leaves none, and keeps the memory.
    pub fn clear(&mut self) {
        self.rows.clear();
        self.keys.clear();
        self.known.clear();
        self.before.clear();
        self.uncertain = false;
        self.bytes = 0;
    }
}

/// By what number rows of a segment are apart from others.
pub(crate) fn number_of(apart: &[usize], origin: &Origin) -> usize {
    apart.get(origin.segment).copied().unwrap_or_default()
}

/// How many bytes all of these keys begin with.
fn common<'a>(mut keys: impl Iterator<Item = &'a [u8]>) -> usize {
    let Some(first) = keys.next() else { return 0 };
    keys.fold(first.len(), |common, key| {
        if key.starts_with(&first[..common]) {
            return common;
        }
        common_length(&first[..common], key)
    })
}

/// A number in whose order keys are that differ in their first bytes.
fn beginning(key: &[u8]) -> u64 {
    if let Some(beginning) = key.first_chunk::<8>() {
        return u64::from_be_bytes(*beginning);
    }
    let mut beginning = [0; 8];
    beginning[..key.len()].copy_from_slice(key);
    u64::from_be_bytes(beginning)
}

#[cfg(test)]
mod tests {
    use super::*;
    use profile::{Row, Schema};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// Rows with a key of a text and a number, each of a record of its own.
    fn entries(keys: &[(String, i64)]) -> (Entries, Merger) {
        let schema = r#"{"v":1,"profile":"p","hash":"h","table":"t","key":["a","b"],"columns":[
            {"name":"a","type":"text"},{"name":"b","type":"bigint"},{"name":"records","type":"jsonb","merge":"jsonb_merge"}]}"#;
        let schema: Schema = serde_json::from_str(schema).unwrap();
        let mut entries = Entries::default();
        for (record, (text, number)) in (0..).zip(keys) {
            let origin = Origin { segment: 0, weight: 1, records: Records::from_slice(&[record]) };
            let row = Row::of([&*format!("{text:?}"), &*number.to_string(), &*format!(r#"{{"r{record}":1}}"#)]);
            entries.push(row.view(), &Keys::of(&schema).unwrap(), origin).unwrap();
        }
        (entries, Merger::new(&schema).unwrap())
    }

    #[test]
    fn memory_is_kept_without_the_rows_that_were_in_it_unless_it_is_much() {
        let (mut rows, merger) = entries(&[("a".to_owned(), 1), ("a".to_owned(), 1)]);
        let (spare, room) = (Spare::default(), |rows: &Entries| rows.keys.capacity());
        rows.sort();
        rows.merge(&merger, &[]);
        let before = room(&rows);
        spare.give(rows);

        let taken = spare.take();
        assert_eq!((taken.len(), taken.bytes(), taken.before.len(), room(&taken)), (0, 0, 0, before));
        assert_eq!(room(&spare.take()), 0, "one may have it");

        let (mut rows, _) = entries(&[("a".to_owned(), 1)]);
        rows.bytes = MOST_SPARE + 1;
        spare.give(rows);
        assert_eq!(room(&spare.take()), 0);
    }

    proptest! {
        #[test]
        fn sorted_and_merged_they_are_in_the_order_of_their_keys(
            keys in proptest::collection::vec(("(order-00)?[a-c]{0,12}", prop_oneof![-2..2_i64, any::<i64>()]), 0..40)
        ) {
            let (mut entries, merger) = entries(&keys);
            let mut expected: BTreeMap<_, Vec<u64>> = BTreeMap::new();
            for (record, key) in (0..).zip(keys) {
                expected.entry(key).or_default().push(record);
            }

            entries.sort();
            entries.merge(&merger, &[]);

            prop_assert_eq!(entries.len(), expected.len());
            for (place, ((text, number), records)) in expected.into_iter().enumerate() {
                let row = entries.row(place);
                prop_assert_eq!(row.cell(0), format!("{text:?}"));
                prop_assert_eq!(row.cell(1), number.to_string());
                let pairs: Vec<_> = records.iter().map(|record| format!(r#""r{record}":1"#)).collect();
                let found: BTreeMap<String, u8> = serde_json::from_str(row.cell(2)).unwrap();
                prop_assert_eq!(found.len(), pairs.len());
                prop_assert!(pairs.iter().all(|pair| row.cell(2).contains(pair)));
                prop_assert_eq!(entries.entry(place).weight(), records.len() as u64);
                prop_assert_eq!(entries.entry(place).origin.records.to_vec(), records);
            }
        }
    }

    #[test]
    fn a_row_without_its_key_is_not_added() {
        let (mut entries, _) = entries(&[(String::new(), 1)]);
        let schema: Schema = serde_json::from_str(
            r#"{"v":1,"profile":"p","hash":"h","table":"t","key":["a"],"columns":[{"name":"a","type":"text"}]}"#,
        )
        .unwrap();
        let origin = Origin { segment: 0, weight: 1, records: Records::default() };
        let refused = entries.push(Row::of(["null"]).view(), &Keys::of(&schema).unwrap(), origin);
        assert_eq!(refused.unwrap_err(), "the key's column `a` is null");
        assert_eq!((entries.len(), entries.key(0)), (1, &[&[0, 1][..], &(1_u64 | 1 << 63).to_be_bytes()].concat()[..]));
    }

    #[test]
    fn rows_of_one_key_that_stay_apart_are_not_parted() {
        let (mut entries, merger) = entries(&["a", "a", "b", "b", "b"].map(|text| (text.to_owned(), 1)));
        // All but the last two came from files of their own.
        for (place, segment) in [(0, 0), (1, 1), (2, 2), (3, 3), (4, 3)] {
            entries.entry_mut(place).origin.segment = segment;
        }
        entries.sort();
        entries.merge(&merger, &[0, 1, 2, 3]);
        assert_eq!(entries.len(), 4);
        let next: Vec<_> = (0..6).map(|place| entries.next_key(place)).collect();
        assert_eq!(next, [0, 2, 2, 4, 4, 4]);
    }

    #[test]
    fn records_of_one_segment_are_noted_together() {
        let (mut entries, _) = entries(&[("k".to_owned(), 1)]);
        let origin = |segment, record| Origin { segment, weight: 1, records: Records::from_slice(&[record]) };
        let entry = entries.entry_mut(0);
        for origin in [origin(1, 5), origin(0, 6), origin(1, 7)] {
            entry.add(origin);
        }
        assert_eq!(entry.weight(), 4);
        let found: Vec<_> = entry.origins().map(|origin| (origin.segment, origin.records.to_vec())).collect();
        assert_eq!(found, [(0, vec![0, 6]), (1, vec![5, 7])]);
    }
}
