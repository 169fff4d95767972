//! What a table asks of its rows besides their types: NOT NULL, checks, unique indexes, foreign keys, and triggers that may
//! swallow a row. Columns and the key are in `catalogue`; what is done about rows that break a rule, `isolate` says.

use postgres::GenericClient;

use crate::Error;
use crate::catalogue::Table;

/// The rules of one table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Constraints {
    /// Columns that must not be null.
    pub not_null: Vec<String>,
    /// Conditions on one row.
    pub checks: Vec<Check>,
    /// Unique indexes over whole columns, without a condition, in which NULLs are distinct; the key's index too.
    pub unique: Vec<Unique>,
    /// References to other tables or to itself.
    pub foreign_keys: Vec<ForeignKey>,
    /// References of other tables to this one: the constraint's name and the table.
    pub referenced_by: Vec<(String, TableId)>,
    /// Names of constraints that can be checked at COMMIT.
    pub deferrable: Vec<String>,
    /// Whether a trigger runs before each row, in the table or a partition. It may change the row or swallow it.
    pub row_triggers: bool,
}

/// A table by its schema and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableId {
    /// The schema.
    pub schema: String,
    /// The name in it.
    pub name: String,
}

impl From<&Table> for TableId {
    fn from(table: &Table) -> Self {
        Self { schema: table.schema.clone(), name: table.name.clone() }
    }
}

/// A CHECK constraint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Its condition, with the columns' names unqualified, as `pg_get_expr` prints it.
    pub condition: String,
    /// The columns that it mentions.
    pub columns: Vec<String>,
}

/// A unique index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unique {
    /// Its columns.
    pub columns: Vec<String>,
    /// Whether it is that of a constraint which is checked after the statement or at COMMIT.
    pub deferrable: bool,
}

/// A foreign key. One that is `MATCH FULL` is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignKey {
    /// The constraint's name.
    pub name: String,
    /// The referring columns.
    pub columns: Vec<String>,
    /// The table referred to.
    pub table: TableId,
    /// Its columns, in the same order.
    pub referenced: Vec<String>,
    /// Whether the table refers to itself.
    pub to_itself: bool,
}

const NOT_NULL: &str = "
    select a.attname::text from pg_catalog.pg_attribute a
    where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped and a.attnotnull";

const CHECKS: &str = "
    select pg_catalog.pg_get_expr(c.conbin, c.conrelid), array(
        select a.attname::text from pg_catalog.pg_attribute a where a.attrelid = c.conrelid and a.attnum = any (c.conkey))
    from pg_catalog.pg_constraint c where c.conrelid = $1 and c.contype = 'c'";

// `indnullsnotdistinct` is new in 15.
const UNIQUE: &str = "
    select not i.indimmediate, array(
        select a.attname::text from unnest(i.indkey[0:i.indnkeyatts - 1]) with ordinality k(attnum, n)
        join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum order by k.n)
    from pg_catalog.pg_index i
    where i.indrelid = $1 and i.indisunique and i.indisvalid and i.indpred is null and i.indexprs is null
      and coalesce(to_jsonb(i) ->> 'indnullsnotdistinct', 'false') = 'false'";

// A key that refers to a partitioned table has a further row for each partition.
const FOREIGN_KEYS: &str = "
    select c.conname::text, n.nspname::text, r.relname::text, c.confrelid = c.conrelid,
        array(select a.attname::text from unnest(c.conkey) with ordinality k(attnum, n)
              join pg_catalog.pg_attribute a on a.attrelid = c.conrelid and a.attnum = k.attnum order by k.n),
        array(select a.attname::text from unnest(c.confkey) with ordinality k(attnum, n)
              join pg_catalog.pg_attribute a on a.attrelid = c.confrelid and a.attnum = k.attnum order by k.n)
    from pg_catalog.pg_constraint c
    join pg_catalog.pg_class r on r.oid = c.confrelid join pg_catalog.pg_namespace n on n.oid = r.relnamespace
    where c.conrelid = $1 and c.contype = 'f' and c.confmatchtype = 's'
      and not exists (select from pg_catalog.pg_constraint p where p.oid = c.conparentid and p.conrelid = c.conrelid)";

const REFERENCED_BY: &str = "
    select c.conname::text, n.nspname::text, r.relname::text
    from pg_catalog.pg_constraint c
    join pg_catalog.pg_class r on r.oid = c.conrelid join pg_catalog.pg_namespace n on n.oid = r.relnamespace
    where c.confrelid = $1 and c.contype = 'f'";

const DEFERRABLE: &str =
    "select c.conname::text from pg_catalog.pg_constraint c where c.conrelid = $1 and c.condeferrable";

// The bits of `tgtype`: 1 for each row, 2 before it.
const ROW_TRIGGERS: &str = "
    select exists (
        select from pg_catalog.pg_trigger t
        where t.tgrelid in (select $1::oid union select relid::oid from pg_catalog.pg_partition_tree($1::oid::regclass))
          and not t.tgisinternal and t.tgenabled <> 'D' and t.tgtype & 3 = 3)";

impl Constraints {
    /// Reads the rules of a table, in a transaction.
    ///
    /// # Errors
    /// The catalogue cannot be read.
    pub fn of(client: &mut impl GenericClient, table: &Table) -> Result<Self, Error> {
        let failed = || Error::on(format!("cannot look up the constraints of `{}`", table.name));
        let oid = "select c.oid from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
                   where n.nspname = $1 and c.relname = $2";
        let oid: u32 = client.query_one(oid, &[&table.schema, &table.name]).map_err(failed())?.get(0);
        let mut query = |sql| client.query(sql, &[&oid]).map_err(failed());
        let foreign_key = |row: &postgres::Row| ForeignKey {
            name: row.get(0),
            table: TableId { schema: row.get(1), name: row.get(2) },
            to_itself: row.get(3),
            columns: row.get(4),
            referenced: row.get(5),
        };
        let reference = |row: &postgres::Row| (row.get(0), TableId { schema: row.get(1), name: row.get(2) });
        let check = |row: &postgres::Row| Check { condition: row.get(0), columns: row.get(1) };
        let unique = |row: &postgres::Row| Unique { deferrable: row.get(0), columns: row.get(1) };
        Ok(Self {
            not_null: query(NOT_NULL)?.iter().map(|row| row.get(0)).collect(),
            checks: query(CHECKS)?.iter().map(check).collect(),
            unique: query(UNIQUE)?.iter().map(unique).collect(),
            foreign_keys: query(FOREIGN_KEYS)?.iter().map(foreign_key).collect(),
            referenced_by: query(REFERENCED_BY)?.iter().map(reference).collect(),
            deferrable: query(DEFERRABLE)?.iter().map(|row| row.get(0)).collect(),
            row_triggers: query(ROW_TRIGGERS)?.iter().any(|row| row.get(0)),
        })
    }

    /// Names of the constraints that a row may break now and keep later in the same run, which loads these tables: keys that
    /// refer to one of them, and what can be checked at COMMIT.
    pub fn may_hold_later(&self, loaded: &[TableId]) -> Vec<String> {
        let of_run = self.foreign_keys.iter().filter(|key| key.to_itself || loaded.contains(&key.table));
        let referring = self.referenced_by.iter().filter(|(_, table)| loaded.contains(table));
        let names = of_run.map(|key| &key.name).chain(referring.map(|(name, _)| name)).chain(&self.deferrable);
        names.cloned().collect()
    }
}
