//! Rows into the table: COPY to the stage, merge, commit, or COPY alone while the table has nothing to merge with.
//! Nothing here knows files or the bookmark; how a batch becomes transactions, `rows::division` says.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use cli::Retry;
use fault::{Failure, Problem};
use pg::statement::Statements;
use pg::{Client, Pool, Settings};
use profile::Schema;
use rows::batch::{Batch, Limits};
use rows::copy::Encoder;
use rows::division::{Division, Transact};
use rows::entries::Entries;
use rows::settle::{Refused, Settled};
use rows::tolerance::Watch;

use crate::target::Prepared;

/// SQLSTATE `unique_violation`: a row is there already.
const ALREADY_THERE: &str = "23505";

/// Writes batches of rows of one schema.
pub(crate) struct Writer {
    division: Division,
    target: Target,
}

/// The table.
struct Target {
    pool: Pool,
    statements: Statements,
    encoder: Encoder,
    retry: Retry,
    dry_run: bool,
    /// In a dry run without the table: what makes it, in each transaction.
    before: Vec<String>,
    /// It has nothing that a row could be merged with, as far as is known.
    empty: AtomicBool,
}

impl Writer {
    /// A writer over at most so many connections.
    pub(crate) fn new(
        settings: &Settings,
        schema: &Schema,
        limits: Limits,
        connections: u32,
        retry: Retry,
        dry_run: bool,
        prepared: Prepared,
    ) -> Result<Self, Failure> {
        let Prepared { before, empty } = prepared;
        let mut statements = Statements::of(schema);
        let connections = if before.is_empty() { connections } else { 1 };
        // The stage is made after the table, here in the transaction that makes both.
        let prologue = if before.is_empty() { std::mem::take(&mut statements.prologue) } else { String::new() };
        let pool = Pool::new(settings, connections, prologue)?;
        let (division, encoder) = (Division::new(schema, limits, connections)?, Encoder::new(schema));
        let target = Target { pool, statements, encoder, retry, dry_run, before, empty: empty.into() };
        Ok(Self { division, target })
    }

    /// Writes and commits every row of a batch that can be written, and says what became of each record.
    ///
    /// # Errors
    /// The server cannot be reached, or refuses what is not the fault of a record.
    pub(crate) fn write(&self, batch: &mut Batch, watch: &Watch) -> Result<Settled, Failure> {
        self.division.run(batch, &self.target, watch)
    }
}

impl Transact for Target {
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
        self.pool.run(|client| self.transaction(client, rows, places, empty))
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
        let mut transaction = client.transaction().map_err(failed())?;
        if !self.before.is_empty() {
            for statement in self.before.iter().chain([&self.statements.prologue]) {
                transaction.batch_execute(statement).map_err(failed())?;
            }
        }
        let copy = if empty { &self.statements.load } else { &self.statements.copy };
        let mut copy = transaction.copy_in(copy.as_str()).map_err(failed())?;
        let unwritable = self.encoder.send(rows, places, false, &mut copy);
        let unwritable = unwritable.map_err(|error| pg::Error::of_copy(ACTION, error))?;
        copy.finish().map_err(failed())?;
        if !empty {
            transaction.batch_execute(&self.statements.merge).map_err(failed())?;
        }
        let end = if self.dry_run { transaction.rollback() } else { transaction.commit() };
        end.map_err(pg::Error::on("cannot commit"))?;
        Ok(unwritable)
    }
}
