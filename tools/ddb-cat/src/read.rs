//! The files, one after the other, as events: read on a thread of its own, so that fetching, unzipping and writing go on
//! at the same time. What is written for an event is in `main`.

use std::sync::mpsc::SyncSender;

use export::{Expected, Input, Opener, Records};
use fault::{Classify as _, Failure, Fault, explain};
use memchr::{memchr, memchr_iter, memmem};
use stream::{Begin, End, Fail, MARKER_VERSION, begins_with_dollar};

use crate::budget::Budget;
use crate::list::{Entry, List, Listed};

/// What happens, in order.
pub(crate) enum Event {
    /// A line for a later program.
    Marker(Vec<u8>),
    Begin(Begin),
    /// Whole lines.
    Lines(Vec<u8>),
    /// A line that is not handed on.
    Refused {
        key: String,
        record: u64,
        line: Vec<u8>,
        reason: String,
    },
    End(End),
    Fail(Fail),
    /// Nothing more can be read.
    Broken(Failure),
    /// Every file was read.
    Done,
    /// A signal came.
    Stop,
}

/// Nobody takes events any more.
struct HungUp;

/// The next item of the list, and its file if that is open already.
type Next = (Result<Listed, Failure>, Option<export::Result<Input>>);

/// Reads every file of a list.
pub(crate) struct Read {
    list: List,
    skip: Option<u64>,
    limit: Option<u64>,
    events: SyncSender<Event>,
    opener: Opener,
    budget: Budget,
    ahead: Option<Next>,
}

/// Tells the writer that this is the end, in whatever way the thread ends.
struct Last(SyncSender<Event>);

impl Drop for Last {
    fn drop(&mut self) {
        // Whoever hung up wants to hear nothing more.
        let _ = self.0.send(Event::Done);
    }
}

impl Read {
    /// What is sent counts against `budget` until the writer gives it back.
    pub(crate) fn new(
        list: List,
        skip: Option<u64>,
        limit: Option<u64>,
        opener: Opener,
        events: SyncSender<Event>,
        budget: Budget,
    ) -> Self {
        Self { list, skip, limit, events, opener, budget, ahead: None }
    }

    /// Reads to the end of the list, or until nobody listens.
    pub(crate) fn run(mut self) {
        let _last = Last(self.events.clone());
        while let Some((listed, input)) = self.next() {
            let sent = match listed {
                Err(failure) => {
                    let _ = self.send(Event::Broken(failure));
                    return;
                }
                Ok(Listed::Marker(line)) => self.send(Event::Marker(line)),
                Ok(Listed::File(entry)) => self.file(&entry, input),
            };
            if sent.is_err() {
                return;
            }
        }
    }

    fn send(&self, event: Event) -> Result<(), HungUp> {
        self.events.send(event).map_err(|_| HungUp)
    }

    fn next(&mut self) -> Option<Next> {
        self.ahead.take().or_else(|| self.list.next().map(|listed| (listed, None)))
    }

    /// Opens the next file of the list, if it is known: its first bytes arrive while this one is read.
    fn look_ahead(&mut self) {
        if self.ahead.is_some() {
            return;
        }
        let Some(listed) = self.list.peek() else { return };
        let input = match &listed {
            Ok(Listed::File(entry)) if entry.key.starts_with("s3://") => {
                Some(self.opener.open(&entry.key, entry.etag.as_deref()))
            }
            _ => None,
        };
        self.ahead = Some((listed, input));
    }

    fn file(&mut self, entry: &Entry, input: Option<export::Result<Input>>) -> Result<(), HungUp> {
        let skip = self.skip.unwrap_or(entry.skip);
        self.send(Event::Begin(Begin {
            v: MARKER_VERSION,
            key: entry.key.clone(),
            number: entry.number,
            encoding: entry.encoding.clone().unwrap_or_else(|| "dynamodb-json".to_owned()),
            bytes: entry.bytes,
            items: entry.items,
            skip,
            version: entry.version(),
            view: None,
        }))?;
        let input = input.unwrap_or_else(|| self.opener.open(&entry.key, entry.etag.as_deref()));
        self.look_ahead();
        let end = match input {
            Ok(input) => self.records(entry, input, skip)?,
            Err(error) => Err(error),
        };
        match end {
            Ok(end) => self.send(Event::End(end)),
            // The file itself is at fault: the next one may be whole.
            Err(error) if error.fault() == Fault::Input => {
                self.send(Event::Fail(Fail { key: entry.key.clone(), reason: explain(&error) }))
            }
            Err(error) => self.send(Event::Broken(error.into())).and(Err(HungUp)),
        }
    }

    fn records(&mut self, entry: &Entry, input: Input, skip: u64) -> Result<export::Result<End>, HungUp> {
        let expected = Expected { md5: entry.md5.clone(), items: entry.items };
        let mut records = Records::new(&entry.key, input, expected);
        let mut rejected = 0;
        let mut ion = false;
        let last = self.limit.map(|limit| skip.saturating_add(limit));
        loop {
            let block = match records.next_block() {
                Ok(Some(block)) => block,
                Ok(None) => break,
                Err(error) => return Ok(Err(error)),
            };
            let mut lines = block.lines;
            let mut first = block.first;
            if first == 1 {
                ion = is_ion(&entry.key, &lines);
            }
            let after = first + block.count;
            let cut = last.is_some_and(|last| after > last + 1);
            if let (true, Some(last)) = (cut, last) {
                lines.truncate(end_of_line(&lines, last + 1 - first));
            }
            if first <= skip {
                let left_out = (skip + 1 - first).min(block.count);
                lines.drain(..end_of_line(&lines, left_out));
                first += left_out;
            }
            rejected +=
                if ion { self.ion_lines(&entry.key, &lines, first)? } else { self.lines(&entry.key, lines, first)? };
            if let (true, Some(last)) = (cut, last) {
                let (key, records) = (entry.key.clone(), last);
                return Ok(Ok(End { key, records, rejected, limited: true, ..End::default() }));
            }
        }
        if records.count() < skip {
            // The file has become shorter than what was read of it before.
            let (found, expected, key) = (records.count(), skip, entry.key.clone());
            return Ok(Err(export::Error::ItemCount { key, found, expected, bytes: entry.bytes.unwrap_or_default() }));
        }
        Ok(Ok(End { key: entry.key.clone(), records: records.count(), rejected, ..End::default() }))
    }

    /// Sends lines, all but those that would pass for markers; how many these were.
    fn lines(&self, key: &str, mut lines: Vec<u8>, first: u64) -> Result<u64, HungUp> {
        let (mut sent, mut forged) = (0, 0);
        if may_hold_a_marker(&lines) {
            let (mut start, mut number) = (0, first);
            for end in memchr_iter(b'\n', &lines) {
                if begins_with_dollar(&lines[start..end]) {
                    self.send_lines(lines[sent..start].to_vec())?;
                    let reason = "the first key begins with `$`, which is kept for the programs' own lines";
                    self.refuse(key, number, &lines[start..end], reason.to_owned())?;
                    forged += 1;
                    sent = end + 1;
                }
                start = end + 1;
                number += 1;
            }
        }
        lines.drain(..sent);
        self.send_lines(lines).map(|()| forged)
    }

    /// Sends lines of Amazon Ion as DynamoDB JSON, all but those that are none; how many these were.
    fn ion_lines(&self, key: &str, lines: &[u8], first: u64) -> Result<u64, HungUp> {
        let (mut json, mut refused) = (Vec::with_capacity(lines.len() * 3 / 2), 0);
        for (line, number) in lines.split_inclusive(|byte| *byte == b'\n').zip(first..) {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            match ion::to_dynamodb_json(line, &mut json) {
                Ok(()) => json.push(b'\n'),
                Err(error) => {
                    self.send_lines(std::mem::take(&mut json))?;
                    self.refuse(key, number, line, error.to_string())?;
                    refused += 1;
                }
            }
        }
        self.send_lines(json).map(|()| refused)
    }

    fn refuse(&self, key: &str, record: u64, line: &[u8], reason: String) -> Result<(), HungUp> {
        self.budget.take(line.len());
        self.send(Event::Refused { key: key.to_owned(), record, line: line.to_vec(), reason })
    }

    fn send_lines(&self, lines: Vec<u8>) -> Result<(), HungUp> {
        if lines.is_empty() {
            return Ok(());
        }
        self.budget.take(lines.len());
        self.send(Event::Lines(lines))
    }
}

/// Whether a file is Amazon Ion, by its name and its beginning: emulators write DynamoDB JSON where Ion was asked for, and
/// not every file has the name that it had.
fn is_ion(key: &str, lines: &[u8]) -> bool {
    let named = [".ion", ".ion.gz"].iter().any(|ending| key.ends_with(ending));
    lines.starts_with(b"$ion_1_0") || (named && !lines.starts_with(b"{\""))
}

/// Whether a closer look is needed: most blocks have no `$` at all, and are told apart at the speed of memory.
fn may_hold_a_marker(lines: &[u8]) -> bool {
    memchr(b'$', lines).is_some() || memmem::find(lines, br"\u0024").is_some()
}

/// Where the line of that number ends, newline included.
fn end_of_line(lines: &[u8], count: u64) -> usize {
    let place = usize::try_from(count).ok().and_then(|count| count.checked_sub(1));
    place.and_then(|place| memchr_iter(b'\n', lines).nth(place)).map_or(0, |newline| newline + 1)
}
