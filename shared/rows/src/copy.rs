//! Rows in COPY's text format (PostgreSQL, "COPY", "Text Format"), which holds any value. What a cell is as a text,
//! `profile::text_of` says; the format that the server reads faster is in `binary`.

use std::io::{self, Write};
use std::ops::Range;

use memchr::{memchr, memchr3};
use profile::row::NULL;
use profile::{ColumnType, Kind, RowView, Schema, text_of};

use crate::binary::BinaryEncoder;
use crate::entries::Entries;
use crate::settle::Refused;

/// So many rows are fetched together.
pub(crate) const AHEAD: usize = 8;

/// What is handed to the driver at once: with smaller pieces it spends its time between them.
pub(crate) const PIECE: usize = 256 << 10;

/// Why a row cannot be written, before the server was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unwritable {
    /// The error code that PostgreSQL has for it.
    pub sqlstate: &'static str,
    /// Why.
    pub reason: String,
}

/// Writes rows of one schema.
#[derive(Clone, Debug)]
pub struct Encoder {
    /// Their places among the cells, names and types.
    columns: Vec<(usize, String, ColumnType)>,
}

impl Encoder {
    /// An encoder of that schema's rows.
    pub fn new(schema: &Schema) -> Self {
        Self::of(schema, 0..schema.columns.len())
    }

    /// An encoder of nothing but the key of that schema's rows; of its names, the first that is no column is the error.
    pub fn of_key(schema: &Schema) -> Result<Self, String> {
        Ok(Self::of(schema, schema.key_indexes()?))
    }

    fn of(schema: &Schema, places: impl IntoIterator<Item = usize>) -> Self {
        let columns = places.into_iter().map(|place| (place, &schema.columns[place]));
        Self { columns: columns.map(|(place, column)| (place, column.name.clone(), column.ty.clone())).collect() }
    }

    /// An encoder of the same rows in binary format, for columns whose types have these OIDs; see [`BinaryEncoder::new`].
    pub fn binary(&self, found: &[u32]) -> Option<BinaryEncoder<'_>> {
        BinaryEncoder::new(self.columns.iter().map(|(_, _, ty)| ty), found)
    }

    /// Sends the rows in these places, each with its place in front if that is wanted. Those that cannot be written are left
    /// out and returned.
    ///
    /// # Errors
    /// What the writer says.
    pub fn send(
        &self,
        rows: &Entries,
        places: &[Range<usize>],
        numbered: bool,
        copy: &mut impl Write,
    ) -> io::Result<Vec<Refused>> {
        let mut unwritable = Vec::new();
        let mut piece = Vec::with_capacity(PIECE + (16 << 10));
        let places = places.iter().flat_map(|range| range.clone().map(|place| (place, range.end)));
        for (place, end) in places {
            if place % AHEAD == 0 {
                rows.fetch(place..end.min(place + AHEAD));
            }
            let start = piece.len();
            if numbered {
                write!(piece, "{place}\t")?;
            }
            if let Err(Unwritable { sqlstate, reason }) = self.write(rows.row(place), &mut piece) {
                piece.truncate(start);
                unwritable.push(Refused { place, sqlstate: Some(sqlstate.to_owned()), reason });
            }
            if piece.len() >= PIECE {
                copy.write_all(&piece)?;
                piece.clear();
            }
        }
        copy.write_all(&piece)?;
        Ok(unwritable)
    }

    /// Appends a row; one that cannot be written leaves nothing.
    pub fn write(&self, row: RowView<'_>, into: &mut Vec<u8>) -> Result<(), Unwritable> {
        let start = into.len();
        let text = row.text().as_bytes();
        let clean = memchr(b'\\', text).is_none() && memchr3(b'\n', b'\r', b'\t', text).is_none();
        for (number, (place, name, ty)) in self.columns.iter().enumerate() {
            let cell = row.cell(*place);
            if number > 0 {
                into.push(b'\t');
            }
            if write_plain(cell, ty, clean, into) {
                continue;
            }
            // SQLSTATE: invalid_text_representation, and character_not_in_repertoire for what PostgreSQL says of NUL.
            let unwritable =
                |sqlstate, reason: String| Unwritable { sqlstate, reason: format!("column `{name}`: {reason}") };
            let written = match text_of(cell, ty) {
                Ok(None) => {
                    into.extend_from_slice(br"\N");
                    Ok(())
                }
                Ok(Some(text)) if memchr(0, text.as_bytes()).is_some() => {
                    Err(unwritable("22021", "a text of PostgreSQL cannot hold U+0000".to_owned()))
                }
                Ok(Some(text)) => {
                    escape(text.as_bytes(), into);
                    Ok(())
                }
                Err(reason) => Err(unwritable("22P02", reason)),
            };
            if let Err(unwritable) = written {
                into.truncate(start);
                return Err(unwritable);
            }
        }
        into.push(b'\n');
        Ok(())
    }
}

/// Appends a cell that is the same in JSON and in COPY but for its quotes, as most are. False, with nothing appended, if
/// it is any other.
fn write_plain(cell: &str, ty: &ColumnType, clean: bool, into: &mut Vec<u8>) -> bool {
    let bytes = cell.as_bytes();
    if cell == NULL {
        into.extend_from_slice(br"\N");
        return true;
    }
    // JSON texts hold control characters, U+0000 too, as escapes only.
    if !clean && memchr(b'\\', bytes).is_some() {
        return false;
    }
    match (ty.is_array(), ty.kind(), bytes) {
        (true, kind, [b'[', b'"', texts @ .., b'"', b']']) if kind != Kind::Json && are_texts(texts) => {
            into.push(b'{');
            into.extend_from_slice(&bytes[1..bytes.len() - 1]);
            into.push(b'}');
            true
        }
        (false, Kind::Json, _) => {
            if clean {
                into.extend_from_slice(bytes);
            } else {
                escape(bytes, into);
            }
            true
        }
        (false, _, [b'"', text @ .., b'"']) => {
            into.extend_from_slice(text);
            true
        }
        (true, ..) | (false, _, [b'"' | b'{' | b'[', ..]) => false,
        (false, Kind::Integer(..), _) if memchr3(b'.', b'e', b'E', bytes).is_some() => false,
        (false, ..) => {
            into.extend_from_slice(bytes);
            true
        }
    }
}

/// Whether this is the inside of an array of JSON strings without escapes: `a","b`. As such they stand in an array of
/// PostgreSQL as well.
fn are_texts(inside: &[u8]) -> bool {
    let mut rest = inside;
    while let Some(end) = memchr(b'"', rest) {
        let Some(next) = rest[end..].strip_prefix(br#"",""#) else { return false };
        rest = next;
    }
    true
}

/// The four bytes that mean something to COPY.
fn escape(text: &[u8], into: &mut Vec<u8>) {
    let special = |byte: &u8| matches!(byte, b'\\' | b'\n' | b'\r' | b'\t');
    let mut rest = text;
    while let Some(place) = rest.iter().position(special) {
        into.extend_from_slice(&rest[..place]);
        into.extend_from_slice(match rest[place] {
            b'\n' => br"\n",
            b'\r' => br"\r",
            b'\t' => br"\t",
            _ => br"\\",
        });
        rest = &rest[place + 1..];
    }
    into.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::*;
    use profile::Row;

    fn encode(ty: &str, cell: &str) -> Result<String, Unwritable> {
        let encoder = Encoder { columns: vec![(0, "c".to_owned(), ty.parse().unwrap())] };
        let mut line = b"before\n".to_vec();
        let result = encoder.write(Row::of([cell]).view(), &mut line);
        let line = String::from_utf8(line).unwrap();
        let written = line.strip_prefix("before\n").unwrap().to_owned();
        assert!(result.is_ok() || written.is_empty());
        result.map(|()| written)
    }

    #[test]
    fn every_kind_of_value_has_its_text() {
        for (ty, cell, expected) in [
            ("bigint", "7", "7"),
            ("text", "null", r"\N"),
            ("text", r#""null""#, "null"),
            ("text", r#""\\N""#, r"\\N"),
            ("text", r#""\\.""#, r"\\."),
            ("text", r#""a\tb\nc\rd\\e\"f\u00e9""#, r#"a\tb\nc\rd\\e"fé"#),
            ("text", "1.50", "1.50"),
            ("text", r#""""#, ""),
            ("numeric", "12345678901234567890.123456789012345678", "12345678901234567890.123456789012345678"),
            ("bytea", r#""\\x00ff""#, r"\\x00ff"),
            ("boolean", "true", "true"),
            ("jsonb", r#"{"a":"x\ny"}"#, r#"{"a":"x\\ny"}"#),
            ("jsonb", "\"text\"", "\"text\""),
            ("jsonb", "[1,\t2]", r"[1,\t2]"),
            ("text[]", r#"["a","b\"c\\d",null,"null",""]"#, r#"{"a","b\\"c\\\\d",NULL,"null",""}"#),
            ("numeric[]", "[1.50,2]", r#"{"1.50","2"}"#),
            ("jsonb[]", r#"[{"a":"x"}]"#, r#"{"{\\"a\\":\\"x\\"}"}"#),
        ] {
            assert_eq!(encode(ty, cell), Ok(format!("{expected}\n")), "{ty} {cell}");
        }
    }

    #[test]
    fn what_no_text_can_hold_is_refused_before_the_server_sees_it() {
        for (ty, cell, sqlstate) in [
            ("text", r#""a\u0000b""#, "22021"),
            ("text[]", r#"["\u0000"]"#, "22021"),
            ("text", r#""\ud800""#, "22P02"),
            ("text[]", r#""no array""#, "22P02"),
        ] {
            assert_eq!(encode(ty, cell).map_err(|error| error.sqlstate), Err(sqlstate), "{ty} {cell}");
        }
    }
}
