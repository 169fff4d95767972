//! Rows into the table: COPY to the stage, merge, commit, or COPY alone while the table has nothing to merge with; a
//! batch that fails on data is split in halves until the record that is to blame is alone. Nothing here knows files or
//! the bookmark.

use std::io::Write as _;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use cli::Retry;
use fault::{Classify as _, Failure, Fault, Problem};
use pg::statement::Statements;
use pg::{Client, Pool, Settings};
use profile::{Column, Merger, Schema};
use rows::batch::{Batch, Entry, Limits};
use rows::copy::{Encoder, Unwritable};
use rows::gather::PARTS;
use rows::key::Keys;
use rows::settle::{Refused, Settled};
use rows::tolerance::Watch;
use tracing::warn;

use crate::target::Prepared;

/// What is handed to the driver at once: with smaller pieces it spends its time between them.
const PIECE: usize = 256 << 10;

/// SQLSTATE `cardinality_violation`: two rows have a key that PostgreSQL takes for the same.
const SAME_KEY: &str = "21000";

/// SQLSTATE `unique_violation`: a row is there already.
const ALREADY_THERE: &str = "23505";

/// Writes batches of rows of one schema.
pub(crate) struct Writer {
    pool: Pool,
    statements: Statements,
    encoder: Encoder,
    columns: Vec<Column>,
    keys: Keys,
    merger: Merger,
    limits: Limits,
    connections: usize,
    retry: Retry,
    dry_run: bool,
    /// In a dry run without the table: what makes it, in each transaction.
    before: Vec<String>,
    /// The table has nothing that a row could be merged with, as far as is known.
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
        let no_column = |name| Problem::new(Fault::Setup, format!("`{name}` is not a column of the rows"));
        let keys = Keys::of(schema).map_err(no_column)?;
        let merger = Merger::new(schema).map_err(no_column)?;
        let mut statements = Statements::of(schema);
        let connections = if keys.parted() && before.is_empty() { connections } else { 1 };
        // The stage is made after the table, here in the transaction that makes both.
        let prologue = if before.is_empty() { std::mem::take(&mut statements.prologue) } else { String::new() };
        let pool = Pool::new(settings, connections, prologue)?;
        let connections = usize::try_from(connections).unwrap_or(1);
        let (encoder, columns) = (Encoder::new(schema), schema.columns.clone());
        Ok(Self {
            pool,
            statements,
            encoder,
            columns,
            keys,
            merger,
            limits,
            connections,
            retry,
            dry_run,
            before,
            empty: empty.into(),
        })
    }

    /// Writes and commits every row of a batch that can be written, and says what became of each record.
    ///
    /// # Errors
    /// The server cannot be reached, or refuses what is not the fault of a record.
    pub(crate) fn write(&self, batch: &mut Batch, watch: &Watch) -> Result<Settled, Failure> {
        batch.rows.close();
        let batch = &*batch;
        // Transactions of one size, as many for each connection.
        let rounds = batch.rows.keys().div_ceil(self.connections * self.limits.rows).max(1);
        let rows = batch.rows.keys().div_ceil(self.connections * rounds);
        let next = AtomicUsize::new(0);
        let mut settled = Settled::of(&batch.segments);
        let results: Vec<_> = thread::scope(|scope| {
            let others: Vec<_> =
                (1..self.connections).map(|_| scope.spawn(|| self.parts(batch, rows, &next, watch))).collect();
            let first = self.parts(batch, rows, &next, watch);
            let others = others.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err(died().into())));
            std::iter::once(first).chain(others).collect()
        });
        for result in results {
            settled.add(result?);
        }
        Ok(settled)
    }

    /// Writes one part of the batch after the other that nobody has taken yet, about so many rows together.
    fn parts(&self, batch: &Batch, rows: usize, next: &AtomicUsize, watch: &Watch) -> Result<Settled, Failure> {
        let (mut settled, mut entries, mut bytes) = (Settled::default(), Vec::new(), 0);
        loop {
            let part = next.fetch_add(1, Ordering::Relaxed);
            if part < PARTS {
                let begun = entries.len();
                let taken = batch.rows.part(part, &self.keys, &self.merger, &mut entries);
                taken.map_err(|error| Problem::new(Fault::Local, format!("cannot read gathered rows: {error}")))?;
                bytes += entries[begun..].iter().map(Entry::size).sum::<u64>();
            }
            if part >= PARTS || entries.len() >= rows || bytes >= self.limits.bytes {
                let written = self.entries(batch, &mut entries, &mut settled, watch);
                if written.is_err() || settled.cut {
                    // The others need not begin what comes to nothing.
                    next.store(PARTS, Ordering::Relaxed);
                }
                written?;
                entries.clear();
                bytes = 0;
            }
            if part >= PARTS {
                return Ok(settled);
            }
        }
    }

    /// Writes rows in the order of the key: neighbours in the index are written together, and two programs never wait
    /// for each other in a circle.
    fn entries(
        &self,
        batch: &Batch,
        entries: &mut [Entry],
        settled: &mut Settled,
        watch: &Watch,
    ) -> Result<(), Failure> {
        entries.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        let transactions = entries.len().div_ceil(self.limits.rows).max(1);
        for rows in entries.chunks(entries.len().div_ceil(transactions).max(1)) {
            self.retry.stop().in_time()?;
            let mut refused = Vec::new();
            self.divide(rows, 0..rows.len(), &mut refused, watch)?;
            if !refused.is_empty() && watch.exceeded() {
                settled.cut(&batch.segments, rows, &refused, &self.columns);
                return Ok(());
            }
            settled.rows(&batch.segments, rows, &refused, &self.columns);
        }
        Ok(())
    }

    /// Writes these rows, halved as often as an error of data asks for it, until too many are refused.
    fn divide(
        &self,
        rows: &[Entry],
        places: Range<usize>,
        refused: &mut Vec<Refused>,
        watch: &Watch,
    ) -> Result<(), pg::Error> {
        if !refused.is_empty() && watch.exceeded() {
            return Ok(());
        }
        let empty = self.empty.load(Ordering::Relaxed);
        let error = match self.retry.run(|| self.attempt(rows, places.clone(), empty)) {
            Ok(unwritable) => {
                let unwritten = unwritable.iter().map(|refused| rows[refused.place].weight()).sum();
                let all: u64 = rows[places].iter().map(Entry::weight).sum();
                watch.accept(all - unwritten);
                watch.reject(unwritten);
                refused.extend(unwritable);
                return Ok(());
            }
            Err(error) => error,
        };
        if empty && error.sqlstate() == Some(ALREADY_THERE) {
            self.empty.store(false, Ordering::Relaxed);
            return self.divide(rows, places, refused, watch);
        }
        let of_record = error.fault() == Fault::Record;
        if places.len() == 1 && of_record {
            let sqlstate = error.sqlstate().map(str::to_owned);
            watch.reject(rows[places.start].weight());
            refused.push(Refused { place: places.start, sqlstate, reason: error.cause().to_owned() });
            return Ok(());
        }
        if places.len() > 1 && (of_record || error.sqlstate() == Some(SAME_KEY)) {
            let middle = places.start + places.len() / 2;
            let (first, second) = (places.start..middle, middle..places.end);
            let (count, one, two) = (places.len(), first.len(), second.len());
            warn!("Batch of {count} failed, splitting into {one} + {two}: {}", error.cause());
            self.divide(rows, first, refused, watch)?;
            return self.divide(rows, second, refused, watch);
        }
        Err(error)
    }

    /// One transaction. Rows that cannot even be sent are left out of it and returned. Into an empty table they go as they
    /// are, which costs the server a third less; else over the stage, to be merged.
    ///
    /// If the answer to COMMIT is lost, nobody knows whether the rows are written: they are written again, which merging
    /// makes harmless.
    fn attempt(&self, rows: &[Entry], places: Range<usize>, empty: bool) -> Result<Vec<Refused>, pg::Error> {
        self.pool.run(|client| self.transaction(client, rows, places, empty))
    }

    fn transaction(
        &self,
        client: &mut Client,
        rows: &[Entry],
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
        let mut unwritable = Vec::new();
        let mut piece = Vec::with_capacity(PIECE + (16 << 10));
        for place in places {
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
        if !empty {
            transaction.batch_execute(&self.statements.merge).map_err(failed())?;
        }
        let end = if self.dry_run { transaction.rollback() } else { transaction.commit() };
        end.map_err(pg::Error::on("cannot commit"))?;
        Ok(unwritable)
    }
}

fn died() -> pg::Error {
    pg::Error::found(Fault::Local, "a writing thread died")
}
