//! What a bookmark says. How it is kept on disk is in `journal`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// The latest version of the format that this crate reads and writes.
pub const VERSION: u32 = 2;

/// The version that a bookmark begins with: it stays so until an entry needs a later one.
pub(crate) const FIRST_VERSION: u32 = 1;

/// What a bookmark is good for. Going on with anything else would leave rows out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Where the files are listed, say `s3://bucket/prefix/`.
    pub source: String,
    /// The id of the export, if there is one.
    pub export: Option<String>,
    /// `I/N` when only a share of the files is read.
    pub shard: Option<String>,
    /// The profile that makes the rows.
    pub profile: String,
    /// A hash of what the profile says about rows; nothing as long as it is not known.
    pub profile_hash: Option<String>,
    /// Options that change which rows there are.
    pub options: BTreeMap<String, serde_json::Value>,
}

impl Identity {
    /// What differs, as (name, here, there); the hash and the options only where both sides know them.
    pub fn differences(&self, other: &Self) -> Vec<(&'static str, String, String)> {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
        let options = |identity: &Self| serde_json::to_string(&identity.options).unwrap_or_default();
        let mut pairs = vec![
            ("source", self.source.clone(), other.source.clone()),
            ("export", text(&self.export), text(&other.export)),
            ("shard", text(&self.shard), text(&other.shard)),
            ("profile", self.profile.clone(), other.profile.clone()),
        ];
        if self.profile_hash.is_some() && other.profile_hash.is_some() {
            pairs.push(("version of the profile", text(&self.profile_hash), text(&other.profile_hash)));
            pairs.push(("options", options(self), options(other)));
        }
        pairs.retain(|(_, here, there)| here != there);
        pairs
    }
}

/// The first line: what the bookmark belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The version of the format that a reader must know; at most [`VERSION`].
    pub v: u32,
    /// A name for this run that no other run has, restarts included: rejects carry it.
    pub run: String,
    /// See [`Identity`].
    pub source: String,
    /// See [`Identity`].
    #[serde(default)]
    pub export: Option<String>,
    /// See [`Identity`].
    #[serde(default)]
    pub shard: Option<String>,
    /// See [`Identity`].
    pub profile: String,
    /// See [`Identity`].
    #[serde(default)]
    pub profile_hash: Option<String>,
    /// See [`Identity`].
    #[serde(default)]
    pub options: BTreeMap<String, serde_json::Value>,
    /// When the run was begun, in UTC.
    pub started: String,
}

impl Header {
    /// The header of a run that begins now.
    pub fn new(identity: &Identity) -> Self {
        let now = jiff::Timestamp::now();
        let nanos = now.subsec_nanosecond();
        let Identity { source, export, shard, profile, profile_hash, options } = identity.clone();
        Self {
            v: FIRST_VERSION,
            run: format!("{}-{nanos:08x}{:x}", now.strftime("%Y%m%dT%H%M%SZ"), std::process::id()),
            source,
            export,
            shard,
            profile,
            profile_hash,
            options,
            started: format!("{now:.3}"),
        }
    }

    /// What the bookmark belongs to.
    pub fn identity(&self) -> Identity {
        let Self { source, export, shard, profile, profile_hash, options, .. } = self.clone();
        Identity { source, export, shard, profile, profile_hash, options }
    }
}

/// A line after the first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Entry {
    /// Every row of the file is in the target.
    Done(FileCounts),
    /// Every row of the file's first records is in the target.
    Progress(FileCounts),
    /// The file is not complete; it has to be read again from its start.
    Fail(Failed),
    /// Rows that waited are settled: the counts of their files from now on. A file that is done stays done, one that was
    /// begun stays begun. All files stand in one line, so that a crash leaves all of the change or nothing.
    Settled(Vec<FileCounts>),
}

impl Entry {
    /// The version of the format that a reader must know to take this entry for what it says.
    pub(crate) fn version(&self) -> u32 {
        match self {
            Self::Done(file) | Self::Progress(file) if file.suppressed > 0 || file.waiting > 0 => 2,
            Self::Settled(_) => 2,
            Self::Done(_) | Self::Progress(_) | Self::Fail(_) => FIRST_VERSION,
        }
    }
}

/// How far a file is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FileCounts {
    /// The file's address.
    pub key: String,
    /// What identified its content when it was read: the progress is good for this content only.
    pub version: Option<String>,
    /// Records read, from the start of the file.
    pub records: u64,
    /// Rows written, each with the first of its records.
    pub written: u64,
    /// Records merged into a row that another record had begun.
    pub merged: u64,
    /// Records that the profile's filter left out.
    pub filtered: u64,
    /// Records in the rejects file.
    pub rejected: u64,
    /// Records of rows that the server took and that a trigger or rule of the table suppressed: they are not in the table.
    #[serde(skip_serializing_if = "is_zero")]
    pub suppressed: u64,
    /// Records of rows that are kept aside, because they refer to a row that the same run may load later.
    #[serde(skip_serializing_if = "is_zero")]
    pub waiting: u64,
    /// Records that a foreign program in the pipe left out (`--lossy`).
    pub dropped: u64,
    /// Of a profile with several tables, or of an incremental export, what became of the rows of each. The counts above are then of rows, but `records`
    /// and `filtered`; and `rejected`, which are records that are a row of none, and rows.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tables: BTreeMap<String, TableCounts>,
}

impl FileCounts {
    /// The counts without those of each table.
    pub fn counts(&self) -> Counts {
        let &Self { records, written, merged, filtered, rejected, suppressed, waiting, dropped, .. } = self;
        Counts { records, written, merged, filtered, rejected, suppressed, waiting, dropped }
    }
}

/// What became of the rows of one of several tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TableCounts {
    /// How many times a record was made (part of) a row.
    pub taken: u64,
    /// Rows written.
    pub written: u64,
    /// Merged into a row that was begun already.
    pub merged: u64,
    /// In the rejects file.
    pub rejected: u64,
    /// Suppressed by a trigger or rule of the table.
    #[serde(skip_serializing_if = "is_zero")]
    pub suppressed: u64,
    /// Kept aside until the end of the run.
    #[serde(skip_serializing_if = "is_zero")]
    pub waiting: u64,
    /// Rows that a record of an incremental export deleted, if they were there.
    #[serde(skip_serializing_if = "is_zero")]
    pub deleted: u64,
    /// Left out by a foreign program in the pipe (`--lossy`).
    pub dropped: u64,
}

impl TableCounts {
    /// Adds those of other files.
    pub fn add(&mut self, other: Self) {
        self.taken += other.taken;
        self.written += other.written;
        self.merged += other.merged;
        self.rejected += other.rejected;
        self.suppressed += other.suppressed;
        self.waiting += other.waiting;
        self.deleted += other.deleted;
        self.dropped += other.dropped;
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives the field as it is")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Why a file is not complete.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Failed {
    /// The file's address.
    pub key: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Sums over files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records read.
    pub records: u64,
    /// Rows written.
    pub written: u64,
    /// Records merged into another row.
    pub merged: u64,
    /// Records filtered out.
    pub filtered: u64,
    /// Records rejected.
    pub rejected: u64,
    /// Records of rows that a trigger or rule of the table suppressed.
    pub suppressed: u64,
    /// Records of rows that are kept aside until the end of the run.
    pub waiting: u64,
    /// Records dropped on purpose.
    pub dropped: u64,
}

impl Counts {
    /// Adds those of others.
    fn add(&mut self, other: &Self) {
        self.records += other.records;
        self.written += other.written;
        self.merged += other.merged;
        self.filtered += other.filtered;
        self.rejected += other.rejected;
        self.suppressed += other.suppressed;
        self.waiting += other.waiting;
        self.dropped += other.dropped;
    }
}

/// Everything that a bookmark says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// What it belongs to.
    pub header: Header,
    /// Files that are done, by address.
    pub done: BTreeMap<String, FileCounts>,
    /// Files that were begun, by address.
    pub progress: BTreeMap<String, FileCounts>,
    /// Files whose last word is `fail`.
    pub failed: BTreeSet<String>,
}

impl State {
    /// A bookmark with a header only.
    pub fn new(header: Header) -> Self {
        Self { header, done: BTreeMap::new(), progress: BTreeMap::new(), failed: BTreeSet::new() }
    }

    /// Whether nothing has been noted yet.
    pub fn is_fresh(&self) -> bool {
        self.done.is_empty() && self.progress.is_empty() && self.failed.is_empty()
    }

    /// Takes in the next line.
    pub fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::Done(file) => {
                self.forget(&file.key);
                self.done.insert(file.key.clone(), file);
            }
            Entry::Progress(file) => {
                self.forget(&file.key);
                self.progress.insert(file.key.clone(), file);
            }
            Entry::Fail(Failed { key, .. }) => {
                self.forget(&key);
                self.failed.insert(key);
            }
            Entry::Settled(files) => files.into_iter().for_each(|file| self.settle(file)),
        }
    }

    /// Drops what earlier lines say about a file.
    fn forget(&mut self, key: &str) {
        self.done.remove(key);
        self.progress.remove(key);
        self.failed.remove(key);
    }

    /// Replaces the counts of a file. One that has failed is read again from its start, so it has none.
    fn settle(&mut self, file: FileCounts) {
        if let Some(known) = self.done.get_mut(&file.key).or_else(|| self.progress.get_mut(&file.key)) {
            *known = file;
        }
    }

    /// The counts of a file that is done or begun.
    pub fn file(&self, key: &str) -> Option<&FileCounts> {
        self.done.get(key).or_else(|| self.progress.get(key))
    }

    /// How many records of a file need not be read again, if its content is still the same.
    pub fn skip(&self, key: &str, version: Option<&str>) -> u64 {
        let progress = self.progress.get(key).filter(|file| file.version.as_deref() == version);
        progress.map_or(0, |file| file.records)
    }

    /// The sums over all files, done and begun.
    pub fn totals(&self) -> Counts {
        let mut sum = Counts::default();
        for file in self.done.values().chain(self.progress.values()) {
            sum.add(&file.counts());
        }
        sum
    }

    /// The sums of each of several tables over all files.
    pub fn tables(&self) -> BTreeMap<String, TableCounts> {
        let mut sums = BTreeMap::new();
        for (name, counts) in self.done.values().chain(self.progress.values()).flat_map(|file| &file.tables) {
            sums.entry(name.clone()).or_insert_with(TableCounts::default).add(*counts);
        }
        sums
    }
}
