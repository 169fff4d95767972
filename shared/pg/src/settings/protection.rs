//! What is promised of the way to the server: `DB_SSL` and `DB_SSL_ROOT_CERT`, or libpq's `sslmode` and its kin. Nothing
//! that was asked for is ever less: what cannot be kept is refused. How it is kept is in `tls`.

use std::path::{Path, PathBuf};

use ::fault::Fault;
use postgres::config::ChannelBinding;

use super::TlsMode;
use crate::Error;

/// How the way to the server is protected.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Protection {
    pub(crate) mode: TlsMode,
    /// The file of the only authorities that are believed; without one, the system's are.
    pub(crate) root_cert: Option<PathBuf>,
    pub(crate) versions: Versions,
    /// The handshake begins without asking the server whether it has TLS.
    pub(crate) direct: bool,
    /// The server is told by which name it was asked for.
    pub(crate) sni: bool,
}

/// Versions of TLS that may be used.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Versions {
    Any,
    Only12,
    Only13,
}

impl Protection {
    pub(super) fn of(
        var: &impl Fn(&str) -> Option<String>,
        libpq: &impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Error> {
        let (mode, root_cert) = mode(var, libpq)?;
        let direct = match libpq("sslnegotiation").as_deref() {
            None | Some("postgres") => false,
            Some("direct") if matches!(mode, TlsMode::Off | TlsMode::Prefer) => {
                return Err(Error::found(Fault::Setup, "`sslnegotiation` is direct, but TLS is not required")
                    .with_hint("set DB_SSL (or PGSSLMODE) to require, verify-ca or verify-full"));
            }
            Some("direct") => true,
            Some(_) => return Err(unknown("sslnegotiation", "PGSSLNEGOTIATION", "postgres or direct")),
        };
        let sni = match libpq("sslsni").as_deref() {
            None | Some("1") => true,
            Some("0") => false,
            Some(_) => return Err(unknown("sslsni", "PGSSLSNI", "0 or 1")),
        };
        Ok(Self { mode, root_cert, versions: versions(libpq)?, direct, sni })
    }
}

fn unknown(name: &str, variable: &str, values: &str) -> Error {
    Error::found(Fault::Setup, format!("`{name}` ({variable}) has an unknown value"))
        .with_hint(format!("it is {values}"))
}

fn versions(libpq: &impl Fn(&str) -> Option<String>) -> Result<Versions, Error> {
    // 12 is TLS 1.2.
    let version = |name, variable| match libpq(name).map(|value| value.to_ascii_lowercase()).as_deref() {
        None => Ok(None),
        Some("tlsv1") => Ok(Some(10)),
        Some("tlsv1.1") => Ok(Some(11)),
        Some("tlsv1.2") => Ok(Some(12)),
        Some("tlsv1.3") => Ok(Some(13)),
        Some(_) => Err(unknown(name, variable, "TLSv1.2 or TLSv1.3")),
    };
    let lowest = version("ssl_min_protocol_version", "PGSSLMINPROTOCOLVERSION")?.unwrap_or(12).max(12);
    let highest = version("ssl_max_protocol_version", "PGSSLMAXPROTOCOLVERSION")?.unwrap_or(13);
    match (lowest, highest) {
        (12, 13) => Ok(Versions::Any),
        (12, 12) => Ok(Versions::Only12),
        (13, 13) => Ok(Versions::Only13),
        _ => Err(Error::found(
            Fault::Setup,
            "`ssl_min_protocol_version` and `ssl_max_protocol_version` leave no version of TLS from 1.2 to 1.3",
        )
        .with_hint("leave out `ssl_max_protocol_version` (PGSSLMAXPROTOCOLVERSION)")),
    }
}

/// Whether the password is bound to the TLS connection over which it goes.
pub(super) fn channel_binding(libpq: &impl Fn(&str) -> Option<String>) -> Result<ChannelBinding, Error> {
    match libpq("channel_binding").as_deref() {
        None | Some("prefer") => Ok(ChannelBinding::Prefer),
        Some("disable") => Ok(ChannelBinding::Disable),
        Some("require") => Ok(ChannelBinding::Require),
        Some(other) => Err(Error::found(Fault::Setup, format!("PGCHANNELBINDING is `{other}`"))
            .with_hint("PGCHANNELBINDING is disable, prefer or require")),
    }
}

/// The mode, and the file of authorities.
fn mode(
    var: &impl Fn(&str) -> Option<String>,
    libpq: &impl Fn(&str) -> Option<String>,
) -> Result<(TlsMode, Option<PathBuf>), Error> {
    let named = var("DB_SSL_ROOT_CERT").or_else(|| libpq("sslrootcert"));
    let (mode, file) = match (var("DB_SSL"), libpq("sslmode")) {
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
