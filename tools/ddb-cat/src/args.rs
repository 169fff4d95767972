//! The command line of `ddb-cat`.

use clap::Parser;
use cli::{Common, Program};

const EXAMPLES: &str = "\
Examples:
  ddb-cat data/x.json.gz | head -3             look at a file
  ddb-cat x.json.gz | ddb-parse | jq .Id       one attribute
  ddb-list s3://bucket/exports/ | ddb-cat      a whole export
  zstdcat x.json.zst | ddb-cat -               records from anywhere";

/// Write the records of DynamoDB export files to stdout, one JSON object a line
///
/// Files are gzip or plain, in S3 or local. What the manifest says of a file is checked; a file that is not whole is
/// failed in the stream, and the next one follows.
#[derive(Debug, Parser)]
#[command(name = "ddb-cat", version, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Args {
    /// Files to read: `s3://BUCKET/KEY`, a path, or - for data on stdin; without any, a list on stdin
    ///
    /// The list is that of ddb-list, or has a name in each line.
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<String>,

    /// Leave out the first N records of each file
    #[arg(long, value_name = "N", help_heading = "Selection")]
    pub(crate) skip: Option<u64>,

    /// Write at most N records of each file
    ///
    /// A file that is cut short by this is not done for a bookmark.
    #[arg(long, value_name = "N", help_heading = "Selection")]
    pub(crate) limit: Option<u64>,

    /// Write data only, without the lines that the next program reads
    ///
    /// This is the default on a terminal.
    #[arg(long, help_heading = "Output options")]
    pub(crate) no_markers: bool,

    #[command(flatten)]
    pub(crate) retry: retry::Limits,

    #[command(flatten)]
    pub(crate) common: Common,
}

impl Program for Args {
    const NAME: &'static str = "ddb-cat";

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
