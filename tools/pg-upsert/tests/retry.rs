//! What PostgreSQL cannot do just now is tried again, and costs no record: each trouble is a real one, or raised by a
//! trigger where it cannot be had on demand.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod stream;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStderr, ChildStdin};

use harness::postgres::{PASSWORD, Postgres, Proxy, USER};
use harness::{Dir, Program, program};
use postgres::{Client, NoTls};

use stream::{PROFILE, Stream, row};

/// A folder with the profile `t`, and a database with its table.
fn migration() -> (Dir, Postgres) {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    dir.write("profiles/t.toml", PROFILE);
    postgres.query("create table t (id bigint primary key, v text)");
    (dir, postgres)
}

fn upsert(dir: &Dir, postgres: &Postgres) -> Program {
    program!("pg-upsert").in_dir(dir).envs(postgres.envs()).args(["--connections", "1", "--retry-max-wait", "1"])
}

/// A session of somebody else.
fn foreign(postgres: &Postgres, user: &str) -> Client {
    let (port, database) = (postgres.port(), postgres.database());
    let settings = format!("host=127.0.0.1 port={port} user={user} password={PASSWORD} dbname={database}");
    Client::connect(&settings, NoTls).unwrap()
}

/// The program at work, with its input and its messages.
struct Running {
    child: Child,
    stdin: ChildStdin,
    messages: BufReader<ChildStderr>,
}

impl Running {
    fn start(program: Program) -> Self {
        let mut child = program.stdin_piped().spawn();
        let stdin = child.stdin.take().unwrap();
        let messages = BufReader::new(child.stderr.take().unwrap());
        Self { child, stdin, messages }
    }

    fn write(&mut self, stream: &Stream) {
        self.stdin.write_all(stream.text().as_bytes()).unwrap();
    }

    /// Waits for a message that has this in it.
    fn says(&mut self, text: &str) -> String {
        let mut seen = String::new();
        while !seen.contains(text) {
            assert_ne!(self.messages.read_line(&mut seen).unwrap(), 0, "no `{text}` in\n{seen}");
        }
        seen
    }

    /// Ends the input; the exit code and the rest of the messages.
    fn end(mut self) -> (Option<i32>, String) {
        drop(self.stdin);
        let mut rest = String::new();
        self.messages.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}

fn two_rows() -> Stream {
    Stream::new().schema().rows(&[row(1, "new", &[1]), row(2, "new", &[2])])
}

const WAITS_FOR_A_LOCK: &str =
    "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";

/// The table has rows, so that batches are merged into it and not copied.
fn with_rows(postgres: &Postgres) {
    postgres.query("insert into t values (1, 'old'), (2, 'old'), (9, 'old')");
}

#[test]
fn a_statement_that_takes_too_long_is_tried_again() {
    let (dir, postgres) = migration();
    with_rows(&postgres);
    postgres.query(&format!("alter database {} set statement_timeout = '100ms'", postgres.database()));
    let mut other = foreign(&postgres, USER);
    other.batch_execute("set statement_timeout = 0; begin; update t set v = 'other' where id = 1").unwrap();

    let mut run = Running::start(upsert(&dir, &postgres).args(["-b", "1"]));
    run.write(&two_rows());
    let said = run.says("trying again");
    other.batch_execute("commit").unwrap();

    let line = said.lines().last().unwrap();
    assert!(line.contains("PostgreSQL: cannot write rows: canceling statement due to statement timeout"), "{line}");
    assert!(line.contains("(SQLSTATE 57014); trying again in 0.") && line.ends_with(" s (attempt 2 of 26)"), "{line}");
    assert_eq!(run.end().0, Some(0));
    assert_eq!(postgres.query("select id, v from t order by id"), "1|new\n2|new\n9|old");
}

/// Of a type of the database's own the server is asked which keys are one; here its values wait for a lock.
#[test]
fn to_compare_keys_is_tried_again_too() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    postgres.query(
        "create function waits(text) returns boolean language sql as 'select pg_advisory_xact_lock_shared(7)::text = $$$$';
         create domain code as text check (waits(value));
         create table e (id code primary key, v text)",
    );
    let schema = r#"{"$schema":{"v":1,"profile":"e","hash":"h","table":"e","key":["id"],"columns":[{"name":"id","type":"text"},{"name":"v","type":"text","merge":"replace"}]}}"#;
    postgres.query(&format!("alter database {} set statement_timeout = '100ms'", postgres.database()));
    let mut other = foreign(&postgres, USER);
    other.batch_execute("set statement_timeout = 0; select pg_advisory_lock(7)").unwrap();

    let mut run = Running::start(upsert(&dir, &postgres).args(["-b", "2"]));
    run.write(&Stream::new().line(schema).line(r#"{"id":"a","v":"1"}"#).line(r#"{"id":"a","v":"2"}"#));
    let said = run.says("trying again");
    other.batch_execute("select pg_advisory_unlock(7)").unwrap();

    let line = said.lines().last().unwrap();
    assert!(line.contains("PostgreSQL: cannot compare keys: canceling statement due to statement timeout"), "{line}");
    assert_eq!(run.end().0, Some(0));
    assert_eq!(postgres.query("select id, v from e"), "a|2");
}

#[test]
fn a_serialization_failure_is_tried_again() {
    let (dir, postgres) = migration();
    with_rows(&postgres);
    postgres.query(&format!(
        "alter database {} set default_transaction_isolation = 'repeatable read'",
        postgres.database()
    ));
    let mut other = foreign(&postgres, USER);
    other.batch_execute("begin; update t set v = 'other' where id = 1").unwrap();

    let mut run = Running::start(upsert(&dir, &postgres));
    run.write(&two_rows());
    let child = std::thread::spawn(move || run.end());
    postgres.wait_for(WAITS_FOR_A_LOCK, "1");
    other.batch_execute("commit").unwrap();

    let (code, said) = child.join().unwrap();
    assert!(said.contains("(SQLSTATE 40001); trying again in "), "{said}");
    assert_eq!(code, Some(0));
    assert_eq!(postgres.query("select id, v from t order by id"), "1|new\n2|new\n9|old");
}

/// The program takes lock 1 and then wants lock 2; the other session has lock 2 and wants lock 1 in between.
#[test]
fn a_deadlock_is_tried_again() {
    let (dir, postgres) = migration();
    postgres.query(
        "create table trap (); insert into trap default values;
         create function cross_over() returns trigger language plpgsql as $$ begin
           perform pg_advisory_xact_lock(1);
           if exists (select from trap) then
             while not exists (select from pg_locks where locktype = 'advisory' and objid = 1 and not granted
                               and database = (select oid from pg_database where datname = current_database())) loop
               perform pg_sleep(0.01);
             end loop;
             perform pg_advisory_xact_lock(2);
           end if;
           return null;
         end $$;
         create trigger cross_over after insert or update on t execute function cross_over()",
    );
    postgres.query(&format!("alter database {} set deadlock_timeout = '10ms'", postgres.database()));
    let mut other = foreign(&postgres, USER);
    // Never the one that is sacrificed.
    other.batch_execute("set deadlock_timeout = '1h'; begin; select pg_advisory_xact_lock(2)").unwrap();

    let mut run = Running::start(upsert(&dir, &postgres));
    run.write(&two_rows());
    let child = std::thread::spawn(move || run.end());
    let has_the_first = "select count(*) from pg_locks where locktype = 'advisory' and objid = 1 and granted
                         and database = (select oid from pg_database where datname = current_database())";
    postgres.wait_for(has_the_first, "1");
    other.batch_execute("select pg_advisory_xact_lock(1); delete from trap; commit").unwrap();

    let (code, said) = child.join().unwrap();
    assert!(said.contains("cannot write rows: deadlock detected; ") && said.contains("(SQLSTATE 40P01)"), "{said}");
    assert_eq!(code, Some(0));
    assert_eq!(postgres.query("select id, v from t order by id"), "1|new\n2|new");
}

#[test]
fn a_database_that_is_read_only_for_a_while_is_waited_for() {
    let (dir, postgres) = migration();
    let mut run = Running::start(upsert(&dir, &postgres).args(["-b", "1"]));
    run.write(&Stream::new().schema().rows(&[row(1, "new", &[1])]));
    postgres.wait_for("select count(*) from t", "1");
    postgres.query(&format!("alter database {} set default_transaction_read_only = on", postgres.database()));
    assert!(postgres.terminate_connections() > 0);

    run.write(&Stream::new().rows(&[row(2, "new", &[2])]));
    run.says("in a read-only transaction (SQLSTATE 25006); trying again in ");
    // What runs this is read-only as well, unless it says otherwise.
    postgres.query(&format!(
        "begin read write; alter database {} reset default_transaction_read_only; commit",
        postgres.database()
    ));

    assert_eq!(run.end().0, Some(0));
    assert_eq!(postgres.query("select id, v from t order by id"), "1|new\n2|new");
}

/// After a failover the old primary takes no writes for ever: the sessions with it are of no more use.
#[test]
fn a_session_with_a_server_that_became_read_only_is_not_used_again() {
    let (dir, postgres) = migration();
    postgres.query(
        "create table writers (id bigint, pid int); create table standby (pid int);
         create function write() returns trigger language plpgsql as $$ begin
           if exists (select from standby where pid = pg_backend_pid()) then
             raise exception 'cannot execute INSERT in a read-only transaction' using errcode = '25006';
           end if;
           insert into writers values (new.id, pg_backend_pid());
           return null;
         end $$;
         create trigger write after insert on t for each row execute function write()",
    );
    let mut run = Running::start(upsert(&dir, &postgres).args(["-b", "1", "--retries", "1"]));
    run.write(&Stream::new().schema().rows(&[row(1, "new", &[1])]));
    postgres.wait_for("select count(*) from t", "1");
    postgres.query("insert into standby select pid from writers");
    run.write(&Stream::new().rows(&[row(2, "new", &[2])]));

    let (code, said) = run.end();

    assert!(said.contains("(SQLSTATE 25006); trying again in "), "{said}");
    assert_eq!(code, Some(0));
    assert_eq!(postgres.query("select count(distinct pid) from writers"), "2");
}

#[test]
fn a_server_without_a_free_connection_is_asked_again() {
    let (dir, postgres) = migration();
    let user = format!("few_{}", postgres.database());
    postgres.query(&format!(
        "create role {user} login password '{PASSWORD}' connection limit 1;
         grant all on t to {user}; grant temporary on database {} to {user}",
        postgres.database()
    ));
    let other = foreign(&postgres, &user);

    let mut run = Running::start(upsert(&dir, &postgres).env("PG_USER", &user));
    run.says("too many connections for role");
    drop(other);
    run.write(&two_rows());

    assert_eq!(run.end().0, Some(0));
    assert_eq!(postgres.query("select count(*) from t"), "2");
    postgres.query(&format!("drop owned by {user}; drop role {user}"));
}

/// Was it committed or not? Whatever the answer had been, each row is there once and counted once.
#[test]
fn the_rows_of_a_commit_without_an_answer_are_written_again() {
    for rows_before in [false, true] {
        let (dir, postgres) = migration();
        if rows_before {
            with_rows(&postgres);
        }
        let proxy = Proxy::to(&postgres);
        proxy.lose_the_answer_to_commit();
        postgres.query("create table completed (at timestamptz)");
        let rows = [row(1, "new", &[1]), row(2, "new", &[2])];
        let stream = Stream::new().source(1).schema().begin("a", 0).rows(&rows).mark("a", 2).end("a", 2);

        let program = upsert(&dir, &postgres).envs(postgres.envs_by(&proxy)).args(["-p", "t"]);
        let run = program.stdin(stream.text()).run();

        run.exits(0)
            .stderr_has("PostgreSQL: cannot commit: ")
            .stderr_has("2 records = 2 rows written + 0 merged + 0 filtered out + 0 rejected");
        assert_eq!(postgres.query("select id, v from t where id < 9 order by id"), "1|new\n2|new");
    }
}

/// Raised by a trigger, once: a sequence counts, which no rollback turns back.
#[test]
fn what_time_may_mend_is_tried_again_and_rejects_nothing() {
    for (code, name) in [
        ("53100", "disk_full"),
        ("53200", "out_of_memory"),
        ("55P03", "lock_not_available"),
        ("57P04", "database_dropped"),
        ("58030", "io_error"),
    ] {
        let (dir, postgres) = migration();
        postgres.query(&format!(
            "create sequence tries;
             create function fail() returns trigger language plpgsql as $$ begin
               if nextval('tries') = 1 then raise exception '{name}' using errcode = '{code}'; end if;
               return null;
             end $$;
             create trigger fail after insert on t execute function fail()"
        ));

        let run = upsert(&dir, &postgres).stdin(two_rows().text()).run();

        run.exits(0).stderr_has(&format!("cannot write rows: {name} (SQLSTATE {code}); trying again in "));
        assert_eq!(postgres.query("select count(*) from t"), "2");
        assert!(!dir.has("migrate-t.rejects.jsonl"));
    }
}

#[test]
fn a_transaction_that_the_server_ends_for_idleness_is_begun_again() {
    let (dir, postgres) = migration();
    postgres.query(&format!("alter database {} set idle_in_transaction_session_timeout = '1ms'", postgres.database()));
    // The program never waits for input in a transaction: even so short a time is enough in the end.
    let run = upsert(&dir, &postgres).stdin(two_rows().text()).run();

    run.exits(0);
    assert_eq!(postgres.query("select count(*) from t"), "2");
}

#[test]
fn a_column_that_is_dropped_meanwhile_stops_the_run_at_once() {
    let (dir, postgres) = migration();
    with_rows(&postgres);
    let mut run = Running::start(upsert(&dir, &postgres).args(["-b", "1"]));
    run.write(&Stream::new().schema().rows(&[row(1, "new", &[1])]));
    postgres.wait_for("select count(*) from t where v = 'new'", "1");
    postgres.query("alter table t drop column v");
    run.write(&Stream::new().rows(&[row(2, "new", &[2])]));

    let (code, said) = run.end();

    assert_eq!(code, Some(2), "{said}");
    let last: Vec<_> = said.lines().rev().take(2).collect();
    assert!(last[1].starts_with("pg-upsert: cannot write rows: column \"v\" does not exist"), "{said}");
    assert_eq!(
        last[0],
        "hint: a table or column is not there, or no longer: mend the table or the profile, then run again"
    );
    assert!(!said.contains("trying again"), "{said}");
}

/// What was looked up says that values of the old type can be sent, in a form that the new one does not have.
#[test]
fn a_column_that_is_given_another_type_meanwhile_takes_the_rows_that_come() {
    for ty in ["integer", "numeric", "text"] {
        let (dir, postgres) = migration();
        let mut run = Running::start(upsert(&dir, &postgres).args(["-b", "1"]));
        run.write(&Stream::new().schema().rows(&[row(1, "new", &[1])]));
        postgres.wait_for("select count(*) from t where v = 'new'", "1");
        postgres.query(&format!("alter table t alter id type {ty}"));
        run.write(&Stream::new().rows(&[row(2, "new", &[2]), row(3, "new", &[3])]));

        let (code, said) = run.end();

        assert_eq!(code, Some(0), "{said}");
        assert_eq!(postgres.query("select string_agg(id::text || v, ' ' order by id) from t"), "1new 2new 3new");
    }
}

#[test]
fn a_stop_ends_the_wait_for_the_next_attempt() {
    let (dir, postgres) = migration();
    with_rows(&postgres);
    postgres.query(&format!("alter database {} set statement_timeout = '20ms'", postgres.database()));
    let mut other = foreign(&postgres, USER);
    other.batch_execute("set statement_timeout = 0; begin; update t set v = 'other'").unwrap();

    let args = ["-b", "1", "--connections", "1", "--retry-max-wait", "3600", "--retry-for", "100000"];
    let mut run = Running::start(upsert(&dir, &postgres).args(args));
    run.write(&two_rows());
    run.says("(attempt 5 of 26)");
    signal("-TERM", &run.child.id().to_string());

    let (code, said) = run.end();
    assert_eq!(code, Some(75), "{said}");
    assert!(said.contains("pg-upsert: stopped while waiting for PostgreSQL: cannot write rows: "), "{said}");
    assert!(!said.contains("trying again"), "{said}");
}

#[test]
fn trouble_while_the_table_is_looked_at_is_waited_for_too() {
    let (dir, postgres) = migration();
    postgres.query(&format!("alter database {} set statement_timeout = '100ms'", postgres.database()));
    let mut other = foreign(&postgres, USER);
    other.batch_execute("set statement_timeout = 0; begin; lock table t").unwrap();

    let mut run = Running::start(upsert(&dir, &postgres));
    run.write(&two_rows());
    let said = run.says("trying again");
    other.batch_execute("commit").unwrap();

    assert!(said.contains("cannot look into the table `t`: "), "{said}");
    assert_eq!(run.end().0, Some(0));
    assert_eq!(postgres.query("select count(*) from t"), "2");
}

/// Ends the input, tells the program to stop when it waits inside a statement, and waits until it has ended.
fn stop(run: Running, postgres: &Postgres, waits: &str, before: impl FnOnce()) -> (Option<i32>, String) {
    let id = run.child.id();
    let child = std::thread::spawn(move || run.end());
    postgres.wait_for(waits, "1");
    before();
    signal("-TERM", &id.to_string());
    child.join().unwrap()
}

fn signal(name: &str, id: &str) {
    assert!(std::process::Command::new("kill").args([name, id]).status().unwrap().success());
}

#[test]
fn a_stop_cancels_a_statement_that_waits_for_somebody_else() {
    const SLEEPS: &str = "select count(*) from pg_stat_activity
                          where datname = current_database() and wait_event = 'PgSleep'";
    let whole = || Stream::new().source(1).schema().begin("a", 0).rows(&[row(1, "new", &[1])]).end("a", 1);
    for (locked, waits, action) in [
        ("update t set v = 'other' where id = 1", WAITS_FOR_A_LOCK, "cannot write rows"),
        ("lock table t", WAITS_FOR_A_LOCK, "cannot look into the table `t`"),
        ("", SLEEPS, "the profile's `on_complete` failed"),
    ] {
        let (dir, postgres) = migration();
        with_rows(&postgres);
        dir.write("profiles/t.toml", PROFILE.replace("INSERT INTO completed VALUES (now())", "SELECT pg_sleep(3600)"));
        let mut other = foreign(&postgres, USER);
        other.batch_execute(&format!("begin; {locked}")).unwrap();
        let mut run = Running::start(upsert(&dir, &postgres).args(["-p", "t"]));
        run.write(&whole());

        let (code, said) = stop(run, &postgres, waits, || ());

        let expected =
            format!("stopped while waiting for PostgreSQL: {action}: canceling statement due to user request");
        assert!(said.contains(&expected), "{said}");
        assert_eq!(code, Some(75), "{said}");
        postgres.wait_for(waits, "0");

        drop(other);
        dir.write("profiles/t.toml", PROFILE.replace("INSERT INTO completed VALUES (now())", ""));
        let again = Stream::new().source(1).schema().begin("a", 0).rows(&[row(1, "new", &[1])]).end("a", 1);
        upsert(&dir, &postgres).args(["-p", "t"]).stdin(again.text()).run().exits(0);
        assert_eq!(postgres.query("select id, v from t order by id"), "1|new\n2|old\n9|old");
    }
}

#[test]
fn a_stop_does_not_wait_for_a_server_that_does_not_answer() {
    let (dir, postgres) = migration();
    with_rows(&postgres);
    let mut other = foreign(&postgres, USER);
    other.batch_execute("begin; update t set v = 'other'").unwrap();
    let mut run = Running::start(upsert(&dir, &postgres));
    run.write(&two_rows());
    let backend = || postgres.query(&WAITS_FOR_A_LOCK.replace("count(*)", "pid"));

    let (code, said) = stop(run, &postgres, WAITS_FOR_A_LOCK, || signal("-STOP", &backend()));

    signal("-CONT", &backend());
    assert!(
        said.contains("pg-upsert: stopped while it waited for what does not answer\nhint: the same command"),
        "{said}"
    );
    assert_eq!(code, Some(75), "{said}");
}
