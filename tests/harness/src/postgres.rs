//! A private PostgreSQL server, started once by each test binary, and a fresh database for each test; a test that breaks
//! the server itself starts one of its own.
//!
//! A server lies in a temporary folder, listens on a port of 127.0.0.1 that was free, and wants a password. It
//! survives no test run: a shell waits for the end of the test process, in whatever way it comes, and then stops the
//! server and removes the folder.
//!
//! The server is the newest of those below `/usr/lib/postgresql`, or the one whose folder [`SERVER_VARIABLE`] names.

pub mod certificate;

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use crate::pgbouncer::Pooler;

/// The superuser, as whom the tests connect.
pub const USER: &str = "postgres";

/// Its password.
pub const PASSWORD: &str = "pass-word-of-the-tests";

/// The environment variable that names the folder of a PostgreSQL with `bin/initdb` in it, to test other versions than the
/// newest that is installed.
pub const SERVER_VARIABLE: &str = "DDB_PIPE_TEST_POSTGRES";

/// What our own sessions are like, whatever a test has set for its database.
const OPTIONS: &str = "-c client_min_messages=warning -c default_transaction_read_only=off";

/// Runs until its stdin is closed, which the death of the test process does.
const WATCHDOG: &str = r#"
trap '' INT TERM HUP
as() { if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi; }
if as "$BIN/pg_ctl" -D "$DIR/data" -w -t 60 -l "$DIR/log" start </dev/null >/dev/null 2>&1; then echo ready; else echo failed; fi
cat >/dev/null
as "$BIN/pg_ctl" -D "$DIR/data" -m immediate stop </dev/null >/dev/null 2>&1
rm -rf "$DIR"
"#;

static SERVER: OnceLock<Arc<Server>> = OnceLock::new();

/// A server, which lives as long as this does.
#[derive(Debug)]
pub struct Server {
    version: u32,
    port: u16,
    bin: PathBuf,
    dir: PathBuf,
    databases: AtomicU32,
    certificates: AtomicU32,
    // Held open as long as the process lives.
    _watchdog: (Child, ChildStdin),
}

impl Server {
    /// Starts a server for tests.
    pub fn start() -> Arc<Self> {
        Self::start_with(&[("max_connections", "60"), ("shared_buffers", "64MB")])
    }

    /// Starts a server with these settings; the others are PostgreSQL's own.
    pub fn start_with(settings: &[(&str, &str)]) -> Arc<Self> {
        let (version, bin) = binaries();
        let dir = folder("ddb-pipe-postgres-");
        fs::write(dir.join("password"), PASSWORD).expect("a file can be written");
        let initdb = bin.join("initdb");
        let data = dir.join("data");
        run(as_owner(&initdb)
            .arg("-D")
            .arg(&data)
            .args(["-U", USER, "-A", "scram-sha-256", "-E", "UTF8"])
            .args(["--locale=C.UTF-8", "--no-sync", "--pwfile"])
            .arg(dir.join("password")));

        // Another process may take a free port before the server does.
        for _ in 0..5 {
            let port = free_port();
            let mut config = String::new();
            let (port_text, sockets) = (port.to_string(), format!("'{}'", dir.display()));
            let own =
                [("listen_addresses", "'127.0.0.1'"), ("port", &port_text), ("unix_socket_directories", &sockets)];
            for (name, value) in own.iter().chain(settings) {
                writeln!(config, "{name} = {value}").expect("a string can be written");
            }
            fs::write(data.join("postgresql.auto.conf"), config).expect("a file can be written");
            if let Some(watchdog) = launch(&bin, &dir) {
                let (databases, certificates) = Default::default();
                return Arc::new(Self { version, port, bin, dir, databases, certificates, _watchdog: watchdog });
            }
        }
        panic!("the server does not start:\n{}", fs::read_to_string(dir.join("log")).unwrap_or_default());
    }

    /// Lets it die as by a power cut, and starts it again: it recovers what was committed.
    pub fn crash(&self) {
        let data = self.dir.join("data");
        let control = self.bin.join("pg_ctl");
        run(as_owner(&control).arg("-D").arg(&data).args(["-m", "immediate", "stop"]));
        let log = self.dir.join("log");
        let mut start = as_owner(&control);
        start.arg("-D").arg(&data).args(["-w", "-t", "60", "-l"]).arg(log).arg("start");
        // The server would keep the pipes of a captured output open.
        let status = start.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        assert!(status.is_ok_and(|status| status.success()), "the server does not start again");
    }

    /// `psql` in a database, as the superuser, which reads SQL from its stdin and goes on after errors. It may write even
    /// where others may not.
    pub fn session(&self, database: &str) -> Command {
        // Archives of the server alone come without it; any version of it speaks to any server.
        let own = self.bin.join("psql");
        let mut psql = if own.exists() { Command::new(own) } else { Command::new("psql") };
        psql.env_clear().env("PGPASSWORD", PASSWORD).env("PGOPTIONS", OPTIONS);
        psql.args(["-X", "-q", "-A", "-t", "-h", "127.0.0.1", "-U", USER, "-d", database]);
        psql.arg("-p").arg(self.port.to_string());
        psql
    }

    /// The server's port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The processor time that it has taken until now, with all its processes.
    pub fn cpu(&self) -> Duration {
        let pid = fs::read_to_string(self.dir.join("data/postmaster.pid")).expect("the server runs");
        let pid = pid.lines().next().expect("a process");
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("the server runs");
        let ticks = |pid: &str| -> u64 {
            // One that has just ended counts as the server's own time. proc(5): utime, stime, cutime, cstime.
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ').skip(11).take(4);
            fields.filter_map(|field| field.parse::<u64>().ok()).sum()
        };
        let ticks: u64 = std::iter::once(pid).chain(children.split_ascii_whitespace()).map(ticks).sum();
        Duration::from_millis(ticks * 10)
    }

    /// Runs SQL in a database as the superuser. The result's rows are lines, its columns are parted by `|`.
    #[track_caller]
    pub fn psql(&self, database: &str, sql: &str) -> String {
        let mut psql = self.session(database);
        let output = psql.args(["-v", "ON_ERROR_STOP=1", "-c", sql]).output().expect("psql runs");
        assert!(output.status.success(), "{sql}\n{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8").trim_end_matches('\n').to_owned()
    }

    /// Drops a database, if it exists, with the sessions in it.
    #[track_caller]
    pub fn drop_database(&self, database: &str) {
        // Version 12 has no `drop database ... with (force)`. A pooler connects again when its sessions are ended, so
        // connections are refused first. The drop itself waits until the ended sessions are gone.
        let mut psql = self.session("postgres");
        psql.args(["-v", "ON_ERROR_STOP=1"]);
        for sql in [
            format!("update pg_database set datallowconn = false where datname = '{database}'"),
            format!("select pg_terminate_backend(pid) from pg_stat_activity where datname = '{database}'"),
            format!("drop database if exists {database}"),
        ] {
            psql.arg("-c").arg(sql);
        }
        run(&mut psql);
    }
}

fn launch(bin: &Path, dir: &Path) -> Option<(Child, ChildStdin)> {
    let mut shell = Command::new("/bin/sh");
    // In a group of its own, so that a Ctrl+C which ends the tests does not end it before its work.
    shell.args(["-c", WATCHDOG]).env("BIN", bin).env("DIR", dir).current_dir("/").process_group(0);
    shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut shell = shell.spawn().expect("a shell runs");
    let stdin = shell.stdin.take().expect("stdin is a pipe");
    let mut line = String::new();
    BufReader::new(shell.stdout.take().expect("stdout is a pipe")).read_line(&mut line).expect("a line");
    if line == "ready\n" {
        return Some((shell, stdin));
    }
    // The folder is needed for the next attempt.
    let _ = shell.kill();
    let _ = shell.wait();
    None
}

/// The major version of the server to test with, and the folder of its programs.
fn binaries() -> (u32, PathBuf) {
    let bin = match env::var_os(SERVER_VARIABLE) {
        Some(named) => PathBuf::from(named).join("bin"),
        None => newest_installed(),
    };
    let mut version = Command::new(bin.join("postgres"));
    let said = version.arg("--version").output().unwrap_or_else(|error| panic!("{version:?}: {error}"));
    // `postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)`, `postgres (PostgreSQL) 19devel`
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let number = said.split_once("(PostgreSQL) ").map_or("", |(_, number)| number);
    let major: String = number.chars().take_while(char::is_ascii_digit).collect();
    (major.parse().unwrap_or_else(|_| panic!("{version:?} says: {said}")), bin)
}

fn newest_installed() -> PathBuf {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, bin)| bin.join("initdb").exists())
        .collect();
    versions.sort();
    versions.pop().expect("PostgreSQL's server is installed in /usr/lib/postgresql").1
}

/// A new temporary folder, which the user of the servers may enter and which its server removes.
pub(crate) fn folder(prefix: &str) -> PathBuf {
    let dir = tempfile::Builder::new().prefix(prefix).tempdir().expect("a temporary folder").keep();
    if root() {
        run(Command::new("chown").arg("postgres").arg(&dir));
    }
    dir
}

pub(crate) fn root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("id runs");
    id.stdout == b"0\n"
}

/// PostgreSQL refuses to run as root.
fn as_owner(program: &Path) -> Command {
    if !root() {
        return Command::new(program);
    }
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--"]).arg(program).current_dir("/");
    command
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("it has an address").port()
}

/// A database of the test's own; dropped with its connections after the test.
#[derive(Debug)]
pub struct Postgres {
    server: Arc<Server>,
    database: String,
}

impl Postgres {
    /// A new, empty database of the server that all tests of this process share.
    #[expect(clippy::new_without_default, reason = "a database is made, which `default` does not suggest")]
    pub fn new() -> Self {
        Self::on(SERVER.get_or_init(Server::start))
    }

    /// A new, empty database of that server.
    pub fn on(server: &Arc<Server>) -> Self {
        let database = format!("test_{}", server.databases.fetch_add(1, Ordering::Relaxed));
        // In a linguistic order, as most databases have it: what needs the order of bytes has to say so.
        let order = if server.version >= 15 { "locale_provider icu icu_locale 'en-US'" } else { "" };
        server.psql("postgres", &format!("create database {database} template template0 {order}"));
        Self { server: Arc::clone(server), database }
    }

    /// Its server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Runs SQL. The result's rows are lines, its columns are parted by `|`.
    #[track_caller]
    pub fn query(&self, sql: &str) -> String {
        self.server.psql(&self.database, sql)
    }

    /// The database's name.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// The server's port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.server.port
    }

    /// The folder of the server's unix socket.
    pub fn socket_dir(&self) -> &Path {
        &self.server.dir
    }

    /// What a program needs in its environment to connect.
    pub fn envs(&self) -> Vec<(&'static str, String)> {
        self.envs_at(self.port())
    }

    /// The same by way of a [`Proxy`].
    pub fn envs_by(&self, proxy: &Proxy) -> Vec<(&'static str, String)> {
        self.envs_at(proxy.port())
    }

    /// The same through a [`Pooler`].
    pub fn envs_through(&self, pooler: &Pooler) -> Vec<(&'static str, String)> {
        self.envs_at(pooler.port())
    }

    fn envs_at(&self, port: u16) -> Vec<(&'static str, String)> {
        vec![
            ("SERVER", "127.0.0.1".to_owned()),
            ("PORT", port.to_string()),
            ("PG_USER", USER.to_owned()),
            ("PASSWORD", PASSWORD.to_owned()),
            ("DATABASE", self.database.clone()),
            ("DB_SSL", "false".to_owned()),
        ]
    }

    /// Ends every other connection to the database and says how many there were.
    pub fn terminate_connections(&self) -> u32 {
        let ended = self.query(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity \
             where datname = current_database() and pid <> pg_backend_pid()",
        );
        ended.parse().expect("a count is a number")
    }

    /// Waits until a query's result is this; of a server that works this is soon.
    #[track_caller]
    pub fn wait_for(&self, sql: &str, expected: &str) {
        let begun = std::time::Instant::now();
        loop {
            let found = self.query(sql);
            if found == expected {
                return;
            }
            assert!(begun.elapsed().as_secs() < 30, "{sql}\nis\n{found}\nand not\n{expected}");
            thread::yield_now();
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.server.drop_database(&self.database);
        }
    }
}

/// A way to the server that can be cut: for outages that the server's other users do not notice.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    state: Arc<Mutex<ProxyState>>,
}

#[derive(Debug, Default)]
struct ProxyState {
    cut: bool,
    lose_commit: bool,
    streams: Vec<TcpStream>,
}

impl Proxy {
    /// A way to that database's server.
    pub fn to(postgres: &Postgres) -> Self {
        let target = postgres.port();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("it has an address").port();
        let state = Arc::<Mutex<ProxyState>>::default();
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
                if state.cut {
                    continue;
                }
                let server = TcpStream::connect(("127.0.0.1", target)).expect("the server is up");
                let copy = |socket: &TcpStream| socket.try_clone().expect("a socket");
                let (from, to, watched) = (copy(&client), copy(&server), Arc::clone(&shared));
                thread::spawn(move || ask(&from, &to, &watched));
                let (from, to) = (copy(&server), copy(&client));
                thread::spawn(move || forward(&from, &to));
                state.streams.extend([client, server]);
            }
        });
        Self { port, state }
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Breaks every connection and lets no new one through.
    pub fn cut(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.cut = true;
        for stream in state.streams.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Lets the next COMMIT through and breaks the connection before its answer.
    pub fn lose_the_answer_to_commit(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).lose_commit = true;
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).cut = false;
    }
}

/// Hands on what the client asks.
fn ask(mut client: &TcpStream, mut server: &TcpStream, state: &Mutex<ProxyState>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = client.read(&mut buffer) {
        let commit = buffer[..length].windows(7).any(|window| window == b"COMMIT\0");
        if commit && std::mem::take(&mut state.lock().unwrap_or_else(PoisonError::into_inner).lose_commit) {
            let _ = client.shutdown(Shutdown::Both);
        }
        if server.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = server.shutdown(Shutdown::Write);
}

fn forward(mut from: &TcpStream, mut to: &TcpStream) {
    // Either side may be cut at any time: that is what it is for.
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}
