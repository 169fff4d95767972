//! The statements that compare rows of a schema with a table, without changing it.
//!
//! A row is in the table if the table has its key and merging the row into what is there, by the same SQL as a load
//! ([`Merge`]), changes no column: to load it again would do nothing. Both sides are values of the table's own types, so
//! what a type rounds, pads or orders in its own way is the same on both.

use profile::{Kind, Schema};

use crate::catalogue::Table;
use crate::policy::{Merge, Rules};
use crate::statement::{TEMP_BUFFERS, place, stage};
use crate::{quote_name, quote_text};

/// Follows the prologue: nothing but the stage can be written after it.
pub const READ_ONLY: &str = "set transaction read only";

/// The statements for one schema's rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// Prepares a transaction: settings and the stage. [`READ_ONLY`] should follow. A rollback removes all of it.
    pub prologue: String,
    /// Takes rows in text format into the stage: a number that is given back, then the columns.
    pub copy: String,
    /// The numbers of the rows that are not in the table as they should be: one `integer`.
    pub differing: String,
    /// The same rows with all that there is to say of them: number, whether the key is missing, the names of the columns
    /// that differ (`text[]`), then as JSON objects in texts the key, what the row should be, and what it is.
    pub sides: String,
}

impl Comparison {
    /// The statements for rows of that schema, and a table that was checked to fit, with a stage of that number.
    pub fn of(schema: &Schema, table: &Table, number: usize) -> Self {
        let (stage, place) = (stage(schema, number), place(schema));
        // With its schema: a temporary table of that name would be found before it.
        let name = table.sql();
        let names: Vec<_> = schema.columns.iter().map(|column| quote_name(&column.name)).collect();
        let list = names.join(", ");
        let keys: Vec<_> = schema.key.iter().map(|name| quote_name(name)).collect();
        // What SQL of a profile would do again is not known.
        let merge = Merge::of(schema, &Rules::new());

        let mut prologue = vec![
            TEMP_BUFFERS.to_owned(),
            // A few rows of what may be a very large table: each is looked up in the index of the key, as a load does.
            "set local enable_hashjoin = off".to_owned(),
            "set local enable_mergejoin = off".to_owned(),
        ];
        prologue.push(format!(
            "create temporary table {stage} on commit drop \
             as select 0 as {place}, {list} from {name} with no data"
        ));

        let on: Vec<_> = keys.iter().map(|key| format!("old.{key} = excluded.{key}")).collect();
        let missing = format!("old.{} is null", keys[0]);
        let groups =
            merge.groups.iter().enumerate().map(|(number, (columns, select))| {
                format!("cross join lateral ({select}) as {}", group(number, columns))
            });
        let groups = groups.collect::<Vec<_>>().join(" ");
        let from = format!("from pg_temp.{stage} as excluded left join {name} as old on {}", on.join(" and "));

        let mut merged = Vec::new();
        let mut differ = Vec::new();
        // A value that is there already is one that merging leaves: nearly always nothing has to be merged to see that.
        let mut at_first = vec![missing.clone()];
        let mut of_groups = vec![(Vec::new(), Vec::new()); merge.groups.len()];
        for (column, name) in schema.columns.iter().zip(&names) {
            let value = new_value(&merge, name).filter(|_| !column.load_time);
            let old = format!("old.{name}");
            if let Some(value) = &value {
                let (comes, there) = comparable(table, &column.name, &format!("excluded.{name}"), &old);
                let (new, old) = comparable(table, &column.name, value, &old);
                let (differs, merged) =
                    (format!("{comes} is distinct from {there}"), format!("{new} is distinct from {old}"));
                match merge.groups.iter().position(|(columns, _)| columns.contains(name)) {
                    Some(number) => {
                        of_groups[number].0.push(differs);
                        of_groups[number].1.push(merged.clone());
                    }
                    None => at_first.push(format!("case when {differs} then {merged} else false end")),
                }
                differ.push((&column.name, merged));
            }
            merged.push(value.map_or(old, |value| format!("{value} as {name}")));
        }
        for (number, ((columns, select), (differ, merged))) in merge.groups.iter().zip(&of_groups).enumerate() {
            if !differ.is_empty() {
                let (differ, merged) = (differ.join(" or "), merged.join(" or "));
                let merged = format!("(select {merged} from ({select}) as {})", group(number, columns));
                at_first.push(format!("case when {differ} then {merged} else false end"));
            }
        }
        let any = std::iter::once(missing.clone()).chain(differ.iter().map(|(_, differs)| differs.clone()));
        let any = any.collect::<Vec<_>>().join(" or ");

        let columns = differ.iter().map(|(name, differs)| format!("case when {differs} then {} end", quote_text(name)));
        let columns = columns.collect::<Vec<_>>().join(", ");
        let of = |side: &str| names.iter().map(|name| format!("{side}.{name}")).collect::<Vec<_>>().join(", ");
        let key = keys.iter().map(|key| format!("excluded.{key}")).collect::<Vec<_>>().join(", ");
        // `side` alone would be a column of that name.
        let json = |columns: &str| format!("(select row_to_json(side.*)::text from (select {columns}) as side)");
        Self {
            prologue: prologue.join(";\n"),
            copy: format!("copy pg_temp.{stage} ({place}, {list}) from stdin"),
            differing: format!("select excluded.{place} {from} where {}", at_first.join(" or ")),
            sides: format!(
                "select excluded.{place}, {missing}, \
                 case when {missing} then '{{}}' else array_remove(array[{columns}]::text[], null) end, \
                 {}, case when {missing} then {} else {} end, case when {missing} then null else {} end \
                 {from} {groups} where {any} order by excluded.{place}",
                json(&key),
                json(&of("excluded")),
                json(&merged.join(", ")),
                json(&of("old")),
            ),
        }
    }
}

/// The name of what gives the new values of a group, with its columns.
fn group(number: usize, columns: &[String]) -> String {
    format!("group_{number} ({})", columns.join(", "))
}

/// What a load would write into a column; nothing if it would leave it alone.
fn new_value(merge: &Merge, name: &String) -> Option<String> {
    let own = merge.columns.iter().find(|(column, _)| column == name).map(|(_, value)| format!("({value})"));
    let group = || merge.groups.iter().position(|(columns, _)| columns.contains(name));
    own.or_else(|| group().map(|number| format!("group_{number}.{name}")))
}

/// Both values in a form in which PostgreSQL can compare them, and finds them equal only if they are the same: `json` has
/// no equality of its own, and that of `citext` or of a collation may overlook what is different.
fn comparable(table: &Table, name: &str, new: &str, old: &str) -> (String, String) {
    let ty = table.column(name).and_then(|column| column.base.parse::<profile::ColumnType>().ok());
    let as_it_is = ty.as_ref().is_some_and(|ty| match ty.kind() {
        Kind::Other => false,
        Kind::Json => ty.base().starts_with("jsonb"),
        Kind::Text => !ty.base().starts_with("citext"),
        Kind::Boolean
        | Kind::Integer(..)
        | Kind::Numeric
        | Kind::Float
        | Kind::Timestamptz
        | Kind::Timestamp
        | Kind::Date
        | Kind::Uuid
        | Kind::Bytea => true,
    });
    match ty.filter(|_| as_it_is) {
        Some(ty) if ty.kind() == Kind::Text => (format!("{new} collate \"C\""), format!("{old} collate \"C\"")),
        Some(_) => (new.to_owned(), old.to_owned()),
        None => (format!("{new}::text collate \"C\""), format!("{old}::text collate \"C\"")),
    }
}
