//! Why a line is no item.

/// What is wrong with a line, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are not UTF-8.
    #[error("not UTF-8 at column {column}")]
    Utf8 {
        /// Byte in the line, from 1.
        column: usize,
    },
    /// The line is not JSON.
    #[error("not JSON at column {column}: {message}")]
    Json {
        /// Byte in the line, from 1.
        column: usize,
        /// What was expected there.
        message: &'static str,
    },
    /// The line is JSON, but no record of an export.
    #[error("not an item: {message}")]
    NoItem {
        /// What is there instead.
        message: String,
    },
    /// The line is JSON, but no record of an incremental export.
    #[error("not a record of an incremental export: {message}")]
    NoChange {
        /// What is there instead.
        message: String,
    },
    /// An attribute's value is none.
    #[error("attribute `{path}`: {message}")]
    Attribute {
        /// The way to the value: `address.lines[2]`.
        path: String,
        /// What is wrong with it.
        message: String,
    },
}

impl Error {
    pub(crate) fn attribute(message: impl Into<String>) -> Self {
        Self::Attribute { path: String::new(), message: message.into() }
    }

    /// The same error, seen from one level above.
    pub(crate) fn within(self, name: &str) -> Self {
        match self {
            Self::Attribute { path, message } => {
                let name = shorten(name);
                let dot = if path.is_empty() || path.starts_with('[') { "" } else { "." };
                Self::Attribute { path: format!("{name}{dot}{path}"), message }
            }
            other => other,
        }
    }
}

/// A text that may be long, for a message.
pub(crate) fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(40).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
