//! Whole lines to a pipe, in large pieces. Which lines are markers, `marker` says.

use std::io::{self, Write};

use crate::Marker;

/// A pipe takes pieces of this size with few switches between the programs.
const BUFFER: usize = 256 << 10;

/// Writes lines, and markers only where the reader wants them.
#[derive(Debug)]
pub struct Writer<W: Write> {
    output: W,
    buffer: Vec<u8>,
    markers: bool,
}

impl<W: Write> Writer<W> {
    /// Writes to `output`, which needs no buffer of its own; without `markers` only data is written.
    pub fn new(output: W, markers: bool) -> Self {
        Self { output, buffer: Vec::with_capacity(BUFFER + (64 << 10)), markers }
    }

    /// Whether markers are written.
    pub fn markers(&self) -> bool {
        self.markers
    }

    /// Writes a line of data, given without its newline.
    #[inline]
    pub fn data(&mut self, line: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(line);
        self.end_line()
    }

    /// Lends the buffer to compose a line of data in place; [`Writer::end_line`] must follow.
    #[inline]
    pub fn compose(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Ends the line that was composed.
    #[inline]
    pub fn end_line(&mut self) -> io::Result<()> {
        self.buffer.push(b'\n');
        if self.buffer.len() >= BUFFER { self.flush() } else { Ok(()) }
    }

    /// Writes whole lines that end in a newline already.
    pub fn lines(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.buffer.len() + lines.len() >= BUFFER {
            self.flush()?;
        }
        if lines.len() >= BUFFER {
            return self.output.write_all(lines);
        }
        self.buffer.extend_from_slice(lines);
        Ok(())
    }

    /// Writes a marker, if markers are wanted.
    pub fn marker(&mut self, marker: &Marker) -> io::Result<()> {
        if !self.markers {
            return Ok(());
        }
        serde_json::to_writer(&mut self.buffer, marker)?;
        self.end_line()
    }

    /// Passes on a marker line as it stands, if markers are wanted.
    pub fn foreign(&mut self, line: &[u8]) -> io::Result<()> {
        if self.markers { self.data(line) } else { Ok(()) }
    }

    /// Hands on what is buffered.
    pub fn flush(&mut self) -> io::Result<()> {
        self.output.write_all(&self.buffer)?;
        self.buffer.clear();
        self.output.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Stop;

    #[test]
    fn markers_are_left_out_where_only_data_is_wanted() {
        for (markers, expected) in [(true, "{\"$stop\":{\"signal\":15}}\n{}\n"), (false, "{}\n")] {
            let mut output = Vec::new();
            let mut writer = Writer::new(&mut output, markers);
            writer.marker(&Marker::Stop(Stop { signal: 15 })).unwrap();
            writer.data(b"{}").unwrap();
            writer.flush().unwrap();
            assert_eq!(String::from_utf8(output).unwrap(), expected);
        }
    }
}
