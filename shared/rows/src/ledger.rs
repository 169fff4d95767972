//! The sum that must hold for each file: records read = rows written + records merged into another row + filtered out +
//! rejected + suppressed + waiting (+ dropped on purpose). A file whose sum is off is failed.
//!
//! Where a record may be a row of several tables, or several rows of one, each table has a sum: times that a record was
//! made (part of) a row of it = rows written + merged into another row + rejected + suppressed + waiting (+ deleted).
//!
//! Rows that wait are settled at the end of a run, when their files are done: [`Ledger::settle`] moves their counts.
//!
//! Nothing here reads or writes: what was said about files goes in together with what became of their rows, and what the
//! bookmark has to say comes out.

use std::collections::BTreeMap;

use checkpoint::{Counts, Entry, Failed, FileCounts, TableCounts};
use stream::{Begin, End, Mark};

/// What became of records, after the commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Rows that are in the table, each with the first of its records.
    pub written: u64,
    /// Records that were merged into a row which another one had begun.
    pub merged: u64,
    /// Records that this program refused.
    pub rejected: u64,
    /// `$reject` lines of other programs.
    pub upstream: u64,
    /// Rows that are deleted, if they were there.
    pub deleted: u64,
    /// Records of rows that the server took and that a trigger or rule of the table suppressed: they are not in the table.
    pub suppressed: u64,
    /// Records of rows that are kept aside, because they refer to a row that the same run may load later.
    pub waiting: u64,
}

impl Tally {
    /// Adds what became of other records.
    pub fn add(&mut self, other: Self) {
        self.written += other.written;
        self.merged += other.merged;
        self.rejected += other.rejected;
        self.upstream += other.upstream;
        self.deleted += other.deleted;
        self.suppressed += other.suppressed;
        self.waiting += other.waiting;
    }

    /// All of them.
    fn records(&self) -> u64 {
        let &Self { written, merged, rejected, upstream, deleted, suppressed, waiting } = self;
        written + merged + rejected + upstream + deleted + suppressed + waiting
    }

    /// What stands in a sum only if it is not zero.
    fn rare(&self) -> String {
        let counts = [(self.suppressed, "suppressed"), (self.waiting, "waiting"), (self.deleted, "deleted")];
        let some = counts.into_iter().filter(|(count, _)| *count > 0);
        some.fold(String::new(), |text, (count, what)| format!("{text} + {count} {what}"))
    }
}

/// The file that the stream is in.
#[derive(Debug)]
struct Open {
    begin: Begin,
    /// What earlier runs wrote of it.
    base: FileCounts,
    /// For each table.
    since: Vec<Tally>,
    /// Records filtered out and dropped that are in the sums of this process.
    counted: (u64, u64),
    /// Records that are in the sums of this process, as far as is known.
    records: u64,
}

impl Open {
    fn since(&self) -> Tally {
        let mut sum = Tally::default();
        self.since.iter().for_each(|tally| sum.add(*tally));
        sum
    }
}

/// Files and their sums.
#[derive(Debug, Default)]
pub struct Ledger {
    lossy: bool,
    /// Whether earlier runs are known: without a bookmark, what is left out is the user's own matter.
    bookmark: bool,
    /// Names and sums of each.
    tables: Vec<(String, Tally)>,
    open: Option<Open>,
    /// The sums of this process, over everything that it wrote.
    run: Counts,
    failed: u64,
    limited: bool,
}

/// What is said about a file at a mark or its end.
struct Stand<'a> {
    records: u64,
    filtered: u64,
    rejected: u64,
    taken: &'a BTreeMap<String, u64>,
}

impl Ledger {
    /// An empty one. `lossy`: rows may be missing on purpose; `bookmark`: what earlier runs wrote is known.
    pub fn new(lossy: bool, bookmark: bool) -> Self {
        Self { lossy, bookmark, ..Self::default() }
    }

    /// Rows of a further table may come.
    pub fn add_table(&mut self, name: String) {
        self.tables.push((name, Tally::default()));
    }

    /// What this process wrote to each of several tables.
    pub fn run_by_table(&self) -> BTreeMap<String, TableCounts> {
        let told = self.tables.len() > 1 || self.tables.iter().any(|(_, tally)| tally.deleted > 0);
        let several = if told { self.tables.as_slice() } else { &[] };
        let counts = |tally: &Tally| {
            let &Tally { written, merged, rejected, deleted, suppressed, waiting, .. } = tally;
            let taken = tally.records() - tally.upstream;
            TableCounts { taken, written, merged, rejected, suppressed, waiting, deleted, dropped: 0 }
        };
        several.iter().map(|(name, tally)| (name.clone(), counts(tally))).collect()
    }

    /// The file that the stream is in, if any.
    pub fn open_file(&self) -> Option<&str> {
        self.open.as_ref().map(|open| open.begin.key.as_str())
    }

    /// Files that failed in this process.
    pub fn failed(&self) -> u64 {
        self.failed
    }

    /// Whether a file was cut on purpose, so that it is not done.
    pub fn limited(&self) -> bool {
        self.limited
    }

    /// What this process wrote.
    pub fn run(&self) -> Counts {
        self.run
    }

    /// What became of rows of the table in this place and the file that is open, or of rows that belong to none.
    pub fn rows(&mut self, table: usize, tally: Tally) {
        if let Some((_, sum)) = self.tables.get_mut(table) {
            sum.add(tally);
        }
        self.run.written += tally.written;
        self.run.merged += tally.merged;
        self.run.rejected += tally.rejected + tally.upstream;
        self.run.suppressed += tally.suppressed;
        self.run.waiting += tally.waiting;
        let records = tally.records();
        self.run.records += records;
        if let Some(open) = &mut self.open {
            open.records += records;
            if open.since.len() <= table {
                open.since.resize(table + 1, Tally::default());
            }
            open.since[table].add(tally);
        }
    }

    /// What became of rows of the table in this place that waited. Their file is done, or they belong to none; they may
    /// have waited since an earlier run.
    pub fn settle(&mut self, file: Option<&mut FileCounts>, table: usize, became: Tally) {
        let settled = became.records();
        let Tally { written, merged, rejected, deleted, suppressed, .. } = became;
        self.run.written += written;
        self.run.merged += merged;
        self.run.rejected += rejected;
        self.run.suppressed += suppressed;
        // What an earlier run kept aside is in the counts of its file only.
        self.run.waiting = self.run.waiting.saturating_sub(settled);
        let Some((name, sum)) = self.tables.get_mut(table) else { return };
        sum.waiting = sum.waiting.saturating_sub(settled);
        sum.add(became);
        let Some(file) = file else { return };
        file.written += written;
        file.merged += merged;
        file.rejected += rejected;
        file.suppressed += suppressed;
        file.waiting = file.waiting.saturating_sub(settled);
        if let Some(counts) = file.tables.get_mut(name) {
            counts.waiting = counts.waiting.saturating_sub(settled);
            counts.add(TableCounts { written, merged, rejected, suppressed, deleted, ..TableCounts::default() });
        }
    }

    /// A file begins; `noted` is what the bookmark has of it.
    pub fn begin(&mut self, begin: Begin, noted: Option<&FileCounts>) -> Option<Entry> {
        let before = self.open.take().map(|open| {
            let reason = format!("the stream went on to `{}` before the end of this file", begin.key);
            self.failure(open.begin.key, reason)
        });
        let fits = |noted: &&FileCounts| noted.records == begin.skip && noted.version == begin.version;
        let base = noted.filter(fits).cloned();
        let base = base.unwrap_or_else(|| FileCounts {
            key: begin.key.clone(),
            version: begin.version.clone(),
            records: if self.bookmark { 0 } else { begin.skip },
            ..FileCounts::default()
        });
        self.open = Some(Open { begin, base, since: Vec::new(), counted: (0, 0), records: 0 });
        before
    }

    /// All rows of the file's first records have come.
    pub fn mark(&mut self, mark: &Mark) -> Option<Entry> {
        let mut open = self.open.take_if(|open| open.begin.key == mark.key)?;
        let Mark { records, filtered, rejected, ref taken, .. } = *mark;
        match self.counts(&open, &Stand { records, filtered, rejected, taken }) {
            Ok(counts) => {
                self.count(&mut open, filtered, &counts);
                self.open = Some(open);
                Some(Entry::Progress(counts))
            }
            Err(reason) => Some(self.failure(open.begin.key, reason)),
        }
    }

    /// The file is read to its end.
    pub fn end(&mut self, end: &End) -> Option<Entry> {
        let mut open = self.open.take_if(|open| open.begin.key == end.key)?;
        let End { records, filtered, rejected, ref taken, .. } = *end;
        match self.counts(&open, &Stand { records, filtered, rejected, taken }) {
            Ok(counts) => {
                self.count(&mut open, filtered, &counts);
                self.limited |= end.limited;
                Some(if end.limited { Entry::Progress(counts) } else { Entry::Done(counts) })
            }
            Err(reason) => Some(self.failure(open.begin.key, reason)),
        }
    }

    /// The file is not complete.
    pub fn fail(&mut self, key: String, reason: String) -> Entry {
        drop(self.open.take_if(|open| open.begin.key == key));
        self.failure(key, reason)
    }

    /// Takes records that have no row into the sums of this process.
    fn count(&mut self, open: &mut Open, filtered: u64, counts: &FileCounts) {
        let dropped = counts.dropped.saturating_sub(open.base.dropped);
        let more = (filtered.saturating_sub(open.counted.0), dropped.saturating_sub(open.counted.1));
        self.run.filtered += more.0;
        self.run.dropped += more.1;
        open.counted = (filtered, dropped);
        // Rows alone do not tell: some have no row, and of several tables some have many.
        let read = counts.records.saturating_sub(open.begin.skip);
        self.run.records = self.run.records - open.records + read;
        open.records = read;
    }

    fn failure(&mut self, key: String, reason: String) -> Entry {
        self.failed += 1;
        Entry::Fail(Failed { key, reason })
    }

    /// The file's counts over all runs, or why they cannot be true.
    fn counts(&self, open: &Open, stand: &Stand) -> Result<FileCounts, String> {
        let Open { begin, base, .. } = open;
        let &Stand { records, filtered, rejected, taken } = stand;
        if base.records != begin.skip {
            return Err(format!("its first {} records were left out, but no bookmark has them", begin.skip));
        }
        let read = records
            .checked_sub(begin.skip)
            .ok_or_else(|| format!("{records} records were read of which {} were to be left out", begin.skip))?;
        let since = open.since();
        let Tally { written, merged, rejected: refused, upstream, suppressed, waiting, .. } = since;
        let (tables, dropped) = if taken.is_empty() {
            let sum = format!(
                "{read} records were read, but {written} written + {merged} merged + {filtered} filtered out + {} rejected{}",
                refused + rejected,
                Tally { deleted: 0, ..since }.rare()
            );
            let counted = written + merged + refused + filtered + rejected + suppressed + waiting;
            (base.tables.clone(), self.missing("", "records", read, counted, &sum)?)
        } else {
            self.tables(open, taken)?
        };
        if upstream < rejected && !self.lossy {
            return Err(format!(
                "{rejected} records were rejected before, but only {upstream} of them arrived to be kept"
            ));
        }
        Ok(FileCounts {
            key: begin.key.clone(),
            version: begin.version.clone(),
            records,
            written: base.written + written,
            merged: base.merged + merged,
            filtered: base.filtered + filtered,
            rejected: base.rejected + refused + rejected,
            suppressed: base.suppressed + suppressed,
            waiting: base.waiting + waiting,
            dropped: base.dropped + dropped,
            tables,
        })
    }

    /// The counts of each table over all runs, and what was dropped in this one; or why they cannot be true.
    fn tables(
        &self,
        open: &Open,
        taken: &BTreeMap<String, u64>,
    ) -> Result<(BTreeMap<String, TableCounts>, u64), String> {
        let (mut tables, mut all_dropped) = (open.base.tables.clone(), 0);
        for (place, (name, _)) in self.tables.iter().enumerate() {
            let taken = taken.get(name).copied().unwrap_or(0);
            let since = open.since.get(place).copied().unwrap_or_default();
            let Tally { written, merged, rejected, deleted, suppressed, waiting, .. } = since;
            let sum = format!(
                "{taken} times a record was taken, but {written} written + {merged} merged + {rejected} rejected{}",
                since.rare()
            );
            let table = format!("table `{name}`: ");
            let dropped = self.missing(&table, "rows", taken, since.records() - since.upstream, &sum)?;
            let counts = TableCounts { taken, written, merged, rejected, suppressed, waiting, deleted, dropped };
            tables.entry(name.clone()).or_default().add(counts);
            all_dropped += dropped;
        }
        match taken.keys().find(|name| !self.tables.iter().any(|(known, _)| known == *name)) {
            Some(name) => Err(format!("rows of the table `{name}` were made, but none could come")),
            None => Ok((tables, all_dropped)),
        }
    }

    /// How many were dropped on purpose, or why that cannot be.
    fn missing(&self, table: &str, what: &str, came: u64, counted: u64, sum: &str) -> Result<u64, String> {
        match came.checked_sub(counted) {
            Some(0) => Ok(0),
            Some(missing) if self.lossy => Ok(missing),
            Some(missing) => Err(format!("{table}{missing} {what} are missing: {sum}")),
            None => Err(format!("{table}{} {what} are too many: {sum}", counted - came)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(skip: u64) -> Begin {
        Begin { key: "a".to_owned(), skip, version: Some("md5:1".to_owned()), ..Begin::default() }
    }

    fn end(records: u64, filtered: u64, rejected: u64) -> End {
        End { key: "a".to_owned(), records, filtered, rejected, ..End::default() }
    }

    fn reason(entry: Option<Entry>) -> String {
        match entry {
            Some(Entry::Fail(failed)) => failed.reason,
            other => panic!("{other:?} is no failure"),
        }
    }

    #[test]
    fn a_file_whose_sum_holds_is_done_with_its_counts() {
        let mut ledger = Ledger::new(false, true);
        ledger.begin(begin(0), None);
        let tally = Tally { written: 3, merged: 4, rejected: 1, upstream: 2, deleted: 0, suppressed: 6, waiting: 7 };
        ledger.rows(0, tally);
        let Some(Entry::Done(counts)) = ledger.end(&end(28, 5, 2)) else { panic!("not done") };
        let expected = FileCounts {
            key: "a".to_owned(),
            version: Some("md5:1".to_owned()),
            records: 28,
            written: 3,
            merged: 4,
            filtered: 5,
            rejected: 3,
            suppressed: 6,
            waiting: 7,
            dropped: 0,
            tables: BTreeMap::new(),
        };
        assert_eq!(counts, expected);
        assert_eq!(ledger.open_file(), None);
        let run = ledger.run();
        assert_eq!((run.records, run.rejected, run.suppressed, run.waiting), (28, 3, 6, 7));
    }

    #[test]
    fn rows_that_waited_move_to_what_became_of_them() {
        let mut ledger = Ledger::new(false, true);
        for name in ["orders", "lines"] {
            ledger.add_table(name.to_owned());
        }
        ledger.begin(begin(0), None);
        ledger.rows(0, Tally { written: 2, ..Tally::default() });
        ledger.rows(1, Tally { written: 1, suppressed: 1, waiting: 5, ..Tally::default() });
        let taken = BTreeMap::from([("orders".to_owned(), 2), ("lines".to_owned(), 7)]);
        let Some(Entry::Done(mut file)) = ledger.end(&End { taken, ..end(9, 0, 0) }) else { panic!("not done") };
        let lines = TableCounts { taken: 7, written: 1, suppressed: 1, waiting: 5, ..TableCounts::default() };
        assert_eq!((file.waiting, file.suppressed, file.tables["lines"]), (5, 1, lines));

        let became = Tally { written: 1, merged: 1, rejected: 1, suppressed: 1, ..Tally::default() };
        ledger.settle(Some(&mut file), 1, became);

        let lines = TableCounts {
            taken: 7,
            written: 2,
            merged: 1,
            rejected: 1,
            suppressed: 2,
            waiting: 1,
            ..Default::default()
        };
        assert_eq!(file.tables["lines"], lines);
        assert_eq!(ledger.run_by_table()["lines"], lines);
        assert_eq!((file.written, file.merged, file.rejected, file.suppressed, file.waiting), (4, 1, 1, 2, 1));
        let run = ledger.run();
        assert_eq!((run.records, run.written, run.merged, run.rejected), (9, 4, 1, 1));
        assert_eq!((run.suppressed, run.waiting), (2, 1));
    }

    #[test]
    fn rows_of_an_earlier_run_that_waited_are_not_taken_from_this_one() {
        let mut ledger = Ledger::new(false, true);
        ledger.add_table("t".to_owned());
        let mut file = FileCounts { records: 4, written: 1, waiting: 3, ..FileCounts::default() };
        ledger.settle(Some(&mut file), 0, Tally { written: 3, ..Tally::default() });
        assert_eq!((file.records, file.written, file.waiting), (4, 4, 0));
        assert_eq!((ledger.run().written, ledger.run().waiting), (3, 0));
    }

    #[test]
    fn of_several_tables_each_has_its_sum() {
        let taken = |orders, lines| BTreeMap::from([("orders".to_owned(), orders), ("lines".to_owned(), lines)]);
        let ledger = |orders, lines| {
            let mut ledger = Ledger::new(false, true);
            ledger.add_table("orders".to_owned());
            ledger.add_table("lines".to_owned());
            ledger.begin(begin(0), None);
            ledger.rows(0, Tally { upstream: 1, ..orders });
            ledger.rows(1, lines);
            ledger
        };
        // Four records: one is filtered out, one rejected, two are orders, with five lines of which two are one row.
        let (orders, lines) = (
            Tally { written: 1, rejected: 1, ..Tally::default() },
            Tally { written: 4, merged: 1, ..Tally::default() },
        );
        let mut right = ledger(orders, lines);
        let Some(Entry::Done(counts)) = right.end(&End { taken: taken(2, 5), ..end(4, 1, 1) }) else {
            panic!("not done")
        };
        assert_eq!((counts.records, counts.filtered, counts.rejected), (4, 1, 2));
        let order = TableCounts { taken: 2, written: 1, rejected: 1, ..TableCounts::default() };
        let line = TableCounts { taken: 5, written: 4, merged: 1, ..TableCounts::default() };
        assert_eq!(counts.tables, BTreeMap::from([("orders".to_owned(), order), ("lines".to_owned(), line)]));
        assert_eq!((right.run().records, right.run().written), (4, 5));

        let rare = Tally { written: 1, suppressed: 2, waiting: 3, deleted: 4, ..Tally::default() };
        assert_eq!(
            reason(ledger(orders, rare).end(&End { taken: taken(2, 11), ..end(4, 1, 1) })),
            "table `lines`: 1 rows are missing: 11 times a record was taken, but 1 written + 0 merged + 0 rejected \
             + 2 suppressed + 3 waiting + 4 deleted"
        );
        for (taken, expected) in [
            (
                taken(2, 6),
                "table `lines`: 1 rows are missing: 6 times a record was taken, but 4 written + 1 merged + 0 rejected",
            ),
            (
                taken(1, 5),
                "table `orders`: 1 rows are too many: 1 times a record was taken, but 1 written + 0 merged + 1 rejected",
            ),
            (
                BTreeMap::from([("x".to_owned(), 1)]),
                "table `orders`: 2 rows are too many: 0 times a record was taken, but 1 written + 0 merged + 1 rejected",
            ),
        ] {
            assert_eq!(reason(ledger(orders, lines).end(&End { taken, ..end(4, 1, 1) })), expected);
        }
    }

    #[test]
    fn a_sum_that_is_off_fails_the_file_and_says_by_how_much() {
        for (tally, said, expected) in [
            (
                Tally { written: 3, ..Tally::default() },
                end(4, 0, 0),
                "1 records are missing: 4 records were read, but 3 written + 0 merged + 0 filtered out + 0 rejected",
            ),
            (
                Tally { written: 5, ..Tally::default() },
                end(4, 0, 0),
                "1 records are too many: 4 records were read, but 5 written + 0 merged + 0 filtered out + 0 rejected",
            ),
            (
                Tally { written: 1, suppressed: 1, waiting: 1, ..Tally::default() },
                end(4, 0, 0),
                "1 records are missing: 4 records were read, but 1 written + 0 merged + 0 filtered out + 0 rejected \
                 + 1 suppressed + 1 waiting",
            ),
            (
                Tally { written: 3, ..Tally::default() },
                end(4, 0, 1),
                "1 records were rejected before, but only 0 of them arrived to be kept",
            ),
        ] {
            let mut ledger = Ledger::new(false, true);
            ledger.begin(begin(0), None);
            ledger.rows(0, tally);
            assert_eq!(reason(ledger.end(&said)), expected);
            assert_eq!(ledger.failed(), 1);
        }
    }

    #[test]
    fn rows_that_are_left_out_on_purpose_are_counted() {
        let mut ledger = Ledger::new(true, true);
        ledger.begin(begin(0), None);
        ledger.rows(0, Tally { written: 1, ..Tally::default() });
        let Some(Entry::Progress(counts)) = ledger.mark(&Mark { key: "a".to_owned(), records: 3, ..Mark::default() })
        else {
            panic!()
        };
        assert_eq!(counts.dropped, 2);
        ledger.rows(0, Tally { written: 2, ..Tally::default() });
        let Some(Entry::Done(counts)) = ledger.end(&end(6, 0, 0)) else { panic!() };
        assert_eq!((counts.written, counts.dropped), (3, 3));
    }

    #[test]
    fn a_file_that_goes_on_adds_to_its_progress() {
        let noted = FileCounts {
            key: "a".to_owned(),
            version: Some("md5:1".to_owned()),
            records: 4,
            written: 2,
            merged: 2,
            ..FileCounts::default()
        };
        let mut ledger = Ledger::new(false, true);
        ledger.begin(begin(4), Some(&noted));
        ledger.rows(0, Tally { written: 2, ..Tally::default() });
        let Some(Entry::Done(counts)) = ledger.end(&end(6, 0, 0)) else { panic!() };
        assert_eq!((counts.records, counts.written, counts.merged), (6, 4, 2));
    }

    #[test]
    fn records_that_nobody_wrote_cannot_be_skipped() {
        for noted in [None, Some(FileCounts { records: 3, ..FileCounts::default() })] {
            let mut ledger = Ledger::new(false, true);
            ledger.begin(begin(4), noted.as_ref());
            assert_eq!(
                reason(ledger.end(&end(4, 0, 0))),
                "its first 4 records were left out, but no bookmark has them"
            );
        }
    }

    #[test]
    fn a_file_that_does_not_end_is_failed_by_the_next() {
        let mut ledger = Ledger::new(false, true);
        ledger.begin(begin(0), None);
        let next = Begin { key: "b".to_owned(), ..Begin::default() };
        assert_eq!(reason(ledger.begin(next, None)), "the stream went on to `b` before the end of this file");
        assert_eq!(ledger.mark(&Mark { key: "a".to_owned(), ..Mark::default() }), None, "a failed file stays failed");
        assert_eq!(ledger.open_file(), Some("b"));
    }
}
