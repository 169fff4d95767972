//! `status`: what the files of a run tell of it. Whether the run is alive, `migrate` has found out.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use checkpoint::State;
use cli::Stop;
use cli::progress::grouped;
use fault::{Exit, Failure, PipeError};
use jiff::Timestamp;
use retry::Interrupt as _;
use serde::Serialize;
use tracing::warn;

use crate::args::{self, Followed};
use crate::screen::Screen;
use crate::view::View;

/// How often it is looked.
const PACE: Duration = Duration::from_secs(1);

/// Everything that is known of a run.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    profile_name: String,
    running: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    /// When the process that runs began.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    /// Of full and incremental exports: up to when everything is in the table.
    #[serde(skip_serializing_if = "Option::is_none")]
    table_stands_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<View>,
    /// Files whose first records are done.
    files_begun: u64,
    rejects: Rejects,
    last_run: LastRun,
}

#[derive(Debug, Serialize)]
struct Rejects {
    count: u64,
    file: PathBuf,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct LastRun {
    /// Nothing if none has ended, or nobody knows how the last one did.
    exit_code: Option<u8>,
    time: Option<String>,
    message: String,
}

/// Says it once, or again and again until the run has ended.
pub(crate) fn status(args: &args::Status, stop: &Stop) -> Result<Exit, Failure> {
    if let (true, Some(pid)) = (args.watch, args.pid) {
        return watch(args, pid, stop).map(|()| Exit::Done);
    }
    say(args)
}

fn say(args: &args::Status) -> Result<Exit, Failure> {
    let report = Report::of(args);
    let text = if args.json {
        serde_json::to_string(&report).map_err(std::io::Error::from).map_err(PipeError::writing)? + "\n"
    } else {
        report.text(args)
    };
    std::io::stdout().write_all(text.as_bytes()).map_err(PipeError::writing)?;
    Ok(Exit::Done)
}

/// Shows how far the run is until its process has ended: as bars on a terminal, as JSON, or as lines.
fn watch(args: &args::Status, pid: u32, stop: &Stop) -> Result<(), Failure> {
    let Some(beginning) = begun(pid) else { return Ok(()) };
    let bars = !args.json && cli::log::on_terminal();
    let mut screen = bars.then(|| Screen::new(&args.run.profile));
    while begun(pid).as_deref() == Some(&beginning) && !stop.asked() {
        match (&mut screen, Report::of(args).progress) {
            (Some(screen), Some(view)) => screen.draw(&view),
            (Some(_), None) => {}
            (None, _) if args.json => drop(say(args)?),
            (None, view) => {
                let line = view.map_or_else(|| "looking for what there is to do".to_owned(), |view| view.line());
                writeln!(std::io::stdout(), "{line}").map_err(PipeError::writing)?;
            }
        }
        stop.wait(PACE);
    }
    if let Some(screen) = screen {
        screen.clear();
    }
    Ok(())
}

/// When a process began, in the kernel's ticks (`proc(5)`, field 22 of `stat`); nothing if it is not there.
fn begun(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(19).map(str::to_owned)
}

impl Report {
    fn of(args: &args::Status) -> Self {
        let run = &args.run;
        let status = fs::read(run.status_file(Followed::Run)).ok();
        // By way of a value, as the events are read.
        let value = status.and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok());
        let view = value.and_then(|value| serde_json::from_value::<View>(value).ok());
        let since = args.pid.and_then(|_| changed(&run.file("pid")));
        // What an earlier process said is not how far this one is.
        let fresh = view.clone().filter(|view| {
            // Without its file the run has just ended.
            args.pid.is_some()
                && since.is_none_or(|since| view.updated.parse::<Timestamp>().is_ok_and(|at| at >= since))
        });
        let bookmark = checkpoint::read(&run.file("bookmark.json")).unwrap_or_else(|error| {
            warn!("{}", fault::explain(&error));
            None
        });
        let files_begun = bookmark.as_ref().map_or(0, |state| state.progress.len() as u64);
        let progress = match (fresh, bookmark) {
            (Some(view), _) => Some(view),
            (None, Some(state)) => Some(of_bookmark(&state, view.unwrap_or_default())),
            // The last run is complete: so it ended.
            (None, None) => view.filter(|_| args.pid.is_none()),
        };
        let rejects = run.file("rejects.jsonl");
        Self {
            profile_name: run.profile.clone(),
            running: args.pid.is_some(),
            pid: args.pid,
            since: since.map(|since| format!("{since:.0}")),
            table_stands_at: args.stands_at.clone(),
            progress,
            files_begun,
            rejects: Rejects { count: lines(&rejects), file: rejects },
            last_run: LastRun::of(args),
        }
    }

    fn text(&self, args: &args::Status) -> String {
        let mut text = match (self.pid, &self.since) {
            (Some(pid), Some(since)) => format!("{} is running (pid {pid}) since {since}\n", self.profile_name),
            (Some(pid), None) => format!("{} is running (pid {pid})\n", self.profile_name),
            (None, _) => format!("{} is not running\n", self.profile_name),
        };
        let mut line = |name: &str, value: &str| text.extend([&format!("{:<10}", format!("{name}:")), value, "\n"]);
        if let Some(time) = &self.table_stands_at {
            line("table", &format!("stands at {time}"));
        }
        if let Some(view) = &self.progress {
            let export = view.export.as_ref().map_or_else(String::new, |export| format!(", export {export}"));
            line("source", &format!("{}{export}", view.source));
            let of = if view.files_total > 0 { format!(" of {}", grouped(view.files_total)) } else { String::new() };
            let begun =
                if self.files_begun > 0 { format!(", {} begun", grouped(self.files_begun)) } else { String::new() };
            line("files", &format!("{}{of} done{begun}", grouped(view.files_processed)));
            line("records", &sum(view));
            if args.pid.is_some() {
                let percent = view.percent.map(|percent| format!("{percent:.0}%"));
                let rate = format!("{} items/s", grouped(view.items_per_second));
                let parts: Vec<_> = [percent, Some(rate), view.left()].into_iter().flatten().collect();
                line("progress", &parts.join(", "));
            }
        }
        if self.rejects.count > 0 {
            line("rejects", &format!("{} in {}", grouped(self.rejects.count), self.rejects.file.display()));
        }
        line("last run", &self.last_run.message);
        text
    }
}

/// `17 = 13 rows written + 2 merged + 1 filtered out + 1 rejected`, and what few runs have: ` + 1 suppressed + 1 waiting`.
fn sum(view: &View) -> String {
    let events::Counts { scanned, inserted, merged, skipped, errors, suppressed, waiting } = view.counts;
    let some = |count: u64, what: &str| if count > 0 { format!(" + {} {what}", grouped(count)) } else { String::new() };
    let pending = if view.pending > 0 { format!("; {} more are read", grouped(view.pending)) } else { String::new() };
    format!(
        "{} = {} rows written + {} merged + {} filtered out + {} rejected{}{}{pending}",
        grouped(scanned),
        grouped(inserted),
        grouped(merged),
        grouped(skipped),
        grouped(errors),
        some(suppressed, "suppressed"),
        some(waiting, "waiting"),
    )
}

/// How far the run is by its bookmark; what that does not know, the last view may.
fn of_bookmark(state: &State, last: View) -> View {
    let same = last.source == state.header.source && last.export == state.header.export;
    let last = if same { last } else { View::default() };
    let totals = state.totals();
    View {
        source: state.header.source.clone(),
        export: state.header.export.clone(),
        files_processed: state.done.len() as u64,
        counts: events::Counts {
            scanned: totals.records,
            inserted: totals.written,
            merged: totals.merged,
            skipped: totals.filtered + totals.dropped,
            errors: totals.rejected,
            suppressed: totals.suppressed,
            waiting: totals.waiting,
        },
        pending: 0,
        items_per_second: 0,
        seconds_left: None,
        files: Vec::new(),
        ..last
    }
}

impl LastRun {
    /// What `migrate` wrote when the run ended: its exit code and the time.
    fn of(args: &args::Status) -> Self {
        let run = &args.run;
        // A run that could not say how it ended has left its pid; what is written is of an earlier one.
        let killed = args.pid.is_none() && fs::metadata(run.file("pid")).is_ok_and(|file| file.len() > 0);
        let text = if killed { String::new() } else { fs::read_to_string(run.file("exit")).unwrap_or_default() };
        let mut words = text.split_whitespace();
        let exit_code = words.next().and_then(|word| word.parse().ok());
        Self { exit_code, time: words.next().map(str::to_owned), message: args.last.clone() }
    }
}

/// How many lines a file has; none if it is not there.
fn lines(path: &Path) -> u64 {
    use std::io::BufRead as _;
    let Ok(file) = fs::File::open(path) else { return 0 };
    let mut reader = std::io::BufReader::with_capacity(1 << 16, file);
    let mut count = 0;
    while let Ok(bytes) = reader.fill_buf()
        && !bytes.is_empty()
    {
        count += memchr::memchr_iter(b'\n', bytes).count() as u64;
        let length = bytes.len();
        reader.consume(length);
    }
    count
}

/// When a file was changed.
fn changed(path: &Path) -> Option<Timestamp> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok().and_then(|time| time.try_into().ok())
}

/// Replaces a file as a whole, so that nobody reads half of it, with these permissions.
pub(crate) fn replace(path: &Path, text: &str, mode: u32) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".migrate").suffix(".tmp").tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}
