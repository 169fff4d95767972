//! Makes exports as DynamoDB writes them: data files, both manifests and their checksums, in a folder or in S3.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};
use serde_json::{Value, json};

use crate::s3::{BUCKET, S3};
use crate::{Dir, gzip};

/// The MD5 of an object as manifests have it.
pub fn md5_base64(content: impl AsRef<[u8]>) -> String {
    STANDARD.encode(Md5::digest(content))
}

/// The MD5 of an object as an `ETag` has it.
pub fn md5_hex(content: impl AsRef<[u8]>) -> String {
    format!("{:032x}", u128::from_be_bytes(Md5::digest(content).into()))
}

/// An export that is being made.
#[derive(Clone, Debug)]
pub struct Export {
    id: String,
    prefix: String,
    summary: Value,
    files: Vec<DataFile>,
}

#[derive(Clone, Debug)]
struct DataFile {
    content: Vec<u8>,
    items: u64,
}

impl Export {
    /// A full export of a table without files. The id is `0<milliseconds>-<8 hex digits>`.
    pub fn new(table: &str, id: &str) -> Self {
        let arn = format!("arn:aws:dynamodb:eu-west-1:123456789012:table/{table}");
        let summary = json!({
            "version": "2020-06-30",
            "exportArn": format!("{arn}/export/{id}"),
            "startTime": "2023-11-14T22:13:20.000Z",
            "endTime": "2023-11-14T22:18:20.000Z",
            "tableArn": arn,
            "tableId": "6ac1b0e6-7c9b-4b1a-9a0e-0123456789ab",
            "exportTime": "2023-11-14T22:13:20.000Z",
            "s3Bucket": BUCKET,
            "s3SseAlgorithm": "AES256",
            "s3SseKmsKeyId": null,
            "billedSizeBytes": 0,
            "outputFormat": "DYNAMODB_JSON",
        });
        Self { id: id.to_owned(), prefix: String::new(), summary, files: Vec::new() }
    }

    /// Written below this prefix, which ends in a slash.
    pub fn under(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.prefix);
        self
    }

    /// With another field in its summary; null takes it out.
    pub fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.summary[field] = value.into();
        self
    }

    /// As an increment of what was written in the hour before the time of a full export. Its files are in the folder that
    /// all increments share.
    pub fn incremental(self) -> Self {
        self.changes("2023-11-14T21:13:20.000Z", "2023-11-14T22:13:20.000Z")
    }

    /// As an increment of what was written in a period.
    pub fn changes(self, from: &str, to: &str) -> Self {
        let full = self.with("version", "2023-08-01").with("exportType", "INCREMENTAL_EXPORT");
        full.with("exportTime", Value::Null)
            .with("exportFromTime", from)
            .with("exportToTime", to)
            .with("outputView", "NEW_AND_OLD_IMAGES")
    }

    /// Without the data files that it has so far.
    pub fn without_files(mut self) -> Self {
        self.files.clear();
        self
    }

    /// With a data file of these lines.
    pub fn file<L: AsRef<str>>(self, lines: impl IntoIterator<Item = L>) -> Self {
        let lines: Vec<_> = lines.into_iter().map(|line| format!("{}\n", line.as_ref())).collect();
        let items = lines.len() as u64;
        self.file_of(gzip(lines.concat()), items)
    }

    /// With a data file of these compressed bytes, which the manifest describes as they are.
    pub fn file_of(mut self, content: Vec<u8>, items: u64) -> Self {
        self.files.push(DataFile { content, items });
        self
    }

    /// The key of a data file, from 1.
    pub fn key(&self, number: usize) -> String {
        // 26 characters, and in the folder that increments share no two the same.
        let name =
            if self.is_incremental() { format!("{}{number:012}", &self.id[..14]) } else { format!("{number:026}") };
        let format = if self.summary["outputFormat"] == "ION" { "ion" } else { "json" };
        format!("{}{name}.{format}.gz", self.data())
    }

    fn is_incremental(&self) -> bool {
        self.summary.get("exportType").is_some_and(|kind| kind == "INCREMENTAL_EXPORT")
    }

    /// The folder of the manifests.
    pub fn folder(&self) -> String {
        format!("{}AWSDynamoDB/{}/", self.prefix, self.id)
    }

    fn data(&self) -> String {
        if self.is_incremental() {
            format!("{}AWSDynamoDB/data/", self.prefix)
        } else {
            format!("{}data/", self.folder())
        }
    }

    /// Every object of it: key and content.
    pub fn objects(&self) -> Vec<(String, Vec<u8>)> {
        let folder = self.folder();
        let mut summary = self.summary.clone();
        summary["manifestFilesS3Key"] = format!("{folder}manifest-files.json").into();
        let prefix = self.prefix.trim_end_matches('/');
        summary["s3Prefix"] = if prefix.is_empty() { Value::Null } else { prefix.into() };
        summary["itemCount"] = self.files.iter().map(|file| file.items).sum::<u64>().into();
        if let Value::Object(fields) = &mut summary {
            fields.retain(|name, value| !value.is_null() || name.starts_with("s3"));
        }
        let mut list = String::new();
        for (place, file) in self.files.iter().enumerate() {
            let etag = md5_hex(Md5::digest(&file.content));
            let entry = json!({
                "itemCount": file.items,
                "md5Checksum": md5_base64(&file.content),
                "etag": format!("{etag}-1"),
                "dataFileS3Key": self.key(place + 1),
            });
            list += &entry.to_string();
            list.push('\n');
        }
        let checksum = |text: &str| md5_base64(text).into_bytes();
        let summary = summary.to_string();
        let mut objects = vec![
            (format!("{folder}_started"), Vec::new()),
            (format!("{folder}manifest-summary.json"), summary.clone().into_bytes()),
            (format!("{folder}manifest-summary.md5"), checksum(&summary)),
            (format!("{folder}manifest-files.md5"), checksum(&list)),
            (format!("{folder}manifest-files.json"), list.into_bytes()),
        ];
        let files = self.files.iter().enumerate();
        objects.extend(files.map(|(place, file)| (self.key(place + 1), file.content.clone())));
        objects
    }

    /// Writes it into a folder, as `aws s3 sync` would from the bucket.
    pub fn write_to(&self, dir: &Dir) -> &Self {
        for (key, content) in self.objects() {
            dir.write(&key, content);
        }
        self
    }

    /// Puts it into a bucket.
    pub fn put_to(&self, s3: &S3) -> &Self {
        for (key, content) in self.objects() {
            s3.put(&key, content);
        }
        self
    }
}
