//! A line of data becomes a row: its values stay JSON texts, put in the order of the columns. What they become in SQL
//! is in `copy`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

use ahash::RandomState;
use item::scan::end_of_value;
use profile::row::NULL;
use profile::{Row, Schema};
use serde::Deserialize;
use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The records that a row was made of travel under this key, which no column can have.
const RECORDS: &str = "$records";

/// Reads rows of one schema.
#[derive(Debug)]
pub struct RowReader {
    names: Vec<String>,
    /// `{"id":`, `,"path":` and so on.
    prefixes: Vec<String>,
    places: HashMap<String, usize, RandomState>,
    /// Where in the line each column's value stands.
    slots: Vec<Option<Range<usize>>>,
    /// The row that was read last, and its records.
    row: Row,
    records: Vec<u64>,
    /// Said of a key that is no column.
    why_unknown: &'static str,
}

/// A row with the numbers of the records that it was made of, lent until the next is read.
#[derive(Clone, Copy, Debug)]
pub struct Parsed<'a> {
    /// Its cells, in the order of the columns.
    pub row: &'a Row,
    /// The numbers, if it says them.
    pub records: &'a [u64],
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
    /// A reader of that schema's rows. `why_unknown` follows the name of a key that is no column.
    pub fn new(schema: &Schema, why_unknown: &'static str) -> Self {
        let names: Vec<_> = schema.columns.iter().map(|column| column.name.clone()).collect();
        let places = names.iter().cloned().enumerate().map(|(place, name)| (name, place)).collect();
        let prefixes = names.iter().enumerate().map(|(place, name)| {
            let opening = if place == 0 { '{' } else { ',' };
            format!("{opening}{}:", serde_json::Value::from(name.as_str()))
        });
        let (slots, prefixes) = (vec![None; names.len()], prefixes.collect());
        Self { slots, prefixes, names, places, why_unknown, row: Row::default(), records: Vec::new() }
    }

    /// The row in a line.
    pub fn read(&mut self, line: &[u8]) -> Result<Parsed<'_>, NoRow> {
        let no_row = |reason: String| NoRow { reason, records: Vec::new() };
        let line = match simdutf8::basic::from_utf8(line) {
            Ok(line) => line,
            // The other one says where.
            Err(_) => std::str::from_utf8(line).map_err(|error| no_row(format!("not UTF-8: {error}")))?,
        };
        if self.read_plain(line).is_some() {
            return Ok(Parsed { row: &self.row, records: &self.records });
        }
        self.slots.fill(None);
        let mut found = Found::default();
        let visitor = Pairs { reader: self, line, found: &mut found, next: 0 };
        let mut deserializer = serde_json::Deserializer::from_str(line);
        let read = deserializer.deserialize_map(visitor).and_then(|()| deserializer.end());
        let Found { records, unknown, bad_records } = found;
        if let Err(error) = read {
            let reason = if line.trim_start().starts_with('{') {
                format!("not JSON: {error}")
            } else {
                "not a JSON object".to_owned()
            };
            return Err(NoRow { reason, records });
        }
        if let Some(name) = unknown {
            return Err(NoRow { reason: format!("`{name}` is not a column{}", self.why_unknown), records });
        }
        if bad_records {
            return Err(no_row(format!("`{RECORDS}` is not an array of record numbers")));
        }
        self.row.clear();
        for slot in &self.slots {
            self.row.push(slot.clone().map_or(NULL, |range| &line[range]));
        }
        self.records = records;
        Ok(Parsed { row: &self.row, records: &self.records })
    }

    /// Takes the row of a line as `ddb-parse` writes it: every column in its order, no white space. Nothing if it is any
    /// other.
    fn read_plain(&mut self, line: &str) -> Option<()> {
        let Self { row, records, .. } = self;
        let bytes = line.as_bytes();
        row.clear();
        records.clear();
        let mut at = 0;
        for prefix in &self.prefixes {
            at += bytes[at..].starts_with(prefix.as_bytes()).then_some(prefix.len())?;
            let end = end_of_value(bytes, at)?;
            row.push(&line[at..end]);
            at = end;
        }
        if let Some(numbers) = line[at..].strip_prefix(",\"$records\":[") {
            let (numbers, rest) = numbers.split_once(']')?;
            for number in numbers.split(',') {
                // Digits alone: what else `parse` takes is no JSON.
                records.push(number.parse().ok().filter(|_| number.bytes().all(|byte| byte.is_ascii_digit()))?);
            }
            at = line.len() - rest.len();
        }
        (&line[at..] == "}").then_some(())
    }
}

/// The keys of a line's object, for rows that do not say what they are.
pub fn names(line: &[u8]) -> Result<Vec<String>, String> {
    let object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(line).map_err(|_| "not a JSON object".to_owned())?;
    Ok(object.keys().filter(|name| !name.starts_with('$')).cloned().collect())
}

#[derive(Default)]
struct Found {
    records: Vec<u64>,
    unknown: Option<String>,
    bad_records: bool,
}

struct Pairs<'a> {
    reader: &'a mut RowReader,
    line: &'a str,
    found: &'a mut Found,
    /// Rows of one writer have their keys in one order, mostly that of the columns.
    next: usize,
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
            let expected = self.reader.names.get(self.next).is_some_and(|expected| *expected == *name);
            let place = if expected { Some(self.next) } else { self.reader.places.get(&*name).copied() };
            if let Some(place) = place {
                let value = map.next_value::<&'de RawValue>()?.get();
                // The value is a piece of the line: only its place is kept.
                let start = value.as_ptr() as usize - self.line.as_ptr() as usize;
                self.reader.slots[place] = Some(start..start + value.len());
                self.next = place + 1;
            } else if name == RECORDS {
                let value = map.next_value::<&'de RawValue>()?.get();
                match serde_json::from_str(value) {
                    Ok(records) => self.found.records = records,
                    Err(_) => self.found.bad_records = true,
                }
            } else {
                map.next_value::<IgnoredAny>()?;
                if !name.starts_with('$') {
                    self.found.unknown.get_or_insert_with(|| name.into_owned());
                }
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
        let ours = reader().read(&line).map(|parsed| parsed.row.cell(2).to_owned()).ok();
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

    fn reader() -> RowReader {
        let schema = r#"{"v":1,"profile":"p","hash":"h","table":"t","key":["id"],"columns":[
            {"name":"id","type":"bigint"},{"name":"a b","type":"text"},{"name":"j","type":"jsonb"}]}"#;
        RowReader::new(&serde_json::from_str(schema).unwrap(), "")
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
