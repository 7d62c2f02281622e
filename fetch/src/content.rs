//! The content of an answer, as it comes: where it ends is told by its length, its chunks or its connection
//! (RFC 9112, 6), and an end that comes too early is a failure.

use crate::failure::Failure;
use crate::head::{Framing, chunk_size};
use crate::wire::{Wire, read_until};
use std::io::ErrorKind;
use std::time::Duration;

/// The longest line of the chunked coding, in bytes.
const LINE_LIMIT: usize = 4096;
/// How many trailers are read over.
const TRAILER_LIMIT: usize = 64;

/// Content on its way.
pub struct Content {
    wire: Box<dyn Wire>,
    rest: Rest,
    host: String,
    /// How long it may be silent, in seconds.
    timeout: u64,
    /// How many bytes have come.
    count: u64,
}

/// What is still to come.
enum Rest {
    Bytes(u64),
    /// The first chunk, and then others.
    Chunks,
    /// So many bytes of this chunk, and then others.
    Chunk(u64),
    UntilEnd,
}

impl Content {
    /// The content that comes from `host` next.
    pub fn new(mut wire: Box<dyn Wire>, framing: Framing, host: String, timeout: u64) -> Result<Self, Failure> {
        let steady = wire.steady(Duration::from_secs(timeout));
        steady.map_err(|error| Failure::reading(&error, &host, timeout))?;
        let rest = match framing {
            Framing::Length(length) => Rest::Bytes(length),
            Framing::Chunked => Rest::Chunks,
            Framing::UntilEnd => Rest::UntilEnd,
        };
        Ok(Self { wire, rest, host, timeout, count: 0 })
    }

    /// Reads some bytes; 0 is the end, and everything has come.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        match self.rest {
            Rest::Chunks => self.rest = self.chunk()?,
            Rest::Chunk(0) => {
                self.empty_line()?;
                self.rest = self.chunk()?;
            }
            _ => {}
        }
        let most = match self.rest {
            Rest::Bytes(rest) | Rest::Chunk(rest) => usize::try_from(rest).unwrap_or(usize::MAX).min(buffer.len()),
            Rest::UntilEnd | Rest::Chunks => buffer.len(),
        };
        if most == 0 {
            return Ok(0);
        }
        let read = self.wire.read(&mut buffer[..most]);
        let count = read.map_err(|error| Failure::reading(&error, &self.host, self.timeout))?;
        self.count += count as u64;
        match &mut self.rest {
            Rest::Bytes(rest) | Rest::Chunk(rest) if count > 0 => *rest -= count as u64,
            Rest::Bytes(_) | Rest::Chunk(_) => return Err(self.lost()),
            Rest::UntilEnd | Rest::Chunks => {}
        }
        Ok(count)
    }

    /// Reads the line before a chunk; trailers after the last one are left out (RFC 9112, 7.1).
    fn chunk(&mut self) -> Result<Rest, Failure> {
        let size = chunk_size(&self.line()?).ok_or_else(|| self.malformed())?;
        if size > 0 {
            return Ok(Rest::Chunk(size));
        }
        for _ in 0..TRAILER_LIMIT {
            if is_empty(&self.line()?) {
                return Ok(Rest::Bytes(0));
            }
        }
        Err(self.malformed())
    }

    fn empty_line(&mut self) -> Result<(), Failure> {
        if is_empty(&self.line()?) { Ok(()) } else { Err(self.malformed()) }
    }

    fn line(&mut self) -> Result<Vec<u8>, Failure> {
        match read_until(&mut *self.wire, LINE_LIMIT, |_| true) {
            Ok(Some(line)) => Ok(line),
            Ok(None) => Err(self.lost()),
            Err(error) if error.kind() == ErrorKind::FileTooLarge => Err(self.malformed()),
            Err(error) => Err(Failure::reading(&error, &self.host, self.timeout)),
        }
    }

    fn lost(&self) -> Failure {
        Failure::passing(format!("the connection to {} was lost after {} bytes", self.host, self.count))
    }

    fn malformed(&self) -> Failure {
        Failure::refused(format!("{} gave a malformed answer: its chunks are not well formed", self.host))
    }
}

fn is_empty(line: &[u8]) -> bool {
    matches!(line, b"\r\n" | b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{self, Cursor};

    impl Wire for Cursor<Vec<u8>> {
        fn steady(&mut self, _: Duration) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is read, or the exit code of the failure.
    fn read(framing: Framing, bytes: &str) -> Result<String, u8> {
        let wire = Box::new(Cursor::new(bytes.as_bytes().to_vec()));
        let code = |failure: Failure| failure.error.exit_code();
        let mut content = Content::new(wire, framing, "q.io".into(), 1).map_err(code)?;
        let (mut text, mut buffer) = (String::new(), [0; 3]);
        loop {
            match content.read(&mut buffer).map_err(code)? {
                0 => return Ok(text),
                count => text.push_str(std::str::from_utf8(&buffer[..count]).unwrap()),
            }
        }
    }

    #[test]
    fn content_ends_as_told() {
        assert_eq!(read(Framing::Length(5), "abcdefg"), Ok("abcde".into()));
        assert_eq!(read(Framing::Length(0), "a"), Ok(String::new()));
        assert_eq!(read(Framing::UntilEnd, "abcdefg"), Ok("abcdefg".into()));
        assert_eq!(read(Framing::Chunked, "5;x=y\r\nabcde\r\n2\nfg\n0\r\nA: b\r\n\r\nmore"), Ok("abcdefg".into()));
        assert_eq!(read(Framing::Chunked, "0\r\n\r\n"), Ok(String::new()));
    }

    // P2: an end that comes too early is a failure, wherever it comes.
    #[test]
    fn early_ends_are_failures() {
        assert_eq!(read(Framing::Length(8), "abcdefg"), Err(5));
        let whole = "5\r\nabcde\r\n2\r\nfg\r\n0\r\n\r\n";
        for end in 0..whole.len() {
            assert_eq!(read(Framing::Chunked, &whole[..end]), Err(5), "{end}");
        }
    }

    #[test]
    fn bad_chunks_are_refused() {
        for bad in ["x\r\n", "-1\r\na", "5\r\nabcdef\r\n0\r\n\r\n", "1\r\na0\r\n\r\n", "ffffffffffffffffffff\r\n"] {
            assert_eq!(read(Framing::Chunked, bad), Err(6), "{bad:?}");
        }
        assert_eq!(read(Framing::Chunked, &format!("1{}\r\na", ";".repeat(5000))), Err(6));
        assert_eq!(read(Framing::Chunked, &format!("0\r\n{}\r\n", "a: b\r\n".repeat(100))), Err(6));
    }
}
