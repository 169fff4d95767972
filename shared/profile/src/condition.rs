//! Conditions on items: how they are checked. How they are written is in `file`.

use std::borrow::Cow;
use std::cmp::Ordering;

use item::Value;
use item::number::{Decimal, is_json, plain};

use crate::convert::written;
use crate::jq::Filter;
use crate::plan::{Reference, Source};

/// A condition, ready to be checked.
#[derive(Debug)]
pub(crate) enum Condition {
    /// One attribute is as it should be.
    Test(Reference, Test),
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>),
    Jq(Box<Filter>),
}

/// What is asked of an attribute.
#[derive(Debug)]
pub(crate) enum Test {
    Exists(bool),
    OneOf(Vec<String>),
    NoneOf(Vec<String>),
    BeginsWith(String),
    /// It compares so with a number or a text; never one with the other.
    Compares(Wanted, Bound),
}

/// What a comparison has to be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wanted {
    Less,
    AtMost,
    Greater,
    AtLeast,
}

/// What an attribute is compared with.
#[derive(Debug)]
pub(crate) enum Bound {
    /// A number, with the bytes in whose order numbers are.
    Number {
        order: Vec<u8>,
        digits: String,
    },
    Text(String),
}

impl Condition {
    /// Whether it holds for what a row is made of.
    pub(crate) fn holds(&self, source: Source<'_>) -> bool {
        match self {
            Self::Test(reference, test) => test.holds(source.find(reference)),
            Self::All(conditions) => conditions.iter().all(|condition| condition.holds(source)),
            Self::Any(conditions) => conditions.iter().any(|condition| condition.holds(source)),
            Self::Not(condition) => !condition.holds(source),
            Self::Jq(filter) => filter.holds(source),
        }
    }
}

impl Condition {
    /// The attributes that it asks for, the first name of each.
    pub(crate) fn attributes(&self) -> Vec<&str> {
        match self {
            Self::Test(Reference::Attribute(way), _) => way.first().into_iter().collect(),
            Self::Test(..) => Vec::new(),
            Self::All(conditions) | Self::Any(conditions) => conditions.iter().flat_map(Self::attributes).collect(),
            Self::Not(condition) => condition.attributes(),
            // No attribute has this name: what a filter looks at is not known.
            Self::Jq(_) => vec!["a jq filter"],
        }
    }
}

impl Condition {
    /// The attributes of which it allows but one value.
    pub(crate) fn fixed(&self) -> Vec<&str> {
        match self {
            Self::Test(Reference::Attribute(way), Test::OneOf(texts)) if texts.len() == 1 => {
                way.only().into_iter().collect()
            }
            Self::All(conditions) => conditions.iter().flat_map(Self::fixed).collect(),
            Self::Test(..) | Self::Any(_) | Self::Not(_) | Self::Jq(_) => Vec::new(),
        }
    }
}

impl Test {
    fn holds(&self, value: Option<&Value<'_>>) -> bool {
        let value = value.filter(|value| !matches!(value, Value::Null));
        // A number is one however it is written: 1E2 equals 100, and 1.0 equals 1.
        let text = value.and_then(|value| match value {
            Value::S(text) => Some(text.get()),
            Value::N(number) => Some(Cow::Owned(plain(&number.get()).into_owned())),
            Value::True => Some(Cow::Borrowed(written(true))),
            Value::False => Some(Cow::Borrowed(written(false))),
            _ => None,
        });
        let is = |wanted: &String| {
            let same_number = || match value {
                Some(Value::N(found)) => number(&found.get()).is_some_and(|found| number(wanted) == Some(found)),
                _ => false,
            };
            text.as_deref() == Some(wanted.as_str()) || (is_json(wanted.as_bytes()) && same_number())
        };
        match self {
            Self::Exists(wanted) => value.is_some() == *wanted,
            Self::OneOf(texts) => texts.iter().any(is),
            Self::NoneOf(texts) => !texts.iter().any(is),
            Self::BeginsWith(prefix) => text.is_some_and(|text| text.starts_with(prefix.as_str())),
            Self::Compares(wanted, bound) => bound.compare(value).is_some_and(|found| wanted.is(found)),
        }
    }
}

impl Wanted {
    fn is(self, found: Ordering) -> bool {
        match self {
            Self::Less => found.is_lt(),
            Self::AtMost => found.is_le(),
            Self::Greater => found.is_gt(),
            Self::AtLeast => found.is_ge(),
        }
    }
}

/// Bytes in whose order numbers are, whatever their size and form.
fn number(digits: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    Decimal::parse(digits).ok()?.write_order(&mut bytes);
    Some(bytes)
}

impl Bound {
    /// A number to compare with.
    pub(crate) fn number(digits: &str) -> Option<Self> {
        number(digits).map(|order| Self::Number { order, digits: digits.to_owned() })
    }

    /// How the value compares with this, if it does.
    fn compare(&self, value: Option<&Value<'_>>) -> Option<Ordering> {
        match (self, value?) {
            (Self::Number { order, .. }, Value::N(found)) => Some(number(&found.get())?.cmp(order)),
            (Self::Text(bound), Value::S(text)) => Some((*text.get()).cmp(bound)),
            _ => None,
        }
    }
}
