//! The hosts of a connection, in the order in which they are tried.

use std::fmt;
use std::net::IpAddr;

use ::fault::Fault;

use crate::Error;

/// Where Debian's server and psql meet when no host is named.
const SOCKETS: &str = "/var/run/postgresql";

const PORT: u16 = 5432;

/// One place where a server may be.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Host {
    /// A name, an address or the folder of a unix socket. A certificate has to be for it.
    pub(super) name: String,
    /// The address, where none has to be looked up.
    pub(super) address: Option<IpAddr>,
    pub(super) port: u16,
    /// Each host may have its own in the password file.
    pub(super) password: Option<String>,
}

impl Host {
    /// Whether it is a unix socket.
    pub(super) fn is_socket(&self) -> bool {
        self.address.is_none() && self.name.starts_with('/')
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.port)
    }
}

/// The hosts in libpq's lists, which are separated by commas. A single port is that of all hosts.
pub(super) fn of(host: Option<&str>, hostaddr: Option<&str>, port: Option<&str>) -> Result<Vec<Host>, Error> {
    let list = |list: Option<&str>| list.map_or_else(Vec::new, |list| list.split(',').map(str::to_owned).collect());
    let (mut names, mut addresses, mut ports) = (list(host), list(hostaddr), list(port));
    let count = names.len().max(addresses.len()).max(1);
    for (what, list) in [("host", &mut names), ("hostaddr", &mut addresses)] {
        if list.is_empty() {
            list.resize(count, String::new());
        } else if list.len() != count {
            return Err(invalid(format!("`{what}` has {} entries, but there are {count} hosts", list.len()))
                .with_hint("`host` and `hostaddr` have one entry for each host"));
        }
    }
    match ports.as_slice() {
        [] => ports.resize(count, String::new()),
        [one] => ports = vec![one.clone(); count],
        ports if ports.len() != count => {
            return Err(invalid(format!("there are {} ports, but the number of hosts is {count}", ports.len()))
                .with_hint("PORT (or `port`) is one port for all hosts, or one for each"));
        }
        _ => {}
    }
    names.into_iter().zip(addresses).zip(ports).map(|((name, address), port)| one(name, &address, &port)).collect()
}

fn one(name: String, address: &str, port: &str) -> Result<Host, Error> {
    let port = match port.trim() {
        "" => PORT,
        port => port.parse().ok().filter(|port| *port > 0).ok_or_else(|| {
            invalid(format!("`{port}` is not the number of a port")).with_hint("PORT is a number, as 5432")
        })?,
    };
    let address = match address {
        "" => None,
        address => Some(address.parse::<IpAddr>().map_err(|_| {
            invalid("`hostaddr` (PGHOSTADDR) is not an IP address".to_owned()).with_hint("a name belongs into `host`")
        })?),
    };
    let name = match (name.as_str(), address) {
        ("", None) => SOCKETS.to_owned(),
        (name, Some(address)) if name.is_empty() || name.starts_with('/') => address.to_string(),
        (name, None) if name.starts_with('@') => {
            return Err(invalid("abstract unix sockets (`host=@...`) are not supported".to_owned())
                .with_hint("name the folder of the server's socket, or a host"));
        }
        _ => name,
    };
    Ok(Host { name, address, port, password: None })
}

fn invalid(message: String) -> Error {
    Error::found(Fault::Setup, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(host: &str, hostaddr: &str, port: &str) -> Result<String, String> {
        let given = |text: &'static str| Some(text).filter(|text| !text.is_empty());
        let leak = |text: &str| given(String::leak(text.to_owned()));
        let shown = |host: &Host| match host.address {
            Some(address) => format!("{host}@{address}"),
            None => format!("{host}{}", if host.is_socket() { " socket" } else { "" }),
        };
        let hosts = of(leak(host), leak(hostaddr), leak(port)).map_err(|error| error.to_string())?;
        Ok(hosts.iter().map(shown).collect::<Vec<_>>().join(", "))
    }

    #[test]
    fn lists_are_read_as_libpq_does() {
        for (host, hostaddr, port, expected) in [
            ("", "", "", "/var/run/postgresql:5432 socket"),
            ("a", "", "1", "a:1"),
            ("a,b", "", "", "a:5432, b:5432"),
            ("a,b", "", "1", "a:1, b:1"),
            ("a,/tmp,", "", "1,,3", "a:1, /tmp:5432 socket, /var/run/postgresql:3 socket"),
            ("a,b", "10.0.0.1,", "", "a:5432@10.0.0.1, b:5432"),
            ("", "10.0.0.1,::1", "", "10.0.0.1:5432@10.0.0.1, ::1:5432@::1"),
            ("/tmp", "10.0.0.1", "", "10.0.0.1:5432@10.0.0.1"),
        ] {
            assert_eq!(hosts(host, hostaddr, port).as_deref(), Ok(expected), "{host} {hostaddr} {port}");
        }
    }

    #[test]
    fn lists_that_do_not_fit_are_refused() {
        for (host, hostaddr, port, expected) in [
            ("a,b", "10.0.0.1", "", "`hostaddr` has 1 entries, but there are 2 hosts"),
            ("a", "10.0.0.1,::1", "", "`host` has 1 entries, but there are 2 hosts"),
            ("a,b", "", "1,2,3", "there are 3 ports, but the number of hosts is 2"),
            ("a", "b", "", "`hostaddr` (PGHOSTADDR) is not an IP address"),
            ("a", "", "0", "`0` is not the number of a port"),
            ("a", "", "65536", "`65536` is not the number of a port"),
            ("@pg", "", "", "abstract unix sockets (`host=@...`) are not supported"),
        ] {
            assert_eq!(hosts(host, hostaddr, port), Err(expected.to_owned()), "{host} {hostaddr} {port}");
        }
    }
}
