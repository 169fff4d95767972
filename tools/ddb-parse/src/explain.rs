//! What a profile makes of items, in words.

use std::io::{Read, Write};

use bumpalo::Bump;
use fault::{Exit, Failure, PipeError};
use item::{Decoder, Encoding, Record};
use profile::{Before, Profile};
use stream::{Classifier, FileEvent, Line, Marker, Reader};

use crate::parse;

/// Explains each item of the input, and each record of an incremental export.
pub(crate) fn explain(
    profile: &Profile,
    given: Encoding,
    old_images: bool,
    input: impl Read,
    mut output: impl Write,
) -> Result<Exit, Failure> {
    let (mut reader, mut decoder, mut exit) = (Reader::new(input), Decoder::default(), Exit::Done);
    let (mut encoding, mut before) = (given, Before { images: old_images, until: None });
    let mut classifier = Classifier::default();
    while let Some(line) = reader.next_line().map_err(PipeError::reading)? {
        let line = match classifier.classify(line) {
            Line::Data(line) => line,
            Line::Marker(marker) => {
                match *marker {
                    Marker::Source(source) => before = parse::before(&source, before),
                    Marker::File(FileEvent::Begin(begin)) => encoding = parse::encoding(&begin, given),
                    _ => {}
                }
                continue;
            }
            // For a program that knows it; here nobody reads on.
            Line::Unknown(_) | Line::Deletion(_) => {
                exit = Exit::Incomplete;
                let text = "rejected: neither a record nor a marker that this version knows\n";
                output.write_all(text.as_bytes()).map_err(PipeError::writing)?;
                continue;
            }
        };
        let text = match decoder.decode_record(line, encoding, &Bump::new()) {
            Ok(Record::Item(item)) => profile.explain(&item),
            Ok(Record::Change(change)) => profile.explain_change(&change, before),
            Err(error) => {
                exit = Exit::Incomplete;
                format!("rejected: {error}\n")
            }
        };
        output.write_all(text.as_bytes()).and_then(|()| output.flush()).map_err(PipeError::writing)?;
    }
    Ok(exit)
}
