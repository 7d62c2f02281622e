//! Signals: those that the supervisor passes on, and what they do to a process 1.

use crate::sys::{self, Child};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};
use std::collections::BTreeSet;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;
use store::process::field;

/// The signals that are passed on to the container: all that a user or another program sends to end or tell a program.
/// Those between 31 and 34 belong to the C library.
pub fn forwarded() -> Vec<i32> {
    let standard = [
        libc::SIGHUP,
        libc::SIGINT,
        libc::SIGQUIT,
        libc::SIGABRT,
        libc::SIGUSR1,
        libc::SIGUSR2,
        libc::SIGALRM,
        libc::SIGTERM,
        libc::SIGSTKFLT,
        libc::SIGCONT,
        libc::SIGTSTP,
        libc::SIGVTALRM,
        libc::SIGPROF,
        libc::SIGWINCH,
        libc::SIGIO,
        libc::SIGPWR,
    ];
    standard.into_iter().chain(34..=64).collect()
}

/// The signals by which a program ends itself: kill(1) of its own id in a shell, abort(3).
pub const DEADLY: [u32; 6] = [1, 2, 3, 6, 9, 15]; // SIGHUP SIGINT SIGQUIT SIGABRT SIGKILL SIGTERM

/// How often it is looked for processes that are still to be stopped: some may fork faster than they are found.
const ROUNDS: usize = 16;

/// How many milliseconds a signal is looked after that a program does not meet at once.
const MOMENTS: usize = 20;
/// After so many of them one that is handled has arrived.
const SETTLED: usize = 4;

/// Signals whose default is to end nothing: they do nothing, or stop a process or let it go on (signal(7)).
const HARMLESS: [i32; 8] = [
    libc::SIGCHLD,
    libc::SIGURG,
    libc::SIGWINCH,
    libc::SIGCONT,
    libc::SIGSTOP,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
];

/// Sends `signal` to the container's process 1. The kernel keeps from a process 1 what it does not handle itself
/// (pid_namespaces(7)); a user expects the default, so then the process is killed: always, while the program does not
/// run yet. Returns whether it was.
pub fn forward(child: &Child, signal: i32, runs: bool) -> bool {
    // An error means that the process has ended, which the loop is told by its pidfd.
    let send = |signal| _ = sys::send_signal(child.pidfd.as_fd(), signal);
    if HARMLESS.contains(&signal) {
        send(signal);
        return false;
    }
    let kill = !runs || would_be_dropped(child, signal, || send(signal));
    if kill {
        send(libc::SIGKILL);
    }
    kill
}

/// Does the kernel drop what would end another process? Only if it is not sure to is the signal sent, and looked after:
/// a program blocks signals for moments, as it forks, and one that handled them may become one that does not.
pub fn would_be_dropped(child: &Child, signal: i32, send: impl FnOnce()) -> bool {
    let before = look(child.pid, signal);
    if before.as_ref().is_some_and(|look| look.disposition == Disposition::Default) {
        return true;
    }
    send();
    let Some(before) = before else { return false };
    for moment in 0..MOMENTS {
        std::thread::sleep(Duration::from_millis(1));
        match look(child.pid, signal) {
            None => break,
            Some(now) if now.disposition == Disposition::Default => {
                // One that has handled it may have said that the next is not to be.
                return before.disposition == Disposition::Blocked || now.program != before.program;
            }
            Some(now) if now.disposition == Disposition::Handled && !now.pending && moment >= SETTLED => break,
            Some(_) => {}
        }
    }
    false
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

/// Does who sends this signal mean the program to end?
pub fn means_end(signal: i32) -> bool {
    matches!(signal, libc::SIGHUP | libc::SIGINT | libc::SIGQUIT | libc::SIGTERM | libc::SIGKILL)
}

/// The next signal that this process has got.
pub fn next(source: &OwnedFd) -> Option<i32> {
    let mut record = [0; 128]; // struct signalfd_siginfo (signalfd(2)); its first field is the number.
    match rustix::io::read(source, &mut record) {
        Ok(128) => Some(i32::from_ne_bytes([record[0], record[1], record[2], record[3]])),
        _ => None,
    }
}

/// Stops the processes of a program, or lets them go on: of a container's first process all of its pid namespace, of
/// another its process group.
pub fn freeze(child: &Child, first: bool, stop: bool) {
    let signal = if stop { Signal::STOP } else { Signal::CONT };
    if first {
        // Who was forked while others were being stopped is found in the next round.
        let mut stopped = BTreeSet::new();
        for _ in 0..ROUNDS {
            let new: Vec<i32> = members(child.pid).into_iter().filter(|pid| stopped.insert(*pid)).collect();
            if new.is_empty() {
                break;
            }
            for pid in new {
                signal_member(child.pid, pid, signal);
            }
        }
    } else if let Some(group) = Pid::from_raw(child.pid) {
        // It has ended, if this fails; the group of a child that has not been waited for is no other's.
        let _ = kill_process_group(group, signal);
    }
}

/// Sends a signal to a process if it is, as that descriptor names it, in the pid namespace of process `first`.
fn signal_member(first: i32, pid: i32, signal: Signal) {
    let descriptor = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    if let Some(descriptor) = descriptor
        && pid_namespace(pid) == pid_namespace(first)
    {
        let _ = pidfd_send_signal(&descriptor, signal); // It has ended, if this fails.
    }
}

/// The processes of the pid namespace of process `first`, itself among them.
pub fn members(first: i32) -> Vec<i32> {
    let Some(own) = pid_namespace(first) else { return Vec::new() };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| pid_namespace(*pid).as_ref() == Some(&own)).collect()
}

/// What names a process's pid namespace (namespaces(7)).
fn pid_namespace(pid: i32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/pid")).ok()
}

/// What becomes of a signal.
#[derive(Debug, PartialEq)]
enum Disposition {
    Handled,
    Blocked,
    Default,
}

/// How a process stands to a signal.
#[derive(Debug, PartialEq)]
struct Look {
    /// Is it caught or ignored, else blocked?
    disposition: Disposition,
    /// Has the process been sent it, and not met it yet?
    pending: bool,
    /// Tells one program of the process from the next: where its stack begins, which no two have alike.
    program: Option<u64>,
}

/// Looks at a process (proc_pid_status(5), proc_pid_stat(5)); none where it has ended.
fn look(pid: i32, signal: i32) -> Option<Look> {
    let read = |file| fs::read_to_string(format!("/proc/{pid}/{file}")).ok();
    let (disposition, pending) = signal_in(&read("status")?, signal)?;
    Some(Look { disposition, pending, program: field(&read("stat")?, 28) })
}

fn signal_in(status: &str, signal: i32) -> Option<(Disposition, bool)> {
    let bit = 1_u64 << (signal - 1);
    let has = |name: &str| {
        let mask = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(u64::from_str_radix(mask.trim(), 16).ok()? & bit != 0)
    };
    let disposition = match (has("SigIgn:")? || has("SigCgt:")?, has("SigBlk:")?) {
        (true, _) => Disposition::Handled,
        (false, true) => Disposition::Blocked,
        (false, false) => Disposition::Default,
    };
    Some((disposition, has("SigPnd:")? || has("ShdPnd:")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_meets_its_default_only_if_nothing_else_is_said() {
        let status = "Name:\tsh\nSigBlk:\t0000000000000001\nSigIgn:\t0000000000000002\nSigCgt:\t0000000000000004\n";
        let status = format!("{status}SigPnd:\t0000000000000000\nShdPnd:\t0000000000000004\n");
        let found = [1, 2, 3, 15].map(|signal| signal_in(&status, signal).unwrap());
        let wanted = [
            (Disposition::Blocked, false),
            (Disposition::Handled, false),
            (Disposition::Handled, true),
            (Disposition::Default, false),
        ];
        assert_eq!(found, wanted);
        assert_eq!(signal_in("Name:\tsh\n", 1), None);
    }
}
