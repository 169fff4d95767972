//! Runs pipelines and says what they took.

use std::io;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use wait4::Wait4 as _;

/// What a pipeline took.
#[derive(Clone, Debug)]
pub struct Usage {
    /// From its start until its last program ended.
    pub wall: Duration,
    /// Its programs, the first one first.
    pub programs: Vec<Program>,
}

/// What one program took.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// User and system time.
    pub cpu: Duration,
    /// The most memory that was resident, in bytes.
    pub memory: u64,
}

impl Usage {
    /// The CPU time of all programs together.
    pub fn cpu(&self) -> Duration {
        self.programs.iter().map(|program| program.cpu).sum()
    }
}

/// Runs a pipeline to its end; every program has to end well.
pub fn pipeline(commands: Vec<Command>) -> io::Result<Usage> {
    pipeline_ending(commands, 0)
}

/// Runs a pipeline to its end; every program has to end with this code.
pub fn pipeline_ending(mut commands: Vec<Command>, code: i32) -> io::Result<Usage> {
    let begun = Instant::now();
    let last = commands.len() - 1;
    let (mut children, mut output) = (Vec::new(), None);
    for (place, command) in commands.iter_mut().enumerate() {
        if let Some(output) = output.take() {
            command.stdin(Stdio::from(output));
        }
        if place < last {
            command.stdout(Stdio::piped());
        }
        let mut child = command.spawn()?;
        output = child.stdout.take();
        children.push(child);
    }
    let mut programs = vec![None; children.len()];
    // The last first: one that failed is the cause of what the others say.
    for (place, child) in children.iter_mut().enumerate().rev() {
        let done = child.wait4()?;
        if done.status.code() != Some(code) {
            return Err(io::Error::other(format!("{:?}: {}", commands[place], done.status)));
        }
        let cpu = done.rusage.utime + done.rusage.stime;
        programs[place] = Some(Program { cpu, memory: done.rusage.maxrss });
    }
    Ok(Usage { wall: begun.elapsed(), programs: programs.into_iter().flatten().collect() })
}

/// The middle one of some values.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}
