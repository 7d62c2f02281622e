//! `/dev`: the devices and links that the runtime-spec lists (`config-linux.md#default-devices`).

use crate::error::{Doing, Error, Result};
use crate::options;
use crate::root::{Kind, Root};
use crate::sys::{self, Fd};
use core::ffi::CStr;

/// The default devices: name, path on the host, major and minor number.
const DEVICES: [(&CStr, &CStr, u32, u32); 6] = [
    (c"null", c"/dev/null", 1, 3),
    (c"zero", c"/dev/zero", 1, 5),
    (c"full", c"/dev/full", 1, 7),
    (c"random", c"/dev/random", 1, 8),
    (c"urandom", c"/dev/urandom", 1, 9),
    (c"tty", c"/dev/tty", 5, 0),
];

const LINKS: [(&CStr, &CStr); 6] = [
    (c"/proc/self/fd", c"fd"),
    (c"/proc/self/fd/0", c"stdin"),
    (c"/proc/self/fd/1", c"stdout"),
    (c"/proc/self/fd/2", c"stderr"),
    (c"/proc/kcore", c"core"),
    (c"pts/ptmx", c"ptmx"),
];

/// Fills the container's `/dev`, which must be a fresh filesystem. Unless it is `sealed`, nodes that the container makes there,
/// and those of its root filesystem, open as far as the kernel allows it: to the host's root, and to nobody else.
pub fn fill(root: &Root, sealed: bool) -> Result<()> {
    let dev = root.place(c"/dev", Kind::Directory, sys::NO_SYMLINKS)?;
    for (name, host, major, minor) in DEVICES {
        let device = host_device(host, libc::makedev(major, minor))?;
        let flags = libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY;
        let place = sys::openat(&dev, name, flags, 0o666).doing("making /dev/", name)?;
        sys::move_mount(&device, &place).doing("binding /dev/", name)?;
    }
    for (target, name) in LINKS {
        sys::symlinkat(target, &dev, name).doing("linking /dev/", name)?;
    }
    if !sealed {
        // Where this is refused none would open anyway.
        let _ = sys::mount_setattr(&root.dir, false, 0, options::NO_DEVICES, 0);
        return Ok(());
    }
    // A device that the container makes here must not open: it could be the host's disk.
    sys::mount_setattr(&dev, false, options::NO_DEVICES, 0, 0).doing("denying other devices in ", c"/dev")
}

/// The host's null device as a mount that is attached nowhere yet.
pub fn null() -> Result<Fd> {
    host_device(c"/dev/null", libc::makedev(1, 3))
}

/// A device of the host. On a read-only mount it reads and writes as ever, but root cannot change its mode.
fn host_device(path: &CStr, number: u64) -> Result<Fd> {
    let device = sys::open_tree(None, path, false).doing("taking ", path)?;
    let stat = sys::stat(&device).doing("taking ", path)?;
    if stat.mode & libc::S_IFMT != libc::S_IFCHR || stat.rdev != number {
        return Err(Error::about("the host's ", path, " is not that device"));
    }
    sys::mount_setattr(&device, false, options::READ_ONLY, 0, 0).doing("protecting ", path)?;
    Ok(device)
}
