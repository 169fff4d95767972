//! The end of a run: what the profile wants done when everything is in the table, the summary, the exit code.

use std::collections::BTreeMap;
use std::time::Duration;

use checkpoint::{Counts, TableCounts};
use cli::Retry;
use fault::{Exit, Failure};
use pg::Settings;
use tracing::info;

use cli::progress::{grouped, time};

/// Runs the profile's statements in one transaction.
pub(crate) fn on_complete(settings: &Settings, retry: &Retry, statements: &[String]) -> Result<(), Failure> {
    if statements.is_empty() {
        return Ok(());
    }
    let failed = || {
        |error: postgres::Error| {
            let error = pg::Error::of("the profile's `on_complete` failed", &error);
            // After a crash between its commit and the end of the bookmark it runs a second time.
            match error.sqlstate() {
                Some("42P07" | "42710") => error.with_hint("let it run twice: `create index if not exists`"),
                _ => error,
            }
        }
    };
    retry.run(|| {
        settings.unless_late(retry.stop(), &mut settings.connect()?, |client| {
            let mut transaction = settings.begin_as_role(client).map_err(failed())?;
            for statement in statements {
                transaction.batch_execute(statement).map_err(failed())?;
            }
            transaction.commit().map_err(failed())
        })
    })?;
    info!("Ran the profile's {} statement(s) for completion", statements.len());
    Ok(())
}

/// The ledger in one line: `1,000 records = 250 rows written + 748 merged + 0 filtered out + 2 rejected`, and of several
/// tables `1,000 records = 998 taken + 0 filtered out + 2 rejected; orders: 998 = 250 rows written + ...; lines: ...`.
pub(crate) fn sum(counts: &Counts, tables: &BTreeMap<String, TableCounts>) -> String {
    let Counts { records, written, merged, filtered, rejected, dropped } = *counts;
    let some = |count: u64, what: &str| if count > 0 { format!(" + {} {what}", grouped(count)) } else { String::new() };
    if tables.is_empty() {
        return format!(
            "{} records = {} rows written + {} merged + {} filtered out + {} rejected{}",
            grouped(records),
            grouped(written),
            grouped(merged),
            grouped(filtered),
            grouped(rejected),
            some(dropped, "dropped"),
        );
    }
    let rejected = rejected.saturating_sub(tables.values().map(|table| table.rejected).sum());
    let taken = records.saturating_sub(filtered + rejected);
    let mut text = format!(
        "{} records = {} taken + {} filtered out + {} rejected",
        grouped(records),
        grouped(taken),
        grouped(filtered),
        grouped(rejected),
    );
    let of_table = |(name, counts): (&String, &TableCounts)| {
        let TableCounts { taken, written, merged, rejected, deleted, dropped } = *counts;
        format!(
            "; {name}: {} = {} rows written + {} merged + {} rejected{}{}",
            grouped(taken),
            grouped(written),
            grouped(merged),
            grouped(rejected),
            some(deleted, "deleted"),
            some(dropped, "dropped"),
        )
    };
    text.extend(tables.iter().map(of_table));
    text
}

/// The last line of a run that is complete.
pub(crate) fn summary(files: u64, sum: &str, elapsed: Duration) -> String {
    format!("COMPLETED: {} files, {sum}, in {}", grouped(files), time(elapsed))
}

/// How a program ends whose work is finished.
pub(crate) fn exit(failed: u64, counts: &Counts) -> Exit {
    if failed > 0 || counts.rejected > 0 { Exit::Incomplete } else { Exit::Done }
}
