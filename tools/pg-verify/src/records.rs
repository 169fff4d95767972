//! Which records a row was made of, as it is written of a row that waits and of a finding.

use std::sync::Arc;

use rows::entries::{Entry, Origin};
use serde::{Deserialize, Serialize};

/// Records of a data file.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileRecords {
    pub(crate) file: Option<String>,
    /// Their numbers, in order.
    pub(crate) records: Vec<u64>,
}

/// The records of a row by file, in the order in which the files came. `files` says which file a segment is of.
pub(crate) fn of_row(entry: &Entry, files: &[Option<Arc<str>>]) -> Vec<FileRecords> {
    let mut all = Vec::new();
    for Origin { segment, records, .. } in entry.origins() {
        add(&mut all, files[*segment].as_deref(), records);
    }
    all
}

/// Adds records to those of their file, each once.
pub(crate) fn add(all: &mut Vec<FileRecords>, file: Option<&str>, records: &[u64]) {
    let place = all.iter().position(|known| known.file.as_deref() == file).unwrap_or_else(|| {
        all.push(FileRecords { file: file.map(str::to_owned), records: Vec::new() });
        all.len() - 1
    });
    let known = &mut all[place].records;
    known.extend(records);
    known.sort_unstable();
    known.dedup();
}
