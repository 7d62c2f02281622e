//! This process: its identity, its signals, and how it becomes another program or ends.

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

/// prctl(2) with two arguments.
pub fn prctl(option: c_int, first: u64, second: u64) -> Result<()> {
    // SAFETY: only options that take numbers are used here.
    done(unsafe { libc::prctl(option, first, second, 0_u64, 0_u64) })
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

// So are the calls for signals: the C library keeps three of them for itself.

/// Resets every signal to its default (rt_sigaction(2)), which for those that are ignored outlives execve(2).
pub fn reset_signals() {
    let default = [0_u64; 4]; // struct sigaction of the kernel: SIG_DFL, no flags, an empty mask
    for signal in 1..=64 {
        // SAFETY: the default action needs no code here; signals that cannot be changed are refused, which is fine.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), ptr::null_mut::<u64>(), 8) };
    }
}

/// Blocks no signal (rt_sigprocmask(2)); the mask outlives execve(2) too.
pub fn unblock_signals() {
    let none = 0_u64;
    // SAFETY: a set is one 64-bit number, as is said.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const none, ptr::null_mut::<u64>(), 8) };
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

/// _exit(2).
pub fn exit(code: u8) -> ! {
    // SAFETY: takes a number, and nothing of this program needs to be undone.
    unsafe { libc::_exit(c_int::from(code)) }
}
