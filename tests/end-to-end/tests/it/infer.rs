//! From an unknown export to a table: infer, load, verify, with no rejects and no edits.

use std::fmt::Write as _;

use harness::Dir;
use harness::export::Export;
use harness::postgres::Postgres;
use harness::{Program, workspace_program};
use proptest::prelude::*;

use crate::bash;
use crate::migrate::Moto;

/// Infers a profile from the export in the folder, loads and verifies it.
fn infer_load_verify(dir: &Dir, postgres: &Postgres) {
    let run = |line: &str| bash(dir, postgres, line).run();
    run("ddb-list --source . | ddb-cat | ddb-infer --name unknown > unknown.toml").exits(0);
    run("migrate -p ./unknown.toml run --create --source .").exits(0);
    assert!(!dir.has("migrate-unknown.rejects.jsonl"));
    run("migrate -p ./unknown.toml verify --source .")
        .exits(0)
        .stderr_has(" rows: 0 missing, 0 different, 0 rejected, in ");
}

#[test]
fn an_unknown_single_table_is_loaded_without_an_edit() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    let mut items = Vec::new();
    for user in 1..=40 {
        let age = if user == 9 { r#"{"S":"unknown"}"#.to_owned() } else { format!(r#"{{"N":"{user}"}}"#) };
        items.push(format!(
            r#"{{"Item":{{"PK":{{"S":"USER#{user}"}},"SK":{{"S":"PROFILE"}},"Name":{{"S":"n {user}"}},"age":{age},"createdAt":{{"S":"2024-01-01T10:00:{user:02}+01:00"}}}}}}"#
        ));
        for order in 0..user % 4 {
            let lines: Vec<_> = (0..order)
                .map(|line| format!(r#"{{"M":{{"sku":{{"S":"s{line}"}},"n":{{"N":"{line}.5"}}}}}}"#))
                .collect();
            items.push(format!(
                r#"{{"Item":{{"PK":{{"S":"USER#{user}"}},"SK":{{"S":"ORDER#{order}"}},"placedAt":{{"N":"1700000000"}},"lines":{{"L":[{}]}},"xmin":{{"SS":["a"]}}}}}}"#,
                lines.join(",")
            ));
        }
    }
    items.push(
        r#"{"Item":{"PK":{"S":"CONFIG"},"SK":{"S":"GLOBAL"},"weird \"name\".#":{"S":"a\u0000b"},"":{"N":"1"}}}"#
            .to_owned(),
    );
    Export::new("Unknown", "01700000000000-0000002a").file(&items[..50]).file(&items[50..]).write_to(&dir);

    infer_load_verify(&dir, &postgres);

    let count = |table: &str| postgres.query(&format!("select count(*) from {table}"));
    assert_eq!(count("users"), "40");
    // Of each four users one has 0, one 1, one 2 and one 3 orders; the second order has 1 line, the third 2.
    assert_eq!(count("orders"), "60");
    assert_eq!(count("order_lines"), "40");
    assert_eq!(count("items"), "1");
    let user = "select user_id, name, age, created_at at time zone 'UTC', rest from users where user_id in ('7', '9') order by 1";
    assert_eq!(
        postgres.query(user),
        "7|n 7|7|2024-01-01 09:00:07|{\"SK\": \"PROFILE\"}\n9|n 9|unknown|2024-01-01 09:00:09|{\"SK\": \"PROFILE\"}"
    );
    let line = "select position, sku, n from order_lines where user_id = '7' and order_id = '2' order by 1";
    assert_eq!(postgres.query(line), "1|s0|0.5\n2|s1|1.5");
    let order =
        "select placed_at at time zone 'UTC', xmin_attribute from orders where user_id = '7' and order_id = '2'";
    assert_eq!(postgres.query(order), "2023-11-14 22:13:20|{a}");
    assert_eq!(postgres.query("select weird_name from items"), "a\u{FFFD}b");
}

#[test]
fn things_of_a_flat_table_are_loaded_without_an_edit() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    let items = (0..300).map(|n| {
        let value = match n % 10 {
            0 => r#"{"NULL":true}"#.to_owned(),
            1 => format!(r#"{{"L":[{{"N":"{n}"}},{{"S":"x"}}]}}"#),
            _ => format!(r#"{{"M":{{"n":{{"N":"{n}"}}}}}}"#),
        };
        format!(
            r#"{{"Item":{{"deviceId":{{"S":"d{}"}},"ts":{{"N":"{}"}},"value":{value}}}}}"#,
            n % 7,
            1_700_000_000 + n
        )
    });
    Export::new("Unknown", "01700000000000-0000002b").file(items).write_to(&dir);

    infer_load_verify(&dir, &postgres);

    assert_eq!(postgres.query("select count(*), count(value) from unknown"), "300|270");
    assert_eq!(
        postgres.query("select ts, device_id, value from unknown order by 1 limit 3"),
        "1700000000|d0|\n1700000001|d1|[1, \"x\"]\n1700000002|d2|{\"n\": 2}"
    );
}

#[test]
fn what_postgresql_has_no_place_for_is_seen_in_advance() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    let mut random = fastrand::Rng::with_seed(5);
    let items: Vec<_> = (0..20)
        .map(|id| {
            let mut item = format!(r#"{{"Item":{{"i\u0000d":{{"S":"k{id}"}}"#);
            let mut long = |length| (0..length).map(|_| random.alphanumeric()).collect::<String>();
            let _ = write!(item, r#","GSI1PK":{{"S":"{}"}},"GSI1SK":{{"S":"{}"}}"#, long(2_048), long(1_024));
            for (place, text) in
                ["0000-01-01", "0000-01-01T00:00:00Z", "2024-01-31T23:59:59+16:00", "2024-01-31T23:59:59,5Z"]
                    .into_iter()
                    .enumerate()
            {
                let _ = write!(item, r#","time{place}":{{"S":"{text}"}}"#);
            }
            let number = if id == 7 { r#"{"S":"1e200000"}"#.to_owned() } else { format!(r#"{{"N":"{id}"}}"#) };
            let _ = write!(item, r#","number":{number}"#);
            // So short a value cannot be put out of its row's page, and so long a one as above is no part of an index.
            for place in 0..1000 {
                let _ = write!(item, r#","w{place:03}":{{"S":"{:022}"}}"#, random.u64(..));
            }
            item + "}}"
        })
        .collect();
    Export::new("Unknown", "01700000000000-0000002c").file(&items).write_to(&dir);

    infer_load_verify(&dir, &postgres);

    assert_eq!(postgres.query("select count(*) from unknown"), "20");
    let found = "select i_d, number, time1, length(gsi1pk) from unknown where i_d = 'k7'";
    assert_eq!(postgres.query(found), "k7|1e200000|0000-01-01T00:00:00Z|2048");
    assert_eq!(postgres.query("select count(*) from pg_indexes where tablename = 'unknown'"), "1");
}

#[test]
fn an_export_made_by_moto_is_loaded_without_an_edit() {
    let (dir, postgres, moto) = (Dir::new(), Postgres::new(), Moto::start());
    let run = |line: &str| bash(&dir, &postgres, &format!("{line} {}", Moto::SOURCE)).envs(moto.envs()).run();
    run("infer() { ddb-list $1 | ddb-cat | ddb-infer --name things > things.toml; }; infer").exits(0);
    run("migrate -p ./things.toml run --create --source").exits(0);
    run("migrate -p ./things.toml verify --source")
        .exits(0)
        .stderr_has(" rows: 0 missing, 0 different, 0 rejected, in ");

    assert!(!dir.has("migrate-things.rejects.jsonl"));
    assert_eq!(postgres.query("select count(*), sum(n) from things"), "101|12345678901234567890123456789012350628");
    assert_eq!(
        postgres.query("select b, flag, array(select unnest(tags) order by 1), doc, rest from things where id = 'all'"),
        "\\x0001ff|t|{a,b}|{\"l\": [1.5, null, \"é\"], \"m\": {\"x\": \"\"}}|"
    );
}

/// A value of any type.
fn value() -> impl Strategy<Value = String> {
    let text = || any::<String>().prop_map(|text| serde_json::Value::from(text).to_string());
    let number = || prop_oneof![any::<i64>().prop_map(|n| n.to_string()), "-?[1-9][0-9]{0,20}\\.[0-9]{0,9}[1-9]"];
    let leaf = prop_oneof![
        text().prop_map(|text| format!(r#"{{"S":{text}}}"#)),
        Just(r#"{"S":"2024-01-01T00:00:00Z"}"#.to_owned()),
        Just(r#"{"S":"USER#7"}"#.to_owned()),
        number().prop_map(|number| format!(r#"{{"N":"{number}"}}"#)),
        Just(r#"{"BOOL":true}"#.to_owned()),
        Just(r#"{"NULL":true}"#.to_owned()),
        Just(r#"{"B":"AAH/"}"#.to_owned()),
        Just(r#"{"SS":["a","b"]}"#.to_owned()),
        number().prop_map(|number| format!(r#"{{"NS":["{number}"]}}"#)),
    ];
    leaf.prop_recursive(2, 8, 3, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|values| format!(r#"{{"L":[{}]}}"#, values.join(","))),
            prop::collection::btree_map("[a-c.]{1,2}", inner, 0..3).prop_map(|fields| {
                let fields: Vec<_> = fields.iter().map(|(name, value)| format!(r#""{name}":{value}"#)).collect();
                format!(r#"{{"M":{{{}}}}}"#, fields.join(","))
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Whatever items are like, the profile that is made of them rejects none.
    #[test]
    fn a_profile_takes_the_items_that_it_was_made_of(
        items in prop::collection::vec(
            (prop_oneof!["USER#", "ORDER#", "", "a:"], prop_oneof!["META", "X#[a-z]{2}", "[0-9]{3}"],
             prop::collection::btree_map(prop_oneof!["[a-d]", "rest", "ctid", "type", "GSI1PK", "\\$x", "[A-Za-z ._é'#]{1,6}"], value(), 0..5)),
            1..30,
        )
    ) {
        let mut lines = String::new();
        for (place, (prefix, sort, attributes)) in items.iter().enumerate() {
            let mut item = format!(r#"{{"Item":{{"PK":{{"S":"{prefix}{place}"}},"SK":{{"S":"{sort}"}}"#);
            for (name, value) in attributes {
                let _ = write!(item, ",{}:{value}", serde_json::Value::from(name.as_str()));
            }
            lines += &(item + "}}\n");
        }
        let dir = Dir::new();
        let infer = Program::at(workspace_program("ddb-infer")).args(["--name", "any"]).stdin(&lines).run();
        let profile = infer.exits(0).output().to_owned();
        dir.write("any.toml", profile);
        let parse = Program::at(workspace_program("ddb-parse")).in_dir(&dir);
        parse.args(["-p", "./any.toml", "--no-markers"]).stdin(&lines).run().exits(0).stderr("");
    }
}
