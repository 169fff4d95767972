//! `settle`: which lines of a rejects file stay, by what the target says of them. Whole runs are in `tests/end-to-end`.

use harness::{Dir, Finished, program};
use serde_json::{Value, json};

const REASON: &str = "a trigger or rule of the table suppressed the row";

/// A row of the table `things` that PostgreSQL refused.
fn line(id: u64, reason: &str) -> String {
    line_of(&[id], id, reason)
}

fn line_of(records: &[u64], id: u64, reason: &str) -> String {
    let line = json!({
        "key": "a", "record": records[0], "records": records, "stage": "pg-upsert", "sqlstate": null, "reason": reason,
        "data": {"id": id}, "time": "2024-01-15T10:30:00Z", "run": null,
    });
    format!("{line}\n")
}

/// A rejects file of three rows, of which the target keeps `again` and says `counts`.
fn settled(dir: &Dir, again: &str, counts: &Value) -> Finished {
    dir.write("r.jsonl", [1, 2, 3].map(|id| line(id, "null value")).concat());
    dir.write("again.jsonl", again);
    let receipt = format!("{}\n", json!({ "done": counts }));
    program!("migrate-rejects").in_dir(dir).args(["settle", "rows", "r.jsonl", "again.jsonl"]).stdin(receipt).run()
}

#[test]
fn a_row_that_was_suppressed_stays_with_the_reason() {
    let dir = Dir::new();
    let again = line_of(&[2], 2, REASON);
    settled(&dir, &again, &json!({"key": "r.jsonl", "records": 3, "written": 2, "suppressed": 1}))
        .exits(1)
        .stderr_has("Tried 3 rejected rows again: 2 written + 0 rejected again + 1 suppressed");
    assert_eq!(dir.read("r.jsonl"), line(2, REASON));
}

#[test]
fn the_file_stays_as_it_is_if_nobody_knows_which_rows_were_suppressed() {
    let dir = Dir::new();
    settled(&dir, "", &json!({"key": "r.jsonl", "records": 3, "written": 2, "suppressed": 1}))
        .exits(65)
        .stderr_has("1 rows were suppressed by a trigger or rule of the table, and the target does not say which");
    assert_eq!(dir.read("r.jsonl").lines().count(), 3);
}

#[test]
fn the_file_stays_as_it_is_while_rows_wait_and_the_last_receipt_holds() {
    let dir = Dir::new();
    let waits = json!({"key": "r.jsonl", "records": 3, "written": 1, "waiting": 2});
    settled(&dir, "", &waits).exits(65).stderr_has("2 rows wait for others that they refer to");
    assert_eq!(dir.read("r.jsonl").lines().count(), 3);

    let written = json!({"key": "r.jsonl", "records": 3, "written": 3});
    let receipts = format!("{}\n{}\n", json!({ "done": waits }), json!({ "done": written }));
    let settle = ["settle", "rows", "r.jsonl", "again.jsonl"];
    let run = program!("migrate-rejects").in_dir(&dir).args(settle).stdin(receipts).run();
    run.exits(0).stderr_has("Tried 3 rejected rows again: 3 written + 0 rejected again");
    assert!(!dir.has("r.jsonl"), "nothing is left");
}
