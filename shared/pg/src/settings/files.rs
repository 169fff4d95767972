//! Files that hold settings: systemd's credentials, `~/.pgpass`, `~/.pg_service.conf`.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use ::fault::Fault;
use tracing::warn;

use super::Values;
use crate::Error;

/// The password that systemd (or a secret store) put into a file, without its last newline.
pub(super) fn credential(var: &impl Fn(&str) -> Option<String>) -> Result<Option<String>, Error> {
    let Some(folder) = var("CREDENTIALS_DIRECTORY") else { return Ok(None) };
    let path = Path::new(&folder).join("password");
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()).filter(|text| !text.is_empty())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(&path, &error)),
    }
}

/// The text of the password file: the one that is named, or `~/.pgpass`.
///
/// As in libpq, a file that others can read is not used, and a missing one is no error.
pub(super) fn pgpass(named: Option<String>, var: &impl Fn(&str) -> Option<String>) -> Option<String> {
    let path = named.or_else(|| var("HOME").map(|home| format!("{home}/.pgpass")))?;
    let metadata = fs::metadata(&path).ok()?;
    if metadata.permissions().mode() & 0o077 != 0 {
        warn!("`{path}` is not used: others can read it (chmod 0600 {path})");
        return None;
    }
    fs::read_to_string(&path).ok()
}

/// The password of the first line that matches, in the text of a password file.
pub(super) fn password(text: &str, host: &str, port: u16, database: &str, user: &str) -> Option<String> {
    // libpq's rule: connections through a socket are entered as `localhost` or as the folder.
    let hosts: &[&str] = if host.starts_with('/') { &[host, "localhost"] } else { &[host] };
    let port = port.to_string();
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let fields = split_fields(line);
        let [their_host, their_port, their_database, their_user, password] = fields.as_slice() else { return None };
        let matches = |field: &str, value: &str| field == "*" || field == value;
        let found = hosts.iter().any(|host| matches(their_host, host))
            && matches(their_port, &port)
            && matches(their_database, database)
            && matches(their_user, user);
        found.then(|| password.clone())
    })
}

/// The fields of `host:port:database:user:password`; `\:` and `\\` stand for the second character.
fn split_fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut chars = line.chars();
    while let Some(next) = chars.next() {
        let last = fields.len() - 1;
        match next {
            ':' if fields.len() < 5 => fields.push(String::new()),
            '\\' => fields[last].extend(chars.next()),
            other => fields[last].push(other),
        }
    }
    fields
}

/// The values of a service, from the file that is named, `~/.pg_service.conf` or the system's.
pub(super) fn service(
    name: &str,
    named: Option<String>,
    var: &impl Fn(&str) -> Option<String>,
) -> Result<Values, Error> {
    let own = named.or_else(|| var("HOME").map(|home| format!("{home}/.pg_service.conf")));
    let system = var("PGSYSCONFDIR").unwrap_or_else(|| "/etc/postgresql-common".to_owned());
    let files = [own.map(PathBuf::from), Some(Path::new(&system).join("pg_service.conf"))];
    let mut read = Vec::new();
    for path in files.into_iter().flatten() {
        match fs::read_to_string(&path) {
            Ok(text) => {
                if let Some(values) = section(&text, name) {
                    return values.map_err(|problem| {
                        Error::found(Fault::Setup, format!("the service `{name}` in `{}` {problem}", path.display()))
                            .with_hint(
                                "its lines are of the form name=value, with the parameters of a connection string",
                            )
                    });
                }
                read.push(format!("`{}`", path.display()));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(unreadable(&path, &error)),
        }
    }
    let places = if read.is_empty() { "~/.pg_service.conf, which is not there".to_owned() } else { read.join(" or ") };
    Err(Error::found(Fault::Setup, format!("no service `{name}` in {places}")))
}

/// The values of a section, or what is wrong with it. A line is never repeated: it may hold the password.
fn section(text: &str, name: &str) -> Option<Result<Values, &'static str>> {
    let mut lines = text.lines().map(str::trim);
    lines.find(|line| line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) == Some(name))?;
    let lines = lines.take_while(|line| !line.starts_with('['));
    let pairs = lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(|line| {
        if line.starts_with("ldap") {
            return Err("asks an LDAP server, which this program does not support");
        }
        let (name, value) = line.split_once('=').ok_or("has a line without `=`")?;
        match name.trim() {
            "service" | "servicefile" => Err("names another service, which libpq does not allow either"),
            name => Ok((name.to_owned(), value.trim().to_owned())),
        }
    });
    Some(pairs.collect())
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    Error::found(Fault::Setup, format!("cannot read `{}`: {error}", path.display()))
}
