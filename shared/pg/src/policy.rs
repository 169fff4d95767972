//! The SQL of the merge policies. What they mean is in `profile::policy`, and a test folds the same rows through both.
//!
//! `old` is the row that the table has, `excluded` the one that comes. Merging arrays is where a load of partial rows
//! spends its time, so it is done by a function that moves one element at a time: where all of 46,000 rows
//! conflict with arrays of four elements, it costs 7 microseconds a row, a query with `DISTINCT ON` over both arrays 14.

use std::collections::BTreeMap;

use profile::policy::{Group, KeyedArray, Newest};
use profile::{Column, ColumnType, Kind, Policy, Schema};

use crate::{quote_name, quote_text};

/// How rows of a schema are merged in SQL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merge {
    /// The functions that the values call.
    pub functions: Vec<Function>,
    /// Columns, as identifiers, that merging may change, each with its new value.
    pub columns: Vec<(String, String)>,
    /// Columns of a group, with the `select` of one row that gives their new values together.
    pub groups: Vec<(Vec<String>, String)>,
    /// Without this condition no column changes: where only the version counts, an older row need not be written.
    pub condition: Option<String>,
}

/// A function in the schema of temporary objects. It would outlive the transaction, so whoever commits drops it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name and its parameters' types.
    signature: String,
    /// The statement that makes it.
    pub create: String,
}

impl Function {
    /// `returns` and all that follows it belong to the definition; parameters are pairs of a name and a type.
    fn new(name: &str, parameters: &[(&str, &str)], returns: &str, language: &str, body: &str) -> Self {
        let list = |with_names: bool| {
            let each =
                parameters.iter().map(|(name, ty)| if with_names { format!("{name} {ty}") } else { (*ty).to_owned() });
            each.collect::<Vec<_>>().join(", ")
        };
        Self {
            signature: format!("{name}({})", list(false)),
            create: format!(
                "create function {name}({}) returns {returns} language {language} as {}",
                list(true),
                quote_text(body)
            ),
        }
    }

    /// The statement that removes it.
    pub fn drop(&self) -> String {
        format!("drop function {}", self.signature)
    }
}

/// The SQL of columns that a profile merges by it: expressions of `existing` and `incoming`, by the columns' names. They come
/// from the profile's own file, never from a stream.
pub type Rules = BTreeMap<String, String>;

impl Merge {
    /// The merging of a schema's rows, in a session whose other tables have other numbers. A column that is merged by SQL of
    /// which there is none stays as it is.
    pub fn of(schema: &Schema, table: usize, rules: &Rules) -> Self {
        let mut merge = Self::default();
        for (number, column) in schema.columns.iter().enumerate() {
            let grouped = schema.groups.iter().any(|group| group.columns.contains(&column.name));
            if grouped || schema.key.contains(&column.name) {
                continue;
            }
            let function = |kind: &str| function(kind, table, number);
            if let Some(value) = merge.column(function, column, schema, rules) {
                merge.columns.push((quote_name(&column.name), value));
            }
        }
        for (number, group) in schema.groups.iter().enumerate() {
            merge.group(&function("side", table, number), group);
        }
        merge.condition = version_of_all(schema).map(|by| format!("({}) is not true", is_older(schema, by)));
        merge
    }

    /// What stands after `DO UPDATE SET`; empty if nothing ever changes.
    pub fn set(&self) -> Vec<String> {
        let columns = self.columns.iter().map(|(name, value)| format!("{name} = {value}"));
        let groups = self.groups.iter().map(|(names, select)| format!("({}) = ({select})", names.join(", ")));
        columns.chain(groups).collect()
    }

    /// The new value of a column; nothing if it stays. `function` names a function of its own.
    fn column(
        &mut self,
        function: impl Fn(&str) -> String,
        column: &Column,
        schema: &Schema,
        rules: &Rules,
    ) -> Option<String> {
        let name = quote_name(&column.name);
        let (a, b) = (format!("old.{name}"), format!("excluded.{name}"));
        Some(match &column.merge {
            Policy::Keep => return None,
            Policy::Sql => {
                let function = function("rule");
                self.functions.push(rule(&function, rules.get(&column.name)?, &column.ty));
                format!("{function}({a}, {b})")
            }
            Policy::Greatest => format!("greatest({}, {})", compared(&a, &column.ty), compared(&b, &column.ty)),
            Policy::Least => format!("least({}, {})", compared(&a, &column.ty), compared(&b, &column.ty)),
            Policy::Union if column.ty.is_array() => array_union(&a, &b, &column.ty),
            Policy::Union => {
                let function = function("union");
                self.functions.push(jsonb_union(&function));
                format!("{function}({a}, {b})")
            }
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
            Policy::KeyedArray(keyed) => {
                let function = function("keyed");
                self.functions.push(keyed_array(&function, keyed));
                format!("{function}({a}, {b})")
            }
        })
    }

    fn group(&mut self, function: &str, group: &Group) {
        let side = &group.preferred_side;
        let column = quote_name(&side.column);
        let wanted = side.fields.iter().map(|(name, text)| format!("e->>{} = {}", quote_text(name), quote_text(text)));
        let wanted: Vec<_> = wanted.chain([format!("e->>{} is not null", quote_text(&side.has))]).collect();
        self.functions.push(qualifies(function, &wanted.join(" and ")));

        let names: Vec<_> = group.columns.iter().map(|name| quote_name(name)).collect();
        let values: Vec<_> = names
            .iter()
            .map(|name| {
                format!("case choice.side when 2 then excluded.{name} when 1 then old.{name} else coalesce(excluded.{name}, old.{name}) end")
            })
            .collect();
        // OFFSET 0 keeps the planner from asking for the side again for each column.
        let select = format!(
            "select {} from (select case when {function}(excluded.{column}) then 2 \
             when {function}(old.{column}) then 1 else 0 end as side offset 0) as choice",
            values.join(", ")
        );
        self.groups.push((names, select));
    }
}

/// A function's name, which no other table of the run has, nor another column or group of this one.
fn function(kind: &str, table: usize, number: usize) -> String {
    format!("pg_temp.ddb_pipe_{kind}_{table}_{number}")
}

/// A function that has the expression for its body, whatever is in it.
fn rule(name: &str, sql: &str, ty: &ColumnType) -> Function {
    let ty = ty.sql();
    Function::new(name, &[("existing", &ty), ("incoming", &ty)], &ty, "sql", &format!("select ({sql})"))
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
fn jsonb_union(name: &str) -> Function {
    let body = "begin
          if jsonb_typeof(a) is distinct from 'array' then
            if jsonb_typeof(b) is distinct from 'array' then return coalesce(b, a); end if;
            a := '[]';
          elsif jsonb_typeof(b) is distinct from 'array' then
            b := '[]';
          end if;
          return (
            select coalesce(jsonb_agg(e order by
              array_position('{boolean,number,string,null}'::text[], jsonb_typeof(e)),
              case when jsonb_typeof(e) = 'number' then e::numeric end,
              (e #>> '{}') collate \"C\"), '[]')
            from (
              select distinct case when jsonb_typeof(e) = 'number' then to_jsonb(trim_scale(e::numeric)) else e end
              from jsonb_array_elements(a || b) as elements(e)
            ) as elements(e)
          );
        end";
    Function::new(name, &[("a", "jsonb"), ("b", "jsonb")], "jsonb", "plpgsql immutable", body)
}

/// `merged` if both are objects; else the one that is; else the later one that is not null.
fn objects(a: &str, b: &str, merged: &str) -> String {
    format!(
        "case when jsonb_typeof({a}) = 'object' then case when jsonb_typeof({b}) = 'object' then {merged} else {a} end \
         when jsonb_typeof({b}) = 'object' then {b} else coalesce({b}, {a}) end"
    )
}

/// Whether an array has an element `e` of which `wanted` holds.
fn qualifies(name: &str, wanted: &str) -> Function {
    let body = format!(
        "declare e jsonb;
        begin
          if jsonb_typeof(v) is distinct from 'array' then return false; end if;
          for i in 0 .. jsonb_array_length(v) - 1 loop
            e := v -> i;
            if {wanted} then return true; end if;
          end loop;
          return false;
        end"
    );
    Function::new(name, &[("v", "jsonb")], "boolean", "plpgsql immutable", &body)
}

/// The elements of two arrays, one for each key, in the order of the keys.
fn keyed_array(name: &str, keyed: &KeyedArray) -> Function {
    let fields: Vec<_> = keyed.key.iter().map(|field| quote_text(field)).collect();
    let keys = |prefix: &str| (0..fields.len()).map(|n| format!("{prefix}{n}")).collect::<Vec<_>>();
    let row = |prefix: &str| format!("row({})", keys(prefix).join(", "));
    let texts = |element: &str, prefix: &str| {
        let each = fields.iter().zip(keys(prefix));
        each.map(|(field, key)| format!("{key} := coalesce({element} ->> {field}, 'null');"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let declare = ["k", "x", "p"].iter().flat_map(|prefix| keys(prefix));
    let declare = declare.map(|key| format!("{key} text collate \"C\";")).collect::<Vec<_>>().join(" ");
    let previous = keys("p").iter().zip(keys("x")).map(|(p, x)| format!("{p} := {x};")).collect::<Vec<_>>().join(" ");
    // Which of two elements with one key stays: x, which is there, or e, which comes.
    let e_wins = keyed.prefer.as_ref().map_or("true".to_owned(), |field| {
        let field = quote_text(field);
        format!("e ->> {field} is not null or x ->> {field} is null")
    });
    let preferred = keyed
        .prefer
        .as_ref()
        .map_or(String::new(), |field| format!("(e ->> {} is not null) desc, ", quote_text(field)));
    let columns: Vec<_> = fields
        .iter()
        .zip(keys("k"))
        .map(|(field, key)| format!("coalesce(e ->> {field}, 'null') collate \"C\" as {key}"))
        .collect();
    let order = keys("k").join(", ");
    let order_columns = keys("s.k").join(", ");
    let (k, x, p) = (row("k"), row("x"), row("p"));
    let body = format!(
        "#variable_conflict use_column
        declare e jsonb; x jsonb; merged jsonb; n int; place int; same boolean; {declare}
        begin
          if jsonb_typeof(a) is distinct from 'array' then
            if jsonb_typeof(b) is distinct from 'array' then return coalesce(b, a); end if;
            a := '[]';
          elsif jsonb_typeof(b) is distinct from 'array' then
            b := '[]';
          end if;
          merged := a;
          if jsonb_array_length(b) between 1 and 4 then
            for j in 0 .. jsonb_array_length(b) - 1 loop
              e := b -> j;
              {e_keys}
              n := jsonb_array_length(merged);
              place := n;
              same := false;
              for i in 0 .. n - 1 loop
                x := merged -> i;
                {x_keys}
                if i > 0 and {p} >= {x} then
                  merged := null;
                  exit;
                end if;
                {previous}
                if place = n and {x} >= {k} then
                  place := i;
                  same := {x} = {k};
                end if;
              end loop;
              exit when merged is null;
              if not same then
                merged := jsonb_insert(merged, array[place::text], e);
              else
                x := merged -> place;
                if {e_wins} then merged := jsonb_set(merged, array[place::text], e); end if;
              end if;
            end loop;
            if merged is not null then return merged; end if;
          end if;
          return (
            select coalesce(jsonb_agg(s.e order by {order_columns}), '[]')
            from (
              select distinct on ({order}) e, {order}
              from (
                select e, n, {columns} from jsonb_array_elements(a || b) with ordinality as elements(e, n)
              ) as keyed
              order by {order}, {preferred}n desc
            ) as s
          );
        end",
        e_keys = texts("e", "k"),
        x_keys = texts("x", "x"),
        columns = columns.join(", "),
    );
    Function::new(name, &[("a", "jsonb"), ("b", "jsonb")], "jsonb", "plpgsql immutable", &body)
}
