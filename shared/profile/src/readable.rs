//! Whether PostgreSQL can read a cell as a value of its type. It is asked of values that give way if not (`on_failure`);
//! for the others PostgreSQL itself says so, and its words stand in the reject.
//!
//! Of times only the forms are known that `order` knows, whatever the settings of a session are. A type that only the
//! server knows (`inet`, an enumeration) takes anything here.

use item::number::{Decimal, is_zero, plain};
use serde_json::value::RawValue;

use crate::convert::shorten;
use crate::order;
use crate::row::NULL;
use crate::schema::{ColumnType, Kind};
use crate::text::element_text;

/// Checks that PostgreSQL can read the cell.
///
/// # Errors
/// Why not, as the end of a sentence that begins with what the value is.
pub(crate) fn check(ty: &ColumnType, cell: &str) -> Result<(), String> {
    if cell == NULL || ty.kind() == Kind::Json {
        return Ok(());
    }
    if !ty.is_array() {
        return check_one(ty, cell);
    }
    let elements: Vec<&RawValue> = serde_json::from_str(cell).map_err(|_| "is no array".to_owned())?;
    let mut elements = elements.into_iter().map(RawValue::get);
    elements.try_for_each(|element| {
        if element.starts_with('[') || element == NULL { check(ty, element) } else { check_one(ty, element) }
    })
}

fn check_one(ty: &ColumnType, cell: &str) -> Result<(), String> {
    let text = element_text(cell, ty.kind())?;
    let readable = match ty.kind() {
        Kind::Text => length(ty).is_none_or(|most| text.trim_end_matches(' ').chars().count() <= most),
        Kind::Boolean => matches!(&*text, "true" | "false" | "t" | "f" | "yes" | "no" | "on" | "off" | "1" | "0"),
        Kind::Integer(least, most) => text.parse().is_ok_and(|number: i64| (least..=most).contains(&number)),
        Kind::Numeric => is_numeric(&text, &ty.modifiers()),
        Kind::Float => is_float(&text, ty.base() == "real" || ty.base() == "real[]"),
        Kind::Timestamptz | Kind::Timestamp | Kind::Date => order::is_time(&text),
        Kind::Uuid => is_uuid(&text),
        Kind::Bytea => is_bytea(&text),
        Kind::Json | Kind::Other => true,
    };
    if readable {
        Ok(())
    } else {
        Err(format!("is `{}`, which is no value of the type {}", shorten(&text), ty.element()))
    }
}

/// The most characters that a text has; `character` alone is one.
fn length(ty: &ColumnType) -> Option<usize> {
    let given = ty.modifiers().first().and_then(|most| usize::try_from(*most).ok());
    given.or_else(|| ty.base().starts_with("character").then_some(1).filter(|_| !ty.base().contains("varying")))
}

/// Whether a number has a place in `numeric`, or in `numeric(precision, scale)` after it was rounded.
fn is_numeric(text: &str, modifiers: &[i64]) -> bool {
    if !Decimal::parse(text).is_ok_and(Decimal::fits_numeric) {
        return false;
    }
    let number = plain(text);
    let digits = number.strip_prefix('-').unwrap_or(&number);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let Some(&precision) = modifiers.first() else { return true };
    let scale = modifiers.get(1).copied().unwrap_or(0);
    // The digit before the point has the place 0, the one after it -1.
    let digit = |place: i64| {
        let found = match usize::try_from(place) {
            Ok(place) => whole.len().checked_sub(place + 1).and_then(|place| whole.as_bytes().get(place)),
            Err(_) => usize::try_from(-place - 1).ok().and_then(|place| fraction.as_bytes().get(place)),
        };
        found.copied().unwrap_or(b'0')
    };
    // A length is bounded by the line's.
    let first = i64::try_from(whole.len()).unwrap_or(i64::MAX);
    let places = (-scale..precision - scale).rev();
    let small = (precision - scale..first).all(|place| digit(place) == b'0');
    let rounded_up = digit(-scale - 1) >= b'5' && places.clone().all(|place| digit(place) == b'9');
    small && !rounded_up
}

/// Whether a number is neither too large nor too small for a float.
fn is_float(text: &str, single: bool) -> bool {
    if single {
        text.parse().is_ok_and(|number: f32| number.is_finite() && (number != 0.0 || is_zero(text)))
    } else {
        text.parse().is_ok_and(|number: f64| number.is_finite() && (number != 0.0 || is_zero(text)))
    }
}

/// 32 hexadecimal digits; there may be a hyphen after each four, and braces around all ("UUID Type").
fn is_uuid(text: &str) -> bool {
    let inner = match text.strip_prefix('{') {
        Some(inner) => inner.strip_suffix('}'),
        None => Some(text),
    };
    let mut digits = 0;
    let fits = |byte: u8| {
        if byte == b'-' {
            return digits % 4 == 0 && (4..32).contains(&digits);
        }
        digits += 1;
        byte.is_ascii_hexdigit()
    };
    let all = inner.is_some_and(|inner| !inner.contains("--") && inner.bytes().all(fits));
    all && digits == 32
}

/// The formats `hex` and `escape` ("Binary Data Types").
fn is_bytea(text: &str) -> bool {
    if let Some(hex) = text.strip_prefix("\\x") {
        return hex.len() % 2 == 0 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    }
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = match (first, after) {
            (b'\\', [b'\\', after @ ..] | [b'0'..=b'3', b'0'..=b'7', b'0'..=b'7', after @ ..]) => after,
            (b'\\', _) => return false,
            (_, after) => after,
        };
    }
    true
}
