//! What the predecessor of these programs lost, in silence and with exit code 0, on data that occurs. Each of its losses
//! is a test of its own here: nothing is lost, and what cannot be kept is said.

use std::io::{BufRead as _, BufReader};

use harness::Dir;
use harness::export::Export;
use harness::postgres::{Postgres, Proxy};
use serde_json::Value;

use crate::migrate::{RUN, export, run_until_ctrl_c, undisturbed, wait_for_progress};
use crate::{bash, picture, pictures, pictures_table, root};

const PICTURES: &str =
    "ddb-list . --pending --profile pictures | ddb-cat | ddb-parse -p pictures | pg-upsert -p pictures --create";

/// Writes an export whose files have these lines.
fn write_export(dir: &Dir, files: &[&[String]]) {
    let export = Export::new("Pictures", "01700000000000-abcdef12");
    files.iter().fold(export, |export, lines| export.file(*lines)).write_to(dir);
}

/// Record number and reason of everything that was rejected.
fn rejects(dir: &Dir, profile: &str) -> Vec<(u64, String)> {
    let lines = dir.read(&format!("migrate-{profile}.rejects.jsonl"));
    let rejects = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    rejects.map(|reject| (reject["record"].as_u64().unwrap(), reject["reason"].as_str().unwrap().to_owned())).collect()
}

/// It marked the file as done: 5,520 of 32,056 rows were gone for good, "COMPLETED", exit code 0.
#[test]
fn ctrl_c_in_mid_file() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    let items = pictures(30_000);
    write_export(&dir, &[&items]);

    let (code, shown) = run_until_ctrl_c(&dir, &postgres);

    assert_eq!(code, Some(75), "{shown}");
    assert!(!shown.contains("COMPLETED"), "{shown}");
    let bookmark = dir.read("migrate-pictures.bookmark.json");
    assert!(bookmark.contains("\"progress\"") && !bookmark.contains("\"done\""), "{bookmark}");
    bash(&dir, &postgres, RUN).run().exits(0);
    assert_eq!(pictures_table(&postgres), undisturbed(&dir));
}

/// It skipped the 3,000 to 5,445 records that it had in hand, exit code 0.
#[test]
fn an_outage_of_postgresql_in_mid_run() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    export().write_to(&dir);
    let proxy = Proxy::to(&postgres);

    let mut run = bash(&dir, &postgres, &format!("{RUN} --retry-max-wait 1")).envs(postgres.envs_by(&proxy)).spawn();
    wait_for_progress(&dir);
    proxy.cut();
    let mut messages = BufReader::new(run.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(messages.any(|line| line.contains("trying again") && line.contains("(attempt 3 of 26)")));
    proxy.mend();
    let last = messages.last();

    assert_eq!(run.wait().unwrap().code(), Some(0), "{last:?}");
    assert_eq!(pictures_table(&postgres), undisturbed(&dir));
    assert!(!dir.has("migrate-pictures.rejects.jsonl"));
}

/// They vanished uncounted.
#[test]
fn malformed_lines() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    let whole = picture(2, 0, 85);
    let torn = whole[..whole.len() / 2].to_owned();
    write_export(&dir, &[&[picture(1, 0, 85), torn, String::new(), whole, "}{".to_owned(), picture(3, 0, 85)]]);

    let run = bash(&dir, &postgres, PICTURES).run();

    run.exits(1).stderr_has("6 records = 3 rows written + 0 merged + 0 filtered out + 3 rejected");
    assert_eq!(postgres.query("select id from pictures order by id"), "1\n2\n3");
    let rejects = rejects(&dir, "pictures");
    assert_eq!(rejects.iter().map(|(record, _)| *record).collect::<Vec<_>>(), [2, 3, 5]);
    assert!(rejects.iter().all(|(_, reason)| reason.starts_with("not JSON at column ")), "{rejects:?}");
}

/// It lost the picture, with everything that other items said of it.
#[test]
fn a_nul_in_one_caption() {
    let nul = picture(7, 1, 72).replace("picture 7 in 1", r"ein \u0000Haus");
    let items = [picture(7, 0, 85), nul, picture(8, 0, 85)];
    let descriptions = "select id, description_i18n from pictures order by id";

    let (dir, postgres) = (Dir::new(), Postgres::new());
    write_export(&dir, &[&items]);
    bash(&dir, &postgres, PICTURES).run().exits(1);
    let expected = "7|{\"en\": \"picture 7 in 0\"}\n8|{\"en\": \"picture 8 in 0\"}";
    assert_eq!(postgres.query(descriptions), expected);
    let reason = "attribute `caption` holds the character U+0000, which PostgreSQL cannot store";
    assert_eq!(rejects(&dir, "pictures"), [(2, reason.to_owned())]);

    // And a profile may say what to do about it.
    let (dir, postgres) = (Dir::new(), Postgres::new());
    write_export(&dir, &[&items]);
    let profile = std::fs::read_to_string(root("profiles/pictures.toml")).unwrap();
    dir.write("profiles/pictures.toml", format!("nul = {{ replace = \"?\" }}\n{profile}"));
    bash(&dir, &postgres, PICTURES).run().exits(0);
    let expected = "7|{\"de\": \"ein ?Haus\", \"en\": \"picture 7 in 0\"}\n8|{\"en\": \"picture 8 in 0\"}";
    assert_eq!(postgres.query(descriptions), expected);
}

/// It took U+2028 for the end of the line, and lost both halves.
#[test]
fn a_raw_line_separator() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    write_export(&dir, &[&[picture(7, 0, 85).replace("picture 7 in 0", "one\u{2028}two\u{2029}\u{85}")]]);

    bash(&dir, &postgres, PICTURES).run().exits(0);

    let caption = postgres.query("select description_i18n->>'en' from pictures");
    assert_eq!(caption, "one\u{2028}two\u{2029}\u{85}");
}

/// They were rounded, or lost the item.
#[test]
fn numbers_of_more_than_17_digits() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    let item = r#"{"Item":{"OrderId":{"S":"o-1"},"OrderNumber":{"N":"9223372036854775807"},"Total":{"N":"12345678901234567890.123456789012345678"},"Sizes":{"NS":["99999999999999999999999999999999999999"]},"Anything":{"M":{"n":{"N":"-0.12345678901234567890123456789012345678"}}}}}"#;
    Export::new("Orders", "01700000000000-abcdef12").file([item]).write_to(&dir);

    bash(&dir, &postgres, "ddb-list . | ddb-cat | ddb-parse -p orders | pg-upsert --create").run().exits(0);

    assert_eq!(
        postgres.query("select number, total, sizes, raw from orders"),
        "9223372036854775807|12345678901234567890.123456789012345678|{99999999999999999999999999999999999999}|{\"n\": -0.12345678901234567890123456789012345678}"
    );
}

/// The later file's empty `en` replaced the caption that the earlier one had brought.
#[test]
fn a_picture_whose_languages_lie_in_two_files() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    write_export(&dir, &[&[picture(7, 0, 85)], &[picture(7, 1, 85)]]);

    bash(&dir, &postgres, PICTURES).run().exits(0);

    let descriptions = postgres.query("select description_i18n from pictures");
    assert_eq!(descriptions, r#"{"de": "picture 7 in 1", "en": "picture 7 in 0"}"#);
}
