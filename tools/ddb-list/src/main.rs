//! `ddb-list`: which data files an export has.
//!
//! Here: which of them are listed, and as what. Not here: how an export is found (`export`), what a bookmark says
//! (`checkpoint`), how exports are listed instead (`chain`).

mod args;
mod chain;
mod shard;

use std::io::{self, Write};
use std::process::ExitCode;

use checkpoint::State;
use cli::Stop;
use export::{DataFile, Export, Extent};
use fault::{Exit, Failure, Fault, PipeError, Problem};
use serde::Serialize;
use stream::{MARKER_VERSION, Marker, Period, Source, SourceDone, Writer};

use crate::args::{Args, Shard};

fn main() -> ExitCode {
    cli::run(list)
}

/// A line of the list.
#[derive(Debug, Serialize)]
struct Entry<'a> {
    key: &'a str,
    number: usize,
    bytes: u64,
    items: Option<u64>,
    md5: Option<&'a str>,
    etag: Option<&'a str>,
    encoding: &'static str,
    skip: u64,
}

fn list(args: &Args, stop: &Stop) -> Result<Exit, Failure> {
    let mut writer = Writer::new(io::stdout().lock(), !args.plain);
    let (location, limits) = (args.location()?, args.retry);
    let exit = if args.chain {
        let wanted = chain::wanted(args)?;
        match stop.unless_asked(move || export::chain(&location, &wanted, limits))? {
            Some(Some(chain)) => chain::write(args, &chain, &mut writer)?,
            // Without manifests there is nothing to order.
            Some(None) => {}
            None => return stopped(&mut writer, stop),
        }
        Exit::Done
    } else {
        let choice = args.named.choice();
        match stop.unless_asked(move || export::find(&location, &choice, limits))? {
            Some(export) => files(args, export, &mut writer)?,
            None => return stopped(&mut writer, stop),
        }
        Exit::Done
    };
    writer.flush().map_err(PipeError::writing)?;
    Ok(exit)
}

/// Tells the next program of a stop.
fn stopped(writer: &mut Writer<impl Write>, stop: &Stop) -> Result<Exit, Failure> {
    let signal = stop.signal().unwrap_or_default();
    writer.marker(&Marker::Stop(stream::Stop { signal })).map_err(PipeError::writing)?;
    writer.flush().map_err(PipeError::writing)?;
    Ok(Exit::Stopped)
}

/// Writes the data files of an export.
fn files(args: &Args, mut export: Export, writer: &mut Writer<impl Write>) -> Result<(), Failure> {
    if let Some(share) = args.shard {
        export.files = shard::share(std::mem::take(&mut export.files), share);
    }
    let bookmark = bookmark(args, &export)?;
    let source = Source { rows_until: rows_until(args, &export)?, ..source(&export, args.shard, bookmark.as_ref()) };
    writer.marker(&Marker::Source(source)).map_err(PipeError::writing)?;
    for (place, file) in export.files.iter().enumerate() {
        let skip = match &bookmark {
            Some(state) if state.done.contains_key(&file.key) => continue,
            Some(state) => state.skip(&file.key, version(file).as_deref()),
            None => 0,
        };
        if args.plain {
            writer.data(file.key.as_bytes()).map_err(PipeError::writing)?;
            continue;
        }
        let DataFile { key, bytes, items, md5, etag } = file;
        let (md5, etag) = (md5.as_deref(), etag.as_deref());
        let number = place + 1;
        let entry = Entry { key, number, bytes: *bytes, items: *items, md5, etag, encoding: "dynamodb-json", skip };
        let line = serde_json::to_vec(&entry).map_err(io::Error::from).map_err(PipeError::writing)?;
        writer.data(&line).map_err(PipeError::writing)?;
    }
    Ok(())
}

/// By when rows of the items of an incremental export were written, as they were before it: what exports that were applied
/// earlier have written, and nothing of this one.
fn rows_until(args: &Args, export: &Export) -> Result<Option<i64>, Failure> {
    let Some(Extent::Changes { from, .. }) = export.extent else { return Ok(None) };
    let applied = chain::standing(args)?;
    Ok(applied.map(|standing| standing.time.max(from).as_microsecond() - 1))
}

/// What identifies a file's content, as `ddb-cat` says it in `begin`.
fn version(file: &DataFile) -> Option<String> {
    let md5 = file.md5.as_ref().map(|md5| format!("md5:{md5}"));
    md5.or_else(|| file.etag.as_ref().map(|etag| format!("etag:{etag}")))
}

/// The bookmark, if it is wanted and there is one. One that belongs to other files would leave out the wrong ones.
fn bookmark(args: &Args, export: &Export) -> Result<Option<State>, Failure> {
    let (true, Some(profile)) = (args.pending, &args.profile) else { return Ok(None) };
    let path = match &args.bookmark {
        Some(path) => path.clone(),
        None => checkpoint::path(&cli::log_dir(args.log_dir.as_deref()), &profile::name_of(profile)?),
    };
    let Some(state) = checkpoint::read(&path)? else { return Ok(None) };
    let shard = args.shard.map(shard_name);
    let header = &state.header;
    if (&header.source, &header.export, &header.shard) == (&export.source, &export.id, &shard) {
        return Ok(Some(state));
    }
    let describe = |source: &str, export: &Option<String>, shard: &Option<String>| {
        let export = export.as_ref().map_or_else(String::new, |id| format!(", export {id}"));
        let shard = shard.as_ref().map_or_else(String::new, |shard| format!(", share {shard}"));
        format!("`{source}`{export}{shard}")
    };
    let theirs = describe(&header.source, &header.export, &header.shard);
    let ours = describe(&export.source, &export.id, &shard);
    let message = format!("the bookmark `{}` belongs to {theirs}, not to {ours}", path.display());
    Err(Problem::new(Fault::Setup, message)
        .with_hint(if args.bookmark.is_some() {
            "finish what it belongs to, or delete the file"
        } else {
            "finish that run, or delete its bookmark with `migrate reset`"
        })
        .into())
}

fn shard_name(share: Shard) -> String {
    format!("{}/{}", share.index, share.of)
}

fn source(export: &Export, share: Option<Shard>, bookmark: Option<&State>) -> Source {
    let mut done = SourceDone::default();
    for file in &export.files {
        match bookmark {
            Some(state) if state.done.contains_key(&file.key) => {
                done.files += 1;
                done.items += state.done[&file.key].records;
                done.bytes += file.bytes;
            }
            Some(state) => done.items += state.skip(&file.key, version(file).as_deref()),
            None => {}
        }
    }
    let (time, period, view) = match export.extent {
        None => (None, None, None),
        Some(Extent::State { time }) => (time.map(|time| time.to_string()), None, None),
        Some(Extent::Changes { from, to, view }) => {
            let period = Period { from: from.to_string(), to: to.to_string() };
            (None, Some(period), Some(view.name().to_owned()))
        }
    };
    Source {
        v: MARKER_VERSION,
        source: export.source.clone(),
        export: export.id.clone(),
        table: export.table.clone(),
        time,
        period,
        view,
        rows_until: None,
        shard: share.map(shard_name),
        files: export.files.len() as u64,
        items: export.files.iter().map(|file| file.items).sum(),
        bytes: Some(export.files.iter().map(|file| file.bytes).sum()),
        done,
    }
}
