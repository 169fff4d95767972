//! One seed: a world, a fault in it, and the runs until the work is complete.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};
use std::sync::Arc;

use fastrand::Rng;
use harness::postgres::Server;

use crate::collection::Collection;
use crate::fault::Fault;
use crate::instant::{Fate, Instant};
use crate::outcome::{Difference, Outcome};
use crate::way::Route;
use crate::world::{Ended, World, processes};

/// How often a run is begun again before the work counts as not completed.
const RUNS: usize = 6;

/// The exit codes that a run may have, but for those of signals.
const CODES: [i32; 7] = [0, 1, 2, 65, 69, 74, 75];

/// The instants at which a process can die.
const ANYWHERE: [Instant; 8] = [
    Instant::Body,
    Instant::Copy,
    Instant::Copied,
    Instant::Merge,
    Instant::Merged,
    Instant::Commit,
    Instant::Committed,
    Instant::Noted,
];

/// An undisturbed load of a collection.
pub struct Reference {
    collection: Collection,
    outcome: Outcome,
    /// How often each instant comes in it.
    counts: Vec<(Instant, u64)>,
}

impl Reference {
    /// Loads it, and checks against what its maker counted.
    pub fn of(collection: Collection, server: &Arc<Server>) -> &'static Self {
        // They live as long as the program: threads of every experiment use them.
        let unfinished: &'static Collection = Box::leak(Box::new(collection));
        let world = World::new(unfinished, server, Route::DIRECT);
        world.instants.arm(Instant::Noted, u64::MAX, || Fate::Pass);
        let ended = world.run();
        assert_eq!(ended.code, 1, "an undisturbed run ends with its rejects:\n{}", ended.said);
        let outcome = world.outcome();
        assert_eq!(outcome.size(), (unfinished.rows(), unfinished.bad), "{}", ended.said);
        let counts = ANYWHERE.iter().map(|&instant| (instant, world.instants.count(instant))).collect();
        Box::leak(Box::new(Self { collection: unfinished.clone(), outcome, counts }))
    }
}

/// What came of a seed.
pub struct Report {
    /// What was done, in short.
    pub story: String,
    /// Whether the fault could be tried at all.
    pub skipped: Option<String>,
    /// How often something was injected.
    pub injected: u64,
    /// What differs in the end from an undisturbed run.
    pub difference: Difference,
    /// What is wrong besides.
    pub complaints: Vec<String>,
    /// What the runs said.
    pub said: Vec<String>,
}

/// What a fault does its work with.
pub struct Experiment {
    /// Where it happens.
    pub world: World,
    /// What the seed decides.
    pub rng: Rng,
    /// How often something was injected that no instant stands for.
    pub injected: u64,
    reference: &'static Reference,
    story: Vec<String>,
    said: Vec<String>,
    complaints: Vec<String>,
    skipped: Option<String>,
    is_complete: bool,
    cleaning: Vec<Box<dyn FnOnce()>>,
}

impl Experiment {
    /// Does what the seed says, to its end, with the programs on that route to the server.
    pub fn conduct(
        fault: &Fault,
        seed: u64,
        route: Route,
        references: &[&'static Reference],
        server: &Arc<Server>,
    ) -> Report {
        let mut rng = Rng::with_seed(seed);
        let choice = if fault.reorders { 0 } else { rng.usize(0..references.len()) };
        let reference = references[choice];
        let mut experiment = Self {
            world: World::new(&reference.collection, server, route),
            rng,
            injected: 0,
            reference,
            story: vec![reference.collection.name.to_owned(), route.to_string()],
            said: Vec::new(),
            complaints: Vec::new(),
            skipped: None,
            is_complete: false,
            cleaning: Vec::new(),
        };
        (fault.inject)(&mut experiment);
        experiment.finish()
    }

    fn finish(mut self) -> Report {
        self.injected += self.world.instants.disarm();
        self.world.front.mend();
        let mut difference = Difference::default();
        if self.skipped.is_none() {
            self.complete();
            let broken = self.world.instants.broken();
            self.check(broken == 0, || "the laboratory itself failed (see above)".to_owned());
            if self.is_complete {
                let outcome = self.world.outcome();
                difference = outcome.against(&self.reference.outcome);
                if difference != Difference::default() {
                    self.complaints.push(outcome.explain(&self.reference.outcome));
                }
            }
            let left = processes(&self.world.folder(), &[]);
            self.check(left.is_empty(), || format!("processes are left: {left:?}"));
            let pid = self.world.file("pid");
            self.check(!pid.exists(), || "a pid file is left".to_owned());
        }
        let Self { world, story, skipped, injected, complaints, mut said, cleaning, .. } = self;
        said.push(world.pooler_log());
        drop(world);
        cleaning.into_iter().rev().for_each(|clean| clean());
        Report { story: story.join(", "), skipped, injected, difference, complaints, said }
    }

    /// Runs until everything is done, if it is not done yet.
    fn complete(&mut self) {
        for _ in 0..RUNS {
            if self.is_complete {
                return;
            }
            self.run();
        }
        let complete = self.is_complete;
        self.check(complete, || format!("the work is not complete after {RUNS} more runs"));
    }

    /// One run, to its end.
    pub fn run(&mut self) -> Ended {
        let ended = self.world.run();
        self.heard(ended)
    }

    /// Takes note of how a run ended.
    pub fn heard(&mut self, ended: Ended) -> Ended {
        self.story.push(format!("exit {}", ended.code));
        self.said.push(format!("--- exit {}\n{}", ended.code, ended.said));
        self.look_whether_done_is_durable();
        self.is_complete = matches!(ended.code, 0 | 1) && ended.said.contains(" COMPLETED: ");
        let by_signal = ended.code > 128;
        self.check(by_signal || CODES.contains(&ended.code), || format!("exit code {}", ended.code));
        self.check(!ended.said.contains("panicked"), || "a program panicked".to_owned());
        let silent = ended.said.trim().is_empty();
        self.check(by_signal || !silent, || "a run ended without a word".to_owned());
        ended
    }

    /// Every row of a file that the bookmark says is done has to be in the table, whatever became of the run.
    fn look_whether_done_is_durable(&mut self) {
        let bookmark = fs::read_to_string(self.world.bookmark()).unwrap_or_default();
        let done: Vec<_> = bookmark.lines().filter(|line| line.starts_with("{\"done\"")).collect();
        let files = self.world.collection.keys.iter().enumerate();
        let files =
            files.filter(|(file, _)| done.iter().any(|line| line.contains(&format!("{:026}.json.gz", file + 1))));
        let keys: BTreeSet<_> = files.flat_map(|(_, keys)| keys).collect();
        if !keys.is_empty() {
            let there = self.world.keys();
            let missing = keys.iter().filter(|key| !there.contains(**key)).count();
            self.check(missing == 0, || format!("files are done, but {missing} of their rows are not in the table"));
        }
    }

    /// The run ended with one of these codes, and had this to say.
    pub fn expect(&mut self, ended: &Ended, codes: &[i32], words: &str) {
        let right = codes.contains(&ended.code) && ended.said.contains(words);
        self.check(right, || format!("exit {}, expected one of {codes:?} and the words `{words}`", ended.code));
    }

    /// Everything has to be loaded again, whatever was done.
    pub fn begin_again(&mut self) {
        self.is_complete = false;
    }

    /// Whether the last run has done everything that was left.
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Complains unless that holds.
    pub fn check(&mut self, holds: bool, complaint: impl FnOnce() -> String) {
        if !holds {
            self.complaints.push(complaint());
        }
    }

    /// The fault cannot be tried here.
    pub fn skip(&mut self, why: &str) {
        self.skipped = Some(why.to_owned());
    }

    /// Adds to the story.
    pub fn tell(&mut self, what: impl Into<String>) {
        self.story.push(what.into());
    }

    /// After the world is gone, does that; what was said last comes first.
    pub fn clean(&mut self, work: impl FnOnce() + 'static) {
        self.cleaning.push(Box::new(work));
    }

    /// Some instant of an undisturbed run at which a process can die, and its number.
    pub fn anywhere(&mut self) -> (Instant, u64) {
        let counts = self.reference.counts.iter().filter(|(_, count)| *count > 0);
        let counts: Vec<_> = counts.copied().collect();
        let (instant, count) = counts[self.rng.usize(0..counts.len())];
        (instant, self.rng.u64(1..=count))
    }

    /// The same, of those for which the run waits until what is done there is over: it is alive as long.
    pub fn anywhere_that_waits(&mut self) -> (Instant, u64) {
        match self.anywhere() {
            (Instant::Noted, _) => (Instant::Merged, self.number(Instant::Merged, 0.0..1.0)),
            anywhere => anywhere,
        }
    }

    /// The number of such an instant in the first or the last part of an undisturbed run: 0.0..1.0 is all of it.
    pub fn number(&mut self, instant: Instant, part: std::ops::Range<f64>) -> u64 {
        let count = self.reference.counts.iter().find(|(known, _)| *known == instant).map_or(1, |(_, count)| *count);
        #[expect(clippy::cast_precision_loss, reason = "counts are small")]
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of a count")]
        let at = |part: f64| (count as f64 * part) as u64;
        self.rng.u64(at(part.start)..=at(part.end).max(1)).clamp(1, count.max(1))
    }

    /// Does that once, at that instant.
    pub fn arm(&mut self, instant: Instant, number: u64, action: impl FnOnce() -> Fate + Send + 'static) {
        self.story.push(format!("at {instant} {number}"));
        self.world.instants.arm(instant, number, action);
    }

    /// Does that once at some instant at which a process can die.
    pub fn arm_anywhere(&mut self, action: impl FnOnce() -> Fate + Send + 'static) {
        let (instant, number) = self.anywhere();
        self.arm(instant, number, action);
    }

    /// Waits until no process of the run is left.
    pub fn wait_for_end(&self) {
        let folder = self.world.folder();
        while let Some(pid) = processes(&folder, &[]).first() {
            let tail =
                Command::new("tail").args([&format!("--pid={pid}"), "-f", "/dev/null"]).stdin(Stdio::null()).status();
            assert!(tail.is_ok(), "tail runs");
        }
    }

    /// How the last run ended that was started in the background.
    pub fn background_end(&self) -> Ended {
        let exit = fs::read_to_string(self.world.file("exit")).unwrap_or_default();
        let code = exit.split_whitespace().next().and_then(|code| code.parse().ok()).unwrap_or(-1);
        let said = fs::read_to_string(self.world.file("log")).unwrap_or_default();
        Ended { code, said }
    }
}
