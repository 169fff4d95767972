//! What is written for an item: itself as plain JSON, a row as JSON, a row as CSV. What becomes of a line in all three
//! cases is in `parse`.

use std::io::{self, Write};

use fault::{Failure, Fault, PipeError, Problem};
use item::Item;
use profile::{Fate, Profile, Row, RowView, Schema, text_of};
use serde_json::value::to_raw_value;
use stream::{Marker, Writer};

use crate::window::Window;

/// A way to write items.
pub(crate) trait Output {
    /// Lines that stand before the first row.
    fn header<W: Write>(&mut self, writer: &mut Writer<W>) -> Result<(), Failure>;

    /// Takes an item. What was taken may be held back until [`Output::flush`].
    ///
    /// The inner error is why the record is rejected.
    fn item<W: Write>(
        &mut self,
        item: &Item<'_>,
        record: u64,
        writer: &mut Writer<W>,
    ) -> Result<Result<Taken, String>, Failure>;

    /// Writes what is held back.
    fn flush<W: Write>(&mut self, writer: &mut Writer<W>) -> Result<(), Failure>;

    /// Rows written, and records merged into a row of another one, from the beginning.
    fn counts(&self) -> (u64, u64);
}

/// What became of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It is in a row.
    Row,
    /// It is in a row, and every row that was held back should be written now.
    Full,
    /// The profile leaves it out.
    Filtered,
}

/// Items as plain JSON.
#[derive(Debug, Default)]
pub(crate) struct Items {
    line: String,
    rows: u64,
}

impl Output for Items {
    fn header<W: Write>(&mut self, _: &mut Writer<W>) -> Result<(), Failure> {
        Ok(())
    }

    fn item<W: Write>(
        &mut self,
        item: &Item<'_>,
        _: u64,
        writer: &mut Writer<W>,
    ) -> Result<Result<Taken, String>, Failure> {
        self.line.clear();
        item.write_json(&mut self.line);
        if stream::is_marker(self.line.as_bytes()) {
            return Ok(Err(
                "the first attribute's name begins with `$`, which is kept for the programs' own lines".into()
            ));
        }
        self.rows += 1;
        writer.data(self.line.as_bytes()).map_err(PipeError::writing)?;
        Ok(Ok(Taken::Row))
    }

    fn flush<W: Write>(&mut self, _: &mut Writer<W>) -> Result<(), Failure> {
        Ok(())
    }

    fn counts(&self) -> (u64, u64) {
        (self.rows, 0)
    }
}

/// The longest row. Merged with what else the window holds it still is a line that the next program reads.
const LONGEST_ROW: usize = 16 << 20;

/// Rows without a window are marked when so many bytes of them were written.
const UNMARKED: usize = 12 << 20;

/// How rows are written.
pub(crate) trait Format {
    /// Lines that stand before the first row.
    fn header<W: Write>(&self, schema: &Schema, writer: &mut Writer<W>) -> Result<(), Failure>;

    /// A row and the numbers of the records that went into it.
    fn row<W: Write>(
        &self,
        schema: &Schema,
        row: RowView<'_>,
        records: &[u64],
        writer: &mut Writer<W>,
    ) -> Result<(), Failure>;
}

/// Items as rows of a profile's table.
#[derive(Debug)]
pub(crate) struct Rows<F> {
    profile: Profile,
    format: F,
    /// Where rows of one key are merged, if they are.
    window: Option<Window>,
    /// Of rows that were written without a window since the last mark.
    unmarked: (u64, usize),
    most_unmarked: u64,
    row: Row,
    written: u64,
}

impl<F: Format> Rows<F> {
    /// Rows that are merged over a window of so many rows if `merged`; else as they come.
    pub(crate) fn new(profile: Profile, format: F, window: u64, merged: bool) -> Result<Self, Failure> {
        let no_column =
            |column| Problem::new(Fault::Setup, format!("profile `{}`: there is no column `{column}`", profile.name));
        let merged = merged.then(|| Window::new(&profile.schema, window)).transpose().map_err(no_column)?;
        let row = Row::default();
        Ok(Self { window: merged, unmarked: (0, 0), most_unmarked: window, row, written: 0, profile, format })
    }
}

impl<F: Format> Output for Rows<F> {
    fn header<W: Write>(&mut self, writer: &mut Writer<W>) -> Result<(), Failure> {
        self.format.header(&self.profile.schema, writer)
    }

    fn item<W: Write>(
        &mut self,
        item: &Item<'_>,
        record: u64,
        writer: &mut Writer<W>,
    ) -> Result<Result<Taken, String>, Failure> {
        match self.profile.plan.row(item, &mut self.row) {
            Err(reason) => return Ok(Err(reason)),
            Ok(Fate::Filtered) => return Ok(Ok(Taken::Filtered)),
            Ok(Fate::Row) => {}
        }
        let size = self.row.view().text_size();
        if size > LONGEST_ROW {
            return Ok(Err(format!("the row is longer than {} MiB", LONGEST_ROW >> 20)));
        }
        let full = if let Some(window) = &mut self.window {
            window.add(&self.row, record)
        } else {
            self.format.row(&self.profile.schema, self.row.view(), &[record], writer)?;
            self.written += 1;
            self.unmarked = (self.unmarked.0 + 1, self.unmarked.1 + size);
            self.unmarked.0 >= self.most_unmarked || self.unmarked.1 >= UNMARKED
        };
        Ok(Ok(if full { Taken::Full } else { Taken::Row }))
    }

    fn flush<W: Write>(&mut self, writer: &mut Writer<W>) -> Result<(), Failure> {
        self.unmarked = (0, 0);
        let Self { window: Some(window), profile, format, written, .. } = self else { return Ok(()) };
        window.drain(|row, records| {
            *written += 1;
            format.row(&profile.schema, row, records, writer)
        })
    }

    fn counts(&self) -> (u64, u64) {
        (self.written, self.window.as_ref().map_or(0, Window::merged))
    }
}

/// Rows as JSON objects, with the numbers of their records where the next program wants to know them.
#[derive(Debug)]
pub(crate) struct Json {
    /// `{"id":`, `,"path":` and so on.
    names: Vec<String>,
    records: bool,
}

impl Json {
    pub(crate) fn new(schema: &Schema, records: bool) -> Self {
        let names = schema.columns.iter().enumerate().map(|(place, column)| {
            let name = serde_json::Value::from(column.name.as_str());
            format!("{}{name}:", if place == 0 { '{' } else { ',' })
        });
        Self { names: names.collect(), records }
    }
}

impl Format for Json {
    fn header<W: Write>(&self, schema: &Schema, writer: &mut Writer<W>) -> Result<(), Failure> {
        let schema = to_raw_value(schema).map_err(io::Error::from).map_err(PipeError::writing)?;
        Ok(writer.marker(&Marker::Schema(schema)).map_err(PipeError::writing)?)
    }

    fn row<W: Write>(
        &self,
        _: &Schema,
        row: RowView<'_>,
        records: &[u64],
        writer: &mut Writer<W>,
    ) -> Result<(), Failure> {
        let line = writer.compose();
        for (name, cell) in self.names.iter().zip(row.cells()) {
            line.extend_from_slice(name.as_bytes());
            line.extend_from_slice(cell.as_bytes());
        }
        if self.records {
            let mut separator: &[u8] = b",\"$records\":[";
            for record in records {
                line.extend_from_slice(separator);
                write!(line, "{record}").map_err(PipeError::writing)?;
                separator = b",";
            }
            line.push(b']');
        }
        line.push(b'}');
        Ok(writer.end_line().map_err(PipeError::writing)?)
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
}
