//! Finding an export under a prefix, and its data files. How manifests look is in `manifest`.

use std::collections::HashMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};
use retry::Limits;
use tracing::warn;

use crate::error::{Error, Result};
use crate::local;
use crate::location::Location;
use crate::manifest::{Extent, Summary, parse_files};
use crate::s3;

const SUMMARY: &str = "manifest-summary.json";
const STARTED: &str = "_started";

/// An object of a store.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    /// Key in the bucket, or path.
    pub(crate) key: String,
    pub(crate) bytes: u64,
    pub(crate) etag: Option<String>,
}

/// Which export, where there is more than one.
#[derive(Clone, Debug, Default)]
pub enum Choice {
    /// The only one.
    #[default]
    Only,
    /// The one with this id.
    Id(String),
    /// The last one in time.
    Latest,
}

/// An export, or just files under a prefix.
#[derive(Clone, Debug)]
pub struct Export {
    /// Where it was looked for, in full.
    pub source: String,
    /// Its id, if it has a manifest.
    pub id: Option<String>,
    /// Its table, if the manifest says so.
    pub table: Option<String>,
    /// What of the table it holds, if it has a manifest.
    pub extent: Option<Extent>,
    /// Its files, in the order of their keys.
    pub files: Vec<DataFile>,
}

/// One data file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataFile {
    /// The address under which [`crate::Opener`] opens it.
    pub key: String,
    /// Compressed size.
    pub bytes: u64,
    /// Number of items, from the manifest.
    pub items: Option<u64>,
    /// Base64 of the MD5 of the compressed bytes, from the manifest.
    pub md5: Option<String>,
    /// The object's `ETag` now, without quotes.
    pub etag: Option<String>,
}

/// A place with everything under it.
pub(crate) enum Store {
    S3 { client: s3::Client, bucket: String },
    Local,
}

impl Store {
    /// The store of a place, its full name, and what is under it.
    pub(crate) fn open(location: &Location, limits: Limits) -> Result<(Self, String, Vec<Object>)> {
        match location {
            Location::S3 { bucket, key } => {
                let client = s3::Client::new(limits)?;
                let objects = client.list(bucket, key)?;
                Ok((Self::S3 { client, bucket: bucket.clone() }, location.to_string(), objects))
            }
            Location::Local(path) => {
                // In full, so that a bookmark means the same from every folder.
                let path = path.canonicalize().map_err(fault::FileError::on("open", path))?;
                let objects = local::list(&path)?;
                Ok((Self::Local, path.display().to_string(), objects))
            }
        }
    }

    /// One object, which may lie elsewhere than under the place.
    fn object(&self, key: &str) -> Result<Option<Object>> {
        match self {
            Self::S3 { client, bucket } => Ok(client.list(bucket, key)?.into_iter().find(|object| object.key == key)),
            Self::Local => Ok(local::object(Path::new(key))),
        }
    }

    fn read(&self, key: &str) -> Result<Vec<u8>> {
        match self {
            Self::S3 { client, bucket } => client.read(bucket, key),
            Self::Local => local::read(Path::new(key)),
        }
    }

    pub(crate) fn address(&self, key: &str) -> String {
        match self {
            Self::S3 { bucket, .. } => format!("s3://{bucket}/{key}"),
            Self::Local => key.to_owned(),
        }
    }
}

/// Finds the export under a prefix or in a folder; without a manifest, the data files under it.
///
/// What S3 could not do is tried again within `limits`.
pub fn find(location: &Location, choice: &Choice, limits: Limits) -> Result<Export> {
    let (store, source, objects) = Store::open(location, limits)?;
    let Some(manifest) = choose(&store, &source, &objects, choice)? else {
        return without_manifest(&store, source, &objects);
    };
    with_manifest(&store, source, &objects, manifest)
}

/// A finished export: where its manifests are, and what they say.
pub(crate) struct Manifest {
    pub(crate) id: String,
    pub(crate) folder: String,
    pub(crate) summary: Summary,
}

impl Manifest {
    pub(crate) fn describe(&self) -> String {
        let table = self.summary.table().unwrap_or("an unknown table");
        let time = match (&self.summary.export_from_time, self.summary.time()) {
            (Some(from), Some(to)) => format!("from {from} to {to}"),
            (_, time) => format!("at {}", time.unwrap_or("an unknown time")),
        };
        format!("{} of {table} {time}", self.id)
    }
}

fn folder_of(key: &str) -> &str {
    key.rfind('/').map_or("", |slash| &key[..=slash])
}

fn name_of(key: &str) -> &str {
    &key[folder_of(key).len()..]
}

/// The name of the folder that an object is in.
fn home_of(key: &str) -> &str {
    name_of(folder_of(key).trim_end_matches('/'))
}

/// The exports that have ended, and the ids of those that have not. With an `id` those of other names are not looked at,
/// if there is one of that name.
pub(crate) fn manifests(store: &Store, objects: &[Object], id: Option<&str>) -> Result<(Vec<Manifest>, Vec<String>)> {
    let summaries = || objects.iter().filter(|object| name_of(&object.key) == SUMMARY);
    let only = id.filter(|id| summaries().any(|object| home_of(&object.key) == *id));
    let mut exports = Vec::new();
    for object in summaries().filter(|object| only.is_none_or(|id| home_of(&object.key) == id)) {
        let folder = folder_of(&object.key).to_owned();
        let summary = Summary::parse(&store.address(&object.key), &store.read(&object.key)?)?;
        let from_arn = summary.export_arn.as_deref().and_then(|arn| arn.split_once("/export/")).map(|(_, id)| id);
        let id = from_arn.unwrap_or_else(|| home_of(&object.key)).to_owned();
        exports.push(Manifest { id, folder, summary });
    }
    let ended = |key: &str| summaries().any(|object| folder_of(&object.key) == folder_of(key));
    let started = objects.iter().filter(|object| name_of(&object.key) == STARTED && !ended(&object.key));
    Ok((exports, started.map(|object| home_of(&object.key).to_owned()).collect()))
}

/// Says which exports are left out because they have not ended.
pub(crate) fn warn_of_unfinished(ids: &[String]) {
    for id in ids {
        warn!("the export `{id}` has not ended, or has failed; it is left out");
    }
}

fn choose(store: &Store, source: &str, objects: &[Object], choice: &Choice) -> Result<Option<Manifest>> {
    let wanted = if let Choice::Id(id) = choice { Some(id.as_str()) } else { None };
    let (mut exports, unfinished) = manifests(store, objects, wanted)?;
    if let Choice::Id(id) = choice {
        if let Some(place) = exports.iter().position(|export| export.id == *id) {
            return Ok(Some(exports.swap_remove(place)));
        }
        if unfinished.contains(id) {
            return Err(Error::Unfinished(id.clone()));
        }
        let mut known: Vec<_> = exports.iter().map(|export| format!("is {}", export.describe())).collect();
        if known.is_empty() {
            known.push("is none".to_owned());
        }
        return Err(Error::NoSuchExport { id: id.clone(), place: source.to_owned(), exports: known });
    }
    // The id begins with the time, so its order is the order in time.
    exports.sort_by(|a, b| (a.summary.time(), &a.id).cmp(&(b.summary.time(), &b.id)));
    match (exports.len(), choice) {
        (0, _) if !unfinished.is_empty() => Err(Error::Unfinished(unfinished[0].clone())),
        (0, _) => Ok(None),
        (1, _) | (_, Choice::Latest) => {
            warn_of_unfinished(&unfinished);
            Ok(exports.pop())
        }
        _ => {
            let exports = exports.iter().map(Manifest::describe).collect();
            Err(Error::Several { place: source.to_owned(), exports })
        }
    }
}

fn with_manifest(store: &Store, source: String, objects: &[Object], manifest: Manifest) -> Result<Export> {
    let Manifest { id, folder, summary } = manifest;
    let unsupported = |kind: &str| Error::Unsupported { id: id.clone(), kind: kind.to_owned() };
    match summary.output_format.as_deref() {
        None | Some("DYNAMODB_JSON" | "ION") => {}
        Some(other) => return Err(unsupported(&format!("in the format `{other}`"))),
    }
    let by_key: HashMap<&str, &Object> = objects.iter().map(|object| (object.key.as_str(), object)).collect();
    for name in ["manifest-summary", "manifest-files"] {
        check_md5(store, &by_key, &format!("{folder}{name}.json"), &format!("{folder}{name}.md5"))?;
    }
    let list = format!("{folder}manifest-files.json");
    if !by_key.contains_key(list.as_str()) {
        return Err(Error::MissingFile { id, key: store.address(&list) });
    }
    let extent = summary.extent(&id)?;
    // An export that was copied elsewhere has its files at the same place beside the manifest under other keys. Increments
    // share one folder, so that only their manifests say whose a file is.
    let beside = if summary.is_incremental() { folder_of(folder.trim_end_matches('/')) } else { folder.as_str() };
    let mut files = Vec::new();
    for entry in parse_files(&store.address(&list), &store.read(&list)?)? {
        let key = &entry.data_file_s3_key;
        let beside = format!("{beside}data/{}", name_of(key));
        let elsewhere;
        let mut object = by_key.get(key.as_str()).or_else(|| by_key.get(beside.as_str())).copied();
        if object.is_none() && summary.is_incremental() {
            // The prefix may be that of the manifest alone.
            elsewhere = match store.object(&beside)? {
                None => store.object(key)?,
                found => found,
            };
            object = elsewhere.as_ref();
        }
        let Some(object) = object else {
            return Err(Error::MissingFile { id, key: store.address(key) });
        };
        files.push(DataFile {
            key: store.address(&object.key),
            bytes: object.bytes,
            items: entry.item_count,
            md5: entry.md5_checksum,
            etag: object.etag.clone(),
        });
    }
    files.sort_by(|a, b| a.key.cmp(&b.key));
    if let (Some(total), Some(sum)) = (summary.item_count, files.iter().map(|file| file.items).sum::<Option<u64>>())
        && total != sum
    {
        warn!("the summary of export `{id}` says {total} items, its files {sum}");
    }
    let table = summary.table().map(str::to_owned);
    Ok(Export { source, id: Some(id), table, extent: Some(extent), files })
}

/// A manifest is often re-indented or masked after a download, so another MD5 is worth a warning and no more.
fn check_md5(store: &Store, by_key: &HashMap<&str, &Object>, key: &str, md5_key: &str) -> Result<()> {
    if by_key.contains_key(key) && by_key.contains_key(md5_key) {
        let expected = store.read(md5_key)?;
        let found = STANDARD.encode(Md5::digest(store.read(key)?));
        if expected.trim_ascii() != found.as_bytes() {
            warn!("`{}` is not as it was written: its MD5 is another one", store.address(key));
        }
    }
    Ok(())
}

fn without_manifest(store: &Store, source: String, objects: &[Object]) -> Result<Export> {
    let ending = |endings: &'static [&'static str]| {
        objects.iter().filter(move |object| endings.iter().any(|ending| object.key.ends_with(ending)))
    };
    // Emulators leave out the format.
    let usual = &[".json.gz", ".ion.gz"];
    let files: Vec<_> = if ending(usual).next().is_some() { ending(usual) } else { ending(&[".gz"]) }
        .map(|object| DataFile {
            key: store.address(&object.key),
            bytes: object.bytes,
            items: None,
            md5: None,
            etag: object.etag.clone(),
        })
        .collect();
    if files.is_empty() {
        return Err(Error::Nothing(source));
    }
    Ok(Export { source, id: None, table: None, extent: None, files })
}
