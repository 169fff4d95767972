//! The bookmark of a run, as this program uses it: opened for what the stream belongs to, and told what is durable. Its
//! format and its lock are in the crate `checkpoint`.

use std::path::Path;

use checkpoint::{Bookmark as _, Entry, Header, Identity, Journal, State};
use fault::{Failure, PipeError};
use tracing::{error, info};

use crate::completion;

/// Where what is durable is noted.
#[derive(Debug)]
pub(crate) struct Notes {
    /// Not there in a dry run.
    pub(crate) journal: Option<Journal>,
    pub(crate) state: State,
    /// Whether an earlier process began the run.
    pub(crate) resumed: bool,
}

impl Notes {
    /// Opens the bookmark, or begins one; a dry run looks at what is there and changes nothing.
    pub(crate) fn open(path: &Path, identity: &Identity, dry_run: bool) -> Result<Self, Failure> {
        let there = checkpoint::read(path)?;
        let resumed = there.is_some();
        if dry_run {
            let state = there.unwrap_or_else(|| State::new(Header::new(identity)));
            return Ok(Self { journal: None, state, resumed });
        }
        let (journal, state) = Journal::open(path, identity)?;
        if resumed {
            let sum = completion::sum(&state.totals(), &state.tables());
            info!("Resuming run {}: {} files done, {sum}", state.header.run, state.done.len());
        }
        Ok(Self { journal: Some(journal), state, resumed })
    }

    /// Notes entries, which are on disk when this returns.
    pub(crate) fn note(&mut self, entries: Vec<Entry>) -> Result<(), Failure> {
        let entries = last_words(entries);
        if let Some(journal) = &mut self.journal {
            journal.append(&entries)?;
        }
        for entry in entries {
            self.state.apply(entry);
        }
        Ok(())
    }
}

/// Says which files failed.
pub(crate) fn report(entries: &[Entry]) {
    for entry in entries {
        if let Entry::Fail(failed) = entry {
            error!("File failed: {}: {}", failed.key, failed.reason);
        }
    }
}

/// Writes to stdout what became of files.
pub(crate) fn receipts(entries: &[Entry]) -> Result<(), Failure> {
    let mut writer = stream::Writer::new(std::io::stdout().lock(), false);
    for entry in entries.iter().flat_map(receipts_of) {
        let line = serde_json::to_vec(&entry).map_err(std::io::Error::from).map_err(PipeError::writing)?;
        writer.data(&line).map_err(PipeError::writing)?;
    }
    Ok(writer.flush().map_err(PipeError::writing)?)
}

/// What receipts say of an entry. A file whose rows waited gets a second `done`, with the counts that hold.
fn receipts_of(entry: &Entry) -> Vec<Entry> {
    match entry {
        Entry::Progress(_) => Vec::new(),
        Entry::Settled(files) => files.iter().cloned().map(Entry::Done).collect(),
        Entry::Done(_) | Entry::Fail(_) => vec![entry.clone()],
    }
}

/// Leaves out progress that a later entry of the same file overtakes. Files that are settled stay done or begun.
fn last_words(entries: Vec<Entry>) -> Vec<Entry> {
    let key = |entry: &Entry| match entry {
        Entry::Done(file) | Entry::Progress(file) => Some(file.key.clone()),
        Entry::Fail(failed) => Some(failed.key.clone()),
        Entry::Settled(_) => None,
    };
    let keys: Vec<_> = entries.iter().map(key).collect();
    let overtaken = |place: usize| keys[place + 1..].contains(&keys[place]);
    let kept = entries.into_iter().enumerate();
    kept.filter(|(place, entry)| !(matches!(entry, Entry::Progress(_)) && overtaken(*place)))
        .map(|(_, entry)| entry)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use checkpoint::{Failed, FileCounts};

    #[test]
    fn of_a_file_s_progress_the_last_is_noted() {
        let file = |key: &str, records| FileCounts { key: key.to_owned(), records, ..FileCounts::default() };
        let fail = Entry::Fail(Failed { key: "c".to_owned(), reason: String::new() });
        let entries = vec![
            Entry::Progress(file("a", 1)),
            Entry::Progress(file("a", 2)),
            Entry::Done(file("a", 3)),
            Entry::Progress(file("c", 1)),
            fail.clone(),
            Entry::Progress(file("b", 1)),
            Entry::Progress(file("b", 2)),
        ];
        assert_eq!(last_words(entries), [Entry::Done(file("a", 3)), fail, Entry::Progress(file("b", 2))]);
    }

    #[test]
    fn the_last_receipt_of_a_file_has_the_counts_that_hold() {
        let file = |waiting, written| FileCounts { records: 3, waiting, written, ..FileCounts::default() };
        let entries = [Entry::Done(file(2, 1)), Entry::Progress(file(0, 1)), Entry::Settled(vec![file(0, 3)])];
        let receipts: Vec<_> = entries.iter().flat_map(receipts_of).collect();
        assert_eq!(receipts, [Entry::Done(file(2, 1)), Entry::Done(file(0, 3))]);
    }
}
