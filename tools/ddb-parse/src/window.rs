//! Rows of one key that come close together are merged before they are written. The window is bounded in rows and
//! bytes; what lies further apart is merged by the target. The rule of merging is `profile`'s.

use std::collections::HashMap;
use std::hash::BuildHasher as _;

use ahash::RandomState;
use profile::{Kind, Merger, RowView, Rows, Schema, comparable};

/// Room for the rows of all windows.
const BYTES: usize = 12 << 20;

/// The rows of the window, in the order in which their keys came first.
#[derive(Debug)]
pub(crate) struct Window {
    merger: Merger,
    key: Vec<(usize, Kind)>,
    rows: Rows,
    /// For each row its record, and the next row of its key.
    places: Vec<(u64, Option<usize>)>,
    /// First and last row of each key, in the order of the first.
    chains: Vec<(usize, usize)>,
    /// Where in `chains` a key is, by the hash of the key.
    known: HashMap<u64, usize, RandomState>,
    hasher: RandomState,
    /// Nobody here knows what SQL makes of two rows: they stay as they came.
    by_sql: bool,
    most_rows: usize,
    most_bytes: usize,
    merged: u64,
}

impl Window {
    /// One of `count` windows, each for so many rows at most.
    pub(crate) fn new(schema: &Schema, most_rows: u64, count: usize) -> Result<Self, String> {
        let key = schema.key_indexes()?.into_iter().map(|index| (index, schema.columns[index].ty.kind())).collect();
        Ok(Self {
            merger: Merger::new(schema)?,
            key,
            rows: Rows::default(),
            places: Vec::new(),
            chains: Vec::new(),
            known: HashMap::default(),
            hasher: RandomState::new(),
            by_sql: schema.by_sql(),
            most_rows: usize::try_from(most_rows).unwrap_or(usize::MAX),
            most_bytes: BYTES / count,
            merged: 0,
        })
    }

    /// Takes the row of a record. True when the window is full and has to be [drained](Self::drain).
    pub(crate) fn add(&mut self, row: RowView<'_>, record: u64) -> bool {
        let place = self.places.len();
        self.rows.push(row);
        self.places.push((record, None));
        if self.by_sql {
            self.chains.push((place, place));
            return self.is_full();
        }
        let mut hash = self.hash(row);
        loop {
            let Some(&chain) = self.known.get(&hash) else {
                self.known.insert(hash, self.chains.len());
                self.chains.push((place, place));
                break;
            };
            let (first, last) = self.chains[chain];
            if self.same_key(self.rows.get(first), row) {
                self.chains[chain].1 = place;
                self.places[last].1 = Some(place);
                self.merged += 1;
                break;
            }
            // Another key of the same hash: a place is found beside it.
            hash = hash.wrapping_add(1);
        }
        self.is_full()
    }

    fn is_full(&self) -> bool {
        self.chains.len() >= self.most_rows || self.rows.size() >= self.most_bytes
    }

    /// Whether nothing waits in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// How many records were merged into a row of another one so far.
    pub(crate) fn merged(&self) -> u64 {
        self.merged
    }

    /// Hands every row to `take`, with the numbers of its records, and empties the window.
    pub(crate) fn drain<E>(&mut self, mut take: impl FnMut(RowView<'_>, &[u64]) -> Result<(), E>) -> Result<(), E> {
        let (mut rows, mut records) = (Vec::new(), Vec::new());
        for &(first, _) in &self.chains {
            rows.clear();
            records.clear();
            let mut next = Some(first);
            while let Some(place) = next {
                rows.push(self.rows.get(place));
                records.push(self.places[place].0);
                next = self.places[place].1;
            }
            match rows.as_slice() {
                [row] => take(*row, &records)?,
                rows => take(self.merger.fold(rows).view(), &records)?,
            }
        }
        self.rows.clear();
        self.places.clear();
        self.chains.clear();
        self.known.clear();
        Ok(())
    }

    fn hash(&self, row: RowView<'_>) -> u64 {
        let cells = self.key.iter().map(|(index, kind)| comparable(row.cell(*index), *kind));
        let mut hasher = self.hasher.build_hasher();
        for cell in cells {
            std::hash::Hash::hash(&*cell, &mut hasher);
        }
        std::hash::Hasher::finish(&hasher)
    }

    fn same_key(&self, one: RowView<'_>, other: RowView<'_>) -> bool {
        self.key
            .iter()
            .all(|(index, kind)| comparable(one.cell(*index), *kind) == comparable(other.cell(*index), *kind))
    }
}
