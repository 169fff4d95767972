//! Any bytes, in pieces of any size, come back as the same lines. What a line is, is decided without a panic. Data is
//! never taken for a marker.

#![no_main]

use std::io::Read;

use libfuzzer_sys::fuzz_target;
use stream::{Line, Reader, begins_with_dollar};

/// Gives its bytes in pieces, as a pipe does.
struct Pieces<'a> {
    rest: &'a [u8],
    piece: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.piece.min(self.rest.len()).min(buffer.len());
        let (piece, rest) = self.rest.split_at(length);
        buffer[..length].copy_from_slice(piece);
        self.rest = rest;
        Ok(length)
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&piece, input)) = data.split_first() else { return };
    let mut reader = Reader::new(Pieces { rest: input, piece: usize::from(piece) + 1 });
    let mut again = Vec::new();
    while let Some(line) = reader.next_line().expect("memory can be read") {
        again.extend_from_slice(line);
        again.push(b'\n');
        match Line::of(line) {
            Line::Data(data) => assert!(!begins_with_a_dollar(data) || first_is_records(data)),
            Line::Marker(_) | Line::Deletion(_) | Line::Unknown(_) => assert!(begins_with_dollar(line)),
        }
    }
    assert_eq!(input.len(), again.len() + reader.torn());
    assert!(input.starts_with(&again));
});

/// The first key of what is a JSON object, by another parser's opinion.
fn first_key(line: &[u8]) -> Option<String> {
    let object = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(line);
    object.ok()?.keys().next().cloned()
}

fn begins_with_a_dollar(line: &[u8]) -> bool {
    first_key(line).is_some_and(|key| key.starts_with('$'))
}

/// Such a line is a row whose keys were sorted.
fn first_is_records(line: &[u8]) -> bool {
    first_key(line).is_some_and(|key| key == "$records")
}
