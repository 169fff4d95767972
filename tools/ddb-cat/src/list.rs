//! Which files are read: those that the command line names, or those of a list on stdin.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{Receiver, sync_channel};

use fault::{Failure, Fault, PipeError, Problem};
use serde::Deserialize;
use stream::{Classifier, Line, Reader};

/// A file to read. From a list of `ddb-list`, with what is known of it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) number: Option<u64>,
    pub(crate) bytes: Option<u64>,
    pub(crate) items: Option<u64>,
    pub(crate) md5: Option<String>,
    pub(crate) etag: Option<String>,
    pub(crate) encoding: Option<String>,
    pub(crate) skip: u64,
}

impl Entry {
    fn named(key: &str) -> Self {
        Self { key: key.to_owned(), ..Self::default() }
    }

    /// What identifies the file's content.
    pub(crate) fn version(&self) -> Option<String> {
        let md5 = self.md5.as_ref().map(|md5| format!("md5:{md5}"));
        md5.or_else(|| self.etag.as_ref().map(|etag| format!("etag:{etag}")))
    }
}

/// What a list holds.
pub(crate) enum Listed {
    File(Entry),
    /// A line for a later program, `$source` above all.
    Marker(Vec<u8>),
}

/// The list, item by item.
pub(crate) enum List {
    Named(VecDeque<String>),
    Stdin(Receiver<Result<Listed, Failure>>),
}

impl List {
    pub(crate) fn new(files: &[String]) -> Self {
        if !files.is_empty() {
            return Self::Named(files.iter().cloned().collect());
        }
        // On a thread, so that the next file can be asked for without waiting for it.
        let (sender, receiver) = sync_channel(64);
        std::thread::spawn(move || {
            let (mut reader, mut classifier) = (Reader::new(io::stdin()), Classifier::default());
            loop {
                let listed = match reader.next_line() {
                    Ok(Some(line)) if line.trim_ascii().is_empty() => continue,
                    Ok(Some(line)) => understand(line, &mut classifier),
                    Ok(None) => break,
                    Err(error) => Err(PipeError::reading(error).into()),
                };
                let failed = listed.is_err();
                if sender.send(listed).is_err() || failed {
                    return;
                }
            }
            if reader.torn() > 0 {
                let message = "the list on stdin ends in the middle of a line: its writer died";
                // A receiver that is gone has a reason of its own to end.
                let _ = sender.send(Err(Problem::new(Fault::Input, message).into()));
            }
        });
        Self::Stdin(receiver)
    }

    /// The next item; waits for it.
    pub(crate) fn next(&mut self) -> Option<Result<Listed, Failure>> {
        match self {
            Self::Named(files) => files.pop_front().map(|file| Ok(Listed::File(Entry::named(&file)))),
            Self::Stdin(receiver) => receiver.recv().ok(),
        }
    }

    /// The next item if it is there already.
    pub(crate) fn peek(&mut self) -> Option<Result<Listed, Failure>> {
        match self {
            Self::Named(_) => self.next(),
            Self::Stdin(receiver) => receiver.try_recv().ok(),
        }
    }
}

fn understand(line: &[u8], classifier: &mut Classifier) -> Result<Listed, Failure> {
    if !matches!(classifier.classify(line), Line::Data(_)) {
        return Ok(Listed::Marker(line.to_vec()));
    }
    let text = String::from_utf8_lossy(line);
    if !line.trim_ascii_start().starts_with(b"{") {
        return Ok(Listed::File(Entry::named(text.trim())));
    }
    match serde_json::from_slice::<Entry>(line) {
        Ok(entry) if !entry.key.is_empty() => Ok(Listed::File(entry)),
        _ => {
            let message =
                format!("a line of the list on stdin names no file: {}", text.chars().take(80).collect::<String>());
            let hint = "a list is made by ddb-list, or has a name in each line; `ddb-cat -` reads data on stdin";
            Err(Problem::new(Fault::Input, message).with_hint(hint).into())
        }
    }
}
