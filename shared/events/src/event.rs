//! The events, and the line that each of them is.
//!
//! Names of events and fields are those of the predecessor's metrics hook where it had them. All counts are of the whole
//! run: what earlier processes of it did is in them.

use serde::{Deserialize, Serialize};

/// Reasons and causes are cut to so many bytes, so that a line stays below what a pipe takes at once (`PIPE_BUF`).
const LONGEST_TEXT: usize = 1000;

/// A line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
    /// When, in UTC.
    pub time: String,
    /// The profile, or the program where there is none.
    pub profile_name: String,
    /// Who says it.
    pub program: String,
}

impl Line {
    /// An event that happens now.
    pub fn now(event: Event, profile: &str, program: &str) -> Self {
        let time = format!("{:.3}", jiff::Timestamp::now());
        Self { event, time, profile_name: profile.to_owned(), program: program.to_owned() }
    }

    /// What a line says; nothing if it is no event that this version knows.
    pub fn parse(line: &[u8]) -> Option<Self> {
        // Most lines that are none begin otherwise.
        if !line.starts_with(b"{\"event\":") {
            return None;
        }
        // By way of a value: numbers that are held back for a flattened field are not numbers any more.
        let value: serde_json::Value = serde_json::from_slice(line).ok()?;
        serde_json::from_value(value).ok()
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A run begins, or goes on.
    Start(Start),
    /// The records of a file come.
    FileStart(FileStart),
    /// A file is done, and its rows are durable; or it failed.
    FileComplete(FileComplete),
    /// How far the run is; about once a second.
    Progress(Progress),
    /// A record, or a row of several, was rejected.
    Reject(Reject),
    /// A service failed, and is tried again.
    Retry(Retry),
    /// The run has ended.
    Complete(Complete),
}

/// `start`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Start {
    /// Files in all, those that are done included.
    pub file_count: u64,
    /// Items that they hold, if that is known.
    pub item_count: Option<u64>,
    /// Compressed bytes that they hold, if that is known.
    pub byte_count: Option<u64>,
    /// Rows in a transaction at most.
    pub batch_size: u64,
    /// Whether an earlier process has begun the run.
    pub resuming: bool,
    /// Where the files are.
    pub source: String,
    /// The id of the export, if there is one.
    pub export: Option<String>,
    /// Files that are done already.
    pub files_processed: u64,
    /// Items that are done already.
    pub items_processed: u64,
    /// Compressed bytes that are done already.
    pub bytes_processed: u64,
}

/// `file_start`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FileStart {
    /// The file's address.
    pub file_name: String,
    /// Its items, if that is known.
    pub item_count: Option<u64>,
    /// Its compressed bytes, if that is known.
    pub byte_count: Option<u64>,
    /// Items of it that are done already.
    pub items_processed: u64,
}

/// What became of records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Counts {
    /// Records of which it is known what became of them: the sum of the others, where each record is a row of one table at
    /// most.
    pub scanned: u64,
    /// Rows written, each with the first of its records.
    pub inserted: u64,
    /// Records merged into a row that another one had begun.
    pub merged: u64,
    /// Records left out: by the profile's filter, or by a foreign program in the pipe.
    pub skipped: u64,
    /// Records in the rejects file.
    pub errors: u64,
    /// Records of rows that a trigger or rule of the table suppressed: they are not in the table.
    pub suppressed: u64,
    /// Records of rows that are kept aside, because they refer to a row that the same run may load later. At the end of
    /// the run it is zero: the other counts have them.
    pub waiting: u64,
}

/// `file_complete`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FileComplete {
    /// The file's address.
    pub file_name: String,
    /// What became of its records.
    #[serde(flatten)]
    pub counts: Counts,
    /// Why it is not done, if it failed; the counts are zero then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// What the target program does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It waits for rows.
    #[default]
    Reading,
    /// It waits for the target, say for a transaction to end.
    Writing,
    /// All rows are written: what the profile wants on completion is done.
    Completing,
}

/// `progress`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Progress {
    /// Files that are done.
    pub files_processed: u64,
    /// Files in all.
    pub files_total: u64,
    /// Items in all, if that is known.
    pub items_total: Option<u64>,
    /// Compressed bytes of the files that are done.
    pub bytes_processed: u64,
    /// Compressed bytes in all, if that is known.
    pub bytes_total: Option<u64>,
    /// What became of the records that are durable.
    #[serde(flatten)]
    pub counts: Counts,
    /// Records that were read besides, and are not durable yet.
    pub pending: u64,
    /// What the target program does.
    pub phase: Phase,
}

/// `reject`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Reject {
    /// The file that the record came from.
    pub file_name: Option<String>,
    /// Its number in that file, from 1.
    pub record: Option<u64>,
    /// The program that refused it.
    pub stage: String,
    /// PostgreSQL's error code, if that refused it.
    pub sqlstate: Option<String>,
    /// Why.
    pub reason: String,
}

/// `retry`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Retry {
    /// What failed, say `S3`.
    pub service: String,
    /// How.
    pub cause: String,
    /// The wait before the next attempt.
    pub wait_ms: u64,
    /// The number of the next attempt, from 2.
    pub attempt: u64,
    /// Attempts that are made at most.
    pub attempts: u64,
}

/// `complete`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Complete {
    /// Whether everything is in the target but what was rejected.
    pub completed: bool,
    /// Since this process of the run began.
    pub elapsed_ms: u64,
    /// Files that are done.
    pub files_processed: u64,
    /// Files in all.
    pub files_total: u64,
    /// What became of the records.
    #[serde(flatten)]
    pub counts: Counts,
    /// How it ended, in a sentence.
    pub message: String,
    /// Whether that is an error.
    pub failed: bool,
}

/// A text that is short enough for an event.
pub fn shortened(text: &str) -> String {
    let end = text.floor_char_boundary(LONGEST_TEXT);
    if end < text.len() { format!("{}...", &text[..end]) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_flat_and_is_read_as_it_was_written() {
        let counts = Counts { scanned: 15, inserted: 4, merged: 3, skipped: 2, errors: 1, suppressed: 2, waiting: 3 };
        let progress =
            Progress { files_processed: 1, files_total: 2, items_total: Some(20), counts, ..Progress::default() };
        let line = Line {
            event: Event::Progress(progress),
            time: "2024-01-15T10:30:00.000Z".to_owned(),
            profile_name: "pictures".to_owned(),
            program: "pg-upsert".to_owned(),
        };
        let text = concat!(
            r#"{"event":"progress","filesProcessed":1,"filesTotal":2,"itemsTotal":20,"bytesProcessed":0,"#,
            r#""bytesTotal":null,"scanned":15,"inserted":4,"merged":3,"skipped":2,"errors":1,"#,
            r#""suppressed":2,"waiting":3,"pending":0,"phase":"reading","time":"2024-01-15T10:30:00.000Z","profileName":"pictures","program":"pg-upsert"}"#
        );
        assert_eq!(serde_json::to_string(&line).unwrap(), text);
        assert_eq!(Line::parse(text.as_bytes()), Some(line));
    }

    #[test]
    fn what_a_foreign_program_leaves_out_is_nothing() {
        let text = r#"{"event":"file_complete","time":"","profileName":"p","program":"x","fileName":"a","scanned":3}"#;
        let complete = FileComplete {
            file_name: "a".to_owned(),
            counts: Counts { scanned: 3, ..Counts::default() },
            failed: None,
        };
        assert_eq!(Line::parse(text.as_bytes()).unwrap().event, Event::FileComplete(complete));
        for none in [
            "2024-01-15T10:30:00.000Z INFO [pictures] Processing file",
            r#"{"event":"dance"}"#,
            r#"{"event":"#,
            r#"{"level":"INFO"}"#,
        ] {
            assert_eq!(Line::parse(none.as_bytes()), None, "{none}");
        }
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(shortened("short"), "short");
        let long = shortened(&"é".repeat(2000));
        assert_eq!(long.len(), 1003);
        assert!(long.ends_with("é..."));
    }
}
