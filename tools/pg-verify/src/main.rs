//! `pg-verify`: which rows of a stream are missing in a table of PostgreSQL, or differ from what it has.
//!
//! A row is in the table as it should be if the table has its key and merging the row into what is there would change
//! nothing: to load the whole export again would do nothing. That is asked with the SQL of the load itself
//! (`pg::comparison`), so whatever a merge policy and a column's type make of a value is the same on both sides.
//!
//! Rows of the stream are parts: other items of the same key may come later, and where the order matters a later one may
//! have taken the place of an earlier one rightly. So a row that differs is not yet a finding. It is kept (`pending`), and
//! so is each later row of its key; what they are when all are merged is asked at the end. Earlier rows of the key need
//! not be known: each of them would have changed nothing, alone and then one after the other, so neither would all of them
//! together.
//!
//! What is found: rows that are missing; columns whose values are not what merging all items comes to. What cannot be
//! found, because a load would not change it either: in a `keep` column any value; under the other policies but `replace`
//! what no item speaks of (NULL in the item, further keys of an object, further elements of an array); columns with the
//! time of the load; columns that the profile does not have; rows that no item has.
//!
//! Here: nothing but the parts. `run` takes one batch after the other and has it compared (`target`), `pending` keeps what
//! has to be looked at again, `findings` says what was found.

mod args;
mod findings;
mod pending;
mod records;
mod run;
mod target;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run(run::run)
}
