//! What the events of a run come to: one goes in after the other, a [`View`] comes out.

use std::time::{Duration, Instant};

use events::{Complete, Event, FileComplete, FileStart, Line, Phase, Progress, Start};

use crate::rate::Rate;
use crate::view::{InFlight, View};

/// A run, as its events tell it.
#[derive(Debug)]
pub(crate) struct Standing {
    view: View,
    began: Instant,
    items: Rate,
    /// How much of the whole is done, from 0 to 1.
    share: Rate,
    /// Of each file in flight, what was read before it began, and what of it an earlier process has read.
    before: Vec<(u64, u64)>,
    /// Items of files that this process has begun, and those before it.
    begun: u64,
    /// When the run was last seen to move.
    moved: Instant,
}

impl Standing {
    /// Nothing is known yet. `command` is `run` or `verify`.
    pub(crate) fn new(profile: &str, command: &str) -> Self {
        let view = View { profile_name: profile.to_owned(), command: command.to_owned(), ..View::default() };
        let now = Instant::now();
        let (items, share) = (Rate::default(), Rate::default());
        Self { view, began: now, items, share, before: Vec::new(), begun: 0, moved: now }
    }

    /// Something happened.
    pub(crate) fn add(&mut self, line: &Line) {
        self.view.updated.clone_from(&line.time);
        match &line.event {
            Event::Start(start) => self.start(start, line),
            Event::FileStart(file) => self.file_start(file),
            Event::FileComplete(file) => self.file_complete(file),
            Event::Progress(progress) => self.progress(progress, self.began.elapsed()),
            Event::Retry(retry) => *self.view.retries.entry(retry.service.clone()).or_default() += 1,
            Event::Complete(complete) => self.complete(complete),
            // The progress counts them.
            Event::Reject(_) => {}
        }
        if !matches!(line.event, Event::Progress(_)) {
            self.moved = Instant::now();
        }
    }

    /// `migrate` has ended.
    pub(crate) fn ended(&mut self, exit_code: Option<u8>) {
        self.view.exit_code = exit_code;
    }

    /// How far the run is.
    pub(crate) fn view(&self) -> &View {
        &self.view
    }

    /// Whether the run has begun and not ended.
    pub(crate) fn is_running(&self) -> bool {
        self.view.started.is_some() && self.view.completed.is_none()
    }

    /// How long nothing has moved although nothing is waited for but rows.
    pub(crate) fn still(&self) -> Duration {
        let waits = self.is_running() && self.view.phase == Phase::Reading;
        if waits { self.moved.elapsed() } else { Duration::ZERO }
    }

    fn start(&mut self, start: &Start, line: &Line) {
        let View { profile_name, command, retries, .. } = std::mem::take(&mut self.view);
        self.view = View {
            profile_name,
            command,
            source: start.source.clone(),
            export: start.export.clone(),
            resuming: start.resuming,
            started: Some(line.time.clone()),
            updated: line.time.clone(),
            files_processed: start.files_processed,
            files_total: start.file_count,
            items_total: start.item_count,
            bytes_processed: start.bytes_processed,
            bytes_total: start.byte_count,
            // Of the exports before this one too.
            retries,
            ..View::default()
        };
        self.view.counts.scanned = start.items_processed;
        (self.items, self.share, self.began) = (Rate::default(), Rate::default(), Instant::now());
        self.before.clear();
        self.begun = start.items_processed;
        self.measure(Duration::ZERO);
    }

    fn file_start(&mut self, file: &FileStart) {
        // Of files whose items nobody has counted it is only known what was read so far.
        self.begun = self.begun.max(self.view.read());
        self.before.push((self.begun, file.items_processed));
        let rest = file.item_count.map(|items| items.saturating_sub(file.items_processed));
        self.begun += rest.unwrap_or_default();
        self.view.files.push(InFlight {
            file_name: file.file_name.clone(),
            item_count: file.item_count,
            items_read: file.items_processed,
        });
    }

    fn file_complete(&mut self, file: &FileComplete) {
        if let Some(place) = self.view.files.iter().position(|known| known.file_name == file.file_name) {
            self.view.files.remove(place);
            self.before.remove(place);
        }
        if file.failed.is_some() {
            self.view.files_failed += 1;
        }
    }

    fn progress(&mut self, progress: &Progress, time: Duration) {
        let read = self.view.read();
        if self.view.phase != progress.phase || read != progress.counts.scanned + progress.pending {
            self.moved = Instant::now();
        }
        let view = &mut self.view;
        view.files_processed = progress.files_processed;
        view.files_total = view.files_total.max(progress.files_total);
        view.bytes_processed = progress.bytes_processed;
        view.counts = progress.counts;
        view.pending = progress.pending;
        view.phase = progress.phase;
        self.measure(time);
    }

    /// What follows from the counts.
    fn measure(&mut self, time: Duration) {
        let view = &mut self.view;
        let read = view.read();
        for (place, (file, (before, earlier))) in view.files.iter_mut().zip(&self.before).enumerate() {
            let items = file.item_count.unwrap_or(u64::MAX);
            // The last one is read; those before it have been.
            let last = place + 1 == self.before.len();
            let so_far = if last { earlier + read.saturating_sub(*before) } else { items };
            if items != u64::MAX || last {
                file.items_read = file.items_read.max(so_far.min(items));
            }
        }
        let share = share(view);
        // Only for a person to read.
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rate"
        )]
        {
            self.items.at(time, read as f64);
            view.items_per_second = self.items.per_second().round() as u64;
            view.percent = share.map(|share| (share * 1000.0).floor() / 10.0);
            view.seconds_left = share.and_then(|share| {
                self.share.at(time, share);
                let rate = self.share.per_second();
                // What would take longer than a century is not known.
                Some((1.0 - share) / rate)
                    .filter(|seconds| rate > 0.0 && *seconds < 3e9)
                    .map(|seconds| seconds.ceil() as u64)
            });
        }
    }

    fn complete(&mut self, complete: &Complete) {
        let view = &mut self.view;
        view.completed = Some(complete.completed);
        view.message.clone_from(&complete.message);
        if complete.files_total > 0 {
            view.files_processed = complete.files_processed;
            view.counts = complete.counts;
        }
        view.pending = 0;
        view.seconds_left = None;
        view.percent = share(view).map(|share| (share * 1000.0).floor() / 10.0);
    }
}

/// How much of the whole is done, by the best that is known.
#[expect(clippy::cast_precision_loss, reason = "for a person to read")]
fn share(view: &View) -> Option<f64> {
    let of = |part: u64, whole: u64| if whole == 0 { 1.0 } else { (part as f64 / whole as f64).min(1.0) };
    match (view.items_total, view.bytes_total) {
        _ if view.started.is_none() => None,
        (Some(items), _) => Some(of(view.read(), items)),
        (None, Some(bytes)) => Some(of(view.bytes_processed, bytes)),
        (None, None) if view.files_total > 0 => Some(of(view.files_processed, view.files_total)),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use events::{Counts, Retry};

    fn line(event: Event) -> Line {
        Line {
            event,
            time: "2024-01-15T10:30:00.000Z".to_owned(),
            profile_name: "p".to_owned(),
            program: "x".to_owned(),
        }
    }

    fn started(start: Start) -> Standing {
        let mut standing = Standing::new("p", "run");
        standing.add(&line(Event::Start(start)));
        standing
    }

    fn read(scanned: u64, pending: u64) -> Progress {
        let counts = Counts { scanned, inserted: scanned, ..Counts::default() };
        Progress { files_total: 4, counts, pending, ..Progress::default() }
    }

    #[test]
    fn what_is_left_follows_from_what_is_done_since_this_process_began() {
        let mut standing = started(Start {
            file_count: 4,
            item_count: Some(1000),
            resuming: true,
            files_processed: 2,
            items_processed: 500,
            ..Start::default()
        });
        assert_eq!(standing.view().percent, Some(50.0));
        assert_eq!(standing.view().seconds_left, None, "nothing has moved");
        standing.progress(&read(500, 100), Duration::from_secs(10));
        let view = standing.view();
        assert_eq!((view.items_per_second, view.percent, view.seconds_left), (10, Some(60.0), Some(40)));
    }

    #[test]
    fn without_items_bytes_tell_and_without_those_files() {
        let mut standing = started(Start { file_count: 4, byte_count: Some(2000), ..Start::default() });
        let progress = Progress { bytes_processed: 500, ..read(7, 0) };
        standing.progress(&progress, Duration::from_secs(5));
        assert_eq!((standing.view().percent, standing.view().seconds_left), (Some(25.0), Some(15)));

        let mut standing = started(Start { file_count: 4, ..Start::default() });
        standing.progress(&Progress { files_processed: 3, ..read(7, 0) }, Duration::from_secs(3));
        assert_eq!((standing.view().percent, standing.view().seconds_left), (Some(75.0), Some(1)));
    }

    #[test]
    fn the_files_in_flight_say_how_far_each_is() {
        // Of the file b an earlier process has read 40 items.
        let mut standing =
            started(Start { file_count: 3, item_count: Some(300), items_processed: 40, ..Start::default() });
        let begin = |name: &str, items_processed| {
            let file_name = name.to_owned();
            line(Event::FileStart(FileStart { file_name, item_count: Some(100), byte_count: None, items_processed }))
        };
        standing.add(&begin("a", 0));
        standing.progress(&read(40, 30), Duration::from_secs(1));
        assert_eq!(standing.view().files[0].items_read, 30);

        standing.add(&begin("b", 40));
        standing.progress(&read(40, 110), Duration::from_secs(2));
        let so_far: Vec<_> = standing.view().files.iter().map(|file| file.items_read).collect();
        assert_eq!(so_far, [100, 50]);

        standing.add(&line(Event::FileComplete(FileComplete { file_name: "a".to_owned(), ..FileComplete::default() })));
        standing.add(&line(Event::FileComplete(FileComplete {
            file_name: "b".to_owned(),
            failed: Some("torn".to_owned()),
            ..FileComplete::default()
        })));
        assert_eq!((standing.view().files.len(), standing.view().files_failed), (0, 1));
    }

    #[test]
    fn files_in_flight_that_nobody_has_counted_begin_with_what_was_read() {
        let mut standing = started(Start { file_count: 2, ..Start::default() });
        let begin = |name: &str| FileStart { file_name: name.to_owned(), ..FileStart::default() };
        standing.add(&line(Event::FileStart(begin("a"))));
        standing.progress(&read(0, 30), Duration::from_secs(1));
        standing.add(&line(Event::FileStart(begin("b"))));
        standing.progress(&read(0, 50), Duration::from_secs(2));
        let so_far: Vec<_> = standing.view().files.iter().map(|file| file.items_read).collect();
        assert_eq!(so_far, [30, 20]);
    }

    #[test]
    fn the_next_export_begins_anew_but_for_the_retries() {
        let mut standing = started(Start { file_count: 4, item_count: Some(10), ..Start::default() });
        standing.add(&line(Event::Retry(Retry { service: "S3".to_owned(), ..Retry::default() })));
        standing.progress(&read(10, 0), Duration::from_secs(1));
        standing.add(&line(Event::Complete(Complete { completed: true, ..Complete::default() })));
        assert!(!standing.is_running());
        standing.add(&line(Event::Start(Start { file_count: 1, item_count: Some(5), ..Start::default() })));
        assert!(standing.is_running());
        let view = standing.view();
        assert_eq!((view.read(), view.retries(), view.completed), (0, 1, None));
    }

    #[test]
    fn only_a_run_that_waits_for_rows_can_be_stuck() {
        let long_ago = Instant::now().checked_sub(Duration::from_secs(1000)).unwrap();
        let mut standing = started(Start { file_count: 4, ..Start::default() });
        standing.moved = long_ago;
        assert!(standing.still() >= Duration::from_secs(1000));
        standing.progress(&read(0, 0), Duration::from_secs(1));
        assert!(standing.still() >= Duration::from_secs(1000), "no record more");
        standing.progress(&read(0, 1), Duration::from_secs(2));
        assert!(standing.still() < Duration::from_secs(1000));

        standing.moved = long_ago;
        standing.progress(&Progress { phase: Phase::Writing, ..read(0, 1) }, Duration::from_secs(3));
        standing.moved = long_ago;
        assert_eq!(standing.still(), Duration::ZERO, "PostgreSQL may take its time");
    }
}
