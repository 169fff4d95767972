//! `pg-verify` through pgbouncer in transaction mode: the same verdicts as over a direct connection, and the session of the
//! server, which the pooler hands to other clients afterwards, stays as it was.

#![expect(clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use harness::postgres::{PASSWORD, Postgres, USER};
use harness::{Dir, Finished, program};

/// pgbouncer in transaction mode in front of a database, with a single session of the server.
struct Pooler {
    port: u16,
    process: Child,
    _dir: Dir,
}

impl Pooler {
    fn to(postgres: &Postgres) -> Self {
        let dir = Dir::new();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("it has an address").port();
        drop(listener);
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={} user={USER} password={PASSWORD}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = any\nunix_socket_dir =\n\
             pool_mode = transaction\ndefault_pool_size = 1\n",
            postgres.port()
        );
        let file = dir.write("pgbouncer.ini", settings);
        let mut pgbouncer = Command::new("pgbouncer");
        // It refuses to run as root.
        let root = fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
        if root {
            std::os::unix::fs::chown(&file, Some(NOBODY), None).expect("root may do so");
            std::os::unix::fs::chown(dir.path(), Some(NOBODY), None).expect("root may do so");
            pgbouncer.uid(NOBODY);
        }
        pgbouncer.arg("-q").arg(&file).current_dir(dir.path());
        let process =
            pgbouncer.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("pgbouncer runs");
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(30), "pgbouncer does not start");
            thread::yield_now();
        }
        Self { port, process, _dir: dir }
    }

    /// What a program needs in its environment to connect to the database by way of the pooler.
    fn envs(&self, postgres: &Postgres) -> Vec<(&'static str, String)> {
        let port = |(name, value)| (name, if name == "PORT" { self.port.to_string() } else { value });
        postgres.envs().into_iter().map(port).collect()
    }

    /// Runs SQL over the pooler's session of the server.
    fn query(&self, postgres: &Postgres, sql: &str) -> String {
        let mut psql = postgres.server().session(postgres.database());
        // A pooler refuses options at the start of a session.
        psql.env_remove("PGOPTIONS").args(["-p", &self.port.to_string(), "-v", "ON_ERROR_STOP=1", "-c", sql]);
        let output = psql.output().expect("psql runs");
        assert!(output.status.success(), "{sql}\n{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8").trim_end_matches('\n').to_owned()
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The user `nobody` of Debian.
const NOBODY: u32 = 65534;

/// Everything that one client can leave in a session for the next. That PL/pgSQL is loaded, and so has its settings, is none
/// of it.
const SESSION: &str = "
    select 'process ' || pg_backend_pid()
    union all select 'statement ' || name || ' ' || statement from pg_prepared_statements
    union all select 'relation ' || relname from pg_class where relnamespace = pg_my_temp_schema() and relkind <> 't'
    union all select 'function ' || proname from pg_proc where pronamespace = pg_my_temp_schema()
    union all select 'lock ' || objid from pg_locks where locktype = 'advisory'
    union all (select name || ' = ' || setting from pg_settings
               where name not like 'plpgsql.%' order by name)";

/// Rows that need functions, an enum, and a group. The table has the first as it should be, another second, and no third.
fn stream() -> String {
    let schema = r#"{"$schema":{"v":1,"profile":"t","hash":"h","table":"t","key":["id"],"columns":[
        {"name":"id","type":"bigint"},{"name":"mood","type":"mood"},
        {"name":"list","type":"jsonb","merge":{"keyed_array":{"key":["n"],"prefer":"p"}}},
        {"name":"path","type":"text"},{"name":"width","type":"integer"},
        {"name":"parts","type":"jsonb","merge":{"keyed_array":{"key":["f"],"prefer":"p"}}}],
        "groups":[{"columns":["path","width"],"preferred_side":{"in":"parts","where":{"f":"85"},"has":"p"}}]}}"#;
    let row = |id: u32, mood: &str, n: u32| {
        format!(
            r#"{{"id":{id},"mood":"{mood}","list":[{{"n":{n}}}],"path":"a","width":1,"parts":[],"$records":[{id}]}}"#
        )
    };
    [schema.replace('\n', " "), row(1, "glad", 1), row(2, "sad", 2), row(3, "glad", 1)].join("\n") + "\n"
}

fn table(postgres: &Postgres) {
    postgres.query(
        r#"create type mood as enum ('glad', 'sad');
           create table t (id bigint primary key, mood mood, list jsonb, path text, width int, parts jsonb);
           insert into t select id, 'glad', '[{"n": 1}]', 'a', 1, '[]' from generate_series(1, 2) id"#,
    );
}

/// What is found, in the order of the keys.
fn findings(run: &Finished) -> Vec<String> {
    let mut lines: Vec<_> = run.output().lines().map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

#[test]
fn a_session_that_others_get_afterwards_is_as_it_was() {
    let postgres = Postgres::new();
    table(&postgres);
    let pooler = Pooler::to(&postgres);
    let before = pooler.query(&postgres, SESSION);
    assert!(before.contains("\ntransaction_read_only = off\n"), "{before}");

    let run = program!("pg-verify").envs(pooler.envs(&postgres)).args(["-b", "2"]).stdin(stream()).run();

    run.exits(1).stderr_has("1 missing, 1 different");
    assert_eq!(pooler.query(&postgres, SESSION), before);
    // Another client can write over it.
    pooler.query(&postgres, "insert into t (id) values (4)");

    let rows = "{\"id\":1,\"mood\":\"glad\"}\n{\"id\":9,\"mood\":\"sad\"}\n";
    let run = program!("pg-verify").envs(pooler.envs(&postgres)).args(["--table", "t"]).stdin(rows).run();
    run.exits(1).stderr_has("1 missing, 0 different");
    assert_eq!(pooler.query(&postgres, SESSION), before);

    // Nor does a verification that ends in the middle of a transaction leave anything.
    let broken = "{\"id\":1,\"mood\":\"angry\"}\n";
    let run = program!("pg-verify").envs(pooler.envs(&postgres)).args(["--table", "t"]).stdin(broken).run();
    run.stderr_has("invalid input value for enum mood");
    assert_eq!(pooler.query(&postgres, SESSION), before);
}

#[test]
fn verdicts_are_the_same_as_over_a_direct_connection() {
    let postgres = Postgres::new();
    table(&postgres);
    let pooler = Pooler::to(&postgres);
    for args in [&["-b", "1"][..], &["-b", "2", "--connections", "3"], &[]] {
        let direct = program!("pg-verify").envs(postgres.envs()).args(args).stdin(stream()).run();
        let through = program!("pg-verify").envs(pooler.envs(&postgres)).args(args).stdin(stream()).run();

        through.exits(1).stderr_has("1 missing, 1 different");
        assert_eq!(findings(&through), findings(&direct));
        assert_eq!(findings(&through).len(), 2);
        let differs = &findings(&through)[0];
        assert!(differs.contains(r#""problem":"differs","columns":["mood","list"]"#), "{differs}");
    }
}
