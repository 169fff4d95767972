//! The command line of `ddb-infer`.

use std::path::PathBuf;

use clap::Parser;
use cli::{Common, Program};
use item::Encoding;

const EXAMPLES: &str = "\
Examples:
  ddb-cat x.json.gz | ddb-infer --name shop -o shop.toml   a profile to begin with
  ddb-list s3://bucket/exports/ | ddb-cat | ddb-infer --sample 1000000 --name shop
  ddb-cat x.json.gz | ddb-infer --name shop --ddl          the tables of that profile, as SQL";

/// Make a profile of the items that are there: tables, keys, columns and their types, with what was seen as comments
///
/// Reads the records that ddb-cat writes on stdin, one JSON object a line.
#[derive(Debug, Parser)]
#[command(name = "ddb-infer", version, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Args {
    /// The name of the profile, and of its table if there is only one
    #[arg(long, value_name = "NAME")]
    pub(crate) name: String,

    /// Read no more than this many items; default: all
    #[arg(long, value_name = "N", help_heading = "Selection", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) sample: Option<u64>,

    /// The records are plain JSON objects, not DynamoDB JSON
    #[arg(long, help_heading = "Selection")]
    pub(crate) json: bool,

    /// Print the SQL of the tables instead of the profile
    #[arg(long, help_heading = "Output options")]
    pub(crate) ddl: bool,

    /// Write to this file instead of stdout; the file is replaced only on success
    #[arg(short, long, value_name = "FILE", help_heading = "Output options")]
    pub(crate) output: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) common: Common,
}

impl Args {
    pub(crate) fn encoding(&self) -> Encoding {
        if self.json { Encoding::Json } else { Encoding::DynamodbJson }
    }
}

impl Program for Args {
    const NAME: &'static str = "ddb-infer";

    fn common(&self) -> &Common {
        &self.common
    }

    fn topic(&self) -> Option<String> {
        profile::name_of(&self.name).ok()
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
