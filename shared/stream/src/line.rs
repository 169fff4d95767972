//! Which lines are markers. What a marker holds is in `marker`.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer as _, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::marker::{MARKER_VERSION, Marker};

/// The numbers of the records that a row was made of. They stand behind the columns, or in front after `jq -S`.
const RECORDS: &str = "$records";

/// The names of the markers.
const NAMES: [&str; 7] = ["$source", "$file", "$schema", "$table", "$delete", "$reject", "$stop"];

/// Tells the markers of a stream from its data.
#[derive(Clone, Copy, Debug)]
pub struct Classifier {
    markers: bool,
    met_marker: bool,
}

impl Default for Classifier {
    fn default() -> Self {
        Self { markers: true, met_marker: false }
    }
}

impl Classifier {
    /// A classifier to which every line is data.
    pub fn without_markers() -> Self {
        Self { markers: false, ..Self::default() }
    }

    /// What the next line of the stream is. Before the first marker, a line whose first key begins with `$` and that is
    /// no marker is data: nobody has said that this stream has markers at all.
    #[inline]
    pub fn classify<'a>(&mut self, line: &'a [u8]) -> Line<'a> {
        if !begins_with_dollar(line) {
            return Line::Data(line);
        }
        self.with_dollar(line)
    }

    #[cold]
    fn with_dollar<'a>(&mut self, line: &'a [u8]) -> Line<'a> {
        if !self.markers {
            return Line::Data(line);
        }
        match Line::of(line) {
            Line::Unknown(line) if !self.met_marker => Line::Data(line),
            Line::Data(line) => Line::Data(line),
            other => {
                self.met_marker = true;
                other
            }
        }
    }
}

/// A line, parsed only as far as needed.
#[derive(Debug)]
pub enum Line<'a> {
    /// A marker.
    Marker(Box<Marker>),
    /// The marker `$delete`.
    Deletion(Deletion<'a>),
    /// A line whose first key begins with `$` and that is no marker: of a later version, or a filter's mistake.
    Unknown(&'a [u8]),
    /// Data, byte for byte.
    Data(&'a [u8]),
}

/// `{"$delete":{"id":7,"version":17},"$records":[5]}`: the row with this key is to be deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deletion<'a> {
    /// The line.
    pub line: &'a [u8],
    /// The object with the key.
    pub row: &'a str,
    /// The records that say so, if they are numbered.
    pub records: Vec<u64>,
}

impl<'a> Line<'a> {
    /// What a line (without its newline) is on its own, see [`Classifier`].
    #[inline]
    pub fn of(line: &'a [u8]) -> Self {
        if !begins_with_dollar(line) || line.trim_ascii_start().starts_with(br#"{"$records""#) {
            return Self::Data(line);
        }
        let mut deserializer = serde_json::Deserializer::from_slice(line);
        let read = deserializer.deserialize_map(MarkerVisitor).and_then(|known| deserializer.end().map(|()| known));
        match read {
            Ok(Known::Marker(marker)) => Self::Marker(marker),
            Ok(Known::Deletion { row, records }) => Self::Deletion(Deletion { line, row, records }),
            Err(_) => Self::Unknown(line),
        }
    }
}

/// Whether the first key of a line begins with `$`.
///
/// Looks at the bytes only: `{`, white space, `"$`. An escaped dollar sign (`\u0024`) counts as well, or one program could
/// take a line for data and the next one, which parses it, for a marker.
#[inline]
pub fn begins_with_dollar(line: &[u8]) -> bool {
    // The usual line of an export, `{"I...`, is told apart by three bytes.
    if let [b'{', b'"', third, ..] = line {
        return match third {
            b'$' => true,
            b'\\' => line[2..].starts_with(br"\u0024"),
            _ => false,
        };
    }
    let Some(rest) = line.trim_ascii_start().strip_prefix(b"{") else { return false };
    let Some(key) = rest.trim_ascii_start().strip_prefix(b"\"") else { return false };
    key.starts_with(b"$") || key.starts_with(br"\u0024")
}

/// A line that is a marker.
enum Known<'a> {
    Marker(Box<Marker>),
    Deletion { row: &'a str, records: Vec<u64> },
}

/// Reads an object with the name of a marker as its first key.
struct MarkerVisitor;

#[derive(Deserialize)]
#[serde(transparent)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Visitor<'de> for MarkerVisitor {
    type Value = Known<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a marker")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Known<'de>, M::Error> {
        let Some(Name(first)) = map.next_key::<Name<'de>>()? else { return Err(M::Error::custom("an empty object")) };
        let mut known = match &*first {
            "$source" => Known::marker(Marker::Source(map.next_value()?)),
            "$file" => Known::marker(Marker::File(map.next_value()?)),
            "$schema" => Known::marker(Marker::Schema(schema(map.next_value()?).map_err(M::Error::custom)?)),
            "$table" => Known::marker(Marker::Table(map.next_value()?)),
            "$reject" => Known::marker(Marker::Reject(map.next_value()?)),
            "$stop" => Known::marker(Marker::Stop(map.next_value()?)),
            "$delete" => {
                let row = map.next_value::<&'de RawValue>()?.get();
                if !row.starts_with('{') {
                    return Err(M::Error::custom("no key of a row"));
                }
                Known::Deletion { row, records: Vec::new() }
            }
            _ => return Err(M::Error::custom("not the name of a marker")),
        };
        while let Some(Name(name)) = map.next_key::<Name<'de>>()? {
            match &mut known {
                Known::Deletion { records, .. } if name == RECORDS => *records = map.next_value()?,
                // A later version may add to a marker, but only under a name that no column of a profile can have.
                _ if name.starts_with('$') && !NAMES.contains(&&*name) => _ = map.next_value::<IgnoredAny>()?,
                _ => return Err(M::Error::custom("not a marker alone")),
            }
        }
        Ok(known)
    }
}

impl Known<'_> {
    fn marker(marker: Marker) -> Self {
        Self::Marker(Box::new(marker))
    }
}

/// The content of `$schema`, if it has the shape of one: in JSON Schema the same name has the address of a dialect. What
/// it says is read by `profile`.
fn schema(content: Box<RawValue>) -> Result<Box<RawValue>, &'static str> {
    #[derive(Deserialize)]
    struct Shape {
        v: u32,
        table: Option<String>,
        columns: Option<Vec<IgnoredAny>>,
    }

    let shape: Shape = serde_json::from_str(content.get()).map_err(|_| "not the content of `$schema`")?;
    // Of a later version the reader says that it cannot read it.
    let complete = shape.v > MARKER_VERSION || (shape.table.is_some() && shape.columns.is_some());
    if complete { Ok(content) } else { Err("not the content of `$schema`") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::marker::{End, FileEvent};
    use proptest::prelude::*;

    /// One of each, as docs/stream.md shows them.
    const MARKERS: [&str; 9] = [
        r#"{"$source":{"v":1,"source":"s3://bucket/exports/"}}"#,
        r#"{"$file":{"event":"begin","v":1,"key":"x","encoding":"json"}}"#,
        r#"{"$file":{"event":"mark","key":"x","records":5}}"#,
        r#"{"$file":{"event":"end","key":"x","records":9}}"#,
        r#"{"$file":{"event":"fail","key":"x","reason":"cut"}}"#,
        r#"{"$schema":{"v":1,"profile":"p","hash":"h","table":"t","key":["id"],"columns":[{"name":"id","type":"text"}]}}"#,
        r#"{"$table":"orders"}"#,
        r#"{"$reject":{"stage":"ddb-parse","reason":"no","data":7}}"#,
        r#"{"$stop":{"signal":15}}"#,
    ];

    /// Plain rows of others that begin with `$`, some with the name of a marker.
    const STRANGERS: [&str; 16] = [
        r#"{"$id":"1","name":"Json.NET"}"#,
        r#"{"$ref":"1"}"#,
        r#"{"$schema":"https://json-schema.org/draft/2020-12/schema","$id":"x"}"#,
        r#"{"$schema":"https://json-schema.org/draft/2020-12/schema"}"#,
        r#"{"$schema":{"v":1}}"#,
        r#"{"$file":"a.txt","id":1}"#,
        r#"{"$file":{"event":"end"}}"#,
        r#"{"$file":{"event":"moved","key":"x","records":1}}"#,
        r#"{"$source":{"name":"x"}}"#,
        r#"{"$table":7}"#,
        r#"{"$table":"orders","id":1}"#,
        r#"{"$table":"orders","$table":"lines"}"#,
        r#"{"$delete":7}"#,
        r#"{"$delete":{"id":1},"id":1}"#,
        r#"{"$delete":{"id":1},"$table":"orders"}"#,
        r#"{"$stop":{}}"#,
    ];

    #[test]
    fn a_line_is_a_marker_by_its_first_key_and_the_shape_of_its_value() {
        for line in MARKERS {
            assert!(matches!(Line::of(line.as_bytes()), Line::Marker(_)), "{line}");
        }
        for line in STRANGERS {
            assert!(matches!(Line::of(line.as_bytes()), Line::Unknown(_)), "{line}");
        }
        for line in [r#"{"a":1,"$file":{"event":"fail","key":"x","reason":"cut"}}"#, r#"["$file"]"#, "", "{}"] {
            assert!(matches!(Line::of(line.as_bytes()), Line::Data(_)), "{line}");
        }
    }

    #[test]
    fn the_spelling_of_a_name_and_what_a_later_version_adds_make_no_difference() {
        for line in [
            r#" { "$file" : {"event":"fail","key":"x","reason":"r","more":[1]}}"#,
            r#"{"\u0024file":{"reason":"r","key":"x","event":"fail"}}"#,
            r#"{"$fil\u0065":{"event":"fail","key":"x","reason":"r"},"$later":{}}"#,
        ] {
            assert!(matches!(Line::of(line.as_bytes()), Line::Marker(_)), "{line}");
        }
    }

    #[test]
    fn a_deletion_may_have_the_numbers_of_its_records() {
        for (line, records) in [
            (r#"{"$delete":{"id":[1]}}"#, vec![]),
            (r#"{"$delete":{"id":[1]},"$records":[5,9]}"#, vec![5, 9]),
            (r#"{ "$delete":{"id":[1]},"$later":{},"$records":[7]}"#, vec![7]),
        ] {
            let Line::Deletion(deletion) = Line::of(line.as_bytes()) else { panic!("{line}") };
            assert_eq!((deletion.row, deletion.records), (r#"{"id":[1]}"#, records), "{line}");
        }
    }

    #[test]
    fn until_the_first_marker_a_line_that_is_none_is_data() {
        for marker in MARKERS.into_iter().chain([r#"{"$delete":{"id":1}}"#]) {
            let mut classifier = Classifier::default();
            let is_data = |line: Line<'_>| matches!(line, Line::Data(_));
            for line in STRANGERS.into_iter().chain([r#"{"$x":"#]) {
                assert!(is_data(classifier.classify(line.as_bytes())), "{line}");
            }
            assert!(!is_data(classifier.classify(marker.as_bytes())), "{marker}");
            for line in STRANGERS {
                assert!(matches!(classifier.classify(line.as_bytes()), Line::Unknown(_)), "{line}");
            }
            // A row keeps being one when its keys are sorted.
            assert!(is_data(classifier.classify(br#"{"$records":[5],"id":1}"#)));
            assert!(is_data(classifier.classify(br#"{"id":1}"#)));
        }
    }

    #[test]
    fn without_markers_every_line_is_data() {
        let mut classifier = Classifier::without_markers();
        for line in MARKERS.into_iter().chain(STRANGERS) {
            assert!(matches!(classifier.classify(line.as_bytes()), Line::Data(_)), "{line}");
        }
    }

    #[test]
    fn no_spelling_of_the_dollar_sign_or_white_space_hides_a_marker() {
        for line in [r#"{"\u0024file":{}}"#, r#"{ "$file":{}}"#, " \t{\t\"$x\":1}", r#" {"\u0024x":1}"#] {
            assert!(begins_with_dollar(line.as_bytes()), "{line}");
        }
    }

    proptest! {
        /// Whatever the key holds, a marker that was written is read back as the same marker.
        #[test]
        fn a_marker_survives_the_pipe(key in any::<String>(), records: u64, rejected: u64) {
            let end = FileEvent::End(End { key, records, rejected, ..End::default() });
            let line = serde_json::to_vec(&Marker::File(end.clone())).unwrap();
            let Line::Marker(back) = Line::of(&line) else { panic!("not a marker") };
            let Marker::File(back) = *back else { panic!("not a file marker") };
            prop_assert_eq!(back, end);
        }
    }
}
