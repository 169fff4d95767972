//! The command line of `ddb-list`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Parser;
use cli::{Common, Program};
use export::{Location, Place};
use fault::Failure;

const EXAMPLES: &str = "\
Examples:
  ddb-list s3://bucket/exports/ --plain             the names of the data files
  ddb-list s3://bucket/exports/ --latest | ddb-cat  the records of the last export
  ddb-list exports/ --shard 1/4                     a quarter of the files, by size
  ddb-list exports/ --chain                         a full export and the increments that join it";

/// List the data files of a DynamoDB export, in S3 or in a folder
///
/// Finds the export's manifest, checks that the export is complete, and writes a JSON object for each data file, in the
/// order of their keys. Without a manifest the `*.json.gz` and `*.ion.gz` files under the place are listed.
#[derive(Debug, Parser)]
#[command(name = "ddb-list", version, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Args {
    /// Where the export is: `s3://BUCKET/PREFIX` or a folder
    ///
    /// Wins over the two settings for S3, which may stand in the environment.
    #[arg(value_name = "SOURCE", conflicts_with = "source")]
    pub(crate) place: Option<String>,

    #[command(flatten)]
    pub(crate) named: Place,

    /// List exports, not files: a full export and the increments that join it, in the order in which to apply them
    ///
    /// The full export is the newest one, or that of `--export`. Periods may overlap; a hole between them is an error. An
    /// increment that others cover is left out. With `--pending` what was applied before is left out too.
    #[arg(long, conflicts_with_all = ["latest", "shard", "bookmark"], help_heading = "Selection")]
    pub(crate) chain: bool,

    /// Leave out what the bookmark of the profile says is done
    #[arg(long, requires = "profile", help_heading = "Selection")]
    pub(crate) pending: bool,

    /// The profile whose bookmark is asked
    #[arg(short, long, value_name = "PROFILE", help_heading = "Selection")]
    pub(crate) profile: Option<String>,

    /// Ask this bookmark, not the profile's own
    #[arg(long, value_name = "FILE", requires = "pending", help_heading = "Selection")]
    pub(crate) bookmark: Option<PathBuf>,

    /// The folder with the bookmark
    #[arg(long, value_name = "DIR", env = "MIGRATE_LOG_DIR", help_heading = "Selection")]
    pub(crate) log_dir: Option<PathBuf>,

    /// The I-th of N shares of the files, about equal in size; the same every time
    #[arg(long, value_name = "I/N", help_heading = "Selection")]
    pub(crate) shard: Option<Shard>,

    /// Write names alone
    #[arg(long, help_heading = "Output options")]
    pub(crate) plain: bool,

    #[command(flatten)]
    pub(crate) retry: retry::Limits,

    #[command(flatten)]
    pub(crate) common: Common,
}

/// One of several shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shard {
    /// From 1.
    pub(crate) index: usize,
    pub(crate) of: usize,
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/').and_then(|(index, of)| Some((index.parse().ok()?, of.parse().ok()?)));
        match parts {
            Some((index, of)) if (1..=of).contains(&index) => Ok(Self { index, of }),
            _ => Err("a share is I/N, with I from 1 to N".to_owned()),
        }
    }
}

impl Args {
    /// The place that the command line and the settings name.
    pub(crate) fn location(&self) -> Result<Location, Failure> {
        self.place.as_ref().map_or_else(|| self.named.location(), |place| Ok(Location::parse(place)?))
    }
}

impl Program for Args {
    const NAME: &'static str = "ddb-list";

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

    #[test]
    fn a_share_is_one_of_them() {
        assert_eq!("2/3".parse(), Ok(Shard { index: 2, of: 3 }));
        for wrong in ["", "1", "0/2", "3/2", "1/0", "a/b", "1/2/3"] {
            assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
        }
    }
}
