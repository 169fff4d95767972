//! Columns of types that the programs do not know by name are compared as any other: a row that is there is not spoken of,
//! and a changed value is found.

use harness::postgres::Postgres;
use harness::{Finished, program};

/// The column's type, its type in a profile or a `$schema`, a value as JSON and in SQL, and another one in SQL.
const COLUMNS: [(&str, &str, &str, &str, &str); 17] = [
    (r#""UserRole""#, r#""UserRole""#, r#""ADMIN""#, "'ADMIN'", "'user'"),
    (r#""UserRole"[]"#, r#""UserRole"[]"#, r#"["ADMIN",null]"#, "'{ADMIN,NULL}'", "'{ADMIN}'"),
    (r#""Tenant"."User Role""#, r#""Tenant"."User Role""#, r#""user""#, "'user'", "null"),
    (r#""Tenant"."User Role"[]"#, r#""User Role"[]"#, r#"["user"]"#, "'{user}'", "'{user,user}'"),
    (r#""order""#, r#""order""#, r#""up""#, "'up'", "'down'"),
    ("bit varying", "varbit", r#""0101""#, "'0101'", "'01010'"),
    ("bit varying(5)", "bit varying(5)", r#""01011""#, "'01011'", "'01010'"),
    ("bit varying[]", "bit varying[]", r#"["1","01"]"#, "'{1,01}'", "'{1,1}'"),
    ("bit(3)", "bit(3)", r#""101""#, "'101'", "'100'"),
    (r#""char""#, r#""char""#, r#""x""#, "'x'", "'y'"),
    (r#""char"[]"#, r#""char"[]"#, r#"["x","y"]"#, "'{x,y}'", "'{x,x}'"),
    ("tags", "text[]", r#"["a b","c"]"#, "'{a b,c}'", "'{a b,C}'"),
    (r#""Deep""#, "text[]", r#"["a"]"#, "'{a}'", "'{b}'"),
    ("roles", r#""UserRole"[]"#, r#"["user"]"#, "'{user}'", "'{ADMIN}'"),
    (r#""Doc""#, "jsonb", r#"{"a":1}"#, r#"'{"a": 1}'"#, r#"'{"a": 2}'"#),
    ("posint", "posint", "7", "7", "8"),
    ("posint[]", "integer[]", "[7,8]", "'{7,8}'", "'{7}'"),
];

fn with_types() -> Postgres {
    let postgres = Postgres::new();
    postgres.query(
        r#"create schema "Tenant";
           create type "UserRole" as enum ('ADMIN', 'user');
           create type "Tenant"."User Role" as enum ('ADMIN', 'user');
           create type "order" as enum ('up', 'down');
           create domain tags as text[];
           create domain "Deep" as tags check (cardinality(value) > 0);
           create domain roles as "UserRole"[];
           create domain "Doc" as jsonb;
           create domain posint as int check (value > 0)"#,
    );
    postgres
}

fn verify(postgres: &Postgres, args: &[&str], lines: &str) -> Finished {
    program!("pg-verify").envs(postgres.envs()).args(args).stdin(lines).run()
}

#[test]
fn a_changed_value_of_any_type_is_found() {
    let postgres = with_types();
    for (ty, in_profile, item, same, other) in COLUMNS {
        postgres.query(&format!(
            "drop table if exists t; create table t (id bigint primary key, v {ty});
             insert into t values (1, {same}), (2, {other})"
        ));
        let rows = format!("{{\"id\":1,\"v\":{item}}}\n{{\"id\":2,\"v\":{item}}}\n");
        let ty = serde_json::Value::from(in_profile);
        let schema = format!(
            r#"{{"$schema":{{"v":1,"profile":"t","hash":"h","table":"t","key":["id"],"columns":[{{"name":"id","type":"bigint"}},{{"name":"v","type":{ty}}}]}}}}"#
        );

        for run in [verify(&postgres, &["--table", "t"], &rows), verify(&postgres, &[], &format!("{schema}\n{rows}"))] {
            run.exits(1).stderr_has("0 missing, 1 different, 0 rejected");
            run.stdout_has(r#"{"key":{"id":2},"problem":"differs","columns":["v"]"#);
        }
    }
}

#[test]
fn an_enum_may_be_the_key() {
    let postgres = with_types();
    for ty in [r#""UserRole""#, r#""Tenant"."User Role""#] {
        postgres.query(&format!(
            "drop table if exists t; create table t (role {ty} primary key, v int); insert into t values ('ADMIN', 1)"
        ));
        let rows = "{\"role\":\"ADMIN\",\"v\":1}\n{\"role\":\"user\",\"v\":2}\n";

        let run = verify(&postgres, &["--table", "t"], rows);

        run.exits(1).stderr_has("1 missing, 0 different").stdout_has(r#"{"key":{"role":"user"},"problem":"missing""#);
    }
}
