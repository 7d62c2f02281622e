//! The system calls that rustix lacks, one wrapper each: the only place of this program where code is unsafe.
#![allow(unsafe_code)]
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // The kernel's numbers fit the types they are cast to.

use std::ffi::CStr;
use std::io::{Error, Result};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

/// A mount namespace (mount_namespaces(7)).
pub const NEW_MOUNT: u64 = libc::CLONE_NEWNS as u64;
/// A pid namespace (pid_namespaces(7)).
pub const NEW_PID: u64 = libc::CLONE_NEWPID as u64;
/// The namespaces that only a new process can have from its beginning (clone(2)).
pub const FIRST_NAMESPACES: u64 = NEW_MOUNT | NEW_PID;
/// A namespace of host and domain name (uts_namespaces(7)).
pub const NEW_UTS: u64 = libc::CLONE_NEWUTS as u64;
/// A namespace of System V and POSIX messages (ipc_namespaces(7)).
pub const NEW_IPC: u64 = libc::CLONE_NEWIPC as u64;
/// A namespace of control groups (cgroup_namespaces(7)).
pub const NEW_CGROUP: u64 = libc::CLONE_NEWCGROUP as u64;
/// Those that a process can make for itself (unshare(2)), but the network's.
pub const OTHER_NAMESPACES: u64 = NEW_UTS | NEW_IPC | NEW_CGROUP;
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
        pid if pid > 0 => Ok(Some(Child { pid: pid as i32, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } })),
        _ => Err(Error::last_os_error()),
    }
}

/// execveat(2) of an open file; comes back only when it fails.
pub fn exec_fd(file: BorrowedFd, arguments: &[&CStr]) -> Error {
    let list: Vec<_> = arguments.iter().map(|argument| argument.as_ptr()).chain([ptr::null()]).collect();
    let environment = [ptr::null::<libc::c_char>()];
    let (empty, file) = (c"".as_ptr(), file.as_raw_fd());
    // SAFETY: both lists end with a null pointer, and every string with a NUL.
    unsafe {
        libc::syscall(libc::SYS_execveat, file, empty, list.as_ptr(), environment.as_ptr(), libc::AT_EMPTY_PATH);
    }
    Error::last_os_error()
}

/// pidfd_send_signal(2): never reaches another process than the one the descriptor names. Since Linux 5.1.
pub fn send_signal(pidfd: BorrowedFd, signal: i32) -> Result<()> {
    // SAFETY: numbers, and a null pointer where no further information is sent.
    check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, ptr::null::<()>(), 0) })
}

/// Blocks `signals` and returns a descriptor that reads them (signalfd(2)). Those that the caller has this process
/// ignore, as nohup(1) does, stay ignored.
pub fn signal_descriptor(signals: &[i32]) -> Result<OwnedFd> {
    // SAFETY: the set is plain data that sigemptyset fills.
    let set = unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in signals.iter().filter(|signal| !is_ignored(**signal)) {
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

/// Closes every descriptor but `kept` (close_range(2), since Linux 5.9), none of which may be owned. It allocates nothing.
pub fn close_all_but(kept: &[RawFd]) {
    let mut first = 0;
    loop {
        let next = kept.iter().map(|fd| fd.cast_unsigned()).filter(|fd| *fd >= first).min();
        if next != Some(first) {
            // SAFETY: numbers only; nothing of this process refers to what is closed.
            unsafe { libc::syscall(libc::SYS_close_range, first, next.map_or(u32::MAX, |next| next - 1), 0) };
        }
        let Some(next) = next else { return };
        first = next + 1;
    }
}

/// Takes a descriptor that the caller has passed by its number, and keeps it from the programs that are executed.
pub fn adopt(number: RawFd) -> Result<OwnedFd> {
    // SAFETY: fcntl refuses a number that is no open descriptor.
    check(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) }.into())?;
    // SAFETY: it is open, and the option that names it is given once.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Has SIGXFSZ ignored (signal(7)): what would make a file larger than a limit allows fails with EFBIG, and no more.
pub fn ignore_file_size_signal() {
    // SAFETY: no handler is installed; crate-init gives every program the default again.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// Is the signal ignored (sigaction(2))?
fn is_ignored(signal: i32) -> bool {
    // SAFETY: sigaction is plain data, which the call fills; where no new action is given, none is set.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, ptr::null(), &raw mut action) == 0 && action.sa_sigaction == libc::SIG_IGN
    }
}

/// Lets a signal that is blocked do to this process what it does by default (signal(7)): end it, or stop it until it is
/// continued.
pub fn take_default(signal: i32) {
    // SAFETY: the set is plain data that sigemptyset fills, and lives through the calls.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, signal);
        libc::raise(signal);
        libc::sigprocmask(libc::SIG_UNBLOCK, &raw const set, ptr::null_mut());
        libc::sigprocmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut());
    }
}

/// Blocks all signals that can be blocked.
pub fn block_signals() {
    // SAFETY: the set is plain data that sigfillset fills, and lives through the calls.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut set);
        libc::sigprocmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut());
    }
}

/// Ends this process at once, with nothing done at exit (_exit(2)).
pub fn leave(code: i32) -> ! {
    // SAFETY: a number only.
    unsafe { libc::_exit(code) }
}

/// Hands the signals by which a process 1 means to end itself to a supervisor: installs a filter on this process and
/// all that come of it, and returns the descriptor that hears of kill(2), tkill(2) and tgkill(2) of process 1 with
/// one of `signals` (seccomp_unotify(2)). Since Linux 5.5.
pub fn listen_to_kill(signals: &[u32]) -> Result<OwnedFd> {
    let filter = kill_filter(signals);
    let length = u16::try_from(filter.len()).map_err(|_| Error::from_raw_os_error(libc::E2BIG))?;
    let program = libc::sock_fprog { len: length, filter: filter.as_ptr().cast_mut() };
    let (operation, flags) = (libc::SECCOMP_SET_MODE_FILTER, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER);
    // SAFETY: the program points to as many instructions as it says, and lives through the call.
    let fd = unsafe { libc::syscall(libc::SYS_seccomp, operation, flags, &raw const program) };
    check(fd)?;
    // SAFETY: the kernel has opened the descriptor for this process.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// The filter in classic BPF: for each of the three calls a block that looks at its process and its signal.
fn kill_filter(signals: &[u32]) -> Vec<libc::sock_filter> {
    const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    let step = |code: u32, k, jt, jf| libc::sock_filter { code: code as u16, jt, jf, k };
    let allow = step(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0);
    let native = if cfg!(target_arch = "x86_64") { 0xc000_003e } else { 0xc000_00b7 }; // AUDIT_ARCH_*
    // In struct seccomp_data: the call at 0, the architecture at 4, the low halves of the arguments from 16 on.
    let mut filter = vec![step(LOAD, 4, 0, 0), step(EQUAL, native, 1, 0), allow];
    let count = signals.len() as u8;
    for (call, signal_at) in [(libc::SYS_kill, 24), (libc::SYS_tkill, 24), (libc::SYS_tgkill, 32)] {
        filter.extend([step(LOAD, 0, 0, 0), step(EQUAL, call as u32, 0, count + 5)]);
        filter.extend([step(LOAD, 16, 0, 0), step(EQUAL, 1, 0, count + 1), step(LOAD, signal_at, 0, 0)]);
        filter.extend(signals.iter().zip(0..).map(|(signal, place)| step(EQUAL, *signal, count - place, 0)));
        filter.extend([allow, step(RETURN, libc::SECCOMP_RET_USER_NOTIF, 0, 0)]);
    }
    filter.push(allow);
    filter
}

const NOTIF_RECV: libc::Ioctl = libc::_IOWR::<libc::seccomp_notif>(0x21, 0);
const NOTIF_SEND: libc::Ioctl = libc::_IOWR::<libc::seccomp_notif_resp>(0x21, 1);

/// A call that the filter has stopped.
pub struct Notification {
    id: u64,
    /// The thread that makes the call.
    pub thread: u32,
    /// The signal that it sends.
    pub signal: i32,
}

/// Receives one stopped call (`SECCOMP_IOCTL_NOTIF_RECV`).
pub fn receive(listener: BorrowedFd) -> Result<Notification> {
    // SAFETY: both structures are plain data; the kernel wants the first zeroed.
    let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the structure lives through the call.
    check(unsafe { libc::ioctl(listener.as_raw_fd(), NOTIF_RECV, &raw mut call) }.into())?;
    let signal = call.data.args[if libc::c_long::from(call.data.nr) == libc::SYS_tgkill { 2 } else { 1 }];
    Ok(Notification { id: call.id, thread: call.pid, signal: signal as i32 })
}

/// Lets a stopped call go on as if nothing had been (`SECCOMP_USER_NOTIF_FLAG_CONTINUE`). Since Linux 5.5.
pub fn let_continue(listener: BorrowedFd, call: &Notification) -> Result<()> {
    let mut answer = libc::seccomp_notif_resp { id: call.id, val: 0, error: 0, flags: 1 };
    // SAFETY: the structure lives through the call.
    check(unsafe { libc::ioctl(listener.as_raw_fd(), NOTIF_SEND, &raw mut answer) }.into())
}

/// Has the kernel this action of seccomp filters (seccomp(2), `SECCOMP_GET_ACTION_AVAIL`)? Since Linux 4.14.
pub fn seccomp_has(action: u32) -> Result<()> {
    // SAFETY: the action lives through the call.
    check(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) })
}

/// The version of Landlock that the kernel has (landlock_create_ruleset(2)). Since Linux 5.13.
pub fn landlock_version() -> Result<i64> {
    const VERSION: u32 = 1; // LANDLOCK_CREATE_RULESET_VERSION
    // SAFETY: with this flag there is no structure to read.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, ptr::null::<()>(), 0_usize, VERSION) };
    check(version).map(|()| version)
}

/// Does close_range(2) work? It is given a range in which nothing is open.
pub fn try_close_range() -> Result<()> {
    // SAFETY: numbers only; no process has a descriptor of this number.
    check(unsafe { libc::syscall(libc::SYS_close_range, u32::MAX, u32::MAX, 0) })
}

/// Is there mount_setattr(2), since Linux 5.12? Asked for no change, it makes none.
pub fn try_mount_setattr() -> Result<()> {
    let change = [0_u64; 4];
    let (root, size) = (c"/".as_ptr(), size_of_val(&change));
    // SAFETY: `change` has the layout of struct mount_attr, and lives through the call.
    check(unsafe { libc::syscall(libc::SYS_mount_setattr, libc::AT_FDCWD, root, 0, change.as_ptr(), size) })
}

/// setns(2) to the namespaces `flags` of the process that a pidfd names. Since Linux 5.8.
pub fn join(pidfd: BorrowedFd, flags: u64) -> Result<()> {
    // SAFETY: numbers only.
    check(unsafe { libc::setns(pidfd.as_raw_fd(), flags as libc::c_int) }.into())
}

/// unshare(2).
pub fn unshare(flags: u64) -> Result<()> {
    // SAFETY: numbers only.
    check(unsafe { libc::unshare(flags as libc::c_int) }.into())
}

/// Takes the effective ids for all of this process's (setresuid(2), setresgid(2)), and lets go of other groups
/// (setgroups(2)). In a user namespace they are those that it has for the caller.
pub fn become_own() -> Result<()> {
    // SAFETY: numbers only. Where only one id is mapped the kernel denies setgroups: the groups stay.
    unsafe {
        libc::setgroups(0, ptr::null());
        let (uid, gid) = (libc::geteuid(), libc::getegid());
        check(libc::setresgid(gid, gid, gid).into())?;
        check(libc::setresuid(uid, uid, uid).into())
    }
}

fn check(value: libc::c_long) -> Result<()> {
    if value < 0 { Err(Error::last_os_error()) } else { Ok(()) }
}
