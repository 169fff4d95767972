//! Names of the user's tables and columns that are the same as names in our SQL, in a comparison.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use harness::postgres::{PASSWORD, Postgres, USER};
use harness::{Finished, program};
use pg::catalogue::Table;
use pg::comparison::Comparison;
use postgres::{Client, NoTls};
use serde_json::{Map, Value, json};

/// Every policy that compares by SQL of its own: the type, the merging, what the table has, and an item that changes it.
fn policies() -> [(&'static str, Value, Value, Value); 9] {
    [
        ("text", json!("replace"), json!("a"), json!("b")),
        ("text", json!("coalesce"), json!("a"), json!("b")),
        ("numeric", json!("greatest"), json!(1), json!(2)),
        ("text", json!("least"), json!("b"), json!("a")),
        ("text[]", json!("union"), json!(["a"]), json!(["b"])),
        ("jsonb", json!("union"), json!(["a"]), json!(["b"])),
        ("jsonb", json!("jsonb_merge"), json!({"a": 1}), json!({"a": 2})),
        ("jsonb", json!("jsonb_merge_text"), json!({"a": "x"}), json!({"a": "y"})),
        ("jsonb", json!({"keyed_array": {"key": ["k"], "prefer": "p"}}), json!([{"k": 1}]), json!([{"k": 2}])),
    ]
}

/// A schema whose columns besides the key all have that type and merging.
fn schema(table: &str, key: &[String], columns: &[String], ty: &str, merge: &Value) -> Value {
    let key_columns = key.iter().map(|name| json!({"name": name, "type": "bigint"}));
    let others = columns.iter().map(|name| json!({"name": name, "type": ty, "merge": merge}));
    let columns: Vec<_> = key_columns.chain(others).collect();
    json!({"v": 1, "profile": "t", "hash": "h", "table": table, "key": key, "columns": columns})
}

/// The same with columns that are merged together, by the side that qualifies in the column `side`.
fn grouped(table: &str, columns: &[String]) -> Value {
    let mut schema = schema(table, &["id".to_owned()], columns, "text", &json!("replace"));
    let last = schema["columns"].as_array_mut().unwrap();
    last.push(json!({"name": "side", "type": "jsonb", "merge": {"keyed_array": {"key": ["f"], "prefer": "p"}}}));
    schema["groups"] =
        json!([{"columns": columns, "preferred_side": {"in": "side", "where": {"f": "85"}, "has": "p"}}]);
    schema
}

fn create(postgres: &Postgres, schema: &Value) {
    let quoted = |name: &Value| pg::quote_name(name.as_str().unwrap());
    let columns = schema["columns"].as_array().unwrap().iter();
    let columns = columns.map(|column| format!("{} {}", quoted(&column["name"]), column["type"].as_str().unwrap()));
    let key = schema["key"].as_array().unwrap().iter().map(quoted).collect::<Vec<_>>().join(", ");
    let table = quoted(&schema["table"]);
    let columns = columns.collect::<Vec<_>>().join(", ");
    postgres.query(&format!("drop table if exists {table}; create table {table} ({columns}, primary key ({key}))"));
}

fn insert(postgres: &Postgres, table: &str, row: &Value) {
    let (table, row) = (pg::quote_name(table), pg::quote_text(&row.to_string()));
    postgres.query(&format!("insert into {table} select * from jsonb_populate_record(null::{table}, {row})"));
}

fn verify(postgres: &Postgres, schema: &Value, rows: &[Value]) -> Finished {
    let mut stream = json!({"$schema": schema}).to_string() + "\n";
    for row in rows {
        stream += &(row.to_string() + "\n");
    }
    program!("pg-verify").envs(postgres.envs()).stdin(stream).run()
}

fn row(key: &[(&str, u64)], columns: &[String], value: &Value) -> Value {
    let key = key.iter().map(|(name, value)| ((*name).to_owned(), json!(value)));
    let others = columns.iter().map(|name| (name.clone(), value.clone()));
    Value::Object(key.chain(others).collect::<Map<_, _>>())
}

/// Every word of the SQL that compares rows, whatever its part in it is.
fn words(postgres: &Postgres) -> Vec<String> {
    let settings = format!(
        "host=127.0.0.1 port={} user={USER} password={PASSWORD} dbname={}",
        postgres.port(),
        postgres.database()
    );
    let mut client = Client::connect(&settings, NoTls).unwrap();
    let mut schemas: Vec<_> =
        policies().iter().map(|(ty, merge, ..)| schema("t", &["id".into()], &["v".into()], ty, merge)).collect();
    schemas.push(grouped("t", &["v".into(), "w".into()]));
    let mut words = Vec::new();
    for schema in schemas {
        create(postgres, &schema);
        let table = Table::find(&mut client, None, "t").unwrap().unwrap();
        let schema = serde_json::from_value(schema).unwrap();
        let Comparison { prologue, copy, differing, sides } = Comparison::of(&schema, &table, 0);
        let sql = [prologue, copy, differing, sides].join(" ");
        let found = sql.split(|char: char| !char.is_ascii_alphanumeric() && char != '_');
        words.extend(found.filter(|word| word.starts_with(char::is_alphabetic)).map(str::to_owned));
    }
    words.sort_unstable();
    words.dedup();
    words.retain(|word| word != "id");
    for expected in
        ["side", "old", "excluded", "group_0", "choice", "elements", "e", "ddb_pipe_index", "ddb_pipe_stage_0"]
    {
        assert!(words.iter().any(|word| word == expected), "{expected} is no word of the SQL");
    }
    words
}

#[test]
fn columns_may_have_the_names_that_the_comparison_uses() {
    let postgres = Postgres::new();
    let words = words(&postgres);
    for (ty, merge, has, item) in policies() {
        let schema = schema("t", &["id".into()], &words, ty, &merge);
        create(&postgres, &schema);
        insert(&postgres, "t", &row(&[("id", 1)], &words, &has));
        insert(&postgres, "t", &row(&[("id", 2)], &words, &has));

        let rows = [1, 2, 3].map(|id| row(&[("id", id)], &words, if id == 1 { &has } else { &item }));
        let run = verify(&postgres, &schema, &rows);

        run.exits(1).stderr_has("1 missing, 1 different");
        let line: Value =
            run.output().lines().map(|line| serde_json::from_str(line).unwrap()).find(is_different).unwrap();
        assert_eq!(line["columns"], json!(words), "{ty} {merge}");
        assert_eq!(line["key"], json!({"id": 2}), "{ty} {merge}");
        assert_eq!(line["found"]["side"], has, "{ty} {merge}");
    }
}

fn is_different(line: &Value) -> bool {
    line["problem"] == "differs"
}

#[test]
fn columns_that_are_merged_together_may_have_such_names() {
    let postgres = Postgres::new();
    let words: Vec<_> = words(&postgres).into_iter().filter(|word| word != "side").collect();
    let schema = grouped("t", &words);
    create(&postgres, &schema);
    let with_side = |id, value: &str, p: Value| {
        let mut row = row(&[("id", id)], &words, &json!(value));
        row["side"] = json!([{"f": "85", "p": p}]);
        row
    };
    insert(&postgres, "t", &with_side(1, "a", json!("x")));
    insert(&postgres, "t", &with_side(2, "a", json!("x")));

    let run = verify(&postgres, &schema, &[with_side(1, "b", Value::Null), with_side(2, "b", json!("x"))]);

    run.exits(1).stderr_has("0 missing, 1 different");
    let line: Value = serde_json::from_str(run.output()).unwrap();
    assert_eq!((&line["key"], &line["columns"]), (&json!({"id": 2}), &json!(words)));
}

/// An index has at most 32 columns, so the names are in several tables.
#[test]
fn columns_of_the_key_may_have_such_names() {
    let postgres = Postgres::new();
    for key in words(&postgres).chunks(32) {
        let columns = ["id".to_owned()];
        let schema = schema("t", key, &columns, "text", &json!("replace"));
        create(&postgres, &schema);
        let numbers = |number| key.iter().map(|name| (name.as_str(), number)).collect::<Vec<_>>();
        insert(&postgres, "t", &row(&numbers(1), &columns, &json!("a")));
        insert(&postgres, "t", &row(&numbers(2), &columns, &json!("a")));

        let rows = [(1, "a"), (2, "b"), (3, "c")].map(|(number, v)| row(&numbers(number), &columns, &json!(v)));
        let run = verify(&postgres, &schema, &rows);

        run.exits(1).stderr_has("1 missing, 1 different");
    }
}

#[test]
fn a_table_may_have_a_name_that_the_comparison_uses() {
    let postgres = Postgres::new();
    let ours = words(&postgres).into_iter().filter(|word| word.starts_with("ddb_pipe_"));
    let aliases = ["old", "excluded", "side", "choice", "group_0", "elements"].map(str::to_owned);
    for table in ours.chain(aliases) {
        let columns = ["v".to_owned()];
        let schema = schema(&table, &["id".into()], &columns, "text", &json!("replace"));
        create(&postgres, &schema);
        insert(&postgres, &table, &row(&[("id", 1)], &columns, &json!("a")));

        let rows = [1, 2].map(|id| row(&[("id", id)], &columns, &json!("b")));
        let run = verify(&postgres, &schema, &rows);

        run.exits(1).stderr_has("1 missing, 1 different");
    }
}
