//! Rows that have to be looked at again: those that differed from the table, and each later one of their keys. They wait
//! in a file and are merged by key when the stream has ended. Rows of one key stand there in the order in which they came:
//! one batch is compared after the other, and those of a batch one after the other on one connection.
//!
//! One JSON object a line: the records that a row was made of, by data file, and the row. Lines are on disk before the
//! bookmark says that a file of theirs is done.
//!
//! A verification that goes on keeps the lines of which any file is done, and drops those of which none is, since all of
//! their files are read again. That loses no row and adds none:
//!
//! - A row of several files was made only of files that ended well (`Batch::set_unfinished_apart`). Some may not be noted
//!   as done, because a crash came between two notes, or because a filter had left records out. They bring the same
//!   records again, after this row, and a stretch of items that is repeated changes nothing.
//! - A file that was cut off, or is damaged, may bring others when it is read again. Its rows are lines of their own, which
//!   go with it.
//! - Of a key whose lines are all dropped nothing is known, and nothing needs to be: its next row is looked at like a first
//!   one. If one is kept, every row that comes is kept too ([`Pending::may_have`]).
//! - A row that was as it should be is not here. If it was made of several files, and only those of its last records are
//!   read again, these are compared alone. They are as they should be too, for they change nothing in a row that they are
//!   the end of; so are all its records together, which is what counts.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, BufWriter, ErrorKind, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use ahash::RandomState;
use fault::{Failure, Fault, FileError, Problem};
use profile::{Column, Schema};
use rows::Batch;
use rows::batch::Held;
use rows::entries::{Entries, Entry};
use rows::gather::unnamed_file;
use rows::key::Keys;
use rows::row::RowReader;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::records::{self, FileRecords};

/// The most that may wait.
const MOST: u64 = 1 << 30;

/// The memory of rows that are being merged; the rest is on disk.
const MEMORY: u64 = 12 << 20;

/// How many keys are told apart for certain is no matter: a row that is kept without need changes nothing.
const BITS: u64 = 1 << 27;

/// One line of the file.
#[derive(Serialize, Deserialize)]
struct Line<'a> {
    from: Vec<FileRecords>,
    #[serde(borrow)]
    row: &'a RawValue,
}

/// The rows.
pub(crate) struct Pending {
    folder: PathBuf,
    /// Where they are, unless the file has no name.
    path: Option<PathBuf>,
    file: BufWriter<File>,
    rows: u64,
    bytes: u64,
    columns: Vec<Column>,
    schema: Schema,
    /// A bit for each hash of a key; nothing as long as there is no row.
    keys: Vec<u64>,
    state: RandomState,
}

impl Pending {
    /// None, in a file that nobody sees.
    pub(crate) fn unnamed(folder: &Path, schema: &Schema) -> Result<Self, FileError> {
        let file = unnamed_file(folder).map_err(FileError::on("make a temporary file in", folder))?;
        Ok(Self::of(folder, None, file, schema))
    }

    /// Those of an earlier process of which a data file is done, in the file with this name.
    pub(crate) fn of_run(
        folder: &Path,
        path: &Path,
        schema: &Schema,
        is_done: impl Fn(&str) -> bool,
    ) -> Result<Self, Failure> {
        let temporary = path.with_extension("jsonl.new");
        let failed = || FileError::on("rewrite", path);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(&temporary).map_err(failed())?;
        let mut pending = Self::of(folder, Some(path.to_owned()), file, schema);
        match File::open(path) {
            Ok(earlier) => pending.take(earlier, is_done).map_err(failed())?,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(FileError::on("open", path)(error).into()),
        }
        pending.sync()?;
        fs::rename(&temporary, path).map_err(failed())?;
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(FileError::on("sync the folder", folder))?;
        Ok(pending)
    }

    fn of(folder: &Path, path: Option<PathBuf>, file: File, schema: &Schema) -> Self {
        Self {
            folder: folder.to_owned(),
            path,
            file: BufWriter::with_capacity(256 << 10, file),
            rows: 0,
            bytes: 0,
            columns: schema.columns.clone(),
            schema: schema.clone(),
            keys: Vec::new(),
            state: RandomState::with_seeds(1, 2, 3, 4),
        }
    }

    /// Takes over lines of an earlier process. A torn one at the end belongs to no file that is done.
    fn take(&mut self, earlier: File, is_done: impl Fn(&str) -> bool) -> io::Result<()> {
        let (mut reader, keys) = self.reader()?;
        let mut lines = BufReader::new(earlier);
        let (mut line, mut key) = (Vec::new(), Vec::new());
        while lines.read_until(b'\n', &mut line)? > 0 && line.ends_with(b"\n") {
            if let Ok(Line { from, row }) = serde_json::from_slice(&line)
                && from.iter().any(|from| from.file.as_deref().is_none_or(&is_done))
                && let Ok(parsed) = reader.read(row.get().as_bytes())
                && keys.write(parsed.row, &mut key).is_ok()
            {
                self.mark(&key);
                self.append(&line)?;
            }
            line.clear();
            key.clear();
        }
        Ok(())
    }

    fn reader(&self) -> io::Result<(RowReader, Keys)> {
        let keys = Keys::of(&self.schema).map_err(io::Error::other)?;
        Ok((RowReader::new(&self.schema), keys))
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        self.rows += 1;
        self.bytes += line.len() as u64;
        self.file.write_all(line)
    }

    /// Whether a row of that key waits; sometimes said of one that does not.
    pub(crate) fn may_have(&self, key: &[u8]) -> bool {
        let (word, bit) = self.bit(key);
        self.keys.get(word).is_some_and(|bits| bits & bit != 0)
    }

    fn mark(&mut self, key: &[u8]) {
        self.keys.resize(usize::try_from(BITS / 64).unwrap_or_default(), 0);
        let (word, bit) = self.bit(key);
        self.keys[word] |= bit;
    }

    fn bit(&self, key: &[u8]) -> (usize, u64) {
        let hash = self.state.hash_one(key) % BITS;
        (usize::try_from(hash / 64).unwrap_or_default(), 1 << (hash % 64))
    }

    /// Keeps a row that was made of these records.
    pub(crate) fn add(&mut self, rows: &Entries, place: usize, from: Vec<FileRecords>) -> Result<(), Failure> {
        if self.bytes > MOST {
            let message =
                format!("too much is missing or differs: {} rows so far, which take more than 1 GiB", self.rows);
            return Err(Problem::new(Fault::Input, message)
                .with_hint("is it the right table? `ddb-cat FILE | ddb-parse -p PROFILE | pg-verify` shows examples")
                .into());
        }
        self.mark(rows.key(place));
        let row = rows::settle::json_of(rows.row(place), &self.columns);
        // Made of JSON texts, it is one.
        let row: &RawValue =
            serde_json::from_str(&row).map_err(|error| Problem::new(Fault::Local, error.to_string()))?;
        let line = serde_json::to_vec(&Line { from, row });
        let mut line = line.map_err(|error| Problem::new(Fault::Local, error.to_string()))?;
        line.push(b'\n');
        Ok(self.append(&line).map_err(FileError::on("write", self.name()))?)
    }

    fn name(&self) -> &Path {
        self.path.as_deref().unwrap_or(&self.folder)
    }

    /// How many rows wait.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// What was added is on disk when this returns.
    pub(crate) fn sync(&mut self) -> Result<(), FileError> {
        let result = self.file.flush();
        result.and_then(|()| self.file.get_ref().sync_data()).map_err(FileError::on("write", self.name()))
    }

    /// All of them, merged by key. What stands there as the number of a record is where its line begins: files and records
    /// would take too much memory, and are only asked for where something is found ([`Pending::records`]).
    pub(crate) fn batch(&mut self) -> Result<Batch, Failure> {
        self.file.flush().map_err(FileError::on("write", self.name()))?;
        let mut batch = Batch::new(None, &[true]);
        let (mut reader, keys) = self.reader().map_err(FileError::on("read", self.name()))?;
        let mut file = self.file.get_ref();
        file.seek(SeekFrom::Start(0)).map_err(FileError::on("read", self.name()))?;
        let mut lines = BufReader::new(file);
        let (mut line, mut begin) = (Vec::new(), 0);
        let broken = || self.broken();
        while lines.read_until(b'\n', &mut line).map_err(FileError::on("read", self.name()))? > 0 {
            let Line { row, .. } = serde_json::from_slice(&line).map_err(|_| broken())?;
            let row = reader.read(row.get().as_bytes()).map_err(|_| broken())?.row;
            batch.add(0, row, &keys, &[begin]).map_err(|_| broken())?;
            begin += line.len() as u64;
            if let [Held::Many(rows)] = batch.tables.as_mut_slice()
                && rows.in_memory() > MEMORY
            {
                rows.move_to_disk(&self.folder).map_err(FileError::on("write to", &self.folder))?;
            }
            line.clear();
        }
        Ok(batch)
    }

    /// The records that a row of [`Pending::batch`] was made of.
    pub(crate) fn records(&self, entry: &Entry) -> Result<Vec<FileRecords>, Failure> {
        let failed = || FileError::on("read", self.name());
        let mut all = Vec::new();
        for begin in &entry.origin.records {
            let mut lines = BufReader::new(self.file.get_ref());
            lines.seek(SeekFrom::Start(*begin)).map_err(failed())?;
            let mut line = Vec::new();
            lines.read_until(b'\n', &mut line).map_err(failed())?;
            let Line { from, .. } = serde_json::from_slice(&line).map_err(|_| self.broken())?;
            for FileRecords { file, records } in from {
                records::add(&mut all, file.as_deref(), &records);
            }
        }
        Ok(all)
    }

    fn broken(&self) -> Problem {
        Problem::new(Fault::Local, format!("`{}` has changed", self.name().display()))
    }

    /// Deletes the file, which is no longer needed.
    pub(crate) fn delete(self) -> Result<(), FileError> {
        match &self.path {
            Some(path) => fs::remove_file(path).map_err(FileError::on("delete", path)),
            None => Ok(()),
        }
    }
}
