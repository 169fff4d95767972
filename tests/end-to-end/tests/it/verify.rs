//! `migrate verify` after a load: all is there; then rows are deleted and changed in SQL, and exactly those are found.

use harness::Dir;
use harness::export::Export;
use harness::postgres::Postgres;
use harness::s3::S3;

use crate::{bash, pictures};

/// A profile in which the order of items shows in the row, of a key that has many items.
const PROFILE: &str = r#"
table = "o"
key = ["k"]
[columns]
k = { type = "text" }
last = { type = "text" }
first = { type = "text", from = "last", merge = "keep" }
known = { type = "numeric(6,2)", merge = "coalesce" }
words = { type = "jsonb", merge = "jsonb_merge" }
texts = { type = "jsonb", from = "words", merge = "jsonb_merge_text" }
loaded = { type = "timestamptz", load_time = true }
"#;

const KEYS: u32 = 40;

/// Items whose keys come again and again, mixed, with values that differ.
fn items(count: u32) -> Vec<String> {
    let item = |n: u32| {
        let mixed = n.wrapping_mul(2_654_435_761) >> 7;
        let known =
            if mixed.is_multiple_of(3) { format!(r#","known":{{"N":"{}.005"}}"#, mixed % 97) } else { String::new() };
        let text = if mixed.is_multiple_of(5) { String::new() } else { format!("text {n}") };
        format!(
            r#"{{"Item":{{"id":{{"N":"{n}"}},"k":{{"S":"k{}"}},"last":{{"S":"{n}"}}{known},"words":{{"M":{{"w{}":{{"S":"{text}"}}}}}}}}}}"#,
            mixed % KEYS,
            mixed % 4,
        )
    };
    (0..count).map(item).collect()
}

/// The keys and columns of the findings, sorted.
fn found(dir: &Dir, profile: &str) -> Vec<String> {
    let findings = dir.read(&format!("migrate-{profile}.verify.jsonl"));
    let mut found: Vec<_> = findings
        .lines()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            format!("{} {} {}", line["key"], line["problem"], line["columns"])
        })
        .collect();
    found.sort_unstable();
    found
}

#[test]
fn after_a_load_all_is_there_and_then_exactly_what_was_changed_is_found() {
    let (dir, postgres, s3) = (Dir::new(), Postgres::new(), S3::start());
    let export = Export::new("Pictures", "01700000000000-abcdef12");
    pictures(3000).chunks(700).fold(export, Export::file).under("exports/").put_to(&s3);
    let source = format!("--source {}", s3.url("exports/"));
    let run =
        |command: &str| bash(&dir, &postgres, &format!("migrate -p pictures {command} {source}")).envs(s3.envs()).run();
    run("run --create").exits(0);

    let rows: u64 = postgres.query("select count(*) from pictures").trim().parse().unwrap();
    run("verify")
        .exits(0)
        .stderr_has("Verified 3,000 records in ")
        .stderr_has(" rows: 0 missing, 0 different, 0 rejected, in ");
    assert!(!dir.has("migrate-pictures.verify.jsonl") && !dir.has("migrate-pictures.verify.bookmark.json"));
    assert!(dir.read("migrate-pictures.verify.log").contains("Verified 3,000 records"));

    postgres.query(
        r#"delete from pictures where id in (5, 78);
           update pictures set width = width + 1 where id = 6;
           update pictures set description_i18n = description_i18n - 'en', "agencyId" = null where id = 7;
           update pictures set variants = variants - 0 where id = 8;
           update pictures set variants = variants || '[{"formatId": 99, "formatPictureId": 1, "path": "of another writer"}]',
             description_i18n = description_i18n || '{"xx": "of another writer"}' where id = 9;
           update pictures set type = 'OTHER', "createdAt" = '2001-01-01', "updatedAt" = '2001-01-01' where id = 10;
           insert into pictures (id, uuid, path) values (999999, gen_random_uuid(), 'x')"#,
    );
    run("verify")
        .exits(1)
        .stderr_has(": 2 missing, 3 different, 0 rejected, in ")
        .stderr_has("rows are missing or differ");
    let expected = [
        r#"{"id":5} "missing" []"#,
        r#"{"id":6} "differs" ["width"]"#,
        r#"{"id":78} "missing" []"#,
        r#"{"id":7} "differs" ["description_i18n","agencyId"]"#,
        r#"{"id":8} "differs" ["variants"]"#,
    ];
    assert_eq!(found(&dir, "pictures"), expected);

    // A second load mends it.
    run("run").exits(0);
    run("verify").exits(0);
    assert_eq!(postgres.query("select count(*) from pictures").trim(), (rows + 1).to_string());
}

/// Items that a later one replaced are no findings, whatever windows, batches and files they came in.
#[test]
fn where_the_order_shows_the_last_word_is_compared() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    dir.write("profiles/o.toml", PROFILE);
    let export = Export::new("O", "01700000000000-abcdef12");
    items(2000).chunks(450).fold(export, Export::file).write_to(&dir);
    let read = |window: u32| format!("ddb-list . | ddb-cat | ddb-parse -p o --window {window}");
    bash(&dir, &postgres, &format!("{} | pg-upsert --create", read(50_000))).run().exits(0);

    let verify = |window, batch| {
        let verify = format!("{} | pg-verify -p o -b {batch} --gather {batch}", read(window));
        bash(&dir, &postgres, &verify).run()
    };
    for (window, batch) in [(50_000, 50_000), (1, 7), (10, 300)] {
        verify(window, batch).exits(0).stderr_has("Verified 2,000 records in ");
    }

    postgres.query(
        r#"update o set last = '0' where k = 'k1';
           update o set known = known + 0.01 where k = 'k2';
           update o set words = words || '{"w0": "other", "w1": "other", "w2": "other", "w3": "other"}' where k = 'k3';
           update o set texts = '{}' where k = 'k4';
           update o set first = 'other' where k = 'k5';
           delete from o where k = 'k6'"#,
    );
    let expected = [
        r#"{"k":"k1"} "differs" ["last"]"#,
        r#"{"k":"k2"} "differs" ["known"]"#,
        r#"{"k":"k3"} "differs" ["words"]"#,
        r#"{"k":"k4"} "differs" ["texts"]"#,
        r#"{"k":"k6"} "missing" []"#,
    ];
    for (window, batch) in [(50_000, 50_000), (1, 7), (10, 300)] {
        verify(window, batch).exits(1);
        assert_eq!(found(&dir, "o"), expected, "window {window}, batch {batch}");
    }
}

/// Cut off again and again, at any byte, a verification ends with what an undisturbed one finds.
#[test]
fn a_verification_that_was_cut_off_finds_the_same() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    dir.write("profiles/o.toml", PROFILE);
    let export = Export::new("O", "01700000000000-abcdef12");
    items(3000).chunks(60).fold(export, Export::file).write_to(&dir);
    bash(&dir, &postgres, "ddb-list . | ddb-cat | ddb-parse -p o | pg-upsert --create").run().exits(0);
    postgres.query("update o set last = '0' where k < 'k2'; delete from o where k > 'k3'");
    let read = "ddb-list . --pending --profile o --bookmark migrate-o.verify.bookmark.json | ddb-cat | ddb-parse -p o --window 20";
    bash(&dir, &postgres, &format!("{read} | pg-verify -p o -b 30 --gather 30")).run().exits(1);
    let undisturbed = found(&dir, "o");
    assert!(undisturbed.len() > 10);
    std::fs::remove_file(dir.path().join("migrate-o.verify.jsonl")).unwrap();

    for round in 0..5_u32 {
        let bytes = round.wrapping_mul(2_654_435_761) % 40_000;
        bash(&dir, &postgres, &format!("{read} | head -c {bytes} | pg-verify -p o -b 30 --gather 30")).run().exits(65);
        assert!(!dir.has("migrate-o.verify.jsonl"), "nothing is certain yet");
    }
    bash(&dir, &postgres, "migrate -p o verify --source .").run().exits(1).stderr_has("Resuming the verification of ");

    assert_eq!(found(&dir, "o"), undisturbed);
}
