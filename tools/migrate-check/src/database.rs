//! The target's end: what PostgreSQL says of itself and of the tables. What is to be made of it, `doctor` and `plan` say.
//! Whether it is PostgreSQL at all, `pg::server` finds out.
//!
//! Everything is asked within a transaction of its own, because a pooler may give each of them another session.

use std::time::Duration;

use cli::{Retry, Stop};
use fault::Fault;
use jiff::Timestamp;
use pg::catalogue::Table;
use pg::sequences::{Lag, Sequence};
use pg::{Client, Error, Settings};
use postgres::{Row, Transaction};
use profile::Schema;

use crate::args::Run;

/// Seconds in which the first connection is tried, as `pg-upsert` does.
const PATIENCE: u64 = 15;

/// Connects as a run would.
pub(crate) fn connect(run: &Run, stop: &Stop) -> Result<(Settings, Client), Error> {
    let settings = Settings::from_env()?;
    let retry = Retry::new("PostgreSQL", run.limits(), stop.clone()).at_most(PATIENCE);
    let client = retry.run(|| settings.connect())?;
    Ok((settings, client))
}

/// What the server says of itself.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "settings of a server are independent of each other")]
pub(crate) struct Server {
    /// `150004` is 15.4.
    pub(crate) version_number: i32,
    pub(crate) version: String,
    /// A standby.
    pub(crate) in_recovery: bool,
    pub(crate) read_only: bool,
    /// Connections that this role could still open, this one not counted.
    pub(crate) connections_left: i64,
    pub(crate) database: String,
    pub(crate) database_bytes: u64,
    /// Whether the role may make temporary tables.
    pub(crate) may_temp: bool,
    pub(crate) role: String,
    /// How far the server's clock is ahead of this machine's, in seconds.
    pub(crate) ahead: i64,
    pub(crate) max_wal_bytes: u64,
    pub(crate) wal_level: String,
    pub(crate) fsync: bool,
    pub(crate) synchronous_commit: String,
    pub(crate) standby_names: String,
    /// Zero is none, as for the other timeouts.
    pub(crate) statement_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) lock_timeout: Duration,
    /// Standbys that stream now.
    pub(crate) replicas: i64,
    /// Replication slots that nobody reads.
    pub(crate) idle_slots: Vec<String>,
}

const SERVER: &str = "
    select current_setting('server_version_num')::int, current_setting('server_version'),
           pg_catalog.pg_is_in_recovery(), current_setting('transaction_read_only')::bool,
           least(
               current_setting('max_connections')::int8 - current_setting('superuser_reserved_connections')::int8
                   - (select count(*) from pg_catalog.pg_stat_activity
                      where backend_type = 'client backend' and pid is distinct from $1::int4),
               (select nullif(rolconnlimit, -1) from pg_catalog.pg_roles where rolname = current_user)
                   - (select count(*) from pg_catalog.pg_stat_activity
                      where usename = current_user and pid is distinct from $1),
               (select nullif(datconnlimit, -1) from pg_catalog.pg_database where datname = current_database())
                   - (select count(*) from pg_catalog.pg_stat_activity
                      where datname = current_database() and pid is distinct from $1)),
           current_database()::text, pg_catalog.pg_database_size(current_database()),
           pg_catalog.has_database_privilege(current_database(), 'TEMP'), current_user::text,
           (extract(epoch from clock_timestamp()) * 1000)::int8,
           pg_catalog.pg_size_bytes(current_setting('max_wal_size')), current_setting('wal_level'),
           current_setting('fsync')::bool, current_setting('synchronous_commit'),
           current_setting('synchronous_standby_names'),
           (select setting::int8 from pg_catalog.pg_settings where name = 'statement_timeout'),
           (select setting::int8 from pg_catalog.pg_settings where name = 'idle_in_transaction_session_timeout'),
           (select setting::int8 from pg_catalog.pg_settings where name = 'lock_timeout'),
           (select count(*) from pg_catalog.pg_stat_replication),
           array(select slot_name::text from pg_catalog.pg_replication_slots where not active order by 1)";

impl Server {
    /// Asks; a session of the process `closing` ends soon and does not count.
    pub(crate) fn ask(settings: &Settings, client: &mut Client, closing: Option<i32>) -> Result<Self, Error> {
        let failed = || Error::on("cannot ask the server for its settings");
        let mut transaction = settings.begin(client).map_err(failed())?;
        let server = Self::of(&transaction.query_one(SERVER, &[&closing]).map_err(failed())?);
        transaction.commit().map_err(failed())?;
        Ok(server)
    }

    /// A row keeps its statement in the server's session, so that this one goes before the commit.
    fn of(row: &Row) -> Self {
        let bytes = |place: usize| u64::try_from(row.get::<_, i64>(place)).unwrap_or_default();
        let timeout = |place: usize| Duration::from_millis(bytes(place));
        let clock: i64 = row.get(9);
        Self {
            version_number: row.get(0),
            version: row.get(1),
            in_recovery: row.get(2),
            read_only: row.get(3),
            connections_left: row.get(4),
            database: row.get(5),
            database_bytes: bytes(6),
            may_temp: row.get(7),
            role: row.get(8),
            ahead: (clock - Timestamp::now().as_millisecond()) / 1000,
            max_wal_bytes: bytes(10),
            wal_level: row.get(11),
            fsync: row.get(12),
            synchronous_commit: row.get(13),
            standby_names: row.get(14),
            statement_timeout: timeout(15),
            idle_timeout: timeout(16),
            lock_timeout: timeout(17),
            replicas: row.get(18),
            idle_slots: row.get(19),
        }
    }
}

/// A table that rows are for.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// It is not there.
    Missing {
        /// Where it would be made; none if there is no such schema, or none is on the search path.
        schema: Option<String>,
        /// Whether the role may make it there.
        may_create: bool,
    },
    /// It is there.
    There(Box<There>),
}

/// What the catalogue says of a table.
#[derive(Clone, Debug)]
pub(crate) struct There {
    pub(crate) table: Table,
    pub(crate) empty: bool,
    /// As the server last counted them; none if it never did.
    pub(crate) rows: Option<u64>,
    /// With its indexes.
    pub(crate) bytes: u64,
    /// Privileges that the role lacks: on the table, or on each of the columns that are written.
    pub(crate) lacking: Vec<String>,
    pub(crate) unlogged: bool,
    /// Whether row security applies to the role.
    pub(crate) row_security: bool,
    /// Indexes besides that of the key.
    pub(crate) indexes: Vec<String>,
    pub(crate) triggers: Vec<String>,
    pub(crate) foreign_keys: Vec<String>,
    /// Those that fill columns which are written, each with its lag, if it may be read and has one.
    pub(crate) sequences: Vec<(Sequence, Option<Lag>)>,
}

const HOME: &str = "
    select n.nspname::text, pg_catalog.has_schema_privilege(n.oid, 'CREATE')
    from pg_catalog.pg_namespace n where n.nspname = coalesce($1, pg_catalog.current_schema()::text)";

const TABLE: &str = "
    select case when c.reltuples < 0 then null else c.reltuples::int8 end, pg_catalog.pg_total_relation_size(c.oid),
           c.relpersistence = 'u', pg_catalog.row_security_active(c.oid),
           array(select p from unnest($3::text[]) p where not pg_catalog.has_table_privilege(c.oid, p) and (
                     p = 'DELETE' or not (select bool_and(pg_catalog.has_column_privilege(c.oid, a.attname, p))
                                          from pg_catalog.pg_attribute a
                                          where a.attrelid = c.oid and a.attname = any ($2))))
               || array(select 'USAGE on the schema'::text
                        where not pg_catalog.has_schema_privilege(c.relnamespace, 'USAGE')),
           array(select r.relname::text from pg_catalog.pg_index i join pg_catalog.pg_class r on r.oid = i.indexrelid
                 where i.indrelid = c.oid and not coalesce((
                     select i.indisunique and count(*) = i.indnkeyatts and bool_and(a.attname = any ($4))
                            and count(*) = cardinality($4)
                     from unnest(i.indkey[0:i.indnkeyatts - 1]) k
                     join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum = k), false)
                 order by 1),
           array(select t.tgname::text from pg_catalog.pg_trigger t
                 where t.tgrelid = c.oid and not t.tgisinternal and t.tgenabled <> 'D' order by 1),
           array(select f.conname::text from pg_catalog.pg_constraint f
                 where f.conrelid = c.oid and f.contype = 'f' order by 1)
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = $1 and c.relname = $5 and c.relkind in ('r', 'p')";

impl Target {
    /// Looks the table of a schema up; `deletes` says whether rows are deleted too.
    pub(crate) fn find(
        settings: &Settings,
        client: &mut Client,
        schema: &Schema,
        deletes: bool,
    ) -> Result<Self, Error> {
        let failed = || Error::on(format!("cannot look at the table `{}`", schema.name()));
        let mut transaction = settings.begin(client).map_err(failed())?;
        let target = Self::look(&mut transaction, schema, deletes)?;
        transaction.commit().map_err(failed())?;
        Ok(target)
    }

    fn look(transaction: &mut Transaction<'_>, schema: &Schema, deletes: bool) -> Result<Self, Error> {
        let Some(table) = Table::find(transaction, schema.schema.as_deref(), &schema.table)? else {
            let failed = Error::on("cannot look up the schema of a new table");
            let home = transaction.query_opt(HOME, &[&schema.schema]).map_err(failed)?;
            let may_create = home.as_ref().is_some_and(|row| row.get(1));
            return Ok(Self::Missing { schema: home.map(|row| row.get(0)), may_create });
        };
        let columns: Vec<&str> = schema.columns.iter().map(|column| column.name.as_str()).collect();
        let mut wanted = vec!["INSERT", "SELECT", "UPDATE"];
        wanted.extend(deletes.then_some("DELETE"));
        let failed = Error::on(format!("cannot look at the table `{}`", table.name));
        let row = transaction
            .query_one(TABLE, &[&table.schema, &columns, &wanted, &schema.key, &table.name])
            .map_err(failed)?;
        let lacking: Vec<String> = row.get(4);
        let empty = lacking.is_empty() && table.is_empty(transaction)?;
        let mut sequences = Vec::new();
        for sequence in Sequence::owned(transaction, &table, &columns)? {
            let lag = if sequence.may_read && lacking.is_empty() { sequence.lag(transaction)? } else { None };
            sequences.push((sequence, lag));
        }
        Ok(Self::There(Box::new(There {
            empty,
            rows: row.get::<_, Option<i64>>(0).and_then(|rows| u64::try_from(rows).ok()),
            bytes: u64::try_from(row.get::<_, i64>(1)).unwrap_or_default(),
            unlogged: row.get(2),
            row_security: row.get(3),
            lacking,
            indexes: row.get(5),
            triggers: row.get(6),
            foreign_keys: row.get(7),
            sequences,
            table,
        })))
    }
}

/// The error of a table that is not there.
pub(crate) fn missing(schema: &Schema) -> Error {
    Error::found(Fault::Setup, format!("there is no table `{}`", schema.name())).with_hint("--create makes it")
}
