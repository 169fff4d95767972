//! What is written together and then noted: rows, and what the stream said between them.
//!
//! Each line of the stream about a file ends a [`Segment`]. Rows know the segments that their records came from, so that
//! after the commit every count can be given to its file and to the stretch of it that a mark covers, although rows of
//! one key have been merged across them. How few rows wait is in `entries`, how many do in `gather`.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use memchr::{memchr, memrchr};
use profile::row::NULL;
use profile::{Cells, Column, Merger, Policy, Row, Schema};
use stream::FileEvent;
use tracing::warn;

use crate::entries::{Entries, Origin, Spare};
use crate::gather::Gathered;
use crate::key::Keys;
use crate::rejected::Rejected;
use crate::tolerance::Reading;

/// A batch that has waited for so long is written at the next mark, so that a filter which lets little through does not
/// keep the bookmark from moving.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long writing what is gathered should take.
const WRITING: Duration = Duration::from_secs(5);

/// The memory and the disk of rows that are gathered.
const MEMORY: u64 = 12 << 20;
const DISK: u64 = 1 << 30;

/// What a reject or what was said costs beside its text.
const OVERHEAD: u64 = 160;

/// A stretch of the stream up to what is said about a file.
#[derive(Clone, Debug, Default)]
pub struct Segment {
    /// The file that its rows belong to.
    pub file: Option<Arc<str>>,
    /// Lines that were refused, by this program and by those before it.
    pub rejects: Vec<Rejected>,
    /// What was said then.
    pub event: Option<FileEvent>,
}

/// The rows of one table, those of one key not merged yet.
#[derive(Debug)]
pub enum Held {
    /// Those of a transaction for each connection at most, in memory.
    Few(Entries),
    /// Those of many more keys.
    Many(Gathered),
}

impl Held {
    /// None; `many` if many keys are to come together.
    pub fn new(many: bool) -> Self {
        if many { Self::Many(Gathered::default()) } else { Self::Few(Entries::default()) }
    }

    /// About how many rows there will be, merged. Of few rows those that came are counted.
    pub fn keys(&self) -> usize {
        match self {
            Self::Few(entries) => entries.len(),
            Self::Many(gathered) => gathered.keys(),
        }
    }
}

/// Rows of several files or of a part of one, and what was said about them.
#[derive(Debug)]
pub struct Batch {
    /// The rows of each table, in the order in which the stream named the tables.
    pub tables: Vec<Held>,
    /// The keys of rows of each table that are to be deleted, before the rows are written.
    pub deleted: Vec<Entries>,
    /// In the order of the stream; the last one is open.
    pub segments: Vec<Segment>,
    /// What this process has read by now, this batch included.
    pub reading: Reading,
    /// For each segment a number: rows of one key only become one where it is the same. Without numbers all do.
    pub apart: Vec<usize>,
    /// What the segments take.
    bytes: u64,
    begun: Instant,
}

/// How much is written together.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Rows of a transaction.
    pub rows: usize,
    /// Bytes of a transaction.
    pub bytes: u64,
    /// If more than the rows of a transaction are gathered.
    pub gather: Option<Gather>,
}

/// Gathers rows of many more keys than a transaction has: merging rows of one key that lie far apart is cheaper here than
/// in the table. No more than can be written in five seconds, as soon as that is known, so that little is read again
/// after a stop.
#[derive(Clone, Debug)]
pub struct Gather {
    /// The folder for what memory cannot hold.
    folder: PathBuf,
    /// Rows of so many keys at most.
    most: usize,
    now: Arc<AtomicUsize>,
}

impl Gather {
    /// Rows of at most so many keys, and files in that folder.
    pub fn new(most: usize, folder: PathBuf) -> Self {
        Self { folder, most, now: Arc::new(AtomicUsize::new(most)) }
    }

    /// So many rows were written in that time. A short time says little.
    pub fn learn(&self, rows: usize, time: Duration) {
        if time >= Duration::from_secs(1) {
            let in_time = rows as u128 * WRITING.as_nanos() / time.as_nanos();
            self.now.store(usize::try_from(in_time).unwrap_or(usize::MAX).min(self.most), Ordering::Relaxed);
        }
    }
}

impl Batch {
    /// An empty batch that goes on with a file; for each table, whether many keys are to come together.
    pub fn new(file: Option<Arc<str>>, many: &[bool]) -> Self {
        Self {
            tables: many.iter().map(|&many| Held::new(many)).collect(),
            deleted: many.iter().map(|_| Entries::default()).collect(),
            segments: vec![Segment { file, ..Segment::default() }],
            reading: Reading::default(),
            apart: Vec::new(),
            bytes: 0,
            begun: Instant::now(),
        }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.keys() == 0 && self.segments.len() == 1 && self.segments[0].rejects.is_empty()
    }

    /// About how many rows there will be, see [`Held::keys`].
    pub fn keys(&self) -> usize {
        self.tables.iter().map(Held::keys).sum::<usize>() + self.deleted.iter().map(Entries::len).sum::<usize>()
    }

    /// Has the rows of the only table come into memory that was given back. Of several tables each might come to keep as much
    /// as one.
    pub(crate) fn reuse(&mut self, spare: &Spare) {
        if let [Held::Few(rows)] = self.tables.as_mut_slice() {
            *rows = spare.take();
        }
    }

    /// From now on the rows of a table, of which there is none, come as few.
    pub fn set_few(&mut self, table: usize) {
        self.tables[table] = Held::new(false);
    }

    /// Rows of a further table may come; `many` if many keys are to come together.
    pub fn add_table(&mut self, many: bool) {
        self.tables.push(Held::new(many));
        self.deleted.push(Entries::default());
    }

    /// Whether it has to be written before more comes. Rows that take too much memory go to disk if they may.
    pub fn is_full(&mut self, limits: &Limits) -> bool {
        let mut rows = self.deleted.iter().map(Entries::len).sum::<usize>();
        let mut bytes = self.bytes + self.deleted.iter().map(Entries::bytes).sum::<u64>();
        let (mut keys, mut in_memory, mut on_disk) = (0, 0, 0);
        for held in &self.tables {
            match held {
                Held::Few(entries) => {
                    rows += entries.len();
                    bytes += entries.bytes();
                }
                Held::Many(gathered) => {
                    keys += gathered.keys();
                    in_memory += gathered.in_memory();
                    on_disk += gathered.on_disk();
                }
            }
        }
        if rows >= limits.rows || bytes >= limits.bytes {
            return true;
        }
        let Some(Gather { folder, most, now }) = &limits.gather else { return keys > 0 };
        if keys >= now.load(Ordering::Relaxed).max(limits.rows).min(*most) || on_disk >= DISK {
            return true;
        }
        if in_memory < MEMORY {
            return false;
        }
        let moved = self.tables.iter_mut().try_for_each(|held| match held {
            Held::Few(_) => Ok(()),
            Held::Many(gathered) => gathered.move_to_disk(folder),
        });
        if let Err(error) = &moved {
            warn!("Rows are written earlier than planned, because there is no room in `{}`: {error}", folder.display());
        }
        moved.is_err()
    }

    /// Whether it has waited for long.
    pub fn is_old(&self) -> bool {
        self.begun.elapsed() >= PATIENCE
    }

    /// The file that the stream is in.
    pub fn file(&self) -> Option<&Arc<str>> {
        self.segments.last().and_then(|segment| segment.file.as_ref())
    }

    /// Adds a row of a table that was made of these records; a column of its key that is null is the error.
    pub fn add(&mut self, table: usize, row: impl Cells, keys: &Keys, records: &[u64]) -> Result<(), String> {
        self.put(table, row, keys, true, records).map(drop)
    }

    /// The same for a row that is to stay in its order with others which may have its key for PostgreSQL alone. False if it
    /// was not added because it would be gathered.
    pub fn add_in_order(
        &mut self,
        table: usize,
        row: impl Cells,
        keys: &Keys,
        records: &[u64],
    ) -> Result<bool, String> {
        self.put(table, row, keys, false, records)
    }

    fn put(
        &mut self,
        table: usize,
        row: impl Cells,
        keys: &Keys,
        any_key: bool,
        records: &[u64],
    ) -> Result<bool, String> {
        let segment = self.segments.len() - 1;
        match &mut self.tables[table] {
            Held::Few(entries) => {
                let origin = Origin { segment, weight: (records.len() as u64).max(1), records: records.into() };
                entries.push(row, keys, origin).map(|()| true)
            }
            Held::Many(gathered) => gathered.add(row, keys, any_key, segment, records),
        }
    }

    /// Adds the key of a row of a table that is to be deleted, see [`Batch::add`].
    pub fn delete(&mut self, table: usize, row: impl Cells, keys: &Keys, records: &[u64]) -> Result<(), String> {
        let segment = self.segments.len() - 1;
        let origin = Origin { segment, weight: (records.len() as u64).max(1), records: records.into() };
        self.deleted[table].push(row, keys, origin)
    }

    /// Adds a line that was refused.
    pub fn reject(&mut self, rejected: Rejected) {
        self.bytes += rejected.size() as u64 + OVERHEAD;
        if let Some(segment) = self.segments.last_mut() {
            segment.rejects.push(rejected);
        }
    }

    /// Rows of a file that has not ended well yet become one only with each other, not with rows of other files, so that
    /// the file can be left out with all its rows.
    pub fn set_unfinished_apart(&mut self) {
        let mut numbers = vec![0; self.segments.len()];
        let mut number = 0;
        // From the last to the first, because how a file ends is said after its rows.
        for (place, Segment { file, event, .. }) in self.segments.iter().enumerate().rev() {
            number = match (file, event) {
                (None, _) => 0,
                (Some(file), Some(FileEvent::End(end))) if *end.key == **file => 0,
                (Some(file), Some(FileEvent::Fail(fail))) if *fail.key != **file => number,
                (Some(_), Some(FileEvent::Mark(_))) => number,
                (Some(_), _) => place + 1,
            };
            numbers[place] = number;
        }
        self.apart = numbers;
    }

    /// Ends the segment with what was said; the next belongs to `file`.
    pub fn end_segment(&mut self, event: FileEvent, file: Option<Arc<str>>) {
        self.bytes += OVERHEAD;
        if let Some(segment) = self.segments.last_mut() {
            segment.event = Some(event);
        }
        self.segments.push(Segment { file, ..Segment::default() });
    }
}

/// What has to be done with a row from elsewhere before it is merged with others. Arrays with a key, or that are sets, may
/// be out of order: a row that comes alone has to look like one that was merged. Values that are compared may be of a form
/// that cannot be.
#[derive(Debug)]
pub struct Normal {
    arrays: Vec<usize>,
    sets: Vec<usize>,
    checked: Vec<(usize, Column)>,
}

impl Normal {
    /// The columns of that schema for which there is something to do.
    pub fn of(schema: &Schema) -> Self {
        let columns = || schema.columns.iter().enumerate().filter(|(_, column)| !schema.key.contains(&column.name));
        let keyed = columns().filter(|(_, column)| matches!(column.merge, Policy::KeyedArray(_)));
        let sets = columns().filter(|(_, column)| matches!(column.merge, Policy::Union));
        let checked = columns().filter(|(_, column)| column.merge.checks());
        Self {
            arrays: keyed.map(|(index, _)| index).collect(),
            sets: sets.map(|(index, _)| index).collect(),
            checked: checked.map(|(index, column)| (index, column.clone())).collect(),
        }
    }

    /// Checks that a row can be merged with others.
    ///
    /// # Errors
    /// A value that cannot, in one sentence.
    pub fn check(&self, row: impl Cells) -> Result<(), String> {
        self.checked.iter().try_for_each(|(index, Column { name, ty, merge, .. })| {
            merge.check(ty, row.cell(*index)).map_err(|problem| format!("column `{name}` {problem}"))
        })
    }

    /// The row with its arrays in order, if they are not.
    pub fn row(&self, row: impl Cells, merger: &Merger) -> Option<Row> {
        let out_of_order = self.arrays.iter().any(|&index| may_be_out_of_order(row.bytes(index)))
            || self.sets.iter().any(|&index| row.cell(index) != NULL);
        out_of_order.then(|| merger.normalize(row))
    }
}

/// Whether an array may be out of order: with one object in it, it is not.
fn may_be_out_of_order(array: &[u8]) -> bool {
    let one_object = memchr(b'{', array).is_some_and(|first| memrchr(b'{', array) == Some(first));
    !one_object && memchr(b',', array).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gather::{PARTS, Scratch};
    use crate::key::Keys;
    use stream::{Begin, End, Fail, Mark};

    #[test]
    fn an_array_of_one_element_is_in_order() {
        for array in ["null", "[]", "7", "[{}]", r#"[{"a":1,"b":[2,3]}]"#, r#"[{"a":1},null]"#, r#"[{"a":{}}]"#, "[7]"]
        {
            assert!(!may_be_out_of_order(array.as_bytes()), "{array}");
        }
        for array in [r#"[{"a":2},{"a":1}]"#, r#"[{"a":{"b":1},"c":2}]"#, "[2,1]", r#"[null,{"a":{}}]"#] {
            assert!(may_be_out_of_order(array.as_bytes()), "{array}");
        }
    }

    fn schema() -> Schema {
        let schema =
            r#"{"v":1,"profile":"p","hash":"h","table":"t","key":["id"],"columns":[{"name":"id","type":"text"}]}"#;
        serde_json::from_str(schema).unwrap()
    }

    fn keys() -> Keys {
        Keys::of(&schema()).unwrap()
    }

    fn batch(rows: i64, many: bool) -> Batch {
        let mut batch = Batch::new(None, &[many]);
        for id in 0..rows {
            batch.add(0, Row::of([format!("{id:01000}").as_str()]).view(), &keys(), &[]).unwrap();
        }
        batch
    }

    #[test]
    fn a_batch_is_full_with_the_rows_or_the_bytes_of_a_transaction() {
        let limits = |rows, bytes| Limits { rows, bytes, gather: None };
        assert!(!batch(9, false).is_full(&limits(10, 1 << 20)));
        assert!(batch(10, false).is_full(&limits(10, 1 << 20)));
        assert!(batch(9, false).is_full(&limits(10, 9000)));
    }

    fn gathered(batch: &Batch) -> &Gathered {
        let [Held::Many(gathered)] = batch.tables.as_slice() else { panic!("few rows") };
        gathered
    }

    #[test]
    fn gathered_rows_go_to_disk_and_only_when_that_fails_the_batch_is_full() {
        let dir = harness::Dir::new();
        let limits = |folder: PathBuf| Limits { rows: 10, bytes: 1000, gather: Some(Gather::new(13_000, folder)) };

        let mut batch = batch(12_900, true);
        assert!(batch.is_full(&limits(dir.path().join("missing"))));
        assert_eq!(gathered(&batch).on_disk(), 0);
        let in_memory = gathered(&batch).in_memory();
        assert!(in_memory > 12_900_000);

        assert!(!batch.is_full(&limits(dir.path().to_owned())));
        assert!(gathered(&batch).in_memory() < 12 << 20);
        assert_eq!(gathered(&batch).in_memory() + gathered(&batch).on_disk(), in_memory);

        for id in 0..200 {
            batch.add(0, Row::of([format!("x{id}").as_str()]).view(), &keys(), &[]).unwrap();
        }
        assert!(batch.is_full(&limits(dir.path().to_owned())));
    }

    /// Files: one that goes on from the batch before, one that fails, one of which nothing more comes, one with two marks
    /// and a failure of another file in it, and one that is still open.
    #[test]
    fn rows_of_files_that_have_not_ended_well_stay_apart() {
        let file = |key: &str| Some(Arc::from(key));
        let key = |key: &str| key.to_owned();
        let begin = |name| FileEvent::Begin(Begin { key: key(name), ..Begin::default() });
        let mark = |name| FileEvent::Mark(Mark { key: key(name), ..Mark::default() });
        let end = |name| FileEvent::End(End { key: key(name), ..End::default() });
        let fail = |name| FileEvent::Fail(Fail { key: key(name), reason: String::new() });
        let events = [
            (end("a"), None),
            (begin("b"), file("b")),
            (mark("b"), file("b")),
            (fail("b"), None),
            (begin("c"), file("c")),
            (begin("d"), file("d")),
            (mark("d"), file("d")),
            (fail("x"), file("d")),
            (mark("d"), file("d")),
            (end("d"), None),
            (begin("e"), file("e")),
            (mark("e"), file("e")),
        ];
        for many in [false, true] {
            let mut batch = Batch::new(file("a"), &[many]);
            for (event, next) in events.clone() {
                batch.add(0, Row::of(["\"1\""]).view(), &keys(), &[]).unwrap();
                batch.end_segment(event, next);
            }
            batch.add(0, Row::of(["\"1\""]).view(), &keys(), &[]).unwrap();

            batch.set_unfinished_apart();

            let merger = Merger::new(&schema()).unwrap();
            let entries = match batch.tables.remove(0) {
                Held::Few(mut entries) => {
                    entries.sort();
                    entries.merge(&merger, &batch.apart);
                    entries
                }
                Held::Many(gathered) => {
                    let (mut entries, mut scratch) = (Entries::default(), Scratch::default());
                    for part in 0..PARTS {
                        gathered.part(part, &keys(), &merger, &batch.apart, &mut scratch, &mut entries).unwrap();
                    }
                    entries.sort();
                    entries
                }
            };
            let segments = |place| entries.entry(place).origins().map(|origin| origin.segment).collect::<Vec<_>>();
            let segments: Vec<_> = (0..entries.len()).map(segments).collect();
            assert_eq!(segments, [vec![0, 1, 4, 6, 7, 8, 9, 10], vec![2, 3], vec![5], vec![11, 12]], "{many}");
        }
    }

    #[test]
    fn no_more_is_gathered_than_can_be_written_in_five_seconds() {
        let gather = Gather::new(12, PathBuf::new());
        let limits = Limits { rows: 3, bytes: 1 << 20, gather: Some(gather.clone()) };
        let full = |rows| batch(rows, true).is_full(&limits);
        assert_eq!((full(11), full(12)), (false, true), "nothing is known");

        for (rows, seconds, most) in [(20, 10, 10), (20, 100, 3), (1000, 10, 12)] {
            gather.learn(rows, Duration::from_secs(seconds));
            assert_eq!((full(most - 1), full(most)), (false, true), "{rows} rows in {seconds} s");
        }

        gather.learn(1, Duration::from_millis(900));
        assert_eq!((full(11), full(12)), (false, true), "a short time says little");
    }
}
