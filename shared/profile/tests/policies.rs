//! What the merge policies make of rows, worked out by hand; which types and values they take; and the newest row by a
//! version. That SQL does the same is tested with `pg-upsert`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use bumpalo::Bump;
use std::path::Path;

use item::{Encoding, decode};
use profile::{Made, Merger, Options, Profile};

/// A profile whose key is `id`.
fn profile(rest: &str) -> Result<Profile, String> {
    let text = format!("table = \"t\"\nkey = [\"id\"]\n{rest}");
    profile::parse(Path::new("t.toml"), &text, Options::default()).map_err(|error| error.to_string())
}

/// A profile with one more column `v`.
fn column(definition: &str) -> Result<Profile, String> {
    profile(&format!("[columns]\nid = {{ type = \"bigint\" }}\nv = {{ {definition} }}"))
}

/// The rows of items, merged from the first to the last.
fn merged(profile: &Profile, items: &[&str]) -> Result<Vec<String>, String> {
    let merger = Merger::new(&profile.tables[0].schema).unwrap();
    let mut rows = Vec::new();
    for attributes in items {
        let line = format!(r#"{{"Item":{{"id":{{"N":"1"}},{attributes}}}}}"#);
        let mut made = Made::default();
        let memory = Bump::new();
        profile.rows(&decode(line.as_bytes(), Encoding::DynamodbJson, &memory).unwrap(), &mut made)?;
        rows.extend(made.rows().map(|(_, row)| merger.normalize(row)));
    }
    let row = rows.into_iter().reduce(|a, b| merger.merge(&a, &b)).unwrap();
    Ok(row.cells().map(str::to_owned).collect())
}

#[test]
fn the_greatest_and_the_least_are_found_whatever_the_spelling() {
    for (ty, values, least, greatest) in [
        ("bigint", &[r#"{"N":"9"}"#, r#"{"N":"10"}"#, r#"{"N":"-11"}"#][..], "-11", "10"),
        ("numeric", &[r#"{"N":"1.5"}"#, r#"{"N":"15E-1"}"#, r#"{"N":"1.50"}"#], "1.5", "1.5"),
        (
            "numeric",
            &[r#"{"N":"12345678901234567890123456789012345678"}"#, r#"{"N":"12345678901234567890123456789012345677"}"#],
            "12345678901234567890123456789012345677",
            "12345678901234567890123456789012345678",
        ),
        ("double precision", &[r#"{"N":"2"}"#, r#"{"N":"1E1"}"#], "2", "1E1"),
        ("text", &[r#"{"S":"b"}"#, r#"{"S":"B"}"#, r#"{"S":"ä"}"#, r#"{"S":"a"}"#], r#""B""#, r#""ä""#),
        ("boolean", &[r#"{"BOOL":true}"#, r#"{"BOOL":false}"#], "false", "true"),
        (
            "timestamptz",
            &[
                r#"{"S":"2024-03-01T00:30:00+01:00"}"#,
                r#"{"S":"2024-02-29T23:45:00Z"}"#,
                r#"{"S":"2024-02-29 18:31:00.5-05"}"#,
            ],
            r#""2024-03-01T00:30:00+01:00""#,
            r#""2024-02-29T23:45:00Z""#,
        ),
        ("date", &[r#"{"S":"2024-02-29"}"#, r#"{"S":"2023-12-31"}"#], r#""2023-12-31""#, r#""2024-02-29""#),
        ("bytea", &[r#"{"B":"AP8="}"#, r#"{"B":"AQ=="}"#], r#""\\x00ff""#, r#""\\x01""#),
    ] {
        for (policy, expected) in [("least", least), ("greatest", greatest)] {
            let profile = column(&format!("type = \"{ty}\", merge = \"{policy}\"")).unwrap();
            let missing = r#""x":{"N":"1"}"#.to_owned();
            let values = values.iter().map(|value| format!("\"v\":{value}"));
            let items: Vec<_> = [missing.clone()].into_iter().chain(values).chain([missing]).collect();
            let items: Vec<_> = items.iter().map(String::as_str).collect();
            assert_eq!(merged(&profile, &items).unwrap(), ["1", expected], "{policy} {ty}");
        }
    }
}

#[test]
fn the_field_that_is_preferred_may_be_the_key() {
    let profile = column(r#"type = "jsonb", merge = { keyed_array = { key = ["id"], prefer = "id" } }"#).unwrap();
    // The text `null` and no text at all are one key.
    let text = r#""v":{"L":[{"M":{"id":{"S":"null"},"n":{"N":"1"}}}]}"#;
    let null = r#""v":{"L":[{"M":{"id":{"NULL":true},"n":{"N":"2"}}}]}"#;
    for items in [[text, null], [null, text]] {
        assert_eq!(merged(&profile, &items).unwrap(), ["1", r#"[{"id":"null","n":1}]"#]);
    }
}

#[test]
fn a_union_has_each_element_once_and_in_order() {
    for (ty, values, expected) in [
        (
            "text[]",
            &[r#"{"SS":["b","ä","B"]}"#, r#"{"L":[{"S":"a"},{"NULL":true},{"S":"b"}]}"#][..],
            r#"["B","a","b","ä",null]"#,
        ),
        ("numeric[]", &[r#"{"NS":["10","9.50"]}"#, r#"{"NS":["1E1","-1","9.5"]}"#], "[-1,9.5,10]"),
        ("bigint[]", &[r#"{"NS":["10","9"]}"#], "[9,10]"),
        (
            "jsonb",
            &[r#"{"L":[{"S":"10"},{"N":"10"},{"BOOL":true}]}"#, r#"{"L":[{"NULL":true},{"N":"9"},{"N":"10.0"}]}"#],
            r#"[true,9,10,"10",null]"#,
        ),
        ("jsonb", &[r#"{"SS":["b","a"]}"#], r#"["a","b"]"#),
        ("jsonb", &[r#"{"L":[]}"#, r#"{"NULL":true}"#], "[]"),
        ("text[]", &[r#"{"NULL":true}"#], "null"),
    ] {
        let profile = column(&format!("type = \"{ty}\", merge = \"union\"")).unwrap();
        let items: Vec<_> = values.iter().map(|value| format!("\"v\":{value}")).collect();
        let items: Vec<_> = items.iter().map(String::as_str).collect();
        assert_eq!(merged(&profile, &items).unwrap(), ["1", expected], "{ty}");
        let backwards: Vec<_> = items.iter().rev().copied().collect();
        assert_eq!(merged(&profile, &backwards).unwrap(), ["1", expected], "{ty}");
    }
}

const VERSIONED: &str = r#"
version = "version"
[columns]
id = { type = "bigint" }
state = { type = "text" }
note = { type = "text" }
created = { type = "date", merge = "least" }
version = { type = "bigint" }
"#;

#[test]
fn with_a_version_the_newest_row_replaces_the_others_as_a_whole() {
    let profile = profile(VERSIONED).unwrap();
    let old = r#""state":{"S":"old"},"note":{"S":"n"},"created":{"S":"2024-01-02"},"version":{"N":"9"}"#;
    let new = r#""state":{"S":"new"},"created":{"S":"2024-01-03"},"version":{"N":"10"}"#;
    let newer = ["1", r#""new""#, "null", r#""2024-01-02""#, "10"];
    assert_eq!(merged(&profile, &[old, new]).unwrap(), newer);
    assert_eq!(merged(&profile, &[new, old]).unwrap(), newer);

    // No version is the oldest, and of equal ones the later row wins.
    let none = r#""state":{"S":"none"},"created":{"S":"2024-01-03"}"#;
    assert_eq!(merged(&profile, &[new, none, old]).unwrap(), newer);
    assert_eq!(merged(&profile, &[none, r#""state":{"S":"again"}"#]).unwrap()[1], r#""again""#);
    let again = r#""state":{"S":"again"},"version":{"N":"10"}"#;
    assert_eq!(merged(&profile, &[new, again, old]).unwrap()[1], r#""again""#);
}

#[test]
fn a_version_is_said_by_names_in_the_schema() {
    let profile = profile(VERSIONED).unwrap();
    let merges: Vec<_> =
        profile.tables[0].schema.columns.iter().map(|column| serde_json::to_string(&column.merge).unwrap()).collect();
    let newest = r#"{"newest":{"by":"version"}}"#;
    assert_eq!(merges, [r#""replace""#, newest, newest, r#""least""#, r#""greatest""#]);
    assert!(!profile.tables[0].schema.collects(), "rows that are replaced are not waited for");
}

#[test]
fn what_cannot_be_compared_rejects_its_item_or_gives_way() {
    for (ty, value, reason) in [
        (
            "timestamptz",
            r#"{"S":"2024-01-31T10:00:00"}"#,
            "attribute `v` is `2024-01-31T10:00:00`, which is no time with its offset such as 2024-01-31T23:59:59.5+01:00, and cannot be compared",
        ),
        (
            "timestamp",
            r#"{"S":"Jan 31 2024"}"#,
            "attribute `v` is `Jan 31 2024`, which is no time such as 2024-01-31T23:59:59.5, and cannot be compared",
        ),
        (
            "date",
            r#"{"S":"infinity"}"#,
            "attribute `v` is `infinity`, which is no date such as 2024-01-31, and cannot be compared",
        ),
        (
            "date",
            r#"{"S":"2023-02-29"}"#,
            "attribute `v` is `2023-02-29`, which is no date such as 2024-01-31, and cannot be compared",
        ),
        ("uuid", r#"{"S":"7"}"#, "attribute `v` is `7`, which is no UUID"),
    ] {
        let item = format!("\"v\":{value}");
        let profile = column(&format!("type = \"{ty}\", merge = \"greatest\"")).unwrap();
        assert_eq!(merged(&profile, &[&item]).unwrap_err(), reason);
        let profile = column(&format!("type = \"{ty}\", merge = \"greatest\", on_failure = \"null\"")).unwrap();
        assert_eq!(merged(&profile, &[&item]).unwrap(), ["1", "null"]);
    }
    for (value, reason) in [
        (r#"{"S":"a"}"#, "attribute `v` is no array, and cannot be merged with one"),
        (r#"{"L":[{"L":[]}]}"#, "attribute `v` holds a list or a map where single values are compared"),
    ] {
        let profile = column("type = \"jsonb\", merge = \"union\"").unwrap();
        assert_eq!(merged(&profile, &[&format!("\"v\":{value}")]).unwrap_err(), reason);
    }
    // What the profile itself says is looked at too, and a version as any other.
    let constant = column("type = \"date\", value = \"soon\", merge = \"least\"").unwrap();
    assert!(merged(&constant, &[r#""x":{"N":"1"}"#]).unwrap_err().starts_with("`v` is `soon`, which is no date"));
    let version = VERSIONED.replace("version = { type = \"bigint\" }", "version = { type = \"timestamptz\" }");
    let version = merged(&profile(&version).unwrap(), &[r#""version":{"S":"2024"}"#]).unwrap_err();
    assert!(version.starts_with("attribute `version` is `2024`, which is no time"), "{version}");
}

#[test]
fn what_looks_like_a_time_and_is_none_is_refused() {
    let profile = column("type = \"timestamptz\", merge = \"greatest\"").unwrap();
    for text in [
        "2024-13-01T10:00:00Z",
        "2024-01-31T24:00:00Z",
        "2024-01-31T10:60:00Z",
        "2024-01-31T10:00:61Z",
        "2024-01-31T10:00:00+16:00",
        "2024-01-31T10:00:00+01:60",
        "2024-01-31T10:00:00 ",
        "2024-01-31T10:00:00.Z",
        "2024-01-31T10Z",
        "24-01-31T10:00:00Z",
        "0000-01-31T10:00:00Z",
        "2024-01-31T10:00:00+1é1",
        "2024-01-31T10:00:00.é",
        "2024-01-3é",
        "é",
        "+",
        "",
    ] {
        assert!(merged(&profile, &[&format!(r#""v":{{"S":"{text}"}}"#)]).is_err(), "{text}");
    }
    merged(&profile, &[r#""v":{"S":"2024-01-31T23:59:60.5+15:59"}"#]).unwrap();
}

#[test]
fn a_type_that_cannot_be_compared_is_said_when_the_profile_is_read() {
    let compared = "are not compared here; those of text, varchar, boolean, the integers, numeric, real, double precision, \
                    timestamptz, timestamp, date, uuid and bytea are";
    for (definition, message) in [
        ("type = \"interval\", merge = \"greatest\"", format!("values of the type interval {compared}")),
        ("type = \"citext\", merge = \"least\"", format!("values of the type citext {compared}")),
        ("type = \"char(3)\", merge = \"least\"", format!("values of the type character(3) {compared}")),
        ("type = \"jsonb\", merge = \"greatest\"", format!("values of the type jsonb {compared}")),
        ("type = \"text[]\", merge = \"greatest\"", format!("values of the type text[] {compared}")),
        ("type = \"text\", merge = \"union\"", "`union` merges arrays such as text[] and jsonb, not text".to_owned()),
        ("type = \"json\", merge = \"union\"", "`union` merges arrays such as text[] and jsonb, not json".to_owned()),
        ("type = \"jsonb[]\", merge = \"union\"", format!("values of the type jsonb {compared}")),
        (
            "type = \"numeric(10,2)[]\", merge = \"union\"",
            "the type numeric(10,2) rounds or cuts its values, so others would be equal in the table than before it"
                .to_owned(),
        ),
        (
            "type = \"real[]\", merge = \"union\"",
            "the type real rounds or cuts its values, so others would be equal in the table than before it".to_owned(),
        ),
        (
            "type = \"text\", merge = { newest = { by = \"id\" } }",
            "`version` of the table says by which column the newest row is found".to_owned(),
        ),
    ] {
        let error = column(definition).unwrap_err();
        assert_eq!(error.lines().next().unwrap().split_once("columns.v: ").unwrap().1, message, "{definition}");
    }
}

#[test]
fn a_version_that_cannot_be_one_is_said_when_the_profile_is_read() {
    for (version, columns, message) in [
        ("when", "", "there is no column `when`"),
        ("id", "", "`id` is part of the key, so all rows of one key have the same"),
        (
            "v",
            "v = { type = \"timestamptz\", load_time = true }",
            "`v` has the time of the load in it, so what is loaded again would be newer",
        ),
        (
            "v",
            "v = { type = \"bigint\", merge = \"replace\" }",
            "`v` is merged as the `greatest`, and not otherwise or in a group",
        ),
        (
            "v",
            "v = { type = \"double precision\" }",
            "`v` cannot be a version: the type double precision rounds or cuts its values, so others would be equal in the table than before it",
        ),
        (
            "v",
            "v = { type = \"timestamptz(3)\" }",
            "`v` cannot be a version: the type timestamp(3) with time zone rounds or cuts its values, so others would be equal in the table than before it",
        ),
    ] {
        let text = format!("version = \"{version}\"\n[columns]\nid = {{ type = \"bigint\" }}\n{columns}");
        let error = profile(&text).unwrap_err();
        assert_eq!(error.lines().next().unwrap().split_once("version: ").unwrap().1, message);
    }
    // Its own policy may be said.
    profile("version = \"v\"\n[columns]\nid = { type = \"bigint\" }\nv = { type = \"date\", merge = \"greatest\" }")
        .unwrap();
}
