//! Rows that do not say what they are: the table that the command line names says it.

use std::collections::{BTreeMap, HashSet};

use fault::{Failure, Fault, Problem};
use pg::catalogue::{self, Table, TableColumn};
use postgres::Transaction;
use profile::schema::SCHEMA_VERSION;
use profile::{Column, Policy, Schema};
use tracing::warn;

/// `schema.table` or `table`, as on the command line. Names are exact, capitals included. A part in double quotes is one
/// name, whatever is in it, and a double quote in it is doubled: `"a.b"`, `public."say ""hi"""`.
///
/// # Errors
/// It is not the name of a table.
pub fn parse_table(text: &str) -> Result<(Option<String>, String), Problem> {
    let no_name = || {
        Problem::new(Fault::Setup, format!("`{text}` is not the name of a table"))
            .with_hint("write [SCHEMA.]TABLE; a name with a dot stands in double quotes: '\"a.b\"'")
    };
    let (first, rest) = part(text, true).ok_or_else(no_name)?;
    let (schema, table) = match rest {
        None => (None, first),
        Some(rest) => match part(rest, false).ok_or_else(no_name)? {
            (table, None) => (Some(first), table),
            (_, Some(_)) => return Err(no_name()),
        },
    };
    if table.is_empty() || schema.as_ref().is_some_and(String::is_empty) {
        return Err(no_name());
    }
    Ok((schema, table))
}

/// The first name, and what follows the dot after it. Without quotes, only the schema ends at a dot.
fn part(text: &str, ends_at_dot: bool) -> Option<(String, Option<&str>)> {
    let Some(quoted) = text.strip_prefix('"') else {
        return Some(match text.split_once('.') {
            Some((name, rest)) if ends_at_dot => (name.to_owned(), Some(rest)),
            _ => (text.to_owned(), None),
        });
    };
    let mut name = String::new();
    let mut rest = quoted;
    loop {
        let (inside, after) = rest.split_once('"')?;
        name += inside;
        match after.strip_prefix('"') {
            Some(more) => {
                name.push('"');
                rest = more;
            }
            None if after.is_empty() => return Some((name, None)),
            None => return Some((name, Some(after.strip_prefix('.')?))),
        }
    }
}

/// A table of which the rows do not say what they are.
#[derive(Clone, Debug)]
pub struct Plain {
    table: Table,
    key: Vec<String>,
    columns: Option<Vec<String>>,
    overriding_system_value: bool,
}

impl Plain {
    /// Looks the table up, in a transaction.
    pub fn find(
        client: &mut Transaction<'_>,
        (schema, name): &(Option<String>, String),
        key: Option<&[String]>,
        columns: Option<&[String]>,
    ) -> Result<Self, pg::Error> {
        let Some(table) = Table::find(client, schema.as_deref(), name)? else {
            return Err(pg::Error::found(Fault::Setup, format!("there is no table `{name}`")));
        };
        warn_if_cut(name, &table.name);
        let kept = |client: &mut Transaction<'_>, names: &[String]| {
            let kept = catalogue::kept(client, names)?;
            names.iter().zip(&kept).for_each(|(name, kept)| warn_if_cut(name, kept));
            Ok::<_, pg::Error>(kept)
        };
        let key = key.map(|key| kept(client, key)).transpose()?;
        let columns = columns.map(|columns| kept(client, columns)).transpose()?;
        let key = key.or_else(|| table.primary_key.clone()).ok_or_else(|| {
            pg::Error::found(Fault::Setup, format!("the table `{name}` has no primary key"))
                .with_hint("name the columns that identify a row with --key")
        })?;
        Ok(Self { table, key, columns, overriding_system_value: false })
    }

    /// Whether values of rows go into columns that are `generated always as identity`.
    #[must_use]
    pub fn overriding_system_value(mut self, yes: bool) -> Self {
        self.overriding_system_value = yes;
        self
    }

    /// The columns that the command line names; `*` is every one that can be written.
    fn named(&self) -> Option<Vec<String>> {
        let columns = self.columns.as_ref()?;
        if columns.as_slice() != ["*"] {
            return Some(columns.clone());
        }
        let writable =
            |column: &&TableColumn| !column.computed && (self.overriding_system_value || !column.identity_always);
        Some(self.table.columns.iter().filter(writable).map(|column| column.name.clone()).collect())
    }

    /// Whether the command line names the columns.
    pub fn names_columns(&self) -> bool {
        self.columns.is_some()
    }

    /// Columns of the table that the schema lacks, because neither the command line nor the first row names them.
    pub fn columns_left_out(&self, schema: &Schema) -> Vec<String> {
        let names = self.table.columns.iter().map(|column| &column.name);
        names.filter(|name| schema.index(name).is_none()).cloned().collect()
    }

    /// What rows are whose first one has these names.
    pub fn schema(&self, names: &[String]) -> Result<Schema, Failure> {
        let of_row = || {
            let column = |name: &String| self.table.column(name).or_else(|| self.table.column(kept(name)));
            let mut columns: Vec<_> = names.iter().filter_map(column).map(|column| column.name.clone()).collect();
            let mut seen = HashSet::new();
            columns.retain(|name| seen.insert(name.clone()));
            columns
        };
        let mut names = self.named().unwrap_or_else(of_row);
        names.extend(self.key.iter().filter(|name| !names.contains(name)).cloned().collect::<Vec<_>>());
        let columns = names.into_iter().map(|name| {
            let table = &self.table.name;
            let column = self.table.column(&name);
            let column = column.ok_or_else(|| {
                Problem::new(Fault::Setup, format!("the table `{table}` has no column `{name}`"))
                    .with_hint("add it to the table, or leave it out with --columns")
            })?;
            let ty = column.underlying.parse().map_err(|_| {
                let message =
                    format!("the column `{name}` of `{table}` is {}, which this program cannot write", column.base);
                Problem::new(Fault::Setup, message)
            })?;
            // PostgreSQL does not update such a column.
            let kept = column.identity_always && !self.key.contains(&name);
            let merge = if kept { Policy::Keep } else { Policy::Replace };
            Ok(Column { name, ty, merge, load_time: false })
        });
        Ok(Schema {
            v: SCHEMA_VERSION,
            profile: String::new(),
            hash: String::new(),
            options: BTreeMap::new(),
            schema: Some(self.table.schema.clone()),
            table: self.table.name.clone(),
            key: self.key.clone(),
            version: None,
            columns: columns.collect::<Result<_, Problem>>()?,
            groups: Vec::new(),
            on_create: 0,
            overriding_system_value: self.overriding_system_value,
        })
    }
}

/// What PostgreSQL keeps of a name in a database of UTF-8: 63 bytes, cut between two characters.
pub(crate) fn kept(name: &str) -> &str {
    &name[..name.floor_char_boundary(63)]
}

fn warn_if_cut(name: &str, kept: &str) {
    if name != kept {
        warn!("PostgreSQL keeps 63 bytes of a name: `{name}` is `{kept}`");
    }
}

/// Rows came without a word of what they are.
pub fn unknown_rows() -> Problem {
    Problem::new(Fault::Setup, "the rows do not say which table they belong to")
        .with_hint("name it: --table TABLE --key COLUMN")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_named_with_or_without_its_schema() {
        for (text, schema, table) in [
            ("t", None, "t"),
            ("S.T", Some("S"), "T"),
            ("a.b.c", Some("a"), "b.c"),
            (r#""a.b""#, None, "a.b"),
            (r#"S."a.b""#, Some("S"), "a.b"),
            (r#""a.b".c.d"#, Some("a.b"), "c.d"),
            (r#""say ""hi""""#, None, r#"say "hi""#),
            (r#"say "hi""#, None, r#"say "hi""#),
        ] {
            let parsed = parse_table(text).ok();
            assert_eq!(parsed, Some((schema.map(str::to_owned), table.to_owned())), "{text}");
        }
        for text in ["", ".", "a.", ".b", "\"a", "\"a\"b", "\"\"", "\"a\".\"b\".\"c\"", "S.\"a"] {
            assert!(parse_table(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_long_name_is_cut_between_two_characters() {
        let (a, b) = ("a".repeat(63), "b".repeat(62));
        assert_eq!(kept(&format!("{a}a")), a);
        assert_eq!(kept(&format!("{b}\u{e4}")), b);
        assert_eq!(kept("short"), "short");
    }
}
