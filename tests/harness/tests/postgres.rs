//! The PostgreSQL of the harness: any version that the environment names, and databases that leave nothing behind.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use harness::postgres::{Postgres, SERVER_VARIABLE, Server};

#[test]
fn a_database_is_dropped_with_the_sessions_in_it() {
    let server = Server::start();
    let postgres = Postgres::on(&server);
    let mut session = server.session(postgres.database());
    let mut session = session.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut stdin = session.stdin.take().unwrap();
    writeln!(stdin, "select 'connected';").unwrap();
    let mut line = String::new();
    BufReader::new(session.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "connected\n");

    drop(postgres);

    assert_eq!(server.psql("postgres", "select count(*) from pg_database where datname like 'test_%'"), "0");
    drop(stdin);
    session.wait().unwrap();
}

#[test]
fn the_server_is_the_one_that_the_environment_names() {
    // This test's own program, as another process: the variable is read by all tests of this one.
    let mut program = Command::new(std::env::current_exe().unwrap());
    program.env(SERVER_VARIABLE, "/no/postgresql").args(["--exact", "a_database_is_dropped_with_the_sessions_in_it"]);

    let output = program.output().unwrap();

    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("/no/postgresql/bin/postgres"), "{said}");
}
