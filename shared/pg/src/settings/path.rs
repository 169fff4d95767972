//! The search path that a connection string asks for: `schema` (Prisma), `currentSchema` (JDBC) or `search_path`.

use ::fault::Fault;

use super::Values;
use crate::{Error, quote_name};

/// PostgreSQL cuts longer names.
const LONGEST_NAME: usize = 63;

/// The value for `search_path`, from the first of these sources that has one.
pub(super) fn of(sources: [(&Values, &str); 2]) -> Result<Option<String>, Error> {
    for (values, source) in sources {
        let mut found: Option<(&str, String, Vec<String>)> = None;
        for (name, value) in values.iter().filter(|(_, value)| !value.is_empty()) {
            let path = match name.as_str() {
                // Exactly one name, whatever characters it has.
                "schema" => quote_name(value),
                "currentSchema" | "search_path" => value.clone(),
                _ => continue,
            };
            let schemas = schemas(&path).ok_or_else(|| {
                Error::found(Fault::Setup, format!("`{name}` in {source} is not a list of schemas")).with_hint(
                    "names are separated by commas; one with capitals or other characters is in double quotes",
                )
            })?;
            match &found {
                Some((other, _, others)) if *others != schemas => {
                    let message = format!("`{other}` and `{name}` in {source} name different schemas");
                    return Err(Error::found(Fault::Setup, message).with_hint("leave one of them out"));
                }
                Some(_) => {}
                None => found = Some((name, path, schemas)),
            }
        }
        if let Some((_, path, _)) = found {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// The names in a list, as PostgreSQL reads it: outside of quotes, capitals are small letters.
fn schemas(list: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut rest = list;
    loop {
        rest = rest.trim_start();
        let mut name = String::new();
        if let Some(quoted) = rest.strip_prefix('"') {
            rest = quoted;
            loop {
                let (part, tail) = rest.split_once('"')?;
                name.push_str(part);
                rest = tail;
                // Two quotes stand for one.
                let Some(tail) = tail.strip_prefix('"') else { break };
                name.push('"');
                rest = tail;
            }
        } else {
            let end = rest.find(|character: char| character == ',' || character.is_whitespace()).unwrap_or(rest.len());
            name = rest[..end].to_ascii_lowercase();
            rest = &rest[end..];
            if name.is_empty() {
                return None;
            }
        }
        name.truncate(name.floor_char_boundary(LONGEST_NAME));
        names.push(name);
        rest = rest.trim_start();
        if rest.is_empty() {
            return Some(names);
        }
        rest = rest.strip_prefix(',')?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Result<Option<String>, String> {
        let (url, none) = (super::super::url::parse(text).unwrap(), Values::new());
        of([(&url, "DATABASE_URL"), (&none, "the service")]).map_err(|error| error.to_string())
    }

    #[test]
    fn each_client_s_name_for_the_search_path_counts() {
        for (query, expected) in [
            ("", None),
            ("schema=tenant", Some("\"tenant\"")),
            ("schema=Te%22n,ant", Some("\"Te\"\"n,ant\"")),
            ("currentSchema=a,%20B", Some("a, B")),
            ("search_path=%22$user%22,public", Some("\"$user\",public")),
            ("schema=tenant&currentSchema=TENANT&search_path=%22tenant%22", Some("\"tenant\"")),
        ] {
            assert_eq!(path(&format!("postgres://h/d?{query}")).unwrap().as_deref(), expected, "{query}");
        }
    }

    #[test]
    fn different_schemas_contradict_each_other() {
        for (query, first, second) in [
            ("schema=a&search_path=b", "schema", "search_path"),
            ("search_path=a,b&currentSchema=b,a", "search_path", "currentSchema"),
            ("schema=A&search_path=A", "schema", "search_path"),
            ("schema=a&schema=b", "schema", "schema"),
        ] {
            let expected = format!("`{first}` and `{second}` in DATABASE_URL name different schemas");
            assert_eq!(path(&format!("postgres://h/d?{query}")).unwrap_err(), expected);
        }
        for list in ["a,,b", ",", "a,", "a b", "%22a", "%22a%22b"] {
            let expected = "`search_path` in DATABASE_URL is not a list of schemas";
            assert_eq!(path(&format!("postgres://h/d?search_path={list}")).unwrap_err(), expected, "{list}");
        }
    }

    #[test]
    fn a_service_counts_where_the_connection_string_has_none() {
        let pairs = |text: &str| super::super::url::parse(text).unwrap();
        let (service, url) = (pairs("schema=service"), pairs("search_path=url"));
        let of = |url: &Values| of([(url, "DATABASE_URL"), (&service, "the service")]).unwrap().unwrap();
        assert_eq!(of(&url), "url");
        assert_eq!(of(&pairs("host=h")), "\"service\"");
    }
}
