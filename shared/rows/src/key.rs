//! The key of a row in a form in which equal keys are equal bytes, whatever their spelling in JSON: what rows of one
//! batch are merged, sorted and parted by.
//!
//! PostgreSQL has the last word on which keys are equal. Where this form tells apart what PostgreSQL does not, the
//! batch is split by its error (`write`); such keys must only stay on one connection, which [`Keys::parted`] says.

use std::borrow::Cow;

use item::number::{Decimal, plain};
use memchr::memchr;
use profile::row::NULL;
use profile::{Cells, Column, Kind, Schema};

/// Takes keys out of rows. The order of their bytes is near the order of the index.
#[derive(Clone, Debug)]
pub struct Keys {
    columns: Vec<(usize, Column)>,
}

impl Keys {
    /// Keys of that schema's rows; of its key's names, the first that is no column is the error.
    pub fn of(schema: &Schema) -> Result<Self, String> {
        let indexes = schema.key_indexes()?;
        Ok(Self { columns: indexes.into_iter().map(|index| (index, schema.columns[index].clone())).collect() })
    }

    /// Whether rows may be parted by key over several connections.
    pub fn parted(&self) -> bool {
        self.columns.iter().all(|(_, column)| match column.ty.kind() {
            Kind::Integer(..) | Kind::Numeric | Kind::Uuid | Kind::Boolean => !column.ty.is_array(),
            // `citext` has an idea of its own of what is equal; `character` ignores spaces at the end.
            Kind::Text => matches!(column.ty.base().as_str(), "text" | "character varying"),
            Kind::Float | Kind::Timestamptz | Kind::Timestamp | Kind::Date | Kind::Bytea | Kind::Json | Kind::Other => {
                false
            }
        })
    }

    /// Appends the bytes by which a row's key is told apart from others; a column of it that is null is the error.
    pub fn write(&self, row: impl Cells, into: &mut Vec<u8>) -> Result<(), String> {
        for (index, column) in &self.columns {
            let cell = row.cell(*index);
            if cell == NULL {
                return Err(format!("the key's column `{}` is null", column.name));
            }
            write_part(cell, column.ty.kind(), into);
        }
        Ok(())
    }

    /// Whether two rows have one key, neither with a column of it that is null.
    pub fn equal(&self, one: impl Cells, other: impl Cells) -> bool {
        let part = |cell, kind| {
            let mut part = Vec::new();
            write_part(cell, kind, &mut part);
            part
        };
        self.columns.iter().all(|(index, column)| {
            let (one, other, kind) = (one.cell(*index), other.cell(*index), column.ty.kind());
            // Most are spelled as one.
            one == other || part(one, kind) == part(other, kind)
        })
    }
}

/// One column's part, ended so that no part can run into the next.
fn write_part(cell: &str, kind: Kind, into: &mut Vec<u8>) {
    if let (Kind::Integer(..), Some(number)) = (kind, integer(cell)) {
        // Of two's complement with the sign turned the order of bytes is the order of numbers.
        into.push(1);
        into.extend_from_slice(&(number ^ i64::MIN).to_be_bytes());
        return;
    }
    let text = unquoted(cell);
    match kind {
        Kind::Numeric => {
            let plain = plain(&text);
            let short = if plain.contains('.') { plain.trim_end_matches('0').trim_end_matches('.') } else { &plain };
            into.extend_from_slice(short.as_bytes());
        }
        Kind::Uuid => {
            let digits = text.bytes().filter(u8::is_ascii_alphanumeric);
            into.extend(digits.map(|digit| digit.to_ascii_lowercase()));
        }
        _ => into.extend_from_slice(text.as_bytes()),
    }
    into.push(0);
}

fn integer(cell: &str) -> Option<i64> {
    // The common case has no sign, point, exponent or quotes.
    if cell.len() < 19 && cell.bytes().all(|byte| byte.is_ascii_digit()) {
        return cell.parse().ok();
    }
    Decimal::parse(&unquoted(cell)).ok()?.to_i64().ok()
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
        let columns = types.iter().enumerate().map(|(index, ty)| {
            let (name, merge) = (format!("c{index}"), profile::Policy::Replace);
            (index, Column { name, ty: ty.parse().unwrap(), merge, load_time: false })
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
            ("numeric", "1.50", "1.5e0", true),
            ("numeric", "10", "1", false),
            ("text", r#""a""#, r#""\u0061""#, true),
            ("text", r#""A""#, r#""a""#, false),
            ("uuid", r#""A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11""#, r#""a0eebc999c0b4ef8bb6d6bb9bd380a11""#, true),
        ] {
            let keys = keys(&[ty]);
            let key = |cell| bytes(&keys, &[cell]).unwrap();
            assert_eq!(key(one) == key(other), equal, "{ty} {one} {other}");
            assert_eq!(keys.equal(&[one][..], &[other][..]), equal, "{ty} {one} {other}");
        }
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
    }
}
