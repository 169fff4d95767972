//! The SQL of the merge policies. What they mean is in `profile::policy`, and a test folds the same rows through both.
//!
//! `old` is the row that the table has, `excluded` the one that comes. Everything is an expression, without functions: one that is
//! made for a transaction would have to be dropped with it, and PL/pgSQL keeps what it compiled for as long as the session lives.
//! With one set of functions for each transaction, a session took 150 ms for each after 2,000 of them.

use std::collections::BTreeMap;

use profile::policy::{Group, KeyedArray, Newest};
use profile::{Column, ColumnType, Kind, Policy, Schema};

use crate::{quote_name, quote_text};

/// How rows of a schema are merged in SQL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merge {
    /// Columns, as identifiers, that merging may change, each with its new value.
    pub columns: Vec<(String, String)>,
    /// Columns of a group, with the `select` of one row that gives their new values together.
    pub groups: Vec<(Vec<String>, String)>,
    /// Without this condition no column changes: where only the version counts, an older row need not be written.
    pub condition: Option<String>,
}

/// The SQL of columns that a profile merges by it: expressions of `existing` and `incoming`, by the columns' names. They come
/// from the profile's own file, never from a stream.
pub type Rules = BTreeMap<String, String>;

impl Merge {
    /// The merging of a schema's rows. A column that is merged by SQL of which there is none stays as it is.
    pub fn of(schema: &Schema, rules: &Rules) -> Self {
        let mut merge = Self::default();
        for column in &schema.columns {
            let grouped = schema.groups.iter().any(|group| group.columns.contains(&column.name));
            if grouped || schema.key.contains(&column.name) {
                continue;
            }
            if let Some(value) = new_value(column, schema, rules) {
                merge.columns.push((quote_name(&column.name), value));
            }
        }
        merge.groups = schema.groups.iter().map(of_group).collect();
        merge.condition = version_of_all(schema).map(|by| format!("({}) is not true", is_older(schema, by)));
        merge
    }

    /// What stands after `DO UPDATE SET`; empty if nothing ever changes.
    pub fn set(&self) -> Vec<String> {
        let columns = self.columns.iter().map(|(name, value)| format!("{name} = {value}"));
        let groups = self.groups.iter().map(|(names, select)| format!("({}) = ({select})", names.join(", ")));
        columns.chain(groups).collect()
    }
}

/// The new value of a column; nothing if it stays.
fn new_value(column: &Column, schema: &Schema, rules: &Rules) -> Option<String> {
    let name = quote_name(&column.name);
    let (a, b) = (format!("old.{name}"), format!("excluded.{name}"));
    Some(match &column.merge {
        Policy::Keep => return None,
        Policy::Sql => rule(&a, &b, rules.get(&column.name)?),
        Policy::Greatest => format!("greatest({}, {})", compared(&a, &column.ty), compared(&b, &column.ty)),
        Policy::Least => format!("least({}, {})", compared(&a, &column.ty), compared(&b, &column.ty)),
        Policy::Union if column.ty.is_array() => array_union(&a, &b, &column.ty),
        Policy::Union => jsonb_union(&a, &b),
        Policy::Newest(Newest { by }) => format!("case when {} then {a} else {b} end", is_older(schema, by)),
        Policy::Replace => b,
        Policy::Coalesce => format!("coalesce({b}, {a})"),
        Policy::JsonbMerge => objects(&a, &b, &format!("{a} || {b}")),
        Policy::JsonbMergeText => {
            // Lowest: b with its empty texts; then a; then b without them.
            let texts = format!(
                "{b} - array(select each.key from jsonb_each_text({b}) as each(key, value) where each.value = '')"
            );
            objects(&a, &b, &format!("{b} || {a} || ({texts})"))
        }
        Policy::KeyedArray(keyed) => keyed_array(&a, &b, keyed),
    })
}

/// The columns of a group, and the `select` of one row with their new values.
fn of_group(group: &Group) -> (Vec<String>, String) {
    let side = &group.preferred_side;
    let column = quote_name(&side.column);
    let wanted = side.fields.iter().map(|(name, text)| format!("e->>{} = {}", quote_text(name), quote_text(text)));
    let wanted: Vec<_> = wanted.chain([format!("e->>{} is not null", quote_text(&side.has))]).collect();
    let qualifies = |side: &str| {
        let value = as_array(&format!("{side}.{column}"));
        format!("exists (select from jsonb_array_elements({value}) as elements(e) where {})", wanted.join(" and "))
    };

    let names: Vec<_> = group.columns.iter().map(|name| quote_name(name)).collect();
    let values: Vec<_> = names
            .iter()
            .map(|name| {
                format!("case choice.side when 2 then excluded.{name} when 1 then old.{name} else coalesce(excluded.{name}, old.{name}) end")
            })
            .collect();
    // OFFSET 0 keeps the planner from asking for the side again for each column.
    let select = format!(
        "select {} from (select case when {} then 2 when {} then 1 else 0 end as side offset 0) as choice",
        values.join(", "),
        qualifies("excluded"),
        qualifies("old"),
    );
    (names, select)
}

/// The expression of a profile, whatever is in it, with names for the two values.
fn rule(a: &str, b: &str, sql: &str) -> String {
    format!("(select ({sql}) from (select {a}, {b}) as parameters(existing, incoming))")
}

/// A value of `jsonb` if it is an array; else an empty one.
fn as_array(value: &str) -> String {
    format!("case when jsonb_typeof({value}) = 'array' then {value} else '[]'::jsonb end")
}

/// The elements of two arrays put together by a query; if neither is an array, the later value that is not null.
fn arrays(a: &str, b: &str, query: &str) -> String {
    format!(
        "case when jsonb_typeof({a}) is distinct from 'array' and jsonb_typeof({b}) is distinct from 'array' \
         then coalesce({b}, {a}) else ({query}) end"
    )
}

/// A value as it is compared with others: texts by their bytes, as in the stream, whatever the database's collation is.
pub(crate) fn compared(value: &str, ty: &ColumnType) -> String {
    if ty.kind() == Kind::Text { format!("{value} collate \"C\"") } else { value.to_owned() }
}

/// Whether the row that comes is an older one than that of the table; true or not true.
fn is_older(schema: &Schema, by: &str) -> String {
    let version = |side: &str| {
        let version = format!("{side}.{}", quote_name(by));
        schema.index(by).map_or(version.clone(), |index| compared(&version, &schema.columns[index].ty))
    };
    let (there, comes) = (version("old"), version("excluded"));
    format!("{comes} < {there} or ({comes} is null and {there} is not null)")
}

/// The version that alone decides over every column which may change.
fn version_of_all(schema: &Schema) -> Option<&str> {
    let mut columns = schema.columns.iter().filter(|column| !schema.key.contains(&column.name));
    let by = columns.clone().find_map(|column| match &column.merge {
        Policy::Newest(Newest { by }) => Some(by),
        _ => None,
    })?;
    let decides = |column: &Column| match &column.merge {
        Policy::Newest(newest) => newest.by == *by,
        Policy::Keep => true,
        Policy::Greatest => column.name == *by,
        _ => false,
    };
    (schema.groups.is_empty() && columns.all(decides)).then_some(by)
}

/// Each element of two arrays once, in order; of numbers, which are equal with and without zeros at the end, without.
fn array_union(a: &str, b: &str, ty: &ColumnType) -> String {
    let element =
        if ty.kind() == Kind::Numeric { "trim_scale(elements.e)".to_owned() } else { compared("elements.e", ty) };
    format!(
        "case when {a} is not null or {b} is not null \
         then array(select distinct {element} from unnest({a} || {b}) as elements(e) order by 1) end"
    )
}

/// The same of arrays in `jsonb`: booleans, numbers, texts, null.
fn jsonb_union(a: &str, b: &str) -> String {
    let query = format!(
        "select coalesce(jsonb_agg(elements.e order by
           array_position('{{boolean,number,string,null}}'::text[], jsonb_typeof(elements.e)),
           case when jsonb_typeof(elements.e) = 'number' then elements.e::numeric end,
           (elements.e #>> '{{}}') collate \"C\"), '[]')
         from (
           select distinct case when jsonb_typeof(element.e) = 'number' then to_jsonb(trim_scale(element.e::numeric))
                           else element.e end
           from jsonb_array_elements({} || {}) as element(e)
         ) as elements(e)",
        as_array(a),
        as_array(b)
    );
    arrays(a, b, &query)
}

/// `merged` if both are objects; else the one that is; else the later one that is not null.
fn objects(a: &str, b: &str, merged: &str) -> String {
    format!(
        "case when jsonb_typeof({a}) = 'object' then case when jsonb_typeof({b}) = 'object' then {merged} else {a} end \
         when jsonb_typeof({b}) = 'object' then {b} else coalesce({b}, {a}) end"
    )
}

/// The elements of two arrays, one for each key, in the order of the keys.
fn keyed_array(a: &str, b: &str, keyed: &KeyedArray) -> String {
    let fields = || keyed.key.iter().map(|field| quote_text(field)).enumerate();
    let keys: Vec<_> =
        fields().map(|(n, field)| format!("coalesce(elements.e ->> {field}, 'null') collate \"C\" as k{n}")).collect();
    let order = |of: &str| fields().map(|(n, _)| format!("{of}.k{n}")).collect::<Vec<_>>().join(", ");
    let preferred = keyed
        .prefer
        .as_ref()
        .map_or(String::new(), |field| format!("(keyed.e ->> {} is not null) desc, ", quote_text(field)));
    let query = format!(
        "select coalesce(jsonb_agg(s.e order by {of_s}), '[]')
         from (
           select distinct on ({of_keyed}) keyed.e, {of_keyed}
           from (
             select elements.e, elements.n, {keys}
             from jsonb_array_elements({a} || {b}) with ordinality as elements(e, n)
           ) as keyed
           order by {of_keyed}, {preferred}keyed.n desc
         ) as s",
        of_s = order("s"),
        of_keyed = order("keyed"),
        keys = keys.join(", "),
        a = as_array(a),
        b = as_array(b),
    );
    arrays(a, b, &query)
}
