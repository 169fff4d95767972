//! `ddb-list` as its users meet it: through its command line and its output.

use std::io::{BufRead as _, BufReader};
use std::process::Command;

use harness::export::Export;
use harness::s3::S3;
use harness::{Dir, Finished, Program, gzip, program};
use serde_json::Value;

const ID: &str = "01700000000000-abcdef12";
const LATER: &str = "01700000900000-00000000";
const LATEST: &str = "2023-11-14T22:28:20.000Z";
const LATEST_ID: &str = "01700006400000-00000000";

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
        r#"{{"$source":{{"v":1,"source":"s3://exports/exports/","export":"{ID}","table":"Pictures","time":"2023-11-14T22:13:20Z","shard":null,"files":2,"items":3,"bytes":{},"done":{{"files":0,"items":0,"bytes":0}}}}}}"#,
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
    let dir = Dir::new();
    pictures(ID).with("outputFormat", "CSV").write_to(&dir);
    list(&dir, ["."]).run().exits(2).stdout("").stderr_has("is in the format `CSV`, which is not supported");
    for (export, message) in [
        (pictures(ID).incremental().with("exportFromTime", Value::Null), "but has no `exportFromTime`"),
        (pictures(ID).changes("noon", "2023-11-14T22:13:20.000Z"), "has the `exportFromTime` `noon`, which is no time"),
        (
            pictures(ID).changes(LATEST, LATEST),
            "a period from 2023-11-14T22:28:20Z to 2023-11-14T22:28:20Z, which is none",
        ),
        (pictures(ID).incremental().with("outputView", "KEYS"), "has the `outputView` `KEYS`, which is not known"),
    ] {
        let dir = Dir::new();
        export.write_to(&dir);
        list(&dir, ["."]).run().exits(65).stdout("").stderr_has(message);
    }
}

#[test]
fn the_files_of_an_increment_are_those_that_its_manifest_names() {
    let (s3, dir) = (S3::start(), Dir::new());
    let ours = pictures(ID).incremental();
    let theirs = pictures(LATER).changes("2023-11-14T22:13:20.000Z", LATEST).with("outputView", "NEW_IMAGE");
    for export in [&ours, &theirs] {
        export.put_to(&s3).write_to(&dir);
    }

    for (export, id) in [(&ours, ID), (&theirs, LATER)] {
        // Of the last prefix the folder with the data files is no part.
        for place in ["", "exports/", &export.folder()] {
            let run = program!("ddb-list").envs(s3.envs()).args(["--plain", "--export", id, &s3.url(place)]).run();
            run.exits(0).stderr("").stdout(&format!(
                "s3://exports/{}\ns3://exports/{}\n",
                export.key(1),
                export.key(2)
            ));
            let at = dir.path().canonicalize().unwrap();
            let run = list(&dir, ["--plain", "--export", id, if place.is_empty() { "." } else { place }]).run();
            run.exits(0).stderr("").stdout(&format!("{0}/{1}\n{0}/{2}\n", at.display(), export.key(1), export.key(2)));
        }
    }
    let about = r#""table":"Pictures","period":{"from":"2023-11-14T21:13:20Z","to":"2023-11-14T22:13:20Z"},"view":"NEW_AND_OLD_IMAGES","shard":null,"files":2,"items":3,"#;
    list(&dir, [".", "--export", ID]).run().exits(0).stdout_has(about);
    list(&dir, [".", "--latest"]).run().exits(0).stdout_has(r#""to":"2023-11-14T22:28:20Z"},"view":"NEW_IMAGES","#);
    list(&dir, ["."]).run().exits(2).stderr_has(&format!(
        "{ID} of Pictures from 2023-11-14T21:13:20.000Z to 2023-11-14T22:13:20.000Z; {LATER} of Pictures from"
    ));

    s3.delete(&ours.key(2));
    let run = program!("ddb-list").envs(s3.envs()).args(["--export", ID, &s3.url(&ours.folder())]).run();
    run.exits(65).stdout("").stderr_has(&format!("names `s3://exports/{}`, which is not there", ours.key(2)));
}

#[test]
fn increments_that_were_copied_elsewhere_have_their_files_beside_their_folders() {
    let dir = Dir::new();
    for (key, content) in pictures(ID).incremental().objects() {
        dir.write(&format!("copy/{}", key.strip_prefix("exports/AWSDynamoDB/").unwrap()), content);
    }

    for place in ["copy".to_owned(), format!("copy/{ID}")] {
        list(&dir, ["--plain", &place]).run().exits(0).stdout_has("/copy/data/01700000000000000000000002.json.gz\n");
    }
}

/// A full export of 22:13:20, an increment that overlaps it, one that joins that, one that both cover, and one of another
/// time that has not ended.
fn chain(dir: &Dir) {
    let exports = [
        pictures(ID),
        pictures("01700000600000-00000001").changes("2023-11-14T22:00:00.000Z", "2023-11-14T22:30:00.000Z"),
        pictures("01700000700000-00000002").changes("2023-11-14T22:15:00.000Z", "2023-11-14T22:30:00.000Z"),
        pictures("01700000800000-00000003").changes("2023-11-14T22:30:00.000Z", "2023-11-14T23:00:00.000Z"),
    ];
    for export in &exports {
        export.write_to(dir);
    }
    dir.write("exports/AWSDynamoDB/01700000900000-00000004/_started", "");
}

#[test]
fn a_chain_is_a_full_export_and_the_increments_that_join_it() {
    let dir = Dir::new();
    chain(&dir);

    let run = list(&dir, ["exports", "--chain"]).run();

    let at = dir.path().canonicalize().unwrap().display().to_string();
    let line = |id: &str, what: &str| {
        format!(
            r#"{{"export":"{id}",{what},"table":"Pictures","table_id":"6ac1b0e6-7c9b-4b1a-9a0e-0123456789ab","items":3,"prefix":"{at}/exports/AWSDynamoDB/{id}/"}}"#
        )
    };
    let changes = |from: &str, to: &str| {
        format!(
            r#""type":"incremental","from":"2023-11-14T{from}Z","to":"2023-11-14T{to}Z","view":"NEW_AND_OLD_IMAGES""#
        )
    };
    let expected = [
        format!(r#"{{"$chain":{{"v":1,"source":"{at}/exports","table":"Pictures","exports":3}}}}"#),
        line(ID, r#""type":"full","time":"2023-11-14T22:13:20Z""#),
        line("01700000600000-00000001", &changes("22:00:00", "22:30:00")),
        line("01700000800000-00000003", &changes("22:30:00", "23:00:00")),
    ];
    run.exits(0).stdout(&(expected.join("\n") + "\n")).stderr_has("the export `01700000900000-00000004` has not ended");
    let ids = format!("{ID}\n01700000600000-00000001\n01700000800000-00000003\n");
    list(&dir, ["exports", "--chain", "--plain"]).run().exits(0).stdout(&ids);
    list(&dir, ["exports", "--chain", "--plain", "--export", ID]).run().exits(0).stdout(&ids);
}

#[test]
fn a_hole_in_a_chain_is_an_error_that_says_where_and_how_long() {
    let dir = Dir::new();
    let id = |number: u32| format!("0170000090000{number}-00000000");
    // What a real chain had: the first increment began 70 seconds after the full export.
    pictures(ID).with("exportTime", "2023-11-14T10:18:50.000Z").write_to(&dir);
    pictures(&id(1)).changes("2023-11-14T10:20:00.000Z", "2023-11-14T10:35:00.000Z").write_to(&dir);
    let message = format!(
        "there is a hole of 1m 10s: the export `{ID}` reaches to 2023-11-14T10:18:50Z, and the next one, `{}`, begins at 2023-11-14T10:20:00Z\nhint: export the period between",
        id(1)
    );
    list(&dir, ["exports", "--chain"]).run().exits(65).stdout("").stderr_has(&message);

    pictures(&id(2)).changes("2023-11-14T10:15:00.000Z", "2023-11-14T10:30:00.000Z").write_to(&dir);
    pictures(&id(3)).changes("2023-11-14T10:35:00.001Z", "2023-11-14T10:50:00.000Z").write_to(&dir);
    let message =
        format!("a hole of 1ms: the export `{}` reaches to 2023-11-14T10:35:00Z, and the next one, `{}`", id(1), id(3));
    list(&dir, ["exports", "--chain"]).run().exits(65).stdout("").stderr_has(&message);
}

#[test]
fn a_chain_has_one_full_export_of_one_table() {
    let dir = Dir::new();
    dir.write("loose/1.json.gz", gzip("{}\n"));
    list(&dir, ["loose", "--chain"]).run().exits(0).stdout("").stderr("");
    dir.write(&format!("AWSDynamoDB/{ID}/_started"), "");
    list(&dir, [".", "--chain"]).run().exits(65).stderr_has(&format!("the export `{ID}` has not ended"));

    pictures(LATER).incremental().write_to(&dir);
    list(&dir, ["exports", "--chain"]).run().exits(65).stderr_has("there is no full export of Pictures (6ac1b0e6-7c9b");
    list(&dir, ["exports", "--chain", "--export", LATER]).run().exits(2).stderr_has("is not a full export");

    // The table was made again under its name.
    pictures(ID).with("tableId", "other").write_to(&dir);
    list(&dir, ["exports", "--chain"])
        .run()
        .exits(2)
        .stdout("")
        .stderr_has("exports of more than one table under `")
        .stderr_has(
            "exports`: Pictures (6ac1b0e6-7c9b-4b1a-9a0e-0123456789ab); Pictures (other)\nhint: give a longer prefix",
        );
    list(&dir, ["exports", "--chain", "--plain", "--export", ID]).run().exits(0).stdout(&format!("{ID}\n"));
    list(&dir, ["exports", "--chain", "--latest"]).run().exits(2).stderr_has("cannot be used with");
}

#[test]
fn what_is_applied_is_left_out_of_a_chain() {
    let dir = Dir::new();
    chain(&dir);
    let pending = || list(&dir, ["exports", "--chain", "--plain", "--pending", "-p", "pictures"]).run();
    let all = format!("{ID}\n01700000600000-00000001\n01700000800000-00000003\n");
    pending().exits(0).stdout(&all);

    // `migrate` notes the lines of the list.
    let run = list(&dir, ["exports", "--chain"]).run();
    let lines: Vec<_> = run.output().lines().filter(|line| line.contains("\"export\"")).collect();
    let note = |count: usize| dir.write("migrate-pictures.applied.jsonl", lines[..count].join("\n") + "\n");
    note(1);
    pending().exits(0).stdout("01700000600000-00000001\n01700000800000-00000003\n");
    note(2);
    pending().exits(0).stdout("01700000800000-00000003\n");
    note(3);
    pending().exits(0).stdout("");
    let all_done = r#","table":"Pictures","exports":0}}"#;
    list(&dir, ["exports", "--chain", "--pending", "-p", "pictures"]).run().exits(0).stdout_has(all_done);

    // A newer full export begins nothing: what was deleted before it would stay.
    pictures(LATEST_ID).with("exportTime", "2023-11-15T00:00:00.000Z").write_to(&dir);
    pending().exits(0).stdout("");
    pictures("01700009000000-00000005").changes("2023-11-14T23:00:10.000Z", "2023-11-15T00:30:00.000Z").write_to(&dir);
    pending()
        .exits(65)
        .stderr_has("a hole of 10s: the export `01700000800000-00000003` reaches to 2023-11-14T23:00:00Z");

    dir.write("migrate-pictures.applied.jsonl", lines[0].replace("6ac1b0e6", "7bd2c1f7") + "\n");
    pending().exits(2).stderr_has("what is applied already is of another table").stderr_has("`migrate reset` forgets");
    dir.write("migrate-pictures.applied.jsonl", "{}\n");
    pending()
        .exits(2)
        .stderr_has("the last line of `")
        .stderr_has("applied.jsonl` cannot be read: missing field `export`");
}

#[test]
fn full_exports_without_increments_are_taken_one_at_a_time() {
    let dir = Dir::new();
    let pending = || list(&dir, ["exports", "--chain", "--plain", "--pending", "-p", "pictures"]).run();
    pictures(ID).write_to(&dir);
    let run = list(&dir, ["exports", "--chain"]).run();
    dir.write("migrate-pictures.applied.jsonl", run.output().lines().nth(1).unwrap().to_owned() + "\n");
    // As often as that is asked for.
    pending().exits(0).stdout(&format!("{ID}\n"));

    pictures(LATER).with("exportTime", LATEST).write_to(&dir);
    pending().exits(2).stderr_has("there is more than one export under `").stderr_has("say which with --export ID");
    list(&dir, ["exports", "--chain", "--plain"]).run().exits(0).stdout(&format!("{LATER}\n"));
}

#[test]
fn an_export_that_was_begun_comes_first() {
    let dir = Dir::new();
    chain(&dir);
    let run = list(&dir, ["exports", "--chain"]).run();
    let begun = |id: &str| {
        let header = format!(
            r#"{{"v":1,"run":"r","source":"s","export":"{id}","shard":null,"profile":"pictures","profile_hash":"h","options":{{}},"started":"2026-01-02T03:04:05Z"}}"#
        );
        dir.write("migrate-pictures.bookmark.json", header + "\n");
        list(&dir, ["exports", "--chain", "--plain", "--pending", "-p", "pictures"]).run()
    };

    // The full export that was begun, not a newer one.
    pictures(LATER).with("exportTime", LATEST).write_to(&dir);
    let all = format!("{ID}\n01700000600000-00000001\n01700000800000-00000003\n");
    begun(ID).exits(0).stdout(&all);
    // The increment that was begun, not the one that reaches as far.
    dir.write(
        "migrate-pictures.applied.jsonl",
        run.output().lines().nth(1).unwrap().replace("22:13:20", "22:15:00") + "\n",
    );
    begun("01700000600000-00000001").exits(0).stdout("01700000600000-00000001\n01700000800000-00000003\n");
    begun("01700000700000-00000002").exits(0).stdout("01700000700000-00000002\n01700000800000-00000003\n");
    // One that joins nothing yet waits for its turn.
    begun("01700000800000-00000003").exits(0).stdout("01700000700000-00000002\n01700000800000-00000003\n");
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
    run.exits(0).stdout_has(r#""export":null,"table":null,"shard":null,"files":4,"items":null,"#);
    assert_eq!(names(&run), ["1.json.gz", "x.ion.gz", "10.json.gz", "2.json.gz"]);
    assert_eq!(names(list(&dir, ["odd"]).run().exits(0)), ["0c3f.gz"]);
    dir.write("none/notes.txt", "");
    list(&dir, ["none"]).run().exits(2).stderr_has("there is no export and no `*.json.gz` or `*.ion.gz` file under `");
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
