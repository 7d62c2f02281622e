//! Signals: those that the supervisor passes on, and what they do to a process 1.

use crate::sys::{self, Child};
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// The signals that are passed on to the container: all that a user or a supervisor sends to end or tell a program.
pub const FORWARDED: [i32; 8] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGWINCH,
];

/// The signals by which a program ends itself: kill(1) of its own id in a shell, abort(3).
pub const DEADLY: [u32; 6] = [1, 2, 3, 6, 9, 15]; // SIGHUP SIGINT SIGQUIT SIGABRT SIGKILL SIGTERM

/// Signals whose default is to do nothing (signal(7)).
const HARMLESS: [i32; 4] = [libc::SIGCHLD, libc::SIGURG, libc::SIGWINCH, libc::SIGCONT];

/// Sends `signal` to the container's process 1. The kernel keeps from a process 1 what it does not handle itself
/// (pid_namespaces(7)); a user expects the default, so then the process is killed: always, while the program does not
/// run yet. Returns whether it was.
pub fn forward(child: &Child, signal: i32, runs: bool) -> bool {
    let kill = !HARMLESS.contains(&signal) && (!runs || takes_default(child.pid, signal));
    // An error means that the process has ended, which the loop is told by its pidfd.
    let _ = sys::send_signal(child.pidfd.as_fd(), if kill { libc::SIGKILL } else { signal });
    kill
}

/// Answers a process that signals process 1. A process 1 that means to end itself is ended, which the kernel would not
/// do; everything else goes on as it is. Returns the signal that process 1 was ended for.
pub fn answer(child: &Child, listener: &OwnedFd) -> Option<i32> {
    let call = sys::receive(listener.as_fd()).ok()?; // It fails if the caller has been killed meanwhile.
    let itself = Path::new(&format!("/proc/{}/task/{}", child.pid, call.thread)).exists();
    if itself && forward(child, call.signal, true) {
        return Some(call.signal);
    }
    // Likewise: the caller is gone, and nobody waits for the answer.
    let _ = sys::let_continue(listener.as_fd(), &call);
    None
}

/// Would the signal meet its default action: is it neither caught, ignored nor blocked (proc_pid_status(5))?
fn takes_default(pid: i32, signal: i32) -> bool {
    let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else {
        return false;
    };
    default_in(&status, signal)
}

fn default_in(status: &str, signal: i32) -> bool {
    let bit = 1_u64 << (signal - 1);
    let has = |line: &str| {
        let mask = ["SigBlk:", "SigIgn:", "SigCgt:"].into_iter().find_map(|name| line.strip_prefix(name));
        mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & bit != 0)
    };
    !status.lines().any(has)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_meets_its_default_only_if_nothing_else_is_said() {
        let status = "Name:\tsh\nSigBlk:\t0000000000000001\nSigIgn:\t0000000000000002\nSigCgt:\t0000000000000004\n";
        assert!(!default_in(status, 1));
        assert!(!default_in(status, 2));
        assert!(!default_in(status, 3));
        assert!(default_in(status, 15));
    }
}
