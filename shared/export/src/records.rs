//! Blocks of whole lines from the bytes of a data file, and the checks at its end: MD5 and number of items. How bytes
//! come is in `open`, how they are unzipped in `gzip`.

use std::io::{self, BufRead};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};
use memchr::{memchr_iter, memrchr};

use crate::error::{Error, Result};
use crate::gzip::{Problem, Unzip};

/// A block is handed on when it has this size.
const BLOCK: usize = 256 << 10;

/// The longest record. An item has at most 400 KB, several times that as JSON.
const LONGEST: usize = 16 << 20;

/// What the manifest says of a file.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// Base64 of the MD5 of the compressed bytes.
    pub md5: Option<String>,
    /// Number of items.
    pub items: Option<u64>,
}

/// Whole lines, each with its newline.
#[derive(Debug, Default)]
pub struct Block {
    /// The lines.
    pub lines: Vec<u8>,
    /// The number of the first of them in the file, from 1.
    pub first: u64,
    /// How many there are.
    pub count: u64,
}

/// The records of one file.
pub struct Records<R> {
    key: String,
    expected: Expected,
    content: Unzip<Counted<R>>,
    /// The beginning of a line whose end has not come yet.
    rest: Vec<u8>,
    read: u64,
    ended: bool,
}

impl<R> std::fmt::Debug for Records<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Records").field("key", &self.key).field("records", &self.read).finish_non_exhaustive()
    }
}

impl<R: BufRead> Records<R> {
    /// The records of `input`. A name that ends in `.gz` must be gzip; others are looked at.
    pub fn new(key: &str, input: R, expected: Expected) -> Self {
        let content =
            Unzip::new(Counted { input, bytes: 0, md5: expected.md5.as_ref().map(|_| Md5::new()) }, is_gz(key));
        Self { key: key.to_owned(), expected, content, rest: Vec::new(), read: 0, ended: false }
    }

    /// Records so far.
    pub fn count(&self) -> u64 {
        self.read
    }

    /// The next block; nothing when the whole file was read and holds what the manifest says.
    ///
    /// What was unzipped but not handed out when damage shows is held back: it may be damaged too, and still be JSON.
    pub fn next_block(&mut self) -> Result<Option<Block>> {
        // What is left of the last block has no newline.
        let mut searched = self.rest.len();
        let mut newline = None;
        while !self.ended {
            self.make_room();
            let more = self.content.read_into(&mut self.rest);
            self.ended = !more.map_err(|problem| self.explain(problem))?;
            newline = memrchr(b'\n', &self.rest[searched..]).map(|place| searched + place).or(newline);
            searched = self.rest.len();
            match newline {
                Some(newline) if searched >= BLOCK => {
                    let tail = self.rest[newline + 1..].to_vec();
                    return Ok(Some(self.block(newline + 1, tail)));
                }
                None if searched > LONGEST => {
                    return Err(self.damaged(format!("a record is longer than {} MiB", LONGEST >> 20)));
                }
                _ => {}
            }
        }
        if !self.rest.is_empty() {
            // A plain file may end without a newline; what is there is a record.
            if self.rest.last() != Some(&b'\n') {
                self.rest.push(b'\n');
            }
            return Ok(Some(self.block(self.rest.len(), Vec::new())));
        }
        self.check().map(|()| None)
    }

    /// Room for what is read next. A record that is long gets all that the longest may take at once: doubling would
    /// need the old and the new buffer together.
    fn make_room(&mut self) {
        let length = self.rest.len();
        if self.rest.capacity() - length >= BLOCK {
            return;
        }
        if length < 4 * BLOCK {
            self.rest.reserve(BLOCK);
        } else {
            self.rest.reserve_exact(LONGEST + 2 * BLOCK - length);
        }
    }

    fn block(&mut self, end: usize, mut tail: Vec<u8>) -> Block {
        tail.reserve(BLOCK);
        let mut lines = std::mem::replace(&mut self.rest, tail);
        lines.truncate(end);
        let count = memchr_iter(b'\n', &lines).count() as u64;
        let first = self.read + 1;
        self.read += count;
        Block { lines, first, count }
    }

    fn check(&self) -> Result<()> {
        let Counted { bytes, md5, .. } = self.content.input();
        if let (Some(md5), Some(expected)) = (md5, &self.expected.md5) {
            let found = STANDARD.encode(md5.clone().finalize());
            if found != *expected {
                let (key, expected) = (self.key.clone(), expected.clone());
                return Err(Error::Md5 { key, found, expected, bytes: *bytes, records: self.read });
            }
        }
        match self.expected.items {
            Some(expected) if expected != self.read => {
                Err(Error::ItemCount { key: self.key.clone(), found: self.read, expected, bytes: *bytes })
            }
            _ => Ok(()),
        }
    }

    fn explain(&self, problem: Problem) -> Error {
        match problem {
            Problem::Damage(reason) => self.damaged(reason),
            Problem::Input(error) => {
                let at = self.content.input().bytes;
                match error.downcast::<Error>() {
                    Ok(error) => error,
                    Err(source) => Error::Read { key: self.key.clone(), at, source },
                }
            }
        }
    }

    fn damaged(&self, reason: String) -> Error {
        let lines = memchr_iter(b'\n', &self.rest).count() as u64;
        let at = self.content.input().bytes;
        Error::Damaged { key: self.key.clone(), at, records: self.read + lines, reason }
    }
}

fn is_gz(key: &str) -> bool {
    key.rsplit('.').next().is_some_and(|ending| ending.eq_ignore_ascii_case("gz"))
}

/// Counts and hashes what is consumed.
struct Counted<R> {
    input: R,
    bytes: u64,
    md5: Option<Md5>,
}

impl<R: BufRead> io::Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?;
        let length = bytes.len().min(buffer.len());
        buffer[..length].copy_from_slice(&bytes[..length]);
        self.consume(length);
        Ok(length)
    }
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.input.fill_buf()
    }

    fn consume(&mut self, length: usize) {
        if length == 0 {
            return;
        }
        if let Some(md5) = &mut self.md5
            && let Ok(bytes) = self.input.fill_buf()
        {
            md5.update(&bytes[..length]);
        }
        self.bytes += length as u64;
        self.input.consume(length);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn read(bytes: &[u8], expected: Expected) -> Result<Vec<u8>> {
        let mut records = Records::new("x.gz", bytes, expected);
        let mut all = Vec::new();
        while let Some(block) = records.next_block()? {
            assert_eq!(memchr_iter(b'\n', &block.lines).count() as u64, block.count);
            all.extend_from_slice(&block.lines);
        }
        Ok(all)
    }

    fn message(bytes: &[u8]) -> String {
        read(bytes, Expected::default()).unwrap_err().to_string()
    }

    #[test]
    fn members_empty_members_and_padding_are_read_through() {
        let file = [gzip(b"a\n"), gzip(b""), vec![0; 700], gzip(b"b\nc"), gzip(b"d\n"), vec![0; 9]].concat();
        assert_eq!(read(&file, Expected::default()).unwrap(), b"a\nb\ncd\n");
        assert_eq!(read(&gzip(b""), Expected::default()).unwrap(), b"");
    }

    #[test]
    fn every_field_of_a_header_is_passed() {
        let body = gzip(b"a\n");
        let mut header = vec![0x1f, 0x8b, 8, 4 | 8 | 16 | 2, 0, 0, 0, 0, 0, 3];
        header.extend(b"\x03\x00xyzname\0comment\0");
        let mut crc = Crc::new();
        crc.update(&header);
        let with = |sum: u32| [&header[..], &sum.to_le_bytes()[..2], &body[10..]].concat();
        assert_eq!(read(&with(crc.sum()), Expected::default()).unwrap(), b"a\n");
        assert!(message(&with(crc.sum() ^ 1)).ends_with("the checksum of a member's header is wrong"));
    }

    use flate2::Crc;

    #[test]
    fn a_file_cut_at_any_byte_is_damaged() {
        let first = gzip(b"{\"Item\":{}}\n");
        let file = [first.clone(), gzip(b"{\"Item\":{\"a\":1}}\n{\"Item\":2}\n")].concat();
        for cut in 0..file.len() {
            // After the first member the file is whole; only the manifest's MD5 and item count know better.
            let error = read(&file[..cut], Expected::default());
            assert_eq!(error.is_ok(), cut == first.len(), "cut at {cut}");
            assert!(read(&file[..cut], Expected { items: Some(3), md5: None }).is_err(), "cut at {cut}");
        }
        assert_eq!(
            message(&file[..5]),
            "`x.gz` is damaged at byte 5, after 0 records: the file ends in the header of a member"
        );
        let cut = file.len() - 6;
        assert_eq!(
            message(&file[..cut]),
            format!("`x.gz` is damaged at byte {cut}, after 3 records: the file ends in the checksum of a member")
        );
    }

    #[test]
    fn lines_that_a_checksum_has_not_covered_are_not_handed_out_once_it_is_wrong() {
        let mut file = gzip(b"a\nb\n");
        let crc = file.len() - 8;
        file[crc] ^= 1;
        let mut records = Records::new("x.gz", &file[..], Expected::default());
        assert!(
            records.next_block().unwrap_err().to_string().ends_with("after 2 records: the CRC of a member is wrong")
        );
    }

    #[test]
    fn a_flipped_bit_never_changes_the_content_silently() {
        let content = b"{\"Item\":{\"Id\":{\"N\":\"103\"}}}\n{\"Item\":{\"Id\":{\"N\":\"104\"}}}\n";
        let file = [gzip(content), gzip(b"{}\n")].concat();
        let whole = [&content[..], b"{}\n"].concat();
        for place in 0..file.len() {
            for bit in 0..8 {
                let mut flipped = file.clone();
                flipped[place] ^= 1 << bit;
                if let Ok(read) = read(&flipped, Expected::default()) {
                    // Time, operating system and the like in the header say nothing about the content.
                    assert_eq!(read, whole, "byte {place}, bit {bit}");
                }
            }
        }
    }

    #[test]
    fn garbage_after_the_end_is_damage() {
        for garbage in [&b"x"[..], b"\x1f", b"\x1f\x8c", b"\0\0x"] {
            let file = [&gzip(b"a\n")[..], garbage].concat();
            assert!(message(&file).ends_with("something that is not gzip follows a member"), "{garbage:?}");
        }
        assert!(message(b"{}\n").ends_with("it does not begin as gzip does"));
        assert!(message(b"").ends_with("the file is empty"));
    }

    #[test]
    fn md5_and_item_count_are_those_of_the_manifest() {
        let file = gzip(b"a\nb\n");
        let md5 = STANDARD.encode(Md5::digest(&file));
        let expect = |md5: &str, items| Expected { md5: Some(md5.to_owned()), items: Some(items) };
        assert!(read(&file, expect(&md5, 2)).is_ok());
        assert!(matches!(read(&file, expect(&md5, 3)), Err(Error::ItemCount { found: 2, expected: 3, .. })));
        assert!(matches!(read(&file, expect("AAAA", 2)), Err(Error::Md5 { .. })));
    }

    #[test]
    fn plain_text_is_read_as_it_is() {
        let mut records = Records::new("x.json", &b"\x1fa\nb"[..], Expected::default());
        assert_eq!(records.next_block().unwrap().unwrap().lines, b"\x1fa\nb\n");
        assert!(records.next_block().unwrap().is_none());
        assert_eq!(records.count(), 2);
    }

    #[test]
    fn long_lines_and_bombs_take_bounded_memory() {
        let lines = vec![b'\n'; 20 << 20];
        let mut records = Records::new("x.gz", io::Cursor::new(gzip(&lines)), Expected::default());
        let mut count = 0;
        while let Some(block) = records.next_block().unwrap() {
            assert!(block.lines.capacity() < 2 << 20, "{}", block.lines.capacity());
            count += block.count;
        }
        assert_eq!(count, 20 << 20);
        let line = [b"a\n".to_vec(), vec![b'x'; 17 << 20]].concat();
        assert!(message(&gzip(&line)).ends_with("after 1 records: a record is longer than 16 MiB"));
    }
}
