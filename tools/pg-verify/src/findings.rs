//! What was found, one JSON object a line: on stdout, or for a profile in its file, which is there as a whole or not at
//! all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Stdout, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use fault::{Failure, FileError, PipeError};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::records::FileRecords;

/// A row that is not in the table as it should be, as the server says it.
#[derive(Debug)]
pub(crate) struct Finding {
    /// Of the row in its transaction.
    pub(crate) place: usize,
    pub(crate) missing: bool,
    /// Which differ.
    pub(crate) columns: Vec<String>,
    /// JSON objects.
    pub(crate) key: String,
    pub(crate) expected: String,
    pub(crate) found: Option<String>,
}

/// One line.
#[derive(Serialize)]
struct Line<'a> {
    /// Of several the one that it is of.
    #[serde(skip_serializing_if = "Option::is_none")]
    table: Option<&'a str>,
    key: Box<RawValue>,
    problem: &'static str,
    columns: &'a [String],
    expected: Box<RawValue>,
    found: Option<Box<RawValue>>,
    file: Option<&'a str>,
    records: &'a [u64],
    /// Where records come from several files: the others.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    also: &'a [FileRecords],
}

/// How many there are.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) missing: u64,
    pub(crate) different: u64,
}

/// Where they are written.
pub(crate) struct Findings {
    output: Output,
    /// The table that the next are of, where there are several.
    table: Option<String>,
    counts: Counts,
}

enum Output {
    Stdout(BufWriter<Stdout>),
    File { path: PathBuf, temporary: PathBuf, file: BufWriter<File> },
}

impl Findings {
    /// On stdout.
    pub(crate) fn on_stdout() -> Self {
        Self {
            output: Output::Stdout(BufWriter::with_capacity(256 << 10, io::stdout())),
            table: None,
            counts: Counts::default(),
        }
    }

    /// In a file.
    pub(crate) fn in_file(path: PathBuf) -> Result<Self, FileError> {
        let temporary = path.with_extension("jsonl.new");
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary);
        let file = BufWriter::with_capacity(256 << 10, file.map_err(FileError::on("open", &temporary))?);
        Ok(Self { output: Output::File { path, temporary, file }, table: None, counts: Counts::default() })
    }

    /// The next are of this table, one of several.
    pub(crate) fn of_table(&mut self, name: String) {
        self.table = Some(name);
    }

    /// Adds one, about a row that was made of these records.
    pub(crate) fn add(&mut self, finding: &Finding, records: &[FileRecords]) -> Result<(), Failure> {
        let Some((first, also)) = records.split_first() else { return Ok(()) };
        let Finding { missing, columns, key, expected, found, .. } = finding;
        let line = Line {
            table: self.table.as_deref(),
            key: json(key),
            problem: if *missing { "missing" } else { "differs" },
            columns,
            expected: json(expected),
            found: found.as_deref().map(json),
            file: first.file.as_deref(),
            records: &first.records,
            also,
        };
        // Texts and numbers always have a JSON form.
        let mut line = serde_json::to_vec(&line).unwrap_or_default();
        line.push(b'\n');
        match &mut self.output {
            Output::Stdout(stdout) => stdout.write_all(&line).map_err(PipeError::writing)?,
            Output::File { temporary, file, .. } => {
                file.write_all(&line).map_err(FileError::on("write", temporary))?;
            }
        }
        if *missing {
            self.counts.missing += 1;
        } else {
            self.counts.different += 1;
        }
        Ok(())
    }

    /// How many there are, and where; they are all written when this returns. A file without any is not left behind, nor
    /// that of an earlier verification.
    pub(crate) fn end(self) -> Result<(Counts, Option<PathBuf>), Failure> {
        let Counts { missing, different } = self.counts;
        match self.output {
            Output::Stdout(mut stdout) => {
                stdout.flush().map_err(PipeError::writing)?;
                Ok((self.counts, None))
            }
            Output::File { path, temporary, file } => {
                let file = file.into_inner().map_err(|error| FileError::on("write", &temporary)(error.into_error()))?;
                file.sync_all().map_err(FileError::on("write", &temporary))?;
                let failed = || FileError::on("replace", &path);
                if missing + different > 0 {
                    fs::rename(&temporary, &path).map_err(failed())?;
                } else {
                    fs::remove_file(&temporary).map_err(failed())?;
                    remove_if_there(&path).map_err(failed())?;
                }
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
                let synced = File::open(folder).and_then(|folder| folder.sync_all());
                synced.map_err(FileError::on("sync the folder", folder))?;
                Ok((self.counts, (missing + different > 0).then_some(path)))
            }
        }
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// A JSON text of the server on one line: a line break in it can only stand between values.
fn json(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.replace(['\n', '\r'], " ")).unwrap_or_else(|_| RawValue::NULL.to_owned())
}
