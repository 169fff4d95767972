//! What records of incremental exports do to rows, and which of them are refused because nobody knows.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use bumpalo::Bump;
use std::path::Path;

use item::{Decoder, Encoding, Record};
use profile::{Before, Fate, Made, Options, Profile};

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
key = ["user", "id"]
[table.columns]
user = { type = "text", from = "PK" }
id = { type = "text", from = "SK" }
total = { type = "numeric", from = "Total" }

[[table]]
name = "lines"
parent = "orders"
each = "Lines"
key = ["user", "id", "line"]
[table.columns]
user = { type = "text", from = "PK" }
id = { type = "text", from = "SK" }
line = { type = "integer", from = "$position" }
sku = { type = "text", from = "$element" }

[[table]]
name = "kinds"
when = [{ attribute = "Kind", exists = true }]
key = ["pk", "sk"]
[table.columns]
pk = { type = "text", from = "PK" }
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
    changes_since(profile, images, Before { images: old_images, until: None })
}

fn changes_since(profile: &Profile, images: &str, before: Before) -> Result<Vec<String>, String> {
    let line = format!(r#"{{"Metadata":{{"WriteTimestampMicros":{{"N":"17"}}}},{images}}}"#).replace('\n', " ");
    let mut decoder = Decoder::default();
    let memory = Bump::new();
    let Record::Change(change) = decoder.decode_record(line.as_bytes(), Encoding::DynamodbJson, &memory).unwrap()
    else {
        panic!("no change: {line}")
    };
    let mut made = Made::default();
    let fate = profile.changes(&change, before, &mut made)?;
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
    assert_eq!(insert.unwrap(), [r#"+orders "u" "O#1" 6"#, r#"+lines "u" "O#1" 1 "c""#]);
    let update = changes(&profile, &format!(r#"{KEYS},"OldImage":{two},"NewImage":{one}"#));
    assert_eq!(update.unwrap(), [r#"-lines "u" "O#1" 2 null"#, r#"+orders "u" "O#1" 6"#, r#"+lines "u" "O#1" 1 "c""#]);
    let delete = changes(&profile, &format!(r#"{KEYS},"OldImage":{two}"#));
    let gone = [r#"-orders "u" "O#1" null"#, r#"-lines "u" "O#1" 1 null"#, r#"-lines "u" "O#1" 2 null"#];
    assert_eq!(delete.unwrap(), gone);
    // It came and went within the period: what an export that overlaps may have brought goes.
    assert_eq!(changes_of(&profile, KEYS, true).unwrap(), ["filtered"]);
    // What the item had was in no table, for a fault that only the new image lacks.
    let mended = changes(&profile, &format!(r#"{KEYS},"OldImage":{},"NewImage":{one}"#, order(5, r#"{"N":"1"}"#)));
    assert_eq!(mended.unwrap(), [r#"+orders "u" "O#1" 6"#, r#"+lines "u" "O#1" 1 "c""#]);
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

/// A row that is newer than all that was there before is another item's.
#[test]
fn a_deletion_is_no_newer_than_what_was_there_before() {
    let profile = profile(SHOP);
    let user = |email: &str| format!(r#"{{"PK":{{"S":"u"}},"SK":{{"S":"USER"}},"Email":{{"S":"{email}"}}}}"#);
    let images =
        format!(r#""Keys":{{"PK":{{"S":"u"}},"SK":{{"S":"USER"}}}},"OldImage":{},"NewImage":{}"#, user("a"), user("b"));
    for (until, gone) in [(Some(9), 9), (Some(20), 17), (None, 17)] {
        let found = changes_since(&profile, &images, Before { images: true, until }).unwrap();
        assert_eq!(found, [format!(r#"-users "a" {gone} null"#), r#"+users "b" 17 null"#.to_owned()]);
    }
}

#[test]
fn with_new_images_alone_only_what_the_key_decides_is_done() {
    let of = |section: &str| profile(&format!("unmatched = \"ignore\"\n{section}"));
    let sections: Vec<_> = SHOP.split("[[table]]").skip(1).map(|section| format!("[[table]]{section}")).collect();
    let orders = of(&sections[1]);
    assert_eq!(changes(&orders, KEYS).unwrap(), [r#"-orders "u" "O#1" null"#]);
    assert_eq!(
        changes(&orders, &format!(r#"{KEYS},"NewImage":{}"#, order(5, ""))).unwrap(),
        [r#"+orders "u" "O#1" 5"#]
    );
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

/// Without the old image nobody knows where the item was: what it is not in any longer is deleted, or the record rejected.
#[test]
fn with_new_images_alone_an_item_leaves_the_tables_that_do_not_take_it_now() {
    let states = |key: &str, version: &str| {
        let table = |name: &str, state: &str| {
            format!(
                "[[table]]\nname = \"{name}\"\nwhen = [{{ attribute = \"State\", equals = \"{state}\" }}]\nkey = [\"id\"]\n\
                 {version}\n[table.columns]\nid = {{ type = \"text\", from = \"{key}\" }}\n\
                 at = {{ type = \"bigint\", from = \"$written\" }}\n"
            )
        };
        profile(&(table("open", "o") + &table("closed", "c")))
    };
    let keys = r#""Keys":{"id":{"S":"1"}}"#;
    let closed = format!(r#"{keys},"NewImage":{{"id":{{"S":"1"}},"State":{{"S":"c"}},"Mail":{{"S":"m"}}}}"#);
    assert_eq!(changes(&states("id", ""), &closed).unwrap(), [r#"-open "1" null"#, r#"+closed "1" 17"#]);
    assert_eq!(changes(&states("id", "version = \"at\""), &closed).unwrap(), [r#"-open "1" 17"#, r#"+closed "1" 17"#]);
    let reason = changes(&states("Mail", ""), &closed).unwrap_err();
    assert!(reason.starts_with("which row of `closed` the item was before is not known"), "{reason}");

    // Elements that it has no longer are not known either.
    let orders = profile(SHOP);
    for lines in ["", r#","Lines":{"L":[]}"#] {
        let order = format!(r#"{{"PK":{{"S":"u"}},"SK":{{"S":"O#1"}}{lines}}}"#);
        let reason = changes(&orders, &format!(r#"{KEYS},"NewImage":{order}"#)).unwrap_err();
        assert!(reason.starts_with("which elements the item had in `lines` before is not known"), "{reason}");
    }
    // What the item's key decides was never otherwise.
    let users = SHOP.replace("key = [\"email\"]", "key = [\"id\"]").replace("from = \"Email\"", "from = \"PK\"");
    let users = profile(
        &users
            .replace("email =", "id =")
            .replace("attribute = \"Kind\", exists = true", "attribute = \"PK\", equals = \"k\""),
    );
    let user = r#""Keys":{"PK":{"S":"u"},"SK":{"S":"USER"}},"NewImage":{"PK":{"S":"u"},"SK":{"S":"USER"}}"#;
    assert_eq!(changes(&users, user).unwrap(), [r#"+users "u" 17 null"#]);
}

/// The key of a row may leave out a part of the item's key: then several items have one row.
#[test]
fn a_row_that_several_items_may_have_goes_with_none_of_them() {
    let of = |when: &str, more: &str| {
        profile(&format!(
            "unmatched = \"ignore\"\n[[table]]\nname = \"p\"\nwhen = [{when}]\nkey = [\"id\"]\n{more}\n\
             at = {{ type = \"bigint\", from = \"$written\" }}\nid = {{ type = \"text\", from = \"PK\" }}\n"
        ))
    };
    let image = r#"{"PK":{"S":"u"},"SK":{"S":"O#1"},"Theme":{"S":"dark"}}"#;
    let gone = format!(r#"{KEYS},"OldImage":{image}"#);
    let merged = "rows of `p` are merged from several items: what this one has added to its row cannot be taken away";
    for policy in ["coalesce", "greatest", "least"] {
        let mixed = format!("[table.columns]\ntheme = {{ type = \"text\", from = \"Theme\", merge = \"{policy}\" }}");
        assert_eq!(changes(&of("", &mixed), &gone).unwrap_err(), merged, "{policy}");
        assert_eq!(changes(&of("", &format!("version = \"at\"\n{mixed}")), &gone).unwrap_err(), merged, "{policy}");
        // Of one item a row is, where all have one sort key.
        let one = of(r#"{ all = [{ attribute = "SK", equals = "O#1" }] }"#, &mixed);
        assert_eq!(changes(&one, &gone).unwrap(), [r#"-p null null "u""#], "{policy}");
    }
    let reason = "the key of `p` is made without `SK`, so another item may have the row now: a `version` in the profile would tell";
    for when in ["", r#"{ attribute = "SK", begins_with = "O" }"#, r#"{ attribute = "SK", in = ["O#1", "O#2"] }"#] {
        assert_eq!(changes(&of(when, "[table.columns]"), &gone).unwrap_err(), reason, "{when}");
        let version = of(when, "version = \"at\"\n[table.columns]");
        assert_eq!(changes(&version, &gone).unwrap(), [r#"-p 17 "u""#], "{when}");
    }
}
