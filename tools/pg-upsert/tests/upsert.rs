//! `pg-upsert` as its users meet it: through its command line, the table, the bookmark and the rejects file, with a real
//! server.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod stream;

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command};

use harness::postgres::{PASSWORD, Postgres, Proxy, USER};
use harness::{Dir, Program, program};
use postgres::{Client, NoTls};

use stream::{PROFILE, Stream, row};

/// The program in a folder, connected to a database, over one connection.
fn upsert(dir: &Dir, postgres: &Postgres) -> Program {
    program!("pg-upsert").in_dir(dir).envs(postgres.envs()).args(["--connections", "1"])
}

/// A folder with the profile `t`, and a database with its table.
fn migration() -> (Dir, Postgres) {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    dir.write("profiles/t.toml", PROFILE);
    postgres.query("create table t (id bigint primary key, v text); create table completed (at timestamptz)");
    (dir, postgres)
}

fn rejects(dir: &Dir) -> Vec<serde_json::Value> {
    dir.read("migrate-t.rejects.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

/// Reads messages up to the first one that has this in it.
fn wait_for_message(child: &mut Child, text: &str) -> BufReader<std::process::ChildStderr> {
    let mut messages = BufReader::new(child.stderr.take().unwrap());
    let mut seen = String::new();
    while !seen.contains(text) {
        assert_ne!(messages.read_line(&mut seen).unwrap(), 0, "no `{text}` in\n{seen}");
    }
    messages
}

#[test]
fn any_rows_are_inserted_and_those_that_are_there_replaced() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    postgres.query(
        "create table people (id int primary key, name text, tags text[], extra jsonb, score numeric, at date default '2020-01-02');
         insert into people values (1, 'old', '{a}', null, 1, '1999-01-01')",
    );
    let rows = r#"{"id":1,"name":"a\tb\\c\n","tags":["x","y\"z",null],"extra":{"k":[1.50]},"score":12345678901234567890.123456789012345678}
{"name":"b","id":2}
"#;

    let run = upsert(&dir, &postgres).args(["--table", "public.people", "--key", "id"]).stdin(rows).run();

    run.exits(0).stdout("").stderr_has("2 records = 2 rows written + 0 merged + 0 filtered out + 0 rejected");
    assert_eq!(
        postgres.query("select id, to_json(name), tags, extra, score, at from people order by id"),
        r#"1|"a\tb\\c\n"|{x,"y\"z",NULL}|{"k": [1.50]}|12345678901234567890.123456789012345678|1999-01-01
2|"b"||||2020-01-02"#
    );
}

#[test]
fn a_column_of_the_table_that_the_first_row_lacks_has_to_be_named() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    postgres.query("create table people (id int primary key, name text, age int)");
    let rows = "{\"id\":1}\n{\"id\":2,\"name\":\"b\"}\n";

    let run = upsert(&dir, &postgres).args(["--table", "people"]).stdin(rows).run();
    run.exits(1).stderr_has("`name` is not a column, or not in the first row: name it with --columns");

    let run = upsert(&dir, &postgres).args(["--table", "people", "--columns", "id,name"]).stdin(rows).run();
    run.exits(0);
    assert_eq!(postgres.query("select id, name from people order by id"), "1|\n2|b");
}

#[test]
fn a_server_on_this_machine_is_reached_by_its_socket() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    postgres.query("create table people (id int primary key)");
    let socket = postgres.socket_dir().to_str().unwrap();

    let run = upsert(&dir, &postgres).env("SERVER", socket).args(["--table", "people"]).stdin("{\"id\":1}\n").run();

    run.exits(0);
    assert_eq!(postgres.query("select id from people"), "1");
}

/// As in `psql`, from a variable or from the URL.
#[test]
fn options_of_the_session_decide_which_table_it_is() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    postgres.query(
        "create table people (id int primary key); create schema s; create table s.people (like people including all)",
    );
    let run = upsert(&dir, &postgres).env("PGOPTIONS", "-c search_path=s").args(["--table", "people"]);
    run.stdin("{\"id\":1}\n").run().exits(0);
    let url = "postgres:///?options=-csearch_path%3Ds";
    upsert(&dir, &postgres).env("DATABASE_URL", url).args(["--table", "people"]).stdin("{\"id\":2}\n").run().exits(0);
    assert_eq!(postgres.query("select id from s.people order by id"), "1\n2");
    assert_eq!(postgres.query("select count(*) from people"), "0");
}

/// What is noted as written is written.
#[test]
fn a_commit_is_waited_for_even_where_the_database_does_not_ask_for_it() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    for (set, expected) in [("off", "on"), ("local", "local")] {
        postgres.query(&format!(
            "alter database \"{}\" set synchronous_commit = {set}; drop table if exists people",
            postgres.database()
        ));
        postgres
            .query("create table people (id int primary key, said text default current_setting('synchronous_commit'))");
        upsert(&dir, &postgres).args(["--table", "people", "--columns", "id"]).stdin("{\"id\":1}\n").run().exits(0);
        assert_eq!(postgres.query("select said from people"), expected);
    }
}

/// A pooler hands sessions on, after `discard all`; the buffers of temporary tables stay what they are.
#[test]
fn a_session_that_had_temporary_tables_before_does_as_well() {
    let postgres = Postgres::new();
    let schema =
        r#"{"v":1,"profile":"t","hash":"h","table":"people","key":["id"],"columns":[{"name":"id","type":"bigint"}]}"#;
    postgres.query("create table people (id bigint primary key)");
    let statements =
        pg::statement::Statements::of(&serde_json::from_str(schema).unwrap(), 0, &pg::statement::Dialect::default());
    let settings = format!(
        "host=127.0.0.1 port={} user={USER} password={PASSWORD} dbname={}",
        postgres.port(),
        postgres.database()
    );
    let mut session = Client::connect(&settings, NoTls).unwrap();
    session.batch_execute("create temporary table a (n int); insert into a values (1)").unwrap();
    session.batch_execute("discard all").unwrap();
    assert!(session.batch_execute("set temp_buffers = '64MB'").is_err(), "what the statement below is for");
    session.batch_execute(&format!("begin; {}; rollback", statements.prologue)).unwrap();
}

#[test]
fn what_is_no_table_is_not_taken_for_one() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    dir.write("profiles/t.toml", PROFILE);
    postgres.query("create view t as select 1::bigint as id, ''::text as v");
    let stream = Stream::new().schema().rows(&[row(1, "a", &[])]);
    let run = upsert(&dir, &postgres).args(["--create"]).stdin(stream.text()).run();
    run.exits(2).stderr_has("`t` is a view, not a table");
}

/// Rows are copied into an empty table as they are, until one of them is there already.
#[test]
fn an_empty_table_takes_rows_that_conflict_as_any_other_does() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    postgres.query("create table people (id int primary key, mail text unique)");
    let rows = [(1, "a"), (2, "b"), (3, "c"), (4, "c"), (1, "d"), (5, "e")];
    let rows = rows.map(|(id, mail)| format!("{{\"id\":{id},\"mail\":\"{mail}\"}}\n")).concat();

    for batch in ["1", "2", "100"] {
        postgres.query("truncate people");
        let run = upsert(&dir, &postgres).args(["--table", "people", "-b", batch]).stdin(&rows).run();
        run.exits(1).stderr_has("6 records = ").stderr_has(" + 1 rejected");
        let table = postgres.query("select id, mail from people order by id");
        assert_eq!(table, "1|d\n2|b\n3|c\n5|e", "-b {batch}");
    }
}

#[test]
fn rows_that_say_what_they_are_make_their_table() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    dir.write("profiles/t.toml", PROFILE);
    let rows = Stream::new().schema().rows(&[row(1, "a", &[1]), row(1, "b", &[2]), row(2, "c", &[3])]);

    upsert(&dir, &postgres)
        .stdin(rows.text())
        .run()
        .exits(2)
        .stderr_has("pg-upsert: there is no table `t`\nhint: --create makes it\n");
    let run = upsert(&dir, &postgres).args(["--create"]).stdin(rows.text()).run();

    run.exits(0).stderr_has("Made the table t").stderr_has("Inserted 3 records (batch 1) in ");
    assert_eq!(postgres.query("select * from t order by id"), "1|b\n2|c");
    assert_eq!(postgres.query("select count(*) from made"), "0", "the profile's on_create has run");
}

#[test]
fn one_bad_record_among_500_is_found_and_kept() {
    let (dir, postgres) = migration();
    let rows = (1..=500)
        .map(|id| if id == 77 { r#"{"id":1e99,"v":"x","$records":[77]}"#.to_owned() } else { row(id, "v", &[id]) });
    let stream =
        Stream::new().source(1).schema().begin("a.json.gz", 0).rows(&rows.collect::<Vec<_>>()).end("a.json.gz", 500);

    let run = upsert(&dir, &postgres).args(["-p", "t"]).stdin(stream.text()).run();

    run.exits(1)
        .stderr_has("COMPLETED: 1 files, 500 records = 499 rows written + 0 merged + 0 filtered out + 1 rejected");
    assert_eq!(postgres.query("select count(*) from t"), "499");
    let [reject] = rejects(&dir).try_into().unwrap();
    assert_eq!(
        (reject["key"].as_str(), reject["record"].as_u64(), reject["sqlstate"].as_str(), reject["stage"].as_str()),
        (Some("a.json.gz"), Some(77), Some("22P02"), Some("pg-upsert")),
        "{reject}"
    );
    assert!(
        dir.read("migrate-t.rejects.jsonl").contains(r#""data":{"id":1e99,"v":"x"}"#),
        "the digits stay as they are"
    );
}

#[test]
fn a_row_of_several_records_is_rejected_with_each_of_them() {
    let (dir, postgres) = migration();
    let rows = [row(1, "a", &[1, 2]), row(2, "ok", &[3]), r#"{"id":1,"v":"x\u0000y","$records":[4,5]}"#.to_owned()];
    let stream = Stream::new().source(1).schema().begin("a", 0).rows(&rows).end("a", 5);

    upsert(&dir, &postgres).args(["-p", "t"]).stdin(stream.text()).run().exits(1);

    assert_eq!(postgres.query("select * from t order by id"), "1|a\n2|ok");
    let [reject] = rejects(&dir).try_into().unwrap();
    assert_eq!((reject["records"].to_string(), reject["sqlstate"].as_str()), ("[4,5]".to_owned(), Some("22021")));
}

#[test]
fn what_other_programs_refused_and_lines_that_are_no_rows_are_kept() {
    let (dir, postgres) = migration();
    let stream = Stream::new()
        .source(1)
        .schema()
        .begin("a", 0)
        .line(r#"{"$reject":{"key":"a","record":1,"stage":"ddb-parse","reason":"no `id`","data":{"Item":{}}}}"#)
        .line(r#"{"id":1,"nope":2,"$records":[2]}"#)
        .rows(&[row(1, "x", &[3])])
        .line(r#"{"$file":{"event":"end","key":"a","records":3,"filtered":0,"merged":0,"rows":2,"rejected":1}}"#);

    upsert(&dir, &postgres).args(["-p", "t"]).stdin(stream.text()).run().exits(1).stderr_has("+ 2 rejected");

    let kept: Vec<_> =
        rejects(&dir).iter().map(|line| format!("{} {} {}", line["record"], line["stage"], line["reason"])).collect();
    assert_eq!(kept, [r#"1 "ddb-parse" "no `id`""#, r#"2 "pg-upsert" "`nope` is not a column""#]);
}

#[test]
fn a_file_of_which_a_record_is_missing_is_failed() {
    let (dir, postgres) = migration();
    let stream = Stream::new().source(1).schema().begin("a", 0).rows(&[row(1, "x", &[1])]).end("a", 2);

    let run = upsert(&dir, &postgres).args(["-p", "t"]).stdin(stream.text()).run();

    run.exits(1).stderr_has("ERROR [t] File failed: a: 1 records are missing: 2 records were read, but 1 written");
    let bookmark = dir.read("migrate-t.bookmark.json");
    assert!(bookmark.contains(r#"{"fail":{"key":"a","reason":"1 records are missing"#), "{bookmark}");
    assert_eq!(postgres.query("select count(*) from completed"), "0");

    let run = upsert(&dir, &postgres).args(["-p", "t", "--lossy"]).stdin(stream.text()).run();
    run.exits(0).stderr_has("2 records = 1 rows written + 0 merged + 0 filtered out + 0 rejected + 1 dropped");
}

#[test]
fn a_file_that_failed_before_is_not_done_and_the_others_are() {
    let (dir, postgres) = migration();
    let stream = Stream::new()
        .source(2)
        .schema()
        .begin("a", 0)
        .rows(&[row(1, "x", &[1])])
        .line(r#"{"$file":{"event":"fail","key":"a","reason":"damaged at byte 77"}}"#)
        .begin("b", 0)
        .rows(&[row(2, "y", &[1])])
        .end("b", 1);

    upsert(&dir, &postgres)
        .args(["-p", "t"])
        .stdin(stream.text())
        .run()
        .exits(1)
        .stderr_has("File failed: a: damaged at byte 77");
    let state = checkpoint::read(&dir.path().join("migrate-t.bookmark.json")).unwrap().unwrap();
    assert_eq!((state.done.len(), state.failed.len()), (1, 1));

    let again = Stream::new().source(2).schema().begin("a", 0).rows(&[row(1, "x", &[1])]).end("a", 1);
    upsert(&dir, &postgres)
        .args(["-p", "t"])
        .stdin(again.text())
        .run()
        .exits(0)
        .stderr_has("COMPLETED: 2 files, 2 records");
    assert!(!dir.has("migrate-t.bookmark.json"));
    assert_eq!(postgres.query("select count(*) from completed"), "1");
}

#[test]
fn what_a_profile_wants_on_completion_can_wait_for_another_export() {
    let (dir, postgres) = migration();
    let stream = Stream::new().source(1).schema().begin("a", 0).rows(&[row(1, "x", &[1])]).end("a", 1);

    upsert(&dir, &postgres).args(["-p", "t", "--no-completion"]).stdin(stream.text()).run().exits(0);
    assert_eq!(postgres.query("select count(*) from completed"), "0");
    assert!(!dir.has("migrate-t.bookmark.json"));
    upsert(&dir, &postgres).args(["-p", "t"]).stdin(stream.text()).run().exits(0);
    assert_eq!(postgres.query("select count(*) from completed"), "1");
}

#[test]
fn on_complete_that_cannot_run_twice_says_what_to_do() {
    let (dir, postgres) = migration();
    dir.write("profiles/t.toml", PROFILE.replace("INSERT INTO completed VALUES (now())", "CREATE INDEX i ON t (v)"));
    let stream = Stream::new().source(1).schema().begin("a", 0).rows(&[row(1, "x", &[1])]).end("a", 1);
    // As if a process had been killed behind the commit.
    postgres.query("create index i on t (v)");
    upsert(&dir, &postgres)
        .args(["-p", "t"])
        .stdin(stream.text())
        .run()
        .exits(2)
        .stderr_has("the profile's `on_complete` failed: relation \"i\" already exists")
        .stderr_has("hint: let it run twice: `create index if not exists`");
}

/// A later version may mean something else.
#[test]
fn a_stream_of_a_later_version_is_not_read() {
    let (dir, postgres) = migration();
    let stream = Stream::new().source(1).schema().begin("a", 0).rows(&[row(1, "x", &[1])]).end("a", 1);
    for (what, message) in [
        (r#"{"$source":{"v":"#, "the stream is of version 2, and this program knows version 1"),
        (r#""event":"begin","v":"#, "the stream is of version 2, and this program knows version 1"),
        (r#"{"$schema":{"v":"#, "`$schema` is of version 2, and this program knows 1"),
    ] {
        let newer = stream.text().replace(&format!("{what}1"), &format!("{what}2"));
        assert_ne!(newer, stream.text(), "{what}");
        upsert(&dir, &postgres).args(["-p", "t"]).stdin(newer).run().exits(65).stderr_has(message);
    }
}

#[test]
fn a_stream_that_ends_inside_a_file_goes_on_from_its_last_mark() {
    let (dir, postgres) = migration();
    let cut = Stream::new()
        .source(1)
        .schema()
        .begin("a", 0)
        .rows(&[row(1, "x", &[1]), row(2, "x", &[2])])
        .mark("a", 2)
        .rows(&[row(3, "x", &[3])]);

    let run = upsert(&dir, &postgres).args(["-p", "t"]).stdin(cut.text()).run();
    run.exits(65).stderr_has("pg-upsert: the stream ended inside `a`: a program before this one died\n");
    assert_eq!(postgres.query("select count(*) from t"), "3", "what was read is written all the same");
    let state = checkpoint::read(&dir.path().join("migrate-t.bookmark.json")).unwrap().unwrap();
    assert_eq!(state.skip("a", Some("md5:1")), 2);

    let rest = Stream::new().source(1).schema().begin("a", 2).rows(&[row(3, "x", &[3]), row(4, "x", &[4])]).end("a", 4);
    let run = upsert(&dir, &postgres).args(["-p", "t"]).stdin(rest.text()).run();
    run.exits(0).stderr_has("Resuming run ").stderr_has("COMPLETED: 1 files, 4 records = 4 rows written");
    assert_eq!(postgres.query("select count(*) from t; select count(*) from completed"), "4\n1");
    assert!(!dir.has("migrate-t.bookmark.json"));
}

#[test]
fn a_line_without_its_end_is_not_written() {
    let (dir, postgres) = migration();
    let rows = Stream::new().schema().rows(&[row(1, "x", &[1])]).text() + r#"{"id":2,"v":"y"}"#;

    let run = upsert(&dir, &postgres).stdin(rows).run();

    run.exits(65)
        .stderr_has("the last line has no newline: the program before this one died, 16 bytes are not written");
    assert_eq!(postgres.query("select * from t"), "1|x");
}

#[test]
fn a_source_that_was_asked_to_stop_leaves_a_run_that_goes_on() {
    let (dir, postgres) = migration();
    let cut = Stream::new()
        .source(2)
        .schema()
        .begin("a", 0)
        .rows(&[row(1, "x", &[1])])
        .mark("a", 1)
        .line(r#"{"$stop":{"signal":15}}"#);

    upsert(&dir, &postgres)
        .args(["-p", "t"])
        .stdin(cut.text())
        .run()
        .exits(75)
        .stderr_has("Stopped: 0 of 2 files done");

    let rest = Stream::new().source(2).schema().begin("a", 1).end("a", 1).begin("b", 0).end("b", 0);
    upsert(&dir, &postgres)
        .args(["-p", "t"])
        .stdin(rest.text())
        .run()
        .exits(0)
        .stderr_has("COMPLETED: 2 files, 1 records");
}

#[test]
fn a_list_with_nothing_left_completes_the_run() {
    let (dir, postgres) = migration();
    let stream = Stream::new().source(0);

    upsert(&dir, &postgres).args(["-p", "t"]).stdin(stream.text()).run().exits(0).stderr_has("COMPLETED: 0 files");

    assert_eq!(postgres.query("select count(*) from completed"), "1");
}

#[test]
fn killed_at_any_time_it_goes_on_and_the_table_is_whole() {
    let (dir, postgres) = migration();
    let all = 3000;
    for round in 0..6 {
        // What `ddb-list --pending` would list.
        let state = checkpoint::read(&dir.path().join("migrate-t.bookmark.json")).unwrap();
        let skip = state.map_or(0, |state| state.skip("a", Some("md5:1")));
        let mut stream = Stream::new().source(1).schema().begin("a", skip);
        for id in skip + 1..=all {
            stream = stream.rows(&[row(id, &format!("v{id}"), &[id])]);
            if id % 10 == 0 {
                stream = stream.mark("a", id);
            }
        }
        let last = round == 5;
        let text = if last { stream.end("a", all).text() } else { stream.text() };
        let mut child = upsert(&dir, &postgres).args(["-p", "t", "-b", "50"]).stdin_piped().spawn();
        let mut stdin = child.stdin.take().unwrap();
        let write = std::thread::spawn(move || {
            // The pipe breaks when the program is killed.
            let _ = stdin.write_all(text.as_bytes());
        });
        if last {
            write.join().unwrap();
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        } else {
            let messages = wait_for_message(&mut child, &format!("(batch {})", 2 + round));
            child.kill().unwrap();
            child.wait().unwrap();
            drop(messages);
            write.join().unwrap();
        }
    }
    assert_eq!(
        postgres.query("select count(*), sum(id), count(*) filter (where v = 'v' || id) from t"),
        "3000|4501500|3000"
    );
    assert_eq!(postgres.query("select count(*) from completed"), "1");
}

#[test]
fn connections_that_end_are_opened_again() {
    let (dir, postgres) = migration();
    let mut child = upsert(&dir, &postgres).args(["-b", "1", "--connections", "2"]).stdin_piped().spawn();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(Stream::new().schema().rows(&[row(1, "x", &[1]), row(2, "x", &[2])]).text().as_bytes()).unwrap();
    postgres.wait_for("select count(*) from t", "2");

    assert!(postgres.terminate_connections() > 0);
    stdin.write_all(Stream::new().rows(&[row(3, "x", &[3]), row(4, "x", &[4])]).text().as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();

    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(postgres.query("select count(*) from t"), "4");
}

#[test]
fn an_outage_is_waited_for_and_costs_no_record() {
    let (dir, postgres) = migration();
    let proxy = Proxy::to(&postgres);
    let mut child = upsert(&dir, &postgres).envs(postgres.envs_by(&proxy)).args(["-b", "1"]).stdin_piped().spawn();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(Stream::new().schema().rows(&[row(1, "x", &[1])]).text().as_bytes()).unwrap();
    postgres.wait_for("select count(*) from t", "1");

    proxy.cut();
    stdin.write_all(Stream::new().rows(&[row(2, "x", &[2])]).text().as_bytes()).unwrap();
    drop(stdin);
    let messages = wait_for_message(&mut child, "trying again in ");
    proxy.mend();

    assert_eq!(child.wait().unwrap().code(), Some(0));
    drop(messages);
    assert_eq!(postgres.query("select count(*) from t"), "2");
}

#[test]
fn a_server_that_stays_away_ends_the_run_as_unavailable() {
    let (dir, postgres) = migration();
    let proxy = Proxy::to(&postgres);
    proxy.cut();

    let run = upsert(&dir, &postgres).envs(postgres.envs_by(&proxy)).args(["--retry-for", "1"]).stdin("").run();

    run.exits(69)
        .stderr_has("trying again in ")
        .stderr_has("pg-upsert: cannot connect to PostgreSQL as ")
        .never_says(PASSWORD);
}

#[test]
fn what_a_person_has_to_mend_is_one_sentence() {
    let (dir, postgres) = migration();
    postgres.query(
        "create table few (id bigint primary key); create table other (id text primary key, v text);
         create table keyless (id bigint, v text); create table more (id bigint primary key, v text, w int not null)",
    );
    let stream = Stream::new().schema().rows(&[row(1, "x", &[1])]).text();
    for (args, expected) in [
        (&["--table", "nowhere"][..], "there is no table `nowhere`"),
        (&["--table", "few"], "the table `few` has no column `v`"),
        (&["--table", "other"], "the column `id` of `other` is text, the rows have bigint"),
        (&["--table", "more"], "the column `w` of `more` may not be null and the rows do not have it"),
        (&["--table", "keyless"], "the table `keyless` has no primary key"),
        (
            &["--table", "keyless", "--key", "id"],
            "the table `keyless` has no primary key or unique index over (\"id\")",
        ),
    ] {
        let run = upsert(&dir, &postgres).args(args).stdin(&stream).run();
        run.exits(2).stderr_has(&format!("pg-upsert: {expected}\n")).never_says(PASSWORD);
    }
    let run = upsert(&dir, &postgres).env("PASSWORD", "wrong-secret").stdin(&stream).run();
    run.exits(2)
        .stderr_has("password authentication failed for user \"postgres\" (SQLSTATE 28P01)")
        .never_says("wrong-secret");
    upsert(&dir, &postgres)
        .stdin("{\"id\":1}\n")
        .run()
        .exits(2)
        .stderr_has("hint: name it: --table TABLE --key COLUMN");
    upsert(&dir, &postgres)
        .args(["-p", "t"])
        .stdin(&stream)
        .run()
        .exits(65)
        .stderr_has("does not begin with `$source`");
    upsert(&dir, &postgres)
        .env("DB_SSL", "true")
        .stdin(&stream)
        .run()
        .exits(2)
        .stderr_has("server does not support TLS");
    assert_eq!(postgres.query("select count(*) from t"), "0");
}

#[test]
fn a_dry_run_leaves_everything_as_it_was() {
    let (dir, postgres) = migration();
    let stream =
        Stream::new().source(1).schema().begin("a", 0).rows(&[row(1, "x", &[1]), row(2, "\\u0000", &[2])]).end("a", 2);

    let run = upsert(&dir, &postgres).args(["-p", "t", "--dry-run"]).stdin(stream.text()).run();

    run.exits(1).stderr_has("Dry run, nothing is written").stderr_has("1 rejected");
    assert_eq!(postgres.query("select count(*) from t; select count(*) from completed"), "0\n0");
    assert!(!dir.has("migrate-t.bookmark.json") && !dir.has("migrate-t.rejects.jsonl"));

    postgres.query("drop table t");
    upsert(&dir, &postgres)
        .args(["--create", "--dry-run"])
        .stdin(Stream::new().schema().rows(&[row(1, "x", &[1])]).text())
        .run()
        .exits(0);
    assert_eq!(postgres.query("select to_regclass('t') is null, to_regclass('made') is null"), "t|t");
}

#[test]
fn data_cannot_pass_for_a_marker() {
    let (dir, postgres) = migration();
    let forged = r#"{"id":2,"$file":{"event":"fail","key":"a","reason":"forged"},"v":"y","$records":[2]}"#;
    let text = r#"{"id":3,"v":"{\"$file\":{\"event\":\"end\",\"key\":\"a\"}}","$records":[3]}"#;
    let stream =
        Stream::new().source(1).schema().begin("a", 0).rows(&[row(1, "x", &[1])]).line(forged).line(text).end("a", 3);

    upsert(&dir, &postgres)
        .args(["-p", "t"])
        .stdin(stream.text())
        .run()
        .exits(0)
        .stderr_has("3 records = 3 rows written");

    // Numbers in front are a row's own, whatever the rest of the stream has.
    let front = Stream::new().schema().line(r#"{"$records":[9],"id":9,"v":"z"}"#);
    upsert(&dir, &postgres).stdin(front.text()).run().exits(0);
    assert_eq!(postgres.query("select id from t order by id"), "1\n2\n3\n9");
}

#[test]
fn the_first_signal_drains_and_the_second_ends_at_once() {
    let (dir, postgres) = migration();
    for signals in [1, 2] {
        let mut child = upsert(&dir, &postgres).args(["-b", "1"]).stdin_piped().spawn();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(Stream::new().schema().rows(&[row(0, "first", &[])]).text().as_bytes()).unwrap();
        // Whoever writes rows listens for signals.
        postgres.wait_for("select count(*) from t where id = 0", "1");
        signal(&child, "-TERM");
        if signals == 2 {
            // Two that are pending at once are one: more may be needed.
            let status = loop {
                if let Some(status) = child.try_wait().unwrap() {
                    break status;
                }
                signal(&child, "-TERM");
            };
            assert_eq!(status.signal(), Some(15));
            continue;
        }
        stdin.write_all(Stream::new().rows(&[row(1, "drained", &[1])]).text().as_bytes()).unwrap();
        drop(stdin);
        assert_eq!(child.wait().unwrap().code(), Some(75));
        assert_eq!(postgres.query("select v from t where id = 1"), "drained");
        postgres.query("truncate t");
    }
}

#[test]
fn rejects_of_a_run_that_goes_on_are_not_doubled() {
    let (dir, postgres) = migration();
    let bad = |record: u64| row(record, "\\u0000", &[record]);
    let cut = Stream::new().source(1).schema().begin("a", 0).rows(&[bad(1)]).mark("a", 1).rows(&[bad(2)]);
    upsert(&dir, &postgres).args(["-p", "t"]).stdin(cut.text()).run().exits(65);
    assert_eq!(rejects(&dir).len(), 2);

    let rest = Stream::new().source(1).schema().begin("a", 1).rows(&[bad(2), row(3, "x", &[3])]).end("a", 3);
    upsert(&dir, &postgres)
        .args(["-p", "t"])
        .stdin(rest.text())
        .run()
        .exits(1)
        .stderr_has("3 records = 1 rows written + 0 merged + 0 filtered out + 2 rejected");

    let records: Vec<_> = rejects(&dir).iter().map(|line| line["record"].as_u64()).collect();
    assert_eq!(records, [Some(1), Some(2)]);
}

#[test]
fn rejects_of_another_run_are_put_aside() {
    let (dir, postgres) = migration();
    let bad = Stream::new().source(1).schema().begin("a", 0).rows(&[row(1, "\\u0000", &[1])]).end("a", 1);
    upsert(&dir, &postgres).args(["-p", "t"]).stdin(bad.text()).run().exits(1);
    let run = rejects(&dir)[0]["run"].as_str().unwrap().to_owned();

    let good = Stream::new().source(1).schema().begin("a", 0).rows(&[row(1, "x", &[1])]).end("a", 1);
    upsert(&dir, &postgres)
        .args(["-p", "t"])
        .stdin(good.text())
        .run()
        .exits(0)
        .stderr_has("Rejects of an earlier run are in ");

    assert!(!dir.has("migrate-t.rejects.jsonl"));
    assert!(dir.has(&format!("migrate-t.rejects.{run}.jsonl")));
}

#[test]
fn one_bookmark_serves_one_run_of_one_source() {
    let (dir, postgres) = migration();
    let cut = Stream::new()
        .source(2)
        .schema()
        .begin("a", 0)
        .rows(&[row(1, "x", &[1])])
        .end("a", 1)
        .line(r#"{"$stop":{"signal":2}}"#);
    upsert(&dir, &postgres).args(["-p", "t"]).stdin(cut.text()).run().exits(75);

    let other = cut.text().replace("s3://bucket/a/", "s3://bucket/b/");
    upsert(&dir, &postgres)
        .args(["-p", "t"])
        .stdin(other)
        .run()
        .exits(2)
        .stderr_has("belongs to source `s3://bucket/a/`, this run to source `s3://bucket/b/`");

    let path = dir.path().join("migrate-t.bookmark.json");
    let identity = checkpoint::read(&path).unwrap().unwrap().header.identity();
    let _held = checkpoint::Journal::open(&path, &identity).unwrap();
    upsert(&dir, &postgres)
        .args(["-p", "t"])
        .stdin(cut.text())
        .run()
        .exits(2)
        .stderr_has("is in use by another process");
}

#[test]
fn keys_that_only_postgresql_takes_for_equal_are_written_one_after_the_other() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    postgres.query("create table e (id numeric(9,1) primary key, v text)");
    let rows = "{\"id\":1.01,\"v\":\"a\"}\n{\"id\":1.02,\"v\":\"b\"}\n";

    upsert(&dir, &postgres).args(["--table", "e", "--connections", "4"]).stdin(rows).run().exits(0);

    assert_eq!(postgres.query("select id, v from e"), "1.0|b");
}

/// Where `v` is too long for the table only that record is refused, and how many are sent together does not show.
#[test]
fn no_record_is_refused_for_another_one_of_its_row() {
    let rows =
        [(1, "a"), (3, "too long"), (1, "too long"), (3, "c"), (2, "b"), (2, "too long"), (2, "d"), (2, "too long")];
    let rows: Vec<_> = (1..).zip(rows).map(|(record, (id, v))| row(id, v, &[record])).collect();
    let stream = Stream::new().source(1).schema().begin("a", 0).rows(&rows).end("a", 8).text();
    for (batch, expected) in [("50000", vec!["[3]", "[6]", "[8]"]), ("1", vec!["[2]", "[3]", "[6]", "[8]"])] {
        let (dir, postgres) = migration();
        postgres.query("alter table t alter v type varchar(3)");

        let run = upsert(&dir, &postgres).args(["-p", "t", "-b", batch]).stdin(stream.as_str()).run();

        // What a later record replaces before it is sent is merged, whatever it is.
        let merged = 4 - expected.len();
        run.exits(1).stderr_has(&format!(
            "8 records = 4 rows written + {merged} merged + 0 filtered out + {} rejected",
            expected.len()
        ));
        assert_eq!(postgres.query("select id, v from t order by id"), "1|a\n2|d\n3|c", "batches of {batch}");
        let mut refused: Vec<_> = rejects(&dir).iter().map(|line| line["records"].to_string()).collect();
        refused.sort();
        assert_eq!(refused, expected, "batches of {batch}");
        assert!(rejects(&dir).iter().all(|line| line["data"]["v"] == "too long"));
    }
}

/// Gathered rows, here on disk too, are no different.
#[test]
fn no_record_is_refused_for_another_one_that_was_gathered_with_it() {
    let schema = r#"{"$schema":{"v":1,"profile":"t","hash":"h","options":{},"schema":null,"table":"t","key":["id"],"columns":[{"name":"id","type":"bigint"},{"name":"v","type":"jsonb","merge":"jsonb_merge"}],"groups":[]}}"#;
    // Each row has a part of its own of a value; record 2 of key 1 and the last one of key 2 have too large a number, and
    // the padding makes them too many for memory.
    let padding = "x".repeat(5000);
    let row = |record: u64| {
        let number = if record == 3 || record == 6000 { 1000 } else { 1 };
        let id = record % 2;
        format!(r#"{{"id":{id},"v":{{"n{record}":{number},"p":"{padding}"}},"$records":[{record}]}}"#)
    };
    let rows: Vec<_> = (1..=6000).map(row).collect();
    let stream = Stream::new().source(1).line(schema).begin("a", 0).rows(&rows).end("a", 6000).text();
    let (dir, postgres) = migration();
    postgres.query("alter table t alter v type jsonb using null, add check (not v @? '$.* ? (@ == 1000)')");

    let run = upsert(&dir, &postgres).args(["-p", "t"]).stdin(stream).run();

    run.exits(1).stderr_has("+ 2 rejected");
    let parts = "select id, count(*) from t, jsonb_object_keys(v) k where k <> 'p' group by id order by id";
    assert_eq!(postgres.query(parts), "0|2999\n1|2999");
    let mut refused: Vec<_> = rejects(&dir).iter().map(|line| line["records"].to_string()).collect();
    refused.sort();
    assert_eq!(refused, ["[3]", "[6000]"]);
}

/// Of some types the program knows which keys are one, of others PostgreSQL alone; and one row is refused.
#[test]
fn however_a_key_is_spelled_its_rows_are_taken_in_their_order() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    for (ty, one, other) in [
        ("timestamptz", r#""2024-01-01T01:00:00+01:00""#, r#""2024-01-01T00:00:00Z""#),
        ("timestamptz(0)", r#""2024-01-01T00:00:00.4Z""#, r#""2024-01-01T00:00:00Z""#),
        ("date", r#""2024-01-01""#, r#""January 1, 2024""#),
        ("interval", r#""1 day""#, r#""24:00:00""#),
        ("double precision", "1.0", "1"),
        ("bytea", r#""\\xab""#, r#""\\xAB""#),
        ("bytea", r#""\\x61""#, "\"a\""),
        ("char(5)", r#""ab ""#, r#""ab""#),
        ("varchar(3)", r#""abc ""#, r#""abc""#),
        ("bigint", "\" 7\"", "7"),
        ("numeric", "1.5", r#""1.5 ""#),
        ("numeric", r#""nan""#, r#""NaN""#),
        ("numeric(5,1)", "1.04", "1.0"),
        ("boolean", "true", r#""yes""#),
        ("uuid", r#""a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11""#, r#""{A0EEBC999C0B4EF8BB6D6BB9BD380A11}""#),
        ("jsonb", r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#),
        ("integer[]", "[1,2]", "[1, 2]"),
    ] {
        let without_length = ty.split('(').next().unwrap();
        for (policy, expected) in [("replace", "3"), ("keep", "1")] {
            for keys in [[one, other, one], [other, one, other]] {
                postgres.query(&format!(
                    "drop table if exists e; create table e (id {ty} primary key, v integer check (v < 9))"
                ));
                let schema = format!(
                    r#"{{"$schema":{{"v":1,"profile":"e","hash":"h","table":"e","key":["id"],"columns":[{{"name":"id","type":"{without_length}"}},{{"name":"v","type":"integer","merge":"{policy}"}}]}}}}"#
                );
                let row = |(id, v): (&str, usize)| format!("{{\"id\":{id},\"v\":{v}}}\n");
                let rows: String = keys.into_iter().zip([1, 2, 3]).map(row).collect();
                // What is kept is not looked at again, whatever comes.
                let refused = row((if policy == "keep" { "null" } else { one }, 10));

                let run = upsert(&dir, &postgres).stdin(format!("{schema}\n{rows}{refused}")).run();

                run.exits(1).stderr_has(" + 1 rejected");
                assert_eq!(postgres.query("select v from e"), expected, "{ty} {policy} {keys:?}");
            }
        }
    }
}

/// Rows of a table that merges are gathered by their keys, as long as it is known which these are.
#[test]
fn where_a_key_is_not_certain_nothing_is_gathered_any_longer() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    postgres.query("create table e (id numeric primary key, v integer, m jsonb)");
    let schema = r#"{"$schema":{"v":1,"profile":"e","hash":"h","table":"e","key":["id"],"columns":[{"name":"id","type":"numeric"},{"name":"v","type":"integer","merge":"replace"},{"name":"m","type":"jsonb","merge":"jsonb_merge"}]}}"#;
    for keys in [["1", "\"nan\"", "\"NaN\"", "\"nan\""], ["1", "\"NaN\"", "\"nan\"", "\"NaN\""]] {
        postgres.query("truncate e");
        let row = |(v, id)| format!("{{\"id\":{id},\"v\":{v},\"m\":{{\"{v}\":1}}}}\n");
        let rows: String = (0..).zip(keys).map(row).collect();

        let run = upsert(&dir, &postgres).stdin(format!("{schema}\n{rows}")).run();

        run.exits(0).stderr_has("4 records = 2 rows written + 2 merged");
        assert_eq!(
            postgres.query("select id, v, m from e order by id"),
            "1|0|{\"0\": 1}\nNaN|3|{\"1\": 1, \"2\": 1, \"3\": 1}",
            "{keys:?}"
        );
    }
}

#[test]
fn keys_that_are_two_in_the_table_alone_are_two() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    postgres.query("create table e (id double precision primary key)");
    let schema = r#"{"$schema":{"v":1,"profile":"e","hash":"h","table":"e","key":["id"],"columns":[{"name":"id","type":"real"}]}}"#;
    // As `real` they are one.
    let rows = "{\"id\":0.1}\n{\"id\":0.10000000149011612}\n";

    upsert(&dir, &postgres).stdin(format!("{schema}\n{rows}")).run().exits(0);

    assert_eq!(postgres.query("select id from e order by id"), "0.1\n0.10000000149011612");
}

#[test]
fn nothing_of_a_rejected_record_is_in_the_table() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    postgres.query("create table e (id timestamptz primary key, w integer, v varchar(3))");
    let schema = r#"{"$schema":{"v":1,"profile":"e","hash":"h","table":"e","key":["id"],"columns":[{"name":"id","type":"timestamptz"},{"name":"w","type":"integer","merge":"coalesce"},{"name":"v","type":"text","merge":"replace"}]}}"#;
    let rows = r#"{"id":"2024-01-01T00:00:00Z","w":null,"v":"c"}
{"id":"2024-01-01T00:00:00Z","w":5,"v":"toolong"}
{"id":"2024-01-02T00:00:00Z","w":null,"v":"c\u0000"}
"#;

    let run = upsert(&dir, &postgres).stdin(format!("{schema}\n{rows}")).run();

    run.exits(1).stderr_has("3 records = 1 rows written + 0 merged + 0 filtered out + 2 rejected");
    assert_eq!(postgres.query("select w, v from e"), "|c");
}

#[test]
fn a_table_that_compares_values_otherwise_than_the_stream_is_refused() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    postgres.query(
        "create type mood as enum ('low', 'high');
         create table t (id bigint primary key, v text, at timestamptz(3), mood mood, number real, tags numeric(9,1)[])",
    );
    let newest = r#""merge":{"newest":{"by":"at"}}"#;
    for (columns, message) in [
        (
            format!(r#"{{"name":"v","type":"text",{newest}}},{{"name":"at","type":"timestamptz","merge":"greatest"}}"#),
            "the column `at` of `t` cannot be merged: the type timestamp(3) with time zone rounds or cuts its values",
        ),
        (
            format!(r#"{{"name":"v","type":"text",{newest}}},{{"name":"at","type":"timestamptz"}}"#),
            "the column `v` is merged by the version `at`, which has to be a column of the rows that is merged as the greatest",
        ),
        (
            r#"{"name":"mood","type":"text","merge":"least"}"#.to_owned(),
            "the column `mood` of `t` cannot be merged: values of the type mood",
        ),
        (
            r#"{"name":"tags","type":"numeric[]","merge":"union"}"#.to_owned(),
            "the column `tags` of `t` cannot be merged: the type numeric(9,1)",
        ),
        (
            r#"{"name":"v","type":"text","merge":"union"}"#.to_owned(),
            "the column `v` of `t` cannot be merged: `union` merges arrays",
        ),
    ] {
        let schema = format!(
            r#"{{"$schema":{{"v":1,"profile":"t","hash":"h","table":"t","key":["id"],"columns":[{{"name":"id","type":"bigint"}},{columns}]}}}}"#
        );
        let run = upsert(&dir, &postgres).stdin(schema + "\n{\"id\":1}\n").run();
        run.exits(2).stderr_has(message);
    }
    // Where the lesser stays the lesser, the table may round.
    let columns =
        r#"{"name":"at","type":"timestamptz","merge":"least"},{"name":"number","type":"smallint","merge":"least"}"#;
    let schema = format!(
        r#"{{"$schema":{{"v":1,"profile":"t","hash":"h","table":"t","key":["id"],"columns":[{{"name":"id","type":"bigint"}},{columns}]}}}}"#
    );
    upsert(&dir, &postgres).stdin(schema + "\n{\"id\":1,\"number\":7}\n").run().exits(0);
}

#[test]
fn an_older_row_is_not_written_where_only_the_version_counts() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    postgres.query(
        "create table t (id bigint primary key, v text, version int, seen int);
         insert into t values (1, 'x', 7, 1), (2, 'x', null, 1), (3, 'x', 7, 1), (4, 'x', 7, 1)",
    );
    let rows = r#"{"id":1,"v":"y","version":6,"seen":2}
{"id":2,"v":"y","version":null,"seen":2}
{"id":3,"v":"y","version":null,"seen":2}
{"id":4,"v":"y","version":7,"seen":2}
"#;
    let schema = |seen: &str| {
        format!(
            r#"{{"$schema":{{"v":1,"profile":"t","hash":"h","table":"t","key":["id"],"columns":[{{"name":"id","type":"bigint"}},
            {{"name":"v","type":"text","merge":{{"newest":{{"by":"version"}}}}}},
            {{"name":"version","type":"integer","merge":"greatest"}},{{"name":"seen","type":"integer","merge":"{seen}"}}]}}}}"#
        )
        .replace('\n', "")
            + "\n"
    };
    let places = "select string_agg(ctid::text, ' ' order by id) from t where id in (1, 3)";
    let before = postgres.query(places);

    upsert(&dir, &postgres).stdin(schema("keep") + rows).run().exits(0).stderr_has("2 rows written + 2 merged");
    assert_eq!(postgres.query("select id, v, version, seen from t order by id"), "1|x|7|1\n2|y||1\n3|x|7|1\n4|y|7|1");
    assert_eq!(postgres.query(places), before);

    // Another column has a say of its own.
    upsert(&dir, &postgres).stdin(schema("greatest") + rows).run().exits(0);
    assert_eq!(postgres.query("select id, v, version, seen from t order by id"), "1|x|7|2\n2|y||2\n3|x|7|2\n4|y|7|2");
}

/// Texts are compared by their bytes wherever a version is, whatever the table's collation is: `B` is less than `a`.
#[test]
fn a_deletion_leaves_a_newer_row_alone() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    postgres.query(
        "create table t (id bigint primary key, v text collate \"en-x-icu\"); insert into t values (1, 'a'), (2, 'B'), (3, null)",
    );
    let schema = r#"{"$schema":{"v":1,"profile":"t","hash":"h","table":"t","key":["id"],"version":"v","columns":[{"name":"id","type":"bigint"},{"name":"v","type":"text","merge":"greatest"}]}}"#;
    let gone = [(1, "B"), (2, "a"), (3, "")].map(|(id, v)| format!(r#"{{"$delete":{{"id":{id},"v":"{v}"}}}}"#));
    upsert(&dir, &postgres).stdin(format!("{schema}\n{}\n", gone.join("\n"))).run().exits(0);
    assert_eq!(postgres.query("select id from t"), "1");
}

#[test]
fn a_row_with_a_value_that_cannot_be_compared_is_rejected_alone() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    postgres.query("create table t (id bigint primary key, at timestamptz)");
    let stream = r#"{"$schema":{"v":1,"profile":"t","hash":"h","table":"t","key":["id"],"columns":[{"name":"id","type":"bigint"},{"name":"at","type":"timestamptz","merge":"greatest"}]}}
{"id":1,"at":"2024-01-31T10:00:00+02"}
{"id":1,"at":"2024-01-31T09:00:00"}
{"id":1,"at":"2024-01-31T08:30:00Z"}
"#;

    upsert(&dir, &postgres)
        .stdin(stream)
        .run()
        .exits(1)
        .stderr_has("1 rows written + 1 merged + 0 filtered out + 1 rejected");

    assert_eq!(postgres.query("select at at time zone 'UTC' from t"), "2024-01-31 08:30:00");
    let reason = &rejects(&dir)[0]["reason"];
    assert_eq!(
        reason,
        "column `at` is `2024-01-31T09:00:00`, which is no time with its offset such as 2024-01-31T23:59:59.5+01:00, and cannot be compared"
    );
}

/// `$reject` lines of a program before this one, for records with these numbers.
fn rejected(records: impl Iterator<Item = u64>) -> String {
    let line = |n| {
        format!(
            "{{\"$reject\":{{\"key\":\"a\",\"record\":{n},\"stage\":\"ddb-parse\",\"reason\":\"`Id` is missing\",\"data\":{{\"n\":{n}}}}}}}\n"
        )
    };
    records.map(line).collect()
}

const NO_LIMIT: [&str; 2] = ["--max-rejects", "100%"];

#[test]
fn a_run_whose_first_hundred_records_are_rejects_stops_before_its_input_ends() {
    let (dir, postgres) = migration();
    let mut child = upsert(&dir, &postgres).args(["-p", "t", "--max-rejects", "1000"]).stdin_piped().spawn();
    let mut stdin = child.stdin.take().unwrap();
    let begin = Stream::new().source(1).schema().begin("a", 0).text();

    // Nothing more comes, and the input stays open.
    stdin.write_all((begin + &rejected(1..=100)).as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();

    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(65), "{said}");
    let last: Vec<_> = said.lines().rev().take(2).collect();
    assert_eq!(
        last[1],
        "pg-upsert: too many rejects: 100 of 100 records; most often, 100 times: `Id` is missing; \
         they are in ./migrate-t.rejects.jsonl"
    );
    assert!(last[0].starts_with("hint: mend the profile, then `migrate reset` and run again; or raise --max-rejects"));
    assert_eq!(rejects(&dir).len(), 100);
    drop(stdin);
}

#[test]
fn records_that_are_filtered_out_are_records_and_no_rejects() {
    let (dir, postgres) = migration();
    let begin = Stream::new().source(1).schema().begin("a", 0).text();
    // Every other record was left out without a word.
    let end = Stream::new()
        .line(r#"{"$file":{"event":"end","key":"a","records":200,"filtered":100,"merged":0,"rows":0,"rejected":100}}"#);
    let input = begin + &rejected((1..=100).map(|n| 2 * n)) + &end.text();

    let run = upsert(&dir, &postgres).args(["-p", "t"]).stdin(input).run();

    run.exits(1).stderr_has("200 records = 0 rows written + 0 merged + 100 filtered out + 100 rejected");
}

#[test]
fn more_than_the_percentage_stop_the_run_and_what_was_written_stays() {
    let (dir, postgres) = migration();
    let rows: Vec<_> = (1..=50).map(|id| row(id, "v", &[id])).collect();
    let stream = Stream::new().source(1).schema().begin("a", 0).rows(&rows).text();

    // Of the first 10,000 records 100 may be rejects.
    let whole = Stream::new()
        .line(r#"{"$file":{"event":"end","key":"a","records":150,"filtered":0,"merged":0,"rows":50,"rejected":100}}"#);
    let input = stream.clone() + &rejected(51..=150) + &whole.text();
    upsert(&dir, &postgres).args(["-p", "t"]).stdin(input).run().exits(1);

    let input = stream.clone() + &rejected(51..=151);
    let run = upsert(&dir, &postgres).args(["-p", "t"]).stdin(input).run();
    run.exits(65).stderr_has("pg-upsert: too many rejects: 101 of 151 records; most often, 101 times: `Id` is missing");
    assert_eq!(postgres.query("select count(*) from t"), "50");
    assert_eq!(rejects(&dir).len(), 101);

    let input = stream + &rejected(51..=151);
    let run = upsert(&dir, &postgres).args(["-p", "t"]).args(NO_LIMIT).stdin(input).run();
    run.exits(65).stderr_has("the stream ended inside `a`");
}

#[test]
fn rejects_of_earlier_processes_of_the_run_count() {
    let (dir, postgres) = migration();
    let begin = |skip| Stream::new().source(1).schema().begin("a", skip);
    let mark = |records| {
        Stream::new()
            .line(&format!(r#"{{"$file":{{"event":"mark","key":"a","records":{records},"filtered":0,"rejected":2}}}}"#))
    };
    let args = ["-p", "t", "--max-rejects", "3"];
    let input = begin(0).rows(&[row(1, "v", &[1])]).text() + &rejected(2..=3) + &mark(3).text();
    upsert(&dir, &postgres).args(args).stdin(input).run().exits(65).stderr_has("the stream ended inside `a`");

    let input = begin(3).text() + &rejected(4..=5) + &mark(5).text();
    let run = upsert(&dir, &postgres).args(args).stdin(input).run();

    run.exits(65).stderr_has("pg-upsert: too many rejects: 4 of 5 records");
}

/// A constraint that no row holds: the batch is not written to its end, nothing of it is noted, and nothing is lost.
#[test]
fn a_batch_that_postgresql_refuses_as_a_whole_is_not_tried_to_its_end() {
    let (dir, postgres) = migration();
    postgres.query("alter table t add constraint never check (v = 'w')");
    let rows: Vec<_> = (1..=400).map(|id| row(id, "v", &[id])).collect();
    let stream = Stream::new().source(1).schema().begin("a", 0).rows(&rows).mark("a", 400).end("a", 400).text();

    let run = upsert(&dir, &postgres).args(["-p", "t"]).stdin(&stream).run();

    run.exits(65)
        .stderr_has(
            "pg-upsert: too many rejects: 100 of 400 records; most often, 100 times: new row for relation \"t\"",
        )
        .stderr_has("check constraint \"never\"");
    assert_eq!(rejects(&dir).len(), 100);

    postgres.query("alter table t drop constraint never");
    upsert(&dir, &postgres).args(["-p", "t"]).stdin(&stream).run().exits(0);
    assert_eq!(postgres.query("select count(*) from t"), "400");
    assert_eq!(rejects(&dir).len(), 0, "they were met again, and are in the table");
}

#[test]
fn plain_rows_may_begin_with_a_key_of_any_name() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    postgres.query("create table people (id int primary key, name text, extra jsonb)");
    let rows = r#"{"$id":"1","id":1,"name":"Json.NET","extra":{}}
{"$schema":"https://json-schema.org/draft/2020-12/schema","id":2,"name":"JSON Schema"}
{"$ref":"/definitions/x","id":3,"name":"MongoDB"}
{"$file":"a.txt","id":4,"name":"a name of ours"}
{ "\u0024type":"x","id":5,"name":"escaped"}
"#;

    let run = upsert(&dir, &postgres).args(["--table", "people"]).stdin(rows).run();

    run.exits(0)
        .stderr_has("5 records = 5 rows written")
        .stderr_has("`$id` is not a column of the table and is ignored");
    assert_eq!(
        postgres.query("select id, name from people order by id"),
        "1|Json.NET\n2|JSON Schema\n3|MongoDB\n4|a name of ours\n5|escaped"
    );
}

#[test]
fn a_column_may_have_the_name_of_a_marker() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    postgres.query(r#"create table schemas ("$id" text primary key, "$schema" text, "$records" int[])"#);
    let rows = r#"{"$id":"a","$schema":"x","$records":[5]}
{"$schema":"y","$id":"b"}
"#;
    upsert(&dir, &postgres).args(["--table", "schemas"]).stdin(rows).run().exits(0);
    assert_eq!(postgres.query("select * from schemas order by 1"), "a|x|{5}\nb|y|");

    // One that the first row lacks has to be named, like any other column.
    let rows = "{\"$id\":\"c\"}\n{\"$id\":\"d\",\"$schema\":\"z\"}\n";
    let run = upsert(&dir, &postgres).args(["--table", "schemas"]).stdin(rows).run();
    run.exits(1).stderr_has("`$schema` is not a column, or not in the first row: name it with --columns");
    let named = ["--table", "schemas", "--columns", "$id,$schema"];
    upsert(&dir, &postgres).args(named).stdin(rows).run().exits(0);
    assert_eq!(postgres.query(r#"select "$schema" from schemas where "$id" = 'd'"#), "z");
}

#[test]
fn after_the_first_marker_a_line_with_an_unknown_name_is_a_reject() {
    let (dir, postgres) = migration();
    let stream = Stream::new()
        .schema()
        .line(r#"{"$later":{"a":1}}"#)
        .rows(&[row(1, "x", &[])])
        .line(r#"{"$id":2,"id":2,"v":"y","$records":[5,9]}"#)
        .line(r#"{"$file":{"event":"#);

    let run = upsert(&dir, &postgres).args(["--max-rejects", "100%"]).stdin(stream.text()).run();

    run.exits(1).stderr_has("5 records = 1 rows written + 0 merged + 0 filtered out + 4 rejected");
    let rejects = rejects(&dir);
    let reason = "neither a row nor a marker that this version knows: its first key begins with `$`";
    assert!(rejects.iter().all(|reject| reject["reason"] == reason), "{rejects:?}");
    assert_eq!(rejects[0]["data"]["$later"]["a"], 1);
    assert_eq!(rejects[1]["records"], serde_json::json!([5, 9]));
    assert_eq!(rejects[2]["data"], r#"{"$file":{"event":"#);
    assert_eq!(postgres.query("select id from t"), "1");
}

#[test]
fn without_markers_every_line_is_a_row() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    postgres.query(r#"create table notes (id int primary key, "$table" text, "$delete" jsonb)"#);
    let rows = "{\"$table\":\"x\"}\n{\"$delete\":{\"id\":1}}\n{\"$table\":\"orders\",\"id\":1}\n{\"$stop\":{\"signal\":15},\"id\":2}\n";
    let named = ["--table", "notes", "--columns", "*", "--max-rejects", "100%"];

    let run = upsert(&dir, &postgres).args(named).stdin(rows).run();
    run.exits(65).stderr_has("no `$schema` said what rows of `x` are").stderr_has("give --no-markers");

    let run = upsert(&dir, &postgres).args(named).args(["--no-markers"]).stdin(rows).run();
    run.exits(1).stderr_has("4 records = 2 rows written + 0 merged + 0 filtered out + 2 rejected");
    run.stderr_has("the key's column `id` is null");
    assert_eq!(postgres.query("select * from notes order by id"), "1|orders|\n2||");

    upsert(&dir, &postgres).args(["--no-markers"]).stdin(rows).run().exits(2).stderr_has("--table");
    upsert(&dir, &postgres).args(["--no-markers", "-p", "t", "--table", "notes"]).stdin(rows).run().exits(2);
}

#[test]
fn a_deletion_among_plain_rows_deletes() {
    let (dir, postgres) = migration();
    postgres.query("insert into t values (1, 'a'), (2, 'b')");
    let rows = "{\"$delete\":{\"id\":1}}\n{\"id\":3,\"v\":\"c\"}\n";
    let run = upsert(&dir, &postgres).args(["--table", "t"]).stdin(rows).run();
    run.exits(2).stderr_has("the first line deletes a row").stderr_has("name them with --columns");
    upsert(&dir, &postgres).args(["--table", "t", "--columns", "id,v"]).stdin(rows).run().exits(0);
    assert_eq!(postgres.query("select id from t order by id"), "2\n3");
}

#[test]
fn a_whole_number_is_one_however_json_writes_it() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    for (table, more) in [("in_binary", ""), ("in_text", ", c circle")] {
        postgres.query(&format!("create table {table} (id int primary key, b bigint, s smallint, a int[]{more})"));
        let rows = r#"{"id":1.0,"b":1e3,"s":10.00,"a":[1.0,2]}
{"id":2e0,"b":-9007199254740993.0,"s":-0.0,"a":null}
{"id":3,"b":1.5,"s":1,"a":[]}
{"id":4,"b":1,"s":1,"a":[1.5]}
{"id":5,"b":1e400,"s":1,"a":[]}
{"id":1,"b":7,"s":1,"a":[]}
"#;
        let run = upsert(&dir, &postgres).args(["--table", table, "--max-rejects", "100%"]).stdin(rows).run();
        run.exits(1).stderr_has("6 records = 2 rows written + 1 merged + 0 filtered out + 3 rejected");
        run.stderr_has("invalid input syntax for type bigint: \"1.5\"");
        assert_eq!(
            postgres.query(&format!("select id, b, s, a from {table} order by id")),
            "1|7|1|{}\n2|-9007199254740993|0|"
        );
    }
}

#[test]
fn times_before_the_year_1_and_after_9999_arrive() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    for more in ["", ", c circle"] {
        postgres.query(&format!(
            "drop table if exists times; create table times (id int primary key, z timestamptz, l timestamp, d date{more})"
        ));
        let row = |id: u32, time: &str| format!("{{\"id\":{id},\"z\":\"{time}\",\"l\":\"{time}\",\"d\":\"{time}\"}}\n");
        let rows =
            row(1, "0044-03-15T12:00:00.5Z BC") + &row(2, "10000-01-01T00:00:00Z") + &row(3, "0001-01-01T00:00:00Z");

        upsert(&dir, &postgres).args(["--table", "times"]).stdin(rows).run().exits(0);

        assert_eq!(
            postgres.query("set timezone = 'UTC'; set datestyle = 'ISO'; select z, l, d from times order by id"),
            "0044-03-15 12:00:00.5+00 BC|0044-03-15 12:00:00.5 BC|0044-03-15 BC\n\
             10000-01-01 00:00:00+00|10000-01-01 00:00:00|10000-01-01\n\
             0001-01-01 00:00:00+00|0001-01-01 00:00:00|0001-01-01"
        );
    }
}

#[test]
fn a_profile_s_sql_for_a_new_table_is_missed_only_if_there_is_some() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    let schema = |table: &str, on_create: &str| {
        format!(
            r#"{{"$schema":{{"v":1,"profile":"elsewhere","hash":"h","table":"{table}","key":["id"],"columns":[{{"name":"id","type":"bigint"}}]{on_create}}}}}"#
        ) + "\n"
    };
    let create = |stream: String| upsert(&dir, &postgres).args(["--create"]).stdin(stream).run();
    create(schema("a", "")).exits(0).never_says("elsewhere");

    let told =
        "The table `b` is made without the 2 statement(s) of `on_create`, because the profile `elsewhere` is not in";
    create(schema("b", r#","on_create":2"#)).exits(0).stderr_has(told).stderr_has("DDB_PIPE_PROFILES");
    // Nothing is run for a table that is there.
    create(schema("b", r#","on_create":2"#)).exits(0).never_says("elsewhere");
    assert_eq!(postgres.query("select to_regclass('a') is null, to_regclass('b') is null"), "f|f");
}

#[test]
fn a_migration_without_a_source_makes_no_table() {
    let (dir, postgres) = migration();
    postgres.query("drop table t");
    for stream in [Stream::new(), Stream::new().schema()] {
        let run = upsert(&dir, &postgres).args(["-p", "t", "--create"]).stdin(stream.text()).run();
        run.exits(65);
        assert_eq!(postgres.query("select to_regclass('t') is null, to_regclass('made') is null"), "t|t");
        assert_eq!(postgres.query("select count(*) from completed"), "0");
    }
}
