//! The manners that all programs share: common flags, settings, log lines, events, stop signals, and how an error reaches
//! a person.
//!
//! Only programs use this crate. A shared crate returns its errors, logs with `tracing`, and never prints, exits or
//! reads a flag.

mod generate;
pub mod log;
mod pipe;
pub mod progress;
mod settings;
mod stop;

use std::process::ExitCode;

use clap::Parser;
use fault::{Exit, Failure, Fault, FileError, explain};

pub use settings::{log_dir, profile_file, warn_of_open_dotenv};
pub use stop::Stop;

/// Retries that a stop ends.
pub type Retry = retry::Retry<Stop>;

/// Flags that every program has, with `#[command(flatten)]`.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Log options")]
pub struct Common {
    /// Say more on stderr; twice for everything
    ///
    /// `MIGRATE_LOG_LEVEL` (warn, info, debug, trace) counts where neither this nor `--quiet` is given.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,

    /// Say only what went wrong
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,

    /// What a line of the log looks like
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        env = "MIGRATE_LOG_FORMAT",
        default_value = "text",
        hide_env = true
    )]
    pub log_format: log::Format,

    /// Add what happens, as one JSON object a line, to this file or descriptor
    #[arg(long, global = true, value_name = "FILE|FD", env = "MIGRATE_EVENTS", hide_env = true)]
    pub events: Option<events::Target>,
}

/// What a program's command line has to tell before its body runs.
pub trait Program: Parser {
    /// The program's name, for messages.
    const NAME: &'static str;

    /// Whether it goes on after a stop until its input has ended, however long that takes.
    const OUTLIVES_A_STOP: bool = false;

    /// The common flags.
    fn common(&self) -> &Common;

    /// The name that stands in log lines: the profile's, where there is one.
    fn topic(&self) -> Option<String> {
        None
    }
}

/// The version that every program says, with the commit that it was built of.
const VERSION: &str = env!("DDB_PIPE_VERSION");

/// Reads `.env` and the command line, runs a program's body, and turns what it returns into the exit code, with one
/// message on stderr if it failed. `--generate` makes a man page or a completion instead.
///
/// A reader that has gone away ends the program quietly and successfully.
pub fn run<P: Program>(body: impl FnOnce(&P, &Stop) -> Result<Exit, Failure>) -> ExitCode {
    if let Some(what) = generate::asked(std::env::args_os()) {
        return end(P::NAME, generate::generate(P::command().version(VERSION), &what));
    }
    let closed = match settings::read_dotenv() {
        Ok(closed) => closed,
        Err(failure) => return end(P::NAME, Err(failure)),
    };
    let program = parse::<P>();
    pipe::widen();
    let topic = program.topic().unwrap_or_else(|| P::NAME.to_owned());
    let result = log::init(P::NAME, &topic, program.common())
        .inspect(|()| {
            if closed {
                settings::warn_of_closed_dotenv();
            }
        })
        .and_then(|()| match &program.common().events {
            Some(target) => {
                Ok(events::open(target, &topic, P::NAME).map_err(FileError::on("open for events", &target.path()))?)
            }
            None => Ok(()),
        })
        .and_then(|()| listen::<P>().map_err(|error| settings::problem("cannot listen for signals", &error)))
        .and_then(|stop| body(&program, &stop));
    end(P::NAME, result)
}

/// The command line, as [`Parser::parse`] reads it; ends the program if it is wrong, or asks for help or the version.
fn parse<P: Program>() -> P {
    // Made when `.env` is read: it takes the values of the environment as they are now.
    let mut command = P::command().version(VERSION);
    let mut matches = command.get_matches_mut();
    P::from_arg_matches_mut(&mut matches).unwrap_or_else(|error| error.format(&mut command).exit())
}

/// A program that has been told to stop ends by itself, or is ended: by then somebody waits for it.
#[expect(clippy::exit, reason = "what it waits for does not come")]
fn listen<P: Program>() -> std::io::Result<Stop> {
    let stop = Stop::listen()?;
    if !P::OUTLIVES_A_STOP {
        stop.when_overdue(|| {
            let hint = "the same command goes on from here";
            log::failure(P::NAME, "stopped while it waited for what does not answer", Some(hint));
            std::process::exit(Exit::Stopped as i32);
        })?;
    }
    Ok(stop)
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
