//! The system calls, one wrapper each: the only place of this program where code is unsafe.
#![allow(unsafe_code)]

use alloc::vec::Vec;
use core::ffi::{CStr, c_char, c_int, c_long, c_short, c_uint};
use core::ptr;

/// An error number (errno(3)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub c_int);

impl Errno {
    /// No such file or directory.
    pub const NOENT: Self = Self(libc::ENOENT);
    /// Interrupted by a signal.
    pub const INTR: Self = Self(libc::EINTR);
    /// Permission denied.
    pub const ACCES: Self = Self(libc::EACCES);
    /// Operation not permitted.
    pub const PERM: Self = Self(libc::EPERM);
    /// It is there already.
    pub const EXIST: Self = Self(libc::EEXIST);
    /// Too many symbolic links.
    pub const LOOP: Self = Self(libc::ELOOP);
    /// Not a directory.
    pub const NOTDIR: Self = Self(libc::ENOTDIR);
    /// No such process.
    pub const SRCH: Self = Self(libc::ESRCH);
    /// No memory.
    pub const NOMEM: Self = Self(libc::ENOMEM);
    /// Invalid argument.
    pub const INVAL: Self = Self(libc::EINVAL);
    /// The kernel has no such system call.
    pub const NOSYS: Self = Self(libc::ENOSYS);
    /// The kernel does not have it.
    pub const NODEV: Self = Self(libc::ENODEV);

    /// The error in words (strerror(3)).
    pub fn text(self) -> &'static str {
        // SAFETY: musl's strerror returns a pointer to a constant string.
        unsafe { CStr::from_ptr(libc::strerror(self.0)) }.to_str().unwrap_or("unknown error")
    }
}

mod process;
#[cfg(not(test))]
mod runtime;
mod terminal;

pub use process::*;
pub use terminal::*;

type Result<T> = core::result::Result<T, Errno>;

fn check(value: c_long) -> Result<c_int> {
    if value >= 0 {
        return Ok(c_int::try_from(value).unwrap_or(c_int::MAX));
    }
    // SAFETY: errno is a variable of this thread.
    Err(Errno(unsafe { *libc::__errno_location() }))
}

fn done(value: c_int) -> Result<()> {
    check(c_long::from(value)).map(drop)
}

/// A file descriptor, closed when dropped.
#[derive(Debug)]
pub struct Fd(c_int);

impl Fd {
    /// The descriptor's number.
    pub fn raw(&self) -> c_int {
        self.0
    }
}

impl Drop for Fd {
    fn drop(&mut self) {
        // SAFETY: the descriptor is owned, and not used after this.
        unsafe { libc::close(self.0) };
    }
}

/// Takes over a descriptor that was handed to this program by its number.
pub fn adopt(number: c_int) -> Fd {
    Fd(number)
}

/// What fstat(2) tells of a file.
pub struct Stat {
    /// Type and permission bits.
    pub mode: u32,
    /// The device that a device node stands for.
    pub rdev: u64,
    /// Bytes.
    pub size: i64,
}

/// fstat(2).
pub fn stat(fd: &Fd) -> Result<Stat> {
    // SAFETY: stat is plain data, and the kernel fills it.
    let mut buffer: libc::stat = unsafe { core::mem::zeroed() };
    // SAFETY: the buffer lives through the call.
    done(unsafe { libc::fstat(fd.0, &raw mut buffer) })?;
    Ok(Stat { mode: buffer.st_mode, rdev: buffer.st_rdev, size: buffer.st_size })
}

/// open(2) of a path on the host, close-on-exec.
pub fn open(path: &CStr, flags: c_int) -> Result<Fd> {
    // SAFETY: the path is NUL-terminated.
    check(c_long::from(unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC) })).map(Fd)
}

/// Makes the host's null device the standard input (dup2(2)).
pub fn null_stdin() -> Result<()> {
    dup_onto(&open(c"/dev/null", libc::O_RDONLY)?, 0)
}

/// openat(2) of a name in a directory, close-on-exec.
pub fn openat(dir: &Fd, name: &CStr, flags: c_int, mode: c_uint) -> Result<Fd> {
    // SAFETY: the name is NUL-terminated.
    check(c_long::from(unsafe { libc::openat(dir.0, name.as_ptr(), flags | libc::O_CLOEXEC, mode) })).map(Fd)
}

/// Resolve no symbolic link (openat2(2)).
pub const NO_SYMLINKS: u64 = libc::RESOLVE_NO_SYMLINKS;
/// Stay on one mount.
pub const NO_XDEV: u64 = libc::RESOLVE_NO_XDEV;

/// openat2(2) with `dir` as the root of every path and link, and no magic link followed. Since Linux 5.6.
pub fn open_in_root(dir: &Fd, path: &CStr, flags: c_int, resolve: u64) -> Result<Fd> {
    openat2(dir, path, flags, libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS | resolve)
}

/// openat2(2) of what lies below `dir` on the same mount, with no link followed.
pub fn open_beneath(dir: &Fd, path: &CStr, flags: c_int) -> Result<Fd> {
    openat2(dir, path, flags, libc::RESOLVE_BENEATH | libc::RESOLVE_NO_MAGICLINKS | NO_SYMLINKS | NO_XDEV)
}

fn openat2(dir: &Fd, path: &CStr, flags: c_int, resolve: u64) -> Result<Fd> {
    let how: [u64; 3] = [u64::from((flags | libc::O_CLOEXEC).cast_unsigned()), 0, resolve];
    for _ in 0..TRIES {
        // SAFETY: `how` has the layout of struct open_how, three 64-bit numbers.
        let opened = unsafe { libc::syscall(libc::SYS_openat2, dir.0, path.as_ptr(), how.as_ptr(), size_of_val(&how)) };
        match check(opened) {
            // A rename on the host can make the kernel give up a walk within a root.
            Err(Errno(libc::EAGAIN)) => {}
            other => return other.map(Fd),
        }
    }
    Err(Errno(libc::EAGAIN))
}

/// How often a walk is begun anew. Who renames without a pause interrupts many, but not so many.
const TRIES: u32 = 10_000;

/// The kind of a filesystem that holds terminals (statfs(2), `DEVPTS_SUPER_MAGIC`).
pub const DEVPTS: u16 = 0x1cd1;
/// That of processes and kernel settings (`PROC_SUPER_MAGIC`).
pub const PROCFS: u16 = 0x9fa0;

/// Does this file lie on a filesystem of that kind (fstatfs(2))?
pub fn is_on(fd: &Fd, kind: u16) -> Result<bool> {
    // SAFETY: statfs is plain data, and the kernel fills it.
    let mut buffer: libc::statfs = unsafe { core::mem::zeroed() };
    // SAFETY: the buffer lives through the call.
    done(unsafe { libc::fstatfs(fd.0, &raw mut buffer) })?;
    Ok(buffer.f_type == kind.into())
}

/// mkdirat(2).
pub fn mkdirat(dir: &Fd, name: &CStr, mode: c_uint) -> Result<()> {
    // SAFETY: the name is NUL-terminated.
    done(unsafe { libc::mkdirat(dir.0, name.as_ptr(), mode) })
}

/// readlinkat(2): the target of a symbolic link, cut at the longest path that the kernel takes.
pub fn readlinkat(dir: &Fd, name: &CStr) -> Result<Vec<u8>> {
    let mut buffer = alloc::vec![0_u8; libc::PATH_MAX as usize];
    // SAFETY: the name is NUL-terminated, and the buffer as long as is said.
    let got = unsafe { libc::readlinkat(dir.0, name.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) };
    buffer.truncate(usize::try_from(check(got as c_long)?).unwrap_or(0));
    Ok(buffer)
}

/// symlinkat(2).
pub fn symlinkat(target: &CStr, dir: &Fd, name: &CStr) -> Result<()> {
    // SAFETY: both strings are NUL-terminated.
    done(unsafe { libc::symlinkat(target.as_ptr(), dir.0, name.as_ptr()) })
}

/// unlinkat(2) of a file.
pub fn unlinkat(dir: &Fd, name: &CStr) -> Result<()> {
    // SAFETY: the name is NUL-terminated.
    done(unsafe { libc::unlinkat(dir.0, name.as_ptr(), 0) })
}

/// How much is read at once, in bytes.
const PIECE: usize = 16 << 10;

/// Reads the whole of a file (read(2)); of one that is longer than `limit`, more bytes than that, but not all.
pub fn read(fd: &Fd, limit: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while bytes.len() <= limit {
        let start = bytes.len();
        bytes.resize(start + PIECE, 0);
        // SAFETY: the buffer's free part is that long.
        let got = check(unsafe { libc::read(fd.0, bytes[start..].as_mut_ptr().cast(), PIECE) } as c_long)?;
        bytes.truncate(start + usize::try_from(got).unwrap_or(0));
        if got == 0 {
            break;
        }
    }
    Ok(bytes)
}

/// write(2); what cannot be written is lost.
pub fn write(fd: c_int, bytes: &[u8]) {
    // SAFETY: the buffer is as long as is said.
    unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
}

/// write(2) in one piece, as files of procfs want it.
pub fn write_all(fd: &Fd, bytes: &[u8]) -> Result<()> {
    // SAFETY: the buffer is as long as is said.
    let written = check(unsafe { libc::write(fd.0, bytes.as_ptr().cast(), bytes.len()) } as c_long)?;
    if usize::try_from(written) == Ok(bytes.len()) { Ok(()) } else { Err(Errno::INVAL) }
}

/// Is the reading end of this pipe closed everywhere (poll(2), `POLLERR`)?
pub fn is_abandoned(pipe: c_int) -> bool {
    poll(pipe, 0, 0) & libc::POLLERR != 0
}

/// Is there something to be read within so many milliseconds? A pidfd says so of a process that has ended.
pub fn can_be_read(fd: &Fd, milliseconds: c_int) -> bool {
    poll(fd.0, libc::POLLIN, milliseconds) & libc::POLLIN != 0
}

fn poll(fd: c_int, events: c_short, milliseconds: c_int) -> c_short {
    let mut entry = libc::pollfd { fd, events, revents: 0 };
    // SAFETY: one entry, as is said.
    unsafe { libc::poll(&raw mut entry, 1, milliseconds) };
    entry.revents
}

/// Makes every mount private, so that nothing done here reaches another namespace (mount(2)).
pub fn make_private() -> Result<()> {
    // SAFETY: the strings are constant; the others may be null for a change of propagation.
    done(unsafe { libc::mount(ptr::null(), c"/".as_ptr(), ptr::null(), libc::MS_REC | libc::MS_PRIVATE, ptr::null()) })
}

/// Mounts an overlay (mount(2)): its options name directories by path, which only this call takes on every kernel.
/// Device nodes do not open there, neither those of an image nor those that a container makes.
pub fn mount_overlay(target: &CStr, options: &CStr, read_only: bool) -> Result<()> {
    let kind = c"overlay".as_ptr();
    let flags = libc::MS_NODEV | if read_only { libc::MS_RDONLY } else { 0 };
    // SAFETY: all strings are NUL-terminated.
    done(unsafe { libc::mount(kind, target.as_ptr(), kind, flags, options.as_ptr().cast()) })
}

/// fsopen(2): begins a filesystem. Since Linux 5.2.
pub fn fsopen(kind: &CStr) -> Result<Fd> {
    // SAFETY: the type is NUL-terminated; 1 is FSOPEN_CLOEXEC.
    check(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), 1) }).map(Fd)
}

/// fsconfig(2) of one option, with a value or as a flag.
pub fn fsconfig(fs: &Fd, key: &CStr, value: Option<&CStr>) -> Result<()> {
    let (command, value) = value.map_or((0, ptr::null()), |value| (1, value.as_ptr()));
    // SAFETY: both strings are NUL-terminated; 0 and 1 are FSCONFIG_SET_FLAG and FSCONFIG_SET_STRING.
    check(unsafe { libc::syscall(libc::SYS_fsconfig, fs.0, command, key.as_ptr(), value, 0) }).map(drop)
}

/// fsconfig(2), `FSCONFIG_CMD_CREATE`, and fsmount(2): a mount that is attached nowhere yet.
pub fn fsmount(fs: &Fd, attributes: u64) -> Result<Fd> {
    let none = ptr::null::<c_char>();
    // SAFETY: 6 is FSCONFIG_CMD_CREATE, which takes neither key nor value.
    check(unsafe { libc::syscall(libc::SYS_fsconfig, fs.0, 6, none, none, 0) })?;
    // SAFETY: numbers only; 1 is FSMOUNT_CLOEXEC.
    check(unsafe { libc::syscall(libc::SYS_fsmount, fs.0, 1, attributes) }).map(Fd)
}

/// open_tree(2), `OPEN_TREE_CLONE`: a copy of the mount at `path` below `dir` (or of `dir` itself), attached nowhere yet.
pub fn open_tree(dir: Option<&Fd>, path: &CStr, recursive: bool) -> Result<Fd> {
    let dir = dir.map_or(libc::AT_FDCWD, |dir| dir.0);
    let flags = 1 | libc::O_CLOEXEC | libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is NUL-terminated.
    check(unsafe { libc::syscall(libc::SYS_open_tree, dir, path.as_ptr(), flags) }).map(Fd)
}

/// mount_setattr(2): sets attributes, and propagation where it is not 0. Since Linux 5.12.
pub fn mount_setattr(mount: &Fd, recursive: bool, set: u64, clear: u64, propagation: u64) -> Result<()> {
    let attributes: [u64; 4] = [set, clear, propagation, 0];
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    let (path, size) = (c"".as_ptr(), size_of_val(&attributes));
    // SAFETY: `attributes` has the layout of struct mount_attr, four 64-bit numbers.
    check(unsafe { libc::syscall(libc::SYS_mount_setattr, mount.0, path, flags, attributes.as_ptr(), size) }).map(drop)
}

/// move_mount(2): attaches a mount to a directory or file that is already open. Since Linux 5.2.
pub fn move_mount(mount: &Fd, target: &Fd) -> Result<()> {
    let empty = c"".as_ptr();
    // SAFETY: both paths are empty; 0x44 is MOVE_MOUNT_F_EMPTY_PATH and MOVE_MOUNT_T_EMPTY_PATH.
    check(unsafe { libc::syscall(libc::SYS_move_mount, mount.0, empty, target.0, empty, 0x44) }).map(drop)
}

/// pivot_root(2) to the working directory, with the old root left on top of the new one.
pub fn pivot_root() -> Result<()> {
    let here = c".".as_ptr();
    // SAFETY: both paths are constant.
    check(unsafe { libc::syscall(libc::SYS_pivot_root, here, here) }).map(drop)
}

/// umount2(2) of what is mounted at `path`, with all below.
pub fn detach(path: &CStr) -> Result<()> {
    // SAFETY: the path is NUL-terminated.
    done(unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH | libc::UMOUNT_NOFOLLOW) })
}

/// Moves the working directory's mount over the root (mount(2)).
pub fn move_over_root() -> Result<()> {
    let nothing = ptr::null::<c_char>();
    // SAFETY: the paths are constant; a move takes no type and no options.
    done(unsafe { libc::mount(c".".as_ptr(), c"/".as_ptr(), nothing, libc::MS_MOVE, nothing.cast()) })
}

/// chroot(2) to the working directory.
pub fn chroot_here() -> Result<()> {
    // SAFETY: the path is constant.
    done(unsafe { libc::chroot(c".".as_ptr()) })
}

/// chdir(2).
pub fn chdir(path: &CStr) -> Result<()> {
    // SAFETY: the path is NUL-terminated.
    done(unsafe { libc::chdir(path.as_ptr()) })
}

/// fchdir(2).
pub fn fchdir(dir: &Fd) -> Result<()> {
    // SAFETY: numbers only.
    done(unsafe { libc::fchdir(dir.0) })
}

/// Is the working directory below the root of this process (getcwd(2))?
pub fn cwd_is_inside() -> bool {
    let mut buffer = [0_u8; libc::PATH_MAX as usize];
    // SAFETY: the buffer is as long as is said. The system call is made directly, for what it says of other roots.
    let got = unsafe { libc::syscall(libc::SYS_getcwd, buffer.as_mut_ptr(), buffer.len()) };
    got > 0 && buffer[0] == b'/'
}

/// sethostname(2).
pub fn sethostname(name: &CStr) -> Result<()> {
    // SAFETY: the buffer is as long as is said.
    done(unsafe { libc::sethostname(name.as_ptr(), name.to_bytes().len()) })
}

/// Brings the loopback device up (netdevice(7)).
pub fn loopback_up() -> Result<()> {
    // SAFETY: numbers only.
    let socket = check(c_long::from(unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) }))?;
    let socket = Fd(socket);
    // SAFETY: ifreq is plain data.
    let mut request: libc::ifreq = unsafe { core::mem::zeroed() };
    request.ifr_name[0] = b'l'.cast_signed() as c_char;
    request.ifr_name[1] = b'o'.cast_signed() as c_char;
    request.ifr_ifru.ifru_flags = 1 | 64; // IFF_UP | IFF_RUNNING
    // SAFETY: the request lives through the call.
    done(unsafe { libc::ioctl(socket.0, libc::SIOCSIFFLAGS as _, &raw mut request) })
}

/// umask(2).
pub fn umask(mask: c_uint) {
    // SAFETY: numbers only.
    unsafe { libc::umask(mask) };
}
