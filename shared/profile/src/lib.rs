//! Profiles: which items of a collection become which rows of which table, and how rows of one key become one.
//!
//! A profile is a TOML file (the README, "How to write a profile", explains it to those who write one). [`load`] reads
//! it and checks it as a whole; then [`Plan::row`] makes rows of items, [`Schema`] tells the next program what they
//! are, and [`Merger`] merges rows of one key. The SQL of the same merging is in `pg`.

mod compile;
mod convert;
mod error;
mod file;
mod plan;
pub mod policy;
pub mod row;
pub mod schema;
mod text;

use std::path::{Path, PathBuf};

use fault::FileError;

pub use compile::Options;
pub use error::Error;
pub use plan::{Fate, Plan};
pub use policy::{Merger, Policy};
pub use row::{Row, RowView, Rows};
pub use schema::{Column, ColumnType, Kind, Schema};
pub use text::text_of;

/// A profile, checked and ready.
#[derive(Debug)]
pub struct Profile {
    /// Its name: that of the file without `.toml`.
    pub name: String,
    /// What its rows are.
    pub schema: Schema,
    /// How items become rows.
    pub plan: Plan,
    /// SQL that runs after the table was made by `--create`.
    pub on_create: Vec<String>,
    /// SQL that runs when all files are done.
    pub on_complete: Vec<String>,
}

/// Names the folders that hold profiles, besides `profiles` in the current one.
pub const FOLDERS: &str = "DDB_PIPE_PROFILES";

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
    let file: file::File = toml::from_str(text)
        .map_err(|error| Error::Syntax { path: path.to_owned(), message: error.to_string().trim_end().to_owned() })?;
    let (schema, plan) = compile::compile(path, text, &name, &file, options)?;
    Ok(Profile { name, schema, plan, on_create: file.on_create, on_complete: file.on_complete })
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
        .chain(config.map(|config| config.join("ddb-pipe/profiles")));
    let mut tried = Vec::new();
    for folder in folders {
        let path = folder.join(format!("{name}.toml"));
        if path.is_file() {
            return Ok(path);
        }
        tried.push(format!("`{}`", path.display()));
    }
    Err(Error::NotFound { name: name.to_owned(), tried })
}
