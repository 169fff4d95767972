//! DynamoDB items: a line of an export in, attribute values out, exact.
//!
//! Nothing is copied and no number is computed: texts and numbers are lent from the line as they stand ([`Text`],
//! [`Value`]), so 38 digits stay 38 digits. What is accepted is what RFC 8259 calls JSON and the DynamoDB developer guide
//! calls an attribute value ("DynamoDB JSON", "Data types"); anything else is an [`Error`] with its column.
//!
//! No file, no pipe and no profile is known here.

mod change;
mod decode;
mod error;
pub mod number;
pub mod scan;
mod shape;
mod value;

pub use change::Change;
pub use decode::{Decoder, Encoding, Record, decode};
pub use error::Error;
pub use value::{Elements, Item, Number, Text, Type, Value};
