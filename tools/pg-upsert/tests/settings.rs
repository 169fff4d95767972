//! Connection settings with real servers: which schema and which host the rows go to, and which settings are refused
//! before anything is read. How values are parsed is tested in `pg`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::thread;

use harness::postgres::{PASSWORD, Postgres, Server, USER};
use harness::{Dir, Program, program};

/// `pg-upsert --table t` that is told where to connect by these variables alone.
fn upsert(dir: &Dir, variables: &[(&str, &str)]) -> Program {
    program!("pg-upsert").in_dir(dir).envs(variables.iter().copied()).args(["--connections", "1", "--table", "t"])
}

/// A connection string of a test's database: the host, and what comes after `?`.
fn url(postgres: &Postgres, hosts: &str, query: &str) -> String {
    format!("postgres://{USER}:{PASSWORD}@{hosts}/{}?sslmode=disable{query}", postgres.database())
}

fn here(postgres: &Postgres) -> String {
    format!("127.0.0.1:{}", postgres.port())
}

/// A database with the table `t` in the schemas `public`, `tenant` and `Other One`.
fn tenants() -> Postgres {
    let postgres = Postgres::new();
    postgres.query(
        "create table t (id int primary key);
         create schema tenant; create table tenant.t (like t including all);
         create schema \"Other One\"; create table \"Other One\".t (like t including all)",
    );
    postgres
}

/// In which schemas rows are.
fn written(postgres: &Postgres) -> String {
    let written = postgres.query(
        "select 'public' from public.t union all select 'tenant' from tenant.t
         union all select 'Other One' from \"Other One\".t order by 1",
    );
    postgres.query("truncate public.t, tenant.t, \"Other One\".t");
    written
}

#[test]
fn the_schema_of_a_connection_string_is_where_the_rows_go() {
    let (dir, postgres) = (Dir::new(), tenants());
    for (query, schema) in [
        ("&schema=tenant", "tenant"),
        ("&schema=Other%20One", "Other One"),
        ("&currentSchema=tenant", "tenant"),
        ("&currentSchema=missing,TENANT,public", "tenant"),
        ("&search_path=%22Other%20One%22,tenant", "Other One"),
        ("&schema=tenant&search_path=tenant", "tenant"),
        // The explicit one wins over the general one.
        ("&schema=tenant&options=-csearch_path%3Dpublic", "tenant"),
        ("", "public"),
    ] {
        let url = url(&postgres, &here(&postgres), query);
        upsert(&dir, &[("DATABASE_URL", &url)]).stdin("{\"id\":1}\n").run().exits(0);
        assert_eq!(written(&postgres), schema, "{query}");
    }
}

/// What the program says when it is refused. Its stdin stays open, so it ended without having read anything.
#[track_caller]
fn refused(dir: &Dir, variables: &[(&str, &str)]) -> String {
    let mut child = upsert(dir, variables).stdin_piped().spawn();
    let stdin = child.stdin.take();
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    said
}

#[test]
fn what_is_no_parameter_or_cannot_be_honoured_is_refused_by_name() {
    let (dir, postgres) = (Dir::new(), tenants());
    for (query, why, hint) in [
        ("shema=s3cret", "`shema` in DATABASE_URL is not a parameter of a connection", "is `schema` meant?"),
        ("pool=s3cret", "`pool` in DATABASE_URL is not a parameter of a connection", "leave it out"),
        (
            "sslcert=s3cret",
            "`sslcert` (PGSSLCERT) is set to something that this program does not support",
            "leave it out",
        ),
        ("gssencmode=require", "`gssencmode` (PGGSSENCMODE) is set to something", "set it to disable"),
        ("schema=public&search_path=tenant", "`schema` and `search_path` in DATABASE_URL name different", "leave one"),
        ("target_session_attrs=read-only", "`target_session_attrs` asks for a server that cannot", "pg-upsert writes"),
        ("target_session_attrs=standby", "`target_session_attrs` asks for a server that cannot", "temporary tables"),
        ("options=-cdefault_transaction_read_only%3Don", "cannot be honoured: the programs write", "leave it out"),
        // The server finds these.
        ("options=-cwork_mem%3Dx", "the server refuses a setting of the connection", "PGOPTIONS"),
        ("options=-cno_such%3Dx", "the server refuses a setting of the connection", "PGOPTIONS"),
    ] {
        let said = refused(&dir, &[("DATABASE_URL", &url(&postgres, &here(&postgres), &format!("&{query}")))]);
        assert!(said.contains(why) && said.contains(hint), "{query}: {said}");
        assert!(!said.contains("s3cret") && !said.contains(PASSWORD), "{query}: {said}");
    }
    let url = url(&postgres, &here(&postgres), "");
    for (variable, value) in [("PGTARGETSESSIONATTRS", "read-only"), ("PGSSLKEY", "/key"), ("PGHOSTADDR", "name")] {
        let said = refused(&dir, &[("DATABASE_URL", &url), (variable, value)]);
        assert!(said.contains("hint: "), "{said}");
    }
    assert_eq!(written(&postgres), "");
}

#[test]
fn parameters_of_prisma_are_ignored_with_one_warning() {
    let (dir, postgres) = (Dir::new(), tenants());
    let query = "&schema=tenant&pgbouncer=true&connection_limit=1&pool_timeout=1&socket_timeout=1&\
                 statement_cache_size=0&sslaccept=strict";
    let url = url(&postgres, &here(&postgres), query);

    let run = upsert(&dir, &[("DATABASE_URL", &url)]).stdin("{\"id\":1}\n").run();

    run.exits(0).stderr_has(
        "Ignored in the connection string, as parameters of Prisma: `connection_limit`, `pgbouncer`, `pool_timeout`, \
         `socket_timeout`, `sslaccept`, `statement_cache_size`\n",
    );
    assert_eq!(run.messages().matches(" WARN ").count(), 1, "{run:?}");
    assert_eq!(written(&postgres), "tenant");
}

#[test]
fn settings_of_the_server_come_by_every_way_that_libpq_has() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    postgres.query(
        "create table t (id int primary key, name text default current_setting('application_name'),
                         geqo text default current_setting('geqo'), mem text default current_setting('work_mem'))",
    );
    let url = url(&postgres, &here(&postgres), "&application_name=mine&options=-c%20work_mem%3D5MB");
    let run = upsert(&dir, &[("DATABASE_URL", &url), ("PGGEQO", "off")]).args(["--columns", "id"]);
    run.stdin("{\"id\":1}\n").run().exits(0);
    assert_eq!(postgres.query("select name, geqo, mem from t"), "mine|off|5MB");
}

#[test]
fn hosts_are_tried_in_turn() {
    let (dir, postgres) = (Dir::new(), tenants());
    let (name, port) = (postgres.database(), postgres.port());
    let sockets = postgres.socket_dir().display();
    let login = format!("user={USER} password={PASSWORD} dbname={name}");
    for whole in [
        // Nobody listens on port 1.
        url(&postgres, &format!("127.0.0.1:1,127.0.0.1:{port}"), ""),
        url(&postgres, &format!("name.invalid,127.0.0.1:{port}"), ""),
        url(&postgres, &format!("127.0.0.1:1,127.0.0.1:{port}"), "&load_balance_hosts=random"),
        format!("host=127.0.0.1,127.0.0.1 port=1,{port} sslmode=disable {login}"),
        format!("host=a.invalid,b.invalid hostaddr=127.0.0.2,127.0.0.1 port={port} sslmode=disable {login}"),
        format!("hostaddr=127.0.0.1 port={port} sslmode=disable {login}"),
        // On a socket there is no TLS, whatever the other hosts need.
        format!("host=127.0.0.1,{sockets} port=1,{port} sslmode=require {login}"),
    ] {
        upsert(&dir, &[("DATABASE_URL", &whole)]).stdin("{\"id\":1}\n").run().exits(0);
        assert_eq!(written(&postgres), "public", "{whole}");
    }

    let none = url(&postgres, "127.0.0.1:1,127.0.0.1:2", "");
    let run = upsert(&dir, &[("DATABASE_URL", &none)]).args(["--retries", "0"]).run();
    let whole = format!("cannot connect to PostgreSQL as {USER}@127.0.0.1:1,127.0.0.1:2/{name}: 127.0.0.1:1: error");
    run.exits(69).stderr_has(&whole).stderr_has("; 127.0.0.1:2: error").never_says(PASSWORD);
}

/// As libpq does it: the password file has one for each host, and a wrong one is not tried elsewhere.
#[test]
fn each_host_has_the_password_that_the_file_has_for_it() {
    let (dir, postgres) = (Dir::new(), tenants());
    let port = postgres.port();
    let with = |entries: &str, hosts: &str| {
        let file = dir.write("passwords", entries);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let path = file.display();
        let url = format!(
            "host={hosts} port={port} user={USER} dbname={} sslmode=disable passfile={path}",
            postgres.database()
        );
        upsert(&dir, &[("DATABASE_URL", &url)]).stdin("{\"id\":1}\n").run()
    };
    let right = format!("127.0.0.2:*:*:*:wr0ng\n127.0.0.1:*:*:*:{PASSWORD}\n");
    with(&right, "127.0.0.2,127.0.0.1").exits(0);
    assert_eq!(written(&postgres), "public");

    let wrong = format!("127.0.0.1:*:*:*:wr0ng\nlocalhost:*:*:*:{PASSWORD}\n");
    let run = with(&wrong, "127.0.0.1,localhost");
    run.exits(2).stderr_has("password authentication failed").never_says("wr0ng").never_says(PASSWORD);
}

#[test]
fn a_standby_is_passed_over_where_a_server_for_writing_is_asked_for() {
    let (dir, postgres) = (Dir::new(), tenants());
    let standby = Server::start();
    let there = Postgres::on(&standby);
    if there.database() != postgres.database() {
        standby.psql("postgres", &format!("create database {}", postgres.database()));
    }
    fs::write(there.socket_dir().join("data/standby.signal"), "").unwrap();
    standby.crash();
    // A standby drops no database.
    std::mem::forget(there);
    let (first, second) = (format!("127.0.0.1:{}", standby.port()), here(&postgres));

    for wanted in ["read-write", "primary", "prefer-standby"] {
        let query = format!("&target_session_attrs={wanted}");
        let url = |hosts: &str| url(&postgres, hosts, &query);
        let both = url(&format!("{first},{second}"));
        upsert(&dir, &[("DATABASE_URL", &both)]).stdin("{\"id\":1}\n").run().exits(0);
        assert_eq!(written(&postgres), "public", "{wanted}");

        let run = upsert(&dir, &[("DATABASE_URL", &url(&first))]).args(["--retries", "0"]).run();
        let why = if wanted == "primary" { "it is a standby" } else { "it cannot be written to" };
        run.exits(69).stderr_has(why).stderr_has("name the primary");
    }
}

#[test]
fn a_stop_cancels_what_one_of_several_hosts_works_at() {
    let (dir, postgres) = (Dir::new(), tenants());
    let mut other = postgres.server().session(postgres.database());
    let mut other = other.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    other.stdin.as_mut().unwrap().write_all(b"begin; lock table t;\n\\echo locked\n").unwrap();
    other.stdout.as_mut().unwrap().read_exact(&mut [0; 7]).unwrap();

    let url = url(&postgres, &format!("127.0.0.1:1,{}", here(&postgres)), "");
    let child = upsert(&dir, &[("DATABASE_URL", &url)]).stdin("{\"id\":1}\n").spawn();
    let waits = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    postgres.wait_for(waits, "1");
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    drop(other.stdin.take());
    other.wait().unwrap();

    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(75), "{said}");
    assert!(said.contains("canceling statement due to user request"), "{said}");
}

/// PostgreSQL 17 and later take a handshake without being asked for TLS first.
#[test]
fn a_direct_handshake_begins_at_once() {
    let dir = Dir::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut hello = vec![0; 4096];
        let length = client.read(&mut hello).unwrap();
        hello.truncate(length);
        hello
    });
    let url = format!("postgres://u:p@127.0.0.1:{port}/d?sslmode=require&sslnegotiation=direct&sslrootcert=");
    upsert(&dir, &[("DATABASE_URL", &url)]).args(["--retries", "0"]).run();
    let hello = server.join().unwrap();
    assert_eq!(hello[0], 0x16, "a TLS handshake");
    assert!(hello.windows(10).any(|window| window == b"postgresql"), "which names the protocol");
}
