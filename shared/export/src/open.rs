//! Opening a data file by its address. How its bytes become records is in `records`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Stdin};

use retry::Limits;

use crate::error::Result;
use crate::location::Location;
use crate::{local, s3};

const BUFFER: usize = 256 << 10;

/// Opens data files; keeps one connection to S3 for all of them.
#[derive(Debug)]
pub struct Opener {
    limits: Limits,
    client: Option<s3::Client>,
}

/// The compressed bytes of a data file.
#[derive(Debug)]
pub enum Input {
    /// Of a local file.
    File(BufReader<File>),
    /// Of stdin.
    Stdin(BufReader<Stdin>),
    /// Of an object in S3, read ahead.
    S3(S3Body),
}

/// The bytes of an object.
#[derive(Debug)]
pub struct S3Body(s3::Body);

impl Opener {
    /// What S3 could not do is tried again within `limits`.
    pub fn new(limits: Limits) -> Self {
        Self { limits, client: None }
    }

    /// Opens `s3://bucket/key`, a path, or `-` for stdin. With an `etag` only the object that has it.
    pub fn open(&mut self, address: &str, etag: Option<&str>) -> Result<Input> {
        if address == "-" {
            return Ok(Input::Stdin(BufReader::with_capacity(BUFFER, io::stdin())));
        }
        match Location::parse(address)? {
            Location::Local(path) => Ok(Input::File(BufReader::with_capacity(BUFFER, local::open(&path)?))),
            Location::S3 { bucket, key } => {
                let client = match self.client.take() {
                    Some(client) => client,
                    None => s3::Client::new(self.limits)?,
                };
                let body = client.open(&bucket, &key, etag);
                self.client = Some(client);
                Ok(Input::S3(S3Body(body)))
            }
        }
    }
}

impl Input {
    fn reader(&mut self) -> &mut dyn BufRead {
        match self {
            Self::File(file) => file,
            Self::Stdin(stdin) => stdin,
            Self::S3(S3Body(body)) => body,
        }
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader().read(buffer)
    }
}

impl BufRead for Input {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.reader().fill_buf()
    }

    fn consume(&mut self, length: usize) {
        self.reader().consume(length);
    }
}
