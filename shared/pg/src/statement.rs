//! The statements that write rows of a schema: the table, the stage, COPY, and the merge. What the SQL of a policy is,
//! `policy` says; when they run and what is committed, the program.

use profile::Schema;

use crate::constraints::{Constraints, TableId};
use crate::isolate::Isolate;
use crate::policy::{Merge, Rules, compared};
use crate::{free_name, quote_name, quote_text};

/// The column with the number of a row within its transaction: a name that no column of the rows has.
pub(crate) fn place(schema: &Schema) -> String {
    free_name("ddb_pipe_index", |name| schema.index(name).is_some())
}

/// Buffers for the stage. A session that already had a temporary table cannot change them any more, and goes on with
/// those that it has.
pub(crate) const TEMP_BUFFERS: &str =
    "do 'begin set local temp_buffers = ''64MB''; exception when invalid_parameter_value then null; end'";

/// The temporary table that COPY fills, one for each table that rows are for. A temporary table hides the user's table of
/// the same name, so it has another one.
pub(crate) fn stage(schema: &Schema, number: usize) -> String {
    free_name(&format!("ddb_pipe_stage_{number}"), |name| name == schema.table)
}

/// Names of ours that stand beside names of columns. None of the columns has one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    /// The column of the stage with the row's index in the batch.
    pub(crate) index: String,
    /// The column of the stage that marks suspects.
    pub(crate) suspect: String,
    /// The variable with the first index of a range.
    pub(crate) first: String,
    /// The variable with the last one.
    pub(crate) last: String,
    /// The tables of `isolate`. A temporary table hides the user's table of the same name, so they have others.
    pub(crate) refused: String,
    pub(crate) untouched: String,
    pub(crate) texts: String,
}

impl Names {
    fn of(schema: &Schema) -> Self {
        let column = |name| free_name(name, |name| schema.index(name).is_some());
        let table = |name| format!("pg_temp.{}", free_name(name, |name| name == schema.table));
        Self {
            index: place(schema),
            suspect: column("ddb_pipe_suspect"),
            first: column("ddb_pipe_first"),
            last: column("ddb_pipe_last"),
            refused: table("ddb_pipe_refused"),
            untouched: table("ddb_pipe_untouched"),
            texts: table("ddb_pipe_texts"),
        }
    }
}

/// The statements for one schema's rows. Those of a batch stand in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statements {
    /// Makes the table with its primary key, if it is not there.
    pub create: String,
    /// Prepares a transaction: settings and the stage, which goes with the commit.
    pub prologue: String,
    /// Takes the rows into the stage, each behind its index.
    pub stage: Copy,
    /// The same without the index, where nobody asks for it.
    pub bare_stage: Copy,
    /// Takes the rows into the table itself, which must have none of their keys.
    pub load: Copy,
    /// Merges the stage into the table. No two rows of the stage may have the same key.
    pub merge: String,
    /// Whether merging may leave rows unwritten, so that [`Self::merge`] reports them. One row has the number of rows that were
    /// written in its third column. Each other one is a row that was not: its index, and whether that is as the policy
    /// wants it; if not, a trigger swallowed the row.
    pub untouched: bool,
    /// Says which keys are one for the table.
    pub keys: SameKeys,
    /// Deletes the rows of the table whose keys are in the stage; where rows have a version, those that are not newer.
    pub delete: String,
    /// After a deletion: the indexes of rows that a trigger kept. Only where there are triggers.
    pub kept: Option<String>,
    pub(crate) names: Names,
    table: String,
    stage_name: String,
    columns: Vec<String>,
    key: Vec<String>,
    /// What stands behind `on conflict`.
    conflict: String,
    overriding: &'static str,
    /// Whether a row that exists is left alone, where that depends on the row.
    left_alone: Option<String>,
    row_triggers: bool,
    gone: String,
}

/// The statements that compare keys of rows that are not in the table, in one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SameKeys {
    /// Makes a temporary table for them.
    pub create: String,
    /// Takes them in text format: a number that is given back, then the key's columns.
    pub copy: String,
    /// Two numbers of each key that is the same as one with a lower number: its own, and the lowest.
    pub same: String,
}

impl SameKeys {
    fn of(schema: &Schema, table: &str, key: &str, number: usize) -> Self {
        let keys = free_name(&format!("ddb_pipe_keys_{number}"), |name| name == schema.table);
        let index = place(schema);
        Self {
            create: format!(
                "create temporary table {keys} on commit drop as select 0 as {index}, {key} from {table} with no data"
            ),
            copy: format!("copy pg_temp.{keys} ({index}, {key}) from stdin"),
            same: format!(
                "select own, lowest from (select {index}, min({index}) over (partition by {key}) \
                 from pg_temp.{keys}) as keys (own, lowest) where lowest < own"
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
    /// The OIDs of the columns' types, a row for each; of a domain its base type. The types cannot change until the transaction ends.
    pub types: String,
}

impl Copy {
    /// Of these columns, behind an `index` if there is one.
    fn of(table: &str, columns: &[String], index: Option<&str>) -> Self {
        let quoted: Vec<_> = columns.iter().map(|name| quote_name(name)).collect();
        let list = index.into_iter().map(str::to_owned).chain(quoted).collect::<Vec<_>>().join(", ");
        let text = format!("copy {table} ({list}) from stdin");
        let names: Vec<_> = columns.iter().map(|name| quote_text(name)).collect();
        Self {
            binary: format!("{text} (format binary)"),
            types: format!(
                "select from {table} limit 0; \
                 select case t.typtype when 'd' then t.typbasetype else t.oid end \
                 from unnest(array[{}]::text[]) with ordinality as n(name, i) \
                 join pg_catalog.pg_attribute a on a.attrelid = {}::pg_catalog.regclass and a.attname = n.name \
                 join pg_catalog.pg_type t on t.oid = a.atttypid order by n.i",
                names.join(", "),
                quote_text(table),
            ),
            text,
        }
    }
}

/// What the statements for a table depend on besides its schema.
#[derive(Clone, Debug, Default)]
pub struct Dialect {
    /// The SQL of columns that are merged by it.
    pub rules: Rules,
    /// The constraint that `on conflict` has to name, see [`crate::catalogue::Table::arbiter`].
    pub arbiter: Option<String>,
    /// Whether triggers run before each row.
    pub row_triggers: bool,
}

impl Statements {
    /// The statements for rows of that schema, with a stage of that number, which no other table of the run has.
    pub fn of(schema: &Schema, number: usize, dialect: &Dialect) -> Self {
        let names = Names::of(schema);
        let stage_name = stage(schema, number);
        let table = table_name(schema);
        let plain: Vec<_> = schema.columns.iter().map(|column| column.name.clone()).collect();
        let columns: Vec<_> = plain.iter().map(|name| quote_name(name)).collect();
        let list = columns.join(", ");
        let key: Vec<_> = schema.key.iter().map(|name| quote_name(name)).collect();
        let key_list = key.join(", ");
        let merge = Merge::of(schema, &dialect.rules);
        let set = merge.set().join(", ");
        let exists = format!("old.{} is not null", key[0]);
        let (action, left_alone) = match &merge.condition {
            _ if set.is_empty() => ("do nothing".to_owned(), Some(exists)),
            None => (format!("do update set {set}"), None),
            Some(condition) => {
                (format!("do update set {set} where {condition}"), Some(format!("{exists} and not ({condition})")))
            }
        };

        let arbiter = dialect.arbiter.as_ref().map(|name| format!("on constraint {}", quote_name(name)));
        let conflict = format!("{} {action}", arbiter.unwrap_or_else(|| format!("({key_list})")));

        let mut gone: Vec<_> = key.iter().map(|name| format!("old.{name} = gone.{name}")).collect();
        if let Some(version) = schema.version() {
            let (ty, version) = (&schema.columns[version].ty, &columns[version]);
            let (old, new) = (format!("old.{version}"), format!("gone.{version}"));
            let not_newer = format!("{} <= {}", compared(&old, ty), compared(&new, ty));
            gone.push(format!("({not_newer} or {old} is null or {new} is null)"));
        }
        let types = schema.columns.iter().zip(&columns).map(|(column, name)| format!("{name} {}", column.ty.sql()));
        let definitions: Vec<_> = types.chain([format!("primary key ({key_list})")]).collect();
        // The stage takes types and nothing else from the table: what a row violates is said by the table itself.
        // What is noted as written must not be lost in a crash of the server.
        let mut prologue = vec![
            TEMP_BUFFERS.to_owned(),
            "select set_config('synchronous_commit', 'on', true) where current_setting('synchronous_commit') = 'off'"
                .to_owned(),
        ];
        prologue.push(format!(
            "create temporary table {stage_name} on commit drop as select 0 as {}, {list} from {table} with no data",
            names.index
        ));
        let mut statements = Self {
            create: format!("create table if not exists {table} (\n    {}\n)", definitions.join(",\n    ")),
            prologue: prologue.join(";\n"),
            stage: Copy::of(&format!("pg_temp.{stage_name}"), &plain, Some(&names.index)),
            bare_stage: Copy::of(&format!("pg_temp.{stage_name}"), &plain, None),
            load: Copy::of(&table, &plain, None),
            merge: String::new(),
            untouched: left_alone.is_some() || dialect.row_triggers,
            keys: SameKeys::of(schema, &table, &key_list, number),
            delete: String::new(),
            kept: None,
            overriding: if schema.overriding_system_value { " overriding system value" } else { "" },
            names,
            table,
            stage_name,
            columns,
            key,
            conflict,
            left_alone,
            row_triggers: dialect.row_triggers,
            gone: gone.join(" and "),
        };
        statements.merge = statements.merge_of("true", None);
        if schema.by_sql() {
            // What is wrong with a profile's SQL is no record's fault: it is said before the first row.
            statements.prologue = format!("{};\nexplain {}", statements.prologue, statements.merge);
        }
        statements.delete = statements.delete_of("true");
        statements.kept = dialect.row_triggers.then(|| {
            let Self { names: Names { index, .. }, table, stage_name, gone, .. } = &statements;
            format!("select gone.{index} from pg_temp.{stage_name} as gone join {table} as old on {gone}")
        });
        statements
    }

    /// Merges the rows of the stage, called `excluded`, of which a condition holds; the report of [`Self::untouched`] may go
    /// into a table.
    pub(crate) fn merge_of(&self, condition: &str, report: Option<&str>) -> String {
        let Self { names: Names { index, .. }, table, stage_name, columns, key, conflict, overriding, .. } = self;
        let list = columns.join(", ");
        let insert = format!(
            "insert into {table} as old ({list}){overriding} select {list} from pg_temp.{stage_name} as excluded \
             where {condition} on conflict {conflict}"
        );
        if !self.untouched {
            return insert;
        }
        let numbered = || key.iter().enumerate();
        let returned: Vec<_> = numbered().map(|(n, name)| format!("{name} as k{n}")).collect();
        let returned_here: Vec<_> = numbered().map(|(n, name)| format!("written.k{n} = excluded.{name}")).collect();
        // The query sees the table as it was before the insertion.
        let (join, left_alone) = if self.row_triggers {
            let on: Vec<_> = key.iter().map(|name| format!("old.{name} = excluded.{name}")).collect();
            let join = format!(" left join {table} as old on {}", on.join(" and "));
            (join, self.left_alone.clone().unwrap_or_else(|| "false".to_owned()))
        } else {
            (String::new(), "true".to_owned())
        };
        let into = report.map_or_else(String::new, |table| format!("insert into {table} "));
        format!(
            "with written as ({insert} returning {}) {into}\
             select null::int, null::boolean, (select count(*) from written) \
             union all select excluded.{index}, {left_alone}, null from pg_temp.{stage_name} as excluded{join} \
             where {condition} and not exists (select from written where {})",
            returned.join(", "),
            returned_here.join(" and "),
        )
    }

    /// Deletes the rows of the table whose keys are in the stage, called `gone`, where a condition holds.
    pub(crate) fn delete_of(&self, condition: &str) -> String {
        let Self { table, stage_name, gone, .. } = self;
        format!("delete from {table} as old using pg_temp.{stage_name} as gone where {gone} and {condition}")
    }

    /// The statements that find the rows which the table refuses, in a run that loads all these tables.
    pub fn isolate(&self, schema: &Schema, number: usize, constraints: &Constraints, loaded: &[TableId]) -> Isolate {
        Isolate::of(schema, number, self, constraints, loaded)
    }
}

/// The table's name as SQL.
pub fn table_name(schema: &Schema) -> String {
    let table = quote_name(&schema.table);
    schema.schema.as_ref().map_or_else(|| table.clone(), |schema| format!("{}.{table}", quote_name(schema)))
}
