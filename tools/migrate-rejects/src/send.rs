//! What the lines hold, as a data file of the stream: the n-th line of the kind is record n. What ddb-parse or pg-upsert
//! could not take as it is goes as a `$reject` of that record, so that its line stays.

use std::io;
use std::path::Path;

use cli::Stop;
use fault::{Exit, Failure, PipeError};
use indexmap::IndexMap;
use profile::{Options, Schema};
use serde_json::value::{RawValue, to_raw_value};
use stream::{Begin, End, FileEvent, MARKER_VERSION, Marker, Reject, RejectLine, Writer, is_marker};

use crate::lines::{self, Kind, Lines};

/// How many lines of each kind there are, on stdout.
pub(crate) fn count(file: &Path) -> Result<Exit, Failure> {
    let (mut lines, mut counts) = (Lines::open(file)?, (0_u64, 0_u64));
    while let Some(text) = lines.next_line()? {
        match lines::parse(text).map(|line| Kind::of(&line)) {
            Some(Kind::Records) => counts.0 += 1,
            Some(Kind::Rows) => counts.1 += 1,
            None => {}
        }
    }
    let mut writer = Writer::new(io::stdout().lock(), false);
    writer.data(format!("{} {}", counts.0, counts.1).as_bytes()).map_err(PipeError::writing)?;
    writer.flush().map_err(PipeError::writing)?;
    Ok(Exit::Done)
}

/// The records, as they stood in their data files.
pub(crate) fn records(file: &Path, stop: &Stop) -> Result<Exit, Failure> {
    let encoding = if all_plain(file)? { "json" } else { "dynamodb-json" };
    send(Kind::Records, file, encoding, None, stop, |line, _| {
        let text = match serde_json::from_str::<String>(line.data.get()) {
            // What was no JSON travels as a string.
            Ok(text) => text.into_bytes(),
            Err(_) => line.data.get().as_bytes().to_vec(),
        };
        // It would be taken for a line of the programs' own.
        if is_marker(&text) || text.contains(&b'\n') { Err(line.reason.clone()) } else { Ok(text) }
    })
}

/// The rows, with the number of their line, if they still fit the profile.
pub(crate) fn rows(file: &Path, profile: &str, stop: &Stop) -> Result<Exit, Failure> {
    let schema = profile::load(profile, Options { max_id: None })?.schema;
    send(Kind::Rows, file, "dynamodb-json", Some(&schema), stop, |line, number| row(line, number, &schema))
}

fn row(line: &RejectLine, number: u64, schema: &Schema) -> Result<Vec<u8>, String> {
    // What is no object was refused because of that.
    let mut row: IndexMap<String, Box<RawValue>> =
        serde_json::from_str(line.data.get()).map_err(|_| line.reason.clone())?;
    row.shift_remove("$records");
    let unknown = row.keys().find(|name| !schema.columns.iter().any(|column| column.name == **name));
    if let Some(name) = unknown {
        return Err(format!("the row has the column `{name}`, which the profile does not have any more"));
    }
    if let Some(column) = schema.columns.iter().find(|column| !row.contains_key(&column.name)) {
        return Err(format!("the row was made without the column `{}`, which the profile has now", column.name));
    }
    let number = to_raw_value(&[number]).map_err(|error| error.to_string())?;
    row.insert("$records".to_owned(), number);
    serde_json::to_vec(&row).map_err(|error| error.to_string())
}

/// Whether the records are plain JSON objects: none has the form of an export.
fn all_plain(file: &Path) -> Result<bool, Failure> {
    let (mut lines, mut plain) = (Lines::open(file)?, false);
    while let Some(text) = lines.next_line()? {
        let Some(line) = lines::of_kind(text, Kind::Records) else { continue };
        if let Ok(object) = serde_json::from_str::<IndexMap<String, Box<RawValue>>>(line.data.get()) {
            if object.contains_key("Item") {
                return Ok(false);
            }
            plain = true;
        }
    }
    Ok(plain)
}

fn send(
    kind: Kind,
    file: &Path,
    encoding: &str,
    schema: Option<&Schema>,
    stop: &Stop,
    content: impl Fn(&RejectLine, u64) -> Result<Vec<u8>, String>,
) -> Result<Exit, Failure> {
    let mut lines = Lines::open(file)?;
    let mut writer = Writer::new(io::stdout().lock(), true);
    let key = file.display().to_string();
    if let Some(schema) = schema {
        let schema = to_raw_value(schema).map_err(io::Error::from).map_err(PipeError::writing)?;
        writer.marker(&Marker::Schema(schema)).map_err(PipeError::writing)?;
    }
    let begin = Begin { v: MARKER_VERSION, key: key.clone(), encoding: encoding.to_owned(), ..Begin::default() };
    writer.marker(&Marker::File(FileEvent::Begin(begin))).map_err(PipeError::writing)?;
    let (mut number, mut rejected) = (0, 0);
    while let Some(text) = lines.next_line()? {
        if stop.asked() {
            let signal = stop.signal().unwrap_or_default();
            writer.marker(&Marker::Stop(stream::Stop { signal })).map_err(PipeError::writing)?;
            writer.flush().map_err(PipeError::writing)?;
            return Ok(Exit::Stopped);
        }
        let Some(line) = lines::of_kind(text, kind) else { continue };
        number += 1;
        match content(&line, number) {
            Ok(content) => writer.data(&content).map_err(PipeError::writing)?,
            Err(reason) => {
                rejected += 1;
                // The line itself has the data.
                let reject = Reject::of(Some(&key), Some(number), "migrate-rejects", reason, b"null");
                writer.marker(&Marker::Reject(reject)).map_err(PipeError::writing)?;
            }
        }
    }
    let end = End { key, records: number, rejected, ..End::default() };
    writer.marker(&Marker::File(FileEvent::End(end))).map_err(PipeError::writing)?;
    writer.flush().map_err(PipeError::writing)?;
    Ok(Exit::Done)
}
