//! Our scanner takes what serde_json takes, and nothing else, and an item comes back as it was: names, texts, digits.

#![no_main]

use bumpalo::Bump;
use item::{Decoder, Encoding, Record, decode};
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};

fuzz_target!(|data: &[u8]| {
    let theirs = serde_json::from_slice::<Map<String, Value>>(data);
    let memory = Bump::new();
    if let Ok(item) = decode(data, Encoding::DynamodbJson, &memory) {
        assert!(theirs.is_ok(), "serde_json: {theirs:?}");
        let mut json = String::new();
        item.write_json(&mut json);
        serde_json::from_str::<Value>(&json).expect("what is written is JSON");
    }
    let memory = Bump::new();
    if let Ok(Record::Change(change)) = Decoder::default().decode_record(data, Encoding::DynamodbJson, &memory) {
        assert!(theirs.is_ok(), "serde_json: {theirs:?}");
        // Without U+0000 two names may be one.
        let images = [Some(change.keys), change.old, change.new].into_iter().flatten();
        for image in images.filter(|image| !image.has_nul()) {
            let line = image.line_without_nul("");
            let memory = Bump::new();
            decode(line.as_bytes(), Encoding::DynamodbJson, &memory).expect("an image can be an item");
        }
    }
    // What the lines before were never shows.
    let mut decoder = Decoder::default();
    for line in data.split(|&byte| byte == b'\n') {
        let memory = Bump::new();
        assert_eq!(
            decoder.decode(line, Encoding::DynamodbJson, &memory),
            decode(line, Encoding::DynamodbJson, &memory)
        );
        let alone = Decoder::default().decode_record(line, Encoding::DynamodbJson, &memory);
        assert_eq!(decoder.decode_record(line, Encoding::DynamodbJson, &memory), alone);
    }
    match (decode(data, Encoding::Json, &memory), theirs) {
        (Ok(item), Ok(theirs)) => {
            let mut json = String::new();
            item.write_json(&mut json);
            let ours: Map<String, Value> = serde_json::from_str(&json).expect("what is written is JSON");
            assert_eq!(ours, theirs);
        }
        // serde_json takes an escape for half a character for an error as well; a name that comes twice is ours alone.
        (Ok(_), Err(error)) => panic!("taken, but serde_json: {error}"),
        (Err(_), _) => {}
    }
});
