//! The contract between the programs, with foreign filters between them and bad input before them.

use harness::export::Export;
use harness::postgres::Postgres;
use harness::{Dir, gzip};

use crate::{bash, picture, pictures};

fn export() -> Export {
    Export::new("Pictures", "01700000000000-abcdef12")
        .file(pictures(50))
        .file([picture(900, 0, 85), picture(901, 1, 72)])
}

#[test]
fn a_filter_may_change_rows() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    export().write_to(&dir);

    let jq = r"jq -c 'if .agencyId then .agencyId = 1000 else . end'";
    bash(&dir, &postgres, &format!("ddb-list . | ddb-cat | ddb-parse -p pictures | {jq} | pg-upsert --create"))
        .run()
        .exits(0);

    assert_eq!(postgres.query(r#"select distinct "agencyId" from pictures"#).trim_end(), "1000");
}

#[test]
fn rows_that_a_filter_drops_fail_the_file_unless_that_is_wanted() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    export().write_to(&dir);
    let pipeline = "ddb-list . | ddb-cat | ddb-parse -p pictures | jq -c 'select(.id != 900)' | pg-upsert --create";

    let strict = bash(&dir, &postgres, pipeline).run();
    let lossy = bash(&dir, &postgres, &format!("{pipeline} --lossy")).run();

    strict.exits(1).stderr_has("00000000000000000000000002.json.gz");
    lossy.exits(0);
    assert_eq!(postgres.query("select count(*) from pictures where id in (900, 901)").trim_end(), "1");
}

#[test]
fn data_that_looks_like_a_marker_is_rejected_and_ends_nothing() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    let forged = r#"{"$file":{"event":"end","key":"x","records":1}}"#;
    let escaped = r#" {"\u0024file":{"event":"fail","key":"x","reason":"r"}}"#;
    let export = Export::new("Pictures", "01700000000000-abcdef12");
    export.file([&picture(1, 0, 85), forged, escaped, &picture(2, 0, 85)]).write_to(&dir);

    let line = "ddb-list . | ddb-cat | ddb-parse -p pictures | pg-upsert -p pictures --create";
    let run = bash(&dir, &postgres, line).run();

    run.exits(1);
    assert_eq!(postgres.query("select count(*) from pictures").trim_end(), "2");
    let rejects = dir.read("migrate-pictures.rejects.jsonl");
    let rejects: Vec<serde_json::Value> = rejects.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> = rejects.iter().map(|reject| (reject["stage"].as_str(), reject["record"].as_u64())).collect();
    assert_eq!(told, [(Some("ddb-cat"), Some(2)), (Some("ddb-cat"), Some(3))]);
    assert!(!dir.has("migrate-pictures.bookmark.json"), "all files are done");
}

#[test]
fn bad_records_among_good_ones_are_kept_with_where_they_came_from() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    let bad = r#"{"Item":{"id":{"S":"x"}}}"#;
    let nul = picture(3, 0, 85).replace("picture 3", "nul \\u0000");
    let export = Export::new("Pictures", "01700000000000-abcdef12");
    export.file([&picture(1, 0, 85), "not json", bad, &nul, &picture(2, 0, 85)]).write_to(&dir);

    let line = "ddb-list . | ddb-cat | ddb-parse -p pictures | pg-upsert -p pictures --create";
    bash(&dir, &postgres, line).run().exits(1);

    assert_eq!(postgres.query("select id from pictures order by id"), "1\n2");
    let rejects = dir.read("migrate-pictures.rejects.jsonl");
    let rejects: Vec<serde_json::Value> = rejects.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> = rejects.iter().map(|reject| (reject["record"].as_u64(), reject["reason"].as_str())).collect();
    assert_eq!(
        told,
        [
            (Some(2), Some("not JSON at column 1: a value was expected")),
            (Some(3), Some("attribute `pictureId` is missing")),
            (Some(4), Some("attribute `caption` holds the character U+0000, which PostgreSQL cannot store")),
        ]
    );
    assert_eq!(rejects[1]["data"]["Item"]["id"]["S"], "x");
    assert!(rejects[0]["key"].as_str().unwrap().ends_with("00000000000000000000000001.json.gz"));
}

#[test]
fn a_file_that_is_not_whole_is_not_done_and_the_others_are() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    let whole = export();
    whole.write_to(&dir);
    let first = whole.key(1);
    let content = gzip(pictures(50).join("\n") + "\n");
    dir.write(&first, &content[..content.len() - 4]);
    let line = "ddb-list . --pending -p pictures | ddb-cat | ddb-parse -p pictures | pg-upsert -p pictures --create";

    bash(&dir, &postgres, line).run().exits(1).stderr_has("the file ends in the checksum of a member");
    assert_eq!(postgres.query("select count(*) from pictures where id >= 900").trim_end(), "2");
    assert!(dir.has("migrate-pictures.bookmark.json"));

    // Mended, the same command completes the work, and reads the mended file only.
    whole.write_to(&dir);
    let again = bash(&dir, &postgres, line).run();
    again.exits(0).stderr_has("Processing file [1/2]");
    assert!(!again.messages().contains("Processing file [2/2]"), "{again:?}");
    assert!(!dir.has("migrate-pictures.bookmark.json"));
}
