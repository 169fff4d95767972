//! Rows in COPY's binary format (PostgreSQL, "COPY", "Binary Format"), which the server reads with a fifth to a third less
//! work than text. It has no conversions: a value is sent as the table's column has it, and what is not known here for
//! sure to be one (`infinity`, a date in another style) is left to the text format of `copy`, in which the server decides.

use std::borrow::Cow;
use std::io::{self, Write};
use std::ops::Range;

use item::number::is_zero;
use jiff::Timestamp;
use memchr::memchr;
use profile::{ColumnType, RowView, text_of};

use crate::copy::{AHEAD, PIECE};
use crate::entries::Entries;

/// The signature, no flags, no extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// The length of a value that is NULL.
const NULL: [u8; 4] = (-1_i32).to_be_bytes();

/// 2000-01-01, from which PostgreSQL counts, in microseconds since 1970.
const EPOCH: i64 = 946_684_800_000_000;

/// How a column is sent: its type in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Boolean,
    Smallint,
    Integer,
    Bigint,
    Real,
    Double,
    /// As it is: `text`, `varchar`, `json`.
    Text,
    Jsonb,
    Uuid,
    Bytea,
    Timestamptz,
}

impl Sent {
    /// How a column of that built-in type is sent, if there is an encoder for it. The name is that of `pg_type`.
    fn of(ty: &str) -> Option<Self> {
        Some(match ty {
            "bool" => Self::Boolean,
            "int2" => Self::Smallint,
            "int4" => Self::Integer,
            "int8" => Self::Bigint,
            "float4" => Self::Real,
            "float8" => Self::Double,
            "text" | "varchar" | "json" => Self::Text,
            "jsonb" => Self::Jsonb,
            "uuid" => Self::Uuid,
            "bytea" => Self::Bytea,
            "timestamptz" => Self::Timestamptz,
            _ => return None,
        })
    }

    /// Appends the value of a text that is one for sure; nothing if it is not.
    fn write(self, text: &str, into: &mut Vec<u8>) -> Option<()> {
        match self {
            Self::Boolean => into.push(match text {
                "true" => 1,
                "false" => 0,
                _ => return None,
            }),
            Self::Smallint => into.extend_from_slice(&text.parse::<i16>().ok()?.to_be_bytes()),
            Self::Integer => into.extend_from_slice(&text.parse::<i32>().ok()?.to_be_bytes()),
            Self::Bigint => into.extend_from_slice(&text.parse::<i64>().ok()?.to_be_bytes()),
            Self::Real => {
                let number: f32 = text.parse().ok()?;
                (number.is_finite() && (number != 0.0 || is_zero(text))).then_some(())?;
                into.extend_from_slice(&number.to_be_bytes());
            }
            Self::Double => {
                let number: f64 = text.parse().ok()?;
                (number.is_finite() && (number != 0.0 || is_zero(text))).then_some(())?;
                into.extend_from_slice(&number.to_be_bytes());
            }
            Self::Text => into.extend_from_slice(text.as_bytes()),
            Self::Jsonb => {
                // The version of the format; then JSON text.
                into.push(1);
                into.extend_from_slice(text.as_bytes());
            }
            Self::Uuid => write_uuid(text.as_bytes(), into)?,
            Self::Bytea => write_hex(text.strip_prefix("\\x")?.as_bytes(), into)?,
            Self::Timestamptz => into.extend_from_slice(&microseconds(text)?.to_be_bytes()),
        }
        Some(())
    }
}

fn write_hex(digits: &[u8], into: &mut Vec<u8>) -> Option<()> {
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty().then_some(())?;
    let digit = |digit: u8| char::from(digit).to_digit(16);
    for &[high, low] in pairs {
        into.push(u8::try_from(digit(high)? << 4 | digit(low)?).ok()?);
    }
    Some(())
}

/// A UUID as it is printed, with hyphens after 8, 12, 16 and 20 digits.
fn write_uuid(text: &[u8], into: &mut Vec<u8>) -> Option<()> {
    let hyphens = [8, 13, 18, 23];
    (text.len() == 36 && hyphens.iter().all(|&place| text[place] == b'-')).then_some(())?;
    for part in [0..8, 9..13, 14..18, 19..23, 24..36] {
        write_hex(&text[part], into)?;
    }
    Some(())
}

/// The microseconds since 2000 of a time as RFC 3339 writes it, with at most six digits of a second's fraction.
fn microseconds(text: &str) -> Option<i64> {
    let (head, tail) = text.as_bytes().split_at_checked(19)?;
    let shape = head.iter().zip(b"0000-00-00T00:00:00").all(|(byte, like)| match like {
        b'0' => byte.is_ascii_digit(),
        like => byte == like,
    });
    let fraction = match tail {
        [b'.', digits @ ..] => digits.iter().take_while(|byte| byte.is_ascii_digit()).count() + 1,
        _ => 0,
    };
    // Further away from UTC than 15 hours and something the server has no zone.
    let zone = matches!(
        tail.get(fraction..)?,
        [b'Z']
            | [b'+' | b'-', b'0', b'0'..=b'9', b':', b'0'..=b'5', b'0'..=b'9']
            | [b'+' | b'-', b'1', b'0'..=b'5', b':', b'0'..=b'5', b'0'..=b'9']
    );
    // There is no year 0 in SQL, and a leap second has to be counted as one.
    let known = shape && zone && fraction <= 7 && fraction != 1 && &head[..4] != b"0000" && head[17] <= b'5';
    let time: Timestamp = known.then(|| text.parse().ok())??;
    Some(time.as_microsecond() - EPOCH)
}

/// Writes rows into a table whose types are known.
#[derive(Clone, Debug)]
pub struct BinaryEncoder<'e> {
    columns: Vec<(&'e ColumnType, Sent)>,
}

impl<'e> BinaryEncoder<'e> {
    /// An encoder of rows with columns of these types, if there is one for each of the types that the table has for them:
    /// the name in `pg_type` of those that are built in.
    pub(crate) fn new<'t>(
        columns: impl Iterator<Item = &'e ColumnType>,
        found: impl Iterator<Item = Option<&'t str>>,
    ) -> Option<Self> {
        let column = |(ty, found): (&'e ColumnType, Option<&str>)| Some((ty, Sent::of(found?)?));
        Some(Self { columns: columns.zip(found).map(column).collect::<Option<_>>()? })
    }

    /// Sends the rows in these places, but for those that only text can hold, which are returned.
    ///
    /// # Errors
    /// What the writer says.
    pub fn send(&self, rows: &Entries, places: Range<usize>, copy: &mut impl Write) -> io::Result<Vec<Range<usize>>> {
        let mut left: Vec<Range<usize>> = Vec::new();
        let mut piece = Vec::with_capacity(PIECE + (16 << 10));
        let mut last = LastTime::default();
        piece.extend_from_slice(HEADER);
        let end = places.end;
        for place in places {
            if place % AHEAD == 0 {
                rows.fetch(place..end.min(place + AHEAD));
            }
            let start = piece.len();
            if self.write(rows.row(place), &mut last, &mut piece).is_none() {
                piece.truncate(start);
                match left.last_mut() {
                    Some(range) if range.end == place => range.end = place + 1,
                    _ => left.push(place..place + 1),
                }
            }
            if piece.len() >= PIECE {
                copy.write_all(&piece)?;
                piece.clear();
            }
        }
        piece.extend_from_slice(&(-1_i16).to_be_bytes());
        copy.write_all(&piece)?;
        Ok(left)
    }

    /// Appends a row; nothing comes back for one that only text can hold.
    fn write(&self, row: RowView<'_>, last: &mut LastTime, into: &mut Vec<u8>) -> Option<()> {
        // A table has at most 1,600 columns.
        into.extend_from_slice(&i16::try_from(self.columns.len()).ok()?.to_be_bytes());
        for ((ty, sent), cell) in self.columns.iter().zip(row.cells()) {
            let start = into.len();
            into.extend_from_slice(&NULL);
            let Some(text) = text_of(cell, ty).ok()? else { continue };
            match sent {
                Sent::Timestamptz => into.extend_from_slice(&last.of(&text)?.to_be_bytes()),
                // Only what was written as an escape can be U+0000.
                _ if matches!(text, Cow::Owned(_)) && memchr(0, text.as_bytes()).is_some() => return None,
                sent => sent.write(&text, into)?,
            }
            let length = i32::try_from(into.len() - start - NULL.len()).ok()?;
            into[start..start + NULL.len()].copy_from_slice(&length.to_be_bytes());
        }
        Some(())
    }
}

/// The time that was read last. Rows of one load have many times of the load.
#[derive(Debug, Default)]
struct LastTime {
    text: String,
    microseconds: i64,
}

impl LastTime {
    fn of(&mut self, text: &str) -> Option<i64> {
        if self.text != text {
            self.microseconds = microseconds(text)?;
            self.text.clear();
            self.text.push_str(text);
        }
        Some(self.microseconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copy::Encoder;
    use crate::entries::{Origin, Records};
    use crate::key::Keys;
    use harness::postgres::Postgres;
    use profile::{Row, Schema};
    use proptest::prelude::*;

    fn sent(ty: &str, text: &str) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        Sent::of(ty).unwrap().write(text, &mut bytes).map(|()| bytes)
    }

    #[test]
    fn values_are_sent_as_the_server_s_receive_functions_take_them() {
        // `select encode(int4send(...), 'hex')` and the like.
        for (ty, text, bytes) in [
            ("bool", "true", &[1][..]),
            ("int2", "-2", &[0xff, 0xfe]),
            ("int4", "258", &[0, 0, 1, 2]),
            ("int8", "-1", &[0xff; 8]),
            ("float4", "1.5", &[0x3f, 0xc0, 0, 0]),
            ("float8", "-0.0", &[0x80, 0, 0, 0, 0, 0, 0, 0]),
            ("text", "é", &[0xc3, 0xa9]),
            ("jsonb", "[]", &[1, b'[', b']']),
            ("bytea", "\\x00Ff", &[0, 0xff]),
            (
                "uuid",
                "00112233-4455-6677-8899-AAbbccddeeff",
                &[0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff],
            ),
            ("timestamptz", "2000-01-01T00:00:00.000258Z", &[0, 0, 0, 0, 0, 0, 1, 2]),
            ("timestamptz", "2000-01-01T01:30:00+01:30", &[0; 8]),
            ("timestamptz", "1999-12-31T23:59:59.999999Z", &[0xff; 8]),
        ] {
            assert_eq!(sent(ty, text).as_deref(), Some(bytes), "{text} as {ty}");
        }
    }

    #[test]
    fn what_is_not_a_value_for_sure_is_left_to_text() {
        for (ty, texts) in [
            ("bool", &["t", "TRUE", "1"][..]),
            ("int2", &["32768", " 1", "1.0", ""]),
            ("int4", &["2147483648", "0x10"]),
            ("int8", &["9223372036854775808", "1e3"]),
            ("float4", &["1e39", "1e-50", "NaN", "inf"]),
            ("float8", &["1e400", "1e-400", "Infinity", "0x1p3"]),
            ("bytea", &["\\x0", "\\xgg", "abc", "\\000"]),
            (
                "uuid",
                &[
                    "00112233445566778899aabbccddeeff",
                    "{00112233-4455-6677-8899-aabbccddeeff}",
                    "0011223-34455-6677-8899-aabbccddeeff",
                ],
            ),
            (
                "timestamptz",
                &[
                    "infinity",
                    "2000-01-01",
                    "2000-01-01 00:00:00Z",
                    "2000-01-01T00:00:00",
                    "2000-01-01T00:00:00.1234567Z",
                    "2000-01-01T00:00:00.Z",
                    "2000-01-01T00:00:60Z",
                    "2000-01-01T24:00:00Z",
                    "2000-02-30T00:00:00Z",
                    "0000-01-01T00:00:00Z",
                    "2000-01-01T00:00:00+16:00",
                    "2000-01-01T00:00:00+01:00[Europe/Berlin]",
                    "20000-01-01T00:00:00Z",
                ],
            ),
        ] {
            for text in texts {
                assert_eq!(sent(ty, text), None, "{text} as {ty}");
            }
        }
        for ty in ["numeric", "bpchar", "_text", "date", "timestamp", "mood"] {
            assert_eq!(Sent::of(ty), None, "{ty}");
        }
    }

    const COLUMNS: [(&str, &str); 11] = [
        ("b", "bool"),
        ("s", "int2"),
        ("i", "int4"),
        ("r", "float4"),
        ("d", "float8"),
        ("t", "text"),
        ("v", "varchar(9)"),
        ("j", "jsonb"),
        ("u", "uuid"),
        ("h", "bytea"),
        ("z", "timestamptz"),
    ];

    /// Values that the server reads, the usual ones and others.
    fn cell(ty: &str) -> BoxedStrategy<String> {
        let text = |text: String| serde_json::Value::from(text).to_string();
        let some = match ty {
            "bool" => prop_oneof![Just("true".to_owned()), Just("false".to_owned()), Just("\"yes\"".to_owned())].boxed(),
            "int2" => any::<i16>().prop_map(|number| number.to_string()).boxed(),
            "int4" => prop_oneof![any::<i32>().prop_map(|number| number.to_string()), Just("\" 7 \"".to_owned())].boxed(),
            "float4" => prop_oneof!["-?[1-9][0-9]{0,9}(\\.[0-9]{1,9})?(e-?[0-9])?", Just("\"NaN\"".to_owned()), Just("0.0e5".to_owned())].boxed(),
            "float8" => {
                prop_oneof!["-?[1-9][0-9]{0,19}(\\.[0-9]{1,19})?(e-?[0-9]{1,2})?", Just("\"-Infinity\"".to_owned())].boxed()
            }
            "jsonb" => prop_oneof![
                "[a-zé\"\\\\ ]{0,9}".prop_map(text),
                "-?[1-9][0-9]{0,30}(\\.[0-9]{1,20})?",
                "[a-zé\"]{0,4}".prop_map(|key| serde_json::json!({"b": [key, null, true], "a": {key: 1.50}}).to_string()),
            ]
            .boxed(),
            "uuid" => prop_oneof![
                "[0-9a-fA-F]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
                "[0-9a-f]{32}",
                "\\{[0-9a-f]{32}\\}",
            ]
            .prop_map(text)
            .boxed(),
            "bytea" => prop_oneof!["\\\\x([0-9a-fA-F]{2}){0,9}", "[a-z]{0,9}"].prop_map(text).boxed(),
            "timestamptz" => prop_oneof![
                "[0-9]{3}[1-9]-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,8})?(Z|[+-](0[0-9]|1[0-5]):[0-5][0-9])",
                "[1-9][0-9]{3}-0[1-9]-1[0-9]( [01][0-9]:[0-5][0-9])?",
                Just("infinity".to_owned()),
                Just("0044-03-15 BC".to_owned()),
                Just("2016-12-31T23:59:60Z".to_owned()),
            ]
            .prop_map(text)
            .boxed(),
            _ => "[a-zé\"\\\\\n\t]{0,9}".prop_map(text).boxed(),
        };
        prop_oneof![1 => Just("null".to_owned()), 9 => some].boxed()
    }

    /// Whatever the values are, the server has the same of them as of text.
    #[test]
    fn a_table_does_not_show_in_which_format_it_was_filled() {
        let columns: Vec<_> = COLUMNS.iter().map(|(name, ty)| serde_json::json!({"name": name, "type": ty})).collect();
        let mut schema = serde_json::json!({"v": 1, "profile": "p", "hash": "h", "table": "t", "key": ["id"]});
        schema["columns"] = [vec![serde_json::json!({"name": "id", "type": "int8"})], columns].concat().into();
        let schema: Schema = serde_json::from_value(schema).unwrap();
        let types = COLUMNS.iter().map(|(_, ty)| ty.split('(').next());
        let text = Encoder::new(&schema);
        let binary = text.binary(std::iter::once(Some("int8")).chain(types)).unwrap();
        let keys = Keys::of(&schema).unwrap();
        let database = Postgres::new();
        let definitions = COLUMNS.map(|(name, ty)| format!(", {name} {ty}")).concat();
        database.query(&format!("create table one (id bigint{definitions}); create table other (like one)"));
        let envs = database.envs();
        let env = |name: &str| envs.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
        let client = std::cell::RefCell::new(pg::Settings::from(env).unwrap().connect().unwrap());
        let rows = prop::collection::vec(COLUMNS.map(|(_, ty)| cell(ty)).to_vec(), 1..40);

        proptest!(ProptestConfig::with_cases(150), |(rows in rows)| {
            let mut entries = Entries::default();
            for (id, cells) in rows.iter().enumerate() {
                let id = id.to_string();
                let row = Row::of(std::iter::once(id.as_str()).chain(cells.iter().map(String::as_str)));
                let origin = Origin { segment: 0, weight: 1, records: Records::new() };
                entries.push(row.view(), &keys, origin).unwrap();
            }
            let all = 0..entries.len();
            let mut client = client.borrow_mut();
            let mut transaction = client.transaction().unwrap();
            let mut copy = transaction.copy_in("copy one from stdin (format binary)").unwrap();
            let left = binary.send(&entries, all.clone(), &mut copy).unwrap();
            copy.finish().unwrap();
            let mut copy = transaction.copy_in("copy one from stdin").unwrap();
            prop_assert!(text.send(&entries, &left, false, &mut copy).unwrap().is_empty());
            copy.finish().unwrap();
            let mut copy = transaction.copy_in("copy other from stdin").unwrap();
            prop_assert!(text.send(&entries, std::slice::from_ref(&all), false, &mut copy).unwrap().is_empty());
            copy.finish().unwrap();

            let differ = "select one::text || ' and ' || other::text from one full join other using (id)
                          where one is distinct from other or one::text is distinct from other::text";
            let differ: Vec<String> = transaction.query(differ, &[]).unwrap().iter().map(|row| row.get(0)).collect();
            prop_assert_eq!(&differ, &Vec::<String>::new());
            transaction.rollback().unwrap();
        });
    }
}
