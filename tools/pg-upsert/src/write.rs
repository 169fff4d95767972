//! Rows into the table: COPY to the stage, merge, commit, or COPY alone while the table has nothing to merge with. A batch
//! that fails is written again in one transaction that isolates the rows to blame (`pg::isolate`). Nothing here knows files or
//! the bookmark; how a batch becomes transactions, `rows::division` says.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cli::Retry;
use fault::{Classify as _, Failure, Fault, Problem};
use pg::constraints::TableId;
use pg::isolate::{Bisection, Circumstances, Isolate};
use pg::statement::{Copy, Statements};
use pg::transaction::for_values;
use pg::{Client, Pool, Settings};
use postgres::{SimpleQueryMessage, SimpleQueryRow, Transaction};
use profile::Schema;
use rows::batch::{Batch, Held, Limits};
use rows::copy::Encoder;
use rows::division::{Division, Transact};
use rows::entries::Entries;
use rows::ledger::Tally;
use rows::settle::{Outcome, Refused, Settled};
use rows::tolerance::{Allowance, Watch};
use serde_json::value::RawValue;
use tracing::debug;

use crate::target::Prepared;
use crate::waiting::WaitingKeys;

/// SQLSTATE `unique_violation`: a row is there already.
const ALREADY_THERE: &str = "23505";

/// SQLSTATE `query_canceled`: by a person, by a stop that is late, or by `statement_timeout`.
const CANCELED: &str = "57014";

const COMPARE: &str = "cannot compare keys";

const WRITE: &str = "cannot write rows";

const DELETE: &str = "cannot delete rows";

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
    isolate: Isolate,
    /// Constraints that a row may break now and keep later.
    may_wait: Vec<String>,
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
    /// The last batch had rows that the table refused: the next one is not tried as a whole.
    careful: AtomicBool,
}

/// How a writer writes.
pub(crate) struct Manner {
    /// At most so many connections at once.
    pub(crate) connections: u32,
    /// Nothing is committed.
    pub(crate) dry_run: bool,
    /// Rows may wait for others that the run loads later. At its end they may not.
    pub(crate) may_wait: bool,
}

impl Writer {
    /// A writer to these tables.
    pub(crate) fn new(
        settings: &Settings,
        tables: &[(Schema, Prepared)],
        limits: &Limits,
        manner: &Manner,
        retry: &Retry,
    ) -> Result<Self, Failure> {
        let Manner { connections, dry_run, may_wait } = *manner;
        let made = tables.iter().all(|(_, Prepared { before, .. })| before.is_empty());
        let connections = if made { connections } else { 1 };
        let loaded: Vec<TableId> = tables.iter().filter_map(|(_, prepared)| prepared.table.clone()).collect();
        let pool = Pool::new(settings, connections)?;
        let mut targets = Vec::new();
        for (number, (schema, prepared)) in tables.iter().enumerate() {
            let Prepared { before, empty, tells_apart, constraints, dialect, .. } = prepared;
            let statements = Statements::of(schema, number, dialect);
            let holds_later = constraints.may_hold_later(&loaded);
            // Rows that depend on each other go over one connection, as many as possible together.
            let connections = if holds_later.is_empty() { connections } else { 1 };
            let division = Division::new(schema, limits.clone(), connections, *tells_apart)?;
            let target = Target {
                settings: settings.clone(),
                pool: pool.clone(),
                isolate: statements.isolate(schema, number, constraints, &loaded),
                may_wait: if may_wait { holds_later } else { Vec::new() },
                statements,
                encoder: Encoder::new(schema),
                keys: Encoder::of_key(schema).map_err(|name| rows::no_column(&name))?,
                binary: AtomicBool::new(true),
                retry: retry.clone(),
                dry_run,
                before: before.clone(),
                // COPY into the table itself does not tell which rows a trigger swallows.
                empty: AtomicBool::new(*empty && !dialect.row_triggers),
                careful: AtomicBool::new(false),
            };
            targets.push((division, target));
        }
        Ok(Self { tables: targets })
    }

    /// For each table, whether equal keys have equal bytes.
    pub(crate) fn exact(&self) -> Vec<bool> {
        self.tables.iter().map(|(division, _)| division.is_exact()).collect()
    }

    /// Writes and commits every row of a batch that can be written, and says for each table what became of each record.
    /// Rows whose keys wait are not sent: they join those that wait.
    ///
    /// Rows of one table are durable before those of the next are begun: what a row refers to stands in an earlier one.
    ///
    /// # Errors
    /// The server cannot be reached, or refuses what is not the fault of a record.
    pub(crate) fn write(
        &self,
        batch: &mut Batch,
        watch: &Watch,
        waiting: &mut WaitingKeys,
    ) -> Result<Vec<Settled>, Failure> {
        let Batch { tables, deleted, segments, apart, .. } = batch;
        let mut all: Vec<_> = (0..tables.len()).map(|place| Settled::of(segments, place)).collect();
        // What refers to a row stands in a later table, and goes before it.
        for (place, (division, target)) in self.tables.iter().enumerate().rev() {
            if !deleted[place].is_empty() && !all.iter().any(|settled| settled.cut) {
                let mut keys = std::mem::take(&mut deleted[place]);
                let mut gone = Settled::default();
                let held = waiting.take_from(place, &mut keys);
                gone.wait(segments, &held, division.columns());
                if !keys.is_empty() {
                    let mut keys = Held::Few(keys);
                    gone.add(division.run(&mut keys, segments, apart, &Deletion(target), watch)?);
                }
                let gone = as_deleted(gone, place);
                waiting.add(&gone.waiting, division.is_exact());
                all[place].add(gone);
            }
        }
        for (place, ((division, target), held)) in self.tables.iter().zip(tables).enumerate() {
            // Where rows may wait, each round has a key once: an earlier row that waits must hold the later ones back.
            let mut more = held.keys() > 0;
            while more && !all.iter().any(|settled| settled.cut) {
                let mut written = Settled::default();
                match &mut *held {
                    Held::Few(entries) if !target.may_wait.is_empty() => {
                        let held = waiting.take_from(place, entries);
                        written.wait(segments, &held, division.columns());
                        let round = if division.has_each_key_once() && apart.is_empty() {
                            std::mem::take(entries)
                        } else {
                            entries.take_first_of_each_key()
                        };
                        more = !entries.is_empty();
                        if !round.is_empty() {
                            let mut round = Held::Few(round);
                            written.add(division.run(&mut round, segments, apart, target, watch)?);
                        }
                    }
                    rows => {
                        more = false;
                        written = division.run(rows, segments, apart, target, watch)?;
                    }
                }
                written.rejected.iter_mut().chain(&mut written.suppressed).for_each(|line| line.table = place);
                written.waiting.iter_mut().for_each(|row| row.table = place);
                waiting.add(&written.waiting, division.is_exact());
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
    for rejected in settled.rejected.iter_mut().chain(&mut settled.suppressed) {
        rejected.table = place;
        // A JSON object, with a word before it: JSON too.
        let data = RawValue::from_string(format!("{{\"$delete\":{}}}", rejected.data.get()));
        rejected.data = data.unwrap_or_else(|_| rejected.data.clone());
    }
    for row in &mut settled.waiting {
        (row.table, row.deletes) = (place, true);
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

    fn transact(
        &self,
        rows: &Entries,
        places: Range<usize>,
        passed: bool,
        allowance: Allowance,
    ) -> Result<Outcome, pg::Error> {
        let target = self.0;
        let how = circumstances(passed, allowance);
        let work = Work { target, action: DELETE, rows, places: &places };
        match target.attempt(places.len(), |client| work.delete(client)) {
            Err(error) if error.may_be_of_a_record() => work.isolate(&error, how, true),
            done => done,
        }
    }
}

impl Transact for Target {
    const FOLDS: bool = true;

    fn same_keys(&self, rows: &Entries) -> Result<Vec<(usize, usize)>, pg::Error> {
        self.attempt(1, |client| self.compare_keys(client, rows))
    }

    fn in_time(&self) -> Result<(), Problem> {
        self.retry.stop().in_time()
    }

    fn transact(
        &self,
        rows: &Entries,
        places: Range<usize>,
        passed: bool,
        allowance: Allowance,
    ) -> Result<Outcome, pg::Error> {
        let how = circumstances(passed, allowance);
        let work = Work { target: self, action: WRITE, rows, places: &places };
        if self.careful.load(Ordering::Relaxed) && places.len() > 1 {
            return work.isolated(how, false);
        }
        let empty = self.empty.load(Ordering::Relaxed);
        let mut done = self.attempt(places.len(), |client| work.write(client, empty));
        if empty && done.as_ref().is_err_and(|error| error.sqlstate() == Some(ALREADY_THERE)) {
            self.empty.store(false, Ordering::Relaxed);
            done = self.attempt(places.len(), |client| work.write(client, false));
        }
        match done {
            Err(error) if error.may_be_of_a_record() => work.isolate(&error, how, false),
            done => done,
        }
    }
}

impl Target {
    /// Does something over a connection, again if the server could not for a reason that may pass. A transaction with so many rows
    /// that takes longer than the server allows is not repeated: fewer rows may be in time.
    ///
    /// If the answer to COMMIT is lost, nobody knows whether the rows are written: they are written again, which merging
    /// makes harmless.
    fn attempt<T>(
        &self,
        rows: usize,
        mut work: impl FnMut(&mut Client) -> Result<T, pg::Error>,
    ) -> Result<T, pg::Error> {
        let attempt = || {
            let begun = Instant::now();
            match self.pool.run(self.retry.stop(), &mut work) {
                Err(error) if rows > 1 && error.sqlstate() == Some(CANCELED) && self.timed_out(begun.elapsed()) => {
                    Ok(Err(error.as_too_slow()))
                }
                Err(error) => Err(error),
                Ok(done) => Ok(Ok(done)),
            }
        };
        self.retry.run(attempt)?
    }

    /// Whether `statement_timeout` may have cancelled a statement after so long.
    fn timed_out(&self, elapsed: Duration) -> bool {
        const TIMEOUT: &str = "select setting from pg_catalog.pg_settings where name = 'statement_timeout'";
        let asked = self.pool.run(self.retry.stop(), |client| {
            let failed = || pg::Error::on("cannot look up statement_timeout");
            let mut transaction = self.settings.begin(client).map_err(failed())?;
            Ok(rows_of(transaction.simple_query(TIMEOUT).map_err(failed())?))
        });
        let milliseconds = asked.ok().and_then(|rows| number::<u64>(rows.first()?, 0));
        milliseconds.is_some_and(|limit| limit > 0 && elapsed >= Duration::from_millis(limit))
    }

    /// See [`Transact::same_keys`].
    fn compare_keys(&self, client: &mut Client, rows: &Entries) -> Result<Vec<(usize, usize)>, pg::Error> {
        let failed = || pg::Error::on(COMPARE);
        let mut transaction = self.begin(COMPARE, client)?;
        transaction.batch_execute(&self.statements.keys.create).map_err(failed())?;
        self.copy_keys(&mut transaction, rows, 0..rows.len())?;
        let same = rows_of(transaction.simple_query(&self.statements.keys.same).map_err(failed())?);
        let same = same.iter().filter_map(|row| Some((number(row, 0)?, number(row, 1)?))).collect();
        self.end(COMPARE, transaction)?;
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
            Err(error) if error.may_be_of_a_record() => {
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

    /// Begins a transaction with all that it needs: the stage, and in a dry run the table if it is missing.
    fn begin<'c>(&self, action: &str, client: &'c mut Client) -> Result<Transaction<'c>, pg::Error> {
        let failed = |error| pg::Error::of(action, &error).of_no_record();
        let mut transaction = if self.before.is_empty() {
            self.settings.begin(client).map_err(failed)?
        } else {
            let mut transaction = self.settings.begin_as_role(client).map_err(failed)?;
            self.before.iter().try_for_each(|statement| transaction.batch_execute(statement)).map_err(failed)?;
            transaction.batch_execute(&for_values()).map_err(failed)?;
            transaction
        };
        transaction.batch_execute(&self.statements.prologue).map_err(failed)?;
        Ok(transaction)
    }

    /// Commits and leaves nothing in the session of the server; in a dry run rolls back. A constraint that is checked now
    /// may refuse rows.
    fn end(&self, action: &str, mut transaction: Transaction<'_>) -> Result<(), pg::Error> {
        if self.dry_run {
            let checked = transaction.batch_execute("set constraints all immediate");
            checked.and_then(|()| transaction.rollback()).map_err(pg::Error::on(action))
        } else {
            transaction.commit().map_err(pg::Error::on("cannot commit"))
        }
    }
}

/// Rows of a table that are sent in one transaction.
struct Work<'a> {
    target: &'a Target,
    action: &'static str,
    rows: &'a Entries,
    /// Their indexes.
    places: &'a Range<usize>,
}

impl Work<'_> {
    fn failed(&self) -> impl Fn(postgres::Error) -> pg::Error + use<> {
        let action = self.action;
        move |error| pg::Error::of(action, &error)
    }

    /// One transaction. Rows that cannot even be sent are left out of it. Into an empty table they go as they are, which costs the
    /// server a third less; else over the stage, to be merged.
    fn write(&self, client: &mut Client, empty: bool) -> Result<Outcome, pg::Error> {
        let Target { statements, .. } = self.target;
        let mut transaction = self.target.begin(self.action, client)?;
        // Only a report of rows that are not written needs to know which row is which.
        let (copy, numbered) = match (empty, statements.untouched) {
            (true, _) => (&statements.load, false),
            (false, true) => (&statements.stage, true),
            (false, false) => (&statements.bare_stage, false),
        };
        let (refused, sent) = self.copy(&mut transaction, copy, numbered)?;
        let mut outcome = Outcome { refused, ..Outcome::default() };
        let expected = (self.places.len() - outcome.refused.len()) as u64;
        let written = if empty {
            sent
        } else {
            let merged = transaction.simple_query(&statements.merge).map_err(self.failed())?;
            if statements.untouched {
                Self::untouched(&rows_of(merged), expected, &mut outcome);
                expected
            } else {
                merged.iter().rev().find_map(completed).unwrap_or_default()
            }
        };
        if written != expected {
            let message = format!("{}: {expected} rows were sent and {written} were written", self.action);
            let error = pg::Error::found(Fault::Setup, message);
            return Err(error.with_hint("a trigger of the table was made after the run had begun: run again"));
        }
        self.target.end(self.action, transaction)?;
        Ok(outcome)
    }

    /// One transaction that deletes the rows with these keys.
    fn delete(&self, client: &mut Client) -> Result<Outcome, pg::Error> {
        let Target { statements, .. } = self.target;
        let mut transaction = self.target.begin(self.action, client)?;
        let (refused, _) = self.copy(&mut transaction, &statements.stage, true)?;
        transaction.batch_execute(&statements.delete).map_err(self.failed())?;
        let suppressed = self.kept(&mut transaction)?;
        self.target.end(self.action, transaction)?;
        Ok(Outcome { refused, suppressed, ..Outcome::default() })
    }

    /// Rows that a trigger kept from being deleted.
    fn kept(&self, transaction: &mut Transaction<'_>) -> Result<Vec<usize>, pg::Error> {
        let Some(kept) = &self.target.statements.kept else { return Ok(Vec::new()) };
        let kept = rows_of(transaction.simple_query(kept).map_err(self.failed())?);
        Ok(kept.iter().filter_map(|row| number(row, 0)).collect())
    }

    /// Takes the report of rows that were not written, see [`Statements::untouched`], of which so many were to be.
    fn untouched(report: &[SimpleQueryRow], expected: u64, outcome: &mut Outcome) {
        let mut written = 0;
        let (mut left_alone, mut suppressed) = (Vec::new(), Vec::new());
        for row in report {
            match (number::<usize>(row, 0), row.get(1)) {
                (Some(index), Some("t")) => left_alone.push(index),
                (Some(index), _) => suppressed.push(index),
                (None, _) => written += number::<u64>(row, 2).unwrap_or_default(),
            }
        }
        // A trigger that changes a row's key makes it look as if it had not been written.
        let most = expected.saturating_sub(written + left_alone.len() as u64);
        suppressed.truncate(usize::try_from(most).unwrap_or(usize::MAX));
        outcome.left_alone.extend(left_alone);
        outcome.suppressed.extend(suppressed);
    }

    /// What became of rows of which some were refused as a whole with this error.
    fn isolate(&self, error: &pg::Error, how: Circumstances, deletes: bool) -> Result<Outcome, pg::Error> {
        if self.places.len() > 1 {
            debug!("A transaction of {} rows failed, isolating: {error}", self.places.len());
            return self.isolated(how, deletes);
        }
        if !(how.passed || error.fault() == Fault::Record) {
            return Err(error.clone().with_example(self.places.start));
        }
        let refused = Refused {
            place: self.places.start,
            sqlstate: error.sqlstate().map(str::to_owned),
            reason: error.cause().to_owned(),
        };
        let mut outcome = Outcome::default();
        self.refuse(refused, error.constraint(), &mut outcome);
        Ok(outcome)
    }

    /// The same without a try of all rows together. When nothing is refused, the next batch is tried as a whole again.
    fn isolated(&self, how: Circumstances, deletes: bool) -> Result<Outcome, pg::Error> {
        let outcome = self.target.attempt(self.places.len(), |client| self.isolation(client, how, deletes))?;
        if !deletes {
            let careful = !(outcome.refused.is_empty() && outcome.waiting.is_empty());
            self.target.careful.store(careful, Ordering::Relaxed);
        }
        Ok(outcome)
    }

    /// One transaction in which the server finds the rows that it does not take, see `pg::isolate`.
    fn isolation(&self, client: &mut Client, how: Circumstances, deletes: bool) -> Result<Outcome, pg::Error> {
        let Target { isolate, may_wait, .. } = self.target;
        let mut transaction = self.target.begin(self.action, client)?;
        let prepared = transaction.batch_execute(&isolate.prepare);
        prepared.map_err(|error| self.failed()(error).of_no_record())?;
        let mut outcome = self.fill(&mut transaction, how)?;
        let bisect = |transaction: &mut Transaction<'_>, bisection: &Bisection| {
            transaction.batch_execute(&bisection.sql(how)).map_err(self.failed())
        };
        if deletes {
            bisect(&mut transaction, &isolate.delete)?;
        } else {
            let mark = if may_wait.is_empty() { &isolate.mark_all } else { &isolate.mark };
            transaction.batch_execute(mark).map_err(|error| self.failed()(error).of_no_record())?;
            bisect(&mut transaction, &isolate.write)?;
            bisect(&mut transaction, &isolate.write_suspects)?;
        }
        let refused = rows_of(transaction.simple_query(&isolate.refused).map_err(self.failed())?);
        self.refused(&refused, &mut outcome)?;
        if outcome.unfinished {
            transaction.rollback().map_err(self.failed())?;
            return Ok(outcome);
        }
        if deletes {
            let refused: Vec<_> = outcome.refused.iter().chain(&outcome.waiting).map(|refused| refused.place).collect();
            let kept = self.kept(&mut transaction)?;
            outcome.suppressed = kept.into_iter().filter(|index| !refused.contains(index)).collect();
        } else if self.target.statements.untouched {
            let report = rows_of(transaction.simple_query(&isolate.untouched).map_err(self.failed())?);
            let expected = self.places.len() - outcome.refused.len() - outcome.waiting.len();
            Self::untouched(&report, expected as u64, &mut outcome);
        }
        self.target.end(self.action, transaction)?;
        Ok(outcome)
    }

    /// Fills the stage with all rows whose values the columns' types take; refuses the others.
    fn fill(&self, transaction: &mut Transaction<'_>, how: Circumstances) -> Result<Outcome, pg::Error> {
        let Target { isolate, statements, .. } = self.target;
        let mut attempt = transaction.transaction().map_err(self.failed())?;
        match self.copy(&mut attempt, &statements.stage, true) {
            Ok((refused, _)) => {
                attempt.commit().map_err(self.failed())?;
                return Ok(Outcome { refused, ..Outcome::default() });
            }
            Err(error) if error.may_be_of_a_record() => attempt.rollback().map_err(self.failed())?,
            Err(error) => return Err(error),
        }
        transaction.batch_execute(&isolate.texts).map_err(self.failed())?;
        let mut outcome = Outcome::default();
        self.copy_texts(transaction, self.places.clone(), &mut outcome)?;
        transaction.batch_execute(&isolate.convert.sql(how)).map_err(self.failed())?;
        Ok(outcome)
    }

    /// Sends rows as texts. Only a text that the database's encoding lacks can be refused.
    fn copy_texts(
        &self,
        transaction: &mut Transaction<'_>,
        places: Range<usize>,
        outcome: &mut Outcome,
    ) -> Result<(), pg::Error> {
        let Target { isolate, encoder, .. } = self.target;
        let mut attempt = transaction.transaction().map_err(self.failed())?;
        let mut copy = attempt.copy_in(isolate.copy_texts.as_str()).map_err(self.failed())?;
        let sent = encoder.send(self.rows, std::slice::from_ref(&places), true, &mut copy);
        let sent = sent.map_err(|error| pg::Error::of_copy(self.action, error));
        let sent = sent.and_then(|refused| copy.finish().map(|_| refused).map_err(self.failed()));
        match sent {
            Ok(refused) => {
                outcome.refused.extend(refused);
                attempt.commit().map_err(self.failed())
            }
            Err(error) if error.may_be_of_a_record() => {
                attempt.rollback().map_err(self.failed())?;
                if places.len() == 1 {
                    let sqlstate = error.sqlstate().map(str::to_owned);
                    let reason = error.cause().to_owned();
                    outcome.refused.push(Refused { place: places.start, sqlstate, reason });
                    return Ok(());
                }
                let middle = places.start + places.len() / 2;
                self.copy_texts(transaction, places.start..middle, outcome)?;
                self.copy_texts(transaction, middle..places.end, outcome)
            }
            Err(error) => Err(error),
        }
    }

    /// Takes the server's list of what it refused.
    fn refused(&self, list: &[SimpleQueryRow], outcome: &mut Outcome) -> Result<(), pg::Error> {
        for row in list {
            let Some(place) = number(row, 0) else {
                outcome.unfinished = true;
                continue;
            };
            let (sqlstate, reason) = (row.get(1).unwrap_or_default(), row.get(2).unwrap_or_default());
            let constraint = row.get(3).map(str::to_owned);
            let error = pg::Error::of_row(self.action, sqlstate, reason, constraint);
            if row.get(4) == Some("t") {
                return Err(error.with_example(place));
            }
            let refused = Refused { place, sqlstate: Some(sqlstate.to_owned()), reason: error.cause().to_owned() };
            self.refuse(refused, error.constraint(), outcome);
        }
        Ok(())
    }

    /// One row is refused, or waits if it breaks a constraint that it may keep later.
    fn refuse(&self, refused: Refused, constraint: Option<&str>, outcome: &mut Outcome) {
        let waits = constraint.is_some_and(|name| self.target.may_wait.iter().any(|known| known == name));
        if waits { outcome.waiting.push(refused) } else { outcome.refused.push(refused) }
    }

    /// Sends rows, in the binary format as far as it can hold them. Those that cannot be sent at all are returned, with how
    /// many the server took.
    fn copy(
        &self,
        transaction: &mut Transaction<'_>,
        copy: &Copy,
        numbered: bool,
    ) -> Result<(Vec<Refused>, u64), pg::Error> {
        let Self { target: Target { binary, encoder, .. }, action, rows, places } = self;
        let of_copy = |error| pg::Error::of_copy(*action, error);
        let (mut left, mut taken) = (vec![(*places).clone()], 0);
        if binary.load(Ordering::Relaxed) {
            let types = rows_of(transaction.simple_query(&copy.types).map_err(self.failed())?);
            let types: Vec<u32> = types.iter().filter_map(|row| number(row, 0)).collect();
            let stays = if let Some(encoder) = encoder.binary(&types) {
                let mut copy = transaction.copy_in(copy.binary.as_str()).map_err(self.failed())?;
                left = encoder.send(rows, (*places).clone(), numbered, &mut copy).map_err(of_copy)?;
                taken += copy.finish().map_err(self.failed())?;
                let for_text: usize = left.iter().map(Range::len).sum();
                // Of a few rows, as they are where one is to blame, nothing follows.
                places.len() < MANY || for_text <= places.len() / 10
            } else {
                false
            };
            if !stays {
                binary.store(false, Ordering::Relaxed);
            }
        }
        if left.is_empty() {
            return Ok((Vec::new(), taken));
        }
        let mut copy = transaction.copy_in(copy.text.as_str()).map_err(self.failed())?;
        let unwritable = encoder.send(rows, &left, numbered, &mut copy).map_err(of_copy)?;
        taken += copy.finish().map_err(self.failed())?;
        Ok((unwritable, taken))
    }
}

/// What a bisection has to know.
fn circumstances(passed: bool, allowance: Allowance) -> Circumstances {
    Circumstances { passed, most_if_none_pass: allowance.none_passed, most: allowance.any }
}

/// The rows of an answer.
fn rows_of(messages: Vec<SimpleQueryMessage>) -> Vec<SimpleQueryRow> {
    let row = |message| if let SimpleQueryMessage::Row(row) = message { Some(row) } else { None };
    messages.into_iter().filter_map(row).collect()
}

/// How many rows a statement wrote.
fn completed(message: &SimpleQueryMessage) -> Option<u64> {
    if let SimpleQueryMessage::CommandComplete(rows) = message { Some(*rows) } else { None }
}

/// The number in a column.
fn number<T: std::str::FromStr>(row: &SimpleQueryRow, column: usize) -> Option<T> {
    row.get(column)?.parse().ok()
}
