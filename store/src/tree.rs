//! Removing a tree by descriptors: no symbolic link is followed, and no depth is too deep.

use crate::error::{Doing, Error, Result};
use crate::root::random_hex;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, fchmod, openat, renameat, unlinkat};
use rustix::io::Errno;
use std::ffi::{CStr, CString, OsStr};
use std::fs::{self, Metadata, ReadDir};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// How many directories within one another are held open. What lies deeper is first moved up.
const HELD: usize = 64;

/// Removes a file, or a directory with everything in it; a path that is gone already is fine.
///
/// Directories that may not be read are made readable first (chmod(2)): nothing stays because of its mode.
/// It must be run where the caller may remove what is inside: in its id-mapped user namespace, where there is one.
pub fn remove(path: &Path) -> Result<()> {
    let doing = || format!("removing {}", path.display());
    let name = path.file_name().ok_or_else(|| Error::Failed(format!("{}: not a path to remove", doing())))?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = match openat(CWD, parent, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        other => other.doing(doing)?,
    };
    remove_at(parent.as_fd(), name, path)
}

/// How many bytes a tree takes on the disk, as far as the caller can read it.
pub fn size(path: &Path) -> u64 {
    // What several names lead to is shared out among them.
    let taken = |metadata: &Metadata| metadata.blocks() * 512 / if metadata.is_dir() { 1 } else { metadata.nlink() };
    let mut sum = fs::symlink_metadata(path).map_or(0, |metadata| taken(&metadata));
    let mut levels: Vec<ReadDir> = fs::read_dir(path).into_iter().collect();
    while let Some(level) = levels.last_mut() {
        let Some(entry) = level.next() else {
            levels.pop();
            continue;
        };
        let Ok((entry, metadata)) = entry.and_then(|entry| entry.metadata().map(|metadata| (entry, metadata))) else {
            continue;
        };
        sum += taken(&metadata);
        if metadata.is_dir() {
            levels.extend(fs::read_dir(entry.path()));
        }
    }
    sum
}

/// Removes `name` in the directory `parent`, as [`remove`] does; `path` is for messages.
pub fn remove_at(parent: BorrowedFd<'_>, name: &OsStr, path: &Path) -> Result<()> {
    let doing = || format!("removing {}", path.display());
    let name = c_string(name)?;
    match take(parent, &name, FileType::Unknown).doing(doing)? {
        Some(dir) => empty(dir, path)?,
        None => return Ok(()),
    }
    match unlinkat(parent, &name, AtFlags::REMOVEDIR) {
        Err(Errno::NOENT) => Ok(()),
        other => other.doing(doing),
    }
}

/// A directory being emptied, and its name in the one above.
struct Level {
    name: CString,
    dir: Dir,
    removed: bool,
}

/// Removes everything within `top`, which is at `path`.
fn empty(top: Dir, path: &Path) -> Result<()> {
    let doing = || format!("removing {}", path.display());
    let mut levels = vec![Level { name: CString::default(), dir: top, removed: false }];
    let mut moved = 0_u64;
    let prefix = random_hex(8)?;
    while let Some(level) = levels.last_mut() {
        let Some(entry) = level.dir.read() else {
            if finish(&mut levels).doing(doing)? {
                return Ok(());
            }
            continue;
        };
        let entry = entry.doing(doing)?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let fd = level.dir.fd().doing(doing)?;
        let taken = match take(fd, name, entry.file_type()) {
            // The directory itself may not be written: its owner may change that.
            Err(Errno::ACCESS) => fchmod(fd, Mode::RWXU).and_then(|()| take(fd, name, entry.file_type())),
            other => other,
        };
        level.removed = true;
        let Some(dir) = taken.doing(|| format!("{}: {}", doing(), name.to_string_lossy()))? else {
            continue;
        };
        if levels.len() < HELD {
            levels.push(Level { name: name.to_owned(), dir, removed: false });
            continue;
        }
        // Moved to the top, it is met again when the top is read again.
        moved += 1;
        let up = format!(".{prefix}.{moved}");
        let (top, here) = (levels[0].dir.fd().doing(doing)?, levels[levels.len() - 1].dir.fd().doing(doing)?);
        renameat(here, name, top, up.as_str()).doing(doing)?;
    }
    Ok(())
}

/// Removes the innermost directory, which has been read to its end; `true` if it was the top one and is empty.
fn finish(levels: &mut Vec<Level>) -> rustix::io::Result<bool> {
    let Some(mut level) = levels.pop() else { return Ok(true) };
    let gone = match levels.last() {
        Some(above) => unlinkat(above.dir.fd()?, &level.name, AtFlags::REMOVEDIR),
        None if level.removed => Err(Errno::NOTEMPTY), // Reading may have missed what came meanwhile.
        None => return Ok(true),
    };
    match gone {
        Ok(()) | Err(Errno::NOENT) => Ok(levels.is_empty()),
        Err(Errno::NOTEMPTY | Errno::EXIST) if level.removed => {
            level.removed = false;
            level.dir.rewind();
            levels.push(level);
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Removes an entry; a directory that is not empty is opened instead.
fn take(parent: BorrowedFd<'_>, name: &CStr, kind: FileType) -> rustix::io::Result<Option<Dir>> {
    if !matches!(kind, FileType::Directory | FileType::Unknown) {
        return match unlinkat(parent, name, AtFlags::empty()) {
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::ISDIR) => take(parent, name, FileType::Directory),
            other => other.map(|()| None),
        };
    }
    // First of all rmdir(2): it needs no right to read, and overlay's `work/work` has mode 0000.
    match unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(None),
        Err(Errno::NOTDIR) => match unlinkat(parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error),
        },
        Err(Errno::NOTEMPTY | Errno::EXIST) => open(parent, name).map(Some),
        Err(error) => Err(error),
    }
}

/// Opens a directory for reading, giving its owner the right to where that is missing.
fn open(parent: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<Dir> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = match openat(parent, name, flags | OFlags::RDONLY, Mode::empty()) {
        Err(Errno::ACCESS) => {
            // chmod(2) by name would follow a link: it goes through a descriptor that is known not to be one.
            let pinned = openat(parent, name, flags | OFlags::PATH, Mode::empty())?;
            rustix::fs::chmod(format!("/proc/self/fd/{}", pinned.as_fd().as_raw_fd()), Mode::RWXU)?;
            openat(parent, name, flags | OFlags::RDONLY, Mode::empty())
        }
        other => other,
    };
    opened.and_then(Dir::new)
}

fn c_string(name: &OsStr) -> Result<CString> {
    CString::new(name.as_bytes()).map_err(|_| Error::Failed("a path holds a NUL byte".into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn place(name: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("crate-tree-{name}-{}", std::process::id()));
        remove(&path).unwrap();
        path
    }

    #[test]
    fn removes_what_a_tree_can_hold_and_follows_nothing() {
        let (tree, outside) = (place("tree"), place("outside"));
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::create_dir_all(outside.join("kept")).unwrap();
        fs::write(tree.join("a/b/file"), "x").unwrap();
        symlink(&outside, tree.join("a/link")).unwrap();
        symlink("nowhere", tree.join("dangling")).unwrap();
        for (dir, mode) in [("a/b", 0o000), ("a", 0o555)] {
            fs::set_permissions(tree.join(dir), fs::Permissions::from_mode(mode)).unwrap();
        }
        remove(&tree).unwrap();
        assert!(!tree.exists() && outside.join("kept").exists());
        symlink(&outside, &tree).unwrap();
        remove(&tree).unwrap();
        assert!(outside.join("kept").exists());
        remove(&outside).unwrap();
        remove(&outside).unwrap();
    }

    #[test]
    fn adds_up_what_a_tree_takes() {
        let (tree, outside) = (place("size"), place("size-outside"));
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::write(&outside, vec![1; 1 << 20]).unwrap();
        symlink(&outside, tree.join("link")).unwrap();
        let before = size(&tree);
        fs::write(tree.join("a/b/file"), vec![1; 1 << 20]).unwrap();
        fs::hard_link(tree.join("a/b/file"), tree.join("a/again")).unwrap();
        let grown = size(&tree) - before;
        assert!((1 << 20..3 << 19).contains(&grown) && before < 1 << 20, "{before} {grown}");
        assert_eq!(size(&tree.join("none")), 0);
        remove(&tree).unwrap();
        remove(&outside).unwrap();
    }

    #[test]
    fn removes_a_tree_deeper_than_any_path() {
        let tree = place("deep");
        fs::create_dir(&tree).unwrap();
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut dir = openat(CWD, &tree, flags, Mode::empty()).unwrap();
        for _ in 0..10_000 {
            rustix::fs::mkdirat(&dir, "d", Mode::RWXU).unwrap();
            openat(&dir, "f", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap();
            dir = openat(&dir, "d", flags, Mode::empty()).unwrap();
        }
        remove(&tree).unwrap();
        assert!(!tree.exists());
    }
}
