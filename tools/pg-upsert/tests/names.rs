//! Names of the user's tables and columns that are the same as names in our SQL, in a load.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use harness::postgres::Postgres;
use harness::{Dir, Finished, program};
use pg::constraints::{Check, Constraints, ForeignKey, TableId, Unique};
use pg::isolate::Circumstances;
use pg::statement::{Dialect, SameKeys, Statements};
use serde_json::{Map, Value, json};

/// Every policy that has SQL of its own: the type, the merging, what the table has, an item, and what they become.
fn policies() -> [(&'static str, Value, [Value; 3]); 11] {
    [
        ("text", json!("replace"), [json!("a"), json!("b"), json!("b")]),
        ("text", json!("keep"), [json!("a"), json!("b"), json!("a")]),
        ("text", json!("coalesce"), [json!("a"), Value::Null, json!("a")]),
        ("numeric", json!("greatest"), [json!(2), json!(1), json!(2)]),
        ("text", json!("least"), [json!("b"), json!("a"), json!("a")]),
        ("text", json!({"newest": {"by": "id2"}}), [json!("a"), json!("b"), json!("b")]),
        ("text[]", json!("union"), [json!(["a"]), json!(["b"]), json!(["a", "b"])]),
        ("jsonb", json!("union"), [json!(["a"]), json!(["b"]), json!(["a", "b"])]),
        ("jsonb", json!("jsonb_merge"), [json!({"a": 1}), json!({"b": 2}), json!({"a": 1, "b": 2})]),
        ("jsonb", json!("jsonb_merge_text"), [json!({"a": "x"}), json!({"a": ""}), json!({"a": "x"})]),
        (
            "jsonb",
            json!({"keyed_array": {"key": ["k"], "prefer": "p"}}),
            [json!([{"k": 1}]), json!([{"k": 2}]), json!([{"k": 1}, {"k": 2}])],
        ),
    ]
}

/// A schema with a version `id2`, whose other columns all have that type and merging.
fn schema(table: &str, key: &[(&str, &str)], columns: &[String], ty: &str, merge: &Value) -> Value {
    let key_columns = key.iter().map(|(name, ty)| json!({"name": name, "type": ty}));
    let version = json!({"name": "id2", "type": "bigint", "merge": "greatest"});
    let others = columns.iter().map(|name| json!({"name": name, "type": ty, "merge": merge}));
    let columns: Vec<_> = key_columns.chain([version]).chain(others).collect();
    let key: Vec<_> = key.iter().map(|(name, _)| name).collect();
    json!({"v": 1, "profile": "t", "hash": "h", "table": table, "key": key, "columns": columns})
}

/// The same with columns that are merged together, by the side that qualifies in the column `side`.
fn grouped(columns: &[String]) -> Value {
    let mut schema = schema("t", &[("id", "bigint")], columns, "text", &json!("replace"));
    let last = schema["columns"].as_array_mut().unwrap();
    last.push(json!({"name": "side", "type": "jsonb", "merge": {"keyed_array": {"key": ["f"], "prefer": "p"}}}));
    schema["groups"] =
        json!([{"columns": columns, "preferred_side": {"in": "side", "where": {"f": "85"}, "has": "p"}}]);
    schema
}

fn row(key: &[(&str, Value)], version: u32, columns: &[String], value: &Value) -> Value {
    let key = key.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    let others = columns.iter().map(|name| (name.clone(), value.clone()));
    Value::Object(key.chain([("id2".to_owned(), json!(version))]).chain(others).collect::<Map<_, _>>())
}

/// Loads lines into a table that is made if it is not there.
fn load(postgres: &Postgres, schema: &Value, lines: &[Value]) -> Finished {
    let mut stream = json!({"$schema": schema}).to_string() + "\n";
    for line in lines {
        stream += &(line.to_string() + "\n");
    }
    let dir = Dir::new();
    program!("pg-upsert").in_dir(&dir).envs(postgres.envs()).args(["--create"]).stdin(stream).run()
}

fn rows(postgres: &Postgres, table: &str) -> Vec<Value> {
    let table = pg::quote_name(table);
    let rows =
        postgres.query(&format!("select coalesce(jsonb_agg(to_jsonb(x.*) order by x.id2), '[]') from {table} x"));
    serde_json::from_str(&rows).unwrap()
}

/// One rule of each kind.
fn constraints() -> Constraints {
    let v = || vec!["v".to_owned()];
    let table = TableId { schema: "public".to_owned(), name: "t".to_owned() };
    Constraints {
        not_null: v(),
        checks: vec![Check { condition: "(v is not null)".to_owned(), columns: v() }],
        unique: vec![Unique { columns: v(), deferrable: true }],
        foreign_keys: vec![ForeignKey {
            name: "f".to_owned(),
            columns: v(),
            table,
            referenced: vec!["id".to_owned()],
            to_itself: true,
        }],
        ..Constraints::default()
    }
}

/// Every word of the SQL of a load, whatever its part in it is.
fn words() -> Vec<String> {
    let (id, v) = ([("id", "bigint")], ["v".to_owned()]);
    let mut schemas: Vec<_> = policies().iter().map(|(ty, merge, _)| schema("t", &id, &v, ty, merge)).collect();
    schemas.push(grouped(&v));
    schemas.push(schema("t", &id, &v, "integer", &json!("sql")));
    let mut words = Vec::new();
    for schema in schemas {
        let schema = serde_json::from_value(schema).unwrap();
        let rules = [("v".to_owned(), "incoming".to_owned())].into();
        let dialect = Dialect { rules, row_triggers: true, ..Dialect::default() };
        let statements = Statements::of(&schema, 0, &dialect);
        let found = statements.isolate(&schema, 0, &constraints(), &[]);
        let how = Circumstances { passed: false, most_if_none_pass: 1, most: 1 };
        let blocks = [found.convert, found.write, found.write_suspects, found.delete].map(|block| block.sql(how));
        let found =
            [found.prepare, found.texts, found.copy_texts, found.mark, found.refused, found.untouched].join(" ");
        let Statements { create, prologue, stage, load, merge, keys, delete, kept, .. } = statements;
        let SameKeys { create: create_keys, copy, same } = keys;
        let copies = [stage, load].map(|copy| [copy.text, copy.binary, copy.types].join(" ")).join(" ");
        let kept = kept.unwrap_or_default();
        let sql = [create, prologue, copies, merge, create_keys, copy, same, delete, kept, found].join(" ");
        let sql = [sql, blocks.join(" ")].join(" ");
        let found = sql.split(|char: char| !char.is_ascii_alphanumeric() && char != '_');
        words.extend(found.filter(|word| word.starts_with(char::is_alphabetic)).map(str::to_owned));
    }
    words.sort_unstable();
    words.dedup();
    words.retain(|word| word != "id" && word != "id2");
    for expected in ["side", "old", "excluded", "gone", "choice", "keys", "e", "ddb_pipe_index", "existing", "indexes"]
    {
        assert!(words.iter().any(|word| word == expected), "{expected} is no word of the SQL");
    }
    words
}

#[test]
fn columns_may_have_the_names_that_a_load_uses() {
    let postgres = Postgres::new();
    let words = words();
    for (ty, merge, [has, item, merged]) in policies() {
        postgres.query("drop table if exists t");
        let schema = schema("t", &[("id", "bigint")], &words, ty, &merge);
        let with = |id: u32, version, value: &Value| row(&[("id", json!(id))], version, &words, value);

        load(&postgres, &schema, &[with(1, 1, &has), with(3, 3, &has)]).exits(0);
        // Rows that the table refuses: one for its value, one for a rule.
        postgres.query("alter table t add check (id < 1000), add unique (id2)");
        let mut bad = with(5, 1, &item);
        bad["id2"] = json!("x");
        let deletion = json!({"$delete": with(3, 4, &Value::Null)});
        let run =
            load(&postgres, &schema, &[with(1, 2, &item), with(4, 5, &item), deletion, bad, with(1000, 9, &item)]);
        run.exits(1).stderr_has("2 rejected");

        assert_eq!(rows(&postgres, "t"), [with(1, 2, &merged), with(4, 5, &item)], "{ty} {merge}");
    }
}

#[test]
fn columns_that_are_merged_together_may_have_such_names() {
    let postgres = Postgres::new();
    let words: Vec<_> = words().into_iter().filter(|word| word != "side").collect();
    let schema = grouped(&words);
    let with = |id: u32, value: &str, p: &Value| {
        let mut row = row(&[("id", json!(id))], id, &words, &json!(value));
        row["side"] = json!([{"f": "85", "p": p}]);
        row
    };
    let (yes, no) = (json!("x"), Value::Null);

    load(&postgres, &schema, &[with(1, "a", &yes), with(2, "a", &yes)]).exits(0);
    load(&postgres, &schema, &[with(1, "b", &no), with(2, "b", &yes)]).exits(0);

    assert_eq!(rows(&postgres, "t"), [with(1, "a", &yes), with(2, "b", &yes)]);
}

/// An index has at most 32 columns, so the names are in several tables. The server is asked which keys are the same:
/// of `numeric(9,1)` only it knows.
#[test]
fn columns_of_the_key_may_have_such_names() {
    let postgres = Postgres::new();
    for words in words().chunks(32) {
        postgres.query("drop table if exists t");
        let key: Vec<_> = words.iter().map(|name| (name.as_str(), "numeric(9,1)")).collect();
        let columns = ["id".to_owned()];
        let schema = schema("t", &key, &columns, "text", &json!("replace"));
        let with = |number: f64, version, id: &str| {
            let key: Vec<_> = words.iter().map(|name| (name.as_str(), json!(number))).collect();
            row(&key, version, &columns, &json!(id))
        };

        load(&postgres, &schema, &[with(1.0, 1, "a"), with(2.0, 3, "a"), with(3.0, 3, "a")]).exits(0);
        let deletion = json!({"$delete": with(2.0, 3, "a")});
        load(&postgres, &schema, &[with(1.01, 1, "b"), with(1.02, 2, "c"), with(3.01, 4, "d"), deletion]).exits(0);

        assert_eq!(rows(&postgres, "t"), [with(1.0, 2, "c"), with(3.0, 4, "d")]);
    }
}

#[test]
fn a_table_may_have_a_name_that_a_load_uses() {
    let postgres = Postgres::new();
    let ours = words().into_iter().filter(|word| word.starts_with("ddb_pipe_"));
    let aliases = ["old", "excluded", "gone", "side", "choice", "keys", "elements"].map(str::to_owned);
    for table in ours.chain(aliases) {
        let columns = ["v".to_owned()];
        let schema = schema(&table, &[("id", "numeric(9,1)")], &columns, "text", &json!("replace"));
        let with = |id: f64, version, v: &str| row(&[("id", json!(id))], version, &columns, &json!(v));

        load(&postgres, &schema, &[with(1.0, 1, "a"), with(2.0, 1, "a")]).exits(0);
        let deletion = json!({"$delete": with(2.0, 2, "a")});
        load(&postgres, &schema, &[with(1.01, 2, "b"), with(1.02, 3, "c"), deletion]).exits(0);

        assert_eq!(rows(&postgres, &table), [with(1.0, 3, "c")], "{table}");
    }
}
