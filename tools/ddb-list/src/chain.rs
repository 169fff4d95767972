//! `--chain`: which exports are applied one after the other, as lines. How they are found and ordered, and what a run has
//! noted as applied, is in `export`.

use std::io::{self, Write};

use export::applied::{self, Line};
use export::{Chain, Standing, Wanted};
use fault::{Failure, PipeError};
use serde::Serialize;
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

/// What the profile's table has, if that is asked for and noted.
pub(crate) fn standing(args: &Args) -> Result<Option<Standing>, Failure> {
    let (true, Some(profile)) = (args.pending, &args.profile) else { return Ok(None) };
    let (folder, name) = (cli::log_dir(args.log_dir.as_deref()), profile::name_of(profile)?);
    applied::standing(&cli::profile_file(&folder, &name, "applied.jsonl"))
}

/// What the command line asks for.
pub(crate) fn wanted(args: &Args) -> Result<Wanted, Failure> {
    let mut wanted = Wanted { full: args.named.export.clone(), newest: !args.pending, ..Wanted::default() };
    if let (true, Some(profile)) = (args.pending, &args.profile) {
        let (folder, name) = (cli::log_dir(args.log_dir.as_deref()), profile::name_of(profile)?);
        wanted.standing = standing(args)?;
        wanted.begun = checkpoint::read(&checkpoint::path(&folder, &name))?.and_then(|state| state.header.export);
    }
    Ok(wanted)
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
            writer.data(&serde_json::to_vec(&Line::from(link)).map_err(json)?).map_err(PipeError::writing)?;
        }
    }
    Ok(())
}
