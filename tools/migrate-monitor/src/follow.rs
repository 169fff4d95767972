//! Follows a run: events and lines of the log come in on stdin, and go to all who want to know.
//!
//! It is no part of the pipeline. Whatever fails here, the run goes on.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use cli::{Program as _, Stop};
use events::{Complete, Event, Line};
use fault::{Exit, Failure, Fault, PipeError, Problem};
use jiff::Timestamp;
use tracing::{info, warn};

use crate::args::{Args, Follow, Look};
use crate::hook::Hook;
use crate::metrics;
use crate::screen::{Printer, Screen};
use crate::serve::{self, Shared};
use crate::service::Service;
use crate::standing::Standing;
use crate::status::replace;
use crate::view::View;

/// A longer line of the log is cut.
const LONGEST_LINE: u64 = 1 << 16;

const DRAW: Duration = Duration::from_millis(200);
const STATUS: Duration = Duration::from_secs(1);
const METRICS: Duration = Duration::from_secs(5);
const EMBEDDED: Duration = Duration::from_mins(1);

/// Follows until stdin ends.
pub(crate) fn follow(args: &Follow, _: &Stop) -> Result<Exit, Failure> {
    let lines = read()?;
    let mut follower = Follower::new(args)?;
    // `migrate` waits for it: wrong options are found before anything is done.
    writeln!(std::io::stdout(), "ready").map_err(PipeError::writing)?;
    loop {
        match lines.recv_timeout(DRAW) {
            Ok(line) => follower.line(&line),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        follower.tell(false);
    }
    follower.end();
    Ok(Exit::Done)
}

/// Reads lines on a thread of its own, so that the run never waits long for whoever is told of it.
fn read() -> Result<Receiver<Vec<u8>>, Problem> {
    let (sender, lines) = sync_channel(4096);
    let reader = thread::Builder::new().name("input".to_owned()).spawn(move || {
        let mut input = BufReader::new(std::io::stdin());
        loop {
            let mut line = Vec::new();
            match input.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) if sender.send(line).is_err() => return,
                Ok(_) => {}
            }
        }
    });
    reader.map_err(|error| Problem::new(Fault::Local, format!("cannot start a thread: {error}")))?;
    Ok(lines)
}

/// Something that is done again and again.
#[derive(Debug, Default)]
struct Due(Option<Instant>);

impl Due {
    /// Whether it is time, which then begins anew.
    fn is(&mut self, pace: Duration) -> bool {
        let due = self.0.is_none_or(|last| last.elapsed() >= pace);
        if due {
            self.0 = Some(Instant::now());
        }
        due
    }
}

/// Everybody who is told.
struct Follower<'a> {
    args: &'a Follow,
    began: Instant,
    standing: Standing,
    screen: Option<Screen>,
    printer: Option<Printer>,
    hook: Option<Hook>,
    served: Option<Shared>,
    service: Option<Service>,
    status_file: PathBuf,
    /// What the last line of the embedded format knew; of a run that goes on first what was done before.
    embedded: View,
    /// Whether it is still to be heard what was done before.
    before: bool,
    /// What cannot be done is said once.
    broken: Vec<&'static str>,
    drawn: Due,
    status: Due,
    plain: Due,
    metrics: Due,
    emf: Due,
}

impl<'a> Follower<'a> {
    fn new(args: &'a Follow) -> Result<Self, Failure> {
        let standing = Standing::new(&args.run.profile, args.command.as_str());
        let screen = (args.progress == Look::Bar).then(|| Screen::new(&args.run.profile));
        let printer = screen.as_ref().map(Screen::printer);
        if let Some(printer) = printer.clone() {
            cli::log::print_by(Box::new(move |line| printer.print(line)));
        }
        let hook = args.hook.clone().map(Hook::new).transpose();
        let hook = hook.map_err(|error| Problem::new(Fault::Local, format!("cannot start a thread: {error}")))?;
        let served = match args.metrics_listen {
            Some(address) => {
                let shared = Shared::default();
                serve::start(address, Arc::clone(&shared))?;
                Some(shared)
            }
            None => None,
        };
        let now = || Due(Some(Instant::now()));
        Ok(Self {
            args,
            began: Instant::now(),
            standing,
            screen,
            printer,
            hook,
            served,
            service: Service::ready(),
            status_file: args.run.status_file(args.command),
            embedded: View::default(),
            before: false,
            broken: Vec::new(),
            drawn: Due::default(),
            status: Due::default(),
            plain: now(),
            metrics: Due::default(),
            emf: now(),
        })
    }

    /// A line of stdin: an event, or one of the log.
    fn line(&mut self, line: &[u8]) {
        let line = line.trim_ascii_end();
        if let Some(code) = exit_code(line) {
            self.standing.ended(Some(code));
            return;
        }
        match Line::parse(line) {
            Some(line) => self.event(&line),
            None if line.is_empty() => {}
            None => self.text(&String::from_utf8_lossy(line)),
        }
    }

    fn event(&mut self, line: &Line) {
        events::forward(line);
        self.standing.add(line);
        if let Some(hook) = &mut self.hook {
            hook.send(line);
        }
        let view = self.standing.view();
        match &line.event {
            Event::Start(_) => {
                self.embedded = View { retries: self.embedded.retries.clone(), ..View::default() };
                self.embedded.files_processed = view.files_processed;
                self.embedded.counts = view.counts;
                self.before = view.resuming;
            }
            // The first one says it.
            Event::Progress(_) if self.before => {
                self.embedded.counts = view.counts;
                self.before = false;
            }
            _ => {}
        }
        let Event::Complete(complete) = &line.event else { return };
        // An error comes as a line of the log too.
        if let (Some(printer), false) = (&self.printer, complete.failed) {
            printer.print(&complete.message);
        }
        if self.args.metrics_emf {
            self.embedded();
        }
    }

    /// A line of the log. On a terminal only what went wrong is shown, and what is of no program of ours.
    fn text(&self, text: &str) {
        match &self.printer {
            Some(printer) if !is_chatter(text) => printer.print(text),
            Some(_) => {}
            None => {
                // Nobody is left to tell if stderr is closed.
                let _ = writeln!(std::io::stderr(), "{text}");
            }
        }
    }

    /// Tells everybody for whom it is time; `last`: it is the last time.
    fn tell(&mut self, last: bool) {
        if let Some(screen) = &mut self.screen
            && self.drawn.is(DRAW)
        {
            screen.draw(self.standing.view());
        }
        if self.status.is(STATUS) || last {
            if let Some(served) = &self.served {
                *served.lock().unwrap_or_else(PoisonError::into_inner) = self.standing.view().clone();
            }
            if let Some(service) = &mut self.service {
                service.tell(&self.standing);
            }
            if self.standing.view().started.is_some() {
                let text = serde_json::to_string(self.standing.view()).unwrap_or_default() + "\n";
                let written = replace(&self.status_file, &text, 0o600);
                self.note("the file for `migrate status`", written);
            }
        }
        if self.standing.is_running()
            && self.plain.is(Duration::from_secs(self.args.every))
            && self.args.progress != Look::None
        {
            info!("{}", self.standing.view().line());
        }
        if let Some(path) = &self.args.metrics_file
            && (last || self.metrics.is(METRICS))
        {
            // node_exporter is another user.
            let written = replace(path, &metrics::text_format(self.standing.view()), 0o644);
            self.note("the file of --metrics-file", written);
        }
        if self.args.metrics_emf && self.standing.is_running() && self.emf.is(EMBEDDED) {
            self.embedded();
        }
    }

    /// A line for CloudWatch.
    fn embedded(&mut self) {
        let view = self.standing.view();
        cli::log::raw(&metrics::embedded(view, &self.embedded, Timestamp::now()));
        self.embedded = view.clone();
    }

    fn note(&mut self, what: &'static str, done: std::io::Result<()>) {
        if let Err(error) = done
            && !self.broken.contains(&what)
        {
            self.broken.push(what);
            warn!("Cannot write {what}: {error}; the run goes on without it");
        }
    }

    /// Nothing more comes.
    fn end(mut self) {
        let view = self.standing.view();
        let message = match (view.completed, &view.started, view.exit_code) {
            (Some(_), ..) | (None, None, None) => None,
            (None, None, Some(0)) => Some("there was nothing to do".to_owned()),
            (None, None, Some(code)) => Some(format!("the run ended with exit code {code} before it had begun")),
            (None, Some(_), _) => Some("the run ended without a word".to_owned()),
        };
        if let Some(message) = message {
            let complete = Event::Complete(Complete {
                completed: view.exit_code == Some(0) && view.started.is_none(),
                elapsed_ms: u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
                files_processed: view.files_processed,
                files_total: view.files_total,
                counts: view.counts,
                message,
                failed: view.exit_code != Some(0),
            });
            self.event(&Line::now(complete, &self.args.run.profile, Args::NAME));
        }
        self.tell(true);
        if let Some(screen) = &self.screen {
            screen.clear();
        }
        if self.service.is_some() {
            Service::stopping();
        }
        if let Some(hook) = self.hook.take() {
            hook.end();
        }
    }
}

/// What `migrate` says at the very end: `{"exitCode":75}`.
fn exit_code(line: &[u8]) -> Option<u8> {
    let code = line.strip_prefix(b"{\"exitCode\":")?.strip_suffix(b"}")?;
    std::str::from_utf8(code).ok()?.parse().ok()
}

/// Whether a line of the log says that all is well: on a terminal the bars do.
fn is_chatter(line: &str) -> bool {
    const LEVELS: [&str; 3] = ["INFO", "DEBUG", "TRACE"];
    if line.starts_with("{\"time\":") {
        return LEVELS.iter().any(|level| line.contains(&format!("\"level\":\"{level}\"")));
    }
    let mut words = line.split(' ');
    let is_time = words.next().is_some_and(|word| word.len() == 24 && word.ends_with('Z'));
    is_time && words.next().is_some_and(|word| LEVELS.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_well_is_not_printed_over_the_bars() {
        for (line, chatter) in [
            ("2024-01-15T10:30:00.000Z INFO [pictures] Processing file", true),
            ("2024-01-15T10:30:00.000Z WARN [pictures] 2 rejected", false),
            (r#"{"time":"2024-01-15T10:30:00.000Z","level":"INFO","profile":"p","message":""}"#, true),
            (r#"{"time":"2024-01-15T10:30:00.000Z","level":"ERROR","profile":"p","message":""}"#, false),
            ("pg-upsert: cannot connect", false),
            ("Traceback INFO of another program", false),
        ] {
            assert_eq!(is_chatter(line), chatter, "{line}");
        }
    }
}
