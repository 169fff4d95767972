//! The command line of `ddb-parse`.

use clap::{Parser, ValueEnum};
use cli::{Common, Program};
use item::Encoding;

const EXAMPLES: &str = "\
Examples:
  ddb-cat x.json.gz | ddb-parse | jq .Id                         items as plain JSON
  ddb-cat x.json.gz | ddb-parse -p pictures | pg-upsert          into the table
  ddb-cat x.json.gz | ddb-parse -p orders --to csv > orders.csv  for \\copy ... csv header
  ddb-parse --check -p orders                                    is the profile right?
  ddb-cat --limit 1 x.json.gz | ddb-parse --explain -p orders    what becomes of an item, and why";

/// Make rows of DynamoDB records, as a profile says; without a profile, plain JSON items
///
/// Reads the records that ddb-cat writes on stdin, one JSON object a line.
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line are independent of each other")]
#[derive(Debug, Parser)]
#[command(name = "ddb-parse", version, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Args {
    /// The profile: a name or a path
    ///
    /// A name is looked for in `profiles`, the folders of `DDB_PIPE_PROFILES`, `~/.config/ddb-pipe/profiles` and
    /// `/etc/ddb-pipe/profiles`.
    #[arg(short, long, value_name = "PROFILE")]
    pub(crate) profile: Option<String>,

    /// Only items whose id is less than N; the profile says which attribute is the id
    #[arg(short, long, value_name = "N", requires = "profile", help_heading = "Selection")]
    pub(crate) max_id: Option<i64>,

    /// The records are plain JSON objects, not DynamoDB JSON
    #[arg(long, help_heading = "Selection")]
    pub(crate) json: bool,

    /// Records of incremental exports have old images, so that one without is of a new item
    ///
    /// A list of ddb-list says by itself which view an export has.
    #[arg(long, help_heading = "Selection")]
    pub(crate) old_images: bool,

    /// Only rows of this table, of a profile with several
    #[arg(long, value_name = "TABLE", requires = "profile", help_heading = "Selection")]
    pub(crate) table: Option<String>,

    /// What to write
    #[arg(long, value_name = "FORMAT", default_value = "json", requires = "profile", help_heading = "Output options")]
    pub(crate) to: Format,

    /// Merge rows of one key within this many rows before they are written, where rows are merged
    ///
    /// Rows that only replace each other are written as they come, except to CSV.
    #[arg(
        long,
        value_name = "ROWS",
        default_value_t = 2_000,
        value_parser = clap::value_parser!(u64).range(1..),
        help_heading = "Output options"
    )]
    pub(crate) window: u64,

    /// Threads that make rows of records; what is written does not depend on it
    ///
    /// By default as many as there are processor cores, at most 4.
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=16))]
    pub(crate) jobs: Option<u16>,

    /// Write data only, without the lines that the next program reads
    ///
    /// This is the default on a terminal and without a profile. Rejected records are then said on stderr.
    #[arg(long, help_heading = "Output options")]
    pub(crate) no_markers: bool,

    /// Write the lines that the next program reads even where they are left out by default
    #[arg(long, conflicts_with = "no_markers", help_heading = "Output options")]
    pub(crate) markers: bool,

    /// Only say whether the profile is right, and where it is not; with a database, whether its tables fit
    ///
    /// A database is looked at if `DATABASE_URL`, `SERVER`, `DATABASE`, `PGSERVICE`, `PGHOST`, `PGHOSTADDR` or `PGDATABASE` is
    /// set.
    #[arg(long, requires = "profile", conflicts_with_all = ["to", "markers", "explain"], help_heading = "Profile")]
    pub(crate) check: bool,

    /// Say what becomes of each item, where every column comes from and why
    #[arg(long, requires = "profile", conflicts_with_all = ["to", "markers"], help_heading = "Profile")]
    pub(crate) explain: bool,

    #[command(flatten)]
    pub(crate) common: Common,
}

/// What rows are written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A JSON object a line, for pg-upsert
    Json,
    /// CSV with a header, for psql's \copy and for spreadsheets: NULL is empty, an empty text is ""
    Csv,
}

impl Args {
    pub(crate) fn encoding(&self) -> Encoding {
        if self.json { Encoding::Json } else { Encoding::DynamodbJson }
    }
}

impl Program for Args {
    const NAME: &'static str = "ddb-parse";

    fn common(&self) -> &Common {
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
