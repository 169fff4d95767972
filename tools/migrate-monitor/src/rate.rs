//! How fast something grows, smoothed, so that a pause to write does not make a person think of days.

use std::time::Duration;

/// What was so long ago counts about a third of what is now.
const MEMORY: Duration = Duration::from_secs(15);

/// An exponentially weighted mean of the growth.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rate {
    last: Option<(Duration, f64)>,
    mean: f64,
    /// How much of the mean is known: it begins with nothing.
    weight: f64,
}

impl Rate {
    /// At this time the amount was that; the first one tells where it begins.
    pub(crate) fn at(&mut self, time: Duration, amount: f64) {
        let Some((before, had)) = self.last else {
            self.last = Some((time, amount));
            return;
        };
        let passed = time.saturating_sub(before).as_secs_f64();
        if passed <= 0.0 {
            return;
        }
        self.last = Some((time, amount));
        let keep = (-passed / MEMORY.as_secs_f64()).exp();
        self.mean = self.mean * keep + (amount - had).max(0.0) / passed * (1.0 - keep);
        self.weight = self.weight * keep + (1.0 - keep);
    }

    /// The growth in a second.
    pub(crate) fn per_second(&self) -> f64 {
        if self.weight > 0.0 { self.mean / self.weight } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn near(rate: &Rate, expected: f64) {
        let rate = rate.per_second();
        assert!((rate - expected).abs() < 0.01 * expected.max(1.0), "{rate}, not {expected}");
    }

    #[test]
    fn what_was_there_at_the_beginning_is_no_growth() {
        let mut rate = Rate::default();
        rate.at(seconds(0), 1_000_000.0);
        near(&rate, 0.0);
        rate.at(seconds(1), 1_000_100.0);
        near(&rate, 100.0);
        rate.at(seconds(2), 1_000_200.0);
        near(&rate, 100.0);
    }

    #[test]
    fn a_pause_lowers_it_slowly_and_long_ago_is_forgotten() {
        let mut rate = Rate::default();
        for second in 0..=300 {
            rate.at(seconds(second), 100.0 * f64::from(u32::try_from(second).unwrap()));
        }
        // After 15 s of pause a third is left: exp(-1) = 0.368.
        rate.at(seconds(315), 30_000.0);
        near(&rate, 36.8);
        rate.at(seconds(900), 30_000.0);
        near(&rate, 0.0);
    }

    #[test]
    fn nothing_is_said_twice_in_an_instant() {
        let mut rate = Rate::default();
        rate.at(seconds(1), 0.0);
        rate.at(seconds(1), 50.0);
        rate.at(seconds(2), 100.0);
        near(&rate, 100.0);
    }
}
