//! The table that the rows go to: looked up, made if wanted, and checked before the first row.

use fault::Fault;
use pg::catalogue::Table;
use pg::constraints::{Constraints, TableId};
use pg::policy::Rules;
use pg::statement::{Dialect, Statements, table_name};
use pg::{Client, Settings};
use profile::Schema;
use tracing::info;

/// SQLSTATE `duplicate_table`, of an index too.
const DUPLICATE_TABLE: &str = "42P07";

/// SQLSTATE `unique_violation`, here in the catalogue: two sessions have made one table at the same time.
const UNIQUE_VIOLATION: &str = "23505";

/// The table as it is before the first row.
#[derive(Clone, Debug, Default)]
pub(crate) struct Prepared {
    /// In a dry run without the table: what makes it, in each transaction.
    pub(crate) before: Vec<String>,
    /// Whether there is nothing in it that a row could be merged with.
    pub(crate) empty: bool,
    /// See [`Table::tells_apart`]. A table that is made of the schema does.
    pub(crate) tells_apart: bool,
    /// Which table it is; nothing in a dry run without the table.
    pub(crate) table: Option<TableId>,
    /// What it asks of its rows.
    pub(crate) constraints: Constraints,
    /// What its statements depend on besides the schema.
    pub(crate) dialect: Dialect,
}

/// Makes sure that the table is there and fits.
///
/// With `create` a missing table is made, together with the profile's SQL that it returns. In a dry run nothing stays.
pub(crate) fn prepare(
    settings: &Settings,
    client: &mut Client,
    schema: &Schema,
    create: Option<&dyn Fn() -> Vec<String>>,
    rules: &Rules,
    dry_run: bool,
) -> Result<Prepared, pg::Error> {
    if let Some(prepared) = find(settings, client, schema, rules)? {
        return Ok(prepared);
    }
    let name = table_name(schema).replace('"', "");
    let Some(on_create) = create else {
        return Err(
            pg::Error::found(Fault::Setup, format!("there is no table `{name}`")).with_hint("--create makes it")
        );
    };
    let dialect = Dialect { rules: rules.clone(), ..Dialect::default() };
    let statements: Vec<_> = std::iter::once(Statements::of(schema, 0, &dialect).create).chain(on_create()).collect();
    let failed = |error| pg::Error::of(format!("cannot make the table `{name}`"), &error).of_no_record();
    let mut transaction = settings.begin_as_role(client).map_err(failed)?;
    let made = statements.iter().try_for_each(|statement| transaction.batch_execute(statement)).map_err(failed);
    if let Err(error) = made {
        transaction.rollback().map_err(failed)?;
        // Another process may have made it just now.
        let there = matches!(error.sqlstate(), Some(DUPLICATE_TABLE | UNIQUE_VIOLATION));
        let found = if there { find(settings, client, schema, rules)? } else { None };
        return found.ok_or(error);
    }
    let Some(table) = Table::find(&mut transaction, schema.schema.as_deref(), &schema.table)? else {
        return Err(pg::Error::found(Fault::Setup, format!("the table `{name}` was made, and is not found")));
    };
    table.check(schema)?;
    let constraints = Constraints::of(&mut transaction, &table)?;
    let dialect = Dialect { row_triggers: constraints.row_triggers, ..dialect };
    if dry_run {
        return Ok(Prepared { before: statements, empty: false, tells_apart: true, table: None, constraints, dialect });
    }
    let id = Some(TableId::from(&table));
    transaction.commit().map_err(failed)?;
    info!("Made the table {name}");
    Ok(Prepared { before: Vec::new(), empty: true, tells_apart: true, table: id, constraints, dialect })
}

/// A table that is there, if the rows fit it.
fn find(
    settings: &Settings,
    client: &mut Client,
    schema: &Schema,
    rules: &Rules,
) -> Result<Option<Prepared>, pg::Error> {
    let begun = settings.begin(client);
    let mut transaction = begun.map_err(pg::Error::on(format!("cannot look up the table `{}`", schema.table)))?;
    let Some(table) = Table::find(&mut transaction, schema.schema.as_deref(), &schema.table)? else { return Ok(None) };
    table.check(schema)?;
    let (empty, tells_apart) = (table.is_empty(&mut transaction)?, table.tells_apart(schema));
    let constraints = Constraints::of(&mut transaction, &table)?;
    let dialect = Dialect {
        rules: rules.clone(),
        arbiter: table.arbiter(&schema.key).map(str::to_owned),
        row_triggers: constraints.row_triggers,
    };
    let table = Some(TableId::from(&table));
    Ok(Some(Prepared { before: Vec::new(), empty, tells_apart, table, constraints, dialect }))
}

/// The first connection: it finds wrong settings before anything is read.
pub(crate) fn connect(settings: &Settings) -> Result<Client, pg::Error> {
    settings.connect()
}
