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
    for entry in entries.iter().filter(|entry| !matches!(entry, Entry::Progress(_))) {
        let line = serde_json::to_vec(entry).map_err(std::io::Error::from).map_err(PipeError::writing)?;
        writer.data(&line).map_err(PipeError::writing)?;
    }
    Ok(writer.flush().map_err(PipeError::writing)?)
}

/// Leaves out progress that a later entry of the same file overtakes.
fn last_words(entries: Vec<Entry>) -> Vec<Entry> {
    let key = |entry: &Entry| match entry {
        Entry::Done(file) | Entry::Progress(file) => file.key.clone(),
        Entry::Fail(failed) => failed.key.clone(),
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
}
