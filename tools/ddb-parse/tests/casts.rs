//! Values that give way where PostgreSQL cannot read them: what is kept and what is not, as PostgreSQL itself has it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use harness::postgres::Postgres;
use harness::{Dir, program};

/// Types, and texts that are a value of them or nearly one.
const TEXTS: [(&str, &[&str]); 18] = [
    ("text", &["", "any"]),
    ("varchar(3)", &["abc", "äöü", "abcd", "abc  ", "    "]),
    ("char(2)", &["ab", "a", "abc", "ab "]),
    ("char", &["a", "", "ab"]),
    ("boolean", &["true", "0", "maybe", "2"]),
    ("smallint", &["32767", "-32768", "32768", "1e4", "1.5", "x", ""]),
    ("bigint", &["9223372036854775807", "9223372036854775808", "-9223372036854775808"]),
    (
        "numeric",
        &["1", "-1.50", "1e131071", "1e131072", "1e200000", "1e-16383", "1e-16384", "1e999999999", "x", "1e", "NaN"],
    ),
    ("numeric(5,2)", &["999.99", "999.994", "999.995", "-999.995", "1000", "99e1", "1e2", "1e3", "1e-9", "0.005"]),
    ("numeric(3)", &["999", "999.4", "999.5", "-999.5", "1000", "0.5"]),
    ("real", &["1.5", "3e38", "4e38", "-4e38", "1e-40", "1e-46", "0e-99", "0.0"]),
    ("double precision", &["1e308", "1e309", "1e-320", "1e-330", "0"]),
    (
        "timestamptz",
        &[
            "2024-01-31T23:59:59.5+01:00",
            "2024-01-31",
            "2024-02-30",
            "2024-01-31 23:59",
            "2024-01-31T23:59:60Z",
            "2024-01-31T25:00:00Z",
            "2024-01-31T23:59:59+16:00",
            "0000-01-01T00:00:00Z",
            "0001-01-01T00:00:00Z",
            "soon",
            "",
        ],
    ),
    ("timestamp", &["2024-01-31T23:59:59", "2024-13-01", "yesterday"]),
    ("date", &["2024-02-29", "2023-02-29", "0000-01-01", "9999-12-31", "x"]),
    (
        "uuid",
        &[
            "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
            "6BA7B8109DAD11D180B400C04FD430C8",
            "{6ba7b8109dad11d180b400c04fd430c8}",
            "6ba7-b810-9dad-11d1-80b4-00c0-4fd4-30c8",
            "6ba7b810-9dad-11d1-80b4-00c04fd430c8-",
            "6ba7b810-9dad-11d1-80b4-00c04fd430c",
            "{6ba7b810-9dad-11d1-80b4-00c04fd430c8",
            "6ba7b8--109dad11d180b400c04fd430c8",
            "6ba7b81-09dad11d180b400c04fd430c8",
            "-6ba7b8109dad11d180b400c04fd430c8",
            "6ba7b810-9dad-11d1-80b4-00c04fd430cg",
            "",
        ],
    ),
    ("bytea", &["\\x00ff", "\\x0", "\\xzz", "a\\\\b", "a\\001", "a\\400", "a\\b", ""]),
    ("inet", &["10.0.0.1"]),
];

/// What depends on the settings of a session, or has no place among the digits, gives way though PostgreSQL may read it.
const NOT_HERE: [&str; 2] = ["NaN", "yesterday"];

/// A whole number is one however it is written, and is 10000 in the row.
const MADE_READABLE: &str = "1e4";

/// Whether PostgreSQL takes a text into a column of a type. It is assigned as COPY does it: a cast would cut off what is
/// too long.
const READS: &str = "create function reads(value text, type text) returns boolean language plpgsql as $$ begin \
    execute format('create temp table one (cell %s)', type); execute format('insert into one values (%L)', value); \
    drop table one; return true; exception when data_exception then return false; end $$";

#[test]
fn what_postgresql_cannot_read_gives_way_and_the_rest_stays() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    let mut profile = "table = \"casts\"\nkey = [\"id\"]\n[columns]\nid = { type = \"text\" }\n".to_owned();
    let (mut items, mut cells) = (String::new(), Vec::new());
    for (place, (ty, texts)) in TEXTS.iter().enumerate() {
        let (one, list) = (format!("one{place}"), format!("list{place}"));
        // Writing into a string cannot fail.
        let _ = writeln!(profile, "{one} = {{ type = \"{ty}\", accept = [\"S\"], on_failure = \"null\" }}");
        let _ = writeln!(profile, "{list} = {{ type = \"{ty}[]\", accept = [\"S\"], on_failure = \"null\" }}");
        for text in *texts {
            let json = serde_json::Value::from(*text);
            let _ = writeln!(
                items,
                r#"{{"Item":{{"id":{{"S":"{}"}},"{one}":{{"S":{json}}},"{list}":{{"L":[{{"NULL":true}},{{"S":{json}}}]}}}}}}"#,
                cells.len()
            );
            cells.push((*ty, *text, one.clone(), list.clone()));
        }
    }
    dir.write("casts.toml", profile);
    postgres.query(READS);
    let all = cells.iter().map(|(ty, text, ..)| format!("('{ty}', '{text}')")).collect::<Vec<_>>().join(",");
    let read = postgres.query(&format!("select reads(text, type) from (values {all}) all_of_them (type, text)"));

    let run = program!("ddb-parse").in_dir(&dir).args(["-p", "./casts.toml", "--no-markers"]).stdin(&items).run();

    let rows = run.exits(0).stderr("").output();
    assert_eq!((rows.lines().count(), read.lines().count()), (cells.len(), cells.len()));
    let mut wrong = Vec::new();
    for (((ty, text, one, list), read), row) in cells.iter().zip(read.lines()).zip(rows.lines()) {
        let row: BTreeMap<String, serde_json::Value> = serde_json::from_str(row).unwrap();
        let expected = *text == MADE_READABLE || read == "t" && !NOT_HERE.contains(text);
        if (!row[one].is_null(), !row[list].is_null()) != (expected, expected) {
            wrong.push(format!("`{text}` as {ty}: {} and {}, PostgreSQL {read}", row[one], row[list]));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}
