//! What happens in a run, for programs: one JSON object a line, written to the file or the descriptor that `--events`
//! names, by every program of the pipeline.
//!
//! Here: what the lines hold (`event`), and how they are written (`sink`). Who shows or counts them is not here.

mod event;
mod sink;

pub use event::{
    Complete, Counts, Event, FileComplete, FileStart, Line, Phase, Progress, Reject, Retry, Start, shortened,
};
pub use sink::{Target, forward, open, send, wanted};
