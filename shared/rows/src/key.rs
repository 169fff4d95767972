//! The key of a row in a form in which equal keys are equal bytes, whatever their spelling in JSON: what rows of one
//! batch are merged, sorted and parted by.
//!
//! PostgreSQL has the last word on which keys are equal. Of most keys it is known here what it will say; these are
//! certain. Where others are among them it is asked (`division`).

use std::borrow::Cow;

use item::number::{Decimal, plain};
use memchr::memchr;
use profile::row::NULL;
use profile::{Cells, Column, ColumnType, Kind, Schema};

use crate::binary::{days, local_microseconds, microseconds};

/// Takes keys out of rows. The order of their bytes is near the order of the index.
#[derive(Clone, Debug)]
pub struct Keys {
    columns: Vec<KeyColumn>,
}

/// A column of the key.
#[derive(Clone, Debug)]
struct KeyColumn {
    index: usize,
    name: String,
    form: Form,
}

/// What is one value, however it is spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Integer,
    Numeric,
    Real,
    Double,
    Timestamptz,
    Timestamp,
    Date,
    Uuid,
    Bytea,
    Boolean,
    /// `character`, which ignores spaces at the end.
    Padded,
    /// Every other text is another value, but for spaces at the end, which `character varying(n)` may cut.
    Text,
    /// A text of which other spellings may be the same value: a type that rounds, or one with an idea of its own.
    Other,
}

impl Form {
    fn of(ty: &ColumnType) -> Self {
        match (ty.kind(), ty.base().as_str()) {
            _ if ty.is_array() => Self::Other,
            (Kind::Text, "character") => Self::Padded,
            (Kind::Text, "text" | "character varying") => Self::Text,
            _ if ty.has_modifier() => Self::Other,
            (Kind::Integer(..), _) => Self::Integer,
            (Kind::Numeric, _) => Self::Numeric,
            (Kind::Float, "real") => Self::Real,
            (Kind::Float, _) => Self::Double,
            (Kind::Timestamptz, _) => Self::Timestamptz,
            (Kind::Timestamp, _) => Self::Timestamp,
            (Kind::Date, _) => Self::Date,
            (Kind::Uuid, _) => Self::Uuid,
            (Kind::Bytea, _) => Self::Bytea,
            (Kind::Boolean, _) => Self::Boolean,
            (Kind::Text | Kind::Json | Kind::Other, _) => Self::Other,
        }
    }
}

impl Keys {
    /// Keys of that schema's rows; of its key's names, the first that is no column is the error.
    pub fn of(schema: &Schema) -> Result<Self, String> {
        let indexes = schema.key_indexes()?;
        let column = |index: usize| {
            let Column { name, ty, .. } = &schema.columns[index];
            KeyColumn { index, name: name.clone(), form: Form::of(ty) }
        };
        Ok(Self { columns: indexes.into_iter().map(column).collect() })
    }

    /// Whether its types are such that keys can be certain.
    pub fn can_be_certain(&self) -> bool {
        self.columns.iter().all(|column| column.form != Form::Other)
    }

    /// Appends the bytes by which a row's key is told apart from others; a column of it that is null is the error. True if
    /// it is certain: of two such keys that are different PostgreSQL says so too, if the table has the same types.
    pub fn write(&self, row: impl Cells, into: &mut Vec<u8>) -> Result<bool, String> {
        let mut certain = true;
        for KeyColumn { index, name, form } in &self.columns {
            let cell = row.cell(*index);
            if cell == NULL {
                return Err(format!("the key's column `{name}` is null"));
            }
            certain &= write_part(cell, *form, into);
        }
        Ok(certain)
    }

    /// Whether two rows have one key, neither with a column of it that is null.
    pub fn equal(&self, one: impl Cells, other: impl Cells) -> bool {
        let part = |cell, form| {
            let mut part = Vec::new();
            write_part(cell, form, &mut part);
            part
        };
        self.columns.iter().all(|KeyColumn { index, form, .. }| {
            let (one, other) = (one.cell(*index), other.cell(*index));
            // Most are spelled as one.
            one == other || part(one, *form) == part(other, *form)
        })
    }
}

/// One column's part, ended so that no part can run into the next; whether it is certain.
fn write_part(cell: &str, form: Form, into: &mut Vec<u8>) -> bool {
    let number = match form {
        Form::Integer => integer(cell),
        Form::Real => unquoted(cell).parse().ok().and_then(|number: f32| order(number.into())),
        Form::Double => unquoted(cell).parse().ok().and_then(order),
        Form::Timestamptz => microseconds(&unquoted(cell)),
        Form::Timestamp => local_microseconds(&unquoted(cell)),
        Form::Date => unquoted(cell).as_bytes().try_into().ok().and_then(days).map(i64::from),
        _ => None,
    };
    if let Some(number) = number {
        // Of two's complement with the sign turned the order of bytes is the order of numbers.
        into.push(1);
        into.extend_from_slice(&(number ^ i64::MIN).to_be_bytes());
        return true;
    }
    let text = unquoted(cell);
    let certain = match form {
        Form::Numeric => {
            let number = text.trim_matches(SPACES);
            let plain = plain(number);
            let short = if plain.contains('.') { plain.trim_end_matches('0').trim_end_matches('.') } else { &plain };
            into.extend_from_slice(short.as_bytes());
            // What is none may be `NaN` or `inf`, in whatever spelling.
            Decimal::parse(number).is_ok()
        }
        Form::Uuid => {
            let start = into.len();
            let digits = text.bytes().filter(u8::is_ascii_alphanumeric);
            into.extend(digits.map(|digit| digit.to_ascii_lowercase()));
            into.len() - start == 32 && into[start..].iter().all(u8::is_ascii_hexdigit)
        }
        // Hexadecimal digits; in the other form of `bytea` letters are themselves.
        Form::Bytea if text.starts_with("\\x") => {
            into.extend(text.bytes().map(|digit| digit.to_ascii_lowercase()));
            text.bytes().skip(2).all(|digit| digit.is_ascii_hexdigit())
        }
        Form::Padded => {
            into.extend_from_slice(text.trim_end_matches(' ').as_bytes());
            true
        }
        _ => {
            into.extend_from_slice(text.as_bytes());
            match form {
                Form::Text => !text.ends_with(' '),
                Form::Boolean => !cell.starts_with('"'),
                _ => false,
            }
        }
    };
    into.push(0);
    certain
}

/// What PostgreSQL passes over around a number.
const SPACES: [char; 6] = [' ', '\t', '\n', '\u{b}', '\u{c}', '\r'];

/// A number in whose order floats are, of which both zeros are equal; nothing for one that is not finite.
fn order(number: f64) -> Option<i64> {
    // Of negative ones the bits but for the sign grow as they fall.
    let bits = (number + 0.0).to_bits().cast_signed();
    number.is_finite().then_some(if bits < 0 { bits ^ i64::MAX } else { bits })
}

fn integer(cell: &str) -> Option<i64> {
    // The common case has no sign, point, exponent or quotes.
    if cell.len() < 19 && cell.bytes().all(|byte| byte.is_ascii_digit()) {
        return cell.parse().ok();
    }
    Decimal::parse(unquoted(cell).trim_matches(SPACES)).ok()?.to_i64().ok()
}

fn unquoted(cell: &str) -> Cow<'_, str> {
    let Some(inner) = cell.strip_prefix('"').and_then(|cell| cell.strip_suffix('"')) else { return cell.into() };
    if memchr(b'\\', inner.as_bytes()).is_some() {
        serde_json::from_str(cell).map_or(Cow::Borrowed(cell), Cow::Owned)
    } else {
        inner.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use profile::Row;

    fn keys(types: &[&str]) -> Keys {
        let columns = types.iter().enumerate().map(|(index, ty)| KeyColumn {
            index,
            name: format!("c{index}"),
            form: Form::of(&ty.parse().unwrap()),
        });
        Keys { columns: columns.collect() }
    }

    fn bytes(keys: &Keys, cells: &[&str]) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        keys.write(Row::of(cells.iter().copied()).view(), &mut bytes)?;
        Ok(bytes)
    }

    #[test]
    fn equal_keys_are_equal_whatever_their_spelling() {
        for (ty, one, other, equal) in [
            ("bigint", "7", "\"7\"", true),
            ("bigint", "-7", "7", false),
            ("bigint", "\" 7\"", "7", true),
            ("numeric", "1.50", "1.5e0", true),
            ("numeric", "\"1.5 \"", "1.5", true),
            ("numeric", "10", "1", false),
            ("text", r#""a""#, r#""\u0061""#, true),
            ("text", r#""A""#, r#""a""#, false),
            ("double precision", "1.0", "1", true),
            ("double precision", "-0.0", "0", true),
            ("double precision", "1", "-1", false),
            ("real", "0.1", "0.10000000149011612", true),
            ("double precision", "0.1", "0.10000000149011612", false),
            ("timestamptz", r#""2024-01-01T01:00:00+01:00""#, r#""2024-01-01T00:00:00Z""#, true),
            ("timestamptz", r#""2024-01-01T01:00:00Z""#, r#""2024-01-01T00:00:00Z""#, false),
            ("timestamp", r#""2024-01-01T00:00:00.50""#, r#""2024-01-01T00:00:00.5Z""#, true),
            ("date", r#""2024-01-01""#, r#""2024-01-02""#, false),
            ("bytea", r#""\\xAb""#, r#""\\xaB""#, true),
            ("bytea", r#""Ab""#, r#""aB""#, false),
            ("char(5)", r#""ab ""#, r#""ab""#, true),
            ("text", r#""ab ""#, r#""ab""#, false),
            ("uuid", r#""A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11""#, r#""a0eebc999c0b4ef8bb6d6bb9bd380a11""#, true),
        ] {
            let keys = keys(&[ty]);
            let key = |cell| bytes(&keys, &[cell]).unwrap();
            assert_eq!(key(one) == key(other), equal, "{ty} {one} {other}");
            assert_eq!(keys.equal(&[one][..], &[other][..]), equal, "{ty} {one} {other}");
        }
    }

    #[test]
    fn a_key_is_certain_if_it_is_known_what_it_is() {
        for (ty, cell, certain) in [
            ("bigint", "7", true),
            ("bigint", r#"" 7\t""#, true),
            ("bigint", r#""0x7""#, false),
            ("numeric", "1.50", true),
            ("numeric", r#""nan""#, false),
            ("numeric(5,1)", "1.04", false),
            ("real", "0.1", true),
            ("real", r#""inf""#, false),
            ("timestamptz", r#""2024-01-01T00:00:00Z""#, true),
            ("timestamptz", r#""yesterday""#, false),
            ("timestamptz(0)", r#""2024-01-01T00:00:00Z""#, false),
            ("date", r#""January 1, 2024""#, false),
            ("uuid", r#""{A0EEBC999C0B4EF8BB6D6BB9BD380A11}""#, true),
            ("uuid", r#""a0ee""#, false),
            ("bytea", r#""\\x61""#, true),
            ("bytea", r#""a""#, false),
            ("boolean", "true", true),
            ("boolean", r#""yes""#, false),
            ("char(5)", r#""ab ""#, true),
            ("varchar(3)", r#""abc""#, true),
            ("varchar(3)", r#""abc ""#, false),
            ("jsonb", "{}", false),
            ("integer[]", "[1]", false),
        ] {
            let keys = keys(&[ty]);
            assert_eq!(keys.write(&[cell][..], &mut Vec::new()), Ok(certain), "{ty} {cell}");
        }
        let keys = keys(&["bigint", "text"]);
        assert_eq!(keys.write(&["1", r#""a ""#][..], &mut Vec::new()), Ok(false));
    }

    #[test]
    fn parts_of_a_key_do_not_run_into_each_other() {
        let keys = keys(&["text", "text"]);
        let key = |a, b| bytes(&keys, &[a, b]).unwrap();
        assert_ne!(key(r#""a""#, r#""bc""#), key(r#""ab""#, r#""c""#));
        assert!(!keys.equal(&[r#""a""#, r#""bc""#][..], &[r#""ab""#, r#""c""#][..]));
        assert_eq!(bytes(&keys, &[r#""a""#, "null"]).unwrap_err(), "the key's column `c1` is null");
    }

    #[test]
    fn numbers_are_in_their_order() {
        let keys = keys(&["integer", "integer"]);
        let key = |a, b| bytes(&keys, &[a, b]).unwrap();
        assert!(key("-5", "1") < key("3", "0") && key("3", "9") < key("3", "10"));

        let keys = self::keys(&["double precision"]);
        let sorted = ["-1e300", "-2", "-1.5", "-1e-300", "0", "1e-300", "1.5", "2", "1e300"];
        let all: Vec<_> = sorted.iter().map(|cell| bytes(&keys, &[cell]).unwrap()).collect();
        assert!(all.is_sorted(), "{all:?}");
    }
}
