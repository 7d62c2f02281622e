//! Writing without ever waiting, on descriptors that other programs have too.
//!
//! `O_NONBLOCK` belongs to the open file description (open(2)), which the caller's shell and its other programs share:
//! set on it, it would break them. So what can be is opened once more, for this process alone.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, major, minor, openat};
use rustix::io::{Errno, Result, retry_on_intr, write};
use rustix::net::{SendFlags, send};
use rustix::termios::isatty;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// As many bytes as one write can take where a descriptor has just been found ready: `PIPE_BUF` (pipe(7)).
const AT_ONCE: usize = 4096;

/// How a descriptor is written to without waiting.
#[derive(Debug, PartialEq)]
enum Way {
    /// write(2) does not wait.
    Write,
    /// send(2) can be told not to wait.
    Send,
    /// It is asked first, and gets little at once: so it waits only where another process takes the room away.
    Ask,
}

/// A descriptor to write to.
pub struct Outlet<'a> {
    given: BorrowedFd<'a>,
    own: Option<OwnedFd>,
    way: Way,
}

impl<'a> Outlet<'a> {
    /// The way to write to this descriptor.
    pub fn of(given: BorrowedFd<'a>) -> Self {
        let own = reopened(given, OFlags::WRONLY);
        let way = match fstat(given).map(|stat| FileType::from_raw_mode(stat.st_mode)) {
            Ok(FileType::RegularFile) => Way::Write,
            Ok(FileType::Socket) => Way::Send,
            _ if own.is_some() => Way::Write,
            _ => Way::Ask,
        };
        Self { given, own, way }
    }

    /// The descriptor to poll for `POLLOUT` after [`Errno::AGAIN`].
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.own.as_ref().map_or(self.given, AsFd::as_fd)
    }

    /// Writes as much as can be at once; how many bytes. [`Errno::AGAIN`]: nothing can be, for now; [`Errno::PIPE`]:
    /// nobody reads it any more.
    pub fn try_write(&self, bytes: &[u8]) -> Result<usize> {
        let fd = self.fd();
        retry_on_intr(|| match self.way {
            Way::Write => write(fd, bytes),
            Way::Send => send(fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
            Way::Ask => {
                let mut asked = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
                match poll(&mut asked, Some(&Timespec::default()))? {
                    0 => Err(Errno::AGAIN),
                    _ => write(fd, &bytes[..bytes.len().min(AT_ONCE)]),
                }
            }
        })
    }
}

/// Opens the terminal, pipe or fifo of a descriptor once more, for reading or writing without waiting; none of anything
/// else, nor where that is not possible.
pub fn reopened(fd: BorrowedFd, access: OFlags) -> Option<OwnedFd> {
    let stat = fstat(fd).ok()?;
    let is_fifo = FileType::from_raw_mode(stat.st_mode) == FileType::Fifo;
    // Opened once more, the master side of a terminal would be that of a new one (pts(4)).
    let is_master = (major(stat.st_rdev), minor(stat.st_rdev)) == (5, 2);
    if !is_fifo && (is_master || !isatty(fd)) {
        return None;
    }
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let flags = access | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::fcntl_getfl;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    use rustix::pipe::pipe;

    fn fill(outlet: &Outlet) -> usize {
        let mut count = 0;
        loop {
            match outlet.try_write(&[b'x'; 10_000]) {
                Ok(more) => count += more,
                Err(errno) => {
                    assert_eq!(errno, Errno::AGAIN);
                    return count;
                }
            }
        }
    }

    fn is_blocking(fd: &OwnedFd) -> bool {
        !fcntl_getfl(fd).unwrap().contains(OFlags::NONBLOCK)
    }

    #[test]
    fn a_full_pipe_does_not_block_and_its_flags_stay() {
        let (reader, writer) = pipe().unwrap();
        let outlet = Outlet::of(writer.as_fd());
        assert_eq!(outlet.way, Way::Write);
        assert!(fill(&outlet) >= 4096);
        assert!(is_blocking(&writer) && is_blocking(&reader));
        drop(reader);
        assert_eq!(outlet.try_write(b"x"), Err(Errno::PIPE));
    }

    #[test]
    fn a_pipe_that_cannot_be_opened_again_does_not_block_either() {
        let (reader, writer) = pipe().unwrap();
        let outlet = Outlet { given: writer.as_fd(), own: None, way: Way::Ask };
        assert!(fill(&outlet) >= 4096);
        assert_eq!(rustix::io::read(&reader, &mut [0; 8192]), Ok(8192));
        assert_eq!(outlet.try_write(&[0; 10_000]), Ok(4096));
        drop(reader);
        assert_eq!(outlet.try_write(b"x"), Err(Errno::PIPE));
    }

    #[test]
    fn a_full_socket_does_not_block_and_its_flags_stay() {
        let (own, other) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::empty(), None).unwrap();
        let outlet = Outlet::of(own.as_fd());
        assert_eq!(outlet.way, Way::Send);
        assert!(fill(&outlet) > 0);
        assert!(is_blocking(&own));
        drop(other);
        assert_eq!(outlet.try_write(b"x"), Err(Errno::PIPE));
    }

    #[test]
    fn a_regular_file_is_appended_to_where_the_caller_left_it() {
        let path = std::env::temp_dir().join(format!("crate-outlet-{}", std::process::id()));
        let mut file = std::fs::File::create(&path).unwrap();
        std::io::Write::write_all(&mut file, b"first ").unwrap();
        let outlet = Outlet::of(file.as_fd());
        assert_eq!((&outlet.way, outlet.try_write(b"second")), (&Way::Write, Ok(6)));
        assert_eq!(std::fs::read(&path).unwrap(), b"first second");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_stopped_terminal_does_not_block() {
        let (master, slave) = crate::terminal::tests::pty();
        let outlet = Outlet::of(slave.as_fd());
        assert_eq!(outlet.way, Way::Write);
        assert!(fill(&outlet) > 0);
        assert!(is_blocking(&slave));
        // The master side is not opened once more: that would be another terminal.
        let outlet = Outlet::of(master.as_fd());
        assert_eq!((&outlet.way, outlet.try_write(b"x")), (&Way::Ask, Ok(1)));
    }
}
