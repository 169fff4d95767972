//! Loads through a real `pgbouncer` that hands each transaction to whichever session of the server is free.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;

use harness::pgbouncer::{PoolMode, Pooler};
use harness::postgres::{PASSWORD, Postgres, USER};
use harness::{Dir, Program, program};
use postgres::{Client, NoTls, SimpleQueryMessage};

/// The program, through a pooler.
fn upsert(dir: &Dir, postgres: &Postgres, pooler: &Pooler) -> Program {
    let port = pooler.port().to_string();
    program!("pg-upsert").in_dir(dir).envs(postgres.envs()).env("PORT", &port)
}

fn answers(client: &mut Client, sql: &str) -> BTreeSet<String> {
    let messages = client.simple_query(sql).unwrap();
    let text = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|n| row.get(n).unwrap_or("-")).collect::<Vec<_>>().join("|"))
        }
        _ => None,
    };
    messages.iter().filter_map(text).collect()
}

/// What the session of the server is like: settings, statements, temporary tables and functions.
fn session(postgres: &Postgres, pooler: &Pooler) -> [BTreeSet<String>; 4] {
    let settings =
        format!("host=127.0.0.1 port={} user={USER} password={PASSWORD} dbname={}", pooler.port(), postgres.database());
    let mut client = Client::connect(&settings, NoTls).unwrap();
    [
        // The pooler sets the first itself for each client. The others appear when the server loads PL/pgSQL.
        "select name, setting from pg_settings where name <> 'application_name' and name not like 'plpgsql.%'",
        "select name from pg_prepared_statements",
        "select relname from pg_class where relpersistence = 't' and relnamespace = pg_my_temp_schema()",
        "select proname from pg_proc where pronamespace = pg_my_temp_schema() and pg_my_temp_schema() <> 0",
    ]
    .map(|sql| answers(&mut client, sql))
}

/// One session of the server, so that the second load meets what the first one left.
#[test]
fn values_of_one_table_do_not_pass_through_the_stage_of_another() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    let pooler = Pooler::start(postgres.server(), PoolMode::Transaction, &[("default_pool_size", "1")]);
    postgres.query(
        "create table a (id int primary key, price numeric(10,2), name char(12));
         create table b (id int primary key, price numeric, name text); insert into b values (0, 0, '')",
    );
    let rows = "{\"id\":1,\"price\":1.239,\"name\":\"ab  \"}\n";
    for table in ["a", "b"] {
        upsert(&dir, &postgres, &pooler).args(["--table", table]).stdin(rows).run().exits(0);
    }
    assert_eq!(postgres.query("select price, '<' || name || '>' from b where id = 1"), "1.239|<ab  >");
}

/// Merge functions, keys that only the server compares, rejects, rows that wait, a table that is made.
#[test]
fn a_load_leaves_nothing_in_the_session_of_the_server() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    let pooler = Pooler::start(postgres.server(), PoolMode::Transaction, &[("default_pool_size", "1")]);
    postgres.query(
        "create extension citext;
         create type mood as enum ('ok');
         create table t (id int primary key, m mood, boss int references t, n int not null, tags jsonb);
         create table c (id citext primary key, v text)",
    );
    let before = session(&postgres, &pooler);
    let schema = r#"{"$schema":{"v":1,"profile":"p","hash":"h","table":"t","key":["id"],"columns":[{"name":"id","type":"integer"},{"name":"m","type":"mood"},{"name":"boss","type":"integer"},{"name":"n","type":"integer"},{"name":"tags","type":"jsonb","merge":"union"}]}}"#;
    let rows = r#"{"id":1,"m":"ok","boss":9,"n":1,"tags":[1]}
{"id":2,"m":"bad","boss":null,"n":1,"tags":[1]}
{"id":3,"m":"ok","boss":null,"n":null,"tags":[1]}
{"id":9,"m":"ok","boss":null,"n":1,"tags":[2]}
"#;
    let run = upsert(&dir, &postgres, &pooler).args(["-b", "1", "--connections", "2", "--max-rejects", "100%"]);
    run.stdin(format!("{schema}\n{rows}").as_str()).run().exits(1);
    let run = upsert(&dir, &postgres, &pooler).args(["-b", "4", "--max-rejects", "100%"]);
    run.stdin(format!("{schema}\n{rows}").as_str()).run().exits(1);
    assert_eq!(postgres.query("select id, boss, tags from t order by id"), "1|9|[1]\n9||[2]");
    let keys = "{\"id\":\"A\",\"v\":\"1\"}\n{\"id\":\"a\",\"v\":\"2\"}\n";
    upsert(&dir, &postgres, &pooler).args(["--table", "c"]).stdin(keys).run().exits(0);
    assert_eq!(postgres.query("select v from c"), "2");

    assert_eq!(session(&postgres, &pooler), before);
    assert!(before[1].is_empty() && before[2].is_empty() && before[3].is_empty(), "{before:?}");
}

#[test]
fn the_search_path_and_options_reach_the_server_through_a_pooler() {
    for mode in [PoolMode::Transaction, PoolMode::Session] {
        let (dir, postgres) = (Dir::new(), Postgres::new());
        let pooler = Pooler::start(postgres.server(), mode, &[]);
        postgres.query("create schema s; create table s.t (id int primary key); create table t (id int primary key)");
        let run = upsert(&dir, &postgres, &pooler).env("PGOPTIONS", "-c search_path=s").args(["--table", "t"]);
        run.stdin("{\"id\":1}\n").run().exits(0);
        assert_eq!(postgres.query("select (select count(*) from s.t), (select count(*) from t)"), "1|0");
    }
}

/// Another client of the pooler left statements with names that the driver is about to use.
#[test]
fn statements_that_others_left_behind_are_passed_over() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    let pooler = Pooler::start(postgres.server(), PoolMode::Transaction, &[("default_pool_size", "1")]);
    postgres.query("create table t (id int primary key)");
    let settings =
        format!("host=127.0.0.1 port={} user={USER} password={PASSWORD} dbname={}", pooler.port(), postgres.database());
    let mut other = Client::connect(&settings, NoTls).unwrap();
    for name in ["s0", "s3"] {
        other.batch_execute(&format!("prepare {name} as select 1")).unwrap();
    }
    let run = upsert(&dir, &postgres, &pooler).args(["--table", "t", "--connections", "1"]);
    let run = run.stdin("{\"id\":1}\n").run();
    run.exits(0).stderr_has("a transaction pooler gave us a session of the server that other clients use, too");
    assert_eq!(postgres.query("select id from t"), "1");
}

#[test]
fn a_pooler_that_allows_no_transactions_is_named() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    let pooler = Pooler::start(postgres.server(), PoolMode::Statement, &[]);
    postgres.query("create table t (id int primary key)");
    let run = upsert(&dir, &postgres, &pooler).args(["--table", "t", "--retries", "1"]).stdin("{\"id\":1}\n").run();
    // The pooler closes the connection behind its error, which the driver may see first.
    run.stderr_has("use the pooler in transaction or session mode, or the server's direct port");
}
