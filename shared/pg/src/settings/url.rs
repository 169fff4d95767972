//! Connection strings in libpq's two forms: `postgres://user:password@host:port,host:port/database?name=value` and
//! `name=value name='value'`. Which names there are is in `parameters`, what the values mean in its siblings.

use ::fault::Fault;

use super::{Values, parameters};
use crate::Error;

/// The values of a connection string. An error never repeats the string, which may hold a password.
pub(super) fn parse(text: &str) -> Result<Values, Error> {
    let values = match text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://")) {
        Some(rest) => parse_url(rest),
        None if text.contains("://") => None,
        None => parse_pairs(text),
    };
    // Such a name is part of a password, and must not be shown.
    let values = values.filter(|values| !parameters::may_show_a_secret(values));
    values.ok_or_else(|| {
        Error::found(Fault::Setup, "DATABASE_URL is not a connection string of PostgreSQL")
            .with_hint("it is of the form postgres://user@host:5432/database; in a password, @ is %40, / is %2F, : is %3A, ? is %3F, & is %26")
    })
}

fn parse_url(rest: &str) -> Option<Values> {
    let mut values = Values::new();
    let mut add = |name: &str, value: &str| {
        if !value.is_empty() {
            values.push((name.to_owned(), unescape(value)?));
        }
        Some(())
    };
    let (server, tail) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    // A `/` or `?` in the password, not escaped, would make parts of it the host's name or the database's, which are shown.
    if tail.contains('@') {
        return None;
    }
    let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
    let database = path.strip_prefix('/').unwrap_or(path);
    let (login, server) = server.rsplit_once('@').unwrap_or(("", server));
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let places: Vec<_> = server.split(',').map(place).collect::<Option<_>>()?;
    let (hosts, ports): (Vec<_>, Vec<_>) = places.into_iter().unzip();
    let (host, port) = (hosts.join(","), ports.join(","));
    for (name, value) in
        [("user", user), ("password", password), ("host", &*host), ("port", &*port), ("dbname", database)]
    {
        add(name, value)?;
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=')?;
        // As in libpq, for URLs that were written for JDBC.
        let (name, value) = if (name, value) == ("ssl", "true") { ("sslmode", "require") } else { (name, value) };
        add(&unescape(name)?, value)?;
    }
    Some(values)
}

/// Host and port of one server in the list.
fn place(server: &str) -> Option<(&str, &str)> {
    // `[::1]:5432` has colons of its own.
    let (host, port) = match server.strip_prefix('[') {
        Some(v6) => {
            let (host, rest) = v6.split_once(']')?;
            (host, if rest.is_empty() { "" } else { rest.strip_prefix(':')? })
        }
        None => server.split_once(':').unwrap_or((server, "")),
    };
    // Otherwise it is `user:password` without a host.
    port.bytes().all(|byte| byte.is_ascii_digit()).then_some((host, port))
}

/// `%40` becomes `@`.
fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first == b'%' {
            let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok())?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

fn parse_pairs(text: &str) -> Option<Values> {
    let mut values = Values::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (name, tail) = rest.split_once('=')?;
        let name = name.trim_end();
        if name.contains(char::is_whitespace) {
            return None;
        }
        let mut value = String::new();
        let mut chars = tail.trim_start().chars();
        let quoted = tail.trim_start().starts_with('\'');
        if quoted {
            chars.next();
        }
        loop {
            match chars.next() {
                Some('\\') => value.push(chars.next()?),
                Some('\'') if quoted => break,
                None if quoted => return None,
                None => break,
                Some(space) if !quoted && space.is_whitespace() => break,
                Some(other) => value.push(other),
            }
        }
        values.push((name.to_owned(), value));
        rest = chars.as_str().trim_start();
    }
    Some(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_give_the_same_values() {
        for (text, expected) in [
            ("postgres://u:p@h:1/d?sslmode=require", "user=u password=p host=h port=1 dbname=d sslmode=require"),
            ("postgresql://h", "host=h"),
            ("postgres://[::1]:5/d", "host=::1 port=5 dbname=d"),
            ("postgres:///d?host=%2Ftmp", "dbname=d host=/tmp"),
            ("postgres://%2Ftmp/d", "host=/tmp dbname=d"),
            ("postgres://u@a:1,b:2/d", "user=u host=a,b port=1,2 dbname=d"),
            ("postgres://a,[::1]:2/d?hostaddr=10.0.0.1,", "host=a,::1 port=,2 dbname=d hostaddr=10.0.0.1,"),
            ("postgres://a,b", "host=a,b port=,"),
            ("postgres://h?ssl=true", "host=h sslmode=require"),
            ("postgres://u%40x:a%3Ab@h", "user=u@x password=a:b host=h"),
            (r"host = h  password='a \' b' user=x\ y", "host=h password=a ' b user=x y"),
        ] {
            let values = parse(text).unwrap();
            let joined: Vec<_> = values.iter().map(|(name, value)| format!("{name}={value}")).collect();
            assert_eq!(joined.join(" "), expected, "{text}");
        }
        for text in [
            "postgres://h/%zz",
            "postgres://h/%00",
            "postgres://a:1,b:x/d",
            "postgres://[::1]x/d",
            "nonsense",
            "http://h",
            "user='open",
            "host=h us er=u",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
