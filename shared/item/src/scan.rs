//! Looks through JSON without taking it apart: where a string has to be looked at closely, where a value ends. What values
//! mean, `decode` knows.

use crate::number;

/// Values nested deeper than this are left to a parser that complains.
const DEEPEST: usize = 64;

const ONES: u64 = u64::from_le_bytes([1; 8]);
const HIGHS: u64 = u64::from_le_bytes([0x80; 8]);

/// Where the first byte is that cannot stand in a JSON string as it is: a quote, a backslash, a control character
/// (RFC 8259, section 7).
#[inline]
pub fn special(bytes: &[u8]) -> Option<usize> {
    let (words, rest) = bytes.as_chunks::<8>();
    for (place, word) in words.iter().enumerate() {
        if let Some(found) = special_in(*word) {
            return Some(place * 8 + found);
        }
    }
    if rest.is_empty() {
        return None;
    }
    // The rest together with the bytes before it, which are none of these.
    if let Some(last) = bytes.last_chunk() {
        return special_in(*last).map(|found| bytes.len() - 8 + found);
    }
    bytes.iter().position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\')
}

#[inline]
fn special_in(word: [u8; 8]) -> Option<usize> {
    let word = u64::from_le_bytes(word);
    // With this bit flipped, the quote (0x22) comes directly after the control characters, and no other byte does.
    let found = below(word ^ repeat(0x02), 0x21) | below(word ^ repeat(b'\\'), 1);
    // Neither mask has the high bit, so it says of both whether the byte is ASCII.
    let found = found & !word & HIGHS;
    (found != 0).then(|| found.trailing_zeros() as usize / 8)
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

fn end_of_number(bytes: &[u8], at: usize) -> Option<usize> {
    // Most are whole, and an element of something.
    if let Some(digits) = bytes[at..].iter().position(|byte| !byte.is_ascii_digit())
        && matches!(bytes[at], b'1'..=b'9')
        && matches!(bytes[at + digits], b',' | b'}' | b']')
    {
        return Some(at + digits);
    }
    let length = number::json_length(&bytes[at..]);
    // What could be a part of the number, but is none, is no separator either.
    let part = matches!(bytes.get(at + length), Some(b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
    (length > 0 && !part).then_some(at + length)
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

/// The high bit of each byte that is less than `limit`, which is at most 0x80. It says nothing of a byte that is 0x80 or
/// more, and a borrow may set bits above the first byte that is less; that first one is right.
const fn below(word: u64, limit: u8) -> u64 {
    word.wrapping_sub(repeat(limit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{prop_assert, prop_assert_eq, proptest};

    #[test]
    fn every_byte_is_judged_at_every_place() {
        for length in [1, 7, 8, 9, 17] {
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
        fn words_are_judged_as_their_bytes_are(bytes in proptest::collection::vec(0x1c_u8..0x24, 0..20), other: [u8; 16]) {
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
