//! A full export and the increments that join it: applied in order, each once, whatever comes in between.

use std::fs;
use std::process::Command;

use harness::export::Export;
use harness::postgres::Postgres;
use harness::s3::S3;
use harness::{Dir, Program};

use crate::bash;

const FULL: &str = "01705312800000-00000000";
const FIRST: &str = "01705314000000-00000001";
const SECOND: &str = "01705315000000-00000002";
const THIRD: &str = "01705316000000-00000003";

const PROFILE: &str = r#"
table = "customers"
key = ["id"]
on_create = ["create table completed (at timestamptz default now())"]
on_complete = ["insert into completed default values"]

[columns]
id = { type = "text", from = "PK" }
name = { type = "text", from = "Name" }
"#;

fn item(id: u32, name: &str) -> String {
    format!(r#"{{"PK":{{"S":"CUST#{id}"}},"Name":{{"S":"{name}"}}}}"#)
}

fn state(id: u32, name: &str) -> String {
    format!(r#"{{"Item":{}}}"#, item(id, name))
}

/// A change as DynamoDB writes it.
fn change(second: u32, id: u32, old: Option<&str>, new: &str) -> String {
    let old = old.map(|name| format!(r#""OldImage":{},"#, item(id, name))).unwrap_or_default();
    let time = 1_705_312_800_000_000_u64 + u64::from(second) * 1_000_000;
    format!(
        r#"{{"Metadata":{{"WriteTimestampMicros":{{"N":"{time}"}}}},"Keys":{{"PK":{{"S":"CUST#{id}"}}}},{old}"NewImage":{}}}"#,
        item(id, new)
    )
}

/// The state at 10:00, the changes from 9:55 to 10:20, and those from 10:20 to 10:35.
fn exports() -> [Export; 3] {
    let export = |id: &str| Export::new("Customers", id).under("moves/");
    let full = export(FULL).with("exportTime", "2024-01-15T10:00:00.000Z");
    let first = export(FIRST).changes("2024-01-15T09:55:00.000Z", "2024-01-15T10:20:00.000Z");
    let second = export(SECOND).changes("2024-01-15T10:20:00.000Z", "2024-01-15T10:35:00.000Z");
    [
        full.file([state(1, "Ann"), state(2, "Bob")]).file([state(3, "Cid")]),
        first.file([change(60, 4, None, "Dan"), change(61, 2, Some("Bob"), "Bea")]),
        second.with("outputView", "NEW_IMAGES").file([change(1300, 2, None, "Ben"), change(1301, 5, None, "Eve")]),
    ]
}

const CUSTOMERS: &str = "CUST#1|Ann\nCUST#2|Ben\nCUST#3|Cid\nCUST#4|Dan\nCUST#5|Eve";

fn customers(postgres: &Postgres) -> String {
    postgres.query("select id, name from customers order by 1")
}

fn applied(dir: &Dir) -> Vec<String> {
    let id = |line: &str| line.split('"').nth(3).unwrap_or_default().to_owned();
    dir.read("migrate-customers.applied.jsonl").lines().map(id).collect()
}

fn migrate(dir: &Dir, postgres: &Postgres, arguments: &str) -> Program {
    dir.write("customers.toml", PROFILE);
    bash(dir, postgres, &format!("migrate -p ./customers.toml {arguments}"))
}

#[test]
fn a_table_is_moved_by_a_full_export_and_what_has_changed_since() {
    let (dir, postgres, s3) = (Dir::new(), Postgres::new(), S3::start());
    let [full, first, second] = exports();
    let run = || migrate(&dir, &postgres, &format!("run --create --source {}", s3.url("moves/"))).envs(s3.envs()).run();

    full.put_to(&s3);
    run().exits(0).stderr_has("COMPLETED: 2 files, 3 records").never_says("stands at");
    assert_eq!(customers(&postgres), "CUST#1|Ann\nCUST#2|Bob\nCUST#3|Cid");

    // Nothing of what is applied is read again.
    s3.delete(&full.key(1));
    first.put_to(&s3);
    second.put_to(&s3);
    run()
        .exits(0)
        .stderr_has(&format!("Export 1 of 2: {FIRST} (2024-01-15T09:55:00Z to 2024-01-15T10:20:00Z)"))
        .stderr_has(&format!("Export 2 of 2: {SECOND} (2024-01-15T10:20:00Z to 2024-01-15T10:35:00Z)"))
        .stderr_has("The table stands at 2024-01-15T10:35:00Z");
    assert_eq!(customers(&postgres), CUSTOMERS);
    assert_eq!(applied(&dir), [FULL, FIRST, SECOND]);
    assert_eq!(postgres.query("select count(*) from completed"), "2", "once for each run");

    run().exits(0).stderr_has("The table stands at 2024-01-15T10:35:00Z").never_says("Export 1");
    assert_eq!(postgres.query("select count(*) from completed"), "2");
    let status = migrate(&dir, &postgres, "status").run();
    status.exits(3).stdout_has("table:    stands at 2024-01-15T10:35:00Z\n");

    // From the beginning, and by hand.
    full.put_to(&s3);
    migrate(&dir, &postgres, "reset").run().exits(0).stdout_has("the next run begins with a full export");
    run().exits(0).stderr_has(&format!("Export 1 of 3: {FULL} (full)"));
    assert_eq!(customers(&postgres), CUSTOMERS);
    let line = format!("run --export {FIRST} --source {}", s3.url("moves/"));
    migrate(&dir, &postgres, &line).envs(s3.envs()).run().exits(0);
    assert_eq!(applied(&dir).len(), 3);
    let verify = migrate(&dir, &postgres, &format!("verify --source {}", s3.url("moves/"))).envs(s3.envs()).run();
    verify.exits(2).stderr_has("here are a full export and 2 increments");
}

#[test]
fn three_increments_with_updates_and_deletions_come_to_the_same_at_once_and_one_by_one() {
    let third = Export::new("Customers", THIRD).under("moves/");
    let third = third.changes("2024-01-15T10:35:00.000Z", "2024-01-15T10:50:00.000Z");
    let deletion = r#"{"Metadata":{"WriteTimestampMicros":{"N":"1705315000000000"}},"Keys":{"PK":{"S":"CUST#1"}},"OldImage":{"PK":{"S":"CUST#1"},"Name":{"S":"Ann"}}}"#;
    let third = third.file([change(2200, 5, Some("Eve"), "Eva")]).file([deletion.to_owned()]);
    let [full, first, second] = exports();
    let all = [full, first, second, third];
    for at_once in [true, false] {
        let (dir, postgres) = (Dir::new(), Postgres::new());
        let run = || migrate(&dir, &postgres, "run --create --source moves").run();
        for (place, export) in all.iter().enumerate() {
            export.write_to(&dir);
            if !at_once || place + 1 == all.len() {
                run().exits(0);
            }
            // Nothing is new. (A full export alone is loaded as often as one asks for it.)
            if place + 1 == all.len() {
                run().exits(0).never_says("Export ");
            }
        }
        assert_eq!(customers(&postgres), "CUST#2|Ben\nCUST#3|Cid\nCUST#4|Dan\nCUST#5|Eva", "at once: {at_once}");
        assert_eq!(applied(&dir), [FULL, FIRST, SECOND, THIRD]);
        // From the beginning, over what is there.
        migrate(&dir, &postgres, "reset").run().exits(0);
        run().exits(0).stderr_has("Export 4 of 4").stderr_has("The table stands at 2024-01-15T10:50:00Z");
        assert_eq!(customers(&postgres), "CUST#2|Ben\nCUST#3|Cid\nCUST#4|Dan\nCUST#5|Eva", "again");
    }
}

#[test]
fn an_increment_of_which_a_file_fails_is_where_the_next_run_goes_on() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    let [full, first, second] = exports();
    for export in [&full, &first, &second] {
        export.write_to(&dir);
    }
    let whole = fs::read(dir.path().join(first.key(1))).unwrap();
    dir.write(&first.key(1), &whole[..whole.len() - 4]);

    let run = || migrate(&dir, &postgres, "run --create --source moves").run();
    run().exits(1).stderr_has("is damaged at byte").stderr_has("Export 2 of 3").never_says("Export 3 of 3");
    assert_eq!(applied(&dir), [FULL]);
    assert_eq!(postgres.query("select count(*) from completed"), "0");

    dir.write(&first.key(1), &whole);
    run()
        .exits(0)
        .stderr_has(&format!("Export 1 of 2: {FIRST}"))
        .stderr_has("The table stands at 2024-01-15T10:35:00Z");
    assert_eq!(customers(&postgres), CUSTOMERS);
    assert_eq!(applied(&dir), [FULL, FIRST, SECOND]);
    assert_eq!(postgres.query("select count(*) from completed"), "1");
}

#[test]
fn killed_in_an_increment_the_same_command_goes_on_with_it() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    let [full, first, _] = exports();
    let many = (0..20_000).map(|id| change(id % 1000, id, None, &format!("name {id}")));
    first.without_files().file(many).write_to(&dir);
    full.write_to(&dir);
    let line = "run --create --source moves -b 500 --gather 500";

    let mut child = migrate(&dir, &postgres, line).spawn();
    let bookmark = dir.path().join("migrate-customers.bookmark.json");
    // What is waited for comes soon or never, and then the test's own time ends it.
    while !fs::read_to_string(&bookmark).is_ok_and(|text| text.contains(FIRST) && text.contains("\"progress\"")) {
        std::thread::yield_now();
    }
    let holder = Command::new("fuser").arg(&bookmark).output().unwrap();
    for pid in String::from_utf8_lossy(&holder.stdout).split_whitespace() {
        Command::new("kill").args(["-9", pid]).status().unwrap();
    }
    child.wait().unwrap();
    assert_eq!(applied(&dir), [FULL]);

    migrate(&dir, &postgres, line)
        .run()
        .exits(0)
        .stderr_has(&format!("Export 1 of 1: {FIRST}"))
        .stderr_has("Resuming run");
    assert_eq!(postgres.query("select count(*), count(distinct name) from customers"), "20000|20000");
}

#[test]
fn a_hole_is_found_before_anything_is_applied() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    let [full, _, second] = exports();
    full.write_to(&dir);
    second.write_to(&dir);

    let run = migrate(&dir, &postgres, "run --create --source moves").run();

    run.exits(65).stderr_has(&format!("there is a hole of 20m: the export `{FULL}` reaches to 2024-01-15T10:00:00Z"));
    assert_eq!(postgres.query("select count(*) from pg_tables where tablename = 'customers'"), "0");
    assert!(!dir.has("migrate-customers.applied.jsonl"));
}

#[test]
fn a_table_that_is_gone_is_not_made_of_increments() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    let [full, first, _] = exports();
    full.write_to(&dir);
    migrate(&dir, &postgres, "run --create --source moves").run().exits(0);
    first.write_to(&dir);

    let other = Postgres::new();
    let run = migrate(&dir, &other, "run --create --source moves").run();

    run.exits(2).stderr_has("customers");
    assert_eq!(applied(&dir), [FULL]);
}

/// Whoever gives a row's key up, and whoever takes it over within the same period: the later row stays, however many
/// transactions lie between the two records.
#[test]
fn a_key_that_items_hand_on_is_the_last_one_s() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    dir.write(
        "users.toml",
        "table = \"users\"\nkey = [\"mail\"]\nversion = \"written\"\n[columns]\nmail = { type = \"text\", from = \"Mail\" }\n\
         id = { type = \"text\", from = \"PK\" }\nwritten = { type = \"bigint\", from = \"$written\" }\n",
    );
    let user = |id: &str, mail: &str| format!(r#"{{"PK":{{"S":"{id}"}},"Mail":{{"S":"{mail}"}}}}"#);
    let moved = |second: u32, id: &str, old: &str, new: &str| {
        let time = 1_705_312_800_000_000_u64 + u64::from(second) * 1_000_000;
        let (old, new) = (user(id, old), user(id, new));
        format!(
            r#"{{"Metadata":{{"WriteTimestampMicros":{{"N":"{time}"}}}},"Keys":{{"PK":{{"S":"{id}"}}}},"OldImage":{old},"NewImage":{new}}}"#
        )
    };
    // Ann gives her address up and Bob takes it over; then Ann is written once more.
    let export = |id: &str| Export::new("Customers", id).under("moves/");
    let full = export(FULL).with("exportTime", "2024-01-15T10:00:00.000Z");
    full.file([("ann", "a@x"), ("bob", "b@x")].map(|(id, mail)| format!(r#"{{"Item":{}}}"#, user(id, mail))))
        .write_to(&dir);
    let first = export(FIRST).changes("2024-01-15T09:55:00.000Z", "2024-01-15T10:20:00.000Z");
    first.file([moved(10, "bob", "b@x", "a@x"), moved(11, "ann", "a@x", "c@x")]).write_to(&dir);
    // What was written in that period goes in the next one.
    let second = export(SECOND).changes("2024-01-15T10:20:00.000Z", "2024-01-15T10:35:00.000Z");
    second.file([moved(1300, "ann", "c@x", "d@x")]).write_to(&dir);

    bash(&dir, &postgres, "migrate -p ./users.toml run --create -b 1 --source moves").run().exits(0);

    assert_eq!(postgres.query("select mail, id from users order by mail"), "a@x|bob\nd@x|ann");
}
