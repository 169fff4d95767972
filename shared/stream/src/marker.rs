//! The markers and what they hold. How a line is told to be one is in `line`, how lines are read and written in
//! `reader` and `writer`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The version of the markers that this crate writes. A change that an older reader must not ignore raises it.
pub const MARKER_VERSION: u32 = 1;

/// What to do about a stream of a later version.
pub const SAME_VERSION: &str = "let all programs be of one version: each says its own with --version";

/// A line that is not data. A deletion is one, too; it is a [`crate::Deletion`], because it is read like a row.
#[derive(Clone, Debug, Serialize)]
pub enum Marker {
    /// What the following files belong to; the first line of a list.
    #[serde(rename = "$source")]
    Source(Source),
    /// Where a data file begins, how far it is, how it ended.
    #[serde(rename = "$file")]
    File(FileEvent),
    /// What the following rows are. Its content is `profile::Schema`.
    #[serde(rename = "$schema")]
    Schema(Box<RawValue>),
    /// The table that the following rows are of, where there are several: each has had its own `$schema`.
    #[serde(rename = "$table")]
    Table(String),
    /// One record that cannot go on.
    #[serde(rename = "$reject")]
    Reject(Reject),
    /// The source was asked to stop: nothing more follows.
    #[serde(rename = "$stop")]
    Stop(Stop),
}

/// The list of data files as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// [`MARKER_VERSION`] of the writer.
    pub v: u32,
    /// Where the list was made from, say `s3://bucket/prefix/` or a folder.
    pub source: String,
    /// The id of the export, if there is one.
    pub export: Option<String>,
    /// The name of the exported table, if it is known.
    pub table: Option<String>,
    /// Of a full export: the instant whose state it is, ISO 8601.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// Of an incremental export: when what it holds was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period: Option<Period>,
    /// Of an incremental export: `NEW_AND_OLD_IMAGES` or `NEW_IMAGES`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub view: Option<String>,
    /// Of an incremental export: every row that one of its items had before was written by then, microseconds since 1970;
    /// if it is known what was applied before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows_until: Option<i64>,
    /// `I/N` when only a share of the files is listed.
    pub shard: Option<String>,
    /// How many files there are, those that are done included.
    #[serde(default)]
    pub files: u64,
    /// How many items they hold, if every count is known.
    pub items: Option<u64>,
    /// How many bytes they hold, compressed, if every size is known.
    pub bytes: Option<u64>,
    /// What the bookmark says is done already and is therefore not in the list.
    #[serde(default)]
    pub done: SourceDone,
}

/// A period of time, ISO 8601.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Period {
    /// Its beginning, which belongs to it.
    pub from: String,
    /// Its end, which does not.
    pub to: String,
}

/// The part of a [`Source`] that was left out because it is done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SourceDone {
    /// Files that are done.
    pub files: u64,
    /// Items of the files that are done, as far as they are known, and of the part of a file that was begun.
    pub items: u64,
    /// Compressed bytes of the files that are done, as far as they are known.
    pub bytes: u64,
}

/// What is said about one data file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum FileEvent {
    /// Records of this file follow.
    Begin(Begin),
    /// All rows that come from the first records of the file stand before this line.
    Mark(Mark),
    /// The whole file was read; its checksum and item count hold.
    End(End),
    /// The file is not complete and must not be marked done; the next may follow.
    Fail(Fail),
}

/// `begin`: records of this file follow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begin {
    /// [`MARKER_VERSION`] of the writer.
    pub v: u32,
    /// The address of the file, as `ddb-cat` opens it.
    pub key: String,
    /// Its place in the whole list, from 1.
    pub number: Option<u64>,
    /// `dynamodb-json` or `json`.
    #[serde(default)]
    pub encoding: String,
    /// Compressed size, from the manifest.
    pub bytes: Option<u64>,
    /// Number of items, from the manifest.
    pub items: Option<u64>,
    /// The first so many records are left out: an earlier run has written them.
    #[serde(default)]
    pub skip: u64,
    /// What identifies the content: `md5:` or `etag:` and a value.
    pub version: Option<String>,
    /// Of records of an incremental export that come without its [`Source`]: its view.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub view: Option<String>,
}

/// `mark`: the rows of the first `records` records stand before this line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The address of the file.
    pub key: String,
    /// Records from the start of the file, skipped ones included.
    pub records: u64,
    /// Records that the profile's filter left out, since `begin`.
    #[serde(default)]
    pub filtered: u64,
    /// Records that became a [`Reject`], since `begin`.
    #[serde(default)]
    pub rejected: u64,
    /// Where a record may be a row of several tables, or several rows of one: how many times one was made (part of) a row
    /// of each table, since `begin`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub taken: BTreeMap<String, u64>,
}

/// `end`: the whole file was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// The address of the file.
    pub key: String,
    /// Records from the start of the file, skipped ones included.
    pub records: u64,
    /// Records that the profile's filter left out, since `begin`.
    #[serde(default)]
    pub filtered: u64,
    /// Records that were merged into another row before they were written to the stream, since `begin`.
    #[serde(default)]
    pub merged: u64,
    /// Rows written to the stream, since `begin`.
    #[serde(default)]
    pub rows: u64,
    /// Records that became a [`Reject`], since `begin`.
    #[serde(default)]
    pub rejected: u64,
    /// See [`Mark::taken`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub taken: BTreeMap<String, u64>,
    /// The file was cut on purpose (`--limit`): it is not done as a whole.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub limited: bool,
}

/// `fail`: the file is not complete.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fail {
    /// The address of the file.
    pub key: String,
    /// What is wrong, where.
    pub reason: String,
}

/// One record that cannot go on. The target program keeps it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reject {
    /// The address of the file, if the record came from one.
    #[serde(default)]
    pub key: Option<String>,
    /// The record's number in its file, from 1.
    #[serde(default)]
    pub record: Option<u64>,
    /// The program that refused it.
    pub stage: String,
    /// Why.
    pub reason: String,
    /// The line as it came, or a JSON string of it when it is no JSON, or JSON that is too long or too deep for others.
    pub data: Box<RawValue>,
}

/// The longest data of a reject: a line that holds it stays far below what [`crate::Reader`] takes.
const LONGEST_DATA: usize = 16 << 20;

/// What one byte may become in a JSON string: `\u0000`.
const LONGEST_CHARACTER: usize = 6;

/// How much is kept of a line that is longer: its beginning tells where it came from.
const KEPT: usize = 1 << 20;

/// JSON nested deeper than this is kept as a string: `jq` and others stop at some depth, and then show nothing at all.
const DEEPEST_DATA: usize = 128;

impl Marker {
    /// Why what follows cannot be read, if a later version of the programs wrote it: then it may mean something else.
    pub fn is_newer(&self) -> Option<String> {
        let version = match self {
            Self::Source(source) => source.v,
            Self::File(FileEvent::Begin(begin)) => begin.v,
            _ => MARKER_VERSION,
        };
        let newer = version > MARKER_VERSION;
        newer.then(|| format!("the stream is of version {version}, and this program knows version {MARKER_VERSION}"))
    }
}

impl Reject {
    /// A reject of `line`, which may be anything.
    pub fn of(key: Option<&str>, record: Option<u64>, stage: &str, mut reason: String, line: &[u8]) -> Self {
        // A raw value has to be JSON on one line; what is not travels as a string.
        let text = std::str::from_utf8(line).ok().filter(|text| text.len() <= LONGEST_DATA);
        let verbatim = text
            .and_then(|text| serde_json::from_str::<Box<RawValue>>(text).ok())
            .filter(|json| depth(json.get()) <= DEEPEST_DATA);
        let string = |line: &[u8]| serde_json::value::to_raw_value(&String::from_utf8_lossy(line)).unwrap_or_default();
        let data = verbatim.unwrap_or_else(|| {
            if line.len() <= LONGEST_DATA / LONGEST_CHARACTER {
                return string(line);
            }
            reason = format!("{reason}; of the line's {} bytes the first {KEPT} are kept", line.len());
            string(&line[..KEPT])
        });
        Self { key: key.map(str::to_owned), record, stage: stage.to_owned(), reason, data }
    }
}

/// How deep objects and arrays are nested in a text that is JSON.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut bytes = json.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            // A string: its brackets are text.
            b'"' => loop {
                match bytes.next() {
                    Some(b'\\') => _ = bytes.next(),
                    Some(b'"') | None => break,
                    Some(_) => {}
                }
            },
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// The source was asked to stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// The signal that asked.
    pub signal: i32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reject_keeps_a_line_that_is_no_json_as_a_string() {
        let reject = Reject::of(Some("x"), Some(7), "ddb-parse", "not JSON".into(), b"{oops \xff");
        assert_eq!(reject.data.get(), "\"{oops \u{fffd}\"");
        let reject = Reject::of(None, None, "ddb-parse", "no item".into(), br#"{"a":1.50}"#);
        assert_eq!(reject.data.get(), r#"{"a":1.50}"#);
    }

    #[test]
    fn no_reject_is_longer_than_a_line_can_be_or_deeper_than_others_can_read() {
        let of = |line: &[u8]| Reject::of(None, None, "ddb-parse", "bad".into(), line);
        let text = |reject: &Reject| serde_json::from_str::<String>(reject.data.get()).unwrap();

        let garbage = vec![1; 20 << 20];
        let reject = of(&garbage);
        assert_eq!(reject.reason, "bad; of the line's 20971520 bytes the first 1048576 are kept");
        assert_eq!(text(&reject), "\u{1}".repeat(1 << 20));
        let json = format!("[\"{}\"]", "x".repeat(17 << 20));
        assert_eq!(text(&of(json.as_bytes())), json[..1 << 20]);
        let json = format!("[\"{}\"]", "x".repeat(15 << 20));
        assert_eq!(of(json.as_bytes()).data.get(), json);

        let nested = |levels: usize| format!("{}\"[[[\\\"[\"{}", "[".repeat(levels), "]".repeat(levels));
        assert_eq!(of(nested(128).as_bytes()).data.get(), nested(128));
        assert_eq!(text(&of(nested(129).as_bytes())), nested(129));
        assert_eq!(text(&of(nested(100_000).as_bytes())), nested(100_000));
    }
}
