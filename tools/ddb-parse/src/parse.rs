//! What becomes of each line: a marker is passed on or completed, a record becomes (part of) a row, is left out or is
//! rejected; and every one is counted. Who makes rows of lines is in `chunk`, how rows are written in `output`.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::thread;

use fault::{Exit, Failure, Fault, PipeError, Problem};
use item::Encoding;
use profile::{Before, Fate};
use serde::de::IgnoredAny;
use stream::{Begin, Classifier, End, FileEvent, Line, Mark, Marker, Reader, Reject, SAME_VERSION, Source, Writer};
use tracing::{error, warn};

use crate::chunk::{Made, Makers, Outcome};
use crate::output::{Counts, Make, Output, Taken};

const STAGE: &str = "ddb-parse";

/// Why a marker is rejected that only makes sense among rows.
const OF_ROWS: &str = "a marker of a stream of rows, but records are read here";

/// The view of an incremental export whose records say how items were before.
const NEW_AND_OLD_IMAGES: &str = "NEW_AND_OLD_IMAGES";

/// Reads records to the end and writes what `O` makes of them.
pub(crate) struct Parser<O, W: Write> {
    output: O,
    writer: Writer<W>,
    encoding: Encoding,
    /// The encoding that the command line names, for input without `begin`.
    given: Encoding,
    /// Of records of incremental exports.
    before: Before,
    begun: bool,
    file: Option<File>,
    exit: Exit,
}

/// The file whose records are read.
struct File {
    /// Without a key the records came without a `begin`.
    key: Option<String>,
    /// From the start of the file, skipped ones included.
    records: u64,
    filtered: u64,
    rejected: u64,
    /// What became of the files before.
    before: Counts,
    /// Records at the last mark.
    marked: u64,
}

impl<O: Output, W: Write> Parser<O, W> {
    pub(crate) fn new(output: O, writer: Writer<W>, encoding: Encoding, old_images: bool) -> Self {
        Self {
            output,
            writer,
            encoding,
            given: encoding,
            before: Before { images: old_images, until: None },
            begun: false,
            file: None,
            exit: Exit::Done,
        }
    }

    /// Reads everything, with so many jobs that make rows.
    pub(crate) fn run(mut self, input: impl Read, maker: &impl Make, jobs: usize) -> Result<Exit, Failure> {
        thread::scope(|scope| {
            let (makers, threads) = Makers::start(scope, maker, jobs);
            let exit = self.read(Reader::new(input), makers);
            // One that died has not given its chunk back, which is said already.
            for thread in threads {
                drop(thread.join());
            }
            exit
        })
    }

    fn read(&mut self, mut reader: Reader<impl Read>, mut makers: Makers<'_, impl Make>) -> Result<Exit, Failure> {
        let mut classifier = Classifier::default();
        loop {
            // Before it waits for more, everything that can go on does: `tail -f | ddb-parse` must not hold lines back.
            if !self.writer.markers() && reader.drained() {
                self.take_all(&mut makers)?;
                self.writer.flush().map_err(PipeError::writing)?;
            }
            let Some(line) = reader.next_line().map_err(PipeError::reading)? else { break };
            match classifier.classify(line) {
                Line::Data(line) => {
                    if makers.push(line, self.encoding, self.before)? {
                        self.take(&mut makers)?;
                    }
                }
                Line::Unknown(line) => {
                    self.take_all(&mut makers)?;
                    self.unknown(line)?;
                }
                Line::Deletion(deletion) => {
                    self.take_all(&mut makers)?;
                    self.no_record(OF_ROWS, deletion.line)?;
                }
                Line::Marker(marker) => {
                    self.take_all(&mut makers)?;
                    self.marker(*marker, line)?;
                }
            }
        }
        self.take_all(&mut makers)?;
        if reader.torn() > 0 {
            warn!("the last line has no end: the program before this one died; {} bytes are ignored", reader.torn());
        }
        self.header()?;
        self.mark()?;
        self.writer.flush().map_err(PipeError::writing)?;
        Ok(self.exit)
    }

    /// Takes every line that has come.
    fn take_all(&mut self, makers: &mut Makers<'_, impl Make>) -> Result<(), Failure> {
        makers.close()?;
        while self.take(makers)? {}
        Ok(())
    }

    /// Takes what was made of the next chunk, if there is one.
    fn take(&mut self, makers: &mut Makers<'_, impl Make>) -> Result<bool, Failure> {
        let Some(chunk) = makers.next_made()? else { return Ok(false) };
        for (line, outcome, made) in chunk.made() {
            self.record(line, outcome, made)?;
        }
        makers.used(chunk);
        Ok(true)
    }

    fn marker(&mut self, marker: Marker, line: &[u8]) -> Result<(), Failure> {
        if let Some(message) = marker.is_newer() {
            return Err(Problem::new(Fault::Input, message).with_hint(SAME_VERSION).into());
        }
        match marker {
            Marker::Source(source) => {
                self.before = before(&source, self.before);
                self.foreign(line)
            }
            Marker::File(FileEvent::Begin(begin)) => {
                self.mark()?;
                self.header()?;
                self.begin(begin);
                self.foreign(line)
            }
            Marker::File(FileEvent::End(end)) => self.end(end),
            Marker::File(FileEvent::Fail(fail)) => {
                self.output.flush(&mut self.writer)?;
                self.file = None;
                if !self.writer.markers() {
                    error!("`{}` is not complete: {}", fail.key, fail.reason);
                    self.exit = Exit::Incomplete;
                }
                self.foreign(line)
            }
            Marker::Reject(reject) => {
                let file = self.file();
                file.records += 1;
                file.rejected += 1;
                self.tell(reject.record, &reject.reason);
                self.foreign(line)
            }
            Marker::Stop(_) => {
                self.mark()?;
                self.foreign(line)
            }
            Marker::Schema(_) | Marker::Table(_) | Marker::File(FileEvent::Mark(_)) => self.no_record(OF_ROWS, line),
        }
    }

    /// A line that is neither a record nor a marker that this version knows. The next program may know it. What is not even
    /// JSON is no marker of any version.
    fn unknown(&mut self, line: &[u8]) -> Result<(), Failure> {
        if self.writer.markers() && serde_json::from_slice::<IgnoredAny>(line).is_ok() {
            return self.foreign(line);
        }
        self.no_record("neither a record nor a marker that this version knows: its first key begins with `$`", line)
    }

    /// Rejects a line that stands where a record could.
    fn no_record(&mut self, reason: &str, line: &[u8]) -> Result<(), Failure> {
        self.header()?;
        let file = self.file();
        file.records += 1;
        let record = file.records;
        self.reject(record, reason.to_owned(), line)
    }

    fn foreign(&mut self, line: &[u8]) -> Result<(), Failure> {
        Ok(self.writer.foreign(line).map_err(PipeError::writing)?)
    }

    /// What stands before the first row. Written once, and as soon as anything but the source is known.
    fn header(&mut self) -> Result<(), Failure> {
        if std::mem::replace(&mut self.begun, true) { Ok(()) } else { self.output.header(&mut self.writer) }
    }

    fn begin(&mut self, begin: Begin) {
        self.encoding = encoding(&begin, self.given);
        if let Some(view) = begin.view {
            self.before.images = view == NEW_AND_OLD_IMAGES;
        }
        self.file = Some(File {
            key: Some(begin.key),
            records: begin.skip,
            filtered: 0,
            rejected: 0,
            before: self.output.counts(),
            marked: begin.skip,
        });
    }

    fn file(&mut self) -> &mut File {
        let output = &self.output;
        self.file.get_or_insert_with(|| File {
            key: None,
            records: 0,
            filtered: 0,
            rejected: 0,
            before: output.counts(),
            marked: 0,
        })
    }

    fn record(&mut self, line: &[u8], outcome: &Outcome, made: Made<'_>) -> Result<(), Failure> {
        self.header()?;
        let file = self.file();
        file.records += 1;
        let record = file.records;
        let taken = match &outcome.fate {
            Ok(Fate::Row) => self.output.take(made, outcome.change, record, &mut self.writer)?,
            Ok(Fate::Filtered) => {
                self.file().filtered += 1;
                return Ok(());
            }
            Err(reason) => Err(reason.clone()),
        };
        match taken {
            Ok(Taken::Row) => Ok(()),
            Ok(Taken::Full) => self.mark(),
            Err(reason) => self.reject(record, reason, line),
        }
    }

    fn reject(&mut self, record: u64, reason: String, line: &[u8]) -> Result<(), Failure> {
        let file = self.file();
        file.rejected += 1;
        let key = file.key.clone();
        self.tell(Some(record), &reason);
        let reject = Reject::of(key.as_deref(), Some(record), STAGE, reason, line);
        Ok(self.writer.marker(&Marker::Reject(reject)).map_err(PipeError::writing)?)
    }

    /// Says a reject here if no program after this one will.
    fn tell(&mut self, record: Option<u64>, reason: &str) {
        self.exit = Exit::Incomplete;
        if self.writer.markers() {
            return;
        }
        let line = record.map_or_else(String::new, |record| format!("line {record}: "));
        if let Some(key) = self.file.as_ref().and_then(|file| file.key.as_deref()) {
            warn!("rejected: `{key}`, {line}{reason}");
        } else {
            warn!("rejected: {line}{reason}");
        }
    }

    /// Writes every row that is held back, and how many records they stand for.
    fn mark(&mut self) -> Result<(), Failure> {
        self.output.flush(&mut self.writer)?;
        let Some(file) = &mut self.file else { return Ok(()) };
        let Some(key) = &file.key else { return Ok(()) };
        if file.records == file.marked {
            return Ok(());
        }
        file.marked = file.records;
        let mark = Mark {
            key: key.clone(),
            records: file.records,
            filtered: file.filtered,
            rejected: file.rejected,
            taken: taken(&self.output.counts(), &file.before),
        };
        Ok(self.writer.marker(&Marker::File(FileEvent::Mark(mark))).map_err(PipeError::writing)?)
    }

    fn end(&mut self, end: End) -> Result<(), Failure> {
        self.output.flush(&mut self.writer)?;
        let counts = self.output.counts();
        let Some(file) = self.file.take() else { return Ok(()) };
        if file.records != end.records && !self.writer.markers() {
            warn!("`{}` has {} records, but {} arrived here", end.key, end.records, file.records);
            self.exit = Exit::Incomplete;
        }
        let end = End {
            filtered: file.filtered,
            rejected: file.rejected,
            rows: counts.rows - file.before.rows,
            merged: counts.merged - file.before.merged,
            taken: taken(&counts, &file.before),
            ..end
        };
        Ok(self.writer.marker(&Marker::File(FileEvent::End(end))).map_err(PipeError::writing)?)
    }
}

/// How the records of a file are written: as plain JSON, or as the command line says.
pub(crate) fn encoding(begin: &Begin, given: Encoding) -> Encoding {
    if begin.encoding == "json" { Encoding::Json } else { given }
}

/// What an export says of items as they were before.
pub(crate) fn before(source: &Source, otherwise: Before) -> Before {
    let images = source.view.as_ref().map_or(otherwise.images, |view| view == NEW_AND_OLD_IMAGES);
    Before { images, until: source.rows_until }
}

/// How many times a record went into a row of each table, since then.
fn taken(now: &Counts, before: &Counts) -> BTreeMap<String, u64> {
    let since = |(name, count): (&String, &u64)| (name.clone(), count - before.taken.get(name).copied().unwrap_or(0));
    if now.by_table { now.taken.iter().map(since).collect() } else { BTreeMap::new() }
}
