//! Looks through JSON without taking it apart: where a string has to be looked at closely, where a value ends. What values
//! mean, `decode` knows.

use wide::u8x16;

use crate::number;

/// Values nested deeper than this are left to a parser that complains.
const DEEPEST: usize = 64;

const ONES: u64 = u64::from_le_bytes([1; 8]);
const HIGHS: u64 = u64::from_le_bytes([0x80; 8]);

/// Where the first byte is that cannot stand in a JSON string as it is: a quote, a backslash, a control character
/// (RFC 8259, section 7).
#[inline]
pub fn special(bytes: &[u8]) -> Option<usize> {
    let (blocks, rest) = bytes.as_chunks::<16>();
    for (place, block) in blocks.iter().enumerate() {
        if let Some(found) = special_in(*block) {
            return Some(place * block.len() + found);
        }
    }
    if rest.is_empty() {
        return None;
    }
    // The rest together with the bytes before it, which are none of these.
    if let Some(last) = bytes.last_chunk() {
        return special_in(*last).map(|found| bytes.len() - last.len() + found);
    }
    bytes.iter().position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\')
}

#[inline]
fn special_in(block: [u8; 16]) -> Option<usize> {
    let bytes = u8x16::new(block);
    let control = bytes.min(u8x16::splat(0x1f)).simd_eq(bytes);
    let found = control | bytes.simd_eq(u8x16::splat(b'"')) | bytes.simd_eq(u8x16::splat(b'\\'));
    let places = found.to_bitmask();
    (places != 0).then(|| places.trailing_zeros() as usize)
}

/// The first bytes of a text that is looked for. They are compared as a number, which tells most other texts apart without
/// a call.
#[derive(Clone, Copy, Debug)]
pub struct Beginning {
    word: u64,
    mask: u64,
}

impl Beginning {
    /// Those of that text, which is not empty.
    pub fn of(wanted: &[u8]) -> Self {
        let mut word = [0; 8];
        let length = wanted.len().min(word.len());
        word[..length].copy_from_slice(&wanted[..length]);
        Self { word: u64::from_le_bytes(word), mask: u64::MAX >> (64 - 8 * length) }
    }

    /// Whether a text begins with the wanted one, whose beginning this is. It may say no of one that ends with it or soon
    /// after it.
    #[inline]
    pub fn is_of(self, wanted: &[u8], text: &[u8]) -> bool {
        let Some(first) = text.first_chunk() else { return false };
        if (u64::from_le_bytes(*first) ^ self.word) & self.mask != 0 {
            return false;
        }
        // What is left has a length that the compiler knows, if the last bytes are compared whether they were or not.
        match (wanted.len(), text.get(..wanted.len())) {
            (..=8, _) => true,
            (..=16, Some(text)) => text.last_chunk::<8>() == wanted.last_chunk(),
            (..=24, Some(text)) => text.last_chunk::<16>() == wanted.last_chunk(),
            (_, text) => text == Some(wanted),
        }
    }
}

/// How many bytes both begin with.
#[inline]
pub fn common_length(one: &[u8], other: &[u8]) -> usize {
    // Most of it in steps for which a processor has instructions.
    let blocks = one.as_chunks::<32>().0.iter().zip(other.as_chunks::<32>().0);
    let equal = blocks.take_while(|(one, other)| one == other).count() * 32;
    let (one, other) = (&one[equal..], &other[equal..]);
    let words = one.as_chunks::<8>().0.iter().zip(other.as_chunks::<8>().0);
    for (place, (word, other)) in words.enumerate() {
        let differ = u64::from_le_bytes(*word) ^ u64::from_le_bytes(*other);
        if differ != 0 {
            return equal + place * 8 + differ.trailing_zeros() as usize / 8;
        }
    }
    let rest = one.len().min(other.len()) / 8 * 8;
    equal + rest + one[rest..].iter().zip(&other[rest..]).take_while(|(one, other)| one == other).count()
}

/// Where the JSON value ends that begins at `at`. Nothing if there is none, and also for white space between its parts:
/// no writer of this project leaves any.
#[inline]
pub fn end_of_value(bytes: &[u8], at: usize) -> Option<usize> {
    end_of(bytes, at, 0)
}

#[inline]
fn end_of(bytes: &[u8], at: usize, depth: usize) -> Option<usize> {
    match bytes.get(at)? {
        b'"' => end_of_string(bytes, at),
        b'-' | b'0'..=b'9' => end_of_number(bytes, at),
        b'{' => end_of_elements(bytes, at, b'}', depth),
        b'[' => end_of_elements(bytes, at, b']', depth),
        _ => ["true", "false", "null"]
            .iter()
            .find(|word| bytes[at..].starts_with(word.as_bytes()))
            .map(|word| at + word.len()),
    }
}

#[inline]
fn end_of_number(bytes: &[u8], at: usize) -> Option<usize> {
    let length = number::json_length(&bytes[at..]);
    // What could be a part of the number, but is none, is no separator either.
    let part = matches!(bytes.get(at + length), Some(b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
    (length > 0 && !part).then_some(at + length)
}

/// Where the digits end that begin there.
#[inline]
pub(crate) fn end_of_digits(bytes: &[u8], start: usize) -> usize {
    let mut end = start;
    while let Some(word) = bytes.get(end..).and_then(<[u8]>::first_chunk) {
        // Digits become 0 to 9, and only other bytes reach the high bit. It is right up to the first of them.
        let values = u64::from_le_bytes(*word) ^ repeat(b'0');
        let others = (values.wrapping_add(repeat(0x80 - 10)) | values) & HIGHS;
        if others != 0 {
            return end + others.trailing_zeros() as usize / 8;
        }
        end += word.len();
    }
    while bytes.get(end).is_some_and(u8::is_ascii_digit) {
        end += 1;
    }
    end
}

/// The end of the object or array that begins at `at`, and ends with this byte.
// Most elements are no objects or arrays themselves: without this they would be calls within calls.
#[inline(never)]
fn end_of_elements(bytes: &[u8], at: usize, end: u8, depth: usize) -> Option<usize> {
    if depth == DEEPEST {
        return None;
    }
    if bytes.get(at + 1) == Some(&end) {
        return Some(at + 2);
    }
    let mut at = at;
    loop {
        at += 1;
        if end == b'}' {
            let colon = end_of_string(bytes, at)?;
            (bytes.get(colon) == Some(&b':')).then_some(())?;
            at = colon + 1;
        }
        at = end_of(bytes, at, depth + 1)?;
        match bytes.get(at)? {
            b',' => {}
            byte if *byte == end => return Some(at + 1),
            _ => return None,
        }
    }
}

/// Where the JSON string ends that begins at `at`. Nothing if there is none, and also for one with an escape.
#[inline]
pub fn end_of_plain_string(bytes: &[u8], at: usize) -> Option<usize> {
    (bytes.get(at) == Some(&b'"')).then_some(())?;
    let end = at + 1 + special(&bytes[at + 1..])?;
    (bytes[end] == b'"').then_some(end + 1)
}

#[inline]
fn end_of_string(bytes: &[u8], at: usize) -> Option<usize> {
    if bytes.get(at) != Some(&b'"') {
        return None;
    }
    let mut at = at + 1;
    loop {
        at += special(bytes.get(at..)?)?;
        match bytes[at] {
            b'"' => return Some(at + 1),
            b'\\' => match bytes.get(at + 1)? {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => at += 2,
                b'u' if bytes.get(at + 2..at + 6)?.iter().all(u8::is_ascii_hexdigit) => at += 6,
                _ => return None,
            },
            _ => return None,
        }
    }
}

const fn repeat(byte: u8) -> u64 {
    ONES * byte as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{prop_assert, prop_assert_eq, proptest};

    #[test]
    fn every_byte_is_judged_at_every_place() {
        for length in [1, 15, 16, 17, 33] {
            for place in 0..length {
                for byte in 0..=255_u8 {
                    let mut bytes = vec![b'a'; length];
                    bytes[place] = byte;
                    let expected = (byte < 0x20 || byte == b'"' || byte == b'\\').then_some(place);
                    assert_eq!(special(&bytes), expected, "{byte:#x} at {place} of {length}");
                }
            }
        }
    }

    #[test]
    fn of_several_the_first_counts_whatever_stands_beside_it() {
        assert_eq!(special(b"a\x1f\"\\aaaa"), Some(1));
        assert_eq!(special(b"\x20!\x80\xffa\"\0a"), Some(5));
        assert_eq!(special(&[0x20, 0x20, 0xa0, 0x9f, 0x7f, 0x23, 0x21, 0x5b, 0x5d]), None);
        assert_eq!(special(b""), None);
    }

    #[test]
    fn a_string_without_escapes_ends_with_its_quote() {
        for (json, expected) in [
            ("\"\"", Some(2)),
            ("\"a long string, é\": 1", Some(19)),
            ("a\"", None),
            ("\"a", None),
            ("\"a\\\"\"", None),
            ("\"a\nb\"", None),
            ("", None),
        ] {
            assert_eq!(end_of_plain_string(json.as_bytes(), 0), expected, "{json}");
        }
    }

    #[test]
    fn a_value_ends_where_it_ends() {
        for (json, expected) in [
            ("1,", Some(1)),
            ("12", Some(2)),
            ("120]", Some(3)),
            ("12x", Some(2)),
            ("0,", Some(1)),
            ("-7}", Some(2)),
            ("-,", None),
            ("00,", None),
            ("1-,", None),
            ("-1.5e+3]", Some(7)),
            ("\"a\\\"b\\u00e9\"x", Some(12)),
            ("{\"a\":[1,{\"b\":null},[]],\"c\":{}}}", Some(30)),
            ("[true,false]", Some(12)),
            ("[]", Some(2)),
            ("", None),
            ("01", None),
            ("1.", None),
            ("[1", None),
            ("[1,]", None),
            ("{1:2}", None),
            ("{\"a\" :1}", None),
            ("{\"a\"}", None),
            ("[1}", None),
            ("\"a", None),
            ("\"\\x\"", None),
            ("\"\\u12g4\"", None),
            ("\"\\", None),
            ("\"\n\"", None),
            ("nul", None),
            ("'a'", None),
        ] {
            assert_eq!(end_of_value(json.as_bytes(), 0), expected, "{json}");
        }
        let deep = "[".repeat(200_000);
        assert_eq!(end_of_value(deep.as_bytes(), 0), None);
        let nested = format!("{}{}", "[".repeat(64), "]".repeat(64));
        assert_eq!(end_of_value(nested.as_bytes(), 0), Some(128));
    }

    proptest! {
        /// Whatever stands side by side, the first byte that counts is found.
        #[test]
        fn blocks_are_judged_as_their_bytes_are(bytes in proptest::collection::vec(0x1c_u8..0x24, 0..40), other: [u8; 16]) {
            for bytes in [&bytes[..], &other, &[&other[..], &bytes].concat()] {
                let expected = bytes.iter().position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\');
                prop_assert_eq!(special(bytes), expected);
            }
        }

        #[test]
        fn what_two_have_in_common_is_found_whatever_follows(
            common in proptest::collection::vec(0_u8..3, 0..80),
            one in proptest::collection::vec(0_u8..3, 0..20),
            other in proptest::collection::vec(0_u8..3, 0..20),
        ) {
            let (one, other) = ([&*common, &*one].concat(), [&*common, &*other].concat());
            let expected = one.iter().zip(&other).take_while(|(one, other)| one == other).count();
            prop_assert_eq!(common_length(&one, &other), expected);
        }

        /// By words a text begins with another one as it does by bytes, unless it ends too soon to be compared so.
        #[test]
        fn a_beginning_is_one(
            wanted in proptest::collection::vec(0_u8..2, 1..40),
            text in proptest::collection::vec(0_u8..2, 0..60),
            same in proptest::bool::ANY,
        ) {
            let text = if same { [&*wanted, &*text].concat() } else { text };
            let expected = text.len() >= 8 && text.starts_with(&wanted);
            prop_assert_eq!(Beginning::of(&wanted).is_of(&wanted, &text), expected);
        }

        #[test]
        fn digits_end_where_they_end(
            digits in "[0-9]{0,20}",
            other in proptest::option::of(proptest::num::u8::ANY),
            rest in proptest::collection::vec(proptest::num::u8::ANY, 0..12),
            start in 0..3_usize,
        ) {
            let bytes = [b"---", digits.as_bytes(), other.as_slice(), &rest].concat();
            let expected = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            prop_assert_eq!(end_of_digits(&bytes, start), start + expected);
            let expected = bytes[3..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            prop_assert_eq!(end_of_digits(&bytes, 3), 3 + expected);
        }

        /// What serde_json takes for a value is one, and nothing else is.
        #[test]
        fn it_agrees_with_a_parser(text in "[\\[\\]{}:,\"\\\\au0-9eE+.\\-tnlrfs]{0,24}") {
            if let Some(end) = end_of_value(text.as_bytes(), 0) {
                let value = serde_json::from_str::<&serde_json::value::RawValue>(&text[..end]);
                prop_assert_eq!(value.map(|value| value.get().len()).ok(), Some(end));
            } else {
                let value = serde_json::Deserializer::from_str(&text).into_iter::<&serde_json::value::RawValue>().next();
                prop_assert!(!matches!(value, Some(Ok(_))), "a value in {}", text);
            }
        }
    }
}
