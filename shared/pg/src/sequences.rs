//! Sequences that fill columns of a table (`serial`, `generated ... as identity`). A load writes values of its own and leaves
//! the sequence where it was, so that the application's next insert may get a value that is taken. Here: which sequences a table
//! owns, whether one lags behind, and how it is advanced. When that happens is the program's matter.

use postgres::Transaction;

use crate::catalogue::Table;
use crate::{Error, quote_name};

/// A sequence that a column owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// Its name with its schema, as SQL.
    pub name: String,
    /// The table and the column that it fills, as `people.id`.
    pub fills: String,
    /// Whether the role may read where it stands.
    pub may_read: bool,
    /// Whether the role may advance it.
    pub may_advance: bool,
    /// The table and the column as SQL.
    table: String,
    column: String,
    increment: i64,
    range: [i64; 2],
}

/// How far a sequence is behind its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lag {
    /// The value that it gives next.
    pub next: i64,
    /// The value that the column has reached: the greatest, or the least if the sequence descends.
    pub reached: i64,
    /// The first value of the sequence beyond that; none if it ends before.
    pub free: Option<i64>,
}

/// Numbers only: what a sequence fills otherwise (a text with a prefix) is not compared with it.
const OWNED: &str = "
    select n.nspname::text, s.relname::text, a.attname::text, q.seqincrement, q.seqmin, q.seqmax,
           pg_catalog.has_sequence_privilege(s.oid, 'SELECT') and pg_catalog.has_schema_privilege(n.oid, 'USAGE'),
           pg_catalog.has_sequence_privilege(s.oid, 'UPDATE')
    from pg_catalog.pg_depend d
    join pg_catalog.pg_class s on s.oid = d.objid and s.relkind = 'S'
    join pg_catalog.pg_namespace n on n.oid = s.relnamespace
    join pg_catalog.pg_sequence q on q.seqrelid = s.oid
    join pg_catalog.pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
    join pg_catalog.pg_type t on t.oid = a.atttypid and t.typname in ('int2', 'int4', 'int8', 'numeric')
    where d.classid = 'pg_catalog.pg_class'::regclass and d.refclassid = 'pg_catalog.pg_class'::regclass
      and d.deptype in ('a', 'i') and d.refobjid = $1::text::regclass and a.attname = any ($2)
    order by a.attnum, s.oid";

impl Sequence {
    /// The sequences that these columns of a table own.
    ///
    /// # Errors
    /// The catalogue cannot be read.
    pub fn owned(transaction: &mut Transaction<'_>, table: &Table, columns: &[&str]) -> Result<Vec<Self>, Error> {
        let sql = format!("{}.{}", quote_name(&table.schema), quote_name(&table.name));
        let failed = Error::on(format!("cannot look up the sequences of the table `{}`", table.name));
        let found = transaction.query(OWNED, &[&sql, &columns]).map_err(failed)?;
        let sequence = |row: &postgres::Row| {
            let [schema, name, column] = [0, 1, 2].map(|place| row.get::<_, String>(place));
            Self {
                name: format!("{}.{}", quote_name(&schema), quote_name(&name)),
                fills: format!("{}.{column}", table.name),
                may_read: row.get(6),
                may_advance: row.get(7),
                table: sql.clone(),
                column: quote_name(&column),
                increment: row.get(3),
                range: [row.get(4), row.get(5)],
            }
        };
        Ok(found.iter().map(sequence).collect())
    }

    /// How far it is behind; nothing if its next value is free. The role needs SELECT on it and on the table.
    ///
    /// # Errors
    /// The server refuses it.
    pub fn lag(&self, transaction: &mut Transaction<'_>) -> Result<Option<Lag>, Error> {
        let Self { name, table, column, increment, range: [lower, upper], .. } = self;
        let reached = if *increment > 0 { "max" } else { "min" };
        // The sequence never gives what is outside its range, so that such values do not count.
        let query = format!(
            "select s.last_value, s.is_called, (
                 select trunc({reached}(t.{column})::numeric)::int8 from {table} t
                 where t.{column} between '{lower}'::int8 and '{upper}'::int8)
             from {name} s"
        );
        let failed = Error::on(format!("cannot look where the sequence {name} stands"));
        let row = transaction.query_one(&query, &[]).map_err(failed)?;
        let (last, is_called): (i64, bool) = (row.get(0), row.get(1));
        Ok(row.get::<_, Option<i64>>(2).and_then(|reached| self.behind(last, is_called, reached)))
    }

    fn behind(&self, last: i64, is_called: bool, reached: i64) -> Option<Lag> {
        let step = i128::from(self.increment);
        let next = i128::from(last) + if is_called { step } else { 0 };
        let ahead = (i128::from(reached) - next) * step.signum();
        if ahead < 0 {
            return None;
        }
        // Whole steps: sequences of several servers may share a range by turns.
        let free = next + (ahead / step.abs() + 1) * step;
        let [lower, upper] = self.range;
        let free = i64::try_from(free).ok().filter(|free| (lower..=upper).contains(free));
        // A sequence at its end gives nothing.
        Some(Lag { next: i64::try_from(next).ok()?, reached, free })
    }

    /// Lets it give `free` next, unless it is there already or beyond. Doing it again changes nothing.
    ///
    /// # Errors
    /// The server refuses it.
    pub fn advance(&self, transaction: &mut Transaction<'_>, free: i64) -> Result<(), Error> {
        let Self { name, increment, .. } = self;
        let before = if *increment > 0 { "<" } else { ">" };
        // Looked at again here, because another program may have advanced it meanwhile.
        let query = format!(
            "select pg_catalog.setval($1::text::regclass, $2, false) from {name} s
             where s.last_value + case when s.is_called then {increment}::numeric else 0 end {before} $2::int8"
        );
        let failed = Error::on(format!("cannot advance the sequence {name}"));
        transaction.query(&query, &[name, &free]).map_err(failed)?;
        Ok(())
    }

    /// The statement that lets the role use it for that.
    pub fn grant(&self) -> String {
        format!("grant select, update on sequence {} to the role", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UP: [i64; 2] = [1, i64::MAX];
    const DOWN: [i64; 2] = [i64::MIN, -1];

    #[test]
    fn the_first_free_value_is_whole_steps_ahead_and_within_the_range() {
        let sequence = |increment, range| Sequence {
            name: String::new(),
            fills: String::new(),
            may_read: true,
            may_advance: true,
            table: String::new(),
            column: String::new(),
            increment,
            range,
        };
        for (increment, range, (last, called), reached, expected) in [
            // A new one, one that was used, one that is ahead already.
            (1, UP, (1, false), 3, Some((1, Some(4)))),
            (1, UP, (2, true), 3, Some((3, Some(4)))),
            (1, UP, (3, true), 3, None),
            (1, UP, (1, false), 0, None),
            // In turns with another server.
            (2, UP, (1, false), 100, Some((1, Some(101)))),
            (10, UP, (11, true), 21, Some((21, Some(31)))),
            (10, UP, (11, true), 20, None),
            (-1, DOWN, (-1, false), -3, Some((-1, Some(-4)))),
            (-5, DOWN, (-6, true), -11, Some((-11, Some(-16)))),
            (-1, DOWN, (-3, true), -3, None),
            // It ends before.
            (1, [1, 3], (1, false), 3, Some((1, None))),
            (1, UP, (1, false), i64::MAX, Some((1, None))),
            (1, UP, (i64::MAX, true), i64::MAX, None),
        ] {
            let lag = sequence(increment, range).behind(last, called, reached);
            let expected = expected.map(|(next, free)| Lag { next, reached, free });
            assert_eq!(lag, expected, "{increment} {last} {called} {reached}");
        }
    }
}
