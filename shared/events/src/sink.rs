//! Where events go. Writing one never fails a run: what cannot be written is said once in the log, and left out.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::warn;

use crate::event::{Event, Line};

static SINK: OnceLock<Sink> = OnceLock::new();

/// What `--events` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A file, to which lines are added.
    File(PathBuf),
    /// A descriptor that this process inherited.
    Descriptor(u32),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("a file or the number of a descriptor is missing".to_owned());
        }
        Ok(text.parse().map_or_else(|_| Self::File(text.into()), Self::Descriptor))
    }
}

impl Target {
    /// The file to open.
    pub fn path(&self) -> PathBuf {
        match self {
            Self::File(path) => path.clone(),
            Self::Descriptor(number) => Path::new("/dev/fd").join(number.to_string()),
        }
    }

    /// Opens it for lines that are added.
    ///
    /// # Errors
    /// Those of the system.
    pub fn open(&self) -> io::Result<File> {
        OpenOptions::new().append(true).create(matches!(self, Self::File(_))).mode(0o600).open(self.path())
    }
}

struct Sink {
    file: File,
    profile: String,
    program: &'static str,
    /// Whether it was said that events cannot be written.
    failed: AtomicBool,
}

/// From here on events are written, under this name of a profile; once for a process.
///
/// # Errors
/// The file cannot be opened.
pub fn open(target: &Target, profile: &str, program: &'static str) -> io::Result<()> {
    let sink = Sink { file: target.open()?, profile: profile.to_owned(), program, failed: AtomicBool::new(false) };
    // The first one stays, which is right in tests of several programs in one process.
    let _ = SINK.set(sink);
    Ok(())
}

/// Whether anybody wants events.
pub fn wanted() -> bool {
    SINK.get().is_some()
}

/// Writes an event, if anybody wants it.
pub fn send(event: Event) {
    if let Some(sink) = SINK.get() {
        sink.write(&Line::now(event, &sink.profile, sink.program));
    }
}

/// Writes a line that another program has made, if anybody wants it.
pub fn forward(line: &Line) {
    if let Some(sink) = SINK.get() {
        sink.write(line);
    }
}

impl Sink {
    fn write(&self, line: &Line) {
        // One write a line: several programs write to the same file or pipe.
        let written = serde_json::to_vec(line).map_err(io::Error::from).and_then(|mut text| {
            text.push(b'\n');
            (&self.file).write_all(&text)
        });
        if let Err(error) = written
            && !self.failed.swap(true, Ordering::Relaxed)
        {
            warn!("Events cannot be written: {error}; the run goes on without them");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_a_descriptor_and_all_else_a_file() {
        assert_eq!("3".parse(), Ok(Target::Descriptor(3)));
        assert_eq!("./3".parse(), Ok(Target::File("./3".into())));
        assert_eq!("events.jsonl".parse(), Ok(Target::File("events.jsonl".into())));
        assert!("".parse::<Target>().is_err());
    }

    #[test]
    fn lines_are_added_to_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        std::fs::write(&path, "before\n").unwrap();
        Target::File(path.clone()).open().unwrap().write_all(b"after\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "before\nafter\n");
        assert!(Target::Descriptor(999).open().is_err());
    }
}
