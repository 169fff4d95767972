//! The data of the experiments: small exports with everything in them that a run has to count.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use fastrand::Rng;
use harness::export::Export;

/// Data files in an export.
pub const FILES: usize = 5;

/// Records in each: so many that not all of them are in the pipes at once.
const RECORDS: usize = 6000;

/// An export, and the profile that loads it.
#[derive(Clone)]
pub struct Collection {
    /// The profile, and its table.
    pub name: &'static str,
    /// The columns that hold the time of the load.
    pub clock: &'static [&'static str],
    /// The key's column.
    pub key: &'static str,
    /// A column that is not the key's.
    pub column: &'static str,
    /// That column's type.
    pub column_type: &'static str,
    /// The lines of each file.
    pub files: Vec<Vec<String>>,
    /// The keys of the good items in each.
    pub keys: Vec<BTreeSet<String>>,
    /// How many records no table can take.
    pub bad: usize,
}

impl Collection {
    /// Items of which several make one row, in random order; in any order they come to the same rows.
    pub fn pictures() -> Self {
        let mut rng = Rng::with_seed(1);
        let mut made = Made::default();
        let pictures = 5000;
        for _ in 0..FILES {
            made.begin();
            for _ in 0..RECORDS {
                let (id, language, format) = (rng.u32(1..=pictures), rng.u32(0..6), rng.usize(0..4));
                match rng.u32(0..3000) {
                    0 => made.bad("{\"Item\":{\"pictureId\":".to_owned()),
                    1 => made.bad(r#"{"Item":{"pictureId":{"N":"7"}}}"#.to_owned()),
                    2 => made.bad(picture(id, language, format, r"a NUL \u0000 in it")),
                    _ => {
                        let caption = if (id + language) % 5 == 0 { "" } else { "caption \\u00e9 \\\"q\\\"" };
                        made.good(&id.to_string(), picture(id, language, format, caption));
                    }
                }
            }
        }
        made.collection("pictures", &["createdAt", "updatedAt"], ("id", "taxonomy", "jsonb"))
    }

    /// Items that are rows, some of which come again with other values, in any file.
    pub fn orders() -> Self {
        let mut rng = Rng::with_seed(2);
        let mut made = Made::default();
        for file in 0..FILES {
            made.begin();
            for record in 0..RECORDS {
                let id = format!("o-{}", rng.u32(0..24_000));
                let number = file * RECORDS + record;
                match rng.u32(0..2400) {
                    0 => made.bad("no JSON at all".to_owned()),
                    1 => made.bad(order(&format!("x-{number}"), number, "paid", r#","Quantity":{"N":"1.5"}"#)),
                    // What PostgreSQL alone finds: the status is too long, the day is not in the calendar.
                    2 => made.bad(order(&format!("x-{number}"), number, &"long".repeat(9), "")),
                    3 => made.bad(order(&format!("x-{number}"), number, "paid", r#","Due":{"S":"2023-02-30"}"#)),
                    4..120 => made.other(order(&id, number, "paid", r#","Deleted":{"BOOL":true}"#)),
                    _ => made.good(&id, order(&id, number, "paid", r#","Due":{"S":"2024-02-29"}"#)),
                }
            }
        }
        made.collection("orders", &["loaded_at"], ("order_id", "total", "numeric"))
    }

    /// How many rows there are when everything is loaded.
    pub fn rows(&self) -> usize {
        self.keys.iter().flatten().collect::<BTreeSet<_>>().len()
    }

    /// As DynamoDB would export it.
    pub fn export(&self) -> Export {
        self.files.iter().fold(empty(), Export::file)
    }
}

fn empty() -> Export {
    Export::new("Laboratory", "01700000000000-abcdef12")
}

#[derive(Default)]
struct Made {
    files: Vec<Vec<String>>,
    keys: Vec<BTreeSet<String>>,
    bad: usize,
}

impl Made {
    fn begin(&mut self) {
        self.files.push(Vec::new());
        self.keys.push(BTreeSet::new());
    }

    fn other(&mut self, line: String) {
        self.files.last_mut().expect("a file was begun").push(line);
    }

    fn good(&mut self, key: &str, line: String) {
        self.keys.last_mut().expect("a file was begun").insert(key.to_owned());
        self.other(line);
    }

    fn bad(&mut self, line: String) {
        self.bad += 1;
        self.other(line);
    }

    fn collection(
        self,
        name: &'static str,
        clock: &'static [&'static str],
        (key, column, column_type): (&'static str, &'static str, &'static str),
    ) -> Collection {
        let Self { files, keys, bad } = self;
        Collection { name, clock, key, column, column_type, files, keys, bad }
    }
}

fn picture(id: u32, language: u32, format: usize, caption: &str) -> String {
    let format = [85, 72, 68, 1][format];
    let mut line = format!(r#"{{"Item":{{"id":{{"S":"{id}-{language}-{format}"}},"pictureId":{{"N":"{id}"}}"#);
    let mut add = |text: std::fmt::Arguments<'_>| line.write_fmt(text).expect("a string can be written");
    add(format_args!(r#","languageId":{{"N":"{language}"}},"url":{{"S":"/img/{}/{id}.png"}}"#, id % 9));
    add(format_args!(r#","caption":{{"S":"{caption}"}},"agencyId":{{"N":"{}"}}"#, id % 7));
    add(format_args!(r#","formatId":{{"N":"{format}"}}"#));
    if !(id + format).is_multiple_of(3) {
        add(format_args!(r#","formatPictureId":{{"N":"{}"}}"#, id * 100 + language));
        add(format_args!(r#","originalWidth":{{"N":"{}"}},"originalHeight":{{"N":"3"}}"#, 1000 + id));
    }
    line + "}}"
}

fn order(id: &str, number: usize, status: &str, more: &str) -> String {
    format!(
        r#"{{"Item":{{"OrderId":{{"S":"{id}"}},"OrderNumber":{{"N":"{number}"}},"Status":{{"S":"{status}"}},"Total":{{"N":"{number}.{number:018}"}},"Tags":{{"SS":["a","b{number}"]}},"Address":{{"M":{{"Country":{{"S":"NL"}},"n":{{"N":"{number}"}}}}}}{more}}}}}"#
    )
}
