//! The bookmark: which files are done and how far the next one is, so that a run that was cut off goes on where it was.
//!
//! # File format
//!
//! `migrate-<profile>.bookmark.json` is an append-only journal, one JSON object a line. Line 1, the [`Header`], says
//! what the bookmark belongs to; each further line is an [`Entry`]:
//!
//! ```text
//! {"v":1,"run":"20260102T030405Z-1f","source":"s3://bucket/exports/","export":"01700000000000-abcdef12",...}
//! {"progress":{"key":"data/x.json.gz","version":"md5:q4...","records":5000,"written":1200,"merged":3800,...}}
//! {"done":{"key":"data/x.json.gz","version":"md5:q4...","records":9000,"written":2100,"merged":6899,"rejected":1,...}}
//! {"fail":{"key":"data/y.json.gz","reason":"..."}}
//! ```
//!
//! The counts of a file are its totals over all runs. The last line about a file is the one that holds: `fail` takes
//! back the progress before it.
//!
//! Two further lines stand only in the bookmark of a run whose table needs them:
//!
//! ```text
//! {"v":2}
//! {"settled":[{"key":"data/x.json.gz","records":9000,"written":2101,...},...]}
//! ```
//!
//! `v` raises the version from here on. `settled` says what became of rows that waited for others (`waiting`): it has
//! the final counts of each of their files, so reading it twice changes nothing.
//!
//! # Durability
//!
//! What is appended is one write and one `fdatasync`; both are over when [`Bookmark::append`] returns. A new journal's
//! header and its folder's entry are on disk before [`Journal::open`] returns. One process at a time holds the journal,
//! by a lock that the system drops when the process dies in whatever way. [`read`] takes no lock.
//!
//! # What a crash leaves
//!
//! A process may die inside an append. Then the last line has no newline: it was never acknowledged, so it is ignored,
//! and opening the journal cuts it off. A line that is whole and unreadable is no accident of dying: opening refuses.
//!
//! # Compatibility
//!
//! A reader ignores fields that it does not know. A change that an older reader must not ignore raises `v`: in the
//! header, or in a line of its own before the first entry that needs it. An older reader refuses the bookmark there.
//!
//! Version 2 has the counts `suppressed` and `waiting` and the line `settled`. A program of version 1 would forget the
//! rows that wait and end with exit code 0 although rows were suppressed. A bookmark without such counts stays one of
//! version 1, which old and new programs read and write.

mod error;
mod journal;
mod state;

use std::path::{Path, PathBuf};

pub use error::Error;
pub use journal::{Journal, belongs, read};
pub use state::{Counts, Entry, Failed, FileCounts, Header, Identity, State, TableCounts, VERSION};

/// Where the bookmark of a profile lies.
pub fn path(log_dir: &Path, profile: &str) -> PathBuf {
    log_dir.join(format!("migrate-{profile}.bookmark.json"))
}

/// A place that keeps entries. The [`Journal`] is the first; a table in the target database could be another.
pub trait Bookmark {
    /// Notes entries, all or a first part of them. When this returns, they outlive a crash of the machine.
    ///
    /// # Errors
    /// Nothing may be taken as noted then.
    fn append(&mut self, entries: &[Entry]) -> Result<(), Error>;

    /// Forgets everything: the work is finished.
    ///
    /// # Errors
    /// The bookmark is still there then.
    fn delete(self) -> Result<(), Error>;
}
