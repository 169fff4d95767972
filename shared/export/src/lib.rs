//! An export of DynamoDB and its data files, wherever they are: in S3 or in a folder.
//!
//! [`find`] finds an export and lists its files ([`DataFile`]), [`chain`](fn@chain) finds a full export and the increments
//! that join it; [`Opener`] opens one of them as compressed bytes, and
//! [`Records`] cuts these into blocks of whole lines, unzipped and checked. The formats are those of the DynamoDB
//! developer guide, "DynamoDB table export output format".
//!
//! Records are bytes here; what is in them is `item`'s. Nothing here writes to stdout or knows the stream's markers.

pub mod applied;
mod chain;
mod error;
mod find;
mod gzip;
mod local;
mod location;
mod manifest;
mod open;
mod place;
mod records;
mod s3;

pub use chain::{Chain, Link, Standing, Wanted, chain};
pub use error::{Error, Result};
pub use find::{Choice, DataFile, Export, find};
pub use location::Location;
pub use manifest::{Extent, Summary, View};
pub use open::{Input, Opener};
pub use place::Place;
pub use records::{Block, Expected, Records};
