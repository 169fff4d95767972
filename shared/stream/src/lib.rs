//! The lines between the programs.
//!
//! One JSON object a line, UTF-8, each line ended by a newline. A line whose first key begins with `$` is a
//! [`Marker`]; every other line is data and passes through untouched:
//!
//! ```text
//! {"$source":{"v":1,"source":"s3://bucket/exports/","export":"01700000000000-abcdef12","table":"Pictures",...}}
//! {"$file":{"event":"begin","v":1,"key":"data/x.json.gz","number":1,"encoding":"dynamodb-json","bytes":4096,...}}
//! {"Item":{"Id":{"S":"a"}}}
//! {"Item":{"Id":{"S":"b"}}}
//! {"$file":{"event":"end","key":"data/x.json.gz","records":2,"rejected":0}}
//! ```
//!
//! Data cannot forge a marker: a program that passes foreign data on asks [`is_marker`] of every line and refuses the
//! line (as a reject) when the answer is yes. A last line without a newline means that the writer died: it is never
//! data. A program passes on a marker that it does not know, so that a newer neighbour can be put beside an older one.
//!
//! This crate knows the shape of the lines only. What a count means and who checks the sums lives with the program that
//! answers for them; what a `$schema` says lives in `profile`.

mod marker;
mod reader;
mod reject_line;
mod writer;

pub use marker::{
    Begin, End, Fail, FileEvent, Line, MARKER_VERSION, Mark, Marker, Period, Reject, SAME_VERSION, Source, SourceDone,
    Stop, is_marker,
};
pub use reader::Reader;
pub use reject_line::RejectLine;
pub use writer::Writer;
