//! Addresses: `s3://bucket/key`, or a path.

use std::fmt;
use std::path::PathBuf;

use crate::error::{Error, Result};

/// A place where an export or a data file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A key, or a prefix of keys, in a bucket.
    S3 {
        /// The bucket.
        bucket: String,
        /// Key or prefix; may be empty for a whole bucket.
        key: String,
    },
    /// A file or folder.
    Local(PathBuf),
}

impl Location {
    /// Understands an address.
    pub fn parse(text: &str) -> Result<Self> {
        let Some(rest) = text.strip_prefix("s3://") else {
            let scheme = text.split_once("://").is_some();
            let path = text.strip_prefix("file://").unwrap_or(text);
            return if text.is_empty() || (scheme && path == text) {
                Err(Error::Location(text.to_owned()))
            } else {
                Ok(Self::Local(PathBuf::from(path)))
            };
        };
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(Error::Location(text.to_owned()));
        }
        Ok(Self::S3 { bucket: bucket.to_owned(), key: key.to_owned() })
    }

    /// A bucket and a prefix, as the two settings give them.
    pub fn s3(bucket: &str, prefix: &str) -> Self {
        Self::S3 { bucket: bucket.to_owned(), key: prefix.trim_start_matches('/').to_owned() }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::S3 { bucket, key } => write!(f, "s3://{bucket}/{key}"),
            Self::Local(path) => write!(f, "{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_s3_or_paths() {
        let s3 = |bucket: &str, key: &str| Location::S3 { bucket: bucket.into(), key: key.into() };
        assert_eq!(Location::parse("s3://b/x/y.gz").unwrap(), s3("b", "x/y.gz"));
        assert_eq!(Location::parse("s3://b").unwrap(), s3("b", ""));
        assert_eq!(Location::parse("x/y.gz").unwrap(), Location::Local("x/y.gz".into()));
        assert_eq!(Location::parse("file:///x").unwrap(), Location::Local("/x".into()));
        for wrong in ["", "s3://", "s3:///x", "https://b/x"] {
            assert!(Location::parse(wrong).is_err(), "{wrong}");
        }
    }
}
