//! The one retry policy: backoff with jitter, a line in the log for each attempt that failed, an end when a stop is asked
//! for; and how long work may go on then. Which errors are worth another try, `pg::fault` says.

use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use backon::{BackoffBuilder as _, ExponentialBuilder};
use cli::Stop;
use fault::{Classify as _, Failure, Fault, Problem};
use tracing::warn;

/// Tries again for as long as it was told to.
#[derive(Clone, Debug)]
pub(crate) struct Retry {
    total: Duration,
    stop: Stop,
    stopped: Arc<(Mutex<bool>, Condvar)>,
    /// When a stop was seen first.
    seen: Arc<OnceLock<Instant>>,
}

/// How long work is begun after a stop was asked for: the whole program has to end within ten seconds.
const AFTER_STOP: Duration = Duration::from_secs(5);

impl Retry {
    /// A policy that gives up after waiting for `total`.
    pub(crate) fn new(total: Duration, stop: &Stop) -> Result<Self, Failure> {
        let stopped = Arc::new((Mutex::new(false), Condvar::new()));
        let wake = Arc::clone(&stopped);
        let listen = stop.on_signal(move || {
            *wake.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
            wake.1.notify_all();
        });
        listen.map_err(|error| Problem::new(Fault::Local, format!("cannot listen for signals: {error}")))?;
        Ok(Self { total, stop: stop.clone(), stopped, seen: Arc::default() })
    }

    /// The same, for a shorter time.
    pub(crate) fn at_most(&self, total: Duration) -> Self {
        Self { total: self.total.min(total), ..self.clone() }
    }

    /// The error that ends a batch which takes too long after a stop was asked for: nothing of it is noted then, and all
    /// of it is read again.
    pub(crate) fn in_time(&self) -> Result<(), Problem> {
        if !self.stop.asked() || self.seen.get_or_init(Instant::now).elapsed() < AFTER_STOP {
            return Ok(());
        }
        let message = "stopped before everything that had been read was written";
        Err(Problem::new(Fault::Stopped, message).with_hint("the same command reads it again and goes on from there"))
    }

    /// Does something until it succeeds, fails for good, or has been tried for long enough.
    pub(crate) fn run<T>(&self, mut attempt: impl FnMut() -> Result<T, pg::Error>) -> Result<T, pg::Error> {
        let mut delays = ExponentialBuilder::new()
            .with_min_delay(Duration::from_millis(200))
            .with_max_delay(Duration::from_secs(15))
            .without_max_times()
            .with_total_delay(Some(self.total))
            .with_jitter()
            .build();
        loop {
            let error = match attempt() {
                Err(error) if error.fault() == Fault::Transient => error,
                result => return result,
            };
            if self.stop.asked() {
                return Err(pg::Error::found(Fault::Stopped, format!("stopped while waiting for PostgreSQL: {error}")));
            }
            let Some(delay) = delays.next() else {
                warn!("PostgreSQL: {error}; giving up after {} s", self.total.as_secs());
                return Err(error);
            };
            warn!("PostgreSQL: {error}; trying again in {:.1} s", delay.as_secs_f64());
            self.wait(delay);
        }
    }

    /// Waits, or less if a stop is asked for meanwhile.
    fn wait(&self, delay: Duration) {
        let (stopped, changed) = &*self.stopped;
        let stopped = stopped.lock().unwrap_or_else(PoisonError::into_inner);
        // Woken early or late, the next attempt decides.
        drop(changed.wait_timeout_while(stopped, delay, |stopped| !*stopped));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retry(total: Duration) -> Retry {
        Retry { total, stop: Stop::never(), stopped: Arc::default(), seen: Arc::default() }
    }

    fn error(fault: Fault) -> pg::Error {
        pg::Error::found(fault, "no")
    }

    #[test]
    fn only_what_time_may_mend_is_tried_again() {
        let mut attempts = 0;
        let result = retry(Duration::from_mins(1)).run(|| {
            attempts += 1;
            if attempts == 1 { Err(error(Fault::Transient)) } else { Ok(attempts) }
        });
        assert_eq!(result.unwrap(), 2);

        for fault in [Fault::Record, Fault::Setup] {
            let mut attempts = 0;
            let result: Result<(), _> = retry(Duration::from_mins(1)).run(|| {
                attempts += 1;
                Err(error(fault))
            });
            assert_eq!((result.unwrap_err().fault(), attempts), (fault, 1));
        }
    }

    #[test]
    fn it_gives_up_with_the_last_error() {
        let result: Result<(), _> = retry(Duration::ZERO).run(|| Err(error(Fault::Transient)));
        assert_eq!(result.unwrap_err().fault(), Fault::Transient);
    }

    #[test]
    fn after_a_stop_work_is_begun_for_a_while_only() {
        assert!(retry(Duration::ZERO).in_time().is_ok());
        let stopped = Retry { stop: Stop::now(), ..retry(Duration::ZERO) };
        assert!(stopped.in_time().is_ok(), "it begins to count");

        let long_ago = Instant::now().checked_sub(AFTER_STOP).unwrap();
        let stopped = Retry { stop: Stop::now(), seen: Arc::new(OnceLock::from(long_ago)), ..retry(Duration::ZERO) };
        assert_eq!(stopped.in_time().unwrap_err().fault(), Fault::Stopped);
    }
}
