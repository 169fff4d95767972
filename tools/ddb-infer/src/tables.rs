//! Tables for the kinds of items: names, conditions, keys, columns, tables of elements. What a column is, `columns` says;
//! how a profile is written, `write`.

use item::Type;

use crate::census::{Attribute, Census};
use crate::columns::{self, Column, Names, for_comment, snake_case};
use crate::kinds::{Class, Kind, Kinds};
use crate::number;

/// A row of an index has no more bytes than this (2,704, some of them its own), unless they can be compressed.
const LONGEST_INDEXED: usize = 2_600;

/// A table of the profile.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) name: String,
    /// Why it is there.
    pub(crate) comments: Vec<String>,
    /// The items that it takes: all, if there are none.
    pub(crate) when: Vec<Condition>,
    /// The table of the items and the list whose elements are the rows.
    pub(crate) each: Option<(String, String)>,
    pub(crate) key: Vec<KeyColumn>,
    pub(crate) columns: Vec<Column>,
    /// What is found in the rest alone.
    pub(crate) left: Vec<String>,
    pub(crate) rest: String,
    /// Columns of an index.
    pub(crate) indexes: Vec<Vec<String>>,
}

/// A condition on an attribute.
#[derive(Clone, Debug)]
pub(crate) enum Condition {
    Is(String, Class),
    /// None of these.
    IsNone(String, Vec<Class>),
    /// Not all of these at once.
    Other(Vec<Vec<Condition>>),
}

/// A column of the key.
#[derive(Clone, Debug)]
pub(crate) struct KeyColumn {
    pub(crate) name: String,
    /// The attribute; the place among the elements, if there is none.
    pub(crate) attribute: Option<String>,
    pub(crate) ty: &'static str,
    pub(crate) accept: Vec<Type>,
    /// What all values begin with, which is left out.
    pub(crate) prefix: Option<String>,
    pub(crate) comment: String,
}

/// What was seen of the items of a kind.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) census: Census,
    /// How many items were compared, and how many keys they have.
    pub(crate) compared: u64,
    pub(crate) different: u64,
}

/// The tables; `others` are the items of no kind.
pub(crate) fn tables(name: &str, kinds: &Kinds, seen: &[Seen], others: &Seen) -> Vec<Table> {
    let mut names = Names::default();
    let mut tables = Vec::new();
    for (kind, seen) in kinds.found.iter().zip(seen) {
        let single = if kinds.is_flat() { snake_case(name) } else { singular(kinds, kind) };
        let called = names.add(&if kinds.is_flat() { single.clone() } else { plural(&single) });
        let when = if kinds.is_flat() { Vec::new() } else { conditions(kinds, kind) };
        tables.extend(of_kind(&called, &single, when, kinds, kind, seen, &mut names));
    }
    if others.census.items > 0 {
        let all = kinds.found.iter().map(|kind| conditions(kinds, kind)).collect();
        let kind = Kind { label: None, classes: vec![Class::Free; kinds.key.names.len()] };
        let called = names.add("other_items");
        let mut tables_of =
            of_kind(&called, "other_item", vec![Condition::Other(all)], kinds, &kind, others, &mut names);
        if let Some(table) = tables_of.first_mut() {
            table.comments.insert(0, "Items that are of none of the kinds above.".to_owned());
        }
        tables.extend(tables_of);
    }
    tables
}

/// The table of a kind, and those of its lists.
fn of_kind(
    called: &str,
    single: &str,
    when: Vec<Condition>,
    kinds: &Kinds,
    kind: &Kind,
    seen: &Seen,
    names: &mut Names,
) -> Vec<Table> {
    let census = &seen.census;
    let mut own = Names::default();
    let key = key(kinds, kind, census, &mut own);
    let mut comments = vec![format!("{}.", number(census.items, "item"))];
    let parts = key.iter().filter_map(|part| part.attribute.as_deref().map(for_comment)).collect::<Vec<_>>();
    comments.push(if seen.compared == seen.different {
        let among =
            if seen.compared < census.items { format!("the first {}", seen.compared) } else { "them".to_owned() };
        format!("The key ({}) is another one in each of {among}.", parts.join(", "))
    } else {
        let (items, keys) = (seen.compared, seen.different);
        format!(
            "The key ({}) has {keys} values in {items} items: of items with the same one the last stays.",
            parts.join(", ")
        )
    });
    let of_key = |part: &KeyColumn| census.attributes.get(part.attribute.as_ref()?).map(|seen| seen.texts.widest);
    let longest: usize = key.iter().filter_map(of_key).sum();
    if longest > LONGEST_INDEXED {
        comments.push(format!(
            "Keys have up to {longest} bytes. PostgreSQL has no index of more than {LONGEST_INDEXED}, and may refuse these items."
        ));
    }
    let constant = kinds.key.names.iter().zip(&kind.classes).filter(|(_, class)| matches!(class, Class::Exact(_)));
    let mut taken: Vec<&str> = key.iter().filter_map(|part| part.attribute.as_deref()).collect();
    if !kinds.is_flat() {
        taken.extend(constant.map(|(name, _)| name.as_str()).filter(|name| !taken.contains(name)).collect::<Vec<_>>());
    }
    let lists: Vec<_> = census.attributes.iter().filter(|(name, list)| is_list_of_maps(name, list)).collect();
    taken.extend(lists.iter().map(|(name, _)| name.as_str()));
    let (columns, mut left) = columns::columns(census, &taken, &mut own);
    if !kinds.is_flat() {
        let constant = kinds.key.names.iter().zip(&kind.classes);
        left.extend(constant.filter_map(|(name, class)| match class {
            Class::Exact(text) if !key.iter().any(|part| part.attribute.as_ref() == Some(name)) => {
                Some(format!("{}: always {}", for_comment(name), for_comment(text)))
            }
            _ => None,
        }));
    }
    let indexes = indexes(&columns, census);
    let rest = own.add("rest");
    let mut tables = Vec::new();
    for (list, attribute) in lists {
        // Only lists whose elements were counted are here.
        if let Some(elements) = &attribute.elements {
            let child = names.add(&format!("{single}_{}", snake_case(list)));
            tables.push(of_elements(child, called, single, list, &key, elements));
        }
    }
    let table = Table { name: called.to_owned(), comments, when, each: None, key, columns, left, rest, indexes };
    tables.insert(0, table);
    tables
}

/// A table of the elements of a list.
fn of_elements(name: String, parent: &str, single: &str, list: &str, key: &[KeyColumn], elements: &Census) -> Table {
    let mut own = Names::default();
    let of_parent = |part: &KeyColumn| {
        let called = if part.name == "id" { format!("{single}_id") } else { part.name.clone() };
        KeyColumn { name: called, comment: format!("of its row in {parent}"), ..part.clone() }
    };
    let mut key: Vec<_> = key.iter().map(of_parent).collect();
    for part in &mut key {
        part.name = own.add(&part.name);
    }
    key.push(KeyColumn {
        name: own.add("position"),
        attribute: None,
        ty: "integer",
        accept: Vec::new(),
        prefix: None,
        comment: "its place in the list, from 1".to_owned(),
    });
    // The way into an element is written with dots.
    let odd: Vec<_> =
        elements.attributes.keys().filter(|name| name.contains('.') || name.is_empty()).cloned().collect();
    let taken: Vec<_> = odd.iter().map(String::as_str).collect();
    let (columns, mut left) = columns::columns(elements, &taken, &mut own);
    left.extend(odd.iter().map(|name| for_comment(name)));
    Table {
        name,
        comments: vec![format!("{} of the lists `{}`.", number(elements.items, "element"), for_comment(list))],
        when: Vec::new(),
        each: Some((parent.to_owned(), list.to_owned())),
        key,
        columns,
        left,
        rest: own.add("rest"),
        indexes: Vec::new(),
    }
}

/// Whether the elements of an attribute are rows of their own without a doubt.
fn is_list_of_maps(name: &str, attribute: &Attribute) -> bool {
    let usual = !name.is_empty() && !name.contains('.') && !name.starts_with('$');
    let maps = attribute.elements.as_ref().is_some_and(|elements| elements.attributes.values().any(|_| true));
    usual && attribute.only(&[Type::L]) && maps && !attribute.other_elements
}

/// The key: its parts, but for those that are the same in every item of the kind.
fn key(kinds: &Kinds, kind: &Kind, census: &Census, own: &mut Names) -> Vec<KeyColumn> {
    let varies = |class: &Class| kinds.is_flat() || !matches!(class, Class::Exact(_));
    let some = kind.classes.iter().any(varies);
    let parts = kinds.key.names.iter().zip(&kind.classes);
    let attribute_names: Vec<_> = census.attributes.keys().map(|name| snake_case(name)).collect();
    let mut key: Vec<KeyColumn> = Vec::new();
    for (place, (attribute, class)) in parts.enumerate() {
        if !(varies(class) || !some && place == 0) {
            continue;
        }
        let prefix = match class {
            Class::Prefix(prefix) if !kinds.is_flat() => Some(prefix.clone()),
            _ => None,
        };
        let of_prefix = prefix.as_ref().map(|prefix| format!("{}_id", snake_case(prefix)));
        let free = |name: &String| !attribute_names.contains(name) && !key.iter().any(|part| part.name == *name);
        let name = own.add(&of_prefix.filter(free).unwrap_or_else(|| snake_case(attribute)));
        let seen = census.attributes.get(attribute);
        let (ty, accept) = key_type(seen, prefix.is_some());
        let mut comment = seen.map_or_else(String::new, |seen| {
            seen.types().iter().map(|(ty, _)| ty.name()).collect::<Vec<_>>().join(" or ")
        });
        if let Some(prefix) = &prefix {
            comment = format!("{comment} after {}", for_comment(prefix));
        }
        key.push(KeyColumn { name, attribute: Some(attribute.clone()), ty, accept, prefix, comment });
    }
    key
}

/// A type in which different keys stay different.
fn key_type(seen: Option<&Attribute>, cut: bool) -> (&'static str, Vec<Type>) {
    let Some(seen) = seen else { return ("text", Vec::new()) };
    let texts = seen.of(Type::S);
    if seen.only(&[Type::S]) {
        (if !cut && seen.texts.uuids == texts { "uuid" } else { "text" }, Vec::new())
    } else if seen.only(&[Type::N]) {
        (if seen.numbers.integers == seen.of(Type::N) { "bigint" } else { "numeric" }, Vec::new())
    } else if seen.only(&[Type::B]) {
        ("bytea", Vec::new())
    } else {
        ("text", [Type::S, Type::N, Type::Bool].into_iter().filter(|ty| seen.of(*ty) > 0).collect())
    }
}

/// What a kind asks of an item.
fn conditions(kinds: &Kinds, kind: &Kind) -> Vec<Condition> {
    let mut all = Vec::new();
    if let (Some(name), Some(label)) = (&kinds.discriminator, &kind.label) {
        all.push(Condition::Is(name.clone(), Class::Exact(label.clone())));
    }
    for ((name, class), known) in kinds.key.names.iter().zip(&kind.classes).zip(&kinds.classes) {
        match class {
            Class::Free if kind.label.is_some() || known.is_empty() => {}
            Class::Free => all.push(Condition::IsNone(name.clone(), known.clone())),
            class => all.push(Condition::Is(name.clone(), class.clone())),
        }
    }
    all
}

/// What one item of a kind is called.
fn singular(kinds: &Kinds, kind: &Kind) -> String {
    if let Some(label) = &kind.label {
        return or_item(snake_case(label));
    }
    let named = |class: &Class| match class {
        Class::Prefix(text) | Class::Exact(text) => Some(snake_case(text)).filter(|name| !name.is_empty()),
        Class::Free => None,
    };
    let first = kind.classes.first().and_then(named);
    let last = kind.classes.get(1).and_then(named);
    let general = |name: &str| {
        matches!(name, "metadata" | "meta" | "info" | "details" | "detail" | "data" | "root" | "main" | "profile" | "a")
    };
    let name = match (first, last) {
        (Some(first), Some(last)) if matches!(kind.classes[1], Class::Exact(_)) && general(&last) => first,
        (Some(first), Some(last)) => {
            // The same items may stand below several others.
            let elsewhere = kinds.found.iter().filter(|other| other.classes.get(1) == kind.classes.get(1)).count() > 1;
            if elsewhere && first != last { format!("{first}_{last}") } else { last }
        }
        (Some(first), None) => {
            let taken = kinds
                .found
                .iter()
                .any(|other| other != kind && other.classes.first() == kind.classes.first() && kind.classes.len() > 1);
            if taken { format!("{first}_item") } else { first }
        }
        (None, Some(last)) => last,
        (None, None) => "item".to_owned(),
    };
    or_item(name)
}

fn or_item(name: String) -> String {
    if name.is_empty() { "item".to_owned() } else { name }
}

fn plural(name: &str) -> String {
    if let Some(stem) = name.strip_suffix('y').filter(|stem| !stem.ends_with(['a', 'e', 'i', 'o', 'u'])) {
        return format!("{stem}ies");
    }
    if name.ends_with("ss") || name.ends_with("sh") || name.ends_with("ch") || name.ends_with('x') {
        return format!("{name}es");
    }
    if name.ends_with('s') { name.to_owned() } else { format!("{name}s") }
}

/// Keys of secondary indexes have usual names: `GSI1PK` and `GSI1SK`.
fn indexes(columns: &[Column], census: &Census) -> Vec<Vec<String>> {
    let width = |column: &&Column| census.attributes.get(&column.attribute).map_or(0, |seen| seen.texts.widest);
    let mut indexes = Vec::new();
    for column in columns {
        let plain: String = column.name.chars().filter(|character| *character != '_').collect();
        let Some(index) = plain.strip_suffix("pk").filter(|name| name.starts_with("gsi") || name.starts_with("lsi"))
        else {
            continue;
        };
        if column.ty == "jsonb" {
            continue;
        }
        let sort = columns
            .iter()
            .find(|other| other.ty != "jsonb" && other.name.replace('_', "").strip_suffix("sk") == Some(index));
        let both: Vec<_> = [Some(column), sort].into_iter().flatten().collect();
        if both.iter().map(width).sum::<usize>() <= LONGEST_INDEXED {
            indexes.push(both.into_iter().map(|column| column.name.clone()).collect());
        }
    }
    indexes
}
