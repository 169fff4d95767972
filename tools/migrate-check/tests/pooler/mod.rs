//! A real pgbouncer before a database.

use std::fmt::Write as _;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use harness::Dir;
use harness::postgres::{PASSWORD, Postgres, USER};
use postgres::{Client, NoTls, SimpleQueryMessage, Transaction};

/// It ends with this.
pub(crate) struct Pooler {
    port: u16,
    database: String,
    child: Child,
    _dir: Dir,
}

impl Pooler {
    /// Starts it with that `pool_mode` and further settings.
    pub(crate) fn start(postgres: &Postgres, mode: &str, settings: &[(&str, &str)]) -> Self {
        let (dir, database) = (Dir::new(), postgres.database().to_owned());
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut ini = format!(
            "[databases]\n{database} = host=127.0.0.1 port={} user={USER} password={PASSWORD}\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = {mode}\n",
            postgres.port()
        );
        for (name, value) in settings {
            writeln!(ini, "{name} = {value}").unwrap();
        }
        let ini = dir.write("pgbouncer.ini", ini);
        // It refuses to run as root, so somebody else must be able to read this.
        for path in [dir.path(), &ini] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        if Command::new("id").arg("-u").output().unwrap().stdout == b"0\n" {
            command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]);
        }
        command.arg("--");
        let child = command.arg("pgbouncer").arg("-q").arg(ini).current_dir("/");
        let child = child.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed().as_secs() < 30, "pgbouncer does not start");
            thread::yield_now();
        }
        Self { port, database, child, _dir: dir }
    }

    /// Its port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Has it open that many sessions of the server, and asks each of them.
    pub(crate) fn ask(&self, sessions: usize, question: &str) -> Vec<String> {
        let mut clients: Vec<_> = (0..sessions).map(|_| self.connect()).collect();
        let mut transactions: Vec<_> = clients.iter_mut().map(|client| client.transaction().unwrap()).collect();
        let answer = |message: &SimpleQueryMessage| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        };
        let ask = |transaction: &mut Transaction<'_>| {
            transaction.simple_query(question).unwrap().iter().find_map(answer).unwrap()
        };
        transactions.iter_mut().map(ask).collect()
    }

    fn connect(&self) -> Client {
        let Self { port, database, .. } = self;
        Client::connect(&format!("host=127.0.0.1 port={port} user={USER} dbname={database}"), NoTls).unwrap()
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
