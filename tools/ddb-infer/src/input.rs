//! The items on stdin, each as a line of its own, and what is said of lines that are none.

use std::fmt;
use std::io::Read;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bumpalo::Bump;
use fault::{Failure, PipeError};
use item::{Decoder, Encoding, Item, Record, Text, Value};
use stream::{Classifier, FileEvent, Line, Marker, Reader};
use tracing::warn;

use crate::NUL_BECOMES;

/// So many lines are named that are left out; then they are only counted.
pub(crate) const TOLD: u64 = 5;

/// Where an item came from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    file: Option<Arc<str>>,
    record: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "`{file}`, line {}", self.record),
            None => write!(f, "line {}", self.record),
        }
    }
}

/// Reads the items.
pub(crate) struct Input<R> {
    reader: Reader<R>,
    classifier: Classifier,
    decoder: Decoder,
    memory: Bump,
    encoding: Encoding,
    left: u64,
    /// Of the last line.
    place: Place,
    left_out: u64,
    nul: bool,
}

/// An item.
pub(crate) struct Found {
    pub(crate) line: Vec<u8>,
    /// The attributes of the primary key, which records of incremental exports name.
    pub(crate) key: Option<Vec<String>>,
    pub(crate) place: Place,
}

impl<R: Read> Input<R> {
    /// Reads no more items than `sample`.
    pub(crate) fn new(input: R, encoding: Encoding, sample: Option<u64>) -> Self {
        Self {
            reader: Reader::new(input),
            classifier: Classifier::default(),
            decoder: Decoder::default(),
            memory: Bump::new(),
            encoding,
            left: sample.unwrap_or(u64::MAX),
            place: Place::default(),
            left_out: 0,
            nul: false,
        }
    }

    /// Lines that are no items, or items that no profile can load.
    pub(crate) fn left_out(&self) -> u64 {
        self.left_out
    }

    /// The length of a last line that has no end.
    pub(crate) fn torn(&self) -> usize {
        self.reader.torn()
    }

    /// Whether some text or name held U+0000.
    pub(crate) fn met_nul(&self) -> bool {
        self.nul
    }

    /// The next item, as the profile will see it; of a record of an incremental export the item as it is now, if it is still
    /// there.
    pub(crate) fn next(&mut self) -> Result<Option<Found>, Failure> {
        while self.left > 0 {
            let Some(line) = self.reader.next_line().map_err(PipeError::reading)? else { return Ok(None) };
            let line = match self.classifier.classify(line) {
                Line::Data(line) => line,
                Line::Marker(marker) => {
                    self.marker(*marker);
                    continue;
                }
                Line::Deletion(_) | Line::Unknown(_) => {
                    self.place.record += 1;
                    self.leave_out("neither a record nor a marker that this version knows");
                    continue;
                }
            };
            self.place.record += 1;
            self.memory.reset();
            let found = match self.decoder.decode_record(line, self.encoding, &self.memory) {
                Ok(Record::Item(item)) => found(&item, None),
                Ok(Record::Change(change)) => {
                    let names = change.keys.attributes().iter().map(|(name, _)| name.get());
                    let key = names.map(|name| name.replace('\0', NUL_BECOMES)).collect();
                    let Some(item) = change.new.or(change.old) else { continue };
                    found(&item, Some(key))
                }
                Err(error) => Err(error.to_string()),
            };
            match found {
                Ok((found, nul)) => {
                    self.nul |= nul;
                    self.left -= 1;
                    return Ok(Some(Found { place: self.place.clone(), ..found }));
                }
                Err(reason) => self.leave_out(&reason),
            }
        }
        Ok(None)
    }

    fn marker(&mut self, marker: Marker) {
        match marker {
            Marker::File(FileEvent::Begin(begin)) => {
                self.place = Place { file: Some(begin.key.into()), record: begin.skip };
            }
            Marker::Reject(reject) => {
                self.place.record += 1;
                self.leave_out(&reject.reason);
            }
            // ddb-cat has said itself what is wrong with a file.
            _ => {}
        }
    }

    fn leave_out(&mut self, reason: &str) {
        self.left_out += 1;
        if self.left_out <= TOLD {
            warn!("left out: {}: {reason}", self.place);
        }
    }
}

/// The item as a line of plain or of DynamoDB JSON, and whether it held U+0000; or why it is none.
fn found(item: &Item<'_>, key: Option<Vec<String>>) -> Result<(Found, bool), String> {
    if let Some((name, _)) = item.attributes().iter().find(|(_, value)| has_malformed_binary(value)) {
        return Err(format!("attribute `{}` holds binary that is not base64", name.get()));
    }
    let line = item.line_without_nul(NUL_BECOMES).into_bytes();
    let nul = item.has_nul();
    if nul {
        // Without U+0000 two of its names may be the same.
        item::decode(&line, item.encoding(), &Bump::new()).map_err(|error| error.to_string())?;
    }
    Ok((Found { line, key, place: Place::default() }, nul))
}

/// Whether a value holds binary that no `bytea` can be made of. Maps become jsonb, which takes any text; but elements of
/// lists that are maps become rows of their own.
fn has_malformed_binary(value: &Value<'_>) -> bool {
    match value {
        Value::B(binary) => is_malformed(*binary),
        Value::Bs(binaries) => binaries.iter().copied().any(is_malformed),
        Value::L(values) => values.iter().any(|element| match element {
            Value::M(entries) => entries.iter().any(|(_, value)| match value {
                Value::B(binary) => is_malformed(*binary),
                Value::Bs(binaries) => binaries.iter().copied().any(is_malformed),
                _ => false,
            }),
            _ => false,
        }),
        _ => false,
    }
}

fn is_malformed(base64: Text<'_>) -> bool {
    STANDARD.decode(&*base64.get()).is_err()
}
