//! Streams as `ddb-parse` writes them, put together by hand.

/// A profile of the rows below.
pub(crate) const PROFILE: &str = r#"
table = "t"
key = ["id"]
on_create = ["CREATE TABLE made (at timestamptz)"]
on_complete = ["INSERT INTO completed VALUES (now())"]

[columns]
id = { type = "bigint" }
v = { type = "text" }
"#;

const SCHEMA: &str = r#"{"$schema":{"v":1,"profile":"t","hash":"h","options":{},"schema":null,"table":"t","key":["id"],"columns":[{"name":"id","type":"bigint","merge":"keep"},{"name":"v","type":"text","merge":"replace"}],"groups":[]}}"#;

/// A row of the profile.
pub(crate) fn row(id: u64, v: &str, records: &[u64]) -> String {
    format!(r#"{{"id":{id},"v":"{v}","$records":{records:?}}}"#)
}

/// Lines, one after the other.
#[derive(Clone, Default)]
pub(crate) struct Stream(String);

impl Stream {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn line(mut self, line: &str) -> Self {
        self.0.push_str(line);
        self.0.push('\n');
        self
    }

    pub(crate) fn source(self, files: u64) -> Self {
        self.line(&format!(
            r#"{{"$source":{{"v":1,"source":"s3://bucket/a/","export":"01-ab","table":"T","shard":null,"files":{files},"items":null,"bytes":null,"done":{{"files":0,"items":0,"bytes":0}}}}}}"#
        ))
    }

    pub(crate) fn schema(self) -> Self {
        self.line(SCHEMA)
    }

    pub(crate) fn begin(self, key: &str, skip: u64) -> Self {
        self.line(&format!(
            r#"{{"$file":{{"event":"begin","v":1,"key":"{key}","number":1,"encoding":"dynamodb-json","bytes":null,"items":null,"skip":{skip},"version":"md5:1"}}}}"#
        ))
    }

    pub(crate) fn rows(self, rows: &[String]) -> Self {
        rows.iter().fold(self, |stream, row| stream.line(row))
    }

    pub(crate) fn mark(self, key: &str, records: u64) -> Self {
        self.line(&format!(
            r#"{{"$file":{{"event":"mark","key":"{key}","records":{records},"filtered":0,"rejected":0}}}}"#
        ))
    }

    pub(crate) fn end(self, key: &str, records: u64) -> Self {
        self.line(&format!(
            r#"{{"$file":{{"event":"end","key":"{key}","records":{records},"filtered":0,"merged":0,"rows":0,"rejected":0}}}}"#
        ))
    }

    pub(crate) fn text(&self) -> String {
        self.0.clone()
    }
}
