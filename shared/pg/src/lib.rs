//! PostgreSQL as the programs meet it: settings, TLS, connections, what an error means, what a table looks like, and the
//! SQL that merges rows into one, or says which of them the table lacks.
//!
//! Which rows there are and when they are committed is the program's matter (`pg-upsert`, `pg-verify`); what a merge
//! policy means is defined in `profile`.

pub mod catalogue;
pub mod comparison;
pub mod constraints;
mod error;
pub mod fault;
pub mod isolate;
pub mod policy;
mod pool;
pub mod sequences;
pub mod server;
pub mod settings;
pub mod statement;
mod tls;
pub mod transaction;

pub use error::Error;
pub use pool::{Client, Pool};
pub use settings::{Settings, TlsMode};

/// A name as an SQL identifier: `say "hi"` becomes `"say ""hi"""`.
pub fn quote_name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A name of ours that is not one of theirs: `base`, or `base` with a number.
pub(crate) fn free_name(base: &str, is_taken: impl Fn(&str) -> bool) -> String {
    let mut name = base.to_owned();
    for number in 2.. {
        if !is_taken(&name) {
            break;
        }
        name = format!("{base}_{number}");
    }
    name
}

/// A text as an SQL literal, whatever `standard_conforming_strings` says.
pub fn quote_text(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') { format!(" E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_name_is_none_that_is_taken() {
        for (taken, expected) in [(&[][..], "x"), (&["x"], "x_2"), (&["x", "x_2"], "x_3"), (&["x_2"], "x")] {
            assert_eq!(free_name("x", |name| taken.contains(&name)), expected);
        }
    }

    #[test]
    fn names_and_texts_cannot_leave_their_quotes() {
        assert_eq!(quote_name(r#"a"b"#), r#""a""b""#);
        assert_eq!(quote_text("it's"), "'it''s'");
        assert_eq!(quote_text(r"a\'b"), r" E'a\\''b'");
    }
}
