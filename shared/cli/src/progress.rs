//! How far the run is, for a person: the progress line on a terminal, and numbers and times as people read them.

use std::time::{Duration, Instant};

use stream::Source;

/// A line is drawn at most so often.
const PACE: Duration = Duration::from_millis(200);

/// When something is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum When {
    /// If stderr is a terminal
    Auto,
    /// In any case
    Always,
    /// Not at all
    Never,
}

impl When {
    /// Whether it is shown here.
    pub fn now(self) -> bool {
        match self {
            Self::Auto => crate::log::on_terminal(),
            Self::Always => true,
            Self::Never => false,
        }
    }
}

/// The progress line.
#[derive(Debug)]
pub struct Progress {
    shown: bool,
    begun: Instant,
    drawn: Option<Instant>,
}

/// What the line shows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Standing {
    /// Records of this process.
    pub records: u64,
    /// Rows of this process.
    pub rows: u64,
    /// Records whose rows are gathered and not yet written.
    pub gathered: u64,
    /// Records of this process and those before it that were rejected.
    pub rejected: u64,
    /// Records of this process whose rows a trigger or rule of the table suppressed.
    pub suppressed: u64,
    /// Records of this process whose rows are kept aside until the end.
    pub waiting: u64,
    /// Files that are done, those of earlier processes too.
    pub files: u64,
}

impl Progress {
    /// A line, if it is to be shown at all.
    pub fn new(shown: bool) -> Self {
        let progress = Self { shown, begun: Instant::now(), drawn: None };
        if shown {
            crate::log::progress("Waiting for rows");
        }
        progress
    }

    /// Whether it stands on a terminal.
    pub fn shown(&self) -> bool {
        self.shown
    }

    /// Since the program began.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Draws the line, unless it was drawn just now.
    pub fn draw(&mut self, source: Option<&Source>, standing: Standing) {
        if self.shown && self.drawn.is_none_or(|drawn| drawn.elapsed() >= PACE) {
            self.drawn = Some(Instant::now());
            crate::log::progress(&line(source, standing, self.begun.elapsed()));
        }
    }

    /// Leaves a last line on the terminal.
    pub fn end(&mut self, text: &str) {
        if std::mem::take(&mut self.shown) {
            crate::log::progress(&format!("{text}\n"));
        }
    }
}

/// `12/42 files, 1,200,000 of 4,000,000 records (30%), 300,000 rows, 98,000 records/s, 29s left`
fn line(source: Option<&Source>, standing: Standing, elapsed: Duration) -> String {
    let Standing { records, rows, gathered, rejected, suppressed, waiting, files } = standing;
    let mut parts = Vec::new();
    let mut left = None;
    // Only for a person to read: no count depends on it.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate")]
    let rate = ((records + gathered) as f64 / elapsed.as_secs_f64().max(0.001)) as u64;
    match source {
        Some(source) => {
            parts.push(format!("{}/{} files", grouped(files), grouped(source.files)));
            let so_far = source.done.items + records;
            match source.items {
                Some(items) if items > 0 => {
                    let percent = (so_far.min(items) * 100) / items;
                    parts.push(format!("{} of {} records ({percent}%)", grouped(so_far), grouped(items)));
                    left = (rate > 0).then(|| Duration::from_secs(items.saturating_sub(so_far + gathered) / rate));
                }
                _ => parts.push(format!("{} records", grouped(so_far))),
            }
        }
        None => parts.push(format!("{} records", grouped(records))),
    }
    parts.push(format!("{} rows", grouped(rows)));
    let counts =
        [(gathered, "records gathered"), (rejected, "rejected"), (suppressed, "suppressed"), (waiting, "waiting")];
    let counts = counts.into_iter().filter(|(count, _)| *count > 0);
    parts.extend(counts.map(|(count, what)| format!("{} {what}", grouped(count))));
    parts.push(format!("{} records/s", grouped(rate)));
    parts.extend(left.map(|left| format!("{} left", time(left))));
    parts.join(", ")
}

/// `1,234,567`
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `234ms`, `12s`, `15m`, `2h 5m`
pub fn time(duration: Duration) -> String {
    let (seconds, minutes, hours) = (duration.as_secs(), duration.as_secs() / 60, duration.as_secs() / 3600);
    match (hours, minutes, seconds) {
        (0, 0, 0) => format!("{}ms", duration.as_millis()),
        (0, 0, _) => format!("{seconds}s"),
        (0, 1..10, _) if seconds % 60 > 0 => format!("{minutes}m {}s", seconds % 60),
        (0, ..) => format!("{minutes}m"),
        _ if minutes.is_multiple_of(60) => format!("{hours}h"),
        _ => format!("{hours}h {}m", minutes % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_for_people() {
        for (number, expected) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), expected);
        }
        for (milliseconds, expected) in [
            (234, "234ms"),
            (1_900, "1s"),
            (59_000, "59s"),
            (61_000, "1m 1s"),
            (900_000, "15m"),
            (905_000, "15m"),
            (7_500_000, "2h 5m"),
            (7_200_000, "2h"),
        ] {
            assert_eq!(time(Duration::from_millis(milliseconds)), expected);
        }
    }

    #[test]
    fn the_line_says_how_far_and_how_long() {
        let source = Source { files: 42, items: Some(4_000_000), ..Source::default() };
        let standing = Standing {
            records: 1_000_000,
            rows: 300_000,
            rejected: 2,
            suppressed: 3,
            waiting: 4,
            files: 12,
            gathered: 0,
        };
        assert_eq!(
            line(Some(&source), standing, Duration::from_secs(10)),
            "12/42 files, 1,000,000 of 4,000,000 records (25%), 300,000 rows, 2 rejected, 3 suppressed, \
             4 waiting, 100,000 records/s, 30s left"
        );
        let standing = Standing { gathered: 1_000_000, ..Standing::default() };
        assert_eq!(
            line(Some(&source), standing, Duration::from_secs(10)),
            "0/42 files, 0 of 4,000,000 records (0%), 0 rows, 1,000,000 records gathered, 100,000 records/s, 30s left"
        );
    }
}
