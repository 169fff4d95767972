//! What is written for an item: itself as plain JSON, a row as JSON, a row as CSV. What becomes of a line in all three
//! cases is in `parse`.

use std::collections::BTreeMap;
use std::io::{self, Write};

use fault::{Failure, Fault, PipeError, Problem};
use item::Record;
use profile::row::{NULL, opening};
use profile::{Before, Fate, Profile, Row, RowView, Schema, text_of};
use serde_json::value::to_raw_value;
use stream::{Marker, Writer};

use crate::chunk::{Chunk, Made};
use crate::window::Window;

/// What makes rows of records. It is used by several threads, each with a scratch of its own.
pub(crate) trait Make: Sync {
    /// Memory that is used again.
    type Scratch: Default + Send;

    /// Makes all rows of a record, which it adds to the chunk, or none. `before` says what is known of items
    /// that have changed.
    ///
    /// # Errors
    /// Why the record is rejected.
    fn make(
        &self,
        record: &Record<'_>,
        before: Before,
        scratch: &mut Self::Scratch,
        chunk: &mut Chunk,
    ) -> Result<Fate, String>;
}

impl Make for Profile {
    type Scratch = profile::Made;

    fn make(
        &self,
        record: &Record<'_>,
        before: Before,
        scratch: &mut profile::Made,
        chunk: &mut Chunk,
    ) -> Result<Fate, String> {
        let fate = match record {
            Record::Item(item) => self.rows(item, scratch)?,
            Record::Change(change) => self.changes(change, before, scratch)?,
        };
        if fate == Fate::Row {
            scratch.deleted().for_each(|(table, row)| chunk.row(table, row, true));
            scratch.rows().for_each(|(table, row)| chunk.row(table, row, false));
        }
        Ok(fate)
    }
}

/// Makes a line of plain JSON of each item.
pub(crate) struct Plain;

impl Make for Plain {
    type Scratch = Row;

    fn make(&self, record: &Record<'_>, _: Before, scratch: &mut Row, chunk: &mut Chunk) -> Result<Fate, String> {
        let item = match record {
            Record::Item(item) => Some(item),
            Record::Change(change) => change.new.as_ref(),
        };
        let item = item.ok_or("a deletion has no item to write: a profile (-p) makes a deleted row of it")?;
        // A line whose first key begins with `$` could be a marker.
        let first = item.attributes().iter().position(|(name, _)| !name.get().starts_with('$'));
        let none = item.attributes().is_empty();
        if first.is_none() && !none {
            return Err("every attribute's name begins with `$`, so its line would look like a marker".into());
        }
        scratch.clear();
        item.write_json_from(first.unwrap_or_default(), scratch.compose());
        scratch.end_cell();
        chunk.row(0, scratch.view(), false);
        Ok(Fate::Row)
    }
}

/// A way to write rows.
pub(crate) trait Output {
    /// Lines that stand before the first row.
    fn header<W: Write>(&mut self, writer: &mut Writer<W>) -> Result<(), Failure>;

    /// Takes the rows of a record, and whether it is one of an incremental export. What was taken may be held back until
    /// [`Output::flush`].
    ///
    /// The inner error is why the record is rejected.
    fn take<W: Write>(
        &mut self,
        made: Made<'_>,
        change: bool,
        record: u64,
        writer: &mut Writer<W>,
    ) -> Result<Result<Taken, String>, Failure>;

    /// Writes what is held back.
    fn flush<W: Write>(&mut self, writer: &mut Writer<W>) -> Result<(), Failure>;

    /// What became of all items so far.
    fn counts(&self) -> Counts;
}

/// What became of items, from the beginning.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Rows written.
    pub(crate) rows: u64,
    /// Records merged into a row of another one.
    pub(crate) merged: u64,
    /// How many times a record went into a row of each table, or deleted one.
    pub(crate) taken: BTreeMap<String, u64>,
    /// Whether a record may be a row of several tables, or several rows, so that these counts have to be told.
    pub(crate) by_table: bool,
}

/// What became of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It is in a row.
    Row,
    /// It is in a row, and every row that was held back should be written now.
    Full,
}

/// Items as plain JSON.
#[derive(Debug, Default)]
pub(crate) struct Items {
    rows: u64,
}

impl Output for Items {
    fn header<W: Write>(&mut self, _: &mut Writer<W>) -> Result<(), Failure> {
        Ok(())
    }

    fn take<W: Write>(
        &mut self,
        made: Made<'_>,
        _: bool,
        _: u64,
        writer: &mut Writer<W>,
    ) -> Result<Result<Taken, String>, Failure> {
        for (_, row) in made.rows() {
            self.rows += 1;
            writer.data(row.text().as_bytes()).map_err(PipeError::writing)?;
        }
        Ok(Ok(Taken::Row))
    }

    fn flush<W: Write>(&mut self, _: &mut Writer<W>) -> Result<(), Failure> {
        Ok(())
    }

    fn counts(&self) -> Counts {
        Counts { rows: self.rows, ..Counts::default() }
    }
}

/// The longest row. Merged with what else the window holds it still is a line that the next program reads.
const LONGEST_ROW: usize = 16 << 20;

/// Rows without a window are marked when so many bytes of them were written.
const UNMARKED: usize = 12 << 20;

/// How rows of a table are written.
pub(crate) trait Format: Sized {
    /// The lines that stand before the first row of any table.
    fn header<W: Write>(&self, schema: &Schema, writer: &mut Writer<W>) -> Result<(), Failure>;

    /// The line that stands before rows of this table if rows of another one were written last.
    fn table<W: Write>(&self, schema: &Schema, writer: &mut Writer<W>) -> Result<(), Failure>;

    /// A row and the numbers of the records that went into it.
    fn row<W: Write>(
        &self,
        schema: &Schema,
        row: RowView<'_>,
        records: &[u64],
        writer: &mut Writer<W>,
    ) -> Result<(), Failure>;

    /// The key of a row that is no longer, or why that cannot be written.
    fn deleted<W: Write>(
        &self,
        schema: &Schema,
        row: RowView<'_>,
        record: u64,
        writer: &mut Writer<W>,
    ) -> Result<Result<(), String>, Failure>;
}

/// Items as rows of a profile's tables.
#[derive(Debug)]
pub(crate) struct Rows<'p, F> {
    profile: &'p Profile,
    tables: Vec<Table<F>>,
    /// Records of incremental exports have come.
    changes: bool,
    /// Of rows that were written without a window since the last mark.
    unmarked: (u64, usize),
    most_unmarked: u64,
    /// The table of the row that was written last.
    current: Option<usize>,
}

/// What is written of a table.
#[derive(Debug)]
struct Table<F> {
    format: F,
    /// Whether its rows are wanted at all.
    wanted: bool,
    /// Where rows of one key are merged, if they are.
    window: Option<Window>,
    written: u64,
    /// Records that went into rows, each as often as it did.
    taken: u64,
}

impl<'p, F: Format> Rows<'p, F> {
    /// Rows that are merged over a window of so many, where `merged` says so of a table; else as they come. If only one of
    /// several tables is wanted, `only` is its name.
    pub(crate) fn new(
        profile: &'p Profile,
        format: impl Fn(&Schema) -> F,
        window: u64,
        merged: impl Fn(&Schema) -> bool,
        only: Option<&str>,
    ) -> Result<Self, Failure> {
        let setup = |text| Problem::new(Fault::Setup, format!("profile `{}`: {text}", profile.name));
        let named = |schema: &Schema| only.is_none_or(|only| schema.name() == only);
        if let (Some(only), false) = (only, profile.schemas().any(named)) {
            return Err(setup(format!("there is no table `{only}`")).into());
        }
        // Rows of several tables come in turns: in windows those of one table wait for each other.
        let (count, mut tables) = (profile.tables.len(), Vec::new());
        for schema in profile.schemas() {
            let window = (count > 1 || merged(schema)).then(|| Window::new(schema, window, count)).transpose();
            let window = window.map_err(|column| setup(format!("there is no column `{column}`")))?;
            tables.push(Table { format: format(schema), wanted: named(schema), window, written: 0, taken: 0 });
        }
        Ok(Self { tables, changes: false, unmarked: (0, 0), most_unmarked: window, current: None, profile })
    }

    /// Says which table the next row is of, unless the row before was of the same.
    fn enter<W: Write>(&mut self, table: usize, writer: &mut Writer<W>) -> Result<(), Failure> {
        if self.tables.len() > 1 && self.current.replace(table) != Some(table) {
            self.tables[table].format.table(&self.profile.tables[table].schema, writer)?;
        }
        Ok(())
    }
}

impl<F: Format> Output for Rows<'_, F> {
    fn header<W: Write>(&mut self, writer: &mut Writer<W>) -> Result<(), Failure> {
        let tables = self.tables.iter().zip(self.profile.schemas()).filter(|(table, _)| table.wanted);
        for (table, schema) in tables {
            table.format.header(schema, writer)?;
        }
        Ok(())
    }

    fn take<W: Write>(
        &mut self,
        made: Made<'_>,
        change: bool,
        record: u64,
        writer: &mut Writer<W>,
    ) -> Result<Result<Taken, String>, Failure> {
        self.changes |= change;
        if made.rows().any(|(_, row)| row.text_size() > LONGEST_ROW) {
            return Ok(Err(format!("the row is longer than {} MiB", LONGEST_ROW >> 20)));
        }
        for (place, row) in made.deleted() {
            let (Table { format, wanted, taken, .. }, schema) =
                (&mut self.tables[place], &self.profile.tables[place].schema);
            if !*wanted {
                continue;
            }
            if self.profile.tables.len() > 1 && self.current.replace(place) != Some(place) {
                format.table(schema, writer)?;
            }
            if let Err(reason) = format.deleted(schema, row, record, writer)? {
                return Ok(Err(reason));
            }
            *taken += 1;
        }
        let mut full = false;
        for (place, row) in made.rows() {
            let Table { format, wanted, window, written, taken } = &mut self.tables[place];
            if !*wanted {
                continue;
            }
            *taken += 1;
            if let Some(window) = window {
                full |= window.add(row, record);
            } else {
                format.row(&self.profile.tables[place].schema, row, &[record], writer)?;
                *written += 1;
                self.unmarked = (self.unmarked.0 + 1, self.unmarked.1 + row.text_size());
                full |= self.unmarked.0 >= self.most_unmarked || self.unmarked.1 >= UNMARKED;
            }
        }
        Ok(Ok(if full { Taken::Full } else { Taken::Row }))
    }

    fn flush<W: Write>(&mut self, writer: &mut Writer<W>) -> Result<(), Failure> {
        self.unmarked = (0, 0);
        for place in 0..self.tables.len() {
            if self.tables[place].window.as_ref().is_none_or(Window::is_empty) {
                continue;
            }
            self.enter(place, writer)?;
            let (Table { format, window, written, .. }, schema) =
                (&mut self.tables[place], &self.profile.tables[place].schema);
            let Some(window) = window else { continue };
            window.drain(|row, records| {
                *written += 1;
                format.row(schema, row, records, writer)
            })?;
        }
        Ok(())
    }

    fn counts(&self) -> Counts {
        let wanted = self.tables.iter().zip(self.profile.schemas()).filter(|(table, _)| table.wanted);
        Counts {
            rows: self.tables.iter().map(|table| table.written).sum(),
            merged: self.tables.iter().filter_map(|table| table.window.as_ref()).map(Window::merged).sum(),
            taken: wanted.map(|(table, schema)| (schema.name(), table.taken)).collect(),
            by_table: self.tables.len() > 1 || self.changes,
        }
    }
}

/// Rows as JSON objects, with the numbers of their records where the next program wants to know them.
#[derive(Debug)]
pub(crate) struct Json {
    /// `{"id":`, `,"path":` and so on, for the rows that are no longer: of these only some cells are written.
    names: Vec<String>,
    /// Whether markers are written, and so the numbers of a row's records.
    markers: bool,
    /// Without markers: `,"$table":"orders"` where rows of other tables may stand beside.
    table: String,
}

impl Json {
    pub(crate) fn new(schema: &Schema, markers: bool, several: bool) -> Self {
        let names = schema.columns.iter().enumerate().map(|(place, column)| opening(&column.name, place));
        let table = serde_json::Value::from(schema.name());
        let table = if several && !markers { format!(",\"$table\":{table}") } else { String::new() };
        Self { names: names.collect(), markers, table }
    }

    /// Ends a line with what is said of its row.
    fn end<W: Write>(&self, records: &[u64], writer: &mut Writer<W>) -> Result<(), Failure> {
        let line = writer.compose();
        line.extend_from_slice(self.table.as_bytes());
        if self.markers {
            let mut separator: &[u8] = b",\"$records\":[";
            for record in records {
                line.extend_from_slice(separator);
                line.extend_from_slice(itoa::Buffer::new().format(*record).as_bytes());
                separator = b",";
            }
            line.push(b']');
        }
        line.push(b'}');
        Ok(writer.end_line().map_err(PipeError::writing)?)
    }
}

impl Format for Json {
    fn header<W: Write>(&self, schema: &Schema, writer: &mut Writer<W>) -> Result<(), Failure> {
        let schema = to_raw_value(schema).map_err(io::Error::from).map_err(PipeError::writing)?;
        Ok(writer.marker(&Marker::Schema(schema)).map_err(PipeError::writing)?)
    }

    fn table<W: Write>(&self, schema: &Schema, writer: &mut Writer<W>) -> Result<(), Failure> {
        Ok(writer.marker(&Marker::Table(schema.name())).map_err(PipeError::writing)?)
    }

    fn row<W: Write>(
        &self,
        _: &Schema,
        row: RowView<'_>,
        records: &[u64],
        writer: &mut Writer<W>,
    ) -> Result<(), Failure> {
        // A profile makes rows with the names of their columns, which they keep when they are merged.
        writer.compose().extend_from_slice(row.text().as_bytes());
        self.end(records, writer)
    }

    fn deleted<W: Write>(
        &self,
        _: &Schema,
        row: RowView<'_>,
        record: u64,
        writer: &mut Writer<W>,
    ) -> Result<Result<(), String>, Failure> {
        let line = writer.compose();
        line.extend_from_slice(b"{\"$delete\":");
        let mut first = true;
        for (name, cell) in self.names.iter().zip(row.cells()).filter(|(_, cell)| *cell != NULL) {
            line.push(if first { b'{' } else { b',' });
            line.extend_from_slice(&name.as_bytes()[1..]);
            line.extend_from_slice(cell.as_bytes());
            first = false;
        }
        line.push(b'}');
        self.end(&[record], writer).map(Ok)
    }
}

/// Rows as CSV, as psql's `\copy ... csv header` reads them with its defaults.
#[derive(Debug)]
pub(crate) struct Csv;

/// A writer that leaves quoting to [`quoted`]: NULL and the empty text differ in their quotes alone.
fn csv_writer(line: &mut Vec<u8>) -> csv::Writer<&mut Vec<u8>> {
    csv::WriterBuilder::new().quote_style(csv::QuoteStyle::Never).from_writer(line)
}

/// A value as CSV (RFC 4180, section 2): quoted where it has to be, and where it is empty.
fn quoted(text: &str) -> String {
    if text.is_empty() || text == "\\." || text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

fn csv_record(fields: &[String]) -> Result<Vec<u8>, Failure> {
    let mut line = Vec::new();
    let written = csv_writer(&mut line).write_record(fields);
    written.map_err(io::Error::other).map_err(PipeError::writing)?;
    // The stream's writer ends lines itself.
    line.pop();
    Ok(line)
}

impl Format for Csv {
    fn header<W: Write>(&self, schema: &Schema, writer: &mut Writer<W>) -> Result<(), Failure> {
        let names: Vec<_> = schema.columns.iter().map(|column| quoted(&column.name)).collect();
        Ok(writer.data(&csv_record(&names)?).map_err(PipeError::writing)?)
    }

    fn table<W: Write>(&self, _: &Schema, _: &mut Writer<W>) -> Result<(), Failure> {
        Ok(())
    }

    fn row<W: Write>(
        &self,
        schema: &Schema,
        row: RowView<'_>,
        _: &[u64],
        writer: &mut Writer<W>,
    ) -> Result<(), Failure> {
        let mut fields = Vec::with_capacity(schema.columns.len());
        for (column, cell) in schema.columns.iter().zip(row.cells()) {
            let text = text_of(cell, &column.ty)
                .map_err(|problem| Problem::new(Fault::Input, format!("column `{}`: {problem}", column.name)))?;
            fields.push(text.map_or_else(String::new, |text| quoted(&text)));
        }
        Ok(writer.data(&csv_record(&fields)?).map_err(PipeError::writing)?)
    }

    fn deleted<W: Write>(
        &self,
        _: &Schema,
        _: RowView<'_>,
        _: u64,
        _: &mut Writer<W>,
    ) -> Result<Result<(), String>, Failure> {
        Ok(Err("CSV cannot say that a row is deleted".to_owned()))
    }
}
