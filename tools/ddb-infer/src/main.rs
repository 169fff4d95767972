//! `ddb-infer`: a profile to begin with, made of the items that are there.
//!
//! Items are read from stdin (`input`). The first ones are kept to find what tells items apart (`kinds`). Then every item is
//! counted (`census`), tables and columns follow from the counts (`tables`, `columns`), and become the text of a profile
//! (`write`). The text is read back as a profile, and makes rows of the items that were kept. An item that it rejects is
//! named.
//!
//! Memory is bounded: by the items that are kept, by the attributes of a kind, and by the keys that are compared.

mod args;
mod census;
mod columns;
mod input;
mod kinds;
mod tables;
mod write;

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use ahash::{AHashSet, RandomState};
use bumpalo::Bump;
use cli::Stop;
use fault::{Exit, Failure, Fault, PipeError, Problem};
use item::{Decoder, Encoding, Item};
use pg::statement::{Dialect, Statements};
use profile::{Fate, Made, Options, Profile};
use tracing::{info, warn};

use crate::args::Args;
use crate::input::{Input, Place, TOLD};
use crate::kinds::Kinds;
use crate::tables::{Seen, Table};
use crate::write::Head;

/// The first items are kept to find what tells items apart: so many bytes of lines, and so many items.
const KEPT_BYTES: usize = 8 << 20;
const KEPT_ITEMS: usize = 20_000;

/// What stands for U+0000, which PostgreSQL cannot hold, in the profile.
pub(crate) const NUL_BECOMES: &str = "\u{FFFD}";

/// So many keys are compared.
const COMPARED: u64 = 2_000_000;

fn main() -> ExitCode {
    cli::run(run)
}

/// A stop does not concern this program: it ends with its input.
fn run(args: &Args, _: &Stop) -> Result<Exit, Failure> {
    profile::name_of(&args.name)?;
    let mut input = Input::new(io::stdin().lock(), args.encoding(), args.sample);
    let mut kept = Kept { lines: Vec::new(), places: Vec::new(), encoding: args.encoding() };
    let (mut bytes, mut named) = (0, None);
    while bytes < KEPT_BYTES && kept.lines.len() < KEPT_ITEMS {
        let Some(found) = input.next()? else { break };
        bytes += found.line.len();
        named = named.or(found.key);
        kept.lines.push(found.line);
        kept.places.push(found.place);
    }
    let memory = Bump::new();
    let items = kept.items(&memory)?;
    if items.is_empty() {
        let message =
            format!("there are no items on stdin, and {} of something else", number(input.left_out(), "line"));
        return Err(Problem::new(Fault::Input, message)
            .with_hint("records come from ddb-cat: `ddb-cat x.json.gz | ddb-infer --name shop`")
            .into());
    }
    let mut counted = Counted::new(kinds_of(&items, named)?);
    for item in &items {
        counted.add(item);
    }
    let (mut decoder, mut memory) = (Decoder::default(), Bump::new());
    while let Some(found) = input.next()? {
        memory.reset();
        counted.add(&decode(&mut decoder, &found.line, kept.encoding, &memory)?);
    }
    if input.left_out() > 0 {
        warn!("left out because ddb-parse will reject them: {}", number(input.left_out(), "line"));
    }
    if input.torn() > 0 {
        warn!("the last line has no end: the program before this one died; {} bytes are ignored", input.torn());
    }
    if counted.keyless > 0 {
        warn!("{} lack the key and will be rejected", number(counted.keyless, "item"));
    }
    let tables = tables::tables(&args.name, &counted.kinds, &counted.seen, &counted.others);
    let text = write::profile(&head(&counted, &tables, input.met_nul()), &tables);
    let profile = check(&args.name, &text, &items, &kept.places)?;
    let text = if args.ddl { ddl(&profile) } else { text };
    if let Some(path) = &args.output {
        write::replace(path, &text)?;
    } else {
        let mut output = io::stdout().lock();
        output.write_all(text.as_bytes()).and_then(|()| output.flush()).map_err(PipeError::writing)?;
    }
    info!("{}, {}", number(counted.items(), "item"), number(tables.len() as u64, "table"));
    Ok(Exit::Done)
}

/// Items that are kept as lines.
#[derive(Default)]
struct Kept {
    lines: Vec<Vec<u8>>,
    /// Where each came from.
    places: Vec<Place>,
    encoding: Encoding,
}

impl Kept {
    fn items<'a>(&'a self, memory: &'a Bump) -> Result<Vec<Item<'a>>, Failure> {
        let mut decoder = Decoder::default();
        self.lines.iter().map(|line| decode(&mut decoder, line, self.encoding, memory)).collect()
    }
}

fn decode<'a>(
    decoder: &mut Decoder,
    line: &'a [u8],
    encoding: Encoding,
    memory: &'a Bump,
) -> Result<Item<'a>, Failure> {
    // A line that is an item is one again.
    let wrong = |error: item::Error| Problem::new(Fault::Input, error.to_string());
    Ok(decoder.decode(line, encoding, memory).map_err(wrong)?)
}

fn kinds_of(items: &[Item<'_>], named: Option<Vec<String>>) -> Result<Kinds, Failure> {
    Kinds::of(items, named).ok_or_else(|| {
        let message = format!("no attribute, and no pair of attributes, tells the first {} items apart", items.len());
        Problem::new(Fault::Input, message)
            .with_hint("a table needs a key: write the profile by hand, beginning with profiles/orders.toml")
            .into()
    })
}

/// `1 item`, `2 items`
fn number(count: u64, of: &str) -> String {
    format!("{count} {of}{}", if count == 1 { "" } else { "s" })
}

/// Every item, counted by its kind.
struct Counted {
    kinds: Kinds,
    seen: Vec<Seen>,
    /// Items that are of no kind.
    others: Seen,
    keys: AHashSet<(usize, u64)>,
    hasher: RandomState,
    /// Items that lack a part of the key.
    keyless: u64,
}

impl Counted {
    fn new(kinds: Kinds) -> Self {
        let seen = kinds.found.iter().map(|_| Seen::default()).collect();
        // The same numbers in every run, so that the result is the same.
        let hasher = RandomState::with_seeds(1, 2, 3, 4);
        Self { kinds, seen, others: Seen::default(), keys: AHashSet::new(), hasher, keyless: 0 }
    }

    fn add(&mut self, item: &Item<'_>) {
        let part = |name: &String| item.get(name).and_then(kinds::key_text);
        let key: Vec<_> = self.kinds.key.names.iter().map(part).collect();
        self.keyless += u64::from(key.contains(&None));
        let place = self.kinds.kind_of(item);
        let seen = place.and_then(|place| self.seen.get_mut(place)).unwrap_or(&mut self.others);
        seen.census.add(item.attributes(), true);
        if (self.keys.len() as u64) < COMPARED {
            seen.compared += 1;
            seen.different += u64::from(self.keys.insert((place.unwrap_or(usize::MAX), self.hasher.hash_one(key))));
        }
    }

    fn items(&self) -> u64 {
        self.seen.iter().chain([&self.others]).map(|seen| seen.census.items).sum()
    }
}

fn head(counted: &Counted, tables: &[Table], nul: bool) -> Head {
    let mut comments = vec![
        format!(
            "Made by ddb-infer of {}. Types and shares are what was seen; what was not seen is not known.",
            number(counted.items(), "item")
        ),
        "A column without a share of items was in all of them; one without a share of NULL never was NULL.".to_owned(),
        "Rename, take away and add what you like: columns keep their attribute by `from`, and `rest` takes the others."
            .to_owned(),
    ];
    let key = counted.kinds.key.names.iter().map(|name| columns::for_comment(name)).collect::<Vec<_>>().join(", ");
    let kinds = counted.kinds.found.len();
    comments.push(match &counted.kinds.discriminator {
        Some(name) => {
            format!("Items are told apart by {key}; there are {kinds} kinds, by `{}`.", columns::for_comment(name))
        }
        None if kinds > 1 => {
            format!("Items are told apart by {key}; there are {kinds} kinds, by what these begin with.")
        }
        None => format!("Items are told apart by {key}."),
    });
    if counted.keyless > 0 {
        comments.push(format!("{} have no such key and will be rejected.", number(counted.keyless, "item")));
    }
    Head {
        comments,
        description: format!(
            "{} in {}, as ddb-infer found them",
            number(counted.items(), "item"),
            number(tables.len() as u64, "table")
        ),
        nul,
    }
}

/// Reads the text as a profile, and makes rows of the items that were kept. Those that it rejects are named.
fn check(name: &str, text: &str, items: &[Item<'_>], places: &[Place]) -> Result<Profile, Failure> {
    let bug = |message: String| {
        Problem::new(Fault::Local, format!("the profile that was made is wrong: {message}"))
            .with_hint("this is a bug; please report it")
    };
    let profile = profile::parse(Path::new(name), text, Options::default()).map_err(|error| bug(error.to_string()))?;
    let (mut made, mut rejected) = (Made::default(), 0);
    for (item, place) in items.iter().zip(places) {
        match profile.rows(item, &mut made) {
            Ok(Fate::Row) => {}
            Ok(Fate::Filtered) => return Err(bug("an item is left out".to_owned()).into()),
            Err(reason) => {
                rejected += 1;
                if rejected <= TOLD {
                    warn!("ddb-parse will reject {place}: {reason}");
                }
            }
        }
    }
    if rejected > TOLD {
        warn!("ddb-parse will reject {} of the first {}", number(rejected, "item"), items.len());
    }
    Ok(profile)
}

/// The tables as SQL.
fn ddl(profile: &Profile) -> String {
    let mut text = String::new();
    for table in &profile.tables {
        let create = Statements::of(&table.schema, 0, &Dialect::default()).create;
        for statement in std::iter::once(&create).chain(&table.on_create).chain(&profile.on_complete) {
            text.push_str(statement);
            text.push_str(";\n");
        }
    }
    text
}
