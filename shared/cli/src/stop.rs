//! SIGINT and SIGTERM: the first asks, the second ends the program at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Whether a stop was asked for.
///
/// A source program stops at the next record; every other program goes on until its input ends, because the rows that
/// are under way belong in the table.
#[derive(Clone, Debug)]
pub struct Stop {
    asked: Arc<AtomicBool>,
    signal: Arc<AtomicUsize>,
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
        Self { asked: Arc::default(), signal: Arc::default() }
    }

    /// A stop that has been asked for, for the same.
    pub fn now() -> Self {
        Self { asked: Arc::new(AtomicBool::new(true)), signal: Arc::default() }
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

    /// Calls `action` once, on a thread of its own, when a stop is asked for: for waits that a flag cannot end.
    pub fn on_signal(&self, action: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
        std::thread::Builder::new().name("stop".to_owned()).spawn(move || {
            if signals.forever().next().is_some() {
                action();
            }
        })?;
        Ok(())
    }
}
