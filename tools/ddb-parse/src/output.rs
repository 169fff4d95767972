//! What is written for an item: itself as plain JSON, a row as JSON, a row as CSV. What becomes of a line in all three
//! cases is in `parse`.

use std::io::{self, Write};

use fault::{Failure, Fault, PipeError, Problem};
use item::Item;
use profile::{Fate, Profile, Row, Schema, text_of};
use serde_json::value::to_raw_value;
use stream::{Marker, Writer};

use crate::window::{Merged, Window};

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

/// Rows on their way through the window, whatever they are written as.
#[derive(Debug)]
struct Rows {
    profile: Profile,
    window: Window,
    row: Row,
    written: u64,
}

impl Rows {
    fn new(profile: Profile, window: u64) -> Result<Self, Failure> {
        let window = Window::new(&profile.schema, window).map_err(|column| {
            Problem::new(Fault::Setup, format!("profile `{}`: there is no column `{column}`", profile.name))
        })?;
        Ok(Self { profile, window, row: Row::default(), written: 0 })
    }

    fn item(&mut self, item: &Item<'_>, record: u64) -> Result<Taken, String> {
        let fate = self.profile.plan.row(item, &mut self.row)?;
        if self.row.view().text_size() > LONGEST_ROW {
            return Err(format!("the row is longer than {} MiB", LONGEST_ROW >> 20));
        }
        Ok(match fate {
            Fate::Filtered => Taken::Filtered,
            Fate::Row if self.window.add(&self.row, record) => Taken::Full,
            Fate::Row => Taken::Row,
        })
    }

    fn counts(&self) -> (u64, u64) {
        (self.written, self.window.merged())
    }
}

/// Rows as JSON objects, with the numbers of their records where the next program wants to know them.
#[derive(Debug)]
pub(crate) struct JsonRows {
    rows: Rows,
    /// `{"id":`, `,"path":` and so on.
    names: Vec<String>,
    records: bool,
}

impl JsonRows {
    pub(crate) fn new(profile: Profile, records: bool, window: u64) -> Result<Self, Failure> {
        let names = profile.schema.columns.iter().enumerate().map(|(place, column)| {
            let name = serde_json::Value::from(column.name.as_str());
            format!("{}{name}:", if place == 0 { '{' } else { ',' })
        });
        Ok(Self { names: names.collect(), rows: Rows::new(profile, window)?, records })
    }
}

fn write(names: &[String], records: bool, merged: &Merged, line: &mut Vec<u8>) {
    for (name, cell) in names.iter().zip(merged.row.cells()) {
        line.extend_from_slice(name.as_bytes());
        line.extend_from_slice(cell.as_bytes());
    }
    if records {
        let mut separator: &[u8] = b",\"$records\":[";
        for record in &merged.records {
            line.extend_from_slice(separator);
            line.extend_from_slice(record.to_string().as_bytes());
            separator = b",";
        }
        line.push(b']');
    }
    line.push(b'}');
}

impl Output for JsonRows {
    fn header<W: Write>(&mut self, writer: &mut Writer<W>) -> Result<(), Failure> {
        let schema = to_raw_value(&self.rows.profile.schema).map_err(io::Error::from).map_err(PipeError::writing)?;
        Ok(writer.marker(&Marker::Schema(schema)).map_err(PipeError::writing)?)
    }

    fn item<W: Write>(
        &mut self,
        item: &Item<'_>,
        record: u64,
        _: &mut Writer<W>,
    ) -> Result<Result<Taken, String>, Failure> {
        Ok(self.rows.item(item, record))
    }

    fn flush<W: Write>(&mut self, writer: &mut Writer<W>) -> Result<(), Failure> {
        let Self { rows, names, records } = self;
        rows.window.drain(|merged| {
            write(names, *records, &merged, writer.compose());
            writer.end_line().map_err(PipeError::writing)?;
            rows.written += 1;
            Ok(())
        })
    }

    fn counts(&self) -> (u64, u64) {
        self.rows.counts()
    }
}

/// Rows as CSV, as psql's `\copy ... csv header` reads them with its defaults.
#[derive(Debug)]
pub(crate) struct CsvRows {
    rows: Rows,
}

impl CsvRows {
    pub(crate) fn new(profile: Profile, window: u64) -> Result<Self, Failure> {
        Ok(Self { rows: Rows::new(profile, window)? })
    }
}

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

fn csv_line(schema: &Schema, row: &Row) -> Result<Vec<u8>, Failure> {
    let mut fields = Vec::with_capacity(schema.columns.len());
    for (column, cell) in schema.columns.iter().zip(row.cells()) {
        let text = text_of(cell, &column.ty)
            .map_err(|problem| Problem::new(Fault::Input, format!("column `{}`: {problem}", column.name)))?;
        fields.push(text.map_or_else(String::new, |text| quoted(&text)));
    }
    csv_record(&fields)
}

fn csv_record(fields: &[String]) -> Result<Vec<u8>, Failure> {
    let mut line = Vec::new();
    let written = csv_writer(&mut line).write_record(fields);
    written.map_err(io::Error::other).map_err(PipeError::writing)?;
    // The stream's writer ends lines itself.
    line.pop();
    Ok(line)
}

impl Output for CsvRows {
    fn header<W: Write>(&mut self, writer: &mut Writer<W>) -> Result<(), Failure> {
        let names: Vec<_> = self.rows.profile.schema.columns.iter().map(|column| quoted(&column.name)).collect();
        Ok(writer.data(&csv_record(&names)?).map_err(PipeError::writing)?)
    }

    fn item<W: Write>(
        &mut self,
        item: &Item<'_>,
        record: u64,
        _: &mut Writer<W>,
    ) -> Result<Result<Taken, String>, Failure> {
        Ok(self.rows.item(item, record))
    }

    fn flush<W: Write>(&mut self, writer: &mut Writer<W>) -> Result<(), Failure> {
        let Rows { window, profile, written, .. } = &mut self.rows;
        window.drain(|merged| {
            writer.data(&csv_line(&profile.schema, &merged.row)?).map_err(PipeError::writing)?;
            *written += 1;
            Ok(())
        })
    }

    fn counts(&self) -> (u64, u64) {
        self.rows.counts()
    }
}
