//! Lines of data on their way to rows, in chunks. Threads get them in turns and give them back in turns, so that what comes
//! out is in the order of what went in; a single job does without. What becomes of the rows, `parse` and `output` know.

use std::collections::VecDeque;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{Scope, ScopedJoinHandle};

use bumpalo::Bump;
use fault::{Fault, Problem};
use item::{Decoder, Encoding, Record};
use profile::{Before, Fate, RowView, Rows};

use crate::output::Make;

/// A chunk goes to a thread when it has so many bytes.
const FULL: usize = 64 << 10;

/// So many chunks for each thread: it has work while rows are written.
const CHUNKS: usize = 5;

/// With so many bytes at the threads no more are given to them; nor does one keep more memory for the items.
const MOST: usize = 4 << 20;

/// Lines of data, and what was made of each.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    encoding: Encoding,
    /// Of records of incremental exports.
    before: Before,
    text: Vec<u8>,
    /// Where each line ends.
    ends: Vec<usize>,
    /// For each line what has become of it, and where its rows end.
    outcomes: Vec<(Outcome, usize)>,
    rows: Rows,
    /// For each row its table, and whether it is deleted.
    kinds: Vec<(usize, bool)>,
}

/// What has become of a line.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Why it is rejected, if it is not taken.
    pub(crate) fate: Result<Fate, String>,
    /// Whether it is a record of an incremental export.
    pub(crate) change: bool,
}

/// The rows of a line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Made<'a> {
    rows: &'a Rows,
    kinds: &'a [(usize, bool)],
    start: usize,
}

impl<'a> Made<'a> {
    /// Each row, with the place of its table.
    pub(crate) fn rows(self) -> impl Iterator<Item = (usize, RowView<'a>)> {
        self.of_kind(false)
    }

    /// Each row that is no longer, with the place of its table: the cells of its key and of the version, the others null.
    pub(crate) fn deleted(self) -> impl Iterator<Item = (usize, RowView<'a>)> {
        self.of_kind(true)
    }

    fn of_kind(self, wanted: bool) -> impl Iterator<Item = (usize, RowView<'a>)> {
        let kinds = self.kinds.iter().enumerate().filter(move |(_, (_, deleted))| *deleted == wanted);
        kinds.map(move |(place, &(table, _))| (table, self.rows.get(self.start + place)))
    }
}

impl Chunk {
    /// Empties it, and keeps its memory.
    fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
        self.outcomes.clear();
        self.rows.clear();
        self.kinds.clear();
    }

    /// Whether it took so much memory that it is not worth keeping.
    fn is_large(&self) -> bool {
        self.text.len() > 4 * FULL || self.rows.size() > 8 * FULL
    }

    /// Adds a row of the line that is made into rows.
    pub(crate) fn row(&mut self, table: usize, row: RowView<'_>, deleted: bool) {
        self.rows.push(row);
        self.kinds.push((table, deleted));
    }

    /// Each line, with what has become of it and its rows.
    pub(crate) fn made(&self) -> impl Iterator<Item = (&[u8], &Outcome, Made<'_>)> {
        let (mut line, mut row) = (0, 0);
        self.ends.iter().zip(&self.outcomes).map(move |(&end, (outcome, rows_end))| {
            let made = Made { rows: &self.rows, kinds: &self.kinds[row..*rows_end], start: row };
            let of_line = &self.text[line..end];
            (line, row) = (end, *rows_end);
            (of_line, outcome, made)
        })
    }
}

/// Makes rows of lines.
struct Maker<'m, M: Make> {
    rows_of: &'m M,
    decoder: Decoder,
    scratch: M::Scratch,
    /// For the attributes of an item.
    memory: Bump,
}

impl<M: Make> Maker<'_, M> {
    /// Makes rows of every line.
    fn make(&mut self, chunk: &mut Chunk) {
        // Taken out, so that rows can be added beside them.
        let (text, ends) = (std::mem::take(&mut chunk.text), std::mem::take(&mut chunk.ends));
        let mut start = 0;
        for &end in &ends {
            self.memory.reset();
            let outcome = match self.decoder.decode_record(&text[start..end], chunk.encoding, &self.memory) {
                Ok(record) => Outcome {
                    fate: self.rows_of.make(&record, chunk.before, &mut self.scratch, chunk),
                    change: matches!(record, Record::Change(_)),
                },
                Err(error) => Outcome { fate: Err(error.to_string()), change: false },
            };
            chunk.outcomes.push((outcome, chunk.kinds.len()));
            start = end;
        }
        (chunk.text, chunk.ends) = (text, ends);
        if self.memory.allocated_bytes() > MOST {
            self.memory = Bump::new();
        }
    }
}

/// The jobs, and the chunks that are with them.
pub(crate) struct Makers<'m, M: Make> {
    /// Without threads, what makes rows in their place.
    own: Maker<'m, M>,
    waiting: VecDeque<Chunk>,
    threads: Vec<(Sender<Chunk>, Receiver<Chunk>)>,
    /// The one that lines are added to.
    open: Option<Chunk>,
    /// The bytes of each chunk that was given away, the oldest first.
    given: VecDeque<usize>,
    /// How many chunks came back.
    back: usize,
    unused: Vec<Chunk>,
}

impl<'scope, M: Make> Makers<'scope, M> {
    /// So many threads, which end when this does; none for one job.
    pub(crate) fn start(
        scope: &'scope Scope<'scope, '_>,
        maker: &'scope M,
        jobs: usize,
    ) -> (Self, Vec<ScopedJoinHandle<'scope, ()>>) {
        // Clones find attributes in the same places.
        let decoder = Decoder::default();
        let new =
            || Maker { rows_of: maker, decoder: decoder.clone(), scratch: M::Scratch::default(), memory: Bump::new() };
        let start = |_| {
            let (give, given) = mpsc::channel::<Chunk>();
            let (give_back, back) = mpsc::channel();
            let mut maker = new();
            let thread = scope.spawn(move || {
                for mut chunk in given {
                    maker.make(&mut chunk);
                    if give_back.send(chunk).is_err() {
                        return;
                    }
                }
            });
            ((give, back), thread)
        };
        let (threads, handles) = (0..if jobs > 1 { jobs } else { 0 }).map(start).unzip();
        let own = new();
        let (open, waiting, given, unused) = (None, VecDeque::new(), VecDeque::new(), Vec::new());
        (Self { own, waiting, threads, open, given, back: 0, unused }, handles)
    }

    /// Takes a line of that kind; those of one chunk are all of one kind. True when a chunk should be taken before more
    /// lines come.
    pub(crate) fn push(&mut self, line: &[u8], encoding: Encoding, before: Before) -> Result<bool, Problem> {
        let chunk =
            self.open.get_or_insert_with(|| Chunk { encoding, before, ..self.unused.pop().unwrap_or_default() });
        chunk.text.extend_from_slice(line);
        chunk.ends.push(chunk.text.len());
        if chunk.text.len() < FULL {
            return Ok(false);
        }
        self.close()?;
        Ok(self.given.len() >= CHUNKS * self.threads.len() || self.given.iter().sum::<usize>() >= MOST)
    }

    /// Gives away the lines that have come.
    pub(crate) fn close(&mut self) -> Result<(), Problem> {
        let Some(chunk) = self.open.take() else { return Ok(()) };
        let turn = (self.back + self.given.len()).checked_rem(self.threads.len());
        self.given.push_back(chunk.text.len());
        if let Some(turn) = turn {
            return self.threads[turn].0.send(chunk).map_err(|_| died());
        }
        self.waiting.push_back(chunk);
        Ok(())
    }

    /// The oldest chunk that was given, when it is made; nothing if there is none.
    pub(crate) fn next_made(&mut self) -> Result<Option<Chunk>, Problem> {
        if self.given.pop_front().is_none() {
            return Ok(None);
        }
        if let Some(mut chunk) = self.waiting.pop_front() {
            self.own.make(&mut chunk);
            return Ok(Some(chunk));
        }
        let turn = self.back % self.threads.len();
        self.back += 1;
        self.threads[turn].1.recv().map(Some).map_err(|_| died())
    }

    /// Takes a chunk back of which nothing is needed any longer.
    pub(crate) fn used(&mut self, mut chunk: Chunk) {
        if !chunk.is_large() {
            chunk.clear();
            self.unused.push(chunk);
        }
    }
}

fn died() -> Problem {
    Problem::new(Fault::Local, "a thread died: this is a bug")
}
