//! What the lines hold, as a data file of the stream: the n-th line of the kind is record n. What ddb-parse or pg-upsert
//! could not take as it is goes as a `$reject` of that record, so that its line stays.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use cli::Stop;
use fault::{Exit, Failure, PipeError};
use indexmap::IndexMap;
use profile::{Options, Schema};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::{RawValue, to_raw_value};
use stream::{Begin, End, FileEvent, MARKER_VERSION, Marker, Reject, RejectLine, Writer, begins_with_dollar};

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
    let begin = Begin { encoding: encoding.to_owned(), view: common_view(file)?, ..Begin::default() };
    send(Kind::Records, file, begin, &[], stop, |line, _| {
        let text = match serde_json::from_str::<String>(line.data.get()) {
            // What was no JSON travels as a string.
            Ok(text) => text.into_bytes(),
            Err(_) => line.data.get().as_bytes().to_vec(),
        };
        // It would be taken for a line of the programs' own.
        if begins_with_dollar(&text) || text.contains(&b'\n') { Err(line.reason.clone()) } else { Ok((text, None)) }
    })
}

/// The rows, with the number of their line, if they still fit the profile.
pub(crate) fn rows(file: &Path, profile: &str, stop: &Stop) -> Result<Exit, Failure> {
    let profile = profile::load(profile, Options { max_id: None })?;
    let schemas: Vec<_> = profile.schemas().cloned().collect();
    let begin = Begin { encoding: "dynamodb-json".to_owned(), ..Begin::default() };
    send(Kind::Rows, file, begin, &schemas, stop, |line, number| {
        let schema = schema_of(line, &schemas)?;
        row(line, number, schema).map(|text| (text, schemas.iter().position(|known| known.name() == schema.name())))
    })
}

/// What the row is of: of the profile's only table, or of the one that it names.
fn schema_of<'a>(line: &RejectLine, schemas: &'a [Schema]) -> Result<&'a Schema, String> {
    match (schemas, &line.table) {
        ([schema], None) => Ok(schema),
        (_, Some(name)) => {
            let known = schemas.iter().find(|schema| schema.name() == *name);
            known.ok_or_else(|| format!("the row is of the table `{name}`, which the profile does not have any more"))
        }
        (_, None) => Err("the row does not say which of the profile's tables it is of".to_owned()),
    }
}

fn row(line: &RejectLine, number: u64, schema: &Schema) -> Result<Vec<u8>, String> {
    // What is no object was refused because of that.
    let mut row: IndexMap<String, Box<RawValue>> =
        serde_json::from_str(line.data.get()).map_err(|_| line.reason.clone())?;
    let number = to_raw_value(&[number]).map_err(|error| error.to_string())?;
    if row.contains_key("$delete") {
        row.insert("$records".to_owned(), number);
        return serde_json::to_vec(&row).map_err(|error| error.to_string());
    }
    row.shift_remove("$records");
    let unknown = row.keys().find(|name| !schema.columns.iter().any(|column| column.name == **name));
    if let Some(name) = unknown {
        return Err(format!("the row has the column `{name}`, which the profile does not have any more"));
    }
    if let Some(column) = schema.columns.iter().find(|column| !row.contains_key(&column.name)) {
        return Err(format!("the row was made without the column `{}`, which the profile has now", column.name));
    }
    row.insert("$records".to_owned(), number);
    serde_json::to_vec(&row).map_err(|error| error.to_string())
}

/// The view of the incremental exports that records are of, if all that are of one have the same.
fn common_view(file: &Path) -> Result<Option<String>, Failure> {
    #[derive(Deserialize)]
    struct Change {
        #[serde(rename = "Keys")]
        _keys: IgnoredAny,
    }
    let (mut lines, mut views) = (Lines::open(file)?, BTreeSet::new());
    while let Some(text) = lines.next_line()? {
        let Some(line) = lines::of_kind(text, Kind::Records) else { continue };
        if serde_json::from_str::<Change>(line.data.get()).is_ok() {
            views.insert(line.view);
        }
    }
    Ok(views.pop_first().flatten().filter(|_| views.is_empty()))
}

/// Whether the records are plain JSON objects: none has the form of an export.
fn all_plain(file: &Path) -> Result<bool, Failure> {
    let (mut lines, mut plain) = (Lines::open(file)?, false);
    while let Some(text) = lines.next_line()? {
        let Some(line) = lines::of_kind(text, Kind::Records) else { continue };
        if let Ok(object) = serde_json::from_str::<IndexMap<String, Box<RawValue>>>(line.data.get()) {
            if object.contains_key("Item") || object.contains_key("Keys") {
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
    begin: Begin,
    schemas: &[Schema],
    stop: &Stop,
    content: impl Fn(&RejectLine, u64) -> Result<(Vec<u8>, Option<usize>), String>,
) -> Result<Exit, Failure> {
    let mut lines = Lines::open(file)?;
    let mut writer = Writer::new(io::stdout().lock(), true);
    let key = file.display().to_string();
    for schema in schemas {
        let schema = to_raw_value(schema).map_err(io::Error::from).map_err(PipeError::writing)?;
        writer.marker(&Marker::Schema(schema)).map_err(PipeError::writing)?;
    }
    let begin = Begin { v: MARKER_VERSION, key: key.clone(), ..begin };
    writer.marker(&Marker::File(FileEvent::Begin(begin))).map_err(PipeError::writing)?;
    let (mut number, mut rejected) = (0, 0);
    let several = schemas.len() > 1;
    // A row may be one that is deleted: the target is told what it has to count.
    let mut taken: BTreeMap<_, _> = schemas.iter().map(|schema| (schema.name(), 0_u64)).collect();
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
            Ok((content, table)) => {
                if let Some(schema) = table.and_then(|table| schemas.get(table)) {
                    *taken.entry(schema.name()).or_default() += 1;
                    if several {
                        writer.marker(&Marker::Table(schema.name())).map_err(PipeError::writing)?;
                    }
                }
                writer.data(&content).map_err(PipeError::writing)?;
            }
            Err(reason) => {
                rejected += 1;
                // The line itself has the data.
                let reject = Reject::of(Some(&key), Some(number), "migrate-rejects", reason, b"null");
                writer.marker(&Marker::Reject(reject)).map_err(PipeError::writing)?;
            }
        }
    }
    let end = End { key, records: number, rejected, taken, ..End::default() };
    writer.marker(&Marker::File(FileEvent::End(end))).map_err(PipeError::writing)?;
    writer.flush().map_err(PipeError::writing)?;
    Ok(Exit::Done)
}
