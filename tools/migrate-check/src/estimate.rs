//! How long a run may take and how much it writes. The figures are measured, and no promise: the README, "How fast", says
//! on what.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::database::Target;
use crate::source::{Sample, Work};

/// Items a second into an empty table: `orders` of the README, "How fast".
const INTO_EMPTY: u64 = 160_000;

/// The same where the table has rows of the same keys.
const INTO_FULL: u64 = 90_000;

/// Of 100 bytes of unzipped records so many are in the table with its key: `orders`, 14 columns (`pictures`: 55).
const TABLE_PERCENT: u64 = 75;

/// The same of the WAL of a load into an empty table, and of one that meets every row again.
const WAL_PERCENT: [u64; 2] = [82, 116];

/// What a run may come to. Nothing is said where the export does not say how many items it has.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Estimate {
    /// Items a second.
    pub(crate) rate: u64,
    /// Whether the rate is that of the last run, and not one that was measured elsewhere.
    pub(crate) from_last_run: bool,
    pub(crate) seconds: Option<u64>,
    /// Of records, unzipped.
    pub(crate) record_bytes: Option<u64>,
    /// That tables and their key's index take.
    pub(crate) table_bytes: Option<u64>,
    pub(crate) wal_bytes: Option<u64>,
}

/// Estimates from what is known. `log` is the text of the run's log.
pub(crate) fn of(work: &Work, sample: Option<Sample>, targets: &[Target], log: Option<&str>) -> Estimate {
    let empty = targets.iter().all(|target| match target {
        Target::Missing { .. } => true,
        Target::There(there) => there.empty,
    });
    let last = log.and_then(rate);
    let rate = last.unwrap_or(if empty { INTO_EMPTY } else { INTO_FULL });
    let items = work.items_left();
    let record_bytes = items.zip(sample).and_then(|(items, Sample { records, bytes })| {
        let each = bytes.checked_div(records)?;
        Some(items.saturating_mul(each))
    });
    let percent = |percent: u64| record_bytes.map(|bytes| bytes / 100 * percent);
    Estimate {
        rate,
        from_last_run: last.is_some(),
        seconds: items.map(|items| items / rate),
        record_bytes,
        table_bytes: percent(TABLE_PERCENT),
        wal_bytes: percent(WAL_PERCENT[usize::from(!empty)]),
    }
}

/// Items a second of the last run that a log has and that took ten seconds at least: between its first and its last batch.
fn rate(log: &str) -> Option<u64> {
    let (mut first, mut last, mut records): (Option<Timestamp>, _, u64) = (None, None, 0);
    let mut rates = Vec::new();
    let mut end = |first: &mut Option<Timestamp>, last: Option<Timestamp>, records: &mut u64| {
        if let (Some(first), Some(last)) = (first.take(), last) {
            let took = u64::try_from(last.duration_since(first).as_secs()).unwrap_or_default();
            rates.extend((took >= 10).then(|| *records / took).filter(|rate| *rate > 0));
        }
        *records = 0;
    };
    for line in log.lines() {
        if line.contains("] Starting migration of ") {
            end(&mut first, last, &mut records);
        }
        let Some((time, count)) = batch(line) else { continue };
        // The rows of the first batch were made before it was noted.
        if first.is_none() {
            first = Some(time);
        } else {
            records += count;
        }
        last = Some(time);
    }
    end(&mut first, last, &mut records);
    rates.last().copied()
}

/// Time and records of a line `... INFO [pictures] Inserted 50,000 records (batch 3) in 2s`.
fn batch(line: &str) -> Option<(Timestamp, u64)> {
    let (head, rest) = line.split_once("] Inserted ")?;
    let time = head.split(' ').next()?.parse().ok()?;
    let digits = rest.split_once(" records (batch ")?.0.replace(',', "");
    Some((time, digits.parse().ok()?))
}

impl Estimate {
    /// How long it may take.
    pub(crate) fn time(&self) -> Option<Duration> {
        self.seconds.map(Duration::from_secs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_run_that_took_its_time() {
        let log = "\
2024-01-15T10:30:00.000Z INFO [p] Starting migration of s3://b/: 1 files
2024-01-15T10:30:01.000Z INFO [p] Inserted 50,000 records (batch 1) in 1s
2024-01-15T10:30:21.000Z INFO [p] Inserted 1,000,000 records (batch 2) in 2s
2024-01-15T10:31:00.000Z INFO [p] Starting migration of s3://b/: 1 files
2024-01-15T10:31:01.000Z INFO [p] Inserted 7 records (batch 1) in 9ms
2024-01-15T10:31:02.000Z INFO [p] Inserted 7 records (batch 2) in 9ms
";
        // By hand: a million in 20 s; the second run is too short to tell.
        assert_eq!(rate(log), Some(50_000));
        assert_eq!(rate(""), None);
        assert_eq!(rate("nonsense\n] Inserted x records (batch 1)\n"), None);
    }
}
