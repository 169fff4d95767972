//! How many rejects a run may have: more of them say that the profile or the table is wrong, not the data, and the run
//! stops. What becomes of a reject, `rejects` and `run` decide.

use std::collections::HashMap;
use std::num::ParseFloatError;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

/// A percentage is one of at least so many records: one bad record among the first fifty stops nothing.
const BASE: u64 = 10_000;

/// So many records that are all rejects stop a run at once.
const HOPELESS: u64 = 100;

/// Reasons that are told apart; the most frequent one is among the first.
const REASONS: usize = 1000;

/// The limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MaxRejects {
    /// So many.
    Count(u64),
    /// So many of a hundred records; 100 is no limit.
    Percent(f64),
}

impl FromStr for MaxRejects {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "a limit is a number of records, or a percentage of them from 0% to 100%".to_owned();
        match text.strip_suffix('%') {
            None => text.parse().map(Self::Count).map_err(|_| wrong()),
            Some(percent) => {
                let percent = percent.parse().map_err(|_: ParseFloatError| wrong())?;
                if (0.0..=100.0).contains(&percent) { Ok(Self::Percent(percent)) } else { Err(wrong()) }
            }
        }
    }
}

impl MaxRejects {
    /// Whether so many rejects are too many for the records read so far, of which `accepted` are known to be good.
    pub fn exceeded(self, read: u64, accepted: u64, rejected: u64) -> bool {
        let hopeless = accepted == 0 && rejected >= HOPELESS;
        match self {
            Self::Count(most) => rejected > most || hopeless,
            Self::Percent(percent) if percent >= 100.0 => false,
            #[expect(clippy::cast_precision_loss, reason = "no run has 2^52 records")]
            Self::Percent(percent) => rejected as f64 * 100.0 > percent * read.max(BASE) as f64 || hopeless,
        }
    }
}

/// What was read so far: of records that were filtered out only the numbers of the others tell.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reading {
    /// Of files before this one.
    before: u64,
    /// The file's records that an earlier process has read.
    skip: u64,
    /// The highest number in this file.
    highest: u64,
    /// Records that came as a row or a reject, numbered or not.
    counted: u64,
    rejected: u64,
}

impl Reading {
    /// A file begins after so many records.
    pub fn begin(&mut self, skip: u64) {
        self.before = self.records();
        (self.skip, self.highest) = (skip, skip);
    }

    /// The file was read up to this record.
    pub fn up_to(&mut self, record: u64) {
        self.highest = self.highest.max(record);
    }

    /// Records with these numbers came, good or not.
    pub fn came(&mut self, records: &[u64]) {
        self.counted += (records.len() as u64).max(1);
        self.up_to(records.iter().copied().max().unwrap_or_default());
    }

    /// So many of them are rejects.
    pub fn rejected(&mut self, records: u64) {
        self.rejected += records;
    }

    /// How many records were read.
    pub fn records(&self) -> u64 {
        (self.before + self.highest.saturating_sub(self.skip)).max(self.counted)
    }

    /// How many of them left no line.
    pub fn left_out(&self) -> u64 {
        self.records() - self.counted
    }

    /// How many of them are known to be rejects.
    pub fn rejects(&self) -> u64 {
        self.rejected
    }
}

/// After how many more rejects a run stops; `u64::MAX` is never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// As long as no record is in the table.
    pub none_passed: u64,
    /// In any case.
    pub any: u64,
}

impl Allowance {
    /// Rows are tried to the last one.
    pub const UNLIMITED: Self = Self { none_passed: u64::MAX, any: u64::MAX };
}

/// Looks on while a batch is worked on, so that one which is all wrong is not written to its end.
#[derive(Debug)]
pub struct Watch {
    limit: MaxRejects,
    read: u64,
    accepted: AtomicU64,
    rejected: AtomicU64,
}

impl Watch {
    /// The counts of the run before a batch, whose records are among those that were `read`.
    pub fn new(limit: MaxRejects, read: u64, accepted: u64, rejected: u64) -> Self {
        Self { limit, read, accepted: accepted.into(), rejected: rejected.into() }
    }

    /// So many more records are in the table.
    pub fn accept(&self, records: u64) {
        self.accepted.fetch_add(records, Ordering::Relaxed);
    }

    /// So many more cannot be.
    pub fn reject(&self, records: u64) {
        self.rejected.fetch_add(records, Ordering::Relaxed);
    }

    /// After how many more rejects work should end.
    pub fn allowance(&self) -> Allowance {
        let (accepted, rejected) = (self.accepted.load(Ordering::Relaxed), self.rejected.load(Ordering::Relaxed));
        let most = match self.limit {
            MaxRejects::Count(most) => most,
            MaxRejects::Percent(percent) if percent >= 100.0 => return Allowance::UNLIMITED,
            #[expect(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "no run has 2^52 records"
            )]
            MaxRejects::Percent(percent) => (percent * self.read.max(BASE) as f64 / 100.0) as u64,
        };
        let none_passed = if accepted == 0 { HOPELESS.saturating_sub(rejected).max(1) } else { u64::MAX };
        Allowance { none_passed, any: (most + 1).saturating_sub(rejected).max(1) }
    }

    /// Whether work should end here if so many more records are rejects.
    pub fn would_exceed(&self, more: u64) -> bool {
        let (accepted, rejected) = (self.accepted.load(Ordering::Relaxed), self.rejected.load(Ordering::Relaxed));
        self.limit.exceeded(self.read, accepted, rejected + more)
    }

    /// How many records were read.
    pub fn read(&self) -> u64 {
        self.read
    }

    /// How many were rejected.
    pub fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }

    /// Whether work should end here.
    pub fn exceeded(&self) -> bool {
        let (accepted, rejected) = (self.accepted.load(Ordering::Relaxed), self.rejected.load(Ordering::Relaxed));
        self.limit.exceeded(self.read, accepted, rejected)
    }
}

/// How often which reason was met, whatever values it names.
#[derive(Debug, Default)]
pub struct Reasons(HashMap<String, (String, u64)>);

impl Reasons {
    /// So many records were rejected for this reason.
    pub fn add(&mut self, reason: &str, records: u64) {
        let kind = kind_of(reason);
        if self.0.len() < REASONS || self.0.contains_key(&kind) {
            self.0.entry(kind).or_insert_with(|| (reason.to_owned(), 0)).1 += records;
        }
    }

    /// The most frequent one, as it was met first, and how often.
    pub fn most_frequent(&self) -> Option<&(String, u64)> {
        self.0.values().max_by(|a, b| a.1.cmp(&b.1).then_with(|| b.0.cmp(&a.0)))
    }
}

/// A reason without numbers and without what is in double quotes or parentheses: values stand there.
fn kind_of(reason: &str) -> String {
    let (mut quoted, mut depth) = (false, 0_u32);
    let mut keep = |character: char| {
        match character {
            '"' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth = depth.saturating_sub(1),
            _ => return !quoted && depth == 0 && !character.is_ascii_digit(),
        }
        false
    };
    reason.chars().filter(|&character| keep(character)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_number_or_a_percentage() {
        assert_eq!("7".parse(), Ok(MaxRejects::Count(7)));
        assert_eq!("0.5%".parse(), Ok(MaxRejects::Percent(0.5)));
        for wrong in ["", "%", "-1", "1.5", "101%", "-1%", "NaN%", "many"] {
            assert!(wrong.parse::<MaxRejects>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_percentage_is_one_of_ten_thousand_records_at_least() {
        let one = MaxRejects::Percent(1.0);
        assert!(!one.exceeded(50, 49, 1));
        assert!(!one.exceeded(150, 50, 100));
        assert!(one.exceeded(151, 50, 101));
        assert!(!one.exceeded(20_000, 19_800, 200));
        assert!(one.exceeded(20_000, 19_799, 201));
    }

    #[test]
    fn a_number_is_the_last_that_is_allowed() {
        assert!(!MaxRejects::Count(3).exceeded(9, 6, 3));
        assert!(MaxRejects::Count(3).exceeded(9, 5, 4));
        assert!(MaxRejects::Count(0).exceeded(1_000_000, 999_999, 1));
    }

    #[test]
    fn a_hundred_records_that_are_all_rejects_are_enough_unless_it_is_switched_off() {
        for limit in [MaxRejects::Count(1000), MaxRejects::Percent(99.0)] {
            assert!(!limit.exceeded(99, 0, 99));
            assert!(limit.exceeded(100, 0, 100));
            assert!(!limit.exceeded(101, 1, 100));
        }
        assert!(!MaxRejects::Percent(100.0).exceeded(1_000_000, 0, 1_000_000));
    }

    #[test]
    fn an_allowance_is_used_up_when_the_limit_is_exceeded() {
        for (limit, read, accepted, rejected) in [
            (MaxRejects::Count(3), 9, 5, 1),
            (MaxRejects::Count(0), 9, 0, 0),
            (MaxRejects::Percent(1.0), 50, 49, 1),
            (MaxRejects::Percent(1.0), 123_456, 0, 7),
            (MaxRejects::Percent(0.3), 1_000_000, 17, 7),
        ] {
            let Allowance { none_passed, any } = Watch::new(limit, read, accepted, rejected).allowance();
            let least = none_passed.min(any);
            assert!(limit.exceeded(read, accepted, rejected + least), "{limit:?}");
            assert!(!limit.exceeded(read, accepted, rejected + least - 1), "{limit:?}");
        }
        assert_eq!(Watch::new(MaxRejects::Percent(100.0), 9, 0, 0).allowance(), Allowance::UNLIMITED);
    }

    #[test]
    fn records_that_left_no_line_are_known_by_the_numbers_of_the_others() {
        let mut reading = Reading::default();
        // Ten of them are left out; of the others 11, 15 are a row, and 20 is a reject.
        reading.begin(10);
        reading.came(&[11, 15]);
        reading.came(&[20]);
        reading.rejected(1);
        assert_eq!((reading.records(), reading.rejects(), reading.left_out()), (10, 1, 7));
        reading.up_to(30);
        reading.begin(0);
        reading.came(&[4]);
        assert_eq!(reading.records(), 24);

        let mut unnumbered = Reading::default();
        unnumbered.came(&[]);
        unnumbered.came(&[]);
        assert_eq!(unnumbered.records(), 2);
    }

    #[test]
    fn reasons_are_counted_whatever_values_they_name() {
        let mut reasons = Reasons::default();
        reasons.add("column `b`: missing", 2);
        for value in ["x1", "y"] {
            reasons.add(&format!("invalid input for type integer: \"{value}\"; row (1, {value})"), 1);
        }
        reasons.add("invalid input for type integer: \"z\"; row (2, z)", 3);
        let expected = ("invalid input for type integer: \"x1\"; row (1, x1)".to_owned(), 5);
        assert_eq!(reasons.most_frequent(), Some(&expected));
    }
}
