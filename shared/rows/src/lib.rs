//! The rows of a stream on their way to a table of PostgreSQL: read, keyed, gathered and merged in batches, encoded for
//! COPY, and counted for each file.
//!
//! Here is what every program has in common that takes rows for a table. What it does with a batch (`pg-upsert` writes
//! it, `pg-verify` compares it) and what it notes then is its own matter. The SQL is in `pg`, the meaning of columns and
//! policies in `profile`.

pub mod batch;
pub mod binary;
pub mod copy;
pub mod division;
pub mod entries;
pub mod gather;
pub mod input;
pub mod key;
pub mod ledger;
pub mod plain;
mod rejected;
pub mod report;
pub mod row;
pub mod settle;
pub mod tolerance;

use std::collections::BTreeMap;

use checkpoint::Identity;
use fault::{Fault, Problem};
use profile::Schema;
use stream::Source;

pub use batch::Batch;
pub use rejected::Rejected;

/// A name in a schema's key that none of its columns has.
pub fn no_column(name: &str) -> Problem {
    Problem::new(Fault::Setup, format!("`{name}` is not a column of the rows"))
}

/// What a bookmark of these rows belongs to.
pub fn identity(source: &Source, profile: &str, schema: Option<&Schema>) -> Identity {
    Identity {
        source: source.source.clone(),
        export: source.export.clone(),
        shard: source.shard.clone(),
        profile: profile.to_owned(),
        profile_hash: schema.map(|schema| schema.hash.clone()),
        options: schema.map_or_else(BTreeMap::new, |schema| schema.options.clone()),
    }
}
