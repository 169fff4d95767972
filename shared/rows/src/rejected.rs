//! What is said of records that have no place in the table. Where that is kept is the program's matter.

use serde_json::value::RawValue;
use stream::Reject;

/// A record, or a row that was made of several, that was refused.
#[derive(Clone, Debug)]
pub struct Rejected {
    /// The address of the file that the record came from.
    pub key: Option<String>,
    /// The first record's number in that file.
    pub record: Option<u64>,
    /// Every record's number.
    pub records: Vec<u64>,
    /// The program that refused it; nothing if that is this one.
    pub stage: Option<String>,
    /// PostgreSQL's error code, if that refused it.
    pub sqlstate: Option<String>,
    /// Why.
    pub reason: String,
    /// The row or the record.
    pub data: Box<RawValue>,
    /// How many records this stands for.
    pub weight: u64,
    /// The place of the table that it was to be a row of.
    pub table: usize,
}

impl Rejected {
    /// What another program refused.
    pub fn upstream(reject: Reject) -> Self {
        let Reject { key, record, stage, reason, data } = reject;
        let records = record.into_iter().collect();
        Self { key, record, records, stage: Some(stage), sqlstate: None, reason, data, weight: 1, table: 0 }
    }

    /// A line or a row that this program refuses.
    pub fn own(key: Option<&str>, records: Vec<u64>, reason: String, line: &[u8]) -> Self {
        let Reject { reason, data, .. } = Reject::of(key, None, "", reason, line);
        let (record, weight) = (records.first().copied(), (records.len() as u64).max(1));
        Self {
            key: key.map(str::to_owned),
            record,
            records,
            stage: None,
            sqlstate: None,
            reason,
            data,
            weight,
            table: 0,
        }
    }

    /// Whether it was refused before it came here.
    pub fn is_upstream(&self) -> bool {
        self.stage.is_some()
    }

    /// About how much memory it takes.
    pub fn size(&self) -> usize {
        self.data.get().len() + self.reason.len() + 8 * self.records.len()
    }
}
