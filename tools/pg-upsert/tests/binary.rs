//! Rows are sent in COPY's binary format where that can hold them. What it cannot hold does not show: such rows go as text,
//! in the same transaction. That both formats fill a table alike is tested beside the encoder, in `rows`.

use harness::postgres::{PASSWORD, Postgres, USER};
use harness::{Dir, Program, program};
use postgres::{Client, NoTls};

/// A table whose rows say in which transaction they came.
const TABLE: &str =
    "create table t (id integer primary key, at timestamptz, n real, came bigint default txid_current())";

fn upsert(dir: &Dir, postgres: &Postgres, rows: &[String]) -> Program {
    let lines = rows.join("\n") + "\n";
    let program = program!("pg-upsert").in_dir(dir).envs(postgres.envs());
    program.args(["--table", "t", "--key", "id", "--connections", "1"]).stdin(lines)
}

fn row(id: u64, at: &str) -> String {
    format!(r#"{{"id":{id},"at":"{at}","n":0.5}}"#)
}

const TIME: &str = "2024-02-29T23:59:59.5+01:00";

fn found(postgres: &Postgres) -> String {
    postgres.query(
        "set timezone to utc; select count(*), count(distinct came), count(*) filter (where at = 'infinity'),
         count(*) filter (where at = '2024-02-29 22:59:59.5' and n = 0.5) from t",
    )
}

#[test]
fn rows_that_only_text_can_hold_are_written_in_the_same_transaction() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    postgres.query(TABLE);
    let at = |id| if [1, 50, 51, 200].contains(&id) { "infinity" } else { TIME };
    let rows: Vec<_> = (1..=200).map(|id| row(id, at(id))).collect();

    upsert(&dir, &postgres, &rows).run().exits(0).stderr_has("200 records = 200 rows written");
    assert_eq!(found(&postgres), "200|1|4|196");

    // The same over the stage.
    upsert(&dir, &postgres, &rows).run().exits(0).stderr_has("200 records = 200 rows written");
    assert_eq!(found(&postgres), "200|1|4|196");
}

#[test]
fn where_text_has_to_hold_most_rows_all_are_written_all_the_same() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    postgres.query(TABLE);
    let rows: Vec<_> = (1..=600).map(|id| row(id, if id % 3 == 0 { TIME } else { "infinity" })).collect();

    upsert(&dir, &postgres, &rows).args(["-b", "200"]).run().exits(0).stderr_has("600 records = 600 rows written");
    assert_eq!(found(&postgres), "600|3|400|200");
}

#[test]
fn a_value_that_is_none_is_rejected_in_the_server_s_words() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    postgres.query(TABLE);
    let mut rows: Vec<_> = (1..=100).map(|id| row(id, TIME)).collect();
    rows[41] = row(42, "soon");
    rows[56] = r#"{"id":57,"at":null,"n":1e39}"#.to_owned();
    rows[77] = r#"{"id":2147483648,"at":null,"n":null}"#.to_owned();

    let run = upsert(&dir, &postgres, &rows).run();

    run.exits(1).stderr_has("100 records = 97 rows written + 0 merged + 0 filtered out + 3 rejected");
    let rejects = dir.read("pg-upsert.rejects.jsonl");
    for reason in [
        r#"invalid input syntax for type timestamp with time zone: \"soon\""#,
        r#"\"1e39\" is out of range for type real"#,
        r#"value \"2147483648\" is out of range for type integer"#,
    ] {
        assert!(rejects.contains(reason), "{rejects}");
    }
    assert_eq!(postgres.query("select count(*) from t"), "97");
}

/// Of an empty table whose row somebody else writes meanwhile, just the one that goes as text: nothing of the transaction
/// stays, and all of it is merged.
#[test]
fn a_conflict_of_a_row_that_went_as_text_undoes_those_before_it() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    postgres.query(TABLE);
    let (port, database) = (postgres.port(), postgres.database());
    let settings = format!("host=127.0.0.1 port={port} user={USER} password={PASSWORD} dbname={database}");
    let mut other = Client::connect(&settings, NoTls).unwrap();
    other.batch_execute("begin; insert into t values (7, 'now', 7)").unwrap();
    let rows: Vec<_> = (1..=20).map(|id| row(id, if id == 7 { "infinity" } else { TIME })).collect();
    let run = upsert(&dir, &postgres, &rows);
    let run = std::thread::spawn(move || run.run());
    postgres.wait_for(
        "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
        "1",
    );
    other.batch_execute("commit").unwrap();

    run.join().unwrap().exits(0).stderr_has("20 records = 20 rows written");
    // The row of the other one keeps when it came.
    assert_eq!(found(&postgres), "20|2|1|19");
}
