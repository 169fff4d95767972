//! The source's end: the exports that a run would apply, in order, with their files, and what the bookmark says of them.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use checkpoint::{Identity, State};
use cli::progress::grouped;
use export::{Choice, Expected, Export, Extent, Location, Opener, Records, Wanted, applied};
use fault::{Failure, Fault, Problem};
use profile::Profile;

use crate::args::Run;

/// Bytes of a log that are looked at: hours of batches.
const LAST_OF_LOG: u64 = 8 << 20;

/// What a run would read.
#[derive(Debug)]
pub(crate) struct Work {
    /// Where it was looked for, in full.
    pub(crate) source: String,
    /// In the order in which they are applied.
    pub(crate) parts: Vec<Part>,
}

/// One export.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) export: Export,
    /// What an earlier process of the run has done of it.
    pub(crate) done: Done,
}

/// What is done already.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Done {
    pub(crate) files: u64,
    pub(crate) items: u64,
}

impl Part {
    /// Compressed size of all files.
    pub(crate) fn bytes(&self) -> u64 {
        self.export.files.iter().map(|file| file.bytes).sum()
    }

    /// Items of all files, if the manifest says it.
    pub(crate) fn items(&self) -> Option<u64> {
        self.export.files.iter().map(|file| file.items).sum()
    }

    /// Whether records say what has changed, so that rows are deleted too.
    pub(crate) fn is_incremental(&self) -> bool {
        matches!(self.export.extent, Some(Extent::Changes { .. }))
    }

    /// Files and sizes for people.
    pub(crate) fn describe(&self) -> String {
        let Export { id, table, files, .. } = &self.export;
        let id = id.as_deref().unwrap_or("no manifest");
        let table = table.as_ref().map_or_else(String::new, |table| format!(" of {table}"));
        let items = self.items().map_or_else(String::new, |items| format!("{}, ", counted(items, "item")));
        format!("{id}{table}: {}, {items}{}", counted(files.len() as u64, "file"), size(self.bytes()))
    }
}

impl Work {
    /// Items that are still to be read, if the manifests say it.
    pub(crate) fn items_left(&self) -> Option<u64> {
        self.parts.iter().map(|part| part.items().map(|items| items.saturating_sub(part.done.items))).sum()
    }

    /// Compressed bytes of all exports.
    pub(crate) fn bytes(&self) -> u64 {
        self.parts.iter().map(Part::bytes).sum()
    }
}

/// Finds the exports as a run would.
pub(crate) fn find(run: &Run, name: &str) -> Result<Work, Failure> {
    let location = run.place.location()?;
    let bookmark = checkpoint::read(&checkpoint::path(&run.folder(), name))?;
    let choices = match chain(run, name, &location, bookmark.as_ref())? {
        Some(chain) => chain.links.into_iter().map(|link| Choice::Id(link.id)).collect(),
        None => vec![run.place.choice()],
    };
    let mut work = Work { source: location.to_string(), parts: Vec::new() };
    for choice in choices {
        let export = export::find(&location, &choice, run.limits())?;
        work.source.clone_from(&export.source);
        let done = done(&export, bookmark.as_ref());
        work.parts.push(Part { export, done });
    }
    Ok(work)
}

/// The exports that belong together; nothing where one is chosen by hand or none has a manifest.
fn chain(run: &Run, name: &str, location: &Location, state: Option<&State>) -> Result<Option<export::Chain>, Failure> {
    if run.place.export.is_some() || run.place.latest {
        return Ok(None);
    }
    let wanted = Wanted {
        standing: applied::standing(&run.file(name, "applied.jsonl"))?,
        begun: state.and_then(|state| state.header.export.clone()),
        ..Wanted::default()
    };
    Ok(export::chain(location, &wanted, run.limits())?)
}

fn done(export: &Export, bookmark: Option<&State>) -> Done {
    let mut done = Done::default();
    let ours = bookmark.filter(|state| (&state.header.source, &state.header.export) == (&export.source, &export.id));
    let Some(state) = ours else { return done };
    for file in &export.files {
        if let Some(counts) = state.done.get(&file.key) {
            done.files += 1;
            done.items += counts.records;
        } else {
            done.items += state.progress.get(&file.key).map_or(0, |counts| counts.records);
        }
    }
    done
}

/// The bookmark, if there is one; an error if the run would not take it.
pub(crate) fn bookmark(run: &Run, profile: &Profile, work: &Work) -> Result<Option<State>, Failure> {
    let path = checkpoint::path(&run.folder(), &profile.name);
    let Some(state) = checkpoint::read(&path)? else { return Ok(None) };
    let schema = profile.schemas().next();
    let mut ids = work.parts.iter().map(|part| part.export.id.clone());
    // Of several exports it belongs to one.
    let export = ids.clone().find(|id| *id == state.header.export).or_else(|| ids.next()).flatten();
    let ours = Identity {
        source: work.source.clone(),
        export,
        shard: None,
        profile: profile.name.clone(),
        profile_hash: schema.map(|schema| schema.hash.clone()),
        options: schema.map(|schema| schema.options.clone()).unwrap_or_default(),
    };
    checkpoint::belongs(&state, &ours, &path)?;
    Ok(Some(state))
}

/// The first records of the first file, read for good.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) records: u64,
    /// Unzipped.
    pub(crate) bytes: u64,
}

/// Reads the beginning of the first file that has items; nothing if none has.
pub(crate) fn sample(run: &Run, work: &Work) -> Result<Option<(String, Sample)>, Failure> {
    let mut files = work.parts.iter().flat_map(|part| &part.export.files);
    let Some(file) = files.find(|file| file.items != Some(0)) else { return Ok(None) };
    let input = Opener::new(run.limits()).open(&file.key, file.etag.as_deref())?;
    let mut records = Records::new(&file.key, input, Expected::default());
    let block = records.next_block()?.unwrap_or_default();
    if block.count == 0 && file.items.is_some() {
        let message = format!("`{}` is empty, but the manifest says that it has items", file.key);
        return Err(Problem::new(Fault::Input, message).with_hint("copy the whole export again").into());
    }
    Ok(Some((file.key.clone(), Sample { records: block.count, bytes: block.lines.len() as u64 })))
}

/// `1 file`, `2,000 files`
pub(crate) fn counted(count: u64, what: &str) -> String {
    format!("{} {what}{}", grouped(count), if count == 1 { "" } else { "s" })
}

/// `1.5 GB`, in steps of 1000.
pub(crate) fn size(bytes: u64) -> String {
    let units = ["bytes", "kB", "MB", "GB", "TB"];
    let mut unit = 0;
    let mut value = bytes;
    // Tenths, so that no float is needed.
    let mut tenths = 0;
    while value >= 1000 && unit + 1 < units.len() {
        (value, tenths) = (value / 1000, (value % 1000) / 100);
        unit += 1;
    }
    if unit == 0 || value >= 100 {
        format!("{value} {}", units[unit])
    } else {
        format!("{value}.{tenths} {}", units[unit])
    }
}

/// The end of a log. It only makes an estimate better: what cannot be read is not there.
pub(crate) fn log(path: &Path) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LAST_OF_LOG))).ok()?;
    let mut text = Vec::new();
    file.take(LAST_OF_LOG).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}
