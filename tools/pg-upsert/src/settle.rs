//! What became of a batch: the counts of each segment, and the lines for the rejects file.

use stream::FileEvent;

use crate::batch::{Batch, Origin};
use crate::ledger::Tally;
use crate::rejects::Rejected;
use crate::write::Refused;

/// What became of the records of each segment.
pub(crate) fn tally(batch: &Batch, refused: &[Refused]) -> Vec<Tally> {
    let mut tallies = vec![Tally::default(); batch.segments.len()];
    for (segment, tally) in batch.segments.iter().zip(&mut tallies) {
        for rejected in &segment.rejects {
            if rejected.is_upstream() {
                tally.upstream += rejected.weight;
            } else {
                tally.rejected += rejected.weight;
            }
        }
    }
    let mut written = vec![true; batch.rows.len()];
    for refused in refused {
        written[refused.place] = false;
    }
    for (entry, written) in batch.rows.iter().zip(written) {
        for (place, origin) in std::iter::once(&entry.origin).chain(&entry.merged).enumerate() {
            let tally = &mut tallies[origin.segment];
            match (written, place) {
                (false, _) => tally.rejected += origin.weight,
                (true, 0) => {
                    tally.written += 1;
                    tally.merged += origin.weight - 1;
                }
                (true, _) => tally.merged += origin.weight,
            }
        }
    }
    tallies
}

/// The files that begin in a batch, with how many of their records are left out.
pub(crate) fn begun(batch: &Batch) -> impl Iterator<Item = (&str, u64)> {
    batch.segments.iter().filter_map(|segment| match &segment.event {
        Some(FileEvent::Begin(begin)) => Some((begin.key.as_str(), begin.skip)),
        _ => None,
    })
}

/// The lines about everything in a batch that was not written: what came as a reject, what is no row, what the server
/// refused.
pub(crate) fn rejected(batch: &Batch, refused: &[Refused], columns: &[profile::Column]) -> Vec<Rejected> {
    let came = batch.segments.iter().flat_map(|segment| segment.rejects.iter().cloned());
    came.chain(refused.iter().flat_map(|refused| refused_row(batch, refused, columns))).collect()
}

/// One line for each file that the row has records of.
fn refused_row(batch: &Batch, refused: &Refused, columns: &[profile::Column]) -> Vec<Rejected> {
    let entry = &batch.rows[refused.place];
    let cells = columns.iter().zip(entry.row.cells());
    let pairs = cells.map(|(column, cell)| format!("{}:{cell}", serde_json::Value::from(column.name.as_str())));
    let data = format!("{{{}}}", pairs.collect::<Vec<_>>().join(","));

    let mut files: Vec<(Option<&str>, u64, Vec<u64>)> = Vec::new();
    for Origin { segment, weight, records } in std::iter::once(&entry.origin).chain(&entry.merged) {
        let file = batch.segments[*segment].file.as_deref();
        if let Some((_, sum, all)) = files.iter_mut().find(|(known, ..)| *known == file) {
            *sum += weight;
            all.extend(records);
        } else {
            files.push((file, *weight, records.clone()));
        }
    }
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
    use crate::key::Key;
    use profile::{Merger, Row, Schema};

    fn schema() -> Schema {
        let schema = r#"{"v":1,"profile":"p","hash":"h","table":"t","key":["id"],"columns":[
            {"name":"id","type":"bigint"},{"name":"v","type":"text"}]}"#;
        serde_json::from_str(schema).unwrap()
    }

    /// A row of records 1 and 2 of `a`, merged with one of record 1 of `b`; and one of record 2 of `b`.
    fn batch() -> Batch {
        let merger = Merger::new(&schema()).unwrap();
        let mut batch = Batch::new(Some("a".into()));
        batch.add(Row::of(["1", "\"x\""]), Key::Int(1), vec![1, 2], &merger);
        batch.end_segment(FileEvent::End(stream::End::default()), Some("b".into()));
        batch.add(Row::of(["1", "\"y\""]), Key::Int(1), vec![1], &merger);
        batch.add(Row::of(["2", "\"z\""]), Key::Int(2), vec![2], &merger);
        batch
    }

    #[test]
    fn every_record_is_counted_in_its_own_file() {
        let counts = |refused: &[Refused]| {
            let tallies = tally(&batch(), refused);
            tallies.iter().map(|tally| (tally.written, tally.merged, tally.rejected)).collect::<Vec<_>>()
        };
        assert_eq!(counts(&[]), [(1, 1, 0), (1, 1, 0)]);
        let first = Refused { place: 0, sqlstate: None, reason: String::new() };
        assert_eq!(counts(&[first]), [(0, 0, 2), (1, 0, 1)]);
    }

    #[test]
    fn a_refused_row_is_kept_once_for_each_file() {
        let refused = Refused { place: 0, sqlstate: Some("22003".to_owned()), reason: "no".to_owned() };
        let lines = rejected(&batch(), &[refused], &schema().columns);
        let lines: Vec<_> =
            lines.iter().map(|line| (line.key.as_deref(), line.records.clone(), line.data.get())).collect();
        let data = r#"{"id":1,"v":"y"}"#;
        assert_eq!(lines, [(Some("a"), vec![1, 2], data), (Some("b"), vec![1], data)]);
    }
}
