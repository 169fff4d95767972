//! A table with a version: whatever the order of the items, the batches and the runs, the newest row is there.

use harness::Dir;
use harness::postgres::Postgres;

use crate::bash;

const PROFILE: &str = r#"
table = "articles"
key = ["id"]
version = "changed"
[columns]
id = { type = "text" }
title = { type = "text" }
body = { type = "text" }
changed = { type = "timestamptz" }
created = { type = "timestamptz", from = "changed", merge = "least" }
readers = { type = "text[]", merge = "union" }
"#;

const ITEMS: [&str; 5] = [
    r#"{"Item":{"id":{"S":"a"},"title":{"S":"draft"},"body":{"S":"b"},"changed":{"S":"2024-01-01T10:00:00Z"},"readers":{"SS":["z","B"]}}}"#,
    r#"{"Item":{"id":{"S":"a"},"title":{"S":"final"},"changed":{"S":"2024-01-01T12:30:00+01:00"},"readers":{"SS":["a"]}}}"#,
    r#"{"Item":{"id":{"S":"a"},"title":{"S":"second"},"changed":{"S":"2024-01-01T11:29:59.9999Z"},"readers":{"SS":["z"]}}}"#,
    r#"{"Item":{"id":{"S":"a"},"title":{"S":"undated"},"body":{"S":"x"}}}"#,
    r#"{"Item":{"id":{"S":"b"},"title":{"S":"other"},"changed":{"S":"2024-01-01T00:00:00Z"},"readers":{"SS":["y","x"]}}}"#,
];

/// Worked out by hand: of `a` the second item is the newest, an hour before its clock says.
const EXPECTED: &str = "a|final||2024-01-01 11:30:00|2024-01-01 10:00:00|{B,a,z}
b|other||2024-01-01 00:00:00|2024-01-01 00:00:00|{x,y}";

#[test]
fn the_newest_row_stays_whatever_comes_first() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    let profile = dir.write("articles.toml", PROFILE).display().to_string();
    let orders = [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [1, 0, 3, 4, 2], [3, 1, 4, 2, 0]];
    for (order, batch) in orders.iter().flat_map(|order| [(order, 1), (order, 3), (order, 100)]) {
        let items = order.map(|place| ITEMS[place]).join("\n") + "\n";
        postgres.query("drop table if exists articles");
        let load = format!("ddb-parse -p {profile} | pg-upsert --create --gather {batch} -b {batch}");

        bash(&dir, &postgres, &load).stdin(&items).run().exits(0);
        // The oldest once more, as of a file that failed before.
        bash(&dir, &postgres, &load).stdin(format!("{}\n", ITEMS[0])).run().exits(0);

        let table = "select id, title, body, changed at time zone 'UTC', created at time zone 'UTC', readers from articles order by id";
        assert_eq!(postgres.query(table), EXPECTED, "{order:?} in batches of {batch}");
        let verify = format!("ddb-parse -p {profile} | pg-verify");
        bash(&dir, &postgres, &verify).stdin(&items).run().exits(0).stdout("").stderr_has(" 0 different");
    }
}
