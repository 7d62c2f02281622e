//! The system calls that rustix lacks, one wrapper each: the only place of this program where code is unsafe.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::io::{Error, Result};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

/// Every namespace but the user's and the network's (clone(2)).
pub const NAMESPACES: u64 = (libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC) as u64
    | libc::CLONE_NEWCGROUP as u64;
/// A user namespace (user_namespaces(7)).
pub const NEW_USER: u64 = libc::CLONE_NEWUSER as u64;
/// A network namespace (network_namespaces(7)).
pub const NEW_NET: u64 = libc::CLONE_NEWNET as u64;

/// A new child process.
pub struct Child {
    /// Its process id.
    pub pid: i32,
    /// The descriptor that names it and no other (pidfd_open(2)).
    pub pidfd: OwnedFd,
}

/// clone3(2) with `flags`, as fork(2): `None` in the child. Since Linux 5.3.
///
/// The caller must have one thread only, and the child must not outlive what it borrows.
pub fn clone(flags: u64) -> Result<Option<Child>> {
    let mut pidfd: RawFd = -1;
    let mut arguments = [0_u64; 11];
    arguments[0] = flags | libc::CLONE_PIDFD as u64;
    arguments[1] = (&raw mut pidfd).addr() as u64;
    arguments[4] = libc::SIGCHLD as u64;
    // SAFETY: `arguments` has the layout of struct clone_args; without CLONE_VM the child has memory of its own.
    match unsafe { libc::syscall(libc::SYS_clone3, arguments.as_mut_ptr(), size_of_val(&arguments)) } {
        0 => Ok(None),
        // SAFETY: the kernel has opened the descriptor for this process.
        pid if pid > 0 => Ok(Some(Child {
            pid: pid as i32,
            pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
        })),
        _ => Err(Error::last_os_error()),
    }
}

/// execveat(2) of an open file; comes back only when it fails.
pub fn exec_fd(file: BorrowedFd, arguments: &[&CStr]) -> Error {
    let list: Vec<_> = arguments
        .iter()
        .map(|argument| argument.as_ptr())
        .chain([ptr::null()])
        .collect();
    let environment = [ptr::null::<libc::c_char>()];
    let (empty, file) = (c"".as_ptr(), file.as_raw_fd());
    // SAFETY: both lists end with a null pointer, and every string with a NUL.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file,
            empty,
            list.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
    }
    Error::last_os_error()
}

/// pidfd_send_signal(2): never reaches another process than the one the descriptor names. Since Linux 5.1.
pub fn send_signal(pidfd: BorrowedFd, signal: i32) -> Result<()> {
    // SAFETY: numbers, and a null pointer where no further information is sent.
    check(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            ptr::null::<()>(),
            0,
        )
    })
}

/// Blocks `signals` and returns a descriptor that reads them (signalfd(2)).
pub fn signal_descriptor(signals: &[i32]) -> Result<OwnedFd> {
    // SAFETY: the set is plain data that sigemptyset fills.
    let set = unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in signals {
            libc::sigaddset(&raw mut set, *signal);
        }
        libc::sigprocmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut());
        set
    };
    // SAFETY: the set lives through the call.
    let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    check(fd.into())?;
    // SAFETY: the kernel has opened the descriptor for this process.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// unshare(2).
pub fn unshare(flags: u64) -> Result<()> {
    // SAFETY: numbers only.
    check(unsafe { libc::unshare(flags as libc::c_int) }.into())
}

/// Becomes root of the user namespace (setresuid(2), setresgid(2), setgroups(2)).
pub fn become_root() -> Result<()> {
    // SAFETY: numbers only. Where only one id is mapped the kernel denies setgroups: there are no other groups then.
    unsafe {
        libc::setgroups(0, ptr::null());
        check(libc::setresgid(0, 0, 0).into())?;
        check(libc::setresuid(0, 0, 0).into())
    }
}

fn check(value: libc::c_long) -> Result<()> {
    if value < 0 { Err(Error::last_os_error()) } else { Ok(()) }
}
