//! Numbers as text: exact, whatever their size. DynamoDB's `N` has up to 38 significant digits, which no float holds.

use std::borrow::Cow;

use crate::scan::end_of_digits;
use crate::value::Form;

/// Beyond this power of ten a number is not written out; PostgreSQL's `numeric` ends near it.
const LARGEST_EXPONENT: i64 = 131_072;

/// A decimal number, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decimal<'a> {
    negative: bool,
    /// Digits before the point.
    whole: &'a str,
    /// Digits after it.
    fraction: &'a str,
    exponent: i64,
}

/// Why a text is no number, or not the wanted one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NumberError {
    /// The text does not have the form of a number.
    #[error("not a number")]
    Form,
    /// A whole number is wanted and this one has a fraction.
    #[error("not a whole number")]
    Fraction,
    /// The number is too large or too small.
    #[error("out of range")]
    Range,
}

impl<'a> Decimal<'a> {
    /// Takes a number apart: `-12.50e+3`. A sign `+`, leading zeros, `.5` and `5.` are taken too.
    pub fn parse(text: &'a str) -> Result<Self, NumberError> {
        let (negative, rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let (mantissa, exponent) = match rest.bytes().position(|byte| matches!(byte, b'e' | b'E')) {
            Some(place) => (&rest[..place], parse_exponent(&rest[place + 1..])?),
            None => (rest, 0),
        };
        let (whole, fraction) = match mantissa.bytes().position(|byte| byte == b'.') {
            Some(point) => (&mantissa[..point], &mantissa[point + 1..]),
            None => (mantissa, ""),
        };
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(fraction) || whole.len() + fraction.len() == 0 {
            return Err(NumberError::Form);
        }
        Ok(Self { negative, whole, fraction, exponent })
    }

    /// The number as an integer, if it is one: `1.50e2` is 150.
    pub fn to_i64(self) -> Result<i64, NumberError> {
        let Some((digits, point)) = self.significant() else { return Ok(0) };
        let significant = digits.clone().count();
        // The value is these digits, times ten to this power.
        let power = point - i64::try_from(significant).map_err(|_| NumberError::Range)?;
        if power < 0 {
            return Err(NumberError::Fraction);
        }
        if power > 19 || significant > 19 {
            return Err(NumberError::Range);
        }
        let mut value = digits.fold(0, |value: i128, digit| value * 10 + i128::from(digit - b'0'));
        for _ in 0..power {
            value *= 10;
        }
        i64::try_from(if self.negative { -value } else { value }).map_err(|_| NumberError::Range)
    }
}

impl Decimal<'_> {
    /// The digits without the zeros at both ends, and where the point stands, counted from the first of them: 120.5 has the
    /// digits 1205 and the point after three of them, 0.012 has 12 and the point one before the first. Nothing for 0.
    pub fn significant(&self) -> Option<(impl Iterator<Item = u8> + Clone, i64)> {
        let digits = || self.whole.bytes().chain(self.fraction.bytes());
        let leading = digits().take_while(|&byte| byte == b'0').count();
        let total = self.whole.len() + self.fraction.len();
        (leading < total).then_some(())?;
        let trailing = digits().rev().take_while(|&byte| byte == b'0').count();
        // Both are bounded by the line's length.
        let length = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let point = length(self.whole.len()) - length(leading) + self.exponent;
        Some((digits().skip(leading).take(total - leading - trailing), point))
    }

    /// Whether it has a minus sign.
    pub fn is_negative(&self) -> bool {
        self.negative
    }

    /// How many digits it has behind the point when it is written without an exponent: 1.50e1 has one.
    pub fn scale(&self) -> i64 {
        // Bounded by the line's length.
        (i64::try_from(self.fraction.len()).unwrap_or(i64::MAX) - self.exponent).max(0)
    }

    /// Appends bytes in whose order numbers are: of two numbers the greater one has the greater bytes, of equal ones,
    /// however they are spelled, both have the same.
    pub fn write_order(self, into: &mut Vec<u8>) {
        let Some((digits, point)) = self.significant() else { return into.push(1) };
        into.push(if self.negative { 0 } else { 2 });
        let start = into.len();
        into.extend_from_slice(&(point ^ i64::MIN).to_be_bytes());
        into.extend(digits);
        if self.negative {
            // The end counts as less than any digit, and all is turned around.
            into.push(0);
            into[start..].iter_mut().for_each(|byte| *byte = !*byte);
        }
    }

    /// Whether PostgreSQL's `numeric` has a place for it: 131,072 digits before the point, 16,383 after it ("Numeric Types").
    pub fn fits_numeric(self) -> bool {
        // Both are bounded by the line's length.
        let length = |text: &str| i64::try_from(text.len()).unwrap_or(i64::MAX);
        length(self.whole) + self.exponent <= LARGEST_EXPONENT && length(self.fraction) - self.exponent <= 16_383
    }

    /// The number times a power of ten up to 10<sup>18</sup>, cut off at the point; nothing if it leaves the range of
    /// `i128`.
    pub fn scaled(self, factor: i128) -> Option<i128> {
        let power = self.exponent - i64::try_from(self.fraction.len()).ok()?;
        // Digits further behind the point are cut off, however many there are.
        let beyond = (-18 - power).max(0);
        let power = power + beyond;
        let kept = (self.whole.len() + self.fraction.len()).saturating_sub(usize::try_from(beyond).ok()?);
        let mut value: i128 = 0;
        for byte in self.whole.bytes().chain(self.fraction.bytes()).take(kept) {
            value = value.checked_mul(10)?.checked_add(i128::from(byte - b'0'))?;
        }
        value = value.checked_mul(factor)?;
        for _ in 0..power.unsigned_abs().min(64) {
            value = if power < 0 { value / 10 } else { value.checked_mul(10)? };
        }
        Some(if self.negative { -value } else { value })
    }
}

fn parse_exponent(text: &str) -> Result<i64, NumberError> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NumberError::Form);
    }
    // Any exponent of more digits is out of every range.
    let size = digits.parse().unwrap_or(i64::from(i32::MAX)).min(i64::from(i32::MAX));
    Ok(if text.starts_with('-') { -size } else { size })
}

/// A number as JSON writes it, the digits unchanged: `+07.` becomes `7`, `.5` becomes `0.5`.
pub fn to_json(text: &str) -> Result<Cow<'_, str>, NumberError> {
    if is_json(text.as_bytes()) {
        return Ok(Cow::Borrowed(text));
    }
    let number = Decimal::parse(text)?;
    let sign = if number.negative { "-" } else { "" };
    let whole = number.whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    let point = if number.fraction.is_empty() { "" } else { "." };
    let mut json = format!("{sign}{whole}{point}{}", number.fraction);
    if number.exponent != 0 {
        json.push('e');
        json.push_str(&number.exponent.to_string());
    }
    Ok(Cow::Owned(json))
}

/// Whether the text is a number by JSON's grammar (RFC 8259, section 6).
#[inline]
pub fn is_json(text: &[u8]) -> bool {
    !text.is_empty() && json_length(text) == text.len()
}

/// Whether the text is a whole number without a sign, an exponent or zeros in front.
#[inline]
pub fn is_whole(text: &str) -> bool {
    match text.as_bytes() {
        [b'0'] => true,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

/// How long the number is that stands at the beginning of a text by JSON's grammar; 0 if none does. What comes after it
/// is not looked at: of `01` the number is `0`.
#[inline]
pub(crate) fn json_length(text: &[u8]) -> usize {
    begin(text).0
}

/// The same, and how that number is written.
#[inline(always)]
#[expect(clippy::inline_always, reason = "every number begins with it, and calls are not free: it was measured")]
pub(crate) fn begin(text: &[u8]) -> (usize, Form) {
    let digits = |start| end_of_digits(text, start);
    let start = usize::from(text.first() == Some(&b'-'));
    let mut end = match text.get(start) {
        Some(b'0') => start + 1,
        _ => digits(start),
    };
    if end == start {
        return (0, Form::Json);
    }
    let whole = end;
    if text.get(end) == Some(&b'.') {
        let fraction = digits(end + 1);
        if fraction > end + 1 {
            end = fraction;
        }
    }
    if let Some(b'e' | b'E') = text.get(end) {
        let first = end + 1 + usize::from(matches!(text.get(end + 1), Some(b'+' | b'-')));
        let exponent = digits(first);
        if exponent > first {
            end = exponent;
        }
    }
    (end, if start == 0 && end == whole { Form::Whole } else { Form::Json })
}

/// A number as PostgreSQL's `numeric` prints it: without an exponent, zeros at the end kept, no negative zero.
///
/// What is no number, or too large to be written out, comes back as it is.
#[inline]
pub fn plain(text: &str) -> Cow<'_, str> {
    match text.as_bytes() {
        [b'0'..=b'9' | b'+' | b'-' | b'.', ..] if !is_whole(text) => written_out(text),
        _ => Cow::Borrowed(text),
    }
}

fn written_out(text: &str) -> Cow<'_, str> {
    let Ok(number) = Decimal::parse(text) else { return Cow::Borrowed(text) };
    if number.exponent.abs() > LARGEST_EXPONENT {
        return Cow::Borrowed(text);
    }
    let mut digits = format!("{}{}", number.whole, number.fraction);
    // Both lengths are bounded by the line's.
    let length = |text: &str| i64::try_from(text.len()).unwrap_or(i64::MAX);
    let mut point = length(number.whole) + number.exponent;
    // Both counts are bounded by the largest exponent and what the line holds.
    let zeros = |count: i64| "0".repeat(usize::try_from(count).unwrap_or(0));
    if point <= 0 {
        digits.insert_str(0, &zeros(1 - point));
        point = 1;
    }
    digits.push_str(&zeros(point - length(&digits)));
    // `point` lies between 1 and the number of digits now.
    let (whole, fraction) = digits.split_at(usize::try_from(point).unwrap_or(digits.len()));
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    let zero = digits.bytes().all(|byte| byte == b'0');
    let sign = if number.negative && !zero { "-" } else { "" };
    let dot = if fraction.is_empty() { "" } else { "." };
    Cow::Owned(format!("{sign}{whole}{dot}{fraction}"))
}

/// Whether no digit of a number in front of its exponent is another than 0: then it is zero, and not only too small for
/// a float.
pub fn is_zero(text: &str) -> bool {
    !text.split(['e', 'E']).next().unwrap_or_default().contains(|digit| matches!(digit, '1'..='9'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digits_that_count_are_those_between_the_zeros() {
        for (text, digits, point, scale) in [
            ("120.5", "1205", 3, 1),
            ("0.012", "12", -1, 3),
            ("007.00", "7", 1, 2),
            ("-1.50e1", "15", 2, 1),
            ("1200E+2", "12", 6, 0),
            ("12e-3", "12", -1, 3),
        ] {
            let number = Decimal::parse(text).unwrap();
            let (found, place) = number.significant().unwrap();
            let found: Vec<_> = found.collect();
            assert_eq!((found.as_slice(), place, number.scale()), (digits.as_bytes(), point, scale), "{text}");
            assert_eq!(number.is_negative(), text.starts_with('-'));
        }
        let zero = Decimal::parse("0.00").unwrap();
        assert!(zero.significant().is_none());
        assert_eq!(zero.scale(), 2);
    }

    #[test]
    fn numbers_are_written_out_as_numeric_prints_them() {
        // Worked out with `select '...'::numeric` of PostgreSQL 15.
        for (text, expected) in [
            ("85", "85"),
            ("085", "85"),
            ("1e2", "100"),
            ("1.50", "1.50"),
            ("1.5E1", "15"),
            ("1.25e1", "12.5"),
            ("1e-3", "0.001"),
            ("-0", "0"),
            ("-0.0", "0.0"),
            ("-1.0e-1", "-0.10"),
            ("0", "0"),
            ("12e-1", "1.2"),
        ] {
            assert_eq!(plain(text), expected, "{text}");
        }
    }

    #[test]
    fn the_largest_exponents_are_written_out_at_once() {
        let zeros = "0".repeat(131_071);
        // A zero at a time would move gigabytes.
        for _ in 0..100 {
            assert_eq!(plain("1e-131072"), format!("0.{zeros}1"));
            assert_eq!(plain("1e131072"), format!("1{zeros}0"));
        }
        assert_eq!(plain("1e131073"), "1e131073");
    }

    #[test]
    fn whole_numbers_are_exact_to_the_last_digit() {
        for (text, expected) in [
            ("9223372036854775807", Ok(i64::MAX)),
            ("-9223372036854775808", Ok(i64::MIN)),
            ("9223372036854775808", Err(NumberError::Range)),
            ("1E2", Ok(100)),
            ("1.0", Ok(1)),
            ("150e-1", Ok(15)),
            ("0e999999999999999999999", Ok(0)),
            ("-0.000", Ok(0)),
            ("0.001e3", Ok(1)),
            ("1.5", Err(NumberError::Fraction)),
            ("1e-1", Err(NumberError::Fraction)),
            ("1e400", Err(NumberError::Range)),
            ("1e999999999999999999999", Err(NumberError::Range)),
            ("", Err(NumberError::Form)),
            ("-", Err(NumberError::Form)),
            ("1e", Err(NumberError::Form)),
            (".", Err(NumberError::Form)),
            ("1 ", Err(NumberError::Form)),
            ("0x1", Err(NumberError::Form)),
            ("NaN", Err(NumberError::Form)),
            ("Infinity", Err(NumberError::Form)),
            ("1.2.3", Err(NumberError::Form)),
            ("--1", Err(NumberError::Form)),
            ("1_0", Err(NumberError::Form)),
        ] {
            assert_eq!(Decimal::parse(text).and_then(Decimal::to_i64), expected, "{text}");
        }
    }

    #[test]
    fn numbers_of_any_size_have_bytes_in_their_order() {
        // In ascending order; those of one line are equal.
        let lines: [&[&str]; 17] = [
            &["-1e126"],
            &["-12345678901234567890.123456789012345679"],
            &["-12345678901234567890.123456789012345678"],
            &["-10", "-1e1", "-010.00"],
            &["-1.5"],
            &["-1.05"],
            &["-1", "-1.0", "-10E-1"],
            &["-0.09"],
            &["-1e-130"],
            &["0", "-0", "0.00", "0e5"],
            &["1e-130"],
            &["0.09", ".09", "9e-2"],
            &["1", "1.0", "+1", "0.1e1"],
            &["1.05"],
            &["9.99"],
            &["10", "1e1"],
            &["9.9999999999999999999999999999999999999e125"],
        ];
        let order = |text: &str| {
            let mut bytes = Vec::new();
            Decimal::parse(text).unwrap().write_order(&mut bytes);
            bytes
        };
        for (place, line) in lines.iter().enumerate() {
            assert!(line.iter().all(|text| order(text) == order(line[0])), "{line:?}");
            for greater in &lines[place + 1..] {
                assert!(order(line[0]) < order(greater[0]), "{line:?} {greater:?}");
            }
        }
    }

    #[test]
    fn json_keeps_every_digit() {
        let digits = "-12345678901234567890.123456789012345678";
        assert_eq!(to_json(digits).unwrap(), digits);
        assert_eq!(to_json("1E+125").unwrap(), "1E+125");
        for (text, expected) in
            [("+7", "7"), ("007", "7"), (".5", "0.5"), ("5.", "5"), ("-.5e3", "-0.5e3"), ("-00", "-0")]
        {
            assert_eq!(to_json(text).unwrap(), expected, "{text}");
        }
        assert_eq!(to_json("ten"), Err(NumberError::Form));
    }

    #[test]
    fn a_number_ends_where_it_ends() {
        for (text, length) in [
            ("", 0),
            ("-", 0),
            ("-x", 0),
            (".5", 0),
            ("+1", 0),
            ("0", 1),
            ("01", 1),
            ("1.", 1),
            ("1.x", 1),
            ("-1.50\"", 5),
            ("1e", 1),
            ("1e+", 1),
            ("1.5E-07,", 7),
            ("12e3.4", 4),
        ] {
            assert_eq!(json_length(text.as_bytes()), length, "{text}");
        }
    }

    #[test]
    fn json_s_grammar_is_kept() {
        for text in ["0", "-0", "10", "1.0", "1e5", "1E+5", "1e-5"] {
            assert!(is_json(text.as_bytes()), "{text}");
        }
        for text in ["", "-", "01", "1.", ".1", "1e", "1e+", "+1", "1x", "0x1"] {
            assert!(!is_json(text.as_bytes()), "{text}");
        }
    }
}
