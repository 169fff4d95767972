//! From the bytes of a line to an [`Item`]. What the values are is in `value`, the records of increments in `change`.

#![expect(clippy::unnecessary_box_returns, reason = "what is returned with an error has to fit into registers")]
#![expect(clippy::inline_always, reason = "without it a call for each value takes one in twelve instructions")]

use std::collections::HashSet;
use std::mem;

use bumpalo::{Bump, collections as memory};
use smallvec::SmallVec;

use crate::change::{self, Change};
use crate::error::{Error, shorten};
use crate::number;
use crate::scan::{end_of_plain_string, special};
use crate::shape::{Names, Shape};
use crate::value::{Elements, Form, Item, Number, Text, Type, Value};

/// DynamoDB nests at most 32 levels ("Service, account, and table quotas"); a line that goes on much deeper is an
/// attack on the stack.
const DEEPEST: usize = 128;

/// Room for as many attributes as most items have.
const ATTRIBUTES: usize = 16;

pub(crate) type Attributes<'a> = &'a [(Text<'a>, Value<'a>)];

/// The elements of a list or map until their number is known: memory that is lent takes nothing back that was too small.
type Few<T> = SmallVec<[T; 8]>;

/// An error in a box, so that what is returned in its place fits into registers.
pub(crate) type Result<T, E = Box<Error>> = std::result::Result<T, E>;

/// What is said of a record of an incremental export where an item is wanted.
const IS_CHANGE: &str = "it is a record of an incremental export";

/// How records are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// `{"Item":{"Id":{"N":"1"}}}`: DynamoDB's own JSON, with a type for each value.
    #[default]
    DynamodbJson,
    /// `{"Id":1}`: plain JSON, as other sources write it.
    Json,
}

/// What a line of an export is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// The state of an item, as full exports have it.
    Item(Item<'a>),
    /// What has become of an item in a period, as incremental exports have it.
    Change(Box<Change<'a>>),
}

/// Decodes one line. The attributes lie in that memory.
pub fn decode<'a>(line: &'a [u8], encoding: Encoding, memory: &'a Bump) -> Result<Item<'a>, Error> {
    Decoder::default().decode(line, encoding, memory)
}

/// Decodes line after line. Most items of a table have the same attributes in the same order, so those of the item
/// before are looked for first; what is found does not depend on it. A clone gives items the same shapes.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    names: Names,
}

impl Decoder {
    /// Decodes one line, as [`decode`] does.
    pub fn decode<'a>(&mut self, line: &'a [u8], encoding: Encoding, memory: &'a Bump) -> Result<Item<'a>, Error> {
        let mut scanner = Scanner::new(line, memory)?;
        let attributes = scanner.line(encoding, &mut self.names).map_err(|error| *error)?;
        Ok(scanner.item_of(attributes, encoding))
    }

    /// Decodes one line of a full or an incremental export. In [`Encoding::Json`] every line is an item.
    pub fn decode_record<'a>(
        &mut self,
        line: &'a [u8],
        encoding: Encoding,
        memory: &'a Bump,
    ) -> Result<Record<'a>, Error> {
        let mut scanner = Scanner::new(line, memory)?;
        // By the first key, so that neither is tried in vain.
        if encoding == Encoding::Json || !change::begins(scanner.text) {
            match scanner.line(encoding, &mut self.names).map_err(|error| *error) {
                Ok(attributes) => return Ok(Record::Item(scanner.item_of(attributes, encoding))),
                Err(Error::NoItem { message }) if message == IS_CHANGE => scanner = Scanner::new(line, memory)?,
                Err(error) => return Err(error),
            }
        }
        let change = scanner.change(&mut self.names).map_err(|error| *error)?;
        Ok(Record::Change(Box::new(change)))
    }
}

/// The type whose name stands at the beginning of a value as DynamoDB writes it, without white space, and how many bytes
/// come before what has that type. Types that are rare are left out.
#[inline]
fn usual_type(value: &[u8]) -> Option<(Type, usize)> {
    // Compared as numbers, of five, six and eight bytes.
    const fn number(beginning: [u8; 8]) -> u64 {
        u64::from_le_bytes(beginning)
    }
    const S: u64 = number(*b"{\"S\":\0\0\0");
    const N: u64 = number(*b"{\"N\":\0\0\0");
    const M: u64 = number(*b"{\"M\":\0\0\0");
    const L: u64 = number(*b"{\"L\":\0\0\0");
    const SS: u64 = number(*b"{\"SS\":\0\0");
    const BOOL: u64 = number(*b"{\"BOOL\":");
    let beginning = number(*value.first_chunk()?);
    match beginning & (u64::MAX >> 24) {
        S => Some((Type::S, 5)),
        N => Some((Type::N, 5)),
        M => Some((Type::M, 5)),
        L => Some((Type::L, 5)),
        _ if beginning == BOOL => Some((Type::Bool, 8)),
        _ if beginning & (u64::MAX >> 16) == SS => Some((Type::Ss, 6)),
        _ => None,
    }
}

pub(crate) struct Scanner<'a> {
    pub(crate) text: &'a str,
    bytes: &'a [u8],
    memory: &'a Bump,
    pub(crate) at: usize,
    depth: usize,
    /// Whether some text held U+0000.
    pub(crate) nul: bool,
    /// Of the item that was read.
    pub(crate) shape: Shape,
}

impl<'a> Scanner<'a> {
    fn new(line: &'a [u8], memory: &'a Bump) -> Result<Self, Error> {
        let text = match simdutf8::basic::from_utf8(line) {
            Ok(text) => text,
            // The other one says where.
            Err(_) => std::str::from_utf8(line).map_err(|error| Error::Utf8 { column: error.valid_up_to() + 1 })?,
        };
        Ok(Self { text, bytes: line, memory, at: 0, depth: 0, nul: false, shape: Shape::default() })
    }

    fn item_of(&self, attributes: Attributes<'a>, encoding: Encoding) -> Item<'a> {
        Item { attributes, shape: self.shape, json: self.text, alone: true, encoding, nul: self.nul }
    }

    #[cold]
    pub(crate) fn error(&self, message: &'static str) -> Box<Error> {
        Box::new(Error::Json { column: self.at + 1, message })
    }

    #[inline]
    pub(crate) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    pub(crate) fn space(&mut self) {
        // There hardly ever is any: one comparison has to do.
        while let Some(byte) = self.peek()
            && byte <= b' '
            && matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
        {
            self.at += 1;
        }
    }

    /// Passes a byte and the white space after it.
    #[inline]
    pub(crate) fn pass(&mut self, byte: u8, message: &'static str) -> Result<()> {
        if self.peek() != Some(byte) {
            return Err(self.error(message));
        }
        self.at += 1;
        self.space();
        Ok(())
    }

    /// Whether another element follows in an object or array that ends in `end`; passes the separator or the end.
    #[inline]
    pub(crate) fn more(&mut self, first: bool, end: u8) -> Result<bool> {
        match self.peek() {
            Some(byte) if byte == end => {
                self.at += 1;
                self.space();
                Ok(false)
            }
            Some(b',') if !first => {
                self.at += 1;
                self.space();
                Ok(true)
            }
            _ if first => Ok(true),
            _ if end == b'}' => Err(self.error("`,` or `}` was expected")),
            _ => Err(self.error("`,` or `]` was expected")),
        }
    }

    #[inline(always)]
    pub(crate) fn text(&mut self) -> Result<Text<'a>> {
        // Most have no escape.
        let Some((text, end)) = self.plain_text(self.at) else { return self.escaped_text() };
        self.at = end;
        self.space();
        Ok(text)
    }

    /// The string without an escape that begins there, and where it ends.
    #[inline(always)]
    fn plain_text(&self, start: usize) -> Option<(Text<'a>, usize)> {
        let end = end_of_plain_string(self.bytes, start)?;
        Some((Text { json: &self.text[start..end], escaped: false, nul: false }, end))
    }

    #[inline(never)]
    fn escaped_text(&mut self) -> Result<Text<'a>> {
        if self.peek() != Some(b'"') {
            return Err(self.error("a string was expected"));
        }
        let start = self.at;
        self.at += 1;
        let (mut escaped, mut nul) = (false, false);
        loop {
            self.at = special(&self.bytes[self.at..]).map_or(self.bytes.len(), |place| self.at + place);
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    nul |= self.escape()? == 0;
                }
                Some(_) => return Err(self.error("a control character stands in a string")),
                None => return Err(self.error("the string does not end")),
            }
        }
        self.at += 1;
        self.nul |= nul;
        let text = Text { json: &self.text[start..self.at], escaped, nul };
        self.space();
        Ok(text)
    }

    /// Passes an escape; its character, or 1 for those that are never U+0000.
    fn escape(&mut self) -> Result<u32> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 1;
                Ok(1)
            }
            Some(b'u') => {
                let unit = self.unit()?;
                match unit {
                    0xD800..=0xDBFF => {
                        let low = if self.bytes[self.at..].starts_with(br"\u") {
                            self.at += 1;
                            self.unit()?
                        } else {
                            0
                        };
                        if (0xDC00..=0xDFFF).contains(&low) {
                            Ok(1)
                        } else {
                            Err(self.error("a lone surrogate stands in a string"))
                        }
                    }
                    0xDC00..=0xDFFF => Err(self.error("a lone surrogate stands in a string")),
                    other => Ok(other),
                }
            }
            _ => Err(self.error("an escape that JSON does not have")),
        }
    }

    /// Passes `uXXXX`.
    fn unit(&mut self) -> Result<u32> {
        let digits = self.bytes.get(self.at + 1..self.at + 5).unwrap_or_default();
        let mut unit = 0;
        for &digit in digits {
            let Some(value) = char::from(digit).to_digit(16) else {
                return Err(self.error("four hexadecimal digits were expected"));
            };
            unit = unit * 16 + value;
        }
        if digits.len() < 4 {
            return Err(self.error("four hexadecimal digits were expected"));
        }
        self.at += 5;
        Ok(unit)
    }

    fn boolean(&mut self) -> Result<Value<'a>> {
        let rest = &self.bytes[self.at..];
        let (length, truth) = if rest.starts_with(b"true") {
            (4, Value::True)
        } else if rest.starts_with(b"false") {
            (5, Value::False)
        } else {
            return Err(self.error("`true` or `false` was expected"));
        };
        self.at += length;
        self.space();
        Ok(truth)
    }

    fn enter(&mut self) -> Result<()> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.error("nested deeper than 128 levels"));
        }
        Ok(())
    }

    /// The whole line.
    fn line(&mut self, encoding: Encoding, names: &mut Names) -> Result<Attributes<'a>> {
        self.space();
        let attributes = match encoding {
            Encoding::DynamodbJson => self.record(names)?,
            Encoding::Json => self.plain_record()?,
        };
        self.space();
        if self.at < self.bytes.len() {
            return Err(self.error("the end of the line was expected"));
        }
        Ok(attributes)
    }

    /// `{"Item":{...}}`.
    fn record(&mut self, names: &mut Names) -> Result<Attributes<'a>> {
        if self.peek() != Some(b'{') {
            // Tell a line that is other JSON from one that is none.
            let message = "the line is no JSON object".to_owned();
            self.plain_value()?;
            return if self.at == self.bytes.len() {
                Err(Box::new(Error::NoItem { message }))
            } else {
                Err(self.error("the end of the line was expected"))
            };
        }
        let start = self.at;
        self.pass(b'{', "`{` was expected")?;
        if self.peek() == Some(b'"') {
            let name = self.text()?;
            self.pass(b':', "`:` was expected")?;
            if name.is("Item") && self.peek() == Some(b'{') {
                let attributes = self.item(names)?;
                if self.peek() == Some(b'}') {
                    self.at += 1;
                    return Ok(attributes);
                }
            }
        }
        self.at = start;
        self.depth = 0;
        let other = self.plain_record()?;
        self.space();
        if self.at < self.bytes.len() {
            return Err(self.error("the end of the line was expected"));
        }
        let has = |name: &str| other.iter().any(|(text, _)| text.is(name));
        let message = if has("Item") {
            "`Item` must be an object and stand alone"
        } else if has("Keys") {
            IS_CHANGE
        } else {
            "the key `Item` is missing"
        };
        Err(Box::new(Error::NoItem { message: message.to_owned() }))
    }

    /// The attributes of an item, by the names of the one before as far as they are the same.
    pub(crate) fn item(&mut self, names: &mut Names) -> Result<Attributes<'a>> {
        self.enter()?;
        self.pass(b'{', "`{` was expected")?;
        let mut entries = memory::Vec::with_capacity_in(names.count().max(ATTRIBUTES), self.memory);
        let (mut next, mut all_known, mut has) = (0, true, 0);
        while self.more(entries.is_empty(), b'}')? {
            let name = if let Some((place, length)) = names.find(next, &self.bytes[self.at..]) {
                let colon = self.at + length - 1;
                let name = Text { json: &self.text[self.at..colon], escaped: false, nul: false };
                self.at = colon + 1;
                self.space();
                next = place + 1;
                // With more than 64 names the list has no number, and no item a shape.
                has |= 1 << (place % 64);
                name
            } else {
                all_known = false;
                let name = self.text()?;
                self.pass(b':', "`:` was expected")?;
                name
            };
            let value = self.value().map_err(|error| Box::new(error.within(&name.get())))?;
            entries.push((name, value));
        }
        self.depth -= 1;
        // Names that are all known come in one order, and so none of them twice.
        self.shape = if all_known {
            names.shape(has)
        } else {
            unique(&entries)?;
            names.learn(&entries)
        };
        Ok(entries.into_bump_slice())
    }

    /// An object of names and attribute values.
    pub(crate) fn attributes(&mut self) -> Result<Attributes<'a>> {
        self.object(|scanner, name| scanner.value().map_err(|error| Box::new(error.within(&name.get()))))
    }

    /// An object whose values are read so, by their names.
    #[inline]
    fn object(&mut self, value: impl Fn(&mut Self, &Text<'a>) -> Result<Value<'a>>) -> Result<Attributes<'a>> {
        self.enter()?;
        self.pass(b'{', "`{` was expected")?;
        let mut entries = Few::new();
        while self.more(entries.is_empty(), b'}')? {
            let name = self.text()?;
            self.pass(b':', "`:` was expected")?;
            let value = value(self, &name)?;
            entries.push((name, value));
        }
        self.depth -= 1;
        unique(&entries)?;
        Ok(self.memory.alloc_slice_copy(&entries))
    }

    /// `{"S":"text"}`: one type and its value.
    #[inline(always)]
    fn value(&mut self) -> Result<Value<'a>> {
        let usual = usual_type(&self.bytes[self.at..]);
        if let Some((value, end)) = usual.and_then(|(ty, length)| self.usual_value(ty, self.at + length)) {
            self.at = end;
            self.space();
            return Ok(value);
        }
        self.other_value(usual)
    }

    /// The string or number that begins there, without white space or an escape, and where its attribute value ends.
    #[inline(always)]
    fn usual_value(&self, ty: Type, start: usize) -> Option<(Value<'a>, usize)> {
        let (value, end) = match ty {
            Type::S => self.plain_text(start).map(|(text, end)| (Value::S(text), end))?,
            Type::N => self.plain_number(start).map(|(number, end)| (Value::N(number), end))?,
            _ => return None,
        };
        (self.bytes.get(end) == Some(&b'}')).then_some((value, end + 1))
    }

    /// A value of any type, however it is written; what [`usual_type`] says of it is known.
    #[inline(never)]
    fn other_value(&mut self, usual: Option<(Type, usize)>) -> Result<Value<'a>> {
        let ty = match usual {
            Some((ty, length)) => {
                self.at += length;
                self.space();
                ty
            }
            None => self.other_type()?,
        };
        let value = match ty {
            Type::S => Value::S(self.string("S")?),
            Type::N => Value::N(self.number()?),
            Type::B => Value::B(self.binary("B")?),
            Type::Bool => match self.peek() {
                Some(b't' | b'f') => self.boolean()?,
                _ => return Err(self.other("BOOL", "true or false")),
            },
            Type::Null => match self.peek() {
                Some(b't') if self.boolean()? == Value::True => Value::Null,
                _ => return Err(self.other("NULL", "true")),
            },
            Type::M => match self.peek() {
                Some(b'{') => Value::M(self.elements(Self::attributes)?),
                _ => return Err(self.other("M", "an object")),
            },
            Type::L => Value::L(self.elements(|scanner| scanner.list("L", Self::value))?),
            Type::Ss => Value::Ss(self.list("SS", |scanner| scanner.string("SS"))?),
            Type::Ns => Value::Ns(self.list("NS", Self::number)?),
            Type::Bs => Value::Bs(self.list("BS", |scanner| scanner.binary("BS"))?),
        };
        match self.peek() {
            Some(b'}') => {
                self.at += 1;
                self.space();
                Ok(value)
            }
            Some(b',') => Err(attribute("more than one type")),
            _ => Err(self.error("`}` was expected")),
        }
    }

    /// Passes the beginning of a value up to the colon after its type, however it is written.
    #[inline(never)]
    fn other_type(&mut self) -> Result<Type> {
        if self.peek() != Some(b'{') {
            let found = self.kind();
            self.plain_value()?;
            return Err(attribute(format!("{found} stands where a type such as {{\"S\":...}} was expected")));
        }
        self.pass(b'{', "`{` was expected")?;
        if self.peek() == Some(b'}') {
            return Err(attribute("the type is missing"));
        }
        let name = self.text()?;
        self.pass(b':', "`:` was expected")?;
        let name = name.get();
        Type::named(&name).ok_or_else(|| attribute(format!("`{}` is not a type of DynamoDB", shorten(&name))))
    }

    /// A value of another kind than its type asks for; or the error of a line that is no JSON there.
    #[cold]
    fn other(&mut self, tag: &str, wanted: &str) -> Box<Error> {
        let found = self.kind();
        match self.plain_value() {
            Ok(_) => attribute(format!("the value of {tag} must be {wanted}, not {found}")),
            Err(error) => error,
        }
    }

    pub(crate) fn kind(&self) -> &'static str {
        match self.peek() {
            Some(b'{') => "an object",
            Some(b'[') => "an array",
            Some(b'"') => "a string",
            Some(b't' | b'f') => "a boolean",
            Some(b'n') => "null",
            _ => "a number",
        }
    }

    #[inline]
    fn string(&mut self, tag: &str) -> Result<Text<'a>> {
        if self.peek() == Some(b'"') { self.text() } else { Err(self.other(tag, "a string")) }
    }

    fn binary(&mut self, tag: &str) -> Result<Text<'a>> {
        let text = self.string(tag)?;
        if text.nul { Err(attribute(format!("the value of {tag} is not base64"))) } else { Ok(text) }
    }

    #[inline]
    fn number(&mut self) -> Result<Number<'a>> {
        // As DynamoDB writes them all.
        let Some((number, end)) = self.plain_number(self.at) else { return self.other_number() };
        self.at = end;
        self.space();
        Ok(number)
    }

    /// The string that begins there and is a number as JSON writes them, and where it ends.
    #[inline(always)]
    fn plain_number(&self, start: usize) -> Option<(Number<'a>, usize)> {
        let digits = self.bytes.get(start..)?.strip_prefix(b"\"")?;
        let (length, form) = number::begin(digits);
        let end = start + 1 + length;
        let is_one = length > 0 && digits.get(length) == Some(&b'"');
        is_one.then(|| (Number { text: &self.text[start + 1..end], form }, end + 1))
    }

    /// A number in a form that JSON does not have (`+7`, `.5`) or with escapes.
    #[inline(never)]
    fn other_number(&mut self) -> Result<Number<'a>> {
        let text = self.string("N")?;
        let form = if text.escaped { Form::Escaped } else { Form::Other };
        let number = Number { text: &text.json[1..text.json.len() - 1], form };
        if number::Decimal::parse(&number.get()).is_err() {
            return Err(attribute(format!("`{}` is not a number", shorten(&text.get()))));
        }
        Ok(number)
    }

    fn list<T: Copy>(&mut self, tag: &str, element: impl Fn(&mut Self) -> Result<T>) -> Result<&'a [T]> {
        if self.peek() != Some(b'[') {
            return Err(self.other(tag, "an array"));
        }
        self.enter()?;
        self.pass(b'[', "`[` was expected")?;
        let mut values = Few::new();
        while self.more(values.is_empty(), b']')? {
            values.push(element(self).map_err(|error| Box::new(error.within(&format!("[{}]", values.len()))))?);
        }
        self.depth -= 1;
        Ok(self.memory.alloc_slice_copy(&values))
    }

    /// Reads the elements of a list or a map, and notes if there is a U+0000 in them.
    #[inline]
    fn elements<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<&'a [T]>) -> Result<Elements<'a, T>> {
        let before = mem::take(&mut self.nul);
        let elements = read(self)?;
        let nul = mem::replace(&mut self.nul, before);
        self.nul |= nul;
        Ok(Elements { elements, nul })
    }

    /// An object of plain JSON, which the whole line is.
    fn plain_record(&mut self) -> Result<Attributes<'a>> {
        match self.plain_value()? {
            Value::M(entries) => Ok(entries.elements),
            _ => Err(Box::new(Error::NoItem { message: "the line is no JSON object".to_owned() })),
        }
    }

    pub(crate) fn plain_value(&mut self) -> Result<Value<'a>> {
        match self.peek() {
            Some(b'"') => Ok(Value::S(self.text()?)),
            Some(b'{') => Ok(Value::M(self.elements(|scanner| scanner.object(|scanner, _| scanner.plain_value()))?)),
            Some(b'[') => Ok(Value::L(self.elements(|scanner| scanner.list("L", Self::plain_value))?)),
            Some(b't' | b'f') => self.boolean(),
            Some(b'n') if self.bytes[self.at..].starts_with(b"null") => {
                self.at += 4;
                self.space();
                Ok(Value::Null)
            }
            Some(b'-' | b'0'..=b'9') => {
                let rest = &self.bytes[self.at..];
                let part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
                let length = rest.iter().take_while(|byte| part(byte)).count();
                let (found, form) = number::begin(&rest[..length]);
                if found == 0 || found < length {
                    return Err(self.error("a number was expected"));
                }
                let text = &self.text[self.at..self.at + length];
                self.at += length;
                self.space();
                Ok(Value::N(Number { text, form }))
            }
            _ => Err(self.error("a value was expected")),
        }
    }
}

#[cold]
fn attribute(message: impl Into<String>) -> Box<Error> {
    Box::new(Error::attribute(message))
}

/// A name that comes twice would lose one of its values.
fn unique(entries: &[(Text<'_>, Value<'_>)]) -> Result<()> {
    let double = |name: &Text<'_>| Box::new(attribute("the name comes twice").within(&name.get()));
    if entries.len() > 24 || entries.iter().any(|(name, _)| name.escaped) {
        let mut seen = HashSet::with_capacity(entries.len());
        return entries.iter().find(|(name, _)| !seen.insert(name.get())).map_or(Ok(()), |(name, _)| Err(double(name)));
    }
    for (place, (name, _)) in entries.iter().enumerate() {
        if entries[..place].iter().any(|(before, _)| before.json == name.json) {
            return Err(double(name));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;
    use proptest::prelude::*;

    fn plain(line: &str) -> Result<String, String> {
        let memory = Bump::new();
        let item = decode(line.as_bytes(), Encoding::DynamodbJson, &memory).map_err(|error| error.to_string())?;
        let mut json = String::new();
        item.write_json(&mut json);
        Ok(json)
    }

    #[test]
    fn every_type_becomes_plain_json_with_every_digit() {
        let line = r#" {"Item" : {"s":{"S":"a\"\u00e9"},"n":{"N":"12345678901234567890.123456789012345678"},
            "e":{"S":""},"b":{"B":"AAEC"},"t":{"BOOL":true},"f":{"BOOL":false},"z":{"NULL":true},
            "m":{"M":{"S":{"S":"x"},"k":{"M":{}}}},"l":{"L":[{"N":"1E+2"},{"L":[]},{"NULL":true}]},
            "ss":{"SS":["b","a"]},"ns":{"NS":["3","2.50"]},"bs":{"BS":["AA=="]}} }"#
            .replace('\n', " ");
        let expected = r#"{"s":"a\"\u00e9","n":12345678901234567890.123456789012345678,"e":"","b":"AAEC","t":true,"f":false,"z":null,"m":{"S":"x","k":{}},"l":[1E+2,[],null],"ss":["b","a"],"ns":[3,2.50],"bs":["AA=="]}"#;
        assert_eq!(plain(&line).unwrap(), expected);
    }

    #[test]
    fn names_on_which_others_stumble_are_names() {
        let line = r#"{"Item":{"Item":{"S":"1"},"S":{"S":"2"},"__proto__":{"S":"3"},"$1":{"S":"4"},"":{"S":"5"},"a.b":{"M":{"S":{"N":"6"}}}}}"#;
        let expected = r#"{"Item":"1","S":"2","__proto__":"3","$1":"4","":"5","a.b":{"S":6}}"#;
        assert_eq!(plain(line).unwrap(), expected);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (line, message) in [
            ("", "not JSON at column 1: a value was expected"),
            ("[1]", "not an item: the line is no JSON object"),
            ("{oops}", "not JSON at column 2: a string was expected"),
            ("{}", "not an item: the key `Item` is missing"),
            (r#"{"Item":1}"#, "not an item: `Item` must be an object and stand alone"),
            (r#"{"Item":{},"x":1}"#, "not an item: `Item` must be an object and stand alone"),
            (r#"{"Keys":{},"NewImage":{}}"#, "not an item: it is a record of an incremental export"),
            (r#"{"Item":{}"#, "not JSON at column 11: `,` or `}` was expected"),
            (r#"{"Item":{}} x"#, "not JSON at column 13: the end of the line was expected"),
            (r#"{"Item":{"a":{"S":"x"},}}"#, "not JSON at column 24: a string was expected"),
            (r#"{"Item":{"a":{"S":1}}}"#, "attribute `a`: the value of S must be a string, not a number"),
            (r#"{"Item":{"a":{"N":1}}}"#, "attribute `a`: the value of N must be a string, not a number"),
            (r#"{"Item":{"a":{"N":""}}}"#, "attribute `a`: `` is not a number"),
            (r#"{"Item":{"a":{"N":"ten"}}}"#, "attribute `a`: `ten` is not a number"),
            (r#"{"Item":{"a":{"B":"AA\u0000=="}}}"#, "attribute `a`: the value of B is not base64"),
            (r#"{"Item":{"a":{"BS":["AA==","\u0000"]}}}"#, "attribute `a[1]`: the value of BS is not base64"),
            (r#"{"Item":{"a":{"NS":["1","x"]}}}"#, "attribute `a[1]`: `x` is not a number"),
            (
                r#"{"Item":{"a":{"L":[{"M":{"b":{"BOOL":"yes"}}}]}}}"#,
                "attribute `a[0].b`: the value of BOOL must be true or false, not a string",
            ),
            (r#"{"Item":{"a":{"NULL":false}}}"#, "attribute `a`: the value of NULL must be true, not a boolean"),
            (r#"{"Item":{"a":{}}}"#, "attribute `a`: the type is missing"),
            (r#"{"Item":{"a":{"S":"x","N":"1"}}}"#, "attribute `a`: more than one type"),
            (r#"{"Item":{"a":{"X":"x"}}}"#, "attribute `a`: `X` is not a type of DynamoDB"),
            (r#"{"Item":{"a":"x"}}"#, "attribute `a`: a string stands where a type such as {\"S\":...} was expected"),
            (r#"{"Item":{"a":{"S":"x"},"a":{"S":"y"}}}"#, "attribute `a`: the name comes twice"),
            (r#"{"Item":{"a":{"S":"x"},"\u0061":{"S":"y"}}}"#, "attribute `a`: the name comes twice"),
            (r#"{"Item":{"a":{"S":"\ud800"}}}"#, "not JSON at column 26: a lone surrogate stands in a string"),
            (r#"{"Item":{"a":{"S":"\udc00"}}}"#, "not JSON at column 26: a lone surrogate stands in a string"),
            (r#"{"Item":{"a":{"S":"\x"}}}"#, "not JSON at column 21: an escape that JSON does not have"),
            ("{\"Item\":{\"a\":{\"S\":\"\t\"}}}", "not JSON at column 20: a control character stands in a string"),
        ] {
            assert_eq!(plain(line).unwrap_err(), message, "{line}");
        }
        let long = format!(r#"{{"Item":{{"{0}":{{"M":{{"b":{{"{0}":1}}}}}}}}}}"#, "x".repeat(1000));
        let short = format!("{}…", "x".repeat(40));
        assert_eq!(plain(&long).unwrap_err(), format!("attribute `{short}.b`: `{short}` is not a type of DynamoDB"));
        let memory = Bump::new();
        let error = decode(b"{\"Item\":{\"a\":{\"S\":\"\xff\"}}}", Encoding::DynamodbJson, &memory).unwrap_err();
        assert_eq!(error.to_string(), "not UTF-8 at column 20");
    }

    #[test]
    fn the_names_of_the_item_before_are_known() {
        let mut decoder = Decoder::default();
        let mut names = |line: &str| {
            let memory = Bump::new();
            let item =
                decoder.decode(line.as_bytes(), Encoding::DynamodbJson, &memory).map_err(|error| error.to_string())?;
            Ok::<_, String>(
                item.attributes().iter().map(|(name, _)| name.get().into_owned()).collect::<Vec<_>>().join(" "),
            )
        };
        for (line, found) in [
            (r#"{"Item":{"a":{"S":"1"},"b":{"S":"2"},"c":{"S":"3"}}}"#, Ok("a b c")),
            (r#"{"Item":{"a":{"S":"1"},"c":{"S":"3"}}}"#, Ok("a c")),
            (r#"{"Item":{"a":{"S":"1"},"b":{"S":"2"},"b":{"S":"3"}}}"#, Err("attribute `b`: the name comes twice")),
            (r#"{"Item":{"a":{"S":"1"},"b":{"S":"2"},"a":{"S":"3"}}}"#, Err("attribute `a`: the name comes twice")),
            (r#"{"Item":{"c":{"S":"1"},"b":{"S":"2"},"a":{"S":"3"}}}"#, Ok("c b a")),
            (r#"{"Item":{"c" : {"S":"1"},"b":  {"S":"2"},"aa":{"S":"3"}}}"#, Ok("c b aa")),
            (r#"{"Item":{"c":{"S":"1"},"b":{"S":"2"},"#, Err("not JSON at column 38: a string was expected")),
        ] {
            assert_eq!(names(line), found.map(str::to_owned).map_err(str::to_owned), "{line}");
        }
    }

    #[test]
    fn an_attribute_is_where_items_of_the_same_shape_have_it() {
        let (mut decoder, places): (_, [AtomicU64; 3]) = (Decoder::default(), Default::default());
        for (line, b, c) in [
            (r#"{"Item":{"a":{"N":"1"},"b":{"N":"2"},"c":{"N":"3"}}}"#, Some("2"), Some("3")),
            (r#"{"Item":{"a":{"N":"4"},"b":{"N":"5"},"c":{"N":"6"}}}"#, Some("5"), Some("6")),
            (r#"{"Item":{"a":{"N":"4"},"c":{"N":"6"}}}"#, None, Some("6")),
            (r#"{"Item":{"b":{"N":"7"}}}"#, Some("7"), None),
            (r#"{"Item":{"c":{"N":"8"},"b":{"N":"9"}}}"#, Some("9"), Some("8")),
            (r#"{"Item":{"b":{"N":"1"}}}"#, Some("1"), None),
            // A name that is spelled with an escape is in no list.
            (r#"{"Item":{"\u0061":{"N":"2"},"b":{"N":"3"}}}"#, Some("3"), None),
            (r#"{"Item":{"b":{"N":"1"}}}"#, Some("1"), None),
            (r#"{"Item":{"\u0061":{"N":"2"},"b":{"N":"3"}}}"#, Some("3"), None),
        ] {
            let memory = Bump::new();
            let item = decoder.decode(line.as_bytes(), Encoding::DynamodbJson, &memory).unwrap();
            let digits = |name, place| match item.get_at(name, place) {
                Some(Value::N(number)) => Some(number.get().into_owned()),
                _ => None,
            };
            assert_eq!(digits("b", &places[1]).as_deref(), b, "{line}");
            assert_eq!(digits("c", &places[2]).as_deref(), c, "{line}");
        }
    }

    #[test]
    fn a_list_or_map_knows_whether_there_is_a_u0000_in_it() {
        for (value, expected) in [
            (r#"{"M":{"a":{"L":[{"SS":["x","\u0000"]}]}}}"#, true),
            (r#"{"M":{"a":{"M":{"\u0000":{"N":"1"}}}}}"#, true),
            (r#"{"L":[{"M":{}},{"S":"\u0000"},{"L":[]}]}"#, true),
            (r#"{"M":{"a":{"L":[{"SS":["x","\\u0000"]}]}}}"#, false),
        ] {
            let line = format!(r#"{{"Item":{{"before":{{"L":[{{"S":"\u0000"}}]}},"it":{value},"after":{{"L":[]}}}}}}"#);
            let memory = Bump::new();
            let item = decode(line.as_bytes(), Encoding::DynamodbJson, &memory).unwrap();
            let has_nul = |name| item.get(name).unwrap().has_nul();
            assert_eq!((has_nul("before"), has_nul("it"), has_nul("after")), (true, expected, false), "{value}");
            assert!(item.has_nul());
        }
    }

    #[test]
    fn texts_are_unescaped_only_when_asked() {
        let line = br#"{"Item":{"a":{"S":"\ud83d\ude00 \u0000\n"},"b":{"S":"\\u0000"},"c":{"S":"x"}}}"#;
        let memory = Bump::new();
        let item = decode(line, Encoding::DynamodbJson, &memory).unwrap();
        let Some(Value::S(a)) = item.get("a") else { panic!("a") };
        assert_eq!((a.get().as_ref(), a.has_nul()), ("\u{1f600} \0\n", true));
        let Some(Value::S(b)) = item.get("b") else { panic!("b") };
        assert_eq!((b.get().as_ref(), b.has_nul()), ("\\u0000", false));
    }

    #[test]
    fn a_raw_line_separator_is_part_of_its_string() {
        assert_eq!(plain("{\"Item\":{\"a\":{\"S\":\"x\u{2028}y\"}}}").unwrap(), "{\"a\":\"x\u{2028}y\"}");
    }

    #[test]
    fn deep_nesting_is_refused_and_not_followed() {
        let nested = |levels: usize| {
            format!("{{\"Item\":{{\"a\":{}{{\"S\":\"x\"}}{}}}}}", "{\"L\":[".repeat(levels), "]}".repeat(levels))
        };
        assert!(plain(&nested(100)).is_ok());
        assert!(plain(&nested(200)).unwrap_err().ends_with("nested deeper than 128 levels"));
        assert!(plain(&"[".repeat(1_000_000)).unwrap_err().ends_with("nested deeper than 128 levels"));
    }

    #[test]
    fn plain_json_is_read_with_the_same_exactness() {
        let line = br#"{"a":12345678901234567890.50,"b":[true,null,{"c":""}]}"#;
        let mut json = String::new();
        let memory = Bump::new();
        decode(line, Encoding::Json, &memory).unwrap().write_json(&mut json);
        assert_eq!(json.as_bytes(), line);
    }

    proptest! {
        /// What serde_json takes as an object is taken, and nothing else (but for double names, lone surrogates and depth).
        #[test]
        fn the_scanner_agrees_with_a_strict_parser(line in r#"[\[\]{}:,"\\a0-9eE.+\-truefalsn ]{0,24}"#) {
            let theirs = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&line);
            let memory = Bump::new();
            let ours = decode(line.as_bytes(), Encoding::Json, &memory);
            let double = matches!(&ours, Err(Error::Attribute { message, .. }) if message == "the name comes twice");
            prop_assert!(ours.is_ok() == theirs.is_ok() || double, "{line}: {ours:?} {theirs:?}");
        }

        /// What a decoder remembers of earlier lines never shows: attributes that are missing, more, in another order, twice,
        /// escaped, of another type, with white space, cut off.
        #[test]
        fn a_decoder_with_a_memory_says_what_one_without_says(
            items in prop::collection::vec((prop::collection::vec((0..10_usize, 0..9_usize), 0..9), 0..400_usize), 1..12)
        ) {
            const NAMES: [&str; 10] = [
                "a", "b", "long name", "long nape", "b\":{", r"\u0061", "é", "", "one of more than sixteen bytes",
                "one of more than sixteen bites",
            ];
            const VALUES: [&str; 9] = [
                r#"{"S":"x"}"#, r#"{"N":"1.50"}"#, r#"{"BOOL":true}"#, r#"{"M":{"a":{"S":"\u0000"}}}"#, r#"{"L":[{"N":"1"}]}"#,
                r#" { "SS" : ["x"] } "#, r#"{"S":"x","N":"1"}"#, r#"{"S":7}"#, r#"{"NULL":true}"#,
            ];
            // Two share what they know, the third does not; all keep places in the same memory.
            let shared = Decoder::default();
            let mut decoders = [shared.clone(), shared, Decoder::default()];
            let places: [AtomicU64; 8] = Default::default();
            for (number, (attributes, cut)) in items.into_iter().enumerate() {
                let pairs = attributes.iter().map(|&(name, value)| format!("\"{}\":{}", NAMES[name], VALUES[value]));
                let mut line = format!("{{\"Item\":{{{}}}}}", pairs.collect::<Vec<_>>().join(","));
                // Most lines are whole.
                line.truncate(line.char_indices().nth(cut).map_or(line.len(), |(place, _)| place));
                let memory = Bump::new();
                let alone = decode(line.as_bytes(), Encoding::DynamodbJson, &memory);
                let found = decoders[number % 3].decode(line.as_bytes(), Encoding::DynamodbJson, &memory);
                if let Ok(item) = &found {
                    for (name, place) in ["a", "b", "long name", "long nape", "é", "", "one of more than sixteen bites", "x"].iter().zip(&places) {
                        prop_assert_eq!(item.get_at(name, place), item.get(name), "{} in {}", name, line);
                    }
                }
                prop_assert_eq!(found, alone, "{}", line);
            }
        }

        /// Any value that serde_json can write comes back as it was.
        #[test]
        fn plain_json_survives(text in any::<String>(), number in any::<i64>()) {
            let line = serde_json::json!({ "text": text, "list": [number, { "n": null }] }).to_string();
            let memory = Bump::new();
            let item = decode(line.as_bytes(), Encoding::Json, &memory).unwrap();
            let mut json = String::new();
            item.write_json(&mut json);
            prop_assert_eq!(&json, &line);
            let Some(Value::S(back)) = item.get("text") else { panic!("text") };
            prop_assert_eq!(back.get(), text);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        /// A value written as DynamoDB writes it takes a short way; with white space or an escape it takes the long one.
        #[test]
        fn the_short_way_and_the_long_way_say_the_same(
            ty in prop::sample::select(vec!["S", "N", "B", "BOOL", "NULL", "M", "L", "SS", "NS", "BS", "X", "", "SSS"]),
            value in prop_oneof![
                "[0-9+.eE\\-]{0,6}".prop_map(|digits| format!("\"{digits}\"")),
                "\"[a\\\\\"u0\t é]{0,20}\"",
                prop::sample::select(vec![
                    "true", "false", "null", "tru", "{}", "[]", "[\"1\",\"x\"]", "[\"01\"]", "[{\"S\":\"\"}]", "{\"a\":{\"N\":\"1\"}}",
                    "{\"a\":{\"S\":\"\"},\"a\":{\"S\":\"\"}}", "1", "", "\"", "\"AA==\"", "\"\\u0000\"",
                ])
                .prop_map(str::to_owned),
            ],
            end in prop::sample::select(vec!["}}}", "}}", "}", "", "},\"b\":{\"S\":\"\"}}}", ",\"S\":\"\"}}}", "}}}}"]),
        ) {
            let said = |line: &str| {
                plain(line).map_err(|error| match error.split_once(" at column ") {
                    // What stands further to the right has another column.
                    Some((what, place)) => format!("{what}{}", place.trim_start_matches(|byte: char| byte.is_ascii_digit())),
                    None => error,
                })
            };
            let short = said(&format!("{{\"Item\":{{\"a\":{{\"{ty}\":{value}{end}"));
            let long = said(&format!("{{\"Item\":{{\"a\" : {{ \"{ty}\" : {value}{end}"));
            prop_assert_eq!(&short, &long, "white space");
            if let Some(first) = ty.chars().next() {
                let code = u32::from(first);
                let escaped = said(&format!("{{\"Item\":{{\"a\":{{\"\\u{code:04x}{}\":{value}{end}", &ty[1..]));
                prop_assert_eq!(&short, &escaped, "an escape in the type");
            }
        }

        /// Digits with an escape among them are the same digits, and what is a number does not depend on it.
        #[test]
        fn a_number_with_an_escape_is_the_same_number(digits in "[0-9+.eE\\-]{1,8}") {
            let code = u32::from(digits.as_bytes()[0]);
            let line = |digits: &str| format!(r#"{{"Item":{{"a":{{"N":"{digits}"}}}}}}"#);
            let escaped = line(&format!("\\u{code:04x}{}", &digits[1..]));
            let theirs = number::Decimal::parse(&digits).is_ok();
            prop_assert_eq!(plain(&line(&digits)), plain(&escaped));
            prop_assert_eq!(plain(&escaped).is_ok(), theirs);
        }
    }
}
