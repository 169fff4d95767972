//! From attributes to columns where tables hold more than flat items: composite keys, values that fit no type, and
//! attributes that no column takes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use bumpalo::Bump;
use std::path::Path;

use item::{Encoding, decode};
use profile::{Made, Options, Profile};

fn profile(rest: &str) -> Result<Profile, String> {
    let text = format!("table = \"t\"\nkey = [\"id\"]\n{rest}");
    profile::parse(Path::new("t.toml"), &text, Options::default()).map_err(|error| error.to_string())
}

/// The cells of an item with these attributes.
fn cells(profile: &Profile, attributes: &str) -> Result<Vec<String>, String> {
    let line = format!(r#"{{"Item":{{{attributes}}}}}"#);
    let memory = Bump::new();
    let item = decode(line.as_bytes(), Encoding::DynamodbJson, &memory).unwrap();
    let mut made = Made::default();
    profile.rows(&item, &mut made)?;
    Ok(made.rows().flat_map(|(_, row)| row.cells()).map(str::to_owned).collect())
}

#[test]
fn a_value_that_is_wrong_is_said_whatever_is_made_of_those_after_it() {
    let wrong = profile(
        r#"
        [values]
        first = { type = "text", merge = "keep" }
        second = { type = "text" }
        third = { from = "second", convert = ["lower"] }
        [columns]
        id = { type = "text", from = "third" }
        "#,
    );
    assert!(wrong.unwrap_err().contains("only columns are merged"));
}

/// PostgreSQL, "JSON Types": `jsonb` does not preserve the order of keys; it has shorter ones first. `json` does preserve it.
#[test]
fn fields_stand_as_jsonb_keeps_them_and_for_json_as_the_profile_has_them() {
    let made = |ty: &str| {
        let rest = "[columns]\nid = { type = \"bigint\" }\no = { type = \"TYPE\", object = { wide = \"id\", c = \"id\", ab = \"id\", b = \"id\" } }";
        cells(&profile(&rest.replace("TYPE", ty)).unwrap(), r#""id":{"N":"1"}"#).unwrap()[1].clone()
    };

    assert_eq!(made("jsonb"), r#"{"b":1,"c":1,"ab":1,"wide":1}"#);
    assert_eq!(made("json"), r#"{"wide":1,"c":1,"ab":1,"b":1}"#);
}

#[test]
fn parts_of_a_composite_key_are_counted_from_both_ends() {
    let profile = profile(
        r##"
        [columns]
        id = { type = "bigint", from = "PK", convert = [{ split = { by = "#", part = 2 } }] }
        kind = { type = "text", from = "PK", convert = [{ split = { by = "#", part = 1 } }, "lower"] }
        region = { type = "text", from = "PK", convert = [{ split = { by = "#", part = -1 } }] }
        fourth = { type = "text", from = "PK", convert = [{ split = { by = "#", part = 4 } }] }
        day = { type = "date", from = "SK", convert = [{ split = { by = "::", part = -2 } }] }
        "##,
    )
    .unwrap();
    let attributes = r#""PK":{"S":"USER#123#EU"},"SK":{"S":"ORDER::2024-01-15::7"}"#;
    let expected = ["123", r#""user""#, r#""EU""#, "null", r#""2024-01-15""#];
    assert_eq!(cells(&profile, attributes).unwrap(), expected);

    // The value of the key cannot be nothing.
    let reason = cells(&profile, r#""PK":{"S":"USER"},"SK":{"S":"x"}"#).unwrap_err();
    assert_eq!(reason, "attribute `PK` is null, but a value is required");
}

#[test]
fn a_value_that_cannot_be_converted_rejects_its_item_or_gives_way() {
    let profile = |on_failure: &str| {
        profile(&format!(
            r#"
            [values]
            size = {{ type = "integer", from = "width", default = 0, {on_failure} }}
            [columns]
            id = {{ type = "text" }}
            width = {{ type = "integer", from = "size" }}
            price = {{ type = "numeric", default = 1.5, {on_failure} }}
            at = {{ type = "timestamptz", convert = ["epoch_seconds"], default = "1970-01-01", {on_failure} }}
            "#
        ))
        .unwrap()
    };
    let good = r#""id":{"S":"1"},"width":{"N":"7"},"price":{"N":"12345678901234567890.50"},"at":{"N":"0"}"#;
    let bad = r#""id":{"S":"1"},"width":{"S":"wide"},"price":{"S":"dear"},"at":{"S":"soon"}"#;
    for on_failure in ["", "on_failure = \"null\"", "on_failure = \"default\""] {
        let expected = [r#""1""#, "7", "12345678901234567890.50", r#""1970-01-01T00:00:00Z""#];
        assert_eq!(cells(&profile(on_failure), good).unwrap(), expected);
    }

    let reason = cells(&profile(""), bad).unwrap_err();
    assert_eq!(cells(&profile("on_failure = \"reject\""), bad).unwrap_err(), reason);
    assert!(reason.starts_with("attribute `width` is `wide`"), "{reason}");
    assert_eq!(cells(&profile("on_failure = \"null\""), bad).unwrap(), [r#""1""#, "null", "null", "null"]);
    assert_eq!(cells(&profile("on_failure = \"default\""), bad).unwrap(), [r#""1""#, "0", "1.5", r#""1970-01-01""#]);
    // A list of which one element cannot be read gives way as a whole.
    let list = self::profile(
        "[columns]\nid = { type = \"text\" }\nlist = { type = \"integer[]\", on_failure = \"null\" }\nlast = { type = \"text\" }",
    );
    let attributes = r#""id":{"S":"1"},"list":{"L":[{"N":"1"},{"S":"x"}]},"last":{"S":"y"}"#;
    assert_eq!(cells(&list.unwrap(), attributes).unwrap(), [r#""1""#, "null", r#""y""#]);
}

/// A text is looked up as it stands, a number by its value.
#[test]
fn what_looks_like_a_number_is_not_always_one() {
    let profile = profile(
        "[columns]\nid = { type = \"text\", convert = [{ lookup = \"codes\" }] }\n\
         [lookups.codes]\n004 = \"Afghanistan\"\n\"+49\" = \"Germany\"\n12E4 = \"a code\"\n7 = \"seven\"\n120000 = \"many\"",
    )
    .unwrap();
    for (attribute, expected) in [
        (r#"{"S":"004"}"#, "\"Afghanistan\""),
        (r#"{"S":"+49"}"#, "\"Germany\""),
        (r#"{"S":"12E4"}"#, "\"a code\""),
        (r#"{"S":"7"}"#, "\"seven\""),
        (r#"{"N":"7"}"#, "\"seven\""),
        (r#"{"N":"7.0"}"#, "\"seven\""),
        (r#"{"N":"1.2E5"}"#, "\"many\""),
    ] {
        assert_eq!(cells(&profile, &format!(r#""id":{attribute}"#)).unwrap(), [expected], "{attribute}");
    }
    for missing in [r#"{"S":"007"}"#, r#"{"S":"4"}"#, r#"{"S":"1.2E5"}"#, r#"{"N":"8"}"#] {
        assert!(cells(&profile, &format!(r#""id":{missing}"#)).is_err(), "{missing}");
    }
}

#[test]
fn the_rest_is_what_no_column_takes_with_every_digit() {
    let profile = profile(
        r#"
        [[filter]]
        attribute = "kind"
        exists = true
        [values]
        first = { from = "name.first" }
        [columns]
        id = { type = "text" }
        label = { type = "text", template = "{first}-{number}" }
        other = { type = "jsonb", rest = true }
        "#,
    )
    .unwrap();
    let attributes = r#""id":{"S":"1"},"kind":{"S":"k"},"name":{"M":{"first":{"S":"a"},"last":{"S":"b"}}},"number":{"N":"7"},
        "exact":{"N":"12345678901234567890.123456789012345678"},"a\"b":{"SS":["x"]},"none":{"NULL":true}"#;
    // `kind` is looked at and `name` looked into, and neither is taken; `number` is.
    let expected = r#"{"kind":"k","name":{"first":"a","last":"b"},"exact":12345678901234567890.123456789012345678,"a\"b":["x"],"none":null}"#;
    assert_eq!(cells(&profile, &attributes.replace('\n', "")).unwrap(), [r#""1""#, r#""a-7""#, expected]);

    let everything = r#""id":{"S":"1"},"kind":{"S":"k"}"#;
    assert_eq!(cells(&profile, everything).unwrap()[2], r#"{"kind":"k"}"#);
    let nul = r#""id":{"S":"1"},"kind":{"S":"k"},"n\u0000":{"S":"x"}"#;
    let reason = cells(&profile, nul).unwrap_err();
    assert_eq!(reason, "`other` holds the character U+0000, which PostgreSQL cannot store");
}

#[test]
fn nothing_left_is_null() {
    let profile = profile("[columns]\nid = { type = \"text\" }\nother = { type = \"jsonb\", rest = true }").unwrap();
    assert_eq!(cells(&profile, r#""id":{"S":"1"}"#).unwrap(), [r#""1""#, "null"]);
}

#[test]
fn what_contradicts_itself_is_said_when_the_profile_is_read() {
    for (definition, message) in [
        (r#"x = { type = "text", rest = true }"#, "the rest of an item is `jsonb`"),
        (r#"x = { type = "jsonb", rest = false }"#, "`load_time`, `null` and `rest` can only be true"),
        (r#"x = { type = "jsonb", rest = true, from = "y" }"#, "only one of `from`"),
        (
            "x = { type = \"jsonb\", rest = true }\ny = { type = \"jsonb\", rest = true }",
            "only one column can take the rest",
        ),
        (r#"x = { type = "text", convert = [{ split = { by = "", part = 1 } }] }"#, "`split` needs a text in `by`"),
        (r##"x = { type = "text", convert = [{ split = { by = "#", part = 0 } }] }"##, "counts parts from 1"),
        (r#"x = { type = "text", on_failure = "default" }"#, "`on_failure = \"default\"` needs a `default`"),
        (r#"x = { type = "text", required = true, on_failure = "null" }"#, "cannot give way to null"),
        (r#"x = { type = "text", on_failure = "skip" }"#, "unknown variant `skip`"),
        // What stands in the profile would reject every item.
        (r#"x = { type = "bigint", value = "soon" }"#, "columns.x: the `value` is `soon`, which is not a number"),
        (r#"x = { type = "integer", default = 3000000000 }"#, "the `default` is 3000000000, which is outside"),
        (
            r#"x = { type = "uuid[]", default = ["none"] }"#,
            "the `default` is `none`, which is no value of the type uuid",
        ),
        // A name that means nothing would be null in every row.
        (r#"x = { type = "bigint", from = "$writen" }"#, "[\"$writen\"]; did you mean `$written`?"),
        (r#"x = { type = "text", template = "{$element.a}" }"#, "`$element` is there in tables of elements only"),
        ("[[filter]]\nattribute = \"$x.y\"\nexists = true", "`$x` stands for nothing"),
        (
            "x = { type = \"text\", convert = [{ lookup = \"lang\" }] }\n[lookups.langs]\n0 = \"en\"",
            "there is no table `lang` among the lookups (langs); did you mean `langs`?",
        ),
    ] {
        let error = profile(&format!("[columns]\nid = {{ type = \"text\" }}\n{definition}")).unwrap_err();
        assert!(error.contains(message), "{definition}: {error}");
    }
    let odd = profile(
        "[columns]\nid = { type = \"text\", from = [\"$id\"] }\nat = { type = \"timestamptz\", default = \"infinity\" }",
    );
    assert_eq!(cells(&odd.unwrap(), r#""$id":{"S":"1"}"#).unwrap(), [r#""1""#, r#""infinity""#]);
    let error = profile("[columns]\nid = { type = \"text\", on_failure = \"null\" }").unwrap_err();
    assert!(error.contains("cannot give way to null"), "{error}");
}
