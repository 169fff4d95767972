//! Lines become batches: rows are read and merged by key, markers end the segments of a batch. Runs on a thread of its own,
//! so that the next batch fills while one is written.

use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread;

use fault::{Failure, Fault, PipeError, Problem};
use profile::schema::SCHEMA_VERSION;
use profile::{Merger, Schema};
use serde::Deserialize;
use stream::{Begin, Classifier, Deletion, FileEvent, Line, Marker, Reader, SAME_VERSION, Source};
use tracing::info;

use crate::batch::{Batch, Limits, Normal};
use crate::entries::Spare;
use crate::key::Keys;
use crate::plain::Plain;
use crate::rejected::Rejected;
use crate::report;
use crate::row::{self, NoRow, Parsed, RowReader};
use crate::tolerance::{MaxRejects, Reading};

/// What the stream brings.
#[derive(Debug)]
pub enum Message {
    /// What the files belong to.
    Source(Box<Source>),
    /// What the rows of a further table are; before the first of them. The answer is whether keys that are told apart
    /// here are different ones in the table, too.
    Schema(Box<Schema>, Sender<bool>),
    /// Rows and what was said about files.
    Batch(Box<Batch>),
    /// The source was asked to stop.
    Stopped,
    /// Nothing more comes; of the last line so many bytes did.
    End(usize),
    /// The stream cannot be read on.
    Failed(Failure),
}

/// What a line has to be.
#[derive(Debug)]
pub struct Expected {
    /// Rows that do not say what they are belong to this table.
    pub plain: Option<Plain>,
    /// The table, if it is not the one that the stream names.
    pub table: Option<(Option<String>, String)>,
    /// The key, if it is not the one that the stream names.
    pub key: Option<Vec<String>>,
    /// The stream has to begin with `$source`.
    pub source: bool,
    /// Whether lines may be markers; otherwise every line is a row.
    pub markers: bool,
    /// How much is written together.
    pub limits: Limits,
    /// Where it is said how many records were read.
    pub read: Arc<AtomicU64>,
    /// How many rejects are too many.
    pub max_rejects: MaxRejects,
    /// Records and rejects of earlier processes of the run, once the bookmark is open.
    pub earlier: Arc<OnceLock<(u64, u64)>>,
    /// Where those who take batches give the memory of rows back.
    pub spare: Spare,
}

/// Begins to read stdin, on a thread of its own.
///
/// # Errors
/// The thread cannot be started.
pub fn start(expected: Expected) -> Result<Receiver<Message>, Problem> {
    let (sender, messages) = sync_channel(0);
    let reader = thread::Builder::new().name("input".to_owned());
    let reader = reader.spawn(move || read(io::stdin().lock(), expected, &sender));
    reader.map_err(|error| Problem::new(Fault::Local, format!("cannot start a thread: {error}")))?;
    Ok(messages)
}

/// Reads the stream to its end. The receiver is gone when the program ends for another reason.
fn read(input: impl Read, expected: Expected, messages: &SyncSender<Message>) {
    let mut lines = Reader::new(input);
    let classifier = if expected.markers { Classifier::default() } else { Classifier::without_markers() };
    let mut parser = Parser {
        expected,
        messages,
        tables: Vec::new(),
        current: 0,
        batch: Batch::new(None, &[]),
        reading: Reading::default(),
        files: 0,
        met_source: false,
    };
    let result = parser.read(&mut lines, classifier);
    let last = match result {
        Ok(()) => Message::End(lines.torn()),
        Err(Halt::Failed(failure)) => Message::Failed(failure),
        Err(Halt::Gone) => return,
    };
    // What was read before holds.
    if parser.flush().is_ok() {
        let _ = messages.send(last);
    }
}

/// Why reading ends before the stream does.
enum Halt {
    Failed(Failure),
    /// Nobody takes the messages any more.
    Gone,
}

impl<E: Into<Failure>> From<E> for Halt {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

struct Parser<'a> {
    expected: Expected,
    messages: &'a SyncSender<Message>,
    /// The tables, in the order in which the stream named them, and that of the rows which come now.
    tables: Vec<Rows>,
    current: usize,
    batch: Batch,
    reading: Reading,
    /// Files in the whole list.
    files: u64,
    met_source: bool,
}

/// What is needed to read rows of one table.
struct Rows {
    /// The table's name as the stream has it.
    name: String,
    schema: Schema,
    /// Whether many keys are to come together.
    many: bool,
    reader: RowReader,
    keys: Keys,
    merger: Merger,
    normal: Normal,
}

impl Rows {
    /// Rows of the schema, read by `reader`.
    fn of(name: String, schema: Schema, reader: RowReader) -> Result<Self, Problem> {
        let keys = Keys::of(&schema).map_err(|name| crate::no_column(&name))?;
        if schema.key.is_empty() {
            return Err(Problem::new(Fault::Setup, "the rows have no key"));
        }
        let merger = Merger::new(&schema).map_err(|name| crate::no_column(&name))?;
        let normal = Normal::of(&schema);
        Ok(Self { name, schema, many: false, reader, keys, merger, normal })
    }
}

impl Parser<'_> {
    fn read(&mut self, lines: &mut Reader<impl Read>, mut classifier: Classifier) -> Result<(), Halt> {
        while let Some(line) = lines.next_line().map_err(PipeError::reading)? {
            match classifier.classify(line) {
                Line::Data(line) => self.data(line)?,
                Line::Marker(marker) => self.marker(*marker)?,
                Line::Deletion(deletion) => self.delete(deletion)?,
                Line::Unknown(line) => self.unknown(line)?,
            }
            if self.batch.is_full(&self.expected.limits) {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn marker(&mut self, marker: Marker) -> Result<(), Halt> {
        if let Some(message) = marker.is_newer() {
            return Err(Problem::new(Fault::Input, message).with_hint(SAME_VERSION).into());
        }
        match marker {
            Marker::Source(source) => {
                self.met_source = true;
                self.files = source.files;
                report::begin_run(&source, self.expected.limits.rows);
                self.send(Message::Source(Box::new(source)))
            }
            Marker::Schema(schema) => {
                let schema = serde_json::from_str(schema.get());
                let schema: Schema =
                    schema.map_err(|error| Problem::new(Fault::Input, format!("`$schema` cannot be read: {error}")))?;
                if schema.v > SCHEMA_VERSION {
                    let message =
                        format!("`$schema` is of version {}, and this program knows {SCHEMA_VERSION}", schema.v);
                    return Err(Problem::new(Fault::Input, message).with_hint(SAME_VERSION).into());
                }
                self.schema(schema)
            }
            Marker::Table(name) => {
                let place = self.tables.iter().position(|rows| rows.name == name);
                let unknown = || {
                    let problem = Problem::new(Fault::Input, format!("no `$schema` said what rows of `{name}` are"));
                    problem.with_hint("if the line `{\"$table\":...}` is a row of yours, give --no-markers")
                };
                self.current = place.ok_or_else(unknown)?;
                Ok(())
            }
            Marker::File(event) => self.file(event),
            Marker::Reject(reject) => self.reject(Rejected::upstream(reject)),
            Marker::Stop(_) => {
                self.flush()?;
                self.send(Message::Stopped)
            }
        }
    }

    /// A line that is neither a row nor a marker that this version knows.
    fn unknown(&mut self, line: &[u8]) -> Result<(), Halt> {
        #[derive(Deserialize)]
        struct Numbers {
            #[serde(rename = "$records", default)]
            records: Vec<u64>,
        }

        self.require_source()?;
        // What was a row before a filter changed it still stands for its records.
        let records = serde_json::from_slice(line).map_or_else(|_| Vec::new(), |Numbers { records }| records);
        let reason = "neither a row nor a marker that this version knows: its first key begins with `$`".to_owned();
        self.refuse(NoRow { reason, records }, line)
    }

    fn schema(&mut self, mut schema: Schema) -> Result<(), Halt> {
        self.require_source()?;
        let name = schema.name();
        if let Some((name, table)) = &self.expected.table {
            (schema.schema, schema.table) = (name.clone(), table.clone());
        }
        if let Some(key) = &self.expected.key {
            schema.key.clone_from(key);
        }
        if let Some(place) = self.tables.iter().position(|rows| rows.name == name) {
            if self.tables[place].schema == schema {
                self.current = place;
                return Ok(());
            }
            let message = format!("the stream has two kinds of rows of `{name}`: a second `$schema` differs");
            return Err(Problem::new(Fault::Input, message).into());
        }
        if !self.tables.is_empty() && (self.expected.table.is_some() || self.expected.key.is_some()) {
            let message = "the stream has rows of several tables: `--table` and `--key` would hold for all of them";
            return Err(Problem::new(Fault::Setup, message)
                .with_hint("`ddb-parse --table NAME` makes rows of one table only")
                .into());
        }
        let reader = RowReader::new(&schema);
        self.rows_are(name, schema, reader)
    }

    /// The columns of plain rows, of which the first line has these names.
    fn plain_rows_are(&mut self, names: Result<Vec<String>, String>) -> Result<Result<(), String>, Halt> {
        let Some(plain) = &self.expected.plain else { return Err(crate::plain::unknown_rows().into()) };
        let schema = match names {
            Ok(names) => plain.schema(&names)?,
            Err(reason) => return Ok(Err(reason)),
        };
        let reader = RowReader::plain(&schema, plain.columns_left_out(&schema));
        self.rows_are(String::new(), schema, reader).map(Ok)
    }

    fn rows_are(&mut self, name: String, schema: Schema, reader: RowReader) -> Result<(), Halt> {
        let mut rows = Rows::of(name, schema.clone(), reader)?;
        let (answer, apart) = mpsc::channel();
        self.send(Message::Schema(Box::new(schema), answer))?;
        let apart = apart.recv().map_err(|_| Halt::Gone)?;
        // Rows that are replaced as a whole are not worth waiting for; keys that only PostgreSQL can compare must stay in
        // the order in which they came.
        rows.many =
            self.expected.limits.gather.is_some() && rows.schema.collects() && rows.keys.can_be_certain() && apart;
        self.batch.add_table(rows.many);
        self.tables.push(rows);
        self.current = self.tables.len() - 1;
        Ok(())
    }

    fn file(&mut self, event: FileEvent) -> Result<(), Halt> {
        self.require_source()?;
        let next = match &event {
            FileEvent::Begin(begin) => {
                self.announce(begin);
                report::begin_file(begin);
                self.reading.begin(begin.skip);
                Some(Arc::from(begin.key.as_str()))
            }
            FileEvent::Mark(mark) => {
                self.reading.up_to(mark.records);
                self.batch.file().cloned()
            }
            FileEvent::End(end) => {
                self.reading.up_to(end.records);
                None
            }
            FileEvent::Fail(fail) => self.batch.file().filter(|file| ***file != *fail.key).cloned(),
        };
        self.tell();
        self.batch.end_segment(event, next);
        if self.batch.is_old() { self.flush() } else { Ok(()) }
    }

    fn announce(&self, begin: &Begin) {
        let name = begin.key.rsplit('/').next().unwrap_or(&begin.key);
        let skip = if begin.skip > 0 { format!(", from record {}", begin.skip + 1) } else { String::new() };
        match begin.number {
            Some(number) if self.files > 0 => info!("Processing file [{number}/{}]: {name}{skip}", self.files),
            _ => info!("Processing file: {name}{skip}"),
        }
    }

    fn data(&mut self, line: &[u8]) -> Result<(), Halt> {
        self.require_source()?;
        if self.tables.is_empty()
            && let Err(reason) = self.plain_rows_are(row::names(line))?
        {
            return self.refuse(NoRow { reason, records: Vec::new() }, line);
        }
        let Some(rows) = self.tables.get_mut(self.current) else { return Ok(()) };
        let added = rows.reader.read(line).and_then(|Parsed { row, records }| {
            let added = rows.normal.check(row).and_then(|()| match rows.normal.row(row, &rows.merger) {
                Some(normal) => self.batch.add_in_order(self.current, normal.view(), &rows.keys, records),
                None => self.batch.add_in_order(self.current, row, &rows.keys, records),
            });
            match added {
                Ok(added) => {
                    if added {
                        self.reading.came(records);
                    }
                    Ok(added)
                }
                Err(reason) => Err(NoRow { reason, records: records.to_vec() }),
            }
        });
        match added {
            Ok(true) => {
                self.tell();
                Ok(())
            }
            Ok(false) => {
                // Rows of which nobody knows here whether they have one key have to stay in their order.
                rows.many = false;
                self.flush()?;
                self.batch.set_few(self.current);
                self.data(line)
            }
            Err(no_row) => self.refuse(no_row, line),
        }
    }

    /// The key of a row that is to be deleted.
    fn delete(&mut self, Deletion { line, row, records }: Deletion<'_>) -> Result<(), Halt> {
        self.require_source()?;
        if self.tables.is_empty() {
            let plain = self.expected.plain.as_ref().ok_or_else(crate::plain::unknown_rows)?;
            // A deletion does not have the columns of the rows that follow.
            if !plain.names_columns() {
                let message = "the first line deletes a row, so it does not say which columns the rows have";
                return Err(Problem::new(Fault::Setup, message).with_hint("name them with --columns").into());
            }
            // The columns are named, so no names are needed.
            let _ = self.plain_rows_are(Ok(Vec::new()))?;
        }
        let Some(rows) = self.tables.get_mut(self.current) else { return Ok(()) };
        let read = rows.reader.read(row.as_bytes()).map_err(|no_row| no_row.reason);
        let added = read.and_then(|parsed| self.batch.delete(self.current, parsed.row, &rows.keys, &records));
        match added {
            Ok(()) => {
                self.reading.came(&records);
                self.tell();
                Ok(())
            }
            Err(reason) => self.refuse(NoRow { reason, records }, line),
        }
    }

    fn refuse(&mut self, NoRow { reason, records }: NoRow, line: &[u8]) -> Result<(), Halt> {
        let file = self.batch.file().cloned();
        self.reject(Rejected { table: self.current, ..Rejected::own(file.as_deref(), records, reason, line) })
    }

    /// Keeps a reject. When there are too many, the batch is handed on at once for the run to decide.
    fn reject(&mut self, rejected: Rejected) -> Result<(), Halt> {
        self.reading.came(&rejected.records);
        self.reading.rejected(rejected.weight);
        self.batch.reject(rejected);
        let (records, rejects) = self.earlier();
        let (records, rejects) = (records + self.reading.records(), rejects + self.reading.rejects());
        let accepted = records.saturating_sub(rejects);
        if self.expected.max_rejects.exceeded(records, accepted, rejects) { self.flush() } else { Ok(()) }
    }

    fn earlier(&self) -> (u64, u64) {
        self.expected.earlier.get().copied().unwrap_or_default()
    }

    fn require_source(&self) -> Result<(), Problem> {
        if self.expected.source && !self.met_source {
            return Err(Problem::new(Fault::Input, "the stream does not begin with `$source`, which a migration needs")
                .with_hint("the rows have to come from `ddb-list | ddb-cat | ddb-parse -p PROFILE`; leave -p out to write any rows"));
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Halt> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let many: Vec<_> = self.tables.iter().map(|rows| rows.many).collect();
        let next = Batch::new(self.batch.file().cloned(), &many);
        let mut batch = std::mem::replace(&mut self.batch, next);
        batch.reading = self.reading;
        self.send(Message::Batch(Box::new(batch)))?;
        // Whoever takes a batch is done with the one before.
        self.batch.reuse(&self.expected.spare);
        Ok(())
    }

    /// Says how many records were read.
    fn tell(&self) {
        self.expected.read.store(self.reading.records(), Ordering::Relaxed);
    }

    fn send(&self, message: Message) -> Result<(), Halt> {
        self.messages.send(message).map_err(|_| Halt::Gone)
    }
}
