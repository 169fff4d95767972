//! Lines of Ion against the records that they are. `things.ion` and `things.jsonl` hold the same items as another
//! implementation writes them (`things.py` made them).

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use ion::to_dynamodb_json;
use proptest::prelude::*;

fn json(line: &str) -> Result<String, String> {
    let mut into = Vec::new();
    let result = to_dynamodb_json(line.as_bytes(), &mut into);
    let text = String::from_utf8(into).unwrap();
    match result {
        Ok(()) => Ok(text),
        Err(error) => {
            assert!(text.is_empty(), "after an error nothing is written");
            Err(error.to_string())
        }
    }
}

/// The attribute `x` of an item.
fn value(ion: &str) -> Result<String, String> {
    json(&format!("$ion_1_0 {{Item:{{x:{ion}}}}}")).map(|json| {
        let inner = json.strip_prefix(r#"{"Item":{"x":"#).unwrap();
        inner.strip_suffix("}}").unwrap().to_owned()
    })
}

#[test]
fn the_documented_lines_are_the_documented_records() {
    // Developer guide, "DynamoDB table export output format", "Amazon Ion".
    let ion = r#"$ion_1_0 {Item:{Authors:$dynamodb_SS::["Author1","Author2"],Dimensions:"8.5 x 11.0 x 1.5",ISBN:"333-3333333333",Id:103.,InPublication:false,PageCount:6d2,Price:2d3,ProductCategory:"Book",Title:"Book 103 Title"}}"#;
    let expected = concat!(
        r#"{"Item":{"Authors":{"SS":["Author1","Author2"]},"Dimensions":{"S":"8.5 x 11.0 x 1.5"},"#,
        r#""ISBN":{"S":"333-3333333333"},"Id":{"N":"103"},"InPublication":{"BOOL":false},"PageCount":{"N":"600"},"#,
        r#""Price":{"N":"2000"},"ProductCategory":{"S":"Book"},"Title":{"S":"Book 103 Title"}}}"#
    );
    assert_eq!(json(ion).unwrap(), expected);
}

#[test]
fn items_of_another_implementation_are_the_same_items() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/");
    let lines = std::fs::read_to_string(format!("{folder}things.ion")).unwrap();
    let records = std::fs::read_to_string(format!("{folder}things.jsonl")).unwrap();
    assert_eq!(lines.split('\n').count(), 121);
    for (line, record) in lines.split_terminator('\n').zip(records.split_terminator('\n')) {
        let found: serde_json::Value = serde_json::from_str(&json(line).unwrap()).unwrap();
        let expected: serde_json::Value = serde_json::from_str(record).unwrap();
        assert_eq!(found, expected, "{line}");
    }
}

#[test]
fn every_type_has_its_own() {
    for (ion, expected) in [
        (r#""a\x41é\n""#, r#"{"S":"aAé\n"}"#),
        ("'''a''' '''b'''", r#"{"S":"ab"}"#),
        ("true", r#"{"BOOL":true}"#),
        ("null", r#"{"NULL":true}"#),
        ("null.string", r#"{"NULL":true}"#),
        ("{{AAH/}}", r#"{"B":"AAH/"}"#),
        ("{{////}}", r#"{"B":"////"}"#),
        ("{{ // / / }}", r#"{"B":"////"}"#),
        ("{{}}", r#"{"B":""}"#),
        ("[]", r#"{"L":[]}"#),
        ("{}", r#"{"M":{}}"#),
        ("[1., [null], {'a.b':\"\"}]", r#"{"L":[{"N":"1"},{"L":[{"NULL":true}]},{"M":{"a.b":{"S":""}}}]}"#),
        ("$dynamodb_SS::[\"b\",\"a\"]", r#"{"SS":["b","a"]}"#),
        ("$dynamodb_NS::[1.5,6d2,-3]", r#"{"NS":["1.5","600","-3"]}"#),
        ("$dynamodb_BS::[{{AA==}},{{AQ==}}]", r#"{"BS":["AA==","AQ=="]}"#),
        ("'$dynamodb_SS'::[\"a\"]", r#"{"SS":["a"]}"#),
    ] {
        assert_eq!(value(ion).as_deref(), Ok(expected), "{ion}");
    }
}

#[test]
fn every_digit_of_a_number_stays() {
    for (ion, expected) in [
        ("103.", "103"),
        ("103", "103"),
        ("-0.", "0"),
        ("0d5", "0"),
        ("1.50", "1.50"),
        ("-1.5d-3", "-0.0015"),
        ("12345678901234567890123456789012345678.", "12345678901234567890123456789012345678"),
        ("0.12345678901234567890123456789012345678", "0.12345678901234567890123456789012345678"),
        ("1d37", "10000000000000000000000000000000000000"),
        // What would be longer than the 38 digits of DynamoDB is not written out.
        ("1d38", "1E38"),
        ("-1d-130", "-1E-130"),
        ("9.9999999999999999999999999999999999999d125", "99999999999999999999999999999999999999E88"),
        ("1d999999999", "1E999999999"),
        ("0x10", "16"),
    ] {
        assert_eq!(value(ion), Ok(format!(r#"{{"N":"{expected}"}}"#)), "{ion}");
    }
}

#[test]
fn a_record_of_an_incremental_export_keeps_its_parts() {
    let ion = r#"$ion_1_0 {Record:{Metadata:{WriteTimestampMicros:1684374845117899.},Keys:{PK:"CUST#100"},OldImage:{PK:"CUST#100",n:1.},NewImage:{PK:"CUST#100",n:2.}}}"#;
    let expected = concat!(
        r#"{"Metadata":{"WriteTimestampMicros":{"N":"1684374845117899"}},"Keys":{"PK":{"S":"CUST#100"}},"#,
        r#""OldImage":{"PK":{"S":"CUST#100"},"n":{"N":"1"}},"NewImage":{"PK":{"S":"CUST#100"},"n":{"N":"2"}}}"#
    );
    assert_eq!(json(ion).unwrap(), expected);
    let typed = ion.replace("1684374845117899.", "{N:1684374845117899.}");
    let bare = typed.replace("Record:{", "").replace("n:2.}}}", "n:2.}}");
    assert_eq!(json(&typed).unwrap(), expected);
    assert_eq!(json(&bare).unwrap(), expected);
}

#[test]
fn what_dynamodb_does_not_have_is_refused_with_the_way_to_it() {
    for (ion, message) in [
        ("{a:[1., 2e0]}", "attribute `x.a[1]`: a float is no type of DynamoDB"),
        ("2024-01-01T", "attribute `x`: a timestamp is no type of DynamoDB"),
        ("symbol", "attribute `x`: a symbol is no type of DynamoDB"),
        ("(a b)", "attribute `x`: an s-expression is no type of DynamoDB"),
        ("{{\"clob\"}}", "attribute `x`: a clob is no type of DynamoDB"),
        ("nan", "attribute `x`: a float is no type of DynamoDB"),
        ("other::[1]", "attribute `x`: the annotation `other` is not known for a list"),
        ("$dynamodb_SS::\"a\"", "attribute `x`: the annotation `$dynamodb_SS` is not known for a string"),
        ("$dynamodb_SS::[1.]", "attribute `x[0]`: a string was expected, not an int"),
        ("$dynamodb_NS::[1.,\"2\"]", "attribute `x[1]`: a number was expected, not a string"),
        ("$dynamodb_BS::[{{AA==}},null]", "attribute `x[1]`: a blob was expected, not null"),
    ] {
        let message = message.replace("not an int", "not a decimal");
        assert_eq!(value(ion), Err(message), "{ion}");
    }
}

#[test]
fn a_line_that_is_no_record_is_refused() {
    for (line, message) in [
        ("", "not a record: the line is empty"),
        ("$ion_1_0", "not a record: the line is empty"),
        ("$ion_1_0 {Item:{}} {Item:{}}", "not a record: the line has several values"),
        ("$ion_1_0 [1]", "not a record: the line must be a struct, not a list"),
        ("$ion_1_0 {Item:null}", "not a record: an item must be a struct, not null"),
        ("$ion_1_0 {Thing:{}}", "not a record: the field `Thing` is not one of a record"),
        ("$ion_1_0 {'$source':{}}", "not a record: the field `$source` is not one of a record"),
        ("$ion_1_0 {Item:{$10:1.}}", "not a record: `$10` without quotes is the number of a symbol, not a name"),
        ("$ion_1_0 {Item:{$4:1.}}", "not a record: `$4` without quotes is the number of a symbol, not a name"),
        // A blob is no comment.
        (
            "$ion_1_0 {Item:{b:{{////}},$4:1.}}",
            "not a record: `$4` without quotes is the number of a symbol, not a name",
        ),
    ] {
        assert_eq!(json(line), Err(message.to_owned()), "{line}");
    }
    let quoted = json("$ion_1_0 {Item:{'$10':1.}}");
    assert_eq!(quoted.as_deref(), Ok(r#"{"Item":{"$10":{"N":"1"}}}"#));
    for torn in ["$ion_1_0 {Item:{", "$ion_1_0 {Item:{x:\"a}}", "$ion_1_0 {Item:{x:1.}}}", "\u{0}", "{\"Item\" 1}"] {
        assert!(json(torn).unwrap_err().starts_with("not Ion: "), "{torn}");
    }
    let mut into = Vec::new();
    let error = to_dynamodb_json(b"$ion_1_0 {Item:{x:\"\xff\"}}", &mut into).unwrap_err();
    assert!(error.to_string().starts_with("not Ion: invalid utf-8"), "{error}");
}

#[test]
fn depth_has_an_end() {
    let nested = |levels: usize| value(&format!("{}{}", "[".repeat(levels), "]".repeat(levels)));
    // Two levels are the record's.
    assert!(nested(126).is_ok());
    let behind_a_blob = format!("$ion_1_0 {{Item:{{b:{{{{////}}}},x:{}1.", "[".repeat(1_000_000));
    assert_eq!(json(&behind_a_blob), Err("not Ion: nested deeper than 128 levels".to_owned()));
    assert_eq!(nested(127), Err("not Ion: nested deeper than 128 levels".to_owned()));
    assert_eq!(nested(1_000_000), Err("not Ion: nested deeper than 128 levels".to_owned()));
    assert!(json(&"{a:".repeat(1_000_000)).is_err());
    // Brackets in texts are none.
    assert!(value(&format!("\"{}\"", "[".repeat(1000))).is_ok());
}

proptest! {
    /// One byte of a real line is another one, or the rest is missing: an answer, whatever it is, and JSON if it is a good
    /// one.
    #[test]
    fn a_damaged_line_gets_an_answer(place in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte: u8, cut: bool) {
        let lines: Vec<_> = include_str!("things.ion").lines().collect();
        let mut line = place.get(&lines).as_bytes().to_vec();
        let at = at.index(line.len());
        line[at] = byte;
        if cut {
            line.truncate(at);
        }
        let mut into = Vec::new();
        match to_dynamodb_json(&line, &mut into) {
            Ok(()) => { serde_json::from_slice::<serde_json::Value>(&into).unwrap(); }
            Err(error) => prop_assert!(into.is_empty() && !error.to_string().is_empty()),
        }
    }
}

/// The library would take the first few of so many digits.
#[test]
fn a_number_of_more_digits_than_any_has_is_refused() {
    assert_eq!(value(&"7".repeat(1_000)).unwrap(), format!(r#"{{"N":"{}"}}"#, "7".repeat(1_000)));
    for number in [format!("{}.", "7".repeat(65_540)), format!("0.{}", "7".repeat(65_540))] {
        assert_eq!(value(&number), Err("not a record: a number has 65540 digits".to_owned()));
    }
}
