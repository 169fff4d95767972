//! Unzipping with nothing taken on trust (RFC 1952): every member is checked, and what stands between and after members
//! is zero padding or an error. A decoder that stops after the first member, or at the first odd byte, would give a
//! silent prefix.

use std::io::{self, BufRead};

use flate2::{Crc, Decompress, FlushDecompress, Status};

/// The most content that is given at once where nothing has to be unzipped.
const PIECE: usize = 256 << 10;

/// The decompressed content of a file that is gzip, or the content of one that is not.
pub(crate) struct Unzip<R> {
    input: R,
    state: State,
    /// Bytes that were looked at to tell the format and belong to the content.
    seen: Vec<u8>,
    must_be_gzip: bool,
    body: Decompress,
    crc: Crc,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    Plain,
    /// Between members.
    Between,
    Body,
    Ended,
}

/// What can go wrong: the input's own error, or its content.
pub(crate) enum Problem {
    Input(io::Error),
    Damage(String),
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::Input(error)
    }
}

fn damage<T>(reason: &str) -> Result<T, Problem> {
    Err(Problem::Damage(reason.to_owned()))
}

impl<R: BufRead> Unzip<R> {
    /// With `must_be_gzip` anything else is damage; otherwise it is plain text.
    pub(crate) fn new(input: R, must_be_gzip: bool) -> Self {
        let (body, crc) = (Decompress::new(false), Crc::new());
        Self { input, state: State::Start, seen: Vec::new(), must_be_gzip, body, crc }
    }

    pub(crate) fn input(&self) -> &R {
        &self.input
    }

    /// Appends some content, about as much as there is room; false at the end of the file.
    pub(crate) fn read_into(&mut self, output: &mut Vec<u8>) -> Result<bool, Problem> {
        loop {
            match self.state {
                State::Start => self.start()?,
                State::Ended => return Ok(false),
                State::Plain => {
                    output.append(&mut self.seen);
                    let bytes = self.input.fill_buf()?;
                    let length = bytes.len().min(PIECE);
                    output.extend_from_slice(&bytes[..length]);
                    self.input.consume(length);
                    if length == 0 {
                        self.state = State::Ended;
                    }
                    return Ok(true);
                }
                State::Between => self.next_member()?,
                State::Body => {
                    self.inflate(output)?;
                    return Ok(true);
                }
            }
        }
    }

    fn start(&mut self) -> Result<(), Problem> {
        let first = self.byte()?;
        let second = if first == Some(0x1f) { self.byte()? } else { None };
        if (first, second) == (Some(0x1f), Some(0x8b)) {
            return self.header();
        }
        if self.must_be_gzip {
            return damage(if first.is_none() { "the file is empty" } else { "it does not begin as gzip does" });
        }
        self.seen.extend(first);
        self.seen.extend(second);
        self.state = State::Plain;
        Ok(())
    }

    /// The next member, or the end. Padding of zeros is passed over: tape and block devices leave it.
    fn next_member(&mut self) -> Result<(), Problem> {
        loop {
            match self.byte()? {
                None => {
                    self.state = State::Ended;
                    return Ok(());
                }
                Some(0) => {}
                Some(0x1f) => {
                    return match self.byte()? {
                        Some(0x8b) => self.header(),
                        _ => damage("something that is not gzip follows a member"),
                    };
                }
                Some(_) => return damage("something that is not gzip follows a member"),
            }
        }
    }

    /// The rest of a header, after its two magic bytes.
    fn header(&mut self) -> Result<(), Problem> {
        let mut crc = Crc::new();
        crc.update(&[0x1f, 0x8b]);
        let mut fixed = [0; 8];
        for byte in &mut fixed {
            *byte = self.header_byte(&mut crc)?;
        }
        let [method, flags, ..] = fixed;
        if method != 8 {
            return damage("a member is not deflated");
        }
        if flags & 0xe0 != 0 {
            return damage("a member's header has unknown flags");
        }
        // FEXTRA
        if flags & 4 != 0 {
            let length = u16::from_le_bytes([self.header_byte(&mut crc)?, self.header_byte(&mut crc)?]);
            for _ in 0..length {
                self.header_byte(&mut crc)?;
            }
        }
        // FNAME, FCOMMENT
        for flag in [8, 16] {
            if flags & flag != 0 {
                while self.header_byte(&mut crc)? != 0 {}
            }
        }
        // FHCRC: the lower half of the header's CRC.
        if flags & 2 != 0 {
            let expected = crc.sum() & 0xffff;
            let found = u16::from_le_bytes([self.header_byte(&mut crc)?, self.header_byte(&mut crc)?]);
            if u32::from(found) != expected {
                return damage("the checksum of a member's header is wrong");
            }
        }
        self.body.reset(false);
        self.crc.reset();
        self.state = State::Body;
        Ok(())
    }

    fn header_byte(&mut self, crc: &mut Crc) -> Result<u8, Problem> {
        let Some(byte) = self.byte()? else { return damage("the file ends in the header of a member") };
        crc.update(&[byte]);
        Ok(byte)
    }

    fn byte(&mut self) -> io::Result<Option<u8>> {
        let byte = self.input.fill_buf()?.first().copied();
        if byte.is_some() {
            self.input.consume(1);
        }
        Ok(byte)
    }

    fn inflate(&mut self, output: &mut Vec<u8>) -> Result<(), Problem> {
        let input = self.input.fill_buf()?;
        if input.is_empty() {
            return damage("the file ends in the middle of a member");
        }
        let (before_in, start) = (self.body.total_in(), output.len());
        if output.capacity() == start {
            output.reserve(PIECE);
        }
        let status = self.body.decompress_vec(input, output, FlushDecompress::None);
        // At most what was lent.
        let used = usize::try_from(self.body.total_in() - before_in).unwrap_or(input.len());
        self.input.consume(used);
        self.crc.update(&output[start..]);
        match status {
            Err(_) => damage("the deflated data is damaged"),
            Ok(Status::StreamEnd) => self.trailer(),
            Ok(_) if used == 0 && output.len() == start => damage("the deflated data is damaged"),
            Ok(_) => Ok(()),
        }
    }

    fn trailer(&mut self) -> Result<(), Problem> {
        let mut words = [0_u32; 2];
        for word in &mut words {
            let mut bytes = [0; 4];
            for byte in &mut bytes {
                let Some(next) = self.byte()? else { return damage("the file ends in the checksum of a member") };
                *byte = next;
            }
            *word = u32::from_le_bytes(bytes);
        }
        if words[0] != self.crc.sum() {
            return damage("the CRC of a member is wrong");
        }
        if words[1] != self.crc.amount() {
            return damage("the length of a member is wrong");
        }
        self.state = State::Between;
        Ok(())
    }
}
