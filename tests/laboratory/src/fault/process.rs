//! Programs that are killed, and runs that are asked to stop.

use std::process::{Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use super::Fault;
use crate::experiment::Experiment;
use crate::instant::{Fate, Instant};
use crate::world::kill;

/// Exit codes of a run that was asked to stop: it stopped, or it was over before.
const STOPPED: [i32; 2] = [75, 1];

/// And of one that was asked twice.
const STOPPED_AT_ONCE: [i32; 5] = [75, 1, 130, 137, 143];

pub(super) const FAULTS: &[Fault] = &[
    Fault::new("kill -9 of ddb-list", |e| {
        let folder = e.world.folder();
        e.arm(Instant::Connect, 1, move || killed(&folder, &["ddb-list"]));
        e.run();
    }),
    Fault::new("kill -9 of ddb-cat", |e| again_and_again(e, &["ddb-cat"])),
    Fault::new("kill -9 of ddb-parse", |e| again_and_again(e, &["ddb-parse"])),
    Fault::new("kill -9 of pg-upsert", |e| again_and_again(e, &["pg-upsert"])),
    Fault::new("kill -9 of every process", |e| again_and_again(e, &[])),
    Fault::new("SIGTERM", |e| signal(e, "TERM", 1)),
    Fault::new("SIGTERM twice", |e| signal(e, "TERM", 2)),
    Fault::new("SIGINT", |e| signal(e, "INT", 1)),
    Fault::new("SIGINT twice", |e| signal(e, "INT", 2)),
    Fault::new("the terminal closes", terminal_closes),
    Fault::new("migrate stop", |e| {
        // The bookmark is watched in the foreground only.
        let (instant, number) = e.anywhere_that_waits();
        stop(e, instant, number);
    }),
    Fault::new("migrate stop while it is finishing", |e| {
        let number = e.number(Instant::Committed, 0.9..1.0);
        stop(e, Instant::Committed, number);
    }),
];

/// Of the programs that only look after the pipeline.
pub(super) const BESIDE_THE_PIPELINE: &[Fault] = &[
    Fault::new("kill -9 of migrate", |e| {
        let (folder, mut second) = (e.world.folder(), e.world.migrate(&["run"]));
        let (sender, refused) = channel();
        // The bookmark is open there.
        let instant = [Instant::Copied, Instant::Merged, Instant::Committed][e.rng.usize(0..3)];
        let number = e.number(instant, 0.0..1.0);
        e.arm(instant, number, move || {
            // To the kernel it is a bash, as are its subshells; what they have started goes on without them, to its end.
            kill(&folder, &["bash"], "KILL");
            drop(sender.send(second.output()));
            Fate::Pass
        });
        e.run();
        e.wait_for_end();
        e.injected += e.world.instants.disarm();
        if let Ok(second) = refused.recv() {
            let second = second.expect("migrate runs");
            let said = String::from_utf8_lossy(&second.stderr).into_owned();
            let right = second.status.code() == Some(2) && said.contains("is in use by another process");
            e.check(right, || format!("the second run: {:?} {said}", second.status));
        }
    }),
    Fault::new("kill -9 of migrate-monitor", |e| {
        let folder = e.world.folder();
        e.arm_anywhere(move || killed(&folder, &["migrate-monitor"]));
        let ended = e.run();
        e.expect(&ended, &[1], " COMPLETED: ");
    }),
];

fn killed(folder: &std::path::Path, programs: &[&str]) -> Fate {
    kill(folder, programs, "KILL");
    Fate::Pass
}

/// Kills these programs, or every one, in some runs one after the other.
fn again_and_again(e: &mut Experiment, programs: &'static [&'static str]) {
    for _ in 0..e.rng.u32(1..=3) {
        let folder = e.world.folder();
        let (instant, number) = match programs {
            // It has read everything long before the rest is written.
            ["ddb-cat"] => (Instant::Body, e.number(Instant::Body, 0.0..1.0)),
            _ => e.anywhere(),
        };
        e.arm(instant, number, move || killed(&folder, programs));
        e.run();
        e.wait_for_end();
        if e.is_complete() {
            return;
        }
    }
}

fn signal(e: &mut Experiment, signal: &'static str, times: u32) {
    for _ in 0..times {
        let pid = e.world.file("pid");
        e.arm_anywhere(move || {
            // Without a pid file the run has not begun, or is over.
            let pid = std::fs::read_to_string(pid).unwrap_or_default();
            if let Some(pid) = pid.split_whitespace().next() {
                drop(Command::new("kill").args(["-s", signal, pid]).stderr(Stdio::null()).status());
            }
            Fate::Pass
        });
    }
    let ended = e.run();
    e.expect(&ended, if times > 1 { &STOPPED_AT_ONCE } else { &STOPPED }, "");
}

/// The run is at a terminal of its own, which disappears.
fn terminal_closes(e: &mut Experiment) {
    let migrate = e.world.run_command();
    let line: Vec<_> = std::iter::once(migrate.get_program()).chain(migrate.get_args()).collect();
    let line: Vec<_> = line.iter().map(|word| format!("'{}'", word.to_string_lossy())).collect();
    let mut terminal = Command::new("script");
    terminal.args(["-qefc", &format!("exec {}", line.join(" ")), "/dev/null"]);
    terminal.env_clear().envs(migrate.get_envs().filter_map(|(name, value)| Some((name, value?))));
    terminal.current_dir(e.world.dir.path()).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let folder = e.world.folder();
    e.arm_anywhere(move || killed(&folder, &["script"]));
    let terminal = terminal.spawn().expect("script runs");
    let code = e.world.end_of(terminal).code;
    e.wait_for_end();
    e.tell(format!("the terminal ended with {code}"));
    let ended = e.background_end();
    e.expect(&ended, &STOPPED, "");
    e.heard(ended);
}

/// Starts a run in the background and stops it at that instant.
fn stop(e: &mut Experiment, instant: Instant, number: u64) {
    let mut stop = e.world.migrate(&["stop"]);
    let (sender, stopped): (Sender<_>, _) = channel();
    e.arm(instant, number, move || {
        // It waits for the end of the run, which waits for this.
        thread::spawn(move || sender.send(stop.output()));
        Fate::Pass
    });
    let mut start = e.world.run_command();
    let arguments: Vec<_> =
        start.get_args().map(|word| if word == "run" { "start".into() } else { word.to_owned() }).collect();
    let mut again = e.world.migrate(&[]);
    again.args(&arguments[4..]);
    start = again;
    let started = start.output().expect("migrate runs");
    e.check(started.status.success(), || format!("start: {started:?}"));
    e.wait_for_end();
    // Without a stop the sender is gone with what was armed.
    e.injected += e.world.instants.disarm();
    if let Ok(stopped) = stopped.recv() {
        let stopped = stopped.expect("migrate runs");
        e.check(stopped.status.success(), || format!("stop: {stopped:?}"));
    }
    let ended = e.background_end();
    e.expect(&ended, &STOPPED, "");
    e.heard(ended);
}
