//! Where a setting comes from: the command line wins over the environment, that over `.env`, that over the default. For
//! every variable that docs/settings.md lists, seen at what `migrate-check` says of it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::thread;

use harness::postgres::Postgres;
use harness::{Dir, Program, program};

/// A setting, its four values, and where one is seen in the output: `{}` stands for it.
struct Setting {
    variable: &'static str,
    flag: Option<&'static str>,
    default: Option<&'static str>,
    dotenv: &'static str,
    environment: &'static str,
    command_line: &'static str,
    seen: &'static str,
}

const fn setting(variable: &'static str, values: [&'static str; 2], seen: &'static str) -> Setting {
    let [dotenv, environment] = values;
    Setting { variable, flag: None, default: None, dotenv, environment, command_line: "", seen }
}

const SETTINGS: [Setting; 10] = [
    Setting {
        flag: Some("--s3-bucket"),
        command_line: "from-flag",
        ..setting("S3_BUCKET", ["from-dotenv", "from-environment"], "s3://{}/")
    },
    Setting {
        flag: Some("--s3-prefix"),
        default: Some(""),
        command_line: "from-flag",
        ..setting("S3_PREFIX", ["from-dotenv", "from-environment"], "s3://bucket/{}`")
    },
    Setting {
        default: Some("/var/run/postgresql"),
        ..setting("SERVER", ["127.0.0.2", "127.0.0.3"], "cannot connect to PostgreSQL as loader@{}:1/d")
    },
    Setting { default: Some("5432"), ..setting("PORT", ["2", "3"], "as loader@127.0.0.1:{}/d") },
    Setting { default: Some("somebody"), ..setting("PG_USER", ["dotenv", "environment"], "as {}@127.0.0.1:1/d") },
    Setting {
        default: Some("infinityCMS"),
        ..setting("DATABASE", ["dotenv", "environment"], "as loader@127.0.0.1:1/{}: ")
    },
    setting("DB_SSL", ["dotenv", "environment"], "DB_SSL is `{}`"),
    setting("DB_SSL_ROOT_CERT", ["/dotenv.pem", "/environment.pem"], "cannot read the certificates in `{}`"),
    Setting {
        flag: Some("--log-dir"),
        default: Some("."),
        command_line: "from-flag",
        ..setting("MIGRATE_LOG_DIR", ["from-dotenv", "from-environment"], "`{}` can be written to")
    },
    // By default `profiles`, where this one is not.
    Setting {
        flag: Some("--profile"),
        command_line: "flag/p.toml",
        ..setting("DDB_PIPE_PROFILES", ["dotenv", "environment"], "`p`: {} (1 columns")
    },
];

/// The variables that are set unless they are what is looked at.
const OTHERS: [(&str, &str); 6] = [
    ("S3_BUCKET", "bucket"),
    ("SERVER", "127.0.0.1"),
    ("PORT", "1"),
    ("PG_USER", "loader"),
    ("DATABASE", "d"),
    ("DB_SSL", "true"),
];

#[test]
fn each_setting_is_taken_from_the_first_place_that_has_it() {
    let dir = Dir::new();
    for folder in ["dotenv", "environment", "flag"] {
        let text = format!("table = \"{folder}\"\nkey = [\"id\"]\n[columns]\nid = {{ type = \"text\" }}\n");
        dir.write(&format!("{folder}/p.toml"), text);
    }
    for setting in &SETTINGS {
        for place in ["default", "dotenv", "environment", "command line"] {
            let (dotenv, environment) = (place != "default", !["default", "dotenv"].contains(&place));
            let value = match (place, setting.default, setting.flag) {
                ("default", Some(default), _) => default,
                ("dotenv", ..) => setting.dotenv,
                ("environment", ..) => setting.environment,
                ("command line", _, Some(_)) => setting.command_line.trim_end_matches("/p.toml"),
                _ => continue,
            };
            let line = if dotenv { format!("{}={}\n", setting.variable, setting.dotenv) } else { String::new() };
            dir.write(".env", line);
            let mut run = doctor(&dir).envs(OTHERS.iter().filter(|(name, _)| *name != setting.variable).copied());
            if environment {
                run = run.env(setting.variable, setting.environment);
            }
            let profile = setting.flag != Some("--profile") || place != "command line";
            if let (true, "command line", Some(flag)) = (profile, place, setting.flag) {
                run = run.args([flag, setting.command_line]);
            }
            run = run.args(["-p", if profile { "p" } else { setting.command_line }]);
            let finished = run.run();
            let expected = setting.seen.replace("{}", value);
            let output = finished.output();
            assert!(output.contains(&expected), "{} of {}: {expected}\n{output}", setting.variable, place);
        }
    }
}

fn doctor(dir: &Dir) -> Program {
    program!("migrate-check")
        .in_dir(dir)
        .args(["doctor", "--retries", "0"])
        .env("USER", "somebody")
        .env("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        .env("AWS_ACCESS_KEY_ID", "x")
        .env("AWS_SECRET_ACCESS_KEY", "x")
}

#[test]
fn the_password_is_taken_from_the_environment_before_the_file() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    let right = postgres.envs().into_iter().find(|(name, _)| *name == "PASSWORD").map(|(_, value)| value);
    let right = right.as_deref().unwrap_or_default();
    for (dotenv, environment, expected) in [
        (None, None, "hint: set PASSWORD (or PGPASSWORD, or a line in ~/.pgpass)"),
        (Some(right), None, "ok       connection"),
        (Some("wrong"), None, "password authentication failed"),
        (Some("wrong"), Some(right), "ok       connection"),
        (Some(right), Some("wrong"), "password authentication failed"),
    ] {
        dir.write(".env", dotenv.map_or_else(String::new, |password| format!("PASSWORD={password}\n")));
        let others = postgres.envs().into_iter().filter(|(name, _)| *name != "PASSWORD");
        let mut run = doctor(&dir).args(["-p", "p"]).envs(others);
        if let Some(password) = environment {
            run = run.env("PASSWORD", password);
        }
        run.run().stdout_has(expected).never_says(right);
    }
}

#[test]
fn the_region_is_taken_from_the_environment_before_the_file() {
    let dir = Dir::new();
    for (dotenv, environment, expected) in [
        (None, None, "eu-west-1"),
        (Some("eu-north-1"), None, "eu-north-1"),
        (Some("eu-north-1"), Some("us-east-2"), "us-east-2"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let endpoint = format!("http://{}", listener.local_addr().expect("it is bound"));
        // The region stands in the signature of a request.
        let region = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a request");
            let lines = BufReader::new(stream.try_clone().expect("a socket")).lines().map_while(Result::ok);
            let lines: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
            let _ = stream.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            let signature = lines.iter().find(|line| line.to_lowercase().starts_with("authorization:"));
            signature.and_then(|line| line.split('/').nth(2).map(str::to_owned))
        });
        dir.write(".env", dotenv.map_or_else(String::new, |region| format!("AWS_REGION={region}\n")));
        let mut run = doctor(&dir).args(["-p", "p", "--source", "s3://bucket/"]).env("AWS_ENDPOINT_URL", endpoint);
        if let Some(region) = environment {
            run = run.env("AWS_REGION", region);
        }
        run.env("AWS_EC2_METADATA_DISABLED", "true").env("PG_USER", "u").env("PORT", "1").run().exits(2);
        assert_eq!(region.join().expect("it was asked").as_deref(), Some(expected));
    }
}

#[test]
fn how_it_is_logged_is_taken_from_the_command_line_before_the_environment_before_the_file() {
    let dir = Dir::new();
    for (environment, flag, expected) in [("", "", "a"), ("b", "", "b"), ("b", "c", "c")] {
        dir.write(".env", "MIGRATE_EVENTS=a\nMIGRATE_LOG_LEVEL=loud\nMIGRATE_LOG_FORMAT=nothing\n");
        let mut run = doctor(&dir).args(["-p", "p"]).envs(OTHERS);
        run = run.env("MIGRATE_LOG_LEVEL", "info").env("MIGRATE_LOG_FORMAT", "text");
        if !environment.is_empty() {
            run = run.env("MIGRATE_EVENTS", environment);
        }
        if !flag.is_empty() {
            run = run.args(["--events", flag]);
        }
        run.run();
        assert!(dir.has(expected), "{expected}");
    }
    dir.write(".env", "MIGRATE_LOG_LEVEL=info\n");
    let wrong = doctor(&dir).args(["-p", "p", "-v"]).envs(OTHERS).env("MIGRATE_LOG_LEVEL", "loud").run();
    assert!(!wrong.messages().contains("loud"), "a flag wins over it: {wrong:?}");
}
