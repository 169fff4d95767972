//! The command line of `migrate-rejects`.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use cli::{Common, Program};

use crate::lines::Kind;

const EXAMPLES: &str = "\
Examples, as `migrate retry-rejects` runs them:
  migrate-rejects records r.jsonl | ddb-parse -p P | pg-upsert --rejects again.jsonl --receipts |
    migrate-rejects settle records r.jsonl again.jsonl
  migrate-rejects rows r.jsonl -p P | pg-upsert --rejects again.jsonl --receipts |
    migrate-rejects settle rows r.jsonl again.jsonl";

/// Send the lines of a rejects file through the pipeline again, and keep those that are rejected again
#[derive(Debug, Parser)]
#[command(name = "migrate-rejects", version, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,

    #[command(flatten)]
    pub(crate) common: Common,
}

/// What is done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write how many records and rows there are, as two numbers
    Count {
        /// The rejects file
        file: PathBuf,
    },
    /// Write the records that were refused before they were rows, for ddb-parse
    Records {
        /// The rejects file
        file: PathBuf,
    },
    /// Write the rows that were refused, for pg-upsert
    Rows {
        /// The rejects file
        file: PathBuf,
        /// The profile that the rows have to fit
        #[arg(short, long)]
        profile: String,
    },
    /// Take out of the file what is in the table now; reads on stdin what `pg-upsert --receipts` writes
    Settle {
        /// What was sent
        kind: Kind,
        /// The rejects file
        file: PathBuf,
        /// What was rejected again
        again: PathBuf,
    },
}

impl Program for Args {
    const NAME: &'static str = "migrate-rejects";

    fn common(&self) -> &Common {
        &self.common
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_holds_together() {
        Args::command().debug_assert();
    }
}
