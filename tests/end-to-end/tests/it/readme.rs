//! The commands that the README and the pages in `docs` show, run as they stand there, one page after the other. A command
//! that neither runs nor is named below as one that cannot run in a test fails.

use std::fs;

use harness::export::Export;
use harness::postgres::Postgres;
use harness::s3::S3;
use harness::{Dir, gzip};

use crate::{bash, pictures, root};

/// What a reader's machine needs, or is tested elsewhere.
const NOT_RUN: [&str; 14] = [
    // Whole programs of their own, which install packages.
    "scripts/bench",
    "scripts/demo",
    "scripts/install",
    "scripts/package",
    "scripts/test",
    "cargo build",
    "sudo ",
    // A systemd that runs: tests/systemd.
    "systemctl ",
    "journalctl ",
    "cp .env.example .env",
    // Follows the log until it is interrupted: tests/shell.
    "migrate -p pictures logs -f",
    // Another program with settings of its own.
    "psql ",
    // The form of a command.
    "migrate -p NAME",
    // The picture of the pipeline.
    "ddb-list           ddb-cat",
];

/// The lines of a page that begin like a command.
fn commands(text: &str) -> Vec<String> {
    let programs =
        ["ddb-", "pg-", "migrate ", "jq ", "cargo ", "scripts/", "sudo ", "systemctl ", "journalctl ", "cp ", "psql "];
    let code = text.lines().filter(|line| line.starts_with("    ")).map(str::trim);
    let code = code.filter(|line| programs.iter().any(|program| line.starts_with(program)));
    code.map(str::to_owned).collect()
}

#[test]
fn every_command_of_the_pages_works() {
    let (dir, postgres, s3) = (Dir::new(), Postgres::new(), S3::start());
    Export::new("Pictures", "01700000000000-abcdef12").under("exports/").file(pictures(60)).put_to(&s3);
    s3.put("exports/AWSDynamoDB/01700000000000-abcdef12/data/x.json.gz", gzip(pictures(5).join("\n") + "\n"));
    let order = r#"{"OrderId":{"S":"o-1"}}"#;
    let moved = |id: &str| Export::new("Orders", id).under("move/");
    let full = moved("01700000000000-0000000a").file([format!(r#"{{"Item":{order}}}"#)]);
    let change = format!(
        r#"{{"Metadata":{{"WriteTimestampMicros":{{"N":"1700000100000000"}}}},"Keys":{order},"OldImage":{order},"NewImage":{order}}}"#
    );
    let increment = moved("01700001000000-0000000b").changes("2023-11-14T22:13:20.000Z", "2023-11-14T22:33:20.000Z");
    full.put_to(&s3);
    increment.file([change]).put_to(&s3);
    let bucket = s3.url("");
    let bucket = bucket.trim_start_matches("s3://").trim_end_matches('/');
    dir.write(".env", format!("S3_BUCKET={bucket}\nS3_PREFIX=exports/\n"));
    dir.write("x.json.gz", gzip("{\"Item\":{\"OrderId\":{\"S\":\"o-1\"},\"Id\":{\"N\":\"1\"}}}\n"));
    dir.write("people.ndjson", "{\"id\":1,\"name\":\"a\",\"age\":7}\n");
    postgres.query("create table people (id int primary key, name text)");
    for profile in ["pictures", "orders"] {
        let line = format!("ddb-parse -p {profile} | pg-upsert --create");
        bash(&dir, &postgres, &line).stdin("").run().exits(0);
    }

    let mut ran = 0;
    let pages = [
        "README.md",
        "docs/failures.md",
        "docs/monitoring.md",
        "docs/operations.md",
        "docs/profiles.md",
        "docs/settings.md",
        "docs/stream.md",
        "docs/troubleshooting.md",
        "docs/verifying.md",
    ];
    for page in pages {
        // The page before may have stopped a run in the middle, which belongs to other options.
        bash(&dir, &postgres, "migrate -p pictures reset").run().exits(0);
        for command in commands(&fs::read_to_string(root(page)).unwrap()) {
            if NOT_RUN.iter().any(|known| command.starts_with(known)) {
                continue;
            }
            let line = command.replace("s3://bucket/", &s3.url("")).replace("s3://my-bucket/", &s3.url(""));
            let run = bash(&dir, &postgres, &line).envs(s3.envs()).run();
            // `status` says with its code whether something runs.
            if !line.contains(" status") {
                run.exits(0);
            }
            ran += 1;
        }
    }

    assert!(ran > 15, "{ran} commands were found");
    assert_eq!(postgres.query("select count(*) from pictures"), "11");
    assert_eq!(postgres.query("select * from people"), "1|a");
    assert_eq!(postgres.query("select order_id from orders"), "o-1");
    assert_eq!(dir.read("orders.csv").lines().count(), 2);
}
