//! Terminals: how one is made, handed out, and taken (ioctl_tty(2), unix(7)).

use super::{Fd, Result, check, done};
use core::ffi::{CStr, c_int, c_long};
use core::mem;

/// Unlocks the slave of a master (`TIOCSPTLCK`) and opens it, by no path (`TIOCGPTPEER`, since Linux 4.13); tells its
/// number in the devpts too (`TIOCGPTN`).
pub fn slave(master: &Fd) -> Result<(Fd, c_int)> {
    let (locked, mut number): (c_int, c_int) = (0, 0);
    // SAFETY: a number that is read, and lives through the call.
    done(unsafe { libc::ioctl(master.0, libc::TIOCSPTLCK, &raw const locked) })?;
    // SAFETY: a number that is written, and lives through the call.
    done(unsafe { libc::ioctl(master.0, libc::TIOCGPTN, &raw mut number) })?;
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: numbers only.
    let slave = check(c_long::from(unsafe { libc::ioctl(master.0, libc::TIOCGPTPEER, flags) }))?;
    Ok((Fd(slave), number))
}

/// Sets the size of a terminal (`TIOCSWINSZ`).
pub fn set_size(terminal: &Fd, rows: u16, columns: u16) -> Result<()> {
    let size: [u16; 4] = [rows, columns, 0, 0];
    // SAFETY: `size` has the layout of struct winsize, four 16-bit numbers.
    done(unsafe { libc::ioctl(terminal.0, libc::TIOCSWINSZ, size.as_ptr()) })
}

/// Makes a terminal that of this process's session, which it must lead (`TIOCSCTTY`), and its standard input, output
/// and error (dup2(2)).
pub fn take_terminal(terminal: &Fd) -> Result<()> {
    // SAFETY: numbers only; 0 takes it from nobody.
    done(unsafe { libc::ioctl(terminal.0, libc::TIOCSCTTY, 0) })?;
    (0..=2).try_for_each(|standard| dup_onto(terminal, standard))
}

/// dup2(2): gives an open file another number too.
pub fn dup_onto(fd: &Fd, number: c_int) -> Result<()> {
    // SAFETY: numbers only.
    done(unsafe { libc::dup2(fd.0, number) })
}

/// Sends an open file, with a text, over a connected socket (`SCM_RIGHTS`, unix(7)).
pub fn send(socket: &Fd, fd: &Fd, text: &CStr) -> Result<()> {
    /// A control message with one descriptor.
    #[repr(C)]
    struct Rights {
        header: libc::cmsghdr,
        fd: c_int,
    }
    let bytes = text.to_bytes();
    let mut piece = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: both are plain data.
    let (mut rights, mut message): (Rights, libc::msghdr) = unsafe { (mem::zeroed(), mem::zeroed()) };
    rights.header.cmsg_len = 20; // CMSG_LEN of one descriptor
    rights.header.cmsg_level = libc::SOL_SOCKET;
    rights.header.cmsg_type = libc::SCM_RIGHTS;
    rights.fd = fd.0;
    message.msg_iov = &raw mut piece;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut rights).cast();
    message.msg_controllen = 20;
    // SAFETY: the message, and what it points to, live through the call, and are as long as is said.
    let sent = unsafe { libc::syscall(libc::SYS_sendmsg, socket.0, &raw const message, libc::MSG_NOSIGNAL) };
    check(sent).map(drop)
}

/// fchown(2) of the user, and of the group where one is given.
pub fn chown(fd: &Fd, uid: u32, gid: Option<u32>) -> Result<()> {
    // SAFETY: numbers only; the largest one is no change.
    check(unsafe { libc::syscall(libc::SYS_fchown, fd.0, uid, gid.unwrap_or(u32::MAX)) }).map(drop)
}

/// fchmod(2).
pub fn chmod(fd: &Fd, mode: u32) -> Result<()> {
    // SAFETY: numbers only.
    check(unsafe { libc::syscall(libc::SYS_fchmod, fd.0, mode) }).map(drop)
}
