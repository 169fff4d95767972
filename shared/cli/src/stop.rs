//! SIGINT and SIGTERM: the first asks, the second ends the program at once.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use fault::{Failure, Fault, Problem};
use retry::Interrupt;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// How long work is begun after a stop was asked for: the whole program has to end within ten seconds.
const BEGINS: Duration = Duration::from_secs(5);

/// How long a service may work at what was begun.
const GOES_ON: Duration = Duration::from_secs(7);

/// When the program ends, whatever it waits for.
const ENDS: Duration = Duration::from_secs(9);

/// How often one who waits looks whether a stop is asked for.
const LOOK: Duration = Duration::from_millis(50);

/// Whether a stop was asked for.
///
/// A source program stops at the next record; every other program goes on until its input ends, because the rows that
/// are under way belong in the table.
#[derive(Clone, Debug)]
pub struct Stop {
    asked: Arc<AtomicBool>,
    signal: Arc<AtomicUsize>,
    /// When somebody saw it first.
    seen: Arc<OnceLock<Instant>>,
}

impl Stop {
    /// Starts to listen.
    pub(crate) fn listen() -> io::Result<Self> {
        let stop = Self::never();
        for (signal, number) in [(SIGINT, 2), (SIGTERM, 15)] {
            // The order matters: the first signal finds the flag unset, so only the second one ends the process.
            flag::register_conditional_default(signal, Arc::clone(&stop.asked))?;
            flag::register(signal, Arc::clone(&stop.asked))?;
            flag::register_usize(signal, Arc::clone(&stop.signal), number)?;
        }
        Ok(stop)
    }

    /// A stop that nobody asks for, for tests of what takes one.
    pub fn never() -> Self {
        Self { asked: Arc::default(), signal: Arc::default(), seen: Arc::default() }
    }

    /// A stop that has been asked for, for the same.
    pub fn now() -> Self {
        Self { asked: Arc::new(AtomicBool::new(true)), ..Self::never() }
    }

    /// True from the first signal on.
    pub fn asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// The number of the signal that asked.
    pub fn signal(&self) -> Option<i32> {
        match self.signal.load(Ordering::Relaxed) {
            0 => None,
            number => i32::try_from(number).ok(),
        }
    }

    /// How long ago it was asked for, as far as anybody has looked.
    fn since(&self) -> Option<Duration> {
        self.asked().then(|| self.seen.get_or_init(Instant::now).elapsed())
    }

    /// The error that ends work which takes too long after a stop was asked for: nothing of it is noted then, and all of
    /// it is done again.
    pub fn in_time(&self) -> Result<(), Problem> {
        if self.since().is_none_or(|since| since < BEGINS) {
            return Ok(());
        }
        let message = "stopped before everything that had been read was written";
        Err(Problem::new(Fault::Stopped, message).with_hint("the same command reads it again and goes on from there"))
    }

    /// What `work` comes to, or nothing if a stop is asked for before. Then nobody waits for it any more.
    ///
    /// # Errors
    /// Those of `work`.
    pub fn unless_asked<T, E>(&self, work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<Option<T>, Failure>
    where
        T: Send + 'static,
        E: Into<Failure> + Send + 'static,
    {
        // On a thread, because a service may keep us waiting for minutes.
        let (sender, result) = sync_channel(1);
        let worker = thread::Builder::new().name("work".to_owned()).spawn(move || {
            // Nobody takes it after a stop.
            let _ = sender.send(work());
        });
        worker.map_err(|error| Problem::new(Fault::Local, format!("cannot start a thread: {error}")))?;
        loop {
            match result.recv_timeout(Duration::from_millis(100)) {
                Ok(result) => return result.map(Some).map_err(Into::into),
                Err(RecvTimeoutError::Timeout) if self.asked() => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Problem::new(Fault::Local, "the working thread died: this is a bug").into());
                }
            }
        }
    }

    /// Calls `end`, which ends the program, when it is still there so long after a stop was asked for that what it waits
    /// for does not come: a server that does not answer, a pipe that nobody reads.
    pub(crate) fn when_overdue(&self, end: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.on_signal(move || {
            let asked = Instant::now();
            while let Some(left) = ENDS.checked_sub(asked.elapsed()) {
                thread::park_timeout(left);
            }
            end();
        })
    }

    /// Calls `action` once, on a thread of its own, when a stop is asked for: for waits that a flag cannot end.
    pub fn on_signal(&self, action: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
        thread::Builder::new().name("stop".to_owned()).spawn(move || {
            if signals.forever().next().is_some() {
                action();
            }
        })?;
        Ok(())
    }
}

impl Interrupt for Stop {
    fn asked(&self) -> bool {
        self.asked()
    }

    fn late(&self) -> bool {
        self.since().is_some_and(|since| since >= GOES_ON)
    }

    fn wait(&self, wait: Duration) {
        let begun = Instant::now();
        while let Some(left) = wait.checked_sub(begun.elapsed())
            && !self.asked()
        {
            thread::park_timeout(left.min(LOOK));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_stop_work_is_begun_for_a_while_and_goes_on_for_a_while() {
        let seen = |ago| {
            let then = Instant::now().checked_sub(ago).unwrap();
            Stop { seen: Arc::new(OnceLock::from(then)), ..Stop::now() }
        };
        for (stop, begins, late) in [
            (Stop::never(), true, false),
            // It begins to count.
            (Stop::now(), true, false),
            (seen(BEGINS), false, false),
            (seen(GOES_ON), false, true),
        ] {
            assert_eq!((stop.in_time().is_ok(), stop.late()), (begins, late), "{stop:?}");
        }
    }

    #[test]
    fn a_wait_ends_with_its_time_or_with_a_stop() {
        Stop::never().wait(Duration::from_millis(1));
        // Would outlast the test.
        Stop::now().wait(Duration::from_hours(24));
    }
}
