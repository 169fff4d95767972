//! Bad and hostile input through the whole pipeline into a real table: it arrives byte for byte, or is rejected with a
//! reason, and neither harms what stands beside it.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt::Write as _;

use harness::Dir;
use harness::export::Export;
use harness::gzip;
use harness::postgres::Postgres;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::bash;

const SQL: &str = r#"'; drop table victim; -- "; drop table victim; -- \'; drop table victim; -- $$ $1"#;

/// A database with a table that nobody may touch.
fn with_victim() -> (Dir, Postgres) {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    postgres.query("create table victim (id bigint primary key, v text); insert into victim values (1, 'alive')");
    (dir, postgres)
}

fn victim_lives(postgres: &Postgres) {
    assert_eq!(postgres.query("select * from victim"), "1|alive");
}

/// Writes an export of one file with these lines, which may be anything.
fn export_of(dir: &Dir, lines: &[Vec<u8>]) {
    let content = lines.iter().flat_map(|line| [line, &b"\n"[..]].concat()).collect::<Vec<_>>();
    let export = Export::new("T", "01700000000000-abcdef12");
    export.file_of(gzip(content), lines.len() as u64).write_to(dir);
}

fn load(profile: &str) -> String {
    format!(
        "ddb-list . | ddb-cat | ddb-parse -p ./{profile} | pg-upsert --create --rejects rejects.jsonl --max-rejects 100%"
    )
}

/// Record number and reason of everything that was rejected.
fn rejects(dir: &Dir) -> Vec<(u64, String)> {
    if !dir.has("rejects.jsonl") {
        return Vec::new();
    }
    let lines = dir.read("rejects.jsonl");
    // Data that was no text stays as it was.
    let rejects = lines.lines().map(|line| serde_json::from_str::<HashMap<String, Box<RawValue>>>(line).unwrap());
    let field = |reject: &HashMap<_, Box<RawValue>>, name| serde_json::from_str::<Value>(reject[name].get()).unwrap();
    rejects
        .map(|reject| (field(&reject, "record").as_u64(), field(&reject, "reason").as_str().unwrap().to_owned()))
        .map(|(record, reason)| (record.unwrap_or_default(), reason))
        .collect()
}

fn hex(text: &str) -> String {
    text.bytes().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Texts on which a parser, a format or a server might stumble.
fn texts() -> Vec<String> {
    let short = [
        "",
        " ",
        SQL,
        r"\.",
        r"\N",
        r"\\N",
        "\\",
        "NULL",
        "null",
        "{}",
        "{a,b}",
        "{\"$file\":{\"event\":\"end\"}}",
        "\"",
        "\"\"",
        "'",
        "a\tb\nc\rd\u{8}\u{c}\u{b}\u{1}\u{1f}\u{7f}",
        "\u{80}\u{85}\u{9f}\u{a0}\u{2028}\u{2029}\u{feff}\u{fffd}\u{fffe}\u{ffff}\u{10ffff}",
        "e\u{301} \u{202e}left \u{1f468}\u{200d}\u{1f469} \u{df}\u{1e9e} \u{131}",
        r"\u0000",
        r"\x00",
        "%s %n {} ${HOME} $(id) `id`",
        "..\\../../etc/passwd",
        "-1e999",
        "__proto__",
    ];
    short.iter().map(|text| (*text).to_owned()).chain(["\u{e9}\"\\x".repeat(80_000)]).collect()
}

#[test]
fn texts_arrive_byte_for_byte_wherever_they_stand() {
    let (dir, postgres) = with_victim();
    dir.write(
        "p.toml",
        r#"
        table = "t"
        key = ["id", "k"]
        [columns]
        id = { type = "bigint" }
        k = { type = "text" }
        t = { type = "text" }
        a = { type = "text[]" }
        s = { type = "text[]" }
        j = { type = "jsonb", merge = "jsonb_merge" }
        "#,
    );
    let texts = texts();
    let item = |(id, text): (usize, &String)| {
        // An index holds keys of some 2 KB.
        let key: String = text.chars().take(200).collect();
        let item = json!({
            "id": { "N": id.to_string() }, "k": { "S": key }, "t": { "S": text },
            "a": { "L": [{ "S": text }, { "NULL": true }] }, "s": { "SS": [text] },
            "j": { "M": { text: { "S": text } } },
        });
        json!({ "Item": item }).to_string().into_bytes()
    };
    export_of(&dir, &texts.iter().enumerate().map(item).collect::<Vec<_>>());

    // Copied into an empty table, then merged with what is there.
    for _ in 0..2 {
        bash(&dir, &postgres, &load("p.toml")).run().exits(0);

        let bytes = |text: &str| format!("encode(convert_to({text}, 'UTF8'), 'hex')");
        let columns = ["t", "a[1]", "s[1]", "j->>t"].map(bytes).join(", ");
        let found = postgres.query(&format!("select {columns}, a[2] is null, k = left(t, 200) from t order by id"));
        let expected = texts.iter().map(|text| format!("{0}|{0}|{0}|{0}|t|t", hex(text))).collect::<Vec<_>>();
        for (found, expected) in found.lines().zip(&expected) {
            assert!(found == *expected, "{found:.200}\n{expected:.200}");
        }
        assert_eq!(found.lines().count(), texts.len());
    }
    assert_eq!(rejects(&dir), []);
    victim_lives(&postgres);
}

#[test]
fn attributes_may_have_any_name() {
    let (dir, postgres) = with_victim();
    let long = "long ".repeat(13_000);
    let names = ["", " ", "a.b", "\"quoted\"", "$file", "__proto__", "constructor", "Item", "S", SQL, "a\tb\n", &long];
    let mut profile = "table = \"t\"\nkey = [\"id\"]\n[columns]\nid = { type = \"bigint\", from = \"n\" }\n".to_owned();
    let mut item = json!({ "n": { "N": "1" } });
    for (place, name) in names.iter().enumerate() {
        // A name in TOML is written as it is in JSON.
        let _ = writeln!(profile, "c{place} = {{ type = \"text\", from = [{}] }}", json!(name));
        item[*name] = json!({ "S": format!("value {place}") });
    }
    let _ = writeln!(profile, "all = {{ type = \"jsonb\", from = \"map\" }}");
    item["map"] = json!({ "M": item.clone() });
    dir.write("p.toml", profile);
    export_of(&dir, &[json!({ "Item": item }).to_string().into_bytes()]);

    bash(&dir, &postgres, &load("p.toml")).run().exits(0);

    let row: Value = serde_json::from_str(&postgres.query("select to_jsonb(t) from t")).unwrap();
    for (place, name) in names.iter().enumerate() {
        let value = format!("value {place}");
        assert_eq!(row[format!("c{place}")], value, "{name:.80}");
        assert_eq!(row["all"][*name], value, "{name:.80}");
    }
    victim_lives(&postgres);
}

#[test]
fn names_and_values_of_a_profile_are_no_sql() {
    let (dir, postgres) = with_victim();
    let table = "t\"'; drop table victim; --";
    let columns =
        ["a\"; drop table victim; --", "b'); drop table victim; --", "c\\", "d{}%s$1", "e f", "select", "\u{fc}"];
    let mut profile = format!("table = {}\nkey = [{}]\n[columns]\n", json!(table), json!(columns[0]));
    for column in columns {
        let _ = writeln!(profile, "{} = {{ type = \"text\", value = {} }}", json!(column), json!(SQL));
    }
    let policy = json!(["'; drop table victim; --", "\\'; drop table victim; --", "\""]).to_string();
    let _ = writeln!(
        profile,
        "list = {{ type = \"jsonb\", merge = {{ keyed_array = {{ key = {policy}, prefer = {0} }} }} }}\n\
         other = {{ type = \"text\" }}\n[[groups]]\ncolumns = [\"other\"]\n\
         preferred_side = {{ in = \"list\", where = {{ \"'; drop table victim; --\" = {0} }}, has = {0} }}",
        json!(SQL),
    );
    dir.write("p.toml", profile);
    let element = json!({ "M": { "'; drop table victim; --": { "S": SQL }, SQL: { "S": "x" } } });
    let item = json!({ "Item": { "list": { "L": [element] }, "other": { "S": SQL } } }).to_string();
    export_of(&dir, &[item.clone().into_bytes(), item.into_bytes()]);

    for _ in 0..2 {
        bash(&dir, &postgres, &load("p.toml")).run().exits(0);
    }

    let quoted = table.replace('"', "\"\"");
    let row = postgres.query(&format!("select to_jsonb(x) from \"{quoted}\" x"));
    let row: Value = serde_json::from_str(&row).unwrap();
    for column in columns.iter().chain(&["other"]) {
        assert_eq!(row[*column], SQL, "{column}");
    }
    assert_eq!(row["list"], json!([{ "'; drop table victim; --": SQL, SQL: "x" }]));
    victim_lives(&postgres);
}

#[test]
fn names_on_the_command_line_are_no_sql() {
    let (dir, postgres) = with_victim();
    let quoted = r#""t\"; drop table victim; --""#;
    for (arguments, message) in [
        (format!("--table {quoted} --key id"), "there is no table `t\"; drop table victim; --`"),
        ("--table 'x'\\''.t' --key id".to_owned(), "there is no table `t`"),
        ("--table victim --key 'id); drop table victim; --'".to_owned(), "has no column `id); drop table victim; --`"),
        ("--table victim --key id --columns 'v\" text); --'".to_owned(), "has no column `v\" text); --`"),
        ("--table \"$(head -c 70 /dev/zero | tr '\\0' x)\" --key id".to_owned(), "there is no table `xxx"),
        ("-p \"x'; drop table victim\"".to_owned(), "cannot be the name of a profile"),
    ] {
        let run = bash(&dir, &postgres, &format!("pg-upsert {arguments}")).stdin("{\"id\":1,\"v\":\"x\"}\n").run();

        run.exits(2).stderr_has(message);
        victim_lives(&postgres);
    }
}

#[test]
fn names_that_postgresql_cannot_hold_are_said_before_anything_is_read() {
    let (dir, postgres) = with_victim();
    let long = "x".repeat(64);
    let names = [
        ("", "cannot be empty"),
        (long.as_str(), "is longer than 63 bytes"),
        ("a\0b", "cannot hold the character U+0000"),
    ];
    for (name, message) in names {
        let name = json!(name);
        for profile in [
            format!("table = {name}\nkey = [\"id\"]\n[columns]\nid = {{ type = \"bigint\" }}\n"),
            format!("schema = {name}\ntable = \"t\"\nkey = [\"id\"]\n[columns]\nid = {{ type = \"bigint\" }}\n"),
            format!(
                "table = \"t\"\nkey = [\"id\"]\n[columns]\nid = {{ type = \"bigint\" }}\n{name} = {{ type = \"text\" }}\n"
            ),
        ] {
            dir.write("p.toml", profile);
            let run = bash(&dir, &postgres, "ddb-parse -p ./p.toml | pg-upsert --create").stdin("").run();
            run.exits(2).stderr_has(message);
        }
    }
}

#[test]
fn numbers_are_exact_or_rejected_with_the_reason() {
    let (dir, postgres) = with_victim();
    let types = ["smallint", "integer", "bigint", "numeric", "numeric(5,2)", "real", "double precision", "jsonb"];
    let mut profile = "table = \"t\"\nkey = [\"id\"]\n[columns]\nid = { type = \"bigint\" }\n".to_owned();
    for (place, ty) in types.iter().enumerate() {
        let _ = writeln!(profile, "c{place} = {{ type = \"{ty}\" }}");
    }
    dir.write("p.toml", profile);
    let zeros = "0".repeat(125);
    // What PostgreSQL then has, or what is said; as `select '...'::type` prints it.
    let cases = [
        (0, "32767", Ok("32767")),
        (0, "-32768", Ok("-32768")),
        (0, "32768", Err("attribute `c0` is 32768, which is outside -32768 to 32767")),
        (1, "2147483648", Err("attribute `c1` is 2147483648, which is outside -2147483648 to 2147483647")),
        (2, "-9223372036854775808", Ok("-9223372036854775808")),
        (2, "9223372036854775808", Err("attribute `c2` is `9223372036854775808`, which is out of range")),
        (2, "1.5", Err("attribute `c2` is `1.5`, which is not a whole number")),
        (2, "1.50e1", Ok("15")),
        (2, "-0", Ok("0")),
        (2, "1e99999999999999999999", Err("attribute `c2` is `1e99999999999999999999`, which is out of range")),
        (3, "-0", Ok("0")),
        (3, "-0.00", Ok("0.00")),
        (3, "99999999999999999999999999999999999999", Ok("99999999999999999999999999999999999999")),
        (3, "-0.12345678901234567890123456789012345678", Ok("-0.12345678901234567890123456789012345678")),
        (3, "1E+125", Ok("1")),
        (3, "1e-130", Ok("0")),
        (3, "1e200000", Err("value overflows numeric format")),
        (3, "1e99999999999999999999", Err("value overflows numeric format")),
        (4, "123.456", Ok("123.46")),
        (4, "12345", Err("numeric field overflow")),
        (5, "1e39", Err("out of range for type real")),
        (6, "-0", Ok("-0")),
        (6, "1e308", Ok("1e+308")),
        (6, "1e400", Err("out of range for type double precision")),
        (6, "1e-400", Err("out of range for type double precision")),
        (7, "99999999999999999999999999999999999999", Ok("99999999999999999999999999999999999999")),
        (7, "1.10", Ok("1.10")),
        (7, "1e200000", Err("value overflows numeric format")),
    ];
    let item = |(id, (column, number, _)): (usize, &(usize, &str, _))| {
        format!(r#"{{"Item":{{"id":{{"N":"{id}"}},"c{column}":{{"N":"{number}"}}}}}}"#).into_bytes()
    };
    export_of(&dir, &cases.iter().enumerate().map(item).collect::<Vec<_>>());

    bash(&dir, &postgres, &load("p.toml")).run().exits(1);

    let rejects = rejects(&dir);
    for (id, (column, number, expected)) in cases.iter().enumerate() {
        let found = postgres.query(&format!("select c{column} from t where id = {id}"));
        let reason = rejects.iter().find(|(record, _)| *record == id as u64 + 1).map(|(_, reason)| reason.as_str());
        match expected {
            Ok(expected) => {
                let expected = match *number {
                    "1E+125" => format!("1{zeros}"),
                    "1e-130" => format!("0.{}1", "0".repeat(129)),
                    _ => (*expected).to_owned(),
                };
                assert_eq!((found, reason), (expected, None), "{number} as {}", types[*column]);
            }
            Err(expected) => {
                assert_eq!(found, "", "{number} as {}", types[*column]);
                assert!(reason.is_some_and(|reason| reason.contains(expected)), "{number}: {reason:?}");
            }
        }
    }
}

/// Lines that are no items, or items of which a column cannot hold a value, between good ones.
#[test]
fn whatever_is_no_item_is_rejected_by_itself() {
    let (dir, postgres) = with_victim();
    dir.write(
        "p.toml",
        r#"
        table = "t"
        key = ["id"]
        [columns]
        id = { type = "text" }
        u = { type = "uuid" }
        d = { type = "date" }
        j = { type = "jsonb" }
        again = { type = "jsonb", from = "j" }
        b = { type = "bytea" }
        "#,
    );
    // Each under a key of its own, so that none is merged into another.
    let ids = Cell::new(0);
    let item = |attributes: &str| {
        ids.set(ids.get() + 1);
        format!(r#"{{"Item":{{"id":{{"S":"{:02}"}},{attributes}}}}}"#, ids.get()).into_bytes()
    };
    let nested =
        |levels: usize| item(&format!(r#""j":{}{{"S":"x"}}{}"#, r#"{"L":["#.repeat(levels), "]}".repeat(levels)));
    let large = |bytes: usize| item(&format!(r#""j":{{"S":"{}"}}"#, "x".repeat(bytes)));
    let bad: Vec<(Vec<u8>, &str)> = vec![
        (b"\xff\xfe{\"Item\":{}}".to_vec(), "not UTF-8 at column 1"),
        (b"{\"Item\":{\"id\":{\"S\":\"\xed\xa0\x80\"}}}".to_vec(), "not UTF-8 at column 21"),
        (b"{\"Item\":{\"id\":{\"S\":\"\xc0\xaf\"}}}".to_vec(), "not UTF-8 at column 21"),
        (b"\xef\xbb\xbf{\"Item\":{}}".to_vec(), "not JSON at column 1: a value was expected"),
        (b"\x1f\x8b\x08\0\0\0".to_vec(), "not UTF-8 at column 2"),
        (item(r#""j":{"S":"\ud800"}"#), "a lone surrogate stands in a string"),
        (item(r#""j":{"S":"\udc00\ud800"}"#), "a lone surrogate stands in a string"),
        (item(r#""j":{"S":"\u0000"}"#), "attribute `j` holds the character U+0000"),
        (item("\"j\":{\"S\":\"\0\"}"), "a control character stands in a string"),
        (nested(200), "nested deeper than 128 levels"),
        (nested(100_000), "nested deeper than 128 levels"),
        ("[".repeat(100_000).into_bytes(), "nested deeper than 128 levels"),
        ("{\"a\":".repeat(100_000).into_bytes(), "nested deeper than 128 levels"),
        (item(r#""u":{"S":"no uuid"}"#), "invalid input syntax for type uuid"),
        (item(&format!(r#""u":{{"S":"{}"}}"#, "u".repeat(400_000))), "invalid input syntax for type uuid"),
        (item(r#""d":{"S":"0000-00-00"}"#), "date/time field value out of range"),
        (item(r#""b":{"B":"?"}"#), "attribute `b` is not base64"),
        (item(r#""j":{"B":"\u0000"}"#), "attribute `j`: the value of B is not base64"),
        (item(&format!(r#""{0}":{{"S":"x"}},"{0}":{{"S":"y"}}"#, "long".repeat(20_000))), "the name comes twice"),
        (item(&format!(r#""j":{{"{}":"x"}}"#, "T".repeat(80_000))), "is not a type of DynamoDB"),
        (format!(r#"{{"Item":{{"id":{{"S":"{}"}}}}}}"#, noise(9_000)).into_bytes(), "index row"),
        (large(9 << 20), "the row is longer than 16 MiB"),
        (vec![1; 10 << 20], "not JSON at column 1: a value was expected"),
        (vec![0xff; 12 << 20], "not UTF-8 at column 1"),
    ];
    ids.set(96);
    let good = [large(7 << 20), nested(127), item(r#""none":{"NULL":true}"#)];
    let lines: Vec<_> = bad.iter().map(|(line, _)| line.clone()).chain(good).collect();
    export_of(&dir, &lines);

    let run = bash(&dir, &postgres, &load("p.toml")).run();

    run.exits(1);
    assert!(run.messages().lines().all(|line| line.len() < 4_000), "a message is of some length");
    let rejects = rejects(&dir);
    for (place, (line, expected)) in bad.iter().enumerate() {
        let reasons: Vec<_> = rejects.iter().filter(|(record, _)| *record == place as u64 + 1).collect();
        let line = String::from_utf8_lossy(&line[..line.len().min(100)]).into_owned();
        assert_eq!(reasons.len(), 1, "{line}");
        assert!(reasons[0].1.contains(expected) && reasons[0].1.len() < 2_000, "{line}: {:.300}", reasons[0].1);
    }
    assert_eq!(rejects.len(), bad.len());
    let sizes = "select id, length(j::text) from t order by id";
    // With the quotes; the brackets of every level around `"x"`.
    assert_eq!(postgres.query(sizes), format!("97|{}\n98|{}\n99|", (7 << 20) + 2, 127 * 2 + 3));
    victim_lives(&postgres);
}

/// Texts that no compression makes short.
fn noise(length: usize) -> String {
    let mut state = 1_u64;
    let letters = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'0' + u8::try_from((state >> 33) % 75).unwrap())
    });
    letters.filter(|letter| *letter != '\\').take(length).collect()
}

/// Rows of a stranger's hand, without any profile.
#[test]
fn pg_upsert_alone_rejects_what_its_table_cannot_hold() {
    let (dir, postgres) = with_victim();
    postgres.query("create table t (id bigint primary key, t text, j jsonb)");
    let bad: Vec<(Vec<u8>, &str)> = vec![
        (b"{\"id\":1,\"t\":\"\xff\"}".to_vec(), "not UTF-8"),
        (br#"{"id":10,"t":"\u0000"}"#.to_vec(), "cannot hold U+0000"),
        (br#"{"id":11,"j":{"a":"\u0000"}}"#.to_vec(), "unsupported Unicode escape sequence"),
        (br#"{"id":12,"t":"\ud800"}"#.to_vec(), "unexpected end of hex escape"),
        (br#"{"id":13,"j":"\ud800"}"#.to_vec(), "invalid input syntax for type json"),
        (br#"{"id":99999999999999999999}"#.to_vec(), "out of range for type bigint"),
        (br#"{"id":1e5000}"#.to_vec(), "invalid input syntax for type bigint"),
        (br#"{"id":null}"#.to_vec(), "the key's column `id` is null"),
        (br#"{"id":[]}"#.to_vec(), "invalid input syntax for type bigint"),
        (br#"{"$file":{"event":"end","key":"x"}"#.to_vec(), "not JSON"),
        (b"{\"id\":1".to_vec(), "not JSON"),
        (
            format!(r#"{{"id":20,"j":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000)).into_bytes(),
            "stack depth limit",
        ),
        (format!(r#"{{"id":1,"{}":1}}"#, "x".repeat(80_000)).into_bytes(), "is not a column"),
    ];
    let mut input = b"{\"id\":7,\"t\":\"first\",\"j\":{}}\n".to_vec();
    for (line, _) in &bad {
        input.extend_from_slice(line);
        input.push(b'\n');
    }
    input.extend(b"{\"$id\":\"9\",\"id\":9}\n{\"id\":8,\"t\":\"last\"}\n");

    let line = "pg-upsert --table t --key id --rejects rejects.jsonl --max-rejects 100%";
    let run = bash(&dir, &postgres, line).stdin(input).run();

    run.exits(1).stderr_has("`$id` is not a column of the table and is ignored");
    let reasons: Vec<_> = rejects(&dir).into_iter().map(|(_, reason)| reason).collect();
    for (_, expected) in &bad {
        assert!(reasons.iter().any(|reason| reason.contains(expected)), "{expected}");
    }
    assert_eq!(reasons.len(), bad.len(), "{reasons:#?}");
    assert_eq!(postgres.query("select id, t from t order by id"), "7|first\n8|last\n9|");
    victim_lives(&postgres);
}
