//! What a run tells programs: `--events`, and what follows from them. The numbers are worked out by hand from the exports.

use std::process::Command;

use harness::Dir;
use harness::export::Export;
use harness::postgres::Postgres;
use serde_json::{Value, json};

use crate::bash;
use crate::migrate::{RUN, export, wait_for_progress};

/// Things, without those that are to be skipped.
const PROFILE: &str = r#"
table = "things"
key = ["id"]

[[filter]]
attribute = "Skip"
exists = false

[columns]
id = { type = "bigint", from = "Id" }
size = { type = "integer", from = "Size" }
"#;

fn thing(id: u32, size: &str, more: &str) -> String {
    format!(r#"{{"Item":{{"Id":{{"N":"{id}"}},"Size":{{"N":"{size}"}}{more}}}}}"#)
}

/// Two files: of the first two items become one row and one is left out, of the second one is rejected.
fn things() -> (Dir, Postgres) {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    dir.write("profiles/things.toml", PROFILE);
    let first = [thing(1, "1", ""), thing(1, "2", ""), thing(2, "2", r#","Skip":{"BOOL":true}"#)];
    let second = [thing(3, "3", ""), thing(4, "99999999999", "")];
    Export::new("Things", "01700000000000-abcdef12").file(first).file(second).write_to(&dir);
    (dir, postgres)
}

fn events(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The events of a kind.
fn of<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["event"] == kind).collect()
}

fn counts(event: &Value) -> [u64; 7] {
    ["scanned", "inserted", "merged", "skipped", "errors", "suppressed", "waiting"]
        .map(|name| event[name].as_u64().unwrap())
}

#[test]
fn a_run_tells_what_became_of_each_file_and_record() {
    let (dir, postgres) = things();
    let line = "migrate -p things run --source . --create -b 700 --events 3 3>events.jsonl";
    bash(&dir, &postgres, line).env("DDB_PIPE_PROFILES", dir.path().join("profiles")).run().exits(1);

    let events = events(&dir.read("events.jsonl"));
    assert!(events.iter().all(|event| event["profileName"] == "things"), "{events:?}");
    let kinds: Vec<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!((kinds.first(), kinds.last()), (Some(&"start"), Some(&"complete")), "{kinds:?}");

    let start = of(&events, "start")[0];
    assert_eq!((&start["fileCount"], &start["itemCount"], &start["batchSize"]), (&json!(2), &json!(5), &json!(700)));
    assert_eq!((&start["resuming"], &start["export"]), (&json!(false), &json!("01700000000000-abcdef12")));

    let files = of(&events, "file_complete");
    assert_eq!(files.len(), 2);
    assert_eq!(counts(files[0]), [3, 1, 1, 1, 0, 0, 0], "{:?}", files[0]);
    assert_eq!(counts(files[1]), [2, 1, 0, 0, 1, 0, 0], "{:?}", files[1]);
    let rejects = of(&events, "reject");
    let [reject] = rejects.as_slice() else { panic!("{rejects:?}") };
    assert_eq!((&reject["record"], &reject["fileName"]), (&json!(2), &files[1]["fileName"]));
    let complete = of(&events, "complete")[0];
    assert_eq!((&complete["completed"], &complete["filesProcessed"]), (&json!(true), &json!(2)));
    assert_eq!(counts(complete), [5, 2, 1, 1, 1, 0, 0]);
}

#[test]
fn a_run_that_was_killed_is_ended_and_the_next_one_counts_what_was_done() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    export().write_to(&dir);
    let line = format!("{RUN} --events events.jsonl --hook 'jq -r .event >>heard'");
    let mut run = bash(&dir, &postgres, &line).spawn();
    wait_for_progress(&dir);
    let folder = dir.path().canonicalize().unwrap();
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let of_run = std::fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd == folder);
        if of_run && std::fs::read_to_string(process.path().join("comm")).is_ok_and(|name| name == "pg-upsert\n") {
            Command::new("kill").arg("-9").arg(process.file_name()).status().unwrap();
        }
    }
    run.wait().unwrap();
    let first = events(&dir.read("events.jsonl"));
    let last = first.last().unwrap();
    assert_eq!((&last["event"], &last["completed"]), (&json!("complete"), &json!(false)));
    let status = bash(&dir, &postgres, "migrate -p pictures status --json").run();
    let status: Value = serde_json::from_str(status.exits(3).output()).unwrap();

    bash(&dir, &postgres, &line).run().exits(0);

    let second = events(&dir.read("events.jsonl"))[first.len()..].to_vec();
    let start = of(&second, "start")[0];
    assert_eq!((&start["resuming"], &start["itemCount"]), (&json!(true), &json!(30_000)));
    assert_eq!(start["itemsProcessed"], status["progress"]["scanned"], "the bookmark says so");
    let complete = of(&second, "complete")[0];
    let [scanned, others @ ..] = counts(complete);
    assert_eq!((scanned, others.iter().sum()), (30_000, 30_000), "the whole run");
    let progress = of(&second, "progress");
    assert_eq!(counts(progress.last().unwrap()), counts(complete));
    let begun = second.iter().position(|event| event["event"] == "start").unwrap();
    let first_words = of(&second[begun..], "progress")[0];
    assert_eq!(counts(first_words), counts(&status["progress"]), "before the first rows are written");

    let heard = dir.read("heard");
    assert_eq!(heard.lines().filter(|event| *event == "complete").count(), 2, "{heard}");
}

#[test]
fn every_retry_of_every_program_is_told() {
    let (dir, postgres) = things();
    // Nothing listens there.
    let run = "migrate -p things run --retries 1 --events events.jsonl --source s3://bucket/exports/";
    let nowhere = [
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:9"),
        ("AWS_ACCESS_KEY_ID", "x"),
        ("AWS_SECRET_ACCESS_KEY", "x"),
        ("AWS_REGION", "eu-west-1"),
    ];
    let run = bash(&dir, &postgres, run).envs(nowhere).env("DDB_PIPE_PROFILES", dir.path().join("profiles")).run();
    run.exits(69);
    let events = events(&dir.read("events.jsonl"));
    let retries = of(&events, "retry");
    let [retry] = retries.as_slice() else { panic!("{events:?}") };
    assert_eq!((&retry["service"], &retry["program"]), (&json!("S3"), &json!("ddb-list")));
    assert_eq!((&retry["attempt"], &retry["attempts"]), (&json!(2), &json!(2)));
    let complete = of(&events, "complete")[0];
    assert_eq!(complete["message"], json!("the run ended with exit code 69 before it had begun"));
}

#[test]
fn a_verification_tells_as_well() {
    let (dir, postgres) = things();
    let profiles = dir.path().join("profiles");
    let migrate = |line: &str| bash(&dir, &postgres, line).env("DDB_PIPE_PROFILES", &profiles).run();
    migrate("migrate -p things run --source . --create").exits(1);
    migrate("migrate -p things verify --source . --events events.jsonl").exits(0);
    let events = events(&dir.read("events.jsonl"));
    assert_eq!((of(&events, "start").len(), of(&events, "file_complete").len()), (1, 2));
    let complete = of(&events, "complete")[0];
    assert_eq!((&complete["completed"], &complete["program"]), (&json!(true), &json!("pg-verify")));
    assert_eq!(complete["scanned"], json!(5));
}

#[test]
fn each_program_alone_tells_what_it_can() {
    let (dir, postgres) = things();
    let line =
        "ddb-cat AWSDynamoDB/*/data/* | ddb-parse -p ./profiles/things.toml | pg-upsert --create --events e.jsonl";
    bash(&dir, &postgres, line).run().exits(1);
    let events = events(&dir.read("e.jsonl"));
    assert_eq!(counts(of(&events, "complete")[0]), [5, 2, 1, 1, 1, 0, 0]);
}

#[test]
fn log_lines_are_json_if_that_is_wanted() {
    let (dir, postgres) = things();
    let line = "migrate -p things run --source . --create --log-format json";
    let run = bash(&dir, &postgres, line).env("DDB_PIPE_PROFILES", dir.path().join("profiles")).run();
    for text in [run.exits(1).messages(), &dir.read("migrate-things.log")] {
        let lines = events(text);
        let programs: std::collections::BTreeSet<_> =
            lines.iter().map(|line| line["program"].as_str().unwrap().to_owned()).collect();
        assert_eq!(programs, ["migrate", "pg-upsert"].map(str::to_owned).into(), "{text}");
        assert!(lines.iter().any(|line| line["level"] == "WARN" && line["profile"] == "things"), "{text}");
    }
}
