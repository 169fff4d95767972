//! Profiles that are made of items, and what is said of items of which none can be made. That they load what they were
//! made of is tested in tests/end-to-end.

use harness::{Dir, Finished, program};

fn infer(items: &str) -> Finished {
    program!("ddb-infer").args(["--name", "shop"]).stdin(items).run()
}

/// The line of a column, without the blanks before its comment.
fn column(run: &Finished, name: &str) -> String {
    let profile = run.exits(0).output();
    let line = profile.lines().find(|line| line.starts_with(&format!("{name} = "))).unwrap_or_default();
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Items of six kinds in one table: `PK` and `SK` say of which.
const SHOP: &str = r#"{"Item":{"PK":{"S":"USER#1"},"SK":{"S":"PROFILE"},"Name":{"S":"Ann"},"GSI1PK":{"S":"EMAIL#ann@x"},"GSI1SK":{"S":"USER"}}}
{"Item":{"PK":{"S":"USER#2"},"SK":{"S":"PROFILE"},"Name":{"S":"Bob"},"GSI1PK":{"S":"EMAIL#bob@x"},"GSI1SK":{"S":"USER"}}}
{"Item":{"PK":{"S":"USER#1"},"SK":{"S":"ORDER#a"},"lines":{"L":[{"M":{"sku":{"S":"x"},"qty":{"N":"2"}}},{"M":{"sku":{"S":"y"},"odd.name":{"S":"z"}}}]}}}
{"Item":{"PK":{"S":"USER#1"},"SK":{"S":"ORDER#b"},"lines":{"L":[]}}}
{"Item":{"PK":{"S":"USER#2"},"SK":{"S":"ADDRESS#home"},"city":{"S":"Bonn"}}}
{"Item":{"PK":{"S":"PRODUCT#7"},"SK":{"S":"PRODUCT#7"},"price":{"N":"1.50"}}}
{"Item":{"PK":{"S":"PRODUCT#7"},"SK":{"S":"2024-01-01T00:00:00Z"},"stock":{"N":"4"}}}
{"Item":{"PK":{"S":"CONFIG"},"SK":{"S":"GLOBAL"},"version":{"N":"1"}}}
"#;

#[test]
fn the_kinds_of_a_single_table_are_tables() {
    let run = infer(SHOP);
    run.exits(0)
        .stdout_has("# Items are told apart by PK, SK; there are 6 kinds, by what these begin with.\n")
        .stdout_has("name = \"users\"\nwhen = [{ attribute = \"PK\", begins_with = \"USER#\" }, { attribute = \"SK\", equals = \"PROFILE\" }]\nkey = [\"user_id\"]\n")
        .stdout_has("name = \"orders\"\nwhen = [{ attribute = \"PK\", begins_with = \"USER#\" }, { attribute = \"SK\", begins_with = \"ORDER#\" }]\nkey = [\"user_id\", \"order_id\"]\n")
        .stdout_has("name = \"order_lines\"\nparent = \"orders\"\neach = \"lines\"\nkey = [\"user_id\", \"order_id\", \"position\"]\n")
        .stdout_has("name = \"addresses\"\n")
        .stdout_has("name = \"products\"\n")
        .stdout_has("name = \"product_items\"\n")
        .stdout_has("name = \"items\"\n")
        .stdout_has("create index on \"users\" (\"gsi1pk\", \"gsi1sk\")")
        .stdout_has("# in the rest: SK: always PROFILE\n")
        .stdout_has("# in the rest: odd.name\n");
    assert_eq!(
        column(&run, "order_id"),
        r#"order_id = { type = "text", from = "SK", convert = [{ strip_prefix = "ORDER#" }] } # S after ORDER#"#
    );
    assert_eq!(column(&run, "qty"), r#"qty = { type = "bigint", from = "$element.qty" } # N; in 50% of items"#);
}

#[test]
fn an_attribute_tells_kinds_apart_too() {
    let item = |pk: &str, sk: &str, kind: &str| {
        format!(r#"{{"Item":{{"pk":{{"S":"{pk}"}},"sk":{{"S":"{sk}"}},"entityType":{{"S":"{kind}"}}}}}}"#) + "\n"
    };
    let items = [
        item("T#1", "T#1", "Team"),
        item("T#1", "P#1", "Player"),
        item("T#1", "P#2", "Player"),
        item("T#2", "x", "Team"),
    ];
    infer(&items.concat())
        .exits(0)
        .stdout_has("there are 2 kinds, by `entityType`")
        .stdout_has("name = \"teams\"\nwhen = [{ attribute = \"entityType\", equals = \"Team\" }, { attribute = \"pk\", begins_with = \"T#\" }]\n")
        .stdout_has("name = \"players\"\n");
}

#[test]
fn a_property_does_not_part_a_flat_collection() {
    let run = infer(
        r#"{"Item":{"type":{"S":"book"},"isbn":{"S":"1"},"id":{"N":"7"}}}
{"Item":{"type":{"S":"disc"},"isbn":{"S":"2"},"id":{"N":"8"}}}
{"Item":{"type":{"S":"disc"},"isbn":{"S":"3"},"id":{"N":"9"}}}
"#,
    );
    run.exits(0).stdout_has("table = \"shop\"\nkey = [\"id\"]\n").stdout_has("# Items are told apart by id.\n");
    assert_eq!(column(&run, "id"), r#"id = { type = "bigint", from = "id" } # N"#);
}

#[test]
fn a_column_takes_every_type_that_was_seen() {
    let items: String = (0..50)
        .map(|n| {
            let mixed = if n == 7 { r#"{"S":"many"}"#.to_owned() } else { format!(r#"{{"N":"{n}"}}"#) };
            let digits = if n == 7 { r#"{"S":"12"}"#.to_owned() } else { format!(r#"{{"N":"{n}"}}"#) };
            let odd = if n % 2 == 0 { r#"{"M":{}}"# } else { r#"{"S":"x"}"# };
            let rare = if n == 0 { r#","rare":{"NULL":true},"nothing":{"NULL":true}"# } else { r#","rare":{"BOOL":true}"# };
            format!(
                r#"{{"Item":{{"id":{{"S":"6ba7b810-9dad-11d1-80b4-00c04fd430{n:02}"}},"mixed":{mixed},"digits":{digits},"odd":{odd},"big":{{"N":"9223372036854775808"}},"createdAt":{{"N":"17000000{n:02}"}},"width":{{"N":"17000000{n:02}"}},"updatedAt":{{"N":"17000000{n:02}123"}},"changed":{{"S":"2024-01-01T10:00:00.123Z"}},"day":{{"S":"2024-01-{:02}"}},"sizes":{{"NS":["1","2.5"]}},"picture":{{"B":"AA=="}}{rare}}}}}"#,
                n % 28 + 1
            ) + "\n"
        })
        .collect();
    let run = infer(&items);
    for (name, expected) in [
        ("id", r#"id = { type = "uuid", from = "id" } # S"#),
        ("mixed", r#"mixed = { type = "text", accept = ["S", "N"] } # N 98%, S 2%; at most 4 characters"#),
        ("digits", r#"digits = { type = "bigint" } # N 98%, S 2%; at most 2 characters"#),
        ("odd", r#"odd = { type = "jsonb" } # S 50%, M 50%; at most 1 characters"#),
        ("big", r#"big = { type = "numeric" } # N"#),
        ("created_at", r#"created_at = { type = "timestamptz", from = "createdAt", convert = ["epoch_seconds"] } # N"#),
        (
            "updated_at",
            r#"updated_at = { type = "timestamptz", from = "updatedAt", convert = ["epoch_milliseconds"] } # N"#,
        ),
        ("width", r#"width = { type = "bigint" } # N"#),
        ("changed", r#"changed = { type = "timestamptz" } # S; at most 24 characters"#),
        ("day", r#"day = { type = "date" } # S; at most 10 characters"#),
        ("sizes", r#"sizes = { type = "numeric[]" } # NS"#),
        ("picture", r#"picture = { type = "bytea" } # B"#),
        ("rare", r#"rare = { type = "boolean" } # BOOL 98%, NULL 2%"#),
    ] {
        assert_eq!(column(&run, name), expected);
    }
    run.stdout_has("# in the rest: nothing: always NULL\n");
}

#[test]
fn the_tables_as_sql_are_those_of_the_profile() {
    let run = program!("ddb-infer").args(["--name", "shop", "--ddl"]).stdin(SHOP).run();
    run.exits(0)
        .stdout_has("create table if not exists \"order_lines\" (\n    \"user_id\" text,\n    \"order_id\" text,\n    \"position\" integer,\n")
        .stdout_has("    primary key (\"user_id\", \"order_id\", \"position\")\n);\n")
        .stdout_has("create index on \"users\" (\"gsi1pk\", \"gsi1sk\");\n");
}

#[test]
fn records_of_changes_name_the_key() {
    let change = |id: u32| {
        format!(
            r#"{{"Metadata":{{"WriteTimestampMicros":{{"N":"1700000000000000"}}}},"Keys":{{"code":{{"N":"{id}"}}}},"NewImage":{{"id":{{"S":"{id}"}},"code":{{"N":"{id}"}}}}}}"#
        ) + "\n"
    };
    infer(&(change(1) + &change(2))).exits(0).stdout_has("key = [\"code\"]\n");
}

#[test]
fn the_same_items_make_the_same_profile_and_a_sample_is_a_part_of_them() {
    assert_eq!(infer(SHOP).output(), infer(SHOP).output());
    let sample = program!("ddb-infer").args(["--name", "shop", "--sample", "2"]).stdin(SHOP).run();
    sample.exits(0).stdout_has("# Made by ddb-infer of 2 items.").stdout_has("table = \"shop\"\n");
}

#[test]
fn lines_that_are_no_items_are_counted() {
    let items = "{\"Item\":{\"id\":{\"S\":\"1\"}}}\ngarbage\n{\"Item\":1}\n{\"Item\":{\"id\":{\"S\":\"2\"}}}\n";
    infer(items).exits(0).stderr_has("left out because ddb-parse will reject them: 2 lines").stdout_has("of 2 items");
}

#[test]
fn items_are_looked_at_as_the_profile_will_have_them() {
    let items = r#"{"Item":{"i\u0000d":{"S":"1"},"a":{"S":"x\u0000"}}}
{"Item":{"i\u0000d":{"S":"2"},"a":{"S":"y"}}}
{"Item":{"i\u0000d":{"S":"3"},"i\ufffdd":{"S":"3"}}}
"#;
    let run = infer(items);
    run.stderr_has("left out because ddb-parse will reject them: 1 line")
        .stdout_has("nul = { replace = \"\u{FFFD}\" }\n");
    assert_eq!(column(&run, "i_d"), "i_d = { type = \"text\", from = [\"i\u{FFFD}d\"] } # S");
}

#[test]
fn keys_that_no_index_takes_are_told() {
    let item = |id: u32, length: usize| format!("{{\"Item\":{{\"id\":{{\"S\":\"{id:0length$}\"}}}}}}\n");
    infer(&(item(1, 2_600) + &item(2, 7))).exits(0).never_says("bytes");
    infer(&(item(1, 2_601) + &item(2, 7))).exits(0).stdout_has("# Keys have up to 2601 bytes. PostgreSQL has no index");
}

#[test]
fn without_items_or_a_key_there_is_no_profile() {
    infer("").exits(65).stdout("").stderr_has("there are no items on stdin, and 0 lines of something else");
    infer("x\n").exits(65).stdout("").stderr_has("and 1 line of something else");
    infer("{\"Item\":{\"a\":{\"S\":\"1\"}}}\n{\"Item\":{\"a\":{\"S\":\"1\"}}}\n")
        .exits(65)
        .stdout("")
        .stderr_has("no attribute, and no pair of attributes, tells the first 2 items apart");
    program!("ddb-infer").args(["--name", "a b"]).stdin(SHOP).run().exits(2).stderr_has("a b");
}

#[test]
fn plain_json_makes_a_profile_too() {
    let run = program!("ddb-infer").args(["--name", "plain", "--json"]).stdin("{\"id\":1,\"name\":\"x\"}\n").run();
    assert_eq!(column(&run, "name"), r#"name = { type = "text" } # S; at most 1 characters"#);
}

#[test]
fn an_item_with_malformed_base64_is_left_out_and_named() {
    let item = |id: u32, value: &str| format!("{{\"Item\":{{\"id\":{{\"S\":\"{id}\"}},\"picture\":{value}}}}}\n");
    let begin = r#"{"$file":{"event":"begin","v":1,"key":"data/a.json.gz","encoding":"dynamodb-json","skip":0}}"#;
    for bad in [r#"{"B":"x"}"#, r#"{"BS":["AA==","A"]}"#, r#"{"L":[{"M":{"b":{"B":"x"}}}]}"#] {
        let items = format!("{begin}\n{}{}{}", item(1, r#"{"B":"AA=="}"#), item(2, bad), item(3, r#"{"B":"AAAA"}"#));
        let run = infer(&items);
        run.stderr_has("left out: `data/a.json.gz`, line 2: attribute `picture` holds binary that is not base64");
        run.stderr_has("left out because ddb-parse will reject them: 1 line").never_says("bug");
        assert_eq!(column(&run, "picture"), r#"picture = { type = "bytea" } # B"#);
    }
}

#[test]
fn what_a_program_before_rejected_and_unknown_lines_are_counted() {
    let items = r#"{"$file":{"event":"begin","v":1,"key":"x","encoding":"dynamodb-json","skip":0}}
{"Item":{"id":{"S":"1"}}}
{"$reject":{"key":"x","record":2,"stage":"ddb-cat","reason":"not kept","data":{}}}
{"$later":{}}
{"Item":{"id":{"S":"2"}}}
{"Item""#;
    let run = infer(items);
    run.exits(0).stdout_has("of 2 items").stderr_has("left out: `x`, line 2: not kept");
    run.stderr_has("left out: `x`, line 3: neither a record nor a marker that this version knows");
    run.stderr_has("left out because ddb-parse will reject them: 2 lines").stderr_has("7 bytes are ignored");
}

#[test]
fn plain_items_may_begin_with_a_dollar() {
    let run = program!("ddb-infer")
        .args(["--name", "shop", "--json"])
        .stdin("{\"$id\":\"1\",\"a\":7}\n{\"$id\":\"2\",\"a\":7}\n")
        .run();
    run.exits(0).stdout_has("# Made by ddb-infer of 2 items.");
}

#[test]
fn a_file_is_replaced_only_on_success() {
    let dir = Dir::new();
    dir.write("shop.toml", "old");
    let infer =
        |items: &str| program!("ddb-infer").in_dir(&dir).args(["--name", "shop", "-o", "shop.toml"]).stdin(items).run();
    infer("garbage\n").exits(65);
    assert_eq!(dir.read("shop.toml"), "old");
    infer(SHOP).exits(0).stdout("");
    assert!(dir.read("shop.toml").contains("name = \"users\""));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");

    let run = program!("ddb-infer").args(["--name", "shop", "-o", "/dev/stdout"]).stdin(SHOP).run();
    run.exits(0).stdout_has("name = \"users\"");
    let run = program!("ddb-infer").args(["--name", "shop", "-o", "/nowhere/x.toml"]).stdin(SHOP).run();
    run.exits(2).stderr_has("cannot write `/nowhere/x.toml`");
}
