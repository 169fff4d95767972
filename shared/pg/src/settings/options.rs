//! libpq's `options`, as the server's command line takes them: `-c search_path=shop --lock_timeout=5s`.
//!
//! They are sent with each transaction. Settings that have no effect there, or that would change what the driver's bytes mean,
//! are refused instead of ignored.

use ::fault::Fault;

use crate::Error;

/// The settings in such a text. A backslash keeps the character after it, say a space.
pub(super) fn parse(text: &str) -> Result<Vec<(String, String)>, Error> {
    let mut settings = Vec::new();
    let mut words = words(text).into_iter();
    while let Some(word) = words.next() {
        let setting = match (word.strip_prefix("--"), word.strip_prefix("-c")) {
            (None, Some("")) => words.next().unwrap_or_default(),
            (Some(setting), _) | (None, Some(setting)) => setting.to_owned(),
            (None, None) => String::new(),
        };
        let Some((name, value)) = setting.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            // Without the value.
            let word = word.split('=').next().unwrap_or_default();
            return Err(Error::found(Fault::Setup, format!("`{word}` in the connection's `options` is not known"))
                .with_hint("options are settings of the server, as -c search_path=shop"));
        };
        let name = name.replace('-', "_");
        refuse(&name.to_ascii_lowercase(), value)?;
        settings.push((name, value.to_owned()));
    }
    Ok(settings)
}

/// Refuses settings that cannot be honoured inside a transaction.
fn refuse(name: &str, value: &str) -> Result<(), Error> {
    let value = value.trim().to_ascii_lowercase();
    let (harmless, why) = match name {
        "client_encoding" => {
            let plain: String = value.chars().filter(char::is_ascii_alphanumeric).collect();
            (matches!(plain.as_str(), "utf8" | "unicode"), "rows are sent as UTF-8")
        }
        "default_transaction_read_only" | "transaction_read_only" => {
            (["off", "of", "false", "no", "n", "f", "0"].contains(&value.as_str()), "the programs write")
        }
        "default_transaction_isolation" | "transaction_isolation" => {
            (value == "read committed", "the programs use read committed")
        }
        _ => return Ok(()),
    };
    if harmless {
        return Ok(());
    }
    Err(Error::found(Fault::Setup, format!("`{name}` in the connection's `options` cannot be honoured: {why}"))
        .with_hint("leave it out"))
}

fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut escaped) = (Vec::new(), None::<String>, false);
    for character in text.chars() {
        match character {
            '\\' if !escaped => {
                escaped = true;
                continue;
            }
            // As isspace(3) has it.
            ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c' if !escaped => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
        escaped = false;
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_settings_by_name() {
        let parsed = parse(r"-c search_path=a,b  -clock_timeout=5s --work-mem=64MB -c x.y=one\ two\\").unwrap();
        let expected = [("search_path", "a,b"), ("lock_timeout", "5s"), ("work_mem", "64MB"), ("x.y", r"one two\")];
        assert_eq!(parsed, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn an_option_that_is_no_setting_is_named() {
        for (text, word) in [("-d 5", "-d"), ("-c", "-c"), ("-c x", "-c"), ("--=1", "--"), ("x=1", "x")] {
            assert!(parse(text).unwrap_err().to_string().contains(&format!("`{word}`")), "{text}");
        }
    }

    #[test]
    fn what_a_transaction_cannot_honour_is_refused() {
        for text in [
            "-c client_encoding=LATIN1",
            "-c default_transaction_read_only=on",
            "--Default-Transaction-Read-Only=true",
            "-c transaction_read_only=1",
            "-c default_transaction_isolation=serializable",
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains("cannot be honoured"), "{text}: {error}");
        }
        for text in [
            "-c client_encoding=utf-8",
            "-c default_transaction_read_only=off",
            r"-c default_transaction_isolation=read\ committed",
        ] {
            assert!(parse(text).is_ok(), "{text}");
        }
    }
}
