//! Where the server is and as whom to connect.
//!
//! For each value the first of these that has one: the predecessor's variables (`SERVER PORT PG_USER PASSWORD DATABASE
//! DB_SSL`), `DATABASE_URL`, the service that `PGSERVICE` names, libpq's variables (`PGHOST` and so on), the default.
//! A password may also be in the file `password` of `$CREDENTIALS_DIRECTORY` (systemd) and in `~/.pgpass`. What the
//! modes of TLS promise is in `protection`.
//!
//! Everything is looked up by a function, so that tests need no environment; the files are in `files`.

mod files;
mod options;
mod protection;
mod url;

use std::convert::Infallible;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use ::fault::Fault;
use postgres::config::{ChannelBinding, SslMode};
use r2d2_postgres::PostgresConnectionManager;
use retry::Interrupt;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{Client, Error, tls};

/// The predecessor's database, which its users' `.env` files leave out.
const DATABASE: &str = "infinityCMS";

/// How often one who watches a statement looks whether a stop is late.
const LOOK: Duration = Duration::from_millis(200);

/// Where Debian's server and psql meet when no host is named.
const SOCKETS: &str = "/var/run/postgresql";

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
    host: String,
    port: u16,
    user: String,
    password: Option<String>,
    database: String,
    /// Settings of the server, by name, that hold in each transaction.
    session: Vec<(String, String)>,
    tls: TlsMode,
    root_cert: Option<PathBuf>,
    channel_binding: ChannelBinding,
}

/// Never shows the password.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Settings({self}, {:?})", self.tls)
    }
}

/// `user@host:port/database`
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}:{}/{}", self.user, self.host, self.port, self.database)
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
        let service = pick(&url, "service").or_else(|| var("PGSERVICE"));
        let service = service.map_or(Ok(Values::new()), |name| files::service(&name, &var))?;
        let libpq =
            |name: &str, variable: &str| pick(&url, name).or_else(|| pick(&service, name)).or_else(|| var(variable));

        let host = var("SERVER").or_else(|| libpq("host", "PGHOST")).unwrap_or_else(|| SOCKETS.to_owned());
        let port = var("PORT").or_else(|| libpq("port", "PGPORT")).unwrap_or_else(|| "5432".to_owned());
        let port = port.trim().parse().map_err(|_| {
            setup(format!("`{port}` is not the number of a port")).with_hint("PORT is a number, as 5432")
        })?;
        let user =
            var("PG_USER").or_else(|| libpq("user", "PGUSER")).or_else(|| var("USER")).or_else(|| var("LOGNAME"));
        let user = user.ok_or_else(|| setup("no user for PostgreSQL is set".to_owned()).with_hint("set PG_USER"))?;
        let database = var("DATABASE").or_else(|| libpq("dbname", "PGDATABASE")).unwrap_or_else(|| DATABASE.to_owned());

        let mut password = var("PASSWORD");
        if password.is_none() {
            password = files::credential(&var)?;
        }
        password = password.or_else(|| libpq("password", "PGPASSWORD"));
        if password.is_none() {
            password = files::pgpass(&var, &host, port, &database, &user);
        }

        protection::refuse_demands(&libpq)?;
        let (mode, root_cert) = protection::of(&var, &libpq)?;
        // As in libpq, there is no TLS on a socket of this machine, whatever is asked for.
        let tls = if host.starts_with('/') { TlsMode::Off } else { mode };
        let channel_binding = protection::channel_binding(&libpq)?;
        let session = libpq("options", "PGOPTIONS").map_or(Ok(Vec::new()), |options| options::parse(&options))?;
        Ok(Self { host, port, user, password, database, session, tls, root_cert, channel_binding })
    }

    /// How the connection is protected.
    pub fn tls(&self) -> TlsMode {
        self.tls
    }

    /// Settings of the server, by name, that the user gave (`options`, the search path). They do not travel when a connection
    /// is opened, because poolers refuse that, but at the beginning of each transaction.
    pub(crate) fn session(&self) -> &[(String, String)] {
        &self.session
    }

    /// Opens one connection.
    ///
    /// # Errors
    /// The server cannot be reached (worth another try) or does not let us in (not worth one).
    pub fn connect(&self) -> Result<Client, Error> {
        self.config().connect(self.connector()?).map_err(Error::on(self.connecting()))
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

    /// What a pool opens connections with.
    pub(crate) fn manager(&self) -> Result<PostgresConnectionManager<MakeRustlsConnect>, Error> {
        Ok(PostgresConnectionManager::new(self.config(), self.connector()?))
    }

    fn connector(&self) -> Result<MakeRustlsConnect, Error> {
        tls::connector(self.tls, self.root_cert.as_deref())
    }

    fn config(&self) -> postgres::Config {
        let mut config = postgres::Config::new();
        if self.host.starts_with('/') {
            config.host_path(Path::new(&self.host));
        } else {
            config.host(&self.host);
        }
        config.port(self.port).user(&self.user).dbname(&self.database).application_name("ddb-pipe pg-upsert");
        if let Some(password) = &self.password {
            config.password(password);
        }
        config.ssl_mode(match self.tls {
            TlsMode::Off => SslMode::Disable,
            TlsMode::Prefer => SslMode::Prefer,
            TlsMode::Encrypt | TlsMode::VerifyCa | TlsMode::VerifyFull => SslMode::Require,
        });
        config.channel_binding(self.channel_binding);
        // A server that is gone without a word (a failover, a pulled cable) is noticed within a minute.
        config.connect_timeout(Duration::from_secs(10)).tcp_user_timeout(Duration::from_mins(1));
        config
            .keepalives_idle(Duration::from_secs(30))
            .keepalives_interval(Duration::from_secs(10))
            .keepalives_retries(3);
        config
    }
}

fn pick(values: &Values, name: &str) -> Option<String> {
    values.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.clone())
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
        ] {
            let settings = of(variables).unwrap();
            assert_eq!(format!("{settings} {:?}", settings.tls), expected, "{variables:?}");
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
            assert_eq!(settings.password.as_deref(), Some(expected), "{more:?}");
            assert!(!format!("{settings:?} {settings}").contains(expected));
        }

        fs::set_permissions(&pgpass, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(with(&[]).password, None, "a file that others can read is not used");
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
        ] {
            let error = of(&[("DATABASE_URL", url)]).map(|settings| settings.to_string()).unwrap_err();
            assert!(error.hint().is_some_and(|hint| hint.contains("%40")), "{url}");
            assert!(!error.to_string().contains("secret"), "{url}: {error}");
        }
        assert_eq!(of(&[]).unwrap_err().to_string(), "no user for PostgreSQL is set");
    }
}
