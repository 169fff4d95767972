//! The rejects file after a second attempt: lines whose records are in the table leave it, the others stay in their
//! order. Only if the sum holds; and at once, so that a crash at any instant leaves the old file or the new one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, BufWriter, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use checkpoint::{Entry, FileCounts};
use cli::Stop;
use fault::{Exit, Failure, Fault, FileError, PipeError, Problem};
use stream::{Reader, RejectLine};
use tracing::info;

use crate::lines::{self, Kind, Lines};

/// Why the file stays as it is.
#[derive(Debug, thiserror::Error)]
enum Unsettled {
    #[error("not every line was tried")]
    NotWhole,
    #[error("the target failed: {0}")]
    Failed(String),
    #[error("{0} rows wait for others that they refer to: the target has not settled them")]
    Waiting(u64),
    #[error("{0} rows were suppressed by a trigger or rule of the table, and the target does not say which")]
    Suppressed(u64),
    #[error(
        "{lines} lines were sent, but {records} arrived: {written} written + {filtered} filtered out + {left} rejected or \
         suppressed ({kept} of them kept)"
    )]
    Sum { lines: u64, records: u64, written: u64, filtered: u64, left: u64, kept: u64 },
}

/// Rewrites `file`, after its lines of that kind were sent: `again` has those that are not in the table, stdin what the
/// target says of the whole.
///
/// A row that a trigger or rule of the table suppresses is not in the table, so its line stays like that of a reject.
pub(crate) fn settle(kind: Kind, file: &Path, again: &Path, stop: &Stop) -> Result<Exit, Failure> {
    let receipt = match receipt() {
        Err(_) if stop.asked() => return Ok(Exit::Stopped),
        receipt => receipt?,
    };
    let again = Again::read(again)?;
    let mut sent = 0;
    let mut lines = Lines::open(file)?;
    while let Some(text) = lines.next_line()? {
        sent += u64::from(lines::of_kind(text, kind).is_some());
    }
    let FileCounts { records, written, merged, filtered, rejected, suppressed, waiting, ref tables, .. } = receipt;
    if waiting > 0 {
        return Err(unsettled(&Unsettled::Waiting(waiting)));
    }
    let (written, left, kept) = (written + merged, rejected + suppressed, again.numbers() as u64);
    let adds_up = if tables.is_empty() {
        written + filtered + left == sent && kept == left
    } else {
        // A record may be several rows, or none: the target has checked the sum of each table.
        kept <= left && (kept > 0) == (left > 0)
    };
    if records != sent || !adds_up || again.beyond(sent) {
        let unknown = suppressed > 0 && kept <= rejected;
        return Err(unsettled(&if unknown {
            Unsettled::Suppressed(suppressed)
        } else {
            Unsettled::Sum { lines: sent, records, written, filtered, left, kept }
        }));
    }
    rewrite(kind, file, sent, again)?;
    let what = if kind == Kind::Rows { "rows" } else { "records" };
    let filtered = if filtered > 0 { format!(" + {filtered} filtered out") } else { String::new() };
    let suppressed = if suppressed > 0 { format!(" + {suppressed} suppressed") } else { String::new() };
    info!("Tried {sent} rejected {what} again: {written} written{filtered} + {rejected} rejected again{suppressed}");
    Ok(if left > 0 { Exit::Incomplete } else { Exit::Done })
}

fn unsettled(why: &Unsettled) -> Failure {
    let message = format!("the rejects file stays as it is: {why}");
    Problem::new(Fault::Input, message)
        .with_hint("the same command tries again; what was written is written once")
        .into()
}

/// What the target says of the lines that were sent, as if they were a data file.
fn receipt() -> Result<FileCounts, Failure> {
    let mut reader = Reader::new(io::stdin().lock());
    let mut done = None;
    while let Some(line) = reader.next_line().map_err(PipeError::reading)? {
        match serde_json::from_slice(line) {
            Ok(Entry::Done(counts)) => done = Some(counts),
            Ok(Entry::Fail(failed)) => return Err(unsettled(&Unsettled::Failed(failed.reason))),
            _ => {}
        }
    }
    done.ok_or_else(|| unsettled(&Unsettled::NotWhole))
}

/// The lines that were rejected again: where each is found, by its number among those that were sent.
struct Again {
    path: PathBuf,
    /// Number, and byte in the file; in order.
    places: Vec<(u64, u64)>,
}

impl Again {
    fn read(path: &Path) -> Result<Self, Failure> {
        let mut again = Self { path: path.to_owned(), places: Vec::new() };
        // Without rejects there is no such file.
        if !path.exists() {
            return Ok(again);
        }
        let (mut lines, mut at) = (Lines::open(path)?, 0);
        while let Some(text) = lines.next_line()? {
            let numbers = lines::parse(text).map(|line| line.records).unwrap_or_default();
            again.places.extend(numbers.into_iter().map(|number| (number, at)));
            at += text.len() as u64 + 1;
        }
        again.places.sort_unstable();
        again.places.dedup_by_key(|(number, _)| *number);
        Ok(again)
    }

    fn numbers(&self) -> usize {
        self.places.len()
    }

    /// Whether there is a number that no line has.
    fn beyond(&self, last: u64) -> bool {
        self.places.first().is_some_and(|(number, _)| *number == 0)
            || self.places.last().is_some_and(|(number, _)| *number > last)
    }
}

/// Writes the lines that stay into a new file, and puts it in the old one's place; none at all leaves no file.
fn rewrite(kind: Kind, file: &Path, sent: u64, again: Again) -> Result<(), Failure> {
    let new = file.with_extension("new");
    let failed = || FileError::on("write", &new);
    let output = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new).map_err(failed())?;
    let mut output = BufWriter::new(output);
    let mut reasons = if again.places.is_empty() { None } else { Some(BufReader::new(open(&again.path)?)) };
    let mut places = again.places.into_iter().peekable();
    let (mut number, mut left) = (0, 0_u64);
    let mut lines = Lines::open(file)?;
    while let Some(text) = lines.next_line()? {
        match lines::of_kind(text, kind) {
            Some(line) if number < sent => {
                number += 1;
                let Some((_, at)) = places.next_if(|(stays, _)| *stays == number) else { continue };
                let Some(reasons) = &mut reasons else { continue };
                let mut reason = Vec::new();
                reasons.seek(SeekFrom::Start(at)).map_err(FileError::on("read", &again.path))?;
                reasons.read_until(b'\n', &mut reason).map_err(FileError::on("read", &again.path))?;
                let line = updated(line, lines::parse(&reason));
                serde_json::to_writer(&mut output, &line).map_err(io::Error::from).map_err(failed())?;
                output.write_all(b"\n").map_err(failed())?;
            }
            // Of another kind, unreadable, or added meanwhile: as it stands.
            _ => output.write_all(text).and_then(|()| output.write_all(b"\n")).map_err(failed())?,
        }
        left += 1;
    }
    let output = output.into_inner().map_err(|error| failed()(error.into_error()))?;
    output.sync_all().map_err(failed())?;
    if left > 0 {
        fs::rename(&new, file).map_err(FileError::on("replace", file))?;
    } else {
        fs::remove_file(file).map_err(FileError::on("remove", file))?;
        fs::remove_file(&new).map_err(FileError::on("remove", &new))?;
    }
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    Ok(synced.map_err(FileError::on("sync the folder", folder))?)
}

fn open(path: &Path) -> Result<File, FileError> {
    File::open(path).map_err(FileError::on("open", path))
}

/// The line with what is new. Its data, and the stage that says what they are, stay: they go in at the same place next
/// time.
fn updated(line: RejectLine, again: Option<RejectLine>) -> RejectLine {
    let Some(RejectLine { sqlstate, reason, time, .. }) = again else { return line };
    RejectLine { sqlstate, reason, time, ..line }
}
