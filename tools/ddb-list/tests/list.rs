//! `ddb-list` as its users meet it: through its command line and its output.

use std::io::{BufRead as _, BufReader};
use std::process::Command;

use harness::export::Export;
use harness::s3::S3;
use harness::{Dir, Finished, Program, gzip, program};

const ID: &str = "01700000000000-abcdef12";
const LATER: &str = "01700000900000-00000000";

fn list<const N: usize>(dir: &Dir, args: [&str; N]) -> Program {
    program!("ddb-list").in_dir(dir).args(args)
}

fn pictures(id: &str) -> Export {
    Export::new("Pictures", id)
        .under("exports/")
        .file(["{\"Item\":{\"Id\":{\"N\":\"1\"}}}", "{\"Item\":{\"Id\":{\"N\":\"2\"}}}"])
        .file(["{\"Item\":{\"Id\":{\"N\":\"3\"}}}"])
}

/// The names of the files that were listed, without their folders.
fn names(run: &Finished) -> Vec<&str> {
    let keys = run.output().lines().filter(|line| line.starts_with("{\"key\":\""));
    keys.map(|line| line.split('"').nth(3).and_then(|key| key.rsplit('/').next()).unwrap_or_default()).collect()
}

#[test]
fn lists_the_files_of_an_export_with_what_its_manifest_says() {
    let s3 = S3::start();
    let export = pictures(ID);
    export.put_to(&s3);

    let run = program!("ddb-list").envs(s3.envs()).args(["s3://exports/exports/"]).run();

    let at = "s3://exports/exports/AWSDynamoDB/01700000000000-abcdef12/data/0000000000000000000000000";
    let objects = export.objects();
    let bytes = |number: usize| objects[4 + number].1.len();
    let hex = |number: usize| harness::export::md5_hex(&objects[4 + number].1);
    let base64 = |number: usize| harness::export::md5_base64(&objects[4 + number].1);
    let line = |number: usize, items: u32| {
        format!(
            r#"{{"key":"{at}{number}.json.gz","number":{number},"bytes":{},"items":{items},"md5":"{}","etag":"{}","encoding":"dynamodb-json","skip":0}}"#,
            bytes(number),
            base64(number),
            hex(number)
        )
    };
    let source = format!(
        r#"{{"$source":{{"v":1,"source":"s3://exports/exports/","export":"{ID}","table":"Pictures","shard":null,"files":2,"items":3,"bytes":{},"done":{{"files":0,"items":0,"bytes":0}}}}}}"#,
        bytes(1) + bytes(2)
    );
    run.exits(0).stderr("").stdout(&format!("{source}\n{}\n{}\n", line(1, 2), line(2, 1)));
}

#[test]
fn finds_the_export_from_every_place_above_its_manifest() {
    let (s3, dir) = (S3::start(), Dir::new());
    let export = pictures(ID);
    export.put_to(&s3).write_to(&dir);

    for prefix in ["", "exports", "exports/", "exports/AWSDynamoDB/", "exports/AWSDynamoDB/01700000000000-abcdef12"] {
        let run = program!("ddb-list").envs(s3.envs()).args(["--plain", &s3.url(prefix)]).run();
        run.exits(0).stdout(&format!("s3://exports/{}\ns3://exports/{}\n", export.key(1), export.key(2)));

        let run = list(&dir, ["--plain", if prefix.is_empty() { "." } else { prefix }]).run();
        let at = dir.path().canonicalize().unwrap();
        run.exits(0).stdout(&format!("{0}/{1}\n{0}/{2}\n", at.display(), export.key(1), export.key(2)));
    }
}

#[test]
fn the_settings_of_the_predecessor_name_the_source_and_an_argument_wins() {
    let (s3, dir) = (S3::start(), Dir::new());
    let export = pictures(ID);
    export.put_to(&s3).write_to(&dir);
    let settings = |args: &[&str]| {
        let program = program!("ddb-list").in_dir(&dir).envs(s3.envs());
        program.env("S3_BUCKET", "exports").env("S3_PREFIX", "exports/").args(args).run()
    };

    settings(&[]).exits(0).stdout_has(r#""source":"s3://exports/exports/""#);
    settings(&["--s3-prefix", "exports/AWSDynamoDB/"])
        .exits(0)
        .stdout_has(r#""source":"s3://exports/exports/AWSDynamoDB/""#);
    for args in [&["exports"][..], &["--source", "exports"]] {
        settings(args).exits(0).stdout_has(&format!("/{}", export.key(1))).never_says("s3://");
    }
    list(&dir, []).run().exits(2).stderr_has("it is not said where the export is\nhint: give s3://BUCKET/PREFIX");
}

#[test]
fn of_several_exports_one_has_to_be_chosen() {
    let dir = Dir::new();
    pictures(ID).write_to(&dir);
    pictures(LATER).with("exportTime", "2023-11-14T22:28:20.000Z").write_to(&dir);

    list(&dir, ["exports"])
        .run()
        .exits(2)
        .stdout("")
        .stderr_has(&format!(
            "{ID} of Pictures at 2023-11-14T22:13:20.000Z; {LATER} of Pictures at 2023-11-14T22:28:20.000Z"
        ))
        .stderr_has("\nhint: say which with --export ID or --latest, or give a longer prefix\n");
    list(&dir, ["exports", "--export", ID]).run().exits(0).stdout_has(&format!(r#""export":"{ID}""#)).never_says(LATER);
    list(&dir, ["exports", "--latest"]).run().exits(0).stdout_has(&format!(r#""export":"{LATER}""#)).never_says(ID);
    list(&dir, ["exports", "--export", "0"]).run().exits(2).stderr_has(&format!("there is {ID} of Pictures at "));
}

#[test]
fn an_export_that_has_not_ended_is_none() {
    let dir = Dir::new();
    dir.write(&format!("AWSDynamoDB/{ID}/_started"), "");
    dir.write(&format!("AWSDynamoDB/{ID}/data/x.json.gz"), gzip("{}\n"));

    for args in [&["."][..], &[".", "--export", ID], &[".", "--latest"]] {
        let run = program!("ddb-list").in_dir(&dir).args(args).run();
        run.exits(65).stdout("").stderr_has(&format!("the export `{ID}` has not ended, or has failed"));
    }

    pictures(LATER).write_to(&dir);
    list(&dir, ["."]).run().exits(0).stderr_has(&format!("WARN [ddb-list] the export `{ID}` has not ended"));
}

#[test]
fn what_cannot_be_read_is_said_before_anything_is_done() {
    for (export, message) in [
        (pictures(ID).with("outputFormat", "ION"), "is in the format Amazon Ion, which is not supported"),
        (pictures(ID).incremental(), "is an incremental export, which is not supported"),
    ] {
        let dir = Dir::new();
        export.write_to(&dir);
        list(&dir, ["."]).run().exits(2).stdout("").stderr_has(message);
    }
}

#[test]
fn a_file_that_the_manifest_names_and_nobody_has_is_an_error() {
    let s3 = S3::start();
    let export = pictures(ID);
    export.put_to(&s3);
    s3.delete(&export.key(2));

    let run = program!("ddb-list").envs(s3.envs()).args(["s3://exports/"]).run();

    run.exits(65).stdout("").stderr_has(&format!("names `s3://exports/{}`, which is not there", export.key(2)));
}

#[test]
fn a_changed_summary_is_a_warning_and_missing_checksums_are_nothing() {
    let dir = Dir::new();
    let export = pictures(ID);
    export.write_to(&dir);
    let folder = export.folder();
    let summary = dir.read(&format!("{folder}manifest-summary.json"));
    dir.write(&format!("{folder}manifest-summary.json"), summary.replace(',', ",\n  "));

    let run = list(&dir, ["."]).run();
    run.exits(0).stderr_has("manifest-summary.json` is not as it was written: its MD5 is another one");
    assert_eq!(names(&run).len(), 2);

    for name in ["manifest-summary.md5", "manifest-files.md5"] {
        std::fs::remove_file(dir.path().join(&folder).join(name)).unwrap();
    }
    list(&dir, ["."]).run().exits(0).stderr("");
}

#[test]
fn a_manifest_that_is_none_is_named_with_its_line() {
    let dir = Dir::new();
    let export = pictures(ID);
    export.write_to(&dir);
    let files = format!("{}manifest-files.json", export.folder());
    dir.write(&files, dir.read(&files) + "{\"itemCount\":1}\n");
    std::fs::remove_file(dir.path().join(export.folder()).join("manifest-files.md5")).unwrap();

    list(&dir, ["."])
        .run()
        .exits(65)
        .stderr_has("manifest-files.json`, line 3: not a manifest: missing field `dataFileS3Key`");
}

#[test]
fn an_export_that_was_copied_elsewhere_has_its_files_beside_the_manifest() {
    let (s3, dir) = (S3::start(), Dir::new());
    for (key, content) in pictures(ID).objects() {
        let name = key.strip_prefix("exports/AWSDynamoDB/").unwrap();
        s3.put(&format!("copy/{name}"), &content);
        dir.write(&format!("copy/{name}"), content);
    }

    let run = program!("ddb-list").envs(s3.envs()).args(["--plain", "s3://exports/copy/"]).run();
    run.exits(0).stdout_has(&format!("s3://exports/copy/{ID}/data/00000000000000000000000001.json.gz\n"));
    list(&dir, ["--plain", "copy"])
        .run()
        .exits(0)
        .stdout_has(&format!("/copy/{ID}/data/00000000000000000000000001.json.gz\n"));
}

#[test]
fn without_a_manifest_the_files_are_listed_by_key() {
    let dir = Dir::new();
    for name in ["b/2.json.gz", "b/10.json.gz", "a/1.json.gz", "a/notes.txt", "a/x.ion.gz", "a/y.gz"] {
        dir.write(&format!("old/{name}"), gzip("{}\n"));
    }
    // As an emulator writes it.
    dir.write("odd/AWSDynamoDB/6ac1b0e6/data/0c3f.gz", gzip("{}\n"));

    let run = list(&dir, ["old"]).run();
    run.exits(0).stdout_has(r#""export":null,"table":null,"shard":null,"files":3,"items":null,"#);
    assert_eq!(names(&run), ["1.json.gz", "10.json.gz", "2.json.gz"]);
    assert_eq!(names(list(&dir, ["odd"]).run().exits(0)), ["0c3f.gz"]);
    dir.write("none/notes.txt", "");
    list(&dir, ["none"]).run().exits(2).stderr_has("there is no export and no `*.json.gz` file under `");
    list(&dir, ["nowhere"]).run().exits(2).stderr_has("cannot open `nowhere`: No such file or directory");
}

#[test]
fn a_bucket_is_listed_page_by_page() {
    let s3 = S3::start();
    for number in 0..2_100 {
        s3.put(&format!("many/{number:04}.json.gz"), "");
    }

    let run = program!("ddb-list").envs(s3.envs()).args(["s3://exports/many/"]).run();

    run.exits(0).stdout_has(r#""files":2100,"#);
    assert_eq!((names(&run).len(), names(&run)[2_099]), (2_100, "2099.json.gz"));
}

#[test]
fn a_bucket_that_is_not_there_or_not_ours_is_said() {
    let s3 = S3::start();
    let run = program!("ddb-list").envs(s3.envs()).args(["s3://other-bucket/x/"]).run();
    run.exits(2).stderr_has("S3 refuses `s3://other-bucket/x/`: 404 NoSuchBucket").stderr_has("\nhint: check bucket");

    let run = program!("ddb-list").envs(s3.envs()).env("AWS_ACCESS_KEY_ID", "other").args(["s3://exports/"]).run();
    run.exits(2).stderr_has("S3 refuses `s3://exports/`: 403 ").stderr_has("the role needs s3:ListBucket");
}

#[test]
fn a_stop_ends_the_wait_for_a_server_that_is_away() {
    let s3 = S3::start();
    s3.slow_down(1_000);

    let mut child = program!("ddb-list").envs(s3.envs()).args(["s3://exports/"]).spawn();
    let mut messages = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(messages.next().unwrap().unwrap().contains("503 SlowDown"));
    let sent = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();

    assert!(sent.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(75));
    assert_eq!(output.stdout, b"{\"$stop\":{\"signal\":15}}\n");
}

#[test]
fn shares_are_disjoint_and_complete_and_keep_the_files_in_order() {
    let dir = Dir::new();
    for number in 0..9_usize {
        dir.write(&format!("{number}.json.gz"), vec![0; 100 * (number + 1)]);
    }

    let share = |index: u32| {
        let run = list(&dir, [".", "--shard", &format!("{index}/2")]).run();
        run.exits(0).stdout_has(&format!(r#""shard":"{index}/2""#));
        (names(&run).join(" ").replace(".json.gz", ""), run.output().to_owned())
    };

    // The largest first, to the share that has less: 900 600 500 200 100 and 800 700 400 300, by hand.
    let (first, second) = (share(1), share(2));
    assert_eq!((first.0.as_str(), second.0.as_str()), ("0 1 4 5 8", "2 3 6 7"));
    assert!(first.1.contains(r#""files":5,"items":null,"bytes":2300,"#), "{}", first.1);
    assert_eq!(share(1), first);
    list(&dir, [".", "--shard", "3/2"]).run().exits(2).stderr_has("a share is I/N");
}

#[test]
fn pending_files_are_those_that_the_bookmark_does_not_say_are_done() {
    let dir = Dir::new();
    let export = pictures(ID).file(["{\"Item\":{}}", "{\"Item\":{}}"]);
    export.write_to(&dir);
    let at = dir.path().canonicalize().unwrap().display().to_string();
    let pending = |source: &str| {
        let args = ["exports", "--pending", "--profile", "pictures"];
        let header = format!(
            r#"{{"v":1,"run":"r","source":"{source}","export":"{ID}","shard":null,"profile":"pictures","profile_hash":"h","options":{{}},"started":"2026-01-02T03:04:05Z"}}"#
        );
        let counts = r#""written":1,"merged":0,"filtered":0,"rejected":0,"dropped":0"#;
        let version = |number: usize| format!("md5:{}", harness::export::md5_base64(&export.objects()[4 + number].1));
        let entries = [
            format!(r#"{{"done":{{"key":"{at}/{}","version":"{}","records":2,{counts}}}}}"#, export.key(1), version(1)),
            format!(r#"{{"progress":{{"key":"{at}/{}","version":"md5:other","records":1,{counts}}}}}"#, export.key(2)),
            format!(
                r#"{{"progress":{{"key":"{at}/{}","version":"{}","records":1,{counts}}}}}"#,
                export.key(3),
                version(3)
            ),
        ];
        dir.write("logs/migrate-pictures.bookmark.json", format!("{header}\n{}\n", entries.join("\n")));
        list(&dir, args).env("MIGRATE_LOG_DIR", "logs").run()
    };

    let run = pending(&format!("{at}/exports"));
    run.exits(0).stdout_has(r#""files":3,"items":5,"#).stdout_has(r#""done":{"files":1,"items":3,"bytes":"#);
    assert_eq!(names(&run), ["00000000000000000000000002.json.gz", "00000000000000000000000003.json.gz"]);
    // A file whose content is another one now is read from its beginning.
    run.stdout_has(r#""number":2,"#).stdout_has(r#""number":3,"#);
    let skips: Vec<_> = run.output().lines().filter_map(|line| line.rsplit_once("\"skip\":")).map(|(_, n)| n).collect();
    assert_eq!(skips, ["0}", "1}"]);

    // Another bookmark, say that of a verification, is asked in its place.
    dir.write("other.json", dir.read("logs/migrate-pictures.bookmark.json"));
    let args = ["exports", "--pending", "--profile", "pictures", "--bookmark"];
    assert_eq!(names(list(&dir, args).args(["other.json"]).run().exits(0)).len(), 2);
    assert_eq!(names(list(&dir, args).args(["none.json"]).run().exits(0)).len(), 3);

    let run = pending("s3://elsewhere/");
    run.exits(2)
        .stdout("")
        .stderr_has(&format!("belongs to `s3://elsewhere/`, export {ID}, not to `{at}/exports`, export {ID}"));

    std::fs::remove_dir_all(dir.path().join("logs")).unwrap();
    let fresh = list(&dir, ["exports", "--pending", "--profile", "pictures"]).run();
    assert_eq!(names(fresh.exits(0)).len(), 3);
}
