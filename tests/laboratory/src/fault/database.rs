//! PostgreSQL that dies, is cut off, refuses, or is changed while a run writes to it.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use harness::Dir;

use super::Fault;
use crate::experiment::Experiment;
use crate::instant::{Fate, Instant};

pub(super) const FAULTS: &[Fault] = &[
    Fault::new("kill of the backends", |e| {
        for _ in 0..e.rng.u32(1..=3) {
            let terminate = terminate(e);
            e.arm_anywhere(move || {
                terminate();
                Fate::Pass
            });
        }
        let ended = e.run();
        e.expect(&ended, &[1], "");
    }),
    Fault::new("PostgreSQL crashes and recovers", |e| {
        let server = Arc::clone(&e.world.server);
        e.arm_anywhere(move || {
            server.crash();
            Fate::Pass
        });
        let ended = e.run();
        e.expect(&ended, &[1], "");
    }),
    Fault::new("connection lost in COPY", |e| cut(e, Instant::Copy)),
    Fault::new("connection lost before the merge", |e| cut(e, Instant::Merge)),
    Fault::new("connection lost after the merge", |e| cut(e, Instant::Merged)),
    Fault::new("connection lost before COMMIT", |e| cut(e, Instant::Commit)),
    Fault::new("answer to COMMIT lost", |e| cut(e, Instant::Committed)),
    Fault::new("too many connections", |e| {
        let role = e.world.postgres.database().to_owned();
        let (sql, terminate) = (e.world.sql(), terminate(e));
        until_refused(e, &format!("alter role {role} connection limit -1"), 3);
        let number = e.number(Instant::Copied, 0.0..0.7);
        e.arm(Instant::Copied, number, move || {
            sql(&format!("alter role {role} connection limit 0"));
            terminate();
            Fate::Pass
        });
        let ended = e.run();
        e.expect(&ended, &[1], "");
        // A pooler may keep its clients waiting until it can log in: then only the pooler knows.
        let heard = [&ended.said, &e.world.pooler_log()].iter().any(|said| said.contains("too many connections"));
        e.check(heard, || "nobody was told `too many connections`".to_owned());
    }),
    Fault::new("read-only after a failover", |e| {
        let database = e.world.postgres.database().to_owned();
        let mend = format!("alter database {database} reset default_transaction_read_only");
        // A session that a pooler keeps would stay read-only. In a failover it ends with its server.
        let (sql, end_sessions) = (e.world.sql(), terminate(e));
        e.arm(Instant::Refused, 4, move || {
            sql(&mend);
            end_sessions();
            Fate::Pass
        });
        let (sql, terminate) = (e.world.sql(), terminate(e));
        let number = e.number(Instant::Copied, 0.0..0.7);
        e.arm(Instant::Copied, number, move || {
            sql(&format!("alter database {database} set default_transaction_read_only = on"));
            terminate();
            Fate::Pass
        });
        let ended = e.run();
        e.expect(&ended, &[1], "read-only");
    }),
    Fault::new("deadlock with a foreign session", deadlock),
    Fault::new("serialization failure", |e| {
        let role = e.world.postgres.database().to_owned();
        e.world.postgres.query(&format!("alter role {role} set default_transaction_isolation = 'repeatable read'"));
        let number = e.number(Instant::Merge, 0.3..1.0);
        let (sql, touch) = (e.world.sql(), touch(e));
        e.arm(Instant::Merge, number, move || {
            sql(&touch);
            Fate::Pass
        });
        let ended = e.run();
        e.expect(&ended, &[1], "");
    }),
    Fault::new("statement timeout", |e| waits_for_a_lock(e, "statement_timeout", "statement timeout")),
    Fault::new("lock timeout", |e| waits_for_a_lock(e, "lock_timeout", "lock timeout")),
    Fault::new("idle_in_transaction_session_timeout", |e| {
        let role = e.world.postgres.database().to_owned();
        e.world.postgres.query(&format!("alter role {role} set idle_in_transaction_session_timeout = '100ms'"));
        let number = e.number(Instant::Commit, 0.0..1.0);
        let (server, database) = (Arc::clone(&e.world.server), role);
        e.arm(Instant::Commit, number, move || {
            // The COMMIT waits here until its session has been ended for having waited.
            let sql = "select count(*) from pg_stat_activity where datname = current_database() \
                       and state like 'idle in transaction%'";
            while server.session(&database).args(["-c", sql]).output().is_ok_and(|output| output.stdout != b"0\n") {}
            Fate::Pass
        });
        let ended = e.run();
        e.expect(&ended, &[1], "trying again");
    }),
    Fault::new("the disk of PostgreSQL is full", disk_full),
    Fault::new("a column is dropped in mid-run", |e| {
        let (name, column, ty) = (e.world.collection.name, e.world.collection.column, e.world.collection.column_type);
        let sql = e.world.sql();
        let number = e.number(Instant::Copied, 0.0..0.6);
        e.arm(Instant::Copied, number, move || {
            // The transaction that is under way may have the table.
            thread::spawn(move || sql(&format!(r#"alter table {name} drop column "{column}""#)));
            Fate::Pass
        });
        let ended = e.run();
        e.expect(&ended, &[2], column);
        e.world.postgres.query(&format!(r#"alter table {name} add column "{column}" {ty}"#));
        // What was in the column is gone, so everything is loaded again.
        e.begin_again();
        let reset = e.world.migrate(&["reset"]).output().expect("migrate runs");
        e.check(reset.status.success(), || format!("reset: {reset:?}"));
    }),
];

/// What no server does to itself.
pub(super) const KILLED: &[Fault] = &[Fault::new("kill -9 of the backends", |e| {
    let (server, role) = (Arc::clone(&e.world.server), e.world.postgres.database().to_owned());
    // All sessions end then, and the server recovers, which the run has to outlast: it is not over yet.
    let (instant, number) = e.anywhere_that_waits();
    e.arm(instant, number, move || {
        let sql = format!("select pid from pg_stat_activity where usename = '{role}'");
        let output = server.session(&role).args(["-c", &sql]).output().expect("psql runs");
        let pids = String::from_utf8_lossy(&output.stdout).into_owned();
        if !pids.trim().is_empty() {
            // One that has just ended needs no signal.
            drop(Command::new("kill").args(["-s", "KILL"]).args(pids.lines()).stderr(Stdio::null()).status());
        }
        Fate::Pass
    });
    let ended = e.run();
    e.expect(&ended, &[1], "");
})];

/// Ends the sessions of the run.
fn terminate(e: &Experiment) -> impl Fn() + Send + 'static {
    let sql = e.world.sql();
    let role = e.world.postgres.database().to_owned();
    move || sql(&format!("select count(pg_terminate_backend(pid)) from pg_stat_activity where usename = '{role}'"))
}

/// SQL that changes every row of the table, and nothing in it.
fn touch(e: &Experiment) -> String {
    let (name, column) = (e.world.collection.name, e.world.collection.column);
    format!(r#"update {name} set "{column}" = "{column}""#)
}

/// Runs SQL after so many refusals.
fn until_refused(e: &mut Experiment, sql: &str, refusals: u64) {
    let (run, sql) = (e.world.sql(), sql.to_owned());
    e.arm(Instant::Refused, refusals, move || {
        run(&sql);
        Fate::Pass
    });
}

fn cut(e: &mut Experiment, instant: Instant) {
    for _ in 0..e.rng.u32(1..=2) {
        let number = e.number(instant, 0.0..1.0);
        e.arm(instant, number, || Fate::Cut);
    }
    let ended = e.run();
    e.expect(&ended, &[1], "trying again");
}

/// Somebody's `psql`.
struct Foreigner {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<std::process::ChildStdout>,
}

impl Foreigner {
    fn of(e: &Experiment) -> Self {
        let mut psql = e.world.server.session(e.world.postgres.database());
        let mut child =
            psql.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("psql runs");
        let stdin = child.stdin.take().expect("stdin is a pipe");
        let stdout = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
        Self { child, stdin, stdout }
    }

    /// Sends statements and does not wait.
    fn send(&mut self, sql: &str) {
        writeln!(self.stdin, "{sql}").expect("psql reads");
    }

    /// Sends statements and waits until they are done.
    fn run(&mut self, sql: &str) {
        self.send(&format!("{sql}; select 'done';"));
        let mut line = String::new();
        while line != "done\n" {
            line.clear();
            let length = self.stdout.read_line(&mut line).expect("psql writes");
            assert!(length > 0, "psql has ended");
        }
    }

    /// Ends it with what was sent done.
    fn end(self) {
        let Self { mut child, stdin, stdout } = self;
        drop((stdin, stdout));
        child.wait().expect("a child can be waited for");
    }
}

/// A session that locks the table until a statement of the run has waited too long, twice.
fn waits_for_a_lock(e: &mut Experiment, setting: &str, words: &str) {
    let role = e.world.postgres.database();
    e.world.postgres.query(&format!("alter role {role} set {setting} = '500ms'"));
    let name = e.world.collection.name;
    let foreigner = Arc::new(Mutex::new(Some(Foreigner::of(e))));
    let number = e.number(Instant::Copied, 0.2..0.8);
    let holder = Arc::clone(&foreigner);
    e.arm(Instant::Copied, number, move || {
        if let Some(foreigner) = holder.lock().expect("nobody panics with it").as_mut() {
            foreigner.send(&format!("begin; lock table {name} in access exclusive mode;"));
        }
        Fate::Pass
    });
    e.arm(Instant::Refused, 2, move || {
        if let Some(foreigner) = foreigner.lock().expect("nobody panics with it").take() {
            foreigner.end();
        }
        Fate::Pass
    });
    let ended = e.run();
    e.expect(&ended, &[1], words);
}

/// A session that has the later keys wants the earlier ones when the run, which has those, waits for the later.
fn deadlock(e: &mut Experiment) {
    let name = e.world.collection.name;
    let later = if name == "orders" { r#"order_id collate "C" > 'o-17'"# } else { "id > 2500" };
    let mut foreigner = Foreigner::of(e);
    let number = e.number(Instant::Merge, 0.5..0.9);
    let (server, database) = (Arc::clone(&e.world.server), e.world.postgres.database().to_owned());
    let over = Arc::new(Mutex::new(()));
    let _held = Arc::clone(&over);
    e.arm(Instant::Merge, number, move || {
        // Who waits longest finds the deadlock: that is the run.
        foreigner.run(&format!(
            "set deadlock_timeout = '5s'; begin; create temp table had as select 1 from {name} where {later} for update"
        ));
        thread::spawn(move || {
            let sql =
                "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
            // A run that never waits is over at some time, and its database with it.
            loop {
                match server.session(&database).args(["-c", sql]).output() {
                    Ok(output) if output.status.success() && output.stdout == b"0\n" => {}
                    _ => break,
                }
            }
            foreigner.send(&format!(
                "create temp table wanted as select 1 from {name} where not ({later}) for update; commit;"
            ));
            foreigner.end();
        });
        Fate::Pass
    });
    let ended = e.run();
    e.expect(&ended, &[1], "");
    if ended.said.contains("deadlock detected") {
        e.tell("deadlock detected");
        e.injected += 1;
    }
}

/// The table is on a disk of its own that becomes full.
fn disk_full(e: &mut Experiment) {
    let (disk, role) = (Dir::new(), e.world.postgres.database().to_owned());
    let Some(mount) = super::local::Mount::at(disk.path(), "8m", "postgres") else {
        e.skip("no file system can be mounted here");
        return;
    };
    let path = disk.path().canonicalize().expect("it is there");
    let server = Arc::clone(&e.world.server);
    let create = format!("create tablespace {role} location '{}'", path.display());
    let grant =
        format!("grant create on tablespace {role} to {role}; alter role {role} set default_tablespace = {role}");
    e.world.postgres.query(&create);
    e.world.postgres.query(&grant);
    let space = role.clone();
    e.clean(move || {
        let drop_it = format!("drop tablespace {space}");
        let dropped = server.session("postgres").args(["-c", &drop_it]).output();
        assert!(dropped.is_ok_and(|output| output.status.success()), "{drop_it}");
        drop(mount);
        drop(disk);
    });
    let (full, free) = (path.join("filler"), path.join("filler"));
    let number = e.number(Instant::Copied, 0.0..0.3);
    e.arm(Instant::Copied, number, move || {
        // It fails when there is no room left, which is what it is for.
        drop(
            Command::new("dd")
                .args(["if=/dev/zero", &format!("of={}", full.display()), "bs=4k"])
                .stderr(Stdio::null())
                .status(),
        );
        Fate::Pass
    });
    e.arm(Instant::Refused, 2, move || {
        drop(fs::remove_file(free));
        Fate::Pass
    });
    let ended = e.run();
    e.expect(&ended, &[1], "No space left on device");
}
