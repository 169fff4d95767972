//! Rows into the table: COPY to the stage, merge, commit; a batch that fails on data is split in halves until the record
//! that is to blame is alone. Nothing here knows files or the bookmark.

use std::io::Write as _;
use std::thread;

use fault::{Classify as _, Failure, Fault};
use pg::statement::Statements;
use pg::{Pool, Settings};
use profile::Schema;
use tracing::warn;

use crate::batch::{Batch, Entry};
use crate::copy::{Encoder, Unwritable};
use crate::key::Keys;
use crate::retry::Retry;

/// What is handed to the driver at once: with smaller pieces it spends its time between them.
const PIECE: usize = 256 << 10;

/// SQLSTATE `cardinality_violation`: two rows have a key that PostgreSQL takes for the same.
const SAME_KEY: &str = "21000";

/// A row that was not written, and why.
#[derive(Debug)]
pub(crate) struct Refused {
    /// Its place in the batch.
    pub(crate) place: usize,
    pub(crate) sqlstate: Option<String>,
    pub(crate) reason: String,
}

/// Writes batches of rows of one schema.
pub(crate) struct Writer {
    pool: Pool,
    statements: Statements,
    encoder: Encoder,
    parts: usize,
    retry: Retry,
    dry_run: bool,
    /// In a dry run without the table: what makes it, in each transaction.
    before: Vec<String>,
}

impl Writer {
    /// A writer over at most so many connections.
    pub(crate) fn new(
        settings: &Settings,
        schema: &Schema,
        connections: u32,
        retry: Retry,
        dry_run: bool,
        before: Vec<String>,
    ) -> Result<Self, Failure> {
        let mut statements = Statements::of(schema);
        let parted = Keys::of(schema).is_ok_and(|keys| keys.parted());
        let parts = if parted && before.is_empty() { connections } else { 1 };
        // The stage is made after the table, here in the transaction that makes both.
        let prologue = if before.is_empty() { std::mem::take(&mut statements.prologue) } else { String::new() };
        let pool = Pool::new(settings, parts, prologue)?;
        let parts = usize::try_from(parts).unwrap_or(1);
        Ok(Self { pool, statements, encoder: Encoder::new(schema), parts, retry, dry_run, before })
    }

    /// Writes and commits every row that can be written, and returns the others.
    ///
    /// # Errors
    /// The server cannot be reached, or refuses what is not the fault of a record.
    pub(crate) fn write(&self, batch: &Batch) -> Result<Vec<Refused>, Failure> {
        let parts = batch.parts(self.parts);
        let mut refused = Vec::new();
        let results: Vec<_> = thread::scope(|scope| {
            let running: Vec<_> =
                parts.iter().skip(1).map(|part| scope.spawn(|| self.part(&batch.rows, part))).collect();
            let first = parts.first().map_or(Ok(Vec::new()), |part| self.part(&batch.rows, part));
            let others = running.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err(died())));
            std::iter::once(first).chain(others).collect()
        });
        for result in results {
            refused.extend(result?);
        }
        Ok(refused)
    }

    fn part(&self, rows: &[Entry], places: &[usize]) -> Result<Vec<Refused>, pg::Error> {
        let mut refused = Vec::new();
        self.divide(rows, places, &mut refused)?;
        Ok(refused)
    }

    /// Writes these rows, halved as often as an error of data asks for it.
    fn divide(&self, rows: &[Entry], places: &[usize], refused: &mut Vec<Refused>) -> Result<(), pg::Error> {
        let error = match self.retry.run(|| self.attempt(rows, places)) {
            Ok(unwritable) => {
                refused.extend(unwritable);
                return Ok(());
            }
            Err(error) => error,
        };
        let of_record = error.fault() == Fault::Record;
        match places {
            [place] if of_record => {
                let sqlstate = error.sqlstate().map(str::to_owned);
                refused.push(Refused { place: *place, sqlstate, reason: error.cause().to_owned() });
                Ok(())
            }
            [_, _, ..] if of_record || error.sqlstate() == Some(SAME_KEY) => {
                let (first, second) = places.split_at(places.len() / 2);
                let (count, one, two) = (places.len(), first.len(), second.len());
                warn!("Batch of {count} failed, splitting into {one} + {two}: {}", error.cause());
                self.divide(rows, first, refused)?;
                self.divide(rows, second, refused)
            }
            _ => Err(error),
        }
    }

    /// One transaction. Rows that cannot even be sent are left out of it and returned.
    fn attempt(&self, rows: &[Entry], places: &[usize]) -> Result<Vec<Refused>, pg::Error> {
        const ACTION: &str = "cannot write rows";
        let failed = || pg::Error::on(ACTION);
        let mut session = self.pool.get()?;
        let mut transaction = session.transaction().map_err(failed())?;
        if !self.before.is_empty() {
            for statement in self.before.iter().chain([&self.statements.prologue]) {
                transaction.batch_execute(statement).map_err(failed())?;
            }
        }
        let mut copy = transaction.copy_in(self.statements.copy.as_str()).map_err(failed())?;
        let mut unwritable = Vec::new();
        let mut piece = Vec::with_capacity(PIECE + (16 << 10));
        for &place in places {
            if let Err(Unwritable { sqlstate, reason }) = self.encoder.write(&rows[place].row, &mut piece) {
                unwritable.push(Refused { place, sqlstate: Some(sqlstate.to_owned()), reason });
            }
            if piece.len() >= PIECE {
                copy.write_all(&piece).map_err(|error| pg::Error::of_copy(ACTION, error))?;
                piece.clear();
            }
        }
        copy.write_all(&piece).map_err(|error| pg::Error::of_copy(ACTION, error))?;
        copy.finish().map_err(failed())?;
        transaction.batch_execute(&self.statements.merge).map_err(failed())?;
        let end = if self.dry_run { transaction.rollback() } else { transaction.commit() };
        end.map_err(pg::Error::on("cannot commit"))?;
        Ok(unwritable)
    }
}

fn died() -> pg::Error {
    pg::Error::found(Fault::Local, "a writing thread died")
}
