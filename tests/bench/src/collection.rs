//! Seeded collections of any size: items as DynamoDB exports them, and beside them the rows that they come to, as CSV.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use fastrand::Rng;
use harness::export::Export;
use harness::gzip;
use serde::{Deserialize, Serialize};

/// Items in a data file.
const IN_A_FILE: usize = 62_500;

/// The exports' identifier.
const EXPORT: &str = "01700000000000-abcdef12";

/// Changes with what is made here, so that nothing older is measured.
const VERSION: u32 = 1;

const WORDS: [&str; 16] = [
    "river", "house", "old", "the", "of", "Straße", "view", "mountain", "a", "train", "in", "winter", "green", "café",
    "street", "light",
];

/// What kind of table it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A dozen mixed attributes, one row for each item.
    Orders,
    /// Several items make one row.
    Pictures,
    /// Sixty attributes.
    Wide,
    /// Three attributes.
    Tiny,
}

impl Kind {
    /// Its name, and its table's.
    pub fn name(self) -> &'static str {
        match self {
            Self::Orders => "orders",
            Self::Pictures => "pictures",
            Self::Wide => "wide",
            Self::Tiny => "tiny",
        }
    }

    /// The columns of its table in the order of the CSV, the key first; none for pictures, which have no ready-made rows.
    pub fn columns(self) -> Vec<(String, &'static str)> {
        let columns: &[_] = match self {
            Self::Orders => &[
                ("order_id", "text"),
                ("number", "bigint"),
                ("customer", "uuid"),
                ("status", "varchar(20)"),
                ("total", "numeric"),
                ("quantity", "integer"),
                ("weight", "double precision"),
                ("paid", "boolean"),
                ("ordered_at", "timestamptz"),
                ("due", "date"),
                ("country", "text"),
                ("tags", "text[]"),
                ("address", "jsonb"),
                ("note", "text"),
            ],
            Self::Tiny => &[("id", "bigint"), ("name", "text"), ("count", "bigint")],
            Self::Wide => {
                let rest = (1..60).map(|number| (format!("a{number:02}"), wide(number)));
                return std::iter::once(("id".to_owned(), "text")).chain(rest).collect();
            }
            Self::Pictures => &[],
        };
        columns.iter().map(|&(name, ty)| (name.to_owned(), ty)).collect()
    }
}

/// The type of one of the wide table's columns.
fn wide(number: usize) -> &'static str {
    ["text", "bigint", "numeric", "text", "boolean", "timestamptz"][number % 6]
}

/// In which order keys come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// In none, as DynamoDB's partitions have them.
    Random,
    /// Each after the one before.
    Sorted,
}

/// A collection that is to be made.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Make {
    kind: Kind,
    items: usize,
    order: Order,
    seed: u64,
}

impl Make {
    /// Makes it in that folder.
    pub fn make(self, dir: &Path) -> io::Result<()> {
        let unfinished = dir.with_extension("unfinished");
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished)?;
        }
        fs::create_dir_all(&unfinished)?;
        let mut rng = Rng::with_seed(self.seed);
        match self.kind {
            Kind::Pictures => pictures(&unfinished, self.items, &mut rng)?,
            kind => rows(&unfinished, kind, self.items, self.order, &mut rng)?,
        }
        fs::rename(unfinished, dir)
    }
}

/// A collection on disk.
#[derive(Clone, Debug)]
pub struct Collection {
    /// What it is.
    pub kind: Kind,
    dir: PathBuf,
}

impl Collection {
    /// The collection below that folder, which is made unless it is there. Another process makes it: what is resident
    /// here would count as memory of the programs that are begun here.
    pub fn find(dir: &Path, kind: Kind, items: usize, order: Order, seed: u64) -> io::Result<Self> {
        let name = format!("{}-{items}-{order:?}-{seed}-v{VERSION}", kind.name()).to_lowercase();
        let found = Self { kind, dir: dir.join(&name) };
        if !found.dir.exists() {
            eprintln!("making {name}");
            let mut maker = Command::new(std::env::current_exe()?);
            let make = Make { kind, items, order, seed };
            let status =
                maker.arg("--make").arg(serde_json::to_string(&make)?).arg("--data").arg(&found.dir).status()?;
            if !status.success() {
                return Err(io::Error::other(format!("{name} is not made")));
            }
        }
        Ok(found)
    }

    /// Its name on disk and in the bucket.
    pub fn name(&self) -> String {
        self.dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// The folder of the export.
    pub fn export(&self) -> PathBuf {
        self.dir.join("export")
    }

    /// Its data files.
    pub fn data_files(&self) -> io::Result<Vec<PathBuf>> {
        let data = self.export().join("AWSDynamoDB").join(EXPORT).join("data");
        let mut files = fs::read_dir(data)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        files.sort();
        Ok(files)
    }

    /// The rows as CSV.
    pub fn csv(&self) -> PathBuf {
        self.dir.join("rows.csv")
    }

    /// A file that is made of it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// Writes data files one after the other.
#[derive(Default)]
struct Files {
    done: Vec<(Vec<u8>, u64)>,
    lines: String,
    count: usize,
}

impl Files {
    fn add(&mut self, item: &str) {
        self.lines.push_str("{\"Item\":");
        self.lines.push_str(item);
        self.lines.push_str("}\n");
        self.count += 1;
        if self.count == IN_A_FILE {
            self.end();
        }
    }

    fn end(&mut self) {
        let (lines, count) = (std::mem::take(&mut self.lines), std::mem::take(&mut self.count));
        self.done.push((gzip(lines), count as u64));
    }

    fn write(mut self, dir: &Path, kind: Kind) -> io::Result<()> {
        if self.count > 0 {
            self.end();
        }
        let export = Export::new(kind.name(), EXPORT);
        let export = self.done.into_iter().fold(export, |export, (content, items)| export.file_of(content, items));
        for (key, content) in export.objects() {
            let path = dir.join("export").join(key);
            fs::create_dir_all(path.parent().unwrap_or(dir))?;
            fs::write(path, content)?;
        }
        Ok(())
    }
}

fn rows(dir: &Path, kind: Kind, items: usize, order: Order, rng: &mut Rng) -> io::Result<()> {
    let mut files = Files::default();
    let mut csv = BufWriter::new(File::create(dir.join("rows.csv"))?);
    let mut numbers: Vec<_> = (0..items).collect();
    if order == Order::Random {
        rng.shuffle(&mut numbers);
    }
    for number in numbers {
        let Line { item, row } = match kind {
            Kind::Orders => an_order(number, rng),
            Kind::Wide => a_wide_one(number, rng),
            _ => a_tiny_one(number, rng),
        };
        files.add(&(item + "}"));
        writeln!(csv, "{row}")?;
    }
    csv.flush()?;
    files.write(dir, kind)
}

/// An item and its row, in the making.
struct Line {
    item: String,
    row: String,
}

impl Line {
    fn new() -> Self {
        Self { item: "{".to_owned(), row: String::new() }
    }

    fn attribute(&mut self, name: &str, ty: &str, value: &str) {
        let comma = if self.item.len() > 1 { "," } else { "" };
        write!(self.item, "{comma}\"{name}\":{{\"{ty}\":{value}}}").expect("a string can be written");
    }

    fn text(&mut self, name: &str, text: &str) {
        self.attribute(name, "S", &serde_json::Value::from(text).to_string());
    }

    fn number(&mut self, name: &str, number: &str) {
        self.attribute(name, "N", &format!("\"{number}\""));
    }

    fn cell(&mut self, text: &str) {
        if !self.row.is_empty() {
            self.row.push(',');
        }
        if text.contains([',', '"', '\n']) {
            write!(self.row, "\"{}\"", text.replace('"', "\"\"")).expect("a string can be written");
        } else {
            self.row.push_str(text);
        }
    }
}

fn words(rng: &mut Rng, count: usize) -> String {
    let words: Vec<_> = (0..count).map(|_| WORDS[rng.usize(0..WORDS.len())]).collect();
    words.join(" ")
}

fn time(rng: &mut Rng) -> String {
    let (day, hour, minute) = (rng.u32(1..=28), rng.u32(0..24), rng.u32(0..60));
    format!(
        "{}-{:02}-{day:02}T{hour:02}:{minute:02}:{:02}.{:03}Z",
        rng.u32(2015..=2025),
        rng.u32(1..=12),
        rng.u32(0..60),
        rng.u32(0..1000)
    )
}

fn an_order(number: usize, rng: &mut Rng) -> Line {
    let order_id = format!("order-{number:010}");
    let customer = format!(
        "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
        rng.u32(..),
        rng.u16(..),
        rng.u16(..4096),
        rng.u16(..4096),
        rng.u64(..1 << 48)
    );
    let status = ["new", "paid", "shipped", "returned"][rng.usize(0..4)];
    let total = format!("{}.{:02}", rng.u32(1..10_000), rng.u32(0..100));
    let quantity = rng.u32(1..100).to_string();
    let weight = format!("{}.{}", rng.u32(0..100), rng.u32(1..10));
    let paid = rng.bool();
    let ordered_at = time(rng);
    let due = time(rng)[..10].to_owned();
    let country = ["DE", "FR", "NL", "PL"][rng.usize(0..4)];
    let tags: Vec<_> = (0..rng.usize(1..4)).map(|place| format!("tag{}", 10 * place + rng.usize(0..10))).collect();
    let (street, zip) = (words(rng, 2), rng.u32(10_000..99_999));
    let length = rng.usize(8..40);
    let mut note = words(rng, length);
    if rng.u32(0..20) == 0 {
        note.push_str(" \"as agreed\",\nnot later");
    }

    let mut line = Line::new();
    line.attribute("Paid", "BOOL", if paid { "true" } else { "false" });
    line.text("Note", &note);
    line.number("Total", &total);
    line.text("OrderId", &order_id);
    line.text("CustomerId", &customer);
    line.number("OrderNumber", &number.to_string());
    line.attribute("Tags", "SS", &serde_json::Value::from(tags.clone()).to_string());
    line.text("Status", status);
    line.number("Quantity", &quantity);
    line.number("Weight", &weight);
    line.text("OrderedAt", &ordered_at);
    line.text("Due", &due);
    line.text("Country", country);
    let address = format!(
        r#"{{"Street":{{"S":"{street}"}},"Zip":{{"N":"{zip}"}},"City":{{"S":"Köln"}},"Floors":{{"L":[{{"N":"1"}},{{"N":"2"}}]}}}}"#
    );
    line.attribute("Address", "M", &address);

    let (number, tags) = (number.to_string(), format!("{{{}}}", tags.join(",")));
    let address = format!(r#"{{"Street":"{street}","Zip":{zip},"City":"Köln","Floors":[1,2]}}"#);
    let paid = if paid { "t" } else { "f" };
    for cell in [
        &order_id,
        &number,
        &customer,
        status,
        &total,
        &quantity,
        &weight,
        paid,
        &ordered_at,
        &due,
        country,
        &tags,
        &address,
        &note,
    ] {
        line.cell(cell);
    }
    line
}

fn a_tiny_one(number: usize, rng: &mut Rng) -> Line {
    let mut line = Line::new();
    let (id, name, count) = (number.to_string(), words(rng, 2), rng.u32(..).to_string());
    line.number("id", &id);
    line.text("name", &name);
    line.number("count", &count);
    for cell in [&id, &name, &count] {
        line.cell(cell);
    }
    line
}

fn a_wide_one(number: usize, rng: &mut Rng) -> Line {
    let mut line = Line::new();
    let id = format!("wide-{number:010}");
    line.text("id", &id);
    line.cell(&id);
    for column in 1..60 {
        let name = format!("a{column:02}");
        let value = match wide(column) {
            "text" => words(rng, 3),
            "bigint" => rng.i64(..).to_string(),
            "numeric" => format!("{}.{:06}", rng.u32(..), rng.u32(..1_000_000)),
            "boolean" => rng.bool().to_string(),
            _ => time(rng),
        };
        match wide(column) {
            "bigint" | "numeric" => line.number(&name, &value),
            "boolean" => line.attribute(&name, "BOOL", &value),
            _ => line.text(&name, &value),
        }
        line.cell(&value);
    }
    line
}

/// Pictures in up to three languages and formats, each an item, in no order.
fn pictures(dir: &Path, items: usize, rng: &mut Rng) -> io::Result<()> {
    const LANGUAGES: [u32; 13] = [0, 1, 3, 4, 5, 6, 9, 11, 13, 14, 15, 16, 17];
    let mut lines = Vec::with_capacity(items);
    let mut picture = 0_u32;
    while lines.len() < items {
        picture += 1;
        let (languages, formats) = ([1, 2, 2, 3][rng.usize(0..4)], [1, 2, 3, 3][rng.usize(0..4)]);
        let (year, month, day) = (rng.u32(2010..=2025), rng.u32(1..=12), rng.u32(1..=28));
        let url = format!(
            "/img/{year}/{month:02}/{day:02}/{}.{}",
            picture * 7,
            ["jpg", "jpg", "png", "gif"][rng.usize(0..4)]
        );
        let (width, height, agency) = (rng.u32(500..=6000), rng.u32(500..=6000), rng.u32(1..=500));
        for language in rng.choose_multiple(LANGUAGES, languages) {
            let length = rng.usize(3..15);
            let caption = words(rng, length);
            for format in &[85, 72, 68][..formats] {
                let mut line = Line::new();
                line.text("id", &format!("{picture}-{language}-{format}"));
                line.number("pictureId", &picture.to_string());
                line.number("languageId", &language.to_string());
                line.text("url", &url);
                line.text("caption", &caption);
                line.number("agencyId", &agency.to_string());
                line.number("formatId", &format.to_string());
                line.number("formatPictureId", &format!("{picture}{format}"));
                line.number("x", "0");
                line.number("y", "0");
                if *format == 85 {
                    line.number("originalWidth", &width.to_string());
                    line.number("originalHeight", &height.to_string());
                }
                lines.push(line.item + "}");
            }
        }
    }
    lines.truncate(items);
    rng.shuffle(&mut lines);
    let mut files = Files::default();
    for line in &lines {
        files.add(line);
    }
    files.write(dir, Kind::Pictures)
}
