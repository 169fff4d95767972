//! What a profile's `nul` makes of texts with the character U+0000, which PostgreSQL cannot hold.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use bumpalo::Bump;
use std::path::Path;

use item::{Encoding, decode};
use profile::{Made, Options, Profile};

const ITEM: &str = r#"{"Item":{"id":{"S":"1"},"name":{"S":"a\u0000b"},"tags":{"SS":["\u0000x","y"]},
    "all":{"M":{"n\u0000":{"L":[{"S":"\u0000"},{"M":{"k":{"S":"p\\u0000\u0000q"}}},{"SS":["z\u0000"]}]}}}}}"#;

fn profile(nul: &str) -> Result<Profile, String> {
    let text = format!(
        r#"
        table = "t"
        key = ["id"]
        {nul}
        [columns]
        id = {{ type = "text" }}
        name = {{ type = "text" }}
        tags = {{ type = "text[]" }}
        all = {{ type = "jsonb" }}
        "#
    );
    profile::parse(Path::new("t.toml"), &text, Options::default()).map_err(|error| error.to_string())
}

fn cells(nul: &str, line: &str) -> Result<Vec<String>, String> {
    let profile = profile(nul).unwrap();
    let line = line.replace('\n', " ");
    let memory = Bump::new();
    let item = decode(line.as_bytes(), Encoding::DynamodbJson, &memory).unwrap();
    let mut made = Made::default();
    profile.rows(&item, &mut made)?;
    Ok(made.rows().flat_map(|(_, row)| row.cells()).map(str::to_owned).collect())
}

#[test]
fn an_item_with_nul_in_a_column_is_rejected_by_default() {
    for nul in ["", "nul = \"reject\""] {
        let reason = cells(nul, ITEM).unwrap_err();
        assert_eq!(reason, "attribute `name` holds the character U+0000, which PostgreSQL cannot store");
    }
    let inside = r#"{"Item":{"id":{"S":"1"},"all":{"M":{"n\u0000":{"S":"x"}}}}}"#;
    let reason = cells("", inside).unwrap_err();
    assert_eq!(reason, "attribute `all` holds the character U+0000, which PostgreSQL cannot store");
    // Where no column takes it, it harms nothing.
    assert_eq!(cells("", r#"{"Item":{"id":{"S":"1"},"other":{"S":"\u0000"}}}"#).unwrap()[0], "\"1\"");
}

#[test]
fn strip_removes_it_wherever_it_stands() {
    let expected = [r#""1""#, r#""ab""#, r#"["x","y"]"#, r#"{"n":["",{"k":"p\\u0000q"},["z"]]}"#];
    assert_eq!(cells("nul = \"strip\"", ITEM).unwrap(), expected);
}

#[test]
fn a_text_may_stand_in_its_place() {
    let expected =
        [r#""1""#, r#""a\"\\b""#, r#"["\"\\x","y"]"#, r#"{"n\"\\":["\"\\",{"k":"p\\u0000\"\\q"},["z\"\\"]]}"#];
    assert_eq!(cells("nul = { replace = '\"\\' }", ITEM).unwrap(), expected);
    let item = r#"{"Item":{"id":{"S":"\u0000"}}}"#;
    assert_eq!(cells("nul = { replace = \"\u{fffd}\" }", item).unwrap()[0], "\"\u{fffd}\"");
}

#[test]
fn filters_and_keys_see_what_came_of_it() {
    let item = r#"{"Item":{"id":{"S":"\u00007\u0000"}}}"#;
    assert_eq!(cells("nul = \"strip\"", item).unwrap()[0], "\"7\"");
    let filter = "nul = \"strip\"\n[[filter]]\nattribute = \"id\"\nequals = \"7\"";
    assert_eq!(cells(filter, item).unwrap()[0], "\"7\"");
}

#[test]
fn two_names_that_become_one_lose_nothing_in_silence() {
    let line = r#"{"Item":{"id":{"S":"1"},"all":{"M":{"a":{"S":"x"},"a\u0000":{"S":"y"}}}}}"#;
    assert_eq!(cells("nul = \"strip\"", line).unwrap_err(), "attribute `all.a`: the name comes twice");
}

#[test]
fn it_belongs_to_what_the_rows_are() {
    let hash = |nul: &str| profile(nul).unwrap().tables[0].schema.hash.clone();
    let hashes =
        [hash(""), hash("nul = \"strip\""), hash("nul = { replace = \"?\" }"), hash("nul = { replace = \"!\" }")];
    for (place, one) in hashes.iter().enumerate() {
        assert!(!hashes[..place].contains(one), "{hashes:?}");
    }
    assert_eq!(hash("nul = \"reject\""), hashes[0]);
}

#[test]
fn what_it_cannot_be_is_said() {
    for (nul, message) in [
        ("nul = \"remove\"", "unknown variant `remove`, expected one of `reject`, `strip`, `replace`"),
        (
            "nul = { replace = \"a\\u0000\" }",
            "`t.toml`, line 4, column 15: nul: the text for U+0000 cannot hold U+0000 itself",
        ),
    ] {
        let found = profile(nul).unwrap_err();
        assert!(found.contains(message), "{found}");
    }
}
