//! Whether a profile is right: by itself, which reading it has shown, and for the tables of a database.

use std::io::Write;

use fault::{Classify as _, Exit, Failure, Fault, PipeError, Problem, explain};
use pg::catalogue::Table;
use profile::{Profile, Schema};

/// Says what the profile is, and what in the database is in the way of its rows.
///
/// # Errors
/// Something is in the way, or the database cannot be reached.
pub(crate) fn check(profile: &Profile, mut output: impl Write) -> Result<Exit, Failure> {
    let mut say = |line: String| writeln!(output, "{line}").map_err(PipeError::writing);
    for schema in profile.schemas() {
        let (columns, key) = (schema.columns.len(), schema.key.join(", "));
        say(format!("table `{}`: {columns} columns, key {key}", schema.name()))?;
    }
    if !pg::Settings::are_given() {
        say(format!("the profile `{}` is right; no database is named, so none was looked at", profile.name))?;
        return Ok(Exit::Done);
    }
    let mut problems = Vec::new();
    let settings = pg::Settings::from_env()?;
    let mut client = settings.connect()?;
    let begun = settings.begin(&mut client);
    let mut transaction = begun.map_err(pg::Error::on("cannot look at the tables"))?;
    for schema in profile.schemas() {
        match Table::find(&mut transaction, schema.schema.as_deref(), &schema.table)? {
            Some(table) => problems.extend(table.problems(schema)),
            None => say(format!("there is no table `{}` yet; `pg-upsert --create` makes it", Schema::name(schema)))?,
        }
    }
    if problems.is_empty() {
        say(format!("the profile `{}` is right, for this database too", profile.name))?;
        return Ok(Exit::Done);
    }
    let told = problems.iter().map(|problem| {
        let hint = problem.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
        format!("  {}{hint}", explain(problem))
    });
    let told = told.collect::<Vec<_>>().join("\n");
    let message = format!("the database does not take the rows of the profile `{}`:\n{told}", profile.name);
    Err(Problem::new(Fault::Setup, message).with_hint("mend the tables, or the profile").into())
}
