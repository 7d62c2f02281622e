//! A connection whose reads end in time: by a deadline at first, and while a body comes by its pace.

use crate::dial::left;
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// How much is read from the network at once.
const BUFFER: usize = 64 << 10;
/// The fewest bytes that the time-out for silence must bring.
const LEAST: usize = 16 << 10;

/// Something like a socket: TCP, TLS, or TLS within TLS.
pub trait Wire: Read + Write + Send {
    /// From now on bytes must keep coming, however many there are: at least 16 KiB in each `silence` spent waiting.
    fn steady(&mut self, silence: Duration) -> io::Result<()>;
}

/// A TCP connection.
pub struct Socket {
    tcp: BufReader<TcpStream>,
    pace: Pace,
}

enum Pace {
    /// Everything must be here by then.
    Until(Instant),
    /// So long was waited since so many bytes came.
    Steady { silence: Duration, waited: Duration, bytes: usize },
}

impl Socket {
    /// What comes has to come by `deadline`.
    pub fn new(tcp: TcpStream, deadline: Instant) -> Self {
        Self { tcp: BufReader::with_capacity(BUFFER, tcp), pace: Pace::Until(deadline) }
    }
}

impl Wire for Socket {
    fn steady(&mut self, silence: Duration) -> io::Result<()> {
        self.pace = Pace::Steady { silence, waited: Duration::ZERO, bytes: 0 };
        self.tcp.get_ref().set_read_timeout(Some(silence))
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.tcp.buffer().is_empty() {
            return self.tcp.read(buffer);
        }
        let begun = Instant::now();
        let count = loop {
            if let Pace::Until(deadline) = self.pace {
                self.tcp.get_ref().set_read_timeout(Some(left(deadline)?))?;
            }
            match self.tcp.read(buffer) {
                // A stop and its end interrupt even without a handler (signal(7)).
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => break other.map_err(timed_out)?,
            }
        };
        if let Pace::Steady { silence, waited, bytes } = &mut self.pace {
            *waited += begun.elapsed();
            *bytes += count + self.tcp.buffer().len();
            if *bytes >= LEAST {
                (*waited, *bytes) = (Duration::ZERO, 0);
            } else if *waited >= *silence && count > 0 {
                return Err(ErrorKind::TimedOut.into());
            }
        }
        Ok(count)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Pace::Until(deadline) = self.pace {
            self.tcp.get_ref().set_write_timeout(Some(left(deadline)?))?;
        }
        self.tcp.get_mut().write(bytes).map_err(timed_out)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(()) // A socket keeps nothing back.
    }
}

/// A socket's time-out is told as EAGAIN (socket(7), `SO_RCVTIMEO`).
fn timed_out(error: io::Error) -> io::Error {
    if error.kind() == ErrorKind::WouldBlock { ErrorKind::TimedOut.into() } else { error }
}

/// Reads up to a line that `ends` accepts, at most `limit` bytes, and not one byte more than that.
/// `None`: the connection ended before.
pub fn read_until(
    wire: &mut (impl Read + ?Sized),
    limit: usize,
    ends: impl Fn(&[u8]) -> bool,
) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while bytes.len() < limit {
        match wire.read(&mut byte) {
            Ok(0) => return Ok(None),
            Ok(_) => bytes.push(byte[0]),
            Err(error) => return Err(error),
        }
        if byte[0] == b'\n' && ends(&bytes) {
            return Ok(Some(bytes));
        }
    }
    Err(io::Error::new(ErrorKind::FileTooLarge, format!("more than {limit} bytes")))
}

/// Ends `read_until` at the empty line below header fields.
pub fn is_head(bytes: &[u8]) -> bool {
    bytes.ends_with(b"\n\r\n") || bytes.ends_with(b"\n\n")
}
