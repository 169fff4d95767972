//! The parameters that a connection string, a service or libpq's variables may have: which are supported, which are refused
//! and which are ignored. What the supported ones mean is said where they are used.

use std::sync::Once;

use ::fault::Fault;
use tracing::warn;

use super::Values;
use crate::Error;

/// How a parameter of libpq is treated.
enum Treatment {
    Supported,
    /// Refused, unless the value asks for what happens anyway.
    Unsupported(&'static [&'static str]),
}

use Treatment::{Supported, Unsupported};

/// libpq's parameters (as of PostgreSQL 18) and those of the search path, each with its variable if it has one.
const PARAMETERS: [(&str, &str, Treatment); 54] = [
    ("application_name", "PGAPPNAME", Supported),
    ("channel_binding", "PGCHANNELBINDING", Supported),
    // Rows are UTF-8, and the driver always says so.
    ("client_encoding", "PGCLIENTENCODING", Unsupported(&["UTF8", "UTF-8", "UNICODE", "auto"])),
    ("connect_timeout", "PGCONNECT_TIMEOUT", Supported),
    ("dbname", "PGDATABASE", Supported),
    ("fallback_application_name", "", Supported),
    ("gssdelegation", "PGGSSDELEGATION", Unsupported(&["0"])),
    ("gssencmode", "PGGSSENCMODE", Unsupported(&["disable", "prefer"])),
    ("gsslib", "PGGSSLIB", Unsupported(&["gssapi"])),
    ("host", "PGHOST", Supported),
    ("hostaddr", "PGHOSTADDR", Supported),
    ("keepalives", "", Supported),
    ("keepalives_count", "", Supported),
    ("keepalives_idle", "", Supported),
    ("keepalives_interval", "", Supported),
    ("krbsrvname", "PGKRBSRVNAME", Unsupported(&["postgres"])),
    ("load_balance_hosts", "PGLOADBALANCEHOSTS", Supported),
    // The driver speaks 3.0, which every server offers.
    ("max_protocol_version", "PGMAXPROTOCOLVERSION", Unsupported(&["3.0", "3.2", "latest"])),
    ("min_protocol_version", "PGMINPROTOCOLVERSION", Unsupported(&["3.0"])),
    ("oauth_client_id", "", Unsupported(&[])),
    ("oauth_client_secret", "", Unsupported(&[])),
    ("oauth_issuer", "", Unsupported(&[])),
    ("oauth_scope", "", Unsupported(&[])),
    ("options", "PGOPTIONS", Supported),
    ("passfile", "PGPASSFILE", Supported),
    ("password", "PGPASSWORD", Supported),
    ("port", "PGPORT", Supported),
    ("replication", "", Unsupported(&["false", "off", "no", "0"])),
    ("require_auth", "PGREQUIREAUTH", Unsupported(&[])),
    ("requirepeer", "PGREQUIREPEER", Unsupported(&[])),
    ("scram_client_key", "", Unsupported(&[])),
    ("scram_server_key", "", Unsupported(&[])),
    ("service", "PGSERVICE", Supported),
    ("servicefile", "PGSERVICEFILE", Supported),
    ("ssl_max_protocol_version", "PGSSLMAXPROTOCOLVERSION", Supported),
    ("ssl_min_protocol_version", "PGSSLMINPROTOCOLVERSION", Supported),
    ("sslcert", "PGSSLCERT", Unsupported(&[])),
    ("sslcertmode", "PGSSLCERTMODE", Unsupported(&["disable", "allow"])),
    ("sslcompression", "PGSSLCOMPRESSION", Unsupported(&["0"])),
    ("sslcrl", "PGSSLCRL", Unsupported(&[])),
    ("sslcrldir", "PGSSLCRLDIR", Unsupported(&[])),
    ("sslkey", "PGSSLKEY", Unsupported(&[])),
    ("sslkeylogfile", "", Unsupported(&[])),
    ("sslmode", "PGSSLMODE", Supported),
    ("sslnegotiation", "PGSSLNEGOTIATION", Supported),
    ("sslpassword", "", Unsupported(&[])),
    ("sslrootcert", "PGSSLROOTCERT", Supported),
    ("sslsni", "PGSSLSNI", Supported),
    ("target_session_attrs", "PGTARGETSESSIONATTRS", Supported),
    ("tcp_user_timeout", "", Supported),
    ("user", "PGUSER", Supported),
    // Not libpq's: Prisma, JDBC and others name the search path so.
    ("schema", "", Supported),
    ("currentSchema", "", Supported),
    ("search_path", "", Supported),
];

/// Parameters of Prisma's own client and its TLS. They say nothing about where rows go.
const PRISMA: [&str; 6] =
    ["connection_limit", "pgbouncer", "pool_timeout", "socket_timeout", "sslaccept", "statement_cache_size"];

/// Parameters whose values are secret.
const SECRET: [&str; 5] = ["password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key"];

/// The variable of a parameter of libpq.
pub(super) fn variable(name: &str) -> Option<&'static str> {
    let (_, variable, _) = PARAMETERS.iter().find(|(known, _, _)| *known == name)?;
    Some(*variable).filter(|variable| !variable.is_empty())
}

fn is_known(name: &str) -> bool {
    PRISMA.contains(&name) || PARAMETERS.iter().any(|(known, _, _)| *known == name)
}

/// Whether a part of a secret may have been taken for a parameter's name: `password=two words=1`, `password=a&b=c`.
pub(super) fn may_show_a_secret(values: &Values) -> bool {
    let plain = |name: &str| name.len() <= 40 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let split = values.windows(2).any(|pair| SECRET.contains(&pair[0].0.as_str()) && !is_known(&pair[1].0));
    split || !values.iter().all(|(name, _)| plain(name))
}

/// Refuses a name that is no parameter's. `source` is what has the values.
pub(super) fn check(values: &Values, source: &str) -> Result<(), Error> {
    let Some((name, _)) = values.iter().find(|(name, _)| !is_known(name)) else { return Ok(()) };
    let error = Error::found(Fault::Setup, format!("`{name}` in {source} is not a parameter of a connection"));
    Err(match similar(name) {
        Some(known) => error.with_hint(format!("is `{known}` meant?")),
        None => error.with_hint(
            "leave it out: it may be a parameter of another client; docs/settings.md has those of PostgreSQL",
        ),
    })
}

/// The known name that is most like this one, if one is close.
fn similar(name: &str) -> Option<&'static str> {
    let distance = |known: &str| strsim::damerau_levenshtein(&name.to_lowercase(), &known.to_lowercase());
    let known =
        PARAMETERS.iter().filter(|(_, _, treatment)| matches!(treatment, Supported)).map(|(known, _, _)| *known);
    known.min_by_key(|known| distance(known)).filter(|known| distance(known) <= (name.len() / 4).max(1))
}

/// Refuses parameters of libpq that ask for something that this program does not do.
pub(super) fn refuse_unsupported(libpq: &impl Fn(&str) -> Option<String>) -> Result<(), Error> {
    for (name, variable, treatment) in &PARAMETERS {
        let Unsupported(harmless) = treatment else { continue };
        let Some(value) = libpq(name) else { continue };
        if harmless.iter().any(|harmless| harmless.eq_ignore_ascii_case(&value)) {
            continue;
        }
        let also = if variable.is_empty() { String::new() } else { format!(" ({variable})") };
        let message = format!("`{name}`{also} is set to something that this program does not support");
        let hint = match harmless.first() {
            Some(harmless) => format!("leave it out, or set it to {harmless}"),
            None => "leave it out to connect without it".to_owned(),
        };
        return Err(Error::found(Fault::Setup, message).with_hint(hint));
    }
    Ok(())
}

/// Says once in the life of a process which parameters have no effect.
pub(super) fn warn_of_ignored(values: &[&Values]) {
    static WARNED: Once = Once::new();
    let names: Vec<_> = ignored(values).into_iter().map(|name| format!("`{name}`")).collect();
    if !names.is_empty() {
        WARNED.call_once(|| warn!("Ignored in the connection string, as parameters of Prisma: {}", names.join(", ")));
    }
}

fn ignored(values: &[&Values]) -> Vec<&'static str> {
    let given = |known: &&str| values.iter().any(|values| values.iter().any(|(name, _)| name == known));
    PRISMA.into_iter().filter(given).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_close_to_a_parameter_is_suggested() {
        for (name, expected) in [
            ("shema", Some("schema")),
            ("currentschema", Some("currentSchema")),
            ("ssl_mode", Some("sslmode")),
            ("connectTimeout", Some("connect_timeout")),
            ("keepalives_cnt", Some("keepalives_count")),
            ("prepareThreshold", None),
            ("pool", None),
        ] {
            assert_eq!(similar(name), expected, "{name}");
        }
    }

    #[test]
    fn what_prisma_says_to_its_own_client_is_ignored() {
        let values = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), "1".to_owned())).collect::<Values>();
        let (url, service) = (values(&["schema", "sslaccept", "pgbouncer"]), values(&["pgbouncer"]));
        assert_eq!(ignored(&[&url, &service]), ["pgbouncer", "sslaccept"]);
        assert!(ignored(&[&values(&["host"])]).is_empty());
    }
}
