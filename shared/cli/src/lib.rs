//! The manners that all programs share: common flags, settings, log lines, stop signals, and how an error reaches a
//! person.
//!
//! Only programs use this crate. A shared crate returns its errors, logs with `tracing`, and never prints, exits or
//! reads a flag.

pub mod log;
mod pipe;
pub mod progress;
mod settings;
mod stop;

use std::process::ExitCode;

use clap::Parser;
use fault::{Exit, Failure, Fault, explain};

pub use settings::{log_dir, profile_file, warn_of_open_dotenv};
pub use stop::Stop;

/// Retries that a stop ends.
pub type Retry = retry::Retry<Stop>;

/// Flags that every program has, with `#[command(flatten)]`.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
#[command(next_help_heading = "Log options")]
pub struct Common {
    /// Say more on stderr; twice for everything
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,

    /// Say only what went wrong
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,
}

/// What a program's command line has to tell before its body runs.
pub trait Program: Parser {
    /// The program's name, for messages.
    const NAME: &'static str;

    /// The common flags.
    fn common(&self) -> Common;

    /// The name that stands in log lines: the profile's, where there is one.
    fn topic(&self) -> Option<String> {
        None
    }
}

/// Reads `.env` and the command line, runs a program's body, and turns what it returns into the exit code, with one
/// message on stderr if it failed.
///
/// A reader that has gone away ends the program quietly and successfully.
pub fn run<P: Program>(body: impl FnOnce(&P, &Stop) -> Result<Exit, Failure>) -> ExitCode {
    if let Err(failure) = settings::read_dotenv() {
        return end(P::NAME, Err(failure));
    }
    let program = P::parse();
    pipe::widen();
    let topic = program.topic().unwrap_or_else(|| P::NAME.to_owned());
    let result = log::init(&topic, program.common())
        .and_then(|()| Stop::listen().map_err(|error| settings::problem("cannot listen for signals", &error)))
        .and_then(|stop| body(&program, &stop));
    end(P::NAME, result)
}

fn end(name: &str, result: Result<Exit, Failure>) -> ExitCode {
    match result {
        Ok(exit) => exit.into(),
        Err(failure) if failure.fault() == Fault::ReaderGone => Exit::Done.into(),
        Err(failure) => {
            log::failure(name, &explain(&*failure), failure.hint().as_deref());
            failure.fault().exit().into()
        }
    }
}
