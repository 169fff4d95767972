//! An export as a line of JSON: as `ddb-list --chain` lists it, and as a run notes it when it is applied. How exports are
//! found and ordered is in `chain`.

use std::io::ErrorKind;
use std::path::Path;

use fault::{Failure, Fault, FileError, Problem};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::chain::{Link, Standing};
use crate::manifest::Extent;

/// An export. `migrate` notes this line when the export is applied.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Line {
    /// Its id.
    pub export: String,
    /// Whether it is a full one.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// The instant whose state it is, of a full export.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// The beginning of the period of an incremental one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// How its changes are described.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub view: Option<String>,
    /// The name of its table.
    pub table: Option<String>,
    /// See [`Link::table_id`].
    pub table_id: Option<String>,
    /// How many items or changes it holds.
    pub items: Option<u64>,
    /// The address of the folder with its manifests.
    pub prefix: String,
}

/// What of its table an export holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The state at an instant.
    Full,
    /// What was written in a period.
    Incremental,
}

impl From<&Link> for Line {
    fn from(link: &Link) -> Self {
        let (kind, time, period) = match link.extent {
            Extent::State { time } => (Kind::Full, time.map(|time| time.to_string()), None),
            Extent::Changes { from, to, view } => (Kind::Incremental, None, Some((from, to, view))),
        };
        Self {
            export: link.id.clone(),
            kind,
            time,
            from: period.map(|(from, ..)| from.to_string()),
            to: period.map(|(_, to, _)| to.to_string()),
            view: period.map(|(.., view)| view.name().to_owned()),
            table: link.table.clone(),
            table_id: link.table_id.clone(),
            items: link.items,
            prefix: link.prefix.clone(),
        }
    }
}

/// How far a run has come, by the last line of the file in which it notes what is applied; nothing without that file.
///
/// # Errors
/// The file or its last line cannot be read.
pub fn standing(path: &Path) -> Result<Option<Standing>, Failure> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(FileError::on("read", path)(error).into()),
    };
    let Some(last) = text.lines().last() else { return Ok(None) };
    let wrong = |why: &str| {
        Problem::new(Fault::Setup, format!("the last line of `{}` cannot be read: {why}", path.display()))
            .with_hint("`migrate reset` forgets what is applied, so that the next run begins with the full export")
    };
    let line: Line = serde_json::from_str(last).map_err(|error| wrong(&error.to_string()))?;
    let time = line.to.or(line.time).ok_or_else(|| wrong("it has neither `time` nor `to`"))?;
    let time: Timestamp = time.parse().map_err(|_| wrong(&format!("`{time}` is no time")))?;
    Ok(Some(Standing { export: line.export, table_id: line.table_id, time }))
}
