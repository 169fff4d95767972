//! The end of a run: what the profile wants done when everything is in the table, the summary, the exit code.

use std::time::Duration;

use checkpoint::Counts;
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
    let failed = || pg::Error::on("the profile's `on_complete` failed");
    retry.run(|| {
        let mut client = settings.connect()?;
        let mut transaction = client.transaction().map_err(failed())?;
        for statement in statements {
            transaction.batch_execute(statement).map_err(failed())?;
        }
        transaction.commit().map_err(failed())
    })?;
    info!("Ran the profile's {} statement(s) for completion", statements.len());
    Ok(())
}

/// The ledger in one line: `1,000 records = 250 rows written + 748 merged + 0 filtered out + 2 rejected`.
pub(crate) fn sum(counts: &Counts) -> String {
    let Counts { records, written, merged, filtered, rejected, dropped } = *counts;
    let dropped = if dropped > 0 { format!(" + {} dropped", grouped(dropped)) } else { String::new() };
    format!(
        "{} records = {} rows written + {} merged + {} filtered out + {} rejected{dropped}",
        grouped(records),
        grouped(written),
        grouped(merged),
        grouped(filtered),
        grouped(rejected),
    )
}

/// The last line of a run that is complete.
pub(crate) fn summary(files: u64, counts: &Counts, elapsed: Duration) -> String {
    format!("COMPLETED: {} files, {}, in {}", grouped(files), sum(counts), time(elapsed))
}

/// How a program ends whose work is finished.
pub(crate) fn exit(failed: u64, counts: &Counts) -> Exit {
    if failed > 0 || counts.rejected > 0 { Exit::Incomplete } else { Exit::Done }
}
