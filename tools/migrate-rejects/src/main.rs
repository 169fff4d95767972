//! `migrate-rejects`: the rejects file of a run as a source of records, and what becomes of its lines afterwards.
//!
//! `send` writes what one kind of line holds into the stream, as a data file of which the n-th line of that kind is record
//! n; `settle` takes those lines out of the file that are in the table now. Both know the lines by `lines`. How the
//! programs are composed is in `scripts/migrate`.

mod args;
mod lines;
mod send;
mod settle;

use std::process::ExitCode;

use cli::Stop;
use fault::{Exit, Failure};

use crate::args::{Args, Command};

fn main() -> ExitCode {
    cli::run(run)
}

fn run(args: &Args, stop: &Stop) -> Result<Exit, Failure> {
    match &args.command {
        Command::Count { file } => send::count(file),
        Command::Records { file } => send::records(file, stop),
        Command::Rows { file, profile } => send::rows(file, profile, stop),
        Command::Settle { kind, file, again } => settle::settle(*kind, file, again, stop),
    }
}
