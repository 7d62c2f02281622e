//! The channel between a supervisor and its clients: packets on a socket, one message each (unix(7), `SOCK_SEQPACKET`).
//!
//! `RUN/ID/attach` is where a supervisor listens. The first byte of a packet is the kind of its message; numbers are
//! little-endian.

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, recv, send,
    socket_with, socketpair,
};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;
use store::Result;
use store::error::Doing;
pub use store::log::Stream;

/// The most bytes of input or output in one message.
pub const CHUNK: usize = 32 << 10;

/// How long a supervisor may take to accept one more client where many are waiting.
const ACCEPTS: Duration = Duration::from_secs(1);

/// The name of the socket in `RUN/ID/`.
const NAME: &str = "attach";

/// The size of a terminal (ioctl_tty(2), `TIOCSWINSZ`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// Lines.
    pub rows: u16,
    /// Columns.
    pub columns: u16,
}

impl Size {
    /// That of a terminal of which nothing is known.
    pub const USUAL: Self = Self { rows: 24, columns: 80 };
}

/// What a client says.
#[derive(Debug, PartialEq, Eq)]
pub enum Request {
    /// `A`: send me the output from now on.
    Attach,
    /// `I`: bytes for the program's standard input.
    Input(Vec<u8>),
    /// `E`: standard input has ended.
    EndOfInput,
    /// `S`: the client's terminal has this size.
    Size(Size),
    /// `K`: pass this signal on. Answered by [`Reply::Done`].
    Kill(i32),
    /// `T`: pass this signal on, and do not start the program again when it has ended. Answered by [`Reply::Done`].
    Stop(i32),
}

/// What a supervisor says.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    /// `o`, `e`: bytes that the program wrote.
    Output(Stream, Vec<u8>),
    /// `r`: the program runs.
    Runs,
    /// `k`: what was asked for is done.
    Done,
    /// `f`: it never ran: the exit code and the line that says why. The last message.
    Failed(u8, String),
    /// `x`: it has ended, with this code. The last message.
    Ended(u8),
}

/// A pair of connected sockets, close-on-exec.
pub fn pair() -> Result<(OwnedFd, OwnedFd)> {
    let made = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
    made.doing(|| "making a pair of sockets".into())
}

/// Listens in the directory `RUN/ID/`, from which the socket goes with the directory.
pub fn listen_in(run_dir: &Path) -> Result<OwnedFd> {
    let doing = || format!("listening in {}", run_dir.display());
    let _ = std::fs::remove_file(run_dir.join(NAME)); // A supervisor that was killed may have left one.
    let (dir, socket) = (directory(run_dir).doing(doing)?, stream_socket().doing(doing)?);
    bind(&socket, &address(&dir).doing(doing)?).and_then(|()| listen(&socket, 16)).doing(doing)?;
    Ok(socket)
}

/// Connects to the supervisor that listens in the directory `RUN/ID/`; none where there is none.
pub fn connect_in(run_dir: &Path) -> Result<Option<OwnedFd>> {
    let connected = || {
        let (dir, socket) = (directory(run_dir)?, stream_socket()?);
        // A supervisor that does not accept, because it is stopped or at work, holds nobody up.
        set_socket_timeout(&socket, Timeout::Send, Some(ACCEPTS))?;
        connect(&socket, &address(&dir)?)?;
        set_socket_timeout(&socket, Timeout::Send, None).map(|()| socket)
    };
    match connected() {
        Err(Errno::NOENT | Errno::CONNREFUSED) => Ok(None),
        other => other.map(Some).doing(|| format!("connecting to the supervisor in {}", run_dir.display())),
    }
}

fn directory(path: &Path) -> rustix::io::Result<OwnedFd> {
    openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

fn stream_socket() -> rustix::io::Result<OwnedFd> {
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

/// The socket's address by way of the open directory: a path of its own may be longer than the 107 bytes of an address.
fn address(dir: &OwnedFd) -> rustix::io::Result<SocketAddrUnix> {
    SocketAddrUnix::new(format!("/proc/self/fd/{}/{NAME}", dir.as_raw_fd()))
}

impl Request {
    /// The packet of this message.
    pub fn packet(&self) -> Vec<u8> {
        match self {
            Self::Attach => b"A".into(),
            Self::Input(bytes) => [b"I", bytes.as_slice()].concat(),
            Self::EndOfInput => b"E".into(),
            Self::Size(Size { rows, columns }) => {
                [b"S".as_slice(), &rows.to_le_bytes(), &columns.to_le_bytes()].concat()
            }
            Self::Kill(signal) => [b"K".as_slice(), &signal.to_le_bytes()].concat(),
            Self::Stop(signal) => [b"T".as_slice(), &signal.to_le_bytes()].concat(),
        }
    }

    /// The message of a packet; none of a malformed one.
    pub fn read(packet: &[u8]) -> Option<Self> {
        let (kind, rest) = packet.split_first()?;
        let signal = || rest.try_into().map(i32::from_le_bytes).ok().filter(|signal| (1..=64).contains(signal));
        match (kind, rest) {
            (b'A', []) => Some(Self::Attach),
            (b'I', bytes) => Some(Self::Input(bytes.to_vec())),
            (b'E', []) => Some(Self::EndOfInput),
            (b'S', [a, b, c, d]) => {
                Some(Self::Size(Size { rows: u16::from_le_bytes([*a, *b]), columns: u16::from_le_bytes([*c, *d]) }))
            }
            (b'K', _) => signal().map(Self::Kill),
            (b'T', _) => signal().map(Self::Stop),
            _ => None,
        }
    }
}

impl Reply {
    /// The packet of this message.
    pub fn packet(&self) -> Vec<u8> {
        match self {
            Self::Output(Stream::Out, bytes) => [b"o", bytes.as_slice()].concat(),
            Self::Output(Stream::Err, bytes) => [b"e", bytes.as_slice()].concat(),
            Self::Runs => b"r".into(),
            Self::Done => b"k".into(),
            Self::Failed(code, line) => [&[b'f', *code], line.as_bytes()].concat(),
            Self::Ended(code) => vec![b'x', *code],
        }
    }

    /// The message of a packet; none of a malformed one.
    pub fn read(packet: &[u8]) -> Option<Self> {
        match packet {
            [b'o', bytes @ ..] => Some(Self::Output(Stream::Out, bytes.to_vec())),
            [b'e', bytes @ ..] => Some(Self::Output(Stream::Err, bytes.to_vec())),
            b"r" => Some(Self::Runs),
            b"k" => Some(Self::Done),
            [b'f', code, line @ ..] => Some(Self::Failed(*code, String::from_utf8_lossy(line).into_owned())),
            [b'x', code] => Some(Self::Ended(*code)),
            _ => None,
        }
    }
}

/// Sends a packet, waiting for room; a socket that the other side has closed gives `EPIPE`.
pub fn send_packet(socket: &impl AsFd, packet: &[u8]) -> rustix::io::Result<()> {
    again(|| send(socket, packet, SendFlags::NOSIGNAL)).map(drop)
}

/// Sends a packet if there is room for it; `EAGAIN` if there is none.
pub fn try_send_packet(socket: &impl AsFd, packet: &[u8]) -> rustix::io::Result<()> {
    again(|| send(socket, packet, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)).map(drop)
}

/// Receives a packet, waiting for it; an empty one at the end.
pub fn receive_packet(socket: &impl AsFd) -> rustix::io::Result<Vec<u8>> {
    received(socket.as_fd(), RecvFlags::empty())
}

/// Receives a packet if there is one: `EAGAIN` if there is none, an empty one at the end.
pub fn try_receive_packet(socket: &impl AsFd) -> rustix::io::Result<Vec<u8>> {
    received(socket.as_fd(), RecvFlags::DONTWAIT)
}

fn received(socket: BorrowedFd, flags: RecvFlags) -> rustix::io::Result<Vec<u8>> {
    let mut packet = vec![0; CHUNK + 1];
    let count = again(|| recv(socket, packet.as_mut_slice(), flags).map(|(count, _)| count))?;
    packet.truncate(count);
    packet.shrink_to_fit();
    Ok(packet)
}

fn again<T>(call: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    rustix::io::retry_on_intr(call)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes_and_nothing_malformed() {
        let size = Size { rows: 24, columns: 300 };
        for request in [
            Request::Attach,
            Request::Input(vec![0, 1, 255]),
            Request::EndOfInput,
            Request::Size(size),
            Request::Kill(9),
            Request::Stop(64),
        ] {
            assert_eq!(Request::read(&request.packet()), Some(request));
        }
        for reply in [
            Reply::Output(Stream::Out, vec![0, 10]),
            Reply::Output(Stream::Err, Vec::new()),
            Reply::Runs,
            Reply::Done,
            Reply::Failed(127, "no such program".into()),
            Reply::Ended(255),
        ] {
            assert_eq!(Reply::read(&reply.packet()), Some(reply));
        }
        for bad in [
            &b""[..],
            b"?",
            b"A1",
            b"S123",
            b"K",
            b"K\xff\xff\xff\xff",
            b"K\0\0\0\0",
            b"T\x41\0\0\0",
            b"x",
            b"f",
            b"r1",
        ] {
            assert_eq!((Request::read(bad), Reply::read(bad)), (None, None), "{bad:?}");
        }
    }

    #[test]
    fn connects_by_paths_of_any_length() {
        let dir = std::env::temp_dir().join(format!("crate-{}-{}", std::process::id(), "x".repeat(150)));
        std::fs::create_dir_all(&dir).unwrap();
        assert!(connect_in(&dir).unwrap().is_none());
        let listener = listen_in(&dir).unwrap();
        let client = connect_in(&dir).unwrap().unwrap();
        let served = rustix::net::accept(&listener).unwrap();
        send_packet(&client, &Request::Attach.packet()).unwrap();
        assert_eq!(Request::read(&receive_packet(&served).unwrap()), Some(Request::Attach));
        assert_eq!(try_receive_packet(&served), Err(Errno::AGAIN));
        drop(client);
        assert_eq!(receive_packet(&served).unwrap(), b"");
        drop(listener);
        // A child that another test has forked holds it too, until it executes its program.
        let is_gone = |_| {
            std::thread::sleep(std::time::Duration::from_millis(100));
            connect_in(&dir).unwrap().is_none()
        };
        assert!((0..10).any(is_gone));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
