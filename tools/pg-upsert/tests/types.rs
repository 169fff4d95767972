//! Columns of types that the programs do not know by name: enums with capitals, types of other schemas, bit strings,
//! domains.

use harness::postgres::Postgres;
use harness::{Dir, Finished, program};

/// What a database of Prisma or another framework may have.
const TYPES: &str = r#"
    create schema "Tenant";
    create type "UserRole" as enum ('ADMIN', 'user');
    create type "Tenant"."User Role" as enum ('ADMIN', 'user');
    create type "order" as enum ('up', 'down');
    create domain tags as text[];
    create domain "Deep" as tags check (cardinality(value) > 0);
    create domain roles as "UserRole"[];
    create domain "Doc" as jsonb;
    create domain posint as int check (value > 0)"#;

/// The column's type, its type in a profile or a `$schema`, a value, and the column as text afterwards.
const COLUMNS: [(&str, &str, &str, &str); 18] = [
    (r#""UserRole""#, r#""UserRole""#, r#""ADMIN""#, "ADMIN"),
    (r#""UserRole"[]"#, r#""UserRole"[]"#, r#"["ADMIN",null,"user"]"#, "{ADMIN,NULL,user}"),
    (r#""Tenant"."User Role""#, r#""Tenant"."User Role""#, r#""user""#, "user"),
    (r#""Tenant"."User Role"[]"#, r#""User Role"[]"#, r#"["user"]"#, "{user}"),
    (r#""order""#, r#""order""#, r#""up""#, "up"),
    ("bit varying", "bit varying", r#""0101""#, "0101"),
    ("bit varying(5)", "varbit(5)", r#""01011""#, "01011"),
    ("bit varying[]", "bit varying[]", r#"["1","01"]"#, "{1,01}"),
    ("bit(3)", "bit(3)", r#""101""#, "101"),
    (r#""char""#, r#""char""#, r#""x""#, "x"),
    (r#""char"[]"#, r#""char"[]"#, r#"["x","y"]"#, "{x,y}"),
    ("bpchar", "char(9)", r#""ab""#, "ab"),
    ("tags", "text[]", r#"["a b","c"]"#, r#"{"a b",c}"#),
    (r#""Deep""#, "text[]", r#"["a"]"#, "{a}"),
    ("roles", r#""UserRole"[]"#, r#"["user"]"#, "{user}"),
    (r#""Doc""#, "jsonb", r#""text""#, r#""text""#),
    ("posint", "posint", "7", "7"),
    ("posint[]", "integer[]", "[7,8]", "{7,8}"),
];

fn load(postgres: &Postgres, args: &[&str], lines: &str) -> Finished {
    program!("pg-upsert").in_dir(&Dir::new()).envs(postgres.envs()).args(args).stdin(lines).run()
}

fn schema(ty: &str) -> String {
    let ty = serde_json::Value::from(ty);
    format!(
        r#"{{"$schema":{{"v":1,"profile":"t","hash":"h","table":"t","key":["id"],"columns":[{{"name":"id","type":"bigint"}},{{"name":"v","type":{ty}}}]}}}}"#
    )
}

#[test]
fn a_column_of_any_type_takes_plain_rows_and_rows_of_a_profile() {
    let postgres = Postgres::new();
    postgres.query(TYPES);
    for (ty, in_profile, value, expected) in COLUMNS {
        postgres.query(&format!("drop table if exists t; create table t (id bigint primary key, v {ty})"));
        let row = |id: u32| format!("{{\"id\":{id},\"v\":{value}}}\n");

        // Into the empty table, then by way of the stage.
        load(&postgres, &["--table", "t"], &row(1)).exits(0);
        load(&postgres, &["--table", "t"], &(row(1) + &row(2))).exits(0);
        load(&postgres, &[], &format!("{}\n{}", schema(in_profile), row(3))).exits(0);

        let found = postgres.query("select v::text from t order by id");
        assert_eq!(found, [expected; 3].join("\n"), "{ty}");
    }
}

#[test]
fn a_new_table_has_the_types_of_the_profile() {
    let postgres = Postgres::new();
    postgres.query(TYPES);
    for (ty, value, expected) in [
        (r#""UserRole""#, r#""ADMIN""#, r#""UserRole"|ADMIN"#),
        (r#""Tenant"."User Role"[]"#, r#"["user"]"#, r#""Tenant"."User Role"[]|{user}"#),
        (r#""order""#, r#""up""#, r#""order"|up"#),
        (r#""char""#, r#""x""#, r#""char"|x"#),
        ("varbit(5)", r#""01""#, "bit varying(5)|01"),
    ] {
        postgres.query("drop table if exists t");
        load(&postgres, &["--create"], &format!("{}\n{{\"id\":1,\"v\":{value}}}\n", schema(ty))).exits(0);
        let column = "select format_type(atttypid, atttypmod), v from pg_attribute, t \
                      where attrelid = 't'::regclass and attname = 'v'";
        assert_eq!(postgres.query(column), expected, "{ty}");
    }
}

#[test]
fn an_enum_may_be_the_key() {
    let postgres = Postgres::new();
    postgres.query(TYPES);
    for ty in [r#""UserRole""#, r#""Tenant"."User Role""#] {
        postgres.query(&format!("drop table if exists t; create table t (role {ty} primary key, v int)"));
        let rows = "{\"role\":\"ADMIN\",\"v\":1}\n{\"role\":\"user\",\"v\":2}\n{\"role\":\"ADMIN\",\"v\":3}\n";

        for _ in 0..2 {
            load(&postgres, &["--table", "t"], rows).exits(0);
            assert_eq!(postgres.query("select role, v from t order by role"), "ADMIN|3\nuser|2");
        }
    }
}

/// A value that the type does not take is rejected alone.
#[test]
fn a_value_that_is_none_of_the_enum_is_rejected() {
    let postgres = Postgres::new();
    postgres.query(&format!("{TYPES}; create table t (id bigint primary key, v \"UserRole\")"));
    let rows = "{\"id\":1,\"v\":\"ADMIN\"}\n{\"id\":2,\"v\":\"admin\"}\n{\"id\":3,\"v\":\"user\"}\n";

    let run = load(&postgres, &["--table", "t"], rows);

    run.exits(1).stderr_has("invalid input value for enum \"UserRole\": \"admin\"");
    assert_eq!(postgres.query("select id, v from t order by id"), "1|ADMIN\n3|user");
}

#[test]
fn a_type_that_does_not_fit_says_how_to_write_the_one_of_the_table() {
    let postgres = Postgres::new();
    postgres.query(TYPES);
    for (ty, in_profile, message) in [
        (
            r#""UserRole""#,
            "UserRole",
            "the column `v` of `t` is \"UserRole\", the rows have userrole\n\
             hint: without double quotes a name is lower case, as in SQL: write `\"UserRole\"` in the profile\n",
        ),
        (
            "tags",
            "integer[]",
            "the column `v` of `t` is tags, a domain over text[], the rows have integer[]\n\
             hint: change the type of `v` in the profile or in the table\n",
        ),
    ] {
        postgres.query(&format!("drop table if exists t; create table t (id bigint primary key, v {ty})"));
        let run = load(&postgres, &[], &format!("{}\n{{\"id\":1,\"v\":null}}\n", schema(in_profile)));
        run.exits(2).stderr_has(message);
    }
}
