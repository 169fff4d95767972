//! Columns that SQL of the profile merges: each row is written after the last one of its key, and the SQL comes from the
//! profile's file alone.

use harness::Dir;
use harness::postgres::Postgres;

use crate::bash;

const PROFILE: &str = r#"
table = "t"
key = ["id"]
[columns]
id = { type = "text" }
best = { type = "integer", from = "n", merge = "sql", sql = "case when incoming % 2 = 0 then incoming else existing end" }
seen = { type = "text[]", from = "w", merge = "sql", sql = "existing || incoming" }
last = { type = "text", from = "l" }
"#;

fn item(id: &str, n: u32) -> String {
    format!(r#"{{"Item":{{"id":{{"S":"{id}"}},"n":{{"N":"{n}"}},"w":{{"SS":["{n}"]}},"l":{{"S":"{n}"}}}}}}"#) + "\n"
}

fn load(dir: &Dir, postgres: &Postgres, options: &str, items: &str) -> harness::Finished {
    let line = format!("ddb-parse -p p | pg-upsert --create {options}");
    bash(dir, postgres, &line).stdin(items).run()
}

#[test]
fn rows_of_one_key_are_merged_by_sql_one_after_the_other() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    dir.write("profiles/p.toml", PROFILE);
    let items = [("a", 1), ("b", 2), ("a", 4), ("a", 3), ("b", 5), ("c", 7)];
    let items: String = items.iter().map(|(id, n)| item(id, *n)).collect();

    load(&dir, &postgres, "", &items).exits(0).stderr_has("6 records");
    let rows = "select id, best, seen, last from t order by id";
    assert_eq!(postgres.query(rows), "a|4|{1,4,3}|3\nb|2|{2,5}|5\nc|7|{7}|7");

    // In transactions of one row, and over rows that are there.
    load(&dir, &postgres, "-b 1", &(item("a", 8) + &item("c", 10) + &item("c", 12))).exits(0);
    assert_eq!(postgres.query(rows), "a|8|{1,4,3,8}|8\nb|2|{2,5}|5\nc|12|{7,10,12}|12");

    // What it would do again is not known, so it is not compared.
    let verify = "ddb-parse -p p | pg-verify";
    bash(&dir, &postgres, verify).stdin(item("a", 8)).run().exits(0);
    bash(&dir, &postgres, verify).stdin(item("a", 9)).run().exits(1).stdout_has(r#""columns":["last"]"#);
}

#[test]
fn the_sql_comes_from_the_profile_and_not_from_the_stream() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    dir.write("p.toml", PROFILE);

    let run = bash(&dir, &postgres, "ddb-parse -p ./p.toml").stdin(item("a", 1)).run();
    run.exits(0).stdout_has(r#""merge":"sql""#);
    assert!(!run.output().contains("existing"), "{}", run.output());
    let line = "ddb-parse -p ./p.toml | pg-upsert --create";
    bash(&dir, &postgres, line)
        .stdin(item("a", 1))
        .run()
        .exits(2)
        .stderr_has("`best` is merged by SQL of the profile `p`, which is not at hand")
        .stderr_has("hint: put it into profiles/ or a folder of DDB_PIPE_PROFILES");
    bash(&dir, &postgres, "ddb-parse -p ./p.toml --to csv").stdin("").run().exits(2).stderr_has("which CSV cannot say");
}

#[test]
fn sql_that_is_wrong_is_said_before_anything_is_written() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    dir.write("profiles/p.toml", PROFILE.replace("existing || incoming", "existing || incomin"));
    load(&dir, &postgres, "", &item("a", 1)).exits(2).stderr_has("incomin");
    assert_eq!(postgres.query("select count(*) from t"), "0");
}

/// What is wrong before there is a row is no row's fault, whatever the server's code for it is.
#[test]
fn sql_with_a_value_that_cannot_be_rejects_no_record() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    dir.write("profiles/p.toml", PROFILE.replace("existing || incoming", "coalesce(incoming, 'none')"));
    load(&dir, &postgres, "", &item("a", 1)).exits(2).stderr_has("malformed array literal").stderr_has("22P02");
    assert!(!dir.path().join("migrate-p.rejects.jsonl").exists());
}

#[test]
fn each_of_several_tables_has_its_own_rules() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    let table = |name: &str, sql: &str| {
        format!(
            "[[table]]\nname = \"{name}\"\nwhen = [{{ attribute = \"kind\", equals = \"{name}\" }}]\nkey = [\"id\"]\n\
             [table.columns]\nid = {{ type = \"text\" }}\n\
             n = {{ type = \"integer\", merge = \"sql\", sql = \"{sql}\" }}\n"
        )
    };
    let even = "case when incoming % 2 = 0 then incoming else existing end";
    dir.write("profiles/p.toml", table("even", even) + &table("sum", "100 * existing + incoming"));
    let item = |kind: &str, n: u32| {
        format!(r#"{{"Item":{{"id":{{"S":"a"}},"kind":{{"S":"{kind}"}},"n":{{"N":"{n}"}}}}}}"#) + "\n"
    };
    let items: String = [4, 5, 7].iter().flat_map(|n| [item("even", *n), item("sum", *n)]).collect();

    // However few rows a window takes, each row is merged by the rule of its table.
    for window in ["1", "50000"] {
        let line = format!("ddb-parse -p p --window {window} | pg-upsert --create");
        bash(&dir, &postgres, &line).stdin(&items).run().exits(0);
        assert_eq!(postgres.query("select even.n, sum.n from even, sum"), "4|40507", "--window {window}");
        postgres.query("drop table even, sum");
    }
}

#[test]
fn the_profile_at_hand_has_to_be_the_one_that_made_the_rows() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    dir.write("profiles/p.toml", PROFILE);
    dir.write("staging/p.toml", PROFILE.replace("% 2", "% 3"));
    bash(&dir, &postgres, "ddb-parse -p ./staging/p.toml | pg-upsert --create")
        .stdin(item("a", 1))
        .run()
        .exits(2)
        .stderr_has("the profile `p` that is at hand is not the one that made the rows");
}

#[test]
fn a_rule_that_cannot_be_is_a_mistake_of_the_profile() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    for (from, to, message) in [
        ("merge = \"sql\", sql", "sql", "go together"),
        (", sql = \"existing || incoming\"", "", "go together"),
        ("id = { type = \"text\" }", "id = { type = \"text\", merge = \"sql\", sql = \"existing\" }", "not merged"),
        ("last = { type = \"text\",", "last = { type = \"text[]\", merge = \"union\",", "do not go together"),
    ] {
        let profile = PROFILE.replace(from, to);
        assert_ne!(profile, PROFILE, "{from}");
        dir.write("profiles/p.toml", profile);
        bash(&dir, &postgres, "ddb-parse --check -p p").run().exits(2).stderr_has(message);
    }
}
