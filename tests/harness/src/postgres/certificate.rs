//! Certificates for a server, made by `openssl` as an authority makes them: good ones, and ones that nobody should trust.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;

use super::{Server, root, run};
use crate::Dir;

/// The settings of `openssl ca`, which can date a certificate back.
const SETTINGS: &str = "
[ca]
default_ca = authority
[authority]
database = issued
new_certs_dir = .
certificate = authority.crt
private_key = authority.key
rand_serial = yes
unique_subject = no
default_md = sha256
policy = any
[any]
commonName = supplied
";

/// From when to when a certificate is valid.
const NOW: [&str; 2] = ["20200101000000Z", "20990101000000Z"];
const LONG_AGO: [&str; 2] = ["20200101000000Z", "20200201000000Z"];

/// Somebody who signs certificates.
#[derive(Debug)]
pub struct Authority {
    dir: Dir,
    /// The certificates between this one and its root, this one's first.
    chain: String,
}

/// A server's certificate, in PEM.
#[derive(Debug)]
pub struct Certificate {
    /// The server's own, then those of the authorities between it and the root.
    pub chain: String,
    /// Its private key.
    pub key: String,
}

impl Authority {
    /// An authority that signs its own certificate.
    pub fn new(name: &str) -> Self {
        let authority = Self::in_dir();
        let subject = format!("/CN={name}");
        let mut request = authority.openssl(&["req", "-x509", "-days", "365"]);
        request.args(["-subj", &subject, "-out", "authority.crt"]);
        run(with_new_key(&mut request, "authority.key"));
        authority
    }

    /// An authority whose certificate this one signs.
    pub fn authority(&self, name: &str) -> Self {
        let Certificate { chain, key } = self.issue(name, NOW, "basicConstraints=critical,CA:true");
        let below = Self { chain: chain.clone(), ..Self::in_dir() };
        below.dir.write("authority.crt", chain);
        below.dir.write("authority.key", key);
        below
    }

    /// The file with the authority's certificate.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("authority.crt")
    }

    /// Its certificate.
    pub fn pem(&self) -> String {
        self.dir.read("authority.crt")
    }

    /// A certificate for these names, in the form `DNS:db.example,IP:127.0.0.1`.
    pub fn certificate(&self, names: &str) -> Certificate {
        self.issue("server", NOW, &format!("subjectAltName={names}"))
    }

    /// One that was valid long ago.
    pub fn expired(&self, names: &str) -> Certificate {
        self.issue("server", LONG_AGO, &format!("subjectAltName={names}"))
    }

    fn in_dir() -> Self {
        let dir = Dir::new();
        dir.write("settings", SETTINGS);
        dir.write("issued", "");
        Self { dir, chain: String::new() }
    }

    fn issue(&self, name: &str, [from, to]: [&str; 2], extension: &str) -> Certificate {
        self.dir.write("extensions", extension);
        let mut request = self.openssl(&["req", "-new", "-out", "request"]);
        run(with_new_key(request.args(["-subj", &format!("/CN={name}")]), "key"));
        let mut sign = self.openssl(&["ca", "-batch", "-notext", "-config", "settings", "-extfile", "extensions"]);
        run(sign.args(["-startdate", from, "-enddate", to, "-in", "request", "-out", "certificate"]));
        Certificate { chain: self.dir.read("certificate") + &self.chain, key: self.dir.read("key") }
    }

    fn openssl(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("openssl");
        command.current_dir(self.dir.path()).args(arguments);
        command
    }
}

impl Certificate {
    /// A certificate that is signed with its own key, as `openssl req -x509` makes it where nothing else is asked for.
    pub fn self_signed(names: &str) -> Self {
        let dir = Dir::new();
        let mut command = Command::new("openssl");
        command.current_dir(dir.path()).args(["req", "-x509", "-days", "365", "-subj", "/CN=server"]);
        command.args(["-addext", &format!("subjectAltName={names}"), "-out", "certificate"]);
        run(with_new_key(&mut command, "key"));
        Self { chain: dir.read("certificate"), key: dir.read("key") }
    }
}

fn with_new_key<'a>(request: &'a mut Command, file: &str) -> &'a mut Command {
    request.args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", file])
}

impl Server {
    /// From now on the server offers TLS with this certificate.
    pub fn serve_tls(&self, certificate: &Certificate) {
        // A new name each time shows when the server has taken it.
        let number = self.certificates.fetch_add(1, Ordering::Relaxed);
        let file = |ending: &str| self.dir.join(format!("server-{number}.{ending}"));
        let (chain, key) = (file("crt"), file("key"));
        fs::write(&chain, &certificate.chain).expect("a file can be written");
        fs::write(&key, &certificate.key).expect("a file can be written");
        run(Command::new("chmod").arg("600").arg(&key));
        if root() {
            run(Command::new("chown").arg("postgres").arg(&key));
        }
        let settings = [("ssl", "on"), ("ssl_key_file", &text(&key)), ("ssl_cert_file", &text(&chain))];
        self.configure(&settings);
    }

    /// From now on it offers none.
    pub fn serve_no_tls(&self) {
        self.configure(&[("ssl", "off")]);
    }

    /// Returns when new connections have these settings.
    fn configure(&self, settings: &[(&str, &str)]) {
        let file = self.dir.join("data/postgresql.auto.conf");
        let mut file = OpenOptions::new().append(true).open(file).expect("it is there");
        for (name, value) in settings {
            // The last one of a name counts.
            writeln!(file, "{name} = '{value}'").expect("a file can be written");
        }
        self.psql("postgres", "select pg_reload_conf()");
        let (name, value) = settings.last().expect("there is one");
        while self.psql("postgres", &format!("show {name}")) != *value {
            std::thread::yield_now();
        }
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
