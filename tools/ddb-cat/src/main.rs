//! `ddb-cat`: data files of a DynamoDB export in, their records out, as they stand.
//!
//! Here: what is written, and what is said when a file is not whole or a stop is asked for. Not here: which files
//! (`list`), how they are read (`read`, and `export` below it), how lines look (`stream`).

mod args;
mod budget;
mod list;
mod read;

use std::io::{self, IsTerminal as _, Write};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, sync_channel};

use cli::Stop;
use export::Opener;
use fault::{Exit, Failure, Fault, PipeError, Problem};
use stream::{FileEvent, Marker, Reject, Writer};
use tracing::{error, warn};

use crate::args::Args;
use crate::budget::Budget;
use crate::list::List;
use crate::read::{Event, Read};

/// Events that wait to be written; those with lines are limited by their bytes as well.
const AHEAD: usize = 32;

fn main() -> ExitCode {
    cli::run(cat)
}

fn cat(args: &Args, stop: &Stop) -> Result<Exit, Failure> {
    if args.files.is_empty() && io::stdin().is_terminal() {
        return Err(Problem::new(Fault::Setup, "no file is named, and there is no list on stdin")
            .with_hint("name files, or run `ddb-list SOURCE | ddb-cat`")
            .into());
    }
    let (sender, events) = sync_channel(AHEAD);
    let wake = sender.clone();
    stop.on_signal(move || {
        // Only to end a wait: one who writes looks at the flag himself.
        let _ = wake.send(Event::Stop);
    })
    .map_err(|error| Problem::new(Fault::Local, format!("cannot listen for signals: {error}")))?;
    let budget = Budget::default();
    let read =
        Read::new(List::new(&args.files), args.skip, args.limit, Opener::new(args.retry), sender, budget.clone());
    let reader = std::thread::Builder::new().name("read".to_owned()).spawn(move || read.run());
    let reader = reader.map_err(|error| Problem::new(Fault::Local, format!("cannot start a thread: {error}")))?;

    let stdout = io::stdout().lock();
    let markers = !args.no_markers && !stdout.is_terminal();
    let mut writer = Writer::new(stdout, markers);
    let result = write(&events, &mut writer, stop, &budget);
    // What was read before a failure is whole lines, and theirs.
    writer.flush().map_err(PipeError::writing)?;
    let ended = result?;
    if ended != Exit::Stopped && reader.join().is_err() {
        return Err(Problem::new(Fault::Local, "the reading thread died: this is a bug").into());
    }
    Ok(ended)
}

fn write(
    events: &Receiver<Event>,
    writer: &mut Writer<impl Write>,
    stop: &Stop,
    budget: &Budget,
) -> Result<Exit, Failure> {
    let mut exit = Exit::Done;
    loop {
        let event = if let Ok(event) = events.try_recv() {
            event
        } else {
            // Before it waits, all that is there goes on its way.
            writer.flush().map_err(PipeError::writing)?;
            let Ok(event) = events.recv() else { return Ok(exit) };
            event
        };
        // A stop that comes when everything is written stops nothing.
        if stop.asked() && !matches!(event, Event::Done) {
            let signal = stop.signal().unwrap_or_default();
            writer.marker(&Marker::Stop(stream::Stop { signal })).map_err(PipeError::writing)?;
            return Ok(Exit::Stopped);
        }
        let written = match event {
            Event::Lines(lines) => {
                let written = writer.lines(&lines);
                budget.give(lines.len());
                written
            }
            Event::Marker(line) => writer.foreign(&line),
            Event::Begin(begin) => writer.marker(&Marker::File(FileEvent::Begin(begin))),
            Event::End(end) => writer.marker(&Marker::File(FileEvent::End(end))),
            Event::Fail(fail) => {
                exit = Exit::Incomplete;
                error!("{}", fail.reason);
                writer.marker(&Marker::File(FileEvent::Fail(fail)))
            }
            Event::Refused { key, record, line, reason } => {
                budget.give(line.len());
                exit = Exit::Incomplete;
                if !writer.markers() {
                    warn!("rejected: `{key}`, line {record}: {reason}");
                }
                writer.marker(&Marker::Reject(Reject::of(Some(&key), Some(record), "ddb-cat", reason, &line)))
            }
            Event::Broken(failure) => return Err(failure),
            Event::Done => return Ok(exit),
            Event::Stop => Ok(()),
        };
        written.map_err(PipeError::writing)?;
    }
}
