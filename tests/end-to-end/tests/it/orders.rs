//! The orders profile through the whole pipeline: a column of every type, exact, and the same by CSV.

use harness::Dir;
use harness::postgres::Postgres;

use crate::bash;

pub(crate) const ITEMS: &str = r#"{"Item":{"OrderId":{"S":"o-1"},"Status":{"S":" Paid "},"Note":{"S":"tab\tnew\nline \\ \"q\" \u00e9 \ud83d\ude00"},"OrderNumber":{"N":"9223372036854775807"},"Quantity":{"S":"3"},"Priority":{"N":"-5"},"Total":{"N":"12345678901234567890.123456789012345678"},"Weight":{"N":"1.5E-7"},"Score":{"N":"77.80"},"Paid":{"BOOL":true},"CustomerId":{"S":"6ba7b810-9dad-11d1-80b4-00c04fd430c8"},"AccountName":{"S":"7"},"Signature":{"B":"AAH/"},"OrderedAt":{"S":"2024-01-15T10:30:00Z"},"ShippedAt":{"N":"1680109764"},"SeenAt":{"N":"1680109764123"},"Due":{"S":"2024-02-01"},"LocalTime":{"S":"2024-01-15 10:30:00"},"Tags":{"SS":["b,1","a\"2\\","","NULL"]},"Sizes":{"NS":["3","2.50"]},"Keys":{"BS":["AA==","/w=="]},"Address":{"M":{"Country":{"S":"NL"},"Lines":{"L":[{"S":"1"},{"NULL":true}]}}},"Lines":{"L":[{"M":{"n":{"N":"12345678901234567890123456789012345678"}}}]},"Anything":{"SS":["x"]}}}
{"Item":{"OrderId":{"S":"o-2"},"Note":{"S":""}}}
{"Item":{"OrderId":{"S":"o-3"},"Deleted":{"BOOL":true}}}
"#;

/// As `psql -At` prints them, worked out by hand.
pub(crate) const EXPECTED: &str = "o-1|paid|tab\tnew\nline \\ \"q\" é 😀|Netherlands|9223372036854775807/ Paid |9223372036854775807|3|-5|12345678901234567890.123456789012345678|1.5e-07|77.8|t|6ba7b810-9dad-11d1-80b4-00c04fd430c8|a9f96b98-dd44-5216-ab0d-dbfc6b262edf|\\x0001ff|2024-01-15 10:30:00|2023-03-29 17:09:24|2023-03-29 17:09:24.123|2024-02-01|2024-01-15 10:30:00|{\"b,1\",\"a\\\"2\\\\\",\"\",\"NULL\"}|{3,2.50}|{\"\\\\x00\",\"\\\\xff\"}|{\"Lines\": [\"1\", null], \"Country\": \"NL\"}|[{\"n\": 12345678901234567890123456789012345678}]|[\"x\"]|dynamodb
o-2|new|||||1||||||||||||||||||||dynamodb";

const COLUMNS: &str = "order_id, status, note, country, label, number, quantity, priority, total, weight, score, paid, customer, account, signature, ordered_at at time zone 'UTC', shipped_at at time zone 'UTC', seen_at at time zone 'UTC', due, local_time, tags, sizes, keys, address, lines, raw, source";

pub(crate) fn table(postgres: &Postgres, name: &str) -> String {
    postgres.query(&format!("select {COLUMNS} from {name} order by order_id")).trim_end().to_owned()
}

#[test]
fn every_type_arrives_exactly() {
    let (dir, postgres) = (Dir::new(), Postgres::new());

    let run = bash(&dir, &postgres, "ddb-parse -p orders | pg-upsert --create").stdin(ITEMS).run();

    run.exits(0);
    assert_eq!(table(&postgres, "orders"), EXPECTED);
    let nulls = "select num_nulls(note, country, label, number, tags, address) from orders where order_id = 'o-2'";
    assert_eq!(postgres.query(nulls).trim_end(), "5");
}

#[test]
fn csv_loads_into_the_same_table_by_copy() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    bash(&dir, &postgres, "ddb-parse -p orders | pg-upsert --create").stdin(ITEMS).run().exits(0);
    postgres.query("create table copied (like orders)");

    let psql = format!(
        "PGPASSWORD=$PASSWORD psql -q -X -h 127.0.0.1 -p {} -U postgres -d {}",
        postgres.port(),
        postgres.database()
    );
    let line = format!(r"ddb-parse -p orders --to csv | {psql} -c '\copy copied from stdin csv header'");
    bash(&dir, &postgres, &line).stdin(ITEMS).run().exits(0);

    assert_eq!(table(&postgres, "copied"), table(&postgres, "orders"));
}

#[test]
fn a_later_item_replaces_an_earlier_one() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    let again = r#"{"Item":{"OrderId":{"S":"o-1"},"Status":{"S":"sent"}}}
"#;

    bash(&dir, &postgres, "ddb-parse -p orders | pg-upsert --create").stdin(ITEMS).run().exits(0);
    let loaded = postgres.query("select loaded_at from orders where order_id = 'o-1'");
    bash(&dir, &postgres, "ddb-parse -p orders | pg-upsert").stdin(again).run().exits(0);

    let row = "select status, total is null, tags is null from orders where order_id = 'o-1'";
    assert_eq!(postgres.query(row).trim_end(), "sent|t|t");
    assert_eq!(postgres.query("select loaded_at from orders where order_id = 'o-1'"), loaded);
}
