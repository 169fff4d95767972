//! Rows into the table: COPY to the stage, merge, commit, or COPY alone while the table has nothing to merge with.
//! Nothing here knows files or the bookmark; how a batch becomes transactions, `rows::division` says.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use cli::Retry;
use fault::{Classify as _, Failure, Fault, Problem};
use pg::statement::{Copy, Statements};
use pg::transaction::for_values;
use pg::{Client, Pool, Settings};
use postgres::{Column, Row, Transaction};
use profile::Schema;
use rows::batch::{Batch, Held, Limits};
use rows::copy::Encoder;
use rows::division::{Division, Transact};
use rows::entries::Entries;
use rows::ledger::Tally;
use rows::settle::{Refused, Settled};
use rows::tolerance::Watch;
use serde_json::value::RawValue;

use crate::target::Prepared;

/// SQLSTATE `unique_violation`: a row is there already.
const ALREADY_THERE: &str = "23505";

const COMPARE: &str = "cannot compare keys";

/// Where of this many rows, or more, over a tenth is left to text, all are from then on.
const MANY: usize = 100;

/// Writes batches of rows.
pub(crate) struct Writer {
    tables: Vec<(Division, Target)>,
}

/// A table.
struct Target {
    settings: Settings,
    pool: Pool,
    statements: Statements,
    encoder: Encoder,
    /// Of the key alone.
    keys: Encoder,
    /// Whether the binary format is used where the table's types allow it: not where many rows would be left to text.
    binary: AtomicBool,
    retry: Retry,
    dry_run: bool,
    /// In a dry run without the table: what makes it, in each transaction.
    before: Vec<String>,
    /// It has nothing that a row could be merged with, as far as is known.
    empty: AtomicBool,
}

impl Writer {
    /// A writer over at most so many connections to these tables.
    pub(crate) fn new(
        settings: &Settings,
        tables: &[(Schema, Prepared)],
        limits: &Limits,
        connections: u32,
        retry: &Retry,
        dry_run: bool,
    ) -> Result<Self, Failure> {
        let connections =
            if tables.iter().all(|(_, Prepared { before, .. })| before.is_empty()) { connections } else { 1 };
        let of = |(number, (schema, prepared)): (usize, &(Schema, Prepared))| {
            Statements::with_arbiter(schema, number, &prepared.rules, prepared.arbiter.as_deref())
        };
        let statements: Vec<_> = tables.iter().enumerate().map(of).collect();
        let pool = Pool::new(settings, connections)?;
        let mut targets = Vec::new();
        for ((schema, Prepared { before, empty, tells_apart, .. }), statements) in tables.iter().zip(statements) {
            let division = Division::new(schema, limits.clone(), connections, *tells_apart)?;
            let (pool, encoder, retry) = (pool.clone(), Encoder::new(schema), retry.clone());
            let keys = Encoder::of_key(schema).map_err(|name| rows::no_column(&name))?;
            let (before, empty, binary) = (before.clone(), AtomicBool::new(*empty), AtomicBool::new(true));
            targets.push((
                division,
                Target {
                    settings: settings.clone(),
                    pool,
                    statements,
                    encoder,
                    keys,
                    binary,
                    retry,
                    dry_run,
                    before,
                    empty,
                },
            ));
        }
        Ok(Self { tables: targets })
    }

    /// Writes and commits every row of a batch that can be written, and says for each table what became of each record.
    ///
    /// Rows of one table are durable before those of the next are begun: what a row refers to stands in an earlier one.
    ///
    /// # Errors
    /// The server cannot be reached, or refuses what is not the fault of a record.
    pub(crate) fn write(&self, batch: &mut Batch, watch: &Watch) -> Result<Vec<Settled>, Failure> {
        let Batch { tables, deleted, segments, apart, .. } = batch;
        let mut all: Vec<_> = (0..tables.len()).map(|place| Settled::of(segments, place)).collect();
        // What refers to a row stands in a later table, and goes before it.
        for (place, (division, target)) in self.tables.iter().enumerate().rev() {
            if !deleted[place].is_empty() && !all.iter().any(|settled| settled.cut) {
                let mut keys = Held::Few(std::mem::take(&mut deleted[place]));
                let gone = division.run(&mut keys, segments, apart, &Deletion(target), watch)?;
                all[place].add(as_deleted(gone, place));
            }
        }
        for (place, ((division, target), rows)) in self.tables.iter().zip(tables).enumerate() {
            if rows.keys() > 0 && !all.iter().any(|settled| settled.cut) {
                let mut written = division.run(rows, segments, apart, target, watch)?;
                written.rejected.iter_mut().for_each(|rejected| rejected.table = place);
                all[place].add(written);
            }
        }
        Ok(all)
    }
}

/// What became of rows that were to be deleted: one that is refused is not to be written when it is sent again.
fn as_deleted(mut settled: Settled, place: usize) -> Settled {
    for Tally { written, merged, deleted, .. } in &mut settled.tallies {
        *deleted = std::mem::take(written) + std::mem::take(merged);
    }
    for rejected in &mut settled.rejected {
        rejected.table = place;
        // A JSON object, with a word before it: JSON too.
        let data = RawValue::from_string(format!("{{\"$delete\":{}}}", rejected.data.get()));
        rejected.data = data.unwrap_or_else(|_| rejected.data.clone());
    }
    settled
}

/// Deletes the rows of a table instead of writing them.
struct Deletion<'a>(&'a Target);

impl Transact for Deletion<'_> {
    // What they make together is the same key.
    const FOLDS: bool = false;

    fn in_time(&self) -> Result<(), Problem> {
        self.0.in_time()
    }

    fn transact(&self, rows: &Entries, places: Range<usize>) -> Result<Vec<Refused>, pg::Error> {
        let target = self.0;
        let Target { pool, retry, .. } = target;
        retry.run(|| pool.run(retry.stop(), |client| target.deletion(client, rows, places.clone())))
    }
}

impl Transact for Target {
    const FOLDS: bool = true;

    fn same_keys(&self, rows: &Entries) -> Result<Vec<(usize, usize)>, pg::Error> {
        let Self { pool, retry, .. } = self;
        retry.run(|| pool.run(retry.stop(), |client| self.compare_keys(client, rows)))
    }

    fn in_time(&self) -> Result<(), Problem> {
        self.retry.stop().in_time()
    }

    fn transact(&self, rows: &Entries, places: Range<usize>) -> Result<Vec<Refused>, pg::Error> {
        let empty = self.empty.load(Ordering::Relaxed);
        let done = self.retry.run(|| self.attempt(rows, places.clone(), empty));
        match done {
            Err(error) if empty && error.sqlstate() == Some(ALREADY_THERE) => {
                self.empty.store(false, Ordering::Relaxed);
                self.retry.run(|| self.attempt(rows, places.clone(), false))
            }
            done => done,
        }
    }
}

impl Target {
    /// One transaction. Rows that cannot even be sent are left out of it and returned. Into an empty table they go as they
    /// are, which costs the server a third less; else over the stage, to be merged.
    ///
    /// If the answer to COMMIT is lost, nobody knows whether the rows are written: they are written again, which merging
    /// makes harmless.
    fn attempt(&self, rows: &Entries, places: Range<usize>, empty: bool) -> Result<Vec<Refused>, pg::Error> {
        self.pool.run(self.retry.stop(), |client| self.transaction(client, rows, places, empty))
    }

    /// See [`Transact::same_keys`].
    fn compare_keys(&self, client: &mut Client, rows: &Entries) -> Result<Vec<(usize, usize)>, pg::Error> {
        let failed = || pg::Error::on(COMPARE);
        let mut transaction = self.begin(client).map_err(failed())?;
        transaction.batch_execute(&self.statements.keys.create).map_err(failed())?;
        self.copy_keys(&mut transaction, rows, 0..rows.len())?;
        let same = transaction.query(&self.statements.keys.same, &[]).map_err(failed())?;
        let place = |row: &Row, column| Ok(usize::try_from(row.try_get::<_, i32>(column)?).unwrap_or_default());
        let same = same.iter().map(|row| Ok((place(row, 0)?, place(row, 1)?)));
        let same = same.collect::<Result<_, postgres::Error>>().map_err(failed())?;
        self.end(transaction).map_err(failed())?;
        Ok(same)
    }

    /// Sends the keys of rows, all but those that are none: they are refused when their rows are written.
    fn copy_keys(
        &self,
        transaction: &mut Transaction<'_>,
        rows: &Entries,
        places: Range<usize>,
    ) -> Result<(), pg::Error> {
        let failed = || pg::Error::on(COMPARE);
        let mut attempt = transaction.transaction().map_err(failed())?;
        let mut copy = attempt.copy_in(self.statements.keys.copy.as_str()).map_err(failed())?;
        let sent = self.keys.send(rows, std::slice::from_ref(&places), true, &mut copy);
        let sent = sent.map_err(|error| pg::Error::of_copy(COMPARE, error));
        match sent.and_then(|_| copy.finish().map_err(failed())) {
            Ok(_) => attempt.commit().map_err(failed()),
            Err(error) if error.fault() == Fault::Record => {
                attempt.rollback().map_err(failed())?;
                if places.len() < 2 {
                    return Ok(());
                }
                let middle = places.start + places.len() / 2;
                self.copy_keys(transaction, rows, places.start..middle)?;
                self.copy_keys(transaction, rows, middle..places.end)
            }
            Err(error) => Err(error),
        }
    }

    /// One transaction that deletes the rows with these keys.
    fn deletion(&self, client: &mut Client, rows: &Entries, places: Range<usize>) -> Result<Vec<Refused>, pg::Error> {
        const ACTION: &str = "cannot delete rows";
        let failed = || pg::Error::on(ACTION);
        let mut transaction = self.begin(client).map_err(failed())?;
        let unwritable = self.copy(ACTION, &mut transaction, &self.statements.stage, rows, places)?;
        transaction.batch_execute(&self.statements.delete).map_err(failed())?;
        self.end(transaction).map_err(pg::Error::on("cannot commit"))?;
        Ok(unwritable)
    }

    /// Begins a transaction with all that it needs: the stage, functions, and in a dry run the table if it is missing.
    fn begin<'c>(&self, client: &'c mut Client) -> Result<Transaction<'c>, postgres::Error> {
        let mut transaction = if self.before.is_empty() {
            self.settings.begin(client)?
        } else {
            let mut transaction = self.settings.begin_as_role(client)?;
            self.before.iter().try_for_each(|statement| transaction.batch_execute(statement))?;
            transaction.batch_execute(&for_values())?;
            transaction
        };
        transaction.batch_execute(&self.statements.prologue)?;
        Ok(transaction)
    }

    /// Commits and leaves nothing in the session of the server; in a dry run rolls back.
    fn end(&self, mut transaction: Transaction<'_>) -> Result<(), postgres::Error> {
        if self.dry_run {
            return transaction.rollback();
        }
        if !self.statements.epilogue.is_empty() {
            transaction.batch_execute(&self.statements.epilogue)?;
        }
        transaction.commit()
    }

    fn transaction(
        &self,
        client: &mut Client,
        rows: &Entries,
        places: Range<usize>,
        empty: bool,
    ) -> Result<Vec<Refused>, pg::Error> {
        const ACTION: &str = "cannot write rows";
        let failed = || pg::Error::on(ACTION);
        let mut transaction = self.begin(client).map_err(failed())?;
        let copy = if empty { &self.statements.load } else { &self.statements.stage };
        let unwritable = self.copy(ACTION, &mut transaction, copy, rows, places)?;
        if !empty {
            transaction.batch_execute(&self.statements.merge).map_err(failed())?;
        }
        self.end(transaction).map_err(pg::Error::on("cannot commit"))?;
        Ok(unwritable)
    }

    /// Sends rows, in the binary format as far as it can hold them. Those that cannot be sent at all are returned.
    fn copy(
        &self,
        action: &str,
        transaction: &mut Transaction<'_>,
        copy: &Copy,
        rows: &Entries,
        places: Range<usize>,
    ) -> Result<Vec<Refused>, pg::Error> {
        let failed = || pg::Error::on(action);
        let of_copy = |error| pg::Error::of_copy(action, error);
        let mut left = vec![places.clone()];
        if self.binary.load(Ordering::Relaxed) {
            // In this transaction the types stay what they are now: to look at them locks the table.
            let columns = transaction.prepare(&copy.columns).map_err(failed())?;
            let types = columns.columns().iter().map(Column::type_);
            let stays = if let Some(binary) = self.encoder.binary(types) {
                let mut copy = transaction.copy_in(copy.binary.as_str()).map_err(failed())?;
                left = binary.send(rows, places.clone(), &mut copy).map_err(of_copy)?;
                copy.finish().map_err(failed())?;
                let for_text: usize = left.iter().map(Range::len).sum();
                // Of a few rows, as they are where one is to blame, nothing follows.
                places.len() < MANY || for_text <= places.len() / 10
            } else {
                false
            };
            if !stays {
                self.binary.store(false, Ordering::Relaxed);
            }
        }
        if left.is_empty() {
            return Ok(Vec::new());
        }
        let mut copy = transaction.copy_in(copy.text.as_str()).map_err(failed())?;
        let unwritable = self.encoder.send(rows, &left, false, &mut copy).map_err(of_copy)?;
        copy.finish().map_err(failed())?;
        Ok(unwritable)
    }
}
