//! `pg-verify` as its users meet it: through its command line, what it writes, and its files, with a real server. The
//! tables are made by SQL, so nothing here depends on how a load works.

use std::os::unix::fs::PermissionsExt as _;

use harness::postgres::{PASSWORD, Postgres};
use harness::{Dir, Finished, Program, program};

/// A profile of the table `t`.
const PROFILE: &str = r#"
table = "t"
key = ["id"]
[columns]
id = { type = "bigint" }
v = { type = "text" }
"#;

const SOURCE: &str = r#"{"$source":{"v":1,"source":"s3://bucket/a/","export":"01-ab","table":"T","shard":null,"files":2,"items":null,"bytes":null,"done":{"files":0,"items":0,"bytes":0}}}"#;

/// The marker for a table `t` with a key `id` and these columns, as JSON.
fn schema(columns: &str) -> String {
    format!(
        r#"{{"$schema":{{"v":1,"profile":"t","hash":"h","table":"t","key":["id"],"columns":[{{"name":"id","type":"bigint"}},{columns}]}}}}"#
    )
}

/// The same for one column `v`.
fn schema_of(ty: &str, merge: &str) -> String {
    schema(&format!(r#"{{"name":"v","type":"{ty}","merge":{merge}}}"#))
}

fn row(id: u64, v: &str, records: &[u64]) -> String {
    format!(r#"{{"id":{id},"v":{v},"$records":{records:?}}}"#)
}

fn begin(key: &str) -> String {
    format!(
        r#"{{"$file":{{"event":"begin","v":1,"key":"{key}","number":1,"encoding":"dynamodb-json","bytes":null,"items":null,"skip":0,"version":"md5:1"}}}}"#
    )
}

fn end(key: &str, records: u64) -> String {
    format!(
        r#"{{"$file":{{"event":"end","key":"{key}","records":{records},"filtered":0,"merged":0,"rows":0,"rejected":0}}}}"#
    )
}

fn lines<L: AsRef<str>>(lines: impl IntoIterator<Item = L>) -> String {
    lines.into_iter().map(|line| line.as_ref().to_owned() + "\n").collect()
}

fn verify(dir: &Dir, postgres: &Postgres) -> Program {
    program!("pg-verify").in_dir(dir).envs(postgres.envs())
}

/// What is found when these lines are compared with a database.
fn findings(postgres: &Postgres, stream: &[String]) -> Finished {
    verify(&Dir::new(), postgres).stdin(lines(stream)).run()
}

/// A database with a table `t` of a key and a column `v`, with one row of the key 1.
fn table(ty: &str, value: &str) -> Postgres {
    let postgres = Postgres::new();
    make_table(&postgres, ty, value);
    postgres
}

fn make_table(postgres: &Postgres, ty: &str, value: &str) {
    postgres.query(&format!(
        "drop table if exists t; create table t (id bigint primary key, v {ty}, other int); insert into t values (1, {value}, 7)"
    ));
}

#[test]
fn rows_that_are_there_are_not_spoken_of() {
    let postgres = table("text", "'x'");
    let run = findings(&postgres, &[schema_of("text", r#""replace""#), row(1, r#""x""#, &[1, 2])]);
    run.exits(0).stdout("").stderr_has("Verified 2 records in 1 rows: 0 missing, 0 different, 0 rejected, in ");
}

#[test]
fn what_is_missing_or_differs_is_said_with_both_sides() {
    let postgres = table("text", "'x'");
    let stream = [
        schema_of("text", r#""replace""#),
        begin("data/a.json.gz"),
        row(1, r#""y""#, &[1]),
        row(2, r#""z""#, &[2, 3]),
        end("data/a.json.gz", 3),
    ];

    let run = findings(&postgres, &stream);

    run.exits(1).stderr_has("Verified 3 records in 2 rows: 1 missing, 1 different, 0 rejected, in ");
    let mut found: Vec<_> = run.output().lines().collect();
    found.sort_unstable();
    assert_eq!(
        found,
        [
            r#"{"key":{"id":1},"problem":"differs","columns":["v"],"expected":{"id":1,"v":"y"},"found":{"id":1,"v":"x"},"file":"data/a.json.gz","records":[1]}"#,
            r#"{"key":{"id":2},"problem":"missing","columns":[],"expected":{"id":2,"v":"z"},"found":null,"file":"data/a.json.gz","records":[2,3]}"#,
        ]
    );
}

/// For each policy: what the table has, what an item has, and whether loading the item again would change the table.
#[test]
fn a_row_differs_if_loading_it_again_would_change_the_table() {
    let postgres = Postgres::new();
    let keyed = r#"{"keyed_array":{"key":["n"],"prefer":"p"}}"#;
    for (merge, ty, has, item, differs) in [
        (r#""replace""#, "text", "'a'", r#""a""#, false),
        (r#""replace""#, "text", "'a'", r#""A""#, true),
        (r#""replace""#, "text", "'a'", "null", true),
        (r#""replace""#, "text", "null", "null", false),
        (r#""keep""#, "text", "'a'", r#""b""#, false),
        (r#""keep""#, "text", "null", r#""b""#, false),
        (r#""coalesce""#, "text", "'a'", "null", false),
        (r#""coalesce""#, "text", "'a'", r#""b""#, true),
        (r#""coalesce""#, "text", "null", r#""b""#, true),
        (r#""jsonb_merge""#, "jsonb", r#"'{"x":1,"y":2}'"#, r#"{"y":2}"#, false),
        (r#""jsonb_merge""#, "jsonb", r#"'{"x":1,"y":2}'"#, r#"{"y":3}"#, true),
        (r#""jsonb_merge""#, "jsonb", r#"'{"x":1}'"#, r#"{"y":3}"#, true),
        (r#""jsonb_merge_text""#, "jsonb", r#"'{"en":"a"}'"#, r#"{"en":""}"#, false),
        (r#""jsonb_merge_text""#, "jsonb", r#"'{"de":"a"}'"#, r#"{"en":""}"#, true),
        (keyed, "jsonb", r#"'[{"n":1,"p":"a"},{"n":2}]'"#, r#"[{"n":1,"p":"a"}]"#, false),
        (keyed, "jsonb", r#"'[{"n":1,"p":"a"}]'"#, r#"[{"n":1,"p":null}]"#, false),
        (keyed, "jsonb", r#"'[{"n":1,"p":"a"}]'"#, r#"[{"n":1,"p":"b"}]"#, true),
        (keyed, "jsonb", r#"'[{"n":1}]'"#, r#"[{"n":2}]"#, true),
        (keyed, "jsonb", r#"'[{"n":2},{"n":1}]'"#, r#"[{"n":1}]"#, true),
        (r#""greatest""#, "numeric", "10", "9", false),
        (r#""greatest""#, "numeric", "10", "1.0e1", false),
        (r#""greatest""#, "numeric", "10", "11", true),
        (r#""greatest""#, "numeric", "null", "11", true),
        (r#""greatest""#, "text", "'a'", r#""B""#, false),
        (r#""greatest""#, "timestamptz", "'2024-01-01T00:00Z'", r#""2024-01-01T00:30+01:00""#, false),
        (r#""least""#, "timestamptz", "'2024-01-01T00:00Z'", r#""2024-01-01T00:30+01:00""#, true),
        (r#""least""#, "text", "'B'", r#""a""#, false),
        (r#""least""#, "text", "'B'", "null", false),
        (r#""union""#, "text[]", "'{B,a,b}'", r#"["b","B"]"#, false),
        (r#""union""#, "text[]", "'{B,a,b}'", r#"["c"]"#, true),
        (r#""union""#, "text[]", "'{b,B}'", r#"["b"]"#, true),
        (r#""union""#, "numeric[]", "'{1.0,2}'", "[1]", false),
        (r#""union""#, "jsonb", "'[1, \"a\"]'", r#"["a",1.0]"#, false),
        (r#""union""#, "jsonb", "'[1]'", r#"["1"]"#, true),
    ] {
        make_table(&postgres, ty, has);
        let run = findings(&postgres, &[schema_of(ty, merge), row(1, item, &[1])]);
        let found = i32::from(differs);
        run.exits(found).stderr_has(&format!("0 missing, {found} different"));
    }
}

#[test]
fn of_several_versions_the_newest_is_what_has_to_be_there() {
    let postgres = Postgres::new();
    let columns = schema(
        r#"{"name":"v","type":"text","merge":{"newest":{"by":"other"}}},{"name":"other","type":"integer","merge":"greatest"}"#,
    );
    let item = |v: &str, other: &str| format!(r#"{{"id":1,"v":"{v}","other":{other},"$records":[1]}}"#);
    // The table has the version 7 of `'x'`.
    for (items, differing) in [
        (&[item("x", "7")][..], None),
        (&[item("y", "6"), item("x", "7"), item("z", "null")], None),
        // Somebody else was there later.
        (&[item("y", "6")], None),
        (&[item("y", "7")], Some(r#""columns":["v"]"#)),
        (&[item("x", "8"), item("y", "6")], Some(r#""columns":["other"]"#)),
    ] {
        make_table(&postgres, "text", "'x'");
        let stream: Vec<_> = std::iter::once(columns.clone()).chain(items.iter().cloned()).collect();
        let run = findings(&postgres, &stream);
        run.exits(i32::from(differing.is_some()));
        assert_eq!(run.output().contains(differing.unwrap_or("differs")), differing.is_some(), "{items:?}");
    }
}

/// Both sides went through the same type, so what it makes of a value is no difference; and a change is one, even where
/// the type's own equality would not see it.
#[test]
fn values_are_compared_as_their_type_keeps_them() {
    let postgres = Postgres::new();
    postgres.query(
        "create extension citext; create type mood as enum ('glad', 'sad');
         create collation ignore_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
    );
    for (ty, item, same, other) in [
        ("numeric(10,2)", "1.005", "1.01", "1.02"),
        ("numeric", "12345678901234567890123456789012345678", "12345678901234567890123456789012345678", "1e37"),
        ("real", "0.1", "0.1", "0.2"),
        ("double precision", "0.30000000000000004", "0.1::float8 + 0.2", "0.3"),
        ("double precision", r#""NaN""#, "'NaN'", "0"),
        ("character(5)", r#""ab""#, "'ab'", "'aB'"),
        ("varchar(9)", r#""ab""#, "'ab'", "'ab '"),
        ("timestamptz", r#""2024-01-01T02:00:00+02:00""#, "'2024-01-01Z'", "'2024-01-01 00:00:00.000001Z'"),
        ("timestamp(3)", r#""2024-01-01T00:00:00.0004""#, "'2024-01-01'", "'2024-01-02'"),
        ("date", r#""2024-01-01""#, "'2024-01-01'", "'2024-01-02'"),
        ("uuid", r#""A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11""#, "'a0eebc999c0b4ef8bb6d6bb9bd380a11'", "null"),
        ("bytea", r#""\\x00FF""#, r"'\x00ff'", r"'\x00fe'"),
        ("boolean", "true", "'t'", "'f'"),
        ("text[]", r#"["a",null]"#, "'{a,null}'", "'{A,null}'"),
        ("jsonb", r#"{"b":1,"a":[1.50]}"#, r#"'{"a":[1.50],"b":1}'"#, r#"'{"a":[1.51],"b":1}'"#),
        ("json", r#"{"b":1}"#, r#"'{"b":1}'"#, r#"'{"b":2}'"#),
        ("citext", r#""ab""#, "'ab'", "'AB'"),
        ("text collate ignore_case", r#""ab""#, "'ab'", "'AB'"),
        ("mood", r#""glad""#, "'glad'", "'sad'"),
        ("interval", r#""1 hour""#, "'60 minutes'", "'61 minutes'"),
    ] {
        postgres.query(&format!(
            "drop table if exists t; create table t (id bigint primary key, v {ty}); insert into t values (1, {same}), (2, {other})"
        ));
        let plain = ty.split(" collate").next().unwrap();
        let stream = [schema_of(plain, r#""replace""#), row(1, item, &[1]), row(2, item, &[2])];

        let run = findings(&postgres, &stream);

        run.exits(1).stderr_has("0 missing, 1 different").stdout_has(r#"{"key":{"id":2},"problem":"differs""#);
    }
}

#[test]
fn a_column_with_the_time_of_the_load_is_not_compared() {
    let postgres = table("timestamptz", "'2020-01-01Z'");
    let stream = |load_time: &str| {
        let columns = format!(r#"{{"name":"v","type":"timestamptz","merge":"replace"{load_time}}}"#);
        [schema(&columns), row(1, r#""2024-01-01T00:00:00Z""#, &[1])]
    };
    findings(&postgres, &stream("")).exits(1);
    findings(&postgres, &stream(r#","load_time":true"#)).exits(0);
}

#[test]
fn columns_of_a_group_are_compared_as_they_are_merged() {
    let postgres = Postgres::new();
    postgres.query(
        r#"create table t (id bigint primary key, path text, width int, parts jsonb);
           insert into t values (1, 'large', 9, '[{"f": 85, "p": "x"}]'), (2, 'large', 9, '[{"f": 85, "p": "x"}]'),
                                (3, 'large', 9, '[{"f": 7, "p": "y"}]')"#,
    );
    let schema = r#"{"$schema":{"v":1,"profile":"t","hash":"h","table":"t","key":["id"],"columns":[
        {"name":"id","type":"bigint"},{"name":"path","type":"text"},{"name":"width","type":"integer"},
        {"name":"parts","type":"jsonb","merge":{"keyed_array":{"key":["f"],"prefer":"p"}}}],
        "groups":[{"columns":["path","width"],"preferred_side":{"in":"parts","where":{"f":"85"},"has":"p"}}]}}"#;
    let rows = [
        // The table's side has the format and stays.
        r#"{"id":1,"path":"small","width":1,"parts":[],"$records":[1]}"#,
        // This one has it as well, and comes later.
        r#"{"id":2,"path":"small","width":9,"parts":[{"f":85,"p":"x"}],"$records":[2]}"#,
        // Neither has: what is not null is taken.
        r#"{"id":3,"path":null,"width":8,"parts":[],"$records":[3]}"#,
    ];

    let run = findings(&postgres, &[vec![schema.replace('\n', " ")], rows.map(str::to_owned).to_vec()].concat());

    run.exits(1).stderr_has("0 missing, 2 different");
    run.stdout_has(r#"{"key":{"id":2},"problem":"differs","columns":["path"]"#);
    run.stdout_has(r#"{"key":{"id":3},"problem":"differs","columns":["width"]"#);
}

/// An item differs from the table rightly when a later one took its place, however far apart they are.
#[test]
fn an_earlier_item_of_a_key_may_differ_when_a_later_one_explains_it() {
    let filler = |from: u64| (from..from + 5).map(|id| row(id, "null", &[id]));
    let postgres = Postgres::new();
    for (merge, ty, items, table_has, found) in [
        (r#""replace""#, "text", [r#""a""#, r#""b""#], "'b'", 0),
        (r#""replace""#, "text", [r#""a""#, r#""b""#], "'a'", 1),
        (r#""coalesce""#, "text", [r#""a""#, r#""b""#], "'b'", 0),
        (r#""coalesce""#, "text", [r#""a""#, "null"], "'b'", 1),
        (r#""jsonb_merge""#, "jsonb", [r#"{"x":1,"y":1}"#, r#"{"y":2}"#], r#"'{"x":1,"y":2}'"#, 0),
        (r#""jsonb_merge""#, "jsonb", [r#"{"x":1,"y":1}"#, r#"{"y":2}"#], r#"'{"x":1,"y":1}'"#, 1),
    ] {
        make_table(&postgres, ty, table_has);
        postgres.query("insert into t select id, null from generate_series(100, 300) as id");
        let stream: Vec<_> = [schema_of(ty, merge)]
            .into_iter()
            .chain(filler(100))
            .chain([row(1, items[0], &[1])])
            .chain(filler(200))
            .chain([row(1, items[1], &[2])])
            .chain(filler(240))
            .collect();
        for batch in [&["-b", "1", "--gather", "1"][..], &["-b", "7", "--gather", "7"], &[]] {
            let run = verify(&Dir::new(), &postgres).args(batch).stdin(lines(&stream)).run();
            run.exits(found).stderr_has(&format!("0 missing, {found} different"));
        }
    }
}

/// Rows of a file of which the end has not come are compared by themselves, after those of the files before it.
#[test]
fn what_a_file_brought_may_be_explained_by_one_that_has_not_ended() {
    let postgres = table("jsonb", r#"'{"x":1}'"#);
    postgres.query(r#"insert into t select id, '{"x":1}' from generate_series(2, 200) as id"#);
    let rows = |v: &'static str| (1..=199).map(move |id| row(id, v, &[id]));
    // The batch is full with the key 200, inside `b`.
    let stream: Vec<_> = [schema_of("jsonb", r#""jsonb_merge""#), begin("a")]
        .into_iter()
        .chain(rows(r#"{"x":0}"#))
        .chain([end("a", 199), begin("b")])
        .chain(rows(r#"{"x":1}"#))
        .chain([row(200, r#"{"x":1}"#, &[200]), row(200, r#"{"x":1}"#, &[201]), end("b", 201)])
        .collect();
    for connections in ["1", "2"] {
        let args = ["-b", "200", "--gather", "200", "--connections", connections];
        let run = verify(&Dir::new(), &postgres).args(args).stdin(lines(&stream)).run();
        run.exits(0).stderr_has("Compared 399 records (batch 1)").stderr_has("398 rows to be looked at again");
    }
}

/// Whether its rows were compared as one or one after the other.
#[test]
fn a_key_that_is_found_wrong_in_several_files_is_one_finding() {
    let postgres = table("text", "'x'");
    let stream = [
        schema_of("text", r#""coalesce""#),
        begin("a"),
        row(1, r#""y""#, &[1]),
        row(2, r#""z""#, &[2]),
        end("a", 2),
        begin("b"),
        row(1, "null", &[1]),
        row(2, "null", &[3, 2]),
        end("b", 3),
    ];
    for (batch, rows) in [("100", 2), ("1", 4)] {
        let run = verify(&Dir::new(), &postgres).args(["-b", batch]).stdin(lines(&stream)).run();

        run.exits(1).stderr_has(&format!("Verified 5 records in {rows} rows: 1 missing, 1 different"));
        run.stdout_has(r#""expected":{"id":1,"v":"y"},"found":{"id":1,"v":"x"},"file":"a","records":[1],"also":[{"file":"b","records":[1]}]}"#);
        run.stdout_has(
            r#""expected":{"id":2,"v":"z"},"found":null,"file":"a","records":[2],"also":[{"file":"b","records":[2,3]}]}"#,
        );
    }
}

/// What a load rejects ought not to be there. What only the table itself refuses is missing: a person has to look.
#[test]
fn a_row_that_cannot_be_written_is_not_missing() {
    let postgres = table("smallint", "1");
    let rows = (1..=40_u64).map(|id| row(id, if id == 17 { "99999" } else { "1" }, &[id]));
    let reject = r#"{"$reject":{"key":"a","record":41,"stage":"ddb-parse","reason":"no `id`","data":{}}}"#;
    let end = r#"{"$file":{"event":"end","key":"a","records":42,"filtered":0,"merged":0,"rows":0,"rejected":1}}"#;
    let stream: Vec<_> = [schema_of("smallint", r#""replace""#), begin("a")]
        .into_iter()
        .chain(rows)
        .chain([reject.to_owned(), r#"{"id":1,"nope":2,"$records":[42]}"#.to_owned(), end.to_owned()])
        .collect();
    postgres.query("insert into t select id, 1 from generate_series(2, 40) as id where id <> 17");

    let run = findings(&postgres, &stream);

    run.exits(0).stdout("");
    run.stderr_has("Verified 42 records in 39 rows: 0 missing, 0 different, 3 rejected, in ");

    let postgres = table("smallint not null check (v < 9)", "1");
    let stream = [schema_of("smallint", r#""replace""#), row(2, "null", &[1]), row(3, "10", &[2])];
    findings(&postgres, &stream).exits(1).stderr_has("2 missing, 0 different, 0 rejected");

    let postgres = table("text", "'x'");
    let stream = [schema_of("text", r#""replace""#), row(1, r#""x""#, &[1]), row(2, r#""\u0000""#, &[2])];
    findings(&postgres, &stream).exits(0).stderr_has("0 missing, 0 different, 1 rejected");

    // The server has no code of its own for such a value; other rows pass.
    let postgres = table("tsquery", "'x'");
    let stream = [schema_of("tsquery", r#""replace""#), row(1, r#""x""#, &[1]), row(2, r#""a b &""#, &[2])];
    findings(&postgres, &stream).exits(0).stderr_has("0 missing, 0 different, 1 rejected");
}

#[test]
fn a_role_that_may_only_read_is_enough() {
    let postgres = table("text", "'x'");
    let name = format!("reader_{}", postgres.database());
    postgres.query(&format!(
        "create role {name} login password '{PASSWORD}'; grant select on t to {name};
         revoke all on schema public from public; grant usage on schema public to {name}"
    ));
    let merge = r#"{"keyed_array":{"key":["n"]}}"#;
    let stream = [schema_of("jsonb", merge), row(1, r#"[{"n":1}]"#, &[1])];
    postgres.query("alter table t alter v type jsonb using '[]'");

    let run = verify(&Dir::new(), &postgres).env("PG_USER", &name).stdin(lines(&stream)).run();

    run.exits(1).stderr_has("0 missing, 1 different");
    assert_eq!(postgres.query("select v from t"), "[]");
}

#[test]
fn rows_that_do_not_say_what_they_are_are_compared_with_a_table() {
    let postgres = table("text", "'x'");
    let rows = "{\"id\":1,\"v\":\"x\"}\n{\"id\":2,\"v\":\"y\"}\n";

    let run = verify(&Dir::new(), &postgres).args(["--table", "t", "--key", "id"]).stdin(rows).run();

    run.exits(1).stdout_has(r#"{"key":{"id":2},"problem":"missing""#).stderr_has("1 missing, 0 different");
    verify(&Dir::new(), &postgres).stdin(rows).run().exits(2);
    let run = verify(&Dir::new(), &postgres).args(["--table", "nope"]).stdin(rows).run();
    run.exits(2).stderr_has("there is no table `nope`");
}

/// A stream that is not whole is never taken for one of which all is there.
#[test]
fn what_is_not_whole_is_an_error() {
    let postgres = table("text", "'x'");
    let good = row(1, r#""x""#, &[1]);
    let start = || vec![schema_of("text", r#""replace""#), begin("a"), good.clone()];
    let stream = |rest: &[String]| lines([start(), rest.to_vec()].concat());
    let fail = r#"{"$file":{"event":"fail","key":"a","reason":"damaged at byte 77"}}"#.to_owned();
    for (stream, reason) in [
        (stream(&[]), "the stream ended inside `a`"),
        (stream(&[end("a", 2)]), "File failed: a: 1 records are missing"),
        (stream(&[fail]), "File failed: a: damaged at byte 77"),
        (stream(&[end("a", 1)]) + r#"{"id":1"#, "the last line has no newline"),
    ] {
        verify(&Dir::new(), &postgres).stdin(stream).run().exits(65).stdout("").stderr_has(reason);
    }
    let run = verify(&Dir::new(), &postgres).args(["--lossy"]).stdin(stream(&[end("a", 2)])).run();
    run.exits(0).stderr_has("Verified 2 records in 1 rows: 0 missing, 0 different, 0 rejected, 1 dropped");
}

/// A program that died at once leaves nothing behind.
#[test]
fn an_empty_stream_is_not_one_of_which_all_is_there() {
    let (dir, postgres) = (Dir::new(), table("text", "'x'"));
    dir.write("profiles/t.toml", PROFILE);
    for args in [&[][..], &["-p", "t"]] {
        verify(&dir, &postgres).args(args).stdin("").run().exits(65).stderr_has("the stream is empty");
    }
    verify(&dir, &postgres).args(["--table", "t"]).stdin("").run().exits(0).stderr_has("Verified 0 records");

    let one_of_two =
        lines([SOURCE.to_owned(), schema_of("text", r#""replace""#), begin("a"), row(1, r#""x""#, &[1]), end("a", 1)]);
    let run = verify(&dir, &postgres).stdin(&one_of_two).run();
    run.exits(0).stderr_has("Verified 1 records in 1 rows of 1 of 2 files: 0 missing");
    let run = verify(&dir, &postgres).args(["-p", "t"]).stdin(&one_of_two).run();
    run.exits(65).stderr_has("the verification is not complete: 0 files failed; 1 of 2 files are compared");
}

/// Two files; the first is compared by one process, the second by the next.
#[test]
fn a_verification_that_was_stopped_goes_on_with_what_it_knows() {
    let (dir, postgres) = (Dir::new(), table("text", "'b'"));
    postgres.query("insert into t values (2, 'x'), (3, 'x')");
    dir.write("profiles/t.toml", PROFILE);
    let verify = |stream: &[String]| verify(&dir, &postgres).args(["-p", "t"]).stdin(lines(stream)).run();
    let replace = schema_of("text", r#""replace""#);
    let first = [
        SOURCE.to_owned(),
        replace.clone(),
        begin("a"),
        row(1, r#""a""#, &[1]),
        row(2, r#""changed""#, &[2]),
        end("a", 2),
        begin("b"),
        row(4, r#""half a file""#, &[1]),
    ];

    // The next file was begun when somebody asked for a stop, or when a program before this one died.
    let stop = [first.to_vec(), vec![r#"{"$stop":{"signal":15}}"#.to_owned()]].concat();
    verify(&stop).exits(75).stdout("").stderr_has("Stopped: 1 of 2 files are compared");
    verify(&[vec![SOURCE.to_owned(), replace.clone()], first[6..].to_vec()].concat())
        .exits(65)
        .stderr_has("Resuming the verification of ")
        .stderr_has("the stream ended inside `b`");
    assert!(!dir.has("migrate-t.verify.jsonl"), "nothing is certain yet");
    let state = checkpoint::read(&dir.path().join("migrate-t.verify.bookmark.json")).unwrap().unwrap();
    assert_eq!(state.done.keys().collect::<Vec<_>>(), ["a"]);

    let rest = [SOURCE.to_owned(), replace, begin("b"), row(1, r#""b""#, &[1]), row(3, r#""x""#, &[2]), end("b", 2)];
    let run = verify(&rest);

    run.exits(1).stdout("").stderr_has("Verified 4 records in 4 rows: 0 missing, 1 different, 0 rejected");
    run.stderr_has("; see ./migrate-t.verify.jsonl");
    let found = dir.read("migrate-t.verify.jsonl");
    assert!(found.starts_with(r#"{"key":{"id":2},"problem":"differs","columns":["v"]"#), "{found}");
    assert_eq!(found.lines().count(), 1, "{found}");
    let mode = std::fs::metadata(dir.path().join("migrate-t.verify.jsonl")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut files: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    files.sort_unstable();
    assert_eq!(files, ["migrate-t.verify.jsonl", "profiles"]);
}

#[test]
fn a_later_verification_takes_the_place_of_an_earlier_one() {
    let (dir, postgres) = (Dir::new(), table("text", "'x'"));
    dir.write("profiles/t.toml", PROFILE);
    let source = SOURCE.replace(r#""files":2"#, r#""files":1"#);
    let stream = lines([source, schema_of("text", r#""replace""#), begin("a"), row(1, r#""y""#, &[1]), end("a", 1)]);
    let verify = || verify(&dir, &postgres).args(["-p", "t"]).stdin(&stream).run();
    verify().exits(1);
    assert!(dir.has("migrate-t.verify.jsonl"));

    postgres.query("update t set v = 'y'");

    verify().exits(0);
    assert!(!dir.has("migrate-t.verify.jsonl"));
}

#[test]
fn files_that_failed_are_read_again() {
    let (dir, postgres) = (Dir::new(), table("text", "'x'"));
    dir.write("profiles/t.toml", PROFILE);
    let head = [SOURCE.to_owned(), schema_of("text", r#""replace""#)];
    let verify =
        |files: &[String]| verify(&dir, &postgres).args(["-p", "t"]).stdin(lines([&head[..], files].concat())).run();
    let fail = r#"{"$file":{"event":"fail","key":"a","reason":"damaged"}}"#.to_owned();

    let run = verify(&[begin("a"), row(99, r#""damage""#, &[1]), fail, begin("b"), end("b", 0)]);
    run.exits(65).stderr_has("the verification is not complete: 1 files failed; 1 of 2 files are compared");

    verify(&[begin("a"), row(1, r#""x""#, &[1]), end("a", 1)]).exits(0).stderr_has("Verified 1 records in 1 rows");
}

/// A crash may come when of two files that were compared together only one is noted as done. The row that was made of
/// both is kept, and the file that is read again changes nothing in it.
#[test]
fn a_row_of_a_file_that_is_done_and_of_one_that_is_not_is_kept() {
    let (dir, postgres) = (Dir::new(), table("jsonb", r#"'{"b":1}'"#));
    dir.write("profiles/t.toml", PROFILE);
    let head = [SOURCE.replace(r#""files":2"#, r#""files":3"#), schema_of("jsonb", r#""jsonb_merge""#)];
    let verify =
        |files: &[String]| verify(&dir, &postgres).args(["-p", "t"]).stdin(lines([&head[..], files].concat())).run();
    let first = [begin("a"), row(1, r#"{"a":1,"b":0}"#, &[1]), row(2, r#"{"a":1}"#, &[2]), end("a", 2)];
    let second = [begin("b"), row(1, r#"{"b":2}"#, &[1]), row(3, r#"{"b":2}"#, &[2]), end("b", 2)];
    let third = [begin("c"), row(1, r#"{"b":1}"#, &[1]), end("c", 1)];
    verify(&[first, second.clone()].concat())
        .exits(65)
        .stderr_has("Compared 4 records (batch 1)")
        .stderr_has("3 rows to be looked at again")
        .stderr_has("2 of 3 files are compared");
    let bookmark = dir.read("migrate-t.verify.bookmark.json");
    let (before, last) = bookmark.trim_end().rsplit_once('\n').unwrap();
    assert!(last.contains(r#""b""#), "{last}");
    dir.write("migrate-t.verify.bookmark.json", before.to_owned() + "\n");

    let run = verify(&[second.to_vec(), third.to_vec()].concat());

    run.exits(1).stderr_has("Verified 5 records in ").stderr_has(" rows: 2 missing, 1 different, 0 rejected");
    let mut found: Vec<_> = dir.read("migrate-t.verify.jsonl").lines().map(str::to_owned).collect();
    found.sort_unstable();
    assert_eq!(
        found,
        [
            r#"{"key":{"id":1},"problem":"differs","columns":["v"],"expected":{"id":1,"v":{"a": 1, "b": 1}},"found":{"id":1,"v":{"b": 1}},"file":"a","records":[1],"also":[{"file":"b","records":[1]},{"file":"c","records":[1]}]}"#,
            r#"{"key":{"id":2},"problem":"missing","columns":[],"expected":{"id":2,"v":{"a": 1}},"found":null,"file":"a","records":[2]}"#,
            r#"{"key":{"id":3},"problem":"missing","columns":[],"expected":{"id":3,"v":{"b": 2}},"found":null,"file":"b","records":[2]}"#,
        ]
    );
}

/// What came of a file that did not end well may be anything. It neither spoils what is known of the files that it was
/// compared with, nor explains it.
#[test]
fn a_file_that_did_not_end_well_leaves_no_trace() {
    let fail = r#"{"$file":{"event":"fail","key":"b","reason":"damaged"}}"#.to_owned();
    for end_of_b in [vec![fail], vec![]] {
        let (dir, postgres) = (Dir::new(), table("jsonb", r#"'{"x":1}'"#));
        postgres.query(r#"insert into t values (2, '{"x":9}')"#);
        dir.write("profiles/t.toml", PROFILE);
        let head = [SOURCE.to_owned(), schema_of("jsonb", r#""jsonb_merge""#)];
        let verify = |files: &[&[String]]| {
            verify(&dir, &postgres).args(["-p", "t"]).stdin(lines([&head[..], &files.concat()].concat())).run()
        };
        let a = [begin("a"), row(1, r#"{"x":1}"#, &[1]), row(2, r#"{"x":0}"#, &[2]), end("a", 2)];
        let b = [begin("b"), row(1, r#"{"x":"damage"}"#, &[1]), row(2, r#"{"x":9}"#, &[2])];
        verify(&[&a, &b, &end_of_b]).exits(65).stderr_has("Compared 4 records (batch 1)");

        let run = verify(&[&[begin("b"), end("b", 0)]]);

        run.exits(1).stderr_has("Verified 2 records in 2 rows: 0 missing, 1 different, 0 rejected");
        let found = dir.read("migrate-t.verify.jsonl");
        assert!(found.starts_with(r#"{"key":{"id":2},"problem":"differs""#), "{found}");
        assert!(found.trim_end().ends_with(r#""file":"a","records":[2]}"#), "{found}");
    }
}

#[test]
fn a_standby_cannot_be_asked_for() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    let run = verify(&dir, &postgres).env("PGTARGETSESSIONATTRS", "standby").args(["--table", "t"]).stdin("").run();
    run.exits(2).stderr_has("`target_session_attrs` asks for a server that cannot be written to");
    run.stderr_has("pg-verify needs temporary tables");
}

#[test]
fn plain_rows_that_begin_with_a_dollar_are_compared_and_unknown_markers_are_counted() {
    let postgres = table("text", "'x'");
    let rows = "{\"$id\":\"1\",\"id\":1,\"v\":\"x\"}\n{\"$schema\":\"https://json-schema.org\",\"id\":2,\"v\":\"y\"}\n";
    let run = verify(&Dir::new(), &postgres).args(["--table", "t"]).stdin(rows).run();
    run.exits(1).stderr_has("Verified 2 records in 2 rows: 1 missing, 0 different, 0 rejected");

    let run =
        findings(&postgres, &[schema_of("text", r#""replace""#), row(1, r#""x""#, &[1]), r#"{"$later":{}}"#.into()]);
    run.exits(0).stderr_has("Verified 2 records in 1 rows: 0 missing, 0 different, 1 rejected");

    let marker = "{\"$table\":\"x\",\"id\":1,\"v\":\"x\"}\n{\"$stop\":{\"signal\":15}}\n";
    let run = verify(&Dir::new(), &postgres).args(["--table", "t", "--no-markers"]).stdin(marker).run();
    run.exits(0).stderr_has("Verified 2 records in 1 rows: 0 missing, 0 different, 1 rejected");
}

#[test]
fn a_whole_number_is_one_however_json_writes_it() {
    let postgres = table("int", "1000");
    let rows = "{\"id\":1.0,\"v\":1e3}\n";
    verify(&Dir::new(), &postgres).args(["--table", "t"]).stdin(rows).run().exits(0).stdout("");
}
