//! Columns for what was counted: their names, types and conversions, and the words that say why.

use std::collections::BTreeSet;

use item::Type;

use crate::census::{Attribute, Census, Numbers};

/// A table has no more columns than this of its own; what is left stays in the rest. A row has to fit into a page of 8 kB,
/// of which a value of up to 24 bytes takes as many, and a longer one can be put elsewhere ("TOAST").
const MOST_COLUMNS: usize = 300;

/// The longest name that PostgreSQL keeps, in bytes ("Identifiers and Key Words").
const LONGEST_NAME: usize = 63;

/// What every table of PostgreSQL has already ("System Columns").
const SYSTEM_COLUMNS: [&str; 6] = ["tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"];

/// A column of an attribute.
#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) attribute: String,
    pub(crate) ty: &'static str,
    /// A step before the type.
    pub(crate) convert: Option<&'static str>,
    pub(crate) accept: Option<Vec<Type>>,
    /// What was seen.
    pub(crate) comment: String,
}

/// The names that a table has so far.
#[derive(Debug, Default)]
pub(crate) struct Names(BTreeSet<String>);

impl Names {
    /// A name for an attribute that the table does not have yet: `snake_case`, of ASCII.
    pub(crate) fn for_attribute(&mut self, attribute: &str) -> String {
        self.add(&snake_case(attribute))
    }

    /// That name, or one like it.
    pub(crate) fn add(&mut self, wanted: &str) -> String {
        let mut wanted = wanted.to_owned();
        if wanted.is_empty() || SYSTEM_COLUMNS.contains(&wanted.as_str()) {
            wanted.push_str("_attribute");
        }
        wanted.truncate(LONGEST_NAME);
        let mut name = wanted.clone();
        for number in 2.. {
            if self.0.insert(name.clone()) {
                break;
            }
            let suffix = format!("_{number}");
            name = wanted[..wanted.len().min(LONGEST_NAME - suffix.len())].to_owned() + &suffix;
        }
        name
    }
}

/// `createdAt` is `created_at`, `GSI1PK` is `gsi1pk`, `a.b c` is `a_b_c`.
pub(crate) fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    let mut characters = name.chars().peekable();
    let mut before = ' ';
    while let Some(character) = characters.next() {
        let begins_word = character.is_ascii_uppercase()
            && (before.is_ascii_lowercase()
                || (before.is_ascii_uppercase() && characters.peek().is_some_and(char::is_ascii_lowercase)));
        if character.is_ascii_alphanumeric() {
            if begins_word {
                snake.push('_');
            }
            snake.push(character.to_ascii_lowercase());
        } else if !snake.is_empty() && !snake.ends_with('_') {
            snake.push('_');
        }
        before = character;
    }
    let snake = snake.trim_end_matches('_');
    if snake.starts_with(|first: char| first.is_ascii_digit()) { format!("_{snake}") } else { snake.to_owned() }
}

/// The columns of what was counted, but for attributes that are taken otherwise: the most frequent first. Besides, those
/// that get no column, with the reason.
pub(crate) fn columns(census: &Census, taken: &[&str], names: &mut Names) -> (Vec<Column>, Vec<String>) {
    let mut attributes: Vec<_> = census.attributes.iter().filter(|(name, _)| !taken.contains(&name.as_str())).collect();
    attributes.sort_by(|a, b| b.1.count().cmp(&a.1.count()).then_with(|| a.0.cmp(b.0)));
    let (mut columns, mut left) = (Vec::new(), Vec::new());
    for (place, (attribute, seen)) in attributes.into_iter().enumerate() {
        if place >= MOST_COLUMNS {
            left.push(format!(
                "{} attributes more, none of them in more items",
                census.attributes.len() - taken.len() - place
            ));
            break;
        }
        match column(attribute, seen, census.items, names) {
            Some(column) => columns.push(column),
            None => left.push(format!("{}: always NULL", for_comment(attribute))),
        }
    }
    if census.more {
        left.push("attributes that were not counted, because there are too many".to_owned());
    }
    (columns, left)
}

/// A column for one attribute; none if it is never anything but NULL.
pub(crate) fn column(attribute: &str, seen: &Attribute, items: u64, names: &mut Names) -> Option<Column> {
    let (ty, convert, accept) = target(attribute, seen)?;
    let name = names.for_attribute(attribute);
    Some(Column { name, attribute: attribute.to_owned(), ty, convert, accept, comment: comment(seen, items) })
}

type Target = (&'static str, Option<&'static str>, Option<Vec<Type>>);

/// The type that takes all that was seen.
fn target(attribute: &str, seen: &Attribute) -> Option<Target> {
    let values = seen.count() - seen.of(Type::Null);
    let (texts, numbers) = (seen.of(Type::S), seen.of(Type::N));
    let plain = |ty| Some((ty, None, None));
    if values == 0 {
        None
    } else if seen.only(&[Type::S]) {
        if seen.texts.instants == texts {
            plain("timestamptz")
        } else if seen.texts.dates == texts {
            plain("date")
        } else if seen.texts.uuids == texts {
            plain("uuid")
        } else {
            plain("text")
        }
    } else if seen.only(&[Type::N, Type::S]) && seen.texts.numbers.all == texts {
        let epochs = seen.numbers.epochs.iter().position(|count| *count == numbers);
        match epochs.filter(|_| texts == 0 && names_a_time(attribute)) {
            Some(unit) => {
                let step = ["epoch_seconds", "epoch_milliseconds", "epoch_microseconds"][unit];
                Some(("timestamptz", Some(step), None))
            }
            None if seen.numbers.integers + seen.texts.numbers.integers == values => plain("bigint"),
            None => plain("numeric"),
        }
    } else if seen.only(&[Type::S, Type::N, Type::Bool]) && !seen.only(&[Type::Bool]) {
        let accept = [Type::S, Type::N, Type::Bool].into_iter().filter(|ty| seen.of(*ty) > 0).collect();
        Some(("text", None, Some(accept)))
    } else if seen.only(&[Type::Bool]) {
        plain("boolean")
    } else if seen.only(&[Type::B]) {
        plain("bytea")
    } else if seen.only(&[Type::Ss]) {
        plain("text[]")
    } else if seen.only(&[Type::Ns]) {
        let Numbers { all, integers, .. } = seen.members;
        plain(if all == integers { "bigint[]" } else { "numeric[]" })
    } else if seen.only(&[Type::Bs]) {
        plain("bytea[]")
    } else {
        plain("jsonb")
    }
}

/// Whether a number of that name may be a time.
fn names_a_time(attribute: &str) -> bool {
    const WORDS: [&str; 16] = [
        "at",
        "on",
        "time",
        "date",
        "timestamp",
        "ts",
        "ttl",
        "created",
        "updated",
        "modified",
        "deleted",
        "expires",
        "expiry",
        "expiration",
        "since",
        "until",
    ];
    let snake = snake_case(attribute);
    snake.split('_').any(|word| WORDS.contains(&word)) || snake.ends_with("time") || snake.ends_with("date")
}

/// `N 98%, S 2%; in 40% of items; at most 36 characters`
fn comment(seen: &Attribute, items: u64) -> String {
    let types = seen.types();
    let mut parts = vec![match types.as_slice() {
        [(ty, _)] => ty.name().to_owned(),
        several => {
            let shares = several.iter().map(|(ty, count)| format!("{} {}", ty.name(), percent(*count, seen.count())));
            shares.collect::<Vec<_>>().join(", ")
        }
    }];
    if seen.count() < items {
        parts.push(format!("in {} of items", percent(seen.count(), items)));
    }
    if seen.of(Type::S) > 0 {
        parts.push(format!("at most {} characters", seen.texts.longest));
    }
    parts.join("; ")
}

/// A share that is neither 0 nor all is never shown as such.
fn percent(part: u64, of: u64) -> String {
    let rounded = (u128::from(part) * 200 + u128::from(of)) / (u128::from(of).max(1) * 2);
    match rounded {
        0 if part > 0 => "<1%".to_owned(),
        100 if part < of => ">99%".to_owned(),
        rounded => format!("{rounded}%"),
    }
}

/// A name of an attribute where a line break would end the comment.
pub(crate) fn for_comment(name: &str) -> String {
    name.chars().flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_people_write_in_sql() {
        for (attribute, expected) in [
            ("createdAt", "created_at"),
            ("GSI1PK", "gsi1pk"),
            ("HTTPStatus", "http_status"),
            ("a.b c", "a_b_c"),
            ("$file", "file"),
            ("été", "t"),
            ("", ""),
            ("☃", ""),
            ("3d", "_3d"),
            ("order", "order"),
        ] {
            assert_eq!(snake_case(attribute), expected, "{attribute}");
        }
    }

    #[test]
    fn a_table_has_each_name_once() {
        let mut names = Names::default();
        assert_eq!(names.for_attribute("userId"), "user_id");
        assert_eq!(names.for_attribute("user_id"), "user_id_2");
        assert_eq!(names.for_attribute("☃"), "_attribute");
        assert_eq!(names.for_attribute("xmin"), "xmin_attribute");
        let long = names.for_attribute(&"x".repeat(70));
        let other = names.for_attribute(&"x".repeat(71));
        assert_eq!((long.len(), other.len()), (63, 63));
        assert_ne!(long, other);
    }

    #[test]
    fn a_share_is_all_or_nothing_only_if_it_is() {
        assert_eq!(percent(1, 1000), "<1%");
        assert_eq!(percent(999, 1000), ">99%");
        assert_eq!(percent(1000, 1000), "100%");
        assert_eq!(percent(2, 3), "67%");
    }
}
