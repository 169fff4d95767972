//! `ddb-cat` as its users meet it: through its command line and its output.

#![expect(clippy::expect_used, reason = "what the tests share fails a test too")]

use std::fs;

use std::io::{BufRead as _, BufReader, PipeReader, Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command};

use harness::s3::{Fault, Get, Proxy, S3};
use harness::{Dir, Program, gzip, program};

fn cat<const N: usize>(dir: &Dir, args: [&str; N]) -> Program {
    program!("ddb-cat").in_dir(dir).args(args)
}

fn cat_s3<const N: usize>(s3: &S3, args: [&str; N]) -> Program {
    program!("ddb-cat").envs(s3.envs()).args(args)
}

/// So many records, each other than the rest, which compress to some tenths of their size.
fn records(count: u32) -> String {
    let noise = |n: u32| n.wrapping_mul(2_654_435_761).rotate_left(9);
    let record = |n: u32| format!("{{\"Item\":{{\"Id\":{{\"N\":\"{n}\"}},\"x\":{{\"S\":\"{:x}\"}}}}}}\n", noise(n));
    (0..count).map(record).collect()
}

fn data_of(output: &str) -> String {
    output.split_inclusive('\n').filter(|line| !line.starts_with("{\"$")).collect()
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status().expect("kill can be run");
    assert!(sent.success());
}

/// The most memory that a process had so far, in MiB.
fn peak_memory(child: &Child) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("the kernel counts");
    line.split_ascii_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") >> 10
}

#[test]
fn writes_the_records_of_every_gzip_member_between_markers() {
    let dir = Dir::new();
    dir.write("x.json.gz", [gzip("{\"Item\":1}\n"), gzip(""), vec![0; 9], gzip("{\"Item\":2}\n")].concat());

    let run = cat(&dir, ["x.json.gz"]).run();

    run.exits(0).stderr("").stdout(
        r#"{"$file":{"event":"begin","v":1,"key":"x.json.gz","number":null,"encoding":"dynamodb-json","bytes":null,"items":null,"skip":0,"version":null}}
{"Item":1}
{"Item":2}
{"$file":{"event":"end","key":"x.json.gz","records":2,"filtered":0,"merged":0,"rows":0,"rejected":0}}
"#,
    );
}

#[test]
fn a_cut_off_file_is_failed_and_the_next_one_is_still_read() {
    let dir = Dir::new();
    let mut cut = gzip("{\"Item\":1}\n");
    cut.truncate(cut.len() - 6);
    let bytes = cut.len();
    dir.write("cut.gz", cut);
    dir.write("whole.json", "{\"Item\":2}\n");

    let run = cat(&dir, ["cut.gz", "whole.json"]).run();

    let reason =
        format!("`cut.gz` is damaged at byte {bytes}, after 1 records: the file ends in the checksum of a member");
    run.exits(1)
        .stdout_has(&format!(r#"{{"$file":{{"event":"fail","key":"cut.gz","reason":"{reason}"}}}}"#))
        .stdout_has(r#"{"$file":{"event":"end","key":"whole.json","records":1,"#)
        .stderr_has(&format!("ERROR [ddb-cat] {reason}"));
}

#[test]
fn a_missing_file_is_named_with_its_cause() {
    let dir = Dir::new();

    let run = cat(&dir, ["nowhere.json.gz"]).run();

    run.exits(2).stderr(
        "ddb-cat: cannot open `nowhere.json.gz`: No such file or directory (os error 2)\n\
         hint: check the path; one that does not begin with `/` starts at the current folder\n",
    );
}

#[test]
fn a_reader_that_has_had_enough_is_no_error() {
    let dir = Dir::new();
    dir.write("many.json", "{\"Item\":1}\n".repeat(1_000_000));

    let run = cat(&dir, ["many.json"]).run_until_first_line();

    run.exits(0).stderr("");
}

#[test]
fn data_comes_from_stdin_too_and_blank_or_unended_lines_are_records() {
    let dir = Dir::new();

    let run = cat(&dir, ["-"]).stdin(gzip("{}\n\nlast")).run();

    run.exits(0).stdout_has("{}\n\nlast\n").stdout_has(r#""event":"end","key":"-","records":3,"#);
}

#[test]
fn a_list_on_stdin_may_mix_records_of_ddb_list_and_names() {
    let dir = Dir::new();
    dir.write("a.json", "{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n");
    dir.write("b.json", "{\"b\":1}\n");
    let list = "{\"$source\":{\"v\":1,\"source\":\"s\",\"files\":2,\"later\":true}}\n\
        {\"key\":\"a.json\",\"number\":1,\"bytes\":24,\"items\":3,\"encoding\":\"dynamodb-json\",\"etag\":\"e\",\"skip\":2}\n\
        b.json\n";

    let run = cat(&dir, []).stdin(list).run();

    run.exits(0).stdout(
        r#"{"$source":{"v":1,"source":"s","files":2,"later":true}}
{"$file":{"event":"begin","v":1,"key":"a.json","number":1,"encoding":"dynamodb-json","bytes":24,"items":3,"skip":2,"version":"etag:e"}}
{"a":3}
{"$file":{"event":"end","key":"a.json","records":3,"filtered":0,"merged":0,"rows":0,"rejected":0}}
{"$file":{"event":"begin","v":1,"key":"b.json","number":null,"encoding":"dynamodb-json","bytes":null,"items":null,"skip":0,"version":null}}
{"b":1}
{"$file":{"event":"end","key":"b.json","records":1,"filtered":0,"merged":0,"rows":0,"rejected":0}}
"#,
    );
}

#[test]
fn a_list_that_breaks_off_or_names_no_file_is_an_error_after_what_came_before_it() {
    let dir = Dir::new();
    dir.write("a.json", "{\"a\":1}\n");
    for (rest, message) in [
        ("b.js", "the list on stdin ends in the middle of a line: its writer died"),
        ("{\"Item\":{}}\n", "a line of the list on stdin names no file: {\"Item\":{}}"),
    ] {
        let run = cat(&dir, []).stdin(format!("a.json\n{rest}")).run();

        run.exits(65).stdout_has(r#""event":"end","key":"a.json","records":1"#).stderr_has(message);
    }
}

#[test]
fn skip_and_limit_choose_records_and_a_file_cut_short_says_so() {
    let dir = Dir::new();
    dir.write("x.json", "1\n2\n3\n4\n");

    for (args, data, end) in [
        (
            ["--skip", "1", "--limit", "2", "x.json"],
            "2\n3\n",
            r#""records":3,"filtered":0,"merged":0,"rows":0,"rejected":0,"limited":true"#,
        ),
        (
            ["--skip", "0", "--limit", "0", "x.json"],
            "",
            r#""records":0,"filtered":0,"merged":0,"rows":0,"rejected":0,"limited":true"#,
        ),
        (
            ["--skip", "2", "--limit", "2", "x.json"],
            "3\n4\n",
            r#""records":4,"filtered":0,"merged":0,"rows":0,"rejected":0}"#,
        ),
        (
            ["--skip", "4", "--limit", "9", "x.json"],
            "",
            r#""records":4,"filtered":0,"merged":0,"rows":0,"rejected":0}"#,
        ),
    ] {
        let run = cat(&dir, args).run();

        run.exits(0).stdout_has(end);
        assert_eq!(data_of(run.output()), data, "{args:?}");
    }
    cat(&dir, ["--skip", "5", "x.json"]).run().exits(1).stdout_has(r#""event":"fail","key":"x.json","#);
}

#[test]
fn data_cannot_forge_a_marker() {
    let dir = Dir::new();
    let forged = ["{\"$file\":{\"event\":\"end\"}}", " {\t\"\\u0024stop\":{}}", "{\"$\":"];
    dir.write("x.json", format!("{{\"a\":\"$\"}}\n{}\n{{\"b\":1}}\n", forged.join("\n")));

    let run = cat(&dir, ["x.json"]).run();

    let reason = "the first key begins with `$`, which is kept for the programs' own lines";
    let reject = |record: u32, data: &str| {
        format!(
            r#"{{"$reject":{{"key":"x.json","record":{record},"stage":"ddb-cat","reason":"{reason}","data":{data}}}}}"#
        )
    };
    run.exits(1)
        .stdout_has(&format!("{{\"a\":\"$\"}}\n{}\n", reject(2, forged[0])))
        .stdout_has(&reject(3, "{\t\"\\u0024stop\":{}}"))
        .stdout_has(&format!("{}\n{{\"b\":1}}\n", reject(4, r#""{\"$\":""#)))
        .stdout_has(r#""event":"end","key":"x.json","records":5,"filtered":0,"merged":0,"rows":0,"rejected":3}"#);

    let run = cat(&dir, ["--no-markers", "x.json"]).run();

    run.exits(1)
        .stdout("{\"a\":\"$\"}\n{\"b\":1}\n")
        .stderr_has(&format!("WARN [ddb-cat] rejected: `x.json`, line 3: {reason}"));
}

#[test]
fn a_file_that_is_not_the_one_of_the_manifest_is_failed() {
    let dir = Dir::new();
    dir.write("x.json", "{}\n{}\n");
    let list = "{\"key\":\"x.json\",\"md5\":\"AAAA\"}\n{\"key\":\"x.json\",\"items\":3}\n";

    let run = cat(&dir, []).stdin(list).run();

    run.exits(1)
        .stdout_has(r#""event":"fail","key":"x.json","reason":"`x.json` has the MD5 "#)
        .stdout_has("but the manifest says AAAA (6 bytes, 2 records)")
        .stdout_has("`x.json` holds 2 items, but the manifest says 3 (6 bytes)");
}

#[test]
fn a_connection_that_breaks_goes_on_from_the_byte_where_it_broke() {
    let s3 = S3::start();
    let content = records(200_000);
    s3.put("x.json.gz", gzip(&content));
    let proxy = Proxy::to(&s3, [Fault::Cut(100_000), Fault::Cut(300_000)]);

    let run = program!("ddb-cat").envs(s3.envs_by(&proxy)).args([&s3.url("x.json.gz")]).run();

    run.exits(0)
        .stdout_has(r#""event":"end","key":"s3://exports/x.json.gz","records":200000,"#)
        .stderr_has("WARN [ddb-cat] S3: cannot read `s3://exports/x.json.gz` at byte ");
    assert!(data_of(run.output()) == content, "the records are others");
    let gets = s3.gets();
    assert_eq!(gets.len(), 3, "{gets:?}");
    assert!(gets[0].from == 0 && (1..=100_000).contains(&gets[1].from) && gets[2].from > gets[1].from, "{gets:?}");
    assert!(gets[1].conditional && gets[2].conditional, "{gets:?}");
}

#[test]
fn an_object_that_is_replaced_while_it_is_read_is_failed() {
    let s3 = S3::start();
    let (old, new) = (gzip(records(100_000)), gzip(records(100_001)));
    s3.put("x.json.gz", &old);
    let proxy = Proxy::to(&s3, [Fault::Stall(100_000)]);

    let mut child = program!("ddb-cat").envs(s3.envs_by(&proxy)).args([&s3.url("x.json.gz")]).spawn();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.nth(9).unwrap().unwrap();
    s3.put("x.json.gz", new);
    proxy.cut();
    let last = lines.map(Result::unwrap).last().unwrap();

    assert!(last.contains(r#""event":"fail""#) && last.contains("was replaced while it was read"), "{last}");
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

#[test]
fn an_object_other_than_the_listed_one_is_failed() {
    let s3 = S3::start();
    s3.put("x.json", "{}\n");
    let list = format!("{{\"key\":\"{}\",\"etag\":\"0123\"}}\n", s3.url("x.json"));

    let run = cat_s3(&s3, []).stdin(list).run();

    run.exits(1).stdout_has("was replaced while it was read (at byte 0)").stdout_has(r#""version":"etag:0123""#);
    assert_eq!(s3.gets(), [Get { key: "x.json".to_owned(), from: 0, conditional: true }]);
}

#[test]
fn a_missing_object_is_failed_and_the_next_one_is_read() {
    let s3 = S3::start();
    s3.put("x.json", "{}\n");

    let run = cat_s3(&s3, ["s3://exports/none.json.gz", "s3://exports/x.json"]).run();

    run.exits(1)
        .stdout_has(
            r#""event":"fail","key":"s3://exports/none.json.gz","reason":"`s3://exports/none.json.gz` is not there""#,
        )
        .stdout_has(r#""event":"end","key":"s3://exports/x.json","records":1,"#);
}

#[test]
fn a_server_that_is_busy_is_asked_again() {
    let s3 = S3::start();
    s3.put("x.json", "{}\n");
    s3.slow_down(2);

    let run = cat_s3(&s3, ["s3://exports/x.json"]).run();

    run.exits(0).stdout_has("\n{}\n").stderr_has("503 SlowDown: Please reduce your request rate.");
    assert_eq!(s3.gets().len(), 3);
}

#[test]
fn each_retry_is_a_line_with_its_cause_and_their_number_is_set() {
    let s3 = S3::start();
    s3.put("x.json", "{}\n");
    s3.slow_down(9);

    let args = ["s3://exports/x.json", "--retries", "2", "--retry-max-wait", "1"];
    // A flag wins over the variable of the SDK.
    let run = cat_s3(&s3, args).env("AWS_MAX_ATTEMPTS", "7").run();

    let said = |attempt: u32| {
        run.messages().lines().any(|line| {
            line.contains("S3: cannot read `s3://exports/x.json` at byte 0: 503 SlowDown: ")
                && line.contains("; trying again in ")
                && line.ends_with(&format!(" s (attempt {attempt} of 3)"))
        })
    };
    assert!(said(2) && said(3), "{}", run.messages());
    run.exits(69).stderr_has("after 3 attempts without progress");
    assert_eq!(s3.gets().len(), 3);
}

#[test]
fn a_server_that_is_away_ends_as_69_and_a_refusal_as_2_without_the_secret() {
    let s3 = S3::start();
    s3.put("x.json", "{}\n");
    s3.slow_down(9);
    let run = cat_s3(&s3, ["s3://exports/x.json"]).env("AWS_MAX_ATTEMPTS", "2").run();
    run.exits(69)
        .stderr_has("cannot read `s3://exports/x.json` (at byte 0), after 2 attempts without progress: 503 SlowDown");

    let run = cat_s3(&s3, ["s3://exports/x.json"])
        .env("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        .env("AWS_MAX_ATTEMPTS", "2")
        .run();
    run.exits(69).stderr_has("Connection refused");

    let s3 = S3::start();
    s3.put("x.json", "{}\n");
    let run = cat_s3(&s3, ["s3://exports/x.json"]).env("AWS_SECRET_ACCESS_KEY", "wrong-secret").run();
    run.exits(2)
        .stderr_has("S3 refuses `s3://exports/x.json`: 403 ")
        .stderr_has("\nhint: check bucket")
        .never_says("wrong-secret");

    let run = program!("ddb-cat").args(["s3://exports/x.json"]).env("AWS_EC2_METADATA_DISABLED", "true").run();
    run.exits(2).stderr_has("S3 refuses `s3://exports/x.json`: ").stderr_has("\nhint: check bucket");
}

#[test]
fn a_stop_ends_at_a_record_and_says_so() {
    let dir = Dir::new();
    let content = records(1_000_000);
    dir.write("x.json.gz", gzip(&content));

    let mut child = cat(&dir, ["x.json.gz", "x.json.gz"]).spawn();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    output.read_line(&mut text).unwrap();
    signal(&child, "-TERM");
    output.read_to_string(&mut text).unwrap();

    assert_eq!(child.wait().unwrap().code(), Some(75));
    let data =
        text.split_once('\n').unwrap().1.strip_suffix("{\"$stop\":{\"signal\":15}}\n").expect("a `$stop` at the end");
    assert!(content.starts_with(data) && data.len() < content.len(), "{} bytes", data.len());
    assert!(data.is_empty() || data.ends_with('\n'));
}

#[test]
fn a_stop_ends_a_wait_for_the_network_and_for_the_list() {
    let s3 = S3::start();
    s3.put("x.json.gz", gzip(records(200_000)));
    let proxy = Proxy::to(&s3, [Fault::Stall(200_000)]);
    for (mut child, first) in [
        (program!("ddb-cat").envs(s3.envs_by(&proxy)).args([&s3.url("x.json.gz")]).spawn(), true),
        (program!("ddb-cat").stdin_piped().spawn(), false),
    ] {
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut text = String::new();
        if first {
            output.read_line(&mut text).unwrap();
        } else {
            wait_for_handlers(&child);
        }
        signal(&child, "-INT");
        output.read_to_string(&mut text).unwrap();

        assert!(text.ends_with("{\"$stop\":{\"signal\":2}}\n"), "{text}");
        assert_eq!(child.wait().unwrap().code(), Some(75));
    }
}

/// Until the program has said what SIGINT does.
fn wait_for_handlers(child: &Child) {
    let caught = || {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?.trim();
        Some(u64::from_str_radix(mask, 16).ok()? & 2 != 0)
    };
    while caught() != Some(true) {
        std::thread::yield_now();
    }
}

/// A program that cannot write, and whoever could read.
fn blocked(dir: &Dir) -> (Child, PipeReader) {
    dir.write("x.json", "{}\n");
    let (reader, mut full) = std::io::pipe().expect("a pipe");
    // As large as the program makes it.
    let size = rustix::pipe::fcntl_setpipe_size(&full, 1 << 20).expect("it has a size");
    full.write_all(&vec![b'x'; size]).expect("it takes as much");
    let mut cat = cat(dir, ["x.json"]);
    cat.command().stdout(full);
    let child = cat.spawn();
    wait_for_handlers(&child);
    (child, reader)
}

#[test]
fn a_signal_ends_a_program_that_nobody_reads_from() {
    let dir = Dir::new();
    let (child, _reader) = blocked(&dir);

    signal(&child, "-TERM");
    let output = child.wait_with_output().unwrap();

    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("ddb-cat: stopped while it waited for what does not answer\nhint: "), "{said}");
    assert_eq!(output.status.code(), Some(75));
}

#[test]
fn a_second_signal_ends_a_program_that_nobody_reads_from_at_once() {
    let dir = Dir::new();
    let (mut child, _reader) = blocked(&dir);
    let mut signals = 0;
    let status = loop {
        signal(&child, "-INT");
        signals += 1;
        // Two that are pending at once are one: more may be needed.
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
    };

    assert_eq!((status.signal(), signals > 1), (Some(2), true), "{status} after {signals}");
}

/// Until a process that nobody reads from has done what it can.
fn settle(child: &Child) {
    let work = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).expect("it runs");
        stat.split_ascii_whitespace().skip(13).take(2).map(str::to_owned).collect::<Vec<_>>()
    };
    let mut before = Vec::new();
    while before != work() {
        before = work();
        std::thread::park_timeout(std::time::Duration::from_millis(50));
    }
}

#[test]
fn memory_is_bounded_whatever_the_input() {
    let dir = Dir::new();
    let bomb = vec![b'\n'; 100 << 20];
    dir.write("bomb.json.gz", gzip(&bomb));
    let long = format!("{{\"Item\":\"{}\"}}\n", "x".repeat(15 << 20));
    dir.write("long.json.gz", gzip(long.repeat(8)));
    let plain = records(1_500_000);
    dir.write("plain.json", &plain);
    let s3 = S3::start();
    s3.put("noise.json.gz", [gzip(&plain), gzip(&plain)].concat());
    for (file, size) in [
        ("bomb.json.gz", bomb.len()),
        ("long.json.gz", 8 * long.len()),
        ("plain.json", plain.len()),
        ("s3://exports/noise.json.gz", 2 * plain.len()),
    ] {
        let mut child = cat(&dir, [file, file]).envs(s3.envs()).spawn();
        let mut output = child.stdout.take().unwrap();

        // A reader that is slow: all that may wait does.
        output.read_exact(&mut [0]).unwrap();
        settle(&child);
        // Of the second time all but a little: the program waits for its reader then.
        let most = (2 * size - (1 << 20)) as u64;
        let read = std::io::copy(&mut output.by_ref().take(most), &mut std::io::sink()).unwrap();
        let peak = peak_memory(&child);
        std::io::copy(&mut output, &mut std::io::sink()).unwrap();

        assert_eq!(read, most);
        assert_eq!(child.wait().unwrap().code(), Some(0));
        assert!(peak <= 64, "{file}: {peak} MiB");
    }
}

#[test]
fn a_record_without_end_is_refused() {
    let dir = Dir::new();
    dir.write("x.json.gz", gzip([b"{}\n".to_vec(), vec![b'x'; 40 << 20]].concat()));

    let run = cat(&dir, ["x.json.gz"]).run();

    run.exits(1).stdout_has("after 1 records: a record is longer than 16 MiB");
}

#[test]
fn an_entry_of_a_list_may_begin_with_a_dollar() {
    let dir = Dir::new();
    dir.write("x.json", "{\"a\":1}\n");
    cat(&dir, ["--no-markers"]).stdin("{\"$id\":1,\"key\":\"x.json\"}\n").run().exits(0).stdout("{\"a\":1}\n");
    let list = "{\"$source\":{\"v\":1,\"source\":\"s\"}}\n{\"$later\":{}}\n{\"key\":\"x.json\"}\n";
    cat(&dir, []).stdin(list).run().exits(0).stdout_has("{\"$later\":{}}\n");
}
