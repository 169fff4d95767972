//! `manifest-summary.json` and `manifest-files.json` (developer guide, "DynamoDB table export output format", "Manifest
//! files"). Where they are, `find` knows.

use serde::Deserialize;

use crate::error::{Error, Result};

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
    /// The instant whose state a full export is, ISO 8601.
    #[serde(default)]
    pub export_time: Option<String>,
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

    /// The export's time: of its state, else of its beginning.
    pub fn time(&self) -> Option<&str> {
        self.export_time.as_deref().or(self.start_time.as_deref())
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
