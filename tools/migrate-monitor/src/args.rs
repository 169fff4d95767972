//! The command line of `migrate-monitor`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

const EXAMPLES: &str = "\
Examples:
  migrate -p pictures run --hook 'jq -c .'       what happens, to a command
  migrate -p pictures status --json              how far a run is
  ddb-cat x.json.gz | ddb-parse -p pictures | pg-upsert --events 2 2> >(migrate-monitor follow -p pictures)";

/// See how far a run is: on the terminal, in the log, by metrics, hooks and systemd
#[derive(Debug, Parser)]
#[command(name = "migrate-monitor", version, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,

    #[command(flatten)]
    pub(crate) common: cli::Common,
}

/// What is done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Tell all who want to know what the events on stdin say; `migrate run` begins it
    Follow(Follow),
    /// Say how far a run is that `migrate run` or `start` has begun
    Status(Status),
}

/// Which run.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Run {
    /// The name of the profile
    #[arg(short, long, value_name = "PROFILE")]
    pub(crate) profile: String,

    /// The folder for the files of the run
    #[arg(long, value_name = "DIR", env = "MIGRATE_LOG_DIR")]
    pub(crate) log_dir: Option<PathBuf>,
}

impl Run {
    /// A file of the run.
    pub(crate) fn file(&self, ending: &str) -> PathBuf {
        cli::profile_file(&cli::log_dir(self.log_dir.as_deref()), &self.profile, ending)
    }

    /// Where it is written how far the run is.
    pub(crate) fn status_file(&self, command: Followed) -> PathBuf {
        self.file(match command {
            Followed::Run => "status.json",
            Followed::Verify => "verify.status.json",
        })
    }
}

/// What is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Followed {
    /// `migrate run`
    Run,
    /// `migrate verify`
    Verify,
}

impl Followed {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Verify => "verify",
        }
    }
}

/// How it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Look {
    /// Bars on the terminal
    Bar,
    /// A line of the log every 10 seconds
    Plain,
    /// Not at all
    None,
}

/// `follow`
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Follow {
    #[command(flatten)]
    pub(crate) run: Run,

    /// What is followed
    #[arg(long, value_name = "COMMAND", default_value = "run")]
    pub(crate) command: Followed,

    /// How it is shown
    #[arg(long, value_name = "LOOK", default_value = "plain")]
    pub(crate) progress: Look,

    /// So often a line of the log
    #[arg(long, value_name = "SECONDS", default_value = "10")]
    pub(crate) every: u64,

    /// Run this command of the shell for each event, with the event on its stdin
    ///
    /// It may take 30 seconds. Of `progress` it hears every 10 seconds.
    #[arg(long, value_name = "COMMAND", help_heading = "Others")]
    pub(crate) hook: Option<String>,

    /// Keep metrics in this file, for node_exporter's textfile collector
    #[arg(long, value_name = "FILE", help_heading = "Others")]
    pub(crate) metrics_file: Option<PathBuf>,

    /// Serve metrics as OpenMetrics: `GET /metrics`
    #[arg(long, value_name = "ADDRESS:PORT", help_heading = "Others")]
    pub(crate) metrics_listen: Option<SocketAddr>,

    /// Write metrics in CloudWatch's embedded metric format into the log, every minute
    #[arg(long, help_heading = "Others")]
    pub(crate) metrics_emf: bool,
}

/// `status`
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) run: Run,

    /// The process of the run, if it is alive
    #[arg(long, value_name = "PID")]
    pub(crate) pid: Option<u32>,

    /// How the last run ended, in words
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) last: String,

    /// Up to when everything is in the table, if that is known
    #[arg(long, value_name = "TIME")]
    pub(crate) stands_at: Option<String>,

    /// Write JSON, for machines
    #[arg(long)]
    pub(crate) json: bool,

    /// Show it again and again until the run has ended
    #[arg(long, requires = "pid")]
    pub(crate) watch: bool,
}

impl cli::Program for Args {
    const NAME: &'static str = "migrate-monitor";

    // It tells how the programs that are being stopped end.
    const OUTLIVES_A_STOP: bool = true;

    fn common(&self) -> &cli::Common {
        &self.common
    }

    fn topic(&self) -> Option<String> {
        match &self.command {
            Command::Follow(follow) => Some(follow.run.profile.clone()),
            Command::Status(status) => Some(status.run.profile.clone()),
        }
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
