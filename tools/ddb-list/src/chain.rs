//! `--chain`: which exports are applied one after the other, as lines; and what a run has noted as applied. How they are
//! found and ordered is in `export`.

use std::io::{self, ErrorKind, Write};
use std::path::Path;

use export::{Chain, Extent, Link, Standing, Wanted};
use fault::{Failure, Fault, FileError, PipeError, Problem};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stream::{MARKER_VERSION, Writer};

use crate::args::Args;

/// The first line: what the following exports belong to.
#[derive(Serialize)]
struct Head<'a> {
    #[serde(rename = "$chain")]
    chain: About<'a>,
}

#[derive(Serialize)]
struct About<'a> {
    v: u32,
    source: &'a str,
    table: Option<&'a str>,
    exports: usize,
}

/// An export. `migrate` notes this line when the export is applied.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    export: String,
    #[serde(rename = "type")]
    kind: Kind,
    /// Of a full export.
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    /// Of an incremental one, as the next two.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    view: Option<String>,
    table: Option<String>,
    table_id: Option<String>,
    items: Option<u64>,
    prefix: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Full,
    Incremental,
}

impl Line {
    fn of(link: &Link) -> Self {
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

/// What the command line asks for.
pub(crate) fn wanted(args: &Args) -> Result<Wanted, Failure> {
    let mut wanted = Wanted { full: args.export.clone(), newest: !args.pending, ..Wanted::default() };
    if let (true, Some(profile)) = (args.pending, &args.profile) {
        let (folder, name) = (cli::log_dir(args.log_dir.as_deref()), profile::name_of(profile)?);
        wanted.standing = standing(&cli::profile_file(&folder, &name, "applied.jsonl"))?;
        wanted.begun = checkpoint::read(&checkpoint::path(&folder, &name))?.and_then(|state| state.header.export);
    }
    Ok(wanted)
}

/// How far a run has come, by the last line of what it has noted.
fn standing(path: &Path) -> Result<Option<Standing>, Failure> {
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

/// Writes the exports, or their ids.
pub(crate) fn write(args: &Args, chain: &Chain, writer: &mut Writer<impl Write>) -> Result<(), Failure> {
    let Chain { source, table, links } = chain;
    let about = About { v: MARKER_VERSION, source, table: table.as_deref(), exports: links.len() };
    let json = |error: serde_json::Error| PipeError::writing(io::Error::from(error));
    writer.foreign(&serde_json::to_vec(&Head { chain: about }).map_err(json)?).map_err(PipeError::writing)?;
    for link in links {
        if args.plain {
            writer.data(link.id.as_bytes()).map_err(PipeError::writing)?;
        } else {
            writer.data(&serde_json::to_vec(&Line::of(link)).map_err(json)?).map_err(PipeError::writing)?;
        }
    }
    Ok(())
}
