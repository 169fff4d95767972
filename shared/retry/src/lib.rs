//! The one retry policy: how often, how long, and a line in the log and an event for each attempt that failed.
//!
//! Which errors are worth another try, their [`Classify`] says; who has a retry of their own uses [`Attempts`], who has
//! a function that can be called again uses [`Retry`]. Waits grow twofold from 0.2 s, with jitter, so that many programs
//! do not come back at the same moment. Nothing here knows S3 or PostgreSQL.

use std::fmt::Display;
use std::time::Duration;

use backon::{BackoffBuilder as _, BlockingRetryable as _, ExponentialBackoff, ExponentialBuilder};
use events::Event;
use fault::{Classify, Fault, explain};
use tracing::warn;

/// The first wait, without jitter.
const FIRST: Duration = Duration::from_millis(200);

/// Retries if nothing else is said. With the other defaults, the waits come to about five minutes.
const RETRIES: u32 = 25;

/// The limits, as flags that every program has which speaks to a service, with `#[command(flatten)]`.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(next_help_heading = "Retry options")]
pub struct Limits {
    /// Try again so often in a row, without progress, what a service could not do [default: 25]
    ///
    /// A lost connection, a timeout, a throttle, a deadlock and the like are tried again; what needs a person is not.
    #[arg(long, value_name = "N")]
    pub retries: Option<u32>,

    /// Wait at most so long before one retry
    #[arg(long, value_name = "SECONDS", default_value = "20", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub retry_max_wait: u64,

    /// Give up when all waits in a row would come to more than this
    #[arg(long, value_name = "SECONDS", default_value = "300")]
    pub retry_for: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { retries: None, retry_max_wait: 20, retry_for: 300 }
    }
}

impl Limits {
    /// The same, with another number of retries where the command line says none.
    pub fn or_retries(self, retries: Option<u32>) -> Self {
        Self { retries: self.retries.or(retries), ..self }
    }

    /// The attempts that this allows in a row, the first one included.
    fn attempts(&self) -> u64 {
        u64::from(self.retries.unwrap_or(RETRIES)) + 1
    }

    fn waits(&self) -> ExponentialBackoff {
        // Jitter adds up to as much again.
        let longest = Duration::from_secs(self.retry_max_wait) / 2;
        ExponentialBuilder::new()
            .with_min_delay(FIRST.min(longest))
            .with_max_delay(longest)
            .with_max_times(usize::try_from(self.retries.unwrap_or(RETRIES)).unwrap_or(usize::MAX))
            .with_total_delay(Some(Duration::from_secs(self.retry_for)))
            .with_jitter()
            .build()
    }
}

/// Attempts in a row, for a caller that waits himself. With progress a new row begins.
#[derive(Debug)]
pub struct Attempts {
    service: &'static str,
    limits: Limits,
    waits: ExponentialBackoff,
    made: u64,
}

impl Attempts {
    /// The first attempt is about to be made, at a service with this name.
    pub fn new(service: &'static str, limits: Limits) -> Self {
        Self { service, limits, waits: limits.waits(), made: 1 }
    }

    /// How long to wait before the next attempt, after one that failed for this cause; nothing if it was the last.
    pub fn next_wait(&mut self, cause: impl Display) -> Option<Duration> {
        let wait = self.waits.next()?;
        self.made += 1;
        report(self.service, &cause, wait, self.made, &self.limits);
        Some(wait)
    }

    /// How many attempts were made.
    pub fn made(&self) -> u64 {
        self.made
    }
}

/// What ends a wait early: a stop that somebody asks for.
pub trait Interrupt {
    /// Whether it was asked for.
    fn asked(&self) -> bool;

    /// Whether it was asked for so long ago that nobody waits any longer for what a service still works at.
    fn late(&self) -> bool;

    /// Waits for so long, or until it is asked for.
    fn wait(&self, wait: Duration);
}

/// A stop was asked for while an attempt was about to be repeated; becomes an error of the caller's type.
#[derive(Debug)]
pub struct Stopped(pub String);

/// Calls what fails again, until it succeeds, fails for good, or has been tried for long enough.
#[derive(Clone, Debug)]
pub struct Retry<S> {
    service: &'static str,
    limits: Limits,
    stop: S,
}

impl<S: Interrupt + Clone + 'static> Retry<S> {
    /// Retries at a service with this name.
    pub fn new(service: &'static str, limits: Limits, stop: S) -> Self {
        Self { service, limits, stop }
    }

    /// The same, for a shorter time.
    pub fn at_most(&self, seconds: u64) -> Self {
        let limits = Limits { retry_for: self.limits.retry_for.min(seconds), ..self.limits };
        Self { service: self.service, limits, stop: self.stop.clone() }
    }

    /// What ends the waits.
    pub fn stop(&self) -> &S {
        &self.stop
    }

    /// Calls `attempt` until the limits are reached; one more time after a stop, for it may have been the last it takes.
    pub fn run<T, E>(&self, attempt: impl FnMut() -> Result<T, E>) -> Result<T, E>
    where
        E: Classify + From<Stopped>,
    {
        let mut made = 1;
        let stop = self.stop.clone();
        let result = attempt
            .retry(self.limits.waits())
            .sleep(move |wait| stop.wait(wait))
            .when(|error| error.fault() == Fault::Transient && !self.stop.asked())
            .notify(|error, wait| {
                made += 1;
                report(self.service, &explain(error), wait, made, &self.limits);
            })
            .call();
        result.map_err(|error| match error.fault() {
            Fault::Transient if self.stop.asked() => {
                Stopped(format!("stopped while waiting for {}: {}", self.service, explain(&error))).into()
            }
            Fault::Transient => {
                warn!("{}: {}; giving up after {made} attempts", self.service, explain(&error));
                error
            }
            _ => error,
        })
    }
}

fn report(service: &str, cause: &dyn Display, wait: Duration, attempt: u64, limits: &Limits) {
    let (seconds, attempts) = (wait.as_secs_f64(), limits.attempts());
    let cause = cause.to_string();
    warn!("{service}: {cause}; trying again in {seconds:.1} s (attempt {attempt} of {attempts})");
    events::send(Event::Retry(events::Retry {
        service: service.to_owned(),
        cause: events::shortened(&cause),
        wait_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
        attempt,
        attempts,
    }));
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::rc::Rc;

    use super::*;

    /// Notes the waits instead of waiting; a stop may come in the wait with that number.
    #[derive(Debug, Default)]
    struct Waits {
        waited: RefCell<Vec<Duration>>,
        stop_in: Option<usize>,
        stopped: Cell<bool>,
    }

    impl Interrupt for Rc<Waits> {
        fn asked(&self) -> bool {
            self.stopped.get()
        }

        fn late(&self) -> bool {
            false
        }

        fn wait(&self, wait: Duration) {
            self.waited.borrow_mut().push(wait);
            self.stopped.set(self.stop_in == Some(self.waited.borrow().len()));
        }
    }

    #[derive(Debug, PartialEq, thiserror::Error)]
    #[error("{1}")]
    struct Failed(Fault, String);

    impl Classify for Failed {
        fn fault(&self) -> Fault {
            self.0
        }
    }

    impl From<Stopped> for Failed {
        fn from(stopped: Stopped) -> Self {
            Self(Fault::Stopped, stopped.0)
        }
    }

    fn retry(limits: Limits) -> Retry<Rc<Waits>> {
        Retry::new("it", limits, Rc::default())
    }

    fn seconds(waits: &[Duration]) -> Vec<f64> {
        waits.iter().map(Duration::as_secs_f64).collect()
    }

    /// Fails with this fault until it was called so often.
    fn until(last: usize, fault: Fault) -> impl FnMut() -> Result<usize, Failed> {
        let mut calls = 0;
        move || {
            calls += 1;
            if calls == last { Ok(calls) } else { Err(Failed(fault, format!("no {calls}"))) }
        }
    }

    #[test]
    fn only_what_time_may_mend_is_tried_again() {
        let retry = retry(Limits::default());
        assert_eq!(retry.run(until(3, Fault::Transient)), Ok(3));
        assert_eq!(retry.stop().waited.borrow().len(), 2);

        for fault in [Fault::Record, Fault::Setup, Fault::Input, Fault::Local] {
            assert_eq!(retry.run(until(2, fault)), Err(Failed(fault, "no 1".to_owned())));
        }
    }

    #[test]
    fn waits_double_with_jitter_up_to_the_longest() {
        let limits = Limits { retries: Some(6), retry_max_wait: 2, retry_for: 300 };
        let retry = retry(limits);
        assert_eq!(retry.run(until(0, Fault::Transient)), Err(Failed(Fault::Transient, "no 7".to_owned())));
        let waits = seconds(&retry.stop().waited.borrow());
        for (wait, least) in waits.iter().zip([0.2, 0.4, 0.8, 1.0, 1.0, 1.0]) {
            assert!((least..=2.0 * least + 0.001).contains(wait), "{waits:?}");
        }
        assert_eq!(waits.len(), 6);
    }

    #[test]
    fn the_waits_together_stay_below_their_limit() {
        let retry = retry(Limits { retries: Some(1000), ..Limits::default() });
        assert!(retry.at_most(15).run(until(0, Fault::Transient)).is_err());
        let waited: f64 = seconds(&retry.stop().waited.borrow()).iter().sum();
        // One more wait of at most 12.8 s would have gone beyond it.
        assert!((2.2..=15.0).contains(&waited), "{waited}");
        assert!(retry.at_most(0).run(until(2, Fault::Transient)).is_err(), "no time at all");
    }

    #[test]
    fn without_retries_one_attempt_is_made() {
        let limits = Limits { retries: Some(0), ..Limits::default() };
        assert!(retry(limits).run(until(2, Fault::Transient)).is_err());
        assert_eq!(Attempts::new("it", limits).next_wait("no"), None);
    }

    #[test]
    fn a_stop_ends_it_after_one_more_attempt() {
        let stop = Rc::new(Waits { stop_in: Some(2), ..Waits::default() });
        let retry = Retry::new("the service", Limits::default(), stop);
        let stopped = "stopped while waiting for the service: no 3".to_owned();
        assert_eq!(retry.run(until(0, Fault::Transient)), Err(Failed(Fault::Stopped, stopped)));
    }

    #[test]
    fn the_command_line_wins_over_other_sources_of_the_number() {
        assert_eq!(Limits::default().attempts(), 26);
        assert_eq!(Limits::default().or_retries(Some(8)).attempts(), 9);
        assert_eq!(Limits { retries: Some(3), ..Limits::default() }.or_retries(Some(8)).attempts(), 4);
    }
}
