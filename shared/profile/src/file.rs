//! A profile as it is written. What it means is worked out in `plan`; docs/profiles.md explains it to those who write one.

use std::fmt;

use indexmap::IndexMap;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use toml::Spanned;

use crate::policy::{Group, Policy};
use crate::schema::ColumnType;

/// The file. Serialising it leaves out what says nothing about rows, so that a hash of the rest identifies their making.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    /// For people.
    #[serde(default, skip_serializing)]
    #[expect(dead_code, reason = "for the reader of the file")]
    pub(crate) description: Option<String>,
    pub(crate) table: Spanned<Tables>,
    #[serde(default)]
    pub(crate) schema: Option<Spanned<String>>,
    #[serde(default)]
    pub(crate) key: Option<Spanned<Vec<String>>>,
    /// What becomes of items that no section takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) unmatched: Option<Spanned<Unmatched>>,
    /// The column that says which of two rows is the newer one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<Spanned<String>>,
    /// The attribute that `--max-id` compares.
    #[serde(default)]
    pub(crate) max_id: Option<String>,
    /// Left out of the hash where it is what it always was.
    #[serde(default, skip_serializing_if = "rejects_nul")]
    pub(crate) nul: Option<Spanned<Nul>>,
    /// A filter of jq through which items go before anything else looks at them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) jq: Option<Spanned<String>>,
    #[serde(default)]
    pub(crate) filter: Vec<Spanned<Condition>>,
    #[serde(default)]
    pub(crate) lookups: IndexMap<String, IndexMap<String, toml::Value>>,
    #[serde(default)]
    pub(crate) values: Definitions,
    #[serde(default)]
    pub(crate) columns: Definitions,
    #[serde(default)]
    pub(crate) groups: Vec<Spanned<Group>>,
    /// Whether values of items go into columns that are `generated always as identity`.
    #[serde(default, skip_serializing)]
    pub(crate) overriding_system_value: bool,
    #[serde(default, skip_serializing)]
    pub(crate) on_create: Vec<String>,
    /// Whether the end of a run advances sequences that lag behind.
    #[serde(default, skip_serializing)]
    pub(crate) advance_sequences: bool,
    #[serde(default, skip_serializing)]
    pub(crate) on_complete: Vec<String>,
}

/// Values or columns by name, in the order of the file.
pub(crate) type Definitions = IndexMap<Spanned<String>, Definition>;

/// `table = "orders"`, and the rest of the file says what its rows are; or `[[table]]`, a section for each of several.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Tables {
    One(String),
    Several(Vec<Spanned<Section>>),
}

/// By hand, because what is untagged loses the place of a mistake.
impl<'de> Deserialize<'de> for Tables {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Given;

        impl<'de> Visitor<'de> for Given {
            type Value = Tables;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a table, or sections `[[table]]`")
            }

            fn visit_str<E>(self, name: &str) -> Result<Tables, E> {
                Ok(Tables::One(name.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, sections: A) -> Result<Tables, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(sections)).map(Tables::Several)
            }
        }

        deserializer.deserialize_any(Given)
    }
}

/// One of several tables: which items are rows of it, and what they look like.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Section {
    pub(crate) name: Spanned<String>,
    #[serde(default)]
    pub(crate) schema: Option<Spanned<String>>,
    /// The section whose items this one takes, for rows of their elements.
    #[serde(default)]
    pub(crate) parent: Option<Spanned<String>>,
    /// The list, map or set of which each element is a row.
    #[serde(default)]
    pub(crate) each: Option<Spanned<Path>>,
    #[serde(default)]
    pub(crate) when: Vec<Spanned<Condition>>,
    pub(crate) key: Spanned<Vec<String>>,
    /// See [`File::version`].
    #[serde(default)]
    pub(crate) version: Option<Spanned<String>>,
    #[serde(default)]
    pub(crate) values: Definitions,
    pub(crate) columns: Definitions,
    #[serde(default)]
    pub(crate) groups: Vec<Spanned<Group>>,
    #[serde(default, skip_serializing)]
    pub(crate) on_create: Vec<String>,
}

/// What becomes of an item that is a row of no table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unmatched {
    /// It is rejected.
    #[default]
    Reject,
    /// It is left out, and counted as filtered.
    Ignore,
}

/// What becomes of U+0000 in texts and in the names of maps: PostgreSQL's `text` and `jsonb` cannot hold it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Nul {
    /// An item that has it in a column is rejected. The default.
    Reject,
    /// It is removed.
    Strip,
    /// This text stands in its place.
    Replace(String),
}

#[expect(clippy::ref_option, reason = "serde gives the field as it is")]
fn rejects_nul(nul: &Option<Spanned<Nul>>) -> bool {
    nul.as_ref().is_none_or(|nul| *nul.get_ref() == Nul::Reject)
}

/// What becomes of a value that a step or the type cannot take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnFailure {
    /// Its item is rejected.
    #[default]
    Reject,
    /// There is nothing in its place.
    Null,
    /// `default` stands in its place.
    Default,
}

/// A named value or a column. At most one of `from`, `value`, `null`, `template`, `jq`, `object`, `array`, `map`, `load_time`
/// and `rest` says where it comes from; without any it is the attribute of the same name.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Definition {
    #[serde(rename = "type")]
    pub(crate) ty: Option<ColumnType>,
    #[serde(default)]
    pub(crate) required: bool,
    /// DynamoDB's types that are taken, where they are not those that the type suggests.
    pub(crate) accept: Option<Vec<String>>,
    pub(crate) from: Option<Path>,
    pub(crate) value: Option<toml::Value>,
    pub(crate) template: Option<String>,
    /// A filter of jq.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) jq: Option<String>,
    pub(crate) object: Option<IndexMap<String, String>>,
    pub(crate) array: Option<Vec<String>>,
    pub(crate) map: Option<Vec<Entry>>,
    pub(crate) fill: Option<IndexMap<String, toml::Value>>,
    pub(crate) load_time: Option<bool>,
    pub(crate) null: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rest: Option<bool>,
    #[serde(default)]
    pub(crate) convert: Vec<Step>,
    pub(crate) default: Option<toml::Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) on_failure: Option<OnFailure>,
    #[serde(default)]
    pub(crate) only_if: Vec<String>,
    /// Columns only.
    pub(crate) merge: Option<Policy>,
    /// The rule of a column that is merged by `sql`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sql: Option<String>,
}

/// An entry of a `map`: name and value are both values of the item.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) value: String,
}

/// The way to an attribute: `address.city`, or a list where a name itself has a dot.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged, expecting = "a name such as \"city\", a path such as \"address.city\", or a list of names")]
pub(crate) enum Path {
    Dotted(String),
    Names(Vec<String>),
}

/// One step of a conversion.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Step {
    /// The text without white space around it.
    Trim,
    /// The text in lower case.
    Lower,
    /// The text in upper case.
    Upper,
    /// Nothing instead of an empty text.
    NullIfEmpty,
    /// What stands after the last dot of a file's name; nothing if there is no such part.
    Extension,
    /// A path without its extension and the dot before it; nothing if there is no extension.
    Stem,
    /// The text without this at its beginning, if it is there.
    StripPrefix(String),
    /// The text without this at its end, if it is there.
    StripSuffix(String),
    /// One of the parts between separators.
    Split(Split),
    /// What the table of `lookups` has under the text: `"languages"`, or `"formats.width"` for a field of its entries.
    Lookup(String),
    /// The version 5 UUID of the text in this namespace (RFC 9562, section 5.5).
    UuidV5(String),
    /// The time that many seconds after 1970 began.
    EpochSeconds,
    /// The time that many milliseconds after 1970 began.
    EpochMilliseconds,
    /// The time that many microseconds after 1970 began.
    EpochMicroseconds,
}

/// A part of a text, as PostgreSQL's `split_part` counts them: the first is 1, the last -1. Nothing if there are fewer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Split {
    pub(crate) by: String,
    pub(crate) part: i32,
}

/// One condition on an item. It compares an attribute in one way, or is made of others.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Condition {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) attribute: Option<Path>,
    pub(crate) exists: Option<bool>,
    pub(crate) equals: Option<toml::Value>,
    pub(crate) not_equals: Option<toml::Value>,
    #[serde(rename = "in")]
    pub(crate) one_of: Option<Vec<toml::Value>>,
    pub(crate) begins_with: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) less_than: Option<toml::Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) at_most: Option<toml::Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) greater_than: Option<toml::Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) at_least: Option<toml::Value>,
    /// A filter of jq, which gives true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) jq: Option<String>,
    /// All of them hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) all: Option<Vec<Condition>>,
    /// One of them holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) any: Option<Vec<Condition>>,
    /// It does not hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) not: Option<Box<Condition>>,
}
