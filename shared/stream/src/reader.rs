//! Whole lines from a pipe, in memory that does not grow with the input. What a line is, `marker` says.

use std::io::{self, Read};

use memchr::memchr;

/// Room for a pipe's worth of lines at once.
const BUFFER: usize = 1 << 20;

/// The longest line that is read. An item of 400 KB is at most several times that as JSON.
const LONGEST: usize = 32 << 20;

/// Reads lines without their newline, each lent until the next is asked for.
///
/// A last line without a newline means that the writer died in the middle of it: it is not returned, and
/// [`Reader::torn`] tells how many bytes there were.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    lines: u64,
    ended: bool,
}

impl<R: Read> Reader<R> {
    /// Reads from `input`, which needs no buffer of its own.
    pub fn new(input: R) -> Self {
        Self { input, buffer: vec![0; BUFFER], start: 0, end: 0, lines: 0, ended: false }
    }

    /// The next whole line, or nothing at the end.
    ///
    /// # Errors
    /// What the input says, and `InvalidData` for a line of more than 32 MiB.
    pub fn next_line(&mut self) -> io::Result<Option<&[u8]>> {
        let mut searched = self.start;
        loop {
            if let Some(length) = memchr(b'\n', &self.buffer[searched..self.end]) {
                let line = self.start..searched + length;
                self.start = line.end + 1;
                self.lines += 1;
                return Ok(Some(&self.buffer[line]));
            }
            searched = self.end;
            if self.ended {
                return Ok(None);
            }
            if self.end == self.buffer.len() {
                searched -= self.start;
                self.make_room()?;
            }
            self.fill()?;
        }
    }

    /// How many lines were returned.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// Whether the lines that arrived have all been returned, so that the next call may wait for the writer.
    pub fn drained(&self) -> bool {
        memchr(b'\n', &self.buffer[self.start..self.end]).is_none()
    }

    /// The length of a last line without a newline; 0 if the input ended as it should.
    pub fn torn(&self) -> usize {
        if self.ended { self.end - self.start } else { 0 }
    }

    fn fill(&mut self) -> io::Result<()> {
        loop {
            match self.input.read(&mut self.buffer[self.end..]) {
                Ok(0) => self.ended = true,
                Ok(length) => self.end += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            return Ok(());
        }
    }

    /// Moves the begun line to the front, and grows the buffer if that line fills it.
    fn make_room(&mut self) -> io::Result<()> {
        if self.start == 0 {
            if self.buffer.len() >= LONGEST {
                let message = format!("line {} is longer than {} MiB", self.lines + 1, LONGEST >> 20);
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
            self.buffer.resize(self.buffer.len() * 2, 0);
        } else {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Gives its bytes in pieces of one size.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = self.1.min(self.0.len()).min(buffer.len());
            buffer[..length].copy_from_slice(&self.0[..length]);
            self.0 = &self.0[length..];
            Ok(length)
        }
    }

    fn all(input: impl Read) -> (Vec<Vec<u8>>, usize) {
        let mut reader = Reader::new(input);
        let mut lines = Vec::new();
        while let Some(line) = reader.next_line().unwrap() {
            lines.push(line.to_vec());
        }
        (lines, reader.torn())
    }

    #[test]
    fn a_last_line_without_a_newline_is_no_line() {
        assert_eq!(all(&b"a\nb"[..]), (vec![b"a".to_vec()], 1));
        assert_eq!(all(&b"a\nb\n"[..]), (vec![b"a".to_vec(), b"b".to_vec()], 0));
        assert_eq!(all(&b""[..]), (vec![], 0));
    }

    #[test]
    fn a_line_longer_than_the_buffer_arrives_whole() {
        let long = vec![b'x'; 3 * BUFFER + 7];
        let input = [b"a\n".to_vec(), long.clone(), b"\nb\n".to_vec()].concat();
        assert_eq!(all(&input[..]).0, [b"a".to_vec(), long, b"b".to_vec()]);
    }

    #[test]
    fn a_line_without_end_is_refused_by_its_number() {
        let mut reader = Reader::new(Read::chain(&b"a\n"[..], io::repeat(b'x')));
        assert_eq!(reader.next_line().unwrap(), Some(&b"a"[..]));
        let error = reader.next_line().unwrap_err();
        assert_eq!(error.to_string(), "line 2 is longer than 32 MiB");
    }

    proptest! {
        /// However the bytes arrive, the lines are those of `split`.
        #[test]
        fn lines_do_not_depend_on_how_bytes_arrive(text in "[ab\n]{0,60}", piece in 1_usize..9) {
            let mut expected: Vec<_> = text.as_bytes().split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
            let torn = expected.pop().unwrap_or_default().len();
            prop_assert_eq!(all(Pieces(text.as_bytes(), piece)), (expected, torn));
        }
    }
}
