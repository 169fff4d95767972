//! A real `pgbouncer` in front of a test's PostgreSQL server, in any of its pool modes.
//!
//! Each pooler has a folder and a port of its own. It ends with the test process: a shell waits until its stdin is
//! closed, then kills the pooler and removes the folder. What a program has to do about poolers is not here.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStderr, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::postgres::{self, PASSWORD, Server, USER};

/// Runs until its stdin is closed, which the death of the test process does.
const WATCHDOG: &str = r#"
trap '' INT TERM HUP
pgbouncer "$DIR/pgbouncer.ini" </dev/null >/dev/null &
# The end of the log is the end of the pooler.
exec 2>/dev/null
cat >/dev/null
kill -KILL $!
rm -rf "$DIR"
"#;

/// Debian installs `pgbouncer` here, where the PATH of ordinary users does not look.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin";

/// When the pooler gives a server connection to another client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolMode {
    /// After the client has disconnected.
    Session,
    /// After each transaction.
    Transaction,
    /// After each statement; transactions of several statements are refused.
    Statement,
}

impl PoolMode {
    /// The mode's name in `pgbouncer.ini`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Transaction => "transaction",
            Self::Statement => "statement",
        }
    }
}

/// A running `pgbouncer`, which ends when this is dropped.
#[derive(Debug)]
pub struct Pooler {
    port: u16,
    log: Arc<Mutex<String>>,
    // The pooler lives as long as the shell's stdin is open.
    _watchdog: (Child, ChildStdin),
}

impl Pooler {
    /// Starts a pooler in front of a server, which connects to it as the superuser. The options are lines of
    /// `pgbouncer.ini`, such as `("default_pool_size", "1")`; the others keep the defaults of `pgbouncer`.
    pub fn start(server: &Server, mode: PoolMode, options: &[(&str, &str)]) -> Self {
        Self::start_at(server.port(), USER, mode, options)
    }

    /// Starts a pooler in front of a port of 127.0.0.1. It connects there as this user, whose password is [`PASSWORD`],
    /// whatever user its clients name.
    pub fn start_at(server_port: u16, user: &str, mode: PoolMode, options: &[(&str, &str)]) -> Self {
        let dir = postgres::folder("ddb-pipe-pgbouncer-");
        let mut said = String::new();
        // Another process may take a free port before the pooler does.
        for _ in 0..5 {
            let port = postgres::free_port();
            let mut ini = format!(
                "[databases]\n* = host=127.0.0.1 port={server_port} user={user} password={PASSWORD}\n\
                 [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
                 auth_type = any\npool_mode = {}\n",
                mode.name()
            );
            if postgres::root() {
                // It refuses to run as root.
                ini.push_str("user = postgres\n");
            }
            for (name, value) in options {
                writeln!(ini, "{name} = {value}").expect("a string can be written");
            }
            fs::write(dir.join("pgbouncer.ini"), ini).expect("a file can be written");

            let mut shell = Command::new("/bin/sh");
            // In a group of its own, so that a Ctrl+C which ends the tests does not end it before its work.
            shell.args(["-c", WATCHDOG]).env("DIR", &dir).env("PATH", PATH).current_dir("/").process_group(0);
            shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
            let mut shell = shell.spawn().expect("a shell runs");
            let stdin = shell.stdin.take().expect("stdin is a pipe");
            let mut messages = BufReader::new(shell.stderr.take().expect("stderr is a pipe"));
            said = until_ready(&mut messages);
            if said.contains(READY) {
                let log = Arc::new(Mutex::new(said));
                let kept = Arc::clone(&log);
                thread::spawn(move || keep(messages, &kept));
                return Self { port, log, _watchdog: (shell, stdin) };
            }
            // The folder is needed for the next attempt.
            let _ = shell.kill();
            let _ = shell.wait();
        }
        panic!("pgbouncer does not start (is it installed?):\n{said}");
    }

    /// The pooler's port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Runs a command of the pooler's console, such as `show servers`. The result's rows are lines, its columns are
    /// separated by `|`.
    #[track_caller]
    pub fn console(&self, command: &str) -> String {
        let mut psql = Command::new("psql");
        psql.env_clear().env("PATH", PATH);
        psql.args(["-X", "-q", "-A", "-t", "-h", "127.0.0.1", "-U", USER, "-d", "pgbouncer", "-c", command]);
        let output = psql.arg("-p").arg(self.port.to_string()).output().expect("psql runs");
        assert!(output.status.success(), "{command}\n{}\n{}", String::from_utf8_lossy(&output.stderr), self.log());
        String::from_utf8(output.stdout).expect("UTF-8").trim_end_matches('\n').to_owned()
    }

    /// What the pooler has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What the pooler logs when it listens.
const READY: &str = "process up";

/// Reads the log until the pooler listens, or until it has ended.
fn until_ready(messages: &mut BufReader<ChildStderr>) -> String {
    let mut said = String::new();
    while !said.contains(READY) && messages.read_line(&mut said).expect("a log is text") > 0 {}
    said
}

/// Keeps what the pooler logs, until it has ended.
fn keep(messages: BufReader<ChildStderr>, log: &Mutex<String>) {
    for line in messages.lines().map_while(Result::ok) {
        // Version 1.18 says this of every COPY that a client follows up before it is answered.
        if line.contains("FIXME: query end, but query_start == 0") {
            continue;
        }
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        log.push_str(&line);
        log.push('\n');
    }
}
