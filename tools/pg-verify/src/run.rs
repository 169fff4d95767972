//! The run: one batch after the other is compared, what is known then is noted, and at the end of the stream it is said
//! what is missing and what differs.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use checkpoint::{Bookmark as _, Counts, Entry, Journal, State};
use cli::progress::{Progress, Standing, grouped, time};
use cli::{Retry, Stop};
use events::Phase;
use fault::{Exit, Failure, Fault, Problem, explain};
use pg::{Client, Settings};
use profile::{Options, Profile, Schema};
use rows::Batch;
use rows::batch::{Gather, Limits};
use rows::entries::Spare;
use rows::input::{self, Expected, Message};
use rows::ledger::Ledger;
use rows::plain::{self, Plain};
use rows::report::Report;
use rows::settle::Settled;
use rows::tolerance::MaxRejects;
use stream::{FileEvent, Source};
use tracing::{error, info, warn};

use crate::args::Args;
use crate::findings::{self, Findings};
use crate::pending::Pending;
use crate::target::Target;

/// Seconds in which the first connection is tried: somebody may be watching.
const FIRST: u64 = 15;

/// Reads rows from stdin until they end.
pub(crate) fn run(args: &Args, stop: &Stop) -> Result<Exit, Failure> {
    cli::warn_of_open_dotenv();
    let settings = Settings::from_env()?;
    let retry = Retry::new("PostgreSQL", args.retry, stop.clone());
    let profile = args.profile.as_ref().map(|name| profile::load(name, Options { max_id: None })).transpose()?;
    let table = args.table.as_deref().map(plain::parse_table).transpose()?;

    // Wrong settings are found before anything is read.
    let (client, plain) = retry.at_most(FIRST).run(|| {
        let mut client = settings.connect()?;
        let plain = match (&table, &profile) {
            (Some(table), None) => {
                let begun = settings.begin(&mut client);
                let mut transaction = begun.map_err(pg::Error::on("cannot look at the table"))?;
                let plain = Plain::find(&mut transaction, table, args.key.as_deref(), args.columns.as_deref())?;
                Some(plain.overriding_system_value(true))
            }
            _ => None,
        };
        Ok::<_, pg::Error>((client, plain))
    })?;
    let rows = |rows: u32| usize::try_from(rows).unwrap_or(usize::MAX);
    let folder = cli::log_dir(args.log_dir.as_deref());
    let gather = Gather::new(rows(args.gather), folder.clone());
    let limits = Limits { rows: rows(args.batch_size), bytes: args.batch_bytes, gather: Some(gather) };
    let read = Arc::new(AtomicU64::new(0));
    let expected = Expected {
        plain,
        table,
        key: args.key.clone(),
        source: profile.is_some(),
        markers: !args.no_markers,
        limits: limits.clone(),
        read: Arc::clone(&read),
        max_rejects: MaxRejects::Percent(100.0),
        earlier: Arc::default(),
        spare: Spare::default(),
    };

    let messages = input::start(expected)?;
    let mut run = Run {
        args,
        stop,
        settings,
        limits,
        retry,
        folder,
        client: Some(client),
        ledger: Ledger::new(args.lossy, profile.is_some()),
        profile,
        source: None,
        tables: Vec::new(),
        notes: None,
        progress: Progress::new(args.progress.now()),
        report: Report::new(Arc::clone(&read)),
        read,
        batches: 0,
        files: 0,
        stopped: false,
        completed: false,
        said: String::new(),
    };
    let result = run.take(&messages);
    match &result {
        Ok(_) => run.report.end(run.completed, Ok(&run.said)),
        Err(failure) => {
            run.progress.end("");
            run.report.end(run.completed, Err(&explain(&**failure)));
        }
    }
    match result {
        // There was something to say, so not all is well.
        Err(failure) if failure.fault() == Fault::ReaderGone => Ok(Exit::Incomplete),
        result => result,
    }
}

/// What to do when the stream is cut off.
const WHY_DIED: &str = "the messages above say why it died; verify again, it goes on from there";

/// Everything that a run is made of.
struct Run<'a> {
    args: &'a Args,
    stop: &'a Stop,
    settings: Settings,
    limits: Limits,
    retry: Retry,
    folder: PathBuf,
    /// The first connection, until the table is known.
    client: Option<Client>,
    profile: Option<Profile>,
    source: Option<Source>,
    /// In the order in which the stream named them.
    tables: Vec<Compared>,
    /// With a profile only: which files are done.
    notes: Option<Notes>,
    ledger: Ledger,
    progress: Progress,
    /// Records that were read by this process.
    read: Arc<AtomicU64>,
    /// For those who want events.
    report: Report,
    batches: u64,
    /// Files that are done in this process.
    files: u64,
    /// The source said that it was asked to stop.
    stopped: bool,
    /// Everything was compared.
    completed: bool,
    /// The last words.
    said: String,
}

/// A table, and its rows that have to be looked at again.
struct Compared {
    name: String,
    target: Target,
    pending: Pending,
}

/// The bookmark of the verification. Files are done as a whole or not at all.
struct Notes {
    journal: Journal,
    state: State,
}

impl Run<'_> {
    fn take(&mut self, messages: &Receiver<Message>) -> Result<Exit, Failure> {
        loop {
            match messages.recv_timeout(Duration::from_millis(500)) {
                Ok(Message::Source(source)) => self.source(*source),
                Ok(Message::Schema(schema, answer)) => {
                    self.schema(&schema)?;
                    // Who does not listen any more has ended for a reason of its own.
                    let _ = answer.send(true);
                }
                Ok(Message::Batch(batch)) => self.batch(*batch)?,
                Ok(Message::Stopped) => self.stopped = true,
                Ok(Message::End(torn)) => return self.end(torn),
                Ok(Message::Failed(failure)) => return Err(failure),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Problem::new(Fault::Local, "the reading thread died").into());
                }
            }
            self.report_standing();
            let standing = self.standing();
            self.progress.draw(self.source.as_ref(), standing);
        }
    }

    fn source(&mut self, source: Source) {
        if self.profile.is_some() {
            let items = source.items.map_or_else(String::new, |items| format!(", {} items", grouped(items)));
            info!("Starting verification of {}: {} files{items}", source.source, grouped(source.files));
        }
        let bookmark = self.profile.as_ref().map(|profile| self.bookmark(profile));
        self.report.source(&source, bookmark.as_deref());
        self.source = Some(source);
    }

    /// What the rows of a further table are is known now: it is looked up.
    fn schema(&mut self, schema: &Schema) -> Result<(), Failure> {
        if let Some(profile) = &self.profile
            && schema.profile != profile.name
        {
            let message = format!("the rows are made by the profile `{}`, not by `{}`", schema.profile, profile.name);
            return Err(Problem::new(Fault::Setup, message).into());
        }
        if self.profile.is_some() && self.source.is_none() {
            let message = "the stream does not begin with `$source`, which the verification of a migration needs";
            return Err(Problem::new(Fault::Input, message)
                .with_hint("the rows have to come from `ddb-list | ddb-cat | ddb-parse -p PROFILE`; leave -p out to verify any rows")
                .into());
        }
        let (limits, retry) = (self.limits.clone(), self.retry.clone());
        let (number, first) = (self.tables.len(), self.client.take());
        let connections = self.args.connections;
        let target = Target::find(&self.settings, first, schema, number, limits, connections, retry)?;
        self.open(Some(schema))?;
        let pending = match (&self.notes, &self.profile) {
            (Some(Notes { state, .. }), Some(profile)) => {
                let number = if number == 0 { String::new() } else { format!("-{number}") };
                let path = cli::profile_file(&self.folder, &profile.name, &format!("verify.pending{number}.jsonl"));
                Pending::of_run(&self.folder, &path, schema, |file| state.done.contains_key(file))?
            }
            _ => Pending::unnamed(&self.folder, schema)?,
        };
        self.ledger.add_table(schema.name());
        self.tables.push(Compared { name: schema.name(), target, pending });
        Ok(())
    }

    fn bookmark(&self, profile: &Profile) -> PathBuf {
        cli::profile_file(&self.folder, &profile.name, "verify.bookmark.json")
    }

    /// Opens the bookmark, once it is known what it belongs to.
    fn open(&mut self, schema: Option<&Schema>) -> Result<(), Failure> {
        let (Some(profile), Some(source), None) = (&self.profile, &self.source, &self.notes) else { return Ok(()) };
        let path = self.bookmark(profile);
        let opened = Journal::open(&path, &rows::identity(source, &profile.name, schema));
        // `migrate reset`, which others would be told of, forgets the run's own bookmark too.
        let (journal, state) = opened.map_err(|error| match error {
            checkpoint::Error::Foreign { .. } => Problem::new(Fault::Setup, error.to_string())
                .with_hint(format!("delete `{}` to begin the verification anew", path.display()))
                .into(),
            error => Failure::from(error),
        })?;
        if !state.is_fresh() {
            info!(
                "Resuming the verification of {}: {} files done",
                state.header.started,
                grouped(state.done.len() as u64)
            );
        }
        self.report.earlier(&state.totals());
        self.notes = Some(Notes { journal, state });
        Ok(())
    }

    /// Compares a batch and notes what is known then.
    fn batch(&mut self, mut batch: Batch) -> Result<(), Failure> {
        let begun = Instant::now();
        let rows = batch.keys();
        batch.set_unfinished_apart();
        let Batch { tables, deleted, segments, apart, .. } = batch;
        let mut all: Vec<_> = (0..tables.len().max(1)).map(|place| Settled::of(&segments, place)).collect();
        // Whether a deleted row came again, only the exports after this one know: it is counted, and not looked for.
        for (entries, settled) in deleted.iter().zip(&mut all) {
            for origin in (0..entries.len()).flat_map(|place| entries.entry(place).origins()) {
                settled.tallies[origin.segment].deleted += origin.weight;
            }
        }
        self.report.phase(Phase::Writing);
        for ((Compared { target, pending, .. }, mut rows), settled) in self.tables.iter_mut().zip(tables).zip(&mut all)
        {
            if rows.keys() > 0 {
                settled.add(target.compare(&mut rows, &segments, &apart, pending)?);
            }
        }
        self.report.phase(Phase::Reading);
        if rows > 0 {
            self.batches += 1;
            let (number, records) = (self.batches, grouped(all.iter().map(Settled::records).sum()));
            let pending = self.pending();
            let again =
                if pending > 0 { format!("; {} rows to be looked at again", grouped(pending)) } else { String::new() };
            info!("Compared {records} records (batch {number}) in {}{again}", time(begun.elapsed()));
            if let Some(gather) = &self.limits.gather {
                gather.learn(rows, begun.elapsed());
            }
        }
        if let Some(first) = all.iter().find_map(|settled| settled.rejected.first()) {
            let rejects = all.iter().map(Settled::rejects).sum();
            let more = if rejects > 1 { ", first" } else { "" };
            warn!("{} rejected, as in a load{more}: {}", grouped(rejects), first.reason);
        }
        let mut entries = Vec::new();
        for (place, segment) in segments.into_iter().enumerate() {
            for (table, settled) in all.iter().enumerate() {
                self.ledger.rows(table, settled.tallies.get(place).copied().unwrap_or_default());
            }
            let Some(event) = segment.event else { continue };
            entries.extend(self.event(event));
        }
        self.note(entries)
    }

    /// How many rows have to be looked at again.
    fn pending(&self) -> u64 {
        self.tables.iter().map(|table| table.pending.rows()).sum()
    }

    /// What there is to note after something was said about a file.
    fn event(&mut self, event: FileEvent) -> Option<Entry> {
        match event {
            FileEvent::Begin(begin) => {
                self.report.begin(&begin);
                self.ledger.begin(begin, None)
            }
            FileEvent::Mark(mark) => self.ledger.mark(&mark),
            FileEvent::End(end) => self.ledger.end(&end),
            FileEvent::Fail(fail) => Some(self.ledger.fail(fail.key, fail.reason)),
        }
    }

    /// Notes which files are done, and which are not complete; what is known of them is on disk before.
    fn note(&mut self, mut entries: Vec<Entry>) -> Result<(), Failure> {
        entries.retain(|entry| !matches!(entry, Entry::Progress(_)));
        for entry in &entries {
            match entry {
                Entry::Fail(failed) => error!("File failed: {}: {}", failed.key, failed.reason),
                Entry::Done(_) => self.files += 1,
                Entry::Progress(_) | Entry::Settled(_) => {}
            }
        }
        let Some(Notes { journal, state }) = self.notes.as_mut().filter(|_| !entries.is_empty()) else {
            return Ok(());
        };
        for table in &mut self.tables {
            table.pending.sync()?;
        }
        journal.append(&entries)?;
        self.report.noted(&entries);
        for entry in entries {
            state.apply(entry);
        }
        Ok(())
    }

    fn standing(&self) -> Standing {
        let run = self.ledger.run();
        let files = self.notes.as_ref().map_or(0, |notes| notes.state.done.len() as u64);
        let gathered = self.read.load(Ordering::Relaxed).saturating_sub(run.records);
        let Counts { records, written: rows, rejected, .. } = run;
        Standing { records, rows, gathered, rejected, files, ..Standing::default() }
    }

    fn report_standing(&self) {
        match &self.notes {
            Some(notes) => self.report.standing(notes.state.done.len() as u64, &notes.state.totals()),
            // Until it is opened nothing is added to what the bookmark says.
            None if self.profile.is_some() && self.source.is_some() => {}
            None => self.report.standing(self.files, &self.ledger.run()),
        }
    }

    /// The stream is over: whole, or not.
    fn end(&mut self, torn: usize) -> Result<Exit, Failure> {
        self.open(None)?;
        self.report_standing();
        if self.stopped || self.stop.asked() {
            let again = if self.profile.is_some() { "the same command goes on from there" } else { "nothing is known" };
            self.say(&format!("Stopped: {}; {again}", self.so_far()));
            return Ok(Exit::Stopped);
        }
        if let Some(file) = self.ledger.open_file() {
            let message = format!("the stream ended inside `{file}`: a program before this one died");
            return Err(Problem::new(Fault::Input, message).with_hint(WHY_DIED).into());
        }
        if torn > 0 {
            let message = format!(
                "the last line has no newline: the program before this one died, {torn} bytes are not compared"
            );
            return Err(Problem::new(Fault::Input, message).with_hint(WHY_DIED).into());
        }
        if self.source.is_none() && (self.profile.is_some() || (self.tables.is_empty() && self.args.table.is_none())) {
            let message = "the stream is empty: no program before this one said what it is about";
            return Err(Problem::new(Fault::Input, message).into());
        }
        if let (Some(Notes { state, .. }), Some(source)) = (&self.notes, &self.source) {
            let (done, files) = (state.done.len() as u64, source.files);
            if done < files || !state.failed.is_empty() {
                let message =
                    format!("the verification is not complete: {} files failed; {}", state.failed.len(), self.so_far());
                return Err(Problem::new(Fault::Input, message)
                    .with_hint("the same command goes on with the files that are not done")
                    .into());
            }
            if let (true, Some(profile)) = (self.tables.is_empty(), &self.profile) {
                // No row came in this process, but some may wait from the one before.
                for schema in profile.schemas().cloned().collect::<Vec<_>>() {
                    self.schema(&schema)?;
                }
            }
        }
        self.verdict()
    }

    /// How far the verification is.
    fn so_far(&self) -> String {
        match (&self.notes, &self.source) {
            (Some(Notes { state, .. }), Some(source)) => {
                let (done, files) = (grouped(state.done.len() as u64), grouped(source.files));
                format!("{done} of {files} files are compared")
            }
            _ => format!("{} records are compared", grouped(self.ledger.run().records)),
        }
    }

    /// What is missing and what differs, now that no later row can explain it.
    fn verdict(&mut self) -> Result<Exit, Failure> {
        let mut findings = match &self.profile {
            Some(profile) => Findings::in_file(cli::profile_file(&self.folder, &profile.name, "verify.jsonl"))?,
            None => Findings::on_stdout(),
        };
        let several = self.tables.len() > 1;
        self.report.phase(Phase::Completing);
        for Compared { name, target, pending } in self.tables.iter_mut().filter(|table| table.pending.rows() > 0) {
            if several {
                findings.of_table(name.clone());
            }
            target.report(pending, &mut findings)?;
        }
        let (found, path) = findings.end()?;
        // Of a migration all files are done, else this is not reached.
        let part = self.source.as_ref().filter(|source| self.profile.is_none() && self.files < source.files);
        let part = part.map_or_else(String::new, |source| format!(" of {} of {} files", self.files, source.files));
        let counts = self.notes.as_ref().map_or_else(|| self.ledger.run(), |notes| notes.state.totals());
        // In this order: without its pending rows, a bookmark would say that all is there.
        if let Some(Notes { journal, .. }) = self.notes.take() {
            journal.delete()?;
        }
        for table in std::mem::take(&mut self.tables) {
            table.pending.delete()?;
        }
        let place = path.map_or_else(String::new, |path| format!("; see {}", path.display()));
        self.say(&format!("{}, in {}{place}", summary(&counts, &part, found), time(self.progress.elapsed())));
        let failed = self.ledger.failed();
        if failed > 0 {
            return Err(
                Problem::new(Fault::Input, format!("{failed} files failed: their rows are not all compared")).into()
            );
        }
        self.completed = true;
        Ok(if found.missing + found.different > 0 { Exit::Incomplete } else { Exit::Done })
    }

    /// The last words, which stay on the terminal.
    fn say(&mut self, text: &str) {
        info!("{text}");
        text.clone_into(&mut self.said);
        if self.progress.shown() {
            self.progress.end(text);
        }
    }
}

/// `Verified 1,000,000 records in 222,070 rows: 3 missing, 1 different, 2 rejected`
fn summary(counts: &Counts, part: &str, found: findings::Counts) -> String {
    let Counts { records, written, filtered, rejected, dropped, .. } = *counts;
    let findings::Counts { missing, different } = found;
    let some = |count, what| if count > 0 { format!(", {} {what}", grouped(count)) } else { String::new() };
    format!(
        "Verified {} records in {} rows{part}: {} missing, {} different, {} rejected{}{}",
        grouped(records),
        grouped(written),
        grouped(missing),
        grouped(different),
        grouped(rejected),
        some(filtered, "filtered out"),
        some(dropped, "dropped"),
    )
}
