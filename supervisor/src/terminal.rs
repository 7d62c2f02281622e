//! The caller's terminal.

use crate::channel::Size;
use rustix::termios::tcgetwinsize;
use std::os::fd::BorrowedFd;

/// The size of a terminal.
pub fn size(fd: BorrowedFd) -> Option<Size> {
    tcgetwinsize(fd).ok().map(|size| Size { rows: size.ws_row, columns: size.ws_col })
}
