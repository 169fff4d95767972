//! The checks before a run, in the order in which a run would meet what they look at.

use std::time::Duration;

use cli::Stop;
use cli::progress::{grouped, time};
use fault::{Exit, Failure};
use pg::server::{Endpoint, Pooling, Product};
use pg::{Client, Settings, TlsMode};
use profile::{Options, Profile, Schema};

use crate::args::Run;
use crate::database::{self, Server, Target, There};
use crate::estimate::{self, Estimate};
use crate::finding::Findings;
use crate::machine;
use crate::source::{self, Sample, Work, counted, size};

/// The oldest server whose catalogue is as the programs read it; and the oldest that sorts a `union`.
const OLDEST: [i32; 2] = [120_000, 130_000];

/// A clock that is off by more breaks the signatures of S3.
const CLOCK: u64 = 5 * 60;

/// Rows that wait for others of their key take at most so much of the log folder.
const GATHERED: u64 = 1 << 30;

/// Below this there is no room for bookmark, log and rejects.
const LEAST_ROOM: u64 = 64 << 20;

/// From so many items on, what slows each of them counts.
const MANY: u64 = 1_000_000;

/// Checks everything, writes what it found.
pub(crate) fn doctor(run: &Run, stop: &Stop) -> Result<Exit, Failure> {
    cli::warn_of_open_dotenv();
    let mut findings = Findings::default();
    let name = profile::name_of(&run.profile)?;
    let loaded = profile::load(&run.profile, Options { max_id: run.max_id }).map_err(Into::into);
    let profile = findings.take("profile", loaded);
    if let Some(profile) = &profile {
        findings.ok("profile", describe(profile));
    }
    let work = findings.take("export", source::find(run, &name));
    let sample = work.as_ref().and_then(|work| export(run, work, &mut findings));
    if let (Some(profile), Some(work)) = (&profile, &work) {
        bookmark(run, profile, work, &mut findings);
    }
    let gathers = profile.as_ref().is_some_and(|profile| profile.schemas().any(Schema::collects));
    disk(run, work.as_ref(), gathers, &mut findings);
    let Some((settings, mut client)) = findings.take("connection", database::connect(run, stop).map_err(Into::into))
    else {
        return findings.write(run.json);
    };
    let Some(endpoint) = endpoint(&settings, &mut client, &mut findings) else { return findings.write(run.json) };
    let server = Server::ask(&settings, &mut client, endpoint.closing).map_err(Into::into);
    if let Some(server) = findings.take("connection", server) {
        connection(&format!("{settings}"), settings.tls(), &server, &mut findings);
        let mut targets = Vec::new();
        for schema in profile.iter().flat_map(Profile::schemas) {
            let deletes = work.iter().flat_map(|work| &work.parts).any(source::Part::is_incremental);
            let target = Target::find(&settings, &mut client, schema, deletes).map_err(Into::into);
            if let Some(target) = findings.take("table", target) {
                table(run, schema, &target, work.as_ref(), &mut findings);
                let advance = profile.as_ref().is_some_and(|profile| profile.advance_sequences);
                sequences(&target, advance, &mut findings);
                targets.push(target);
            }
        }
        let log = source::log(&run.file(&name, "log"));
        let estimate = work.as_ref().map(|work| estimate::of(work, sample, &targets, log.as_deref()));
        settings_of(&server, estimate.as_ref(), &mut findings);
    }
    findings.write(run.json)
}

fn describe(profile: &Profile) -> String {
    let tables: Vec<_> = profile
        .schemas()
        .map(|schema| format!("{} ({} columns, key {})", schema.name(), schema.columns.len(), schema.key.join(", ")))
        .collect();
    format!("`{}`: {}", profile.name, tables.join("; "))
}

/// What was found, and whether its files can be read.
fn export(run: &Run, work: &Work, findings: &mut Findings) -> Option<Sample> {
    for part in &work.parts {
        if part.export.id.is_some() {
            findings.ok("export", part.describe());
        } else {
            let hint = "give the prefix of an export with its manifests, if there is one";
            let message = format!("{}: nothing says how many items there should be", part.describe());
            findings.warning("export", message, hint);
        }
    }
    if work.parts.is_empty() {
        findings.ok("export", "every export is applied already: there is nothing to do");
        return None;
    }
    let (key, sample) = findings.take("read", source::sample(run, work))??;
    findings.ok("read", format!("`{key}`: {} of records read", size(sample.bytes)));
    Some(sample)
}

fn bookmark(run: &Run, profile: &Profile, work: &Work, findings: &mut Findings) {
    match source::bookmark(run, profile, work) {
        Ok(None) => findings.ok("bookmark", "none: the run begins anew"),
        Ok(Some(state)) => {
            let (done, records) = (state.done.len() as u64, state.totals().records);
            let text = format!("the run goes on: {}, {} done", counted(done, "file"), counted(records, "record"));
            findings.ok("bookmark", text);
        }
        Err(error) => findings.failed("bookmark", &*error),
    }
}

fn disk(run: &Run, work: Option<&Work>, gathers: bool, findings: &mut Findings) {
    let Some(free) = findings.take("log folder", machine::free(&run.folder())) else { return };
    // Rejects are kept as records are, unzipped: at ten times their compressed size 1% of them is a tenth of that.
    let rejects = work.map_or(0, Work::bytes) / 10;
    let wanted = LEAST_ROOM + rejects + if gathers { GATHERED } else { 0 };
    let message = format!("`{}` can be written to, {} are free", run.folder().display(), size(free));
    if free < LEAST_ROOM {
        findings.error("log folder", message, "make room, or name another folder with --log-dir");
    } else if free < wanted {
        let hint = "make room, or name another folder with --log-dir";
        findings.warning("log folder", format!("{message}; the run may take {}", size(wanted)), hint);
    } else {
        findings.ok("log folder", message);
    }
}

/// What answers, if a load works there. Otherwise nothing else is asked, since the answers would mean nothing.
fn endpoint(settings: &Settings, client: &mut Client, findings: &mut Findings) -> Option<Endpoint> {
    let endpoint = findings.take("server", Endpoint::find(settings, client).map_err(Into::into))?;
    match (endpoint.check(), &endpoint) {
        (Err(problem), _) => {
            findings.failed("server", &problem);
            return None;
        }
        (Ok(()), Endpoint { product: Product::Other(_), .. }) => {
            let hint = "try a part of the export with --max-id or --dry-run: a load needs temporary tables that a commit \
                        drops, savepoints, COPY and ON CONFLICT";
            findings.warning("server", format!("{endpoint}: nobody has tried it"), hint);
        }
        (Ok(()), Endpoint { pooling: Pooling::Transaction, .. }) => {
            findings.ok("server", format!("{endpoint}: works; for a large load use the direct port"));
        }
        (Ok(()), _) => findings.ok("server", format!("{endpoint}: works")),
    }
    Some(endpoint)
}

/// What would keep a run out, or stop it.
fn connection(place: &str, tls: TlsMode, server: &Server, findings: &mut Findings) {
    let tls = match tls {
        TlsMode::Off => "without TLS",
        TlsMode::Prefer => "with TLS if the server has it, not verified",
        TlsMode::Encrypt => "with TLS, not verified",
        TlsMode::VerifyCa => "with TLS, verified but for its name",
        TlsMode::VerifyFull => "with TLS, verified",
    };
    let message = format!("{place}, PostgreSQL {}, {tls}", server.version);
    if server.version_number < OLDEST[0] {
        findings.error("connection", message, "PostgreSQL 12 is the oldest that is supported");
    } else if server.version_number < OLDEST[1] {
        findings.warning("connection", message, "`union` needs PostgreSQL 13");
    } else {
        findings.ok("connection", message);
    }
    let ahead = server.ahead.unsigned_abs();
    if ahead > CLOCK {
        let way = if server.ahead > 0 { "behind" } else { "ahead of" };
        let message = format!("this machine's clock is {} {way} the server's", time(Duration::from_secs(ahead)));
        findings.warning("clock", message, "S3 refuses requests that are signed at a wrong time: start chronyd");
    } else {
        findings.ok("clock", format!("{ahead} s from the server's"));
    }
    if server.in_recovery {
        findings.error(
            "writable",
            "the server is a standby, which cannot be written to",
            "SERVER has to be the primary",
        );
    } else if server.read_only {
        let hint = format!("alter role {} set default_transaction_read_only = off", pg::quote_name(&server.role));
        findings.error("writable", "transactions are read-only", hint);
    } else {
        findings.ok("writable", "the server takes writes");
    }
    // This one is among those that a run needs: two that write, and the first.
    let message = format!("{} more can be opened", server.connections_left);
    if server.connections_left < 1 {
        findings.error("connections", message, "end others, or raise max_connections or the role's limit");
    } else if server.connections_left < 3 {
        findings.warning("connections", message, "a run needs 2, `migrate verify` 2 more; raise max_connections");
    } else {
        findings.ok("connections", message);
    }
    if server.may_temp {
        findings.ok("temporary", format!("{} may make temporary tables", server.role));
    } else {
        let (database, role) = (pg::quote_name(&server.database), pg::quote_name(&server.role));
        let message = format!("{} may not make temporary tables in {}", server.role, server.database);
        findings.error("temporary", message, format!("grant temporary on database {database} to {role}"));
    }
}

/// Whether a table takes the rows, and what would slow it.
fn table(run: &Run, schema: &Schema, target: &Target, work: Option<&Work>, findings: &mut Findings) {
    let name = schema.name();
    let there = match target {
        Target::There(there) => there,
        Target::Missing { .. } if !run.create => return findings.failed("table", &database::missing(schema)),
        Target::Missing { schema: None, .. } => {
            let hint = schema.schema.as_ref().map_or_else(
                || "set the role's search_path, or name a `schema` in the profile".to_owned(),
                |schema| format!("create schema {}", pg::quote_name(schema)),
            );
            return findings.error("table", format!("there is no schema for a new table `{name}`"), hint);
        }
        Target::Missing { schema: Some(home), may_create: false } => {
            let message = format!("the role may not make the table `{name}` in the schema `{home}`");
            let hint =
                format!("grant create on schema {} to the role, or make the table as its owner", pg::quote_name(home));
            return findings.error("table", message, hint);
        }
        Target::Missing { schema: Some(home), .. } => {
            return findings.ok("table", format!("`{name}` is not there; --create makes it in `{home}`"));
        }
    };
    let problems = there.table.problems(schema);
    for problem in &problems {
        findings.failed("table", problem);
    }
    if problems.is_empty() {
        let rows = match there.rows {
            _ if there.empty => "it is empty".to_owned(),
            Some(rows) => format!("it has about {} rows", grouped(rows)),
            None => "it has rows".to_owned(),
        };
        let (columns, bytes) = (schema.columns.len(), size(there.bytes));
        findings.ok("table", format!("`{name}` takes the {columns} columns; {rows}, {bytes}"));
    }
    if there.lacking.is_empty() {
        findings.ok("privileges", format!("the role may read and write `{name}`"));
    } else {
        let lacking = there.lacking.join(", ");
        let hint = format!("grant {} on {} to the role", lacking.to_lowercase(), pg::statement::table_name(schema));
        findings.error("privileges", format!("the role lacks {lacking} for `{name}`"), hint);
    }
    slow(&name, there, work, findings);
}

/// Whether the application's next insert will get a free value.
fn sequences(target: &Target, advance: bool, findings: &mut Findings) {
    let Target::There(there) = target else { return };
    for (sequence, lag) in &there.sequences {
        let fills = format!("{} fills `{}`", sequence.name, sequence.fills);
        if advance && sequence.may_read && sequence.may_advance {
            findings.ok("sequence", format!("{fills}; the run advances it"));
        } else if advance {
            findings.warning("sequence", format!("the role cannot advance {fills}"), sequence.grant());
        } else {
            let message = match lag {
                Some(lag) => {
                    let (next, reached) = (lag.next, lag.reached);
                    format!("{fills} and lags behind: its next value is {next}, the column has reached {reached}")
                }
                None => format!("{fills}, which the run writes: it will lag behind"),
            };
            findings.warning("sequence", message, "advance_sequences = true in the profile lets the run advance it");
        }
    }
}

fn slow(name: &str, there: &There, work: Option<&Work>, findings: &mut Findings) {
    if there.unlogged {
        let message = format!("`{name}` is unlogged: a crash of the server empties it, which no bookmark knows");
        findings.warning("table", message, format!("alter table {name} set logged"));
    }
    if there.row_security {
        let message = format!("row security applies to `{name}`: rows that it hides cannot be merged");
        findings.warning("table", message, "give the role BYPASSRLS, or switch it off for the load");
    }
    let keys = |keys: &[String]| keys.join(", ");
    if !there.foreign_keys.is_empty() {
        let message = format!("`{name}` has foreign keys: {}", keys(&there.foreign_keys));
        let hint =
            "a row that comes before the one it refers to is rejected: drop them, and make them in `on_complete`";
        findings.warning("foreign key", message, hint);
    }
    if !there.triggers.is_empty() {
        let message = format!("`{name}` has triggers, which run for each row: {}", keys(&there.triggers));
        findings.warning(
            "triggers",
            message,
            format!("alter table {name} disable trigger user, if the load allows it"),
        );
    }
    let many = work.is_none_or(|work| work.items_left().is_none_or(|items| items >= MANY));
    if !there.indexes.is_empty() && many {
        let message = format!("`{name}` has indexes besides its key: {}", keys(&there.indexes));
        findings.warning("indexes", message, "drop them, and make them again when everything is loaded");
    }
}

/// Settings of the server that make a load slow, or less safe than it seems.
fn settings_of(server: &Server, estimate: Option<&Estimate>, findings: &mut Findings) {
    let wal = estimate.and_then(|estimate| estimate.wal_bytes).unwrap_or_default();
    let message = format!("max_wal_size is {}", size(server.max_wal_bytes));
    if wal > 2 * server.max_wal_bytes {
        let message = format!("{message}; the run writes about {} of WAL, with many checkpoints", size(wal));
        findings.warning("wal", message, "alter system set max_wal_size = '16GB'; select pg_reload_conf()");
    } else {
        findings.ok("wal", message);
    }
    if !server.fsync {
        let message = "fsync is off: after a crash, rows may be gone that the bookmark has as done";
        findings.warning("durability", message, "switch it on, or run `migrate reset` after a crash of the server");
    } else if server.synchronous_commit == "off" {
        findings.ok("durability", "synchronous_commit is off, and switched on for the connections of a load");
    } else {
        findings.ok("durability", format!("synchronous_commit is {}", server.synchronous_commit));
    }
    if !server.standby_names.is_empty() {
        let message = format!("each commit waits for synchronous standbys: {}", server.standby_names);
        findings.warning("replicas", message, "set synchronous_commit = local for the role, if the standbys may lag");
    } else if server.replicas > 0 {
        let message = format!("{} standbys receive all of it (wal_level {})", server.replicas, server.wal_level);
        findings.ok("replicas", message);
    }
    if !server.idle_slots.is_empty() {
        let message = format!("replication slots that nobody reads keep all WAL: {}", server.idle_slots.join(", "));
        findings.warning("replicas", message, "select pg_drop_replication_slot(...), or start their readers");
    }
    for (name, timeout, least) in [
        ("statement_timeout", server.statement_timeout, 60),
        ("idle_in_transaction_session_timeout", server.idle_timeout, 60),
        ("lock_timeout", server.lock_timeout, 10),
    ] {
        if !timeout.is_zero() && timeout < Duration::from_secs(least) {
            let message = format!("{name} is {}, which a batch may take", time(timeout));
            let hint = format!("alter role {} set {name} = 0", pg::quote_name(&server.role));
            findings.warning("timeouts", message, hint);
        }
    }
    let adds = estimate.and_then(|estimate| estimate.table_bytes);
    let adds = adds.map_or_else(String::new, |bytes| format!("; the run adds at most about {}", size(bytes)));
    let of_wal = if wal > 0 { format!(" and writes about {} of WAL", size(wal)) } else { String::new() };
    findings.ok("space", format!("the database has {}{adds}{of_wal}", size(server.database_bytes)));
}
