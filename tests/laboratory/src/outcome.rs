//! What a load comes to: the table, the rejects and the ledger, and how two of them differ.

use std::collections::BTreeMap;
use std::fmt;

use harness::Dir;
use harness::postgres::Postgres;

use crate::collection::Collection;

/// What is there after a load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Each row without the times of the load, by key.
    rows: BTreeMap<String, String>,
    /// Each reject's file, records, stage and SQLSTATE, with how often it is there.
    rejects: BTreeMap<String, u32>,
    /// What became of the records, as the last line of the run says it.
    ledger: Ledger,
}

/// The sums of a run. How many records began a row and how many were merged into one depends on the batches; their sum
/// does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ledger {
    records: u64,
    kept: u64,
    filtered: u64,
    rejected: u64,
    /// Of a complete run nothing waits, so there is no sum of that.
    suppressed: u64,
}

/// How an outcome differs from the one that ought to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Rows or rejects that are not there.
    pub lost: usize,
    /// Rejects that are there twice.
    pub doubled: usize,
    /// Rows that are other than they ought to be or ought not to be there, and sums that are off.
    pub wrong: usize,
}

impl Outcome {
    /// What a run in the folder has left.
    pub fn of(collection: &Collection, dir: &Dir, postgres: &Postgres) -> Self {
        let Collection { name, key, clock, .. } = collection;
        let clock = clock.join(",");
        // Psql ends a row by a newline, which no jsonb has.
        let rows = postgres
            .query(&format!(r#"select "{key}"::text, (to_jsonb(t) - '{{{clock}}}'::text[])::text from {name} t"#));
        let rows = rows.lines().filter_map(|row| row.split_once('|'));
        let rows = rows.map(|(key, row)| (key.to_owned(), row.to_owned())).collect();

        let mut rejects = BTreeMap::new();
        let file = format!("migrate-{name}.rejects.jsonl");
        if dir.has(&file) {
            for line in dir.read(&file).lines() {
                *rejects.entry(place(line)).or_insert(0) += 1;
            }
        }
        let log = dir.read(&format!("migrate-{name}.log"));
        let last = log.lines().rev().find(|line| line.contains(" COMPLETED: ")).unwrap_or_default();
        Self { rows, rejects, ledger: Ledger::of(last) }
    }

    /// How many rows, and how many records were rejected.
    pub fn size(&self) -> (usize, usize) {
        (self.rows.len(), self.rejects.values().map(|&count| count as usize).sum())
    }

    /// How this differs from what ought to be.
    pub fn against(&self, expected: &Self) -> Difference {
        let missing = |key: &&String| !self.rows.contains_key(*key);
        let lost_rejects = expected.rejects.keys().filter(|place| !self.rejects.contains_key(*place));
        let same = |(key, row): &(&String, &String)| expected.rows.get(*key) == Some(*row);
        let strange_rejects = self.rejects.keys().filter(|place| !expected.rejects.contains_key(*place));
        Difference {
            lost: expected.rows.keys().filter(missing).count() + lost_rejects.count(),
            doubled: self.rejects.values().filter(|&&count| count > 1).count(),
            wrong: self.rows.iter().filter(|row| !same(row)).count()
                + strange_rejects.count()
                + usize::from(self.ledger != expected.ledger),
        }
    }

    /// The first things that differ, for a person to read.
    pub fn explain(&self, expected: &Self) -> String {
        let mut text = String::new();
        let mut say = |line: String| text = format!("{text}  {line}\n");
        if self.ledger != expected.ledger {
            say(format!("ledger {:?}, expected {:?}", self.ledger, expected.ledger));
        }
        let differ = expected.rows.iter().filter(|(key, row)| self.rows.get(*key) != Some(*row));
        for (key, row) in differ.take(3) {
            say(format!("row {key}\n    is       {:?}\n    expected {row}", self.rows.get(key)));
        }
        for key in self.rows.keys().filter(|key| !expected.rows.contains_key(*key)).take(3) {
            say(format!("row {key} ought not to be there"));
        }
        let places = self.rejects.keys().chain(expected.rejects.keys());
        let count = |outcome: &Self, place: &String| outcome.rejects.get(place).copied().unwrap_or(0);
        let off: std::collections::BTreeSet<_> =
            places.filter(|place| count(self, place) != count(expected, place)).collect();
        for place in off.into_iter().take(5) {
            say(format!("reject {place}: {} times, expected {}", count(self, place), count(expected, place)));
        }
        text
    }
}

impl Ledger {
    /// `COMPLETED: 5 files, 1,000 records = 250 rows written + 748 merged + 0 filtered out + 2 rejected, in 3s`, with
    /// ` + 1 suppressed` if there are any.
    fn of(line: &str) -> Self {
        let line = line.split_once("files, ").map_or("", |(_, rest)| rest).replace(',', "");
        let numbers: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [records, written, merged, filtered, rejected, ..] = numbers[..] else { return Self::default() };
        let suppressed = line.split_once(" suppressed").and_then(|(before, _)| before.rsplit(' ').next()?.parse().ok());
        Self { records, kept: written + merged, filtered, rejected, suppressed: suppressed.unwrap_or_default() }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} lost, {} doubled, {} wrong", self.lost, self.doubled, self.wrong)
    }
}

/// Where a reject came from: everything of its line but what was said and when.
fn place(line: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    let file = value["key"].as_str().and_then(|key| key.rsplit('/').next()).unwrap_or("none");
    format!("{file} {} {} {}", value["records"], value["stage"], value["sqlstate"])
}
