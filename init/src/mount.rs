//! Mounts: the root filesystem, and everything on top of it. Targets are descriptors inside the root, never paths.

use crate::dev;
use crate::error::{Doing, Error, Result};
use crate::options::{self, Options};
use crate::root::{Kind, Root};
use crate::sys::{self, Errno, Fd};
use alloc::ffi::CString;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::Cell;
use core::ffi::CStr;

/// The code that asks the supervisor for another way to the same root filesystem.
const OVERLAY_REFUSED: u8 = 1;

/// The largest table of mounts, in bytes: the kernel makes 100,000 mounts in a namespace (sysctl fs.mount-max).
const TABLE: usize = 8 << 20;

/// What keeps a user namespace from mounting a procfs or sysfs.
const MASKED: &str = "that of the container around this one is masked: \
    docker, podman, crate: --security-opt unmask=ALL, or --privileged; or --network host here, for sysfs";

/// What an overlay needs to be written to.
pub struct Writable {
    /// The upper directory, which gets what is written.
    pub upper: &'static CStr,
    /// The work directory, empty, and on the same filesystem.
    pub work: &'static CStr,
    /// More options; may be empty.
    pub options: &'static CStr,
}

/// Mounts an overlay of `lower` (the top first) on the directory `target`: read-only, unless `writable` says more.
///
/// Every directory is named by the number of an open descriptor, below `/proc/self/fd`: hundreds of layers fit the
/// one page of options that mount(2) takes, and the mount table of the container tells no path of the host.
pub fn overlay(lower: &[&CStr], writable: Option<&Writable>, target: &CStr) -> Result<Root> {
    let open = |path: &CStr| sys::open(path, libc::O_PATH | libc::O_DIRECTORY).doing("opening ", path);
    let lower = lower.iter().map(|path| open(path)).collect::<Result<Vec<Fd>>>()?;
    let own = writable.map_or(Ok(None), |own| Ok(Some((open(own.upper)?, open(own.work)?, own.options))))?;
    let place = open(target)?;
    let name = |fd: &Fd| fd.raw().to_string();
    let list = lower.iter().map(name).collect::<Vec<String>>().join(":");
    let mut text = ["userxattr,lowerdir=", &list].concat();
    if let Some((upper, work, more)) = &own {
        text = [&text, ",upperdir=", &name(upper), ",workdir=", &name(work)].concat();
        if !more.is_empty() {
            text = [&text, ",", &more.to_string_lossy()].concat();
        }
    }
    let text = CString::new(text).unwrap_or_default();
    let place = CString::new(name(&place)).unwrap_or_default();
    sys::chdir(c"/proc/self/fd").doing("entering ", c"/proc/self/fd")?;
    let refused = |error| Error { code: OVERLAY_REFUSED, ..error };
    sys::mount_overlay(&place, &text, own.is_none()).doing("mounting an overlay on ", target).map_err(refused)?;
    sys::chdir(c"/").doing("entering ", c"/")?;
    Root::open(target)
}

/// Makes the directory `path` itself the root filesystem, by a bind mount. As on the overlay, no device opens there.
pub fn plain(path: &CStr) -> Result<Root> {
    bind_root(path, path, options::NO_DEVICES)
}

/// Shows `lower` (the top first) on the directory `target`, read-only. The kernel makes no such overlay of a single one.
pub fn view(lower: &[&CStr], target: &CStr) -> Result<Root> {
    match lower {
        [only] => bind_root(only, target, options::NO_DEVICES | options::READ_ONLY),
        _ => overlay(lower, None, target),
    }
}

fn bind_root(source: &CStr, target: &CStr, attributes: u64) -> Result<Root> {
    let (from, place) = (Root::open(source)?, Root::open(target)?);
    let copy = sys::open_tree(Some(&from.dir), c"", true).doing("taking a mount of ", source)?;
    sys::mount_setattr(&copy, true, attributes, 0, 0).doing("restricting ", source)?;
    sys::move_mount(&copy, &place.dir).doing("mounting on ", target)?;
    Ok(Root { dir: copy })
}

/// Enters the root filesystem as it is without what is mounted on it: a copy of its mount, attached nowhere, which lasts
/// as long as it is somebody's working directory.
pub fn enter_bare() -> Result<()> {
    let copy = sys::open_tree(None, c"/", false).doing("taking a mount of ", c"/")?;
    sys::fchdir(&copy).doing("entering a mount of ", c"/")
}

/// Mounts a filesystem of type `kind`, or binds `source` where that is `bind`, on `target`.
pub fn mount(root: &Root, kind: &CStr, source: &CStr, target: &CStr, text: &CStr) -> Result<()> {
    let options = options::parse(text);
    if kind == c"bind" || kind == c"none" {
        return bind(root, source, target, &options);
    }
    // The kernel's own filesystems must lie where they seem to: no link of the image decides it. An empty one may lie
    // elsewhere in the root, as for `/var/run`.
    let resolve = if kind == c"tmpfs" { 0 } else { sys::NO_SYMLINKS };
    let place = root.place(target, Kind::Directory, resolve)?;
    let fresh = match make(kind, source, &options) {
        // A kernel may be built without message queues: nothing that runs there asks for them.
        Err(Errno::NODEV) if kind == c"mqueue" => return Ok(()),
        // The kernel shows no user namespace more of them than there was to be seen before (user_namespaces(7)).
        Err(Errno::PERM) if kind == c"proc" || kind == c"sysfs" => {
            let what = ["mounting ", &kind.to_string_lossy(), " on ", &target.to_string_lossy()].concat();
            return Err(Error::new(&[&what, ": ", Errno::PERM.text()]).hint(MASKED));
        }
        other => other.doing(&["mounting ", &kind.to_string_lossy(), " on "].concat(), target)?,
    };
    sys::move_mount(&fresh, &place).doing("mounting on ", target)
}

fn make(kind: &CStr, source: &CStr, options: &Options) -> core::result::Result<Fd, Errno> {
    let fs = sys::fsopen(kind)?;
    if !source.is_empty() {
        sys::fsconfig(&fs, c"source", Some(source))?;
    }
    for (key, value) in &options.data {
        sys::fsconfig(&fs, key, value.as_deref())?;
    }
    sys::fsmount(&fs, options.set)
}

fn bind(root: &Root, source: &CStr, target: &CStr, options: &Options) -> Result<()> {
    if let Some((key, _)) = options.data.first() {
        return Err(Error::about("binding: unknown option ", key, ""));
    }
    let copy = match sys::open_tree(None, source, options.recursive) {
        Err(Errno::NOENT) if options.optional => return Ok(()),
        other => other.doing("binding ", source)?,
    };
    let stat = sys::stat(&copy).doing("binding ", source)?;
    let kind = if stat.mode & libc::S_IFMT == libc::S_IFDIR { Kind::Directory } else { Kind::File };
    let place = root.place(target, kind, 0)?;
    sys::mount_setattr(&copy, options.recursive, options.set, options.clear, libc::MS_PRIVATE)
        .doing("restricting the bind mount of ", source)?;
    sys::move_mount(&copy, &place).doing("binding on ", target)
}

/// Makes the root filesystem's own mount read-only; what is mounted on it stays as it is.
pub fn read_only_root(root: &Root) -> Result<()> {
    sys::mount_setattr(&root.dir, false, options::READ_ONLY, 0, 0).doing("making the root read-only: ", c"/")
}

/// Mounts a directory of the root filesystem on itself, so that it stays writable when the root does not.
pub fn keep_writable(root: &Root, path: &CStr) -> Result<()> {
    let place = root.place(path, Kind::Directory, 0)?;
    let copy = sys::open_tree(Some(&place), c"", true).doing("binding ", path)?;
    sys::move_mount(&copy, &place).doing("binding on ", path)
}

/// Makes `path` read-only, if it is there, by a bind mount on itself.
pub fn read_only_path(root: &Root, path: &CStr) -> Result<()> {
    let Some(place) = existing(root, path)? else {
        return Ok(());
    };
    let copy = sys::open_tree(Some(&place), c"", true).doing("binding ", path)?;
    sys::mount_setattr(&copy, true, options::READ_ONLY, 0, libc::MS_PRIVATE).doing("making read-only: ", path)?;
    sys::move_mount(&copy, &place).doing("binding on ", path)
}

/// Shows `text` as the read-only file `path`, where its directory is there and nothing is mounted on the way to it; what
/// marks the place is empty. The text lies in the container's `/dev`, under no name.
pub fn text(root: &Root, path: &CStr, text: &CStr) -> Result<()> {
    let bytes = path.to_bytes();
    let slash = bytes.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    let directory = CString::new(&bytes[..slash]).unwrap_or_default();
    let restricted = sys::NO_SYMLINKS | sys::NO_XDEV;
    if sys::open_in_root(&root.dir, &directory, libc::O_PATH | libc::O_DIRECTORY, restricted).is_err() {
        return Ok(());
    }
    let place = root.place(path, Kind::File, restricted)?;
    let (dev, name) = (root.place(c"/dev", Kind::Directory, sys::NO_SYMLINKS)?, c".text");
    let file = sys::openat(&dev, name, libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY, 0o444).doing("making ", path)?;
    sys::write(file.raw(), text.to_bytes());
    let copy = sys::open_tree(Some(&file), c"", false).doing("taking a mount of ", path)?;
    sys::mount_setattr(&copy, false, options::READ_ONLY | options::NO_DEVICES, 0, 0).doing("protecting ", path)?;
    sys::move_mount(&copy, &place).doing("mounting on ", path)?;
    sys::unlinkat(&dev, name).doing("making ", path)
}

/// What masked paths are covered with: made once, cloned for each.
pub struct Covers {
    directory: Cover,
    null: Cover,
}

impl Covers {
    /// An empty directory that cannot be written, and the host's null device.
    pub fn new() -> Result<Self> {
        let options = options::parse(c"ro,nosuid,nodev,noexec,size=0,nr_inodes=1");
        let directory = make(c"tmpfs", c"tmpfs", &options).doing("making an empty ", c"tmpfs")?;
        Ok(Self { directory: Cover::new(directory), null: Cover::new(dev::null()?) })
    }

    /// Hides `path`, if it is there: a directory under the empty one, anything else under the null device.
    pub fn mask(&self, root: &Root, path: &CStr) -> Result<()> {
        let Some(place) = existing(root, path)? else {
            return Ok(());
        };
        let stat = sys::stat(&place).doing("masking ", path)?;
        let directory = stat.mode & libc::S_IFMT == libc::S_IFDIR;
        let cover = if directory { &self.directory } else { &self.null };
        cover.put(&place).doing("masking ", path)
    }
}

/// A mount that is put on several places.
struct Cover {
    mount: Fd,
    attached: Cell<bool>,
}

impl Cover {
    fn new(mount: Fd) -> Self {
        let attached = Cell::new(false);
        Self { mount, attached }
    }

    /// The first place gets the mount itself: one that is attached nowhere can be cloned only since Linux 6.15.
    fn put(&self, place: &Fd) -> core::result::Result<(), Errno> {
        if self.attached.replace(true) {
            return sys::move_mount(&sys::open_tree(Some(&self.mount), c"", false)?, place);
        }
        sys::move_mount(&self.mount, place)
    }
}

fn existing(root: &Root, path: &CStr) -> Result<Option<Fd>> {
    match sys::open_in_root(&root.dir, path, libc::O_PATH, sys::NO_SYMLINKS) {
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        other => other.map(Some).doing("opening ", path),
    }
}

/// Makes every mount of this namespace private, so that nothing done here reaches another one: those too that a chroot(2)
/// of the caller's leaves out.
pub fn make_private() -> Result<()> {
    let open = |path: &CStr| sys::open(path, libc::O_PATH | libc::O_DIRECTORY).doing("opening ", path);
    let (root, here) = (open(c"/")?, open(c".")?);
    enter_top()?;
    sys::make_private().doing("making mounts private: ", c"/")?;
    // What the plan names is named as the caller sees it.
    sys::fchdir(&root).and_then(|()| sys::chroot_here()).doing("going back to ", c"/")?;
    sys::fchdir(&here).doing("going back to ", c".")
}

/// Makes the topmost directory of this mount namespace the root and the working directory of this process.
fn enter_top() -> Result<()> {
    let own = sys::own_process().and_then(|process| sys::setns(&process, libc::CLONE_NEWNS));
    own.doing("going to the top of the mount namespace: ", c"/")
}

/// Makes the root filesystem the root of this mount namespace, and lets go of the host's: all of it, whatever directory the
/// caller's root is. What stays above the new root would be in reach of who can change the root once more.
pub fn pivot(root: &Root) -> Result<()> {
    enter_top()?;
    sys::fchdir(&root.dir).doing("entering the root filesystem ", c"/")?;
    match sys::pivot_root() {
        Ok(()) => sys::detach(c".").doing("letting go of the host's ", c"/")?,
        Err(Errno::INVAL) => cover()?,
        Err(errno) => return Err(errno).doing("pivoting to ", c"/"),
    }
    sys::chdir(c"/").doing("entering ", c"/")
}

/// Covers the first root filesystem of an initramfs, which has no parent that could be pivoted to: nothing leads from the
/// cover to what is below. What else is mounted there goes: a user namespace could mount a procfs of its own as long as the
/// host's is there, of which nothing is masked.
fn cover() -> Result<()> {
    sys::move_over_root().doing("covering ", c"/")?;
    let path = c"/proc/self/mountinfo";
    let table = sys::open(path, libc::O_RDONLY).and_then(|file| sys::read(&file, TABLE)).doing("reading ", path)?;
    if table.len() > TABLE {
        return Err(Error::about("", path, " is longer than 8 MiB"));
    }
    // Paths still lead to what is covered. There is nothing to be let go where they are the cover's.
    for place in table.split(|byte| *byte == b'\n').filter_map(mount_point).filter(|place| place.as_c_str() != c"/") {
        match sys::detach(&place) {
            Ok(()) | Err(Errno::INVAL | Errno::NOENT | Errno::NOTDIR) => {}
            Err(errno) => return Err(errno).doing("letting go of the host's ", &place),
        }
    }
    sys::chroot_here().doing("changing root to ", c"/")
}

/// Where a line of proc_pid_mountinfo(5) says that something is mounted.
fn mount_point(line: &[u8]) -> Option<CString> {
    let mut bytes = line.split(|byte| *byte == b' ').nth(4)?.iter().copied();
    let mut path = Vec::new();
    while let Some(byte) = bytes.next() {
        // `\040` is a space.
        let octal = |number: u8, digit: u8| number << 3 | digit & 7;
        path.push(if byte == b'\\' { bytes.by_ref().take(3).fold(0, octal) } else { byte });
    }
    CString::new(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_mount_points() {
        let line = b"31 23 0:28 / /sys/fs/a\\040b\\134c rw - tmpfs tmpfs rw";
        assert_eq!(mount_point(line).unwrap().as_c_str(), c"/sys/fs/a b\\c");
        assert!(mount_point(b"").is_none() && mount_point(b"31 23 0:28 /").is_none());
    }
}
