//! What went wrong, in the terms that decide what happens next.
//!
//! Every error type of the shared crates implements [`Classify`]. From its [`Fault`] follow, in this one place, whether
//! a record is rejected, an attempt repeated or the run stopped, and with which code the program exits. Nothing here
//! knows S3, PostgreSQL or JSON: the crate that does says to which fault each of its errors belongs.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// How a program ends. The numbers are part of the command-line contract: `migrate` and the systemd unit rely on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All is well.
    Done = 0,
    /// The work is finished, but records were rejected, rows were suppressed or files failed.
    Incomplete = 1,
    /// The command line, a setting or the profile is wrong (clap uses the same code).
    Usage = 2,
    /// The input is not what it should be.
    Data = 65,
    /// A service could not be reached, retries included.
    Unavailable = 69,
    /// Reading or writing failed on this machine.
    Io = 74,
    /// Stopped on request; the same command goes on from here.
    Stopped = 75,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Who or what has to change before the same action can succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The data of one record: reject that record and go on.
    Record,
    /// Nothing: a lost connection, a deadlock, a throttle. Try again, then give up with [`Exit::Unavailable`].
    Transient,
    /// The input as a whole: this file is not complete or not of the format.
    Input,
    /// A person: a flag, a setting, a missing table, a wrong password. Stop at once.
    Setup,
    /// This machine: a full disk, a closed file.
    Local,
    /// Somebody asked for a stop while this was under way.
    Stopped,
    /// The reader of our output has gone. Not an error: `ddb-cat ... | head` ends like this.
    ReaderGone,
}

impl Fault {
    /// The code with which a program ends when it stops because of this fault.
    pub fn exit(self) -> Exit {
        match self {
            Self::Record | Self::Input => Exit::Data,
            Self::Transient => Exit::Unavailable,
            Self::Setup => Exit::Usage,
            Self::Local => Exit::Io,
            Self::Stopped => Exit::Stopped,
            Self::ReaderGone => Exit::Done,
        }
    }
}

/// An error that knows its [`Fault`], and the next step if there is an obvious one.
pub trait Classify: Error {
    /// What this error means for the run.
    fn fault(&self) -> Fault;

    /// One sentence that says what to do, without a full stop; shown on a line of its own.
    fn hint(&self) -> Option<String> {
        None
    }
}

/// What a program's `main` gets: any classified error.
pub type Failure = Box<dyn Classify + Send + Sync>;

impl<E: Classify + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Box::new(error)
    }
}

/// What failed and every cause below it, on one line: ``cannot open `x`: Permission denied (os error 13)``.
///
/// An error keeps its cause either in its text or in `source()`, never in both, so nothing is said twice.
pub fn explain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// A problem that a program found itself and for which nobody needs a type of its own.
///
/// Shared crates have typed errors; this one is for the last layer, where only the person and the exit code matter.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    fault: Fault,
    message: String,
    hint: Option<String>,
}

impl Problem {
    /// A problem that means `fault` for the run; `message` in lower case, without a full stop.
    pub fn new(fault: Fault, message: impl Into<String>) -> Self {
        Self { fault, message: message.into(), hint: None }
    }

    /// The same with a sentence that says what to do.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl Classify for Problem {
    fn fault(&self) -> Fault {
        self.fault
    }

    fn hint(&self) -> Option<String> {
        self.hint.clone()
    }
}

/// An operation on a local file that failed, with what was tried on which file.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} `{}`", path.display())]
pub struct FileError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl FileError {
    /// For `map_err`: `FileError::on("read", &path)`.
    pub fn on(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { action, path, source }
    }

    /// What the system said.
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }
}

impl Classify for FileError {
    fn fault(&self) -> Fault {
        match self.source.kind() {
            io::ErrorKind::NotFound => Fault::Setup,
            kind => of_io(kind),
        }
    }

    fn hint(&self) -> Option<String> {
        hint_of_io(self.source.kind()).map(str::to_owned)
    }
}

/// Reading stdin or writing stdout failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {stream}")]
pub struct PipeError {
    action: &'static str,
    stream: &'static str,
    source: io::Error,
}

impl PipeError {
    /// For `map_err` around reads of stdin.
    pub fn reading(source: io::Error) -> Self {
        Self { action: "read", stream: "stdin", source }
    }

    /// For `map_err` around writes to stdout.
    pub fn writing(source: io::Error) -> Self {
        Self { action: "write to", stream: "stdout", source }
    }
}

impl Classify for PipeError {
    fn fault(&self) -> Fault {
        of_io(self.source.kind())
    }

    fn hint(&self) -> Option<String> {
        hint_of_io(self.source.kind()).map(str::to_owned)
    }
}

/// What to do about an error of the system, where that is known.
fn hint_of_io(kind: io::ErrorKind) -> Option<&'static str> {
    Some(match kind {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            "check the path; one that does not begin with `/` starts at the current folder"
        }
        io::ErrorKind::AlreadyExists => "something else has that name: move it, or give another name",
        io::ErrorKind::PermissionDenied => "run as a user who may do that, or change the permissions",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room on that disk, then run again",
        io::ErrorKind::ReadOnlyFilesystem => "name a folder on a disk that can be written to",
        _ => return None,
    })
}

fn of_io(kind: io::ErrorKind) -> Fault {
    match kind {
        io::ErrorKind::BrokenPipe => Fault::ReaderGone,
        io::ErrorKind::Interrupted => Fault::Transient,
        // What was read is not what it should be, say a line that is too long: nothing is wrong with this machine.
        io::ErrorKind::InvalidData => Fault::Input,
        _ => Fault::Local,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_explained_with_every_cause_once() {
        let missing = FileError::on("open", Path::new("x"))(io::Error::other("gone"));
        assert_eq!(explain(&missing), "cannot open `x`: gone");
    }

    #[test]
    fn input_that_is_not_what_it_should_be_is_no_fault_of_the_machine() {
        assert_eq!(PipeError::reading(io::ErrorKind::InvalidData.into()).fault().exit(), Exit::Data);
        assert_eq!(PipeError::reading(io::Error::other("gone")).fault().exit(), Exit::Io);
    }

    #[test]
    fn what_a_person_can_mend_has_a_hint() {
        for kind in [
            io::ErrorKind::NotFound,
            io::ErrorKind::PermissionDenied,
            io::ErrorKind::StorageFull,
            io::ErrorKind::ReadOnlyFilesystem,
        ] {
            assert!(FileError::on("open", Path::new("x"))(kind.into()).hint().is_some(), "{kind}");
            assert!(PipeError::writing(kind.into()).hint().is_some(), "{kind}");
        }
        assert_eq!(PipeError::writing(io::ErrorKind::BrokenPipe.into()).hint(), None);
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        let closed = PipeError::writing(io::ErrorKind::BrokenPipe.into());
        assert_eq!(closed.fault().exit(), Exit::Done);
    }
}
