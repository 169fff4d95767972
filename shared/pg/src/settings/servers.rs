//! Opens connections. Hosts are tried in turn, as libpq does it: the next one only if this one cannot be reached, is not
//! ready or is not the kind of server that was asked for. A wrong password is not tried elsewhere.

use std::path::Path;
use std::time::Duration;

use ::fault::{Classify as _, Fault};
use postgres::SimpleQueryMessage;
use postgres::config::{LoadBalanceHosts, SslMode, SslNegotiation};
use r2d2::ManageConnection as _;
use r2d2_postgres::PostgresConnectionManager;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::hosts::Host;
use super::{Settings, TlsMode};
use crate::transaction::set_local;
use crate::{Client, Error};

/// What a server has to be (`target_session_attrs`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Any,
    /// Its transactions may write.
    Writable,
    /// It is not a standby.
    Primary,
}

impl Wanted {
    pub(super) fn of(libpq: &impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let refused = |message: &str| Error::found(Fault::Setup, format!("`target_session_attrs` {message}"));
        match libpq("target_session_attrs").as_deref() {
            None | Some("any") => Ok(Self::Any),
            // A standby is preferred there, but cannot take rows.
            Some("read-write" | "prefer-standby") => Ok(Self::Writable),
            Some("primary") => Ok(Self::Primary),
            Some("read-only" | "standby") => Err(refused("asks for a server that cannot be written to").with_hint(
                "leave it out, or set it to read-write: pg-upsert writes rows, and pg-verify needs temporary tables, \
                 which a standby does not allow",
            )),
            Some(_) => Err(refused("(PGTARGETSESSIONATTRS) has an unknown value")
                .with_hint("it is any, read-write, primary or prefer-standby")),
        }
    }

    /// The query that tells, the answer of a server that is not what is wanted, and what it is then.
    fn question(self) -> Option<(&'static str, &'static str, &'static str)> {
        match self {
            Self::Any => None,
            Self::Writable => Some(("show transaction_read_only", "on", "it cannot be written to")),
            Self::Primary => Some(("select pg_catalog.pg_is_in_recovery()", "t", "it is a standby")),
        }
    }
}

/// The servers of some settings.
pub(crate) struct Servers {
    settings: Settings,
    hosts: Vec<(Host, PostgresConnectionManager<MakeRustlsConnect>)>,
}

impl Servers {
    pub(super) fn of(settings: &Settings) -> Result<Self, Error> {
        let connector = settings.connector()?;
        let manager = |host: &Host| PostgresConnectionManager::new(config(settings, host), connector.clone());
        let hosts = settings.hosts.iter().map(|host| (host.clone(), manager(host))).collect();
        Ok(Self { settings: settings.clone(), hosts })
    }

    /// Opens one connection.
    pub(crate) fn connect(&self) -> Result<Client, Error> {
        let mut order: Vec<_> = self.hosts.iter().collect();
        if self.settings.random {
            fastrand::shuffle(&mut order);
        }
        let connecting = self.settings.connecting();
        let mut result = Err(Error::found(Fault::Setup, format!("{connecting}: there is no host")));
        let mut earlier = String::new();
        for (host, manager) in order {
            let action =
                if self.hosts.len() == 1 { connecting.clone() } else { format!("{connecting}: {earlier}{host}") };
            result = self.open(manager, &action);
            match &result {
                Err(error) if error.fault() == Fault::Transient => {
                    let said = error.to_string();
                    earlier = format!("{earlier}{host}{}; ", said.strip_prefix(&action).unwrap_or(&said));
                }
                _ => break,
            }
        }
        result
    }

    fn open(&self, manager: &PostgresConnectionManager<MakeRustlsConnect>, action: &str) -> Result<Client, Error> {
        let mut client = manager.connect().map_err(Error::on(action))?;
        if let Some((question, wrong, message)) = self.settings.wanted.question() {
            let answer = client.simple_query(question).map_err(Error::on(action))?;
            let is = |message: &SimpleQueryMessage| matches!(message, SimpleQueryMessage::Row(row) if row.get(0) == Some(wrong));
            if answer.iter().any(is) {
                // After a failover it may be.
                return Err(Error::found(Fault::Transient, format!("{action}: {message}"))
                    .with_hint("`target_session_attrs` asks for another server: name the primary in SERVER"));
            }
        }
        let session = self.settings.session();
        if !session.is_empty() {
            // They are sent with each transaction; a wrong one is found here, before any row is read.
            let settings = set_local(session.iter().map(|(name, value)| (name.as_str(), value.as_str())));
            client.batch_execute(&format!("begin; {settings}; rollback")).map_err(|error| {
                let error = Error::of("the server refuses a setting of the connection", &error).of_no_record();
                let hint = "check `options` (PGOPTIONS) and the search path in the connection string";
                if error.fault() == Fault::Setup { error.with_hint(hint) } else { error }
            })?;
        }
        Ok(client)
    }

    /// How long it may take to find that no server answers.
    pub(crate) fn patience(&self) -> Duration {
        self.settings.waits.for_hosts(self.hosts.len())
    }
}

fn config(settings: &Settings, host: &Host) -> postgres::Config {
    let mut config = postgres::Config::new();
    if host.is_socket() {
        config.host_path(Path::new(&host.name));
    } else {
        config.host(&host.name);
        if let Some(address) = host.address {
            config.hostaddr(address);
        }
    }
    config.port(host.port).user(&settings.user).dbname(&settings.database);
    config.application_name(&settings.application_name);
    if let Some(password) = &host.password {
        config.password(password);
    }
    let protection = &settings.protection;
    // As in libpq, there is no TLS on a socket of this machine, whatever is asked for.
    config.ssl_mode(match protection.mode {
        _ if host.is_socket() => SslMode::Disable,
        TlsMode::Off => SslMode::Disable,
        TlsMode::Prefer => SslMode::Prefer,
        TlsMode::Encrypt | TlsMode::VerifyCa | TlsMode::VerifyFull => SslMode::Require,
    });
    if protection.direct {
        config.ssl_negotiation(SslNegotiation::Direct);
    }
    config.channel_binding(settings.channel_binding);
    if settings.random {
        config.load_balance_hosts(LoadBalanceHosts::Random);
    }
    settings.waits.configure(&mut config);
    config
}
