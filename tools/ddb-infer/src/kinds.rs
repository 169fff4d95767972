//! The kinds of items in a collection: what tells items apart, and which kind an item is of. A single-table design says it
//! by the beginnings of its keys, or by an attribute.

use std::collections::BTreeMap;

use ahash::AHashSet;
use item::{Item, Type, Value};

/// More kinds than this are not told apart.
const MOST_KINDS: usize = 50;

/// Names of the two parts of a primary key, as people write them.
const PAIRS: [(&str, &str); 5] =
    [("pk", "sk"), ("partitionkey", "sortkey"), ("hashkey", "rangekey"), ("hash", "range"), ("pkey", "skey")];

/// Names of an attribute that says nothing but of which kind an item is: by custom, and as `ElectroDB`, `DynamoDB` Toolbox and
/// GraphQL have it.
const DISCRIMINATORS: [&str; 9] =
    ["entity", "entitytype", "entityname", "itemtype", "recordtype", "objecttype", "edbe", "et", "typename"];

/// Names of one that may as well be a property of the thing.
const PROPERTIES: [&str; 3] = ["type", "kind", "model"];

/// The attributes of a collection's primary key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) names: Vec<String>,
    /// Items that were looked at, and how many keys they have.
    pub(crate) items: u64,
    pub(crate) different: u64,
}

/// What a part of a key begins with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// `USER#`, of `USER#7`.
    Prefix(String),
    /// The whole text, which many items have.
    Exact(String),
    /// Anything else.
    Free,
}

/// A kind of items.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Kind {
    /// What the discriminator says.
    pub(crate) label: Option<String>,
    /// A class for each part of the key.
    pub(crate) classes: Vec<Class>,
}

/// How the kinds of a collection are told apart.
#[derive(Debug)]
pub(crate) struct Kinds {
    pub(crate) key: Key,
    pub(crate) discriminator: Option<String>,
    /// For each part of the key, what it may begin with.
    pub(crate) classes: Vec<Vec<Class>>,
    /// The most frequent one first.
    pub(crate) found: Vec<Kind>,
}

impl Kinds {
    /// Looks at items; nothing if no attributes tell them apart. `named` are the attributes of the key, if it is known.
    pub(crate) fn of(items: &[Item<'_>], named: Option<Vec<String>>) -> Option<Self> {
        let key = key(items, named)?;
        let mut kinds =
            Self { classes: vec![Vec::new(); key.names.len()], key, discriminator: None, found: Vec::new() };
        for part in 0..kinds.key.names.len() {
            kinds.classes[part] = classes(items, &kinds.key.names[part], kinds.key.names.len() > 1);
        }
        if kinds.classes.iter().any(|classes| !classes.is_empty()) {
            kinds.discriminator = discriminator(items, kinds.by_key(items).len() > 1);
        }
        kinds.found = if kinds.discriminator.is_some() { kinds.labelled(items) } else { kinds.by_key(items) };
        Some(kinds)
    }

    /// Whether the collection has items of one kind only.
    pub(crate) fn is_flat(&self) -> bool {
        self.found.len() == 1
    }

    /// The kinds by the beginnings of their keys, the most frequent ones.
    fn by_key(&self, items: &[Item<'_>]) -> Vec<Kind> {
        let mut counts: BTreeMap<Vec<Class>, usize> = BTreeMap::new();
        for item in items {
            *counts.entry(self.classes_of(item)).or_default() += 1;
        }
        let kinds = most_frequent(counts);
        kinds.into_iter().map(|classes| Kind { label: None, classes }).collect()
    }

    /// The kinds by what the discriminator says. A part of the key has a class if all items of the kind have it.
    fn labelled(&self, items: &[Item<'_>]) -> Vec<Kind> {
        let mut counts: BTreeMap<String, (usize, Vec<Class>)> = BTreeMap::new();
        for item in items {
            let Some(label) = self.label_of(item) else { continue };
            let classes = self.classes_of(item);
            let (count, common) = counts.entry(label).or_insert_with(|| (0, classes.clone()));
            *count += 1;
            for (common, class) in common.iter_mut().zip(classes) {
                if *common != class {
                    *common = Class::Free;
                }
            }
        }
        let mut kinds: Vec<_> = counts.into_iter().map(|(label, (count, classes))| (count, label, classes)).collect();
        kinds.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        kinds.into_iter().map(|(_, label, classes)| Kind { label: Some(label), classes }).collect()
    }

    fn label_of(&self, item: &Item<'_>) -> Option<String> {
        match item.get(self.discriminator.as_ref()?)? {
            Value::S(text) => Some(text.get().into_owned()),
            _ => None,
        }
    }

    fn classes_of(&self, item: &Item<'_>) -> Vec<Class> {
        let parts = self.key.names.iter().zip(&self.classes);
        parts.map(|(name, known)| class_among(item.get(name), known)).collect()
    }

    /// The place of the kind that an item is of; nothing if it is of none. Conditions of the profile say the same.
    pub(crate) fn kind_of(&self, item: &Item<'_>) -> Option<usize> {
        if self.is_flat() {
            return Some(0);
        }
        let (label, classes) = (self.label_of(item), self.classes_of(item));
        self.found.iter().position(|kind| {
            let part = |(wanted, found): (&Class, &Class)| {
                wanted == found || (*wanted == Class::Free && self.discriminator.is_some())
            };
            kind.label == label && kind.classes.iter().zip(&classes).all(part)
        })
    }
}

/// The keys of a map by their values, the greatest first; ties in their own order.
fn most_frequent<K: Ord>(counts: BTreeMap<K, usize>) -> Vec<K> {
    let mut sorted: Vec<_> = counts.into_iter().collect();
    sorted.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    sorted.truncate(MOST_KINDS);
    sorted.into_iter().map(|(key, _)| key).collect()
}

/// A name without what people write between its words.
fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase()
}

/// The primary key: what is named, else the two parts that have the usual names, else what tells all items apart.
fn key(items: &[Item<'_>], named: Option<Vec<String>>) -> Option<Key> {
    let with = |names: Vec<String>| {
        let different = different(items, &names);
        Key { names, items: items.len() as u64, different }
    };
    if let Some(named) = named {
        return Some(with(named));
    }
    let first = items.first()?;
    let mut candidates: Vec<String> = Vec::new();
    for (name, value) in first.attributes() {
        let name = name.get();
        let ty = value.ty();
        let everywhere = || items.iter().all(|item| item.get(&name).is_some_and(|value| value.ty() == ty));
        if matches!(ty, Type::S | Type::N | Type::B) && everywhere() {
            candidates.push(name.into_owned());
        }
    }
    candidates.sort_by_cached_key(|name| (rank(name), name.clone()));
    for (first, second) in PAIRS {
        let named = |wanted| candidates.iter().find(|name| plain(name) == wanted).cloned();
        if let (Some(first), Some(second)) = (named(first), named(second)) {
            return Some(with(vec![first, second]));
        }
    }
    let all = items.len() as u64;
    let alone = candidates.iter().map(|name| with(vec![name.clone()])).find(|key| key.different == all);
    alone.or_else(|| {
        let few = &candidates[..candidates.len().min(12)];
        let pairs = few
            .iter()
            .enumerate()
            .flat_map(|(place, first)| few[place + 1..].iter().map(move |second| vec![first.clone(), second.clone()]));
        pairs.map(with).find(|key| key.different == all)
    })
}

/// How likely a name is that of a key; the least is the most likely.
fn rank(name: &str) -> u8 {
    match plain(name).as_str() {
        "id" | "pk" => 0,
        "uuid" | "key" | "guid" => 1,
        other if other.ends_with("id") || other.ends_with("key") || other.ends_with("uuid") => 2,
        other if other.ends_with("number") || other.ends_with("code") || other.ends_with("no") => 3,
        _ => 4,
    }
}

/// How many different values items have there.
fn different(items: &[Item<'_>], names: &[String]) -> u64 {
    let mut seen = AHashSet::new();
    for item in items {
        seen.insert(names.iter().map(|name| item.get(name).and_then(key_text)).collect::<Vec<_>>());
    }
    seen.len() as u64
}

/// A part of a key as a text.
pub(crate) fn key_text(value: &Value<'_>) -> Option<String> {
    match value {
        Value::S(text) | Value::B(text) => Some(text.get().into_owned()),
        Value::N(number) => Some(item::number::plain(&number.get()).into_owned()),
        _ => None,
    }
}

/// The beginning of a composite text, its separator included: `USER#` of `USER#7`.
fn prefix(text: &str) -> Option<&str> {
    let place = text.find(['#', '|', ':'])?;
    let head = &text[..place];
    let named = head.starts_with(|first: char| first.is_ascii_alphabetic())
        && head.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
    (named && head.len() <= 40 && !text[place..].starts_with("://")).then(|| &text[..=place])
}

/// What a part of the key may begin with.
fn classes(items: &[Item<'_>], name: &str, of_two: bool) -> Vec<Class> {
    let (mut prefixes, mut whole) = (BTreeMap::new(), BTreeMap::new());
    for item in items {
        let Some(Value::S(text)) = item.get(name) else { continue };
        let text = text.get();
        if let Some(prefix) = prefix(&text) {
            *prefixes.entry(prefix.to_owned()).or_insert(0) += 1;
        } else if of_two && (1..=40).contains(&text.len()) {
            *whole.entry(text.into_owned()).or_insert(0) += 1;
        }
    }
    // A text is the name of a kind if many items have it, and few other texts are there.
    let several = whole.values().filter(|count| **count > 1).count();
    whole.retain(|text: &String, count| *count > 1 && text.starts_with(|first: char| first.is_ascii_alphabetic()));
    let whole = if several > MOST_KINDS / 2 { BTreeMap::new() } else { whole };
    let prefixes = most_frequent(prefixes).into_iter().map(Class::Prefix);
    prefixes.chain(most_frequent(whole).into_iter().map(Class::Exact)).collect()
}

fn class_among(value: Option<&Value<'_>>, known: &[Class]) -> Class {
    let Some(Value::S(text)) = value else { return Class::Free };
    let text = text.get();
    let class = prefix(&text).map_or_else(|| Class::Exact(text.to_string()), |prefix| Class::Prefix(prefix.to_owned()));
    if known.contains(&class) { class } else { Class::Free }
}

/// The attribute that says of which kind an item is. A name that says nothing else is enough; that of a property only where
/// the keys too say that there are several kinds.
fn discriminator(items: &[Item<'_>], several: bool) -> Option<String> {
    let all = || items.iter().take(1).flat_map(Item::attributes).map(|(name, _)| name.get());
    let usual: &[&str] = if several { &PROPERTIES } else { &[] };
    let known = DISCRIMINATORS.iter().chain(usual);
    let candidates = known.filter_map(|known| all().find(|name| plain(name) == *known));
    let labels = |name: &str| {
        let label = |item: &Item<'_>| match item.get(name) {
            Some(Value::S(text)) => Some(text.get().into_owned()).filter(|text| !text.is_empty()),
            _ => None,
        };
        items.iter().map(label).collect::<Option<AHashSet<_>>>()
    };
    let tells =
        |labels: AHashSet<String>| (2..=MOST_KINDS).contains(&labels.len()) && labels.len() * 2 <= items.len().max(4);
    candidates.map(std::borrow::Cow::into_owned).find(|name| labels(name).is_some_and(tells))
}
