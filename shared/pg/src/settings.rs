//! Where the server is and as whom to connect.
//!
//! For each value the first of these that has one: the predecessor's variables (`SERVER PORT PG_USER PASSWORD DATABASE
//! DB_SSL`), `DATABASE_URL`, the service that `PGSERVICE` names, libpq's variables (`PGHOST` and so on), the default.
//! A password may also be in the file `password` of `$CREDENTIALS_DIRECTORY` (systemd) and in `~/.pgpass`.
//!
//! Everything is looked up by a function, so that tests need no environment. The modules: `url` parses connection strings,
//! `files` reads files, `parameters` knows every parameter's name, `hosts`, `options`, `path`, `protection` (TLS) and `waits`
//! (timeouts) say what the values mean, `servers` opens connections.

mod files;
mod hosts;
mod options;
mod parameters;
mod path;
mod protection;
mod servers;
mod url;
mod waits;

use std::convert::Infallible;
use std::fmt;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use ::fault::Fault;
use postgres::config::ChannelBinding;
use retry::Interrupt;
use tokio_postgres_rustls::MakeRustlsConnect;

use hosts::Host;
pub(crate) use protection::{Protection, Versions};
pub(crate) use servers::Servers;
use servers::Wanted;
use waits::Waits;

use crate::{Client, Error, tls};

/// The predecessor's database, which its users' `.env` files leave out.
const DATABASE: &str = "infinityCMS";

/// How often one who watches a statement looks whether a stop is late.
const LOOK: Duration = Duration::from_millis(200);

/// How the server's own views call us, unless the user has another name.
const APPLICATION: &str = "ddb-pipe pg-upsert";

/// Variables that name a server or a database.
const NAMING: [&str; 7] = ["SERVER", "DATABASE", "DATABASE_URL", "PGSERVICE", "PGHOST", "PGHOSTADDR", "PGDATABASE"];

/// Variables by which libpq sets settings of the server.
const SERVER_SETTINGS: [(&str, &str); 3] = [("PGDATESTYLE", "datestyle"), ("PGTZ", "timezone"), ("PGGEQO", "geqo")];

/// How the connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    /// No TLS.
    Off,
    /// TLS if the server has it; nothing is verified.
    Prefer,
    /// TLS; the server is not verified.
    Encrypt,
    /// TLS, and the server's certificate must be signed by a known authority, for whatever name.
    VerifyCa,
    /// TLS, and the server's certificate must be signed by a known authority for the name that was asked for.
    VerifyFull,
}

/// Everything that a connection needs.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// At least one; tried in this order.
    hosts: Vec<Host>,
    user: String,
    database: String,
    application_name: String,
    /// Settings of the server, by name, that hold in each transaction.
    session: Vec<(String, String)>,
    protection: Protection,
    channel_binding: ChannelBinding,
    wanted: Wanted,
    waits: Waits,
    /// Hosts, and the addresses of each, are tried in random order.
    random: bool,
}

/// Never shows the password.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Settings({self}, {:?})", self.tls())
    }
}

/// `user@host:port/database`, with all hosts: `user@a:5432,b:5432/database`
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<_> = self.hosts.iter().map(ToString::to_string).collect();
        write!(f, "{}@{}/{}", self.user, hosts.join(","), self.database)
    }
}

/// Values by libpq's names, as a URL, a service or the environment gives them.
type Values = Vec<(String, String)>;

impl Settings {
    /// The settings of this process's environment.
    ///
    /// # Errors
    /// A value that cannot be one, or a file that is named and not there.
    pub fn from_env() -> Result<Self, Error> {
        Self::from(|name| std::env::var(name).ok())
    }

    /// The settings that a look-up of variables gives. An empty value is none.
    ///
    /// # Errors
    /// A value that cannot be one, or a file that is named and not there.
    pub fn from(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let var = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let url = var("DATABASE_URL").map_or(Ok(Values::new()), |url| url::parse(&url))?;
        parameters::check(&url, "DATABASE_URL")?;
        let name = pick(&url, "service").or_else(|| var("PGSERVICE"));
        let service = name.as_ref().map_or(Ok(Values::new()), |name| {
            files::service(name, pick(&url, "servicefile").or_else(|| var("PGSERVICEFILE")), &var)
        })?;
        let service_source = format!("the service `{}`", name.unwrap_or_default());
        parameters::check(&service, &service_source)?;
        let libpq = |name: &str| {
            let variable = || parameters::variable(name).and_then(var);
            pick(&url, name).or_else(|| pick(&service, name)).or_else(variable)
        };
        parameters::refuse_unsupported(&libpq)?;
        parameters::warn_of_ignored(&[&url, &service]);

        let user = var("PG_USER").or_else(|| libpq("user")).or_else(|| var("USER")).or_else(|| var("LOGNAME"));
        let user = user.ok_or_else(|| setup("no user for PostgreSQL is set".to_owned()).with_hint("set PG_USER"))?;
        let database = var("DATABASE").or_else(|| libpq("dbname")).unwrap_or_else(|| DATABASE.to_owned());
        let (own, port) = (var("SERVER"), var("PORT").or_else(|| libpq("port")));
        // The addresses of libpq are those of libpq's hosts.
        let (host, hostaddr) = if own.is_some() { (own, None) } else { (libpq("host"), libpq("hostaddr")) };
        for (what, value) in [("host", host.as_ref()), ("user", Some(&user)), ("database", Some(&database))] {
            refuse_connection_string(what, value)?;
        }
        let mut hosts = hosts::of(host.as_deref(), hostaddr.as_deref(), port.as_deref())?;

        let mut password = var("PASSWORD");
        if password.is_none() {
            password = files::credential(&var)?;
        }
        password = password.or_else(|| libpq("password"));
        let entries = if password.is_none() { files::pgpass(libpq("passfile"), &var) } else { None };
        for host in &mut hosts {
            let entry = || files::password(entries.as_deref()?, &host.name, host.port, &database, &user);
            host.password = password.clone().or_else(entry);
        }

        let mut protection = Protection::of(&var, &libpq)?;
        if hosts.iter().all(Host::is_socket) {
            protection.mode = TlsMode::Off;
        }
        Ok(Self {
            hosts,
            user,
            database,
            application_name: libpq("application_name")
                .or_else(|| libpq("fallback_application_name"))
                .unwrap_or_else(|| APPLICATION.to_owned()),
            session: session(&var, &libpq, [(&url, "DATABASE_URL"), (&service, &service_source)])?,
            protection,
            channel_binding: protection::channel_binding(&libpq)?,
            wanted: Wanted::of(&libpq)?,
            waits: Waits::of(&libpq)?,
            random: random(&libpq)?,
        })
    }

    /// Whether the environment names a server or a database, for programs that can do without one.
    pub fn are_given() -> bool {
        NAMING.iter().any(|variable| std::env::var_os(variable).is_some_and(|value| !value.is_empty()))
    }

    /// How the connection is protected.
    pub fn tls(&self) -> TlsMode {
        self.protection.mode
    }

    /// Settings of the server, by name, that the user gave (`options`, the search path). They do not travel when a connection
    /// is opened, because poolers refuse that, but at the beginning of each transaction.
    pub(crate) fn session(&self) -> &[(String, String)] {
        &self.session
    }

    /// Opens one connection, to the first host that takes it.
    ///
    /// # Errors
    /// No server can be reached (worth another try) or it does not let us in (not worth one).
    pub fn connect(&self) -> Result<Client, Error> {
        self.servers()?.connect()
    }

    /// Does something over a connection. What the server still works at when a stop is late, it is asked to cancel, and
    /// `work` gets an error.
    pub fn unless_late<T>(
        &self,
        stop: &(impl Interrupt + Sync),
        client: &mut Client,
        work: impl FnOnce(&mut Client) -> T,
    ) -> T {
        let token = client.cancel_token();
        let (working, ended) = mpsc::channel::<Infallible>();
        thread::scope(|scope| {
            let watch = move || {
                while ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                    if let (true, Ok(connector)) = (stop.late(), self.connector()) {
                        // A server that does not answer this either is waited for no longer than any other.
                        let _ = token.cancel_query(connector);
                    }
                }
            };
            // Without a thread to be had, nothing is cancelled.
            let _ = thread::Builder::new().name("cancel".to_owned()).spawn_scoped(scope, watch);
            let result = work(client);
            drop(working);
            result
        })
    }

    /// What is tried when a connection is opened, for errors.
    pub(crate) fn connecting(&self) -> String {
        format!("cannot connect to PostgreSQL as {self}")
    }

    /// What opens connections, for those who open several.
    pub(crate) fn servers(&self) -> Result<Servers, Error> {
        Servers::of(self)
    }

    fn connector(&self) -> Result<MakeRustlsConnect, Error> {
        tls::connector(&self.protection)
    }
}

/// What the user wants of the server's settings in each transaction; of two values for one setting the last counts.
fn session(
    var: &impl Fn(&str) -> Option<String>,
    libpq: &impl Fn(&str) -> Option<String>,
    sources: [(&Values, &str); 2],
) -> Result<Vec<(String, String)>, Error> {
    let mut session = libpq("options").map_or(Ok(Vec::new()), |options| options::parse(&options))?;
    for (variable, name) in SERVER_SETTINGS {
        let value = var(variable).filter(|value| !value.eq_ignore_ascii_case("default"));
        session.extend(value.map(|value| (name.to_owned(), value)));
    }
    let path = path::of(sources)?;
    session.extend(path.map(|path| ("search_path".to_owned(), path)));
    Ok(session)
}

fn random(libpq: &impl Fn(&str) -> Option<String>) -> Result<bool, Error> {
    match libpq("load_balance_hosts").as_deref() {
        None | Some("disable") => Ok(false),
        Some("random") => Ok(true),
        Some(_) => Err(setup("`load_balance_hosts` (PGLOADBALANCEHOSTS) has an unknown value".to_owned())
            .with_hint("it is disable or random")),
    }
}

/// A connection string in the wrong variable must not be shown, because a password may be in it.
fn refuse_connection_string(what: &str, value: Option<&String>) -> Result<(), Error> {
    if value.is_some_and(|value| value.contains("://") || value.contains("password=")) {
        let message = format!("a connection string is given where the name of the {what} belongs");
        return Err(setup(message).with_hint("put it into DATABASE_URL"));
    }
    Ok(())
}

fn pick(values: &Values, name: &str) -> Option<String> {
    // As in libpq, the last one counts.
    values.iter().rfind(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.clone())
}

fn setup(message: String) -> Error {
    Error::found(Fault::Setup, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use ::fault::Classify as _;

    fn of(variables: &[(&str, &str)]) -> Result<Settings, Error> {
        let variables: HashMap<_, _> = variables.iter().copied().collect();
        Settings::from(|name| variables.get(name).map(|&value| value.to_owned()))
    }

    #[test]
    fn every_source_of_a_value_has_its_place() {
        let url = ("DATABASE_URL", "postgres://u:p%40ss@url.example:6000/du?sslmode=require");
        for (variables, expected) in [
            (&[("PG_USER", "a")][..], "a@/var/run/postgresql:5432/infinityCMS Off"),
            (&[("USER", "os"), ("SERVER", "db")], "os@db:5432/infinityCMS VerifyFull"),
            (
                &[("PGUSER", "p"), ("PGHOST", "h"), ("PGPORT", "1"), ("PGDATABASE", "d"), ("PGSSLMODE", "prefer")],
                "p@h:1/d Prefer",
            ),
            (&[url, ("PGHOST", "h"), ("PGDATABASE", "d")], "u@url.example:6000/du Encrypt"),
            (
                &[url, ("SERVER", "s"), ("PORT", "7"), ("PG_USER", "a"), ("DATABASE", "x"), ("DB_SSL", "false")],
                "a@s:7/x Off",
            ),
            (&[("PGUSER", "p"), ("SERVER", ""), ("PGHOST", "h")], "p@h:5432/infinityCMS VerifyFull"),
            (&[("PG_USER", "a"), ("SERVER", "h"), ("DB_SSL", "require")], "a@h:5432/infinityCMS Encrypt"),
            (&[("PG_USER", "a"), ("SERVER", "/tmp"), ("DB_SSL", "true")], "a@/tmp:5432/infinityCMS Off"),
            (&[("PGUSER", "p"), ("PGHOST", "h"), ("PGSSLMODE", "verify-ca")], "p@h:5432/infinityCMS VerifyFull"),
            (
                &[("PGUSER", "p"), ("PGHOST", "h"), ("PGSSLMODE", "verify-ca"), ("PGSSLROOTCERT", "/ca")],
                "p@h:5432/infinityCMS VerifyCa",
            ),
            (
                &[("PGUSER", "p"), ("PGHOST", "h"), ("DB_SSL", "require"), ("DB_SSL_ROOT_CERT", "/ca")],
                "p@h:5432/infinityCMS VerifyCa",
            ),
            (&[("DATABASE_URL", "host=h user=u dbname='my db' port=9")], "u@h:9/my db VerifyFull"),
            // As in libpq, the last one counts.
            (&[("DATABASE_URL", "postgres://u@h/d?host=i&port=2")], "u@i:2/d VerifyFull"),
            (&[("DATABASE_URL", "postgres://u@a:1,b/d?sslmode=require")], "u@a:1,b:5432/d Encrypt"),
            (&[("PG_USER", "a"), ("SERVER", "x,y"), ("PORT", "1,2")], "a@x:1,y:2/infinityCMS VerifyFull"),
            (&[("PG_USER", "a"), ("SERVER", "x,/tmp"), ("PORT", "7")], "a@x:7,/tmp:7/infinityCMS VerifyFull"),
            (&[("PG_USER", "a"), ("PGHOSTADDR", "::1")], "a@::1:5432/infinityCMS VerifyFull"),
            // An address of libpq does not belong to another host.
            (&[("PG_USER", "a"), ("SERVER", "x"), ("PGHOSTADDR", "::1,::2")], "a@x:5432/infinityCMS VerifyFull"),
        ] {
            let settings = of(variables).unwrap();
            assert_eq!(format!("{settings} {:?}", settings.tls()), expected, "{variables:?}");
        }
    }

    #[test]
    fn the_password_is_found_and_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().to_str().unwrap();
        fs::write(dir.path().join("password"), "credential\n").unwrap();
        let pgpass = dir.path().join(".pgpass");
        fs::write(&pgpass, "# mine\nother:*:*:*:wrong\nh:*:d:u:from\\:pgpass\n").unwrap();
        fs::set_permissions(&pgpass, fs::Permissions::from_mode(0o600)).unwrap();
        let base = [("PGUSER", "u"), ("PGHOST", "h"), ("PGDATABASE", "d"), ("HOME", home)];
        let with = |more: &[(&str, &str)]| of(&[&base[..], more].concat()).unwrap();

        for (more, expected) in [
            (&[][..], "from:pgpass"),
            (&[("PGPASSWORD", "libpq")], "libpq"),
            (&[("PGPASSWORD", "libpq"), ("CREDENTIALS_DIRECTORY", home)], "credential"),
            (&[("PASSWORD", "own"), ("CREDENTIALS_DIRECTORY", home)], "own"),
            (&[("DATABASE_URL", "postgresql://:in%20url@h/d"), ("PGPASSWORD", "libpq")], "in url"),
        ] {
            let settings = with(more);
            assert_eq!(settings.hosts[0].password.as_deref(), Some(expected), "{more:?}");
            assert!(!format!("{settings:?} {settings}").contains(expected));
        }

        fs::set_permissions(&pgpass, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(with(&[]).hosts[0].password, None, "a file that others can read is not used");
    }

    #[test]
    fn settings_of_the_server_are_kept_for_each_transaction() {
        let url = |query: &str| format!("postgres://u@h/d?{query}");
        for (variables, expected) in [
            (&[("DATABASE_URL", url("schema=t"))][..], "search_path=\"t\""),
            (
                &[("DATABASE_URL", url("options=-csearch_path%3Da")), ("PGOPTIONS", "-c x.y=1".to_owned())],
                "search_path=a",
            ),
            // Of two values the server keeps the last.
            (
                &[("DATABASE_URL", url("currentSchema=b")), ("PGOPTIONS", "-c search_path=a".to_owned())],
                "search_path=a search_path=b",
            ),
            (
                &[
                    ("DATABASE_URL", url("")),
                    ("PGTZ", "Asia/Tokyo".to_owned()),
                    ("PGGEQO", "off".to_owned()),
                    ("PGDATESTYLE", "DEFAULT".to_owned()),
                ],
                "timezone=Asia/Tokyo geqo=off",
            ),
        ] {
            let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let session = of(&variables).unwrap().session;
            let session: Vec<_> = session.iter().map(|(name, value)| format!("{name}={value}")).collect();
            assert_eq!(session.join(" "), expected, "{variables:?}");
        }
    }

    #[test]
    fn a_value_that_asks_for_what_happens_anyway_is_fine() {
        for query in [
            "sslcompression=0",
            "gssencmode=prefer",
            "client_encoding=utf8",
            "replication=false",
            "sslcertmode=allow",
            "min_protocol_version=3.0",
            "max_protocol_version=latest",
            "ssl_min_protocol_version=TLSv1.2",
            "sslsni=1",
            "sslnegotiation=postgres",
            "load_balance_hosts=disable",
            "target_session_attrs=any",
            "krbsrvname=postgres",
            "sslcert=",
        ] {
            let url = format!("postgres://u@h/d?{query}");
            assert!(of(&[("DATABASE_URL", &url)]).is_ok(), "{query}");
        }
        for query in [
            "sslcompression=1",
            "gssencmode=require",
            "client_encoding=LATIN1",
            "replication=database",
            "sslcertmode=require",
            "min_protocol_version=3.2",
            "ssl_max_protocol_version=TLSv1.1",
            "sslsni=2",
            "load_balance_hosts=2",
            "target_session_attrs=2",
            "require_auth=scram-sha-256",
            "requirepeer=postgres",
            "sslpassword=2",
            "oauth_client_id=2",
            "keepalives=yes",
        ] {
            let url = format!("postgres://u@h/d?{query}");
            let error = of(&[("DATABASE_URL", &url)]).map(|settings| settings.to_string()).unwrap_err();
            let (name, value) = query.split_once('=').unwrap();
            assert!(error.to_string().contains(&format!("`{name}`")), "{query}: {error}");
            assert!(!error.to_string().contains(value), "{query}: {error}");
        }
    }

    #[test]
    fn a_connection_string_in_another_variable_is_not_shown() {
        for variable in ["SERVER", "PGHOST", "DATABASE", "PGDATABASE", "PG_USER"] {
            for value in ["postgres://u:secret@h/d", "host=h password=secret"] {
                let error = of(&[("USER", "u"), (variable, value)]).map(|settings| settings.to_string()).unwrap_err();
                assert!(error.to_string().starts_with("a connection string is given where"), "{variable}: {error}");
                assert!(!error.to_string().contains("secret"), "{variable}: {error}");
            }
        }
    }

    #[test]
    fn a_service_stands_between_the_url_and_the_environment() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("services");
        fs::write(&file, "[one]\nhost=one\n\n# the wanted one\n[two]\nhost = two\nport=3\nuser=su\n").unwrap();
        let base = [("PGSERVICEFILE", file.to_str().unwrap()), ("PGSERVICE", "two"), ("PGHOST", "env")];

        assert_eq!(of(&base).unwrap().to_string(), "su@two:3/infinityCMS");
        let url = [&base[..], &[("DATABASE_URL", "postgres://url")]].concat();
        assert_eq!(of(&url).unwrap().to_string(), "su@url:3/infinityCMS");
        let missing = [&base[..1], &[("PGSERVICE", "three")]].concat();
        assert!(of(&missing).unwrap_err().to_string().starts_with("no service `three` in `"));
        let named = format!("postgres:///?service=one&servicefile={}&user=u", file.display());
        assert_eq!(of(&[("DATABASE_URL", &named)]).unwrap().to_string(), "u@one:5432/infinityCMS");

        for (line, problem) in [
            ("secret", "has a line without `=`"),
            ("service=two", "names another service"),
            ("ldap://server/dn", "asks an LDAP server"),
            ("hots=secret", "`hots` in the service `one` is not a parameter of a connection"),
        ] {
            fs::write(&file, format!("[one]\nhost=one\n{line}\n")).unwrap();
            let error = of(&[base[0], ("PGSERVICE", "one"), ("USER", "u")]).unwrap_err().to_string();
            assert!(error.contains(problem) && !error.contains("secret"), "{line}: {error}");
        }
    }

    #[test]
    fn a_wrong_value_is_named_and_a_url_is_not_repeated() {
        assert_eq!(of(&[("PG_USER", "a"), ("PORT", "x")]).unwrap_err().to_string(), "`x` is not the number of a port");
        assert_eq!(
            of(&[("PG_USER", "a"), ("SERVER", "h"), ("DB_SSL", "maybe")]).unwrap_err().to_string(),
            "DB_SSL is `maybe`"
        );
        // Most of them hold a character that had to be escaped, or lack a part, so that the password looks like another.
        for url in [
            "mysql://u:secret@h/d",
            "postgres://u:secret",
            "postgres://u:secret@h:port/d",
            "postgres://u:12/secret@h/d",
            "postgres://u:secret/1@h/d",
            "postgres://u:secret?a=b@h/d",
            "postgres://u:x@secret/y@h/d",
            "postgres://u:x@secret?y=z@h/d",
            "host=h user=u password=my secret",
            "host=h user=u password='it's secret'",
            "host=h user=u password=my secret=x",
            "host=h user=u password=my sec.ret=x",
            "postgres://h/d?password=my&secret=x",
        ] {
            let error = of(&[("DATABASE_URL", url)]).map(|settings| settings.to_string()).unwrap_err();
            assert!(error.hint().is_some_and(|hint| hint.contains("%40")), "{url}");
            assert!(!error.to_string().contains("secret"), "{url}: {error}");
        }
        assert_eq!(of(&[]).unwrap_err().to_string(), "no user for PostgreSQL is set");
    }
}
