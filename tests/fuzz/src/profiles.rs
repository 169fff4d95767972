//! Any text is a profile or an error, and never a panic; a profile's schema survives its way through the stream.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use profile::{Options, Schema};

fuzz_target!(|text: &str| {
    let Ok(profile) = profile::parse(Path::new("fuzz.toml"), text, Options { max_id: None }) else { return };
    for schema in profile.schemas() {
        let json = serde_json::to_string(schema).expect("a schema has a JSON form");
        let again: Schema = serde_json::from_str(&json).expect("what was written can be read");
        assert_eq!(serde_json::to_string(&again).expect("a schema has a JSON form"), json);
    }
});
