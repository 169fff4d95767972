//! A cell as PostgreSQL's input functions take it: the text that COPY, a CSV file or a literal holds. How a cell looks in
//! the stream is said in `schema`.

use std::borrow::Cow;

use item::number::Decimal;
use memchr::{memchr, memchr3};
use serde_json::Value;
use smallvec::SmallVec;

use crate::policy::elements;
use crate::row::NULL;
use crate::schema::{ColumnType, Kind};

/// The text of a cell; nothing for NULL.
///
/// # Errors
/// A cell that is no JSON, or no array where the type is one.
pub fn text_of<'a>(cell: &'a str, ty: &ColumnType) -> Result<Option<Cow<'a, str>>, String> {
    if cell == NULL {
        return Ok(None);
    }
    if ty.is_array() {
        return array_literal(cell, ty.kind()).map(|text| Some(Cow::Owned(text)));
    }
    element_text(cell, ty.kind()).map(Some)
}

/// The JSON text of each element of an array's cell.
///
/// # Errors
/// A cell that is no JSON array, or one of arrays.
pub fn elements_of<'a>(cell: &'a str, ty: &ColumnType) -> Result<SmallVec<[&'a str; 4]>, String> {
    let elements = elements(cell).ok_or(NO_ARRAY)?;
    if elements.iter().any(|element| is_array(element, ty.kind())) {
        return Err("an array in an array is no element".to_owned());
    }
    Ok(elements)
}

const NO_ARRAY: &str = "the value for an array must be a JSON array";

fn is_array(element: &str, kind: Kind) -> bool {
    kind != Kind::Json && element.starts_with('[')
}

/// The text of a cell that is not null and no array, or of an element of one.
///
/// # Errors
/// A cell that is no JSON.
pub fn element_text(cell: &str, kind: Kind) -> Result<Cow<'_, str>, String> {
    if let (Kind::Integer(..), Some(b'-' | b'0'..=b'9')) = (kind, cell.as_bytes().first()) {
        return Ok(whole_number(cell));
    }
    if kind == Kind::Json || !cell.starts_with('"') || memchr(b'\\', cell.as_bytes()).is_none() {
        return Ok(Cow::Borrowed(plain_text(cell, kind)));
    }
    serde_json::from_str(cell).map(Cow::Owned).map_err(|error| error.to_string())
}

/// The digits of a JSON number for an integer: to JSON `1.0` and `1e3` are whole numbers, to PostgreSQL they are none. What
/// has a fraction stays, for PostgreSQL to refuse.
fn whole_number(cell: &str) -> Cow<'_, str> {
    if memchr3(b'.', b'e', b'E', cell.as_bytes()).is_none() {
        return Cow::Borrowed(cell);
    }
    let number = Decimal::parse(cell).and_then(Decimal::to_i64);
    number.map_or(Cow::Borrowed(cell), |number| Cow::Owned(number.to_string()))
}

/// The same of a cell in which no backslash stands.
#[inline]
pub fn plain_text(cell: &str, kind: Kind) -> &str {
    match cell.as_bytes() {
        [b'"', .., b'"'] if kind != Kind::Json => &cell[1..cell.len() - 1],
        _ => cell,
    }
}

/// A key's cell in a form in which equal numbers and equal texts are the same, whatever their spelling. Of other types,
/// what is the same in the end may be two.
pub fn comparable(cell: &str, kind: Kind) -> Cow<'_, str> {
    match kind {
        Kind::Numeric | Kind::Float => {
            let plain = item::number::plain(cell);
            if !plain.contains('.') {
                return plain;
            }
            Cow::Owned(plain.trim_end_matches('0').trim_end_matches('.').to_owned())
        }
        Kind::Json => Cow::Borrowed(cell),
        _ if memchr(b'\\', cell.as_bytes()).is_none() => Cow::Borrowed(cell),
        // With quotes again, so that it stays what no other value is.
        _ => serde_json::from_str::<String>(cell)
            .map_or(Cow::Borrowed(cell), |text| Cow::Owned(Value::from(text).to_string())),
    }
}

/// `{"a","b",NULL}` (PostgreSQL, "Arrays", "Array Input and Output Syntax"). Every element is quoted, which is always
/// allowed.
fn array_literal(cell: &str, kind: Kind) -> Result<String, String> {
    let elements = elements(cell).ok_or(NO_ARRAY)?;
    let mut literal = String::with_capacity(cell.len() + 2);
    literal.push('{');
    for (place, element) in elements.iter().enumerate() {
        if place > 0 {
            literal.push(',');
        }
        if *element == NULL {
            literal.push_str("NULL");
        } else if is_array(element, kind) {
            literal.push_str(&array_literal(element, kind)?);
        } else {
            literal.push('"');
            for character in element_text(element, kind)?.chars() {
                if matches!(character, '"' | '\\') {
                    literal.push('\\');
                }
                literal.push(character);
            }
            literal.push('"');
        }
    }
    literal.push('}');
    Ok(literal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_become_what_postgresql_reads() {
        for (cell, ty, text) in [
            ("null", "text", None),
            (r#""a\n\"b\"""#, "text", Some("a\n\"b\"")),
            ("12.50", "numeric", Some("12.50")),
            ("1.0", "integer", Some("1")),
            ("-10.00", "bigint", Some("-10")),
            ("1e3", "smallint", Some("1000")),
            ("1.5", "integer", Some("1.5")),
            ("1e400", "integer", Some("1e400")),
            (r#""1.0""#, "integer", Some("1.0")),
            ("[1.0,2]", "integer[]", Some(r#"{"1","2"}"#)),
            ("true", "boolean", Some("true")),
            (r#""x""#, "jsonb", Some(r#""x""#)),
            (r#"{"a":1}"#, "jsonb", Some(r#"{"a":1}"#)),
            (r#""\\x00ff""#, "bytea", Some("\\x00ff")),
            (
                r#"["a","b,c","d\"e","f\\g","",null,"NULL"]"#,
                "text[]",
                Some(r#"{"a","b,c","d\"e","f\\g","",NULL,"NULL"}"#),
            ),
            ("[1,2.50]", "numeric[]", Some(r#"{"1","2.50"}"#)),
            ("[[1],[2]]", "integer[]", Some(r#"{{"1"},{"2"}}"#)),
            ("[]", "text[]", Some("{}")),
            (r#"["\\x00"]"#, "bytea[]", Some(r#"{"\\x00"}"#)),
        ] {
            let text_found = text_of(cell, &ty.parse().unwrap()).unwrap();
            assert_eq!(text_found.as_deref(), text, "{cell} as {ty}");
        }
        assert!(text_of("1", &"text[]".parse().unwrap()).is_err());
    }

    #[test]
    fn keys_are_compared_as_values() {
        for (one, other, kind, equal) in [
            ("1.50", "1.5", Kind::Numeric, true),
            ("1e2", "100", Kind::Numeric, true),
            ("10", "1", Kind::Numeric, false),
            ("0.5", "5e-1", Kind::Float, true),
            (r#""\u00e9\/""#, r#""é/""#, Kind::Text, true),
            (r#""a""#, r#""A""#, Kind::Text, false),
            (r#""\u006eull""#, "null", Kind::Text, false),
            (r#""\u0022""#, r#""\"""#, Kind::Text, true),
        ] {
            assert_eq!(comparable(one, kind) == comparable(other, kind), equal, "{one} {other}");
        }
    }

    #[test]
    fn elements_of_an_array_are_no_arrays() {
        let elements = |cell, ty: &str| elements_of(cell, &ty.parse().unwrap()).map(SmallVec::into_vec);
        assert_eq!(elements(r#"["a\"b",null,""]"#, "text[]").unwrap(), [r#""a\"b""#, "null", "\"\""]);
        assert_eq!(elements("[1, 2.50]", "numeric[]").unwrap(), ["1", "2.50"]);
        assert_eq!(elements(r#"[[1],"x"]"#, "jsonb[]").unwrap(), ["[1]", "\"x\""]);
        for cell in ["[[1],[2]]", "7", "[1"] {
            assert!(elements(cell, "integer[]").is_err(), "{cell}");
        }
    }
}
