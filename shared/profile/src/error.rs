//! What can be wrong with a profile, for the person who wrote it.

use std::path::PathBuf;

use fault::{Classify, Fault, FileError};

/// A profile that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no file of that name where profiles are.
    #[error("there is no profile `{name}`: looked for {}", tried.join(", "))]
    NotFound {
        /// The name as given.
        name: String,
        /// The places.
        tried: Vec<String>,
    },
    /// The name would lead out of the folder for a run's files.
    #[error("`{0}` cannot be the name of a profile: letters, digits, `_`, `-` and `.` can")]
    Name(String),
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is not TOML, or has a key or a value that profiles do not have.
    #[error("`{}`: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What the parser says, with line, column and the line itself.
        message: String,
    },
    /// The file is well formed, but says something that cannot be.
    #[error("`{}`, line {line}: {place}: {message}", path.display())]
    Meaning {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The section and name, as `columns.path`.
        place: String,
        /// What is wrong there.
        message: String,
    },
}

impl Classify for Error {
    fn fault(&self) -> Fault {
        match self {
            Self::File(error) => error.fault(),
            _ => Fault::Setup,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound { .. } => Some("give a path, or put the file into one of these folders".to_owned()),
            _ => None,
        }
    }
}
