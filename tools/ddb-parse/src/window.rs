//! Rows of one key that come close together are merged before they are written. The window is bounded in rows and
//! bytes; what lies further apart is merged by the target. The rule of merging is `profile`'s.

use std::collections::HashMap;

use profile::{Kind, Merger, Row, Schema};

/// Room for the rows of a window. Rows take a few times the window's bytes at most, which keeps the program within 64 MiB.
const BYTES: usize = 12 << 20;

/// Rows by key, in the order in which their keys came first.
#[derive(Debug)]
pub(crate) struct Window {
    merger: Merger,
    key: Vec<(usize, Kind)>,
    places: HashMap<Box<str>, usize, ahash::RandomState>,
    rows: Vec<Merged>,
    bytes: usize,
    most_rows: usize,
    merged: u64,
}

/// A row and the numbers of the records that went into it.
#[derive(Debug)]
pub(crate) struct Merged {
    pub(crate) row: Row,
    pub(crate) records: Vec<u64>,
}

impl Window {
    pub(crate) fn new(schema: &Schema, most_rows: u64) -> Result<Self, String> {
        let key = schema.key_indexes()?.into_iter().map(|index| (index, schema.columns[index].ty.kind())).collect();
        Ok(Self {
            merger: Merger::new(schema)?,
            key,
            places: HashMap::default(),
            rows: Vec::new(),
            bytes: 0,
            most_rows: usize::try_from(most_rows).unwrap_or(usize::MAX),
            merged: 0,
        })
    }

    /// Takes the row of a record. True when the window is full and has to be [drained](Self::drain).
    pub(crate) fn add(&mut self, row: &Row, record: u64) -> bool {
        let key = self.key_of(row);
        if let Some(&place) = self.places.get(key.as_str()) {
            let earlier = &mut self.rows[place];
            self.bytes -= earlier.row.size();
            earlier.row = self.merger.merge(&earlier.row, row);
            earlier.records.push(record);
            self.bytes += earlier.row.size() + size_of::<u64>();
            self.merged += 1;
        } else {
            // The index takes about as much again as the key.
            self.bytes += row.size() + size_of::<Merged>() + 2 * key.len() + 64;
            self.places.insert(key.into_boxed_str(), self.rows.len());
            self.rows.push(Merged { row: row.clone(), records: vec![record] });
        }
        self.rows.len() >= self.most_rows || self.bytes >= BYTES
    }

    /// How many records were merged into a row of another one so far.
    pub(crate) fn merged(&self) -> u64 {
        self.merged
    }

    /// Empties the window.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Merged> {
        self.places.clear();
        self.bytes = 0;
        self.rows.drain(..)
    }

    /// The key's cells as one text. Numbers are equal as numbers, not as texts.
    fn key_of(&self, row: &Row) -> String {
        let mut text = String::new();
        for (index, kind) in &self.key {
            let cell = row.cell(*index);
            if matches!(kind, Kind::Numeric | Kind::Float) {
                let plain = item::number::plain(cell);
                let whole = plain.contains('.');
                text.push_str(if whole { plain.trim_end_matches('0').trim_end_matches('.') } else { &plain });
            } else {
                text.push_str(cell);
            }
            // No JSON text has this byte in it.
            text.push('\u{1f}');
        }
        text
    }
}
