//! Whom `pg-upsert` trusts: every mode of TLS against a server with a good certificate, with bad ones, and with none.

use std::sync::{Mutex, MutexGuard, PoisonError};

use harness::postgres::Postgres;
use harness::postgres::certificate::{Authority, Certificate};
use harness::{Dir, Finished, Program, program};

/// All names by which the tests know the server.
const HERE: &str = "DNS:localhost,IP:127.0.0.1";

/// Tests change the certificate of the one server, so they take turns.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A table that notes of each row whether it came encrypted.
fn table() -> Postgres {
    let postgres = Postgres::new();
    postgres.query(
        "create function encrypted() returns boolean stable language sql
           as 'select ssl from pg_stat_ssl where pid = pg_backend_pid()';
         create table t (id int primary key, encrypted boolean default encrypted())",
    );
    postgres
}

/// The program with a row for the table.
fn upsert(postgres: &Postgres) -> Program {
    program!("pg-upsert").envs(postgres.envs()).env("SERVER", "localhost").args(["--table", "t"]).stdin("{\"id\":1}\n")
}

/// It wrote the row, encrypted or not.
#[track_caller]
fn wrote(run: &Finished, postgres: &Postgres, encrypted: bool) {
    run.exits(0);
    assert_eq!(postgres.query("delete from t returning encrypted"), if encrypted { "t" } else { "f" }, "{run:?}");
}

/// It ended at once, wrote nothing, and said this.
#[track_caller]
fn refused(run: &Finished, postgres: &Postgres, why: &str, hint: &str) {
    run.exits(2).stderr_has(why).stderr_has(&format!("hint: {hint}"));
    assert_eq!(run.messages().lines().count(), 2, "{run:?}");
    assert_eq!(postgres.query("select count(*) from t"), "0");
}

#[test]
fn the_server_has_to_be_who_it_says_it_is_unless_the_user_does_not_care() {
    let _turn = turn();
    let postgres = table();
    let authority = Authority::new("ours");
    let trusting = |mode: &str| upsert(&postgres).env("DB_SSL", mode).env("DB_SSL_ROOT_CERT", authority.path());
    let bad = [
        (authority.expired(HERE), "certificate expired", "the server needs a new certificate"),
        (authority.certificate("DNS:other.example"), "not valid for name \"localhost\"", "SERVER has to be a name"),
        (Authority::new("theirs").certificate(HERE), "UnknownIssuer", "no authority"),
        (Certificate::self_signed(HERE), "CaUsedAsEndEntity", "no authority"),
    ];

    for (certificate, why, hint) in &bad {
        postgres.server().serve_tls(certificate);
        for mode in ["verify-full", "true"] {
            refused(&trusting(mode).run(), &postgres, why, hint);
        }
        wrote(&upsert(&postgres).env("DB_SSL", "require").run(), &postgres, true);
    }

    postgres.server().serve_tls(&authority.certificate(HERE));
    for mode in ["verify-full", "true", "", "require"] {
        wrote(&trusting(mode).run(), &postgres, true);
    }
    wrote(&trusting("true").env("SERVER", "127.0.0.1").run(), &postgres, true);
    wrote(&trusting("false").run(), &postgres, false);
}

#[test]
fn a_root_file_may_hold_many_authorities_and_is_believed_alone() {
    let _turn = turn();
    let postgres = table();
    let regions = ["eu", "us", "ap"].map(|region| Authority::new(&format!("root of {region}")));
    let dir = Dir::new();
    // As AWS publishes those of RDS: one after the other, some with words in between.
    let bundle: Vec<_> = regions.iter().map(|region| format!("Amazon RDS\n{}\n", region.pem())).collect();
    let bundle = dir.write("global-bundle.pem", bundle.concat());
    let system = Authority::new("one of the system's");
    // What rustls takes for the system's authorities; without it Debian's.
    let upsert = || upsert(&postgres).env("DB_SSL", "true").env("SSL_CERT_FILE", system.path());

    // RDS sends the certificate of the authority between the server's own and the root.
    postgres.server().serve_tls(&regions[1].authority("between").certificate(HERE));
    wrote(&upsert().env("DB_SSL_ROOT_CERT", &bundle).run(), &postgres, true);
    refused(&upsert().run(), &postgres, "UnknownIssuer", "no authority");

    postgres.server().serve_tls(&system.certificate(HERE));
    wrote(&upsert().run(), &postgres, true);
    wrote(&upsert().env("PGSSLROOTCERT", "system").run(), &postgres, true);
    refused(&upsert().env("DB_SSL_ROOT_CERT", &bundle).run(), &postgres, "UnknownIssuer", "no authority");
}

#[test]
fn a_server_without_an_authority_is_known_by_its_own_certificate() {
    let _turn = turn();
    let (dir, postgres) = (Dir::new(), table());
    let certificate = Certificate::self_signed(HERE);
    let path = dir.write("server.crt", &certificate.chain);
    let upsert = || upsert(&postgres).env("DB_SSL", "true").env("DB_SSL_ROOT_CERT", &path);

    postgres.server().serve_tls(&certificate);
    wrote(&upsert().run(), &postgres, true);

    let elsewhere = Certificate::self_signed("DNS:other.example");
    dir.write("server.crt", &elsewhere.chain);
    postgres.server().serve_tls(&elsewhere);
    refused(&upsert().run(), &postgres, "not valid for name", "SERVER has to be a name");

    let old = Authority::new("ours").expired(HERE);
    dir.write("server.crt", &old.chain);
    postgres.server().serve_tls(&old);
    refused(&upsert().run(), &postgres, "certificate expired", "the server needs a new certificate");
}

#[test]
fn the_modes_of_libpq_promise_what_they_promise_there() {
    let _turn = turn();
    let (home, postgres) = (Dir::new(), table());
    let (authority, stranger) = (Authority::new("ours"), Authority::new("theirs"));
    let upsert = |mode: &str| {
        upsert(&postgres)
            .env("DB_SSL", "")
            .env("PGSSLMODE", mode)
            .env("HOME", home.path())
            .env("SSL_CERT_FILE", "/dev/null")
    };
    let trusting = |mode: &str| upsert(mode).env("PGSSLROOTCERT", authority.path());

    // `verify-ca` does not look at the name; nor does `require` where there is a root file.
    postgres.server().serve_tls(&authority.certificate("DNS:other.example"));
    for mode in ["verify-ca", "require"] {
        wrote(&trusting(mode).run(), &postgres, true);
    }
    refused(&trusting("verify-full").run(), &postgres, "not valid for name", "SERVER has to be a name");
    home.write(".postgresql/root.crt", authority.pem());
    wrote(&upsert("verify-ca").run(), &postgres, true);
    // Of the system's authorities anybody gets a certificate of some name.
    let by_system = |mode: &str| upsert(mode).env("HOME", "/nonexistent").env("SSL_CERT_FILE", authority.path());
    refused(&by_system("verify-ca").run(), &postgres, "not valid for name", "SERVER has to be a name");

    postgres.server().serve_tls(&stranger.certificate(HERE));
    for mode in ["verify-ca", "require"] {
        refused(&trusting(mode).run(), &postgres, "UnknownIssuer", "no authority");
        refused(&upsert(mode).run(), &postgres, "UnknownIssuer", "no authority");
    }
    wrote(&upsert("require").env("HOME", "/nonexistent").run(), &postgres, true);
    wrote(&upsert("require").env("HOME", "/nonexistent").env("PGCHANNELBINDING", "require").run(), &postgres, true);
    for mode in ["allow", "prefer"] {
        wrote(&trusting(mode).run(), &postgres, true);
    }
    wrote(&trusting("disable").run(), &postgres, false);

    postgres.server().serve_no_tls();
    for mode in ["allow", "prefer", "disable"] {
        wrote(&trusting(mode).run(), &postgres, false);
    }
    let run = trusting("disable").env("PGCHANNELBINDING", "require").run();
    run.exits(2).stderr_has("channel binding");
}

#[test]
fn a_server_without_tls_is_told_from_one_that_is_not_trusted() {
    let _turn = turn();
    let postgres = table();
    postgres.server().serve_no_tls();

    for mode in ["true", "verify-full", "require"] {
        let run = upsert(&postgres).env("DB_SSL", mode).env("SSL_CERT_FILE", Authority::new("any").path()).run();
        let hint = "switch TLS on at the server (`ssl = on`), or set DB_SSL=false";
        refused(&run, &postgres, "server does not support TLS", hint);
    }
    wrote(&upsert(&postgres).env("DB_SSL", "false").run(), &postgres, false);
}

#[test]
fn versions_of_tls_are_those_that_are_asked_for() {
    let _turn = turn();
    let postgres = table();
    let authority = Authority::new("ours");
    postgres.server().serve_tls(&authority.certificate(HERE));
    postgres.query(
        "alter table t add version text; create function version_of_tls() returns text stable language sql
           as 'select version from pg_stat_ssl where pid = pg_backend_pid()';
         alter table t alter version set default version_of_tls()",
    );
    for (variable, version) in [("PGSSLMAXPROTOCOLVERSION", "TLSv1.2"), ("PGSSLMINPROTOCOLVERSION", "TLSv1.3")] {
        let run = upsert(&postgres).env("DB_SSL", "true").env("DB_SSL_ROOT_CERT", authority.path());
        run.env(variable, version).args(["--columns", "id"]).run().exits(0);
        assert_eq!(postgres.query("delete from t returning version"), version);
    }
}

#[test]
fn settings_that_cannot_be_kept_are_refused_before_anything_is_sent() {
    let _turn = turn();
    let (dir, postgres) = (Dir::new(), table());
    let empty = dir.write("empty.pem", "no certificate\n");
    let empty = empty.to_str().unwrap();
    let none = dir.path().join("none.pem");
    let none = none.to_str().unwrap();

    for (variables, why, hint) in [
        (&[("DB_SSL", "maybe")][..], "DB_SSL is `maybe`", "verify-full (or true), require or false"),
        // Even where no TLS is possible.
        (&[("DB_SSL", "ture"), ("SERVER", "/tmp")], "DB_SSL is `ture`", "verify-full (or true), require or false"),
        (&[("DB_SSL", ""), ("PGSSLMODE", "Require")], "PGSSLMODE is `Require`", "disable, allow, prefer, require,"),
        (&[("DB_SSL", "true"), ("DB_SSL_ROOT_CERT", empty)], "there is none in it", "DB_SSL_ROOT_CERT"),
        (&[("DB_SSL", "true"), ("DB_SSL_ROOT_CERT", none)], "none.pem`: ", "DB_SSL_ROOT_CERT"),
        (&[("DB_SSL", "require"), ("PGSSLROOTCERT", "system")], "the system's authorities", "verify-full"),
        (&[("PGSSLCRL", "/x.crl")], "`sslcrl` (PGSSLCRL) is set", "leave it out"),
        (&[("PGSSLNEGOTIATION", "direct")], "but TLS is not required", "verify-full"),
        (&[("PGSSLMAXPROTOCOLVERSION", "TLSv1.1")], "leave no version of TLS", "PGSSLMAXPROTOCOLVERSION"),
    ] {
        let run = upsert(&postgres).envs(variables.iter().copied()).run();
        run.exits(2).stderr_has(why).stderr_has(hint);
        assert_eq!(run.messages().lines().count(), 2, "{run:?}");
    }
}
