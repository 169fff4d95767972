//! The command line of `pg-verify`.

use std::path::PathBuf;

use clap::Parser;
use cli::progress::When;

const EXAMPLES: &str = "\
Examples:
  ddb-cat x.json.gz | ddb-parse -p pictures | pg-verify | jq .          one file
  ddb-list s3://bucket/exports/ | ddb-cat | ddb-parse -p pictures | pg-verify -p pictures
  jq -c '{id, name}' people.json | pg-verify --table people --key id    any rows

Exits with 0 if all rows are there, with 1 if some are missing or differ. The role needs SELECT on the table and \
TEMPORARY on the database; nothing is changed. Where the server is: as for pg-upsert.";

/// Compare rows from stdin, one JSON object a line, with a table of PostgreSQL, and say which are missing or differ
///
/// A row is there if the table has its key and loading the row again would change nothing. For each one that is not, a
/// JSON object is written at the end of the stream: key, problem, columns, expected, found, and the records behind it.
#[derive(Debug, Parser)]
#[command(name = "pg-verify", version, after_help = EXAMPLES, max_term_width = 100, args_override_self = true)]
pub(crate) struct Args {
    /// Verify a migration of this profile: with a bookmark, and findings in `migrate-<profile>.verify.jsonl`
    ///
    /// The rows have to come from `ddb-list | ddb-cat | ddb-parse -p PROFILE`, which say what belongs to the export.
    #[arg(short, long, value_name = "PROFILE", help_heading = "Target")]
    pub(crate) profile: Option<String>,

    /// Compare with this table, not the one that the rows name
    #[arg(long, value_name = "[SCHEMA.]TABLE", help_heading = "Target")]
    pub(crate) table: Option<String>,

    /// Columns that identify a row; without it those that the rows name, or the primary key
    #[arg(long, value_name = "COLUMN,...", value_delimiter = ',', help_heading = "Target")]
    pub(crate) key: Option<Vec<String>>,

    /// Columns of rows that do not say what they are; without it those of the first row
    #[arg(long, value_name = "COLUMN,...", value_delimiter = ',', help_heading = "Target")]
    pub(crate) columns: Option<Vec<String>>,

    /// Take every line as a row, even one that looks like a line of the programs' own
    ///
    /// Those are lines whose first key is the name of a marker (docs/stream.md), such as `$schema` or `$table`.
    #[arg(long, requires = "table", conflicts_with = "profile", help_heading = "Target")]
    pub(crate) no_markers: bool,

    /// Compare at most so many rows at once
    #[arg(short, long, value_name = "ROWS", default_value = "20000", value_parser = clap::value_parser!(u32).range(1..=10_000_000), help_heading = "Reading")]
    pub(crate) batch_size: u32,

    /// Compare at most about so many bytes at once
    #[arg(long, value_name = "BYTES", default_value = "16777216", value_parser = clap::value_parser!(u64).range(1..=1_073_741_824), help_heading = "Reading")]
    pub(crate) batch_bytes: u64,

    /// Gather rows of at most so many keys before they are compared, where rows are merged
    ///
    /// What does not fit into memory waits in a temporary file of the log folder.
    #[arg(long, value_name = "KEYS", default_value = "500000", value_parser = clap::value_parser!(u32).range(1..=10_000_000), help_heading = "Reading")]
    pub(crate) gather: u32,

    /// Compare over so many connections at once
    #[arg(long, value_name = "N", default_value = "2", value_parser = clap::value_parser!(u32).range(1..=64), help_heading = "Reading")]
    pub(crate) connections: u32,

    /// Rows may be missing in the stream: a filter between the programs leaves some out on purpose
    ///
    /// They are counted as dropped. Without this, a file of which a record is missing is failed.
    #[arg(long, help_heading = "Reading")]
    pub(crate) lossy: bool,

    /// Folder for bookmark, findings and temporary files; without it the current one
    #[arg(long, value_name = "FOLDER", env = "MIGRATE_LOG_DIR", help_heading = "Files")]
    pub(crate) log_dir: Option<PathBuf>,

    /// Show a progress line on stderr
    #[arg(long, value_name = "WHEN", default_value = "auto", help_heading = "Log options")]
    pub(crate) progress: When,

    #[command(flatten)]
    pub(crate) retry: retry::Limits,

    #[command(flatten)]
    pub(crate) common: cli::Common,
}

impl cli::Program for Args {
    const NAME: &'static str = "pg-verify";

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
