//! `follow`: what becomes of the events of a run. The run is made up of lines here; real ones are in `tests/end-to-end`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;

use harness::{Dir, Program, program};
use promql_parser::parser::{Expr, VectorSelector};
use serde_json::{Value, json};

/// A run of two files with 100 items: of the first 40, 30 became rows and 10 were left out; then a record was
/// rejected, a trigger suppressed two, and three wait for others.
const RUN: &str = r#"{"event":"start","fileCount":2,"itemCount":100,"byteCount":2000,"batchSize":500,"resuming":false,"source":"s3://b/a/","export":"01-ab","filesProcessed":0,"itemsProcessed":0,"bytesProcessed":0,"time":"2024-01-15T10:30:00.000Z","profileName":"pictures","program":"pg-upsert"}
{"event":"file_start","fileName":"data/a.json.gz","itemCount":40,"byteCount":800,"itemsProcessed":0,"time":"2024-01-15T10:30:00.001Z","profileName":"pictures","program":"pg-upsert"}
{"event":"retry","service":"S3","cause":"connection \"reset\"","waitMs":250,"attempt":2,"attempts":26,"time":"2024-01-15T10:30:00.500Z","profileName":"pictures","program":"ddb-cat"}
{"event":"file_complete","fileName":"data/a.json.gz","scanned":40,"inserted":25,"merged":5,"skipped":10,"errors":0,"suppressed":0,"waiting":0,"time":"2024-01-15T10:30:01.000Z","profileName":"pictures","program":"pg-upsert"}
{"event":"file_start","fileName":"data/b.json.gz","itemCount":60,"byteCount":1200,"itemsProcessed":0,"time":"2024-01-15T10:30:01.001Z","profileName":"pictures","program":"pg-upsert"}
{"event":"reject","fileName":"data/b.json.gz","record":3,"stage":"ddb-parse","sqlstate":null,"reason":"no `url`","time":"2024-01-15T10:30:01.500Z","profileName":"pictures","program":"pg-upsert"}
{"event":"progress","filesProcessed":1,"filesTotal":2,"itemsTotal":100,"bytesProcessed":800,"bytesTotal":2000,"scanned":46,"inserted":25,"merged":5,"skipped":10,"errors":1,"suppressed":2,"waiting":3,"pending":4,"phase":"writing","time":"2024-01-15T10:30:02.000Z","profileName":"pictures","program":"pg-upsert"}
"#;

/// Its end.
const COMPLETE: &str = r#"{"event":"complete","completed":true,"elapsedMs":3000,"filesProcessed":2,"filesTotal":2,"scanned":100,"inserted":60,"merged":20,"skipped":15,"errors":1,"suppressed":4,"waiting":0,"message":"COMPLETED: 2 files","failed":false,"time":"2024-01-15T10:30:03.000Z","profileName":"pictures","program":"pg-upsert"}
"#;

fn follow(dir: &Dir, options: &[&str]) -> Program {
    program!("migrate-monitor").in_dir(dir).args(["follow", "-p", "pictures"]).args(options)
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The samples of metrics, as Prometheus' own library for Python reads them: name and labels, value.
fn samples(metrics: &str, format: &str) -> BTreeMap<String, f64> {
    read_by_prometheus(metrics, format)
        .iter()
        .map(|sample| {
            let mut labels = sample["labels"].as_object().unwrap().clone();
            assert_eq!((&labels["profile"], &labels["command"]), (&json!("pictures"), &json!("run")), "{sample}");
            labels.retain(|name, _| !["profile", "command"].contains(&name.as_str()));
            let labels = if labels.is_empty() { String::new() } else { Value::Object(labels).to_string() };
            (format!("{}{labels}", sample["name"].as_str().unwrap()), sample["value"].as_f64().unwrap())
        })
        .collect()
}

fn read_by_prometheus(metrics: &str, format: &str) -> Vec<Value> {
    lines(&python("metrics.py", format, metrics))
}

/// What a script says, in the environment of `scripts/test`, which has what it needs.
fn python(script: &str, argument: &str, input: &str) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(script);
    let path = std::env::var("PATH").unwrap();
    let python = Program::at("python3").env("PATH", path).args([script.to_str().unwrap(), argument]).stdin(input);
    python.run().exits(0).output().to_owned()
}

/// What the metrics are after [`RUN`].
fn expected() -> BTreeMap<String, f64> {
    let counts = [
        ("ddb_pipe_items_read_total", 50.0),
        ("ddb_pipe_records_scanned_total", 46.0),
        ("ddb_pipe_rows_inserted_total", 25.0),
        ("ddb_pipe_records_merged_total", 5.0),
        ("ddb_pipe_records_skipped_total", 10.0),
        ("ddb_pipe_records_rejected_total", 1.0),
        ("ddb_pipe_records_suppressed_total", 2.0),
        ("ddb_pipe_files_processed_total", 1.0),
        ("ddb_pipe_files_failed_total", 0.0),
        ("ddb_pipe_processed_bytes_total", 800.0),
        (r#"ddb_pipe_retries_total{"service":"S3"}"#, 1.0),
        ("ddb_pipe_items", 100.0),
        ("ddb_pipe_files", 2.0),
        ("ddb_pipe_size_bytes", 2000.0),
        ("ddb_pipe_items_pending", 4.0),
        ("ddb_pipe_records_waiting", 3.0),
        ("ddb_pipe_writing", 1.0),
        ("ddb_pipe_running", 1.0),
        ("ddb_pipe_completed", 0.0),
        // date -d 2024-01-15T10:30:00Z +%s
        ("ddb_pipe_start_time_seconds", 1_705_314_600.0),
        ("ddb_pipe_last_event_time_seconds", 1_705_314_602.0),
    ];
    counts.map(|(name, value)| (name.to_owned(), value)).into()
}

/// What changes from run to run.
fn without_estimate(mut samples: BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    let left = samples.remove("ddb_pipe_remaining_seconds");
    assert!(left.is_some_and(|left| left >= 0.0), "{samples:?}");
    let info = samples.keys().find(|name| name.starts_with("ddb_pipe_migration_info")).cloned().unwrap();
    assert!(info.contains(r#""export":"01-ab""#) && info.contains(r#""source":"s3://b/a/""#), "{info}");
    assert_eq!(samples.remove(&info), Some(1.0));
    samples
}

/// Follows a run that has not ended until `look` has been called.
fn while_it_runs(dir: &Dir, options: &[&str], look: impl FnOnce(&mut BufReader<std::process::ChildStderr>)) {
    let mut child = follow(dir, options).stdin_piped().spawn();
    let mut stdin = child.stdin.take().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    stdin.write_all(RUN.as_bytes()).unwrap();
    look(&mut stderr);
    drop(stdin);
    assert!(child.wait().unwrap().success());
}

#[test]
fn events_are_handed_on_as_they_come() {
    let dir = Dir::new();
    let run = follow(&dir, &["--events", "events.jsonl"]).stdin(format!("{RUN}{COMPLETE}")).run();
    run.exits(0).stdout("ready\n").stderr("");
    assert_eq!(lines(&dir.read("events.jsonl")), lines(&format!("{RUN}{COMPLETE}")));
    let status: Value = serde_json::from_str(&dir.read("migrate-pictures.status.json")).unwrap();
    assert_eq!(
        (&status["completed"], &status["scanned"], &status["percent"]),
        (&json!(true), &json!(100), &json!(100.0))
    );
}

#[test]
fn a_run_that_dies_is_said_to_have_ended() {
    let dir = Dir::new();
    follow(&dir, &["--events", "events.jsonl"]).stdin(RUN).run().exits(0);
    let events = lines(&dir.read("events.jsonl"));
    let last = events.last().unwrap();
    assert_eq!(events.len(), 8);
    assert_eq!(
        (&last["event"], &last["completed"], &last["scanned"], &last["program"]),
        (&json!("complete"), &json!(false), &json!(46), &json!("migrate-monitor"))
    );
}

#[test]
fn what_migrate_says_of_the_end_is_the_end_of_a_run_that_never_began() {
    for (code, completed, message) in
        [(69, false, "the run ended with exit code 69 before it had begun"), (0, true, "there was nothing to do")]
    {
        let dir = Dir::new();
        let options = ["--events", "events.jsonl", "--metrics-file", "metrics"];
        follow(&dir, &options).stdin(format!("{{\"exitCode\":{code}}}\n")).run().exits(0).stderr("");
        let events = lines(&dir.read("events.jsonl"));
        let [event] = events.as_slice() else { panic!("{events:?}") };
        assert_eq!(
            (&event["event"], &event["completed"], &event["message"]),
            (&json!("complete"), &json!(completed), &json!(message))
        );
        assert_eq!(samples(&dir.read("metrics"), "text").get("ddb_pipe_exit_code"), Some(&f64::from(code)));
    }
    let dir = Dir::new();
    let events = format!("{RUN}{COMPLETE}{{\"exitCode\":1}}\n");
    follow(&dir, &["--events", "events.jsonl"]).stdin(events).run().exits(0);
    assert_eq!(lines(&dir.read("events.jsonl")).len(), 8, "it has ended once");
}

#[test]
fn lines_of_the_log_pass_and_what_is_no_event_harms_nothing() {
    let log = "2024-01-15T10:30:00.000Z INFO [pictures] Processing file\n{\"event\":\"dance\"}\n\u{1b}[31m\n\n";
    let endless = "x".repeat(200_000);
    let run = follow(&Dir::new(), &[]).stdin(format!("{log}{endless}\nthe end, without a newline")).run();
    run.exits(0)
        .stderr_has("Processing file\n{\"event\":\"dance\"}\n\u{1b}[31m\nx")
        .stderr_has("\nthe end, without a newline\n");
    assert_eq!(run.messages().matches('x').count(), 200_000);
}

#[test]
fn a_hook_gets_each_event_on_its_stdin() {
    let dir = Dir::new();
    follow(&dir, &["--hook", "jq -r '\"\\(.event) \\(.profileName)\"' >>heard"])
        .stdin(format!("{RUN}{COMPLETE}"))
        .run()
        .exits(0)
        .stderr("");
    let expected = ["start", "file_start", "retry", "file_complete", "file_start", "reject", "progress", "complete"];
    assert_eq!(dir.read("heard"), expected.map(|event| format!("{event} pictures\n")).concat());
}

#[test]
fn a_hook_that_fails_is_said_and_harms_nothing() {
    let run = follow(&Dir::new(), &["--hook", "echo 'no such queue' >&2; exit 3"]).stdin(COMPLETE).run();
    run.exits(0).stderr_has("WARN [pictures] The hook failed for an event: exit code 3: no such queue\n");
    // It need not read its stdin.
    follow(&Dir::new(), &["--hook", "true"]).stdin(format!("{RUN}{COMPLETE}")).run().exits(0).stderr("");
}

#[test]
fn the_metrics_file_is_what_prometheus_reads() {
    let dir = Dir::new();
    let events = format!("{RUN}{COMPLETE}");
    follow(&dir, &["--metrics-file", "ddb-pipe.prom"]).stdin(events).run().exits(0);
    let samples = samples(&dir.read("ddb-pipe.prom"), "text");
    assert_eq!((samples["ddb_pipe_items_read_total"], samples["ddb_pipe_completed"]), (100.0, 1.0));
    assert_eq!((samples["ddb_pipe_running"], samples["ddb_pipe_records_rejected_total"]), (0.0, 1.0));
    let types: BTreeSet<_> = read_by_prometheus(&dir.read("ddb-pipe.prom"), "text")
        .iter()
        .map(|sample| sample["type"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(types, ["counter", "gauge"].map(str::to_owned).into(), "each type is known");
    let mode = Command::new("stat").args(["-c", "%a"]).arg(dir.path().join("ddb-pipe.prom")).output().unwrap();
    assert_eq!(mode.stdout, b"644\n", "node_exporter is another user");
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn metrics_are_served_as_open_metrics() {
    while_it_runs(&Dir::new(), &["--metrics-listen", "127.0.0.1:0"], |stderr| {
        let mut said = String::new();
        stderr.read_line(&mut said).unwrap();
        let address = said.trim().rsplit_once("http://").unwrap().1.strip_suffix("/metrics").unwrap().to_owned();
        // What is served is a second old at most.
        let answer = loop {
            let answer = get(&address, "/metrics");
            if answer.contains("ddb_pipe_items_pending{profile=\"pictures\",command=\"run\"} 4") {
                break answer;
            }
        };
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"), "{head}");
        assert_eq!(without_estimate(samples(body, "openmetrics")), expected());
        assert!(get(&address, "/").starts_with("HTTP/1.1 404 "));
    });
}

#[test]
fn an_address_that_is_taken_is_said_before_anything_begins() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let run = follow(&Dir::new(), &["--metrics-listen", &address]).stdin("").run();
    run.exits(2).stdout("").stderr_has(&format!("cannot serve metrics at {address}: bind: Address already in use"));
}

/// The metrics, with their labels, that a query names.
fn selectors(expression: &Expr, found: &mut Vec<VectorSelector>) {
    match expression {
        Expr::VectorSelector(selector) => found.push(selector.clone()),
        Expr::MatrixSelector(matrix) => found.push(matrix.vs.clone()),
        Expr::Aggregate(aggregate) => selectors(&aggregate.expr, found),
        Expr::Binary(binary) => {
            selectors(&binary.lhs, found);
            selectors(&binary.rhs, found);
        }
        Expr::Paren(paren) => selectors(&paren.expr, found),
        Expr::Unary(unary) => selectors(&unary.expr, found),
        Expr::Call(call) => call.args.args.iter().for_each(|argument| selectors(argument, found)),
        Expr::Subquery(subquery) => selectors(&subquery.expr, found),
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => {}
    }
}

#[test]
fn each_query_of_the_dashboard_finds_its_metrics() {
    let dir = Dir::new();
    let mut served = BTreeMap::<String, BTreeSet<String>>::new();
    // A run that has not ended has all of them.
    while_it_runs(&dir, &["--metrics-listen", "127.0.0.1:0"], |stderr| {
        let mut said = String::new();
        stderr.read_line(&mut said).unwrap();
        let address = said.trim().rsplit_once("http://").unwrap().1.strip_suffix("/metrics").unwrap().to_owned();
        let answer = loop {
            let answer = get(&address, "/metrics");
            if answer.contains("ddb_pipe_remaining_seconds{") {
                break answer;
            }
        };
        for sample in read_by_prometheus(answer.split_once("\r\n\r\n").unwrap().1, "openmetrics") {
            let labels = sample["labels"].as_object().unwrap().keys().cloned().collect();
            served.insert(sample["name"].as_str().unwrap().to_owned(), labels);
        }
    });
    let dashboard = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/grafana.json")).unwrap();
    let dashboard: Value = serde_json::from_slice(&dashboard).unwrap();
    let queries: Vec<_> = dashboard["panels"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap())
        .map(|target| {
            target["expr"].as_str().unwrap().replace("$__rate_interval", "1m").replace("$profile", "pictures")
        })
        .collect();
    let mut shown = BTreeSet::new();
    for query in &queries {
        let expression = promql_parser::parser::parse(query).unwrap_or_else(|error| panic!("{query}: {error}"));
        let mut found = Vec::new();
        selectors(&expression, &mut found);
        assert!(!found.is_empty(), "{query}");
        for selector in found {
            let name = selector.name.unwrap();
            let labels = served.get(&name).unwrap_or_else(|| panic!("{query}: there is no {name}"));
            for matcher in selector.matchers.matchers {
                assert!(labels.contains(&matcher.name), "{query}: {name} has no label {}", matcher.name);
            }
            shown.insert(name);
        }
    }
    let unseen: Vec<_> = served.keys().filter(|name| !shown.contains(*name)).collect();
    assert_eq!(unseen, ["ddb_pipe_completed", "ddb_pipe_start_time_seconds"], "no panel shows them");
}

#[test]
fn cloudwatch_finds_its_metrics_in_the_log() {
    let dir = Dir::new();
    let log = dir.path().join("log");
    let run = follow(&dir, &["--metrics-emf"]).env("MIGRATE_LOG_FILE", &log).stdin(format!("{RUN}{COMPLETE}")).run();
    let said = lines(run.exits(0).messages());
    assert_eq!(said.len(), 1);
    assert_eq!(said, lines(&dir.read("log")), "in the file too");
    let [line] = said.as_slice() else { panic!() };
    assert_eq!((&line["ItemsRead"], &line["RowsInserted"], &line["Retries"]), (&json!(100), &json!(60), &json!(1)));
    assert_eq!((&line["profile"], &line["Completed"]), (&json!("pictures"), &json!(1)));
}

#[test]
fn of_a_run_that_goes_on_cloudwatch_counts_what_is_new() {
    // After a run with a retry the next export goes on, of which 50 of 100 items, a file, and 45 rows are done.
    let start = RUN.lines().next().unwrap();
    let start = start
        .replace(r#""resuming":false"#, r#""resuming":true"#)
        .replace(r#""filesProcessed":0,"itemsProcessed":0"#, r#""filesProcessed":1,"itemsProcessed":50"#);
    let progress = |scanned: u64, inserted: u64| {
        format!(
            r#"{{"event":"progress","filesProcessed":1,"filesTotal":2,"itemsTotal":100,"scanned":{scanned},"inserted":{inserted},"skipped":5,"pending":0,"time":"2024-01-15T10:31:00.000Z","profileName":"pictures","program":"pg-upsert"}}"#
        )
    };
    let second = format!("{start}\n{}\n{}\n{COMPLETE}", progress(50, 45), progress(70, 65));
    let run = follow(&Dir::new(), &["--metrics-emf"]).stdin(format!("{RUN}{COMPLETE}{second}")).run();
    let said = lines(run.exits(0).messages());
    let [_, line] = said.as_slice() else { panic!("{said:?}") };
    // At the end there are 100 items, 60 rows, 4 suppressed ones and 2 files, and nothing waits.
    let new = ["ItemsRead", "RowsInserted", "RecordsSuppressed", "FilesProcessed", "Retries", "RecordsWaiting"]
        .map(|name| line[name].as_u64().unwrap());
    assert_eq!(new, [50, 15, 4, 1, 0, 0]);
}

#[test]
fn systemd_hears_how_far_the_run_is() {
    let dir = Dir::new();
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let environment =
        [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "600000000"), ("WATCHDOG_PID", "1")];
    let mut child = follow(&dir, &[]).envs(environment).stdin_piped().spawn();
    let mut stdin = child.stdin.take().unwrap();
    let mut said = vec![0; 4096];
    let mut hear = || {
        let length = socket.recv(&mut said).unwrap();
        String::from_utf8(said[..length].to_owned()).unwrap()
    };
    assert_eq!(hear(), "READY=1\n");
    // What comes with it, the end of a pipe, is closed as it is not taken.
    assert_eq!(hear(), "BARRIER=1\n");
    assert_eq!(hear(), "STATUS=Looking for what there is to do\n");
    assert_eq!(hear(), "WATCHDOG=1\n");
    stdin.write_all(RUN.as_bytes()).unwrap();
    let status = loop {
        let heard = hear();
        // It is told every second, maybe in the middle of these lines.
        if heard.contains("1 rejected") {
            break heard;
        }
    };
    assert!(status.starts_with("STATUS=50%, 50 of 100 items, 1 of 2 files, "), "{status}");
    assert!(
        status
            .ends_with("; 25 rows written, 5 merged, 10 filtered out, 1 rejected, 2 suppressed, 3 waiting, 1 retry\n"),
        "{status}"
    );
    stdin.write_all(COMPLETE.as_bytes()).unwrap();
    drop(stdin);
    let mut last = Vec::new();
    while last.last().is_none_or(|heard| heard != "BARRIER=1\n") {
        last.push(hear());
    }
    assert!(last.contains(&"STATUS=COMPLETED: 2 files\n".to_owned()), "{last:?}");
    assert!(last.contains(&"STOPPING=1\n".to_owned()), "{last:?}");
    assert!(child.wait().unwrap().success());
}

#[test]
fn in_a_log_a_line_says_how_far_it_is() {
    let dir = Dir::new();
    let run = follow(&dir, &["--every", "0"]).stdin(RUN).run();
    run.exits(0).stderr_has("INFO [pictures] 50%, 50 of 100 items, 1 of 2 files, 0.8 of 2.0 kB, ");
    let quiet = follow(&dir, &["--every", "0", "--progress", "none"]).stdin(RUN).run();
    quiet.exits(0).stderr("");
}

/// Follows on a terminal of its own, with so many columns: what was written to it before the end of the run, and in all.
fn on_terminal(columns: u32, no_color: &str) -> (String, String) {
    let dir = Dir::new();
    let warning =
        "2024-01-15T10:30:02.500Z WARN [pictures] 1 rejected\n2024-01-15T10:30:02.600Z INFO [pictures] chatter\n";
    dir.write("lines", format!("{RUN}{warning}"));
    dir.write("last", COMPLETE);
    let program = harness::workspace_program("migrate-monitor");
    let follow = format!(
        "stty -echo cols {columns} rows 24; (cat lines; read -r _; cat last) | {} follow -p pictures --progress bar >/dev/null",
        program.display()
    );
    let mut terminal = Program::at("script").in_dir(&dir).args(["-qfec", &follow, "typescript"]);
    terminal = terminal.env("NO_COLOR", no_color).env("TERM", "xterm-256color").stdin_piped();
    let mut child = terminal.spawn();
    let path = dir.path().join("typescript");
    let written = || std::fs::read_to_string(&path).unwrap_or_default();
    while !written().contains("b.json.gz: 10 of") {
        std::thread::yield_now();
    }
    let before = written();
    writeln!(child.stdin.take().unwrap(), "go").unwrap();
    assert!(child.wait().unwrap().success());
    (before, written())
}

#[test]
fn on_a_terminal_bars_are_drawn_and_warnings_stand_above_them() {
    let (before, all) = on_terminal(100, "");
    let shown = python("screen.py", "100", &before);
    let rows: Vec<_> = shown.lines().collect();
    let place = rows.iter().position(|row| row.starts_with("pictures [")).unwrap_or_else(|| panic!("{shown}"));
    assert_eq!(rows[place - 1], "2024-01-15T10:30:02.500Z WARN [pictures] 1 rejected", "{shown}");
    assert!(rows[place].contains("=>") && rows[place].contains("50%"), "{shown}");
    assert!(rows[place + 1].starts_with("  50 of 100 items, 1 of 2 files, 0.8 of 2.0 kB, "), "{shown}");
    assert_eq!(
        rows[place + 2],
        "  25 rows written, 5 merged, 10 filtered out, 1 rejected, 2 suppressed, 3 waiting, 1 retry",
        "{shown}"
    );
    assert_eq!(rows[place + 3], "  b.json.gz: 10 of 60 items", "{shown}");

    assert!(all.contains("\u{1b}[33m2024-01-15T10:30:02.500Z WARN [pictures] 1 rejected\u{1b}[0m"), "yellow: {all:?}");
    assert!(all.contains("\u{1b}[31m1 rejected\u{1b}[0m"), "red: {all:?}");
    assert!(!all.contains("chatter"), "{all}");
    let shown = python("screen.py", "100", &all);
    assert!(shown.contains("COMPLETED: 2 files") && !shown.contains("pictures ["), "{shown}");
}

#[test]
fn a_narrow_terminal_shows_what_fits_and_no_colours_if_nobody_wants_them() {
    let (before, all) = on_terminal(30, "1");
    for color in ["\u{1b}[31m", "\u{1b}[33m", "\u{1b}[36m"] {
        assert!(!all.contains(color), "{all:?}");
    }
    let shown = python("screen.py", "30", &before);
    let rows: Vec<_> = shown.lines().collect();
    let place = rows.iter().position(|row| row.starts_with("pictures [")).unwrap_or_else(|| panic!("{shown}"));
    assert!(rows[place].contains("50%"), "{shown}");
    assert_eq!(rows[place + 1], "  50 of 100 items, 1 of 2 file", "{shown}");
    assert_eq!(rows[place + 2], "  25 rows written, 5 merged, 1", "{shown}");
    assert_eq!(rows[place + 3], "  b.json.gz: 10 of 60 items", "{shown}");
}
