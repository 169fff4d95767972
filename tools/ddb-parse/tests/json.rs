//! What JSON is and what is none: a conformance corpus and mutations of it through the decoder and the program, compared
//! with `serde_json`, which is another's idea of RFC 8259.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use bumpalo::Bump;
use harness::json::{Case, corpus};
use harness::{Dir, Finished, program};
use item::scan::end_of_value;
use item::{Encoding, Error, decode};
use proptest::prelude::*;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// `before`, the text, `after`.
fn within(before: &str, text: &[u8], after: &str) -> Vec<u8> {
    [before.as_bytes(), text, after.as_bytes()].concat()
}

fn object(line: &[u8]) -> Option<Map<String, Value>> {
    serde_json::from_slice(line).ok()
}

/// What this project refuses and others take: a name that comes twice would lose one of its values, and what is nested
/// deeper than 128 levels is an attack.
fn stricter(error: &Error) -> bool {
    match error {
        Error::Attribute { message, .. } => message == "the name comes twice",
        Error::Json { message, .. } => *message == "nested deeper than 128 levels",
        _ => false,
    }
}

/// The decoder and `serde_json` say the same of a plain object, and find the same in it.
fn agrees(line: &[u8]) -> Result<(), TestCaseError> {
    let shown = String::from_utf8_lossy(&line[..line.len().min(300)]);
    let memory = Bump::new();
    match (decode(line, Encoding::Json, &memory), object(line)) {
        (Ok(item), Some(theirs)) => {
            let mut json = String::new();
            item.write_json(&mut json);
            prop_assert_eq!(object(json.as_bytes()), Some(theirs), "{}", shown);
        }
        (Err(error), Some(_)) => prop_assert!(stricter(&error), "{shown}: {error}"),
        // serde_json counts its levels from the outermost bracket and stops at 127.
        (Ok(_), None) => prop_assert!(
            serde_json::from_slice::<&RawValue>(line).is_ok(),
            "{shown} is taken, but serde_json does not take it"
        ),
        (Err(_), None) => {}
    }
    Ok(())
}

#[test]
fn the_corpus_is_whole() {
    let count = |valid| corpus().iter().filter(|case| case.valid() == valid).count();
    assert_eq!((count(Some(true)), count(Some(false)), count(None)), (95, 188, 35));
}

#[test]
fn as_a_value_of_a_plain_object_it_is_taken_or_refused_as_the_corpus_says() {
    for Case { name, bytes } in corpus() {
        let line = within("{\"a\":", &bytes, "}");
        let memory = Bump::new();
        let decoded = decode(&line, Encoding::Json, &memory);
        let taken = decoded.as_ref().map_or_else(stricter, |_| true);
        match name.as_bytes()[0] {
            b'y' => assert!(taken, "{name}: {decoded:?}"),
            b'n' => assert!(decoded.is_err(), "{name}: {decoded:?}"),
            _ => assert_eq!(decoded.is_ok(), object(&line).is_some(), "{name}: {decoded:?}"),
        }
        agrees(&line).unwrap();
        agrees(&bytes).unwrap();
    }
}

#[test]
fn in_dynamodb_json_only_an_empty_item_and_an_empty_list_mean_something() {
    let mut taken = Vec::new();
    for Case { name, bytes } in corpus() {
        for (before, after) in
            [("", ""), ("{\"Item\":", "}"), ("{\"Item\":{\"a\":", "}}"), ("{\"Item\":{\"a\":{\"L\":", "}}}")]
        {
            let memory = Bump::new();
            if decode(&within(before, &bytes, after), Encoding::DynamodbJson, &memory).is_ok() {
                taken.push((before, name.clone()));
            }
        }
    }
    let list = "{\"Item\":{\"a\":{\"L\":";
    let expected = [(list, "y_array_empty"), ("{\"Item\":", "y_object_empty"), (list, "y_structure_whitespace_array")];
    assert_eq!(taken, expected.map(|(before, name)| (before, name.to_owned())));
}

#[test]
fn texts_of_the_corpus_are_texts_of_a_set() {
    let mut seen = 0;
    for Case { name, bytes } in corpus() {
        let Ok(Some(texts)) =
            serde_json::from_slice::<Vec<String>>(&bytes).map(|texts| (!texts.is_empty()).then_some(texts))
        else {
            continue;
        };
        let line = within("{\"Item\":{\"a\":{\"SS\":", &bytes, "}}}");
        let memory = Bump::new();
        let item = decode(&line, Encoding::DynamodbJson, &memory).unwrap();
        let Some(item::Value::Ss(found)) = item.get("a") else { panic!("{name}") };
        assert_eq!(found.iter().map(|text| text.get().into_owned()).collect::<Vec<_>>(), texts, "{name}");
        seen += 1;
    }
    assert!(seen > 40, "{seen}");
}

/// The lines of the whole corpus, one after the other; a text with a newline in it is several lines.
fn lines() -> Vec<Vec<u8>> {
    let texts: Vec<_> = corpus().into_iter().map(|case| case.bytes).collect();
    texts.join(&b'\n').split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect()
}

fn rejected(run: &Finished) -> Vec<(u64, String)> {
    let line = |line: &str| {
        let marker = line.strip_prefix("{\"$reject\":")?.strip_suffix('}')?;
        let reject: stream::Reject = serde_json::from_str(marker).unwrap();
        Some((reject.record.unwrap(), reject.reason))
    };
    run.output().lines().filter_map(line).collect()
}

/// How many records are in the lines of data; a row tells of how many it was made.
fn records(run: &Finished) -> usize {
    let data = run.output().lines().filter(|line| !line.starts_with("{\"$"));
    data.map(|line| object(line.as_bytes()).unwrap().get("$records").map_or(1, |all| all.as_array().unwrap().len()))
        .sum()
}

#[test]
fn every_line_is_written_or_rejected_with_its_number_and_a_reason() {
    let (dir, lines) = (Dir::new(), lines());
    dir.write("p.toml", "table = \"t\"\nkey = [\"id\"]\n[columns]\nid = { type = \"text\", from = \"asd\" }\n");
    for (arguments, taken) in [
        // DynamoDB JSON has `Item` in every line, and the corpus has it nowhere.
        (&["--markers"][..], false),
        (&["--markers", "-p", "./p.toml"], false),
        (&["--markers", "--json"], true),
        (&["--markers", "--json", "-p", "./p.toml"], true),
    ] {
        let run = program!("ddb-parse").in_dir(&dir).args(arguments).stdin(lines.join(&b'\n')).run();

        run.exits(1);
        let (records, rejected) = (records(&run), rejected(&run));
        // The last line has no newline of its own: it is torn.
        assert_eq!(records + rejected.len(), lines.len() - 1, "{arguments:?}");
        assert_eq!(records > 0, taken, "{arguments:?}");
        assert!(rejected.is_sorted() && rejected.iter().all(|(_, reason)| reason.len() > 10), "{arguments:?}");
        for (record, reason) in &rejected {
            let line = &lines[usize::try_from(*record).unwrap() - 1];
            let own = reason.starts_with("attribute `") || reason.starts_with("not an item: ");
            assert!(own || object(line).is_none(), "{}: {reason}", String::from_utf8_lossy(line));
        }
    }
}

/// A change of a text: something at a place.
#[derive(Clone, Debug)]
enum Change {
    Replace(u8),
    Insert(u8),
    Delete,
    Flip(u8),
    Cut,
    Repeat(usize),
}

fn changes() -> impl Strategy<Value = Vec<(prop::sample::Index, Change)>> {
    let byte = prop::sample::select(b"\"\\{}[]:,.-+eEu0189afAFntr \t\r\0\x1f\x7f\x80\xbf\xc3\xed\xff".to_vec());
    let change = prop_oneof![
        byte.clone().prop_map(Change::Replace),
        byte.prop_map(Change::Insert),
        Just(Change::Delete),
        (0..8_u8).prop_map(Change::Flip),
        Just(Change::Cut),
        (2..9_usize).prop_map(Change::Repeat),
    ];
    prop::collection::vec((any::<prop::sample::Index>(), change), 0..4)
}

fn changed(mut bytes: Vec<u8>, changes: &[(prop::sample::Index, Change)]) -> Vec<u8> {
    for (place, change) in changes {
        let place = place.index(bytes.len() + 1);
        match change {
            Change::Insert(byte) => bytes.insert(place, *byte),
            Change::Cut => bytes.truncate(place),
            Change::Repeat(length) => {
                let again = bytes[place..bytes.len().min(place + length)].to_vec();
                bytes.splice(place..place, again);
            }
            _ if place == bytes.len() => {}
            Change::Replace(byte) => bytes[place] = *byte,
            Change::Flip(bit) => bytes[place] ^= 1 << bit,
            Change::Delete => _ = bytes.remove(place),
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// A corpus tells what its author thought of; near it lies what he did not.
    #[test]
    fn the_decoder_agrees_with_another_parser_near_the_corpus(
        case in prop::sample::select(corpus().into_iter().filter(|case| case.bytes.len() < 2_000).collect::<Vec<_>>()),
        changes in changes(),
    ) {
        let text = changed(case.bytes, &changes);
        agrees(&text)?;
        agrees(&within("{\"a\":", &text, "}"))?;
        // In DynamoDB JSON nothing is taken that is no JSON.
        for (before, after) in [("", ""), ("{\"Item\":{\"a\":{\"L\":", "}}}"), ("{\"Item\":{\"a\":{\"SS\":", "}}}")] {
            let line = within(before, &text, after);
            let memory = Bump::new();
            let decoded = decode(&line, Encoding::DynamodbJson, &memory);
            prop_assert!(decoded.is_err() || object(&line).is_some(), "{}: {:?}", String::from_utf8_lossy(&line), decoded);
        }
    }

    /// Where a value ends, another parser sees it end.
    #[test]
    fn a_value_ends_where_another_parser_sees_its_end(
        case in prop::sample::select(corpus().into_iter().filter(|case| case.bytes.len() < 2_000).collect::<Vec<_>>()),
        changes in changes(),
    ) {
        let text = changed(case.bytes, &changes);
        let Ok(text) = std::str::from_utf8(&text) else { return Ok(()) };
        if let Some(end) = end_of_value(text.as_bytes(), 0) {
            let theirs = serde_json::from_str::<&RawValue>(&text[..end]).map(|value| value.get().len());
            prop_assert_eq!(theirs.ok(), Some(end), "{}", text);
        }
    }
}
