//! Profiles: which items of a collection become which rows of which table, and how rows of one key become one.
//!
//! A profile is a TOML file (docs/profiles.md explains it to those who write one). [`load`] reads
//! it and checks it as a whole; then [`Profile::rows`] makes rows of items, [`Schema`] tells the next program what they
//! are, and [`Merger`] merges rows of one key. The SQL of the same merging is in `pg`.

mod cells;
mod change;
mod compile;
mod condition;
mod convert;
mod error;
mod explain;
mod file;
mod jq;
mod layout;
mod order;
mod plan;
pub mod policy;
mod readable;
pub mod row;
pub mod schema;
mod tables;
mod text;

use std::path::{Path, PathBuf};

use fault::FileError;
use item::{Change, Item};

pub use cells::Cells;
pub use change::Before;
pub use compile::Options;
pub use error::Error;
pub use policy::{Merger, Policy};
pub use row::{Row, RowView, Rows};
pub use schema::{Column, ColumnType, Kind, Schema};
pub use tables::{Fate, Made, Table};
pub use text::{comparable, element_text, elements_of, plain_text, text_of};

use crate::error::{Mistake, similar};
use crate::file::File;
use crate::tables::Gate;

/// A profile, checked and ready.
#[derive(Debug)]
pub struct Profile {
    /// Its name: that of the file without `.toml`.
    pub name: String,
    /// Its tables, in the order of the file; at least one.
    pub tables: Vec<Table>,
    /// Whether the end of a run advances sequences that lag behind.
    pub advance_sequences: bool,
    /// SQL that runs when all files are done.
    pub on_complete: Vec<String>,
    gate: Gate,
}

impl Profile {
    /// Makes the rows of an item: all of them, or none.
    ///
    /// # Errors
    /// Why the item is rejected, in one sentence.
    pub fn rows(&self, item: &Item<'_>, made: &mut Made) -> Result<Fate, String> {
        self.gate.rows(&self.tables, item, made)
    }

    /// Makes the rows of an item that has changed, and the keys of those that it no longer has: all of them, or none.
    /// Without an old image an item is new if the export has them.
    ///
    /// # Errors
    /// Why the record is rejected, in one sentence.
    pub fn changes(&self, change: &Change<'_>, before: Before, made: &mut Made) -> Result<Fate, String> {
        self.gate.changes(&self.tables, change, before, made)
    }

    /// What becomes of an item, in words, for each table, value and column: where it comes from and why.
    pub fn explain(&self, item: &Item<'_>) -> String {
        let mut made = Made::default();
        let outcome = match self.rows(item, &mut made) {
            Ok(Fate::Row) => format!("rows: {}", made.rows().count()),
            Ok(Fate::Filtered) => "filtered out".to_owned(),
            Err(reason) => format!("rejected: {reason}"),
        };
        format!("{outcome}\n{}", explain::explain(&self.gate, &self.tables, item, None))
    }

    /// The same of an item that has changed: the rows that are gone, and how those of the new image are made.
    pub fn explain_change(&self, change: &Change<'_>, before: Before) -> String {
        let mut made = Made::default();
        let mut text = match self.changes(change, before, &mut made) {
            Ok(Fate::Row) => explain::rows(&self.tables, &made),
            Ok(Fate::Filtered) => "filtered out\n".to_owned(),
            Err(reason) => format!("rejected: {reason}\n"),
        };
        if let Some(item) = &change.new {
            text += &explain::explain(&self.gate, &self.tables, item, Some(&change.written.to_string()));
        }
        text
    }

    /// What the rows of each table are.
    pub fn schemas(&self) -> impl Iterator<Item = &Schema> {
        self.tables.iter().map(|table| &table.schema)
    }
}

/// Names the folders that hold profiles, besides `profiles` in the current one, the user's and the machine's.
pub const FOLDERS: &str = "DDB_PIPE_PROFILES";

/// Where an installation puts profiles, for all users of the machine.
const INSTALLED: &str = "/etc/ddb-pipe/profiles";

/// Finds and reads a profile by its name or path.
pub fn load(name: &str, options: Options) -> Result<Profile, Error> {
    let path = find(name, |variable| std::env::var_os(variable).map(PathBuf::from))?;
    read(&path, options)
}

/// Reads the profile in a file.
pub fn read(path: &Path, options: Options) -> Result<Profile, Error> {
    let text = std::fs::read_to_string(path).map_err(FileError::on("read the profile", path))?;
    parse(path, &text, options)
}

/// The profile in a text; `path` gives its name and stands in errors.
pub fn parse(path: &Path, text: &str, options: Options) -> Result<Profile, Error> {
    let name = name_of(&path.to_string_lossy())?;
    if text.trim().is_empty() {
        return Err(Error::Empty(path.to_owned()));
    }
    let wrong = |mut mistakes: Vec<Mistake>| {
        mistakes.sort_by_key(Mistake::begins);
        Error::Wrong(mistakes.iter().map(|mistake| mistake.show(path, text)).collect())
    };
    let file: File = toml::from_str(text).map_err(|error| wrong(vec![Mistake::of(&error)]))?;
    let (gate, tables) = compile::compile(&name, &file, options).map_err(wrong)?;
    let File { advance_sequences, on_complete, .. } = file;
    Ok(Profile { name, tables, advance_sequences, on_complete, gate })
}

/// The name of a profile that is given by name or path: `profiles/pictures.toml` is `pictures`. It stands in the names
/// of a run's files.
pub fn name_of(given: &str) -> Result<String, Error> {
    let file = given.rsplit('/').next().unwrap_or(given);
    let name = file.strip_suffix(".toml").unwrap_or(file);
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    if name.is_empty() || name.starts_with('.') || !name.bytes().all(safe) {
        return Err(Error::Name(given.to_owned()));
    }
    Ok(name.to_owned())
}

fn find(name: &str, variable: impl Fn(&str) -> Option<PathBuf>) -> Result<PathBuf, Error> {
    if name.contains('/') || Path::new(name).extension().is_some_and(|extension| extension == "toml") {
        return Ok(PathBuf::from(name));
    }
    name_of(name)?;
    let listed = variable(FOLDERS).map(|folders| std::env::split_paths(&folders).collect::<Vec<_>>());
    let config = variable("XDG_CONFIG_HOME").or_else(|| variable("HOME").map(|home| home.join(".config")));
    let folders = std::iter::once(PathBuf::from("profiles"))
        .chain(listed.unwrap_or_default())
        .chain(config.map(|config| config.join("ddb-pipe/profiles")))
        .chain(std::iter::once(PathBuf::from(INSTALLED)));
    let (mut tried, mut known) = (Vec::new(), Vec::new());
    for folder in folders {
        let path = folder.join(format!("{name}.toml"));
        if path.is_file() {
            return Ok(path);
        }
        tried.push(format!("`{}`", path.display()));
        known.extend(names_in(&folder));
    }
    Err(Error::NotFound { similar: similar(name, known.iter().map(String::as_str)), name: name.to_owned(), tried })
}

/// The names of the profiles in a folder; none if it cannot be read.
fn names_in(folder: &Path) -> Vec<String> {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let name = |file: std::fs::DirEntry| file.file_name().to_str()?.strip_suffix(".toml").map(str::to_owned);
    files.filter_map(name).collect()
}
