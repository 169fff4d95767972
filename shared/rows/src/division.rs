//! The rows of a batch, shared out to connections in transactions of one size. One that fails on data is split in halves
//! until the row that is to blame is alone, and that one into what it was made of, so that no record is refused for
//! another's sake. What a transaction does with its rows is the program's matter.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use fault::{Classify as _, Failure, Fault, Problem};
use profile::{Column, Merger, Schema};
use tracing::warn;

use crate::batch::{Held, Limits, Segment};
use crate::entries::{Entries, number_of};
use crate::gather::{Gathered, PARTS, Scratch};
use crate::key::Keys;
use crate::settle::{Refused, Settled};
use crate::tolerance::Watch;

/// SQLSTATE `cardinality_violation`: two rows have a key that PostgreSQL takes for the same.
const SAME_KEY: &str = "21000";

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

    /// One transaction, retries included, with the rows in these places: those that PostgreSQL was not even asked about come
    /// back.
    ///
    /// # Errors
    /// It came to nothing. If the fault is that of a record, it is tried with fewer of them.
    fn transact(&self, rows: &Entries, places: Range<usize>) -> Result<Vec<Refused>, pg::Error>;
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
        Ok(Self { columns: schema.columns.clone(), keys, merger, limits, connections, exact, one_by_one })
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
        let work = Work { division: self, segments, apart, next: AtomicUsize::new(0), program, watch };
        let results = match rows {
            Held::Few(entries) => {
                if P::FOLDS && !(self.exact && entries.are_certain()) {
                    entries.set_same_keys(&program.same_keys(entries)?);
                }
                entries.sort();
                if !self.one_by_one {
                    entries.merge(&self.merger, work.apart);
                }
                let (entries, rows) = (&*entries, self.share(entries.len()));
                self.connect(|| work.few(entries, rows))
            }
            Held::Many(gathered) => {
                let (gathered, rows) = (&*gathered, self.share(gathered.keys()));
                self.connect(|| work.many(gathered, rows))
            }
        };
        let mut settled = Settled::default();
        for result in results {
            settled.add(result?);
        }
        Ok(settled)
    }

    /// Transactions of one size, as many for each connection: how many rows one has.
    fn share(&self, rows: usize) -> usize {
        let rounds = rows.div_ceil(self.connections * self.limits.rows).max(1);
        rows.div_ceil(self.connections * rounds).max(1)
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
    refused: Vec<Refused>,
    /// Rows of which what they were made of was taken instead.
    replaced: Vec<usize>,
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
                self.transaction(entries, places, Some(&by_themselves(entries)), &mut settled)
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
                self.transaction(entries, start..place, None, settled)?;
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
                let transactions = entries.len().div_ceil(limits.rows).max(1);
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

    /// Takes the rows in these places, and says what became of them.
    fn transaction(
        &self,
        rows: &Entries,
        places: Range<usize>,
        made_of: Option<MadeOf<'_>>,
        settled: &mut Settled,
    ) -> Result<(), Failure> {
        let Self { division: Division { columns, .. }, segments, .. } = self;
        let mut together = Together { rows, made_of, refused: Vec::new(), replaced: Vec::new(), cut: false };
        self.divide(&mut together, places.clone(), settled)?;
        let Together { refused, replaced, cut, .. } = together;
        if cut {
            settled.cut(segments, rows, &refused, columns);
        } else {
            settled.rows(segments, rows, places, &refused, &replaced, columns);
        }
        Ok(())
    }

    /// Takes these rows, halved as often as an error of data asks for it, until too many are refused.
    fn divide(&self, together: &mut Together<'_>, places: Range<usize>, settled: &mut Settled) -> Result<(), Failure> {
        if together.cut {
            return Ok(());
        }
        self.program.in_time()?;
        let error = match self.program.transact(together.rows, places.clone()) {
            Ok(unwritable) => {
                let unwritten: u64 = unwritable.iter().map(|refused| together.rows.entry(refused.place).weight()).sum();
                self.watch.accept(together.rows.weight(places) - unwritten);
                return unwritable.into_iter().try_for_each(|refused| self.refuse(together, refused, settled));
            }
            Err(error) => error,
        };
        if places.len() == 1 && error.fault() == Fault::Record {
            let sqlstate = error.sqlstate().map(str::to_owned);
            let refused = Refused { place: places.start, sqlstate, reason: error.cause().to_owned() };
            return self.refuse(together, refused, settled);
        }
        if places.len() > 1 && may_be_divided(&error) {
            let middle = places.start + places.len() / 2;
            let (first, second) = (places.start..middle, middle..places.end);
            let (count, one, two) = (places.len(), first.len(), second.len());
            warn!("Batch of {count} failed, splitting into {one} + {two}: {}", error.cause());
            self.divide(together, first, settled)?;
            return self.divide(together, second, settled);
        }
        Err(error.into())
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
            together.refused.push(refused);
            together.cut |= self.watch.exceeded();
        } else {
            together.replaced.push(place);
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
        self.transaction(&one, 0..1, Some(&by_themselves(&one)), settled)
    }
}

/// What rows were made of, as they know it themselves.
fn by_themselves(rows: &Entries) -> impl Fn(usize, Take<'_>) -> Result<(), Failure> {
    |place, take| take(&rows.made_of(place), true)
}

/// Whether fewer rows may come through.
fn may_be_divided(error: &pg::Error) -> bool {
    error.fault() == Fault::Record || error.sqlstate() == Some(SAME_KEY)
}

fn cannot_read(error: &io::Error) -> Problem {
    Problem::new(Fault::Local, format!("cannot read gathered rows: {error}"))
}

fn died() -> pg::Error {
    pg::Error::found(Fault::Local, "a thread died: this is a bug")
}
