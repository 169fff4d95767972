//! Rows that the table refuses: which are rejected, and when the table itself is at fault; and rows that a trigger swallows.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fmt::Write as _;

use harness::postgres::Postgres;
use harness::{Dir, Program, program};
use serde_json::Value;

fn upsert(dir: &Dir, postgres: &Postgres) -> Program {
    program!("pg-upsert").in_dir(dir).envs(postgres.envs())
}

/// `count` rows with an id, and what `more` says of each.
fn rows(count: u64, more: impl Fn(u64) -> String) -> String {
    (0..count).fold(String::new(), |mut rows, id| {
        let more = more(id);
        writeln!(rows, "{{\"id\":{id}{more}}}").unwrap();
        rows
    })
}

/// Code and id of each reject, in the order of the ids.
fn rejects(dir: &Dir) -> Vec<(String, u64)> {
    let lines = dir.read("pg-upsert.rejects.jsonl");
    let rejects = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut rejects: Vec<_> = rejects
        .map(|reject| (reject["sqlstate"].as_str().unwrap().to_owned(), reject["data"]["id"].as_u64().unwrap()))
        .collect();
    rejects.sort_by_key(|(_, id)| *id);
    rejects
}

fn reasons(dir: &Dir) -> String {
    let lines = dir.read("pg-upsert.rejects.jsonl");
    lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["reason"].to_string() + "\n").collect()
}

/// Types of extensions, look-ups in the catalogue, triggers and policies raise whatever code they like.
#[test]
fn one_bad_value_is_rejected_whatever_code_it_raises() {
    for (setup, ty, good, bad, code) in [
        ("create extension ltree", "ltree", "a.b", "a b!", "42601"),
        ("create extension hstore", "hstore", "a=>1", "=>", "XX000"),
        ("", "tsquery", "a & b", "a b &", "42601"),
        ("", "regclass", "pg_class", "no_such_table", "42P01"),
        ("", "integer", "5", "five", "22P02"),
        ("", "varchar(3)", "abc", "abcd", "22001"),
        ("create domain even as int check (value % 2 = 0)", "even", "2", "3", "23514"),
        ("create type mood as enum ('ok')", "mood", "ok", "bad", "22P02"),
        ("", "int[]", "[1,2]", "[1,\"x\"]", "22P02"),
        ("create domain object as jsonb check (jsonb_typeof(value) = 'object')", "object", "{}", "[]", "23514"),
    ] {
        let (dir, postgres) = (Dir::new(), Postgres::new());
        postgres.query(&format!("{setup}; create table t (id int primary key, v {ty})"));
        let rows = rows(300, |id| {
            let value = if id == 17 || id == 230 { bad } else { good };
            if value.starts_with(['[', '{']) { format!(",\"v\":{value}") } else { format!(",\"v\":\"{value}\"") }
        });

        let run = upsert(&dir, &postgres).args(["--table", "t", "--columns", "id,v"]).stdin(rows.as_str()).run();

        run.exits(1).stderr_has("298 rows written + 0 merged + 0 filtered out + 2 rejected");
        assert_eq!(rejects(&dir), [(code.to_owned(), 17), (code.to_owned(), 230)], "{ty}");
        assert_eq!(postgres.query("select count(*) from t"), "298");
    }
}

#[test]
fn a_row_that_a_trigger_or_a_policy_refuses_is_rejected() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    postgres.query(
        "create table t (id int primary key);
         create function refuse() returns trigger language plpgsql as
           $$begin if new.id in (3, 150) then raise exception 'not this one'; end if; return new; end$$;
         create trigger refuse before insert on t for each row execute function refuse()",
    );
    let run = upsert(&dir, &postgres).args(["--table", "t"]).stdin(rows(200, |_| String::new()).as_str()).run();
    run.exits(1);
    assert_eq!(rejects(&dir), [("P0001".to_owned(), 3), ("P0001".to_owned(), 150)]);
    assert_eq!(reasons(&dir), "\"not this one\"\n\"not this one\"\n");

    let (dir, postgres) = (Dir::new(), Postgres::new());
    let role = format!("limited_{}", postgres.database());
    postgres.query(&format!(
        "create role {role} login password 'x'; create table t (id int primary key); grant all on t to {role};
         alter table t enable row level security; create policy p on t using (true) with check (id <> 5)"
    ));
    let run = upsert(&dir, &postgres).env("PG_USER", &role).env("PASSWORD", "x").args(["--table", "t"]);
    let run = run.stdin(rows(20, |_| String::new()).as_str()).run();
    run.exits(1);
    assert_eq!(rejects(&dir), [("42501".to_owned(), 5)]);
}

/// Nobody would want a million rejects because of one missing grant.
#[test]
fn when_no_row_passes_the_run_stops_and_names_one_record() {
    for count in [1, 2, 100, 2000] {
        let (dir, postgres) = (Dir::new(), Postgres::new());
        postgres.query(
            "create table t (id int primary key);
             create function refuse() returns trigger language plpgsql as $$begin raise exception 'closed'; end$$;
             create trigger refuse before insert on t for each row execute function refuse()",
        );
        let run = upsert(&dir, &postgres).args(["--table", "t", "--connections", "1"]);
        let run = run.stdin(rows(count, |_| String::new()).as_str()).run();
        run.exits(2).stderr_has("closed (SQLSTATE P0001); no row of the batch passes, for example a row: {\"id\":");
        assert!(!dir.has("pg-upsert.rejects.jsonl"));
    }
}

/// Each connection has one row, and the good one may be written last.
#[test]
fn rows_of_other_connections_show_that_the_table_is_not_to_blame() {
    for bad in [0, 1] {
        let (dir, postgres) = (Dir::new(), Postgres::new());
        postgres.query("create extension ltree; create table t (id int primary key, v ltree)");
        let rows = rows(2, |id| format!(",\"v\":\"{}\"", if id == bad { "a b!" } else { "a" }));
        let run = upsert(&dir, &postgres).args(["--table", "t", "--connections", "2"]).stdin(rows.as_str()).run();
        run.exits(1);
        assert_eq!(rejects(&dir), [("42601".to_owned(), bad)]);
    }
}

/// 40 bad rows at the beginning say nothing of the others.
#[test]
fn rows_from_all_over_the_batch_are_tried_before_the_table_is_blamed() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    postgres.query("create extension ltree; create table t (id int primary key, v ltree)");
    let rows = rows(400, |id| format!(",\"v\":\"{}\"", if id < 40 { "a b!" } else { "a" }));
    let run = upsert(&dir, &postgres).args(["--table", "t", "--max-rejects", "100%"]).stdin(rows.as_str()).run();
    run.exits(1);
    assert_eq!(postgres.query("select count(*), min(id) from t"), "360|40");
}

/// The server gives its own reasons, and the log one line for each batch.
#[test]
fn orphans_nulls_duplicates_and_failed_checks_are_found_together() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    postgres.query(
        "create table customers (id int primary key); insert into customers values (1);
         create table t (id int primary key, customer int references customers, n int not null, u int unique,
                         c int check (c > 0));
         insert into t values (100000, 1, 1, -5, 1)",
    );
    let rows = rows(5000, |id| {
        let (customer, n, u, c) = match id % 100 {
            1 => ("2", "1", id.to_string(), "1"),
            2 => ("1", "null", id.to_string(), "1"),
            3 => ("1", "1", "-5".to_owned(), "1"),
            4 => ("1", "1", id.to_string(), "0"),
            _ => ("1", "1", id.to_string(), "1"),
        };
        format!(",\"customer\":{customer},\"n\":{n},\"u\":{u},\"c\":{c}")
    });

    let run = upsert(&dir, &postgres).args(["--table", "t", "--max-rejects", "100%", "-b", "1000"]);
    let run = run.stdin(rows.as_str()).run();

    run.exits(1).stderr_has("5,000 records = 4,800 rows written + 0 merged + 0 filtered out + 200 rejected");
    let expected: Vec<_> = (0..5000)
        .filter_map(|id| {
            let code = match id % 100 {
                1 => "23503",
                2 => "23502",
                3 => "23505",
                4 => "23514",
                _ => return None,
            };
            Some((code.to_owned(), id))
        })
        .collect();
    assert_eq!(rejects(&dir), expected);
    let reasons = reasons(&dir);
    assert!(reasons.contains("violates foreign key constraint"), "{reasons}");
    assert!(reasons.contains("Key (customer)=(2) is not present in table"), "{reasons}");
    let lines = run.messages().lines().count();
    assert!(lines <= 12, "two lines for each of five batches, and the sum:\n{}", run.messages());
}

/// A row is only rejected if the server refuses it, whatever a look at its own values says.
#[test]
fn a_suspect_whose_row_a_trigger_or_a_policy_mends_is_written() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    postgres.query(
        "create table customers (id int primary key); insert into customers values (1);
         create table t (id int primary key, customer int references customers, n int not null);
         create function mend() returns trigger language plpgsql as
           $$begin new.customer := 1; new.n := coalesce(new.n, 0); return new; end$$;
         create trigger mend before insert on t for each row when (new.id <> 7) execute function mend()",
    );
    let rows = rows(50, |_| ",\"customer\":2,\"n\":null".to_owned());
    upsert(&dir, &postgres).args(["--table", "t"]).stdin(rows.as_str()).run().exits(1);
    assert_eq!(rejects(&dir), [("23502".to_owned(), 7)]);
    assert_eq!(postgres.query("select count(*) from t"), "49");
}

/// A limit that a smaller batch keeps.
#[test]
fn a_batch_that_takes_longer_than_the_server_allows_is_halved() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    postgres.query(&format!(
        "create table t (id int primary key);
         create function slow() returns trigger language plpgsql as $$begin perform pg_sleep(0.01); return new; end$$;
         create trigger slow before insert on t for each row execute function slow();
         alter database {} set statement_timeout = '500ms'",
        postgres.database()
    ));
    let run = upsert(&dir, &postgres).args(["--table", "t", "--connections", "1"]);
    let run = run.stdin(rows(200, |_| String::new()).as_str()).run();
    run.exits(0);
    assert_eq!(postgres.query("select count(*) from t"), "200");
    assert!(!run.messages().contains("trying again"), "{}", run.messages());
}

#[test]
fn one_row_that_takes_longer_than_the_server_allows_is_retried_and_never_rejected() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    postgres.query(&format!(
        "create table t (id int primary key);
         create function slow() returns trigger language plpgsql as
           $$begin if new.id = 3 then perform pg_sleep(60); end if; return new; end$$;
         create trigger slow before insert on t for each row execute function slow();
         alter database {} set statement_timeout = '300ms'",
        postgres.database()
    ));
    let run = upsert(&dir, &postgres).args(["--table", "t", "--connections", "1", "--retries", "1"]);
    let run = run.stdin(rows(8, |_| String::new()).as_str()).run();
    run.exits(69).stderr_has("57014");
    assert_eq!(postgres.query("select string_agg(id::text, ',' order by id) from t"), "0,1,2");
}

#[test]
fn rows_that_a_trigger_swallows_are_counted_as_suppressed() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    postgres.query(
        "create table t (id int primary key, v text);
         create function swallow() returns trigger language plpgsql as
           $$begin if new.id % 10 = 3 then return null; end if; return new; end$$;
         create trigger swallow before insert or update on t for each row execute function swallow()",
    );
    let all = rows(100, |_| ",\"v\":\"a\"".to_owned());
    let run = upsert(&dir, &postgres).args(["--table", "t"]).stdin(all.as_str()).run();
    run.exits(1).stderr_has("90 rows written + 0 merged + 0 filtered out + 0 rejected + 10 suppressed");
    run.stderr_has("10 rows were suppressed by a trigger or rule of the table");
    assert_eq!(postgres.query("select count(*) from t"), "90");

    // With a row that is refused, so that the server tries the others in parts.
    let bad = rows(100, |id| format!(",\"v\":{}", if id == 50 { r#""\u0000""# } else { "\"b\"" })) + "{\"id\":\"x\"}\n";
    let run = upsert(&dir, &postgres).args(["--table", "t"]).stdin(bad.as_str()).run();
    run.exits(1).stderr_has("101 records = 89 rows written + 0 merged + 0 filtered out + 2 rejected + 10 suppressed");
}

/// The server's command tag does not count these rows either, but nobody swallowed them.
#[test]
fn rows_that_the_policy_leaves_alone_are_merged_and_not_suppressed() {
    let trigger = "create function pass() returns trigger language plpgsql as $$begin return new; end$$;
                   create trigger pass before insert or update on t for each row execute function pass()";
    for more in ["", trigger] {
        let (dir, postgres) = (Dir::new(), Postgres::new());
        postgres.query(&format!("create table t (id int primary key, n int, v text); {more}"));
        let schema = |columns: &str| {
            format!(
                r#"{{"$schema":{{"v":1,"profile":"p","hash":"h","table":"t","key":["id"],"columns":[{{"name":"id","type":"integer"}},{columns}]}}}}"#
            )
        };
        let version = schema(
            r#"{"name":"n","type":"integer","merge":"greatest"},{"name":"v","type":"text","merge":{"newest":{"by":"n"}}}"#,
        );
        let load = |schema: &str, rows: &str| upsert(&dir, &postgres).stdin(format!("{schema}\n{rows}").as_str()).run();
        let run = load(&version, "{\"id\":1,\"n\":5,\"v\":\"a\"}\n{\"id\":2,\"n\":5,\"v\":\"a\"}\n");
        run.exits(0).stderr_has("2 records = 2 rows written");
        let run = load(
            &version,
            "{\"id\":1,\"n\":4,\"v\":\"b\"}\n{\"id\":2,\"n\":6,\"v\":\"b\"}\n{\"id\":3,\"n\":1,\"v\":\"b\"}\n",
        );
        run.exits(0).stderr_has("3 records = 2 rows written + 1 merged + 0 filtered out + 0 rejected,");
        let keep = schema(r#"{"name":"v","type":"text","merge":"keep"}"#);
        let run = load(&keep, "{\"id\":1,\"v\":\"z\"}\n{\"id\":4,\"v\":\"z\"}\n");
        run.exits(0).stderr_has("2 records = 1 rows written + 1 merged + 0 filtered out + 0 rejected,");
        assert_eq!(postgres.query("select id, n, v from t order by id"), "1|5|a\n2|6|b\n3|1|b\n4||z");
    }
}

/// Dates without an order and times without an offset are not taken as the role happens to be set.
#[test]
fn times_and_dates_do_not_depend_on_the_role() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    postgres.query(&format!(
        "create table t (id int primary key, at timestamptz, day date, span interval);
         alter database {0} set timezone = 'America/New_York'; alter database {0} set datestyle = 'SQL, DMY';
         alter database {0} set intervalstyle = 'sql_standard'",
        postgres.database()
    ));
    let rows = r#"{"id":1,"at":"2024-01-15 10:30:00","day":"2024-02-01","span":"-1 2:03:04"}
{"id":2,"at":"2024-01-15T10:30:00+02:00","day":"01/02/2024","span":"1 day"}
"#;
    upsert(&dir, &postgres).args(["--table", "t"]).stdin(rows).run().exits(1);
    assert_eq!(
        postgres.query(
            "set timezone = 'UTC'; set datestyle = 'ISO'; set intervalstyle = 'postgres'; select * from t order by id"
        ),
        "1|2024-01-15 10:30:00+00|2024-02-01|-1 days +02:03:04"
    );
    assert_eq!(rejects(&dir), [("22008".to_owned(), 2)]);
}

/// A database that does not know a character cannot even be sent it.
#[test]
fn a_character_that_the_database_lacks_rejects_its_row_alone() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    let name = format!("{}_latin1", postgres.database());
    postgres.query(&format!("create database {name} encoding 'LATIN1' locale 'C' template template0"));
    let server = postgres.server();
    server.psql(&name, "create table t (id int primary key, v text)");
    let rows = rows(100, |id| format!(",\"v\":\"{}\"", if id == 42 { "\u{65e5}" } else { "\u{e9}" }));
    let run = upsert(&dir, &postgres).env("DATABASE", &name).args(["--table", "t"]).stdin(rows.as_str()).run();
    run.exits(1);
    assert_eq!(rejects(&dir), [("22P05".to_owned(), 42)]);
    assert_eq!(server.psql(&name, "select count(*) from t"), "99");
    server.psql(postgres.database(), &format!("drop database {name}"));
}
