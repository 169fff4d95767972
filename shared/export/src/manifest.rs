//! `manifest-summary.json` and `manifest-files.json` (developer guide, "DynamoDB table export output format", "Manifest
//! files"). Where they are, `find` knows.

use jiff::Timestamp;
use serde::Deserialize;

use crate::error::{Error, Result};

/// What of its table an export holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// A full export: the state at an instant, if the summary says at which.
    State {
        /// `exportTime`.
        time: Option<Timestamp>,
    },
    /// An incremental export: what was written in a period.
    Changes {
        /// `exportFromTime`, which belongs to the period.
        from: Timestamp,
        /// `exportToTime`, which does not.
        to: Timestamp,
        /// How the changes are described.
        view: View,
    },
}

/// What an incremental export says of an item that has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// How it was and how it is.
    NewAndOldImages,
    /// How it is.
    NewImages,
}

impl View {
    /// Its name in the API reference, "`IncrementalExportSpecification`".
    pub fn name(self) -> &'static str {
        match self {
            Self::NewAndOldImages => "NEW_AND_OLD_IMAGES",
            Self::NewImages => "NEW_IMAGES",
        }
    }

    /// The SDKs and emulators write `NEW_IMAGE`.
    fn named(name: &str) -> Option<Self> {
        match name {
            "NEW_AND_OLD_IMAGES" => Some(Self::NewAndOldImages),
            "NEW_IMAGES" | "NEW_IMAGE" => Some(Self::NewImages),
            _ => None,
        }
    }
}

/// What an export is: one JSON object. Fields that are not used here are ignored.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// ARN of the export; its last part is the id.
    #[serde(default)]
    pub export_arn: Option<String>,
    /// ARN of the table; its last part is the name.
    #[serde(default)]
    pub table_arn: Option<String>,
    /// A table that is made again under its name has another one.
    #[serde(default)]
    pub table_id: Option<String>,
    /// The instant whose state a full export is, ISO 8601.
    #[serde(default)]
    pub export_time: Option<String>,
    /// The beginning of an incremental export's period, which belongs to it, ISO 8601.
    #[serde(default)]
    pub export_from_time: Option<String>,
    /// The end of that period, which does not belong to it, ISO 8601.
    #[serde(default)]
    pub export_to_time: Option<String>,
    /// `NEW_AND_OLD_IMAGES` or `NEW_IMAGES`, of an incremental export.
    #[serde(default)]
    pub output_view: Option<String>,
    /// When the export began, ISO 8601.
    #[serde(default)]
    pub start_time: Option<String>,
    /// Where the list of files is, in the bucket to which the export was written.
    #[serde(default)]
    pub manifest_files_s3_key: Option<String>,
    /// `DYNAMODB_JSON` or `ION`.
    #[serde(default)]
    pub output_format: Option<String>,
    /// `FULL_EXPORT` or `INCREMENTAL_EXPORT`; absent for a full one by AWS.
    #[serde(default)]
    pub export_type: Option<String>,
    /// Items in all files.
    #[serde(default)]
    pub item_count: Option<u64>,
}

impl Summary {
    pub(crate) fn parse(key: &str, text: &[u8]) -> Result<Self> {
        serde_json::from_slice(text).map_err(|source| Error::Manifest {
            key: key.to_owned(),
            line: source.line(),
            source,
        })
    }

    /// The table's name.
    pub fn table(&self) -> Option<&str> {
        self.table_arn.as_deref().and_then(|arn| arn.split_once(":table/")).map(|(_, name)| name)
    }

    /// The export's time: of its state, or of the end of its period; else of its beginning.
    pub fn time(&self) -> Option<&str> {
        self.export_time.as_deref().or(self.export_to_time.as_deref()).or(self.start_time.as_deref())
    }

    /// Whether it is one of changes.
    pub(crate) fn is_incremental(&self) -> bool {
        self.export_type.as_deref() == Some("INCREMENTAL_EXPORT")
    }

    /// What the export holds.
    pub(crate) fn extent(&self, id: &str) -> Result<Extent> {
        if !self.is_incremental() {
            let time = self.export_time.as_deref().and_then(|time| time.parse().ok());
            return Ok(Extent::State { time });
        }
        let wrong = |message: String| Error::Summary { id: id.to_owned(), message };
        let time = |name: &str, time: &Option<String>| {
            let text =
                time.as_deref().ok_or_else(|| wrong(format!("is of an incremental export, but has no `{name}`")))?;
            text.parse::<Timestamp>().map_err(|_| wrong(format!("has the `{name}` `{text}`, which is no time")))
        };
        let from = time("exportFromTime", &self.export_from_time)?;
        let to = time("exportToTime", &self.export_to_time)?;
        if from >= to {
            return Err(wrong(format!("has a period from {from} to {to}, which is none")));
        }
        // Without one, each record says itself what it has.
        let view = self.output_view.as_deref().unwrap_or("NEW_AND_OLD_IMAGES");
        let view =
            View::named(view).ok_or_else(|| wrong(format!("has the `outputView` `{view}`, which is not known")))?;
        Ok(Extent::Changes { from, to, view })
    }
}

/// One line of `manifest-files.json`: a data file.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FileEntry {
    #[serde(default)]
    pub(crate) item_count: Option<u64>,
    /// Base64 of the MD5 of the compressed bytes.
    #[serde(default)]
    pub(crate) md5_checksum: Option<String>,
    /// The key in full, prefix included.
    pub(crate) data_file_s3_key: String,
}

pub(crate) fn parse_files(key: &str, text: &[u8]) -> Result<Vec<FileEntry>> {
    let lines = text.split(|&byte| byte == b'\n').enumerate().filter(|(_, line)| !line.trim_ascii().is_empty());
    let parsed = lines.map(|(place, line)| {
        serde_json::from_slice(line).map_err(|source| Error::Manifest { key: key.to_owned(), line: place + 1, source })
    });
    parsed.collect()
}
