//! What a program that takes rows tells of its run as events: files, progress once a second, rejects, the end. What the
//! events hold is in the crate `events`; a person's progress line is not here.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use checkpoint::{Counts, Entry};
use events::{Complete, Event, FileComplete, FileStart, Phase, Progress, Reject, Start, shortened};
use stream::{Begin, Source, SourceDone};
use tracing::warn;

use crate::Rejected;

/// How often it is told how far the run is.
const PACE: Duration = Duration::from_secs(1);

/// The run begins, or goes on.
pub(crate) fn begin_run(source: &Source, batch_size: usize) {
    let done = &source.done;
    events::send(Event::Start(Start {
        file_count: source.files,
        item_count: source.items,
        byte_count: source.bytes,
        batch_size: batch_size as u64,
        resuming: done.files > 0 || done.items > 0,
        source: source.source.clone(),
        export: source.export.clone(),
        files_processed: done.files,
        items_processed: done.items,
        bytes_processed: done.bytes,
    }));
}

/// The records of a file come.
pub(crate) fn begin_file(begin: &Begin) {
    events::send(Event::FileStart(FileStart {
        file_name: begin.key.clone(),
        item_count: begin.items,
        byte_count: begin.bytes,
        items_processed: begin.skip,
    }));
}

/// The events of a run. Without anybody who wants them it does nothing.
#[derive(Debug)]
pub struct Report {
    begun: Instant,
    /// The compressed bytes of files that have begun.
    bytes: BTreeMap<String, u64>,
    shared: Arc<Shared>,
    ticker: Option<(Sender<()>, JoinHandle<()>)>,
}

/// What the thread that tells it knows.
#[derive(Debug)]
struct Shared {
    /// Records that were read by this process.
    read: Arc<AtomicU64>,
    /// Records of earlier processes.
    earlier: AtomicU64,
    progress: Mutex<Progress>,
}

impl Shared {
    fn change(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.progress.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn progress(&self) -> Progress {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let read = self.earlier.load(Ordering::Relaxed) + self.read.load(Ordering::Relaxed);
        progress.pending = read.saturating_sub(progress.counts.scanned);
        progress
    }
}

impl Report {
    /// Begins to tell. `read` is how many records were read by this process.
    pub fn new(read: Arc<AtomicU64>) -> Self {
        let shared = Arc::new(Shared { read, earlier: AtomicU64::new(0), progress: Mutex::default() });
        let ticker = events::wanted().then(|| {
            let (end, ended) = channel();
            let theirs = Arc::clone(&shared);
            let told = thread::Builder::new().name("events".to_owned()).spawn(move || {
                while ended.recv_timeout(PACE) == Err(RecvTimeoutError::Timeout) {
                    let progress = theirs.progress();
                    // Before the run has begun there is nothing to tell.
                    if progress != Progress::default() {
                        events::send(Event::Progress(progress));
                    }
                }
            });
            told.map(|told| (end, told))
        });
        let ticker = ticker.transpose().unwrap_or_else(|error| {
            warn!("Nobody is told how far the run is: cannot start a thread: {error}");
            None
        });
        Self { begun: Instant::now(), bytes: BTreeMap::new(), shared, ticker }
    }

    /// What the run is about. A run that goes on has done what its bookmark says, which is opened only when rows come.
    pub fn source(&self, source: &Source, bookmark: Option<&Path>) {
        let goes_on = source.done != SourceDone::default();
        if goes_on {
            // Who opens it says what is wrong with it.
            let state = bookmark.and_then(|path| checkpoint::read(path).ok().flatten());
            let done = Counts { records: source.done.items, ..Counts::default() };
            self.earlier(&state.map_or(done, |state| state.totals()));
        }
        self.shared.change(|progress| {
            progress.files_processed = source.done.files;
            progress.files_total = source.files;
            progress.items_total = source.items;
            progress.bytes_processed = source.done.bytes;
            progress.bytes_total = source.bytes;
        });
        if goes_on && self.ticker.is_some() {
            // Who is told of what is new knows from here what is not.
            events::send(Event::Progress(self.shared.progress()));
        }
    }

    /// So many records are in the bookmark already.
    pub fn earlier(&self, counts: &Counts) {
        self.shared.earlier.store(counts.records, Ordering::Relaxed);
        self.shared.change(|progress| progress.counts = told(counts));
    }

    /// What the program does now.
    pub fn phase(&self, phase: Phase) {
        self.shared.change(|progress| progress.phase = phase);
    }

    /// A file has begun.
    pub fn begin(&mut self, begin: &Begin) {
        if let Some(bytes) = begin.bytes {
            self.bytes.insert(begin.key.clone(), bytes);
        }
    }

    /// What was noted of files.
    pub fn noted(&mut self, entries: &[Entry]) {
        for entry in entries {
            let complete = match entry {
                // A file is complete once: what became of rows that waited is in the counts of the run.
                Entry::Progress(_) | Entry::Settled(_) => continue,
                Entry::Done(file) => {
                    let bytes = self.bytes.remove(&file.key).unwrap_or_default();
                    self.shared.change(|progress| progress.bytes_processed += bytes);
                    let counts = told(&file.counts());
                    FileComplete { file_name: file.key.clone(), counts, failed: None }
                }
                Entry::Fail(failed) => {
                    self.bytes.remove(&failed.key);
                    let (file_name, failed) = (failed.key.clone(), Some(shortened(&failed.reason)));
                    FileComplete { file_name, failed, ..FileComplete::default() }
                }
            };
            events::send(Event::FileComplete(complete));
        }
    }

    /// How far the run is: files that are done, and what became of records.
    pub fn standing(&self, files: u64, counts: &Counts) {
        self.shared.change(|progress| {
            progress.files_processed = files;
            progress.counts = told(counts);
        });
    }

    /// What was refused, by `program` unless it says another one.
    pub fn rejects(&self, rejects: &[Rejected], program: &str) {
        if self.ticker.is_none() {
            return;
        }
        for reject in rejects {
            events::send(Event::Reject(Reject {
                file_name: reject.key.clone(),
                record: reject.record,
                stage: reject.stage.as_deref().unwrap_or(program).to_owned(),
                sqlstate: reject.sqlstate.clone(),
                reason: shortened(&reject.reason),
            }));
        }
    }

    /// The run has ended: whether everything is done, and how that is said, or the error.
    pub fn end(&mut self, completed: bool, message: Result<&str, &str>) {
        let Some((end, told)) = self.ticker.take() else { return };
        drop(end);
        // It has ended, whether well or not.
        let _ = told.join();
        let progress = self.shared.progress();
        let (files_processed, files_total, counts) = (progress.files_processed, progress.files_total, progress.counts);
        events::send(Event::Progress(progress));
        events::send(Event::Complete(Complete {
            completed,
            elapsed_ms: u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            files_processed,
            files_total,
            counts,
            message: shortened(message.unwrap_or_else(|error| error)),
            failed: message.is_err(),
        }));
    }
}

/// The counts as events have them.
fn told(counts: &Counts) -> events::Counts {
    let &Counts { records, written, merged, filtered, rejected, suppressed, waiting, dropped } = counts;
    let skipped = filtered + dropped;
    events::Counts { scanned: records, inserted: written, merged, skipped, errors: rejected, suppressed, waiting }
}

#[cfg(test)]
mod tests {
    use super::*;
    use checkpoint::FileCounts;

    #[test]
    fn what_is_read_and_not_durable_is_pending() {
        let read = Arc::new(AtomicU64::new(0));
        let mut report = Report::new(Arc::clone(&read));
        let done = SourceDone { files: 1, items: 100, bytes: 1000 };
        let source = Source { files: 3, items: Some(300), bytes: Some(3000), done, ..Source::default() };
        report.source(&source, None);
        read.store(7, Ordering::Relaxed);
        let progress = report.shared.progress();
        assert_eq!((progress.files_processed, progress.counts.scanned, progress.pending), (1, 100, 7));

        report.earlier(&Counts { records: 100, written: 90, filtered: 10, ..Counts::default() });
        read.store(70, Ordering::Relaxed);
        assert_eq!(report.shared.progress().pending, 70);

        let counts =
            Counts { records: 155, written: 130, filtered: 20, suppressed: 2, waiting: 3, ..Counts::default() };
        report.standing(1, &counts);
        let progress = report.shared.progress();
        assert_eq!((progress.counts.suppressed, progress.counts.waiting), (2, 3));
        assert_eq!((progress.counts.scanned, progress.pending, progress.bytes_processed), (155, 15, 1000));

        report.begin(&Begin { key: "b".to_owned(), bytes: Some(500), ..Begin::default() });
        report.noted(&[Entry::Done(FileCounts { key: "b".to_owned(), ..FileCounts::default() })]);
        assert_eq!(report.shared.progress().bytes_processed, 1500);
    }
}
