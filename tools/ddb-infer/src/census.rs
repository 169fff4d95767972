//! What the items of one kind have: attributes, how often, of which types, and what their values look like. What follows
//! from that for a column is decided in `columns`.

use std::collections::BTreeMap;

use item::number::Decimal;
use item::{Text, Type, Value};

/// Attributes beyond so many are not counted one by one; they stay in the rest.
const MOST_ATTRIBUTES: usize = 1_000;

/// Items, or elements of lists, of one kind.
#[derive(Debug, Default)]
pub(crate) struct Census {
    pub(crate) items: u64,
    pub(crate) attributes: BTreeMap<String, Attribute>,
    /// Attributes were met that are not counted.
    pub(crate) more: bool,
}

/// What was seen of one attribute.
#[derive(Debug, Default)]
pub(crate) struct Attribute {
    /// How many values there are of each type, in the order of [`Type::ALL`].
    types: [u64; 10],
    pub(crate) texts: Texts,
    pub(crate) numbers: Numbers,
    /// The elements of number sets.
    pub(crate) members: Numbers,
    /// The elements of lists that are maps.
    pub(crate) elements: Option<Box<Census>>,
    /// Some element of a list is no map.
    pub(crate) other_elements: bool,
}

/// What texts look like.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    pub(crate) longest: usize,
    /// The same in bytes.
    pub(crate) widest: usize,
    pub(crate) instants: u64,
    pub(crate) dates: u64,
    pub(crate) uuids: u64,
    pub(crate) numbers: Numbers,
}

/// How many of the numbers fit where; of those alone that PostgreSQL's `numeric` has a place for.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    /// Numbers of any kind.
    pub(crate) all: u64,
    /// Whole ones of 64 bits.
    pub(crate) integers: u64,
    /// Seconds since 1970 that lie between the years 2000 and 2100; milliseconds; microseconds.
    pub(crate) epochs: [u64; 3],
}

/// 2000-01-01 and 2100-01-01 in seconds since 1970.
const PLAUSIBLE: std::ops::Range<i64> = 946_684_800..4_102_444_800;

impl Census {
    /// Counts an item, or an element that is a map.
    pub(crate) fn add(&mut self, attributes: &[(Text<'_>, Value<'_>)], with_elements: bool) {
        self.items += 1;
        for (name, value) in attributes {
            let name = name.get();
            let attribute = if let Some(known) = self.attributes.get_mut(&*name) {
                known
            } else if self.attributes.len() < MOST_ATTRIBUTES {
                self.attributes.entry(name.into_owned()).or_default()
            } else {
                self.more = true;
                continue;
            };
            attribute.add(value, with_elements);
        }
    }
}

impl Attribute {
    fn add(&mut self, value: &Value<'_>, with_elements: bool) {
        let place = Type::ALL.iter().position(|ty| *ty == value.ty());
        self.types[place.unwrap_or_default()] += 1;
        match value {
            Value::S(text) => self.texts.add(&text.get()),
            Value::N(number) => self.numbers.add(&number.get()),
            Value::Ns(numbers) => numbers.iter().for_each(|number| self.members.add(&number.get())),
            Value::L(values) if with_elements => {
                for value in values.iter() {
                    match value {
                        Value::M(fields) => self.elements.get_or_insert_default().add(fields, false),
                        _ => self.other_elements = true,
                    }
                }
            }
            _ => {}
        }
    }

    /// Values of that type.
    pub(crate) fn of(&self, ty: Type) -> u64 {
        Type::ALL.iter().zip(self.types).find(|(known, _)| **known == ty).map_or(0, |(_, count)| count)
    }

    /// Every value, NULL too.
    pub(crate) fn count(&self) -> u64 {
        self.types.iter().sum()
    }

    /// Each type that was seen, the most frequent one first.
    pub(crate) fn types(&self) -> Vec<(Type, u64)> {
        let mut types: Vec<_> = Type::ALL.into_iter().zip(self.types).filter(|(_, count)| *count > 0).collect();
        types.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        types
    }

    /// Whether every value that is not NULL has one of these types; there is one.
    pub(crate) fn only(&self, types: &[Type]) -> bool {
        let wanted: u64 = types.iter().map(|ty| self.of(*ty)).sum();
        wanted > 0 && wanted + self.of(Type::Null) == self.count()
    }
}

impl Texts {
    fn add(&mut self, text: &str) {
        self.longest = self.longest.max(text.chars().count());
        self.widest = self.widest.max(text.len());
        self.instants += u64::from(is_instant(text));
        self.dates += u64::from(is_date(text));
        self.uuids += u64::from(is_uuid(text));
        self.numbers.add(text);
    }
}

impl Numbers {
    fn add(&mut self, digits: &str) {
        let Some(number) = Decimal::parse(digits).ok().filter(|number| number.fits_numeric()) else { return };
        self.all += 1;
        let Ok(number) = number.to_i64() else { return };
        self.integers += 1;
        for (count, unit) in self.epochs.iter_mut().zip([1, 1_000, 1_000_000]) {
            *count += u64::from(PLAUSIBLE.contains(&number.div_euclid(unit)));
        }
    }
}

/// `2024-01-31T23:59:59.5Z`, or with an offset: an instant that PostgreSQL reads, with no more digits than it keeps.
fn is_instant(text: &str) -> bool {
    let Some((date, time)) = text.split_at_checked(10) else { return false };
    let Some((clock, rest)) = time.split_at_checked(9) else { return false };
    let (fraction, zone) = rest.split_at(rest.find(['Z', '+', '-']).unwrap_or(rest.len()));
    let shaped = has_shape(clock, "T00:00:00") || has_shape(clock, " 00:00:00");
    let exact =
        fraction.is_empty() || (2..=7).contains(&fraction.len()) && has_shape(fraction, &".000000"[..fraction.len()]);
    // The greatest offset that PostgreSQL reads is of 15:59 hours.
    let zoned = zone == "Z" || ((has_shape(zone, "+00:00") || has_shape(zone, "-00:00")) && &zone[1..3] < "16");
    is_date(date) && shaped && exact && zoned && text.parse::<jiff::Timestamp>().is_ok()
}

/// `2024-01-31`; PostgreSQL has no year 0.
fn is_date(text: &str) -> bool {
    has_shape(text, "0000-00-00") && !text.starts_with("0000") && text.parse::<jiff::civil::Date>().is_ok()
}

/// Whether a text has a digit where the shape has a zero, and is the same elsewhere.
fn has_shape(text: &str, shape: &str) -> bool {
    let same = |(byte, wanted): (u8, u8)| if wanted == b'0' { byte.is_ascii_digit() } else { byte == wanted };
    text.len() == shape.len() && text.bytes().zip(shape.bytes()).all(same)
}

/// As UUIDs are printed: what is in other letters would not be the same text again.
fn is_uuid(text: &str) -> bool {
    let hyphens = [8, 13, 18, 23];
    text.len() == 36
        && text.bytes().enumerate().all(|(place, byte)| match byte {
            b'-' => hyphens.contains(&place),
            byte => !hyphens.contains(&place) && matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_has_an_offset_and_no_more_than_microseconds() {
        for text in ["2024-01-31T23:59:59Z", "2024-01-31 23:59:59.123456+01:00", "2024-02-29T00:00:00.5-11:30"] {
            assert!(is_instant(text), "{text}");
        }
        for text in [
            "",
            "2024-01-31",
            "2024-01-31T23:59:59",
            "2024-02-30T00:00:00Z",
            "2024-01-31T23:59:59.1234567Z",
            "20240131T235959Z",
            "2024-01-31T23:59:59+01",
            "2024-01-31T23:59:59+01:00[Europe/Paris]",
            "2024-01-31T23:59Z",
            // What is a time elsewhere, but not in PostgreSQL.
            "0000-01-01T00:00:00Z",
            "2024-01-31T23:59:59+16:00",
            "2024-01-31T23:59:59,5Z",
            "2024-01-31T23:59:59.Z",
            "2024-01-31T235959.5Z",
            "2024-01-31T23:59.55Z",
            "éééééé-01-31T23:59:59Z",
        ] {
            assert!(!is_instant(text), "{text}");
        }
    }

    #[test]
    fn dates_and_uuids_are_known_as_they_are_printed() {
        assert!(is_date("2024-02-29") && !is_date("2023-02-29") && !is_date("2024-2-290") && !is_date("0240-22299"));
        assert!(!is_date("0000-01-01") && !is_date("-001-01-01") && !is_date("2024-W05-3"));
        assert!(is_uuid("6ba7b810-9dad-11d1-80b4-00c04fd430c8"));
        assert!(!is_uuid("6BA7B810-9DAD-11D1-80B4-00C04FD430C8") && !is_uuid("6ba7b8109-dad-11d1-80b4-00c04fd430c8"));
    }
}
