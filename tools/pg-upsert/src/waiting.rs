//! Rows that are kept aside, because they break a constraint that a later row of the run may mend: a foreign key to a table that
//! the run loads, or a constraint that is checked at COMMIT. While a row waits, later rows and deletions of its key
//! join it: otherwise the retry would write an old value over a new one.
//!
//! They lie in a file, one JSON object a line, in the order in which they came. A run's file survives the process; its lines are on
//! disk before the bookmark covers their records. Rows that belong to no run wait in a file without a name. Which rows wait,
//! `write` finds out; when they are tried again, `run` decides.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{BufRead as _, BufReader, BufWriter, ErrorKind, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use checkpoint::State;
use fault::{Failure, Fault, FileError, Problem};
use profile::Schema;
use rows::batch::{Batch, Held, Segment};
use rows::entries::{Entries, Origin};
use rows::key::Keys;
use rows::row::RowReader;
use rows::settle::Waiting;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Keys of a table that are remembered, by their hashes. When more wait, all later rows of the table wait.
const MOST_KEYS: usize = 1_000_000;

/// Bytes of rows that are tried together. Rows that only pass together have to fit.
const TOGETHER: u64 = 32 << 20;

/// The keys that wait. A collision only makes a row wait that need not.
#[derive(Debug, Default)]
pub(crate) struct WaitingKeys {
    tables: Vec<KeySet>,
}

#[derive(Debug, Default)]
struct KeySet {
    hashes: HashSet<u64>,
    /// Every row waits: too many keys do, or equal keys need not have equal bytes.
    all: bool,
}

impl KeySet {
    fn holds(&self, key: &[u8]) -> bool {
        self.all || self.hashes.contains(&hash(key))
    }
}

fn hash(key: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

impl WaitingKeys {
    /// These rows wait from now on. `exact`: equal keys have equal bytes.
    pub(crate) fn add(&mut self, rows: &[Waiting], exact: bool) {
        for row in rows {
            self.insert(row.table, &row.key, exact);
        }
    }

    fn insert(&mut self, table: usize, key: &[u8], exact: bool) {
        if self.tables.len() <= table {
            self.tables.resize_with(table + 1, KeySet::default);
        }
        let set = &mut self.tables[table];
        set.hashes.insert(hash(key));
        set.all |= !exact || set.hashes.len() > MOST_KEYS;
    }

    /// Takes the rows of a table out whose keys wait.
    pub(crate) fn take_from(&self, table: usize, rows: &mut Entries) -> Entries {
        match self.tables.get(table) {
            Some(set) if !set.hashes.is_empty() => rows.take_where(|key| set.holds(key)),
            _ => Entries::default(),
        }
    }
}

/// A line of the file.
#[derive(Serialize, Deserialize)]
struct Line {
    /// The table's name, as the stream has it.
    table: String,
    /// Whether the row of this key is to be deleted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    delete: bool,
    /// The row.
    data: Box<RawValue>,
    origins: Vec<LineOrigin>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sqlstate: Option<String>,
    /// Why it waits.
    reason: String,
}

/// Where records of a row came from.
#[derive(Serialize, Deserialize)]
struct LineOrigin {
    /// The data file.
    key: Option<String>,
    /// How many records.
    weight: u64,
    /// Their numbers.
    records: Vec<u64>,
}

/// The rows that wait.
#[derive(Debug)]
pub(crate) struct WaitingRows {
    /// Of a run.
    path: Option<PathBuf>,
    /// For those of no run.
    folder: PathBuf,
    file: Option<File>,
    rows: u64,
}

impl WaitingRows {
    /// Rows that belong to no run, which wait in a file without a name in this folder.
    pub(crate) fn unnamed(folder: PathBuf) -> Self {
        Self { path: None, folder, file: None, rows: 0 }
    }

    /// The rows of a run. One that goes on keeps those whose records the bookmark covers, the others are met again; a new one
    /// has none.
    pub(crate) fn of_run(path: &Path, state: &State, resumed: bool) -> Result<Self, Failure> {
        let folder = path.parent().map_or_else(PathBuf::new, Path::to_owned);
        let mut waiting = Self { path: Some(path.to_owned()), folder, file: None, rows: 0 };
        if !resumed {
            remove(path)?;
            return Ok(waiting);
        }
        waiting.keep(|origin| {
            let Some(key) = origin.key.as_deref() else { return true };
            let last = origin.records.iter().copied().max();
            state.done.contains_key(key)
                || state.progress.get(key).is_some_and(|file| last.is_none_or(|last| last <= file.records))
        })?;
        Ok(waiting)
    }

    /// A file is read again from after `skip` records: drops what an earlier process kept of the later ones.
    pub(crate) fn read_again(&mut self, file: &str, skip: u64) -> Result<(), Failure> {
        if self.rows == 0 {
            return Ok(());
        }
        self.keep(|origin| {
            origin.key.as_deref() != Some(file) || origin.records.iter().min().is_some_and(|first| *first <= skip)
        })
    }

    /// How many there are.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Adds rows of tables with these names; they are on disk when this returns.
    pub(crate) fn append(&mut self, rows: &[Waiting], tables: &[String]) -> Result<(), Failure> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut lines = Vec::new();
        for row in rows {
            let Waiting { table, deletes, data, origins, sqlstate, reason, .. } = row;
            let origin = |(key, weight, records): &(Option<String>, u64, Vec<u64>)| LineOrigin {
                key: key.clone(),
                weight: *weight,
                records: records.clone(),
            };
            let line = Line {
                table: tables.get(*table).cloned().unwrap_or_default(),
                delete: *deletes,
                data: RawValue::from_string(data.clone()).map_err(|error| not_json(&error))?,
                origins: origins.iter().map(origin).collect(),
                sqlstate: sqlstate.clone(),
                reason: reason.clone(),
            };
            serde_json::to_writer(&mut lines, &line).map_err(|error| not_json(&error))?;
            lines.push(b'\n');
        }
        let on = |action| FileError::on(action, self.path.as_deref().unwrap_or(&self.folder));
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(match &self.path {
                Some(path) => open(path)?,
                None => tempfile::tempfile_in(&self.folder).map_err(on("make a file in"))?,
            }),
        };
        let written = file.seek(SeekFrom::End(0)).and_then(|_| file.write_all(&lines));
        written.and_then(|()| if self.path.is_some() { file.sync_data() } else { Ok(()) }).map_err(on("write"))?;
        self.rows += rows.len() as u64;
        Ok(())
    }

    /// Whether all rows are of these tables.
    pub(crate) fn are_of(&mut self, schemas: &[Schema]) -> Result<bool, Failure> {
        let path = self.path.clone().unwrap_or_else(|| self.folder.clone());
        for line in self.lines()? {
            let line = line.map_err(FileError::on("read", &path))?;
            let known = |line: &Line| schemas.iter().any(|schema| schema.name() == line.table);
            if serde_json::from_slice::<Line>(&line).is_ok_and(|line| !known(&line)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Gives the rows of these tables to `take`, in their order, as batches of rows that are tried together. The segments of a
    /// batch stand for the data files of its records.
    pub(crate) fn batches(
        &mut self,
        schemas: &[Schema],
        mut take: impl FnMut(Batch) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut tables = Vec::new();
        for schema in schemas {
            let keys = Keys::of(schema).map_err(|name| rows::no_column(&name))?;
            tables.push((schema.name(), RowReader::new(schema), keys));
        }
        let mut chunk = Chunk::new(schemas.len());
        let path = self.path.clone().unwrap_or_else(|| self.folder.clone());
        for line in self.lines()? {
            let line = line.map_err(FileError::on("read", &path))?;
            let Ok(line) = serde_json::from_slice::<Line>(&line) else { continue };
            let Some(table) = tables.iter().position(|(name, ..)| *name == line.table) else { continue };
            let (_, reader, keys) = &mut tables[table];
            let wrong =
                |reason: String| Problem::new(Fault::Local, format!("a row that waits cannot be read: {reason}"));
            let row = reader.read(line.data.get().as_bytes()).map_err(|no_row| wrong(no_row.reason))?.row;
            let mut key = Vec::new();
            keys.write(row, &mut key).map_err(wrong)?;
            if chunk.must_end_before(table, &key, line.delete) {
                take(chunk.end())?;
            }
            chunk.segments_of(&line.origins);
            let origins = chunk.origins(&line.origins);
            let rows = if line.delete { &mut chunk.batch.deleted[table] } else { chunk.rows(table) };
            rows.push_from(row, keys, origins).map_err(wrong)?;
            chunk.note(table, key, line.delete, line.data.get().len());
        }
        if chunk.bytes > 0 { take(chunk.end()) } else { Ok(()) }
    }

    /// Rejects that a settlement which was cut off has written already: of each row that waits its data file and first record.
    pub(crate) fn origins(&mut self) -> Result<HashSet<(String, Option<u64>)>, Failure> {
        let path = self.path.clone().unwrap_or_else(|| self.folder.clone());
        let mut origins = HashSet::new();
        for line in self.lines()? {
            let line = line.map_err(FileError::on("read", &path))?;
            let Ok(line) = serde_json::from_slice::<Line>(&line) else { continue };
            let of_files =
                line.origins.into_iter().filter_map(|origin| Some((origin.key?, origin.records.first().copied())));
            origins.extend(of_files);
        }
        Ok(origins)
    }

    /// The keys that wait, of tables with these schemas. `exact`: for each, whether equal keys have equal bytes.
    pub(crate) fn keys(&mut self, schemas: &[Schema], exact: &[bool]) -> Result<WaitingKeys, Failure> {
        let mut keys = WaitingKeys::default();
        self.batches(schemas, |batch| {
            for (table, exact) in exact.iter().enumerate() {
                let rows = match &batch.tables[table] {
                    Held::Few(rows) => rows,
                    Held::Many(_) => continue,
                };
                for rows in [rows, &batch.deleted[table]] {
                    (0..rows.len()).for_each(|row| keys.insert(table, rows.key(row), *exact));
                }
            }
            Ok(())
        })?;
        Ok(keys)
    }

    /// None waits any more.
    pub(crate) fn delete(self) -> Result<(), FileError> {
        self.path.as_deref().map_or(Ok(()), remove)
    }

    fn lines(&mut self) -> Result<impl Iterator<Item = std::io::Result<Vec<u8>>> + use<>, Failure> {
        let path = self.path.clone().unwrap_or_else(|| self.folder.clone());
        let file = match (&mut self.file, &self.path) {
            (Some(file), _) => {
                file.seek(SeekFrom::Start(0)).map_err(FileError::on("read", &path))?;
                Some(file.try_clone().map_err(FileError::on("read", &path))?)
            }
            (None, Some(path)) => match File::open(path) {
                Ok(file) => Some(file),
                Err(error) if error.kind() == ErrorKind::NotFound => None,
                Err(error) => return Err(FileError::on("open", path)(error).into()),
            },
            (None, None) => None,
        };
        Ok(file.map(|file| BufReader::new(file).split(b'\n')).into_iter().flatten())
    }

    /// Rewrites the file with the origins of which this holds. A row without any is dropped.
    fn keep(&mut self, holds: impl Fn(&LineOrigin) -> bool) -> Result<(), Failure> {
        let Some(path) = self.path.clone() else { return Ok(()) };
        let failed = || FileError::on("rewrite", &path);
        let new = path.with_extension("jsonl.new");
        let mut options = OpenOptions::new();
        let kept = options.write(true).create(true).truncate(true).mode(0o600).open(&new).map_err(failed())?;
        let (mut kept, mut rows, mut changed) = (BufWriter::new(kept), 0, false);
        for line in self.lines()? {
            let line = line.map_err(FileError::on("read", &path))?;
            // A torn line has no record that is covered.
            let Ok(mut seen) = serde_json::from_slice::<Line>(&line) else {
                changed = true;
                continue;
            };
            let before = seen.origins.len();
            seen.origins.retain(&holds);
            changed |= seen.origins.len() < before;
            if !seen.origins.is_empty() {
                rows += 1;
                let mut line = serde_json::to_vec(&seen).map_err(|error| not_json(&error))?;
                line.push(b'\n');
                kept.write_all(&line).map_err(failed())?;
            }
        }
        self.rows = rows;
        if !changed {
            return Ok(remove(&new)?);
        }
        self.file = None;
        let kept = kept.into_inner().map_err(|error| failed()(error.into_error()))?;
        kept.sync_all().and_then(|()| fs::rename(&new, &path)).map_err(failed())?;
        Ok(())
    }
}

/// Rows that are tried together. Within a batch deletions come first, so a row ends it before a deletion of its key.
struct Chunk {
    batch: Batch,
    /// The segment of each data file.
    segments: BTreeMap<Option<String>, usize>,
    keys: HashSet<(usize, Vec<u8>)>,
    bytes: u64,
}

impl Chunk {
    fn new(tables: usize) -> Self {
        let mut batch = Batch::new(None, &vec![false; tables]);
        batch.segments.clear();
        Self { batch, segments: BTreeMap::new(), keys: HashSet::new(), bytes: 0 }
    }

    fn must_end_before(&self, table: usize, key: &[u8], deletes: bool) -> bool {
        self.bytes >= TOGETHER || (deletes && self.keys.contains(&(table, key.to_vec())))
    }

    fn end(&mut self) -> Batch {
        let next = Self::new(self.batch.tables.len());
        std::mem::replace(self, next).batch
    }

    fn segments_of(&mut self, origins: &[LineOrigin]) {
        for origin in origins {
            if !self.segments.contains_key(&origin.key) {
                self.segments.insert(origin.key.clone(), self.batch.segments.len());
                let file = origin.key.as_deref().map(Arc::from);
                self.batch.segments.push(Segment { file, ..Segment::default() });
            }
        }
    }

    fn origins(&self, origins: &[LineOrigin]) -> Vec<Origin> {
        let origin = |origin: &LineOrigin| {
            let segment = self.segments.get(&origin.key).copied()?;
            Some(Origin { segment, weight: origin.weight, records: origin.records.as_slice().into() })
        };
        origins.iter().filter_map(origin).collect()
    }

    fn rows(&mut self, table: usize) -> &mut Entries {
        if matches!(self.batch.tables[table], Held::Many(_)) {
            self.batch.tables[table] = Held::Few(Entries::default());
        }
        match &mut self.batch.tables[table] {
            Held::Few(rows) => rows,
            // It was replaced above.
            Held::Many(_) => &mut self.batch.deleted[table],
        }
    }

    fn note(&mut self, table: usize, key: Vec<u8>, deletes: bool, bytes: usize) {
        self.bytes += (bytes + 2 * key.len()) as u64 + 400;
        if !deletes {
            self.keys.insert((table, key));
        }
    }
}

fn not_json(error: &serde_json::Error) -> Problem {
    Problem::new(Fault::Local, format!("a row that waits has no JSON form: {error}"))
}

fn open(path: &Path) -> Result<File, FileError> {
    let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path);
    let file = file.map_err(FileError::on("open", path))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(FileError::on("sync the folder", folder))?;
    Ok(file)
}

fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(FileError::on("remove", path)(error)),
        _ => Ok(()),
    }
}
