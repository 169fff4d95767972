//! What a profile makes of items, in words.

use std::io::{Read, Write};

use bumpalo::Bump;
use fault::{Exit, Failure, PipeError};
use item::{Decoder, Encoding, Record};
use profile::Profile;
use stream::{Line, Reader};

/// Explains each item of the input, and each record of an incremental export.
pub(crate) fn explain(
    profile: &Profile,
    encoding: Encoding,
    old_images: bool,
    input: impl Read,
    mut output: impl Write,
) -> Result<Exit, Failure> {
    let (mut reader, mut decoder, mut exit) = (Reader::new(input), Decoder::default(), Exit::Done);
    while let Some(line) = reader.next_line().map_err(PipeError::reading)? {
        let Line::Data(line) = Line::of(line) else { continue };
        let text = match decoder.decode_record(line, encoding, &Bump::new()) {
            Ok(Record::Item(item)) => profile.explain(&item),
            Ok(Record::Change(change)) => profile.explain_change(&change, old_images),
            Err(error) => {
                exit = Exit::Incomplete;
                format!("rejected: {error}\n")
            }
        };
        output.write_all(text.as_bytes()).and_then(|()| output.flush()).map_err(PipeError::writing)?;
    }
    Ok(exit)
}
