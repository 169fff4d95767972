//! Attribute values, lent from a line; those that are lists lie in the memory of its decoder. How they are found, `decode`
//! knows.

use std::borrow::Cow;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::decode::Encoding;
use crate::number;
use crate::shape::Shape;

/// A JSON string as it stands in the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text<'a> {
    pub(crate) json: &'a str,
    pub(crate) escaped: bool,
    pub(crate) nul: bool,
}

impl<'a> Text<'a> {
    /// The string with its quotes and escapes: valid JSON.
    pub fn json(self) -> &'a str {
        self.json
    }

    /// The text that it stands for.
    pub fn get(self) -> Cow<'a, str> {
        let inner = &self.json[1..self.json.len() - 1];
        if !self.escaped {
            return Cow::Borrowed(inner);
        }
        // The escapes were checked when the line was decoded.
        serde_json::from_str(self.json).map_or(Cow::Borrowed(inner), Cow::Owned)
    }

    /// The text, if it stands there without an escape.
    #[inline]
    pub fn plain(self) -> Option<&'a str> {
        (!self.escaped).then(|| &self.json[1..self.json.len() - 1])
    }

    /// Whether it holds U+0000, which no text of PostgreSQL can.
    pub fn has_nul(self) -> bool {
        self.nul
    }

    #[inline]
    pub(crate) fn is(self, text: &str) -> bool {
        if self.escaped {
            return self.get() == text;
        }
        self.json.len() == text.len() + 2 && self.json.as_bytes()[1..].starts_with(text.as_bytes())
    }
}

/// A number: a decimal text with every digit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number<'a> {
    /// As it stands between its quotes.
    pub(crate) text: &'a str,
    pub(crate) form: Form,
}

/// How a number is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Digits alone, the first one not 0 unless it is the only one.
    Whole,
    /// As JSON writes numbers (RFC 8259, section 6).
    Json,
    /// In a way that JSON does not have, `+7` or `.5`.
    Other,
    /// With escapes of JSON in it.
    Escaped,
}

impl<'a> Number<'a> {
    /// The digits, as they were written.
    pub fn get(self) -> Cow<'a, str> {
        if self.form != Form::Escaped {
            return Cow::Borrowed(self.text);
        }
        // The escapes were checked when the line was decoded.
        serde_json::from_str(&format!("\"{}\"", self.text)).map_or(Cow::Borrowed(self.text), Cow::Owned)
    }

    /// The number in JSON, if it is written so.
    #[inline]
    pub fn json(self) -> Option<&'a str> {
        matches!(self.form, Form::Whole | Form::Json).then_some(self.text)
    }

    /// Its digits, if it is a whole number without a sign, an exponent or zeros in front.
    #[inline]
    pub fn whole(self) -> Option<&'a str> {
        (self.form == Form::Whole).then_some(self.text)
    }
}

/// The elements of a map or a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elements<'a, T> {
    pub(crate) elements: &'a [T],
    /// Whether a text or a name anywhere in them holds U+0000.
    pub(crate) nul: bool,
}

impl<T> Deref for Elements<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.elements
    }
}

/// The type of an attribute value (DynamoDB developer guide, "Data types").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// String.
    S,
    /// Number.
    N,
    /// Binary.
    B,
    /// Boolean.
    Bool,
    /// Null.
    Null,
    /// Map.
    M,
    /// List.
    L,
    /// String set.
    Ss,
    /// Number set.
    Ns,
    /// Binary set.
    Bs,
}

impl Type {
    /// Every one.
    pub const ALL: [Self; 10] =
        [Self::S, Self::N, Self::B, Self::Bool, Self::Null, Self::M, Self::L, Self::Ss, Self::Ns, Self::Bs];

    /// DynamoDB's name of the type.
    pub fn name(self) -> &'static str {
        match self {
            Self::S => "S",
            Self::N => "N",
            Self::B => "B",
            Self::Bool => "BOOL",
            Self::Null => "NULL",
            Self::M => "M",
            Self::L => "L",
            Self::Ss => "SS",
            Self::Ns => "NS",
            Self::Bs => "BS",
        }
    }

    /// The type of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|ty| ty.name() == name)
    }
}

/// An attribute value (DynamoDB API reference, "`AttributeValue`").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A string.
    S(Text<'a>),
    /// A number.
    N(Number<'a>),
    /// Binary, as base64.
    B(Text<'a>),
    /// The boolean true. (One variant with a `bool` would make every value slow to move: its place is odd.)
    True,
    /// The boolean false.
    False,
    /// Null.
    Null,
    /// A map.
    M(Elements<'a, (Text<'a>, Value<'a>)>),
    /// A list.
    L(Elements<'a, Value<'a>>),
    /// A set of strings.
    Ss(&'a [Text<'a>]),
    /// A set of numbers.
    Ns(&'a [Number<'a>]),
    /// A set of binaries.
    Bs(&'a [Text<'a>]),
}

impl Value<'_> {
    /// Its type.
    #[inline]
    pub fn ty(&self) -> Type {
        match self {
            Self::S(_) => Type::S,
            Self::N(_) => Type::N,
            Self::B(_) => Type::B,
            Self::True | Self::False => Type::Bool,
            Self::Null => Type::Null,
            Self::M(_) => Type::M,
            Self::L(_) => Type::L,
            Self::Ss(_) => Type::Ss,
            Self::Ns(_) => Type::Ns,
            Self::Bs(_) => Type::Bs,
        }
    }

    /// Writes the value as plain JSON: numbers with every digit, binary as base64, sets as arrays.
    pub fn write_json(&self, into: &mut String) {
        match self {
            Self::S(text) | Self::B(text) => into.push_str(text.json()),
            Self::N(number) => write_number(*number, into),
            Self::True => into.push_str("true"),
            Self::False => into.push_str("false"),
            Self::Null => into.push_str("null"),
            Self::M(entries) => write_object(entries, into),
            Self::L(values) => write_array(values, into, Self::write_json),
            Self::Ss(texts) | Self::Bs(texts) => write_array(texts, into, |text, into| into.push_str(text.json())),
            Self::Ns(numbers) => write_array(numbers, into, |number, into| write_number(*number, into)),
        }
    }

    /// Whether a text anywhere in the value holds U+0000.
    pub fn has_nul(&self) -> bool {
        match self {
            Self::S(text) => text.nul,
            Self::M(entries) => entries.nul,
            Self::L(values) => values.nul,
            Self::Ss(texts) => texts.iter().any(|text| text.nul),
            Self::N(_) | Self::B(_) | Self::True | Self::False | Self::Null | Self::Ns(_) | Self::Bs(_) => false,
        }
    }
}

fn write_number(number: Number<'_>, into: &mut String) {
    match number.json() {
        Some(json) => into.push_str(json),
        // It was checked when the line was decoded.
        None => into.push_str(&number::to_json(&number.get()).unwrap_or(Cow::Borrowed("null"))),
    }
}

fn write_array<T>(values: &[T], into: &mut String, write: impl Fn(&T, &mut String)) {
    into.push('[');
    for (place, value) in values.iter().enumerate() {
        if place > 0 {
            into.push(',');
        }
        write(value, into);
    }
    into.push(']');
}

fn write_object(entries: &[(Text<'_>, Value<'_>)], into: &mut String) {
    into.push('{');
    for (place, (name, value)) in entries.iter().enumerate() {
        if place > 0 {
            into.push(',');
        }
        into.push_str(name.json());
        into.push(':');
        value.write_json(into);
    }
    into.push('}');
}

/// The attributes of an item, in the order of the line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Item<'a> {
    pub(crate) attributes: &'a [(Text<'a>, Value<'a>)],
    pub(crate) shape: Shape,
    /// Where it was found: a line, or an image in one.
    pub(crate) json: &'a str,
    /// Whether that is a line.
    pub(crate) alone: bool,
    pub(crate) encoding: Encoding,
    pub(crate) nul: bool,
}

impl<'a> Item<'a> {
    /// The attribute of that name.
    pub fn get(&self, name: &str) -> Option<&'a Value<'a>> {
        self.attributes.iter().find(|(text, _)| text.is(name)).map(|(_, value)| value)
    }

    /// The attribute of that name. Where it was found is kept in `place` (0 in the beginning), so that it is not looked for
    /// again in items of the same shape; one name has one place.
    #[inline]
    pub fn get_at(&self, name: &str, place: &AtomicU64) -> Option<&'a Value<'a>> {
        let known = place.load(Ordering::Relaxed);
        if self.shape.knows(known) {
            return Some(&self.attributes.get(self.shape.position(known)?)?.1);
        }
        self.find(name, place)
    }

    fn find(&self, name: &str, place: &AtomicU64) -> Option<&'a Value<'a>> {
        let found = self.attributes.iter().position(|(text, _)| text.is(name))?;
        if let Some(known) = self.shape.place(found) {
            place.store(known, Ordering::Relaxed);
        }
        Some(&self.attributes[found].1)
    }

    /// Every attribute.
    pub fn attributes(&self) -> &'a [(Text<'a>, Value<'a>)] {
        self.attributes
    }

    /// Whether a text or a name anywhere in the item holds U+0000.
    pub fn has_nul(&self) -> bool {
        self.nul
    }

    /// How its line is written.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// The item as a line of its own, with `text` in place of every U+0000.
    pub fn line_without_nul(&self, text: &str) -> String {
        // JSON holds U+0000 as this one escape, and a backslash only in strings, where the character after it is its own.
        let replacement = serde_json::Value::from(text).to_string();
        let replacement = &replacement[1..replacement.len() - 1];
        let mut line = String::with_capacity(self.json.len());
        if !self.alone {
            line.push_str("{\"Item\":");
        }
        let mut rest = self.json;
        while let Some(place) = rest.find('\\') {
            line.push_str(&rest[..place]);
            rest = &rest[place..];
            let length = if rest.starts_with(r"\u0000") { 6 } else { 2 };
            line.push_str(if length == 6 { replacement } else { &rest[..length] });
            rest = &rest[length..];
        }
        line.push_str(rest);
        if !self.alone {
            line.push('}');
        }
        line
    }

    /// Writes the item as one plain JSON object, with the attribute at that place first.
    pub fn write_json_from(&self, first: usize, into: &mut String) {
        match self.attributes.split_at_checked(first) {
            Some((before, [first, after @ ..])) if !before.is_empty() => {
                let attributes: Vec<_> = std::iter::once(first).chain(before).chain(after).copied().collect();
                write_object(&attributes, into);
            }
            _ => write_object(self.attributes, into),
        }
    }

    /// Writes the item as one plain JSON object.
    pub fn write_json(&self, into: &mut String) {
        write_object(self.attributes, into);
    }
}
