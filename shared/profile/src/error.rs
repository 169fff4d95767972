//! What can be wrong with a profile, for the person who wrote it.

use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};

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
        /// A profile of these places with a name like it.
        similar: Option<String>,
    },
    /// The name would lead out of the folder for a run's files.
    #[error("`{0}` cannot be the name of a profile: letters, digits, `_`, `-` and `.` can")]
    Name(String),
    /// The file has nothing in it.
    #[error("the profile `{}` is empty", .0.display())]
    Empty(PathBuf),
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is not TOML, has a key or a value that profiles do not have, or says something that cannot be.
    #[error("{}", .0.join("\n"))]
    Wrong(
        /// Each mistake with its place, as a compiler shows it.
        Vec<String>,
    ),
}

impl Classify for Error {
    fn fault(&self) -> Fault {
        match self {
            Self::File(error) if error.kind() != ErrorKind::InvalidData => error.fault(),
            // Not UTF-8, or wrong in another way.
            _ => Fault::Setup,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound { similar: Some(name), .. } => Some(format!("did you mean `{name}`?")),
            Self::NotFound { .. } => Some("give a path, or put the file into one of these folders".to_owned()),
            Self::Wrong(_) => Some("mend what is named; docs/profiles.md shows every key".to_owned()),
            Self::Name(_) => Some("rename the file".to_owned()),
            Self::Empty(_) => Some(
                "perhaps the program that was to write it failed: `ddb-infer -o FILE` replaces a file only on success"
                    .to_owned(),
            ),
            Self::File(error) => error.hint(),
        }
    }
}

/// A mistake and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Mistake {
    /// Section and name, as `columns.path`; empty where the line says all.
    place: String,
    /// The bytes of the file.
    at: Range<usize>,
    message: String,
    /// What may have been meant.
    help: Option<String>,
}

impl Mistake {
    pub(crate) fn new(place: impl Into<String>, at: Range<usize>, message: impl Into<String>) -> Self {
        Self { place: place.into(), at, message: message.into(), help: None }
    }

    /// What the parser found.
    pub(crate) fn of(error: &toml::de::Error) -> Self {
        let message = error.message();
        // `unknown field `colums`, expected one of `table`, `columns``
        let mut names = message.split('`').skip(1).step_by(2);
        let unknown = message.starts_with("unknown ").then(|| names.next()).flatten();
        let help = unknown.and_then(|unknown| similar(unknown, names));
        Self::new("", error.span().unwrap_or_default(), message).similar(help)
    }

    /// Where it begins.
    pub(crate) fn begins(&self) -> usize {
        self.at.start
    }

    /// With the name that may have been meant.
    pub(crate) fn similar(mut self, name: Option<String>) -> Self {
        self.help = name.map(|name| format!("did you mean `{name}`?"));
        self
    }

    /// The mistake with the line that it is in.
    pub(crate) fn show(&self, path: &Path, text: &str) -> String {
        let Self { place, at, message, help } = self;
        let start = at.start.min(text.len());
        let before = &text[..start];
        let (line, begin) = (before.matches('\n').count() + 1, before.rfind('\n').map_or(0, |place| place + 1));
        let content = text[begin..].lines().next().unwrap_or_default();
        let column = before[begin..].chars().count();
        // Of what goes over several lines the first is marked.
        let marked = text.get(start..at.end.min(begin + content.len())).map_or(1, |text| text.chars().count().max(1));
        let place = if place.is_empty() { String::new() } else { format!("{place}: ") };
        let help =
            help.as_ref().map_or_else(String::new, |help| format!("\n{:1$} = {help}", "", line.to_string().len()));
        let number = line.to_string();
        let (path, space, column_number) = (path.display(), " ".repeat(number.len()), column + 1);
        let (indent, marks) = (" ".repeat(column), "^".repeat(marked));
        format!(
            "`{path}`, line {line}, column {column_number}: {place}{message}\n{space} |\n{number} | {content}\n\
             {space} | {indent}{marks}{help}"
        )
    }
}

/// The name that is most like this one, if any is like it at all.
pub(crate) fn similar<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let close = |known: &&str| strsim::damerau_levenshtein(name, known) <= 1 + name.chars().count() / 4;
    known.filter(close).min_by_key(|known| strsim::damerau_levenshtein(name, known)).map(str::to_owned)
}
