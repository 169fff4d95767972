//! A line of the rejects file: what could not be written, where it came from, and why. `pg-upsert` writes them, and
//! `migrate-rejects` sends them through again.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// One line of the file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RejectLine {
    /// The address of the file that the record came from.
    #[serde(default)]
    pub key: Option<String>,
    /// The first record's number in that file.
    #[serde(default)]
    pub record: Option<u64>,
    /// Every record's number.
    #[serde(default)]
    pub records: Vec<u64>,
    /// The program that refused it first. The data of a target are rows, those of any other program records.
    pub stage: String,
    /// The view of the incremental export that the record is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view: Option<String>,
    /// The table that the row was for, if the profile has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// PostgreSQL's error code, if that refused it.
    #[serde(default)]
    pub sqlstate: Option<String>,
    /// Why.
    pub reason: String,
    /// The row or the record.
    pub data: Box<RawValue>,
    /// When.
    #[serde(default)]
    pub time: String,
    /// The run, as the bookmark names it.
    #[serde(default)]
    pub run: Option<String>,
}
