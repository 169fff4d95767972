//! A line of data is a row: its values stay JSON texts where they are, and are known in the order of the columns. What
//! they become in SQL is in `copy`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

use ahash::RandomState;
use item::scan::{Beginning, common_length, end_of_value};
use profile::row::{NULL, opening};
use profile::{Cells, Schema};
use serde::Deserialize;
use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use tracing::warn;

use crate::plain::kept;

/// The records that a row was made of travel under this key, which no column can have.
const RECORDS: &str = "$records";

/// How they begin in a line of `ddb-parse`, behind the columns.
const RECORDS_PREFIX: &[u8] = br#","$records":["#;

/// How many lines are compared with one that is kept.
const COMPARED: u8 = 16;

/// A longer line is not kept to be compared with the next.
const LONGEST_KEPT: usize = 64 << 10;

/// Reads rows of one schema.
#[derive(Debug)]
pub struct RowReader {
    columns: Vec<Column>,
    places: HashMap<String, usize, RandomState>,
    /// The records of the row that was read last.
    records: Vec<u64>,
    /// One of the last lines of `ddb-parse` that were a row. Some cells are the same in nearly every row, and many of them
    /// stand side by side.
    earlier: Vec<u8>,
    /// How many lines were compared with it.
    compared: u8,
    /// Of plain rows: columns of the table that are not among `columns`. Rows of a `$schema` have no table yet.
    left_out: Option<Vec<String>>,
    /// It was said that keys with a `$` are ignored.
    told: bool,
}

#[derive(Debug)]
struct Column {
    name: String,
    /// `{"id":`, `,"path":` and so on.
    prefix: String,
    beginning: Beginning,
    /// Where in the line its value stands; nowhere, if the line has none.
    slot: Range<usize>,
    /// Where it stands in the earlier line.
    earlier: Range<usize>,
    /// Whether it was the same there as in the last line: then it is expected to be the same again.
    steady: bool,
}

/// A row with the numbers of the records that it was made of, lent until the next is read.
#[derive(Clone, Copy, Debug)]
pub struct Parsed<'a> {
    /// Its cells, in the order of the columns.
    pub row: LineRow<'a>,
    /// The numbers, if it says them.
    pub records: &'a [u64],
}

/// A row in the line that it came in.
#[derive(Clone, Copy, Debug)]
pub struct LineRow<'a> {
    line: &'a str,
    columns: &'a [Column],
}

impl Cells for LineRow<'_> {
    fn count(&self) -> usize {
        self.columns.len()
    }

    #[inline]
    fn cell(&self, index: usize) -> &str {
        self.slot(index).map_or(NULL, |slot| &self.line[slot])
    }

    #[inline]
    fn bytes(&self, index: usize) -> &[u8] {
        self.slot(index).map_or(NULL.as_bytes(), |slot| &self.line.as_bytes()[slot])
    }
}

impl LineRow<'_> {
    #[inline]
    fn slot(&self, index: usize) -> Option<Range<usize>> {
        self.columns.get(index).map(|column| column.slot.clone()).filter(|slot| !slot.is_empty())
    }
}

/// A line that is no row, with what is known of the records behind it.
#[derive(Debug, PartialEq, Eq)]
pub struct NoRow {
    /// What is wrong with it.
    pub reason: String,
    /// Their numbers, as far as they can be read.
    pub records: Vec<u64>,
}

impl RowReader {
    /// A reader of rows that a `$schema` describes.
    pub fn new(schema: &Schema) -> Self {
        let columns = schema.columns.iter().enumerate().map(|(place, column)| {
            let prefix = opening(&column.name, place);
            let beginning = Beginning::of(prefix.as_bytes());
            Column { name: column.name.clone(), prefix, beginning, slot: 0..0, earlier: 0..0, steady: false }
        });
        let places = schema.columns.iter().enumerate().map(|(place, column)| (column.name.clone(), place));
        Self {
            columns: columns.collect(),
            places: places.collect(),
            records: Vec::new(),
            earlier: Vec::new(),
            compared: 0,
            left_out: None,
            told: false,
        }
    }

    /// A reader of plain rows, whose columns the command line or the first row names; `left_out` are the table's others.
    pub fn plain(schema: &Schema, left_out: Vec<String>) -> Self {
        Self { left_out: Some(left_out), ..Self::new(schema) }
    }

    /// The row in a line.
    pub fn read<'a>(&'a mut self, line: &'a [u8]) -> Result<Parsed<'a>, NoRow> {
        let no_row = |reason: String| NoRow { reason, records: Vec::new() };
        let line = match simdutf8::basic::from_utf8(line) {
            Ok(line) => line,
            // The other one says where.
            Err(_) => std::str::from_utf8(line).map_err(|error| no_row(format!("not UTF-8: {error}")))?,
        };
        if self.read_plain(line).is_some() {
            if self.compared == 0 {
                self.keep(line);
            }
            self.compared = (self.compared + 1) % COMPARED;
            return Ok(self.parsed(line));
        }
        self.columns.iter_mut().for_each(|column| column.slot = 0..0);
        let mut found = Found::default();
        let visitor = Pairs { reader: self, line, found: &mut found, next: 0 };
        let mut deserializer = serde_json::Deserializer::from_str(line);
        let read = deserializer.deserialize_map(visitor).and_then(|()| deserializer.end());
        let Found { records, unknown, ignored, bad_records } = found;
        if let Err(error) = read {
            let reason = if line.trim_start().starts_with('{') {
                format!("not JSON: {error}")
            } else {
                "not a JSON object".to_owned()
            };
            return Err(NoRow { reason, records });
        }
        let plain = self.left_out.is_some();
        if let Some(name) = unknown {
            let why = if plain { ", or not in the first row: name it with --columns" } else { "" };
            return Err(NoRow { reason: format!("`{name}` is not a column{why}"), records });
        }
        if bad_records && !plain {
            return Err(no_row(format!("`{RECORDS}` is not an array of record numbers")));
        }
        if let (Some(name), true, false) = (ignored, plain, self.told) {
            self.told = true;
            warn!("`{name}` is not a column of the table and is ignored, as are other such keys that begin with `$`");
        }
        self.records = records;
        Ok(self.parsed(line))
    }

    fn parsed<'a>(&'a self, line: &'a str) -> Parsed<'a> {
        Parsed { row: LineRow { line, columns: &self.columns }, records: &self.records }
    }

    /// Takes the row of a line as `ddb-parse` writes it: every column in its order, no white space. Nothing if it is any
    /// other.
    fn read_plain(&mut self, line: &str) -> Option<()> {
        let Self { columns, records, earlier, .. } = self;
        let bytes = line.as_bytes();
        records.clear();
        // Where the next cell's name begins, here and in the earlier line.
        let (mut at, mut before, mut next) = (0, 0, 0);
        while next < columns.len() {
            if columns[next].steady {
                let (here, there, begun) = (at, before, next);
                let equal = there + common_length(&bytes[here..], &earlier[there..]);
                // What follows a cell has to be the same too: a number could go on.
                while let Some(column) = columns.get_mut(next).filter(|column| column.earlier.end < equal) {
                    column.slot = here + (column.earlier.start - there)..here + (column.earlier.end - there);
                    (at, before) = (column.slot.end, column.earlier.end);
                    next += 1;
                }
                if next > begun {
                    continue;
                }
            }
            let Column { prefix, beginning, slot, earlier: there, steady, .. } = &mut columns[next];
            at += beginning.is_of(prefix.as_bytes(), &bytes[at..]).then_some(prefix.len())?;
            *slot = at..end_of_value(bytes, at)?;
            *steady = bytes[slot.clone()] == earlier[there.clone()];
            (at, before) = (slot.end, there.end);
            next += 1;
        }
        if bytes[at..].starts_with(RECORDS_PREFIX) {
            at += RECORDS_PREFIX.len();
            let mut separator = b',';
            while separator == b',' {
                // Digits alone, and no zero in front: what else `parse` takes is no JSON.
                let digits = bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                (digits == 1 || bytes.get(at) != Some(&b'0')).then_some(())?;
                records.push(line[at..at + digits].parse().ok()?);
                separator = *bytes.get(at + digits)?;
                at += digits + 1;
            }
            (separator == b']').then_some(())?;
        }
        (&bytes[at..] == b"}").then_some(())
    }

    /// Keeps a line to compare the next ones with.
    fn keep(&mut self, line: &str) {
        let Self { columns, earlier, .. } = self;
        earlier.clear();
        let kept = line.len() <= LONGEST_KEPT;
        if kept {
            earlier.extend_from_slice(line.as_bytes());
        }
        for column in columns {
            column.earlier = if kept { column.slot.clone() } else { 0..0 };
        }
    }
}

/// The keys of a line's object, for rows that do not say what they are.
pub fn names(line: &[u8]) -> Result<Vec<String>, String> {
    /// Values may be nested too deeply to be parsed.
    #[derive(Default)]
    struct Keys(Vec<String>);

    impl<'de> Visitor<'de> for Keys {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<M: MapAccess<'de>>(mut self, mut map: M) -> Result<Vec<String>, M::Error> {
            while let Some((name, IgnoredAny)) = map.next_entry()? {
                if !self.0.contains(&name) {
                    self.0.push(name);
                }
            }
            Ok(self.0)
        }
    }

    let mut deserializer = serde_json::Deserializer::from_slice(line);
    let names = deserializer.deserialize_map(Keys::default()).and_then(|names| deserializer.end().map(|()| names));
    names.map_err(|_| "not a JSON object".to_owned())
}

#[derive(Default)]
struct Found {
    records: Vec<u64>,
    /// The first key that is no column, and that is no column but may be passed over.
    unknown: Option<String>,
    ignored: Option<String>,
    bad_records: bool,
}

struct Pairs<'a> {
    reader: &'a mut RowReader,
    line: &'a str,
    found: &'a mut Found,
    /// Rows of one writer have their keys in one order, mostly that of the columns.
    next: usize,
}

impl Pairs<'_> {
    /// The column of a key. PostgreSQL cut the names of columns off, and the rows may have the whole ones; of two that are
    /// the same then, the second is none.
    fn place(&self, name: &str) -> Option<usize> {
        let RowReader { places, columns, .. } = &*self.reader;
        let cut = || places.get(kept(name)).filter(|place| columns[**place].slot.is_empty());
        places.get(name).or_else(cut).copied()
    }
}

#[derive(Deserialize)]
#[serde(transparent)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Visitor<'de> for Pairs<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(mut self, mut map: M) -> Result<(), M::Error> {
        while let Some(Name(name)) = map.next_key::<Name<'de>>()? {
            let expected = self.reader.columns.get(self.next).is_some_and(|expected| *expected.name == *name);
            let place = if expected { Some(self.next) } else { self.place(&name) };
            if let Some(place) = place {
                let value = map.next_value::<&'de RawValue>()?.get();
                // The value is a piece of the line: only its place is kept.
                let start = value.as_ptr() as usize - self.line.as_ptr() as usize;
                self.reader.columns[place].slot = start..start + value.len();
                self.next = place + 1;
            } else if name == RECORDS {
                let value = map.next_value::<&'de RawValue>()?.get();
                if let Ok(records) = serde_json::from_str(value) {
                    self.found.records = records;
                } else {
                    self.found.bad_records = true;
                    self.found.ignored.get_or_insert_with(|| name.into_owned());
                }
            } else {
                map.next_value::<IgnoredAny>()?;
                // A later version may add to a row, but only under a name that no column of a profile can have.
                let left_out = || self.reader.left_out.iter().flatten().any(|column| *column == *name);
                let place = if name.starts_with('$') && !left_out() {
                    &mut self.found.ignored
                } else {
                    &mut self.found.unknown
                };
                place.get_or_insert_with(|| name.into_owned());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use harness::json::{Case, corpus};
    use proptest::prelude::*;

    /// A reader that takes the shape of `ddb-parse`'s rows by hand and the rest by another parser says the same of both.
    fn agrees(value: &[u8]) -> Result<(), TestCaseError> {
        let line = [br#"{"id":1,"a b":"x","j":"#, value, b"}"].concat();
        let shown = String::from_utf8_lossy(&line[..line.len().min(300)]);
        let theirs = std::str::from_utf8(&line).ok().and_then(|line| {
            let row: Result<HashMap<String, &RawValue>, _> = serde_json::from_str(line);
            row.ok().map(|row| row["j"].get().to_owned())
        });
        let mut reader = reader();
        let ours = reader.read(&line).map(|parsed| parsed.row.cell(2).to_owned()).ok();
        prop_assert_eq!(ours, theirs, "{}", shown);
        Ok(())
    }

    #[test]
    fn a_conformance_corpus_is_taken_or_refused_as_it_says() {
        for Case { name, bytes } in corpus() {
            let line = [br#"{"id":1,"j":"#, &*bytes, b"}"].concat();
            let mut reader = reader();
            let read = reader.read(&line);
            match name.as_bytes()[0] {
                b'y' => assert_eq!(read.unwrap().row.cell(2).as_bytes(), bytes.trim_ascii(), "{name}"),
                b'n' => assert!(read.is_err(), "{name}"),
                _ => {}
            }
            agrees(&bytes).unwrap();
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn near_the_corpus_both_ways_of_reading_say_the_same(
            case in prop::sample::select(corpus().into_iter().filter(|case| case.bytes.len() < 2_000).collect::<Vec<_>>()),
            place in any::<prop::sample::Index>(),
            byte in prop::option::of(any::<u8>()),
        ) {
            let mut bytes = case.bytes;
            let place = place.index(bytes.len() + 1);
            match byte {
                Some(byte) => bytes.insert(place, byte),
                None => bytes.truncate(place),
            }
            agrees(&bytes)?;
        }
    }

    /// Lines as `ddb-parse` writes them, the same line with other cells, and lines that are none.
    fn line() -> impl Strategy<Value = Vec<u8>> {
        let id = prop::sample::select(vec!["1", "12", "123", "-1", "1.5", "1e5", "01", "\"1\"", "null"]);
        let text =
            prop::sample::select(vec!["null", "\"\"", "\"x\"", "\"xy\"", "\"é\"", "\"x\\\"\"", "\"x\\\\\"", "x"]);
        let json = prop::sample::select(vec!["null", "[]", "[1]", "[1,2]", "{\"k\":\"x\"}", "{\"k\":\"é\"}", "[", "1"]);
        let end =
            prop::sample::select(vec!["}", ",\"$records\":[1]}", ",\"$records\":[1,2]}", ",\"id\":3}", " }", "", "}}"]);
        let colon = prop::sample::select(vec![":", ":", ":", ":", ": "]);
        (id, text, json, end, colon, any::<prop::sample::Index>(), 0..40_u8).prop_map(
            |(id, text, json, end, colon, place, cut)| {
                let mut line = format!("{{\"id\"{colon}{id},\"a b\":{text},\"j\":{json}{end}").into_bytes();
                if cut == 0 {
                    line.truncate(place.index(line.len()));
                }
                line
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5_000))]

        /// Whatever lines came before, a line says what it says to a reader that has read none.
        #[test]
        fn a_reader_with_a_memory_says_what_one_without_says(lines in prop::collection::vec(line(), 1..40)) {
            let mut with_memory = reader();
            let said = |read: Result<Parsed<'_>, NoRow>| {
                read.map(|Parsed { row, records }| (row.cells().map(str::to_owned).collect::<Vec<_>>(), records.to_vec()))
            };
            for line in lines {
                prop_assert_eq!(
                    said(with_memory.read(&line)),
                    said(reader().read(&line)),
                    "{}", String::from_utf8_lossy(&line)
                );
            }
        }
    }

    #[test]
    fn a_record_s_number_has_no_zero_in_front() {
        let mut reader = reader();
        for (records, good) in [("0", true), ("10,5", true), ("01", false), ("1,00", false), ("", false), ("-1", false)]
        {
            let line = format!(r#"{{"id":1,"a b":"x","j":[],"$records":[{records}]}}"#);
            assert_eq!(reader.read(line.as_bytes()).is_ok_and(|row| !row.records.is_empty()), good, "{records}");
        }
    }

    #[test]
    fn a_long_line_is_not_kept() {
        let mut reader = reader();
        let long = format!(r#"{{"id":1,"a b":"{}","j":[]}}"#, "x".repeat(LONGEST_KEPT));
        let short = r#"{"id":1,"a b":"x","j":[]}"#;
        let lines = [short, &long, short].map(|line| [line; COMPARED as usize]);
        for line in lines.concat() {
            let cells: Vec<_> = reader.read(line.as_bytes()).unwrap().row.cells().map(str::len).collect();
            assert_eq!(cells, [1, line.len() - 22, 2]);
            assert_eq!(reader.earlier.len(), if line == short { line.len() } else { 0 });
        }
    }

    fn reader() -> RowReader {
        let schema = r#"{"v":1,"profile":"p","hash":"h","table":"t","key":["id"],"columns":[
            {"name":"id","type":"bigint"},{"name":"a b","type":"text"},{"name":"j","type":"jsonb"}]}"#;
        RowReader::new(&serde_json::from_str(schema).unwrap())
    }

    fn cells(line: &str) -> Result<(Vec<String>, Vec<u64>), NoRow> {
        let mut reader = reader();
        let Parsed { row, records } = reader.read(line.as_bytes())?;
        Ok((row.cells().map(str::to_owned).collect(), records.to_vec()))
    }

    #[test]
    fn values_stay_as_they_are_in_the_order_of_the_columns() {
        for (line, expected, records) in [
            (r#"{"id":1,"a b":"x","j":{"k": [1.50]}}"#, ["1", "\"x\"", r#"{"k": [1.50]}"#], vec![]),
            (
                r#" { "j" : null , "id" : 12345678901234567890123 } "#,
                ["12345678901234567890123", "null", "null"],
                vec![],
            ),
            (
                r#"{"\u0061 b":"\ud83d\ude00","id":1,"$records":[5,9],"$later":{}}"#,
                ["1", r#""\ud83d\ude00""#, "null"],
                vec![5, 9],
            ),
            (r#"{"$records":[7],"id":1,"id":2}"#, ["2", "null", "null"], vec![7]),
            (r#"{"id":1,"a b":"x","j":[],"$records":[5,9]}"#, ["1", "\"x\"", "[]"], vec![5, 9]),
            (r#"{"id":1,"a b":"x","j":[],"id":2}"#, ["2", "\"x\"", "[]"], vec![]),
        ] {
            assert_eq!(cells(line), Ok((expected.map(str::to_owned).to_vec(), records)), "{line}");
        }
    }

    #[test]
    fn what_is_no_row_is_said() {
        for (line, reason, records) in [
            (r#"{"id":1,"x":{"y":1},"z":2,"$records":[3,4]}"#, "`x` is not a column", vec![3, 4]),
            ("[1]", "not a JSON object", vec![]),
            ("7", "not a JSON object", vec![]),
            ("", "not a JSON object", vec![]),
            (r#"{"id":1}{"#, "not JSON: trailing characters at line 1 column 9", vec![]),
            (r#"{"id":1,"a b":"x","j":[],"z":2}"#, "`z` is not a column", vec![]),
            (r#"{"id":1,"$records":7}"#, "`$records` is not an array of record numbers", vec![]),
        ] {
            assert_eq!(cells(line), Err(NoRow { reason: reason.to_owned(), records }), "{line}");
        }
        assert!(cells(r#"{"id":01}"#).unwrap_err().reason.starts_with("not JSON: "));
        assert!(reader().read(b"{\"id\":\"\xff\"}").unwrap_err().reason.starts_with("not UTF-8: "));
    }

    #[test]
    fn a_line_leaves_nothing_to_the_next() {
        let mut reader = reader();
        reader.read(br#"{"id":1,"j":[]}"#).unwrap();
        let row = reader.read(br#"{"id":2}"#).unwrap().row;
        assert_eq!(row.cells().collect::<Vec<_>>(), ["2", "null", "null"]);
    }
}
