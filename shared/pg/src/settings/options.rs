//! libpq's `options`, as the server's command line takes them: `-c search_path=shop --lock_timeout=5s`.

use ::fault::Fault;

use crate::Error;

/// The settings in such a text. A backslash keeps the character after it, say a space.
pub(super) fn parse(text: &str) -> Result<Vec<(String, String)>, Error> {
    let mut settings = Vec::new();
    let mut words = words(text).into_iter();
    while let Some(word) = words.next() {
        let setting = match (word.strip_prefix("--"), word.strip_prefix("-c")) {
            (Some(setting), _) => setting.to_owned(),
            (None, Some("")) => words.next().unwrap_or_default(),
            (None, Some(setting)) => setting.to_owned(),
            (None, None) => String::new(),
        };
        let Some((name, value)) = setting.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            return Err(Error::found(Fault::Setup, format!("`{word}` in the connection's `options` is not known"))
                .with_hint("options are settings of the server, as -c search_path=shop"));
        };
        settings.push((name.replace('-', "_"), value.to_owned()));
    }
    Ok(settings)
}

fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut escaped) = (Vec::new(), None::<String>, false);
    for character in text.chars() {
        match character {
            '\\' if !escaped => {
                escaped = true;
                continue;
            }
            ' ' | '\t' | '\n' if !escaped => words.extend(word.take()),
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
        for (text, word) in [("-d 5", "-d"), ("-c", "-c"), ("-c x", "-c"), ("--=1", "--=1"), ("x=1", "x=1")] {
            assert!(parse(text).unwrap_err().to_string().contains(&format!("`{word}`")), "{text}");
        }
    }
}
