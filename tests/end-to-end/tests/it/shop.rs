//! A single-table design: one pass over the export fills every table, nothing is unaccounted for, whatever is in the way.

use harness::Dir;
use harness::export::Export;
use harness::postgres::Postgres;
use harness::s3::S3;

use crate::bash;
use crate::migrate::Moto;

/// Two of each kind, with what the developer guide's items have, and more.
const ITEMS: [&str; 13] = [
    r#"{"Item":{"PK":{"S":"c#12345"},"SK":{"S":"c#12345"},"EntityType":{"S":"customer"},"Email":{"S":"someone@example.com"},"Name":{"S":"Someone"},"Addresses":{"M":{"home":{"S":"1 Main St"},"work":{"S":"2 Side St"}}}}}"#,
    r#"{"Item":{"PK":{"S":"c#7"},"SK":{"S":"c#7"},"EntityType":{"S":"customer"},"Name":{"S":"Else"},"Points":{"N":"12345678901234567890123456789012345678"}}}"#,
    r#"{"Item":{"PK":{"S":"p#12345"},"SK":{"S":"p#12345"},"EntityType":{"S":"product"},"Detail":{"M":{"Name":{"S":"Hat"},"Sizes":{"NS":["1","2"]}}},"Price":{"N":"9.90"}}}"#,
    r#"{"Item":{"PK":{"S":"p#99"},"SK":{"S":"p#99"},"EntityType":{"S":"product"},"Price":{"N":"1E2"}}}"#,
    r#"{"Item":{"PK":{"S":"w#1"},"SK":{"S":"w#1"},"EntityType":{"S":"warehouse"},"Address":{"M":{"Country":{"S":"Sweden"}}}}}"#,
    r#"{"Item":{"PK":{"S":"w#2"},"SK":{"S":"w#2"},"EntityType":{"S":"warehouse"}}}"#,
    r#"{"Item":{"PK":{"S":"o#12345"},"SK":{"S":"c#12345"},"EntityType":{"S":"order"},"Date":{"S":"2020-06-21T19:10:00Z"},"Payments":{"L":[{"M":{"Method":{"S":"card"},"Amount":{"N":"10.00"},"Last4":{"S":"4242"}}},{"M":{"Method":{"S":"cash"}}}]}}}"#,
    r#"{"Item":{"PK":{"S":"o#8"},"SK":{"S":"c#7"},"EntityType":{"S":"order"},"Status":{"S":"SENT"}}}"#,
    r#"{"Item":{"PK":{"S":"o#12345"},"SK":{"S":"p#12345"},"EntityType":{"S":"orderItem"},"Quantity":{"N":"3"},"Price":{"N":"9.5"}}}"#,
    r#"{"Item":{"PK":{"S":"o#12345"},"SK":{"S":"p#99"},"EntityType":{"S":"orderItem"},"Quantity":{"N":"1"},"Price":{"S":"a gift"}}}"#,
    r#"{"Item":{"PK":{"S":"o#12345"},"SK":{"S":"sh#88899"},"EntityType":{"S":"shipment"},"Address":{"S":"1 Main St"}}}"#,
    // Kinds that have no table, and a key that is none.
    r#"{"Item":{"PK":{"S":"o#12345"},"SK":{"S":"i#55443"},"EntityType":{"S":"invoice"}}}"#,
    r#"{"Item":{"PK":{"S":"c#x"},"SK":{"S":"c#x"},"EntityType":{"S":"customer"}}}"#,
];

const TABLES: [(&str, &str); 8] = [
    (
        "customers",
        "12345|Someone|someone@example.com|{\"SK\": \"c#12345\", \"EntityType\": \"customer\"}\n\
         7|Else||{\"SK\": \"c#7\", \"Points\": 12345678901234567890123456789012345678, \"EntityType\": \"customer\"}",
    ),
    ("products", "12345|{\"Name\": \"Hat\", \"Sizes\": [1, 2]}|9.90\n99||100"),
    ("warehouses", "1|{\"Country\": \"Sweden\"}\n2|"),
    (
        "orders",
        "12345|12345|2020-06-21 19:10:00+00|new|{\"EntityType\": \"order\"}\n\
         8|7||sent|{\"EntityType\": \"order\"}",
    ),
    ("order_items", "12345|12345|3|9.5\n12345|99|1|"),
    ("shipments", "88899|12345|1 Main St"),
    ("payments", "12345|1|card|10.00|{\"Last4\": \"4242\"}\n12345|2|cash||"),
    ("customer_addresses", "12345|home|1 Main St\n12345|work|2 Side St"),
];

/// The rows as they should be. What a value is made of is not in the rest: `SK` is left of customers, who are known by `PK`.
fn check(postgres: &Postgres) {
    for (table, rows) in TABLES {
        let found = postgres.query(&format!("set time zone 'UTC'; select * from {table}"));
        let mut found: Vec<_> = found.lines().collect();
        found.sort_unstable();
        assert_eq!(found, rows.lines().collect::<Vec<_>>(), "{table}");
    }
}

fn export(files: usize) -> Export {
    let items = ITEMS.map(str::to_owned);
    let export = Export::new("Shop", "01700000000000-abcdef12");
    items.chunks(ITEMS.len().div_ceil(files)).fold(export, Export::file)
}

#[test]
fn six_kinds_of_items_become_six_tables_and_two_of_elements_in_one_pass() {
    let (dir, postgres, s3) = (Dir::new(), Postgres::new(), S3::start());
    export(3).under("exports/").put_to(&s3);
    let migrate = |command: &str| {
        let line = format!("migrate -p shop {command} --source {} --max-rejects 100%", s3.url("exports/"));
        bash(&dir, &postgres, &line).envs(s3.envs()).run()
    };

    migrate("run --create").exits(1).stderr_has(
        "COMPLETED: 3 files, 13 records = 11 taken + 0 filtered out + 2 rejected; \
         customer_addresses: 2 = 2 rows written + 0 merged + 0 rejected; \
         customers: 2 = 2 rows written + 0 merged + 0 rejected; \
         order_items: 2 = 2 rows written + 0 merged + 0 rejected; \
         orders: 2 = 2 rows written + 0 merged + 0 rejected; \
         payments: 2 = 2 rows written + 0 merged + 0 rejected; \
         products: 2 = 2 rows written + 0 merged + 0 rejected; \
         shipments: 1 = 1 rows written + 0 merged + 0 rejected; \
         warehouses: 2 = 2 rows written + 0 merged + 0 rejected, in ",
    );

    check(&postgres);
    let rejects = dir.read("migrate-shop.rejects.jsonl");
    assert!(rejects.contains("no table of the profile takes the item"), "{rejects}");
    assert!(rejects.contains("table `customers`: `id` is `x`, which is not a number"), "{rejects}");

    // Once more into tables that have the rows already; then it is verified, and what is changed is found with its table.
    migrate("run").exits(1);
    check(&postgres);
    let verify = format!("migrate -p shop verify --source {}", s3.url("exports/"));
    let verify = || bash(&dir, &postgres, &verify).envs(s3.envs()).run();
    verify().exits(0).stderr_has("Verified 13 records in 15 rows: 0 missing, 0 different, 2 rejected");
    postgres.query("delete from payments where line = 2; update products set price = 1 where id = 99");
    verify().exits(1).stderr_has("1 missing, 1 different");
    let found = dir.read("migrate-shop.verify.jsonl");
    assert!(found.contains(r#"{"table":"payments","key":{"order_id":12345,"line":2},"problem":"missing""#), "{found}");
    assert!(
        found.contains(r#"{"table":"products","key":{"id":99},"problem":"differs","columns":["price"]"#),
        "{found}"
    );
}

#[test]
fn an_export_made_by_moto_fills_the_same_tables() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    dir.write("items.ndjson", ITEMS[..11].join("\n"));
    let moto = Moto::with_shop(&dir.path().join("items.ndjson"));

    let line = format!("migrate -p shop run --create --source {}", Moto::SHOP);
    bash(&dir, &postgres, &line).envs(moto.envs()).run().exits(0).stderr_has("11 records = 11 taken + 0 filtered out");

    check(&postgres);
}

#[test]
fn rows_of_one_table_are_rejected_and_sent_again_without_those_of_the_others() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    export(1).write_to(&dir);
    let migrate = |command: &str| bash(&dir, &postgres, &format!("migrate -p shop {command}")).run();
    let source = "--source . --max-rejects 100%";
    migrate(&format!("run --create {source}")).exits(1);
    postgres.query("truncate payments, orders; alter table payments add check (method <> 'cash')");

    migrate(&format!("run {source}")).exits(1).stderr_has("payments: 2 = 1 rows written + 0 merged + 1 rejected");
    assert_eq!(postgres.query("select line from payments").trim_end(), "1");
    assert_eq!(postgres.query("select count(*) from orders").trim_end(), "2");
    let rejects = dir.read("migrate-shop.rejects.jsonl");
    assert!(rejects.contains(r#""stage":"pg-upsert","table":"payments","sqlstate":"23514""#), "{rejects}");

    postgres.query("alter table payments drop constraint payments_method_check");
    migrate("retry-rejects").exits(1).stderr_has("Rejects that are left: 2");
    check(&postgres);
}

#[test]
fn one_table_alone_and_rows_that_say_their_table() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    let items = ITEMS[..11].join("\n") + "\n";
    let run = |line: &str| bash(&dir, &postgres, line).stdin(&items).run();

    let csv = run("ddb-parse -p shop --table payments --to csv");
    csv.exits(0);
    let expected =
        "order_id,line,method,amount,rest\n12345,1,card,10.00,\"{\"\"Last4\"\":\"\"4242\"\"}\"\n12345,2,cash,,\n";
    assert_eq!(csv.output(), expected);
    run("ddb-parse -p shop --to csv")
        .exits(2)
        .stderr_has("--table says which: customers, products, warehouses, orders");
    run("ddb-parse -p shop --table order").exits(2).stderr_has("there is no table `order`");
    let plain = run(r#"ddb-parse -p shop --no-markers | jq -c 'select(.["$table"] == "shipments")'"#);
    assert_eq!(
        plain.output(),
        "{\"id\":88899,\"order_id\":12345,\"address\":\"1 Main St\",\"$table\":\"shipments\"}\n"
    );

    run("ddb-parse -p shop --table warehouses | pg-upsert --create").exits(0);
    assert_eq!(postgres.query("select count(*) from warehouses").trim_end(), "2");
    run("ddb-parse -p shop | pg-upsert --create --table x").exits(2).stderr_has("rows of several tables");
    run("ddb-parse -p shop | pg-upsert --create").exits(0);
    check(&postgres);
}

/// Arrays are merged and sides chosen for each table by its own columns, in whatever place they are.
#[test]
fn tables_of_one_profile_merge_each_in_its_own_way() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    let table = |name: &str, field: &str| {
        format!(
            r#"
            [[table]]
            name = "{name}"
            when = [{{ attribute = "Kind", equals = "{name}" }}]
            key = ["id"]
            [table.columns]
            id = {{ type = "text" }}
            list = {{ type = "jsonb", from = "List", merge = {{ keyed_array = {{ key = ["{field}"], prefer = "v" }} }} }}
            best = {{ type = "text", from = "Best" }}
            [[table.groups]]
            columns = ["best"]
            preferred_side = {{ in = "list", where = {{ {field} = "first" }}, has = "v" }}
            "#
        )
    };
    dir.write("profiles/two.toml", table("lines", "sku") + &table("places", "label"));
    let item = |kind: &str, field: &str, value: &str| {
        let list = format!(r#"{{"L":[{{"M":{{"{field}":{{"S":"{value}"}},"v":{{"S":"{value}"}}}}}}]}}"#);
        format!(r#"{{"Item":{{"id":{{"S":"1"}},"Kind":{{"S":"{kind}"}},"Best":{{"S":"{value}"}},"List":{list}}}}}"#)
            + "\n"
    };
    // Each run meets the rows of the one before.
    for value in ["first", "other"] {
        let items = item("lines", "sku", value) + &item("places", "label", value);
        bash(&dir, &postgres, "ddb-parse -p two | pg-upsert --create").stdin(items).run().exits(0);
    }
    assert_eq!(
        postgres.query("select list, best from lines union all select list, best from places"),
        [
            r#"[{"v": "first", "sku": "first"}, {"v": "other", "sku": "other"}]|first"#,
            r#"[{"v": "first", "label": "first"}, {"v": "other", "label": "other"}]|first"#
        ]
        .join("\n")
    );
}
