//! This machine: the folder for the files of a run, and the room in it.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use fault::{Failure, Fault, FileError, Problem};
use rustix::fs::statvfs;

/// Free bytes on the disk of a folder that a run can write to. The folder is made if it is not there, as a run does.
pub(crate) fn free(folder: &Path) -> Result<u64, Failure> {
    fs::create_dir_all(folder).map_err(FileError::on("create the folder", folder))?;
    write(&folder.join(format!(".migrate-check-{}", std::process::id())))?;
    let disk = statvfs(folder).map_err(|error| FileError::on("look at the disk of", folder)(error.into()))?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Writes a file to the disk and removes it.
fn write(path: &Path) -> Result<(), Failure> {
    let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).and_then(|mut file| {
        file.write_all(b"a file of a run\n")?;
        file.sync_all()
    });
    // It need not be there if it could not be written.
    let removed = fs::remove_file(path);
    written.and(removed).map_err(|error| {
        let folder = path.parent().unwrap_or(path);
        let message = format!("cannot write into the folder `{}`: {error}", folder.display());
        let hint = "give a folder that you may write to with --log-dir or MIGRATE_LOG_DIR, or make room";
        Problem::new(Fault::Local, message).with_hint(hint).into()
    })
}
