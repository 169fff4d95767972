//! The lines between the programs.
//!
//! One JSON object a line, UTF-8, each line ended by a newline. A line is a [`Marker`] if its first key is the name of
//! one and the value has the documented shape (docs/stream.md). Every other line is data, until a program has met its
//! first marker: from then on a line whose first key begins with `$` is no data any more ([`Classifier`]).
//!
//! ```text
//! {"$source":{"v":1,"source":"s3://bucket/exports/","export":"01700000000000-abcdef12","table":"Pictures",...}}
//! {"$file":{"event":"begin","v":1,"key":"data/x.json.gz","number":1,"encoding":"dynamodb-json","bytes":4096,...}}
//! {"Item":{"Id":{"S":"a"}}}
//! {"Item":{"Id":{"S":"b"}}}
//! {"$file":{"event":"end","key":"data/x.json.gz","records":2,"rejected":0}}
//! ```
//!
//! Data cannot forge a marker: a program that passes on data of others among its own markers asks
//! [`begins_with_dollar`] of every line and rejects the line if the answer is yes. A last line without a newline means
//! that the writer died: it is never data. A program in the middle passes on a line of [`Line::Unknown`], so that a newer
//! neighbour can stand beside an older one; a target rejects it.
//!
//! This crate knows the shape of the lines only. What a count means and who checks the sums lives with the program that
//! answers for them; what a `$schema` says lives in `profile`.

mod line;
mod marker;
mod reader;
mod reject_line;
mod writer;

pub use line::{Classifier, Deletion, Line, begins_with_dollar};
pub use marker::{
    Begin, End, Fail, FileEvent, MARKER_VERSION, Mark, Marker, Period, Reject, SAME_VERSION, Source, SourceDone, Stop,
};
pub use reader::Reader;
pub use reject_line::RejectLine;
pub use writer::Writer;
