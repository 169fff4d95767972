//! The instants of a run at which something can be broken, and what is to happen at one of them. Who notices the instants
//! is in `wire`, `front` and `world`; what happens is in `fault`.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

/// Something that happens many times in a run. What it is about waits until what was armed for it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instant {
    /// Some bytes of a data file are about to go from S3 to `ddb-cat`.
    Body,
    /// A connection to PostgreSQL is about to be made.
    Connect,
    /// The first rows of a COPY are about to be sent.
    Copy,
    /// PostgreSQL has taken a COPY; its answer is on its way.
    Copied,
    /// The merge of staged rows is about to be sent.
    Merge,
    /// PostgreSQL has merged.
    Merged,
    /// A COMMIT is about to be sent.
    Commit,
    /// PostgreSQL has committed; the program does not know it yet.
    Committed,
    /// PostgreSQL has refused something, and not for what is in a record.
    Refused,
    /// The bookmark has grown.
    Noted,
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{self:?}").to_lowercase();
        f.write_str(&text)
    }
}

/// What becomes of that which was about to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes on.
    Pass,
    /// Its connection is closed, both ways.
    Cut,
}

type Action = Box<dyn FnOnce() -> Fate + Send>;

struct Armed {
    instant: Instant,
    left: u64,
    action: Action,
}

/// Counts the instants of a run and does what was armed.
#[derive(Default)]
pub struct Instants {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    counts: [u64; Instant::Noted as usize + 1],
    armed: Vec<Armed>,
    fired: u64,
    broken: u64,
}

impl Instants {
    /// At the `number`th such instant from now, from 1, does that.
    pub fn arm(&self, instant: Instant, number: u64, action: impl FnOnce() -> Fate + Send + 'static) {
        self.lock().armed.push(Armed { instant, left: number.max(1), action: Box::new(action) });
    }

    /// Nothing armed happens any more; says how much has since the last time.
    pub fn disarm(&self) -> u64 {
        let mut state = self.lock();
        state.armed.clear();
        std::mem::take(&mut state.fired)
    }

    /// Whether something is armed for it.
    pub fn wanted(&self, instant: Instant) -> bool {
        self.lock().armed.iter().any(|armed| armed.instant == instant)
    }

    /// How often it has happened.
    pub fn count(&self, instant: Instant) -> u64 {
        self.lock().counts[instant as usize]
    }

    /// It happens now.
    pub fn meet(&self, instant: Instant) -> Fate {
        let mut due = Vec::new();
        {
            let mut state = self.lock();
            state.counts[instant as usize] += 1;
            for armed in state.armed.iter_mut().filter(|armed| armed.instant == instant) {
                armed.left -= 1;
            }
            while let Some(place) = state.armed.iter().position(|armed| armed.left == 0) {
                due.push(state.armed.remove(place).action);
                state.fired += 1;
            }
        }
        let mut fate = Fate::Pass;
        for action in due {
            // Without the lock: an action may take its time, and other connections go on meanwhile.
            match catch_unwind(AssertUnwindSafe(action)) {
                Ok(Fate::Pass) => {}
                Ok(Fate::Cut) => fate = Fate::Cut,
                Err(_) => {
                    self.lock().broken += 1;
                    fate = Fate::Cut;
                }
            }
        }
        fate
    }

    /// How many actions have panicked.
    pub fn broken(&self) -> u64 {
        self.lock().broken
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
