//! `status`: what the files of a run tell, for people and for programs.

use harness::{Dir, Program, program};
use serde_json::{Value, json};

/// A bookmark whose last line is torn: a is done, b begun, c failed.
const BOOKMARK: &str = r#"{"v":1,"run":"r","source":"s3://b/a/","export":"01-ab","profile":"pictures","started":"2024-01-15T10:30:00Z"}
{"progress":{"key":"a","records":5,"written":5,"merged":0,"filtered":0,"rejected":0,"dropped":0}}
{"done":{"key":"a","records":1000,"written":996,"merged":2,"filtered":1,"rejected":1,"dropped":0}}
{"progress":{"key":"b","records":7,"written":7,"merged":0,"filtered":0,"rejected":0,"dropped":0}}
{"progress":{"key":"c","records":9,"written":9,"merged":0,"filtered":0,"rejected":0,"dropped":0}}
{"fail":{"key":"c","reason":"cut"}}
{"progress":{"key":"b","records":8}"#;

/// What the monitor of a run wrote, later than any file of these tests.
const VIEW: &str = r#"{"profileName":"pictures","command":"run","source":"s3://b/a/","export":"01-ab","updated":"2999-01-01T00:00:00Z",
"started":"2998-01-01T00:00:00Z","filesProcessed":12,"filesTotal":42,"itemsTotal":4000,"scanned":1100,"inserted":1100,"pending":100,
"itemsPerSecond":98000,"percent":30.0,"secondsLeft":29}"#;

fn status(dir: &Dir, options: &[&str]) -> Program {
    program!("migrate-monitor")
        .in_dir(dir)
        .args(["status", "-p", "pictures", "--last", "it ended somehow"])
        .args(options)
}

#[test]
fn without_files_there_is_little_to_say() {
    status(&Dir::new(), &[]).run().exits(0).stdout("pictures is not running\nlast run: it ended somehow\n").stderr("");
}

#[test]
fn of_a_run_that_ended_early_the_bookmark_tells_whatever_its_last_line() {
    let dir = Dir::new();
    dir.write("migrate-pictures.bookmark.json", BOOKMARK);
    dir.write("migrate-pictures.rejects.jsonl", "{}\n{}\n");
    let told = "pictures is not running\n\
                table:    stands at 2024-01-15T09:50:00Z\n\
                source:   s3://b/a/, export 01-ab\n\
                files:    1 done, 1 begun\n\
                records:  1,007 = 1,003 rows written + 2 merged + 1 filtered out + 1 rejected\n\
                rejects:  2 in ./migrate-pictures.rejects.jsonl\n\
                last run: it ended somehow\n";
    status(&dir, &["--stands-at", "2024-01-15T09:50:00Z"]).run().exits(0).stdout(told);

    // How many files there are is not in the bookmark.
    dir.write("migrate-pictures.status.json", VIEW);
    status(&dir, &[]).run().exits(0).stdout_has("\nfiles:    1 of 42 done, 1 begun\n");
    dir.write("migrate-pictures.status.json", VIEW.replace("01-ab", "02-cd"));
    status(&dir, &[]).run().exits(0).stdout_has("\nfiles:    1 done, 1 begun\n");
}

#[test]
fn suppressed_and_waiting_rows_stand_in_the_sum() {
    let dir = Dir::new();
    let counts =
        r#""records":9,"written":4,"merged":0,"filtered":0,"rejected":0,"suppressed":2,"waiting":3,"dropped":0"#;
    let bookmark =
        BOOKMARK.lines().next().unwrap().to_owned() + "\n{\"v\":2}\n{\"done\":{\"key\":\"a\"," + counts + "}}\n";
    dir.write("migrate-pictures.bookmark.json", &bookmark);
    let told = "records:  9 = 4 rows written + 0 merged + 0 filtered out + 0 rejected + 2 suppressed + 3 waiting\n";
    status(&dir, &[]).run().exits(0).stdout_has(told);
    let json: Value = serde_json::from_str(status(&dir, &["--json"]).run().exits(0).output()).unwrap();
    assert_eq!((&json["progress"]["suppressed"], &json["progress"]["waiting"]), (&json!(2), &json!(3)));

    let settled = r#"{"settled":[{"key":"a","records":9,"written":6,"rejected":1,"suppressed":2}]}"#;
    dir.write("migrate-pictures.bookmark.json", bookmark + settled + "\n");
    let told = "records:  9 = 6 rows written + 0 merged + 0 filtered out + 1 rejected + 2 suppressed\n";
    status(&dir, &[]).run().exits(0).stdout_has(told);
}

#[test]
fn of_a_run_that_lives_its_monitor_tells() {
    let dir = Dir::new();
    dir.write("migrate-pictures.bookmark.json", BOOKMARK);
    dir.write("migrate-pictures.pid", "1 1\n");
    dir.write("migrate-pictures.status.json", VIEW);
    let run = status(&dir, &["--pid", "1"]).run();
    run.exits(0)
        .stdout_has("pictures is running (pid 1) since 2")
        .stdout_has("\nfiles:    12 of 42 done, 1 begun\n")
        .stdout_has(
            "\nrecords:  1,100 = 1,100 rows written + 0 merged + 0 filtered out + 0 rejected; 100 more are read\n",
        )
        .stdout_has("\nprogress: 30%, 98,000 items/s, 29s left\n");

    // What an earlier one wrote is not how far this one is.
    dir.write("migrate-pictures.status.json", VIEW.replace("2999", "1999"));
    status(&dir, &["--pid", "1"]).run().exits(0).stdout_has("\nrecords:  1,007 = 1,003 rows written");
}

#[test]
fn for_programs_it_is_json() {
    let dir = Dir::new();
    dir.write("migrate-pictures.bookmark.json", BOOKMARK);
    dir.write("migrate-pictures.exit", "75 2024-01-15T10:40:00Z\n");
    let told = |options: &[&str]| -> Value {
        serde_json::from_str(status(&dir, options).args(["--json"]).run().exits(0).output()).unwrap()
    };
    let status = told(&[]);
    assert_eq!((&status["running"], &status["filesBegun"]), (&json!(false), &json!(1)));
    assert_eq!((&status["progress"]["scanned"], &status["progress"]["errors"]), (&json!(1007), &json!(1)));
    let last = json!({"exitCode": 75, "time": "2024-01-15T10:40:00Z", "message": "it ended somehow"});
    assert_eq!(status["lastRun"], last);
    assert_eq!(status["rejects"], json!({"count": 0, "file": "./migrate-pictures.rejects.jsonl"}));

    // One that was killed has left its pid: what is written is how an earlier one ended.
    dir.write("migrate-pictures.pid", "4194305 1\n");
    let last = json!({"exitCode": null, "time": null, "message": "it ended somehow"});
    assert_eq!(told(&[])["lastRun"], last);
    assert_eq!(told(&["--pid", "1"])["lastRun"]["exitCode"], 75);

    dir.write("migrate-pictures.status.json", VIEW);
    let status = told(&["--pid", "1"]);
    assert_eq!((&status["pid"], &status["progress"]["secondsLeft"]), (&json!(1), &json!(29)));
}

#[test]
fn a_watch_ends_with_the_process() {
    let dir = Dir::new();
    dir.write("migrate-pictures.status.json", VIEW);
    let mut process = Program::at("cat").stdin_piped().spawn();
    let pid = process.id().to_string();
    let mut watch = status(&dir, &["--watch", "--pid", &pid]).spawn();
    let mut first = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(watch.stdout.take().unwrap()), &mut first).unwrap();
    assert!(first.starts_with("30%, 1,200 of 4,000 items, 12 of 42 files, 98,000 items/s, 29s left; "), "{first}");
    drop(process.stdin.take());
    assert!(process.wait().unwrap().success());
    watch.wait().unwrap();
}
