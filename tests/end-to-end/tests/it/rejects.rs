//! `migrate retry-rejects`: what was rejected goes through again once the profile or the table is mended, and no line is
//! lost or doubled on the way.

use std::fs;

use harness::export::Export;
use harness::postgres::Postgres;
use harness::{Dir, Finished};
use serde_json::Value;

use crate::bash;

/// `size` is a number for now.
const PROFILE: &str = r#"
table = "things"
key = ["id"]

[columns]
id = { type = "bigint", from = "Id" }
size = { type = "integer", from = "Size" }
"#;

/// A folder with the profile and an export of things, and a database with their table.
fn things(sizes: &[&str]) -> (Dir, Postgres) {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    dir.write("profiles/things.toml", PROFILE);
    let items = sizes.iter().zip(1..);
    let items = items.map(|(size, id)| format!(r#"{{"Item":{{"Id":{{"N":"{id}"}},"Size":{{"S":"{size}"}}}}}}"#));
    Export::new("Things", "01700000000000-abcdef12").file(items).write_to(&dir);
    postgres.query("create table things (id bigint primary key, size int)");
    (dir, postgres)
}

fn migrate(dir: &Dir, postgres: &Postgres, command: &str) -> Finished {
    let line = format!("migrate -p things {command}");
    bash(dir, postgres, &line).env("DDB_PIPE_PROFILES", dir.path().join("profiles")).run()
}

fn run(dir: &Dir, postgres: &Postgres) -> Finished {
    migrate(dir, postgres, "run --source .")
}

fn rejects(dir: &Dir) -> Vec<Value> {
    dir.read("migrate-things.rejects.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The number of each.
fn records(dir: &Dir) -> Vec<u64> {
    rejects(dir).iter().map(|line| line["record"].as_u64().unwrap()).collect()
}

fn rows(postgres: &Postgres) -> String {
    postgres.query("select string_agg(id || '=' || size, ' ' order by id) from things")
}

fn nothing_is_left(dir: &Dir) {
    let files = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let files: Vec<_> = files.filter(|name| name.contains("rejects") || name == "migrate-things.pid").collect();
    assert!(files.is_empty(), "{files:?}");
}

#[test]
fn records_go_through_the_mended_profile() {
    let (dir, postgres) = things(&["1", "small", "3", "large"]);
    run(&dir, &postgres).exits(1);
    assert_eq!(rows(&postgres), "1=1 3=3");
    let before = rejects(&dir);

    // As long as nothing is mended, nothing changes but the time.
    migrate(&dir, &postgres, "retry-rejects")
        .exits(1)
        .stderr_has("Tried 2 rejected records again: 0 written + 2 rejected again")
        .stderr_has("Rejects that are left: 2");
    let mut after = rejects(&dir);
    for (before, after) in before.iter().zip(&mut after) {
        assert_ne!(before["time"], after["time"]);
        after["time"] = before["time"].clone();
    }
    assert_eq!(after, before);

    // Half of it.
    let half = PROFILE.replace(r#"from = "Size""#, r#"from = "Size", convert = [{ lookup = "sizes" }], default = 0"#)
        + "\n[lookups.sizes]\nsmall = 10\n";
    dir.write("profiles/things.toml", half.replace(", default = 0", ", required = true"));
    migrate(&dir, &postgres, "retry-rejects").exits(1).stderr_has("1 written + 1 rejected again");
    assert_eq!(rows(&postgres), "1=1 2=10 3=3");
    let after = rejects(&dir);
    assert_eq!((after.len(), &after[0]["record"], &after[0]["data"]), (1, &before[1]["record"], &before[1]["data"]));
    assert_eq!((&after[0]["key"], &after[0]["run"]), (&before[1]["key"], &before[1]["run"]));
    assert_ne!(after[0]["reason"], before[1]["reason"]);

    dir.write("profiles/things.toml", half + "large = 99\n");
    migrate(&dir, &postgres, "retry-rejects").exits(0).stderr_has("Rejects that are left: 0");
    assert_eq!(rows(&postgres), "1=1 2=10 3=3 4=99");
    nothing_is_left(&dir);

    migrate(&dir, &postgres, "retry-rejects").exits(0).stderr_has("Rejects that are left: 0");
}

#[test]
fn rows_go_into_the_mended_table() {
    let (dir, postgres) = things(&["1", "-2", "3", "-4", "none"]);
    postgres.query("alter table things add constraint positive check (size > 0)");
    run(&dir, &postgres).exits(1);
    let before = records(&dir);
    assert_eq!(before.len(), 3);

    postgres
        .query("alter table things drop constraint positive; alter table things add constraint big check (size > -3)");
    migrate(&dir, &postgres, "retry-rejects").exits(1).stderr_has("Rejects that are left: 2");
    assert_eq!(rows(&postgres), "1=1 2=-2 3=3");
    let stayed: Vec<_> = before.into_iter().filter(|record| *record != 2).collect();
    assert_eq!(records(&dir), stayed, "in their order");
    let why =
        |line: &Value| line["record"] == 4 && line["reason"].as_str().unwrap().contains("check constraint \"big\"");
    assert!(rejects(&dir).iter().any(why));

    postgres.query("alter table things drop constraint big");
    migrate(&dir, &postgres, "retry-rejects").exits(1);
    assert_eq!(rows(&postgres), "1=1 2=-2 3=3 4=-4");
    assert_eq!(rejects(&dir).len(), 1);
}

#[test]
fn a_record_that_the_table_refuses_now_stays_a_record() {
    let (dir, postgres) = things(&["small"]);
    run(&dir, &postgres).exits(1);
    let mended = PROFILE.replace(r#"from = "Size""#, r#"from = "Size", convert = [{ lookup = "sizes" }]"#);
    dir.write("profiles/things.toml", mended + "\n[lookups.sizes]\nsmall = -1\n");
    postgres.query("alter table things add constraint positive check (size > 0)");

    migrate(&dir, &postgres, "retry-rejects").exits(1);
    let line = &rejects(&dir)[0];
    assert_eq!((line["stage"].as_str(), line["sqlstate"].as_str()), (Some("ddb-parse"), Some("23514")));
    assert_eq!(line["data"]["Item"]["Size"]["S"], "small");

    postgres.query("alter table things drop constraint positive");
    migrate(&dir, &postgres, "retry-rejects").exits(0);
    assert_eq!(rows(&postgres), "1=-1");
}

#[test]
fn what_cannot_be_sent_stays_and_says_why() {
    let (dir, postgres) = things(&["-2"]);
    postgres.query("alter table things add constraint positive check (size > 0)");
    run(&dir, &postgres).exits(1);
    let row = dir.read("migrate-things.rejects.jsonl");
    let text = r#"{"key":"k","record":7,"records":[7],"stage":"ddb-cat","sqlstate":null,"reason":"`$`","data":{"$x":1},"time":"t","run":"r"}"#;
    let broken = r#"{"key":"k","record":8,"records":[8],"stage":"ddb-parse","sqlstate":null,"reason":"not JSON","data":"{oops","time":"t","run":"r"}"#;
    let foreign = "not of ours";
    dir.write("migrate-things.rejects.jsonl", format!("{text}\n{broken}\n{foreign}\n{row}"));
    dir.write("profiles/things.toml", PROFILE.replace("size =", "extent ="));
    postgres.query("alter table things rename size to extent; alter table things drop constraint positive");

    migrate(&dir, &postgres, "retry-rejects").exits(1).stderr_has("Rejects that are left: 4");

    let lines = dir.read("migrate-things.rejects.jsonl");
    let lines: Vec<_> = lines.lines().collect();
    assert!(lines[0].contains(r#""record":7,"#) && lines[0].contains(r#""reason":"`$`","data":{"$x":1}"#), "{lines:?}");
    assert!(lines[1].contains(r#""record":8,"#) && lines[1].contains(r#""data":"{oops""#), "{lines:?}");
    assert_eq!(lines[2], foreign);
    assert!(lines[3].contains("the row has the column `size`, which the profile does not have any more"), "{lines:?}");
}

/// A retry that waits for a lock on the table, which `release` gives back; its pid is in `retry`.
const HELD: &str = r#"
export PGPASSWORD=$PASSWORD PGHOST=$SERVER PGPORT=$PORT PGUSER=$PG_USER PGDATABASE=$DATABASE
release() { exec 7>&-; wait "$holder"; }
until_there_is() { until [ "$(psql -qXAt -c "select count(*) > 0 from pg_locks where relation = 'things'::regclass and $1")" = t ]; do :; done; }
mkfifo hold
(echo 'begin; lock table things in share mode;'; cat <hold) | psql -qX >/dev/null & holder=$!
exec 7>hold
until_there_is "mode = 'ShareLock'"
migrate -p things retry-rejects 7>&- & retry=$!
until_there_is 'not granted'
"#;

/// Two records that the profile takes now.
fn mended() -> (Dir, Postgres) {
    let (dir, postgres) = things(&["small", "large"]);
    run(&dir, &postgres).exits(1);
    let mended = PROFILE.replace(r#"from = "Size""#, r#"from = "Size", convert = [{ lookup = "sizes" }]"#);
    dir.write("profiles/things.toml", mended + "\n[lookups.sizes]\nsmall = 1\nlarge = 2\n");
    (dir, postgres)
}

fn while_held(dir: &Dir, postgres: &Postgres, then: &str) -> Finished {
    bash(dir, postgres, &format!("{HELD}{then}")).env("DDB_PIPE_PROFILES", dir.path().join("profiles")).run()
}

#[test]
fn killed_in_between_no_line_is_lost() {
    for program in ["pg-upsert", "migrate-rejects"] {
        let (dir, postgres) = mended();
        let before = dir.read("migrate-things.rejects.jsonl");
        let kill = format!(
            "for pid in $(pgrep -x {program}); do
               if [ \"$(readlink /proc/$pid/cwd)\" = \"$(pwd -P)\" ]; then kill -KILL $pid; fi
             done
             release; wait $retry"
        );

        while_held(&dir, &postgres, &kill).exits(137);
        assert_eq!(dir.read("migrate-things.rejects.jsonl"), before, "{program}");

        migrate(&dir, &postgres, "retry-rejects").exits(0);
        assert_eq!(rows(&postgres), "1=1 2=2", "{program}");
        nothing_is_left(&dir);
    }
}

/// Its programs live on, and nobody else touches the rejects before they have ended.
#[test]
fn while_programs_of_a_killed_retry_are_at_work_nothing_else_begins() {
    let (dir, postgres) = mended();
    let then = "kill -KILL $retry; wait $retry
        migrate -p things run --source . && exit 1
        migrate -p things retry-rejects && exit 1
        release
        # They end soon now; the lock is theirs until then.
        flock migrate-things.rejects.lock true";

    let run = while_held(&dir, &postgres, then);

    let refused = "migrate: programs of a retry-rejects that was killed are still at work";
    assert_eq!(run.exits(0).messages().matches(refused).count(), 2, "{run:?}");
    migrate(&dir, &postgres, "retry-rejects").exits(0);
    assert_eq!(rows(&postgres), "1=1 2=2");
    nothing_is_left(&dir);
}

#[test]
fn a_run_and_a_retry_exclude_each_other_and_a_stop_lets_it_end() {
    let (dir, postgres) = mended();
    let then = "migrate -p things run --source . && exit 1
        migrate -p things retry-rejects && exit 1
        kill -TERM $retry; release; wait $retry";

    let run = while_held(&dir, &postgres, then);

    let refused = "migrate: the profile `things` is running already";
    assert_eq!(run.messages().matches(refused).count(), 2, "{run:?}");
    // Everything was sent when the stop came: it is settled, too.
    run.exits(0);
    assert_eq!(rows(&postgres), "1=1 2=2");
    nothing_is_left(&dir);
}

#[test]
fn a_profile_that_is_wrong_stops_the_run_with_65() {
    let sizes: Vec<_> = (0..150).map(|_| "wrong").collect();
    let (dir, postgres) = things(&sizes);

    let run = run(&dir, &postgres);

    run.exits(65).stderr_has("too many rejects: ").stderr_has("migrate reset");
    migrate(&dir, &postgres, "run --source . --max-rejects 100%").exits(1);
    assert_eq!(rejects(&dir).len(), 150);
}

/// Whether an item is new, only the export's view says.
#[test]
fn a_record_of_an_incremental_export_is_sent_again_as_one_of_its_view() {
    for (view, left) in [("NEW_AND_OLD_IMAGES", 0), ("NEW_IMAGES", 2)] {
        let (dir, postgres) = (Dir::new(), Postgres::new());
        let profile = |accept: &str| {
            format!(
                "[[table]]\nname = \"orders\"\nkey = [\"id\"]\n[table.columns]\nid = {{ type = \"text\", from = \"Id\" }}\n\
                 [[table]]\nname = \"lines\"\nparent = \"orders\"\neach = \"Lines\"\nkey = [\"id\", \"line\"]\n[table.columns]\n\
                 id = {{ type = \"text\", from = \"Id\" }}\nline = {{ type = \"integer\", from = \"$position\" }}\n\
                 sku = {{ type = \"text\", from = \"$element\"{accept} }}\n"
            )
        };
        dir.write("profiles/things.toml", profile(", accept = [\"N\"]"));
        let record = |id: &str| {
            format!(
                r#"{{"Metadata":{{"WriteTimestampMicros":{{"N":"1705312800000000"}}}},"Keys":{{"Id":{{"S":"{id}"}}}},"NewImage":{{"Id":{{"S":"{id}"}},"Lines":{{"L":[{{"S":"x"}}]}}}}}}"#
            )
        };
        Export::new("Things", "01700000000000-abcdef12")
            .changes("2024-01-15T09:55:00.000Z", "2024-01-15T10:20:00.000Z")
            .with("outputView", view)
            .file([record("1"), record("2")])
            .write_to(&dir);
        migrate(&dir, &postgres, "run --create --max-rejects 100% --export 01700000000000-abcdef12 --source .")
            .exits(1);

        dir.write("profiles/things.toml", profile(""));
        let code = i32::from(left > 0);
        migrate(&dir, &postgres, "retry-rejects").exits(code);
        let rows = postgres.query("select count(*) from lines");
        assert_eq!(rows, (2 - left).to_string(), "{view}");
    }
}
