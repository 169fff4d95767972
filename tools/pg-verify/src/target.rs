//! The table that the rows are compared with. A transaction copies rows into a temporary stage, asks which of them are not
//! in the table as they should be, and is rolled back, so it leaves nothing in the session. Which rows are compared when,
//! `run` decides.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use cli::Retry;
use fault::{Classify, Failure, Fault, Problem, explain};
use pg::catalogue::Table;
use pg::comparison::{Comparison, READ_ONLY};
use pg::{Client, Pool, Settings};
use postgres::Row as Answer;
use profile::Schema;
use rows::batch::{Held, Limits, Segment};
use rows::copy::Encoder;
use rows::division::{Division, Transact};
use rows::entries::Entries;
use rows::settle::{Outcome, Refused, Settled};
use rows::tolerance::{Allowance, MaxRejects, Watch};

use crate::findings::{Finding, Findings};
use crate::pending::Pending;
use crate::records;

/// What is said when rows cannot be compared.
const ACTION: &str = "cannot compare rows";

/// Rows of which all is asked at once: their values come back in full, expected and found.
const IN_FULL: usize = 2000;

/// The table, and how rows get there.
pub(crate) struct Target {
    settings: Settings,
    pool: Pool,
    comparison: Comparison,
    encoder: Encoder,
    retry: Retry,
    /// In batches, to find what has to be looked at.
    division: Division,
    /// In small ones, to say what is wrong.
    in_full: Division,
}

impl Target {
    /// Looks the table up over a connection that is there, or another one. `number` tells it from the others.
    pub(crate) fn find(
        settings: &Settings,
        mut first: Option<Client>,
        schema: &Schema,
        number: usize,
        limits: Limits,
        connections: u32,
        retry: Retry,
    ) -> Result<Self, Failure> {
        let table = retry.run(|| {
            let mut client = match first.take() {
                Some(client) if !client.is_closed() => client,
                _ => settings.connect()?,
            };
            let begun = settings.begin(&mut client);
            let mut transaction = begun.map_err(pg::Error::on("cannot look at the table"))?;
            let table = Table::find(&mut transaction, schema.schema.as_deref(), &schema.table)?;
            let missing = || {
                pg::Error::found(Fault::Setup, format!("there is no table `{}`", schema.table))
                    .with_hint("load it first, or connect to the database that has it")
            };
            let table = table.ok_or_else(missing)?;
            // Nothing is written, so that an identity column is like any other.
            table.check(&Schema { overriding_system_value: true, ..schema.clone() })?;
            Ok::<_, pg::Error>(table)
        })?;
        let comparison = Comparison::of(schema, &table, number);
        let pool = Pool::new(settings, connections)?;
        let fewer = Limits { rows: limits.rows.min(IN_FULL), ..limits.clone() };
        let (division, in_full) =
            (Division::new(schema, limits, connections, true)?, Division::new(schema, fewer, connections, true)?);
        Ok(Self {
            settings: settings.clone(),
            pool,
            comparison,
            encoder: Encoder::new(schema),
            retry,
            division,
            in_full,
        })
    }

    /// Compares the rows of a batch, and keeps those that have to be looked at again.
    pub(crate) fn compare(
        &self,
        rows: &mut Held,
        segments: &[Segment],
        apart: &[usize],
        pending: &mut Pending,
    ) -> Result<Settled, Failure> {
        let files = segments.iter().map(|segment| segment.file.clone()).collect();
        let look = Look { target: self, files, pending: Mutex::new(pending) };
        self.division.run(rows, segments, apart, &look, &no_limit())
    }

    /// Says what is wrong with the rows that were kept, if it still is.
    pub(crate) fn report(&self, pending: &mut Pending, findings: &mut Findings) -> Result<(), Failure> {
        let mut batch = pending.batch()?;
        let Some(rows) = batch.tables.first_mut() else { return Ok(()) };
        let report = Report { target: self, found: Mutex::new((pending, findings)) };
        let settled = self.in_full.run(rows, &batch.segments, &batch.apart, &report, &no_limit())?;
        match settled.rejected.first() {
            None => Ok(()),
            Some(first) => {
                let message = format!("merged with others of its key, a row cannot be compared: {}", first.reason);
                Err(Problem::new(Fault::Input, message).into())
            }
        }
    }

    /// One transaction with these rows in the stage, and what a query says of them.
    fn ask<T>(
        &self,
        rows: &Entries,
        places: &Range<usize>,
        query: &str,
        answer: impl Fn(&Answer) -> Result<T, postgres::Error>,
    ) -> Result<(Vec<Refused>, Vec<T>), pg::Error> {
        let failed = || pg::Error::on(ACTION);
        self.retry.run(|| {
            self.pool.run(self.retry.stop(), |client| {
                let mut transaction = self.settings.begin(client).map_err(failed())?;
                transaction.batch_execute(&self.comparison.prologue).map_err(failed())?;
                transaction.batch_execute(READ_ONLY).map_err(failed())?;
                let mut copy = transaction.copy_in(self.comparison.copy.as_str()).map_err(failed())?;
                let unwritable = self.encoder.send(rows, std::slice::from_ref(places), true, &mut copy);
                let unwritable = unwritable.map_err(|error| pg::Error::of_copy(ACTION, error))?;
                copy.finish().map_err(failed())?;
                let answers = {
                    // The rows keep their prepared statement alive. It has to be closed in this transaction: the next one may
                    // run in another session of the server.
                    let rows = transaction.query(query, &[]).map_err(failed())?;
                    rows.iter().map(&answer).collect::<Result<_, _>>().map_err(failed())?
                };
                // The rollback removes the stage, the functions and the settings.
                transaction.rollback().map_err(failed())?;
                Ok((unwritable, answers))
            })
        })
    }
}

/// Rejects say nothing here: the load has met them before.
fn no_limit() -> Watch {
    Watch::new(MaxRejects::Percent(100.0), 0, 0, 0)
}

/// What stands in the way on this side, as an error of a transaction.
fn here(error: &dyn Classify) -> pg::Error {
    pg::Error::found(error.fault(), explain(error))
}

fn place(answer: &Answer) -> Result<usize, postgres::Error> {
    answer.try_get::<_, i32>(0).map(|place| usize::try_from(place).unwrap_or_default())
}

/// The first look at rows.
struct Look<'a> {
    target: &'a Target,
    /// Of each segment.
    files: Vec<Option<Arc<str>>>,
    pending: Mutex<&'a mut Pending>,
}

impl Transact for Look<'_> {
    // The table has what rows of one key make together.
    const FOLDS: bool = false;

    fn in_time(&self) -> Result<(), Problem> {
        self.target.retry.stop().in_time()
    }

    fn transact(&self, rows: &Entries, places: Range<usize>, _: bool, _: Allowance) -> Result<Outcome, pg::Error> {
        let (unwritable, differing) = self.target.ask(rows, &places, &self.target.comparison.differing, place)?;
        let mut differs = vec![false; places.len()];
        for place in differing {
            differs[place - places.start] = true;
        }
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = |place: usize| unwritable.iter().any(|refused| refused.place == place);
        for (place, differs) in places.zip(differs) {
            if (differs || pending.may_have(rows.key(place))) && !refused(place) {
                let from = records::of_row(rows.entry(place), &self.files);
                pending.add(rows, place, from).map_err(|error| here(&*error))?;
            }
        }
        Ok(Outcome { refused: unwritable, ..Outcome::default() })
    }
}

/// The last look.
struct Report<'a> {
    target: &'a Target,
    found: Mutex<(&'a Pending, &'a mut Findings)>,
}

impl Transact for Report<'_> {
    // The table has what rows of one key make together.
    const FOLDS: bool = false;

    fn in_time(&self) -> Result<(), Problem> {
        self.target.retry.stop().in_time()
    }

    fn transact(&self, rows: &Entries, places: Range<usize>, _: bool, _: Allowance) -> Result<Outcome, pg::Error> {
        let finding = |answer: &Answer| {
            Ok(Finding {
                place: place(answer)?,
                missing: answer.try_get(1)?,
                columns: answer.try_get(2)?,
                key: answer.try_get(3)?,
                expected: answer.try_get(4)?,
                found: answer.try_get(5)?,
            })
        };
        let (unwritable, found) = self.target.ask(rows, &places, &self.target.comparison.sides, finding)?;
        let mut guard = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let (pending, findings) = &mut *guard;
        for finding in found {
            let records = pending.records(rows.entry(finding.place));
            let added = records.and_then(|records| findings.add(&finding, &records));
            added.map_err(|error| here(&*error))?;
        }
        Ok(Outcome { refused: unwritable, ..Outcome::default() })
    }
}
