//! Whatever is in a bookmark's file, it is read or refused without a panic, and what is noted in one that is taken is
//! there when it is read again, together with what was there before.

#![no_main]

use std::cell::RefCell;
use std::fs;

use checkpoint::{Bookmark as _, Entry, FileCounts, Journal};
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

thread_local! {
    static FOLDER: RefCell<TempDir> = RefCell::new(tempfile::tempdir().expect("a temporary folder can be made"));
}

fuzz_target!(|data: &[u8]| {
    FOLDER.with_borrow(|folder| {
        let path = folder.path().join("x.bookmark.json");
        fs::write(&path, data).expect("a file can be written");
        let Ok(Some(before)) = checkpoint::read(&path) else { return };
        let Ok((mut journal, state)) = Journal::open(&path, &before.header.identity()) else { return };
        assert_eq!(state, before);
        let done = Entry::Done(FileCounts { key: "fuzz".to_owned(), records: 1, ..FileCounts::default() });
        journal.append(std::slice::from_ref(&done)).expect("a file can be written");
        drop(journal);
        let mut expected = before;
        expected.apply(done);
        let after = checkpoint::read(&path).expect("it was read before").expect("it is there");
        assert_eq!(after, expected);
    });
});
