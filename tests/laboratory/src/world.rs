//! One experiment's own S3, database and folder, with `migrate` in it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use harness::Dir;
use harness::postgres::{PASSWORD, Postgres, Server};
use harness::s3::S3;

use crate::collection::Collection;
use crate::front::Front;
use crate::instant::{Instant, Instants};
use crate::outcome::Outcome;
use crate::way::{Route, Way};

/// The programs of a pipeline, in their order.
pub const PROGRAMS: [&str; 4] = ["ddb-list", "ddb-cat", "ddb-parse", "pg-upsert"];

/// Everything that a run meets.
pub struct World {
    /// What is loaded.
    pub collection: &'static Collection,
    /// Where it is loaded from.
    pub s3: Arc<S3>,
    /// Where it is loaded to.
    pub postgres: Postgres,
    /// The server of that.
    pub server: Arc<Server>,
    /// The folder of the run's files.
    pub dir: Dir,
    /// What it says is elsewhere, where there is always room.
    spool: Dir,
    /// What happens on the way.
    pub instants: Arc<Instants>,
    /// The way to S3.
    pub front: Front,
    way: Way,
}

/// How a run ended.
pub struct Ended {
    /// Its exit code; 128 + n after signal n.
    pub code: i32,
    /// What it said.
    pub said: String,
}

impl World {
    /// A new world on that server, to which the programs come by that route.
    pub fn new(collection: &'static Collection, server: &Arc<Server>, route: Route) -> Self {
        let (s3, postgres) = (Arc::new(S3::start()), Postgres::on(server));
        let (dir, spool) = (Dir::new(), Dir::new());
        collection.export().under("exports/").put_to(&s3);
        let role = postgres.database();
        // A superuser would be let in where others are not.
        postgres.query(&format!(
            "create role {role} login password '{PASSWORD}'; grant all on schema public to {role}; \
             grant create on database {role} to {role}"
        ));
        let instants = Arc::<Instants>::default();
        let front = Front::to(s3.port(), &instants);
        let way = Way::to(server, role, route, &instants);
        Self { collection, s3, postgres, server: Arc::clone(server), dir, spool, instants, front, way }
    }

    /// `migrate` with these arguments, about to be started in the folder.
    pub fn migrate(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(root("scripts").join("migrate"));
        let programs = programs();
        command.args(["-p", self.collection.name, "--source", &self.s3.url("exports/")]).args(arguments);
        command.env_clear().envs(self.front.envs(self.s3.envs())).envs(self.postgres.envs());
        command.env("PG_USER", self.postgres.database()).env("PORT", self.way.port().to_string());
        command.env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", programs.display()));
        command.env("HOME", self.dir.path()).env("DDB_PIPE_BIN", programs).env("DDB_PIPE_PROFILES", root("profiles"));
        command.current_dir(self.dir.path()).stdin(Stdio::null()).process_group(0);
        command
    }

    /// `migrate run`, in batches so small that there are many of them, writing what it says to a file.
    pub fn run_command(&self) -> Command {
        let mut run = self.migrate(&["run", "--create", "-b", "500", "--gather", "500"]);
        let said = fs::OpenOptions::new().append(true).create(true).open(self.spool.path().join("said"));
        let said = said.expect("a file can be written");
        run.stdout(said.try_clone().expect("a file")).stderr(said);
        run
    }

    /// Runs it to its end.
    pub fn run(&self) -> Ended {
        let child = self.run_command().spawn().expect("migrate runs");
        self.end_of(child)
    }

    /// Waits for its end.
    pub fn end_of(&self, mut child: Child) -> Ended {
        let watch = self.instants.wanted(Instant::Noted).then(|| self.watch_bookmark());
        let status = child.wait().expect("a child can be waited for");
        if let Some((mut tail, reader)) = watch {
            drop(tail.kill());
            drop(tail.wait());
            // What it has read and not yet said must not happen in the next run.
            reader.join().expect("an action that panics is caught");
        }
        self.ended(status)
    }

    /// What a run said that ended so.
    pub fn ended(&self, status: ExitStatus) -> Ended {
        let path = self.spool.path().join("said");
        let said = fs::read_to_string(&path).unwrap_or_default();
        drop(fs::remove_file(path));
        Ended { code: status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default()), said }
    }

    /// Follows the bookmark, which is not there yet, line by line.
    fn watch_bookmark(&self) -> (Child, JoinHandle<()>) {
        let mut tail = Command::new("tail");
        tail.args(["-n", "+1", "-F"]).arg(self.bookmark()).stdin(Stdio::null()).stderr(Stdio::null());
        let mut tail = tail.stdout(Stdio::piped()).spawn().expect("tail runs");
        let lines = BufReader::new(tail.stdout.take().expect("stdout is a pipe")).lines();
        let instants = Arc::clone(&self.instants);
        let reader = thread::spawn(move || {
            for _ in lines {
                // Nothing waits for it that could be cut.
                let _ = instants.meet(Instant::Noted);
            }
        });
        (tail, reader)
    }

    /// The path of the bookmark.
    pub fn bookmark(&self) -> PathBuf {
        self.file("bookmark.json")
    }

    /// The path of one of the run's files.
    pub fn file(&self, extension: &str) -> PathBuf {
        self.dir.path().join(format!("migrate-{}.{extension}", self.collection.name))
    }

    /// The keys of the rows that are in the table.
    pub fn keys(&self) -> BTreeSet<String> {
        let Collection { name, key, .. } = self.collection;
        self.postgres.query(&format!(r#"select "{key}" from {name}"#)).lines().map(str::to_owned).collect()
    }

    /// What is there now.
    pub fn outcome(&self) -> Outcome {
        Outcome::of(self.collection, &self.dir, &self.postgres)
    }

    /// What the pooler on the way to the server has logged; nothing without one.
    pub fn pooler_log(&self) -> String {
        self.way.log()
    }

    /// Where the processes of the run are found.
    pub fn folder(&self) -> PathBuf {
        self.dir.path().canonicalize().expect("the folder is there")
    }

    /// An SQL statement on the whole of the database, from a thread of its own.
    pub fn sql(&self) -> impl Fn(&str) + Send + Sync + 'static {
        let (server, database) = (Arc::clone(&self.server), self.postgres.database().to_owned());
        move |sql| {
            let output = server.session(&database).args(["-v", "ON_ERROR_STOP=1", "-c", sql]).output();
            let output = output.expect("psql runs");
            assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        kill(&self.folder(), &[], "KILL");
    }
}

/// The processes that run in a folder, of these programs or of any.
pub fn processes(folder: &Path, programs: &[&str]) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|pid| pid.parse().ok()) else { continue };
        let here = fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == folder);
        let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        if here && (programs.is_empty() || programs.contains(&name.trim_end())) {
            found.insert(pid);
        }
    }
    found
}

/// Sends a signal to the processes of these programs, or to all, that run in a folder.
pub fn kill(folder: &Path, programs: &[&str], signal: &str) {
    let pids = processes(folder, programs);
    if pids.is_empty() {
        return;
    }
    // One that has just ended needs no signal.
    let pids = pids.iter().map(ToString::to_string);
    drop(Command::new("kill").args(["-s", signal, "--"]).args(pids).stderr(Stdio::null()).status());
}

/// Where the programs are, which Cargo has built beside this one.
fn programs() -> PathBuf {
    let here = std::env::current_exe().expect("a program has a path");
    let folder = here.parent().expect("it lies in a folder").to_owned();
    for program in PROGRAMS {
        assert!(folder.join(program).exists(), "{program} is not built: cargo build --workspace");
    }
    folder
}

fn root(folder: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(folder);
    path.canonicalize().expect("it is in the project")
}
