//! `migrate-check`: what stands in the way of a run (`doctor`), and what a run would do (`plan`). It writes to no table.
//!
//! `source` and `database` look at the two ends, `machine` at this one; `doctor` makes findings of what they say, `plan` a
//! plan, with the figures of `estimate`.

mod args;
mod database;
mod doctor;
mod estimate;
mod finding;
mod machine;
mod plan;
mod source;

use std::process::ExitCode;

use cli::Stop;
use fault::{Exit, Failure};

use crate::args::{Args, Command};

fn main() -> ExitCode {
    cli::run(run)
}

fn run(args: &Args, stop: &Stop) -> Result<Exit, Failure> {
    let (mine, theirs) = (args.command.clone(), stop.clone());
    let done = stop.unless_asked(move || match &mine {
        Command::Doctor(run) => doctor::doctor(run, &theirs),
        Command::Plan(run) => plan::plan(run, &theirs),
    })?;
    Ok(done.unwrap_or(Exit::Stopped))
}
