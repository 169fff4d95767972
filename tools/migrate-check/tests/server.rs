//! What `doctor` says of the server and of a pooler before it: a real pgbouncer in each mode, and the recorded answers of
//! servers that cannot run here.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod mock;
mod pooler;

use harness::export::Export;
use harness::postgres::Postgres;
use harness::{Dir, Finished, program};

use mock::{Answer, Mock};
use pooler::Pooler;

const PROFILE: &str = r#"
table = "people"
key = ["id"]
[columns]
id = { type = "bigint" }
name = { type = "text" }
"#;

/// A folder with a profile and an export of one item.
fn world() -> Dir {
    let dir = Dir::new();
    dir.write("profiles/people.toml", PROFILE);
    let item = r#"{"Item":{"id":{"N":"1"},"name":{"S":"a"}}}"#;
    Export::new("People", "01700000000000-abcdef12").under("exports/").file([item]).write_to(&dir);
    dir
}

fn database() -> Postgres {
    let postgres = Postgres::new();
    postgres.query("create table people (id bigint primary key, name text)");
    postgres
}

fn doctor(dir: &Dir, postgres: &Postgres, port: u16) -> Finished {
    let port = port.to_string();
    let program = program!("migrate-check").in_dir(dir).envs(postgres.envs()).env("PORT", port);
    program.args(["doctor", "-p", "people", "--source", "exports", "--retries", "0"]).run()
}

/// The findings of a check, as they stand in the output.
fn found<'a>(report: &'a Finished, check: &str) -> Vec<&'a str> {
    let lines = report.output().lines();
    lines.filter(|line| line.split_whitespace().nth(1) == Some(check)).collect()
}

#[test]
fn a_server_without_a_pooler_works() {
    let (dir, postgres) = (world(), database());

    let report = doctor(&dir, &postgres, postgres.port());

    report.exits(0).stdout_has("ok       server      PostgreSQL: works\n");
}

#[test]
fn aurora_and_rds_are_named() {
    let (dir, postgres) = (world(), database());
    // On a server of its own: a role belongs to all databases.
    let server = harness::postgres::Server::start();
    let other = Postgres::on(&server);
    other.query("create table people (id bigint primary key, name text); create role rds_superuser");
    postgres.query("create function aurora_version() returns text language sql as $$ select '15.4.2'::text $$");

    let report = doctor(&dir, &postgres, postgres.port());
    report.exits(0).stdout_has("ok       server      Amazon Aurora PostgreSQL: works\n");

    let report = doctor(&dir, &other, other.port());
    report.exits(0).stdout_has("ok       server      Amazon RDS for PostgreSQL: works\n");
}

#[test]
fn a_pooler_in_session_mode_is_like_the_server_itself() {
    let (dir, postgres) = (world(), database());
    let pooler = Pooler::start(&postgres, "session", &[]);

    let report = doctor(&dir, &postgres, pooler.port());

    report.exits(0).stdout_has("ok       server      PostgreSQL: works\n");
}

/// However it hands out its sessions: the one that came back last, or each in turn; with a cold and with a warm pool.
#[test]
fn a_pooler_in_transaction_mode_is_found_and_works() {
    let (dir, postgres) = (world(), database());
    for (settings, sessions) in [
        (&[][..], 2),
        (&[("default_pool_size", "1")], 1),
        (&[("server_round_robin", "1")], 2),
        (&[("server_round_robin", "1"), ("default_pool_size", "2")], 2),
    ] {
        let pooler = Pooler::start(&postgres, "transaction", settings);
        for pool in ["cold", "warm"] {
            let report = doctor(&dir, &postgres, pooler.port());
            let expected = [
                "ok       server      PostgreSQL behind a pooler in transaction mode: works; for a large load use the direct \
                 port",
            ];
            assert_eq!(found(report.exits(0), "server"), expected, "{settings:?}, {pool}");
            // Nothing that the next client of a session would find. This warms the pool, too.
            for left in pooler.ask(sessions, LEFT_BEHIND) {
                assert_eq!(left, "0|0|0", "{settings:?}, {pool}");
            }
        }
    }
}

/// How many prepared statements, temporary tables and settings (besides those that pgbouncer itself keeps) a session has.
const LEFT_BEHIND: &str = "
    select (select count(*) from pg_prepared_statements) || '|' ||
           (select count(*) from pg_class where relpersistence = 't') || '|' ||
           (select count(*) from pg_settings where source = 'session' and name not in
                ('application_name', 'client_encoding', 'DateStyle', 'TimeZone', 'standard_conforming_strings'))";

#[test]
fn a_pooler_in_statement_mode_is_refused_and_nothing_more_is_asked() {
    let (dir, postgres) = (world(), database());
    let pooler = Pooler::start(&postgres, "statement", &[]);

    let report = doctor(&dir, &postgres, pooler.port());

    report
        .exits(2)
        .stdout_has(
            "error    server      PostgreSQL behind a pooler in statement mode: not supported, because it refuses \
             transactions\n",
        )
        .stdout_has("hint: use the server's direct port, or a pooler in transaction or session mode\n");
    assert!(found(&report, "table").is_empty() && found(&report, "connection").is_empty(), "{report:?}");
}

/// What these servers answered to others, as far as it was published; whatever else is asked of them fails.
#[test]
fn a_server_that_lacks_what_a_load_needs_is_refused_with_the_reason() {
    let (dir, postgres) = (world(), database());
    let version = |text: &'static str| ("select version()", Answer::Row(vec![text]));
    let marks = |dsql: &'static str| ("dsql_major_version", Answer::Row(vec![dsql, "f", "f"]));
    let cockroach = "CockroachDB CCL v24.2.4 (x86_64-pc-linux-gnu, built 2024/10/14 17:20:56, go1.22.5)";
    let yugabyte =
        "PostgreSQL 11.2-YB-2.6.1.0-b0 on x86_64-pc-linux-gnu, compiled by gcc (Homebrew gcc 5.5.0_4) 5.5.0, 64-bit";
    for (answers, expected) in [
        (
            vec![version(cockroach)],
            "CockroachDB: not supported, because it has no temporary tables that a commit drops",
        ),
        (
            vec![version(yugabyte)],
            "YugabyteDB: not supported, because it cannot commit a transaction that has a temporary table dropped at its end",
        ),
        (
            vec![version("PostgreSQL 16"), marks("t")],
            "Amazon Aurora DSQL: not supported, because it has no temporary tables and no savepoints",
        ),
    ] {
        let mock = Mock::start(answers);
        let report = doctor(&dir, &postgres, mock.port());
        assert_eq!(found(report.exits(2), "server"), [format!("error    server      {expected}")]);
        assert!(found(&report, "table").is_empty() && found(&report, "connection").is_empty(), "{report:?}");
    }
}
