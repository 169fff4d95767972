//! The faults: what each of them breaks, and what the run has to say to it. That the work is completed afterwards, and
//! that the table is right then, `experiment` looks after.

mod database;
mod local;
mod process;
mod storage;

use crate::experiment::Experiment;

/// Something that goes wrong.
pub struct Fault {
    /// What it is called in reports.
    pub name: &'static str,
    /// Files may be read in another order because of it, which rows of some profiles show.
    pub reorders: bool,
    /// Breaks something, runs, and mends it.
    pub inject: fn(&mut Experiment),
}

impl Fault {
    const fn new(name: &'static str, inject: fn(&mut Experiment)) -> Self {
        Self { name, reorders: false, inject }
    }

    const fn reordering(name: &'static str, inject: fn(&mut Experiment)) -> Self {
        Self { name, reorders: true, inject }
    }
}

/// Every fault, in the order in which seeds take them: what is added at the end leaves the others their seeds.
pub const FAULTS: [&[Fault]; 6] =
    [process::FAULTS, storage::FAULTS, database::FAULTS, local::FAULTS, process::BESIDE_THE_PIPELINE, database::KILLED];
