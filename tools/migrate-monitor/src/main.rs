//! `migrate-monitor`: shows how far a run is, to people and to programs. It is beside the pipeline, not in it.
//!
//! `follow` takes the events of a run: `standing` makes a `view` of them, which goes to the terminal (`screen`), to systemd
//! (`service`), and as metrics (`metrics`, `serve`); events themselves go to a `hook`. `status` says what the files of a run
//! tell of it.

mod args;
mod follow;
mod hook;
mod metrics;
mod rate;
mod screen;
mod serve;
mod service;
mod standing;
mod status;
mod view;

use std::process::ExitCode;

use cli::Stop;
use fault::{Exit, Failure};

use crate::args::{Args, Command};

fn main() -> ExitCode {
    cli::run(run)
}

fn run(args: &Args, stop: &Stop) -> Result<Exit, Failure> {
    match &args.command {
        Command::Follow(args) => follow::follow(args, stop),
        Command::Status(args) => status::status(args, stop),
    }
}
