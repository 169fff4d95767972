//! Lines of an Amazon Ion export, as lines of DynamoDB JSON (developer guide, "DynamoDB table export output format", "Amazon
//! Ion"): the record that the same item would be in an export as `DYNAMODB_JSON`, every digit included.
//!
//! Ion itself is read by the library `ion-rs`. Here is what its values mean to DynamoDB. How files and lines are read is
//! in `export`, what a record is in `item`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ion_rs::{Decimal, Element, IonType, Sequence, Struct, Value};

/// Nested deeper than this no item is; what goes on much deeper is an attack on the stack.
const DEEPEST: usize = 128;

/// Beyond so many digits a number is written with an exponent: DynamoDB keeps 38.
const LONGEST_NUMBER: usize = 38;

/// The fields of a record that hold attributes.
const IMAGES: [&str; 4] = ["Item", "Keys", "OldImage", "NewImage"];

/// Why a line is no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The line is not UTF-8, or not Ion 1.0 text.
    #[error("not Ion: {0}")]
    Ion(String),
    /// It is nested too deep.
    #[error("not Ion: nested deeper than {DEEPEST} levels")]
    Deep,
    /// It is Ion, but no record of an export.
    #[error("not a record: {0}")]
    Record(String),
    /// A value has no counterpart in DynamoDB.
    #[error("attribute `{path}`: {message}")]
    Attribute {
        /// The way to the value: `address.lines[2]`.
        path: String,
        /// What is wrong with it.
        message: String,
    },
}

impl Error {
    fn value(message: impl Into<String>) -> Self {
        Self::Attribute { path: String::new(), message: message.into() }
    }

    /// The same error, seen from one level above.
    fn within(self, name: &str) -> Self {
        match self {
            Self::Attribute { path, message } => {
                let dot = if path.is_empty() || path.starts_with('[') { "" } else { "." };
                Self::Attribute { path: format!("{name}{dot}{path}"), message }
            }
            other => other,
        }
    }
}

/// Appends the line as DynamoDB JSON, without a newline. After an error `into` is as it was.
pub fn to_dynamodb_json(line: &[u8], into: &mut Vec<u8>) -> Result<(), Error> {
    let text = std::str::from_utf8(line).map_err(|error| Error::Ion(error.to_string()))?;
    look(text.as_bytes())?;
    let mut elements = Element::iter(text).map_err(|error| Error::Ion(one_line(&error)))?;
    let nothing = || Error::Record("the line is empty".to_owned());
    let element = elements.next().ok_or_else(nothing)?.map_err(|error| Error::Ion(one_line(&error)))?;
    match elements.next() {
        None => {}
        Some(Ok(_)) => return Err(Error::Record("the line has several values".to_owned())),
        Some(Err(error)) => return Err(Error::Ion(one_line(&error))),
    }
    let mut json = String::with_capacity(line.len() * 2);
    record(&element, &mut json)?;
    into.extend_from_slice(json.as_bytes());
    Ok(())
}

/// Digits in a row. DynamoDB's numbers have 38 that count, and up to 125 zeros.
const MOST_DIGITS: usize = 1_000;

/// What the library says, which may be of several lines.
fn one_line(error: &ion_rs::IonError) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether a blob begins there: base64, where a clob has a text.
fn is_blob(text: &[u8]) -> bool {
    text.strip_prefix(b"{{").is_some_and(|inside| !matches!(inside.trim_ascii_start().first(), Some(b'"' | b'\'')))
}

/// What is refused before the line is read: nesting that would go through the stack, names that are numbers in a table of
/// symbols, which an export does not have, and numbers of which the library would read but the beginning. Brackets are
/// counted outside of texts and blobs, whether they match or not.
fn look(text: &[u8]) -> Result<(), Error> {
    let (mut depth, mut at) = (0_usize, 0);
    let until = |start: usize, end: &[u8]| {
        let mut at = start;
        while at < text.len() && !text[at..].starts_with(end) {
            at += if text[at] == b'\\' { 2 } else { 1 };
        }
        at + end.len()
    };
    while let Some(&byte) = text.get(at) {
        at = match byte {
            b'"' => until(at + 1, b"\""),
            b'\'' if text[at..].starts_with(b"'''") => until(at + 3, b"'''"),
            b'\'' => until(at + 1, b"'"),
            b'/' if text[at..].starts_with(b"//") => text.len(),
            b'/' if text[at..].starts_with(b"/*") => until(at + 2, b"*/"),
            // A blob: what is in it only looks like a comment.
            b'{' if is_blob(&text[at..]) => until(at + 2, b"}}"),
            b'[' | b'{' | b'(' => {
                depth += 1;
                at + 1
            }
            b']' | b'}' | b')' => {
                depth = depth.saturating_sub(1);
                at + 1
            }
            byte if in_symbol(byte) => {
                let length = text[at..].iter().take_while(|byte| in_symbol(**byte)).count();
                let symbol = &text[at..at + length];
                if symbol.len() > 1 && symbol[0] == b'$' && symbol[1..].iter().all(u8::is_ascii_digit) {
                    let id = String::from_utf8_lossy(symbol);
                    return Err(Error::Record(format!("`{id}` without quotes is the number of a symbol, not a name")));
                }
                if symbol[0].is_ascii_digit() && length > MOST_DIGITS {
                    return Err(Error::Record(format!("a number has {length} digits")));
                }
                at + length
            }
            _ => at + 1,
        };
        if depth > DEEPEST {
            return Err(Error::Deep);
        }
    }
    Ok(())
}

fn in_symbol(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$'
}

/// `{Item:{...}}`, or a record of an incremental export, which may stand in `{Record:{...}}`.
fn record(element: &Element, into: &mut String) -> Result<(), Error> {
    let fields = of_record(element, "the line")?;
    if let [(name, inner)] = fields.as_slice()
        && *name == "Record"
    {
        return record_of(&of_record(inner, "`Record`")?, into);
    }
    record_of(&fields, into)
}

fn record_of(fields: &[(&str, &Element)], into: &mut String) -> Result<(), Error> {
    object(fields, into, |name, element, into| {
        if IMAGES.contains(&name) {
            attributes(element, into).map_err(|error| match (name, error) {
                ("Item", error) => error,
                (name, error) => error.within(name),
            })
        } else if name == "Metadata" {
            object(&of_record(element, "`Metadata`")?, into, |_, element, into| metadata(element, into))
        } else {
            Err(Error::Record(format!("the field `{name}` is not one of a record")))
        }
    })
}

/// `1684374845117899.`, or the same in `{"N":...}`.
fn metadata(element: &Element, into: &mut String) -> Result<(), Error> {
    if let Some(inner) = element.as_struct() {
        let fields = fields(inner)?;
        if let [("N", number)] = fields.as_slice() {
            return metadata(number, into);
        }
    }
    match element.value() {
        Value::Int(_) | Value::Decimal(_) => value(element, into).map_err(|error| Error::Record(error.to_string())),
        _ => Err(Error::Record(format!("a number was expected in `Metadata`, not {}", kind(element)))),
    }
}

/// The fields of a struct that is a part of a record.
fn of_record<'a>(element: &'a Element, what: &str) -> Result<Vec<(&'a str, &'a Element)>, Error> {
    match element.as_struct() {
        Some(inner) if !element.is_null() => fields(inner),
        _ => Err(Error::Record(format!("{what} must be a struct, not {}", kind(element)))),
    }
}

fn fields<'a>(inner: &'a Struct) -> Result<Vec<(&'a str, &'a Element)>, Error> {
    let named = |(name, element): (&'a ion_rs::Symbol, &'a Element)| {
        let text = name.text().ok_or_else(|| Error::value("a field has the number of a symbol for a name"))?;
        Ok((text, element))
    };
    inner.fields().map(named).collect()
}

fn object(
    fields: &[(&str, &Element)],
    into: &mut String,
    write: impl Fn(&str, &Element, &mut String) -> Result<(), Error>,
) -> Result<(), Error> {
    into.push('{');
    for (place, (name, element)) in fields.iter().enumerate() {
        into.push_str(if place == 0 { "" } else { "," });
        string(name, into);
        into.push(':');
        write(name, element, into)?;
    }
    into.push('}');
    Ok(())
}

fn attributes(element: &Element, into: &mut String) -> Result<(), Error> {
    let fields = of_record(element, "an item")?;
    object(&fields, into, |name, element, into| value(element, into).map_err(|error| error.within(name)))
}

/// A value, with its type.
fn value(element: &Element, into: &mut String) -> Result<(), Error> {
    if element.is_null() {
        plain(element)?;
        into.push_str("{\"NULL\":true}");
        return Ok(());
    }
    let annotations: Vec<_> = element.annotations().iter().map(|annotation| annotation.text()).collect();
    match (annotations.as_slice(), element.value()) {
        ([Some("$dynamodb_SS")], Value::List(list)) => {
            return set("SS", list, into, |element, into| match element.value() {
                Value::String(text) => {
                    string(text.text(), into);
                    Ok(())
                }
                _ => Err(Error::value(format!("a string was expected, not {}", kind(element)))),
            });
        }
        ([Some("$dynamodb_NS")], Value::List(list)) => {
            return set("NS", list, into, |element, into| {
                string(&number(element)?, into);
                Ok(())
            });
        }
        ([Some("$dynamodb_BS")], Value::List(list)) => {
            return set("BS", list, into, |element, into| match element.value() {
                Value::Blob(bytes) => {
                    string(&STANDARD.encode(bytes.as_ref()), into);
                    Ok(())
                }
                _ => Err(Error::value(format!("a blob was expected, not {}", kind(element)))),
            });
        }
        _ => plain(element)?,
    }
    match element.value() {
        Value::String(text) => typed("S", into, |into| string(text.text(), into)),
        Value::Int(_) | Value::Decimal(_) => {
            let digits = number(element)?;
            typed("N", into, |into| string(&digits, into));
        }
        Value::Bool(truth) => typed("BOOL", into, |into| into.push_str(if *truth { "true" } else { "false" })),
        Value::Blob(bytes) => typed("B", into, |into| string(&STANDARD.encode(bytes.as_ref()), into)),
        Value::Struct(_) => {
            into.push_str("{\"M\":");
            attributes(element, into)?;
            into.push('}');
        }
        Value::List(list) => {
            into.push_str("{\"L\":[");
            for (place, element) in list.elements().enumerate() {
                into.push_str(if place == 0 { "" } else { "," });
                value(element, into).map_err(|error| error.within(&format!("[{place}]")))?;
            }
            into.push_str("]}");
        }
        _ => return Err(Error::value(format!("{} is no type of DynamoDB", kind(element)))),
    }
    Ok(())
}

fn typed(ty: &str, into: &mut String, write: impl FnOnce(&mut String)) {
    into.push_str("{\"");
    into.push_str(ty);
    into.push_str("\":");
    write(into);
    into.push('}');
}

fn set(
    ty: &str,
    list: &Sequence,
    into: &mut String,
    write: impl Fn(&Element, &mut String) -> Result<(), Error>,
) -> Result<(), Error> {
    into.push_str("{\"");
    into.push_str(ty);
    into.push_str("\":[");
    for (place, element) in list.elements().enumerate() {
        into.push_str(if place == 0 { "" } else { "," });
        plain(element).and_then(|()| write(element, into)).map_err(|error| error.within(&format!("[{place}]")))?;
    }
    into.push_str("]}");
    Ok(())
}

/// Refuses a value with annotations: they say what it means, and only those of sets are known.
fn plain(element: &Element) -> Result<(), Error> {
    match element.annotations().iter().next() {
        None => Ok(()),
        Some(annotation) => {
            let name = annotation.text().unwrap_or("$0");
            Err(Error::value(format!("the annotation `{name}` is not known for {}", kind(element))))
        }
    }
}

fn string(text: &str, into: &mut String) {
    // A text always has a JSON form.
    into.push_str(&serde_json::Value::from(text).to_string());
}

/// The digits as DynamoDB JSON has them.
fn number(element: &Element) -> Result<String, Error> {
    match element.value() {
        Value::Int(int) => Ok(int.to_string()),
        Value::Decimal(decimal) => Ok(decimal_text(decimal)),
        _ => Err(Error::value(format!("a number was expected, not {}", kind(element)))),
    }
}

/// A decimal written out; with an exponent where that would take more digits than DynamoDB keeps.
fn decimal_text(decimal: &Decimal) -> String {
    let coefficient = decimal.coefficient();
    let digits = coefficient.magnitude().to_string();
    if coefficient.is_zero() {
        return "0".to_owned();
    }
    let sign = if coefficient.is_negative() { "-" } else { "" };
    let exponent = decimal.exponent();
    let size = usize::try_from(exponent.unsigned_abs()).unwrap_or(usize::MAX);
    if size > LONGEST_NUMBER || (exponent > 0 && digits.len() + size > LONGEST_NUMBER) {
        return format!("{sign}{digits}E{exponent}");
    }
    if exponent >= 0 {
        return format!("{sign}{digits}{}", "0".repeat(size));
    }
    let padded = format!("{digits:0>width$}", width = size + 1);
    let (whole, fraction) = padded.split_at(padded.len() - size);
    format!("{sign}{whole}.{fraction}")
}

/// What a value is, for a message.
fn kind(element: &Element) -> &'static str {
    match element.ion_type() {
        IonType::Null => "null",
        IonType::Bool => "a boolean",
        IonType::Int => "an int",
        IonType::Float => "a float",
        IonType::Decimal => "a decimal",
        IonType::Timestamp => "a timestamp",
        IonType::Symbol => "a symbol",
        IonType::String => "a string",
        IonType::Clob => "a clob",
        IonType::Blob => "a blob",
        IonType::List => "a list",
        IonType::SExp => "an s-expression",
        IonType::Struct => "a struct",
    }
}
