//! Rows are copied into an empty table as they are. What this way meets when it is not alone: a second writer, a row that
//! is there after all, its own end at any instant.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod stream;

use std::io::Read as _;

use harness::postgres::{PASSWORD, Postgres, USER};
use harness::{Dir, Program, program};
use postgres::{Client, NoTls};

use stream::{PROFILE, Stream, row};

const ROWS: u64 = 2_000;
const COMPLETED: &str =
    "COMPLETED: 1 files, 2,000 records = 2,000 rows written + 0 merged + 0 filtered out + 0 rejected";

fn migration() -> (Dir, Postgres) {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    dir.write("profiles/t.toml", PROFILE);
    postgres.query("create table t (id bigint primary key, v text); create table completed (at timestamptz)");
    (dir, postgres)
}

/// A migration of one file, in transactions of 250 rows over two connections.
fn upsert(dir: &Dir, postgres: &Postgres) -> Program {
    let rows = |from, to| (from..=to).map(|id| row(id, "new", &[id])).collect::<Vec<_>>();
    let stream = Stream::new().source(1).schema().begin("a.json.gz", 0);
    let stream = stream.rows(&rows(1, 1_000)).mark("a.json.gz", 1_000).rows(&rows(1_001, ROWS)).end("a.json.gz", ROWS);
    program!("pg-upsert").in_dir(dir).envs(postgres.envs()).args(["-p", "t", "-b", "500"]).stdin(stream.text())
}

/// A session of somebody else, which has written a row and not committed yet.
fn second_writer(postgres: &Postgres, id: u64) -> Client {
    let (port, database) = (postgres.port(), postgres.database());
    let settings = format!("host=127.0.0.1 port={port} user={USER} password={PASSWORD} dbname={database}");
    let mut client = Client::connect(&settings, NoTls).unwrap();
    client.batch_execute(&format!("begin; insert into t values ({id}, 'other')")).unwrap();
    client
}

/// Until a row of the program meets that of the second writer.
fn wait_until_they_meet(postgres: &Postgres) {
    postgres.wait_for(
        "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
        "1",
    );
}

fn is_whole(postgres: &Postgres) {
    let whole = format!("{ROWS}|1|{ROWS}|{ROWS}");
    assert_eq!(postgres.query("select count(*), min(id), max(id), count(*) filter (where v = 'new') from t"), whole);
}

/// The row of the second writer is there before ours, or never was: in both cases ours comes later and wins.
#[test]
fn a_second_writer_of_the_same_key_is_waited_for() {
    for end in ["commit", "rollback"] {
        let (dir, postgres) = migration();
        let mut other = second_writer(&postgres, 1_234);
        let run = upsert(&dir, &postgres);
        let run = std::thread::spawn(move || run.run());
        wait_until_they_meet(&postgres);
        other.batch_execute(end).unwrap();

        let run = run.join().unwrap();
        run.exits(0).stderr_has(COMPLETED);
        is_whole(&postgres);
    }
}

/// Rows that somebody adds between two of our transactions are met by a later one.
#[test]
fn rows_that_come_into_the_table_meanwhile_are_merged() {
    let (dir, postgres) = migration();
    // The first row of ours brings twenty of theirs.
    postgres.query(
        "create table meanwhile (id bigint);
         create function join_in() returns trigger language plpgsql security definer as $$ begin
           if not exists (select from meanwhile) then
             insert into meanwhile values (0);
             insert into t select id * 100, 'other' from generate_series(1, 20) as id on conflict do nothing;
           end if;
           return null;
         end $$;
         create trigger join_in after insert on t for each statement when (pg_trigger_depth() = 0)
           execute function join_in()",
    );

    let run = upsert(&dir, &postgres).args(["--connections", "1"]).run();

    run.exits(0).stderr_has(COMPLETED);
    is_whole(&postgres);
}

/// Between the look at the table and the end of the copy: nothing of the transaction is there, the next run begins with a
/// table that has rows, and both make a whole.
#[test]
fn killed_while_it_copies_it_goes_on_with_what_the_table_has() {
    for id in [1, 700, ROWS] {
        let (dir, postgres) = migration();
        let mut other = second_writer(&postgres, id);
        let mut child = upsert(&dir, &postgres).spawn();
        wait_until_they_meet(&postgres);
        child.kill().unwrap();
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(child.wait().unwrap().code().is_none() && !said.contains("COMPLETED"), "{said}");
        other.batch_execute("rollback").unwrap();

        upsert(&dir, &postgres).run().exits(0).stderr_has(COMPLETED);
        is_whole(&postgres);
    }
}
