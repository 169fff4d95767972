//! Benchmarks: seeded exports through the real programs, from a real S3 into a real PostgreSQL with its default settings,
//! against what one would do without them. `scripts/bench` builds everything and runs this.
//!
//! Everything that is compared is measured in turns, and medians are compared: this machine's speed may be another an hour
//! later, ratios hold.

mod cases;
mod collection;
mod measure;
mod report;
mod world;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::collection::Make;

/// Measures ddb-pipe against `psql \copy` of ready-made rows, and its programs one by one.
#[derive(Parser)]
struct Args {
    /// Fewer items and turns, in less than three minutes.
    #[arg(long)]
    quick: bool,
    /// Items of the large collections.
    #[arg(long)]
    items: Option<usize>,
    /// How often everything is measured.
    #[arg(long)]
    rounds: Option<usize>,
    /// Decides what is in the collections.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only parts with this in their name.
    #[arg(long)]
    only: Option<String>,
    /// Writes an array of `{name, value, goal, ok}`.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The folder of the programs.
    #[arg(long, value_name = "FOLDER", default_value = "target/release")]
    programs: PathBuf,
    /// The folder for collections, which are kept, and logs.
    #[arg(long, value_name = "FOLDER", default_value = "target/bench")]
    data: PathBuf,
    /// Runs the programs over small collections, and measures nothing.
    #[arg(long)]
    train: bool,
    /// Makes a collection in that folder, and nothing else.
    #[arg(long, value_name = "JSON", hide = true)]
    make: Option<String>,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(missed) => {
            println!("\n{missed} goals were missed.");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(args: &Args) -> io::Result<usize> {
    if let Some(make) = &args.make {
        serde_json::from_str::<Make>(make)?.make(&args.data)?;
        return Ok(0);
    }
    if args.train {
        cases::train(args.seed, &args.programs, &args.data)?;
        return Ok(0);
    }
    let (items, rounds) = if args.quick { (100_000, 3) } else { (1_000_000, 5) };
    let size = cases::Size {
        items: args.items.unwrap_or(items),
        rounds: args.rounds.unwrap_or(rounds),
        seed: args.seed,
        long: !args.quick,
    };
    let report = cases::measure(size, args.only.as_deref(), &args.programs, &args.data)?;
    if let Some(path) = &args.json {
        report.write(path)?;
    }
    Ok(report.missed())
}
