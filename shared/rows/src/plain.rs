//! Rows that do not say what they are: the table that the command line names says it.

use std::collections::BTreeMap;

use fault::{Failure, Fault, Problem};
use pg::catalogue::{Table, TableColumn};
use postgres::Transaction;
use profile::schema::SCHEMA_VERSION;
use profile::{Column, Policy, Schema};

/// `schema.table` or `table`, as on the command line.
pub fn parse_table(text: &str) -> (Option<String>, String) {
    match text.split_once('.') {
        Some((schema, table)) => (Some(schema.to_owned()), table.to_owned()),
        None => (None, text.to_owned()),
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
        let key = key.map(<[String]>::to_vec).or_else(|| table.primary_key.clone()).ok_or_else(|| {
            pg::Error::found(Fault::Setup, format!("the table `{name}` has no primary key"))
                .with_hint("name the columns that identify a row with --key")
        })?;
        let columns = columns.map(<[String]>::to_vec);
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

    /// What rows are whose first one has these names.
    pub fn schema(&self, names: &[String]) -> Result<Schema, Failure> {
        let mut names = self
            .named()
            .unwrap_or_else(|| names.iter().filter(|name| self.table.column(name).is_some()).cloned().collect());
        names.extend(self.key.iter().filter(|name| !names.contains(name)).cloned().collect::<Vec<_>>());
        let columns = names.into_iter().map(|name| {
            let table = &self.table.name;
            let column = self.table.column(&name);
            let column = column.ok_or_else(|| {
                Problem::new(Fault::Setup, format!("the table `{table}` has no column `{name}`"))
                    .with_hint("add it to the table, or leave it out with --columns")
            })?;
            let ty = column.base.parse().map_err(|_| {
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
            overriding_system_value: self.overriding_system_value,
        })
    }
}

/// Rows came without a word of what they are.
pub fn unknown_rows() -> Problem {
    Problem::new(Fault::Setup, "the rows do not say which table they belong to")
        .with_hint("name it: --table TABLE --key COLUMN")
}
