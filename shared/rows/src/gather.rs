//! Rows that wait to be written, in a form that takes little room: in memory, and when they are many in a temporary file
//! without a name, which is gone when the process is. Rows of one key are put together when they are taken out.
//!
//! How many may wait, `batch` says; what becomes of them, `write`.

use std::collections::HashMap;
use std::fs::{File, Permissions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::Path;

use ahash::RandomState;
use profile::{Cells, Merger, Row, RowView};
use smallvec::SmallVec;

use crate::entries::{Entries, Origin, Records, number_of};
use crate::key::Keys;

/// Rows are parted by their keys, so that one part after the other can be put together in memory.
pub const PARTS: usize = 1 << PART_BITS;

/// The first bits of its hash say in which part a row is.
const PART_BITS: u32 = 8;

/// Of one part, about so many bytes are in memory at once; in tests so few that there are more.
const AT_ONCE: usize = if cfg!(test) { 1 << 10 } else { 16 << 20 };

/// Of one key, about so many bytes are handed on together; in tests few, too.
const OF_KEY: u64 = if cfg!(test) { 8 << 10 } else { 4 << 20 };

/// Of one key so many cells are looked at together, or a few more; in tests few, too.
const CELLS_AT_ONCE: usize = if cfg!(test) { 64 } else { 1 << 18 };

/// What stays free on the disk: bookmark, rejects and log are there too.
const RESERVE: u64 = 64 << 20;

/// A file for rows without a name, for nobody else.
pub fn unnamed_file(folder: &Path) -> io::Result<File> {
    let file = tempfile::tempfile_in(folder)?;
    // The crate leaves that to the umask.
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

/// Rows that wait.
#[derive(Debug)]
pub struct Gathered {
    parts: Vec<Part>,
    /// Bytes of all parts.
    in_memory: u64,
    disk: Option<Disk>,
    /// The part that goes to disk next.
    turn: usize,
    /// Cells that are the same in most rows are not repeated.
    pattern: Row,
    keys: Count,
    state: RandomState,
    /// Where a key is put together.
    key: Vec<u8>,
}

/// The rows of some keys.
#[derive(Clone, Debug, Default)]
struct Part {
    /// In memory, one after the other as [`encode`] writes them.
    rows: Vec<u8>,
    /// Where on disk those are that came before, in the order in which they came.
    extents: Vec<Range<u64>>,
}

/// A file for rows, and how much is in it.
#[derive(Debug)]
struct Disk {
    file: File,
    size: u64,
}

/// Memory that is used again from part to part.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Rows of a part, as far as it is `filled`.
    rows: Vec<u8>,
    filled: usize,
    /// For each row 32 bits of its hash, those behind the ones that made it one of the part, and 32 of where it begins.
    index: Vec<u64>,
    folded: Row,
}

impl Default for Gathered {
    fn default() -> Self {
        Self {
            parts: vec![Part::default(); PARTS],
            in_memory: 0,
            disk: None,
            turn: 0,
            pattern: Row::default(),
            keys: Count::default(),
            // Of one key always the same.
            state: RandomState::with_seeds(1, 2, 3, 4),
            key: Vec::new(),
        }
    }
}

impl Gathered {
    /// About how many keys there are.
    pub fn keys(&self) -> usize {
        self.keys.about()
    }

    /// The bytes of memory that they take.
    pub fn in_memory(&self) -> u64 {
        self.in_memory
    }

    /// The bytes of disk that they take.
    pub fn on_disk(&self) -> u64 {
        self.disk.as_ref().map_or(0, |disk| disk.size)
    }

    /// Adds a row that comes from these records of a segment; a column of its key that is null is the error. Unless
    /// `any_key` may come, one whose key is not certain is left alone, and the answer is false.
    pub fn add(
        &mut self,
        row: impl Cells,
        keys: &Keys,
        any_key: bool,
        segment: usize,
        records: &[u64],
    ) -> Result<bool, String> {
        self.key.clear();
        if !(keys.write(row, &mut self.key)? || any_key) {
            return Ok(false);
        }
        let hash = self.state.hash_one(self.key.as_slice());
        if self.pattern.view().count() == 0 {
            self.pattern = Row::of(row.cells());
        }
        self.keys.add(hash);
        let rows = &mut self.parts[part_of(hash)].rows;
        if rows.capacity() == 0 {
            // When its turn comes a part has about twice as much as all have on average.
            rows.reserve(2 * usize::try_from(self.in_memory).unwrap_or_default() / PARTS);
        }
        let before = rows.len();
        encode((hash, segment, records), row, self.pattern.view(), rows);
        self.in_memory += (rows.len() - before) as u64;
        Ok(true)
    }

    /// Moves an eighth of what is in memory, or a little more, to a temporary file in the folder: all rows of some parts,
    /// one part after the other, so that each is written in large pieces and nobody waits for long. When that fails
    /// nothing is lost.
    pub fn move_to_disk(&mut self, folder: &Path) -> io::Result<()> {
        let disk = match &mut self.disk {
            Some(disk) => disk,
            none => none.insert(Disk { file: unnamed_file(folder)?, size: 0 }),
        };
        let enough = self.in_memory - self.in_memory / 8;
        while self.in_memory > enough {
            let Part { rows, extents } = &mut self.parts[self.turn];
            self.turn = (self.turn + 1) % PARTS;
            if rows.is_empty() {
                continue;
            }
            let size = rows.len() as u64;
            let space = rustix::fs::fstatvfs(&disk.file)?;
            if space.f_bavail.saturating_mul(space.f_frsize) < RESERVE + size {
                return Err(io::ErrorKind::StorageFull.into());
            }
            disk.file.write_all_at(rows, disk.size)?;
            extents.push(disk.size..disk.size + size);
            disk.size += size;
            self.in_memory -= size;
            // Another table may need the memory.
            *rows = Vec::new();
        }
        Ok(())
    }

    /// Appends the rows of one of [`PARTS`] parts, each key once; but rows whose segments are `apart`, by a number for
    /// each, or none, do not become one. All rows of a key are in one part.
    ///
    /// # Errors
    /// The temporary file cannot be read.
    pub fn part(
        &self,
        part: usize,
        keys: &Keys,
        merger: &Merger,
        apart: &[usize],
        scratch: &mut Scratch,
        into: &mut Entries,
    ) -> io::Result<()> {
        let mut known = HashMap::new();
        let pattern: Vec<_> = self.pattern.cells().collect();
        let set = |origin: &Origin| number_of(apart, origin);
        let Part { rows, extents } = &self.parts[part];
        let mut extents = extents.as_slice();
        loop {
            let last = self.read(rows, &mut extents, scratch)?;
            scratch.index()?;
            let begun = into.len();
            let mut waiting = Waiting::default();
            let identities = |places: Range<usize>, into: &Entries| {
                places
                    .map(|place| ((into.key(place).to_vec(), set(&into.entry(place).origin)), place))
                    .collect::<Vec<_>>()
            };
            let Scratch { rows, index, folded, .. } = &mut *scratch;
            for same_hash in index.chunk_by(|one, other| one >> 32 == other >> 32) {
                for row in same_hash {
                    if waiting.cells.len() >= CELLS_AT_ONCE {
                        let begun = into.len();
                        waiting.combine(keys, merger, &known, folded, into).map_err(|_| broken())?;
                        known.extend(identities(begun..into.len(), into));
                    }
                    let start = waiting.cells.len();
                    let at = usize::try_from(row % (1 << 32)).unwrap_or(usize::MAX);
                    let row = rows.get(at..).map(Bytes).ok_or_else(broken)?;
                    let origin = decode(row, &pattern, &mut waiting.cells).ok_or_else(broken)?;
                    waiting.from.push(Some(Arrival { cells: start..waiting.cells.len(), set: set(&origin), origin }));
                }
                waiting.combine(keys, merger, &known, folded, into).map_err(|_| broken())?;
            }
            if last {
                return Ok(());
            }
            known.extend(identities(begun..into.len(), into));
        }
    }

    /// Hands on the rows of one key as they came, a few MB at a time, and whether these are the last; of those that are
    /// `apart` only the ones with this number.
    ///
    /// # Errors
    /// The temporary file cannot be read. What `take` says is the inner one.
    pub fn of_key<E>(
        &self,
        key: &[u8],
        keys: &Keys,
        (apart, number): (&[usize], usize),
        mut take: impl FnMut(&Entries, bool) -> Result<(), E>,
    ) -> io::Result<Result<(), E>> {
        let hash = self.state.hash_one(key);
        let Part { rows, extents } = &self.parts[part_of(hash)];
        let (mut extents, mut scratch, mut found) = (extents.as_slice(), Scratch::default(), Entries::default());
        let pattern: Vec<_> = self.pattern.cells().collect();
        loop {
            let last = self.read(rows, &mut extents, &mut scratch)?;
            let mut at = 0;
            while at < scratch.filled {
                let row = Bytes(&scratch.rows[at..scratch.filled]);
                at += row.length();
                if row.hash() != hash {
                    continue;
                }
                let (mut cells, mut same) = (Vec::new(), Vec::new());
                let origin = decode(row, &pattern, &mut cells).ok_or_else(broken)?;
                keys.write(cells.as_slice(), &mut same).map_err(|_| broken())?;
                if same != key || number_of(apart, &origin) != number {
                    continue;
                }
                if found.bytes() >= OF_KEY {
                    if let Err(error) = take(&found, false) {
                        return Ok(Err(error));
                    }
                    found.clear();
                }
                found.push(cells.as_slice(), keys, origin).map_err(|_| broken())?;
            }
            if last {
                return Ok(take(&found, true));
            }
        }
    }

    /// Reads rows of a part, as many as can be in memory at once: nearly always all. The extents that were read are taken
    /// away; after the last of them come the rows in memory, and the answer is true.
    fn read(&self, in_memory: &[u8], extents: &mut &[Range<u64>], scratch: &mut Scratch) -> io::Result<bool> {
        scratch.filled = 0;
        let fits = |filled, size| filled == 0 || filled + size <= AT_ONCE;
        while let (Some((extent, rest)), Some(disk)) = (extents.split_first(), &self.disk) {
            let size = usize::try_from(extent.end - extent.start).unwrap_or(usize::MAX);
            if !fits(scratch.filled, size) {
                return Ok(false);
            }
            disk.file.read_exact_at(scratch.room(size), extent.start)?;
            *extents = rest;
        }
        let last = fits(scratch.filled, in_memory.len());
        if last {
            scratch.room(in_memory.len()).copy_from_slice(in_memory);
        }
        Ok(last)
    }
}

impl Scratch {
    /// Room for more rows. What was filled once is not filled with zeros again.
    fn room(&mut self, size: usize) -> &mut [u8] {
        let place = self.filled..self.filled + size;
        self.filled = place.end;
        self.rows.resize(self.rows.len().max(place.end), 0);
        &mut self.rows[place]
    }

    /// Looks where each row begins; those of one hash come one after the other, in the order in which they came.
    fn index(&mut self) -> io::Result<()> {
        self.index.clear();
        let mut at = 0;
        while at < self.filled {
            let row = Bytes(&self.rows[at..self.filled]);
            let place = u32::try_from(at).map_err(|_| broken())?;
            self.index.push(row.hash() << PART_BITS >> 32 << 32 | u64::from(place));
            at += row.length();
        }
        self.index.sort_unstable();
        Ok(())
    }
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a temporary file has changed")
}

/// What rows become one by: the key, and the number of the segment where some are apart.
type Identity = (Vec<u8>, usize);

/// Rows whose keys have one hash, in the order in which they came.
#[derive(Debug, Default)]
struct Waiting<'b> {
    /// Their cells, one row after the other.
    cells: Vec<&'b str>,
    /// Of each row, until it is in an entry.
    from: Vec<Option<Arrival>>,
}

/// Where a row comes from that waits.
#[derive(Debug)]
struct Arrival {
    cells: Range<usize>,
    /// The number of its segment where some are apart.
    set: usize,
    origin: Origin,
}

impl Waiting<'_> {
    /// Makes one entry of those that become one, or adds them to the entry that is there. Then none waits. `folded` is
    /// memory that is used again.
    fn combine(
        &mut self,
        keys: &Keys,
        merger: &Merger,
        known: &HashMap<Identity, usize>,
        folded: &mut Row,
        into: &mut Entries,
    ) -> Result<(), String> {
        let Self { cells, from } = self;
        for first in 0..from.len() {
            let Some(Arrival { cells: range, set, origin }) = from[first].take() else { continue };
            let row = &cells[range];
            let mut key = Vec::new();
            if !known.is_empty() {
                keys.write(row, &mut key)?;
            }
            let there = known.get(&(key, set)).copied();
            let before = there.map(|place| into.row(place).to_row());
            let before: Option<Vec<_>> = before.as_ref().map(|row| row.cells().collect());
            let mut rows: SmallVec<[_; 8]> = before.as_deref().into_iter().chain([row]).collect();
            let mut others: SmallVec<[_; 8]> = SmallVec::new();
            for other in &mut from[first + 1..] {
                // Different keys of one hash are rare, and must not become one row.
                let same = |other: &mut Arrival| other.set == set && keys.equal(row, &cells[other.cells.clone()]);
                if let Some(Arrival { cells: range, origin, .. }) = other.take_if(same) {
                    rows.push(&cells[range]);
                    others.push(origin);
                }
            }
            if rows.len() > 1 {
                merger.fold_into(&rows, folded);
            }
            let place = if let Some(place) = there {
                into.replace(place, folded.view());
                into.entry_mut(place).add(origin);
                place
            } else {
                if rows.len() > 1 {
                    into.push(folded.view(), keys, origin)?;
                } else {
                    into.push(row, keys, origin)?;
                }
                into.len() - 1
            };
            let entry = into.entry_mut(place);
            others.into_iter().for_each(|origin| entry.add(origin));
        }
        cells.clear();
        from.clear();
        Ok(())
    }
}

/// Counts hashes that differ, by the bits that they set: with 500,000 of them it is 0.1% off at most times, with
/// 10,000,000 1.5% (Whang, Vander-Zanden and Taylor, "A linear-time probabilistic counting algorithm", 1990). More bits
/// would be off by less, but not stay in the processor's caches.
#[derive(Debug)]
struct Count {
    bits: Vec<u64>,
    unset: u64,
    /// How many hashes came, in parts of [`ONE`].
    parts: u64,
}

/// Of a [`Count`].
const BITS: u64 = 1 << 20;
const ONE: u64 = 1 << 20;

impl Default for Count {
    fn default() -> Self {
        Self { bits: Vec::new(), unset: BITS, parts: 0 }
    }
}

impl Count {
    fn add(&mut self, hash: u64) {
        if self.bits.is_empty() {
            self.bits.resize(usize::try_from(BITS / 64).unwrap_or_default(), 0);
        }
        let bit = hash % BITS;
        let word = &mut self.bits[usize::try_from(bit / 64).unwrap_or_default()];
        let before = std::mem::replace(word, *word | 1 << (bit % 64));
        if before != *word {
            // The fewer bits are unset, the more hashes come until one meets such a bit.
            self.parts += BITS * ONE / self.unset;
            self.unset -= 1;
        }
    }

    fn about(&self) -> usize {
        usize::try_from(self.parts / ONE).unwrap_or(usize::MAX)
    }
}

fn part_of(hash: u64) -> usize {
    usize::try_from(hash >> (u64::BITS - PART_BITS)).unwrap_or_default()
}

/// Length in all (4 bytes), hash (8); then, all of it text: segment, how many records and their numbers, how many cells, and
/// each cell as 0 if it is that of the pattern, else as its length + 1 with the cell itself behind it.
fn encode((hash, segment, records): (u64, usize, &[u64]), row: impl Cells, pattern: RowView<'_>, into: &mut Vec<u8>) {
    let start = into.len();
    into.extend_from_slice(&[0; 4]);
    into.extend_from_slice(&hash.to_le_bytes());
    put(segment as u64, into);
    put(records.len() as u64, into);
    for record in records {
        put(*record, into);
    }
    put(row.count() as u64, into);
    let mut pattern = pattern.cells();
    for cell in (0..row.count()).map(|index| row.bytes(index)) {
        if pattern.next().map(str::as_bytes) == Some(cell) {
            put(0, into);
        } else {
            put(cell.len() as u64 + 1, into);
            into.extend_from_slice(cell);
        }
    }
    // A line of the stream has at most 32 MiB.
    let length = u32::try_from(into.len() - start).unwrap_or(u32::MAX);
    into[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

/// Adds the cells of a row that [`encode`] wrote to others, and says where the row comes from.
fn decode<'b>(row: Bytes<'b>, pattern: &[&'b str], cells: &mut Vec<&'b str>) -> Option<Origin> {
    let mut text = Text { text: simdutf8::basic::from_utf8(row.0.get(12..row.length())?).ok()?, at: 0 };
    let segment = usize::try_from(text.number()?).ok()?;
    let count = text.number()?;
    let mut records = Records::with_capacity(usize::try_from(count).ok()?.min(row.length()));
    for _ in 0..count {
        records.push(text.number()?);
    }
    for place in 0..usize::try_from(text.number()?).ok()? {
        cells.push(match text.number()?.checked_sub(1) {
            None => pattern.get(place)?,
            Some(size) => text.piece(usize::try_from(size).ok()?)?,
        });
    }
    Some(Origin { segment, weight: count.max(1), records })
}

/// Rows that [`encode`] wrote.
#[derive(Clone, Copy)]
struct Bytes<'b>(&'b [u8]);

impl Bytes<'_> {
    /// The whole first row's; at least 1, so that nobody who counts with it stands still.
    fn length(&self) -> usize {
        let bytes = self.0.first_chunk::<4>().copied().unwrap_or_default();
        usize::try_from(u32::from_le_bytes(bytes)).unwrap_or(usize::MAX).max(1)
    }

    fn hash(&self) -> u64 {
        self.0.get(4..).and_then(|bytes| bytes.first_chunk::<8>()).copied().map_or(0, u64::from_le_bytes)
    }
}

/// Set in each byte of a number but the last.
const MORE: u8 = 0x40;

/// Writes a number as text, so that what stands between the cells need not be told apart when they are checked to be
/// text: six bits a byte, the lowest first.
fn put(mut number: u64, into: &mut Vec<u8>) {
    while number >= u64::from(MORE) {
        into.push((number.to_le_bytes()[0] % MORE) | MORE);
        number >>= 6;
    }
    into.push(number.to_le_bytes()[0]);
}

/// A row's text, and where it is read on.
struct Text<'b> {
    text: &'b str,
    at: usize,
}

impl<'b> Text<'b> {
    /// Takes what [`put`] wrote.
    #[inline]
    fn number(&mut self) -> Option<u64> {
        let (mut number, mut shift) = (0, 0);
        while shift < u64::BITS {
            let byte = *self.text.as_bytes().get(self.at)?;
            self.at += 1;
            number |= u64::from(byte % MORE) << shift;
            if byte < MORE {
                return Some(number);
            }
            shift += 6;
        }
        None
    }

    /// Takes so many bytes.
    #[inline]
    fn piece(&mut self, size: usize) -> Option<&'b str> {
        let start = self.at;
        self.at = start.checked_add(size)?;
        self.text.get(start..self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entries::Entry;
    use profile::Schema;
    use std::collections::BTreeMap;
    use std::os::unix::fs::MetadataExt as _;

    const SCHEMA: &str = r#"{"v":1,"profile":"p","hash":"h","table":"t","key":["id"],"columns":[
        {"name":"id","type":"bigint"},{"name":"words","type":"jsonb","merge":"jsonb_merge"},
        {"name":"last","type":"text","merge":"replace"},{"name":"first","type":"text","merge":"keep"}]}"#;

    struct Parts {
        keys: Keys,
        merger: Merger,
    }

    impl Parts {
        fn new() -> Self {
            let schema: Schema = serde_json::from_str(SCHEMA).unwrap();
            Self { keys: Keys::of(&schema).unwrap(), merger: Merger::new(&schema).unwrap() }
        }

        fn add(&self, gathered: &mut Gathered, row: &Row, segment: usize, records: &[u64]) {
            assert!(gathered.add(row.view(), &self.keys, false, segment, records).unwrap());
        }

        /// Everything, by the key.
        fn all(&self, gathered: &Gathered) -> BTreeMap<i64, (Row, Entry)> {
            let (mut entries, mut scratch) = (Entries::default(), Scratch::default());
            for part in 0..PARTS {
                gathered.part(part, &self.keys, &self.merger, &[], &mut scratch, &mut entries).unwrap();
            }
            let entry = |place| (entries.row(place).to_row(), entries.entry(place).clone());
            let all = (0..entries.len()).map(entry).map(|(row, entry)| (row.cell(0).parse().unwrap(), (row, entry)));
            let all: BTreeMap<_, _> = all.collect();
            assert_eq!(all.len(), entries.len(), "each key comes once");
            all
        }
    }

    fn row(id: i64, words: &str, last: &str) -> Row {
        Row::of([&*id.to_string(), words, last, "\"the same in every row\""])
    }

    #[test]
    fn rows_of_one_key_become_one_that_knows_where_its_records_came_from() {
        let parts = Parts::new();
        let mut gathered = Gathered::default();
        parts.add(&mut gathered, &row(1, r#"{"a":1}"#, "\"x\""), 0, &[1, 2]);
        parts.add(&mut gathered, &row(2, "null", "\"é\""), 0, &[3]);
        parts.add(&mut gathered, &row(1, r#"{"b":2}"#, "\"y\""), 0, &[4]);
        parts.add(&mut gathered, &row(1, r#"{"a":3}"#, "\"z\""), 1, &[]);

        assert_eq!(gathered.keys(), 2);
        let all = parts.all(&gathered);
        let (row, one) = &all[&1];
        let cells: Vec<_> = row.cells().collect();
        assert_eq!(cells, ["1", r#"{"a":3,"b":2}"#, "\"z\"", "\"the same in every row\""]);
        assert_eq!(one.origin, Origin { segment: 0, weight: 3, records: [1, 2, 4][..].into() });
        assert_eq!(one.merged, [Origin { segment: 1, weight: 1, records: Records::new() }]);
        let two: Vec<_> = all[&2].0.cells().collect();
        assert_eq!(two, ["2", "null", "\"é\"", "\"the same in every row\""]);
    }

    /// For when the row that they make is refused.
    #[test]
    fn rows_of_one_key_come_back_as_they_came() {
        let (parts, dir) = (Parts::new(), harness::Dir::new());
        let mut gathered = Gathered::default();
        // Many, so that they are read in several pieces; those of segment 2 are apart from the others.
        for record in 0..600_u64 {
            let id = (record % 3).cast_signed();
            parts.add(
                &mut gathered,
                &row(id, "null", &format!("\"{record}\"")),
                (record % 4).try_into().unwrap(),
                &[record],
            );
            if record % 100 == 99 {
                gathered.move_to_disk(dir.path()).unwrap();
            }
        }
        let mut key = Vec::new();
        parts.keys.write(row(1, "null", "null").view(), &mut key).unwrap();
        for (number, expected) in [(0, vec![0, 1, 3]), (7, vec![2])] {
            let (mut found, mut groups, mut ended) = (Vec::new(), 0, false);
            let taken = gathered.of_key(&key, &parts.keys, (&[0, 0, 7, 0], number), |rows, last| {
                let row = |place| (rows.row(place).cell(2).to_owned(), rows.entry(place).origin.records[0]);
                found.extend((0..rows.len()).map(row));
                assert!(!ended && rows.len() > 1);
                (groups, ended) = (groups + 1, last);
                Ok::<_, ()>(())
            });

            taken.unwrap().unwrap();
            assert!(ended && groups > 1, "{groups} groups");
            let records = (0..600_u64).filter(|record| record % 3 == 1 && expected.contains(&(record % 4)));
            assert_eq!(found, records.map(|record| (format!("\"{record}\""), record)).collect::<Vec<_>>());
        }
    }

    /// On disk or in memory, in one piece or in many: what comes out is what folding the rows one by one gives.
    #[test]
    fn the_disk_does_not_show() {
        let parts = Parts::new();
        let dir = harness::Dir::new();
        for every in [1, 7, 100, usize::MAX] {
            let mut gathered = Gathered::default();
            let mut expected: BTreeMap<i64, (Row, Vec<u64>)> = BTreeMap::new();
            for record in 0..1000_u64 {
                // One key comes very often, some often, some once.
                let id = if record % 5 == 0 { 5 } else { (record * record % 701).cast_signed() };
                let row = row(id, &format!(r#"{{"w{}":{record}}}"#, record % 3), &format!("\"{record}\""));
                parts.add(&mut gathered, &row, 0, &[record]);
                expected
                    .entry(id)
                    .and_modify(|(before, records)| {
                        *before = parts.merger.merge(before, &row);
                        records.push(record);
                    })
                    .or_insert_with(|| (row, vec![record]));
                if usize::try_from(record).unwrap() % every == every - 1 {
                    gathered.move_to_disk(dir.path()).unwrap();
                }
            }

            let all = parts.all(&gathered);

            let found = all.values().map(|(row, entry)| (row.clone(), entry.origin.records.to_vec()));
            let found: BTreeMap<_, _> =
                found.map(|(row, records)| (row.cell(0).parse().unwrap(), (row, records))).collect();
            assert_eq!(found, expected, "to disk every {every} rows");
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "the file has no name");
        }
    }

    /// Nobody waits for long, and what cannot be written is not lost.
    #[test]
    fn an_eighth_goes_to_disk_at_a_time() {
        let (parts, dir) = (Parts::new(), harness::Dir::new());
        let mut gathered = Gathered::default();
        for id in 0..10_000 {
            parts.add(&mut gathered, &row(id, "null", "\"x\""), 0, &[]);
        }
        let all = gathered.in_memory();

        assert!(gathered.move_to_disk(&dir.path().join("missing")).is_err());
        assert_eq!((gathered.in_memory(), gathered.on_disk()), (all, 0));

        for _ in 0..8 {
            let before = gathered.on_disk();
            gathered.move_to_disk(dir.path()).unwrap();
            assert_eq!(gathered.in_memory() + gathered.on_disk(), all);
            // All parts are about as large, so there is little beyond the eighth.
            let left = all - before;
            assert!((left / 8..left / 6).contains(&(gathered.on_disk() - before)), "{before} of {all}");
        }
        assert_eq!(parts.all(&gathered).len(), 10_000);

        // What is not needed any longer is given back.
        (0..64).for_each(|_| gathered.move_to_disk(dir.path()).unwrap());
        let kept: usize = gathered.parts.iter().map(|part| part.rows.capacity()).sum();
        assert_eq!((gathered.in_memory(), kept), (0, 0));
    }

    #[test]
    fn keys_are_counted_well_enough() {
        let state = RandomState::with_seeds(5, 6, 7, 8);
        let mut count = Count::default();
        for (number, off) in [(10_u64, 0), (1_000, 5), (100_000, 500), (5_000_000, 40_000)] {
            for key in 0..number {
                count.add(state.hash_one(key));
            }
            let number = usize::try_from(number).unwrap();
            assert!(count.about().abs_diff(number) <= off, "{} for {number}", count.about());
        }
    }

    #[test]
    fn different_keys_of_one_hash_stay_apart() {
        let parts = Parts::new();
        let mut entries = Entries::default();
        let combine = |rows: &[(i64, &str)], known: &HashMap<_, _>, entries: &mut Entries| {
            let rows: Vec<_> = rows.iter().map(|(id, last)| row(*id, "null", last)).collect();
            let mut waiting = Waiting::default();
            for row in &rows {
                let (begin, origin) = (waiting.cells.len(), Origin { segment: 0, weight: 1, records: Records::new() });
                waiting.cells.extend(row.cells());
                waiting.from.push(Some(Arrival { cells: begin..waiting.cells.len(), set: 0, origin }));
            }
            waiting.combine(&parts.keys, &parts.merger, known, &mut Row::default(), entries).unwrap();
        };
        combine(&[(1, "1"), (2, "2"), (1, "3")], &HashMap::new(), &mut entries);
        let known = (0..entries.len()).map(|place| ((entries.key(place).to_vec(), 0), place)).collect();
        combine(&[(2, "4"), (3, "5")], &known, &mut entries);

        let rows = (0..entries.len()).map(|place| entries.row(place));
        let cells: Vec<_> = rows.map(|row| (row.cell(0), row.cell(2))).collect();
        assert_eq!(cells, [("1", "3"), ("2", "4"), ("3", "5")]);
    }

    #[test]
    fn a_file_without_a_name_is_for_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let file = unnamed_file(dir.path()).unwrap();
        assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn numbers_of_every_size_come_back() {
        for number in [0, 1, 63, 64, 4_095, 4_096, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = Vec::new();
            put(number, &mut bytes);
            let mut text = Text { text: std::str::from_utf8(&bytes).unwrap(), at: 0 };
            assert_eq!((text.number(), text.at), (Some(number), bytes.len()));
        }
        for no_number in ["", "A", "\u{e9}", "AAAAAAAAAAAA"] {
            assert_eq!(Text { text: no_number, at: 0 }.number(), None);
        }
    }
}
