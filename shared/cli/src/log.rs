//! The log line: `2024-01-15T10:30:00.000Z INFO [pictures] Processing file [3/42]: export-001.json.gz`, or the same as a JSON
//! object, on stderr and in the file that `MIGRATE_LOG_FILE` names. What is logged, each program decides.

use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Mutex, OnceLock};

use fault::{Failure, Fault, FileError, Problem};
use serde::Serialize;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::Common;

/// Names the file that gets every log line beside stderr.
const LOG_FILE: &str = "MIGRATE_LOG_FILE";

/// How much is said where no flag says it.
const LOG_LEVEL: &str = "MIGRATE_LOG_LEVEL";

static LOG: OnceLock<Log> = OnceLock::new();

/// What a line looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Time, level, profile, message
    #[default]
    Text,
    /// A JSON object
    Json,
}

/// Where lines go. A progress line that stands on the terminal is wiped before a log line and drawn again after it.
struct Log {
    program: &'static str,
    topic: String,
    format: Format,
    level: Level,
    /// At least what is said without flags: it is read when something went wrong.
    file: Option<(File, Level)>,
    screen: Mutex<Screen>,
}

#[derive(Default)]
struct Screen {
    /// From the first [`progress`] on, only warnings and errors are printed on the terminal.
    begun: bool,
    line: String,
    /// Who draws on the terminal instead, if anybody does.
    other: Option<Print>,
}

/// Prints a line on a terminal on which something else is drawn.
pub type Print = Box<dyn Fn(&str) + Send>;

/// Starts logging under a topic (the profile's name, or the program's).
pub(crate) fn init(program: &'static str, topic: &str, common: &Common) -> Result<(), Failure> {
    let level = match (common.quiet, common.verbose) {
        (true, _) => Level::WARN,
        (false, 0) => level_of(std::env::var(LOG_LEVEL).ok())?,
        (false, 1) => Level::DEBUG,
        (false, _) => Level::TRACE,
    };
    let file = match std::env::var_os(LOG_FILE) {
        Some(path) if !path.is_empty() => {
            let path = Path::new(&path);
            let open = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
            Some((open.map_err(FileError::on("open the log", path))?, level.max(Level::INFO)))
        }
        _ => None,
    };
    let format = common.log_format;
    let log =
        LOG.get_or_init(|| Log { program, topic: topic.to_owned(), format, level, file, screen: Mutex::default() });
    // A second subscriber is refused; the first one stays, which is right in tests of several programs in one process.
    let _ = tracing_subscriber::registry().with(Lines(log)).try_init();
    Ok(())
}

fn level_of(name: Option<String>) -> Result<Level, Problem> {
    match name.filter(|name| !name.is_empty()) {
        None => Ok(Level::INFO),
        Some(name) => name.parse().map_err(|_| {
            Problem::new(Fault::Setup, format!("`{LOG_LEVEL}` is `{name}`"))
                .with_hint("error, warn, info, debug or trace")
        }),
    }
}

/// Whether stderr is a terminal on which a progress line makes sense.
pub fn on_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Shows a progress line in place of the last one; an empty text removes it.
pub fn progress(text: &str) {
    let Some(log) = LOG.get() else { return };
    let Ok(mut screen) = log.screen.lock() else { return };
    screen.begun = true;
    text.clone_into(&mut screen.line);
    // Nobody is left to tell if stderr is closed.
    let _ = io::stderr().write_all(format!("\r\x1b[2K{text}").as_bytes());
}

/// From here on somebody else draws on the terminal, and prints the warnings and errors.
pub fn print_by(print: Print) {
    if let Some(log) = LOG.get()
        && let Ok(mut screen) = log.screen.lock()
    {
        (screen.begun, screen.other) = (true, Some(print));
    }
}

/// Writes a line that is for a program to read among those of the log, whatever the level; not on a terminal on which
/// something is drawn.
pub fn raw(text: &str) {
    let Some(log) = LOG.get() else { return };
    let line = format!("{text}\n");
    if let Some((file, _)) = &log.file {
        let _ = (&mut &*file).write_all(line.as_bytes());
    }
    if log.screen.lock().is_ok_and(|screen| !screen.begun) {
        let _ = io::stderr().write_all(line.as_bytes());
    }
}

/// The last words of a program: `program: what failed: why`, then the hint on a line of its own.
pub(crate) fn failure(program: &str, message: &str, hint: Option<&str>) {
    let text = {
        let hint = hint.map_or_else(String::new, |hint| format!("hint: {hint}\n"));
        format!("{program}: {message}\n{hint}")
    };
    let Some(log) = LOG.get() else {
        let _ = io::stderr().write_all(text.as_bytes());
        return;
    };
    progress_off(log);
    let line = match log.format {
        Format::Json => log.line(Level::ERROR, message, hint),
        Format::Text => {
            let hint = hint.map_or_else(String::new, |hint| format!(" (hint: {hint})"));
            log.line(Level::ERROR, &format!("{program}: {message}{hint}"), None)
        }
    };
    if let Some((file, _)) = &log.file {
        let _ = (&mut &*file).write_all(line.as_bytes());
    }
    let said = if log.format == Format::Json { line } else { text };
    let _ = io::stderr().write_all(said.as_bytes());
}

fn progress_off(log: &Log) {
    if let Ok(mut screen) = log.screen.lock()
        && !std::mem::take(&mut screen.line).is_empty()
    {
        let _ = io::stderr().write_all(b"\r\x1b[2K");
    }
}

/// A line as JSON.
#[derive(Serialize)]
struct Json<'a> {
    time: &'a str,
    level: &'a str,
    profile: &'a str,
    program: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

impl Log {
    fn line(&self, level: Level, text: &str, hint: Option<&str>) -> String {
        let time = format!("{:.3}", jiff::Timestamp::now());
        let json = Json {
            time: &time,
            level: level.as_str(),
            profile: &self.topic,
            program: self.program,
            message: text,
            hint,
        };
        match self.format {
            // Texts can always be written as JSON.
            Format::Json => serde_json::to_string(&json).unwrap_or_default() + "\n",
            // One record is one line, whatever a server's message holds.
            Format::Text => format!("{time} {level} [{}] {}\n", self.topic, text.replace('\n', " ")),
        }
    }
}

struct Lines(&'static Log);

impl<S: Subscriber> Layer<S> for Lines {
    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: Context<'_, S>) -> bool {
        // The libraries below (the AWS SDK, rustls) say little that helps; only what they warn of is shown.
        let ours = metadata.target().split("::").next().is_some_and(|root| OURS.contains(&root));
        let most = self.0.file.as_ref().map_or(self.0.level, |(_, level)| self.0.level.max(*level));
        let level = if ours || most == Level::TRACE { most } else { Level::ERROR };
        *metadata.level() <= level
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let log = self.0;
        let mut text = Text::default();
        event.record(&mut text);
        let level = *event.metadata().level();
        let line = log.line(level, &(text.message + &text.fields), None);
        if let Some((file, most)) = &log.file
            && level <= *most
        {
            // One write a line: several programs append to the same file.
            let _ = (&mut &*file).write_all(line.as_bytes());
        }
        let Ok(screen) = log.screen.lock() else { return };
        if level > log.level || (screen.begun && level > Level::WARN) {
            return;
        }
        match &screen.other {
            Some(print) => print(line.trim_end()),
            None if screen.begun => {
                let _ = io::stderr().write_all(format!("\r\x1b[2K{line}{}", screen.line).as_bytes());
            }
            None => {
                let _ = io::stderr().write_all(line.as_bytes());
            }
        }
    }
}

/// The crates whose log lines are meant for the person who runs the programs.
const OURS: [&str; 20] = [
    "ddb_list",
    "ddb_cat",
    "ddb_infer",
    "ddb_parse",
    "pg_upsert",
    "pg_verify",
    "migrate_rejects",
    "migrate_check",
    "migrate_monitor",
    "events",
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

    fn log(format: Format) -> Log {
        let (program, topic) = ("pg-upsert", "pictures".to_owned());
        Log { program, topic, format, level: Level::INFO, file: None, screen: Mutex::default() }
    }

    #[test]
    fn a_line_has_time_level_topic_and_text_on_one_line() {
        let line = log(Format::Text).line(Level::INFO, "Starting\nmigration", None);
        let (time, rest) = line.split_once(' ').unwrap();
        assert_eq!(rest, "INFO [pictures] Starting migration\n");
        assert_eq!((time.len(), &time[19..20], &time[23..]), (24, ".", "Z"), "{time}");
    }

    #[test]
    fn as_json_it_has_the_same_in_fields() {
        let line = log(Format::Json).line(Level::ERROR, "no \"table\"\nhere", Some("make it"));
        let (time, rest) = line.split_once(r#"","#).unwrap();
        assert_eq!((time.len(), &time[..9]), (33, r#"{"time":""#));
        assert_eq!(
            rest,
            concat!(
                r#""level":"ERROR","profile":"pictures","program":"pg-upsert","#,
                r#""message":"no \"table\"\nhere","hint":"make it"}"#,
                "\n"
            )
        );
    }

    #[test]
    fn the_environment_says_how_much_is_said() {
        assert_eq!(level_of(None).unwrap(), Level::INFO);
        assert_eq!(level_of(Some(String::new())).unwrap(), Level::INFO);
        assert_eq!(level_of(Some("warn".to_owned())).unwrap(), Level::WARN);
        assert!(level_of(Some("loud".to_owned())).is_err());
    }
}
