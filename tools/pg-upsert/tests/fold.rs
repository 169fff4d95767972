//! The same rows, folded in Rust and by the program into a table, give the same: whatever the policy, the values, the
//! batches and the connections.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;

use harness::postgres::Postgres;
use harness::{Dir, program};
use profile::{Merger, Row, Schema};

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
    {"name":"alone","type":"text"}
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

    fn row(&mut self) -> Vec<String> {
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
            "drop table if exists fold; create table fold ({}, primary key (id))",
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
        // Few rows show what the next merge would mend.
        for _ in 0..[6, 12, 100][usize::try_from(seed).unwrap() % 3] {
            let cells = random.row();
            stream.push_str(&object(&cells));
            stream.push('\n');
            let row = merger.normalize(Row::of(cells.iter().map(String::as_str)));
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

        run.exits(0);
        for (id, row) in expected {
            // PostgreSQL writes both: `85e0` is 85 to it.
            let pairs =
                schema.columns.iter().zip(row.cells()).map(|(column, cell)| format!("\"{}\":{cell}", column.name));
            let wanted = format!("{{{}}}", pairs.collect::<Vec<_>>().join(","));
            let wanted = postgres.query(&format!("select {}::jsonb", pg::quote_text(&wanted)));
            let found = postgres.query(&format!("select to_jsonb(fold) from fold where id = {id}"));
            assert_eq!(
                found, wanted,
                "{id} of seed {seed}, batches of {batch}, {gather} gathered, {connections} connections"
            );
        }
    }
}
