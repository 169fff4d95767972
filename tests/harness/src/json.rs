//! The conformance corpus for JSON parsers of Nicolas Seriot, "Parsing JSON is a Minefield": what every parser has to
//! take, what none may take, and what RFC 8259 leaves open.

use serde_json::Value;

/// A text of the corpus.
#[derive(Clone, Debug)]
pub struct Case {
    /// The name of its file. What has to be taken begins with `y_`, what has to be refused with `n_`, the rest with `i_`.
    pub name: String,
    /// The text, which need not be UTF-8.
    pub bytes: Vec<u8>,
}

impl Case {
    /// Whether a parser has to take it; nothing where both are right.
    pub fn valid(&self) -> Option<bool> {
        match self.name.as_bytes()[0] {
            b'y' => Some(true),
            b'n' => Some(false),
            _ => None,
        }
    }
}

/// All of it.
pub fn corpus() -> Vec<Case> {
    let lines = include_str!("json/corpus.jsonl").lines();
    lines.map(|line| case(&serde_json::from_str(line).expect("the corpus is JSON"))).collect()
}

/// A byte is written as the character of its number; a text that is the same many times over, once.
fn case(line: &Value) -> Case {
    let text = line["bytes"].as_str().expect("every case has bytes");
    let bytes: Vec<u8> = text.chars().map(|byte| u8::try_from(byte).expect("characters stand for bytes")).collect();
    let times = line["times"].as_u64().map_or(1, |times| usize::try_from(times).expect("so many fit into memory"));
    Case { name: line["name"].as_str().expect("every case has a name").to_owned(), bytes: bytes.repeat(times) }
}
