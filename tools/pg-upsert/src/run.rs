//! The run: one batch after the other is written, then what is durable is noted, then the next.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use checkpoint::{Bookmark as _, Entry, FileCounts};
use cli::progress::{Progress, Standing, grouped, time};
use cli::{Program as _, Retry, Stop};
use events::Phase;
use fault::{Exit, Failure, Fault, Problem, explain};
use pg::policy::Rules;
use pg::{Client, Settings};
use profile::{Options, Policy, Profile, Schema};
use rows::Rejected;
use rows::batch::{Batch, Gather, Held, Limits};
use rows::entries::Spare;
use rows::input::{self, Expected, Message};
use rows::ledger::{Ledger, Tally};
use rows::plain::{self, Plain};
use rows::report::Report;
use rows::settle::{self, Settled, Waiting};
use rows::tolerance::{Reading, Reasons, Watch};
use stream::{FileEvent, Source};
use tracing::{info, warn};

use crate::args::Args;
use crate::completion;
use crate::notes::{self, Notes};
use crate::rejects::Rejects;
use crate::sequences;
use crate::target::{self, Prepared};
use crate::waiting::{WaitingKeys, WaitingRows};
use crate::write::{Manner, Writer};

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
        let mut client = target::connect(&settings)?;
        let plain = match (&table, &profile) {
            (Some(table), None) if !args.create => {
                let begun = settings.begin(&mut client);
                let mut transaction = begun.map_err(pg::Error::on("cannot look at the table"))?;
                let plain = Plain::find(&mut transaction, table, args.key.as_deref(), args.columns.as_deref())?;
                Some(plain.overriding_system_value(args.overriding_system_value))
            }
            _ => None,
        };
        Ok::<_, pg::Error>((client, plain))
    })?;
    let rows = |rows: u32| usize::try_from(rows).unwrap_or(usize::MAX);
    let gather = Gather::new(rows(args.gather), cli::log_dir(args.log_dir.as_deref()));
    let limits = Limits { rows: rows(args.batch_size), bytes: args.batch_bytes, gather: Some(gather) };
    let source = args.profile.is_some();
    let read = Arc::new(AtomicU64::new(0));
    let earlier = Arc::default();
    let spare = Spare::default();
    let expected = Expected {
        plain,
        table,
        key: args.key.clone(),
        source,
        markers: !args.no_markers,
        limits: limits.clone(),
        read: Arc::clone(&read),
        max_rejects: args.max_rejects,
        earlier: Arc::clone(&earlier),
        spare: spare.clone(),
    };

    let messages = input::start(expected)?;
    let mut run = Run {
        args,
        stop,
        settings,
        limits,
        retry,
        client: Some(client),
        profile,
        source: None,
        tables: Vec::new(),
        writer: None,
        notes: None,
        ledger: Ledger::new(args.lossy, source),
        rejects: None,
        waiting: None,
        waiting_keys: WaitingKeys::default(),
        done_with_waiting: BTreeMap::new(),
        progress: Progress::new(args.progress.now()),
        report: Report::new(Arc::clone(&read)),
        read,
        earlier,
        spare,
        reasons: Reasons::default(),
        batches: 0,
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
    result
}

/// What became of rows that waited: by data file and table.
type Settlement = BTreeMap<Option<String>, BTreeMap<usize, Tally>>;

/// Everything that a run is made of.
struct Run<'a> {
    args: &'a Args,
    stop: &'a Stop,
    settings: Settings,
    limits: Limits,
    retry: Retry,
    /// The first connection, until the table is known.
    client: Option<Client>,
    profile: Option<Profile>,
    source: Option<Source>,
    /// In the order in which the stream named them.
    tables: Vec<(Schema, Prepared)>,
    /// As soon as there are rows.
    writer: Option<Writer>,
    /// With a profile only.
    notes: Option<Notes>,
    ledger: Ledger,
    rejects: Option<Rejects>,
    /// Rows that are kept aside for others of the run.
    waiting: Option<WaitingRows>,
    waiting_keys: WaitingKeys,
    /// Files that are done but for rows that wait, where no bookmark has them.
    done_with_waiting: BTreeMap<String, FileCounts>,
    progress: Progress,
    /// Records that were read by this process.
    read: Arc<AtomicU64>,
    /// For those who want events.
    report: Report,
    /// Records and rejects of earlier processes.
    earlier: Arc<OnceLock<(u64, u64)>>,
    /// Where the memory of rows that were written goes.
    spare: Spare,
    reasons: Reasons,
    batches: u64,
    /// The source said that it was asked to stop.
    stopped: bool,
    /// Everything is in the table but what was rejected.
    completed: bool,
    /// The last words.
    said: String,
}

impl Run<'_> {
    fn take(&mut self, messages: &Receiver<Message>) -> Result<Exit, Failure> {
        loop {
            match messages.recv_timeout(Duration::from_millis(500)) {
                Ok(Message::Source(source)) => self.source(*source),
                Ok(Message::Schema(schema, answer)) => {
                    // Who does not listen any more has ended for a reason of its own.
                    let _ = answer.send(self.schema(*schema)?);
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
        if self.args.profile.is_some() {
            let items = source.items.map_or_else(String::new, |items| format!(", {} items", grouped(items)));
            info!("Starting migration of {}: {} files{items}", source.source, grouped(source.files));
        }
        let bookmark = self.profile.as_ref().map(|profile| self.bookmark(profile));
        self.report.source(&source, bookmark.as_deref());
        self.source = Some(source);
    }

    /// What the rows of a further table are is known now: it is checked, and made if that is wanted. Whether its rows may be
    /// gathered comes back.
    fn schema(&mut self, mut schema: Schema) -> Result<bool, Failure> {
        schema.overriding_system_value |= self.args.overriding_system_value;
        if let Some(profile) = &self.profile
            && schema.profile != profile.name
        {
            let message = format!("the rows are made by the profile `{}`, not by `{}`", schema.profile, profile.name);
            return Err(Problem::new(Fault::Setup, message).into());
        }
        let rules = if schema.by_sql() { self.rules(&schema)? } else { Rules::new() };
        let mut first = self.client.take();
        let on_create = || self.on_create(&schema);
        let create = self.args.create.then_some(&on_create as &dyn Fn() -> Vec<String>);
        let prepared = self.retry.run(|| {
            let mut client = match first.take() {
                Some(client) if !client.is_closed() => client,
                _ => target::connect(&self.settings)?,
            };
            self.settings.unless_late(self.stop, &mut client, |client| {
                target::prepare(&self.settings, client, &schema, create, &rules, self.args.dry_run)
            })
        })?;
        // Rows that may wait are not gathered: each has to be compared with those that wait.
        let loaded: Vec<_> = self.tables.iter().filter_map(|(_, prepared)| prepared.table.clone()).collect();
        let gathers = prepared.tells_apart && prepared.constraints.may_hold_later(&loaded).is_empty();
        self.ledger.add_table(schema.name());
        self.tables.push((schema, prepared));
        self.writer = None;
        Ok(gathers)
    }

    /// What became of each record, for each table; at least for one.
    fn write(&mut self, batch: &mut Batch, watch: &Watch) -> Result<Vec<Settled>, Failure> {
        if batch.keys() == 0 {
            return Ok((0..batch.tables.len().max(1)).map(|place| Settled::of(&batch.segments, place)).collect());
        }
        let writer = if let Some(writer) = self.writer.take() {
            writer
        } else {
            let connections = if self.args.dry_run { 1 } else { self.args.connections };
            let (tables, limits, dry_run) = (&self.tables, &self.limits, self.args.dry_run);
            let manner = Manner { connections, dry_run, may_wait: true };
            let writer = Writer::new(&self.settings, tables, limits, &manner, &self.retry)?;
            if let Some(waiting) = self.waiting.as_mut().filter(|waiting| waiting.rows() > 0) {
                let schemas: Vec<_> = tables.iter().map(|(schema, _)| schema.clone()).collect();
                self.waiting_keys = waiting.keys(&schemas, &writer.exact())?;
            }
            writer
        };
        let settled = writer.write(batch, watch, &mut self.waiting_keys);
        self.writer = Some(writer);
        settled
    }

    /// The SQL for a new table. It is the profile's own, never the stream's, which only says how many statements there are.
    fn on_create(&self, schema: &Schema) -> Vec<String> {
        self.of_profile(schema, |table| table.on_create.clone()).unwrap_or_else(|| {
            if schema.on_create > 0 {
                warn!(
                    "The table `{}` is made without the {} statement(s) of `on_create`, because the profile `{}` is not in \
                     profiles/ or another folder of profiles: name its folder in DDB_PIPE_PROFILES",
                    schema.table, schema.on_create, schema.profile
                );
            }
            Vec::new()
        })
    }

    /// The SQL of columns that are merged by it.
    fn rules(&self, schema: &Schema) -> Result<Rules, Problem> {
        let wanted = schema.columns.iter().filter(|column| column.merge == Policy::Sql);
        let at_hand = self.of_profile(schema, |table| (table.schema.hash == schema.hash).then(|| table.rules.clone()));
        if at_hand == Some(None) {
            let message = format!("the profile `{}` that is at hand is not the one that made the rows", schema.profile);
            return Err(Problem::new(Fault::Setup, message).with_hint("give `ddb-parse` and `pg-upsert` the same file"));
        }
        let rules = at_hand.flatten().unwrap_or_default();
        for column in wanted {
            if !rules.contains_key(&column.name) {
                let (name, profile) = (&column.name, &schema.profile);
                let message = format!("`{name}` is merged by SQL of the profile `{profile}`, which is not at hand");
                return Err(Problem::new(Fault::Setup, message).with_hint(
                    "put it into profiles/ or a folder of DDB_PIPE_PROFILES, or name it with -p in a migration",
                ));
            }
        }
        Ok(rules)
    }

    /// Something of the table in the profile, if that is at hand. The stream may name a profile, but never a path.
    fn of_profile<T>(&self, schema: &Schema, of: impl Fn(&profile::Table) -> T) -> Option<T> {
        // A profile's only table may have another name on the command line.
        let of_table = |profile: &Profile| {
            let table =
                profile.tables.iter().find(|table| profile.tables.len() == 1 || table.schema.name() == schema.name());
            table.map(&of)
        };
        if let Some(profile) = &self.profile {
            return of_table(profile);
        }
        let name = schema.profile.as_str();
        let plain = profile::name_of(name).is_ok_and(|plain| plain == name);
        let profile = plain.then(|| profile::load(name, Options { max_id: None }))?.ok()?;
        // Another profile of the same name may say something else.
        of_table(&profile)
    }

    /// Where the bookmark of a migration is.
    fn bookmark(&self, profile: &Profile) -> PathBuf {
        checkpoint::path(&cli::log_dir(self.args.log_dir.as_deref()), &profile.name)
    }

    /// Opens the bookmark and the rejects, once it is known what they belong to.
    fn open(&mut self) -> Result<(), Failure> {
        if self.rejects.is_some() {
            return Ok(());
        }
        let folder = cli::log_dir(self.args.log_dir.as_deref());
        let named = |name: &str| cli::profile_file(&folder, name, "rejects.jsonl");
        let (Some(profile), Some(source)) = (&self.profile, &self.source) else {
            let profile = self.tables.first().and_then(|(schema, _)| profile::name_of(&schema.profile).ok());
            let path = profile.map_or_else(|| folder.join("pg-upsert.rejects.jsonl"), |profile| named(&profile));
            let view = self.source.as_ref().and_then(|source| source.view.clone());
            self.rejects = Some(Rejects::at(self.args.rejects.clone().unwrap_or(path)).with_view(view));
            self.waiting = Some(WaitingRows::unnamed(folder));
            return Ok(());
        };
        let identity = rows::identity(source, &profile.name, self.tables.first().map(|(schema, _)| schema));
        let notes = Notes::open(&self.bookmark(profile), &identity, self.args.dry_run)?;
        let path = self.args.rejects.clone().unwrap_or_else(|| named(&profile.name));
        let totals = notes.state.totals();
        // Set once, like all of this.
        let _ = self.earlier.set((totals.records, totals.rejected));
        self.report.earlier(&totals);
        let (rejects, waiting) = match &notes.journal {
            Some(_) => {
                let kept_aside = cli::profile_file(&folder, &profile.name, "waiting.jsonl");
                let mut waiting = WaitingRows::of_run(&kept_aside, &notes.state, notes.resumed)?;
                let origins = waiting.origins()?;
                (Rejects::of_run(path, &notes.state, notes.resumed, &origins)?, waiting)
            }
            None => (Rejects::at(path), WaitingRows::unnamed(folder)),
        };
        self.waiting = Some(waiting);
        self.rejects = Some(rejects.with_view(source.view.clone()));
        self.notes = Some(notes);
        Ok(())
    }

    /// Writes a batch and notes what is durable then.
    fn batch(&mut self, mut batch: Batch) -> Result<(), Failure> {
        self.open()?;
        let begun = Instant::now();
        let rows = batch.keys();
        let reading = batch.reading;
        let known = (0..batch.tables.len().max(1)).map(|place| Settled::of(&batch.segments, place).rejects()).sum();
        let watch = self.watch(reading, known);
        self.report.phase(Phase::Writing);
        let settled = self.write(&mut batch, &watch)?;
        self.report.phase(Phase::Reading);
        let cut = settled.iter().any(|settled| settled.cut);
        if rows > 0 && !cut {
            self.batches += 1;
            if let Some(gather) = &self.limits.gather {
                gather.learn(rows, begun.elapsed());
            }
            let number = self.batches;
            let records = settled.iter().map(Settled::records).sum();
            info!("Inserted {} records (batch {number}) in {}", grouped(records), time(begun.elapsed()));
        }
        if let Some(rejects) = &mut self.rejects {
            for (key, skip) in settle::begun(&batch.segments) {
                rejects.read_again(key, skip)?;
                self.waiting.as_mut().map_or(Ok(()), |waiting| waiting.read_again(key, skip))?;
            }
        }
        let Batch { segments, tables, .. } = batch;
        // Their temporary files make room for what is written now.
        if let Ok([Held::Few(rows)]) = <[Held; 1]>::try_from(tables) {
            self.spare.give(rows);
        }
        // Of a batch that was cut nothing is counted but what is kept.
        let kept = |settled: &Settled| settled.rejected.iter().map(|rejected| rejected.weight).sum();
        let count = settled.iter().map(|settled| if cut { kept(settled) } else { settled.rejects() }).sum();
        let (mut tallies, mut rejected, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
        for settled in settled {
            tallies.push(settled.tallies);
            rejected.extend(settled.rejected);
            waiting.extend(settled.waiting);
            self.keep_suppressed(settled.suppressed)?;
        }
        self.keep_aside(&waiting)?;
        for line in &rejected {
            self.reasons.add(&line.reason, line.weight);
        }
        self.reject(rejected, count)?;
        if cut {
            return Err(self.too_many(&watch));
        }
        let mut entries = Vec::new();
        for (place, segment) in segments.into_iter().enumerate() {
            for (table, tallies) in tallies.iter().enumerate() {
                self.ledger.rows(table, tallies.get(place).copied().unwrap_or_default());
            }
            let Some(event) = segment.event else { continue };
            entries.extend(self.event(event));
        }
        notes::report(&entries);
        if self.notes.is_none() {
            let waits = |entry: &Entry| if let Entry::Done(file) = entry { Some(file.clone()) } else { None };
            let waiting = entries.iter().filter_map(waits).filter(|file| file.waiting > 0);
            self.done_with_waiting.extend(waiting.map(|file| (file.key.clone(), file)));
        }
        let noted = entries.clone();
        self.notes.as_mut().map_or(Ok(()), |notes| notes.note(entries))?;
        self.report.noted(&noted);
        if self.args.receipts {
            notes::receipts(&noted)?;
        }
        let watch = self.watch(reading, 0);
        if watch.exceeded() { Err(self.too_many(&watch)) } else { Ok(()) }
    }

    /// Keeps rows aside until the run has loaded what they may refer to.
    fn keep_aside(&mut self, rows: &[Waiting]) -> Result<(), Failure> {
        let names: Vec<_> = self.tables.iter().map(|(schema, _)| schema.name()).collect();
        match &mut self.waiting {
            Some(waiting) => waiting.append(rows, &names),
            None => Ok(()),
        }
    }

    /// Whoever reads receipts and rejects (`migrate retry-rejects`) has to know which rows are not in the table.
    fn keep_suppressed(&mut self, lines: Vec<Rejected>) -> Result<(), Failure> {
        if !(self.args.receipts && self.args.rejects.is_some()) || lines.is_empty() {
            return Ok(());
        }
        let names: Vec<_> = self.tables.iter().map(|(schema, _)| schema.name()).collect();
        match &mut self.rejects {
            Some(rejects) => Ok(rejects.append(lines, if names.len() > 1 { &names } else { &[] })?),
            None => Ok(()),
        }
    }

    /// Tries the rows again that were kept aside, until nothing changes any more, and rejects the rest. In a dry run nothing is
    /// in the table that they could refer to.
    fn settle_waiting(&mut self) -> Result<(), Failure> {
        let Some(mut waiting) = self.waiting.take() else { return Ok(()) };
        if waiting.rows() == 0 || self.args.dry_run {
            self.waiting = Some(waiting);
            return Ok(());
        }
        info!("Trying {} rows again that waited for others", grouped(waiting.rows()));
        self.report.phase(Phase::Writing);
        let schemas = |run: &Self| run.tables.iter().map(|(schema, _)| schema.clone()).collect::<Vec<_>>();
        if !waiting.are_of(&schemas(self))? {
            // They were kept aside by an earlier process, and none of their tables' rows came in this one.
            let all = self.profile.iter().flat_map(Profile::schemas).cloned().collect::<Vec<_>>();
            for schema in all {
                if !self.tables.iter().any(|(known, _)| known.name() == schema.name()) {
                    self.schema(schema)?;
                }
            }
        }
        let schemas = schemas(self);
        let mut settled = Settlement::default();
        let mut rest: Option<WaitingRows> = None;
        let mut may_wait = true;
        loop {
            let rows = rest.as_mut().unwrap_or(&mut waiting);
            let mut next = WaitingRows::unnamed(cli::log_dir(self.args.log_dir.as_deref()));
            let changed = self.settle_once(rows, &schemas, may_wait, &mut next, &mut settled)?;
            if next.rows() == 0 {
                break;
            }
            may_wait = changed;
            rest = Some(next);
        }
        let mut files = Vec::new();
        for (file, tallies) in settled {
            let noted = self.notes.as_ref().and_then(|notes| notes.state.file(file.as_deref()?).cloned());
            let mut counts = noted.or_else(|| self.done_with_waiting.remove(file.as_deref()?));
            for (table, became) in tallies {
                self.ledger.settle(counts.as_mut(), table, became);
            }
            files.extend(counts);
        }
        let entries = vec![Entry::Settled(files)];
        if self.args.receipts {
            notes::receipts(&entries)?;
        }
        self.notes.as_mut().map_or(Ok(()), |notes| notes.note(entries))?;
        waiting.delete()?;
        Ok(())
    }

    /// Tries rows that wait once; those that have to wait on go to `next`. Says whether anything became of any.
    fn settle_once(
        &mut self,
        rows: &mut WaitingRows,
        schemas: &[Schema],
        may_wait: bool,
        next: &mut WaitingRows,
        settlement: &mut Settlement,
    ) -> Result<bool, Failure> {
        // All together: some only pass with others.
        let limits = Limits { rows: usize::MAX, bytes: u64::MAX, gather: None };
        let manner = Manner { connections: 1, dry_run: false, may_wait };
        let writer = Writer::new(&self.settings, &self.tables, &limits, &manner, &self.retry)?;
        let names: Vec<_> = schemas.iter().map(Schema::name).collect();
        let mut keys = WaitingKeys::default();
        let mut changed = false;
        rows.batches(schemas, |mut batch| {
            let watch = self.watch(Reading::default(), 0);
            let (mut rejected, mut waiting) = (Vec::new(), Vec::new());
            for (table, settled) in writer.write(&mut batch, &watch, &mut keys)?.into_iter().enumerate() {
                for (segment, mut became) in batch.segments.iter().zip(settled.tallies) {
                    became.waiting = 0;
                    changed |= became != Tally::default();
                    let file = segment.file.as_deref().map(str::to_owned);
                    settlement.entry(file).or_default().entry(table).or_default().add(became);
                }
                rejected.extend(settled.rejected);
                waiting.extend(settled.waiting);
                self.keep_suppressed(settled.suppressed)?;
            }
            next.append(&waiting, &names)?;
            for line in &rejected {
                self.reasons.add(&line.reason, line.weight);
            }
            let count = rejected.iter().map(|line| line.weight).sum();
            self.reject(rejected, count)?;
            if watch.exceeded() { Err(self.too_many(&watch)) } else { Ok(()) }
        })?;
        Ok(changed)
    }

    /// The counts of the run so far, with so many rejects that the ledger does not have yet.
    fn watch(&self, reading: Reading, rejects: u64) -> Watch {
        let (records, rejected) = self.earlier.get().copied().unwrap_or_default();
        let run = self.ledger.run();
        let read = records + reading.records().max(run.records);
        let accepted = records.saturating_sub(rejected)
            + run.written
            + run.merged
            + run.suppressed
            + run.waiting
            + reading.left_out();
        Watch::new(self.args.max_rejects, read, accepted, rejected + run.rejected + rejects)
    }

    /// The error that stops the run. What is written so far and the rejects are on disk.
    fn too_many(&self, watch: &Watch) -> Failure {
        let reason = self
            .reasons
            .most_frequent()
            .map_or_else(String::new, |(reason, times)| format!("; most often, {} times: {reason}", grouped(*times)));
        let kept = self.rejects.as_ref().filter(|_| !self.args.dry_run || self.args.rejects.is_some());
        let place = kept.map_or_else(String::new, |rejects| format!("; they are in {}", rejects.path().display()));
        let hint = if self.notes.is_some() {
            "mend the profile, then `migrate reset` and run again; or raise --max-rejects (100% is no limit)"
        } else {
            "mend what makes the rows, then run again; or raise --max-rejects (100% is no limit)"
        };
        let (rejected, read) = (grouped(watch.rejected()), grouped(watch.read()));
        let message = format!("too many rejects: {rejected} of {read} records{reason}{place}");
        Problem::new(Fault::Input, message).with_hint(hint).into()
    }

    /// Keeps what could not be written.
    fn reject(&mut self, lines: Vec<Rejected>, count: u64) -> Result<(), Failure> {
        self.report.rejects(&lines, Args::NAME);
        let (Some(rejects), Some(first)) = (&mut self.rejects, lines.first()) else { return Ok(()) };
        let place = match (&first.key, first.record) {
            (Some(key), Some(record)) => format!(" (record {record} of {key})"),
            (Some(key), None) => format!(" ({key})"),
            _ => String::new(),
        };
        let more = if count > 1 { ", first" } else { "" };
        let path = rejects.path().display();
        // Who reads receipts says himself what became of the rejects.
        if !self.args.receipts {
            warn!("{} rejected, see {path}{more}: {}{place}", grouped(count), first.reason);
        }
        if self.args.dry_run && self.args.rejects.is_none() {
            return Ok(());
        }
        let names: Vec<_> = self.tables.iter().map(|(schema, _)| schema.name()).collect();
        Ok(rejects.append(lines, if names.len() > 1 { &names } else { &[] })?)
    }

    /// What the bookmark has to say after something was said about a file.
    fn event(&mut self, event: FileEvent) -> Option<Entry> {
        match event {
            FileEvent::Begin(begin) => {
                self.report.begin(&begin);
                let noted = self.notes.as_ref().and_then(|notes| notes.state.progress.get(&begin.key));
                self.ledger.begin(begin, noted)
            }
            FileEvent::Mark(mark) => self.ledger.mark(&mark),
            FileEvent::End(end) => self.ledger.end(&end),
            FileEvent::Fail(fail) => Some(self.ledger.fail(fail.key, fail.reason)),
        }
    }

    fn standing(&self) -> Standing {
        let run = self.ledger.run();
        let files = self.notes.as_ref().map_or(0, |notes| notes.state.done.len() as u64);
        let gathered = self.read.load(Ordering::Relaxed).saturating_sub(run.records);
        let checkpoint::Counts { records, written: rows, rejected, suppressed, waiting, .. } = run;
        Standing { records, rows, gathered, rejected, suppressed, waiting, files }
    }

    fn report_standing(&self) {
        match &self.notes {
            Some(notes) => self.report.standing(notes.state.done.len() as u64, &notes.state.totals()),
            // Until it is opened nothing is added to what the bookmark says.
            None if self.profile.is_some() && self.source.is_some() => {}
            None => self.report.standing(0, &self.ledger.run()),
        }
    }

    /// The stream is over: whole, or not.
    fn end(&mut self, torn: usize) -> Result<Exit, Failure> {
        if self.profile.is_some() && self.source.is_none() && !self.stopped && !self.stop.asked() {
            let message = "the stream is empty: no program before this one said what it is about";
            return Err(Problem::new(Fault::Input, message).into());
        }
        if let (Some(profile), true, true) = (&self.profile, self.tables.is_empty(), self.args.create) {
            // No row came, but the profile's SQL on completion may need the tables.
            for schema in profile.schemas().cloned().collect::<Vec<_>>() {
                self.schema(schema)?;
            }
        }
        self.open()?;
        self.report_standing();
        if let Some(signal) = self.stop.signal() {
            info!("Asked to stop by signal {signal}; everything that was read is written");
        }
        let stop = self.stopped || self.stop.asked();
        if let Some(file) = self.ledger.open_file()
            && !stop
        {
            return Err(Problem::new(
                Fault::Input,
                format!("the stream ended inside `{file}`: a program before this one died"),
            )
            .with_hint("everything up to the last mark is written; the same command goes on from there")
            .into());
        }
        if torn > 0 && !stop {
            let message =
                format!("the last line has no newline: the program before this one died, {torn} bytes are not written");
            return Err(Problem::new(Fault::Input, message).into());
        }
        let files = self.source.as_ref().map_or(0, |source| source.files);
        let whole = |notes: &Notes| notes.state.done.len() as u64 >= files && notes.state.failed.is_empty();
        if self.notes.as_ref().is_none_or(whole) {
            self.settle_waiting()?;
        }
        match self.notes.take() {
            Some(notes) => self.end_of_run(notes, stop),
            None => self.end_by_hand(stop),
        }
    }

    /// Names or advances sequences that lag behind, unless another export of the same tables follows.
    fn sequences(&self) -> Result<(), Failure> {
        if self.args.dry_run || self.args.no_completion {
            return Ok(());
        }
        let mut schemas: Vec<_> = self.tables.iter().map(|(schema, _)| schema).collect();
        // An earlier process may have written tables that this one has no rows for. (The only table of a profile may have
        // another name on the command line.)
        let seen: Vec<_> = schemas.iter().map(|schema| schema.name()).collect();
        let further = self.profile.iter().flat_map(Profile::schemas).filter(|schema| !seen.contains(&schema.name()));
        let several = self.profile.as_ref().is_some_and(|profile| profile.tables.len() > 1);
        schemas.extend(further.filter(|_| several || seen.is_empty()));
        let advance =
            self.args.advance_sequences || self.profile.as_ref().is_some_and(|profile| profile.advance_sequences);
        sequences::at_end(&self.settings, &self.retry, &schemas, advance)
    }

    fn end_by_hand(&mut self, stop: bool) -> Result<Exit, Failure> {
        if !stop {
            self.sequences()?;
        }
        let counts = self.ledger.run();
        completion::warn_of_suppressed(&counts);
        let text =
            format!("{}, in {}", completion::sum(&counts, &self.ledger.run_by_table()), time(self.progress.elapsed()));
        self.say(&if self.args.dry_run { format!("Dry run, nothing is written: {text}") } else { text });
        self.completed = !stop && !self.args.dry_run && self.ledger.failed() == 0;
        Ok(if stop { Exit::Stopped } else { completion::exit(self.ledger.failed(), &counts) })
    }

    fn end_of_run(&mut self, notes: Notes, stop: bool) -> Result<Exit, Failure> {
        let Notes { journal, state, .. } = notes;
        let totals = state.totals();
        let (done, files) = (state.done.len() as u64, self.source.as_ref().map_or(0, |source| source.files));
        let profile = self.profile.as_ref().filter(|_| !self.args.no_completion);
        let statements = profile.map(|profile| profile.on_complete.as_slice()).unwrap_or_default();
        let whole = done >= files && state.failed.is_empty();
        // What a profile wants on completion may take its time, which a stop does not leave.
        let in_time = statements.is_empty() || !self.stop.asked();
        if whole && in_time {
            let elapsed = self.progress.elapsed();
            let summary = completion::summary(done, &completion::sum(&totals, &state.tables()), elapsed);
            completion::warn_of_suppressed(&totals);
            let Some(journal) = journal else {
                self.say(&format!("Dry run, nothing is written. {summary}"));
                return Ok(completion::exit(0, &totals));
            };
            self.report.phase(Phase::Completing);
            self.sequences()?;
            completion::on_complete(&self.settings, &self.retry, statements)?;
            info!("Migration complete: {} records in {}", grouped(totals.records), time(elapsed));
            journal.delete()?;
            self.completed = true;
            self.say(&summary);
            return Ok(completion::exit(0, &totals));
        }
        let standing = format!(
            "{} of {} files done, {}",
            grouped(done),
            grouped(files),
            completion::sum(&totals, &state.tables())
        );
        if stop {
            self.say(&format!("Stopped: {standing}. The same command goes on from here"));
            return Ok(Exit::Stopped);
        }
        completion::warn_of_suppressed(&totals);
        self.sequences()?;
        if self.ledger.failed() > 0 || !state.failed.is_empty() {
            self.say(&format!("Not complete: {} files failed; {standing}", grouped(state.failed.len() as u64)));
            return Ok(Exit::Incomplete);
        }
        if self.ledger.limited() {
            self.say(&format!("Not complete, because only a part was asked for: {standing}"));
            return Ok(completion::exit(0, &totals));
        }
        let message = format!("the stream ended with {done} of {files} files done");
        Err(Problem::new(Fault::Input, message).with_hint("the same command goes on with the others").into())
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
