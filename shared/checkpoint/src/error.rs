//! What can be wrong with a bookmark, for the person who has to mend it.

use std::path::PathBuf;

use fault::{Classify, Fault, FileError};

/// An error about a bookmark.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// Another process writes it.
    #[error("the bookmark `{}` is in use by another process", path.display())]
    Locked {
        /// The bookmark.
        path: PathBuf,
    },
    /// It belongs to another source, export or profile.
    #[error("the bookmark `{}` belongs to {theirs}, this run to {ours}", path.display())]
    Foreign {
        /// The bookmark.
        path: PathBuf,
        /// What differs, as the bookmark has it.
        theirs: String,
        /// The same, as this run has it.
        ours: String,
        /// The profile, for the hint.
        profile: String,
    },
    /// A whole line cannot be read.
    #[error("line {line} of the bookmark `{}` cannot be read", path.display())]
    Entry {
        /// The bookmark.
        path: PathBuf,
        /// The line's number, from 1.
        line: u64,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// It was written by a later version.
    #[error("the bookmark `{}` is of version {found}; this program knows versions up to {}", path.display(), crate::VERSION)]
    Version {
        /// The bookmark.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
}

impl Classify for Error {
    fn fault(&self) -> Fault {
        match self {
            Self::File(error) => match error.fault() {
                // A missing folder is made, so whatever is in the way is this machine's matter.
                Fault::Setup => Fault::Local,
                fault => fault,
            },
            Self::Locked { .. } | Self::Foreign { .. } | Self::Entry { .. } | Self::Version { .. } => Fault::Setup,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            Self::Version { .. } => {
                Some("go on with the version of the programs that wrote it, or a later one".to_owned())
            }
            Self::Locked { .. } => Some("wait for the other run, or stop it: `migrate -p PROFILE status`".to_owned()),
            Self::Foreign { profile, .. } => Some(format!(
                "finish the run that the bookmark belongs to, or forget it with `migrate -p {profile} reset`"
            )),
            Self::Entry { .. } => {
                Some("keep a copy for a look, and start again with `migrate -p PROFILE reset`".to_owned())
            }
        }
    }
}
