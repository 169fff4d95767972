//! Rows that refer to rows which the run loads later, and constraints that are checked at COMMIT: what one transaction over
//! the whole run would accept is accepted.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "the rows here are those of another profile")]
mod stream;

use std::fmt::Write as _;

use harness::postgres::Postgres;
use harness::{Dir, Program, program};

use stream::Stream;

fn upsert(dir: &Dir, postgres: &Postgres) -> Program {
    program!("pg-upsert").in_dir(dir).envs(postgres.envs())
}

const EMPLOYEES: &str = "create table t (id int primary key, boss int references t)";

/// Of each id its boss, in an order that has nothing to do with either.
fn chain(count: u64) -> String {
    // A number that has no divisor in common with the count steps through all of them.
    (0..count).map(|n| (n * 7919) % count).fold(String::new(), |mut rows, id| {
        let boss = id.checked_sub(1).map_or("null".to_owned(), |boss| boss.to_string());
        writeln!(rows, "{{\"id\":{id},\"boss\":{boss}}}").unwrap();
        rows
    })
}

#[test]
fn a_table_that_refers_to_itself_takes_every_row_whatever_the_batches() {
    for options in [&["-b", "100"][..], &["-b", "5000"], &["-b", "333", "--connections", "4"]] {
        let (dir, postgres) = (Dir::new(), Postgres::new());
        postgres.query(EMPLOYEES);
        let run = upsert(&dir, &postgres).args(["--table", "t", "--columns", "id,boss"]).args(options);
        let run = run.stdin(chain(3000).as_str()).run();
        run.exits(0).stderr_has("3,000 records = 3,000 rows written + 0 merged + 0 filtered out + 0 rejected,");
        assert_eq!(postgres.query("select count(*), count(boss) from t"), "3000|2999");
    }
}

#[test]
fn a_row_whose_parent_never_comes_is_rejected_at_the_end_in_the_server_s_words() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    postgres.query(EMPLOYEES);
    let rows = "{\"id\":1,\"boss\":2}\n{\"id\":5,\"boss\":77}\n{\"id\":6,\"boss\":5}\n{\"id\":2,\"boss\":null}\n";
    let run = upsert(&dir, &postgres).args(["--table", "t", "-b", "1"]).stdin(rows).run();
    run.exits(1).stderr_has("4 records = 2 rows written + 0 merged + 0 filtered out + 2 rejected,");
    assert_eq!(postgres.query("select id, boss from t order by id"), "1|2\n2|");
    let rejects = dir.read("pg-upsert.rejects.jsonl");
    assert!(rejects.contains(r#"Key (boss)=(77) is not present in table \"t\""#), "{rejects}");
    assert_eq!(rejects.lines().count(), 2);
}

#[test]
fn deferred_keys_and_swapped_values_pass_as_in_one_transaction() {
    for options in [&["-b", "1"][..], &["-b", "3"], &["-b", "3", "--connections", "3"], &[]] {
        let (dir, postgres) = (Dir::new(), Postgres::new());
        postgres.query(
            "create table p (id int primary key);
             create table t (id int primary key, v int unique deferrable,
                             boss int references t deferrable initially deferred);
             insert into t select i, i from generate_series(1, 10) i",
        );
        let rows = (1..=10).fold(String::new(), |mut rows, id| {
            writeln!(rows, "{{\"id\":{id},\"v\":{},\"boss\":{}}}", 11 - id, 21 - id).unwrap();
            rows
        });
        let more = (11..=20).fold(rows, |mut rows, id| {
            writeln!(rows, "{{\"id\":{id},\"v\":{id},\"boss\":{}}}", id - 10).unwrap();
            rows
        });
        let run = upsert(&dir, &postgres).args(["--table", "t"]).args(options).stdin(more.as_str()).run();
        run.exits(0).stderr_has("20 records = 20 rows written");
        assert_eq!(
            postgres.query("select string_agg(v::text, ' ' order by id) from t"),
            "10 9 8 7 6 5 4 3 2 1 11 12 13 14 15 16 17 18 19 20"
        );
    }
}

/// While its first row waits, a second one must not be written before it.
#[test]
fn a_later_row_of_a_key_that_waits_joins_it() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    postgres.query("create table t (id int primary key, boss int references t, v text)");
    let rows = r#"{"id":1,"boss":9,"v":"old"}
{"id":1,"boss":null,"v":"new"}
{"id":9,"boss":null,"v":"parent"}
"#;
    let run = upsert(&dir, &postgres).args(["--table", "t", "-b", "1"]).stdin(rows).run();
    run.exits(0).stderr_has("3 records = 2 rows written + 1 merged");
    assert_eq!(postgres.query("select * from t order by id"), "1||new\n9||parent");
}

/// A row, a deletion of its key, and a row that comes after that.
#[test]
fn a_deletion_of_a_key_that_waits_joins_it() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    postgres.query(EMPLOYEES);
    let schema = r#"{"$schema":{"v":1,"profile":"t","hash":"h","table":"t","key":["id"],"columns":[{"name":"id","type":"integer"},{"name":"boss","type":"integer"}]}}"#;
    let rows = r#"{"id":1,"boss":9}
{"id":2,"boss":9}
{"$delete":{"id":1}}
{"$delete":{"id":2}}
{"id":2,"boss":null}
{"id":9,"boss":null}
"#;
    let run = upsert(&dir, &postgres).args(["-b", "1"]).stdin(format!("{schema}\n{rows}").as_str()).run();
    run.exits(0);
    assert_eq!(postgres.query("select * from t order by id"), "2|\n9|");
}

const PROFILE: &str = r#"
table = "t"
key = ["id"]
on_complete = ["INSERT INTO completed SELECT count(*) FROM t"]

[columns]
id = { type = "bigint" }
boss = { type = "bigint" }
"#;

/// The stream of a run: `rows` are of one file.
fn run_of(rows: &[(u64, &str)], end: bool) -> String {
    let schema = r#"{"$schema":{"v":1,"profile":"t","hash":"h","options":{},"schema":null,"table":"t","key":["id"],"columns":[{"name":"id","type":"bigint"},{"name":"boss","type":"bigint"}],"groups":[]}}"#;
    let lines: Vec<_> =
        (1..).zip(rows).map(|(n, (id, boss))| format!(r#"{{"id":{id},"boss":{boss},"$records":[{n}]}}"#)).collect();
    let count = rows.len() as u64;
    let stream = Stream::new().source(1).line(schema).begin("a", 0).rows(&lines).mark("a", count);
    if end { stream.end("a", count) } else { stream }.text()
}

fn migration() -> (Dir, Postgres) {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    dir.write("profiles/t.toml", PROFILE);
    postgres
        .query("create table t (id bigint primary key, boss bigint references t); create table completed (rows int)");
    (dir, postgres)
}

#[test]
fn rows_that_wait_survive_the_process_and_are_settled_before_on_complete() {
    let (dir, postgres) = migration();
    // The stream is cut off behind the first mark.
    let cut = upsert(&dir, &postgres).args(["-p", "t"]).stdin(run_of(&[(1, "2"), (5, "77")], false).as_str()).run();
    cut.exits(65);
    assert_eq!(dir.read("migrate-t.waiting.jsonl").lines().count(), 2);
    assert_eq!(postgres.query("select count(*) from t"), "0");

    let rest = r#"{"$source":{"v":1,"source":"s3://bucket/a/","export":"01-ab","table":"T","shard":null,"files":1,"items":null,"bytes":null,"done":{"files":0,"items":2,"bytes":0}}}"#;
    let schema = run_of(&[], false).lines().nth(1).unwrap().to_owned();
    let stream = Stream::new().line(rest).line(&schema).begin("a", 2);
    let stream = stream.rows(&[r#"{"id":2,"boss":null,"$records":[3]}"#.to_owned()]).end("a", 3);
    let run = upsert(&dir, &postgres).args(["-p", "t"]).stdin(stream.text().as_str()).run();

    run.exits(1).stderr_has("1 files, 3 records = 2 rows written + 0 merged + 0 filtered out + 1 rejected");
    assert_eq!(postgres.query("select * from t order by id"), "1|2\n2|");
    assert_eq!(postgres.query("select rows from completed"), "2");
    assert!(!dir.has("migrate-t.waiting.jsonl"));
    assert_eq!(dir.read("migrate-t.rejects.jsonl").lines().count(), 1);
}

/// The settlement of an earlier process was cut off after its rejects were on disk.
#[test]
fn a_settlement_that_was_cut_off_leaves_no_reject_twice() {
    let (dir, postgres) = migration();
    let rows = [(1, "2"), (5, "77"), (2, "null")];
    // It cannot end, because the profile's SQL fails.
    postgres.query("alter table completed add check (rows > 5)");
    upsert(&dir, &postgres).args(["-p", "t"]).stdin(run_of(&rows, true).as_str()).run().exits(65);
    let rejected = dir.read("migrate-t.rejects.jsonl");
    assert_eq!(rejected.lines().count(), 1);
    // As if it had died before it noted that nothing waits: the bookmark's last line is missing, the row still waits.
    let bookmark = dir.read("migrate-t.bookmark.json");
    let lines: Vec<_> = bookmark.lines().collect();
    dir.write("migrate-t.bookmark.json", &(lines[..lines.len() - 1].join("\n") + "\n"));
    dir.write(
        "migrate-t.waiting.jsonl",
        r#"{"table":"t","data":{"id":5,"boss":77},"origins":[{"key":"a","weight":1,"records":[2]}],"reason":"r"}
"#,
    );
    postgres.query("alter table completed drop constraint completed_rows_check");
    let done = r#"{"$source":{"v":1,"source":"s3://bucket/a/","export":"01-ab","table":"T","shard":null,"files":1,"items":null,"bytes":null,"done":{"files":1,"items":3,"bytes":0}}}"#;
    let run = upsert(&dir, &postgres).args(["-p", "t"]).stdin(format!("{done}\n").as_str()).run();
    run.exits(1).stderr_has("3 records = 2 rows written + 0 merged + 0 filtered out + 1 rejected");
    assert_eq!(dir.read("migrate-t.rejects.jsonl").lines().count(), 1);
}

/// Its own foreign keys, and those of another table of the run.
#[test]
fn a_child_may_come_before_its_parent_where_the_run_loads_both() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    postgres.query(
        "create table p (id int primary key);
         create table c (id int primary key, p int references p)",
    );
    let schema = |table: &str, columns: &str| {
        format!(
            r#"{{"$schema":{{"v":1,"profile":"x","hash":"h","table":"{table}","key":["id"],"columns":[{columns}]}}}}"#
        )
    };
    let id = r#"{"name":"id","type":"integer"}"#;
    let stream = Stream::new()
        .line(&schema("p", id))
        .line(&schema("c", &format!(r#"{id},{{"name":"p","type":"integer"}}"#)))
        .line("{\"id\":1,\"p\":7}")
        .line("{\"id\":2,\"p\":8}")
        .line(r#"{"$table":"p"}"#)
        .line("{\"id\":7}");
    let run = upsert(&dir, &postgres).args(["-b", "1"]).stdin(stream.text().as_str()).run();
    run.exits(1);
    assert_eq!(postgres.query("select * from c"), "1|7");
    assert_eq!(dir.read("migrate-x.rejects.jsonl").lines().count(), 1);
}

/// `migrate retry-rejects` goes by the last receipt of a file.
#[test]
fn a_file_whose_rows_waited_has_a_second_receipt() {
    let (dir, postgres) = migration();
    let stream = run_of(&[(1, "2"), (5, "77"), (2, "null")], true);
    let run =
        upsert(&dir, &postgres).args(["-b", "1", "--receipts", "--rejects", "again.jsonl"]).stdin(stream.as_str());
    let run = run.run();
    run.exits(1);
    let receipts: Vec<serde_json::Value> =
        run.output().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let counts = |receipt: &serde_json::Value| {
        ["records", "written", "rejected", "waiting"].map(|name| receipt["done"][name].as_u64().unwrap_or_default())
    };
    assert_eq!(receipts.iter().map(counts).collect::<Vec<_>>(), [[3, 1, 0, 2], [3, 2, 1, 0]]);
    assert_eq!(dir.read("again.jsonl").lines().count(), 1);
}

#[test]
fn rows_that_a_trigger_swallows_are_in_the_rejects_of_those_who_read_receipts() {
    let (dir, postgres) = migration();
    postgres.query(
        "create function swallow() returns trigger language plpgsql as
           $$begin if new.id = 5 then return null; end if; return new; end$$;
         create trigger swallow before insert or update on t for each row execute function swallow()",
    );
    let stream = run_of(&[(1, "null"), (5, "null")], true);
    let run = upsert(&dir, &postgres).args(["--receipts", "--rejects", "again.jsonl"]).stdin(stream.as_str()).run();
    run.exits(1);
    let line: serde_json::Value = serde_json::from_str(&dir.read("again.jsonl")).unwrap();
    assert_eq!(line["reason"], "suppressed by a trigger or rule of the table");
    assert_eq!(line["records"], serde_json::json!([2]));
}
