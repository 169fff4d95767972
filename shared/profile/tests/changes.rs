//! What records of incremental exports do to rows, and which of them are refused because nobody knows.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use bumpalo::Bump;
use std::path::Path;

use item::{Decoder, Encoding, Record};
use profile::{Fate, Made, Options, Profile};

const SHOP: &str = r#"
unmatched = "ignore"

[[table]]
name = "users"
when = [{ attribute = "SK", equals = "USER" }]
key = ["email"]
version = "at"
[table.columns]
email = { type = "text", from = "Email" }
at = { type = "bigint", from = "$written" }
name = { type = "text", from = "Name" }

[[table]]
name = "orders"
when = [{ attribute = "SK", begins_with = "O#" }]
key = ["id"]
[table.columns]
id = { type = "text", from = "SK" }
total = { type = "numeric", from = "Total" }

[[table]]
name = "lines"
parent = "orders"
each = "Lines"
key = ["id", "line"]
[table.columns]
id = { type = "text", from = "SK" }
line = { type = "integer", from = "$position" }
sku = { type = "text", from = "$element" }

[[table]]
name = "kinds"
when = [{ attribute = "Kind", exists = true }]
key = ["sk"]
[table.columns]
sk = { type = "text", from = "SK" }
"#;

fn profile(text: &str) -> Profile {
    profile::parse(Path::new("t.toml"), text, Options::default()).unwrap()
}

/// What becomes of a change at 17 microseconds: rows with `+`, deletions with `-`.
fn changes(profile: &Profile, images: &str) -> Result<Vec<String>, String> {
    changes_of(profile, images, false)
}

fn changes_of(profile: &Profile, images: &str, old_images: bool) -> Result<Vec<String>, String> {
    let line = format!(r#"{{"Metadata":{{"WriteTimestampMicros":{{"N":"17"}}}},{images}}}"#).replace('\n', " ");
    let mut decoder = Decoder::default();
    let memory = Bump::new();
    let Record::Change(change) = decoder.decode_record(line.as_bytes(), Encoding::DynamodbJson, &memory).unwrap()
    else {
        panic!("no change: {line}")
    };
    let mut made = Made::default();
    let fate = profile.changes(&change, old_images, &mut made)?;
    let name = |table: usize| &profile.tables[table].schema.table;
    let show = |sign: char| {
        move |(table, row): (usize, profile::RowView<'_>)| {
            format!("{sign}{} {}", name(table), row.cells().collect::<Vec<_>>().join(" "))
        }
    };
    let mut all: Vec<_> = made.deleted().map(show('-')).collect();
    all.extend(made.rows().map(show('+')));
    if fate == Fate::Filtered {
        all.push("filtered".to_owned());
    }
    Ok(all)
}

fn order(total: u32, lines: &str) -> String {
    format!(r#"{{"PK":{{"S":"u"}},"SK":{{"S":"O#1"}},"Total":{{"N":"{total}"}},"Lines":{{"L":[{lines}]}}}}"#)
}

const KEYS: &str = r#""Keys":{"PK":{"S":"u"},"SK":{"S":"O#1"}}"#;

#[test]
fn with_old_images_what_an_item_has_no_longer_is_deleted() {
    let profile = profile(SHOP);
    let (two, one) = (order(5, r#"{"S":"a"},{"S":"b"}"#), order(6, r#"{"S":"c"}"#));
    let insert = changes_of(&profile, &format!(r#"{KEYS},"NewImage":{one}"#), true);
    assert_eq!(insert.unwrap(), [r#"+orders "O#1" 6"#, r#"+lines "O#1" 1 "c""#]);
    let update = changes(&profile, &format!(r#"{KEYS},"OldImage":{two},"NewImage":{one}"#));
    assert_eq!(update.unwrap(), [r#"-lines "O#1" 2 null"#, r#"+orders "O#1" 6"#, r#"+lines "O#1" 1 "c""#]);
    let delete = changes(&profile, &format!(r#"{KEYS},"OldImage":{two}"#));
    let gone = [r#"-orders "O#1" null"#, r#"-lines "O#1" 1 null"#, r#"-lines "O#1" 2 null"#];
    assert_eq!(delete.unwrap(), gone);
    // It came and went within the period: what an export that overlaps may have brought goes.
    assert_eq!(changes_of(&profile, KEYS, true).unwrap(), ["filtered"]);
    // What the item had was in no table, for a fault that only the new image lacks.
    let mended = changes(&profile, &format!(r#"{KEYS},"OldImage":{},"NewImage":{one}"#, order(5, r#"{"N":"1"}"#)));
    assert_eq!(mended.unwrap(), [r#"+orders "O#1" 6"#, r#"+lines "O#1" 1 "c""#]);
}

#[test]
fn a_row_of_nothing_but_key_and_version_has_a_version() {
    let profile = profile(
        "table = \"mails\"\nkey = [\"mail\"]\nversion = \"at\"\n[columns]\nmail = { type = \"text\" }\nat = { type = \"bigint\", from = \"$written\" }",
    );
    let images = r#""Keys":{"id":{"S":"1"}},"OldImage":{"id":{"S":"1"},"mail":{"S":"a"}},"NewImage":{"id":{"S":"1"},"mail":{"S":"b"}}"#;
    // Without the version of the deletion a newer row of another item would go too.
    assert_eq!(changes(&profile, images).unwrap(), [r#"-mails "a" 17"#, r#"+mails "b" 17"#]);
}

#[test]
fn a_row_whose_key_has_changed_is_another_one_and_carries_its_version() {
    let profile = profile(SHOP);
    let keys = r#""Keys":{"PK":{"S":"u"},"SK":{"S":"USER"}}"#;
    let user = |email: &str| format!(r#"{{"PK":{{"S":"u"}},"SK":{{"S":"USER"}},"Email":{{"S":"{email}"}}}}"#);
    let moved = changes(&profile, &format!(r#"{keys},"OldImage":{},"NewImage":{}"#, user("a"), user("b")));
    assert_eq!(moved.unwrap(), [r#"-users "a" 17 null"#, r#"+users "b" 17 null"#]);

    let without = self::profile(&SHOP.replace("version = \"at\"", ""));
    let reason =
        changes(&without, &format!(r#"{keys},"OldImage":{},"NewImage":{}"#, user("a"), user("b"))).unwrap_err();
    assert_eq!(
        reason,
        "the key of `users` is made of `Email`, so another item may have the row now: a `version` in the profile would tell"
    );
    // With the same key nothing is deleted, however it is spelled.
    for same in ["a", "\\u0061"] {
        let same = changes(&without, &format!(r#"{keys},"OldImage":{},"NewImage":{}"#, user(same), user("a")));
        assert_eq!(same.unwrap(), [r#"+users "a" 17 null"#]);
    }
}

#[test]
fn with_new_images_alone_only_what_the_key_decides_is_done() {
    let of = |section: &str| profile(&format!("unmatched = \"ignore\"\n{section}"));
    let sections: Vec<_> = SHOP.split("[[table]]").skip(1).map(|section| format!("[[table]]{section}")).collect();
    let orders = of(&sections[1]);
    assert_eq!(changes(&orders, KEYS).unwrap(), [r#"-orders "O#1" null"#]);
    assert_eq!(changes(&orders, &format!(r#"{KEYS},"NewImage":{}"#, order(5, ""))).unwrap(), [r#"+orders "O#1" 5"#]);
    assert_eq!(changes(&orders, r#""Keys":{"PK":{"S":"u"},"SK":{"S":"USER"}}"#).unwrap(), ["filtered"]);

    let lines = of(&sections[1..3].concat());
    let old = "an export of the view NEW_AND_OLD_IMAGES can tell";
    let unknown = format!("which elements the item had in `lines` before is not known: {old}");
    assert_eq!(changes(&lines, KEYS).unwrap_err(), unknown);
    let update = format!(r#"{KEYS},"NewImage":{}"#, order(5, r#"{"S":"a"}"#));
    assert_eq!(changes(&lines, &update).unwrap_err(), unknown);

    let kinds = of(&sections[3]);
    let reason = format!("whether the item was a row of `kinds` is decided by `Kind`, which a deletion lacks: {old}");
    assert_eq!(changes(&kinds, KEYS).unwrap_err(), reason);
    let users = of(&sections[0]);
    let reason =
        format!("which row of `users` the item was before is not known, since its key is made of `Email`: {old}");
    assert_eq!(changes(&users, r#""Keys":{"PK":{"S":"u"},"SK":{"S":"USER"}}"#).unwrap_err(), reason);
}

#[test]
fn what_was_merged_from_several_items_cannot_be_taken_away() {
    let profile = profile(
        r#"
        table = "p"
        key = ["id"]
        filter = [{ attribute = "off", exists = false }]
        [columns]
        id = { type = "text", from = "SK" }
        all = { type = "jsonb", from = "Lines", merge = "jsonb_merge" }
        "#,
    );
    let item = r#"{"PK":{"S":"u"},"SK":{"S":"O#1"},"Lines":{"M":{"a":{"N":"1"}}}}"#;
    assert_eq!(changes(&profile, &format!(r#"{KEYS},"NewImage":{item}"#)).unwrap(), [r#"+p "O#1" {"a":1}"#]);
    let update = changes(&profile, &format!(r#"{KEYS},"OldImage":{item},"NewImage":{item}"#));
    assert_eq!(update.unwrap(), [r#"+p "O#1" {"a":1}"#]);
    let reason = changes(&profile, &format!(r#"{KEYS},"OldImage":{item}"#)).unwrap_err();
    assert_eq!(
        reason,
        "rows of `p` are merged from several items: what this one has added to its row cannot be taken away"
    );
    let reason = changes(&profile, KEYS).unwrap_err();
    assert!(reason.starts_with("whether the item was a row is decided by `off`, which a deletion lacks"), "{reason}");
}

#[test]
fn nul_is_replaced_in_every_image() {
    let profile =
        profile("table = \"t\"\nkey = [\"id\"]\nnul = \"strip\"\n[columns]\nid = { type = \"text\", from = \"SK\" }");
    let keys = r#""Keys":{"SK":{"S":"a\u0000b"}}"#;
    assert_eq!(changes(&profile, keys).unwrap(), [r#"-t "ab""#]);
    let images = format!(r#"{keys},"OldImage":{{"SK":{{"S":"a\u0000b"}}}},"NewImage":{{"SK":{{"S":"a\u0000b"}}}}"#);
    assert_eq!(changes(&profile, &images).unwrap(), [r#"+t "ab""#]);
}
