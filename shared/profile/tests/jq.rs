//! Filters of jq in a profile: for a column, a condition, the whole item. What they have to give was worked out with jq 1.7's
//! manual.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use bumpalo::Bump;
use std::path::Path;

use item::{Decoder, Encoding, Record, decode};
use profile::{Before, Fate, Made, Options, Profile};

fn profile(text: &str) -> Result<Profile, String> {
    profile::parse(Path::new("p.toml"), text, Options::default()).map_err(|error| error.to_string())
}

/// A table of one column, made by this filter.
fn column(ty: &str, code: &str) -> Result<Profile, String> {
    profile(&format!(
        "table = \"t\"\nkey = [\"id\"]\n[columns]\nid = {{ type = \"text\" }}\nx = {{ type = \"{ty}\", jq = '{code}' }}\n"
    ))
}

/// The rows of an item, as JSON texts of cells; what became of it otherwise.
fn rows(profile: &Profile, item: &str) -> Result<Vec<String>, String> {
    let line = format!("{{\"Item\":{item}}}");
    let mut made = Made::default();
    let memory = Bump::new();
    match profile.rows(&decode(line.as_bytes(), Encoding::DynamodbJson, &memory).unwrap(), &mut made)? {
        Fate::Row => Ok(made.rows().map(|(_, row)| row.cells().collect::<Vec<_>>().join("|")).collect()),
        Fate::Filtered => Ok(vec!["filtered".to_owned()]),
    }
}

const ITEM: &str = r#"{"id":{"S":"a"},"lines":{"L":[{"M":{"n":{"N":"2"},"price":{"N":"1.5"}}},{"M":{"n":{"N":"1"},"price":{"N":"0.25"}}}]},"big":{"N":"12345678901234567890123456789012345678"},"small":{"N":"0.12345678901234567890123456789012345678"},"tags":{"SS":["b","a"]},"ok":{"BOOL":true},"none":{"NULL":true}}"#;

#[test]
fn a_column_is_what_a_filter_gives() {
    for (ty, code, expected) in [
        ("numeric", "[.lines[] | .n * .price] | add", "3.25"),
        ("integer", ".lines | length", "2"),
        ("bigint", ".lines | map(.n) | add", "3"),
        ("text", ".tags | sort | join(\"-\")", "\"a-b\""),
        ("text", ".id | ascii_upcase", "\"A\""),
        ("boolean", ".ok | not", "false"),
        ("jsonb", "{id, tags}", r#"{"id":"a","tags":["b","a"]}"#),
        ("jsonb", ".lines | map({(.n | tostring): .price}) | add", r#"{"2":1.5,"1":0.25}"#),
        ("text[]", ".tags | map(. + \"!\")", r#"["b!","a!"]"#),
        // Every digit stays in what is only handed on.
        ("numeric", ".big", "12345678901234567890123456789012345678"),
        ("numeric", ".small", "0.12345678901234567890123456789012345678"),
        ("jsonb", "[.small]", "[0.12345678901234567890123456789012345678]"),
        ("text", ".none", "null"),
        ("text", ".missing", "null"),
        ("text", "empty", "null"),
        ("timestamptz", "1700000000 | todate", "\"2023-11-14T22:13:20Z\""),
        ("text", ".id | test(\"^[a-z]$\") | tostring", "\"true\""),
    ] {
        assert_eq!(rows(&column(ty, code).unwrap(), ITEM), Ok(vec![format!("\"a\"|{expected}")]), "{code}");
    }
}

#[test]
fn what_is_no_one_value_rejects_the_item() {
    for (ty, code, expected) in [
        ("text", ".tags[]", "`x` jq gives several values where one is wanted"),
        ("text", ".id | error(\"no such thing\")", "`x` jq: \"no such thing\""),
        ("integer", ".id", "`x` is `a`, which is not a number"),
        ("numeric", "infinite", "`x` is a number of jq that is infinite or none"),
        ("integer", ".lines", "`x` is composed, which has no text"),
    ] {
        let error = rows(&column(ty, code).unwrap(), ITEM).unwrap_err();
        assert!(error.starts_with(expected), "{code}: {error}");
    }
    let lenient = "table = \"t\"\nkey = [\"id\"]\n[columns]\nid = { type = \"text\" }\nx = { type = \"text\", jq = 'error', on_failure = \"null\" }\n";
    assert_eq!(rows(&profile(lenient).unwrap(), ITEM), Ok(vec!["\"a\"|null".to_owned()]));
}

#[test]
fn a_filter_that_is_wrong_is_said_when_the_profile_is_read() {
    for (code, expected) in [
        (".a | nosuch", "the jq filter is wrong: there is no filter `nosuch`, at line 1, column 6 of the filter"),
        ("[.a", "closing bracket was expected, at line 1, column 4 of the filter"),
        (".a |\n $x", "there is no variable `$x`, at line 2, column 2 of the filter"),
        (".a | )", "column 6 of the filter"),
        // It does not end the program, and sees nothing of where it runs.
        ("halt", "there is no filter `halt`"),
        ("env", "there is no filter `env`"),
        ("input", "there is no filter `input`"),
    ] {
        let text = format!(
            "table = \"t\"\nkey = [\"id\"]\n[columns]\nid = {{ type = \"text\" }}\nx = {{ type = \"text\", jq = '''{code}''' }}\n"
        );
        let error = profile(&text).unwrap_err();
        assert!(error.contains(expected) && error.contains("`p.toml`, line 5, column 1"), "{code}: {error}");
    }
    let error =
        profile("table = \"t\"\nkey = [\"id\"]\njq = '.a |'\n[columns]\nid = { type = \"text\" }\n").unwrap_err();
    assert!(error.contains("`p.toml`, line 3, column 6"), "{error}");
    let two = column("text", ".a")
        .map(|_| ())
        .and(profile("table = \"t\"\nkey = [\"id\"]\n[columns]\nid = { type = \"text\", from = \"a\", jq = '.a' }\n"));
    assert!(two.unwrap_err().contains("only one of `from`"));
}

#[test]
fn a_condition_is_a_filter_that_gives_true() {
    let when = |code: &str| {
        profile(&format!(
            "table = \"t\"\nkey = [\"id\"]\n[[filter]]\njq = '{code}'\n[columns]\nid = {{ type = \"text\" }}\n"
        ))
        .unwrap()
    };
    for (code, taken) in [
        ("any(.lines[]; .price > 1)", true),
        ("any(.lines[]; .price > 2)", false),
        (".none", false),
        ("empty", false),
        // An error is not true.
        (".id | error", false),
    ] {
        let expected = if taken { "\"a\"" } else { "filtered" };
        assert_eq!(rows(&when(code), ITEM), Ok(vec![expected.to_owned()]), "{code}");
    }
}

#[test]
fn an_item_goes_through_a_filter_first() {
    let text = "table = \"t\"\nkey = [\"id\"]\njq = 'select(.ok) | {id: (.id + \"!\"), total: ([.lines[].n] | add), big}'\n[columns]\nid = { type = \"text\" }\ntotal = { type = \"bigint\" }\nbig = { type = \"numeric\" }\nok = { type = \"boolean\" }\n";
    let profile = profile(text).unwrap();
    assert_eq!(rows(&profile, ITEM), Ok(vec!["\"a!\"|3|12345678901234567890123456789012345678|null".to_owned()]));
    assert_eq!(
        rows(&profile, &ITEM.replace("true}", "false}").replace("NULL\":false", "NULL\":true")),
        Ok(vec!["filtered".to_owned()])
    );
    let memory = Bump::new();
    let item =
        decode(br#"{"Item":{"id":{"S":"a"},"ok":{"BOOL":true},"lines":{"L":[]}}}"#, Encoding::DynamodbJson, &memory)
            .unwrap();
    let told = profile.explain(&item);
    assert!(told.contains(r#"it is now {"id":"a!","total":null,"big":null}"#), "{told}");
}

#[test]
fn a_filter_of_elements_knows_the_element() {
    let text = "[[table]]\nname = \"t\"\nkey = [\"id\"]\n[table.columns]\nid = { type = \"text\" }\n[[table]]\nname = \"l\"\nparent = \"t\"\neach = \"lines\"\nwhen = [{ jq = '$element.n > 1' }]\nkey = [\"id\", \"at\"]\n[table.columns]\nid = { type = \"text\" }\nat = { type = \"integer\", from = \"$position\" }\nsum = { type = \"text\", jq = '\"\\($position): \\($element.n * $element.price) of \\(.id)\"' }\n";
    let expected = vec!["\"a\"".to_owned(), "\"a\"|1|\"1: 3.0 of a\"".to_owned()];
    let found = rows(&profile(text).unwrap(), ITEM);
    assert_eq!(found, Ok(expected));
}

#[test]
fn nothing_is_deleted_on_what_a_filter_may_have_looked_at() {
    let change = |text: &str, line: &str, old_images: bool| {
        let profile = profile(text).unwrap();
        let mut made = Made::default();
        let mut decoder = Decoder::default();
        let memory = Bump::new();
        let Ok(Record::Change(change)) = decoder.decode_record(line.as_bytes(), Encoding::DynamodbJson, &memory) else {
            panic!("no change")
        };
        profile.changes(&change, Before { images: old_images, until: None }, &mut made)?;
        Ok::<_, String>((made.rows().count(), made.deleted().count()))
    };
    let whole = "table = \"t\"\nkey = [\"id\"]\njq = '{id: (.id + \"!\")}'\n[columns]\nid = { type = \"text\" }\n";
    let key = "table = \"t\"\nkey = [\"id\"]\n[columns]\nid = { type = \"text\", jq = '.id + .kind' }\n";
    let gone = r#"{"Metadata":{"WriteTimestampMicros":{"N":"1"}},"Keys":{"id":{"S":"a"}}}"#;
    let old = r#"{"Metadata":{"WriteTimestampMicros":{"N":"1"}},"Keys":{"id":{"S":"a"}},"OldImage":{"id":{"S":"a"},"kind":{"S":"k"}}}"#;
    let new = r#"{"Metadata":{"WriteTimestampMicros":{"N":"1"}},"Keys":{"id":{"S":"a"}},"NewImage":{"id":{"S":"a"},"kind":{"S":"k"}}}"#;
    for text in [whole, key] {
        for (line, old_images) in [(gone, false), (new, false), (old, true)] {
            let error = change(text, line, old_images).unwrap_err();
            assert!(error.contains("jq filter"), "{error}");
        }
        assert_eq!(change(text, new, true), Ok((1, 0)));
        // With a version another item's row would be newer.
        let versioned = text.replace("key = ", "version = \"v\"\nkey = ")
            + "v = { type = \"bigint\", from = \"$written\" }\nkind = { type = \"text\" }\n";
        assert_eq!(change(&versioned, old, true), Ok((0, 1)));
    }
}
