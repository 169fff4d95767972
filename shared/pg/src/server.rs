//! What answers at the address of the settings: the product, and whether a pooler stands before it. Says whether a load works
//! there. What a particular PostgreSQL allows (roles, limits, settings) is not looked at here.
//!
//! Only simple queries are used, so that every product and every pooler answers them. How the answers are read is pure
//! and is tested with recorded ones.

use std::collections::BTreeSet;
use std::fmt;

use ::fault::Fault;
use postgres::SimpleQueryMessage;

use crate::{Client, Error, Settings};

/// What answers at the address of the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The server's product.
    pub product: Product,
    /// For how long a connection keeps a session of the server.
    pub pooling: Pooling,
    /// The process of the second session that was opened to find that out. It ends soon, and counts as a connection until then.
    pub closing: Option<i32>,
}

/// A server that speaks PostgreSQL's protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Product {
    /// PostgreSQL itself.
    PostgreSql,
    /// Amazon RDS for PostgreSQL.
    Rds,
    /// Amazon Aurora PostgreSQL.
    Aurora,
    /// Amazon Aurora DSQL.
    AuroraDsql,
    /// CockroachDB.
    CockroachDb,
    /// YugabyteDB.
    YugabyteDb,
    /// Another one, with the beginning of what it says about itself.
    Other(String),
}

/// For how long a connection keeps a session of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// As long as it lives: there is no pooler, or one in session mode.
    Session,
    /// For a transaction.
    Transaction,
    /// For a statement.
    Statement,
}

/// What a server says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Answers {
    /// `select version()`.
    version: String,
    /// It has the function `sys.dsql_major_version`.
    has_dsql_version: bool,
    /// It has a function `aurora_version`.
    has_aurora_version: bool,
    /// It has the role `rds_superuser`.
    has_rds_superuser: bool,
}

const VERSION: &str = "select version()";

/// Asked of servers whose version begins with `PostgreSQL`. Aurora DSQL has all of these catalogues:
/// <https://docs.aws.amazon.com/aurora-dsql/latest/userguide/working-with-systems-tables.html>.
const MARKS: &str = "
    select exists (select 1 from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
                   where n.nspname = 'sys' and p.proname = 'dsql_major_version'),
           exists (select 1 from pg_catalog.pg_proc where proname = 'aurora_version'),
           exists (select 1 from pg_catalog.pg_roles where rolname = 'rds_superuser')";

const PID: &str = "select pg_catalog.pg_backend_pid()";

/// Transactions of each of the two connections that look for a pooler.
const TURNS: usize = 4;

/// What is kept of the version of an unknown product.
const LONGEST: usize = 40;

impl Endpoint {
    /// Asks the server at the other end of `client`. If a load could work there, a second connection is opened for a moment.
    ///
    /// # Errors
    /// The server does not answer.
    pub fn find(settings: &Settings, client: &mut Client) -> Result<Self, Error> {
        let failed = || Error::on("cannot ask the server what it is");
        let mut answers = Answers { version: text(&ask(client, VERSION).map_err(failed())?, 0), ..Answers::default() };
        if answers.is_postgresql() {
            let marks = ask(client, MARKS).map_err(failed())?;
            let mark = |place| text(&marks, place) == "t";
            answers.has_dsql_version = mark(0);
            answers.has_aurora_version = mark(1);
            answers.has_rds_superuser = mark(2);
        }
        let mut endpoint = Self { product: answers.product(), pooling: Pooling::Session, closing: None };
        if endpoint.check().is_err() {
            return Ok(endpoint);
        }
        let Some(first) = processes(client)? else {
            // Or the connection broke just then: the driver may lose the pooler's last words with it.
            let mut again = settings.connect()?;
            ask(&mut again, VERSION).map_err(failed())?;
            if processes(&mut again)?.is_some() {
                return Err(Error::found(Fault::Transient, "the connection to the server was lost"));
            }
            endpoint.pooling = Pooling::Statement;
            return Ok(endpoint);
        };
        // One connection after the other: a pool may have only one session to give. Whether there is room for a second
        // connection is another question.
        let second = settings.connect().and_then(|mut second| processes(&mut second));
        let second = second.ok().flatten().unwrap_or_default();
        endpoint.pooling = Pooling::of(&first, &second);
        endpoint.closing = second.first().copied().filter(|_| endpoint.pooling == Pooling::Session);
        Ok(endpoint)
    }

    /// Whether a load works there.
    ///
    /// # Errors
    /// It does not, and why.
    pub fn check(&self) -> Result<(), Error> {
        let reason = match (&self.product, self.pooling) {
            // https://github.com/cockroachdb/cockroach/issues/46556. Nobody has tried a version that has it.
            (Product::CockroachDb, _) => "it has no temporary tables that a commit drops",
            // https://github.com/yugabyte/yugabyte-db/issues/7926 and, with transactional DDL, 27362.
            (Product::YugabyteDb, _) => "it cannot commit a transaction that has a temporary table dropped at its end",
            // https://docs.aws.amazon.com/aurora-dsql/latest/userguide/working-with-postgresql-compatibility-unsupported-features.html
            (Product::AuroraDsql, _) => "it has no temporary tables and no savepoints",
            (_, Pooling::Statement) => "it refuses transactions",
            (_, Pooling::Session | Pooling::Transaction) => return Ok(()),
        };
        let hint = if self.pooling == Pooling::Statement {
            "use the server's direct port, or a pooler in transaction or session mode"
        } else {
            "load into PostgreSQL, Amazon RDS or Aurora PostgreSQL"
        };
        Err(Error::found(Fault::Setup, format!("{self}: not supported, because {reason}")).with_hint(hint))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.product {
            Product::PostgreSql => f.write_str("PostgreSQL"),
            Product::Rds => f.write_str("Amazon RDS for PostgreSQL"),
            Product::Aurora => f.write_str("Amazon Aurora PostgreSQL"),
            Product::AuroraDsql => f.write_str("Amazon Aurora DSQL"),
            Product::CockroachDb => f.write_str("CockroachDB"),
            Product::YugabyteDb => f.write_str("YugabyteDB"),
            Product::Other(version) => write!(f, "`{version}`"),
        }?;
        match self.pooling {
            Pooling::Session => Ok(()),
            Pooling::Transaction => f.write_str(" behind a pooler in transaction mode"),
            Pooling::Statement => f.write_str(" behind a pooler in statement mode"),
        }
    }
}

impl Answers {
    /// Whether it has PostgreSQL's own code, so that its catalogue can be asked.
    fn is_postgresql(&self) -> bool {
        self.version.starts_with("PostgreSQL ") && !self.is_yugabyte()
    }

    /// `PostgreSQL 11.2-YB-2.6.1.0-b0 on x86_64-pc-linux-gnu, ...`
    fn is_yugabyte(&self) -> bool {
        self.version.contains("-YB-")
    }

    fn product(&self) -> Product {
        if self.version.starts_with("CockroachDB") {
            Product::CockroachDb
        } else if self.is_yugabyte() {
            Product::YugabyteDb
        } else if !self.is_postgresql() {
            Product::Other(self.version.chars().take(LONGEST).collect())
        } else if self.has_dsql_version {
            Product::AuroraDsql
        } else if self.has_aurora_version {
            Product::Aurora
        } else if self.has_rds_superuser {
            Product::Rds
        } else {
            Product::PostgreSql
        }
    }
}

impl Pooling {
    /// What the server's processes of two connections mean that were open at the same time. Of the second there may be none.
    ///
    /// A pool that gives the session that came back last gives both connections the same one. A pool that takes turns gives
    /// one connection several.
    fn of(first: &[i32], second: &[i32]) -> Self {
        let (first, second): (BTreeSet<_>, BTreeSet<_>) = (first.iter().collect(), second.iter().collect());
        let own = first.len() == 1 && second.len() <= 1 && first.is_disjoint(&second);
        if own { Self::Session } else { Self::Transaction }
    }
}

/// The server's processes of some transactions, one after the other; none if the connection ends when one begins.
fn processes(client: &mut Client) -> Result<Option<Vec<i32>>, Error> {
    let failed = || Error::on("cannot run a transaction");
    let mut pids = Vec::new();
    for _ in 0..TURNS {
        let mut transaction = match client.transaction() {
            Err(error) if ends_connection(&error) => return Ok(None),
            begun => begun.map_err(failed())?,
        };
        let answer = row(transaction.simple_query(PID).map_err(failed())?);
        transaction.commit().map_err(failed())?;
        pids.push(text(&answer, 0).parse().unwrap_or_default());
    }
    Ok(Some(pids))
}

/// pgbouncer in statement mode answers `begin` with 08P01 `transaction blocks not allowed in statement pooling mode`.
fn ends_connection(error: &postgres::Error) -> bool {
    error.code().is_none_or(|code| code.code() == "08P01")
}

fn ask(client: &mut Client, query: &str) -> Result<Vec<String>, postgres::Error> {
    client.simple_query(query).map(row)
}

/// The columns of the first row.
fn row(messages: Vec<SimpleQueryMessage>) -> Vec<String> {
    let rows = messages.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let columns = |row: postgres::SimpleQueryRow| {
        (0..row.len()).map(|place| row.get(place).unwrap_or_default().to_owned()).collect()
    };
    rows.map(columns).next().unwrap_or_default()
}

fn text(row: &[String], place: usize) -> String {
    row.get(place).cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What servers answer to [`VERSION`] and [`MARKS`], as their users have published it.
    #[test]
    fn each_product_is_told_by_what_it_says_of_itself() {
        const X86: &str = "x86_64-pc-linux-gnu";
        let version = |version: &str| Answers { version: version.to_owned(), ..Answers::default() };
        let postgres = version(&format!("PostgreSQL 15.14 (Debian 15.14-0+deb12u1) on {X86}, compiled by gcc, 64-bit"));
        for (answers, expected) in [
            (postgres.clone(), Product::PostgreSql),
            (Answers { has_rds_superuser: true, ..postgres.clone() }, Product::Rds),
            // Aurora has RDS's role too.
            (Answers { has_rds_superuser: true, has_aurora_version: true, ..postgres.clone() }, Product::Aurora),
            (Answers { has_dsql_version: true, ..version("PostgreSQL 16") }, Product::AuroraDsql),
            (version(&format!("CockroachDB CCL v24.2.4 ({X86}, built 2024/10/14, go1.22.5)")), Product::CockroachDb),
            (version("CockroachDB v25.2.10 (x86_64)"), Product::CockroachDb),
            (version(&format!("PostgreSQL 11.2-YB-2.6.1.0-b0 on {X86}, compiled by gcc")), Product::YugabyteDb),
            (version(&format!("PostgreSQL 15.12-YB-2.25.2.0-b0 on {X86}")), Product::YugabyteDb),
            (
                version("KaiwuDB 3.2.2 (x86_64-linux-gnu)"),
                Product::Other("KaiwuDB 3.2.2 (x86_64-linux-gnu)".to_owned()),
            ),
        ] {
            assert_eq!(answers.product(), expected, "{answers:?}");
        }
    }

    #[test]
    fn a_pooler_is_told_by_the_processes_of_two_connections() {
        for (first, second, expected) in [
            (&[1, 1, 1, 1][..], &[2, 2, 2, 2][..], Pooling::Session),
            // The session that came back last: a cold pool, or one of a single session.
            (&[1, 1, 1, 1], &[1, 1, 1, 1], Pooling::Transaction),
            // In turns, over two warm sessions, and over eight.
            (&[1, 2, 1, 2], &[1, 2, 1, 2], Pooling::Transaction),
            (&[1, 2, 3, 4], &[5, 6, 7, 8], Pooling::Transaction),
            // Another client took the session in between.
            (&[1, 1, 1, 1], &[2, 2, 1, 1], Pooling::Transaction),
            (&[1, 1, 2, 2], &[3, 3, 3, 3], Pooling::Transaction),
            // There was no room for a second connection.
            (&[1, 1, 1, 1], &[], Pooling::Session),
            (&[1, 2, 1, 1], &[], Pooling::Transaction),
        ] {
            assert_eq!(Pooling::of(first, second), expected, "{first:?} {second:?}");
        }
    }

    #[test]
    fn what_cannot_work_says_why_and_what_to_do() {
        for (product, pooling, expected) in [
            (Product::PostgreSql, Pooling::Session, None),
            (Product::PostgreSql, Pooling::Transaction, None),
            (Product::Rds, Pooling::Session, None),
            (Product::Aurora, Pooling::Transaction, None),
            (Product::Other("KaiwuDB".to_owned()), Pooling::Session, None),
            (
                Product::PostgreSql,
                Pooling::Statement,
                Some("PostgreSQL behind a pooler in statement mode: not supported, because it refuses transactions"),
            ),
            (
                Product::CockroachDb,
                Pooling::Session,
                Some("CockroachDB: not supported, because it has no temporary tables that a commit drops"),
            ),
            (
                Product::YugabyteDb,
                Pooling::Session,
                Some(
                    "YugabyteDB: not supported, because it cannot commit a transaction that has a temporary table \
                     dropped at its end",
                ),
            ),
            (
                Product::AuroraDsql,
                Pooling::Session,
                Some("Amazon Aurora DSQL: not supported, because it has no temporary tables and no savepoints"),
            ),
        ] {
            let problem = Endpoint { product, pooling, closing: None }.check().err();
            assert_eq!(problem.as_ref().map(ToString::to_string).as_deref(), expected);
            assert!(problem.is_none_or(|problem| ::fault::Classify::hint(&problem).is_some()));
        }
    }
}
