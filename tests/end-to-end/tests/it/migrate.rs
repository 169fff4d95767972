//! `migrate` with the real programs: from S3, in the background, at a terminal, killed in the middle. What bash decides
//! alone is tested in tests/shell.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;

use harness::Dir;
use harness::export::Export;
use harness::postgres::Postgres;
use harness::s3::S3;

use crate::{bash, pictures, pictures_table};

/// Enough for a run to be met in the middle, in files of several batches each.
const ITEMS: u32 = 30_000;

pub(crate) fn export() -> Export {
    pictures(ITEMS).chunks(10_000).fold(Export::new("Pictures", "01700000000000-abcdef12"), Export::file)
}

/// The table of an undisturbed run.
pub(crate) fn undisturbed(dir: &Dir) -> String {
    let postgres = Postgres::new();
    let line = "ddb-list . | ddb-cat | ddb-parse -p pictures | pg-upsert --create";
    bash(dir, &postgres, line).run().exits(0);
    pictures_table(&postgres)
}

/// Waits until the bookmark notes progress: rows are in the table and more are on their way.
pub(crate) fn wait_for_progress(dir: &Dir) {
    let path = dir.path().join("migrate-pictures.bookmark.json");
    // What is waited for comes soon or never, and then the test's own time ends it.
    while !fs::read_to_string(&path).is_ok_and(|text| text.contains("\"progress\"") || text.contains("\"done\"")) {
        std::thread::yield_now();
    }
}

/// The processes of a program that run in the folder.
fn processes(dir: &Dir, program: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let pid = entry.file_name().to_string_lossy().into_owned();
        let here = fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == dir.path().canonicalize().unwrap());
        let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        if here && name.trim_end() == program {
            found.push(pid);
        }
    }
    found
}

pub(crate) const RUN: &str = "migrate -p pictures run --source . --create -b 500 --gather 500";

#[test]
fn an_export_in_s3_becomes_rows() {
    let (dir, postgres, s3) = (Dir::new(), Postgres::new(), S3::start());
    export().under("exports/2024/").put_to(&s3);

    let line = format!("migrate run --create --source {} --profile=pictures", s3.url("exports/"));
    let run = bash(&dir, &postgres, &line).envs(s3.envs()).run();

    run.exits(0).stderr_has("[pictures] Processing file [3/3]").stderr_has("COMPLETED").stderr_has("30,000");
    let local = Dir::new();
    export().write_to(&local);
    assert_eq!(pictures_table(&postgres), undisturbed(&local));
    assert!(dir.read("migrate-pictures.log").contains("COMPLETED"));
    assert!(!dir.has("migrate-pictures.bookmark.json") && !dir.has("migrate-pictures.pid"));
}

#[test]
fn bucket_and_prefix_come_from_dotenv_as_they_did() {
    let (dir, postgres, s3) = (Dir::new(), Postgres::new(), S3::start());
    Export::new("Pictures", "01700000000000-abcdef12").under("exports/").file(pictures(10)).put_to(&s3);
    let bucket = s3.url("");
    let bucket = bucket.trim_start_matches("s3://").trim_end_matches('/');
    dir.write(".env", format!("S3_BUCKET={bucket}\nS3_PREFIX='exports/'\n"));

    let run = bash(&dir, &postgres, "migrate -p pictures run --create").envs(s3.envs()).run();

    run.exits(0);
}

#[test]
fn killed_in_the_middle_the_same_command_completes_the_work() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    export().write_to(&dir);
    for program in ["ddb-cat", "ddb-parse", "pg-upsert"] {
        let mut run = bash(&dir, &postgres, RUN).spawn();
        wait_for_progress(&dir);
        for pid in processes(&dir, program) {
            Command::new("kill").args(["-9", &pid]).status().unwrap();
        }
        // It was killed, or had just ended.
        run.wait().unwrap();
        if !dir.has("migrate-pictures.bookmark.json") {
            break;
        }
    }

    bash(&dir, &postgres, RUN).run().exits(0);

    assert_eq!(pictures_table(&postgres), undisturbed(&dir));
    assert!(!dir.has("migrate-pictures.bookmark.json"));
}

/// Somebody who has the table for himself: what wants to write waits, and so does everything before it.
struct Hold(Child);

impl Hold {
    fn on(postgres: &Postgres) -> Self {
        let mut psql = postgres.server().session(postgres.database());
        let mut psql = psql.arg("-qAt").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lock = "begin; lock table pictures in share row exclusive mode;\n\\echo held\n";
        psql.stdin.as_mut().unwrap().write_all(lock.as_bytes()).unwrap();
        let mut said = String::new();
        BufReader::new(psql.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "held\n");
        Self(psql)
    }

    fn end(mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

/// Runs at a terminal until somebody presses Ctrl+C in the middle; the exit code and what the terminal shows.
pub(crate) fn run_until_ctrl_c(dir: &Dir, postgres: &Postgres) -> (Option<i32>, String) {
    // `script` gives the run a terminal of its own; what is written to its stdin is typed there.
    // Whoever runs the tests in the background of a script has them ignore Ctrl+C; a person's shell has not.
    let line = format!("exec script -qefc 'exec env --default-signal=INT {RUN}' /dev/null");
    let mut terminal = bash(dir, postgres, &line).stdin_piped().spawn();
    let mut screen = BufReader::new(terminal.stdout.take().unwrap());
    let (pressed, is_pressed) = channel();
    let reader = std::thread::spawn(move || {
        let mut shown = Vec::new();
        // The terminal shows the key when it has sent the signal.
        screen.read_until(b'^', &mut shown).unwrap();
        pressed.send(()).unwrap();
        screen.read_to_end(&mut shown).unwrap();
        String::from_utf8_lossy(&shown).into_owned()
    });
    wait_for_progress(dir);
    let hold = Hold::on(postgres);
    let mut keyboard = terminal.stdin.take().unwrap();
    keyboard.write_all(b"\x03").unwrap();
    is_pressed.recv().unwrap();
    hold.end();
    let status = terminal.wait().unwrap();
    drop(keyboard);
    (status.code(), reader.join().unwrap())
}

#[test]
fn ctrl_c_at_a_terminal_saves_the_bookmark_and_the_run_goes_on_from_there() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    export().write_to(&dir);

    let (code, shown) = run_until_ctrl_c(&dir, &postgres);

    assert_eq!(code, Some(75), "{shown}");
    assert!(dir.has("migrate-pictures.bookmark.json"), "{shown}");
    assert_eq!(processes(&dir, "pg-upsert"), Vec::<String>::new());
    bash(&dir, &postgres, RUN).run().exits(0);
    assert_eq!(pictures_table(&postgres), undisturbed(&dir));
}

#[test]
fn a_run_in_the_background_is_shown_stopped_and_continued() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    export().write_to(&dir);
    let start = "migrate start -p pictures --source . --create -b 200 --gather 200";
    bash(&dir, &postgres, "migrate -p pictures status").run().exits(3).stdout_has("not running");

    bash(&dir, &postgres, start).run().exits(0);
    wait_for_progress(&dir);
    bash(&dir, &postgres, RUN).run().exits(2).stderr_has("running");
    bash(&dir, &postgres, "migrate -p pictures reset").run().exits(2);
    bash(&dir, &postgres, "migrate -p pictures stop").run().exits(0).stdout_has("75");

    bash(&dir, &postgres, "migrate -p pictures status").run().exits(3).stdout_has("75");
    bash(&dir, &postgres, "migrate -p pictures logs -n 500").run().exits(0).stdout_has("Processing file [1/3]");
    bash(&dir, &postgres, RUN).run().exits(0);
    assert_eq!(pictures_table(&postgres), undisturbed(&dir));

    bash(&dir, &postgres, "migrate -p pictures reset").run().exits(0);
}

#[test]
fn a_bookmark_of_another_export_is_refused() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    export().write_to(&dir);
    let mut run = bash(&dir, &postgres, RUN).spawn();
    wait_for_progress(&dir);
    for pid in processes(&dir, "pg-upsert") {
        Command::new("kill").args(["-9", &pid]).status().unwrap();
    }
    run.wait().unwrap();
    let other = Dir::new();
    Export::new("Pictures", "01700000000001-abcdef12").file(pictures(10)).write_to(&other);

    let line = format!("migrate -p pictures run --source {}", other.path().display());
    let refused = bash(&dir, &postgres, &line).run();

    refused.exits(2).stderr_has("01700000000000-abcdef12").stderr_has("01700000000001-abcdef12");
}

#[test]
fn a_dry_run_leaves_table_and_files_as_they_were() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    export().write_to(&dir);

    bash(&dir, &postgres, &format!("{RUN} --dry-run")).run().exits(0);

    assert_eq!(postgres.query("select count(*) from pg_tables where tablename = 'pictures'"), "0");
    assert!(!dir.has("migrate-pictures.bookmark.json"));
}

/// An export in an S3 that moto, an implementation of DynamoDB and its export by others, has made of a table of its own.
/// `scripts/test` installs it.
pub(crate) struct Moto {
    process: Child,
    endpoint: String,
}

impl Moto {
    pub(crate) const SOURCE: &str = "s3://exports/pre";
    pub(crate) const SHOP: &str = "s3://exports/shop";

    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// With a table of a single-table design, of the items in the file.
    pub(crate) fn with_shop(items: &Path) -> Self {
        Self::start_with(&[items])
    }

    fn start_with(items: &[&Path]) -> Self {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut process = Command::new("python3")
            .arg(tests.join("tests/it/moto_export.py"))
            .args(items)
            .stderr(Stdio::null())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut endpoint = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut endpoint).unwrap();
        assert!(endpoint.starts_with("http"), "moto is not on PATH: run the tests by scripts/test");
        Self { process, endpoint: endpoint.trim().to_owned() }
    }

    pub(crate) fn envs(&self) -> [(&str, &str); 4] {
        [
            ("AWS_ENDPOINT_URL", &self.endpoint),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_REGION", "eu-west-1"),
        ]
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        // It ends with its input.
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

#[test]
fn an_export_made_by_moto_becomes_rows() {
    let (dir, postgres, moto) = (Dir::new(), Postgres::new(), Moto::start());
    dir.write(
        "things.toml",
        "table = \"things\"\nkey = [\"id\"]\n[columns]\nid = { type = \"text\" }\nn = { type = \"numeric\" }\n\
         b = { type = \"bytea\" }\nflag = { type = \"boolean\" }\ntags = { type = \"text[]\" }\ndoc = { type = \"jsonb\" }\n",
    );

    let line = format!("ddb-list {} | ddb-cat | ddb-parse -p ./things.toml | pg-upsert --create", Moto::SOURCE);
    let run = bash(&dir, &postgres, &line).envs(moto.envs()).run();

    run.exits(0);
    assert_eq!(postgres.query("select count(*), sum(n) from things"), "101|12345678901234567890123456789012350628");
    assert_eq!(
        postgres.query("select n, b, flag, array(select unnest(tags) order by 1), doc from things where id = 'all'"),
        "12345678901234567890123456789012345678|\\x0001ff|t|{a,b}|{\"l\": [1.5, null, \"é\"], \"m\": {\"x\": \"\"}}"
    );
}
