//! In which order values are, as PostgreSQL has them: for merging that compares. The policies that do so are in `policy`.
//!
//! A value becomes bytes, and the bytes of the greater value are the greater ones. Not every text that PostgreSQL would
//! take for a value can be compared here: what depends on the settings of a session (`01/02/2024`, a `timestamptz` without
//! its offset), or has no place among the digits (`infinity`, `NaN`), has no such bytes and is refused with its item.

use std::borrow::Cow;

use item::number::Decimal;
use jiff::civil;

use crate::row::NULL;
use crate::schema::{ColumnType, Kind};
use crate::text::element_text;

/// Checks that values of a type can be compared: what a length or precision makes equal may still be told apart here, but
/// never stands in another order.
///
/// # Errors
/// What the type cannot do, in one sentence.
pub(crate) fn can_compare(ty: &ColumnType) -> Result<(), String> {
    // `citext` has an idea of its own of what is equal; `character` ignores spaces at the end.
    let text = || matches!(ty.base().as_str(), "text" | "character varying");
    let comparable = match ty.kind() {
        Kind::Text => text(),
        Kind::Boolean
        | Kind::Integer(..)
        | Kind::Numeric
        | Kind::Float
        | Kind::Timestamptz
        | Kind::Timestamp
        | Kind::Date
        | Kind::Uuid
        | Kind::Bytea => !ty.is_array(),
        Kind::Json | Kind::Other => false,
    };
    if comparable {
        return Ok(());
    }
    Err(format!(
        "values of the type {ty} are not compared here; those of text, varchar, boolean, the integers, numeric, real, \
         double precision, timestamptz, timestamp, date, uuid and bytea are"
    ))
}

/// Checks that besides two values of a type are equal here where PostgreSQL finds them equal, and nowhere else.
///
/// # Errors
/// What the type cannot do, in one sentence.
pub(crate) fn can_equal(ty: &ColumnType) -> Result<(), String> {
    can_compare(ty)?;
    if ty.kind() == Kind::Float || ty.has_modifier() {
        return Err(format!(
            "the type {ty} rounds or cuts its values, so others would be equal in the table than before it"
        ));
    }
    Ok(())
}

/// The bytes of a value by which it is compared with others of its kind; nothing for NULL.
///
/// # Errors
/// Why it cannot be compared, as the end of a sentence that begins with what it is.
pub(crate) fn of(kind: Kind, cell: &str) -> Result<Option<Cow<'_, [u8]>>, String> {
    if cell == NULL {
        return Ok(None);
    }
    if cell.starts_with(['[', '{']) {
        return Err("holds a list or a map where single values are compared".to_owned());
    }
    let text = element_text(cell, kind)?;
    let no = |what: &str| format!("is `{text}`, which is {what}");
    Ok(Some(Cow::Owned(match kind {
        Kind::Text => {
            return Ok(Some(match text {
                Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                Cow::Owned(text) => Cow::Owned(text.into_bytes()),
            }));
        }
        Kind::Boolean => match &*text {
            "true" => vec![1],
            "false" => vec![0],
            _ => return Err(no("neither true nor false")),
        },
        Kind::Integer(..) | Kind::Numeric | Kind::Float => {
            let number = Decimal::parse(&text).map_err(|error| no(&error.to_string()))?;
            let mut bytes = Vec::with_capacity(text.len() + 10);
            number.write_order(&mut bytes);
            bytes
        }
        Kind::Timestamptz => {
            let time = Time::parse(&text).and_then(|time| Some(time.local() - time.offset? * 1_000_000));
            let example = "no time with its offset such as 2024-01-31T23:59:59.5+01:00, and cannot be compared";
            ascending(time.ok_or_else(|| no(example))?)
        }
        Kind::Timestamp => {
            // PostgreSQL does not look at an offset here.
            let time = Time::parse(&text).map(Time::local);
            ascending(time.ok_or_else(|| no("no time such as 2024-01-31T23:59:59.5, and cannot be compared"))?)
        }
        Kind::Date => {
            let day = Time::parse(&text).map(|time| time.day);
            ascending(day.ok_or_else(|| no("no date such as 2024-01-31, and cannot be compared"))?)
        }
        Kind::Uuid => uuid::Uuid::try_parse(&text).map_err(|_| no("no UUID"))?.as_bytes().to_vec(),
        Kind::Bytea => bytes_of_hex(&text).ok_or_else(|| no("not of the form \\x00ff, and cannot be compared"))?,
        Kind::Json | Kind::Other => return Err("is of a type that is not compared".to_owned()),
    })))
}

/// Whether a text is a date or a time that PostgreSQL reads whatever its settings are; a part of it may be missing.
pub(crate) fn is_time(text: &str) -> bool {
    Time::parse(text).is_some()
}

/// The bytes of an element of a JSON array by which it is compared with any other: booleans, numbers, texts, null.
///
/// # Errors
/// Why it cannot be compared, as the end of a sentence that begins with what it is.
pub(crate) fn of_json(element: &str) -> Result<Vec<u8>, String> {
    let (place, kind) = match element.as_bytes().first() {
        Some(b't' | b'f') => (0, Kind::Boolean),
        Some(b'-' | b'0'..=b'9') => (1, Kind::Numeric),
        Some(b'"') => (2, Kind::Text),
        _ => (3, Kind::Json),
    };
    let mut bytes = vec![place];
    bytes.extend_from_slice(&of(kind, element)?.unwrap_or_default());
    Ok(bytes)
}

/// Bytes in whose order numbers are.
fn ascending(number: i64) -> Vec<u8> {
    // Of two's complement with the sign turned the order of bytes is the order of numbers.
    (number ^ i64::MIN).to_be_bytes().to_vec()
}

/// The bytes of `\x00ff`.
fn bytes_of_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("\\x")?.as_bytes();
    let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty().then_some(())?;
    pairs.iter().map(|[high, low]| Some(value(*high)? << 4 | value(*low)?)).collect()
}

/// A time as it is written, `2024-01-31T23:59:59.5+01:00` or a part of it.
#[derive(Clone, Copy, Debug)]
struct Time {
    /// Days since 2000 began, from where PostgreSQL counts: so all its times fit into 64 bits.
    day: i64,
    seconds: i64,
    microseconds: i64,
    /// Seconds east of Greenwich.
    offset: Option<i64>,
}

impl Time {
    /// Microseconds since 2000 began where the clock showed this.
    fn local(self) -> i64 {
        (self.day * 86_400 + self.seconds) * 1_000_000 + self.microseconds
    }

    /// Takes a time apart: ISO 8601 with four to six digits for the year, `T` or a space before the hours, offsets as `Z`,
    /// `+01`, `+01:00` and `+0100`, and ` BC` behind it all. (PostgreSQL, "Date/Time Types", reads them all alike, whatever
    /// its settings are.)
    fn parse(text: &str) -> Option<Self> {
        let (text, before_christ) = text.strip_suffix(" BC").map_or((text, false), |text| (text, true));
        let (date, clock) = match text.split_once(['T', 't', ' ']) {
            Some((date, clock)) => (date, Some(clock)),
            None => (text, None),
        };
        let mut time = Self { day: day_of(date, before_christ)?, seconds: 0, microseconds: 0, offset: None };
        let Some(clock) = clock else { return Some(time) };

        let end = clock.find(['Z', 'z', '+', '-', ' ']).unwrap_or(clock.len());
        let (clock, offset) = clock.split_at(end);
        let (clock, fraction) = clock.split_once('.').map_or((clock, None), |(clock, digits)| (clock, Some(digits)));
        let [hours, minutes, seconds] = match clock.len() {
            5 if fraction.is_none() => fields(clock, ":", &[2, 2]).map(|[hours, minutes]| [hours, minutes, 0])?,
            _ => fields(clock, ":", &[2, 2, 2])?,
        };
        // A leap second is the first one of the next minute.
        (hours < 24 && minutes < 60 && seconds <= 60).then_some(())?;
        time.seconds = hours * 3600 + minutes * 60 + seconds;
        time.microseconds = fraction.map_or(Some(0), microseconds)?;
        time.offset = match offset.strip_prefix(' ').unwrap_or(offset) {
            "" if offset.is_empty() => None,
            "Z" | "z" => Some(0),
            offset => Some(seconds_east(offset)?),
        };
        Some(time)
    }
}

/// The days from the beginning of 2000 to a date `2024-01-31`.
fn day_of(date: &str, before_christ: bool) -> Option<i64> {
    /// The Gregorian calendar repeats itself after so many years and days.
    const CYCLE: (i64, i64) = (400, 146_097);

    let [year, month, day] =
        fields(date, "-", &[date.len().checked_sub(6).filter(|digits| (4..=6).contains(digits))?, 2, 2])?;
    // PostgreSQL's timestamps begin in 4714 BC and end with 294276.
    (1..=if before_christ { 4714 } else { 294_276 }).contains(&year).then_some(())?;
    // Before the year 1 is 1 BC, which is 0 here.
    let year = if before_christ { 1 - year } else { year };
    let (cycles, year) = (year.div_euclid(CYCLE.0), year.rem_euclid(CYCLE.0));
    let date = civil::Date::new(i16::try_from(year).ok()?, i8::try_from(month).ok()?, i8::try_from(day).ok()?);
    let since = date.ok()?.since(civil::date(2000, 1, 1)).ok()?;
    Some(i64::from(since.get_days()) + cycles * CYCLE.1)
}

/// Numbers of so many digits each, with this between them.
fn fields<const N: usize>(text: &str, separator: &str, lengths: &[usize; N]) -> Option<[i64; N]> {
    let mut numbers = [0; N];
    let mut parts = text.split(separator);
    for (number, length) in numbers.iter_mut().zip(lengths) {
        let part =
            parts.next().filter(|part| part.len() == *length && part.bytes().all(|byte| byte.is_ascii_digit()))?;
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

/// The digits after the point of a second, in microseconds as PostgreSQL rounds them: as a `double precision`, half of one
/// to the even side (`ParseFractionalSecond` in datetime.c).
fn microseconds(digits: &str) -> Option<i64> {
    (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(())?;
    if digits.len() <= 6 {
        return format!("{digits:0<6}").parse().ok();
    }
    let seconds: f64 = format!("0.{digits}").parse().ok()?;
    #[expect(clippy::cast_possible_truncation, reason = "between 0 and 1,000,000")]
    Some((seconds * 1e6).round_ties_even() as i64)
}

/// An offset `+01`, `+0100` or `+01:00`, in seconds.
fn seconds_east(offset: &str) -> Option<i64> {
    let (sign, digits) = match offset.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let [hours, minutes] = match digits.len() {
        2 => fields(digits, ":", &[2]).map(|[hours]| [hours, 0])?,
        4 => {
            let (hours, minutes) = digits.split_at_checked(2)?;
            [fields(hours, ":", &[2])?[0], fields(minutes, ":", &[2])?[0]]
        }
        _ => fields(digits, ":", &[2, 2])?,
    };
    // PostgreSQL's own limits.
    (hours < 16 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_every_year_are_in_order() {
        let times = [
            "4714-11-24T00:00:00Z BC",
            "0044-03-15T11:59:59.5Z BC",
            "0044-03-15T12:00:00Z BC",
            "0001-12-31T23:59:59Z BC",
            "0001-01-01T00:00:00Z",
            "0004-02-29T00:00:00Z",
            "2024-01-31T23:59:59Z",
            "9999-12-31T23:59:59Z",
            "10000-01-01T00:00:00Z",
            "294276-12-31T23:59:59Z",
        ];
        for kind in [Kind::Timestamptz, Kind::Timestamp] {
            let bytes: Vec<_> =
                times.iter().map(|time| of(kind, &format!("\"{time}\"")).unwrap().unwrap().into_owned()).collect();
            assert!(bytes.is_sorted(), "{bytes:?}");
        }
        // 1 BC is a leap year, and there is no year 0.
        assert!(of(Kind::Date, "\"0001-02-29 BC\"").is_ok());
        for none in [
            "0000-01-01",
            "0000-01-01 BC",
            "0002-02-29 BC",
            "10000-1-01",
            "294277-01-01",
            "4715-01-01 BC",
            "44-03-15 BC",
        ] {
            assert!(of(Kind::Date, &format!("\"{none}\"")).is_err(), "{none}");
        }
    }
}
