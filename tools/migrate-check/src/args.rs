//! The command line of `migrate-check`. The options are those of the run that is asked about.

use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};
use export::Place;

const EXAMPLES: &str = "\
Examples:
  migrate -p pictures doctor          what stands in the way of a run
  migrate -p pictures plan --json     what a run would do, as JSON";

/// Look before a run: what stands in its way, and what it would do
#[derive(Debug, Parser)]
#[command(name = "migrate-check", version, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,

    #[command(flatten)]
    pub(crate) common: cli::Common,
}

/// What is asked.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Check everything that a run needs; exits with 0 if nothing stands in its way
    Doctor(Run),
    /// Say what a run would do, how long it may take and how much it writes
    Plan(Run),
}

/// The run that is asked about.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Run {
    /// The profile: a name or a path
    #[arg(short, long, value_name = "PROFILE")]
    pub(crate) profile: String,

    #[command(flatten)]
    pub(crate) place: Place,

    /// Only items whose id is less than this
    #[arg(short, long, value_name = "N", allow_hyphen_values = true, help_heading = "Run")]
    pub(crate) max_id: Option<i64>,

    /// The run makes the table if it is not there
    #[arg(long, help_heading = "Run")]
    pub(crate) create: bool,

    /// Rows in a transaction [default: 50000]
    #[arg(short, long, value_name = "ROWS", help_heading = "Run")]
    pub(crate) batch_size: Option<u32>,

    /// Keys whose rows are gathered [default: 500000]
    #[arg(long, value_name = "KEYS", help_heading = "Run")]
    pub(crate) gather: Option<u32>,

    /// More rejects than this stop the run [default: 1%]
    #[arg(long, value_name = "N|P%", help_heading = "Run")]
    pub(crate) max_rejects: Option<String>,

    /// The folder for the files of the run
    #[arg(long, value_name = "DIR", env = "MIGRATE_LOG_DIR", help_heading = "Run")]
    pub(crate) log_dir: Option<PathBuf>,

    /// Write JSON, for machines
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) retry: retry::Limits,
}

impl Run {
    /// The folder for the files of the run.
    pub(crate) fn folder(&self) -> PathBuf {
        cli::log_dir(self.log_dir.as_deref())
    }

    /// A file of the run.
    pub(crate) fn file(&self, name: &str, ending: &str) -> PathBuf {
        cli::profile_file(Path::new(&self.folder()), name, ending)
    }

    /// How often a service is tried again: somebody is waiting.
    pub(crate) fn limits(&self) -> retry::Limits {
        self.retry.or_retries(Some(2))
    }
}

impl cli::Program for Args {
    const NAME: &'static str = "migrate-check";

    fn common(&self) -> &cli::Common {
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
