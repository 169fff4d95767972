//! One value to one column type, and the steps in between. What is converted for which column, `plan` knows.

#![expect(clippy::inline_always, reason = "without it one in twelve instructions is spent on calls: it was measured")]

use std::borrow::Cow;

use bumpalo::Bump;
use item::number::{Decimal, NumberError, is_json, is_whole, to_json};
use item::scan::special;
use item::{Type, Value};
use sha1::{Digest as _, Sha1};
use uuid::Uuid;
use uuid::fmt::Hyphenated;

use crate::schema::{ColumnType, Kind};

/// Why a value is not taken, after the name of what it is: `is N, but S is wanted`. (A `String` would not be returned in
/// registers.)
pub(crate) type Problem = Box<str>;

/// A value on its way from an attribute to a column. Texts that are made on the way lie in the memory of the row.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scalar<'a> {
    /// Nothing: the attribute is missing or NULL.
    Null,
    /// An attribute value as it came.
    Raw(&'a Value<'a>),
    /// A text.
    Text(&'a str),
    /// A number's JSON text.
    Number(&'a str),
    /// A boolean as it is written. (A `bool` would make every value of this type slow to move.)
    Bool(&'static str),
    /// Composed JSON.
    Json(&'a str),
}

impl<'a> Scalar<'a> {
    pub(crate) fn is_null(self) -> bool {
        matches!(self, Self::Null)
    }

    /// The value as text, for templates, look-ups and text steps: a string's text, a number's digits.
    #[inline(always)]
    pub(crate) fn text(self, memory: &'a Bump) -> Result<Option<&'a str>, Problem> {
        match self {
            Self::Null => Ok(None),
            Self::Text(text) | Self::Number(text) | Self::Bool(text) => Ok(Some(text)),
            Self::Raw(value) => text_of(value, memory).map(Some),
            Self::Json(_) => Err("is composed, which has no text".into()),
        }
    }

    /// Writes the value as JSON, whatever it is.
    pub(crate) fn write_json(self, into: &mut String) -> Result<(), Problem> {
        match self {
            Self::Null => into.push_str("null"),
            Self::Raw(value) if value.has_nul() => return Err(NUL.into()),
            Self::Raw(value) => value.write_json(into),
            Self::Text(text) => write_string(text, into)?,
            Self::Number(json) | Self::Json(json) => into.push_str(json),
            Self::Bool(truth) => into.push_str(truth),
        }
        Ok(())
    }
}

/// The text of an attribute. Values on their way mostly have theirs, so this is no part of what is done for each.
#[inline(never)]
fn text_of<'a>(value: &Value<'a>, memory: &'a Bump) -> Result<&'a str, Problem> {
    Ok(match value {
        Value::S(text) => keep(text.get(), memory),
        Value::N(number) => keep(number.get(), memory),
        Value::True => written(true),
        Value::False => written(false),
        other => return Err(format!("is {}, which has no text", other.ty().name()).into()),
    })
}

/// The text, which lies in that memory if it was made.
#[inline]
pub(crate) fn keep<'a>(text: Cow<'a, str>, memory: &'a Bump) -> &'a str {
    match text {
        Cow::Borrowed(text) => text,
        Cow::Owned(text) => memory.alloc_str(&text),
    }
}

/// A boolean in JSON and in SQL.
pub(crate) fn written(truth: bool) -> &'static str {
    if truth { "true" } else { "false" }
}

pub(crate) const NUL: &str = "holds the character U+0000, which PostgreSQL cannot store";

/// Writes a text as a JSON string.
pub(crate) fn write_string(text: &str, into: &mut String) -> Result<(), Problem> {
    let special = special(text.as_bytes()).is_some();
    if special && text.contains('\0') {
        return Err(NUL.into());
    }
    if special {
        into.push_str(&serde_json::to_string(text).map_err(|error| error.to_string())?);
    } else {
        into.push('"');
        into.push_str(text);
        into.push('"');
    }
    Ok(())
}

/// Writes a value as the stream holds values of a type.
#[inline(always)]
pub(crate) fn write_as(
    ty: &ColumnType,
    accept: Option<&[Type]>,
    value: Scalar<'_>,
    into: &mut String,
) -> Result<(), Problem> {
    if value.is_null() {
        into.push_str("null");
        return Ok(());
    }
    if ty.is_array() { write_array(ty.kind(), accept, value, into) } else { write_one(ty.kind(), accept, value, into) }
}

fn write_array(kind: Kind, accept: Option<&[Type]>, value: Scalar<'_>, into: &mut String) -> Result<(), Problem> {
    let mut elements = Elements { into, first: true };
    elements.into.push('[');
    match value {
        Scalar::Raw(Value::L(values)) => {
            for value in values.iter() {
                elements.next();
                let value = if matches!(value, Value::Null) { Scalar::Null } else { Scalar::Raw(value) };
                if value.is_null() {
                    elements.into.push_str("null");
                } else {
                    write_one(kind, accept, value, elements.into)?;
                }
            }
        }
        Scalar::Raw(Value::Ss(texts)) => {
            for text in *texts {
                elements.next();
                write_one(kind, accept, Scalar::Raw(&Value::S(*text)), elements.into)?;
            }
        }
        Scalar::Raw(Value::Ns(numbers)) => {
            for number in *numbers {
                elements.next();
                write_one(kind, accept, Scalar::Raw(&Value::N(*number)), elements.into)?;
            }
        }
        Scalar::Raw(Value::Bs(binaries)) => {
            for binary in *binaries {
                elements.next();
                write_one(kind, accept, Scalar::Raw(&Value::B(*binary)), elements.into)?;
            }
        }
        Scalar::Raw(other) => return Err(wrong(other, &[Type::L, Type::Ss, Type::Ns, Type::Bs])),
        Scalar::Json(json) if json.starts_with('[') => {
            elements.into.truncate(elements.into.len() - 1);
            elements.into.push_str(json);
            return Ok(());
        }
        _ => return Err("is a single value where an array is wanted".into()),
    }
    elements.into.push(']');
    Ok(())
}

struct Elements<'a> {
    into: &'a mut String,
    first: bool,
}

impl Elements<'_> {
    fn next(&mut self) {
        if !std::mem::take(&mut self.first) {
            self.into.push(',');
        }
    }
}

fn write_one(kind: Kind, accept: Option<&[Type]>, value: Scalar<'_>, into: &mut String) -> Result<(), Problem> {
    let json = match (kind, value) {
        (_, Scalar::Raw(value)) => {
            check_type(kind, accept, value)?;
            as_written(kind, value)
        }
        (Kind::Text, Scalar::Text(text)) => return write_string(text, into),
        (Kind::Boolean, Scalar::Bool(truth)) => Some(truth),
        (Kind::Integer(_, most), Scalar::Number(digits)) => {
            (is_whole(digits) && are_few(digits, most)).then_some(digits)
        }
        (Kind::Numeric | Kind::Float, Scalar::Number(digits)) => is_json(digits.as_bytes()).then_some(digits),
        _ => None,
    };
    match json {
        Some(json) => {
            into.push_str(json);
            Ok(())
        }
        None => write_converted(kind, value, into),
    }
}

/// The JSON of an attribute that is written as it stands.
#[inline]
pub(crate) fn as_written<'a>(kind: Kind, value: &Value<'a>) -> Option<&'a str> {
    match (kind, value) {
        (Kind::Text | Kind::Uuid | Kind::Date | Kind::Timestamp | Kind::Timestamptz | Kind::Other, Value::S(text))
            if !text.has_nul() =>
        {
            Some(text.json())
        }
        (Kind::Boolean, Value::True) => Some(written(true)),
        (Kind::Boolean, Value::False) => Some(written(false)),
        (Kind::Integer(_, most), Value::N(number)) => number.whole().filter(|digits| are_few(digits, most)),
        (Kind::Numeric | Kind::Float, Value::N(number)) => number.json(),
        _ => None,
    }
}

/// The attribute as a value of the kind, if nothing has to be made for that.
#[inline]
pub(crate) fn as_value<'a>(kind: Kind, value: &Value<'a>) -> Option<Scalar<'a>> {
    match (kind, value) {
        (Kind::Text, Value::S(text)) => text.plain().map(Scalar::Text),
        (Kind::Integer(..) | Kind::Numeric | Kind::Float, _) => as_written(kind, value).map(Scalar::Number),
        _ => None,
    }
}

/// Writes a value that has to be another text than the one that came.
fn write_converted(kind: Kind, value: Scalar<'_>, into: &mut String) -> Result<(), Problem> {
    // It allocates nothing before it is used.
    let memory = Bump::new();
    let text = || Ok::<_, Problem>(value.text(&memory)?.unwrap_or_default());
    match kind {
        Kind::Json => value.write_json(into),
        Kind::Text | Kind::Uuid | Kind::Date | Kind::Timestamp | Kind::Timestamptz | Kind::Other => {
            write_string(text()?, into)
        }
        Kind::Boolean => {
            let truth = match text()? {
                "true" | "1" => "true",
                "false" | "0" => "false",
                other => return Err(format!("is `{}`, which is neither true nor false", shorten(other)).into()),
            };
            into.push_str(truth);
            Ok(())
        }
        Kind::Integer(least, most) => {
            let text = text()?;
            let number = Decimal::parse(text).and_then(Decimal::to_i64).map_err(|error| number_error(text, error))?;
            if number < least || number > most {
                return Err(format!("is {number}, which is outside {least} to {most}").into());
            }
            into.push_str(&number.to_string());
            Ok(())
        }
        Kind::Numeric | Kind::Float => {
            let text = text()?;
            into.push_str(&to_json(text).map_err(|error| number_error(text, error))?);
            Ok(())
        }
        Kind::Bytea => match value {
            Scalar::Raw(Value::B(binary)) => write_hex(&binary.get(), into),
            _ => write_string(text()?, into),
        },
    }
}

/// Whether a number of so many digits cannot be more than `most`.
fn are_few(digits: &str, most: i64) -> bool {
    let fewer = if most > i64::from(i32::MAX) {
        18
    } else if most > i64::from(i16::MAX) {
        9
    } else {
        4
    };
    digits.len() <= fewer
}

fn number_error(text: &str, error: NumberError) -> String {
    format!("is `{}`, which is {error}", shorten(text))
}

/// `\x` and hexadecimal digits, PostgreSQL's text form of `bytea` ("Binary Data Types", hex format).
fn write_hex(base64: &str, into: &mut String) -> Result<(), Problem> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let bytes = decode_base64(base64).ok_or("is not base64")?;
    into.push_str("\"\\\\x");
    for byte in bytes {
        into.push(char::from(DIGITS[usize::from(byte >> 4)]));
        into.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    into.push('"');
    Ok(())
}

fn decode_base64(text: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}

/// Whether a value's type is one that leads to the kind.
fn check_type(kind: Kind, accept: Option<&[Type]>, value: &Value<'_>) -> Result<(), Problem> {
    let accept = match (accept, kind) {
        (Some(accept), _) => accept,
        (None, Kind::Text | Kind::Uuid | Kind::Date | Kind::Timestamp | Kind::Timestamptz) => &[Type::S],
        (None, Kind::Boolean) => &[Type::Bool],
        (None, Kind::Integer(..) | Kind::Numeric | Kind::Float) => &[Type::N, Type::S],
        (None, Kind::Bytea) => &[Type::B],
        (None, Kind::Other) => &[Type::S, Type::N],
        (None, Kind::Json) => return Ok(()),
    };
    if accept.contains(&value.ty()) { Ok(()) } else { Err(wrong(value, accept)) }
}

#[cold]
fn wrong(value: &Value<'_>, wanted: &[Type]) -> Problem {
    let wanted: Vec<_> = wanted.iter().map(|ty| ty.name()).collect();
    format!("is {}, but {} is wanted", value.ty().name(), wanted.join(" or ")).into()
}

/// A text that may be long, for a message.
pub(crate) fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(40).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// The stem and the extension of a path's last part: `a/b.x/c.tar.gz` gives `a/b.x/c.tar` and `gz`. A name that begins
/// with its only dot, or ends with one, has no extension.
pub(crate) fn split_extension(path: &str) -> Option<(&str, &str)> {
    let bytes = path.as_bytes();
    let dot = bytes.iter().rposition(|byte| matches!(byte, b'.' | b'/')).filter(|&place| bytes[place] == b'.')?;
    let stem = dot.checked_sub(1).is_some_and(|before| bytes[before] != b'/');
    (stem && dot + 1 < path.len()).then(|| (&path[..dot], &path[dot + 1..]))
}

/// Nanoseconds in 400 years, after which the Gregorian calendar repeats itself.
const CYCLE: i128 = 146_097 * 86_400 * 1_000_000_000;

/// The first and the last second that PostgreSQL's timestamps have ("Date/Time Types"): `4714-11-24 BC`, as its calendar
/// counts 4713 BC of the Julian one, and the end of 294276.
const TIMES: std::ops::RangeInclusive<i128> = -210_866_803_200..=9_224_318_015_999;

/// The time that lies so many units after 1970 began, as PostgreSQL writes it: `2023-03-29T17:09:24Z`, before the year 1
/// `0044-03-15T12:00:00Z BC`. `digits` may have a fraction.
pub(crate) fn epoch(digits: &str, units_per_second: i128) -> Result<String, String> {
    let range = || format!("is `{}`, which is no time", shorten(digits));
    let number = Decimal::parse(digits).map_err(|error| number_error(digits, error))?;
    // Nanoseconds are beyond what PostgreSQL keeps (microseconds), so nothing is lost.
    let nanoseconds = number.scaled(1_000_000_000 / units_per_second).ok_or_else(range)?;
    if !TIMES.contains(&nanoseconds.div_euclid(1_000_000_000)) {
        return Err(range());
    }
    // `jiff` ends with the year 9999 and writes years before 1 as ISO 8601 does, which PostgreSQL does not read. So it
    // writes the same time of another cycle.
    let time = jiff::Timestamp::from_nanosecond(nanoseconds.rem_euclid(CYCLE)).map_err(|_| range())?.to_string();
    let cycles = nanoseconds.div_euclid(CYCLE);
    if cycles == 0 {
        return Ok(time);
    }
    let (year, rest) = time.split_at_checked(4).ok_or_else(range)?;
    let year = year.parse::<i128>().map_err(|_| range())? + cycles * 400;
    Ok(if year > 0 { format!("{year:04}{rest}") } else { format!("{:04}{rest} BC", 1 - year) })
}

/// The UUID of a name in a namespace (RFC 9562, section 5.5). The crate `uuid` has a SHA-1 that does without the
/// processor's instructions for it, and takes several times as long.
pub(crate) fn uuid_v5(namespace: &Uuid, name: &str) -> Hyphenated {
    let hash = Sha1::new_with_prefix(namespace).chain_update(name).finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    uuid::Builder::from_sha1_bytes(bytes).into_uuid().hyphenated()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_that_of_its_name() {
        // RFC 9562, appendix A.4: `www.example.com` in the namespace of DNS.
        let namespace = "6ba7b810-9dad-11d1-80b4-00c04fd430c8".parse().unwrap();
        assert_eq!(uuid_v5(&namespace, "www.example.com").to_string(), "2ed6657d-e927-568b-95e1-2665a8aea6a2");
        // `python3 -c 'import uuid; print(uuid.uuid5(uuid.NAMESPACE_DNS, "é" * 100))'`
        assert_eq!(uuid_v5(&namespace, &"é".repeat(100)).to_string(), "1d2f3336-173f-59d7-a2e0-4299659f807e");
    }

    #[test]
    fn an_extension_belongs_to_the_last_part_of_a_path() {
        for (path, expected) in [
            ("2013/07/1.jpg", Some(("2013/07/1", "jpg"))),
            ("a.b/c", None),
            ("a/.png", None),
            ("a/b.", None),
            ("c.tar.gz", Some(("c.tar", "gz"))),
            ("..gz", Some((".", "gz"))),
            (".gz", None),
            ("ä/ö.ü", Some(("ä/ö", "ü"))),
            ("", None),
        ] {
            assert_eq!(split_extension(path), expected, "{path}");
        }
    }

    #[test]
    fn epochs_are_times() {
        // `date -u -d @1680109764 +%FT%TZ`
        assert_eq!(epoch("1680109764", 1).unwrap(), "2023-03-29T17:09:24Z");
        assert_eq!(epoch("1680109764123", 1000).unwrap(), "2023-03-29T17:09:24.123Z");
        assert_eq!(epoch("-1.5", 1).unwrap(), "1969-12-31T23:59:58.5Z");
        // As many digits as DynamoDB has.
        assert_eq!(epoch("1700000000.1234567165374755859375", 1).unwrap(), "2023-11-14T22:13:20.123456716Z");
        assert_eq!(
            epoch("1700000000123456.78901234567890123456", 1_000_000).unwrap(),
            "2023-11-14T22:13:20.123456789Z"
        );
        assert_eq!(epoch("0.00000000000000000000000000000000000001", 1).unwrap(), "1970-01-01T00:00:00Z");
        // PostgreSQL: `select extract(epoch from timestamptz '0044-03-15 12:00:00Z BC')` and the like.
        assert_eq!(epoch("-63517780800", 1).unwrap(), "0044-03-15T12:00:00Z BC");
        assert_eq!(epoch("-62135596801000", 1000).unwrap(), "0001-12-31T23:59:59Z BC");
        assert_eq!(epoch("-62135596800", 1).unwrap(), "0001-01-01T00:00:00Z");
        assert_eq!(epoch("253402300800000", 1000).unwrap(), "10000-01-01T00:00:00Z");
        assert_eq!(epoch("-210866803200", 1).unwrap(), "4714-11-24T00:00:00Z BC");
        assert_eq!(epoch("9224318015999.5", 1).unwrap(), "294276-12-31T23:59:59.5Z");
        assert!(epoch("-210866803200.1", 1).is_err());
        assert!(epoch("9224318016000", 1).is_err());
        assert!(epoch("1e100", 1).is_err());
        assert!(epoch("soon", 1).is_err());
    }
}
