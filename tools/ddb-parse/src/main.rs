//! `ddb-parse`: records of a DynamoDB export in, rows of the target table out.
//!
//! Here: which kind of output is asked for. Not here: whether a profile is right (`check`), what it makes of an item in
//! words (`explain`), what becomes of a line (`parse`), on which threads rows are made (`chunk`), how rows of one key are merged
//! (`window`, and `profile` for the rules), how rows are written (`output`), how an item is decoded (`item`).

mod args;
mod check;
mod chunk;
mod explain;
mod output;
mod parse;
mod window;

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;
use std::thread;

use cli::Stop;
use fault::{Exit, Failure, Fault, Problem};
use profile::{Options, Policy, Schema};
use stream::Writer;

use crate::args::{Args, Format};
use crate::output::{Csv, Items, Json, Plain, Rows};
use crate::parse::Parser;

fn main() -> ExitCode {
    cli::run(run)
}

/// A stop does not concern this program: it drains what the program before it still wrote, and ends with its input.
fn run(args: &Args, _: &Stop) -> Result<Exit, Failure> {
    let stdout = io::stdout().lock();
    let terminal = stdout.is_terminal();
    let (stdin, jobs) = (io::stdin().lock(), args.jobs.map_or_else(usual_jobs, usize::from));
    let Some(name) = &args.profile else {
        let writer = Writer::new(stdout, args.markers && !args.no_markers);
        return Parser::new(Items::default(), writer, args.encoding(), args.old_images).run(stdin, &Plain, jobs);
    };
    let profile = profile::load(name, Options { max_id: args.max_id })?;
    if args.check {
        return check::check(&profile, stdout);
    }
    if args.explain {
        return explain::explain(&profile, args.encoding(), args.old_images, stdin, stdout);
    }
    match args.to {
        Format::Json => {
            let writer = Writer::new(stdout, args.markers || !(args.no_markers || terminal));
            let several = profile.tables.len() > 1 && args.table.is_none();
            let format = |schema: &Schema| Json::new(schema, writer.markers(), several);
            // Where rows only replace each other the target does as well without.
            let rows = Rows::new(&profile, format, args.window, Schema::collects, args.table.as_deref())?;
            Parser::new(rows, writer, args.encoding(), args.old_images).run(stdin, &profile, jobs)
        }
        Format::Csv => {
            if profile.tables.len() > 1 && args.table.is_none() {
                let names = profile.schemas().map(Schema::name).collect::<Vec<_>>().join(", ");
                let message = format!("profile `{}` has several tables, but CSV holds rows of one", profile.name);
                return Err(Problem::new(Fault::Setup, message)
                    .with_hint(format!("--table says which: {names}"))
                    .into());
            }
            if let Some(column) =
                profile.schemas().flat_map(|schema| &schema.columns).find(|column| column.merge == Policy::Sql)
            {
                let message = format!("the column `{}` is merged by SQL, which CSV cannot say", column.name);
                return Err(Problem::new(Fault::Setup, message).with_hint("load it by pg-upsert").into());
            }
            let rows = Rows::new(&profile, |_| Csv, args.window, |_| true, args.table.as_deref())?;
            Parser::new(rows, Writer::new(stdout, false), args.encoding(), args.old_images).run(stdin, &profile, jobs)
        }
    }
}

/// More threads than a few wait for the one that writes.
fn usual_jobs() -> usize {
    thread::available_parallelism().map_or(1, |cores| cores.get().min(4))
}
