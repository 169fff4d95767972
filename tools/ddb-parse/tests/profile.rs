//! `--check` and `--explain`: what is said of a profile, by itself, with a database, and with an item.

use harness::postgres::{PASSWORD, Postgres, USER};
use harness::{Dir, Finished, Program, program};

const PROFILE: &str = r##"
[values]
number = { from = "PK", convert = [{ split = { by = "#", part = 2 } }], required = true }
[[filter]]
attribute = "Deleted"
not_equals = true
[[table]]
name = "orders"
when = [{ attribute = "PK", begins_with = "o#" }]
key = ["id"]
[table.columns]
id = { type = "bigint", from = "number" }
status = { type = "text", from = "Status", convert = ["lower"], default = "new" }
at = { type = "timestamptz", from = "Date", on_failure = "null" }
rest = { type = "jsonb", rest = true }
[[table]]
name = "lines"
parent = "orders"
each = "Lines"
key = ["id", "line"]
[table.columns]
id = { type = "bigint", from = "number" }
line = { type = "integer", from = "$position" }
sku = { type = "text", from = "$element.sku" }
[[table]]
name = "users"
when = [{ any = [{ attribute = "PK", equals = "u" }, { attribute = "age", at_least = 18 }] }]
key = ["id"]
[table.columns]
id = { type = "text", from = "PK" }
"##;

fn parse(dir: &Dir, option: &str) -> Program {
    dir.write("p.toml", PROFILE);
    program!("ddb-parse").in_dir(dir).args([option, "-p", "./p.toml"])
}

fn explain(item: &str) -> Finished {
    parse(&Dir::new(), "--explain").stdin(format!("{item}\n")).run()
}

/// A line, without the blanks that align it.
fn line(run: &Finished, begins: &str) -> String {
    let lines = run.output().lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.into_iter().find(|line| line.starts_with(begins)).unwrap_or_default()
}

#[test]
fn a_profile_is_checked_by_itself() {
    let dir = Dir::new();
    let run = parse(&dir, "--check").run();
    run.exits(0).stdout_has("table `orders`: 4 columns, key id\ntable `lines`: 3 columns, key id, line\n");
    run.stdout_has("the profile `p` is right; no database is named, so none was looked at\n");

    dir.write("p.toml", PROFILE.replace("\"number\" }\nstatus", "\"numbr\", convrt = [] }\nstatus"));
    let run = program!("ddb-parse").in_dir(&dir).args(["--check", "-p", "./p.toml"]).run();
    run.exits(2).stdout("").stderr_has("line 12, column 41").stderr_has("did you mean `convert`?");
}

#[test]
fn a_profile_is_checked_against_a_database() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    let check = || parse(&dir, "--check").envs(postgres.envs()).run();

    check().exits(0).stdout_has("there is no table `orders` yet; `pg-upsert --create` makes it\n");
    let (port, name) = (postgres.port(), postgres.database());
    let url = format!("postgres://{USER}:{PASSWORD}@127.0.0.1:{port}/{name}?sslmode=disable");
    parse(&dir, "--check").env("DATABASE_URL", url).run().exits(0).stdout_has("there is no table `orders` yet");
    postgres.query("create table orders (id bigint, status text, at date, rest jsonb)");
    postgres.query("create table lines (id bigint, line int, sku text, primary key (id, line))");
    check()
        .exits(2)
        .stderr_has("the database does not take the rows of the profile `p`")
        .stderr_has("the column `at` of `orders`")
        .stderr_has("the table `orders` has no primary key or unique index over (\"id\") (alter table");
    postgres.query("alter table orders alter at type timestamptz using null");
    postgres.query("alter table orders add primary key (id)");
    check().exits(0).stdout_has("the profile `p` is right, for this database too\n");
}

#[test]
fn a_database_that_cannot_be_reached_is_no_good_profile() {
    let dir = Dir::new();
    let nobody = [("SERVER", "127.0.0.1"), ("PORT", "1"), ("PG_USER", "u"), ("DATABASE", "d"), ("DB_SSL", "false")];
    parse(&dir, "--check").envs(nobody).run().exits(69).stderr_has("127.0.0.1");
}

#[test]
fn every_column_of_an_item_is_explained() {
    let run = explain(
        r#"{"Item":{"PK":{"S":"o#12"},"Status":{"S":"SENT"},"Date":{"N":"5"},"Lines":{"L":[{"M":{"sku":{"S":"a"}}},{"M":{}}]},"x":{"N":"1"}}}"#,
    );
    run.exits(0).stdout_has("rows: 3\n");
    for (begins, expected) in [
        ("table `orders`", "table `orders`: yes, attribute `PK` begins with `o#`"),
        ("(number)", r#"(number) "12" attribute `PK` S "o#12", part 2 by `#` -> "12""#),
        ("id", r#"id bigint 12 value `number` "12""#),
        ("status", r#"status text "sent" attribute `Status` S "SENT", lower -> "sent""#),
        (
            "at",
            "at timestamp with time zone null attribute `Date` N 5 (on failure null): attribute `Date` is N, but S is wanted",
        ),
        ("rest", r#"rest jsonb {"Lines":[{"sku":"a"},{}],"x":1} what no other column takes"#),
        ("table `lines`", "table `lines`: elements in `Lines`: 2"),
        ("line ", "line integer 1 the element's position 1"),
        ("sku", r#"sku text "a" `sku` of the element S "a""#),
        (
            "table `users`",
            "table `users`: no, it does not hold that (attribute `PK` is `u` or attribute `age` is at least 18)",
        ),
    ] {
        assert_eq!(line(&run, begins), expected);
    }
    let run = explain(r#"{"Item":{"PK":{"S":"o#1"}}}"#);
    assert_eq!(line(&run, "status"), r#"status text "new" attribute `Status` is missing, so the default "new""#);
}

#[test]
fn a_record_of_a_change_is_explained() {
    let dir = Dir::new();
    dir.write(
        "c.toml",
        "table = \"c\"\nkey = [\"mail\"]\nversion = \"at\"\n[columns]\nmail = { type = \"text\" }\nat = { type = \"bigint\", from = \"$written\" }\n",
    );
    let explain = |images: &str| {
        let record =
            format!(r#"{{"Metadata":{{"WriteTimestampMicros":{{"N":"7"}}}},"Keys":{{"id":{{"S":"1"}}}}{images}}}"#);
        program!("ddb-parse").in_dir(&dir).args(["--explain", "-p", "./c.toml"]).stdin(record + "\n").run()
    };
    let run =
        explain(r#","OldImage":{"id":{"S":"1"},"mail":{"S":"a@x"}},"NewImage":{"id":{"S":"1"},"mail":{"S":"b@x"}}"#);
    run.exits(0).stdout_has("rows: 1, deleted: 1\ntable `c`: no longer the row of mail \"a@x\"\ntable `c`: yes\n");
    assert_eq!(line(&run, "at"), "at bigint 7 the time of the write 7");
    explain("").exits(0).stdout_has("rejected: which row of `c` the item was before is not known");
    // The stream says which view the export has, and how its records are written.
    let stream = [
        r#"{"$source":{"v":1,"source":".","view":"NEW_AND_OLD_IMAGES","files":1}}"#,
        r#"{"$file":{"event":"begin","v":1,"key":"a","encoding":"dynamodb-json"}}"#,
        r#"{"Metadata":{"WriteTimestampMicros":{"N":"7"}},"Keys":{"id":{"S":"1"}},"NewImage":{"mail":{"S":"a@x"}}}"#,
        r#"{"$file":{"event":"begin","v":1,"key":"b","encoding":"json"}}"#,
        r#"{"mail":"b@x"}"#,
    ];
    let run =
        program!("ddb-parse").in_dir(&dir).args(["--explain", "-p", "./c.toml"]).stdin(stream.join("\n") + "\n").run();
    run.exits(0).stdout_has("rows: 1, deleted: 0\n").stdout_has("b@x");
}

#[test]
fn what_is_left_out_or_rejected_is_explained() {
    explain(r#"{"Item":{"PK":{"S":"o#12"},"Deleted":{"BOOL":true}}}"#)
        .exits(0)
        .stdout("filtered out\nit does not hold that attribute `Deleted` is not `true`\n");
    let run = explain(r#"{"Item":{"PK":{"S":"o#twelve"}}}"#);
    run.exits(0).stdout_has("rejected: table `orders`: ");
    assert!(line(&run, "id bigint").starts_with("id bigint rejected: "), "{}", run.output());
    explain(r#"{"Item":{"PK":{"S":"z"}}}"#).exits(0).stdout_has("rejected: no table of the profile takes the item\n");
    explain("garbage").exits(1).stdout_has("rejected: ");
}
