//! A folder as a store of objects: names, sizes, contents. The same of a bucket is in `s3`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use fault::FileError;

use crate::error::Result;
use crate::find::Object;

/// Every file below a folder, sorted by path. The keys are paths.
pub(crate) fn list(folder: &Path) -> Result<Vec<Object>> {
    let mut objects = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(FileError::on("read the folder", &folder))? {
            let path = entry.map_err(FileError::on("read the folder", &folder))?.path();
            // Through links too: an export may be mounted or linked in pieces.
            let metadata = fs::metadata(&path).map_err(FileError::on("look at", &path))?;
            if metadata.is_dir() {
                folders.push(path);
            } else {
                objects.push(Object { key: key(path), bytes: metadata.len(), etag: None });
            }
        }
    }
    objects.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(objects)
}

/// One file, if it is there.
pub(crate) fn object(path: &Path) -> Option<Object> {
    let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    Some(Object { key: key(path.to_owned()), bytes: metadata.len(), etag: None })
}

fn key(path: PathBuf) -> String {
    path.into_os_string().into_string().unwrap_or_else(|path| path.to_string_lossy().into_owned())
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    Ok(fs::read(path).map_err(FileError::on("read", path))?)
}

pub(crate) fn open(path: &Path) -> Result<File> {
    Ok(File::open(path).map_err(FileError::on("open", path))?)
}
