//! What a run would do, as one JSON object, or as text made of the same.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};

use cli::Stop;
use cli::progress::{grouped, time};
use export::Extent;
use fault::{Exit, Failure, PipeError, explain};
use profile::{Options, Profile, Schema};
use serde::Serialize;

use crate::args::Run;
use crate::database::{self, Target};
use crate::estimate::{self, Estimate};
use crate::source::{self, Part, counted, size};

/// Defaults of `pg-upsert`, which its `--help` names too.
const BATCH: u32 = 50_000;
const GATHER: u32 = 500_000;
const MAX_REJECTS: &str = "1%";

/// Everything that a run would do.
#[derive(Debug, Serialize)]
struct Plan {
    profile: String,
    source: String,
    /// In the order in which they are applied.
    exports: Vec<PlannedExport>,
    tables: Vec<PlannedTable>,
    /// Why the tables are not known, if PostgreSQL could not be asked.
    unknown: Option<String>,
    settings: PlannedSettings,
    on_complete: usize,
    estimate: Estimate,
}

#[derive(Debug, Serialize)]
struct PlannedExport {
    export: Option<String>,
    table: Option<String>,
    time: Option<String>,
    from: Option<String>,
    to: Option<String>,
    files: usize,
    items: Option<u64>,
    bytes: u64,
    files_done: u64,
    items_done: u64,
    #[serde(skip)]
    text: String,
}

#[derive(Debug, Serialize)]
struct PlannedTable {
    table: String,
    key: Vec<String>,
    columns: usize,
    /// The names of policies, each with its columns.
    merge: BTreeMap<String, Vec<String>>,
    /// Whether rows are gathered before they are written, because each is made of several records.
    gathered: bool,
    /// `empty`, `has rows`, `missing`; nothing if the server could not be asked.
    state: Option<&'static str>,
    rows: Option<u64>,
    bytes: Option<u64>,
}

#[derive(Debug, Serialize)]
struct PlannedSettings {
    batch_size: u32,
    gather: u32,
    max_rejects: String,
    max_id: Option<i64>,
    create: bool,
    log_dir: String,
}

/// Plans a run, writes the plan.
pub(crate) fn plan(run: &Run, stop: &Stop) -> Result<Exit, Failure> {
    let profile = profile::load(&run.profile, Options { max_id: run.max_id })?;
    let work = source::find(run, &profile.name)?;
    source::bookmark(run, &profile, &work)?;
    let sample = source::sample(run, &work)?.map(|(_, sample)| sample);
    let deletes = work.parts.iter().any(Part::is_incremental);
    // The plan of what is read holds without the server.
    let (targets, unknown) = match targets(run, stop, &profile, deletes) {
        Ok(targets) => (targets, None),
        Err(error) => (Vec::new(), Some(explain(&error))),
    };
    let log = source::log(&run.file(&profile.name, "log"));
    let plan = Plan {
        profile: profile.name.clone(),
        source: work.source.clone(),
        exports: work.parts.iter().map(PlannedExport::of).collect(),
        tables: profile.schemas().enumerate().map(|(at, schema)| PlannedTable::of(schema, targets.get(at))).collect(),
        unknown,
        settings: PlannedSettings {
            batch_size: run.batch_size.unwrap_or(BATCH),
            gather: run.gather.unwrap_or(GATHER),
            max_rejects: run.max_rejects.clone().unwrap_or_else(|| MAX_REJECTS.to_owned()),
            max_id: run.max_id,
            create: run.create,
            log_dir: run.folder().display().to_string(),
        },
        on_complete: profile.on_complete.len(),
        estimate: estimate::of(&work, sample, &targets, log.as_deref()),
    };
    let mut text = if run.json {
        serde_json::to_string(&plan).map_err(io::Error::from).map_err(PipeError::writing)?
    } else {
        plan.text()
    };
    text.push('\n');
    io::stdout().lock().write_all(text.as_bytes()).map_err(PipeError::writing)?;
    Ok(Exit::Done)
}

fn targets(run: &Run, stop: &Stop, profile: &Profile, deletes: bool) -> Result<Vec<Target>, pg::Error> {
    let (settings, mut client) = database::connect(run, stop)?;
    profile.schemas().map(|schema| Target::find(&settings, &mut client, schema, deletes)).collect()
}

impl PlannedExport {
    fn of(part: &Part) -> Self {
        let export = &part.export;
        let (time, from, to) = match export.extent {
            Some(Extent::State { time }) => (time.map(|time| time.to_string()), None, None),
            Some(Extent::Changes { from, to, .. }) => (None, Some(from.to_string()), Some(to.to_string())),
            None => (None, None, None),
        };
        let extent = match (&time, &from, &to) {
            (Some(time), ..) => format!(", the state at {time}"),
            (_, Some(from), Some(to)) => format!(", what was written from {from} to {to}"),
            _ => String::new(),
        };
        let done = if part.done.items > 0 {
            format!("; done: {}, {}", counted(part.done.files, "file"), counted(part.done.items, "item"))
        } else {
            String::new()
        };
        Self {
            export: export.id.clone(),
            table: export.table.clone(),
            time,
            from,
            to,
            files: export.files.len(),
            items: part.items(),
            bytes: part.bytes(),
            files_done: part.done.files,
            items_done: part.done.items,
            text: format!("{}{extent}{done}", part.describe()),
        }
    }
}

impl PlannedTable {
    fn of(schema: &Schema, target: Option<&Target>) -> Self {
        let mut merge = BTreeMap::new();
        for column in schema.columns.iter().filter(|column| !schema.key.contains(&column.name)) {
            let group = schema.groups.iter().any(|group| group.columns.contains(&column.name));
            let policy = if group { "group".to_owned() } else { policy(column) };
            merge.entry(policy).or_insert_with(Vec::new).push(column.name.clone());
        }
        let (state, rows, bytes) = match target {
            None => (None, None, None),
            Some(Target::Missing { .. }) => (Some("missing"), None, None),
            Some(Target::There(there)) if there.empty => (Some("empty"), Some(0), Some(there.bytes)),
            Some(Target::There(there)) => (Some("has rows"), there.rows, Some(there.bytes)),
        };
        Self {
            table: schema.name(),
            key: schema.key.clone(),
            columns: schema.columns.len(),
            merge,
            gathered: schema.collects(),
            state,
            rows,
            bytes,
        }
    }

    fn text(&self, create: bool) -> String {
        let state = match (self.state, self.rows, self.bytes) {
            (Some("missing"), ..) if create => ", is made".to_owned(),
            (Some("missing"), ..) => ", is not there (--create makes it)".to_owned(),
            (Some("empty"), ..) => ", is empty".to_owned(),
            (Some(_), Some(rows), Some(bytes)) => format!(", has about {} rows, {}", grouped(rows), size(bytes)),
            (Some(_), ..) => ", has rows".to_owned(),
            (None, ..) => String::new(),
        };
        let gathered = if self.gathered { ", rows are gathered" } else { "" };
        format!("{}: key {}, {} columns{state}{gathered}", self.table, self.key.join(", "), self.columns)
    }
}

/// The name of a column's policy, as the profile has it.
fn policy(column: &profile::Column) -> String {
    match serde_json::to_value(&column.merge) {
        Ok(serde_json::Value::String(name)) => name,
        Ok(serde_json::Value::Object(fields)) => fields.keys().next().cloned().unwrap_or_default(),
        _ => String::new(),
    }
}

impl Plan {
    fn text(&self) -> String {
        let mut text = format!("A run of the profile `{}`\n", self.profile);
        let mut line = |name: &str, value: &str| {
            // Writing into a string cannot fail.
            let _ = writeln!(text, "{name:10} {value}");
        };
        line("source", &self.source);
        for (place, export) in self.exports.iter().enumerate() {
            let name = if self.exports.len() > 1 { format!("export {}", place + 1) } else { "export".to_owned() };
            line(&name, &export.text);
        }
        if self.exports.is_empty() {
            line("export", "every export is applied already: there is nothing to do");
        }
        for table in &self.tables {
            line("table", &table.text(self.settings.create));
            for (policy, columns) in &table.merge {
                // By default, so that its columns are many and tell nothing.
                let names = if policy == "replace" { format!("{} columns", columns.len()) } else { columns.join(", ") };
                line("", &format!("{policy}: {names}"));
            }
        }
        if let Some(unknown) = &self.unknown {
            line("", &format!("nothing is known of the server: {unknown}"));
        }
        let PlannedSettings { batch_size, gather, max_rejects, max_id, log_dir, .. } = &self.settings;
        let gathered = if self.tables.iter().any(|table| table.gathered) {
            format!(", those of {} keys gathered", grouped(u64::from(*gather)))
        } else {
            String::new()
        };
        line("batches", &format!("{} rows{gathered}", grouped(u64::from(*batch_size))));
        line("rejects", &format!("more than {max_rejects} stop the run"));
        if let Some(max_id) = max_id {
            line("only", &format!("items whose id is less than {max_id}; all are read"));
        }
        if self.on_complete > 0 {
            line("at the end", &format!("{} of `on_complete`", counted(self.on_complete as u64, "statement")));
        }
        line("files", &format!("in `{log_dir}`"));
        line("time", &self.time());
        if let (Some(table), Some(wal)) = (self.estimate.table_bytes, self.estimate.wal_bytes) {
            line("space", &format!("at most about {} in tables, about {} of WAL", size(table), size(wal)));
        }
        text.truncate(text.trim_end().len());
        text
    }

    fn time(&self) -> String {
        let rate = grouped(self.estimate.rate);
        let from = if self.estimate.from_last_run { "as the last run" } else { "as measured with `orders`" };
        match self.estimate.time() {
            Some(duration) => format!("about {}, at {rate} items a second {from}", time(duration)),
            None => format!("unknown without a manifest; {rate} items a second {from}"),
        }
    }
}
