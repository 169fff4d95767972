//! `migrate-check` as its users meet it: what it finds at a real S3 and a real PostgreSQL, and with which exit code.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use checkpoint::{Bookmark as _, Entry, FileCounts, Identity, Journal};
use harness::export::Export;
use harness::postgres::Postgres;
use harness::s3::S3;
use harness::{Dir, Program, program};
use serde_json::Value;

const ID: &str = "01700000000000-abcdef12";

const PROFILE: &str = r#"
table = "people"
key = ["id"]
version = "changed"
[columns]
id = { type = "bigint" }
name = { type = "text" }
tags = { type = "text[]", merge = "union" }
changed = { type = "timestamptz" }
"#;

const TABLE: &str = "create table people (id bigint primary key, name text, tags text[], changed timestamptz)";

/// A folder with a profile and an export of three items in two files.
fn world() -> (Dir, Export) {
    let dir = Dir::new();
    dir.write("profiles/people.toml", PROFILE);
    let item = |id: u32| format!(r#"{{"Item":{{"id":{{"N":"{id}"}},"name":{{"S":"person {id}"}}}}}}"#);
    let export = Export::new("People", ID).under("exports/").file([item(1), item(2)]).file([item(3)]);
    (dir, export)
}

fn check(dir: &Dir, postgres: &Postgres, args: &[&str]) -> Program {
    program!("migrate-check").in_dir(dir).envs(postgres.envs()).args([args, &["-p", "people"]].concat())
}

/// The findings of a level, as `check: message (hint)`. What is wrong has a hint, always.
fn findings(output: &str, level: &str) -> Vec<String> {
    let lines = output.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let lines = lines.inspect(|line| assert!(line["level"] == "ok" || line["hint"].is_string(), "{line}"));
    let lines = lines.filter(|line| line["level"] == level);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    lines
        .map(|line| format!("{}: {} ({})", text(&line["check"]), text(&line["message"]), text(&line["hint"])))
        .collect()
}

#[test]
fn where_nothing_stands_in_the_way_each_check_says_so() {
    let ((dir, export), postgres, s3) = (world(), Postgres::new(), S3::start());
    export.put_to(&s3);
    postgres.query(TABLE);

    let run = check(&dir, &postgres, &["doctor", "--source", &s3.url("exports/")]).envs(s3.envs()).run();

    run.exits(0)
        .stderr("")
        .stdout_has("ok       profile     `people`: people (4 columns, key id)\n")
        .stdout_has("ok       export      01700000000000-abcdef12 of People: 2 files, 3 items, ")
        .stdout_has("0000001.json.gz`: 100 bytes of records read\n")
        .stdout_has("ok       bookmark    none: the run begins anew\n")
        .stdout_has("ok       table       `people` takes the 4 columns; it is empty, ")
        .stdout_has("A run can begin; 0 warnings\n");
    assert_eq!(s3.gets().iter().filter(|get| get.key.ends_with(".json.gz")).count(), 1, "a data file is read");

    let run = check(&dir, &postgres, &["doctor", "--json", "--source", &s3.url("exports/")]).envs(s3.envs()).run();
    assert_eq!(findings(run.output(), "ok").len(), run.output().lines().count());
}

/// What somebody has done to the database, who connects, and what is said then.
const OBSTACLES: [(&str, &str, &str, i32); 16] = [
    ("drop table people", "postgres", "error table: there is no table `people` (--create makes it)", 2),
    (
        "alter table people drop column name, alter tags type bigint[] using null",
        "postgres",
        "error table: the table `people` has no column `name` (alter table \"public\".\"people\" add column \"name\" text)",
        2,
    ),
    (
        "alter table people alter tags type bigint[] using null",
        "postgres",
        "error table: the column `tags` of `people` is bigint[], the rows have text[] \
         (change the type of `tags` in the profile or in the table)",
        2,
    ),
    (
        "alter table people drop constraint people_pkey",
        "postgres",
        "error table: the table `people` has no primary key or unique index over (\"id\") \
         (alter table \"public\".\"people\" add primary key (\"id\"))",
        2,
    ),
    (
        "grant select, insert on people to loader",
        "loader",
        "error privileges: the role lacks UPDATE for `people` (grant update on \"people\" to the role)",
        2,
    ),
    // Of each column is enough.
    (
        "grant select, insert on people to loader; grant update (id, name, tags) on people to loader",
        "loader",
        "error privileges: the role lacks UPDATE for `people` (grant update on \"people\" to the role)",
        2,
    ),
    (
        "revoke temporary on database \"{database}\" from public; grant all on people to loader",
        "loader",
        "error temporary: loader may not make temporary tables in {database} \
         (grant temporary on database \"{database}\" to \"loader\")",
        2,
    ),
    (
        "alter database \"{database}\" set default_transaction_read_only = on",
        "postgres",
        "error writable: transactions are read-only (alter role \"postgres\" set default_transaction_read_only = off)",
        2,
    ),
    (
        "",
        "nobody",
        "error connection: cannot connect to PostgreSQL as nobody@127.0.0.1:{port}/{database}: password authentication \
         failed for user \"nobody\" (SQLSTATE 28P01) (check PG_USER and PASSWORD, and the server's pg_hba.conf)",
        2,
    ),
    (
        "alter table people set unlogged",
        "postgres",
        "warning table: `people` is unlogged: a crash of the server empties it, which no bookmark knows \
         (alter table people set logged)",
        0,
    ),
    (
        "create table tags (name text primary key); alter table people add foreign key (name) references tags",
        "postgres",
        "warning foreign key: `people` has foreign keys: people_name_fkey (a row that comes before the one it refers to \
         is rejected: drop them, and make them in `on_complete`)",
        0,
    ),
    (
        "create function f() returns trigger language plpgsql as 'begin return new; end';
         create trigger loud before insert on people for each row execute function f()",
        "postgres",
        "warning triggers: `people` has triggers, which run for each row: loud \
         (alter table people disable trigger user, if the load allows it)",
        0,
    ),
    (
        "alter database \"{database}\" set statement_timeout = '30s'",
        "postgres",
        "warning timeouts: statement_timeout is 30s, which a batch may take \
         (alter role \"postgres\" set statement_timeout = 0)",
        0,
    ),
    (
        "alter database \"{database}\" set synchronous_commit = off",
        "postgres",
        "ok durability: synchronous_commit is off, and switched on for the connections of a load ()",
        0,
    ),
    (
        "alter database \"{database}\" connection limit 2",
        "loader",
        "warning connections: 1 more can be opened (a run needs 2, `migrate verify` 2 more; raise max_connections)",
        2,
    ),
    (
        "alter table people enable row level security; grant all on people to loader",
        "loader",
        "warning table: row security applies to `people`: rows that it hides cannot be merged \
         (give the role BYPASSRLS, or switch it off for the load)",
        0,
    ),
];

#[test]
fn each_obstacle_is_named_with_what_to_do() {
    let (dir, export) = world();
    export.write_to(&dir);
    // Roles belong to the server, which the databases share.
    Postgres::new().query("create role loader login password 'secret'");
    for (sql, user, expected, code) in OBSTACLES {
        let postgres = Postgres::new();
        let named = |text: &str| {
            text.replace("{database}", postgres.database()).replace("{port}", &postgres.port().to_string())
        };
        postgres.query(TABLE);
        postgres.query(&named(sql));
        let mut doctor = check(&dir, &postgres, &["doctor", "--json", "--source", "exports"]);
        if user != "postgres" {
            doctor = doctor.env("PG_USER", user).env("PASSWORD", "secret");
        }
        let run = doctor.run();
        let (level, expected) = expected.split_once(' ').unwrap();
        let found = findings(run.output(), level);
        assert!(found.contains(&named(expected)), "{expected}\n{found:#?}");
        run.exits(code).never_says("secret");
    }
}

#[test]
fn privileges_on_each_column_that_is_written_are_enough() {
    let ((dir, export), postgres) = (world(), Postgres::new());
    export.write_to(&dir);
    postgres.query(TABLE);
    postgres.query("alter table people add secret text; create role columnist login password 'secret'");
    let privileges = ["select", "insert", "update"].map(|name| format!("{name} (id, name, tags, changed)")).join(", ");
    postgres.query(&format!("grant {privileges} on people to columnist"));

    let doctor = check(&dir, &postgres, &["doctor", "--source", "exports"]);
    let run = doctor.env("PG_USER", "columnist").env("PASSWORD", "secret").run();

    run.exits(0).stdout_has("ok       privileges  the role may read and write `people`\n");
}

/// As a run would look for it.
#[test]
fn a_table_is_looked_up_along_the_search_path_of_the_connection() {
    let ((dir, export), postgres) = (world(), Postgres::new());
    export.write_to(&dir);
    postgres.query(&format!("create schema tenant; set search_path = tenant; {TABLE}"));
    for (variable, value) in [("DATABASE_URL", "postgres:///?schema=tenant"), ("PGOPTIONS", "-c search_path=tenant")] {
        let doctor = || check(&dir, &postgres, &["doctor", "--source", "exports"]);
        doctor().env(variable, value).run().exits(0).stdout_has("ok       table       `people` takes the 4 columns");
        doctor().run().exits(2);
        let plan = check(&dir, &postgres, &["plan", "--source", "exports", "--json"]).env(variable, value).run();
        plan.exits(0).stdout_has(":\"empty\"");
    }
}

#[test]
fn what_cannot_be_reached_or_is_not_there_comes_with_what_to_do() {
    let ((dir, export), postgres) = (world(), Postgres::new());
    export.write_to(&dir);
    postgres.query(TABLE);
    dir.write("file", "");
    for (variable, value, args, expected) in [
        ("SERVER", "nowhere.invalid", [].as_slice(), "connection: cannot connect to PostgreSQL as "),
        ("PORT", "1", &[], "connection: cannot connect to PostgreSQL as "),
        ("PORT", "x", &[], "connection: `x` is not the number of a port (PORT is a number, as 5432)"),
        ("DATABASE", "nothing", &[], "connection: cannot connect to PostgreSQL as "),
        ("MIGRATE_LOG_DIR", "file", &[], "log folder: cannot create the folder `file`"),
        ("MIGRATE_LOG_DIR", "/proc", &[], "log folder: cannot write into the folder `/proc`"),
        ("X", "", &["--export", "none"], "export: there is no export `none` under "),
    ] {
        let doctor = check(&dir, &postgres, &["doctor", "--json", "--retries", "0", "--source", "exports"]);
        let run = doctor.args(args).env(variable, value).run();
        let found = findings(run.output(), "error");
        assert!(found.iter().any(|found| found.starts_with(expected)), "{variable}: {found:?}");
    }
    dir.write("profiles/people.toml", "table = 7");
    let run = check(&dir, &postgres, &["doctor", "--json", "--source", "exports"]).run();
    assert!(findings(run.exits(2).output(), "error")[0].starts_with("profile: "), "{run:?}");
}

#[test]
fn an_export_that_is_not_whole_or_cannot_be_read_is_an_error() {
    let ((dir, export), postgres, s3) = (world(), Postgres::new(), S3::start());
    postgres.query(TABLE);
    let doctor = |args: &[&str]| check(&dir, &postgres, &[&["doctor", "--json"], args].concat()).envs(s3.envs());
    let source = s3.url("exports/");

    let run = doctor(&["--source", &source]).run();
    assert_eq!(findings(run.exits(2).output(), "error").len(), 1, "nothing is there");

    export.put_to(&s3);
    s3.delete(&export.key(2));
    let run = doctor(&["--source", &source]).run();
    let expected =
        format!("export: the manifest of export `{ID}` names `{}`, which is not there", s3.url(&export.key(2)));
    assert!(findings(run.exits(65).output(), "error")[0].starts_with(&expected));

    export.put_to(&s3);
    s3.put(&export.key(1), "no gzip");
    let run = doctor(&["--source", &source]).run();
    assert!(findings(run.exits(65).output(), "error")[0].contains("it does not begin as gzip does"), "{run:?}");

    let run = doctor(&["--source", &source]).env("AWS_SECRET_ACCESS_KEY", "wrong").run();
    let found = findings(run.exits(2).output(), "error");
    assert!(found[0].contains("s3:ListBucket") && found[0].starts_with("export: S3 refuses "), "{found:?}");

    let run = doctor(&["--source", &source, "--retries", "0"]).env("AWS_ENDPOINT_URL", "http://127.0.0.1:1").run();
    assert!(findings(run.exits(69).output(), "error")[0].starts_with("export: cannot read "), "{run:?}");
}

#[test]
fn a_bookmark_of_something_else_is_an_error_and_ones_own_is_part_of_the_plan() {
    let ((dir, export), postgres) = (world(), Postgres::new());
    export.write_to(&dir);
    postgres.query(TABLE);
    let path = dir.path().join("migrate-people.bookmark.json");
    let source = dir.path().canonicalize().unwrap().join("exports").display().to_string();
    let identity = |export: &str| Identity {
        source: source.clone(),
        export: Some(export.to_owned()),
        profile: "people".to_owned(),
        ..Identity::default()
    };

    Journal::open(&path, &identity("01600000000000-00000000")).unwrap();
    let run = check(&dir, &postgres, &["doctor", "--json", "--source", "exports"]).run();
    let found = findings(run.exits(2).output(), "error");
    assert!(
        found[0].starts_with("bookmark: the bookmark `") && found[0].contains("migrate -p people reset"),
        "{found:?}"
    );

    std::fs::remove_file(&path).unwrap();
    let (mut journal, _) = Journal::open(&path, &identity(ID)).unwrap();
    let key = Path::new(&dir.path().canonicalize().unwrap()).join(export.key(1)).display().to_string();
    journal.append(&[Entry::Done(FileCounts { key, records: 2, written: 2, ..FileCounts::default() })]).unwrap();
    let run = check(&dir, &postgres, &["doctor", "--source", "exports"]).run();
    run.exits(0).stdout_has("ok       bookmark    the run goes on: 1 file, 2 records done\n");

    let run = check(&dir, &postgres, &["plan", "--source", "exports"]).run();
    run.exits(0)
        .stdout_has("A run of the profile `people`\n")
        .stdout_has("the state at 2023-11-14T22:13:20Z; done: 1 file, 2 items\n")
        .stdout_has("table      people: key id, 4 columns, is empty, rows are gathered\n")
        .stdout_has("           newest: name\n")
        .stdout_has("           union: tags\n")
        .stdout_has("batches    50,000 rows, those of 500,000 keys gathered\n")
        .stdout_has("time       about 0ms, at 160,000 items a second as measured with `orders`\n");

    let plan: Value = serde_json::from_str(
        check(&dir, &postgres, &["plan", "--json", "--source", "exports", "-b", "7"]).run().exits(0).output(),
    )
    .unwrap();
    assert_eq!(plan["exports"][0]["items_done"], 2);
    assert_eq!(plan["settings"]["batch_size"], 7);
    assert_eq!(plan["estimate"]["record_bytes"], 50);
}

#[test]
fn a_plan_is_made_of_the_exports_in_order_even_without_the_server() {
    let ((dir, export), postgres) = (world(), Postgres::new());
    export.write_to(&dir);
    let change = r#"{"Metadata":{"WriteTimestampMicros":{"N":"1"}},"Keys":{"id":{"N":"1"}}}"#;
    let increment = Export::new("People", "01700003600000-00000001").under("exports/").without_files();
    increment.changes("2023-11-14T22:13:20Z", "2023-11-14T23:13:20Z").file([change]).write_to(&dir);

    let run = check(&dir, &postgres, &["plan", "--source", "exports", "--create"]).env("PORT", "1").run();

    run.exits(0)
        .stdout_has("export 1   01700000000000-abcdef12 of People: 2 files, 3 items, ")
        .stdout_has("export 2   01700003600000-00000001 of People: 1 file, 1 item, ")
        .stdout_has(", what was written from 2023-11-14T22:13:20Z to 2023-11-14T23:13:20Z\n")
        .stdout_has("           nothing is known of the server: cannot connect to PostgreSQL as ");
    let run = check(&dir, &postgres, &["doctor", "--source", "exports", "--create"]).run();
    run.exits(0).stdout_has("ok       table       `people` is not there; --create makes it in `public`\n");
}

#[test]
fn each_of_several_tables_is_checked() {
    let ((dir, export), postgres) = (world(), Postgres::new());
    export.write_to(&dir);
    let table = |name: &str| {
        format!("[[table]]\nname = \"{name}\"\nkey = [\"id\"]\n[table.columns]\nid = {{ type = \"bigint\" }}\n")
    };
    dir.write("profiles/people.toml", ["one", "two", "three"].map(table).concat());
    postgres.query("create table one (id bigint primary key); create table three (id text primary key)");

    let run = check(&dir, &postgres, &["doctor", "--json", "--source", "exports"]).run();

    let found = findings(run.exits(2).output(), "error");
    assert_eq!(
        found,
        [
            "table: there is no table `two` (--create makes it)",
            "table: the column `id` of `three` is text, the rows have bigint \
             (change the type of `id` in the profile or in the table)",
        ]
    );
    let plan = check(&dir, &postgres, &["plan", "--source", "exports"]).run();
    plan.exits(0)
        .stdout_has("table      one: key id, 1 columns, is empty\n")
        .stdout_has("table      two: key id, 1 columns, is not there (--create makes it)\n");
}

#[test]
fn a_sequence_that_a_load_leaves_behind_is_a_warning_and_one_that_it_advances_is_not() {
    let ((dir, export), postgres) = (world(), Postgres::new());
    export.write_to(&dir);
    postgres.query(TABLE);
    postgres.query(
        "alter table people alter id add generated by default as identity; create role sequence_reader login password 'secret';
         grant select, insert, update on people to sequence_reader",
    );
    let doctor = || check(&dir, &postgres, &["doctor", "--source", "exports"]);
    let advance = "advance_sequences = true in the profile lets the run advance it";
    let has = |level: &str, message: &str, hint: &str| {
        let hint = if hint.is_empty() { String::new() } else { format!("                     hint: {hint}\n") };
        format!("{level:8} sequence    {message}\n{hint}")
    };
    let fills = "\"public\".\"people_id_seq\" fills `people.id`";

    doctor().run().exits(0).stdout_has(&has(
        "warning",
        &format!("{fills}, which the run writes: it will lag behind"),
        advance,
    ));

    postgres.query("insert into people values (7, 'a', null, null)");
    let lags = format!("{fills} and lags behind: its next value is 1, the column has reached 7");
    doctor().run().exits(0).stdout_has(&has("warning", &lags, advance));

    let reader = || doctor().env("PG_USER", "sequence_reader").env("PASSWORD", "secret");
    let grant = "grant select, update on sequence \"public\".\"people_id_seq\" to the role";
    dir.write("profiles/people.toml", format!("advance_sequences = true\n{PROFILE}"));
    reader().run().exits(0).stdout_has(&has("warning", &format!("the role cannot advance {fills}"), grant));
    doctor().run().exits(0).stdout_has(&has("ok", &format!("{fills}; the run advances it"), ""));
}
