//! Rows in COPY's binary format (PostgreSQL, "COPY", "Binary Format"), which the server reads with a fifth to a third less
//! work than text. It has no conversions: a value is sent as the table's column has it, and what is not known here for
//! sure to be one (`infinity`, a date in another style) is left to the text format of `copy`, in which the server decides.

#![expect(clippy::inline_always, reason = "without it one in nine instructions is spent on calls: it was measured")]

use std::borrow::Cow;
use std::io::{self, Write};
use std::ops::Range;

use item::number::{Decimal, is_zero};
use memchr::memchr;
use postgres::types::{Kind, Type};
use profile::row::NULL as NULL_CELL;
use profile::{ColumnType, RowView, element_text, elements_of, plain_text};
use uuid::Uuid;
use uuid::fmt::Hyphenated;

use crate::copy::{AHEAD, PIECE};
use crate::entries::Entries;

/// The signature, no flags, no extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// The length of a value that is NULL.
const NULL: [u8; 4] = (-1_i32).to_be_bytes();

/// From the first of March of the year 0 to the first of January 2000, from which PostgreSQL counts.
const DAYS_TO_2000: i32 = 730_425;

/// How a column is sent: its type in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Boolean,
    Smallint,
    Integer,
    Bigint,
    Real,
    Double,
    /// As it is: `text`, `varchar`, `char`, `json`.
    Text,
    Jsonb,
    Uuid,
    Bytea,
    Numeric,
    Date,
    Timestamp,
    Timestamptz,
}

impl Sent {
    /// How a value of that type is sent, if there is an encoder for it.
    fn of(ty: &Type) -> Option<Self> {
        Some(match *ty {
            Type::BOOL => Self::Boolean,
            Type::INT2 => Self::Smallint,
            Type::INT4 => Self::Integer,
            Type::INT8 => Self::Bigint,
            Type::FLOAT4 => Self::Real,
            Type::FLOAT8 => Self::Double,
            Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::JSON => Self::Text,
            Type::JSONB => Self::Jsonb,
            Type::UUID => Self::Uuid,
            Type::BYTEA => Self::Bytea,
            Type::NUMERIC => Self::Numeric,
            Type::DATE => Self::Date,
            Type::TIMESTAMP => Self::Timestamp,
            Type::TIMESTAMPTZ => Self::Timestamptz,
            _ => return None,
        })
    }

    /// Appends the value of a text that is one for sure, with its length in front; nothing comes back if it is not.
    #[inline(always)]
    fn write(self, text: &str, into: &mut Vec<u8>) -> Option<()> {
        match self {
            Self::Boolean => match text {
                "true" => put([1], into),
                "false" => put([0], into),
                _ => return None,
            },
            Self::Smallint => put(text.parse::<i16>().ok()?.to_be_bytes(), into),
            Self::Integer => put(text.parse::<i32>().ok()?.to_be_bytes(), into),
            Self::Bigint => put(text.parse::<i64>().ok()?.to_be_bytes(), into),
            Self::Real => {
                let number: f32 = text.parse().ok()?;
                (number.is_finite() && (number != 0.0 || is_zero(text))).then_some(())?;
                put(number.to_be_bytes(), into);
            }
            Self::Double => {
                let number: f64 = text.parse().ok()?;
                (number.is_finite() && (number != 0.0 || is_zero(text))).then_some(())?;
                put(number.to_be_bytes(), into);
            }
            Self::Text => {
                into.extend_from_slice(&i32::try_from(text.len()).ok()?.to_be_bytes());
                into.extend_from_slice(text.as_bytes());
            }
            Self::Jsonb => {
                into.extend_from_slice(&i32::try_from(text.len() + 1).ok()?.to_be_bytes());
                // The version of the format; then JSON text.
                into.push(1);
                into.extend_from_slice(text.as_bytes());
            }
            Self::Uuid => put(*uuid(text)?.as_bytes(), into),
            Self::Bytea => with_length(into, |into| write_hex(text.strip_prefix("\\x")?.as_bytes(), into))?,
            Self::Numeric => with_length(into, |into| write_numeric(text, into))?,
            Self::Date => put(days(text.as_bytes().try_into().ok()?)?.to_be_bytes(), into),
            Self::Timestamp => put(local_microseconds(text)?.to_be_bytes(), into),
            Self::Timestamptz => put(microseconds(text)?.to_be_bytes(), into),
        }
        Some(())
    }
}

/// Appends a value of a fixed length, with this length in front.
fn put<const LENGTH: usize>(value: [u8; LENGTH], into: &mut Vec<u8>) {
    // None has more than sixteen bytes.
    into.extend_from_slice(&[0, 0, 0, LENGTH.to_le_bytes()[0]]);
    into.extend_from_slice(&value);
}

/// Appends a value with its length in front.
fn with_length(into: &mut Vec<u8>, value: impl FnOnce(&mut Vec<u8>) -> Option<()>) -> Option<()> {
    let start = into.len();
    into.extend_from_slice(&NULL);
    value(into)?;
    let length = i32::try_from(into.len() - start - NULL.len()).ok()?;
    into[start..start + NULL.len()].copy_from_slice(&length.to_be_bytes());
    Some(())
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
fn uuid(text: &str) -> Option<Uuid> {
    // There are other forms, but none so long.
    (text.len() == Hyphenated::LENGTH).then(|| Uuid::try_parse(text).ok())?
}

/// How many digits of ten thousand, the power of it that the first one stands for, the sign, how many decimal digits are
/// shown behind the point, then the digits (`numeric_send`).
fn write_numeric(text: &str, into: &mut Vec<u8>) -> Option<()> {
    const NEGATIVE: u16 = 0x4000;
    let number = Decimal::parse(text).ok().filter(|number| number.fits_numeric())?;
    let start = into.len();
    into.extend_from_slice(&[0; 8]);
    let (mut weight, mut sign) = (0, 0);
    if let Some((decimal, point)) = number.significant() {
        // Zeros in front, until the point stands between two digits of ten thousand.
        let zeros = (-point).rem_euclid(4);
        weight = i16::try_from((point + zeros) / 4 - 1).ok()?;
        sign = if number.is_negative() { NEGATIVE } else { 0 };
        let (mut digit, mut unit) = (0, [1000, 100, 10, 1][usize::try_from(zeros).ok()?]);
        for decimal in decimal {
            digit += u16::from(decimal - b'0') * unit;
            unit /= 10;
            if unit == 0 {
                into.extend_from_slice(&digit.to_be_bytes());
                (digit, unit) = (0, 1000);
            }
        }
        if digit > 0 {
            into.extend_from_slice(&digit.to_be_bytes());
        }
    }
    let digits = i16::try_from((into.len() - start) / 2 - 4).ok()?;
    let scale = i16::try_from(number.scale()).ok()?;
    let head = [digits.to_be_bytes(), weight.to_be_bytes(), sign.to_be_bytes(), scale.to_be_bytes()];
    into[start..start + 8].copy_from_slice(head.as_flattened());
    Some(())
}

/// The number whose two digits stand at that place.
#[inline]
fn two(text: &[u8], place: usize) -> Option<i32> {
    let &[tens, ones] = text.get(place..place + 2)?.as_array()?;
    (tens.is_ascii_digit() && ones.is_ascii_digit()).then(|| i32::from(tens - b'0') * 10 + i32::from(ones - b'0'))
}

/// The days since 2000 of a date as ISO 8601 writes it.
pub(crate) fn days(text: &[u8; 10]) -> Option<i32> {
    (text[4] == b'-' && text[7] == b'-').then_some(())?;
    let (year, month, day) = (two(text, 0)? * 100 + two(text, 2)?, two(text, 5)?, two(text, 8)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let longest = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    // There is no year 0 in SQL.
    (year > 0 && (1..=longest).contains(&day)).then_some(())?;
    // In years that begin in March a leap day is the last one, and the months before it are 153 days in five.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let years = year * 365 + year / 4 - year / 100 + year / 400;
    Some(years + (153 * month + 2) / 5 + day - 1 - DAYS_TO_2000)
}

/// The microseconds since 2000 of a date and a time of day as RFC 3339 writes them, with at most six digits of a second's
/// fraction, as if it were in UTC; and what stands behind them: the zone.
fn moment(text: &str) -> Option<(i64, &[u8])> {
    let (head, tail) = text.as_bytes().split_at_checked(19)?;
    let (date, time) = head.split_first_chunk()?;
    (time[0] == b'T' && time[3] == b':' && time[6] == b':').then_some(())?;
    let (hour, minute, second) = (two(time, 1)?, two(time, 4)?, two(time, 7)?);
    // A leap second has to be counted as one, which the server does.
    (hour < 24 && minute < 60 && second < 60).then_some(())?;
    let (mut fraction, mut zone) = (0, tail);
    if let [b'.', rest @ ..] = tail {
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        (1..=6).contains(&digits).then_some(())?;
        fraction = rest[..digits].iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0'));
        fraction *= [100_000, 10_000, 1_000, 100, 10, 1][digits - 1];
        zone = &rest[digits..];
    }
    let seconds = i64::from(days(date)?) * 86_400 + i64::from((hour * 60 + minute) * 60 + second);
    Some((seconds * 1_000_000 + fraction, zone))
}

/// The microseconds since 2000 of a time without a zone. The server ignores one, so it may have UTC's.
pub(crate) fn local_microseconds(text: &str) -> Option<i64> {
    let (time, zone) = moment(text)?;
    matches!(zone, b"" | b"Z").then_some(time)
}

/// The microseconds since 2000 of a time in a zone.
pub(crate) fn microseconds(text: &str) -> Option<i64> {
    let (time, zone) = moment(text)?;
    let &[sign @ (b'+' | b'-'), _, _, b':', _, _] = zone else { return (zone == b"Z").then_some(time) };
    let (hours, minutes) = (two(zone, 1)?, two(zone, 4)?);
    // Further away from UTC than 15 hours and something the server has no zone.
    (hours <= 15 && minutes < 60).then_some(())?;
    let ahead = i64::from(hours * 60 + minutes) * 60_000_000;
    Some(if sign == b'+' { time - ahead } else { time + ahead })
}

/// Writes rows into a table whose types are known.
#[derive(Clone, Debug)]
pub struct BinaryEncoder<'e> {
    columns: Vec<Column<'e>>,
}

/// A column: its type in the stream, and how its values are sent; those of an array with the number of their type.
#[derive(Clone, Debug)]
struct Column<'e> {
    ty: &'e ColumnType,
    sent: Sent,
    array_of: Option<u32>,
}

impl<'e> Column<'e> {
    fn of(ty: &'e ColumnType, found: &Type) -> Option<Self> {
        let element = if let Kind::Array(element) = found.kind() { Some(element) } else { None };
        let sent = Sent::of(element.unwrap_or(found))?;
        (element.is_some() == ty.is_array()).then(|| Self { ty, sent, array_of: element.map(Type::oid) })
    }
}

impl<'e> BinaryEncoder<'e> {
    /// An encoder of rows with columns of these types, if there is one for each of the types that the table has for them,
    /// given by their OIDs.
    pub(crate) fn new(columns: impl Iterator<Item = &'e ColumnType>, found: &[u32]) -> Option<Self> {
        let column = |(ty, found): (_, &u32)| Column::of(ty, &Type::from_oid(*found)?);
        Some(Self { columns: columns.zip(found).map(column).collect::<Option<_>>()? })
    }

    /// Sends the rows with these indexes, each with its index in front if `numbered`, but for those that only text can
    /// hold, which are returned.
    ///
    /// # Errors
    /// What the writer says.
    pub fn send(
        &self,
        rows: &Entries,
        places: Range<usize>,
        numbered: bool,
        copy: &mut impl Write,
    ) -> io::Result<Vec<Range<usize>>> {
        let mut left: Vec<Range<usize>> = Vec::new();
        let mut piece = Vec::with_capacity(PIECE + (16 << 10));
        piece.extend_from_slice(HEADER);
        let end = places.end;
        for place in places {
            if place % AHEAD == 0 {
                rows.fetch(place..end.min(place + AHEAD));
            }
            let start = piece.len();
            let written = match numbered.then(|| i32::try_from(place)).transpose() {
                Ok(index) => self.write(index, rows.row(place), &mut piece),
                Err(_) => None,
            };
            if written.is_none() {
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

    /// Appends a row, behind its index if there is one; nothing comes back for a row that only text can hold.
    fn write(&self, index: Option<i32>, row: RowView<'_>, into: &mut Vec<u8>) -> Option<()> {
        // A table has at most 1,600 columns.
        let columns = self.columns.len() + usize::from(index.is_some());
        into.extend_from_slice(&i16::try_from(columns).ok()?.to_be_bytes());
        if let Some(index) = index {
            into.extend_from_slice(&4_i32.to_be_bytes());
            into.extend_from_slice(&index.to_be_bytes());
        }
        // Most rows have no escape in them: one look at the whole spares a look at each cell.
        let plain = memchr(b'\\', row.text().as_bytes()).is_none();
        for (column, cell) in self.columns.iter().zip(row.cells()) {
            if let (Some(element), true) = (column.array_of, cell != NULL_CELL) {
                with_length(into, |into| column.write_array(element, cell, plain, into))?;
            } else {
                column.write(cell, plain, into)?;
            }
        }
        Some(())
    }
}

impl Column<'_> {
    /// Appends the value of a cell, or of an element of one; `plain` says that no escape stands in it.
    #[inline(always)]
    fn write(&self, cell: &str, plain: bool, into: &mut Vec<u8>) -> Option<()> {
        if cell == NULL_CELL {
            into.extend_from_slice(&NULL);
            Some(())
        } else if plain {
            self.sent.write(plain_text(cell, self.ty.kind()), into)
        } else {
            self.write_escaped(cell, into)
        }
    }

    /// The same of one in which an escape may stand.
    #[inline(never)]
    fn write_escaped(&self, cell: &str, into: &mut Vec<u8>) -> Option<()> {
        match element_text(cell, self.ty.kind()).ok()? {
            // Only what was written as an escape can be U+0000.
            Cow::Owned(text) if memchr(0, text.as_bytes()).is_some() => None,
            text => self.sent.write(&text, into),
        }
    }

    /// How many dimensions there are, whether an element is NULL, the number of their type; of each dimension how many
    /// elements it has and the number of the first; then the elements, each like a column (`array_send`).
    fn write_array(&self, element: u32, cell: &str, plain: bool, into: &mut Vec<u8>) -> Option<()> {
        let number = |number: i32, into: &mut Vec<u8>| into.extend_from_slice(&number.to_be_bytes());
        let elements = elements_of(cell, self.ty).ok()?;
        number(i32::from(!elements.is_empty()), into);
        number(i32::from(elements.contains(&NULL_CELL)), into);
        into.extend_from_slice(&element.to_be_bytes());
        if !elements.is_empty() {
            number(i32::try_from(elements.len()).ok()?, into);
            number(1, into);
        }
        elements.iter().try_for_each(|cell| self.write(cell, plain, into))
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

    fn sent(ty: &Type, text: &str) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        Sent::of(ty).unwrap().write(text, &mut bytes)?;
        let (length, value) = bytes.split_first_chunk().unwrap();
        assert_eq!(usize::try_from(u32::from_be_bytes(*length)).unwrap(), value.len());
        Some(value.to_vec())
    }

    #[test]
    fn values_are_sent_as_the_server_s_receive_functions_take_them() {
        // `select encode(int4send(...), 'hex')` and the like.
        for (ty, text, bytes) in [
            (Type::BOOL, "true", &[1][..]),
            (Type::INT2, "-2", &[0xff, 0xfe]),
            (Type::INT4, "258", &[0, 0, 1, 2]),
            (Type::INT8, "-1", &[0xff; 8]),
            (Type::FLOAT4, "1.5", &[0x3f, 0xc0, 0, 0]),
            (Type::FLOAT8, "-0.0", &[0x80, 0, 0, 0, 0, 0, 0, 0]),
            (Type::TEXT, "é", &[0xc3, 0xa9]),
            (Type::JSONB, "[]", &[1, b'[', b']']),
            (Type::BYTEA, "\\x00Ff", &[0, 0xff]),
            (
                Type::UUID,
                "00112233-4455-6677-8899-AAbbccddeeff",
                &[0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff],
            ),
            (Type::TIMESTAMPTZ, "2000-01-01T00:00:00.000258Z", &[0, 0, 0, 0, 0, 0, 1, 2]),
            (Type::TIMESTAMPTZ, "2000-01-01T01:30:00+01:30", &[0; 8]),
            (Type::TIMESTAMPTZ, "1999-12-31T23:59:59.999999Z", &[0xff; 8]),
            (Type::TIMESTAMP, "2000-01-01T00:00:00.000258", &[0, 0, 0, 0, 0, 0, 1, 2]),
            (Type::TIMESTAMP, "1999-12-31T23:59:59.999999Z", &[0xff; 8]),
            (Type::DATE, "2000-09-15", &[0, 0, 1, 2]),
            (Type::DATE, "1999-12-31", &[0xff; 4]),
            (Type::NUMERIC, "12345.60", &[0, 3, 0, 1, 0, 0, 0, 2, 0, 1, 9, 0x29, 0x17, 0x70]),
            (Type::NUMERIC, "-0.00005", &[0, 1, 0xff, 0xfe, 0x40, 0, 0, 5, 0x13, 0x88]),
            (Type::NUMERIC, "1E+8", &[0, 1, 0, 2, 0, 0, 0, 0, 0, 1]),
            (Type::NUMERIC, "-0.0", &[0, 0, 0, 0, 0, 0, 0, 1]),
        ] {
            assert_eq!(sent(&ty, text).as_deref(), Some(bytes), "{text} as {ty}");
        }
    }

    #[test]
    fn what_is_not_a_value_for_sure_is_left_to_text() {
        for (ty, texts) in [
            (Type::BOOL, &["t", "TRUE", "1"][..]),
            (Type::INT2, &["32768", " 1", "1.0", ""]),
            (Type::INT4, &["2147483648", "0x10"]),
            (Type::INT8, &["9223372036854775808", "1e3"]),
            (Type::FLOAT4, &["1e39", "1e-50", "NaN", "inf"]),
            (Type::FLOAT8, &["1e400", "1e-400", "Infinity", "0x1p3"]),
            (Type::NUMERIC, &["NaN", "", " 1", "1_000", "0x1f", "1e131072", "1e-16384"]),
            (
                Type::DATE,
                &[
                    "2000-1-1",
                    "infinity",
                    "2000-02-30",
                    "0000-01-01",
                    "20000101",
                    "2000-01-01 BC",
                    "2000-01-01T00:00:00Z",
                ],
            ),
            (
                Type::TIMESTAMP,
                &["2000-01-01", "2000-01-01T00:00:00+01:00", "2000-01-01T24:00:00", "2000-01-01T00:00:60", "epoch"],
            ),
            (Type::BYTEA, &["\\x0", "\\xgg", "abc", "\\000"]),
            (
                Type::UUID,
                &[
                    "00112233445566778899aabbccddeeff",
                    "{00112233-4455-6677-8899-aabbccddeeff}",
                    "0011223-34455-6677-8899-aabbccddeeff",
                ],
            ),
            (
                Type::TIMESTAMPTZ,
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
                assert_eq!(sent(&ty, text), None, "{text} as {ty}");
            }
        }
        for ty in [Type::INET, Type::INTERVAL, Type::XML] {
            assert_eq!(Sent::of(&ty), None, "{ty}");
        }
        for (ty, found) in [("text[]", Type::TEXT), ("text", Type::TEXT_ARRAY), ("inet[]", Type::INET_ARRAY)] {
            assert!(Column::of(&ty.parse().unwrap(), &found).is_none(), "{ty} into {found}");
        }
    }

    #[test]
    fn arrays_are_sent_as_the_server_s_receive_function_takes_them() {
        let ty = "text[]".parse().unwrap();
        let encoder = BinaryEncoder::new(std::iter::once(&ty), &[Type::TEXT_ARRAY.oid()]).unwrap();
        let sent = |cell: &str| {
            let mut bytes = Vec::new();
            encoder.write(None, Row::of([cell]).view(), &mut bytes).map(|()| bytes)
        };
        // One column, its length, then what `select encode(array_send('{a,NULL}'::text[]), 'hex')` and the like say.
        let array = [0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 25, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, b'a', 255, 255, 255, 255];
        assert_eq!(sent(r#"["a",null]"#).unwrap(), [&[0, 1, 0, 0, 0, 29][..], &array].concat());
        assert_eq!(sent("[]").unwrap(), [0, 1, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 25]);
        assert_eq!(sent("null").unwrap(), [0, 1, 255, 255, 255, 255]);
        for left in [r#"["a\u0000"]"#, r#"[["a"]]"#, r#""a""#] {
            assert_eq!(sent(left), None, "{left}");
        }
    }

    /// The names of columns, their types, and these as the driver knows them.
    const COLUMNS: [(&str, &str, Type); 20] = [
        ("b", "bool", Type::BOOL),
        ("s", "int2", Type::INT2),
        ("i", "int4", Type::INT4),
        ("r", "float4", Type::FLOAT4),
        ("d", "float8", Type::FLOAT8),
        ("t", "text", Type::TEXT),
        ("v", "varchar(9)", Type::VARCHAR),
        ("c", "char(9)", Type::BPCHAR),
        ("j", "jsonb", Type::JSONB),
        ("u", "uuid", Type::UUID),
        ("h", "bytea", Type::BYTEA),
        ("n", "numeric", Type::NUMERIC),
        ("m", "numeric(150,3)", Type::NUMERIC),
        ("e", "date", Type::DATE),
        ("l", "timestamp", Type::TIMESTAMP),
        ("z", "timestamptz", Type::TIMESTAMPTZ),
        ("at", "text[]", Type::TEXT_ARRAY),
        ("ai", "int4[]", Type::INT4_ARRAY),
        ("an", "numeric[]", Type::NUMERIC_ARRAY),
        ("aj", "jsonb[]", Type::JSONB_ARRAY),
    ];

    /// Values that the server reads, the usual ones and others.
    fn cell(ty: &str) -> BoxedStrategy<String> {
        let text = |text: String| serde_json::Value::from(text).to_string();
        if let Some(element) = ty.strip_suffix("[]") {
            let array = prop::collection::vec(cell(element), 0..4).prop_map(|cells| format!("[{}]", cells.join(",")));
            return prop_oneof![1 => Just("null".to_owned()), 1 => Just("[[\"1\"],[\"2\"]]".to_owned()), 8 => array]
                .boxed();
        }
        let some = match ty {
            "bool" => prop_oneof![Just("true".to_owned()), Just("false".to_owned()), Just("\"yes\"".to_owned())].boxed(),
            "int2" => any::<i16>().prop_map(|number| number.to_string()).boxed(),
            "int4" => prop_oneof![any::<i32>().prop_map(|number| number.to_string()), Just("\" 7 \"".to_owned())].boxed(),
            "float4" => prop_oneof!["-?[1-9][0-9]{0,9}(\\.[0-9]{1,9})?(e-?[0-9])?", Just("\"NaN\"".to_owned()), Just("0.0e5".to_owned())].boxed(),
            "float8" => {
                prop_oneof!["-?[1-9][0-9]{0,19}(\\.[0-9]{1,19})?(e-?[0-9]{1,2})?", Just("\"-Infinity\"".to_owned())].boxed()
            }
            "numeric" | "numeric(150,3)" => prop_oneof![
                "-?(0|[1-9][0-9]{0,19})(\\.[0-9]{1,19})?([eE][+-]?[0-9]{1,2})?",
                "\"[+-]?0{0,5}[0-9]{1,5}\\.0{0,9}[0-9]?\"",
                Just("\"NaN\"".to_owned()),
            ]
            .boxed(),
            "date" | "timestamp" => prop_oneof![
                "[0-9]{3}[1-9]-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])",
                "[0-9]{3}[1-9]-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,8})?(Z|\\+09:00)?",
                Just("-infinity".to_owned()),
                Just("0044-03-15 BC".to_owned()),
            ]
            .prop_map(text)
            .boxed(),
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
        let columns: Vec<_> =
            COLUMNS.iter().map(|(name, ty, _)| serde_json::json!({"name": name, "type": ty})).collect();
        let mut schema = serde_json::json!({"v": 1, "profile": "p", "hash": "h", "table": "t", "key": ["id"]});
        schema["columns"] = [vec![serde_json::json!({"name": "id", "type": "int8"})], columns].concat().into();
        let schema: Schema = serde_json::from_value(schema).unwrap();
        let types: Vec<_> =
            std::iter::once(Type::INT8).chain(COLUMNS.map(|(.., found)| found)).map(|ty| ty.oid()).collect();
        let text = Encoder::new(&schema);
        let binary = text.binary(&types).unwrap();
        let keys = Keys::of(&schema).unwrap();
        let database = Postgres::new();
        let definitions = COLUMNS.map(|(name, ty, _)| format!(", {name} {ty}")).concat();
        database.query(&format!("create table one (id bigint{definitions}); create table other (like one)"));
        let envs = database.envs();
        let env = |name: &str| envs.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
        let client = std::cell::RefCell::new(pg::Settings::from(env).unwrap().connect().unwrap());
        let rows = prop::collection::vec(COLUMNS.map(|(_, ty, _)| cell(ty)).to_vec(), 1..40);

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
            let left = binary.send(&entries, all.clone(), false, &mut copy).unwrap();
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
