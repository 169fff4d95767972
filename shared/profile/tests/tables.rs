//! Several tables from one collection: which items go where, rows of elements, and what is said of a profile that cannot
//! be.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use bumpalo::Bump;
use std::path::Path;

use item::{Encoding, decode};
use profile::{Fate, Made, Options, Profile};

const SHOP: &str = r##"
unmatched = "reject"

[values]
customer = { from = "PK", convert = [{ split = { by = "#", part = 2 } }], required = true }
code = { from = "Code", required = true }

[[filter]]
attribute = "Hidden"
not_equals = true

[[table]]
name = "customers"
when = [{ attribute = "SK", equals = "PROFILE" }]
key = ["id"]
[table.columns]
id = { type = "text", from = "customer" }
name = { type = "text", from = "Name" }

[[table]]
name = "orders"
schema = "shop"
when = [{ attribute = "SK", begins_with = "ORDER#" }]
key = ["id"]
[table.values]
order = { from = "SK", convert = [{ strip_prefix = "ORDER#" }] }
[table.columns]
id = { type = "bigint", from = "order" }
customer = { type = "text", from = "customer" }
rest = { type = "jsonb", rest = true }

[[table]]
name = "lines"
parent = "orders"
each = "Lines"
key = ["id", "line"]
[table.columns]
id = { type = "bigint", from = "order" }
line = { type = "integer", from = "$position" }
sku = { type = "text", from = "$element.sku" }
price = { type = "numeric", from = "$element.price" }
rest = { type = "jsonb", rest = true }

[[table]]
name = "tags"
parent = "orders"
each = "Tags"
when = [{ not = { attribute = "$element", begins_with = "_" } }]
key = ["id", "tag"]
[table.columns]
id = { type = "bigint", from = "order" }
tag = { type = "text", from = "$element" }

[[table]]
name = "prices"
parent = "orders"
each = "Prices"
key = ["id", "currency"]
[table.columns]
id = { type = "bigint", from = "order" }
currency = { type = "text", from = "$name" }
amount = { type = "numeric", from = "$element" }
"##;

fn parse(text: &str) -> Result<Profile, String> {
    profile::parse(Path::new("shop.toml"), text, Options::default()).map_err(|error| error.to_string())
}

/// The rows of an item: the table, and its cells.
fn rows(profile: &Profile, attributes: &str) -> Result<Vec<String>, String> {
    let line = format!(r#"{{"Item":{{{attributes}}}}}"#);
    let memory = Bump::new();
    let item = decode(line.as_bytes(), Encoding::DynamodbJson, &memory).unwrap();
    let mut made = Made::default();
    let fate = profile.rows(&item, &mut made)?;
    let table = |table: usize| &profile.tables[table].schema.table;
    let rows =
        made.rows().map(|(place, row)| format!("{}: {}", table(place), row.cells().collect::<Vec<_>>().join(" ")));
    Ok(if fate == Fate::Filtered { vec!["filtered".to_owned()] } else { rows.collect() })
}

#[test]
fn an_item_goes_to_the_tables_whose_conditions_hold_and_its_elements_to_their_own() {
    let profile = parse(SHOP).unwrap();
    let rows = |attributes: &str| rows(&profile, attributes);
    let customer = r#""PK":{"S":"C#7"},"SK":{"S":"PROFILE"},"Name":{"S":"Ann"}"#;
    assert_eq!(rows(customer).unwrap(), [r#"customers: "7" "Ann""#]);

    let order = r#""PK":{"S":"C#7"},"SK":{"S":"ORDER#12"},"Paid":{"BOOL":true},
        "Lines":{"L":[{"M":{"sku":{"S":"a"},"price":{"N":"1.50"},"gift":{"BOOL":true}}},{"M":{"sku":{"S":"b"}}}]},
        "Tags":{"SS":["new","_internal"]},"Prices":{"M":{"EUR":{"N":"3"},"CHF":{"N":"2.9"}}}"#;
    // All that is in `Lines` and `Prices` is in tables of their own. Of tags some are left out, so `Tags` stays in the rest.
    let expected = [
        r#"orders: 12 "7" {"Paid":true,"Tags":["new","_internal"]}"#,
        r#"lines: 12 1 "a" 1.50 {"gift":true}"#,
        r#"lines: 12 2 "b" null null"#,
        r#"tags: 12 "new""#,
        r#"prices: 12 "EUR" 3"#,
        r#"prices: 12 "CHF" 2.9"#,
    ];
    assert_eq!(rows(order).unwrap(), expected);

    // What is no map has no attributes: the rest of an element is then the element.
    let order = r#""PK":{"S":"C#7"},"SK":{"S":"ORDER#12"},"Lines":{"L":[{"NULL":true},{"M":{}}]}"#;
    assert_eq!(rows(order).unwrap()[1..], ["lines: 12 1 null null null", "lines: 12 2 null null null"]);
    let bare = parse(&SHOP.replace("sku = { type = \"text\", from = \"$element.sku\" }\n", "")).unwrap();
    let order = r#""PK":{"S":"C#7"},"SK":{"S":"ORDER#12"},"Lines":{"L":[{"S":"cash"},{"N":"1.50"},{"SS":["a"]}]}"#;
    assert_eq!(
        self::rows(&bare, order).unwrap()[1..],
        [r#"lines: 12 1 null "cash""#, "lines: 12 2 null 1.50", r#"lines: 12 3 null ["a"]"#]
    );

    // Nothing to be a row of: the order alone, without a rest but its keys.
    for lines in ["", r#","Lines":{"NULL":true}"#, r#","Lines":{"L":[]}"#] {
        let order = format!(r#""PK":{{"S":"C#7"}},"SK":{{"S":"ORDER#12"}}{lines}"#);
        assert_eq!(rows(&order).unwrap(), [r#"orders: 12 "7" null"#], "{lines}");
    }
    assert_eq!(rows(&format!(r#"{customer},"Hidden":{{"BOOL":true}}"#)).unwrap(), ["filtered"]);
}

#[test]
fn an_item_is_rejected_as_a_whole() {
    let profile = parse(SHOP).unwrap();
    for (attributes, reason) in [
        (r#""PK":{"S":"C#7"},"SK":{"S":"OTHER"}"#, "no table of the profile takes the item"),
        (r#""PK":{"S":"C#7"},"SK":{"S":"ORDER#x"}"#, "table `orders`: `id` is `x`, which is not a number"),
        (
            r#""PK":{"S":"C#7"},"SK":{"S":"ORDER#1"},"Lines":{"S":"none"}"#,
            "table `lines`: attribute `Lines` is S, but a list, a map or a set is wanted",
        ),
        (
            r#""PK":{"S":"C#7"},"SK":{"S":"ORDER#1"},"Lines":{"L":[{"M":{}},{"M":{"sku":{"N":"1"}}}]}"#,
            "table `lines`: element 2: attribute `$element.sku` is N, but S is wanted",
        ),
    ] {
        assert_eq!(rows(&profile, attributes).unwrap_err(), reason);
    }
    // Values that no column of the table is made of are not asked for: a customer needs no `Code`.
    let ignoring = parse(&SHOP.replace("unmatched = \"reject\"", "unmatched = \"ignore\"")).unwrap();
    assert_eq!(rows(&ignoring, r#""PK":{"S":"C#7"},"SK":{"S":"OTHER"}"#).unwrap(), ["filtered"]);
}

#[test]
fn conditions_compare_and_are_composed() {
    let holds = |condition: &str, attributes: &str| {
        let text = format!(
            "table = \"t\"\nkey = [\"id\"]\nfilter = [{condition}]\n[columns]\nid = {{ type = \"text\", value = \"x\" }}"
        );
        rows(&parse(&text).unwrap(), attributes).unwrap() != ["filtered"]
    };
    for (condition, attributes, expected) in [
        (r#"{ attribute = "n", less_than = 10 }"#, r#""n":{"N":"9.99999999999999999999999999999999999"}"#, true),
        (r#"{ attribute = "n", less_than = 10 }"#, r#""n":{"N":"1E1"}"#, false),
        (r#"{ attribute = "n", at_most = 10 }"#, r#""n":{"N":"1E1"}"#, true),
        (r#"{ attribute = "n", greater_than = -1.5 }"#, r#""n":{"N":"-1.5"}"#, false),
        (r#"{ attribute = "n", at_least = -1.5 }"#, r#""n":{"N":"-1.50"}"#, true),
        (r#"{ attribute = "n", equals = 1 }"#, r#""n":{"N":"1.0"}"#, true),
        (r#"{ attribute = "n", equals = 1.50 }"#, r#""n":{"N":"15E-1"}"#, true),
        (r#"{ attribute = "n", not_equals = 1 }"#, r#""n":{"N":"1.00"}"#, false),
        (r#"{ attribute = "n", equals = "1" }"#, r#""n":{"S":"1.0"}"#, false),
        (r#"{ attribute = "n", equals = "01" }"#, r#""n":{"N":"1"}"#, false),
        // A text is no number, and what is not there does not compare.
        (r#"{ attribute = "n", less_than = 10 }"#, r#""n":{"S":"9"}"#, false),
        (r#"{ attribute = "n", less_than = 10 }"#, r#""m":{"N":"9"}"#, false),
        (r#"{ attribute = "s", at_least = "2024-01-15" }"#, r#""s":{"S":"2024-02-01"}"#, true),
        (r#"{ attribute = "s", at_least = "2024-01-15" }"#, r#""s":{"S":"2023-12-31"}"#, false),
        (r#"{ not = { attribute = "s", exists = true } }"#, r#""n":{"N":"9"}"#, true),
        (
            r#"{ any = [{ attribute = "s", in = ["a", "b"] }, { all = [{ attribute = "n", equals = 1 }, { attribute = "m", exists = true }] }] }"#,
            r#""s":{"S":"c"},"n":{"N":"1"},"m":{"N":"1"}"#,
            true,
        ),
        (
            r#"{ any = [{ attribute = "s", in = ["a", "b"] }, { all = [{ attribute = "n", equals = 1 }, { attribute = "m", exists = true }] }] }"#,
            r#""s":{"S":"c"},"n":{"N":"1"}"#,
            false,
        ),
    ] {
        assert_eq!(holds(condition, attributes), expected, "{condition} of {attributes}");
    }
}

#[test]
fn every_mistake_is_shown_in_its_place() {
    let text = r#"table = "orders"
key = ["ordr_id"]
filter = [{ attribute = "x", exist = true }]
[columns]
order_id = { type = "text" }
"#;
    let expected = "`shop.toml`, line 3, column 30: unknown field `exist`, expected one of `attribute`, `exists`, \
                    `equals`, `not_equals`, `in`, `begins_with`, `less_than`, `at_most`, `greater_than`, `at_least`, \
                    `jq`, `all`, `any`, `not`\n  |\n3 | filter = [{ attribute = \"x\", exist = true }]\n  |                              ^^^^^\n  = did you mean `exists`?";
    assert_eq!(parse(text).unwrap_err(), expected);

    let text = r#"table = "orders"
key = ["ordr_id"]
[columns]
order_id = { type = "text", rest = true }
at = { type = "timestamptz", convert = [{ lookup = "times" }] }
"#;
    let expected = r#"`shop.toml`, line 2, column 7: key: there is no column `ordr_id`
  |
2 | key = ["ordr_id"]
  |       ^^^^^^^^^^^
  = did you mean `order_id`?
`shop.toml`, line 4, column 1: columns.order_id: the rest of an item is `jsonb`
  |
4 | order_id = { type = "text", rest = true }
  | ^^^^^^^^
`shop.toml`, line 5, column 1: columns.at: there is no table `times` among the lookups ()
  |
5 | at = { type = "timestamptz", convert = [{ lookup = "times" }] }
  | ^^"#;
    assert_eq!(parse(text).unwrap_err(), expected);
}

#[test]
fn sections_that_contradict_each_other_are_refused() {
    for (from, to, expected) in [
        (
            "parent = \"orders\"\neach = \"Tags\"",
            "parent = \"order\"\neach = \"Tags\"",
            "line 46, column 10: table.tags.parent: there is no table `order` before this one",
        ),
        ("parent = \"orders\"\neach = \"Tags\"", "each = \"Tags\"", "`parent` is missing"),
        ("parent = \"orders\"\neach = \"Tags\"", "parent = \"orders\"", "`each` is missing"),
        (
            "parent = \"orders\"\neach = \"Tags\"",
            "parent = \"lines\"\neach = \"Tags\"",
            "the parent is itself made of elements",
        ),
        ("name = \"tags\"", "name = \"lines\"", "two sections cannot fill one table"),
        (
            "[table.values]\norder",
            "[table.values]\ncode = { from = \"x\" }\norder",
            "table.orders.values.code: there is a value of that name already",
        ),
        (
            "unmatched = \"reject\"",
            "unmatched = \"reject\"\nkey = [\"id\"]",
            "`key` belongs into the sections `[[table]]`",
        ),
        ("unmatched = \"reject\"", "unmatched = \"keep\"", "unknown variant `keep`, expected `reject` or `ignore`"),
        (
            "not = { attribute = \"$element\", begins_with = \"_\" }",
            "not = { begins_with = \"_\" }",
            "table.tags.when: a condition has an `attribute`",
        ),
    ] {
        assert!(SHOP.contains(from), "{from}");
        let error = parse(&SHOP.replace(from, to)).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
    for text in ["table = []", "table = 7", "table = \"t\"\n[columns]\nid = { type = \"text\" }"] {
        assert!(parse(text).is_err(), "{text}");
    }
}
