//! The same rows, folded in Rust and by the program into a table, give the same: whatever the policy, the values, the
//! batches, the connections, and the rows that the table refuses.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;

use harness::postgres::{PASSWORD, Postgres, USER};
use harness::{Dir, program};
use pg::statement::{Dialect, Statements};
use postgres::{Client, NoTls};
use profile::{Merger, Row, Schema};
use proptest::prelude::*;
use serde_json::{Map, Value};

const SCHEMA: &str = r#"{"v":1,"profile":"fold","hash":"h","options":{},"schema":null,"table":"fold","key":["id"],"columns":[
    {"name":"id","type":"bigint","merge":"keep"},
    {"name":"kept","type":"text","merge":"keep"},
    {"name":"replaced","type":"text","merge":"replace"},
    {"name":"known","type":"integer","merge":"coalesce"},
    {"name":"merged","type":"jsonb","merge":"jsonb_merge"},
    {"name":"texts","type":"jsonb","merge":"jsonb_merge_text"},
    {"name":"variants","type":"jsonb","merge":{"keyed_array":{"key":["f","p"],"prefer":"path"}}},
    {"name":"tags","type":"jsonb","merge":{"keyed_array":{"key":["m","n"],"prefer":"x"}}},
    {"name":"marks","type":"jsonb","merge":{"keyed_array":{"key":["n"]}}},
    {"name":"path","type":"text"},
    {"name":"width","type":"integer"},
    {"name":"alone","type":"text"},
    {"name":"version","type":"bigint","merge":"greatest"},
    {"name":"state","type":"text","merge":{"newest":{"by":"version"}}},
    {"name":"edition","type":"text","merge":"greatest"},
    {"name":"title","type":"text","merge":{"newest":{"by":"edition"}}},
    {"name":"most","type":"numeric","merge":"greatest"},
    {"name":"first","type":"timestamptz","merge":"least"},
    {"name":"lowest","type":"text","merge":"least"},
    {"name":"words","type":"text[]","merge":"union"},
    {"name":"sizes","type":"numeric[]","merge":"union"},
    {"name":"any","type":"jsonb","merge":"union"}
  ],"groups":[
    {"columns":["path","width"],"preferred_side":{"in":"variants","where":{"f":"85"},"has":"path"}},
    {"columns":["alone"],"preferred_side":{"in":"tags","where":{"n":"it's","m":"true"},"has":"x"}}
  ]}"#;

/// A small generator (`SplitMix64`), so that a failure names all that is needed to repeat it.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }

    fn one_of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[usize::try_from(self.below(all.len() as u64)).unwrap()]
    }

    fn text(&mut self) -> String {
        self.one_of(&["null", "\"\"", "\"a\"", "\"b\\\\c\"", "\"\u{e9}\\n\""]).to_owned()
    }

    fn object(&mut self) -> String {
        if self.below(8) == 0 {
            return self.one_of(&["null", "[]", "7", "\"\"", "{}", "[1,{\"a\":2}]"]).to_owned();
        }
        let mut pairs = BTreeMap::new();
        for _ in 0..self.below(4) {
            let value = self.one_of(&["\"\"", "\"x\"", "\"y\"", "null", "1.50", "[\"\"]", "{\"\":\"\"}", "true"]);
            pairs.insert(self.one_of(&["en", "de", "fr", "it's", "a\\\"b"]), value);
        }
        let pairs: Vec<_> = pairs.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
        format!("{{{}}}", pairs.join(","))
    }

    /// An array of objects with these keys and values, unordered and with keys twice.
    fn array(&mut self, fields: &[(&str, &[&str])]) -> String {
        if self.below(10) == 0 {
            return self.one_of(&["null", "{}", "\"x\"", "[]", "[7,[],\"s\",null]"]).to_owned();
        }
        let mut elements = Vec::new();
        for _ in 0..self.one_of(&["0", "1", "1", "1", "2", "3", "6"]).parse::<u64>().unwrap() {
            let mut pairs = Vec::new();
            for (name, values) in fields {
                if self.below(6) > 0 {
                    pairs.push(format!("\"{name}\":{}", self.one_of(values)));
                }
            }
            elements.push(format!("{{{}}}", pairs.join(",")));
        }
        format!("[{}]", elements.join(","))
    }

    /// A set as an item has it: unordered, with elements twice and numbers in several spellings.
    fn set(&mut self, elements: &[&str]) -> String {
        if self.below(6) == 0 {
            return "null".to_owned();
        }
        let elements: Vec<_> = (0..self.below(5)).map(|_| self.one_of(elements)).collect();
        format!("[{}]", elements.join(","))
    }

    fn row(&mut self) -> Vec<String> {
        const WORDS: [&str; 6] = ["\"a\"", "\"B\"", "\"\u{e4}\"", "\"\\u0061\"", "\"\"", "null"];
        // Two of them are one instant.
        const TIMES: [&str; 6] = [
            "null",
            "\"2024-01-31T23:59:59.5+01:00\"",
            "\"2024-01-31 22:59:59.50Z\"",
            "\"2024-01-31T22:59:59.4999994Z\"",
            "\"2024-02-01T00:00+0100\"",
            "\"2024-01-31T20:30:00-03\"",
        ];
        const NUMBERS: [&str; 8] = ["1", "1.0", "10", "9", "-2.50", "-25e-1", "12345678901234567890.5", "null"];
        const SCALARS: [&str; 9] = ["1", "1.00", "\"1\"", "true", "false", "null", "\"B\"", "\"a\"", "10"];
        let variants: [(&str, &[&str]); 3] = [
            ("f", &["85", "72", "\"85\"", "8.50", "null", "85e0", "9", "\"\u{e4}\"", "true"]),
            ("p", &["1", "2", "10", "null", "\"x\""]),
            ("path", &["null", "\"p\"", "\"q\"", "\"\""]),
        ];
        let tags: [(&str, &[&str]); 3] =
            [("n", &["\"it's\"", "\"B\"", "\"a\"", "1"]), ("m", &["true", "false"]), ("x", &["1", "2", "null"])];
        vec![
            (self.below(5) + 1).to_string(),
            self.text(),
            self.text(),
            self.one_of(&["null", "1", "2"]).to_owned(),
            self.object(),
            self.object(),
            self.array(&variants),
            self.array(&tags),
            self.array(&tags),
            self.text(),
            self.one_of(&["null", "640", "2560"]).to_owned(),
            self.text(),
            self.one_of(&["null", "9", "10", "-1"]).to_owned(),
            self.text(),
            self.one_of(&WORDS).to_owned(),
            self.text(),
            self.one_of(&NUMBERS).to_owned(),
            self.one_of(&TIMES).to_owned(),
            self.one_of(&WORDS).to_owned(),
            self.set(&WORDS),
            self.set(&NUMBERS),
            self.set(&SCALARS),
        ]
    }
}

#[test]
fn rust_and_sql_agree_whatever_the_batches() {
    let schema: Schema = serde_json::from_str(SCHEMA).unwrap();
    let merger = Merger::new(&schema).unwrap();
    let postgres = Postgres::new();
    let dir = Dir::new();
    let definitions: Vec<_> =
        schema.columns.iter().map(|column| format!("\"{}\" {}", column.name, column.ty.sql())).collect();

    for seed in 0..30 {
        let mut random = Random(seed);
        postgres.query(&format!(
            "drop table if exists fold; create table fold ({}, primary key (id), check (not words @> '{{refused}}'))",
            definitions.join(", ")
        ));
        let object = |cells: &[String]| {
            let pairs = schema.columns.iter().zip(cells).map(|(column, cell)| format!("\"{}\":{cell}", column.name));
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(","))
        };
        let mut stream = format!("{{\"$schema\":{}}}\n", SCHEMA.replace('\n', ""));
        let mut expected: BTreeMap<String, Row> = BTreeMap::new();
        // What somebody else wrote need not be in the order of its keys.
        for _ in 0..3 {
            let cells = random.row();
            let theirs = pg::quote_text(&object(&cells));
            postgres.query(&format!(
                "insert into fold select * from jsonb_populate_record(null::fold, {theirs}) on conflict do nothing"
            ));
            expected.entry(cells[0].clone()).or_insert_with(|| Row::of(cells.iter().map(String::as_str)));
        }
        let mut refused = 0;
        // Few rows show what the next merge would mend.
        for _ in 0..[6, 12, 100][usize::try_from(seed).unwrap() % 3] {
            let mut cells = random.row();
            // A set keeps what a row has brought, so that the row is refused with whatever it is merged.
            let is_refused = seed % 2 == 1 && random.below(8) == 0;
            if is_refused {
                cells[schema.index("words").unwrap()] = "[\"refused\"]".to_owned();
                refused += 1;
            }
            stream.push_str(&object(&cells));
            stream.push('\n');
            if is_refused {
                continue;
            }
            let row = merger.normalize(Row::of(cells.iter().map(String::as_str)).view());
            let row = expected.get(&cells[0]).map_or(row.clone(), |before| merger.merge(before, &row));
            expected.insert(cells[0].clone(), row);
        }
        let batch = (random.below(30) + 1).to_string();
        let gather = (random.below(30) + 1).to_string();
        let connections = (random.below(3) + 1).to_string();

        let run = program!("pg-upsert")
            .in_dir(&dir)
            .envs(postgres.envs())
            .args(["-b", &batch, "--gather", &gather, "--connections", &connections])
            .stdin(&stream)
            .run();

        run.exits(i32::from(refused > 0)).stderr_has(&format!(" + {refused} rejected"));
        for (id, row) in expected {
            // PostgreSQL writes both: `85e0` is 85 to it, and times have its offset.
            let pairs =
                schema.columns.iter().zip(row.cells()).map(|(column, cell)| format!("\"{}\":{cell}", column.name));
            let wanted = format!("{{{}}}", pairs.collect::<Vec<_>>().join(","));
            let wanted = postgres
                .query(&format!("select to_jsonb(jsonb_populate_record(null::fold, {}))", pg::quote_text(&wanted)));
            let found = postgres.query(&format!("select to_jsonb(fold) from fold where id = {id}"));
            assert_eq!(
                found, wanted,
                "{id} of seed {seed}, batches of {batch}, {gather} gathered, {connections} connections"
            );
        }
    }
}

fn schema() -> Schema {
    serde_json::from_str(SCHEMA).unwrap()
}

/// Rows with one key, as a program reads them.
fn rows(random: &mut Random, merger: &Merger, count: usize) -> Vec<Row> {
    let row = |_| {
        let cells = random.row();
        merger.normalize(Row::of(std::iter::once("1").chain(cells[1..].iter().map(String::as_str))).view())
    };
    (0..count).map(row).collect()
}

fn fold(merger: &Merger, rows: &[Row]) -> Row {
    merger.fold(&rows.iter().map(Row::view).collect::<Vec<_>>())
}

/// Of the values of [`Random::row`].
const EQUAL: [[&str; 2]; 3] =
    [["1", "1.0"], ["-2.50", "-25e-1"], ["\"2024-01-31T23:59:59.5+01:00\"", "\"2024-01-31 22:59:59.50Z\""]];

/// The second row, changed wherever the table of docs/profiles.md says that the order of the two matters; in the rest it may not show.
fn apart(schema: &Schema, merger: &Merger, a: &Row, b: &Row) -> Row {
    let value = |cell: &str| serde_json::from_str::<Value>(cell).unwrap();
    let version = schema.index("version").unwrap();
    // An array as it is alone: one element for each key.
    let keyed = |index: usize, elements: &[Value]| {
        let array = Value::from(elements.to_vec()).to_string();
        let cells = (0..schema.columns.len()).map(|at| if at == index { array.as_str() } else { "null" });
        value(merger.normalize(Row::of(cells).view()).cell(index)).as_array().unwrap().len()
    };
    let cell = |index: usize| {
        let (one, other) = (a.cell(index), b.cell(index));
        match (schema.columns[index].name.as_str(), value(one), value(other)) {
            // No key is in both.
            ("merged" | "texts", Value::Object(one), Value::Object(other)) => {
                let other = other.into_iter().filter(|(key, _)| !one.contains_key(key));
                Value::from(other.collect::<Map<_, _>>()).to_string()
            }
            // The same of elements.
            ("variants" | "tags" | "marks", Value::Array(one), Value::Array(other)) => {
                let is_new =
                    |element: &Value| keyed(index, &[&one[..], std::slice::from_ref(element)].concat()) > one.len();
                Value::from(other.into_iter().filter(is_new).collect::<Vec<_>>()).to_string()
            }
            // One value in two spellings: the first one stays.
            ("most" | "first", ..) if EQUAL.iter().any(|equal| equal.contains(&one) && equal.contains(&other)) => {
                one.to_owned()
            }
            // Another version, for which a value may be another one too.
            ("state", ..) if a.cell(version) != b.cell(version) => other.to_owned(),
            // One of them is none, and nothing gives way to something; or the policy commutes.
            ("known", Value::Null, _)
            | ("merged" | "texts", Value::Object(_), _)
            | ("variants" | "tags" | "marks", Value::Array(_), _)
            | ("version" | "edition" | "most" | "first" | "lowest" | "words" | "sizes" | "any", ..) => other.to_owned(),
            _ => one.to_owned(),
        }
    };
    let cells: Vec<_> = (0..schema.columns.len()).map(cell).collect();
    Row::of(cells.iter().map(String::as_str))
}

/// The cells as values: the order of an object's keys is no matter.
fn values(row: &Row) -> Vec<Value> {
    row.cells().map(|cell| serde_json::from_str(cell).unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn in_the_stream_it_does_not_matter_where_a_fold_is_parted(seed: u64, count in 2..8_usize, cut in any::<prop::sample::Index>()) {
        let merger = Merger::new(&schema()).unwrap();
        let rows = rows(&mut Random(seed), &merger, count);
        let cut = 1 + cut.index(count - 1);
        let parts = [fold(&merger, &rows[..cut]), fold(&merger, &rows[cut..])];
        prop_assert_eq!(fold(&merger, &parts), fold(&merger, &rows));
    }

    #[test]
    fn in_the_stream_a_stretch_that_comes_again_changes_nothing(seed: u64, count in 1..8_usize, from in any::<prop::sample::Index>()) {
        let merger = Merger::new(&schema()).unwrap();
        let rows = rows(&mut Random(seed), &merger, count);
        let again = [&rows[..], &rows[from.index(count)..]].concat();
        prop_assert_eq!(values(&fold(&merger, &again)), values(&fold(&merger, &rows)));
    }

    #[test]
    fn in_the_stream_the_order_matters_only_where_it_is_said_to(seed: u64) {
        let (schema, merger) = (schema(), Merger::new(&schema()).unwrap());
        let rows = rows(&mut Random(seed), &merger, 2);
        let (a, b) = (rows[0].clone(), apart(&schema, &merger, &rows[0], &rows[1]));
        prop_assert_eq!(values(&fold(&merger, &[a.clone(), b.clone()])), values(&fold(&merger, &[b, a])));
    }
}

/// Tables in which each row is a case of its own, merged by the statements that the program runs.
struct Cases {
    client: Client,
    schema: Schema,
    tables: u32,
}

impl Cases {
    fn new(postgres: &Postgres) -> Self {
        let settings = format!(
            "host=127.0.0.1 port={} user={USER} password={PASSWORD} dbname={}",
            postgres.port(),
            postgres.database()
        );
        Self { client: Client::connect(&settings, NoTls).unwrap(), schema: schema(), tables: 0 }
    }

    /// A table in which these rows were merged one after the other, for each case.
    fn merged(&mut self, rows: &[&[Row]]) -> String {
        self.tables += 1;
        let table = format!("cases_{}", self.tables);
        let schema = Schema { table: table.clone(), ..self.schema.clone() };
        let statements = Statements::of(&schema, 0, &Dialect::default());
        self.client.batch_execute(&statements.create).unwrap();
        for rows in rows {
            let objects: Vec<_> = rows
                .iter()
                .enumerate()
                .map(|(id, row)| {
                    let cells = schema.columns.iter().zip(row.cells()).skip(1);
                    let pairs = cells.map(|(column, cell)| format!(",\"{}\":{cell}", column.name));
                    format!("{{\"id\":{id}{}}}", pairs.collect::<String>())
                })
                .collect();
            let rows = pg::quote_text(&format!("[{}]", objects.join(",")));
            let fill = format!(
                "insert into pg_temp.ddb_pipe_stage_0 select 0, * from jsonb_populate_recordset(null::{table}, {rows})"
            );
            let Statements { prologue, merge, .. } = &statements;
            self.client.batch_execute(&format!("begin; {prologue}; {fill}; {merge}; commit")).unwrap();
        }
        table
    }

    /// The rows of a table as rows of a program.
    fn rows(&mut self, table: &str) -> Vec<Row> {
        let names =
            self.schema.columns.iter().map(|column| format!("coalesce(to_jsonb(\"{}\"), 'null')::text", column.name));
        let names = names.collect::<Vec<_>>().join(", ");
        let rows = self.client.query(&format!("select {names} from {table} order by id"), &[]).unwrap();
        rows.iter().map(|row| Row::of((0..row.len()).map(|at| row.get(at)))).collect()
    }

    #[track_caller]
    fn same(&mut self, one: &str, other: &str, what: &str) {
        let differ = format!(
            "select to_jsonb(a)::text, to_jsonb(b)::text from {one} a full join {other} b using (id)
             where to_jsonb(a) is distinct from to_jsonb(b) order by id limit 1"
        );
        let differ = self.client.query_opt(&differ, &[]).unwrap();
        let differ = differ.map(|row| (row.get::<_, Option<String>>(0), row.get::<_, Option<String>>(1)));
        assert_eq!(differ, None, "{what}");
    }
}

/// Each pair of values is compared here and by PostgreSQL. A later row replaces an earlier one unless its version is less,
/// which says of two values which is the greater one, and whether they are equal.
#[test]
fn values_are_in_the_order_in_which_postgresql_has_them() {
    let postgres = Postgres::new();
    for (ty, values) in [
        ("text", &["", " ", "a", "B", "b", "ab", "a b", "\u{e4}", "\u{ff5e}", "\u{1f600}", "1", "10", "9"][..]),
        ("boolean", &["true", "false"]),
        ("bigint", &["-9223372036854775808", "-10", "-9", "0", "9", "10", "9223372036854775807"]),
        (
            "numeric",
            &["-1e30", "-1.5", "-1.05", "-1", "-1.0", "-1e-130", "0", "0.0", "1e-130", "0.9", "1", "1.00", "10"],
        ),
        ("numeric", &["12345678901234567890123456789012345678", "12345678901234567890123456789012345679", "1.1e37"]),
        (
            "timestamptz",
            &[
                "2024-02-29T23:59:59.5+01:00",
                "2024-02-29 22:59:59.500000Z",
                "2024-02-29T22:59:59.4999995Z",
                "2024-02-29T22:59:59.4999994z",
                "2024-02-29t22:59:59.5000005 +00",
                "2024-02-29T22:59:59.5000015Z",
                "2024-02-29T22:59:59.999999999Z",
                "2024-02-29T22:59:60Z",
                "2024-03-01T00:30+0130",
                "2024-02-29T20:00:00-03",
                "1969-12-31T23:59:59.9Z",
                "1970-01-01T00:00:00Z",
                "0001-01-01T00:00:00+14:59",
                "9999-12-31T23:59:59.999999-15:59",
            ],
        ),
        (
            "timestamp",
            &[
                "2024-02-29T23:59:59.5+01:00",
                "2024-02-29 23:59:59.5",
                "2024-03-01",
                "2024-03-01T00:00Z",
                "2024-02-29T23:59:60",
            ],
        ),
        ("date", &["2024-02-29", "2024-02-29T23:59:59.9999999+01:00", "2024-03-01", "0001-01-01", "1969-12-31"]),
        (
            "uuid",
            &[
                "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
                "A0EEBC999C0B4EF8BB6D6BB9BD380A11",
                "{9fffffff-9c0b-4ef8-bb6d-6bb9bd380a11}",
            ],
        ),
        ("bytea", &["\\x", "\\x00", "\\x00ff", "\\x00FF", "\\x0100", "\\xff"]),
    ] {
        let schema = format!(
            r#"{{"v":1,"profile":"p","hash":"h","table":"t","key":["id"],"columns":[{{"name":"id","type":"bigint"}},
            {{"name":"version","type":"{ty}","merge":"greatest"}},{{"name":"v","type":"text","merge":{{"newest":{{"by":"version"}}}}}}]}}"#
        );
        let merger = Merger::new(&serde_json::from_str(&schema).unwrap()).unwrap();
        let row = |value: &str, v| Row::of(["1", &*serde_json::to_string(value).unwrap(), v]);
        let texts: Vec<_> = values.iter().map(|value| pg::quote_text(value)).collect();
        let collation = if ty == "text" { "collate \"C\"" } else { "" };
        let greater = postgres.query(&format!(
            "set timezone = 'Asia/Tokyo'; select string_agg(case when a::{ty} {collation} > b::{ty} then 'a' else 'b' end, '' order by i, j)
             from unnest(array[{0}]) with ordinality as a(a, i), unnest(array[{0}]) with ordinality as b(b, j)",
            texts.join(",")
        ));
        let greater = greater.lines().last().unwrap();
        assert_eq!(greater.len(), values.len() * values.len());
        let pairs = values.iter().flat_map(|a| values.iter().map(move |b| (a, b)));
        for ((a, b), expected) in pairs.zip(greater.chars()) {
            let newest = merger.merge(&row(a, "\"a\""), &row(b, "\"b\""));
            assert_eq!(newest.cell(2), format!("\"{expected}\""), "{ty}: {a} and {b}");
            if expected == 'a' {
                // The row has the greater version, by which it stays.
                let stays = merger.merge(&newest, &row(b, "\"later\""));
                assert_eq!(stays.cell(2), "\"a\"", "{ty}: {a} and {b}");
            }
        }
    }
}

#[test]
fn in_sql_the_same_laws_hold_and_both_give_the_same() {
    const COUNT: usize = 1_500;
    let (postgres, merger) = (Postgres::new(), Merger::new(&schema()).unwrap());
    let mut cases = Cases::new(&postgres);
    let mut random = Random(7);
    let all: Vec<_> = (0..COUNT).map(|_| rows(&mut random, &merger, 3)).collect();
    let nth = |place: usize| all.iter().map(|rows| rows[place].clone()).collect::<Vec<_>>();
    let (a, b, c) = (nth(0), nth(1), nth(2));

    let one_by_one = cases.merged(&[&a, &b, &c]);

    let later = cases.merged(&[&b, &c]);
    let later = cases.rows(&later);
    let parted = cases.merged(&[&a, &later]);
    cases.same(&parted, &one_by_one, "where a fold is parted");
    for again in [&[&a[..], &b, &c, &c][..], &[&a, &b, &c, &b, &c], &[&a, &b, &c, &a, &b, &c]] {
        let again = cases.merged(again);
        cases.same(&again, &one_by_one, "a stretch that comes again");
    }
    let folded: Vec<_> = all.iter().map(|rows| fold(&merger, rows)).collect();
    let folded = cases.merged(&[&folded]);
    cases.same(&folded, &one_by_one, "the stream and SQL");

    let schema = schema();
    let b: Vec<_> = a.iter().zip(&b).map(|(a, b)| apart(&schema, &merger, a, b)).collect();
    let (one, other) = (cases.merged(&[&a, &b]), cases.merged(&[&b, &a]));
    cases.same(&one, &other, "the order, where it is not said to matter");
}
