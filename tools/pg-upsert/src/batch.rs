//! What is written and committed together: rows, one for each key, and what the stream said between them.
//!
//! Each line of the stream about a file ends a [`Segment`]. Rows know the segments that their records came from, so that
//! after the commit every count can be given to its file and to the stretch of it that a mark covers, although rows of
//! one key have been merged across them.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ahash::RandomState;
use profile::{Merger, Row, Schema};
use stream::FileEvent;

use crate::key::Key;
use crate::rejects::Rejected;

/// A batch that has waited for so long is written at the next mark, so that a filter which lets little through does not
/// keep the bookmark from moving.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a row costs beside its text.
const OVERHEAD: u64 = 160;

/// Where records of a row came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The segment of the batch.
    pub(crate) segment: usize,
    /// How many records.
    pub(crate) weight: u64,
    /// Their numbers in the file, where they are known.
    pub(crate) records: Vec<u64>,
}

/// One row to write.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) row: Row,
    pub(crate) key: Key,
    /// Of the record that began the row, then of those that were merged into it.
    pub(crate) origin: Origin,
    pub(crate) merged: Vec<Origin>,
}

/// A stretch of the stream up to what is said about a file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Segment {
    /// The file that its rows belong to.
    pub(crate) file: Option<Arc<str>>,
    /// Lines that were refused, by this program and by those before it.
    pub(crate) rejects: Vec<Rejected>,
    /// What was said then.
    pub(crate) event: Option<FileEvent>,
}

/// Rows of several files or of a part of one, and what was said about them.
#[derive(Debug)]
pub(crate) struct Batch {
    /// At most one for each key.
    pub(crate) rows: Vec<Entry>,
    /// In the order of the stream; the last one is open.
    pub(crate) segments: Vec<Segment>,
    /// The records behind the rows.
    pub(crate) records: u64,
    places: HashMap<Key, usize, RandomState>,
    bytes: u64,
    begun: Instant,
}

/// How large a batch may become.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) rows: usize,
    pub(crate) bytes: u64,
}

impl Batch {
    /// An empty batch that goes on with a file.
    pub(crate) fn new(file: Option<Arc<str>>) -> Self {
        Self {
            rows: Vec::new(),
            segments: vec![Segment { file, ..Segment::default() }],
            records: 0,
            places: HashMap::default(),
            bytes: 0,
            begun: Instant::now(),
        }
    }

    /// Whether there is nothing in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.segments.len() == 1 && self.segments[0].rejects.is_empty()
    }

    /// Whether it should be written before more comes.
    pub(crate) fn is_full(&self, limits: Limits) -> bool {
        self.rows.len() >= limits.rows || self.bytes >= limits.bytes
    }

    /// Whether it has waited for long.
    pub(crate) fn is_old(&self) -> bool {
        self.begun.elapsed() >= PATIENCE
    }

    /// The file that the stream is in.
    pub(crate) fn file(&self) -> Option<&Arc<str>> {
        self.segments.last().and_then(|segment| segment.file.as_ref())
    }

    /// Adds a row, merged into the one of its key if there is one.
    pub(crate) fn add(&mut self, row: Row, key: Key, records: Vec<u64>, merger: &Merger) {
        let weight = (records.len() as u64).max(1);
        let origin = Origin { segment: self.segments.len() - 1, weight, records };
        self.records += weight;
        match self.places.entry(key) {
            Slot::Vacant(slot) => {
                self.bytes += row.size() as u64 + OVERHEAD + 8 * weight;
                let key = slot.key().clone();
                slot.insert(self.rows.len());
                self.rows.push(Entry { row, key, origin, merged: Vec::new() });
            }
            Slot::Occupied(slot) => {
                let entry = &mut self.rows[*slot.get()];
                let before = entry.row.size();
                entry.row = merger.merge(&entry.row, &row);
                self.bytes += (entry.row.size().saturating_sub(before)) as u64 + 8 * weight;
                let mut known = entry.merged.iter_mut().chain([&mut entry.origin]);
                if let Some(there) = known.find(|there| there.segment == origin.segment) {
                    there.weight += origin.weight;
                    there.records.extend(origin.records);
                } else {
                    drop(known);
                    entry.merged.push(origin);
                }
            }
        }
    }

    /// Adds a line that was refused.
    pub(crate) fn reject(&mut self, rejected: Rejected) {
        self.bytes += rejected.size() as u64 + OVERHEAD;
        if let Some(segment) = self.segments.last_mut() {
            segment.rejects.push(rejected);
        }
    }

    /// Ends the segment with what was said; the next belongs to `file`.
    pub(crate) fn end_segment(&mut self, event: FileEvent, file: Option<Arc<str>>) {
        self.bytes += OVERHEAD;
        if let Some(segment) = self.segments.last_mut() {
            segment.event = Some(event);
        }
        self.segments.push(Segment { file, ..Segment::default() });
    }

    /// Parts the rows over several connections, all of one key on the same, and puts each part in the order of the key:
    /// neighbours in the index are written together, and two programs never wait for each other in a circle.
    pub(crate) fn parts(&self, parts: usize) -> Vec<Vec<usize>> {
        let state = RandomState::with_seeds(1, 2, 3, 4);
        let mut parted = vec![Vec::with_capacity(self.rows.len() / parts + 1); parts];
        for (index, entry) in self.rows.iter().enumerate() {
            let hash = usize::try_from(state.hash_one(&entry.key) >> 33).unwrap_or_default();
            parted[hash % parts].push(index);
        }
        for part in &mut parted {
            part.sort_unstable_by(|&a, &b| self.rows[a].key.cmp(&self.rows[b].key));
        }
        parted.retain(|part| !part.is_empty());
        parted
    }
}

/// Arrays with a key, which a row from elsewhere may have out of order. A row that comes alone has to look like one that
/// was merged.
#[derive(Debug)]
pub(crate) struct Normal {
    arrays: Vec<usize>,
}

impl Normal {
    pub(crate) fn of(schema: &Schema) -> Self {
        let keyed = |policy: &profile::Policy| matches!(policy, profile::Policy::KeyedArray(_));
        let arrays = schema.columns.iter().enumerate().filter(|(_, column)| keyed(&column.merge));
        Self { arrays: arrays.map(|(index, _)| index).collect() }
    }

    /// The row with such arrays in order.
    pub(crate) fn row(&self, row: Row, merger: &Merger) -> Row {
        // An array with at most one object in it is in order.
        let several = |&index: &usize| {
            let mut elements = memchr::memchr_iter(b',', row.cell(index).as_bytes());
            elements.next().is_some() && memchr::memchr_iter(b'{', row.cell(index).as_bytes()).nth(1).is_some()
        };
        let scalars = |&index: &usize| {
            let cell = row.cell(index).as_bytes();
            memchr::memchr(b',', cell).is_some() && memchr::memchr(b'{', cell).is_none()
        };
        if self.arrays.iter().any(|index| several(index) || scalars(index)) { merger.normalize(row) } else { row }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stream::Mark;

    fn merger() -> Merger {
        let schema = r#"{"v":1,"profile":"p","hash":"h","table":"t","key":["id"],"columns":[
            {"name":"id","type":"bigint"},{"name":"v","type":"text","merge":"replace"}]}"#;
        Merger::new(&serde_json::from_str(schema).unwrap()).unwrap()
    }

    fn add(batch: &mut Batch, id: i64, value: &str, records: &[u64]) {
        batch.add(Row::of([id.to_string().as_str(), value]), Key::Int(id), records.to_vec(), &merger());
    }

    #[test]
    fn a_merged_row_knows_every_record_and_where_it_came_from() {
        let mut batch = Batch::new(Some("a".into()));
        add(&mut batch, 1, "\"x\"", &[1, 2]);
        add(&mut batch, 1, "\"y\"", &[3]);
        batch.end_segment(FileEvent::Mark(Mark::default()), Some("a".into()));
        add(&mut batch, 1, "\"z\"", &[4]);
        add(&mut batch, 2, "\"z\"", &[]);

        assert_eq!((batch.rows.len(), batch.records), (2, 5));
        let entry = &batch.rows[0];
        assert_eq!(entry.row.cell(1), "\"z\"");
        assert_eq!(entry.origin, Origin { segment: 0, weight: 3, records: vec![1, 2, 3] });
        assert_eq!(entry.merged, [Origin { segment: 1, weight: 1, records: vec![4] }]);
    }

    #[test]
    fn parts_hold_every_row_once_in_the_order_of_the_key() {
        let mut batch = Batch::new(None);
        for id in [5, 3, 9, 1, 7, 8, 2] {
            add(&mut batch, id, "null", &[]);
        }
        let parts = batch.parts(3);
        let mut all: Vec<_> = parts.iter().flatten().copied().collect();
        all.sort_unstable();
        assert_eq!(all, (0..7).collect::<Vec<_>>());
        for part in parts {
            assert!(part.windows(2).all(|pair| batch.rows[pair[0]].key < batch.rows[pair[1]].key));
        }
    }
}
