//! A command of the user's that is run for each event, with the event on its stdin. It never harms the run: what fails or
//! takes too long is said in the log.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use events::{Event, Line};
use tracing::warn;

/// How long one command may take.
const LONGEST: Duration = Duration::from_secs(30);

/// How long what is left may take when the run has ended.
const AFTER_END: Duration = Duration::from_mins(1);

/// So many events may wait; of more, those that are many are left out.
const WAITING: usize = 1000;

/// How often it hears how far the run is.
const PACE: Duration = Duration::from_secs(10);

/// The thread that runs the command.
#[derive(Debug)]
pub(crate) struct Hook {
    events: Sender<Line>,
    thread: JoinHandle<()>,
    waiting: Arc<AtomicUsize>,
    /// Until when what waits is handed on, once the run has ended.
    until: Arc<OnceLock<Instant>>,
    left_out: u64,
    progress: Option<Instant>,
}

impl Hook {
    /// Starts it.
    pub(crate) fn new(command: String) -> std::io::Result<Self> {
        let (events, received) = channel();
        let (waiting, until) = (Arc::<AtomicUsize>::default(), Arc::<OnceLock<Instant>>::default());
        let theirs = (Arc::clone(&waiting), Arc::clone(&until));
        let thread = thread::Builder::new().name("hook".to_owned());
        let thread = thread.spawn(move || run(&command, &received, &theirs.0, &theirs.1))?;
        Ok(Self { events, thread, waiting, until, left_out: 0, progress: None })
    }

    /// Hands on an event.
    pub(crate) fn send(&mut self, line: &Line) {
        match line.event {
            Event::Progress(_) if self.progress.is_some_and(|last| last.elapsed() < PACE) => return,
            Event::Progress(_) => self.progress = Some(Instant::now()),
            _ => {}
        }
        let many = matches!(line.event, Event::Progress(_) | Event::Reject(_));
        if many && self.waiting.load(Ordering::Relaxed) >= WAITING {
            self.left_out += 1;
            return;
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        // Its thread ends when this does.
        let _ = self.events.send(line.clone());
    }

    /// Waits until every event was handed on, for a while.
    pub(crate) fn end(self) {
        self.until.get_or_init(|| Instant::now() + AFTER_END);
        drop(self.events);
        // It has ended, whether well or not.
        let _ = self.thread.join();
        if self.left_out > 0 {
            warn!("The hook is slower than what happens: it has not heard of {} events", self.left_out);
        }
    }
}

fn run(command: &str, events: &Receiver<Line>, waiting: &AtomicUsize, until: &OnceLock<Instant>) {
    let mut late = 0_u64;
    for line in events {
        waiting.fetch_sub(1, Ordering::Relaxed);
        // How it ended is heard in any case.
        if !matches!(line.event, Event::Complete(_)) && until.get().is_some_and(|until| Instant::now() > *until) {
            late += 1;
            continue;
        }
        if let Err(reason) = call(command, &line) {
            warn!("The hook failed for an event: {reason}");
        }
    }
    if late > 0 {
        warn!("The hook took too long: it has not heard of {late} events");
    }
}

/// Runs the command once.
fn call(command: &str, line: &Line) -> Result<(), String> {
    let mut text = serde_json::to_vec(line).map_err(|error| error.to_string())?;
    text.push(b'\n');
    // Of coreutils: it ends the command and what that has begun.
    let child = Command::new("timeout")
        .args(["--kill-after=5", &LONGEST.as_secs().to_string(), "sh", "-c", command])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.map_err(|error| format!("cannot start it: {error}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // It need not read it. A line is shorter than what a pipe takes.
        let _ = stdin.write_all(&text);
    }
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    match output.status.code() {
        Some(0) => Ok(()),
        Some(124 | 137) => Err(format!("it took longer than {} s", LONGEST.as_secs())),
        code => {
            let said = String::from_utf8_lossy(&output.stderr);
            let first = said.lines().next().unwrap_or("it said nothing");
            Err(format!("exit code {}: {first}", code.map_or_else(|| "unknown".to_owned(), |code| code.to_string())))
        }
    }
}
