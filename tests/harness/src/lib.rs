//! What makes a test read as an example: folders, programs that are run as their users run them, and reports of what
//! they did. The services that tests need are in modules of their own.

pub mod export;
pub mod json;
pub mod pgbouncer;
pub mod postgres;
pub mod s3;

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

/// A folder that is gone after the test.
#[derive(Debug)]
pub struct Dir(tempfile::TempDir);

impl Dir {
    /// A new, empty folder.
    #[expect(clippy::new_without_default, reason = "a folder is made, which `default` does not suggest")]
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder can be made"))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file, folders included.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().expect("below the folder")).expect("folders can be made");
        fs::write(&path, content).expect("a file can be written");
        path
    }

    /// The text of a file.
    #[track_caller]
    pub fn read(&self, name: &str) -> String {
        match fs::read_to_string(self.path().join(name)) {
            Ok(text) => text,
            Err(error) => panic!("{name}: {error}"),
        }
    }

    /// Whether a file is there.
    pub fn has(&self, name: &str) -> bool {
        self.path().join(name).exists()
    }
}

/// One gzip member.
pub fn gzip(content: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content.as_ref()).expect("memory can be written");
    encoder.finish().expect("memory can be written")
}

/// The program of that name, as Cargo built it for this test: `program!("ddb-cat")`.
#[macro_export]
macro_rules! program {
    ($name:literal) => {
        $crate::Program::at(env!(concat!("CARGO_BIN_EXE_", $name)))
    };
}

/// The program of that name beside the test's own executable, for tests of several programs.
pub fn workspace_program(name: &str) -> PathBuf {
    let exe = std::env::current_exe().expect("a test has an executable");
    let target = exe.ancestors().nth(2).expect("tests lie in target/<profile>/deps");
    let path = target.join(name);
    assert!(path.exists(), "{} is not built: cargo build --workspace", path.display());
    path
}

/// A program that is about to run, with an environment that holds nothing of the developer's.
#[derive(Debug)]
pub struct Program {
    command: Command,
    stdin: Option<Vec<u8>>,
}

impl Program {
    /// The program at that path.
    pub fn at(path: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(path);
        command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("HOME", "/nonexistent");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { command, stdin: None }
    }

    /// Runs in that folder.
    pub fn in_dir(mut self, dir: &Dir) -> Self {
        self.command.current_dir(dir.path());
        self
    }

    /// With these arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    /// With a variable of the environment.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// With several.
    pub fn envs<K: AsRef<OsStr>, V: AsRef<OsStr>>(mut self, variables: impl IntoIterator<Item = (K, V)>) -> Self {
        self.command.envs(variables);
        self
    }

    /// With this on stdin.
    pub fn stdin(mut self, input: impl AsRef<[u8]>) -> Self {
        self.command.stdin(Stdio::piped());
        self.stdin = Some(input.as_ref().to_vec());
        self
    }

    /// With stdin that the test writes to.
    pub fn stdin_piped(mut self) -> Self {
        self.command.stdin(Stdio::piped());
        self
    }

    /// The command, for what has no method here.
    pub fn command(&mut self) -> &mut Command {
        &mut self.command
    }

    /// Runs it to its end.
    #[track_caller]
    pub fn run(self) -> Finished {
        let (what, child) = self.spawn_inner();
        let output = child.wait_with_output().expect("a child can be waited for");
        Finished { what, status: output.status, stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// Reads one line, then hangs up as `head -1` does.
    #[track_caller]
    pub fn run_until_first_line(self) -> Finished {
        let (what, mut child) = self.spawn_inner();
        let mut line = String::new();
        let stdout = child.stdout.take().expect("stdout is a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("a line can be read");
        let output = child.wait_with_output().expect("a child can be waited for");
        Finished { what, status: output.status, stdout: line, stderr: text(&output.stderr) }
    }

    /// Starts it.
    #[track_caller]
    pub fn spawn(self) -> Child {
        self.spawn_inner().1
    }

    #[track_caller]
    fn spawn_inner(mut self) -> (String, Child) {
        let what = format!("{:?}", self.command);
        let mut child = match self.command.spawn() {
            Ok(child) => child,
            Err(error) => panic!("{what}: {error}"),
        };
        if let Some(input) = self.stdin {
            let mut stdin = child.stdin.take().expect("stdin is a pipe");
            // On a thread, so that a program that writes before it has read everything does not block; one that ends
            // early closes the pipe, which is its right.
            std::thread::spawn(move || {
                let _ = stdin.write_all(&input);
            });
        }
        (what, child)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a program did.
#[derive(Clone)]
pub struct Finished {
    what: String,
    status: ExitStatus,
    stdout: String,
    stderr: String,
}

impl fmt::Debug for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, status, stdout, stderr } = self;
        write!(f, "\n{what}\n---- {status}\n---- stdout\n{stdout}---- stderr\n{stderr}----")
    }
}

impl Finished {
    /// Its exit code is this.
    #[track_caller]
    pub fn exits(&self, code: i32) -> &Self {
        self.check(self.status.code() == Some(code), &format!("exit code {code}"))
    }

    /// Its output is exactly this.
    #[track_caller]
    pub fn stdout(&self, expected: &str) -> &Self {
        self.check(self.stdout == expected, &format!("stdout\n{expected}"))
    }

    /// Its output has this in it.
    #[track_caller]
    pub fn stdout_has(&self, expected: &str) -> &Self {
        self.check(self.stdout.contains(expected), &format!("in stdout\n{expected}"))
    }

    /// Its messages are exactly these.
    #[track_caller]
    pub fn stderr(&self, expected: &str) -> &Self {
        self.check(self.stderr == expected, &format!("stderr\n{expected}"))
    }

    /// Its messages have this in them.
    #[track_caller]
    pub fn stderr_has(&self, expected: &str) -> &Self {
        self.check(self.stderr.contains(expected), &format!("in stderr\n{expected}"))
    }

    /// Nowhere did it print this.
    #[track_caller]
    pub fn never_says(&self, secret: &str) -> &Self {
        self.check(!self.stdout.contains(secret) && !self.stderr.contains(secret), &format!("nowhere {secret}"))
    }

    /// What it printed.
    pub fn output(&self) -> &str {
        &self.stdout
    }

    /// What it said.
    pub fn messages(&self) -> &str {
        &self.stderr
    }

    #[track_caller]
    fn check(&self, holds: bool, expected: &str) -> &Self {
        assert!(holds, "{self:?}\nexpected {expected}");
        self
    }
}
