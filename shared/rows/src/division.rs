//! Splits the rows of a batch into transactions of one size, shared out to connections. A merged row that is refused is retried
//! as its parts, so that no record is refused for another's sake. A transaction that fails as a whole is bisected. What a
//! transaction does with its rows, and how it finds the rows that are refused, is the program's matter.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use fault::{Classify as _, Failure, Fault, Problem};
use profile::{Column, Merger, Schema};
use tracing::{debug, warn};

use crate::batch::{Held, Limits, Segment};
use crate::entries::{Entries, Origin, number_of};
use crate::gather::{Gathered, PARTS, Scratch};
use crate::key::Keys;
use crate::settle::{Outcome, Refused, Settled};
use crate::tolerance::{Allowance, Watch};

/// Single rows from all over a batch that are tried before an error is taken for that of the table or the session.
const PROBES: usize = 32;

/// What a program does with rows.
pub trait Transact: Sync {
    /// Whether it comes to the same when rows of one key come one after the other instead of as the one that they make.
    const FOLDS: bool;

    /// Whether there is still time for a transaction.
    ///
    /// # Errors
    /// A stop was asked for so long ago that no more is begun.
    fn in_time(&self) -> Result<(), Problem>;

    /// What the table says of keys that are not certain: of each row that has the key of an earlier one its place, and that
    /// of the first row which has it. Only a program that [folds](Self::FOLDS) is asked.
    ///
    /// # Errors
    /// What no record is to blame for.
    fn same_keys(&self, _: &Entries) -> Result<Vec<(usize, usize)>, pg::Error> {
        Ok(Vec::new())
    }

    /// Does it with the rows with these indexes, retries included, and says what became of them. `passed`: another row of the
    /// batch has passed, so that an error which any cause may have is that of its row. Work may end when more rows are refused than
    /// the allowance says.
    ///
    /// # Errors
    /// It came to nothing. Rows are tried again in parts if one of them may be to blame, or if they are too many for the server's
    /// time limit.
    fn transact(
        &self,
        rows: &Entries,
        places: Range<usize>,
        passed: bool,
        allowance: Allowance,
    ) -> Result<Outcome, pg::Error>;
}

/// Divides batches of rows of one schema.
#[derive(Debug)]
pub struct Division {
    columns: Vec<Column>,
    keys: Keys,
    merger: Merger,
    limits: Limits,
    connections: usize,
    /// Keys that are certain here are different ones in the table, too.
    exact: bool,
    /// Rows of one key are never one, and each is written after the last.
    one_by_one: bool,
    /// At most so many rows go into one transaction: fewer after one took longer than the server allows.
    most: AtomicUsize,
}

impl Division {
    /// For at most so many connections. Whether the table has types by which keys can be told apart here, `apart` says.
    ///
    /// # Errors
    /// A name in the schema that is no column.
    pub fn new(schema: &Schema, limits: Limits, connections: u32, apart: bool) -> Result<Self, Problem> {
        let keys = Keys::of(schema).map_err(|name| crate::no_column(&name))?;
        let merger = Merger::new(schema).map_err(|name| crate::no_column(&name))?;
        let (exact, one_by_one) = (keys.can_be_certain() && apart, schema.by_sql());
        let connections = if exact { usize::try_from(connections).unwrap_or(1) } else { 1 };
        let (columns, most) = (schema.columns.clone(), AtomicUsize::new(limits.rows));
        Ok(Self { columns, keys, merger, limits, connections, exact, one_by_one, most })
    }

    /// Does it with every row of a batch and of this table, each key once, and says what became of each record. It is cut
    /// when `watch` has seen too many rejects. Rows of segments that have different numbers in `apart` stay apart.
    ///
    /// # Errors
    /// What no record is to blame for.
    pub fn run<P: Transact>(
        &self,
        rows: &mut Held,
        segments: &[Segment],
        apart: &[usize],
        program: &P,
        watch: &Watch,
    ) -> Result<Settled, Failure> {
        let (next, passed, undecided) = (AtomicUsize::new(0), AtomicBool::new(false), Mutex::default());
        let work = Work { division: self, segments, apart, next, program, watch, passed, undecided };
        let mut results = match rows {
            Held::Few(entries) => {
                if P::FOLDS && !(self.exact && entries.are_certain()) {
                    entries.set_same_keys(&program.same_keys(entries)?);
                }
                entries.sort();
                if !self.one_by_one {
                    entries.merge(&self.merger, work.apart);
                }
                let (entries, rows) = (&*entries, self.share(entries.len()));
                let mut results = self.connect(|| work.few(entries, rows));
                results.push(work.decide(entries));
                results
            }
            Held::Many(gathered) => {
                let (gathered, rows) = (&*gathered, self.share(gathered.keys()));
                self.connect(|| work.many(gathered, rows))
            }
        };
        let mut settled = Settled::default();
        for result in results.drain(..) {
            settled.add(result?);
        }
        Ok(settled)
    }

    /// Transactions of one size, as many for each connection: how many rows one has.
    fn share(&self, rows: usize) -> usize {
        let rounds = rows.div_ceil(self.connections * self.most()).max(1);
        rows.div_ceil(self.connections * rounds).max(1)
    }

    /// How many rows go into one transaction.
    fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed).max(1)
    }

    /// The columns of the rows.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// How keys of the rows are written.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Whether equal keys have equal bytes, and others other ones.
    pub fn is_exact(&self) -> bool {
        self.exact
    }

    /// Whether rows of one key are merged into one before they are sent.
    pub fn has_each_key_once(&self) -> bool {
        self.exact && !self.one_by_one
    }

    /// Does the same work on a thread for each connection.
    fn connect(&self, work: impl Fn() -> Result<Settled, Failure> + Sync) -> Vec<Result<Settled, Failure>> {
        thread::scope(|scope| {
            let others: Vec<_> = (1..self.connections).map(|_| scope.spawn(&work)).collect();
            let first = work();
            let others = others.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err(died().into())));
            std::iter::once(first).chain(others).collect()
        })
    }
}

/// A batch that several threads take rows from.
struct Work<'a, P> {
    division: &'a Division,
    segments: &'a [Segment],
    apart: &'a [usize],
    /// The first row, or the first part of the rows, that nobody has taken yet.
    next: AtomicUsize,
    program: &'a P,
    watch: &'a Watch,
    /// A row of the batch has passed.
    passed: AtomicBool,
    /// Rows of a transaction in which none passed, with an error which any cause may have.
    undecided: Mutex<Vec<(Range<usize>, pg::Error)>>,
}

/// Takes rows of one key, and whether they are the last of it.
type Take<'a> = &'a mut dyn FnMut(&Entries, bool) -> Result<(), Failure>;

/// Hands on the rows that the one in a place was made of, as they came.
type MadeOf<'a> = &'a dyn Fn(usize, Take<'_>) -> Result<(), Failure>;

/// Rows that are taken together.
struct Together<'a> {
    rows: &'a Entries,
    /// If they were merged.
    made_of: Option<MadeOf<'a>>,
    outcome: Outcome,
    /// A row of them, or another one of the batch, has passed.
    passed: bool,
    /// Single rows that failed with an error which any cause may have, before a row passed.
    unclear: Vec<(Refused, pg::Error)>,
    /// No row of them passes, with an error which any cause may have.
    hopeless: Option<pg::Error>,
    /// There were too many rejects to go on.
    cut: bool,
}

impl<P: Transact> Work<'_, P> {
    /// Takes one range of the sorted rows after the other. Neighbours in the index come together, and two connections
    /// never wait for each other.
    fn few(&self, entries: &Entries, rows: usize) -> Result<Settled, Failure> {
        let mut settled = Settled::default();
        loop {
            let start = self.next.fetch_add(rows, Ordering::Relaxed);
            if start >= entries.len() {
                return Ok(settled);
            }
            // Rows of one key that are apart stay on one connection, in their order.
            let places = entries.next_key(start)..entries.next_key(start + rows);
            let done = if self.division.one_by_one {
                self.one_by_one(entries, places, &mut settled)
            } else {
                let done = self.transaction(entries, places.clone(), Some(&by_themselves(entries)), &mut settled);
                done.map(|undecided| self.leave(places, undecided))
            };
            if done.is_err() || settled.cut {
                // The others need not begin what comes to nothing.
                self.next.store(entries.len(), Ordering::Relaxed);
            }
            done?;
        }
    }

    /// Transactions in which each key is once.
    fn one_by_one(&self, entries: &Entries, places: Range<usize>, settled: &mut Settled) -> Result<(), Failure> {
        let mut start = places.start;
        for place in places.start + 1..=places.end {
            if place == places.end || entries.key(place) == entries.key(place - 1) {
                let undecided = self.transaction(entries, start..place, None, settled)?;
                self.leave(start..place, undecided);
                if settled.cut {
                    return Ok(());
                }
                start = place;
            }
        }
        Ok(())
    }

    /// Takes one part of gathered rows after the other, about so many rows together. All connections together hold no
    /// more than the bytes of a transaction.
    fn many(&self, gathered: &Gathered, rows: usize) -> Result<Settled, Failure> {
        let Division { keys, merger, limits, connections, .. } = self.division;
        let (mut settled, mut entries, mut scratch) = (Settled::default(), Entries::default(), Scratch::default());
        let bytes = limits.bytes / *connections as u64;
        loop {
            let part = self.next.fetch_add(1, Ordering::Relaxed);
            if part < PARTS {
                let taken = gathered.part(part, keys, merger, self.apart, &mut scratch, &mut entries);
                taken.map_err(|error| cannot_read(&error))?;
            }
            if part >= PARTS || entries.len() >= rows || entries.bytes() >= bytes {
                entries.sort();
                let transactions = entries.len().div_ceil(self.division.most()).max(1);
                let rows = entries.len().div_ceil(transactions).max(1);
                for start in (0..entries.len()).step_by(rows) {
                    let places = start..entries.len().min(start + rows);
                    let made_of = |place: usize, take: Take<'_>| {
                        let number = number_of(self.apart, &entries.entry(place).origin);
                        let key = entries.key(place);
                        let taken = gathered.of_key(key, keys, (self.apart, number), take);
                        taken.map_err(|error| cannot_read(&error))?
                    };
                    let done = self.transaction(&entries, places, Some(&made_of), &mut settled);
                    let done = done.and_then(|undecided| {
                        // Of so many rows none passed.
                        undecided.map_or(Ok(()), |error| Err(self.hopeless(&entries, &error).into()))
                    });
                    if done.is_err() || settled.cut {
                        self.next.store(PARTS, Ordering::Relaxed);
                    }
                    done?;
                    if settled.cut {
                        return Ok(settled);
                    }
                }
                entries.clear();
            }
            if part >= PARTS {
                return Ok(settled);
            }
        }
    }

    /// Keeps rows for later, if it is not known yet whether others of the batch pass.
    fn leave(&self, places: Range<usize>, undecided: Option<pg::Error>) {
        // Nobody panics who holds it.
        let mut all = self.undecided.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend(undecided.map(|error| (places, error)));
    }

    /// Takes the rows that were kept for later. If no row of the batch passed, the table or the session is at fault.
    fn decide(&self, entries: &Entries) -> Result<Settled, Failure> {
        let mut settled = Settled::default();
        let undecided = std::mem::take(&mut *self.undecided.lock().unwrap_or_else(PoisonError::into_inner));
        for (places, error) in undecided {
            let made_of = by_themselves(entries);
            let made_of: Option<MadeOf<'_>> = if self.division.one_by_one { None } else { Some(&made_of) };
            let undecided = if self.passed.load(Ordering::Relaxed) {
                self.transaction(entries, places, made_of, &mut settled)?
            } else {
                Some(error)
            };
            if let Some(error) = undecided {
                return Err(self.hopeless(entries, &error).into());
            }
            if settled.cut {
                break;
            }
        }
        Ok(settled)
    }

    /// Takes the rows with these indexes, and says what became of them. If none passes, here or in another transaction of the batch
    /// until now, with an error which any cause may have, that error comes back instead.
    fn transaction(
        &self,
        rows: &Entries,
        places: Range<usize>,
        made_of: Option<MadeOf<'_>>,
        settled: &mut Settled,
    ) -> Result<Option<pg::Error>, Failure> {
        let Self { division: Division { columns, .. }, segments, .. } = self;
        let (outcome, unclear, passed) = (Outcome::default(), Vec::new(), self.passed.load(Ordering::Relaxed));
        let mut together = Together { rows, made_of, outcome, passed, unclear, hopeless: None, cut: false };
        self.divide(&mut together, places.clone(), settled)?;
        let Together { outcome, unclear, hopeless, cut, .. } = together;
        let unclear = unclear.into_iter().next().map(|(refused, error)| error.with_example(refused.place));
        if let Some(error) = hopeless.or(unclear) {
            return Ok(Some(error));
        }
        if cut {
            settled.cut(segments, rows, &outcome.refused, columns);
        } else {
            settled.rows(segments, rows, places, &outcome, columns);
        }
        Ok(None)
    }

    /// Takes these rows. What fails as a whole is bisected.
    fn divide(&self, together: &mut Together<'_>, places: Range<usize>, settled: &mut Settled) -> Result<(), Failure> {
        if together.cut || together.hopeless.is_some() || places.is_empty() {
            return Ok(());
        }
        self.program.in_time()?;
        let transact = |together: &Together<'_>, allowance| {
            self.program.transact(together.rows, places.clone(), together.passed, allowance)
        };
        // The parts of a merged row that is refused may pass.
        let merged = together.rows.weight(places.clone()) > places.len() as u64;
        let mut done = transact(together, if merged { Allowance::UNLIMITED } else { self.watch.allowance() });
        if done.as_ref().is_ok_and(|done| done.unfinished && !self.watch.would_exceed(done.refused.len() as u64)) {
            // Another connection has written rows meanwhile.
            done = transact(together, Allowance::UNLIMITED);
        }
        let error = match done {
            Ok(outcome) => return self.take(together, places, outcome, settled),
            Err(error) => error,
        };
        let of_record = error.fault() == Fault::Record;
        if places.len() == 1 && error.may_be_of_a_record() && error.example().is_none() {
            let sqlstate = error.sqlstate().map(str::to_owned);
            let refused = Refused { place: places.start, sqlstate, reason: error.cause().to_owned() };
            if of_record || together.passed {
                return self.refuse(together, refused, settled);
            }
            together.unclear.push((refused, error));
            return Ok(());
        }
        if error.example().is_some() {
            together.hopeless = Some(error);
            return Ok(());
        }
        if places.len() == 1 || !(error.may_be_of_a_record() || error.is_too_slow()) {
            return Err(error.into());
        }
        debug!("A transaction of {} rows failed and is bisected: {}", places.len(), error.cause());
        if error.is_too_slow() {
            let most = places.len().div_ceil(2);
            self.division.most.fetch_min(most, Ordering::Relaxed);
            warn!("PostgreSQL: {error}; from now on a transaction has at most {most} rows");
        } else if !of_record && !together.passed {
            return self.probe(together, places, settled);
        }
        let middle = places.start + places.len() / 2;
        self.divide(together, places.start..middle, settled)?;
        self.divide(together, middle..places.end, settled)
    }

    /// The error of a batch of which no row passes: the table or the session is at fault. One record is named as an example.
    fn hopeless(&self, rows: &Entries, error: &pg::Error) -> Problem {
        let example = error.example().map_or_else(String::new, |row| {
            let Origin { segment, records, .. } = &rows.entry(row).origin;
            let file = self.segments[*segment].file.as_deref();
            let of_file = file.map_or_else(String::new, |file| format!(" of {file}"));
            let record = records.first().map_or_else(|| "a row".to_owned(), |record| format!("record {record}"));
            let data = crate::settle::json_of(rows.row(row), &self.division.columns);
            format!("; no row of the batch passes, for example {record}{of_file}: {}", shortened(&data))
        });
        let problem = Problem::new(error.fault(), format!("{error}{example}"));
        match error.hint() {
            Some(hint) => problem.with_hint(hint),
            None => problem.with_hint("look at the table: its triggers, policies and types"),
        }
    }

    /// Takes single rows from all over the batch at first: if none of them passes, no record is to blame. Then takes the others.
    fn probe(&self, together: &mut Together<'_>, places: Range<usize>, settled: &mut Settled) -> Result<(), Failure> {
        let probes = places.len().min(PROBES);
        let starts: Vec<_> = (0..=probes).map(|probe| places.start + probe * places.len() / probes).collect();
        for &start in &starts[..probes] {
            self.divide(together, start..start + 1, settled)?;
        }
        if !together.passed {
            // The first of them says why the run stops.
            return Ok(());
        }
        starts.windows(2).try_for_each(|pair| self.divide(together, pair[0] + 1..pair[1], settled))
    }

    /// These rows were taken, but for some.
    fn take(
        &self,
        together: &mut Together<'_>,
        places: Range<usize>,
        outcome: Outcome,
        settled: &mut Settled,
    ) -> Result<(), Failure> {
        let Outcome { refused, waiting, left_alone, suppressed, retried_as_parts, unfinished } = outcome;
        if unfinished {
            self.watch.reject(refused.len() as u64);
            together.outcome.refused.extend(refused);
            together.cut = true;
            return Ok(());
        }
        let weight = |place: usize| together.rows.entry(place).weight();
        let unwritten: u64 = refused.iter().chain(&waiting).map(|refused| weight(refused.place)).sum();
        self.watch.accept(together.rows.weight(places.clone()) - unwritten);
        together.passed |= refused.len() < places.len();
        self.passed.fetch_or(together.passed, Ordering::Relaxed);
        let (refused_here, unfinished) = (Vec::new(), false);
        together.outcome.add(Outcome {
            refused: refused_here,
            waiting,
            left_alone,
            suppressed,
            retried_as_parts,
            unfinished,
        });
        let unclear = if together.passed { std::mem::take(&mut together.unclear) } else { Vec::new() };
        let unclear = unclear.into_iter().map(|(refused, _)| refused);
        unclear.chain(refused).try_for_each(|refused| self.refuse(together, refused, settled))
    }

    /// One row is not taken. If it was made of several, some of these are taken as one, so that only the ones that are to
    /// blame are lost.
    fn refuse(&self, together: &mut Together<'_>, refused: Refused, settled: &mut Settled) -> Result<(), Failure> {
        let place = refused.place;
        let weight = together.rows.entry(place).weight();
        let mut alone = true;
        if let Some(made_of) = together.made_of.filter(|_| P::FOLDS && weight > 1) {
            made_of(place, &mut |rows, last| {
                let all = 0..rows.len();
                if alone && last {
                    if rows.len() > 1 {
                        let middle = rows.len() / 2;
                        self.as_one(rows, 0..middle, settled)?;
                        self.as_one(rows, middle..rows.len(), settled)?;
                        alone = false;
                    }
                    return Ok(());
                }
                alone = false;
                self.as_one(rows, all, settled)
            })?;
        }
        if alone {
            self.watch.reject(weight);
            together.outcome.refused.push(refused);
            together.cut |= self.watch.exceeded();
        } else {
            together.outcome.retried_as_parts.push(place);
            together.cut |= settled.cut;
        }
        Ok(())
    }

    /// Takes the rows of one key in these places as the one that they make.
    fn as_one(&self, rows: &Entries, places: Range<usize>, settled: &mut Settled) -> Result<(), Failure> {
        if settled.cut || places.is_empty() {
            return Ok(());
        }
        let one = rows.folded(places, &self.division.merger);
        // The row that they made was told from the others of its batch before.
        self.passed.store(true, Ordering::Relaxed);
        let undecided = self.transaction(&one, 0..1, Some(&by_themselves(&one)), settled)?;
        undecided.map_or(Ok(()), |error| Err(self.hopeless(&one, &error).into()))
    }
}

/// What rows were made of, as they know it themselves.
fn by_themselves(rows: &Entries) -> impl Fn(usize, Take<'_>) -> Result<(), Failure> {
    |place, take| take(&rows.made_of(place), true)
}

/// The beginning of a row's JSON, for a message.
fn shortened(data: &str) -> String {
    match data.char_indices().nth(200) {
        Some((end, _)) => format!("{}…", &data[..end]),
        None => data.to_owned(),
    }
}

fn cannot_read(error: &io::Error) -> Problem {
    Problem::new(Fault::Local, format!("cannot read gathered rows: {error}"))
}

fn died() -> pg::Error {
    pg::Error::found(Fault::Local, "a thread died: this is a bug")
}
