//! The rows of a batch, shared out to connections in transactions of one size. One that fails on data is split in halves
//! until the record that is to blame is alone. What a transaction does with its rows is the program's matter.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use fault::{Classify as _, Failure, Fault, Problem};
use profile::{Column, Merger, Schema};
use tracing::warn;

use crate::batch::{Held, Limits, Segment};
use crate::entries::Entries;
use crate::gather::{Gathered, PARTS, Scratch};
use crate::key::Keys;
use crate::settle::{Refused, Settled};
use crate::tolerance::Watch;

/// SQLSTATE `cardinality_violation`: two rows have a key that PostgreSQL takes for the same.
const SAME_KEY: &str = "21000";

/// What a program does with rows.
pub trait Transact: Sync {
    /// Whether there is still time for a transaction.
    ///
    /// # Errors
    /// A stop was asked for so long ago that no more is begun.
    fn in_time(&self) -> Result<(), Problem>;

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
    /// Rows of one key are never one, and each is written after the last.
    one_by_one: bool,
}

impl Division {
    /// For at most so many connections.
    ///
    /// # Errors
    /// A name in the schema that is no column.
    pub fn new(schema: &Schema, limits: Limits, connections: u32) -> Result<Self, Problem> {
        let no_column = |name| Problem::new(Fault::Setup, format!("`{name}` is not a column of the rows"));
        let keys = Keys::of(schema).map_err(no_column)?;
        let merger = Merger::new(schema).map_err(no_column)?;
        let connections = if keys.parted() { usize::try_from(connections).unwrap_or(1) } else { 1 };
        Ok(Self { columns: schema.columns.clone(), keys, merger, limits, connections, one_by_one: schema.by_sql() })
    }

    /// Does it with every row of a batch and of this table, each key once, and says what became of each record. It is cut
    /// when `watch` has seen too many rejects. Rows of segments that have different numbers in `apart` stay apart.
    ///
    /// # Errors
    /// What no record is to blame for.
    pub fn run(
        &self,
        rows: &mut Held,
        segments: &[Segment],
        apart: &[usize],
        program: &impl Transact,
        watch: &Watch,
    ) -> Result<Settled, Failure> {
        let work = Work { division: self, segments, apart, next: AtomicUsize::new(0), program, watch };
        let results = match rows {
            Held::Few(entries) => {
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
                self.transaction(entries, places, &mut settled)
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
                self.transaction(entries, start..place, settled)?;
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
                taken.map_err(|error| Problem::new(Fault::Local, format!("cannot read gathered rows: {error}")))?;
            }
            if part >= PARTS || entries.len() >= rows || entries.bytes() >= bytes {
                entries.sort();
                let transactions = entries.len().div_ceil(limits.rows).max(1);
                let rows = entries.len().div_ceil(transactions).max(1);
                for start in (0..entries.len()).step_by(rows) {
                    let places = start..entries.len().min(start + rows);
                    let done = self.transaction(&entries, places, &mut settled);
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

    fn transaction(&self, entries: &Entries, places: Range<usize>, settled: &mut Settled) -> Result<(), Failure> {
        let Self { division, segments, program, watch, .. } = self;
        program.in_time()?;
        let mut refused = Vec::new();
        divide(entries, places.clone(), &mut refused, *program, watch)?;
        if !refused.is_empty() && watch.exceeded() {
            settled.cut(segments, entries, &refused, &division.columns);
        } else {
            settled.rows(segments, entries, places, &refused, &division.columns);
        }
        Ok(())
    }
}

/// Takes these rows, halved as often as an error of data asks for it, until too many are refused.
fn divide(
    rows: &Entries,
    places: Range<usize>,
    refused: &mut Vec<Refused>,
    program: &impl Transact,
    watch: &Watch,
) -> Result<(), pg::Error> {
    if !refused.is_empty() && watch.exceeded() {
        return Ok(());
    }
    let error = match program.transact(rows, places.clone()) {
        Ok(unwritable) => {
            let unwritten = unwritable.iter().map(|refused| rows.entry(refused.place).weight()).sum();
            watch.accept(rows.weight(places) - unwritten);
            watch.reject(unwritten);
            refused.extend(unwritable);
            return Ok(());
        }
        Err(error) => error,
    };
    let of_record = error.fault() == Fault::Record;
    if places.len() == 1 && of_record {
        let sqlstate = error.sqlstate().map(str::to_owned);
        watch.reject(rows.entry(places.start).weight());
        refused.push(Refused { place: places.start, sqlstate, reason: error.cause().to_owned() });
        return Ok(());
    }
    if places.len() > 1 && (of_record || error.sqlstate() == Some(SAME_KEY)) {
        let middle = places.start + places.len() / 2;
        let (first, second) = (places.start..middle, middle..places.end);
        let (count, one, two) = (places.len(), first.len(), second.len());
        warn!("Batch of {count} failed, splitting into {one} + {two}: {}", error.cause());
        divide(rows, first, refused, program, watch)?;
        return divide(rows, second, refused, program, watch);
    }
    Err(error)
}

fn died() -> pg::Error {
    pg::Error::found(Fault::Local, "a thread died: this is a bug")
}
