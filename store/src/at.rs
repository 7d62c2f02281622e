//! Calls on descriptors for trees that may be hostile: no symbolic link is followed.

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags, fchmod, fchown, fgetxattr,
    flistxattr, fremovexattr, fsetxattr, fstat, openat, statat,
};
use rustix::io::{Errno, Result};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The mark of an opaque directory for overlay mounts with `userxattr` (overlayfs documentation, since Linux 5.11).
pub const OPAQUE: &str = "user.overlay.opaque";

/// The most bytes that an extended attribute, or the list of their names, can have (xattr(7)).
const XATTR_LIMIT: usize = 1 << 16;

/// Opens `name` within a directory; not a symbolic link.
pub fn open_in(parent: BorrowedFd<'_>, name: &[u8], flags: OFlags) -> Result<OwnedFd> {
    openat(parent, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// Opens a directory within another, for reading.
pub fn open_dir_in(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    open_in(parent, name, OFlags::RDONLY | OFlags::DIRECTORY)
}

/// What `name` in a directory is, if it is there.
pub fn status(parent: BorrowedFd<'_>, name: &[u8]) -> Result<Option<Stat>> {
    match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(None),
        other => other.map(Some),
    }
}

/// Is it of this type?
pub fn is(stat: &Stat, kind: FileType) -> bool {
    FileType::from_raw_mode(stat.st_mode) == kind
}

/// Is it overlay's mark for something that is hidden: a character device 0:0?
pub fn is_whiteout(stat: &Stat) -> bool {
    is(stat, FileType::CharacterDevice) && stat.st_rdev == 0
}

/// Does this directory of a layer hide what the layers below have in its place?
///
/// The kernel asks this of every directory but the roots of layers: layers below an opaque root are to be left out.
pub fn is_opaque(directory: BorrowedFd<'_>) -> bool {
    let mut value = [0; 8];
    fgetxattr(directory, OPAQUE, &mut value).is_ok_and(|length| value[..length] == *b"y")
}

/// The names within a directory, read whole before anything changes.
pub fn names(directory: &OwnedFd) -> Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// The times of a file.
pub fn times(stat: &Stat) -> Timestamps {
    // The kernel's nanoseconds are below a thousand million.
    let spec = |tv_sec, tv_nsec: u64| Timespec { tv_sec, tv_nsec: tv_nsec.cast_signed() };
    Timestamps {
        last_access: spec(stat.st_atime, stat.st_atime_nsec),
        last_modification: spec(stat.st_mtime, stat.st_mtime_nsec),
    }
}

/// Makes owner, mode and extended attributes of a file or directory, and then its times, those of another.
pub fn copy_metadata(from: &OwnedFd, to: &OwnedFd) -> Result<()> {
    let stat = fstat(from)?;
    let own = fstat(to)?;
    if (stat.st_uid, stat.st_gid) != (own.st_uid, own.st_gid) {
        fchown(to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    }
    fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    let wanted = xattr_names(from)?;
    for name in xattr_names(to)?.iter().filter(|name| !wanted.contains(name)) {
        let _ = fremovexattr(to, &name[..]); // The kernel's own, such as labels, stay.
    }
    for name in wanted {
        let Some(value) = xattr(from, &name) else { continue };
        // What may not be set here is not missed: it was told when the layer was unpacked.
        let set = fsetxattr(to, &name[..], &value, XattrFlags::empty());
        if let Err(error @ (Errno::NOSPC | Errno::DQUOT | Errno::IO)) = set {
            return Err(error);
        }
    }
    rustix::fs::futimens(to, &times(&stat))
}

/// Is an extended attribute not to be taken from an archive? Overlay's own would change what the mount shows, and another
/// machine's labels mean nothing here.
#[cfg(feature = "unpack")]
pub fn is_private(name: &[u8]) -> bool {
    name.starts_with(b"user.overlay.") || name.starts_with(b"trusted.overlay.") || name == b"security.selinux"
}

/// An extended attribute's value; none where it cannot be read, or is gone.
pub fn xattr(file: impl AsFd, name: &[u8]) -> Option<Vec<u8>> {
    let mut value = vec![0; XATTR_LIMIT];
    let length = fgetxattr(file, name, &mut value).ok()?;
    value.truncate(length);
    Some(value)
}

/// The names of a file's extended attributes, but for overlay's own.
pub fn xattr_names(file: impl AsFd) -> Result<Vec<Vec<u8>>> {
    let mut list = vec![0; XATTR_LIMIT];
    let length = match flistxattr(file, &mut list) {
        Err(Errno::OPNOTSUPP) => 0,
        other => other?,
    };
    let names = list[..length].split(|byte| *byte == 0);
    let names = names.filter(|name| !name.is_empty() && !name.starts_with(b"user.overlay."));
    Ok(names.map(<[u8]>::to_vec).collect())
}
