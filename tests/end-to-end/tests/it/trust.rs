//! Secrets: no process shows one among its arguments, no message and no file of a run holds one, and what a run leaves is
//! for its user only. Whom the programs trust is tested beside `pg-upsert`.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use harness::export::Export;
use harness::postgres::{Postgres, Server};
use harness::s3::{S3, SECRET_KEY};
use harness::{Dir, Finished, Program};

use crate::{bash, picture, pictures};

/// The password, with what has to be escaped in a URL or in `~/.pgpass`. Of whatever piece is shown, [`MARK`] is part.
const PASSWORD: &str = "Zq-1@Zq-2:Zq-3/Zq-4%Zq-5?Zq-6";
const IN_URL: &str = "Zq-1%40Zq-2%3AZq-3%2FZq-4%25Zq-5%3FZq-6";
const IN_PGPASS: &str = r"Zq-1@Zq-2\:Zq-3/Zq-4%Zq-5?Zq-6";
const MARK: &str = "Zq-";

/// Who has that password, in a database of their own.
fn user(server: Option<&Arc<Server>>) -> Postgres {
    let postgres = server.map_or_else(Postgres::new, Postgres::on);
    let name = postgres.database().to_owned();
    postgres.query(&format!("create role {name} superuser login password '{PASSWORD}'"));
    postgres
}

/// Every place where a password may be; `changed` makes it a wrong one.
fn places(postgres: &Postgres, home: &Dir, changed: &str) -> Vec<(&'static str, Vec<(&'static str, String)>)> {
    let (name, port) = (postgres.database(), postgres.port());
    let pgpass = home.write(".pgpass", format!("localhost:*:*:*:other\n*:{port}:*:{name}:{IN_PGPASS}{changed}\n"));
    fs::set_permissions(pgpass, fs::Permissions::from_mode(0o600)).unwrap();
    let home = home.path().display();
    let url = |login: &str, query: &str| format!("postgresql://{login}127.0.0.1:{port}/{name}?sslmode=disable{query}");
    let whole = |url: String| vec![("DATABASE_URL", url), ("SERVER", String::new()), ("DB_SSL", String::new())];
    vec![
        ("PASSWORD", vec![("PASSWORD", format!("{PASSWORD}{changed}"))]),
        ("PGPASSWORD", vec![("PGPASSWORD", format!("{PASSWORD}{changed}"))]),
        ("~/.pgpass", vec![("HOME", home.to_string())]),
        ("a URL", whole(url(&format!("{name}:{IN_URL}{changed}@"), ""))),
        ("its query", whole(url("", &format!("&user={name}&password={IN_URL}{changed}")))),
    ]
}

/// A line of bash as [`bash`] runs it, as that user, whose password is in one of the places.
fn as_user(dir: &Dir, postgres: &Postgres, line: &str, place: &[(&'static str, String)]) -> Program {
    bash(dir, postgres, line).env("PASSWORD", "").env("PG_USER", postgres.database()).envs(place.iter().cloned())
}

/// The arguments of all processes in the folder, from now until it is asked for them.
struct Arguments {
    ended: Arc<AtomicBool>,
    thread: thread::JoinHandle<BTreeSet<String>>,
}

impl Arguments {
    fn watch(dir: &Dir) -> Self {
        let ended = Arc::<AtomicBool>::default();
        let (seen, dir) = (Arc::clone(&ended), dir.path().canonicalize().unwrap());
        let thread = thread::spawn(move || {
            let mut found = BTreeSet::new();
            loop {
                // Once more after the end, so that what was there then is seen.
                let last = seen.load(Ordering::Relaxed);
                found.extend(processes(&dir).into_iter().map(|(_, arguments)| arguments));
                if last {
                    return found;
                }
            }
        });
        Self { ended, thread }
    }

    fn seen(self) -> String {
        self.ended.store(true, Ordering::Relaxed);
        Vec::from_iter(self.thread.join().unwrap()).join("\n")
    }
}

/// The processes whose folder is this: `/proc/<pid>` and the arguments.
fn processes(dir: &Path) -> Vec<(PathBuf, String)> {
    let all = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let here = all.filter(|process| fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd == dir));
    let arguments = |process: &Path| Some(fs::read_to_string(process.join("cmdline")).ok()?.replace('\0', " "));
    here.filter_map(|process| Some((process.clone(), arguments(&process)?))).collect()
}

/// Nothing that a person, or another user of the machine, comes to see has a secret in it.
#[track_caller]
fn nothing_is_shown(run: &Finished, dir: &Dir, arguments: &str, what: &str) {
    for secret in [MARK, SECRET_KEY] {
        run.never_says(secret);
        assert!(!arguments.contains(secret), "{what}: {arguments}");
        for entry in fs::read_dir(dir.path()).unwrap().flatten() {
            let content = String::from_utf8_lossy(&fs::read(entry.path()).unwrap()).into_owned();
            assert!(!content.contains(secret), "{what}: {}: {content}", entry.path().display());
        }
    }
}

/// A session that keeps everybody else from writing to the table until it is closed.
fn locked(postgres: &Postgres) -> Child {
    let mut session = postgres.server().session(postgres.database());
    let mut session = session.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let lock = b"begin; lock table pictures in share mode;\n\\echo locked\n";
    session.stdin.as_mut().unwrap().write_all(lock).unwrap();
    let mut line = String::new();
    BufReader::new(session.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "locked\n");
    session
}

/// Waits until somebody waits for the table.
fn wait_for_waiting(postgres: &Postgres) {
    let waiting = "select count(*) > 0 from pg_stat_activity
                   where datname = current_database() and wait_event_type = 'Lock'";
    postgres.wait_for(waiting, "t");
}

/// An export in S3, a reject in it.
fn export(s3: &S3) {
    let items = pictures(2000);
    let broken = r#"{"Item":{"id":{"S":"x"}}}"#.to_owned();
    Export::new("Pictures", "01700000000000-abcdef12").file(items).file([broken]).put_to(s3);
}

#[test]
fn a_run_shows_no_secret_wherever_the_password_comes_from() {
    let (home, postgres, s3) = (Dir::new(), user(None), S3::start());
    export(&s3);
    let create = bash(&home, &postgres, "ddb-parse -p pictures | pg-upsert --create");
    create.stdin("").run().exits(0);

    for (place, variables) in places(&postgres, &home, "") {
        let dir = Dir::new();
        let line = format!("migrate -p pictures run -b 100 --gather 100 --source {}", s3.url(""));
        let mut lock = locked(&postgres);
        let arguments = Arguments::watch(&dir);
        let run = as_user(&dir, &postgres, &line, &variables).envs(s3.envs());
        let run = thread::spawn(move || run.run());
        wait_for_waiting(&postgres);
        // These are there now for certain, and so among those that are looked at.
        let now = processes(&dir.path().canonicalize().unwrap());
        for program in ["/migrate -p pictures run", "pg-upsert -p pictures"] {
            assert!(now.iter().any(|(_, arguments)| arguments.contains(program)), "{place}: {program}: {now:?}");
        }
        drop(lock.stdin.take());
        lock.wait().unwrap();
        let run = run.join().unwrap();
        let arguments = arguments.seen() + &now.into_iter().map(|(_, arguments)| arguments).collect::<String>();

        run.exits(1);
        assert!(dir.has("migrate-pictures.log") && dir.has("migrate-pictures.rejects.jsonl"));
        nothing_is_shown(&run, &dir, &arguments, place);
    }
}

#[test]
fn a_run_that_fails_shows_no_secret_either() {
    let (home, postgres, s3) = (Dir::new(), user(None), S3::start());
    export(&s3);
    let line = format!("migrate -p pictures run --create --retries 0 --source {}", s3.url(""));
    let fails = |place: &str, variables: &[(&'static str, String)], code: i32, why: &str| {
        let dir = Dir::new();
        let arguments = Arguments::watch(&dir);
        let run = as_user(&dir, &postgres, &line, &[]).envs(s3.envs()).envs(variables.iter().cloned()).run();
        run.exits(code).stderr_has(why);
        nothing_is_shown(&run, &dir, &arguments.seen(), place);
    };

    for (place, variables) in places(&postgres, &home, "wrong") {
        fails(place, &variables, 2, "password authentication failed");
    }
    for (place, mut variables) in places(&postgres, &home, "") {
        // Nobody listens there. A port of one's own wins over that of a URL.
        variables.push(("PORT", "1".to_owned()));
        fails(place, &variables, 69, "cannot connect to PostgreSQL");
    }
    let url = |text: &str| [("DATABASE_URL", text.to_owned()), ("SERVER", String::new())];
    // Not escaped, as people paste it.
    fails("a URL", &url(&format!("postgres://u:{PASSWORD}@h/d")), 2, "DATABASE_URL is not a connection string");
    let with = |name, value: &str| [("PASSWORD", PASSWORD.to_owned()), (name, value.to_owned())];
    fails("a wrong key", &with("AWS_SECRET_ACCESS_KEY", "Zq-wrong"), 2, "SignatureDoesNotMatch");
    fails("no database", &with("DATABASE", "nowhere"), 2, "database \"nowhere\" does not exist");
}

#[test]
fn a_run_whose_server_is_killed_shows_no_secret() {
    let server = Server::start();
    let (dir, home, postgres) = (Dir::new(), Dir::new(), user(Some(&server)));
    Export::new("Pictures", "01700000000000-abcdef12").file(pictures(2000)).write_to(&dir);
    bash(&home, &postgres, "ddb-parse -p pictures | pg-upsert --create").stdin("").run().exits(0);
    let (_, variables) = places(&postgres, &home, "").remove(3);
    let mut lock = locked(&postgres);
    let arguments = Arguments::watch(&dir);

    let run = as_user(&dir, &postgres, "migrate -p pictures run --source . --retries 0", &variables);
    let run = thread::spawn(move || run.run());
    wait_for_waiting(&postgres);
    server.crash();
    let run = run.join().unwrap();
    drop(lock.stdin.take());
    lock.wait().unwrap();

    run.exits(69).stderr_has("giving up");
    for file in ["data", "AWSDynamoDB"] {
        let _ = fs::remove_dir_all(dir.path().join(file));
    }
    nothing_is_shown(&run, &dir, &arguments.seen(), "a killed server");
}

#[test]
fn no_secret_is_among_all_that_the_programs_can_say() {
    let (home, postgres, s3) = (Dir::new(), user(None), S3::start());
    export(&s3);
    let line =
        format!("ddb-list -vv {} | ddb-cat -vv | ddb-parse -vv -p pictures | pg-upsert -vv --create", s3.url(""));

    for changed in ["", "wrong"] {
        for (place, variables) in places(&postgres, &home, changed) {
            let dir = Dir::new();
            let run = as_user(&dir, &postgres, &line, &variables).envs(s3.envs()).env("RUST_LOG", "trace");
            let run = run.env("AWS_SESSION_TOKEN", format!("{MARK}token")).run();
            run.stderr_has(" TRACE [ddb-list] ");
            run.exits(if changed.is_empty() { 1 } else { 2 });
            nothing_is_shown(&run, &dir, "", place);
        }
    }
}

/// The permissions of a file.
fn mode(path: impl AsRef<Path>) -> String {
    format!("{:o}", fs::metadata(path).unwrap().mode() & 0o777)
}

#[test]
fn what_a_run_leaves_is_for_its_user_only() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    let caption = format!(r#""caption":{{"S":"{}"#, "x".repeat(30_000));
    // More than is gathered in memory.
    let mut items: Vec<_> = (0..600).map(|id| picture(id, 0, 85).replace(r#""caption":{"S":""#, &caption)).collect();
    items.push(r#"{"Item":{"id":{"S":"x"}}}"#.to_owned());
    Export::new("Pictures", "01700000000000-abcdef12").file(items).write_to(&dir);
    bash(&dir, &postgres, "ddb-parse -p pictures | pg-upsert --create").stdin("").run().exits(0);
    let mut lock = locked(&postgres);

    let line = "umask 000; export MIGRATE_LOG_FILE=migrate-pictures.log
        ddb-list . --pending --profile pictures | ddb-cat | ddb-parse -p pictures | pg-upsert -p pictures";
    let run = bash(&dir, &postgres, line);
    let run = thread::spawn(move || run.run());
    wait_for_waiting(&postgres);
    let here = dir.path().canonicalize().unwrap();
    let (upsert, _) = processes(&here).into_iter().find(|(_, arguments)| arguments.starts_with("pg-upsert ")).unwrap();
    let open = fs::read_dir(upsert.join("fd")).unwrap().flatten().map(|entry| entry.path());
    let gathered: Vec<_> = open
        .filter(|file| fs::read_link(file).is_ok_and(|link| link.starts_with(&here) && !link.exists()))
        .map(|file| mode(&file))
        .collect();
    assert_eq!(gathered, ["600"], "the temporary file has no name");
    assert_eq!(mode(dir.path().join("migrate-pictures.bookmark.json")), "600");
    drop(lock.stdin.take());
    lock.wait().unwrap();

    run.join().unwrap().exits(1);
    for file in ["migrate-pictures.log", "migrate-pictures.rejects.jsonl"] {
        assert_eq!(mode(dir.path().join(file)), "600", "{file}");
    }
    // A stricter umask stays.
    let line = "umask 277; ddb-parse -p pictures | pg-upsert --rejects strict";
    bash(&dir, &postgres, line).stdin("{\"Item\":{}}\n").run().exits(1);
    assert_eq!(mode(dir.path().join("strict")), "400");
}

#[test]
fn settings_that_cannot_be_read_are_passed_over_and_said_once() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    Export::new("Pictures", "01700000000000-abcdef12").file(pictures(10)).write_to(&dir);
    dir.write(".env", "MIGRATE_LOG_DIR=of-dotenv\n");
    let run = |line: &str| {
        // Root may read everything, unless it gives that up.
        let owner = r#"as_owner() {
            if [ "$(id -u)" = 0 ]; then setpriv --bounding-set=-dac_override,-dac_read_search "$@"; else "$@"; fi
        }"#;
        let run = bash(&dir, &postgres, &format!("{owner}\n{line}")).run();
        // The sequence of `pictures` lags behind after each load.
        let warnings =
            run.messages().lines().filter(|line| line.contains(" WARN [") && !line.contains("The sequence "));
        (warnings.count(), run)
    };
    let said = "] `.env` cannot be read by this user, and is passed over\n";

    let (warnings, whole) = run("chmod 000 .env; as_owner migrate -p pictures run --source . --create");
    whole.exits(0).stderr_has(said);
    assert_eq!(warnings, 1, "{whole:?}");
    let (warnings, alone) = run("as_owner ddb-list . --plain");
    alone.exits(0).stderr_has(said);
    assert_eq!(warnings, 1, "{alone:?}");

    let (warnings, closed) = run("mkdir closed; cd closed; chmod 000 \"$PWD\"
        as_owner migrate -p pictures status --log-dir \"${PWD%/closed}\"; code=$?
        chmod 700 \"$PWD\"; exit $code");
    closed.exits(3).stdout_has("last run: exit code 0");
    assert_eq!(warnings, 0, "{closed:?}");
}

#[test]
fn settings_that_others_can_read_are_warned_of_once() {
    let (dir, postgres) = (Dir::new(), user(None));
    Export::new("Pictures", "01700000000000-abcdef12").file(pictures(10)).write_to(&dir);
    let run = |mode: u32, dotenv: &str, place: &[(&'static str, String)]| {
        let path = dir.write(".env", dotenv);
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let mut run = as_user(&dir, &postgres, "migrate -p pictures run --source . --create", place);
        run.command().env_remove("PASSWORD");
        let run = run.run();
        (run.messages().matches("thers can read").count(), run)
    };
    let dotenv = format!("PASSWORD='{PASSWORD}'\n");

    let (warnings, open) = run(0o644, &dotenv, &[]);
    open.exits(0).stderr_has(" WARN [pictures] Others can read `.env`, which holds PASSWORD (chmod 600 .env)\n");
    assert_eq!(warnings, 1, "{open:?}");
    let (warnings, closed) = run(0o600, &dotenv, &[]);
    closed.exits(0);
    assert_eq!(warnings, 0, "{closed:?}");

    // Nothing in it is secret. As libpq, we do without a `.pgpass` that others can read.
    let home = Dir::new();
    let (_, variables) = places(&postgres, &home, "").remove(2);
    let (warnings, closed) = run(0o644, "MIGRATE_LOG_DIR=.\n", &variables);
    closed.exits(0);
    assert_eq!(warnings, 0, "{closed:?}");
    fs::set_permissions(home.path().join(".pgpass"), fs::Permissions::from_mode(0o640)).unwrap();
    let (warnings, open) = run(0o644, "", &variables);
    open.exits(2).stderr_has(" WARN [pictures] `").stderr_has(".pgpass` is not used: others can read it");
    open.stderr_has("hint: set PASSWORD (or PGPASSWORD, or a line in ~/.pgpass)");
    assert_eq!(warnings, 1, "{open:?}");
}
