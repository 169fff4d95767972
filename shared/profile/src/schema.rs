//! What rows are: table, key, columns with types, and how rows of one key become one. This is the content of the
//! `$schema` marker. It holds names and never SQL: what it says is checked here, so that a line of a stream cannot put
//! words into a statement.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::policy::{Group, Policy};

/// The version of the marker that this crate writes.
pub const SCHEMA_VERSION: u32 = 1;

/// The rows of one table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schema {
    /// [`SCHEMA_VERSION`] of the writer.
    pub v: u32,
    /// The name of the profile that makes the rows.
    pub profile: String,
    /// A hash of what the profile says about rows. A bookmark is good for one hash only.
    pub hash: String,
    /// Options that change which rows there are, such as `max_id`.
    #[serde(default)]
    pub options: BTreeMap<String, serde_json::Value>,
    /// The table's schema; without one the search path decides.
    #[serde(default)]
    pub schema: Option<String>,
    /// The table.
    pub table: String,
    /// The columns that identify a row.
    pub key: Vec<String>,
    /// The column that says which of two rows is the newer one. (Other columns may name it too, but a table of nothing
    /// besides key and version has none.)
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Every column that is written.
    pub columns: Vec<Column>,
    /// Columns that are merged together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Group>,
    /// How many statements the profile has for a new table. The SQL itself never comes from a stream.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub on_create: usize,
    /// Whether values of rows go into columns that are `generated always as identity`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub overriding_system_value: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl Schema {
    /// The places of the key's columns among the columns.
    ///
    /// # Errors
    /// The first name that is no column.
    pub fn key_indexes(&self) -> Result<Vec<usize>, String> {
        self.key.iter().map(|name| self.index(name).ok_or_else(|| name.clone())).collect()
    }

    /// Whether a row is made of several records as a rule: merging adds to it, and does not only replace it.
    pub fn collects(&self) -> bool {
        let adds = |column: &Column| match column.merge {
            Policy::JsonbMerge | Policy::JsonbMergeText | Policy::KeyedArray(_) | Policy::Union => true,
            Policy::Keep
            | Policy::Replace
            | Policy::Coalesce
            | Policy::Greatest
            | Policy::Least
            | Policy::Newest(_)
            | Policy::Sql => false,
        };
        !self.groups.is_empty() || self.columns.iter().any(adds)
    }

    /// Whether a row may have cells of several rows, although none is gathered for that.
    pub fn mixes(&self) -> bool {
        let version = self.version();
        let of_several = |column: &Column| match column.merge {
            Policy::Coalesce | Policy::Least | Policy::Greatest | Policy::Sql => !self.key.contains(&column.name),
            _ => false,
        };
        self.columns.iter().enumerate().any(|(place, column)| version != Some(place) && of_several(column))
    }

    /// Whether rows of one key can only be merged by the table, one after the other.
    pub fn by_sql(&self) -> bool {
        self.columns.iter().any(|column| column.merge == Policy::Sql)
    }

    /// The table's name with its schema, by which it is told from the others of a profile.
    pub fn name(&self) -> String {
        self.schema.as_ref().map_or_else(|| self.table.clone(), |schema| format!("{schema}.{}", self.table))
    }

    /// The place of the column that says which of two rows is the newer one, if there is one.
    pub fn version(&self) -> Option<usize> {
        let by = self.columns.iter().find_map(|column| match &column.merge {
            Policy::Newest(newest) => Some(newest.by.as_str()),
            _ => None,
        });
        self.version.as_deref().or(by).and_then(|by| self.index(by))
    }

    /// The place of a column.
    pub fn index(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }
}

/// One column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Its name, as PostgreSQL stores it (no quotes).
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub ty: ColumnType,
    /// How two values become one. A column of a [`Group`] follows the group instead.
    #[serde(default)]
    pub merge: Policy,
    /// Whether its value has the time of the load in it, so that it is another one with each load.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub load_time: bool,
}

/// What values of a type look like in the stream, and which conversions lead to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `text`, `varchar`, `char`
    Text,
    /// `boolean`
    Boolean,
    /// `smallint`, `integer`, `bigint`: whole numbers between these two
    Integer(i64, i64),
    /// `numeric`
    Numeric,
    /// `real`, `double precision`
    Float,
    /// `timestamptz`
    Timestamptz,
    /// `timestamp`
    Timestamp,
    /// `date`
    Date,
    /// `uuid`
    Uuid,
    /// `bytea`
    Bytea,
    /// `jsonb`, `json`
    Json,
    /// Any other type: the text that its input function takes
    Other,
}

/// A PostgreSQL type by name: a built-in one with its aliases (`int8` is `bigint`), with a length or precision, an array
/// of one, or the name of any other type (an enum, a domain, an extension's type). Names follow SQL: without double quotes
/// they are lower case, with them they are exact (`tenant."UserRole"`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnType {
    name: String,
    modifier: String,
    array: bool,
    kind: Kind,
}

impl ColumnType {
    /// How its values look; of an array, the values of its elements.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether it is an array.
    pub fn is_array(&self) -> bool {
        self.array
    }

    /// The type of its elements, if it is an array; else itself.
    pub(crate) fn element(&self) -> Self {
        Self { array: false, ..self.clone() }
    }

    /// Whether it has a length or precision.
    pub fn has_modifier(&self) -> bool {
        !self.modifier.is_empty()
    }

    /// Its length, or its precision and scale; nothing without one.
    pub(crate) fn modifiers(&self) -> Vec<i64> {
        let inside = self.modifier.trim_matches(['(', ')']);
        inside.split(',').filter_map(|number| number.parse().ok()).collect()
    }

    /// The type without length or precision, as `format_type` prints it without a modifier: `character varying`,
    /// `timestamp with time zone`, `text[]`.
    pub fn base(&self) -> String {
        format!("{}{}", self.name, if self.array { "[]" } else { "" })
    }

    /// The type as SQL. It holds nothing but a name that was checked, a modifier and brackets, so it is safe in a statement.
    pub fn sql(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `timestamp with time zone` has its precision in the middle.
        let (head, tail) = self
            .name
            .split_once(' ')
            .filter(|_| self.name.starts_with("time"))
            .map_or_else(|| (self.name.as_str(), String::new()), |(head, tail)| (head, format!(" {tail}")));
        write!(f, "{head}{}{tail}{}", self.modifier, if self.array { "[]" } else { "" })
    }
}

/// Names and aliases of the built-in types that have a conversion of their own (PostgreSQL, "Data Types", table 8.1).
const BUILT_IN: [(&str, &str, Kind); 41] = [
    ("text", "text", Kind::Text),
    ("varchar", "character varying", Kind::Text),
    ("character varying", "character varying", Kind::Text),
    ("char", "character", Kind::Text),
    ("character", "character", Kind::Text),
    ("citext", "citext", Kind::Text),
    ("boolean", "boolean", Kind::Boolean),
    ("bool", "boolean", Kind::Boolean),
    ("smallint", "smallint", Kind::Integer(i16::MIN as i64, i16::MAX as i64)),
    ("int2", "smallint", Kind::Integer(i16::MIN as i64, i16::MAX as i64)),
    ("integer", "integer", Kind::Integer(i32::MIN as i64, i32::MAX as i64)),
    ("int", "integer", Kind::Integer(i32::MIN as i64, i32::MAX as i64)),
    ("int4", "integer", Kind::Integer(i32::MIN as i64, i32::MAX as i64)),
    ("bigint", "bigint", Kind::Integer(i64::MIN, i64::MAX)),
    ("int8", "bigint", Kind::Integer(i64::MIN, i64::MAX)),
    ("numeric", "numeric", Kind::Numeric),
    ("decimal", "numeric", Kind::Numeric),
    ("real", "real", Kind::Float),
    ("float4", "real", Kind::Float),
    ("double precision", "double precision", Kind::Float),
    ("float8", "double precision", Kind::Float),
    ("float", "double precision", Kind::Float),
    ("timestamptz", "timestamp with time zone", Kind::Timestamptz),
    ("timestamp with time zone", "timestamp with time zone", Kind::Timestamptz),
    ("timestamp", "timestamp without time zone", Kind::Timestamp),
    ("timestamp without time zone", "timestamp without time zone", Kind::Timestamp),
    ("date", "date", Kind::Date),
    ("time", "time without time zone", Kind::Other),
    ("time without time zone", "time without time zone", Kind::Other),
    ("timetz", "time with time zone", Kind::Other),
    ("time with time zone", "time with time zone", Kind::Other),
    ("interval", "interval", Kind::Other),
    ("uuid", "uuid", Kind::Uuid),
    ("bytea", "bytea", Kind::Bytea),
    ("jsonb", "jsonb", Kind::Json),
    ("json", "json", Kind::Json),
    ("inet", "inet", Kind::Other),
    ("oid", "oid", Kind::Other),
    ("bit", "bit", Kind::Other),
    ("bit varying", "bit varying", Kind::Other),
    ("varbit", "bit varying", Kind::Other),
];

/// A text that is not the name of a type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the name of a PostgreSQL type; a name with capitals or blanks needs double quotes, as in SQL")]
pub struct NoType(String);

impl FromStr for ColumnType {
    type Err = NoType;

    fn from_str(text: &str) -> Result<Self, NoType> {
        let trimmed = text.trim();
        let array = trimmed.ends_with("[]");
        let name = trimmed.trim_end_matches("[]").trim_end();
        let element = Self::built_in(name).or_else(|| Self::named(name)).ok_or_else(|| NoType(text.to_owned()))?;
        Ok(Self { array, ..element })
    }
}

impl ColumnType {
    /// A built-in type, which may have its length or precision in the middle of its name.
    fn built_in(text: &str) -> Option<Self> {
        let (name, modifier) = match text.split_once('(') {
            Some((head, rest)) => {
                let (inside, tail) = rest.split_once(')')?;
                (format!("{} {tail}", head.trim_end()), modifier(inside, |byte| byte.is_ascii_digit())?)
            }
            None => (text.to_owned(), String::new()),
        };
        let name = name.split_whitespace().collect::<Vec<_>>().join(" ").to_ascii_lowercase();
        let (_, name, kind) = BUILT_IN.iter().find(|(alias, ..)| *alias == name)?;
        Some(Self { name: (*name).to_owned(), modifier, array: false, kind: *kind })
    }

    /// Any other type: a name with or without its schema, then its own modifier (`geometry(Point,4326)`).
    fn named(text: &str) -> Option<Self> {
        let (mut name, mut rest) = identifier(text)?;
        if let Some(after) = rest.strip_prefix('.') {
            let (second, after) = identifier(after)?;
            name = format!("{name}.{second}");
            rest = after;
        }
        let rest = rest.trim_start();
        let modifier = match rest.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
            Some(inside) => modifier(inside, |byte| byte.is_ascii_alphanumeric() || byte == b'_')?,
            None if rest.is_empty() => String::new(),
            None => return None,
        };
        Some(Self { name, modifier, array: false, kind: Kind::Other })
    }

    /// Whether both name the same type, apart from length or precision. A name with its schema is the same type without.
    pub fn is_same(&self, other: &Self) -> bool {
        self.array == other.array && self.own_name() == other.own_name()
    }

    /// The name without its schema and without quotes.
    fn own_name(&self) -> String {
        let own = |name: &str| {
            let (first, rest) = identifier(name)?;
            let (last, rest) = rest.strip_prefix('.').map_or(Some((first, rest)), identifier)?;
            let inside = last.strip_prefix('"').and_then(|last| last.strip_suffix('"'));
            rest.is_empty().then(|| inside.map_or_else(|| last.clone(), |inside| inside.replace("\"\"", "\"")))
        };
        // Only built-in types have names of several words.
        own(&self.name).unwrap_or_else(|| self.name.clone())
    }
}

/// `(12,2)`: numbers or words with commas between them.
fn modifier(inside: &str, allowed: impl Fn(u8) -> bool) -> Option<String> {
    let inside: String = inside.split_whitespace().collect();
    let each = |byte: u8| byte == b',' || byte == b'-' || allowed(byte);
    (!inside.is_empty() && inside.bytes().all(each)).then(|| format!("({inside})"))
}

/// The identifier at the beginning of a text, as SQL, and what follows it. As in SQL, a name without quotes is in lower
/// case.
fn identifier(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(|char: char| !char.is_ascii_alphanumeric() && char != '_').unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        let is_word = word.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
        return is_word.then(|| (word.to_ascii_lowercase(), rest));
    };
    let mut end = 0;
    loop {
        end += quoted[end..].find('"')?;
        if !quoted[end + 1..].starts_with('"') {
            break;
        }
        end += 2;
    }
    let is_name = end > 0 && !quoted[..end].contains('\0');
    is_name.then(|| (format!("\"{}\"", &quoted[..end]), &quoted[end + 1..]))
}

impl Serialize for ColumnType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ColumnType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_lengths_and_arrays_are_understood() {
        for (text, sql, base) in [
            ("int8", "bigint", "bigint"),
            ("VARCHAR(20)", "character varying(20)", "character varying"),
            ("numeric(12, 2)", "numeric(12,2)", "numeric"),
            ("timestamptz", "timestamp with time zone", "timestamp with time zone"),
            ("timestamp(3) with time zone", "timestamp(3) with time zone", "timestamp with time zone"),
            ("double  precision", "double precision", "double precision"),
            ("text[]", "text[]", "text[]"),
            ("mood", "mood", "mood"),
            ("public.mood[]", "public.mood[]", "public.mood[]"),
            ("Mood", "mood", "mood"),
            ("\"UserRole\"", "\"UserRole\"", "\"UserRole\""),
            ("Tenant.\"User Role\"[]", "tenant.\"User Role\"[]", "tenant.\"User Role\"[]"),
            ("\"a.b\".\"say \"\"hi\"\"[](1)\"", "\"a.b\".\"say \"\"hi\"\"[](1)\"", "\"a.b\".\"say \"\"hi\"\"[](1)\""),
            ("\"order\"", "\"order\"", "\"order\""),
            ("\"char\"", "\"char\"", "\"char\""),
            ("char", "character", "character"),
            ("varbit(5)", "bit varying(5)", "bit varying"),
            ("bit varying (5) []", "bit varying(5)[]", "bit varying[]"),
            ("geometry(Point, 4326)", "geometry(Point,4326)", "geometry"),
        ] {
            let ty: ColumnType = text.parse().unwrap();
            assert_eq!((ty.sql().as_str(), ty.base().as_str()), (sql, base), "{text}");
            assert_eq!(ty.sql().parse::<ColumnType>().unwrap(), ty, "{text} again");
        }
    }

    #[test]
    fn a_type_is_the_same_with_and_without_its_schema_and_quotes_that_change_nothing() {
        for (one, other, expected) in [
            ("mood", "\"mood\"", true),
            ("mood", "public.mood", true),
            ("\"UserRole\"", "tenant.\"UserRole\"", true),
            ("\"a.UserRole\"", "\"UserRole\"", false),
            ("UserRole", "\"UserRole\"", false),
            ("mood", "mood[]", false),
            ("varchar(5)", "character varying", true),
            ("char", "\"char\"", false),
            ("bit varying", "varbit(3)", true),
            ("bit", "\"bit\"", true),
            ("citext", "extensions.citext", true),
        ] {
            let (a, b): (ColumnType, ColumnType) = (one.parse().unwrap(), other.parse().unwrap());
            assert_eq!((a.is_same(&b), b.is_same(&a)), (expected, expected), "{one} and {other}");
        }
    }

    #[test]
    fn a_type_cannot_carry_other_sql() {
        for text in [
            "",
            "text; drop table x",
            "text) primary key, (x",
            "a.b.c",
            "int(1;2)",
            "text default 'x'",
            "\"x",
            "\"\"",
            "x\"",
            "\"x\\\"; drop table y; --",
            "\"x\" \"y\"",
            "x(y) default 1",
            "x(y(z))",
            "\"a\0b\"",
        ] {
            assert!(text.parse::<ColumnType>().is_err(), "{text}");
        }
    }
}
