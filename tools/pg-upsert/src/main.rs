//! `pg-upsert`: rows of a stream in, rows of a table of PostgreSQL out.
//!
//! Here: nothing but the parts. `run` takes one batch after the other, has it written (`write`), and notes what is durable
//! then (`rejects`, `notes`). How rows are read, gathered and counted is in the crate `rows`, what the SQL looks like in
//! `pg`.

mod args;
mod completion;
mod notes;
mod rejects;
mod run;
mod sequences;
mod target;
mod waiting;
mod write;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run(run::run)
}
