//! The fault laboratory: it runs the real programs against a real PostgreSQL and a real S3 server, breaks something at an
//! instant that a seed decides, runs `migrate run` again until the work is complete, and compares the table, the rejects
//! and the ledger with those of an undisturbed run.
//!
//! Seed N takes the Nth fault (and begins again after the last), so that as many seeds as there are faults try all of
//! them. The programs reach the server directly or through `pgbouncer`, as the seed or `--via` says. A seed that fails is
//! printed, with the command that tries it again.

mod collection;
mod experiment;
mod fault;
mod front;
mod instant;
mod outcome;
mod way;
mod wire;
mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use clap::Parser;
use harness::postgres::Server;

use crate::collection::Collection;
use crate::experiment::{Experiment, Reference, Report};
use crate::fault::{FAULTS, Fault};
use crate::outcome::Difference;
use crate::way::{Route, Via};

/// Breaks runs and looks whether anything is lost, doubled or wrong afterwards.
#[derive(Parser)]
struct Args {
    /// How many seeds; without it one for each fault.
    #[arg(long)]
    seeds: Option<u64>,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// This one alone.
    #[arg(long, conflicts_with_all = ["seeds", "first"])]
    seed: Option<u64>,
    /// Only faults with this in their name; seeds of others are left out.
    #[arg(long)]
    fault: Option<String>,
    /// What is between the programs and PostgreSQL. Each seed is tried with each of these; without it, the seed chooses
    /// one.
    #[arg(long, value_delimiter = ',')]
    via: Vec<Via>,
    /// Prints what the runs said, of seeds that go well too.
    #[arg(long)]
    show: bool,
    /// How many at the same time.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
}

/// What was seen of one fault.
#[derive(Default)]
struct Tried {
    seeds: u64,
    injected: u64,
    difference: Difference,
    failed: u64,
}

impl Tried {
    fn add(&mut self, other: &Self) {
        self.seeds += other.seeds;
        self.injected += other.injected;
        self.difference.lost += other.difference.lost;
        self.difference.doubled += other.difference.doubled;
        self.difference.wrong += other.difference.wrong;
        self.failed += other.failed;
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let faults: Vec<&Fault> = FAULTS.iter().copied().flatten().collect();
    let (first, seeds) = match args.seed {
        Some(seed) => (seed, 1),
        None => (args.first, args.seeds.unwrap_or(faults.len() as u64)),
    };
    // Without a choice of ours there is one experiment for each seed.
    let ways: Vec<Option<Via>> =
        if args.via.is_empty() { vec![None] } else { args.via.iter().copied().map(Some).collect() };
    let ways_count = ways.len() as u64;
    let next = AtomicU64::new(0);
    let tried = Mutex::new(BTreeMap::<(&str, Via), Tried>::new());
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..args.jobs {
            scope.spawn(|| {
                let server = Server::start();
                let references =
                    [Reference::of(Collection::pictures(), &server), Reference::of(Collection::orders(), &server)];
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= seeds * ways_count {
                        return;
                    }
                    let seed = first + number / ways_count;
                    let route = Route::of(seed, ways[usize::try_from(number % ways_count).unwrap_or_default()]);
                    let fault = faults[usize::try_from((seed - 1) % faults.len() as u64).unwrap_or_default()];
                    if args.fault.as_ref().is_some_and(|wanted| !fault.name.contains(wanted.as_str())) {
                        continue;
                    }
                    let begun = Instant::now();
                    let report = catch_unwind(AssertUnwindSafe(|| {
                        Experiment::conduct(fault, seed, route, &references, &server)
                    }));
                    let mut tried = lock(&tried);
                    let entry = tried.entry((fault.name, route.via)).or_default();
                    entry.seeds += 1;
                    let complaints = if let Ok(report) = report {
                        tell(seed, fault, &report, begun);
                        if args.show || !report.complaints.is_empty() {
                            println!("{}", report.said.join(""));
                        }
                        entry.injected += report.injected;
                        entry.difference.lost += report.difference.lost;
                        entry.difference.doubled += report.difference.doubled;
                        entry.difference.wrong += report.difference.wrong;
                        report.complaints
                    } else {
                        vec!["FAILED: the laboratory itself (see above)".to_owned()]
                    };
                    if complaints.is_empty() {
                        continue;
                    }
                    entry.failed += 1;
                    let name = fault.name;
                    println!("again by: laboratory --seed {seed} --via {}", route.via);
                    let why = complaints.into_iter().map(|why| format!("seed {seed}: {name}: {route}: {why}"));
                    lock(&failures).extend(why);
                }
            });
        }
    });
    let tried = tried.into_inner().unwrap_or_else(PoisonError::into_inner);
    let all_is_well = summary(&tried);
    // Once more at the very end, where somebody who has only the end of a log finds it.
    for why in failures.into_inner().unwrap_or_else(PoisonError::into_inner) {
        println!("{why}");
    }
    if all_is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A line for each seed, and everything about one that failed.
fn tell(seed: u64, fault: &Fault, report: &Report, begun: Instant) {
    let Report { story, skipped, complaints, .. } = report;
    let name = fault.name;
    let seconds = begun.elapsed().as_secs_f64();
    if let Some(why) = skipped {
        println!("seed {seed}: {name}: not tried: {why}");
    } else if complaints.is_empty() {
        println!("seed {seed}: {name}: {story}: well, {seconds:.1} s");
    } else {
        println!("seed {seed}: {name}: {story}: FAILED, {seconds:.1} s\n{}", complaints.join("\n"));
    }
}

/// The table of all faults, summed up over the ways to PostgreSQL and over the faults; whether all is well.
fn summary(tried: &BTreeMap<(&str, Via), Tried>) -> bool {
    println!(
        "\n{:<52} {:>5} {:>8} {:>5} {:>7} {:>5} {:>6}",
        "fault", "seeds", "injected", "lost", "doubled", "wrong", "failed"
    );
    let mut lines = BTreeMap::<&str, Tried>::new();
    let mut ways = BTreeMap::<Via, Tried>::new();
    let mut all = Tried::default();
    for ((name, via), tried) in tried {
        lines.entry(name).or_default().add(tried);
        ways.entry(*via).or_default().add(tried);
        all.add(tried);
    }
    let line = |name: &str, tried: &Tried| {
        let Tried { seeds, injected, difference, failed } = tried;
        let Difference { lost, doubled, wrong } = difference;
        println!("{name:<52} {seeds:>5} {injected:>8} {lost:>5} {doubled:>7} {wrong:>5} {failed:>6}");
    };
    for (name, tried) in &lines {
        line(name, tried);
    }
    for (via, tried) in &ways {
        line(&format!("all, {via}"), tried);
    }
    line("all", &all);
    all.failed == 0
}
