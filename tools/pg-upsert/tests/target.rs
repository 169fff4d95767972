//! What rows can be written into, how it is named, and what is said where it cannot take them.

use harness::postgres::Postgres;
use harness::{Dir, Finished, program};

const ROW: &str = "{\"id\":1,\"v\":\"x\"}\n";

fn load(postgres: &Postgres, args: &[&str], lines: &str) -> Finished {
    program!("pg-upsert").in_dir(&Dir::new()).envs(postgres.envs()).args(args).stdin(lines).run()
}

/// `on conflict` cannot use it (55000). A second unique index alone does not help: by columns PostgreSQL chooses both. So the
/// statement names the second constraint.
#[test]
fn a_deferrable_key_needs_a_second_constraint_besides() {
    let postgres = Postgres::new();
    for (constraint, args, what) in [
        ("primary key deferrable", &["--table", "t"][..], "the primary key of `t`"),
        ("primary key deferrable initially deferred", &["--table", "t", "--key", "id"], "the primary key of `t`"),
        ("unique deferrable", &["--table", "t", "--key", "id"], "the unique constraint of `t` over (\"id\")"),
    ] {
        postgres.query(&format!("drop table if exists t; create table t (id int {constraint}, v text)"));
        let message = format!(
            "pg-upsert: {what} is deferrable, and `on conflict` cannot use a deferrable constraint\n\
             hint: add a second one that is not deferrable: alter table \"public\".\"t\" add unique (\"id\")\n"
        );

        load(&postgres, args, ROW).exits(2).stderr_has(&message);
        postgres.query("create unique index on t (id)");
        let run = load(&postgres, args, ROW);
        run.exits(2).stderr_has(&message);

        let hint = run.messages().split_once("deferrable: ").unwrap().1;
        postgres.query(hint);
        for v in ["x", "y"] {
            load(&postgres, args, &ROW.replace('x', v)).exits(0);
            assert_eq!(postgres.query("select id, v from t"), format!("1|{v}"));
        }
    }
}

#[test]
fn what_is_no_table_is_called_what_it_is() {
    let postgres = Postgres::new();
    postgres.query(
        "create table people (id int primary key, v text); create table more (id int primary key, v text);
         create view simple as select * from people;
         create view joined as select p.id, m.v from people p join more m using (id);
         create view constant as select 1 as id;
         create materialized view stored as select * from people;
         create sequence numbers; create index people_v on people (v); create type pair as (id int, v text);
         create foreign data wrapper w; create server s foreign data wrapper w;
         create foreign table distant (id int, v text) server s",
    );
    for (name, message) in [
        ("simple", "`simple` is a view, not a table\nhint: name the table that it reads: \"public\".\"people\"\n"),
        (
            "joined",
            "`joined` is a view, not a table\nhint: name a table that it reads: \"public\".\"more\", \"public\".\"people\"\n",
        ),
        ("constant", "`constant` is a view, not a table\nhint: name a table\n"),
        (
            "stored",
            "`stored` is a materialized view, not a table\nhint: name the table that it reads: \"public\".\"people\"\n",
        ),
        (
            "distant",
            "`distant` is a foreign table, which has no unique index to merge rows by\nhint: connect to the database that has the table itself\n",
        ),
        ("numbers", "`numbers` is a sequence, not a table\nhint: name a table\n"),
        ("people_v", "`people_v` is an index, not a table\nhint: name a table\n"),
        ("pair", "`pair` is a composite type, not a table\nhint: name a table\n"),
    ] {
        load(&postgres, &["--table", name], ROW).exits(2).stderr_has(&format!("pg-upsert: {message}"));
        let schema = format!(
            "{{\"$schema\":{{\"v\":1,\"profile\":\"t\",\"hash\":\"h\",\"table\":\"{name}\",\"key\":[\"id\"],\"columns\":[{{\"name\":\"id\",\"type\":\"bigint\"}},{{\"name\":\"v\",\"type\":\"text\"}}]}}}}\n{ROW}"
        );
        load(&postgres, &["--create"], &schema).exits(2).stderr_has(&format!("pg-upsert: {message}"));
    }
}

#[test]
fn partitions_and_their_table_take_rows() {
    let postgres = Postgres::new();
    postgres.query(
        "create table t (id int primary key, v text) partition by range (id);
         create table low partition of t for values from (0) to (10);
         create table high partition of t for values from (10) to (20)",
    );
    load(&postgres, &["--table", "t"], "{\"id\":1,\"v\":\"a\"}\n{\"id\":11,\"v\":\"b\"}\n").exits(0);
    load(&postgres, &["--table", "high"], "{\"id\":11,\"v\":\"c\"}\n{\"id\":12,\"v\":\"d\"}\n").exits(0);
    assert_eq!(postgres.query("select tableoid::regclass, * from t order by id"), "low|1|a\nhigh|11|c\nhigh|12|d");
}

/// PostgreSQL keeps 63 bytes of a name, cut between two characters. psql finds the table by its whole name all the same.
#[test]
fn names_that_postgresql_cut_off_are_found_by_the_whole_name() {
    let postgres = Postgres::new();
    // 70 bytes; and 63 bytes end in the middle of a character.
    for long in ["a".repeat(70), format!("{}\u{e4}\u{e4}\u{e4}", "b".repeat(62))] {
        let (table, id, v) = (format!("t{long}"), format!("i{long}"), format!("v{long}"));
        postgres.query(&format!("create table \"{table}\" (\"{id}\" int primary key, \"{v}\" text)"));
        let rows = format!("{{\"{id}\":1,\"{v}\":\"x\"}}\n{{\"{id}\":2,\"{v}\":\"y\"}}\n");

        for args in [
            &["--table", &table][..],
            &["--table", &table, "--key", &id],
            &["--table", &table, "--key", &id, "--columns", &v],
        ] {
            let run = load(&postgres, args, &rows);
            let kept = postgres.query("select relname from pg_class where relkind = 'r' and relname like 't%'");
            run.exits(0).stderr_has(&format!("PostgreSQL keeps 63 bytes of a name: `{table}` is `{kept}`"));
            assert_eq!(postgres.query(&format!("select * from \"{table}\" order by 1")), "1|x\n2|y");
        }
        postgres.query(&format!("drop table \"{table}\""));
    }
}

#[test]
fn a_name_in_double_quotes_is_one_name() {
    let postgres = Postgres::new();
    postgres.query(
        r#"create schema "S"; create schema "x.y"; create schema a;
           create table "a.b" (id int primary key, v text); create table a.b (id int primary key, v text);
           create table "S"."a.b" (id int primary key, v text); create table "S"."T" (id int primary key, v text);
           create table "x.y".t (id int primary key, v text); create table "say ""hi""" (id int primary key, v text)"#,
    );
    for (argument, table) in [
        ("a.b", "a.b"),
        (r#""a.b""#, r#""a.b""#),
        (r#"S."a.b""#, r#""S"."a.b""#),
        (r#""S"."a.b""#, r#""S"."a.b""#),
        ("S.T", r#""S"."T""#),
        (r#""x.y".t"#, r#""x.y".t"#),
        (r#""say ""hi""""#, r#""say ""hi""""#),
        (r#"say "hi""#, r#""say ""hi""""#),
    ] {
        load(&postgres, &["--table", argument], ROW).exits(0);
        assert_eq!(postgres.query(&format!("delete from {table} returning id, v")), "1|x", "{argument}");
    }
    for argument in [r#""a"#, r#""a"b"#, r#""""#, r#"S."a"#, r#""a"."b"."c""#, "", "S.", ".t"] {
        let run = load(&postgres, &["--table", argument], ROW);
        run.exits(2).stderr_has(&format!("`{argument}` is not the name of a table\n"));
    }
}
