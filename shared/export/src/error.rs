//! What can be wrong with an export or one of its files, for the person who has to mend it.
//!
//! Wording: what failed, on which file, with the number that helps to find the place. A lower-level cause is the
//! `source`, never repeated in the text. The remedy is the hint.

use std::error::Error as StdError;
use std::io;

use fault::{Classify, Fault, FileError};
use jiff::Timestamp;

/// The result of an action on an export.
pub type Result<T> = std::result::Result<T, Error>;

/// An error about an export or a data file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The place is not one.
    #[error("`{0}` is not a place for an export: s3://BUCKET/PREFIX or a folder is")]
    Location(String),
    /// There is nothing to read.
    #[error("there is no export and no `*.json.gz` or `*.ion.gz` file under `{0}`")]
    Nothing(String),
    /// More than one export, and nobody said which.
    #[error("there is more than one export under `{place}`: {}", exports.join("; "))]
    Several {
        /// Where was looked.
        place: String,
        /// Id, table and time of each.
        exports: Vec<String>,
    },
    /// The export that was asked for is not there.
    #[error("there is no export `{id}` under `{place}`: there {}", exports.join("; "))]
    NoSuchExport {
        /// The id that was asked for.
        id: String,
        /// Where was looked.
        place: String,
        /// `is ...` for each that is there.
        exports: Vec<String>,
    },
    /// The export has begun and has no summary yet.
    #[error("the export `{0}` has not ended, or has failed: it has no `manifest-summary.json`")]
    Unfinished(String),
    /// A summary does not say what it has to.
    #[error("the summary of the export `{id}` {message}")]
    Summary {
        /// The export.
        id: String,
        /// What is wrong with it.
        message: String,
    },
    /// Between two exports nobody knows what was written.
    #[error(
        "there is a hole of {length}: the export `{before}` reaches to {until}, and the next one, `{after}`, begins at {from}"
    )]
    Hole {
        /// The export before it.
        before: String,
        /// Up to where that says everything.
        until: Timestamp,
        /// The export after it.
        after: String,
        /// From where that says everything.
        from: Timestamp,
        /// How long it is.
        length: String,
    },
    /// There are increments, and no full export that they could join.
    #[error("there is no full export of {table} under `{place}` that has ended, only increments")]
    NoFull {
        /// The table.
        table: String,
        /// Where was looked.
        place: String,
    },
    /// Increments join a full export only.
    #[error("the export `{0}` is not a full export, which has to come before increments")]
    NotFull(String),
    /// Exports of more than one table, and nobody said which.
    #[error("there are exports of more than one table under `{place}`: {}", tables.join("; "))]
    Tables {
        /// Where was looked.
        place: String,
        /// Name and id of each.
        tables: Vec<String>,
    },
    /// What was applied before is of another table.
    #[error(
        "what is applied already is of another table: the export `{applied}` is not of {table}, as those under `{place}` are"
    )]
    OtherTable {
        /// The export that was applied last.
        applied: String,
        /// The table that was found.
        table: String,
        /// Where was looked.
        place: String,
    },
    /// The export is of a kind that is not read.
    #[error("the export `{id}` is {kind}, which is not supported")]
    Unsupported {
        /// Its id.
        id: String,
        /// What it is.
        kind: String,
    },
    /// A manifest is not what it should be.
    #[error("`{key}`, line {line}: not a manifest")]
    Manifest {
        /// The manifest.
        key: String,
        /// The line, from 1.
        line: usize,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// A manifest names a file that is not there.
    #[error("the manifest of export `{id}` names `{key}`, which is not there")]
    MissingFile {
        /// The export.
        id: String,
        /// The file.
        key: String,
    },
    /// A local file or folder.
    #[error(transparent)]
    File(#[from] FileError),
    /// Reading a local file failed in the middle.
    #[error("cannot read `{key}` at byte {at}")]
    Read {
        /// The file.
        key: String,
        /// Byte in the file, compressed.
        at: u64,
        /// What the system says.
        source: io::Error,
    },
    /// The compressed bytes are damaged, end too early or go on too long.
    #[error("`{key}` is damaged at byte {at}, after {records} records: {reason}")]
    Damaged {
        /// The file.
        key: String,
        /// Byte in the file, compressed.
        at: u64,
        /// Whole records before the damage.
        records: u64,
        /// What is wrong.
        reason: String,
    },
    /// The bytes are not those that the manifest describes.
    #[error("`{key}` has the MD5 {found}, but the manifest says {expected} ({bytes} bytes, {records} records)")]
    Md5 {
        /// The file.
        key: String,
        /// Of the bytes, base64.
        found: String,
        /// Of the manifest, base64.
        expected: String,
        /// Compressed size.
        bytes: u64,
        /// Records read.
        records: u64,
    },
    /// The file holds another number of items than the manifest says.
    #[error("`{key}` holds {found} items, but the manifest says {expected} ({bytes} bytes)")]
    ItemCount {
        /// The file.
        key: String,
        /// Items read.
        found: u64,
        /// Items named by the manifest.
        expected: u64,
        /// Compressed size.
        bytes: u64,
    },
    /// The object is not the one that was listed.
    #[error("`{key}` was replaced while it was read (at byte {at})")]
    Replaced {
        /// The object.
        key: String,
        /// Byte in the object, compressed.
        at: u64,
    },
    /// The object is not there.
    #[error("`{key}` is not there")]
    Gone {
        /// The object.
        key: String,
    },
    /// S3 refuses: bucket, credentials or permissions.
    #[error("S3 refuses `{key}`")]
    Refused {
        /// Bucket or object.
        key: String,
        /// What S3 says.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// S3 could not be reached, retries included.
    #[error("cannot read `{key}` (at byte {at}), after {attempts} attempts without progress")]
    Unavailable {
        /// Bucket or object.
        key: String,
        /// Byte in the object, compressed.
        at: u64,
        /// How often it was tried.
        attempts: u64,
        /// What happened last.
        source: Box<dyn StdError + Send + Sync>,
    },
}

impl Classify for Error {
    fn fault(&self) -> Fault {
        match self {
            Self::File(error) => error.fault(),
            Self::Read { .. } => Fault::Local,
            Self::Unavailable { .. } => Fault::Transient,
            Self::Damaged { .. }
            | Self::Md5 { .. }
            | Self::ItemCount { .. }
            | Self::Replaced { .. }
            | Self::Gone { .. }
            | Self::Manifest { .. }
            | Self::MissingFile { .. }
            | Self::Summary { .. }
            | Self::Hole { .. }
            | Self::NoFull { .. }
            | Self::Unfinished(_) => Fault::Input,
            _ => Fault::Setup,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::File(error) => return error.hint(),
            Self::Location(_) => "give s3://BUCKET/PREFIX or a folder",
            Self::Nothing(_) => "check bucket and prefix: `aws s3 ls --recursive` shows what is there",
            Self::Several { .. } => "say which with --export ID or --latest, or give a longer prefix",
            Self::Hole { .. } => {
                "export the period between as an increment (15 minutes to 24 hours; overlapping others is fine), \
                 or wait for one that has not ended"
            }
            Self::NoFull { .. } => "give the prefix of the full export, or take one of the increments with --export ID",
            Self::Tables { .. } => "give a longer prefix, or say with --export ID which full export is meant",
            Self::OtherTable { .. } => {
                "`migrate reset` forgets what is applied, so that the next run begins with the full export"
            }
            Self::Unfinished(_) => "wait until `aws dynamodb describe-export` says COMPLETED",
            Self::Unsupported { .. } => "export the table again in the format DYNAMODB_JSON or ION",
            Self::Refused { source, .. } if source.to_string().contains("RequestTimeTooSkewed") => {
                "this machine's clock is wrong: set it (chronyd, timedatectl), then run again"
            }
            Self::Refused { source, .. } if source.to_string().contains("ExpiredToken") => {
                "renew the credentials (`aws sso login`, or the role's session), then run again"
            }
            Self::Refused { .. } => {
                "check bucket, region and credentials; the role needs s3:ListBucket on the bucket and s3:GetObject on its objects"
            }
            Self::MissingFile { .. } | Self::Manifest { .. } | Self::Summary { .. } => {
                "copy the whole export, or export the table again"
            }
            Self::NoSuchExport { .. } => "give the id of one that is there with --export ID",
            Self::NotFull(_) => "name the full export with --export ID; its increments are found",
            Self::Damaged { .. } | Self::Md5 { .. } | Self::ItemCount { .. } => {
                "copy the file again, or export the table again; then run again"
            }
            Self::Replaced { .. } | Self::Gone { .. } => "put back what the export had there, then run again",
            Self::Unavailable { .. } => {
                "check the network, the region and AWS_ENDPOINT_URL; then run again, it goes on from here"
            }
            Self::Read { .. } => "check the disk with the file, then run again",
        };
        Some(hint.to_owned())
    }
}
