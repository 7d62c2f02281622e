//! A container's output on disk: `log` in its bundle, and the older `log.1`, `log.2`, … beside it.
//!
//! Each line is `TIME stdout|stderr TAG TEXT`, the format of the Container Runtime Interface that node agents and log
//! shippers read (kubernetes, `pkg/kubelet/cri-client/logs`): TIME is RFC 3339 in UTC to the nanosecond; TAG is `F`
//! where a newline of the output ends the text, and `P` where the text goes on in the stream's next line. So output
//! is told apart by stream and comes back byte for byte, whatever it is: NUL bytes, half characters, no newline at all.
//!
//! A line with the tag `F:lost` is no output: it counts the bytes that could not be written there.

mod read;
mod tail;
#[cfg(test)]
mod tests;
mod write;

pub use read::Reader;
pub use write::{Limits, Log};

use rustix::fs::{Mode, OFlags, openat};
use std::fs::File;
use std::os::fd::BorrowedFd;

/// The longest text of a line, in bytes: what other readers of the format allow at the least.
const TEXT: usize = 16 << 10;
/// The bytes before a text: a time of 30, a stream of 6, a tag of 1, and a blank after each.
const HEAD: usize = 40;
/// The tag of a line that counts what was lost.
const LOST: &str = "F:lost";
/// The most bytes before a text that are understood: other programs write times with an offset, and longer tags.
const LONGEST_HEAD: usize = 64;

/// Where output comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out = 0,
    /// Standard error.
    Err = 1,
}

impl Stream {
    /// The word for it, of six letters: `stdout` or `stderr`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Out => "stdout",
            Self::Err => "stderr",
        }
    }
}

/// What a line of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text that goes on in the stream's next line: `P`.
    Part,
    /// Text that a newline ends: `F`.
    Full,
    /// A sentence about output that could not be written: `F:lost`.
    Lost,
}

/// A line of the log.
#[derive(Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// RFC 3339, in UTC to the nanosecond if this program wrote it.
    pub time: &'a [u8],
    /// Which stream the text was written to.
    pub stream: Stream,
    /// What the text is.
    pub kind: Kind,
    /// Bytes of the output, without the newline.
    pub text: &'a [u8],
}

impl<'a> Line<'a> {
    /// Reads a line, given without the newline at its end; none if it is malformed.
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut parts = line.splitn(4, |byte| *byte == b' ');
        let (time, stream, tags, text) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let stream = match stream {
            b"stdout" => Stream::Out,
            b"stderr" => Stream::Err,
            _ => return None,
        };
        let kind = match tags.split(|byte| *byte == b':').next()? {
            _ if tags == LOST.as_bytes() => Kind::Lost,
            b"F" => Kind::Full,
            b"P" => Kind::Part,
            _ => return None,
        };
        let is_time = time.len() >= 20 && time[..4].iter().all(u8::is_ascii_digit) && time[10] == b'T';
        is_time.then_some(Self { time, stream, kind, text })
    }
}

/// Opens a file of the log: number 0 is `log`, the others are `log.N`. Nothing but a regular file is waited for.
fn open(dir: BorrowedFd, number: u32, flags: OFlags) -> rustix::io::Result<File> {
    let flags = flags | OFlags::NONBLOCK | OFlags::CLOEXEC;
    openat(dir, name(number), flags, Mode::from_raw_mode(0o600)).map(File::from)
}

fn name(number: u32) -> String {
    if number == 0 { "log".into() } else { format!("log.{number}") }
}
