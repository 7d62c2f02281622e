//! This process: its identity, its signals, its children, and how it becomes another program or ends.

use super::{Errno, Fd, Result, check, done};
use alloc::vec::Vec;
use core::ffi::{CStr, c_char, c_int, c_long, c_uint};
use core::ptr;

// What changes the identity is called directly: the C library would bring the means to do so in every thread.

/// setgroups(2).
pub fn setgroups(groups: &[u32]) -> Result<()> {
    // SAFETY: the list is as long as is said.
    check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) }).map(drop)
}

/// setresgid(2) of all three. The largest number stands for none (`-1`: no change), and is refused.
pub fn setgid(gid: u32) -> Result<()> {
    set_id(libc::SYS_setresgid, gid)
}

/// setresuid(2) of all three, and of the largest number likewise.
pub fn setuid(uid: u32) -> Result<()> {
    set_id(libc::SYS_setresuid, uid)
}

fn set_id(call: c_long, id: u32) -> Result<()> {
    if id == u32::MAX {
        return Err(Errno::INVAL);
    }
    // SAFETY: numbers only.
    check(unsafe { libc::syscall(call, id, id, id) }).map(drop)
}

/// The effective user and group (geteuid(2), getegid(2)).
pub fn own_ids() -> (u32, u32) {
    // SAFETY: they take nothing.
    unsafe { (libc::geteuid(), libc::getegid()) }
}

/// prctl(2) with two arguments.
pub fn prctl(option: c_int, first: u64, second: u64) -> Result<()> {
    // SAFETY: only options that take numbers are used here.
    done(unsafe { libc::prctl(option, first, second, 0_u64, 0_u64) })
}

/// The low half of the effective capabilities (capget(2)), those from 0 to 31.
pub fn capabilities() -> Result<u32> {
    let (header, mut data) = ([0x2008_0522_u32, 0], [0_u32; 6]); // _LINUX_CAPABILITY_VERSION_3, this process
    // SAFETY: both arrays have the layouts that version 3 of the interface asks for.
    check(unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), data.as_mut_ptr()) })?;
    Ok(data[0])
}

/// capset(2) of this process, each set a mask of capability numbers.
pub fn capset(effective: u64, permitted: u64, inheritable: u64) -> Result<()> {
    let header: [u32; 2] = [0x2008_0522, 0]; // _LINUX_CAPABILITY_VERSION_3, this process
    let low = |mask: u64| u32::try_from(mask & 0xffff_ffff).unwrap_or(0);
    let high = |mask: u64| low(mask >> 32);
    let data: [u32; 6] =
        [low(effective), low(permitted), low(inheritable), high(effective), high(permitted), high(inheritable)];
    // SAFETY: both arrays have the layouts that version 3 of the interface asks for.
    check(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) }).map(drop)
}

/// seccomp(2): loads a filter of system calls, as many instructions of 8 bytes as there are.
pub fn seccomp(instructions: &[u8]) -> Result<()> {
    let length = u16::try_from(instructions.len() / 8).map_err(|_| Errno::INVAL)?;
    let program = libc::sock_fprog { len: length, filter: instructions.as_ptr().cast_mut().cast() };
    let operation = libc::SECCOMP_SET_MODE_FILTER;
    // SAFETY: the program points to as many instructions as it says, which the kernel copies.
    check(unsafe { libc::syscall(libc::SYS_seccomp, operation, 0, &raw const program) }).map(drop)
}

/// prlimit(2) of this process: sets a limit, soft and hard.
pub fn set_limit(resource: u32, soft: u64, hard: u64) -> Result<()> {
    let (limit, old) = ([soft, hard], ptr::null_mut::<u64>());
    // SAFETY: `limit` has the layout of struct rlimit64, two 64-bit numbers.
    check(unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, limit.as_ptr(), old) }).map(drop)
}

/// prlimit(2) of this process: a limit, soft and hard.
pub fn limit(resource: u32) -> Result<(u64, u64)> {
    let (mut limit, new) = ([0_u64; 2], ptr::null::<u64>());
    // SAFETY: `limit` has the layout of struct rlimit64, two 64-bit numbers.
    check(unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, new, limit.as_mut_ptr()) })?;
    Ok((limit[0], limit[1]))
}

/// keyctl(2), `KEYCTL_JOIN_SESSION_KEYRING`: a new session keyring, empty and of no name.
pub fn new_session_keyring() -> Result<()> {
    // SAFETY: 1 is the operation; no name is given.
    check(unsafe { libc::syscall(libc::SYS_keyctl, 1, ptr::null::<c_char>()) }).map(drop)
}

/// Are all three calls for keys denied to this process, or unknown? They are made with arguments that do nothing.
pub fn has_no_keys() -> bool {
    [libc::SYS_keyctl, libc::SYS_add_key, libc::SYS_request_key].into_iter().all(|call| {
        // SAFETY: null pointers, at which the kernel does not look, or fails; 0 names no key.
        let answer = check(unsafe { libc::syscall(call, 0_u64, 0_u64, 0_u64, 0_u64, 0_u64) });
        matches!(answer, Err(Errno::PERM | Errno::NOSYS))
    })
}

// So are the calls for signals: the C library keeps three of them for itself.

/// Resets every signal to its default (rt_sigaction(2)), which for those that are ignored outlives execve(2).
pub fn reset_signals() {
    let default = [0_u64; 4]; // struct sigaction of the kernel: SIG_DFL, no flags, an empty mask
    for signal in 1..=64 {
        // SAFETY: the default action needs no code here; signals that cannot be changed are refused, which is fine.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), ptr::null_mut::<u64>(), 8) };
    }
}

/// Blocks every signal that can be, or none (rt_sigprocmask(2)), which outlives execve(2).
pub fn block_signals(all: bool) {
    let set = if all { u64::MAX } else { 0 };
    // SAFETY: a set is one 64-bit number, as is said.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const set, ptr::null_mut::<u64>(), 8) };
}

/// signalfd(2): a descriptor that reads the signals that are blocked.
pub fn signal_source() -> Result<Fd> {
    let any = u64::MAX;
    // SAFETY: a set is one 64-bit number, as is said.
    check(unsafe { libc::syscall(libc::SYS_signalfd4, -1, &raw const any, 8, libc::SFD_CLOEXEC) }).map(Fd)
}

/// Waits for a signal, and tells its number; `None` if it cannot.
pub fn next_signal(source: &Fd) -> Option<c_int> {
    let mut signal = [0_i32; 32]; // struct signalfd_siginfo, which the number begins
    loop {
        // SAFETY: the buffer is as long as is said.
        let got = check(unsafe { libc::read(source.0, signal.as_mut_ptr().cast(), size_of_val(&signal)) } as c_long);
        if got != Err(Errno::INTR) {
            return got.is_ok_and(|got| got > 0).then_some(signal[0]);
        }
    }
}

/// kill(2); there is no harm if the process has just ended.
pub fn kill(process: c_int, signal: c_int) {
    // SAFETY: numbers only.
    unsafe { libc::kill(process, signal) };
}

/// fork(2): `None` in the child, which has this thread alone, as its parent had.
pub fn fork() -> Result<Option<c_int>> {
    // SAFETY: without CLONE_VM and a stack of its own, clone(2) copies the process. No library keeps locks or buffers.
    let child = check(unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0_u64, 0_u64, 0_u64, 0_u64) })?;
    Ok((child != 0).then_some(child))
}

/// fork(2) of a child of this process's parent: `None` in the child, its pidfd here (clone(2), `CLONE_PARENT`).
pub fn fork_sibling() -> Result<Option<Fd>> {
    let (flags, mut pidfd) = (libc::CLONE_PARENT | libc::CLONE_PIDFD, -1_i32);
    // SAFETY: as above; the number that is written lives through the call.
    let child = check(unsafe { libc::syscall(libc::SYS_clone, flags, 0_u64, &raw mut pidfd, 0_u64, 0_u64) })?;
    Ok((child != 0).then_some(Fd(pidfd)))
}

/// A pidfd of this process. Since Linux 5.3.
pub fn own_process() -> Result<Fd> {
    // SAFETY: numbers only. The descriptor is close-on-exec.
    check(unsafe { libc::syscall(libc::SYS_pidfd_open, libc::getpid(), 0) }).map(Fd)
}

/// setns(2) to several namespaces of the process that a pidfd names. Since Linux 5.8.
pub fn setns(process: &Fd, namespaces: c_int) -> Result<()> {
    // SAFETY: numbers only.
    done(unsafe { libc::setns(process.0, namespaces) })
}

/// Takes note of one child that has ended, of whatever kind (wait4(2)): its number, and its code or 128+signal. Where
/// none has, waits for one, or tells so.
pub fn reap(wait: bool) -> Result<Option<(c_int, u8)>> {
    let mut status: c_int = 0;
    let (flags, nothing) = (libc::__WALL | if wait { 0 } else { libc::WNOHANG }, ptr::null_mut::<u8>());
    // SAFETY: the status lives through the call.
    let child = check(unsafe { libc::syscall(libc::SYS_wait4, -1, &raw mut status, flags, nothing) })?;
    let [low, high, ..] = status.to_le_bytes();
    let code = match low & 0x7f {
        0 => high,
        signal => 128 + signal,
    };
    Ok((child > 0).then_some((child, code)))
}

/// setsid(2); fails only for a process that leads a group already.
pub fn setsid() {
    // SAFETY: takes nothing.
    unsafe { libc::setsid() };
}

/// Marks every descriptor above 2 close-on-exec (close_range(2)). Since Linux 5.11.
pub fn close_on_exec() -> Result<()> {
    // SAFETY: numbers only; 4 is CLOSE_RANGE_CLOEXEC.
    check(unsafe { libc::syscall(libc::SYS_close_range, 3, c_uint::MAX, 4) }).map(drop)
}

/// Closes every descriptor but 0 (close_range(2)). Nothing may hold one any more.
pub fn close_others() {
    // SAFETY: numbers only.
    unsafe { libc::syscall(libc::SYS_close_range, 1, c_uint::MAX, 0) };
}

/// execveat(2) of an open file, else of `path`; comes back only when it fails.
pub fn execute(file: Option<&Fd>, path: &CStr, arguments: &[&CStr], environment: &[&CStr]) -> Errno {
    let list = |strings: &[&CStr]| -> Vec<*const c_char> {
        strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
    };
    let (arguments, environment) = (list(arguments), list(environment));
    let (dir, path, flags) = file.map_or((libc::AT_FDCWD, path, 0), |file| (file.0, c"", libc::AT_EMPTY_PATH));
    let (path, arguments, environment) = (path.as_ptr(), arguments.as_ptr(), environment.as_ptr());
    // SAFETY: both lists end with a null pointer, and every string with a NUL.
    let failed = unsafe { libc::syscall(libc::SYS_execveat, dir, path, arguments, environment, flags) };
    check(failed).err().unwrap_or(Errno::INVAL)
}

/// `exit_group(2)`; where a filter of system calls does not let that in, by a signal: `_exit(2)` would try for ever.
pub fn exit(code: u8) -> ! {
    // SAFETY: takes a number, and nothing of this program needs to be undone.
    unsafe { libc::syscall(libc::SYS_exit_group, c_int::from(code)) };
    // SAFETY: takes nothing. Without calls it ends by a fault of the processor, which the kernel keeps for no process 1.
    unsafe { libc::abort() }
}
