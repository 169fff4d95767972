//! The command line of `pg-upsert`.

use std::path::PathBuf;

use clap::Parser;
use cli::progress::When;
use rows::tolerance::MaxRejects;

const EXAMPLES: &str = "\
Examples:
  ddb-list s3://bucket/exports/ | ddb-cat | ddb-parse -p pictures | pg-upsert -p pictures
  ddb-cat x.json.gz | ddb-parse -p pictures | pg-upsert --create        one file, no bookmark
  jq -c '{id, name}' people.json | pg-upsert --table people --key id    any rows

Where the server is: SERVER, PORT, PG_USER, PASSWORD, DATABASE, DB_SSL; or PGHOST and the like, PGSERVICE, \
~/.pgpass, DATABASE_URL.";

/// Write rows from stdin, one JSON object a line, into a table of PostgreSQL: new ones are inserted, others merged
#[derive(Debug, Parser)]
#[command(name = "pg-upsert", version, after_help = EXAMPLES, max_term_width = 100, args_override_self = true)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line are independent of each other")]
pub(crate) struct Args {
    /// Run as a migration of this profile: with a bookmark, and with the profile's SQL on completion
    ///
    /// The rows have to come from `ddb-list | ddb-cat | ddb-parse -p PROFILE`, which say what belongs to the run.
    #[arg(short, long, value_name = "PROFILE", help_heading = "Target")]
    pub(crate) profile: Option<String>,

    /// Write into this table, not the one that the rows name
    #[arg(long, value_name = "[SCHEMA.]TABLE", help_heading = "Target")]
    pub(crate) table: Option<String>,

    /// Columns that identify a row; without it those that the rows name, or the primary key
    #[arg(long, value_name = "COLUMN,...", value_delimiter = ',', help_heading = "Target")]
    pub(crate) key: Option<Vec<String>>,

    /// Columns of rows that do not say what they are; without it those of the first row
    ///
    /// A column that a row lacks becomes NULL. A column that is not named here stays as it is. `*` is every column of
    /// the table.
    #[arg(long, value_name = "COLUMN,...", value_delimiter = ',', help_heading = "Target")]
    pub(crate) columns: Option<Vec<String>>,

    /// Take every line as a row, even one that looks like a line of the programs' own
    ///
    /// Those are lines whose first key is the name of a marker (docs/stream.md), such as `$schema` or `$table`.
    #[arg(long, requires = "table", conflicts_with_all = ["profile", "create"], help_heading = "Target")]
    pub(crate) no_markers: bool,

    /// Make the table if it is not there
    #[arg(long, help_heading = "Target")]
    pub(crate) create: bool,

    /// Write values of rows into columns that are `generated always as identity`
    ///
    /// As `overriding_system_value` of a profile does.
    #[arg(long, help_heading = "Target")]
    pub(crate) overriding_system_value: bool,

    /// At the end, advance sequences of the columns that were written beyond the values of the table
    ///
    /// As `advance_sequences` of a profile does. Without it a sequence that lags behind is a warning.
    #[arg(long, help_heading = "Target")]
    pub(crate) advance_sequences: bool,

    /// Do everything but commit
    #[arg(long, help_heading = "Target")]
    pub(crate) dry_run: bool,

    /// Leave out the profile's SQL on completion: another export of the same table follows
    #[arg(long, help_heading = "Target")]
    pub(crate) no_completion: bool,

    /// Write at most so many rows in one transaction
    #[arg(short, long, value_name = "ROWS", default_value = "50000", value_parser = clap::value_parser!(u32).range(1..=10_000_000), help_heading = "Writing")]
    pub(crate) batch_size: u32,

    /// Write at most about so many bytes in one transaction
    #[arg(long, value_name = "BYTES", default_value = "16777216", value_parser = clap::value_parser!(u64).range(1..=1_073_741_824), help_heading = "Writing")]
    pub(crate) batch_bytes: u64,

    /// Gather rows of at most so many keys before they are written, where rows are merged
    ///
    /// Merging here is cheaper than in the table. After the first batch no more is gathered than can be written in five
    /// seconds. What does not fit into memory waits in a temporary file of the log
    /// folder. A run that is killed reads what had been gathered again.
    #[arg(long, value_name = "KEYS", default_value = "500000", value_parser = clap::value_parser!(u32).range(1..=10_000_000), help_heading = "Writing")]
    pub(crate) gather: u32,

    /// Write over so many connections at once, rows of one key always over the same
    #[arg(long, value_name = "N", default_value = "2", value_parser = clap::value_parser!(u32).range(1..=64), help_heading = "Writing")]
    pub(crate) connections: u32,

    /// Rows may be missing: a filter between the programs leaves some out on purpose
    ///
    /// They are counted as dropped. Without this, a file of which a record is missing is failed.
    #[arg(long, help_heading = "Writing")]
    pub(crate) lossy: bool,

    /// Stop the run when more records than this are rejected: a number, or a percentage of those that were read
    ///
    /// A percentage counts from 10,000 records on as if they had been read. Records of earlier processes of the run count
    /// too. A run whose first 100 records are all rejects is stopped in any case but 100%, which switches this off.
    #[arg(long, value_name = "N|P%", default_value = "1%", help_heading = "Files")]
    pub(crate) max_rejects: MaxRejects,

    /// Keep records that cannot be written in this file
    ///
    /// Without it in `migrate-<profile>.rejects.jsonl` of the log folder.
    #[arg(long, value_name = "FILE", help_heading = "Files")]
    pub(crate) rejects: Option<PathBuf>,

    /// Folder for bookmark and rejects; without it the current one
    #[arg(long, value_name = "FOLDER", env = "MIGRATE_LOG_DIR", help_heading = "Files")]
    pub(crate) log_dir: Option<PathBuf>,

    /// Write to stdout what became of each file, as the bookmark notes it
    ///
    /// A line with `done` is written when its rows are committed and its rejects are on disk.
    #[arg(long, conflicts_with = "dry_run", help_heading = "Files")]
    pub(crate) receipts: bool,

    /// Show a progress line on stderr
    #[arg(long, value_name = "WHEN", default_value = "auto", help_heading = "Log options")]
    pub(crate) progress: When,

    #[command(flatten)]
    pub(crate) retry: retry::Limits,

    #[command(flatten)]
    pub(crate) common: cli::Common,
}

impl cli::Program for Args {
    const NAME: &'static str = "pg-upsert";

    fn common(&self) -> &cli::Common {
        &self.common
    }

    fn topic(&self) -> Option<String> {
        self.profile.as_ref().and_then(|profile| profile::name_of(profile).ok())
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
