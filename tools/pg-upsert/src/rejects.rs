//! The rejects file: one JSON object a line for each row or record that could not be written, with where it came from and
//! why. How a line looks, `stream::RejectLine` says; what is rejected, `input` and `write` decide.
//!
//! Lines are on disk before the bookmark covers their records. A run that goes on first drops the lines of its own whose
//! records no bookmark line covers: those records are met again.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, BufWriter, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use checkpoint::State;
use fault::FileError;
use rows::Rejected;
use serde::Deserialize;
use stream::RejectLine;
use tracing::info;

/// The stage of what this program refuses.
const STAGE: &str = "pg-upsert";

/// What decides whether a line stays; everything else of it is kept as it is.
#[derive(Deserialize)]
struct Seen {
    key: Option<String>,
    record: Option<u64>,
    #[serde(default)]
    records: Vec<u64>,
    run: Option<String>,
    stage: Option<String>,
}

/// The file, opened when the first line is written.
#[derive(Debug)]
pub(crate) struct Rejects {
    path: PathBuf,
    file: Option<File>,
    run: Option<String>,
    /// The view of the incremental export that is read.
    view: Option<String>,
    /// Files of which this run has lines from an earlier process.
    earlier: BTreeSet<String>,
}

impl Rejects {
    /// The rejects of rows that belong to no run: they are added to what is there.
    pub(crate) fn at(path: PathBuf) -> Self {
        Self { path, file: None, run: None, view: None, earlier: BTreeSet::new() }
    }

    /// The same with the view of the export that records come from, if it is an incremental one.
    pub(crate) fn with_view(self, view: Option<String>) -> Self {
        Self { view, ..self }
    }

    /// The rejects of a run. One that goes on keeps its lines as far as the bookmark covers them; a new one puts the file
    /// of an earlier run aside.
    ///
    /// `waiting` are rows that wait still, by data file and first record: their lines are of a settlement that was cut off.
    pub(crate) fn of_run(
        path: PathBuf,
        state: &State,
        resumed: bool,
        waiting: &HashSet<(String, Option<u64>)>,
    ) -> Result<Self, FileError> {
        let mut rejects = Self { run: Some(state.header.run.clone()), ..Self::at(path) };
        if !resumed {
            rejects.put_aside()?;
            return Ok(rejects);
        }
        let progress: BTreeMap<_, _> = state.progress.iter().map(|(key, file)| (key.as_str(), file.records)).collect();
        rejects.earlier = rejects.keep(|seen| {
            let Some(key) = seen.key.as_deref() else { return true };
            let first = seen.records.first().copied();
            if seen.stage.as_deref() == Some(STAGE) && waiting.contains(&(key.to_owned(), first)) {
                return false;
            }
            if state.done.contains_key(key) {
                return true;
            }
            let last = seen.records.iter().copied().chain(seen.record).max();
            // A line without a number is kept where something of its file is: doubled is better than lost.
            progress.get(key).is_some_and(|&covered| last.is_none_or(|last| last <= covered))
        })?;
        Ok(rejects)
    }

    /// A file is read again from after `skip` records: drops what an earlier process wrote about the later ones.
    pub(crate) fn read_again(&mut self, key: &str, skip: u64) -> Result<(), FileError> {
        if !self.earlier.remove(key) {
            return Ok(());
        }
        self.keep(|seen| {
            let first = seen.records.iter().copied().chain(seen.record).min();
            seen.key.as_deref() != Some(key) || first.is_some_and(|first| first <= skip)
        })?;
        Ok(())
    }

    /// Adds lines; they are on disk when this returns. Of several tables these are the names.
    pub(crate) fn append(&mut self, rejected: Vec<Rejected>, tables: &[String]) -> Result<(), FileError> {
        if rejected.is_empty() {
            return Ok(());
        }
        let time = format!("{:.3}", jiff::Timestamp::now());
        let mut lines = Vec::new();
        for rejected in rejected {
            let Rejected { key, record, records, stage, sqlstate, reason, data, table, .. } = rejected;
            // A record that became no row is of no table.
            let table = tables.get(table).filter(|_| stage.is_none()).cloned();
            // Of a row the view says nothing more.
            let view = self.view.clone().filter(|_| stage.is_some());
            let stage = stage.unwrap_or_else(|| STAGE.to_owned());
            let (time, run) = (time.clone(), self.run.clone());
            let line = RejectLine { key, record, records, stage, view, table, sqlstate, reason, data, time, run };
            // Texts and numbers always have a JSON form.
            if serde_json::to_writer(&mut lines, &line).is_ok() {
                lines.push(b'\n');
            }
        }
        let path = &self.path;
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(open(path)?),
        };
        file.write_all(&lines).and_then(|()| file.sync_data()).map_err(FileError::on("write", path))
    }

    /// Where the lines are.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Rewrites the file with the lines of this run that `stays` holds of, and all lines of other runs. The data files of
    /// the former come back.
    fn keep(&mut self, stays: impl Fn(&Seen) -> bool) -> Result<BTreeSet<String>, FileError> {
        self.file = None;
        let mut kept = BTreeSet::new();
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(kept),
            Err(error) => return Err(FileError::on("open", &self.path)(error)),
        };
        let temporary = self.path.with_extension("jsonl.new");
        let failed = || FileError::on("rewrite", &self.path);
        let mut options = OpenOptions::new();
        let new = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary).map_err(failed())?;
        let mut new = BufWriter::new(new);
        for line in BufReader::new(file).split(b'\n') {
            let mut line = line.map_err(failed())?;
            // A torn line has no record that is covered.
            let Ok(seen) = serde_json::from_slice::<Seen>(&line) else { continue };
            let ours = seen.run == self.run;
            if ours && !stays(&seen) {
                continue;
            }
            if ours {
                kept.extend(seen.key);
            }
            line.push(b'\n');
            new.write_all(&line).map_err(failed())?;
        }
        let new = new.into_inner().map_err(|error| failed()(error.into_error()))?;
        new.sync_all().map_err(failed())?;
        fs::rename(&temporary, &self.path).map_err(failed())?;
        sync_folder(&self.path)?;
        Ok(kept)
    }

    fn put_aside(&self) -> Result<(), FileError> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(FileError::on("open", &self.path)(error)),
        };
        let mut run = None;
        let mut empty = true;
        for line in BufReader::new(file).lines() {
            let line = line.map_err(FileError::on("read", &self.path))?;
            empty = false;
            run = serde_json::from_str::<Seen>(&line).ok().and_then(|seen| seen.run).or(run);
        }
        if empty {
            return Ok(());
        }
        // The name of the run that they belong to; rows written by hand belong to none.
        let name = run.unwrap_or_else(|| format!("before-{}", self.run.as_deref().unwrap_or_default()));
        let aside = self.path.with_extension(format!("{name}.jsonl"));
        fs::rename(&self.path, &aside).map_err(FileError::on("put aside", &self.path))?;
        info!("Rejects of an earlier run are in {} now", aside.display());
        sync_folder(&self.path)
    }
}

fn open(path: &Path) -> Result<File, FileError> {
    let folder = folder(path);
    fs::create_dir_all(folder).map_err(FileError::on("create the folder", folder))?;
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    let file = file.map_err(FileError::on("open", path))?;
    sync_folder(path)?;
    Ok(file)
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn sync_folder(path: &Path) -> Result<(), FileError> {
    let folder = folder(path);
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(FileError::on("sync the folder", folder))
}

#[cfg(test)]
mod tests {
    use super::*;
    use checkpoint::{Entry, FileCounts, Header, Identity};

    fn rejected(key: &str, records: &[u64]) -> Rejected {
        Rejected::own(Some(key), records.to_vec(), "no".to_owned(), b"{}")
    }

    fn places(path: &Path) -> Vec<String> {
        let text = fs::read_to_string(path).unwrap();
        let seen = text.lines().map(|line| serde_json::from_str::<Seen>(line).unwrap());
        seen.map(|seen| format!("{}{:?}", seen.key.unwrap(), seen.records)).collect()
    }

    /// `a` is done, of `b` the first 5 records are noted, `c` was begun.
    fn state() -> State {
        let mut state = State::new(Header::new(&Identity::default()));
        let file = |key: &str, records| FileCounts { key: key.to_owned(), records, ..FileCounts::default() };
        state.apply(Entry::Done(file("a", 9)));
        state.apply(Entry::Progress(file("b", 5)));
        state
    }

    #[test]
    fn a_run_that_goes_on_keeps_what_is_covered_and_meets_the_rest_again() {
        let dir = harness::Dir::new();
        let path = dir.path().join("x.rejects.jsonl");
        let state = state();
        let mut rejects = Rejects::of_run(path.clone(), &state, false, &HashSet::new()).unwrap();
        rejects
            .append(
                vec![
                    rejected("a", &[7]),
                    rejected("b", &[2, 5]),
                    rejected("b", &[4, 6]),
                    rejected("b", &[]),
                    rejected("c", &[1]),
                ],
                &[],
            )
            .unwrap();
        fs::write(&path, fs::read_to_string(&path).unwrap() + "{\"torn").unwrap();

        let mut rejects = Rejects::of_run(path.clone(), &state, true, &HashSet::new()).unwrap();
        assert_eq!(places(&path), ["a[7]", "b[2, 5]", "b[]"]);

        // Another process lists `b` from record 3 on.
        rejects.read_again("b", 2).unwrap();
        rejects.append(vec![rejected("b", &[4, 5])], &[]).unwrap();
        rejects.read_again("b", 2).unwrap();
        assert_eq!(places(&path), ["a[7]", "b[2, 5]", "b[4, 5]"]);
    }
}
