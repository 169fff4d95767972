//! What is measured against: a PostgreSQL with its default settings, moto as S3, and the programs.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use harness::postgres::{PASSWORD, Server, USER};

use crate::collection::{Collection, Kind};
use crate::measure::{self, Usage};

/// The database in which everything happens.
const DATABASE: &str = "bench";

/// The servers, and where things are.
pub struct World {
    server: Arc<Server>,
    s3: Option<(Child, String)>,
    programs: PathBuf,
    /// For what the programs write.
    pub dir: PathBuf,
}

/// A pipeline that ends in the database.
pub struct Load {
    /// What it took.
    pub usage: Usage,
    /// PostgreSQL's own processor time.
    pub server: Duration,
}

impl World {
    /// Starts PostgreSQL. The programs are in that folder; logs and the like go to the other one.
    pub fn start(programs: PathBuf, dir: PathBuf) -> io::Result<Self> {
        // A bookmark of a run that failed would be gone on from.
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        fs::create_dir_all(&dir)?;
        Ok(Self { server: Server::start_with(&[]), s3: None, programs, dir })
    }

    /// Puts exports into a new S3.
    pub fn serve(&mut self, collections: &[Collection]) -> io::Result<()> {
        let mut moto = Command::new("python3");
        moto.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/src/s3.py"));
        moto.args(
            collections.iter().map(|collection| format!("{}={}", collection.name(), collection.export().display())),
        );
        let mut moto = moto.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(self.log("s3")?).spawn()?;
        let mut endpoint = String::new();
        let stdout = moto.stdout.take().ok_or_else(|| io::Error::other("no stdout"))?;
        BufReader::new(stdout).read_line(&mut endpoint)?;
        if !endpoint.starts_with("http") {
            return Err(io::Error::other("moto does not start: is it installed? See `s3.log`"));
        }
        self.s3 = Some((moto, endpoint.trim_end().to_owned()));
        Ok(())
    }

    fn log(&self, name: &str) -> io::Result<File> {
        File::options().create(true).append(true).open(self.dir.join(format!("{name}.log")))
    }

    /// One of the programs, or of the machine's, with nothing in its environment but what it needs.
    pub fn program(&self, name: &str) -> io::Result<Command> {
        let path = self.programs.join(name);
        let mut command = if path.exists() { Command::new(path) } else { Command::new(name) };
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).current_dir(&self.dir);
        command.envs([("AWS_REGION", "eu-west-1"), ("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")]);
        command.envs([("SERVER", "127.0.0.1"), ("PG_USER", USER), ("PASSWORD", PASSWORD)]);
        command.envs([("DATABASE", DATABASE), ("DB_SSL", "false"), ("PORT", &self.server.port().to_string())]);
        if let Some((_, endpoint)) = &self.s3 {
            command.env("AWS_ENDPOINT_URL", endpoint);
        }
        command.stderr(self.log("programs")?);
        Ok(command)
    }

    /// Runs SQL in the database.
    pub fn sql(&self, sql: &str) -> String {
        self.server.psql(DATABASE, sql)
    }

    /// A new database, empty or a copy of one that was kept. What was written before is on disk then.
    pub fn begin(&self, template: Option<&str>) {
        self.server.drop_database(DATABASE);
        self.server
            .psql("postgres", &format!("create database {DATABASE} template {}", template.unwrap_or("template0")));
        self.server.psql("postgres", "checkpoint");
    }

    /// Keeps the database as it is, as a template.
    pub fn keep(&self, name: &str) {
        self.sql("vacuum analyze");
        self.server.psql("postgres", &format!("drop database if exists {name}"));
        self.server.psql("postgres", &format!("create database {name} template {DATABASE}"));
    }

    /// Makes the collection's table under that name.
    pub fn create(&self, kind: Kind, table: &str) {
        let mut columns = String::new();
        for (place, (name, ty)) in kind.columns().iter().enumerate() {
            let key = if place == 0 { " primary key" } else { "" };
            let comma = if place > 0 { ", " } else { "" };
            write!(columns, "{comma}\"{name}\" {ty}{key}").expect("a string can be written");
        }
        self.sql(&format!("create table {table} ({columns})"));
    }

    /// Runs a pipeline that ends in the database.
    pub fn load(&self, commands: Vec<Command>) -> io::Result<Load> {
        let before = self.server.cpu();
        let usage = measure::pipeline(commands)?;
        Ok(Load { usage, server: self.server.cpu().saturating_sub(before) })
    }

    /// Runs a program that ends with this code.
    pub fn load_ending(&self, command: Command, code: i32) -> io::Result<Load> {
        let before = self.server.cpu();
        let usage = measure::pipeline_ending(vec![command], code)?;
        Ok(Load { usage, server: self.server.cpu().saturating_sub(before) })
    }

    /// `psql` with these commands, one after the other.
    pub fn psql(&self, commands: &[String]) -> Command {
        let mut psql = self.server.session(DATABASE);
        psql.args(["-v", "ON_ERROR_STOP=1"]);
        psql.args(commands.iter().flat_map(|command| ["-c", command]));
        psql
    }

    /// `\copy` of a collection's ready-made rows.
    pub fn floor(&self, collection: &Collection, table: &str) -> io::Result<Load> {
        self.load(vec![self.psql(&[copy(table, &collection.csv())])])
    }

    /// The same by way of a temporary table, over rows that are there.
    pub fn staged_floor(&self, collection: &Collection) -> io::Result<Load> {
        let table = collection.kind.name();
        let columns = collection.kind.columns();
        let sets: Vec<_> = columns[1..].iter().map(|(name, _)| format!("\"{name}\" = excluded.\"{name}\"")).collect();
        let (key, sets) = (&columns[0].0, sets.join(", "));
        self.load(vec![self.psql(&[
            format!("create temporary table stage (like {table})"),
            copy("stage", &collection.csv()),
            format!("insert into {table} select * from stage on conflict (\"{key}\") do update set {sets}"),
        ])])
    }

    /// The whole way, as `migrate` composes it, from S3 if it runs.
    pub fn migrate(&self, collection: &Collection, create: bool) -> io::Result<Load> {
        let profile = profile(collection.kind);
        let program = |name: &str, args: &[&str]| -> io::Result<Command> {
            let mut command = self.program(name)?;
            command.args(args);
            Ok(command)
        };
        let source = match self.s3 {
            Some(_) => format!("s3://exports/{}/", collection.name()),
            None => collection.export().display().to_string(),
        };
        let mut commands = vec![
            program("ddb-list", &[&source, "--pending", "--profile", &profile])?,
            program("ddb-cat", &[])?,
            program("ddb-parse", &["-p", &profile])?,
            program("pg-upsert", &["-p", &profile])?,
        ];
        if create {
            commands[3].arg("--create");
        }
        self.load(commands)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some((moto, _)) = &mut self.s3 {
            drop(moto.stdin.take());
            // It has nothing to lose.
            let _ = moto.wait();
        }
    }
}

fn copy(table: &str, csv: &Path) -> String {
    format!("\\copy {table} from '{}' csv", csv.display())
}

/// The profile of a kind of collection.
pub fn profile(kind: Kind) -> String {
    let folder = if kind == Kind::Pictures { "../../profiles" } else { "profiles" };
    format!("{}/{folder}/{}.toml", env!("CARGO_MANIFEST_DIR"), kind.name())
}
