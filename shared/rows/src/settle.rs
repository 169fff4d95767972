//! What became of a batch: the counts of each segment, and the lines for the rejects file.

use std::ops::Range;

use profile::{Column, RowView};
use stream::FileEvent;

use crate::batch::Segment;
use crate::entries::{Entries, Entry, Origin};
use crate::ledger::Tally;
use crate::rejected::Rejected;

/// A row that was not written, and why.
#[derive(Debug)]
pub struct Refused {
    /// Its index among the rows.
    pub place: usize,
    /// PostgreSQL's error code, if it has one for that.
    pub sqlstate: Option<String>,
    /// Why.
    pub reason: String,
}

/// What became of rows that were sent together, by their indexes. Those that are in no list are written.
#[derive(Debug, Default)]
pub struct Outcome {
    /// PostgreSQL does not take them, or they cannot even be sent.
    pub refused: Vec<Refused>,
    /// They break a rule that a later row of the run may mend.
    pub waiting: Vec<Refused>,
    /// The table's row stays as it is, as the merge policy wants it.
    pub left_alone: Vec<usize>,
    /// A trigger of the table swallowed them.
    pub suppressed: Vec<usize>,
    /// Merged rows that failed and were retried as their parts.
    pub retried_as_parts: Vec<usize>,
    /// Work ended before the last row, when so many rows were refused as are allowed. Nothing was committed.
    pub unfinished: bool,
}

impl Outcome {
    /// Adds what became of other rows.
    pub fn add(&mut self, other: Self) {
        self.refused.extend(other.refused);
        self.waiting.extend(other.waiting);
        self.left_alone.extend(other.left_alone);
        self.suppressed.extend(other.suppressed);
        self.retried_as_parts.extend(other.retried_as_parts);
        self.unfinished |= other.unfinished;
    }
}

/// A row that is kept aside, with where its records came from.
#[derive(Debug)]
pub struct Waiting {
    /// The index of its table.
    pub table: usize,
    /// Its key, as [`crate::key::Keys::write`] wrote it.
    pub key: Vec<u8>,
    /// Whether it is the key of a row to be deleted.
    pub deletes: bool,
    /// The row as JSON.
    pub data: String,
    /// For each file: how many records, and their numbers.
    pub origins: Vec<(Option<String>, u64, Vec<u64>)>,
    /// PostgreSQL's error code.
    pub sqlstate: Option<String>,
    /// The rule that it breaks.
    pub reason: String,
}

/// What became of a batch's records: the counts of each segment, and the lines about all that was not written.
#[derive(Debug, Default)]
pub struct Settled {
    /// For each segment.
    pub tallies: Vec<Tally>,
    /// What was refused.
    pub rejected: Vec<Rejected>,
    /// What is kept aside.
    pub waiting: Vec<Waiting>,
    /// What a trigger or rule of the table swallowed, as lines for those who keep them.
    pub suppressed: Vec<Rejected>,
    /// Work ended before the last row, because there were too many rejects: nothing of the batch can be noted.
    pub cut: bool,
}

impl Settled {
    /// What is known before any row is written: the lines that were to be rows of the table in this place, but are none,
    /// and with those of the first table the lines that came as rejects.
    pub fn of(segments: &[Segment], table: usize) -> Self {
        let ours = |rejected: &&Rejected| rejected.table == table;
        let mut tallies = vec![Tally::default(); segments.len()];
        for (segment, tally) in segments.iter().zip(&mut tallies) {
            for rejected in segment.rejects.iter().filter(ours) {
                if rejected.is_upstream() {
                    tally.upstream += rejected.weight;
                } else {
                    tally.rejected += rejected.weight;
                }
            }
        }
        Self {
            tallies,
            rejected: segments.iter().flat_map(|segment| segment.rejects.iter().filter(ours).cloned()).collect(),
            waiting: Vec::new(),
            suppressed: Vec::new(),
            cut: false,
        }
    }

    /// Writing was cut in these rows, of which these were refused: their lines alone are kept.
    pub fn cut(&mut self, segments: &[Segment], rows: &Entries, refused: &[Refused], columns: &[Column]) {
        self.cut = true;
        self.rejected.extend(refused.iter().flat_map(|refused| refused_row(segments, rows, refused, columns)));
    }

    /// What became of the rows with these indexes.
    pub fn rows(
        &mut self,
        segments: &[Segment],
        rows: &Entries,
        places: Range<usize>,
        outcome: &Outcome,
        columns: &[Column],
    ) {
        self.tallies.resize(segments.len(), Tally::default());
        let mut fates = vec![Fate::Written; places.len()];
        let mut set = |place: usize, fate| fates[place - places.start] = fate;
        outcome.refused.iter().for_each(|refused| set(refused.place, Fate::Rejected));
        outcome.waiting.iter().for_each(|waiting| set(waiting.place, Fate::Waiting));
        outcome.left_alone.iter().for_each(|&place| set(place, Fate::LeftAlone));
        outcome.suppressed.iter().for_each(|&place| set(place, Fate::Suppressed));
        outcome.retried_as_parts.iter().for_each(|&place| set(place, Fate::CountedAsParts));
        for refused in &outcome.refused {
            self.rejected.extend(refused_row(segments, rows, refused, columns));
        }
        for &place in &outcome.suppressed {
            let reason = "suppressed by a trigger or rule of the table".to_owned();
            let suppressed = Refused { place, sqlstate: None, reason };
            self.suppressed.extend(refused_row(segments, rows, &suppressed, columns));
        }
        for waiting in &outcome.waiting {
            self.waiting.push(waiting_row(segments, rows, waiting, columns));
        }
        for (entry, fate) in places.map(|place| rows.entry(place)).zip(fates) {
            for (place, origin) in entry.origins().enumerate() {
                let tally = &mut self.tallies[origin.segment];
                match (fate, place) {
                    (Fate::Rejected, _) => tally.rejected += origin.weight,
                    (Fate::Waiting, _) => tally.waiting += origin.weight,
                    (Fate::Suppressed, _) => tally.suppressed += origin.weight,
                    (Fate::CountedAsParts, _) => {}
                    (Fate::Written, 0) => {
                        tally.written += 1;
                        tally.merged += origin.weight - 1;
                    }
                    (Fate::Written | Fate::LeftAlone, _) => tally.merged += origin.weight,
                }
            }
        }
    }

    /// Rows that are not sent, because earlier ones of their keys wait.
    pub fn wait(&mut self, segments: &[Segment], rows: &Entries, columns: &[Column]) {
        self.tallies.resize(segments.len(), Tally::default());
        for place in 0..rows.len() {
            let reason = "an earlier row of its key waits".to_owned();
            let waiting = Refused { place, sqlstate: None, reason };
            self.waiting.push(waiting_row(segments, rows, &waiting, columns));
            for origin in rows.entry(place).origins() {
                self.tallies[origin.segment].waiting += origin.weight;
            }
        }
    }

    /// Adds what became of other rows of the batch.
    pub fn add(&mut self, other: Self) {
        self.tallies.resize(self.tallies.len().max(other.tallies.len()), Tally::default());
        for (tally, other) in self.tallies.iter_mut().zip(other.tallies) {
            tally.add(other);
        }
        self.rejected.extend(other.rejected);
        self.waiting.extend(other.waiting);
        self.suppressed.extend(other.suppressed);
        self.cut |= other.cut;
    }

    /// How many records were rejected, here and before.
    pub fn rejects(&self) -> u64 {
        self.tallies.iter().map(|tally| tally.rejected + tally.upstream).sum()
    }

    /// How many records are in the table, or have deleted a row of it.
    pub fn records(&self) -> u64 {
        self.tallies.iter().map(|tally| tally.written + tally.merged + tally.deleted).sum()
    }
}

/// The files that begin in a batch, with how many of their records are left out.
pub fn begun(segments: &[Segment]) -> impl Iterator<Item = (&str, u64)> {
    segments.iter().filter_map(|segment| match &segment.event {
        Some(FileEvent::Begin(begin)) => Some((begin.key.as_str(), begin.skip)),
        _ => None,
    })
}

/// The row as it came, without what is said of its records.
pub fn json_of(row: RowView<'_>, columns: &[Column]) -> String {
    let cells = columns.iter().zip(row.cells());
    let pairs = cells.map(|(column, cell)| format!("{}:{cell}", serde_json::Value::from(column.name.as_str())));
    format!("{{{}}}", pairs.collect::<Vec<_>>().join(","))
}

/// What became of one row.
#[derive(Clone, Copy)]
enum Fate {
    Written,
    LeftAlone,
    Suppressed,
    Rejected,
    Waiting,
    CountedAsParts,
}

/// For each file that a row has records of: how many, and their numbers.
fn origins_by_file<'s>(segments: &'s [Segment], entry: &Entry) -> Vec<(Option<&'s str>, u64, Vec<u64>)> {
    let mut files: Vec<(Option<&str>, u64, Vec<u64>)> = Vec::new();
    for Origin { segment, weight, records } in entry.origins() {
        let file = segments[*segment].file.as_deref();
        if let Some((_, sum, all)) = files.iter_mut().find(|(known, ..)| *known == file) {
            *sum += weight;
            all.extend(records);
        } else {
            files.push((file, *weight, records.to_vec()));
        }
    }
    files
}

fn waiting_row(segments: &[Segment], rows: &Entries, waiting: &Refused, columns: &[Column]) -> Waiting {
    let place = waiting.place;
    let origins = origins_by_file(segments, rows.entry(place)).into_iter();
    Waiting {
        table: 0,
        key: rows.key(place).to_vec(),
        deletes: false,
        data: json_of(rows.row(place), columns),
        origins: origins.map(|(file, weight, records)| (file.map(str::to_owned), weight, records)).collect(),
        sqlstate: waiting.sqlstate.clone(),
        reason: waiting.reason.clone(),
    }
}

/// One line for each file that the row has records of.
fn refused_row(segments: &[Segment], rows: &Entries, refused: &Refused, columns: &[Column]) -> Vec<Rejected> {
    let (entry, data): (&Entry, _) = (rows.entry(refused.place), json_of(rows.row(refused.place), columns));
    let files = origins_by_file(segments, entry);
    let line = |(file, weight, records)| Rejected {
        sqlstate: refused.sqlstate.clone(),
        weight,
        ..Rejected::own(file, records, refused.reason.clone(), data.as_bytes())
    };
    files.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Keys;
    use profile::{Row, Schema};

    fn schema() -> Schema {
        let schema = r#"{"v":1,"profile":"p","hash":"h","table":"t","key":["id"],"columns":[
            {"name":"id","type":"bigint"},{"name":"v","type":"text"}]}"#;
        serde_json::from_str(schema).unwrap()
    }

    fn segments() -> [Segment; 2] {
        ["a", "b"].map(|file| Segment { file: Some(file.into()), ..Segment::default() })
    }

    /// A row of records 1 and 2 of `a` and record 1 of `b`; and one of record 2 of `b`.
    fn rows() -> Entries {
        let origin =
            |segment, records: &[u64]| Origin { segment, weight: records.len() as u64, records: records.into() };
        let (mut rows, keys) = (Entries::default(), Keys::of(&schema()).unwrap());
        rows.push(Row::of(["1", "\"y\""]).view(), &keys, origin(0, &[1, 2])).unwrap();
        rows.entry_mut(0).add(origin(1, &[1]));
        rows.push(Row::of(["2", "\"z\""]).view(), &keys, origin(1, &[2])).unwrap();
        rows
    }

    fn settled(refused: Vec<Refused>) -> Settled {
        let outcome = Outcome { refused, ..Outcome::default() };
        let mut settled = Settled::of(&segments(), 0);
        settled.rows(&segments(), &rows(), 0..2, &outcome, &schema().columns);
        settled
    }

    #[test]
    fn every_record_is_counted_in_its_own_file() {
        let counts = |refused: Vec<Refused>| {
            let tallies = settled(refused).tallies;
            tallies.iter().map(|tally| (tally.written, tally.merged, tally.rejected)).collect::<Vec<_>>()
        };
        assert_eq!(counts(Vec::new()), [(1, 1, 0), (1, 1, 0)]);
        let first = Refused { place: 0, sqlstate: None, reason: String::new() };
        assert_eq!(counts(vec![first]), [(0, 0, 2), (1, 0, 1)]);
    }

    #[test]
    fn what_became_of_two_halves_is_added_up() {
        let mut both = settled(Vec::new());
        both.add(settled(Vec::new()));

        let tallies: Vec<_> = both.tallies.iter().map(|tally| (tally.written, tally.merged)).collect();
        assert_eq!(tallies, [(2, 2), (2, 2)]);
        assert_eq!((both.records(), both.rejects()), (8, 0));
    }

    #[test]
    fn a_refused_row_is_kept_once_for_each_file() {
        let refused = Refused { place: 0, sqlstate: Some("22003".to_owned()), reason: "no".to_owned() };
        let settled = settled(vec![refused]);
        let lines: Vec<_> =
            settled.rejected.iter().map(|line| (line.key.as_deref(), line.records.clone(), line.data.get())).collect();
        let data = r#"{"id":1,"v":"y"}"#;
        assert_eq!(lines, [(Some("a"), vec![1, 2], data), (Some("b"), vec![1], data)]);
    }
}
