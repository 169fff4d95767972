//! The statements that write rows of a schema: the table, the stage, COPY, and the merge. What the SQL of a policy is,
//! `policy` says; when they run and what is committed, the program.

use profile::Schema;

use crate::policy::{Merge, Rules, compared};
use crate::quote_name;

/// The number of a row within its transaction.
pub(crate) const PLACE: &str = "ddb_pipe_place";

/// Buffers for the stage. A session that already had a temporary table cannot change them any more, and goes on with
/// those that it has.
pub(crate) const TEMP_BUFFERS: &str =
    "do 'begin set local temp_buffers = ''64MB''; exception when invalid_parameter_value then null; end'";

/// The temporary table that COPY fills, one for each table that rows are for.
pub(crate) fn stage(number: usize) -> String {
    if number == 0 { "ddb_pipe_stage".to_owned() } else { format!("ddb_pipe_stage_{number}") }
}

/// The statements for one schema's rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statements {
    /// Makes the table with its primary key, if it is not there.
    pub create: String,
    /// Prepares a transaction: settings, functions, the stage.
    pub prologue: String,
    /// Removes the functions, before the commit. The stage goes by itself.
    pub epilogue: String,
    /// Takes the rows into the stage.
    pub stage: Copy,
    /// Takes the rows into the table itself, which must have none of their keys.
    pub load: Copy,
    /// Merges the stage into the table. No two rows of the stage may have the same key.
    pub merge: String,
    /// Says which keys are one for the table.
    pub keys: SameKeys,
    /// Deletes the rows of the table whose keys are in the stage; where rows have a version, those that are not newer.
    pub delete: String,
}

/// The statements that compare keys of rows that are not in the table, in one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SameKeys {
    /// Makes a temporary table for them.
    pub create: String,
    /// Takes them in text format: a number that is given back, then the key's columns.
    pub copy: String,
    /// Two numbers of each key that is the same as one with a lower number: its own, and the lowest. Both are `integer`.
    pub same: String,
}

impl SameKeys {
    fn of(table: &str, key: &str, number: usize) -> Self {
        let keys = format!("ddb_pipe_keys_{number}");
        Self {
            create: format!(
                "create temporary table {keys} on commit drop \
                 as select 0 as {PLACE}, {key} from {table} with no data"
            ),
            copy: format!("copy pg_temp.{keys} ({PLACE}, {key}) from stdin"),
            same: format!(
                "select {PLACE}, first from (select {PLACE}, min({PLACE}) over (partition by {key}) as first \
                 from pg_temp.{keys}) as keys where first < {PLACE}"
            ),
        }
    }
}

/// The statements by which a table takes rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// In text format.
    pub text: String,
    /// In binary format, which needs values of just the types of the columns.
    pub binary: String,
    /// Has these columns, and no row.
    pub columns: String,
}

impl Copy {
    fn of(table: &str, columns: &str) -> Self {
        let text = format!("copy {table} ({columns}) from stdin");
        Self {
            binary: format!("{text} (format binary)"),
            columns: format!("select {columns} from {table} limit 0"),
            text,
        }
    }
}

impl Statements {
    /// The statements for rows of that schema, with a stage of that number, which no other table of the session has, and the
    /// SQL of columns that are merged by it.
    pub fn of(schema: &Schema, number: usize, rules: &Rules) -> Self {
        let stage = stage(number);
        let table = table_name(schema);
        let columns: Vec<_> = schema.columns.iter().map(|column| quote_name(&column.name)).collect();
        let list = columns.join(", ");
        let key = schema.key.iter().map(|name| quote_name(name)).collect::<Vec<_>>().join(", ");
        let merge = Merge::of(schema, number, rules);
        let set = merge.set();
        let conflict = match (set.join(", "), &merge.condition) {
            (set, _) if set.is_empty() => "do nothing".to_owned(),
            (set, None) => format!("do update set {set}"),
            (set, Some(condition)) => format!("do update set {set} where {condition}"),
        };

        let by_key: Vec<_> = schema.key.iter().map(|name| quote_name(name)).collect();
        let mut gone: Vec<_> = by_key.iter().map(|name| format!("old.{name} = gone.{name}")).collect();
        if let Some(version) = schema.version() {
            let (ty, version) = (&schema.columns[version].ty, &columns[version]);
            let (old, new) = (format!("old.{version}"), format!("gone.{version}"));
            let not_newer = format!("{} <= {}", compared(&old, ty), compared(&new, ty));
            gone.push(format!("({not_newer} or {old} is null or {new} is null)"));
        }
        let types = schema.columns.iter().zip(&columns).map(|(column, name)| format!("{name} {}", column.ty.sql()));
        let definitions: Vec<_> = types.chain([format!("primary key ({key})")]).collect();
        // The stage takes types and nothing else from the table: what a row violates is said by the table itself. No plan is
        // reused, so none is compiled. What is noted as written must not be lost in a crash of the server.
        let mut prologue = vec![
            TEMP_BUFFERS.to_owned(),
            "select set_config('synchronous_commit', 'on', true) where current_setting('synchronous_commit') = 'off'"
                .to_owned(),
        ];
        let epilogue = merge.functions.iter().map(|function| function.drop()).collect::<Vec<_>>().join(";\n");
        prologue.extend(merge.functions.iter().map(|function| function.create.clone()));
        prologue.push(format!(
            "create temporary table {stage} on commit drop \
             as select {list} from {table} with no data"
        ));
        let overriding = if schema.overriding_system_value { " overriding system value" } else { "" };
        Self {
            create: format!("create table if not exists {table} (\n    {}\n)", definitions.join(",\n    ")),
            delete: format!("delete from {table} as old using pg_temp.{stage} as gone where {}", gone.join(" and ")),
            prologue: prologue.join(";\n"),
            epilogue,
            keys: SameKeys::of(&table, &key, number),
            stage: Copy::of(&format!("pg_temp.{stage}"), &list),
            load: Copy::of(&table, &list),
            merge: format!(
                "insert into {table} as old ({list}){overriding} select {list} from pg_temp.{stage} \
                 on conflict ({key}) {conflict}"
            ),
        }
    }
}

/// The table's name as SQL.
pub fn table_name(schema: &Schema) -> String {
    let table = quote_name(&schema.table);
    schema.schema.as_ref().map_or_else(|| table.clone(), |schema| format!("{}.{table}", quote_name(schema)))
}
