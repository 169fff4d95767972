//! The bookmark as a file: append, sync, lock, torn last line. What the lines mean is in `state`, the format in the
//! crate's head.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead as _, BufReader, ErrorKind, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use fault::FileError;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Bookmark, Entry, Error, Header, Identity, State, VERSION};

/// The bookmark of one run, open and locked.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    /// The version of the format that a reader must know by now.
    version: u32,
}

/// A line that raises the version which the header has.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raise {
    v: u32,
}

impl Journal {
    /// Opens the journal, or begins one, and returns what it says.
    ///
    /// # Errors
    /// Another process has it; it belongs to another identity; it cannot be read or written.
    pub fn open(path: &Path, identity: &Identity) -> Result<(Self, State), Error> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(FileError::on("create the folder", folder))?;
        let mut file = open_locked(path)?;

        let (state, whole) = read_lines(&file, path)?;
        let state = if let Some(state) = state {
            belongs(&state, identity, path)?;
            file.set_len(whole).map_err(FileError::on("repair", path))?;
            file.seek(SeekFrom::End(0)).map_err(FileError::on("repair", path))?;
            state
        } else {
            let header = Header::new(identity);
            file.set_len(0).and_then(|()| file.rewind()).map_err(FileError::on("begin", path))?;
            append(&mut file, None, &[&header]).map_err(FileError::on("write", path))?;
            State::new(header)
        };
        // The name of a new file is an entry of its folder.
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(FileError::on("sync the folder", folder))?;
        Ok((Self { file, path: path.to_owned(), version: state.header.v }, state))
    }
}

impl Bookmark for Journal {
    fn append(&mut self, entries: &[Entry]) -> Result<(), Error> {
        if entries.is_empty() {
            return Ok(());
        }
        let raised = entries.iter().map(Entry::version).max().filter(|needed| *needed > self.version);
        let raise = raised.map(|v| Raise { v });
        append(&mut self.file, raise, entries).map_err(FileError::on("write", &self.path))?;
        self.version = raised.unwrap_or(self.version);
        Ok(())
    }

    fn delete(self) -> Result<(), Error> {
        Ok(fs::remove_file(&self.path).map_err(FileError::on("delete", &self.path))?)
    }
}

/// Reads a bookmark that another process may be writing; nothing if there is none.
///
/// # Errors
/// It is there and cannot be read.
pub fn read(path: &Path) -> Result<Option<State>, Error> {
    match File::open(path) {
        Ok(file) => Ok(read_lines(&file, path)?.0),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::on("open", path)(error).into()),
    }
}

/// Opens and locks the file, which may be deleted by its last owner just then.
fn open_locked(path: &Path) -> Result<File, Error> {
    loop {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path).map_err(FileError::on("open", path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::Locked { path: path.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(FileError::on("lock", path)(error).into()),
        }
        let ours = file.metadata().map_err(FileError::on("look at", path))?;
        match fs::metadata(path) {
            Ok(there) if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) => return Ok(file),
            // Deleted, or deleted and begun again, between the opening and the lock.
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(FileError::on("look at", path)(error).into()),
        }
    }
}

/// Adds lines, the one that raises the version before the others.
fn append<T: Serialize>(file: &mut File, raise: Option<Raise>, entries: &[T]) -> io::Result<()> {
    let mut lines = Vec::new();
    if let Some(raise) = raise {
        serde_json::to_writer(&mut lines, &raise)?;
        lines.push(b'\n');
    }
    for entry in entries {
        serde_json::to_writer(&mut lines, entry)?;
        lines.push(b'\n');
    }
    file.write_all(&lines)?;
    file.sync_data()
}

/// What the whole lines say, and how many bytes they take.
fn read_lines(file: &File, path: &Path) -> Result<(Option<State>, u64), Error> {
    let mut lines = BufReader::new(file);
    let (mut state, mut whole, mut number, mut line) = (None, 0, 0, Vec::new());
    while lines.read_until(b'\n', &mut line).map_err(FileError::on("read", path))? > 0 && line.ends_with(b"\n") {
        number += 1;
        whole += line.len() as u64;
        match &mut state {
            None => {
                let header: Header = parse(&line, number, path)?;
                known(header.v, path)?;
                state = Some(State::new(header));
            }
            Some(state) => match serde_json::from_slice(&line) {
                Ok(Raise { v }) => {
                    known(v, path)?;
                    state.header.v = state.header.v.max(v);
                }
                Err(_) => state.apply(parse(&line, number, path)?),
            },
        }
        line.clear();
    }
    Ok((state, whole))
}

/// Checks that this crate knows a version of the format.
fn known(version: u32, path: &Path) -> Result<(), Error> {
    if version > VERSION { Err(Error::Version { path: path.to_owned(), found: version }) } else { Ok(()) }
}

fn parse<T: DeserializeOwned>(line: &[u8], number: u64, path: &Path) -> Result<T, Error> {
    serde_json::from_slice(line).map_err(|source| Error::Entry { path: path.to_owned(), line: number, source })
}

/// Checks that what a bookmark says is good for these rows; `path` stands in the error.
///
/// # Errors
/// It belongs to others.
pub fn belongs(state: &State, identity: &Identity, path: &Path) -> Result<(), Error> {
    let differences = state.header.identity().differences(identity);
    if differences.is_empty() {
        return Ok(());
    }
    let (theirs, ours): (Vec<_>, Vec<_>) = differences
        .iter()
        .map(|(name, theirs, ours)| (format!("{name} `{theirs}`"), format!("{name} `{ours}`")))
        .unzip();
    Err(Error::Foreign {
        path: path.to_owned(),
        theirs: theirs.join(", "),
        ours: ours.join(", "),
        profile: identity.profile.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Failed, FileCounts, TableCounts};

    fn identity() -> Identity {
        Identity {
            source: "s3://bucket/a/".to_owned(),
            export: Some("01-ab".to_owned()),
            profile: "pictures".to_owned(),
            profile_hash: Some("h1".to_owned()),
            ..Identity::default()
        }
    }

    fn file(key: &str, records: u64) -> FileCounts {
        FileCounts { key: key.to_owned(), records, written: records, ..FileCounts::default() }
    }

    fn entries() -> [Entry; 4] {
        [
            Entry::Progress(file("a", 5)),
            Entry::Done(file("a", 9)),
            Entry::Progress(file("b", 3)),
            Entry::Fail(Failed { key: "b".to_owned(), reason: "cut".to_owned() }),
        ]
    }

    #[test]
    fn a_journal_cut_at_any_byte_keeps_every_whole_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.bookmark.json");
        let (mut journal, fresh) = Journal::open(&path, &identity()).unwrap();
        assert!(fresh.is_fresh());
        journal.append(&entries()).unwrap();
        drop(journal);
        let bytes = fs::read(&path).unwrap();

        for cut in 0..=bytes.len() {
            fs::write(&path, &bytes[..cut]).unwrap();
            let whole = bytes[..cut].split(|&byte| byte == b'\n').count() - 1;
            assert_eq!(read(&path).unwrap().is_some(), whole > 0, "read after a cut at byte {cut}");

            let (mut journal, state) = Journal::open(&path, &identity()).unwrap();
            let mut expected = State::new(if whole > 0 { fresh.header.clone() } else { state.header.clone() });
            for entry in entries().into_iter().take(whole.saturating_sub(1)) {
                expected.apply(entry);
            }
            assert_eq!(state, expected, "cut at byte {cut}");

            journal.append(&[Entry::Done(file("c", 1))]).unwrap();
            drop(journal);
            expected.apply(Entry::Done(file("c", 1)));
            assert_eq!(read(&path).unwrap(), Some(expected), "appended after a cut at byte {cut}");
        }
    }

    #[test]
    fn a_later_line_about_a_file_overrides_the_earlier_ones() {
        let mut state = State::new(Header::new(&identity()));
        for entry in entries() {
            state.apply(entry);
        }

        assert_eq!((state.done.len(), state.progress.len()), (1, 0));
        assert_eq!(state.skip("b", None), 0, "a failed file is read from its start");
        assert_eq!((state.totals().records, state.totals().written), (9, 9));
    }

    /// Of 9 records of `a` two rows were suppressed and three wait.
    fn waiting() -> FileCounts {
        FileCounts { written: 4, suppressed: 2, waiting: 3, ..file("a", 9) }
    }

    #[test]
    fn settled_rows_replace_the_counts_of_files_that_are_done_or_begun() {
        let mut state = State::new(Header::new(&identity()));
        state.apply(Entry::Done(waiting()));
        state.apply(Entry::Progress(FileCounts { key: "b".to_owned(), ..waiting() }));
        state.apply(Entry::Fail(Failed { key: "c".to_owned(), reason: "cut".to_owned() }));
        let totals = state.totals();
        assert_eq!((totals.records, totals.written, totals.suppressed, totals.waiting), (18, 8, 4, 6));

        let settled =
            |key: &str| FileCounts { key: key.to_owned(), written: 5, merged: 1, rejected: 1, waiting: 0, ..waiting() };
        let entry = Entry::Settled(vec![settled("a"), settled("b"), settled("c")]);
        // A crash may come between the line and what follows from it: then it is written again.
        for _ in 0..2 {
            state.apply(entry.clone());
            assert_eq!((&state.done["a"], &state.progress["b"]), (&settled("a"), &settled("b")));
            assert_eq!((state.done.len(), state.progress.len(), state.failed.len()), (1, 1, 1));
            let totals = state.totals();
            assert_eq!((totals.records, totals.written, totals.merged, totals.rejected), (18, 10, 2, 2));
            assert_eq!((totals.suppressed, totals.waiting), (4, 0));
        }
    }

    #[test]
    fn the_counts_of_tables_add_up_with_what_was_suppressed_and_what_waits() {
        let table = TableCounts { taken: 9, written: 4, suppressed: 2, waiting: 3, ..TableCounts::default() };
        let mut state = State::new(Header::new(&identity()));
        for key in ["a", "b"] {
            let tables = [("orders".to_owned(), table)].into();
            state.apply(Entry::Done(FileCounts { key: key.to_owned(), tables, ..waiting() }));
        }
        let sum = TableCounts { taken: 18, written: 8, suppressed: 4, waiting: 6, ..TableCounts::default() };
        assert_eq!(state.tables(), [("orders".to_owned(), sum)].into());
    }

    #[test]
    fn only_counts_that_version_1_does_not_know_raise_the_version() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.bookmark.json");
        let versions = || {
            let text = fs::read_to_string(&path).unwrap();
            let versions = text.lines().filter_map(|line| line.strip_prefix("{\"v\":"));
            versions.map(|rest| rest.chars().next().unwrap()).collect::<String>()
        };
        let (mut journal, _) = Journal::open(&path, &identity()).unwrap();
        journal.append(&entries()).unwrap();
        assert_eq!(versions(), "1");
        assert!(!fs::read_to_string(&path).unwrap().contains("waiting"), "as version 1 wrote it");

        journal.append(&[Entry::Done(waiting())]).unwrap();
        let settled = Entry::Settled(vec![FileCounts { written: 7, waiting: 0, ..waiting() }]);
        journal.append(std::slice::from_ref(&settled)).unwrap();
        assert_eq!(versions(), "12");
        drop(journal);
        let (mut journal, state) = Journal::open(&path, &identity()).unwrap();
        assert_eq!((state.header.v, state.totals().suppressed, state.totals().written), (2, 2, 7));
        journal.append(&[settled]).unwrap();
        assert_eq!(versions(), "12", "it is raised once");
        drop(journal);

        let later = fs::read_to_string(&path).unwrap() + "{\"v\":3}\n";
        fs::write(&path, later).unwrap();
        assert!(matches!(Journal::open(&path, &identity()), Err(Error::Version { found: 3, .. })));
    }

    #[test]
    fn progress_is_good_for_the_same_content_only() {
        let mut state = State::new(Header::new(&identity()));
        let version = Some("md5:1".to_owned());
        state.apply(Entry::Progress(FileCounts { version, ..file("a", 5) }));

        assert_eq!(state.skip("a", Some("md5:1")), 5);
        assert_eq!(state.skip("a", Some("md5:2")), 0);
        assert_eq!(state.skip("a", None), 0);
    }

    #[test]
    fn a_second_writer_is_refused_and_a_reader_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.bookmark.json");
        let (journal, _) = Journal::open(&path, &identity()).unwrap();

        assert!(matches!(Journal::open(&path, &identity()), Err(Error::Locked { .. })));
        assert!(read(&path).unwrap().is_some());

        drop(journal);
        assert!(Journal::open(&path, &identity()).is_ok());
    }

    #[test]
    fn a_journal_of_something_else_is_refused_naming_both() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.bookmark.json");
        Journal::open(&path, &identity()).unwrap();

        let other = Identity { export: None, profile_hash: Some("h2".to_owned()), ..identity() };
        let error = Journal::open(&path, &other).unwrap_err();

        let expected = format!(
            "the bookmark `{}` belongs to export `01-ab`, version of the profile `h1`, \
             this run to export `none`, version of the profile `h2`",
            path.display()
        );
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_whole_line_that_cannot_be_read_is_an_error_with_its_number() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.bookmark.json");
        Journal::open(&path, &identity()).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        bytes.extend_from_slice(b"{\"done\":7}\n");
        fs::write(&path, bytes).unwrap();

        let error = Journal::open(&path, &identity()).unwrap_err();

        assert!(matches!(error, Error::Entry { line: 2, .. }), "{error}");
    }

    #[test]
    fn only_its_owner_may_read_it_and_deleting_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/folder/x.bookmark.json");
        let (mut journal, first) = Journal::open(&path, &identity()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        journal.append(&entries()).unwrap();
        journal.delete().unwrap();

        assert_eq!(read(&path).unwrap(), None);
        let (_journal, second) = Journal::open(&path, &identity()).unwrap();
        assert!(second.is_fresh());
        assert_ne!(first.header.run, second.header.run);
    }
}
