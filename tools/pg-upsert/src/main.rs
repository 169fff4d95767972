//! `pg-upsert`: rows of a stream in, rows of a table of PostgreSQL out.
//!
//! Here: nothing but the parts. `input` reads lines and fills a `batch`, whose rows wait in `gather`; `run` takes one batch after the other, has it
//! written (`write`, `copy`), and notes what is durable then (`settle`, `ledger`, `rejects`,
//! `notes`), as long as `tolerance` allows. What the SQL looks like is in the crate `pg`.

mod args;
mod batch;
mod completion;
mod copy;
mod gather;
mod input;
mod key;
mod ledger;
mod notes;
mod progress;
mod rejects;
mod row;
mod run;
mod settle;
mod target;
mod tolerance;
mod write;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run(run::run)
}
