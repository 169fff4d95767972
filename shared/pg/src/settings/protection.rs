//! What is promised of the way to the server: `DB_SSL` and `DB_SSL_ROOT_CERT`, or libpq's `sslmode` and its kin. Nothing
//! that was asked for is ever less: what cannot be kept is refused. How it is kept is in `tls`.

use std::path::{Path, PathBuf};

use ::fault::Fault;
use postgres::config::ChannelBinding;

use super::TlsMode;
use crate::Error;

/// What libpq can promise and this cannot: its name there, its variable, the values that ask for nothing.
const DEMANDS: [(&str, &str, &[&str]); 6] = [
    ("gssencmode", "PGGSSENCMODE", &["disable", "prefer"]),
    ("require_auth", "PGREQUIREAUTH", &[]),
    ("requirepeer", "PGREQUIREPEER", &[]),
    ("ssl_min_protocol_version", "PGSSLMINPROTOCOLVERSION", &["TLSv1", "TLSv1.1", "TLSv1.2"]),
    ("sslcrl", "PGSSLCRL", &[]),
    ("sslcrldir", "PGSSLCRLDIR", &[]),
];

/// Refuses what cannot be promised.
pub(super) fn refuse_demands(libpq: &impl Fn(&str, &str) -> Option<String>) -> Result<(), Error> {
    for (name, variable, harmless) in DEMANDS {
        if let Some(value) = libpq(name, variable).filter(|value| !harmless.contains(&value.as_str())) {
            let message = format!("`{name}` ({variable}) is `{value}`, which this program cannot promise");
            return Err(Error::found(Fault::Setup, message).with_hint("leave it out to connect without it"));
        }
    }
    Ok(())
}

/// Whether the password is bound to the TLS connection over which it goes.
pub(super) fn channel_binding(libpq: &impl Fn(&str, &str) -> Option<String>) -> Result<ChannelBinding, Error> {
    match libpq("channel_binding", "PGCHANNELBINDING").as_deref() {
        None | Some("prefer") => Ok(ChannelBinding::Prefer),
        Some("disable") => Ok(ChannelBinding::Disable),
        Some("require") => Ok(ChannelBinding::Require),
        Some(other) => Err(Error::found(Fault::Setup, format!("PGCHANNELBINDING is `{other}`"))
            .with_hint("PGCHANNELBINDING is disable, prefer or require")),
    }
}

/// The mode, and the file of the only authorities that are believed; without one, the system's are.
pub(super) fn of(
    var: &impl Fn(&str) -> Option<String>,
    libpq: &impl Fn(&str, &str) -> Option<String>,
) -> Result<(TlsMode, Option<PathBuf>), Error> {
    let named = var("DB_SSL_ROOT_CERT").or_else(|| libpq("sslrootcert", "PGSSLROOTCERT"));
    let (mode, file) = match (var("DB_SSL"), libpq("sslmode", "PGSSLMODE")) {
        (Some(own), _) => (own_mode(&own)?, named),
        (None, Some(libpq)) => (libpq_mode(&libpq)?, named.or_else(|| default_file(var))),
        (None, None) => (TlsMode::VerifyFull, named),
    };
    match (mode, file.as_deref()) {
        (TlsMode::Prefer | TlsMode::Encrypt | TlsMode::VerifyCa, Some("system")) => Err(Error::found(
            Fault::Setup,
            "the system's authorities are asked for, in a mode of TLS in which they say nothing about the server",
        )
        .with_hint("set DB_SSL (or PGSSLMODE) to verify-full")),
        // They vouch for everybody's servers: what counts is the name.
        (TlsMode::VerifyCa, None) => Ok((TlsMode::VerifyFull, None)),
        (mode, None | Some("system")) => Ok((mode, None)),
        // libpq's rule: where there is a root file, `require` verifies by it.
        (TlsMode::Encrypt, Some(file)) => Ok((TlsMode::VerifyCa, Some(PathBuf::from(file)))),
        (mode, Some(file)) => Ok((mode, Some(PathBuf::from(file)))),
    }
}

/// The root file of libpq's users, if there is one.
fn default_file(var: &impl Fn(&str) -> Option<String>) -> Option<String> {
    let file = format!("{}/.postgresql/root.crt", var("HOME")?);
    Path::new(&file).exists().then_some(file)
}

fn own_mode(text: &str) -> Result<TlsMode, Error> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(TlsMode::VerifyFull),
        "false" | "0" | "no" | "off" => Ok(TlsMode::Off),
        other => libpq_mode(other).map_err(|_| {
            Error::found(Fault::Setup, format!("DB_SSL is `{text}`"))
                .with_hint("DB_SSL is verify-full (or true), require or false")
        }),
    }
}

/// The modes of libpq. `allow` and `prefer` promise nothing there either.
fn libpq_mode(text: &str) -> Result<TlsMode, Error> {
    match text {
        "disable" => Ok(TlsMode::Off),
        "allow" | "prefer" => Ok(TlsMode::Prefer),
        "require" => Ok(TlsMode::Encrypt),
        "verify-ca" => Ok(TlsMode::VerifyCa),
        "verify-full" => Ok(TlsMode::VerifyFull),
        _ => Err(Error::found(Fault::Setup, format!("PGSSLMODE is `{text}`"))
            .with_hint("PGSSLMODE is disable, allow, prefer, require, verify-ca or verify-full")),
    }
}
