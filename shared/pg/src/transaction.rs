//! How a transaction begins. A pooler may hand each transaction to another session of the server, and the session to
//! another client afterwards. So a transaction brings every setting that it depends on, and leaves none behind.
//!
//! Rules for callers: outside a transaction only simple queries; inside, what prepares a statement (`query`, `copy_in`)
//! must be done before the commit, so that the driver closes the statement in the same transaction. A type that is not built in
//! must not be a parameter or a result: the driver would keep a statement to look it up.

use postgres::{Client, Transaction};

use crate::{Settings, quote_text};

/// Settings on which the meaning of values depends, whatever the role or the database has.
///
/// Times without an offset are UTC, and an ambiguous date is an error instead of a guess (`ISO` alone keeps the role's field order).
const VALUES: [(&str, &str); 4] =
    [("timezone", "UTC"), ("datestyle", "ISO, YMD"), ("intervalstyle", "postgres"), ("array_nulls", "on")];

/// Settings that only concern speed and notices. Plans are used once, so compiling them does not pay.
const OURS: [(&str, &str); 2] = [("client_min_messages", "warning"), ("jit", "off")];

impl Settings {
    /// Begins a transaction that reads or writes values of rows.
    ///
    /// # Errors
    /// The connection is broken, or the server does not know a setting that the user gave.
    pub fn begin<'c>(&self, client: &'c mut Client) -> Result<Transaction<'c>, postgres::Error> {
        let mut transaction = self.begin_as_role(client)?;
        transaction.batch_execute(&for_values())?;
        Ok(transaction)
    }

    /// Begins a transaction that runs the user's own SQL: with the settings of the role, of the database, and those that
    /// the user gave (`options`, the search path).
    ///
    /// # Errors
    /// The connection is broken, or the server does not know a setting that the user gave.
    pub fn begin_as_role<'c>(&self, client: &'c mut Client) -> Result<Transaction<'c>, postgres::Error> {
        let mut transaction = client.transaction()?;
        let own = set_local(self.session().iter().map(|(name, value)| (name.as_str(), value.as_str())));
        if !own.is_empty() {
            transaction.batch_execute(&own)?;
        }
        Ok(transaction)
    }
}

/// Statements that switch a transaction which was begun with the role's settings to those that values need.
pub fn for_values() -> String {
    set_local(VALUES.into_iter().chain(OURS))
}

/// Statements that set these for the rest of the transaction.
pub(crate) fn set_local<'a>(settings: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let each = settings.map(|(name, value)| {
        format!("select pg_catalog.set_config({}, {}, true)", quote_text(name), quote_text(value))
    });
    each.collect::<Vec<_>>().join("; ")
}
