//! Joining the namespaces of a container that runs (setns(2)), its pid namespace last.

use crate::error::{Doing, Error, Result};
use crate::sys::{self, Errno, Fd};
use core::ffi::c_int;

/// The exit code where nothing can be run, as podman has it.
const NOT_RUNNING: u8 = 126;

/// How long the first process may take to end where nothing can be started beside it any more, in milliseconds.
const ENDS: c_int = 1000;

/// A container that has been joined, but for its pid namespace.
pub struct Joined {
    first: Fd,
    socket: Fd,
    own_users: bool,
}

impl Joined {
    /// Moves this process into those namespaces (`CLONE_NEW*`) of the process that the pidfd `first` names, as whom the
    /// caller is in its user namespace: root, unless it keeps the caller's id. The pid namespace is that of a child (pid_namespaces(7)), whose pidfd is to go over `socket`.
    pub fn enter(first: Fd, namespaces: c_int, socket: Fd) -> Result<Self> {
        match sys::setns(&first, namespaces) {
            Err(Errno::SRCH) => return Err(ended()),
            other => other.doing("joining ", c"the container")?,
        }
        let own_users = namespaces & libc::CLONE_NEWUSER != 0;
        if own_users {
            // Where only one id is mapped the kernel denies setgroups: there are no other groups then.
            let _ = sys::setgroups(&[]);
            let (uid, gid) = sys::own_ids();
            sys::setgid(gid).and_then(|()| sys::setuid(uid)).doing("becoming the user of ", c"the container")?;
        }
        Ok(Self { first, socket, own_users })
    }

    /// Can a process of the container that has `CAP_SYS_PTRACE` trace the new one from its beginning? Then all that confines
    /// it must come before.
    pub fn can_be_traced(&self) -> bool {
        !self.own_users
    }

    /// Comes back in a new process, which the container's processes see; this one, which they never saw, ends.
    ///
    /// Until it executes the program it can be traced by none of them (CVE-2016-9962): its memory belongs to the user
    /// namespace that this process was executed in, which is not theirs (ptrace(2)). Only the real root's container has no
    /// other, where it was given `CAP_SYS_PTRACE`; by now nothing is to be had there that it does not have.
    pub fn come_into_sight(self) -> Result<()> {
        match sys::fork_sibling() {
            Ok(None) => Ok(()),
            Ok(Some(program)) => {
                let _ = sys::send(&self.socket, &program, c"program"); // It fails where the supervisor is gone.
                sys::exit(0)
            }
            // What a pid namespace says whose first process is ending.
            Err(Errno::NOMEM) if sys::can_be_read(&self.first, ENDS) => Err(ended()),
            Err(errno) => Err(errno).doing("starting a process in ", c"the container"),
        }
    }
}

fn ended() -> Error {
    Error { code: NOT_RUNNING, ..Error::new(&["the container ended before it could be joined"]) }
}
