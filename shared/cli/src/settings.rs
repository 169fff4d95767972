//! Settings that all programs take from their surroundings: `.env`, and the folder for bookmark, rejects and log.
//! Those of PostgreSQL are in `pg`, those of S3 in `export`.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use fault::{Failure, Fault, Problem};
use tracing::warn;

const DOTENV: &str = ".env";

/// The variable by which `migrate` tells its programs that it has said that `.env` does not count.
const PASSED_OVER: &str = "MIGRATE_DOTENV_PASSED_OVER";

/// The variables that nobody else should know.
const SECRETS: [&str; 5] = ["PASSWORD", "PGPASSWORD", "DATABASE_URL", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];

/// Sets the variables of `.env` in the current folder where the environment has no value of its own.
///
/// One that this user may not read is somebody else's: `sudo -u` begins in the folder of its caller. The answer is whether
/// there is such a one; in a folder that is closed itself nobody can tell. Must run while the process has one thread.
pub(crate) fn read_dotenv() -> Result<bool, Failure> {
    match dotenvy::from_path(Path::new(DOTENV)) {
        Ok(()) => Ok(false),
        Err(dotenvy::Error::Io(error)) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(dotenvy::Error::Io(error)) if error.kind() == ErrorKind::PermissionDenied => {
            Ok(fs::metadata(DOTENV).is_ok())
        }
        // The error of a bad line quotes the line, which may hold the password.
        Err(dotenvy::Error::LineParse(_, position)) => Err(Problem::new(
            Fault::Setup,
            format!("cannot read `.env`: a line is not of the form NAME=value (near byte {position} of it)"),
        )
        .with_hint("put a value with spaces, `#`, `$` or quotes into single quotes")
        .into()),
        Err(error) => Err(problem("cannot read `.env`", &error)),
    }
}

/// Warns of a `.env` that may not be read, unless `migrate` has said so.
pub(crate) fn warn_of_closed_dotenv() {
    if std::env::var_os(PASSED_OVER).is_none() {
        warn!("`{DOTENV}` cannot be read by this user, and is passed over");
    }
}

/// Warns if `.env` holds a secret and others can read it.
///
/// For the one program of a run that takes the password, so that it is said once.
pub fn warn_of_open_dotenv() {
    let Ok(metadata) = fs::metadata(DOTENV) else { return };
    // Of root's files a group may read those that are meant for it, as PostgreSQL has it with its keys.
    let others = if metadata.uid() == 0 { 0o004 } else { 0o044 };
    if !metadata.is_file() || metadata.mode() & others == 0 {
        return;
    }
    let lines = dotenvy::from_path_iter(DOTENV).into_iter().flatten().flatten();
    let secret = lines.into_iter().find(|(name, value)| SECRETS.contains(&name.as_str()) && !value.is_empty());
    if let Some((name, _)) = secret {
        warn!("Others can read `{DOTENV}`, which holds {name} (chmod 600 {DOTENV})");
    }
}

pub(crate) fn problem(what: &str, error: &dyn std::error::Error) -> Failure {
    Problem::new(Fault::Local, format!("{what}: {}", fault::explain(error))).into()
}

/// The folder for the files of a run: the flag if given (its environment variable is `MIGRATE_LOG_DIR`), else the
/// current folder.
pub fn log_dir(flag: Option<&Path>) -> PathBuf {
    flag.map_or_else(|| PathBuf::from("."), Path::to_owned)
}

/// The file of a run with that ending, say `rejects.jsonl`.
pub fn profile_file(log_dir: &Path, profile: &str, ending: &str) -> PathBuf {
    log_dir.join(format!("migrate-{profile}.{ending}"))
}
