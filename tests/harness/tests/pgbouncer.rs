//! The pooler of the harness pools as the mode says, and passes its options on to `pgbouncer`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use harness::pgbouncer::{PoolMode, Pooler};
use harness::postgres::{PASSWORD, Postgres, USER};

/// The backends that answer two clients whose transactions alternate: those of the first, then those of the second.
fn backends(mode: PoolMode, options: &[(&str, &str)]) -> [String; 4] {
    let postgres = Postgres::new();
    let pooler = Pooler::start(postgres.server(), mode, options);
    let client = || Client::connect(&postgres, &pooler);
    let (mut one, mut other) = (client(), client());
    let answers = [one.backend(), other.backend(), one.backend(), other.backend()];
    one.end();
    other.end();
    answers
}

#[test]
fn two_clients_share_a_backend_in_transaction_mode_only() {
    let [first, second, third, fourth] = backends(PoolMode::Transaction, &[("default_pool_size", "1")]);
    assert_eq!([&second, &third, &fourth], [&first; 3]);

    let [first, second, third, fourth] = backends(PoolMode::Session, &[]);
    assert_ne!(first, second);
    assert_eq!((third, fourth), (first, second));
}

#[test]
fn statement_mode_refuses_a_transaction_of_several_statements() {
    let postgres = Postgres::new();
    let pooler = Pooler::start(postgres.server(), PoolMode::Statement, &[]);

    let refused = psql(&postgres, &pooler).args(["-c", "begin", "-c", "select 1"]).output().expect("psql runs");

    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(
        !refused.status.success() && said.contains("transaction blocks not allowed in statement pooling mode"),
        "{said}"
    );
}

#[test]
fn the_console_answers_and_the_log_is_kept() {
    let postgres = Postgres::new();
    let pooler = Pooler::start(postgres.server(), PoolMode::Transaction, &[("query_wait_timeout", "7")]);

    let config = pooler.console("show config");

    assert!(config.lines().any(|line| line.starts_with("query_wait_timeout|7|")), "{config}");
    assert!(pooler.log().contains("process up"), "{}", pooler.log());
}

fn psql(postgres: &Postgres, pooler: &Pooler) -> Command {
    let mut psql = Command::new("psql");
    psql.env("PGPASSWORD", PASSWORD).args(["-X", "-q", "-A", "-t", "-h", "127.0.0.1", "-U", USER]);
    psql.args(["-d", postgres.database(), "-p", &pooler.port().to_string()]);
    psql
}

/// A `psql` that stays connected.
struct Client {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Client {
    fn connect(postgres: &Postgres, pooler: &Pooler) -> Self {
        let mut child = psql(postgres, pooler).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("psql runs");
        let stdin = child.stdin.take().expect("stdin is a pipe");
        let stdout = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
        Self { child, stdin, stdout }
    }

    /// Asks for the backend in a transaction of its own.
    fn backend(&mut self) -> String {
        writeln!(self.stdin, "select pg_backend_pid();").expect("psql reads");
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("psql writes");
        line
    }

    fn end(self) {
        let Self { mut child, stdin, .. } = self;
        drop(stdin);
        assert!(child.wait().expect("a child can be waited for").success());
    }
}
