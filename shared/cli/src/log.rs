//! The log line: `2024-01-15T10:30:00.000Z INFO [pictures] Processing file [3/42]: export-001.json.gz`, on stderr and in
//! the file that `MIGRATE_LOG_FILE` names. What is logged, each program decides.

use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Mutex, OnceLock};

use fault::{Failure, FileError};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::Common;

/// Names the file that gets every log line beside stderr.
const LOG_FILE: &str = "MIGRATE_LOG_FILE";

static LOG: OnceLock<Log> = OnceLock::new();

/// Where lines go. A progress line that stands on the terminal is wiped before a log line and drawn again after it.
#[derive(Debug)]
struct Log {
    topic: String,
    level: Level,
    file: Option<File>,
    progress: Mutex<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    /// From the first [`progress`] on, only warnings and errors are printed on the terminal.
    begun: bool,
    line: String,
}

/// Starts logging under a topic (the profile's name, or the program's).
pub(crate) fn init(topic: &str, common: Common) -> Result<(), Failure> {
    let level = match (common.quiet, common.verbose) {
        (true, _) => Level::WARN,
        (false, 0) => Level::INFO,
        (false, 1) => Level::DEBUG,
        (false, _) => Level::TRACE,
    };
    let file = match std::env::var_os(LOG_FILE) {
        Some(path) if !path.is_empty() => {
            let path = Path::new(&path);
            let open = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
            Some(open.map_err(FileError::on("open the log", path))?)
        }
        _ => None,
    };
    let log = LOG.get_or_init(|| Log { topic: topic.to_owned(), level, file, progress: Mutex::default() });
    // A second subscriber is refused; the first one stays, which is right in tests of several programs in one process.
    let _ = tracing_subscriber::registry().with(Lines(log)).try_init();
    Ok(())
}

/// Whether stderr is a terminal on which a progress line makes sense.
pub fn on_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Shows a progress line in place of the last one; an empty text removes it.
pub fn progress(text: &str) {
    let Some(log) = LOG.get() else { return };
    let Ok(mut progress) = log.progress.lock() else { return };
    progress.begun = true;
    text.clone_into(&mut progress.line);
    // Nobody is left to tell if stderr is closed.
    let _ = io::stderr().write_all(format!("\r\x1b[2K{text}").as_bytes());
}

/// The last words of a program: `program: what failed: why`, then the hint on a line of its own.
pub(crate) fn failure(program: &str, message: &str, hint: Option<&str>) {
    if let Some(log) = LOG.get() {
        progress_off(log);
        if let Some(file) = &log.file {
            let hint = hint.map_or_else(String::new, |hint| format!(" (hint: {hint})"));
            let line = line(Level::ERROR, &log.topic, &format!("{program}: {message}{hint}"));
            let _ = (&mut &*file).write_all(line.as_bytes());
        }
    }
    let hint = hint.map_or_else(String::new, |hint| format!("hint: {hint}\n"));
    let _ = io::stderr().write_all(format!("{program}: {message}\n{hint}").as_bytes());
}

fn progress_off(log: &Log) {
    if let Ok(mut progress) = log.progress.lock()
        && !std::mem::take(&mut progress.line).is_empty()
    {
        let _ = io::stderr().write_all(b"\r\x1b[2K");
    }
}

fn line(level: Level, topic: &str, text: &str) -> String {
    let now = jiff::Timestamp::now();
    // One record is one line, whatever a server's message holds.
    let text = text.replace('\n', " ");
    format!("{now:.3} {level} [{topic}] {text}\n")
}

struct Lines(&'static Log);

impl<S: Subscriber> Layer<S> for Lines {
    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: Context<'_, S>) -> bool {
        // The libraries below (the AWS SDK, rustls) say little that helps; only what they warn of is shown.
        let ours = metadata.target().split("::").next().is_some_and(|root| OURS.contains(&root));
        let level = if ours || self.0.level == Level::TRACE { self.0.level } else { Level::ERROR };
        *metadata.level() <= level
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let log = self.0;
        let mut text = Text::default();
        event.record(&mut text);
        let level = *event.metadata().level();
        let line = line(level, &log.topic, &(text.message + &text.fields));
        if let Some(file) = &log.file {
            // One write a line: several programs append to the same file.
            let _ = (&mut &*file).write_all(line.as_bytes());
        }
        let Ok(progress) = log.progress.lock() else { return };
        if !progress.begun {
            let _ = io::stderr().write_all(line.as_bytes());
        } else if level <= Level::WARN {
            let _ = io::stderr().write_all(format!("\r\x1b[2K{line}{}", progress.line).as_bytes());
        }
    }
}

/// The crates whose log lines are meant for the person who runs the programs.
const OURS: [&str; 18] = [
    "ddb_list",
    "ddb_cat",
    "ddb_infer",
    "ddb_parse",
    "pg_upsert",
    "pg_verify",
    "migrate_rejects",
    "migrate_check",
    "export",
    "profile",
    "checkpoint",
    "pg",
    "rows",
    "cli",
    "item",
    "stream",
    "fault",
    "retry",
];

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing into a string cannot fail.
        let _ = if field.name() == "message" {
            write!(self.message, "{value:?}")
        } else {
            write!(self.fields, " {}={value:?}", field.name())
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let _ = if field.name() == "message" {
            write!(self.message, "{value}")
        } else {
            write!(self.fields, " {}={value}", field.name())
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_time_level_topic_and_text_on_one_line() {
        let line = line(Level::INFO, "pictures", "Starting\nmigration");
        let (time, rest) = line.split_once(' ').unwrap();
        assert_eq!(rest, "INFO [pictures] Starting migration\n");
        assert_eq!((time.len(), &time[19..20], &time[23..]), (24, ".", "Z"), "{time}");
    }
}
