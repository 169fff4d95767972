//! How much may wait to be written, in bytes: the number of blocks says little where a record may have 16 MiB.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Bytes that may wait.
const LIMIT: usize = 8 << 20;

/// Taken by the reader for each block, given back by the writer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Budget(Arc<(Mutex<usize>, Condvar)>);

impl Budget {
    /// Waits until there is room. A block that is larger than the limit passes when it is the only one.
    pub(crate) fn take(&self, bytes: usize) {
        let (used, changed) = &*self.0;
        let used = used.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |used: &mut usize| *used > 0 && *used + bytes > LIMIT;
        let mut used = changed.wait_while(used, full).unwrap_or_else(PoisonError::into_inner);
        *used += bytes;
    }

    /// Gives back what was taken.
    pub(crate) fn give(&self, bytes: usize) {
        let (used, changed) = &*self.0;
        *used.lock().unwrap_or_else(PoisonError::into_inner) -= bytes;
        changed.notify_one();
    }
}
