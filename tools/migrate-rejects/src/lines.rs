//! The lines of a rejects file, one after the other, however many there are, and of which kind each is.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use fault::FileError;
use stream::{Reader, RejectLine};

/// What a line holds, which decides where it goes in again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// A record, or what should be one: refused before it was a row
    Records,
    /// A row: refused by the target
    Rows,
}

impl Kind {
    /// The kind of a line.
    pub(crate) fn of(line: &RejectLine) -> Self {
        if line.stage.ends_with("-upsert") { Self::Rows } else { Self::Records }
    }
}

/// The line in this text; nothing if it is none, which only a foreign hand can do.
pub(crate) fn parse(text: &[u8]) -> Option<RejectLine> {
    serde_json::from_slice(text).ok()
}

/// The line in this text, if it is of that kind.
pub(crate) fn of_kind(text: &[u8], kind: Kind) -> Option<RejectLine> {
    parse(text).filter(|line| Kind::of(line) == kind)
}

/// Reads the file.
pub(crate) struct Lines {
    path: PathBuf,
    reader: Reader<File>,
}

impl Lines {
    pub(crate) fn open(path: &Path) -> Result<Self, FileError> {
        let file = File::open(path).map_err(FileError::on("open", path))?;
        Ok(Self { path: path.to_owned(), reader: Reader::new(file) })
    }

    /// The next line as it stands. One without an end is none: its writer died, and a run that goes on meets it again.
    pub(crate) fn next_line(&mut self) -> Result<Option<&[u8]>, FileError> {
        let Self { path, reader } = self;
        reader.next_line().map_err(|error: io::Error| FileError::on("read", path)(error))
    }
}
