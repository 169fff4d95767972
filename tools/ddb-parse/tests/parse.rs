//! `ddb-parse` as its users meet it: through its command line and its output. The rules of the pictures profile are
//! tested in shared/profile.

use harness::{Dir, Program, program};

/// A profile that merges: notes of one person under their id.
const PEOPLE: &str = r#"
table = "people"
key = ["id"]
max_id = "id"

[[filter]]
attribute = "gone"
exists = false

[columns]
id = { type = "bigint" }
name = { type = "text", merge = "coalesce" }
notes = { type = "jsonb", from = "notes", merge = "jsonb_merge" }
"#;

fn people(dir: &Dir) -> Program {
    dir.write("profiles/people.toml", PEOPLE);
    program!("ddb-parse").in_dir(dir).args(["-p", "people"])
}

fn data_lines(output: &str) -> Vec<&str> {
    output.lines().filter(|line| !line.starts_with("{\"$")).collect()
}

#[test]
fn without_a_profile_items_are_plain_json() {
    let input = r#"{"$file":{"event":"begin","v":1,"key":"x","encoding":"dynamodb-json","skip":0}}
{"Item":{"Id":{"N":"12345678901234567890.5"},"Tags":{"SS":["a"]},"B":{"B":"AA=="}}}
{"$file":{"event":"end","key":"x","records":1,"rejected":0}}
"#;

    let run = program!("ddb-parse").stdin(input).run();

    run.exits(0).stdout("{\"Id\":12345678901234567890.5,\"Tags\":[\"a\"],\"B\":\"AA==\"}\n").stderr("");
}

#[test]
fn without_a_profile_a_bad_line_is_said_with_its_number() {
    let run = program!("ddb-parse").stdin("{\"Item\":{}}\nnonsense\n{\"Item\":{}}\n").run();

    run.exits(1)
        .stdout("{}\n{}\n")
        .stderr_has("WARN [ddb-parse] rejected: line 2: not JSON at column 1: a value was expected");
}

#[test]
fn rows_stand_between_markers_that_count_every_record() {
    let dir = Dir::new();
    let input = r#"{"$source":{"v":1,"source":"s","files":1}}
{"$file":{"event":"begin","v":1,"key":"x","number":1,"encoding":"dynamodb-json","bytes":9,"items":6,"skip":0,"version":null}}
{"Item":{"id":{"N":"1"},"name":{"S":"Ann"}}}
{"Item":{"id":{"N":"2"},"gone":{"BOOL":true}}}
{"Item":{"id":{"N":"1"},"notes":{"M":{"a":{"N":"1"}}}}}
{"Item":{"name":{"S":"Bob"}}}
{"$reject":{"key":"x","record":5,"stage":"ddb-cat","reason":"r","data":{}}}
{"Item":{"id":{"N":"3"}}}
{"$file":{"event":"end","key":"x","records":6,"rejected":0}}
"#;

    let run = people(&dir).stdin(input).run();

    run.exits(1);
    let lines: Vec<_> = run.output().lines().collect();
    assert_eq!(lines[0], input.lines().next().unwrap());
    assert!(lines[1].starts_with(r#"{"$schema":{"v":1,"profile":"people","hash":""#), "{}", lines[1]);
    assert_eq!(lines[2], input.lines().nth(1).unwrap());
    assert_eq!(
        lines[3],
        r#"{"$reject":{"key":"x","record":4,"stage":"ddb-parse","reason":"attribute `id` is missing","data":{"Item":{"name":{"S":"Bob"}}}}}"#
    );
    assert_eq!(lines[4], r#"{"$reject":{"key":"x","record":5,"stage":"ddb-cat","reason":"r","data":{}}}"#);
    assert_eq!(lines[5], r#"{"id":1,"name":"Ann","notes":{"a":1},"$records":[1,3]}"#);
    assert_eq!(lines[6], r#"{"id":3,"name":null,"notes":null,"$records":[6]}"#);
    assert_eq!(
        lines[7],
        r#"{"$file":{"event":"end","key":"x","records":6,"filtered":1,"merged":1,"rows":2,"rejected":2}}"#
    );
    assert_eq!(lines.len(), 8);
}

#[test]
fn a_full_window_is_written_and_marked_with_absolute_record_numbers() {
    let dir = Dir::new();
    let mut input = r#"{"$file":{"event":"begin","v":1,"key":"x","encoding":"dynamodb-json","skip":10}}"#.to_owned();
    for id in [1, 1, 2, 1, 3] {
        input = format!("{input}\n{{\"Item\":{{\"id\":{{\"N\":\"{id}\"}}}}}}");
    }
    input += "\n";

    let run = people(&dir).args(["--window", "2"]).stdin(input).run();

    run.exits(0);
    let lines: Vec<_> = run.output().lines().skip(2).collect();
    let expected = [
        r#"{"id":1,"name":null,"notes":null,"$records":[11,12]}"#,
        r#"{"id":2,"name":null,"notes":null,"$records":[13]}"#,
        r#"{"$file":{"event":"mark","key":"x","records":13,"filtered":0,"rejected":0}}"#,
        r#"{"id":1,"name":null,"notes":null,"$records":[14]}"#,
        r#"{"id":3,"name":null,"notes":null,"$records":[15]}"#,
        r#"{"$file":{"event":"mark","key":"x","records":15,"filtered":0,"rejected":0}}"#,
    ];
    assert_eq!(lines, expected);
}

#[test]
fn when_the_writer_dies_the_whole_lines_are_written_and_the_torn_one_is_not() {
    let dir = Dir::new();
    let input = r#"{"$file":{"event":"begin","v":1,"key":"x","encoding":"dynamodb-json","skip":0}}
{"Item":{"id":{"N":"1"}}}
{"Item":{"id":{"N":"22"}"#;

    let run = people(&dir).stdin(input).run();

    run.exits(0).stderr_has("the last line has no end: the program before this one died; 24 bytes are ignored");
    let lines: Vec<_> = run.output().lines().skip(2).collect();
    let mark = r#"{"$file":{"event":"mark","key":"x","records":1,"filtered":0,"rejected":0}}"#;
    assert_eq!(lines, [r#"{"id":1,"name":null,"notes":null,"$records":[1]}"#, mark]);
}

#[test]
fn failures_stops_and_unknown_markers_are_passed_on() {
    let dir = Dir::new();
    let input = r#"{"$file":{"event":"begin","v":1,"key":"x","encoding":"dynamodb-json","skip":0}}
{"Item":{"id":{"N":"1"}}}
{"$file":{"event":"fail","key":"x","reason":"cut off"}}
{"$later":{"a":1}}
{"$stop":{"signal":15}}
"#;

    let run = people(&dir).stdin(input).run();

    run.exits(0);
    let lines: Vec<_> = run.output().lines().skip(2).collect();
    let row = r#"{"id":1,"name":null,"notes":null,"$records":[1]}"#;
    assert_eq!(lines, [&[row][..], &input.lines().skip(2).collect::<Vec<_>>()].concat());
}

#[test]
fn a_stream_of_a_later_version_is_not_read() {
    for marker in [
        r#"{"$source":{"v":2,"source":"."}}"#,
        r#"{"$file":{"event":"begin","v":2,"key":"a","encoding":"dynamodb-json"}}"#,
    ] {
        let run = program!("ddb-parse").args(["--markers"]).stdin(format!("{marker}\n")).run();
        run.exits(65)
            .stderr_has("the stream is of version 2, and this program knows version 1")
            .stderr_has("--version");
    }
}

#[test]
fn data_cannot_forge_a_marker() {
    let run = program!("ddb-parse")
        .args(["--markers"])
        .stdin("{\"Item\":{\"$file\":{\"M\":{\"event\":{\"S\":\"end\"}}}}}\n{\"Item\":{\"a\":{\"S\":\"x\"},\"$file\":{\"S\":\"y\"}}}\n")
        .run();

    run.exits(1);
    assert_eq!(data_lines(run.output()), [r#"{"a":"x","$file":"y"}"#]);
    assert!(run.output().starts_with(
        r#"{"$reject":{"key":null,"record":1,"stage":"ddb-parse","reason":"every attribute's name begins"#
    ));
}

#[test]
fn a_line_that_begins_as_a_marker_and_is_none_is_not_dropped_in_silence() {
    let input = "{\"$file\":{\"event\":\"end\"\n{\"Item\":{\"a\":{\"S\":\"x\"}}}\n";
    let run = program!("ddb-parse").stdin(input).run();
    run.exits(1).stdout("{\"a\":\"x\"}\n");
    run.stderr_has("rejected: line 1: not JSON at column 24: `,` or `}` was expected");

    // Among markers it is none, and no later program could know it.
    let begin = r#"{"$file":{"event":"begin","v":1,"key":"x","encoding":"dynamodb-json","skip":0}}"#;
    let run = program!("ddb-parse").args(["--markers"]).stdin(format!("{begin}\n{input}")).run();
    run.exits(1).stdout_has("{\"$reject\":{\"key\":\"x\",\"record\":1,");
}

#[test]
fn a_key_without_a_dollar_is_written_first() {
    let input = r#"{"$id":1,"$type":"x","a":{"$b":[1.50]},"c":2}
{"$id":2}
{"a":1,"$id":3}
{"$schema":"https://json-schema.org","\u0024id":4,"d":null}
"#;
    let run = program!("ddb-parse").args(["--json"]).stdin(input).run();
    run.exits(1).stdout(
        "{\"a\":{\"$b\":[1.50]},\"$id\":1,\"$type\":\"x\",\"c\":2}\n{\"a\":1,\"$id\":3}\n{\"d\":null,\"$schema\":\"https://json-schema.org\",\"\\u0024id\":4}\n",
    );
    run.stderr_has("rejected: line 2: every attribute's name begins with `$`, so its line would look like a marker");

    let input = "{\"Item\":{\"$id\":{\"S\":\"x\"},\"a\":{\"N\":\"1\"}}}\n{\"Item\":{}}\n";
    program!("ddb-parse").stdin(input).run().exits(0).stdout("{\"a\":1,\"$id\":\"x\"}\n{}\n");
}

#[test]
fn what_stands_where_a_record_should_is_passed_on_or_rejected() {
    let begin = r#"{"$file":{"event":"begin","v":1,"key":"x","encoding":"dynamodb-json","skip":0}}"#;
    // The next program may know it; if there is none, nobody would.
    let unknown = format!("{begin}\n{{\"$later\":{{}}}}\n");
    program!("ddb-parse").args(["--markers"]).stdin(&unknown).run().exits(0).stdout(&unknown);
    let run = program!("ddb-parse").stdin(&unknown).run();
    run.exits(1).stdout("").stderr_has("rejected: `x`, line 1: neither a record nor a marker that this version knows");

    // Before the first marker it is a record, and a bad one.
    program!("ddb-parse").stdin("{\"$later\":{}}\n").run().exits(1).stderr_has("rejected: line 1: ");

    for marker in
        [r#"{"$table":"t"}"#, r#"{"$delete":{"id":1}}"#, r#"{"$file":{"event":"mark","key":"x","records":1}}"#]
    {
        let run = program!("ddb-parse").args(["--json"]).stdin(format!("{marker}\n")).run();
        run.exits(1).stdout("").stderr_has("rejected: line 1: a marker of a stream of rows, but records are read here");
    }
}

#[test]
fn an_empty_profile_is_called_empty() {
    let dir = Dir::new();
    dir.write("x.toml", "\n");
    let run = program!("ddb-parse").in_dir(&dir).args(["-p", "./x.toml"]).stdin("").run();
    run.exits(2).stderr_has("the profile `./x.toml` is empty").stderr_has("`ddb-infer -o FILE`");
}

#[test]
fn a_stream_says_how_much_sql_there_is_for_a_new_table_and_never_which() {
    let dir = Dir::new();
    dir.write("x.toml", "table = \"x\"\nkey = [\"id\"]\non_create = [\"select 1\", \"select 2\"]\n[columns]\nid = { type = \"text\" }\n");
    let run = program!("ddb-parse").in_dir(&dir).args(["-p", "./x.toml"]).stdin("").run();
    run.exits(0).stdout_has("\"on_create\":2").never_says("select");
}

#[test]
fn an_epoch_before_the_year_1_is_written_as_postgresql_reads_it() {
    let dir = Dir::new();
    let profile = "table = \"t\"\nkey = [\"id\"]\n[columns]\nid = { type = \"text\" }\n\
                   s = { type = \"timestamptz\", merge = \"greatest\", convert = [\"epoch_seconds\"] }\n\
                   ms = { type = \"timestamptz\", convert = [\"epoch_milliseconds\"] }\n";
    dir.write("x.toml", profile);
    let input = r#"{"Item":{"id":{"S":"a"},"s":{"N":"-63517780800"},"ms":{"N":"253402300800000"}}}
{"Item":{"id":{"S":"b"},"s":{"N":"-999999999999"}}}
"#;
    let run = program!("ddb-parse").in_dir(&dir).args(["-p", "./x.toml", "--no-markers"]).stdin(input).run();
    run.exits(1).stdout("{\"id\":\"a\",\"s\":\"0044-03-15T12:00:00Z BC\",\"ms\":\"10000-01-01T00:00:00Z\"}\n");
    run.stderr_has("line 2: attribute `s` is `-999999999999`, which is no time");
}

#[test]
fn max_id_filters_and_belongs_to_what_the_rows_are() {
    let dir = Dir::new();
    let input =
        "{\"Item\":{\"id\":{\"N\":\"4\"}}}\n{\"Item\":{\"id\":{\"N\":\"5\"}}}\n{\"Item\":{\"id\":{\"S\":\"x\"}}}\n";

    let run = people(&dir).args(["--max-id", "5"]).stdin(input).run();

    run.exits(1).stdout_has(r#""options":{"max_id":5}"#).stdout_has("attribute `id` is not a number");
    assert_eq!(data_lines(run.output()), [r#"{"id":4,"name":null,"notes":null,"$records":[1]}"#]);
}

#[test]
fn a_value_takes_the_types_that_it_accepts_and_no_other() {
    let dir = Dir::new();
    let profile = "table = \"t\"\nkey = [\"id\"]\n[values]\nid = { type = \"text\", accept = [\"N\"] }\n\
                   n = { type = \"integer\", accept = [\"S\"] }\n[columns]\nid = { type = \"text\" }\n\
                   n = { type = \"integer\" }\n";
    dir.write("profiles/t.toml", profile);
    let input = "{\"Item\":{\"id\":{\"N\":\"1\"},\"n\":{\"S\":\"2\"}}}\n{\"Item\":{\"id\":{\"S\":\"1\"}}}\n\
                 {\"Item\":{\"id\":{\"N\":\"1\"},\"n\":{\"N\":\"2\"}}}\n";

    let run = program!("ddb-parse").in_dir(&dir).args(["-p", "t", "--no-markers"]).stdin(input).run();

    run.exits(1).stdout("{\"id\":\"1\",\"n\":2}\n");
    run.stderr_has("line 2: attribute `id` is S, but N is wanted");
    run.stderr_has("line 3: attribute `n` is N, but S is wanted");
}

#[test]
fn csv_tells_null_from_an_empty_text() {
    let dir = Dir::new();
    let input = r#"{"Item":{"id":{"N":"1"},"name":{"S":""},"notes":{"M":{"a":{"S":"x,\"y\""}}}}}
{"Item":{"id":{"N":"2"},"name":{"S":"line\nbreak"}}}
"#;

    let run = people(&dir).args(["--to", "csv"]).stdin(input).run();

    run.exits(0).stdout("id,name,notes\n1,\"\",\"{\"\"a\"\":\"\"x,\\\"\"y\\\"\"\"\"}\"\n2,\"line\nbreak\",\n");
}

#[test]
fn every_column_type_of_the_example_is_made() {
    let orders = concat!(env!("CARGO_MANIFEST_DIR"), "/../../profiles/orders.toml");
    let input = r#"{"Item":{"OrderId":{"S":"o-1"},"Status":{"S":" Paid "},"Note":{"S":""},"OrderNumber":{"N":"9223372036854775807"},"Quantity":{"S":"3"},"Priority":{"N":"-5"},"Total":{"N":"12345678901234567890.123456789012345678"},"Weight":{"N":"1.5E-7"},"Score":{"N":"77.80"},"Paid":{"BOOL":true},"CustomerId":{"S":"6ba7b810-9dad-11d1-80b4-00c04fd430c8"},"AccountName":{"S":"7"},"Signature":{"B":"AAH/"},"OrderedAt":{"S":"2024-01-15T10:30:00Z"},"ShippedAt":{"N":"1680109764"},"SeenAt":{"N":"1680109764123"},"Due":{"S":"2024-02-01"},"LocalTime":{"S":"2024-01-15 10:30:00"},"Tags":{"SS":["b","a"]},"Sizes":{"NS":["3","2.50"]},"Keys":{"BS":["AA=="]},"Address":{"M":{"Country":{"S":"NL"},"Lines":{"L":[{"S":"1"},{"NULL":true}]}}},"Lines":{"L":[{"M":{"n":{"N":"1"}}}]},"Anything":{"NS":["1"]}}}
{"Item":{"OrderId":{"S":"o-2"},"OrderNumber":{"N":"2"},"Deleted":{"BOOL":true}}}
{"Item":{"OrderId":{"S":"o-3"},"Priority":{"N":"70000"}}}
{"Item":{"OrderId":{"S":"o-4"},"Tags":{"L":[{"S":"x"},{"NULL":true}]},"Note":{"S":"a\u0000b"}}}
{"Item":{"OrderId":{"S":"o-5"}}}
"#;

    let run = program!("ddb-parse").args(["-p", orders]).stdin(input).run();

    run.exits(1)
        .stdout_has("attribute `Priority` is 70000, which is outside -32768 to 32767")
        .stdout_has("attribute `Note` holds the character U+0000, which PostgreSQL cannot store");
    let rows = data_lines(run.output());
    let row: serde_json::Value = serde_json::from_str(rows[0]).unwrap();
    let cell = |name: &str| row[name].to_string();
    for (name, expected) in [
        ("order_id", "\"o-1\""),
        ("status", "\"paid\""),
        ("note", "\"\""),
        ("country", "\"Netherlands\""),
        ("label", "\"9223372036854775807/ Paid \""),
        ("number", "9223372036854775807"),
        ("quantity", "3"),
        ("priority", "-5"),
        ("total", "12345678901234567890.123456789012345678"),
        ("score", "77.80"),
        ("paid", "true"),
        ("customer", "\"6ba7b810-9dad-11d1-80b4-00c04fd430c8\""),
        // uuid.uuid5(uuid.NAMESPACE_DNS, "7") of Python
        ("account", "\"a9f96b98-dd44-5216-ab0d-dbfc6b262edf\""),
        ("signature", "\"\\\\x0001ff\""),
        ("ordered_at", "\"2024-01-15T10:30:00Z\""),
        // date -u -d @1680109764 +%FT%TZ
        ("shipped_at", "\"2023-03-29T17:09:24Z\""),
        ("seen_at", "\"2023-03-29T17:09:24.123Z\""),
        ("due", "\"2024-02-01\""),
        ("tags", "[\"b\",\"a\"]"),
        ("sizes", "[3,2.50]"),
        ("keys", "[\"\\\\x00\"]"),
        ("address", r#"{"Country":"NL","Lines":["1",null]}"#),
        ("lines", r#"[{"n":1}]"#),
        ("raw", "[1]"),
        ("source", "\"dynamodb\""),
    ] {
        assert_eq!(cell(name), expected, "{name}");
    }
    // The parser of this test writes exponents its own way; the digits stand in the line as they came.
    assert!(rows[0].contains(r#","weight":1.5E-7,"#), "{}", rows[0]);
    let bare: serde_json::Value = serde_json::from_str(rows[1]).unwrap();
    let bare = ["order_id", "status", "quantity", "tags", "label"].map(|name| bare[name].to_string());
    assert_eq!(bare, ["\"o-5\"", "\"new\"", "1", "null", "null"]);
    assert_eq!(rows.len(), 2);
}

#[test]
fn a_profile_s_mistakes_are_named_with_their_line() {
    let dir = Dir::new();
    for (text, message) in [
        (
            "table = \"t\"\nkey = [\"x\"]\n[columns]\nid = { type = \"bigint\" }\n",
            "line 2, column 7: key: there is no column `x`",
        ),
        (
            "table = \"t\"\nkey = [\"id\"]\n[columns]\nid = { type = \"big int\" }\n",
            "`big int` is not the name of a PostgreSQL type",
        ),
        ("table = \"t\"\nkey = [\"id\"]\n[columns]\nid = { typ = \"bigint\" }\n", "unknown field `typ`"),
        (
            "table = \"t\"\nkey = [\"id\"]\n\n[columns]\nid = { from = \"x\" }\n",
            "line 5, column 1: columns.id: `type` is missing",
        ),
        (
            "table = \"t\"\nkey = [\"id\"]\n[columns]\nid = { type = \"text\", convert = [{ lookup = \"l\" }] }\n",
            "line 4, column 1: columns.id: there is no table `l` among the lookups",
        ),
        (
            "table = \"t\"\nkey = [\"id\"]\n[columns]\nid = { type = \"text\" }\na = { type = \"jsonb\" }\nb = { type = \"text\" }\n[[groups]]\ncolumns = [\"b\"]\npreferred_side = { in = \"a\", where = { f = 1 }, has = \"p\" }\n",
            "line 7, column 1: groups: `a` must be merged as a keyed_array",
        ),
        (
            "table = \"t\"\nkey = [\"$id\"]\n[columns]\n\"$id\" = { type = \"text\" }\n",
            "a column's name cannot begin with `$`",
        ),
    ] {
        dir.write("profiles/p.toml", text);

        let run = program!("ddb-parse").in_dir(&dir).args(["-p", "p"]).run();

        run.exits(2).stdout("").stderr_has("ddb-parse: `profiles/p.toml`").stderr_has(message);
    }
    let run = program!("ddb-parse").in_dir(&dir).args(["-p", "nowhere"]).run();
    run.exits(2)
        .stderr_has("there is no profile `nowhere`: looked for `profiles/nowhere.toml`")
        .stderr_has("`/etc/ddb-pipe/profiles/nowhere.toml`")
        .stderr_has("hint: give a path");
}

#[test]
fn a_mistyped_name_of_a_profile_is_answered_with_the_one_that_may_be_meant() {
    let dir = Dir::new();
    dir.write("profiles/orders.toml", "");
    dir.write("mine/pictures.toml", "");

    let run = program!("ddb-parse").in_dir(&dir).env("DDB_PIPE_PROFILES", "mine").args(["-p", "pictuers"]).run();

    run.exits(2).stderr_has("there is no profile `pictuers`").stderr_has("hint: did you mean `pictures`?");
}

/// Of 30,000 records, which are chunks for several threads, every 101st is no item and every 7th has gone.
#[test]
fn rows_stand_in_the_order_of_their_records_on_however_many_threads_they_are_made() {
    let dir = Dir::new();
    let begin = r#"{"$file":{"event":"begin","v":1,"key":"x","encoding":"dynamodb-json","skip":0}}"#;
    let end = r#"{"$file":{"event":"end","key":"x","records":30000,"rejected":0}}"#;
    let record = |id: usize| match id {
        id if id % 101 == 0 => format!(r#"{{"Item":{{"id":{{"N":"x{id}"}}}}}}"#),
        id if id % 7 == 0 => format!(r#"{{"Item":{{"id":{{"N":"{id}"}},"gone":{{"BOOL":true}}}}}}"#),
        id => format!(r#"{{"Item":{{"id":{{"N":"{id}"}},"name":{{"S":"{}"}}}}}}"#, "n".repeat(id % 90)),
    };
    let records: Vec<_> = (1..=30_000).map(record).collect();
    let input = format!("{begin}\n{}\n{end}\n", records.join("\n"));

    for jobs in ["1", "2", "5"] {
        let run = people(&dir).args(["--jobs", jobs, "--window", "1"]).stdin(input.as_str()).run();

        run.exits(1);
        let (mut next, mut rejected, mut filtered, mut rows) = (1, 0, 0, 0);
        for line in run.output().lines().skip(2) {
            while next % 7 == 0 && next % 101 != 0 {
                (next, filtered) = (next + 1, filtered + 1);
            }
            if line.starts_with(r#"{"$reject":"#) {
                let expected = format!(r#"{{"$reject":{{"key":"x","record":{next},"stage":"ddb-parse","#);
                assert!(line.starts_with(&expected) && line.contains(&format!(r#""data":{}"#, record(next))), "{line}");
                (next, rejected) = (next + 1, rejected + 1);
            } else if line.starts_with(r#"{"id":"#) {
                let name = "n".repeat(next % 90);
                assert_eq!(line, format!(r#"{{"id":{next},"name":"{name}","notes":null,"$records":[{next}]}}"#));
                (next, rows) = (next + 1, rows + 1);
            }
        }
        assert_eq!((next, rejected, filtered, rows), (30_001, 297, 4_243, 25_460), "{jobs} threads");
        let end = r#""records":30000,"filtered":4243,"merged":0,"rows":25460,"rejected":297}}"#;
        run.stdout_has(&format!(r#"{{"$file":{{"event":"end","key":"x",{end}"#));
    }
}

#[test]
fn a_reader_that_has_had_enough_is_no_error() {
    let run = program!("ddb-parse").stdin("{\"Item\":{\"a\":{\"S\":\"x\"}}}\n".repeat(200_000)).run_until_first_line();

    run.exits(0).stderr("");
}
