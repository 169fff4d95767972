//! The end of a run: what the profile wants done when everything is in the table, the summary, the exit code.

use std::collections::BTreeMap;
use std::time::Duration;

use checkpoint::{Counts, TableCounts};
use cli::Retry;
use fault::{Exit, Failure};
use pg::Settings;
use tracing::{info, warn};

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
/// Counts that few runs have stand in it only if they are not zero.
pub(crate) fn sum(counts: &Counts, tables: &BTreeMap<String, TableCounts>) -> String {
    let Counts { records, written, merged, filtered, rejected, suppressed, waiting, dropped } = *counts;
    let some = |count: u64, what: &str| if count > 0 { format!(" + {} {what}", grouped(count)) } else { String::new() };
    if tables.is_empty() {
        return format!(
            "{} records = {} rows written + {} merged + {} filtered out + {} rejected{}{}{}",
            grouped(records),
            grouped(written),
            grouped(merged),
            grouped(filtered),
            grouped(rejected),
            some(suppressed, "suppressed"),
            some(waiting, "waiting"),
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
        let TableCounts { taken, written, merged, rejected, suppressed, waiting, deleted, dropped } = *counts;
        format!(
            "; {name}: {} = {} rows written + {} merged + {} rejected{}{}{}{}",
            grouped(taken),
            grouped(written),
            grouped(merged),
            grouped(rejected),
            some(suppressed, "suppressed"),
            some(waiting, "waiting"),
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
    if failed > 0 || counts.rejected > 0 || counts.suppressed > 0 { Exit::Incomplete } else { Exit::Done }
}

/// Says once, at the end of a run, that rows are not in the table although the server took them.
pub(crate) fn warn_of_suppressed(counts: &Counts) {
    if counts.suppressed > 0 {
        warn!(
            "{} rows were suppressed by a trigger or rule of the table: they are not in it",
            grouped(counts.suppressed)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_names_suppressed_and_waiting_rows_only_if_there_are_any() {
        let counts = Counts { records: 9, written: 9, ..Counts::default() };
        assert_eq!(
            sum(&counts, &BTreeMap::new()),
            "9 records = 9 rows written + 0 merged + 0 filtered out + 0 rejected"
        );
        let counts = Counts { records: 2_009, suppressed: 1_200, waiting: 800, ..counts };
        assert_eq!(
            sum(&counts, &BTreeMap::new()),
            "2,009 records = 9 rows written + 0 merged + 0 filtered out + 0 rejected + 1,200 suppressed + 800 waiting"
        );
        let table = TableCounts { taken: 2_009, written: 9, suppressed: 1_200, waiting: 800, ..TableCounts::default() };
        assert_eq!(
            sum(&counts, &[("t".to_owned(), table)].into()),
            "2,009 records = 2,009 taken + 0 filtered out + 0 rejected; \
             t: 2,009 = 9 rows written + 0 merged + 0 rejected + 1,200 suppressed + 800 waiting"
        );
    }

    #[test]
    fn suppressed_rows_are_no_success() {
        assert_eq!(exit(0, &Counts { written: 1, ..Counts::default() }), Exit::Done);
        assert_eq!(exit(0, &Counts { written: 1, suppressed: 1, ..Counts::default() }), Exit::Incomplete);
    }
}
