//! The records of incremental exports (developer guide, "DynamoDB table export output format", "Incremental export
//! output"): what has become of an item in a period. How attributes are read is in `decode`.

#![expect(clippy::unnecessary_box_returns, reason = "what is returned with an error has to fit into registers")]

use crate::decode::{Attributes, Encoding, Result, Scanner};
use crate::error::{Error, shorten};
use crate::number::Decimal;
use crate::shape::{Names, Shape};
use crate::value::{Item, Text, Value};

/// The last state of an item that was written in a period, and how it was before.
///
/// | | `old` | `new` |
/// |---|---|---|
/// | inserted | - | yes |
/// | updated | with old images | yes |
/// | deleted | with old images | - |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change<'a> {
    /// When it was written last, in microseconds since 1970.
    pub written: i64,
    /// The attributes of the primary key.
    pub keys: Item<'a>,
    /// The item before the period, in an export with old images.
    pub old: Option<Item<'a>>,
    /// The item at the end of the period; none if it was deleted.
    pub new: Option<Item<'a>>,
}

const METADATA: &str = "Metadata";
const KEYS: &str = "Keys";
const OLD_IMAGE: &str = "OldImage";
const NEW_IMAGE: &str = "NewImage";

/// The field of `Metadata`: an attribute value of type N. Descriptions of the format have a string or a number too.
const WRITTEN: &str = "WriteTimestampMicros";

/// Whether the first key of a line is one of a change, as every exporter writes it.
pub(crate) fn begins(line: &str) -> bool {
    // Lines of a full export are told apart by their third byte.
    let Some(key) =
        line.strip_prefix("{\"").or_else(|| line.trim_start().strip_prefix('{')?.trim_start().strip_prefix('"'))
    else {
        return false;
    };
    matches!(key.as_bytes().first(), Some(b'M' | b'K' | b'O' | b'N'))
        && [METADATA, KEYS, OLD_IMAGE, NEW_IMAGE]
            .iter()
            .any(|name| key.strip_prefix(name).is_some_and(|rest| rest.starts_with('"')))
}

impl<'a> Scanner<'a> {
    /// The whole line: `{"Metadata":{...},"Keys":{...},"OldImage":{...},"NewImage":{...}}`, in any order.
    pub(crate) fn change(&mut self, names: &mut Names) -> Result<Change<'a>> {
        let (mut written, mut keys, mut old, mut new) = (None, None, None, None);
        self.space();
        self.pass(b'{', "`{` was expected")?;
        let mut first = true;
        while self.more(first, b'}')? {
            first = false;
            let name = self.text()?;
            self.pass(b':', "`:` was expected")?;
            let twice = if name.is(METADATA) {
                written.replace(self.metadata()?).is_some()
            } else if name.is(KEYS) {
                keys.replace(self.image(KEYS, Self::attributes)?).is_some()
            } else if name.is(OLD_IMAGE) {
                old.replace(self.image(OLD_IMAGE, Self::attributes)?).is_some()
            } else if name.is(NEW_IMAGE) {
                new.replace(self.image(NEW_IMAGE, |scanner| scanner.item(names))?).is_some()
            } else {
                self.plain_value()?;
                return Err(no_change(format!("the key `{}` is not one of its keys", shorten(&name.get()))));
            };
            if twice {
                return Err(no_change(format!("the key `{}` comes twice", name.get())));
            }
        }
        if self.at < self.text.len() {
            return Err(self.error("the end of the line was expected"));
        }
        let missing = |name: &str| no_change(format!("the key `{name}` is missing"));
        let written = written.ok_or_else(|| missing(METADATA))?;
        let keys = keys.ok_or_else(|| missing(KEYS))?;
        if keys.attributes.is_empty() {
            return Err(no_change(format!("`{KEYS}` holds no attribute")));
        }
        Ok(Change { written, keys, old, new })
    }

    /// An object of attributes, as an item.
    fn image(&mut self, name: &str, read: impl FnOnce(&mut Self) -> Result<Attributes<'a>>) -> Result<Item<'a>> {
        if self.peek() != Some(b'{') {
            let found = self.kind();
            self.plain_value()?;
            return Err(no_change(format!("`{name}` must be an object, not {found}")));
        }
        let start = self.at;
        (self.nul, self.shape) = (false, Shape::default());
        let attributes = read(self).map_err(|error| Box::new(error.within(name)))?;
        let json = self.text[start..self.at].trim_end();
        Ok(Item { attributes, shape: self.shape, json, alone: false, encoding: Encoding::DynamodbJson, nul: self.nul })
    }

    /// The time of the write. What else stands there is passed over: it says nothing about the item.
    fn metadata(&mut self) -> Result<i64> {
        if self.peek() != Some(b'{') {
            let found = self.kind();
            self.plain_value()?;
            return Err(no_change(format!("`{METADATA}` must be an object, not {found}")));
        }
        self.pass(b'{', "`{` was expected")?;
        let mut written = None;
        let mut first = true;
        while self.more(first, b'}')? {
            first = false;
            let name = self.text()?;
            self.pass(b':', "`:` was expected")?;
            if !name.is(WRITTEN) {
                self.plain_value()?;
            } else if written.replace(self.microseconds()?).is_some() {
                return Err(no_change(format!("the key `{WRITTEN}` comes twice")));
            }
        }
        written.ok_or_else(|| no_change(format!("the key `{WRITTEN}` is missing in `{METADATA}`")))
    }

    /// `{"N":"1680109764000000"}`, or the number or the string alone.
    fn microseconds(&mut self) -> Result<i64> {
        let wrong = |found: &str| no_change(format!("`{WRITTEN}` must be a whole number of microseconds, not {found}"));
        let typed = self.peek() == Some(b'{');
        if typed {
            self.pass(b'{', "`{` was expected")?;
            let ty = self.text()?;
            self.pass(b':', "`:` was expected")?;
            if !ty.is("N") {
                self.plain_value()?;
                return Err(wrong(&format!("of the type `{}`", shorten(&ty.get()))));
            }
        }
        let start = self.at;
        let found = self.kind();
        let value = self.plain_value()?;
        let text = self.text[start..self.at].trim_end();
        let number = match value {
            Value::S(text) => Text::get(text),
            Value::N(number) => number.get(),
            _ => return Err(wrong(found)),
        };
        let written = Decimal::parse(&number).ok().and_then(|number| number.to_i64().ok());
        let written = written.filter(|&written| written >= 0).ok_or_else(|| wrong(&shorten(text)))?;
        if typed {
            self.pass(b'}', "`}` was expected")?;
        }
        Ok(written)
    }
}

#[cold]
fn no_change(message: String) -> Box<Error> {
    Box::new(Error::NoChange { message })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Decoder, Record, decode};
    use bumpalo::Bump;
    use proptest::prelude::*;

    /// The records of the developer guide's table of changes, byte for byte.
    const INSERT: &str = r#"{"Metadata":{"WriteTimestampMicros":{"N":"1680109764000000"}},"Keys":{"PK":{"S":"CUST#100"}},"NewImage":{"PK":{"S":"CUST#100"},"FirstName":{"S":"John"},"LastName":{"S":"Don"}}}"#;
    const UPDATE: &str = r#"{"Metadata":{"WriteTimestampMicros":{"N":"1680109764000000"}},"Keys":{"PK":{"S":"CUST#200"}},"OldImage":{"PK":{"S":"CUST#200"},"FirstName":{"S":"Mary"},"LastName":{"S":"Grace"}},"NewImage":{"PK":{"S":"CUST#200"},"FirstName":{"S":"Mary"},"LastName":{"S":"Smith"}}}"#;
    const DELETE: &str = r#"{"Metadata":{"WriteTimestampMicros":{"N":"1680109764000000"}},"Keys":{"PK":{"S":"CUST#300"}},"OldImage":{"PK":{"S":"CUST#300"},"FirstName":{"S":"Jose"},"LastName":{"S":"Hernandez"}}}"#;
    const DELETE_OF_NEW_IMAGES: &str =
        r#"{"Metadata":{"WriteTimestampMicros":{"N":"1680109764000000"}},"Keys":{"PK":{"S":"CUST#300"}}}"#;

    /// Time, keys, old image, new image.
    type Parts = (i64, String, Option<String>, Option<String>);

    fn parts(decoder: &mut Decoder, line: &str) -> Result<Parts, String> {
        let json = |item: &Item<'_>| {
            let mut json = String::new();
            item.write_json(&mut json);
            json
        };
        let memory = Bump::new();
        match decoder
            .decode_record(line.as_bytes(), Encoding::DynamodbJson, &memory)
            .map_err(|error| error.to_string())?
        {
            Record::Change(change) => {
                let Change { written, keys, old, new } = *change;
                Ok((written, json(&keys), old.as_ref().map(json), new.as_ref().map(json)))
            }
            Record::Item(item) => panic!("an item: {item:?}"),
        }
    }

    fn change(line: &str) -> Result<Parts, String> {
        parts(&mut Decoder::default(), line)
    }

    #[test]
    fn the_documented_changes_are_read() {
        let mary = |name: &str| Some(format!(r#"{{"PK":"CUST#200","FirstName":"Mary","LastName":"{name}"}}"#));
        let (at, john) = (1_680_109_764_000_000, r#"{"PK":"CUST#100","FirstName":"John","LastName":"Don"}"#);
        let jose = r#"{"PK":"CUST#300","FirstName":"Jose","LastName":"Hernandez"}"#;
        let key = |id: u32| format!(r#"{{"PK":"CUST#{id}"}}"#);
        // One decoder for all, as in a file.
        let mut decoder = Decoder::default();
        for (line, expected) in [
            (INSERT, (at, key(100), None, Some(john.to_owned()))),
            (UPDATE, (at, key(200), mary("Grace"), mary("Smith"))),
            (DELETE, (at, key(300), Some(jose.to_owned()), None)),
            (DELETE_OF_NEW_IMAGES, (at, key(300), None, None)),
        ] {
            assert_eq!(parts(&mut decoder, line), Ok(expected), "{line}");
        }
    }

    #[test]
    fn its_keys_come_in_any_order_and_spelling_and_the_time_in_three_forms() {
        let expected = Ok((7, r#"{"a":1}"#.to_owned(), None, Some(r#"{"a":1,"b":[{"N":"x"}]}"#.to_owned())));
        let new = r#""NewImage":{"a":{"N":"1"},"b":{"L":[{"M":{"N":{"S":"x"}}}]}}"#;
        for line in [
            format!(r#"{{{new},"Keys":{{"a":{{"N":"1"}}}},"Metadata":{{"WriteTimestampMicros":{{"N":"7"}}}}}}"#),
            format!(r#"{{"Keys":{{"a":{{"N":"1"}}}},{new},"Metadata":{{"WriteTimestampMicros":7}}}}"#),
            format!(r#" {{ "Metadata" : {{"WriteTimestampMicros":"7"}} , "Keys":{{"a":{{"N":"1"}}}}, {new} }} "#),
            format!(r#"{{"\u004beys":{{"a":{{"N":"1"}}}},{new},"Metadata":{{"x":[1],"WriteTimestampMicros":7e0}}}}"#),
            format!(r#"{{"Keys":{{"a":{{"N":"1"}}}},{new},"Metadata":{{"WriteTimestampMicros":{{"N":7}},"y":{{}}}}}}"#),
        ] {
            assert_eq!(change(&line), expected, "{line}");
        }
    }

    #[test]
    fn an_item_is_an_item_whatever_its_attributes_are_called() {
        let line = br#"{"Item":{"Keys":{"S":"x"},"Metadata":{"M":{}},"NewImage":{"NULL":true}}}"#;
        let memory = Bump::new();
        let Ok(Record::Item(item)) = Decoder::default().decode_record(line, Encoding::DynamodbJson, &memory) else {
            panic!()
        };
        assert_eq!(item, decode(line, Encoding::DynamodbJson, &memory).unwrap());
        let line = br#"{"Keys":{"a":1},"Metadata":2}"#;
        let Ok(Record::Item(item)) = Decoder::default().decode_record(line, Encoding::Json, &memory) else { panic!() };
        assert_eq!(item.attributes().len(), 2);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        const NOT: &str = "not a record of an incremental export: ";
        const KEYS: &str = r#""Keys":{"a":{"S":""}}"#;
        const TIME: &str = r#""Metadata":{"WriteTimestampMicros":{"N":"1"}}"#;
        for (line, message) in [
            (format!("{{{KEYS}}}"), "the key `Metadata` is missing"),
            (format!("{{{TIME}}}"), "the key `Keys` is missing"),
            (format!(r#"{{{TIME},"Keys":{{}}}}"#), "`Keys` holds no attribute"),
            (format!("{{{TIME},{KEYS},{KEYS}}}"), "the key `Keys` comes twice"),
            (format!("{{{TIME},{KEYS},{TIME}}}"), "the key `Metadata` comes twice"),
            (format!(r#"{{{TIME},{KEYS},"NewImage":{{}},"NewImage":{{}}}}"#), "the key `NewImage` comes twice"),
            (format!(r#"{{{TIME},{KEYS},"OldImage":{{}},"OldImage":{{}}}}"#), "the key `OldImage` comes twice"),
            (format!(r#"{{{TIME},{KEYS},"Item":{{}}}}"#), "the key `Item` is not one of its keys"),
            (format!(r#"{{"x":1,{TIME},{KEYS}}}"#), "the key `x` is not one of its keys"),
            (format!(r#"{{{TIME},"Keys":1}}"#), "`Keys` must be an object, not a number"),
            (format!(r#"{{{TIME},{KEYS},"NewImage":null}}"#), "`NewImage` must be an object, not null"),
            (format!(r#"{{"Metadata":[],{KEYS}}}"#), "`Metadata` must be an object, not an array"),
            (format!(r#"{{"Metadata":{{}},{KEYS}}}"#), "the key `WriteTimestampMicros` is missing in `Metadata`"),
            (
                format!(r#"{{"Metadata":{{"WriteTimestampMicros":1,"WriteTimestampMicros":1}},{KEYS}}}"#),
                "the key `WriteTimestampMicros` comes twice",
            ),
        ] {
            assert_eq!(change(&line), Err(format!("{NOT}{message}")), "{line}");
        }
        for (time, found) in [
            (r#"{"N":"soon"}"#, r#""soon""#),
            (r#"{"N":"1.5"}"#, r#""1.5""#),
            (r#"{"N":"-1"}"#, r#""-1""#),
            (r#"{"N":"9223372036854775808"}"#, r#""9223372036854775808""#),
            (r#"{"S":"1"}"#, "of the type `S`"),
            ("true", "a boolean"),
            ("[1]", "an array"),
        ] {
            let line = format!(r#"{{"Metadata":{{"WriteTimestampMicros":{time}}},{KEYS}}}"#);
            let message = format!("{NOT}`WriteTimestampMicros` must be a whole number of microseconds, not {found}");
            assert_eq!(change(&line), Err(message), "{line}");
        }
        for (image, message) in [
            (r#"{"a":{"S":1}}"#, "attribute `NewImage.a`: the value of S must be a string, not a number"),
            (r#"{"a":{"L":[{"X":1}]}}"#, "attribute `NewImage.a[0]`: `X` is not a type of DynamoDB"),
            (r#"{"a":{"S":""},"a":{"S":""}}"#, "attribute `NewImage.a`: the name comes twice"),
            (r#"{"a":{"S":""}}x"#, "not JSON at column 95: `,` or `}` was expected"),
            (r#"{"a":{"S":""}}}"#, "not JSON at column 96: the end of the line was expected"),
        ] {
            let line = format!(r#"{{{TIME},{KEYS},"NewImage":{image}}}"#);
            assert_eq!(change(&line), Err(message.to_owned()), "{line}");
        }
        let memory = Bump::new();
        let error = decode(DELETE.as_bytes(), Encoding::DynamodbJson, &memory).unwrap_err();
        assert_eq!(error.to_string(), "not an item: it is a record of an incremental export");
    }

    #[test]
    fn no_beginning_of_a_change_is_one() {
        for line in [INSERT, UPDATE, DELETE, DELETE_OF_NEW_IMAGES] {
            for length in 0..line.len() {
                assert!(change(&line[..length]).unwrap_err().starts_with("not JSON"), "{}", &line[..length]);
            }
        }
    }

    #[test]
    fn an_image_can_be_a_line_of_its_own_without_nul() {
        let line = r#"{"Metadata":{"WriteTimestampMicros":1},"Keys":{"a":{"S":"k"}},"OldImage":{"a":{"S":"\u0000"}},"NewImage":{"a":{"S":"k"},"\u0000":{"S":"x\u0000"}} }"#;
        let memory = Bump::new();
        let record = Decoder::default().decode_record(line.as_bytes(), Encoding::DynamodbJson, &memory);
        let Ok(Record::Change(change)) = record else { panic!("{record:?}") };
        let (old, new) = (change.old.unwrap(), change.new.unwrap());
        assert_eq!((change.keys.has_nul(), old.has_nul(), new.has_nul()), (false, true, true));
        assert_eq!(old.line_without_nul("?"), r#"{"Item":{"a":{"S":"?"}}}"#);
        assert_eq!(new.line_without_nul("-"), r#"{"Item":{"a":{"S":"k"},"-":{"S":"x-"}}}"#);
        assert_eq!(change.keys.line_without_nul(""), r#"{"Item":{"a":{"S":"k"}}}"#);
    }

    #[test]
    fn of_several_images_each_knows_whether_it_holds_nul() {
        let line = r#"{"Keys":{"a":{"S":"k"}},"OldImage":{"a":{"S":"\u0000"}},"NewImage":{"a":{"S":"k"}},"Metadata":{"WriteTimestampMicros":1}}"#;
        let memory = Bump::new();
        let record = Decoder::default().decode_record(line.as_bytes(), Encoding::DynamodbJson, &memory);
        let Ok(Record::Change(change)) = record else { panic!("{record:?}") };
        let nul = |image: Option<Item<'_>>| image.is_some_and(|image| image.has_nul());
        assert_eq!((change.keys.has_nul(), nul(change.old), nul(change.new)), (false, true, false));
    }

    #[test]
    fn deep_nesting_is_refused_as_in_an_item() {
        let nested = |levels: usize| {
            let (open, close) = ("{\"L\":[".repeat(levels), "]}".repeat(levels));
            let value = format!(r#"{open}{{"S":"x"}}{close}"#);
            let line = format!(
                r#"{{"Metadata":{{"WriteTimestampMicros":1}},"Keys":{{"a":{value}}},"NewImage":{{"a":{value}}}}}"#
            );
            let memory = Bump::new();
            (
                change(&line),
                decode(format!(r#"{{"Item":{{"a":{value}}}}}"#).as_bytes(), Encoding::DynamodbJson, &memory).is_ok(),
            )
        };
        for levels in [1, 127, 128, 129, 1000] {
            let (ours, item) = nested(levels);
            assert_eq!(ours.is_ok(), item, "{levels}");
        }
    }

    proptest! {
        /// An image is read as the same attributes are in an item, right or wrong, whatever was decoded before.
        #[test]
        fn an_image_is_read_as_an_item_is(
            images in prop::collection::vec((prop::collection::vec((0..6_usize, 0..8_usize), 0..6), 0..3_usize), 1..6)
        ) {
            const NAMES: [&str; 6] = ["a", "b", "Keys", r"\u0061", "é", ""];
            const VALUES: [&str; 8] = [
                r#"{"S":"x"}"#, r#"{"N":"1.50"}"#, r#"{"M":{"a":{"S":"\u0000"}}}"#, r#"{"L":[{"N":"1"}]}"#,
                r#" { "SS" : ["x"] } "#, r#"{"S":"x","N":"1"}"#, r#"{"S":7}"#, r#"{"NULL":true}"#,
            ];
            let mut decoder = Decoder::default();
            for (attributes, place) in images {
                let pairs = attributes.iter().map(|&(name, value)| format!("\"{}\":{}", NAMES[name], VALUES[value]));
                let image = format!("{{{}}}", pairs.collect::<Vec<_>>().join(","));
                let name = ["Keys", "OldImage", "NewImage"][place];
                let keys = if place == 0 { String::new() } else { r#","Keys":{"k":{"S":""}}"#.to_owned() };
                let line = format!(r#"{{"Metadata":{{"WriteTimestampMicros":1}}{keys},"{name}":{image}}}"#);
                let item = format!("{{\"Item\":{image}}}");
                let memory = Bump::new();
                match (decoder.decode_record(line.as_bytes(), Encoding::DynamodbJson, &memory), decode(item.as_bytes(), Encoding::DynamodbJson, &memory)) {
                    (Ok(Record::Change(change)), Ok(item)) => {
                        let found = [Some(change.keys), change.old, change.new].into_iter().nth(place).flatten().unwrap();
                        prop_assert_eq!(found.attributes(), item.attributes());
                        prop_assert_eq!(found.has_nul(), item.has_nul());
                    }
                    (Err(Error::Attribute { path, message }), Err(Error::Attribute { path: theirs, message: same })) => {
                        prop_assert_eq!(path, if theirs.is_empty() { name.to_owned() } else { format!("{name}.{theirs}") });
                        prop_assert_eq!(message, same);
                    }
                    (Err(Error::NoChange { .. }), Ok(item)) => prop_assert!(item.attributes().is_empty() && place == 0),
                    other => prop_assert!(false, "{line}: {other:?}"),
                }
            }
        }

        /// Whatever a line is, a decoder with a memory says what one without says, and an item is what `decode` finds.
        #[test]
        fn any_line_is_decoded_or_refused(
            lines in prop::collection::vec((prop::sample::select(vec![INSERT, UPDATE, DELETE, r#"{"Item":{"PK":{"S":"1"}}}"#]),
                0..400_usize, r#"[{}":,a-zN0-9\\ ]{0,3}"#), 1..4)
        ) {
            let mut decoder = Decoder::default();
            for (line, place, inserted) in lines {
                let mut line = line.to_owned();
                line.insert_str(place.min(line.len()), &inserted);
                let memory = Bump::new();
                let alone = Decoder::default().decode_record(line.as_bytes(), Encoding::DynamodbJson, &memory);
                let theirs = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&line);
                prop_assert!(alone.is_err() || theirs.is_ok(), "{line}");
                if let Ok(Record::Item(item)) = &alone {
                    prop_assert_eq!(item, &decode(line.as_bytes(), Encoding::DynamodbJson, &memory).unwrap());
                }
                let memory = Bump::new();
                prop_assert_eq!(decoder.decode_record(line.as_bytes(), Encoding::DynamodbJson, &memory), alone, "{}", line);
            }
        }
    }
}
