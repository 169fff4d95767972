//! What is measured, and the goals.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::collection::{Collection, Kind, Order};
use crate::measure::{self, Usage, median};
use crate::report::Goal::{AtLeast, AtMost};
use crate::report::Report;
use crate::world::{Load, World, profile};

/// Rows a second that `\copy` of the orders' rows reached where the predecessor reached 26,000 pictures items a second.
const FLOOR_THEN: f64 = 88_000.0;

/// How much is measured.
#[derive(Clone, Copy)]
pub struct Size {
    pub items: usize,
    pub rounds: usize,
    pub seed: u64,
    /// The collections of ten million items, too.
    pub long: bool,
}

struct Bench {
    size: Size,
    data: PathBuf,
    world: World,
    report: Report,
}

type Part = fn(&mut Bench) -> io::Result<()>;

/// Measures everything, or the parts with `only` in their name.
pub fn measure(size: Size, only: Option<&str>, programs: &Path, data: &Path) -> io::Result<Report> {
    fs::create_dir_all(data)?;
    let (programs, data) = (programs.canonicalize()?, data.canonicalize()?);
    let world = World::start(programs, data.join("run"))?;
    let mut bench = Bench { size, data, world, report: Report::default() };
    let parts: [(&str, Part); 8] = [
        ("load", Bench::load),
        ("reload", Bench::reload),
        ("pictures", Bench::pictures),
        ("others", Bench::others),
        ("rejects", Bench::rejects),
        ("programs", Bench::programs),
        ("instructions", Bench::instructions),
        ("memory", Bench::memory),
    ];
    for (name, part) in parts {
        if only.is_none_or(|only| name.contains(only)) {
            println!("\n{name}");
            part(&mut bench)?;
        }
    }
    Ok(bench.report)
}

/// Has the programs do what they do most: each kind of collection into a new table, and into a full one.
///
/// Nothing is measured. Programs that count how often they take which way do so then.
pub fn train(seed: u64, programs: &Path, data: &Path) -> io::Result<()> {
    fs::create_dir_all(data)?;
    let (programs, data) = (programs.canonicalize()?, data.canonicalize()?);
    let world = World::start(programs, data.join("run"))?;
    for (kind, items) in [(Kind::Orders, 30_000), (Kind::Wide, 6_000), (Kind::Tiny, 30_000), (Kind::Pictures, 60_000)] {
        let collection = Collection::find(&data, kind, items, Order::Random, seed)?;
        world.begin(None);
        world.migrate(&collection, true)?;
        // Of pictures there are no ready-made rows.
        if kind != Kind::Pictures {
            world.begin(None);
            world.create(kind, kind.name());
            world.floor(&collection, kind.name())?;
            world.migrate(&collection, false)?;
        }
    }
    Ok(())
}

/// Loads of one kind, in turns with others.
#[derive(Default)]
struct Loads(Vec<Load>);

impl Loads {
    fn median(&self, of: impl Fn(&Load) -> f64) -> f64 {
        median(self.0.iter().map(of).collect())
    }

    fn wall(&self) -> f64 {
        self.median(|load| load.usage.wall.as_secs_f64())
    }

    fn programs(&self) -> f64 {
        self.median(|load| load.usage.cpu().as_secs_f64())
    }

    fn server(&self) -> f64 {
        self.median(|load| load.server.as_secs_f64())
    }

    fn memory(&self, program: usize) -> f64 {
        self.median(|load| megabytes(load.usage.programs[program].memory))
    }
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn float(count: usize) -> f64 {
    count as f64
}

impl Bench {
    fn collection(&self, kind: Kind, items: usize, order: Order) -> io::Result<Collection> {
        Collection::find(&self.data, kind, items, order, self.size.seed)
    }

    /// Into an empty table, against `\copy` of ready-made CSV.
    fn empty_table(&mut self, collection: &Collection) -> io::Result<(Loads, Loads)> {
        let (kind, table) = (collection.kind, collection.kind.name());
        let (mut floor, mut pipeline) = (Loads::default(), Loads::default());
        for _ in 0..self.size.rounds {
            self.world.begin(None);
            self.world.create(kind, table);
            floor.0.push(self.world.floor(collection, table)?);

            self.world.begin(None);
            self.world.create(kind, table);
            pipeline.0.push(self.world.migrate(collection, false)?);
        }
        // What is measured has to be right.
        self.world.create(kind, "expected");
        self.world.floor(collection, "expected")?;
        self.same(table);
        Ok((floor, pipeline))
    }

    fn same(&self, table: &str) {
        let differ = format!("select count(*) from (table {table} except all table expected) as more");
        assert_eq!(self.world.sql(&differ), "0", "rows that differ from the ready-made ones");
        let counts = format!("select (select count(*) from {table}) - (select count(*) from expected)");
        assert_eq!(self.world.sql(&counts), "0", "rows more or less than the ready-made ones");
    }

    fn load(&mut self) -> io::Result<()> {
        let random = self.collection(Kind::Orders, self.size.items, Order::Random)?;
        let sorted = self.collection(Kind::Orders, self.size.items, Order::Sorted)?;
        self.world.serve(&[random.clone(), sorted.clone()])?;
        // In the order of the key PostgreSQL has so little to do that no share of it is asked for.
        for (name, collection, goal, share) in
            [("random", &random, 0.85, Some(AtMost(0.6))), ("sorted", &sorted, 1.1, None)]
        {
            let (floor, pipeline) = self.empty_table(collection)?;
            let name = format!("orders, empty table, {name} keys");
            self.report.add(format!("{name}: \\copy of CSV, s"), floor.wall(), None);
            self.report.add(format!("{name}: ddb-pipe, s"), pipeline.wall(), None);
            self.report.add(format!("{name}: ddb-pipe / \\copy, wall"), pipeline.wall() / floor.wall(), AtMost(goal));
            self.report.add(format!("{name}: PostgreSQL's CPU under \\copy, s"), floor.server(), None);
            self.report.add(format!("{name}: PostgreSQL's CPU under ddb-pipe, s"), pipeline.server(), None);
            let cpu = pipeline.programs() / pipeline.server();
            self.report.add(format!("{name}: programs' CPU / PostgreSQL's"), cpu, share);
            for (place, program) in ["ddb-list", "ddb-cat", "ddb-parse", "pg-upsert"].iter().enumerate().skip(1) {
                let cpu = pipeline.median(|load| load.usage.programs[place].cpu.as_secs_f64());
                self.report.add(format!("{name}: CPU of {program}, s"), cpu, None);
            }
        }
        Ok(())
    }

    fn reload(&mut self) -> io::Result<()> {
        let orders = self.collection(Kind::Orders, self.size.items, Order::Random)?;
        self.world.serve(std::slice::from_ref(&orders))?;
        self.world.begin(None);
        self.world.create(Kind::Orders, "orders");
        self.world.floor(&orders, "orders")?;
        self.world.keep("full_table");
        self.world.sql("delete from orders where number % 2 = 0");
        self.world.sql("vacuum full orders");
        self.world.keep("half_table");
        let mut walls = Vec::new();
        for (name, template) in [("full table", "full_table"), ("half-full table", "half_table")] {
            let (mut floor, mut pipeline) = (Loads::default(), Loads::default());
            for _ in 0..self.size.rounds {
                self.world.begin(Some(template));
                floor.0.push(self.world.staged_floor(&orders)?);
                self.world.begin(Some(template));
                pipeline.0.push(self.world.migrate(&orders, false)?);
            }
            self.world.create(Kind::Orders, "expected");
            self.world.floor(&orders, "expected")?;
            self.same("orders");
            let name = format!("orders, {name}, random keys");
            self.report.add(format!("{name}: staged \\copy, s"), floor.wall(), None);
            self.report.add(format!("{name}: ddb-pipe, s"), pipeline.wall(), None);
            let full = template == "full_table";
            let goal = full.then_some(AtMost(1.0));
            self.report.add(format!("{name}: ddb-pipe / staged \\copy, wall"), pipeline.wall() / floor.wall(), goal);
            let cpu = pipeline.programs() / pipeline.server();
            self.report.add(format!("{name}: programs' CPU / PostgreSQL's"), cpu, full.then_some(AtMost(0.4)));
            walls.push((pipeline.wall(), floor.wall()));
        }
        Ok(())
    }

    fn pictures(&mut self) -> io::Result<()> {
        let orders = self.collection(Kind::Orders, self.size.items, Order::Random)?;
        let pictures = self.collection(Kind::Pictures, self.size.items, Order::Random)?;
        self.world.serve(std::slice::from_ref(&pictures))?;
        let (mut floor, mut pipeline) = (Loads::default(), Loads::default());
        for _ in 0..self.size.rounds {
            self.world.begin(None);
            self.world.create(Kind::Orders, "orders");
            floor.0.push(self.world.floor(&orders, "orders")?);
            self.world.begin(None);
            pipeline.0.push(self.world.migrate(&pictures, true)?);
        }
        let rate = float(self.size.items) / pipeline.wall();
        let then = 12.0 * 26_000.0 * (float(self.size.items) / floor.wall()) / FLOOR_THEN;
        self.report.add("pictures, empty table: ddb-pipe, items a second", rate, AtLeast(then.min(300_000.0)));
        self.report.add("pictures, empty table: programs' CPU, s", pipeline.programs(), None);
        self.report.add("pictures, empty table: PostgreSQL's CPU, s", pipeline.server(), None);
        for (place, program, most) in [(1, "ddb-cat", 64.0), (2, "ddb-parse", 64.0), (3, "pg-upsert", 128.0)] {
            let most = AtMost(most * 1.048_576);
            self.report.add(format!("pictures, empty table: memory of {program}, MB"), pipeline.memory(place), most);
        }
        Ok(())
    }

    fn others(&mut self) -> io::Result<()> {
        let wide = self.collection(Kind::Wide, self.size.items / 5, Order::Random)?;
        let tiny = self.collection(Kind::Tiny, self.size.items, Order::Random)?;
        self.world.serve(&[wide.clone(), tiny.clone()])?;
        for collection in [wide, tiny] {
            let (floor, pipeline) = self.empty_table(&collection)?;
            let name = format!("{}, empty table, random keys", collection.kind.name());
            self.report.add(format!("{name}: ddb-pipe, s"), pipeline.wall(), None);
            self.report.add(format!("{name}: ddb-pipe / \\copy, wall"), pipeline.wall() / floor.wall(), None);
        }
        Ok(())
    }

    /// 100,000 rows, of which none, one in a hundred and one in ten are refused by the table, against the load in which none is.
    fn rejects(&mut self) -> io::Result<()> {
        const ROWS: usize = 100_000;
        let row = |id: usize, orphan: bool, bad: bool| {
            let customer = if orphan { 0 } else { 1 + id % 1000 };
            let amount = if bad { "\"none\"".to_owned() } else { format!("{}.{:02}", id % 977, id % 100) };
            format!(r#"{{"id":{id},"customer":{customer},"amount":{amount},"note":"order {id} of a customer"}}"#)
        };
        let write = |name: &str, refused: &dyn Fn(usize) -> bool, orphans: bool| -> io::Result<PathBuf> {
            let path = self.data.join(format!("rejects-{name}.ndjson"));
            let mut lines = String::new();
            // In an order that is not that of the keys.
            for id in (0..ROWS).map(|n| n * 7919 % ROWS) {
                lines.push_str(&row(id, orphans && refused(id), !orphans && refused(id)));
                lines.push('\n');
            }
            fs::write(&path, lines)?;
            Ok(path)
        };
        let cases = [
            ("clean", write("clean", &|_| false, true)?, 0, 0),
            ("1% orphans", write("orphans-1", &|id| id % 100 == 37, true)?, 1, ROWS / 100),
            ("10% orphans", write("orphans-10", &|id| id % 10 == 7, true)?, 1, ROWS / 10),
            ("1% bad values", write("values-1", &|id| id % 100 == 37, false)?, 1, ROWS / 100),
            ("10% bad values", write("values-10", &|id| id % 10 == 7, false)?, 1, ROWS / 10),
        ];
        let mut loads: Vec<Loads> = cases.iter().map(|_| Loads::default()).collect();
        for _ in 0..self.size.rounds {
            for ((_, rows, code, refused), loads) in cases.iter().zip(&mut loads) {
                self.world.begin(None);
                self.world.sql(
                    "create table customers (id int primary key); insert into customers select generate_series(1, 1000);
                     create table rejects (id bigint primary key, customer int not null references customers,
                                           amount numeric(12,2), note text)",
                );
                let mut command = self.world.program("pg-upsert")?;
                command.args(["--table", "rejects", "--max-rejects", "100%"]).stdin(File::open(rows)?);
                loads.0.push(self.world.load_ending(command, *code)?);
                let expected = (ROWS - refused).to_string();
                assert_eq!(self.world.sql("select count(*) from rejects"), expected, "rows in the table");
            }
        }
        let clean = loads[0].wall();
        self.report.add("100,000 rows, clean: pg-upsert, s", clean, None);
        for ((name, _, _, refused), loads) in cases.iter().zip(&loads).skip(1) {
            let most = AtMost(if *refused > ROWS / 100 { 10.0 } else { 3.0 });
            self.report.add(format!("100,000 rows, {name}: pg-upsert, s"), loads.wall(), None);
            self.report.add(format!("100,000 rows, {name}: wall / clean"), loads.wall() / clean, most);
        }
        Ok(())
    }

    /// A program alone, in turns with another: its median wall and CPU time in seconds.
    fn alone(&self, commands: &[&dyn Fn() -> io::Result<Command>]) -> io::Result<Vec<(f64, f64, f64)>> {
        let mut usages: Vec<Vec<Usage>> = commands.iter().map(|_| Vec::new()).collect();
        for _ in 0..self.size.rounds {
            for (command, usages) in commands.iter().zip(&mut usages) {
                usages.push(measure::pipeline(vec![command()?])?);
            }
        }
        let of = |usages: &[Usage], of: &dyn Fn(&Usage) -> f64| median(usages.iter().map(of).collect());
        Ok(usages
            .iter()
            .map(|usages| {
                let wall = of(usages, &|usage| usage.wall.as_secs_f64());
                let cpu = of(usages, &|usage| usage.cpu().as_secs_f64());
                (wall, cpu, of(usages, &|usage| megabytes(usage.programs[0].memory)))
            })
            .collect())
    }

    fn programs(&mut self) -> io::Result<()> {
        let orders = self.collection(Kind::Orders, self.size.items, Order::Random)?;
        let million = 1e6 / float(self.size.items);
        let world = &self.world;
        let files = orders.data_files()?;
        let quiet = |name: &str| -> io::Result<Command> {
            let mut command = world.program(name)?;
            command.stdout(Stdio::null());
            Ok(command)
        };
        let zcat = || {
            let mut zcat = quiet("zcat")?;
            zcat.args(&files);
            Ok(zcat)
        };
        let cat = || {
            let mut cat = quiet("ddb-cat")?;
            cat.args(&files);
            Ok(cat)
        };
        let found = self.alone(&[&zcat, &cat])?;
        let records = made(&orders.file("records.ndjson"), |to| {
            let mut cat = cat()?;
            cat.stdout(to);
            Ok(vec![cat])
        })?;
        let rows = made(&orders.file("rows.ndjson"), |to| {
            let mut parse = quiet("ddb-parse")?;
            parse.args(["-p", &profile(Kind::Orders)]).stdin(File::open(orders.file("records.ndjson"))?).stdout(to);
            Ok(vec![parse])
        })?;
        let (zcat, cat) = (found[0], found[1]);
        self.report.add("ddb-cat: MB/s of records, wall", megabytes(records) / cat.0, None);
        self.report.add("ddb-cat: CPU of a million orders, s", cat.1 * million, None);
        self.report.add("ddb-cat: memory, MB", cat.2, AtMost(64.0 * 1.048_576));
        self.report.add("ddb-cat: zcat / ddb-cat, wall", zcat.0 / cat.0, AtLeast(3.0));

        let parse = |jobs: &[&str]| {
            let mut parse = quiet("ddb-parse")?;
            parse.args(["-p", &profile(Kind::Orders)]).args(jobs).stdin(File::open(orders.file("records.ndjson"))?);
            Ok(parse)
        };
        let found = self.alone(&[&|| parse(&["--jobs", "1"]), &|| parse(&[])])?;
        let (one, all) = (found[0], found[1]);
        self.report.add("ddb-parse: MB/s of DynamoDB JSON, a core", megabytes(records) / one.1, AtLeast(400.0));
        self.report.add("ddb-parse: MB/s of DynamoDB JSON, all cores, wall", megabytes(records) / all.0, None);
        self.report.add("ddb-parse: CPU of a million orders, s", all.1 * million, None);
        self.report.add("ddb-parse: memory, MB", all.2, AtMost(64.0 * 1.048_576));

        // jq would take too long for all of it.
        let first = files[0].clone();
        let records = made(&orders.file("first.ndjson"), |to| {
            let mut cat = quiet("ddb-cat")?;
            cat.arg(&first).arg("--no-markers").stdout(to);
            Ok(vec![cat])
        })?;
        let jq = || {
            let mut jq = quiet("jq")?;
            jq.args(["-c", ".Item"]).arg(orders.file("first.ndjson"));
            Ok(jq)
        };
        let jq = self.alone(&[&jq])?[0];
        self.report.add("jq -c .Item: MB/s of DynamoDB JSON, a core", megabytes(records) / jq.1, None);

        let (mut upsert, mut plain) = (Loads::default(), Loads::default());
        for _ in 0..self.size.rounds {
            self.world.begin(None);
            self.world.create(Kind::Orders, "orders");
            let mut command = self.world.program("pg-upsert")?;
            command.stdin(File::open(orders.file("rows.ndjson"))?);
            upsert.0.push(self.world.load(vec![command])?);
            self.world.begin(None);
            self.world.create(Kind::Orders, "orders");
            plain.0.push(self.world.floor(&orders, "orders")?);
        }
        let own = megabytes(rows) / upsert.programs();
        self.report.add("pg-upsert: MB/s of rows, a core, its own part", own, AtLeast(350.0));
        self.report.add("pg-upsert: CPU of a million orders, s", upsert.programs() * million, None);
        self.report.add("pg-upsert: memory, MB", upsert.memory(0), AtMost(128.0 * 1.048_576));
        self.report.add("psql \\copy: CPU of a million orders, s", plain.programs() * million, None);
        self.start_up()
    }

    fn start_up(&mut self) -> io::Result<()> {
        let small = self.collection(Kind::Tiny, 100, Order::Sorted)?;
        let file = small.data_files()?.remove(0);
        let world = &self.world;
        let list = || {
            let mut list = world.program("ddb-list")?;
            list.arg(small.export()).stdout(Stdio::null());
            Ok(list)
        };
        let cat = || {
            let mut cat = world.program("ddb-cat")?;
            cat.arg(&file).stdout(Stdio::null());
            Ok(cat)
        };
        let found = self.alone(&[&list, &cat])?;
        self.report.add("ddb-list of a small local export: start to end, ms", 1000.0 * found[0].0, AtMost(20.0));
        self.report.add("ddb-cat of a small local file: start to end, ms", 1000.0 * found[1].0, AtMost(20.0));
        Ok(())
    }

    /// Instructions an item, which are the same on a busy machine: from the difference between two sizes, so that the
    /// start does not count.
    fn instructions(&mut self) -> io::Result<()> {
        // A tenth above what they were when this was written.
        for (kind, parse, upsert) in [(Kind::Orders, 11_800.0, 12_000.0), (Kind::Pictures, 20_700.0, 6_200.0)] {
            let mut counts = Vec::new();
            for items in [2000, 6000] {
                let collection = self.collection(kind, items, Order::Random)?;
                let rows = collection.file("rows.ndjson");
                let records = collection.file("records.ndjson");
                made(&records, |to| {
                    let mut cat = self.world.program("ddb-cat")?;
                    cat.args(collection.data_files()?).stdout(to);
                    Ok(vec![cat])
                })?;
                made(&rows, |to| {
                    let mut program = self.world.program("ddb-parse")?;
                    program.args(["-p", &profile(kind)]).stdin(File::open(&records)?).stdout(to);
                    Ok(vec![program])
                })?;
                self.world.begin(None);
                counts.push((
                    self.counted("ddb-parse", &["-p", &profile(kind)], &records)?,
                    self.counted("pg-upsert", &["--create", "--dry-run"], &rows)?,
                ));
            }
            let an_item = |of: fn(&(f64, f64)) -> f64| (of(&counts[1]) - of(&counts[0])) / 4000.0;
            let name = kind.name();
            self.report.add(
                format!("ddb-parse, {name}: instructions an item"),
                an_item(|count| count.0),
                AtMost(parse),
            );
            self.report.add(
                format!("pg-upsert, {name}: instructions an item"),
                an_item(|count| count.1),
                AtMost(upsert),
            );
        }
        Ok(())
    }

    /// The instructions that a program takes.
    fn counted(&self, name: &str, args: &[&str], stdin: &Path) -> io::Result<f64> {
        let out = self.world.dir.join("callgrind");
        let program = self.world.program(name)?;
        let mut valgrind = self.world.program("valgrind")?;
        valgrind.args(["--tool=callgrind", "--quiet"]).arg(format!("--callgrind-out-file={}", out.display()));
        valgrind.arg(program.get_program()).args(args).stdin(File::open(stdin)?).stdout(Stdio::null());
        measure::pipeline(vec![valgrind])?;
        let text = fs::read_to_string(out)?;
        let total = text.lines().find_map(|line| line.strip_prefix("totals: ")).and_then(|total| total.parse().ok());
        total.ok_or_else(|| io::Error::other("callgrind says no total"))
    }

    /// Memory does not grow with the input.
    fn memory(&mut self) -> io::Result<()> {
        let mut sizes = vec![100_000];
        if self.size.long {
            sizes.push(10_000_000);
        }
        for items in sizes {
            let tiny = self.collection(Kind::Tiny, items, Order::Random)?;
            self.world.serve(std::slice::from_ref(&tiny))?;
            self.world.begin(None);
            self.world.create(Kind::Tiny, "tiny");
            let loads = Loads(vec![self.world.migrate(&tiny, false)?]);
            for (place, program, most) in [(1, "ddb-cat", 64.0), (2, "ddb-parse", 64.0), (3, "pg-upsert", 128.0)] {
                let most = AtMost(most * 1.048_576);
                self.report.add(format!("tiny, {items} items: memory of {program}, MB"), loads.memory(place), most);
            }
        }
        Ok(())
    }
}

/// Has a file made by a pipeline unless it is there, and says how many bytes it has.
fn made(path: &Path, by: impl FnOnce(Stdio) -> io::Result<Vec<Command>>) -> io::Result<u64> {
    if !path.exists() {
        let unfinished = path.with_extension("unfinished");
        measure::pipeline(by(File::create(&unfinished)?.into())?)?;
        fs::rename(unfinished, path)?;
    }
    Ok(fs::metadata(path)?.len())
}
